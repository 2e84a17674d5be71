//! This machine as a connected one: the connector is enrolled, a plan is switched on, and the sensor comes by itself; at
//! the end the plan goes off, the machine is off-boarded, and what is left is held against what was there before.

use super::{Stage, path, spawn, stop};
use crate::tools::{Done, command, fail, json_text, output, run, say, tell, wait_for};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The subscription of the stage.
pub const SUBSCRIPTION: &str = "demo";
/// How long the sensor may take: a debug build is large, and a busy machine packs and unpacks it slowly.
const INSTALL_MAX: Duration = Duration::from_mins(5);
/// How long off-boarding may take: the sensor may take half a minute to send what it has.
const LEAVE_MAX: Duration = Duration::from_mins(2);
/// Outcome of an install on a machine that is not supported: the codes that leave the machine untouched.
const UNSUPPORTED: [&str; 3] = ["10", "11", "12"];

/// The server has no package yet.
const PACKAGE_MISSING: &str = "104";

/// A connected machine.
pub(super) struct Connected {
    /// The connector.
    pub(super) process: Child,
    /// Its name among the machines.
    machine: String,
    /// What was on the host before.
    before: Traces,
}

/// What could be left behind on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Traces {
    /// Files of the folder of programs, of the usual places, units, and pinned BPF objects.
    files: BTreeSet<PathBuf>,
    /// Tables of nftables; empty where the program is not there or may not look.
    tables: String,
    /// Loaded BPF programs; empty where nobody can tell.
    programs: BTreeSet<String>,
}

/// Places of the host that Garrison's programs write to when they are installed on it as such, and where files with
/// its name would be.
const PLACES: [&str; 7] = [
    "/opt/garrison",
    "/var/lib/garrison-sensor",
    "/var/lib/garrison-connect",
    "/run/garrison-sensor",
    "/etc/systemd/system",
    "/etc/garrison",
    "/sys/fs/bpf",
];

fn files(root: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            files(&path, into);
        }
        into.insert(path);
    }
}

impl Traces {
    fn look(prefix: &Path) -> Self {
        let mut found = BTreeSet::new();
        for place in PLACES.iter().map(Path::new).chain([prefix]) {
            files(place, &mut found);
        }
        let tables = command("nft", ["list", "tables"]).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let tables = tables.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).into_owned());
        Self { files: found, tables, programs: bpf_holders() }
    }
}

/// Kinds of BPF objects that processes of ours hold, as their descriptors show them.
fn bpf_holders() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let comm = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if !comm.starts_with("garrison") {
            continue;
        }
        for descriptor in std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            if target.contains("bpf") || target.contains("fanotify") {
                found.insert(format!("{} {} {target}", comm.trim(), process.file_name().to_string_lossy()));
            }
        }
    }
    found
}

/// State, code and words of the extension in what `machine show` prints.
pub(crate) fn extension(shown: &str) -> Option<(String, String, String)> {
    let part = shown.split_once("\"extensions\"")?.1;
    let state = json_text(part, "state")?;
    let words = json_text(part, "message").unwrap_or_default();
    ["Creating", "Updating", "Succeeded", "Failed", "Deleting"].contains(&state.as_str()).then_some(())?;
    Some((state, json_text(part, "code").unwrap_or_default(), words))
}

/// Packs the sensor that was just built, as `cargo xtask dist` does, signs it with a key of its own, and puts it into the
/// server's data folder, which trusts this key alone.
pub(super) fn package_lay(programs: &Path, folder: &Path) -> Done {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let made = folder.join("package");
    std::fs::create_dir_all(&made)?;
    let name = format!("garrison-sensor-{}-{architecture}.tar.zst", env!("CARGO_PKG_VERSION"));
    let file = path(&made.join(name));
    let args = ["-I", "zstd -1 -T0", "--owner=0", "--group=0", "--mtime=@0", "--transform=s,^,bin/,", "-cf", &file];
    let mut pack = command("tar", args);
    run("packing and signing the sensor for connectors", pack.arg("garrison-sensor").current_dir(programs))?;
    let key = path(&made.join("vendor"));
    let public = format!("{key}.pub");
    let steps: [&[&str]; 4] =
        [&["keygen", &key], &["sign", &file, "--key", &key], &["trust", &public], &["add", &file]];
    for step in steps {
        let mut garrison = command(programs.join("garrison"), ["package"]);
        garrison.args(step).env("GARRISON_DATA", folder.join("server")).stdin(Stdio::null());
        output(&mut garrison)?;
    }
    Ok(())
}

impl Stage {
    /// What the sensor is installed under.
    pub(super) fn prefix(&self) -> PathBuf {
        self.folder.join("machine")
    }

    fn connector_words(&self, words: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = words.iter().map(ToString::to_string).collect();
        for (flag, folder) in [("--state-dir", self.folder.join("connector")), ("--prefix", self.prefix())] {
            words.extend([flag.to_owned(), path(&folder)]);
        }
        words
    }

    /// Connects this machine, with no sensor on it: a subscription, a token, the connector.
    pub fn connect_machine(&mut self) -> Done {
        std::fs::create_dir_all(self.prefix())?;
        let before = Traces::look(&self.prefix());
        say("making a subscription and a token, and connecting this machine; no sensor is on it");
        self.garrison(&["subscription", "create", SUBSCRIPTION, "--location", "westeurope", "--output", "json"])?;
        let token = ["token", "create", "--kind", "connector", "--name", SUBSCRIPTION, "--uses", "1"];
        let answer = self.garrison(&[&token[..], &["--output", "json"]].concat())?;
        let Some(token) = json_text(&answer, "token") else { return fail("the server made no token") };
        let program = self.programs.join("garrison-connect");
        let words = ["enrol", "--server", &self.gateway, "--token", &token, "--tag", "from=demo"];
        let enrolled = output(command(&program, self.connector_words(&words)).stdin(Stdio::null()))?;
        let Some(resource) = json_text(&enrolled, "resourceId") else { return fail("the connector was not enrolled") };
        let process = spawn(&program, &self.connector_words(&["run"]), &self.folder.join("connector.log"))?;
        tell!("    {resource}");
        self.connected = Some(Connected { process, machine: resource.clone(), before });
        let connected = wait_for(Duration::from_mins(1), || {
            let shown = self.garrison(&["machine", "show", &resource, "--output", "json"]).ok()?;
            shown.contains("\"Connected\"").then_some(shown)
        });
        match connected {
            Some(shown) if extension(&shown).is_none() => Ok(()),
            Some(_) => self.give_up("the machine has an extension before a plan was switched on", "connector.log"),
            None => self.give_up("the machine was not connected", "connector.log"),
        }
    }

    /// Switches Plan 2 on and shows how the sensor arrives. False where this machine is not supported: then it is left
    /// untouched, as the code says.
    pub fn plan_on(&mut self) -> Done<bool> {
        say("switching Plan 2 on: garrison plan set P2 demo");
        self.garrison(&["plan", "set", "P2", SUBSCRIPTION, "--output", "json"])?;
        let Some((state, code, words)) = self.follow("Succeeded", INSTALL_MAX)? else {
            return self.give_up("the sensor did not arrive", "connector.log");
        };
        if state == "Failed" {
            if UNSUPPORTED.contains(&code.as_str()) {
                tell!("    code {code}: {words}");
                return Ok(false);
            }
            return self.give_up(&format!("the sensor was not installed, code {code}: {words}"), "connector.log");
        }
        let active = wait_for(Duration::from_mins(1), || {
            let devices = self.garrison(&["device", "list", "--output", "json"]).ok()?;
            devices.contains("\"Active\"").then_some(())
        });
        if active.is_none() {
            return self.give_up("the sensor did not become active", "connector/sensor.log");
        }
        Ok(true)
    }

    /// Prints every state that the extension takes, until it is the wanted one or a failure.
    fn follow(&self, wanted: &str, limit: Duration) -> Done<Option<(String, String, String)>> {
        let Some(connected) = &self.connected else { return fail("no machine is connected") };
        let begun = Instant::now();
        let mut last = String::new();
        Ok(wait_for(limit, || {
            let shown = self.garrison(&["machine", "show", &connected.machine, "--output", "json"]).ok()?;
            let (state, code, words) = extension(&shown)?;
            if state != last {
                tell!("    {:>5.1} s  Sensor.Linux  {state}", begun.elapsed().as_secs_f64());
                last.clone_from(&state);
            }
            // A server that was asked before it had looked for packages looks again.
            let is_over = state == wanted || state == "Failed" && code != PACKAGE_MISSING;
            is_over.then_some((state, code, words))
        }))
    }

    /// Switches the plan off, off-boards the machine, and finds what is left behind: nothing, or it fails.
    pub fn leave_machine(&mut self) -> Done {
        let Some(mut connected) = self.connected.take() else { return Ok(()) };
        say("switching the plan off and off-boarding this machine");
        let asked = self
            .garrison(&["plan", "set", "Off", SUBSCRIPTION, "--output", "json"])
            .and_then(|_| self.garrison(&["machine", "offboard", &connected.machine]));
        let left = asked.is_ok().then(|| wait_for(LEAVE_MAX, || connected.process.try_wait().ok().flatten())).flatten();
        stop(&mut connected.process);
        asked?;
        if !left.is_some_and(|status| status.success()) {
            return self.give_up("the machine could not be off-boarded", "connector.log");
        }
        let after = Traces::look(&self.prefix());
        if after != connected.before || self.folder.join("connector").exists() {
            let files: Vec<String> =
                after.files.symmetric_difference(&connected.before.files).map(|p| p.display().to_string()).collect();
            let words = format!("{} {:?} {:?}", files.join(" "), after.tables, after.programs);
            return fail(format!("this machine is not as it was: {words}"));
        }
        say("files, units, nftables and BPF objects are as they were before");
        Ok(())
    }

    /// Name of this machine among the machines, if it is connected.
    pub fn machine(&self) -> Option<&str> {
        self.connected.as_ref()?.machine.rsplit('/').next()
    }

    /// The process of the sensor that the connector keeps.
    pub(super) fn kept_sensor(&self) -> Option<u32> {
        let versions = self.prefix().join("opt/garrison/sensor");
        let ours =
            |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(&versions));
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|p| p.file_name().to_str()?.parse().ok()).find(|pid| ours(*pid))
    }
}
