//! Writing Parquet files of the lake.
//!
//! Rows are sorted by (DeviceId, Timestamp, ReportId). Time is pruned by file first: a flush covers a minute and
//! compaction merges neighbours in time, so each file is a short span. Inside a file a hunt nearly always asks for one
//! device or for all; sorted by device, the rows of one device are a few pages, and page index and bloom filter skip
//! the rest. Sorting by time first would spread each device over all pages.

use crate::crypt::{LakeKey, SEALED_MARK};
use crate::error::LakeError;
use crate::files::{ActiveFile, FileStats, day_text};
use crate::spec::{BOOT_COLUMN, DEVICE_COLUMN, INGEST_COLUMN, PARTITION_COLUMN, SEQUENCE_COLUMN, TIME_COLUMN};
use crate::terms::{IndexWriter, index_path};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use garrison_model::Micros;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Columns with bounds in the Delta log.
pub const STAT_COLUMNS: &[&str] =
    &[TIME_COLUMN, DEVICE_COLUMN, INGEST_COLUMN, BOOT_COLUMN, SEQUENCE_COLUMN, "ActionType"];

/// Columns with a bloom filter in every row group of a file that is not sealed: what analysts look up by exact value.
pub const BLOOM_COLUMNS: &[&str] = &[
    DEVICE_COLUMN,
    "SHA256",
    "SHA1",
    "MD5",
    "InitiatingProcessSHA256",
    "InitiatingProcessSHA1",
    "ProcessUniqueId",
    "InitiatingProcessUniqueId",
    "RemoteIP",
    "LocalIP",
    "RemoteUrl",
    "FileName",
    "InitiatingProcessFileName",
    "AccountName",
    "AlertId",
];

/// Rows of a row group: the unit of reading in parallel, and of a bloom filter.
const ROW_GROUP_ROWS: usize = 1 << 17;
/// Rows of a page: the unit that the page index skips.
const PAGE_ROWS: usize = 8_192;
/// Bytes of text bounds in the Delta log.
const BOUND_BYTES_MAX: usize = 64;

fn properties(schema: &SchemaRef, key: Option<&LakeKey>) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("garrison ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(1_024)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(sorting_columns(schema));
    if let Some(key) = key {
        // Without bloom filters: see `crate::crypt`.
        return builder.with_file_encryption_properties(key.encryption()).build();
    }
    for column in BLOOM_COLUMNS {
        if schema.column_with_name(column).is_some() {
            let path = ColumnPath::from(*column);
            builder = builder
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), 0.01)
                .set_column_bloom_filter_max_ndv(path, ROW_GROUP_ROWS as u64);
        }
    }
    builder.build()
}

fn sorting_columns(schema: &SchemaRef) -> Option<Vec<SortingColumn>> {
    let columns: Vec<SortingColumn> = [DEVICE_COLUMN, TIME_COLUMN, SEQUENCE_COLUMN]
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .map(|index| SortingColumn { column_idx: index as i32, descending: false, nulls_first: true })
        .collect();
    (!columns.is_empty()).then_some(columns)
}

/// A file being written. Nothing refers to it until it is committed; dropped unfinished, it is removed.
pub(crate) struct ParquetFile {
    path: PathBuf,
    relative: String,
    partition: String,
    writer: Option<ArrowWriter<File>>,
    stats: StatsBuilder,
    terms: IndexWriter,
    key: Option<LakeKey>,
}

impl ParquetFile {
    /// Creates a file with a fresh name in the partition's folder.
    pub(crate) fn create(
        table_folder: &Path,
        day: i64,
        schema: &SchemaRef,
        key: Option<&LakeKey>,
    ) -> Result<Self, LakeError> {
        let partition = day_text(day);
        let name = format!("{PARTITION_COLUMN}={partition}");
        let folder = table_folder.join(&name);
        crate::disk::create_folder_durably(&folder).map_err(LakeError::io("create", &folder))?;
        let file_name =
            format!("part-{}.zstd{}", uuid::Uuid::now_v7(), if key.is_some() { SEALED_MARK } else { ".parquet" });
        let path = folder.join(&file_name);
        let file = File::create_new(&path).map_err(LakeError::io("create", &path))?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties(schema, key)))
            .map_err(|source| LakeError::Parquet { step: "start", path: path.clone(), source })?;
        let relative = format!("{name}/{file_name}");
        let terms = IndexWriter::new(schema);
        Ok(Self {
            path,
            relative,
            partition,
            writer: Some(writer),
            stats: StatsBuilder::default(),
            terms,
            key: key.cloned(),
        })
    }

    /// Appends rows, which are sorted and have exactly the schema; text may be a dictionary.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), LakeError> {
        self.stats.add(rows);
        self.terms.add(rows);
        let Some(writer) = self.writer.as_mut() else { return Err(LakeError::Closed) };
        writer.write(rows).map_err(|source| LakeError::Parquet { step: "write", path: self.path.clone(), source })
    }

    /// Closes the file and makes it durable.
    pub(crate) fn finish(mut self, now_ms: i64) -> Result<ActiveFile, LakeError> {
        let Some(writer) = self.writer.take() else { return Err(LakeError::Closed) };
        let made = (|| {
            let file = writer.into_inner().map_err(|source| LakeError::Parquet {
                step: "finish",
                path: self.path.clone(),
                source,
            })?;
            file.sync_all().map_err(LakeError::io("sync", &self.path))?;
            if let Some(folder) = self.path.parent() {
                crate::disk::sync_folder(folder).map_err(LakeError::io("sync", folder))?;
            }
            Ok(file.metadata().map_err(LakeError::io("look at", &self.path))?.len())
        })();
        let size = match made {
            Ok(size) => size,
            Err(error) => {
                let _ = std::fs::remove_file(&self.path);
                return Err(error);
            }
        };
        // The index may be missing: a file without one is scanned.
        let terms = std::mem::replace(&mut self.terms, IndexWriter::new(&Schema::empty()));
        if let Err(error) = terms.finish(&index_path(&self.path), size, self.key.as_ref()) {
            tracing::warn!(path = %self.path.display(), %error, "the term index could not be written");
            let _ = std::fs::remove_file(index_path(&self.path));
        }
        let (rows, stats) = std::mem::take(&mut self.stats).finish();
        Ok(ActiveFile {
            path: std::mem::take(&mut self.relative),
            size,
            rows,
            partition: std::mem::take(&mut self.partition),
            modified_ms: now_ms,
            stats,
        })
    }
}

impl Drop for ParquetFile {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[derive(Default)]
struct StatsBuilder {
    rows: u64,
    stats: FileStats,
}

impl StatsBuilder {
    fn add(&mut self, rows: &RecordBatch) {
        self.rows += rows.num_rows() as u64;
        for column in STAT_COLUMNS {
            let Some(array) = rows.column_by_name(column) else { continue };
            *self.stats.nulls.entry((*column).to_owned()).or_default() += array.null_count() as u64;
            let array = match array.data_type() {
                DataType::Dictionary(_, _) => {
                    &arrow::compute::cast(array, &DataType::Utf8).unwrap_or_else(|_| Arc::clone(array))
                }
                _ => array,
            };
            match array.data_type() {
                DataType::Timestamp(_, _) if *column == TIME_COLUMN => {
                    // Rows without a time are outside of every time range, so they need no bound.
                    let times = array.as_primitive::<TimestampMicrosecondType>();
                    self.widen_time(arrow::compute::min(times), arrow::compute::max(times));
                }
                DataType::Int64 => {
                    let numbers = array.as_primitive::<Int64Type>();
                    if let Some((low, high)) = arrow::compute::min(numbers).zip(arrow::compute::max(numbers)) {
                        let bounds = self.stats.numbers.entry((*column).to_owned()).or_insert((low, high));
                        *bounds = (bounds.0.min(low), bounds.1.max(high));
                    }
                }
                DataType::Utf8 => {
                    let texts = array.as_string::<i32>();
                    let bounds = arrow::compute::min_string(texts).zip(arrow::compute::max_string(texts));
                    if let Some((low, high)) = bounds {
                        let (low, high) = (lower_bound(low), upper_bound(high));
                        let bounds =
                            self.stats.text.entry((*column).to_owned()).or_insert_with(|| (low.clone(), high.clone()));
                        if low < bounds.0 {
                            bounds.0 = low;
                        }
                        if high > bounds.1 {
                            bounds.1 = high;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn widen_time(&mut self, least: Option<i64>, greatest: Option<i64>) {
        if let Some((low, high)) = least.zip(greatest) {
            self.stats.time_min = Some(self.stats.time_min.map_or(Micros(low), |known| known.min(Micros(low))));
            self.stats.time_max = Some(self.stats.time_max.map_or(Micros(high), |known| known.max(Micros(high))));
        }
    }

    fn finish(self) -> (u64, FileStats) {
        (self.rows, self.stats)
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(BOUND_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn lower_bound(text: &str) -> String {
    cut(text).to_owned()
}

/// A cut text with the greatest character after it is above everything that starts with it.
fn upper_bound(text: &str) -> String {
    let head = cut(text);
    if head.len() == text.len() { head.to_owned() } else { format!("{head}\u{10ffff}") }
}
