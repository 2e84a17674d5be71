//! Detection over the whole fleet: every durable row is looked at by every rule, and what they find becomes alerts.
//!
//! **No alert is lost, none is made twice.** Rows come from ingest after they are durable. The *watermark* is a moment
//! of ingest time before which all rows have been looked at and their alerts committed; it is written every second. On
//! start, rows that came after the watermark (less [`WATERMARK_SLACK`] for what waited in queues) are read from the lake
//! and looked at again. Alerts have ids derived from rule and row, and the rows of each alert are kept, so a second look
//! finds its first one and changes nothing.
//!
//! **Back-pressure.** Rules run on the ingest workers' threads, so a storm slows reading from sensors, which keep their
//! rows. Hits go through one bounded queue to one writer; when the database is slow the queue fills and the workers wait.
//!
//! Windows of correlations live in memory: after a restart they hold what the second look gave them.

pub mod behaviour;
pub mod custom;
pub mod draft;
pub mod evidence;
pub mod expire;
pub mod indicator;
pub mod linked;
pub mod live;
pub mod process;
pub mod recover;
pub mod retro;
pub mod rules;
pub mod sigma_plan;
pub mod store;
pub mod summary;
pub mod suppression;
pub mod trial;

use crate::incidents::{AlertDraft, Incidents};
use crate::ingest::{Observer, Stored};
use crate::shared::Shared;
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use draft::HitRow;
use garrison_model::{DeviceId, Feature, Micros};
use garrison_sigma::{CorrelationState, Matches, Origin, Platform, RuleIndex, Scratch};
use lru::LruCache;
use rules::Loaded;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Hits on their way to the writer: a second of a very bad day.
const QUEUE_MAX: usize = 4_096;
/// Drafts written in one transaction: keeps other writers waiting for milliseconds only.
const DRAFTS_PER_WRITE_MAX: usize = 64;
/// Hits of one batch that become drafts; a rule that holds on every row is cut here and the rest only counted.
const HITS_PER_BATCH_MAX: usize = 256;
/// Rows kept because a correlation may name them later.
const ROWS_KEPT_MAX: usize = 20_000;
/// Rows of one correlation that its alert carries.
const CORRELATION_ROWS_MAX: usize = 16;
/// Rows may wait this long between the write-ahead log and us; queues before us are shorter.
pub const WATERMARK_SLACK: i64 = 120_000_000;

/// What can go wrong with rules.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// No such rule.
    #[error("there is no rule with this id")]
    Unknown,
    /// Shipped rules can only be switched off.
    #[error("rule `{0}` comes with the program and can be disabled, not deleted")]
    Shipped(String),
    /// Too much at once.
    #[error("rule source is larger than {} MiB", rules::IMPORT_BYTES_MAX >> 20)]
    TooLarge,
    /// A test's rows are not rows.
    #[error("row {row} of the test cannot be used: {why}")]
    TestRow {
        /// Which, from 0.
        row: usize,
        /// Why.
        why: String,
    },
    /// The database.
    #[error("the rule database failed")]
    Db(#[from] sqlx::Error),
    /// The database layer.
    #[error("the rule database cannot be written")]
    Write(#[from] crate::db::DbError),
    /// The lake.
    #[error("the lake cannot be read")]
    Lake(#[from] garrison_lake::LakeError),
    /// Signing.
    #[error("the content bundle cannot be packed")]
    Content(#[from] garrison_wire::content::ContentError),
    /// A task ended early.
    #[error("a background task of detection ended")]
    Task,
}

/// Rows looked at and what came of it.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows.
    pub rows: AtomicU64,
    /// Rows on which a rule held.
    pub hits: AtomicU64,
    /// Hits beyond [`HITS_PER_BATCH_MAX`], which made no alert.
    pub hits_cut: AtomicU64,
    /// New alerts.
    pub alerts: AtomicU64,
    /// Drafts folded into older alerts.
    pub folded: AtomicU64,
    /// Alerts hidden by a suppression.
    pub suppressed: AtomicU64,
    /// Tries to write drafts that failed and were repeated.
    pub write_failures: AtomicU64,
}

/// Ingest times of rows that are being looked at, or whose alerts are not committed yet.
#[derive(Debug, Default)]
struct InFlight {
    times: Mutex<(u64, BTreeSet<(i64, u64)>, i64)>,
}

/// Held while rows are under way.
#[derive(Debug)]
struct Ticket {
    all: Arc<InFlight>,
    key: (i64, u64),
}

impl InFlight {
    fn enter(self: &Arc<Self>, time: i64) -> Arc<Ticket> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.0 += 1;
        let key = (time, times.0);
        times.1.insert(key);
        times.2 = times.2.max(time);
        Arc::new(Ticket { all: Arc::clone(self), key })
    }

    /// Everything that came before this has been dealt with; `None` if nothing came at all.
    fn watermark(&self) -> Option<i64> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.1.first().map(|(time, _)| *time).or((times.2 > 0).then_some(times.2))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.all.times.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.key);
    }
}

enum Job {
    Draft(Box<AlertDraft>, Arc<Ticket>),
    Flush(tokio::sync::oneshot::Sender<()>),
}

type RowKey = (Arc<str>, u64, RuleIndex);

struct Correlating {
    state: CorrelationState,
    rows: LruCache<RowKey, HitRow>,
}

/// The room.
pub struct Detection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) incidents: Arc<Incidents>,
    loaded: RwLock<Arc<Loaded>>,
    /// Held while rules change, so that two imports do not undo each other.
    pub(crate) changing: tokio::sync::Mutex<()>,
    content: watch::Sender<Arc<garrison_wire::v1::Content>>,
    correlating: Mutex<Correlating>,
    processes: Mutex<process::ProcessCache>,
    in_flight: Arc<InFlight>,
    jobs: mpsc::Sender<Job>,
    live: live::Live,
    behaviours: behaviour::Behaviours,
    /// Counters, for `/metrics` and `/status`.
    pub counters: Counters,
}

impl std::fmt::Debug for Detection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detection").field("counters", &self.counters).finish_non_exhaustive()
    }
}

thread_local! {
    static SCRATCH: RefCell<(Scratch, Matches)> = RefCell::new((Scratch::new(), Matches::new()));
}

impl Detection {
    /// Opens the room: compiles the rules, looks again at rows after the watermark, starts the writer.
    pub async fn start(shared: &Arc<Shared>, incidents: &Arc<Incidents>) -> anyhow::Result<Arc<Self>> {
        let loaded = store::load(shared).await?;
        let content = store::content(shared, &loaded).await?;
        let (content, _) = watch::channel(Arc::new(content));
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let detection = Arc::new(Self {
            shared: Arc::clone(shared),
            incidents: Arc::clone(incidents),
            loaded: RwLock::new(Arc::new(loaded)),
            changing: tokio::sync::Mutex::new(()),
            content,
            correlating: Mutex::new(Correlating {
                state: CorrelationState::default(),
                rows: LruCache::new(NonZeroUsize::new(ROWS_KEPT_MAX).unwrap_or(NonZeroUsize::MIN)),
            }),
            processes: Mutex::new(process::ProcessCache::new()),
            in_flight: Arc::default(),
            jobs,
            live: live::Live::default(),
            behaviours: behaviour::Behaviours::default(),
            counters: Counters::default(),
        });
        tokio::spawn(Arc::clone(&detection).write_loop(queue));
        recover::recover(&detection).await?;
        tokio::spawn(Arc::clone(&detection).clock_loop());
        Ok(detection)
    }

    /// The rules in use.
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn exchange(&self, loaded: Loaded, content: garrison_wire::v1::Content) {
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        {
            // Rule numbers have changed; windows begin anew.
            let mut correlating = self.correlating.lock().unwrap_or_else(PoisonError::into_inner);
            correlating.state = CorrelationState::default();
            correlating.rows.clear();
        }
        self.content.send_if_modified(|current| {
            let changed = current.generation != content.generation;
            *current = Arc::new(content);
            changed
        });
    }

    /// What sensors run; changes when rules change.
    pub fn content(&self) -> watch::Receiver<Arc<garrison_wire::v1::Content>> {
        self.content.subscribe()
    }

    /// Rows of devices as they come.
    pub fn live(&self) -> &live::Live {
        &self.live
    }

    /// Waits until every hit so far is in the database.
    pub async fn flush(&self) {
        let (done, wait) = tokio::sync::oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
        if let Err(error) = self.behaviours.store(&self.shared, crate::now()).await {
            tracing::warn!(%error, "behaviours could not be stored");
        }
        self.watermark_write().await;
    }

    /// What is known of processes; for chains of ancestors.
    pub(crate) fn with_processes<T>(&self, read: impl FnOnce(&mut process::ProcessCache) -> T) -> T {
        read(&mut self.processes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at rows; answers drafts with their ticket still held.
    pub(crate) fn look(&self, stored: &Stored) -> Vec<AlertDraft> {
        let header = &stored.header;
        let rows = stored.batch.num_rows() as u64;
        self.counters.rows.fetch_add(rows, Ordering::Relaxed);
        self.with_processes(|cache| cache.feed(&header.device, &header.table, &stored.batch));
        let loaded = self.loaded();
        SCRATCH.with_borrow_mut(|(scratch, matches)| {
            loaded.engine.evaluate(scratch, &header.table, Some(Platform::Linux), &stored.batch, matches);
            if matches.is_empty() {
                return Vec::new();
            }
            self.counters.hits.fetch_add(matches.len() as u64, Ordering::Relaxed);
            self.drafts(&loaded, stored, matches)
        })
    }

    fn drafts(&self, loaded: &Loaded, stored: &Stored, matches: &Matches) -> Vec<AlertDraft> {
        let engine = &loaded.engine;
        let device: Arc<str> = Arc::from(stored.header.device.as_str());
        let numbers = stored.batch.column_by_name("ReportId").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let number = |row: usize| {
            numbers.filter(|n| row < n.len() && n.is_valid(row)).map_or_else(
                || i64::try_from(stored.header.sequence_first).unwrap_or(0).saturating_add(row as i64),
                |n| n.value(row),
            )
        };
        let now = crate::now();
        let mut drafts = Vec::new();
        let mut correlating = self.correlating.lock().unwrap_or_else(PoisonError::into_inner);
        for (count, hit) in matches.hits().iter().enumerate() {
            if count >= HITS_PER_BATCH_MAX {
                let cut = matches.len() - HITS_PER_BATCH_MAX;
                self.counters.hits_cut.fetch_add(cut as u64, Ordering::Relaxed);
                tracing::warn!(rows = cut, "too many hits in one batch; the rest is counted only");
                break;
            }
            let Some(rule) = engine.rule(hit.rule) else { continue };
            let index = hit.row as usize;
            let row = HitRow {
                table: stored.header.table.clone(),
                boot: stored.header.boot.clone(),
                report_id: number(index),
                row: garrison_telemetry::row_to_json(&stored.batch, index),
                fields: draft::explain(engine, hit.rule, &stored.header.table, &stored.batch, index),
            };
            let sequence = stored.header.sequence_first + u64::from(hit.row);
            correlating.rows.put((Arc::clone(&device), sequence, hit.rule), row.clone());
            if !engine.alerts(hit.rule) || !self.bought(rule, &stored.header.device) {
                continue;
            }
            let made = self.with_processes(|cache| {
                draft::draft(&self.shared.tenant, &stored.header.device, rule, vec![row], 1, cache, now)
            });
            if let Some(made) = made {
                self.sort_out(rule, made, &mut drafts);
            }
        }
        let origin = Origin {
            device: Arc::clone(&device),
            sequence_first: stored.header.sequence_first,
            received: stored.received.0,
        };
        let hits = correlating.state.observe(engine, &stored.header.table, &stored.batch, matches, &origin);
        for hit in hits {
            drafts.extend(self.correlated(loaded, &mut correlating.rows, hit, now));
        }
        drafts
    }

    /// Whether the plan of a device's machine holds alerts of this rule: those on name resolution are a feature of
    /// their own, all others came with the rows.
    fn bought(&self, rule: &garrison_sigma::Rule, device: &DeviceId) -> bool {
        let is_dns = rule.log_source.category.as_deref() == Some("dns_query");
        !is_dns || self.shared.plane.device_requires(&self.shared.tenant, device, Feature::DnsAlerts).is_ok()
    }

    fn correlated(
        &self,
        loaded: &Loaded,
        kept: &mut LruCache<RowKey, HitRow>,
        hit: garrison_sigma::CorrelationHit,
        now: Micros,
    ) -> Option<AlertDraft> {
        if !loaded.engine.alerts(hit.rule) {
            return None;
        }
        let rule = loaded.engine.rule(hit.rule)?;
        let mut rows: Vec<HitRow> = Vec::new();
        let mut device = None;
        let skip = hit.rows.len().saturating_sub(CORRELATION_ROWS_MAX);
        for reference in hit.rows.iter().skip(skip) {
            let key = (Arc::clone(&reference.device), reference.sequence, reference.rule);
            if let Some(row) = kept.get(&key) {
                device = DeviceId::new(reference.device.as_ref()).ok();
                rows.push(row.clone());
            }
        }
        let device = device?;
        let parts = hit.rows.iter().filter_map(|reference| loaded.engine.rule(reference.rule));
        if !parts.into_iter().all(|part| self.bought(part, &device)) {
            return None;
        }
        let made = self.with_processes(|cache| {
            draft::draft(&self.shared.tenant, &device, rule, rows, hit.event_count, cache, now)
        });
        let mut drafts = Vec::new();
        if let Some(mut made) = made {
            // One group of a correlation is one alert while it goes on.
            let group: Vec<String> = hit.group.iter().map(|(field, value)| format!("{field}={value}")).collect();
            made.fold_key = format!("{}/{}", rule.id, group.join("/"));
            self.sort_out(rule, made, &mut drafts);
        }
        drafts.pop()
    }

    /// Informational rules make behaviours, the others alerts.
    fn sort_out(&self, rule: &garrison_sigma::Rule, made: AlertDraft, drafts: &mut Vec<AlertDraft>) {
        if rule.level == garrison_sigma::Level::Informational {
            self.behaviours.add(&made);
        } else {
            drafts.push(made);
        }
    }

    async fn write_loop(self: Arc<Self>, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::new();
        while queue.recv_many(&mut jobs, DRAFTS_PER_WRITE_MAX).await > 0 {
            let (mut drafts, mut tickets, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
            for job in jobs.drain(..) {
                match job {
                    Job::Draft(draft, ticket) => {
                        drafts.push(*draft);
                        tickets.push(ticket);
                    }
                    Job::Flush(done) => waiting.push(done),
                }
            }
            self.write(drafts).await;
            drop(tickets);
            // A stopping server flushes when nothing more can come; the loop itself must not keep the room alive.
            let last = !waiting.is_empty() && self.shared.stop.is_cancelled();
            for done in waiting {
                let _ = done.send(());
            }
            if last {
                return;
            }
        }
    }

    /// Takes in drafts that were made elsewhere than on the stream, with their copies for hunting.
    pub(crate) async fn drafts_take(
        &self,
        drafts: Vec<AlertDraft>,
        now: Micros,
    ) -> Result<crate::incidents::Taken, crate::incidents::CaseError> {
        let taken = self.incidents.alerts_take(drafts.clone(), now).await?;
        self.counters.alerts.fetch_add(taken.made as u64, Ordering::Relaxed);
        self.counters.folded.fetch_add(taken.folded as u64, Ordering::Relaxed);
        self.counters.suppressed.fetch_add(taken.suppressed as u64, Ordering::Relaxed);
        if let Err(error) = self.behaviours.alerts_store(&self.shared, &drafts, &taken.new, now).await {
            // The hunting copy is a convenience; the case itself is safe.
            tracing::warn!(%error, "alert rows could not be stored in the lake");
        }
        Ok(taken)
    }

    /// Writes drafts, however often it takes: the tickets hold the watermark meanwhile.
    async fn write(&self, drafts: Vec<AlertDraft>) {
        if drafts.is_empty() {
            return;
        }
        let mut pause = Duration::from_millis(50);
        loop {
            match self.incidents.alerts_take(drafts.clone(), crate::now()).await {
                Ok(taken) => {
                    self.counters.alerts.fetch_add(taken.made as u64, Ordering::Relaxed);
                    self.counters.folded.fetch_add(taken.folded as u64, Ordering::Relaxed);
                    self.counters.suppressed.fetch_add(taken.suppressed as u64, Ordering::Relaxed);
                    if let Err(error) =
                        self.behaviours.alerts_store(&self.shared, &drafts, &taken.new, crate::now()).await
                    {
                        // The hunting copy is a convenience; the case itself is safe.
                        tracing::warn!(%error, "alert rows could not be stored in the lake");
                    }
                    return;
                }
                Err(error) => {
                    self.counters.write_failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(error = &error as &dyn std::error::Error, "alerts cannot be written, trying again");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shared.stop.cancelled() => return,
                    }
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    /// Once a second: correlations that wait for silence, behaviours, and the watermark.
    async fn clock_loop(self: Arc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.shared.stop.cancelled() => return,
            }
            let now = crate::now();
            let loaded = self.loaded();
            let drafts: Vec<AlertDraft> = {
                let mut correlating = self.correlating.lock().unwrap_or_else(PoisonError::into_inner);
                let hits = correlating.state.advance(&loaded.engine, now.0);
                hits.into_iter().filter_map(|hit| self.correlated(&loaded, &mut correlating.rows, hit, now)).collect()
            };
            for draft in drafts {
                let ticket = self.in_flight.enter(now.0);
                let _ = self.jobs.send(Job::Draft(Box::new(draft), ticket)).await;
            }
            if let Err(error) = self.behaviours.store(&self.shared, now).await {
                tracing::warn!(%error, "behaviours could not be stored");
            }
            self.watermark_write().await;
        }
    }

    async fn watermark_write(&self) {
        let Some(watermark) = self.in_flight.watermark() else { return };
        if let Err(error) = store::watermark_set(&self.shared, watermark).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the detection watermark cannot be written");
        }
    }

    /// Queues drafts from a plain thread.
    fn queue(&self, drafts: Vec<AlertDraft>, ticket: &Arc<Ticket>) {
        for draft in drafts {
            // The writer ends only with the program; then the watermark makes up for it.
            let _ = self.jobs.blocking_send(Job::Draft(Box::new(draft), Arc::clone(ticket)));
        }
    }
}

impl Observer for Detection {
    fn observe(&self, stored: &Stored) {
        let ticket = self.in_flight.enter(stored.received.0);
        let drafts = self.look(stored);
        self.live.send(stored);
        self.queue(drafts, &ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_waits_for_the_oldest_rows_under_way() {
        let all = Arc::new(InFlight::default());
        assert_eq!(all.watermark(), None);
        let old = all.enter(100);
        let new = all.enter(200);
        drop(new);
        assert_eq!(all.watermark(), Some(100));
        let again = Arc::clone(&old);
        drop(old);
        assert_eq!(all.watermark(), Some(100), "a draft still holds it");
        drop(again);
        assert_eq!(all.watermark(), Some(200));
    }
}
