//! Rows as JSON: for samples, tests, the HTTP API and copies kept in alerts.

use crate::column::TableBuilder;
use crate::{ColumnType, TextColumn, column::ColumnBuilder, table};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use garrison_model::Micros;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::LazyLock;

/// The JSON rows are not rows of the table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JsonError {
    /// No such table.
    #[error("there is no table `{0}`")]
    Table(String),
    /// Not an object.
    #[error("row {0} is not a JSON object")]
    NotObject(usize),
    /// No such column.
    #[error("row {row}: table `{table}` has no column `{column}`")]
    Column {
        /// Row, from 0.
        row: usize,
        /// Table.
        table: String,
        /// Column.
        column: String,
    },
    /// Wrong type.
    #[error("row {row}: column `{column}` needs a value of type {expected}")]
    Type {
        /// Row, from 0.
        row: usize,
        /// Column.
        column: String,
        /// Type, in the hunting language's words.
        expected: &'static str,
    },
}

/// Makes a batch of JSON objects whose keys are column names. A `dynamic` value may be given as JSON or as its text;
/// a `datetime` as RFC 3339 text.
pub fn batch_from_json(table_name: &str, rows: &[Value]) -> Result<RecordBatch, JsonError> {
    let table = table(table_name).ok_or_else(|| JsonError::Table(table_name.chars().take(80).collect()))?;
    let mut builder = TableBuilder::new(table);
    for (row, value) in rows.iter().enumerate() {
        let object = value.as_object().ok_or(JsonError::NotObject(row))?;
        if let Some(column) = object.keys().find(|k| table.column(k).is_none()) {
            return Err(JsonError::Column { row, table: table.name.to_owned(), column: column.clone() });
        }
        for (column, builder) in table.columns.iter().zip(builder.columns()) {
            let value = object.get(column.name).filter(|v| !v.is_null());
            append(builder, column.kind, value).ok_or_else(|| JsonError::Type {
                row,
                column: column.name.to_owned(),
                expected: column.kind.as_str(),
            })?;
        }
        builder.row_done();
    }
    Ok(builder.finish())
}

fn append(builder: &mut ColumnBuilder, kind: ColumnType, value: Option<&Value>) -> Option<()> {
    match kind {
        ColumnType::Text => builder.text(value.map(|v| v.as_str().ok_or(())).transpose().ok()?),
        ColumnType::Dynamic => match value {
            Some(Value::String(text)) => builder.text(Some(text)),
            other => builder.text(other.map(ToString::to_string).as_deref()),
        },
        ColumnType::Long => builder.long(value.map(|v| v.as_i64().ok_or(())).transpose().ok()?),
        ColumnType::Int => {
            let number = |v: &Value| v.as_i64().and_then(|n| i32::try_from(n).ok()).ok_or(());
            builder.int(value.map(number).transpose().ok()?);
        }
        ColumnType::Real => builder.real(value.map(|v| v.as_f64().ok_or(())).transpose().ok()?),
        ColumnType::Bool => builder.bool(value.map(|v| v.as_bool().ok_or(())).transpose().ok()?),
        ColumnType::Datetime => {
            let time = |v: &Value| {
                let text = v.as_str().ok_or(())?;
                text.parse::<Timestamp>().map(|t| Micros(t.as_microsecond())).map_err(|_| ())
            };
            builder.datetime(value.map(time).transpose().ok()?);
        }
    }
    Some(())
}

/// A time as RFC 3339 in UTC with microseconds and `Z`; a time outside the calendar reads as its nearest end.
pub fn time_text(time: Micros) -> String {
    let time = Timestamp::from_microsecond(time.0).unwrap_or(if time.0 < 0 { Timestamp::MIN } else { Timestamp::MAX });
    format!("{time:.6}")
}

/// A row as a JSON object; columns without a value are left out, `dynamic` columns that hold valid JSON become JSON.
/// A row past the end is empty.
pub fn row_to_json(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let mut map = Map::new();
    if row >= batch.num_rows() {
        return map;
    }
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if array.is_null(row) {
            continue;
        }
        let value = match array.data_type() {
            DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
            DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
            DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
            DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                time_text(Micros(array.as_primitive::<TimestampMicrosecondType>().value(row))).into()
            }
            DataType::Date32 => i64::from(array.as_primitive::<Date32Type>().value(row)).into(),
            _ => match TextColumn::new(array).and_then(|c| c.get(row)) {
                Some(text) => match is_dynamic(field.name()).then(|| serde_json::from_str(text)) {
                    Some(Ok(json @ (Value::Object(_) | Value::Array(_)))) => json,
                    _ => Value::String(text.to_owned()),
                },
                None => continue,
            },
        };
        map.insert(field.name().clone(), value);
    }
    map
}

/// Whether a column of this name is `dynamic` in every table that has it. In a table that shares the name with one where
/// it is plain text, text stays text.
fn is_dynamic(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        let of = |dynamic: bool| {
            let columns = crate::tables().iter().flat_map(|table| table.columns);
            columns.filter(move |c| (c.kind == ColumnType::Dynamic) == dynamic).map(|c| c.name)
        };
        let plain: HashSet<&str> = of(false).collect();
        of(true).filter(|name| !plain.contains(name)).collect()
    });
    NAMES.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_read_back() {
        let row = json!({
            "Timestamp": "2026-11-23T10:00:00.000001Z", "FileName": "sh", "ProcessId": 7,
            "AdditionalFields": {"Cwd": "/tmp"}
        });
        let batch = batch_from_json("DeviceProcessEvents", &[row.clone(), json!({})]).unwrap();
        assert_eq!(batch.num_columns(), 4, "columns without a value are left out");
        assert_eq!(Value::Object(row_to_json(&batch, 0)), row);
        assert!(row_to_json(&batch, 1).is_empty());
        assert!(row_to_json(&batch, 9).is_empty());
    }

    #[test]
    fn unknown_columns_and_wrong_types_are_named() {
        let error = batch_from_json("DeviceProcessEvents", &[json!({"Nope": 1})]).unwrap_err();
        assert_eq!(error.to_string(), "row 0: table `DeviceProcessEvents` has no column `Nope`");
        let error = batch_from_json("DeviceProcessEvents", &[json!({"ProcessId": "x"})]).unwrap_err();
        assert_eq!(error.to_string(), "row 0: column `ProcessId` needs a value of type long");
    }

    #[test]
    fn dynamic_columns_of_written_tables_are_known_by_name() {
        for t in crate::tables().iter().filter(|t| t.feature.is_none()) {
            for c in t.columns {
                assert_eq!(c.kind == ColumnType::Dynamic, is_dynamic(c.name), "{}.{}", t.name, c.name);
            }
        }
    }
}
