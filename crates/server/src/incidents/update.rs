//! The work of analysts: status, assignment, classification, comments, titles and tags, each change recorded.
//!
//! How a change spreads: resolving an incident resolves its alerts; classifying or assigning an incident does the same
//! to its alerts that are not resolved by an earlier decision of their own; resolving the last open alert resolves the
//! incident; reopening an alert reopens its incident. Nothing else spreads.

use super::record::{IncidentRow, alert_target, incident_target, time};
use super::{CaseChange, CaseError, Incidents};
use garrison_model::{
    Alert, AlertId, AlertStatus, CaseUpdate, Classification, Determination, IncidentId, IncidentStatus, Micros,
};
use sqlx::{AnyConnection, Row as _};
use std::sync::Arc;

/// Characters of a comment; the model documents it.
pub const COMMENT_CHARS_MAX: usize = 4_096;
/// Characters of a title.
pub const TITLE_CHARS_MAX: usize = 256;
/// Tags of an incident.
pub const TAGS_MAX: usize = 20;
/// Characters of a tag, and of an assignee.
pub const TAG_CHARS_MAX: usize = 64;

fn text_check(what: &'static str, text: &str, max: usize) -> Result<(), CaseError> {
    let count = text.trim().chars().count();
    if count == 0 || text.chars().count() > max { Err(CaseError::Text { what, max }) } else { Ok(()) }
}

/// The classification and determination after a change. Pure: the matrix is tested.
pub fn classified(
    now: (Option<Classification>, Option<Determination>),
    change: (Option<Classification>, Option<Determination>),
) -> Result<(Option<Classification>, Option<Determination>), CaseError> {
    let classification = change.0.or(now.0);
    let determination = match change.1 {
        Some(determination) => {
            if !classification.is_some_and(|c| determination.fits(c)) {
                return Err(CaseError::Determination { determination, classification });
            }
            Some(determination)
        }
        // The old finer word stays only where it still fits the new classification.
        None => now.1.filter(|d| classification.is_some_and(|c| d.fits(c))),
    };
    Ok((classification, determination))
}

fn assignee(text: &str) -> Result<Option<String>, CaseError> {
    if text.is_empty() {
        return Ok(None);
    }
    text_check("assignedTo", text, TAG_CHARS_MAX)?;
    Ok(Some(text.to_owned()))
}

impl Incidents {
    /// Changes an alert.
    pub async fn alert_update(
        &self,
        id: &AlertId,
        update: &CaseUpdate,
        who: &str,
        now: Micros,
    ) -> Result<Alert, CaseError> {
        if update.title.is_some() {
            return Err(CaseError::IncidentOnly("title"));
        }
        if update.tags.is_some() {
            return Err(CaseError::IncidentOnly("tags"));
        }
        if let Some(comment) = &update.comment {
            text_check("a comment", comment, COMMENT_CHARS_MAX)?;
        }
        let status = update
            .status
            .as_deref()
            .map(|text| match text.parse::<AlertStatus>() {
                Ok(AlertStatus::Unknown) | Err(_) => Err(CaseError::Status(text.chars().take(40).collect())),
                Ok(status) => Ok(status),
            })
            .transpose()?;
        let _writer = self.writer.lock().await;
        let mut tx = self.shared.db.write().await?;
        let mut alert = self.alert_row(tx.conn(), id).await?;
        let class = (alert.classification, alert.determination);
        let (classification, determination) = classified(class, (update.classification, update.determination))?;
        let assigned = match &update.assigned_to {
            Some(text) => assignee(text)?,
            None => alert.assigned_to.clone(),
        };
        let status = status.unwrap_or(alert_status(&alert));
        self.alert_change(tx.conn(), &mut alert, status, assigned, classification, determination, who, now).await?;
        if let Some(comment) = &update.comment {
            self.comment_add(tx.conn(), &alert_target(id), comment, who, now).await?;
        }
        let mut changes = Vec::new();
        self.touch(tx.conn(), alert.incident_id, now, &mut changes).await?;
        self.incident_follow(tx.conn(), alert.incident_id, now, &mut changes).await?;
        alert.comments = self.comments(tx.conn(), &alert_target(id)).await?;
        tx.commit().await?;
        let mut told = alert.clone();
        told.matches.clear();
        changes.push(CaseChange::Alert(Arc::new(told)));
        changes.into_iter().for_each(|change| self.tell(change));
        Ok(alert)
    }

    async fn alert_change(
        &self,
        conn: &mut AnyConnection,
        alert: &mut Alert,
        status: AlertStatus,
        assigned_to: Option<String>,
        classification: Option<Classification>,
        determination: Option<Determination>,
        who: &str,
        now: Micros,
    ) -> Result<(), CaseError> {
        let target = alert_target(&alert.id);
        let changed = [
            ("status", Some(alert.status.to_string()), Some(status.to_string())),
            ("assignedTo", alert.assigned_to.clone(), assigned_to.clone()),
            ("classification", alert.classification.map(|c| c.to_string()), classification.map(|c| c.to_string())),
            ("determination", alert.determination.map(|d| d.to_string()), determination.map(|d| d.to_string())),
        ];
        for (what, old, new) in changed {
            if old != new {
                self.audit(&mut *conn, &target, who, now, what, old, new).await?;
            }
        }
        if status == AlertStatus::Resolved && alert.status != AlertStatus::Resolved {
            alert.resolved_time = Some(time(now.0));
        }
        if status != AlertStatus::Resolved {
            alert.resolved_time = None;
        }
        alert.status = status;
        alert.assigned_to = assigned_to;
        alert.classification = classification;
        alert.determination = determination;
        alert.last_update_time = time(now.0);
        self.alert_write(conn, alert).await
    }

    /// Brings an incident's status after its alerts': all resolved, or one reopened.
    async fn incident_follow(
        &self,
        conn: &mut AnyConnection,
        id: IncidentId,
        now: Micros,
        changes: &mut Vec<CaseChange>,
    ) -> Result<(), CaseError> {
        if id.0 <= 0 {
            return Ok(());
        }
        let mut row = self.incident_row(&mut *conn, id).await?;
        let s = &mut row.summary;
        let open = matches!(s.status, IncidentStatus::Active | IncidentStatus::InProgress);
        let status = match (open, s.active_alert_count) {
            (true, 0) if s.alert_count > 0 => IncidentStatus::Resolved,
            (false, 1..) if s.status == IncidentStatus::Resolved => IncidentStatus::Active,
            _ => return Ok(()),
        };
        let old = s.status.to_string();
        s.status = status;
        s.last_update_time = time(now.0);
        self.incident_write(&mut *conn, &row).await?;
        self.audit(conn, &incident_target(id), "Garrison", now, "status", Some(old), Some(status.to_string())).await?;
        changes.retain(|c| !matches!(c, CaseChange::Incident(known) if known.id == id));
        changes.push(CaseChange::Incident(Arc::new(row.summary)));
        Ok(())
    }

    /// Changes an incident.
    pub async fn incident_update(
        &self,
        id: IncidentId,
        update: &CaseUpdate,
        who: &str,
        now: Micros,
    ) -> Result<(), CaseError> {
        if let Some(title) = &update.title {
            text_check("a title", title, TITLE_CHARS_MAX)?;
        }
        if let Some(comment) = &update.comment {
            text_check("a comment", comment, COMMENT_CHARS_MAX)?;
        }
        if let Some(tags) = &update.tags {
            if tags.len() > TAGS_MAX {
                return Err(CaseError::TooManyTags(TAGS_MAX));
            }
            tags.iter().try_for_each(|tag| text_check("a tag", tag, TAG_CHARS_MAX))?;
        }
        let status = update
            .status
            .as_deref()
            .map(|text| match text.parse::<IncidentStatus>() {
                Ok(IncidentStatus::Redirected) | Err(_) => Err(CaseError::Status(text.chars().take(40).collect())),
                Ok(status) => Ok(status),
            })
            .transpose()?;
        let _writer = self.writer.lock().await;
        let mut tx = self.shared.db.write().await?;
        let before = self.incident_row(tx.conn(), id).await?;
        if let Some(into) = before.summary.redirect_incident_id {
            return Err(CaseError::Redirected(id, into));
        }
        let mut after: IncidentRow = before.clone();
        let s = &mut after.summary;
        let class = (s.classification, s.determination);
        (s.classification, s.determination) = classified(class, (update.classification, update.determination))?;
        if let Some(text) = &update.assigned_to {
            s.assigned_to = assignee(text)?;
        }
        if let Some(status) = status {
            s.status = status;
        }
        if let Some(title) = &update.title {
            s.title = title.trim().to_owned();
            after.title_given = true;
        }
        if let Some(tags) = &update.tags {
            s.tags.clear();
            for tag in tags {
                let tag = tag.trim().to_owned();
                if !s.tags.contains(&tag) {
                    s.tags.push(tag);
                }
            }
        }
        s.last_update_time = time(now.0);
        let target = incident_target(id);
        let (old, new) = (&before.summary, &after.summary);
        let changed = [
            ("status", Some(old.status.to_string()), Some(new.status.to_string())),
            ("assignedTo", old.assigned_to.clone(), new.assigned_to.clone()),
            ("classification", old.classification.map(|c| c.to_string()), new.classification.map(|c| c.to_string())),
            ("determination", old.determination.map(|d| d.to_string()), new.determination.map(|d| d.to_string())),
            ("title", Some(old.title.clone()), Some(new.title.clone())),
            ("tags", Some(old.tags.join(", ")), Some(new.tags.join(", "))),
        ];
        for (what, old, new) in changed {
            if old != new {
                self.audit(tx.conn(), &target, who, now, what, old, new).await?;
            }
        }
        self.incident_write(tx.conn(), &after).await?;
        let mut changes = self.spread(tx.conn(), &before, &after, update, who, now).await?;
        if let Some(comment) = &update.comment {
            self.comment_add(tx.conn(), &target, comment, who, now).await?;
        }
        self.touch(tx.conn(), id, now, &mut changes).await?;
        tx.commit().await?;
        changes.into_iter().for_each(|change| self.tell(change));
        Ok(())
    }

    async fn spread(
        &self,
        conn: &mut AnyConnection,
        before: &IncidentRow,
        after: &IncidentRow,
        update: &CaseUpdate,
        who: &str,
        now: Micros,
    ) -> Result<Vec<CaseChange>, CaseError> {
        let (old, new) = (&before.summary, &after.summary);
        let resolve = new.status == IncidentStatus::Resolved && old.status != IncidentStatus::Resolved;
        let classify = update.classification.is_some() || update.determination.is_some();
        let assign = update.assigned_to.is_some();
        let mut changes = Vec::new();
        if !(resolve || classify || assign) {
            return Ok(changes);
        }
        let rows = sqlx::query("SELECT id FROM incidents_alert WHERE tenant_id = $1 AND incident_id = $2")
            .bind(self.tenant().as_str())
            .bind(new.id.0)
            .fetch_all(&mut *conn)
            .await?;
        for row in rows {
            let Ok(id) = AlertId::new(row.try_get::<String, _>("id")?) else { continue };
            let mut alert = self.alert_row(&mut *conn, &id).await?;
            // An alert that somebody closed with a finding of its own keeps it.
            let decided = alert.status == AlertStatus::Resolved && alert.classification.is_some();
            let status = if resolve { AlertStatus::Resolved } else { alert.status };
            let assigned = if assign { new.assigned_to.clone() } else { alert.assigned_to.clone() };
            let (classification, determination) = if classify && !decided {
                (new.classification, new.determination)
            } else {
                (alert.classification, alert.determination)
            };
            self.alert_change(&mut *conn, &mut alert, status, assigned, classification, determination, who, now)
                .await?;
            alert.matches.clear();
            changes.push(CaseChange::Alert(Arc::new(alert)));
        }
        Ok(changes)
    }

    /// Adds a comment to an incident.
    pub async fn incident_comment(&self, id: IncidentId, text: &str, who: &str, now: Micros) -> Result<(), CaseError> {
        let update = CaseUpdate { comment: Some(text.to_owned()), ..CaseUpdate::default() };
        self.incident_update(id, &update, who, now).await
    }

    /// Adds a comment to an alert.
    pub async fn alert_comment(&self, id: &AlertId, text: &str, who: &str, now: Micros) -> Result<Alert, CaseError> {
        let update = CaseUpdate { comment: Some(text.to_owned()), ..CaseUpdate::default() };
        self.alert_update(id, &update, who, now).await
    }
}

fn alert_status(alert: &Alert) -> AlertStatus {
    alert.status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_classification_and_determination_is_judged_by_the_table() {
        for classification in Classification::ALL {
            for determination in Determination::ALL {
                let got = classified((None, None), (Some(*classification), Some(*determination)));
                assert_eq!(got.is_ok(), determination.fits(*classification), "{classification} {determination}");
            }
        }
    }

    #[test]
    fn a_determination_needs_a_classification() {
        assert!(classified((None, None), (None, Some(Determination::Malware))).is_err());
        let known = (Some(Classification::TruePositive), None);
        let got = classified(known, (None, Some(Determination::Malware))).unwrap();
        assert_eq!(got, (Some(Classification::TruePositive), Some(Determination::Malware)));
    }

    #[test]
    fn a_new_classification_drops_the_determination_that_no_longer_fits() {
        let known = (Some(Classification::TruePositive), Some(Determination::Malware));
        let got = classified(known, (Some(Classification::FalsePositive), None)).unwrap();
        assert_eq!(got, (Some(Classification::FalsePositive), None));
        let known = (Some(Classification::TruePositive), Some(Determination::Other));
        let got = classified(known, (Some(Classification::FalsePositive), None)).unwrap();
        assert_eq!(got, (Some(Classification::FalsePositive), Some(Determination::Other)));
    }
}
