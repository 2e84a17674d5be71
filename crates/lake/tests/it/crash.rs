//! `kill -9` at random moments: whatever was acknowledged is stored exactly once.
//!
//! The test starts its own program as a child that appends, flushes and merges, and prints what was acknowledged; it
//! kills the child at some acknowledgement, opens the lake, compares, and starts the next child on the same lake.

use crate::fixture::*;
use garrison_lake::plan::CompactionPolicy;
use garrison_lake::{Lake, LakeConfig};
use garrison_model::Micros;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const FOLDER: &str = "GARRISON_LAKE_CRASH_FOLDER";
const ROUNDS: u32 = 25;

fn busy() -> LakeConfig {
    LakeConfig {
        wal_segment_bytes_max: 64 << 10,
        flush_rows: 1_500,
        flush_age: Duration::from_millis(300),
        compaction: CompactionPolicy { fan_in: 3, ..CompactionPolicy::default() },
        ..config()
    }
}

/// Not a test by itself: what the child does.
#[test]
fn child_writer() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let lake = Lake::open(&folder, busy()).unwrap();
    let keeper = lake.clone();
    std::thread::spawn(move || {
        loop {
            let _ = wait(keeper.maintain(Micros(NOON)));
        }
    });
    let writers: Vec<_> = (1..=4_u64)
        .map(|device_number| {
            let lake = lake.clone();
            std::thread::spawn(move || {
                let end = lake.stream(&device(device_number), &boot(1)).map_or(0, |stream| stream.end());
                // The last batch before the crash is sent again, as a sensor does that saw no answer; then on.
                let mut first = end.saturating_sub(60);
                loop {
                    let count = 20 + (first % 41) as u32;
                    wait(lake.append(batch(device_number, first, count))).unwrap();
                    first += u64::from(count);
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "\nacked {device_number} {first}").unwrap();
                    out.flush().unwrap();
                }
            })
        })
        .collect();
    // None of them ever ends; the parent's signal does.
    let ended: Vec<_> = writers.into_iter().map(std::thread::JoinHandle::join).collect();
    panic!("{} writers ended", ended.len());
}

#[test]
fn a_killed_server_loses_no_acknowledged_row_and_stores_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_writer", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let answers = 1 + (random >> 33) % 160;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        let mut hear = |line: &str| {
            let mut words = line.split(' ');
            if words.next() != Some("acked") {
                return false;
            }
            let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
            let end = acknowledged.entry(numbers[0]).or_default();
            *end = (*end).max(numbers[1]);
            true
        };
        while heard < answers {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            heard += u64::from(hear(&line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(lines);
        let lake = Lake::open(folder.path(), config()).unwrap();
        assert_eq!(lake.recovery().damaged, 0, "round {round}: {:?}", lake.recovery());
        let mut found: HashMap<String, Vec<i64>> = HashMap::new();
        for (device, number) in stored(&lake) {
            found.entry(device).or_default().push(number);
        }
        for (number, end) in &acknowledged {
            let rows = &found[device(*number).as_str()];
            assert_eq!(rows, &(0..rows.len() as i64).collect::<Vec<_>>(), "round {round}: each row once, no gap");
            assert!(rows.len() as u64 >= *end, "round {round}: {} rows, {end} acknowledged", rows.len());
            assert_eq!(lake.stream(&device(*number), &boot(1)).unwrap().end(), rows.len() as u64);
        }
    }
    assert_eq!(acknowledged.len(), 4);
}
