//! The process table: who is who, across exec, exit and reuse of pids.
//!
//! Keyed by [`ProcessKey`] (boot, start, pid). A dead process stays [`DEAD_KEPT`] so that events that arrive late, and
//! children that outlive it, still find it.

use super::account::Account;
use super::hash::{HashKey, Hashes};
use crate::observe::{Comm, Credentials, FileIdentity};
use garrison_model::{Micros, ProcessKey};
use hashbrown::HashMap;
use lru::LruCache;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// Processes remembered. A server has hundreds to some thousands; sixteen thousand at about 400 bytes are some
/// megabytes, and beyond that the least recently used go.
pub const PROCESSES_MAX: usize = 16_384;
/// Bytes of command lines and paths remembered: long ones of many processes must not fill memory.
pub const TEXT_BYTES_MAX: usize = 8 << 20;
/// How long the dead are kept.
pub const DEAD_KEPT: Duration = Duration::from_mins(1);
/// How many of the dead are kept: in a storm of short processes a minute of them would fill the table.
pub const DEAD_MAX: usize = 4_096;

/// A program image. Shared by a process and the children it forks.
#[derive(Debug, Default)]
pub struct Image {
    /// Full path; empty if unknown.
    pub path: Box<str>,
    /// Last part of the path; the thread name if the path is unknown.
    pub file_name: Box<str>,
    /// File, if known.
    pub key: Option<HashKey>,
    /// Size, if known.
    pub size: Option<i64>,
    /// Command line.
    pub command_line: Box<str>,
    /// Whether it was cut.
    pub command_line_cut: bool,
    /// In memory only.
    pub memory_only: bool,
    /// Deleted.
    pub deleted: bool,
}

impl Image {
    /// Of a path; memory-only files read `memfd:NAME`, their name is NAME.
    pub fn new(path: &str, comm: Comm, file: &FileIdentity, command_line: String, cut: bool) -> Self {
        let file_name = match path.strip_prefix("memfd:") {
            Some(name) => name,
            None => path.rsplit('/').next().unwrap_or(path),
        };
        let file_name: Box<str> = if file_name.is_empty() { comm.text().into() } else { file_name.into() };
        Self {
            path: path.into(),
            file_name,
            key: HashKey::of(file),
            size: (file.inode != 0).then(|| i64::try_from(file.size).unwrap_or(i64::MAX)),
            command_line: command_line.into(),
            command_line_cut: cut,
            memory_only: false,
            deleted: false,
        }
    }

    fn bytes(&self) -> usize {
        self.path.len() + self.file_name.len() + self.command_line.len()
    }
}

/// What rows say of a process's parent, kept after the parent itself is forgotten.
#[derive(Debug, Clone, Default)]
pub struct Parent {
    /// Key.
    pub key: Option<ProcessKey>,
    /// Process id; 0 if unknown.
    pub pid: u32,
    /// File name.
    pub file_name: Option<Arc<Image>>,
    /// Start.
    pub started: Option<Micros>,
}

/// A process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Key.
    pub key: ProcessKey,
    /// The key as text.
    pub unique_id: Arc<str>,
    /// Start.
    pub started: Option<Micros>,
    /// Image.
    pub image: Arc<Image>,
    /// Hashes of the image, once known.
    pub hashes: Option<Arc<Hashes>>,
    /// Parent: who made it.
    pub parent: Parent,
    /// Users and capabilities when last heard of.
    pub credentials: Credentials,
    /// The user.
    pub account: Arc<Account>,
    /// Audit session.
    pub session: Option<u32>,
    /// Whether it started a program itself, rather than being a fork of another.
    pub executed: bool,
}

/// The table.
#[derive(Debug)]
pub struct ProcessTable {
    processes: LruCache<ProcessKey, Process, ahash::RandomState>,
    by_pid: HashMap<u32, ProcessKey, ahash::RandomState>,
    dead: VecDeque<(Duration, ProcessKey)>,
    text_bytes: usize,
}

impl Default for ProcessTable {
    fn default() -> Self {
        let max = NonZeroUsize::new(PROCESSES_MAX).unwrap_or(NonZeroUsize::MIN);
        Self {
            // Unbounded as a container, so that it grows with the host; `put` holds the bound.
            processes: LruCache::unbounded_with_hasher(ahash::RandomState::new()),
            by_pid: HashMap::with_capacity_and_hasher(max.get().min(1_024), ahash::RandomState::new()),
            dead: VecDeque::new(),
            text_bytes: 0,
        }
    }
}

impl ProcessTable {
    /// A process by its key.
    pub fn get(&mut self, key: &ProcessKey) -> Option<&mut Process> {
        self.processes.get_mut(key)
    }

    /// A process without marking it as used.
    pub fn peek(&self, key: &ProcessKey) -> Option<&Process> {
        self.processes.peek(key)
    }

    /// The newest process of a pid.
    pub fn by_pid(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(&pid).and_then(|k| self.processes.peek(k))
    }

    /// Processes remembered.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Adds or replaces a process.
    pub fn put(&mut self, process: Process) {
        self.text_bytes += process.image.bytes();
        let key = process.key;
        // A later start of the same pid wins; an event that arrives late does not bring the former back.
        let newest = self.by_pid.get(&key.pid).is_none_or(|k| k.start_ns <= key.start_ns);
        if newest {
            self.by_pid.insert(key.pid, key);
        }
        if let Some(former) = self.processes.put(key, process) {
            self.text_bytes = self.text_bytes.saturating_sub(former.image.bytes());
        }
        while self.processes.len() > PROCESSES_MAX || (self.text_bytes > TEXT_BYTES_MAX && self.processes.len() > 1) {
            let Some((key, process)) = self.processes.pop_lru() else { break };
            self.forget(key, &process);
        }
    }

    /// The process ended; it is kept for a while.
    pub fn exited(&mut self, key: ProcessKey, now: Duration) {
        if self.processes.contains(&key) {
            self.dead.push_back((now, key));
        }
        self.bury(now);
    }

    /// Forgets the dead whose time is over.
    pub fn bury(&mut self, now: Duration) {
        while let Some((died, key)) = self.dead.front().copied() {
            if self.dead.len() <= DEAD_MAX && now.saturating_sub(died) < DEAD_KEPT {
                break;
            }
            self.dead.pop_front();
            if let Some(process) = self.processes.pop(&key) {
                self.forget(key, &process);
            }
        }
    }

    fn forget(&mut self, key: ProcessKey, process: &Process) {
        self.text_bytes = self.text_bytes.saturating_sub(process.image.bytes());
        if self.by_pid.get(&key.pid) == Some(&key) {
            self.by_pid.remove(&key.pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, start_ms: u64, text: usize) -> Process {
        let key = ProcessKey::new(7, start_ms * 1_000_000, pid);
        let image = Image::new("/bin/x", Comm::default(), &FileIdentity::default(), "y".repeat(text), false);
        Process {
            key,
            unique_id: key.to_string().into(),
            started: None,
            image: Arc::new(image),
            hashes: None,
            parent: Parent::default(),
            credentials: Credentials::default(),
            account: Arc::new(Account { sid: "0".into(), name: None }),
            session: None,
            executed: true,
        }
    }

    #[test]
    fn reused_pid_gets_a_new_process_key() {
        let mut table = ProcessTable::default();
        let (first, second) = (process(5, 10, 0), process(5, 500, 0));
        table.put(first.clone());
        table.exited(first.key, Duration::ZERO);
        table.put(second.clone());
        assert_eq!(table.by_pid(5).map(|p| p.key), Some(second.key));
        assert!(table.get(&first.key).is_some(), "a late event still finds the dead");
        table.bury(DEAD_KEPT);
        assert!(table.get(&first.key).is_none());
        assert_eq!(table.by_pid(5).map(|p| p.key), Some(second.key));
    }

    #[test]
    fn a_storm_and_long_command_lines_stay_within_bounds() {
        let mut table = ProcessTable::default();
        for i in 0..40_000 {
            let p = process(i, 10 + u64::from(i), 16);
            table.put(p.clone());
            if i % 2 == 0 {
                table.exited(p.key, Duration::ZERO);
            }
        }
        assert!(table.len() <= PROCESSES_MAX);
        assert!(table.dead.len() <= DEAD_MAX);
        assert_eq!(table.by_pid.len(), table.len());
        for i in 0..2_000 {
            table.put(process(i, 900_000, 16 * 1_024));
        }
        assert!(table.text_bytes <= TEXT_BYTES_MAX);
    }
}
