//! The operator's command line: incidents, alerts, devices, rules and suppressions over the HTTP API.
//!
//! Data goes to stdout, words to stderr. Text that came from machines is shown with its control characters escaped:
//! a command line must not be able to paint the analyst's terminal.

mod access;
mod alert;
mod apply;
mod audit;
mod client;
mod connect;
mod detection;
mod device;
mod export;
mod health;
mod hunt;
mod incident;
mod machine;
mod money;
mod output;
mod package;
mod plan;
mod query;
mod recommendation;
mod rest;
mod rollout;
mod rule;
mod source;
mod status;
mod subscription;
mod suppression;
mod tree;
mod usage;

pub use client::{CliError, Client, query};
pub(crate) use output::short_time;
pub use output::{Format, Printer, clean};
pub(crate) use subscription::find as subscription_find;
pub use tree::render as render_tree;

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Options of every command that talks to a server.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// How to print: table, json, ndjson or csv; parquet for hunts.
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Server, such as `http://127.0.0.1:9080`; found through --data where it runs on this machine.
    #[arg(long, global = true, env = "GARRISON_URL")]
    pub server: Option<String>,
    /// API token; found through --data where the server runs on this machine.
    #[arg(long, global = true, env = "GARRISON_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Tenant to work in, where the server has several.
    #[arg(long, global = true, env = "GARRISON_TENANT")]
    pub tenant: Option<garrison_model::TenantId>,
    /// Data folder of a server on this machine.
    #[arg(long, global = true, env = "GARRISON_DATA", default_value = "/var/lib/garrison")]
    pub data: PathBuf,
}

impl Globals {
    /// The tenant that is named, else the first one.
    fn tenant_or_first(&self) -> garrison_model::TenantId {
        self.tenant.clone().unwrap_or_else(garrison_model::TenantId::first)
    }
}

/// What can be asked of a server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Incidents: list, show with the attack's process tree, work on them.
    #[command(subcommand)]
    Incident(incident::Command),
    /// Alerts.
    #[command(subcommand)]
    Alert(alert::Command),
    /// Devices and their timelines.
    #[command(subcommand)]
    Device(device::Command),
    /// Detection rules.
    #[command(subcommand)]
    Rule(rule::Command),
    /// Suppression rules: alerts that are wanted to be quiet.
    #[command(subcommand)]
    Suppression(suppression::Command),
    /// Runs a query over all rows; without one, on a terminal, starts a shell.
    Hunt(hunt::Command),
    /// Saved queries.
    #[command(subcommand)]
    Query(query::Command),
    /// Detections made of queries.
    #[command(subcommand)]
    Detection(detection::Command),
    /// Indicators: hashes, addresses and names that are known to be bad.
    #[command(subcommand)]
    Indicator(detection::IndicatorCommand),
    /// Hunts through the past for a rule, detection or indicator.
    #[command(subcommand)]
    Retro(detection::RetroCommand),
    /// Subscriptions and their resource groups.
    #[command(subcommand)]
    Subscription(subscription::Command),
    /// The tenant and its geography, which never changes.
    #[command(subcommand)]
    Tenant(subscription::TenantCommand),
    /// Connected machines.
    #[command(subcommand)]
    Machine(machine::Command),
    /// Packages of the sensor: add, sign, verify.
    #[command(subcommand)]
    Package(package::Command),
    /// Bring a version of the sensor out, ring by ring.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Plans: what is switched on, for subscriptions and machines.
    #[command(subcommand)]
    Plan(plan::Command),
    /// What keeps the sensor away from machines.
    #[command(subcommand)]
    Exclusion(plan::ExclusionCommand),
    /// Machines by plan, and why some are not covered.
    Coverage {
        /// The machines that are not covered, with what to do.
        #[arg(long)]
        missing: bool,
    },
    /// Health of machines in three classes: Installation, Heartbeat, Not applicable; without filters, a summary.
    Health(health::Command),
    /// Machines that have no connector yet: SSH from the server, AWS; keys for both.
    #[command(subcommand)]
    Connect(connect::Command),
    /// Recommendations on endpoint protection: machines, fixes, exemptions.
    #[command(subcommand)]
    Recommendation(recommendation::Command),
    /// Brings the fleet to what a file says; the same file twice changes nothing.
    Apply(apply::Command),
    /// Protected machine-hours, their cost, forecasts, and the FOCUS export.
    Usage(usage::Command),
    /// Price sheets: what a protected hour costs.
    #[command(subcommand)]
    PriceSheet(money::PriceCommand),
    /// Owned seats: licences that cover hours.
    #[command(subcommand)]
    Seats(money::SeatsCommand),
    /// Continuous export of alerts, recommendations and findings.
    #[command(subcommand)]
    Export(export::Command),
    /// Roles: who may do what where.
    #[command(subcommand)]
    Role(access::RoleCommand),
    /// Device groups.
    #[command(subcommand)]
    Group(access::GroupCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::Command),
    /// How the server is.
    Status,
    /// The hunting tables and their columns.
    Schema {
        /// Only this table.
        table: Option<String>,
    },
}

/// Runs a command; the answer is the exit code (docs/reference/cli.md).
pub async fn run(command: Command, globals: &Globals) -> i32 {
    match dispatch(command, globals).await {
        Ok(()) => 0,
        Err(error) => {
            error.report();
            error.exit_code()
        }
    }
}

async fn dispatch(command: Command, globals: &Globals) -> Result<(), CliError> {
    if let Command::Audit(command) = &command
        && let Some(done) = audit::offline(command)
    {
        return done;
    }
    if let Command::Package(command) = &command
        && let Some(done) = package::offline(command, globals)
    {
        return done;
    }
    if let Command::Tenant(subscription::TenantCommand::Key(command)) = &command {
        return rest::key(command, globals, &Printer::new(globals.output));
    }
    if let Command::Tenant(subscription::TenantCommand::Reset(arguments)) = &command {
        return rest::reset(arguments, globals, &Printer::new(globals.output)).await;
    }
    let client = Client::connect(globals)?;
    let printer = Printer::new(globals.output);
    match command {
        Command::Incident(c) => incident::run(c, &client, &printer).await,
        Command::Alert(c) => alert::run(c, &client, &printer).await,
        Command::Device(c) => device::run(c, &client, &printer).await,
        Command::Rule(c) => rule::run(c, &client, &printer).await,
        Command::Suppression(c) => suppression::run(c, &client, &printer).await,
        Command::Hunt(c) => hunt::run(c, &client, &printer).await,
        Command::Query(c) => query::run(c, &client, &printer).await,
        Command::Detection(c) => detection::run(c, &client, &printer).await,
        Command::Indicator(c) => detection::indicator(c, &client, &printer).await,
        Command::Retro(c) => detection::retro(c, &client, &printer).await,
        Command::Subscription(c) => subscription::run(c, &client, &printer).await,
        Command::Tenant(c) => subscription::tenant(c, &client, &printer).await,
        Command::Machine(c) => machine::run(c, &client, &printer).await,
        Command::Rollout(c) => rollout::run(c, &client, &printer).await,
        Command::Package(_) => package::run(&client, &printer).await,
        Command::Plan(c) => plan::run(c, &client, &printer).await,
        Command::Exclusion(c) => plan::exclusion(c, &client, &printer).await,
        Command::Coverage { missing } => plan::coverage(missing, &client, &printer).await,
        Command::Health(c) => health::run(c, &client, &printer).await,
        Command::Connect(c) => connect::run(c, &client, &printer).await,
        Command::Recommendation(c) => recommendation::run(c, &client, &printer).await,
        Command::Apply(c) => apply::run(c, &client, &printer).await,
        Command::Usage(c) => usage::run(c, &client, &printer).await,
        Command::PriceSheet(c) => money::prices(c, &client, &printer).await,
        Command::Seats(c) => money::seats(c, &client, &printer).await,
        Command::Export(c) => export::run(c, &client, &printer).await,
        Command::Role(c) => access::role(c, &client, &printer).await,
        Command::Group(c) => access::group(c, &client, &printer).await,
        Command::Audit(c) => audit::run(c, &client, &printer).await,
        Command::Status => status::run(&client, &printer).await,
        Command::Schema { table } => status::schema(table, &client, &printer).await,
    }
}
