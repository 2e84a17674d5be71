//! Plans: what is switched on, where a setting may be made, and which one is in force.

use crate::words::{WordError, words};
use serde::{Deserialize, Serialize};

words!(
    /// What is switched on for servers; ordered from least to most.
    Plan, "plan" {
        /// Nothing is on, nothing is billed.
        Off = "Off",
        /// Servers Plan 1.
        P1 = "P1",
        /// Servers Plan 2.
        P2 = "P2",
    }
);

impl Plan {
    /// In words, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Off => "no plan",
            Self::P1 => "Servers Plan 1",
            Self::P2 => "Servers Plan 2",
        }
    }

    /// Whether the plan holds a feature.
    pub fn has(self, feature: Feature) -> bool {
        match self {
            Self::Off => false,
            Self::P1 => feature.row().first,
            Self::P2 => true,
        }
    }

    /// `Ok` where the plan holds the feature; the error names both, and the plan that would do.
    pub fn require(self, feature: Feature) -> Result<(), PlanLacks> {
        if self.has(feature) { Ok(()) } else { Err(PlanLacks { plan: self, feature }) }
    }
}

/// A plan does not hold a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{}` needs {}, and {} is on here", .feature.row().title, .feature.least().title(), .plan.title())]
pub struct PlanLacks {
    /// The plan in force.
    pub plan: Plan,
    /// What it lacks.
    pub feature: Feature,
}

/// One line of the table of plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureRow {
    /// The feature.
    pub feature: Feature,
    /// In words.
    pub title: &'static str,
    /// Whether Plan 1 holds it; Plan 2 holds everything.
    pub first: bool,
    /// Where it works, if not everywhere.
    pub place: &'static str,
}

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident = $word:literal $title:literal $first:literal $place:literal),+ $(,)?) => {
        words!(
            /// A feature that a plan holds or does not hold.
            Feature, "feature" { $($(#[$doc])* $variant = $word),+ }
        );

        /// The table of plans, in the order it is shown.
        pub const FEATURES: &[FeatureRow] = &[$(FeatureRow {
            feature: Feature::$variant,
            title: $title,
            first: $first,
            place: $place,
        }),+];
    };
}

features!(
    /// Machines of several clouds and of one's own rooms.
    MultiCloud = "MultiCloud" "Machines in any cloud and on own premises" true "",
    /// The sensor arrives by itself.
    AutomaticSensor = "AutomaticSensor" "The sensor is installed by itself" true "",
    /// Detection and response.
    Edr = "Edr" "Detection and response on the machine" true "",
    /// Alerts and incidents.
    Alerts = "Alerts" "Alerts joined into incidents" true "",
    /// Which software is there.
    SoftwareInventory = "SoftwareInventory" "Inventory of software" true "",
    /// Regulations.
    Compliance = "Compliance" "Assessment against regulations" true "",
    /// Vulnerabilities, seen by the sensor.
    VulnerabilityAgent = "VulnerabilityAgent" "Vulnerabilities, found by the sensor" true "",
    /// Vulnerabilities, seen in disk snapshots.
    VulnerabilityAgentless = "VulnerabilityAgentless" "Vulnerabilities, found without a sensor" false "",
    /// Name resolution.
    DnsAlerts = "DnsAlerts" "Alerts on name resolution" false "",
    /// The provider's network.
    NetworkLayer = "NetworkLayer" "Alerts from the provider's network layer" false "Azure only",
    /// Missing updates.
    SystemUpdates = "SystemUpdates" "Assessment of system updates" false "outside Azure through the connector",
    /// Baselines.
    Baselines = "Baselines" "Assessment against configuration baselines" false "outside Azure through the connector",
    /// Premium vulnerability management.
    VulnerabilityPremium = "VulnerabilityPremium" "Premium features of vulnerability management" false "",
    /// Malware in disk snapshots.
    MalwareAgentless = "MalwareAgentless" "Malware, found without a sensor" false "",
    /// Secrets in disk snapshots.
    SecretsAgentless = "SecretsAgentless" "Secrets on disks, found without a sensor" false "",
    /// File integrity.
    FileIntegrity = "FileIntegrity" "Monitoring of file integrity" false "outside Azure through the connector",
    /// Ports opened on demand.
    JustInTimeAccess = "JustInTimeAccess" "Management ports opened on demand" false "Azure and AWS",
    /// Who talks to whom.
    NetworkMap = "NetworkMap" "Map of the network" false "Azure only",
    /// Free ingest.
    FreeIngest = "FreeIngest" "500 MB of free ingest a machine and day" false "",
);

impl Feature {
    /// Its line of the table.
    pub fn row(self) -> &'static FeatureRow {
        // The list is made by the macro that makes the enumeration, in its order.
        &FEATURES[self as usize]
    }

    /// The least plan that holds it.
    pub fn least(self) -> Plan {
        if self.row().first { Plan::P1 } else { Plan::P2 }
    }
}

/// The setting of one machine, which goes before its subscription's. Plan 2 is no such setting: it is switched on for
/// whole subscriptions only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Override {
    /// Off on this machine.
    Off,
    /// Plan 1 on this machine: alone in a subscription with no plan, or down from Plan 2.
    P1,
}

/// Plan 2 cannot be set on a single machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Servers Plan 2 cannot be switched on for a single machine, only for its subscription")]
pub struct OverrideRefused;

impl TryFrom<Plan> for Override {
    type Error = OverrideRefused;
    fn try_from(plan: Plan) -> Result<Self, OverrideRefused> {
        match plan {
            Plan::Off => Ok(Self::Off),
            Plan::P1 => Ok(Self::P1),
            Plan::P2 => Err(OverrideRefused),
        }
    }
}

impl From<Override> for Plan {
    fn from(value: Override) -> Plan {
        match value {
            Override::Off => Plan::Off,
            Override::P1 => Plan::P1,
        }
    }
}

words!(
    /// Where the plan in force comes from.
    PlanSource, "plan source" {
        /// The machine's own setting.
        Machine = "Machine",
        /// The subscription's.
        Subscription = "Subscription",
        /// Nobody set one.
        Unset = "Unset",
    }
);

/// The plan in force on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EffectivePlan {
    /// Plan.
    pub plan: Plan,
    /// Where it comes from.
    pub source: PlanSource,
}

/// The plan in force: the machine's own setting where there is one, else the subscription's.
pub fn effective(subscription: Option<Plan>, machine: Option<Override>) -> EffectivePlan {
    match (machine, subscription) {
        (Some(own), _) => EffectivePlan { plan: own.into(), source: PlanSource::Machine },
        (None, Some(plan)) => EffectivePlan { plan, source: PlanSource::Subscription },
        (None, None) => EffectivePlan { plan: Plan::Off, source: PlanSource::Unset },
    }
}

/// Days that the first use of a plan in a subscription costs nothing.
pub const TRIAL_DAYS: i64 = 30;

/// A subscription's trial. It begins when a plan is first switched on anywhere in the subscription and runs for
/// [`TRIAL_DAYS`] days of the clock; switching plans off and on neither stops, nor pauses, nor lengthens, nor renews it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Beginning, RFC 3339.
    pub started: String,
    /// End, RFC 3339.
    pub ends: String,
    /// Whether it runs now.
    pub active: bool,
    /// Whole days left, rounded up; 0 once it ended.
    pub days_left: i64,
}

/// The trial as of now; pure arithmetic in microseconds: (ends, active, whole days left rounded up).
pub fn trial_at(started: i64, now: i64) -> (i64, bool, i64) {
    const DAY: i64 = 86_400_000_000;
    let ends = started.saturating_add(TRIAL_DAYS * DAY);
    let left = ends.saturating_sub(now).clamp(0, TRIAL_DAYS * DAY);
    (ends, (started..ends).contains(&now), (left + DAY - 1) / DAY)
}

words!(
    /// How much of a component is there.
    ComponentState, "component state" {
        /// Everywhere it should be.
        On = "On",
        /// Nowhere: it is switched off.
        Off = "Off",
        /// Missing somewhere; the fix says what.
        Partial = "Partial",
    }
);

/// What the state of a component is judged by: one machine of the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComponentSight {
    /// Whether the plan in force holds the component's feature.
    pub planned: bool,
    /// Whether the machine is left out on purpose, or not supported: then nothing is missing.
    pub exempt: bool,
    /// Whether the component is there and works.
    pub present: bool,
}

/// State of a component over the machines of a subscription, and how many machines lack it. Switched on with no machine
/// that should have it counts as on: it is there as soon as a machine is.
pub fn component_state(on: bool, machines: impl IntoIterator<Item = ComponentSight>) -> (ComponentState, u64) {
    let mut missing = 0;
    if !on {
        return (ComponentState::Off, 0);
    }
    for machine in machines {
        if machine.planned && !machine.exempt && !machine.present {
            missing += 1;
        }
    }
    (if missing == 0 { ComponentState::On } else { ComponentState::Partial }, missing)
}

/// The words of an API that existing scripts speak: a tier and a sub-plan.
pub fn from_tier(tier: &str, sub_plan: Option<&str>) -> Result<Plan, WordError> {
    if tier.eq_ignore_ascii_case("free") {
        return Ok(Plan::Off);
    }
    if !tier.eq_ignore_ascii_case("standard") {
        return Err(WordError {
            kind: "pricing tier",
            text: tier.chars().take(80).collect(),
            words: "Free, Standard".to_owned(),
        });
    }
    // Without a sub-plan the vendor's interface means Plan 2.
    match sub_plan.unwrap_or("P2").parse()? {
        Plan::Off => Ok(Plan::P2),
        plan => Ok(plan),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_has_nineteen_lines_of_which_plan_one_holds_seven() {
        assert_eq!(FEATURES.len(), 19);
        assert_eq!(FEATURES.iter().filter(|row| row.first).count(), 7);
        for feature in Feature::ALL {
            assert_eq!(feature.row().feature, *feature);
            assert!(Plan::P2.has(*feature) && !Plan::Off.has(*feature));
            assert_eq!(Plan::P1.has(*feature), feature.least() == Plan::P1);
        }
    }

    #[test]
    fn a_refusal_names_the_feature_and_both_plans() {
        let error = Plan::P1.require(Feature::FileIntegrity).unwrap_err().to_string();
        assert_eq!(error, "`Monitoring of file integrity` needs Servers Plan 2, and Servers Plan 1 is on here");
        assert!(Plan::P1.require(Feature::Edr).is_ok());
    }

    #[test]
    fn the_scope_rules_hold() {
        use PlanSource as S;
        for (subscription, machine, plan, source, why) in [
            (None, None, Plan::Off, S::Unset, "nothing set"),
            (Some(Plan::P2), None, Plan::P2, S::Subscription, "inherits"),
            (None, Some(Plan::P1), Plan::P1, S::Machine, "P1 on one machine of a subscription with no plan"),
            (Some(Plan::P2), Some(Plan::P1), Plan::P1, S::Machine, "downgrade of one machine"),
            (Some(Plan::P2), Some(Plan::Off), Plan::Off, S::Machine, "off on one machine"),
            (Some(Plan::Off), None, Plan::Off, S::Subscription, "switched off on purpose"),
        ] {
            let own = machine.map(|m| Override::try_from(m).unwrap());
            assert_eq!(effective(subscription, own), EffectivePlan { plan, source }, "{why}");
        }
        assert!(Override::try_from(Plan::P2).is_err());
    }

    #[test]
    fn a_trial_is_thirty_days_of_the_clock() {
        const DAY: i64 = 86_400_000_000;
        for (now, active, left) in [
            (-1, false, 30),
            (0, true, 30),
            (1, true, 30),
            (DAY, true, 29),
            (30 * DAY - 1, true, 1),
            (30 * DAY, false, 0),
            (300 * DAY, false, 0),
            (i64::MAX, false, 0),
        ] {
            assert_eq!(trial_at(0, now), (30 * DAY, active, left), "{now}");
        }
    }

    #[test]
    fn tiers_of_existing_scripts_are_understood() {
        for (tier, sub, plan) in [
            ("Standard", Some("P1"), Plan::P1),
            ("standard", Some("p2"), Plan::P2),
            ("Standard", None, Plan::P2),
            ("Free", None, Plan::Off),
            ("Free", Some("P1"), Plan::Off),
        ] {
            assert_eq!(from_tier(tier, sub).unwrap(), plan);
        }
        assert!(from_tier("Premium", None).is_err() && from_tier("Standard", Some("P3")).is_err());
    }

    fn plan() -> impl Strategy<Value = Plan> {
        prop::sample::select(Plan::ALL)
    }

    fn own() -> impl Strategy<Value = Override> {
        prop_oneof![Just(Override::Off), Just(Override::P1)]
    }

    proptest! {
        #[test]
        fn removing_the_own_setting_inherits_again(before in prop::option::of(plan()), set in own()) {
            let inherited = effective(before, None);
            prop_assert_eq!(effective(before, Some(set)).source, PlanSource::Machine);
            prop_assert_eq!(inherited.plan, before.unwrap_or(Plan::Off));
        }

        #[test]
        fn an_own_setting_never_depends_on_the_subscription(a in prop::option::of(plan()), b in prop::option::of(plan()), set in own()) {
            prop_assert_eq!(effective(a, Some(set)), effective(b, Some(set)));
        }

        #[test]
        fn plan_two_comes_from_the_subscription_only(sub in prop::option::of(plan()), set in prop::option::of(own())) {
            let got = effective(sub, set);
            if got.plan == Plan::P2 {
                prop_assert_eq!(got.source, PlanSource::Subscription);
                prop_assert_eq!(sub, Some(Plan::P2));
            }
        }

        #[test]
        fn a_greater_plan_holds_what_a_lesser_holds(feature in prop::sample::select(Feature::ALL), a in plan(), b in plan()) {
            prop_assert!(a > b || b.has(feature) || !a.has(feature));
        }

        #[test]
        fn partial_means_that_a_machine_lacks_what_it_should_have(on in any::<bool>(), machines in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..8)) {
            let sights = machines.iter().map(|(planned, exempt, present)| ComponentSight { planned: *planned, exempt: *exempt, present: *present });
            let (state, missing) = component_state(on, sights);
            let lacking = machines.iter().any(|(planned, exempt, present)| *planned && !exempt && !present);
            prop_assert_eq!(state, match (on, lacking) {
                (false, _) => ComponentState::Off,
                (true, true) => ComponentState::Partial,
                (true, false) => ComponentState::On,
            });
            prop_assert_eq!(missing > 0, on && lacking);
        }
    }
}
