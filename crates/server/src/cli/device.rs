//! `garrison device …`

use super::client::{CliError, Client, query, typed};
use super::output::{Printer, clean, short_time};
use clap::Subcommand;
use garrison_model::{Device, Page, TimelineRow};
use serde_json::json;
use std::ops::ControlFlow;

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Devices.
    List {
        /// Words in name, address or tags.
        #[arg(long, short)]
        q: Option<String>,
        /// Health, such as Active or Inactive.
        #[arg(long)]
        health: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// One device.
    Show {
        /// Id, its beginning, or name.
        device: String,
    },
    /// What happened on a device, newest first.
    Timeline {
        /// Id, its beginning, or name.
        device: String,
        /// From this time (RFC 3339).
        #[arg(long)]
        from: Option<String>,
        /// Until this time (RFC 3339).
        #[arg(long)]
        to: Option<String>,
        /// Hunting tables; several with commas.
        #[arg(long)]
        tables: Option<String>,
        /// Words.
        #[arg(long, short)]
        q: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Stay and show rows as they come.
        #[arg(long)]
        follow: bool,
    },
    /// What was lost of a device's rows, and why.
    Losses {
        /// Id, its beginning, or name.
        device: String,
    },
    /// Take a device's certificate away; its sensor is cut off at once.
    Revoke {
        /// Id, its beginning, or name.
        device: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

async fn resolve(client: &Client, words: &str) -> Result<Device, CliError> {
    let page: Page<Device> = client.fetch(&query("/devices", &[("limit", Some("500".into()))])).await?;
    let mut found: Vec<Device> = page.items.iter().filter(|d| d.computer_dns_name == words).cloned().collect();
    if found.is_empty() {
        found = page.items.into_iter().filter(|d| d.id.as_str().starts_with(words)).collect();
    }
    match (found.len(), found.pop()) {
        (1, Some(device)) => Ok(device),
        (0, _) => match garrison_model::DeviceId::new(words) {
            Ok(id) => client.fetch(&format!("/devices/{id}")).await,
            Err(_) => Err(CliError::usage(format!("no device is `{words}`"), "see `garrison device list`")),
        },
        (n, _) => Err(CliError::usage(format!("`{words}` fits {n} devices"), "give more of the id")),
    }
}

fn row_line(printer: &Printer, row: &TimelineRow) -> String {
    let alert = if row.alert_ids.is_empty() { " ".to_owned() } else { printer.paint("31", "●") };
    format!(
        "{} {alert} {} {} {}",
        printer.paint("2", row.timestamp.get(..23).unwrap_or(&row.timestamp)),
        printer.paint("36", &format!("{:<26}", clean(&row.action_type))),
        printer.paint("35", &format!("{:<12}", row.initiating_process.as_deref().map(clean).unwrap_or_default())),
        clean(&row.summary)
    )
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List { q, health, limit } => {
            let pairs = [("q", q), ("health", health), ("limit", Some(limit.to_string()))];
            let page: Page<Device> = client.fetch(&query("/devices", &pairs)).await?;
            let header = ["NAME", "HEALTH", "RISK", "ALERTS", "SYSTEM", "SIGHT", "ROWS", "LOST", "LAST SEEN", "ID"];
            printer.list(&header, &page.items, |d| {
                vec![
                    clean(&d.computer_dns_name),
                    d.health_status.to_string(),
                    printer.severity(d.risk_score),
                    d.active_alert_count.to_string(),
                    clean(&format!("{} {}", d.os_distribution, d.os_version)),
                    clean(&d.sight.subsystem),
                    d.row_count.to_string(),
                    d.lost_row_count.to_string(),
                    short_time(&d.last_seen),
                    d.id.as_str()[..12].to_owned(),
                ]
            })
        }
        Command::Show { device } => {
            let d = resolve(client, &device).await?;
            if !printer.is_table() {
                return printer.json(&d);
            }
            printer.line(&printer.paint("1", &clean(&d.computer_dns_name)));
            printer.pairs(&[
                ("id", d.id.to_string()),
                ("health", d.health_status.to_string()),
                ("issues", d.health_issues.iter().map(|i| clean(i)).collect::<Vec<_>>().join("; ")),
                ("risk", printer.severity(d.risk_score)),
                ("open alerts", d.active_alert_count.to_string()),
                ("system", clean(&format!("{} {} ({})", d.os_distribution, d.os_version, d.kernel_version))),
                ("sensor", clean(&d.agent_version)),
                ("sees through", clean(&d.sight.subsystem)),
                ("cannot see", d.sight.missing.iter().map(|m| clean(m)).collect::<Vec<_>>().join("; ")),
                ("content", clean(&d.content_version)),
                ("addresses", d.ip_addresses.iter().map(|a| clean(a)).collect::<Vec<_>>().join(", ")),
                ("plan", d.plan.map(|p| p.plan.to_string()).unwrap_or_else(|| "none speaks of it".to_owned())),
                ("not collected", d.collection_off.as_deref().map(clean).unwrap_or_default()),
                ("rows", d.row_count.to_string()),
                ("lost rows", d.lost_row_count.to_string()),
                ("first seen", short_time(&d.first_seen)),
                ("last seen", short_time(&d.last_seen)),
                ("tags", d.machine_tags.iter().map(|t| clean(t)).collect::<Vec<_>>().join(", ")),
            ]);
            Ok(())
        }
        Command::Timeline { device, from, to, tables, q, limit, follow } => {
            let id = resolve(client, &device).await?.id;
            let pairs = [("from", from), ("to", to), ("tables", tables), ("q", q), ("limit", Some(limit.to_string()))];
            let page: Page<TimelineRow> = client.fetch(&query(&format!("/devices/{id}/timeline"), &pairs)).await?;
            if printer.is_table() {
                // Oldest first on a terminal, so that --follow goes on below.
                page.items.iter().rev().for_each(|row| printer.line(&row_line(printer, row)));
            } else {
                printer.list(&[], &page.items, |_| vec![])?;
            }
            if follow {
                client
                    .follow(&query("/events", &[("device", Some(id.to_string()))]), |event, data| {
                        if event == "row"
                            && let Ok(row) = typed::<TimelineRow>(data)
                        {
                            if printer.is_table() {
                                printer.line(&row_line(printer, &row));
                            } else if printer.json(&row).is_err() {
                                return ControlFlow::Break(());
                            }
                        }
                        ControlFlow::Continue(())
                    })
                    .await?;
            }
            Ok(())
        }
        Command::Losses { device } => {
            let id = resolve(client, &device).await?.id;
            let answer = client.get(&format!("/devices/{id}/losses")).await?;
            printer.json(&answer)
        }
        Command::Revoke { device, reason } => {
            let found = resolve(client, &device).await?;
            client.post(&format!("/devices/{}/revoke", found.id), &json!({ "reason": reason })).await?;
            eprintln!("{} is revoked; to protect it again, enrol it anew", clean(&found.computer_dns_name));
            Ok(())
        }
    }
}
