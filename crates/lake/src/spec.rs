//! What the lake knows about a table: its name, its stored columns, how long rows are kept.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use garrison_telemetry::Table;
use std::sync::Arc;

/// Column that the Delta table is partitioned by: the UTC day of the row, see [`crate::flush`] for late and future
/// rows. It is in the path and the log, never in the Parquet file.
pub const PARTITION_COLUMN: &str = "EventDate";
/// Event time of a row.
pub const TIME_COLUMN: &str = "Timestamp";
/// Device of a row.
pub const DEVICE_COLUMN: &str = "DeviceId";
/// Sequence number of a row in its device's boot.
pub const SEQUENCE_COLUMN: &str = "ReportId";
/// Boot that the sequence number counts in.
pub const BOOT_COLUMN: &str = "BootId";
/// When the server took the row in.
pub const INGEST_COLUMN: &str = "IngestTime";

/// A table of the lake.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Name, also the name of its folder.
    pub name: String,
    /// Stored columns with plain types, without [`PARTITION_COLUMN`].
    pub schema: SchemaRef,
    /// Days that rows are kept unless configured otherwise.
    pub retention_days: u32,
}

impl TableSpec {
    /// The table as the hunting schema declares it.
    pub fn of(table: &Table) -> Self {
        Self { name: table.name.to_owned(), schema: table.stored_schema(), retention_days: table.retention_days }
    }

    /// The hunting tables that something writes; the others need no folder, see
    /// [`crate::provider::LakeTableProvider::empty`].
    pub fn hunting_tables() -> Vec<Self> {
        garrison_telemetry::written_tables().map(Self::of).collect()
    }

    /// Whether the table has this column.
    pub fn has(&self, column: &str) -> bool {
        self.schema.column_with_name(column).is_some()
    }

    /// Schema as Delta and query engines see it: the stored columns and [`PARTITION_COLUMN`] last.
    pub fn logical_schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(PARTITION_COLUMN, DataType::Date32, true)));
        Arc::new(Schema::new(fields))
    }
}

/// Type of all times in the lake.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
