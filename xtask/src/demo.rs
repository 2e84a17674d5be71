//! `cargo xtask demo`: from a bare machine to an incident on the screen, and back: this machine is connected, Plan 2 is
//! switched on, the sensor comes by itself, an attack is played; at the end the machine is off-boarded.

use crate::tools::{Done, fail, is_root, paint, say, tell};
use crate::{attack, packages, stage};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Entry.
pub fn run(args: &[&str]) -> Done {
    if let Some(bad) = args.iter().find(|a| !matches!(**a, "--yes" | "--keep" | "--once")) {
        return fail(format!("`{bad}` is not known; use --yes, --keep or --once"));
    }
    packages::install(&[packages::BUILD], args.contains(&"--yes"))?;
    // From here on Ctrl-C means: stop both programs and clean up.
    let asked = Arc::new(AtomicBool::new(false));
    let stage = stage::Stage::build_and_start()?;
    if !is_root() {
        say("without root the sensor cannot use eBPF or fanotify; it says below what it cannot see");
    }
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
    }
    for line in stage.sensor_health()?.lines() {
        tell!("    {line}");
    }
    say("playing a harmless attack on this machine; all of it is undone");
    attack::run(false)?;
    let id = match stage.incident() {
        Ok(id) => id,
        Err(error) => {
            tell!("logs are in {}", stage.folder().display());
            return Err(error);
        }
    };
    // Straight to the terminal, so that it may use colour and the whole width.
    stage.garrison_command(&["incident", "show", &id.to_string()]).status()?;
    let link = stage.sign_in_link()?;
    tell!("\n{} {}", paint("32;1", "Open the console (the link works once):"), paint("4", &link));
    if args.contains(&"--once") {
        return stage.stop();
    }
    if args.contains(&"--keep") {
        let folder = stage.folder().display().to_string();
        let (server, keeper) = stage.leave();
        tell!("Left running: server {server}, connector {keeper} with its sensor. Stop: kill {keeper} {server}.");
        tell!("Data: {folder}");
        return Ok(());
    }
    tell!("The machine and its extension are under Machines; deleted there, the extension comes back once.");
    tell!("Ctrl-C off-boards this machine, stops everything and leaves it as it was.");
    wait_for_interrupt(&asked);
    stage.stop()?;
    say("stopped; nothing is left behind");
    Ok(())
}

/// Waits for Ctrl-C or another request to end.
fn wait_for_interrupt(asked: &AtomicBool) {
    while !asked.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
}
