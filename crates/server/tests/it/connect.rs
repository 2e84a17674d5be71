//! Machines are connected, and the sensor arrives by itself.

use crate::core_postgres::Postgres;
use garrison_model::{ConnectionState, ExtensionState, Machine, MachineId, Micros, Plan, SubscriptionId};
use garrison_server::connect::ConnectorTokenNew;
use garrison_server::plane::{MachineFilter, SubscriptionNew};
use garrison_server::serve::Server;
use garrison_testkit::{FakeConnector, TestServer};
use garrison_wire::connect::{binding, v1};
use std::path::Path;

/// A subscription, with its plan if one is given.
async fn subscription(server: &Server, plan: Option<Plan>) -> SubscriptionId {
    let shared = &server.shared;
    let mut change = shared.plane.change(&shared.tenant, "test", garrison_server::now()).await.unwrap();
    let new =
        SubscriptionNew { id: None, name: "prod".into(), location: "westeurope".into(), tags: Default::default() };
    let id = change.subscription_put(&new).await.unwrap().0;
    if let Some(plan) = plan {
        change.plan_set(&id, plan, None).await.unwrap();
    }
    change.commit().await.unwrap();
    id
}

async fn plan_set(server: &Server, id: &SubscriptionId, plan: Plan) {
    let shared = &server.shared;
    let mut change = shared.plane.change(&shared.tenant, "test", garrison_server::now()).await.unwrap();
    change.plan_set(id, plan, None).await.unwrap();
    change.commit().await.unwrap();
}

async fn token(server: &Server, uses: i64) -> String {
    let new = ConnectorTokenNew { name: "t".into(), expires_hours: 1, uses, ..ConnectorTokenNew::default() };
    server.connect.token_create(&new, garrison_server::now()).await.unwrap().0
}

async fn machines(server: &Server) -> Vec<Machine> {
    let shared = &server.shared;
    let now = garrison_server::now();
    shared.plane.machines(&shared.tenant, &MachineFilter::default(), None, 100, now).await.unwrap()
}

fn done(generation: u64, version: &str) -> v1::ExtensionReport {
    FakeConnector::done(generation, version)
}

fn lay_package(server: &TestServer, name: &str, bytes: &[u8]) {
    let folder = server.folder().join("packages");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

async fn contract(server: TestServer) {
    lay_package(&server, "garrison-sensor-1.0.0-x64.tar.zst", b"any bytes");
    let gateway = server.gateway().to_string();
    let s = &server.server;
    let prod = subscription(s, None).await;
    // A token for a subscription that is not there is refused when it is made, not on the machine.
    let none = SubscriptionId::new("0f1e2d3c-0000-4000-8000-0000000000aa").unwrap();
    for (subscription, made) in [(none, false), (prod.clone(), true)] {
        let (name, subscription) = ("t".to_owned(), Some(subscription));
        let new = ConnectorTokenNew { name, expires_hours: 1, uses: 1, subscription, resource_group: None };
        let done = s.connect.token_create(&new, garrison_server::now()).await;
        assert!(done.is_ok() == made && (made || done.unwrap_err().to_string().contains("there is no subscription")));
    }
    // Tokens are counted, and a machine is one machine however often it enrols.
    let once = token(s, 1).await;
    let mut web = FakeConnector::enrol(&gateway, &once, "web").await.unwrap();
    assert!(web.answer.resource_id.contains(prod.as_str()) && web.answer.resource_id.ends_with("/machines/web"));
    let used_up = FakeConnector::enrol(&gateway, &once, "db").await.err().unwrap();
    assert_eq!(used_up.code(), tonic::Code::Unauthenticated);
    let seen = machines(s).await;
    assert_eq!((seen.len(), seen[0].state, seen[0].tags["env"].as_str()), (1, ConnectionState::Connecting, "test"));
    let id: MachineId = seen[0].id.clone();
    // Without a plan there is nothing to do; with it the answer that is held comes at once.
    assert!(web.report(0, 0, None).await.orders.is_empty());
    s.connect.flush().await.unwrap();
    assert_eq!(machines(s).await[0].state, ConnectionState::Connected);
    let late = |hours: i64| Micros(garrison_server::now().0 + hours * 3_600_000_000);
    for (at, state) in [(late(1), ConnectionState::Disconnected), (late(46 * 24), ConnectionState::Expired)] {
        assert_eq!(s.shared.plane.machine(&s.shared.tenant, &id, at).await.unwrap().state, state);
    }
    let (answer, ()) = tokio::join!(web.report(0, 60, None), plan_set(s, &prod, Plan::P2));
    let order = web.opened(&answer);
    assert_eq!((order.generation, order.deed.as_str()), (1, "install"));
    let package = order.package.clone().unwrap();
    assert_eq!((package.version.as_str(), package.size), ("1.0.0", 9));
    // The package comes, from any place on; a token for the sensor only in the course of this order.
    let ask = v1::PackageRequest { sha256: package.sha256.clone(), offset: 4 };
    let mut stream = web.client.package(ask).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().data.as_ref(), b"bytes");
    assert!(web.client.sensor_token(v1::SensorTokenRequest { generation: 7 }).await.is_err());
    let sensor_token = web.client.sensor_token(v1::SensorTokenRequest { generation: 1 }).await.unwrap().into_inner();
    let sensor = garrison_testkit::enrol(server.gateway(), &sensor_token.token, "web").await.unwrap();
    assert!(garrison_testkit::enrol(server.gateway(), &sensor_token.token, "web").await.is_err(), "once");
    web.report(1, 0, Some(done(1, "1.0.0"))).await;
    let machine = machines(s).await.remove(0);
    assert_eq!(
        (machine.extensions[0].state, machine.extensions[0].version.as_str()),
        (ExtensionState::Succeeded, "1.0.0")
    );
    assert_eq!(machine.device_id.as_ref(), Some(&sensor.device));
    // Deleted with the plan on: removed, then given again, once.
    s.connect.extension_delete(&id, "test").await.unwrap();
    let answer = web.report(1, 60, Some(done(1, "1.0.0"))).await;
    let removal = web.opened(&answer);
    assert_eq!((removal.generation, removal.deed.as_str()), (2, "remove"));
    let answer = web.report(2, 60, Some(done(2, ""))).await;
    let again = web.opened(&answer);
    assert_eq!((again.generation, again.deed.as_str()), (3, "install"));
    web.report(3, 0, Some(done(3, "1.0.0"))).await;
    assert!(web.report(3, 0, Some(done(3, "1.0.0"))).await.orders.is_empty());
    // A copy on other hardware is told to enrol anew; the machine itself goes on.
    let own = std::mem::replace(&mut web.bound, binding::of(&"e".repeat(32), ""));
    assert_eq!(web.report(3, 0, None).await.verdict, "enrol_anew");
    web.bound = own;
    assert_eq!(web.report(3, 0, Some(done(3, "1.0.0"))).await.verdict, "ok");
    assert!(s.connect.history(&id).await.unwrap().iter().any(|l| l.state == "Twin"));
    assert!(s.connect.connector_looks()[&id].twin.is_some(), "its health says so");
    // Off-boarded: the order to leave, then a farewell, and the sensor's certificate is worth nothing.
    s.connect.offboard(&id, "test").await.unwrap();
    let answer = web.report(3, 60, Some(done(3, "1.0.0"))).await;
    let leave = web.opened(&answer);
    assert_eq!((leave.generation, leave.deed.as_str()), (4, "offboard"));
    assert_eq!(web.report(4, 0, Some(done(4, ""))).await.verdict, "farewell");
    assert_eq!(web.report(4, 0, Some(done(4, ""))).await.verdict, "farewell", "also when the first was lost");
    assert!(s.shared.fleet.is_revoked(&sensor.device));
    // It is not heard of any more, whatever is written down of its last words; a second time there is nothing to do.
    s.connect.flush().await.unwrap();
    assert_eq!(machines(s).await[0].state, ConnectionState::Disconnected);
    assert!(s.connect.offboard(&id, "test").await.unwrap(), "off-boarded already");
    // Connected again it is one machine under its name, and nothing is put on it by itself.
    let mut back = FakeConnector::enrol(&gateway, &token(s, 1).await, "web").await.unwrap();
    assert_eq!(machines(s).await.len(), 1);
    assert_ne!(machines(s).await[0].state, ConnectionState::Disconnected);
    let answer = back.report(0, 0, None).await;
    assert!(answer.orders.is_empty(), "off-boarding is remembered");
    assert_eq!(answer.verdict, "ok", "and it is not sent away again");
    // Taken back, the plan counts again: the sensor comes, and is another device.
    s.connect.onboard(&id).await.unwrap();
    let answer = back.report(0, 60, None).await;
    let again = back.opened(&answer);
    assert_eq!((again.generation, again.deed.as_str()), (5, "install"));
    let ask = v1::SensorTokenRequest { generation: 5 };
    let sensor_token = back.client.sensor_token(ask).await.unwrap().into_inner();
    let renewed = garrison_testkit::enrol(server.gateway(), &sensor_token.token, "web").await.unwrap();
    back.report(5, 0, Some(done(5, "1.0.0"))).await;
    let machine = machines(s).await.remove(0);
    assert_eq!(machine.extensions[0].state, ExtensionState::Succeeded);
    assert_eq!(machine.device_id.as_ref(), Some(&renewed.device));
    assert!(!s.shared.fleet.is_revoked(&renewed.device));
    // Taken back before the machine is connected again, it counts from then on.
    s.connect.offboard(&id, "test").await.unwrap();
    assert_eq!(back.report(5, 60, None).await.orders.len(), 1);
    assert_eq!(back.report(6, 0, Some(done(6, ""))).await.verdict, "farewell");
    s.connect.onboard(&id).await.unwrap();
    let mut back = FakeConnector::enrol(&gateway, &token(s, 1).await, "web").await.unwrap();
    let answer = back.report(0, 60, None).await;
    assert_eq!(back.opened(&answer).deed, "install");
    // An unsupported machine has its code and no order.
    let mut odd = FakeConnector::enrol(&gateway, &token(s, 1).await, "odd").await.unwrap();
    odd.facts.distribution = "templeos".into();
    assert!(odd.report(0, 0, None).await.orders.is_empty());
    let odd = machines(s).await.into_iter().find(|m| m.name.as_str() == "odd").unwrap();
    let extension = odd.extensions.first().unwrap();
    assert_eq!((extension.state, extension.code), (ExtensionState::Failed, 10));
    assert!(extension.message.contains("templeos") && !extension.fix.is_empty());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_connected_and_ordered_on_sqlite() {
    contract(TestServer::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_connected_and_ordered_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed (Debian package `postgresql`)");
        return;
    };
    contract(TestServer::start_with(|c| c.database_url = Some(postgres.url())).await.unwrap()).await;
}

async fn call(s: &Server, method: reqwest::Method, path: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().request(method, format!("{}/api/v1{path}", s.http_url()));
    let request = request.bearer_auth(s.shared.identity.local_token());
    let answer = if body.is_null() { request.send() } else { request.json(&body).send() }.await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// Moved to another subscription: the extension is deployed anew there, the device and what was said of the machine stay.
/// Gone to another tenant: each step is open until it is done, and nothing is left that the other one sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_moves_within_its_tenant_and_to_another_one() {
    use reqwest::Method;
    use serde_json::{Value, json};
    let server = TestServer::start().await.unwrap();
    lay_package(&server, "garrison-sensor-1.0.0-x64.tar.zst", b"any bytes");
    let (gateway, s) = (server.gateway().to_string(), &server.server);
    let prod = subscription(s, Some(Plan::P2)).await;
    let (status, made) =
        call(s, Method::POST, "/subscriptions", json!({"name": "Other", "location": "westeurope"})).await;
    assert_eq!(status, 201, "{made}");
    let other: SubscriptionId = made["id"].as_str().unwrap().parse().unwrap();
    plan_set(s, &other, Plan::P1).await;
    let new = ConnectorTokenNew {
        name: "t".into(),
        expires_hours: 1,
        uses: 1,
        subscription: Some(prod.clone()),
        ..ConnectorTokenNew::default()
    };
    let token = s.connect.token_create(&new, garrison_server::now()).await.unwrap().0;
    let mut web = FakeConnector::enrol(&gateway, &token, "web").await.unwrap();
    let answer = web.report(0, 60, None).await;
    assert_eq!(web.opened(&answer).generation, 1);
    let ask = v1::SensorTokenRequest { generation: 1 };
    let token = web.client.sensor_token(ask).await.unwrap().into_inner();
    let sensor = garrison_testkit::enrol(server.gateway(), &token.token, "web").await.unwrap();
    web.report(1, 0, Some(done(1, "1.0.0"))).await;
    let before = machines(s).await.remove(0);
    let id = before.id.clone();
    let exempt = "/recommendations/edr-configuration/exemptions";
    let body = json!({"scope": before.resource_id, "category": "Waiver", "reason": "known"});
    let (status, answer) = call(s, Method::POST, exempt, body).await;
    assert_eq!(status, 201, "{answer}");

    let to = before.resource_id.to_string().replace(prod.as_str(), other.as_str());
    let path = format!("/machines/{id}");
    let (status, moved) = call(s, Method::PATCH, &path, json!({"resourceId": to})).await;
    assert_eq!((status, &moved["resourceId"]), (200, &json!(to)), "{moved}");
    // Asked until the server has seen that it lies elsewhere: the order comes once, under the new subscription.
    let mut again = None;
    for _ in 0..60 {
        let answer = web.report(1, 5, Some(done(1, "1.0.0"))).await;
        if !answer.orders.is_empty() {
            again = Some(web.opened(&answer));
            break;
        }
    }
    let again = again.expect("the extension is not deployed anew");
    assert_eq!((again.generation, again.deed.as_str()), (2, "install"));
    web.report(2, 0, Some(done(2, "1.0.0"))).await;
    assert!(web.report(2, 0, Some(done(2, "1.0.0"))).await.orders.is_empty());
    let after = machines(s).await.remove(0);
    assert_eq!((after.id, after.device_id), (id.clone(), Some(sensor.device.clone())));
    assert_eq!(after.extensions[0].state, ExtensionState::Succeeded);
    assert!(s.shared.fleet.device(&sensor.device).is_some_and(|d| !d.revoked));
    let history = s.connect.history(&id).await.unwrap();
    assert_eq!(history.iter().filter(|l| l.state == "Succeeded").count(), 2, "{history:?}");
    let (_, exemptions) = call(s, Method::GET, exempt, Value::Null).await;
    assert_eq!(exemptions["items"][0]["scope"], json!(to), "{exemptions}");

    // To another tenant: off-boarded first.
    let (acme, uk) = (garrison_model::TenantId::new("acme").unwrap(), garrison_model::Geography::new("UK").unwrap());
    let house = s.houses.make(&acme, &uk, "test").await.unwrap().unwrap();
    s.connect.flush().await.unwrap();
    let leaving = format!("{path}/leaving?toTenant=acme");
    let open = async || {
        let (_, view) = call(s, Method::GET, &leaving, Value::Null).await;
        let steps = view["steps"].as_array().unwrap().iter().filter(|step| step["done"] == false);
        steps.map(|step| step["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(open().await, ["OffBoarded", "OldIdentity"]);
    assert_eq!(call(s, Method::POST, &leaving, json!({})).await.0, 409);
    s.connect.offboard(&id, "test").await.unwrap();
    assert_eq!(open().await, ["OffBoarded", "OldIdentity"], "it was told, and has not said so");
    let answer = web.report(2, 60, Some(done(2, "1.0.0"))).await;
    assert_eq!(web.opened(&answer).deed, "offboard");
    assert_eq!(web.report(3, 0, Some(done(3, ""))).await.verdict, "farewell");
    assert_eq!(open().await, Vec::<String>::new());
    assert_eq!(call(s, Method::POST, &leaving, json!({})).await.0, 200);
    assert!(machines(s).await.is_empty());
    assert!(call(s, Method::GET, exempt, Value::Null).await.1["items"].as_array().unwrap().is_empty());
    // There it is another machine, and the device stays behind.
    let new = ConnectorTokenNew { name: "t".into(), expires_hours: 1, uses: 1, ..ConnectorTokenNew::default() };
    let mut change = house.shared.plane.change(&acme, "test", garrison_server::now()).await.unwrap();
    let there =
        SubscriptionNew { id: None, name: "there".into(), location: "uksouth".into(), tags: Default::default() };
    change.subscription_put(&there).await.unwrap();
    change.commit().await.unwrap();
    let token = house.connect.token_create(&new, garrison_server::now()).await.unwrap().0;
    let there = FakeConnector::enrol(&gateway, &token, "web").await.unwrap();
    assert_eq!(there.answer.tenant_id, "acme");
    assert!(house.shared.fleet.device(&sensor.device).is_none() && house.shared.fleet.count() == 0);
    assert!(s.shared.fleet.device(&sensor.device).is_some(), "its data is kept here for its time");
    assert!(machines(s).await.is_empty());
    server.stop().await.unwrap();
}

#[path = "connect_faults.rs"]
mod faults;
#[path = "health.rs"]
mod health;
#[path = "connect_live.rs"]
mod live;
#[path = "off_board.rs"]
mod off_board;
#[path = "outward_states.rs"]
mod outward_states;
#[path = "plans.rs"]
mod plans;
#[path = "reach.rs"]
mod reach;
#[path = "recommend.rs"]
mod recommend;
#[path = "connect_rollouts.rs"]
mod rollouts;

/// The folder of this build's programs.
fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_garrison")).parent().unwrap()
}
