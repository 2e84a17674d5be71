//! Files as the checker sees them: every value as text. Types of Parquet columns are held against the specification here.

use super::check::{Finding, Table};
use super::columns::{COLUMNS, Kind};
use arrow::array::{Array as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the file cannot be read as {kind}: {why}")]
pub struct Unreadable {
    kind: &'static str,
    why: String,
}

/// Reads CSV. An empty cell is null.
pub fn csv(bytes: &[u8]) -> Result<Table, Unreadable> {
    let failed = |why: csv::Error| Unreadable { kind: "CSV", why: why.to_string() };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let names = reader.headers().map_err(failed)?.iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        rows.push(record.iter().map(|cell| (!cell.is_empty()).then(|| cell.to_owned())).collect());
    }
    Ok(Table { names, rows })
}

/// Reads Parquet; the findings are about the types of columns.
pub fn parquet(bytes: Bytes) -> Result<(Table, Vec<Finding>), Unreadable> {
    let failed = |why: String| Unreadable { kind: "Parquet", why };
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| failed(e.to_string()))?;
    let findings = types(builder.schema());
    let names: Vec<String> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
    let mut rows: Vec<Vec<Option<String>>> = Vec::new();
    for batch in builder.build().map_err(|e| failed(e.to_string()))? {
        let batch = batch.map_err(|e| failed(e.to_string()))?;
        let mut columns = Vec::new();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let text = cast(column, &DataType::Utf8).map_err(|e| failed(e.to_string()))?;
            let moments = matches!(field.data_type(), DataType::Timestamp(..));
            columns.push((text, moments));
        }
        for at in 0..batch.num_rows() {
            let row = columns.iter().map(|(column, moments)| {
                let cells = column.as_any().downcast_ref::<StringArray>()?;
                if cells.is_null(at) {
                    return None;
                }
                let text = cells.value(at);
                let moment = |text: &str| {
                    let time = text.parse::<jiff::Timestamp>().ok()?;
                    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
                };
                Some(if *moments { moment(text).unwrap_or_else(|| text.to_owned()) } else { text.to_owned() })
            });
            rows.push(row.collect());
        }
    }
    Ok((Table { names, rows }, findings))
}

fn types(schema: &Schema) -> Vec<Finding> {
    let mut findings = Vec::new();
    for field in schema.fields() {
        let Some(info) = COLUMNS.iter().find(|c| c.name == field.name()) else { continue };
        let fits = match info.kind {
            Kind::Decimal => field.data_type().is_numeric(),
            Kind::Time => matches!(field.data_type(), DataType::Timestamp(_, Some(_))),
            Kind::Text | Kind::Currency | Kind::Json => {
                matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            }
        };
        if !fits {
            let words = format!("the column's type is {}", field.data_type());
            findings.push(Finding { row: 0, column: info.name.to_owned(), rule: "type", words });
        }
    }
    findings
}
