//! Who hears of rows once they are durable.

use arrow::array::RecordBatch;
use garrison_model::Micros;
use garrison_telemetry::BatchHeader;

/// Rows that are durable in the lake, as the lake holds them.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Device (from the certificate), boot, table and numbers. Where part of a batch was stored before, the header
    /// still covers the whole; `ReportId` tells each row's number.
    pub header: BatchHeader,
    /// The new rows. `DeviceId`, `DeviceName`, `BootId` are dictionary columns of one value, `ReportId` is Int64,
    /// `IngestTime` a timestamp in microseconds UTC; all are always there. Other columns may be absent (all null), and
    /// text comes plain or as dictionary.
    pub batch: RecordBatch,
    /// When the server took it in.
    pub received: Micros,
    /// Whether the sensor says that one of its own rules fired on it.
    pub urgent: bool,
}

/// Hears of stored rows: detection, live views.
///
/// `observe` is called on one of a few worker threads (never on the async runtime), after the rows are durable; rows
/// of one device always come on the same thread. It may block for a while: the workers' queues are bounded, and when
/// they are full, sessions stop reading and sensors keep their rows. It must not wait for a task that itself waits for
/// an ingest.
pub trait Observer: Send + Sync + 'static {
    /// New durable rows.
    fn observe(&self, stored: &Stored);
}
