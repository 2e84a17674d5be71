//! The hunting tables: the one shape of telemetry from the kernel to the query.
//!
//! Each table is one declarative file in `schema/tables`; from it come, at build time, the list of tables, the Arrow
//! schemas, the typed rows and builders, the reference page and the console's completions. A batch of rows is an Arrow
//! record batch that need not carry every column: **a column that is absent reads as all null**. Text may come as plain
//! or as dictionary-encoded strings.
//!
//! This crate never does I/O and never reads a clock.

pub mod admit;
pub mod batch;
pub mod column;
pub mod ipc;
pub mod json;
pub mod reference;
pub mod text;

pub use admit::{AdmitError, AdmitLimits, Admitted, admit};
pub use batch::{BatchHeader, Loss, SequenceRun};
pub use ipc::{DecodeError, DecodeLimits, decode_ipc, encode_ipc};
pub use json::{JsonError, batch_from_json, row_to_json};
pub use text::TextColumn;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// Version of the table files; raised when a column is added. Columns are never removed or changed in type.
pub const SCHEMA_VERSION: u32 = 1;

/// Columns that the server adds to every stored row: which boot the sequence number belongs to, and when it came.
pub const SYSTEM_COLUMNS: &[Column] = &[
    Column {
        name: "BootId",
        kind: ColumnType::Text,
        dictionary: true,
        doc: "Boot of the device that ReportId counts in.",
    },
    Column {
        name: "IngestTime",
        kind: ColumnType::Datetime,
        dictionary: false,
        doc: "When the server took the row in, UTC.",
    },
];

/// Type of a column, in the words of the hunting language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `string`: UTF-8.
    Text,
    /// `long`: 64 bits, signed.
    Long,
    /// `int`: 32 bits, signed.
    Int,
    /// `real`: 64-bit floating point.
    Real,
    /// `bool`.
    Bool,
    /// `datetime`: microseconds since 1970 UTC.
    Datetime,
    /// `dynamic`: JSON text.
    Dynamic,
}

impl ColumnType {
    /// The hunting language's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Long => "long",
            Self::Int => "int",
            Self::Real => "real",
            Self::Bool => "bool",
            Self::Datetime => "datetime",
            Self::Dynamic => "dynamic",
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name, as in the hunting schema.
    pub name: &'static str,
    /// Type.
    pub kind: ColumnType,
    /// Whether our builders encode it as a dictionary.
    pub dictionary: bool,
    /// What it holds.
    pub doc: &'static str,
}

impl Column {
    /// Arrow type that our builders make.
    pub fn data_type(&self) -> DataType {
        match self.kind {
            ColumnType::Text | ColumnType::Dynamic if self.dictionary => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            _ => self.plain_type(),
        }
    }

    /// Arrow type without dictionary encoding: what Parquet files and the query engine hold.
    pub fn plain_type(&self) -> DataType {
        match self.kind {
            ColumnType::Text | ColumnType::Dynamic => DataType::Utf8,
            ColumnType::Long => DataType::Int64,
            ColumnType::Int => DataType::Int32,
            ColumnType::Real => DataType::Float64,
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Datetime => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A hunting table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub doc: &'static str,
    /// The feature that will write it, where that is not built yet: the table exists and is empty.
    pub feature: Option<&'static str>,
    /// How long rows are kept unless configured otherwise.
    pub retention_days: u32,
    /// Columns, in the hunting schema's order.
    pub columns: &'static [Column],
}

impl Table {
    /// Arrow schema with all columns, as our builders encode them.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|c| Field::new(c.name, c.data_type(), true)).collect::<Vec<_>>()))
    }

    /// Arrow schema of stored rows: all columns and the system columns, no dictionaries.
    pub fn stored_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns
                .iter()
                .chain(SYSTEM_COLUMNS)
                .map(|c| Field::new(c.name, c.plain_type(), true))
                .collect::<Vec<_>>(),
        ))
    }

    /// A column by its exact name.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}

/// All tables, in order of their names.
pub fn tables() -> &'static [Table] {
    TABLES
}

/// The tables that something writes, in order of their names.
pub fn written_tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|t| t.feature.is_none())
}

/// A table by its exact name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.binary_search_by(|t| t.name.cmp(name)).ok().map(|i| &TABLES[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_by_name() {
        for t in tables() {
            assert_eq!(table(t.name).map(|x| x.name), Some(t.name));
            assert!(t.feature.is_some() || t.column("Timestamp").is_some());
            assert!(t.columns.iter().all(|c| !c.doc.is_empty()));
        }
        assert!(table("Nope").is_none());
    }

    /// Names and types must be those of the hunting schema that existing queries were written for.
    #[test]
    fn tables_are_those_of_the_hunting_schema() {
        let path =
            &format!("{}/../../../shared/reference/hunting-schema.json", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("skipped because ../shared/reference is absent");
            return;
        };
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        for name in all.as_object().unwrap().keys() {
            assert!(table(name).is_some(), "{name} is missing");
        }
        for t in tables().iter().filter(|t| t.name != "SensorLossEvents") {
            let theirs: Vec<(String, String)> = all[t.name]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| (c["name"].as_str().unwrap().to_owned(), c["type"].as_str().unwrap().to_owned()))
                .collect();
            let ours: Vec<_> = t.columns.iter().map(|c| (c.name.to_owned(), c.kind.as_str().to_owned())).collect();
            assert_eq!(ours, theirs, "{}", t.name);
        }
    }
}
