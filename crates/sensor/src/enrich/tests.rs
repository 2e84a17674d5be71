use super::*;
use crate::observe::{
    Arguments, Close, Connect, Connection, Credentials, Dns, DnsAnswer, Exit, FileEvent, FileIdentity, Fork, Logon,
    LogonKind, LogonOutcome, Source,
};
use garrison_telemetry::row_to_json;
use serde_json::{Map, Value, json};

const BOOT: &str = "0f1e2d3c-0000-4000-8000-0123456789ab";

fn enricher() -> Enricher {
    let limits = HashLimits { bytes_per_second: 1 << 30, file_bytes_max: 1 << 30 };
    Enricher::new(&BootId::new(BOOT).unwrap(), "web1", limits, true).unwrap()
}

fn actor(pid: u32, start_ms: u64, parent: (u32, u64)) -> Actor {
    Actor {
        pid,
        tid: pid,
        start_ns: start_ms * 1_000_000,
        parent_pid: parent.0,
        parent_start_ns: parent.1 * 1_000_000,
        ..Actor::default()
    }
}

fn seen(actor: Actor, event: Event) -> Observation {
    Observation { time_ns: actor.start_ns + 5_000_000, source: Source::Backfill, actor, event }
}

fn exec(path: &str, arguments: &[&str]) -> Event {
    let bytes = arguments.join("\0").into_bytes();
    Event::Exec(Box::new(Exec {
        path: path.into(),
        filename: path.into(),
        arguments: Arguments::new(bytes, false),
        cwd: "/srv".into(),
        tty: "pts/0".into(),
        ..Exec::default()
    }))
}

fn rows(enricher: &mut Enricher) -> Vec<(&'static str, Map<String, Value>)> {
    let batches = enricher.tables.finish();
    batches.iter().flat_map(|(t, b)| (0..b.num_rows()).map(|r| (*t, row_to_json(b, r)))).collect()
}

// Pids beyond the kernel's limit, so that nothing is found in /proc.
const INIT: u32 = 5_000_001;
const SHELL: u32 = 5_000_002;
const CHILD: u32 = 5_000_003;

#[test]
fn a_program_start_names_itself_its_parent_and_the_grandparent() {
    let mut e = enricher();
    e.observe(&seen(actor(INIT, 10, (0, 0)), exec("/usr/sbin/nginx", &["nginx", "-g"])), Duration::ZERO);
    e.observe(&seen(actor(SHELL, 20, (INIT, 10)), exec("/bin/sh", &["sh", "-c", "id; x"])), Duration::ZERO);
    let fork = Event::Fork(Fork { child_pid: CHILD, child_start_ns: 30_000_000, child_pid_namespace: 0 });
    e.observe(&seen(actor(SHELL, 20, (INIT, 10)), fork), Duration::ZERO);
    e.observe(&seen(actor(CHILD, 30, (SHELL, 20)), exec("/usr/bin/id", &["id"])), Duration::ZERO);
    let rows = rows(&mut e);
    assert_eq!(rows.len(), 3, "a fork is no row");
    let (table, row) = &rows[2];
    assert_eq!(*table, "DeviceProcessEvents");
    for (column, expected) in [
        ("ActionType", json!("ProcessCreated")),
        ("FileName", json!("id")),
        ("FolderPath", json!("/usr/bin/id")),
        ("ProcessCommandLine", json!("id")),
        ("ProcessId", json!(CHILD)),
        ("ProcessUniqueId", json!(format!("0f1e2d3c-1c9c380-{CHILD:x}"))),
        ("InitiatingProcessFileName", json!("sh")),
        ("InitiatingProcessCommandLine", json!("sh -c id; x")),
        ("InitiatingProcessId", json!(SHELL)),
        ("InitiatingProcessParentFileName", json!("nginx")),
        ("InitiatingProcessParentId", json!(INIT)),
        ("AccountName", json!("root")),
        ("AccountSid", json!("0")),
        ("AccountDomain", json!("web1")),
    ] {
        assert_eq!(row.get(column), Some(&expected), "{column}");
    }
    assert_eq!(row["AdditionalFields"], json!({"Cwd": "/srv", "Tty": "pts/0"}));
}

#[test]
fn an_exec_without_fork_keeps_its_parent_and_says_what_it_replaced() {
    let mut e = enricher();
    e.observe(&seen(actor(INIT, 10, (0, 0)), exec("/usr/sbin/sshd", &["sshd"])), Duration::ZERO);
    e.observe(&seen(actor(SHELL, 20, (INIT, 10)), exec("/usr/bin/env", &["env", "python3"])), Duration::ZERO);
    e.observe(&seen(actor(SHELL, 20, (INIT, 10)), exec("/usr/bin/python3", &["python3"])), Duration::ZERO);
    let row = &rows(&mut e)[2].1;
    assert_eq!((&row["FileName"], &row["InitiatingProcessFileName"]), (&json!("python3"), &json!("sshd")));
    assert_eq!(row["AdditionalFields"]["ReplacedFileName"], "env");
}

#[test]
fn a_reused_pid_is_another_process_and_late_events_find_the_dead() {
    let mut e = enricher();
    e.observe(&seen(actor(CHILD, 10, (0, 0)), exec("/bin/first", &["first"])), Duration::ZERO);
    e.observe(&seen(actor(CHILD, 10, (0, 0)), Event::Exit(Exit { code: 3, ..Exit::default() })), Duration::ZERO);
    e.observe(&seen(actor(CHILD, 500, (0, 0)), exec("/bin/second", &["second"])), Duration::ZERO);
    let deleted = Event::File(Box::new(FileEvent {
        action: FileAction::Deleted,
        path: "/etc/cron.d/x".into(),
        old_path: None,
        file: FileIdentity::default(),
        old_mode: None,
        error: 0,
    }));
    e.observe(&seen(actor(CHILD, 10, (0, 0)), deleted), Duration::from_secs(1));
    let rows = rows(&mut e);
    let ended = rows.iter().find(|r| r.1["ActionType"] == "ProcessTerminated").unwrap();
    assert_eq!((&ended.1["FileName"], &ended.1["AdditionalFields"]["ExitCode"]), (&json!("first"), &json!(3)));
    let file = rows.iter().find(|r| r.0 == "DeviceFileEvents").unwrap();
    assert_eq!(file.1["InitiatingProcessFileName"], "first");
    assert_eq!((&file.1["FileName"], &file.1["FolderPath"]), (&json!("x"), &json!("/etc/cron.d/x")));
}

#[test]
fn memory_files_cut_arguments_and_preloads_are_told_twice() {
    let mut e = enricher();
    let event = Event::Exec(Box::new(Exec {
        path: "memfd:kworker".into(),
        arguments: Arguments::new(b"kworker".to_vec(), true),
        environment: vec![("LD_PRELOAD".into(), "/tmp/x.so".into())],
        memory_only: true,
        deleted: true,
        ..Exec::default()
    }));
    let mut who = actor(CHILD, 10, (0, 0));
    who.credentials = Credentials { uid: 33, euid: 0, ..Credentials::default() };
    e.observe(&seen(who, event), Duration::ZERO);
    let rows = rows(&mut e);
    let actions: Vec<_> = rows.iter().map(|r| r.1["ActionType"].as_str().unwrap()).collect();
    assert_eq!(actions, ["ProcessCreated", "MemoryFileExecuted", "PreloadEnvironment"]);
    let fields = &rows[0].1["AdditionalFields"];
    assert_eq!(fields["Truncated"], json!(["ProcessCommandLine"]));
    assert_eq!((&fields["EffectiveUid"], &fields["MemFd"]), (&json!(0), &json!(true)));
    assert_eq!(fields["Environment"], json!({"LD_PRELOAD": "/tmp/x.so"}));
    assert_eq!(rows[0].1["FileName"], "kworker");
}

#[test]
fn connections_name_hosts_that_were_looked_up_and_count_bytes() {
    let mut e = enricher();
    let ends = |remote: &str| Connection { local: "10.0.0.5:40000".parse().unwrap(), remote: remote.parse().unwrap() };
    let who = || actor(CHILD, 10, (0, 0));
    let dns = Dns {
        connection: ends("10.0.0.2:53"),
        answer: true,
        id: 1,
        name: "evil.example".into(),
        record_type: 1,
        response_code: 0,
        answers: vec![DnsAnswer::Address("203.0.113.9".parse().unwrap())],
        cut: false,
    };
    e.observe(&seen(who(), Event::Dns(dns)), Duration::ZERO);
    let connect = |remote: &str, error| Connect { connection: ends(remote), error, duration_ns: 7_000_000 };
    e.observe(&seen(who(), Event::Connect(connect("203.0.113.9:443", 0))), Duration::ZERO);
    e.observe(&seen(who(), Event::Connect(connect("[::ffff:8.8.8.8]:80", libc::ECONNREFUSED))), Duration::ZERO);
    let close = Close {
        connection: ends("203.0.113.9:443"),
        accepted: false,
        bytes_sent: 10,
        bytes_received: 20,
        duration_ns: 2_000_000_000,
    };
    e.observe(&seen(who(), Event::Close(close)), Duration::ZERO);
    let rows = rows(&mut e);
    assert_eq!(rows[0].1["AdditionalFields"]["DnsQuery"], "evil.example");
    assert_eq!(rows[0].1["AdditionalFields"]["DnsAnswers"], json!(["203.0.113.9"]));
    assert_eq!(
        (&rows[1].1["ActionType"], &rows[1].1["RemoteUrl"]),
        (&json!("ConnectionSuccess"), &json!("evil.example"))
    );
    assert_eq!((&rows[2].1["ActionType"], &rows[2].1["RemoteIP"]), (&json!("ConnectionFailed"), &json!("8.8.8.8")));
    assert_eq!(rows[2].1["RemoteIPType"], "Public");
    assert_eq!(rows[3].1["AdditionalFields"]["BytesReceived"], 20);
}

#[test]
fn failed_logons_say_who_from_where_and_why() {
    let mut e = enricher();
    let logon = Logon {
        outcome: LogonOutcome::Failed,
        kind: LogonKind::Ssh,
        program: "sshd".into(),
        program_pid: 0,
        account: "root".into(),
        by_account: String::new(),
        remote: Some("198.51.100.4".parse().unwrap()),
        remote_name: String::new(),
        remote_port: 5555,
        method: "password".into(),
        reason: "wrong password".into(),
        command: String::new(),
        tty: String::new(),
        key_fingerprint: String::new(),
        logged_micros: 0,
    };
    e.observe(&seen(actor(CHILD, 10, (0, 0)), Event::Logon(Box::new(logon))), Duration::ZERO);
    let (table, row) = &rows(&mut e)[0];
    assert_eq!(*table, "DeviceLogonEvents");
    for (column, expected) in [
        ("ActionType", json!("LogonFailed")),
        ("AccountName", json!("root")),
        ("AccountSid", json!("0")),
        ("IsLocalAdmin", json!(true)),
        ("RemoteIP", json!("198.51.100.4")),
        ("FailureReason", json!("wrong password")),
        ("Protocol", json!("ssh")),
    ] {
        assert_eq!(row.get(column), Some(&expected), "{column}");
    }
}

#[test]
fn work_that_is_shed_is_counted_and_program_starts_never_are() {
    let mut e = enricher();
    e.set_step(Step::Sampled, true);
    let listen = |port: u16| {
        Event::Listen(observe::Listen {
            local: format!("0.0.0.0:{port}").parse().unwrap(),
            protocol: observe::Protocol::Tcp,
            found: false,
        })
    };
    for port in 1..=16 {
        e.observe(&seen(actor(CHILD, 10, (0, 0)), listen(port)), Duration::ZERO);
    }
    e.observe(&seen(actor(SHELL, 10, (0, 0)), exec("/bin/x", &["x"])), Duration::ZERO);
    e.observe(&seen(actor(SHELL, 10, (0, 0)), Event::Exit(Exit::default())), Duration::ZERO);
    assert_eq!(e.take_dropped(), Dropped { network: 14, process: 1, ..Dropped::default() });
    assert_eq!(rows(&mut e).len(), 3);
}

#[test]
fn a_running_program_is_hashed_by_what_runs() {
    let mut e = enricher();
    let meta = std::fs::metadata("/bin/true").unwrap();
    let event = |e: &str| {
        Event::Exec(Box::new(Exec {
            path: e.into(),
            image: hash::identity(&meta),
            arguments: Arguments::new(b"true".to_vec(), false),
            ..Exec::default()
        }))
    };
    let path = std::fs::canonicalize("/bin/true").unwrap();
    let path = path.to_str().unwrap();
    let expected = hash::digest(&std::fs::File::open(path).unwrap(), meta.len()).unwrap();
    // On a loaded machine the first may not be ready in time; a later start of the same program has it.
    let mut found = None;
    for i in 0..1_000 {
        e.observe(&seen(actor(CHILD + i, 10, (0, 0)), event(path)), Duration::from_secs(u64::from(i)));
        if let Some(hash) = rows(&mut e)[0].1.get("SHA256") {
            found = hash.as_str().map(str::to_owned);
            break;
        }
    }
    assert_eq!(found.as_deref(), Some(&*expected.sha256));
}
