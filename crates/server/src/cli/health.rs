//! `garrison health`: how machines are, in three classes.

use super::client::{CliError, Client, query};
use super::output::{Printer, clean, short_time};
use super::subscription;
use crate::health::{HealthLine, HealthSummary};
use clap::Args;
use garrison_model::{HealthClass, HealthState, MachineHealth, Page};

/// Which machines; without any of them, a summary.
#[derive(Debug, Args)]
pub struct Command {
    /// Machines with findings of this class: Installation, Heartbeat or NotApplicable.
    #[arg(long)]
    class: Option<HealthClass>,
    /// Machines with this code, such as SensorSilent (docs/reference/health.md).
    #[arg(long)]
    code: Option<String>,
    /// Machines in this state: Healthy, Pending, Unhealthy or NotApplicable.
    #[arg(long)]
    state: Option<HealthState>,
    /// In this subscription (name or id).
    #[arg(long)]
    subscription: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 500)]
    limit: usize,
}

pub(super) fn paint(printer: &Printer, state: HealthState) -> String {
    let code = match state {
        HealthState::Healthy => "32",
        HealthState::Pending => "36",
        HealthState::Unhealthy => "31",
        HealthState::NotApplicable => "2",
    };
    printer.paint(code, state.as_str())
}

/// The findings of one machine, each with what to do.
pub(super) fn show(printer: &Printer, health: &MachineHealth) {
    let (since, refreshed) = (short_time(&health.since), short_time(&health.refreshed));
    printer.line(&format!("  health {} since {since}, looked at {refreshed}", paint(printer, health.state)));
    for f in &health.findings {
        printer.line(&format!("    {} {}: {}", f.class, clean(&f.code), clean(&f.message)));
        printer.line(&format!("      what to do: {}", clean(&f.fix)));
    }
}

fn summary(all: &HealthSummary, printer: &Printer) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(all);
    }
    let counts = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ")
    };
    printer.pairs(&[
        ("machines", all.machines.to_string()),
        ("by state", counts(&all.by_state)),
        ("by class", counts(&all.by_class)),
        ("looked at", all.refreshed.as_deref().map_or_else(|| "not yet".to_owned(), short_time)),
    ]);
    if all.codes.is_empty() {
        return Ok(());
    }
    printer.list(&["CLASS", "CODE", "MACHINES", "TO DO"], &all.codes, |line| {
        vec![line.class.to_string(), clean(&line.code), line.machines.to_string(), clean(&line.fix)]
    })
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let within = match &command.subscription {
        Some(text) => Some(subscription::find(client, text).await?.id.to_string()),
        None => None,
    };
    if command.class.is_none() && command.code.is_none() && command.state.is_none() {
        return summary(&client.fetch(&query("/health", &[("subscription", within)])).await?, printer);
    }
    let mut items: Vec<HealthLine> = Vec::new();
    let mut cursor: Option<String> = None;
    while items.len() < command.limit {
        let path = query(
            "/health/machines",
            &[
                ("class", command.class.map(|c| c.to_string())),
                ("code", command.code.clone()),
                ("state", command.state.map(|s| s.to_string())),
                ("subscription", within.clone()),
                ("limit", Some((command.limit - items.len()).min(500).to_string())),
                ("cursor", cursor.clone()),
            ],
        );
        let page: Page<HealthLine> = client.fetch(&path).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    printer.list(&["MACHINE", "STATE", "SINCE", "CODES", "WHY", "TO DO"], &items, |line| {
        let each = |of: fn(&garrison_model::HealthFinding) -> &str| {
            clean(&line.health.findings.iter().map(of).collect::<Vec<_>>().join("; "))
        };
        vec![
            clean(&line.name),
            paint(printer, line.health.state),
            short_time(&line.health.since),
            each(|f| &f.code),
            each(|f| &f.message),
            each(|f| &f.fix),
        ]
    })
}
