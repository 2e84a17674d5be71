//! One row of the right hunting table for each kind of observation.

use super::hash::HashKey;
use super::process::{Image, Process};
use super::{Enricher, Initiator, address, ip_text};
use crate::observe::{
    Connection, CredentialsCall, DnsAnswer, Event, Exec, Exit, FileAction, FileEvent, ImageLoad, Logon, LogonKind,
    LogonOutcome, MountAction, Observation, Protocol,
};
use address::Text;
use garrison_telemetry::rows;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn name_of(path: &str) -> Option<&str> {
    some(path.rsplit('/').next().unwrap_or(path))
}

/// Fills in the columns that nearly every table has of the process that did it.
macro_rules! initiating {
    ($row:expr, $who:expr, $domain:expr) => {{
        let process: &Process = &$who.process;
        let known = process.key.pid != 0;
        $row.initiating_process_id = known.then_some(i64::from(process.key.pid));
        $row.initiating_process_unique_id = (known && process.key.start_ns != 0).then_some(&*process.unique_id);
        $row.initiating_process_file_name = some(&process.image.file_name);
        $row.initiating_process_folder_path = some(&process.image.path);
        $row.initiating_process_file_size = process.image.size;
        $row.initiating_process_command_line = some(&process.image.command_line);
        $row.initiating_process_creation_time = process.started;
        $row.initiating_process_sha256 = $who.hashes.as_ref().map(|h| &*h.sha256);
        $row.initiating_process_sha1 = $who.hashes.as_ref().map(|h| &*h.sha1);
        $row.initiating_process_md5 = $who.hashes.as_ref().map(|h| &*h.md5);
        $row.initiating_process_account_name = known.then(|| process.account.name.as_deref()).flatten();
        $row.initiating_process_account_sid = known.then_some(&*process.account.sid);
        $row.initiating_process_account_domain = known.then_some($domain);
        $row.initiating_process_parent_id = (process.parent.pid != 0).then_some(i64::from(process.parent.pid));
        $row.initiating_process_parent_file_name = process.parent.file_name.as_ref().and_then(|i| some(&i.file_name));
        $row.initiating_process_parent_creation_time = process.parent.started;
        $row.initiating_process_session_id = process.session.map(i64::from);
    }};
}

/// Names of the capabilities, by bit.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn capabilities(bits: u64) -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().enumerate().filter(move |(i, _)| bits & (1 << i) != 0).map(|(_, name)| *name)
}

/// Puts what a process's surroundings say into the fields of its row.
fn container_fields(fields: &mut super::Fields, who: &Initiator) {
    if let Some(cgroup) = &who.cgroup {
        fields.text("ContainerId", cgroup.container_id.as_deref().unwrap_or_default());
        fields.text("ContainerName", cgroup.container_name.as_deref().unwrap_or_default());
    }
}

impl Enricher {
    pub(super) fn process_row(
        &mut self,
        seen: &Observation,
        exec: &Exec,
        action: &str,
        who: Initiator,
        replaced: Option<&Image>,
    ) {
        let process = &who.process;
        let credentials = process.credentials;
        let parent = match process.parent.key.and_then(|k| self.processes.peek(&k).cloned()) {
            Some(parent) => parent,
            None => self.stub(process),
        };
        let parent = Initiator { hashes: self.hashes_of(&parent), process: parent, cgroup: None };
        let time = self.time(seen.time_ns);
        let fields = self.fields.clear();
        fields.text("Cwd", &exec.cwd).text("Tty", &exec.tty);
        container_fields(fields, &who);
        if let Some(cgroup) = &who.cgroup {
            fields.text("CgroupPath", &cgroup.path);
        }
        let (own, theirs) = (self.own_namespaces, seen.actor.namespaces);
        let differs = |a: u32, b: u32| a != 0 && b != 0 && a != b;
        let differing = [
            ("Pid", own.pid, theirs.pid),
            ("Mount", own.mnt, theirs.mnt),
            ("Network", own.net, theirs.net),
            ("User", own.user, theirs.user),
        ];
        let numbers: Vec<(&str, Text)> = differing
            .iter()
            .filter(|(_, a, b)| differs(*a, *b))
            .map(|(name, _, theirs)| (*name, Text::of(theirs)))
            .collect();
        fields.object("Namespaces", numbers.iter().map(|(name, text)| (*name, text.as_str())));
        if credentials.euid != credentials.uid {
            fields.number("EffectiveUid", credentials.euid);
        }
        if credentials.euid != 0 {
            fields.list("Capabilities", capabilities(credentials.capabilities));
        }
        if exec.script {
            fields.text("ScriptPath", &exec.filename);
        }
        if let Some(replaced) = replaced {
            fields.text("ReplacedFileName", &replaced.file_name);
        }
        fields.object("Environment", exec.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        fields.flag("MemFd", exec.memory_only).flag("Deleted", exec.deleted);
        if exec.arguments.cut {
            fields.list("Truncated", ["ProcessCommandLine"]);
        }
        let mut row = rows::DeviceProcessEvents {
            timestamp: Some(time),
            action_type: Some(action),
            file_name: some(&process.image.file_name),
            folder_path: some(&process.image.path),
            file_size: process.image.size,
            sha256: who.hashes.as_ref().map(|h| &*h.sha256),
            sha1: who.hashes.as_ref().map(|h| &*h.sha1),
            md5: who.hashes.as_ref().map(|h| &*h.md5),
            process_id: Some(i64::from(process.key.pid)),
            process_unique_id: Some(&process.unique_id),
            process_command_line: some(&process.image.command_line),
            process_creation_time: process.started,
            account_name: process.account.name.as_deref(),
            account_sid: Some(&process.account.sid),
            account_domain: some(&self.domain),
            logon_id: process.session.map(i64::from),
            created_process_session_id: process.session.map(i64::from),
            initiating_process_logon_id: parent.process.session.map(i64::from),
            additional_fields: fields.finish(),
            ..rows::DeviceProcessEvents::default()
        };
        initiating!(row, parent, self.domain.as_str());
        self.tables.process.append(&row);
        self.exec_events(seen, exec, &who);
    }

    /// What else a program start may be: an event of its own that rules and people look for.
    fn exec_events(&mut self, seen: &Observation, exec: &Exec, who: &Initiator) {
        let kinds = [
            (exec.memory_only, "MemoryFileExecuted"),
            (exec.deleted && !exec.memory_only, "DeletedFileExecuted"),
            (!exec.environment.is_empty(), "PreloadEnvironment"),
        ];
        for (_, action) in kinds.into_iter().filter(|k| k.0) {
            let time = self.time(seen.time_ns);
            let fields = self.fields.clear();
            container_fields(fields, who);
            fields.flag("MemFd", exec.memory_only).flag("Deleted", exec.deleted);
            fields.object("Environment", exec.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            let process = &who.process;
            let mut row = rows::DeviceEvents {
                timestamp: Some(time),
                action_type: Some(action),
                file_name: some(&process.image.file_name),
                folder_path: some(&process.image.path),
                file_size: process.image.size,
                sha256: who.hashes.as_ref().map(|h| &*h.sha256),
                sha1: who.hashes.as_ref().map(|h| &*h.sha1),
                md5: who.hashes.as_ref().map(|h| &*h.md5),
                process_id: Some(i64::from(process.key.pid)),
                process_command_line: some(&process.image.command_line),
                process_creation_time: process.started,
                account_name: process.account.name.as_deref(),
                account_sid: Some(&process.account.sid),
                additional_fields: fields.finish(),
                ..rows::DeviceEvents::default()
            };
            initiating!(row, who, self.domain.as_str());
            self.tables.events.append(&row);
        }
    }

    /// A parent of which only what the child remembers is known.
    fn stub(&self, child: &Process) -> Process {
        let parent = &child.parent;
        let key = parent.key.unwrap_or(garrison_model::ProcessKey { boot: 0, start_ns: 0, pid: parent.pid });
        let empty = Image::default();
        Process {
            key,
            unique_id: key.to_string().into(),
            started: parent.started,
            image: parent.file_name.clone().unwrap_or_else(|| Arc::new(empty)),
            hashes: None,
            parent: super::Parent::default(),
            credentials: child.credentials,
            account: Arc::new(super::account::Account { sid: "".into(), name: None }),
            session: None,
            executed: false,
        }
    }

    pub(super) fn exit_row(&mut self, seen: &Observation, exit: &Exit, who: &Initiator) {
        let process = &who.process;
        let parent = match process.parent.key.and_then(|k| self.processes.peek(&k).cloned()) {
            Some(parent) => parent,
            None => self.stub(process),
        };
        let parent = Initiator { hashes: self.hashes_of(&parent), process: parent, cgroup: None };
        let time = self.time(seen.time_ns);
        let fields = self.fields.clear();
        container_fields(fields, who);
        if exit.signal == 0 {
            fields.number("ExitCode", exit.code);
        } else {
            fields.number("Signal", exit.signal).flag("CoreDumped", exit.core_dumped);
        }
        if process.key.start_ns != 0 {
            fields.number("DurationMs", seen.time_ns.saturating_sub(process.key.start_ns) / 1_000_000);
        }
        fields.number("CpuMs", (exit.user_ns + exit.system_ns) / 1_000_000);
        let mut row = rows::DeviceProcessEvents {
            timestamp: Some(time),
            action_type: Some("ProcessTerminated"),
            file_name: some(&process.image.file_name),
            folder_path: some(&process.image.path),
            file_size: process.image.size,
            sha256: who.hashes.as_ref().map(|h| &*h.sha256),
            process_id: Some(i64::from(process.key.pid)),
            process_unique_id: Some(&process.unique_id),
            process_command_line: some(&process.image.command_line),
            process_creation_time: process.started,
            account_name: process.account.name.as_deref(),
            account_sid: Some(&process.account.sid),
            account_domain: some(&self.domain),
            additional_fields: fields.finish(),
            ..rows::DeviceProcessEvents::default()
        };
        initiating!(row, parent, self.domain.as_str());
        self.tables.process.append(&row);
    }

    pub(super) fn file(&mut self, seen: &Observation, file: &FileEvent, who: &Initiator, now: Duration) {
        let (action, kind) = match file.action {
            FileAction::Created => ("FileCreated", ""),
            FileAction::Modified => ("FileModified", ""),
            FileAction::Renamed => ("FileRenamed", ""),
            FileAction::Deleted => ("FileDeleted", ""),
            FileAction::PermissionChanged => ("FilePermissionChanged", ""),
            FileAction::OwnerChanged => ("FileOwnerChanged", ""),
            FileAction::Read => ("FileRead", ""),
            FileAction::FolderCreated => ("FileCreated", "Folder"),
            FileAction::FolderDeleted => ("FileDeleted", "Folder"),
            FileAction::Linked => ("FileCreated", "HardLink"),
            FileAction::SymbolicLinked => ("FileCreated", "SymbolicLink"),
        };
        let renamed = file.action == FileAction::Renamed;
        // Programs and scripts are hashed when they appear; other files would cost more than they tell.
        let hashed = matches!(
            file.action,
            FileAction::Created | FileAction::Modified | FileAction::Renamed | FileAction::PermissionChanged
        ) && file.file.mode & 0o111 != 0;
        let hashes = match HashKey::of(&file.file) {
            Some(key) if hashed => {
                let inside = PathBuf::from(format!("/proc/{}/root{}", seen.actor.pid, file.path));
                self.hasher.get(key, [Some(PathBuf::from(&file.path)), Some(inside)], now)
            }
            Some(key) => self.hasher.known(key),
            None => None,
        };
        let time = self.time(seen.time_ns);
        let fields = self.fields.clear();
        container_fields(fields, who);
        fields.text("FileType", kind);
        if !renamed {
            fields.text("LinkTarget", file.old_path.as_deref().unwrap_or_default());
        }
        if file.file.mode != 0 {
            fields.text("Mode", Text::of(format_args!("{:04o}", file.file.mode & 0o7777)).as_str());
        }
        if let Some(old) = file.old_mode {
            fields.text("OldMode", Text::of(format_args!("{:04o}", old & 0o7777)).as_str());
        }
        if file.action == FileAction::OwnerChanged {
            fields.number("OwnerUid", file.file.uid).number("OwnerGid", file.file.gid);
        }
        if file.error != 0 {
            fields.number("Error", file.error);
        }
        let known = file.file.inode != 0;
        let mut row = rows::DeviceFileEvents {
            timestamp: Some(time),
            action_type: Some(action),
            file_name: name_of(&file.path),
            folder_path: some(&file.path),
            previous_folder_path: file.old_path.as_deref().filter(|_| renamed),
            previous_file_name: file.old_path.as_deref().filter(|_| renamed).and_then(name_of),
            file_size: known.then(|| i64::try_from(file.file.size).unwrap_or(i64::MAX)),
            sha256: hashes.as_ref().map(|h| &*h.sha256),
            sha1: hashes.as_ref().map(|h| &*h.sha1),
            md5: hashes.as_ref().map(|h| &*h.md5),
            logon_id: who.process.session.map(i64::from),
            additional_fields: fields.finish(),
            ..rows::DeviceFileEvents::default()
        };
        initiating!(row, who, self.domain.as_str());
        self.tables.file.append(&row);
    }

    pub(super) fn image_load(&mut self, seen: &Observation, load: &ImageLoad, who: &Initiator, now: Duration) {
        let time = self.time(seen.time_ns);
        let hashes = HashKey::of(&load.file).and_then(|key| {
            let inside = PathBuf::from(format!("/proc/{}/root{}", seen.actor.pid, load.path));
            self.hasher.get(key, [Some(PathBuf::from(&load.path)), Some(inside)], now)
        });
        let mut row = rows::DeviceImageLoadEvents {
            timestamp: Some(time),
            action_type: Some("ImageLoaded"),
            file_name: name_of(&load.path),
            folder_path: some(&load.path),
            file_size: (load.file.inode != 0).then(|| i64::try_from(load.file.size).unwrap_or(i64::MAX)),
            sha256: hashes.as_ref().map(|h| &*h.sha256),
            sha1: hashes.as_ref().map(|h| &*h.sha1),
            md5: hashes.as_ref().map(|h| &*h.md5),
            ..rows::DeviceImageLoadEvents::default()
        };
        initiating!(row, who, self.domain.as_str());
        self.tables.image.append(&row);
    }

    pub(super) fn network(&mut self, seen: &Observation, who: &Initiator) {
        let unspecified = |a: SocketAddr| SocketAddr::new(if a.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
        let listening = |local| Connection { local, remote: unspecified(local) };
        let (action, connection, protocol) = match &seen.event {
            Event::Connect(c) if c.error == 0 => ("ConnectionSuccess", c.connection, "Tcp"),
            Event::Connect(c) if c.error == libc::EINPROGRESS => ("ConnectionAttempt", c.connection, "Tcp"),
            Event::Connect(c) => ("ConnectionFailed", c.connection, "Tcp"),
            Event::Accept(c) => ("InboundConnectionAccepted", *c, "Tcp"),
            Event::Listen(l) => {
                let protocol = if l.protocol == Protocol::Tcp { "Tcp" } else { "Udp" };
                ("ListeningConnectionCreated", listening(l.local), protocol)
            }
            Event::Close(c) => ("ConnectionClosed", c.connection, "Tcp"),
            Event::Udp(c) => ("UdpSent", *c, "Udp"),
            Event::Dns(d) if d.answer => ("DnsQueryResponse", d.connection, "Udp"),
            // The question without an answer tells nothing that its flow (`UdpSent`) does not.
            _ => return,
        };
        let time = self.time(seen.time_ns);
        let fields = self.fields.clear();
        container_fields(fields, who);
        match &seen.event {
            Event::Connect(c) => {
                fields.number("DurationMs", c.duration_ns / 1_000_000);
                if c.error != 0 && c.error != libc::EINPROGRESS {
                    fields.number("Error", c.error);
                }
            }
            Event::Listen(l) => {
                fields.flag("Found", l.found);
            }
            Event::Close(c) => {
                fields.number("BytesSent", c.bytes_sent).number("BytesReceived", c.bytes_received);
                fields.number("DurationMs", c.duration_ns / 1_000_000);
                fields.text("Direction", if c.accepted { "In" } else { "Out" });
            }
            Event::Dns(d) => {
                let answers: Vec<String> = d.answers.iter().map(answer_text).collect();
                fields.text("DnsQuery", &d.name).text("DnsType", dns_type(d.record_type).as_str());
                fields.list("DnsAnswers", answers.iter().map(String::as_str));
                fields.number("DnsResponseCode", d.response_code);
                if d.cut {
                    fields.list("Truncated", ["DnsAnswers"]);
                }
                for answer in &d.answers {
                    if let DnsAnswer::Address(ip) = answer {
                        self.names.put(*ip, d.name.as_str().into());
                    }
                }
            }
            _ => {}
        }
        let (local, remote) = (connection.local, connection.remote);
        let (local_ip, remote_ip) = (ip_text(local.ip()), ip_text(remote.ip()));
        let has_remote = !remote.ip().is_unspecified() || remote.port() != 0;
        let is_dns = matches!(seen.event, Event::Dns(_));
        let name = if is_dns { None } else { self.names.get(&address::plain(remote.ip())).cloned() };
        let mut row = rows::DeviceNetworkEvents {
            timestamp: Some(time),
            action_type: Some(action),
            protocol: Some(protocol),
            local_ip: Some(local_ip.as_str()),
            local_port: (local.port() != 0).then_some(i32::from(local.port())),
            local_ip_type: Some(address::kind(address::plain(local.ip()))),
            remote_ip: has_remote.then_some(remote_ip.as_str()),
            remote_port: has_remote.then_some(i32::from(remote.port())),
            remote_ip_type: has_remote.then(|| address::kind(address::plain(remote.ip()))),
            remote_url: name.as_deref(),
            logon_id: who.process.session.map(i64::from),
            additional_fields: fields.finish(),
            ..rows::DeviceNetworkEvents::default()
        };
        initiating!(row, who, self.domain.as_str());
        self.tables.network.append(&row);
    }

    pub(super) fn other(&mut self, seen: &Observation, who: &Initiator) {
        let before = who.process.credentials;
        let time = self.time(seen.time_ns);
        let fields = self.fields.clear();
        container_fields(fields, who);
        let mut target_pid = 0;
        let mut path = "";
        let action = match &seen.event {
            Event::Ptrace(p) => {
                target_pid = p.target_pid;
                fields.text("Request", ptrace_request(p.request).as_str());
                error(fields, p.error);
                "PtraceCall"
            }
            Event::MemoryWrite(w) => {
                target_pid = w.target_pid;
                fields.number("Bytes", w.bytes);
                error(fields, w.error);
                "ProcessMemoryWrite"
            }
            Event::ModuleLoad(m) => {
                path = &m.path;
                fields.text("Parameters", &m.parameters).flag("FromMemory", m.path.is_empty());
                error(fields, m.error);
                "KernelModuleLoaded"
            }
            Event::BpfLoad(b) => {
                fields.number("ProgramType", b.program_type).number("Instructions", b.instructions);
                fields.text("ProgramName", &b.name);
                error(fields, b.error);
                "BpfProgramLoaded"
            }
            Event::Mount(m) => {
                path = &m.target;
                let action = match m.action {
                    MountAction::Mounted => "Mounted",
                    MountAction::Moved => "Moved",
                    MountAction::Unmounted => "Unmounted",
                };
                fields.text("MountAction", action).text("Origin", &m.origin).text("FileSystem", &m.filesystem);
                fields.text("Flags", Text::of(format_args!("0x{:x}", m.flags)).as_str());
                error(fields, m.error);
                "MountCreated"
            }
            Event::CredentialsChange(c) => {
                fields.number("EffectiveUid", before.euid).number("EffectiveGid", before.egid);
                match c.call {
                    CredentialsCall::User => "UserIdChanged",
                    CredentialsCall::Group => {
                        fields.flag("Group", true);
                        "UserIdChanged"
                    }
                    CredentialsCall::Capabilities => {
                        fields.list("Capabilities", capabilities(before.capabilities));
                        "CapabilitiesChanged"
                    }
                }
            }
            Event::Signal(s) => {
                target_pid = s.target_pid;
                fields.number("Signal", s.signal);
                if self.processes.by_pid(s.target_pid).is_none() {
                    fields.text("TargetFileName", &s.target_comm.text());
                }
                "SignalSent"
            }
            _ => return,
        };
        let target = (target_pid != 0).then(|| self.processes.by_pid(target_pid).cloned()).flatten();
        if target_pid != 0 {
            fields.number("TargetProcessId", target_pid);
        }
        if let Some(target) = &target {
            fields.text("TargetFileName", &target.image.file_name).text("TargetFolderPath", &target.image.path);
            fields
                .text("TargetCommandLine", &target.image.command_line)
                .text("TargetProcessUniqueId", &target.unique_id);
            fields.text("TargetAccountName", target.account.name.as_deref().unwrap_or_default());
        }
        let mut row = rows::DeviceEvents {
            timestamp: Some(time),
            action_type: Some(action),
            file_name: name_of(path),
            folder_path: some(path),
            logon_id: who.process.session.map(i64::from),
            initiating_process_logon_id: who.process.session.map(i64::from),
            additional_fields: fields.finish(),
            ..rows::DeviceEvents::default()
        };
        initiating!(row, who, self.domain.as_str());
        self.tables.events.append(&row);
    }

    pub(super) fn logon(&mut self, seen: &Observation, logon: &Logon, now: Duration) {
        let action = match logon.outcome {
            LogonOutcome::Success => "LogonSuccess",
            LogonOutcome::Failed => "LogonFailed",
            LogonOutcome::Ended => return,
        };
        let process = match self.processes.by_pid(logon.program_pid) {
            Some(p) if logon.program_pid != 0 => p.clone(),
            _ => self.resolve(&seen.actor, now),
        };
        let hashes = self.hashes_of(&process);
        let cgroup = self.cgroups.of(seen.actor.cgroup_id, seen.actor.pid, now);
        let who = Initiator { process, hashes, cgroup };
        let uid = self.accounts.uid_of(&logon.account, now);
        let (kind, protocol) = match logon.kind {
            LogonKind::Ssh => ("RemoteInteractive", "ssh"),
            LogonKind::Su => ("Interactive", "su"),
            LogonKind::Sudo => ("Interactive", "sudo"),
            LogonKind::Console => ("Interactive", "console"),
            LogonKind::Other => ("Unknown", "pam"),
        };
        let time = self.time(seen.time_ns);
        let fields = self.fields.clear();
        container_fields(fields, &who);
        fields.text("Program", &logon.program).text("ByAccountName", &logon.by_account).text("Method", &logon.method);
        fields.text("Command", &logon.command).text("Tty", &logon.tty).text("KeyFingerprint", &logon.key_fingerprint);
        let sid = uid.map(Text::of);
        let ip = logon.remote.map(ip_text);
        let logged = (logon.logged_micros > 0).then_some(garrison_model::Micros(logon.logged_micros));
        let mut row = rows::DeviceLogonEvents {
            timestamp: Some(logged.unwrap_or(time)),
            action_type: Some(action),
            logon_type: Some(kind),
            protocol: Some(protocol),
            account_name: some(&logon.account),
            account_sid: sid.as_ref().map(Text::as_str),
            account_domain: some(&self.domain),
            failure_reason: some(&logon.reason),
            is_local_admin: uid.map(|u| u == 0),
            logon_id: seen.actor.session.map(i64::from),
            remote_ip: ip.as_ref().map(Text::as_str),
            remote_ip_type: logon.remote.map(|ip| address::kind(address::plain(ip))),
            remote_port: (logon.remote_port != 0).then_some(i32::from(logon.remote_port)),
            remote_device_name: some(&logon.remote_name),
            additional_fields: fields.finish(),
            ..rows::DeviceLogonEvents::default()
        };
        initiating!(row, who, self.domain.as_str());
        self.tables.logon.append(&row);
    }
}

fn error(fields: &mut super::Fields, errno: i32) {
    if errno != 0 {
        fields.number("Error", errno);
    }
}

fn answer_text(answer: &DnsAnswer) -> String {
    match answer {
        DnsAnswer::Address(ip) => ip.to_string(),
        DnsAnswer::Name(text) | DnsAnswer::Text(text) => text.clone(),
        DnsAnswer::Other(kind) => dns_type(*kind).as_str().to_owned(),
    }
}

/// Name of a DNS record type (IANA's registry), `TYPE123` for the rest (RFC 3597).
fn dns_type(number: u16) -> Text {
    let name = match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        255 => "ANY",
        257 => "CAA",
        _ => return Text::of(format_args!("TYPE{number}")),
    };
    Text::of(name)
}

/// Name of a ptrace request, from `ptrace(2)`.
fn ptrace_request(number: u32) -> Text {
    let name = match number {
        4 => "PTRACE_POKETEXT",
        5 => "PTRACE_POKEDATA",
        6 => "PTRACE_POKEUSER",
        13 => "PTRACE_SETREGS",
        15 => "PTRACE_SETFPREGS",
        16 => "PTRACE_ATTACH",
        0x4205 => "PTRACE_SETREGSET",
        0x4206 => "PTRACE_SEIZE",
        _ => return Text::of(format_args!("{number}")),
    };
    Text::of(name)
}
