//! `cargo xtask demo`: from a bare machine to an incident on the screen.

use crate::tools::{Done, fail, is_root, paint, say};
use crate::{attack, packages, stage};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Entry.
pub fn run(args: &[&str]) -> Done {
    if let Some(bad) = args.iter().find(|a| !matches!(**a, "--yes" | "--keep" | "--once")) {
        return fail(format!("`{bad}` is not known; use --yes, --keep or --once"));
    }
    packages::install(&[packages::BUILD], args.contains(&"--yes"))?;
    let stage = stage::Stage::build_and_start()?;
    if !is_root() {
        say("without root the sensor cannot use eBPF or fanotify; it says below what it cannot see");
    }
    for line in stage.sensor_health()?.lines() {
        eprintln!("    {line}");
    }
    say("playing a harmless attack on this machine; all of it is undone");
    attack::run(false)?;
    let shown = stage.incident_with_tree();
    match shown {
        Ok(_) => {}
        Err(error) => {
            eprintln!("logs are in {}", stage.folder().display());
            return Err(error);
        }
    }
    // Once more straight to the terminal, so that it may use colour and the whole width.
    let list = stage.garrison(&["incident", "list", "--output", "json"])?;
    if let Some(id) = best(&list) {
        stage.garrison_command(&["incident", "show", &id.to_string()]).status()?;
    }
    let link = stage.sign_in_link()?;
    eprintln!("\n{} {}", paint("32;1", "Open the console (the link works once):"), paint("4", &link));
    if args.contains(&"--once") {
        return stage.stop();
    }
    if args.contains(&"--keep") {
        let folder = stage.folder().display().to_string();
        let (server, sensor) = stage.leave();
        eprintln!("Left running: server {server}, sensor {sensor}. Stop: kill {sensor} {server}. Data: {folder}");
        return Ok(());
    }
    eprintln!("Ctrl-C stops everything and leaves this machine as it was.");
    wait_for_interrupt();
    stage.stop()?;
    say("stopped; nothing is left behind");
    Ok(())
}

fn best(list: &str) -> Option<u64> {
    list.split("\"id\":")
        .skip(1)
        .filter_map(|part| {
            let id: u64 = part.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
            let alerts: u64 = crate::tools::json_text(part, "alertCount")?.parse().ok()?;
            Some((alerts, id))
        })
        .max()
        .map(|(_, id)| id)
}

/// Waits for Ctrl-C without a signal library: a shell that traps it sits in our process group and tells us; we ourselves
/// are told by the same signal only after it, because the shell is started with the signal's default taken away.
fn wait_for_interrupt() {
    let script = "trap 'echo stop; exit 0' INT TERM HUP; while :; do sleep 3600 & wait $!; done";
    let watcher = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).stdin(Stdio::null()).spawn();
    if let Ok(mut watcher) = watcher {
        if let Some(out) = watcher.stdout.take() {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let _ = watcher.wait();
    }
}
