//! The door to the query engine, and the server's own way through it: queries that nobody waits for, each with little
//! memory and one thread, so that analysts do not feel them.

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use garrison_kql as kql;
use garrison_lake::provider::{LakeTableProvider, ScanFigures, query_schema, session_config};
use garrison_lake::spec::{INGEST_COLUMN, TIME_COLUMN};
use garrison_lake::{Lake, TableSpec};
use garrison_model::Micros;
use garrison_telemetry::ColumnType;
use std::sync::Arc;
use std::time::Duration;

/// Memory of one query of the server's own; operators that can spill do.
const MEMORY_BYTES: usize = 256 << 20;
/// Time of one query: the time that analysts have too.
const TIME_MAX: Duration = Duration::from_mins(10);
/// Characters of an engine's message that are passed on.
const MESSAGE_CHARS_MAX: usize = 400;

/// What to run.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The query.
    pub text: String,
    /// `now()` of the query.
    pub now: Micros,
    /// Bounds `Timestamp`: first included, second not.
    pub range: Option<(i64, i64)>,
    /// Bounds `IngestTime` likewise.
    pub ingested: Option<(i64, i64)>,
    /// Instead of the lake's rows of a table, these.
    pub rows: Option<(String, Vec<RecordBatch>)>,
    /// Rows of the answer at most.
    pub rows_max: usize,
}

/// Rows that were found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Columns.
    pub columns: Vec<kql::Column>,
    /// Rows.
    pub batches: Vec<RecordBatch>,
    /// Whether there are more than `rows_max`.
    pub more: bool,
    /// Tables that the query reads.
    pub tables: Vec<String>,
}

impl Found {
    /// Rows in it.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// The door.
pub trait Queries: Send + Sync {
    /// What the analyser says.
    fn analyze(&self, text: &str, now: Micros) -> Result<kql::Analysis, String>;
    /// Runs a query.
    fn run(&self, ask: Ask) -> BoxFuture<'_, Result<Found, String>>;
    /// Why the query cannot run row by row on the stream; none if it can.
    fn stream_refusal<'a>(&'a self, text: &'a str, now: Micros) -> BoxFuture<'a, Option<String>>;
}

/// The rows of the lake.
pub struct LakeQueries {
    lake: Arc<Lake>,
    places: Option<Arc<dyn kql::functions::Places>>,
}

impl LakeQueries {
    /// Over a tenant's lake.
    #[must_use]
    pub fn new(lake: Arc<Lake>) -> Self {
        Self { lake, places: None }
    }

    /// With what is known of where addresses are.
    #[must_use]
    pub fn knowing(mut self, places: Option<Arc<dyn kql::functions::Places>>) -> Self {
        self.places = places;
        self
    }

    fn context(&self, now: Micros) -> kql::Context {
        kql::Context { now: now.0, places: self.places.clone() }
    }
}

/// A session for the server's own queries.
pub(crate) fn session() -> Result<SessionContext, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(MEMORY_BYTES))).build_arc()?;
    Ok(garrison_lake::provider::session(session_config().with_target_partitions(1), runtime))
}

/// An engine's error in a few words.
pub(crate) fn told(error: &DataFusionError) -> String {
    error.find_root().strip_backtrace().chars().take(MESSAGE_CHARS_MAX).collect()
}

fn failure(error: kql::Failure, text: &str) -> String {
    match error {
        kql::Failure::Text(diagnostics) => {
            let errors = diagnostics.iter().filter(|d| d.severity == kql::Severity::Error).take(3).map(|d| {
                let (line, column) = d.place(text);
                format!("{} at {line}:{column}: {}", d.code, d.message)
            });
            errors.collect::<Vec<_>>().join("; ")
        }
        kql::Failure::Host(error) => error.to_string(),
    }
}

/// Operators of a plan that need more than the row at hand; the first one's name.
fn not_row_wise(plan: &LogicalPlan, tables: &mut usize) -> Option<String> {
    // An own stack: a plan is as deep as its query is long.
    let mut open = vec![plan];
    while let Some(node) = open.pop() {
        let reason = match node {
            LogicalPlan::TableScan(_) => {
                *tables += 1;
                (*tables > 1).then_some("it reads more than one table")
            }
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Unnest(_) => None,
            LogicalPlan::Extension(extension) if extension.node.name().to_lowercase().contains("expand") => None,
            LogicalPlan::Aggregate(_) => Some("`summarize`, `count` and their like look at many rows"),
            LogicalPlan::Distinct(_) => Some("`distinct` looks at many rows"),
            LogicalPlan::Join(_) => Some("`join` and `lookup` look at rows that came before"),
            LogicalPlan::Union(_) => Some("`union` reads more than one table"),
            LogicalPlan::Sort(_) => Some("`sort`, `top` and `serialize` look at many rows"),
            LogicalPlan::Limit(_) => Some("`take` and `top` count rows"),
            LogicalPlan::Window(_) => Some("window functions look at many rows"),
            LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => Some("it reads no hunting table"),
            _ => Some("it uses an operator that looks at many rows"),
        };
        if let Some(reason) = reason {
            return Some(reason.to_owned());
        }
        open.extend(node.inputs());
    }
    (*tables == 0).then(|| "it reads no hunting table".to_owned())
}

impl Queries for LakeQueries {
    fn analyze(&self, text: &str, now: Micros) -> Result<kql::Analysis, String> {
        Ok(kql::analyze(text, &self.catalog(None, None, None), &self.context(now)))
    }

    fn run(&self, ask: Ask) -> BoxFuture<'_, Result<Found, String>> {
        async move {
            let catalog = self.catalog(ask.range, ask.ingested, ask.rows);
            let run = tokio::spawn(run(catalog, ask.text, self.context(ask.now), ask.rows_max));
            let stop = run.abort_handle();
            match tokio::time::timeout(TIME_MAX, run).await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => Err("the query ended before its time".to_owned()),
                Err(_) => {
                    stop.abort();
                    Err(format!("the query took longer than {} minutes", TIME_MAX.as_secs() / 60))
                }
            }
        }
        .boxed()
    }

    fn stream_refusal<'a>(&'a self, text: &'a str, now: Micros) -> BoxFuture<'a, Option<String>> {
        async move {
            let catalog = self.catalog(None, None, None);
            match kql::plan(text, &catalog, &self.context(now), &NoHost).await {
                Ok(planned) => not_row_wise(&planned.plan, &mut 0),
                Err(kql::Failure::Host(error)) => Some(error.to_string()),
                Err(error) => Some(failure(error, text)),
            }
        }
        .boxed()
    }
}

impl LakeQueries {
    fn catalog(
        &self,
        range: Option<(i64, i64)>,
        ingested: Option<(i64, i64)>,
        rows: Option<(String, Vec<RecordBatch>)>,
    ) -> LakeCatalog {
        LakeCatalog { lake: Arc::clone(&self.lake), range, ingested, rows }
    }
}

async fn run(catalog: LakeCatalog, text: String, context: kql::Context, rows_max: usize) -> Result<Found, String> {
    let session = session().map_err(|e| told(&e))?;
    let host = SessionHost { session: session.clone() };
    let planned = kql::plan(&text, &catalog, &context, &host).await.map_err(|e| failure(e, &text))?;
    // One more than may be returned tells whether there are more.
    let limited = LogicalPlanBuilder::from(planned.plan).limit(0, Some(rows_max.saturating_add(1)));
    let plan = limited.and_then(LogicalPlanBuilder::build).map_err(|e| told(&e))?;
    let (batches, more) = collect(&session, &plan, rows_max).await?;
    let mut tables: Vec<String> = planned.tables.into_iter().map(|t| t.table).collect();
    tables.sort();
    tables.dedup();
    Ok(Found { columns: planned.columns, batches, more, tables })
}

/// Rows of a plan, text as plain text.
pub(crate) async fn collect(
    session: &SessionContext,
    plan: &LogicalPlan,
    rows_max: usize,
) -> Result<(Vec<RecordBatch>, bool), String> {
    let physical = session.state().create_physical_plan(plan).await.map_err(|e| told(&e))?;
    let mut stream = execute_stream(physical, session.task_ctx()).map_err(|e| told(&e))?;
    let (mut batches, mut count) = (Vec::new(), 0);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| told(&e))?;
        let room = rows_max - count;
        if batch.num_rows() > room {
            batches.push(plain(&batch.slice(0, room))?);
            return Ok((batches, true));
        }
        count += batch.num_rows();
        if batch.num_rows() > 0 {
            batches.push(plain(&batch)?);
        }
    }
    Ok((batches, false))
}

fn plain(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, array)| {
        let array = match array.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => cast(array, &DataType::Utf8).map_err(|e| e.to_string())?,
            _ => Arc::clone(array),
        };
        Ok((field.name().clone(), array, true))
    });
    let columns: Vec<_> = columns.collect::<Result<_, String>>()?;
    if columns.is_empty() {
        return Ok(batch.clone());
    }
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| e.to_string())
}

/// Runs what must be known while a query is planned.
struct SessionHost {
    session: SessionContext,
}

#[async_trait::async_trait]
impl kql::Host for SessionHost {
    async fn rows(&self, plan: LogicalPlan, rows_max: usize) -> Result<Vec<RecordBatch>, kql::HostError> {
        collect(&self.session, &plan, rows_max).await.map(|(batches, _)| batches).map_err(kql::HostError)
    }
}

/// Nothing may be run first: on the stream there is nothing before the row.
struct NoHost;

#[async_trait::async_trait]
impl kql::Host for NoHost {
    async fn rows(&self, _: LogicalPlan, _: usize) -> Result<Vec<RecordBatch>, kql::HostError> {
        Err(kql::HostError("`toscalar`, `pivot` and `bag_unpack` must look at rows before the query runs".to_owned()))
    }
}

/// The lake's tables within bounds of time.
struct LakeCatalog {
    lake: Arc<Lake>,
    range: Option<(i64, i64)>,
    ingested: Option<(i64, i64)>,
    rows: Option<(String, Vec<RecordBatch>)>,
}

/// The language's type of a table's column.
pub(crate) const fn type_of(kind: ColumnType) -> kql::Type {
    match kind {
        ColumnType::Text => kql::Type::Text,
        ColumnType::Long => kql::Type::Long,
        ColumnType::Int => kql::Type::Int,
        ColumnType::Real => kql::Type::Real,
        ColumnType::Bool => kql::Type::Bool,
        ColumnType::Datetime => kql::Type::Datetime,
        ColumnType::Dynamic => kql::Type::Dynamic,
    }
}

impl kql::Catalog for LakeCatalog {
    fn names(&self) -> Vec<String> {
        garrison_telemetry::tables().iter().map(|t| t.name.to_owned()).collect()
    }

    fn shape(&self, table: &str) -> Option<Arc<kql::TableShape>> {
        let table = garrison_telemetry::table(table)?;
        let columns = table.columns.iter().map(|c| kql::Column::new(c.name, type_of(c.kind))).collect();
        Some(Arc::new(kql::TableShape { name: table.name.to_owned(), columns }))
    }

    fn provider(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        let spec = TableSpec::of(garrison_telemetry::table(table)?);
        if let Some((_, rows)) = self.rows.as_ref().filter(|(name, _)| name == table) {
            return rows_provider(&spec, rows);
        }
        bounded(&self.lake, &spec, self.range, self.ingested)
    }
}

/// A table of the lake within bounds of time.
pub(crate) fn bounded(
    lake: &Lake,
    spec: &TableSpec,
    range: Option<(i64, i64)>,
    ingested: Option<(i64, i64)>,
) -> Option<Arc<dyn TableProvider>> {
    let Ok(snapshot) = lake.snapshot(&spec.name) else { return Some(Arc::new(LakeTableProvider::empty(spec))) };
    let table: Arc<dyn TableProvider> = Arc::new(LakeTableProvider::new(snapshot, Arc::new(ScanFigures::default())));
    let schema = table.schema();
    let time = |micros: i64| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
    let mut filters = Vec::new();
    for (column, bounds) in [(TIME_COLUMN, range), (INGEST_COLUMN, ingested)] {
        if let Some((from, to)) = bounds.filter(|_| schema.column_with_name(column).is_some()) {
            let column = || col(datafusion::common::Column::new_unqualified(column));
            filters.push(column().gt_eq(time(from)).and(column().lt(time(to))));
        }
    }
    if filters.is_empty() {
        return Some(table);
    }
    let mut plan = LogicalPlanBuilder::scan(spec.name.as_str(), provider_as_source(table), None).ok()?;
    for filter in filters {
        plan = plan.filter(filter).ok()?;
    }
    Some(Arc::new(ViewTable::new(plan.build().ok()?, None)))
}

/// Rows as they arrived, in the shape that the table has in queries.
fn rows_provider(spec: &TableSpec, rows: &[RecordBatch]) -> Option<Arc<dyn TableProvider>> {
    let schema = query_schema(&spec.schema);
    let batches = rows.iter().map(|batch| {
        let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&schema), columns.collect::<Result<_, _>>()?, &options)
    });
    let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>().ok()?;
    Some(Arc::new(MemTable::try_new(schema, vec![batches]).ok()?))
}
