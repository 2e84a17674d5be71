//! The loss ledger: what was lost, why, how many, between which numbers; it becomes rows of `SensorLossEvents`.

use arrow::array::RecordBatch;
use garrison_model::{BootId, LossCause, Micros};
use garrison_telemetry::builders::SensorLossEventsBuilder;
use garrison_telemetry::rows;
use std::fmt::Write as _;

/// Entries that wait to be written, while the disk takes nothing: more are merged by cause and table.
pub const PENDING_MAX: usize = 512;

/// One loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Why.
    pub cause: LossCause,
    /// Table, where it is one.
    pub table: Option<String>,
    /// Rows, where they could be counted.
    pub count: Option<u64>,
    /// Boot of the numbers, where it is not the current one.
    pub boot: Option<BootId>,
    /// Runs of numbers, first and how many; empty if the rows had no numbers yet.
    pub runs: Vec<(u64, u64)>,
    /// Last number given out before the loss, for rows without numbers.
    pub sequence_after: u64,
    /// From when.
    pub from: Micros,
    /// Until when.
    pub to: Micros,
    /// What exactly, such as the server's code or the name of the probe.
    pub detail: Option<String>,
}

impl LedgerEntry {
    /// A loss of rows that had no numbers.
    pub fn unnumbered(cause: LossCause, table: Option<&str>, count: Option<u64>, from: Micros, to: Micros) -> Self {
        Self {
            cause,
            table: table.map(str::to_owned),
            count,
            boot: None,
            runs: Vec::new(),
            sequence_after: 0,
            from,
            to,
            detail: None,
        }
    }

    /// With words that say what exactly.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Last number before the loss.
    pub fn after(&self) -> u64 {
        self.runs.first().map_or(self.sequence_after, |r| r.0.saturating_sub(1))
    }

    /// First number after it.
    pub fn before(&self) -> u64 {
        self.runs.last().map_or_else(|| self.sequence_after.saturating_add(1), |r| r.0.saturating_add(r.1))
    }

    fn may_merge(&self, other: &Self) -> bool {
        self.runs.is_empty()
            && other.runs.is_empty()
            && self.cause == other.cause
            && self.table == other.table
            && self.boot == other.boot
            && self.detail == other.detail
            && self.sequence_after == other.sequence_after
    }

    fn merge(&mut self, other: &Self) {
        self.count = match (self.count, other.count) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            _ => None,
        };
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.sequence_after = self.sequence_after.min(other.sequence_after);
    }
}

/// Adds a loss to those that wait. Losses of one kind between the same two numbers become one; when too many wait
/// (the disk takes nothing for long), those of one cause and table become one whatever the numbers, so that counts
/// stay exact and only the place is blurred.
pub fn push(pending: &mut Vec<LedgerEntry>, entry: LedgerEntry) {
    if let Some(same) = pending.iter_mut().rev().find(|p| p.may_merge(&entry)) {
        same.merge(&entry);
        return;
    }
    if pending.len() >= PENDING_MAX
        && let Some(same) = pending.iter_mut().find(|p| p.cause == entry.cause && p.table == entry.table)
    {
        let runs = if entry.runs.len() + same.runs.len() <= 1_024 { entry.runs.clone() } else { Vec::new() };
        same.merge(&entry);
        same.runs.extend(runs);
        return;
    }
    pending.push(entry);
}

/// The losses as a batch.
pub fn batch(entries: &[LedgerEntry], now: Micros) -> RecordBatch {
    let mut builder = SensorLossEventsBuilder::new();
    for entry in entries {
        let mut fields = String::new();
        if let Some(boot) = &entry.boot {
            let _ = write!(fields, "\"BootId\":\"{boot}\"");
        }
        if entry.runs.len() > 1 {
            let separator = if fields.is_empty() { "" } else { "," };
            let _ = write!(fields, "{separator}\"Runs\":[");
            for (i, (first, count)) in entry.runs.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let _ = write!(fields, "{comma}[{first},{count}]");
            }
            fields.push(']');
        }
        if let Some(detail) = &entry.detail {
            let separator = if fields.is_empty() { "" } else { "," };
            let _ = write!(fields, "{separator}\"Detail\":{}", serde_json::Value::from(detail.as_str()));
        }
        let fields = (!fields.is_empty()).then(|| format!("{{{fields}}}"));
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        builder.append(&rows::SensorLossEvents {
            timestamp: Some(now),
            cause: Some(entry.cause.as_str()),
            table_name: entry.table.as_deref(),
            lost_rows: entry.count.map(signed),
            sequence_after: Some(signed(entry.after())),
            sequence_before: Some(signed(entry.before())),
            start_time: Some(entry.from),
            end_time: Some(entry.to),
            additional_fields: fields.as_deref(),
            ..rows::SensorLossEvents::default()
        });
    }
    builder.finish()
}

/// Runs of numbers, neighbours joined. The runs must come in order of their first numbers.
pub fn join_runs(runs: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, count) in runs {
        match joined.last_mut() {
            Some(last) if last.0.saturating_add(last.1) == first => last.1 = last.1.saturating_add(count),
            _ => joined.push((first, count)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_between_the_same_numbers_become_one_and_counts_add_up() {
        let mut pending = Vec::new();
        for i in 0..10 {
            let mut e = LedgerEntry::unnumbered(LossCause::RingFull, None, Some(5), Micros(i), Micros(i + 1));
            e.sequence_after = u64::from(i >= 5) * 100;
            push(&mut pending, e);
        }
        assert_eq!(pending.len(), 2);
        assert_eq!((pending[0].count, pending[0].from, pending[0].to), (Some(25), Micros(0), Micros(5)));
        let json = garrison_telemetry::row_to_json(&batch(&pending, Micros(7)), 1);
        assert_eq!((json["SequenceAfter"].as_i64(), json["SequenceBefore"].as_i64()), (Some(100), Some(101)));
        assert_eq!(json["LostRows"], 25);
    }

    #[test]
    fn a_shed_segment_names_every_run() {
        let runs = join_runs([(10, 5), (15, 5), (30, 1)]);
        assert_eq!(runs, [(10, 10), (30, 1)]);
        let mut entry =
            LedgerEntry::unnumbered(LossCause::SpoolCap, Some("DeviceFileEvents"), Some(11), Micros(0), Micros(1));
        entry.runs = runs;
        let json = garrison_telemetry::row_to_json(&batch(&[entry], Micros(7)), 0);
        assert_eq!((json["SequenceAfter"].as_i64(), json["SequenceBefore"].as_i64()), (Some(9), Some(31)));
        assert_eq!(json["AdditionalFields"]["Runs"], serde_json::json!([[10, 10], [30, 1]]));
    }

    #[test]
    fn the_waiting_list_is_bounded_and_loses_no_count() {
        let mut pending = Vec::new();
        for i in 0..5_000 {
            let mut e = LedgerEntry::unnumbered(LossCause::SpoolDisk, None, Some(1), Micros(i), Micros(i));
            e.sequence_after = i as u64;
            push(&mut pending, e);
        }
        assert!(pending.len() <= PENDING_MAX);
        assert_eq!(pending.iter().filter_map(|p| p.count).sum::<u64>(), 5_000);
    }
}
