//! Cost of the sensor while a loop executes `/bin/true` 400, 800 and 1,600 times a second and as fast as it can, beside
//! auditd with an execve rule in the same run. Cost is what the whole machine spends above the bare loop (so that work
//! done inside the kernel on behalf of others counts), and what the processes themselves spend.

use crate::harness;
use anyhow::{Context as _, anyhow};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RATES: &[u32] = &[400, 800, 1600, 0];

struct Measured {
    achieved: f64,
    machine: f64,
}

/// Executes at a rate for a while; 0 is as fast as one thread can.
fn storm(rate: u32, seconds: u64) -> anyhow::Result<Measured> {
    let busy = harness::machine_busy_seconds()?;
    let start = Instant::now();
    let end = Duration::from_secs(seconds);
    let mut done = 0_u32;
    while start.elapsed() < end {
        if rate > 0 {
            let due = Duration::from_secs_f64(f64::from(done) / f64::from(rate));
            let ahead = due.saturating_sub(start.elapsed());
            if !ahead.is_zero() {
                std::thread::sleep(ahead);
            }
        }
        Command::new("/bin/true").stdin(Stdio::null()).status().context("cannot run /bin/true")?;
        done += 1;
    }
    let took = start.elapsed().as_secs_f64();
    Ok(Measured { achieved: f64::from(done) / took, machine: (harness::machine_busy_seconds()? - busy) / took })
}

fn auditd() -> anyhow::Result<Child> {
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
    let child =
        Command::new("auditd").arg("-n").arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.context("cannot start auditd (install Debian's package)")?;
    std::thread::sleep(Duration::from_secs(1));
    for args in [
        vec!["-b", "16384"],
        vec!["-a", "always,exit", "-F", "arch=b64", "-S", "execve", "-k", "bench"],
        vec!["-e", "1"],
    ] {
        let status = Command::new("auditctl").args(&args).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !status.success() {
            println!("  auditctl {} ended with {status}", args.join(" "));
        }
    }
    Ok(child)
}

fn stop_auditd(mut child: Child) {
    for args in [vec!["-D", "-k", "bench"], vec!["-e", "0"]] {
        let _ = Command::new("auditctl").args(&args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    std::thread::sleep(Duration::from_secs(1));
    let _ = child.kill();
    let _ = child.wait();
}

/// Entry.
pub fn run(seconds: u64) -> anyhow::Result<()> {
    println!("bench sensor: {}", harness::machine());
    let mut bare = Vec::new();
    for rate in RATES {
        bare.push(storm(*rate, seconds)?);
    }
    let report = |name: &str, own: &[f64], measured: &[Measured]| {
        println!("  {name:<10} {:>8} {:>12} {:>14} {:>14}", "rate", "achieved/s", "own CPU %", "machine +%");
        for (i, rate) in RATES.iter().enumerate() {
            let label = if *rate == 0 { "storm".to_owned() } else { rate.to_string() };
            let slower = 100.0 * (1.0 - measured[i].achieved / bare[i].achieved);
            println!(
                "  {:<10} {label:>8} {:>12.0} {:>14.1} {:>14.1}   loop slower by {slower:.1} %",
                "",
                measured[i].achieved,
                own[i] * 100.0,
                (measured[i].machine - bare[i].machine) * 100.0
            );
        }
    };
    match auditd() {
        Ok(child) => {
            let (mut own, mut all) = (Vec::new(), Vec::new());
            for rate in RATES {
                let before = harness::cpu_seconds(child.id())?;
                let start = Instant::now();
                all.push(storm(*rate, seconds)?);
                let after = harness::cpu_seconds(child.id())?;
                own.push((after.0 + after.1 - before.0 - before.1) / start.elapsed().as_secs_f64());
            }
            report("auditd", &own, &all);
            stop_auditd(child);
        }
        Err(error) => println!("  auditd skipped because {error}"),
    }
    let mut stage = harness::stage()?;
    stage.start_sensor().map_err(|e| anyhow!(e.0))?;
    std::thread::sleep(Duration::from_secs(5));
    let (server, sensor) = stage.pids();
    let (mut own, mut all) = (Vec::new(), Vec::new());
    let mut resident = 0;
    for rate in RATES {
        let (before, server_before) = (harness::cpu_seconds(sensor)?, harness::cpu_seconds(server)?);
        let start = Instant::now();
        let mut measured = storm(*rate, seconds)?;
        let took = start.elapsed().as_secs_f64();
        let (after, server_after) = (harness::cpu_seconds(sensor)?, harness::cpu_seconds(server)?);
        own.push((after.0 + after.1 - before.0 - before.1) / took);
        // The server is on this machine only because the benchmark is; its own time is taken out.
        measured.machine -= (server_after.0 + server_after.1 - server_before.0 - server_before.1) / took;
        all.push(measured);
        resident = resident.max(harness::resident_bytes(sensor)?);
    }
    report("sensor", &own, &all);
    println!("  sensor resident at most {:.1} MB", resident as f64 / 1e6);
    std::thread::sleep(Duration::from_secs(3));
    let devices = stage.garrison(&["device", "list", "--output", "json"]).map_err(|e| anyhow!(e.0))?;
    let field = |name| xtask::tools::json_text(&devices, name).unwrap_or_default();
    println!("  rows stored {}, lost by the ledger {}", field("rowCount"), field("lostRowCount"));
    stage.stop().map_err(|e| anyhow!(e.0))
}
