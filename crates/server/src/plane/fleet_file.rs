//! The fleet as a file: subscriptions, plans, groups, own settings of machines, exclusions, in one document that can be
//! applied again and again.
//!
//! What the document does not name is left as it is. Applying runs the same changes as the single commands, in one
//! transaction; the difference that a dry run shows is what that transaction wrote before it was dropped, so the two
//! cannot disagree.

use super::{Change, ExclusionNew, PlaneError, Selector, SubscriptionNew};
use garrison_model::{
    Geography, GroupName, MachineId, MachineName, Override, Plan, ResourceId, Scope, SubscriptionId, Tags,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the document.
pub const VERSION: u32 = 1;
/// Entries of all kinds in one document: the fleet that is measured, twice.
const ENTRIES_MAX: usize = 20_000;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetFile {
    /// Version of the format: 1.
    pub version: u32,
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<FleetTenant>,
    /// Subscriptions.
    #[serde(default)]
    pub subscriptions: Vec<FleetSubscription>,
}

/// The tenant in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetTenant {
    /// Where its data is to rest, should it be made now; another one than it has is refused.
    pub geography: Geography,
}

/// A subscription in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetSubscription {
    /// Id; without one the subscription is found by its name, and made where no one has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SubscriptionId>,
    /// Name.
    pub name: String,
    /// Location; needed where the subscription is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// Plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Setting>,
    /// Whether sensors are installed by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<bool>,
    /// Resource groups.
    #[serde(default)]
    pub resource_groups: Vec<GroupName>,
    /// Settings of machines chosen by group or tag; a later one goes before an earlier one.
    #[serde(default)]
    pub rules: Vec<FleetRule>,
    /// Settings of single machines; they go before all rules.
    #[serde(default)]
    pub machines: Vec<FleetMachine>,
    /// Exclusions.
    #[serde(default)]
    pub exclusions: Vec<FleetExclusion>,
}

/// A plan, or `Inherit` for no setting of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Setting {
    /// No setting.
    Inherit,
    /// Nothing is on.
    Off,
    /// Servers Plan 1.
    P1,
    /// Servers Plan 2; on subscriptions only.
    P2,
}

impl Setting {
    fn plan(self) -> Option<Plan> {
        match self {
            Self::Inherit => None,
            Self::Off => Some(Plan::Off),
            Self::P1 => Some(Plan::P1),
            Self::P2 => Some(Plan::P2),
        }
    }
}

/// A setting of machines chosen by group or tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetRule {
    /// In this resource group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<GroupName>,
    /// With this tag: `name` or `name=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Plan.
    pub plan: Setting,
}

/// A machine in a document; it must be connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetMachine {
    /// Resource group.
    pub resource_group: GroupName,
    /// Name.
    pub name: MachineName,
    /// Plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Setting>,
    /// Tags, replacing those that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
}

/// An exclusion in a document; without group and machine it holds in the whole subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetExclusion {
    /// In this resource group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<GroupName>,
    /// Only this machine of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineName>,
    /// With this tag: `name` or `name=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Why.
    pub reason: String,
}

/// One line of the difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeLine {
    /// What is changed, such as `subscription/…` or `machine/…`.
    pub target: String,
    /// What about it.
    pub what: String,
    /// Before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// What applying did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// The difference; empty where everything is as the document says.
    pub changes: Vec<ChangeLine>,
}

fn tag_split(tag: &str) -> (String, Option<String>) {
    match tag.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (tag.to_owned(), None),
    }
}

impl FleetFile {
    /// What is wrong with the document by itself.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.version != VERSION {
            problems.push(format!("version: {} is not known, this server reads {VERSION}", self.version));
        }
        let entries: usize = self
            .subscriptions
            .iter()
            .map(|s| 1 + s.resource_groups.len() + s.rules.len() + s.machines.len() + s.exclusions.len())
            .sum();
        if entries > ENTRIES_MAX {
            problems.push(format!("a fleet file has at most {ENTRIES_MAX} entries, this one has {entries}"));
        }
        let mut seen = BTreeMap::new();
        for (i, s) in self.subscriptions.iter().enumerate() {
            for key in
                [s.id.as_ref().map(ToString::to_string), Some(format!("name {}", s.name.trim()))].into_iter().flatten()
            {
                if let Some(first) = seen.insert(key, i) {
                    problems.push(format!("subscriptions[{i}]: is subscriptions[{first}] again"));
                }
            }
        }
        problems
    }
}

/// Gathers what is wrong, entry by entry; what the database says and what must have a status of its own goes up at once.
struct Problems(Vec<String>);

impl Problems {
    fn take<T>(&mut self, place: &str, result: Result<T, PlaneError>) -> Result<Option<T>, PlaneError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(
                fatal @ (PlaneError::Db(_)
                | PlaneError::Write(_)
                | PlaneError::Stored { .. }
                | PlaneError::GeographyFixed { .. }),
            ) => Err(fatal),
            Err(other) => {
                self.0.push(format!("{place}: {other}"));
                Ok(None)
            }
        }
    }
}

impl Change<'_> {
    /// Brings everything that a document names to what it says. Commit to make it so; drop for a dry run.
    pub async fn fleet_apply(&mut self, file: &FleetFile) -> Result<Vec<ChangeLine>, PlaneError> {
        let mut problems = Problems(file.problems());
        if !problems.0.is_empty() {
            return Err(PlaneError::FleetFile(problems.0));
        }
        let chosen = file.tenant.as_ref().map(|t| &t.geography);
        if let Some(asked) = chosen {
            let known = match self.tenant_geography(asked).await {
                // It is made with the first plan below.
                Err(PlaneError::Unknown(_)) => Ok(()),
                other => other.map(drop),
            };
            problems.take("tenant.geography", known)?;
        }
        for (i, entry) in file.subscriptions.iter().enumerate() {
            self.fleet_subscription(&format!("subscriptions[{i}]"), entry, chosen, &mut problems).await?;
        }
        if problems.0.is_empty() { Ok(self.lines.clone()) } else { Err(PlaneError::FleetFile(problems.0)) }
    }

    async fn fleet_subscription(
        &mut self,
        place: &str,
        entry: &FleetSubscription,
        chosen: Option<&Geography>,
        problems: &mut Problems,
    ) -> Result<(), PlaneError> {
        let found = self.fleet_subscription_find(entry).await;
        let Some(new) = problems.take(place, found)? else { return Ok(()) };
        let put = self.subscription_put_in(&new, chosen).await;
        let Some((id, _)) = problems.take(place, put)? else { return Ok(()) };
        for group in &entry.resource_groups {
            let done = self.group_put(&id, group).await;
            problems.take(&format!("{place}.resourceGroups"), done)?;
        }
        if let Some(setting) = entry.plan {
            let done = match setting.plan() {
                Some(plan) => self.plan_set(&id, plan, chosen).await,
                None => self.plan_clear(&id).await,
            };
            problems.take(&format!("{place}.plan"), done)?;
        }
        if let Some(on) = entry.integration {
            let done = self.integration_set(&id, on).await;
            problems.take(&format!("{place}.integration"), done)?;
        }
        self.fleet_machines(place, &id, entry, problems).await?;
        self.fleet_exclusions(place, &id, entry, problems).await
    }

    /// The subscription as it is to be: what the document leaves out is what is there.
    async fn fleet_subscription_find(&mut self, entry: &FleetSubscription) -> Result<SubscriptionNew, PlaneError> {
        let id = match &entry.id {
            Some(id) => Some(id.clone()),
            None => {
                use sqlx::Row as _;
                let rows = sqlx::query("SELECT id FROM plane_subscriptions WHERE tenant_id = $1 AND name = $2")
                    .bind(self.tenant.as_str())
                    .bind(entry.name.trim().to_owned())
                    .fetch_all(self.conn())
                    .await?;
                match rows.as_slice() {
                    [] => None,
                    [one] => Some(
                        SubscriptionId::new(&one.try_get::<String, _>(0)?)
                            .map_err(PlaneError::stored("subscription"))?,
                    ),
                    _ => return Err(PlaneError::Value("several subscriptions have this name; give `id`".to_owned())),
                }
            }
        };
        let stored = match &id {
            Some(id) => self.subscription_stored(id).await?,
            None => None,
        };
        let location = entry.location.clone().or_else(|| stored.as_ref().map(|s| s.location.clone()));
        Ok(SubscriptionNew {
            id,
            name: entry.name.clone(),
            location: location
                .ok_or_else(|| PlaneError::Value("the subscription is new, so `location` is needed".to_owned()))?,
            tags: entry.tags.clone().or_else(|| stored.map(|s| s.tags)).unwrap_or_default(),
        })
    }

    /// Tags first (rules choose by them), then for each machine the one setting that holds: its own entry's, else the
    /// last rule's that chooses it. Settled before anything is written, so that a rule and an entry that disagree do not
    /// write twice.
    async fn fleet_machines(
        &mut self,
        place: &str,
        id: &SubscriptionId,
        entry: &FleetSubscription,
        problems: &mut Problems,
    ) -> Result<(), PlaneError> {
        let mut wanted: BTreeMap<MachineId, (String, Option<Override>)> = BTreeMap::new();
        for (i, m) in entry.machines.iter().enumerate() {
            let place = format!("{place}.machines[{i}]");
            let resource =
                ResourceId { subscription: id.clone(), group: m.resource_group.clone(), machine: m.name.clone() };
            let Some(machine) = self.machine_by_resource(&resource).await? else {
                problems.0.push(format!("{place}: there is no machine `{resource}`; it must be connected first"));
                continue;
            };
            if let Some(tags) = &m.tags
                && self.machine(&machine).await?.tags != *tags
            {
                let done = self.machine_tags(&machine, tags).await;
                problems.take(&place, done)?;
            }
            if let Some(setting) = m.plan {
                let own = setting.plan().map(Override::try_from).transpose().map_err(PlaneError::from);
                if let Some(own) = problems.take(&place, own)? {
                    wanted.insert(machine, (place, own));
                }
            }
        }
        let mut rules = Vec::new();
        for (i, rule) in entry.rules.iter().enumerate() {
            let place = format!("{place}.rules[{i}]");
            let (tag_name, tag_value) = rule.tag.as_deref().map(tag_split).map_or((None, None), |(n, v)| (Some(n), v));
            let selector = Selector {
                subscription_id: id.clone(),
                resource_group: rule.resource_group.clone(),
                tag_name,
                tag_value,
            };
            let own = rule.plan.plan().map(Override::try_from).transpose().map_err(PlaneError::from);
            let (checked, own) = (problems.take(&place, selector.check())?, problems.take(&place, own)?);
            if let (Some(()), Some(own)) = (checked, own) {
                rules.push((place, selector, own));
            }
        }
        if !rules.is_empty() {
            let (tenant, now, seal) = (self.tenant, self.now, self.seal());
            let sight = super::sight::sight(self.conn(), seal, tenant, now).await?;
            super::machines::walk(self.conn(), tenant, &sight, now, |m| {
                if let Some((place, _, own)) = rules.iter().rev().find(|(_, selector, _)| selector.chooses(&m)) {
                    wanted.entry(m.id).or_insert_with(|| (place.clone(), *own));
                }
            })
            .await?;
        }
        if wanted.values().any(|(_, own)| *own == Some(Override::P1)) {
            let done = self.switched_on(id, None).await;
            problems.take(place, done)?;
        }
        for (machine, (place, own)) in wanted {
            let done = match own {
                Some(own) => self.override_write(id, &machine, own).await,
                None => self.override_clear(&machine).await,
            };
            problems.take(&place, done)?;
        }
        Ok(())
    }

    async fn fleet_exclusions(
        &mut self,
        place: &str,
        id: &SubscriptionId,
        entry: &FleetSubscription,
        problems: &mut Problems,
    ) -> Result<(), PlaneError> {
        for (i, e) in entry.exclusions.iter().enumerate() {
            let place = format!("{place}.exclusions[{i}]");
            let scope = match (&e.resource_group, &e.machine) {
                (None, None) => Scope::Subscription(id.clone()),
                (Some(group), None) => Scope::Group(id.clone(), group.clone()),
                (Some(group), Some(machine)) => Scope::Machine(ResourceId {
                    subscription: id.clone(),
                    group: group.clone(),
                    machine: machine.clone(),
                }),
                (None, Some(_)) => {
                    problems.0.push(format!("{place}: `machine` goes with `resourceGroup`"));
                    continue;
                }
            };
            let (tag_name, tag_value) = e.tag.as_deref().map(tag_split).map_or((None, None), |(n, v)| (Some(n), v));
            let (tenant, now, seal) = (self.tenant, self.now, self.seal());
            let there = super::exclusions::load(self.conn(), &seal, tenant, Some(now)).await?;
            let same = there.iter().find(|x| x.scope == scope && x.tag_name == tag_name && x.tag_value == tag_value);
            match same {
                Some(same) if same.reason == e.reason.trim() => continue,
                Some(same) => self.exclusion_delete(&same.id).await?,
                None => {}
            }
            let new = ExclusionNew { scope, tag_name, tag_value, reason: e.reason.clone(), expires_time: None };
            let done = self.exclusion_create(&new).await;
            problems.take(&place, done)?;
        }
        Ok(())
    }
}
