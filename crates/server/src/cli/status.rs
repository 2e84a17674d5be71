//! `garrison status` and `garrison schema`.

use super::client::{CliError, Client};
use super::output::{Printer, clean};
use serde_json::Value;

pub(super) async fn run(client: &Client, printer: &Printer) -> Result<(), CliError> {
    let status = client.get("/status").await?;
    if !printer.is_table() {
        return printer.json(&status);
    }
    let mut pairs = Vec::new();
    flatten("", &status, &mut pairs);
    let pairs: Vec<(&str, String)> = pairs.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    printer.pairs(&pairs);
    Ok(())
}

/// Nested values get names with dots; depth is that of the answer, which our server bounds.
fn flatten(prefix: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, pairs);
            }
        }
        Value::String(text) => pairs.push((prefix.to_owned(), clean(text))),
        other => pairs.push((prefix.to_owned(), clean(&other.to_string()))),
    }
}

pub(super) async fn schema(only: Option<String>, client: &Client, printer: &Printer) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(&client.get("/schema").await?);
    }
    let mut shown = false;
    for table in garrison_telemetry::tables() {
        if only.as_deref().is_some_and(|o| !o.eq_ignore_ascii_case(table.name)) {
            continue;
        }
        shown = true;
        let empty = table.feature.map(|feature| format!(" (empty: {feature} is not built yet)")).unwrap_or_default();
        printer.line(&format!("{}  {}{}", printer.paint("1", table.name), table.doc, printer.paint("2", &empty)));
        if only.is_some() {
            for c in table.columns {
                printer.line(&format!("  {:<44} {:<9} {}", c.name, c.kind.as_str(), printer.paint("2", c.doc)));
            }
        }
    }
    if shown {
        return Ok(());
    }
    Err(CliError::usage(format!("there is no table `{}`", only.unwrap_or_default()), "see `garrison schema`"))
}
