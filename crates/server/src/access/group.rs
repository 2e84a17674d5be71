//! Device groups: ranked rules of which the first that fits decides, so that a device is in exactly one group.

use serde::{Deserialize, Serialize};

/// Id of the group of devices that no rule fits.
pub const UNGROUPED: &str = "ungrouped";
/// Its name.
pub const UNGROUPED_NAME: &str = "Ungrouped devices (default)";
/// Groups: each device is held against each of them.
pub const GROUPS_MAX: usize = 100;
/// Conditions of a group.
pub const CONDITIONS_MAX: usize = 20;

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Property {
    /// Host name up to its first dot.
    Name,
    /// What follows it.
    Domain,
    /// Platform, distribution and version, such as `Linux Debian 13`.
    Os,
    /// Any tag of the device.
    Tag,
}

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Operator {
    /// The same.
    Equals,
    /// Begins with.
    StartsWith,
    /// Ends with.
    EndsWith,
    /// Holds.
    Contains,
}

/// One condition; case does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// What it looks at.
    pub property: Property,
    /// How.
    pub operator: Operator,
    /// For what, 1 to 128 characters.
    pub value: String,
}

/// How far investigations act by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub enum AutomationLevel {
    /// They do not run.
    None,
    /// Everything waits for approval.
    #[default]
    SemiAll,
    /// What lies in folders of the system waits.
    SemiCoreFolders,
    /// What does not lie in temporary folders waits.
    SemiNonTempFolders,
    /// Nothing waits.
    Full,
}

/// A device group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceGroup {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Rank from 1; the first group that fits has the device.
    pub rank: i64,
    /// All of them must hold; the default group has none.
    pub rules: Vec<Condition>,
    /// How far investigations act by themselves on its devices.
    pub automation_level: AutomationLevel,
    /// Devices in it now.
    #[serde(default)]
    pub device_count: u64,
}

/// What rules look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupFacts<'a> {
    /// Host name, with or without a domain.
    pub host_name: &'a str,
    /// Platform.
    pub os_platform: &'a str,
    /// Distribution.
    pub os_distribution: &'a str,
    /// Version.
    pub os_version: &'a str,
    /// Tags.
    pub tags: &'a [String],
}

impl Condition {
    /// Whether it can be used.
    pub fn is_usable(&self) -> bool {
        !self.value.trim().is_empty() && self.value.chars().count() <= 128 && !self.value.chars().any(char::is_control)
    }

    fn fits(&self, text: &str) -> bool {
        let (text, value) = (text.to_lowercase(), self.value.to_lowercase());
        match self.operator {
            Operator::Equals => text == value,
            Operator::StartsWith => text.starts_with(&value),
            Operator::EndsWith => text.ends_with(&value),
            Operator::Contains => text.contains(&value),
        }
    }

    fn holds(&self, facts: &GroupFacts<'_>) -> bool {
        let (name, domain) = facts.host_name.split_once('.').unwrap_or((facts.host_name, ""));
        match self.property {
            Property::Name => self.fits(name),
            Property::Domain => self.fits(domain),
            Property::Os => {
                let whole = format!("{} {} {}", facts.os_platform, facts.os_distribution, facts.os_version);
                let parts = [facts.os_platform, facts.os_distribution];
                self.fits(whole.trim()) || parts.iter().any(|part| !part.is_empty() && self.fits(part))
            }
            Property::Tag => facts.tags.iter().any(|tag| self.fits(tag)),
        }
    }
}

/// Id of the group that a device is in; `groups` are in order of rank.
pub fn group_of<'g>(groups: &'g [DeviceGroup], facts: &GroupFacts<'_>) -> &'g str {
    let fits = |g: &&DeviceGroup| !g.rules.is_empty() && g.rules.iter().all(|rule| rule.holds(facts));
    groups.iter().find(fits).map_or(UNGROUPED, |g| g.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: &str, rank: i64, rules: &[(Property, Operator, &str)]) -> DeviceGroup {
        DeviceGroup {
            id: id.to_owned(),
            name: id.to_owned(),
            description: String::new(),
            rank,
            rules: rules
                .iter()
                .map(|(property, operator, value)| Condition {
                    property: *property,
                    operator: *operator,
                    value: (*value).to_owned(),
                })
                .collect(),
            automation_level: AutomationLevel::default(),
            device_count: 0,
        }
    }

    #[test]
    fn a_device_is_in_the_first_group_that_fits() {
        use Operator as O;
        use Property as P;
        let groups = [
            group("tagged", 1, &[(P::Tag, O::Equals, "Crown")]),
            group("web-eu", 2, &[(P::Name, O::StartsWith, "web"), (P::Domain, O::EndsWith, "eu.example.org")]),
            group("web", 3, &[(P::Name, O::StartsWith, "WEB")]),
            group("debian", 4, &[(P::Os, O::Equals, "debian")]),
            group("thirteen", 5, &[(P::Os, O::Contains, "linux ubuntu 24")]),
            group("empty", 6, &[]),
        ];
        let tags = ["crown".to_owned(), "x".to_owned()];
        for (host_name, distribution, version, tags, expected) in [
            ("web-1.eu.example.org", "Debian", "13", &tags[..], "tagged"),
            ("web-1.eu.example.org", "Debian", "13", &tags[1..], "web-eu"),
            ("Web-1.us.example.org", "Debian", "13", &[], "web"),
            ("db-1", "Debian", "13", &[], "debian"),
            ("db-web", "Ubuntu", "24.04", &[], "thirteen"),
            ("db-1", "Fedora", "42", &[], UNGROUPED),
            ("", "", "", &[], UNGROUPED),
        ] {
            let facts = GroupFacts {
                host_name,
                os_platform: "Linux",
                os_distribution: distribution,
                os_version: version,
                tags,
            };
            assert_eq!(group_of(&groups, &facts), expected, "{host_name} {distribution}");
        }
    }
}
