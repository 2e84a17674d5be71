//! What a plan does not hold is off, refuses with the plan's name, and is not collected.

use super::*;
use garrison_testkit::{TestSensor, boot, process_rows};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const DNS_RULE: &str = "6317888d-6e4d-44c9-91f0-958df3e67b6d";

async fn ask(server: &TestServer, method: Method, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/api/v1{path}", server.server.http_url());
    let admin = server.server.shared.identity.local_token().to_owned();
    let mut request = reqwest::Client::new().request(method, url).bearer_auth(admin);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

/// Rows that name a mining pool.
fn names_asked() -> arrow::array::RecordBatch {
    let now = garrison_server::shared::rfc3339(garrison_server::now());
    let row = json!({"Timestamp": now, "ActionType": "DnsQueryResponse", "RemoteIP": "10.20.0.2", "RemotePort": 53,
        "Protocol": "Udp", "InitiatingProcessFileName": ".k", "InitiatingProcessFolderPath": "/tmp/.k",
        "AdditionalFields": {"DnsQuery": "xmr-eu1.nanopool.org", "DnsType": "A"}});
    garrison_telemetry::batch_from_json("DeviceNetworkEvents", &[row]).unwrap()
}

/// Alerts of the rule on name resolution.
async fn alerts_on_names(server: &TestServer) -> usize {
    server.server.detection.flush().await;
    let (status, page) = ask(server, Method::GET, "/alerts?limit=500", Value::Null).await;
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().unwrap().iter().filter(|a| a["detectorId"] == DNS_RULE).count()
}

/// Waits until the plan of a device is known where batches are judged.
async fn known(server: &TestServer, device: &garrison_model::DeviceId, plan: Plan) {
    let (shared, deadline) = (&server.server.shared, Instant::now() + Duration::from_secs(30));
    while shared.plane.device_plan(&shared.tenant, device).map(|p| p.plan) != Some(plan) {
        assert!(Instant::now() < deadline, "the plan is not known after half a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_plan_holds_is_refused_by_name_and_not_collected() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TestServer::start().await.unwrap();
    lay_package(&server, "garrison-sensor-1.0.0-x64.tar.zst", b"any bytes");
    let (gateway, s) = (server.gateway().to_string(), &server.server);
    let indicator = json!({"value": "ab".repeat(32), "title": "Bad", "severity": "High"});
    // Where the cloud plane is not used at all, no plan stands in the way.
    assert_eq!(ask(&server, Method::POST, "/hunting/indicators", indicator.clone()).await.0, 201);
    let prod = subscription(s, Some(Plan::P1)).await;
    let mut web = FakeConnector::enrol(&gateway, &token(s, 1).await, "web").await.unwrap();
    let answer = web.report(0, 60, None).await;
    assert_eq!(web.opened(&answer).deed, "install");
    let ask_token = v1::SensorTokenRequest { generation: 1 };
    let sensor_token = web.client.sensor_token(ask_token).await.unwrap().into_inner().token;
    let identity = garrison_testkit::enrol(server.gateway(), &sensor_token, "web").await.unwrap();
    web.report(1, 0, Some(done(1, "1.0.0"))).await;
    let device = identity.device.clone();
    known(&server, &device, Plan::P1).await;
    let mut sensor = TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap();
    // Plan 1 holds detection and response, and not alerts on name resolution.
    sensor.send("DeviceProcessEvents", &process_rows(0, 10)).await.unwrap();
    sensor.send("DeviceNetworkEvents", &names_asked()).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!((sensor.acknowledged, sensor.rejected.len()), (11, 0));
    assert_eq!(alerts_on_names(&server).await, 0, "the rows are kept, the alert is Plan 2's");
    // Plan 2 holds them.
    plan_set(s, &prod, Plan::P2).await;
    known(&server, &device, Plan::P2).await;
    sensor.send("DeviceNetworkEvents", &names_asked()).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!(alerts_on_names(&server).await, 1);
    // Off: the sensor is told, and what it sends all the same is refused for good, by the plan's name.
    plan_set(s, &prod, Plan::Off).await;
    known(&server, &device, Plan::Off).await;
    sensor.send("DeviceProcessEvents", &process_rows(10, 5)).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!(sensor.rejected.last().unwrap().1, "plan_lacks_feature");
    let reason = sensor.unwanted.clone().expect("the sensor is told");
    assert!(reason.contains("Servers Plan 1") && reason.contains("no plan is on here"), "{reason}");
    assert_eq!(server.stored("DeviceProcessEvents", &device).unwrap().len(), 10, "nothing of it is stored");
    let (_, shown) = ask(&server, Method::GET, &format!("/devices/{device}"), Value::Null).await;
    assert_eq!((&shown["plan"]["plan"], &shown["collectionOff"]), (&json!("Off"), &json!(reason)), "{shown}");
    // The ledger of losses is the system's own: it says what was not taken.
    let now = garrison_server::shared::rfc3339(garrison_server::now());
    let loss = json!({"Timestamp": now, "Cause": "ServerQuota", "LostRows": 5});
    let ledger = garrison_telemetry::batch_from_json("SensorLossEvents", &[loss]).unwrap();
    let (before, refused) = (sensor.acknowledged, sensor.rejected.len());
    sensor.send("SensorLossEvents", &ledger).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!((sensor.acknowledged, sensor.rejected.len()), (before + 1, refused));
    // What makes new findings is off in the whole tenant, and says which plan would do.
    let detection = json!({"value": "cd".repeat(32), "title": "Bad", "severity": "High"});
    for (path, body) in [
        ("/hunting/indicators", detection.clone()),
        ("/hunting/retro", json!({"kind": "indicator", "target": "x"})),
        ("/hunting/detections/nothing/run", json!({})),
    ] {
        let (status, refused) = ask(&server, Method::POST, path, body).await;
        assert_eq!((status, &refused["code"]), (403, &json!("plan_lacks_feature")), "{path}: {refused}");
        let title = refused["title"].as_str().unwrap();
        assert!(title.contains("Servers Plan 1") && title.contains("no plan"), "{title}");
    }
    // What was collected stays readable.
    let timeline = format!("/devices/{device}/timeline?tables=DeviceProcessEvents");
    let (status, rows) = ask(&server, Method::GET, &timeline, Value::Null).await;
    assert_eq!((status, rows["items"].as_array().unwrap().len()), (200, 10));
    // A sensor that was enrolled straight has no machine: no plan speaks of it, and it works.
    let straight = server.token().await.unwrap();
    let alone = garrison_testkit::enrol(server.gateway(), &straight, "alone").await.unwrap();
    let alone_device = alone.device.clone();
    let mut alone = TestSensor::connect(alone, server.gateway(), boot(2)).await.unwrap();
    alone.send("DeviceProcessEvents", &process_rows(0, 3)).await.unwrap();
    alone.settle().await.unwrap();
    assert_eq!((alone.acknowledged, alone.unwanted.clone()), (3, None));
    let (_, shown) = ask(&server, Method::GET, &format!("/devices/{alone_device}"), Value::Null).await;
    assert!(shown.get("plan").is_none() && shown.get("collectionOff").is_none(), "{shown}");
    assert_eq!(ask(&server, Method::POST, "/hunting/indicators", detection).await.0, 201, "for its rows they work");
    // On again: rows are wanted. A session that begins while the plan is off is told at once.
    sensor.reconnect(server.gateway()).await.unwrap();
    sensor.unwanted = None;
    sensor.send("DeviceProcessEvents", &process_rows(20, 1)).await.unwrap();
    sensor.settle().await.unwrap();
    assert!(sensor.unwanted.is_some());
    plan_set(s, &prod, Plan::P1).await;
    known(&server, &device, Plan::P1).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while sensor.unwanted.is_some() {
        assert!(Instant::now() < deadline, "the sensor was not told");
        sensor.hear().await.unwrap();
    }
    sensor.send("DeviceProcessEvents", &process_rows(30, 2)).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!(server.stored("DeviceProcessEvents", &device).unwrap().len(), 12);
    server.stop().await.unwrap();
}
