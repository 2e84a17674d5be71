//! Runs one query: lets it in, plans it, moves its rows out batch by batch, and writes down what it cost.

use super::answer::bytes_of;
use super::catalog::{Bounds, TenantCatalog};
use super::completeness::{Caps, Completeness};
use super::error::HuntError;
use super::external::External;
use super::resources::{Figures, Progress, Resources, RunState, Usage};
use super::session::QueryMemory;
use super::store::HistoryEntry;
use super::{Answer, Caller, DAYS_DEFAULT, HuntRequest, Hunting, Interface, Planner, TimeRange};
use crate::shared::rfc3339;
use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use datafusion::prelude::SessionContext;
use futures::StreamExt as _;
use garrison_kql as kql;
use garrison_lake::provider::ScanFigures;
use garrison_model::Micros;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// Batches between the engine and whoever takes the rows: one in hand, one ready.
const BATCHES_READY: usize = 2;
/// Plans whose figures are kept: the query's and those that had to run while it was planned.
const PLANS_MAX: usize = 64;
/// Characters of an engine's message that go to the caller.
const MESSAGE_CHARS_MAX: usize = 500;

const PHASES: [&str; 3] = ["Planning", "Running", "Writing"];

/// A query that runs.
pub(crate) struct Running {
    id: Uuid,
    text: String,
    caller: Caller,
    began: Instant,
    began_at: Micros,
    token: CancellationToken,
    phase: AtomicU8,
    plans: Mutex<Vec<Arc<dyn ExecutionPlan>>>,
    scans: OnceLock<Arc<ScanFigures>>,
    memory: Arc<QueryMemory>,
    rows_found: AtomicU64,
    bytes_found: AtomicU64,
    tables: OnceLock<Vec<String>>,
}

impl Running {
    pub(crate) fn belongs_to(&self, caller: &Caller) -> bool {
        self.caller.tenant == caller.tenant && self.caller.user == caller.user
    }

    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    fn note(&self, plan: &Arc<dyn ExecutionPlan>) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() < PLANS_MAX {
            plans.push(Arc::clone(plan));
        }
    }

    fn figures(&self) -> Figures {
        let plans: Vec<_> = self.plans.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut figures = Figures { memory_peak_bytes: self.memory.peak() as u64, ..Figures::default() };
        for plan in &plans {
            figures.add(plan);
        }
        if let Some(scans) = self.scans.get() {
            figures.count_files(scans.files_total.load(Relaxed), scans.files_read.load(Relaxed));
        }
        figures
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            id: self.id,
            started: rfc3339(self.began_at),
            elapsed_ms: millis(self.began.elapsed()),
            query: self.text.clone(),
            state: PHASES.get(usize::from(self.phase.load(Relaxed))).copied().unwrap_or("Running"),
            figures: self.figures(),
            rows_found: self.rows_found.load(Relaxed),
        }
    }

    fn resources(&self, state: RunState) -> Resources {
        let figures = self.figures();
        Resources {
            id: self.id,
            started: rfc3339(self.began_at),
            duration_ms: millis(self.began.elapsed()),
            interface: self.caller.interface,
            user: self.caller.user.clone(),
            state,
            usage: Usage::of(figures.cpu_ms, figures.memory_peak_bytes),
            figures,
            rows_returned: self.rows_found.load(Relaxed),
            bytes_returned: self.bytes_found.load(Relaxed),
            tables: self.tables.get().cloned().unwrap_or_default(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A turn to run: given back, and written down, when it is dropped.
struct Turn {
    hunting: Arc<Hunting>,
    running: Arc<Running>,
    outcome: Option<(RunState, Option<&'static str>)>,
}

impl Turn {
    fn ends_with(&mut self, error: &HuntError) {
        let state = match error {
            HuntError::Cancelled => RunState::Cancelled,
            HuntError::TimedOut { .. } => RunState::TimedOut,
            _ => RunState::Failed,
        };
        self.outcome = Some((state, Some(error.code())));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (run, now) = (&self.running, crate::now());
        run.cancel();
        let taken = i64::try_from(run.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        if run.caller.interface.has_quota() {
            self.hunting.lock_quotas().end(&run.caller.tenant, &run.caller.user, now, taken);
        }
        self.hunting.lock_running().remove(&run.id);
        let (state, error) = self.outcome.unwrap_or((RunState::Cancelled, Some(HuntError::Cancelled.code())));
        self.hunting.history_note(HistoryEntry {
            tenant: run.caller.tenant.clone(),
            began: run.began_at,
            ended: Micros(run.began_at.0.saturating_add(taken)),
            query: run.text.clone(),
            error: error.map(str::to_owned),
            origin: None,
            resources: run.resources(state),
        });
    }
}

/// What is known once a query is planned.
struct Head {
    columns: Vec<kql::Column>,
    render: Option<kql::Render>,
    diagnostics: Vec<kql::Diagnostic>,
    tables: Vec<kql::TableUse>,
}

enum Message {
    Head(Head),
    Rows(RecordBatch),
    Failed(HuntError),
}

/// A query whose rows are being taken. Dropping it cancels the query.
pub struct Hunt {
    /// Id of the run.
    pub id: Uuid,
    /// Columns in order.
    pub columns: Vec<kql::Column>,
    /// How it wants to be drawn.
    pub render: Option<kql::Render>,
    /// Warnings.
    pub diagnostics: Vec<kql::Diagnostic>,
    /// Tables that are read.
    pub tables: Vec<kql::TableUse>,
    range: TimeRange,
    messages: mpsc::Receiver<Message>,
    _task: AbortOnDropHandle<()>,
    turn: Turn,
    rows_max: usize,
    bytes_max: usize,
    caps: Caps,
    over: bool,
}

impl Hunting {
    /// Runs a query and waits for all of its rows, up to the caps.
    pub async fn run(self: &Arc<Self>, request: HuntRequest, caller: &Caller) -> Result<Answer, HuntError> {
        let mut hunt = self.open(request, caller).await?;
        let mut batches = Vec::new();
        while let Some(batch) = hunt.next().await? {
            batches.push(batch);
        }
        let head = (hunt.id, hunt.columns.clone(), hunt.render.take(), hunt.diagnostics.clone(), hunt.tables.clone());
        let (completeness, resources) = hunt.finish().await?;
        let (id, columns, render, diagnostics, tables) = head;
        Ok(Answer { id, columns, batches, render, diagnostics, tables, completeness, resources })
    }

    /// Plans a query and begins to run it; its rows come from [`Hunt::next`].
    pub async fn open(self: &Arc<Self>, request: HuntRequest, caller: &Caller) -> Result<Hunt, HuntError> {
        self.check_text(&request.text)?;
        let catalog = self.catalog_of(caller)?;
        let now = request.now.unwrap_or_else(crate::now);
        let turn = self.turn(&request, caller)?;
        let rows_cap = match caller.interface {
            Interface::Console => self.settings.rows_max_console,
            _ => self.settings.rows_max_api,
        };
        let rows_max = request.rows_max.map_or(rows_cap, |asked| asked.min(rows_cap));
        let seconds = match caller.interface {
            Interface::Console | Interface::Detection | Interface::RetroHunt => self.settings.seconds_max_console,
            _ => self.settings.seconds_max_api,
        };
        let context = self.context(now);
        let mut bounds = bounds(&request, &catalog, &context, now);
        if !matches!(caller.interface, Interface::Detection | Interface::RetroHunt) {
            bounds.floor = crate::retention::days(&self.shared.db, &caller.tenant).await?.hunting_from(now);
        }
        let range = bounds.time;
        let catalog = Arc::new(catalog.bounded(bounds));
        let _ = turn.running.scans.set(catalog.figures());
        let Some(threads) = self.sessions.handle() else { return Err(HuntError::Task) };
        let (sender, mut messages) = mpsc::channel(BATCHES_READY);
        let job = Job {
            hunting: Arc::clone(self),
            running: Arc::clone(&turn.running),
            catalog,
            context,
            planner: request.planner,
            rows_max,
            seconds,
        };
        let task = AbortOnDropHandle::new(threads.spawn(job.drive(sender)));
        let mut turn = turn;
        let head = match messages.recv().await {
            Some(Message::Head(head)) => head,
            Some(Message::Failed(error)) => {
                turn.ends_with(&error);
                return Err(error);
            }
            Some(Message::Rows(_)) | None => {
                turn.ends_with(&HuntError::Task);
                return Err(HuntError::Task);
            }
        };
        let mut names: Vec<String> = head.tables.iter().map(|used| used.table.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let _ = turn.running.tables.set(names);
        Ok(Hunt {
            id: turn.running.id,
            columns: head.columns,
            render: head.render,
            diagnostics: head.diagnostics,
            tables: head.tables,
            range,
            messages,
            _task: task,
            turn,
            rows_max,
            bytes_max: self.settings.result_bytes_max,
            caps: Caps::default(),
            over: false,
        })
    }

    /// The rows of a plan: run here, or where this server's queries run.
    async fn rows_of(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        session: &SessionContext,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        match &self.remote {
            Some(remote) => remote.run(plan, session.task_ctx()).await,
            None => execute_stream(plan, session.task_ctx()),
        }
    }

    /// Lets a query in, or says which limit forbids it.
    fn turn(self: &Arc<Self>, request: &HuntRequest, caller: &Caller) -> Result<Turn, HuntError> {
        let id = request.id.unwrap_or_else(Uuid::now_v7);
        let began_at = crate::now();
        let running = Arc::new(Running {
            id,
            text: request.text.clone(),
            caller: caller.clone(),
            began: Instant::now(),
            began_at,
            token: self.shared.stop.child_token(),
            phase: AtomicU8::new(0),
            plans: Mutex::default(),
            scans: OnceLock::new(),
            memory: self.sessions.memory(),
            rows_found: AtomicU64::new(0),
            bytes_found: AtomicU64::new(0),
            tables: OnceLock::new(),
        });
        {
            let mut all = self.lock_running();
            if all.contains_key(&id) {
                return Err(HuntError::IdTaken(id));
            }
            if caller.interface.has_quota() {
                let begun = self.lock_quotas().begin(&caller.tenant, &caller.user, began_at);
                if let Err(refusal) = begun {
                    drop(all);
                    let error =
                        HuntError::Quota { message: refusal.message, retry_after_seconds: refusal.retry_after_seconds };
                    self.history_note(HistoryEntry {
                        tenant: caller.tenant.clone(),
                        began: began_at,
                        ended: began_at,
                        query: request.text.clone(),
                        error: Some(error.code().to_owned()),
                        origin: None,
                        resources: running.resources(RunState::Refused),
                    });
                    return Err(error);
                }
            }
            all.insert(id, Arc::clone(&running));
        }
        Ok(Turn { hunting: Arc::clone(self), running, outcome: None })
    }
}

/// The time bounds of a query: the caller's, or the last days for tables that its text does not bound.
fn bounds(request: &HuntRequest, catalog: &TenantCatalog, context: &kql::Context, now: Micros) -> Bounds {
    let ingested = request.ingested.unwrap_or_default();
    if let Some(time) = request.range {
        return Bounds { time, ingested, ..Bounds::default() };
    }
    let uses = match request.planner {
        Some(_) => Vec::new(),
        None => kql::analyze(&request.text, catalog, context).tables,
    };
    let mut bounded: Vec<String> =
        uses.iter().filter(|used| used.from.is_some()).map(|used| used.table.clone()).collect();
    bounded.retain(|table| uses.iter().all(|used| used.table != *table || used.from.is_some()));
    bounded.sort_unstable();
    bounded.dedup();
    let from = Micros(now.0.saturating_sub(DAYS_DEFAULT * 86_400_000_000));
    Bounds { time: TimeRange { from: Some(from), to: None }, unbounded: bounded, ingested, floor: None }
}

impl Hunt {
    /// The next rows; `None` when there are no more, or a cap was hit.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, HuntError> {
        if self.over {
            return Ok(None);
        }
        let batch = match self.messages.recv().await {
            Some(Message::Rows(batch)) => batch,
            Some(Message::Head(_)) | None => {
                self.over = true;
                return Ok(None);
            }
            Some(Message::Failed(error)) => {
                self.over = true;
                self.turn.ends_with(&error);
                return Err(error);
            }
        };
        let run = &self.turn.running;
        let (rows, bytes) = (run.rows_found.load(Relaxed) as usize, run.bytes_found.load(Relaxed) as usize);
        let mut batch = batch;
        let room = self.rows_max.saturating_sub(rows);
        if batch.num_rows() > room {
            batch = batch.slice(0, room);
            self.caps.rows = Some(self.rows_max);
            self.over = true;
        }
        let mut size = bytes_of(&batch);
        let room = self.bytes_max.saturating_sub(bytes);
        if size > room {
            // About as many rows as fit: rows of one batch are of a kind.
            let fit = batch.num_rows().saturating_mul(room) / size.max(1);
            batch = batch.slice(0, fit.min(batch.num_rows()));
            size = bytes_of(&batch);
            self.caps.bytes = Some(self.bytes_max);
            self.over = true;
        }
        run.rows_found.fetch_add(batch.num_rows() as u64, Relaxed);
        run.bytes_found.fetch_add(size as u64, Relaxed);
        Ok(Some(batch))
    }

    /// Caps that were hit so far.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// Ends the query: what its rows may lack, and what they cost.
    pub async fn finish(mut self) -> Result<(Completeness, Resources), HuntError> {
        self.turn.running.phase.store(2, Relaxed);
        let hunting = Arc::clone(&self.turn.hunting);
        let (tables, range, caps) = (std::mem::take(&mut self.tables), self.range, self.caps);
        let now = crate::now();
        let seen = self.turn.running.caller.devices.clone();
        let stating = move || hunting.completeness_seen(&tables, range, caps, now, seen.as_deref());
        let stated = tokio::task::spawn_blocking(stating).await;
        let completeness = match stated {
            Ok(Ok(completeness)) => completeness,
            Ok(Err(error)) => {
                self.turn.ends_with(&error);
                return Err(error);
            }
            Err(_) => return Err(HuntError::Task),
        };
        self.turn.outcome = Some((RunState::Completed, None));
        Ok((completeness, self.turn.running.resources(RunState::Completed)))
    }
}

/// What the query's own task needs.
struct Job {
    hunting: Arc<Hunting>,
    running: Arc<Running>,
    catalog: Arc<TenantCatalog>,
    context: kql::Context,
    planner: Option<Planner>,
    rows_max: usize,
    seconds: u64,
}

impl Job {
    async fn drive(self, sender: mpsc::Sender<Message>) {
        let (token, seconds) = (self.running.token.clone(), self.seconds);
        let ended = tokio::select! {
            ended = self.work(&sender) => ended,
            () = token.cancelled() => Err(HuntError::Cancelled),
            () = tokio::time::sleep(Duration::from_secs(seconds)) => Err(HuntError::TimedOut { seconds }),
        };
        if let Err(error) = ended {
            let _ = sender.send(Message::Failed(error)).await;
        }
    }

    async fn work(&self, sender: &mpsc::Sender<Message>) -> Result<(), HuntError> {
        let memory = Arc::clone(&self.running.memory);
        let bytes_max = memory.bytes_max;
        let failed = |step| move |error| failure(step, error, bytes_max);
        let session =
            self.hunting.sessions.session(memory, self.hunting.remote.as_deref()).map_err(failed("prepare"))?;
        let host = QueryHost {
            hunting: Arc::clone(&self.hunting),
            session: session.clone(),
            running: Arc::clone(&self.running),
            external: External::new(self.hunting.settings.external.clone()),
        };
        let planned = match &self.planner {
            Some(Planner(make)) => make(&self.catalog)?,
            None => {
                let planned = kql::plan(&self.running.text, self.catalog.as_ref(), &self.context, &host).await;
                planned.map_err(|error| match error {
                    kql::Failure::Text(diagnostics) => HuntError::Text(diagnostics),
                    kql::Failure::Host(error) => HuntError::Run(error.to_string()),
                })?
            }
        };
        // One more than may be returned tells whether there are more.
        let limit = self.rows_max.saturating_add(1);
        let plan = LogicalPlanBuilder::from(planned.plan).limit(0, Some(limit)).and_then(LogicalPlanBuilder::build);
        let plan = plan.map_err(failed("plan"))?;
        let mut tables = planned.tables;
        for used in &mut tables {
            // The engine folds names; ours are spelled as the schema does.
            if let Some(table) = garrison_telemetry::tables().iter().find(|t| t.name.eq_ignore_ascii_case(&used.table))
            {
                table.name.clone_into(&mut used.table);
            }
        }
        let head = Head { columns: planned.columns, render: planned.render, diagnostics: planned.diagnostics, tables };
        let physical = session.state().create_physical_plan(&plan).await.map_err(failed("plan"))?;
        self.running.note(&physical);
        self.running.phase.store(1, Relaxed);
        let mut rows = self.hunting.rows_of(physical, &session).await.map_err(failed("run"))?;
        if sender.send(Message::Head(head)).await.is_err() {
            return Ok(());
        }
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(failed("run"))?;
            if batch.num_rows() > 0 && sender.send(Message::Rows(batch)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// An engine's error in our words. What a value of the caller's own made impossible is told; all else is internal.
fn failure(step: &'static str, error: DataFusionError, bytes_max: usize) -> HuntError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => HuntError::Memory { bytes_max },
        DataFusionError::External(away) if away.is::<garrison_cluster::Unreachable>() => {
            HuntError::Unreachable(away.to_string())
        }
        DataFusionError::Execution(_) | DataFusionError::ArrowError(..) | DataFusionError::External(_) => {
            let root = error.find_root().strip_backtrace();
            HuntError::Run(root.chars().take(MESSAGE_CHARS_MAX).collect())
        }
        _ => HuntError::Engine { step, source: error },
    }
}

/// Runs what must be known while the query is planned, within the query's own memory and time.
struct QueryHost {
    hunting: Arc<Hunting>,
    session: SessionContext,
    running: Arc<Running>,
    external: External,
}

#[async_trait]
impl kql::Host for QueryHost {
    async fn rows(&self, plan: LogicalPlan, rows_max: usize) -> Result<Vec<RecordBatch>, kql::HostError> {
        let failed = |error: DataFusionError| kql::HostError(error.find_root().strip_backtrace());
        let plan = LogicalPlanBuilder::from(plan).limit(0, Some(rows_max)).and_then(LogicalPlanBuilder::build);
        let physical = self.session.state().create_physical_plan(&plan.map_err(failed)?).await.map_err(failed)?;
        self.running.note(&physical);
        let mut rows = self.hunting.rows_of(physical, &self.session).await.map_err(failed)?;
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await {
            batches.push(batch.map_err(failed)?);
        }
        Ok(batches)
    }

    async fn external(&self, address: &str) -> Result<Vec<u8>, kql::HostError> {
        self.external.fetch(address).await
    }
}
