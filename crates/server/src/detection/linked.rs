//! Rows of a hunt that an analyst puts into an incident, as alerts with typed evidence.
//!
//! ```text
//! rows of an answer ─▶ whose device? ─▶ the events that they name, out of the lake ─▶ evidence of their columns
//!                                                                                  └▶ one alert a device ─▶ incident
//! ```
//!
//! A row that names an event (device, `ReportId`, `Timestamp`) is kept as the lake holds the event, with what the query
//! computed beside it; any other row is kept as the analyst sent it, and says so. Either way it is a copy, so that
//! retention never empties the case. A device that this server does not know is refused: an analyst's word makes no
//! device.

use super::Detection;
use super::custom::alerts::{BOOT_UNKNOWN, DETAIL_CHARS_MAX, EventKey, events, impacted, micros, text};
use super::custom::definition::{ImpactedEntity, NO_TACTIC, entity_columns, is_technique};
use super::custom::title::shown;
use super::draft::{HitRow, Words, draft_of};
use super::evidence;
use crate::incidents::correlate::TACTICS;
use crate::incidents::link::Linked;
use crate::incidents::{AlertDraft, CaseError, MatchedRow};
use crate::shared::rfc3339;
use garrison_model::{
    AlertHunt, AlertId, BootId, DetectionSource, DeviceId, EntityType, EvidenceRole, IncidentId, Match, MatchField,
    Micros, RuleId, Severity,
};
use garrison_telemetry::json::time_text;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Rows linked at once: what a person looks at. More is a report, which belongs into a file.
pub const ROWS_MAX: usize = 100;
/// Columns of a row; the widest hunting table has half of it.
pub const COLUMNS_MAX: usize = 200;
/// Bytes of one row; a command line has at most 32 KiB.
pub const ROW_BYTES_MAX: usize = 64 << 10;
/// Characters of a title.
pub const TITLE_CHARS_MAX: usize = 256;
/// Characters of what the analyst says of it.
pub const TEXT_CHARS_MAX: usize = 4_096;
/// Bytes of the query that is kept: what the editor takes.
pub const QUERY_BYTES_MAX: usize = 64 << 10;
/// Techniques, and entities named by hand.
pub const LIST_MAX: usize = 20;
/// Values of an answer that are shown beside the event.
const FIELDS_MAX: usize = 20;
/// Table of a row that is no event.
pub const ANSWER_TABLE: &str = "HuntingResult";
/// Name of what raised the alert; the hash of the link follows.
const DETECTOR: &str = "hunting";

/// What to put into an incident.
#[derive(Debug, Clone)]
pub struct LinkRequest {
    /// The incident; a new one if there is none.
    pub incident: Option<IncidentId>,
    /// Title of the alerts, and of a new incident.
    pub title: String,
    /// Severity of the alerts.
    pub severity: Severity,
    /// ATT&CK tactic; suspicious activity if there is none.
    pub category: Option<String>,
    /// ATT&CK techniques.
    pub techniques: Vec<String>,
    /// What the analyst says of it.
    pub description: String,
    /// The query.
    pub query: String,
    /// Tables that the query reads.
    pub tables: Vec<String>,
    /// First moment that it looked at and moment after the last.
    pub range: (Option<Micros>, Option<Micros>),
    /// Entities by column, beside those that the columns' names tell.
    pub entities: Vec<ImpactedEntity>,
    /// The device of rows that name none.
    pub device: Option<DeviceId>,
    /// The rows.
    pub rows: Vec<Map<String, Value>>,
}

/// Why rows cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A text.
    #[error("{what} must have 1 to {max} characters")]
    Text {
        /// Which.
        what: &'static str,
        /// Most characters.
        max: usize,
    },
    /// A number of things.
    #[error("{what}: 1 to {max} are taken, not {count}")]
    Count {
        /// Of what.
        what: &'static str,
        /// Most.
        max: usize,
        /// Found.
        count: usize,
    },
    /// A row is too long.
    #[error("row {0} is longer than {ROW_BYTES_MAX} bytes or has more than {COLUMNS_MAX} columns")]
    RowTooLong(usize),
    /// The tactic.
    #[error("`{0}` is no ATT&CK tactic: write one as `CredentialAccess`")]
    Category(String),
    /// A technique.
    #[error("`{0}` is no ATT&CK technique: write one as `T1059.004`")]
    Technique(String),
    /// No device.
    #[error("row {0} names no device: let the query return DeviceId, or say which device the rows are about")]
    DeviceMissing(usize),
    /// A device that is not here.
    #[error("row {0} names a device that this server does not know")]
    DeviceUnknown(usize),
    /// A column that no row has.
    #[error("no row has the column `{0}` that an entity names")]
    Column(String),
    /// The lake.
    #[error("the lake cannot be read")]
    Lake(#[from] garrison_lake::LakeError),
    /// The case.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// A task ended early.
    #[error("the task that reads the events ended")]
    Task,
}

fn words(what: &'static str, text: &str, max: usize, empty: bool) -> Result<(), LinkError> {
    if text.chars().count() > max || (!empty && text.trim().is_empty()) {
        return Err(LinkError::Text { what, max });
    }
    Ok(())
}

impl LinkRequest {
    fn check(&self) -> Result<(), LinkError> {
        words("the title", &self.title, TITLE_CHARS_MAX, false)?;
        words("the description", &self.description, TEXT_CHARS_MAX, true)?;
        words("the query", &self.query, QUERY_BYTES_MAX, false)?;
        if self.rows.is_empty() || self.rows.len() > ROWS_MAX {
            return Err(LinkError::Count { what: "rows of one link", max: ROWS_MAX, count: self.rows.len() });
        }
        for (what, count) in [("techniques", self.techniques.len()), ("entities", self.entities.len())] {
            if count > LIST_MAX {
                return Err(LinkError::Count { what, max: LIST_MAX, count });
            }
        }
        for (at, row) in self.rows.iter().enumerate() {
            let bytes = serde_json::to_string(row).map_or(usize::MAX, |text| text.len());
            if bytes > ROW_BYTES_MAX || row.len() > COLUMNS_MAX || row.is_empty() {
                return Err(LinkError::RowTooLong(at));
            }
        }
        let short = |text: &str| text.chars().take(80).collect::<String>();
        if let Some(tactic) = self.category.as_deref().filter(|c| *c != NO_TACTIC && !TACTICS.contains(c)) {
            return Err(LinkError::Category(short(tactic)));
        }
        if let Some(bad) = self.techniques.iter().find(|t| !is_technique(t)) {
            return Err(LinkError::Technique(short(bad)));
        }
        let lacking = |entity: &&ImpactedEntity| self.rows.iter().all(|row| !row.contains_key(&entity.column));
        match self.entities.iter().find(lacking) {
            Some(entity) => Err(LinkError::Column(short(&entity.column))),
            None => Ok(()),
        }
    }

    /// The same rows of the same hunt for the same place are the same link.
    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let place = self.incident.map(|id| id.to_string()).unwrap_or_default();
        for part in [place.as_str(), self.title.as_str(), self.query.as_str()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        for row in &self.rows {
            hash.update(serde_json::to_string(row).unwrap_or_default().as_bytes());
            hash.update([0]);
        }
        hex::encode(hash.finalize().get(..8).unwrap_or_default())
    }
}

/// A row with what is known of it.
struct Known {
    hit: HitRow,
    /// Whether the lake holds the event.
    event: bool,
    /// As it was sent, for entities by column.
    sent: Map<String, Value>,
}

impl Detection {
    /// Puts rows of a hunt into an incident.
    pub async fn rows_link(&self, request: LinkRequest, who: &str, now: Micros) -> Result<Linked, LinkError> {
        request.check()?;
        let mut by_device: BTreeMap<DeviceId, Vec<Map<String, Value>>> = BTreeMap::new();
        for (device, row) in self.devices_of(&request)?.into_iter().zip(&request.rows) {
            by_device.entry(device).or_default().push(row.clone());
        }
        let key = |device: &DeviceId, row: &Map<String, Value>| -> Option<EventKey> {
            Some((device.to_string(), row.get("ReportId")?.as_i64()?, micros(row)?))
        };
        let wanted: HashSet<EventKey> =
            by_device.iter().flat_map(|(device, rows)| rows.iter().filter_map(|row| key(device, row))).collect();
        let (lake, tables) = (Arc::clone(&self.shared.lake), request.tables.clone());
        let found = tokio::task::spawn_blocking(move || events(&lake, &tables, &wanted));
        let events = found.await.map_err(|_| LinkError::Task)??;
        let hash = request.hash();
        let drafts = by_device.into_iter().filter_map(|(device, rows)| {
            let rows = rows.into_iter().filter_map(|row| known(key(&device, &row), row, &events)).collect();
            self.link_draft(&request, &device, rows, (&hash, who), now)
        });
        let drafts: Vec<AlertDraft> = drafts.collect();
        let linked =
            self.incidents.alerts_link(drafts.clone(), request.incident, request.title.trim(), who, now).await?;
        if linked.known == 0
            && let Err(error) = self.behaviours.alerts_store(&self.shared, &drafts, &linked.alerts, now).await
        {
            // The hunting copy is a convenience; the case itself is safe.
            tracing::warn!(%error, "alert rows could not be stored in the lake");
        }
        Ok(linked)
    }

    /// The device of each row.
    fn devices_of(&self, request: &LinkRequest) -> Result<Vec<DeviceId>, LinkError> {
        let fleet = &self.shared.fleet;
        let known = |id: DeviceId, at: usize| match fleet.device_name(&id) {
            Some(_) => Ok(id),
            None => Err(LinkError::DeviceUnknown(at)),
        };
        let named = |at: usize, row: &Map<String, Value>| match (text(row, "DeviceId"), text(row, "DeviceName")) {
            (Some(id), _) => known(DeviceId::new(id).map_err(|_| LinkError::DeviceUnknown(at))?, at).map(Some),
            (None, Some(name)) => fleet.device_named(name).map(Some).ok_or(LinkError::DeviceUnknown(at)),
            (None, None) => Ok(None),
        };
        let found: Vec<Option<DeviceId>> =
            request.rows.iter().enumerate().map(|(at, row)| named(at, row)).collect::<Result<_, _>>()?;
        let all: HashSet<&DeviceId> = found.iter().flatten().collect();
        // Rows beside rows of one device only are about that device.
        let only = all.iter().next().filter(|_| all.len() == 1).map(|id| (*id).clone());
        let other = request.device.clone().map(|id| known(id, 0)).transpose()?.or(only);
        found
            .iter()
            .enumerate()
            .map(|(at, device)| device.clone().or_else(|| other.clone()).ok_or(LinkError::DeviceMissing(at)))
            .collect()
    }

    /// The alert of one device.
    fn link_draft(
        &self,
        request: &LinkRequest,
        device: &DeviceId,
        mut rows: Vec<Known>,
        (hash, who): (&str, &str),
        now: Micros,
    ) -> Option<AlertDraft> {
        rows.sort_by_key(|row| row.hit.time());
        let words = Words {
            id: RuleId::new(format!("{DETECTOR}-{hash}")).ok()?,
            title: request.title.trim().to_owned(),
            description: request.description.trim().to_owned(),
            recommended_action: String::new(),
            techniques: request.techniques.clone(),
            severity: request.severity,
            category: request.category.clone().unwrap_or_else(|| NO_TACTIC.to_owned()),
            source: DetectionSource::Hunting,
        };
        let hits: Vec<HitRow> = rows.iter().map(|row| row.hit.clone()).collect();
        let tenant = &self.shared.tenant;
        let count = hits.len();
        let made = self.with_processes(|cache| draft_of(tenant, device, &words, hits.clone(), count, cache, now));
        let mut draft = made?;
        let created = time_text(now);
        let alert = &mut draft.alert;
        alert.id = AlertId::derive(tenant, device, &BootId::new(BOOT_UNKNOWN).ok()?, 0, &words.id);
        if let Some(name) = self.shared.fleet.device_name(device) {
            alert.computer_dns_name = name.to_string();
        }
        alert.hunt = Some(AlertHunt {
            query: request.query.clone(),
            from: request.range.0.map(rfc3339),
            to: request.range.1.map(rfc3339),
            linked_by: who.to_owned(),
        });
        // All of them: nothing else keeps what an analyst picked.
        alert.matches = hits
            .into_iter()
            .map(|hit| Match {
                timestamp: hit.time().map_or_else(|| created.clone(), |t| time_text(Micros(t))),
                table: hit.table,
                fields: hit.fields,
                row: Value::Object(hit.row),
            })
            .collect();
        alert.evidence = Vec::new();
        for row in &rows {
            evidence::merge(&mut alert.evidence, entities(row, &alert.computer_dns_name, &created));
        }
        draft.rows = rows
            .iter()
            .filter(|row| row.event)
            .map(|row| MatchedRow { boot: row.hit.boot.clone(), report_id: row.hit.report_id })
            .collect();
        draft.fold_key = draft.alert.id.to_string();
        for row in &rows {
            for entity in &request.entities {
                let value = row.sent.get(&entity.column).map(|v| shown(v, DETAIL_CHARS_MAX)).unwrap_or_default();
                let column = column_like(entity.kind, &entity.column, &value);
                impacted(&mut draft, entity.kind, column, &value, now);
            }
        }
        Some(draft)
    }
}

type Events = HashMap<EventKey, (String, Option<BootId>, Map<String, Value>)>;

/// A row beside the event that it names, if the lake holds it.
fn known(key: Option<EventKey>, sent: Map<String, Value>, events: &Events) -> Option<Known> {
    let unknown = || BootId::new(BOOT_UNKNOWN).ok();
    let field = |column: &str, test: &str, value: String| MatchField {
        selection: "Hunting".to_owned(),
        field: column.to_owned(),
        column: column.to_owned(),
        test: test.to_owned(),
        value,
    };
    let Some((table, boot, event)) = key.and_then(|key| events.get(&key)) else {
        let fields = vec![field("", "the row as the answer had it; no event of the lake", String::new())];
        let (table, row) = (ANSWER_TABLE.to_owned(), sent.clone());
        return Some(Known { hit: HitRow { table, boot: unknown()?, report_id: 0, row, fields }, event: false, sent });
    };
    let report_id = event.get("ReportId").and_then(Value::as_i64).filter(|n| *n >= 0)?;
    let mut row = event.clone();
    let mut fields = Vec::new();
    for (column, value) in sent.iter().filter(|(_, value)| !value.is_null()) {
        match row.get(column) {
            // Times may be written in two ways; the event's own is right.
            Some(own) if own == value || column == "Timestamp" || column == "IngestTime" => continue,
            Some(_) => {}
            None => {
                row.insert(column.clone(), value.clone());
            }
        }
        if fields.len() < FIELDS_MAX && value.as_str() != Some("") {
            fields.push(field(column, "computed by the query", shown(value, DETAIL_CHARS_MAX)));
        }
    }
    let boot = boot.clone().or_else(unknown)?;
    Some(Known { hit: HitRow { table: table.clone(), boot, report_id, row, fields }, event: true, sent })
}

/// Typed entities of a row: of the event's columns, and of whatever other column has the name of one.
fn entities(known: &Known, device_name: &str, created: &str) -> Vec<garrison_model::Evidence> {
    let row = &known.hit.row;
    let is_process = ["ProcessUniqueId", "ProcessCommandLine", "ProcessId"].iter().any(|c| row.contains_key(*c));
    let initiated = ["InitiatingProcessFileName", "InitiatingProcessUniqueId"].iter().any(|c| row.contains_key(*c));
    let table = match known.event {
        true => known.hit.table.as_str(),
        false if is_process => "DeviceProcessEvents",
        false => ANSWER_TABLE,
    };
    let mut all = evidence::of_row(table, row, device_name, created);
    for kind in [EntityType::Process, EntityType::File, EntityType::Ip, EntityType::Url, EntityType::User] {
        for column in entity_columns(kind) {
            // What the device itself has says little of the case; the initiating process is an entity as a whole.
            if matches!(*column, "LocalIP" | "PublicIP") || (initiated && column.starts_with("InitiatingProcess")) {
                continue;
            }
            let Some(value) = row.get(*column).map(|v| shown(v, DETAIL_CHARS_MAX)).filter(|v| !v.is_empty()) else {
                continue;
            };
            let Some(mut named) = evidence::named(kind, column, &value, created) else { continue };
            named.role = EvidenceRole::Related;
            if !all.iter().any(|known| evidence::holds(known, &named)) {
                all.push(named);
            }
        }
    }
    all
}

/// The column of a table that holds such a value: an analyst's own name for a column does not tell a hash from a path.
fn column_like<'c>(kind: EntityType, column: &'c str, value: &str) -> &'c str {
    let is_hex = value.bytes().all(|b| b.is_ascii_hexdigit());
    match kind {
        EntityType::File if is_hex && value.len() == 40 => "SHA1",
        EntityType::File if is_hex && value.len() == 64 => "SHA256",
        EntityType::File if value.contains(['/', '\\']) => "FolderPath",
        _ => column,
    }
}
