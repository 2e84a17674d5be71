//! Takes batches in: are they sane, are they new, make them durable, then tell detection.
//!
//! A batch runs through: quota → decode and admit (on a worker thread) → the lake's log (group commit) → answer to the
//! sensor → observers (on the same worker thread). Everything is bounded: bytes under way by a semaphore, the workers'
//! queues by their length; when they are full, sessions stop reading and sensors keep their rows. See
//! docs/internals/ingest.md.

mod aside;
mod observer;
mod prepare;
mod quota;
mod worker;

pub use observer::{Observer, Stored};

use crate::Shared;
use aside::Aside;
use bytes::Bytes;
use garrison_lake::{Appended, Batch, LakeError};
use garrison_model::Micros;
use garrison_telemetry::BatchHeader;
use garrison_wire::session::StoreResult;
use quota::Quotas;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use worker::Job;

/// Jobs that wait for one worker: enough to keep it busy while the lake commits, few enough to notice back-pressure.
const WORKER_QUEUE: usize = 64;
/// KiB of payload under way at once, all sessions together: 256 MiB.
const UNDER_WAY_KIB: usize = 256 << 10;

/// The way in.
pub struct Ingest {
    shared: Arc<Shared>,
    workers: Vec<mpsc::Sender<Job>>,
    threads: std::sync::Mutex<Vec<std::thread::JoinHandle<()>>>,
    quotas: Quotas,
    under_way: Arc<Semaphore>,
    hasher: std::hash::RandomState,
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Ingest {
    /// Starts the workers.
    pub fn start(shared: &Arc<Shared>, observers: Vec<Arc<dyn Observer>>) -> std::io::Result<Self> {
        let aside = Arc::new(Aside::open(shared.data.join("aside"))?);
        let observers: Arc<[Arc<dyn Observer>]> = observers.into();
        let mut workers = Vec::new();
        let mut threads = Vec::new();
        for number in 0..shared.config.limits.worker_count() {
            let (sender, receiver) = mpsc::channel(WORKER_QUEUE);
            let (metrics, observers, aside) = (Arc::clone(&shared.metrics), Arc::clone(&observers), Arc::clone(&aside));
            let run = move || worker::run(receiver, &metrics, &observers, &aside);
            threads.push(std::thread::Builder::new().name(format!("ingest-{number}")).spawn(run)?);
            workers.push(sender);
        }
        Ok(Self {
            shared: Arc::clone(shared),
            workers,
            threads: std::sync::Mutex::new(threads),
            quotas: Quotas::new(&shared.config.limits),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_KIB)),
            hasher: std::hash::RandomState::new(),
        })
    }

    /// Takes a batch in. When this answers `Stored`, the rows are durable.
    pub async fn take(self: Arc<Self>, header: BatchHeader, payload: Bytes, urgent: bool) -> StoreResult {
        let now = crate::now();
        let metrics = &self.shared.metrics;
        let result = self.try_take(header, payload, urgent, now).await;
        match &result {
            StoreResult::Stored => {}
            StoreResult::Later { code, .. } | StoreResult::Never { code, .. } => metrics.refuse(code),
        }
        result
    }

    async fn try_take(&self, header: BatchHeader, payload: Bytes, urgent: bool, now: Micros) -> StoreResult {
        if let Some((code, wait)) = self.quotas.take(&header, payload.len() as u64, now) {
            let message = "the device writes more than its share".to_owned();
            return StoreResult::Later { code, message, retry_after: wait };
        }
        let Some(table) = garrison_telemetry::table(&header.table).filter(|t| t.feature.is_none()) else {
            return StoreResult::Never { code: "batch_table", message: "there is no such table".to_owned() };
        };
        // The loss ledger is the system's own book-keeping: it says what was not taken, and why.
        if header.table != "SensorLossEvents"
            && let Err(lacks) =
                self.shared.plane.device_requires(&self.shared.tenant, &header.device, garrison_model::Feature::Edr)
        {
            return StoreResult::Never { code: "plan_lacks_feature", message: lacks.to_string() };
        }
        let stopping = || StoreResult::Later {
            code: "shutting_down",
            message: "the server is stopping".to_owned(),
            retry_after: Duration::from_secs(2),
        };
        let kib = (payload.len() >> 10).clamp(1, UNDER_WAY_KIB) as u32;
        let Ok(_room) = self.under_way.acquire_many(kib).await else { return stopping() };
        let worker = {
            let mut hasher = self.hasher.build_hasher();
            hasher.write(header.device.as_str().as_bytes());
            &self.workers[(hasher.finish() % self.workers.len() as u64) as usize]
        };
        let (reply, answer) = oneshot::channel();
        let job = Job::Prepare {
            table,
            device: header.device.clone(),
            payload: payload.clone(),
            created: header.created,
            now,
            reply,
        };
        if worker.send(job).await.is_err() {
            return stopping();
        }
        let prepared = match answer.await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(refusal)) => return StoreResult::Never { code: refusal.code, message: refusal.message },
            // The worker dropped the job: it panicked on these bytes, so it would again.
            Err(_) => return StoreResult::Never { code: "batch_malformed", message: "batch is malformed".to_owned() },
        };
        if prepared.batch.num_rows() as u64 != u64::from(header.row_count) {
            let message = format!("the header says {} rows, there are {}", header.row_count, prepared.batch.num_rows());
            return StoreResult::Never { code: "batch_rows", message };
        }
        self.check_sequence(&header);
        let name = self.shared.fleet.device_name(&header.device).unwrap_or_default();
        let bytes = payload.len() as u64;
        let appended = self
            .shared
            .lake
            .append(Batch {
                ingested: now,
                constants: vec![("DeviceName".to_owned(), name.to_string())],
                payload: prepared.unchanged.then_some(payload),
                ..Batch::new(header.clone(), now, prepared.batch.clone())
            })
            .await;
        let kept = match appended {
            Ok(Appended::Stored { kept, .. }) => kept,
            Ok(Appended::Duplicate) => {
                self.shared.metrics.duplicates.inc();
                return StoreResult::Stored;
            }
            Err(error) => return refusal_of(&error),
        };
        let rows: u64 = kept.iter().map(|r| u64::from(r.end - r.start)).sum();
        let m = &self.shared.metrics;
        m.rows.get_or_create(&crate::metrics::ByTable { table: table.name }).inc_by(rows);
        m.batches.inc();
        m.bytes.inc_by(bytes);
        m.lost.inc_by(prepared.lost);
        self.shared.fleet.rows_stored(&header.device, rows, prepared.lost, now);
        self.shared.metering.ingested(&header.device, table.name, bytes, now);
        // From here on the rows are durable: whatever happens, the sensor may forget them.
        let _ = worker.send(Job::Observe { header, name, batch: prepared.batch, kept, received: now, urgent }).await;
        StoreResult::Stored
    }

    /// A number that jumps by more than a billion was never counted by a sensor of ours. The rows are kept all the
    /// same; the count tells.
    fn check_sequence(&self, header: &BatchHeader) {
        const JUMP_MAX: u64 = 1_000_000_000;
        let end = self.shared.lake.stream(&header.device, &header.boot).map_or(0, |p| p.end());
        if header.sequence_first > end.saturating_add(JUMP_MAX) {
            self.shared.metrics.sequence_jumps.inc();
        }
    }

    /// Waits for what is under way, then for the workers, so that observers have seen everything that was answered.
    pub async fn stop(self: Arc<Self>) {
        // All permits back: no batch is between its first byte and its answer.
        let _ = self.under_way.acquire_many(UNDER_WAY_KIB as u32).await;
        self.under_way.close();
        for worker in &self.workers {
            let (reply, answer) = oneshot::channel();
            if worker.send(Job::Stop(reply)).await.is_ok() {
                let _ = answer.await;
            }
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn refusal_of(error: &LakeError) -> StoreResult {
    if error.is_disk_full() {
        return StoreResult::Later {
            code: "disk_full",
            message: "the server's disk is full".to_owned(),
            retry_after: Duration::from_secs(15),
        };
    }
    if let LakeError::BadBatch { reason, .. } = error {
        return StoreResult::Never { code: "batch_malformed", message: reason.chars().take(200).collect() };
    }
    tracing::error!(error = error as &dyn std::error::Error, "cannot store a batch");
    if error.retry() || matches!(error, LakeError::Closed) {
        let message = "the lake cannot store at the moment".to_owned();
        return StoreResult::Later { code: "lake", message, retry_after: Duration::from_secs(5) };
    }
    StoreResult::Never { code: "batch_refused", message: "the lake does not take this batch".to_owned() }
}
