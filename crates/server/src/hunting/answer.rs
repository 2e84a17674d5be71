//! Rows as JSON, in the shapes of our own API and of the paths that existing scripts use.

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use garrison_kql::{Column, DECIMAL, Type};
use serde::de::IgnoredAny;
use std::io::Write as _;

/// One column of a batch, ready to be written cell by cell.
enum Cells {
    Bool(arrow::array::BooleanArray),
    Int(arrow::array::Int32Array),
    Long(arrow::array::Int64Array),
    Real(arrow::array::Float64Array),
    Decimal(arrow::array::Decimal128Array),
    Text(arrow::array::StringViewArray),
    Dynamic(arrow::array::StringViewArray),
    Guid(arrow::array::StringViewArray),
    Time(arrow::array::TimestampMicrosecondArray),
    Span(arrow::array::DurationMicrosecondArray),
}

/// Rows of a batch as cells.
pub struct Rows {
    columns: Vec<Cells>,
    rows: usize,
}

/// Bytes of the values of a batch, about: what an answer of it weighs.
#[must_use]
pub fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).sum()
}

fn array_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        // The buffers of a view array may be shared with rows that are not in it.
        DataType::Utf8View => array.as_string_view().lengths().map(|length| length as usize + 2).sum(),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

impl Rows {
    /// Prepares a batch whose columns are these.
    pub fn new(batch: &RecordBatch, columns: &[Column]) -> Result<Self, ArrowError> {
        let cells = batch.columns().iter().zip(columns).map(|(array, column)| cells(array, column.kind));
        Ok(Self { columns: cells.collect::<Result<_, _>>()?, rows: batch.num_rows() })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Writes one row as a JSON array.
    pub fn write_array(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            column.write(row, out);
        }
        out.push(b']');
    }

    /// Writes one row as a JSON object; `keys` are the columns' names as JSON texts.
    pub fn write_object(&self, row: usize, keys: &[String], out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (column, key)) in self.columns.iter().zip(keys).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key.as_bytes());
            out.push(b':');
            column.write(row, out);
        }
        out.push(b'}');
    }

    /// One cell as plain text, for CSV; a null is empty.
    pub fn text(&self, row: usize, column: usize, out: &mut Vec<u8>) {
        match self.columns.get(column) {
            Some(Cells::Text(array) | Cells::Guid(array) | Cells::Dynamic(array)) if array.is_valid(row) => {
                out.extend_from_slice(array.value(row).as_bytes());
            }
            Some(other) => {
                let start = out.len();
                other.write(row, out);
                let cell = out.split_off(start);
                if cell != b"null" {
                    // Only texts have quotes inside; times and spans are quoted plainly.
                    out.extend(cell.into_iter().filter(|byte| *byte != b'"'));
                }
            }
            None => {}
        }
    }
}

/// The columns' names as JSON texts.
#[must_use]
pub fn keys(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| serde_json::Value::from(column.name.as_str()).to_string()).collect()
}

fn cells(array: &ArrayRef, kind: Type) -> Result<Cells, ArrowError> {
    let to = |wanted: DataType| if array.data_type() == &wanted { Ok(array.clone()) } else { cast(array, &wanted) };
    Ok(match kind {
        Type::Bool => Cells::Bool(to(DataType::Boolean)?.as_boolean().clone()),
        Type::Int => Cells::Int(to(DataType::Int32)?.as_primitive::<Int32Type>().clone()),
        Type::Long => Cells::Long(to(DataType::Int64)?.as_primitive::<Int64Type>().clone()),
        Type::Real => Cells::Real(to(DataType::Float64)?.as_primitive::<Float64Type>().clone()),
        Type::Decimal => {
            Cells::Decimal(to(DataType::Decimal128(DECIMAL.0, DECIMAL.1))?.as_primitive::<Decimal128Type>().clone())
        }
        Type::Datetime => {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Cells::Time(to(kind)?.as_primitive::<TimestampMicrosecondType>().clone())
        }
        Type::Timespan => Cells::Span(
            to(DataType::Duration(TimeUnit::Microsecond))?.as_primitive::<DurationMicrosecondType>().clone(),
        ),
        Type::Text | Type::Unknown => Cells::Text(to(DataType::Utf8View)?.as_string_view().clone()),
        Type::Guid => Cells::Guid(to(DataType::Utf8View)?.as_string_view().clone()),
        Type::Dynamic => Cells::Dynamic(to(DataType::Utf8View)?.as_string_view().clone()),
    })
}

impl Cells {
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(a) => a.is_null(row),
            Self::Int(a) => a.is_null(row),
            Self::Long(a) => a.is_null(row),
            Self::Real(a) => a.is_null(row),
            Self::Decimal(a) => a.is_null(row),
            Self::Text(a) | Self::Dynamic(a) | Self::Guid(a) => a.is_null(row),
            Self::Time(a) => a.is_null(row),
            Self::Span(a) => a.is_null(row),
        }
    }

    /// Writing to memory cannot fail.
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            // Absent text is empty text; every other type has a null.
            out.extend_from_slice(if matches!(self, Self::Text(_)) { b"\"\"" } else { b"null" });
            return;
        }
        match self {
            Self::Bool(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
            Self::Int(a) => drop(write!(out, "{}", a.value(row))),
            Self::Long(a) => drop(write!(out, "{}", a.value(row))),
            Self::Real(a) => real(a.value(row), out),
            Self::Decimal(a) => out.extend_from_slice(decimal(&a.value_as_string(row)).as_bytes()),
            Self::Text(a) => text(a.value(row), out),
            Self::Guid(a) => match a.value(row) {
                "" => out.extend_from_slice(b"null"),
                guid => text(guid, out),
            },
            Self::Dynamic(a) => dynamic(a.value(row), out),
            Self::Time(a) => text(&crate::shared::rfc3339(garrison_model::Micros(a.value(row))), out),
            Self::Span(a) => text(&timespan(a.value(row)), out),
        }
    }
}

fn text(value: &str, out: &mut Vec<u8>) {
    // Only a failing writer makes this fail.
    let _ = serde_json::to_writer(out, value);
}

fn real(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        let _ = serde_json::to_writer(out, &value);
    } else {
        let word = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        text(word, out);
    }
}

/// JSON text as it is; what is no JSON (a sensor may write anything) is a text.
fn dynamic(value: &str, out: &mut Vec<u8>) {
    let trimmed = value.trim();
    if trimmed.is_empty() {
        out.extend_from_slice(b"null");
    } else if serde_json::from_str::<IgnoredAny>(trimmed).is_ok() {
        out.extend_from_slice(trimmed.as_bytes());
    } else {
        text(value, out);
    }
}

/// Without the zeros that only the storage's scale adds.
fn decimal(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// `[-][d.]hh:mm:ss[.fffffff]`.
#[must_use]
pub fn timespan(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let all = micros.unsigned_abs();
    let (seconds, fraction) = (all / 1_000_000, all % 1_000_000);
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let days = if days > 0 { format!("{days}.") } else { String::new() };
    let fraction = if fraction > 0 { format!(".{fraction:06}0") } else { String::new() };
    format!("{sign}{days}{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

/// The word that the Graph path and the older ones use for a type.
#[must_use]
pub const fn vendor_type(kind: Type) -> &'static str {
    match kind {
        Type::Bool => "Boolean",
        Type::Int => "Int32",
        Type::Long => "Int64",
        Type::Real => "Double",
        Type::Decimal => "Decimal",
        Type::Datetime => "DateTime",
        Type::Timespan => "TimeSpan",
        Type::Guid => "Guid",
        Type::Dynamic => "Object",
        Type::Text | Type::Unknown => "String",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Decimal128Array, DurationMicrosecondArray, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use std::sync::Arc;

    fn cell(array: ArrayRef, kind: Type) -> String {
        let columns = [Column::new("x", kind)];
        let batch = RecordBatch::try_from_iter([("x", array)]).unwrap();
        let mut out = Vec::new();
        Rows::new(&batch, &columns).unwrap().write_array(0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_type_has_its_json() {
        let text = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let span = |micros: i64| -> ArrayRef { Arc::new(DurationMicrosecondArray::from(vec![micros])) };
        let real = |value: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
        let amount = |value: i128| -> ArrayRef {
            Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(38, 10).unwrap())
        };
        let time: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![1_795_435_200_123_456]).with_timezone("UTC"));
        for (array, kind, expected) in [
            (text(Some("a\"b\u{1}")), Type::Text, r#"["a\"b\u0001"]"#),
            (text(None), Type::Text, r#"[""]"#),
            (text(None), Type::Dynamic, "[null]"),
            (text(Some("")), Type::Dynamic, "[null]"),
            (text(Some(r#"{"a": [1]}"#)), Type::Dynamic, r#"[{"a": [1]}]"#),
            (text(Some("{oops")), Type::Dynamic, r#"["{oops"]"#),
            (text(Some("")), Type::Guid, "[null]"),
            (span(93_784_000_000), Type::Timespan, r#"["1.02:03:04"]"#),
            (span(-1_500_000), Type::Timespan, r#"["-00:00:01.5000000"]"#),
            (span(i64::MIN), Type::Timespan, r#"["-106751991.04:00:54.7758080"]"#),
            (real(f64::NAN), Type::Real, r#"["NaN"]"#),
            (real(f64::NEG_INFINITY), Type::Real, r#"["-Infinity"]"#),
            (real(2.5), Type::Real, "[2.5]"),
            (amount(15_000_000_000), Type::Decimal, "[1.5]"),
            (amount(-20_000_000_000), Type::Decimal, "[-2]"),
            (time, Type::Datetime, r#"["2026-11-23T12:00:00.123456Z"]"#),
            (Arc::new(Int64Array::from(vec![i64::MAX])), Type::Long, "[9223372036854775807]"),
            (Arc::new(Int64Array::from(vec![None::<i64>])), Type::Long, "[null]"),
            (Arc::new(BooleanArray::from(vec![true])), Type::Bool, "[true]"),
        ] {
            assert_eq!(cell(array, kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn the_weight_of_a_slice_is_its_own() {
        let texts: ArrayRef = Arc::new(arrow::array::StringViewArray::from_iter_values(
            (0..1_000).map(|n| format!("a rather long command line, number {n}")),
        ));
        let batch = RecordBatch::try_from_iter([("x", texts)]).unwrap();
        let (all, part) = (bytes_of(&batch), bytes_of(&batch.slice(0, 10)));
        assert!(all > 30_000 && part < 600, "{all} {part}");
    }
}
