//! The gate for batches from outside: types are checked, oversize text is cut and marked, unknown columns are set
//! aside and counted, columns that are missing stay missing.

use crate::{ColumnType, Table, TextColumn};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder, StringDictionaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use std::sync::Arc;

/// Bounds of single values.
#[derive(Debug, Clone, Copy)]
pub struct AdmitLimits {
    /// Bytes of one text value: 32 KiB holds the longest command line that our sensor captures, twice.
    pub text_bytes_max: usize,
}

impl Default for AdmitLimits {
    fn default() -> Self {
        Self { text_bytes_max: 32 << 10 }
    }
}

/// A batch that may go on.
#[derive(Debug)]
pub struct Admitted {
    /// Known columns only, each in the type that our builders make or its plain form.
    pub batch: RecordBatch,
    /// Columns that this schema does not know, as they came: kept aside.
    pub unknown: Vec<(String, ArrayRef)>,
    /// Values that were cut.
    pub cut: usize,
}

/// The batch is not one of this table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AdmitError {
    /// A column has another type.
    #[error("column `{column}` has type {found}, `{expected}` is needed")]
    Type {
        /// Column.
        column: String,
        /// Type found.
        found: String,
        /// Type needed, in the hunting language's words.
        expected: &'static str,
    },
    /// A column comes twice.
    #[error("column `{0}` comes twice")]
    Twice(String),
    /// Rows without a time.
    #[error("column `Timestamp` is missing or has nulls")]
    NoTimestamp,
}

/// What marks a value that was cut: it ends in this.
pub const CUT_MARK: &str = "…[cut]";

/// Checks a batch against its table. `Timestamp` must be there on every row.
pub fn admit(table: &Table, batch: RecordBatch, limits: &AdmitLimits) -> Result<Admitted, AdmitError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut arrays = Vec::with_capacity(batch.num_columns());
    let mut unknown = Vec::new();
    let mut cut = 0;
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let Some(column) = table.column(field.name()) else {
            unknown.push((field.name().clone(), Arc::clone(array)));
            continue;
        };
        if fields.iter().any(|f: &Field| f.name() == field.name()) {
            return Err(AdmitError::Twice(field.name().clone()));
        }
        let wrong = || AdmitError::Type {
            column: field.name().clone(),
            found: array.data_type().to_string().chars().take(80).collect(),
            expected: column.kind.as_str(),
        };
        let array = match column.kind {
            ColumnType::Text | ColumnType::Dynamic => {
                let array = match array.data_type() {
                    DataType::Utf8 => Arc::clone(array),
                    DataType::Dictionary(k, v) if **k == DataType::Int32 && **v == DataType::Utf8 => Arc::clone(array),
                    _ => return Err(wrong()),
                };
                cut_long(array, limits.text_bytes_max, &mut cut)
            }
            ColumnType::Datetime => match array.data_type() {
                DataType::Timestamp(_, _) => cast(array, &column.plain_type()).map_err(|_| wrong())?,
                _ => return Err(wrong()),
            },
            ColumnType::Long => match array.data_type() {
                DataType::Int64 => Arc::clone(array),
                DataType::Int32 => cast(array, &DataType::Int64).map_err(|_| wrong())?,
                _ => return Err(wrong()),
            },
            ColumnType::Int | ColumnType::Real | ColumnType::Bool => {
                if *array.data_type() != column.plain_type() {
                    return Err(wrong());
                }
                Arc::clone(array)
            }
        };
        if column.name == "Timestamp" && array.null_count() > 0 {
            return Err(AdmitError::NoTimestamp);
        }
        fields.push(Field::new(column.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    if batch.num_rows() > 0 && !fields.iter().any(|f| f.name() == "Timestamp") {
        return Err(AdmitError::NoTimestamp);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .expect("columns of one batch have one length");
    Ok(Admitted { batch, unknown, cut })
}

fn cut_text(text: &str, max: usize) -> String {
    let mut end = max.saturating_sub(CUT_MARK.len()).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT_MARK}", &text[..end])
}

fn cut_long(array: ArrayRef, max: usize, cut: &mut usize) -> ArrayRef {
    let Some(column) = TextColumn::new(&array) else { return array };
    let long = match column {
        TextColumn::Dictionary(_, values) => (0..values.len()).any(|i| values.value_length(i) as usize > max),
        TextColumn::Plain(a) => (0..a.len()).any(|i| a.value_length(i) as usize > max),
        _ => false,
    };
    if !long {
        return array;
    }
    let shorten = |text: &str, cut: &mut usize| -> Option<String> {
        (text.len() > max).then(|| {
            *cut += 1;
            cut_text(text, max)
        })
    };
    if matches!(column, TextColumn::Dictionary(..)) {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        for row in 0..array.len() {
            let value = column.get(row);
            match value.and_then(|t| shorten(t, cut)) {
                Some(short) => builder.append_value(short),
                None => builder.append_option(value),
            }
        }
        return Arc::new(builder.finish());
    }
    let mut builder = StringBuilder::new();
    for row in 0..array.len() {
        let value = column.get(row);
        match value.and_then(|t| shorten(t, cut)) {
            Some(short) => builder.append_value(short),
            None => builder.append_option(value),
        }
    }
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batch_from_json, row_to_json, table};
    use arrow::array::{BooleanArray, Int64Array};
    use serde_json::json;

    #[test]
    fn long_text_is_cut_and_marked() {
        let t = table("DeviceProcessEvents").unwrap();
        let rows = [json!({"Timestamp": "2026-11-23T00:00:00Z", "ProcessCommandLine": "é".repeat(500)})];
        let batch = batch_from_json(t.name, &rows).unwrap();
        let admitted = admit(t, batch, &AdmitLimits { text_bytes_max: 64 }).unwrap();
        assert_eq!(admitted.cut, 1);
        let line = row_to_json(&admitted.batch, 0)["ProcessCommandLine"].as_str().unwrap().to_owned();
        assert!(line.ends_with(CUT_MARK) && line.len() <= 64, "{line}");
    }

    #[test]
    fn a_wrong_type_is_refused_and_an_unknown_column_is_set_aside() {
        let t = table("DeviceProcessEvents").unwrap();
        let wrong = RecordBatch::try_from_iter([("FileName", Arc::new(BooleanArray::from(vec![true])) as ArrayRef)]);
        assert!(matches!(admit(t, wrong.unwrap(), &AdmitLimits::default()), Err(AdmitError::Type { .. })));
        let rows = [json!({"Timestamp": "2026-11-23T00:00:00Z"})];
        let batch = batch_from_json(t.name, &rows).unwrap();
        let more = RecordBatch::try_from_iter([
            ("Timestamp", Arc::clone(batch.column(0))),
            ("FromTheFuture", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ]);
        let admitted = admit(t, more.unwrap(), &AdmitLimits::default()).unwrap();
        assert_eq!(admitted.unknown[0].0, "FromTheFuture");
        assert_eq!(admitted.batch.num_columns(), 1);
    }

    #[test]
    fn rows_without_a_time_are_refused() {
        let t = table("DeviceProcessEvents").unwrap();
        let batch = batch_from_json(t.name, &[json!({"FileName": "x"})]).unwrap();
        assert_eq!(admit(t, batch, &AdmitLimits::default()).unwrap_err(), AdmitError::NoTimestamp);
    }
}
