//! Reading one Parquet file under a condition: row groups by statistics and bloom filter, pages by page index, rows by
//! value; columns that are only needed for passing rows are decoded for those alone.

use crate::crypt::LakeKey;
use crate::error::LakeError;
use crate::filter::Condition;
use crate::spec::TIME_COLUMN;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
    RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use std::fs::File;
use std::path::Path;

/// Rows that are decoded at once.
pub(crate) const READ_ROWS: usize = 8_192;

/// Opens a file for the rows that can pass; `None` if none can. `columns` are those to return; absent ones are left
/// out, and so is nothing else: rows are filtered exactly.
pub(crate) fn open_file(
    path: &Path,
    condition: &Condition,
    columns: Option<&[String]>,
    counters: &ScanCounters,
    key: Option<&LakeKey>,
) -> Result<Option<ParquetRecordBatchReader>, LakeError> {
    let file = File::open(path).map_err(LakeError::io("open", path))?;
    open(file, condition, columns, counters, key).map_err(|source| LakeError::Parquet {
        step: "read",
        path: path.to_owned(),
        source,
    })
}

/// What a scan skipped and read, for tests and figures.
#[derive(Debug, Default)]
pub(crate) struct ScanCounters {
    pub(crate) row_groups: std::sync::atomic::AtomicU64,
    pub(crate) row_groups_read: std::sync::atomic::AtomicU64,
    pub(crate) rows_selected: std::sync::atomic::AtomicU64,
}

/// Options for reading a file, sealed or not.
pub(crate) fn reader_options(key: Option<&LakeKey>) -> ArrowReaderOptions {
    match key {
        None => ArrowReaderOptions::new(),
        Some(key) => ArrowReaderOptions::new().with_file_decryption_properties(key.decryption()),
    }
}

type Builder = ParquetRecordBatchReaderBuilder<File>;

fn open(
    file: File,
    condition: &Condition,
    columns: Option<&[String]>,
    counters: &ScanCounters,
    key: Option<&LakeKey>,
) -> Result<Option<ParquetRecordBatchReader>, ParquetError> {
    use std::sync::atomic::Ordering::Relaxed;
    let options = reader_options(key).with_page_index_policy(PageIndexPolicy::Optional);
    let mut builder = Builder::try_new_with_options(file, options)?.with_batch_size(READ_ROWS);
    let schema = builder.schema().clone();
    let wanted = condition.columns();
    let absent = |column: &&str| schema.column_with_name(column).is_none();
    if condition
        .filters
        .iter()
        .any(|filter| filter.test != crate::filter::Test::IsNull && absent(&filter.column.as_str()))
    {
        return Ok(None);
    }
    let all = builder.metadata().num_row_groups();
    counters.row_groups.fetch_add(all as u64, Relaxed);
    let groups = select_row_groups(&builder, condition)?;
    if groups.is_empty() {
        return Ok(None);
    }
    counters.row_groups_read.fetch_add(groups.len() as u64, Relaxed);
    if let Some(selection) = select_pages(&builder, condition, &groups)? {
        if !selection.selects_any() {
            return Ok(None);
        }
        counters.rows_selected.fetch_add(selection.row_count() as u64, Relaxed);
        builder = builder.with_row_selection(selection);
    }
    builder = builder.with_row_groups(groups);
    let leaves = builder.parquet_schema();
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(leaves, columns.iter().map(String::as_str));
        builder = builder.with_projection(mask);
    }
    if !wanted.is_empty() {
        let mask = ProjectionMask::columns(builder.parquet_schema(), wanted.iter().copied());
        let condition = condition.clone();
        let predicate = ArrowPredicateFn::new(mask, move |rows| Ok(condition.evaluate(&rows)));
        builder = builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
    }
    Ok(Some(builder.build()?))
}

/// For each container (row group or page), whether its bounds allow a passing row. Bounds that are unknown allow it.
fn allowed_by_bounds(column: &str, condition: &Condition, least: &ArrayRef, greatest: &ArrayRef) -> BooleanArray {
    let count = least.len();
    let mut allowed = vec![true; count];
    if column == TIME_COLUMN {
        let pair = least
            .as_primitive_opt::<TimestampMicrosecondType>()
            .zip(greatest.as_primitive_opt::<TimestampMicrosecondType>());
        if let Some((least, greatest)) = pair {
            for (at, allowed) in allowed.iter_mut().enumerate() {
                *allowed = condition.from.is_none_or(|t| greatest.is_null(at) || greatest.value(at) >= t.0)
                    && condition.to.is_none_or(|t| least.is_null(at) || least.value(at) < t.0);
            }
        }
    }
    if least.data_type() == &DataType::Utf8 && greatest.data_type() == &DataType::Utf8 {
        let (least, greatest) = (least.as_string::<i32>(), greatest.as_string::<i32>());
        for exact in exact_tests(column, condition) {
            for (at, allowed) in allowed.iter_mut().enumerate() {
                *allowed = *allowed
                    && exact.iter().any(|text| {
                        (least.is_null(at) || least.value(at) <= text.as_str())
                            && (greatest.is_null(at) || greatest.value(at) >= text.as_str())
                    });
            }
        }
    }
    BooleanArray::from(allowed)
}

fn exact_tests<'a>(column: &'a str, condition: &'a Condition) -> impl Iterator<Item = &'a [String]> {
    condition.filters.iter().filter(move |filter| filter.column == column).filter_map(|filter| filter.test.exact())
}

/// Columns that bounds can say something about.
fn bounded_columns(condition: &Condition) -> Vec<&str> {
    let exact = |column: &&str| *column == TIME_COLUMN || exact_tests(column, condition).next().is_some();
    condition.columns().into_iter().filter(exact).collect()
}

fn select_row_groups(builder: &Builder, condition: &Condition) -> Result<Vec<usize>, ParquetError> {
    let metadata = builder.metadata().clone();
    let mut allowed = vec![true; metadata.num_row_groups()];
    for column in bounded_columns(condition) {
        let Ok(converter) = StatisticsConverter::try_new(column, builder.schema(), builder.parquet_schema()) else {
            continue;
        };
        let least = converter.row_group_mins(metadata.row_groups())?;
        let greatest = converter.row_group_maxes(metadata.row_groups())?;
        let verdicts = allowed_by_bounds(column, condition, &least, &greatest);
        for (allowed, verdict) in allowed.iter_mut().zip(verdicts.values()) {
            *allowed &= verdict;
        }
        let Some(leaf) = converter.parquet_column_index() else { continue };
        for exact in exact_tests(column, condition) {
            for (group, allowed) in allowed.iter_mut().enumerate().filter(|(_, allowed)| **allowed) {
                if let Some(bloom) = builder.get_row_group_column_bloom_filter(group, leaf)? {
                    *allowed = exact.iter().any(|text| bloom.check(text.as_str()));
                }
            }
        }
    }
    Ok(allowed.iter().enumerate().filter(|(_, allowed)| **allowed).map(|(group, _)| group).collect())
}

fn select_pages(
    builder: &Builder,
    condition: &Condition,
    groups: &[usize],
) -> Result<Option<RowSelection>, ParquetError> {
    let metadata = builder.metadata();
    let (Some(index), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else { return Ok(None) };
    let mut selection: Option<RowSelection> = None;
    for column in bounded_columns(condition) {
        let Ok(converter) = StatisticsConverter::try_new(column, builder.schema(), builder.parquet_schema()) else {
            continue;
        };
        let Some(leaf) = converter.parquet_column_index() else { continue };
        if groups.iter().any(|group| offsets[*group][leaf].page_locations().is_empty()) {
            continue;
        }
        let least = converter.data_page_mins(index, offsets, groups)?;
        let greatest = converter.data_page_maxes(index, offsets, groups)?;
        let Some(counts) = converter.data_page_row_counts(offsets, metadata.row_groups(), groups)? else { continue };
        let verdicts = allowed_by_bounds(column, condition, &least, &greatest);
        if counts.len() != verdicts.len() {
            continue;
        }
        let selectors: Vec<RowSelector> = counts
            .values()
            .iter()
            .zip(verdicts.values())
            .map(
                |(rows, allowed)| {
                    if allowed { RowSelector::select(*rows as usize) } else { RowSelector::skip(*rows as usize) }
                },
            )
            .collect();
        let pages = RowSelection::from(selectors);
        selection = Some(selection.map_or_else(|| pages.clone(), |so_far| so_far.intersection(&pages)));
    }
    Ok(selection)
}
