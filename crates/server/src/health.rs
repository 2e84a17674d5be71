//! Health of connected machines, in three classes: Installation, Heartbeat, Not applicable.
//!
//! [`judge`] is a pure function over what the plane, connectors and sensors say of one machine. This file works it out
//! for all machines once a minute and within seconds of an event, and keeps what came out, with since when it is so; so
//! lists are cheap and two people see the same. Codes, their sources and what to do: docs/reference/health.md.

pub mod judge;
mod store;

pub(crate) use store::kept;

use crate::access::Sees;
use crate::connect::Connect;
use crate::db::DbError;
use crate::plane::{MachineFilter, PlaneError};
use crate::shared::{Shared, rfc3339};
use garrison_model::{
    ConnectionState, HealthClass, HealthState, Machine, MachineHealth, MachineId, Micros, Plan, ResourceId,
    SubscriptionId,
};
use judge::{Case, Judged};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::TryRecvError;

/// Machines are looked at this often whatever happens: silence is no event. Promised are 15 minutes.
pub const REFRESH_EVERY: Duration = Duration::from_mins(1);
/// How often events are looked for.
const TICK: Duration = Duration::from_secs(1);
/// After a round, so many times its length is waited: rounds take at most a twentieth of one core, however many events
/// a large fleet makes.
const REST: u32 = 20;
/// Machines in one answer.
const STEP: usize = 1_000;

/// Something about health failed.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The plane failed.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// What is stored cannot be read.
    #[error("a stored {0} cannot be read")]
    Stored(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for HealthError {
    fn from(source: sqlx::Error) -> Self {
        Self::Db(source.into())
    }
}

/// Machines by state, class and code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthSummary {
    /// Machines that you may see.
    pub machines: u64,
    /// Of them, in each state.
    pub by_state: BTreeMap<String, u64>,
    /// Of them, with a finding of each class; a machine may count in two.
    pub by_class: BTreeMap<String, u64>,
    /// Codes that are there, most machines first.
    pub codes: Vec<HealthCodeLine>,
    /// When all machines were last looked at, RFC 3339; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed: Option<String>,
    /// Seconds after which they are looked at again whatever happens.
    pub refresh_seconds: u64,
}

/// Machines with one code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCodeLine {
    /// Class.
    pub class: HealthClass,
    /// Code.
    pub code: String,
    /// Machines.
    pub machines: u64,
    /// What to do.
    pub fix: String,
}

/// A machine and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthLine {
    /// Machine.
    pub machine_id: MachineId,
    /// Where it lies.
    pub resource_id: ResourceId,
    /// Name.
    pub name: String,
    /// Subscription.
    pub subscription: SubscriptionId,
    /// Plan in force.
    pub plan: Plan,
    /// Whether it is heard of.
    pub connection: ConnectionState,
    /// How it is.
    pub health: MachineHealth,
}

/// Which machines to list.
#[derive(Debug, Clone, Default)]
pub struct HealthFilter {
    /// Only with a finding of this class.
    pub class: Option<HealthClass>,
    /// Only with this code, in any case.
    pub code: Option<String>,
    /// Only in this state.
    pub state: Option<HealthState>,
    /// Only in this subscription.
    pub subscription: Option<SubscriptionId>,
}

impl HealthFilter {
    fn passes(&self, judged: &Judged) -> bool {
        self.state.is_none_or(|s| s == judged.state)
            && ((self.class.is_none() && self.code.is_none())
                || judged.findings.iter().any(|f| {
                    self.class.is_none_or(|c| c == f.class)
                        && self.code.as_ref().is_none_or(|c| c.eq_ignore_ascii_case(&f.code))
                }))
    }
}

/// What was worked out of one machine.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    judged: Judged,
    since: Micros,
}

#[derive(Debug, Default)]
struct Book {
    machines: HashMap<MachineId, Kept>,
    refreshed: Option<Micros>,
}

/// The room.
pub struct Health {
    shared: Arc<Shared>,
    connect: Arc<Connect>,
    clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    book: Mutex<Book>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Health {
    /// Reads what was worked out before.
    pub async fn open(
        shared: &Arc<Shared>,
        connect: &Arc<Connect>,
        clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Result<Arc<Self>, HealthError> {
        let book = store::load(&shared.db, &shared.tenant).await?;
        let book = Mutex::new(book);
        Ok(Arc::new(Self { shared: Arc::clone(shared), connect: Arc::clone(connect), clock, book }))
    }

    /// Held for moments only, never across an await.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works it out for every machine, now, and keeps what changed; how many did.
    pub async fn refresh(&self) -> Result<usize, HealthError> {
        let (now, shared) = ((self.clock)(), &self.shared);
        let sight = shared.plane.sight(&shared.tenant, now).await?;
        let looks = self.connect.connector_looks();
        let mut fresh: HashMap<MachineId, Judged> = HashMap::new();
        let take = |machine: Machine| {
            let wanted = sight.desired(&machine.id, &machine.resource_id, &machine.tags).sensor;
            let device = machine.device_id.as_ref().and_then(|id| shared.fleet.look(id, now));
            let (connector, device) = (looks.get(&machine.id), device.as_ref());
            let judged = judge::judge(&Case { machine: &machine, wanted, connector, device }, now);
            fresh.insert(machine.id, judged);
        };
        shared.plane.machines_walk(&shared.tenant, now, take).await?;
        let (changed, gone) = {
            let book = self.book();
            let gone: Vec<MachineId> = book.machines.keys().filter(|id| !fresh.contains_key(*id)).cloned().collect();
            let changed: Vec<(MachineId, Kept)> = fresh
                .into_iter()
                .filter_map(|(id, judged)| {
                    let before = book.machines.get(&id);
                    if before.is_some_and(|k| k.judged == judged) {
                        return None;
                    }
                    // The same findings in other words began when they began.
                    let since = before.filter(|k| k.judged.is_alike(&judged)).map_or(now, |k| k.since);
                    Some((id, Kept { judged, since }))
                })
                .collect();
            (changed, gone)
        };
        store::save(&shared.db, &shared.tenant, &changed, &gone, now).await?;
        let count = changed.len() + gone.len();
        let mut book = self.book();
        book.machines.extend(changed);
        book.machines.retain(|id, _| !gone.contains(id));
        book.refreshed = Some(now);
        Ok(count)
    }

    /// Works until the server stops.
    pub async fn run_loop(self: Arc<Self>) {
        let mut devices = self.shared.fleet.changes();
        let (mut revision, mut due) = (0, true);
        let mut last: Option<(Instant, Duration)> = None;
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            // More than the channel holds is news like one.
            while !matches!(devices.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {
                due = true;
            }
            let newest = self.shared.plane.revision();
            due |= newest != revision;
            let (rested, overdue) = last.map_or((true, true), |(at, took)| {
                (at.elapsed() >= took.saturating_mul(REST), at.elapsed() >= REFRESH_EVERY)
            });
            if !rested || !(due || overdue) {
                continue;
            }
            let begun = Instant::now();
            match self.refresh().await {
                Ok(_) => (revision, due) = (newest, false),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "health of machines was not worked out");
                }
            }
            last = Some((Instant::now(), begun.elapsed()));
        }
    }

    fn view(kept: &Kept, refreshed: Option<Micros>) -> MachineHealth {
        MachineHealth {
            state: kept.judged.state,
            findings: kept.judged.findings.clone(),
            since: rfc3339(kept.since),
            refreshed: rfc3339(refreshed.unwrap_or(kept.since)),
        }
    }

    /// How a machine is, as it was last worked out; `None` before the first time.
    pub fn of(&self, machine: &MachineId) -> Option<MachineHealth> {
        let book = self.book();
        book.machines.get(machine).map(|kept| Self::view(kept, book.refreshed))
    }

    /// Writes it into machines.
    pub fn fill(&self, machines: &mut [Machine]) {
        for machine in machines {
            machine.health = self.of(&machine.id);
        }
    }

    /// Machines that pass a filter, wherever they lie.
    pub fn only(&self, filter: &HealthFilter) -> HashSet<MachineId> {
        let book = self.book();
        book.machines.iter().filter(|(_, kept)| filter.passes(&kept.judged)).map(|(id, _)| id.clone()).collect()
    }

    /// Machines by state, class and code, of those that the caller may see.
    pub async fn summary(
        &self,
        sees: &Sees,
        subscription: Option<SubscriptionId>,
    ) -> Result<HealthSummary, HealthError> {
        let filter = MachineFilter { subscription, sees: Some(sees.clone()), ..MachineFilter::default() };
        let mut seen = Vec::new();
        let take = |machine: Machine| {
            if filter.passes(&machine) {
                seen.push(machine.id);
            }
        };
        self.shared.plane.machines_walk(&self.shared.tenant, (self.clock)(), take).await?;
        let book = self.book();
        let mut all = HealthSummary {
            refreshed: book.refreshed.map(rfc3339),
            refresh_seconds: REFRESH_EVERY.as_secs(),
            ..HealthSummary::default()
        };
        all.by_state.extend(HealthState::ALL.iter().map(|s| (s.to_string(), 0)));
        all.by_class.extend(HealthClass::ALL.iter().map(|c| (c.to_string(), 0)));
        let mut codes: BTreeMap<&str, HealthCodeLine> = BTreeMap::new();
        for kept in seen.iter().filter_map(|id| book.machines.get(id)) {
            all.machines += 1;
            *all.by_state.entry(kept.judged.state.to_string()).or_default() += 1;
            let (mut classes, mut told) = (HashSet::new(), HashSet::new());
            for f in &kept.judged.findings {
                if classes.insert(f.class) {
                    *all.by_class.entry(f.class.to_string()).or_default() += 1;
                }
                if told.insert(f.code.as_str()) {
                    let line = codes.entry(f.code.as_str()).or_insert_with(|| HealthCodeLine {
                        class: f.class,
                        code: f.code.clone(),
                        machines: 0,
                        fix: judge::fix(&f.code).to_owned(),
                    });
                    line.machines += 1;
                }
            }
        }
        all.codes = codes.into_values().collect();
        all.codes.sort_by(|a, b| b.machines.cmp(&a.machines).then_with(|| a.code.cmp(&b.code)));
        Ok(all)
    }

    /// Machines by name, after a place of the list (name in lower case, id), at most `limit`.
    pub async fn list(
        &self,
        filter: &HealthFilter,
        sees: &Sees,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<HealthLine>, HealthError> {
        let only = self.only(filter);
        let which = MachineFilter {
            subscription: filter.subscription.clone(),
            sees: Some(sees.clone()),
            only: Some(only),
            ..MachineFilter::default()
        };
        let (tenant, now) = (&self.shared.tenant, (self.clock)());
        let machines = self.shared.plane.machines(tenant, &which, after, limit.min(STEP), now).await?;
        let line = |m: Machine| {
            Some(HealthLine {
                health: self.of(&m.id)?,
                name: m.name.to_string(),
                subscription: m.resource_id.subscription.clone(),
                plan: m.plan.plan,
                connection: m.state,
                machine_id: m.id,
                resource_id: m.resource_id,
            })
        };
        Ok(machines.into_iter().filter_map(line).collect())
    }
}
