//! How many rows a second the lake makes durable, with 1, 10 and 100 concurrent writers.
//!
//! `cargo run --release -p garrison-lake --example appends [-- FOLDER [SECONDS]]`. The folder should be on the disk
//! that is meant; a temporary file system knows no sync. Prints one JSON line a case.

use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use garrison_lake::{Batch, Lake, LakeConfig};
use garrison_model::{BootId, DeviceId, Micros};
use garrison_telemetry::{BatchHeader, encode_ipc};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const START: i64 = 1_795_435_200_000_000;

/// Rows of a few hundred bytes, as process creations are.
fn rows(count: usize) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text = |make: &dyn Fn(usize) -> String| Arc::new(StringArray::from_iter_values((0..count).map(make)));
    let times = TimestampMicrosecondArray::from_iter_values((0..count as i64).map(|n| START + n * 700));
    RecordBatch::try_new(
        Arc::new(Schema::new(vec![
            Field::new("Timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("ActionType", DataType::Utf8, true),
            Field::new("FileName", DataType::Utf8, true),
            Field::new("FolderPath", DataType::Utf8, true),
            Field::new("SHA256", DataType::Utf8, true),
            Field::new("ProcessCommandLine", DataType::Utf8, true),
            Field::new("AccountName", DataType::Utf8, true),
        ])),
        vec![
            Arc::new(times.with_timezone("UTC")),
            text(&|_| "ProcessCreated".to_owned()),
            text(&|n| format!("tool{}", n % 40)),
            text(&|n| format!("/usr/bin/tool{}", n % 40)),
            text(&|n| format!("{:064x}", (n % 40) as u128 * 0x9e37_79b9_7f4a_7c15)),
            text(&|n| format!("/usr/bin/tool{} --config /etc/tool.conf --run {} --id {n}", n % 40, n * 7919 % 1_000)),
            text(&|n| format!("user{}", n % 5)),
        ],
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| std::env::temp_dir().join("garrison-lake-appends"), PathBuf::from);
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (writers, rows_a_batch) in [(1, 1_000), (10, 1_000), (100, 100), (100, 1_000), (100, 2_000)] {
        let root = folder.join(format!("{writers}-{rows_a_batch}"));
        let _ = std::fs::remove_dir_all(&root);
        let lake = Lake::open(&root, LakeConfig::default())?;
        let batch = rows(rows_a_batch)?;
        let payload = Bytes::from(encode_ipc(&batch)?);
        let started = Instant::now();
        let until = started + Duration::from_secs(seconds);
        let mut tasks = Vec::new();
        for writer in 0..writers {
            let (lake, batch, payload) = (lake.clone(), batch.clone(), payload.clone());
            let device = DeviceId::new(format!("{writer:040x}"))?;
            let boot = BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab")?;
            tasks.push(runtime.spawn(async move {
                let mut waits = Vec::new();
                let mut first = 0;
                while Instant::now() < until {
                    let header = BatchHeader {
                        device: device.clone(),
                        boot: boot.clone(),
                        table: "DeviceProcessEvents".to_owned(),
                        sequence_first: first,
                        row_count: rows_a_batch as u32,
                        created: Micros(START),
                    };
                    let mut next = Batch::new(header, Micros(START), batch.clone());
                    next.payload = Some(payload.clone());
                    let sent = Instant::now();
                    lake.append(next).await?;
                    waits.push(sent.elapsed());
                    first += rows_a_batch as u64;
                }
                Ok::<_, garrison_lake::LakeError>(waits)
            }));
        }
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(runtime.block_on(task)??);
        }
        let elapsed = started.elapsed().as_secs_f64();
        waits.sort_unstable();
        let rank = |part: usize| waits.get(waits.len() * part / 100).map_or(0, |wait| wait.as_micros());
        let flushed = runtime.block_on(lake.flush());
        let stored = started.elapsed().as_secs_f64();
        let stats = lake.stats();
        println!(
            "{}",
            serde_json::json!({
                "writers": writers,
                "rowsPerBatch": rows_a_batch,
                "seconds": elapsed,
                "rowsPerSecond": (waits.len() * rows_a_batch) as f64 / elapsed,
                // With everything in Parquet too: what the machine sustains.
                "rowsPerSecondInParquet": (waits.len() * rows_a_batch) as f64 / stored,
                "flushed": flushed.is_ok(),
                "appendMicrosMedian": rank(50),
                "appendMicros99th": rank(99),
                "groups": stats.wal_groups,
                "walBytes": stats.wal_bytes,
                "flushes": stats.flushes,
                "flushFailures": stats.flush_failures,
            })
        );
        drop(lake);
        let _ = std::fs::remove_dir_all(&root);
    }
    Ok(())
}
