//! Recommendations on endpoint protection: which machines lack it, which have it and not well, why, and what helps.
//!
//! [`judge`] is a pure function over what the plane, connectors and exemptions say of one machine; what the API answers is
//! worked out anew, so a state is never older than the question. [`states`] keeps changes of state for exports. [`fix`] does what a finding asks for, [`exempt`] keeps
//! what was decided not to be done. Checks and their sources: docs/reference/recommendations.md.

mod exempt;
mod fix;
pub mod judge;
mod states;

pub use exempt::{Category, Exemption, ExemptionNew, follow};
pub use fix::{FIX_MACHINES_MAX, Fixed};
pub use judge::{Finding, Key, State};
pub use states::{StateChange, Told};

use crate::access::Sees;
use crate::connect::{Connect, ConnectError, Look};
use crate::db::DbError;
use crate::plane::{MachineFilter, PlaneError, Sight};
use crate::shared::Shared;
use garrison_model::{Machine, MachineId, Micros, ResourceId, SubscriptionId, TenantId};
use judge::{Case, Judgement, judge};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Something about recommendations failed.
#[derive(Debug, thiserror::Error)]
pub enum RecommendError {
    /// There is no such thing.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// A value is not usable; our own words.
    #[error("{0}")]
    Value(String),
    /// The plane refuses.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// Connectors refuse.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// What is stored cannot be read.
    #[error("a stored {0} cannot be read")]
    Stored(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for RecommendError {
    fn from(source: sqlx::Error) -> Self {
        Self::Db(source.into())
    }
}

/// A recommendation and how many machines are in which state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// `edr-installed` or `edr-configuration`.
    pub key: Key,
    /// Title.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// `High` or `Medium`.
    pub severity: String,
    /// The least plan whose sensor can satisfy it.
    pub plan: garrison_model::Plan,
    /// Machines that satisfy it.
    pub healthy: u64,
    /// Machines that do not.
    pub unhealthy: u64,
    /// Machines that it says nothing of.
    pub not_applicable: u64,
    /// Machines that are exempt.
    pub exempt: u64,
    /// Whether `fix` does something for a machine of it.
    pub fix: bool,
}

/// A machine under a recommendation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Machine.
    pub machine_id: MachineId,
    /// Where it lies.
    pub resource_id: ResourceId,
    /// Name.
    pub name: String,
    /// Subscription.
    pub subscription: SubscriptionId,
    /// State.
    pub state: State,
    /// Why it is in this state.
    pub reason: String,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Products that protect it, ours and others.
    pub discovered: Vec<String>,
    /// The exemption in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exemption: Option<Exemption>,
}

/// Which machines of a recommendation to list.
#[derive(Debug, Clone, Default)]
pub struct ResourceFilter {
    /// Only in this state.
    pub state: Option<State>,
    /// Only in this subscription.
    pub subscription: Option<SubscriptionId>,
}

/// The room.
#[derive(Debug, Clone)]
pub struct Recommend {
    shared: Arc<Shared>,
    connect: Arc<Connect>,
}

/// Everything that machines are judged by, as of one moment.
struct Ground {
    sight: Sight,
    looks: HashMap<MachineId, Look>,
    exemptions: Vec<Exemption>,
    now: Micros,
}

impl Ground {
    fn judge(&self, key: Key, machine: &Machine) -> (Judgement, Option<&Exemption>) {
        let desired = self.sight.desired(&machine.id, &machine.resource_id, &machine.tags);
        let exemption = self.exemptions.iter().find(|e| e.key == key && e.scope.holds(&machine.resource_id));
        let (wanted, look) = (desired.sensor, self.looks.get(&machine.id));
        (judge(key, &Case { machine, wanted, look, exemption }, self.now), exemption)
    }
}

impl Recommend {
    /// Over the rooms that it asks.
    pub fn new(shared: &Arc<Shared>, connect: &Arc<Connect>) -> Self {
        Self { shared: Arc::clone(shared), connect: Arc::clone(connect) }
    }

    fn tenant(&self) -> &TenantId {
        &self.shared.tenant
    }

    async fn ground(&self, now: Micros) -> Result<Ground, RecommendError> {
        let sight = self.shared.plane.sight(self.tenant(), now).await?;
        let exemptions = self.exemptions_at(Some(now)).await?;
        Ok(Ground { sight, looks: self.connect.looks(), exemptions, now })
    }

    /// All recommendations, with the machines that the caller may see counted.
    pub async fn list(&self, sees: &Sees, now: Micros) -> Result<Vec<Summary>, RecommendError> {
        let ground = self.ground(now).await?;
        let mut all: Vec<Summary> = Key::ALL.iter().map(|key| key.summary()).collect();
        let take = |machine: Machine| {
            if !sees.machine(&machine) {
                return;
            }
            for summary in &mut all {
                match ground.judge(summary.key, &machine).0.state {
                    State::Healthy => summary.healthy += 1,
                    State::Unhealthy => summary.unhealthy += 1,
                    State::NotApplicable => summary.not_applicable += 1,
                    State::Exempt => summary.exempt += 1,
                }
            }
        };
        self.shared.plane.machines_walk(self.tenant(), now, take).await?;
        Ok(all)
    }

    /// Machines under a recommendation by name, after a place of the list (name in lower case, id), at most `limit`.
    pub async fn resources(
        &self,
        key: Key,
        filter: &ResourceFilter,
        sees: &Sees,
        after: Option<(&str, &str)>,
        limit: usize,
        now: Micros,
    ) -> Result<Vec<Resource>, RecommendError> {
        /// Machines read at once where most are of another state.
        const STEP: usize = 1_000;
        let ground = self.ground(now).await?;
        let which = MachineFilter {
            subscription: filter.subscription.clone(),
            sees: Some(sees.clone()),
            ..MachineFilter::default()
        };
        let mut at = after.map(|(name, id)| (name.to_owned(), id.to_owned()));
        let mut found = Vec::new();
        loop {
            let place = at.as_ref().map(|(name, id)| (name.as_str(), id.as_str()));
            let step = self.shared.plane.machines(self.tenant(), &which, place, STEP, now).await?;
            let full = step.len() == STEP;
            at = step.last().map(|m| (m.name.key(), m.id.to_string()));
            for machine in step {
                let (judged, exemption) = ground.judge(key, &machine);
                if filter.state.is_some_and(|s| s != judged.state) {
                    continue;
                }
                found.push(Resource {
                    name: machine.name.to_string(),
                    subscription: machine.resource_id.subscription.clone(),
                    machine_id: machine.id,
                    resource_id: machine.resource_id,
                    state: judged.state,
                    reason: judged.reason,
                    findings: judged.findings,
                    discovered: judged.discovered,
                    exemption: exemption.cloned(),
                });
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            if !full {
                return Ok(found);
            }
        }
    }
}
