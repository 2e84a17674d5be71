//! Machines as the cloud plane sees them: connected, planned, extended.

use crate::geography::Geography;
use crate::health::MachineHealth;
use crate::id::{DeviceId, TenantId};
use crate::plan::{EffectivePlan, Plan, Trial};
use crate::resource::{GroupName, MachineId, MachineName, ResourceId, SubscriptionId};
use crate::words::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

words!(
    /// How a machine came to be known.
    MachineKind, "machine kind" {
        /// By the connector: it says that it is there by heartbeats.
        Hybrid = "Hybrid",
        /// By a cloud's inventory: the cloud says whether it runs.
        Cloud = "Cloud",
        /// By its sensor alone.
        Direct = "Direct",
    }
);
words!(
    /// What a cloud says of a machine's power.
    PowerState, "power state" {
        /// Comes up.
        Starting = "Starting",
        /// Runs.
        Running = "Running",
        /// Goes down.
        Stopping = "Stopping",
        /// Shut down from inside; its hardware stays reserved.
        Stopped = "Stopped",
        /// Its hardware is being given back.
        Deallocating = "Deallocating",
        /// Its hardware is given back.
        Deallocated = "Deallocated",
    }
);
words!(
    /// Whether a connected machine is heard of.
    ConnectionState, "connection state" {
        /// Enrolled, no heartbeat yet.
        Connecting = "Connecting",
        /// Heard of lately.
        Connected = "Connected",
        /// Nothing heard for 15 minutes.
        Disconnected = "Disconnected",
        /// Nothing heard for 45 days.
        Expired = "Expired",
    }
);
words!(
    /// Where an extension stands on a machine.
    ExtensionState, "extension state" {
        /// Being installed.
        Creating = "Creating",
        /// Being changed.
        Updating = "Updating",
        /// There and well.
        Succeeded = "Succeeded",
        /// Not there, or not well; a code says why.
        Failed = "Failed",
        /// Being removed.
        Deleting = "Deleting",
    }
);
words!(
    /// Why a machine has no plan in force, or has one and no sensor.
    NotCovered, "reason of missing cover" {
        /// Neither it nor its subscription has a plan.
        NoPlan = "NoPlan",
        /// A plan is switched off on purpose, on it or on its subscription.
        SwitchedOff = "SwitchedOff",
        /// An exclusion keeps the sensor away.
        Excluded = "Excluded",
        /// The integration is switched off on its subscription.
        IntegrationOff = "IntegrationOff",
        /// The sensor is not (yet) there.
        SensorMissing = "SensorMissing",
        /// The sensor's installation failed.
        SensorFailed = "SensorFailed",
        /// It has not been heard of lately.
        NotConnected = "NotConnected",
        /// It was off-boarded, or its device revoked.
        OffBoarded = "OffBoarded",
    }
);

/// Microseconds without a heartbeat after which a machine counts as disconnected.
pub const DISCONNECTED_AFTER: i64 = 15 * 60 * 1_000_000;
/// Microseconds without a heartbeat after which a machine counts as expired.
pub const EXPIRED_AFTER: i64 = 45 * 86_400 * 1_000_000;

/// Whether a connected machine is heard of; times in microseconds. A heartbeat from the future (a clock that was set
/// back since) counts as one of now.
pub fn connection_state(last_heartbeat: Option<i64>, now: i64) -> ConnectionState {
    let Some(last) = last_heartbeat else { return ConnectionState::Connecting };
    match now.saturating_sub(last) {
        silence if silence < DISCONNECTED_AFTER => ConnectionState::Connected,
        silence if silence < EXPIRED_AFTER => ConnectionState::Disconnected,
        _ => ConnectionState::Expired,
    }
}

/// Names of the sensor's extension, with those that existing scripts know.
pub const SENSOR_EXTENSIONS: &[&str] = &["Sensor.Linux", "Sensor.Windows", "MDE.Linux", "MDE.Windows"];

/// The one name of an extension whatever alias was written; `None` for those that do not exist.
pub fn extension_name(text: &str) -> Option<&'static str> {
    let at = SENSOR_EXTENSIONS.iter().position(|name| name.eq_ignore_ascii_case(text))?;
    SENSOR_EXTENSIONS.get(at % 2).copied()
}

/// Tags: names and values. At most 50, names up to 128 characters, values up to 256; names differ by more than case.
pub type Tags = BTreeMap<String, String>;

/// Tags of one thing.
pub const TAGS_MAX: usize = 50;
/// Characters of a tag's name.
pub const TAG_NAME_MAX: usize = 128;
/// Characters of a tag's value.
pub const TAG_VALUE_MAX: usize = 256;

/// What is wrong with tags, if anything.
pub fn tags_check(tags: &Tags) -> Result<(), String> {
    if tags.len() > TAGS_MAX {
        return Err(format!("at most {TAGS_MAX} tags are kept, {} were given", tags.len()));
    }
    let mut names = std::collections::BTreeSet::new();
    for (name, value) in tags {
        let shown: String = name.chars().take(40).filter(|c| !c.is_control()).collect();
        if name.trim().is_empty() || name.chars().count() > TAG_NAME_MAX {
            return Err(format!("a tag's name has 1 to {TAG_NAME_MAX} characters, `{shown}` does not"));
        }
        if value.chars().count() > TAG_VALUE_MAX {
            return Err(format!("a tag's value has at most {TAG_VALUE_MAX} characters, that of `{shown}` has more"));
        }
        if name.chars().chain(value.chars()).any(char::is_control) || name.contains('=') {
            return Err(format!("the tag `{shown}` holds a control character, or `=` in its name"));
        }
        if !names.insert(name.to_lowercase()) {
            return Err(format!("the tag `{shown}` is there twice; case makes no difference"));
        }
    }
    Ok(())
}

/// Whether tags hold a name (in any case) with this value, or with any value where none is asked for.
pub fn tags_match(tags: &Tags, name: &str, value: Option<&str>) -> bool {
    let lower = name.to_lowercase();
    tags.iter().any(|(n, v)| n.to_lowercase() == lower && value.is_none_or(|wanted| wanted == v))
}

/// What a machine says of its system: claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSystem {
    /// `Linux` or `Windows`.
    pub os_type: String,
    /// Distribution, such as `debian`.
    pub distribution: String,
    /// Its version.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Architecture, such as `x86_64`.
    pub architecture: String,
    /// Host name.
    pub host_name: String,
    /// `aws`, `azure`, `gcp`, or empty.
    pub cloud: String,
    /// Id of the instance in its cloud.
    pub instance: String,
    /// Region, zone or site.
    pub location: String,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Id.
    pub id: TenantId,
    /// Where its data rests, for good.
    pub geography: Geography,
    /// Root of its lake, as configured.
    pub lake_root: String,
    /// Root of its control data, as configured.
    pub control_root: String,
    /// What made it: `MachineConnected` or `PlanSet`.
    pub origin: String,
    /// When, RFC 3339.
    pub created_time: String,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Id.
    pub id: SubscriptionId,
    /// Name for people.
    pub name: String,
    /// Where its machines are, such as `westeurope`.
    pub location: String,
    /// Plan set on it; absent where none was ever set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Whether the sensor is installed by itself.
    pub integration: bool,
    /// Its trial, once one has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// Tags.
    pub tags: Tags,
    /// Machines in it.
    pub machine_count: i64,
    /// When it was made, RFC 3339.
    pub created_time: String,
}

/// A resource group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroup {
    /// Subscription.
    pub subscription_id: SubscriptionId,
    /// Name.
    pub name: GroupName,
    /// Machines in it.
    pub machine_count: i64,
    /// When it was made, RFC 3339.
    pub created_time: String,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Id that stays.
    pub id: MachineId,
    /// Where it lies now.
    pub resource_id: ResourceId,
    /// Name.
    pub name: MachineName,
    /// How it came to be known.
    pub kind: MachineKind,
    /// Whether it is heard of.
    pub state: ConnectionState,
    /// What its cloud says of its power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_state: Option<PowerState>,
    /// The device that its sensor is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// Whether that device was off-boarded or revoked: what it saw stays, and it protects nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub device_gone: bool,
    /// Plan in force.
    pub plan: EffectivePlan,
    /// Whether an exclusion keeps the sensor away, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded_by: Option<String>,
    /// Extensions.
    pub extensions: Vec<Extension>,
    /// How it is; absent where it was not worked out yet, and where nobody asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<MachineHealth>,
    /// Tags.
    pub tags: Tags,
    /// What it says of its system.
    pub system: MachineSystem,
    /// Version of its connector.
    pub connector_version: String,
    /// Last heartbeat, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat: Option<String>,
    /// When it was first connected, RFC 3339.
    pub created_time: String,
}

impl Machine {
    /// The extension that is the sensor.
    pub fn sensor(&self) -> Option<&Extension> {
        self.extensions.iter().find(|e| e.name.starts_with("Sensor."))
    }

    /// Whether the sensor is on it: its installation succeeded, or it came otherwise and was not taken away.
    pub fn has_sensor(&self) -> bool {
        match self.sensor() {
            Some(e) => matches!(e.state, ExtensionState::Succeeded | ExtensionState::Updating),
            None => self.device_id.is_some() && !self.device_gone,
        }
    }
}

/// An extension on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Name, such as `Sensor.Linux`.
    pub name: String,
    /// Where it stands.
    pub state: ExtensionState,
    /// Code of the failure; 0 where there is none.
    pub code: i64,
    /// What is wrong, in words.
    pub message: String,
    /// What to do.
    pub fix: String,
    /// Version that is there.
    pub version: String,
    /// When this changed, RFC 3339.
    pub updated_time: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn silence_turns_a_machine_disconnected_and_then_expired() {
        use ConnectionState as S;
        for (last, now, state) in [
            (None, 0, S::Connecting),
            (None, i64::MAX, S::Connecting),
            (Some(0), 0, S::Connected),
            (Some(0), DISCONNECTED_AFTER - 1, S::Connected),
            (Some(0), DISCONNECTED_AFTER, S::Disconnected),
            (Some(0), EXPIRED_AFTER - 1, S::Disconnected),
            (Some(0), EXPIRED_AFTER, S::Expired),
            (Some(i64::MAX), i64::MIN, S::Connected),
            (Some(i64::MIN), i64::MAX, S::Expired),
        ] {
            assert_eq!(connection_state(last, now), state, "{last:?} {now}");
        }
    }

    #[test]
    fn aliases_of_the_sensor_are_one_extension() {
        for (text, name) in [
            ("Sensor.Linux", Some("Sensor.Linux")),
            ("mde.linux", Some("Sensor.Linux")),
            ("MDE.Windows", Some("Sensor.Windows")),
            ("MDE.Mac", None),
            ("", None),
        ] {
            assert_eq!(extension_name(text), name, "{text}");
        }
    }

    #[test]
    fn tags_have_bounds() {
        let tags = |pairs: &[(&str, &str)]| -> Tags {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let long = "x".repeat(TAG_VALUE_MAX + 1);
        for (given, well) in [
            (tags(&[]), true),
            (tags(&[("env", "dev"), ("owner", "")]), true),
            (tags(&[("env", "a"), ("Env", "b")]), false),
            (tags(&[(" ", "a")]), false),
            (tags(&[("a=b", "c")]), false),
            (tags(&[("a", "c\u{1b}[31m")]), false),
            (tags(&[("a", &long)]), false),
            ((0..=TAGS_MAX).map(|i| (i.to_string(), String::new())).collect(), false),
        ] {
            assert_eq!(tags_check(&given).is_ok(), well, "{given:?}");
        }
        let env = tags(&[("Env", "dev")]);
        assert!(tags_match(&env, "env", Some("dev")) && tags_match(&env, "ENV", None));
        assert!(!tags_match(&env, "env", Some("Dev")) && !tags_match(&env, "en", None));
    }

    proptest! {
        #[test]
        fn longer_silence_never_brings_a_machine_nearer(last in any::<i64>(), now in any::<i64>(), later in 0..i64::MAX) {
            let after = now.saturating_add(later);
            prop_assert!(connection_state(Some(last), after) >= connection_state(Some(last), now));
        }
    }
}
