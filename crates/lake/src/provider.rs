//! The lake's tables for the query engine: files of the Delta log and rows in memory as one table, as of one moment.
//!
//! ```text
//! Snapshot ─┬─ hot rows ──── projected, cast to the table's types ──▶ memory scan ─┐
//!           └─ files ── pruned by bounds in the log, newest first ──▶ Parquet scan ┴▶ union
//! ```
//!
//! A scan is a plain Parquet scan built from the log's list of active files, so that it can be shipped to any executor
//! of the same engine. Files are pruned before one is opened, by the bounds of [`crate::STAT_COLUMNS`] that the log
//! holds; inside a file row groups are pruned by statistics and bloom filters, pages by the page index, and rows by the
//! predicate while they are decoded ([`session_config`]). Before that, the term index of each file ([`crate::terms`])
//! leaves only the blocks of rows that can hold the words of the query. Text is read as `Utf8View`. A column that a file or a batch
//! lacks is null.

mod bounds;
mod clues;
mod sealed;
mod tally;

use crate::crypt::LakeKey;
use crate::files::ActiveFile;
use crate::scan::Snapshot;
use crate::spec::{TIME_COLUMN, TableSpec};
use crate::terms::{Blocks, TermIndex};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bounds::FileBounds;
use clues::Clue;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetFileReaderFactory, ParquetRowSelection,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType, utils::conjunction,
};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
pub use tally::{CountByDictionary, TallyExec};

/// Rows in memory that are handed on at once; appends are often of a few rows.
const HOT_BATCH_ROWS: usize = 8_192;

/// Files that carry their bounds into the plan, for pruning by what is only known while the query runs (the worst row
/// of a top-n, the keys of a join). Bounds of very many files would cost more time than they save.
const BOUNDED_FILES_MAX: usize = 4_096;

/// Bytes of file footers with page indexes that a server keeps between queries. A file of 128 MiB has about a megabyte
/// of them; reading one anew costs more than most queries.
pub const FOOTERS_BYTES_MAX: usize = 256 << 20;

/// Session settings that scans of the lake want: page index and bloom filters used. Whether predicates are evaluated
/// inside the decoder is each scan's own matter ([`in_decoder`]).
#[must_use]
pub fn session_config() -> SessionConfig {
    let mut config = SessionConfig::new();
    let parquet = &mut config.options_mut().execution.parquet;
    parquet.pushdown_filters = false;
    parquet.reorder_filters = true;
    parquet.enable_page_index = true;
    parquet.bloom_filter_on_read = true;
    parquet.pruning = true;
    config
}

/// A session over the lake's tables with the rules of ours that make its scans cheaper.
#[must_use]
pub fn session(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionContext {
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(CountByDictionary))
        .build();
    SessionContext::new_with_state(state)
}

/// A column's type for the query engine: text as views, all else as stored.
#[must_use]
pub fn query_type(stored: &DataType) -> DataType {
    match stored {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        other => other.clone(),
    }
}

/// A schema for the query engine.
#[must_use]
pub fn query_schema(stored: &Schema) -> SchemaRef {
    let fields: Vec<Field> =
        stored.fields().iter().map(|field| Field::new(field.name(), query_type(field.data_type()), true)).collect();
    Arc::new(Schema::new(fields))
}

/// The same for tables that are read from an object store.
fn remote_schema(stored: &Schema) -> SchemaRef {
    let fields: Vec<Field> =
        stored.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// What a query's scans of files amount to, counted where plans are made.
#[derive(Debug, Default)]
pub struct ScanFigures {
    /// Files of the tables.
    pub files_total: AtomicU64,
    /// Files that could not be ruled out by their bounds.
    pub files_read: AtomicU64,
    /// Files that were ruled out by their term index.
    pub files_without_words: AtomicU64,
    /// Blocks of 8,192 rows of the files that were not, and that were.
    pub blocks_read: AtomicU64,
    /// See `blocks_read`.
    pub blocks_skipped: AtomicU64,
    /// Rows in memory that were looked at.
    pub hot_rows: AtomicU64,
}

/// A file to read and, if not all of it, the blocks that may hold rows.
type Part = (Arc<ActiveFile>, Option<Blocks>);

/// Leaves out what term indexes rule out. Reads files, so it is not for an async thread.
fn by_words(
    folder: &std::path::Path,
    files: Vec<Arc<ActiveFile>>,
    clue: &Clue,
    figures: &ScanFigures,
    key: Option<&LakeKey>,
) -> Vec<Part> {
    let mut parts = Vec::with_capacity(files.len());
    for file in files {
        let index = TermIndex::open(&folder.join(&file.path), file.size, file.rows, key);
        let Some(blocks) = index.and_then(|index| clue.blocks(&index)) else {
            parts.push((file, None));
            continue;
        };
        let chosen = blocks.chosen();
        figures.blocks_skipped.fetch_add((blocks.count() - chosen) as u64, Relaxed);
        if chosen == 0 {
            figures.files_without_words.fetch_add(1, Relaxed);
            continue;
        }
        figures.blocks_read.fetch_add(chosen as u64, Relaxed);
        parts.push((file, (chosen < blocks.count()).then_some(blocks)));
    }
    parts
}

/// Columns beside those of the predicate from which on it pays to decode them only where it holds.
const LATE_COLUMNS_MIN: usize = 8;

/// Whether the decoder evaluates the predicate, and decodes the other columns only where it holds. That is a great gain
/// where few rows are left or many columns wait; where many rows in short runs are left it is slower by half than to
/// decode everything and filter then, as measured by `cargo xtask bench hunt`.
fn in_decoder(filters: &[Expr], files: &[Part], schema: &SchemaRef, projected: usize) -> bool {
    // Without a predicate of its own there may be one that a join or a limit finds while it runs.
    if filters.is_empty() {
        return true;
    }
    let asked: HashSet<&str> = filters.iter().flat_map(Expr::column_refs).map(|column| column.name.as_str()).collect();
    if projected.saturating_sub(asked.len()) >= LATE_COLUMNS_MIN {
        return true;
    }
    let rows = |part: &Part| part.0.rows as f64;
    let share = |blocks: &Blocks| blocks.chosen() as f64 / blocks.count().max(1) as f64;
    let all: f64 = files.iter().map(rows).sum();
    let left: f64 = files.iter().map(|part| rows(part) * part.1.as_ref().map_or(1.0, share)).sum();
    if left * 4.0 < all {
        return true;
    }
    // Numbers are decoded fast, and few rows have just this one.
    filters.iter().any(|filter| match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(..)) | (Expr::Literal(..), Expr::Column(column)) => {
                schema.field_with_name(&column.name).is_ok_and(|field| field.data_type().is_integer())
            }
            _ => false,
        },
        _ => false,
    })
}

/// The rows of these blocks.
fn selection(blocks: &Blocks, rows: u64) -> RowSelection {
    let runs = blocks.runs(usize::try_from(rows).unwrap_or(usize::MAX));
    let selectors = runs.into_iter().map(
        |(count, chosen)| {
            if chosen { RowSelector::select(count) } else { RowSelector::skip(count) }
        },
    );
    RowSelection::from(selectors.collect::<Vec<_>>())
}

/// One table as of one moment.
pub struct LakeTableProvider {
    snapshot: Option<Snapshot>,
    schema: SchemaRef,
    figures: Arc<ScanFigures>,
}

impl std::fmt::Debug for LakeTableProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeTableProvider")
            .field("table", &self.snapshot.as_ref().map(|s| s.table.as_str()))
            .field("version", &self.snapshot.as_ref().map(|s| s.version))
            .finish_non_exhaustive()
    }
}

impl LakeTableProvider {
    /// The rows of a snapshot.
    pub fn new(snapshot: Snapshot, figures: Arc<ScanFigures>) -> Self {
        // Between machines text travels as plain arrays: views would carry whole buffers for a few of their rows.
        let schema =
            if snapshot.bucket.is_some() { remote_schema(&snapshot.schema) } else { query_schema(&snapshot.schema) };
        Self { schema, snapshot: Some(snapshot), figures }
    }

    /// A table that has no rows because nothing writes it.
    pub fn empty(spec: &TableSpec) -> Self {
        Self { schema: query_schema(&spec.schema), snapshot: None, figures: Arc::default() }
    }

    /// What it reads; `None` if nothing writes the table.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// The files that may hold rows for which all filters hold, newest rows first.
    fn files(&self, snapshot: &Snapshot, state: &dyn Session, filters: &[Expr]) -> Vec<Arc<ActiveFile>> {
        let mut files: Vec<Arc<ActiveFile>> = snapshot.files.to_vec();
        self.figures.files_total.fetch_add(files.len() as u64, Relaxed);
        if let Some(kept) = self.kept(&files, state, filters) {
            let mut kept = kept.into_iter();
            files.retain(|_| kept.next().unwrap_or(true));
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.stats.time_max));
        self.figures.files_read.fetch_add(files.len() as u64, Relaxed);
        files
    }

    /// For each file whether it may hold such rows; `None` if bounds say nothing about the filters.
    fn kept(&self, files: &[Arc<ActiveFile>], state: &dyn Session, filters: &[Expr]) -> Option<Vec<bool>> {
        let filter = conjunction(filters.iter().cloned())?;
        let columns = DFSchema::try_from(Arc::clone(&self.schema)).ok()?;
        let physical = state.create_physical_expr(filter, &columns).ok()?;
        let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema));
        let predicate = builder.build(physical)?;
        predicate.prune(&FileBounds(files)).ok()
    }

    fn files_plan(
        &self,
        snapshot: &Snapshot,
        files: &[Part],
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let address = match &snapshot.bucket {
            Some(bucket) => ObjectStoreUrl::parse(bucket.url())?,
            None => ObjectStoreUrl::local_filesystem(),
        };
        let runtime = state.runtime_env();
        let store = runtime.object_store(&address)?;
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let projected = projection.map_or(self.schema.fields().len(), Vec::len);
        // A session may ask for it everywhere, to compare.
        let decoder = options.global.pushdown_filters || in_decoder(filters, files, &self.schema, projected);
        let source = ParquetSource::new(Arc::clone(&self.schema))
            .with_table_parquet_options(options)
            .with_pushdown_filters(decoder)
            .with_parquet_file_reader_factory(reader_factory(store, footers, snapshot.key.as_ref()));
        // Dealt out like cards: each group begins with the newest rows it has.
        let group_count = state.config().target_partitions().clamp(1, files.len().max(1));
        let mut groups = vec![FileGroup::new(Vec::new()); group_count];
        let bounded = files.len() <= BOUNDED_FILES_MAX;
        for (at, (file, blocks)) in files.iter().enumerate() {
            let mut part = PartitionedFile::from(object_meta(snapshot, file)?);
            if let Some(blocks) = blocks {
                part = part.with_extension(ParquetRowSelection::new(selection(blocks, file.rows)));
            }
            if bounded {
                part = part.with_statistics(Arc::new(self.statistics(file)));
            }
            if let Some(group) = groups.get_mut(at % group_count) {
                group.push(part);
            }
        }
        let rows: u64 = files.iter().map(|(file, _)| file.rows).sum();
        let mut whole = Statistics::new_unknown(&self.schema);
        whole.num_rows = Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
        let config = FileScanConfigBuilder::new(address, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(whole)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Bounds of a file in the query engine's words.
    fn statistics(&self, file: &ActiveFile) -> Statistics {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(usize::try_from(file.rows).unwrap_or(usize::MAX));
        let zone = || Some("UTC".into());
        if let (Some((low, high)), Ok(at)) =
            (file.stats.time_min.zip(file.stats.time_max), self.schema.index_of(TIME_COLUMN))
        {
            let bound = |time: garrison_model::Micros| {
                Precision::Inexact(ScalarValue::TimestampMicrosecond(Some(time.0), zone()))
            };
            set(&mut statistics, at, bound(low), bound(high));
        }
        for (column, (low, high)) in &file.stats.text {
            if let Ok(at) = self.schema.index_of(column) {
                let bound = |text: &String| Precision::Inexact(text_value(self.schema.field(at).data_type(), text));
                set(&mut statistics, at, bound(low), bound(high));
            }
        }
        statistics
    }

    fn hot_plan(
        &self,
        snapshot: &Snapshot,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if snapshot.hot.is_empty() {
            return Ok(None);
        }
        let schema = datafusion::common::project_schema(&self.schema, projection)?;
        let batches = hot_batches(&snapshot.hot, &schema)?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        self.figures.hot_rows.fetch_add(rows as u64, Relaxed);
        let parts = state.config().target_partitions().clamp(1, batches.len().max(1));
        let mut partitions: Vec<Vec<RecordBatch>> = vec![Vec::new(); parts];
        // The newest come last in the snapshot and first here.
        for (at, batch) in batches.into_iter().rev().enumerate() {
            if let Some(partition) = partitions.get_mut(at % parts) {
                partition.push(batch);
            }
        }
        let source: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(&partitions, schema, None)?;
        Ok(Some(source))
    }
}

fn text_value(kind: &DataType, text: &str) -> ScalarValue {
    match kind {
        DataType::Utf8View => ScalarValue::Utf8View(Some(text.to_owned())),
        _ => ScalarValue::Utf8(Some(text.to_owned())),
    }
}

/// What opens the files of a lake: the one place, for plans that run here and elsewhere.
#[must_use]
pub fn reader_factory(
    store: Arc<dyn ObjectStore>,
    footers: Arc<FileMetadataCache>,
    key: Option<&LakeKey>,
) -> Arc<dyn ParquetFileReaderFactory> {
    match key {
        None => Arc::new(CachedParquetFileReaderFactory::new(store, footers)),
        Some(key) => Arc::new(sealed::SealedReaders::new(store, footers, key.clone())),
    }
}

fn set(statistics: &mut Statistics, at: usize, low: Precision<ScalarValue>, high: Precision<ScalarValue>) {
    if let Some(column) = statistics.column_statistics.get_mut(at) {
        *column = ColumnStatistics { min_value: low, max_value: high, ..ColumnStatistics::new_unknown() };
    }
}

fn object_meta(snapshot: &Snapshot, file: &ActiveFile) -> Result<ObjectMeta> {
    // Not looked up on disk: the log says that it is there, and a lookup for each of thousands of files takes time.
    let location = match &snapshot.bucket {
        Some(bucket) => bucket.path(&file.path).map_err(|error| DataFusionError::External(Box::new(error)))?,
        None => object_store::path::Path::from_absolute_path(snapshot.folder.join(&file.path))
            .map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))?,
    };
    let modified =
        std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(file.modified_ms).unwrap_or_default());
    Ok(ObjectMeta { location, last_modified: modified.into(), size: file.size, e_tag: None, version: None })
}

/// Rows in memory with exactly these columns, small batches joined.
fn hot_batches(hot: &[RecordBatch], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let mut done = Vec::new();
    let mut gathered: Vec<RecordBatch> = Vec::new();
    let mut gathered_rows = 0;
    let mut join = |gathered: &mut Vec<RecordBatch>, rows: &mut usize| -> Result<()> {
        match gathered.len() {
            0 => {}
            1 => done.append(gathered),
            _ => done.push(concat_batches(schema, gathered.iter())?),
        }
        gathered.clear();
        *rows = 0;
        Ok(())
    };
    for batch in hot {
        if gathered_rows + batch.num_rows() > HOT_BATCH_ROWS {
            join(&mut gathered, &mut gathered_rows)?;
        }
        gathered_rows += batch.num_rows();
        gathered.push(conform(batch, schema)?);
    }
    join(&mut gathered, &mut gathered_rows)?;
    Ok(done)
}

fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(array) if array.data_type() == field.data_type() => Ok(Arc::clone(array)),
            Some(array) => cast(array, field.data_type()),
        })
        .collect::<std::result::Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

#[async_trait]
impl TableProvider for LakeTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Bounds only rule files out: the engine keeps the filter, and pushes it into the decoder itself.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if let Some(snapshot) = &self.snapshot {
            parts.extend(self.hot_plan(snapshot, state, projection)?);
            let files = self.files(snapshot, state, filters);
            // Term indexes lie beside local files only.
            let files: Vec<Part> = match Clue::of(filters).filter(|_| snapshot.bucket.is_none()) {
                Some(clue) if !files.is_empty() => {
                    let (folder, figures) = (snapshot.folder.clone(), Arc::clone(&self.figures));
                    let key = snapshot.key.clone();
                    tokio::task::spawn_blocking(move || by_words(&folder, files, &clue, &figures, key.as_ref()))
                        .await
                        .map_err(|error| DataFusionError::External(Box::new(error)))?
                }
                _ => files.into_iter().map(|file| (file, None)).collect(),
            };
            if !files.is_empty() {
                parts.push(self.files_plan(snapshot, &files, state, projection, filters, limit)?);
            }
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(datafusion::common::project_schema(&self.schema, projection)?))),
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}
