//! Taking in what detection found: fold, suppress, correlate, store; all in one transaction with the watermark, so that
//! a repeat after a crash finds its first try and changes nothing.

use super::correlate::{self, Decision};
use super::record::{alert_doc, alert_target, incident_target, parse_time, severity_number, time};
use super::{CaseChange, CaseError, Incidents};
use crate::db::seal::found_text;
use crate::db::{Statement, columns};
use crate::detection::process::ProcessFact;
use crate::detection::{evidence, suppression};
use garrison_model::{ALERT_MATCHES_MAX, Alert, AlertId, AlertStatus, BootId, IncidentId, InvestigationState, Micros};
use garrison_model::{Suppression, SuppressionScope};
use sqlx::{AnyConnection, Row as _};
use std::sync::Arc;

/// Repeats of one rule on one process within this time are one alert.
pub const FOLD_WINDOW: i64 = 3_600_000_000;
/// New alerts one rule may raise on one device in an hour; further ones are folded into its latest, with a note.
pub const RULE_ALERTS_PER_HOUR_MAX: i64 = 100;

/// A row that an alert was raised on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedRow {
    /// Boot that the number counts in.
    pub boot: BootId,
    /// `ReportId`.
    pub report_id: i64,
}

/// An alert as detection proposes it; whether it becomes one, and in which incident, is decided here.
#[derive(Debug, Clone)]
pub struct AlertDraft {
    /// The alert; incident, suppression and status are set here.
    pub alert: Alert,
    /// Repeats have the same.
    pub fold_key: String,
    /// Chains of ancestors of the processes it is about, nearest first.
    pub lineage: Vec<Vec<ProcessFact>>,
    /// The rows.
    pub rows: Vec<MatchedRow>,
}

/// What became of drafts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Ids of the new alerts, hidden ones too.
    pub new: Vec<AlertId>,
    /// New alerts.
    pub made: usize,
    /// Drafts folded into an alert that was there.
    pub folded: usize,
    /// New alerts that a suppression hides.
    pub suppressed: usize,
    /// Drafts whose rows were looked at before.
    pub repeated: usize,
}

impl Incidents {
    /// Takes drafts in.
    pub async fn alerts_take(&self, drafts: Vec<AlertDraft>, now: Micros) -> Result<Taken, CaseError> {
        if drafts.is_empty() {
            return Ok(Taken::default());
        }
        let _writer = self.writer.lock().await;
        let suppressions = self.suppressions_active(now).await?;
        let mut tx = self.shared.db.write().await?;
        let mut taken = Taken::default();
        let mut changes = Vec::new();
        for draft in drafts {
            self.alert_take(tx.conn(), draft, &suppressions, now, &mut taken, &mut changes).await?;
        }
        tx.commit().await?;
        for change in changes {
            self.tell(change);
        }
        Ok(taken)
    }

    async fn alert_take(
        &self,
        conn: &mut AnyConnection,
        mut draft: AlertDraft,
        suppressions: &[Suppression],
        now: Micros,
        taken: &mut Taken,
        changes: &mut Vec<CaseChange>,
    ) -> Result<(), CaseError> {
        if self.rows_known(&mut *conn, &draft).await? {
            taken.repeated += 1;
            return Ok(());
        }
        if let Some(mut known) = self.fold_target(&mut *conn, &draft).await? {
            self.rows_add(&mut *conn, &draft, &known).await?;
            fold(&mut known, draft.alert, now);
            self.alert_write(&mut *conn, &known).await?;
            self.touch(&mut *conn, known.incident_id, now, changes).await?;
            known.matches.clear();
            changes.push(CaseChange::Alert(Arc::new(known)));
            taken.folded += 1;
            return Ok(());
        }
        if let Some(mut known) = self.rate_capped(&mut *conn, &draft, now).await? {
            self.rows_add(&mut *conn, &draft, &known).await?;
            let target = alert_target(&known.id);
            let noted = sqlx::query(
                "SELECT 1 AS one FROM incidents_audit WHERE tenant_id = $1 AND target = $2 AND what = 'rateCap'",
            )
            .bind(self.tenant().as_str())
            .bind(target.clone())
            .fetch_optional(&mut *conn)
            .await?;
            if noted.is_none() {
                let note = format!(
                    "This rule raised {RULE_ALERTS_PER_HOUR_MAX} alerts on this device within an hour. Further matches \
                     are counted in this alert instead of raising more; tune the rule or suppress it."
                );
                self.comment_add(&mut *conn, &target, &note, "Garrison", now).await?;
                self.audit(&mut *conn, &target, "Garrison", now, "rateCap", None, None).await?;
            }
            fold(&mut known, draft.alert, now);
            self.alert_write(&mut *conn, &known).await?;
            taken.folded += 1;
            return Ok(());
        }
        let hidden_by = suppressions.iter().find(|s| hides(&s.scope, &draft.alert));
        if let Some(by) = hidden_by {
            draft.alert.suppressed = true;
            draft.alert.status = AlertStatus::Resolved;
            draft.alert.resolved_time = Some(time(now.0));
            draft.alert.investigation_state = InvestigationState::SuppressedAlert;
            draft.alert.incident_id = IncidentId(0);
            sqlx::query(
                "UPDATE incidents_suppression SET hidden_count = hidden_count + 1 WHERE tenant_id = $1 AND id = $2",
            )
            .bind(self.tenant().as_str())
            .bind(by.id.as_str())
            .execute(&mut *conn)
            .await?;
            self.alert_insert(&mut *conn, &draft, &format!("hidden by suppression `{}`", by.name)).await?;
            taken.suppressed += 1;
            taken.new.push(draft.alert.id.clone());
            draft.alert.matches.clear();
            changes.push(CaseChange::Alert(Arc::new(draft.alert)));
            return Ok(());
        }
        let (incident, reason, merged) = self.place(&mut *conn, &draft, now).await?;
        draft.alert.incident_id = incident;
        self.alert_insert(&mut *conn, &draft, &reason).await?;
        self.keys_add(&mut *conn, &draft, incident).await?;
        for source in merged {
            let moved = self.merge_in(&mut *conn, source, incident, "Garrison", now).await?;
            changes.push(CaseChange::Incident(Arc::new(moved)));
        }
        self.touch(&mut *conn, incident, now, changes).await?;
        taken.new.push(draft.alert.id.clone());
        draft.alert.matches.clear();
        changes.push(CaseChange::Alert(Arc::new(draft.alert)));
        taken.made += 1;
        Ok(())
    }

    /// Which incident, why, and what merges into it. A new one is written at once, without alerts yet.
    pub(crate) async fn place(
        &self,
        conn: &mut AnyConnection,
        draft: &AlertDraft,
        now: Micros,
    ) -> Result<(IncidentId, String, Vec<IncidentId>), CaseError> {
        let facts = correlate::facts(&draft.alert, &draft.lineage, Micros(parse_time(&draft.alert.last_event_time)));
        let mut query = Statement::new(
            "SELECT incident_id, shared_key, MAX(seen) AS seen FROM incidents_key WHERE incident_id > 0 AND tenant_id = ",
        );
        query.push_bind(self.tenant().as_str().to_owned()).push(" AND shared_key IN (");
        let seal = self.seal();
        let mut keys = Vec::with_capacity(facts.keys.len());
        for (key, _) in &facts.keys {
            keys.push(seal.put(columns::SHARED_KEY, &key.text())?);
        }
        query.push_list(keys.into_iter());
        // Most recent first; more candidates than this would make one attack of half the fleet.
        query.push(") GROUP BY incident_id, shared_key ORDER BY seen DESC LIMIT 500");
        let rows = if facts.keys.is_empty() { Vec::new() } else { query.build().fetch_all(&mut *conn).await? };
        let mut candidates: Vec<correlate::Candidate> = Vec::new();
        for row in rows {
            let id = IncidentId(row.try_get("incident_id")?);
            let Some(key) = correlate::Key::parse(&seal.get(&row, columns::SHARED_KEY)?) else { continue };
            let seen = Micros(row.try_get("seen")?);
            match candidates.iter_mut().find(|c| c.id == id) {
                Some(known) => known.shared.push((key, seen)),
                None => {
                    if candidates.len() < 50 {
                        let mut candidate = self.candidate(&mut *conn, id).await?;
                        candidate.shared.push((key, seen));
                        candidates.push(candidate);
                    }
                }
            }
        }
        match correlate::correlate(&facts, &candidates, now) {
            Decision::Join { id, reason, merge } => Ok((id, reason, merge)),
            Decision::New => {
                let row = self.incident_new(&mut *conn, now).await?;
                self.incident_write(&mut *conn, &row).await?;
                let target = incident_target(row.summary.id);
                self.audit(&mut *conn, &target, "Garrison", now, "created", None, None).await?;
                Ok((row.summary.id, "opened this incident".to_owned(), Vec::new()))
            }
        }
    }

    async fn rows_known(&self, conn: &mut AnyConnection, draft: &AlertDraft) -> Result<bool, CaseError> {
        let known = sqlx::query("SELECT 1 AS one FROM incidents_alert WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant().as_str())
            .bind(draft.alert.id.as_str())
            .fetch_optional(&mut *conn)
            .await?;
        if known.is_some() {
            return Ok(true);
        }
        // The last row is the one that made the rule fire; a correlation shares the earlier ones with its forerunner.
        let Some(row) = draft.rows.last() else { return Ok(false) };
        let known = sqlx::query(
            "SELECT 1 AS one FROM incidents_alert_row WHERE tenant_id = $1 AND device_id = $2 AND boot_id = $3 AND \
             report_id = $4 AND rule_id = $5",
        )
        .bind(self.tenant().as_str())
        .bind(draft.alert.machine_id.as_str())
        .bind(row.boot.as_str())
        .bind(row.report_id)
        .bind(draft.alert.detector_id.as_str())
        .fetch_optional(&mut *conn)
        .await?;
        Ok(known.is_some())
    }

    async fn rows_add(&self, conn: &mut AnyConnection, draft: &AlertDraft, alert: &Alert) -> Result<(), CaseError> {
        for row in &draft.rows {
            sqlx::query(
                "INSERT INTO incidents_alert_row (tenant_id, device_id, boot_id, report_id, rule_id, alert_id) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            )
            .bind(self.tenant().as_str())
            .bind(alert.machine_id.as_str())
            .bind(row.boot.as_str())
            .bind(row.report_id)
            .bind(alert.detector_id.as_str())
            .bind(alert.id.as_str())
            .execute(&mut *conn)
            .await?;
        }
        Ok(())
    }

    async fn fold_target(&self, conn: &mut AnyConnection, draft: &AlertDraft) -> Result<Option<Alert>, CaseError> {
        let row = sqlx::query(
            "SELECT * FROM incidents_alert WHERE tenant_id = $1 AND fold_key = $2 AND last_event >= $3 AND \
             (status <> 'Resolved' OR suppressed = 1) ORDER BY last_event DESC LIMIT 1",
        )
        .bind(self.tenant().as_str())
        .bind(self.seal().put(columns::ALERT_FOLD, &found_text(&draft.fold_key))?)
        .bind(parse_time(&draft.alert.first_event_time).saturating_sub(FOLD_WINDOW))
        .fetch_optional(conn)
        .await?;
        row.as_ref().map(|row| super::record::alert_read(&self.seal(), row)).transpose()
    }

    async fn rate_capped(
        &self,
        conn: &mut AnyConnection,
        draft: &AlertDraft,
        now: Micros,
    ) -> Result<Option<Alert>, CaseError> {
        let since = now.0.saturating_sub(FOLD_WINDOW);
        let count: i64 = sqlx::query(
            "SELECT COUNT(*) AS n FROM incidents_alert WHERE tenant_id = $1 AND rule_id = $2 AND created >= $3 AND device_id = $4",
        )
        .bind(self.tenant().as_str())
        .bind(draft.alert.detector_id.as_str())
        .bind(since)
        .bind(draft.alert.machine_id.as_str())
        .fetch_one(&mut *conn)
        .await?
        .try_get("n")?;
        if count < RULE_ALERTS_PER_HOUR_MAX {
            return Ok(None);
        }
        let row = sqlx::query(
            "SELECT * FROM incidents_alert WHERE tenant_id = $1 AND rule_id = $2 AND created >= $3 AND device_id = $4 \
             ORDER BY created DESC, id LIMIT 1",
        )
        .bind(self.tenant().as_str())
        .bind(draft.alert.detector_id.as_str())
        .bind(since)
        .bind(draft.alert.machine_id.as_str())
        .fetch_optional(conn)
        .await?;
        row.as_ref().map(|row| super::record::alert_read(&self.seal(), row)).transpose()
    }

    pub(crate) async fn alert_insert(
        &self,
        conn: &mut AnyConnection,
        draft: &AlertDraft,
        reason: &str,
    ) -> Result<(), CaseError> {
        let (alert, seal) = (&draft.alert, self.seal());
        let lineage = serde_json::to_string(&draft.lineage)
            .map_err(|source| CaseError::Stored { what: format!("alert {}", alert.id), source })?;
        let mut search = [
            alert.title.as_str(),
            alert.computer_dns_name.as_str(),
            alert.detector_id.as_str(),
            alert.category.as_str(),
        ]
        .into_iter()
        .chain(alert.related_user.as_deref())
        .chain(alert.mitre_techniques.iter().map(String::as_str))
        .chain(alert.evidence.iter().filter_map(|e| e.process_command_line.as_deref()))
        .collect::<Vec<_>>()
        .join("\n")
        .to_lowercase();
        // Searching is a scan; command lines are kept to what people type.
        let cut = (0..=search.len().min(4_096)).rev().find(|n| search.is_char_boundary(*n)).unwrap_or(0);
        search.truncate(cut);
        sqlx::query(
            "INSERT INTO incidents_alert (tenant_id, id, incident_id, device_id, device_name, rule_id, severity, status, \
             category, techniques, related_user, title, suppressed, fold_key, match_count, created, updated, first_event, \
             last_event, search, reason, doc, lineage) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
             $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)",
        )
        .bind(self.tenant().as_str())
        .bind(alert.id.as_str())
        .bind(alert.incident_id.0)
        .bind(alert.machine_id.as_str())
        .bind(alert.computer_dns_name.clone())
        .bind(alert.detector_id.as_str())
        .bind(severity_number(alert.severity))
        .bind(alert.status.as_str())
        .bind(alert.category.clone())
        .bind(alert.mitre_techniques.join(","))
        .bind(seal.put_maybe(columns::ALERT_USER, alert.related_user.as_deref())?)
        .bind(seal.put(columns::ALERT_TITLE, &alert.title)?)
        .bind(i64::from(alert.suppressed))
        .bind(self.seal().put(columns::ALERT_FOLD, &found_text(&draft.fold_key))?)
        .bind(alert.match_count)
        .bind(parse_time(&alert.alert_creation_time))
        .bind(parse_time(&alert.last_update_time))
        .bind(parse_time(&alert.first_event_time))
        .bind(parse_time(&alert.last_event_time))
        .bind(seal.put(columns::ALERT_SEARCH, &search)?)
        .bind(seal.put(columns::ALERT_REASON, reason)?)
        .bind(seal.put(columns::ALERT_DOC, &alert_doc(alert)?)?)
        .bind(seal.put(columns::ALERT_LINEAGE, &lineage)?)
        .execute(&mut *conn)
        .await?;
        self.rows_add(conn, draft, alert).await
    }

    pub(crate) async fn keys_add(
        &self,
        conn: &mut AnyConnection,
        draft: &AlertDraft,
        incident: IncidentId,
    ) -> Result<(), CaseError> {
        let seen = parse_time(&draft.alert.last_event_time);
        let facts = correlate::facts(&draft.alert, &draft.lineage, Micros(seen));
        let seal = self.seal();
        for (key, _) in facts.keys {
            sqlx::query(
                "INSERT INTO incidents_key (tenant_id, alert_id, incident_id, shared_key, seen) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (tenant_id, alert_id, shared_key) DO UPDATE SET incident_id = $3, seen = $5",
            )
            .bind(self.tenant().as_str())
            .bind(draft.alert.id.as_str())
            .bind(incident.0)
            .bind(seal.put(columns::SHARED_KEY, &key.text())?)
            .bind(seen)
            .execute(&mut *conn)
            .await?;
        }
        Ok(())
    }

    /// Counts an incident anew and tells of it; nothing for the number 0 of hidden alerts.
    pub(crate) async fn touch(
        &self,
        conn: &mut AnyConnection,
        id: IncidentId,
        now: Micros,
        changes: &mut Vec<CaseChange>,
    ) -> Result<(), CaseError> {
        if id.0 <= 0 {
            return Ok(());
        }
        let row = self.incident_row(&mut *conn, id).await?;
        let row = self.incident_refresh(conn, row, now).await?;
        changes.retain(|c| !matches!(c, CaseChange::Incident(known) if known.id == id));
        changes.push(CaseChange::Incident(Arc::new(row.summary)));
        Ok(())
    }
}

/// Adds a repeat to an alert.
fn fold(known: &mut Alert, more: Alert, now: Micros) {
    known.match_count = known.match_count.saturating_add(more.match_count);
    if parse_time(&more.last_event_time) > parse_time(&known.last_event_time) {
        known.last_event_time = more.last_event_time;
    }
    if parse_time(&more.first_event_time) < parse_time(&known.first_event_time) {
        known.first_event_time = more.first_event_time;
    }
    known.last_update_time = time(now.0);
    let room = ALERT_MATCHES_MAX.saturating_sub(known.matches.len());
    known.matches.extend(more.matches.into_iter().take(room));
    evidence::merge(&mut known.evidence, more.evidence);
}

/// Whether a scope hides an alert, by the rows copied into it.
pub(crate) fn hides(scope: &SuppressionScope, alert: &Alert) -> bool {
    suppression::covers(scope, &alert.detector_id, &alert.machine_id, alert.matches.iter().map(|m| &m.row))
}
