//! Resource ids of the familiar form: how a subscription, a resource group and a machine are named in one text.
//!
//! `/subscriptions/{guid}/resourceGroups/{name}/providers/Garrison.HybridCompute/machines/{name}`
//!
//! Ids are compared without regard to case and printed as they were first written; a subscription's guid is always
//! lower case. Nothing but ASCII letters, digits and a few marks is let in: an id travels in URLs, logs, database keys
//! and file names, and two texts that look alike must not be two machines.

use crate::id::{IdError, id_error};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The provider part of a machine's id.
pub const PROVIDER: &str = "Garrison.HybridCompute";
/// Longest name of a resource group, as the clouds have it.
pub const GROUP_BYTES_MAX: usize = 90;
/// Longest name of a machine: what Linux allows as a host name.
pub const MACHINE_BYTES_MAX: usize = 64;
/// Longest id text: the fixed parts, a guid, and both names at their longest.
pub const RESOURCE_BYTES_MAX: usize = "/subscriptions//resourceGroups//providers/Garrison.HybridCompute/machines/"
    .len()
    + 36
    + GROUP_BYTES_MAX
    + MACHINE_BYTES_MAX;

macro_rules! guid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The only gate: 36 characters with dashes, in any case; kept in lower case.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if !is_guid(text) {
                    return Err(id_error($kind, text));
                }
                Ok(Self(text.to_ascii_lowercase()))
            }

            /// From 128 bits of which the caller says that nobody else has them.
            pub fn from_bits(bits: u128) -> Self {
                Self(uuid::Uuid::from_u128(bits).hyphenated().to_string())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

guid_id!(
    /// A subscription: a guid.
    SubscriptionId,
    "subscription id"
);
guid_id!(
    /// A connected machine as the server numbers it: a guid that stays when the machine moves or is renamed.
    MachineId,
    "machine id"
);

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The only gate: checks the text, keeps its case.
            pub fn new(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if text.is_empty() || text.len() > $max || !valid(text) {
                    return Err(id_error($kind, text));
                }
                Ok(Self(text.to_owned()))
            }

            /// As it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// In lower case: the same for every spelling.
            pub fn key(&self) -> String {
                self.0.to_ascii_lowercase()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.bytes().for_each(|b| state.write_u8(b.to_ascii_lowercase()));
                state.write_u8(0xff);
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                let lower = |t: &'_ str| t.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<u8>>();
                lower(&self.0).cmp(&lower(&other.0))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name_type!(
    /// Name of a resource group: 1 to 90 letters, digits and `_-.()`, not ending with a dot.
    GroupName,
    "resource group name",
    GROUP_BYTES_MAX,
    |t| t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'(' | b')'))
        && !t.ends_with('.')
        && !t.starts_with('.')
);
name_type!(
    /// Name of a machine: 1 to 64 letters, digits and `_-.`, beginning and ending with a letter or digit.
    MachineName,
    "machine name",
    MACHINE_BYTES_MAX,
    |t| t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && t.starts_with(|c: char| c.is_ascii_alphanumeric())
        && t.ends_with(|c: char| c.is_ascii_alphanumeric())
);

impl MachineName {
    /// The nearest name to a host name that may be none: other characters become `-`, the end is cut. `None` where
    /// nothing is left.
    pub fn nearest(host: &str) -> Option<Self> {
        let mapped: String = host
            .trim()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '-' })
            .skip_while(|c| !c.is_ascii_alphanumeric())
            .take(MACHINE_BYTES_MAX)
            .collect();
        Self::new(mapped.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())).ok()
    }
}

/// A machine's resource id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId {
    /// Subscription.
    pub subscription: SubscriptionId,
    /// Resource group.
    pub group: GroupName,
    /// Name within the group.
    pub machine: MachineName,
}

/// What a setting can be made for: a subscription, a resource group, or one machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// `/subscriptions/{guid}`
    Subscription(SubscriptionId),
    /// `/subscriptions/{guid}/resourceGroups/{name}`
    Group(SubscriptionId, GroupName),
    /// A machine.
    Machine(ResourceId),
}

impl Scope {
    /// The subscription that it lies in.
    pub fn subscription(&self) -> &SubscriptionId {
        match self {
            Self::Subscription(id) | Self::Group(id, _) => id,
            Self::Machine(id) => &id.subscription,
        }
    }

    /// Whether a machine lies in it.
    pub fn holds(&self, machine: &ResourceId) -> bool {
        match self {
            Self::Subscription(id) => *id == machine.subscription,
            Self::Group(id, group) => *id == machine.subscription && *group == machine.group,
            Self::Machine(id) => id == machine,
        }
    }

    /// In lower case: the same for every spelling; a database key.
    pub fn key(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

impl ResourceId {
    /// In lower case: the same for every spelling; a database key.
    pub fn key(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription(id) => write!(f, "/subscriptions/{id}"),
            Self::Group(id, group) => write!(f, "/subscriptions/{id}/resourceGroups/{group}"),
            Self::Machine(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subscription, group, machine } = self;
        write!(f, "/subscriptions/{subscription}/resourceGroups/{group}/providers/{PROVIDER}/machines/{machine}")
    }
}

impl FromStr for Scope {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || id_error("resource id", text);
        // Before anything else: a hostile text costs nothing.
        if text.len() > RESOURCE_BYTES_MAX {
            return Err(wrong());
        }
        let mut parts = text.strip_prefix('/').ok_or_else(wrong)?.split('/');
        if !parts.next().is_some_and(|word| word.eq_ignore_ascii_case("subscriptions")) {
            return Err(wrong());
        }
        let subscription = SubscriptionId::new(parts.next().ok_or_else(wrong)?)?;
        match parts.next() {
            None => return Ok(Self::Subscription(subscription)),
            Some(word) if word.eq_ignore_ascii_case("resourceGroups") => {}
            Some(_) => return Err(wrong()),
        }
        let group = GroupName::new(parts.next().ok_or_else(wrong)?)?;
        let rest: Vec<&str> = parts.collect();
        match rest.as_slice() {
            [] => Ok(Self::Group(subscription, group)),
            [providers, provider, machines, machine]
                if providers.eq_ignore_ascii_case("providers")
                    && provider.eq_ignore_ascii_case(PROVIDER)
                    && machines.eq_ignore_ascii_case("machines") =>
            {
                Ok(Self::Machine(ResourceId { subscription, group, machine: MachineName::new(machine)? }))
            }
            _ => Err(wrong()),
        }
    }
}

impl FromStr for ResourceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.parse()? {
            Scope::Machine(id) => Ok(id),
            _ => Err(id_error("machine's resource id", text)),
        }
    }
}

macro_rules! as_text {
    ($($name:ident),+) => {$(
        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                String::schema()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )+};
}
as_text!(Scope, ResourceId);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const ID: &str = "/subscriptions/0F1E2D3C-0000-4000-8000-0123456789ab/resourceGroups/Web-(1)/providers/Garrison.HybridCompute/machines/www1.example";

    #[test]
    fn an_id_is_printed_as_it_was_written_with_a_lower_case_guid() {
        let id: ResourceId = ID.parse().unwrap();
        assert_eq!(id.to_string(), ID.replace("0F1E2D3C", "0f1e2d3c"));
        assert_eq!(id.key(), ID.to_lowercase());
    }

    #[test]
    fn a_scope_holds_what_lies_in_it() {
        let id: ResourceId = ID.parse().unwrap();
        for (scope, holds) in [
            ("/subscriptions/0f1e2d3c-0000-4000-8000-0123456789ab", true),
            ("/SUBSCRIPTIONS/0f1e2d3c-0000-4000-8000-0123456789ab/RESOURCEGROUPS/WEB-(1)", true),
            (ID, true),
            ("/subscriptions/0f1e2d3c-0000-4000-8000-0123456789ac", false),
            ("/subscriptions/0f1e2d3c-0000-4000-8000-0123456789ab/resourceGroups/web", false),
        ] {
            assert_eq!(scope.parse::<Scope>().unwrap().holds(&id), holds, "{scope}");
        }
    }

    #[test]
    fn hostile_texts_are_no_ids() {
        let long = format!("{ID}{}", "a".repeat(RESOURCE_BYTES_MAX));
        let sub = "/subscriptions/0f1e2d3c-0000-4000-8000-0123456789ab";
        let machines = format!("{sub}/resourceGroups/g/providers/Garrison.HybridCompute/machines");
        for bad in [
            "",
            "/",
            "subscriptions",
            "/subscriptions",
            "/subscriptions/",
            "/subscriptions/all",
            &sub[1..],
            &format!("{sub}/"),
            &format!(" {sub}"),
            &format!("{sub}\n"),
            &format!("/{sub}"),
            &format!("{sub}/resourceGroups"),
            &format!("{sub}/resourceGroups/"),
            &format!("{sub}/resourceGroups/.."),
            &format!("{sub}/resourceGroups/end."),
            &format!("{sub}/resourceGroups/a%2fb"),
            &format!("{sub}/resourceGroups/{}", "g".repeat(GROUP_BYTES_MAX + 1)),
            &format!("{sub}/resourceGroups/gr\u{00fc}n"),
            &format!("{sub}/resourceGroups/g/"),
            &format!("{sub}/resourceGroups/g/providers"),
            &format!("{sub}/resourceGroups/g/providers/Other.Compute/machines/m"),
            &machines,
            &format!("{machines}/"),
            &format!("{machines}/."),
            &format!("{machines}/.."),
            &format!("{machines}/-m"),
            &format!("{machines}/m-"),
            &format!("{machines}/m m"),
            &format!("{machines}/m\u{0}"),
            // Cyrillic, looks like `a`.
            &format!("{machines}/\u{0430}"),
            // The Kelvin sign is `k` in Unicode's lower case, but not here.
            &format!("{machines}/\u{212a}"),
            &format!("{machines}/{}", "m".repeat(MACHINE_BYTES_MAX + 1)),
            &format!("{machines}/m/extensions/x"),
            &long,
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_name_gives_the_nearest_name() {
        for (host, name) in [
            ("web1.example.com", Some("web1.example.com")),
            (" _we b\u{00fc}1. ", Some("we-b-1")),
            ("", None),
            ("...", None),
            ("\u{00fc}", None),
        ] {
            assert_eq!(MachineName::nearest(host).map(String::from).as_deref(), name, "{host:?}");
        }
        assert_eq!(MachineName::nearest(&"a".repeat(300)).unwrap().as_str().len(), MACHINE_BYTES_MAX);
    }

    fn names() -> impl Strategy<Value = (u128, String, String)> {
        (
            any::<u128>(),
            "[a-zA-Z0-9_()-][a-zA-Z0-9_.()-]{0,88}[a-zA-Z0-9_()-]",
            "[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9])?",
        )
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back((guid, group, machine) in names()) {
            let id = ResourceId {
                subscription: SubscriptionId::from_bits(guid),
                group: GroupName::new(&group).unwrap(),
                machine: MachineName::new(&machine).unwrap(),
            };
            let text = id.to_string();
            prop_assert!(text.len() <= RESOURCE_BYTES_MAX);
            let back: ResourceId = text.parse().unwrap();
            prop_assert_eq!(back.to_string(), text);
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<ResourceId>(&json).unwrap(), id);
        }

        #[test]
        fn case_makes_no_difference((guid, group, machine) in names(), flips in prop::collection::vec(any::<bool>(), RESOURCE_BYTES_MAX)) {
            let id = ResourceId {
                subscription: SubscriptionId::from_bits(guid),
                group: GroupName::new(&group).unwrap(),
                machine: MachineName::new(&machine).unwrap(),
            };
            let other: String = id.to_string().chars().zip(flips)
                .map(|(c, up)| if up { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
            let other: ResourceId = other.parse().unwrap();
            prop_assert_eq!(&id, &other);
            prop_assert_eq!(id.cmp(&other), Ordering::Equal);
            prop_assert_eq!(id.key(), other.key());
            prop_assert_eq!(HashSet::from([id]).len(), HashSet::from([other.clone()]).len());
            let set = HashSet::from([other.clone(), other.key().parse().unwrap()]);
            prop_assert_eq!(set.len(), 1);
        }

        #[test]
        fn any_text_is_read_without_a_panic_and_only_canonical_ones_are_taken(text in "\\PC{0,300}|[/a-zA-Z0-9.-]{0,300}") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.key(), text.to_ascii_lowercase());
            }
            if let Some(name) = MachineName::nearest(&text) {
                prop_assert!(MachineName::new(name.as_str()).is_ok());
            }
        }
    }
}
