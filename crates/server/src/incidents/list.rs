//! Lists and single cases, as the API asks for them.

use super::record::{IncidentRow, alert_read, alert_target, incident_target, parse_time, severity_number, time};
use super::{CaseError, Incidents};
use crate::db::{Dialect, Statement, columns};
use garrison_model::{
    Alert, AlertId, AlertStatus, CloudStatus, CorrelationReason, DeviceId, Incident, IncidentId, IncidentStatus,
    IncidentSummary, RuleId, Severity,
};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::{HashMap, HashSet};

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Last change.
    #[default]
    LastUpdate,
    /// When it was made.
    Created,
    /// Time of the last matched row.
    LastEvent,
    /// Severity.
    Severity,
}

impl Sort {
    /// Reads `lastUpdate`, `created`, `lastEvent` or `severity`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "lastUpdate" | "lastUpdateTime" => Self::LastUpdate,
            "created" | "createdTime" | "alertCreationTime" => Self::Created,
            "lastEvent" | "lastEventTime" => Self::LastEvent,
            "severity" => Self::Severity,
            _ => return None,
        })
    }

    fn column(self) -> &'static str {
        match self {
            Self::LastUpdate => "updated",
            Self::Created => "created",
            Self::LastEvent => "last_event",
            Self::Severity => "severity",
        }
    }
}

/// Where a list goes on: sort value and id of the last item seen.
pub type After = Option<(i64, String)>;

/// What to list of incidents; empty lists and `None` ask for all.
#[derive(Debug, Clone, Default)]
pub struct IncidentFilter {
    /// Status.
    pub status: Vec<IncidentStatus>,
    /// Severity.
    pub severity: Vec<Severity>,
    /// Assignee; empty text for unassigned.
    pub assignee: Option<String>,
    /// Only with alerts on this device.
    pub device: Option<DeviceId>,
    /// Only with alerts on these devices and on no other ones.
    pub seen: Option<HashSet<DeviceId>>,
    /// Words in title, devices, users, tags.
    pub q: Option<String>,
    /// Changed since, microseconds.
    pub since: Option<i64>,
    /// Order.
    pub sort: Sort,
    /// Greatest first.
    pub descending: bool,
    /// Go on after.
    pub after: After,
    /// Items.
    pub limit: usize,
}

/// What to list of alerts; empty lists and `None` ask for all.
#[derive(Debug, Clone, Default)]
pub struct AlertFilter {
    /// Status.
    pub status: Vec<AlertStatus>,
    /// Severity.
    pub severity: Vec<Severity>,
    /// Device.
    pub device: Option<DeviceId>,
    /// Only on these devices.
    pub seen: Option<HashSet<DeviceId>>,
    /// Rule.
    pub rule: Option<RuleId>,
    /// Incident.
    pub incident: Option<IncidentId>,
    /// Words in title, device, rule, user, command lines.
    pub q: Option<String>,
    /// Changed since, microseconds.
    pub since: Option<i64>,
    /// Hidden ones only, or shown ones only.
    pub suppressed: Option<bool>,
    /// Status in the words of the cloud view.
    pub cloud_status: Vec<CloudStatus>,
    /// Made since, microseconds.
    pub created_since: Option<i64>,
    /// Order.
    pub sort: Sort,
    /// Greatest first.
    pub descending: bool,
    /// Go on after.
    pub after: After,
    /// Items.
    pub limit: usize,
}

/// A list's items, and what to hand back to go on; `total` is over all pages.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    /// Items.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: After,
    /// How many in all.
    pub total: i64,
}

/// An entry of the record of changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When.
    pub time: String,
    /// Who.
    pub who: String,
    /// What was changed, such as `status`.
    pub what: String,
    /// Before.
    pub old: Option<String>,
    /// After.
    pub new: Option<String>,
}

fn in_list(query: &mut Statement, column: &str, values: impl Iterator<Item = String>) {
    query.push(" AND ").push(column).push(" IN (");
    query.push_list(values).push(")");
}

/// A list of devices as one value: there may be more of them than a statement has places.
fn device_list(query: &mut Statement, dialect: Dialect, devices: &HashSet<DeviceId>) {
    let ids: Vec<&str> = devices.iter().map(DeviceId::as_str).collect();
    // Plain text: this cannot fail.
    let list = serde_json::to_string(&ids).unwrap_or_else(|_| "[]".to_owned());
    let (before, after) = match dialect {
        Dialect::Sqlite => ("(SELECT value FROM json_each(", "))"),
        Dialect::Postgres => ("(SELECT jsonb_array_elements_text(CAST(", " AS jsonb)))"),
    };
    query.push(before).push_bind(list).push(after);
}

fn severities(query: &mut Statement, values: &[Severity]) {
    query.push(" AND severity IN (");
    query.push_list(values.iter().map(|value| severity_number(*value))).push(")");
}

/// The same as [`CloudStatus::of`], over columns.
fn cloud_statuses(query: &mut Statement, values: &[CloudStatus]) {
    const DISMISSED: &str =
        "(suppressed = 1 OR COALESCE(classification, '') IN ('FalsePositive', 'InformationalExpectedActivity'))";
    for (at, value) in values.iter().enumerate() {
        query.push(if at == 0 { " AND (" } else { " OR " });
        match value {
            CloudStatus::Active => query.push("status IN ('New', 'Unknown')"),
            CloudStatus::InProgress => query.push("status = 'InProgress'"),
            CloudStatus::Resolved => query.push("(status = 'Resolved' AND NOT ").push(DISMISSED).push(")"),
            CloudStatus::Dismissed => query.push("(status = 'Resolved' AND ").push(DISMISSED).push(")"),
        };
    }
    query.push(")");
}

/// Order of a list, and where a page of it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paging<'a> {
    pub(super) sort: Sort,
    pub(super) descending: bool,
    pub(super) after: &'a After,
    pub(super) limit: usize,
    pub(super) id_is_number: bool,
}

impl Paging<'_> {
    pub(super) fn column(&self) -> &'static str {
        self.sort.column()
    }

    /// Whether a row is behind the last one of the page before.
    pub(super) fn beyond(&self, query: &mut Statement) {
        let (column, sign) = (self.column(), if self.descending { "<" } else { ">" });
        let Some((key, id)) = self.after else {
            query.push("1 = 1");
            return;
        };
        query.push("(").push(column).push(" ").push(sign).push(" ").push_bind(*key);
        query.push(" OR (").push(column).push(" = ").push_bind(*key).push(" AND id ").push(sign).push(" ");
        if self.id_is_number {
            query.push_bind(id.parse::<i64>().unwrap_or(0));
        } else {
            query.push_bind(id.clone());
        }
        query.push("))");
    }

    pub(super) fn order(&self, query: &mut Statement, limit: i64) {
        let order = if self.descending { "DESC" } else { "ASC" };
        query.push(" ORDER BY ").push(self.column()).push(" ").push(order).push(", id ").push(order);
        query.push(" LIMIT ").push_bind(limit);
    }
}

impl Incidents {
    /// Lists incidents.
    pub async fn incident_list(&self, f: &IncidentFilter) -> Result<Listed<IncidentSummary>, CaseError> {
        let seal = self.seal();
        let assignee = seal.put_maybe(columns::INCIDENT_ASSIGNEE, f.assignee.as_deref())?;
        let fill = |query: &mut Statement| {
            query.push_bind(self.tenant().as_str().to_owned());
            if !f.status.is_empty() {
                in_list(query, "status", f.status.iter().map(ToString::to_string));
            }
            if !f.severity.is_empty() {
                severities(query, &f.severity);
            }
            match assignee.as_deref() {
                Some("") => {
                    query.push(" AND assigned_to IS NULL");
                }
                Some(name) => {
                    query.push(" AND assigned_to = ").push_bind(name.to_owned());
                }
                None => {}
            }
            if let Some(device) = &f.device {
                query.push(" AND id IN (SELECT incident_id FROM incidents_alert WHERE tenant_id = ");
                query.push_bind(self.tenant().as_str().to_owned()).push(" AND device_id = ");
                query.push_bind(device.as_str().to_owned()).push(")");
            }
            if let Some(seen) = &f.seen {
                for word in ["IN", "NOT IN"] {
                    query
                        .push(" AND id ")
                        .push(word)
                        .push(" (SELECT incident_id FROM incidents_alert WHERE tenant_id = ");
                    query.push_bind(self.tenant().as_str().to_owned()).push(" AND device_id ").push(word).push(" ");
                    device_list(query, self.shared.db.dialect(), seen);
                    query.push(")");
                }
            }
            if let Some(since) = f.since {
                query.push(" AND updated >= ").push_bind(since);
            }
        };
        let (sort, descending, after, limit) = (f.sort, f.descending, &f.after, f.limit);
        let paging = Paging { sort, descending, after, limit, id_is_number: true };
        let (rows, total) = self.page(columns::INCIDENT_SEARCH, f.q.as_deref(), fill, paging).await?;
        let mut items = Vec::with_capacity(rows.len());
        let mut next = None;
        for row in rows.iter().take(f.limit) {
            items.push(IncidentRow::read(&seal, row)?.summary);
            next = Some((row.try_get::<i64, _>(f.sort.column())?, row.try_get::<i64, _>("id")?.to_string()));
        }
        Ok(Listed { items, next: next.filter(|_| rows.len() > f.limit), total })
    }

    /// Lists alerts, without their matches and comments.
    pub async fn alert_list(&self, f: &AlertFilter) -> Result<Listed<Alert>, CaseError> {
        let fill = |query: &mut Statement| {
            query.push_bind(self.tenant().as_str().to_owned());
            if !f.status.is_empty() {
                in_list(query, "status", f.status.iter().map(ToString::to_string));
            }
            if !f.severity.is_empty() {
                severities(query, &f.severity);
            }
            if let Some(device) = &f.device {
                query.push(" AND device_id = ").push_bind(device.as_str().to_owned());
            }
            if let Some(seen) = &f.seen {
                query.push(" AND device_id IN ");
                device_list(query, self.shared.db.dialect(), seen);
            }
            if let Some(rule) = &f.rule {
                query.push(" AND rule_id = ").push_bind(rule.as_str().to_owned());
            }
            if let Some(incident) = f.incident {
                query.push(" AND incident_id = ").push_bind(incident.0);
            }
            if let Some(suppressed) = f.suppressed {
                query.push(" AND suppressed = ").push_bind(i64::from(suppressed));
            }
            if !f.cloud_status.is_empty() {
                cloud_statuses(query, &f.cloud_status);
            }
            if let Some(since) = f.created_since {
                query.push(" AND created >= ").push_bind(since);
            }
            if let Some(since) = f.since {
                query.push(" AND updated >= ").push_bind(since);
            }
        };
        let (sort, descending, after, limit) = (f.sort, f.descending, &f.after, f.limit);
        let paging = Paging { sort, descending, after, limit, id_is_number: false };
        let (rows, total) = self.page(columns::ALERT_SEARCH, f.q.as_deref(), fill, paging).await?;
        let (seal, mut items) = (self.seal(), Vec::with_capacity(rows.len()));
        let mut next = None;
        for row in rows.iter().take(f.limit) {
            let mut alert = alert_read(&seal, row)?;
            alert.matches.clear();
            items.push(alert);
            next = Some((row.try_get::<i64, _>(f.sort.column())?, row.try_get::<String, _>("id")?));
        }
        Ok(Listed { items, next: next.filter(|_| rows.len() > f.limit), total })
    }

    /// One alert, with everything.
    pub async fn alert(&self, id: &AlertId) -> Result<Alert, CaseError> {
        let mut conn = self.shared.db.pool().acquire().await?;
        let mut alert = self.alert_row(&mut conn, id).await?;
        alert.comments = self.comments(&mut conn, &alert_target(id)).await?;
        Ok(alert)
    }

    /// One incident, with its alerts (without their matches) and comments.
    pub async fn incident(&self, id: IncidentId) -> Result<Incident, CaseError> {
        let mut conn = self.shared.db.pool().acquire().await?;
        let row = self.incident_row(&mut conn, id).await?;
        let comments = self.comments(&mut conn, &incident_target(id)).await?;
        let rows = sqlx::query(
            "SELECT * FROM incidents_alert WHERE tenant_id = $1 AND incident_id = $2 ORDER BY first_event, id",
        )
        .bind(self.tenant().as_str())
        .bind(id.0)
        .fetch_all(&mut *conn)
        .await?;
        let seal = self.seal();
        let (mut alerts, mut correlation_reasons) = (Vec::new(), Vec::new());
        for row in &rows {
            let mut alert = alert_read(&seal, row)?;
            alert.matches.clear();
            let reason = seal.get(row, columns::ALERT_REASON)?;
            correlation_reasons.push(CorrelationReason { alert_id: alert.id.clone(), reason });
            alerts.push(alert);
        }
        Ok(Incident { summary: row.summary, alerts, comments, correlation_reasons })
    }

    /// The device of an alert; `None` if there is no such alert.
    pub async fn alert_device(&self, id: &AlertId) -> Result<Option<String>, CaseError> {
        let row = sqlx::query("SELECT device_id FROM incidents_alert WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant().as_str())
            .bind(id.as_str().to_owned())
            .fetch_optional(self.shared.db.pool())
            .await?;
        Ok(row.map(|row| row.try_get("device_id")).transpose()?)
    }

    /// The devices of an incident's alerts.
    pub async fn incident_devices(&self, id: IncidentId) -> Result<Vec<String>, CaseError> {
        let rows =
            sqlx::query("SELECT DISTINCT device_id FROM incidents_alert WHERE tenant_id = $1 AND incident_id = $2")
                .bind(self.tenant().as_str())
                .bind(id.0)
                .fetch_all(self.shared.db.pool())
                .await?;
        rows.iter().map(|row| Ok(row.try_get("device_id")?)).collect()
    }

    /// Record of changes of an incident, or of an alert, oldest first.
    pub async fn audit_list(&self, target: &str) -> Result<Vec<AuditEntry>, CaseError> {
        let rows = sqlx::query(
            "SELECT who, at, what, old, new FROM incidents_audit WHERE tenant_id = $1 AND target = $2 ORDER BY id LIMIT 1000",
        )
        .bind(self.tenant().as_str())
        .bind(target)
        .fetch_all(self.shared.db.pool())
        .await?;
        let seal = self.seal();
        rows.iter()
            .map(|row| {
                Ok(AuditEntry {
                    time: time(row.try_get("at")?),
                    who: seal.get(row, columns::CASE_AUDIT_WHO)?,
                    what: row.try_get("what")?,
                    old: seal.get_maybe(row, columns::CASE_AUDIT_OLD)?,
                    new: seal.get_maybe(row, columns::CASE_AUDIT_NEW)?,
                })
            })
            .collect()
    }

    /// Alerts of each rule since a moment.
    pub async fn alert_count_by_rule(&self, since: i64) -> Result<HashMap<String, i64>, CaseError> {
        let rows = sqlx::query(
            "SELECT rule_id, COUNT(*) AS n FROM incidents_alert WHERE tenant_id = $1 AND created >= $2 GROUP BY rule_id",
        )
        .bind(self.tenant().as_str())
        .bind(since)
        .fetch_all(self.shared.db.pool())
        .await?;
        rows.iter().map(|row| Ok((row.try_get("rule_id")?, row.try_get("n")?))).collect()
    }

    /// Open alerts and their highest severity, by device.
    pub async fn risk_by_device(&self) -> Result<HashMap<String, (Severity, i64)>, CaseError> {
        let rows = sqlx::query(
            "SELECT device_id, MAX(severity) AS worst, COUNT(*) AS n FROM incidents_alert WHERE tenant_id = $1 AND \
             suppressed = 0 AND status <> 'Resolved' GROUP BY device_id",
        )
        .bind(self.tenant().as_str())
        .fetch_all(self.shared.db.pool())
        .await?;
        rows.iter()
            .map(|row| {
                let worst = super::record::severity_of(row.try_get("worst")?);
                Ok((row.try_get("device_id")?, (worst, row.try_get("n")?)))
            })
            .collect()
    }

    /// Which alerts were raised on rows of a device: (boot, number) to alerts.
    pub async fn alerts_on_rows(
        &self,
        device: &DeviceId,
        numbers: &[i64],
    ) -> Result<HashMap<(String, i64), Vec<AlertId>>, CaseError> {
        let mut found: HashMap<(String, i64), Vec<AlertId>> = HashMap::new();
        if numbers.is_empty() {
            return Ok(found);
        }
        let mut query =
            Statement::new("SELECT boot_id, report_id, alert_id FROM incidents_alert_row WHERE tenant_id = ");
        query.push_bind(self.tenant().as_str().to_owned()).push(" AND device_id = ");
        query.push_bind(device.as_str().to_owned()).push(" AND report_id IN (");
        query.push_list(numbers.iter().take(1_000).copied()).push(")");
        for row in query.build().fetch_all(self.shared.db.pool()).await? {
            let Ok(id) = AlertId::new(row.try_get::<String, _>("alert_id")?) else { continue };
            found.entry((row.try_get("boot_id")?, row.try_get("report_id")?)).or_default().push(id);
        }
        Ok(found)
    }

    /// Counts for the status page: open incidents, open alerts.
    pub async fn open_counts(&self) -> Result<(i64, i64), CaseError> {
        let incidents = sqlx::query(
            "SELECT COUNT(*) AS n FROM incidents_incident WHERE tenant_id = $1 AND status IN ('Active', 'InProgress')",
        )
        .bind(self.tenant().as_str())
        .fetch_one(self.shared.db.pool())
        .await?
        .try_get("n")?;
        let alerts = sqlx::query(
            "SELECT COUNT(*) AS n FROM incidents_alert WHERE tenant_id = $1 AND suppressed = 0 AND status <> 'Resolved'",
        )
        .bind(self.tenant().as_str())
        .fetch_one(self.shared.db.pool())
        .await?
        .try_get("n")?;
        Ok((incidents, alerts))
    }
}

/// Reads `7d`, `24h`, `30m`, or RFC 3339, as a moment in microseconds.
pub fn since(text: &str, now: i64) -> Option<i64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_microsecond());
    }
    let split = text.len().checked_sub(1).filter(|n| text.is_char_boundary(*n))?;
    let (number, unit) = text.split_at(split);
    let number: i64 = number.parse().ok().filter(|n| (0..=10_000).contains(n))?;
    let unit = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    Some(now.saturating_sub(number * unit * 1_000_000))
}

/// For callers that hold a text time.
pub fn micros_of(text: &str) -> i64 {
    parse_time(text)
}
