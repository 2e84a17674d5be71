//! `garrison connect source …`: clouds whose machines are taken in again and again.

use super::client::{CliError, Client, typed};
use super::connect::{CloudArgs, escaped};
use super::output::{Printer, clean, short_time};
use super::subscription;
use crate::reach::{CloudKind, Source, SourceChange, SourceDetail, SourceNew, SourceOutcome};
use clap::{Args, Subcommand};
use garrison_model::Page;
use serde_json::{Value, json};
use std::time::Duration;

/// How often a round is looked at, and for how long: one that sends the connector may take longer, and goes on.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS_MAX: u32 = 600;

/// Commands about sources.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All sources, with how their newest rounds ended.
    List,
    /// One source, with the machines that need somebody.
    Show {
        /// Name.
        name: String,
    },
    /// Takes a cloud's machines in from now on.
    Add(Add),
    /// Works on a source at once, and waits for the end.
    Run {
        /// Name.
        name: String,
        /// Only begin.
        #[arg(long)]
        no_wait: bool,
    },
    /// Changes how often it is worked on, and whether it brings the connector onto machines.
    Set {
        /// Name.
        name: String,
        /// Minutes between two rounds, 5 to 1440.
        #[arg(long, required_unless_present = "install")]
        every: Option<i64>,
        /// Whether the connector is brought onto machines.
        #[arg(long)]
        install: Option<bool>,
    },
    /// Lets it rest.
    Disable {
        /// Name.
        name: String,
    },
    /// Ends its rest.
    Enable {
        /// Name.
        name: String,
    },
    /// Removes it; its machines stay.
    Remove {
        /// Name.
        name: String,
    },
}

/// A source to be.
#[derive(Debug, Args)]
pub struct Add {
    /// Name.
    name: String,
    /// Cloud.
    #[arg(long, default_value = "aws")]
    cloud: CloudKind,
    #[command(flatten)]
    place: CloudArgs,
    /// Keeps gateway and program, and brings the connector onto nothing yet.
    #[arg(long)]
    no_install: bool,
    /// Minutes between two rounds, 5 to 1440.
    #[arg(long, default_value_t = 15)]
    every: i64,
}

fn path(name: &str) -> String {
    format!("/reach/sources/{}", escaped(name))
}

/// What the newest round came to, short.
fn summary(source: &Source) -> String {
    let c = &source.counts;
    let all = [
        ("listed", c.listed),
        ("added", c.added),
        ("changed", c.changed),
        ("gone", c.gone),
        ("forgotten", c.forgotten),
        ("connected", c.connected),
        ("sent", c.sent),
        ("failed", c.failed),
        ("held", c.held),
        ("unsupported", c.unsupported),
        ("waiting", c.waiting),
    ];
    let told = all.iter().enumerate().filter(|(at, (_, count))| *at == 0 || *count > 0);
    told.map(|(_, (name, count))| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

fn row(printer: &Printer, s: &Source) -> Vec<String> {
    let (paint, state) = match (s.disabled, s.running, s.outcome) {
        (true, ..) => ("2", "disabled".to_owned()),
        (_, true, _) => ("33", "running".to_owned()),
        (_, _, None) => ("2", "waiting".to_owned()),
        (_, _, Some(SourceOutcome::Succeeded)) => ("32", "Succeeded".to_owned()),
        (_, _, Some(outcome)) if s.failures > 1 => ("31", format!("{} ({} times)", outcome.as_str(), s.failures)),
        (_, _, Some(outcome)) => ("31", outcome.as_str().to_owned()),
    };
    let last = s.last_run_time.as_deref().map(short_time).unwrap_or_default();
    let what = if s.message.is_empty() && s.last_run_time.is_some() { summary(s) } else { clean(&s.message) };
    vec![
        clean(&s.name),
        s.cloud.as_str().to_owned(),
        clean(&s.region),
        format!("{} min", s.every_minutes),
        if s.install { "yes" } else { "no" }.to_owned(),
        printer.paint(paint, &state),
        last,
        what,
        clean(&s.fix),
    ]
}

const HEADINGS: [&str; 9] = ["NAME", "CLOUD", "REGION", "EVERY", "INSTALL", "STATE", "LAST", "WHAT", "TO DO"];

async fn show(name: &str, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let detail: SourceDetail = client.fetch(&path(name)).await?;
    if !printer.is_table() {
        return printer.json(&detail);
    }
    printer.list(&HEADINGS, std::slice::from_ref(&detail.source), |s| row(printer, s))?;
    if detail.instances.is_empty() {
        return Ok(());
    }
    printer.list(&["INSTANCE", "STATE", "TRIES", "NEXT", "WHAT", "TO DO"], &detail.instances, |i| {
        let next = i.next_try_time.as_deref().map(short_time).unwrap_or_default();
        let state = i.state.as_str().to_owned();
        vec![clean(&i.instance), state, i.tries.to_string(), next, clean(&i.message), clean(&i.fix)]
    })
}

async fn add(command: Add, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let place = command.place;
    let new = SourceNew {
        name: command.name,
        cloud: command.cloud,
        enrol: place.enrol(),
        region: place.region,
        endpoint: place.endpoint,
        key: place.key,
        subscription: subscription::find(client, &place.subscription).await?.id,
        resource_group: place.resource_group,
        install: command.no_install.then_some(false),
        every_minutes: Some(command.every),
        disabled: false,
    };
    let made: Source = typed(client.post("/reach/sources", &json!(new)).await?)?;
    if !printer.is_table() {
        return printer.json(&made);
    }
    eprintln!("source {} is worked on every {} minutes from now on", clean(&made.name), made.every_minutes);
    Ok(())
}

async fn run_now(name: &str, no_wait: bool, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let before: SourceDetail = client.fetch(&path(name)).await?;
    client.post(&format!("{}/run", path(name)), &Value::Null).await?;
    for _ in 0..LOOKS_MAX {
        if no_wait {
            eprintln!("source {} is worked on now", clean(name));
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
        let now: SourceDetail = client.fetch(&path(name)).await?;
        // One that was under way when it was asked for has another round to come.
        let is_new = now.source.last_run_time != before.source.last_run_time;
        if !is_new || now.source.running || before.source.running && now.source.next_run_time.is_none() {
            continue;
        }
        show(name, client, printer).await?;
        return match now.source.outcome {
            Some(SourceOutcome::Succeeded) => Ok(()),
            _ => Err(CliError::Document { message: now.source.message, hint: now.source.fix }),
        };
    }
    Err(CliError::Failed(format!(
        "the round goes on; `garrison connect source show {}` says when it ends",
        clean(name)
    )))
}

async fn change(name: &str, change: SourceChange, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let changed: Source = typed(client.patch(&path(name), &json!(change)).await?)?;
    if !printer.is_table() {
        return printer.json(&changed);
    }
    printer.list(&HEADINGS, &[changed], |s| row(printer, s))
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List => {
            let page: Page<Source> = client.fetch("/reach/sources").await?;
            printer.list(&HEADINGS, &page.items, |s| row(printer, s))
        }
        Command::Show { name } => show(&name, client, printer).await,
        Command::Add(command) => add(command, client, printer).await,
        Command::Run { name, no_wait } => run_now(&name, no_wait, client, printer).await,
        Command::Set { name, every, install } => {
            let body = SourceChange { every_minutes: every, install, ..SourceChange::default() };
            change(&name, body, client, printer).await
        }
        Command::Disable { name } => {
            change(&name, SourceChange { disabled: Some(true), ..SourceChange::default() }, client, printer).await
        }
        Command::Enable { name } => {
            change(&name, SourceChange { disabled: Some(false), ..SourceChange::default() }, client, printer).await
        }
        Command::Remove { name } => {
            client.delete(&path(&name)).await?;
            eprintln!("source {} removed; its machines stay", clean(&name));
            Ok(())
        }
    }
}
