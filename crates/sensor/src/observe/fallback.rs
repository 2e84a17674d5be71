//! Seeing without programs in the kernel: process connector (process starts and ends), fanotify (files), sock tables
//! of /proc (connections). Without root only /proc is polled. It tells the same [`Observation`]s, with less in them;
//! what it cannot see is named.

mod connector;
mod fanotify;

use super::event::*;
use super::policy::Classifier;
use super::{backfill, clock};
use connector::{Connector, ProcessEvent};
use fanotify::Fanotify;
use hashbrown::{HashMap, HashSet};
use procfs::process::{FDTarget, Process};
use std::time::{Duration, Instant};

/// How often sockets, and without the connector processes, are looked at. A connection shorter than this is missed.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Most processes and sockets remembered.
const KNOWN_MAX: usize = 65_536;

/// The fallback.
#[derive(Debug)]
pub struct Fallback {
    connector: Option<Connector>,
    fanotify: Option<Fanotify>,
    missing: Vec<String>,
    processes: HashMap<u32, Actor>,
    sockets: HashMap<u64, Known>,
    polled: Option<Instant>,
    overruns: u64,
}

#[derive(Debug, Clone)]
struct Known {
    connection: Connection,
    actor: Actor,
    accepted: bool,
    listening: bool,
    since_ns: u64,
    told: bool,
}

impl Fallback {
    /// Starts what can be started; `as_root` false leaves out what needs root.
    pub fn start(classifier: &Classifier, as_root: bool) -> Self {
        let mut missing: Vec<String> = [
            "no connections shorter than a second, no failed ones, no byte counts",
            "no UDP sent, no DNS questions or answers",
            "no ptrace, memory writes, module and BPF loads, mounts, capability changes",
            "no signals to protected processes",
            "no shared libraries loaded",
            "no reading of credential files",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut note = |what: &str, error: &std::io::Error| missing.push(format!("{what} ({error})"));
        let no_root = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let connector = if as_root { Connector::start() } else { Err(no_root()) }
            .map_err(|error| note("processes that live shorter than a second are missed", &error))
            .ok();
        let fanotify = if as_root { Fanotify::start(classifier) } else { Err(no_root()) }
            .map_err(|error| note("no file changes", &error))
            .ok();
        if connector.is_some() {
            missing.push("command lines of programs that end at once may be missed".to_owned());
        }
        if fanotify.is_some() {
            missing.push("no file changes in folders made later below watched ones than 1 level".to_owned());
        }
        let mut fallback = Self {
            connector,
            fanotify,
            missing,
            processes: HashMap::new(),
            sockets: HashMap::new(),
            polled: None,
            overruns: 0,
        };
        // What is there already is told by the back-fill.
        fallback.look(&mut |_| {}, false);
        fallback
    }

    /// Whether anything comes by itself (else all is polling).
    pub fn has_events(&self) -> bool {
        self.connector.is_some() || self.fanotify.is_some()
    }

    /// Names of what cannot be seen.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Times that a queue ran over.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Takes a new policy.
    pub fn apply(&mut self, classifier: &Classifier) {
        if let Some(fanotify) = &mut self.fanotify {
            fanotify.mark(classifier);
        }
    }

    /// Tells what was seen; sleeps at most `sleep` if there is nothing.
    pub fn poll(&mut self, sleep: Duration, classifier: &Classifier, sink: &mut dyn FnMut(Observation)) -> usize {
        let mut count = 0;
        let mut tell = |observation: Observation| {
            count += 1;
            sink(observation);
        };
        if self.polled.is_none_or(|at| at.elapsed() >= POLL_EVERY) {
            self.polled = Some(Instant::now());
            self.look(&mut tell, true);
        }
        let mut events = Vec::new();
        if let Some(connector) = &mut self.connector {
            self.overruns += connector.read(sleep, &mut events);
        } else if self.fanotify.is_none() {
            std::thread::sleep(sleep);
        }
        for event in events {
            if let Some(observation) = self.process_event(event) {
                tell(observation);
            }
        }
        if let Some(fanotify) = &mut self.fanotify {
            let wait = if self.connector.is_some() { Duration::ZERO } else { sleep };
            let processes = &self.processes;
            self.overruns += fanotify.read(wait, &mut |pid, file| {
                if pid == std::process::id() || !classifier.wants(&file.path, file.action) {
                    return;
                }
                let actor = backfill::actor(pid as i32).map(|(actor, _)| actor);
                let actor = actor.or_else(|| processes.get(&pid).cloned()).unwrap_or_else(|| Actor {
                    pid,
                    tid: pid,
                    ..Actor::default()
                });
                tell(now(actor, Event::File(Box::new(file))));
            });
        }
        count
    }

    fn process_event(&mut self, event: ProcessEvent) -> Option<Observation> {
        match event {
            ProcessEvent::Fork { parent, child, time_ns } => {
                let actor = self.actor(parent);
                let (child_actor, _) = backfill::actor(child as i32).unwrap_or_else(|| {
                    let mut gone = actor.clone();
                    gone.pid = child;
                    gone.tid = child;
                    gone.start_ns = time_ns;
                    gone.parent_pid = parent;
                    gone.parent_start_ns = actor.start_ns;
                    (gone, String::new())
                });
                let fork = Fork {
                    child_pid: child,
                    child_start_ns: child_actor.start_ns,
                    child_pid_namespace: child_actor.namespaces.pid,
                };
                self.remember(child_actor);
                Some(at(time_ns, actor, Event::Fork(fork)))
            }
            ProcessEvent::Exec { pid, time_ns } => {
                let (actor, exec) = match backfill::actor(pid as i32) {
                    Some((actor, tty)) => (actor, backfill::exec(pid as i32, tty)),
                    // Gone before we could look: that it ran is still told.
                    None => (self.actor(pid), Exec::default()),
                };
                self.remember(actor.clone());
                Some(at(time_ns, actor, Event::Exec(Box::new(exec))))
            }
            ProcessEvent::Exit { pid, status, time_ns } => {
                let actor = self.processes.remove(&pid)?;
                let exit = Exit {
                    code: ((status >> 8) & 0xff) as i32,
                    signal: status & 0x7f,
                    core_dumped: status & 0x80 != 0,
                    ..Exit::default()
                };
                Some(at(time_ns, actor, Event::Exit(exit)))
            }
            ProcessEvent::UserChange { pid, time_ns } => {
                let actor = backfill::actor(pid as i32)?.0;
                self.remember(actor.clone());
                Some(at(time_ns, actor, Event::CredentialsChange(CredentialsChange { call: CredentialsCall::User })))
            }
        }
    }

    fn actor(&mut self, pid: u32) -> Actor {
        if let Some(actor) = self.processes.get(&pid) {
            return actor.clone();
        }
        match backfill::actor(pid as i32) {
            Some((actor, _)) => {
                self.remember(actor.clone());
                actor
            }
            None => Actor { pid, tid: pid, ..Actor::default() },
        }
    }

    fn remember(&mut self, actor: Actor) {
        if self.processes.len() < KNOWN_MAX || self.processes.contains_key(&actor.pid) {
            self.processes.insert(actor.pid, actor);
        }
    }

    /// One look at /proc: processes (without the connector, and at the start) and sockets.
    fn look(&mut self, tell: &mut dyn FnMut(Observation), news: bool) {
        let first = !news;
        let mut owners: Option<HashMap<u64, u32>> = None;
        if self.connector.is_none() || first {
            self.look_at_processes(tell, news);
        }
        let mut seen = HashSet::new();
        let sockets = procfs::net::tcp().into_iter().flatten().chain(procfs::net::tcp6().into_iter().flatten());
        for entry in sockets.take(KNOWN_MAX) {
            let listening = entry.state == procfs::net::TcpState::Listen;
            if entry.inode == 0 || !(listening || entry.state == procfs::net::TcpState::Established) {
                continue;
            }
            seen.insert(entry.inode);
            if self.sockets.contains_key(&entry.inode) {
                continue;
            }
            let owners = owners.get_or_insert_with(socket_owners);
            let Some(pid) = owners.get(&entry.inode).copied() else { continue };
            if pid == std::process::id() {
                continue;
            }
            let actor = self.actor(pid);
            let connection = Connection { local: entry.local_address, remote: entry.remote_address };
            let accepted = !listening
                && self.sockets.values().any(|k| k.listening && k.connection.local.port() == connection.local.port());
            let known = Known { connection, actor, accepted, listening, since_ns: clock::boottime_ns(), told: news };
            if news {
                let event = if listening {
                    Event::Listen(Listen { local: connection.local, protocol: Protocol::Tcp, found: false })
                } else if accepted {
                    Event::Accept(connection)
                } else {
                    Event::Connect(Connect { connection, error: 0, duration_ns: 0 })
                };
                tell(now(known.actor.clone(), event));
            }
            self.sockets.insert(entry.inode, known);
        }
        let gone: Vec<u64> = self.sockets.keys().filter(|inode| !seen.contains(*inode)).copied().collect();
        for inode in gone {
            if let Some(known) = self.sockets.remove(&inode)
                && known.told
                && !known.listening
            {
                let close = Close {
                    connection: known.connection,
                    accepted: known.accepted,
                    bytes_sent: 0,
                    bytes_received: 0,
                    duration_ns: clock::boottime_ns().saturating_sub(known.since_ns),
                };
                tell(now(known.actor, Event::Close(close)));
            }
        }
    }

    fn look_at_processes(&mut self, tell: &mut dyn FnMut(Observation), news: bool) {
        let mut seen = HashSet::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten().take(KNOWN_MAX) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            seen.insert(pid);
            let start = backfill::start_ns(pid);
            if self.processes.get(&pid).is_some_and(|known| Some(known.start_ns) == start) || pid == std::process::id()
            {
                continue;
            }
            let Some((actor, tty)) = backfill::actor(pid as i32) else { continue };
            if news {
                let exec = backfill::exec(pid as i32, tty);
                tell(at(actor.start_ns, actor.clone(), Event::Exec(Box::new(exec))));
            }
            self.remember(actor);
        }
        let gone: Vec<u32> = self.processes.keys().filter(|pid| !seen.contains(*pid)).copied().collect();
        for pid in gone {
            if let Some(actor) = self.processes.remove(&pid)
                && news
            {
                tell(now(actor, Event::Exit(Exit::default())));
            }
        }
    }
}

fn at(time_ns: u64, actor: Actor, event: Event) -> Observation {
    Observation { time_ns, source: Source::Fallback, actor, event }
}

fn now(actor: Actor, event: Event) -> Observation {
    at(clock::boottime_ns(), actor, event)
}

/// Which process holds which socket, by inode.
fn socket_owners() -> HashMap<u64, u32> {
    let mut owners = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten().take(KNOWN_MAX) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(fds) = Process::new(pid).and_then(|p| p.fd()) else { continue };
        for fd in fds.take(4096).flatten() {
            if let FDTarget::Socket(inode) = fd.target {
                owners.entry(inode).or_insert(pid as u32);
            }
        }
    }
    owners
}
