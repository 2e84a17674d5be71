//! From rows in memory to Parquet files and a Delta commit.
//!
//! A flush takes all rows of a table, writes one file a day, and commits them together with the position in the
//! write-ahead log up to which the table is now stored (a `txn` action). After a crash, log entries up to that
//! position are not stored again: a row is in the commit or in the replay, never in both.
//!
//! Days: a row belongs to the UTC day of its `Timestamp`, if that is at most [`LATE_DAYS`] days before and
//! [`FUTURE_DAYS`] after it came; otherwise, and without a time, to the day it came. A sensor with a wrong clock thus
//! cannot make files in arbitrarily many folders, nor rows that expire at once or never. The `Timestamp` itself is
//! stored as it was claimed, and time ranges are pruned by the files' bounds of `Timestamp`, not by folder.

use crate::delta::Change;
use crate::error::LakeError;
use crate::files::{ActiveFile, day_of};
use crate::parquet_file::ParquetFile;
use crate::spec::{DEVICE_COLUMN, INGEST_COLUMN, SEQUENCE_COLUMN, TIME_COLUMN, TableSpec};
use crate::table::{HotBatch, LakeTable};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, concat, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use garrison_model::Micros;
use std::collections::HashMap;
use std::sync::Arc;

/// Days that a row may be late and still be filed under its own day: as long as sensors are expected to stay offline.
pub const LATE_DAYS: i64 = 31;
/// Days that a row may lie in the future.
pub const FUTURE_DAYS: i64 = 1;

/// Rows that are written to Parquet at once.
const WRITE_ROWS: usize = 16_384;

/// The day that a row is filed under.
pub fn event_day(time: Option<Micros>, ingested: Micros) -> i64 {
    let came = day_of(ingested);
    match time.map(day_of) {
        Some(day) if day >= came - LATE_DAYS && day <= came + FUTURE_DAYS => day,
        _ => came,
    }
}

/// Moves a table's rows into Parquet; returns the number of rows. On error they stay readable where they are, and the
/// next call tries again.
pub(crate) async fn flush_table(table: &LakeTable, now_ms: i64) -> Result<Flushed, LakeError> {
    let batches: Vec<HotBatch> = {
        let mut shelf = table.write();
        if shelf.flushing.is_empty() {
            shelf.flushing = std::mem::take(&mut shelf.hot);
            (shelf.hot_rows, shelf.hot_bytes, shelf.hot_since) = (0, 0, None);
        }
        shelf.flushing.clone()
    };
    let Some(through) = batches.iter().map(|batch| batch.position).max() else { return Ok(Flushed::default()) };
    let flushed = Flushed {
        rows: batches.iter().map(|batch| batch.rows.num_rows()).sum(),
        permits: batches.iter().map(|batch| batch.permits as usize).sum(),
    };
    let mut log = table.log.lock().await;
    if log.unsure {
        log.reload().await?;
    }
    if log.stored_through().await? < through {
        let files = write_files(table, &batches, now_ms)?;
        drop(batches);
        let paths: Vec<_> = files.iter().map(|file| table.folder.join(&file.path)).collect();
        let change = Change { add: files, now_ms, stored_through: Some(through), ..Change::default() };
        if let Err(error) = log.commit(change).await {
            if !log.unsure {
                for path in paths {
                    let _ = std::fs::remove_file(crate::terms::index_path(&path));
                    let _ = std::fs::remove_file(path);
                }
            }
            return Err(error);
        }
    }
    let files = log.files()?;
    let mut shelf = table.write();
    shelf.files = Arc::new(files);
    shelf.version = log.version();
    shelf.flushing.clear();
    Ok(flushed)
}

/// What a flush did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Flushed {
    pub(crate) rows: usize,
    pub(crate) permits: usize,
}

fn write_files(table: &LakeTable, batches: &[HotBatch], now_ms: i64) -> Result<Vec<ActiveFile>, LakeError> {
    let (spec, folder) = (&table.spec, table.folder.as_path());
    let failed = |source| LakeError::Columns { step: "sort", table: spec.name.clone(), source };
    let rows = union_rows(spec, batches.iter().map(|batch| &batch.rows)).map_err(failed)?;
    let days = row_days(&rows);
    let order = sorted_order(&rows, &days);
    let mut files = Vec::new();
    let mut open: Option<(i64, ParquetFile)> = None;
    let mut at = 0;
    let result = (|| {
        while at < order.len() {
            let day = days[order.value(at) as usize];
            let mut end = at + 1;
            while end < order.len() && end - at < WRITE_ROWS && days[order.value(end) as usize] == day {
                end += 1;
            }
            let chunk = take_record_batch(&rows, &order.slice(at, end - at)).map_err(failed)?;
            if open.as_ref().is_none_or(|(open_day, _)| *open_day != day) {
                if let Some((_, file)) = open.take() {
                    files.push(file.finish(now_ms)?);
                }
                open = Some((day, ParquetFile::create(folder, day, rows.schema_ref(), table.at_rest.sealing())?));
            }
            if let Some((_, file)) = open.as_mut() {
                file.write(&chunk)?;
            }
            at = end;
        }
        if let Some((_, file)) = open.take() {
            files.push(file.finish(now_ms)?);
        }
        Ok(())
    })();
    match result {
        Ok(()) => Ok(files),
        Err(error) => {
            for file in files {
                let path = folder.join(&file.path);
                let _ = std::fs::remove_file(crate::terms::index_path(&path));
                let _ = std::fs::remove_file(path);
            }
            Err(error)
        }
    }
}

/// Columns of the table that stand in at least one of the batches, in the table's order.
pub(crate) fn union_schema<'a>(spec: &TableSpec, schemas: impl Iterator<Item = &'a SchemaRef> + Clone) -> SchemaRef {
    let present = |name: &str| schemas.clone().any(|schema| schema.column_with_name(name).is_some());
    let fields: Vec<_> = spec.schema.fields().iter().filter(|field| present(field.name())).cloned().collect();
    Arc::new(Schema::new(fields))
}

/// A column as the table has it; nulls where it is absent.
pub(crate) fn plain_column(
    rows: &RecordBatch,
    name: &str,
    kind: &DataType,
) -> Result<ArrayRef, arrow::error::ArrowError> {
    match rows.column_by_name(name) {
        None => Ok(new_null_array(kind, rows.num_rows())),
        Some(array) if array.data_type() == kind => Ok(array.clone()),
        Some(array) => cast(array, kind),
    }
}

fn union_rows<'a>(
    spec: &TableSpec,
    batches: impl Iterator<Item = &'a RecordBatch> + Clone,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = union_schema(spec, batches.clone().map(RecordBatch::schema_ref));
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let parts = batches
            .clone()
            .map(|rows| plain_column(rows, field.name(), field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        columns.push(concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?);
    }
    RecordBatch::try_new(schema, columns)
}

fn row_days(rows: &RecordBatch) -> Vec<i64> {
    let times =
        |name: &str| rows.column_by_name(name).and_then(|a| a.as_primitive_opt::<TimestampMicrosecondType>()).cloned();
    let (event, ingest) = (times(TIME_COLUMN), times(INGEST_COLUMN));
    let value = |array: &Option<arrow::array::TimestampMicrosecondArray>, row: usize| {
        array.as_ref().filter(|array| array.is_valid(row)).map(|array| Micros(array.value(row)))
    };
    (0..rows.num_rows()).map(|row| event_day(value(&event, row), value(&ingest, row).unwrap_or_default())).collect()
}

/// Rows by (day, DeviceId, Timestamp, ReportId), nulls first. Devices are ranked once, so that the sort compares
/// numbers only.
fn sorted_order(rows: &RecordBatch, days: &[i64]) -> UInt32Array {
    let devices = rows.column_by_name(DEVICE_COLUMN).and_then(|array| array.as_string_opt::<i32>());
    let times = rows.column_by_name(TIME_COLUMN).and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>());
    let numbers = rows.column_by_name(SEQUENCE_COLUMN).and_then(|array| array.as_primitive_opt::<Int64Type>());
    let device = |row: usize| devices.filter(|array| array.is_valid(row)).map(|array| array.value(row));
    let mut names: Vec<Option<&str>> = Vec::new();
    for row in 0..rows.num_rows() {
        // Rows of a device come in runs, so this list stays near the number of batches.
        if names.last() != Some(&device(row)) {
            names.push(device(row));
        }
    }
    names.sort_unstable();
    names.dedup();
    let ranks: HashMap<Option<&str>, usize> = names.into_iter().zip(0..).collect();
    let mut order: Vec<_> = (0..rows.num_rows())
        .map(|row| {
            let time = times.filter(|array| array.is_valid(row)).map(|array| array.value(row));
            let number = numbers.filter(|array| array.is_valid(row)).map(|array| array.value(row));
            (days[row], ranks.get(&device(row)).copied(), time, number, row as u32)
        })
        .collect();
    order.sort_unstable();
    UInt32Array::from_iter_values(order.into_iter().map(|key| key.4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_and_future_rows_are_filed_under_the_day_they_came() {
        let day = 86_400_000_000;
        let now = Micros(20_000 * day + 5);
        assert_eq!(event_day(Some(Micros(19_999 * day)), now), 19_999);
        assert_eq!(event_day(Some(Micros(20_001 * day)), now), 20_001);
        assert_eq!(event_day(Some(Micros(20_002 * day)), now), 20_000);
        assert_eq!(event_day(Some(Micros((20_000 - LATE_DAYS) * day)), now), 20_000 - LATE_DAYS);
        assert_eq!(event_day(Some(Micros((20_000 - LATE_DAYS) * day - 1)), now), 20_000);
        assert_eq!(event_day(Some(Micros(i64::MIN)), now), 20_000);
        assert_eq!(event_day(None, now), 20_000);
    }
}
