//! How long data is kept: the clock is moved, and what is too old goes while the rest stays.

use crate::core_postgres::Postgres;
use crate::http_house::{HttpHouse, job};
use garrison_lake::TableSpec;
use garrison_model::Micros;
use garrison_server::retention::{DAY, Swept, sweep};
use garrison_server::shared::rfc3339;
use garrison_testkit::enrol;
use reqwest::Method;
use serde_json::{Value, json};

async fn swept(house: &HttpHouse, days: i64) -> Swept {
    let server = &house.server.server;
    sweep(&server.shared, &server.incidents, Micros(house.server.now().0 + days * DAY)).await.unwrap()
}

/// Makes cases look as if they had last been touched so many days ago.
async fn aged(house: &HttpHouse, alert: &str, incident: i64, days: i64) {
    let db = &house.server.server.shared.db;
    let then = house.server.now().0 - days * DAY;
    let mut tx = db.write().await.unwrap();
    for (sql, id) in [
        ("UPDATE incidents_alert SET updated = $1 WHERE id = $2", alert.to_owned()),
        ("UPDATE incidents_incident SET updated = $1 WHERE CAST(id AS TEXT) = $2", incident.to_string()),
    ] {
        let done = sqlx::query(sql).bind(then).bind(id).execute(tx.conn()).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    }
    tx.commit().await.unwrap();
}

async fn count(house: &HttpHouse, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(house.server.server.shared.db.pool()).await.unwrap()
}

/// Rows in all files of the lake; what is in memory is written first.
async fn telemetry(house: &HttpHouse) -> u64 {
    let lake = &house.server.server.shared.lake;
    lake.flush().await.unwrap();
    let tables = TableSpec::hunting_tables();
    let files = tables.iter().filter_map(|spec| lake.snapshot(&spec.name).ok()).flat_map(|s| s.files.to_vec());
    files.map(|file| file.rows).sum()
}

async fn kept(mut house: HttpHouse) {
    let now = house.server.now().0;
    // Rows of today and of a hundred days ago, in files of their own.
    let mut old = job(1, "job of old");
    old["Timestamp"] = json!(rfc3339(Micros(now - 100 * DAY)));
    house.send("DeviceProcessEvents", &[old, job(2, "job of today")]).await;
    house.server.server.shared.lake.flush().await.unwrap();
    let mut cases = Vec::new();
    for title in ["alpha", "beta"] {
        let body = json!({"title": title, "severity": "High", "query": "DeviceInfo",
            "rows": [{"DeviceId": house.device, "AccountName": title}]});
        let (status, made) = house.post("/api/v1/hunting/incidents", &body).await;
        assert_eq!(status, 201, "{made}");
        cases.push((made["incidentId"].as_i64().unwrap(), made["alertIds"][0].as_str().unwrap().to_owned()));
        let path = format!("/api/v1/incidents/{}/comments", cases.last().unwrap().0);
        assert!(house.post(&path, &json!({"comment": title})).await.0 < 300);
    }
    let comments = count(&house, "incidents_comment").await;
    aged(&house, &cases[0].1, cases[0].0, 100).await;
    // A device that enrolled and was never heard of again.
    let silent = enrol(house.server.gateway(), &house.server.token().await.unwrap(), "gone").await.unwrap();
    let all = "DeviceProcessEvents | where Timestamp > ago(400d) | summarize n = count() by ProcessCommandLine";
    assert_eq!(house.rows(all).await.len(), 2);

    // A day before the first thing is too old, nothing goes.
    assert_eq!(swept(&house, 79).await, Swept::default());
    // Rows that came long after their time lie with the day they came on, so telemetry stays here.
    let done = swept(&house, 81).await;
    assert_eq!((done.rows, done.files, done.alerts, done.incidents, done.devices), (0, 0, 1, 1, 0));
    assert_eq!(house.rows(all).await.len(), 2);
    assert_eq!(house.get("/api/v1/incidents").await["total"], json!(1));
    assert_eq!(house.call(Method::GET, &format!("/api/v1/alerts/{}", cases[0].1), None).await.0, 404);
    assert_eq!(house.get(&format!("/api/v1/alerts/{}", cases[1].1)).await["title"], json!("beta"));
    assert_eq!((count(&house, "incidents_comment").await, count(&house, "incidents_alert").await), (comments / 2, 1));
    let folder = house.server.server.shared.lake.root().join("DeviceProcessEvents");
    let parquet = |folder: &std::path::Path| {
        crate::rest::all_files(folder).iter().filter(|f| f.extension().is_some_and(|e| e == "parquet")).count()
    };
    assert!(parquet(&folder) > 0);

    // The silent device goes with the days of inactive devices, the connected one stays.
    let rows = telemetry(&house).await;
    let done = swept(&house, 181).await;
    assert_eq!((done.devices, done.alerts, done.incidents, done.rows), (1, 1, 1, rows));
    assert!(rows >= 2 && telemetry(&house).await == 0, "{rows}");
    assert_eq!(house.rows(all).await, Vec::<Value>::new());
    // The files themselves go once no reader can be on them.
    assert!(parquet(&folder) > 0);
    swept(&house, 183).await;
    assert_eq!(parquet(&folder), 0);
    assert!(house.server.server.shared.fleet.device(&silent.device).is_none());
    assert_eq!(house.get("/api/v1/devices").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(count(&house, "fleet_devices").await, 1);
    assert_eq!(swept(&house, 181).await.devices, 0);

    // Days are the tenant's, within bounds; the farthest that hunts see is one of them.
    let mut older = job(3, "job of last month");
    older["Timestamp"] = json!(rfc3339(Micros(now - 40 * DAY)));
    house.send("DeviceProcessEvents", &[older, job(4, "job of now")]).await;
    let usual = house.get("/api/v1/tenant/retention").await;
    assert_eq!(usual["portalDays"], json!(180));
    for (body, word) in [
        (json!({"portalDays": 10}), "portalDays"),
        (json!({"huntingDays": 200}), "huntingDays"),
        (json!({"inactiveDeviceDays": 90}), "inactiveDeviceDays"),
    ] {
        let (status, answer) = house.call(Method::PUT, "/api/v1/tenant/retention", Some(&body)).await;
        assert_eq!((status, answer["title"].as_str().unwrap().starts_with(word)), (400, true), "{answer}");
    }
    let (code, _, words) =
        house.terminal(&["tenant", "retention", "--hunting", "30", "--portal", "60", "--cloud-alerts", "60"]);
    assert_eq!(code, 0, "{words}");
    assert_eq!(house.get("/api/v1/tenant/retention").await["huntingDays"], json!(30));
    let lines: Vec<Value> = house.rows(all).await.iter().map(|r| r["ProcessCommandLine"].clone()).collect();
    assert!(!lines.contains(&json!("job of last month")) && lines.contains(&json!("job of now")), "{lines:?}");
    assert_eq!(swept(&house, 0).await.rows, 0);
    house.server.server.shared.lake.flush().await.unwrap();
    let rows = telemetry(&house).await;
    assert_eq!(swept(&house, 59).await.rows, 0);
    assert_eq!(swept(&house, 61).await.rows, rows);
    house.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_and_the_rest_stays_on_sqlite() {
    kept(HttpHouse::open(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_and_the_rest_stays_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("skipped because PostgreSQL is not installed");
        return;
    };
    kept(HttpHouse::open(Some(postgres.url())).await).await;
}
