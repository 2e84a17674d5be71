//! What is in force: a tenant's settings as of one moment, and what follows from them for each machine.

use super::exclusions::{self, Exclusion};
use super::{Plane, PlaneError};
use crate::db::Sealer;
use garrison_model::{
    EffectivePlan, Feature, MachineId, Micros, NotCovered, Override, Plan, ResourceId, SubscriptionId, Tags, TenantId,
    effective,
};
use sqlx::Row as _;
use std::collections::HashMap;

/// A tenant's settings as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// What the tenant's columns are sealed with.
    pub(super) seal: Sealer,
    plans: HashMap<SubscriptionId, Plan>,
    overrides: HashMap<MachineId, Override>,
    integration: HashMap<SubscriptionId, bool>,
    exclusions: Vec<Exclusion>,
}

impl Sight {
    /// Whether another one says the same of every machine.
    pub fn is_like(&self, other: &Self) -> bool {
        self.plans == other.plans
            && self.overrides == other.overrides
            && self.integration == other.integration
            && self.exclusions == other.exclusions
    }
}

/// What a machine should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Plan in force.
    pub plan: EffectivePlan,
    /// Id of the exclusion that keeps the sensor away.
    pub excluded_by: Option<String>,
    /// `Ok` where the sensor is to be installed, else why not.
    pub sensor: Result<(), NotCovered>,
}

/// Whether the sensor is to be installed by itself; pure. Exclusion and integration keep it away whatever the plan is;
/// they neither switch the plan off nor remove a sensor that is there.
pub fn sensor_wanted(plan: EffectivePlan, integration: bool, excluded: bool) -> Result<(), NotCovered> {
    use garrison_model::PlanSource;
    if !plan.plan.has(Feature::AutomaticSensor) {
        return Err(if plan.source == PlanSource::Unset { NotCovered::NoPlan } else { NotCovered::SwitchedOff });
    }
    if excluded {
        return Err(NotCovered::Excluded);
    }
    if !integration {
        return Err(NotCovered::IntegrationOff);
    }
    Ok(())
}

impl Sight {
    /// What a machine should have.
    pub fn desired(&self, id: &MachineId, resource: &ResourceId, tags: &Tags) -> Desired {
        let plan = self.plan(id, &resource.subscription);
        let excluded_by = self.exclusions.iter().find(|e| e.holds(resource, tags)).map(|e| e.id.clone());
        let sensor = sensor_wanted(plan, self.integration(&resource.subscription), excluded_by.is_some());
        Desired { plan, excluded_by, sensor }
    }

    /// Plan in force on a machine.
    pub fn plan(&self, id: &MachineId, subscription: &SubscriptionId) -> EffectivePlan {
        effective(self.plans.get(subscription).copied(), self.overrides.get(id).copied())
    }

    /// Plan set on a subscription.
    pub fn subscription_plan(&self, subscription: &SubscriptionId) -> Option<Plan> {
        self.plans.get(subscription).copied()
    }

    /// The greatest plan set anywhere; `None` where there is neither a subscription nor a setting.
    pub fn greatest(&self) -> Option<Plan> {
        let set = self.plans.values().copied().chain(self.overrides.values().map(|own| Plan::from(*own)));
        set.max().or((!self.integration.is_empty()).then_some(Plan::Off))
    }

    /// The machine's own setting.
    pub fn own(&self, id: &MachineId) -> Option<Override> {
        self.overrides.get(id).copied()
    }

    /// Whether there is no such subscription.
    pub fn is_unknown(&self, subscription: &SubscriptionId) -> bool {
        !self.integration.contains_key(subscription)
    }

    /// Whether sensors are installed by themselves in a subscription.
    pub fn integration(&self, subscription: &SubscriptionId) -> bool {
        self.integration.get(subscription).copied().unwrap_or(false)
    }
}

impl Plane {
    /// A tenant's settings as of now. Read it once for many machines.
    pub async fn sight(&self, tenant: &TenantId, now: Micros) -> Result<Sight, PlaneError> {
        let mut connection = self.db.pool().acquire().await?;
        sight(&mut connection, self.db.seal(tenant), tenant, now).await
    }
}

/// Settings as a connection sees them: inside a change, with what it did so far.
pub(super) async fn sight(
    connection: &mut sqlx::AnyConnection,
    seal: Sealer,
    tenant: &TenantId,
    now: Micros,
) -> Result<Sight, PlaneError> {
    let mut sight = Sight { seal, ..Sight::default() };
    let rows = sqlx::query("SELECT subscription_id, machine_id, plan FROM plane_plans WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let (subscription, machine, plan): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let plan: Plan = plan.parse().map_err(PlaneError::stored("plan"))?;
        if machine.is_empty() {
            let id = SubscriptionId::new(&subscription).map_err(PlaneError::stored("subscription"))?;
            sight.plans.insert(id, plan);
        } else {
            let id = MachineId::new(&machine).map_err(PlaneError::stored("machine"))?;
            sight.overrides.insert(id, Override::try_from(plan).map_err(PlaneError::stored("plan"))?);
        }
    }
    let rows = sqlx::query("SELECT id, integration FROM plane_subscriptions WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let id = SubscriptionId::new(&row.try_get::<String, _>(0)?).map_err(PlaneError::stored("subscription"))?;
        sight.integration.insert(id, row.try_get::<i64, _>(1)? != 0);
    }
    sight.exclusions = exclusions::load(connection, &sight.seal, tenant, Some(now)).await?;
    Ok(sight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_model::PlanSource as S;

    #[test]
    fn the_sensor_is_wanted_where_plan_integration_and_exclusions_allow_it() {
        use NotCovered as N;
        for (plan, source, integration, excluded, expected) in [
            (Plan::P1, S::Machine, true, false, Ok(())),
            (Plan::P2, S::Subscription, true, false, Ok(())),
            (Plan::Off, S::Unset, true, false, Err(N::NoPlan)),
            (Plan::Off, S::Machine, true, false, Err(N::SwitchedOff)),
            (Plan::Off, S::Subscription, false, true, Err(N::SwitchedOff)),
            (Plan::P2, S::Subscription, true, true, Err(N::Excluded)),
            (Plan::P2, S::Subscription, false, false, Err(N::IntegrationOff)),
            (Plan::P1, S::Machine, false, true, Err(N::Excluded)),
        ] {
            assert_eq!(sensor_wanted(EffectivePlan { plan, source }, integration, excluded), expected);
        }
    }
}
