//! One table of an open lake: its rows in memory, its files, its log.

use crate::crypt::AtRest;
use crate::delta::DeltaLog;
use crate::files::ActiveFile;
use crate::spec::TableSpec;
use arrow::array::RecordBatch;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

/// Rows that are durable in the log and not in Parquet yet.
#[derive(Debug, Clone)]
pub(crate) struct HotBatch {
    /// Position in the write-ahead log.
    pub(crate) position: u64,
    pub(crate) rows: RecordBatch,
    /// Bytes that count against the bound, in units of the budget's permits.
    pub(crate) permits: u32,
    pub(crate) bytes: usize,
}

/// What readers see. Changed under one lock, so that a row is in memory or in a file, never both, never neither.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) files: Arc<Vec<Arc<ActiveFile>>>,
    pub(crate) version: u64,
    /// Being written to Parquet.
    pub(crate) flushing: Vec<HotBatch>,
    pub(crate) hot: Vec<HotBatch>,
    pub(crate) hot_rows: usize,
    pub(crate) hot_bytes: usize,
    pub(crate) hot_since: Option<Instant>,
}

/// A table of an open lake.
pub(crate) struct LakeTable {
    pub(crate) spec: TableSpec,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) at_rest: AtRest,
    shelf: RwLock<Shelf>,
    pub(crate) log: tokio::sync::Mutex<DeltaLog>,
    pub(crate) rows_appended: AtomicU64,
}

impl LakeTable {
    pub(crate) fn new(spec: TableSpec, log: DeltaLog, files: Vec<Arc<ActiveFile>>, at_rest: AtRest) -> Self {
        let shelf = Shelf { files: Arc::new(files), version: log.version(), ..Shelf::default() };
        Self {
            spec,
            folder: log.folder.clone(),
            at_rest,
            shelf: RwLock::new(shelf),
            log: tokio::sync::Mutex::new(log),
            rows_appended: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.shelf.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds durable rows.
    pub(crate) fn push(&self, batch: HotBatch) {
        let mut shelf = self.write();
        shelf.hot_rows += batch.rows.num_rows();
        shelf.hot_bytes += batch.bytes;
        shelf.hot_since.get_or_insert_with(Instant::now);
        shelf.hot.push(batch);
    }

    /// Position of the oldest row that is not in Parquet.
    pub(crate) fn unflushed(&self) -> Option<u64> {
        let shelf = self.read();
        shelf.flushing.iter().chain(&shelf.hot).map(|batch| batch.position).min()
    }
}
