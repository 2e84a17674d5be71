//! How many connected machines one server bears: enrolments a second, a plan that is switched on over a tenth of the
//! fleet in one go, and the same with the server killed in the middle.
//!
//! Each machine is a connector on the real wire that obeys as a real one does: it says that it works, fetches the package
//! whole, asks for the sensor's token and says that it is done. Machine and sensor themselves are not there.

use crate::harness;
use anyhow::{Context as _, anyhow, ensure};
use garrison_testkit::FakeConnector;
use garrison_wire::connect::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use xtask::stage::Stage;

/// Subscriptions; a tenth of the fleet lies in each.
const SUBSCRIPTIONS: usize = 10;
/// The one whose plan is switched on, and the one during whose switch the server is killed.
const SWITCHED: usize = SUBSCRIPTIONS - 2;
const INTERRUPTED: usize = SUBSCRIPTIONS - 1;
/// Bytes of the package: what counts is that each machine fetches one, not how long a real one takes on a real network.
const PACKAGE_BYTES: usize = 64 << 10;
/// Seconds that an answer may be held, as a real connector offers.
const WAIT_SECONDS: u32 = 30;
/// How long a wave may take before the benchmark gives up.
const WAVE_MAX: Duration = Duration::from_mins(15);

/// What the machines of one subscription have done.
#[derive(Default)]
struct Wave {
    installed: AtomicUsize,
    /// Installs of a machine that had one already.
    twice: AtomicUsize,
    failed: AtomicUsize,
}

fn wrong(error: xtask::tools::Failure) -> anyhow::Error {
    anyhow!(error.0)
}

/// Installs what an order names, as far as the server sees it.
async fn install(machine: &mut FakeConnector, order: &v1::Order) -> anyhow::Result<()> {
    let working = v1::ExtensionReport { phase: "working".into(), ..FakeConnector::done(order.generation, "") };
    machine.try_report(order.generation, 0, Some(working)).await?;
    let package = order.package.as_ref().context("the order names no package")?;
    let ask = v1::PackageRequest { sha256: package.sha256.clone(), offset: 0 };
    let mut stream = machine.client.package(ask).await?.into_inner();
    let mut bytes = 0;
    while let Some(piece) = stream.message().await? {
        bytes += piece.data.len() as u64;
    }
    ensure!(bytes == package.size, "{bytes} of {} bytes came", package.size);
    machine.client.sensor_token(v1::SensorTokenRequest { generation: order.generation }).await?;
    Ok(())
}

/// A connector's life: reports, obeys, and goes on after whatever happens to the server.
async fn live(mut machine: FakeConnector, wave: Arc<Wave>, stop: Arc<AtomicBool>) {
    let (mut taken, mut version) = (0, String::new());
    let mut open: Option<v1::Order> = None;
    while !stop.load(Ordering::Relaxed) {
        if let Some(order) = &open {
            // A real connector has the order in its journal and does what is left of it, however often that takes.
            if install(&mut machine, order).await.is_err() {
                wave.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(500 + u64::from(rand::random::<u8>()) * 4)).await;
                continue;
            }
            let had = !version.is_empty();
            version = order.package.as_ref().map(|p| p.version.clone()).unwrap_or_default();
            (if had { &wave.twice } else { &wave.installed }).fetch_add(1, Ordering::Relaxed);
            open = None;
        }
        let report = (taken > 0).then(|| FakeConnector::done(taken, &version));
        match machine.try_report(taken, WAIT_SECONDS, report).await {
            Ok(answer) if !answer.orders.is_empty() => {
                let Ok(order) = machine.try_opened(&answer) else { continue };
                if order.generation > taken && order.deed == "install" {
                    taken = order.generation;
                    open = Some(order);
                }
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(500 + u64::from(rand::random::<u8>()) * 4)).await,
        }
    }
}

/// Machines by the state of their sensor, as the server tells.
fn states(stage: &Stage, subscription: &str) -> anyhow::Result<BTreeMap<String, usize>> {
    let words = ["machine", "list", "--subscription", subscription, "--limit", "1000000", "--output", "ndjson"];
    let list = stage.garrison(&words).map_err(wrong)?;
    let mut states = BTreeMap::new();
    for line in list.lines().filter(|l| !l.trim().is_empty()) {
        let machine: serde_json::Value = serde_json::from_str(line)?;
        let state = machine["extensions"][0]["state"].as_str().unwrap_or("none").to_owned();
        *states.entry(state).or_insert(0) += 1;
    }
    Ok(states)
}

/// Switches Plan 2 on and waits until every machine has done what follows.
fn wave(stage: &Stage, name: &str, wave: &Wave, machines: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    stage.garrison(&["plan", "set", "P2", name, "--output", "json"]).map_err(wrong)?;
    until_installed(wave, machines, begun)
}

fn until_installed(wave: &Wave, machines: usize, begun: Instant) -> anyhow::Result<f64> {
    while wave.installed.load(Ordering::Relaxed) < machines {
        ensure!(begun.elapsed() < WAVE_MAX, "{} of {machines} done", wave.installed.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Entry.
pub fn run(machines: usize) -> anyhow::Result<()> {
    harness::raise_file_limit();
    let each = machines / SUBSCRIPTIONS;
    ensure!(each > 0, "name {SUBSCRIPTIONS} machines or more");
    println!("bench fleet --connectors {machines}: {}", harness::machine());
    let mut stage = harness::stage()?;
    let packages = stage.folder().join("server/packages");
    std::fs::create_dir_all(&packages)?;
    std::fs::write(packages.join("garrison-sensor-1.0.0-x64.tar.zst"), vec![7; PACKAGE_BYTES])?;
    let mut names = Vec::new();
    for n in 0..SUBSCRIPTIONS {
        let words = ["subscription", "create", &format!("bench{n}"), "--location", "westeurope", "--output", "json"];
        let made = stage.garrison(&words).map_err(wrong)?;
        let id = xtask::tools::json_text(&made, "id").context("the server made no subscription")?;
        if n < SWITCHED {
            stage.garrison(&["plan", "set", "P2", &id]).map_err(wrong)?;
        }
        names.push(id);
    }
    let uses = machines.to_string();
    let words = ["token", "create", "--kind", "connector", "--name", "bench", "--uses", &uses, "--output", "json"];
    let token = stage.garrison(&words).map_err(wrong)?;
    let token: serde_json::Value = serde_json::from_str(&token)?;
    let token: Arc<str> = token["token"].as_str().context("the server made no token")?.into();
    let gateway: Arc<str> = stage.gateway().into();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let server = stage.pids().0;
    let empty = harness::resident_bytes(server)?;

    let begun = Instant::now();
    let connected: Vec<(usize, FakeConnector)> = runtime.block_on(async {
        // At most 64 handshakes at once: a fleet does not enrol in one instant, and the figure is the server's rate.
        let gate = Arc::new(Semaphore::new(64));
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..each * SUBSCRIPTIONS {
            let permit = Arc::clone(&gate).acquire_owned().await?;
            let (gateway, token) = (Arc::clone(&gateway), Arc::clone(&token));
            let subscription = names[i % SUBSCRIPTIONS].clone();
            tasks.spawn(async move {
                let tag = ("env", "bench");
                let machine =
                    FakeConnector::enrol_in(&gateway, &token, &format!("bench-{i}"), &subscription, tag).await;
                drop(permit);
                machine.map(|machine| (i % SUBSCRIPTIONS, machine))
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::from)
    })?;
    let took = begun.elapsed().as_secs_f64();
    println!("  {} machines connected in {took:.1} s: {:.0} a second", connected.len(), machines as f64 / took);

    let waves: Vec<Arc<Wave>> = (0..SUBSCRIPTIONS).map(|_| Arc::default()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    for (n, machine) in connected {
        runtime.spawn(live(machine, Arc::clone(&waves[n]), Arc::clone(&stop)));
    }
    for wave in waves.iter().take(SWITCHED) {
        until_installed(wave, each, begun)?;
    }
    let (count, took) = (SWITCHED * each, begun.elapsed().as_secs_f64());
    println!("  first installs of {count} machines: {took:.1} s, {:.0} a second", count as f64 / took);
    std::thread::sleep(Duration::from_secs(20));
    let full = harness::resident_bytes(server)?;
    let each_kb = full.saturating_sub(empty) as f64 / machines as f64 / 1000.0;
    println!("  server resident {} MiB empty, {} MiB full: {each_kb:.1} kB a machine", empty >> 20, full >> 20);
    let before = harness::cpu_seconds(server)?;
    std::thread::sleep(Duration::from_secs(30));
    let after = harness::cpu_seconds(server)?;
    let idle = (after.0 + after.1 - before.0 - before.1) / 30.0 * 100.0;
    println!("  with nothing to do: {idle:.1} % of a core");

    let before = harness::cpu_seconds(server)?;
    let took = wave(&stage, &names[SWITCHED], &waves[SWITCHED], each)?;
    let after = harness::cpu_seconds(server)?;
    let cpu = after.0 + after.1 - before.0 - before.1;
    let rate = each as f64 / took;
    println!("  Plan 2 on over {each} machines in one go: all installed after {took:.1} s, {rate:.0} a second");
    println!("  server CPU {cpu:.1} s, resident {} MiB", harness::resident_bytes(server)? >> 20);

    let begun = Instant::now();
    stage.garrison(&["plan", "set", "P2", &names[INTERRUPTED], "--output", "json"]).map_err(wrong)?;
    let last = Arc::clone(&waves[INTERRUPTED]);
    while last.installed.load(Ordering::Relaxed) < each / 3 {
        ensure!(begun.elapsed() < WAVE_MAX, "the last tenth is not installed");
        std::thread::sleep(Duration::from_millis(2));
    }
    let done = last.installed.load(Ordering::Relaxed);
    stage.crash().map_err(wrong)?;
    println!(
        "  server killed with {done} of {each} installed, listening again after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let took = until_installed(&last, each, begun)?;
    println!(
        "  all installed {took:.1} s after the switch; {} tries were repeated",
        last.failed.load(Ordering::Relaxed)
    );
    // What the server says of them comes with their next reports.
    let begun = Instant::now();
    let wanted = BTreeMap::from([("Succeeded".to_owned(), each)]);
    for name in &names {
        loop {
            let states = states(&stage, name)?;
            if states == wanted {
                break;
            }
            ensure!(begun.elapsed() < WAVE_MAX, "machines of {name} stand at {states:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    let twice: usize = waves.iter().map(|w| w.twice.load(Ordering::Relaxed)).sum();
    let installed: usize = waves.iter().map(|w| w.installed.load(Ordering::Relaxed)).sum();
    println!("  {installed} machines installed, {twice} twice, {} forgotten", each * SUBSCRIPTIONS - installed);
    ensure!(twice == 0, "a machine was ordered to install twice");
    stop.store(true, Ordering::Relaxed);
    runtime.shutdown_background();
    stage.stop().map_err(wrong)
}
