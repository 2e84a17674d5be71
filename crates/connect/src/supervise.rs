//! Runs the sensor. Where systemd is PID 1 of the machine, a unit does it; elsewhere (containers, a prefix) the
//! connector itself does, and starts it again when it ends.
//!
//! Processes are found by the program they run, below the folder of versions: a sensor that outlived a killed connector
//! is ours to stop, and nobody else's is.

mod unit;

use crate::install::course::Failure;
use crate::layout::Layout;
use garrison_model::ExtensionCode;
use garrison_wire::backoff::Backoff;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use unit::Unit;

/// How long a sensor may take to end: it sends what it has, which takes at most 20 s.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Waits before the sensor is started again.
const RESTART_MIN: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_mins(5);
/// A sensor that ran this long starts the waits anew.
const STEADY: Duration = Duration::from_mins(1);
/// The log is begun anew at a start when it is larger.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// One command of the sensor or of systemd.
const COMMAND_MAX: Duration = Duration::from_mins(1);
/// How long the rest of its output may take to come once it has ended.
const TAIL_MAX: Duration = Duration::from_secs(1);
/// Bytes kept of a command's output.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// What the sensor's process is called; a name has at most 15 bytes.
const PROGRAM: &str = "garrison-sensor";
/// How often systemd is asked how the unit is: an ask is a process.
const UNIT_LOOK: Duration = Duration::from_secs(10);
/// Ends of the sensor, without being healthy in between, that are told.
const ENDS_TOLD: u32 = 5;

/// Keeps the sensor running.
#[derive(Debug)]
pub struct Keeper {
    layout: Layout,
    unit: Option<Unit>,
    /// When the unit was looked at last, and how often systemd had started it anew when the sensor was healthy last.
    looked: Option<Instant>,
    restarts: u32,
    /// What that look found wrong.
    told: Option<Failure>,
    wanted: Option<PathBuf>,
    child: Option<(Child, Instant)>,
    restart: Backoff,
    restart_at: Option<Instant>,
    /// Times that the sensor ended by itself since it was last healthy.
    ended: u32,
}

/// What a command gave.
#[derive(Debug)]
pub struct Output {
    /// Whether it ended with 0.
    pub ok: bool,
    /// What it ended with; `None` where a signal ended it.
    pub code: Option<i32>,
    /// stdout.
    pub stdout: String,
    /// stderr.
    pub stderr: String,
}

/// Runs a command to its end, with a bound on time and output; `input` goes to its stdin.
pub fn run(command: &mut Command, input: &str) -> std::io::Result<Output> {
    run_within(command, input, COMMAND_MAX, &AtomicBool::new(false))
}

/// The same with another bound; it is ended when `stop` is set.
pub fn run_within(command: &mut Command, input: &str, longest: Duration, stop: &AtomicBool) -> std::io::Result<Output> {
    use std::io::Write as _;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input says so by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    let stdout = gather(child.stdout.take().map(|s| Box::new(s) as _));
    let stderr = gather(child.stderr.take().map(|s| Box::new(s) as _));
    let until = Instant::now() + longest;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let stopped = stop.load(Ordering::Relaxed);
        if stopped || Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            let why = if stopped { "the connector was stopped" } else { "the command did not end in time" };
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why));
        }
        std::thread::sleep(LOOK);
    };
    Ok(Output { ok: status.success(), code: status.code(), stdout: gathered(stdout), stderr: gathered(stderr) })
}

/// What a command wrote, and word of its end.
type Gathering = (Arc<Mutex<Vec<u8>>>, mpsc::Receiver<()>);

/// Reads a stream to its end, so that nobody who writes to it is held up or ended by it; the beginning is kept.
fn gather(stream: Option<Box<dyn std::io::Read + Send>>) -> Gathering {
    use std::io::Read as _;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (ended, end) = mpsc::channel();
    if let Some(mut stream) = stream {
        let kept = Arc::clone(&kept);
        std::thread::spawn(move || {
            let mut piece = [0; 4 << 10];
            while let Ok(n @ 1..) = stream.read(&mut piece) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(piece.get(..room).unwrap_or_default());
            }
            drop(stream);
            let _ = ended.send(());
        });
    }
    (kept, end)
}

/// The text. A service that the command started may hold the stream for as long as it lives: that is not waited for.
fn gathered((kept, end): Gathering) -> String {
    let _ = end.recv_timeout(TAIL_MAX);
    String::from_utf8_lossy(&kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

impl Keeper {
    /// A keeper that runs nothing yet.
    pub fn new(layout: &Layout) -> Self {
        let systemd =
            layout.prefix == Path::new("/") && layout.host == Path::new("/") && crate::host::has_systemd(layout);
        Self::with(layout, systemd.then(|| Unit::new(layout, Path::new("systemctl"))))
    }

    /// A keeper that leaves the sensor to a unit, or keeps it itself.
    fn with(layout: &Layout, unit: Option<Unit>) -> Self {
        Self {
            layout: layout.clone(),
            unit,
            looked: None,
            restarts: 0,
            told: None,
            wanted: None,
            child: None,
            restart: Backoff::new(RESTART_MIN, RESTART_MAX),
            restart_at: None,
            ended: 0,
        }
    }

    /// A command of the sensor with its folders.
    pub fn sensor(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words);
        command.arg("--state-dir").arg(self.layout.sensor_state()).arg("--run-dir").arg(self.layout.sensor_run());
        command
    }

    /// Processes that run a program below the folder of versions.
    fn running(&self) -> Vec<Pid> {
        running(&self.layout.versions())
    }

    /// How many processes run a program below the folder of versions.
    pub fn running_count(&self) -> usize {
        self.running().len()
    }

    /// Starts the version that the link names.
    pub fn start(&mut self) -> Result<(), Failure> {
        let program = Layout::program(&self.layout.current());
        self.wanted = Some(program.clone());
        self.forget_look();
        self.restart.reset();
        self.restart_at = None;
        self.ended = 0;
        if let Some(unit) = &self.unit {
            self.restarts = 0;
            return unit.start(&program);
        }
        self.spawn(&program)
    }

    /// Goes on with the sensor that is installed after the connector was started. A unit that runs it is left alone; a
    /// sensor that outlived a killed connector ends first, since only a child's end is noticed.
    pub fn resume(&mut self) -> Result<(), Failure> {
        let program = Layout::program(&self.layout.current());
        if let Some(unit) = &self.unit
            && unit.runs(&program)
        {
            self.wanted = Some(program);
            return Ok(());
        }
        self.stop().and_then(|()| self.start())
    }

    /// What was found wrong before belongs to a sensor that ran before.
    fn forget_look(&mut self) {
        (self.looked, self.told) = (None, None);
    }

    /// Looks after a sensor that others installed and start.
    pub fn watch_foreign(&mut self) {
        self.forget_look();
        self.wanted = Some(self.layout.foreign_sensor());
    }

    /// Whether the sensor outlives the connector.
    pub fn is_of_systemd(&self) -> bool {
        self.unit.is_some()
    }

    fn spawn(&mut self, program: &Path) -> Result<(), Failure> {
        let failed =
            |what: &str, path: &Path, e: &std::io::Error| Failure::io(ExtensionCode::InstallFailed, what, path, e);
        let log_path = self.layout.sensor_log();
        let large = std::fs::metadata(&log_path).is_ok_and(|m| m.len() > LOG_BYTES_MAX);
        let log = std::fs::OpenOptions::new().create(true).write(true).append(!large).truncate(large).open(&log_path);
        let log = log.map_err(|e| failed("write", &log_path, &e))?;
        let errors = log.try_clone().map_err(|e| failed("write", &log_path, &e))?;
        let run = self.layout.sensor_run();
        std::fs::create_dir_all(&run).map_err(|e| failed("make folder", &run, &e))?;
        let mut command = self.sensor(program, &["run"]);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(|e| failed("start", program, &e))?;
        self.child = Some((child, Instant::now()));
        Ok(())
    }

    /// Ends the sensor, whoever started it, if it is one of ours.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.wanted = None;
        self.restart_at = None;
        if let Some(unit) = &self.unit
            && unit.is_ours()
        {
            unit.stop()?;
        }
        let versions = self.layout.versions();
        self.end(&versions)
    }

    /// Ends a sensor that others installed and that was taken over. Its unit stays, and starts nothing that is not enrolled.
    pub fn stop_foreign(&mut self) -> Result<(), Failure> {
        if let Some(unit) = &self.unit
            && unit.state().is_loaded()
        {
            unit.stop()?;
        }
        let program = self.layout.foreign_sensor();
        self.end(&program)
    }

    /// Ends the processes that run a program, or one below a folder: politely, then not.
    fn end(&mut self, below: &Path) -> Result<(), Failure> {
        let until = Instant::now() + STOP_MAX;
        loop {
            if let Some((child, _)) = &mut self.child
                && child.try_wait().is_ok_and(|status| status.is_some())
            {
                self.child = None;
            }
            let running = running(below);
            if running.is_empty() {
                self.child = None;
                return Ok(());
            }
            let late = Instant::now() >= until;
            for pid in running {
                // It may have ended in between.
                let _ = kill(pid, if late { Signal::SIGKILL } else { Signal::SIGTERM });
            }
            if late && Instant::now() >= until + STOP_MAX {
                return Err(Failure::new(
                    ExtensionCode::UninstallFailed,
                    "the sensor does not end, not even when killed",
                ));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Whether the running sensor says that it is healthy; else why not.
    pub fn health(&mut self) -> Result<(), String> {
        let program = self.wanted.clone().unwrap_or_else(|| Layout::program(&self.layout.current()));
        let asked = run(&mut self.sensor(&program, &["health", "--output", "json"]), "");
        match asked {
            Ok(output) if output.ok => {
                self.ended = 0;
                Ok(())
            }
            Ok(output) => {
                let health: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_default();
                let issues =
                    health.get("health_issues").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
                let words: Vec<&str> = issues.iter().filter_map(serde_json::Value::as_str).take(5).collect();
                Err(if words.is_empty() { last_line(&output.stderr) } else { words.join("; ") })
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Time passes: a sensor that ended is started again, more and more slowly. Says so when it keeps ending, or when it
    /// ended and starting it is not ours.
    pub fn tick(&mut self) -> Option<Failure> {
        let foreign = self.wanted.as_deref() == Some(&self.layout.foreign_sensor());
        if self.unit.is_some() || foreign {
            return self.look(foreign);
        }
        if let Some((child, since)) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            if since.elapsed() >= STEADY {
                self.restart.reset();
            }
            tracing::warn!(%status, "the sensor has ended and is started again");
            self.child = None;
            self.ended = self.ended.saturating_add(1);
            self.restart_at = Some(Instant::now() + self.restart.next(0.0));
        }
        if let (Some(program), Some(at)) = (self.wanted.clone(), self.restart_at)
            && Instant::now() >= at
        {
            self.restart_at = None;
            if let Err(failure) = self.spawn(&program) {
                tracing::error!(%failure, "the sensor cannot be started");
                self.restart_at = Some(Instant::now() + self.restart.next(0.0));
                return Some(failure);
            }
        }
        (self.ended >= ENDS_TOLD).then(|| stopped(format!("the sensor ended {} times", self.ended)))
    }

    /// systemd starts the sensor again when it ends; what it does not is told: a unit that somebody stopped, one that ends
    /// again and again, and a sensor without a unit that was taken over and runs no more.
    fn look(&mut self, foreign: bool) -> Option<Failure> {
        self.wanted.as_ref()?;
        if self.looked.is_some_and(|at| at.elapsed() < UNIT_LOOK) {
            return self.told.clone();
        }
        self.looked = Some(Instant::now());
        let state = self.unit.as_ref().map(Unit::state).unwrap_or_default();
        // systemd counts from nothing when somebody starts the unit by hand.
        self.restarts = self.restarts.min(state.restarts);
        let mut ended = state.restarts.saturating_sub(self.restarts);
        if ended > 0 && state.is_up() && self.health().is_ok() {
            self.restarts = state.restarts;
            ended = 0;
        }
        self.told = if foreign && !state.is_loaded() {
            let gone = running(&self.layout.foreign_sensor()).is_empty();
            gone.then(|| stopped("the sensor that was taken over does not run; start it as it was started".to_owned()))
        } else if ended >= ENDS_TOLD {
            Some(stopped(format!("the sensor ended {ended} times, `journalctl -u {}` says why", unit::NAME)))
        } else if state.is_up() {
            None
        } else {
            let words = state.words();
            Some(stopped(format!("the unit {} is {words}; `systemctl start {0}` starts it", unit::NAME)))
        };
        self.told.clone()
    }

    /// Removes the unit, if there is one of ours.
    pub fn forget_unit(&self) -> Result<(), Failure> {
        self.unit.as_ref().map_or(Ok(()), Unit::forget)
    }
}

fn stopped(why: String) -> Failure {
    Failure::new(ExtensionCode::SensorStopped, why)
}

/// Processes that run a program, or one below a folder.
fn running(below: &Path) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ours = |pid: i32| {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        if std::fs::read_link(folder.join("exe")).is_ok_and(|exe| exe.starts_with(below)) {
            return true;
        }
        // A script runs under its interpreter, but with its own name, and its path is among the first words. Who merely
        // reads the program has another name.
        std::fs::read(folder.join("comm")).is_ok_and(|name| name.trim_ascii_end() == PROGRAM.as_bytes())
            && std::fs::read(folder.join("cmdline")).is_ok_and(|line| {
                line.split(|b| *b == 0)
                    .take(2)
                    .any(|word| Path::new(&*String::from_utf8_lossy(word)).starts_with(below))
            })
    };
    processes
        .flatten()
        .filter_map(|p| p.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid > 1 && ours(*pid))
        .map(Pid::from_raw)
        .collect()
}

/// The last line with words in it.
pub fn last_line(text: &str) -> String {
    text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no words").chars().take(300).collect()
}

#[cfg(test)]
mod tests;
