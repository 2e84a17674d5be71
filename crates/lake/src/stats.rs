//! Figures for `/metrics` and the status page.

use std::sync::atomic::AtomicU64;

/// How much room is left on the lake's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskState {
    /// More than four times the floor is free.
    Ok,
    /// Less than four times the floor is free: time to act.
    Low,
    /// Less than the floor is free: appends are refused until there is room.
    Full,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStats {
    /// Name.
    pub name: String,
    /// Rows stored since the lake was opened.
    pub rows_appended: u64,
    /// Rows that are in memory and the log only.
    pub hot_rows: u64,
    /// Their bytes in memory.
    pub hot_bytes: u64,
    /// Parquet files.
    pub files: u64,
    /// Their rows.
    pub file_rows: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Version of the Delta table.
    pub version: u64,
}

/// A whole lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeStats {
    /// Each table.
    pub tables: Vec<TableStats>,
    /// Position of the last durable log entry.
    pub wal_durable: u64,
    /// Entries between the oldest row that is not in Parquet and the newest: what a restart replays.
    pub wal_lag: u64,
    /// Bytes of log segments that wait for flushes.
    pub wal_bytes_held: u64,
    /// Group commits.
    pub wal_groups: u64,
    /// Entries written.
    pub wal_entries: u64,
    /// Bytes written.
    pub wal_bytes: u64,
    /// Time spent writing and syncing groups, microseconds.
    pub wal_sync_micros: u64,
    /// Groups that failed; nothing in them was acknowledged.
    pub wal_failures: u64,
    /// Segments abandoned after a write or sync error.
    pub wal_poisoned: u64,
    /// Appends answered as duplicates.
    pub duplicates: u64,
    /// Flushes that wrote rows.
    pub flushes: u64,
    /// Flushes that failed and will be tried again.
    pub flush_failures: u64,
    /// Time spent in flushes, microseconds.
    pub flush_micros: u64,
    /// Duration of the last flush, microseconds.
    pub flush_micros_last: u64,
    /// (device, boot) pairs whose positions are remembered.
    pub streams: u64,
    /// Sequence gaps closed to bound the memory of positions.
    pub gaps_closed: u64,
    /// Bytes free on the lake's disk.
    pub disk_free: u64,
    /// What that means.
    pub disk: DiskState,
}

#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) duplicates: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    pub(crate) flush_micros: AtomicU64,
    pub(crate) flush_micros_last: AtomicU64,
}
