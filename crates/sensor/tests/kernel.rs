//! What the observer sees of a real kernel. Needs root and BTF; says so and does nothing where they are missing.
//! Other tests and people use this machine at the same time, so each test looks at its own processes only.

#![allow(clippy::unwrap_used)]

use garrison_sensor::observe::*;
use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One observer at a time keeps the load on a small machine bearable.
static ONE: Mutex<()> = Mutex::new(());

struct Eye {
    observer: Observer,
    seen: Vec<Observation>,
    folder: tempfile::TempDir,
    _one: MutexGuard<'static, ()>,
}

/// None, and said why, where the kernel cannot be asked.
fn eye(mode: ObserveMode) -> Option<Eye> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped because this test needs root");
        return None;
    }
    if mode == ObserveMode::Auto && !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        eprintln!("skipped because the kernel has no BTF");
        return None;
    }
    let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let policy = ObservePolicy {
        folders: vec![folder.path().to_str().unwrap().to_owned()],
        read_files: vec![folder.path().join("secret").to_str().unwrap().to_owned()],
        excluded_folders: vec![folder.path().join("quiet").to_str().unwrap().to_owned()],
        logons: false,
        ..ObservePolicy::default()
    };
    std::fs::create_dir(folder.path().join("quiet")).unwrap();
    let settings = ObserveSettings { mode, backfill: false, ..ObserveSettings::default() };
    let observer = Observer::start(&policy, &settings);
    if mode == ObserveMode::Auto && observer.sight().subsystem != Subsystem::Ebpf {
        eprintln!("skipped because the kernel refuses eBPF: {}", observer.sight().reason);
        return None;
    }
    Some(Eye { observer, seen: Vec::new(), folder, _one: one })
}

impl Eye {
    /// Looks until `enough` holds, or fails after 20 seconds with what was seen of these processes.
    fn until(&mut self, what: &str, mut enough: impl FnMut(&[Observation]) -> bool) {
        let start = Instant::now();
        loop {
            let seen = &mut self.seen;
            self.observer.poll(Duration::from_millis(20), &mut |o| seen.push(o));
            if enough(&self.seen) {
                return;
            }
            if start.elapsed() > Duration::from_secs(20) {
                let own: Vec<_> =
                    self.seen.iter().filter(|o| o.actor.parent_pid == std::process::id()).map(|o| &o.event).collect();
                panic!("not seen: {what}; of our children: {own:#?}; losses {:?}", self.observer.losses());
            }
        }
    }

    /// Takes what waits in the ring.
    fn look(&mut self) {
        let seen = &mut self.seen;
        self.observer.poll(Duration::ZERO, &mut |o| seen.push(o));
    }

    fn of(&self, pid: u32) -> Vec<&Observation> {
        self.seen.iter().filter(|o| o.actor.pid == pid).collect()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a program to its end and looks until its end is seen.
    fn run(&mut self, command: &mut Command) -> u32 {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        self.until("the end of the program", |seen| ended(seen, pid));
        pid
    }

    fn sh(&mut self, script: &str) -> u32 {
        let folder = self.folder.path().to_owned();
        self.run(Command::new("/bin/sh").args(["-c", script]).current_dir(folder))
    }

    fn files(&self) -> Vec<(FileAction, String)> {
        let root = self.folder.path().to_str().unwrap();
        let files = self.seen.iter().filter_map(|o| match &o.event {
            Event::File(file) if file.path.starts_with(root) => {
                Some((file.action, file.path[root.len() + 1..].to_owned()))
            }
            _ => None,
        });
        files.collect()
    }
}

fn ended(seen: &[Observation], pid: u32) -> bool {
    seen.iter().any(|o| o.actor.pid == pid && matches!(o.event, Event::Exit(_)))
}

fn execs<'a>(seen: &[&'a Observation]) -> Vec<&'a Exec> {
    seen.iter().filter_map(|o| if let Event::Exec(exec) = &o.event { Some(exec.as_ref()) } else { None }).collect()
}

/// Forks; the child does `work` (which must not allocate much or lock) and leaves. Returns its pid after its end.
fn forked(eye: &mut Eye, work: impl FnOnce()) -> u32 {
    // SAFETY: the child runs plain system calls only and leaves by `_exit`.
    #[allow(unsafe_code)]
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            work();
            // SAFETY: leaves without running the parent's destructors.
            #[allow(unsafe_code)]
            unsafe {
                libc::_exit(0)
            }
        }
        nix::unistd::ForkResult::Parent { child } => {
            nix::sys::wait::waitpid(child, None).unwrap();
            let pid = child.as_raw() as u32;
            eye.until("the end of the fork", |seen| ended(seen, pid));
            pid
        }
    }
}

#[test]
fn a_program_is_seen_with_all_its_arguments_folder_parent_and_end() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let long = "x".repeat(9000);
    let folder = eye.folder.path().to_owned();
    let script = "exit 7";
    let pid = eye.run(
        Command::new("/bin/sh")
            .args(["-c", script, "", &long, "é"])
            .current_dir(&folder)
            .env("LD_LIBRARY_PATH", "/nowhere")
            .env("UNINTERESTING", "1"),
    );
    let own = eye.of(pid);
    let exec = execs(&own)[0];
    assert_eq!(exec.arguments.iter().collect::<Vec<_>>(), ["/bin/sh", "-c", script, "", &long, "é"]);
    assert!(!exec.arguments.cut);
    assert_eq!(exec.cwd, folder.to_str().unwrap());
    assert_eq!(exec.path, std::fs::canonicalize("/bin/sh").unwrap().to_str().unwrap());
    assert_eq!(exec.filename, "/bin/sh");
    assert_eq!(exec.environment, [("LD_LIBRARY_PATH".to_owned(), "/nowhere".to_owned())]);
    let image = backfill::identity(&std::fs::metadata("/bin/sh").unwrap());
    assert_eq!(exec.image, image);
    let actor = &own[0].actor;
    assert_eq!(actor.parent_pid, std::process::id());
    assert_eq!(actor.parent_start_ns / 10_000_000, backfill::start_ns(std::process::id()).unwrap() / 10_000_000);
    assert!(actor.namespaces.mnt != 0 && actor.namespaces.net != 0 && actor.namespaces.user != 0);
    let exit = own.iter().find_map(|o| if let Event::Exit(exit) = &o.event { Some(exit) } else { None }).unwrap();
    assert_eq!((exit.code, exit.signal), (7, 0));
}

#[test]
fn arguments_beyond_the_bound_are_cut_and_marked() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let pid = eye.run(Command::new("/bin/true").arg("y".repeat(60_000)));
    let own = eye.of(pid);
    let exec = execs(&own)[0];
    assert!(exec.arguments.cut);
    assert_eq!(exec.arguments.as_bytes().len(), ARGUMENTS_BYTES_MAX - 1);
}

#[test]
fn a_script_names_itself_and_its_interpreter() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let script = eye.path("script");
    std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let pid = eye.run(&mut Command::new(&script));
    let own = eye.of(pid);
    let exec = execs(&own)[0];
    assert!(exec.script);
    assert_eq!(exec.filename, script);
    assert!(exec.path.ends_with("sh"));
}

#[test]
fn programs_in_memory_and_deleted_programs_are_marked() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let image = std::fs::read("/bin/true").unwrap();
    let memory = nix::sys::memfd::memfd_create(c"sneaky", nix::sys::memfd::MFdFlags::empty()).unwrap();
    nix::unistd::write(&memory, &image).unwrap();
    let empty: [CString; 0] = [];
    let pid = forked(&mut eye, || {
        let _ = nix::unistd::fexecve(&memory, &[c"sneaky"], &empty);
    });
    let own = eye.of(pid);
    let exec = execs(&own)[0];
    assert!(exec.memory_only && !exec.deleted, "{exec:?}");
    assert_eq!(exec.path, "memfd:sneaky");

    let path = eye.path("gone");
    std::fs::copy("/bin/true", &path).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let pid = forked(&mut eye, || {
        let _ = nix::unistd::fexecve(&file, &[c"gone"], &empty);
    });
    let own = eye.of(pid);
    let exec = execs(&own)[0];
    assert!(exec.deleted && !exec.memory_only, "{exec:?}");
    assert_eq!(exec.path, path);
}

#[test]
fn a_connection_is_seen_from_both_ends_with_its_bytes() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let mut port = 0;
    // The test's own process is the sensor here, whose doings are not told: a child does the talking.
    let (mut told, tell) = std::io::pipe().unwrap();
    let pid = forked(&mut eye, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut tell = &tell;
        let _ = tell.write_all(&address.port().to_ne_bytes());
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let _ = client.write_all(&[1; 1000]);
        let _ = server.read_exact(&mut [0; 1000]);
        let _ = server.write_all(&[2; 77]);
        let _ = client.read_exact(&mut [0; 77]);
        drop(client);
        drop(server);
        // Nobody listens there any more.
        drop(listener);
        let _ = TcpStream::connect(address);
    });
    let mut bytes = [0; 2];
    told.read_exact(&mut bytes).unwrap();
    port += u16::from_ne_bytes(bytes);
    eye.until("both closes", |seen| {
        seen.iter().filter(|o| o.actor.pid == pid && matches!(o.event, Event::Close(_))).count() == 2
    });
    let own = eye.of(pid);
    assert!(own.iter().any(|o| matches!(o.event, Event::Listen(l) if l.local.port() == port)));
    assert!(own.iter().any(|o| matches!(o.event, Event::Accept(c) if c.local.port() == port)));
    let connects: Vec<_> =
        own.iter().filter_map(|o| if let Event::Connect(c) = o.event { Some(c) } else { None }).collect();
    assert_eq!(connects.len(), 2, "{connects:?}");
    assert_eq!((connects[0].error, connects[0].connection.remote.port()), (0, port));
    assert_eq!(connects[1].error, libc::ECONNREFUSED);
    let closes: Vec<_> =
        own.iter().filter_map(|o| if let Event::Close(c) = o.event { Some(c) } else { None }).collect();
    let client = closes.iter().find(|c| !c.accepted).unwrap();
    assert_eq!((client.bytes_sent, client.bytes_received), (1000, 77));
    assert_eq!(client.connection, connects[0].connection);
    let server = closes.iter().find(|c| c.accepted).unwrap();
    assert_eq!((server.bytes_sent, server.bytes_received), (77, 1000));
    assert_eq!(server.connection.local.port(), port);
}

#[test]
fn a_dns_question_and_the_first_datagram_are_seen() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    if eye.observer.sight().missing.iter().any(|m| m.contains("DNS questions")) {
        eprintln!("skipped because cgroup programs cannot be attached here");
        return;
    }
    // Port 53 of an address of our own; where something listens there already this test has no business.
    let Ok(server) = UdpSocket::bind("127.53.53.53:53") else {
        eprintln!("skipped because port 53 is taken");
        return;
    };
    let stub = std::thread::spawn(move || {
        let mut question = [0; 512];
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (length, from) = server.recv_from(&mut question).unwrap();
        let mut answer = question[..length].to_vec();
        answer[2] = 0x81;
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        server.send_to(&answer, from).unwrap();
    });
    let pid = forked(&mut eye, || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04Evil\x07example\0\0\x01\0\x01";
        let _ = socket.send_to(question, "127.53.53.53:53");
        let _ = socket.recv(&mut [0; 512]);
    });
    stub.join().unwrap();
    eye.until("the answer", |seen| {
        seen.iter().any(|o| o.actor.pid == pid && matches!(&o.event, Event::Dns(d) if d.answer))
    });
    let own = eye.of(pid);
    assert_eq!(own.iter().filter(|o| matches!(o.event, Event::Udp(_))).count(), 1);
    let dns: Vec<_> = own.iter().filter_map(|o| if let Event::Dns(d) = &o.event { Some(d) } else { None }).collect();
    assert_eq!(dns.len(), 2, "{dns:?}");
    assert!(dns.iter().all(|d| d.name == "evil.example" && d.connection.remote.port() == 53));
    assert_eq!(dns[1].answers, [DnsAnswer::Address("192.0.2.1".parse().unwrap())]);
}

#[test]
fn what_happens_to_files_under_policy_is_seen_and_nothing_else() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    std::fs::write(eye.path("old"), "before").unwrap();
    std::fs::write(eye.path("secret"), "key").unwrap();
    eye.sh("echo hello > new; echo more >> old; mv new moved; chmod 640 moved; chown 1:2 moved; mkdir d; \
            ln moved d/hard; ln -s moved d/soft; cat secret; cat old; rm moved; cd d; rm ../old ./soft; \
            echo x > ../quiet/x; rm ../quiet/x");
    use FileAction::*;
    let expected = [
        (Created, "new"),
        (Modified, "new"),
        (Modified, "old"),
        (Renamed, "moved"),
        (PermissionChanged, "moved"),
        (OwnerChanged, "moved"),
        (FolderCreated, "d"),
        (Linked, "d/hard"),
        (SymbolicLinked, "d/soft"),
        (Read, "secret"),
        (Deleted, "moved"),
        (Deleted, "old"),
        (Deleted, "d/soft"),
    ];
    let expected: Vec<_> = expected.iter().map(|(action, path)| (*action, (*path).to_owned())).collect();
    assert_eq!(eye.files(), expected);
    let renamed = eye.seen.iter().find_map(|o| match &o.event {
        Event::File(file) if file.action == Renamed => Some(file.clone()),
        _ => None,
    });
    assert_eq!(renamed.unwrap().old_path, Some(eye.path("new")));
}

#[test]
fn reaching_into_a_process_and_becoming_another_user_are_seen() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let mut target = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let victim = target.id();
    let pid = forked(&mut eye, || {
        let other = nix::unistd::Pid::from_raw(victim as i32);
        let _ = nix::sys::ptrace::attach(other);
        let _ = nix::sys::wait::waitpid(other, None);
        let _ = nix::sys::ptrace::detach(other, None);
        let _ = std::fs::File::options().write(true).open(format!("/proc/{victim}/mem"));
        let _ = nix::unistd::setgid(65534.into());
        let _ = nix::unistd::setuid(65534.into());
    });
    target.kill().unwrap();
    target.wait().unwrap();
    let own = eye.of(pid);
    assert!(own.iter().any(
        |o| matches!(o.event, Event::Ptrace(Ptrace { request: 16, target_pid, error: 0 }) if target_pid == victim)
    ));
    assert!(
        own.iter()
            .any(|o| matches!(o.event, Event::MemoryWrite(MemoryWrite { target_pid, .. }) if target_pid == victim))
    );
    let change =
        own.iter().find(|o| matches!(o.event, Event::CredentialsChange(c) if c.call == CredentialsCall::User)).unwrap();
    assert_eq!((change.actor.credentials.uid, change.actor.credentials.euid), (65534, 65534));
    assert_eq!(change.actor.credentials.capabilities, 0);
}

#[test]
fn a_signal_to_a_protected_process_is_seen() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let mut target = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let victim = target.id();
    let policy = ObservePolicy { protected_pids: vec![victim], logons: false, ..ObservePolicy::default() };
    eye.observer.apply(&policy);
    let pid = forked(&mut eye, || {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(victim as i32), nix::sys::signal::SIGKILL);
    });
    target.wait().unwrap();
    assert!(eye.of(pid).iter().any(|o| matches!(o.event, Event::Signal(s) if s.target_pid == victim && s.signal == 9)));
}

#[test]
fn every_start_of_a_storm_is_seen_or_counted_as_lost() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    const STARTS: usize = 2000;
    for start in 0..=STARTS {
        Command::new("/bin/true").status().unwrap();
        if start % 16 == 0 {
            eye.look();
        }
    }
    let own = std::process::id();
    let count = |seen: &[Observation]| {
        seen.iter().filter(|o| o.actor.parent_pid == own && matches!(o.event, Event::Exec(_))).count()
    };
    // What others on this machine do meanwhile may fill the ring as well: then the ledger must say at least what is missing.
    for _ in 0..1000 {
        eye.look();
        let losses = eye.observer.losses();
        if losses.numbered == losses.received + losses.ring_full
            && count(&eye.seen) + losses.ring_full as usize > STARTS
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let losses = eye.observer.losses();
    let seen = count(&eye.seen);
    assert_eq!(losses.bad_records, 0, "{losses:?}");
    assert!(seen <= STARTS + 1, "{seen} starts seen; {losses:?}");
    assert!(seen + losses.ring_full as usize > STARTS, "{seen} starts seen; {losses:?}");
}

#[test]
fn losses_of_a_full_ring_are_counted_exactly() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    // The smallest ring, and nobody reads it during the storm.
    let settings = ObserveSettings { ring_bytes: 1, backfill: false, ..ObserveSettings::default() };
    eye.observer = Observer::start(&ObservePolicy { logons: false, ..ObservePolicy::default() }, &settings);
    for _ in 0..400 {
        Command::new("/bin/true").env("PADDING", "p".repeat(4000)).status().unwrap();
    }
    // What others on this machine do meanwhile is counted too, so the sum is compared once it stands still.
    let mut received = 0;
    let mut gaps = Gaps::default();
    let start = Instant::now();
    let losses = loop {
        received += eye.observer.poll(Duration::from_millis(1), &mut |o| gaps.note(&o));
        // Judged is this reading and no later one: by then somebody may have started something.
        let losses = eye.observer.losses();
        if losses.numbered == losses.received + losses.ring_full || start.elapsed() > Duration::from_mins(1) {
            break losses;
        }
    };
    assert!(losses.ring_full > 0, "{losses:?}");
    assert_eq!(losses.numbered, losses.received + losses.ring_full, "{losses:?}");
    assert_eq!(received as u64, losses.received);
}

#[derive(Default)]
struct Gaps {
    next: std::collections::HashMap<u16, u64>,
}

impl Gaps {
    fn note(&mut self, observation: &Observation) {
        if let Source::Kernel { cpu, sequence } = observation.source {
            let next = self.next.entry(cpu).or_insert(0);
            assert!(sequence >= *next, "a number came twice or out of order");
            *next = sequence + 1;
        }
    }
}

#[test]
fn a_refused_program_is_named_and_costs_no_other() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let settings = ObserveSettings { backfill: false, refuse: &["observe_tcp"], ..ObserveSettings::default() };
    eye.observer = Observer::start(&ObservePolicy { logons: false, ..ObservePolicy::default() }, &settings);
    let sight = eye.observer.sight();
    assert_eq!(sight.subsystem, Subsystem::Ebpf);
    assert!(sight.missing.iter().any(|m| m.contains("TCP connections made")), "{sight:?}");
    let pid = eye.run(&mut Command::new("/bin/true"));
    assert_eq!(execs(&eye.of(pid)).len(), 1);
}

#[test]
fn nothing_of_ours_is_left_in_the_kernel_after_the_end() {
    let Some(eye) = eye(ObserveMode::Auto) else { return };
    // Programs that this process holds show as links and programs among its descriptors.
    let held = || {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|e| std::fs::read_link(e.path()).ok())
            .filter(|p| p.to_string_lossy().contains("bpf"))
            .count()
    };
    assert!(held() > 10);
    drop(eye.observer);
    assert_eq!(held(), 0);
    assert!(!std::fs::read_to_string("/proc/self/maps").unwrap().contains("bpf_ringbuf"));
    let pinned = std::fs::read_dir("/sys/fs/bpf")
        .map_or(0, |d| d.flatten().filter(|e| e.file_name().to_string_lossy().contains("garrison")).count());
    assert_eq!(pinned, 0);
}

#[test]
fn the_fallback_tells_programs_and_files_and_names_what_it_cannot_see() {
    let Some(mut eye) = eye(ObserveMode::Fallback) else { return };
    let sight = eye.observer.sight().clone();
    assert!(sight.missing.iter().any(|m| m.contains("DNS")));
    if sight.subsystem != Subsystem::Fallback {
        eprintln!("skipped because neither the process connector nor fanotify works here: {sight:?}");
        return;
    }
    // It lives until it was seen: the fallback reads what a process is while it is there.
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = child.id();
    eye.until("the start", |seen| seen.iter().any(|o| o.actor.pid == pid && matches!(o.event, Event::Exec(_))));
    child.kill().unwrap();
    child.wait().unwrap();
    eye.until("the end", |seen| ended(seen, pid));
    assert!(execs(&eye.of(pid)).iter().any(|e| e.arguments.command_line() == "/bin/sleep 60"));
    let folder = eye.folder.path().to_owned();
    Command::new("/bin/sh").args(["-c", "echo x > new; mv new moved; rm moved"]).current_dir(folder).status().unwrap();
    let root = eye.folder.path().to_str().unwrap().to_owned();
    eye.until("the files", |seen| {
        let done = |action, name: &str| {
            seen.iter()
                .any(|o| matches!(&o.event, Event::File(f) if f.action == action && f.path == format!("{root}/{name}")))
        };
        done(FileAction::Created, "new") && done(FileAction::Renamed, "moved") && done(FileAction::Deleted, "moved")
    });
}

#[test]
fn without_root_rights_programs_are_still_told_by_polling() {
    let Some(mut eye) = eye(ObserveMode::Polling) else { return };
    assert_eq!(eye.observer.sight().subsystem, Subsystem::Polling);
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = child.id();
    eye.until("the start", |seen| seen.iter().any(|o| o.actor.pid == pid && matches!(o.event, Event::Exec(_))));
    child.kill().unwrap();
    child.wait().unwrap();
    eye.until("the end", |seen| ended(seen, pid));
    assert!(eye.folder.as_ref().exists());
    let _ = std::io::stdin().as_raw_fd();
}

#[test]
fn what_ran_before_is_told() {
    let Some(mut eye) = eye(ObserveMode::Auto) else { return };
    let mut child = Command::new("/bin/sleep").arg("61").spawn().unwrap();
    let pid = child.id();
    eye.observer =
        Observer::start(&ObservePolicy { logons: false, ..ObservePolicy::default() }, &ObserveSettings::default());
    eye.until("the sleeper", |seen| seen.iter().any(|o| o.actor.pid == pid && matches!(o.event, Event::Found(_))));
    child.kill().unwrap();
    child.wait().unwrap();
    let own = eye.of(pid);
    let Event::Found(found) = &own[0].event else { panic!("not a found process") };
    assert_eq!(found.arguments.command_line(), "/bin/sleep 61");
    assert_eq!(own[0].actor.parent_pid, std::process::id());
}
