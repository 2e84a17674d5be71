//! What the Delta log says about a file: path, partition, size, statistics.

use garrison_model::Micros;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A Parquet file that is part of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveFile {
    /// Path below the table's folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// The partition's UTC day, `YYYY-MM-DD`.
    pub partition: String,
    /// When the file was written, milliseconds since 1970.
    pub modified_ms: i64,
    /// Bounds of columns.
    pub stats: FileStats,
}

/// Smallest and greatest values of a file's columns. Text may be cut: still a lower and an upper bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileStats {
    /// Least event time, if every bound is known.
    pub time_min: Option<Micros>,
    /// Greatest event time.
    pub time_max: Option<Micros>,
    /// Bounds of text columns.
    pub text: BTreeMap<String, (String, String)>,
    /// Bounds of number columns.
    pub numbers: BTreeMap<String, (i64, i64)>,
    /// Nulls by column.
    pub nulls: BTreeMap<String, u64>,
}

impl FileStats {
    /// Reads the `stats` text of an `add` action; what cannot be read is left out, which only prunes less.
    pub(crate) fn parse(text: Option<&str>) -> (Option<u64>, Self) {
        let Some(Ok(Value::Object(root))) = text.map(serde_json::from_str::<Value>) else {
            return (None, Self::default());
        };
        let empty = Map::new();
        let part = |name: &str| root.get(name).and_then(Value::as_object).unwrap_or(&empty);
        let (least, greatest) = (part("minValues"), part("maxValues"));
        let mut stats = Self::default();
        for (column, low) in least {
            let Some(high) = greatest.get(column) else { continue };
            if column == crate::spec::TIME_COLUMN {
                (stats.time_min, stats.time_max) = (time_of(low), time_of(high));
            } else if let (Some(low), Some(high)) = (low.as_i64(), high.as_i64()) {
                stats.numbers.insert(column.clone(), (low, high));
            } else if let (Some(low), Some(high)) = (low.as_str(), high.as_str()) {
                stats.text.insert(column.clone(), (low.to_owned(), high.to_owned()));
            }
        }
        for (column, count) in part("nullCount") {
            if let Some(count) = count.as_u64() {
                stats.nulls.insert(column.clone(), count);
            }
        }
        (root.get("numRecords").and_then(Value::as_u64), stats)
    }

    /// The `stats` text of an `add` action.
    pub(crate) fn to_text(&self, rows: u64) -> String {
        let (mut least, mut greatest) = (Map::new(), Map::new());
        if let (Some(low), Some(high)) = (self.time_min, self.time_max) {
            least.insert(crate::spec::TIME_COLUMN.to_owned(), Value::String(time_text(low)));
            greatest.insert(crate::spec::TIME_COLUMN.to_owned(), Value::String(time_text(high)));
        }
        for (column, (low, high)) in &self.text {
            least.insert(column.clone(), Value::String(low.clone()));
            greatest.insert(column.clone(), Value::String(high.clone()));
        }
        for (column, (low, high)) in &self.numbers {
            least.insert(column.clone(), json!(low));
            greatest.insert(column.clone(), json!(high));
        }
        json!({"numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": self.nulls}).to_string()
    }

    /// Whether rows of the file can lie in `from..to`.
    pub fn may_hold_time(&self, from: Option<Micros>, to: Option<Micros>) -> bool {
        let starts = self.time_min.zip(to).is_none_or(|(least, to)| least < to);
        let ends = self.time_max.zip(from).is_none_or(|(greatest, from)| greatest >= from);
        starts && ends
    }

    /// Whether a text column of the file can hold this value.
    pub fn may_hold_text(&self, column: &str, value: &str) -> bool {
        self.text.get(column).is_none_or(|(low, high)| low.as_str() <= value && value <= high.as_str())
    }
}

/// RFC 3339 in UTC with microseconds; times outside the calendar are clamped to it.
pub(crate) fn time_text(time: Micros) -> String {
    let stamp = jiff::Timestamp::from_microsecond(time.0).unwrap_or(if time.0 < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{stamp:.6}")
}

fn time_of(value: &Value) -> Option<Micros> {
    match value {
        Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(|stamp| Micros(stamp.as_microsecond())),
        Value::Number(number) => number.as_i64().map(Micros),
        _ => None,
    }
}

/// Days since 1970-01-01 of a time.
pub(crate) fn day_of(time: Micros) -> i64 {
    time.0.div_euclid(86_400_000_000)
}

/// `YYYY-MM-DD` of a day number.
pub(crate) fn day_text(day: i64) -> String {
    time_text(Micros(day.saturating_mul(86_400_000_000)))[..10].to_owned()
}

/// Day number of `YYYY-MM-DD`.
pub(crate) fn day_number(text: &str) -> Option<i64> {
    let stamp: jiff::Timestamp = format!("{text}T00:00:00Z").parse().ok()?;
    Some(day_of(Micros(stamp.as_microsecond())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_come_back_as_they_were_written() {
        let mut stats = FileStats {
            time_min: Some(Micros(1_700_000_000_123_456)),
            time_max: Some(Micros(1_700_000_001_000_001)),
            ..FileStats::default()
        };
        stats.text.insert("DeviceId".to_owned(), ("aa".to_owned(), "ff".to_owned()));
        stats.numbers.insert("ReportId".to_owned(), (3, 9));
        stats.nulls.insert("DeviceId".to_owned(), 1);
        assert_eq!(FileStats::parse(Some(&stats.to_text(12))), (Some(12), stats.clone()));
        assert!(stats.may_hold_time(Some(Micros(1_700_000_001_000_001)), None));
        assert!(!stats.may_hold_time(Some(Micros(1_700_000_001_000_002)), None));
        assert!(!stats.may_hold_time(None, Some(Micros(1_700_000_000_123_456))));
        assert!(!stats.may_hold_text("DeviceId", "a0"));
        assert_eq!(FileStats::parse(Some("[oops")), (None, FileStats::default()));
    }

    #[test]
    fn days_have_names() {
        let day = day_number("2026-11-23").unwrap();
        assert_eq!(day_text(day), "2026-11-23");
        assert_eq!(day_text(-1), "1969-12-31");
        assert_eq!(day_of(Micros(-1)), -1);
        assert_eq!(day_number("no day"), None);
    }
}
