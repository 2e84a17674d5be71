//! The program `garrison`: the server, and the operator's command line.

use clap::{Args, Parser, Subcommand};
use garrison_server::cli;
use garrison_server::config::{Config, Role};
use garrison_server::identity::commands::{TokenCommand, UserCommand, token_run, user_run};
use garrison_server::serve::{Server, cluster};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Garrison protects fleets of servers.
#[derive(Debug, Parser)]
#[command(name = "garrison", version, arg_required_else_help = true)]
struct Root {
    #[command(flatten)]
    globals: cli::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server until it is told to stop.
    Serve(ServeArgs),
    /// Enrolment tokens: what lets a machine in.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Users and their sign-in links.
    #[command(subcommand)]
    User(UserCommand),
    #[command(flatten)]
    Operate(cli::Command),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, env = "GARRISON_CONFIG")]
    config: Option<PathBuf>,
    /// Address of the HTTP API and console; port 0 picks one.
    #[arg(long, env = "GARRISON_HTTP")]
    http: Option<SocketAddr>,
    /// Address that sensors connect to; port 0 picks one.
    #[arg(long, env = "GARRISON_GATEWAY")]
    gateway: Option<SocketAddr>,
    /// Database: `sqlite:PATH` or `postgres://…`; SQLite in the data folder unless told otherwise.
    #[arg(long, env = "GARRISON_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// What this process does; the others than `all` need an object store in the configuration file.
    #[arg(long, env = "GARRISON_ROLE", value_enum)]
    role: Option<Role>,
    /// Scheduler of the cluster that runs queries, `http://host:port`.
    #[arg(long, env = "GARRISON_SCHEDULER")]
    scheduler: Option<String>,
    /// Address that a scheduler or an executor listens on; port 0 picks one.
    #[arg(long, env = "GARRISON_LISTEN")]
    listen: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let root = Root::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match root.command {
            Command::Serve(arguments) => serve(arguments, &root.globals).await,
            Command::Token(command) => code_of(token_run(command, &root.globals).await),
            Command::User(command) => code_of(user_run(command, &root.globals).await),
            Command::Operate(command) => cli::run(command, &root.globals).await,
        }
    });
    // What is left are blocking reads of a terminal or a file: they need not hold us up.
    runtime.shutdown_background();
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn code_of(result: Result<(), cli::CliError>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            error.report();
            error.exit_code()
        }
    }
}

fn configure(arguments: ServeArgs, globals: &cli::Globals) -> Result<Config, garrison_server::config::ConfigError> {
    let mut config = match &arguments.config {
        Some(path) => Config::load(path, &globals.data)?,
        None => Config::at(&globals.data),
    };
    if let Some(address) = arguments.http {
        config.http = address;
    }
    if let Some(address) = arguments.gateway {
        config.gateway = address;
    }
    if let Some(url) = arguments.database {
        config.database_url = Some(url);
    }
    if let Some(role) = arguments.role {
        config.role = role;
    }
    if let Some(scheduler) = arguments.scheduler {
        config.cluster.scheduler = Some(scheduler);
    }
    if let Some(address) = arguments.listen {
        config.cluster.listen = address;
    }
    config.check()?;
    Ok(config)
}

async fn serve(arguments: ServeArgs, globals: &cli::Globals) -> i32 {
    let filter = tracing_subscriber::EnvFilter::try_from_env("GARRISON_LOG").unwrap_or_else(|_| {
        // Executors send no figures of operators, which the scheduler's display calls an error at each stage.
        tracing_subscriber::EnvFilter::new(
            "warn,garrison=info,garrison_server=info,garrison_lake=info,ballista_scheduler::display=off",
        )
    });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let config = match configure(arguments, globals) {
        Ok(config) => config,
        Err(error) => {
            for problem in &error.problems {
                eprintln!("configuration: {problem}");
            }
            return 2;
        }
    };
    if matches!(config.role, Role::Scheduler | Role::Executor) {
        return cluster_run(&config, globals).await;
    }
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("cannot start: {error:#}");
            return 1;
        }
    };
    eprintln!("Console and API: {}", server.http_url());
    if server.gateway.port() != 0 {
        eprintln!("Sensors connect to: {}", server.gateway);
    }
    if let Some(link) = server.first_link_url() {
        eprintln!("Sign in for the first time (once, within an hour): {link}");
    }
    if globals.output != cli::Format::Table {
        let mut line = server.addresses();
        if let Some(link) = server.first_link_url() {
            line["signInLink"] = link.into();
        }
        println!("{line}");
    }
    wait_for_signal().await;
    eprintln!("Stopping.");
    match server.stop().await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("stopped with trouble: {error:#}");
            1
        }
    }
}

/// Runs a scheduler or an executor.
async fn cluster_run(config: &Config, globals: &cli::Globals) -> i32 {
    let json = globals.output != cli::Format::Table;
    let told = |address: SocketAddr| {
        eprintln!("Listens on {address}.");
        if json {
            println!("{}", serde_json::json!({"listen": address.to_string(), "pid": std::process::id()}));
        }
    };
    let ended = tokio::select! {
        ended = cluster::run(config, told) => ended,
        () = wait_for_signal() => Ok(()),
    };
    match ended {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("stopped: {error:#}");
            1
        }
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        _ => return std::future::pending().await,
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
