//! The lake: where telemetry rests. A write-ahead log makes batches durable within milliseconds; rows are readable
//! from memory from then on; a flush moves them into Parquet files under a Delta log that any Delta reader opens.
//!
//! One [`Lake`] is one tenant's folder:
//!
//! ```text
//! <root>/KEY                                     name of the key that the files are sealed with
//! <root>/LOCK                                    held while a process has the lake open
//! <root>/wal/00000000000000000001.wal            log segments, named by their first position
//! <root>/wal/positions.checkpoint                which sequence numbers of which (device, boot) are stored
//! <root>/<Table>/_delta_log/…                    the table's Delta log
//! <root>/<Table>/EventDate=2026-11-23/part-….zstd.parquet
//! ```
//!
//! What holds at any moment, `kill -9` and power cut included:
//! - a batch that [`Lake::append`] answered is stored, and a resent one is not stored again;
//! - a row is in memory and the log, or in Parquet, never in both and never in neither ([`Lake::snapshot`]);
//! - a Parquet file that the Delta log names is whole and on disk.
//!
//! This crate never asks who may read, never talks to a sensor, and reads no clock where it decides: flush ages are
//! measured on the monotonic clock, everything else is given `now`. Formats and figures: docs/internals/lake.md.

mod batch;
mod bucket;
mod bulk;
mod compact;
mod config;
pub mod crypt;
mod delta;
pub mod disk;
mod durable_store;
mod entry;
mod error;
mod files;
mod filter;
pub mod flush;
mod flusher;
mod lake;
mod maintain;
mod mirror;
mod parquet_file;
pub mod plan;
mod positions;
pub mod provider;
mod read;
mod recover;
mod remote;
mod scan;
pub mod spec;
mod stats;
mod table;
pub mod terms;
mod wal;
mod wire_bytes;

pub use batch::{Appended, Batch, CONSTANT_BYTES_MAX, CONSTANTS_MAX, Identity};
pub use bucket::{Bucket, BucketConfig};
pub use bulk::{BulkFile, FinishedFile};
pub use config::LakeConfig;
pub use crypt::{AtRest, LakeKey};
pub use error::LakeError;
pub use files::{ActiveFile, FileStats};
pub use filter::{Filter, Test};
pub use lake::{Lake, lock_folder};
pub use maintain::Maintenance;
pub use mirror::{Mirror, Mirrored};
pub use parquet_file::{BLOOM_COLUMNS, STAT_COLUMNS};
pub use positions::{RUNS_MAX, StreamGap, StreamPosition, StreamPositions};
pub use recover::Recovery;
pub use remote::RemoteLake;
pub use scan::{Cursor, ORDERED_ROWS_MAX, Order, Scan, ScanRequest, Snapshot};
pub use spec::TableSpec;
pub use stats::{DiskState, LakeStats, TableStats};
