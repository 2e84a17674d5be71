//! On start: fill the process cache, and look again at rows that came after the watermark.

use super::{Detection, RuleError, WATERMARK_SLACK, store};
use crate::ingest::Stored;
use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use garrison_lake::{Order, ScanRequest};
use garrison_model::{BootId, DeviceId, Micros};
use garrison_telemetry::{BatchHeader, TextColumn};
use std::sync::Arc;

/// How far back process rows are read to know the ancestors of what runs.
const PROCESSES_BACK: i64 = 24 * 3_600_000_000;
/// Rows may be this much older than the moment they come.
const LATE_MAX: i64 = 7 * 24 * 3_600_000_000;
/// Rows read for that: some seconds of work at the most.
const PROCESSES_ROWS_MAX: usize = 100_000;

/// Does it; the writer must run already.
pub async fn recover(detection: &Arc<Detection>) -> Result<(), RuleError> {
    let now = crate::now();
    let watermark = store::watermark(&detection.shared).await?;
    let own = Arc::clone(detection);
    let looked = tokio::task::spawn_blocking(move || {
        warm(&own, now)?;
        match watermark {
            Some(watermark) => again(&own, watermark.saturating_sub(WATERMARK_SLACK), now),
            // A first start, or a data folder older than detection: everything is new enough to be looked at.
            None => again(&own, 0, now),
        }
    })
    .await
    .map_err(|_| RuleError::Task)??;
    if looked > 0 {
        tracing::info!(rows = looked, "looked again at rows that came after the last watermark");
    }
    Ok(())
}

fn warm(detection: &Detection, now: Micros) -> Result<(), RuleError> {
    let request = ScanRequest {
        from: Some(Micros(now.0.saturating_sub(PROCESSES_BACK))),
        order: Order::NewestFirst,
        limit: Some(PROCESSES_ROWS_MAX),
        ..ScanRequest::table("DeviceProcessEvents")
    };
    let mut batches = detection.shared.lake.scan(request)?.collect::<Result<Vec<_>, _>>()?;
    // Newest were read first; the cache wants to end with them.
    batches.reverse();
    for batch in batches {
        for (device, _, part) in runs(&batch) {
            detection.with_processes(|cache| cache.feed(&device, "DeviceProcessEvents", &part));
        }
    }
    Ok(())
}

fn again(detection: &Detection, since: i64, now: Micros) -> Result<u64, RuleError> {
    let mut looked = 0;
    for table in garrison_telemetry::written_tables().filter(|t| t.name.starts_with("Device")) {
        // Rows of a sensor that was cut off for days carry old times, so more is read than is looked at.
        let from = (since > 0).then(|| Micros(since.saturating_sub(LATE_MAX)));
        let request = ScanRequest { from, ..ScanRequest::table(table.name) };
        for batch in detection.shared.lake.scan(request)? {
            let Some(batch) = ingested_since(&batch?, since) else { continue };
            for (device, boot, part) in runs(&batch) {
                looked += part.num_rows() as u64;
                let stored = Stored {
                    header: BatchHeader {
                        device,
                        boot,
                        table: table.name.to_owned(),
                        sequence_first: first_number(&part),
                        row_count: part.num_rows() as u32,
                        created: now,
                    },
                    received: ingest_time(&part).unwrap_or(now),
                    batch: part,
                    urgent: false,
                };
                let ticket = detection.in_flight.enter(stored.received.0);
                let drafts = detection.look(&stored);
                detection.queue(drafts, &ticket);
            }
        }
    }
    Ok(looked)
}

/// The rows that came at or after a moment.
fn ingested_since(batch: &RecordBatch, since: i64) -> Option<RecordBatch> {
    let times = batch.column_by_name("IngestTime")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let wanted: BooleanArray = times.iter().map(|t| Some(t.is_some_and(|t| t >= since))).collect();
    let rows = filter_record_batch(batch, &wanted).ok()?;
    (rows.num_rows() > 0).then_some(rows)
}

fn first_number(batch: &RecordBatch) -> u64 {
    let numbers = batch.column_by_name("ReportId").and_then(|c| c.as_primitive_opt::<Int64Type>());
    numbers.filter(|n| !n.is_empty() && n.is_valid(0)).and_then(|n| u64::try_from(n.value(0)).ok()).unwrap_or(0)
}

fn ingest_time(batch: &RecordBatch) -> Option<Micros> {
    let times = batch.column_by_name("IngestTime")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    (!times.is_empty() && times.is_valid(0)).then(|| Micros(times.value(0)))
}

/// Cuts a batch of the lake into runs of one device and boot with consecutive numbers, as they were sent.
fn runs(batch: &RecordBatch) -> Vec<(DeviceId, BootId, RecordBatch)> {
    let devices = batch.column_by_name("DeviceId").and_then(TextColumn::new);
    let boots = batch.column_by_name("BootId").and_then(TextColumn::new);
    let numbers = batch.column_by_name("ReportId").and_then(|c| c.as_primitive_opt::<Int64Type>());
    let (Some(devices), Some(boots), Some(numbers)) = (devices, boots, numbers) else { return Vec::new() };
    let mut out = Vec::new();
    let mut start = 0;
    for row in 1..=batch.num_rows() {
        let same = row < batch.num_rows()
            && devices.get(row) == devices.get(start)
            && boots.get(row) == boots.get(start)
            && numbers.value(row) == numbers.value(row - 1).wrapping_add(1);
        if same {
            continue;
        }
        let device = devices.get(start).and_then(|d| DeviceId::new(d).ok());
        let boot = boots.get(start).and_then(|b| BootId::new(b).ok());
        if let (Some(device), Some(boot)) = (device, boot) {
            out.push((device, boot, batch.slice(start, row - start)));
        }
        start = row;
    }
    out
}
