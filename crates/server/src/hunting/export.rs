//! Rows as a file: CSV, JSON, lines of JSON, Parquet; written as they come.

use super::answer::{Rows, keys};
use super::error::HuntError;
use super::execute::Hunt;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use garrison_kql::{Column, Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, RFC 4180, with a head line.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// By its word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Ndjson),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// Media type and ending of the file's name.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::Json => ("application/json", "json"),
            Self::Ndjson => ("application/x-ndjson", "ndjson"),
            Self::Parquet => ("application/vnd.apache.parquet", "parquet"),
        }
    }
}

fn engine(error: impl Into<datafusion::error::DataFusionError>) -> HuntError {
    HuntError::Engine { step: "write the rows of", source: error.into() }
}

/// Writes batches in one format.
pub struct Writer {
    format: Format,
    columns: Vec<Column>,
    keys: Vec<String>,
    rows: u64,
    parquet: Option<ArrowWriter<Vec<u8>>>,
}

impl Writer {
    /// Begins a file.
    pub fn new(format: Format, columns: Vec<Column>) -> Result<Self, HuntError> {
        let parquet = match format {
            Format::Parquet => {
                let level = ZstdLevel::try_new(3).unwrap_or_default();
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                Some(ArrowWriter::try_new(Vec::new(), schema(&columns), Some(properties)).map_err(engine)?)
            }
            _ => None,
        };
        Ok(Self { format, keys: keys(&columns), columns, rows: 0, parquet })
    }

    /// What comes before the first row.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        match self.format {
            Format::Csv => {
                let mut out = Vec::new();
                for (at, column) in self.columns.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    csv_cell(column.name.as_bytes(), &mut out);
                }
                out.extend_from_slice(b"\r\n");
                out
            }
            Format::Json => b"[".to_vec(),
            Format::Ndjson | Format::Parquet => Vec::new(),
        }
    }

    /// Rows.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, HuntError> {
        let mut out = Vec::new();
        if let Some(parquet) = &mut self.parquet {
            let schema = schema(&self.columns);
            let arrays = batch
                .columns()
                .iter()
                .zip(schema.fields())
                .map(|(array, field)| cast(array, field.data_type()))
                .collect::<Result<Vec<ArrayRef>, _>>()
                .map_err(engine)?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(schema, arrays, &options).map_err(engine)?;
            parquet.write(&batch).map_err(engine)?;
            // Finished row groups have left the encoder; what is in the buffer can go out.
            out.append(parquet.inner_mut());
            return Ok(out);
        }
        let rows = Rows::new(batch, &self.columns).map_err(engine)?;
        let mut cell = Vec::new();
        for row in 0..rows.len() {
            match self.format {
                Format::Csv => {
                    for column in 0..self.columns.len() {
                        if column > 0 {
                            out.push(b',');
                        }
                        cell.clear();
                        rows.text(row, column, &mut cell);
                        csv_cell(&cell, &mut out);
                    }
                    out.extend_from_slice(b"\r\n");
                }
                Format::Json => {
                    out.extend_from_slice(if self.rows == 0 { b"\n" } else { b",\n" });
                    rows.write_object(row, &self.keys, &mut out);
                }
                Format::Ndjson | Format::Parquet => {
                    rows.write_object(row, &self.keys, &mut out);
                    out.push(b'\n');
                }
            }
            self.rows += 1;
        }
        Ok(out)
    }

    /// What comes after the last row.
    pub fn tail(self) -> Result<Vec<u8>, HuntError> {
        match self.parquet {
            Some(parquet) => parquet.into_inner().map_err(engine),
            None if self.format == Format::Json => Ok(b"\n]\n".to_vec()),
            None => Ok(Vec::new()),
        }
    }
}

/// Columns of a Parquet file: plain types that every reader knows; a timespan is its microseconds.
fn schema(columns: &[Column]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| {
            let kind = match column.kind {
                Type::Timespan => DataType::Int64,
                Type::Datetime => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                other => other.arrow(),
            };
            Field::new(&column.name, kind, true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A cell by RFC 4180. A cell that a spreadsheet would run as a formula gets an apostrophe before it.
fn csv_cell(value: &[u8], out: &mut Vec<u8>) {
    let number = || std::str::from_utf8(value).is_ok_and(|text| text.parse::<f64>().is_ok());
    let formula = matches!(value.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r')) && !number();
    let quoted = formula || value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if !quoted {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    if formula {
        out.push(b'\'');
    }
    for byte in value {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Writes a query's rows into a channel, until there are no more or nobody listens. An error in the middle ends the
/// stream with an error, so that the transfer is seen to be broken.
pub async fn write(mut hunt: Hunt, format: Format, sender: mpsc::Sender<Result<Bytes, std::io::Error>>) {
    let columns = hunt.columns.clone();
    let work = async {
        let mut writer = Writer::new(format, columns)?;
        let mut part = writer.head();
        loop {
            if !part.is_empty() && sender.send(Ok(Bytes::from(std::mem::take(&mut part)))).await.is_err() {
                return Ok(false);
            }
            match hunt.next().await? {
                Some(batch) => part = writer.rows(&batch)?,
                None => break,
            }
        }
        let tail = writer.tail()?;
        Ok::<bool, HuntError>(tail.is_empty() || sender.send(Ok(Bytes::from(tail))).await.is_ok())
    };
    match work.await {
        Ok(true) => {
            if let Err(error) = hunt.finish().await {
                tracing::warn!(%error, "an export could not be written down");
            }
        }
        Ok(false) => {}
        Err(error) => {
            let _ = sender.send(Err(std::io::Error::other(error.to_string()))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};

    fn file(format: Format) -> Vec<u8> {
        let columns = vec![Column::new("a, b", Type::Text), Column::new("n", Type::Long)];
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("x\"y"), Some("=cmd()"), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), None, Some(3)]));
        let batch = RecordBatch::try_from_iter([("a, b", texts), ("n", numbers)]).unwrap();
        let mut writer = Writer::new(format, columns).unwrap();
        let mut out = writer.head();
        out.extend(writer.rows(&batch).unwrap());
        out.extend(writer.tail().unwrap());
        out
    }

    #[test]
    fn files_hold_what_readers_expect() {
        let text = |format| String::from_utf8(file(format)).unwrap();
        assert_eq!(text(Format::Csv), "\"a, b\",n\r\n\"x\"\"y\",-1\r\n\"'=cmd()\",\r\n,3\r\n");
        assert_eq!(
            text(Format::Ndjson),
            "{\"a, b\":\"x\\\"y\",\"n\":-1}\n{\"a, b\":\"=cmd()\",\"n\":null}\n{\"a, b\":\"\",\"n\":3}\n"
        );
        let json: serde_json::Value = serde_json::from_str(&text(Format::Json)).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_parquet_file_reads_back() {
        let bytes = Bytes::from(file(Format::Parquet));
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 100).unwrap();
        let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows, 3);
    }
}
