//! Control data is sealed by column: names are planted through every door, and no byte of the database tells them, while
//! everything that reads them goes on as before, also after sealing was switched off and on again.

use crate::core_postgres::Postgres;
use crate::http_house::HttpHouse;
use crate::rest::telling;
use garrison_model::Role;
use garrison_server::db::{Db, Dialect};
use garrison_testkit::TestServer;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};
use std::path::{Path, PathBuf};

/// In every name and text that is planted, and nowhere else.
const PLANTED: &str = "quetzal";
const SUBSCRIPTION: &str = "0f1e2d3c-0000-4000-8000-00000000000b";

/// Every text of every table.
async fn texts(db: &Db) -> Vec<(String, String)> {
    let sql = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name AS t, p.name AS c FROM sqlite_master m JOIN pragma_table_info(m.name) p \
             WHERE m.type = 'table' AND p.type = 'TEXT'"
        }
        Dialect::Postgres => {
            "SELECT table_name::text AS t, column_name::text AS c FROM information_schema.columns \
             WHERE table_schema = 'public' AND data_type = 'text'"
        }
    };
    let mut all = Vec::new();
    for row in sqlx::query(sql).fetch_all(db.pool()).await.unwrap() {
        let (table, column): (String, String) = (row.get("t"), row.get("c"));
        let sql = format!("SELECT {column} AS c FROM {table} WHERE {column} IS NOT NULL");
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(db.pool()).await.unwrap() {
            all.push((format!("{table}.{column}"), row.get::<String, _>("c")));
        }
    }
    all
}

/// Texts of the server's own database and of the tenant's.
async fn all_texts(server: &TestServer) -> Vec<(String, String)> {
    let mut all = texts(server.server.houses.own()).await;
    all.extend(texts(&server.server.shared.db).await);
    all
}

async fn told(server: &TestServer) -> Vec<(String, String)> {
    all_texts(server).await.into_iter().filter(|(_, text)| text.to_lowercase().contains(PLANTED)).collect()
}

/// Sends everything that somebody can write, as somebody with a planted name.
async fn plant(house: &HttpHouse) {
    let identity = &house.server.server.shared.identity;
    let (own, _) = identity.api_token_create("quetzal.token", Role::Admin, None, house.server.now()).await.unwrap();
    let mut wrote = 0;
    for (method, path, body) in [
        (Method::POST, "/users", json!({"name": "quetzal.anna", "role": "analyst"})),
        (Method::POST, "/users", json!({"name": "quetzal.bert", "role": "reader"})),
        (Method::POST, "/users/quetzal.anna/link", json!({})),
        (Method::POST, "/access/assignments", json!({"principal": "quetzal.anna", "role": "reader"})),
        (Method::POST, "/enrolment-tokens", json!({"name": "of quetzal"})),
        (Method::POST, "/connector-tokens", json!({"name": "of quetzal", "expiresHours": 1, "uses": 1})),
        (
            Method::POST,
            "/suppressions",
            json!({"name": "quetzal's job", "reason": "quetzal said so", "scope": {"conditions": [
                {"column": "AccountName", "operator": "equals", "value": "quetzal"}]}}),
        ),
        (
            Method::POST,
            "/suppressions",
            json!({"name": "quetzal's job", "reason": "quetzal said so", "scope": {"ruleId": "x-1"}}),
        ),
        (
            Method::POST,
            "/hunting/queries",
            json!({"name": "quetzal again", "folder": "of quetzal", "description": "where quetzal was",
                "query": "DeviceProcessEvents | where AccountName == 'quetzal'", "shared": true}),
        ),
        (Method::POST, "/hunting/run", json!({"query": "DeviceProcessEvents | where AccountName == 'quetzal'"})),
        (Method::POST, "/hunting/run", json!({"query": "DeviceProcessEvents | quetzal"})),
        (
            Method::POST,
            "/hunting/indicators",
            json!({"value": "quetzal.example.net", "title": "quetzal's site", "severity": "Low"}),
        ),
        (
            Method::POST,
            "/subscriptions",
            json!({"id": SUBSCRIPTION, "name": "Ours", "location": "westeurope", "tags": {"owner": "quetzal"}}),
        ),
        (
            Method::POST,
            "/exclusions",
            json!({"scope": format!("/subscriptions/{SUBSCRIPTION}"), "tagName": "owner", "tagValue": "quetzal",
                "reason": "quetzal wants it"}),
        ),
        (Method::PUT, &format!("/subscriptions/{SUBSCRIPTION}/plan"), json!({"plan": "P1"})),
        (Method::POST, "/price-sheets", json!({"plan": "P1", "pricePerHour": "0.01", "currency": "EUR"})),
        (Method::PUT, "/seats", json!({"items": [{"plan": "P1", "seats": 1, "note": "bought by quetzal"}]})),
        (
            Method::POST,
            "/exports",
            json!({"name": "hook", "kind": "Webhook", "secret": "0123456789abcdef0123",
                "target": {"url": "https://example.net/quetzal"}, "enabled": false}),
        ),
        (Method::PUT, "/tenant/retention", json!({"portalDays": 100})),
        (Method::GET, "/users", Value::Null),
        (Method::GET, "/audit?who=quetzal.token", Value::Null),
        (Method::PATCH, &format!("/devices/{}", house.device), json!({"machineTags": ["quetzal"]})),
    ] {
        let body = (!body.is_null()).then_some(body);
        let (status, answer) = house.ask(&own, method.clone(), &format!("/api/v1{path}"), body.as_ref()).await;
        wrote += usize::from(status < 300);
        if status >= 300 {
            println!("{method} {path}: {status} {answer}");
        }
    }
    // The query with an error is all that is refused.
    assert_eq!(wrote, 21, "{wrote}");
    let body = json!({"title": "What quetzal did", "severity": "High", "query": "DeviceInfo",
        "rows": [{"DeviceId": house.device, "AccountName": "quetzal", "ProcessCommandLine": "run --as quetzal"}]});
    let (status, made) = house.ask(&own, Method::POST, "/api/v1/hunting/incidents", Some(&body)).await;
    assert_eq!(status, 201, "{made}");
    let (incident, alert) = (&made["incidentId"], made["alertIds"][0].as_str().unwrap());
    for (method, path, body) in [
        (Method::PATCH, format!("/incidents/{incident}"), json!({"assignedTo": "quetzal.anna"})),
        (Method::PATCH, format!("/incidents/{incident}"), json!({"tags": ["quetzal"]})),
        (Method::POST, format!("/incidents/{incident}/comments"), json!({"comment": "quetzal was it"})),
        (Method::POST, format!("/alerts/{alert}/comments"), json!({"comment": "ask quetzal"})),
        (Method::POST, format!("/alerts/{alert}/move"), json!({"incident": 0})),
    ] {
        let (status, answer) = house.ask(&own, method, &format!("/api/v1{path}"), Some(&body)).await;
        assert!(status < 300, "{path}: {status} {answer}");
    }
}

/// What the API says of all that; the same whatever form it rests in.
async fn reads(server: &TestServer) -> Vec<Value> {
    let shared = &server.server.shared;
    let mut found = Vec::new();
    for path in [
        "/users",
        "/api-tokens",
        "/enrolment-tokens",
        "/connector-tokens",
        "/access/assignments",
        "/incidents?assignee=quetzal.anna",
        "/incidents?q=quetzal",
        "/alerts?q=quetzal",
        "/alerts?q=did%20QUETZAL%20what",
        "/alerts?q=nobody",
        "/suppressions",
        "/hunting/queries",
        "/hunting/indicators",
        "/subscriptions",
        "/exclusions",
        "/price-sheets",
        "/seats",
        "/exports",
        "/devices",
        "/audit?who=quetzal.token&kind=Change&limit=500",
        "/audit?target=users/quetzal.anna/link",
    ] {
        let url = format!("{}/api/v1{path}", server.server.http_url());
        let answer = reqwest::Client::new().get(url).bearer_auth(shared.identity.local_token()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        let mut answer: Value = answer.json().await.unwrap();
        if path == "/devices" {
            answer = json!(answer["items"].as_array().unwrap().iter().map(|d| &d["machineTags"]).collect::<Vec<_>>());
        }
        found.push(json!([path, answer]));
    }
    let proved = shared.access.audit().prove(0, 10_000).await.unwrap();
    assert!(proved.whole && proved.last > 10, "{proved:?}");
    found
}

fn count(reads: &[Value], path: &str) -> usize {
    let found = reads.iter().find(|r| r[0] == path).unwrap();
    found[1]["items"].as_array().unwrap_or_else(|| panic!("{found}")).len()
}

async fn start(folder: tempfile::TempDir, database: Option<String>, sealed: bool) -> TestServer {
    let change = |c: &mut garrison_server::config::Config| (c.database_url, c.encryption) = (database, sealed);
    TestServer::start_in(folder, change).await.unwrap()
}

fn silent(data: &Path) {
    for form in [PLANTED, "Quetzal"] {
        assert_eq!(telling(data, form), Vec::<PathBuf>::new());
    }
}

async fn contract(database: Option<String>) {
    let house = HttpHouse::open(database.clone()).await;
    let data = house.server.folder().to_owned();
    plant(&house).await;
    assert_eq!(told(&house.server).await, Vec::new());
    // Every byte of the folder: database, its log, lake, keys.
    silent(&data);
    let before = reads(&house.server).await;
    for (path, items) in [
        ("/incidents?assignee=quetzal.anna", 1),
        ("/incidents?q=quetzal", 2),
        ("/alerts?q=quetzal", 1),
        ("/alerts?q=did%20QUETZAL%20what", 1),
        ("/alerts?q=nobody", 0),
        ("/audit?target=users/quetzal.anna/link", 1),
    ] {
        assert_eq!(count(&before, path), items, "{path}: {before:?}");
    }
    assert!(count(&before, "/audit?who=quetzal.token&kind=Change&limit=500") > 10);
    // A name is there once, sealed or not.
    let again = house.post("/api/v1/users", &json!({"name": "quetzal.anna", "role": "reader"})).await;
    assert_eq!(again.0, 409, "{}", again.1);
    let folder = house.server.stop().await.unwrap();
    silent(&data);

    // Off: everything is plain at the next start, and says the same; on again: no byte tells it, old pages neither.
    let server = start(folder, database.clone(), false).await;
    assert!(!all_texts(&server).await.iter().any(|(_, text)| text.starts_with("sealed1:")));
    let plain = told(&server).await;
    assert!(plain.len() > 40, "{plain:?}");
    same(&before, &reads(&server).await);
    let folder = server.stop().await.unwrap();
    assert!(database.is_some() || !telling(&data, PLANTED).is_empty());
    let server = start(folder, database.clone(), true).await;
    assert_eq!(told(&server).await, Vec::new());
    same(&before, &reads(&server).await);
    let folder = server.stop().await.unwrap();
    silent(&data);

    // With another key no server starts, and the database is as it was.
    let path = data.join("keys/tenants.kek");
    let key = std::fs::read(&path).unwrap();
    std::fs::write(&path, "ab".repeat(32)).unwrap();
    let mut config = garrison_server::config::Config::at(&data);
    config.database_url.clone_from(&database);
    let error = format!("{:#}", garrison_server::serve::Server::start(config).await.unwrap_err());
    assert!(error.contains("tenants.kek"), "{error}");
    std::fs::write(&path, key).unwrap();
    let server = start(folder, database, true).await;
    same(&before, &reads(&server).await);
    server.stop().await.unwrap();
}

/// But for what tells of time and of these requests themselves.
fn same(before: &[Value], after: &[Value]) {
    for (one, two) in before.iter().zip(after) {
        if !one[0].as_str().unwrap().starts_with("/audit") {
            assert_eq!(one, two);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_the_control_database_tells_a_name_on_sqlite() {
    contract(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_column_of_the_control_database_tells_a_name_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed");
        return;
    };
    contract(Some(postgres.url())).await;
}
