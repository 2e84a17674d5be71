//! Hunting: queries in the hunting language over one tenant's rows.
//!
//! ```text
//! text ─▶ turn (limits.rs) ─▶ kql::plan over TenantCatalog ─▶ session with its own memory cap (session.rs)
//!      ─▶ rows, bounded (execute.rs) ─▶ what they may lack (completeness.rs) ─▶ what they cost (resources.rs, store.rs)
//! ```
//!
//! A query sees the tables of its caller's tenant through a [`TenantCatalog`] and nothing else: the catalog is the only
//! door to rows, and it holds one lake. Queries run on threads of their own, so that a greedy one cannot slow down
//! ingest; dropping the future of [`Hunting::run`] cancels its query.

pub mod answer;
pub mod catalog;
pub mod complete;
pub mod completeness;
pub mod error;
mod execute;
pub mod export;
mod external;
pub mod library;
pub mod limits;
mod places;
mod profiles;
pub mod remote;
pub mod resources;
mod session;
pub mod settings;
pub mod store;
pub mod timespan;

pub use catalog::TenantCatalog;
pub use completeness::Completeness;
pub use error::HuntError;
pub use execute::Hunt;
pub use resources::{Progress, ProgressEvent, Resources, RunState};
pub use settings::HuntingSettings;

use crate::config::Role;
use crate::shared::Shared;
use arrow::array::RecordBatch;
use execute::Running;
use garrison_kql as kql;
use garrison_model::{Micros, TenantId};
use limits::Quotas;
use session::Sessions;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// Days that a query reads when neither its caller nor its text bounds the time.
pub const DAYS_DEFAULT: i64 = 30;

/// Operators of a query: each is a level of its plan, and plans are walked by recursion. Three times the longest of the
/// public corpus.
const BARS_MAX: usize = 200;

/// Reports that wait for the database: some seconds of the busiest tenant.
const HISTORY_WAITING_MAX: usize = 1_024;

/// Through which door a query came; part of its resources report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// The web console.
    Console,
    /// Our own API, with a token.
    Api,
    /// The Graph path.
    Graph,
    /// The older path of the endpoint product.
    AdvancedQueries,
    /// The older path of the suite.
    AdvancedHunting,
    /// A custom detection.
    Detection,
    /// A hunt through the past for a new rule or indicator.
    RetroHunt,
}

impl Interface {
    /// Its word in answers and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Api => "api",
            Self::Graph => "graph",
            Self::AdvancedQueries => "advancedqueries",
            Self::AdvancedHunting => "advancedhunting",
            Self::Detection => "detection",
            Self::RetroHunt => "retrohunt",
        }
    }

    /// Whether people and their programs ask through it, and quotas hold; the server's own work is bounded by its
    /// schedule instead.
    #[must_use]
    pub const fn has_quota(self) -> bool {
        !matches!(self, Self::Detection | Self::RetroHunt)
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Tenant whose rows are read.
    pub tenant: TenantId,
    /// Name of the user or token; of the rule, for the server's own work.
    pub user: String,
    /// The door.
    pub interface: Interface,
    /// The devices whose rows may be seen; `None`: all.
    pub devices: Option<Arc<std::collections::HashSet<garrison_model::DeviceId>>>,
}

/// A span of `Timestamp`, microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// Least, included.
    pub from: Option<Micros>,
    /// Greatest, not included.
    pub to: Option<Micros>,
}

/// Makes the plan of a hunt that was not written in the language: a Sigma rule over the past. It sees the tables of the
/// caller's tenant, with the request's time bounds on them.
#[derive(Clone)]
pub struct Planner(pub Arc<dyn Fn(&TenantCatalog) -> Result<kql::Planned, HuntError> + Send + Sync>);

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Planner")
    }
}

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct HuntRequest {
    /// The query; with a `planner`, words for the history.
    pub text: String,
    /// Makes the plan instead of the language.
    pub planner: Option<Planner>,
    /// Bounds `Timestamp` of every table that has one, beside what the text says.
    pub range: Option<TimeRange>,
    /// Bounds `IngestTime` too: what came when, whatever time it claims. For detections that must see every row once.
    pub ingested: Option<TimeRange>,
    /// Id for progress and cancelling; made where there is none.
    pub id: Option<Uuid>,
    /// Rows at most; the interface's cap unless less is asked for.
    pub rows_max: Option<usize>,
    /// `now()` of the query; the clock's unless told.
    pub now: Option<Micros>,
}

/// Rows and what belongs to them.
#[derive(Debug)]
pub struct Answer {
    /// Id of the run.
    pub id: Uuid,
    /// Columns in order.
    pub columns: Vec<kql::Column>,
    /// Rows; the columns of each batch are `columns`.
    pub batches: Vec<RecordBatch>,
    /// How it wants to be drawn.
    pub render: Option<kql::Render>,
    /// Warnings.
    pub diagnostics: Vec<kql::Diagnostic>,
    /// Tables that were read.
    pub tables: Vec<kql::TableUse>,
    /// What the rows may lack.
    pub completeness: Completeness,
    /// What they cost.
    pub resources: Resources,
}

impl Answer {
    /// Rows in it.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// The room.
pub struct Hunting {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: HuntingSettings,
    places: Option<Arc<dyn kql::functions::Places>>,
    pub(crate) sessions: Sessions,
    /// The copy on an object store, where this server reads that.
    pub(crate) remote: Option<Arc<remote::Remote>>,
    pub(crate) quotas: Mutex<Quotas>,
    pub(crate) running: Mutex<HashMap<Uuid, Arc<Running>>>,
    history: tokio::sync::mpsc::Sender<store::HistoryEntry>,
}

impl std::fmt::Debug for Hunting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hunting").field("running", &self.lock_running().len()).finish_non_exhaustive()
    }
}

impl Hunting {
    /// Opens the room: its threads, its folder for spilling, what was used within the last day.
    pub async fn start(shared: &Arc<Shared>) -> anyhow::Result<Arc<Self>> {
        let settings = shared.config.hunting.clone();
        let places = settings.geo_database.as_deref().map(places::open).transpose()?;
        let sessions = Sessions::open(&shared.data.join("hunting-spill"), &settings)?;
        let quotas = Quotas::new(settings.user, settings.tenant);
        let remote = match shared.config.role {
            Role::Query => {
                let opened = remote::Remote::open(&shared.config, &shared.tenant, &shared.metrics).await?;
                Some(Arc::new(opened))
            }
            _ => None,
        };
        let (history, entries) = tokio::sync::mpsc::channel(HISTORY_WAITING_MAX);
        let hunting = Arc::new(Self {
            history,
            shared: Arc::clone(shared),
            settings,
            places,
            sessions,
            remote,
            quotas: Mutex::new(quotas),
            running: Mutex::default(),
        });
        hunting.quotas_restore(crate::now()).await?;
        tokio::spawn(store::history_run(Arc::clone(&hunting), entries));
        Ok(hunting)
    }

    /// The settings it works with.
    #[must_use]
    pub fn settings(&self) -> &HuntingSettings {
        &self.settings
    }

    /// The tables that a caller's query may name, as of now.
    pub fn catalog(&self, tenant: &TenantId) -> Result<Arc<TenantCatalog>, HuntError> {
        // One lake a server today; a foreign tenant has none here.
        if *tenant != self.shared.tenant {
            return Err(HuntError::TenantUnknown);
        }
        let catalog = TenantCatalog::new(tenant.clone(), Arc::clone(&self.shared.lake));
        Ok(Arc::new(match &self.remote {
            Some(remote) => catalog.over(Arc::clone(remote)),
            None => catalog,
        }))
    }

    /// The same with the rows that the caller may see.
    pub fn catalog_of(&self, caller: &Caller) -> Result<Arc<TenantCatalog>, HuntError> {
        let catalog = self.catalog(&caller.tenant)?;
        Ok(match &caller.devices {
            Some(devices) => Arc::new(catalog.seeing(devices)),
            None => catalog,
        })
    }

    /// Knows where addresses are, if the operator supplied a database.
    #[must_use]
    pub fn places(&self) -> Option<Arc<dyn kql::functions::Places>> {
        self.places.clone()
    }

    /// What is fixed for one query.
    #[must_use]
    pub fn context(&self, now: Micros) -> kql::Context {
        kql::Context { now: now.0, places: self.places.clone() }
    }

    /// Says what the analyser says; runs nothing.
    pub fn analyze(&self, text: &str, tenant: &TenantId) -> Result<kql::Analysis, HuntError> {
        self.check_text(text)?;
        let catalog = self.catalog(tenant)?;
        Ok(kql::analyze(text, catalog.as_ref(), &self.context(crate::now())))
    }

    /// Bounds of the text that come before the parser.
    pub(crate) fn check_text(&self, text: &str) -> Result<(), HuntError> {
        if text.len() > self.settings.query_bytes_max {
            return Err(HuntError::QueryTooLong { bytes: text.len(), bytes_max: self.settings.query_bytes_max });
        }
        if text.trim().is_empty() {
            return Err(HuntError::QueryEmpty);
        }
        let bars =
            kql::syntax::lex(text).into_iter().filter(|token| text.get(token.span.start..token.span.end) == Some("|"));
        if bars.count() > BARS_MAX {
            return Err(HuntError::Invalid(format!("a query has at most {BARS_MAX} operators")));
        }
        Ok(())
    }

    pub(crate) fn lock_running(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_quotas(&self) -> std::sync::MutexGuard<'_, Quotas> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queries of a user that run now.
    #[must_use]
    pub fn progress_list(&self, caller: &Caller) -> Vec<Progress> {
        let running = self.lock_running();
        let mut all: Vec<Progress> =
            running.values().filter(|run| run.belongs_to(caller)).map(|run| run.progress()).collect();
        all.sort_by(|a, b| (&a.started, a.id).cmp(&(&b.started, b.id)));
        all
    }

    /// Progress of one query of a user.
    #[must_use]
    pub fn progress(&self, caller: &Caller, id: Uuid) -> Option<Progress> {
        self.lock_running().get(&id).filter(|run| run.belongs_to(caller)).map(|run| run.progress())
    }

    /// Cancels a query of a user; `false` if none of his runs under this id.
    #[must_use]
    pub fn cancel(&self, caller: &Caller, id: Uuid) -> bool {
        let found = self.lock_running().get(&id).filter(|run| run.belongs_to(caller)).cloned();
        found.inspect(|run| run.cancel()).is_some()
    }
}
