//! Bounds and policies of a lake, each with its reason.

use crate::crypt::AtRest;
use crate::plan::CompactionPolicy;
use crate::spec::TableSpec;
use std::collections::BTreeMap;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// How a lake behaves. [`LakeConfig::default`] suits a server with a few gigabytes of memory.
#[derive(Debug, Clone)]
pub struct LakeConfig {
    /// Tables that the lake keeps; all hunting tables unless said otherwise.
    pub tables: Vec<TableSpec>,
    /// A write-ahead log segment is closed when it reaches this size. Recovery reads one segment at a time into
    /// memory, and space is given back a segment at a time.
    pub wal_segment_bytes_max: u64,
    /// Bytes that one group commit may write: bounds how long a writer waits for the batches before it.
    pub wal_group_bytes_max: usize,
    /// Bytes waiting for the log's writer; further appends wait. Two groups keep the writer busy.
    pub wal_queue_bytes_max: usize,
    /// Memory for rows that are not in Parquet yet, all tables together; further appends wait for a flush.
    pub hot_bytes_max: usize,
    /// A table is flushed when it holds this many rows (two row groups), ...
    pub flush_rows: usize,
    /// ... or this many bytes, ...
    pub flush_bytes: usize,
    /// ... or when its oldest row is this old, which also bounds how much log a restart replays.
    pub flush_age: Duration,
    /// Appends are refused while less than this is free: a flush must still be able to write what was acknowledged,
    /// and the control database shares the disk.
    pub disk_floor_bytes: u64,
    /// When files are merged.
    pub compaction: CompactionPolicy,
    /// Days that rows are kept, by table, where it differs from the table's own figure.
    pub retention_days: BTreeMap<String, u32>,
    /// How long a file stays on disk after it left the table: readers hold snapshots of the log for a while.
    pub tombstone_grace: Duration,
    /// How long positions of a silent (device, boot) are remembered: longer than any sensor stays offline with rows
    /// in its spool.
    pub stream_idle: Duration,
    /// Whether files are sealed, and with which key.
    pub at_rest: AtRest,
}

impl Default for LakeConfig {
    fn default() -> Self {
        Self {
            tables: TableSpec::hunting_tables(),
            wal_segment_bytes_max: 128 * MIB,
            wal_group_bytes_max: 16 << 20,
            wal_queue_bytes_max: 32 << 20,
            hot_bytes_max: 512 << 20,
            flush_rows: 1 << 18,
            flush_bytes: 64 << 20,
            flush_age: Duration::from_mins(1),
            disk_floor_bytes: 256 * MIB,
            compaction: CompactionPolicy::default(),
            retention_days: BTreeMap::new(),
            tombstone_grace: Duration::from_hours(24),
            stream_idle: Duration::from_hours(90 * 24),
            at_rest: AtRest::Plain,
        }
    }
}
