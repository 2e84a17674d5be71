//! `garrison alert …`

use super::client::{CliError, Client, query, typed};
use super::output::{Printer, clean, short_time};
use super::tree;
use clap::{Args, Subcommand};
use garrison_model::{Alert, CloudAlert, Page, StoryTree};
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
        /// New, InProgress, Resolved; with --cloud Active, InProgress, Resolved, Dismissed; several with commas.
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
        /// The cloud view: alerts of machines, of the last 90 days, by subscription and resource.
        #[arg(long, conflicts_with_all = ["rule", "incident", "q", "since"])]
        cloud: bool,
        /// Only in this subscription.
        #[arg(long, requires = "cloud")]
        subscription: Option<String>,
        /// Only of this machine or resource group, by its resource id.
        #[arg(long, requires = "cloud")]
        resource: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One alert: why it fired, evidence, process tree.
    Show {
        /// Id.
        id: String,
    },
    /// Resolve alerts with nothing to do about them, in both views.
    Dismiss {
        /// Ids.
        #[arg(required = true)]
        ids: Vec<String>,
        /// Why; kept as a comment.
        #[arg(long)]
        reason: Option<String>,
        /// They are false positives, not expected activity.
        #[arg(long)]
        false_positive: bool,
    },
    /// Open dismissed or resolved alerts again.
    Reactivate {
        /// Ids.
        #[arg(required = true)]
        ids: Vec<String>,
        /// Why; kept as a comment.
        #[arg(long)]
        reason: Option<String>,
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
        Command::List { cloud: true, status, severity, subscription, resource, limit, .. } => {
            let pairs = [
                ("subscription", subscription),
                ("resource", resource),
                ("status", status),
                ("severity", severity),
                ("limit", Some(limit.to_string())),
            ];
            let page: Page<CloudAlert> = client.fetch(&query("/cloud/alerts", &pairs)).await?;
            let header = ["ID", "SEVERITY", "STATUS", "TITLE", "TIME", "RESOURCE"];
            printer.list(&header, &page.items, |a| {
                vec![
                    a.id.to_string(),
                    a.severity.to_string(),
                    a.status.to_string(),
                    clean(&a.alert_display_name),
                    short_time(&a.time_generated),
                    a.resource_id.to_string(),
                ]
            })
        }
        Command::Dismiss { ids, reason, false_positive } => {
            let kind = if false_positive { "FalsePositive" } else { "InformationalExpectedActivity" };
            let mut body = json!({ "classification": kind });
            if let Some(reason) = reason {
                body["reason"] = reason.into();
            }
            close(&ids, "dismiss", &body, client, printer).await
        }
        Command::Reactivate { ids, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            close(&ids, "reactivate", &body, client, printer).await
        }
        Command::List { status, severity, rule, incident, q, since, limit, .. } => {
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

async fn close(ids: &[String], verb: &str, body: &Value, client: &Client, printer: &Printer) -> Result<(), CliError> {
    for id in ids {
        let answer = client.post(&format!("/cloud/alerts/{id}/{verb}"), body).await?;
        if printer.is_table() {
            let alert: CloudAlert = typed(answer)?;
            eprintln!("alert {id} is {}", alert.status);
        } else {
            printer.json(&answer)?;
        }
    }
    Ok(())
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
