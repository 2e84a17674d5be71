//! Health in three classes, with a connector and sensors on the real wire and a clock that the test moves.

use super::*;
use garrison_model::{DISCONNECTED_AFTER, HealthState, MachineHealth};
use garrison_server::access::Sees;
use garrison_server::health::Health;
use garrison_testkit::{FakeSensor, TestSensor, boot};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

async fn get(server: &TestServer, token: &str, path: &str) -> (u16, Value) {
    let url = format!("{}/api/v1{path}", server.server.http_url());
    let response = reqwest::Client::new().request(Method::GET, url).bearer_auth(token).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

fn failed(generation: u64, code: u32) -> v1::ExtensionReport {
    v1::ExtensionReport {
        name: "Sensor.Linux".into(),
        generation,
        phase: "failed".into(),
        code,
        detail: "read-only file system".into(),
        ..v1::ExtensionReport::default()
    }
}

/// A room with a clock of its own over the server's other rooms.
struct Moved {
    health: Arc<Health>,
    ahead: Arc<AtomicI64>,
}

impl Moved {
    async fn open(server: &Server) -> Self {
        let ahead = Arc::new(AtomicI64::new(0));
        let by = Arc::clone(&ahead);
        let clock = move || Micros(garrison_server::now().0 + by.load(Ordering::Relaxed));
        Self { health: Health::open(&server.shared, &server.connect, Arc::new(clock)).await.unwrap(), ahead }
    }

    /// How a machine is so many microseconds from now.
    async fn at(&self, id: &MachineId, ahead: i64) -> (HealthState, Vec<String>, MachineHealth) {
        self.ahead.store(ahead, Ordering::Relaxed);
        self.health.refresh().await.unwrap();
        let health = self.health.of(id).unwrap();
        (health.state, health.findings.iter().map(|f| f.code.clone()).collect(), health)
    }
}

async fn contract(server: TestServer) {
    use HealthState::{Healthy, NotApplicable, Pending, Unhealthy};
    let _ = rustls::crypto::ring::default_provider().install_default();
    lay_package(&server, "garrison-sensor-1.0.0-x64.tar.zst", b"any bytes");
    let (gateway, s) = (server.gateway().to_string(), &server.server);
    let admin = s.shared.identity.local_token().to_owned();
    let prod = subscription(s, None).await;
    let moved = Moved::open(s).await;
    let codes = |list: &[&str]| list.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
    let mut web = FakeConnector::enrol(&gateway, &token(s, 1).await, "web").await.unwrap();
    web.report(0, 0, None).await;
    s.connect.flush().await.unwrap();
    let id = machines(s).await[0].id.clone();
    // No plan: nothing is expected of it.
    let (state, found, _) = moved.at(&id, 0).await;
    assert_eq!((state, found), (NotApplicable, codes(&["PlanOff"])));
    // Switched on, the order goes out; a machine that fails says why, and what to do.
    plan_set(s, &prod, Plan::P2).await;
    let answer = web.report(0, 60, None).await;
    assert_eq!(web.opened(&answer).deed, "install");
    assert_eq!(moved.at(&id, 0).await.0, Pending);
    web.report(1, 0, Some(failed(1, 51))).await;
    let (state, found, health) = moved.at(&id, 0).await;
    assert_eq!((state, found), (Unhealthy, codes(&["InstallFailed"])));
    let told = &health.findings[0];
    assert!(told.message.contains("failed/51") && told.message.contains("read-only"), "{told:?}");
    assert!(told.fix.contains("parent exists"), "the fix is that of the code: {told:?}");
    // Fixed: tried again at once, and done.
    s.connect.retry(&id).await.unwrap();
    let answer = web.report(1, 60, Some(failed(1, 51))).await;
    assert_eq!(web.opened(&answer).generation, 2);
    let ask = v1::SensorTokenRequest { generation: 2 };
    let sensor_token = web.client.sensor_token(ask).await.unwrap().into_inner().token;
    let identity = garrison_testkit::enrol(server.gateway(), &sensor_token, "web").await.unwrap();
    web.report(2, 0, Some(done(2, "1.0.0"))).await;
    assert_eq!(moved.at(&id, 0).await.0, Pending, "installed, and not a word from the sensor yet");
    let ten = 11 * 60_000_000;
    let (state, found, _) = moved.at(&id, ten).await;
    assert_eq!((state, found), (Unhealthy, codes(&["SensorNeverReported"])));
    let device = identity.device.clone();
    let sensor = TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap();
    let (state, found, before) = moved.at(&id, 0).await;
    assert_eq!((state, found), (Healthy, codes(&[])));
    // Silence: the sensor first, then the connector too; `since` stays while the findings stay.
    let silent = i64::try_from(s.shared.config.inactive_after().as_micros()).unwrap() + 60_000_000;
    let (state, found, first) = moved.at(&id, silent).await;
    assert_eq!((state, found), (Unhealthy, codes(&["SensorSilent"])));
    let (_, _, later) = moved.at(&id, silent + 60_000_000).await;
    assert_eq!(later.since, first.since);
    assert!(later.refreshed > first.refreshed && first.since > before.since);
    let (_, found, _) = moved.at(&id, DISCONNECTED_AFTER + 60_000_000).await;
    assert_eq!(found, codes(&["ConnectorSilent", "SensorSilent"]));
    assert_eq!(moved.at(&id, 0).await.0, Healthy);
    // What was worked out is there after a restart of the room, before anything is worked out again.
    let again = Moved::open(s).await;
    assert_eq!(again.health.of(&id).unwrap().state, Healthy);
    // A clock that is wrong, by a heartbeat; a certificate that is revoked.
    drop(sensor);
    s.shared.fleet.heartbeat(
        &device,
        garrison_wire::v1::Heartbeat { time: garrison_server::now().0 - 3_600_000_000, ..Default::default() },
        garrison_server::now(),
    );
    assert_eq!(moved.at(&id, 0).await.1, codes(&["ClockSkew"]));
    s.shared.fleet.revoke(&device, "stolen", garrison_server::now()).await.unwrap();
    let (_, found, health) = moved.at(&id, 0).await;
    assert_eq!(found, codes(&["CertificateRevoked"]));
    assert!(health.findings[0].message.contains("stolen"));
    // Another machine that is excluded: nothing is expected, with the reason; the summary counts by class and code.
    let mut odd = FakeConnector::enrol(&gateway, &token(s, 1).await, "odd").await.unwrap();
    let mut change = s.shared.plane.change(&s.shared.tenant, "test", garrison_server::now()).await.unwrap();
    let new = garrison_server::plane::ExclusionNew {
        scope: odd.answer.resource_id.parse().unwrap(),
        tag_name: None,
        tag_value: None,
        reason: "appliance".into(),
        expires_time: None,
    };
    change.exclusion_create(&new).await.unwrap();
    change.commit().await.unwrap();
    s.connect.reconcile_all().await.unwrap();
    odd.report(0, 0, None).await;
    s.connect.flush().await.unwrap();
    let other = machines(s).await.into_iter().find(|m| m.name.as_str() == "odd").unwrap().id;
    let (state, found, _) = moved.at(&other, 0).await;
    assert_eq!((state, found), (NotApplicable, codes(&["Excluded"])));
    let all = moved.health.summary(&Sees::everything(), None).await.unwrap();
    assert_eq!((all.machines, all.by_class["Heartbeat"], all.by_class["NotApplicable"]), (2, 1, 1));
    assert_eq!((all.by_state["Unhealthy"], all.by_state["Healthy"]), (1, 0));
    // Off-boarded by an administrator, also once its connector has left.
    s.connect.offboard(&id, "amy").await.unwrap();
    assert_eq!(moved.at(&id, 0).await.1, codes(&["OffBoarded"]));
    assert_eq!(web.report(2, 60, Some(done(2, "1.0.0"))).await.orders.len(), 1);
    assert_eq!(web.report(3, 0, Some(done(3, ""))).await.verdict, "farewell");
    let (state, found, health) = moved.at(&id, 0).await;
    assert_eq!((state, found), (NotApplicable, codes(&["OffBoarded"])));
    assert!(health.findings[0].message.contains("amy"));
    // By the API, of the server's own room: it hears of a change within seconds, and says when it looked.
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let (status, page) = get(&server, &admin, "/health/machines?class=NotApplicable&limit=1").await;
        assert_eq!(status, 200, "{page}");
        if page["items"][0]["health"]["findings"][0]["code"] == "Excluded" && page["nextCursor"].is_string() {
            let next = format!("/health/machines?class=NotApplicable&cursor={}", page["nextCursor"].as_str().unwrap());
            let (_, page) = get(&server, &admin, &next).await;
            assert_eq!(page["items"][0]["health"]["findings"][0]["code"], "OffBoarded", "{page}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{page}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let (_, summary) = get(&server, &admin, "/health").await;
    assert_eq!((&summary["machines"], &summary["refreshSeconds"]), (&json!(2), &json!(60)), "{summary}");
    assert_eq!(summary["codes"].as_array().unwrap().len(), 2);
    assert!(summary["refreshed"].is_string());
    let (_, one) = get(&server, &admin, &format!("/machines/{other}")).await;
    assert_eq!(one["health"]["state"], "NotApplicable", "{one}");
    for (filter, count) in [("NotApplicable", 2), ("Heartbeat,Healthy", 0)] {
        let (_, page) = get(&server, &admin, &format!("/machines?health={filter}")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{page}");
    }
    for path in ["/health/machines?class=Ill", "/health/machines?code=nonsense", "/machines?health=ill"] {
        assert_eq!(get(&server, &admin, path).await.0, 400, "{path}");
    }
    // A machine that is forgotten is forgotten here too.
    let mut change = s.shared.plane.change(&s.shared.tenant, "test", garrison_server::now()).await.unwrap();
    change.machine_delete(&other).await.unwrap();
    change.commit().await.unwrap();
    moved.health.refresh().await.unwrap();
    assert!(moved.health.of(&other).is_none());
    assert!(Moved::open(s).await.health.of(&other).is_none());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_what_machines_say_and_do_not_say_on_sqlite() {
    contract(TestServer::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_what_machines_say_and_do_not_say_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed");
        return;
    };
    contract(TestServer::start_with(|c| c.database_url = Some(postgres.url())).await.unwrap()).await;
}

/// A sensor that came without a connector has no machine record and no line here; its device says how it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_without_a_machine_has_no_line() {
    let server = TestServer::start().await.unwrap();
    let token = server.token().await.unwrap().parse().unwrap();
    let sensor = FakeSensor::enrol(&server.gateway().to_string(), &token, "alone").await.unwrap();
    let _session = sensor.connect(&server.gateway().to_string()).await.unwrap();
    let moved = Moved::open(&server.server).await;
    assert_eq!(moved.health.refresh().await.unwrap(), 0);
    assert!(server.server.shared.fleet.look(&sensor.device, server.now()).unwrap().reported);
    server.stop().await.unwrap();
}
