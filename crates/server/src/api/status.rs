//! Health, figures and the schema.

use super::Api;
use super::problem::ApiError;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use utoipa::ToSchema;

/// How the server is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Port of the gateway, where sensors and connectors connect; 0 where the system chose one.
    pub gateway_port: u16,
    /// Open incidents.
    pub active_incident_count: i64,
    /// Open alerts.
    pub active_alert_count: i64,
    /// Devices enrolled.
    pub device_count: usize,
    /// Sensors connected now.
    pub sensors_connected: usize,
    /// Rows looked at since the start.
    pub rows_total: u64,
    /// Rows a second, over the time since the status was last asked for.
    pub rows_per_second: f64,
    /// Rules in use.
    pub rules_active: usize,
    /// Version of the content that sensors are offered.
    pub content_version: String,
    /// Bytes of Parquet files.
    pub lake_bytes: u64,
    /// Rows in Parquet files and in memory.
    pub lake_rows: u64,
    /// Entries of the write-ahead log that are not in Parquet yet.
    pub wal_lag: u64,
    /// `ok`, `low` or `full`.
    pub disk_state: String,
    /// Bytes free on the lake's disk.
    pub disk_free_bytes: u64,
}

/// Rows and when they were counted.
static LAST: Mutex<Option<(Instant, u64, f64)>> = Mutex::new(None);

/// The rate over at least half a second, so that two askers do not spoil each other's.
fn rate(rows: u64) -> f64 {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    match *last {
        Some((at, known, rate)) => {
            let seconds = now.duration_since(at).as_secs_f64();
            if seconds < 0.5 {
                return rate;
            }
            let rate = rows.saturating_sub(known) as f64 / seconds;
            *last = Some((now, rows, rate));
            rate
        }
        None => {
            *last = Some((now, rows, 0.0));
            0.0
        }
    }
}

/// Collects the status.
pub async fn status_of(api: &Api) -> Result<Status, ApiError> {
    let (incidents, alerts) = api.incidents.open_counts().await?;
    let lake = api.shared.lake.stats();
    let rows = api.detection.counters.rows.load(Ordering::Relaxed);
    let loaded = api.detection.loaded();
    let rules = loaded.engine.rules();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateway_port: api.shared.config.gateway.port(),
        active_incident_count: incidents,
        active_alert_count: alerts,
        device_count: api.shared.fleet.count(),
        sensors_connected: api.shared.fleet.connected(),
        rows_total: rows,
        rows_per_second: (rate(rows) * 10.0).round() / 10.0,
        rules_active: rules.iter().filter(|(index, _)| loaded.engine.is_active(*index)).count(),
        content_version: api.detection.content().borrow().version.clone(),
        lake_bytes: lake.tables.iter().map(|t| t.file_bytes).sum(),
        lake_rows: lake.tables.iter().map(|t| t.file_rows + t.hot_rows).sum(),
        wal_lag: lake.wal_lag,
        disk_state: match lake.disk {
            garrison_lake::DiskState::Ok => "ok",
            garrison_lake::DiskState::Low => "low",
            garrison_lake::DiskState::Full => "full",
        }
        .to_owned(),
        disk_free_bytes: lake.disk_free,
    })
}

/// How the server is.
#[utoipa::path(get, path = "/status", tag = "status", responses((status = 200, body = Status)))]
pub async fn status_get(State(api): State<Api>) -> Result<Json<Status>, ApiError> {
    Ok(Json(status_of(&api).await?))
}

/// A hunting table.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableView {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub doc: &'static str,
    /// The feature that will write it, where that is not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<&'static str>,
    /// Nothing writes it yet.
    pub empty: bool,
    /// Days that rows are kept.
    pub retention_days: u32,
    /// Columns.
    pub columns: Vec<ColumnView>,
}

/// A column.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColumnView {
    /// Name.
    pub name: &'static str,
    /// Type, in the hunting language's words.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it holds.
    pub doc: &'static str,
}

/// The schema.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaView {
    /// Version; columns are only added.
    pub schema_version: u32,
    /// Tables.
    pub tables: Vec<TableView>,
}

/// The hunting tables with their columns.
#[utoipa::path(get, path = "/schema", tag = "status", responses((status = 200, body = SchemaView)))]
pub async fn schema_get() -> Json<SchemaView> {
    let tables = garrison_telemetry::tables()
        .iter()
        .map(|t| TableView {
            name: t.name,
            doc: t.doc,
            feature: t.feature,
            empty: t.feature.is_some(),
            retention_days: t.retention_days,
            columns: t
                .columns
                .iter()
                .chain(garrison_telemetry::SYSTEM_COLUMNS)
                .map(|c| ColumnView { name: c.name, kind: c.kind.as_str(), doc: c.doc })
                .collect(),
        })
        .collect();
    Json(SchemaView { schema_version: garrison_telemetry::SCHEMA_VERSION, tables })
}

/// Prometheus text.
pub async fn metrics(State(api): State<Api>) -> Response {
    let mut text = api.shared.metrics.encode();
    let c = &api.detection.counters;
    let own = [
        ("garrison_detection_rows_total", "Rows looked at", &c.rows),
        ("garrison_detection_hits_total", "Rows on which a rule held", &c.hits),
        ("garrison_detection_hits_cut_total", "Hits beyond the bound of one batch", &c.hits_cut),
        ("garrison_detection_alerts_total", "Alerts made", &c.alerts),
        ("garrison_detection_folded_total", "Repeats folded into alerts", &c.folded),
        ("garrison_detection_suppressed_total", "Alerts hidden by a suppression", &c.suppressed),
        ("garrison_detection_write_failures_total", "Failed writes of alerts", &c.write_failures),
    ];
    // The format ends with one mark of its end; ours go before it.
    let ended = text.ends_with("# EOF\n");
    if ended {
        text.truncate(text.len() - "# EOF\n".len());
    }
    for (name, help, counter) in own {
        let family = name.strip_suffix("_total").unwrap_or(name);
        let value = counter.load(Ordering::Relaxed);
        text.push_str(&format!("# HELP {family} {help}.\n# TYPE {family} counter\n{name} {value}\n"));
    }
    if ended {
        text.push_str("# EOF\n");
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// Whether the server works: the database answers and the disk has room.
pub async fn healthz(State(api): State<Api>) -> Response {
    let database = api.incidents.open_counts().await.is_ok();
    let full = api.shared.lake.stats().disk == garrison_lake::DiskState::Full;
    match (database, full) {
        (true, false) => (StatusCode::OK, "ok\n").into_response(),
        (true, true) => (StatusCode::SERVICE_UNAVAILABLE, "the disk is full\n").into_response(),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response(),
    }
}
