//! Rooms of a server without its loops and listeners, on a clock that tests move: nothing happens unless a test does it.

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use garrison_kql as kql;
use garrison_lake::{Batch, Lake, LakeConfig, ScanRequest};
use garrison_model::{BootId, DeviceId, Micros, TenantId};
use garrison_server::config::Config;
use garrison_server::db::Db;
use garrison_server::detection::Detection;
use garrison_server::detection::custom::Custom;
use garrison_server::detection::custom::queries::{Ask, Found, LakeQueries, Queries};
use garrison_server::detection::indicator::Indicators;
use garrison_server::detection::retro::Retro;
use garrison_server::fleet::Fleet;
use garrison_server::identity::Identity;
use garrison_server::incidents::{AlertFilter, Incidents};
use garrison_server::ingest::{Observer as _, Stored};
use garrison_server::metrics::Metrics;
use garrison_server::shared::Shared;
use garrison_telemetry::{BatchHeader, TextColumn};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub const HOUR: i64 = 3_600_000_000;

/// Rows come from here.
pub fn device() -> DeviceId {
    DeviceId::new("ab".repeat(20)).unwrap()
}

fn boot() -> BootId {
    BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab").unwrap()
}

/// A query engine that knows one question, `find TEXT`: process rows whose command line holds the text. The language
/// itself has its own tests.
struct Finder(Arc<Lake>);

impl Queries for Finder {
    fn analyze(&self, text: &str, _: Micros) -> Result<kql::Analysis, String> {
        use kql::{Column, Type};
        let table = kql::TableUse { table: "DeviceProcessEvents".into(), from: None, to: None };
        let columns = [("Timestamp", Type::Datetime), ("ReportId", Type::Long), ("DeviceId", Type::Text)]
            .into_iter()
            .chain([("DeviceName", Type::Text), ("ProcessCommandLine", Type::Text), ("AccountName", Type::Text)]);
        let columns = columns.map(|(name, kind)| Column::new(name, kind)).collect();
        let _ = text;
        Ok(kql::Analysis { columns: Some(columns), tables: vec![table], ..Default::default() })
    }

    fn run(&self, ask: Ask) -> BoxFuture<'_, Result<Found, String>> {
        async move {
            let Some(wanted) = ask.text.strip_prefix("find ") else { return Err("the engine is on fire".to_owned()) };
            let batches = match ask.rows {
                Some((_, rows)) => rows,
                None => {
                    let (from, to) = ask.range.map_or((None, None), |(f, t)| (Some(Micros(f)), Some(Micros(t))));
                    let request = ScanRequest { from, to, ..ScanRequest::table("DeviceProcessEvents") };
                    self.0.scan(request).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
                }
            };
            let mut found = Vec::new();
            for batch in batches {
                let lines = batch.column_by_name("ProcessCommandLine").and_then(TextColumn::new);
                let came =
                    batch.column_by_name("IngestTime").map(|c| c.as_primitive::<TimestampMicrosecondType>().clone());
                let keep: BooleanArray = (0..batch.num_rows())
                    .map(|row| {
                        let line = lines.as_ref().and_then(|l| l.get(row)).unwrap_or_default();
                        let in_time = ask
                            .ingested
                            .is_none_or(|(from, to)| came.as_ref().is_some_and(|c| (from..to).contains(&c.value(row))));
                        Some(line.contains(wanted) && in_time)
                    })
                    .collect();
                found.push(filter_record_batch(&batch, &keep).unwrap());
            }
            let columns = self.analyze(&ask.text, ask.now)?.columns.unwrap();
            Ok(Found { columns, batches: found, more: false, tables: vec!["DeviceProcessEvents".into()] })
        }
        .boxed()
    }

    fn stream_refusal<'a>(&'a self, text: &'a str, _: Micros) -> BoxFuture<'a, Option<String>> {
        let refusal = text.contains("join").then(|| "`join` looks at rows that came before".to_owned());
        async move { refusal }.boxed()
    }
}

/// Which engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    Finder,
    Language,
}

pub struct House {
    pub shared: Arc<Shared>,
    pub detection: Arc<Detection>,
    pub incidents: Arc<Incidents>,
    pub custom: Arc<Custom>,
    pub indicators: Arc<Indicators>,
    pub retro: Arc<Retro>,
    clock: Arc<AtomicI64>,
    sequence: AtomicI64,
}

impl House {
    /// Opens what is in a folder; `now` is the clock's time.
    pub async fn open(
        folder: &Path,
        database: Option<&str>,
        now: i64,
        engine: EngineKind,
        alerts_per_run: usize,
    ) -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::WARN).try_init();
        let mut config = Config::at(folder);
        config.disk_floor_bytes = 1 << 20;
        config.detection_alerts_per_run = alerts_per_run;
        let tenant = TenantId::first();
        // Sealed, as a server's is.
        let at_rest = garrison_lake::AtRest::Sealed(garrison_lake::LakeKey::new(&[7; 32]).unwrap());
        let settings = LakeConfig { disk_floor_bytes: 1 << 20, at_rest, ..LakeConfig::default() };
        let lake = Lake::open(folder.join("lake"), settings);
        let db = match database {
            Some(url) => Db::open(url).await.unwrap(),
            None => Db::open_file(&folder.join("control.db")).await.unwrap(),
        };
        let wall = garrison_server::now();
        let identity = Identity::open(db.clone(), folder.join("keys"), wall).await.unwrap();
        let fleet = Arc::new(Fleet::open(db.clone(), tenant.clone(), config.inactive_after()).await.unwrap());
        let plane = garrison_server::plane::Plane::open(db.clone(), config.geographies.clone()).await.unwrap();
        let plane = Arc::new(plane);
        let (key, parts) = (identity.audit_key().clone(), (Arc::clone(&fleet), Arc::clone(&plane)));
        let access =
            garrison_server::access::Access::open(db.clone(), tenant.clone(), parts.0, parts.1, key, None).await;
        let shared = Arc::new(Shared {
            access: Arc::new(access.unwrap()),
            identity,
            fleet,
            tenant,
            data: folder.to_owned(),
            metering: garrison_server::metering::Metering::new(db.clone()),
            plane,
            db,
            lake: Arc::new(lake.unwrap()),
            metrics: Arc::new(Metrics::new()),
            lock: None,
            stop: tokio_util::sync::CancellationToken::new(),
            config,
        });
        // Rows that lie in the lake are not looked at again by the stream's own rules: they are what hunts are for.
        sqlx::query("INSERT INTO detection_watermark (tenant_id, ingested) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(shared.tenant.as_str())
            .bind(i64::MAX / 2)
            .execute(shared.db.pool())
            .await
            .unwrap();
        let incidents = Incidents::start(&shared).await.unwrap();
        let detection = Detection::start(&shared, &incidents).await.unwrap();
        let clock = Arc::new(AtomicI64::new(now));
        let own = Arc::clone(&clock);
        let read: garrison_server::detection::custom::Clock = Arc::new(move || Micros(own.load(Ordering::Relaxed)));
        let queries: Arc<dyn Queries> = match engine {
            EngineKind::Finder => Arc::new(Finder(Arc::clone(&shared.lake))),
            EngineKind::Language => Arc::new(LakeQueries::new(Arc::clone(&shared.lake))),
        };
        let custom = Custom::open(&shared, &detection, queries, Arc::clone(&read)).await.unwrap();
        let indicators = Indicators::open(&shared, &detection).await.unwrap();
        let retro = Retro::new(&shared, &detection, &custom, &indicators, read);
        Self {
            shared,
            detection,
            incidents,
            custom,
            indicators,
            retro,
            clock,
            sequence: AtomicI64::new(now / HOUR * 1_000),
        }
    }

    /// Moves the clock.
    pub fn set(&self, now: i64) {
        self.clock.store(now, Ordering::Relaxed);
    }

    /// The clock, for a room that a test opens.
    pub fn clock(&self) -> garrison_server::detection::custom::Clock {
        let own = Arc::clone(&self.clock);
        Arc::new(move || Micros(own.load(Ordering::Relaxed)))
    }

    fn now(&self) -> Micros {
        Micros(self.clock.load(Ordering::Relaxed))
    }

    /// Stores rows of the device, numbered on; answers them as observers get them.
    pub async fn store(&self, table: &str, rows: &[Value]) -> Stored {
        let batch = garrison_telemetry::batch_from_json(table, rows).unwrap();
        let count = rows.len() as i64;
        let first = self.sequence.fetch_add(count, Ordering::Relaxed) as u64;
        let header = BatchHeader {
            device: device(),
            boot: boot(),
            table: table.to_owned(),
            sequence_first: first,
            row_count: rows.len() as u32,
            created: self.now(),
        };
        let received = self.now();
        let stored = Batch {
            constants: vec![("DeviceName".to_owned(), "web-1".to_owned())],
            ..Batch::new(header.clone(), received, batch)
        };
        self.shared.lake.append(stored).await.unwrap();
        let request = ScanRequest { devices: vec![device().to_string()], ..ScanRequest::table(table) };
        let all: Vec<RecordBatch> = self.shared.lake.scan(request).unwrap().collect::<Result<_, _>>().unwrap();
        let numbers = first as i64..first as i64 + count;
        let own = all.into_iter().find_map(|batch| {
            let reports = batch.column_by_name("ReportId")?.as_primitive::<arrow::datatypes::Int64Type>().clone();
            let keep: BooleanArray = reports.iter().map(|n| Some(n.is_some_and(|n| numbers.contains(&n)))).collect();
            Some(filter_record_batch(&batch, &keep).unwrap()).filter(|b| b.num_rows() > 0)
        });
        Stored { header, batch: own.unwrap(), received, urgent: false }
    }

    /// Stores rows and lets everybody who listens hear of them, as ingest does.
    pub async fn arrive(&self, table: &str, rows: &[Value]) {
        let stored = self.store(table, rows).await;
        let (custom, indicators) = (Arc::clone(&self.custom), Arc::clone(&self.indicators));
        tokio::task::spawn_blocking(move || {
            custom.observe(&stored);
            indicators.observe(&stored);
        })
        .await
        .unwrap();
    }

    /// All alerts of a rule, newest first.
    pub async fn alerts(&self, rule: &str) -> Vec<garrison_model::Alert> {
        let page = self.incidents.alert_list(&AlertFilter { limit: 500, ..Default::default() }).await.unwrap();
        let mut found = Vec::new();
        for alert in page.items.into_iter().filter(|a| a.detector_id.as_str() == rule) {
            found.push(self.incidents.alert(&alert.id).await.unwrap());
        }
        found
    }

    /// Closes everything, so that the folder can be opened again.
    pub async fn close(self) {
        self.detection.flush().await;
        self.shared.stop.cancel();
        self.detection.flush().await;
        self.shared.db.close().await;
        let lake = Arc::clone(&self.shared.lake);
        drop(self);
        // Tasks that hear `stop` let the lake go a moment later; its lock must be free before it is opened again.
        while Arc::strong_count(&lake) > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        lake.flush().await.unwrap();
    }
}

/// A process row at a time, of a process of its own.
pub fn process(at: i64, command: &str) -> Value {
    let time = garrison_server::shared::rfc3339(Micros(at));
    json!({
        "Timestamp": time, "ActionType": "ProcessCreated", "FileName": "sh", "FolderPath": "/usr/bin/sh",
        "ProcessCommandLine": command, "ProcessId": 7, "AccountName": "www-data", "AccountSid": "33",
        "ProcessUniqueId": format!("k-{at}-{command}"), "InitiatingProcessUniqueId": format!("p-{at}-{command}"),
        "InitiatingProcessFileName": "nginx",
    })
}
