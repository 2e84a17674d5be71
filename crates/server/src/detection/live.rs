//! Rows of one device as they come, for those who watch it.

use super::summary::summary;
use crate::ingest::Stored;
use garrison_model::{DeviceId, TimelineRow};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Rows a watcher may lag behind: it is a view for eyes; who reads slower misses rows and is told so.
const LAG_MAX: usize = 512;
/// Rows of one batch shown live.
const ROWS_PER_BATCH_MAX: usize = 256;

/// Watched devices.
#[derive(Debug, Default)]
pub struct Live {
    watched: AtomicUsize,
    devices: Mutex<HashMap<DeviceId, broadcast::Sender<Arc<TimelineRow>>>>,
}

impl Live {
    /// Watches a device.
    pub fn watch(&self, device: &DeviceId) -> broadcast::Receiver<Arc<TimelineRow>> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|_, sender| sender.receiver_count() > 0);
        let receiver = devices.entry(device.clone()).or_insert_with(|| broadcast::channel(LAG_MAX).0).subscribe();
        self.watched.store(devices.len(), Ordering::Relaxed);
        receiver
    }

    /// Hands rows to watchers; costs nothing when nobody watches.
    pub fn send(&self, stored: &Stored) {
        if self.watched.load(Ordering::Relaxed) == 0 {
            return;
        }
        let sender = {
            let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
            devices.get(&stored.header.device).filter(|s| s.receiver_count() > 0).cloned()
        };
        let Some(sender) = sender else { return };
        for row in 0..stored.batch.num_rows().min(ROWS_PER_BATCH_MAX) {
            let row = garrison_telemetry::row_to_json(&stored.batch, row);
            let _ = sender.send(Arc::new(timeline_row(&stored.header.table, row)));
        }
    }
}

/// A row of a hunting table as the timeline shows it; alerts are filled in by the caller.
pub fn timeline_row(table: &str, row: Map<String, Value>) -> TimelineRow {
    let text = |column: &str| row.get(column).and_then(Value::as_str).map(str::to_owned);
    TimelineRow {
        timestamp: text("Timestamp").or_else(|| text("IngestTime")).unwrap_or_default(),
        table: table.to_owned(),
        action_type: text("ActionType").unwrap_or_default(),
        summary: summary(table, &row),
        initiating_process: text("InitiatingProcessFileName"),
        account_name: text("AccountName").or_else(|| text("InitiatingProcessAccountName")),
        alert_ids: Vec::new(),
        row: Value::Object(row),
    }
}
