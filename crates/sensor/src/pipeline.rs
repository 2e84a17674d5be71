//! The sensor at work: one hot thread that observes, enriches, closes batches and runs rules; one that writes the disk
//! queue; one that talks to the server; one that hashes files. Between them only bounded queues.

use crate::batch::{BatchLimits, Closer};
use crate::detect::{self, Detector, EngineSlot};
use crate::enrich::hash::HashLimits;
use crate::enrich::{Enricher, device};
use crate::observe::{ObservePolicy, ObserveSettings, Observer};
use crate::policy::Config;
use crate::policy::budget::{Budget, Usage};
use crate::spool::{LedgerEntry, NewBatch, Spool, SpoolError, SpoolLimits};
use crate::status::{Facts, SightInfo, Stage, Status, cpu_time, now, resident_bytes};
use crate::uplink::identity::{Identity, IdentityFileError};
use crate::uplink::{Uplink, words};
use arrow::array::RecordBatch;
use garrison_model::{BootId, LossCause, Micros};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Closed batches that wait for the disk. With [`WAITING_BYTES_MAX`] this bounds memory when the disk stalls.
const WAITING_MAX: usize = 256;
/// Bytes of closed batches that wait for the disk: some seconds of an exec storm.
const WAITING_BYTES_MAX: usize = 12 << 20;
/// How often use is measured and losses are written down.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How often the machine is looked at for a change, and at least told.
const DEVICE_LOOK_EVERY: Duration = Duration::from_mins(5);
const DEVICE_TELL_EVERY: Duration = Duration::from_hours(24);
/// How long the pipeline sleeps at most.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// The sensor cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No identity.
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    /// No queue.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A folder, thread or socket.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The kernel does not say which boot this is.
    #[error("the kernel's boot id is malformed")]
    Boot,
}

/// How to run, beside the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunSettings {
    /// How to observe.
    pub observe: ObserveSettings,
}

/// The current boot.
pub fn boot_id() -> Result<BootId, RunError> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(io("read the boot id"))?;
    BootId::new(text.trim()).map_err(|_| RunError::Boot)
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> RunError {
    let what = what.to_owned();
    move |source| RunError::Io { what, source }
}

enum ToSpool {
    Batch { table: &'static str, batch: RecordBatch, urgent: bool, created: Micros, bytes: usize },
    Loss(LedgerEntry),
}

/// Runs the sensor until `stop` turns true, then flushes, queues and sends what it can.
pub fn run(config: &Config, settings: &RunSettings, stop: &watch::Receiver<bool>) -> Result<(), RunError> {
    let identity = Identity::load(&config.state_dir)?;
    let boot = boot_id()?;
    let status = Arc::new(Status::new(now()));
    let limits = SpoolLimits::new(config.spool_bytes_max, config.spool_shed);
    let (spool, recovered) = Spool::open(&config.state_dir.join("spool"), &boot, limits, now())?;
    let spool = Arc::new(spool);
    tracing::info!(
        batches = recovered.batches,
        rows = recovered.rows,
        damaged = recovered.damaged,
        "disk queue is open"
    );
    spool.start(&recovered, now());
    let engines = Arc::new(EngineSlot::default());
    if config.detect_enabled {
        match detect::restore(&identity.content_key, &config.state_dir, &engines) {
            Ok(Some(info)) => status.set_content(info),
            Ok(None) => {}
            Err(error) => {
                status.issue("content", Some(format!("kept content is not used: {}", words(&error))));
            }
        }
    }
    let machine = device::look(&config.tags);
    let facts = Facts {
        device: identity.device.to_string(),
        tenant: identity.tenant.to_string(),
        tags: config.tags.clone(),
        log_level: config.log_level.clone(),
    };
    let queued = Arc::new(Notify::new());
    let waiting = Arc::new(AtomicUsize::new(0));
    let (sender, inbox) = sync_channel(WAITING_MAX);

    // The hot thread builds its observer itself: what the kernel gives is bound to the thread that polls.
    let spooler = Spooler {
        spool: Arc::clone(&spool),
        status: Arc::clone(&status),
        queued: Arc::clone(&queued),
        waiting: Arc::clone(&waiting),
        sync_every: config.spool_sync,
    };
    let spool_thread = std::thread::Builder::new()
        .name("spool".to_owned())
        .spawn(move || spooler.run(&inbox))
        .map_err(io("start the spool thread"))?;
    // The uplink stops after the queue was flushed, so that the last rows may still go.
    let (stop_uplink, uplink_stop) = watch::channel(false);
    let servers = if config.servers.is_empty() { identity.servers.clone() } else { config.servers.clone() };
    let uplink = Uplink {
        identity,
        servers,
        state_dir: config.state_dir.clone(),
        spool: Arc::clone(&spool),
        queued,
        status: Arc::clone(&status),
        engines: Arc::clone(&engines),
        boot: boot.clone(),
        host: machine.host.clone(),
    };
    let control = crate::control::bind(&config.run_dir).map_err(|source| RunError::Io {
        what: format!("open the control socket in `{}`", config.run_dir.display()),
        source,
    })?;
    let control_status = Arc::clone(&status);
    let uplink_thread = std::thread::Builder::new()
        .name("uplink".to_owned())
        .spawn(move || -> std::io::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(2)
                .thread_keep_alive(Duration::from_secs(1))
                .build()?;
            runtime.block_on(async move {
                let server = tokio::spawn(crate::control::serve(control, control_status, facts));
                uplink.run(uplink_stop).await;
                server.abort();
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
            Ok(())
        })
        .map_err(io("start the uplink thread"))?;

    let limits =
        HashLimits { bytes_per_second: config.hash_bytes_per_second, file_bytes_max: config.hash_file_bytes_max };
    let enricher = Enricher::new(&boot, &machine.host.host_name, limits, config.hash_enabled)
        .map_err(io("start the hash thread"))?;
    let batch_limits =
        BatchLimits { flush: config.batch_flush, rows_max: config.batch_rows_max, bytes_max: config.batch_bytes_max };
    let mut hot = Hot {
        enricher,
        closer: Closer::new(batch_limits),
        detector: config.detect_enabled.then(|| Detector::new(engines)),
        sender,
        waiting,
        status: Arc::clone(&status),
        begun: Instant::now(),
        unsent: VecDeque::new(),
        hash_enabled: config.hash_enabled,
        tags: config.tags.clone(),
        machine,
        told: None,
        looked: Duration::ZERO,
    };
    let mut observer = Observer::start(&observe_policy(config), &settings.observe);
    hot.run(&mut observer, config, stop);
    drop(hot);
    drop(observer);
    let _ = spool_thread.join();
    let _ = stop_uplink.send(true);
    let _ = uplink_thread.join();
    if let Err(error) = spool.sync() {
        tracing::warn!(%error, "the disk queue could not be synced");
    }
    crate::control::remove(&config.run_dir);
    Ok(())
}

fn observe_policy(config: &Config) -> ObservePolicy {
    let mut policy = ObservePolicy::default();
    policy.folders.extend(config.file_paths.iter().cloned());
    policy.excluded_folders.extend(config.file_paths_excluded.iter().cloned());
    // The queue's own writes must not make rows that make writes.
    for own in [&config.state_dir, &config.run_dir] {
        policy.excluded_folders.push(own.to_string_lossy().into_owned());
    }
    policy
}

/// The hot thread.
struct Hot {
    enricher: Enricher,
    closer: Closer,
    detector: Option<Detector>,
    sender: SyncSender<ToSpool>,
    waiting: Arc<AtomicUsize>,
    status: Arc<Status>,
    begun: Instant,
    /// Losses that the spool thread had no room for yet; merged by cause and table, so at most a few dozen.
    unsent: VecDeque<LedgerEntry>,
    hash_enabled: bool,
    tags: Vec<String>,
    machine: device::Device,
    told: Option<Duration>,
    looked: Duration,
}

impl Hot {
    fn run(&mut self, observer: &mut Observer, config: &Config, stop: &watch::Receiver<bool>) {
        let sight = observer.sight();
        let info = SightInfo {
            subsystem: sight.subsystem.as_str().to_owned(),
            missing: sight.missing.clone(),
            reason: sight.reason.clone(),
        };
        tracing::info!(subsystem = info.subsystem, missing = info.missing.len(), reason = info.reason, "observing");
        for missing in &info.missing {
            tracing::warn!(missing, "cannot be seen on this machine");
            self.lose(
                LedgerEntry::unnumbered(LossCause::ProbeMissing, None, None, now(), now()).detail(missing.as_str()),
            );
        }
        for problem in observer.problems() {
            tracing::warn!(%problem, "observation policy");
        }
        self.status.set_sight(info);
        let mut budget = Budget::new(config.cpu_permille_max, config.memory_bytes_max);
        let mut measured = (self.begun.elapsed(), cpu_time());
        let mut losses = observer.losses();
        let mut losses_since = now();
        while !*stop.borrow() {
            let time = self.begun.elapsed();
            self.status.moved(Stage::Pipeline);
            observer.poll(self.closer.wait(time).min(SLEEP_MAX), &mut |seen| self.take(&seen));
            let time = self.begun.elapsed();
            if self.closer.due(&self.enricher.tables, time) {
                self.close();
            }
            if time.saturating_sub(measured.0) < MEASURE_EVERY {
                continue;
            }
            measured = self.measure(&mut budget, measured, time);
            let new = observer.losses();
            self.note_losses(&losses, &new, losses_since);
            (losses, losses_since) = (new, now());
            self.tell_device(time);
        }
        // What is in the ring now happened before the stop. One round is bounded by the observer.
        observer.poll(Duration::ZERO, &mut |seen| self.take(&seen));
        self.note_losses(&losses, &observer.losses(), losses_since);
        self.close();
        self.hand_losses(true);
    }

    fn take(&mut self, seen: &crate::observe::Observation) {
        let time = self.begun.elapsed();
        self.enricher.observe(seen, time);
        if self.closer.due(&self.enricher.tables, time) {
            self.close();
        }
    }

    /// Closes the batches, runs the rules, hands over.
    fn close(&mut self) {
        self.closer.closed();
        let created = now();
        for (table, batch) in self.enricher.tables.finish() {
            let rows = batch.num_rows();
            self.status.rows.fetch_add(rows as u64, Ordering::Relaxed);
            let fired = self.detector.as_mut().map_or(0, |d| d.evaluate(table, &batch));
            self.status.matches.fetch_add(fired as u64, Ordering::Relaxed);
            let bytes = batch.get_array_memory_size();
            let full = self.waiting.load(Ordering::Relaxed).saturating_add(bytes) > WAITING_BYTES_MAX;
            // An urgent batch is let through as long as the queue has a place.
            if !full || fired > 0 {
                self.waiting.fetch_add(bytes, Ordering::Relaxed);
                let message = ToSpool::Batch { table, batch, urgent: fired > 0, created, bytes };
                if self.sender.try_send(message).is_ok() {
                    continue;
                }
                self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            }
            self.lose(LedgerEntry::unnumbered(LossCause::QueueFull, Some(table), Some(rows as u64), created, created));
        }
        self.hand_losses(false);
    }

    fn lose(&mut self, entry: LedgerEntry) {
        let mut pending: Vec<LedgerEntry> = std::mem::take(&mut self.unsent).into();
        crate::spool::ledger::push(&mut pending, entry);
        self.unsent = pending.into();
    }

    /// Hands the losses over; at the end it waits for room, since the spool thread still runs.
    fn hand_losses(&mut self, wait: bool) {
        while let Some(entry) = self.unsent.pop_front() {
            if wait {
                let _ = self.sender.send(ToSpool::Loss(entry));
                continue;
            }
            match self.sender.try_send(ToSpool::Loss(entry)) {
                Ok(()) => {}
                Err(TrySendError::Full(ToSpool::Loss(entry)) | TrySendError::Disconnected(ToSpool::Loss(entry))) => {
                    self.unsent.push_front(entry);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn measure(&mut self, budget: &mut Budget, before: (Duration, Duration), time: Duration) -> (Duration, Duration) {
        let cpu = cpu_time();
        let span = time.saturating_sub(before.0).as_micros().max(1);
        let permille = cpu.saturating_sub(before.1).as_micros().saturating_mul(1_000) / span;
        let usage =
            Usage { cpu_permille: u32::try_from(permille).unwrap_or(u32::MAX), resident_bytes: resident_bytes() };
        self.status.cpu_permille.store(usage.cpu_permille, Ordering::Relaxed);
        self.status.resident_bytes.store(usage.resident_bytes, Ordering::Relaxed);
        self.status.processes.store(self.enricher.processes.len() as u64, Ordering::Relaxed);
        self.status.set_hashes(self.enricher.hasher.counts);
        if let Some(step) = budget.measure(usage, time) {
            tracing::warn!(
                step = step.number(),
                means = step.words(),
                cpu_permille = usage.cpu_permille,
                "degradation"
            );
            self.enricher.set_step(step, self.hash_enabled);
            self.status.set_step(step);
            let over = step != crate::policy::budget::Step::Full;
            self.status.issue("budget", over.then(|| format!("over its budget: {}", step.words())));
        }
        (time, cpu)
    }

    fn note_losses(&mut self, before: &crate::observe::Losses, after: &crate::observe::Losses, since: Micros) {
        let dropped = self.enricher.take_dropped();
        let by_step = "dropped by a step of degradation";
        let kinds = [
            (
                LossCause::RingFull,
                None,
                after.ring_full.saturating_sub(before.ring_full),
                "the kernel's ring buffer was full",
            ),
            (
                LossCause::RateCap,
                None,
                after.rate_capped.saturating_sub(before.rate_capped),
                "too many events of one process",
            ),
            (
                LossCause::RingFull,
                None,
                after.bad_records.saturating_sub(before.bad_records),
                "records that did not hold together",
            ),
            (LossCause::RateCap, Some("DeviceFileEvents"), dropped.file, by_step),
            (LossCause::RateCap, Some("DeviceImageLoadEvents"), dropped.image, by_step),
            (LossCause::RateCap, Some("DeviceNetworkEvents"), dropped.network, by_step),
            (LossCause::RateCap, Some("DeviceProcessEvents"), dropped.process, by_step),
        ];
        for (cause, table, count, detail) in kinds.into_iter().filter(|k| k.2 > 0) {
            self.lose(LedgerEntry::unnumbered(cause, table, Some(count), since, now()).detail(detail));
        }
        if after.queue_overruns > before.queue_overruns {
            let text = "a queue of the fallback ran over; how many were lost in it is not known";
            self.lose(LedgerEntry::unnumbered(LossCause::RingFull, None, None, since, now()).detail(text));
        }
        self.hand_losses(false);
    }

    fn tell_device(&mut self, time: Duration) {
        let first = self.told.is_none();
        let daily = self.told.is_none_or(|t| time.saturating_sub(t) >= DEVICE_TELL_EVERY);
        let mut changed = false;
        if !first && time.saturating_sub(self.looked) >= DEVICE_LOOK_EVERY {
            self.looked = time;
            let machine = device::look(&self.tags);
            changed = machine != self.machine;
            self.machine = machine;
        }
        if daily || changed {
            self.told = Some(time);
            self.enricher.device_rows(&self.machine, &self.status.issues(), now());
        }
    }
}

/// The thread that writes the queue.
struct Spooler {
    spool: Arc<Spool>,
    status: Arc<Status>,
    queued: Arc<Notify>,
    waiting: Arc<AtomicUsize>,
    sync_every: Duration,
}

impl Spooler {
    fn run(&self, inbox: &Receiver<ToSpool>) {
        let mut synced = Instant::now();
        let mut ledger = Instant::now();
        loop {
            self.status.moved(Stage::Spool);
            match inbox.recv_timeout(Duration::from_millis(250).min(self.sync_every)) {
                Ok(ToSpool::Batch { table, batch, urgent, created, bytes }) => {
                    self.append(table, &batch, urgent, created);
                    self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                }
                Ok(ToSpool::Loss(entry)) => self.spool.lose(entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ledger.elapsed() >= MEASURE_EVERY {
                ledger = Instant::now();
                if self.spool.write_ledger(now()) > 0 {
                    self.queued.notify_one();
                }
                self.status.set_spool(self.spool.state());
            }
            if synced.elapsed() >= self.sync_every {
                if let Err(error) = self.spool.sync() {
                    self.status.issue("disk", Some(format!("the disk queue cannot be synced: {error}")));
                }
                synced = Instant::now();
            }
        }
        self.spool.write_ledger(now());
        self.status.set_spool(self.spool.state());
        self.queued.notify_one();
    }

    fn append(&self, table: &'static str, batch: &RecordBatch, urgent: bool, created: Micros) {
        let row_count = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        if let Some(reason) = self.status.unwanted() {
            // Nobody bought them: they are counted in the ledger, and no byte of them is kept.
            let count = Some(u64::from(row_count));
            let loss = LedgerEntry::unnumbered(LossCause::ServerQuota, Some(table), count, created, created);
            self.spool.lose(loss.detail(format!("not collected: {reason}")));
            return;
        }
        let payload = match garrison_telemetry::encode_ipc(batch) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, table, "a batch could not be encoded");
                let count = Some(u64::from(row_count));
                let loss = LedgerEntry::unnumbered(LossCause::QueueFull, Some(table), count, created, created);
                self.spool.lose(loss.detail("batch could not be encoded"));
                return;
            }
        };
        match self.spool.append(&NewBatch { table, row_count, created, urgent, payload: &payload }) {
            Ok(_) => {
                self.status.issue("disk", None);
                self.queued.notify_one();
            }
            Err(error) => {
                let text = words(&error);
                if self.status.issue("disk", Some(text.clone())) {
                    tracing::error!(text, "rows are lost");
                }
            }
        }
    }
}
