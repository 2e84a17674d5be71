//! `garrison alert …`

use super::client::{CliError, Client, query};
use super::output::{Printer, clean, short_time};
use super::tree;
use clap::{Args, Subcommand};
use garrison_model::{Alert, Page, StoryTree};
use serde_json::{Map, Value, json};

/// What can be changed of alerts and incidents alike.
#[derive(Debug, Args)]
pub struct CaseOptions {
    /// New status.
    #[arg(long)]
    pub status: Option<String>,
    /// Who works on it; empty takes it away.
    #[arg(long)]
    pub assign: Option<String>,
    /// TruePositive, InformationalExpectedActivity or FalsePositive.
    #[arg(long)]
    pub classification: Option<String>,
    /// A determination that goes with the classification.
    #[arg(long)]
    pub determination: Option<String>,
    /// Comment added in the same step.
    #[arg(long)]
    pub comment: Option<String>,
}

impl CaseOptions {
    pub(super) fn body(&self) -> Value {
        let pairs = [
            ("status", &self.status),
            ("assignedTo", &self.assign),
            ("classification", &self.classification),
            ("determination", &self.determination),
            ("comment", &self.comment),
        ];
        let set = pairs.into_iter().filter_map(|(n, v)| v.clone().map(|v| (n.to_owned(), Value::String(v))));
        Value::Object(set.collect::<Map<_, _>>())
    }
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Alerts, newest first.
    List {
        /// New, InProgress, Resolved; several with commas.
        #[arg(long)]
        status: Option<String>,
        /// High, Medium, Low, Informational; several with commas.
        #[arg(long)]
        severity: Option<String>,
        /// Rule id.
        #[arg(long)]
        rule: Option<String>,
        /// Incident number.
        #[arg(long)]
        incident: Option<i64>,
        /// Words.
        #[arg(long, short)]
        q: Option<String>,
        /// Such as 24h or 7d.
        #[arg(long)]
        since: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One alert: why it fired, evidence, process tree.
    Show {
        /// Id.
        id: String,
    },
    /// Change one or more alerts.
    Update {
        /// Ids.
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        options: CaseOptions,
    },
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List { status, severity, rule, incident, q, since, limit } => {
            let pairs = [
                ("status", status),
                ("severity", severity),
                ("rule", rule),
                ("incident", incident.map(|i| i.to_string())),
                ("q", q),
                ("since", since),
                ("limit", Some(limit.to_string())),
            ];
            let page: Page<Alert> = client.fetch(&query("/alerts", &pairs)).await?;
            let header = ["ID", "SEVERITY", "STATUS", "TITLE", "DEVICE", "USER", "TIME", "INCIDENT"];
            printer.list(&header, &page.items, |a| {
                vec![
                    a.id.to_string(),
                    printer.severity(a.severity),
                    a.status.to_string(),
                    clean(&a.title),
                    clean(&a.computer_dns_name),
                    a.related_user.as_deref().map(clean).unwrap_or_default(),
                    short_time(&a.last_event_time),
                    a.incident_id.to_string(),
                ]
            })
        }
        Command::Show { id } => show(&id, client, printer).await,
        Command::Update { ids, options } => {
            let body = options.body();
            for id in ids {
                let changed = client.patch(&format!("/alerts/{id}"), &body).await?;
                if printer.is_table() {
                    eprintln!("alert {id} changed");
                } else {
                    printer.json(&changed)?;
                }
            }
            Ok(())
        }
    }
}

async fn show(id: &str, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let alert: Alert = client.fetch(&format!("/alerts/{id}")).await?;
    let tree: Option<StoryTree> = client.fetch(&format!("/alerts/{id}/tree")).await.ok();
    if !printer.is_table() {
        return printer.json(&json!({ "schemaVersion": 1, "alert": alert, "tree": tree }));
    }
    printer.line(&printer.paint("1", &clean(&alert.title)));
    printer.pairs(&[
        ("severity", printer.severity(alert.severity)),
        ("status", alert.status.to_string()),
        ("device", clean(&alert.computer_dns_name)),
        ("user", alert.related_user.as_deref().map(clean).unwrap_or_default()),
        ("techniques", alert.mitre_techniques.join(", ")),
        ("time", short_time(&alert.first_event_time)),
        ("incident", alert.incident_id.to_string()),
        ("rule", alert.detector_id.to_string()),
        ("what", clean(&alert.description)),
        ("do", clean(&alert.recommended_action)),
    ]);
    for found in &alert.matches {
        let words = format!("\nMatched in {} at {}", clean(&found.table), short_time(&found.timestamp));
        printer.line(&printer.paint("1", &words));
        for field in &found.fields {
            printer.line(&format!(
                "  {} {} {}  {}",
                printer.paint("36", &clean(&field.column)),
                clean(&field.test),
                printer.paint("2", "in"),
                clean(&field.value)
            ));
        }
    }
    if let Some(tree) = tree {
        printer.line("");
        for line in tree::render(printer, &tree, std::slice::from_ref(&alert)) {
            printer.line(&line);
        }
    }
    Ok(())
}
