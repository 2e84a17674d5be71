//! Rows of the case tables, and the small writes that all changes share.

use super::{CaseError, Incidents};
use crate::db::{Sealer, columns};
use crate::incidents::correlate::{self, Candidate};
use garrison_model::Micros;
use garrison_model::{
    Alert, AlertId, AlertStatus, Comment, DeviceId, DeviceRef, IncidentId, IncidentStatus, IncidentSummary, Severity,
};
use garrison_telemetry::json::time_text;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

/// Devices and users named in a summary; the model documents it.
const NAMED_MAX: usize = 100;

/// RFC 3339 of a stored time.
pub fn time(micros: i64) -> String {
    time_text(Micros(micros))
}

/// Micros of an RFC 3339 text that we wrote; zero if it is none.
pub fn parse_time(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().map_or(0, |t| t.as_microsecond())
}

/// A severity as the column holds it.
pub fn severity_number(severity: Severity) -> i64 {
    Severity::ALL.iter().position(|s| *s == severity).unwrap_or(0) as i64
}

/// Reads [`severity_number`].
pub fn severity_of(number: i64) -> Severity {
    usize::try_from(number).ok().and_then(|n| Severity::ALL.get(n)).copied().unwrap_or(Severity::Unspecified)
}

/// Name of a target in comments and audit.
pub fn alert_target(id: &AlertId) -> String {
    format!("alert/{id}")
}

/// Name of a target in comments and audit.
pub fn incident_target(id: IncidentId) -> String {
    format!("incident/{id}")
}

/// An incident's row.
#[derive(Debug, Clone)]
pub struct IncidentRow {
    /// The stored summary; the columns below have won over what its text says.
    pub summary: IncidentSummary,
    /// Whether a user gave the title.
    pub title_given: bool,
}

impl IncidentRow {
    /// Reads a row of `SELECT *`.
    pub fn read(seal: &Sealer, row: &AnyRow) -> Result<Self, CaseError> {
        let id = IncidentId(row.try_get("id")?);
        let doc = seal.get(row, columns::INCIDENT_DOC)?;
        let summary: IncidentSummary = serde_json::from_str(&doc)
            .map_err(|source| CaseError::Stored { what: format!("incident {id}"), source })?;
        Ok(Self { summary, title_given: row.try_get::<i64, _>("title_given")? != 0 })
    }
}

/// Reads an alert of `SELECT *`; comments are added by the caller.
pub fn alert_read(seal: &Sealer, row: &AnyRow) -> Result<Alert, CaseError> {
    let doc = seal.get(row, columns::ALERT_DOC)?;
    let mut alert: Alert = serde_json::from_str(&doc).map_err(|source| CaseError::Stored {
        what: row.try_get::<String, _>("id").map_or_else(|_| "an alert".to_owned(), |id| format!("alert {id}")),
        source,
    })?;
    alert.incident_id = IncidentId(row.try_get("incident_id")?);
    Ok(alert)
}

impl Incidents {
    pub(crate) async fn incident_row(
        &self,
        conn: &mut AnyConnection,
        id: IncidentId,
    ) -> Result<IncidentRow, CaseError> {
        let row = sqlx::query("SELECT * FROM incidents_incident WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant().as_str())
            .bind(id.0)
            .fetch_optional(conn)
            .await?
            .ok_or(CaseError::IncidentUnknown(id))?;
        IncidentRow::read(&self.seal(), &row)
    }

    pub(crate) async fn incident_write(&self, conn: &mut AnyConnection, row: &IncidentRow) -> Result<(), CaseError> {
        let (s, seal) = (&row.summary, self.seal());
        let doc = serde_json::to_string(s)
            .map_err(|source| CaseError::Stored { what: format!("incident {}", s.id), source })?;
        let tags = serde_json::to_string(&s.tags)
            .map_err(|source| CaseError::Stored { what: format!("incident {}", s.id), source })?;
        let names = s.devices.iter().map(|d| d.name.as_str()).chain(s.users.iter().map(String::as_str));
        let search = std::iter::once(s.title.as_str())
            .chain(names)
            .chain(s.tags.iter().map(String::as_str))
            .chain(s.categories.iter().map(String::as_str))
            .chain(s.mitre_techniques.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("\n")
            .to_lowercase();
        sqlx::query(
            "INSERT INTO incidents_incident (tenant_id, id, title, title_given, severity, status, assigned_to, \
             classification, determination, tags, redirect_id, created, updated, first_event, last_event, search, doc) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
             ON CONFLICT (tenant_id, id) DO UPDATE SET title = $3, title_given = $4, severity = $5, status = $6, \
             assigned_to = $7, classification = $8, determination = $9, tags = $10, redirect_id = $11, updated = $13, \
             first_event = $14, last_event = $15, search = $16, doc = $17",
        )
        .bind(self.tenant().as_str())
        .bind(s.id.0)
        .bind(seal.put(columns::INCIDENT_TITLE, &s.title)?)
        .bind(i64::from(row.title_given))
        .bind(severity_number(s.severity))
        .bind(s.status.as_str())
        .bind(seal.put_maybe(columns::INCIDENT_ASSIGNEE, s.assigned_to.as_deref())?)
        .bind(s.classification.map(|c| c.as_str()))
        .bind(s.determination.map(|d| d.as_str()))
        .bind(seal.put(columns::INCIDENT_TAGS, &tags)?)
        .bind(s.redirect_incident_id.map(|i| i.0))
        .bind(parse_time(&s.created_time))
        .bind(parse_time(&s.last_update_time))
        .bind(parse_time(&s.first_event_time))
        .bind(parse_time(&s.last_event_time))
        .bind(seal.put(columns::INCIDENT_SEARCH, &search)?)
        .bind(seal.put(columns::INCIDENT_DOC, &doc)?)
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Counts, severity, devices, users, times and title anew from the alerts, and writes the row.
    pub(crate) async fn incident_refresh(
        &self,
        conn: &mut AnyConnection,
        mut row: IncidentRow,
        now: Micros,
    ) -> Result<IncidentRow, CaseError> {
        let rows = sqlx::query(
            "SELECT id, device_id, device_name, rule_id, severity, status, category, techniques, related_user, title, \
             first_event, last_event FROM incidents_alert WHERE tenant_id = $1 AND incident_id = $2 \
             ORDER BY first_event, id",
        )
        .bind(self.tenant().as_str())
        .bind(row.summary.id.0)
        .fetch_all(&mut *conn)
        .await?;
        let seal = self.seal();
        let s = &mut row.summary;
        let mut parts = Vec::with_capacity(rows.len());
        let (mut devices, mut users, mut techniques) = (Vec::new(), Vec::new(), std::collections::BTreeSet::new());
        let (mut active, mut first, mut last, mut worst) = (0, i64::MAX, i64::MIN, Severity::Unspecified);
        for alert in &rows {
            let severity = severity_of(alert.try_get("severity")?);
            let category: String = alert.try_get("category")?;
            let status: String = alert.try_get("status")?;
            worst = worst.max(severity);
            active += i64::from(status != AlertStatus::Resolved.as_str());
            first = first.min(alert.try_get("first_event")?);
            last = last.max(alert.try_get("last_event")?);
            let device = DeviceRef {
                id: DeviceId::new(alert.try_get::<String, _>("device_id")?)
                    .map_err(|e| sqlx::Error::Decode(e.into()))?,
                name: alert.try_get("device_name")?,
            };
            parts.push(correlate::TitlePart {
                severity,
                title: seal.get(alert, columns::ALERT_TITLE)?,
                rule: alert.try_get("rule_id")?,
                device: device.name.clone(),
                category,
            });
            if devices.len() < NAMED_MAX && !devices.iter().any(|d: &DeviceRef| d.id == device.id) {
                devices.push(device);
            }
            if let Some(user) = seal.get_maybe(alert, columns::ALERT_USER)?
                && users.len() < NAMED_MAX
                && !users.contains(&user)
            {
                users.push(user);
            }
            let list: String = alert.try_get("techniques")?;
            techniques.extend(list.split(',').filter(|t| !t.is_empty()).map(str::to_owned));
        }
        s.alert_count = rows.len() as i64;
        s.active_alert_count = active;
        s.categories = correlate::tactics_sorted(parts.iter().map(|p| p.category.clone()));
        s.mitre_techniques = techniques.into_iter().collect();
        if !rows.is_empty() {
            s.severity = worst;
            s.devices = devices;
            s.users = users;
            s.first_event_time = time(first);
            s.last_event_time = time(last);
            if !row.title_given {
                s.title = correlate::title(&parts);
            }
        }
        s.last_update_time = time(now.0);
        self.incident_write(conn, &row).await?;
        Ok(row)
    }

    pub(crate) async fn alert_row(&self, conn: &mut AnyConnection, id: &AlertId) -> Result<Alert, CaseError> {
        let row = sqlx::query("SELECT * FROM incidents_alert WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant().as_str())
            .bind(id.as_str())
            .fetch_optional(conn)
            .await?
            .ok_or(CaseError::AlertUnknown)?;
        alert_read(&self.seal(), &row)
    }

    /// Writes what may change of an alert after it was made.
    pub(crate) async fn alert_write(&self, conn: &mut AnyConnection, alert: &Alert) -> Result<(), CaseError> {
        sqlx::query(
            "UPDATE incidents_alert SET status = $3, suppressed = $4, match_count = $5, updated = $6, first_event = $7, \
             last_event = $8, incident_id = $9, doc = $10, classification = $11 WHERE tenant_id = $1 AND id = $2",
        )
        .bind(self.tenant().as_str())
        .bind(alert.id.as_str())
        .bind(alert.status.as_str())
        .bind(i64::from(alert.suppressed))
        .bind(alert.match_count)
        .bind(parse_time(&alert.last_update_time))
        .bind(parse_time(&alert.first_event_time))
        .bind(parse_time(&alert.last_event_time))
        .bind(alert.incident_id.0)
        .bind(self.seal().put(columns::ALERT_DOC, &alert_doc(alert)?)?)
        .bind(alert.classification.map(|c| c.as_str()))
        .execute(conn)
        .await?;
        Ok(())
    }

    pub(crate) async fn comments(&self, conn: &mut AnyConnection, target: &str) -> Result<Vec<Comment>, CaseError> {
        let rows = sqlx::query(
            "SELECT text, created_by, created FROM incidents_comment WHERE tenant_id = $1 AND target = $2 ORDER BY id",
        )
        .bind(self.tenant().as_str())
        .bind(target)
        .fetch_all(conn)
        .await?;
        let seal = self.seal();
        rows.iter()
            .map(|row| {
                Ok(Comment {
                    comment: seal.get(row, columns::COMMENT_TEXT)?,
                    created_by: seal.get(row, columns::COMMENT_AUTHOR)?,
                    created_time: time(row.try_get("created")?),
                })
            })
            .collect()
    }

    pub(crate) async fn comment_add(
        &self,
        conn: &mut AnyConnection,
        target: &str,
        text: &str,
        who: &str,
        now: Micros,
    ) -> Result<(), CaseError> {
        let seal = self.seal();
        sqlx::query(
            "INSERT INTO incidents_comment (tenant_id, target, text, created_by, created) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(self.tenant().as_str())
        .bind(target)
        .bind(seal.put(columns::COMMENT_TEXT, text)?)
        .bind(seal.put(columns::COMMENT_AUTHOR, who)?)
        .bind(now.0)
        .execute(conn)
        .await?;
        Ok(())
    }

    pub(crate) async fn audit(
        &self,
        conn: &mut AnyConnection,
        target: &str,
        who: &str,
        now: Micros,
        what: &str,
        old: Option<String>,
        new: Option<String>,
    ) -> Result<(), CaseError> {
        let seal = self.seal();
        sqlx::query(
            "INSERT INTO incidents_audit (tenant_id, target, who, at, what, old, new) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.tenant().as_str())
        .bind(target)
        .bind(seal.put(columns::CASE_AUDIT_WHO, who)?)
        .bind(now.0)
        .bind(what)
        .bind(seal.put_maybe(columns::CASE_AUDIT_OLD, old.as_deref())?)
        .bind(seal.put_maybe(columns::CASE_AUDIT_NEW, new.as_deref())?)
        .execute(conn)
        .await?;
        Ok(())
    }

    /// What correlation must know of an incident; `shared` is filled by the caller.
    pub(crate) async fn candidate(&self, conn: &mut AnyConnection, id: IncidentId) -> Result<Candidate, CaseError> {
        let row = self.incident_row(&mut *conn, id).await?;
        let entities: i64 = sqlx::query(
            "SELECT COUNT(DISTINCT shared_key) AS n FROM incidents_key WHERE tenant_id = $1 AND incident_id = $2",
        )
        .bind(self.tenant().as_str())
        .bind(id.0)
        .fetch_one(conn)
        .await?
        .try_get("n")?;
        Ok(Candidate {
            id,
            status: row.summary.status,
            assigned_to: row.summary.assigned_to,
            classification: row.summary.classification,
            determination: row.summary.determination,
            entity_count: usize::try_from(entities).unwrap_or(usize::MAX),
            alert_count: usize::try_from(row.summary.alert_count).unwrap_or(usize::MAX),
            shared: Vec::new(),
        })
    }

    /// A new incident's row, not written yet.
    pub(crate) async fn incident_new(&self, conn: &mut AnyConnection, now: Micros) -> Result<IncidentRow, CaseError> {
        let id: i64 =
            sqlx::query("SELECT COALESCE(MAX(id), 0) + 1 AS next FROM incidents_incident WHERE tenant_id = $1")
                .bind(self.tenant().as_str())
                .fetch_one(conn)
                .await?
                .try_get("next")?;
        let time = time(now.0);
        Ok(IncidentRow {
            title_given: false,
            summary: IncidentSummary {
                id: IncidentId(id),
                title: String::new(),
                severity: Severity::Unspecified,
                status: IncidentStatus::Active,
                assigned_to: None,
                classification: None,
                determination: None,
                categories: Vec::new(),
                mitre_techniques: Vec::new(),
                devices: Vec::new(),
                users: Vec::new(),
                active_alert_count: 0,
                alert_count: 0,
                first_event_time: time.clone(),
                last_event_time: time.clone(),
                created_time: time.clone(),
                last_update_time: time,
                tags: Vec::new(),
                redirect_incident_id: None,
            },
        })
    }
}

/// The stored text of an alert. Comments have a table of their own.
pub(crate) fn alert_doc(alert: &Alert) -> Result<String, CaseError> {
    let mut alert = alert.clone();
    alert.comments.clear();
    serde_json::to_string(&alert).map_err(|source| CaseError::Stored { what: format!("alert {}", alert.id), source })
}
