//! Counters and gauges, as `/metrics` shows them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};
use std::sync::{Mutex, PoisonError};

/// A stable code, from a closed list in the code: never text from outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByCode {
    /// The code.
    pub code: &'static str,
}

/// A hunting table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByTable {
    /// Its name.
    pub table: &'static str,
}

/// All counters of a server. Rooms that are not listed here register their own with [`Metrics::register`].
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Rows stored.
    pub rows: Family<ByTable, Counter>,
    /// Batches stored.
    pub batches: Counter,
    /// Payload bytes of stored batches.
    pub bytes: Counter,
    /// Batches that were stored before.
    pub duplicates: Counter,
    /// Batches not stored, by reason.
    pub refused: Family<ByCode, Counter>,
    /// Values cut to size.
    pub cut: Counter,
    /// Timestamps that could not be true.
    pub clamped: Counter,
    /// Sequence numbers that jump impossibly far.
    pub sequence_jumps: Counter,
    /// Columns that no table knows.
    pub unknown_columns: Family<ByTable, Counter>,
    /// Rows that sensors say were lost.
    pub lost: Counter,
    /// Enrolments that went well.
    pub enrolled: Counter,
    /// Enrolments and renewals refused, by reason.
    pub enrol_refused: Family<ByCode, Counter>,
    /// Connections not taken, by reason.
    pub connections_refused: Family<ByCode, Counter>,
    /// Sessions ended by the gateway, by reason.
    pub sessions_closed: Family<ByCode, Counter>,
    /// Sensors connected.
    pub sessions: Gauge,
    /// Devices known.
    pub devices: Gauge,
    /// Position of the last durable log entry.
    pub wal_position: Gauge,
    /// Log entries that a restart would replay.
    pub wal_lag: Gauge,
    /// Group commits.
    pub wal_groups: Gauge,
    /// Group commits that failed.
    pub wal_failures: Gauge,
    /// Rows in memory.
    pub lake_hot_rows: Gauge,
    /// Parquet files.
    pub lake_files: Gauge,
    /// Their bytes.
    pub lake_bytes: Gauge,
    /// 0: room; 1: little; 2: full, nothing is acknowledged.
    pub disk_state: Gauge,
    /// Observers that panicked on a batch; nothing else was disturbed.
    pub observer_panics: Counter,
    /// Reconcilers that failed and will try again.
    pub reconcile_failures: Family<ByCode, Counter>,
}

impl Metrics {
    /// All counters, registered.
    pub fn new() -> Self {
        let m = Self::default();
        m.register("garrison_rows", "Rows stored", m.rows.clone());
        m.register("garrison_batches", "Batches stored", m.batches.clone());
        m.register("garrison_batch_bytes", "Payload bytes of stored batches", m.bytes.clone());
        m.register("garrison_batches_duplicate", "Batches that were stored before", m.duplicates.clone());
        m.register("garrison_batches_refused", "Batches not stored, by reason", m.refused.clone());
        m.register("garrison_values_cut", "Values cut to size", m.cut.clone());
        m.register("garrison_timestamps_clamped", "Timestamps that could not be true", m.clamped.clone());
        m.register("garrison_sequence_jumps", "Sequence numbers that jump impossibly far", m.sequence_jumps.clone());
        m.register("garrison_unknown_columns", "Columns kept aside", m.unknown_columns.clone());
        m.register("garrison_rows_lost", "Rows that sensors say were lost", m.lost.clone());
        m.register("garrison_enrolled", "Machines enrolled", m.enrolled.clone());
        m.register("garrison_enrolments_refused", "Enrolments and renewals refused", m.enrol_refused.clone());
        m.register("garrison_connections_refused", "Connections not taken", m.connections_refused.clone());
        m.register("garrison_sessions_closed", "Sessions ended by the gateway", m.sessions_closed.clone());
        m.register("garrison_sessions", "Sensors connected", m.sessions.clone());
        m.register("garrison_devices", "Devices known", m.devices.clone());
        m.register("garrison_wal_position", "Position of the last durable log entry", m.wal_position.clone());
        m.register("garrison_wal_lag", "Log entries that a restart would replay", m.wal_lag.clone());
        m.register("garrison_wal_groups", "Group commits", m.wal_groups.clone());
        m.register("garrison_wal_failures", "Group commits that failed", m.wal_failures.clone());
        m.register("garrison_lake_hot_rows", "Rows in memory", m.lake_hot_rows.clone());
        m.register("garrison_lake_files", "Parquet files", m.lake_files.clone());
        m.register("garrison_lake_bytes", "Bytes in Parquet files", m.lake_bytes.clone());
        m.register("garrison_disk_state", "Disk: 0 room, 1 little, 2 full", m.disk_state.clone());
        m.register("garrison_observer_panics", "Panics while looking at stored rows", m.observer_panics.clone());
        m.register("garrison_reconcile_failures", "Background steps that failed", m.reconcile_failures.clone());
        m
    }

    /// Adds a metric of another room. Counters get `_total` behind their name by themselves.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric);
    }

    /// A batch was not stored.
    pub fn refuse(&self, code: &'static str) {
        self.refused.get_or_create(&ByCode { code }).inc();
    }

    /// The text of `/metrics` (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if encode(&mut text, &registry).is_err() {
            text.clear();
        }
        text
    }
}
