//! Coverage: machines by plan, why some are not covered, and whether what a plan switches on is everywhere.

use super::{Plane, PlaneError};
use garrison_model::{
    ComponentSight, ComponentState, ConnectionState, ExtensionState, Feature, Machine, MachineKind, Micros, NotCovered,
    Plan, ResourceId, SubscriptionId, TenantId, component_state,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Machines without cover that are named; all of them are counted.
const NAMED_MAX: usize = 500;

/// Machines by plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Machines in all.
    pub machines: u64,
    /// Machines with a plan in force and the sensor on them, heard of lately.
    pub covered: u64,
    /// Machines by plan in force.
    pub by_plan: BTreeMap<String, u64>,
    /// Machines without cover, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// By subscription.
    pub subscriptions: Vec<CoverageSubscription>,
    /// Machines without cover, at most 500 of them.
    pub not_covered: Vec<NotCoveredLine>,
}

/// Coverage of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoverageSubscription {
    /// Subscription.
    pub id: SubscriptionId,
    /// Name.
    pub name: String,
    /// Plan set on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Machines in it.
    pub machines: u64,
    /// Of them, covered.
    pub covered: u64,
    /// Of them, with a setting of their own.
    pub overrides: u64,
    /// What the plan switches on, and whether it is everywhere.
    pub components: Vec<Component>,
}

/// Something that a plan switches on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// `EndpointProtection.Linux` or `EndpointProtection.Windows`.
    pub name: String,
    /// How much of it is there.
    pub state: ComponentState,
    /// Machines that lack it.
    pub missing: u64,
    /// What to do; empty where there is nothing to do.
    pub fix: String,
}

/// A machine without cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotCoveredLine {
    /// Where it lies.
    pub resource_id: ResourceId,
    /// Plan in force.
    pub plan: Plan,
    /// Why.
    pub reason: NotCovered,
    /// Code of a failed installation; 0 otherwise.
    pub code: i64,
    /// What to do.
    pub fix: String,
}

/// Why a machine is not covered, if it is not; pure.
fn judge(m: &Machine, wanted: Result<(), NotCovered>) -> Option<(NotCovered, i64, String)> {
    let sensor = m.sensor();
    if let Some(failed) = sensor.filter(|e| e.state == ExtensionState::Failed)
        && wanted.is_ok()
    {
        return Some((NotCovered::SensorFailed, failed.code, failed.fix.clone()));
    }
    let there = m.has_sensor();
    match wanted {
        Err(reason @ (NotCovered::NoPlan | NotCovered::SwitchedOff)) => Some((reason, 0, fix(reason).to_owned())),
        // An exclusion keeps the installer away; a sensor that came otherwise protects all the same.
        Err(reason) if !there => Some((reason, 0, fix(reason).to_owned())),
        Ok(()) if !there && m.device_gone && m.sensor().is_none() => {
            Some((NotCovered::OffBoarded, 0, fix(NotCovered::OffBoarded).to_owned()))
        }
        Ok(()) if !there => Some((NotCovered::SensorMissing, 0, fix(NotCovered::SensorMissing).to_owned())),
        _ if m.kind == MachineKind::Hybrid && m.state != ConnectionState::Connected => {
            Some((NotCovered::NotConnected, 0, fix(NotCovered::NotConnected).to_owned()))
        }
        _ => None,
    }
}

fn fix(reason: NotCovered) -> &'static str {
    match reason {
        NotCovered::NoPlan => "switch a plan on: `garrison plan set P2 SUBSCRIPTION`",
        NotCovered::SwitchedOff => "take the setting away, or set another: `garrison plan clear`, `garrison plan set`",
        NotCovered::Excluded => "remove the exclusion, or let it end",
        NotCovered::IntegrationOff => "switch the integration on: `garrison subscription integration SUBSCRIPTION on`",
        NotCovered::SensorMissing => {
            "wait for the connector to install it; if that lasts, look at `garrison machine show`"
        }
        NotCovered::SensorFailed => "see the extension's code and fix: `garrison machine show`",
        NotCovered::OffBoarded => "nothing, if that was meant; else put it back: `garrison machine onboard MACHINE`",
        NotCovered::NotConnected => "see that the machine runs and that its connector reaches the server",
    }
}

/// The components of one subscription; pure.
fn components(integration: bool, plan: Option<Plan>, machines: &[(Machine, Result<(), NotCovered>)]) -> Vec<Component> {
    let planned = plan.is_some_and(|p| p.has(Feature::AutomaticSensor))
        || machines.iter().any(|(m, _)| m.plan.plan.has(Feature::AutomaticSensor));
    ["Linux", "Windows"]
        .into_iter()
        .map(|system| {
            let of_system = machines.iter().filter(|(m, _)| {
                // What does not say what it is counts as Linux: that is what connects by itself.
                m.system.os_type.eq_ignore_ascii_case("windows") == (system == "Windows")
            });
            let sights = of_system.map(|(m, wanted)| ComponentSight {
                planned: m.plan.plan.has(Feature::AutomaticSensor),
                exempt: *wanted == Err(NotCovered::Excluded),
                present: m.has_sensor(),
            });
            let (state, missing) = component_state(integration && planned, sights);
            let fix = match state {
                ComponentState::On => String::new(),
                ComponentState::Off if !planned => fix(NotCovered::NoPlan).to_owned(),
                ComponentState::Off => fix(NotCovered::IntegrationOff).to_owned(),
                ComponentState::Partial => format!(
                    "{missing} {system} machine(s) lack the sensor: `garrison coverage --missing` names them with what to do"
                ),
            };
            Component { name: format!("EndpointProtection.{system}"), state, missing, fix }
        })
        .collect()
}

impl Plane {
    /// Coverage of a tenant.
    pub async fn coverage(&self, tenant: &TenantId, now: Micros) -> Result<Coverage, PlaneError> {
        let subscriptions = self.subscriptions(tenant, now).await?;
        let mut connection = self.db.pool().acquire().await?;
        let sight = super::sight::sight(&mut connection, self.db.seal(tenant), tenant, now).await?;
        let mut all = Coverage::default();
        for plan in Plan::ALL {
            all.by_plan.insert(plan.to_string(), 0);
        }
        let mut by_subscription: BTreeMap<SubscriptionId, Vec<(Machine, Result<(), NotCovered>)>> = BTreeMap::new();
        super::machines::walk(&mut connection, tenant, &sight, now, |mut m| {
            let desired = sight.desired(&m.id, &m.resource_id, &m.tags);
            // What the counts do not need is not kept: a fleet of two hundred thousand must fit.
            m.tags.clear();
            by_subscription.entry(m.resource_id.subscription.clone()).or_default().push((m, desired.sensor));
        })
        .await?;
        for s in subscriptions {
            let machines = by_subscription.remove(&s.id).unwrap_or_default();
            let mut covered = 0;
            for (m, wanted) in &machines {
                *all.by_plan.entry(m.plan.plan.to_string()).or_default() += 1;
                let Some((reason, code, fix)) = judge(m, *wanted) else {
                    covered += 1;
                    continue;
                };
                *all.reasons.entry(reason.to_string()).or_default() += 1;
                if all.not_covered.len() < NAMED_MAX {
                    let (resource_id, plan) = (m.resource_id.clone(), m.plan.plan);
                    all.not_covered.push(NotCoveredLine { resource_id, plan, reason, code, fix });
                }
            }
            all.machines += machines.len() as u64;
            all.covered += covered;
            all.subscriptions.push(CoverageSubscription {
                components: components(s.integration, s.plan, &machines),
                id: s.id,
                name: s.name,
                plan: s.plan,
                machines: machines.len() as u64,
                covered,
                overrides: machines.iter().filter(|(m, _)| sight.own(&m.id).is_some()).count() as u64,
            });
        }
        Ok(all)
    }
}
