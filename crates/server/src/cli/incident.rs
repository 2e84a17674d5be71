//! `garrison incident …`

use super::alert::CaseOptions;
use super::client::{CliError, Client, query, typed};
use super::output::{Printer, clean, short_time};
use super::tree;
use clap::Subcommand;
use garrison_model::{Incident, IncidentSummary, Page, Story};
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The queue, newest change first.
    List {
        /// Active, InProgress, Resolved, Redirected; several with commas.
        #[arg(long)]
        status: Option<String>,
        /// High, Medium, Low, Informational; several with commas.
        #[arg(long)]
        severity: Option<String>,
        /// Who works on it.
        #[arg(long)]
        assignee: Option<String>,
        /// Words in title, device or user.
        #[arg(long, short)]
        q: Option<String>,
        /// Such as 24h or 7d.
        #[arg(long)]
        since: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Stay and show incidents as they come.
        #[arg(long)]
        follow: bool,
    },
    /// One incident with its attack story.
    Show {
        /// Number.
        id: i64,
    },
    /// Change one or more incidents.
    Update {
        /// Numbers.
        #[arg(required = true)]
        ids: Vec<i64>,
        #[command(flatten)]
        options: CaseOptions,
        /// New title.
        #[arg(long)]
        title: Option<String>,
        /// Tags, replacing those that are there; several with commas.
        #[arg(long, value_delimiter = ',')]
        tags: Option<Vec<String>>,
    },
    /// Add a comment.
    Comment {
        /// Number.
        id: i64,
        /// Text.
        text: String,
    },
    /// Merge an incident into another one.
    Merge {
        /// Number.
        id: i64,
        /// Number of the one that stays.
        #[arg(long)]
        into: i64,
    },
}

const HEADER: &[&str] = &["ID", "SEVERITY", "STATUS", "ALERTS", "TITLE", "DEVICES", "LAST EVENT", "ASSIGNED"];

fn row(printer: &Printer, i: &IncidentSummary) -> Vec<String> {
    vec![
        i.id.to_string(),
        printer.severity(i.severity),
        i.status.to_string(),
        format!("{}/{}", i.active_alert_count, i.alert_count),
        clean(&i.title),
        i.devices.iter().map(|d| clean(&d.name)).collect::<Vec<_>>().join(" "),
        short_time(&i.last_event_time),
        i.assigned_to.as_deref().map(clean).unwrap_or_default(),
    ]
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List { status, severity, assignee, q, since, limit, follow } => {
            let pairs = [
                ("status", status),
                ("severity", severity),
                ("assignee", assignee),
                ("q", q),
                ("since", since),
                ("limit", Some(limit.to_string())),
            ];
            let page: Page<IncidentSummary> = client.fetch(&query("/incidents", &pairs)).await?;
            printer.list(HEADER, &page.items, |i| row(printer, i))?;
            if let (Some(total), true) = (page.total, page.next_cursor.is_some()) {
                eprintln!("{} of {total} shown; raise --limit for more", page.items.len());
            }
            if follow {
                client
                    .follow("/events", |event, data| {
                        if event == "incident"
                            && let Ok(incident) = typed::<IncidentSummary>(data)
                        {
                            if printer.is_table() {
                                printer.line(&row(printer, &incident).join("  "));
                            } else if printer.json(&incident).is_err() {
                                return ControlFlow::Break(());
                            }
                        }
                        ControlFlow::Continue(())
                    })
                    .await?;
            }
            Ok(())
        }
        Command::Show { id } => show(id, client, printer).await,
        Command::Update { ids, options, title, tags } => {
            let mut body = options.body();
            if let (Value::Object(map), Some(title)) = (&mut body, title) {
                map.insert("title".into(), title.into());
            }
            if let (Value::Object(map), Some(tags)) = (&mut body, tags) {
                map.insert("tags".into(), tags.into());
            }
            for id in ids {
                let changed = client.patch(&format!("/incidents/{id}"), &body).await?;
                if printer.is_table() {
                    eprintln!("incident {id} changed");
                } else {
                    printer.json(&changed)?;
                }
            }
            Ok(())
        }
        Command::Comment { id, text } => {
            client.post(&format!("/incidents/{id}/comments"), &json!({ "comment": text })).await?;
            eprintln!("comment added to incident {id}");
            Ok(())
        }
        Command::Merge { id, into } => {
            client.post(&format!("/incidents/{id}/merge"), &json!({ "into": into })).await?;
            eprintln!("incident {id} is now part of {into}");
            Ok(())
        }
    }
}

async fn show(id: i64, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let incident: Incident = client.fetch(&format!("/incidents/{id}")).await?;
    let story: Story = client.fetch(&format!("/incidents/{id}/story")).await?;
    if !printer.is_table() {
        return printer.json(&json!({ "schemaVersion": 1, "incident": incident, "story": story }));
    }
    let s = &incident.summary;
    printer.line(&printer.paint("1", &format!("Incident {}: {}", s.id, clean(&s.title))));
    let words = |list: &[String]| list.iter().map(|w| clean(w)).collect::<Vec<_>>().join(", ");
    let verdict = match (s.classification, s.determination) {
        (Some(c), Some(d)) => format!("{c}, {d}"),
        (Some(c), None) => c.to_string(),
        _ => String::new(),
    };
    printer.pairs(&[
        ("severity", printer.severity(s.severity)),
        ("status", s.status.to_string()),
        ("assigned", s.assigned_to.as_deref().map(clean).unwrap_or_default()),
        ("verdict", verdict),
        ("tactics", words(&s.categories)),
        ("techniques", words(&s.mitre_techniques)),
        ("devices", s.devices.iter().map(|d| clean(&d.name)).collect::<Vec<_>>().join(", ")),
        ("users", words(&s.users)),
        ("from", short_time(&s.first_event_time)),
        ("until", short_time(&s.last_event_time)),
        ("tags", words(&s.tags)),
    ]);
    printer.line(&printer.paint("1", &format!("\nAlerts ({})", incident.alerts.len())));
    for alert in &incident.alerts {
        let count = if alert.match_count > 1 { format!(" ×{}", alert.match_count) } else { String::new() };
        printer.line(&format!(
            "  {} {:<22} {}{count} {}",
            printer.paint("2", alert.first_event_time.get(11..19).unwrap_or_default()),
            printer.severity(alert.severity),
            clean(&alert.title),
            printer.paint("2", alert.id.as_str())
        ));
    }
    printer.line(&printer.paint("1", "\nAttack story"));
    for tree in &story.trees {
        for line in tree::render(printer, tree, &incident.alerts) {
            printer.line(&line);
        }
        printer.line("");
    }
    if story.truncated {
        eprintln!("the story is larger than shown");
    }
    for comment in &incident.comments {
        let by = format!("{} {}:", short_time(&comment.created_time), clean(&comment.created_by));
        printer.line(&format!("{} {}", printer.paint("2", &by), clean(&comment.comment)));
    }
    Ok(())
}
