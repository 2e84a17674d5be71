//! Reading the kernel side's records (`bpf/record.h`). The bytes come from our own programs, but what is in them was
//! chosen by whoever runs on the machine, and a broken kernel is possible: nothing is trusted, a record that does not
//! hold together is counted and left.

use super::calls::Call;
use super::dns;
use super::event::*;
use super::path::{absolute, from_reversed, lossy};
use super::policy::{Classifier, user_device};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A record does not hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record of kind {kind} does not hold together")]
pub struct BadRecord {
    /// Its kind, 0 if not even that is known.
    pub kind: u16,
}

/// Variables of interest in a program's environment: each lets somebody else's code run inside the program.
pub const ENVIRONMENT_OF_INTEREST: &[&str] = &[
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "LD_DEBUG_OUTPUT",
    "LD_PROFILE_OUTPUT",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PERL5LIB",
    "PERL5OPT",
    "PERL5DB",
    "RUBYOPT",
    "RUBYLIB",
    "NODE_OPTIONS",
    "BASH_ENV",
    "ENV",
    "PROMPT_COMMAND",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "HISTFILE",
    "GIT_SSH_COMMAND",
];
/// Longest value of a variable that is kept.
const VALUE_MAX: usize = 1024;

/// `PF_KTHREAD`.
const KERNEL_THREAD: u32 = 0x0020_0000;
/// `PTRACE_*` are passed on as they are. `AT_REMOVEDIR` makes `unlinkat` remove a folder.
const REMOVE_FOLDER: u64 = 0x200;
const TMPFS: u64 = 0x0102_1994;
const HUGETLBFS: u64 = 0x9584_58f6;

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_ne_bytes(self.array()?))
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.array()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_ne_bytes(self.array()?))
    }
    fn text(&mut self, length: u32) -> Option<String> {
        let bytes = self.bytes(length as usize)?;
        Some(lossy(bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()))
    }
    fn path(&mut self, length: u32) -> Option<String> {
        Some(from_reversed(self.bytes(length as usize)?))
    }
}

/// Kind, CPU and sequence number: what accounting needs even of a record that is bad otherwise.
pub fn number(bytes: &[u8]) -> Option<(u16, u16, u64)> {
    let mut reader = Reader { rest: bytes };
    reader.u32()?;
    Some((reader.u16()?, reader.u16()?, reader.u64()?))
}

/// What the policy wants of a record that holds together.
type Wanted<T> = Option<T>;

/// Reads one record. `None` is fine: the policy does not want it.
pub fn decode(bytes: &[u8], policy: &Classifier) -> Result<Option<Observation>, BadRecord> {
    let kind = number(bytes).map_or(0, |n| n.0);
    read(bytes, policy).ok_or(BadRecord { kind })
}

fn read(bytes: &[u8], policy: &Classifier) -> Option<Wanted<Observation>> {
    let mut reader = Reader { rest: bytes };
    let r = &mut reader;
    if r.u32()? as usize != bytes.len() {
        return None;
    }
    let kind = r.u16()?;
    let source = Source::Kernel { cpu: r.u16()?, sequence: r.u64()? };
    let time_ns = r.u64()?;
    let actor = actor(r)?;
    let event = match kind {
        1 => Some(Event::Exec(Box::new(exec(r)?))),
        2 => Some(Event::Fork(Fork { child_start_ns: r.u64()?, child_pid: r.u32()?, child_pid_namespace: r.u32()? })),
        3 => Some(exit(r)?),
        4..=8 => Some(socket(r, kind)?),
        9 => dns_event(r)?,
        10 | 11 | 14 => open(r, kind, policy)?,
        12 => path_event(r, policy)?,
        13 => file_event(r, policy)?,
        15 => call_event(r)?,
        16 => Some(Event::Signal(Signal {
            target_start_ns: r.u64()?,
            target_pid: r.u32()?,
            signal: r.u32()?,
            target_comm: Comm::new(&r.array::<16>()?),
        })),
        _ => return None,
    };
    Some(event.map(|event| Observation { time_ns, source, actor, event }))
}

fn actor(r: &mut Reader) -> Option<Actor> {
    let start_ns = r.u64()?;
    let parent_start_ns = r.u64()?;
    let cgroup_id = r.u64()?;
    let capabilities = r.u64()?;
    let known = |id: u32| (id != u32::MAX).then_some(id);
    Some(Actor {
        pid: r.u32()?,
        tid: r.u32()?,
        start_ns,
        parent_pid: r.u32()?,
        parent_start_ns,
        credentials: Credentials { uid: r.u32()?, gid: r.u32()?, euid: r.u32()?, egid: r.u32()?, capabilities },
        login_uid: known(r.u32()?),
        session: known(r.u32()?),
        cgroup_id,
        namespaces: Namespaces { pid: r.u32()?, mnt: r.u32()?, net: r.u32()?, user: r.u32()? },
        kernel_thread: r.u32()? & KERNEL_THREAD != 0,
        comm: Comm::new(&r.array::<16>()?),
    })
}

/// The identity, and whether the file is in memory only, and deleted.
struct Identity {
    file: FileIdentity,
    on_tmpfs: bool,
    unhashed: bool,
}

impl Identity {
    fn memory_only(&self, path: &str) -> bool {
        self.on_tmpfs && self.file.links == 0 && path.starts_with("memfd:")
    }
    fn deleted(&self, path: &str) -> bool {
        !self.memory_only(path) && self.file.inode != 0 && (self.file.links == 0 || self.unhashed)
    }
}

fn identity(r: &mut Reader) -> Option<Identity> {
    let (inode, size, changed_ns, modified_ns, magic) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?, r.u64()?);
    let device = user_device(r.u32()?);
    let (mode, uid, gid, links) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
    Some(Identity {
        file: FileIdentity { device, inode, mode, uid, gid, links, size, changed_ns, modified_ns },
        on_tmpfs: magic == TMPFS || magic == HUGETLBFS,
        unhashed: r.u32()? != 0,
    })
}

fn exec(r: &mut Reader) -> Option<Exec> {
    let image = identity(r)?;
    let script = r.u32()? != 0;
    let (path, cwd, filename, tty) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
    let (arguments, arguments_total) = (r.u32()?, r.u32()?);
    let (environment, environment_total) = (r.u32()?, r.u32()?);
    r.u32()?;
    let path = r.path(path)?;
    let cwd = r.path(cwd)?;
    let filename = r.text(filename)?;
    let tty = terminal(&r.text(tty)?);
    let arguments = Arguments::new(r.bytes(arguments as usize)?.to_vec(), arguments_total > arguments);
    let variables = r.bytes(environment as usize)?;
    Some(Exec {
        memory_only: image.memory_only(&path),
        deleted: image.deleted(&path),
        path,
        filename,
        script,
        arguments,
        cwd,
        tty,
        environment: interesting(variables),
        environment_cut: environment_total > environment,
        image: image.file,
    })
}

/// The kernel says `pts0`, people and `/dev` say `pts/0`.
pub(crate) fn terminal(name: &str) -> String {
    match name.strip_prefix("pts") {
        Some(number) if !number.is_empty() && !number.starts_with('/') => format!("pts/{number}"),
        _ => name.to_owned(),
    }
}

/// The variables of interest in NUL-separated `NAME=value`.
pub(crate) fn interesting(bytes: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for variable in bytes.split(|b| *b == 0) {
        // All that interest us start with one of these; most variables end here.
        if !matches!(variable.first(), Some(b'L' | b'G' | b'P' | b'R' | b'N' | b'B' | b'E' | b'J' | b'_' | b'H')) {
            continue;
        }
        let Some(equals) = variable.iter().position(|b| *b == b'=') else { continue };
        let (name, value) = (&variable[..equals], &variable[equals + 1..]);
        if let Some(name) = ENVIRONMENT_OF_INTEREST.iter().find(|n| n.as_bytes() == name) {
            // A history that goes to the usual place is no news.
            if *name == "HISTFILE" && !value.is_empty() && value != b"/dev/null" {
                continue;
            }
            let value = &value[..value.len().min(VALUE_MAX)];
            found.push(((*name).to_owned(), String::from_utf8_lossy(value).into_owned()));
            // One variable may be given twice; nobody needs it a hundred times.
            if found.len() == 32 {
                break;
            }
        }
    }
    found
}

fn exit(r: &mut Reader) -> Option<Event> {
    let (user_ns, system_ns) = (r.u64()?, r.u64()?);
    let status = r.u32()?;
    Some(Event::Exit(Exit {
        code: ((status >> 8) & 0xff) as i32,
        signal: status & 0x7f,
        core_dumped: status & 0x80 != 0,
        user_ns,
        system_ns,
    }))
}

fn ends(r: &mut Reader) -> Option<Connection> {
    let (local, remote) = (r.array::<16>()?, r.array::<16>()?);
    let (local_port, remote_port, family) = (r.u16()?, r.u16()?, r.u16()?);
    r.u16()?;
    let address = |bytes: [u8; 16]| -> IpAddr {
        if family == 2 {
            Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
        } else {
            Ipv6Addr::from(bytes).to_canonical()
        }
    };
    Some(Connection {
        local: SocketAddr::new(address(local), local_port),
        remote: SocketAddr::new(address(remote), remote_port),
    })
}

fn socket(r: &mut Reader, kind: u16) -> Option<Event> {
    let connection = ends(r)?;
    let (duration_ns, bytes_sent, bytes_received) = (r.u64()?, r.u64()?, r.u64()?);
    let (error, accepted) = (r.u32()? as i32, r.u32()? != 0);
    Some(match kind {
        4 => Event::Connect(Connect { connection, error, duration_ns }),
        5 => Event::Accept(connection),
        6 => Event::Listen(Listen { local: connection.local, protocol: Protocol::Tcp, found: false }),
        7 => Event::Close(Close { connection, accepted, bytes_sent, bytes_received, duration_ns }),
        _ => Event::Udp(connection),
    })
}

fn dns_event(r: &mut Reader) -> Option<Wanted<Event>> {
    let connection = ends(r)?;
    r.u32()?;
    let (length, total) = (r.u32()?, r.u32()?);
    r.u32()?;
    // Whatever is sent to port 53 need not be DNS: then there is nothing to tell, and nothing wrong with the record.
    Some(dns::parse(r.bytes(length as usize)?).map(|message| {
        Event::Dns(Dns {
            connection,
            answer: message.answer,
            id: message.id,
            name: message.name,
            record_type: message.record_type,
            response_code: message.response_code,
            answers: message.answers,
            cut: message.cut || total > length,
        })
    }))
}

fn open(r: &mut Reader, kind: u16, policy: &Classifier) -> Option<Wanted<Event>> {
    let id = identity(r)?;
    let (created, error, length) = (r.u32()? != 0, r.u32()? as i32, r.u32()?);
    r.u32()?;
    let path = r.path(length)?;
    if kind == 14 {
        let (memory_only, deleted) = (id.memory_only(&path), id.deleted(&path));
        return Some(Some(Event::ImageLoad(ImageLoad { path, file: id.file, memory_only, deleted })));
    }
    let action = match (kind, created) {
        (11, _) => FileAction::Modified,
        (_, true) => FileAction::Created,
        (_, false) => FileAction::Read,
    };
    if action == FileAction::Read
        && let Some(pid) = path.strip_suffix("/mem").and_then(|p| p.rsplit('/').next()).and_then(|p| p.parse().ok())
    {
        return Some(Some(Event::MemoryWrite(MemoryWrite { target_pid: pid, bytes: 0, error })));
    }
    Some(policy.wants(&path, action).then(|| file(action, path, None, id.file, error)))
}

fn file(action: FileAction, path: String, old_path: Option<String>, file: FileIdentity, error: i32) -> Event {
    Event::File(Box::new(FileEvent { action, path, old_path, file, old_mode: None, error }))
}

fn path_event(r: &mut Reader, policy: &Classifier) -> Option<Wanted<Event>> {
    let (argument, argument2) = (r.u64()?, r.u64()?);
    let call = Call::from_number(r.u32()?)?;
    let result = r.u32()? as i32;
    let (base, first, base2, second, word) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?, r.u32()?);
    r.u32()?;
    // They lie in the order in which they were written: both paths, both folders, the word.
    let (first, second) = (r.text(first)?, r.text(second)?);
    let (base, base2) = (r.path(base)?, r.path(base2)?);
    let word = r.text(word)?;
    let error = if result < 0 { -result } else { 0 };
    let full = absolute(&base, &first);
    let full2 = absolute(&base2, &second);
    let mut identity = FileIdentity::default();
    let mount = |action| {
        Event::Mount(Mount {
            action,
            origin: if action == MountAction::Moved { full.clone() } else { first.clone() },
            target: full2.clone(),
            filesystem: word.clone(),
            flags: argument,
            error,
        })
    };
    let (action, path, old_path) = match call {
        Call::Unlink if argument & REMOVE_FOLDER != 0 => (FileAction::FolderDeleted, full, None),
        Call::Unlink => (FileAction::Deleted, full, None),
        Call::Rmdir => (FileAction::FolderDeleted, full, None),
        Call::Mkdir => (FileAction::FolderCreated, full, None),
        Call::Rename => (FileAction::Renamed, full2, Some(full)),
        Call::Link => (FileAction::Linked, full2, Some(full)),
        // What a symbolic link points to is text, relative to the link.
        Call::Symlink => (FileAction::SymbolicLinked, full2, Some(first)),
        Call::Chmod => {
            identity.mode = argument as u32 & 0o7777;
            (FileAction::PermissionChanged, full, None)
        }
        Call::Chown => {
            (identity.uid, identity.gid) = (argument as u32, argument2 as u32);
            (FileAction::OwnerChanged, full, None)
        }
        Call::Mount => return Some(Some(mount(MountAction::Mounted))),
        Call::MoveMount => return Some(Some(mount(MountAction::Moved))),
        Call::Unmount => return Some(Some(mount(MountAction::Unmounted))),
        Call::ModuleMemory => {
            return Some(Some(Event::ModuleLoad(ModuleLoad { path: String::new(), parameters: word, error })));
        }
        _ => return None,
    };
    let wanted = policy.wants(&path, action) || old_path.as_ref().is_some_and(|old| policy.wants(old, action));
    Some(wanted.then(|| file(action, path, old_path, identity, error)))
}

fn file_event(r: &mut Reader, policy: &Classifier) -> Option<Wanted<Event>> {
    let id = identity(r)?;
    let (argument, result) = (r.u64()?, r.u64()? as i64);
    let call = Call::from_number(r.u32()?)?;
    let length = r.u32()?;
    let path = r.path(length)?;
    let error = if result < 0 { result.unsigned_abs() as i32 } else { 0 };
    let action = match call {
        Call::Fchmod => FileAction::PermissionChanged,
        Call::Fchown => FileAction::OwnerChanged,
        Call::ModuleFile => {
            return Some(Some(Event::ModuleLoad(ModuleLoad { path, parameters: String::new(), error })));
        }
        _ => return None,
    };
    let _ = argument;
    Some(policy.wants(&path, action).then(|| file(action, path, None, id.file, error)))
}

fn call_event(r: &mut Reader) -> Option<Wanted<Event>> {
    let result = r.u64()? as i64;
    let arguments = [r.u64()?, r.u64()?, r.u64()?, r.u64()?];
    let call = Call::from_number(r.u32()?)?;
    let name = r.text(16)?;
    let error = if (-4095..0).contains(&result) { result.unsigned_abs() as i32 } else { 0 };
    Some(Some(match call {
        Call::Ptrace => Event::Ptrace(Ptrace { request: arguments[0] as u32, target_pid: arguments[1] as u32, error }),
        Call::MemoryWrite => Event::MemoryWrite(MemoryWrite {
            target_pid: arguments[0] as u32,
            bytes: if result > 0 { result as u64 } else { 0 },
            error,
        }),
        Call::Bpf => Event::BpfLoad(BpfLoad {
            program_type: arguments[2] as u32,
            instructions: arguments[3] as u32,
            name,
            error,
        }),
        Call::SetUser => Event::CredentialsChange(CredentialsChange { call: CredentialsCall::User }),
        Call::SetGroup => Event::CredentialsChange(CredentialsChange { call: CredentialsCall::Group }),
        Call::SetCapabilities => Event::CredentialsChange(CredentialsChange { call: CredentialsCall::Capabilities }),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::policy::ObservePolicy;
    use proptest::prelude::*;

    fn head(kind: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes[..4].copy_from_slice(&(128 + rest.len() as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[8] = 9;
        bytes[56] = 77;
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn a_fork_is_read() {
        let mut rest = 5_u64.to_ne_bytes().to_vec();
        rest.extend(78_u32.to_ne_bytes());
        rest.extend(1_u32.to_ne_bytes());
        let seen = decode(&head(2, &rest), &Classifier::default()).unwrap().unwrap();
        assert_eq!(seen.actor.pid, 77);
        assert_eq!(seen.source, Source::Kernel { cpu: 0, sequence: 9 });
        assert_eq!(seen.event, Event::Fork(Fork { child_pid: 78, child_start_ns: 5, child_pid_namespace: 1 }));
    }

    #[test]
    fn only_variables_of_interest_are_kept() {
        let found = interesting(b"PATH=/bin\0LD_PRELOAD=/tmp/x.so\0LANG=C\0HISTFILE=/root/.h\0HISTFILE=/dev/null\0");
        let names: Vec<_> = found.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(names, ["LD_PRELOAD=/tmp/x.so", "HISTFILE=/dev/null"]);
    }

    #[test]
    fn terminals_get_the_name_that_people_use() {
        assert_eq!(terminal("pts12"), "pts/12");
        assert_eq!(terminal("tty1"), "tty1");
        assert_eq!(terminal(""), "");
    }

    proptest! {
        #[test]
        fn no_record_makes_us_fall(kind in 0_u16..20, rest in proptest::collection::vec(any::<u8>(), 0..600)) {
            let (policy, _) = Classifier::new(&ObservePolicy::default());
            let _ = decode(&head(kind, &rest), &policy);
        }

        #[test]
        fn no_lengths_make_us_fall(kind in 1_u16..17, words in proptest::collection::vec(0_u32..64, 0..200)) {
            let rest: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            let _ = decode(&head(kind, &rest), &Classifier::default());
        }
    }
}
