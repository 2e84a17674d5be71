//! What is acknowledged is stored once, whatever fails.

use crate::fixture::*;
use garrison_lake::{Appended, Lake, LakeConfig, LakeError};
use std::io;
use std::sync::atomic::Ordering;

#[test]
fn rows_are_readable_at_once_after_reopening_and_after_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    let appended = wait(lake.append(batch(1, 0, 50))).unwrap();
    assert_eq!(appended.rows(), 50);
    assert_eq!(stored(&lake), keys(1, 0..50));
    drop(lake);
    let lake = open(folder.path());
    assert_eq!(lake.recovery().rows, 50);
    assert_eq!(stored(&lake), keys(1, 0..50));
    assert_eq!(wait(lake.flush()).unwrap(), 50);
    assert_eq!(lake.snapshot(TABLE).unwrap().hot.len(), 0);
    assert_eq!(stored(&lake), keys(1, 0..50));
    drop(lake);
    let lake = open(folder.path());
    assert_eq!(lake.recovery().rows, 0, "the commit says how far the log is stored");
    assert_eq!(stored(&lake), keys(1, 0..50));
    assert_eq!(wait(lake.append(batch(1, 0, 50))).unwrap(), Appended::Duplicate);
}

#[test]
fn a_resent_batch_is_stored_once_and_an_overlap_is_trimmed_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    wait(lake.append(batch(1, 10, 10))).unwrap();
    assert_eq!(wait(lake.append(batch(1, 10, 10))).unwrap(), Appended::Duplicate);
    assert_eq!(wait(lake.append(batch(1, 12, 3))).unwrap(), Appended::Duplicate);
    match wait(lake.append(batch(1, 5, 20))).unwrap() {
        Appended::Stored { kept, .. } => assert_eq!(kept, [0..5, 15..20]),
        Appended::Duplicate => panic!("half of it is new"),
    }
    assert_eq!(stored(&lake), keys(1, 5..25));
    drop(lake);
    let lake = open(folder.path());
    assert_eq!(stored(&lake), keys(1, 5..25));
    assert_eq!(lake.stream(&device(1), &boot(1)).unwrap().contiguous_end(5), 25);
    assert_eq!(wait(lake.append(batch(1, 5, 20))).unwrap(), Appended::Duplicate);
    assert_eq!(lake.stats().duplicates, 1);
}

#[test]
fn the_same_batch_sent_many_times_at_once_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    let answers = wait(futures::future::join_all((0..64).map(|n| lake.append(batch(1, n % 4 * 5, 10)))));
    let rows: u32 = answers.into_iter().map(|answer| answer.unwrap().rows()).sum();
    assert_eq!(rows, 25);
    assert_eq!(stored(&lake), keys(1, 0..25));
}

#[test]
fn two_servers_cannot_open_one_lake() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    assert!(matches!(Lake::open(folder.path(), config()), Err(LakeError::Locked { .. })));
    drop(lake);
    open(folder.path());
}

#[test]
fn bad_batches_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    let mut wrong = batch(1, 0, 5);
    wrong.header.row_count = 6;
    assert!(matches!(wait(lake.append(wrong)), Err(LakeError::BadBatch { .. })));
    let mut wrong = batch(1, 0, 5);
    wrong.header.table = "../etc".to_owned();
    assert!(matches!(wait(lake.append(wrong)), Err(LakeError::UnknownTable { .. })));
    let wrong = batch(1, u64::MAX - 2, 0);
    assert!(matches!(wait(lake.append(wrong)), Err(LakeError::BadBatch { .. })));
    let mut wrong = batch(1, 0, 5);
    wrong.constants.push(("ReportId".to_owned(), "7".to_owned()));
    assert!(matches!(wait(lake.append(wrong)), Err(LakeError::BadBatch { .. })));
    assert_eq!(stored(&lake), []);
}

#[test]
fn identity_comes_from_the_header_and_constants_replace_what_rows_say() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    let rows = garrison_telemetry::batch_from_json(
        TABLE,
        &[serde_json::json!({"DeviceId": "someone else", "DeviceName": "liar", "ReportId": 99, "FileName": "x"})],
    )
    .unwrap();
    let mut batch = batch_of(7, 3, rows);
    batch.constants.push(("DeviceName".to_owned(), "web-1".to_owned()));
    wait(lake.append(batch)).unwrap();
    for flushed in [false, true] {
        if flushed {
            wait(lake.flush()).unwrap();
        }
        let rows = lake.scan(garrison_lake::ScanRequest::table(TABLE)).unwrap().collect_rows().unwrap();
        let row = garrison_telemetry::row_to_json(&rows, 0);
        assert_eq!(row["DeviceId"], device(7).as_str());
        assert_eq!(row["DeviceName"], "web-1");
        assert_eq!(row["ReportId"], 3);
        assert_eq!(row["BootId"], boot(1).as_str());
        assert_eq!(row["IngestTime"], "2026-11-23T12:00:00.000001Z");
    }
}

/// Flips, cuts and removals in the newest segment lose only what they touch.
#[test]
fn a_damaged_middle_is_skipped_and_counted_and_a_torn_tail_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    let mut ends = Vec::new();
    let segment = folder.path().join("wal/00000000000000000001.wal");
    for n in 0..5 {
        wait(lake.append(batch(1, n * 10, 10))).unwrap();
        ends.push(std::fs::metadata(&segment).unwrap().len() as usize);
    }
    drop(lake);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[ends[0] + 200] ^= 0x40;
    bytes.truncate(ends[4] - 7);
    std::fs::write(&segment, &bytes).unwrap();
    let lake = open(folder.path());
    let report = lake.recovery().clone();
    assert_eq!((report.rows, report.damaged, report.torn_tails), (30, 1, 1));
    assert_eq!(stored(&lake), [keys(1, 0..10), keys(1, 20..40)].concat());
    // The sensor still has what was not acknowledged, and may fill what was damaged.
    wait(lake.append(batch(1, 0, 50))).unwrap();
    assert_eq!(stored(&lake), keys(1, 0..50));
    drop(lake);
    assert_eq!(stored(&open(folder.path())), keys(1, 0..50));
}

#[test]
fn segments_are_given_back_and_positions_outlive_them() {
    let folder = tempfile::tempdir().unwrap();
    let small = LakeConfig { wal_segment_bytes_max: 4_096, ..config() };
    let lake = Lake::open(folder.path(), small.clone()).unwrap();
    for n in 0..30 {
        wait(lake.append(batch(1, n * 20, 20))).unwrap();
    }
    let count = || {
        let wal = std::fs::read_dir(folder.path().join("wal")).unwrap();
        wal.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "wal")).count()
    };
    assert!(count() > 3, "{} segments", count());
    wait(lake.flush()).unwrap();
    assert_eq!(count(), 1, "only the open segment is left");
    drop(lake);
    let lake = Lake::open(folder.path(), small).unwrap();
    assert_eq!(wait(lake.append(batch(1, 0, 600))).unwrap(), Appended::Duplicate);
    assert_eq!(stored(&lake), keys(1, 0..600));
}

#[test]
fn a_full_disk_acknowledges_nothing_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, faults) = FaultyDisk::open(folder.path());
    let lake = Lake::open_with_disk(folder.path(), config(), disk).unwrap();
    wait(lake.append(batch(1, 0, 10))).unwrap();
    for written in [0, 1, 30, 500] {
        *faults.append.lock().unwrap() = Some((written, io::ErrorKind::StorageFull));
        let error = wait(lake.append(batch(1, 10, 10))).unwrap_err();
        assert!(matches!(error, LakeError::DiskFull { .. }) && error.retry(), "{error}");
    }
    *faults.append.lock().unwrap() = None;
    assert_eq!(stored(&lake), keys(1, 0..10));
    wait(lake.append(batch(1, 10, 10))).unwrap();
    assert_eq!(lake.stats().wal_poisoned, 0, "the half-written group could be cut off");
    drop(lake);
    let lake = open(folder.path());
    assert_eq!((lake.recovery().damaged, lake.recovery().torn_tails), (0, 0));
    assert_eq!(stored(&lake), keys(1, 0..20));
}

#[test]
fn appends_are_refused_below_the_floor() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), LakeConfig { disk_floor_bytes: u64::MAX / 8, ..config() }).unwrap();
    assert_eq!(lake.disk(), garrison_lake::DiskState::Full);
    let error = wait(lake.append(batch(1, 0, 1))).unwrap_err();
    assert!(matches!(error, LakeError::DiskFull { floor, .. } if floor == u64::MAX / 8), "{error}");
    assert_eq!(lake.stream(&device(1), &boot(1)), None);
}

/// The lesson of failed syncs: a later success says nothing about the pages that failed.
#[test]
fn a_segment_whose_sync_failed_is_never_trusted_again() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, faults) = FaultyDisk::open(folder.path());
    let lake = Lake::open_with_disk(folder.path(), config(), disk).unwrap();
    wait(lake.append(batch(1, 0, 10))).unwrap();
    faults.sync.store(true, Ordering::SeqCst);
    assert!(matches!(wait(lake.append(batch(1, 10, 10))), Err(LakeError::Wal { step: "sync", .. })));
    // While no new segment can be made durable nothing is acknowledged either.
    assert!(matches!(wait(lake.append(batch(1, 10, 10))), Err(LakeError::Wal { step: "create", .. })));
    faults.sync.store(false, Ordering::SeqCst);
    // Other rows arrive; the bytes of the failed group did reach the old segment, but nobody was told so.
    wait(lake.append(batch(1, 20, 10))).unwrap();
    assert_eq!(stored(&lake), [keys(1, 0..10), keys(1, 20..30)].concat());
    wait(lake.flush()).unwrap();
    assert_eq!(lake.stats().wal_poisoned, 1);
    drop(lake);
    let lake = open(folder.path());
    assert_eq!(stored(&lake), [keys(1, 0..10), keys(1, 20..30)].concat());
    assert_eq!(wait(lake.append(batch(1, 10, 10))).unwrap().rows(), 10, "the sensor's resend is new");
    assert_eq!(stored(&lake), keys(1, 0..30));
}

#[test]
fn an_append_error_that_cannot_be_cut_off_starts_a_new_segment() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, faults) = FaultyDisk::open(folder.path());
    let lake = Lake::open_with_disk(folder.path(), config(), disk).unwrap();
    wait(lake.append(batch(1, 0, 10))).unwrap();
    *faults.append.lock().unwrap() = Some((100, io::ErrorKind::BrokenPipe));
    faults.truncate.store(true, Ordering::SeqCst);
    assert!(matches!(wait(lake.append(batch(1, 10, 10))), Err(LakeError::Wal { step: "append to", .. })));
    *faults.append.lock().unwrap() = None;
    faults.short.store(13, Ordering::SeqCst);
    wait(lake.append(batch(1, 20, 10))).unwrap();
    drop(lake);
    let lake = open(folder.path());
    assert_eq!(lake.recovery().damaged, 0);
    assert_eq!(stored(&lake), [keys(1, 0..10), keys(1, 20..30)].concat());
}

/// A real full file system, where this may mount one.
#[test]
fn a_full_file_system_refuses_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("small");
    std::fs::create_dir(&target).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "garrison-test"])
        .arg(&target)
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped because a tmpfs cannot be mounted here");
        return;
    }
    struct Unmount(std::path::PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(target.clone());
    let lake = open(&target.join("lake"));
    wait(lake.append(batch(1, 0, 10))).unwrap();
    let filler = target.join("filler");
    let full = {
        use std::io::Write;
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write(&[7; 4_096]).is_ok() {}
        (0..200).find_map(|n| wait(lake.append(batch(1, 10 + n * 20, 20))).err().map(|error| (n, error)))
    };
    let (refused, error) = full.expect("the disk is full");
    assert!(error.is_disk_full(), "{error}");
    std::fs::remove_file(&filler).unwrap();
    wait(lake.append(batch(1, 10 + refused * 20, 20))).unwrap();
    wait(lake.flush()).unwrap();
    assert_eq!(stored(&lake), keys(1, 0..30 + refused * 20));
    drop(lake);
}
