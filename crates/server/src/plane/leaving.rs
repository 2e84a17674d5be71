//! Moving a machine to another tenant: what must be done first, and whether it is. Pure.
//!
//! Nothing of a machine goes along. It is off-boarded here, forgotten here, and enrolled there as a machine that nobody
//! has seen before; what it sent stays here until the retention of this tenant takes it away.

use garrison_model::{ConnectionState, Micros};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is known of a machine that is to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavingFacts {
    /// The tenant that it is to go to is this one.
    pub to_itself: bool,
    /// Off-boarding: none was asked for, it is under way, or the machine said that it is done.
    pub offboarded: Option<bool>,
    /// It has a connector that could be told to off-board it.
    pub has_connector: bool,
    /// Whether its connector is heard of.
    pub state: ConnectionState,
    /// Its device may still write.
    pub device_live: bool,
    /// Code of the geography whose retention its data stays under.
    pub geography: String,
    /// When the last of its data goes.
    pub kept_until: Micros,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeavingStep {
    /// `OtherTenant`, `OffBoarded`, `OldIdentity`, `DataStays` or `NewIdentity`.
    pub key: String,
    /// Whether it is done.
    pub done: bool,
    /// What it is.
    pub title: String,
    /// How it stands, and what to do where it is open.
    pub detail: String,
}

/// The steps in their order.
pub fn steps(facts: &LeavingFacts) -> Vec<LeavingStep> {
    let step = |key: &str, done: bool, title: &str, detail: String| LeavingStep {
        key: key.to_owned(),
        done,
        title: title.to_owned(),
        detail,
    };
    let (offboarded, how) = match (facts.offboarded, facts.has_connector) {
        (Some(true), _) => (true, "the machine said that sensor and connector are gone".to_owned()),
        (Some(false), _) => (false, "it is being off-boarded; wait until the machine has said so".to_owned()),
        (None, true) => (false, "run `garrison machine offboard`".to_owned()),
        (None, false) if facts.device_live => {
            (false, "it has no connector: remove the sensor on the machine, then `garrison device revoke`".to_owned())
        }
        (None, false) => (true, "it has no connector, and no sensor that may write".to_owned()),
    };
    let silent = !matches!(facts.state, ConnectionState::Connected) || !facts.has_connector;
    let identity = if !facts.has_connector {
        "no identity of a connector is worth anything here".to_owned()
    } else if silent {
        "its connector is not heard of any more; its identity here ends when it leaves".to_owned()
    } else {
        "its connector is still heard of under its identity here; it is done 15 minutes after the last heartbeat"
            .to_owned()
    };
    let until = crate::shared::rfc3339(facts.kept_until);
    let day = until.split('T').next().unwrap_or_default();
    vec![
        step(
            "OtherTenant",
            !facts.to_itself,
            "It goes to another tenant",
            if facts.to_itself {
                "this is its tenant; move it with `garrison machine move MACHINE RESOURCE-ID`".to_owned()
            } else {
                "its plan and hours here end when it leaves".to_owned()
            },
        ),
        step("OffBoarded", offboarded, "It is off-boarded", how),
        step("OldIdentity", silent, "Its old identity is silent", identity),
        step(
            "DataStays",
            true,
            "Its data stays behind",
            format!(
                "what it sent stays in this tenant, in {}, until {day} at the latest; nothing goes along",
                facts.geography
            ),
        ),
        step(
            "NewIdentity",
            true,
            "It gets a new identity there",
            "once it has left, enrol it with a token of the other tenant: `garrison-connect enrol --token T`"
                .to_owned(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(facts: &LeavingFacts) -> Vec<String> {
        steps(facts).into_iter().filter(|s| !s.done).map(|s| s.key).collect()
    }

    #[test]
    fn a_machine_leaves_when_it_is_off_boarded_and_silent() {
        let ready = LeavingFacts {
            to_itself: false,
            offboarded: Some(true),
            has_connector: true,
            state: ConnectionState::Disconnected,
            device_live: false,
            geography: "EU".to_owned(),
            kept_until: Micros(1_800_000_000_000_000),
        };
        for (facts, expected) in [
            (ready.clone(), vec![]),
            (LeavingFacts { to_itself: true, ..ready.clone() }, vec!["OtherTenant"]),
            (LeavingFacts { offboarded: Some(false), ..ready.clone() }, vec!["OffBoarded"]),
            (LeavingFacts { offboarded: None, ..ready.clone() }, vec!["OffBoarded"]),
            (LeavingFacts { offboarded: None, has_connector: false, ..ready.clone() }, vec![]),
            (
                LeavingFacts { offboarded: None, has_connector: false, device_live: true, ..ready.clone() },
                vec!["OffBoarded"],
            ),
            (LeavingFacts { state: ConnectionState::Connected, ..ready.clone() }, vec!["OldIdentity"]),
        ] {
            assert_eq!(open(&facts), expected, "{facts:?}");
        }
        assert!(steps(&ready).iter().any(|s| s.detail.contains("2027-01-15")));
    }
}
