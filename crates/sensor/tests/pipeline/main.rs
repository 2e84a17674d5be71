//! The sensor from end to end, against a gateway in the test: enrolment, delivery, absence of the server, kills, new
//! content. The sensor sees what this machine lets it see: as root by eBPF or the fallback, else by polling.

#![allow(clippy::unwrap_used)]

mod gateway;

use garrison_sensor::observe::ObserveSettings;
use garrison_sensor::policy::{self, Config, Overrides};
use garrison_sensor::uplink::enrol::{EnrolError, enrol};
use garrison_sensor::{RunSettings, run};
use garrison_wire::token::EnrolmentToken;
use gateway::Gateway;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use tokio::sync::watch;

fn config(folder: &Path) -> Config {
    let flag = |key: &str, value: String| (key.to_owned(), value);
    let overrides = Overrides {
        flags: vec![
            flag("paths.state_dir", folder.join("state").to_string_lossy().into_owned()),
            flag("paths.run_dir", folder.join("run").to_string_lossy().into_owned()),
            // A busy test machine must not make the sensor drop what the test looks for.
            flag("limits.cpu_permille_max", "64000".to_owned()),
        ],
        environment: Vec::new(),
    };
    policy::resolve("", &overrides).unwrap().0
}

fn enrol_with(gateway: &Gateway, config: &Config, token: &EnrolmentToken) -> Result<(), EnrolError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let host = garrison_sensor::enrich::device::look(&[]).host;
    runtime.block_on(enrol(&gateway.address, token, host, &config.state_dir, false)).map(|_| ())
}

/// A sensor on a thread; stopping it waits until it has ended.
struct Running {
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(config: &Config) -> Self {
        let (stop, stopped) = watch::channel(false);
        let config = config.clone();
        let settings = RunSettings { observe: ObserveSettings { backfill: false, ..ObserveSettings::default() } };
        let thread = std::thread::spawn(move || run(&config, &settings, &stopped).unwrap());
        Self { stop, thread: Some(thread) }
    }

    fn stop(mut self) {
        self.stop.send(true).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Starts a program that lives so long that polling sees it too, and waits for its end.
fn act(seconds: &str) -> u32 {
    let mut child = Command::new("/bin/sleep").arg(seconds).spawn().unwrap();
    let pid = child.id();
    let _ = child.wait();
    pid
}

fn row_of(gateway: &Gateway, pid: u32) -> Option<serde_json::Value> {
    gateway
        .rows()
        .into_iter()
        .find(|(table, _, row)| {
            table == "DeviceProcessEvents" && row["ActionType"] == "ProcessCreated" && row["ProcessId"] == pid
        })
        .map(|(_, _, row)| row)
}

/// Numbers from the first to the last are each in one batch only, whoever sent it how often, or in the ledger.
fn numbers_are_gapless(gateway: &Gateway) {
    let mut by_first = BTreeMap::new();
    for s in gateway.stored() {
        let content = garrison_telemetry::encode_ipc(&s.batch).unwrap();
        let former = by_first.insert(s.header.sequence_first, (s.header.row_count, content.clone()));
        if let Some((rows, former)) = former {
            assert_eq!((rows, former), (s.header.row_count, content), "a number was given to two batches");
        }
    }
    let mut expected = 1;
    for (first, (rows, _)) in by_first {
        assert_eq!(first, expected, "a gap or an overlap");
        expected = first + u64::from(rows);
    }
}

#[test]
fn what_runs_here_arrives_with_its_columns_and_the_queue_empties() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, config) = (Gateway::start(), config(folder.path()));
    enrol_with(&gateway, &config, &gateway.token()).unwrap();
    let again = enrol_with(&gateway, &config, &gateway.token()).unwrap_err().to_string();
    assert!(again.contains("enrolled already"), "{again}");
    let sensor = Running::start(&config);
    gateway.wait_for("the device's own row", |g| g.rows().iter().any(|r| r.0 == "DeviceInfo").then_some(()));
    let row = loop {
        let pid = act("0.3");
        let begun = std::time::Instant::now();
        let found = gateway.wait_for("the row of a program", |g| {
            row_of(g, pid).map(Some).or_else(|| (begun.elapsed().as_secs() > 10).then_some(None))
        });
        if let Some(row) = found {
            break row;
        }
    };
    assert_eq!(row["FileName"], "sleep");
    assert!(row["FolderPath"].as_str().unwrap().ends_with("/sleep"), "{row}");
    assert!(row["ProcessCommandLine"].as_str().unwrap().contains("sleep 0.3"), "{row}");
    assert_eq!(row["InitiatingProcessId"], std::process::id(), "{row}");
    assert!(row["ProcessUniqueId"].is_string() && row["ProcessCreationTime"].is_string(), "{row}");
    assert!(row["AccountSid"].is_string() && row["Timestamp"].is_string(), "{row}");
    let health = garrison_sensor::control::ask(&config.run_dir, garrison_sensor::control::Request::Health).unwrap();
    assert_eq!(health["connection_state"], "connected", "{health}");
    assert_eq!(health["edr_machine_id"], "ab".repeat(20));
    sensor.stop();
    numbers_are_gapless(&gateway);
    let boot = garrison_sensor::pipeline::boot_id().unwrap();
    let limits = garrison_sensor::spool::SpoolLimits::new(config.spool_bytes_max, config.spool_shed);
    let (spool, _) = garrison_sensor::spool::Spool::open(
        &config.state_dir.join("spool"),
        &boot,
        limits,
        garrison_sensor::status::now(),
    )
    .unwrap();
    assert_eq!(spool.state().rows, 0, "all was acknowledged");
}

#[test]
fn rows_wait_while_the_server_is_away_and_all_arrive_once() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, config) = (Gateway::start(), config(folder.path()));
    enrol_with(&gateway, &config, &gateway.token()).unwrap();
    gateway.inner.away.store(true, Ordering::SeqCst);
    let sensor = Running::start(&config);
    let (mut rounds, mut pids) = (0, Vec::new());
    // Until the queue has something, whatever the eye.
    loop {
        rounds += 1;
        assert!(rounds < 200, "nothing was queued");
        pids.push(act("0.2"));
        let health = garrison_sensor::control::ask(&config.run_dir, garrison_sensor::control::Request::Health);
        if health.is_ok_and(|h| h["queue"]["rows"].as_u64().unwrap_or(0) > 5 && h["healthy"] == false) {
            break;
        }
    }
    assert!(gateway.stored().is_empty());
    gateway.inner.away.store(false, Ordering::SeqCst);
    let last = *pids.last().unwrap();
    gateway.wait_for("the last program's row", |g| row_of(g, last));
    sensor.stop();
    numbers_are_gapless(&gateway);
    let firsts: Vec<u64> = gateway.stored().iter().map(|s| s.header.sequence_first).collect();
    let distinct: std::collections::BTreeSet<u64> = firsts.iter().copied().collect();
    assert_eq!(firsts.len(), distinct.len(), "no batch came twice");
}

#[test]
fn a_killed_sensor_loses_and_renumbers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, config) = (Gateway::start(), config(folder.path()));
    enrol_with(&gateway, &config, &gateway.token()).unwrap();
    for round in 0..6_u64 {
        let before = gateway.stored().len();
        let mut child = Command::new(env!("CARGO_BIN_EXE_garrison-sensor"))
            .args(["run", "--state-dir"])
            .arg(&config.state_dir)
            .arg("--run-dir")
            .arg(&config.run_dir)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        act("0.1");
        // What came may have been under way since the former child; that this one is up, its own socket says.
        while garrison_sensor::control::ask(&config.run_dir, garrison_sensor::control::Request::Health).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::yield_now();
        }
        // At another moment each time: after so many batches came.
        gateway
            .wait_for("batches of a child", |g| (g.stored().len() > before + (round * 3 % 7) as usize).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let sensor = Running::start(&config);
    // The observer takes a moment to start, so the act is repeated until one was seen.
    let mut pids = Vec::new();
    let seen = (0..100).any(|_| {
        pids.push(act("0.3"));
        pids.iter().any(|pid| row_of(&gateway, *pid).is_some())
    });
    assert!(seen, "no row after the kills");
    sensor.stop();
    numbers_are_gapless(&gateway);
    let stops = gateway.rows().into_iter().filter(|r| r.0 == "SensorLossEvents" && r.2["Cause"] == "SensorStopped");
    let numbers: std::collections::BTreeSet<u64> = stops.map(|r| r.1).collect();
    assert_eq!(numbers.len(), 6, "each kill left one absence, told once under one number");
}

#[test]
fn new_content_is_used_at_once_and_an_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, config) = (Gateway::start(), config(folder.path()));
    enrol_with(&gateway, &config, &gateway.token()).unwrap();
    let sensor = Running::start(&config);
    gateway.wait_for("the first rows", |g| (!g.stored().is_empty()).then_some(()));
    let rule = "title: Sleep\nid: 7a1f7c0e-0000-4000-8000-000000000001\nlogsource: {product: linux, category: process_creation}\ndetection:\n  s: {Image|endswith: /sleep}\n  condition: s\nlevel: high\n---\ntitle: broken\ndetection: 7\n";
    gateway.push_rules(5, rule);
    let status = gateway.wait_for("the content's status", |g| g.statuses().first().cloned());
    assert_eq!((status.generation, status.error.as_str(), status.rules_usable), (5, "", 1));
    assert_eq!(status.rules_refused, 1, "the broken rule is counted and stops nothing");
    let mut rounds = 0;
    while !gateway.stored().iter().any(|s| s.urgent) {
        rounds += 1;
        assert!(rounds < 100, "the rule never fired");
        act("0.2");
    }
    gateway.push_rules(4, rule);
    let status = gateway.wait_for("the second status", |g| g.statuses().get(1).cloned());
    assert!(status.error.contains("older"), "{status:?}");
    sensor.stop();
    // What was kept is used after a restart, before any server is asked.
    gateway.inner.away.store(true, Ordering::SeqCst);
    let sensor = Running::start(&config);
    let health = loop {
        if let Ok(health) = garrison_sensor::control::ask(&config.run_dir, garrison_sensor::control::Request::Health) {
            break health;
        }
        std::thread::yield_now();
    };
    assert_eq!(
        (health["definitions_version"].as_str(), health["definitions_rules_usable"].as_u64()),
        (Some("v5"), Some(1))
    );
    sensor.stop();
}

#[test]
fn a_wrong_server_or_token_is_a_clear_error_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, config) = (Gateway::start(), config(folder.path()));
    let other = EnrolmentToken::generate([7; 32]).unwrap();
    assert!(matches!(enrol_with(&gateway, &config, &other), Err(EnrolError::WrongServer { .. })));
    let mut used = gateway.token();
    used.secret = [1; 24];
    assert!(matches!(enrol_with(&gateway, &config, &used), Err(EnrolError::Token(_))));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let gone = Gateway { address: nobody, inner: std::sync::Arc::clone(&gateway.inner) };
    assert!(matches!(enrol_with(&gone, &config, &gateway.token()), Err(EnrolError::Unreachable { .. })));
    assert!(!config.state_dir.join("identity.json").exists());
}
