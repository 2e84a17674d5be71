//! Connectors: how machines are connected, what they say of themselves, and what they are ordered.
//!
//! Decisions are pure: [`reconcile`] says which order closes the difference between what should be and what is,
//! [`support`] which machines are supported, [`runs`] when two share an identity. This file keeps what is known of every
//! machine in memory and in the database; the database decides: a standing is changed only by who saw its newest
//! revision, so two servers give no order twice.
//!
//! Machines, plans and exclusions are the plane's; this room asks it and tells it.

mod enrol;
mod look;
mod off_board;
pub mod packages;
pub mod reconcile;
pub mod remedies;
mod report;
pub mod rollout;
pub mod rollouts;
pub mod runs;
mod store;
pub mod support;
mod tokens;

pub use enrol::ConnectedMachine;
pub use look::ConnectorLook;
pub use off_board::{OffBoardLine, OffBoarding};
pub use store::HistoryLine;
pub use tokens::{ConnectorTokenNew, ConnectorTokenRecord};

use crate::db::{DbError, Dialect};
use crate::identity::TokenRefused;
use crate::plane::{ExtensionReport, Heartbeat, MachineFilter, PlaneError, Sight};
use crate::shared::Shared;
use garrison_model::{ConnectorId, ExtensionCode, MachineId, Micros, PowerState, ResourceId, SENSOR_EXTENSIONS, Tags};
use garrison_wire::connect::v1;
use packages::Packages;
use reconcile::{Standing, Wish};
use runs::Runs;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use support::{SUPPORTED, Sheet};
use tokio::sync::Notify;

/// The extension that this room carries.
pub const EXTENSION: &str = SENSOR_EXTENSIONS[0];

/// How often plans, exclusions and standings are held against each other: a plan that is switched on reaches a waiting
/// machine within this time.
const RECONCILE_EVERY: Duration = Duration::from_secs(1);
/// How often packages, places and tags of machines are read anew.
const REFRESH_EVERY: u32 = 15;
/// The same where no other server can have changed anything, and this one has not.
const REFRESH_ALONE_EVERY: u32 = 120;
/// Machines read of the plane.
const MACHINES_MAX: usize = 200_000;
/// Tries against another server that changes the same machine at the same time.
const TRIES_MAX: usize = 5;

/// Something about connectors failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is no token.
    #[error("the connector token is malformed")]
    TokenMalformed,
    /// The token is not taken.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// The token lets machines in elsewhere.
    #[error("the token connects machines to {0} only")]
    Scope(String),
    /// A value is not usable; our own words.
    #[error("{0}")]
    Value(String),
    /// The certificate request is malformed.
    #[error("the certificate request is malformed")]
    Request(#[source] garrison_wire::identity::IdentityError),
    /// There is no such machine, connector or order.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// The plane refuses.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// Two servers change one machine all the time.
    #[error("the machine is being changed elsewhere")]
    Busy,
    /// A roll-out has not ended.
    #[error("the roll-out `{0}` has not ended")]
    Open(String),
    /// A roll-out has ended.
    #[error("the roll-out is {0} already")]
    Over(&'static str),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// Identity failed.
    #[error(transparent)]
    Identity(#[from] crate::identity::Error),
    /// What is stored cannot be read.
    #[error("a stored {0} cannot be read")]
    Stored(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for ConnectError {
    fn from(source: sqlx::Error) -> Self {
        Self::Db(source.into())
    }
}

/// What a connector said of its machine, cut to size; stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineFacts {
    /// Host name.
    pub host_name: String,
    /// Operating system.
    pub os: String,
    /// Distribution.
    pub distribution: String,
    /// Its version.
    pub version: String,
    /// Kernel.
    pub kernel: String,
    /// Architecture.
    pub architecture: String,
    /// Processors.
    pub processors: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Free bytes where the sensor is, in steps of 64 MiB, so that not every report is news.
    pub disk_free_bytes: u64,
    /// Whether systemd is PID 1.
    pub systemd: bool,
    /// Other products that block file access.
    pub blocking_products: Vec<String>,
    /// Cloud.
    pub cloud: String,
    /// Id in the cloud.
    pub instance: String,
    /// Account or subscription in the cloud.
    pub account: String,
    /// Region or zone.
    pub location: String,
    /// Products of others that protect endpoints; `None` where nobody looked.
    pub products: Option<Vec<ProductFound>>,
    /// What its antimalware says of itself; `None` where none is known.
    pub protection: Option<ProtectionFacts>,
}

/// A product that a connector found on its machine, by a name that is in its list; stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProductFound {
    /// Product.
    pub name: String,
    /// Package that is installed; empty if none is known to be.
    pub package: String,
    /// Process that runs; empty if none does.
    pub process: String,
}

/// What a machine's antimalware says of itself; times in seconds since 1970, 0 where it never happened; stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProtectionFacts {
    /// `on`, `partial` or `off`.
    pub state: String,
    /// When the signatures in use were published.
    pub signatures_time: i64,
    /// When the last quick scan ended.
    pub quick_scan_time: i64,
    /// When the last full scan ended.
    pub full_scan_time: i64,
    /// Whose it is; empty for the sensor's own.
    pub product: String,
    /// What more there is to say of its state.
    pub detail: String,
    /// What the machine can be asked to do about it.
    pub remedies: Vec<String>,
}

/// What other rooms judge a connected machine by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Products of others; `None` where nobody looked.
    pub products: Option<Vec<ProductFound>>,
    /// Its antimalware; `None` where none is known.
    pub protection: Option<ProtectionFacts>,
    /// Whether the machine was off-boarded.
    pub offboarded: bool,
    /// What it was asked to do about its antimalware, oldest first.
    pub remedies: Vec<remedies::Asked>,
}

impl Look {
    fn of(e: &Entry) -> Self {
        Self {
            products: e.facts.products.clone(),
            protection: e.facts.protection.clone(),
            offboarded: e.standing.offboarded.is_some(),
            remedies: e.standing.remedies.clone(),
        }
    }
}

/// What is known of a connected machine.
#[derive(Debug, Clone)]
struct Entry {
    machine: MachineId,
    /// Where it lies; `None` when the plane does not know it any more.
    place: Option<(ResourceId, Tags)>,
    binding: v1::Binding,
    runs: Runs,
    facts: MachineFacts,
    standing: Standing,
    revision: i64,
    revoked: Option<String>,
    connector_version: String,
    power: Option<PowerState>,
    heard: Option<Micros>,
    /// Heard since the last heartbeat was written.
    beats: bool,
    /// Facts or runs changed since they were written.
    changed: bool,
    /// What was there when nothing was left to do: the ground's number, and the standing's revision. Place and facts take
    /// it away where they change.
    at_rest: Option<(u64, i64)>,
    news: Arc<Notify>,
}

/// The room.
pub struct Connect {
    shared: Arc<Shared>,
    packages: Arc<Packages>,
    clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    entries: Mutex<HashMap<ConnectorId, Entry>>,
    sight: Mutex<Arc<Sight>>,
    offer: Mutex<Arc<rollouts::Offer>>,
    /// Grows where what is wanted of all machines changes: plans, exclusions, packages, the roll-out.
    ground: AtomicU64,
    /// Revision of the plane that machines were last read at.
    read_at: AtomicU64,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").finish_non_exhaustive()
    }
}

impl Connect {
    /// Reads everything that is known.
    pub async fn open(
        shared: &Arc<Shared>,
        clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Result<Arc<Self>, ConnectError> {
        let connect = Self {
            shared: Arc::clone(shared),
            packages: Arc::new(Packages::new(shared.data.join("packages"))),
            clock,
            entries: Mutex::default(),
            sight: Mutex::default(),
            offer: Mutex::default(),
            ground: AtomicU64::new(1),
            read_at: AtomicU64::new(u64::MAX),
        };
        for (id, entry) in connect.stored(None).await? {
            connect.entries().insert(id, entry);
        }
        connect.refresh().await?;
        connect.rollout_step().await?;
        Ok(Arc::new(connect))
    }

    fn now(&self) -> Micros {
        (self.clock)()
    }

    /// Packages of the sensor.
    pub fn packages(&self) -> &Arc<Packages> {
        &self.packages
    }

    /// Held for moments only, never across an await.
    fn entries(&self) -> MutexGuard<'_, HashMap<ConnectorId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sight(&self) -> Arc<Sight> {
        Arc::clone(&self.sight.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn sight_read(&self) -> Result<(), ConnectError> {
        let sight = self.shared.plane.sight(&self.shared.tenant, self.now()).await?;
        let mut held = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.is_like(&sight) {
            self.ground_moved();
        }
        *held = Arc::new(sight);
        Ok(())
    }

    /// Something that is wanted of all machines has changed.
    fn ground_moved(&self) {
        self.ground.fetch_add(1, Ordering::AcqRel);
    }

    fn entry(&self, id: &ConnectorId) -> Option<Entry> {
        self.entries().get(id).cloned()
    }

    /// The connector of a machine whose identity holds.
    fn connector_of(&self, machine: &MachineId) -> Option<ConnectorId> {
        let entries = self.entries();
        entries.iter().find(|(_, e)| e.machine == *machine && e.revoked.is_none()).map(|(id, _)| id.clone())
    }

    /// Whether the sensor is wanted on a machine.
    fn desired(&self, entry: &Entry) -> Result<(), garrison_model::NotCovered> {
        match &entry.place {
            Some((resource, tags)) => self.sight().desired(&entry.machine, resource, tags).sensor,
            None => Err(garrison_model::NotCovered::NoPlan),
        }
    }

    /// Whether a machine is supported.
    fn support(entry: &Entry) -> Result<(), (ExtensionCode, String)> {
        let f = &entry.facts;
        let is_there = entry.standing.extension.as_ref().is_some_and(|e| !e.version.is_empty());
        SUPPORTED.judge(&Sheet {
            distribution: f.distribution.clone(),
            version: f.version.clone(),
            kernel: f.kernel.clone(),
            architecture: f.architecture.clone(),
            processors: f.processors,
            memory_bytes: f.memory_bytes,
            disk_free_bytes: (!is_there).then_some(f.disk_free_bytes),
        })
    }

    /// What should be on a machine.
    fn wish(&self, entry: &Entry) -> Wish {
        Wish {
            sensor: self.desired(entry),
            support: Self::support(entry),
            package: self.package_for(entry),
            blocking: entry.facts.blocking_products.clone(),
        }
    }

    /// Changes what is known of a machine's extension and reconciles; what changed is stored before this returns.
    async fn change<E>(
        &self,
        id: &ConnectorId,
        change: impl Fn(&mut Standing, Micros) -> Result<(), E>,
    ) -> Result<Result<Standing, E>, ConnectError> {
        for _ in 0..TRIES_MAX {
            let entry = self.entry(id).ok_or(ConnectError::Unknown("connector"))?;
            let now = self.now();
            let mut standing = entry.standing.clone();
            if let Err(refused) = change(&mut standing, now) {
                return Ok(Err(refused));
            }
            standing.reconcile(&self.wish(&entry), now);
            if standing == entry.standing {
                return Ok(Ok(standing));
            }
            if self.standing_save(&entry, &standing, now).await? {
                if let Some(e) = self.entries().get_mut(id) {
                    e.standing = standing.clone();
                    e.revision = entry.revision + 1;
                    e.news.notify_waiters();
                }
                self.tell_plane(&[(entry.machine.clone(), standing.clone())], now).await;
                return Ok(Ok(standing));
            }
            // Somebody else was first: what they wrote counts.
            let newer = self.standing_load(&entry.machine).await?;
            if let (Some(e), Some((standing, revision))) = (self.entries().get_mut(id), newer) {
                (e.standing, e.revision) = (standing, revision);
            }
        }
        Err(ConnectError::Busy)
    }

    /// Tells the plane how extensions stand. What cannot be told now is told by the next refresh.
    async fn tell_plane(&self, machines: &[(MachineId, Standing)], now: Micros) {
        for chunk in machines.chunks(200) {
            if let Err(error) = self.tell_plane_now(chunk, now).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot note how an extension stands");
            }
        }
    }

    async fn tell_plane_now(&self, machines: &[(MachineId, Standing)], now: Micros) -> Result<(), ConnectError> {
        let mut change = self.shared.plane.change(&self.shared.tenant, "connector", now).await?;
        for (machine, standing) in machines {
            let told = match plane_report(standing) {
                Some(report) => change.extension_report(machine, &report).await,
                None => match change.extension_delete(machine, EXTENSION).await {
                    Err(PlaneError::Unknown(_)) => Ok(()),
                    other => other,
                },
            };
            match told {
                // A machine that was deleted meanwhile has nothing to be told.
                Ok(()) | Err(PlaneError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(change.commit().await?)
    }

    /// Reads packages, places and tags of machines anew, and tells the plane what it does not know yet.
    async fn refresh(&self) -> Result<(), ConnectError> {
        // Before it is read: what changes meanwhile is read in the next turn.
        let revision = self.shared.plane.revision();
        self.packages_look().await;
        self.sight_read().await?;
        let now = self.now();
        let (tenant, every) = (&self.shared.tenant, MachineFilter::default());
        let all = self.shared.plane.machines(tenant, &every, None, MACHINES_MAX, now).await?;
        let mut known: HashMap<MachineId, garrison_model::Machine> =
            all.into_iter().map(|m| (m.id.clone(), m)).collect();
        let mut behind = Vec::new();
        for e in self.entries().values_mut().filter(|e| e.revoked.is_none()) {
            let Some(machine) = known.remove(&e.machine) else {
                (e.place, e.at_rest) = (None, None);
                continue;
            };
            let told = machine.extensions.iter().find(|x| x.name == EXTENSION).map(|x| (x.state, x.code));
            let is = e.standing.extension.as_ref().map(|x| (x.state, i64::from(x.code.number())));
            if told != is {
                behind.push((e.machine.clone(), e.standing.clone()));
            }
            let place = Some((machine.resource_id, machine.tags));
            if e.place != place {
                (e.place, e.at_rest) = (place, None);
            }
        }
        self.tell_plane(&behind, now).await;
        self.read_at.store(revision, Ordering::Release);
        Ok(())
    }

    /// Looks at the folder of packages.
    pub async fn packages_look(&self) {
        let packages = Arc::clone(&self.packages);
        // A look that fails leaves what was seen before.
        if let Ok(true) = tokio::task::spawn_blocking(move || packages.look()).await {
            self.ground_moved();
        }
    }

    /// One turn: reconciles every machine and writes heartbeats.
    async fn turn(&self, number: u32) -> Result<(), ConnectError> {
        // A change of this server is seen at its revision; one of another server on the same database is not.
        let is_changed = self.read_at.load(Ordering::Acquire) != self.shared.plane.revision();
        let is_alone = self.shared.db.dialect() == Dialect::Sqlite;
        let is_due = if is_alone { number.is_multiple_of(REFRESH_ALONE_EVERY) } else { false };
        if number.is_multiple_of(REFRESH_EVERY) && (is_changed || !is_alone) || is_due {
            self.refresh().await?;
        } else {
            self.packages_look().await;
            self.sight_read().await?;
        }
        self.rollout_step().await?;
        self.change_each(|_, _| (), true).await?;
        if number.is_multiple_of(5) {
            self.flush().await?;
        }
        Ok(())
    }

    /// Holds every machine's standing against what should be, and stores what changed, many in one transaction.
    pub async fn reconcile_all(&self) -> Result<usize, ConnectError> {
        self.change_all(|_, _| ()).await
    }

    /// Changes every machine's standing, reconciles it, and stores what changed.
    async fn change_all(&self, change: impl Fn(&mut Standing, Micros)) -> Result<usize, ConnectError> {
        self.change_each(change, false).await
    }

    /// The same; `stirred` leaves out machines on which nothing was to do, and of which nothing has changed since.
    async fn change_each(&self, change: impl Fn(&mut Standing, Micros), stirred: bool) -> Result<usize, ConnectError> {
        let (now, ground) = (self.now(), self.ground.load(Ordering::Acquire));
        let all: Vec<(ConnectorId, Entry)> = self
            .entries()
            .iter()
            .filter(|(_, e)| e.revoked.is_none() && !(stirred && e.at_rest == Some((ground, e.revision))))
            .map(|(id, e)| (id.clone(), e.clone()))
            .collect();
        let (mut changed, mut at_rest) = (Vec::new(), Vec::new());
        for (id, entry) in all {
            let mut standing = entry.standing.clone();
            change(&mut standing, now);
            standing.reconcile(&self.wish(&entry), now);
            if standing != entry.standing {
                changed.push((id, entry, standing));
            } else if standing.is_still() {
                at_rest.push((id, entry));
            }
        }
        {
            let mut entries = self.entries();
            for (id, seen) in at_rest {
                // What came meanwhile is looked at in the next turn.
                if let Some(e) = entries.get_mut(&id).filter(|e| e.place == seen.place && e.facts == seen.facts) {
                    e.at_rest = Some((ground, seen.revision));
                }
            }
        }
        for chunk in changed.chunks(500) {
            let saved = self.standings_save(chunk, now).await?;
            let mut told = Vec::with_capacity(chunk.len());
            {
                let mut entries = self.entries();
                for ((id, entry, standing), saved) in chunk.iter().zip(saved) {
                    // What another server or a report changed meanwhile is looked at again in the next turn.
                    if saved && let Some(e) = entries.get_mut(id).filter(|e| e.revision == entry.revision) {
                        (e.standing, e.revision) = (standing.clone(), entry.revision + 1);
                        e.news.notify_waiters();
                        told.push((entry.machine.clone(), standing.clone()));
                    }
                }
            }
            self.tell_plane(&told, now).await;
        }
        Ok(changed.len())
    }

    /// Writes heartbeats, facts and runs that came since.
    pub async fn flush(&self) -> Result<(), ConnectError> {
        let now = self.now();
        let mut beats = Vec::new();
        let mut changed = Vec::new();
        for (id, e) in self.entries().iter_mut() {
            if std::mem::take(&mut e.beats) && e.place.is_some() {
                beats.push((e.machine.clone(), heartbeat(e)));
            }
            if std::mem::take(&mut e.changed) {
                changed.push((id.clone(), e.clone()));
            }
        }
        for chunk in beats.chunks(500) {
            let mut change = self.shared.plane.change(&self.shared.tenant, "connector", now).await?;
            for (machine, beat) in chunk {
                match change.machine_heartbeat(machine, beat).await {
                    Ok(()) | Err(PlaneError::Unknown(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            change.commit().await?;
        }
        self.connectors_save(&changed).await
    }

    /// Works until the server stops.
    pub async fn run_loop(self: Arc<Self>) {
        let mut number = 0_u32;
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => break,
                () = tokio::time::sleep(RECONCILE_EVERY) => {}
            }
            number = number.wrapping_add(1);
            if let Err(error) = self.turn(number).await {
                tracing::error!(error = &error as &dyn std::error::Error, "machines could not be reconciled");
            }
        }
        if let Err(error) = self.flush().await {
            tracing::error!(error = &error as &dyn std::error::Error, "heartbeats could not be written");
        }
    }

    /// Deletes a machine's extension; wanted still, it comes back once.
    pub async fn extension_delete(&self, machine: &MachineId, who: &str) -> Result<(), ConnectError> {
        let id = self.connector_of(machine).ok_or(ConnectError::Unknown("connected machine"))?;
        let done = self.change(&id, |standing, now| standing.delete(who, now)).await?;
        done.map(drop).map_err(|_| ConnectError::Unknown("extension"))
    }

    /// A machine was moved to another subscription or group: its extension is deployed anew there, where it is wanted.
    pub async fn moved(&self, machine: &MachineId) -> Result<(), ConnectError> {
        match self.mark(machine, |standing, _| standing.moved()).await {
            // Nothing is on a machine without a connector.
            Err(ConnectError::Unknown(_)) => Ok(()),
            other => other,
        }
    }

    /// Off-boards a machine: everything of ours goes from it, and nothing comes back by itself. True where it had said
    /// already that everything is gone.
    pub async fn offboard(&self, machine: &MachineId, who: &str) -> Result<bool, ConnectError> {
        match self.mark(machine, |standing, now| standing.offboard(who, now)).await {
            Ok(()) => Ok(false),
            Err(ConnectError::Unknown(_)) if self.has_left(machine) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether a machine was off-boarded and has gone.
    fn has_left(&self, machine: &MachineId) -> bool {
        let entries = self.entries();
        entries.values().any(|e| e.machine == *machine && e.revoked.is_some() && e.standing.is_gone())
    }

    /// Lets the plan count again on a machine that was off-boarded. One whose connector has left gets its sensor when it
    /// is enrolled again.
    pub async fn onboard(&self, machine: &MachineId) -> Result<(), ConnectError> {
        match self.mark(machine, |standing, _| standing.onboard()).await {
            Err(ConnectError::Unknown(_)) => self.onboard_absent(machine).await,
            other => other,
        }
    }

    async fn onboard_absent(&self, machine: &MachineId) -> Result<(), ConnectError> {
        for _ in 0..TRIES_MAX {
            let known = self.entries().values().find(|e| e.machine == *machine).cloned();
            let mut entry = known.ok_or(ConnectError::Unknown("connected machine"))?;
            let Some((standing, revision)) = self.standing_load(machine).await? else { return Ok(()) };
            (entry.standing, entry.revision) = (standing, revision);
            let mut standing = entry.standing.clone();
            standing.onboard();
            if standing == entry.standing || self.standing_save(&entry, &standing, self.now()).await? {
                for e in self.entries().values_mut().filter(|e| e.machine == *machine) {
                    (e.standing, e.revision) = (standing.clone(), revision + 1);
                }
                return Ok(());
            }
        }
        Err(ConnectError::Busy)
    }

    async fn mark(&self, machine: &MachineId, change: impl Fn(&mut Standing, Micros)) -> Result<(), ConnectError> {
        let id = self.connector_of(machine).ok_or(ConnectError::Unknown("connected machine"))?;
        let done: Result<Standing, std::convert::Infallible> = self
            .change(&id, |standing, now| {
                change(standing, now);
                Ok(())
            })
            .await?;
        match done {
            Ok(_) => Ok(()),
            Err(never) => match never {},
        }
    }

    /// Tries a failed installation again at once, not when its wait is over.
    pub async fn retry(&self, machine: &MachineId) -> Result<(), ConnectError> {
        self.mark(machine, |standing, _| (standing.failures, standing.retry_at) = (0, 0)).await
    }

    /// What connectors said of their machines and how their extensions stand, as of now.
    pub fn looks(&self) -> HashMap<MachineId, Look> {
        let entries = self.entries();
        let there = entries.values().filter(|e| e.revoked.is_none());
        there.map(|e| (e.machine.clone(), Look::of(e))).collect()
    }

    /// The same of one machine.
    pub fn look(&self, machine: &MachineId) -> Option<Look> {
        let id = self.connector_of(machine)?;
        self.entry(&id).as_ref().map(Look::of)
    }

    /// How a machine's extension stands.
    pub fn standing(&self, machine: &MachineId) -> Option<Standing> {
        let id = self.connector_of(machine)?;
        self.entry(&id).map(|e| e.standing)
    }

    /// Connected machines that are known.
    pub fn count(&self) -> usize {
        self.entries().len()
    }
}

fn heartbeat(e: &Entry) -> Heartbeat {
    Heartbeat {
        power_state: e.power,
        system: Some(enrol::system(&e.facts)),
        connector_version: e.connector_version.clone(),
    }
}

/// What the plane keeps of an extension; `None` where there is none.
fn plane_report(standing: &Standing) -> Option<ExtensionReport> {
    let e = standing.extension.as_ref()?;
    let (_, words, fix) = e.code.words();
    let is_failure = e.code != ExtensionCode::Ok;
    let mut message = if is_failure { words.to_owned() } else { String::new() };
    if !e.detail.is_empty() {
        message.push_str(if message.is_empty() { "" } else { " " });
        message.push_str(&e.detail);
    }
    Some(ExtensionReport {
        name: EXTENSION.to_owned(),
        state: e.state,
        code: i64::from(e.code.number()),
        message,
        fix: if is_failure { fix.to_owned() } else { String::new() },
        version: e.version.clone(),
    })
}
