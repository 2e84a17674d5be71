//! Retro-hunts in the history of hunting, with what started them.

use super::store::{self, Record};
use super::{Retro, RetroError, RetroState};
use crate::hunting::resources::{Figures, Usage};
use crate::hunting::store::{HistoryEntry, HistoryOrigin, history_write};
use crate::hunting::{Interface, Resources, RunState};
use crate::shared::rfc3339;
use garrison_model::Micros;

/// What a retro-hunt's failure is called in the history.
const FAILED: &str = "retro_hunt_failed";

impl Retro {
    /// Writes down that a hunt has ended. Rows and matches are of all its days; the time is of this turn, which after a
    /// restart is the last one.
    pub(super) async fn history_note(&self, id: &str, began: Micros) -> Result<(), RetroError> {
        let record = store::one(&self.shared, id).await?;
        let state = match record.state {
            RetroState::Completed => RunState::Completed,
            RetroState::Cancelled => RunState::Cancelled,
            RetroState::Failed => RunState::Failed,
            RetroState::Queued | RetroState::Running => return Ok(()),
        };
        let (mut tables, query) = self.reads(&record).await;
        tables.sort_unstable();
        tables.dedup();
        let ended = Micros((self.clock)().0.max(began.0));
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let resources = Resources {
            // Its own ids have a prefix; the rest is one of ours.
            id: id.strip_prefix("rh-").and_then(|id| id.parse().ok()).unwrap_or_default(),
            started: rfc3339(began),
            duration_ms: count(ended.0.saturating_sub(began.0)) / 1_000,
            interface: Interface::RetroHunt,
            user: record.created_by.clone(),
            state,
            usage: Usage::Low,
            figures: Figures { rows_scanned: count(record.counts.0), ..Figures::default() },
            rows_returned: count(record.counts.1),
            bytes_returned: 0,
            tables,
        };
        let entry = HistoryEntry {
            tenant: self.shared.tenant.clone(),
            began,
            ended,
            query: words(&record, query.as_deref()),
            error: (record.state == RetroState::Failed).then(|| FAILED.to_owned()),
            origin: Some(HistoryOrigin {
                kind: record.kind.as_str().to_owned(),
                target: record.target,
                title: record.title,
                retro_hunt_id: record.id,
            }),
            resources,
        };
        Ok(history_write(&self.shared, &[entry]).await?)
    }
}

/// What stands for the query: the detection's own, below a line that says what was hunted for.
fn words(record: &Record, query: Option<&str>) -> String {
    let line: String = record.title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let head = format!("// Retro-hunt for the {} {} ({line})", record.kind.as_str(), record.target);
    match query {
        Some(query) => format!("{head}\n{query}"),
        None => head,
    }
}
