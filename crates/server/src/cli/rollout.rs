//! `garrison rollout …`

use super::client::{CliError, Client, typed};
use super::output::{Printer, clean, short_time};
use crate::connect::rollout::Counts;
use crate::connect::rollouts::Rollout;
use clap::Subcommand;
use garrison_model::Page;
use serde_json::json;

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Roll-outs, newest first.
    List,
    /// One roll-out; the newest unless named.
    Show {
        /// Id.
        id: Option<String>,
    },
    /// Bring a version of the sensor out: first to machines tagged `garrison-ring=early`, then to the others but those
    /// tagged `garrison-ring=pinned`.
    Create {
        /// Version; its package must be there.
        version: String,
        /// Stop when more than this share of the upgraded machines, in percent, is ill.
        #[arg(long, default_value_t = 10)]
        failure_percent: u32,
        /// Machines of a ring that are upgraded at once, in percent.
        #[arg(long, default_value_t = 10)]
        at_once_percent: u32,
        /// Minutes between the rings.
        #[arg(long, default_value_t = 60)]
        soak_minutes: u32,
    },
    /// Hold it: no further machine begins.
    Pause {
        /// Id.
        id: String,
    },
    /// Let it go on.
    Resume {
        /// Id.
        id: String,
    },
    /// End it; machines keep what they have.
    Stop {
        /// Id.
        id: String,
    },
}

fn counts(c: &Counts) -> String {
    let Counts { waiting, working, well, ill, away } = c;
    format!("{well} well, {ill} ill, {working} working, {waiting} waiting, {away} away")
}

fn show(printer: &Printer, r: &Rollout) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(r);
    }
    printer.pairs(&[
        ("id", clean(&r.id)),
        ("version", clean(&r.version)),
        ("from", r.from.as_deref().map(clean).unwrap_or_default()),
        ("state", r.state.as_str().to_owned()),
        ("ring", r.ring.as_str().to_owned()),
        ("early", counts(&r.early)),
        ("broad", counts(&r.broad)),
        ("stops at", format!("more than {} % ill", r.failure_percent)),
        ("at once", format!("{} % of a ring", r.at_once_percent)),
        ("soak", format!("{} minutes", r.soak_minutes)),
        ("made", format!("{} by {}", short_time(&r.created_time), clean(&r.who))),
        ("reason", clean(&r.reason)),
    ]);
    Ok(())
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let deed = |id: String, word: &'static str| async move {
        let rollout: Rollout = typed(client.post(&format!("/rollouts/{}/{word}", clean(&id)), &json!({})).await?)?;
        show(printer, &rollout)
    };
    match command {
        Command::List => {
            let page: Page<Rollout> = client.fetch("/rollouts").await?;
            printer.list(&["ID", "VERSION", "STATE", "RING", "EARLY", "BROAD", "REASON"], &page.items, |r| {
                let (state, ring) = (r.state.as_str().to_owned(), r.ring.as_str().to_owned());
                vec![clean(&r.id), clean(&r.version), state, ring, counts(&r.early), counts(&r.broad), clean(&r.reason)]
            })
        }
        Command::Show { id: Some(id) } => show(printer, &client.fetch(&format!("/rollouts/{}", clean(&id))).await?),
        Command::Show { id: None } => {
            let page: Page<Rollout> = client.fetch("/rollouts").await?;
            let newest = page.items.first().ok_or_else(|| CliError::Missing("there is no roll-out".to_owned()))?;
            show(printer, newest)
        }
        Command::Create { version, failure_percent, at_once_percent, soak_minutes } => {
            let body = json!({"version": version, "failurePercent": failure_percent,
                "atOncePercent": at_once_percent, "soakMinutes": soak_minutes});
            show(printer, &typed(client.post("/rollouts", &body).await?)?)
        }
        Command::Pause { id } => deed(id, "pause").await,
        Command::Resume { id } => deed(id, "resume").await,
        Command::Stop { id } => deed(id, "stop").await,
    }
}
