//! `garrison connect …`: machines that have no connector yet.

use super::client::{CliError, Client, typed};
use super::output::{Printer, clean, short_time};
use super::{source, subscription};
use crate::reach::{AwsEnrol, AwsOrder, HostKey, HostState, RunView, SecretKind, SecretRecord, SshOrder, address};
use clap::{Args, Subcommand};
use garrison_model::{GroupName, Page};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connects hosts by SSH from the server.
    Ssh(Ssh),
    /// Takes in the machines of a region of AWS, and brings the connector onto them by SSM.
    Aws(AwsArgs),
    /// Clouds whose machines are taken in again and again.
    #[command(subcommand)]
    Source(source::Command),
    /// Runs that the server remembers, or the hosts of one.
    Run {
        /// Id.
        id: Option<String>,
    },
    /// The vault's secrets.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Hosts whose SSH keys are known.
    #[command(subcommand)]
    Host(HostCommand),
}

/// Hosts to connect.
#[derive(Debug, Args)]
pub struct Ssh {
    /// File of hosts, a line each: `[USER@]HOST[:PORT] [name=NAME] [tag:KEY=VALUE]…`
    #[arg(long, required_unless_present = "range", conflicts_with = "range")]
    inventory: Option<PathBuf>,
    /// Range of addresses, such as 10.0.0.0/28.
    #[arg(long)]
    range: Option<String>,
    /// User of hosts that name none.
    #[arg(long, default_value = "root")]
    user: String,
    /// Name of the key in the vault.
    #[arg(long)]
    key: String,
    /// Address of the gateway as the hosts reach it, HOST:PORT.
    #[arg(long)]
    gateway: String,
    /// Subscription (name or id).
    #[arg(long)]
    subscription: Option<String>,
    /// Resource group.
    #[arg(long)]
    resource_group: Option<GroupName>,
    /// Takes keys of hosts that were never seen; a changed one never.
    #[arg(long)]
    accept_new_hosts: bool,
    /// Hosts worked on at once, 1 to 32.
    #[arg(long, default_value_t = 8)]
    parallel: usize,
    /// Folder of the hosts that the connector goes into.
    #[arg(long)]
    directory: Option<String>,
    /// Only begin, and print the run's id.
    #[arg(long)]
    no_wait: bool,
}

/// Where machines of a cloud are, where they go, and how the connector gets onto them.
#[derive(Debug, Args)]
pub struct CloudArgs {
    /// Region, such as eu-central-1.
    #[arg(long)]
    pub region: String,
    /// Name of the access key in the vault.
    #[arg(long)]
    pub key: String,
    /// Subscription that machines go to (name or id).
    #[arg(long)]
    pub subscription: String,
    /// Resource group; the cloud's name unless given.
    #[arg(long)]
    pub resource_group: Option<GroupName>,
    /// Another address than the cloud's own, http(s)://HOST[:PORT].
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Brings the connector onto running Linux machines: address of the gateway as they reach it, HOST:PORT.
    #[arg(long, requires = "program")]
    gateway: Option<String>,
    /// Where the machines fetch the connector's program; `{architecture}` stands for x64 or arm64.
    #[arg(long, requires = "gateway")]
    program: Option<String>,
}

impl CloudArgs {
    /// How the connector gets onto machines, if it does.
    pub fn enrol(&self) -> Option<AwsEnrol> {
        let (gateway, program) = self.gateway.clone().zip(self.program.clone())?;
        Some(AwsEnrol { gateway, program })
    }
}

/// Machines of AWS.
#[derive(Debug, Args)]
pub struct AwsArgs {
    #[command(flatten)]
    cloud: CloudArgs,
    /// Only begin, and print the run's id.
    #[arg(long)]
    no_wait: bool,
}

/// Commands about secrets.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// All secrets, without what they are.
    List,
    /// Puts one in; nothing gives it out again.
    Add {
        /// Name.
        name: String,
        /// Ssh (a private key without a passphrase) or Aws (`ID:SECRET[:SESSION]`).
        #[arg(long, default_value = "Ssh")]
        kind: SecretKind,
        /// File that holds it.
        #[arg(long)]
        file: PathBuf,
    },
    /// Removes one.
    Remove {
        /// Name.
        name: String,
    },
}

/// Commands about hosts' keys.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// All hosts.
    List,
    /// Forgets a host's keys: the next ones must be accepted anew.
    Forget {
        /// Name or address, `[…]:port` where the port is not 22.
        address: String,
    },
}

fn file(path: &PathBuf) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.display().to_string(), source })
}

/// A text as a part of a path.
pub(super) fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn print(printer: &Printer, run: &RunView) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(run);
    }
    printer.list(&["HOST", "STATE", "CODE", "WHAT", "TO DO"], &run.hosts, |h| {
        let (paint, state) = match h.state {
            HostState::Connected => ("32", "connected"),
            HostState::Listed => ("32", "listed"),
            HostState::Failed => ("31", "failed"),
            HostState::Working => ("33", "working"),
            HostState::Waiting => ("2", "waiting"),
        };
        let code = h.code.map(|c| format!("{c:?}")).unwrap_or_default();
        let what = if h.step.is_empty() { &h.message } else { &h.step };
        vec![clean(&h.host), printer.paint(paint, state), code, clean(what), clean(&h.fix)]
    })
}

async fn ssh(command: Ssh, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let hosts = match (&command.inventory, &command.range) {
        (Some(path), _) => address::inventory(&file(path)?).map_err(|problems| {
            CliError::usage(problems.join("\n"), "a line is `[USER@]HOST[:PORT] [name=NAME] [tag:KEY=VALUE]`")
        })?,
        (None, Some(range)) => {
            address::range(range).map_err(|e| CliError::usage(e, "give a range such as 10.0.0.0/28"))?
        }
        (None, None) => return Err(CliError::usage("no hosts are named", "give --inventory FILE or --range CIDR")),
    };
    let subscription = match command.subscription {
        Some(text) => Some(subscription::find(client, &text).await?.id),
        None => None,
    };
    let order = SshOrder {
        hosts,
        user: command.user,
        key: command.key,
        gateway: command.gateway,
        subscription,
        resource_group: command.resource_group,
        accept_new_hosts: command.accept_new_hosts,
        parallel: Some(command.parallel),
        directory: command.directory,
    };
    let begun = client.post("/reach/ssh", &json!(order)).await?;
    follow(&begun, command.no_wait, client, printer).await
}

async fn aws(command: AwsArgs, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let cloud = command.cloud;
    let order = AwsOrder {
        enrol: cloud.enrol(),
        region: cloud.region,
        endpoint: cloud.endpoint,
        key: cloud.key,
        subscription: Some(subscription::find(client, &cloud.subscription).await?.id),
        resource_group: cloud.resource_group,
    };
    let begun = client.post("/reach/aws", &json!(order)).await?;
    follow(&begun, command.no_wait, client, printer).await
}

/// Waits for a run's end and tells of every host.
async fn follow(begun: &Value, no_wait: bool, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let id = begun.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    if no_wait {
        return printer.json(begun);
    }
    let path = format!("/reach/runs/{}", escaped(&id));
    let mut told: Vec<String> = Vec::new();
    // The server bounds every step of every host, so a run ends.
    loop {
        let run: RunView = client.fetch(&path).await?;
        told.resize(run.hosts.len(), String::new());
        for (host, before) in run.hosts.iter().zip(&mut told) {
            let now = if host.step.is_empty() { host.message.clone() } else { host.step.clone() };
            if *before != now && printer.is_table() {
                eprintln!("{}: {}", clean(&host.host), clean(&now));
            }
            *before = now;
        }
        if !run.done {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        print(printer, &run)?;
        return match (run.failed, run.hosts.len()) {
            (0, _) => Ok(()),
            (failed, all) if failed == all => Err(CliError::Failed("nothing was connected".to_owned())),
            (failed, all) => Err(CliError::Partial(format!("{failed} of {all} failed"))),
        };
    }
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::Ssh(command) => ssh(command, client, printer).await,
        Command::Aws(command) => aws(command, client, printer).await,
        Command::Source(command) => source::run(command, client, printer).await,
        Command::Run { id: Some(id) } => print(printer, &client.fetch(&format!("/reach/runs/{}", escaped(&id))).await?),
        Command::Run { id: None } => {
            let page: Page<RunView> = client.fetch("/reach/runs").await?;
            printer.list(&["ID", "BEGUN", "BY", "HOSTS", "CONNECTED", "FAILED", "DONE"], &page.items, |r| {
                let mut cells = vec![clean(&r.id), short_time(&r.started_time), clean(&r.started_by)];
                cells.extend([r.hosts.len(), r.connected, r.failed].map(|n| n.to_string()));
                cells.push(if r.done { "yes" } else { "no" }.to_owned());
                cells
            })
        }
        Command::Key(KeyCommand::List) => {
            let page: Page<SecretRecord> = client.fetch("/reach/secrets").await?;
            printer.list(&["NAME", "KIND", "BY", "SINCE"], &page.items, |s| {
                let kind = s.kind.as_str().to_owned();
                vec![clean(&s.name), kind, clean(&s.created_by), short_time(&s.created_time)]
            })
        }
        Command::Key(KeyCommand::Add { name, kind, file: path }) => {
            let body = json!({ "name": name, "kind": kind, "secret": file(&path)? });
            let made: SecretRecord = typed(client.post("/reach/secrets", &body).await?)?;
            eprintln!("secret {} is in the vault", clean(&made.name));
            Ok(())
        }
        Command::Key(KeyCommand::Remove { name }) => {
            client.delete(&format!("/reach/secrets/{}", escaped(&name))).await?;
            eprintln!("secret {} removed", clean(&name));
            Ok(())
        }
        Command::Host(HostCommand::List) => {
            let page: Page<HostKey> = client.fetch("/reach/hosts").await?;
            printer.list(&["ADDRESS", "FINGERPRINTS", "ACCEPTED BY", "SINCE"], &page.items, |h| {
                let keys = h.fingerprints.iter().map(|f| clean(f)).collect::<Vec<_>>().join("\n");
                vec![clean(&h.address), keys, clean(&h.accepted_by), short_time(&h.accepted_time)]
            })
        }
        Command::Host(HostCommand::Forget { address }) => {
            client.delete(&format!("/reach/hosts/{}", escaped(&address))).await?;
            eprintln!("keys of {} forgotten", clean(&address));
            Ok(())
        }
    }
}
