//! The command line of `garrison-connect`. stdout is data, stderr is words.

use crate::enrol::{EnrolError, enrol};
use crate::identity::{IDENTITY_FILE, Identity, IdentityFileError, PENDING_FILE, Pending};
use crate::install::Settings;
use crate::install::journal::Journal;
use crate::layout::Layout;
use crate::uplink::{self, End, Parts};
use crate::{cloud, host, words};
use clap::{Args, Parser, Subcommand};
use garrison_wire::connect::binding;
use serde_json::json;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// Not authorised, not connected, or to be connected anew.
    NotAuthorised = 3,
    /// Cannot reach.
    CannotReach = 5,
    /// Retry later.
    RetryLater = 10,
}

/// Connects this machine to Garrison and carries its sensor.
///
/// Exit codes: 0 ok, 1 failed, 2 usage, 3 not authorised, not connected or to be connected anew, 5 cannot reach,
/// 10 retry later.
#[derive(Debug, Parser)]
#[command(name = "garrison-connect", version)]
struct Arguments {
    /// Folder of identity and journal.
    #[arg(long, global = true, env = "GARRISON_CONNECT_STATE_DIR", default_value = "/var/lib/garrison-connect")]
    state_dir: PathBuf,
    /// What the sensor is installed under.
    #[arg(long, global = true, env = "GARRISON_CONNECT_PREFIX", default_value = "/")]
    prefix: PathBuf,
    /// Where the machine's file system is seen; in a container, where it is mounted.
    #[arg(long, global = true, env = "GARRISON_CONNECT_HOST_ROOT", default_value = "/")]
    host_root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connects this machine.
    Enrol(Enrol),
    /// Runs the connector until it is told to stop.
    Run(Run),
    /// What this machine is, and how its extension stands.
    Status,
    /// Throws the identity away. The sensor stays; off-board the machine at the server to remove all of it.
    Disconnect,
}

#[derive(Debug, Args)]
struct Enrol {
    /// Address of the gateway.
    #[arg(long, env = "GARRISON_CONNECT_SERVER", value_name = "HOST:PORT")]
    server: String,
    /// Token (`gc1_…`); `-` reads it from stdin.
    #[arg(long, env = "GARRISON_CONNECT_TOKEN", hide_env_values = true)]
    token: String,
    /// Subscription that the machine is to be in; the token's unless given.
    #[arg(long, default_value = "")]
    subscription: String,
    /// Resource group; the token's unless given.
    #[arg(long, default_value = "")]
    resource_group: String,
    /// Name among the resources; the host name unless given.
    #[arg(long, default_value = "")]
    name: String,
    /// A tag. May be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,
    /// Replaces an identity that is there already.
    #[arg(long)]
    force: bool,
    /// Says that the server laid this program here: it goes when the machine is off-boarded.
    #[arg(long, hide = true)]
    placed: bool,
    /// Only writes down how to enrol; `run` does it when it first starts on a machine. For images.
    #[arg(long)]
    defer: bool,
}

#[derive(Debug, Args)]
struct Run {
    /// Address of the cloud's instance service.
    #[arg(long, env = "GARRISON_CONNECT_METADATA", default_value = cloud::ADDRESS, value_name = "HOST:PORT")]
    metadata: String,
    /// Seconds that a new sensor may take to become healthy before the one before is brought back.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    health_seconds: u64,
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
    ExitCode::from(dispatch(arguments) as u8)
}

fn fail(exit: Exit, error: impl std::fmt::Display) -> Exit {
    eprintln!("garrison-connect: {error}");
    exit
}

fn dispatch(arguments: Arguments) -> Exit {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let layout = Layout {
        state: absolute(&arguments.state_dir),
        prefix: absolute(&arguments.prefix),
        host: absolute(&arguments.host_root),
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("GARRISON_CONNECT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() else {
        return fail(Exit::Failed, "cannot start");
    };
    match arguments.command {
        Command::Enrol(e) => enrol_command(&layout, e, &runtime),
        Command::Run(r) => run_command(&layout, &r, &runtime),
        Command::Status => status(&layout),
        Command::Disconnect => disconnect(&layout),
    }
}

fn enrol_exit(error: &EnrolError) -> Exit {
    match error {
        EnrolError::Unreachable { .. } => Exit::CannotReach,
        EnrolError::WrongServer { .. } | EnrolError::Refused(_) => Exit::NotAuthorised,
        EnrolError::Later(_) => Exit::RetryLater,
        EnrolError::Token(_) => Exit::Usage,
        EnrolError::Nameless | EnrolError::Failed(_) | EnrolError::File(_) => Exit::Failed,
    }
}

fn shown(identity: &Identity) {
    let value = json!({"connector": identity.connector, "tenant": identity.tenant, "resourceId": identity.resource_id,
        "servers": identity.servers});
    println!("{value}");
}

fn enrol_command(layout: &Layout, arguments: Enrol, runtime: &tokio::runtime::Runtime) -> Exit {
    let mut token = arguments.token;
    if token == "-" {
        token.clear();
        if let Err(error) = std::io::stdin().read_line(&mut token) {
            return fail(Exit::Usage, format!("cannot read the token: {error}"));
        }
    }
    let mut tags = Vec::new();
    for tag in &arguments.tags {
        match tag.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => tags.push((key.trim().to_owned(), value.to_owned())),
            _ => return fail(Exit::Usage, format!("`--tag {tag}` must be KEY=VALUE")),
        }
    }
    let wanted = Pending {
        server: arguments.server,
        token: token.trim().to_owned(),
        subscription: arguments.subscription,
        resource_group: arguments.resource_group,
        name: arguments.name,
        tags,
    };
    if let Err(error) = wanted.token.parse::<garrison_wire::connect::token::ConnectorToken>() {
        return fail(Exit::Usage, error);
    }
    if arguments.defer {
        return match wanted.store(&layout.state) {
            Ok(()) => {
                eprintln!("written down: the machine enrols when `garrison-connect run` first starts on it");
                Exit::Ok
            }
            Err(error) => fail(Exit::Failed, words(&error)),
        };
    }
    match runtime.block_on(enrol(layout, &wanted, arguments.force)) {
        Ok((identity, is_new)) => {
            if arguments.placed
                && let Err(error) = placed_note(layout)
            {
                return fail(Exit::Failed, error);
            }
            shown(&identity);
            if !is_new {
                eprintln!("garrison-connect: connected already, nothing was changed; --force connects it anew");
            }
            Exit::Ok
        }
        Err(error) => fail(enrol_exit(&error), words(&error)),
    }
}

/// Writes down which program the server laid here. The connector that runs may be another one, from a package, and stays.
fn placed_note(layout: &Layout) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
    let path = layout.placed();
    std::fs::write(&path, program.as_os_str().as_bytes()).map_err(|e| format!("cannot write `{}`: {e}", path.display()))
}

/// Held as long as the connector runs: two on one state folder would be two machines with one identity.
fn lock(state: &Path) -> Result<nix::fcntl::Flock<std::fs::File>, String> {
    crate::identity::make_state(state).map_err(|e| words(&e))?;
    let path = state.join("lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| format!("cannot open `{}`: {e}", path.display()))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|_| format!("another connector runs on `{}`", state.display()))
}

fn run_command(layout: &Layout, arguments: &Run, runtime: &tokio::runtime::Runtime) -> Exit {
    let _lock = match lock(&layout.state) {
        Ok(lock) => lock,
        Err(error) => return fail(Exit::RetryLater, error),
    };
    let parts = Parts {
        layout: layout.clone(),
        metadata_address: arguments.metadata.clone(),
        settings: Settings { health_max: Duration::from_secs(arguments.health_seconds), ..Settings::default() },
    };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    runtime.spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = stop.send(true);
        } else {
            // Without handlers the signals' defaults end the process; the journal bears that too.
            let _keep = stop;
            std::future::pending::<()>().await;
        }
    });
    // At most two turns: once with what is there, once after a clone has thrown its identity away.
    for turn in 0..2 {
        let identity = match Identity::load(&layout.state) {
            Ok(identity) => identity,
            Err(IdentityFileError::Absent) => match enrol_pending(layout, runtime) {
                Ok(identity) => identity,
                Err(exit) => return exit,
            },
            Err(error) => return fail(Exit::Failed, words(&error)),
        };
        match runtime.block_on(uplink::run(parts.clone(), identity, stopped.clone())) {
            Ok(End::Stopped) => return Exit::Ok,
            Ok(End::OffBoarded) => return leave(layout),
            Ok(End::EnrolAnew(why)) => {
                eprintln!("garrison-connect: {why}: the identity was thrown away, enrol this machine anew");
                let pending = matches!(Pending::load(&layout.state), Ok(Some(_)));
                if turn > 0 || !pending {
                    return Exit::NotAuthorised;
                }
            }
            Err(error) => return fail(Exit::Failed, error),
        }
    }
    Exit::NotAuthorised
}

fn enrol_pending(layout: &Layout, runtime: &tokio::runtime::Runtime) -> Result<Identity, Exit> {
    match Pending::load(&layout.state) {
        Ok(Some(wanted)) => {
            let enrolled = runtime.block_on(enrol(layout, &wanted, false));
            enrolled.map(|(identity, _)| identity).map_err(|error| fail(enrol_exit(&error), words(&error)))
        }
        Ok(None) => Err(fail(Exit::NotAuthorised, IdentityFileError::Absent)),
        Err(error) => Err(fail(Exit::Failed, words(&error))),
    }
}

/// Removes everything of the connector: its state, and its program and unit where the server laid them here. The sensor
/// is gone already.
fn leave(layout: &Layout) -> Exit {
    let placed = crate::identity::read_small(&layout.placed()).ok().flatten();
    match std::fs::remove_dir_all(&layout.state) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return fail(Exit::Failed, format!("off-boarded, but `{}` cannot be removed: {e}", layout.state.display()));
        }
        _ => {}
    }
    let Some(placed) = placed else {
        eprintln!("garrison-connect: this machine is off-boarded, nothing of Garrison is left but this program");
        return Exit::Ok;
    };
    match unplace(layout, Path::new(OsStr::from_bytes(&placed))) {
        Ok(()) => {
            eprintln!("garrison-connect: this machine is off-boarded, and what the server laid here is gone");
            Exit::Ok
        }
        Err(error) => fail(Exit::Failed, format!("off-boarded, but {error}")),
    }
}

/// Takes away what the server laid here: the unit, if it is that of the program, the program, and its folders.
fn unplace(layout: &Layout, program: &Path) -> Result<(), String> {
    let unit = layout.connector_unit();
    let ours = format!("ExecStart={} ", program.display());
    if std::fs::read_to_string(&unit).is_ok_and(|text| text.contains(&ours)) {
        let systemctl = |words: &[&str]| {
            let done = crate::supervise::run(std::process::Command::new("systemctl").args(words), "");
            done.map(drop).map_err(|e| format!("`systemctl {}`: {e}", words.join(" ")))
        };
        // Without `--now`: this process is the service, and ends by itself.
        systemctl(&["disable", "garrison-connect.service"])?;
        std::fs::remove_file(&unit).map_err(|e| format!("`{}` cannot be removed: {e}", unit.display()))?;
        systemctl(&["daemon-reload"])?;
    }
    match std::fs::remove_file(program) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("`{}` cannot be removed: {e}", program.display()));
        }
        _ => {}
    }
    // `garrison/connect`, where nothing else is in them; what lies above is the system's.
    for folder in program.ancestors().skip(1).take_while(|f| f.ends_with("connect") || f.ends_with("garrison")) {
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

fn status(layout: &Layout) -> Exit {
    let identity = match Identity::load(&layout.state) {
        Ok(identity) => identity,
        Err(error) => return fail(Exit::NotAuthorised, words(&error)),
    };
    let journal = match Journal::load(&layout.journal()) {
        Ok(journal) => journal,
        Err(error) => return fail(Exit::Failed, words(&error)),
    };
    let clone = binding::differ(&identity.binding, &host::binding_of(layout));
    let value = json!({"connector": identity.connector, "tenant": identity.tenant, "resourceId": identity.resource_id,
        "servers": identity.servers, "certificateEnds": crate::rfc3339(identity.not_after), "isClone": clone,
        "order": journal.work, "installed": journal.installed});
    match serde_json::to_string_pretty(&value) {
        Ok(text) => println!("{text}"),
        Err(error) => return fail(Exit::Failed, error),
    }
    if clone { fail(Exit::NotAuthorised, "this identity belongs to another machine: enrol anew") } else { Exit::Ok }
}

fn disconnect(layout: &Layout) -> Exit {
    let _lock = match lock(&layout.state) {
        Ok(lock) => lock,
        Err(error) => return fail(Exit::RetryLater, error),
    };
    for name in [IDENTITY_FILE, PENDING_FILE] {
        let path = layout.state.join(name);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return fail(Exit::Failed, format!("cannot remove `{}`: {error}", path.display()));
        }
    }
    eprintln!("the identity is gone; remove the machine at the server too");
    Exit::Ok
}
