//! A server and a sensor on this machine, from the build folder, in a folder of their own: for the demo and for the
//! browser test.

mod connected;

use crate::tools::{Done, Failure, cargo, command, fail, json_text, output, run, say, skip, target, tell, wait_for};
use connected::Connected;
pub(crate) use connected::extension;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The running pair.
pub struct Stage {
    programs: PathBuf,
    gateway: String,
    folder: PathBuf,
    http: String,
    server: Child,
    /// The sensor, where it is not the connector that keeps it.
    sensor: Child,
    connected: Option<Connected>,
    /// Whether it was stopped, or is meant to go on.
    over: bool,
}

/// What fails half-way leaves nothing running, and the machine as it was.
impl Drop for Stage {
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            if let Err(error) = self.leave_machine() {
                tell!("{}", error.0);
            }
            self.stop_all();
        }
    }
}

impl Stage {
    /// Builds the programs and starts the server, which has the sensor as a signed package.
    pub fn build_and_serve() -> Done<Self> {
        // All of the workspace, as the tests build it: a part of it would be built anew with other features.
        let args = ["build", "--workspace", "--bins"];
        run("building (the first time this takes several minutes)", cargo().args(args))?;
        let programs = target().join("debug");
        connected::package_lay(&programs, &folder()?)?;
        Self::start(&programs)
    }

    /// The same, with this machine connected and a plan switched on, so that the sensor comes by itself. On a machine that
    /// is not supported, or that nothing names, the sensor is started by hand.
    pub fn build_and_start() -> Done<Self> {
        let mut stage = Self::build_and_serve()?;
        let named = std::fs::read_to_string("/etc/machine-id").is_ok_and(|id| !id.trim().is_empty());
        if named {
            stage.connect_machine()?;
            if stage.plan_on()? {
                return Ok(stage);
            }
            stage.leave_machine()?;
            skip("the sensor comes by itself to supported machines only; it is started by hand here");
        } else {
            skip("a machine without `/etc/machine-id` cannot be connected; the sensor is started by hand here");
        }
        stage.start_sensor()?;
        Ok(stage)
    }

    /// Starts a server from a folder of programs.
    pub fn start(programs: &Path) -> Done<Self> {
        let folder = folder()?;
        say("starting the server with its embedded defaults");
        let data = folder.join("server");
        let args =
            ["serve", "--data", &path(&data), "--http", "127.0.0.1:0", "--gateway", "127.0.0.1:0"].map(String::from);
        let server = spawn(&programs.join("garrison"), &args, &folder.join("server.log"))?;
        let mut stage = Self {
            programs: programs.to_path_buf(),
            folder,
            http: String::new(),
            gateway: String::new(),
            server,
            sensor: placeholder()?,
            connected: None,
            over: false,
        };
        let (http, gateway) = stage.addresses()?;
        stage.http = http;
        stage.gateway = gateway;
        Ok(stage)
    }

    /// Where the server says it listens, once it does.
    fn addresses(&mut self) -> Done<(String, String)> {
        let file = self.folder.join("server/run/addresses.json");
        let addresses = wait_for(Duration::from_secs(30), || {
            let text = std::fs::read_to_string(&file).ok()?;
            Some((json_text(&text, "http")?, json_text(&text, "gateway")?))
        });
        addresses.map_or_else(|| self.give_up("the server did not start", "server.log"), Ok)
    }

    /// Kills the server as a crash would and starts it again where it listened.
    pub fn crash(&mut self) -> Done {
        self.server.kill()?;
        self.server.wait()?;
        std::fs::remove_file(self.folder.join("server/run/addresses.json"))?;
        let data = path(&self.folder.join("server"));
        let http = self.http.trim_start_matches("http://").to_owned();
        let args = ["serve", "--data", &data, "--http", &http, "--gateway", &self.gateway].map(String::from);
        self.server = spawn(&self.programs.join("garrison"), &args, &self.folder.join("server-again.log"))?;
        self.addresses().map(drop)
    }

    /// A new enrolment token.
    pub fn token(&self) -> Done<String> {
        let token = self.garrison(&["token", "create", "--name", "demo", "--uses", "100000", "--output", "json"])?;
        json_text(&token, "token").ok_or_else(|| Failure(format!("no token in {token}")))
    }

    /// Enrols this machine and starts the sensor.
    pub fn start_sensor(&mut self) -> Done {
        say("enrolling this machine");
        let token = self.token()?;
        let state = path(&self.folder.join("sensor"));
        let sensor = self.programs.join("garrison-sensor");
        let args = ["enrol", "--server", &self.gateway, "--token", &token, "--state-dir", &state];
        output(command(&sensor, args).stdin(Stdio::null()))?;
        say("starting the sensor");
        self.resume_sensor()?;
        let active = wait_for(Duration::from_mins(1), || {
            let devices = self.garrison(&["device", "list", "--output", "json"]).ok()?;
            devices.contains("\"Active\"").then_some(())
        });
        if active.is_none() {
            return self.give_up("the sensor did not become active", "sensor.log");
        }
        Ok(())
    }

    /// Stops the sensor; it stays enrolled.
    pub fn pause_sensor(&mut self) {
        stop(&mut self.sensor);
    }

    /// Runs the enrolled sensor, again or for the first time.
    pub fn resume_sensor(&mut self) -> Done {
        let state = path(&self.folder.join("sensor"));
        let run_folder = path(&self.folder.join("sensor-run"));
        let args = ["run", "--state-dir", &state, "--run-dir", &run_folder].map(String::from);
        self.sensor = spawn(&self.programs.join("garrison-sensor"), &args, &self.folder.join("sensor.log"))?;
        Ok(())
    }

    fn give_up<T>(&mut self, words: &str, log: &str) -> Done<T> {
        let log = std::fs::read_to_string(self.folder.join(log)).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(30).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        self.stop_all();
        fail(format!("{words}; its last words:\n{}", last.join("\n")))
    }

    /// The operator's program, pointed at this server.
    pub fn garrison_command(&self, args: &[&str]) -> Command {
        let mut c = command(self.programs.join("garrison"), args);
        c.env("GARRISON_DATA", self.folder.join("server")).env("GARRISON_URL", self.console_url());
        c
    }

    /// Runs it and gives back its output.
    pub fn garrison(&self, args: &[&str]) -> Done<String> {
        output(self.garrison_command(args).stdin(Stdio::null()))
    }

    /// Where the console is.
    pub fn console_url(&self) -> String {
        if self.http.starts_with("http") { self.http.clone() } else { format!("http://{}", self.http) }
    }

    /// A one-time link into the console.
    pub fn sign_in_link(&self) -> Done<String> {
        let answer = self.garrison(&["user", "link", "--output", "json"])?;
        let link = json_text(&answer, "url").or_else(|| json_text(&answer, "link"));
        let link = link.ok_or_else(|| Failure(format!("no link in {answer}")))?;
        Ok(if link.contains("://") { link } else { format!("{}/sign-in?link={link}", self.console_url()) })
    }

    /// What the sensor says of its own sight.
    pub fn sensor_health(&self) -> Done<String> {
        self.sensor(&["health"])
    }

    fn sensor(&self, args: &[&str]) -> Done<String> {
        let (state, run_folder) = match &self.connected {
            Some(_) => (self.prefix().join("var/lib/garrison-sensor"), self.prefix().join("run/garrison-sensor")),
            None => (self.folder.join("sensor"), self.folder.join("sensor-run")),
        };
        let mut c = command(self.programs.join("garrison-sensor"), args);
        c.arg("--state-dir").arg(state).arg("--run-dir").arg(run_folder);
        // An unhealthy sensor tells by its exit code; what it says is wanted all the same.
        Ok(String::from_utf8_lossy(&c.stdin(Stdio::null()).output()?.stdout).into_owned())
    }

    /// Resolves what is in the queue: what was found already running when the sensor started is no attack of ours, and a
    /// resolved incident takes no further alerts.
    pub fn clear_queue(&self) -> Done {
        // What the first look at /proc found has been stored and matched once rows came, none wait in the sensor, and a
        // second later there is no further alert.
        let mut before = None;
        wait_for(Duration::from_mins(1), || {
            std::thread::sleep(Duration::from_secs(1));
            let devices = self.garrison(&["device", "list", "--output", "json"]).ok()?;
            let alerts = self.garrison(&["alert", "list", "--output", "json"]).ok();
            let health = self.sensor(&["health", "--output", "json"]).ok()?;
            let waiting = json_text(health.split_once("\"queue\"")?.1, "rows")?;
            let quiet = waiting == "0" && json_text(&devices, "rowCount")? != "0" && alerts == before;
            before = alerts;
            quiet.then_some(())
        });
        let list = self.garrison(&["incident", "list", "--output", "ndjson"])?;
        for id in list.lines().filter_map(incident_id) {
            self.garrison(&["incident", "update", "--status", "resolved", &id.to_string()])?;
        }
        Ok(())
    }

    /// The incident with the most alerts, once it has at least four.
    pub fn incident(&self) -> Done<u64> {
        let found = wait_for(Duration::from_secs(30), || {
            let list = self.garrison(&["incident", "list", "--output", "ndjson"]).ok()?;
            let best = list.lines().filter_map(|line| {
                let id = incident_id(line)?;
                let alerts: u64 = json_text(line, "alertCount")?.parse().ok()?;
                Some((alerts, id))
            });
            let best = best.max()?;
            (best.0 >= 4).then_some(best.1)
        });
        found.map_or_else(|| fail("no incident with four alerts came within 30 seconds"), Ok)
    }

    /// A program of ours.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Where sensors connect to.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Process ids of server and sensor.
    pub fn pids(&self) -> (u32, u32) {
        let kept = self.connected.as_ref().and_then(|_| self.kept_sensor());
        (self.server.id(), kept.unwrap_or(self.sensor.id()))
    }

    /// The folder with data and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Off-boards this machine if it is connected, stops everything and removes the folder.
    pub fn stop(mut self) -> Done {
        self.over = true;
        let left = self.leave_machine();
        self.stop_all();
        left?;
        std::fs::remove_dir_all(&self.folder)?;
        Ok(())
    }

    fn stop_all(&mut self) {
        if let Some(mut connected) = self.connected.take() {
            // The connector ends its sensor.
            stop(&mut connected.process);
        }
        stop(&mut self.sensor);
        stop(&mut self.server);
    }

    /// Leaves everything running; says the process ids of the server and of what ends the sensor.
    pub fn leave(mut self) -> (u32, u32) {
        self.over = true;
        (self.server.id(), self.connected.as_ref().map_or(self.sensor.id(), |c| c.process.id()))
    }
}

/// The folder of this process's stage.
fn folder() -> Done<PathBuf> {
    let folder = std::env::temp_dir().join(format!("garrison-stage-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The number of an incident in a line of the list.
fn incident_id(line: &str) -> Option<u64> {
    // Incidents have numbers, devices have quoted texts.
    let number = |part: &str| part.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    line.split("\"id\":").skip(1).find_map(number)
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Stands where the sensor will be until it is started; it has ended already.
fn placeholder() -> Done<Child> {
    Ok(Command::new("true").spawn()?)
}

/// In a process group of its own, so that Ctrl-C reaches us first and we stop them in order.
fn spawn(program: &Path, args: &[String], log: &Path) -> Done<Child> {
    let log = std::fs::File::create(log)?;
    let mut c = command(program, args);
    c.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    c.spawn().map_err(|e| Failure(format!("cannot start {}: {e}", program.display())))
}

/// Asks a program to end, and ends it after forty seconds: a connector waits for its sensor, which sends what it has.
fn stop(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let _ = command("kill", ["-TERM", &child.id().to_string()]).status();
    let ended = wait_for(Duration::from_secs(40), || child.try_wait().ok().flatten());
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
}
