//! Where columns go that no table knows: one JSON-lines file a table, of bounded size. A newer sensor's columns can be
//! looked at there; nothing reads them back.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::json::LineDelimitedWriter;
use garrison_model::{DeviceId, Micros};
use garrison_telemetry::Table;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of one table's file: a newer sensor's columns show in the first rows, and the disk belongs to the lake.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Rows of one batch that are kept.
const BATCH_ROWS_MAX: usize = 16;
/// Bytes of one batch that are kept.
const BATCH_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Aside {
    folder: PathBuf,
    turn: Mutex<()>,
}

impl Aside {
    pub(super) fn open(folder: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, turn: Mutex::new(()) })
    }

    /// Keeps a sample of unknown columns; trouble here never holds up the rows.
    pub(super) fn keep(&self, table: &Table, device: &DeviceId, now: Micros, columns: &[(String, ArrayRef)]) {
        if let Err(error) = self.try_keep(table, device, now, columns) {
            tracing::debug!(%error, "cannot keep unknown columns aside");
        }
    }

    fn try_keep(
        &self,
        table: &Table,
        device: &DeviceId,
        now: Micros,
        columns: &[(String, ArrayRef)],
    ) -> anyhow::Result<()> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, array)| {
                Field::new(name.chars().take(120).collect::<String>(), array.data_type().clone(), true)
            })
            .collect();
        let arrays = columns.iter().map(|(_, a)| a.slice(0, a.len().min(BATCH_ROWS_MAX))).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        let mut text = Vec::new();
        writeln!(text, "{}", serde_json::json!({"device": device, "time": now.0, "columns": columns.len()}))?;
        let mut writer = LineDelimitedWriter::new(&mut text);
        writer.write(&batch)?;
        writer.finish()?;
        if text.len() > BATCH_BYTES_MAX {
            return Ok(());
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // A table's name comes from our own list, so it is a safe file name.
        let path = self.folder.join(format!("{}.jsonl", table.name));
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        if file.metadata()?.len().saturating_add(text.len() as u64) <= FILE_BYTES_MAX {
            file.write_all(&text)?;
        }
        Ok(())
    }
}
