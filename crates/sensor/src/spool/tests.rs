use super::*;
use garrison_model::BootId;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::Path;

const BOOT: &str = "0f1e2d3c-0000-4000-8000-0123456789ab";
const OTHER: &str = "1f1e2d3c-0000-4000-8000-0123456789ab";

fn boot(text: &str) -> BootId {
    BootId::new(text).unwrap()
}

fn limits(bytes_max: u64, shed: Shed) -> SpoolLimits {
    SpoolLimits { bytes_max, shed, segment_bytes_max: (bytes_max / 16).max(600), segment_entries_max: 64 }
}

fn open(folder: &Path, bytes_max: u64) -> (Spool, Recovered) {
    Spool::open(folder, &boot(BOOT), limits(bytes_max, Shed::Priority), Micros(1)).unwrap()
}

fn new<'a>(table: &'a str, rows: u32, created: i64, payload: &'a [u8]) -> NewBatch<'a> {
    NewBatch { table, row_count: rows, created: Micros(created), urgent: false, payload }
}

fn drain(spool: &Spool) -> Vec<Outgoing> {
    std::iter::from_fn(|| spool.next_if(|_| true)).collect()
}

/// Every number from 1 on is in a batch or in the ledger, once.
fn numbers_are_explained(batches: &[Outgoing], next: u64) {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for b in batches {
        runs.push((b.sequence_first, u64::from(b.row_count)));
        if b.table != "SensorLossEvents" {
            continue;
        }
        let decoded = garrison_telemetry::decode_ipc(&b.payload, &garrison_telemetry::DecodeLimits::default()).unwrap();
        for row in 0..decoded.num_rows() {
            let json = garrison_telemetry::row_to_json(&decoded, row);
            let number = |key: &str| json[key].as_u64().unwrap();
            match json.get("AdditionalFields").and_then(|f| f.get("Runs")).and_then(|r| r.as_array()) {
                Some(many) => runs.extend(many.iter().map(|r| (r[0].as_u64().unwrap(), r[1].as_u64().unwrap()))),
                None => {
                    runs.push((number("SequenceAfter") + 1, number("SequenceBefore") - number("SequenceAfter") - 1));
                }
            }
        }
    }
    runs.retain(|r| r.1 > 0);
    runs.sort_unstable();
    let mut expected = 1;
    for (first, count) in runs {
        assert_eq!(first, expected, "numbers are unexplained or explained twice");
        expected = first + count;
    }
    assert_eq!(expected, next);
}

#[test]
fn batches_come_back_in_order_and_are_forgotten_when_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path(), 1 << 20);
    assert_eq!(spool.append(&new("DeviceProcessEvents", 3, 10, b"aaa")).unwrap(), 1);
    assert_eq!(spool.append(&new("DeviceFileEvents", 2, 5, b"bb")).unwrap(), 4);
    let urgent = NewBatch { urgent: true, ..new("DeviceFileEvents", 1, 20, b"u") };
    assert_eq!(spool.append(&urgent).unwrap(), 6);
    let out = drain(&spool);
    let order: Vec<_> = out.iter().map(|o| o.sequence_first).collect();
    assert_eq!(order, [6, 4, 1], "urgent first, then by age");
    assert!(spool.next_if(|_| true).is_none(), "all are under way");
    assert!(spool.forget(&boot(BOOT), 6));
    assert!(!spool.forget(&boot(BOOT), 6), "an answer counts once");
    spool.requeue(&boot(BOOT), 1);
    assert_eq!(spool.next_if(|_| true).unwrap().payload, b"aaa");
    spool.requeue_all();
    assert_eq!(drain(&spool).len(), 2);
    assert_eq!(spool.state().rows, 5);
}

#[test]
fn a_restart_keeps_what_was_not_acknowledged_and_goes_on_counting() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path(), 1 << 20);
    for i in 0..10 {
        spool.append(&new("DeviceProcessEvents", 1, i, b"x")).unwrap();
    }
    for o in drain(&spool).iter().take(4) {
        spool.forget(&o.boot, o.sequence_first);
    }
    drop(spool);
    let (spool, recovered) = open(folder.path(), 1 << 20);
    assert_eq!((recovered.batches, recovered.damaged), (6, 0));
    assert_eq!(spool.append(&new("DeviceEvents", 1, 99, b"y")).unwrap(), 11);
    let all = drain(&spool);
    assert_eq!(all.len(), 7);
    for o in &all {
        spool.forget(&o.boot, o.sequence_first);
    }
    drop(spool);
    let (spool, recovered) = open(folder.path(), 1 << 20);
    assert_eq!(recovered.batches, 0);
    spool.start(&recovered, Micros(200));
    assert_eq!(spool.append(&new("DeviceEvents", 1, 99, b"y")).unwrap(), 13, "numbers outlive their batches");
}

/// Every absence is told once, whatever the sensor between two of them came to do before it was killed.
#[test]
fn every_absence_is_told_however_soon_the_sensor_between_was_killed() {
    #[derive(Clone, Copy)]
    enum Life {
        /// Killed before its first batch.
        Idle,
        /// Its batches were queued.
        Queued,
        /// They were answered too.
        Answered,
        /// Not a sensor: somebody looked.
        Looked,
    }
    use Life::*;
    let absences = |lives: &[Life]| -> Vec<(i64, i64)> {
        let folder = tempfile::tempdir().unwrap();
        for (at, life) in lives.iter().enumerate() {
            let time = 100 * (at as i64 + 1);
            let (spool, recovered) =
                Spool::open(folder.path(), &boot(BOOT), limits(1 << 20, Shed::Priority), Micros(time)).unwrap();
            if matches!(life, Looked) {
                continue;
            }
            spool.start(&recovered, Micros(time));
            if matches!(life, Queued | Answered) {
                spool.append(&new("DeviceProcessEvents", 1, time + 10, b"x")).unwrap();
            }
            if matches!(life, Answered) {
                drain(&spool).iter().filter(|o| o.table != "SensorLossEvents").for_each(|o| {
                    spool.forget(&o.boot, o.sequence_first);
                });
            }
        }
        let (spool, _) = open(folder.path(), 1 << 20);
        let rows = drain(&spool).into_iter().filter(|o| o.table == "SensorLossEvents").flat_map(|o| {
            let batch = garrison_telemetry::decode_ipc(&o.payload, &garrison_telemetry::DecodeLimits::default());
            let batch = batch.unwrap();
            (0..batch.num_rows()).map(|row| garrison_telemetry::row_to_json(&batch, row)).collect::<Vec<_>>()
        });
        let micros = |row: &serde_json::Map<String, serde_json::Value>, key: &str| {
            row[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond()
        };
        rows.map(|row| (micros(&row, "StartTime"), micros(&row, "EndTime"))).collect()
    };
    for (lives, expected) in [
        (&[Idle][..], &[][..]),
        (&[Looked, Idle], &[]),
        (&[Idle, Idle], &[(100, 200)]),
        (&[Queued, Idle, Idle], &[(110, 200), (200, 300)]),
        (&[Answered, Idle, Idle], &[(110, 200), (200, 300)]),
        (&[Answered, Looked, Looked, Idle], &[(110, 400)]),
        (&[Answered, Answered, Answered], &[(110, 200), (210, 300)]),
    ] {
        assert_eq!(absences(lives), expected);
    }
}

#[test]
fn another_boot_counts_from_zero_and_sends_the_former_ones_too() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path(), 1 << 20);
    spool.append(&new("DeviceProcessEvents", 4, 1, b"x")).unwrap();
    drop(spool);
    let (spool, recovered) =
        Spool::open(folder.path(), &boot(OTHER), limits(1 << 20, Shed::Priority), Micros(9)).unwrap();
    assert_eq!(recovered.newest, Some((boot(BOOT), Micros(1))));
    assert_eq!(spool.append(&new("DeviceProcessEvents", 1, 10, b"y")).unwrap(), 1);
    let out: Vec<_> = drain(&spool).into_iter().map(|o| (o.boot, o.sequence_first)).collect();
    assert_eq!(out, [(boot(BOOT), 1), (boot(OTHER), 1)]);
}

#[test]
fn a_second_sensor_cannot_open_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (_spool, _) = open(folder.path(), 1 << 20);
    let second = Spool::open(folder.path(), &boot(BOOT), limits(1 << 20, Shed::Priority), Micros(1));
    assert!(matches!(second, Err(SpoolError::InUse(_))));
}

#[test]
fn at_the_cap_bulk_goes_first_and_the_ledger_names_every_number() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path(), 256 << 10);
    let payload = vec![7; 2_400];
    spool.append(&NewBatch { urgent: true, ..new("DeviceFileEvents", 1, 0, &payload) }).unwrap();
    for i in 1..60 {
        spool.append(&new("DeviceProcessEvents", 2, i, &payload)).unwrap();
        spool.append(&new("DeviceFileEvents", 3, i, &payload)).unwrap();
    }
    // The ordinary ones alone are about half of the cap: none of them was shed, nor the urgent one.
    let state = spool.state();
    assert!(state.bytes <= 256 << 10, "{state:?}");
    assert!(state.lost_rows > 0 && state.lost_rows % 3 == 0, "{state:?}");
    spool.write_ledger(Micros(100));
    let out = drain(&spool);
    let of = |table: &str| out.iter().filter(|o| o.table == table).map(|o| u64::from(o.row_count)).sum::<u64>();
    assert_eq!(of("DeviceProcessEvents"), 59 * 2);
    assert!(out.iter().any(|o| o.urgent));
    assert_eq!(of("DeviceFileEvents") + state.lost_rows, 59 * 3 + 1);
    numbers_are_explained(&out, spool.state().sequence_next);
}

#[test]
fn oldest_first_goes_by_age_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), &boot(BOOT), limits(256 << 10, Shed::Oldest), Micros(1)).unwrap();
    let payload = vec![7; 4_000];
    for i in 0..30 {
        spool.append(&new("DeviceProcessEvents", 1, i, &payload)).unwrap();
    }
    for i in 30..80 {
        spool.append(&new("DeviceFileEvents", 1, i, &payload)).unwrap();
    }
    spool.write_ledger(Micros(100));
    let out = drain(&spool);
    assert!(out.iter().filter(|o| o.table == "DeviceFileEvents").count() > 30);
    assert!(out.iter().filter(|o| o.table == "DeviceProcessEvents").count() < 20);
    numbers_are_explained(&out, spool.state().sequence_next);
}

#[test]
fn a_flipped_byte_costs_one_batch_and_the_ledger_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path(), 1 << 20);
    for i in 0..5 {
        spool.append(&new("DeviceProcessEvents", 2, i, b"some payload that is long enough")).unwrap();
    }
    drop(spool);
    let path = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "seg") && std::fs::metadata(p).unwrap().len() > 100)
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).rposition(|w| w == b"some").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (spool, _) = open(folder.path(), 1 << 20);
    let out = drain(&spool);
    assert_eq!(out.iter().map(|o| o.sequence_first).collect::<Vec<_>>(), [1, 3, 5, 7]);
    spool.write_ledger(Micros(9));
    let ledger = drain(&spool);
    numbers_are_explained(&[out, ledger].concat(), spool.state().sequence_next);
}

#[test]
fn a_full_disk_sheds_and_counts_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mounted =
        nix::mount::mount(Some("tmpfs"), folder.path(), Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=128k"));
    if let Err(error) = mounted {
        println!("skipped because a tmpfs cannot be mounted here: {error}");
        return;
    }
    {
        let (spool, _) = open(folder.path(), 1 << 20);
        let payload = vec![9; 1_000];
        let mut refused = 0;
        for i in 0..400 {
            let table = if i % 2 == 0 { "DeviceProcessEvents" } else { "DeviceFileEvents" };
            refused += u64::from(spool.append(&new(table, 1, i, &payload)).is_err());
        }
        spool.write_ledger(Micros(500));
        let state = spool.state();
        let out = drain(&spool);
        let rows: u64 = out.iter().filter(|o| o.table != "SensorLossEvents").map(|o| u64::from(o.row_count)).sum();
        assert!(state.lost_rows > 0 && rows > 20, "{state:?} {rows}");
        assert_eq!(rows + state.lost_rows, 400, "every row is queued or counted ({refused} refused)");
        assert!(out.iter().any(|o| o.table == "SensorLossEvents"), "the ledger found room");
    }
    nix::mount::umount(folder.path()).unwrap();
}

/// In one write, so that a kill cannot leave half a line.
fn say(out: &mut impl std::io::Write, line: &str) {
    out.write_all(line.as_bytes()).unwrap();
}

/// The other half of `a_killed_writer_loses_nothing_it_had_reported`: writes until it is killed.
#[test]
fn killed_writer() {
    let Ok(folder) = std::env::var("GARRISON_SPOOL_WRITER") else { return };
    let (spool, _) = open(Path::new(&folder), 1 << 20);
    let mut out = std::io::stderr().lock();
    loop {
        let payload = spool.state().sequence_next.to_le_bytes().repeat(40);
        let first = spool.append(&new("DeviceProcessEvents", 3, 1, &payload)).unwrap();
        say(&mut out, &format!("queued {first}\n"));
        // Half of them are answered at once, so that answers are under way at the kill too.
        if first % 2 == 0
            && let Some(sent) = spool.next_if(|_| true)
        {
            say(&mut out, &format!("answered {}\n", sent.sequence_first));
            spool.forget(&sent.boot, sent.sequence_first);
        }
    }
}

#[test]
fn a_killed_writer_loses_nothing_it_had_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut queued: BTreeMap<u64, bool> = BTreeMap::new();
    for round in 0..25_u32 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "spool::tests::killed_writer", "--nocapture", "--test-threads=1"])
            .env("GARRISON_SPOOL_WRITER", folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut take = |line: &str| {
            if let Some(first) = line.strip_prefix("queued ") {
                let former = queued.insert(first.parse().unwrap(), false);
                assert_eq!(former, None, "number {first} was given out twice");
            } else if let Some(first) = line.strip_prefix("answered ") {
                queued.insert(first.parse().unwrap(), true);
            }
        };
        // At another moment each time: after so many lines, while the writer goes on writing.
        for line in lines.by_ref().take(3 + (round as usize * 7) % 40) {
            take(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| take(&line));
    }
    let (spool, recovered) = open(folder.path(), 1 << 20);
    assert_eq!(recovered.damaged, 0);
    let found: BTreeMap<u64, Vec<u8>> = drain(&spool).into_iter().map(|o| (o.sequence_first, o.payload)).collect();
    for (first, answered) in &queued {
        match found.get(first) {
            Some(payload) => assert_eq!(payload[..8], first.to_le_bytes(), "renumbered"),
            None => assert!(*answered, "queued batch {first} is gone"),
        }
    }
    let last = queued.keys().next_back().unwrap();
    assert!(spool.state().sequence_next >= last + 3);
}

#[derive(Debug, Clone)]
enum Op {
    Append(u8, u16),
    Send,
    Forget(u8),
    RequeueAll,
    Crash(u16),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_u8..3, 0_u16..900).prop_map(|(t, n)| Op::Append(t, n)),
        2 => Just(Op::Send),
        2 => any::<u8>().prop_map(Op::Forget),
        1 => Just(Op::RequeueAll),
        1 => any::<u16>().prop_map(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, with crashes that leave half a record behind, what was queued and not
    /// acknowledged is there, whole, under its number, and numbers only grow.
    #[test]
    fn crashes_lose_nothing_that_was_queued(ops in proptest::collection::vec(op(), 1..120)) {
        let folder = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(folder.path(), 1 << 22);
        let tables = ["DeviceProcessEvents", "DeviceFileEvents", "DeviceLogonEvents"];
        let mut waiting: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        // Answers may be forgotten by a crash: the batch is sent again, and the server knows its numbers.
        let mut answered: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut sent: Vec<u64> = Vec::new();
        let mut next = 1;
        for (i, op) in ops.into_iter().enumerate() {
            match op {
                Op::Append(table, size) => {
                    let payload = vec![i as u8; usize::from(size)];
                    let first = spool.append(&new(tables[usize::from(table)], 2, i as i64, &payload)).unwrap();
                    prop_assert_eq!(first, next);
                    next += 2;
                    waiting.insert(first, payload);
                }
                Op::Send => {
                    if let Some(out) = spool.next_if(|_| true) {
                        let first = out.sequence_first;
                        prop_assert_eq!(Some(&out.payload), waiting.get(&first).or_else(|| answered.get(&first)));
                        sent.push(out.sequence_first);
                    }
                }
                Op::Forget(which) => {
                    if !sent.is_empty() {
                        let first = sent.swap_remove(usize::from(which) % sent.len());
                        prop_assert!(spool.forget(&boot(BOOT), first));
                        answered.extend(waiting.remove_entry(&first));
                    }
                }
                Op::RequeueAll => {
                    spool.requeue_all();
                    sent.clear();
                }
                Op::Crash(torn) => {
                    drop(spool);
                    // Half a record at the end of the newest segment, as a kill in the middle of a write leaves it.
                    let mut segments: Vec<_> = std::fs::read_dir(folder.path()).unwrap()
                        .map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
                    segments.sort_by_key(|p| p.file_name().unwrap().to_string_lossy()[2..].to_owned());
                    if let Some(last) = segments.last() {
                        let whole = std::fs::read(last).unwrap();
                        let record = whole.get(format::SEGMENT_BYTES..).unwrap_or_default();
                        let cut = usize::from(torn) % (record.len().min(format::RECORD_BYTES) + 1);
                        let half = &record[..cut.min(record.len().saturating_sub(1))];
                        std::fs::OpenOptions::new().append(true).open(last).unwrap().write_all(half).unwrap();
                    }
                    let (again, recovered) = open(folder.path(), 1 << 22);
                    spool = again;
                    sent.clear();
                    prop_assert_eq!(recovered.damaged, 0);
                    prop_assert_eq!(spool.state().sequence_next, next);
                }
            }
        }
        spool.requeue_all();
        let mut out: BTreeMap<u64, Vec<u8>> =
            drain(&spool).into_iter().map(|o| (o.sequence_first, o.payload)).collect();
        out.retain(|first, payload| answered.get(first) != Some(payload));
        prop_assert_eq!(out, waiting);
    }

    /// Any damage is survived: no panic, and undamaged segments are unharmed.
    #[test]
    fn any_damage_is_survived(flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..30), cut in 0_u16..2_000) {
        let folder = tempfile::tempdir().unwrap();
        let (spool, _) = open(folder.path(), 1 << 20);
        for i in 0..8 {
            spool.append(&new("DeviceProcessEvents", 1, i, &[1; 100])).unwrap();
        }
        drop(spool);
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            for (at, value) in &flips {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *value;
            }
            bytes.truncate(bytes.len().saturating_sub(usize::from(cut) % 64));
            std::fs::write(&path, bytes).unwrap();
        }
        let (spool, _) = open(folder.path(), 1 << 20);
        let _ = drain(&spool);
        spool.append(&new("DeviceProcessEvents", 1, 9, b"still works")).unwrap();
        spool.write_ledger(Micros(10));
    }
}
