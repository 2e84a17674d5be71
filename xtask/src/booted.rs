//! `cargo xtask test systemd`: a Debian with systemd as PID 1, booted in a container of `systemd-nspawn`, is connected;
//! the sensor's unit is held against kills, stops, a reboot, off-boarding, and a sensor that a package had brought.
//!
//! Not among the parts that run by themselves: it needs root, a mirror of Debian for the first time, and a minute.

use crate::stage::{Stage, extension};
use crate::tools::{Done, Failure, cache, command, fail, find, is_root, json_text, output, root, run, say, target};
use crate::tools::{tell, wait_for};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONNECTOR: &str = "garrison-connect.service";
const SENSOR: &str = "garrison-sensor.service";
const SUBSCRIPTION: &str = "booted";
const SUITE: &str = "bookworm";
/// What is looked at before and after; what systemd itself writes about its runs is left out.
const PLACES: [&str; 7] = ["etc", "opt", "root", "srv", "usr", "var/lib", "run"];
const OF_SYSTEMD: [&str; 5] = ["var/lib/systemd", "run/systemd", "run/log", "run/user", "run/agetty.reload"];
const BOOT_MAX: Duration = Duration::from_mins(2);
const INSTALL_MAX: Duration = Duration::from_mins(5);
const STEP_MAX: Duration = Duration::from_mins(1);

/// A booted container on a copy of the tree.
struct Booted {
    tree: PathBuf,
    /// The shell that starts `systemd-nspawn` for every boot.
    shell: Child,
}

impl Drop for Booted {
    fn drop(&mut self) {
        // SIGTERM lets it power off in order.
        if let Some(nspawn) = child_of(self.shell.id()) {
            let _ = command("kill", ["-TERM", &nspawn.to_string()]).status();
        }
        if wait_for(STEP_MAX, || self.shell.try_wait().ok().flatten()).is_none() {
            let _ = command("kill", ["-KILL", &format!("-{}", self.shell.id())]).status();
            let _ = self.shell.wait();
        }
    }
}

/// The first child of a process.
fn child_of(id: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The tree, made once.
fn tree() -> Done<PathBuf> {
    let tree = cache().join("booted").join(SUITE);
    if tree.join("usr").exists() {
        return Ok(tree);
    }
    let new = tree.with_extension("new");
    if new.exists() {
        std::fs::remove_dir_all(&new)?;
    }
    std::fs::create_dir_all(&new)?;
    let with = "--include=systemd,systemd-sysv,dbus,procps,libelf1,zlib1g";
    let mut make = command("debootstrap", ["--variant=minbase", with, SUITE]);
    run("a Debian to boot (once)", make.arg(&new).stdout(Stdio::null()))?;
    std::fs::write(new.join("etc/hostname"), "booted\n")?;
    // Empty: the container gives itself one at its first boot.
    std::fs::write(new.join("etc/machine-id"), "")?;
    std::fs::rename(&new, &tree)?;
    Ok(tree)
}

impl Booted {
    fn boot(folder: &Path) -> Done<Self> {
        let tree = tree()?;
        let copy = folder.join("booted");
        output(command("cp", ["-a", "--reflink=auto"]).arg(&tree).arg(&copy))?;
        // nspawn wants `/run/systemd/nspawn` on a tmpfs of its own; the host's is left as it is. It ends with 133 when the
        // container reboots. The host's network is the container's, so that the server on loopback is there too.
        let script = "mkdir -p /run/systemd && mount -t tmpfs tmpfs /run/systemd || exit 1; \
                      while \"$@\"; [ $? = 133 ]; do :; done";
        let words = ["-m", "--propagation", "private", "sh", "-c", script, "sh", "systemd-nspawn"];
        let mut nspawn = command("unshare", words);
        nspawn.args(["--boot", "--register=no", "--keep-unit", "--console=read-only", "--capability=all"]);
        nspawn.args([
            "--system-call-filter=bpf perf_event_open fanotify_init fanotify_mark",
            "--machine=garrison-booted",
        ]);
        nspawn.arg("--directory").arg(&copy);
        let log = std::fs::File::create(folder.join("booted.log"))?;
        nspawn.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let shell = nspawn.spawn().map_err(|e| Failure(format!("cannot boot: {e}")))?;
        let booted = Self { tree: copy, shell };
        booted.await_boot()?;
        Ok(booted)
    }

    /// PID 1 of the container, as the host sees it.
    fn leader(&self) -> Option<u32> {
        let child = child_of(child_of(self.shell.id())?)?;
        let is_init = std::fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|c| c.trim() == "systemd");
        is_init.then_some(child)
    }

    fn inside(&self, words: &[&str]) -> Done<Command> {
        let leader = self.leader().ok_or_else(|| Failure("the container does not run".to_owned()))?;
        let mut c =
            command("nsenter", ["-t", &leader.to_string(), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "env", "-i"]);
        c.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]).args(words).stdin(Stdio::null());
        Ok(c)
    }

    /// What a command inside says, whatever it ends with.
    fn asked(&self, words: &[&str]) -> String {
        let said = self.inside(words).and_then(|mut c| Ok(c.stderr(Stdio::null()).output()?));
        said.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
    }

    fn done(&self, words: &[&str]) -> Done<String> {
        output(&mut self.inside(words)?)
    }

    fn await_boot(&self) -> Done {
        let up = wait_for(BOOT_MAX, || {
            let state = self.asked(&["systemctl", "is-system-running"]);
            matches!(state.as_str(), "running" | "degraded").then_some(())
        });
        up.map_or_else(|| fail("systemd did not come up in the container"), Ok)
    }

    /// A property of a unit.
    fn of(&self, unit: &str, property: &str) -> String {
        self.asked(&["systemctl", "show", unit, "--value", "--property", property])
    }

    fn await_active(&self, unit: &str, not: &str) -> Done<String> {
        let found = wait_for(STEP_MAX, || {
            let pid = self.of(unit, "MainPID");
            (self.of(unit, "ActiveState") == "active" && pid != "0" && pid != not).then_some(pid)
        });
        found.map_or_else(|| fail(format!("{unit} is not active: {}", self.asked(&["systemctl", "status", unit]))), Ok)
    }

    /// Every file below the places, with its size, or where it leads to.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut open: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
        let root = self.leader().map_or(self.tree.clone(), |leader| PathBuf::from(format!("/proc/{leader}/root")));
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
                let path = folder.join(entry.file_name());
                if OF_SYSTEMD.iter().any(|p| path.starts_with(p)) {
                    continue;
                }
                let Ok(kind) = entry.file_type() else { continue };
                let what = if kind.is_symlink() {
                    std::fs::read_link(root.join(&path)).map(|to| to.display().to_string()).unwrap_or_default()
                } else if kind.is_dir() {
                    open.push(path.clone());
                    "folder".to_owned()
                } else {
                    entry.metadata().map(|m| m.len().to_string()).unwrap_or_default()
                };
                found.insert(path, what);
            }
        }
        found
    }
}

/// What is held to be so.
fn must(is_so: bool, words: &str) -> Done {
    if is_so {
        tell!("    {words}");
        return Ok(());
    }
    fail(format!("not so: {words}"))
}

struct Trial<'a> {
    stage: &'a Stage,
    booted: &'a Booted,
    resource: String,
}

impl Trial<'_> {
    /// State and code of the extension once it is the wanted one.
    fn await_extension(&self, wanted: &str, code: &str, limit: Duration) -> Done {
        let mut last = String::new();
        let found = wait_for(limit, || {
            last = self.stage.garrison(&["machine", "show", &self.resource, "--output", "json"]).ok()?;
            let (state, found, _) = extension(&last)?;
            (state == wanted && (code.is_empty() || found == code)).then_some(())
        });
        if found.is_none() {
            let log = self.booted.asked(&["journalctl", "-u", CONNECTOR, "-n", "30", "--no-pager"]);
            return fail(format!("the extension is not {wanted} {code}:\n{last}\n{log}"));
        }
        Ok(())
    }

    fn health(&self, code: &str) -> Done {
        let begun = Instant::now();
        let found = wait_for(STEP_MAX, || {
            let shown = self.stage.garrison(&["machine", "show", &self.resource, "--output", "json"]).ok()?;
            shown.contains(code).then_some(())
        });
        must(found.is_some(), &format!("`{code}` is told, after {:.0} s", begun.elapsed().as_secs_f64()))
    }

    fn arrives(&self) -> Done<String> {
        say("Plan 2 is switched on");
        self.stage.garrison(&["plan", "set", "P2", SUBSCRIPTION, "--output", "json"])?;
        self.await_extension("Succeeded", "", INSTALL_MAX)?;
        let sensor = self.booted.await_active(SENSOR, "")?;
        must(self.booted.of(SENSOR, "UnitFileState") == "enabled", "the sensor's unit is active and enabled")?;
        let walls = self.booted.of(SENSOR, "NoNewPrivileges") + &self.booted.of(SENSOR, "ProtectHome");
        must(walls == "yesread-only", "it is confined as the package's is")?;
        let health = self.booted.asked(&["/opt/garrison/sensor/current/bin/garrison-sensor", "health"]);
        let told = |field: &str| {
            let line = health.lines().find_map(|l| l.strip_prefix(field));
            line.unwrap_or_default().trim_start_matches([' ', ':']).to_owned()
        };
        must(told("healthy") == "true", "it says that it is healthy")?;
        let eyes = told("supplementary_events_subsystem");
        must(!eyes.is_empty(), &format!("it sees with `{eyes}`"))?;
        Ok(sensor)
    }

    fn stays(&self, sensor: String) -> Done {
        say("connector and sensor are killed, stopped, started anew");
        let connector = self.booted.await_active(CONNECTOR, "")?;
        self.booted.done(&["kill", "-9", &connector])?;
        let connector = self.booted.await_active(CONNECTOR, &connector)?;
        self.await_extension("Succeeded", "", STEP_MAX)?;
        must(self.booted.of(SENSOR, "MainPID") == sensor, "a connector that was killed comes back, its sensor ran on")?;
        self.booted.done(&["systemctl", "restart", CONNECTOR])?;
        self.booted.await_active(CONNECTOR, &connector)?;
        must(self.booted.of(SENSOR, "MainPID") == sensor, "so it did when the connector was restarted")?;
        self.booted.done(&["kill", "-9", &sensor])?;
        let sensor = self.booted.await_active(SENSOR, &sensor)?;
        tell!("    a sensor that was killed runs again");
        self.booted.done(&["systemctl", "stop", SENSOR])?;
        self.health("SENSOR_STOPPED")?;
        must(self.booted.of(SENSOR, "ActiveState") == "inactive", "it is not started against who stopped it")?;
        self.booted.done(&["systemctl", "start", SENSOR])?;
        self.booted.await_active(SENSOR, &sensor)?;
        let well = wait_for(STEP_MAX, || {
            let shown = self.stage.garrison(&["machine", "show", &self.resource, "--output", "json"]).ok()?;
            (!shown.contains("SENSOR_STOPPED")).then_some(())
        });
        must(well.is_some(), "started again, it is well again")
    }

    fn reboots(&self) -> Done {
        say("the machine is rebooted");
        let leader = self.booted.leader();
        // It may be cut off before it has its answer; whether the machine went down is seen below.
        self.booted.asked(&["systemctl", "reboot"]);
        let gone = wait_for(BOOT_MAX, || (self.booted.leader() != leader).then_some(()));
        must(gone.is_some(), "it went down")?;
        self.booted.await_boot()?;
        self.booted.await_active(CONNECTOR, "")?;
        self.booted.await_active(SENSOR, "")?;
        self.await_extension("Succeeded", "", STEP_MAX)?;
        tell!("    connector and sensor are back by themselves");
        Ok(())
    }

    /// Off-boards the machine, and waits until the connector has ended.
    fn leaves(&self) -> Done {
        self.stage.garrison(&["machine", "offboard", &self.resource])?;
        let gone = wait_for(BOOT_MAX, || {
            (self.booted.of(CONNECTOR, "ActiveState") == "inactive"
                && !self.booted.tree.join("var/lib/garrison-connect").exists())
            .then_some(())
        });
        if gone.is_none() {
            return fail(self.booted.asked(&["journalctl", "-u", CONNECTOR, "-n", "30", "--no-pager"]));
        }
        Ok(())
    }
}

fn same(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>, words: &str) -> Done {
    let differ = |one: &BTreeMap<PathBuf, String>, other: &BTreeMap<PathBuf, String>| -> Vec<String> {
        one.iter().filter(|(p, w)| other.get(*p) != Some(w)).map(|(p, _)| p.display().to_string()).collect()
    };
    let (gone, new) = (differ(before, after), differ(after, before));
    must(gone.is_empty() && new.is_empty(), &format!("{words}{}{}", gone.join(" "), new.join(" ")))
}

fn enrolled(stage: &Stage, booted: &Booted) -> Done<String> {
    let token = ["token", "create", "--kind", "connector", "--name", SUBSCRIPTION, "--output", "json"];
    let token = stage.garrison(&token)?;
    let token = json_text(&token, "token").ok_or_else(|| Failure(format!("no token in {token}")))?;
    let said = booted.done(&["garrison-connect", "enrol", "--server", stage.gateway(), "--token", &token])?;
    booted.done(&["systemctl", "start", CONNECTOR])?;
    booted.await_active(CONNECTOR, "")?;
    json_text(&said, "resourceId").ok_or_else(|| Failure(format!("no resource in {said}")))
}

fn scenes(stage: &Stage, booted: &Booted, programs: &Path) -> Done {
    let units = root().join("packaging/systemd");
    let place = |from: PathBuf, to: &str| std::fs::copy(from, booted.tree.join(to)).map(drop);
    place(programs.join("garrison-connect"), "usr/bin/garrison-connect")?;
    place(units.join(CONNECTOR), &format!("usr/lib/systemd/system/{CONNECTOR}"))?;
    booted.done(&["systemctl", "daemon-reload"])?;
    booted.done(&["systemctl", "enable", "--now", CONNECTOR])?;
    must(booted.of(CONNECTOR, "ActiveState") == "inactive", "a connector that is not enrolled waits")?;
    let before = booted.files();

    stage.garrison(&["subscription", "create", SUBSCRIPTION, "--location", "westeurope", "--output", "json"])?;
    let trial = Trial { stage, booted, resource: enrolled(stage, booted)? };
    let sensor = trial.arrives()?;
    trial.stays(sensor)?;
    trial.reboots()?;
    say("the machine is off-boarded");
    trial.leaves()?;
    same(&before, &booted.files(), "every file is as it was before ")?;
    let known = booted.asked(&["systemctl", "list-units", "--all", "--no-legend", "garrison-sensor*"]);
    must(known.is_empty(), "systemd knows no unit of the sensor")?;

    say("a sensor that a package brought is taken over");
    place(programs.join("garrison-sensor"), "usr/bin/garrison-sensor")?;
    place(units.join(SENSOR), &format!("usr/lib/systemd/system/{SENSOR}"))?;
    booted.done(&["systemctl", "daemon-reload"])?;
    let before = booted.files();
    let token = stage.token()?;
    booted.done(&["garrison-sensor", "enrol", "--server", stage.gateway(), "--token", &token])?;
    booted.done(&["systemctl", "start", SENSOR])?;
    let sensor = booted.await_active(SENSOR, "")?;
    stage.garrison(&["machine", "onboard", &trial.resource])?;
    let trial = Trial { stage, booted, resource: enrolled(stage, booted)? };
    trial.await_extension("Succeeded", "", INSTALL_MAX)?;
    must(booted.of(SENSOR, "MainPID") == sensor, "it runs on, and is the only one")?;
    must(!booted.tree.join("opt/garrison").exists(), "nothing was installed beside it")?;
    trial.leaves()?;
    must(booted.of(SENSOR, "ActiveState") == "inactive", "off-boarding ended it")?;
    same(&before, &booted.files(), "its program and its unit are left, and nothing else ")
}

/// Entry.
pub fn test() -> Done {
    let missing = ["debootstrap", "systemd-nspawn", "nsenter"].into_iter().find(|name| find(name).is_none());
    if let Some(name) = missing.or((!is_root()).then_some("root")) {
        return fail(format!("the test under systemd needs {name}"));
    }
    let stage = Stage::build_and_serve()?;
    let tested = Booted::boot(stage.folder()).and_then(|booted| scenes(&stage, &booted, &target().join("debug")));
    let stopped = stage.stop();
    tested?;
    stopped
}
