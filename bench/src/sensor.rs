//! Cost of the sensor while loops execute `/bin/true` 400, 800 and 1,600 times a second and as fast as they can, beside
//! auditd with an execve rule.
//!
//! Machines are noisy, so the three arms (bare, auditd, sensor) take turns in many short rounds, each in another order,
//! and what is told is the median over the rounds of what an arm did against the bare arm of the same round, with the
//! quartiles beside it. Cost is what the watchers' processes spend, and what the whole machine spends above the bare arm
//! (so that work done inside the kernel on behalf of others counts).

use crate::harness;
use anyhow::{Context as _, anyhow};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xtask::stage::Stage;

const RATES: &[u32] = &[400, 800, 1600, 0];

#[derive(Clone, Copy, PartialEq)]
enum Arm {
    Bare,
    Auditd,
    Sensor,
}

/// The arms in every order, so that none is always first.
const ORDERS: [[Arm; 3]; 6] = {
    use Arm::{Auditd as A, Bare as B, Sensor as S};
    [[B, A, S], [S, B, A], [A, S, B], [B, S, A], [A, B, S], [S, A, B]]
};

#[derive(Clone, Copy, Default)]
struct Measured {
    /// Starts a second.
    achieved: f64,
    /// Seconds that one start and its end took, on average.
    each: f64,
    /// Cores that the machine was busy with.
    machine: f64,
    /// Cores that the watcher itself used.
    own: f64,
    /// How many were started, and between which microseconds since 1970.
    done: u32,
    from: u128,
    until: u128,
}

/// One loop: executes at a rate for a while; 0 is as fast as it can. How many, and the seconds spent in them.
fn one_loop(rate: f64, end: Duration) -> anyhow::Result<(u32, f64)> {
    let start = Instant::now();
    let (mut done, mut spent) = (0_u32, 0.0);
    while start.elapsed() < end {
        if rate > 0.0 {
            let due = Duration::from_secs_f64(f64::from(done) / rate);
            let ahead = due.saturating_sub(start.elapsed());
            if !ahead.is_zero() {
                std::thread::sleep(ahead);
            }
        }
        let begun = Instant::now();
        Command::new("/bin/true").stdin(Stdio::null()).status().context("cannot run /bin/true")?;
        spent += begun.elapsed().as_secs_f64();
        done += 1;
    }
    Ok((done, spent))
}

/// `loops` loops side by side reach the rate together.
fn storm(rate: u32, loops: usize, seconds: f64) -> anyhow::Result<Measured> {
    let busy = harness::machine_busy_seconds()?;
    let (from, start) = (now_micros(), Instant::now());
    let end = Duration::from_secs_f64(seconds);
    let share = f64::from(rate) / loops as f64;
    let threads: Vec<_> = (0..loops).map(|_| std::thread::spawn(move || one_loop(share, end))).collect();
    let (mut done, mut spent) = (0, 0.0);
    for thread in threads {
        let (count, seconds) = thread.join().map_err(|_| anyhow!("a loop panicked"))??;
        done += count;
        spent += seconds;
    }
    let took = start.elapsed().as_secs_f64();
    Ok(Measured {
        achieved: f64::from(done) / took,
        each: spent / f64::from(done.max(1)),
        machine: (harness::machine_busy_seconds()? - busy) / took,
        own: 0.0,
        done,
        from,
        until: now_micros(),
    })
}

fn now_micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros())
}

/// The audit daemon, running; the rule is only there in its own arm.
struct Auditd {
    child: Child,
    /// The kernel's thread that hands records to the daemon: part of the chain.
    kernel_thread: Option<u32>,
}

const RULE: &[&str] = &["always,exit", "-F", "arch=b64", "-S", "execve", "-k", "bench"];

fn auditctl(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("auditctl").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "auditctl {} ended with {status}", args.join(" "));
    Ok(())
}

impl Auditd {
    fn start() -> anyhow::Result<Self> {
        let config = std::env::temp_dir().join(format!("garrison-bench-audit-{}", std::process::id()));
        std::fs::create_dir_all(&config)?;
        let log = config.join("audit.log");
        let text = format!(
            "local_events = yes\nwrite_logs = yes\nlog_file = {}\nlog_format = ENRICHED\nflush = INCREMENTAL_ASYNC\n\
             freq = 50\nmax_log_file = 64\nnum_logs = 2\nmax_log_file_action = ROTATE\nspace_left = 75\n\
             admin_space_left = 50\n",
            log.display()
        );
        std::fs::write(config.join("auditd.conf"), text)?;
        let mut daemon = Command::new("auditd");
        daemon.arg("-n").arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = daemon.spawn().context("cannot start auditd (install Debian's package)")?;
        std::thread::sleep(Duration::from_secs(1));
        auditctl(&["-b", "16384"])?;
        Ok(Self { child, kernel_thread: kernel_thread("kauditd") })
    }

    fn on(&self) -> anyhow::Result<()> {
        auditctl(&[&["-a"], RULE].concat())?;
        auditctl(&["-e", "1"])
    }

    fn off(&self) -> anyhow::Result<()> {
        auditctl(&[&["-d"], RULE].concat())?;
        auditctl(&["-e", "0"])
    }

    fn cpu(&self) -> anyhow::Result<f64> {
        let of = |pid| harness::cpu_seconds(pid).map(|(user, system)| user + system);
        Ok(of(self.child.id())? + self.kernel_thread.map_or(Ok(0.0), of)?)
    }

    fn stop(mut self) {
        let _ = auditctl(&["-e", "0"]);
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        std::thread::sleep(Duration::from_secs(1));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The thread of the kernel with this name.
fn kernel_thread(name: &str) -> Option<u32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (comm.trim() == name).then_some(pid)
    })
}

/// Starts the sensor and waits until its first look at the machine is done: until it is quiet.
fn sensor_on(stage: &mut Stage) -> anyhow::Result<()> {
    stage.resume_sensor().map_err(|e| anyhow!(e.0))?;
    let cpu = |pid| harness::cpu_seconds(pid).map(|(user, system)| user + system);
    let (_, sensor) = stage.pids();
    let mut before = cpu(sensor)?;
    for second in 0..30 {
        std::thread::sleep(Duration::from_secs(1));
        let now = cpu(sensor)?;
        if second > 1 && now - before < 0.03 {
            break;
        }
        before = now;
    }
    Ok(())
}

/// All rates of one arm.
fn arm(arm: Arm, stage: &Stage, auditd: Option<&Auditd>, loops: usize, seconds: f64) -> anyhow::Result<Vec<Measured>> {
    let (server, sensor) = stage.pids();
    let cpu = |pid| harness::cpu_seconds(pid).map(|(user, system)| user + system);
    let own = || match (arm, auditd) {
        (Arm::Auditd, Some(auditd)) => auditd.cpu(),
        (Arm::Sensor, _) => cpu(sensor),
        _ => Ok(0.0),
    };
    let mut all = Vec::new();
    for rate in RATES {
        let (own_before, server_before, start) = (own()?, cpu(server)?, Instant::now());
        let mut measured = storm(*rate, loops, seconds)?;
        // What the watcher still works on after the loops ended is its cost too.
        std::thread::sleep(Duration::from_millis(500));
        let took = start.elapsed().as_secs_f64() - 0.5;
        measured.own = (own()? - own_before) / took;
        // The server is on this machine only because the benchmark is; its own time is taken out.
        measured.machine -= (cpu(server)? - server_before) / took;
        all.push(measured);
    }
    Ok(all)
}

/// Lower quartile, median, upper quartile.
fn quartiles(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    let at = |values: &mut Vec<f64>, share| harness::percentile(values, share);
    (at(&mut values, 0.25), at(&mut values, 0.5), at(&mut values, 0.75))
}

/// A round's figures of each arm, by [`Arm`].
type Round = [Vec<Measured>; 3];

fn report(name: &str, which: Arm, rounds: &[Round]) {
    println!(
        "  {name:<8} {:>6} {:>9} {:>9} {:>10}   {:<26} {:<26}",
        "rate", "starts/s", "own CPU %", "machine +%", "loops slower by % (quart.)", "each start longer by %"
    );
    for (i, rate) in RATES.iter().enumerate() {
        let label = if *rate == 0 { "storm".to_owned() } else { rate.to_string() };
        let pairs = || rounds.iter().map(|round| (round[Arm::Bare as usize][i], round[which as usize][i]));
        let slower = quartiles(pairs().map(|(bare, with)| 100.0 * (1.0 - with.achieved / bare.achieved)));
        let longer = quartiles(pairs().map(|(bare, with)| 100.0 * (with.each / bare.each - 1.0)));
        println!(
            "  {:<8} {label:>6} {:>9.0} {:>9.1} {:>10.1}   {:<26} {:<26}",
            "",
            quartiles(pairs().map(|(_, with)| with.achieved)).1,
            quartiles(pairs().map(|(_, with)| with.own * 100.0)).1,
            quartiles(pairs().map(|(bare, with)| (with.machine - bare.machine) * 100.0)).1,
            format!("{:.1} ({:.1} to {:.1})", slower.1, slower.0, slower.2),
            format!("{:.1} ({:.1} to {:.1})", longer.1, longer.0, longer.2),
        );
    }
}

/// Counts what the lake holds of the loops' own starts, for each rate, beside what the loops started.
fn kept(stage: &mut Stage, rounds: &[Round]) -> anyhow::Result<()> {
    // What waits in the sensor's queue goes out first.
    stage.resume_sensor().map_err(|e| anyhow!(e.0))?;
    stage.clear_queue().map_err(|e| anyhow!(e.0))?;
    let sensor = || rounds.iter().map(|round| &round[Arm::Sensor as usize]);
    for (i, rate) in RATES.iter().enumerate() {
        let started: u32 = sensor().map(|all| all[i].done).sum();
        let windows: Vec<String> = sensor()
            .map(|all| {
                let at = |micros: u128| format!("unixtime_microseconds_todatetime({micros})");
                // The kernel's stamp of the last start may be of a moment after it was counted.
                format!("Timestamp between (({}) .. ({} + 200ms))", at(all[i].from), at(all[i].until))
            })
            .collect();
        let query = format!(
            "DeviceProcessEvents | where ActionType == 'ProcessCreated' and FileName == 'true' and \
             InitiatingProcessId == {} | where {} | count",
            std::process::id(),
            windows.join(" or ")
        );
        let answer = stage.garrison(&["hunt", &query, "--output", "ndjson"]).map_err(|e| anyhow!(e.0))?;
        let stored = xtask::tools::json_text(&answer, "Count").with_context(|| format!("no count in {answer}"))?;
        let label = if *rate == 0 { "storm".to_owned() } else { rate.to_string() };
        println!("  at {label:>5}: the loops started {started}, the lake holds {stored} of them");
    }
    Ok(())
}

/// Entry.
pub fn run(seconds: u64, rounds: usize, loops: usize) -> anyhow::Result<()> {
    println!("bench sensor: {}", harness::machine());
    println!("  {rounds} rounds, each arm and rate {seconds} s a round, {loops} loops side by side");
    let auditd = Auditd::start().map_err(|error| println!("  auditd skipped because {error:#}")).ok();
    let mut stage = harness::stage()?;
    stage.start_sensor().map_err(|e| anyhow!(e.0))?;
    stage.pause_sensor();
    let mut resident = 0;
    let mut all: Vec<Round> = Vec::new();
    for order in ORDERS.iter().cycle().take(rounds) {
        let mut round = Round::default();
        for which in *order {
            match (which, &auditd) {
                (Arm::Auditd, None) => {
                    round[which as usize] = vec![Measured::default(); RATES.len()];
                    continue;
                }
                (Arm::Auditd, Some(auditd)) => auditd.on()?,
                (Arm::Sensor, _) => sensor_on(&mut stage)?,
                (Arm::Bare, _) => {}
            }
            round[which as usize] = arm(which, &stage, auditd.as_ref(), loops, seconds as f64)?;
            match (which, &auditd) {
                (Arm::Auditd, Some(auditd)) => auditd.off()?,
                (Arm::Sensor, _) => {
                    resident = resident.max(harness::resident_bytes(stage.pids().1)?);
                    stage.pause_sensor();
                }
                _ => {}
            }
        }
        all.push(round);
    }
    report("bare", Arm::Bare, &all);
    if auditd.is_some() {
        report("auditd", Arm::Auditd, &all);
    }
    report("sensor", Arm::Sensor, &all);
    kept(&mut stage, &all)?;
    println!("  sensor resident at most {:.1} MB", resident as f64 / 1e6);
    let devices = stage.garrison(&["device", "list", "--output", "json"]).map_err(|e| anyhow!(e.0))?;
    let field = |name| xtask::tools::json_text(&devices, name).unwrap_or_default();
    println!("  rows stored {}, lost by the ledger {}", field("rowCount"), field("lostRowCount"));
    println!("  load at the end: {}", harness::machine());
    if let Some(auditd) = auditd {
        auditd.stop();
    }
    stage.stop().map_err(|e| anyhow!(e.0))
}
