//! What a reader sees: pruned, ordered, consistent, and the same before and after maintenance.

use crate::fixture::*;
use arrow::array::RecordBatch;
use garrison_lake::plan::CompactionPolicy;
use garrison_lake::{Cursor, Filter, Lake, LakeConfig, LakeError, Order, ScanRequest, TableSpec, Test};
use garrison_model::Micros;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

fn request() -> ScanRequest {
    ScanRequest::table(TABLE)
}

fn numbers(lake: &Lake, request: ScanRequest) -> Vec<i64> {
    let mut numbers = sequence(&lake.scan(request).unwrap().collect_rows().unwrap());
    numbers.sort_unstable();
    numbers
}

fn with(column: &str, test: Test) -> ScanRequest {
    ScanRequest { filters: vec![Filter::new(column, test)], ..request() }
}

#[test]
fn filters_give_the_same_rows_from_memory_and_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    wait(lake.append(batch(1, 0, 100))).unwrap();
    wait(lake.append(batch(2, 100, 100))).unwrap();
    let time = |second: i64| Some(Micros(NOON + second * 1_000_000));
    let cases: Vec<(ScanRequest, Vec<i64>)> = vec![
        (with("FileName", Test::Equals("Curl".into())), (0..200).step_by(10).collect()),
        (with("FileName", Test::Equals("curl".into())), vec![]),
        (with("FileName", Test::EqualsIgnoreCase("curl".into())), (0..200).step_by(10).collect()),
        (with("ProcessCommandLine", Test::EndsWith("--ROW 1:7".into())), vec![7]),
        (with("ProcessCommandLine", Test::Contains("2:19".into())), (190..200).collect()),
        (with("ReportId", Test::NumberBetween(98, 101)), vec![98, 99, 100, 101]),
        (with("SHA256", Test::IsNotNull), vec![]),
        (with("SHA256", Test::IsNull), (0..200).collect()),
        (ScanRequest { devices: vec![device(2).to_string()], ..request() }, (100..200).collect()),
        (ScanRequest { from: time(20), to: time(23), ..request() }, vec![20, 21, 22]),
    ];
    for flushed in [false, true] {
        if flushed {
            wait(lake.flush()).unwrap();
        }
        for (request, expected) in &cases {
            assert_eq!(&numbers(&lake, request.clone()), expected, "{request:?}, flushed: {flushed}");
        }
    }
    assert!(matches!(lake.scan(with("Nope", Test::IsNull)).err(), Some(LakeError::UnknownColumn { .. })));
    assert!(matches!(lake.scan(ScanRequest::table("Nope")).err(), Some(LakeError::UnknownTable { .. })));
    let unbounded = ScanRequest { order: Order::NewestFirst, ..request() };
    assert!(matches!(lake.scan(unbounded).err(), Some(LakeError::BadRequest { .. })));
}

#[test]
fn files_and_row_groups_that_cannot_match_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    for hour in 0..4 {
        let start = NOON - (hour + 1) * 3_600_000_000;
        wait(lake.append(batch_of(hour as u64, 0, rows_at(hour as u64, 0, 60, start)))).unwrap();
        wait(lake.flush()).unwrap();
    }
    let recent = ScanRequest { from: Some(Micros(NOON - 3_600_000_000)), ..request() };
    let scan = lake.scan(recent).unwrap();
    assert_eq!((scan.files_pruned(), scan.collect_rows().unwrap().num_rows()), (3, 60));
    let one = lake.scan(ScanRequest { devices: vec![device(2).to_string()], ..request() }).unwrap();
    assert_eq!((one.files_pruned(), one.collect_rows().unwrap().num_rows()), (3, 60));
    // Between the bounds of every file's names, but in no bloom filter.
    let mut scan = lake.scan(with("FileName", Test::Equals("X".into()))).unwrap();
    assert!(scan.next().is_none());
    assert_eq!(scan.row_groups(), (4, 0));
}

#[test]
fn an_ordered_scan_pages_through_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    // Two devices at the same times, so that keys tie on time; half in files, half in memory.
    for device in [1, 2] {
        wait(lake.append(batch(device, 0, 60))).unwrap();
    }
    wait(lake.flush()).unwrap();
    for device in [1, 2] {
        wait(lake.append(batch(device, 60, 40))).unwrap();
    }
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = ScanRequest { order, limit: Some(7), after: after.clone(), ..request() };
            let rows = lake.scan(page).unwrap().collect_rows().unwrap();
            let keys: Vec<(i64, String)> = (0..rows.num_rows())
                .map(|row| {
                    let json = garrison_telemetry::row_to_json(&rows, row);
                    (json["ReportId"].as_i64().unwrap(), json["DeviceId"].as_str().unwrap().to_owned())
                })
                .collect();
            let Some((sequence, device)) = keys.last().cloned() else { break };
            after = Some(Cursor { time: Micros(NOON + sequence * 1_000_000), device, sequence });
            seen.extend(keys);
        }
        let mut expected: Vec<(i64, String)> =
            (0..100).flat_map(|n| [1, 2].map(|d| (n, device(d).to_string()))).collect();
        if order == Order::NewestFirst {
            expected.reverse();
        }
        assert_eq!(seen, expected, "{order:?}");
    }
}

#[test]
fn no_row_is_seen_twice_or_missed_while_flushes_run() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..40 {
                wait(lake.append(batch(1, n * 25, 25))).unwrap();
                if n % 3 == 0 {
                    wait(lake.flush()).unwrap();
                }
                if n % 10 == 9 {
                    wait(lake.maintain(Micros(NOON + 3 * 86_400_000_000))).unwrap();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut rounds = 0;
        while !done.load(Ordering::SeqCst) || rounds == 0 {
            let least = lake.stream(&device(1), &boot(1)).map_or(0, |stream| stream.end());
            // A file may be deleted under a reader at grace zero; then it reads again, as after the grace time.
            let Ok(found) = lake.scan(request()).unwrap().collect_rows() else { continue };
            let mut found = sequence(&found);
            found.sort_unstable();
            let distinct: HashSet<i64> = found.iter().copied().collect();
            assert_eq!(distinct.len(), found.len(), "a row was seen twice");
            assert!(found.len() as u64 >= least, "{} rows seen, {least} acknowledged before", found.len());
            assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>());
            rounds += 1;
        }
    });
    assert_eq!(stored(&lake), keys(1, 0..1_000));
}

#[test]
fn compaction_keeps_every_row_and_vacuum_deletes_what_it_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let policy = CompactionPolicy { fan_in: 3, ..CompactionPolicy::default() };
    let lake = Lake::open(folder.path(), LakeConfig { compaction: policy, ..config() }).unwrap();
    for n in 0..9 {
        wait(lake.append(batch(n % 2, n * 500, 500))).unwrap();
        wait(lake.flush()).unwrap();
    }
    let before = stored(&lake);
    assert_eq!(lake.snapshot(TABLE).unwrap().files.len(), 9);
    let done = wait(lake.maintain(Micros(NOON))).unwrap();
    assert_eq!((done.files_merged, done.files_written), (9, 1), "{done:?}");
    let snapshot = lake.snapshot(TABLE).unwrap();
    assert_eq!((snapshot.files.len(), snapshot.files[0].rows), (1, 4_500));
    assert_eq!(stored(&lake), before);
    let merged = parquet_rows(&snapshot.folder.join(&snapshot.files[0].path));
    let order = sort_keys(&merged);
    assert!(order.windows(2).all(|pair| pair[0] <= pair[1]), "sorted by device, time, number");
    // Real files carry real times, so the clock that vacuum is given must be later than now.
    let later = Micros(NOON + 20 * 365 * 86_400_000_000);
    let kept = LakeConfig { retention_days: [(TABLE.to_owned(), 36_500)].into(), ..config() };
    drop(lake);
    let lake = Lake::open(folder.path(), kept).unwrap();
    wait(lake.maintain(later)).unwrap();
    let on_disk = std::fs::read_dir(folder.path().join(TABLE).join("EventDate=2026-11-23")).unwrap().count();
    assert_eq!(on_disk, 2, "the file and its term index");
    assert_eq!(stored(&lake), before);
}

fn parquet_rows(path: &std::path::Path) -> RecordBatch {
    let file = std::fs::File::open(path).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let rows: Vec<_> = reader.map(Result::unwrap).collect();
    arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap()
}

fn sort_keys(rows: &RecordBatch) -> Vec<(String, i64)> {
    (0..rows.num_rows())
        .map(|row| {
            let json = garrison_telemetry::row_to_json(rows, row);
            (json["DeviceId"].as_str().unwrap().to_owned(), json["ReportId"].as_i64().unwrap())
        })
        .collect()
}

#[test]
fn days_expire_by_the_clock_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), LakeConfig { retention_days: [(TABLE.to_owned(), 10)].into(), ..config() });
    let lake = lake.unwrap();
    let day = 86_400_000_000;
    for back in 0..3 {
        let first = back as u64 * 10;
        wait(lake.append(batch_of(1, first, rows_at(1, first, 10, NOON - back * day)))).unwrap();
    }
    wait(lake.flush()).unwrap();
    assert_eq!(lake.snapshot(TABLE).unwrap().files.len(), 3, "one file a day");
    assert_eq!(wait(lake.maintain(Micros(NOON + 8 * day))).unwrap().rows_expired, 0);
    let done = wait(lake.maintain(Micros(NOON + 9 * day))).unwrap();
    assert_eq!((done.files_expired, done.rows_expired), (1, 10));
    assert_eq!(stored(&lake), keys(1, 0..20));
    drop(lake);
    let lake = open(folder.path());
    assert_eq!(stored(&lake), keys(1, 0..20));
    // Expired rows stay known: a resend does not bring them back.
    assert_eq!(wait(lake.append(batch(1, 20, 10))).unwrap().rows(), 0);
}

#[test]
fn a_sensor_with_a_wrong_clock_cannot_choose_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    for (n, time) in
        [i64::MIN / 4, -1, NOON - 40 * 86_400_000_000, NOON + 40 * 86_400_000_000, i64::MAX / 4].into_iter().enumerate()
    {
        wait(lake.append(batch_of(1, n as u64, rows_at(1, 0, 1, time)))).unwrap();
    }
    wait(lake.flush()).unwrap();
    let files = lake.snapshot(TABLE).unwrap().files;
    assert_eq!(files.iter().map(|f| f.partition.as_str()).collect::<Vec<_>>(), ["2026-11-23"]);
    assert_eq!(stored(&lake), keys(1, 0..5));
    let past = ScanRequest { to: Some(Micros(0)), ..request() };
    assert_eq!(numbers(&lake, past), [0, 1], "the time itself is kept as claimed");
}

#[test]
fn a_new_column_is_added_and_old_files_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let full = TableSpec::of(garrison_telemetry::table(TABLE).unwrap());
    let old: Vec<usize> =
        (0..full.schema.fields().len()).filter(|i| full.schema.field(*i).name() != "ProcessCommandLine").collect();
    let old = TableSpec { schema: full.schema.project(&old).unwrap().into(), ..full.clone() };
    let lake = Lake::open(folder.path(), LakeConfig { tables: vec![old], ..config() }).unwrap();
    wait(lake.append(batch(1, 0, 10))).unwrap();
    wait(lake.flush()).unwrap();
    drop(lake);
    let lake = open(folder.path());
    wait(lake.append(batch(1, 10, 10))).unwrap();
    wait(lake.flush()).unwrap();
    assert_eq!(stored(&lake), keys(1, 0..20));
    assert_eq!(numbers(&lake, with("ProcessCommandLine", Test::IsNotNull)), (10..20).collect::<Vec<_>>());
    assert_eq!(numbers(&lake, with("ProcessCommandLine", Test::IsNull)), (0..10).collect::<Vec<_>>());
    wait(lake.maintain(Micros(NOON + 3 * 86_400_000_000))).unwrap();
    assert_eq!(lake.snapshot(TABLE).unwrap().files.len(), 1);
    assert_eq!(numbers(&lake, with("ProcessCommandLine", Test::IsNull)), (0..10).collect::<Vec<_>>());
}

#[test]
fn memory_is_bounded_and_appends_wait_for_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let small = LakeConfig { hot_bytes_max: 64 << 10, ..config() };
    let lake = Lake::open(folder.path(), small).unwrap();
    // Without a flush by itself this would wait for ever.
    for n in 0..20 {
        wait(lake.append(batch(1, n * 200, 200))).unwrap();
    }
    assert!(lake.stats().flushes > 0);
    assert_eq!(stored(&lake), keys(1, 0..4_000));
}
