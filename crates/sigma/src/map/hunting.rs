//! The hunting tables. Rows of `ProcessCreated` hold the created process in their process columns and its parent in the
//! `InitiatingProcess` columns; in all other tables the initiating process is the one that acts.

use super::{Derive, FieldMap, Platform, Route, Target};
use crate::rule::LogSource;
use std::borrow::Cow;

/// Maps Sigma's taxonomy to the hunting tables. Log sources without a table here have no routes.
#[derive(Debug, Clone, Copy, Default)]
pub struct HuntingMap;

const PROCESSES: &str = "DeviceProcessEvents";
const NETWORK: &str = "DeviceNetworkEvents";
const FILES: &str = "DeviceFileEvents";
const LOGONS: &str = "DeviceLogonEvents";
const EVENTS: &str = "DeviceEvents";
const IMAGES: &str = "DeviceImageLoadEvents";
const REGISTRY: &str = "DeviceRegistryEvents";

const CONNECTIONS: &[&str] =
    &["ConnectionSuccess", "ConnectionAttempt", "ConnectionFailed", "InboundConnectionAccepted", "UdpSent"];

/// Category, table, kinds of rows.
const CATEGORIES: &[(&str, &str, &[&str])] = &[
    ("process_creation", PROCESSES, &["ProcessCreated"]),
    ("process_termination", PROCESSES, &["ProcessTerminated"]),
    ("network_connection", NETWORK, CONNECTIONS),
    ("firewall", NETWORK, CONNECTIONS),
    ("dns_query", NETWORK, &["DnsQueryResponse"]),
    ("dns_query", EVENTS, &["DnsQueryResponse"]),
    ("dns", NETWORK, &["DnsQueryResponse"]),
    ("dns", EVENTS, &["DnsQueryResponse"]),
    ("file_event", FILES, &["FileCreated", "FileModified", "FileRenamed"]),
    ("file_change", FILES, &["FileModified", "FilePermissionChanged", "FileOwnerChanged"]),
    ("file_delete", FILES, &["FileDeleted"]),
    ("file_rename", FILES, &["FileRenamed"]),
    ("file_access", FILES, &["FileRead", "FileModified"]),
    ("image_load", IMAGES, &["ImageLoaded"]),
    ("driver_load", EVENTS, &["KernelModuleLoaded", "DriverLoad"]),
    ("process_access", EVENTS, &["PtraceCall", "ProcessMemoryWrite", "OpenProcessApiCall"]),
    ("process_tampering", EVENTS, &["ProcessMemoryWrite", "MemoryFileExecuted"]),
    ("create_remote_thread", EVENTS, &["CreateRemoteThreadApiCall"]),
    ("pipe_created", EVENTS, &["NamedPipeEvent"]),
    ("registry_add", REGISTRY, &["RegistryKeyCreated"]),
    ("registry_set", REGISTRY, &["RegistryValueSet"]),
    ("registry_delete", REGISTRY, &["RegistryKeyDeleted", "RegistryValueDeleted"]),
    ("registry_rename", REGISTRY, &["RegistryKeyRenamed"]),
    (
        "registry_event",
        REGISTRY,
        &["RegistryKeyCreated", "RegistryValueSet", "RegistryKeyDeleted", "RegistryValueDeleted", "RegistryKeyRenamed"],
    ),
];

/// Which record types of auditd a table's rows stand for.
const AUDIT_PROCESS: &[&str] = &["EXECVE", "SYSCALL", "PROCTITLE"];
const AUDIT_FILE: &[&str] = &["PATH", "SYSCALL"];
const AUDIT_EVENT: &[&str] = &["SYSCALL", "KERN_MODULE", "BPF", "ANOM_PTRACE"];
const AUDIT_NETWORK: &[&str] = &["SYSCALL", "SOCKADDR"];

/// Which system calls a kind of row stands for.
const SYSCALLS: &[(&str, &[&str])] = &[
    ("FileCreated", &["open", "openat", "creat", "mknod", "link", "symlink"]),
    ("FileModified", &["open", "openat", "write", "truncate", "ftruncate"]),
    ("FileRenamed", &["rename", "renameat", "renameat2"]),
    ("FileDeleted", &["unlink", "unlinkat", "rmdir"]),
    ("FilePermissionChanged", &["chmod", "fchmod", "fchmodat"]),
    ("FileOwnerChanged", &["chown", "fchown", "fchownat", "lchown"]),
    ("FileRead", &["open", "openat", "read"]),
    ("PtraceCall", &["ptrace"]),
    ("ProcessMemoryWrite", &["process_vm_writev"]),
    ("KernelModuleLoaded", &["init_module", "finit_module"]),
    ("BpfProgramLoaded", &["bpf"]),
    ("MountCreated", &["mount"]),
    ("UserIdChanged", &["setuid", "setreuid", "setresuid"]),
    ("CapabilitiesChanged", &["capset"]),
    ("SignalSent", &["kill", "tkill", "tgkill"]),
    ("MemoryFileExecuted", &["memfd_create", "execveat", "execve"]),
    ("ConnectionSuccess", &["connect"]),
    ("ConnectionAttempt", &["connect"]),
    ("ConnectionFailed", &["connect"]),
    ("InboundConnectionAccepted", &["accept", "accept4"]),
    ("ListeningConnectionCreated", &["listen", "bind"]),
];

/// `Initiated` of Sysmon, from the kind of row.
const INITIATED: &[(&str, &[&str])] = &[
    ("ConnectionSuccess", &["true"]),
    ("ConnectionAttempt", &["true"]),
    ("ConnectionFailed", &["true"]),
    ("UdpSent", &["true"]),
    ("InboundConnectionAccepted", &["false"]),
];

const NAMETYPES: &[(&str, &[&str])] = &[
    ("FileCreated", &["CREATE", "NORMAL"]),
    ("FileModified", &["NORMAL"]),
    ("FileRead", &["NORMAL"]),
    ("FileRenamed", &["CREATE"]),
    ("FileDeleted", &["DELETE"]),
    ("FilePermissionChanged", &["NORMAL"]),
    ("FileOwnerChanged", &["NORMAL"]),
];

const REGISTRY_EVENTS: &[(&str, &[&str])] = &[
    ("RegistryKeyCreated", &["CreateKey"]),
    ("RegistryValueSet", &["SetValue"]),
    ("RegistryKeyDeleted", &["DeleteKey"]),
    ("RegistryValueDeleted", &["DeleteValue"]),
    ("RegistryKeyRenamed", &["RenameKey"]),
];

fn route(table: &'static str, actions: &[&'static str], platform: Option<Platform>) -> Route {
    Route { table: Cow::Borrowed(table), actions: actions.iter().map(|a| Cow::Borrowed(*a)).collect(), platform }
}

impl FieldMap for HuntingMap {
    fn routes(&self, source: &LogSource) -> Vec<Route> {
        let platform = match source.product.as_deref() {
            None => None,
            Some(product) => match Platform::parse(product) {
                Some(platform) => Some(platform),
                None => return Vec::new(),
            },
        };
        // A rule may also be written for a hunting table by name.
        if let Some(name) = source.service.as_deref().or(source.category.as_deref())
            && let Some(table) = garrison_telemetry::tables().iter().find(|t| t.name.eq_ignore_ascii_case(name))
        {
            return vec![route(table.name, &[], platform)];
        }
        match (source.category.as_deref(), source.service.as_deref()) {
            (Some(category), None) => {
                let fits = CATEGORIES.iter().filter(|(name, _, _)| *name == category);
                fits.map(|(_, table, actions)| route(table, actions, platform)).collect()
            }
            (None, Some("auditd")) => vec![
                route(PROCESSES, &["ProcessCreated"], platform),
                route(FILES, &[], platform),
                route(EVENTS, &[], platform),
                route(NETWORK, &[], platform),
            ],
            (None, Some("sshd" | "auth" | "authpriv" | "sudo" | "su" | "pam" | "login" | "secure")) => {
                vec![route(LOGONS, &[], platform)]
            }
            (None, None) if platform == Some(Platform::Linux) => vec![route(PROCESSES, &["ProcessCreated"], platform)],
            _ => Vec::new(),
        }
    }

    fn field(&self, source: &LogSource, route: &Route, field: &str) -> Vec<Target> {
        let table = route.table.as_ref();
        if source.service.as_deref() == Some("auditd") {
            let found = audit(table, field);
            if !found.is_empty() {
                return found;
            }
        }
        let found = if table == PROCESSES { process(field) } else { acting(table, field) };
        if !found.is_empty() {
            return found;
        }
        // The columns themselves, and members of AdditionalFields, may be named directly.
        if let Some(key) = field.strip_prefix("AdditionalFields.") {
            return vec![Target::Column(Cow::Borrowed("AdditionalFields"), Derive::Json(Cow::Owned(key.to_owned())))];
        }
        match garrison_telemetry::table(table).and_then(|t| t.column(field)) {
            Some(column) => vec![Target::column(column.name)],
            None => Vec::new(),
        }
    }

    fn keywords(&self, _: &LogSource, route: &Route) -> Vec<Target> {
        let columns: &[&'static str] = match route.table.as_ref() {
            PROCESSES => &["ProcessCommandLine"],
            LOGONS => &["FailureReason", "AccountName", "Protocol", "AdditionalFields"],
            NETWORK => &["RemoteUrl", "RemoteIP", "AdditionalFields"],
            FILES => &["FolderPath"],
            EVENTS => &["ProcessCommandLine", "FolderPath", "AdditionalFields"],
            IMAGES => &["FolderPath"],
            _ => &[],
        };
        columns.iter().map(|name| Target::column(*name)).collect()
    }
}

fn one(column: &'static str) -> Vec<Target> {
    vec![Target::column(column)]
}

fn any(columns: &[&'static str]) -> Vec<Target> {
    columns.iter().map(|c| Target::column(*c)).collect()
}

fn json(key: &'static str) -> Vec<Target> {
    vec![Target::Column(Cow::Borrowed("AdditionalFields"), Derive::Json(Cow::Borrowed(key)))]
}

fn words(column: &'static str, table: &'static [(&'static str, &'static [&'static str])]) -> Vec<Target> {
    vec![Target::Column(Cow::Borrowed(column), Derive::Words(table))]
}

fn hashes(prefixes: [(&'static str, &'static str); 3]) -> Vec<Target> {
    prefixes
        .into_iter()
        .map(|(column, prefix)| Target::Column(Cow::Borrowed(column), Derive::Prefixed(prefix)))
        .collect()
}

/// Only the parent's name is in most tables: it is compared as a path's last part.
fn parent_name() -> Vec<Target> {
    ["/", "\\"]
        .into_iter()
        .map(|slash| Target::Column(Cow::Borrowed("InitiatingProcessParentFileName"), Derive::Prefixed(slash)))
        .collect()
}

/// Fields of process creation.
fn process(field: &str) -> Vec<Target> {
    match field {
        "Image" | "NewProcessName" | "ProcessPath" | "exe" => one("FolderPath"),
        "CommandLine" | "ProcessCommandLine" | "cmdline" => one("ProcessCommandLine"),
        "ParentImage" | "ParentProcessName" => one("InitiatingProcessFolderPath"),
        "ParentCommandLine" => one("InitiatingProcessCommandLine"),
        "GrandParentImage" => parent_name(),
        "User" | "TargetUserName" => any(&["AccountName", "AccountDomain"]),
        "ParentUser" | "SubjectUserName" => any(&["InitiatingProcessAccountName", "InitiatingProcessAccountDomain"]),
        "UserId" | "uid" => one("AccountSid"),
        "LogonId" => one("LogonId"),
        "CurrentDirectory" | "cwd" => json("Cwd"),
        "IntegrityLevel" => one("ProcessIntegrityLevel"),
        "ParentIntegrityLevel" => one("InitiatingProcessIntegrityLevel"),
        "OriginalFileName" => one("ProcessVersionInfoOriginalFileName"),
        "Product" => one("ProcessVersionInfoProductName"),
        "Company" => one("ProcessVersionInfoCompanyName"),
        "Description" => one("ProcessVersionInfoFileDescription"),
        "FileVersion" => one("ProcessVersionInfoProductVersion"),
        "ParentOriginalFileName" => one("InitiatingProcessVersionInfoOriginalFileName"),
        "Hashes" | "Hash" => hashes([("MD5", "MD5="), ("SHA1", "SHA1="), ("SHA256", "SHA256=")]),
        "md5" => one("MD5"),
        "sha1" => one("SHA1"),
        "sha256" => one("SHA256"),
        "ProcessId" | "pid" => one("ProcessId"),
        "ParentProcessId" | "ppid" => one("InitiatingProcessId"),
        "ProcessGuid" => one("ProcessUniqueId"),
        "Computer" | "ComputerName" | "Hostname" | "host" => one("DeviceName"),
        "tty" | "TerminalSessionId" => json("Tty"),
        _ => Vec::new(),
    }
}

/// Fields of the tables in which the initiating process acts on something.
fn acting(table: &str, field: &str) -> Vec<Target> {
    let own = match (table, field) {
        (FILES, "TargetFilename" | "FileName" | "Filename" | "name" | "ObjectName") => one("FolderPath"),
        (FILES, "SourceFilename") => one("PreviousFolderPath"),
        (NETWORK, "DestinationIp" | "dst_ip" | "DestAddress" | "destination.ip") => one("RemoteIP"),
        (NETWORK, "DestinationPort" | "dst_port" | "DestPort" | "destination.port") => one("RemotePort"),
        (NETWORK, "DestinationHostname" | "dst_host") => one("RemoteUrl"),
        (NETWORK, "SourceIp" | "src_ip" | "SourceAddress" | "source.ip") => one("LocalIP"),
        (NETWORK, "SourcePort" | "src_port" | "source.port") => one("LocalPort"),
        (NETWORK, "SourceHostname") => one("DeviceName"),
        (NETWORK, "Initiated") => words("ActionType", INITIATED),
        (NETWORK, "Protocol" | "proto") => one("Protocol"),
        (NETWORK | EVENTS, "QueryName" | "query" | "dns.question.name") => json("DnsQuery"),
        (NETWORK | EVENTS, "QueryResults" | "answer" | "answers") => json("DnsAnswers"),
        (NETWORK | EVENTS, "record_type" | "QueryType") => json("DnsType"),
        (IMAGES | EVENTS, "ImageLoaded") => one("FolderPath"),
        (EVENTS, "TargetImage") => one("FolderPath"),
        (EVENTS, "TargetProcessId") => one("ProcessId"),
        (EVENTS, "PipeName") => json("PipeName"),
        (EVENTS, "SourceImage") => one("InitiatingProcessFolderPath"),
        (EVENTS, "SourceCommandLine") => one("InitiatingProcessCommandLine"),
        (EVENTS, "SourceUser") => one("InitiatingProcessAccountName"),
        (LOGONS, "User" | "user" | "TargetUserName" | "acct" | "AccountName") => one("AccountName"),
        (LOGONS, "src_ip" | "SourceIp" | "IpAddress" | "addr" | "rhost") => one("RemoteIP"),
        (LOGONS, "LogonType") => one("LogonType"),
        (LOGONS, "WorkstationName") => one("RemoteDeviceName"),
        (REGISTRY, "TargetObject") => one("RegistryKey"),
        (REGISTRY, "Details") => one("RegistryValueData"),
        (REGISTRY, "EventType") => words("ActionType", REGISTRY_EVENTS),
        (FILES | IMAGES | EVENTS, "Hashes" | "Hash") => {
            hashes([("MD5", "MD5="), ("SHA1", "SHA1="), ("SHA256", "SHA256=")])
        }
        _ => Vec::new(),
    };
    if !own.is_empty() {
        return own;
    }
    match field {
        "Image" | "ProcessName" | "exe" => one("InitiatingProcessFolderPath"),
        "CommandLine" => one("InitiatingProcessCommandLine"),
        "ParentImage" => parent_name(),
        "User" => any(&["InitiatingProcessAccountName", "InitiatingProcessAccountDomain"]),
        "UserId" | "uid" => one("InitiatingProcessAccountSid"),
        "ProcessId" | "pid" => one("InitiatingProcessId"),
        "ProcessGuid" => one("InitiatingProcessUniqueId"),
        "IntegrityLevel" => one("InitiatingProcessIntegrityLevel"),
        "OriginalFileName" => one("InitiatingProcessVersionInfoOriginalFileName"),
        "Product" => one("InitiatingProcessVersionInfoProductName"),
        "Company" => one("InitiatingProcessVersionInfoCompanyName"),
        "Description" => one("InitiatingProcessVersionInfoFileDescription"),
        "Computer" | "ComputerName" | "Hostname" | "host" => one("DeviceName"),
        _ => Vec::new(),
    }
}

/// Fields of audit records.
fn audit(table: &str, field: &str) -> Vec<Target> {
    let argument = field.strip_prefix('a').and_then(|n| n.parse::<u8>().ok()).filter(|n| *n < 64);
    match (table, field) {
        (PROCESSES, "type") => vec![Target::Constant(AUDIT_PROCESS)],
        (FILES, "type") => vec![Target::Constant(AUDIT_FILE)],
        (EVENTS, "type") => vec![Target::Constant(AUDIT_EVENT)],
        (NETWORK, "type") => vec![Target::Constant(AUDIT_NETWORK)],
        (PROCESSES, "SYSCALL" | "syscall") => vec![Target::Constant(&["execve", "59", "execveat", "322"])],
        (_, "SYSCALL" | "syscall") => words("ActionType", SYSCALLS),
        (PROCESSES, _) if argument.is_some() => {
            vec![Target::Column(Cow::Borrowed("ProcessCommandLine"), Derive::Argument(argument.unwrap_or_default()))]
        }
        (PROCESSES, "proctitle") => one("ProcessCommandLine"),
        (PROCESSES, "comm") => one("FileName"),
        (PROCESSES, "exe") => one("FolderPath"),
        (PROCESSES, "auid" | "uid" | "euid") => one("AccountSid"),
        (FILES, "name") => one("FolderPath"),
        (FILES, "nametype") => words("ActionType", NAMETYPES),
        (_, "comm") => one("InitiatingProcessFileName"),
        (_, "exe") => one("InitiatingProcessFolderPath"),
        (_, "auid" | "uid" | "euid") => one("InitiatingProcessAccountSid"),
        (NETWORK, "saddr" | "laddr") => one("RemoteIP"),
        (NETWORK, "lport") => one("RemotePort"),
        _ => Vec::new(),
    }
}
