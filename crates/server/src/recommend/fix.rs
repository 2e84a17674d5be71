//! Fix: does what the findings of a machine ask for, as far as it can be done from here.

use super::judge::{self, Finding, Key, State};
use super::{Recommend, RecommendError};
use crate::access::Sees;
use crate::connect::remedies;
use garrison_model::{Machine, MachineId, Micros, Override, Plan, Scope};
use serde::{Deserialize, Serialize};

/// Machines of one request: each may take several changes.
pub const FIX_MACHINES_MAX: usize = 500;
/// Steps for one machine: plan, exclusion, integration, onboarding, one more that finds nothing left.
const STEPS_MAX: usize = 5;

/// What became of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fixed {
    /// Machine.
    pub machine_id: MachineId,
    /// Whether everything was done that can be done from here.
    pub done: bool,
    /// What was done, or why not.
    pub message: String,
}

/// One step.
enum Step {
    /// Done; perhaps more is to be done.
    Done(String),
    /// Nothing can be done from here.
    Cannot(String),
}

impl Recommend {
    /// Fixes machines that the caller may see; one that it may not see is unknown, and then nothing is done at all.
    pub async fn fix(
        &self,
        key: Key,
        machines: &[MachineId],
        sees: &Sees,
        who: &str,
        now: Micros,
    ) -> Result<Vec<Fixed>, RecommendError> {
        if machines.is_empty() || machines.len() > FIX_MACHINES_MAX {
            return Err(RecommendError::Value(format!("name 1 to {FIX_MACHINES_MAX} machines")));
        }
        for id in machines {
            let machine = self.shared.plane.machine(self.tenant(), id, now).await?;
            if !sees.machine(&machine) {
                return Err(RecommendError::Unknown("machine"));
            }
        }
        let mut all = Vec::with_capacity(machines.len());
        for id in machines {
            all.push(self.fix_one(key, id, sees, who, now).await?);
        }
        Ok(all)
    }

    async fn fix_one(
        &self,
        key: Key,
        id: &MachineId,
        sees: &Sees,
        who: &str,
        now: Micros,
    ) -> Result<Fixed, RecommendError> {
        if key == Key::Configuration {
            return self.settings_fix(id, who, now).await;
        }
        let mut did: Vec<String> = Vec::new();
        for _ in 0..STEPS_MAX {
            let machine = self.shared.plane.machine(self.tenant(), id, now).await?;
            let ground = self.ground(now).await?;
            let judged = ground.judge(key, &machine).0;
            if matches!(judged.state, State::Healthy | State::NotApplicable) {
                did.push(format!("nothing (more) to do: {}", judged.reason));
                return Ok(Fixed { machine_id: id.clone(), done: true, message: did.join("; ") });
            }
            // The last finding says why our sensor is not there.
            let Some(finding) = judged.findings.last() else { break };
            match self.step(finding, &machine, sees, who, now).await? {
                Step::Done(words) if did.contains(&words) => break,
                Step::Done(words) => did.push(words),
                Step::Cannot(words) => {
                    let done = finding.code == "SensorMissing" && !did.is_empty();
                    did.push(words);
                    return Ok(Fixed { machine_id: id.clone(), done, message: did.join("; ") });
                }
            }
        }
        Ok(Fixed { machine_id: id.clone(), done: !did.is_empty(), message: did.join("; ") })
    }

    /// Asks the machine for what helps against each of its findings.
    async fn settings_fix(&self, id: &MachineId, who: &str, now: Micros) -> Result<Fixed, RecommendError> {
        let machine = self.shared.plane.machine(self.tenant(), id, now).await?;
        let judged = self.ground(now).await?.judge(Key::Configuration, &machine).0;
        if judged.findings.is_empty() {
            let message = format!("nothing to do: {}", judged.reason);
            return Ok(Fixed { machine_id: id.clone(), done: true, message });
        }
        let can = self.connect.look(id).and_then(|l| l.protection).map(|p| p.remedies).unwrap_or_default();
        let (mut did, mut done): (Vec<String>, _) = (Vec::new(), true);
        for finding in &judged.findings {
            let remedy = judge::remedy_of(&finding.code).filter(|r| can.iter().any(|c| c == r.as_str()));
            let Some(remedy) = remedy else {
                done = false;
                did.push(format!("{}: not from here; {}", finding.code, finding.fix));
                continue;
            };
            let asked = self.connect.remedy(id, remedy, who).await?;
            let word = if asked { "asked for" } else { "asked for already" };
            did.push(format!("{} {word}", remedies::words(remedy)));
        }
        Ok(Fixed { machine_id: id.clone(), done, message: did.join("; ") })
    }

    async fn step(
        &self,
        finding: &Finding,
        machine: &Machine,
        sees: &Sees,
        who: &str,
        now: Micros,
    ) -> Result<Step, RecommendError> {
        let (tenant, plane) = (self.tenant(), &self.shared.plane);
        let subscription = &machine.resource_id.subscription;
        match finding.code.as_str() {
            "PlanMissing" => {
                let sight = plane.sight(tenant, now).await?;
                let inherits = sight.subscription_plan(subscription).is_some_and(|p| p != Plan::Off)
                    && sight.own(&machine.id) == Some(Override::Off);
                let mut change = plane.change(tenant, who, now).await?;
                let words = if inherits {
                    change.override_clear(&machine.id).await?;
                    "the machine inherits its subscription's plan again"
                } else {
                    // The plan that a single machine can have.
                    change.override_set(&machine.id, Plan::P1).await?;
                    "Plan 1 set on the machine"
                };
                change.commit().await?;
                Ok(Step::Done(words.to_owned()))
            }
            "Excluded" => {
                let sight = plane.sight(tenant, now).await?;
                let by = sight.desired(&machine.id, &machine.resource_id, &machine.tags).excluded_by;
                let all = plane.exclusions(tenant).await?;
                let Some(exclusion) = by.and_then(|id| all.into_iter().find(|e| e.id == id)) else {
                    return Ok(Step::Done("the exclusion has ended".to_owned()));
                };
                if !matches!(exclusion.scope, Scope::Machine(_)) {
                    return Ok(Step::Cannot(format!(
                        "exclusion {} holds other machines too: remove it with `garrison exclusion remove {}` if that \
                         is meant",
                        exclusion.id, exclusion.id
                    )));
                }
                let mut change = plane.change(tenant, who, now).await?;
                change.exclusion_delete(&exclusion.id).await?;
                change.commit().await?;
                Ok(Step::Done(format!("exclusion {} removed", exclusion.id)))
            }
            "IntegrationOff" => {
                if !sees.subscription(subscription) {
                    let words = "the integration is its subscription's, which your roles do not reach";
                    return Ok(Step::Cannot(words.to_owned()));
                }
                let mut change = plane.change(tenant, who, now).await?;
                change.integration_set(subscription, true).await?;
                change.commit().await?;
                Ok(Step::Done("integration switched on for its subscription".to_owned()))
            }
            "OffBoarded" => {
                self.connect.onboard(&machine.id).await?;
                Ok(Step::Done("onboarded again".to_owned()))
            }
            "SensorFailed" => {
                self.connect.retry(&machine.id).await?;
                Ok(Step::Done(format!("the installation is tried again; {}", finding.fix)))
            }
            _ => Ok(Step::Cannot(format!("{}: {}", finding.message, finding.fix))),
        }
    }
}
