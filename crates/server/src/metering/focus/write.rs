//! Rows as CSV (RFC 4180) or Parquet.

use super::columns::{COLUMNS, Kind, Row};
use crate::metering::MeteringError;
use arrow::array::{ArrayRef, Decimal128Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::sync::Arc;

/// Digits and decimal places of amounts in Parquet.
const DIGITS: u8 = 38;
const PLACES: i8 = 6;

/// Kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, with a head line.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// By its word; `focus-csv` and `focus-parquet` are the same.
    pub fn parse(word: &str) -> Option<Self> {
        match word.strip_prefix("focus-").unwrap_or(word) {
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// Media type and ending of the file's name.
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::Parquet => ("application/vnd.apache.parquet", "parquet"),
        }
    }
}

/// Writes rows as they come.
pub(super) struct Writer {
    head: bool,
    parquet: Option<ArrowWriter<Vec<u8>>>,
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> MeteringError {
    MeteringError::File(Box::new(error))
}

fn schema() -> SchemaRef {
    let fields: Vec<Field> = COLUMNS
        .iter()
        .map(|c| {
            let kind = match c.kind {
                Kind::Decimal => DataType::Decimal128(DIGITS, PLACES),
                Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
                Kind::Text | Kind::Currency | Kind::Json => DataType::Utf8,
            };
            Field::new(c.name, kind, c.nullable)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// An amount of ours as a whole number of the last decimal place.
fn whole(text: &str) -> Option<i128> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = rest.split_once('.').unwrap_or((rest, ""));
    Some(sign * format!("{whole}{part:0<6}").parse::<i128>().ok()?)
}

fn array(at: usize, kind: Kind, rows: &[Row]) -> Result<ArrayRef, MeteringError> {
    let cells = rows.iter().map(|row| row.0.get(at).and_then(Option::as_deref));
    Ok(match kind {
        Kind::Decimal => {
            let numbers = cells.map(|cell| cell.and_then(whole)).collect::<Decimal128Array>();
            Arc::new(numbers.with_precision_and_scale(DIGITS, PLACES).map_err(failed)?)
        }
        Kind::Time => {
            let moment = |text: &str| text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond());
            let times = cells.map(|cell| cell.and_then(moment)).collect::<TimestampMillisecondArray>();
            Arc::new(times.with_timezone("UTC"))
        }
        Kind::Text | Kind::Currency | Kind::Json => Arc::new(cells.collect::<StringArray>()),
    })
}

/// A cell by RFC 4180. Null is an empty cell, and no value of ours is an empty text.
fn cell(text: &str, out: &mut Vec<u8>) {
    if text.contains([',', '"', '\n', '\r']) {
        out.extend_from_slice(format!("\"{}\"", text.replace('"', "\"\"")).as_bytes());
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

fn line<'a>(cells: impl Iterator<Item = Option<&'a str>>, out: &mut Vec<u8>) {
    for (at, text) in cells.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        cell(text.unwrap_or_default(), out);
    }
    out.extend_from_slice(b"\r\n");
}

impl Writer {
    pub(super) fn new(format: Format) -> Result<Self, MeteringError> {
        let parquet = match format {
            Format::Csv => None,
            Format::Parquet => {
                let level = ZstdLevel::try_new(3).unwrap_or_default();
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                Some(ArrowWriter::try_new(Vec::new(), schema(), Some(properties)).map_err(failed)?)
            }
        };
        Ok(Self { head: false, parquet })
    }

    /// Bytes that can go out after these rows.
    pub(super) fn rows(&mut self, rows: &[Row]) -> Result<Vec<u8>, MeteringError> {
        let mut out = Vec::new();
        if let Some(parquet) = &mut self.parquet {
            let arrays = COLUMNS.iter().enumerate().map(|(at, c)| array(at, c.kind, rows));
            let batch = RecordBatch::try_new(schema(), arrays.collect::<Result<_, _>>()?).map_err(failed)?;
            parquet.write(&batch).map_err(failed)?;
            // Finished row groups have left the encoder; what is in the buffer can go out.
            out.append(parquet.inner_mut());
            return Ok(out);
        }
        if !std::mem::replace(&mut self.head, true) {
            line(COLUMNS.iter().map(|c| Some(c.name)), &mut out);
        }
        for row in rows {
            line(row.0.iter().map(Option::as_deref), &mut out);
        }
        Ok(out)
    }

    /// What comes after the last row.
    pub(super) fn tail(self) -> Result<Vec<u8>, MeteringError> {
        match self.parquet {
            Some(parquet) => parquet.into_inner().map_err(failed),
            None => Ok(Vec::new()),
        }
    }
}
