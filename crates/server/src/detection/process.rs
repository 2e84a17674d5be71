//! What the server knows of running processes: for each device the latest process rows, so that an alert can copy the
//! whole chain of its ancestors at the moment it is made.
//!
//! The cache holds references into the record batches it was fed, not copies: putting a row in costs a hash and a map
//! insert, and the text is read only for the few processes that an alert is about. It is an aid: an empty cache (after
//! a start) gives shorter chains, which the story fills up from the lake when it is looked at.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use garrison_model::{DeviceId, Micros};
use garrison_telemetry::TextColumn;
use hashbrown::HashMap;
use lru::LruCache;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::num::NonZeroUsize;

/// Processes remembered a device: a busy server runs a few thousand; a build host that starts more keeps the latest.
const PROCESSES_PER_DEVICE_MAX: usize = 8_192;
/// Processes remembered in all: some 100 bytes each and a share of their batches, so about 200 MB at the worst.
const PROCESSES_MAX: usize = 400_000;
/// Longest chain of ancestors: deeper ones do not occur outside of attacks on process trees.
pub const CHAIN_MAX: usize = 32;

/// What is known of one process; frozen as JSON in stored alerts, so fields are only added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessFact {
    /// `ProcessUniqueId`.
    pub key: String,
    /// `ProcessUniqueId` of the process that started it.
    pub parent: Option<String>,
    /// Process id.
    pub pid: i64,
    /// File name of the image.
    pub file_name: String,
    /// Full path of the image.
    pub image: Option<String>,
    /// Command line.
    pub command_line: Option<String>,
    /// SHA-256 of the image.
    pub sha256: Option<String>,
    /// Account.
    pub account_name: Option<String>,
    /// Start, microseconds since 1970.
    pub created: Option<i64>,
    /// End, if seen.
    pub exited: Option<i64>,
    /// Pid of the parent, known even where its key is not.
    pub parent_pid: Option<i64>,
    /// File name of the parent, likewise.
    pub parent_file_name: Option<String>,
}

impl ProcessFact {
    /// Takes what `other` knows and this one does not.
    pub fn fill_from(&mut self, other: &ProcessFact) {
        fn fill<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
        fill(&mut self.parent, &other.parent);
        fill(&mut self.image, &other.image);
        fill(&mut self.command_line, &other.command_line);
        fill(&mut self.sha256, &other.sha256);
        fill(&mut self.account_name, &other.account_name);
        fill(&mut self.created, &other.created);
        fill(&mut self.exited, &other.exited);
        fill(&mut self.parent_pid, &other.parent_pid);
        fill(&mut self.parent_file_name, &other.parent_file_name);
        if self.pid == 0 {
            self.pid = other.pid;
        }
        if self.file_name.is_empty() {
            self.file_name.clone_from(&other.file_name);
        }
    }
}

fn row_text(row: &Map<String, Value>, column: &str) -> Option<String> {
    row.get(column).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned)
}

fn row_time(row: &Map<String, Value>, column: &str) -> Option<i64> {
    row.get(column)?.as_str()?.parse::<jiff::Timestamp>().ok().map(|t| t.as_microsecond())
}

/// The process that a row of `DeviceProcessEvents` is about.
pub fn subject(row: &Map<String, Value>) -> Option<ProcessFact> {
    let key = row_text(row, "ProcessUniqueId")?;
    let parent = row_text(row, "InitiatingProcessUniqueId").filter(|p| *p != key);
    let ended = row.get("ActionType").and_then(Value::as_str) == Some("ProcessTerminated");
    // The row of an end was caused by the process itself; only a start names the parent as initiator.
    let own = ended || row_text(row, "InitiatingProcessUniqueId").as_deref() == Some(&key);
    Some(ProcessFact {
        parent: if own { None } else { parent },
        pid: row.get("ProcessId").and_then(Value::as_i64).unwrap_or(0),
        file_name: row_text(row, "FileName").unwrap_or_default(),
        image: row_text(row, "FolderPath"),
        command_line: row_text(row, "ProcessCommandLine"),
        sha256: row_text(row, "SHA256"),
        account_name: row_text(row, "AccountName"),
        created: row_time(row, "ProcessCreationTime").or_else(|| if ended { None } else { row_time(row, "Timestamp") }),
        exited: if ended { row_time(row, "Timestamp") } else { None },
        parent_pid: if own { None } else { row.get("InitiatingProcessId").and_then(Value::as_i64) },
        parent_file_name: if own { None } else { row_text(row, "InitiatingProcessFileName") },
        key,
    })
}

/// The process that caused a row, whatever its table.
pub fn initiator(row: &Map<String, Value>) -> Option<ProcessFact> {
    let key = row_text(row, "InitiatingProcessUniqueId")?;
    Some(ProcessFact {
        parent: None,
        pid: row.get("InitiatingProcessId").and_then(Value::as_i64).unwrap_or(0),
        file_name: row_text(row, "InitiatingProcessFileName").unwrap_or_default(),
        image: row_text(row, "InitiatingProcessFolderPath"),
        command_line: row_text(row, "InitiatingProcessCommandLine"),
        sha256: row_text(row, "InitiatingProcessSHA256"),
        account_name: row_text(row, "InitiatingProcessAccountName"),
        created: row_time(row, "InitiatingProcessCreationTime"),
        exited: None,
        parent_pid: row.get("InitiatingProcessParentId").and_then(Value::as_i64),
        parent_file_name: row_text(row, "InitiatingProcessParentFileName"),
        key,
    })
}

struct Place {
    batch: RecordBatch,
    row: u32,
    /// Whether the process is the row's subject, or only its initiator.
    subject: bool,
    exited: Option<i64>,
}

/// The cache.
pub struct ProcessCache {
    devices: LruCache<DeviceId, LruCache<u64, Place>>,
    hasher: ahash_like::Hasher,
    processes: usize,
}

impl std::fmt::Debug for ProcessCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessCache").field("processes", &self.processes).finish_non_exhaustive()
    }
}

mod ahash_like {
    //! A keyed hash: a device that chooses its process keys cannot make them collide.
    use std::hash::{BuildHasher as _, RandomState};

    pub struct Hasher(RandomState);

    impl Hasher {
        pub fn new() -> Self {
            Self(RandomState::new())
        }

        pub fn key(&self, text: &str) -> u64 {
            self.0.hash_one(text)
        }
    }
}

impl Default for ProcessCache {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self { devices: LruCache::unbounded(), hasher: ahash_like::Hasher::new(), processes: 0 }
    }

    /// Processes held.
    pub fn len(&self) -> usize {
        self.processes
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.processes == 0
    }

    /// Takes in a batch of `DeviceProcessEvents` of one device; batches of other tables are not looked at.
    pub fn feed(&mut self, device: &DeviceId, table: &str, batch: &RecordBatch) {
        if table != "DeviceProcessEvents" {
            return;
        }
        let Some(keys) = batch.column_by_name("ProcessUniqueId").and_then(TextColumn::new) else { return };
        let parents = batch.column_by_name("InitiatingProcessUniqueId").and_then(TextColumn::new);
        let actions = batch.column_by_name("ActionType").and_then(TextColumn::new);
        let times = batch.column_by_name("Timestamp").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        if self.devices.peek(device).is_none() {
            self.devices.put(device.clone(), LruCache::unbounded());
        }
        let mut grown = 0isize;
        {
            let Some(processes) = self.devices.get_mut(device) else { return };
            let before = processes.len();
            for row in 0..batch.num_rows() {
                let ended = actions.as_ref().and_then(|a| a.get(row)) == Some("ProcessTerminated");
                if let Some(key) = keys.get(row) {
                    let hash = self.hasher.key(key);
                    if ended {
                        let time = times.filter(|t| t.is_valid(row)).map(|t| t.value(row));
                        match processes.get_mut(&hash) {
                            Some(place) => place.exited = time,
                            None => {
                                let place =
                                    Place { batch: batch.clone(), row: row as u32, subject: true, exited: time };
                                processes.put(hash, place);
                            }
                        }
                    } else {
                        let place = Place { batch: batch.clone(), row: row as u32, subject: true, exited: None };
                        processes.put(hash, place);
                    }
                }
                if let Some(parent) = parents.as_ref().and_then(|p| p.get(row)) {
                    let hash = self.hasher.key(parent);
                    if processes.get(&hash).is_none() {
                        let place = Place { batch: batch.clone(), row: row as u32, subject: false, exited: None };
                        processes.put(hash, place);
                    }
                }
                while processes.len() > PROCESSES_PER_DEVICE_MAX {
                    processes.pop_lru();
                }
            }
            grown += processes.len() as isize - before as isize;
        }
        self.processes = self.processes.saturating_add_signed(grown);
        while self.processes > PROCESSES_MAX {
            // The device that was silent longest gives way; if there is only this one, its own bound has held.
            match self.devices.pop_lru() {
                Some((_, gone)) => self.processes = self.processes.saturating_sub(gone.len()),
                None => break,
            }
        }
    }

    /// What is known of a process.
    pub fn fact(&mut self, device: &DeviceId, key: &str) -> Option<ProcessFact> {
        let hash = self.hasher.key(key);
        let place = self.devices.get_mut(device)?.get(&hash)?;
        let row = garrison_telemetry::row_to_json(&place.batch, place.row as usize);
        let mut fact = if place.subject { subject(&row)? } else { initiator(&row)? };
        if fact.key != key {
            return None;
        }
        if place.exited.is_some() {
            fact.exited = place.exited;
        }
        Some(fact)
    }

    /// A process and its ancestors, nearest first, at most [`CHAIN_MAX`]. `known` is what the row itself tells of the
    /// process and its initiator, for processes that the cache does not hold.
    pub fn chain(&mut self, device: &DeviceId, start: &str, known: &[ProcessFact]) -> Vec<ProcessFact> {
        let mut chain: Vec<ProcessFact> = Vec::new();
        let mut key = Some(start.to_owned());
        while let Some(wanted) = key.take() {
            if chain.len() >= CHAIN_MAX || chain.iter().any(|p| p.key == wanted) {
                break;
            }
            let told = known.iter().find(|p| p.key == wanted);
            let fact = match (self.fact(device, &wanted), told) {
                (Some(mut fact), Some(told)) => {
                    fact.fill_from(told);
                    fact
                }
                (Some(fact), None) => fact,
                (None, Some(told)) => told.clone(),
                (None, None) => break,
            };
            key.clone_from(&fact.parent);
            if key.is_none()
                && let (Some(pid), Some(created)) = (fact.parent_pid, fact.created)
            {
                key = self.key_by_pid(device, pid, fact.parent_file_name.as_deref(), created);
            }
            chain.push(fact);
        }
        chain
    }

    /// The key of the process that had a pid before a moment: for initiators, whose own parent is told by pid only.
    fn key_by_pid(&self, device: &DeviceId, pid: i64, name: Option<&str>, before: i64) -> Option<String> {
        let processes = self.devices.peek(device)?;
        let mut best: Option<(i64, String)> = None;
        for place in processes.iter().map(|(_, place)| place).filter(|p| p.subject) {
            let ids = place.batch.column_by_name("ProcessId").and_then(|c| c.as_primitive_opt::<Int64Type>());
            let row = place.row as usize;
            if ids.is_none_or(|ids| ids.is_null(row) || ids.value(row) != pid) {
                continue;
            }
            let fact = subject(&garrison_telemetry::row_to_json(&place.batch, row));
            let Some(fact) = fact.filter(|f| name.is_none_or(|n| n == f.file_name)) else { continue };
            let created = fact.created.unwrap_or(i64::MIN);
            if created <= before && best.as_ref().is_none_or(|(time, _)| created > *time) {
                best = Some((created, fact.key));
            }
        }
        best.map(|(_, key)| key)
    }

    /// Forgets a device.
    pub fn forget(&mut self, device: &DeviceId) {
        if let Some(gone) = self.devices.pop(device) {
            self.processes = self.processes.saturating_sub(gone.len());
        }
    }
}

/// Names of programs that start unrelated work for everyone: two processes below one of them have nothing in common.
/// `sshd`, `cron` and the like count only as the main process; what they fork for one session or job is a tree of its
/// own. Documented in `docs/guides/incidents.md`.
pub const SYSTEM_ROOTS: &[&str] = &[
    "init",
    "systemd",
    "upstart",
    "runit",
    "runsvdir",
    "runsv",
    "s6-svscan",
    "s6-supervise",
    "openrc-init",
    "tini",
    "dumb-init",
    "catatonit",
    "supervisord",
    "kthreadd",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "dockerd",
    "docker-init",
    "conmon",
    "crio",
    "kubelet",
    "podman",
    "runc",
    "crun",
    "lxc-start",
    "lxd",
    "machined",
    "systemd-machined",
    "agetty",
    "getty",
    "login",
    "atd",
    "anacron",
    "inetd",
    "xinetd",
    "gdm",
    "lightdm",
    "sddm",
    "NetworkManager",
    "dbus-daemon",
    "polkitd",
];

/// Programs whose main process (started by a system root) is one itself, but whose forks are not.
pub const MAIN_ROOTS: &[&str] = &["sshd", "cron", "crond", "dropbear", "telnetd", "vsftpd"];

/// Whether unrelated work meets in this process. `parent_is_root` tells of the process above.
pub fn is_system_root(fact: &ProcessFact, parent_is_root: bool) -> bool {
    // 1 and 2 are init and kthreadd of the machine, and of every container seen from within.
    fact.pid == 1
        || fact.pid == 2
        || SYSTEM_ROOTS.contains(&fact.file_name.as_str())
        || (parent_is_root && MAIN_ROOTS.contains(&fact.file_name.as_str()))
}

/// The part of a chain (nearest first) that is one tree: everything below the lowest system root.
pub fn own_tree(chain: &[ProcessFact]) -> &[ProcessFact] {
    for (index, fact) in chain.iter().enumerate() {
        let parent_is_root = match chain.get(index + 1) {
            Some(parent) => is_system_root(parent, false),
            None => {
                matches!(fact.parent_pid, Some(0 | 1))
                    || fact.parent_file_name.as_deref().is_some_and(|n| SYSTEM_ROOTS.contains(&n))
            }
        };
        if is_system_root(fact, parent_is_root) {
            return &chain[..index];
        }
    }
    chain
}

/// Facts by key, joined where several tell of one process.
#[derive(Debug, Default)]
pub struct Facts(HashMap<String, ProcessFact>);

impl Facts {
    /// Adds or completes a process. The newer image name wins: after an exec in place the process is what it became.
    pub fn add(&mut self, fact: ProcessFact) {
        match self.0.get_mut(&fact.key) {
            Some(known) => known.fill_from(&fact),
            None => {
                self.0.insert(fact.key.clone(), fact);
            }
        }
    }

    /// A process.
    pub fn get(&self, key: &str) -> Option<&ProcessFact> {
        self.0.get(key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ProcessFact> {
        self.0.values()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The bound on devices is the fleet; the type is here so that the constant above is the only number.
const _: () = assert!(PROCESSES_PER_DEVICE_MAX < PROCESSES_MAX && NonZeroUsize::new(CHAIN_MAX).is_some());

/// Microseconds as a model time.
pub fn micros(time: i64) -> Micros {
    Micros(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_telemetry::batch_from_json;
    use serde_json::json;

    fn device() -> DeviceId {
        DeviceId::new("ab".repeat(20)).unwrap()
    }

    fn started(key: &str, pid: i64, name: &str, parent: &str, parent_pid: i64, parent_name: &str) -> Value {
        json!({
            "Timestamp": "2026-11-23T10:00:00.000000Z", "ActionType": "ProcessCreated", "ProcessUniqueId": key, "ProcessId": pid,
            "FileName": name, "InitiatingProcessUniqueId": parent, "InitiatingProcessId": parent_pid,
            "InitiatingProcessFileName": parent_name, "ProcessCreationTime": "2026-11-23T10:00:00.000000Z",
        })
    }

    #[test]
    fn a_chain_goes_up_to_what_is_known() {
        let mut cache = ProcessCache::new();
        let rows = [
            started("a", 100, "sshd", "root", 1, "systemd"),
            started("b", 200, "bash", "a", 100, "sshd"),
            started("c", 300, "curl", "b", 200, "bash"),
        ];
        cache.feed(&device(), "DeviceProcessEvents", &batch_from_json("DeviceProcessEvents", &rows).unwrap());
        let chain = cache.chain(&device(), "c", &[]);
        let names: Vec<_> = chain.iter().map(|p| p.file_name.as_str()).collect();
        assert_eq!(names, ["curl", "bash", "sshd", "systemd"]);
        let own: Vec<_> = own_tree(&chain).iter().map(|p| p.file_name.as_str()).collect();
        assert_eq!(own, ["curl", "bash"], "the main sshd is everyone's");
    }

    #[test]
    fn the_session_of_sshd_is_a_tree_of_its_own() {
        let mut cache = ProcessCache::new();
        let rows = [
            started("m", 90, "sshd", "root", 1, "systemd"),
            started("a", 100, "sshd", "m", 90, "sshd"),
            started("b", 200, "bash", "a", 100, "sshd"),
        ];
        cache.feed(&device(), "DeviceProcessEvents", &batch_from_json("DeviceProcessEvents", &rows).unwrap());
        let chain = cache.chain(&device(), "b", &[]);
        let own: Vec<_> = own_tree(&chain).iter().map(|p| p.key.as_str()).collect();
        assert_eq!(own, ["b", "a"]);
    }

    #[test]
    fn parents_in_a_circle_end() {
        let mut cache = ProcessCache::new();
        let rows = [started("a", 1, "x", "b", 2, "y"), started("b", 2, "y", "a", 1, "x")];
        cache.feed(&device(), "DeviceProcessEvents", &batch_from_json("DeviceProcessEvents", &rows).unwrap());
        assert_eq!(cache.chain(&device(), "a", &[]).len(), 2);
    }

    #[test]
    fn one_device_keeps_its_bound() {
        let mut cache = ProcessCache::new();
        for block in 0..10 {
            let rows: Vec<_> =
                (0..1_000).map(|n| started(&format!("k{block}-{n}"), n, "true", "shell", 7, "sh")).collect();
            cache.feed(&device(), "DeviceProcessEvents", &batch_from_json("DeviceProcessEvents", &rows).unwrap());
        }
        assert!(cache.len() <= PROCESSES_PER_DEVICE_MAX);
        assert!(cache.fact(&device(), "shell").is_some(), "a parent in use is not forgotten");
        assert!(cache.fact(&device(), "k0-0").is_none());
        cache.forget(&device());
        assert!(cache.is_empty());
    }

    #[test]
    fn an_end_keeps_the_start() {
        let mut cache = ProcessCache::new();
        let end = json!({"Timestamp": "2026-11-23T10:00:05.000000Z", "ActionType": "ProcessTerminated", "ProcessUniqueId": "b", "ProcessId": 200, "FileName": "bash"});
        let rows = [started("b", 200, "bash", "a", 100, "sshd"), end];
        cache.feed(&device(), "DeviceProcessEvents", &batch_from_json("DeviceProcessEvents", &rows).unwrap());
        let fact = cache.fact(&device(), "b").unwrap();
        assert_eq!(fact.parent.as_deref(), Some("a"));
        assert!(fact.exited > fact.created);
    }
}
