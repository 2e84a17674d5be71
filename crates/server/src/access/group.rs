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

/// A device as a preview shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewDevice {
    /// Device.
    pub id: String,
    /// Host name.
    pub name: String,
    /// Id of the group that it is in now.
    pub before: String,
    /// Id of the group that it would be in.
    pub after: String,
}

/// What a group would hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupPreview {
    /// Devices that all rules fit.
    pub matching: u64,
    /// Those of them that no group before it takes.
    pub holding: u64,
    /// Devices that would come in.
    pub entering: u64,
    /// Devices that would leave.
    pub leaving: u64,
    /// Devices that the rules fit, or that would leave; the first 100 by name.
    pub items: Vec<PreviewDevice>,
}

/// Devices that a preview names.
pub const PREVIEW_MAX: usize = 100;

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

impl GroupPreview {
    /// Takes a device into account: `now` and `then` are the groups in order of rank, without and with the change.
    pub fn take(
        &mut self,
        group: &DeviceGroup,
        (now, then): (&[DeviceGroup], &[DeviceGroup]),
        id: &str,
        facts: &GroupFacts<'_>,
    ) {
        let (before, after) = (group_of(now, facts), group_of(then, facts));
        let matching = !group.rules.is_empty() && group.rules.iter().all(|rule| rule.holds(facts));
        let (was, is) = (before == group.id, after == group.id);
        self.matching += u64::from(matching);
        self.holding += u64::from(is);
        self.entering += u64::from(is && !was);
        self.leaving += u64::from(was && !is);
        if matching || was {
            self.items.push(PreviewDevice {
                id: id.to_owned(),
                name: facts.host_name.to_owned(),
                before: before.to_owned(),
                after: after.to_owned(),
            });
        }
    }

    /// The first devices by name.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.items.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        self.items.truncate(PREVIEW_MAX);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_tells_who_comes_and_who_goes() {
        use Operator as O;
        use Property as P;
        let now =
            [group("web", 1, &[(P::Name, O::StartsWith, "web")]), group("all", 2, &[(P::Os, O::Equals, "linux")])];
        // `web` goes behind `all` and looks for others.
        let changed = group("web", 2, &[(P::Name, O::StartsWith, "w")]);
        let then = [now[1].clone(), changed.clone()];
        let mut preview = GroupPreview::default();
        for (name, platform) in [("web-2", "Linux"), ("web-1", "Linux"), ("win", "Other"), ("db", "Linux")] {
            let facts = GroupFacts { host_name: name, os_platform: platform, ..GroupFacts::default() };
            preview.take(&changed, (&now, &then), name, &facts);
        }
        let preview = preview.cut();
        assert_eq!((preview.matching, preview.holding, preview.entering, preview.leaving), (3, 1, 1, 2));
        let named: Vec<_> =
            preview.items.iter().map(|d| (d.name.as_str(), d.before.as_str(), d.after.as_str())).collect();
        assert_eq!(named, [("web-1", "web", "all"), ("web-2", "web", "all"), ("win", UNGROUPED, "web")]);
    }

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
