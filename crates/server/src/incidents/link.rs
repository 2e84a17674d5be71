//! Alerts that an analyst made of the rows of a hunt, put where the analyst says: no correlation, no suppression, no
//! folding.

use super::record::{alert_target, incident_target};
use super::{AlertDraft, CaseChange, CaseError, Incidents, correlate};
use garrison_model::{AlertId, IncidentId, Micros};
use std::sync::Arc;

/// What became of linked rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// Where they are.
    pub incident: IncidentId,
    /// Whether the incident is new.
    pub created: bool,
    /// Their alerts, one a device.
    pub alerts: Vec<AlertId>,
    /// Alerts that were there, from the same rows linked before.
    pub known: usize,
}

impl Incidents {
    /// Puts alerts into an incident, or into a new one of this title; all in one transaction. What was linked before in
    /// the same words stays where it is, so that asking twice changes nothing.
    pub async fn alerts_link(
        &self,
        drafts: Vec<AlertDraft>,
        to: Option<IncidentId>,
        title: &str,
        who: &str,
        now: Micros,
    ) -> Result<Linked, CaseError> {
        let _writer = self.writer.lock().await;
        let mut tx = self.shared.db.write().await?;
        let alerts: Vec<AlertId> = drafts.iter().map(|draft| draft.alert.id.clone()).collect();
        let (mut fresh, mut home) = (Vec::new(), None);
        for draft in drafts {
            match self.alert_row(tx.conn(), &draft.alert.id).await {
                Ok(known) => home = Some(known.incident_id),
                Err(CaseError::AlertUnknown) => fresh.push(draft),
                Err(error) => return Err(error),
            }
        }
        let known = alerts.len() - fresh.len();
        if let (true, Some(incident)) = (fresh.is_empty(), home) {
            return Ok(Linked { incident, created: false, alerts, known });
        }
        let (incident, created) = match to.or(home) {
            Some(id) => {
                let row = self.incident_row(tx.conn(), id).await?;
                if let Some(redirect) = row.summary.redirect_incident_id {
                    return Err(CaseError::Redirected(id, redirect));
                }
                let count = usize::try_from(row.summary.alert_count).unwrap_or(usize::MAX);
                if count.saturating_add(fresh.len()) > correlate::ALERTS_MAX {
                    return Err(CaseError::Full(id, correlate::ALERTS_MAX));
                }
                (id, false)
            }
            None => {
                let mut row = self.incident_new(tx.conn(), now).await?;
                title.clone_into(&mut row.summary.title);
                row.title_given = true;
                self.incident_write(tx.conn(), &row).await?;
                let target = incident_target(row.summary.id);
                self.audit(tx.conn(), &target, who, now, "created", None, None).await?;
                (row.summary.id, true)
            }
        };
        let mut changes = Vec::new();
        for mut draft in fresh {
            draft.alert.incident_id = incident;
            self.alert_insert(tx.conn(), &draft, &format!("linked from hunting by {who}")).await?;
            self.keys_add(tx.conn(), &draft, incident).await?;
            let id = draft.alert.id.clone();
            self.audit(tx.conn(), &alert_target(&id), who, now, "created", None, None).await?;
            let (target, id) = (incident_target(incident), Some(id.to_string()));
            self.audit(tx.conn(), &target, who, now, "linkedFromHunting", None, id).await?;
            draft.alert.matches.clear();
            changes.push(CaseChange::Alert(Arc::new(draft.alert)));
        }
        self.touch(tx.conn(), incident, now, &mut changes).await?;
        tx.commit().await?;
        changes.into_iter().for_each(|change| self.tell(change));
        Ok(Linked { incident, created, alerts, known })
    }
}
