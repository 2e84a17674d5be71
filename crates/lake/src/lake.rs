//! An open lake.

use crate::batch::{Appended, Batch, Identity, bytes_of, check, encode, keep, stored_rows};
use crate::config::LakeConfig;
use crate::crypt::AtRest;
use crate::delta::DeltaLog;
use crate::disk::{FolderDisk, WalDisk, create_folder_durably};
use crate::entry::RowsHeader;
use crate::error::LakeError;
use crate::flusher::Flusher;
use crate::positions::{StreamGap, StreamPosition};
use crate::recover::{Recovered, Recovery, recover};
use crate::scan::{Scan, ScanRequest, Snapshot, scan};
use crate::stats::{DiskState, Figures, LakeStats, TableStats};
use crate::table::{HotBatch, LakeTable};
use crate::wal::{Submission, WalShared, WalWriter, lock};
use bytes::Bytes;
use garrison_model::{BootId, DeviceId, Micros};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};

/// Bytes of memory that one permit of the budgets stands for.
const PERMIT_BYTES: usize = 1_024;

/// The lake of one tenant. Cheap to clone; the last clone that is dropped ends its threads. Rows that are only in the
/// log then are replayed at the next open; [`Lake::close`] flushes them first.
#[derive(Clone)]
pub struct Lake {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) config: LakeConfig,
    pub(crate) tables: BTreeMap<String, Arc<LakeTable>>,
    pub(crate) wal: Arc<WalShared>,
    pub(crate) hot_room: Arc<Semaphore>,
    queue_room: Arc<Semaphore>,
    pub(crate) flusher: Flusher,
    pub(crate) figures: Figures,
    pub(crate) maintaining: tokio::sync::Mutex<()>,
    recovery: Recovery,
    _lock: File,
}

impl Lake {
    /// Opens the lake in this folder, creating it where needed, and replays the log. Blocks; may be called from
    /// anywhere.
    pub fn open(root: impl AsRef<Path>, config: LakeConfig) -> Result<Self, LakeError> {
        let folder = root.as_ref().join("wal");
        let disk = FolderDisk::open(&folder).map_err(LakeError::io("create", &folder))?;
        Self::open_with_disk(root, config, Arc::new(disk))
    }

    /// The same with the log on another [`WalDisk`], for tests that make its operations fail.
    pub fn open_with_disk(
        root: impl AsRef<Path>,
        config: LakeConfig,
        disk: Arc<dyn WalDisk>,
    ) -> Result<Self, LakeError> {
        let root = root.as_ref().to_owned();
        // A runtime cannot be waited for on a thread that runs another one.
        std::thread::scope(|scope| scope.spawn(|| open(root, config, disk)).join()).unwrap_or(Err(LakeError::Closed))
    }

    /// Name of the key that the lake in this folder is sealed with, without opening it.
    pub fn key_name(root: impl AsRef<Path>) -> Result<Option<String>, LakeError> {
        crate::crypt::key_name(root.as_ref())
    }

    /// What the log held when the lake was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.owner.shared.recovery
    }

    /// Stores rows once: returns when they are durable and readable, or when all of them were stored before. Waits
    /// while memory or the queue is full. Dropping the future does not undo the append.
    pub async fn append(&self, batch: Batch) -> Result<Appended, LakeError> {
        let shared = &self.owner.shared;
        let table = Arc::clone(shared.table(&batch.header.table)?);
        check(&table.spec, &batch)?;
        let header = RowsHeader {
            kept: std::iter::once(0..batch.header.row_count).collect(),
            batch: batch.header,
            ingested: batch.ingested,
            identity_in_rows: batch.identity == Identity::InRows,
            constants: batch.constants,
        };
        let rows = stored_rows(&table.spec, &header, &batch.batch)?;
        let payload = match batch.payload {
            Some(payload) => payload,
            None => Bytes::from(encode(&batch.batch).map_err(|source| LakeError::Columns {
                step: "encode",
                table: table.spec.name.clone(),
                source,
            })?),
        };
        drop(batch.batch);
        if payload.len() > u32::MAX as usize / 2 {
            return Err(LakeError::BadBatch { table: table.spec.name.clone(), reason: "it is too large".to_owned() });
        }
        let bytes = bytes_of(&rows);
        let permits = permits_for(bytes, shared.config.hot_bytes_max);
        let hot_room = acquire(&shared.hot_room, permits, || shared.flusher.poke()).await?;
        let queued = permits_for(payload.len(), shared.config.wal_queue_bytes_max);
        let room = acquire(&shared.queue_room, queued, || {}).await?;
        let (reply, answer) = oneshot::channel();
        let flush_rows = shared.config.flush_rows;
        let flush_bytes = shared.config.flush_bytes;
        let publisher = Arc::clone(shared);
        let publish = Box::new(move |position, header: &RowsHeader| {
            let Ok(rows) = keep(&rows, &header.kept) else {
                tracing::error!(table = table.spec.name, "stored rows could not be kept in memory until the restart");
                return;
            };
            hot_room.forget();
            table.rows_appended.fetch_add(rows.num_rows() as u64, Relaxed);
            table.push(HotBatch { position, rows, permits, bytes });
            let shelf = table.read();
            if shelf.hot_rows >= flush_rows || shelf.hot_bytes >= flush_bytes {
                drop(shelf);
                publisher.flusher.poke();
            }
        });
        shared.wal.submit(Submission { header, payload, reply, publish, room: Some(room) });
        let appended = answer.await.unwrap_or(Err(LakeError::Closed));
        if matches!(appended, Ok(Appended::Duplicate)) {
            shared.figures.duplicates.fetch_add(1, Relaxed);
        }
        appended
    }

    /// What is stored of one boot of a device; resent rows below are duplicates.
    pub fn stream(&self, device: &DeviceId, boot: &BootId) -> Option<StreamPosition> {
        lock(&self.owner.shared.wal.positions).get(device, boot).cloned()
    }

    /// Numbers that are missing in streams that rows came from at or after `since`, at most `gaps_max`, by device and
    /// boot.
    pub fn gaps(&self, since: Micros, gaps_max: usize) -> Vec<StreamGap> {
        let mut gaps = lock(&self.owner.shared.wal.positions).gaps(since, gaps_max);
        gaps.sort_by(|a, b| (&a.device, &a.boot, a.missing.first).cmp(&(&b.device, &b.boot, b.missing.first)));
        gaps
    }

    /// How its files are kept.
    pub fn at_rest(&self) -> &AtRest {
        &self.owner.shared.config.at_rest
    }

    /// The lake's folder.
    pub fn root(&self) -> &Path {
        &self.owner.shared.root
    }

    /// Names of all tables.
    pub fn tables(&self) -> Vec<String> {
        self.owner.shared.tables.keys().cloned().collect()
    }

    pub(crate) fn lake_table(&self, name: &str) -> Result<&Arc<LakeTable>, LakeError> {
        self.owner.shared.table(name)
    }

    /// The table as of now.
    pub fn snapshot(&self, table: &str) -> Result<Snapshot, LakeError> {
        let table = self.owner.shared.table(table)?;
        let shelf = table.read();
        Ok(Snapshot {
            table: table.spec.name.clone(),
            folder: table.folder.clone(),
            bucket: None,
            version: shelf.version,
            schema: table.spec.schema.clone(),
            files: Arc::clone(&shelf.files),
            hot: shelf.flushing.iter().chain(&shelf.hot).map(|batch| batch.rows.clone()).collect(),
            key: table.at_rest.key().cloned(),
        })
    }

    /// Reads rows of a table. Work happens on the calling thread, as batches are asked for (at once for an ordered
    /// scan), so an async caller wants `spawn_blocking`.
    pub fn scan(&self, request: ScanRequest) -> Result<Scan, LakeError> {
        let snapshot = self.snapshot(&request.table)?;
        scan(&self.owner.shared.table(&request.table)?.spec, snapshot, request)
    }

    /// Moves all rows of all tables into Parquet now; returns how many.
    pub async fn flush(&self) -> Result<u64, LakeError> {
        self.owner.shared.flusher.request().await
    }

    /// Merges, expires and deletes files, and forgets silent streams, as of `now`; see [`crate::plan`]. One call runs
    /// at a time. Work happens on its own thread.
    pub async fn maintain(&self, now: garrison_model::Micros) -> Result<crate::maintain::Maintenance, LakeError> {
        self.maintain_keeping(now, BTreeMap::new()).await
    }

    /// The same, with the days that rows of these tables are kept, whatever the configuration says of them.
    pub async fn maintain_keeping(
        &self,
        now: garrison_model::Micros,
        days: BTreeMap<String, u32>,
    ) -> Result<crate::maintain::Maintenance, LakeError> {
        let (reply, answer) = oneshot::channel();
        let lake = self.clone();
        let started = std::thread::Builder::new().name("lake-maintain".to_owned()).spawn(move || {
            let Some(runtime) = lake.owner.runtime.as_ref() else { return };
            let done = runtime.block_on(crate::maintain::maintain(&lake.owner.shared, now, &days));
            // Whoever waits for the answer may open the folder anew at once.
            drop(lake);
            let _ = reply.send(done);
        });
        started.map_err(LakeError::io("start a thread for", &self.owner.shared.root))?;
        answer.await.unwrap_or(Err(LakeError::Closed))
    }

    pub(crate) fn tombstone_grace(&self) -> std::time::Duration {
        self.owner.shared.config.tombstone_grace
    }

    /// How much room the disk has.
    pub fn disk(&self) -> DiskState {
        self.owner.shared.disk().1
    }

    /// Figures.
    pub fn stats(&self) -> LakeStats {
        self.owner.shared.stats()
    }

    /// Flushes everything and ends. Other clones keep the lake open.
    pub async fn close(self) -> Result<(), LakeError> {
        self.flush().await?;
        self.owner.shared.wal.write_positions()
    }
}

fn permits_for(bytes: usize, bound: usize) -> u32 {
    // What is larger than the whole budget takes all of it and goes alone.
    (bytes / PERMIT_BYTES + 1).min(bound / PERMIT_BYTES).clamp(1, u32::MAX as usize) as u32
}

async fn acquire(
    room: &Arc<Semaphore>,
    permits: u32,
    when_full: impl Fn(),
) -> Result<tokio::sync::OwnedSemaphorePermit, LakeError> {
    if let Ok(permit) = Arc::clone(room).try_acquire_many_owned(permits) {
        return Ok(permit);
    }
    when_full();
    Arc::clone(room).acquire_many_owned(permits).await.map_err(|_| LakeError::Closed)
}

impl Shared {
    pub(crate) fn table(&self, name: &str) -> Result<&Arc<LakeTable>, LakeError> {
        self.tables.get(name).ok_or_else(|| LakeError::UnknownTable { table: name.chars().take(80).collect() })
    }

    fn disk(&self) -> (u64, DiskState) {
        let free = self.wal.disk.free_bytes().unwrap_or(0);
        let floor = self.config.disk_floor_bytes;
        let state = match free {
            free if free < floor => DiskState::Full,
            free if free < floor.saturating_mul(4) => DiskState::Low,
            _ => DiskState::Ok,
        };
        (free, state)
    }

    /// First log position that some table still needs.
    pub(crate) fn unflushed(&self) -> u64 {
        // Read first: everything up to it is on a shelf already.
        let durable = self.wal.figures.durable.load(std::sync::atomic::Ordering::Acquire);
        self.tables.values().filter_map(|table| table.unflushed()).min().unwrap_or(u64::MAX).min(durable + 1)
    }

    fn stats(&self) -> LakeStats {
        let tables: Vec<TableStats> = self
            .tables
            .values()
            .map(|table| {
                let shelf = table.read();
                let hot = shelf.flushing.iter().chain(&shelf.hot);
                let (hot_rows, hot_bytes) =
                    hot.fold((0, 0), |(rows, bytes), b| (rows + b.rows.num_rows() as u64, bytes + b.bytes as u64));
                TableStats {
                    name: table.spec.name.clone(),
                    rows_appended: table.rows_appended.load(Relaxed),
                    hot_rows,
                    hot_bytes,
                    files: shelf.files.len() as u64,
                    file_rows: shelf.files.iter().map(|file| file.rows).sum(),
                    file_bytes: shelf.files.iter().map(|file| file.size).sum(),
                    version: shelf.version,
                }
            })
            .collect();
        let (disk_free, disk) = self.disk();
        let (streams, gaps_closed) = {
            let positions = lock(&self.wal.positions);
            (positions.len() as u64, positions.gaps_closed)
        };
        let wal = &self.wal.figures;
        let wal_durable = wal.durable.load(Relaxed);
        LakeStats {
            tables,
            wal_durable,
            wal_lag: (wal_durable + 1).saturating_sub(self.unflushed()),
            wal_bytes_held: self.wal.sealed_bytes(),
            wal_groups: wal.groups.load(Relaxed),
            wal_entries: wal.entries.load(Relaxed),
            wal_bytes: wal.bytes.load(Relaxed),
            wal_sync_micros: wal.sync_micros.load(Relaxed),
            wal_failures: wal.failures.load(Relaxed),
            wal_poisoned: wal.poisoned.load(Relaxed),
            duplicates: self.figures.duplicates.load(Relaxed),
            flushes: self.figures.flushes.load(Relaxed),
            flush_failures: self.figures.flush_failures.load(Relaxed),
            flush_micros: self.figures.flush_micros.load(Relaxed),
            flush_micros_last: self.figures.flush_micros_last.load(Relaxed),
            streams,
            gaps_closed,
            disk_free,
            disk,
        }
    }
}

fn open(root: PathBuf, config: LakeConfig, disk: Arc<dyn WalDisk>) -> Result<Lake, LakeError> {
    create_folder_durably(&root).map_err(LakeError::io("create", &root))?;
    let lock_file = take_lock(&root)?;
    config.at_rest.check(&root)?;
    // Two workers: one for the log of the table being flushed, one for maintenance.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("lake-log")
        .enable_all()
        .build()
        .map_err(LakeError::io("start threads for", &root))?;
    let opened: Vec<(Arc<LakeTable>, u64)> = runtime.block_on(async {
        futures::future::try_join_all(config.tables.iter().map(|spec| open_table(&root, spec, &config.at_rest))).await
    })?;
    let stored_through: HashMap<String, u64> =
        opened.iter().map(|(table, through)| (table.spec.name.clone(), *through)).collect();
    let tables: BTreeMap<String, Arc<LakeTable>> =
        opened.into_iter().map(|(table, _)| (table.spec.name.clone(), table)).collect();
    let hot_room = Arc::new(Semaphore::new(config.hot_bytes_max / PERMIT_BYTES));
    let charge = |bytes: usize| {
        // Replayed rows are in memory whether there is room or not; new ones wait for a flush.
        let wanted = permits_for(bytes, config.hot_bytes_max);
        let permits = wanted.min(hot_room.available_permits() as u32);
        if let Ok(permit) = Arc::clone(&hot_room).try_acquire_many_owned(permits) {
            permit.forget();
        }
        permits
    };
    let Recovered { report, positions, sealed, previous, next } =
        recover(disk.as_ref(), &tables, &stored_through, &charge, config.at_rest.key(), &root)?;
    if report != Recovery::default() {
        tracing::info!(?report, "the write-ahead log was read");
    }
    let floor = config.disk_floor_bytes;
    let watched = Arc::clone(&disk);
    let gate = Box::new(move || match watched.free_bytes() {
        Ok(free) if free < floor => Err(LakeError::DiskFull { free, floor }),
        _ => Ok(()),
    });
    let wal = Arc::new(WalShared::new(disk, positions, sealed, gate, config.at_rest.sealing().cloned()));
    wal.figures.durable.store(next - 1, Relaxed);
    let writer =
        WalWriter::new(Arc::clone(&wal), previous, next, config.wal_segment_bytes_max, config.wal_group_bytes_max);
    let shared = Arc::new(Shared {
        queue_room: Arc::new(Semaphore::new(config.wal_queue_bytes_max / PERMIT_BYTES)),
        root: root.clone(),
        config,
        tables,
        wal,
        hot_room,
        flusher: Flusher::default(),
        figures: Figures::default(),
        maintaining: tokio::sync::Mutex::new(()),
        recovery: report,
        _lock: lock_file,
    });
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(LakeError::io("start a thread for", &root))
    };
    let flushing = Arc::clone(&shared);
    let handle = runtime.handle().clone();
    let threads = vec![
        spawn("lake-wal", Box::new(move || writer.run()))?,
        spawn("lake-flush", Box::new(move || crate::flusher::run(&flushing, &handle)))?,
    ];
    Ok(Lake { owner: Arc::new(Owner { shared, threads: Mutex::new(threads), runtime: Some(runtime) }) })
}

async fn open_table(
    root: &Path,
    spec: &crate::spec::TableSpec,
    at_rest: &AtRest,
) -> Result<(Arc<LakeTable>, u64), LakeError> {
    let log = DeltaLog::open(root, spec).await?;
    let (through, files) = (log.stored_through().await?, log.files()?);
    Ok((Arc::new(LakeTable::new(spec.clone(), log, files, at_rest.clone())), through))
}

/// Two seconds.
const LOCK_TRIES: u32 = 40;

/// Locks a folder against other processes for as long as the answer lives.
pub fn lock_folder(root: &Path) -> Result<File, LakeError> {
    take_lock(root)
}

fn take_lock(root: &Path) -> Result<File, LakeError> {
    let path = root.join("LOCK");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(LakeError::io("open", &path))?;
    // A process that was being started when the former owner closed holds its files until it runs its own program;
    // so does an owner that is just ending. Both take a moment.
    let mut tries = LOCK_TRIES;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if tries > 0 => {
                tries -= 1;
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Err(std::fs::TryLockError::WouldBlock) => return Err(LakeError::Locked { path: root.to_owned() }),
            Err(std::fs::TryLockError::Error(error)) => return Err(LakeError::io("lock", &path)(error)),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.wal.close();
        self.shared.flusher.stop();
        for thread in lock(&self.threads).drain(..) {
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
