//! `garrison usage …`

use super::client::{CliError, Client, query};
use super::output::{Printer, clean};
use super::subscription;
use crate::metering::UsageBy;
use crate::metering::UsageLine;
use crate::metering::cost::CostReport;
use crate::metering::focus::{check, read};
use crate::metering::forecast::Forecast;
use crate::metering::ingest::IngestLine;
use clap::{Args, Subcommand, ValueEnum};
use garrison_model::{Page, Plan};
use std::path::{Path, PathBuf};

/// Findings that are shown.
const SHOWN_MAX: usize = 50;

/// What to report.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Command {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    report: Report,
}

/// How to sum, and when.
#[derive(Debug, Args)]
pub struct Report {
    /// By what hours are summed.
    #[arg(long, value_enum, default_value_t = UsageBy::Day)]
    by: UsageBy,
    #[command(flatten)]
    span: Span,
}

/// A span of time.
#[derive(Debug, Args)]
pub struct Span {
    /// Not before (RFC 3339); 30 days ago unless given.
    #[arg(long)]
    from: Option<String>,
    /// Before (RFC 3339); now unless given.
    #[arg(long)]
    to: Option<String>,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    Csv,
    Parquet,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// What usage costs.
    Cost(Report),
    /// What was taken in, by subscription and day, against the allowance of free ingest.
    Ingest(Span),
    /// What a plan would cost a subscription; changes nothing.
    Forecast {
        /// Subscription (name or id).
        subscription: String,
        /// Off, P1 or P2.
        #[arg(long)]
        plan: Plan,
        /// Hours from now on; a month of 730 unless given.
        #[arg(long)]
        hours: Option<i64>,
    },
    /// Writes the ledger as a file of the FOCUS 1.0 format.
    Export {
        /// Where to; standard output unless given.
        file: Option<PathBuf>,
        /// Kind of file.
        #[arg(long, value_enum, default_value_t = FileFormat::Csv)]
        format: FileFormat,
        #[command(flatten)]
        span: Span,
    },
    /// Holds a FOCUS 1.0 file (.csv or .parquet) against the rules of the specification.
    Validate {
        /// File.
        file: PathBuf,
    },
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command.part {
        None => hours(command.report, client, printer).await,
        Some(Part::Cost(report)) => cost(report, client, printer).await,
        Some(Part::Ingest(span)) => {
            let path = query("/usage/ingest", &[("from", span.from), ("to", span.to)]);
            let page: Page<IngestLine> = client.fetch(&path).await?;
            let head =
                ["DAY", "SUBSCRIPTION", "P2 MACHINES", "ALLOWANCE MB", "COUNTED MB", "OTHER MB", "BILLED MB", "COST"];
            printer.list(&head, &page.items, |l| {
                let mega = |bytes: i64| (bytes / 1_000_000).to_string();
                vec![
                    clean(&l.day),
                    l.subscription_id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                    l.machines.to_string(),
                    mega(l.allowance_bytes),
                    mega(l.counted_bytes),
                    mega(l.other_bytes),
                    l.billed_megabytes.to_string(),
                    l.cost.map_or_else(|| "-".to_owned(), |c| c.to_string()),
                ]
            })
        }
        Some(Part::Forecast { subscription, plan, hours }) => {
            let s = subscription::find(client, &subscription).await?;
            forecast(client, printer, s.id.as_str(), plan, hours).await
        }
        Some(Part::Export { file, format, span }) => {
            let word = if format == FileFormat::Csv { "csv" } else { "parquet" };
            let pairs = [("format", Some(word.to_owned())), ("from", span.from), ("to", span.to)];
            export(&query("/usage/export", &pairs), file.as_deref(), client).await
        }
        Some(Part::Validate { file }) => validate(&file, printer),
    }
}

async fn hours(report: Report, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let by = report.by.as_str();
    let path = query("/usage", &[("by", Some(by.to_owned())), ("from", report.span.from), ("to", report.span.to)]);
    let page: Page<UsageLine> = client.fetch(&path).await?;
    // Who gave no price to anything does not reckon with costs.
    if printer.is_table() && page.items.iter().any(|l| l.currency.is_some()) {
        unpriced(page.items.iter().map(|l| (l.unpriced_hours, l.unpriced_free_hours)));
    }
    printer.list(&[&by.to_uppercase(), "PLAN", "HOURS", "IN TRIAL", "BY SEATS", "BILLED"], &page.items, |l| {
        vec![
            clean(&l.key),
            l.plan.to_string(),
            l.hours.to_string(),
            l.trial_hours.to_string(),
            l.offset_hours.to_string(),
            l.billed_hours.to_string(),
        ]
    })
}

/// Says which hours have no price: billed ones cost nothing, and the list cost lacks those that are free.
fn unpriced(lines: impl Iterator<Item = (i64, i64)>) {
    let (billed, free) = lines.fold((0, 0), |all, line| (all.0 + line.0, all.1 + line.1));
    let hint = "give them one with `garrison price-sheet add … --from`, or see `garrison price-sheet list`";
    if billed > 0 {
        eprintln!("{billed} billed hour(s) have no price and count as nothing; {hint}");
    }
    if free > 0 {
        eprintln!("{free} hour(s) in a trial or under seats have no price, and the list cost lacks them; {hint}");
    }
}

async fn cost(report: Report, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let by = report.by.as_str();
    let path = query("/usage/cost", &[("by", Some(by.to_owned())), ("from", report.span.from), ("to", report.span.to)]);
    let found: CostReport = client.fetch(&path).await?;
    if !printer.is_table() {
        return printer.json(&found);
    }
    printer.list(&[&by.to_uppercase(), "HOURS", "IN TRIAL", "BY SEATS", "LIST COST", "COST"], &found.items, |l| {
        vec![
            clean(&l.name),
            l.units.to_string(),
            l.trial.to_string(),
            l.offset.to_string(),
            l.list_cost.to_string(),
            l.cost.to_string(),
        ]
    })?;
    unpriced(found.items.iter().map(|l| (l.unpriced, l.unpriced_free)));
    if found.ingest.megabytes > 0 {
        printer.line(&format!("ingest beyond the allowance: {} MB, {}", found.ingest.megabytes, found.ingest.cost));
    }
    if found.running_hours > 0 {
        eprintln!(
            "{} machine-hour(s) have begun and count two minutes after their hour has ended",
            found.running_hours
        );
    }
    printer.line(&format!("total {} {}", found.total, found.currency.as_deref().map(clean).unwrap_or_default()));
    Ok(())
}

/// Asks for a forecast and prints it.
pub(super) async fn forecast(
    client: &Client,
    printer: &Printer,
    subscription: &str,
    plan: Plan,
    hours: Option<i64>,
) -> Result<(), CliError> {
    let pairs = [
        ("subscription", Some(subscription.to_owned())),
        ("plan", Some(plan.to_string())),
        ("hours", hours.map(|h| h.to_string())),
    ];
    let f: Forecast = client.fetch(&query("/usage/forecast", &pairs)).await?;
    if !printer.is_table() {
        return printer.json(&f);
    }
    let currency = f.currency.as_deref().map(clean).unwrap_or_default();
    let money =
        |m: Option<crate::metering::money::Money>| m.map_or_else(|| "-".to_owned(), |m| format!("{m} {currency}"));
    printer.pairs(&[
        ("plan", f.plan.title().to_owned()),
        ("machines", format!("{} of {}", f.billable_machines, f.machines)),
        ("price an hour", money(f.price_per_hour)),
        ("a day", money(f.per_day)),
        ("a month", money(f.per_month)),
        ("hours by seats", f.offset.to_string()),
        (&format!("the first {} hours", f.hours), money(f.cost)),
    ]);
    f.words.iter().for_each(|word| printer.line(&clean(word)));
    Ok(())
}

async fn export(path: &str, file: Option<&Path>, client: &Client) -> Result<(), CliError> {
    let Some(file) = file else {
        return client.download_get(path, &mut std::io::stdout(), "standard output").await;
    };
    let name = file.display().to_string();
    let failed = |source| CliError::Failed(format!("cannot write `{name}`: {source}"));
    // Whole or not at all: a file that stopped in the middle would look like a cheap month.
    let part = file.with_extension("part");
    let mut out = std::fs::File::create(&part).map_err(failed)?;
    let done = client.download_get(path, &mut out, &name).await;
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
        return done;
    }
    std::fs::rename(&part, file).map_err(failed)
}

fn validate(file: &Path, printer: &Printer) -> Result<(), CliError> {
    let path = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|source| CliError::File { path: path.clone(), source })?;
    let unreadable = |error: read::Unreadable| CliError::Failed(error.to_string());
    let (table, mut findings) = if file.extension().is_some_and(|e| e == "parquet") {
        read::parquet(bytes.into()).map_err(unreadable)?
    } else {
        (read::csv(&bytes).map_err(unreadable)?, Vec::new())
    };
    findings.extend(check::check(&table));
    for f in findings.iter().take(SHOWN_MAX) {
        let place = if f.row == 0 { "file".to_owned() } else { format!("row {}", f.row) };
        printer.line(&format!("{place}  {}  {}  {}", clean(&f.column), f.rule, clean(&f.words)));
    }
    if findings.is_empty() {
        printer.line(&format!("{} row(s), nothing against FOCUS 1.0", table.rows.len()));
        return Ok(());
    }
    Err(CliError::Failed(format!("{} finding(s) against FOCUS 1.0", findings.len())))
}
