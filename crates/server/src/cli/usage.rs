//! `garrison usage`

use super::client::{CliError, Client, query};
use super::output::{Printer, clean};
use crate::metering::{UsageBy, UsageLine};
use clap::Args;
use garrison_model::Page;

/// What to report.
#[derive(Debug, Args)]
pub struct Command {
    /// By what hours are summed.
    #[arg(long, value_enum, default_value_t = UsageBy::Day)]
    by: UsageBy,
    /// Not before (RFC 3339); 30 days ago unless given.
    #[arg(long)]
    from: Option<String>,
    /// Before (RFC 3339); now unless given.
    #[arg(long)]
    to: Option<String>,
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let by = match command.by {
        UsageBy::Day => "day",
        UsageBy::Subscription => "subscription",
        UsageBy::Machine => "machine",
        UsageBy::Plan => "plan",
    };
    let path = query("/usage", &[("by", Some(by.to_owned())), ("from", command.from), ("to", command.to)]);
    let page: Page<UsageLine> = client.fetch(&path).await?;
    printer.list(&[&by.to_uppercase(), "PLAN", "HOURS", "IN TRIAL"], &page.items, |l| {
        vec![clean(&l.key), l.plan.to_string(), l.hours.to_string(), l.trial_hours.to_string()]
    })
}
