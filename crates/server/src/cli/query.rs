//! `garrison query …`: saved queries.

use super::client::{CliError, Client};
use super::hunt::run_text;
use super::output::{Printer, clean, short_time};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Your queries and the shared ones.
    List,
    /// One query; NAME is its name, its folder and name, or its id.
    Show {
        /// Which.
        name: String,
    },
    /// Saves a query; one of yours with this name is replaced.
    Save {
        /// Name, with its folder before it: `Hunts/Web/Shells`.
        name: String,
        /// The query; read from --file otherwise.
        query: Option<String>,
        /// File that holds the query.
        #[arg(long, short = 'f', conflicts_with = "query")]
        file: Option<PathBuf>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// Everybody may see it.
        #[arg(long)]
        shared: bool,
    },
    /// Deletes a query.
    Delete {
        /// Which.
        name: String,
    },
    /// Runs a saved query, or one of the library by its id.
    Run {
        /// Which.
        name: String,
        /// ISO 8601 time span.
        #[arg(long)]
        timespan: Option<String>,
    },
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn place(query: &Value) -> String {
    let (folder, name) = (text(query, "folder"), text(query, "name"));
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

async fn all(client: &Client, path: &str) -> Result<Vec<Value>, CliError> {
    let mut found = client.get(path).await?;
    Ok(match found.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    })
}

fn pick(queries: Vec<Value>, name: &str) -> Result<Value, CliError> {
    let fits = |query: &Value| text(query, "id") == name || place(query) == name || text(query, "name") == name;
    let mut found: Vec<Value> = queries.into_iter().filter(fits).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(CliError::usage(format!("there is no saved query `{}`", clean(name)), "see `garrison query list`")),
        _ => Err(CliError::usage(
            format!("there are {} queries `{}`", found.len(), clean(name)),
            "give the folder too, or the id",
        )),
    }
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List => {
            let queries = all(client, "/hunting/queries").await?;
            printer.list(&["query", "owner", "shared", "changed", "description"], &queries, |query| {
                let shared = if query.get("shared").and_then(Value::as_bool) == Some(true) { "yes" } else { "" };
                vec![
                    clean(&place(query)),
                    clean(text(query, "owner")),
                    shared.to_owned(),
                    short_time(text(query, "updated")),
                    clean(text(query, "description")),
                ]
            })
        }
        Command::Show { name } => {
            let query = pick(all(client, "/hunting/queries").await?, &name)?;
            if !printer.is_table() {
                return printer.json(&query);
            }
            for line in text(&query, "query").lines() {
                printer.line(&clean(line));
            }
            Ok(())
        }
        Command::Save { name, query, file, description, shared } => {
            let source = match (query, file) {
                (Some(query), _) => query,
                (None, Some(path)) => std::fs::read_to_string(&path)
                    .map_err(|source| CliError::File { path: path.display().to_string(), source })?,
                (None, None) => return Err(CliError::usage("there is no query", "give it, or --file FILE")),
            };
            let (folder, own) = name.rsplit_once('/').unwrap_or(("", &name));
            let body =
                json!({"name": own, "folder": folder, "description": description, "query": source, "shared": shared});
            let known = all(client, "/hunting/queries")
                .await?
                .into_iter()
                .find(|query| place(query) == name && query.get("mine").and_then(Value::as_bool) == Some(true));
            let saved = match known {
                Some(known) => client.put(&format!("/hunting/queries/{}", text(&known, "id")), &body).await?,
                None => client.post("/hunting/queries", &body).await?,
            };
            if printer.is_table() {
                printer.line(&format!("saved {}", clean(&place(&saved))));
                return Ok(());
            }
            printer.json(&saved)
        }
        Command::Delete { name } => {
            let query = pick(all(client, "/hunting/queries").await?, &name)?;
            client.delete(&format!("/hunting/queries/{}", text(&query, "id"))).await?;
            eprintln!("deleted {}", clean(&place(&query)));
            Ok(())
        }
        Command::Run { name, timespan } => {
            let library = all(client, "/hunting/library").await?;
            let query = match library.into_iter().find(|query| text(query, "id") == name) {
                Some(query) => query,
                None => pick(all(client, "/hunting/queries").await?, &name)?,
            };
            run_text(text(&query, "query").to_owned(), timespan, client, printer).await
        }
    }
}
