//! Plans of many machines at once: chosen by resource group or tag, shown before they are changed.

use super::{Change, Plane, PlaneError, Sight};
use crate::db::Sealer;
use garrison_model::{
    EffectivePlan, GroupName, Machine, MachineId, Micros, Override, Plan, ResourceId, SubscriptionId, TenantId,
    effective, tags_match,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Machines that a preview names; all of them are counted.
const NAMED_MAX: usize = 500;

/// Which machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// In this subscription.
    pub subscription_id: SubscriptionId,
    /// In this resource group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<GroupName>,
    /// With this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_name: Option<String>,
    /// Whose value is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_value: Option<String>,
}

/// A change of many machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BulkChange {
    /// Which machines.
    pub selector: Selector,
    /// Plan for each of them (`Off` or `P1`); absent: each inherits its subscription's again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// `digest` of a preview: the change is refused where it would do something else by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What a change of many machines does or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BulkPreview {
    /// Machines that are chosen.
    pub matched: u64,
    /// Of them, those whose own setting changes.
    pub changed: u64,
    /// Of them, those whose plan in force changes.
    pub plan_changed: u64,
    /// The changes, at most 500 of them.
    pub changes: Vec<BulkLine>,
    /// Names exactly this outcome.
    pub digest: String,
}

/// One machine of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BulkLine {
    /// Machine.
    pub id: MachineId,
    /// Where it lies.
    pub resource_id: ResourceId,
    /// Plan in force before.
    pub before: EffectivePlan,
    /// Plan in force after.
    pub after: EffectivePlan,
}

impl Selector {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), PlaneError> {
        if self.tag_name.is_none() && self.tag_value.is_some() {
            return Err(PlaneError::Value("a tag's value goes with its name".to_owned()));
        }
        if self.resource_group.is_none() && self.tag_name.is_none() {
            return Err(PlaneError::Value(
                "choose machines by resource group or tag; for all machines set the plan of the subscription"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether a machine is chosen.
    pub fn chooses(&self, machine: &Machine) -> bool {
        self.subscription_id == machine.resource_id.subscription
            && self.resource_group.as_ref().is_none_or(|g| *g == machine.resource_id.group)
            && self.tag_name.as_deref().is_none_or(|n| tags_match(&machine.tags, n, self.tag_value.as_deref()))
    }
}

/// What a change does to machines; pure. Tells the preview, and the machines to write.
fn outcome(
    machines: impl IntoIterator<Item = Machine>,
    sight: &Sight,
    to: Option<Override>,
) -> (BulkPreview, Vec<MachineId>) {
    let (mut matched, mut plan_changed, mut changes, mut write) = (0, 0, Vec::new(), Vec::new());
    let mut hash = Sha256::new();
    for machine in machines {
        matched += 1;
        if sight.own(&machine.id) == to {
            continue;
        }
        let subscription = sight.subscription_plan(&machine.resource_id.subscription);
        let (before, after) = (machine.plan, effective(subscription, to));
        hash.update(format!("{} {} {}\n", machine.id, before.plan, after.plan));
        plan_changed += u64::from(before.plan != after.plan);
        write.push(machine.id.clone());
        if changes.len() < NAMED_MAX {
            changes.push(BulkLine { id: machine.id, resource_id: machine.resource_id, before, after });
        }
    }
    let digest = hex::encode(hash.finalize().get(..16).unwrap_or_default());
    (BulkPreview { matched, changed: write.len() as u64, plan_changed, changes, digest }, write)
}

async fn look(
    connection: &mut sqlx::AnyConnection,
    seal: Sealer,
    tenant: &TenantId,
    change: &BulkChange,
    now: Micros,
) -> Result<(BulkPreview, Vec<MachineId>), PlaneError> {
    change.selector.check()?;
    let to = change.plan.map(Override::try_from).transpose()?;
    let sight = super::sight::sight(connection, seal, tenant, now).await?;
    if sight.is_unknown(&change.selector.subscription_id) {
        return Err(PlaneError::Unknown("subscription"));
    }
    if let Some(group) = &change.selector.resource_group {
        let sql = "SELECT 1 FROM plane_groups WHERE tenant_id = $1 AND subscription_id = $2 AND name_key = $3";
        let found = sqlx::query(sql)
            .bind(tenant.as_str())
            .bind(change.selector.subscription_id.as_str().to_owned())
            .bind(group.key())
            .fetch_optional(&mut *connection)
            .await?;
        if found.is_none() {
            return Err(PlaneError::GroupUnknown(group.to_string()));
        }
    }
    let mut chosen = Vec::new();
    super::machines::walk(connection, tenant, &sight, now, |m| {
        if change.selector.chooses(&m) {
            chosen.push(m);
        }
    })
    .await?;
    Ok(outcome(chosen, &sight, to))
}

impl Plane {
    /// What a change of many machines would do.
    pub async fn bulk_preview(
        &self,
        tenant: &TenantId,
        change: &BulkChange,
        now: Micros,
    ) -> Result<BulkPreview, PlaneError> {
        let mut connection = self.db.pool().acquire().await?;
        Ok(look(&mut connection, self.db.seal(tenant), tenant, change, now).await?.0)
    }
}

impl Change<'_> {
    /// Changes many machines, all or none.
    pub async fn bulk(&mut self, change: &BulkChange) -> Result<BulkPreview, PlaneError> {
        let seal = self.seal();
        let (preview, write) = look(self.tx.conn(), seal, self.tenant, change, self.now).await?;
        if change.digest.as_ref().is_some_and(|digest| *digest != preview.digest) {
            return Err(PlaneError::PreviewStale);
        }
        let subscription = &change.selector.subscription_id;
        let to = change.plan.map(Override::try_from).transpose()?;
        if to == Some(Override::P1) && !write.is_empty() {
            self.switched_on(subscription, None).await?;
        }
        for id in &write {
            match to {
                Some(own) => self.override_write(subscription, id, own).await?,
                None => self.override_clear(id).await?,
            }
        }
        Ok(preview)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_model::{MachineKind, Tags};

    fn machine(number: u128, group: &str, tags: &[(&str, &str)]) -> Machine {
        let sub = SubscriptionId::from_bits(7);
        let resource_id: ResourceId =
            format!("/subscriptions/{sub}/resourceGroups/{group}/providers/Garrison.HybridCompute/machines/m{number}")
                .parse()
                .unwrap();
        Machine {
            id: MachineId::from_bits(number),
            name: resource_id.machine.clone(),
            resource_id,
            kind: MachineKind::Hybrid,
            state: garrison_model::ConnectionState::Connected,
            power_state: None,
            device_id: None,
            device_gone: false,
            plan: effective(Some(Plan::P2), None),
            excluded_by: None,
            extensions: Vec::new(),
            health: None,
            tags: tags.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Tags>(),
            system: Default::default(),
            connector_version: String::new(),
            last_heartbeat: None,
            created_time: String::new(),
        }
    }

    #[test]
    fn a_selector_chooses_by_group_and_tag() {
        let select = |group: Option<&str>, name: Option<&str>, value: Option<&str>| Selector {
            subscription_id: SubscriptionId::from_bits(7),
            resource_group: group.map(|g| GroupName::new(g).unwrap()),
            tag_name: name.map(str::to_owned),
            tag_value: value.map(str::to_owned),
        };
        let m = machine(1, "Web", &[("Env", "dev")]);
        for (selector, chosen) in [
            (select(Some("web"), None, None), true),
            (select(Some("db"), None, None), false),
            (select(None, Some("env"), None), true),
            (select(None, Some("env"), Some("dev")), true),
            (select(None, Some("env"), Some("prod")), false),
            (select(Some("web"), Some("env"), Some("dev")), true),
            (select(Some("db"), Some("env"), Some("dev")), false),
        ] {
            assert_eq!(selector.chooses(&m), chosen, "{selector:?}");
        }
        assert!(select(None, None, None).check().is_err());
        assert!(select(Some("web"), None, Some("dev")).check().is_err());
    }

    #[test]
    fn the_same_outcome_has_the_same_digest_and_another_one_another() {
        let sight = Sight::default();
        let machines = |n: u128| (1..=n).map(|i| machine(i, "web", &[])).collect::<Vec<_>>();
        let (two, write) = outcome(machines(2), &sight, Some(Override::P1));
        assert_eq!((two.matched, two.changed, two.plan_changed, write.len()), (2, 2, 2, 2));
        assert_eq!(two.digest, outcome(machines(2), &sight, Some(Override::P1)).0.digest);
        assert_ne!(two.digest, outcome(machines(2), &sight, Some(Override::Off)).0.digest);
        assert_ne!(two.digest, outcome(machines(3), &sight, Some(Override::P1)).0.digest);
        assert_eq!(outcome(machines(2), &sight, None).0.changed, 0);
    }
}
