//! `garrison price-sheet …` and `garrison seats …`

use super::client::{CliError, Client, typed};
use super::connect::escaped;
use super::output::{Printer, clean, short_time};
use super::subscription;
use crate::metering::prices::{PriceSheet, PriceSheetNew};
use crate::metering::seats::{Seats, SeatsNew};
use clap::{Args, Subcommand};
use garrison_model::{Page, Plan};
use serde_json::json;

/// Commands about prices.
#[derive(Debug, Subcommand)]
pub enum PriceCommand {
    /// All price sheets.
    List,
    /// Adds one. An open sheet of the same plan ends where it begins.
    Add(Sheet),
    /// Puts another one in its place; refused once it has priced hours that are settled.
    Replace {
        /// Id of the sheet that goes, as `list` shows it.
        id: String,
        #[command(flatten)]
        sheet: Sheet,
    },
    /// Takes one back, as if it had never been; refused once it has priced hours that are settled.
    Remove {
        /// Id.
        id: String,
    },
}

/// A price sheet to be.
#[derive(Debug, Args)]
pub struct Sheet {
    /// Plan, P1 or P2.
    #[arg(long, requires = "per_hour", required_unless_present = "per_gb")]
    plan: Option<Plan>,
    /// Price of a machine-hour, such as 0.006849.
    #[arg(long)]
    per_hour: Option<String>,
    /// Price of a gigabyte taken in beyond the free allowance, instead.
    #[arg(long, conflicts_with_all = ["plan", "per_hour"])]
    per_gb: Option<String>,
    /// Currency (ISO 4217), such as EUR.
    #[arg(long)]
    currency: String,
    /// First hour (RFC 3339); the present hour, or the next one where a sheet is in force; of one that is replaced, its
    /// first hour.
    #[arg(long)]
    from: Option<String>,
    /// The hour in which it ends; open unless given.
    #[arg(long)]
    to: Option<String>,
}

impl From<Sheet> for PriceSheetNew {
    fn from(sheet: Sheet) -> Self {
        Self {
            plan: sheet.plan,
            currency: sheet.currency,
            price_per_hour: sheet.per_hour,
            price_per_gb: sheet.per_gb,
            valid_from: sheet.from,
            valid_to: sheet.to,
        }
    }
}

/// Commands about owned seats.
#[derive(Debug, Subcommand)]
pub enum SeatsCommand {
    /// All pools of seats.
    List,
    /// Adds a pool: licences that are owned, so that hours they cover cost nothing more.
    Add {
        /// Plan, P1 or P2.
        #[arg(long)]
        plan: Plan,
        /// Machines that are covered in an hour.
        #[arg(long)]
        seats: i64,
        /// Only machines of this subscription (name or id).
        #[arg(long)]
        subscription: Option<String>,
        /// First hour (RFC 3339); the present one unless given.
        #[arg(long)]
        from: Option<String>,
        /// The hour in which they end; open unless given.
        #[arg(long)]
        to: Option<String>,
        /// For people, such as the licence's number.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Ends a pool; hours that it covered stay covered.
    Remove {
        /// Id.
        id: String,
    },
}

pub(super) async fn prices(command: PriceCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let list = |sheets: &[PriceSheet]| {
        printer.list(&["ID", "OF", "PRICE", "A", "CURRENCY", "FROM", "TO", "NOW", "BY"], sheets, |s| {
            let (price, unit) = match (&s.price_per_hour, &s.price_per_gb) {
                (Some(price), _) => (price, "hour"),
                (None, Some(price)) => (price, "GB"),
                (None, None) => (&s.id, ""),
            };
            vec![
                clean(&s.id),
                s.plan.map_or_else(|| "ingest".to_owned(), |p| p.to_string()),
                clean(price),
                unit.to_owned(),
                clean(&s.currency),
                short_time(&s.valid_from),
                s.valid_to.as_deref().map(short_time).unwrap_or_default(),
                if s.in_force { printer.paint("32", "yes") } else { String::new() },
                clean(&s.created_by),
            ]
        })
    };
    match command {
        PriceCommand::List => {
            let page: Page<PriceSheet> = client.fetch("/price-sheets").await?;
            list(&page.items)
        }
        PriceCommand::Add(sheet) => {
            let made: PriceSheet = typed(client.post("/price-sheets", &json!(PriceSheetNew::from(sheet))).await?)?;
            list(&[made])
        }
        PriceCommand::Replace { id, sheet } => {
            let path = format!("/price-sheets/{}", escaped(&id));
            let made: PriceSheet = typed(client.put(&path, &json!(PriceSheetNew::from(sheet))).await?)?;
            list(&[made])
        }
        PriceCommand::Remove { id } => {
            client.delete(&format!("/price-sheets/{}", escaped(&id))).await?;
            eprintln!("price sheet {} is taken back", clean(&id));
            Ok(())
        }
    }
}

fn again(s: Seats) -> SeatsNew {
    SeatsNew {
        id: Some(s.id),
        plan: s.plan,
        seats: s.seats,
        subscription_id: s.subscription_id,
        valid_from: Some(s.valid_from),
        valid_to: s.valid_to,
        note: s.note,
    }
}

pub(super) async fn seats(command: SeatsCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let page: Page<Seats> = client.fetch("/seats").await?;
    let mut items: Vec<SeatsNew> = Vec::new();
    let shown = match command {
        SeatsCommand::List => page,
        SeatsCommand::Add { plan, seats, subscription, from, to, note } => {
            let subscription_id = match subscription {
                Some(text) => Some(subscription::find(client, &text).await?.id),
                None => None,
            };
            items.extend(page.items.into_iter().map(again));
            items.push(SeatsNew { id: None, plan, seats, subscription_id, valid_from: from, valid_to: to, note });
            typed(client.put("/seats", &json!({ "items": items })).await?)?
        }
        SeatsCommand::Remove { id } => {
            let before = page.items.len();
            items.extend(page.items.into_iter().filter(|s| s.id != id).map(again));
            if items.len() == before {
                return Err(CliError::Missing(format!("there is no pool of seats `{}`", clean(&id))));
            }
            typed(client.put("/seats", &json!({ "items": items })).await?)?
        }
    };
    printer.list(&["ID", "PLAN", "SEATS", "USED", "SUBSCRIPTION", "FROM", "TO", "NOTE"], &shown.items, |s| {
        vec![
            clean(&s.id),
            s.plan.to_string(),
            s.seats.to_string(),
            s.used.to_string(),
            s.subscription_id.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
            short_time(&s.valid_from),
            s.valid_to.as_deref().map(short_time).unwrap_or_default(),
            clean(&s.note),
        ]
    })
}
