//! What an answer may lack: rows that sensors lost, numbers that never came, devices that are silent, caps.

use super::error::HuntError;
use super::{Hunting, TimeRange};
use crate::shared::rfc3339;
use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use garrison_kql::TableUse;
use garrison_lake::{Lake, ScanRequest, StreamGap};
use garrison_model::{DeviceId, Micros};
use garrison_telemetry::TextColumn;
use std::collections::{BTreeMap, HashMap, HashSet};
use utoipa::ToSchema;

/// Devices that a statement lists; the rest is counted.
const DEVICES_MAX: usize = 100;
/// Losses and gaps that are listed of a device; the sums hold all.
const ENTRIES_MAX: usize = 20;
/// Gaps that are looked at: more than a fleet has unless something is badly wrong.
const GAPS_MAX: usize = 10_000;
const LEDGER: &str = "SensorLossEvents";

/// Caps that an answer ran into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// Rows.
    pub rows: Option<usize>,
    /// Bytes.
    pub bytes: Option<usize>,
}

/// What an answer may lack.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Completeness {
    /// Nothing is known to be missing.
    pub complete: bool,
    /// The same in words.
    pub statement: String,
    /// Beginning of the range that was looked at, RFC 3339.
    pub from: Option<String>,
    /// End of it.
    pub to: String,
    /// The cap on rows, if it was hit.
    pub row_cap: Option<usize>,
    /// The cap on bytes, if it was hit.
    pub byte_cap: Option<usize>,
    /// Devices of which something is missing.
    pub devices: Vec<DeviceGaps>,
    /// How many more there are.
    pub devices_more: usize,
}

/// What is missing of a device.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceGaps {
    /// Device.
    pub device_id: String,
    /// Its host name.
    pub device_name: String,
    /// Rows it lost within the range, by the ledger.
    pub lost_rows: u64,
    /// By cause and table.
    pub losses: Vec<LossView>,
    /// Numbers that never came and that the ledger does not explain.
    pub gaps: Vec<GapView>,
    /// Since when it is silent.
    pub offline: Option<Offline>,
}

/// Rows lost for one cause.
#[derive(Debug, Clone, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LossView {
    /// Why.
    pub cause: String,
    /// Table, where it is one.
    pub table: Option<String>,
    /// How many.
    pub rows: u64,
    /// From when.
    pub from: String,
    /// Until when.
    pub to: String,
}

/// Numbers that never came.
#[derive(Debug, Clone, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GapView {
    /// Boot that they count in.
    pub boot_id: String,
    /// Last number before.
    pub after: u64,
    /// First number after.
    pub before: u64,
    /// How many are missing.
    pub rows: u64,
}

/// A device that should report and does not.
#[derive(Debug, Clone, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offline {
    /// When it was last heard.
    pub since: String,
}

impl Hunting {
    /// What rows of these tables within this range may lack. Blocks: reads the ledger.
    pub fn completeness(
        &self,
        tables: &[TableUse],
        bound: TimeRange,
        caps: Caps,
        now: Micros,
    ) -> Result<Completeness, HuntError> {
        self.completeness_seen(tables, bound, caps, now, None)
    }

    /// The same for a caller who sees only some devices: nothing is told of the other ones.
    pub(crate) fn completeness_seen(
        &self,
        tables: &[TableUse],
        bound: TimeRange,
        caps: Caps,
        now: Micros,
        seen: Option<&HashSet<DeviceId>>,
    ) -> Result<Completeness, HuntError> {
        let range = range_of(tables, bound);
        let to = range.to.map_or(now, |to| to.min(now));
        if let Some(remote) = &self.remote {
            // What is missing is known where rows come in, so nothing is called complete here.
            return Ok(Completeness {
                complete: false,
                statement: [Some(remote.statement()), caps_words(caps)]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("; "),
                from: range.from.map(rfc3339),
                to: rfc3339(remote.lake.as_of().map_or(to, |as_of| to.min(as_of))),
                row_cap: caps.rows,
                byte_cap: caps.bytes,
                ..Completeness::default()
            });
        }
        let mut devices: BTreeMap<String, DeviceGaps> = BTreeMap::new();
        // Only sensors can lose rows; what the server writes itself is whole.
        let read: Vec<&str> =
            tables.iter().map(|used| used.table.as_str()).filter(|t| t.starts_with("Device")).collect();
        if !read.is_empty() {
            let lake = &self.shared.lake;
            add_losses(lake, range, &read, &mut devices)?;
            let since = range.from.unwrap_or(Micros(i64::MIN));
            add_gaps(lake, lake.gaps(since, GAPS_MAX), &mut devices)?;
            for (id, name, last) in self.shared.fleet.silent(now) {
                if last < to {
                    let device = devices.entry(id.to_string()).or_default();
                    device.device_name = name;
                    device.offline = Some(Offline { since: rfc3339(last) });
                }
            }
        }
        if let Some(seen) = seen {
            devices.retain(|id, _| id.parse().is_ok_and(|id: DeviceId| seen.contains(&id)));
        }
        for (id, device) in &mut devices {
            device.device_id.clone_from(id);
            if device.device_name.is_empty() {
                let name = id.parse().ok().and_then(|id| self.shared.fleet.device_name(&id));
                device.device_name = name.map(|name| name.to_string()).unwrap_or_default();
            }
        }
        let mut listed: Vec<DeviceGaps> = devices.into_values().collect();
        listed.sort_by(|a, b| b.lost_rows.cmp(&a.lost_rows).then_with(|| a.device_id.cmp(&b.device_id)));
        let count = listed.len();
        listed.truncate(DEVICES_MAX);
        Ok(Completeness {
            complete: count == 0 && caps == Caps::default(),
            statement: statement(count, caps),
            from: range.from.map(rfc3339),
            to: rfc3339(to),
            row_cap: caps.rows,
            byte_cap: caps.bytes,
            devices_more: count - listed.len(),
            devices: listed,
        })
    }
}

/// From the earliest to the latest time that any table is read for.
fn range_of(tables: &[TableUse], bound: TimeRange) -> TimeRange {
    let ends = |own: &TableUse| {
        let from = own.from.map(Micros).into_iter().chain(bound.from.filter(|_| own.from.is_none())).max();
        let to = own.to.map(Micros).into_iter().chain(bound.to).min();
        (from, to)
    };
    if tables.is_empty() {
        return bound;
    }
    let (mut from, mut to) = (Some(Micros(i64::MAX)), Some(Micros(i64::MIN)));
    for table in tables {
        let (own_from, own_to) = ends(table);
        // An open end is the widest.
        from = from.zip(own_from).map(|(a, b)| a.min(b));
        to = to.zip(own_to).map(|(a, b)| a.max(b));
    }
    TimeRange { from, to }
}

fn statement(devices: usize, caps: Caps) -> String {
    let mut parts = Vec::new();
    match devices {
        0 => {}
        1 => parts.push("1 device has gaps, losses or silence in the range".to_owned()),
        _ => parts.push(format!("{devices} devices have gaps, losses or silence in the range")),
    }
    parts.extend(caps_words(caps));
    if parts.is_empty() { "complete".to_owned() } else { parts.join("; ") }
}

/// Caps that were hit.
fn caps_words(caps: Caps) -> Option<String> {
    let rows = caps.rows.map(|rows| format!("the answer was cut at {rows} rows"));
    let bytes = caps.bytes.map(|bytes| format!("the answer was cut at {bytes} bytes"));
    let parts: Vec<String> = rows.into_iter().chain(bytes).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// A row of the ledger.
struct Entry {
    device: String,
    boot: String,
    cause: String,
    table: Option<String>,
    rows: u64,
    from: i64,
    to: i64,
    after: i64,
    before: i64,
}

fn entries(rows: &RecordBatch) -> Vec<Entry> {
    let text = |name: &str| rows.column_by_name(name).and_then(TextColumn::new);
    let long = |name: &str| rows.column_by_name(name).and_then(|a| a.as_primitive_opt::<Int64Type>());
    let time = |name: &str| rows.column_by_name(name).and_then(|a| a.as_primitive_opt::<TimestampMicrosecondType>());
    let (device, boot, cause, table) = (text("DeviceId"), text("BootId"), text("Cause"), text("TableName"));
    let (lost, after, before) = (long("LostRows"), long("SequenceAfter"), long("SequenceBefore"));
    let (told, from, to) = (time("Timestamp"), time("StartTime"), time("EndTime"));
    let word =
        |column: &Option<TextColumn<'_>>, row: usize| column.as_ref().and_then(|c| c.get(row)).map(str::to_owned);
    (0..rows.num_rows())
        .map(|row| {
            let number = |c: Option<&arrow::array::Int64Array>| c.filter(|a| a.is_valid(row)).map(|a| a.value(row));
            let at = |c: Option<&arrow::array::TimestampMicrosecondArray>| {
                c.filter(|a| a.is_valid(row)).map(|a| a.value(row))
            };
            let told = at(told).unwrap_or_default();
            Entry {
                device: word(&device, row).unwrap_or_default(),
                boot: word(&boot, row).unwrap_or_default(),
                cause: word(&cause, row).unwrap_or_default(),
                table: word(&table, row).filter(|t| !t.is_empty()),
                rows: u64::try_from(number(lost).unwrap_or(0)).unwrap_or(0),
                from: at(from).unwrap_or(told),
                to: at(to).unwrap_or(told),
                after: number(after).unwrap_or(i64::MAX),
                before: number(before).unwrap_or(i64::MIN),
            }
        })
        .collect()
}

fn ledger() -> ScanRequest {
    let columns = [
        "Timestamp",
        "DeviceId",
        "BootId",
        "Cause",
        "TableName",
        "LostRows",
        "StartTime",
        "EndTime",
        "SequenceAfter",
        "SequenceBefore",
    ];
    ScanRequest { columns: Some(columns.map(str::to_owned).to_vec()), ..ScanRequest::table(LEDGER) }
}

fn add_losses(
    lake: &Lake,
    range: TimeRange,
    read: &[&str],
    devices: &mut BTreeMap<String, DeviceGaps>,
) -> Result<(), HuntError> {
    let mut sums: HashMap<(String, String, Option<String>), (u64, i64, i64)> = HashMap::new();
    // A loss is told after it happened, so the ledger's own time has no upper bound here.
    for batch in lake.scan(ScanRequest { from: range.from, ..ledger() })? {
        for entry in entries(&batch?) {
            let overlaps =
                range.from.is_none_or(|from| entry.to >= from.0) && range.to.is_none_or(|to| entry.from < to.0);
            let concerns = entry.table.as_deref().is_none_or(|table| read.contains(&table));
            if overlaps && concerns && entry.rows > 0 {
                let sum = sums.entry((entry.device, entry.cause, entry.table)).or_insert((0, i64::MAX, i64::MIN));
                *sum = (sum.0.saturating_add(entry.rows), sum.1.min(entry.from), sum.2.max(entry.to));
            }
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort();
    for ((id, cause, table), (rows, from, to)) in sums {
        let device = devices.entry(id).or_default();
        device.lost_rows = device.lost_rows.saturating_add(rows);
        if device.losses.len() < ENTRIES_MAX {
            device.losses.push(LossView { cause, table, rows, from: rfc3339(Micros(from)), to: rfc3339(Micros(to)) });
        }
    }
    Ok(())
}

/// Adds the gaps that no row of the ledger explains.
fn add_gaps(lake: &Lake, gaps: Vec<StreamGap>, devices: &mut BTreeMap<String, DeviceGaps>) -> Result<(), HuntError> {
    if gaps.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<String> = gaps.iter().map(|gap| gap.device.to_string()).collect();
    ids.dedup();
    let mut explained: HashMap<(String, String), Vec<(i64, i64)>> = HashMap::new();
    for batch in lake.scan(ScanRequest { devices: ids, ..ledger() })? {
        for entry in entries(&batch?) {
            explained.entry((entry.device, entry.boot)).or_default().push((entry.after, entry.before));
        }
    }
    for gap in gaps {
        let (first, end) = (gap.missing.first, gap.missing.end);
        let known = explained.get(&(gap.device.to_string(), gap.boot.to_string()));
        let covers = |(after, before): &(i64, i64)| {
            i128::from(*after) < i128::from(first) && i128::from(*before) >= i128::from(end)
        };
        if known.is_some_and(|losses| losses.iter().any(covers)) {
            continue;
        }
        let device = devices.entry(gap.device.to_string()).or_default();
        if device.gaps.len() < ENTRIES_MAX {
            device.gaps.push(GapView {
                boot_id: gap.boot.to_string(),
                after: first.saturating_sub(1),
                before: end,
                rows: end.saturating_sub(first),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(from: Option<i64>, to: Option<i64>) -> TableUse {
        TableUse { table: "DeviceProcessEvents".to_owned(), from, to }
    }

    #[test]
    fn the_range_is_the_widest_of_all_tables() {
        let bound = TimeRange { from: Some(Micros(100)), to: None };
        for (tables, expected) in [
            (vec![], (Some(100), None)),
            (vec![used(None, None)], (Some(100), None)),
            (vec![used(Some(50), Some(60))], (Some(50), Some(60))),
            (vec![used(Some(50), Some(60)), used(Some(200), None)], (Some(50), None)),
            (vec![used(Some(150), Some(160)), used(Some(170), Some(180))], (Some(150), Some(180))),
        ] {
            let found = range_of(&tables, bound);
            assert_eq!((found.from.map(|t| t.0), found.to.map(|t| t.0)), expected, "{tables:?}");
        }
        assert_eq!(range_of(&[used(None, None)], TimeRange::default()), TimeRange::default());
    }

    #[test]
    fn the_statement_names_what_is_missing() {
        let caps = Caps { rows: Some(10), bytes: None };
        assert_eq!(statement(0, Caps::default()), "complete");
        assert_eq!(
            statement(1, caps),
            "1 device has gaps, losses or silence in the range; the answer was cut at 10 rows"
        );
    }
}
