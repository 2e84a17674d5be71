//! Runs the sensor. Where systemd is PID 1 of the machine, a unit does it; elsewhere (containers, a prefix) the
//! connector itself does, and starts it again when it ends.
//!
//! Processes are found by the program they run, below the folder of versions: a sensor that outlived a killed connector
//! is ours to stop, and nobody else's is.

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
/// The unit's file.
const UNIT: &str = "etc/systemd/system/garrison-sensor.service";

/// Keeps the sensor running.
#[derive(Debug)]
pub struct Keeper {
    layout: Layout,
    systemd: bool,
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
        Self {
            layout: layout.clone(),
            systemd,
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
        let versions = self.layout.versions();
        let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
        let ours = |pid: i32| {
            let folder = PathBuf::from(format!("/proc/{pid}"));
            let exe = std::fs::read_link(folder.join("exe")).is_ok_and(|exe| exe.starts_with(&versions));
            // A script runs under its interpreter: then its path is among the first words.
            exe || std::fs::read(folder.join("cmdline")).is_ok_and(|line| {
                line.split(|b| *b == 0)
                    .take(2)
                    .any(|word| Path::new(&*String::from_utf8_lossy(word)).starts_with(&versions))
            })
        };
        processes
            .flatten()
            .filter_map(|p| p.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid > 1 && ours(*pid))
            .map(Pid::from_raw)
            .collect()
    }

    /// How many processes run a program below the folder of versions.
    pub fn running_count(&self) -> usize {
        self.running().len()
    }

    /// Starts the version that the link names.
    pub fn start(&mut self) -> Result<(), Failure> {
        let program = Layout::program(&self.layout.current());
        self.wanted = Some(program.clone());
        self.restart.reset();
        self.restart_at = None;
        self.ended = 0;
        if self.systemd {
            return self.unit_start(&program);
        }
        self.spawn(&program)
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
        if self.systemd && self.layout.prefix.join(UNIT).exists() {
            self.systemctl(&["stop", "garrison-sensor.service"])?;
        }
        let until = Instant::now() + STOP_MAX;
        loop {
            if let Some((child, _)) = &mut self.child
                && child.try_wait().is_ok_and(|status| status.is_some())
            {
                self.child = None;
            }
            let running = self.running();
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
        let program = Layout::program(&self.layout.current());
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

    /// Time passes: a sensor that ended is started again, more and more slowly. Says so when it keeps ending.
    pub fn tick(&mut self) -> Option<Failure> {
        if self.systemd {
            return None;
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
        (self.ended >= 5)
            .then(|| Failure::new(ExtensionCode::SensorStopped, format!("the sensor ended {} times", self.ended)))
    }

    fn systemctl(&self, words: &[&str]) -> Result<(), Failure> {
        let failed = |why: String| {
            Failure::new(ExtensionCode::InstallFailed, format!("cannot run `systemctl {}`: {why}", words.join(" ")))
        };
        let output = run(Command::new("systemctl").args(words), "").map_err(|e| failed(e.to_string()))?;
        if output.ok { Ok(()) } else { Err(failed(last_line(&output.stderr))) }
    }

    fn unit_start(&self, program: &Path) -> Result<(), Failure> {
        let path = self.layout.prefix.join(UNIT);
        let text = unit(program);
        if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return self.systemctl(&["restart", "garrison-sensor.service"]);
        }
        std::fs::write(&path, text).map_err(|e| Failure::io(ExtensionCode::InstallFailed, "write", &path, &e))?;
        self.systemctl(&["daemon-reload"])?;
        self.systemctl(&["enable", "--now", "garrison-sensor.service"])
    }

    /// Removes the unit, if there is one of ours.
    pub fn forget_unit(&self) -> Result<(), Failure> {
        let path = self.layout.prefix.join(UNIT);
        if !self.systemd || !path.exists() {
            return Ok(());
        }
        self.systemctl(&["disable", "--now", "garrison-sensor.service"])?;
        std::fs::remove_file(&path).map_err(|e| Failure::io(ExtensionCode::UninstallFailed, "remove", &path, &e))?;
        self.systemctl(&["daemon-reload"])
    }
}

/// The unit of a sensor that the connector installed.
fn unit(program: &Path) -> String {
    format!(
        "# Written by garrison-connect; it goes when the machine is off-boarded.\n[Unit]\nDescription=Garrison sensor\n\
         ConditionPathExists=/var/lib/garrison-sensor/identity.json\nAfter=local-fs.target\n\n[Service]\n\
         ExecStart={} run\nRestart=always\nRestartSec=2\n\
         StateDirectory=garrison-sensor\nStateDirectoryMode=0700\nRuntimeDirectory=garrison-sensor\n\
         RuntimeDirectoryMode=0700\nMemoryMax=256M\nTasksMax=64\nOOMScoreAdjust=-500\nLimitMEMLOCK=infinity\n\
         NoNewPrivileges=yes\n\n[Install]\nWantedBy=multi-user.target\n",
        program.display()
    )
}

/// The last line with words in it.
pub fn last_line(text: &str) -> String {
    text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no words").chars().take(300).collect()
}
