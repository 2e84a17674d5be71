//! The cloud view of alerts: the deep view's alerts by subscription and resource, on SQLite and PostgreSQL.

use crate::core_postgres::Postgres;
use crate::http_house::HttpHouse;
use garrison_model::{DeviceId, MachineId, MachineKind, Micros};
use garrison_server::plane::MachineConnect;
use garrison_testkit::enrol;
use reqwest::Method;
use serde_json::{Value, json};

const FIRST: &str = "0f1e2d3c-0000-4000-8000-000000000001";
const SECOND: &str = "0f1e2d3c-0000-4000-8000-000000000002";
const DAY: i64 = 86_400_000_000;

fn place(subscription: &str, group: &str, name: &str) -> String {
    format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/Garrison.HybridCompute/machines/{name}")
}

/// A machine in the cloud view whose sensor is this device.
async fn machine(house: &HttpHouse, resource: &str, device: &str) -> MachineId {
    let shared = &house.server.server.shared;
    let new: MachineConnect = serde_json::from_value(
        json!({"resourceId": resource, "kind": MachineKind::Hybrid, "hardware": format!("hardware {device}")}),
    )
    .unwrap();
    let mut change = shared.plane.change(&shared.tenant, "test", garrison_server::now()).await.unwrap();
    let made = change.machine_connect(&new).await.unwrap();
    change.machine_device(&made.id, Some(&DeviceId::new(device).unwrap())).await.unwrap();
    change.commit().await.unwrap();
    made.id
}

async fn alert(house: &HttpHouse, title: &str, severity: &str, device: &str) -> String {
    let body = json!({"title": title, "severity": severity, "query": "DeviceInfo",
        "rows": [{"DeviceId": device, "AccountName": title}]});
    let (status, made) = house.post("/api/v1/hunting/incidents", &body).await;
    assert_eq!(status, 201, "{made}");
    made["alertIds"][0].as_str().unwrap().to_owned()
}

/// Ids of a page, in the order of the page.
async fn ids(house: &HttpHouse, filter: &str) -> Vec<String> {
    let page = house.get(&format!("/api/v1/cloud/alerts?{filter}")).await;
    let ids: Vec<String> =
        page["items"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(page["total"], ids.len(), "{filter}: {page}");
    ids
}

async fn contract(database: Option<String>) {
    let house = HttpHouse::open(database).await;
    let (web, token) = (house.device.clone(), house.server.token().await.unwrap());
    let db = enrol(house.server.gateway(), &token, "db-1").await.unwrap().device.to_string();
    let lone = enrol(house.server.gateway(), &token, "lone-1").await.unwrap().device.to_string();
    for (id, name) in [(FIRST, "Production"), (SECOND, "Staging")] {
        let body = json!({"id": id, "name": name, "location": "westeurope"});
        assert_eq!(house.post("/api/v1/subscriptions", &body).await.0, 201);
    }
    let (web_at, db_at) = (place(FIRST, "web", "web-1"), place(FIRST, "db", "db-1"));
    let web_machine = machine(&house, &web_at, &web).await;
    machine(&house, &db_at, &db).await;
    let first = alert(&house, "first", "High", &web).await;
    let second = alert(&house, "second", "Low", &web).await;
    let third = alert(&house, "third", "Medium", &db).await;
    // No machine of the plane: the cloud view has no place for it, the deep view shows it.
    let fourth = alert(&house, "fourth", "High", &lone).await;
    let group = format!("/subscriptions/{FIRST}/resourceGroups/DB");
    for (filter, expected) in [
        (String::new(), vec![&third, &second, &first]),
        (format!("subscription={FIRST}"), vec![&third, &second, &first]),
        (format!("subscription={SECOND}"), vec![]),
        (format!("resource={web_at}"), vec![&second, &first]),
        (format!("resource={}", web_at.to_uppercase().replace("GARRISON", "garrison")), vec![&second, &first]),
        (format!("resource={group}"), vec![&third]),
        (format!("subscription={FIRST}&resource={db_at}&severity=Medium"), vec![&third]),
        ("severity=High".to_owned(), vec![&first]),
        ("severity=Low,Informational".to_owned(), vec![&second]),
        ("status=Active".to_owned(), vec![&third, &second, &first]),
        ("status=Dismissed,Resolved".to_owned(), vec![]),
    ] {
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(ids(&house, &filter).await, expected, "{filter}");
    }
    // Pages of one, without repeating or leaving out.
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house.get(&format!("/api/v1/cloud/alerts?limit=1{cursor}")).await;
        walked.push(page["items"][0]["id"].as_str().unwrap().to_owned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, [third.clone(), second.clone(), first.clone()]);
    for bad in ["severity=Loud", "status=New", "resource=x", "cursor=x", "limit=0", "q=x"] {
        let (status, answer) = house.call(Method::GET, &format!("/api/v1/cloud/alerts?{bad}"), None).await;
        assert_eq!(status, 400, "{bad}: {answer}");
    }
    let other = format!("subscription={SECOND}&resource={web_at}");
    assert_eq!(house.call(Method::GET, &format!("/api/v1/cloud/alerts?{other}"), None).await.0, 400);
    // Both ways, one step.
    let cloud = house.get(&format!("/api/v1/cloud/alerts/{first}")).await;
    assert_eq!(
        (&cloud["resourceId"], &cloud["machineId"], &cloud["alertLink"], &cloud["deviceId"]),
        (&json!(web_at), &json!(web_machine), &json!(format!("/alerts/{first}")), &json!(web)),
        "{cloud}"
    );
    let deep = house.get(&format!("/api/v1/alerts/{first}")).await;
    assert_eq!((&deep["id"], &deep["title"]), (&cloud["id"], &cloud["alertDisplayName"]));
    let (status, answer) = house.call(Method::GET, &format!("/api/v1/cloud/alerts/{fourth}"), None).await;
    assert_eq!(status, 404, "{answer}");
    assert!(answer["title"].as_str().unwrap().contains("/alerts/"), "{answer}");
    dismissing(&house, &first).await;
    suppressing(&house, &first, &second, &web).await;
    moving(&house, &web_machine, &first).await;
    terminal(&house, &third);
    limits(&house, &third, &db).await;
    house.server.stop().await.unwrap();
}

/// A change in one view is a change in the other.
async fn dismissing(house: &HttpHouse, id: &str) {
    let path = format!("/api/v1/cloud/alerts/{id}");
    let body = json!({"reason": "the nightly backup"});
    let (status, answer) = house.ask(&house.reader, Method::POST, &format!("{path}/dismiss"), Some(&body)).await;
    assert_eq!(status, 403, "{answer}");
    let wrong = json!({"classification": "TruePositive"});
    assert_eq!(house.post(&format!("{path}/dismiss"), &wrong).await.0, 400);
    let (status, answer) = house.post(&format!("{path}/dismiss"), &body).await;
    assert_eq!((status, &answer["status"]), (200, &json!("Dismissed")), "{answer}");
    let deep = house.get(&format!("/api/v1/alerts/{id}")).await;
    assert_eq!(
        (&deep["status"], &deep["classification"], &deep["comments"][0]["comment"]),
        (&json!("Resolved"), &json!("InformationalExpectedActivity"), &json!("the nightly backup")),
        "{deep}"
    );
    assert_eq!(ids(house, "status=Dismissed").await, [id]);
    assert!(!ids(house, "status=Active,Resolved,InProgress").await.contains(&id.to_owned()));
    let (status, answer) = house.post(&format!("{path}/reactivate"), &json!({})).await;
    assert_eq!((status, &answer["status"]), (200, &json!("Active")), "{answer}");
    assert_eq!(house.get(&format!("/api/v1/alerts/{id}")).await["status"], "New");
    // Closed in the deep view.
    for (body, expected) in [
        (json!({"status": "InProgress"}), "InProgress"),
        (json!({"status": "Resolved", "classification": "TruePositive"}), "Resolved"),
        (json!({"status": "Resolved", "classification": "FalsePositive"}), "Dismissed"),
    ] {
        let (status, answer) = house.call(Method::PATCH, &format!("/api/v1/alerts/{id}"), Some(&body)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(house.get(&path).await["status"], expected);
        assert_eq!(ids(house, &format!("status={expected}")).await, [id], "{expected}");
    }
}

/// An alert that a suppression hides is dismissed; the rule of both is the same.
async fn suppressing(house: &HttpHouse, known: &str, other: &str, device: &str) {
    let rule = house.get(&format!("/api/v1/cloud/alerts/{other}")).await["alertType"].as_str().unwrap().to_owned();
    let body = json!({"name": "quiet", "reason": "known", "scope": {"ruleId": rule, "deviceId": device}});
    let (status, answer) = house.post("/api/v1/suppressions/preview", &json!({"scope": body["scope"]})).await;
    assert_eq!((status, &answer["wouldHide"]), (200, &json!(1)), "{answer}");
    assert_eq!(house.post("/api/v1/suppressions", &body).await.0, 201);
    // What the cloud view calls a suppressed alert: the row as detection writes it.
    let db = &house.server.server.shared.db;
    let sql = "UPDATE incidents_alert SET suppressed = 1, status = 'Resolved' WHERE id = $1";
    sqlx::query(sql).bind(other.to_owned()).execute(db.pool()).await.unwrap();
    assert_eq!(ids(house, "status=Dismissed").await, [other, known]);
}

/// A machine that moves takes its alerts along.
async fn moving(house: &HttpHouse, machine: &MachineId, id: &str) {
    let to = place(SECOND, "web", "web-1");
    let body = json!({"resourceId": to});
    let (status, answer) = house.call(Method::PATCH, &format!("/api/v1/machines/{machine}"), Some(&body)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(house.get(&format!("/api/v1/cloud/alerts/{id}")).await["subscriptionId"], SECOND);
    assert_eq!(ids(house, &format!("subscription={FIRST}")).await.len(), 1);
    assert_eq!(ids(house, &format!("subscription={SECOND}")).await.len(), 2);
}

fn terminal(house: &HttpHouse, id: &str) {
    let (code, out, words) =
        house.terminal(&["-o", "json", "alert", "list", "--cloud", "--subscription", FIRST, "--status", "Active"]);
    assert_eq!(code, 0, "{words}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert!(out.contains(id) && out.contains("\"subscriptionId\""), "{found}");
    let (code, _, words) = house.terminal(&["alert", "dismiss", id, "--reason", "a test", "--false-positive"]);
    assert!(code == 0 && words.contains("is Dismissed"), "{code} {words}");
    let (code, out, _) = house.terminal(&["alert", "list", "--cloud", "--status", "Dismissed"]);
    assert!(code == 0 && out.contains(id) && out.contains("resourceGroups/db"), "{out}");
    let (code, _, words) = house.terminal(&["alert", "reactivate", id]);
    assert!(code == 0 && words.contains("is Active"), "{code} {words}");
    assert_eq!(house.terminal(&["alert", "list", "--subscription", FIRST]).0, 2);
}

/// Ninety days, and what a caller of one device group sees.
async fn limits(house: &HttpHouse, id: &str, device: &str) {
    let rules = json!([{"property": "name", "operator": "startsWith", "value": "web"}]);
    let group = json!({"name": "Web", "rules": rules});
    assert_eq!(house.call(Method::PUT, "/api/v1/device-groups/web", Some(&group)).await.0, 200);
    let body = json!({"name": "web analyst", "role": "analyst", "deviceGroups": ["web"]});
    let token = house.post("/api/v1/api-tokens", &body).await.1["token"].as_str().unwrap().to_owned();
    let (status, page) = house.ask(&token, Method::GET, "/api/v1/cloud/alerts", None).await;
    assert_eq!((status, &page["total"]), (200, &json!(2)), "{page}");
    assert!(page["items"].as_array().unwrap().iter().all(|a| a["deviceId"] != device), "{page}");
    for (method, path) in [(Method::GET, ""), (Method::POST, "/dismiss"), (Method::POST, "/reactivate")] {
        let path = format!("/api/v1/cloud/alerts/{id}{path}");
        assert_eq!(house.ask(&token, method, &path, Some(&json!({}))).await.0, 404, "{path}");
    }
    let db = &house.server.server.shared.db;
    let old = garrison_server::now().0 - 90 * DAY - 60_000_000;
    let text = garrison_server::shared::rfc3339(Micros(old));
    let row = house.get(&format!("/api/v1/alerts/{id}")).await;
    let created = row["alertCreationTime"].as_str().unwrap();
    let (seal, column) = (db.seal(&house.server.server.shared.tenant), garrison_server::db::columns::ALERT_DOC);
    let doc = sqlx::query_scalar("SELECT doc FROM incidents_alert WHERE id = $1").bind(id.to_owned());
    let doc = seal.open(column, doc.fetch_one(db.pool()).await.unwrap()).unwrap().replace(created, &text);
    let sql = "UPDATE incidents_alert SET created = $2, doc = $3 WHERE id = $1";
    let changed = sqlx::query(sql).bind(id.to_owned()).bind(old).bind(seal.put(column, &doc).unwrap());
    changed.execute(db.pool()).await.unwrap();
    assert!(!ids(house, "").await.contains(&id.to_owned()));
    assert_eq!(house.call(Method::GET, &format!("/api/v1/cloud/alerts/{id}"), None).await.0, 404);
    assert_eq!(house.get(&format!("/api/v1/alerts/{id}")).await["id"], id);
    // The days are the tenant's: more of them show it again, fewer hide what was shown.
    let mut days = json!({"portalDays": 180, "huntingDays": null, "cloudAlertDays": 120, "inactiveDeviceDays": 180});
    for (shown, count) in [(120, true), (91, true), (90, false), (1, false)] {
        days["cloudAlertDays"] = json!(shown);
        let (status, answer) = house.call(Method::PUT, "/api/v1/tenant/retention", Some(&days)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(ids(house, "").await.contains(&id.to_owned()), count, "{shown} days");
        let (status, answer) = house.call(Method::GET, &format!("/api/v1/cloud/alerts/{id}"), None).await;
        assert_eq!(status, if count { 200 } else { 404 }, "{answer}");
        if !count {
            assert!(answer["title"].as_str().unwrap().contains(&format!("{shown} days")), "{answer}");
        }
        for change in ["dismiss", "reactivate"].into_iter().filter(|_| !count) {
            let path = format!("/api/v1/cloud/alerts/{id}/{change}");
            assert_eq!(house.call(Method::POST, &path, Some(&json!({}))).await.0, 404, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_views_show_the_same_alerts_on_sqlite() {
    contract(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_views_show_the_same_alerts_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("skipped because PostgreSQL is not installed");
        return;
    };
    contract(Some(postgres.url())).await;
}
