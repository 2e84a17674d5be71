//! The kernel side: loading it, feeding it the policy, reading it.
//!
//! All programs are tried together, which takes a moment. If the kernel refuses, each is tried alone, and those it
//! accepts are loaded: one refused program never costs another, and every one missing is named. Nothing is pinned: when
//! this value is dropped, or the process dies, the kernel takes everything away.

use super::calls;
use super::policy::{Classifier, FolderId};
use super::record;
use super::ring::Ring;
use hashbrown::{HashMap, HashSet};
use libbpf_rs::{Link, MapCore, MapFlags, Object, ObjectBuilder, OpenObject, ProgramMut};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

/// Compiled by `build.rs`; aligned, since libbpf reads it in place.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/observe.bpf.o")));

/// A program of `bpf/`, and what is not seen without it.
struct ProgramLine {
    name: &'static str,
    attach: Attach,
    sight: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attach {
    Trace,
    /// Jumped to by `observe_call`.
    Handler,
    CgroupIn,
    CgroupOut,
}

const fn program(name: &'static str, attach: Attach, sight: &'static str) -> ProgramLine {
    ProgramLine { name, attach, sight }
}

/// All programs. Without the first three there is no process table, and the fallback is the better eye.
const PROGRAMS: &[ProgramLine] = &[
    program("observe_exec", Attach::Trace, "no program starts"),
    program("observe_fork", Attach::Trace, "no new processes before they start a program"),
    program("observe_exit", Attach::Trace, "no process ends"),
    program("observe_tcp", Attach::Trace, "no TCP connections made or closed, no listening sockets"),
    program("observe_udp_out", Attach::CgroupOut, "no UDP sent, no DNS questions"),
    program("observe_udp_in", Attach::CgroupIn, "no DNS answers"),
    program("observe_call", Attach::Trace, "no file changes, accepted connections, ptrace, mounts or user changes"),
    program("observe_open", Attach::Handler, "no files made and no credential files read"),
    program("observe_close", Attach::Trace, "no file changes at close"),
    program("observe_close_at_exit", Attach::Trace, "no file changes of files left open at exit"),
    program("observe_path", Attach::Handler, "no renames, deletes, mode or owner changes by path, mounts"),
    program("observe_file", Attach::Handler, "no mode or owner changes by descriptor, no module files"),
    program("observe_mmap", Attach::Handler, "no shared libraries loaded"),
    program("observe_accept", Attach::Handler, "no TCP connections accepted"),
    program("observe_number", Attach::Handler, "no ptrace, memory writes, BPF loads, user and capability changes"),
    program("observe_signal", Attach::Trace, "no signals to protected processes"),
];
/// Newer processors have `dup3` only.
#[cfg(target_arch = "x86_64")]
const DUP2: u32 = libc::SYS_dup2 as u32;
#[cfg(not(target_arch = "x86_64"))]
const DUP2: u32 = u32::MAX;
const ESSENTIAL: &[&str] = &["observe_exec", "observe_fork", "observe_exit"];

/// What no program here can see, on any kernel; named so that nobody counts on it.
const NEVER: &[&str] = &["no file changes by io_uring", "no system calls of 32-bit programs"];

/// The kernel side cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No BTF, so that programs cannot be fitted to this kernel.
    #[error("the kernel has no BTF at `/sys/kernel/btf/vmlinux`")]
    NoBtf,
    /// libbpf refused.
    #[error("cannot {step} the kernel programs")]
    Libbpf {
        /// What was tried.
        step: &'static str,
        /// Why not.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The ring cannot be mapped.
    #[error("cannot map the ring buffer")]
    Ring(#[source] std::io::Error),
    /// An essential program was refused.
    #[error("the kernel refuses the program `{program}`")]
    Essential {
        /// Which.
        program: &'static str,
    },
}

fn step(step: &'static str) -> impl Fn(libbpf_rs::Error) -> KernelError {
    move |source| KernelError::Libbpf { step, source }
}

/// What was lost between the kernel and us, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelLosses {
    /// Numbers given out by the kernel side.
    pub numbered: u64,
    /// Of those, never written: the ring was full, or no space to build them.
    pub ring_full: u64,
    /// Not written because one process did too much of it in one second. They have no numbers.
    pub rate_capped: u64,
    /// Read but did not hold together.
    pub bad_records: u64,
    /// Read.
    pub received: u64,
}

/// The loaded kernel side.
pub struct Kernel {
    // Links first: fields are dropped in order, and a program must be detached before its maps go.
    links: Vec<Link>,
    ring: Ring,
    object: Object,
    folders: HashMap<FolderId, u32>,
    missing: Vec<String>,
    received: u64,
    bad: u64,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("links", &self.links.len())
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// What the kernel side is told once.
#[derive(Debug, Clone, Copy)]
pub struct KernelSettings {
    /// Size of the ring, a power of two.
    pub ring_bytes: u32,
    /// Most file and UDP records a second of one process.
    pub rate_max: u32,
    /// Pretend that the kernel refuses these programs (tests).
    pub refuse: &'static [&'static str],
}

impl Kernel {
    /// Loads and attaches what this kernel lets us.
    pub fn start(settings: KernelSettings, classifier: &Classifier, protected: &[u32]) -> Result<Self, KernelError> {
        if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(KernelError::NoBtf);
        }
        // libbpf would write the verifier's log to stderr; what is refused is told by name.
        libbpf_rs::set_print(if std::env::var_os("GARRISON_BPF_LOG").is_some() {
            Some((libbpf_rs::PrintLevel::Warn, |_, text| eprint!("{text}")))
        } else {
            None
        });
        let all: HashSet<&str> = PROGRAMS.iter().map(|p| p.name).filter(|n| !settings.refuse.contains(n)).collect();
        let mut accepted = all.clone();
        let object = match open(settings, &accepted)?.load() {
            Ok(object) => object,
            Err(_) => {
                accepted.clear();
                for name in all {
                    if open(settings, &HashSet::from_iter([name]))?.load().is_ok() {
                        accepted.insert(name);
                    }
                }
                open(settings, &accepted)?.load().map_err(step("load"))?
            }
        };
        for name in ESSENTIAL {
            if !accepted.contains(name) {
                return Err(KernelError::Essential { program: name });
            }
        }
        let ring = Ring::new(map(&object, "ring")?.as_fd(), settings.ring_bytes as usize).map_err(KernelError::Ring)?;
        let missing = PROGRAMS.iter().filter(|p| !accepted.contains(p.name)).map(|p| p.sight.to_owned()).collect();
        let mut kernel =
            Self { links: Vec::new(), ring, object, folders: HashMap::new(), missing, received: 0, bad: 0 };
        kernel.apply(classifier, protected)?;
        kernel.attach(&accepted)?;
        kernel.missing.extend(NEVER.iter().map(|s| (*s).to_owned()));
        Ok(kernel)
    }

    fn attach(&mut self, accepted: &HashSet<&str>) -> Result<(), KernelError> {
        let cgroup = cgroup_root().and_then(|path| std::fs::File::open(path).ok());
        let mut links = Vec::new();
        let mut missing = Vec::new();
        let mut handler_fds: HashMap<&str, i32> = HashMap::new();
        for line in PROGRAMS.iter().filter(|l| l.attach == Attach::Handler && accepted.contains(l.name)) {
            if let Some(program) = find(&self.object, line.name) {
                handler_fds.insert(line.name, program.as_fd().as_raw_fd());
            }
        }
        {
            let handlers = map(&self.object, "handlers")?;
            let calls_map = map(&self.object, "calls")?;
            for call in calls::table() {
                let key = (call.number as u32).to_ne_bytes();
                calls_map.update(&key, &call.to_bytes(), MapFlags::ANY).map_err(step("fill the call table of"))?;
                if let Some(fd) = handler_fds.get(call.handler.program()) {
                    let value = fd.to_ne_bytes();
                    // A kernel that refuses to jump costs this call alone.
                    if handlers.update(&key, &value, MapFlags::ANY).is_err() {
                        missing.push(format!("no system call {}", call.number));
                    }
                }
            }
        }
        for line in PROGRAMS.iter().filter(|l| accepted.contains(l.name)) {
            let Some(program) = find(&self.object, line.name) else { continue };
            let link = match (line.attach, &cgroup) {
                (Attach::Handler, _) => continue,
                (Attach::Trace, _) => program.attach_trace().ok(),
                (Attach::CgroupIn | Attach::CgroupOut, Some(cgroup)) => program.attach_cgroup(cgroup.as_raw_fd()).ok(),
                (Attach::CgroupIn | Attach::CgroupOut, None) => None,
            };
            match link {
                Some(link) => links.push(link),
                None if ESSENTIAL.contains(&line.name) => return Err(KernelError::Essential { program: line.name }),
                None => missing.push(line.sight.to_owned()),
            }
        }
        self.links = links;
        self.missing.extend(missing);
        Ok(())
    }

    /// Takes a new policy.
    pub fn apply(&mut self, classifier: &Classifier, protected: &[u32]) -> Result<(), KernelError> {
        let fill = step("give the policy to");
        refill(&map(&self.object, "prefixes")?, classifier.prefixes().into_iter().map(prefix_entry)).map_err(&fill)?;
        refill(
            &map(&self.object, "names")?,
            classifier.read_names().into_iter().map(|name| (name.to_vec(), 1_u32.to_ne_bytes().to_vec())),
        )
        .map_err(&fill)?;
        refill(
            &map(&self.object, "protected")?,
            protected.iter().map(|pid| (pid.to_ne_bytes().to_vec(), 1_u32.to_ne_bytes().to_vec())),
        )
        .map_err(&fill)?;
        self.folders_refresh(classifier)
    }

    /// Looks again where the watched folders are: they may have been made, or replaced, since.
    pub fn folders_refresh(&mut self, classifier: &Classifier) -> Result<(), KernelError> {
        let now = classifier.folder_ids();
        if now == self.folders {
            return Ok(());
        }
        refill(&map(&self.object, "folders")?, now.iter().map(|(id, flags)| folder_entry(*id, *flags)))
            .map_err(step("give the folders to"))?;
        self.folders = now;
        Ok(())
    }

    /// Names of what cannot be seen.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Waits for records, or until the time is over.
    pub fn wait(&self, timeout: std::time::Duration) {
        self.ring.wait(timeout);
    }

    /// Reads at most `records_max` records.
    pub fn read(
        &mut self,
        records_max: usize,
        classifier: &Classifier,
        sink: &mut dyn FnMut(super::Observation),
    ) -> usize {
        let bad = &mut self.bad;
        let count = self.ring.read(records_max, &mut |bytes| match record::decode(bytes, classifier) {
            Ok(Some(observation)) => sink(observation),
            Ok(None) => {}
            Err(_) => *bad += 1,
        });
        self.received += count as u64;
        count
    }

    /// What was lost so far.
    pub fn losses(&self) -> KernelLosses {
        let mut losses = KernelLosses { received: self.received, bad_records: self.bad, ..KernelLosses::default() };
        let Ok(states) = map(&self.object, "cpu_states") else { return losses };
        let Ok(Some(values)) = states.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY) else { return losses };
        for value in values {
            let words: Vec<u64> = value.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
            losses.numbered += words.first().unwrap_or(&0);
            losses.ring_full += words.iter().skip(1).take(32).sum::<u64>();
            losses.rate_capped += words.iter().skip(33).take(32).sum::<u64>();
        }
        losses
    }
}

fn open(settings: KernelSettings, programs: &HashSet<&str>) -> Result<OpenObject, KernelError> {
    let mut object = ObjectBuilder::default();
    let mut object = object.name("garrison").map_err(step("name"))?.open_memory(&OBJECT.0).map_err(step("open"))?;
    for mut program in object.progs_mut() {
        let wanted = program.name().to_str().is_some_and(|name| programs.contains(name));
        program.set_autoload(wanted);
    }
    let cpus = libbpf_rs::num_possible_cpus().map_err(step("count the CPUs for"))? as u32;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        match name.as_str() {
            "ring" => map.set_max_entries(settings.ring_bytes).map_err(step("size"))?,
            "scratches" => map.set_max_entries(cpus * 2).map_err(step("size"))?,
            _ if name.contains("rodata.set") => {
                let words = [
                    std::process::id(),
                    settings.ring_bytes / 8,
                    settings.rate_max,
                    libc::SYS_close as u32,
                    DUP2,
                    libc::SYS_dup3 as u32,
                ];
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                if let Some(value) = map.initial_value_mut()
                    && value.len() >= bytes.len()
                {
                    value[..bytes.len()].copy_from_slice(&bytes);
                }
            }
            _ => {}
        }
    }
    Ok(object)
}

fn find<'o>(object: &'o Object, name: &str) -> Option<ProgramMut<'o>> {
    object.progs_mut().find(|program| program.name() == name)
}

fn map<'o>(object: &'o Object, name: &'static str) -> Result<libbpf_rs::Map<'o>, KernelError> {
    object.maps().find(|map| map.name() == name).ok_or(KernelError::Essential { program: name })
}

/// Puts the entries in, then takes out what is not among them: at no moment is an entry of both missing.
fn refill(map: &libbpf_rs::Map, entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> libbpf_rs::Result<()> {
    let mut keys = HashSet::new();
    for (key, value) in entries {
        map.update(&key, &value, MapFlags::ANY)?;
        keys.insert(key);
    }
    let old: Vec<Vec<u8>> = map.keys().filter(|key| !keys.contains(key)).collect();
    for key in old {
        map.delete(&key)?;
    }
    Ok(())
}

fn prefix_entry((text, flags): (Vec<u8>, u32)) -> (Vec<u8>, Vec<u8>) {
    let mut key = (text.len() as u32 * 8).to_ne_bytes().to_vec();
    key.extend_from_slice(&text);
    key.resize(4 + 256, 0);
    (key, flags.to_ne_bytes().to_vec())
}

fn folder_entry(id: FolderId, flags: u32) -> (Vec<u8>, Vec<u8>) {
    let mut key = id.inode.to_ne_bytes().to_vec();
    key.extend(id.device.to_ne_bytes());
    key.extend(0_u32.to_ne_bytes());
    (key, flags.to_ne_bytes().to_vec())
}

/// The root of the unified cgroup tree, where it is mounted.
fn cgroup_root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let root = left.split(' ').nth(3)?;
        (right.starts_with("cgroup2 ") && root == "/").then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}
