//! Retro-hunts: a new rule, detection or indicator run over the past.
//!
//! One at a time, in the background, day by day from the oldest on, so that correlations see their events in order.
//! What has been looked at is written after each day: a restart goes on there. A hunt's alerts have the ids that the
//! stream would have given them, so what is known already makes no second one.

mod history;
pub mod hunt;
pub mod store;

use super::Detection;
use super::custom::store::shown;
use super::custom::{Clock, Custom, CustomError, wire_words};
use super::indicator::{IndicatorError, Indicators};
use crate::shared::Shared;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

const DAY: i64 = 24 * 3_600_000_000;
/// Days that a hunt looks back unless told otherwise.
pub const DAYS_DEFAULT: u32 = 30;
/// Days that a hunt may look back: what tables keep.
pub const DAYS_MAX: u32 = 180;
/// Matched rows kept with a hunt; more are counted.
pub const MATCHES_MAX: usize = 1_000;
/// Hunts that wait: more means that someone imports rules by the thousand and wants none of them looked at.
pub const WAITING_MAX: usize = 200;
/// Hunts kept in the list.
pub const KEPT: i64 = 500;
/// How often the list is looked at when nothing wakes it.
const LOOK_EVERY: Duration = Duration::from_secs(30);

wire_words!(
    /// What is hunted for.
    RetroKind {
        /// A Sigma rule.
        Rule = "rule",
        /// A custom detection.
        Detection = "detection",
        /// An indicator.
        Indicator = "indicator",
    }
);

wire_words!(
    /// Where a hunt stands.
    RetroState {
        /// It waits for its turn.
        Queued = "Queued",
        /// It runs.
        Running = "Running",
        /// It is through.
        Completed = "Completed",
        /// Someone ended it.
        Cancelled = "Cancelled",
        /// It could not go on.
        Failed = "Failed",
    }
);

/// A hunt through the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetroHunt {
    /// Id.
    pub id: String,
    /// What is hunted for.
    pub kind: RetroKind,
    /// Id of the rule, detection or indicator.
    pub target: String,
    /// Its title.
    pub title: String,
    /// Where it stands.
    pub state: RetroState,
    /// First moment looked at.
    pub from: String,
    /// Moment after the last.
    pub to: String,
    /// How much of the time is done, 0 to 100.
    pub percent: u32,
    /// The same, 0 to 1.
    pub progress: f64,
    /// Rows of the tables that were looked at.
    #[serde(rename = "rowCount")]
    pub rows: i64,
    /// Rows that matched.
    #[serde(rename = "matchCount")]
    pub matches: i64,
    /// New alerts.
    #[serde(rename = "alertCount")]
    pub alerts: i64,
    /// Whether matches become alerts.
    pub makes_alerts: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created: String,
    /// When it ended.
    pub ended: Option<String>,
}

/// A matched row of a hunt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetroMatch {
    /// Hunting table.
    pub table: String,
    /// When.
    pub timestamp: String,
    /// Device.
    pub device_id: String,
    /// The row.
    #[schema(value_type = Object)]
    pub row: serde_json::Map<String, serde_json::Value>,
}

/// What to hunt for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetroNew {
    /// What.
    pub kind: RetroKind,
    /// Its id.
    pub target: String,
    /// Days to look back; 30 unless told otherwise.
    #[serde(default)]
    pub days: Option<u32>,
    /// Whether matches become alerts; yes unless told otherwise.
    #[serde(default)]
    pub alerts: Option<bool>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum RetroError {
    /// No such hunt.
    #[error("there is no retro-hunt with this id")]
    Unknown,
    /// No such target.
    #[error("there is no {kind} `{target}` to hunt for")]
    Target {
        /// What.
        kind: &'static str,
        /// Which.
        target: String,
    },
    /// The rule has no filter.
    #[error("{code}: {words}")]
    NoFilter {
        /// Number.
        code: &'static str,
        /// Why.
        words: String,
    },
    /// Days.
    #[error("a retro-hunt looks back 1 to {DAYS_MAX} days")]
    Days,
    /// Too many wait.
    #[error("{WAITING_MAX} retro-hunts wait already: let them end, or cancel some")]
    TooMany,
    /// It is over.
    #[error("the retro-hunt has ended")]
    Ended,
    /// The engine.
    #[error("the rows cannot be searched: {0}")]
    Engine(String),
    /// A detection.
    #[error(transparent)]
    Custom(#[from] CustomError),
    /// An indicator.
    #[error(transparent)]
    Indicator(#[from] IndicatorError),
    /// Alerts.
    #[error("alerts cannot be made")]
    Alerts(#[from] crate::incidents::CaseError),
    /// A stored document.
    #[error("a match cannot be read or written as stored")]
    Stored(#[from] serde_json::Error),
    /// The database.
    #[error("the database of retro-hunts failed")]
    Db(#[from] sqlx::Error),
    /// The database layer.
    #[error("the database of retro-hunts cannot be written")]
    Write(#[from] crate::db::DbError),
}

/// The part of the detection room that hunts through the past.
pub struct Retro {
    pub(crate) shared: Arc<Shared>,
    pub(crate) detection: Arc<Detection>,
    pub(crate) custom: Arc<Custom>,
    pub(crate) indicators: Arc<Indicators>,
    pub(crate) clock: Clock,
    wake: Notify,
    running: std::sync::Mutex<Option<(String, CancellationToken)>>,
    changes: broadcast::Sender<RetroHunt>,
}

impl std::fmt::Debug for Retro {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retro").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Retro {
    /// Opens it; [`Retro::run_loop`] does the work.
    #[must_use]
    pub fn new(
        shared: &Arc<Shared>,
        detection: &Arc<Detection>,
        custom: &Arc<Custom>,
        indicators: &Arc<Indicators>,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            detection: Arc::clone(detection),
            custom: Arc::clone(custom),
            indicators: Arc::clone(indicators),
            clock,
            wake: Notify::new(),
            running: std::sync::Mutex::default(),
            changes: broadcast::channel(256).0,
        })
    }

    /// Hears of progress.
    pub fn changes(&self) -> broadcast::Receiver<RetroHunt> {
        self.changes.subscribe()
    }

    pub(crate) fn tell(&self, hunt: &RetroHunt) {
        // Nobody listening is no error.
        let _ = self.changes.send(hunt.clone());
    }

    /// Puts a hunt at the end of the queue.
    pub async fn start(&self, new: &RetroNew, who: &str) -> Result<RetroHunt, RetroError> {
        let days = new.days.unwrap_or(DAYS_DEFAULT);
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(RetroError::Days);
        }
        let unknown = || RetroError::Target { kind: new.kind.as_str(), target: new.target.chars().take(80).collect() };
        let title = match new.kind {
            RetroKind::Rule => {
                let loaded = self.detection.loaded();
                let index = loaded.engine.rules().find(&new.target).ok_or_else(unknown)?;
                hunt::filters(&loaded.engine, index)
                    .map_err(|e| RetroError::NoFilter { code: e.code(), words: e.to_string() })?;
                loaded.engine.rule(index).map(|r| r.title.clone()).unwrap_or_default()
            }
            RetroKind::Detection => match self.custom.get(&new.target).await {
                Ok(detection) => detection.definition.name,
                Err(CustomError::Unknown) => return Err(unknown()),
                Err(error) => return Err(error.into()),
            },
            RetroKind::Indicator => match self.indicators.get(&new.target).await {
                Ok(indicator) => indicator.title,
                Err(IndicatorError::Unknown) => return Err(unknown()),
                Err(error) => return Err(error.into()),
            },
        };
        let now = (self.clock)().0;
        let range = (now.saturating_sub(i64::from(days) * DAY), now);
        let id = format!("rh-{}", uuid::Uuid::now_v7());
        let alerts = new.alerts.unwrap_or(true);
        store::add(&self.shared, &id, new, &title, range, alerts, who, now).await?;
        let hunt = self.get(&id).await?;
        self.tell(&hunt);
        self.wake.notify_one();
        Ok(hunt)
    }

    /// All of them, newest first.
    pub async fn list(&self) -> Result<Vec<RetroHunt>, RetroError> {
        Ok(store::all(&self.shared).await?.iter().map(store::Record::view).collect())
    }

    /// One of them.
    pub async fn get(&self, id: &str) -> Result<RetroHunt, RetroError> {
        Ok(store::one(&self.shared, id).await?.view())
    }

    /// Its matched rows, as far as they are kept.
    pub async fn matches(&self, id: &str) -> Result<Vec<RetroMatch>, RetroError> {
        store::one(&self.shared, id).await?;
        store::matches(&self.shared, id).await
    }

    /// Ends one.
    pub async fn cancel(&self, id: &str) -> Result<RetroHunt, RetroError> {
        let record = store::one(&self.shared, id).await?;
        if !matches!(record.state, RetroState::Queued | RetroState::Running) {
            return Err(RetroError::Ended);
        }
        store::end(&self.shared, id, RetroState::Cancelled, "", (self.clock)().0).await?;
        if let Some((running, token)) = self.running.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && running == id
        {
            token.cancel();
        }
        let hunt = self.get(id).await?;
        self.tell(&hunt);
        Ok(hunt)
    }

    /// Runs hunts until the server stops.
    pub async fn run_loop(self: Arc<Self>) {
        loop {
            match self.run_next().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "retro-hunts cannot go on");
                }
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.shared.stop.cancelled() => return,
            }
        }
    }

    /// Runs the hunt that was under way, or the one that waits longest, to its end; `false` if there is none.
    pub async fn run_next(self: &Arc<Self>) -> Result<bool, RetroError> {
        if self.shared.stop.is_cancelled() {
            return Ok(false);
        }
        let Some(record) = store::next(&self.shared).await? else { return Ok(false) };
        let token = self.shared.stop.child_token();
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((record.id.clone(), token.clone()));
        let (id, began) = (record.id.clone(), (self.clock)());
        let outcome = self.hunt(record, &token).await;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.shared.stop.is_cancelled() {
            // It goes on after the next start.
            return Ok(false);
        }
        let now = (self.clock)().0;
        match outcome {
            // Cancelled: that was written when it was asked for.
            Ok(false) => {}
            Ok(true) => store::end(&self.shared, &id, RetroState::Completed, "", now).await?,
            Err(error) => {
                tracing::warn!(id, error = &error as &dyn std::error::Error, "a retro-hunt failed");
                store::end(&self.shared, &id, RetroState::Failed, &error.to_string(), now).await?;
            }
        }
        // The history first: whoever hears of the end finds it there.
        if let Err(error) = self.history_note(&id, began).await {
            tracing::warn!(id, error = &error as &dyn std::error::Error, "a retro-hunt is not in the history");
        }
        if let Ok(hunt) = self.get(&id).await {
            self.tell(&hunt);
        }
        Ok(true)
    }
}

pub(crate) fn time(micros: i64) -> String {
    shown(micros)
}
