//! What the system benchmarks share: a stage of optimised programs, clocks of other processes, and how figures are told.

use anyhow::{Context as _, anyhow};
use std::path::PathBuf;
use xtask::stage::Stage;

/// The folder of optimised programs.
pub fn programs() -> PathBuf {
    std::env::current_exe().ok().and_then(|p| p.parent().map(PathBuf::from)).unwrap_or_default()
}

/// A started server.
pub fn stage() -> anyhow::Result<Stage> {
    Stage::start(&programs()).map_err(|e| anyhow!(e.0))
}

/// CPU time of a process so far, in seconds: user, kernel.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<(f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').context("stat has no name")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    Ok((ticks(11), ticks(12)))
}

/// Resident bytes of a process.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).and_then(|k| k.parse().ok()).context("VmRSS is no number")?;
    Ok(kib * 1024)
}

/// Busy seconds of all cores since boot: everything but idle and waiting.
pub fn machine_busy_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("no cpu line")?;
    let n: Vec<f64> = line.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    let part = |i: usize| n.get(i).copied().unwrap_or(0.0);
    Ok((part(0) + part(1) + part(2) + part(5) + part(6) + part(7)) / 100.0)
}

/// The load of the machine, so that a figure can be judged.
pub fn machine() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, kernel {}, load {}", kernel.trim(), load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// The value at a share (0 to 1) of a list.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() {
        return f64::NAN;
    }
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// Raises the limit of open files as far as it goes.
pub fn raise_file_limit() {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    // As root the hard limit may be raised too; if not, what there is must do.
    let wanted = 200_000.max(hard);
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, wanted, wanted)
        .or_else(|_| nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard));
}
