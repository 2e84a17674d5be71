//! The disk queue between the pipeline and the uplink.
//!
//! Rows get their sequence numbers here, when they are written: a number exists only if its batch is in the queue, so
//! nothing that was sent can be renumbered, and what is lost before it is written needs no number. A batch is in the
//! queue once one `pwrite` of header, checksum and payload has returned; from then on it survives `kill -9`, and after
//! the next sync ([`Spool::sync`]) a power cut. A power cut means another boot, and numbers count in a boot, so a
//! number that a cut took away is never given out again.
//!
//! The queue is three lanes (urgent, ordinary, bulk), each a series of segment files; shedding removes whole segments
//! and writes what they held into the ledger, with every run of numbers. Answered batches are marked by small records
//! in the lane's newest segment, so that a restart sends little twice; the server drops what it has.
//! Formats: [`format`]; the story with byte tables: docs/internals/spool.md.
//!
//! This room never decodes rows, and nothing in it waits for the network.

pub mod format;
pub mod ledger;
mod queue;
mod recover;
mod segment;

#[cfg(test)]
mod tests;

pub use ledger::LedgerEntry;
pub use queue::{Spool, SpoolState};

use crate::policy::Shed;
use garrison_model::{BootId, Micros};
use std::path::PathBuf;

/// Lanes, the least important last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A rule fired on it, or it is the ledger.
    Urgent,
    /// Processes, log-ons, the device itself, other security events.
    Ordinary,
    /// Files, libraries, connections.
    Bulk,
}

impl Lane {
    /// All, in order.
    pub const ALL: [Lane; 3] = [Lane::Urgent, Lane::Ordinary, Lane::Bulk];

    /// The lane of a table's ordinary batches.
    pub fn of_table(table: &str) -> Self {
        match table {
            "DeviceFileEvents" | "DeviceImageLoadEvents" | "DeviceNetworkEvents" => Self::Bulk,
            _ => Self::Ordinary,
        }
    }

    pub(crate) fn letter(self) -> char {
        match self {
            Self::Urgent => 'u',
            Self::Ordinary => 'o',
            Self::Bulk => 'b',
        }
    }

    pub(crate) fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.letter() == letter)
    }
}

/// Bounds of the queue.
#[derive(Debug, Clone, Copy)]
pub struct SpoolLimits {
    /// Bytes of all segments.
    pub bytes_max: u64,
    /// What goes first at the cap.
    pub shed: Shed,
    /// Bytes of a segment: shedding removes whole ones, so at most a sixteenth of the queue.
    pub segment_bytes_max: u64,
    /// Batches of a segment: bounds its list in memory and the runs that one ledger row names.
    pub segment_entries_max: usize,
}

impl SpoolLimits {
    /// Bounds for a queue of this size.
    pub fn new(bytes_max: u64, shed: Shed) -> Self {
        Self {
            bytes_max,
            shed,
            segment_bytes_max: (bytes_max / 16).clamp(64 << 10, 4 << 20),
            segment_entries_max: 1_024,
        }
    }
}

/// A batch to be queued; its numbers are given by the queue.
#[derive(Debug, Clone)]
pub struct NewBatch<'a> {
    /// Hunting table.
    pub table: &'a str,
    /// Rows.
    pub row_count: u32,
    /// When it was closed.
    pub created: Micros,
    /// Whether a rule fired on it.
    pub urgent: bool,
    /// Arrow IPC bytes.
    pub payload: &'a [u8],
}

/// A batch on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Boot its numbers count in.
    pub boot: BootId,
    /// Hunting table.
    pub table: String,
    /// First number.
    pub sequence_first: u64,
    /// Rows.
    pub row_count: u32,
    /// When it was closed.
    pub created: Micros,
    /// Whether a rule fired on it.
    pub urgent: bool,
    /// Arrow IPC bytes.
    pub payload: Vec<u8>,
}

/// What a start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Batches waiting.
    pub batches: u64,
    /// Rows waiting.
    pub rows: u64,
    /// Damaged places that were skipped.
    pub damaged: u64,
    /// The newest sign of a sensor at work (a batch, or a segment that one made), and its boot.
    pub newest: Option<(BootId, Micros)>,
}

/// The queue cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder cannot be used.
    #[error("cannot use spool folder `{path}`")]
    Folder {
        /// Folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another sensor has it open.
    #[error("spool folder `{0}` is in use by another sensor")]
    InUse(PathBuf),
    /// The disk does not take it, even after shedding.
    #[error("cannot write a batch of {rows} rows to the spool")]
    Write {
        /// Rows.
        rows: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than the queue may be, or less important than all that fills it.
    #[error("spool is at its cap and the batch of {rows} rows is not more important than what is in it")]
    Cap {
        /// Rows.
        rows: u32,
    },
}
