//! `garrison hunt … --to-incident`: the rows of an answer go into an incident.

use super::super::client::{CliError, Client};
use super::super::output::Printer;
use super::{Answered, Hunt};
use crate::detection::linked::ROWS_MAX;
use clap::Args;
use serde_json::{Map, Value, json};

/// Where the rows go, and what is said of them.
#[derive(Debug, Args)]
pub(super) struct Link {
    /// Puts the rows into an incident: its number, or `new`.
    #[arg(long, value_name = "new|NUMBER")]
    to_incident: Option<String>,
    /// Title of the alert, and of a new incident.
    #[arg(long, requires = "to_incident")]
    title: Option<String>,
    /// High, Medium, Low or Informational; Medium unless told otherwise.
    #[arg(long, requires = "to_incident")]
    severity: Option<String>,
    /// ATT&CK tactic, such as Execution.
    #[arg(long, requires = "to_incident")]
    category: Option<String>,
    /// ATT&CK techniques, such as T1059.004; several with commas.
    #[arg(long, requires = "to_incident", value_delimiter = ',')]
    techniques: Vec<String>,
    /// What you say of it.
    #[arg(long, requires = "to_incident")]
    comment: Option<String>,
    /// A column that holds an entity, as KIND=COLUMN (Process, File, Ip, Url, User); may be repeated.
    #[arg(long, requires = "to_incident", value_name = "KIND=COLUMN")]
    entity: Vec<String>,
    /// Id of the device that rows are about which name none.
    #[arg(long, requires = "to_incident")]
    device: Option<String>,
}

impl Link {
    /// What to send, without rows; `None` if nothing goes into an incident. Read before the query runs, so that a
    /// mistake in the words costs no query.
    pub(super) fn body(&self) -> Result<Option<Map<String, Value>>, CliError> {
        let Some(to) = &self.to_incident else { return Ok(None) };
        let mut body = Map::new();
        if to != "new" {
            let number: i64 =
                to.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                    CliError::usage(format!("`{to}` is no incident"), "give its number, or the word new")
                })?;
            body.insert("incident".into(), number.into());
        }
        let title = self.title.as_deref().unwrap_or("Rows of a hunt");
        body.insert("title".into(), title.into());
        for (name, value) in [
            ("severity", &self.severity),
            ("category", &self.category),
            ("description", &self.comment),
            ("deviceId", &self.device),
        ] {
            if let Some(value) = value {
                body.insert(name.into(), value.as_str().into());
            }
        }
        if !self.techniques.is_empty() {
            body.insert("mitreTechniques".into(), json!(self.techniques));
        }
        let mut entities = Vec::new();
        for pair in &self.entity {
            let (kind, column) = pair.split_once('=').ok_or_else(|| {
                CliError::usage(format!("`{pair}` names no entity"), "write it as KIND=COLUMN, such as Ip=Source")
            })?;
            entities.push(json!({"type": kind, "column": column}));
        }
        if !entities.is_empty() {
            body.insert("impactedEntities".into(), Value::Array(entities));
        }
        Ok(Some(body))
    }
}

/// Sends the rows of an answer, and says where they are.
pub(super) async fn send(
    mut body: Map<String, Value>,
    hunt: &Hunt,
    ran: &str,
    answered: &Answered,
    client: &Client,
    printer: &Printer,
) -> Result<(), CliError> {
    if answered.rows.is_empty() {
        return Err(CliError::Failed("the query found no rows to put into an incident".to_owned()));
    }
    if answered.rows.len() > ROWS_MAX {
        let found = answered.rows.len();
        return Err(CliError::usage(
            format!("the query found {found} rows, and {ROWS_MAX} go into an incident at once"),
            "narrow the query, or take the first ones with --rows",
        ));
    }
    let rows = answered.rows.iter().map(|row| {
        let cells = answered.columns.iter().zip(row).filter(|(_, cell)| !cell.is_null());
        Value::Object(cells.map(|((name, _), cell)| (name.clone(), cell.clone())).collect())
    });
    body.insert("rows".into(), rows.collect());
    body.insert("query".into(), hunt.text.as_str().into());
    body.insert("ran".into(), ran.into());
    if let Some(span) = &hunt.timespan {
        body.insert("timespan".into(), span.as_str().into());
    }
    let made = client.post("/hunting/incidents", &Value::Object(body)).await?;
    if !printer.is_table() {
        return printer.json(&made);
    }
    let number = made.get("incidentId").and_then(Value::as_i64).unwrap_or_default();
    let flag = |name: &str| made.get(name).and_then(Value::as_bool) == Some(true);
    let alerts = made.get("alertIds").and_then(Value::as_array).map_or(0, Vec::len);
    let told = match (flag("repeated"), flag("created")) {
        (true, _) => format!("these rows are in incident {number} already"),
        (_, true) => format!("incident {number} made, with {alerts} alerts"),
        _ => format!("{alerts} alerts added to incident {number}"),
    };
    printer.line(&told);
    Ok(())
}
