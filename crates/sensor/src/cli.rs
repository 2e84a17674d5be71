//! The command line of `garrison-sensor`. stdout is data, stderr is words.

mod diagnostic;
mod show;

use crate::control::{self, Request};
use crate::enrich::device;
use crate::observe::{ObserveMode, ObserveSettings};
use crate::policy::{self, Config, Overrides, Settings};
use crate::spool::{Spool, SpoolError, SpoolLimits};
use crate::uplink::enrol::{EnrolError, connect_error, enrol};
use crate::uplink::identity::{IDENTITY_FILE, Identity, IdentityFileError};
use crate::{RunError, RunSettings, pipeline};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};
use show::Show;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How a program of Garrison ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Not authorised or not enrolled.
    NotAuthorised = 3,
    /// Not found.
    NotFound = 4,
    /// Cannot reach.
    CannotReach = 5,
    /// Unhealthy.
    Unhealthy = 6,
    /// Retry later.
    RetryLater = 10,
}

/// The Garrison sensor: sees what happens on this machine and tells the server.
///
/// Exit codes: 0 ok, 1 failed, 2 usage, 3 not authorised or not enrolled, 4 not found, 5 cannot reach, 6 unhealthy,
/// 10 retry later.
#[derive(Debug, Parser)]
#[command(name = "garrison-sensor", version, propagate_version = true)]
struct Arguments {
    /// Configuration file.
    #[arg(long, global = true, env = "GARRISON_SENSOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of identity, disk queue and content.
    #[arg(long, global = true, env = "GARRISON_SENSOR_STATE_DIR", value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Folder of the control socket.
    #[arg(long, global = true, env = "GARRISON_SENSOR_RUN_DIR", value_name = "FOLDER")]
    run_dir: Option<PathBuf>,
    /// A configuration key, such as `spool.bytes_max=1073741824`. May be given several times.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How data is written.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// How data is written to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enrols this machine with a server.
    Enrol(Enrol),
    /// Runs the sensor until it is told to stop.
    Run(Run),
    /// Says how the running sensor is.
    Health {
        /// Only this field.
        #[arg(long)]
        field: Option<String>,
    },
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Facts for support.
    #[command(subcommand)]
    Diagnostic(DiagnosticCommand),
    /// The way to the server.
    #[command(subcommand)]
    Connectivity(ConnectivityCommand),
    /// What waits on disk to be sent.
    Queue,
    /// Removes identity, disk queue and content from this machine.
    #[command(visible_alias = "offboard")]
    Unenrol {
        /// Also when rows wait that were not sent.
        #[arg(long)]
        force: bool,
    },
    /// The version.
    Version,
}

#[derive(Debug, Args)]
struct Enrol {
    /// Address of the gateway.
    #[arg(long, env = "GARRISON_SENSOR_SERVER", value_name = "HOST:PORT")]
    server: String,
    /// Enrolment token (`ge1_…`); `-` reads it from stdin.
    #[arg(long, env = "GARRISON_SENSOR_TOKEN", hide_env_values = true)]
    token: String,
    /// Replaces an identity that is there already.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Run {
    /// Which eye: `auto`, `fallback` (no eBPF) or `polling` (/proc and logs alone).
    #[arg(long, default_value = "auto")]
    observe: String,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every key with its value and where it comes from.
    Show,
    /// Checks file, environment and flags; reports every problem.
    Check,
}

#[derive(Debug, Subcommand)]
enum DiagnosticCommand {
    /// Packs health, configuration, versions and the kernel's facts, without secrets, and prints the path.
    Create {
        /// Where to; a folder or a file name.
        #[arg(long)]
        path: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum ConnectivityCommand {
    /// Tries every server address, with the identity if there is one.
    Test,
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Ok as u8 });
        }
    };
    ExitCode::from(dispatch(&arguments) as u8)
}

fn fail(exit: Exit, error: impl std::fmt::Display) -> Exit {
    eprintln!("garrison-sensor: {error}");
    exit
}

fn configuration(arguments: &Arguments) -> Result<(Config, Settings), Exit> {
    let mut overrides = Overrides::from_environment();
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    // A relative folder is meant from here.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    if let Some(state) = &arguments.state_dir {
        overrides.flags.push(("paths.state_dir".to_owned(), text(&absolute(state))));
        // Who names a state folder of their own may not be allowed to write to /run.
        if arguments.run_dir.is_none() {
            overrides.flags.push(("paths.run_dir".to_owned(), text(&absolute(state).join("run"))));
        }
    }
    if let Some(run) = &arguments.run_dir {
        overrides.flags.push(("paths.run_dir".to_owned(), text(&absolute(run))));
    }
    for pair in &arguments.set {
        match pair.split_once('=') {
            Some((key, value)) => overrides.flags.push((key.trim().to_owned(), value.to_owned())),
            None => return Err(fail(Exit::Usage, format!("`--set {pair}` must be KEY=VALUE"))),
        }
    }
    let path = arguments.config.clone().unwrap_or_else(|| PathBuf::from(policy::CONFIG_PATH));
    policy::load(&path, arguments.config.is_some(), &overrides).map_err(|e| {
        for problem in &e.0 {
            eprintln!("garrison-sensor: {problem}");
        }
        Exit::Usage
    })
}

fn dispatch(arguments: &Arguments) -> Exit {
    let show = Show { output: arguments.output };
    if let Command::Version = arguments.command {
        show.value(&json!({"app_version": env!("CARGO_PKG_VERSION"), "protocol": garrison_wire::PROTOCOL}));
        return Exit::Ok;
    }
    let (config, settings) = match configuration(arguments) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    match &arguments.command {
        Command::Enrol(e) => enrol_command(e, &config, &show),
        Command::Run(r) => run_command(r, &config),
        Command::Health { field } => health(&config, field.as_deref(), &show),
        Command::Config(ConfigCommand::Show) => {
            show.settings(&settings);
            Exit::Ok
        }
        Command::Config(ConfigCommand::Check) => {
            eprintln!("configuration is valid");
            Exit::Ok
        }
        Command::Diagnostic(DiagnosticCommand::Create { path }) => {
            match diagnostic::create(&config, &settings, path.as_deref()) {
                Ok(path) => {
                    show.value(&json!({"path": path}));
                    Exit::Ok
                }
                Err(error) => fail(Exit::Failed, format!("cannot write the diagnostic package: {error}")),
            }
        }
        Command::Connectivity(ConnectivityCommand::Test) => connectivity(&config, &show),
        Command::Queue => queue(&config, &show),
        Command::Unenrol { force } => unenrol(&config, *force),
        Command::Version => Exit::Ok,
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn enrol_command(arguments: &Enrol, config: &Config, show: &Show) -> Exit {
    let text = if arguments.token == "-" {
        let mut line = String::new();
        if let Err(error) = std::io::stdin().read_line(&mut line) {
            return fail(Exit::Usage, format!("cannot read the token: {error}"));
        }
        line
    } else {
        arguments.token.clone()
    };
    let token = match text.parse() {
        Ok(token) => token,
        Err(error) => return fail(Exit::Usage, error),
    };
    let host = device::look(&config.tags).host;
    let result = runtime().map_err(|e| EnrolError::Failed(e.to_string())).and_then(|runtime| {
        runtime.block_on(enrol(&arguments.server, &token, host, &config.state_dir, arguments.force))
    });
    match result {
        Ok(identity) => {
            show.value(&json!({"edr_machine_id": identity.device, "org_id": identity.tenant,
                "server": arguments.server, "state_dir": config.state_dir}));
            Exit::Ok
        }
        Err(error) => {
            let exit = match &error {
                EnrolError::Unreachable { .. } => Exit::CannotReach,
                EnrolError::WrongServer { .. } | EnrolError::Token(_) => Exit::NotAuthorised,
                EnrolError::Later(_) => Exit::RetryLater,
                EnrolError::Failed(_) | EnrolError::File(_) => Exit::Failed,
            };
            fail(exit, crate::uplink::words(&error))
        }
    }
}

fn run_command(arguments: &Run, config: &Config) -> Exit {
    let mode = match arguments.observe.as_str() {
        "auto" => ObserveMode::Auto,
        "fallback" => ObserveMode::Fallback,
        "polling" => ObserveMode::Polling,
        other => return fail(Exit::Usage, format!("`--observe {other}` must be auto, fallback or polling")),
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("GARRISON_SENSOR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(&config.log_level));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let signals = std::thread::Builder::new().name("signals".to_owned()).spawn(move || wait_for_signal(&stop));
    if let Err(error) = signals {
        return fail(Exit::Failed, format!("cannot wait for signals: {error}"));
    }
    let settings = RunSettings { observe: ObserveSettings { mode, ..ObserveSettings::default() } };
    match pipeline::run(config, &settings, &stopped) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            let exit = match &error {
                RunError::Identity(IdentityFileError::Absent) => Exit::NotAuthorised,
                RunError::Spool(SpoolError::InUse(_)) => Exit::RetryLater,
                _ => Exit::Failed,
            };
            fail(exit, crate::uplink::words(&error))
        }
    }
}

fn wait_for_signal(stop: &tokio::sync::watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let waited = runtime().map(|runtime| {
        runtime.block_on(async {
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(mut terminate), Ok(mut interrupt)) => {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                }
                // Without handlers the signals' defaults end the process; the queue bears that too.
                _ => std::future::pending().await,
            }
        });
    });
    if waited.is_ok() {
        tracing::info!("stopping: what was seen is queued");
        let _ = stop.send(true);
    }
}

fn health(config: &Config, field: Option<&str>, show: &Show) -> Exit {
    let health = match control::ask(&config.run_dir, Request::Health) {
        Ok(health) => health,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return fail(Exit::NotAuthorised, "only root may ask the running sensor");
        }
        Err(_) => {
            let identity = Identity::load(&config.state_dir);
            let why = match &identity {
                Ok(_) => "the sensor is not running".to_owned(),
                Err(error) => error.to_string(),
            };
            json!({"healthy": false, "health_issues": [why], "app_version": env!("CARGO_PKG_VERSION"),
                "edr_machine_id": identity.as_ref().map(|i| i.device.to_string()).unwrap_or_default(),
                "org_id": identity.as_ref().map(|i| i.tenant.to_string()).unwrap_or_default()})
        }
    };
    match field {
        None => show.value(&health),
        Some(name) => match health.get(name) {
            Some(value) => show.bare(value),
            None => {
                return fail(
                    Exit::NotFound,
                    format!("there is no field `{name}`; `garrison-sensor health` shows all of them"),
                );
            }
        },
    }
    if health.get("healthy") == Some(&Value::Bool(true)) { Exit::Ok } else { Exit::Unhealthy }
}

fn connectivity(config: &Config, show: &Show) -> Exit {
    let identity = match Identity::load(&config.state_dir) {
        Ok(identity) => identity,
        Err(error) => return fail(Exit::NotAuthorised, crate::uplink::words(&error)),
    };
    let servers = if config.servers.is_empty() { identity.servers.clone() } else { config.servers.clone() };
    let trust = garrison_wire::tls::Trust::Authority(identity.ca.clone());
    let Ok(runtime) = runtime() else { return fail(Exit::Failed, "cannot start") };
    let mut results = Vec::new();
    for server in servers {
        let begun = std::time::Instant::now();
        let tried =
            garrison_wire::tls::sensor_config(&trust, Some(&identity.own)).map_err(|e| e.to_string()).and_then(|tls| {
                runtime.block_on(async {
                    let connecting = garrison_wire::tls::connect(&server, tls);
                    match tokio::time::timeout(Duration::from_secs(15), connecting).await {
                        Ok(Ok(_)) => Ok(()),
                        Ok(Err(error)) => Err(connect_error(&server, &error).to_string()),
                        Err(_) => Err("no answer".to_owned()),
                    }
                })
            });
        let error = tried.err().unwrap_or_default();
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        results.push(json!({"server": server, "reached": error.is_empty(), "milliseconds": millis, "error": error}));
    }
    let reached = results.iter().filter(|r| r["reached"] == true).count();
    show.rows(&results);
    if reached == 0 { Exit::CannotReach } else { Exit::Ok }
}

fn queue(config: &Config, show: &Show) -> Exit {
    if let Ok(health) = control::ask(&config.run_dir, Request::Health)
        && let Some(queue) = health.get("queue")
    {
        show.value(queue);
        return Exit::Ok;
    }
    let folder = config.state_dir.join("spool");
    if !folder.exists() {
        return fail(Exit::NotFound, format!("there is no queue in `{}`", folder.display()));
    }
    let limits = SpoolLimits::new(config.spool_bytes_max, config.spool_shed);
    let opened = pipeline::boot_id().map_err(|e| e.to_string()).and_then(|boot| {
        Spool::open(&folder, &boot, limits, crate::status::now()).map_err(|e| crate::uplink::words(&e))
    });
    match opened {
        Ok((spool, _)) => {
            show.value(&serde_json::to_value(spool.state()).unwrap_or_default());
            Exit::Ok
        }
        Err(error) => fail(Exit::Failed, error),
    }
}

fn unenrol(config: &Config, force: bool) -> Exit {
    if control::ask(&config.run_dir, Request::Health).is_ok() {
        return fail(Exit::RetryLater, "the sensor is running: stop it first");
    }
    if !config.state_dir.join(IDENTITY_FILE).exists() {
        return fail(Exit::NotFound, "this machine is not enrolled");
    }
    let limits = SpoolLimits::new(config.spool_bytes_max, config.spool_shed);
    let folder = config.state_dir.join("spool");
    let waiting = match pipeline::boot_id() {
        Ok(boot) => match Spool::open(&folder, &boot, limits, crate::status::now()) {
            Ok((spool, _)) => spool.state().rows,
            Err(SpoolError::InUse(_)) => return fail(Exit::RetryLater, "the sensor is running: stop it first"),
            Err(_) => 0,
        },
        Err(_) => 0,
    };
    if waiting > 0 && !force {
        return fail(Exit::Failed, format!("{waiting} rows wait to be sent: --force removes them too"));
    }
    let mut failed = Vec::new();
    let mut gone = |result: std::io::Result<()>, what: &str| match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => failed.push(format!("{what}: {e}")),
        _ => {}
    };
    gone(std::fs::remove_file(config.state_dir.join(IDENTITY_FILE)), "identity");
    gone(std::fs::remove_file(config.state_dir.join(crate::detect::CONTENT_FILE)), "content");
    gone(std::fs::remove_dir_all(&folder), "disk queue");
    if failed.is_empty() {
        eprintln!("removed identity, content and disk queue; revoke the device on the server too");
        return Exit::Ok;
    }
    fail(Exit::Failed, failed.join("; "))
}
