//! From rows of an answer to alerts: the event that each row names, the words of the rule, evidence, details.

use super::definition::Definition;
use super::queries::Found;
use super::{Custom, CustomError, title};
use crate::detection::draft::{HitRow, Words, draft_of};
use crate::detection::evidence;
use crate::incidents::AlertDraft;
use arrow::array::RecordBatch;
use garrison_lake::{Filter, Lake, ScanRequest, Test};
use garrison_model::{BootId, DetectionSource, DeviceId, EvidenceRole, MatchField, Micros, RuleId};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Rows of one answer that are looked at; more than this is a report, not a detection.
pub const ROWS_MAX: usize = 10_000;
/// Characters of a custom detail in an alert.
pub(crate) const DETAIL_CHARS_MAX: usize = 512;
/// Alerts written in one transaction, so that other writers wait for milliseconds only.
const ALERTS_PER_WRITE: usize = 16;
/// Boot of an event that the lake does not hold (any more).
pub(crate) const BOOT_UNKNOWN: &str = "00000000-0000-0000-0000-000000000000";

/// What became of an answer's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// New alerts.
    pub alerts: usize,
    /// Rows whose event had an alert, or was folded into one.
    pub repeated: usize,
    /// Whether the cap was hit.
    pub capped: bool,
}

/// Key of an event: device, number, time.
pub(crate) type EventKey = (String, i64, i64);

pub(crate) fn text<'r>(row: &'r Map<String, Value>, column: &str) -> Option<&'r str> {
    row.get(column).and_then(Value::as_str).filter(|t| !t.is_empty())
}

pub(crate) fn micros(row: &Map<String, Value>) -> Option<i64> {
    text(row, "Timestamp")?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

/// The rows of an answer that name an event on a device, oldest first.
pub fn rows(custom: &Custom, batches: &[RecordBatch]) -> Vec<(DeviceId, i64, i64, Map<String, Value>)> {
    let mut named = Vec::new();
    let mut by_name: HashMap<String, Option<DeviceId>> = HashMap::new();
    for batch in batches {
        for index in 0..batch.num_rows() {
            let row = garrison_telemetry::row_to_json(batch, index);
            let device = match text(&row, "DeviceId").map(|id| DeviceId::new(id).ok()) {
                Some(device) => device,
                None => text(&row, "DeviceName").and_then(|name| {
                    by_name.entry(name.to_owned()).or_insert_with(|| custom.shared.fleet.device_named(name)).clone()
                }),
            };
            let (Some(device), Some(time)) = (device, micros(&row)) else { continue };
            let Some(number) = row.get("ReportId").and_then(Value::as_i64) else { continue };
            named.push((device, number, time, row));
        }
    }
    named.sort_by(|a, b| (a.2, &a.0, a.1).cmp(&(b.2, &b.0, b.1)));
    named
}

/// The events themselves, out of the lake: of these tables, or of all tables of devices if none is one.
pub(crate) fn events(
    lake: &Lake,
    tables: &[String],
    wanted: &HashSet<EventKey>,
) -> Result<HashMap<EventKey, (String, Option<BootId>, Map<String, Value>)>, garrison_lake::LakeError> {
    let mut found = HashMap::new();
    let (Some(from), Some(to)) = (wanted.iter().map(|k| k.2).min(), wanted.iter().map(|k| k.2).max()) else {
        return Ok(found);
    };
    let numbers = (wanted.iter().map(|k| k.1).min().unwrap_or(0), wanted.iter().map(|k| k.1).max().unwrap_or(0));
    let mut devices: Vec<String> = wanted.iter().map(|k| k.0.clone()).collect();
    devices.sort();
    devices.dedup();
    let is_device = |name: &str| name.starts_with("Device");
    let mut named: Vec<&str> = tables.iter().map(String::as_str).filter(|t| is_device(t)).collect();
    if named.is_empty() {
        named = garrison_telemetry::tables().iter().map(|t| t.name).filter(|t| is_device(t)).collect();
    }
    for table in named {
        if found.len() == wanted.len() {
            break;
        }
        let request = ScanRequest {
            from: Some(Micros(from)),
            to: Some(Micros(to.saturating_add(1))),
            devices: devices.clone(),
            filters: vec![Filter::new("ReportId", Test::NumberBetween(numbers.0, numbers.1))],
            ..ScanRequest::table(table)
        };
        let Ok(scan) = lake.scan(request) else { continue };
        for batch in scan {
            let batch = batch?;
            for index in 0..batch.num_rows() {
                let row = garrison_telemetry::row_to_json(&batch, index);
                let key =
                    (|| Some((text(&row, "DeviceId")?.to_owned(), row.get("ReportId")?.as_i64()?, micros(&row)?)))();
                let Some(key) = key.filter(|k| wanted.contains(k)) else { continue };
                let boot = text(&row, "BootId").and_then(|b| BootId::new(b).ok());
                found.entry(key).or_insert((table.to_owned(), boot, row));
            }
        }
    }
    Ok(found)
}

/// Makes drafts of an answer, oldest event first; one an event.
pub async fn drafts(
    custom: &std::sync::Arc<Custom>,
    rule_id: &str,
    definition: &Definition,
    found: &Found,
    note: Option<&'static str>,
) -> Result<Vec<AlertDraft>, CustomError> {
    let named = rows(custom, &found.batches);
    let wanted: HashSet<EventKey> = named.iter().map(|(d, n, t, _)| (d.as_str().to_owned(), *n, *t)).collect();
    let (lake, tables) = (std::sync::Arc::clone(&custom.shared.lake), found.tables.clone());
    let events = tokio::task::spawn_blocking(move || events(&lake, &tables, &wanted).map(|events| (events, wanted)));
    let (mut events, mut open) = events.await.map_err(|_| CustomError::Task)??;
    let Ok(rule) = RuleId::new(rule_id) else { return Ok(Vec::new()) };
    let now = (custom.clock)();
    let mut drafts = Vec::new();
    for (device, number, time, row) in named {
        let key = (device.as_str().to_owned(), number, time);
        // An event that the answer names twice is one event.
        if !open.remove(&key) {
            continue;
        }
        let (table, boot, event) = events.remove(&key).unwrap_or_else(|| {
            let table = found.tables.first().cloned().unwrap_or_default();
            (table, None, row.clone())
        });
        let Some(boot) = boot.or_else(|| BootId::new(BOOT_UNKNOWN).ok()) else { continue };
        let title = title::fill(&definition.alert_title, &row);
        let words = Words {
            id: rule.clone(),
            title: title.clone(),
            description: match note {
                Some(note) => format!("{note}\n\n{}", definition.description).trim_end().to_owned(),
                None => definition.description.clone(),
            },
            recommended_action: definition.recommended_actions.clone(),
            techniques: definition.mitre_techniques.clone(),
            severity: definition.severity,
            category: definition.category.clone(),
            source: DetectionSource::CustomDetection,
        };
        let fields = definition.custom_details.iter().map(|(name, column)| MatchField {
            selection: "Custom details".to_owned(),
            field: name.clone(),
            column: column.clone(),
            test: String::new(),
            value: row.get(column).map(|v| title::shown(v, DETAIL_CHARS_MAX)).unwrap_or_default(),
        });
        let hit = HitRow { table, boot, report_id: number, row: event, fields: fields.collect() };
        let made = custom
            .detection
            .with_processes(|cache| draft_of(&custom.shared.tenant, &device, &words, vec![hit], 1, cache, now));
        let Some(mut made) = made else { continue };
        // Repeats are folded by process as for every rule; alerts with other titles are other alerts.
        made.fold_key = format!("{}/{title}", made.fold_key);
        for entity in &definition.impacted_entities {
            let Some(value) = row.get(&entity.column).map(|v| title::shown(v, DETAIL_CHARS_MAX)) else { continue };
            impacted(&mut made, entity.kind, &entity.column, &value, now);
        }
        drafts.push(made);
    }
    Ok(drafts)
}

/// Marks an entity of the evidence as impacted, or adds it.
pub(crate) fn impacted(
    draft: &mut AlertDraft,
    kind: garrison_model::EntityType,
    column: &str,
    value: &str,
    now: Micros,
) {
    if value.is_empty() {
        return;
    }
    let created = garrison_telemetry::json::time_text(now);
    let Some(entity) = evidence::named(kind, column, value, &created) else { return };
    let all = &mut draft.alert.evidence;
    match all.iter_mut().find(|e| evidence::holds(e, &entity)) {
        Some(known) => known.role = EvidenceRole::Impacted,
        None => {
            evidence::merge(all, vec![entity]);
        }
    }
}

/// Takes drafts in until the cap is reached.
pub async fn take(custom: &Custom, drafts: Vec<AlertDraft>, alerts_max: usize) -> Result<Made, CustomError> {
    let mut made = Made::default();
    let mut rest = drafts.into_iter();
    loop {
        let room = alerts_max.saturating_sub(made.alerts);
        let part: Vec<AlertDraft> = rest.by_ref().take(room.min(ALERTS_PER_WRITE)).collect();
        if part.is_empty() {
            made.capped = room == 0 && rest.len() > 0;
            return Ok(made);
        }
        let taken = custom.detection.drafts_take(part, (custom.clock)()).await?;
        made.alerts += taken.made + taken.suppressed;
        made.repeated += taken.folded + taken.repeated;
    }
}
