//! `garrison detection …`, `garrison indicator …`, `garrison retro …`

use super::client::{CliError, Client, query, typed};
use super::output::{Printer, clean, short_time};
use crate::detection::custom::api::{CustomDetection, RunView, TestResult};
use crate::detection::indicator::Indicator;
use crate::detection::retro::{RetroHunt, RetroMatch};
use clap::Subcommand;
use garrison_model::Page;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Commands on custom detections.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All of them with their last run.
    List,
    /// One with its runs.
    Show {
        /// Id.
        id: String,
    },
    /// Make one of a file (TOML or JSON; docs/guides/custom-detections.md).
    Create {
        /// File.
        #[arg(short, long)]
        file: PathBuf,
        /// Do not look through the past 30 days.
        #[arg(long)]
        no_retro: bool,
    },
    /// Replace what one says by a file's words; its schedule goes on.
    Edit {
        /// Id.
        id: String,
        /// File.
        #[arg(short, long)]
        file: PathBuf,
    },
    /// What one would find in the past 30 days; nothing is kept.
    Test {
        /// File.
        #[arg(short, long)]
        file: PathBuf,
    },
    /// Switch one on.
    Enable {
        /// Id.
        id: String,
    },
    /// Switch one off.
    Disable {
        /// Id.
        id: String,
    },
    /// Run one now over its look-back.
    Run {
        /// Id.
        id: String,
    },
    /// Remove one; its alerts stay.
    Delete {
        /// Id.
        id: String,
    },
}

fn definition(path: &Path) -> Result<Value, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::usage(format!("cannot read `{}`: {error}", path.display()), "give the file of a detection")
    })?;
    let parsed = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).map_err(|e| e.to_string())
    } else {
        toml::from_str(&text).map_err(|e| e.to_string())
    };
    parsed.map_err(|error| {
        CliError::usage(
            format!("`{}` is no TOML or JSON: {error}", path.display()),
            "see docs/guides/custom-detections.md for an example",
        )
    })
}

fn run_row(run: &RunView) -> Vec<String> {
    vec![
        short_time(&run.started),
        run.kind.as_str().to_owned(),
        run.state.as_str().to_owned(),
        run.rows.to_string(),
        format!("{}{}", run.alerts, if run.capped { " (cap)" } else { "" }),
        run.repeated.to_string(),
        run.error.as_deref().map(clean).unwrap_or_default(),
    ]
}

const RUN_COLUMNS: [&str; 7] = ["STARTED", "KIND", "STATE", "ROWS", "ALERTS", "REPEATED", "ERROR"];

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List => {
            let page: Page<CustomDetection> = client.fetch("/hunting/detections").await?;
            let columns = ["ID", "NAME", "EVERY", "ON", "LAST RUN", "STATE", "NEXT"];
            printer.list(&columns, &page.items, |d| {
                let every = serde_json::to_value(d.definition.frequency).ok();
                vec![
                    d.id.clone(),
                    clean(&d.definition.name),
                    every.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
                    if d.definition.enabled { "yes" } else { "no" }.to_owned(),
                    d.last_run.as_ref().map(|r| short_time(&r.started)).unwrap_or_default(),
                    d.last_run.as_ref().map(|r| r.state.as_str().to_owned()).unwrap_or_default(),
                    d.next_run_time.as_deref().map(short_time).unwrap_or_default(),
                ]
            })
        }
        Command::Show { id } => {
            let detection = client.get(&format!("/hunting/detections/{id}")).await?;
            let runs: Page<RunView> = client.fetch(&format!("/hunting/detections/{id}/runs")).await?;
            if !printer.is_table() {
                return printer.json(&json!({ "detection": detection, "runs": runs.items }));
            }
            let one: CustomDetection = typed(detection)?;
            printer.line(&format!("{}  {}", one.id, clean(&one.definition.name)));
            one.definition.query.lines().for_each(|line| printer.line(&format!("  {}", clean(line))));
            if let Some(note) = &one.actions_note {
                printer.line(&format!("actions: {note}"));
            }
            printer.list(&RUN_COLUMNS, &runs.items, run_row)
        }
        Command::Create { file, no_retro } => {
            let path = query("/hunting/detections", &[("retro", no_retro.then(|| "false".to_owned()))]);
            printer.json(&client.post(&path, &definition(&file)?).await?)
        }
        Command::Edit { id, file } => {
            printer.json(&client.put(&format!("/hunting/detections/{id}"), &definition(&file)?).await?)
        }
        Command::Test { file } => {
            let answer = client.post("/hunting/detections/test", &definition(&file)?).await?;
            if !printer.is_table() {
                return printer.json(&answer);
            }
            let found: TestResult = typed(answer)?;
            let more = if found.more { "more than " } else { "" };
            printer.line(&format!("{more}{} rows in 30 days, at most {} alerts", found.rows, found.alerts));
            if found.capped {
                printer.line("one run would hit the cap of alerts");
            }
            found.titles.iter().for_each(|title| printer.line(&format!("  {}", clean(title))));
            Ok(())
        }
        Command::Enable { id } => switch(client, printer, &id, true).await,
        Command::Disable { id } => switch(client, printer, &id, false).await,
        Command::Run { id } => {
            let answer = client.post(&format!("/hunting/detections/{id}/run"), &json!({})).await?;
            if !printer.is_table() {
                return printer.json(&answer);
            }
            let run: RunView = typed(answer)?;
            printer.list(&RUN_COLUMNS, &[run], run_row)
        }
        Command::Delete { id } => {
            client.delete(&format!("/hunting/detections/{id}")).await?;
            eprintln!("detection {id} removed");
            Ok(())
        }
    }
}

async fn switch(client: &Client, printer: &Printer, id: &str, enabled: bool) -> Result<(), CliError> {
    let answer = client.patch(&format!("/hunting/detections/{id}"), &json!({ "enabled": enabled })).await?;
    if printer.is_table() {
        eprintln!("detection {id} is {}", if enabled { "on" } else { "off" });
        return Ok(());
    }
    printer.json(&answer)
}

/// Commands on indicators.
#[derive(Debug, Subcommand)]
pub enum IndicatorCommand {
    /// All of them.
    List,
    /// Add a hash, an address or range, a domain or a URL.
    Add {
        /// The value.
        value: String,
        /// Title of its alerts.
        #[arg(long)]
        title: String,
        /// Informational, Low, Medium or High.
        #[arg(long, default_value = "High")]
        severity: String,
        /// What it means.
        #[arg(long, default_value = "")]
        description: String,
        /// What happens on a match.
        #[arg(long, default_value = "audit")]
        action: String,
        /// When it ends by itself (RFC 3339).
        #[arg(long)]
        expires: Option<String>,
        /// Do not look through the past 30 days.
        #[arg(long)]
        no_retro: bool,
    },
    /// Remove one; its alerts stay.
    Remove {
        /// Id.
        id: String,
    },
}

pub(super) async fn indicator(command: IndicatorCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        IndicatorCommand::List => {
            let page: Page<Indicator> = client.fetch("/hunting/indicators").await?;
            printer.list(&["ID", "VALUE", "SEVERITY", "TITLE", "EXPIRES"], &page.items, |i| {
                vec![
                    i.id.clone(),
                    clean(&i.value),
                    i.severity.as_str().to_owned(),
                    clean(&i.title),
                    i.expires_time.as_deref().map(short_time).unwrap_or_default(),
                ]
            })
        }
        IndicatorCommand::Add { value, title, severity, description, action, expires, no_retro } => {
            let mut body = json!({
                "value": value, "title": title, "severity": severity, "description": description, "action": action,
                "retro": !no_retro,
            });
            if let Some(expires) = expires {
                body["expiresTime"] = expires.into();
            }
            printer.json(&client.post("/hunting/indicators", &body).await?)
        }
        IndicatorCommand::Remove { id } => {
            client.delete(&format!("/hunting/indicators/{id}")).await?;
            eprintln!("indicator {id} removed");
            Ok(())
        }
    }
}

/// Commands on retro-hunts.
#[derive(Debug, Subcommand)]
pub enum RetroCommand {
    /// All of them with their progress.
    List,
    /// One with its matches.
    Show {
        /// Id.
        id: String,
    },
    /// Hunt for a rule, detection or indicator.
    Start {
        /// `rule`, `detection` or `indicator`.
        kind: String,
        /// Its id.
        target: String,
        /// Days to look back.
        #[arg(long, default_value_t = 30)]
        days: u32,
        /// Keep matches only; make no alerts.
        #[arg(long)]
        no_alerts: bool,
    },
    /// End one; what it found stays.
    Cancel {
        /// Id.
        id: String,
    },
}

fn hunt_row(hunt: &RetroHunt) -> Vec<String> {
    vec![
        hunt.id.clone(),
        hunt.kind.as_str().to_owned(),
        clean(&hunt.title),
        hunt.state.as_str().to_owned(),
        format!("{} %", hunt.percent),
        hunt.rows.to_string(),
        hunt.matches.to_string(),
        hunt.alerts.to_string(),
    ]
}

const HUNT_COLUMNS: [&str; 8] = ["ID", "KIND", "TITLE", "STATE", "DONE", "ROWS", "MATCHES", "ALERTS"];

pub(super) async fn retro(command: RetroCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        RetroCommand::List => {
            let page: Page<RetroHunt> = client.fetch("/hunting/retro").await?;
            printer.list(&HUNT_COLUMNS, &page.items, hunt_row)
        }
        RetroCommand::Show { id } => {
            let hunt: RetroHunt = client.fetch(&format!("/hunting/retro/{id}")).await?;
            let page: Page<RetroMatch> = client.fetch(&format!("/hunting/retro/{id}/matches")).await?;
            if !printer.is_table() {
                return printer.json(&json!({ "hunt": hunt, "matches": page.items }));
            }
            printer.list(&HUNT_COLUMNS, std::slice::from_ref(&hunt), hunt_row)?;
            printer.list(&["TIME", "TABLE", "DEVICE", "ROW"], &page.items, |m| {
                let row = Value::Object(m.row.clone()).to_string();
                vec![
                    short_time(&m.timestamp),
                    m.table.clone(),
                    m.device_id.chars().take(12).collect(),
                    clean(&row.chars().take(120).collect::<String>()),
                ]
            })
        }
        RetroCommand::Start { kind, target, days, no_alerts } => {
            let body = json!({ "kind": kind, "target": target, "days": days, "alerts": !no_alerts });
            printer.json(&client.post("/hunting/retro", &body).await?)
        }
        RetroCommand::Cancel { id } => {
            client.delete(&format!("/hunting/retro/{id}")).await?;
            eprintln!("retro-hunt {id} cancelled");
            Ok(())
        }
    }
}
