//! Merging files: a k-way merge that keeps the order of rows and holds one batch of each input in memory.

use crate::crypt::LakeKey;
use crate::error::LakeError;
use crate::files::ActiveFile;
use crate::filter::Condition;
use crate::flush::{plain_column, union_schema};
use crate::parquet_file::ParquetFile;
use crate::read::{ScanCounters, open_file, reader_options};
use crate::spec::{DEVICE_COLUMN, SEQUENCE_COLUMN, TIME_COLUMN};
use crate::table::LakeTable;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows that are written at once.
const OUTPUT_ROWS: usize = 8_192;

struct Input {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    /// The batch that rows are taken from and its sort keys.
    batch: RecordBatch,
    keys: Rows,
    row: usize,
}

/// Writes the rows of the inputs into one file of the same partition.
pub(crate) fn merge_files(
    table: &LakeTable,
    inputs: &[Arc<ActiveFile>],
    day: i64,
    now_ms: i64,
) -> Result<Option<ActiveFile>, LakeError> {
    let failed = |source| LakeError::Columns { step: "merge", table: table.spec.name.clone(), source };
    let mut schemas = Vec::with_capacity(inputs.len());
    for input in inputs {
        schemas.push(file_schema(&table.folder.join(&input.path), table.at_rest.key())?);
    }
    let schema = union_schema(&table.spec, schemas.iter());
    let key_fields: Vec<_> = [DEVICE_COLUMN, TIME_COLUMN, SEQUENCE_COLUMN]
        .iter()
        .filter_map(|name| schema.field_with_name(name).ok())
        .map(|field| SortField::new(field.data_type().clone()))
        .collect();
    let converter = RowConverter::new(key_fields).map_err(failed)?;
    let mut open = Vec::with_capacity(inputs.len());
    for input in inputs {
        let path = table.folder.join(&input.path);
        let reader = open_file(&path, &Condition::default(), None, &ScanCounters::default(), table.at_rest.key())?;
        let Some(reader) = reader else { continue };
        let empty = RecordBatch::new_empty(schema.clone());
        let keys = converter.empty_rows(0, 0);
        let mut input = Input { path, reader, batch: empty, keys, row: 0 };
        if input.advance(&schema, &converter, failed)? {
            open.push(input);
        }
    }
    if open.is_empty() {
        return Ok(None);
    }
    let mut heap: BinaryHeap<Reverse<(Vec<u8>, usize)>> =
        open.iter().enumerate().map(|(index, input)| Reverse((input.key(), index))).collect();
    let mut output = ParquetFile::create(&table.folder, day, &schema, table.at_rest.sealing())?;
    // Batches that rows of the coming output were taken from, and which row of which.
    let mut sources: Vec<RecordBatch> = open.iter().map(|input| input.batch.clone()).collect();
    let mut source_of: Vec<usize> = (0..open.len()).collect();
    let mut picks: Vec<(usize, usize)> = Vec::with_capacity(OUTPUT_ROWS);
    while let Some(Reverse((_, index))) = heap.pop() {
        let Some(input) = open.get_mut(index) else { continue };
        picks.push((source_of[index], input.row));
        input.row += 1;
        let more = if input.row < input.batch.num_rows() {
            true
        } else if input.advance(&schema, &converter, failed)? {
            source_of[index] = sources.len();
            sources.push(input.batch.clone());
            true
        } else {
            false
        };
        if more {
            heap.push(Reverse((input.key(), index)));
        }
        if picks.len() >= OUTPUT_ROWS {
            write_picks(&mut output, &schema, &sources, &picks, failed)?;
            picks.clear();
            sources = open.iter().map(|input| input.batch.clone()).collect();
            source_of = (0..open.len()).collect();
        }
    }
    write_picks(&mut output, &schema, &sources, &picks, failed)?;
    output.finish(now_ms).map(Some)
}

fn write_picks(
    output: &mut ParquetFile,
    schema: &SchemaRef,
    sources: &[RecordBatch],
    picks: &[(usize, usize)],
    failed: impl Fn(arrow::error::ArrowError) -> LakeError + Copy,
) -> Result<(), LakeError> {
    if picks.is_empty() {
        return Ok(());
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for column in 0..schema.fields().len() {
        let arrays: Vec<&dyn Array> = sources.iter().map(|batch| batch.column(column).as_ref()).collect();
        columns.push(interleave(&arrays, picks).map_err(failed)?);
    }
    output.write(&RecordBatch::try_new(schema.clone(), columns).map_err(failed)?)
}

impl Input {
    fn key(&self) -> Vec<u8> {
        self.keys.row(self.row).as_ref().to_vec()
    }

    /// Goes to the next batch with rows; `false` at the end.
    fn advance(
        &mut self,
        schema: &SchemaRef,
        converter: &RowConverter,
        failed: impl Fn(arrow::error::ArrowError) -> LakeError + Copy,
    ) -> Result<bool, LakeError> {
        for rows in self.reader.by_ref() {
            let rows = rows.map_err(|error| LakeError::Parquet {
                step: "read",
                path: self.path.clone(),
                source: error.into(),
            })?;
            if rows.num_rows() == 0 {
                continue;
            }
            let columns = schema
                .fields()
                .iter()
                .map(|field| plain_column(&rows, field.name(), field.data_type()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(failed)?;
            self.batch = RecordBatch::try_new(schema.clone(), columns).map_err(failed)?;
            let keys: Vec<ArrayRef> = [DEVICE_COLUMN, TIME_COLUMN, SEQUENCE_COLUMN]
                .iter()
                .filter_map(|name| self.batch.column_by_name(name).cloned())
                .collect();
            self.keys = converter.convert_columns(&keys).map_err(failed)?;
            self.row = 0;
            return Ok(true);
        }
        Ok(false)
    }
}

fn file_schema(path: &std::path::Path, key: Option<&LakeKey>) -> Result<SchemaRef, LakeError> {
    let file = std::fs::File::open(path).map_err(LakeError::io("open", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, reader_options(key))
        .map_err(|source| LakeError::Parquet { step: "read", path: path.to_owned(), source })?;
    Ok(builder.schema().clone())
}
