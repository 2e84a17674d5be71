//! The real thing: a server, a `garrison-connect` process, and the sensor that it installs.

use super::*;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

fn connector(root: &Path, words: &[&str]) -> Command {
    connector_at(&programs().join("garrison-connect"), root, words)
}

fn connector_at(program: &Path, root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    command.arg("--state-dir").arg(root.join("state"));
    command.arg("--prefix").arg(root.join("prefix"));
    command.arg("--host-root").arg(root.join("host"));
    command
}

/// A host of a supported distribution; processes and memory are this machine's.
pub(super) fn lay_host(root: &Path) {
    let host = root.join("host");
    std::fs::create_dir_all(host.join("etc")).unwrap();
    std::fs::create_dir_all(host.join("sys/class/dmi/id")).unwrap();
    std::fs::create_dir_all(root.join("prefix")).unwrap();
    std::fs::write(host.join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n").unwrap();
    std::fs::write(host.join("etc/hostname"), "live\n").unwrap();
    std::fs::write(host.join("etc/machine-id"), format!("{:032x}\n", rand::random::<u128>())).unwrap();
    std::os::unix::fs::symlink("/proc", host.join("proc")).unwrap();
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            out.extend(files(&path));
        }
        out.push(path);
    }
    out.sort();
    out
}

/// Packs the sensor for connectors.
fn lay_sensor(server: &TestServer, sensor: &Path) -> &'static str {
    let mut archive = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
    // A linker leaves holes in a program, and a package holds plain files only.
    archive.sparse(false);
    archive.append_path_with_name(sensor, "bin/garrison-sensor").unwrap();
    let bytes = archive.into_inner().unwrap().finish().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    lay_package(server, &format!("garrison-sensor-{version}-{architecture}.tar.zst"), &bytes);
    version
}

/// Waits for a state of the one machine; the bound only ends a test that has failed.
pub(super) async fn until(server: &Server, what: &str, log: &Path, holds: impl Fn(&Machine) -> bool) {
    let end = Instant::now() + Duration::from_mins(3);
    loop {
        let found = machines(server).await;
        if found.iter().any(&holds) {
            return;
        }
        if Instant::now() > end {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            panic!("never: {what}; {found:?}\n{log}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_brings_the_sensor_to_a_connected_machine_and_off_boarding_takes_all_of_it_away() {
    let (program, sensor) = (programs().join("garrison-connect"), programs().join("garrison-sensor"));
    for needed in [&program, &sensor] {
        if !needed.exists() {
            println!("skipped because `{}` is not built: cargo build --workspace --bins", needed.display());
            return;
        }
    }
    let server = TestServer::start().await.unwrap();
    let s = &server.server;
    let version = lay_sensor(&server, &sensor);
    let prod = subscription(s, None).await;
    let root = tempfile::tempdir().unwrap();
    lay_host(root.path());
    let before = files(root.path());
    // As the server lays it over SSH: the program goes too.
    let place = root.path().join("opt/garrison/connect");
    std::fs::create_dir_all(&place).unwrap();
    let laid = place.join("garrison-connect");
    std::fs::copy(&program, &laid).unwrap();
    let (token, gateway) = (token(s, 1).await, server.gateway().to_string());
    let enrol = |more: &[&str]| {
        let words = [&["enrol", "--placed", "--server", &gateway, "--token", &token], more].concat();
        let done = connector_at(&laid, root.path(), &words).output().unwrap();
        (
            done.status.code(),
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)),
        )
    };
    // Who is refused has not used the token up.
    let nowhere = "0f1e2d3c-0000-4000-8000-00000000dead";
    for wrong in [["--subscription", nowhere], ["--name", "not a name!"], ["--tag", &format!("{}=x", "k".repeat(600))]]
    {
        let (code, said) = enrol(&wrong);
        assert!(code.is_some_and(|code| code != 0) && !said.contains("used up"), "{wrong:?}: {code:?} {said}");
    }
    let (code, said) = enrol(&[]);
    assert_eq!(code, Some(0), "{said}");
    // Said again, it is what it is; also with a token that is used up.
    let (code, again) = enrol(&[]);
    assert!(code == Some(0) && again.contains("connected already"), "{again}");
    assert_eq!(again.lines().next(), said.lines().next());
    let log = server.folder().join("connect.log");
    let errors = std::fs::File::create(&log).unwrap();
    let mut running = Running(connector_at(&laid, root.path(), &["run"]).stderr(errors).spawn().unwrap());
    until(s, "connected", &log, |m| m.state == ConnectionState::Connected).await;
    let id = machines(s).await[0].id.clone();
    plan_set(s, &prod, Plan::P1).await;
    until(s, "the sensor is there", &log, |m| {
        m.device_id.is_some()
            && m.extensions.iter().any(|e| e.state == ExtensionState::Succeeded && e.version == version)
    })
    .await;
    let device = machines(s).await[0].device_id.clone().unwrap();
    assert!(s.shared.fleet.device(&device).is_some());
    // Deleted, it comes back and takes over the sensor that stayed: still one device.
    s.connect.extension_delete(&id, "test").await.unwrap();
    until(s, "deployed again", &log, |m| m.extensions.iter().any(|e| e.state == ExtensionState::Succeeded)).await;
    assert_eq!(s.shared.fleet.count(), 1);
    plan_set(s, &prod, Plan::Off).await;
    s.connect.offboard(&id, "test").await.unwrap();
    let end = running.0.wait().unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(end.success(), "{said}");
    assert!(s.shared.fleet.is_revoked(&device));
    std::fs::remove_dir(root.path().join("opt")).unwrap();
    assert_eq!(files(root.path()), before, "the folder is as it was\n{said}");
    // Gone, it is neither covered nor protected, and that is what was meant.
    let off = machines(s).await.remove(0);
    assert!(off.device_gone && off.device_id.as_ref() == Some(&device), "{off:?}");
    plan_set(s, &prod, Plan::P1).await;
    let coverage = s.shared.plane.coverage(&s.shared.tenant, garrison_server::now()).await.unwrap();
    let reasons: Vec<_> = coverage.not_covered.iter().map(|line| line.reason).collect();
    assert_eq!(reasons, [garrison_model::NotCovered::OffBoarded], "{coverage:?}");
    server.stop().await.unwrap();
}

/// A system that is not supported: a code, and not a byte under the prefix.
#[tokio::test(flavor = "multi_thread")]
async fn an_unsupported_machine_is_left_untouched() {
    let (program, sensor) = (programs().join("garrison-connect"), programs().join("garrison-sensor"));
    if !program.exists() || !sensor.exists() {
        println!("skipped because the programs are not built: cargo build --workspace --bins");
        return;
    }
    let server = TestServer::start().await.unwrap();
    let s = &server.server;
    lay_sensor(&server, &sensor);
    subscription(s, Some(Plan::P2)).await;
    let root = tempfile::tempdir().unwrap();
    lay_host(root.path());
    std::fs::write(root.path().join("host/etc/os-release"), "ID=templeos\nVERSION_ID=\"5\"\n").unwrap();
    let (token, gateway) = (token(s, 1).await, server.gateway().to_string());
    assert!(connector(root.path(), &["enrol", "--server", &gateway, "--token", &token]).status().unwrap().success());
    let prefix = root.path().join("prefix");
    let before = (files(&prefix), std::fs::metadata(&prefix).unwrap().modified().unwrap());
    let log = server.folder().join("connect.log");
    let errors = std::fs::File::create(&log).unwrap();
    let mut running = Running(connector(root.path(), &["run"]).stderr(errors).spawn().unwrap());
    let unsupported = garrison_model::ExtensionCode::UnsupportedDistro.number();
    until(s, "told so", &log, |m| {
        m.extensions.iter().any(|e| e.state == ExtensionState::Failed && e.code == i64::from(unsupported))
    })
    .await;
    assert_eq!((files(&prefix), std::fs::metadata(&prefix).unwrap().modified().unwrap()), before);
    running.0.kill().unwrap();
    server.stop().await.unwrap();
}

/// The step that the journal says is next.
fn step(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("state/journal.json")).unwrap_or_default();
    let journal: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    journal.pointer("/work/course").map(|course| course.to_string().to_lowercase()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_is_killed_after_every_line_of_its_journal_ends_with_one_sensor() {
    let (program, sensor) = (programs().join("garrison-connect"), programs().join("garrison-sensor"));
    for needed in [&program, &sensor] {
        if !needed.exists() {
            println!("skipped because `{}` is not built: cargo build --workspace --bins", needed.display());
            return;
        }
    }
    let server = TestServer::start().await.unwrap();
    let s = &server.server;
    let version = lay_sensor(&server, &sensor);
    subscription(s, Some(Plan::P1)).await;
    let root = tempfile::tempdir().unwrap();
    lay_host(root.path());
    let token = token(s, 1).await;
    let words = ["enrol", "--server", &server.gateway().to_string(), "--token", &token];
    assert!(connector(root.path(), &words).status().unwrap().success());
    let log = server.folder().join("connect.log");
    let start = || {
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        connector(root.path(), &["run"]).stderr(errors).spawn().unwrap()
    };
    let mut killed_at = std::collections::BTreeSet::new();
    // Ten kills reach every step of an install; each start finds the journal where the kill left it.
    for _ in 0..10 {
        let mut child = start();
        let before = step(root.path());
        let end = Instant::now() + Duration::from_mins(1);
        while step(root.path()) == before && Instant::now() < end && !step(root.path()).contains("done") {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed_at.insert(step(root.path()));
        if step(root.path()).contains("done") {
            break;
        }
    }
    assert!(killed_at.len() >= 4, "killed at {killed_at:?}");
    let mut running = Running(start());
    until(s, "the sensor is there", &log, |m| {
        m.device_id.is_some()
            && m.extensions.iter().any(|e| e.state == ExtensionState::Succeeded && e.version == version)
    })
    .await;
    assert_eq!(s.shared.fleet.count(), 1, "one device, however often it was begun");
    let id = machines(s).await[0].id.clone();
    let made = s.connect.history(&id).await.unwrap().iter().filter(|l| l.state == "Creating").count();
    assert_eq!(made, 1, "and one order");
    s.connect.offboard(&id, "test").await.unwrap();
    assert!(running.0.wait().unwrap().success(), "{}", std::fs::read_to_string(&log).unwrap());
    server.stop().await.unwrap();
}
