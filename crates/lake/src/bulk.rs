//! Rows that are put into a table as finished files, past the write-ahead log: for restoring, and for measuring with as
//! many rows as a fleet sends in months. The files are those that compaction would leave.

use crate::delta::Change;
use crate::error::LakeError;
use crate::files::{ActiveFile, day_of};
use crate::lake::Lake;
use crate::parquet_file::ParquetFile;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use garrison_model::Micros;
use std::sync::Arc;

/// A file being written. Dropped without [`BulkFile::finish`], it is removed.
pub struct BulkFile {
    file: ParquetFile,
    table: String,
}

/// A file that is on disk and not in the table yet.
pub struct FinishedFile {
    file: ActiveFile,
    table: String,
}

impl BulkFile {
    /// Appends rows: in the order (DeviceId, Timestamp, ReportId) over the whole file, columns as in the file's
    /// schema; text may be a dictionary.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), LakeError> {
        self.file.write(rows)
    }

    /// Closes the file and makes it durable.
    pub fn finish(self, now: Micros) -> Result<FinishedFile, LakeError> {
        Ok(FinishedFile { file: self.file.finish(now.0 / 1_000)?, table: self.table })
    }
}

impl Lake {
    /// Starts a file of a table for rows of one UTC day, with those of the table's columns that are named.
    pub fn bulk_file(&self, table: &str, day: Micros, columns: &[&str]) -> Result<BulkFile, LakeError> {
        let known = self.lake_table(table)?;
        let mut fields = Vec::with_capacity(columns.len());
        for column in columns {
            let field = known
                .spec
                .schema
                .field_with_name(column)
                .map_err(|_| LakeError::UnknownColumn { table: table.to_owned(), column: (*column).to_owned() })?;
            fields.push(field.clone());
        }
        let file =
            ParquetFile::create(&known.folder, day_of(day), &Arc::new(Schema::new(fields)), known.at_rest.sealing())?;
        Ok(BulkFile { file, table: table.to_owned() })
    }

    /// Makes finished files part of their table, all in one commit.
    pub async fn add_bulk_files(&self, table: &str, files: Vec<FinishedFile>, now: Micros) -> Result<(), LakeError> {
        let known = self.lake_table(table)?;
        if let Some(other) = files.iter().find(|file| file.table != table) {
            let reason = format!("a file of table `{}` is among them", other.table);
            return Err(LakeError::BadRequest { table: table.to_owned(), reason });
        }
        let mut log = known.log.lock().await;
        let add = files.into_iter().map(|file| file.file).collect();
        log.commit(Change { add, now_ms: now.0 / 1_000, ..Change::default() }).await?;
        let files = log.files()?;
        let mut shelf = known.write();
        shelf.files = Arc::new(files);
        shelf.version = log.version();
        Ok(())
    }
}
