//! Everything that can be seen on this machine, as plain owned data.
//!
//! Whatever the source (eBPF, fanotify, process connector, /proc, a log), it ends here: one [`Observation`] with the
//! acting process and one of the closed list [`Event`]. Nothing here knows of hunting tables; `enrich` makes rows.
//!
//! Text comes from the kernel and from users as bytes. It is turned into `String` by replacing what is not UTF-8 with
//! U+FFFD, except program arguments, which are kept as bytes ([`Arguments`]) until somebody asks for text.
//! All times are nanoseconds since boot (`CLOCK_BOOTTIME`); [`clock`](super::clock) turns them into time of day.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// Most bytes of the arguments of one exec that are captured. Linux allows megabytes; 16 KiB holds every command line
/// that people or ordinary tools write, and bounds a record. Longer ones are cut and marked.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of the environment of one exec that are looked through for the variables of interest.
pub const ENVIRONMENT_BYTES_MAX: usize = 16 * 1024;
/// Longest path, as the kernel's own `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 4096;
/// Most bytes of one DNS message that are captured: the classic limit of DNS over UDP.
pub const DNS_BYTES_MAX: usize = 512;

/// One thing seen, with who did it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// When, nanoseconds since boot.
    pub time_ns: u64,
    /// Where it comes from, and its number there.
    pub source: Source,
    /// The process that did it.
    pub actor: Actor,
    /// What was done.
    pub event: Event,
}

/// Where an observation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The kernel's ring buffer. `sequence` counts the events of that CPU without gaps; a gap is a loss.
    Kernel {
        /// CPU that wrote it.
        cpu: u16,
        /// Running number on that CPU, from 0 at the start of the observer.
        sequence: u64,
    },
    /// Read from /proc at the start: it ran before we looked.
    Backfill,
    /// Process connector, fanotify or polling.
    Fallback,
    /// A log or a log-on record.
    Log,
}

/// A process at the moment it did something. Zero means unknown wherever zero is not a valid value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Actor {
    /// Process id (thread group) in the initial pid namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Start of the process, nanoseconds since boot. 0 if unknown.
    pub start_ns: u64,
    /// The parent's process id.
    pub parent_pid: u32,
    /// Start of the parent. 0 if unknown.
    pub parent_start_ns: u64,
    /// Users, groups and capabilities.
    pub credentials: Credentials,
    /// Log-on user (`loginuid`), none if the process descends from no log-on.
    pub login_uid: Option<u32>,
    /// Audit session id, none if unset.
    pub session: Option<u32>,
    /// Id of the cgroup (v2), which is the inode number of its folder.
    pub cgroup_id: u64,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Name of the thread, at most 15 bytes.
    pub comm: Comm,
    /// Whether it is a kernel thread.
    pub kernel_thread: bool,
}

/// Users, groups and capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credentials {
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective user.
    pub euid: u32,
    /// Effective group.
    pub egid: u32,
    /// Effective capabilities, one bit each.
    pub capabilities: u64,
}

/// Inode numbers of the namespaces. 0 if unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// Process ids.
    pub pid: u32,
    /// Mounts.
    pub mnt: u32,
    /// Network.
    pub net: u32,
    /// Users.
    pub user: u32,
}

/// A thread's name: up to 15 bytes that the process itself may choose.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// From any bytes; cut to 15.
    pub fn new(bytes: &[u8]) -> Self {
        let mut comm = [0; 16];
        let length = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()).min(15);
        comm[..length].copy_from_slice(&bytes[..length]);
        Self(comm)
    }

    /// As text.
    pub fn text(&self) -> Cow<'_, str> {
        let length = self.0.iter().position(|b| *b == 0).unwrap_or(16);
        String::from_utf8_lossy(&self.0[..length])
    }
}

impl std::fmt::Debug for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A program was started (`execve`). The actor is the process as it is after the start.
    Exec(Box<Exec>),
    /// A process was made by another (`fork`, `clone`, `vfork`); the actor is the parent. Threads are not reported.
    Fork(Fork),
    /// A process ended.
    Exit(Exit),
    /// A process that ran before the observer started, from /proc. Same shape as a start.
    Found(Box<Exec>),
    /// A TCP connection was made by this process, or could not be made.
    Connect(Connect),
    /// A TCP connection was accepted.
    Accept(Connection),
    /// A socket listens. `remote` of the connection is unspecified.
    Listen(Listen),
    /// A TCP connection, made or accepted while we looked, ended.
    Close(Close),
    /// First datagram of a UDP flow (process, socket, remote address).
    Udp(Connection),
    /// A DNS message was sent or received over UDP.
    Dns(Dns),
    /// A file under policy was made, changed, removed, renamed or read, or its permissions or owner changed.
    File(Box<FileEvent>),
    /// A file was mapped executable: a shared library, mostly.
    ImageLoad(ImageLoad),
    /// `ptrace` took control of, or wrote to, another process.
    Ptrace(Ptrace),
    /// `process_vm_writev`, or a write to `/proc/PID/mem`.
    MemoryWrite(MemoryWrite),
    /// A kernel module was loaded, or tried.
    ModuleLoad(ModuleLoad),
    /// A BPF program was loaded, or tried.
    BpfLoad(BpfLoad),
    /// A filesystem was mounted, moved or unmounted.
    Mount(Mount),
    /// User, group or capabilities of the process changed by a system call; the actor has the new ones.
    CredentialsChange(CredentialsChange),
    /// A signal was sent to a protected process.
    Signal(Signal),
    /// Somebody logged on, failed to, or became somebody else.
    Logon(Box<Logon>),
}

/// Names of the kinds of [`Event`], for counters and policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ObservationKind {
    Exec,
    Fork,
    Exit,
    Found,
    Connect,
    Accept,
    Listen,
    Close,
    Udp,
    Dns,
    File,
    ImageLoad,
    Ptrace,
    MemoryWrite,
    ModuleLoad,
    BpfLoad,
    Mount,
    CredentialsChange,
    Signal,
    Logon,
}

impl Event {
    /// Its kind.
    pub fn kind(&self) -> ObservationKind {
        match self {
            Event::Exec(_) => ObservationKind::Exec,
            Event::Fork(_) => ObservationKind::Fork,
            Event::Exit(_) => ObservationKind::Exit,
            Event::Found(_) => ObservationKind::Found,
            Event::Connect(_) => ObservationKind::Connect,
            Event::Accept(_) => ObservationKind::Accept,
            Event::Listen(_) => ObservationKind::Listen,
            Event::Close(_) => ObservationKind::Close,
            Event::Udp(_) => ObservationKind::Udp,
            Event::Dns(_) => ObservationKind::Dns,
            Event::File(_) => ObservationKind::File,
            Event::ImageLoad(_) => ObservationKind::ImageLoad,
            Event::Ptrace(_) => ObservationKind::Ptrace,
            Event::MemoryWrite(_) => ObservationKind::MemoryWrite,
            Event::ModuleLoad(_) => ObservationKind::ModuleLoad,
            Event::BpfLoad(_) => ObservationKind::BpfLoad,
            Event::Mount(_) => ObservationKind::Mount,
            Event::CredentialsChange(_) => ObservationKind::CredentialsChange,
            Event::Signal(_) => ObservationKind::Signal,
            Event::Logon(_) => ObservationKind::Logon,
        }
    }
}

/// A program start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exec {
    /// Full path of the image that runs, as its mount namespace shows it: for a script this is the interpreter.
    /// A memory-only file reads `memfd:NAME`; a deleted one still shows its last path.
    pub path: String,
    /// The file that was asked for, as given to `execve`: for a script, the script. May be relative to `cwd`.
    pub filename: String,
    /// Whether a script was started through the interpreter in `path`.
    pub script: bool,
    /// Arguments.
    pub arguments: Arguments,
    /// Working folder.
    pub cwd: String,
    /// Controlling terminal, such as `pts/0` or `tty1`; empty if none.
    pub tty: String,
    /// Variables of interest only (`LD_PRELOAD` and its like, see `ENVIRONMENT_OF_INTEREST`), values cut to 1 KiB.
    pub environment: Vec<(String, String)>,
    /// Whether the environment was longer than what was looked through.
    pub environment_cut: bool,
    /// The image's file.
    pub image: FileIdentity,
    /// The image lives in memory only (`memfd_create`).
    pub memory_only: bool,
    /// The image had been deleted when it was started, or was deleted since without another file in its place
    /// ([`Event::Found`]).
    pub deleted: bool,
}

/// Program arguments as the process got them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    bytes: Vec<u8>,
    /// Whether there was more than what was captured.
    pub cut: bool,
}

impl Arguments {
    /// From the NUL-separated bytes of `/proc/PID/cmdline` or of the kernel's own copy. Cut to
    /// [`ARGUMENTS_BYTES_MAX`].
    pub fn new(mut bytes: Vec<u8>, cut: bool) -> Self {
        let over = bytes.len() > ARGUMENTS_BYTES_MAX;
        bytes.truncate(ARGUMENTS_BYTES_MAX);
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        Self { bytes, cut: cut || over }
    }

    /// Each argument.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let bytes = (!self.bytes.is_empty()).then_some(self.bytes.as_slice());
        bytes.into_iter().flat_map(|b| b.split(|b| *b == 0)).map(String::from_utf8_lossy)
    }

    /// The arguments joined with spaces, not quoted: what rules for command lines are written against.
    pub fn command_line(&self) -> String {
        let joined: Vec<u8> = self.bytes.iter().map(|b| if *b == 0 { b' ' } else { *b }).collect();
        match String::from_utf8(joined) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    /// The bytes, NUL-separated.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What tells one file and one state of it from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct FileIdentity {
    /// Device number in `st_dev`'s encoding.
    pub device: u64,
    /// Inode number. 0 if unknown.
    pub inode: u64,
    /// Mode with file type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names; 0 means deleted.
    pub links: u32,
    /// Size in bytes.
    pub size: u64,
    /// Change time, nanoseconds since 1970.
    pub changed_ns: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: u64,
}

/// A new process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fork {
    /// Its process id.
    pub child_pid: u32,
    /// Its start.
    pub child_start_ns: u64,
    /// Its namespaces' pid (a new pid namespace shows here).
    pub child_pid_namespace: u32,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exit {
    /// Exit code, if it ended by itself.
    pub code: i32,
    /// Signal that ended it, 0 if none.
    pub signal: u32,
    /// Whether it dumped core.
    pub core_dumped: bool,
    /// CPU time in user mode of all its threads, nanoseconds.
    pub user_ns: u64,
    /// CPU time in the kernel.
    pub system_ns: u64,
}

/// Both ends of a connection, seen from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// Transport protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// An outgoing TCP connection, or the try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect {
    /// The ends; the local port is 0 if it failed before one was chosen.
    pub connection: Connection,
    /// 0 if it was made, else the `errno`.
    pub error: i32,
    /// From the call to the answer, nanoseconds.
    pub duration_ns: u64,
}

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub local: SocketAddr,
    /// TCP, or UDP (bound; only from back-fill and fallback).
    pub protocol: Protocol,
    /// Whether it listened before the observer started.
    pub found: bool,
}

/// The end of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// The ends.
    pub connection: Connection,
    /// Whether this machine had accepted it (else it had made it).
    pub accepted: bool,
    /// Bytes acknowledged by the other end.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// How long it lived.
    pub duration_ns: u64,
}

/// A DNS message.
#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// The ends; `remote` is the name server.
    pub connection: Connection,
    /// Whether it is an answer that came in (else a question that went out).
    pub answer: bool,
    /// Message id.
    pub id: u16,
    /// The name asked for, without the last dot, lower case; bytes that are not printable ASCII as `\DDD`.
    pub name: String,
    /// Type of record asked for, such as 1 for A.
    pub record_type: u16,
    /// Response code; 0 is fine, 3 is "no such name".
    pub response_code: u8,
    /// Answers, at most 32.
    pub answers: Vec<DnsAnswer>,
    /// Whether the message was longer than what was captured, or could not be read to its end.
    pub cut: bool,
}

/// One answer record.
#[derive(Debug, Clone, PartialEq)]
pub enum DnsAnswer {
    /// A or AAAA.
    Address(IpAddr),
    /// CNAME, NS, PTR, MX target.
    Name(String),
    /// TXT, cut to 256 bytes.
    Text(String),
    /// Any other type.
    Other(u16),
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileAction {
    /// Made.
    Created,
    /// Closed after its content had changed.
    Modified,
    /// Got a new name; `path` is the new one.
    Renamed,
    /// Name removed.
    Deleted,
    /// Mode changed.
    PermissionChanged,
    /// Owner changed.
    OwnerChanged,
    /// A watched credential file was opened for reading.
    Read,
    /// A folder was made.
    FolderCreated,
    /// A folder was removed.
    FolderDeleted,
    /// A hard link was made; `old_path` is the file.
    Linked,
    /// A symbolic link was made; `old_path` is what it points to.
    SymbolicLinked,
}

/// Something done to a file under policy.
#[derive(Debug, Clone, PartialEq)]
pub struct FileEvent {
    /// What.
    pub action: FileAction,
    /// Full path of the file, after the change.
    pub path: String,
    /// For a rename the old path; for a link what it points to.
    pub old_path: Option<String>,
    /// The file; all zero if unknown (deletes).
    pub file: FileIdentity,
    /// For `PermissionChanged` the mode before, if known.
    pub old_mode: Option<u32>,
    /// 0 if it was done, else the `errno`: refused reads of watched files are reported too.
    pub error: i32,
}

/// A file mapped executable.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageLoad {
    /// Full path.
    pub path: String,
    /// The file.
    pub file: FileIdentity,
    /// It lives in memory only.
    pub memory_only: bool,
    /// It is deleted.
    pub deleted: bool,
}

/// A `ptrace` call that reaches into another process.
#[derive(Debug, Clone, PartialEq)]
pub struct Ptrace {
    /// The `PTRACE_*` number.
    pub request: u32,
    /// The target's process id, in the caller's pid namespace.
    pub target_pid: u32,
    /// 0 if it was done, else the `errno`.
    pub error: i32,
}

/// Memory of another process written.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryWrite {
    /// The target's process id, in the caller's pid namespace.
    pub target_pid: u32,
    /// Bytes written.
    pub bytes: u64,
    /// 0 if it was done, else the `errno`.
    pub error: i32,
}

/// A kernel module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleLoad {
    /// Path of the module file, empty if it was given as memory.
    pub path: String,
    /// Parameters, cut to 256 bytes.
    pub parameters: String,
    /// 0 if it was done, else the `errno`.
    pub error: i32,
}

/// A BPF program.
#[derive(Debug, Clone, PartialEq)]
pub struct BpfLoad {
    /// `enum bpf_prog_type`.
    pub program_type: u32,
    /// Number of instructions.
    pub instructions: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// 0 if it was done, else the `errno`.
    pub error: i32,
}

/// Kinds of change to the tree of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MountAction {
    Mounted,
    Moved,
    Unmounted,
}

/// A mount.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// What was done.
    pub action: MountAction,
    /// What is mounted (device or folder); empty if unknown.
    pub origin: String,
    /// Where.
    pub target: String,
    /// Kind of filesystem; empty if unknown.
    pub filesystem: String,
    /// Flags of the call.
    pub flags: u64,
    /// 0 if it was done, else the `errno`.
    pub error: i32,
}

/// Which call changed the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialsCall {
    /// setuid, setreuid, setresuid, setfsuid.
    User,
    /// setgid, setregid, setresgid, setgroups.
    Group,
    /// capset.
    Capabilities,
}

/// A change of credentials by a system call. What they were before is known to the process table, which has followed
/// the process; the actor of the observation carries the new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialsChange {
    /// Kind of call.
    pub call: CredentialsCall,
}

/// A signal to a protected process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal {
    /// Number.
    pub signal: u32,
    /// Target.
    pub target_pid: u32,
    /// Target's start.
    pub target_start_ns: u64,
    /// Target's name.
    pub target_comm: Comm,
}

/// What became of a log-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogonOutcome {
    /// Let in.
    Success,
    /// Refused.
    Failed,
    /// Ended (session closed).
    Ended,
}

/// Ways to log on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogonKind {
    /// ssh.
    Ssh,
    /// `su`.
    Su,
    /// `sudo`, and its like.
    Sudo,
    /// Console (`login`, display manager).
    Console,
    /// Other service of PAM.
    Other,
}

/// A log-on.
#[derive(Debug, Clone, PartialEq)]
pub struct Logon {
    /// What became of it.
    pub outcome: LogonOutcome,
    /// How.
    pub kind: LogonKind,
    /// Program that says so, such as `sshd`.
    pub program: String,
    /// Its process id, 0 if unknown.
    pub program_pid: u32,
    /// Who was to log on, or whom it was to become. May be a name that does not exist.
    pub account: String,
    /// Who asked, for su and sudo.
    pub by_account: String,
    /// Where from.
    pub remote: Option<IpAddr>,
    /// Where from, as text, where it is no address.
    pub remote_name: String,
    /// Port there.
    pub remote_port: u16,
    /// Method, such as `publickey`, `password`.
    pub method: String,
    /// Why it failed; empty if it did not.
    pub reason: String,
    /// Command, for sudo.
    pub command: String,
    /// Terminal.
    pub tty: String,
    /// Fingerprint of the key, if told.
    pub key_fingerprint: String,
    /// When the log says it was, microseconds since 1970; 0 if it does not.
    pub logged_micros: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_cut_and_marked_and_never_lose_empty_ones() {
        let arguments = Arguments::new(b"sh\0-c\0\0x\0".to_vec(), false);
        assert_eq!(arguments.iter().collect::<Vec<_>>(), ["sh", "-c", "", "x"]);
        assert_eq!(arguments.command_line(), "sh -c  x");
        assert!(!arguments.cut);
        let long = Arguments::new(vec![b'a'; ARGUMENTS_BYTES_MAX + 1], false);
        assert!(long.cut);
        assert_eq!(long.as_bytes().len(), ARGUMENTS_BYTES_MAX);
        assert_eq!(Arguments::default().iter().count(), 0);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_not_refused() {
        assert_eq!(Arguments::new(vec![0xff, b'a'], false).command_line(), "\u{fffd}a");
        assert_eq!(Comm::new(&[0xff; 40]).text().chars().count(), 15);
    }
}
