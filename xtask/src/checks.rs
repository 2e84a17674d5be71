//! `cargo xtask test`: everything, in the order in which it fails fastest.

use crate::tools::{Done, cargo, command, fail, find, output, root, run, skip, target};
use crate::{booted, packages, stage, tidy};
use std::process::Command;

/// Runs the tests; words select parts.
fn run_parts(parts: &[&str], yes: bool) -> Done {
    let wants = |part: &str| parts.is_empty() || parts.contains(&part);
    packages::install(&[packages::BUILD, packages::TEST], yes)?;
    if wants("fmt") {
        run("format", cargo().args(["fmt", "--all", "--check"]))?;
    }
    if wants("tidy") {
        tidy::run()?;
    }
    if wants("lint") {
        let args = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        run("lints", cargo().args(args))?;
    }
    if wants("cargo") {
        run("building", cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
        run("unit, golden, property, integration and kernel tests", cargo().args(["test", "--workspace", "--quiet"]))?;
    }
    if wants("console") {
        console()?;
    }
    if wants("live") {
        live()?;
    }
    // By name only: it downloads a Debian to boot.
    if parts.contains(&"systemd") {
        packages::install(&[packages::BOOTED], yes)?;
        booted::test()?;
    }
    Ok(())
}

/// Entry of `cargo xtask test`.
pub fn test(args: &[&str]) -> Done {
    let yes = args.contains(&"--yes") || std::env::var_os("CI").is_some();
    let parts: Vec<&str> = args.iter().copied().filter(|a| !a.starts_with('-')).collect();
    let known = ["fmt", "tidy", "lint", "cargo", "console", "live", "systemd"];
    if let Some(bad) = parts.iter().find(|p| !known.contains(p)) {
        return fail(format!("there is no part `{bad}`; use {}", known.join(", ")));
    }
    run_parts(&parts, yes)
}

/// Writes the generated reference pages.
pub fn docs() -> Done {
    let args = ["test", "--workspace", "--quiet", "the_reference_page_is_current"];
    run("reference pages", cargo().args(args).env("GARRISON_BLESS", "1"))
}

fn node_major() -> Option<u32> {
    let text = output(&mut command("node", ["--version"])).ok()?;
    text.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

fn npm(args: &[&str]) -> Command {
    let mut c = command("npm", args);
    c.current_dir(root().join("console"));
    c
}

/// Installs the console's packages once for its lock file.
fn console_packages() -> Done {
    run(
        "console: packages",
        npm(&["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
            .env("npm_config_update_notifier", "false"),
    )
}

fn console() -> Done {
    match node_major() {
        Some(major) if major >= 20 => {}
        found => {
            skip(&format!(
                "the console's own checks need node 20 or newer, found {found:?}; its built form is in the tree"
            ));
            return Ok(());
        }
    }
    console_packages()?;
    for script in ["typecheck", "lint", "test", "check:dist", "e2e:mock"] {
        run(&format!("console: {script}"), &mut npm(&["run", "--silent", script]))?;
    }
    Ok(())
}

/// The cloud plane in a real browser: a machine is connected from the console, and its sensor comes, goes and is billed.
fn live_plane() -> Done {
    let stage = stage::Stage::build_and_serve()?;
    let tested = stage.sign_in_link().and_then(|link| {
        let mut c = npm(&["run", "--silent", "e2e:plane"]);
        c.env("GARRISON_CONSOLE_URL", link).env("GARRISON_GATEWAY", stage.gateway());
        c.env("GARRISON_CONNECT", stage.program("garrison-connect"));
        c.env("GARRISON_DATABASE", stage.folder().join("server/control/default/control.db"));
        run("console: the cloud plane live in the browser", &mut c)
    });
    let stopped = stage.stop();
    tested?;
    stopped
}

/// The real thing in a real browser: server, sensor, attack, console.
fn live() -> Done {
    if find("node").is_none() || find("chromium").is_none() {
        skip("the live browser test needs node and chromium");
        return Ok(());
    }
    if !root().join("console/node_modules").exists() {
        console_packages()?;
    }
    live_plane()?;
    let stage = stage::Stage::build_and_start()?;
    let attack = target().join("debug/xtask").display().to_string();
    let tested = stage.clear_queue().and_then(|()| stage.sign_in_link()).and_then(|link| {
        let mut c = npm(&["run", "--silent", "e2e:live"]);
        // The browser test plays the attack itself, once it watches the queue.
        c.env("GARRISON_CONSOLE_URL", link).env("GARRISON_ATTACK", format!("{attack} attack"));
        if let Some(machine) = stage.machine() {
            c.env("GARRISON_MACHINE", machine);
        }
        run("console: live in the browser", &mut c)
    });
    let shown = stage.incident().and_then(|id| stage.garrison(&["incident", "show", &id.to_string()]));
    let stopped = stage.stop();
    tested?;
    let tree = shown?;
    for word in ["bash", "apache2", "xmrig"] {
        if !tree.contains(word) {
            return fail(format!("the incident's tree does not show `{word}`:\n{tree}"));
        }
    }
    stopped
}
