//! Where records come from: one function a kind. Each gives what comes after a place (time, id), oldest first.

use super::{ExportError, Exports, Record, What};
use crate::health::judge::Judged;
use crate::incidents::AlertFilter;
use crate::incidents::list::Sort;
use crate::recommend::State;
use crate::shared::rfc3339;
use garrison_model::{ExtensionState, HealthState, Machine, Micros, Severity};
use serde_json::json;

/// A place in the stream of one kind: microseconds and id of the last record.
pub type Place = (i64, String);

/// Microseconds of a time that the API wrote.
fn micros(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().map_or(0, |t| t.as_microsecond())
}

/// What a machine's health became.
fn health_record(m: &Machine, judged: &Judged, since: Micros, subject: String) -> Record {
    let is_ill = judged.state == HealthState::Unhealthy;
    let first = judged.findings.first();
    Record {
        id: format!("{subject}@{}", since.0),
        what: What::Findings,
        at: since.0,
        time: rfc3339(since),
        snapshot: false,
        severity: if is_ill { Severity::Medium } else { Severity::Informational },
        rule: first.map_or_else(|| "health".to_owned(), |f| format!("health-{}", f.code)),
        title: format!("{} is {}", m.name, judged.state),
        text: first.map_or_else(String::new, |f| f.message.clone()),
        status: if is_ill { "New" } else { "Resolved" }.to_owned(),
        host: m.name.to_string(),
        host_id: m.id.to_string(),
        data: json!({"machineId": m.id, "resourceId": m.resource_id, "health": judged.state,
            "findings": judged.findings}),
        subject,
    }
}

impl Exports {
    /// The next records of a kind, those changed before `before`, at most `limit`.
    pub(super) async fn records(
        &self,
        what: What,
        after: &Place,
        before: i64,
        limit: usize,
    ) -> Result<Vec<Record>, ExportError> {
        match what {
            What::Alerts => self.alerts(after, before, limit).await,
            What::Findings => self.findings(after, before, limit).await,
            What::Recommendations => self.recommendations(after, before, limit).await,
        }
    }

    /// Records of a kind after a place, roughly: what waits.
    pub(super) async fn waiting(&self, what: What, after: &Place) -> Result<i64, ExportError> {
        if what != What::Alerts {
            return Ok(0);
        }
        let filter =
            AlertFilter { since: Some(after.0 + 1), suppressed: Some(false), limit: 1, ..AlertFilter::default() };
        Ok(self.incidents.alert_list(&filter).await?.total)
    }

    async fn alerts(&self, after: &Place, before: i64, limit: usize) -> Result<Vec<Record>, ExportError> {
        let filter = AlertFilter {
            suppressed: Some(false),
            sort: Sort::LastUpdate,
            after: Some(after.clone()),
            limit,
            ..AlertFilter::default()
        };
        let listed = self.incidents.alert_list(&filter).await?;
        let records = listed.items.into_iter().map(|a| {
            let at = micros(&a.last_update_time);
            Record {
                id: format!("{}@{at}", a.id),
                subject: a.id.to_string(),
                what: What::Alerts,
                at,
                time: a.last_update_time.clone(),
                snapshot: false,
                severity: a.severity,
                rule: a.detector_id.to_string(),
                title: a.title.clone(),
                text: a.description.clone(),
                status: a.status.to_string(),
                host: a.computer_dns_name.clone(),
                host_id: a.machine_id.to_string(),
                data: serde_json::to_value(&a).unwrap_or_default(),
            }
        });
        Ok(records.take_while(|r| r.at < before).collect())
    }

    /// Extensions that failed, with code, words and what to do; and machines whose health became another one, well again
    /// among them.
    async fn findings(&self, after: &Place, before: i64, limit: usize) -> Result<Vec<Record>, ExportError> {
        let shared = &self.shared;
        let book = crate::health::kept(&shared.db, &shared.tenant).await?;
        let mut found = Vec::new();
        shared
            .plane
            .machines_walk(&shared.tenant, self.now(), |m| {
                let comes = |at: i64, subject: &String| at < before && (at, subject) > (after.0, &after.1);
                if let Some((judged, since)) = book.get(&m.id) {
                    let subject = format!("{}/health", m.id);
                    if comes(since.0, &subject) {
                        found.push(health_record(&m, judged, *since, subject));
                    }
                }
                for e in m.extensions.iter().filter(|e| e.state == ExtensionState::Failed) {
                    let (at, subject) = (micros(&e.updated_time), format!("{}/{}", m.id, e.name));
                    if !comes(at, &subject) {
                        continue;
                    }
                    found.push(Record {
                        id: format!("{subject}@{at}"),
                        what: What::Findings,
                        at,
                        time: e.updated_time.clone(),
                        snapshot: false,
                        severity: Severity::Medium,
                        rule: format!("extension-{}", e.code),
                        title: format!("{} is not installed on {}", e.name, m.name),
                        text: e.message.clone(),
                        status: "New".to_owned(),
                        host: m.name.to_string(),
                        host_id: m.id.to_string(),
                        data: json!({"machineId": m.id, "resourceId": m.resource_id, "extension": e.name,
                            "code": e.code, "message": e.message, "fix": e.fix}),
                        subject,
                    });
                }
            })
            .await?;
        found.sort_by(|a, b| (a.at, &a.subject).cmp(&(b.at, &b.subject)));
        found.truncate(limit);
        Ok(found)
    }

    /// Machines that came into another state under a recommendation. In a snapshot, the state that each is in.
    async fn recommendations(&self, after: &Place, before: i64, limit: usize) -> Result<Vec<Record>, ExportError> {
        let found = self.recommend.states_after(after, before, limit).await?;
        let records = found.into_iter().map(|c| {
            let (summary, subject) = (c.key.summary(), format!("{}/{}", c.machine, c.key));
            let first = c.told.findings.first();
            Record {
                id: format!("{subject}@{}", c.changed),
                what: What::Recommendations,
                at: c.changed,
                time: rfc3339(Micros(c.changed)),
                snapshot: false,
                severity: if c.state == State::Unhealthy {
                    summary.severity.parse().unwrap_or(Severity::Medium)
                } else {
                    Severity::Informational
                },
                rule: c.key.to_string(),
                title: format!("{}: {} is {}", summary.title, c.told.name, c.state),
                text: first.map_or_else(|| c.told.reason.clone(), |f| format!("{}; {}", c.told.reason, f.message)),
                status: c.state.to_string(),
                host: c.told.name.clone(),
                host_id: c.machine.clone(),
                data: json!({"machineId": c.machine, "resourceId": c.told.resource_id, "recommendation": c.key,
                    "title": summary.title, "description": summary.description, "state": c.state, "before": c.before,
                    "reason": c.told.reason, "findings": c.told.findings, "discovered": c.told.discovered}),
                subject,
            }
        });
        Ok(records.collect())
    }
}
