//! Merging incidents, and moving an alert from one to another.

use super::record::{alert_target, incident_target, time};
use super::{CaseChange, CaseError, Incidents};
use crate::db::columns;
use crate::incidents::correlate;
use garrison_model::{Alert, AlertId, IncidentId, IncidentStatus, IncidentSummary, Micros};
use sqlx::{AnyConnection, Row as _};
use std::sync::Arc;

/// The tag of an incident that was merged away.
pub const REDIRECTED_TAG: &str = "Redirected";

impl Incidents {
    /// Merges one incident into another, by hand. Answers the target.
    pub async fn merge(
        &self,
        from: IncidentId,
        into: IncidentId,
        who: &str,
        now: Micros,
    ) -> Result<IncidentSummary, CaseError> {
        let _writer = self.writer.lock().await;
        let mut tx = self.shared.db.write().await?;
        if from == into {
            return Err(CaseError::Merge { from, into, why: "they are the same" });
        }
        let a = self.candidate(tx.conn(), from).await?;
        let b = self.candidate(tx.conn(), into).await?;
        let open = |c: &correlate::Candidate| matches!(c.status, IncidentStatus::Active | IncidentStatus::InProgress);
        let why = if !open(&a) || !open(&b) {
            Some("one of them is closed")
        } else if a.assigned_to.is_some() && b.assigned_to.is_some() && a.assigned_to != b.assigned_to {
            Some("they are assigned to different people")
        } else if a.classification != b.classification || a.determination != b.determination {
            Some("they are classified differently")
        } else if a.entity_count + b.entity_count > correlate::ENTITIES_MAX {
            Some("together they have too many entities")
        } else if a.alert_count + b.alert_count > correlate::ALERTS_MAX {
            Some("together they have too many alerts")
        } else {
            None
        };
        if let Some(why) = why {
            return Err(CaseError::Merge { from, into, why });
        }
        let source = self.merge_in(tx.conn(), from, into, who, now).await?;
        let mut changes = vec![CaseChange::Incident(Arc::new(source))];
        self.touch(tx.conn(), into, now, &mut changes).await?;
        let summary = self.incident_row(tx.conn(), into).await?.summary;
        tx.commit().await?;
        changes.into_iter().for_each(|change| self.tell(change));
        Ok(summary)
    }

    /// Moves everything of `from` to `into`; the caller has checked that it may be, and refreshes the target. Answers
    /// the source as it is left behind.
    pub(crate) async fn merge_in(
        &self,
        conn: &mut AnyConnection,
        from: IncidentId,
        into: IncidentId,
        who: &str,
        now: Micros,
    ) -> Result<IncidentSummary, CaseError> {
        let tenant = self.tenant().as_str().to_owned();
        sqlx::query(
            "UPDATE incidents_alert SET incident_id = $3, updated = $4 WHERE tenant_id = $1 AND incident_id = $2",
        )
        .bind(tenant.clone())
        .bind(from.0)
        .bind(into.0)
        .bind(now.0)
        .execute(&mut *conn)
        .await?;
        sqlx::query("UPDATE incidents_key SET incident_id = $3 WHERE tenant_id = $1 AND incident_id = $2")
            .bind(tenant.clone())
            .bind(from.0)
            .bind(into.0)
            .execute(&mut *conn)
            .await?;
        sqlx::query("UPDATE incidents_comment SET target = $3 WHERE tenant_id = $1 AND target = $2")
            .bind(tenant)
            .bind(incident_target(from))
            .bind(incident_target(into))
            .execute(&mut *conn)
            .await?;
        let mut source = self.incident_row(&mut *conn, from).await?;
        let mut target = self.incident_row(&mut *conn, into).await?;
        for tag in &source.summary.tags {
            if !target.summary.tags.contains(tag) && target.summary.tags.len() < super::update::TAGS_MAX {
                target.summary.tags.push(tag.clone());
            }
        }
        if target.summary.assigned_to.is_none() {
            target.summary.assigned_to.clone_from(&source.summary.assigned_to);
        }
        self.incident_write(&mut *conn, &target).await?;
        source.summary.status = IncidentStatus::Redirected;
        source.summary.redirect_incident_id = Some(into);
        source.summary.tags = vec![REDIRECTED_TAG.to_owned()];
        let mut source = self.incident_refresh(&mut *conn, source, now).await?;
        source.summary.last_update_time = time(now.0);
        let (old, new) = (incident_target(from), incident_target(into));
        self.audit(&mut *conn, &old, who, now, "mergedInto", None, Some(into.to_string())).await?;
        self.audit(&mut *conn, &new, who, now, "mergedFrom", None, Some(from.to_string())).await?;
        Ok(source.summary)
    }

    /// Moves an alert to another incident, or to a new one (`None`).
    pub async fn alert_move(
        &self,
        id: &AlertId,
        to: Option<IncidentId>,
        who: &str,
        now: Micros,
    ) -> Result<Alert, CaseError> {
        let _writer = self.writer.lock().await;
        let mut tx = self.shared.db.write().await?;
        let mut alert = self.alert_row(tx.conn(), id).await?;
        let from = alert.incident_id;
        let into = match to {
            Some(into) => {
                let row = self.incident_row(tx.conn(), into).await?;
                if let Some(redirect) = row.summary.redirect_incident_id {
                    return Err(CaseError::Redirected(into, redirect));
                }
                if usize::try_from(row.summary.alert_count).unwrap_or(usize::MAX) >= correlate::ALERTS_MAX {
                    return Err(CaseError::Merge { from, into, why: "the target has too many alerts" });
                }
                into
            }
            None => {
                let row = self.incident_new(tx.conn(), now).await?;
                self.incident_write(tx.conn(), &row).await?;
                row.summary.id
            }
        };
        let mut changes = Vec::new();
        if from != into {
            alert.incident_id = into;
            alert.last_update_time = time(now.0);
            self.alert_write(tx.conn(), &alert).await?;
            sqlx::query("UPDATE incidents_key SET incident_id = $3 WHERE tenant_id = $1 AND alert_id = $2")
                .bind(self.tenant().as_str())
                .bind(id.as_str())
                .bind(into.0)
                .execute(tx.conn())
                .await?;
            sqlx::query("UPDATE incidents_alert SET reason = $3 WHERE tenant_id = $1 AND id = $2")
                .bind(self.tenant().as_str())
                .bind(id.as_str())
                .bind(self.seal().put(columns::ALERT_REASON, &format!("moved here by {who}"))?)
                .execute(tx.conn())
                .await?;
            let (old, new) = (from.to_string(), into.to_string());
            self.audit(tx.conn(), &alert_target(id), who, now, "incident", Some(old), Some(new)).await?;
            self.touch(tx.conn(), from, now, &mut changes).await?;
            self.touch(tx.conn(), into, now, &mut changes).await?;
            self.close_if_empty(tx.conn(), from, who, now, &mut changes).await?;
        }
        let comments = self.comments(tx.conn(), &alert_target(id)).await?;
        tx.commit().await?;
        let mut told = alert.clone();
        told.matches.clear();
        changes.push(CaseChange::Alert(Arc::new(told)));
        changes.into_iter().for_each(|change| self.tell(change));
        alert.comments = comments;
        Ok(alert)
    }

    /// An incident that lost its last alert has nothing left to work on.
    async fn close_if_empty(
        &self,
        conn: &mut AnyConnection,
        id: IncidentId,
        who: &str,
        now: Micros,
        changes: &mut Vec<CaseChange>,
    ) -> Result<(), CaseError> {
        if id.0 <= 0 {
            return Ok(());
        }
        let count: i64 =
            sqlx::query("SELECT COUNT(*) AS n FROM incidents_alert WHERE tenant_id = $1 AND incident_id = $2")
                .bind(self.tenant().as_str())
                .bind(id.0)
                .fetch_one(&mut *conn)
                .await?
                .try_get("n")?;
        let mut row = self.incident_row(&mut *conn, id).await?;
        if count == 0 && row.summary.redirect_incident_id.is_none() {
            let old = row.summary.status;
            row.summary.status = IncidentStatus::Resolved;
            self.incident_write(&mut *conn, &row).await?;
            let (old, new) = (old.to_string(), row.summary.status.to_string());
            self.audit(conn, &incident_target(id), who, now, "status", Some(old), Some(new)).await?;
            changes.retain(|c| !matches!(c, CaseChange::Incident(known) if known.id == id));
            changes.push(CaseChange::Incident(Arc::new(row.summary)));
        }
        Ok(())
    }
}
