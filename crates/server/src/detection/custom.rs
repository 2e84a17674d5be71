//! Detections made of queries.
//!
//! ```text
//! schedule.rs: which windows are over? ──▶ run.rs: the query over the window ──▶ alerts.rs ──▶ incidents
//! stream.rs: rows as they arrive ────────▶ the same query over those rows ─────▶ alerts.rs ──▶ incidents
//! ```
//!
//! An alert is made of one event: the row of the answer names it by `Timestamp`, `ReportId` and device, the event itself
//! is copied out of the lake, and the alert's id is derived from rule and event, so that no event makes two alerts of one
//! rule however often it is found.

pub mod alerts;
pub mod api;
pub mod definition;
pub mod queries;
pub mod run;
pub mod schedule;
pub mod store;
pub mod stream;
pub mod title;

use super::Detection;
use crate::shared::Shared;
use definition::{Definition, DefinitionError};
use garrison_model::Micros;
use queries::Queries;
use schedule::Window;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Mutex, Notify, broadcast};

/// Rules of one tenant: each costs a query an hour.
pub const RULES_MAX: usize = 1_000;
/// Continuous rules of one tenant: each looks at every row of its table.
pub const CONTINUOUS_MAX: usize = 50;
/// Alerts of one run unless configured otherwise.
pub const ALERTS_PER_RUN: usize = 150;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum CustomError {
    /// No such rule.
    #[error("there is no detection with this id")]
    Unknown,
    /// The definition.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The name is not unique.
    #[error("a detection with this name exists: choose another name")]
    NameTaken,
    /// The title is not unique.
    #[error("another detection has this alert title: choose another title")]
    TitleTaken,
    /// Too many rules.
    #[error("there are {0} detections already, which is the most")]
    TooMany(usize),
    /// Too many continuous rules.
    #[error(
        "there are {CONTINUOUS_MAX} continuous detections already, which is the most: give this one a frequency of 1 h or more"
    )]
    TooManyContinuous,
    /// The query failed.
    #[error("the query failed: {0}")]
    Query(String),
    /// A stored document.
    #[error("{what} cannot be read or written as stored")]
    Stored {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The database.
    #[error("the database of detections failed")]
    Db(#[from] sqlx::Error),
    /// The database layer.
    #[error("the database of detections cannot be written")]
    Write(#[from] crate::db::DbError),
    /// The lake.
    #[error("the lake cannot be read")]
    Lake(#[from] garrison_lake::LakeError),
    /// Alerts.
    #[error("alerts cannot be made")]
    Alerts(#[from] crate::incidents::CaseError),
    /// A task ended early.
    #[error("a background task of detection ended")]
    Task,
}

macro_rules! wire_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Its word in answers and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// All words.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// From its word; what another version wrote and this one does not know is the last word of the list.
            #[must_use]
            pub fn parse(text: &str) -> Self {
                let last = Self::ALL[Self::ALL.len() - 1];
                Self::ALL.iter().copied().find(|word| word.as_str() == text).unwrap_or(last)
            }
        }
    };
}
pub(crate) use wire_words;

wire_words!(
    /// Why a rule ran.
    RunKind {
        /// Its window was over.
        Schedule = "schedule",
        /// Someone asked.
        Manual = "manual",
        /// Rows arrived.
        Stream = "stream",
        /// Rows that arrived while nobody looked.
        CatchUp = "catchUp",
    }
);

wire_words!(
    /// How a run ended.
    RunState {
        /// Well.
        Completed = "Completed",
        /// Passed over: too long ago.
        Skipped = "Skipped",
        /// Not at all, in all tries.
        Failed = "Failed",
    }
);

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Id.
    pub id: String,
    /// Rule.
    pub rule_id: String,
    /// Why.
    pub kind: RunKind,
    /// How it ended.
    pub state: RunState,
    /// What it looked at.
    pub window: Window,
    /// When it began.
    pub started: i64,
    /// When it ended.
    pub ended: i64,
    /// Rows of the answer.
    pub rows: i64,
    /// New alerts.
    pub alerts: i64,
    /// Rows whose event had made an alert before, or was folded into one.
    pub repeated: i64,
    /// Whether the cap of alerts was hit: what is left makes alerts in the next run, if it is found again.
    pub capped: bool,
    /// Why it failed; empty if it did not.
    pub error: String,
}

/// The time, movable in tests.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// The part of the detection room that runs queries.
pub struct Custom {
    pub(crate) shared: Arc<Shared>,
    pub(crate) detection: Arc<Detection>,
    pub(crate) queries: Arc<dyn Queries>,
    pub(crate) clock: Clock,
    /// Held while rules change or one is run, so that a window is run by one task.
    pub(crate) turn: Mutex<()>,
    pub(crate) stream: stream::Stream,
    pub(crate) alerts_per_run: usize,
    /// Continuous rules that are on, with the tables that they read.
    continuous: RwLock<Arc<Vec<(store::Stored, Vec<String>)>>>,
    event_time: AtomicI64,
    pub(crate) wake: Notify,
    changes: broadcast::Sender<api::CustomDetection>,
}

impl std::fmt::Debug for Custom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Custom").field("event_time", &self.event_time).finish_non_exhaustive()
    }
}

impl Custom {
    /// Opens it. [`Custom::run_loop`] and [`Custom::stream_loop`] do the work.
    pub async fn open(
        shared: &Arc<Shared>,
        detection: &Arc<Detection>,
        queries: Arc<dyn Queries>,
        clock: Clock,
    ) -> Result<Arc<Self>, CustomError> {
        let known = store::clock(shared).await?;
        let custom = Arc::new(Self {
            shared: Arc::clone(shared),
            detection: Arc::clone(detection),
            queries,
            turn: Mutex::new(()),
            stream: stream::Stream::new(known.map_or_else(|| clock().0, |(_, ingested)| ingested)),
            alerts_per_run: shared.config.detection_alerts_per_run,
            continuous: RwLock::default(),
            event_time: AtomicI64::new(known.map_or(i64::MIN, |(event, _)| event)),
            wake: Notify::new(),
            changes: broadcast::channel(64).0,
            clock,
        });
        custom.reload().await?;
        Ok(custom)
    }

    /// The newest row's time, if a row was ever seen.
    #[must_use]
    pub fn event_time(&self) -> Option<i64> {
        Some(self.event_time.load(Ordering::Relaxed)).filter(|t| *t != i64::MIN)
    }

    /// Rows of this time were seen. Times ahead of the wall clock are believed up to the wall clock only.
    pub fn event_time_seen(&self, micros: i64) {
        let before = self.event_time.fetch_max(micros.min((self.clock)().0), Ordering::Relaxed);
        if before < micros {
            self.wake.notify_one();
        }
    }

    /// Continuous rules that are on.
    pub(crate) fn continuous(&self) -> Arc<Vec<(store::Stored, Vec<String>)>> {
        Arc::clone(&self.continuous.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn reload(&self) -> Result<Vec<store::Stored>, CustomError> {
        let all = store::all(&self.shared).await?;
        let on = |rule: &&store::Stored| {
            rule.definition.enabled && rule.definition.frequency == definition::Frequency::Continuous
        };
        let continuous: Vec<_> = all
            .iter()
            .filter(on)
            .take(CONTINUOUS_MAX)
            .map(|rule| (rule.clone(), self.tables_of(&rule.definition)))
            .collect();
        self.stream.tables_set(continuous.iter().flat_map(|(_, tables)| tables.clone()).collect());
        *self.continuous.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(continuous);
        Ok(all)
    }

    pub(crate) fn tables_of(&self, definition: &Definition) -> Vec<String> {
        let analysis = self.queries.analyze(&definition.query, (self.clock)());
        analysis.map(|a| a.tables.into_iter().map(|t| t.table).collect()).unwrap_or_default()
    }

    /// Hears of rules that changed or ran.
    pub fn changes(&self) -> broadcast::Receiver<api::CustomDetection> {
        self.changes.subscribe()
    }

    pub(crate) fn tell(&self, changed: api::CustomDetection) {
        // Nobody listening is no error.
        let _ = self.changes.send(changed);
    }
}
