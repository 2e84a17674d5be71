//! What ran before the observer started: processes and listening sockets, from /proc.

use super::event::*;
use super::{clock, record};
use hashbrown::HashMap;
use procfs::process::{FDTarget, Process};
use std::os::linux::fs::MetadataExt;

/// Processes read in one call, so that the rest gets its turn: about 10 ms of work.
const PROCESSES_A_CALL: usize = 64;
/// Most processes that are looked at: the default `pid_max` of small machines. More is a machine in trouble.
const PROCESSES_MAX: usize = 32_768;

/// A walk over /proc.
#[derive(Debug)]
pub struct Backfill {
    pids: Vec<i32>,
    /// Socket inodes of listening sockets, until their process is found.
    listening: HashMap<u64, Listen>,
}

impl Backfill {
    /// Notes which processes there are. Parents come before children mostly, since they have lower numbers.
    pub fn start() -> Self {
        let mut pids: Vec<i32> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .take(PROCESSES_MAX)
            .collect();
        // Taken from the end.
        pids.sort_unstable_by(|a, b| b.cmp(a));
        Self { pids, listening: listening() }
    }

    /// Whether all were told.
    pub fn is_done(&self) -> bool {
        self.pids.is_empty()
    }

    /// Tells the next ones; returns how many.
    pub fn next(&mut self, sink: &mut dyn FnMut(Observation)) -> usize {
        let mut count = 0;
        for _ in 0..PROCESSES_A_CALL {
            let Some(pid) = self.pids.pop() else { break };
            if pid as u32 == std::process::id() {
                continue;
            }
            let Some(found) = process(pid) else { continue };
            let sockets = self.sockets(pid, &found);
            sink(found);
            count += 1 + sockets.len();
            sockets.into_iter().for_each(&mut *sink);
        }
        count
    }

    fn sockets(&mut self, pid: i32, found: &Observation) -> Vec<Observation> {
        let mut sockets = Vec::new();
        if self.listening.is_empty() {
            return sockets;
        }
        let Ok(fds) = Process::new(pid).and_then(|p| p.fd()) else { return sockets };
        // 4,096 descriptors: a server with more has its listening ones, opened first, among the lowest.
        for fd in fds.take(4096).flatten() {
            if let FDTarget::Socket(inode) = fd.target
                && let Some(listen) = self.listening.remove(&inode)
            {
                sockets.push(Observation { event: Event::Listen(listen), ..found.clone() });
            }
        }
        sockets
    }
}

/// Listening TCP and bound UDP sockets by inode.
fn listening() -> HashMap<u64, Listen> {
    let mut found = HashMap::new();
    let tcp = procfs::net::tcp().into_iter().flatten().chain(procfs::net::tcp6().into_iter().flatten());
    for entry in tcp.filter(|e| e.state == procfs::net::TcpState::Listen).take(4096) {
        found.insert(entry.inode, Listen { local: entry.local_address, protocol: Protocol::Tcp, found: true });
    }
    let udp = procfs::net::udp().into_iter().flatten().chain(procfs::net::udp6().into_iter().flatten());
    for entry in udp.filter(|e| e.remote_address.port() == 0).take(4096) {
        found.insert(entry.inode, Listen { local: entry.local_address, protocol: Protocol::Udp, found: true });
    }
    found
}

/// Start of a process in nanoseconds since boot, as /proc tells it (clock ticks of 10 ms). None if it is gone.
pub fn start_ns(pid: u32) -> Option<u64> {
    let stat = Process::new(pid as i32).ok()?.stat().ok()?;
    Some(ticks_ns(stat.starttime))
}

fn ticks_ns(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000_000 / procfs::ticks_per_second().max(1))
}

/// Who a process is, from /proc. None if it is gone.
pub fn actor(pid: i32) -> Option<(Actor, String)> {
    let process = Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    let status = process.status().ok()?;
    let namespace =
        |name: &str| std::fs::metadata(format!("/proc/{pid}/ns/{name}")).map_or(0, |meta| meta.st_ino() as u32);
    let number = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok()?;
        text.trim().parse::<u32>().ok().filter(|id| *id != u32::MAX)
    };
    let parent_pid = stat.ppid.max(0) as u32;
    let actor = Actor {
        pid: pid as u32,
        tid: pid as u32,
        start_ns: ticks_ns(stat.starttime),
        parent_pid,
        parent_start_ns: if parent_pid == 0 { 0 } else { start_ns(parent_pid).unwrap_or(0) },
        credentials: Credentials {
            uid: status.ruid,
            gid: status.rgid,
            euid: status.euid,
            egid: status.egid,
            capabilities: status.capeff,
        },
        login_uid: number("loginuid"),
        session: number("sessionid"),
        cgroup_id: cgroup_id(pid),
        namespaces: Namespaces {
            pid: namespace("pid"),
            mnt: namespace("mnt"),
            net: namespace("net"),
            user: namespace("user"),
        },
        comm: Comm::new(stat.comm.as_bytes()),
        kernel_thread: stat.flags & 0x0020_0000 != 0,
    };
    Some((actor, tty_name(stat.tty_nr())))
}

/// The unified cgroup's id is the inode of its folder.
fn cgroup_id(pid: i32) -> u64 {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return 0 };
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::")) else { return 0 };
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .find_map(|root| {
            std::fs::metadata(format!("{root}/cgroup.controllers")).ok()?;
            Some(std::fs::metadata(format!("{root}{path}")).ok()?.st_ino())
        })
        .unwrap_or(0)
}

/// Name of a terminal by its device number: pseudo terminals are major 136 to 143, consoles major 4.
fn tty_name((major, minor): (i32, i32)) -> String {
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => String::new(),
    }
}

/// A running process as a [`Event::Found`]. None if it is gone.
pub fn process(pid: i32) -> Option<Observation> {
    let (actor, tty) = actor(pid)?;
    let exec = exec(pid, tty);
    Some(Observation {
        time_ns: if actor.start_ns == 0 { clock::boottime_ns() } else { actor.start_ns },
        source: Source::Backfill,
        actor,
        event: Event::Found(Box::new(exec)),
    })
}

/// The program that a process runs. Fields that cannot be read (kernel threads, other users' without root) are empty.
pub fn exec(pid: i32, tty: String) -> Exec {
    let link = |name: &str| {
        std::fs::read_link(format!("/proc/{pid}/{name}")).map_or(String::new(), |p| p.to_string_lossy().into_owned())
    };
    let raw = link("exe");
    let (path, deleted) = match raw.strip_suffix(" (deleted)") {
        Some(path) => (path.to_owned(), true),
        None => (raw, false),
    };
    let memory_only = deleted && path.starts_with("/memfd:");
    // An upgrade puts a new file in the old one's place, and what runs on still has the old one: nothing to report.
    let replaced = || std::fs::symlink_metadata(format!("/proc/{pid}/root{path}")).is_ok_and(|m| m.is_file());
    let deleted = deleted && (memory_only || !replaced());
    let image = std::fs::metadata(format!("/proc/{pid}/exe")).map_or(FileIdentity::default(), |m| identity(&m));
    let (arguments, cut) = limited(&format!("/proc/{pid}/cmdline"), ARGUMENTS_BYTES_MAX);
    let (environment, environment_cut) = limited(&format!("/proc/{pid}/environ"), ENVIRONMENT_BYTES_MAX);
    let arguments = Arguments::new(arguments, cut);
    let path = if memory_only { path[1..].to_owned() } else { path };
    // A script shows as its interpreter with the script as an argument.
    let first = arguments.iter().next().map(|a| a.into_owned());
    Exec {
        filename: first.unwrap_or_else(|| path.clone()),
        path,
        script: false,
        arguments,
        cwd: link("cwd"),
        tty,
        environment: record::interesting(&environment),
        environment_cut,
        image,
        memory_only,
        deleted: deleted && !memory_only,
    }
}

/// Identity of a file by its metadata.
pub fn identity(meta: &std::fs::Metadata) -> FileIdentity {
    let time = |s: i64, ns: i64| (s.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(ns.max(0) as u64);
    FileIdentity {
        device: meta.st_dev(),
        inode: meta.st_ino(),
        mode: meta.st_mode(),
        uid: meta.st_uid(),
        gid: meta.st_gid(),
        links: meta.st_nlink() as u32,
        size: meta.st_size(),
        changed_ns: time(meta.st_ctime(), meta.st_ctime_nsec()),
        modified_ns: time(meta.st_mtime(), meta.st_mtime_nsec()),
    }
}

/// The first bytes of a file, and whether there were more.
fn limited(path: &str, max: usize) -> (Vec<u8>, bool) {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // What cannot be read to its end is told as far as it went.
        let _ = file.take(max as u64 + 1).read_to_end(&mut bytes);
    }
    let cut = bytes.len() > max;
    bytes.truncate(max);
    (bytes, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_parent_is_found_with_its_command_line() {
        let parent = std::os::unix::process::parent_id() as i32;
        let found = process(parent).expect("the parent runs");
        assert_eq!(found.actor.pid, parent as u32);
        assert!(found.actor.start_ns > 0);
        let Event::Found(exec) = found.event else { panic!("not a found process") };
        assert!(exec.path.starts_with('/'));
        assert!(exec.image.inode != 0);
    }

    #[test]
    fn a_process_that_is_gone_is_no_error() {
        assert!(process(i32::MAX).is_none());
    }

    #[test]
    fn terminals_are_named_by_number() {
        assert_eq!(tty_name((136, 3)), "pts/3");
        assert_eq!(tty_name((4, 65)), "ttyS1");
        assert_eq!(tty_name((0, 0)), "");
    }
}
