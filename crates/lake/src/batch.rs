//! Batches as they come in, and how they become stored rows.

use crate::entry::RowsHeader;
use crate::error::LakeError;
use crate::spec::{BOOT_COLUMN, DEVICE_COLUMN, INGEST_COLUMN, SEQUENCE_COLUMN, TableSpec};
use arrow::array::{
    Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use bytes::Bytes;
use garrison_model::Micros;
use garrison_telemetry::BatchHeader;
use std::ops::Range;
use std::sync::Arc;

/// Where DeviceId and ReportId of the rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// From the header, whatever the rows say: what a sensor says about itself is a claim.
    #[default]
    FromHeader,
    /// From the rows: tables that the server writes itself, whose DeviceId is about another device.
    InRows,
}

/// Rows to store.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Device, boot, table and the run of sequence numbers; the device must come from the certificate.
    pub header: BatchHeader,
    /// When the server took the batch in; becomes `IngestTime`.
    pub ingested: Micros,
    /// Where the identity columns come from.
    pub identity: Identity,
    /// Text columns with one value for all rows (`DeviceName`); they replace what the rows say. At most 16.
    pub constants: Vec<(String, String)>,
    /// The rows, as admitted. Columns that the table does not have are left out.
    pub batch: RecordBatch,
    /// The same rows as an Arrow IPC stream, if the bytes that came over the wire can be logged as they are. `None`
    /// where admission changed anything: the lake then encodes the rows itself.
    pub payload: Option<Bytes>,
}

impl Batch {
    /// A batch from a sensor.
    pub fn new(header: BatchHeader, ingested: Micros, batch: RecordBatch) -> Self {
        Self { header, ingested, identity: Identity::default(), constants: Vec::new(), batch, payload: None }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Rows are durable and readable.
    Stored {
        /// Position in the write-ahead log.
        position: u64,
        /// Rows of the batch that were new; what is outside was stored before. One range over all in the normal case.
        kept: Vec<Range<u32>>,
    },
    /// All rows were stored before, durably.
    Duplicate,
}

impl Appended {
    /// Number of rows that were new.
    pub fn rows(&self) -> u32 {
        match self {
            Self::Stored { kept, .. } => kept.iter().map(|range| range.end - range.start).sum(),
            Self::Duplicate => 0,
        }
    }
}

/// Constant columns that one batch may carry.
pub const CONSTANTS_MAX: usize = 16;
/// Bytes of one constant.
pub const CONSTANT_BYTES_MAX: usize = 1_024;

fn bad(table: &TableSpec, reason: impl Into<String>) -> LakeError {
    LakeError::BadBatch { table: table.name.clone(), reason: reason.into() }
}

/// Checks a batch against its table and header.
pub(crate) fn check(table: &TableSpec, batch: &Batch) -> Result<(), LakeError> {
    if batch.batch.num_rows() as u64 != u64::from(batch.header.row_count) {
        return Err(bad(
            table,
            format!("the header says {} rows, there are {}", batch.header.row_count, batch.batch.num_rows()),
        ));
    }
    if batch.header.row_count == 0 {
        return Err(bad(table, "it has no rows"));
    }
    if batch
        .header
        .sequence_first
        .checked_add(u64::from(batch.header.row_count))
        .is_none_or(|end| end > i64::MAX as u64)
    {
        return Err(bad(table, "its sequence numbers are out of range"));
    }
    if batch.constants.len() > CONSTANTS_MAX {
        return Err(bad(table, format!("it has more than {CONSTANTS_MAX} constants")));
    }
    for (name, value) in &batch.constants {
        if value.len() > CONSTANT_BYTES_MAX {
            return Err(bad(table, format!("its constant `{name}` is longer than {CONSTANT_BYTES_MAX} bytes")));
        }
        match table.schema.field_with_name(name) {
            Ok(field) if field.data_type() == &DataType::Utf8 => {}
            _ => return Err(bad(table, format!("its constant `{name}` is no text column"))),
        }
    }
    Ok(())
}

/// One text in every row, at the cost of four bytes a row.
fn repeated_text(value: &str, rows: usize) -> Result<ArrayRef, arrow::error::ArrowError> {
    let keys = Int32Array::from(vec![0; rows]);
    let values = Arc::new(StringArray::from(vec![value]));
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
}

fn is_dictionary_of_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8)
}

/// The rows as they are stored: known columns only, in the table's order, types as the table has them (text may stay
/// a dictionary), system columns filled, rows outside `kept` left out.
pub(crate) fn stored_rows(
    table: &TableSpec,
    header: &RowsHeader,
    rows: &RecordBatch,
) -> Result<RecordBatch, LakeError> {
    let count = rows.num_rows();
    let failed = |source| LakeError::Columns { step: "complete", table: table.name.clone(), source };
    let mut fields = Vec::with_capacity(rows.num_columns() + 4);
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(rows.num_columns() + 4);
    for field in table.schema.fields() {
        let name = field.name().as_str();
        let constant = header.constants.iter().find(|(column, _)| column == name).map(|(_, value)| value.as_str());
        let array: ArrayRef = match name {
            BOOT_COLUMN => repeated_text(header.batch.boot.as_str(), count).map_err(failed)?,
            INGEST_COLUMN => {
                Arc::new(TimestampMicrosecondArray::from(vec![header.ingested.0; count]).with_timezone("UTC"))
            }
            DEVICE_COLUMN if !header.identity_in_rows => {
                repeated_text(header.batch.device.as_str(), count).map_err(failed)?
            }
            SEQUENCE_COLUMN if !header.identity_in_rows => {
                let first = header.batch.sequence_first as i64;
                Arc::new(Int64Array::from_iter_values(first..first + count as i64))
            }
            _ => match (constant, rows.column_by_name(name)) {
                (Some(value), _) => repeated_text(value, count).map_err(failed)?,
                (None, None) => continue,
                (None, Some(array)) if array.null_count() == array.len() => continue,
                (None, Some(array)) => {
                    let (have, want) = (array.data_type(), field.data_type());
                    if have == want || (want == &DataType::Utf8 && is_dictionary_of_text(have)) {
                        array.clone()
                    } else {
                        // Never a silent null: a value that does not fit is an error.
                        let strict = CastOptions { safe: false, ..CastOptions::default() };
                        cast_with_options(array, want, &strict).map_err(failed)?
                    }
                }
            },
        };
        fields.push(Field::new(name, array.data_type().clone(), true));
        columns.push(array);
    }
    let complete = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)?;
    keep(&complete, &header.kept).map_err(failed)
}

/// Bytes that the rows take. Columns decoded from one message may share its buffer; each counts for its own part.
pub(crate) fn bytes_of(rows: &RecordBatch) -> usize {
    let own =
        |array: &ArrayRef| array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size());
    rows.columns().iter().map(own).sum()
}

/// The rows of these ranges.
pub(crate) fn keep(rows: &RecordBatch, kept: &[Range<u32>]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let slice = |range: &Range<u32>| rows.slice(range.start as usize, (range.end - range.start) as usize);
    match kept {
        [] => Ok(rows.slice(0, 0)),
        [all] if all.start == 0 && all.end as usize == rows.num_rows() => Ok(rows.clone()),
        [one] => Ok(slice(one)),
        many => concat_batches(&rows.schema(), &many.iter().map(slice).collect::<Vec<_>>()),
    }
}

/// The rows as an Arrow IPC stream for the log; LZ4 because the log is written once and read after a crash only.
pub(crate) fn encode(rows: &RecordBatch) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let options = arrow::ipc::writer::IpcWriteOptions::default()
        .try_with_compression(Some(arrow::ipc::CompressionType::LZ4_FRAME))?;
    let mut writer = arrow::ipc::writer::StreamWriter::try_new_with_options(Vec::new(), rows.schema_ref(), options)?;
    writer.write(rows)?;
    writer.into_inner()
}

/// Reads a logged payload. The checksum was right, so the bytes are what was admitted before.
pub(crate) fn decode(payload: &[u8]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let reader = arrow::ipc::reader::StreamReader::try_new(payload, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    match batches.as_slice() {
        [one] => Ok(one.clone()),
        many => concat_batches(&schema, many),
    }
}
