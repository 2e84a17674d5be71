//! Reading a table: rows in memory and rows in files, as of one moment.

use crate::crypt::LakeKey;
use crate::error::LakeError;
use crate::files::ActiveFile;
use crate::filter::{Condition, Filter, Test};
use crate::flush::plain_column;
use crate::read::{ScanCounters, open_file};
use crate::spec::{DEVICE_COLUMN, SEQUENCE_COLUMN, TIME_COLUMN, TableSpec};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{
    SortColumn, SortOptions, cast, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch,
};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use garrison_model::Micros;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows that an ordered scan may be asked for: they are held in memory and sorted.
pub const ORDERED_ROWS_MAX: usize = 100_000;

/// In which order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they are found, without a bound on their number.
    #[default]
    Any,
    /// Greatest (Timestamp, DeviceId, ReportId) first; needs a limit.
    NewestFirst,
    /// Least (Timestamp, DeviceId, ReportId) first; needs a limit.
    OldestFirst,
}

/// A place in an ordered scan: the key of the last row that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Timestamp of that row.
    pub time: Micros,
    /// Its DeviceId.
    pub device: String,
    /// Its ReportId.
    pub sequence: i64,
}

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct ScanRequest {
    /// Table.
    pub table: String,
    /// Least `Timestamp`, included.
    pub from: Option<Micros>,
    /// Greatest `Timestamp`, not included.
    pub to: Option<Micros>,
    /// Only rows of these devices; all if empty.
    pub devices: Vec<String>,
    /// Columns to return, in this order; all columns of the table if `None`.
    pub columns: Option<Vec<String>>,
    /// Conditions that must all hold.
    pub filters: Vec<Filter>,
    /// Order of the rows.
    pub order: Order,
    /// Rows at most.
    pub limit: Option<usize>,
    /// In an ordered scan, only rows after this one in the scan's order.
    pub after: Option<Cursor>,
}

impl ScanRequest {
    /// Everything of a table.
    pub fn table(name: impl Into<String>) -> Self {
        Self { table: name.into(), ..Self::default() }
    }
}

/// A table at one moment: no row is in both parts, none is in neither. Files stay on disk for the grace time of
/// [`crate::LakeConfig::tombstone_grace`] after they left the table.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Table.
    pub table: String,
    /// Folder that the files' paths start from.
    pub folder: PathBuf,
    /// Place on an object store that they start from instead.
    pub bucket: Option<crate::Bucket>,
    /// Version of the Delta table that the files are of.
    pub version: u64,
    /// Stored columns with plain types, without the partition column.
    pub schema: SchemaRef,
    /// Parquet files. A file may lack columns of the schema: they are null in it.
    pub files: Arc<Vec<Arc<ActiveFile>>>,
    /// Rows that are not in files yet, in the order they came. A batch may lack columns, and text may be a dictionary.
    pub hot: Vec<RecordBatch>,
    /// What sealed files are read with.
    pub key: Option<LakeKey>,
}

/// Rows of a scan.
pub struct Scan {
    schema: SchemaRef,
    source: Source,
    remaining: usize,
    counters: Arc<ScanCounters>,
    files_pruned: usize,
}

enum Source {
    /// Batches that are computed already.
    Done(std::vec::IntoIter<RecordBatch>),
    /// Batches computed as they are asked for.
    Streaming(Box<Streaming>),
}

struct Streaming {
    plan: Plan,
    hot: std::vec::IntoIter<RecordBatch>,
    files: std::vec::IntoIter<Arc<ActiveFile>>,
    open: Option<(PathBuf, parquet::arrow::arrow_reader::ParquetRecordBatchReader)>,
}

struct Plan {
    table: String,
    folder: PathBuf,
    key: Option<LakeKey>,
    condition: Condition,
    /// Columns to read, output and sort keys.
    read: SchemaRef,
    counters: Arc<ScanCounters>,
}

impl Scan {
    /// Columns of every batch.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// All rows in one batch.
    pub fn collect_rows(self) -> Result<RecordBatch, LakeError> {
        let schema = self.schema();
        let batches = self.collect::<Result<Vec<_>, _>>()?;
        concat_batches(&schema, &batches).map_err(|source| LakeError::Columns {
            step: "join",
            table: String::new(),
            source,
        })
    }

    /// Files that were not opened because their statistics rule them out.
    pub fn files_pruned(&self) -> usize {
        self.files_pruned
    }

    /// Row groups of opened files, and how many of them were read.
    pub fn row_groups(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        (self.counters.row_groups.load(Relaxed), self.counters.row_groups_read.load(Relaxed))
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let rows = match &mut self.source {
            Source::Done(batches) => batches.next()?,
            Source::Streaming(streaming) => match streaming.next_rows()? {
                Ok(rows) => rows,
                Err(error) => {
                    self.remaining = 0;
                    return Some(Err(error));
                }
            },
        };
        let rows = rows.slice(0, rows.num_rows().min(self.remaining));
        self.remaining -= rows.num_rows();
        Some(Ok(rows))
    }
}

/// Starts a scan over a snapshot.
pub(crate) fn scan(spec: &TableSpec, snapshot: Snapshot, request: ScanRequest) -> Result<Scan, LakeError> {
    let refuse = |reason: &str| LakeError::BadRequest { table: request.table.clone(), reason: reason.to_owned() };
    let ordered = request.order != Order::Any;
    if ordered && request.limit.is_none_or(|limit| limit > ORDERED_ROWS_MAX) {
        return Err(refuse("an ordered scan needs a limit of at most 100000 rows"));
    }
    if request.after.is_some() && !ordered {
        return Err(refuse("a cursor needs an order"));
    }
    let field = |column: &str| {
        spec.schema
            .field_with_name(column)
            .map(|f| Arc::new(f.clone()))
            .map_err(|_| LakeError::UnknownColumn { table: spec.name.clone(), column: column.to_owned() })
    };
    let output = match &request.columns {
        None => spec.schema.clone(),
        Some(columns) => Arc::new(Schema::new(columns.iter().map(|c| field(c)).collect::<Result<Vec<_>, _>>()?)),
    };
    let mut read: Vec<_> = output.fields().iter().cloned().collect();
    if ordered {
        for key in [TIME_COLUMN, DEVICE_COLUMN, SEQUENCE_COLUMN] {
            if output.column_with_name(key).is_none() && spec.has(key) {
                read.push(field(key)?);
            }
        }
    }
    let mut condition = Condition { from: request.from, to: request.to, filters: request.filters.clone() };
    if !request.devices.is_empty() {
        condition.filters.push(Filter::new(DEVICE_COLUMN, Test::In(request.devices.clone())));
    }
    for filter in &condition.filters {
        field(&filter.column)?;
    }
    if let Some(cursor) = &request.after {
        // The cursor bounds the time range; rows of its very microsecond are compared one by one below.
        match request.order {
            Order::NewestFirst => {
                let end = Micros(cursor.time.0.saturating_add(1));
                condition.to = Some(condition.to.map_or(end, |to| to.min(end)));
            }
            _ => condition.from = Some(condition.from.map_or(cursor.time, |from| from.max(cursor.time))),
        }
    }
    let counters = Arc::new(ScanCounters::default());
    let before = snapshot.files.len();
    let files: Vec<Arc<ActiveFile>> =
        snapshot.files.iter().filter(|file| may_pass(file, &condition)).cloned().collect();
    let files_pruned = before - files.len();
    let plan = Plan {
        table: spec.name.clone(),
        folder: snapshot.folder,
        key: snapshot.key,
        condition,
        read: Arc::new(Schema::new(read)),
        counters: Arc::clone(&counters),
    };
    let remaining = request.limit.unwrap_or(usize::MAX);
    let source = if ordered {
        let rows = plan.ordered(snapshot.hot, files, &request, remaining)?;
        let indices: Vec<usize> = (0..output.fields().len()).collect();
        let rows = rows.project(&indices).map_err(|source| plan.columns_error(source))?;
        Source::Done(vec![rows].into_iter())
    } else {
        Source::Streaming(Box::new(Streaming {
            plan,
            hot: snapshot.hot.into_iter(),
            files: files.into_iter(),
            open: None,
        }))
    };
    Ok(Scan { schema: output, source, remaining, counters, files_pruned })
}

/// Whether the Delta log's statistics leave room for a passing row.
fn may_pass(file: &ActiveFile, condition: &Condition) -> bool {
    file.stats.may_hold_time(condition.from, condition.to)
        && condition.filters.iter().all(|filter| {
            filter
                .test
                .exact()
                .is_none_or(|texts| texts.iter().any(|text| file.stats.may_hold_text(&filter.column, text)))
        })
}

impl Streaming {
    fn next_rows(&mut self) -> Option<Result<RecordBatch, LakeError>> {
        loop {
            if let Some(rows) = self.hot.next() {
                match self.plan.pass(&rows) {
                    Ok(rows) if rows.num_rows() == 0 => continue,
                    other => return Some(other),
                }
            }
            if let Some((path, reader)) = self.open.as_mut() {
                match reader.next() {
                    Some(Ok(rows)) if rows.num_rows() == 0 => continue,
                    Some(Ok(rows)) => return Some(self.plan.conform(&rows)),
                    Some(Err(error)) => return Some(Err(read_error(path, error))),
                    None => self.open = None,
                }
            }
            let file = self.files.next()?;
            match self.plan.open(&file) {
                Ok(open) => self.open = open,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn read_error(path: &std::path::Path, error: arrow::error::ArrowError) -> LakeError {
    LakeError::Parquet { step: "read", path: path.to_owned(), source: error.into() }
}

type OpenFile = (PathBuf, parquet::arrow::arrow_reader::ParquetRecordBatchReader);

impl Plan {
    fn columns_error(&self, source: arrow::error::ArrowError) -> LakeError {
        LakeError::Columns { step: "read", table: self.table.clone(), source }
    }

    fn open(&self, file: &ActiveFile) -> Result<Option<OpenFile>, LakeError> {
        let path = self.folder.join(&file.path);
        let columns: Vec<String> = self.read.fields().iter().map(|field| field.name().clone()).collect();
        let reader = open_file(&path, &self.condition, Some(&columns), &self.counters, self.key.as_ref())?;
        Ok(reader.map(|reader| (path, reader)))
    }

    /// Rows in memory that pass, with the columns to read.
    fn pass(&self, rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let verdicts = self.condition.evaluate(rows);
        let rows = if verdicts.true_count() == verdicts.len() {
            rows.clone()
        } else {
            filter_record_batch(rows, &verdicts).map_err(|source| self.columns_error(source))?
        };
        self.conform(&rows)
    }

    /// The columns to read, with plain types, nulls where absent.
    fn conform(&self, rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let columns: Result<Vec<ArrayRef>, _> =
            self.read.fields().iter().map(|field| plain_column(rows, field.name(), field.data_type())).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        columns
            .and_then(|columns| RecordBatch::try_new_with_options(self.read.clone(), columns, &options))
            .map_err(|source| self.columns_error(source))
    }

    /// The first `limit` rows in the request's order. Files are visited in time order, and the rows found so far
    /// bound what a later file can still contribute, so most files of a long range are never opened.
    fn ordered(
        &self,
        hot: Vec<RecordBatch>,
        mut files: Vec<Arc<ActiveFile>>,
        request: &ScanRequest,
        limit: usize,
    ) -> Result<RecordBatch, LakeError> {
        let newest = request.order == Order::NewestFirst;
        let mut best = RecordBatch::new_empty(self.read.clone());
        let mut gathered: Vec<RecordBatch> = Vec::new();
        for rows in &hot {
            let rows = after_cursor(&self.pass(rows)?, request).map_err(|source| self.columns_error(source))?;
            gathered.push(rows);
        }
        if newest {
            files.sort_by_key(|file| std::cmp::Reverse(file.stats.time_max.unwrap_or(Micros(i64::MAX))));
        } else {
            files.sort_by_key(|file| file.stats.time_min.unwrap_or(Micros(i64::MIN)));
        }
        let mut narrowed = Self {
            table: self.table.clone(),
            folder: self.folder.clone(),
            key: self.key.clone(),
            condition: self.condition.clone(),
            read: self.read.clone(),
            counters: Arc::clone(&self.counters),
        };
        let keep_best = |best: &mut RecordBatch, gathered: &mut Vec<RecordBatch>| {
            gathered.push(best.clone());
            let rows = concat_batches(&self.read, gathered.iter())?;
            gathered.clear();
            *best = first_rows(&rows, newest, limit)?;
            Ok(())
        };
        let failed = |source| self.columns_error(source);
        keep_best(&mut best, &mut gathered).map_err(failed)?;
        drop(hot);
        let mut gathered_rows = 0;
        for file in files {
            if let Some(bound) = full_bound(&best, limit) {
                let beyond = if newest {
                    file.stats.time_max.is_some_and(|time| time < bound)
                } else {
                    file.stats.time_min.is_some_and(|time| time > bound)
                };
                if beyond {
                    break;
                }
                if newest {
                    narrowed.condition.from = Some(narrowed.condition.from.map_or(bound, |from| from.max(bound)));
                } else {
                    let end = Micros(bound.0.saturating_add(1));
                    narrowed.condition.to = Some(narrowed.condition.to.map_or(end, |to| to.min(end)));
                }
            }
            let Some((path, reader)) = narrowed.open(&file)? else { continue };
            for rows in reader {
                let rows = self.conform(&rows.map_err(|error| read_error(&path, error))?)?;
                let rows = after_cursor(&rows, request).map_err(failed)?;
                gathered_rows += rows.num_rows();
                gathered.push(rows);
                if gathered_rows > limit.saturating_mul(2).max(65_536) {
                    keep_best(&mut best, &mut gathered).map_err(failed)?;
                    gathered_rows = 0;
                }
            }
            keep_best(&mut best, &mut gathered).map_err(failed)?;
            gathered_rows = 0;
        }
        Ok(best)
    }
}

/// The time of the last row, if there are as many rows as wanted.
fn full_bound(best: &RecordBatch, limit: usize) -> Option<Micros> {
    let last = best.num_rows().checked_sub(1)?;
    if best.num_rows() < limit {
        return None;
    }
    let times = best.column_by_name(TIME_COLUMN)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    times.is_valid(last).then(|| Micros(times.value(last)))
}

fn first_rows(rows: &RecordBatch, newest: bool, limit: usize) -> Result<RecordBatch, arrow::error::ArrowError> {
    let options = Some(SortOptions { descending: newest, nulls_first: !newest });
    let keys: Vec<SortColumn> = [TIME_COLUMN, DEVICE_COLUMN, SEQUENCE_COLUMN]
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .map(|array| SortColumn { values: array.clone(), options })
        .collect();
    if keys.is_empty() || rows.num_rows() == 0 {
        return Ok(rows.slice(0, rows.num_rows().min(limit)));
    }
    take_record_batch(rows, &lexsort_to_indices(&keys, Some(limit))?)
}

fn after_cursor(rows: &RecordBatch, request: &ScanRequest) -> Result<RecordBatch, arrow::error::ArrowError> {
    let Some(cursor) = &request.after else { return Ok(rows.clone()) };
    let times = rows.column_by_name(TIME_COLUMN).and_then(|a| a.as_primitive_opt::<TimestampMicrosecondType>());
    let devices = rows.column_by_name(DEVICE_COLUMN).map(|a| cast(a, &DataType::Utf8)).transpose()?;
    let devices = devices.as_ref().and_then(|a| a.as_string_opt::<i32>());
    let numbers = rows.column_by_name(SEQUENCE_COLUMN).and_then(|a| a.as_primitive_opt::<Int64Type>());
    let at = (Some(cursor.time.0), Some(cursor.device.as_str()), Some(cursor.sequence));
    let after: BooleanArray = (0..rows.num_rows())
        .map(|row| {
            let key = (
                times.filter(|a| a.is_valid(row)).map(|a| a.value(row)),
                devices.filter(|a| a.is_valid(row)).map(|a| a.value(row)),
                numbers.filter(|a| a.is_valid(row)).map(|a| a.value(row)),
            );
            Some(if request.order == Order::NewestFirst { key < at } else { key > at })
        })
        .collect();
    filter_record_batch(rows, &after)
}
