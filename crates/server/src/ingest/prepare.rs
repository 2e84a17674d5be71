//! From hostile bytes to rows that may be stored, and from those to rows as the lake holds them.

use arrow::array::{
    Array, ArrayRef, AsArray as _, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Int64Type, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use garrison_model::Micros;
use garrison_telemetry::{AdmitLimits, BatchHeader, DecodeLimits, Table, TextColumn, admit, decode_ipc};
use std::ops::Range;
use std::sync::Arc;

const DAY: i64 = 86_400_000_000;
/// A row may be this far ahead of our clock: sensors' clocks differ.
const AHEAD_MAX: i64 = DAY;
/// A row may be this old: more than any table keeps by default, so that long outages lose nothing.
const BEHIND_MAX: i64 = 400 * DAY;

/// Why a batch is never taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// Rows that may be stored.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) batch: RecordBatch,
    /// Nothing was changed, so the bytes that came may be logged as they are.
    pub(super) unchanged: bool,
    pub(super) unknown: Vec<(String, ArrayRef)>,
    pub(super) cut: usize,
    pub(super) clamped: usize,
    /// Rows that the ledger rows of this batch say were lost.
    pub(super) lost: u64,
}

/// Decodes, admits and checks.
pub(super) fn prepare(table: &Table, payload: &[u8], created: Micros, now: Micros) -> Result<Prepared, Refusal> {
    let decoded = decode_ipc(payload, &DecodeLimits::default())
        .map_err(|e| Refusal { code: "batch_malformed", message: e.to_string() })?;
    let admitted = admit(table, decoded, &AdmitLimits::default())
        .map_err(|e| Refusal { code: "batch_columns", message: e.to_string() })?;
    let failed = |e: ArrowError| Refusal { code: "batch_columns", message: e.to_string().chars().take(200).collect() };
    let (batch, clamped) = clamp_times(admitted.batch, created, now).map_err(failed)?;
    let lost = if table.name == "SensorLossEvents" { lost_rows(&batch) } else { 0 };
    let unchanged = admitted.unknown.is_empty() && admitted.cut == 0 && clamped == 0;
    Ok(Prepared { batch, unchanged, unknown: admitted.unknown, cut: admitted.cut, clamped, lost })
}

fn lost_rows(batch: &RecordBatch) -> u64 {
    let Some(column) = batch.column_by_name("LostRows").and_then(|c| c.as_primitive_opt::<Int64Type>()) else {
        return 0;
    };
    column.iter().flatten().map(|n| u64::try_from(n).unwrap_or(0)).fold(0, u64::saturating_add)
}

/// Times that cannot be true become the batch's, or ours where that is no better; the former one is kept in
/// `AdditionalFields` as `ClaimedTimestamp` (microseconds), where the table has that column.
fn clamp_times(batch: RecordBatch, created: Micros, now: Micros) -> Result<(RecordBatch, usize), ArrowError> {
    let sane = |t: i64| t >= now.0 - BEHIND_MAX && t <= now.0 + AHEAD_MAX;
    let schema = batch.schema();
    let Some((at, _)) = schema.column_with_name("Timestamp") else { return Ok((batch, 0)) };
    let Some(times) = batch.column(at).as_primitive_opt::<TimestampMicrosecondType>() else { return Ok((batch, 0)) };
    if times.values().iter().all(|t| sane(*t)) {
        return Ok((batch, 0));
    }
    let instead = if sane(created.0) { created.0 } else { now.0 };
    let claimed: Vec<Option<i64>> = times.values().iter().map(|t| (!sane(*t)).then_some(*t)).collect();
    let fixed = times.values().iter().map(|t| if sane(*t) { *t } else { instead });
    let fixed = TimestampMicrosecondArray::from_iter_values(fixed).with_timezone("UTC");
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(fixed);
    let marked = mark_claims(batch.column_by_name("AdditionalFields"), &claimed);
    let marked_field = Field::new("AdditionalFields", marked.data_type().clone(), true);
    match schema.column_with_name("AdditionalFields") {
        Some((i, _)) => {
            columns[i] = marked;
            fields[i] = marked_field;
        }
        None => {
            columns.push(marked);
            fields.push(marked_field);
        }
    }
    let count = claimed.iter().flatten().count();
    Ok((RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?, count))
}

fn mark_claims(former: Option<&ArrayRef>, claimed: &[Option<i64>]) -> ArrayRef {
    let former = former.and_then(TextColumn::new);
    let mut builder = StringBuilder::new();
    for (row, claim) in claimed.iter().enumerate() {
        let text = former.and_then(|c| c.get(row));
        let Some(claim) = claim else {
            builder.append_option(text);
            continue;
        };
        let mut object = text
            .and_then(|t| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(t).ok())
            .unwrap_or_default();
        object.insert("ClaimedTimestamp".to_owned(), (*claim).into());
        builder.append_value(serde_json::Value::Object(object).to_string());
    }
    Arc::new(builder.finish())
}

fn constant(value: &str, rows: usize) -> Result<ArrayRef, ArrowError> {
    let values = Arc::new(StringArray::from(vec![value]));
    Ok(Arc::new(DictionaryArray::try_new(Int32Array::from(vec![0; rows]), values)?))
}

/// Columns that the server fills; whatever a sensor puts there is left out.
const OWN_COLUMNS: [&str; 5] = ["DeviceId", "DeviceName", "ReportId", "BootId", "IngestTime"];

/// The rows as the lake holds them: own columns filled, rows that were stored before left out.
pub(super) fn complete(
    header: &BatchHeader,
    name: &str,
    batch: &RecordBatch,
    kept: &[Range<u32>],
    received: Micros,
) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(batch.num_columns() + OWN_COLUMNS.len());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns() + OWN_COLUMNS.len());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !OWN_COLUMNS.contains(&field.name().as_str()) {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    let first = header.sequence_first as i64;
    let own: [ArrayRef; 5] = [
        constant(header.device.as_str(), rows)?,
        constant(name, rows)?,
        Arc::new(Int64Array::from_iter_values(first..first + rows as i64)),
        constant(header.boot.as_str(), rows)?,
        Arc::new(TimestampMicrosecondArray::from(vec![received.0; rows]).with_timezone("UTC")),
    ];
    for (name, column) in OWN_COLUMNS.into_iter().zip(own) {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    let all = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let slice = |r: &Range<u32>| all.slice(r.start as usize, (r.end - r.start) as usize);
    match kept {
        [one] => Ok(slice(one)),
        many => concat_batches(&all.schema(), &many.iter().map(slice).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_telemetry::{batch_from_json, encode_ipc, row_to_json, table};
    use serde_json::json;

    const NOW: Micros = Micros(1_795_000_000_000_000);

    fn run(rows: &[serde_json::Value]) -> Result<Prepared, Refusal> {
        let batch = batch_from_json("DeviceProcessEvents", rows).unwrap();
        prepare(table("DeviceProcessEvents").unwrap(), &encode_ipc(&batch).unwrap(), NOW, NOW)
    }

    #[test]
    fn absurd_times_are_replaced_and_marked_and_sane_ones_stay() {
        let rows = [
            json!({"Timestamp": "2026-11-18T00:00:00Z", "FileName": "a"}),
            json!({"Timestamp": "1970-01-02T00:00:00Z", "FileName": "b", "AdditionalFields": "{\"Cwd\":\"/\"}"}),
        ];
        let done = run(&rows).unwrap();
        assert_eq!((done.clamped, done.unchanged), (1, false));
        let first = row_to_json(&done.batch, 0);
        assert!(first["Timestamp"].as_str().unwrap().starts_with("2026-11-18"), "{first:?}");
        let second = serde_json::Value::Object(row_to_json(&done.batch, 1)).to_string();
        assert!(second.contains("ClaimedTimestamp") && second.contains("Cwd"), "{second}");
    }

    #[test]
    fn a_sane_batch_is_logged_as_it_came() {
        assert!(run(&[json!({"Timestamp": "2026-11-18T00:00:00Z", "FileName": "a"})]).unwrap().unchanged);
    }

    #[test]
    fn what_a_sensor_claims_of_its_identity_is_left_out() {
        let done =
            run(&[json!({"Timestamp": "2026-11-18T00:00:00Z", "DeviceId": "someone else", "ReportId": 7})]).unwrap();
        let header = BatchHeader {
            device: garrison_model::DeviceId::new("ab".repeat(20)).unwrap(),
            boot: garrison_model::BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab").unwrap(),
            table: "DeviceProcessEvents".into(),
            sequence_first: 42,
            row_count: 1,
            created: NOW,
        };
        let all = complete(&header, "web-1", &done.batch, std::slice::from_ref(&(0..1)), NOW).unwrap();
        let row = row_to_json(&all, 0);
        assert_eq!(row["DeviceId"], json!("ab".repeat(20)));
        assert_eq!(row["ReportId"], json!(42));
        assert_eq!(row["DeviceName"], json!("web-1"));
    }
}
