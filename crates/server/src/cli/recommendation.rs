//! `garrison recommendation …`

use super::client::{CliError, Client, query, typed};
use super::output::{Printer, clean, short_time};
use super::{machine, subscription};
use crate::recommend::{Category, Exemption, Fixed, Key, Resource, State, Summary};
use clap::Subcommand;
use garrison_model::{Page, Scope};
use serde_json::{Value, json};

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All recommendations, with machines counted by state.
    List,
    /// Machines under one.
    Show {
        /// `edr-installed` or `edr-configuration`.
        recommendation: Key,
        /// Healthy, Unhealthy, NotApplicable or Exempt.
        #[arg(long)]
        state: Option<State>,
        /// In this subscription (name or id).
        #[arg(long)]
        subscription: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 500)]
        limit: usize,
    },
    /// Does what the findings ask for, as far as it can be done from the server.
    Fix {
        /// `edr-installed` or `edr-configuration`.
        recommendation: Key,
        /// Machines: name, id or resource id.
        #[arg(required = true)]
        machines: Vec<String>,
    },
    /// Exemptions; with --scope, makes one.
    Exempt {
        /// `edr-installed` or `edr-configuration`.
        recommendation: Key,
        /// Resource id of a subscription, a resource group or a machine.
        #[arg(long, requires = "reason")]
        scope: Option<Scope>,
        /// Waiver (the risk is accepted) or Mitigated (dealt with in another way).
        #[arg(long, default_value = "Waiver")]
        category: Category,
        /// Why.
        #[arg(long, requires = "scope")]
        reason: Option<String>,
        /// When it ends by itself (RFC 3339).
        #[arg(long, requires = "scope")]
        expires: Option<String>,
        /// Id of one to end at once.
        #[arg(long, conflicts_with = "scope")]
        remove: Option<String>,
    },
}

fn paint(printer: &Printer, state: State) -> String {
    let code = match state {
        State::Healthy => "32",
        State::Unhealthy => "31",
        State::NotApplicable => "2",
        State::Exempt => "33",
    };
    printer.paint(code, state.as_str())
}

async fn show(
    key: Key,
    state: Option<State>,
    within: Option<String>,
    most: usize,
    client: &Client,
    printer: &Printer,
) -> Result<(), CliError> {
    let within = match within {
        Some(text) => Some(subscription::find(client, &text).await?.id.to_string()),
        None => None,
    };
    let mut items: Vec<Resource> = Vec::new();
    let mut cursor: Option<String> = None;
    while items.len() < most {
        let limit = (most - items.len()).min(500).to_string();
        let path = query(
            &format!("/recommendations/{key}/resources"),
            &[
                ("state", state.map(|s| s.to_string())),
                ("subscription", within.clone()),
                ("limit", Some(limit)),
                ("cursor", cursor.clone()),
            ],
        );
        let page: Page<Resource> = client.fetch(&path).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    printer.list(&["MACHINE", "STATE", "PROTECTED BY", "WHY", "TO DO"], &items, |r| {
        let to_do: Vec<&str> = r.findings.iter().map(|f| f.fix.as_str()).collect();
        let mut why = r.reason.clone();
        if r.state == State::Unhealthy {
            let messages: Vec<&str> = r.findings.iter().map(|f| f.message.as_str()).collect();
            why = messages.join("; ");
        }
        vec![
            clean(&r.name),
            paint(printer, r.state),
            clean(&r.discovered.join(", ")),
            clean(&why),
            clean(&to_do.join("; ")),
        ]
    })
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List => {
            let page: Page<Summary> = client.fetch("/recommendations").await?;
            printer.list(
                &["RECOMMENDATION", "SEVERITY", "HEALTHY", "UNHEALTHY", "N/A", "EXEMPT", "TITLE"],
                &page.items,
                |s| {
                    let mut cells = vec![s.key.to_string(), clean(&s.severity)];
                    cells.extend([s.healthy, s.unhealthy, s.not_applicable, s.exempt].map(|n| n.to_string()));
                    cells.push(clean(&s.title));
                    cells
                },
            )
        }
        Command::Show { recommendation, state, subscription, limit } => {
            show(recommendation, state, subscription, limit, client, printer).await
        }
        Command::Fix { recommendation, machines } => {
            let mut ids = Vec::with_capacity(machines.len());
            for text in &machines {
                ids.push(machine::find(client, text).await?.id);
            }
            let path = format!("/recommendations/{recommendation}/fix");
            let page: Page<Fixed> = typed(client.post(&path, &json!({ "machines": ids })).await?)?;
            printer.list(&["MACHINE", "DONE", "WHAT"], &page.items, |f| {
                let done = if f.done { printer.paint("32", "yes") } else { printer.paint("31", "no") };
                vec![f.machine_id.to_string(), done, clean(&f.message)]
            })
        }
        Command::Exempt { recommendation, scope, category, reason, expires, remove } => {
            let path = format!("/recommendations/{recommendation}/exemptions");
            if let Some(id) = remove {
                client.delete(&format!("{path}/{}", clean(&id))).await?;
                eprintln!("exemption {} ended", clean(&id));
                return Ok(());
            }
            if let Some(scope) = scope {
                let mut body: Value = json!({ "scope": scope, "category": category, "reason": reason });
                if let Some(expires) = expires {
                    body["expires"] = expires.into();
                }
                return printer.json(&client.post(&path, &body).await?);
            }
            let page: Page<Exemption> = client.fetch(&path).await?;
            printer.list(&["ID", "SCOPE", "CATEGORY", "BY", "EXPIRES", "REASON"], &page.items, |e| {
                vec![
                    clean(&e.id),
                    e.scope.to_string(),
                    e.category.to_string(),
                    clean(&e.created_by),
                    e.expires.as_deref().map(short_time).unwrap_or_default(),
                    clean(&e.reason),
                ]
            })
        }
    }
}
