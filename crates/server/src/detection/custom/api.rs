//! What others ask of custom detections, in the API's shapes.

use super::alerts::ROWS_MAX;
use super::definition::{Definition, DefinitionError, Frequency};
use super::queries::Ask;
use super::store::{self, Stored, shown};
use super::{Custom, CustomError, RULES_MAX, Run, RunKind, RunState, schedule};
use garrison_model::Micros;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Days that a test looks back.
pub const TEST_DAYS: i64 = 30;
/// Rows shown by a test.
const PREVIEW_ROWS: usize = 100;
/// What is said of actions for now.
const ACTIONS_NOTE: &str = "takes effect once response exists";

/// A detection made of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomDetection {
    /// Id; the rule id of its alerts.
    pub id: String,
    /// What it says.
    #[serde(flatten)]
    pub definition: Definition,
    /// Set where actions are attached: when they will take effect.
    pub actions_note: Option<String>,
    /// Its last run.
    pub last_run: Option<RunView>,
    /// When its next window is over; none for continuous rules and those that are off.
    pub next_run_time: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_time: String,
    /// Who changed it last.
    pub updated_by: String,
    /// When.
    pub updated_time: String,
}

/// A run, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Id.
    pub id: String,
    /// Why it ran.
    pub kind: RunKind,
    /// How it ended.
    pub state: RunState,
    /// First moment it looked at.
    pub from: String,
    /// Moment after the last.
    pub to: String,
    /// When it began.
    pub started: String,
    /// Time it took, milliseconds.
    pub duration_ms: i64,
    /// Rows of the answer.
    pub rows: i64,
    /// New alerts.
    pub alerts: i64,
    /// Rows whose event had made an alert before.
    pub repeated: i64,
    /// Whether the cap of alerts for one run was hit.
    pub capped: bool,
    /// Why it failed.
    pub error: Option<String>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        Self {
            id: run.id,
            kind: run.kind,
            state: run.state,
            from: shown(run.window.from),
            to: shown(run.window.to),
            started: shown(run.started),
            duration_ms: run.ended.saturating_sub(run.started).max(0) / 1_000,
            rows: run.rows,
            alerts: run.alerts,
            repeated: run.repeated,
            capped: run.capped,
            error: Some(run.error).filter(|e| !e.is_empty()),
        }
    }
}

/// What a test found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// Rows of the past 30 days.
    pub rows: i64,
    /// Whether there are more than were counted.
    pub more: bool,
    /// Alerts that they would make at most, before repeats are folded.
    pub alerts: i64,
    /// Whether one run would hit the cap.
    pub capped: bool,
    /// Columns of the answer.
    pub columns: Vec<String>,
    /// The first rows.
    #[schema(value_type = Vec<Object>)]
    pub preview: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Titles of the alerts that these rows would make.
    pub titles: Vec<String>,
}

impl Custom {
    async fn checked(&self, definition: &Definition) -> Result<(), CustomError> {
        definition.check_words()?;
        let now = (self.clock)();
        let analysis = self.queries.analyze(&definition.query, now).map_err(CustomError::Query)?;
        definition.check_answer(&analysis)?;
        if definition.frequency == Frequency::Continuous
            && let Some(reason) = self.queries.stream_refusal(&definition.query, now).await
        {
            return Err(DefinitionError::Continuous(reason).into());
        }
        Ok(())
    }

    async fn view(&self, rule: Stored) -> Result<CustomDetection, CustomError> {
        let last = store::runs(&self.shared, &rule.id, 1).await?.into_iter().next();
        let next = schedule::next_end(&rule.state).filter(|_| rule.definition.enabled);
        Ok(CustomDetection {
            actions_note: (!rule.definition.actions.is_empty()).then(|| ACTIONS_NOTE.to_owned()),
            last_run: last.map(RunView::from),
            next_run_time: next.map(shown),
            created_by: rule.made.0,
            created_time: shown(rule.made.1),
            updated_by: rule.changed.0,
            updated_time: shown(rule.changed.1),
            definition: rule.definition,
            id: rule.id,
        })
    }

    /// All of them, by name.
    pub async fn list(&self) -> Result<Vec<CustomDetection>, CustomError> {
        let mut all = Vec::new();
        for rule in store::all(&self.shared).await? {
            all.push(self.view(rule).await?);
        }
        Ok(all)
    }

    /// One of them.
    pub async fn get(&self, id: &str) -> Result<CustomDetection, CustomError> {
        self.view(store::one(&self.shared, id).await?).await
    }

    /// Its runs, newest first.
    pub async fn runs(&self, id: &str, limit: usize) -> Result<Vec<RunView>, CustomError> {
        store::one(&self.shared, id).await?;
        let runs = store::runs(&self.shared, id, i64::try_from(limit).unwrap_or(50)).await?;
        Ok(runs.into_iter().map(RunView::from).collect())
    }

    /// Where a rule's windows begin: at what both clocks agree on, on the hour's raster of its own making.
    fn beginning(&self, now: Micros) -> i64 {
        self.event_time().map_or(now.0, |event| event.min(now.0))
    }

    /// Makes one. The past is a retro-hunt's matter.
    pub async fn create(self: &Arc<Self>, definition: Definition, who: &str) -> Result<CustomDetection, CustomError> {
        self.checked(&definition).await?;
        let _turn = self.turn.lock().await;
        self.continuous_room(&definition, None).await?;
        let now = (self.clock)();
        let id = format!("cd-{}", uuid::Uuid::now_v7());
        store::put(&self.shared, &id, &definition, self.beginning(now), who, now, RULES_MAX).await?;
        self.reload().await?;
        let view = self.get(&id).await?;
        self.tell(view.clone());
        Ok(view)
    }

    /// Replaces what one says; its schedule goes on.
    pub async fn update(
        self: &Arc<Self>,
        id: &str,
        definition: Definition,
        who: &str,
    ) -> Result<CustomDetection, CustomError> {
        self.checked(&definition).await?;
        let _turn = self.turn.lock().await;
        let known = store::one(&self.shared, id).await?;
        self.continuous_room(&definition, Some(id)).await?;
        let now = (self.clock)();
        store::put(&self.shared, id, &definition, known.state.watermark, who, now, RULES_MAX).await?;
        self.reload().await?;
        let view = self.get(id).await?;
        self.tell(view.clone());
        Ok(view)
    }

    async fn continuous_room(&self, definition: &Definition, id: Option<&str>) -> Result<(), CustomError> {
        if definition.frequency != Frequency::Continuous {
            return Ok(());
        }
        let all = store::all(&self.shared).await?;
        let others =
            all.iter().filter(|r| r.definition.frequency == Frequency::Continuous && Some(r.id.as_str()) != id);
        if others.count() >= super::CONTINUOUS_MAX { Err(CustomError::TooManyContinuous) } else { Ok(()) }
    }

    /// Switches one on or off.
    pub async fn switch(self: &Arc<Self>, id: &str, enabled: bool, who: &str) -> Result<CustomDetection, CustomError> {
        let _turn = self.turn.lock().await;
        let now = (self.clock)();
        store::switch(&self.shared, id, enabled, self.beginning(now), who, now).await?;
        self.reload().await?;
        let view = self.get(id).await?;
        self.tell(view.clone());
        Ok(view)
    }

    /// Removes one; its alerts stay.
    pub async fn remove(self: &Arc<Self>, id: &str) -> Result<(), CustomError> {
        let _turn = self.turn.lock().await;
        store::remove(&self.shared, id).await?;
        self.reload().await?;
        Ok(())
    }

    /// What one would find in the past 30 days. Nothing is kept.
    pub async fn test(self: &Arc<Self>, definition: &Definition) -> Result<TestResult, CustomError> {
        self.checked(definition).await?;
        let now = (self.clock)();
        let range = Some((now.0.saturating_sub(TEST_DAYS * 24 * 3_600_000_000), now.0));
        let ask = Ask { text: definition.query.clone(), now, range, ingested: None, rows: None, rows_max: ROWS_MAX };
        let found = self.queries.run(ask).await.map_err(CustomError::Query)?;
        let drafts = super::alerts::drafts(self, "test", definition, &found, None).await?;
        let mut titles: Vec<String> = Vec::new();
        for draft in &drafts {
            if titles.len() < PREVIEW_ROWS && !titles.contains(&draft.alert.title) {
                titles.push(draft.alert.title.clone());
            }
        }
        let rows =
            found.batches.iter().flat_map(|b| (0..b.num_rows()).map(move |r| garrison_telemetry::row_to_json(b, r)));
        Ok(TestResult {
            rows: i64::try_from(found.row_count()).unwrap_or(i64::MAX),
            more: found.more,
            alerts: i64::try_from(drafts.len()).unwrap_or(i64::MAX),
            capped: found.more || drafts.len() > self.alerts_per_run,
            columns: found.columns.iter().map(|c| c.name.clone()).collect(),
            preview: rows.take(PREVIEW_ROWS).collect(),
            titles,
        })
    }
}
