//! Counting rows by one column of text, entry by entry of its dictionaries.
//!
//! `summarize count() by FileName` over fifty million rows would turn the column's dictionary into fifty million views
//! and group those. A Parquet file holds such a column as a dictionary for each row group and one small number a row;
//! counting the numbers and grouping the entries gives the same answer. The key may be any expression over that one
//! column: it is computed once an entry.
//!
//! [`CountByDictionary`] finds such a partial aggregate above a scan of the lake and puts [`TallyExec`] in its place,
//! with the partial aggregate kept below it. Only when it runs are the files' footers read; a group of files in which a
//! page of the column is not by dictionary is counted the ordinary way.

use arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    ParquetAccessPlan, ParquetFileReaderFactory, ParquetRowSelection,
};
use datafusion::datasource::physical_plan::{FileScanConfig, FileSource as _, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt as _, TryStreamExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::basic::Encoding;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use std::fmt;
use std::sync::Arc;

/// Rows that are decoded at once: only their numbers are held.
const BATCH_ROWS: usize = 65_536;

/// The rule that puts [`TallyExec`] into a plan. It belongs at the end of a session's rules.
#[derive(Debug, Default)]
pub struct CountByDictionary;

impl PhysicalOptimizerRule for CountByDictionary {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match rewritten(&node)? {
            Some(tallied) => Ok(Transformed::yes(tallied)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "count_by_dictionary"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The node with its scans of files tallied, if it is a count that allows it.
fn rewritten(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let Some(key) = counted_key(aggregate) else { return Ok(None) };
    if let Some(tally) = TallyExec::above(node, aggregate.input(), &key) {
        return Ok(Some(Arc::new(tally)));
    }
    // Rows in memory and rows in files: each part is counted in its own way.
    let Some(union) = aggregate.input().downcast_ref::<UnionExec>() else { return Ok(None) };
    let mut any = false;
    let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    for input in union.children() {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let partial = Arc::clone(node).replace_children(vec![Arc::clone(input)], options)?;
        match TallyExec::above(&partial, input, &key) {
            Some(tally) => {
                any = true;
                parts.push(Arc::new(tally));
            }
            None => parts.push(partial),
        }
    }
    if any { UnionExec::try_new(parts).map(Some) } else { Ok(None) }
}

/// The key of a partial aggregate that only counts rows by one expression over one column.
fn counted_key(aggregate: &AggregateExec) -> Option<Arc<dyn PhysicalExpr>> {
    let groups = aggregate.group_expr();
    let simple = *aggregate.mode() == AggregateMode::Partial
        && groups.is_single()
        && groups.expr().len() == 1
        && aggregate.limit_options().is_none()
        && aggregate.dynamic_expressions_produced().is_empty()
        && aggregate.filter_expr().iter().all(Option::is_none)
        && !aggregate.aggr_expr().is_empty();
    let counts = aggregate.aggr_expr().iter().all(|measure| {
        let constant = |expr: &Arc<dyn PhysicalExpr>| {
            expr.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null())
        };
        measure.fun().name() == "count" && !measure.is_distinct() && measure.expressions().iter().all(constant)
    });
    let (key, _) = groups.expr().first()?;
    (simple && counts && !is_volatile(key)).then(|| Arc::clone(key))
}

/// Counts rows by a key over one column of text, group of files by group of files.
#[derive(Debug)]
pub struct TallyExec {
    /// The partial aggregate that it stands for.
    ordinary: Arc<dyn ExecutionPlan>,
    /// The scan below it.
    scan: FileScanConfig,
    readers: Arc<dyn ParquetFileReaderFactory>,
    key: Arc<dyn PhysicalExpr>,
    /// The one column that the key needs.
    column: Column,
    /// What the key is computed over: the scan's columns.
    input: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
}

impl TallyExec {
    /// In place of `ordinary`, whose input is `input`; `None` if that is not a plain scan of files.
    fn above(
        ordinary: &Arc<dyn ExecutionPlan>,
        input: &Arc<dyn ExecutionPlan>,
        key: &Arc<dyn PhysicalExpr>,
    ) -> Option<Self> {
        let source = input.downcast_ref::<DataSourceExec>()?;
        let scan = source.data_source().downcast_ref::<FileScanConfig>()?;
        let parquet = scan.file_source().downcast_ref::<ParquetSource>()?;
        let readers = Arc::clone(parquet.parquet_file_reader_factory()?);
        let whole = scan.file_groups.iter().flat_map(|group| group.iter()).all(|file| {
            file.extension::<ParquetRowSelection>().is_none() && file.extension::<ParquetAccessPlan>().is_none()
        });
        if scan.limit.is_some() || parquet.filter().is_some() || !whole {
            return None;
        }
        let columns = collect_columns(key);
        let column = columns.iter().next().filter(|_| columns.len() == 1)?.clone();
        let input = input.schema();
        // The scan hands columns on as they are; an expression in it would have another name or none.
        let plain = scan.file_source().projection()?.iter().nth(column.index())?;
        let stored = plain.expr.downcast_ref::<Column>()?;
        let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Utf8View);
        if stored.name() != column.name() || !text(input.field(column.index()).data_type()) {
            return None;
        }
        Some(Self {
            ordinary: Arc::clone(ordinary),
            scan: scan.clone(),
            readers,
            key: Arc::clone(key),
            column,
            input,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The files of one partition with what is needed to read the column's numbers; `None` if a page of it is not by
    /// dictionary.
    async fn opened(&self, partition: usize) -> Result<Option<Vec<Opened>>> {
        let files = self.scan.file_groups.get(partition).map(|group| group.files()).unwrap_or_default();
        let mut opened = Vec::with_capacity(files.len());
        for file in files {
            let mut reader: Box<dyn AsyncFileReader> =
                self.readers.create_reader(partition, file.clone(), None, &self.metrics)?;
            let footer = reader.get_metadata(None).await?;
            let Some(opened_file) = self.prepared(file, reader, footer)? else { return Ok(None) };
            opened.push(opened_file);
        }
        Ok(Some(opened))
    }

    fn prepared(
        &self,
        file: &PartitionedFile,
        reader: Box<dyn AsyncFileReader>,
        footer: Arc<ParquetMetaData>,
    ) -> Result<Option<Opened>> {
        let groups: Vec<usize> =
            (0..footer.num_row_groups()).filter(|at| in_range(file, footer.row_group(*at))).collect();
        let rows: i64 = groups.iter().map(|at| footer.row_group(*at).num_rows()).sum();
        let plain = ArrowReaderMetadata::try_new(Arc::clone(&footer), ArrowReaderOptions::new())?;
        let Ok(place) = plain.schema().index_of(self.column.name()) else {
            return Ok(Some(Opened { rows, numbers: None }));
        };
        if !matches!(plain.schema().field(place).data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
        {
            return Ok(None);
        }
        let descriptor = footer.file_metadata().schema_descr();
        let Some(leaf) = (0..descriptor.num_columns()).find(|at| descriptor.get_column_root_idx(*at) == place) else {
            return Ok(None);
        };
        if !groups.iter().all(|at| by_dictionary(footer.row_group(*at), leaf)) {
            return Ok(None);
        }
        let numbered = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let fields = plain.schema().fields().iter().enumerate().map(|(at, field)| {
            if at == place {
                Arc::new(field.as_ref().clone().with_data_type(numbered.clone()))
            } else {
                Arc::clone(field)
            }
        });
        let schema = Schema::new_with_metadata(fields.collect::<Vec<Arc<Field>>>(), plain.schema().metadata().clone());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let metadata = ArrowReaderMetadata::try_new(footer, options)?;
        let mask = ProjectionMask::roots(metadata.parquet_schema(), [place]);
        let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
            .with_projection(mask)
            .with_row_groups(groups)
            .with_batch_size(BATCH_ROWS)
            .build()?;
        Ok(Some(Opened { rows, numbers: Some(stream) }))
    }

    /// The keys of these entries with their counts, as the partial aggregate would give them.
    fn counted(&self, entries: &ArrayRef, counts: &[i64], nulls: i64) -> Result<RecordBatch> {
        let kind = self.input.field(self.column.index()).data_type();
        let used: Vec<u64> = (0_u64..).zip(counts).filter(|(_, count)| **count > 0).map(|(at, _)| at).collect();
        let mut numbers: Vec<i64> = counts.iter().copied().filter(|count| *count > 0).collect();
        let mut texts = cast(&take(entries, &UInt64Array::from(used), None)?, kind)?;
        if nulls > 0 {
            texts = concat(&[texts.as_ref(), new_null_array(kind, 1).as_ref()])?;
            numbers.push(nulls);
        }
        let rows = texts.len();
        let columns = self.input.fields().iter().enumerate().map(|(at, field)| {
            if at == self.column.index() { Arc::clone(&texts) } else { new_null_array(field.data_type(), rows) }
        });
        // The columns that the key does not look at are null here, whatever the schema says of them.
        let fields: Vec<Field> = self.input.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect())?;
        let keys = self.key.evaluate(&batch)?.into_array(rows)?;
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
        let output = self.ordinary.schema();
        let mut columns = vec![keys];
        columns.resize(output.fields().len(), numbers);
        Ok(RecordBatch::try_new(output, columns)?)
    }

    /// Rows of a file that lacks the column: all null.
    fn absent(&self, rows: i64) -> Result<RecordBatch> {
        let none: ArrayRef = new_null_array(&DataType::Utf8, 0);
        self.counted(&none, &[], rows)
    }

    /// The counts of one row group.
    fn tally(&self, reader: ParquetRecordBatchReader) -> Result<Vec<RecordBatch>> {
        let mut done = Vec::new();
        let mut entries: Option<ArrayRef> = None;
        let mut lanes = Lanes::default();
        for batch in reader {
            let batch = batch?;
            let column = batch.columns().first().and_then(|column| column.as_dictionary_opt::<Int32Type>());
            let Some(column) = column else {
                return Err(DataFusionError::Internal("a dictionary was asked for and not given".into()));
            };
            let same = entries.as_ref().is_some_and(|known| known.to_data().ptr_eq(&column.values().to_data()));
            if !same {
                if let Some(known) = entries.take() {
                    let (counts, nulls) = lanes.take();
                    done.push(self.counted(&known, &counts, nulls)?);
                }
                entries = Some(Arc::clone(column.values()));
                lanes = Lanes::of(column.values().len());
            }
            lanes.add(column.keys());
        }
        if let Some(known) = entries {
            let (counts, nulls) = lanes.take();
            done.push(self.counted(&known, &counts, nulls)?);
        }
        Ok(done)
    }

    fn replaced(&self, ordinary: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        // Who puts another input below an aggregate may have another scan there.
        match ordinary.downcast_ref::<AggregateExec>().and_then(|a| Self::above(&ordinary, a.input(), &self.key)) {
            Some(tally) => Arc::new(tally),
            None => ordinary,
        }
    }
}

/// One file: its rows, and the numbers of the column if it has the column.
struct Opened {
    rows: i64,
    numbers: Option<parquet::arrow::async_reader::ParquetRecordBatchStream<Box<dyn AsyncFileReader>>>,
}

/// Whether a row group belongs to the part of the file that this scan reads, by the engine's own rule.
fn in_range(file: &PartitionedFile, group: &RowGroupMetaData) -> bool {
    let Some(range) = &file.range else { return true };
    let Some(first) = group.columns().first() else { return true };
    let offset = first.dictionary_page_offset().unwrap_or_else(|| first.data_page_offset());
    range.start <= offset && offset < range.end
}

fn by_dictionary(group: &RowGroupMetaData, leaf: usize) -> bool {
    let Some(chunk) = group.columns().get(leaf) else { return false };
    chunk
        .page_encoding_stats_mask()
        .is_some_and(|pages| pages.is_only(Encoding::RLE_DICTIONARY) || pages.is_only(Encoding::PLAIN_DICTIONARY))
}

/// Counts of a dictionary's entries. Neighbouring rows often have the same entry, and a counter that was just written is
/// slow to read again: two lanes take turns.
#[derive(Default)]
struct Lanes {
    even: Vec<i64>,
    odd: Vec<i64>,
    nulls: i64,
}

impl Lanes {
    fn of(entries: usize) -> Self {
        Self { even: vec![0; entries], odd: vec![0; entries], nulls: 0 }
    }

    fn add(&mut self, keys: &arrow::array::PrimitiveArray<Int32Type>) {
        let up = |lane: &mut Vec<i64>, key: i32| {
            if let Some(count) = usize::try_from(key).ok().and_then(|key| lane.get_mut(key)) {
                *count += 1;
            }
        };
        if keys.null_count() > 0 {
            self.nulls += i64::try_from(keys.null_count()).unwrap_or(i64::MAX);
            keys.iter().flatten().for_each(|key| up(&mut self.even, key));
            return;
        }
        let pairs = keys.values().chunks_exact(2);
        let last = pairs.remainder();
        for pair in pairs {
            if let [even, odd] = pair {
                up(&mut self.even, *even);
                up(&mut self.odd, *odd);
            }
        }
        last.iter().for_each(|key| up(&mut self.even, *key));
    }

    fn take(&mut self) -> (Vec<i64>, i64) {
        let lanes = std::mem::take(self);
        (lanes.even.iter().zip(&lanes.odd).map(|(even, odd)| even + odd).collect(), lanes.nulls)
    }
}

impl DisplayAs for TallyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TallyExec: column={}, key={}", self.column.name(), self.key)
    }
}

impl ExecutionPlan for TallyExec {
    fn name(&self) -> &'static str {
        "TallyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.ordinary.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.ordinary]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        // The key is visited where it is owned, in the aggregate below.
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(ordinary), true) => Ok(self.replaced(ordinary)),
            _ => Err(DataFusionError::Internal("TallyExec has one input".into())),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let this = Self {
            ordinary: Arc::clone(&self.ordinary),
            scan: self.scan.clone(),
            readers: Arc::clone(&self.readers),
            key: Arc::clone(&self.key),
            column: self.column.clone(),
            input: Arc::clone(&self.input),
            metrics: self.metrics.clone(),
        };
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let schema = self.schema();
        let batches = futures::stream::once(async move {
            let this = Arc::new(this);
            let Some(files) = this.opened(partition).await? else {
                return Ok::<_, DataFusionError>(this.ordinary.execute(partition, context)?.boxed());
            };
            let counted = futures::stream::iter(files.into_iter().map(Ok)).try_filter_map(move |file: Opened| {
                let (this, baseline) = (Arc::clone(&this), baseline.clone());
                async move { counts_of_file(&this, file, &baseline).await.map(Some) }
            });
            Ok(counted.map_ok(|batches| futures::stream::iter(batches.into_iter().map(Ok))).try_flatten().boxed())
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.try_flatten())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

async fn counts_of_file(tally: &TallyExec, file: Opened, metrics: &BaselineMetrics) -> Result<Vec<RecordBatch>> {
    let mut done = Vec::new();
    match file.numbers {
        None => done.push(tally.absent(file.rows)?),
        Some(mut stream) => {
            while let Some(group) = stream.next_row_group().await? {
                let timer = metrics.elapsed_compute().timer();
                done.extend(tally.tally(group)?);
                timer.done();
                // A row group is some milliseconds of work: others have their turn, and a cancelled query ends here.
                tokio::task::yield_now().await;
            }
        }
    }
    done.iter().for_each(|batch| metrics.record_output(batch.num_rows()));
    Ok(done)
}
