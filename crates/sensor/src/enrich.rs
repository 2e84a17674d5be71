//! From what was seen to rows of the hunting tables: who did it, with names, hashes, containers, parents.
//!
//! The one thread of the pipeline calls [`Enricher::observe`] for each observation; rows land in [`Enricher::tables`].
//! This room keeps the process table, never talks to the network, and waits for nothing but a hash, for milliseconds.
//!
//! For `ProcessCreated` the process is the program that was started and the initiating process its parent, also when a
//! process replaced its own image without forking: the tree of parents stays the tree of processes, and what the
//! process was before is in `AdditionalFields.ReplacedFileName`.

pub mod account;
pub mod address;
pub mod container;
pub mod device;
pub mod fields;
pub mod hash;
pub mod process;
mod rows;

#[cfg(test)]
mod tests;

use crate::batch::Tables;
use crate::observe::{self, Actor, Event, Exec, FileAction, Observation};
use crate::policy::budget::Step;
use account::Accounts;
use address::Text;
use container::{Cgroup, Cgroups};
use fields::Fields;
use garrison_model::{BootId, Micros, ProcessKey};
use hash::{HashKey, HashLimits, Hasher, Hashes};
use lru::LruCache;
use process::{Image, Parent, Process, ProcessTable};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Names remembered for addresses, from name look-ups that were seen.
const NAMES_MAX: usize = 4_096;
/// Processes a second that are looked up in /proc because an event came from one that the table does not know.
const PROC_LOOKUPS_PER_SECOND: u32 = 100;
/// How often the offset between boot time and time of day is read again.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// What was dropped to save work, by table, since it was last taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// `DeviceFileEvents`.
    pub file: u64,
    /// `DeviceImageLoadEvents`.
    pub image: u64,
    /// `DeviceNetworkEvents`.
    pub network: u64,
    /// `DeviceProcessEvents` (ends of processes).
    pub process: u64,
}

/// Makes rows.
#[derive(Debug)]
pub struct Enricher {
    boot: u32,
    boot_micros: i64,
    clock_read: Option<Duration>,
    domain: String,
    own_namespaces: observe::Namespaces,
    /// Rows so far.
    pub tables: Tables,
    /// Processes.
    pub processes: ProcessTable,
    accounts: Accounts,
    cgroups: Cgroups,
    /// Hashes.
    pub hasher: Hasher,
    names: LruCache<IpAddr, Box<str>>,
    fields: Fields,
    step: Step,
    sample: u64,
    dropped: Dropped,
    proc_second: u64,
    proc_lookups: u32,
}

/// Everything a row says of the process that did it.
struct Initiator {
    process: Process,
    hashes: Option<Arc<Hashes>>,
    cgroup: Option<Arc<Cgroup>>,
}

impl Enricher {
    /// For this boot of this machine.
    pub fn new(boot: &BootId, host_name: &str, limits: HashLimits, hash: bool) -> std::io::Result<Self> {
        let names = NonZeroUsize::new(NAMES_MAX).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            boot: u32::from_str_radix(boot.as_str().get(..8).unwrap_or("0"), 16).unwrap_or(0),
            boot_micros: observe::clock::boot_micros(),
            clock_read: None,
            domain: host_name.to_owned(),
            own_namespaces: namespaces_of("self"),
            tables: Tables::default(),
            processes: ProcessTable::default(),
            accounts: Accounts::new("/etc/passwd"),
            cgroups: Cgroups::new("/"),
            hasher: Hasher::start(limits, hash)?,
            names: LruCache::new(names),
            fields: Fields::default(),
            step: Step::Full,
            sample: 0,
            dropped: Dropped::default(),
            proc_second: 0,
            proc_lookups: 0,
        })
    }

    /// Takes an announced step of degradation.
    pub fn set_step(&mut self, step: Step, hash: bool) {
        self.step = step;
        self.hasher.set_enabled(hash && step < Step::NoHashes);
    }

    /// What was dropped since the last call.
    pub fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// Time of day of a kernel time.
    pub fn time(&self, ns: u64) -> Micros {
        Micros(self.boot_micros.saturating_add(i64::try_from(ns / 1_000).unwrap_or(i64::MAX)))
    }

    fn started(&self, start_ns: u64) -> Option<Micros> {
        (start_ns != 0).then(|| self.time(start_ns))
    }

    /// Takes an observation; `now` is any monotonic time.
    pub fn observe(&mut self, seen: &Observation, now: Duration) {
        if self.clock_read.is_none_or(|c| now.saturating_sub(c) >= CLOCK_EVERY) {
            self.clock_read = Some(now);
            self.boot_micros = observe::clock::boot_micros();
            self.processes.bury(now);
        }
        if self.is_dropped(&seen.event) {
            return;
        }
        match &seen.event {
            Event::Exec(exec) => self.exec(seen, exec, "ProcessCreated", now),
            Event::Found(exec) => self.exec(seen, exec, "ProcessFound", now),
            Event::Fork(fork) => self.fork(seen, fork, now),
            Event::Exit(exit) => self.exit(seen, exit, now),
            Event::Logon(logon) => self.logon(seen, logon, now),
            Event::File(file) => {
                let who = self.initiator(&seen.actor, now);
                self.file(seen, file, &who, now);
            }
            Event::ImageLoad(image) => {
                let who = self.initiator(&seen.actor, now);
                self.image_load(seen, image, &who, now);
            }
            Event::Connect(_)
            | Event::Accept(_)
            | Event::Listen(_)
            | Event::Close(_)
            | Event::Udp(_)
            | Event::Dns(_) => {
                let who = self.initiator(&seen.actor, now);
                self.network(seen, &who);
            }
            Event::Ptrace(_)
            | Event::MemoryWrite(_)
            | Event::ModuleLoad(_)
            | Event::BpfLoad(_)
            | Event::Mount(_)
            | Event::CredentialsChange(_)
            | Event::Signal(_) => {
                let who = self.initiator(&seen.actor, now);
                self.other(seen, &who);
            }
        }
    }

    fn is_dropped(&mut self, event: &Event) -> bool {
        if self.step >= Step::NoBulk {
            match event {
                Event::ImageLoad(load) if !load.memory_only && !load.deleted => {
                    self.dropped.image += 1;
                    return true;
                }
                Event::File(file) if !is_interesting(file.action, &file.path, file.file.mode) => {
                    self.dropped.file += 1;
                    return true;
                }
                _ => {}
            }
        }
        if self.step >= Step::Sampled {
            match event {
                Event::Connect(_)
                | Event::Accept(_)
                | Event::Listen(_)
                | Event::Close(_)
                | Event::Udp(_)
                | Event::Dns(_) => {
                    self.sample += 1;
                    let dropped = !self.sample.is_multiple_of(8);
                    self.dropped.network += u64::from(dropped);
                    return dropped;
                }
                _ => {}
            }
        }
        false
    }

    fn account(&mut self, uid: u32, now: Duration) -> Arc<account::Account> {
        self.accounts.by_uid(uid, now)
    }

    /// The process behind an actor, from the table, from /proc, or at least from what the actor itself says.
    fn initiator(&mut self, actor: &Actor, now: Duration) -> Initiator {
        let process = self.resolve(actor, now);
        let hashes = self.hashes_of(&process);
        let cgroup = self.cgroups.of(actor.cgroup_id, actor.pid, now);
        Initiator { process, hashes, cgroup }
    }

    fn hashes_of(&mut self, process: &Process) -> Option<Arc<Hashes>> {
        process.hashes.clone().or_else(|| process.image.key.and_then(|key| self.hasher.known(key)))
    }

    fn resolve(&mut self, actor: &Actor, now: Duration) -> Process {
        let key = if actor.start_ns == 0 {
            self.processes.by_pid(actor.pid).map(|p| p.key)
        } else {
            Some(ProcessKey::new(self.boot, actor.start_ns, actor.pid))
        };
        let account = self.account(actor.credentials.uid, now);
        if let Some(known) = key.and_then(|key| self.processes.get(&key)) {
            known.credentials = actor.credentials;
            known.account = account;
            known.session = actor.session;
            return known.clone();
        }
        let key = key.unwrap_or_else(|| ProcessKey::new(self.boot, actor.start_ns, actor.pid));
        let image = Arc::new(self.look_up(key, actor, now));
        let process = Process {
            key,
            unique_id: key.to_string().into(),
            started: self.started(actor.start_ns),
            image,
            hashes: None,
            parent: self.parent(actor),
            credentials: actor.credentials,
            account,
            session: actor.session,
            executed: false,
        };
        if actor.pid != 0 && actor.start_ns != 0 {
            self.processes.put(process.clone());
        }
        process
    }

    fn parent(&self, actor: &Actor) -> Parent {
        if actor.parent_pid == 0 {
            return Parent::default();
        }
        let key = ProcessKey::new(self.boot, actor.parent_start_ns, actor.parent_pid);
        let known = if actor.parent_start_ns == 0 {
            self.processes.by_pid(actor.parent_pid)
        } else {
            self.processes.peek(&key)
        };
        match known {
            Some(p) => parent_of(p),
            None => Parent {
                key: (actor.parent_start_ns != 0).then_some(key),
                pid: actor.parent_pid,
                file_name: None,
                started: self.started(actor.parent_start_ns),
            },
        }
    }

    /// The image of a process that the table does not know, from /proc if it is still that process.
    fn look_up(&mut self, key: ProcessKey, actor: &Actor, now: Duration) -> Image {
        if self.proc_second != now.as_secs() {
            (self.proc_second, self.proc_lookups) = (now.as_secs(), 0);
        }
        self.proc_lookups += 1;
        let from_proc = || -> Option<Image> {
            if actor.pid == 0 || actor.kernel_thread {
                return None;
            }
            let folder = PathBuf::from(format!("/proc/{}", actor.pid));
            if key.start_ns != 0 && ProcessKey::new(self.boot, start_of(&folder)?, actor.pid) != key {
                return None;
            }
            let path = std::fs::read_link(folder.join("exe")).ok()?;
            let file = std::fs::metadata(folder.join("exe")).map(|m| hash::identity(&m)).unwrap_or_default();
            let bytes = read_bounded(&folder.join("cmdline"), observe::ARGUMENTS_BYTES_MAX + 1)?;
            let arguments = observe::Arguments::new(bytes, false);
            let path = path.to_string_lossy();
            let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
            Some(Image::new(path, actor.comm, &file, arguments.command_line(), arguments.cut))
        };
        let found = if self.proc_lookups <= PROC_LOOKUPS_PER_SECOND { from_proc() } else { None };
        found.unwrap_or_else(|| Image::new("", actor.comm, &observe::FileIdentity::default(), String::new(), false))
    }

    fn fork(&mut self, seen: &Observation, fork: &observe::Fork, now: Duration) {
        let parent = self.resolve(&seen.actor, now);
        let key = ProcessKey::new(self.boot, fork.child_start_ns, fork.child_pid);
        // An exec of the child may have been read first, from another CPU.
        if self.processes.peek(&key).is_some() {
            return;
        }
        let child = Process {
            key,
            unique_id: key.to_string().into(),
            started: self.started(fork.child_start_ns),
            parent: parent_of(&parent),
            executed: false,
            ..parent
        };
        self.processes.put(child);
    }

    fn exec(&mut self, seen: &Observation, exec: &Exec, action: &str, now: Duration) {
        let actor = &seen.actor;
        let key = ProcessKey::new(self.boot, actor.start_ns, actor.pid);
        let former = self.processes.peek(&key).cloned();
        let mut image =
            Image::new(&exec.path, actor.comm, &exec.image, exec.arguments.command_line(), exec.arguments.cut);
        image.memory_only = exec.memory_only;
        image.deleted = exec.deleted;
        let hashes = match HashKey::of(&exec.image) {
            Some(hash_key) => {
                let running = PathBuf::from(format!("/proc/{}/exe", actor.pid));
                self.hasher.get(hash_key, [Some(running), Some(PathBuf::from(&exec.path))], now)
            }
            None => None,
        };
        let account = self.account(actor.credentials.uid, now);
        let parent = match &former {
            Some(f) if f.parent.pid != 0 => f.parent.clone(),
            _ => self.parent(actor),
        };
        let process = Process {
            key,
            unique_id: former.as_ref().map_or_else(|| key.to_string().into(), |f| Arc::clone(&f.unique_id)),
            started: self.started(actor.start_ns),
            image: Arc::new(image),
            hashes: hashes.clone(),
            parent,
            credentials: actor.credentials,
            account,
            session: actor.session,
            executed: true,
        };
        if actor.pid != 0 {
            self.processes.put(process.clone());
        }
        // A kernel thread has no program; it is known, but no row.
        if actor.kernel_thread {
            return;
        }
        let cgroup = self.cgroups.of(actor.cgroup_id, actor.pid, now);
        let replaced = former.filter(|f| f.executed).map(|f| Arc::clone(&f.image));
        self.process_row(seen, exec, action, Initiator { process, hashes, cgroup }, replaced.as_deref());
    }

    fn exit(&mut self, seen: &Observation, exit: &observe::Exit, now: Duration) {
        let key = ProcessKey::new(self.boot, seen.actor.start_ns, seen.actor.pid);
        // A fork that started no program of its own has no `ProcessCreated`, so it has no end either.
        let executed = self.processes.peek(&key).is_some_and(|p| p.executed);
        if executed {
            if self.step >= Step::Sampled {
                self.dropped.process += 1;
            } else {
                let who = self.initiator(&seen.actor, now);
                self.exit_row(seen, exit, &who);
            }
        }
        self.processes.exited(key, now);
    }
}

fn parent_of(process: &Process) -> Parent {
    Parent {
        key: Some(process.key),
        pid: process.key.pid,
        file_name: Some(Arc::clone(&process.image)),
        started: process.started,
    }
}

/// Whether a file event is worth its row even when work is shed: programs, scripts of the system, credentials.
fn is_interesting(action: FileAction, path: &str, mode: u32) -> bool {
    const FOLDERS: &[&str] =
        &["/etc/", "/boot/", "/root/.ssh/", "/dev/shm/", "/var/spool/cron/", "/usr/bin/", "/usr/sbin/"];
    mode & 0o111 != 0
        || matches!(action, FileAction::Read | FileAction::PermissionChanged | FileAction::OwnerChanged)
        || FOLDERS.iter().any(|f| path.starts_with(f))
        || path.contains("/.ssh/")
}

fn read_bounded(path: &Path, bytes_max: usize) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(bytes_max as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Start of a process, nanoseconds since boot, to the clock tick that /proc knows.
fn start_of(folder: &Path) -> Option<u64> {
    let stat = String::from_utf8_lossy(&read_bounded(&folder.join("stat"), 4_096)?).into_owned();
    // The name may hold spaces and parentheses; fields are counted after its end. Start time is the 22nd field.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some(ticks.saturating_mul(10_000_000))
}

fn namespaces_of(who: &str) -> observe::Namespaces {
    let inode = |name: &str| -> u32 {
        std::fs::read_link(format!("/proc/{who}/ns/{name}"))
            .ok()
            .and_then(|l| l.to_string_lossy().split(['[', ']']).nth(1).and_then(|n| n.parse().ok()))
            .unwrap_or(0)
    };
    observe::Namespaces { pid: inode("pid"), mnt: inode("mnt"), net: inode("net"), user: inode("user") }
}

/// Text of an address.
fn ip_text(ip: IpAddr) -> Text {
    Text::of(address::plain(ip))
}
