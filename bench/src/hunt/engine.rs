//! Our side: a query's text is planned and run as the server does it, over the lake's snapshot of the moment.

use anyhow::{Context as _, anyhow};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use garrison_kql as kql;
use garrison_lake::Lake;
use garrison_lake::provider::{FOOTERS_BYTES_MAX, LakeTableProvider, ScanFigures, session_config};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Rows of an answer: more than any query of the list gives.
const ROWS_MAX: usize = 10_000_000;

/// Settings of the query engine to try out, beside those that the server uses.
static SETTINGS: std::sync::OnceLock<Vec<(String, String)>> = std::sync::OnceLock::new();

/// Sets them, as `key=value,key=value`.
pub fn settings(list: &str) {
    let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
    let _ = SETTINGS.set(pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect());
}

/// The engine over one lake. Footers that were read are kept in `runtime`.
#[derive(Clone)]
pub struct Engine {
    lake: Lake,
    runtime: Arc<RuntimeEnv>,
    now: i64,
}

struct Tables {
    lake: Lake,
    figures: Arc<ScanFigures>,
}

impl kql::Catalog for Tables {
    fn names(&self) -> Vec<String> {
        self.lake.tables()
    }

    fn shape(&self, table: &str) -> Option<Arc<kql::TableShape>> {
        let table = garrison_telemetry::table(table)?;
        let columns = table.columns.iter().map(|column| {
            use garrison_telemetry::ColumnType as C;
            let kind = match column.kind {
                C::Text => kql::Type::Text,
                C::Long => kql::Type::Long,
                C::Int => kql::Type::Int,
                C::Real => kql::Type::Real,
                C::Bool => kql::Type::Bool,
                C::Datetime => kql::Type::Datetime,
                C::Dynamic => kql::Type::Dynamic,
            };
            kql::Column::new(column.name, kind)
        });
        Some(Arc::new(kql::TableShape { name: table.name.to_owned(), columns: columns.collect() }))
    }

    fn provider(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        let snapshot = self.lake.snapshot(table).ok()?;
        Some(Arc::new(LakeTableProvider::new(snapshot, Arc::clone(&self.figures))))
    }
}

struct Host(SessionContext);

#[async_trait]
impl kql::Host for Host {
    async fn rows(&self, plan: LogicalPlan, rows_max: usize) -> Result<Vec<RecordBatch>, kql::HostError> {
        let rows = async { self.0.execute_logical_plan(plan).await?.limit(0, Some(rows_max))?.collect().await };
        rows.await.map_err(|error| kql::HostError(error.to_string()))
    }
}

/// What a query gave, and what it took to find it.
pub struct Outcome {
    pub seconds: f64,
    pub batches: Vec<RecordBatch>,
    pub figures: Arc<ScanFigures>,
}

impl Engine {
    /// The engine with no caches filled.
    pub fn cold(lake: &Lake, now: i64) -> anyhow::Result<Self> {
        let runtime = RuntimeEnvBuilder::new()
            .with_cache_manager(CacheManagerConfig::default().with_metadata_cache_limit(FOOTERS_BYTES_MAX))
            .build_arc()?;
        Ok(Self { lake: lake.clone(), runtime, now })
    }

    async fn plan(
        &self,
        text: &str,
        threads: usize,
    ) -> anyhow::Result<(SessionContext, Arc<dyn ExecutionPlan>, Arc<ScanFigures>)> {
        let mut config = session_config().with_target_partitions(threads);
        for (key, value) in SETTINGS.get().into_iter().flatten() {
            config.options_mut().set(key, value).with_context(|| format!("cannot set `{key}`"))?;
        }
        let session = garrison_lake::provider::session(config, Arc::clone(&self.runtime));
        let figures = Arc::new(ScanFigures::default());
        let tables = Tables { lake: self.lake.clone(), figures: Arc::clone(&figures) };
        let planned = kql::plan(text, &tables, &kql::Context::at(self.now), &Host(session.clone())).await;
        let planned = planned.map_err(|failure| match failure {
            kql::Failure::Text(found) => anyhow!("{text}: {found:?}"),
            kql::Failure::Host(error) => anyhow!("{text}: {error}"),
        })?;
        let plan = session.state().create_physical_plan(&planned.plan).await.context("no physical plan")?;
        Ok((session, plan, figures))
    }

    /// Runs a query, planning included.
    pub async fn run(&self, text: &str, threads: usize) -> anyhow::Result<Outcome> {
        let start = std::time::Instant::now();
        let (session, plan, figures) = self.plan(text, threads).await?;
        let batches = collect(plan, session.task_ctx()).await.with_context(|| text.to_owned())?;
        Ok(Outcome { seconds: start.elapsed().as_secs_f64(), batches, figures })
    }

    /// The plan in words, with what its parts did.
    pub async fn explain(&self, text: &str, threads: usize) -> anyhow::Result<String> {
        let (session, plan, _) = self.plan(text, threads).await?;
        collect(Arc::clone(&plan), session.task_ctx()).await?;
        let annotated = datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(plan.as_ref());
        Ok(annotated.indent(true).to_string())
    }
}

impl Outcome {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Which share of the files and blocks was looked at, in words.
    pub fn pruning(&self) -> String {
        let f = &self.figures;
        let (files, read) = (f.files_total.load(Relaxed), f.files_read.load(Relaxed));
        let read = read.saturating_sub(f.files_without_words.load(Relaxed));
        let (blocks, skipped) = (f.blocks_read.load(Relaxed), f.blocks_skipped.load(Relaxed));
        let words =
            if blocks + skipped > 0 { format!(", {blocks}/{} blocks", blocks + skipped) } else { String::new() };
        format!("{read}/{files} files{words}")
    }

    /// The same sum that the peer makes of its rows.
    pub fn checksum(&self) -> anyhow::Result<u64> {
        let mut total = 0_u64;
        for batch in &self.batches {
            for row in 0..batch.num_rows().min(ROWS_MAX) {
                let cells = batch.columns().iter().map(|column| cell(column.as_ref(), row));
                let line = cells.collect::<anyhow::Result<Vec<_>>>()?.join("\u{1f}");
                total = total.wrapping_add(u64::from(crc32fast::hash(line.as_bytes())));
            }
        }
        Ok(total)
    }
}

fn cell(array: &dyn Array, row: usize) -> anyhow::Result<String> {
    if array.is_null(row) {
        return Ok(String::new());
    }
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Float64 => exponent(array.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(_, _) => array.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().unwrap_or_default();
            return cell(dictionary.values().as_ref(), key);
        }
        other => return Err(anyhow!("no words for {other}")),
    })
}

/// Seven digits, the exponent with its sign and two digits, as the peer's language writes it.
fn exponent(value: f64) -> String {
    let text = format!("{value:.6e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}
