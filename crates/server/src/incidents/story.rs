//! The attack story: process trees of an incident with what each process did.
//!
//! What is always there comes from the alerts themselves (chains of ancestors and matched rows copied in when they were
//! made); children, activities and ends of processes are read from the lake when the story is looked at, as long as the
//! lake has them.

use super::record::{alert_read, parse_time, time};
use super::{CaseError, Incidents};
use crate::db::columns;
use crate::detection::evidence::folder;
use crate::detection::process::{Facts, ProcessFact, initiator, own_tree, subject};
use crate::detection::summary::summary;
use garrison_lake::{Filter, Order, ScanRequest, Test};
use garrison_model::{
    Activity, Alert, AlertId, DeviceId, DeviceRef, IncidentId, Micros, ProcessNode, Story, StoryTree,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Processes in one tree; the model documents it.
pub const PROCESSES_MAX: usize = 512;
/// Activities shown below one process.
const ACTIVITIES_PER_PROCESS_MAX: usize = 64;
/// Rows read from one table for one device.
const ROWS_READ_MAX: usize = 4_000;
/// Generations of children read below an alerted process.
const GENERATIONS_MAX: usize = 8;
/// Time before the first and after the last event that is read.
const BEFORE: i64 = 5 * 60_000_000;
/// See [`BEFORE`].
const AFTER: i64 = 30 * 60_000_000;
/// Tables whose rows are activities of a process.
const ACTIVITY_TABLES: &[&str] = &["DeviceFileEvents", "DeviceNetworkEvents", "DeviceEvents", "DeviceLogonEvents"];

/// An alert with what the story needs of it.
#[derive(Debug, Clone)]
pub struct StoryAlert {
    /// The alert with its matches.
    pub alert: Alert,
    /// Chains of ancestors, nearest first.
    pub lineage: Vec<Vec<ProcessFact>>,
}

/// A row of the lake.
#[derive(Debug, Clone)]
pub struct StoryRow {
    /// Table.
    pub table: String,
    /// Row.
    pub row: Map<String, Value>,
}

/// Keys of the processes that alerts are about; their descendants belong to the story.
fn alerted_keys(alert: &StoryAlert) -> impl Iterator<Item = &str> {
    alert.lineage.iter().filter_map(|chain| chain.first()).map(|p| p.key.as_str())
}

fn row_text<'a>(row: &'a Map<String, Value>, column: &str) -> Option<&'a str> {
    row.get(column).and_then(Value::as_str)
}

/// Builds the trees of one device. Pure.
pub fn trees(device: &DeviceRef, alerts: &[StoryAlert], rows: &[StoryRow]) -> (Vec<StoryTree>, bool) {
    let mut facts = Facts::default();
    let mut truncated = false;
    let mut members: HashSet<String> = HashSet::new();
    let mut descend: HashSet<String> = HashSet::new();
    let mut alerts_of: HashMap<String, Vec<AlertId>> = HashMap::new();
    let mut alerts_on_row: HashMap<(String, i64), Vec<AlertId>> = HashMap::new();
    let mut story_rows: Vec<StoryRow> = Vec::new();
    for story in alerts {
        for chain in &story.lineage {
            let own = own_tree(chain);
            let own = if own.is_empty() { &chain[..chain.len().min(1)] } else { own };
            for fact in own {
                members.insert(fact.key.clone());
                facts.add(fact.clone());
            }
        }
        for key in alerted_keys(story) {
            descend.insert(key.to_owned());
            let of = alerts_of.entry(key.to_owned()).or_default();
            if !of.contains(&story.alert.id) {
                of.push(story.alert.id.clone());
            }
        }
        for found in &story.alert.matches {
            let Value::Object(row) = &found.row else { continue };
            if let Some(number) = row.get("ReportId").and_then(Value::as_i64) {
                let boot = row_text(row, "BootId").unwrap_or_default().to_owned();
                alerts_on_row.entry((boot, number)).or_default().push(story.alert.id.clone());
            }
            story_rows.push(StoryRow { table: found.table.clone(), row: row.clone() });
        }
    }
    story_rows.extend(rows.iter().cloned());
    story_rows.sort_by(|a, b| row_text(&a.row, "Timestamp").cmp(&row_text(&b.row, "Timestamp")));
    for row in story_rows.iter().filter(|r| r.table == "DeviceProcessEvents") {
        let Some(fact) = subject(&row.row) else { continue };
        let child = fact.parent.as_ref().is_some_and(|p| descend.contains(p));
        if members.contains(&fact.key) {
            facts.add(fact);
        } else if child {
            if members.len() >= PROCESSES_MAX {
                truncated = true;
                continue;
            }
            members.insert(fact.key.clone());
            descend.insert(fact.key.clone());
            facts.add(fact);
        }
    }
    let mut activities: HashMap<String, Vec<Activity>> = HashMap::new();
    let mut seen: HashSet<(String, String, i64)> = HashSet::new();
    for row in story_rows.iter().filter(|r| r.table != "DeviceProcessEvents") {
        let Some(known) = initiator(&row.row).filter(|p| members.contains(&p.key)) else { continue };
        let number = row.row.get("ReportId").and_then(Value::as_i64).unwrap_or(-1);
        let boot = row_text(&row.row, "BootId").unwrap_or_default().to_owned();
        if number >= 0 && !seen.insert((row.table.clone(), boot.clone(), number)) {
            continue;
        }
        let alert_ids = alerts_on_row.get(&(boot, number)).cloned().unwrap_or_default();
        let list = activities.entry(known.key).or_default();
        if list.len() >= ACTIVITIES_PER_PROCESS_MAX {
            truncated = true;
            // What raised an alert is never left out for what did not.
            match list.iter().rposition(|a| a.alert_ids.is_empty()) {
                Some(place) if !alert_ids.is_empty() => {
                    list.remove(place);
                }
                _ => continue,
            }
        }
        list.push(Activity {
            timestamp: row_text(&row.row, "Timestamp").unwrap_or_default().to_owned(),
            table: row.table.clone(),
            action_type: row_text(&row.row, "ActionType").unwrap_or_default().to_owned(),
            summary: summary(&row.table, &row.row),
            alert_ids,
            row: Value::Object(row.row.clone()),
        });
    }
    let mut children: HashMap<&str, Vec<&ProcessFact>> = HashMap::new();
    let mut roots: Vec<&ProcessFact> = Vec::new();
    for fact in facts.iter().filter(|f| members.contains(&f.key)) {
        match fact.parent.as_deref().filter(|p| *p != fact.key && members.contains(*p)) {
            Some(parent) => children.entry(parent).or_default().push(fact),
            None => roots.push(fact),
        }
    }
    let order =
        |list: &mut Vec<&ProcessFact>| list.sort_by(|a, b| (a.created, a.pid, &a.key).cmp(&(b.created, b.pid, &b.key)));
    order(&mut roots);
    children.values_mut().for_each(order);
    let mut builder = Builder { children, activities, alerts_of, visited: HashSet::new() };
    let mut out: Vec<StoryTree> =
        roots.into_iter().map(|root| StoryTree { device: device.clone(), root: builder.node(root, 0) }).collect();
    out.sort_by_key(|tree| tree.root.creation_time.clone());
    (out, truncated)
}

struct Builder<'f> {
    children: HashMap<&'f str, Vec<&'f ProcessFact>>,
    activities: HashMap<String, Vec<Activity>>,
    alerts_of: HashMap<String, Vec<AlertId>>,
    visited: HashSet<String>,
}

impl Builder<'_> {
    fn node(&mut self, fact: &ProcessFact, depth: usize) -> ProcessNode {
        self.visited.insert(fact.key.clone());
        // Chains are at most 32 long and children at most 8 generations below; the bound keeps the stack safe anyway.
        let below = if depth < 64 { self.children.remove(fact.key.as_str()).unwrap_or_default() } else { Vec::new() };
        let mut children = Vec::with_capacity(below.len());
        for child in below {
            if !self.visited.contains(&child.key) {
                children.push(self.node(child, depth + 1));
            }
        }
        let mut activities = self.activities.remove(&fact.key).unwrap_or_default();
        activities.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        ProcessNode {
            process_unique_id: fact.key.clone(),
            process_id: fact.pid,
            file_name: fact.file_name.clone(),
            folder_path: fact.image.as_deref().and_then(folder),
            command_line: fact.command_line.clone(),
            sha256: fact.sha256.clone(),
            account_name: fact.account_name.clone(),
            creation_time: fact.created.map(time),
            exit_time: fact.exited.map(time),
            alert_ids: self.alerts_of.remove(&fact.key).unwrap_or_default(),
            activities,
            children,
        }
    }
}

impl Incidents {
    async fn story_alerts(&self, column: &'static str, value: Value) -> Result<Vec<StoryAlert>, CaseError> {
        let sql = match column {
            "id" => "SELECT * FROM incidents_alert WHERE tenant_id = $1 AND id = $2",
            _ => "SELECT * FROM incidents_alert WHERE tenant_id = $1 AND incident_id = $2 ORDER BY first_event, id",
        };
        let query = sqlx::query(sql).bind(self.tenant().as_str());
        let query = match value {
            Value::Number(number) => query.bind(number.as_i64().unwrap_or(0)),
            other => query.bind(other.as_str().unwrap_or_default().to_owned()),
        };
        let rows = query.fetch_all(self.shared.db.pool()).await?;
        let seal = self.seal();
        rows.iter()
            .map(|row| {
                let alert = alert_read(&seal, row)?;
                let lineage = seal.get(row, columns::ALERT_LINEAGE)?;
                let lineage = serde_json::from_str(&lineage)
                    .map_err(|source| CaseError::Stored { what: format!("alert {}", alert.id), source })?;
                Ok(StoryAlert { alert, lineage })
            })
            .collect()
    }

    /// The story of an incident.
    pub async fn story(self: &Arc<Self>, id: IncidentId) -> Result<Story, CaseError> {
        {
            let mut conn = self.shared.db.pool().acquire().await?;
            self.incident_row(&mut conn, id).await?;
        }
        let alerts = self.story_alerts("incident_id", id.0.into()).await?;
        let (trees, truncated) = self.trees_of(alerts).await;
        Ok(Story { trees, truncated })
    }

    /// The tree of one alert: the one that holds its process.
    pub async fn alert_tree(self: &Arc<Self>, id: &AlertId) -> Result<Option<StoryTree>, CaseError> {
        let alerts = self.story_alerts("id", id.as_str().into()).await?;
        if alerts.is_empty() {
            return Err(CaseError::AlertUnknown);
        }
        Ok(self.trees_of(alerts).await.0.into_iter().next())
    }

    async fn trees_of(self: &Arc<Self>, alerts: Vec<StoryAlert>) -> (Vec<StoryTree>, bool) {
        let mut devices: BTreeMap<String, (DeviceRef, Vec<StoryAlert>)> = BTreeMap::new();
        for story in alerts {
            let device = DeviceRef { id: story.alert.machine_id.clone(), name: story.alert.computer_dns_name.clone() };
            devices.entry(device.id.to_string()).or_insert_with(|| (device, Vec::new())).1.push(story);
        }
        let (mut all, mut truncated) = (Vec::new(), false);
        for (device, alerts) in devices.into_values() {
            let own = Arc::clone(self);
            let done = tokio::task::spawn_blocking(move || {
                let rows = own.story_rows(&device.id, &alerts).unwrap_or_else(|error| {
                    // The copies in the alerts tell the story even when the lake cannot be read.
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a story is shown without the lake's rows"
                    );
                    Vec::new()
                });
                trees(&device, &alerts, &rows)
            })
            .await;
            if let Ok((trees, cut)) = done {
                all.extend(trees);
                truncated |= cut;
            }
        }
        (all, truncated)
    }

    fn story_rows(&self, device: &DeviceId, alerts: &[StoryAlert]) -> Result<Vec<StoryRow>, garrison_lake::LakeError> {
        let first = alerts.iter().map(|a| parse_time(&a.alert.first_event_time)).min().unwrap_or(0);
        let last = alerts.iter().map(|a| parse_time(&a.alert.last_event_time)).max().unwrap_or(0);
        let (from, to) = (Micros(first.saturating_sub(BEFORE)), Micros(last.saturating_add(AFTER)));
        let scan = |table: &str, column: &str, keys: Vec<String>| -> Result<Vec<StoryRow>, garrison_lake::LakeError> {
            let request = ScanRequest {
                from: Some(from),
                to: Some(to),
                devices: vec![device.to_string()],
                filters: vec![Filter::new(column, Test::In(keys))],
                order: Order::OldestFirst,
                limit: Some(ROWS_READ_MAX),
                ..ScanRequest::table(table)
            };
            let mut rows = Vec::new();
            for batch in self.shared.lake.scan(request)? {
                let batch = batch?;
                for row in 0..batch.num_rows() {
                    rows.push(StoryRow { table: table.to_owned(), row: garrison_telemetry::row_to_json(&batch, row) });
                }
            }
            Ok(rows)
        };
        let mut keys: HashSet<String> = alerts.iter().flat_map(alerted_keys).map(str::to_owned).collect();
        let mut rows = Vec::new();
        let mut frontier: Vec<String> = keys.iter().cloned().collect();
        for _ in 0..GENERATIONS_MAX {
            if frontier.is_empty() || keys.len() >= PROCESSES_MAX {
                break;
            }
            let found = scan("DeviceProcessEvents", "InitiatingProcessUniqueId", std::mem::take(&mut frontier))?;
            for row in &found {
                if let Some(key) = row_text(&row.row, "ProcessUniqueId")
                    && keys.len() < PROCESSES_MAX
                    && keys.insert(key.to_owned())
                {
                    frontier.push(key.to_owned());
                }
            }
            rows.extend(found);
        }
        let members: Vec<String> = alerts
            .iter()
            .flat_map(|a| a.lineage.iter().flatten())
            .map(|p| p.key.clone())
            .chain(keys.iter().cloned())
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        rows.extend(scan("DeviceProcessEvents", "ProcessUniqueId", members)?);
        let keys: Vec<String> = keys.into_iter().collect();
        for table in ACTIVITY_TABLES {
            rows.extend(scan(table, "InitiatingProcessUniqueId", keys.clone())?);
        }
        Ok(rows)
    }

    /// The rows of an incident on one time line: matched rows of its alerts, oldest first.
    pub async fn incident_rows(&self, id: IncidentId) -> Result<Vec<garrison_model::TimelineRow>, CaseError> {
        {
            let mut conn = self.shared.db.pool().acquire().await?;
            self.incident_row(&mut conn, id).await?;
        }
        let alerts = self.story_alerts("incident_id", id.0.into()).await?;
        let mut rows: Vec<garrison_model::TimelineRow> = Vec::new();
        for story in alerts {
            for found in story.alert.matches {
                let Value::Object(row) = found.row else { continue };
                let mut shown = crate::detection::live::timeline_row(&found.table, row);
                if let Some(known) = rows.iter_mut().find(|r| r.table == shown.table && r.row == shown.row) {
                    known.alert_ids.push(story.alert.id.clone());
                } else {
                    shown.alert_ids.push(story.alert.id.clone());
                    rows.push(shown);
                }
            }
        }
        rows.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        Ok(rows)
    }
}
