//! Sequenced batches and the loss ledger.
//!
//! All rows of one device in one boot are numbered in one run, across tables. A batch covers the numbers from
//! `sequence_first` on, one a row. Numbers that never reach the server are explained by losses; rows that were lost
//! before they got a number lie between two neighbouring numbers.

use garrison_model::{BootId, DeviceId, LossCause, Micros};
use serde::{Deserialize, Serialize};

/// What goes with every batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeader {
    /// Device; the server takes it from the certificate and refuses a header that says otherwise.
    pub device: DeviceId,
    /// Boot that the sequence numbers count in.
    pub boot: BootId,
    /// Hunting table.
    pub table: String,
    /// Number of the first row.
    pub sequence_first: u64,
    /// Rows.
    pub row_count: u32,
    /// When the batch was closed.
    pub created: Micros,
}

impl BatchHeader {
    /// The numbers that the batch covers.
    pub fn run(&self) -> SequenceRun {
        SequenceRun { first: self.sequence_first, end: self.sequence_first.saturating_add(u64::from(self.row_count)) }
    }
}

/// Sequence numbers from `first` up to but without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceRun {
    /// First number.
    pub first: u64,
    /// One past the last.
    pub end: u64,
}

/// An entry of the loss ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Why.
    pub cause: LossCause,
    /// Table of the lost rows, where it is one.
    pub table: Option<String>,
    /// How many rows.
    pub count: u64,
    /// Last number before the loss.
    pub sequence_after: u64,
    /// First number after it.
    pub sequence_before: u64,
    /// From when.
    pub from: Micros,
    /// Until when.
    pub to: Micros,
}
