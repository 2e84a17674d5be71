//! The cloud plane through its doors: one suite, run on SQLite and on PostgreSQL.

use crate::core_postgres::Postgres;
use garrison_model::{
    ConnectionState, DISCONNECTED_AFTER, Geography, MachineId, MachineKind, Micros, Plan, SubscriptionId, TenantId,
};
use garrison_model::{ExtensionState, NotCovered};
use garrison_server::config::Config;
use garrison_server::plane::{ExtensionReport, Heartbeat, MachineConnect, PlaneError};
use garrison_server::serve::Server;
use garrison_testkit::TestServer;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

const DAY: i64 = 86_400_000_000;
const FIRST: &str = "0f1e2d3c-0000-4000-8000-000000000001";
const SECOND: &str = "0f1e2d3c-0000-4000-8000-000000000002";

/// A server and the ways into it.
struct House {
    server: TestServer,
    client: reqwest::Client,
    admin: String,
}

impl House {
    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.ask_as(&self.admin, method, path, body).await
    }

    async fn ask_as(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/api/v1{path}", self.server.server.http_url());
        let mut request = self.client.request(method, url).bearer_auth(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn tenant(&self) -> &TenantId {
        &self.server.server.shared.tenant
    }

    async fn connect(&self, subscription: &str, group: &str, name: &str, tags: &[(&str, &str)]) -> MachineId {
        self.connect_in(self.tenant(), subscription, group, name, tags).await.unwrap()
    }

    async fn connect_in(
        &self,
        tenant: &TenantId,
        subscription: &str,
        group: &str,
        name: &str,
        tags: &[(&str, &str)],
    ) -> Result<MachineId, PlaneError> {
        let new = connecting(subscription, group, name, tags);
        let mut change = self.server.server.shared.plane.change(tenant, "test", garrison_server::now()).await?;
        let made = change.machine_connect(&new).await?;
        change.commit().await?;
        Ok(made.id)
    }
}

fn connecting(subscription: &str, group: &str, name: &str, tags: &[(&str, &str)]) -> MachineConnect {
    let resource = format!(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Garrison.HybridCompute/machines/{name}"
    );
    MachineConnect {
        resource_id: resource.parse().unwrap(),
        kind: MachineKind::Hybrid,
        identity: Some(format!("key of {name}")),
        hardware: format!("hardware of {}", name.to_ascii_lowercase()),
        tags: tags.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        system: Default::default(),
        connector_version: "1.0".to_owned(),
        geography: None,
    }
}

/// What every database must do.
async fn contract(server: TestServer) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let admin = server.server.shared.identity.local_token().to_owned();
    let house = House { server, client: reqwest::Client::new(), admin };
    tenant_by_itself(&house).await;
    geography_is_fixed(&house).await;
    scope_rules(&house).await;
    machines(&house).await;
    one_machine_is_one(&house).await;
    trial(&house).await;
    bulk(&house).await;
    exclusions_and_cover(&house).await;
    fleet_file(&house).await;
    foreign_ids(&house).await;
    roles(&house).await;
    removal(&house).await;
    let database = house.server.server.shared.config.database_url.clone();
    let folder = house.server.stop().await.unwrap();
    configuration(folder.path(), database).await;
}

/// No tenant before the first plan or machine; a subscription alone makes none.
async fn tenant_by_itself(house: &House) {
    let (status, none) = house.ask(Method::GET, "/tenant", Value::Null).await;
    assert_eq!((status, &none["code"]), (404, &json!("tenant_not_made")), "{none}");
    let body = json!({"id": FIRST, "name": "Production", "location": "West Europe", "tags": {"cost": "1"}});
    let (status, made) = house.ask(Method::POST, "/subscriptions", body.clone()).await;
    assert_eq!((status, &made["name"]), (201, &json!("Production")), "{made}");
    // The same twice changes nothing.
    assert_eq!(house.ask(Method::POST, "/subscriptions", body).await.0, 200);
    assert_eq!(house.ask(Method::GET, "/tenant", Value::Null).await.0, 404);
    // Without an id of its own there is one of a name.
    let second = json!({"name": "PRODUCTION", "location": "westeurope"});
    let (status, body) = house.ask(Method::POST, "/subscriptions", second).await;
    assert_eq!((status, &body["code"]), (409, &json!("exists")), "{body}");
    assert!(body["title"].as_str().unwrap().contains("`PRODUCTION`"), "{body}");
    // The tenant's geography may come of a location, so that lies in one.
    let mut nowhere = json!({"id": SECOND, "name": "Nowhere", "location": "atlantis"});
    let (status, body) = house.ask(Method::POST, "/subscriptions", nowhere.clone()).await;
    assert_eq!((status, &body["code"]), (400, &json!("geography_unknown")), "{body}");
    assert!(body["title"].as_str().unwrap().contains("AU, CH, EU"), "{body}");
    nowhere["location"] = json!("uksouth");
    assert_eq!(house.ask(Method::POST, "/subscriptions", nowhere.clone()).await.0, 201);
    nowhere["location"] = json!("atlantis");
    assert_eq!(house.ask(Method::POST, "/subscriptions", nowhere).await.0, 400, "nor over a good one");
    assert_eq!(house.get(&format!("/subscriptions/{SECOND}")).await["location"], "uksouth");
    // As an older version took it.
    sqlx::query("UPDATE plane_subscriptions SET location = 'canadacentral' WHERE name = 'Nowhere'")
        .execute(house.server.server.shared.db.pool())
        .await
        .unwrap();
    let path = format!("/subscriptions/{SECOND}/plan");
    let (status, body) = house.ask(Method::PUT, &path, json!({"plan": "P1"})).await;
    assert_eq!((status, &body["code"]), (400, &json!("geography_unknown")), "{body}");
    assert!(body["title"].as_str().unwrap().contains("AU, CH, EU"), "{body}");
    // Nothing of the failed change is left.
    assert_eq!(house.ask(Method::GET, "/tenant", Value::Null).await.0, 404);
    assert!(house.get(&format!("/subscriptions/{SECOND}")).await.get("trial").is_none());
    let (status, body) = house.ask(Method::PUT, &format!("/subscriptions/{FIRST}/plan"), json!({"plan": "P2"})).await;
    assert_eq!((status, &body["plan"], &body["trial"]["daysLeft"]), (200, &json!("P2"), &json!(30)), "{body}");
    let tenant = house.get("/tenant").await;
    assert_eq!((&tenant["geography"], &tenant["origin"]), (&json!("EU"), &json!("PlanSet")));
}

/// By the API, by a choice with a plan, by a machine's choice, and in the database itself.
async fn geography_is_fixed(house: &House) {
    let fixed = |(status, body): (u16, Value)| {
        assert_eq!((status, &body["code"]), (409, &json!("geography_fixed")), "{body}");
        assert!(
            body["title"].as_str().unwrap().contains("EU") && body["hint"].as_str().unwrap().contains("another tenant")
        );
        assert!(body["hint"].as_str().unwrap().contains("garrison tenant reset"), "{body}");
    };
    fixed(house.ask(Method::PUT, "/tenant", json!({"geography": "UK"})).await);
    assert_eq!(house.ask(Method::PUT, "/tenant", json!({"geography": "eu"})).await.0, 200);
    assert_eq!(house.ask(Method::PUT, "/tenant", json!({"geography": "MARS"})).await.0, 400);
    let plan = format!("/subscriptions/{FIRST}/plan");
    fixed(house.ask(Method::PUT, &plan, json!({"plan": "P1", "geography": "US"})).await);
    fixed(house.ask(Method::PUT, &plan, json!({"plan": "Off", "geography": "US"})).await);
    fixed(house.ask(Method::POST, "/fleet/apply", json!({"version": 1, "tenant": {"geography": "CH"}})).await);
    let new =
        MachineConnect { geography: Some(Geography::new("IN").unwrap()), ..connecting(FIRST, "web", "chooser", &[]) };
    let plane = &house.server.server.shared.plane;
    let mut change = plane.change(house.tenant(), "test", garrison_server::now()).await.unwrap();
    assert!(matches!(change.machine_connect(&new).await, Err(PlaneError::GeographyFixed { .. })));
    drop(change);
    let (db, own) = (&house.server.server.shared.db, house.server.server.houses.own());
    let insert = "INSERT INTO plane_tenants (id, geography, lake_root, control_root, origin, state, created, created_by) \
        VALUES ('default', 'UK', 'x', 'y', 'PlanSet', 'Active', 0, 'x')";
    for sql in [
        "UPDATE plane_tenants SET geography = 'UK'",
        "UPDATE plane_tenants SET geography = 'UK' WHERE id = 'default'",
        "UPDATE plane_tenants SET lake_root = '/elsewhere'",
        "UPDATE plane_tenants SET control_root = '/elsewhere'",
        "UPDATE plane_tenants SET id = 'other'",
        "DELETE FROM plane_tenants",
        &insert.replacen("INSERT", "INSERT OR REPLACE", 1),
        insert,
    ] {
        // In its own database, and in the server's list.
        for db in [db, own] {
            let error = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(db.pool()).await.unwrap_err();
            let told = error.to_string();
            let by_key = sql.contains("INSERT") && db.dialect() == garrison_server::db::Dialect::Postgres;
            assert!(by_key || told.contains("plane_tenants_fixed"), "{sql}: {told}");
        }
    }
    let trial = sqlx::query("UPDATE plane_trials SET started = 0").execute(db.pool()).await.unwrap_err();
    assert!(trial.to_string().contains("neither stopped nor paused nor extended"), "{trial}");
    let trial = sqlx::query("DELETE FROM plane_trials").execute(db.pool()).await.unwrap_err();
    assert!(trial.to_string().contains("remembered for good"), "{trial}");
    assert_eq!(house.get("/tenant").await["geography"], "EU");
}

/// Plan 2 on one machine is refused, also by the database; P1 and Off are taken; DELETE inherits again.
async fn scope_rules(house: &House) {
    let id = house.connect(FIRST, "web", "www1", &[("env", "dev")]).await;
    let path = format!("/machines/{id}/plan");
    let plan = |body: &Value| (body["plan"]["plan"].clone(), body["plan"]["source"].clone());
    assert_eq!(plan(&house.get(&format!("/machines/{id}")).await), (json!("P2"), json!("Subscription")));
    let (status, body) = house.ask(Method::PUT, &path, json!({"plan": "P2"})).await;
    assert_eq!((status, &body["code"]), (400, &json!("plan_scope")), "{body}");
    let (status, body) = house.ask(Method::PUT, &path, json!({"plan": "P1"})).await;
    assert_eq!((status, plan(&body)), (200, (json!("P1"), json!("Machine"))), "downgrade of one machine: {body}");
    let (status, body) = house.ask(Method::PUT, &path, json!({"plan": "Off"})).await;
    assert_eq!((status, plan(&body)), (200, (json!("Off"), json!("Machine"))), "{body}");
    let (status, body) = house.ask(Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, plan(&body)), (200, (json!("P2"), json!("Subscription"))), "{body}");
    // P1 on one machine of a subscription with no plan: only there.
    let (alone, other) =
        (house.connect(SECOND, "g", "alone", &[]).await, house.connect(SECOND, "g", "other", &[]).await);
    let (status, body) = house.ask(Method::PUT, &format!("/machines/{alone}/plan"), json!({"plan": "P1"})).await;
    assert_eq!((status, plan(&body)), (200, (json!("P1"), json!("Machine"))), "{body}");
    assert_eq!(plan(&house.get(&format!("/machines/{other}")).await), (json!("Off"), json!("Unset")));
    let forced = format!(
        "INSERT INTO plane_plans (tenant_id, subscription_id, machine_id, plan, set_by, set_at) \
         VALUES ('default', '{SECOND}', '{other}', 'P2', 'x', 0)"
    );
    assert!(sqlx::query(sqlx::AssertSqlSafe(forced)).execute(house.server.server.shared.db.pool()).await.is_err());
    let plans = house.get("/plans").await;
    let included = |plan: usize| {
        let features = plans["items"][plan]["features"].as_array().unwrap();
        features.iter().filter(|f| f["included"] == true).count()
    };
    assert_eq!([included(0), included(1), included(2)], [0, 7, 19]);
}

/// Lists, filters, pages, states on a clock, moving, hostile ids.
async fn machines(house: &House) {
    let (plane, tenant) = (&house.server.server.shared.plane, house.tenant());
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
    };
    for i in 0..5 {
        house.connect(FIRST, "many", &format!("m{i}"), &[("row", if i % 2 == 0 { "even" } else { "odd" })]).await;
    }
    for (query, expected) in [
        (format!("subscription={FIRST}&group=MANY"), vec!["m0", "m1", "m2", "m3", "m4"]),
        ("tag=ROW%3Deven".to_owned(), vec!["m0", "m2", "m4"]),
        ("tag=row&plan=P1".to_owned(), vec![]),
        ("state=Connecting&q=M3".to_owned(), vec!["m3"]),
        (
            format!(
                "resourceId=/SUBSCRIPTIONS/{FIRST}/resourcegroups/MANY/providers/garrison.hybridcompute/machines/M1"
            ),
            vec!["m1"],
        ),
    ] {
        assert_eq!(names(&house.get(&format!("/machines?{query}")).await), expected, "{query}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house.get(&format!("/machines?group=many&limit=2{cursor}")).await;
        seen.extend(names(&page));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4"]);
    let m0: MachineId = house.get("/machines?q=m0").await["items"][0]["id"].as_str().unwrap().parse().unwrap();
    let now = garrison_server::now();
    let mut change = plane.change(tenant, "test", now).await.unwrap();
    change.machine_heartbeat(&m0, &Heartbeat::default()).await.unwrap();
    change.commit().await.unwrap();
    for (later, state) in [
        (0, ConnectionState::Connected),
        (DISCONNECTED_AFTER - 1, ConnectionState::Connected),
        (DISCONNECTED_AFTER, ConnectionState::Disconnected),
        (45 * DAY, ConnectionState::Expired),
    ] {
        assert_eq!(plane.machine(tenant, &m0, Micros(now.0 + later)).await.unwrap().state, state);
    }
    // A move keeps the machine and its own setting.
    house.ask(Method::PUT, &format!("/machines/{m0}/plan"), json!({"plan": "P1"})).await;
    let to = format!("/subscriptions/{SECOND}/resourceGroups/New/providers/Garrison.HybridCompute/machines/m0");
    let (status, body) = house.ask(Method::PATCH, &format!("/machines/{m0}"), json!({"resourceId": to})).await;
    assert_eq!((status, &body["resourceId"], &body["plan"]["plan"]), (200, &json!(to), &json!("P1")), "{body}");
    let taken = format!("/subscriptions/{FIRST}/resourceGroups/many/providers/Garrison.HybridCompute/machines/M1");
    let (status, body) = house.ask(Method::PATCH, &format!("/machines/{m0}"), json!({"resourceId": taken})).await;
    assert_eq!((status, &body["code"]), (409, &json!("exists")), "{body}");
    let many: serde_json::Map<String, Value> = (0..51).map(|i| (i.to_string(), json!(""))).collect();
    for (body, what) in [
        (json!({"tags": {"a=b": "c"}}), "a name with ="),
        (json!({"tags": {"a": "x".repeat(257)}}), "a long value"),
        (json!({"tags": many}), "too many"),
        (json!({"resourceId": "../../etc"}), "no resource id"),
        (json!({"colour": 1}), "an unknown field"),
    ] {
        assert_eq!(house.ask(Method::PATCH, &format!("/machines/{m0}"), body).await.0, 400, "{what}");
    }
    for id in ["x", "..%2f..", "%00", &"a".repeat(5_000), FIRST] {
        assert_eq!(house.ask(Method::GET, &format!("/machines/{id}"), Value::Null).await.0, 404, "{id}");
    }
}

/// The same machine seen again or another way is one machine; another machine does not take its name.
async fn one_machine_is_one(house: &House) {
    let (plane, tenant) = (&house.server.server.shared.plane, house.tenant());
    let first = house.connect(FIRST, "one", "same", &[]).await;
    for (what, new, same) in [
        ("again", connecting(FIRST, "one", "same", &[]), true),
        ("other case", connecting(FIRST, "ONE", "SAME", &[]), true),
        (
            "a new key after a reinstallation",
            MachineConnect { identity: Some("new key".into()), ..connecting(FIRST, "one", "same", &[]) },
            true,
        ),
        (
            "its hardware under another name",
            MachineConnect { hardware: "hardware of same".into(), ..connecting(FIRST, "one", "alias", &[]) },
            true,
        ),
        ("another machine", connecting(FIRST, "one", "different", &[]), false),
    ] {
        let mut change = plane.change(tenant, "test", garrison_server::now()).await.unwrap();
        let made = change.machine_connect(&new).await.unwrap();
        assert_eq!((made.id == first, made.new), (same, !same), "{what}");
    }
    let thief = MachineConnect {
        identity: Some("thief".into()),
        hardware: "other hardware".into(),
        ..connecting(FIRST, "one", "same", &[])
    };
    let mut change = plane.change(tenant, "test", garrison_server::now()).await.unwrap();
    assert!(matches!(change.machine_connect(&thief).await, Err(PlaneError::NameTaken(_))));
}

/// Begun once, thirty days of the clock, not renewed by switching off and on.
async fn trial(house: &House) {
    let (plane, tenant) = (&house.server.server.shared.plane, house.tenant());
    let id = SubscriptionId::new(FIRST).unwrap();
    let started = house.get(&format!("/subscriptions/{FIRST}")).await["trial"]["started"].clone();
    let begun = started.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond();
    for (days, active, left) in [(0, true, 30), (29, true, 1), (30, false, 0), (400, false, 0)] {
        let s = plane.subscription(tenant, &id, Micros(begun + days * DAY)).await.unwrap();
        let trial = s.trial.unwrap();
        assert_eq!((trial.active, trial.days_left), (active, left), "day {days}");
    }
    let path = format!("/subscriptions/{FIRST}/plan");
    assert_eq!(house.ask(Method::DELETE, &path, Value::Null).await.0, 204);
    let mut change = plane.change(tenant, "test", Micros(begun + 40 * DAY)).await.unwrap();
    change.plan_set(&id, Plan::P2, None).await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(house.get(&format!("/subscriptions/{FIRST}")).await["trial"]["started"], started);
}

/// Looked at, refused where the machines changed since, then done whole.
async fn bulk(house: &House) {
    let nowhere = json!({"selector": {"subscriptionId": FIRST, "resourceGroup": "nowhere"}, "plan": "P1"});
    for path in ["/plans/preview", "/plans/bulk"] {
        let (status, body) = house.ask(Method::POST, path, nowhere.clone()).await;
        assert!(status == 404 && body["title"].as_str().unwrap().contains("`nowhere`"), "{body}");
    }
    let selector = json!({"subscriptionId": FIRST, "tagName": "row", "tagValue": "odd"});
    let (status, seen) = house.ask(Method::POST, "/plans/preview", json!({"selector": selector, "plan": "P1"})).await;
    assert_eq!(
        (status, &seen["matched"], &seen["changed"], &seen["planChanged"]),
        (200, &json!(2), &json!(2), &json!(2))
    );
    assert_eq!(seen["changes"][0]["before"]["plan"], "P2");
    assert!(
        house.get("/machines?tag=row&plan=P1").await["items"].as_array().unwrap().iter().all(|m| m["name"] == "m0")
    );
    let late = house.connect(FIRST, "many", "m9", &[("row", "odd")]).await;
    let change = json!({"selector": selector, "plan": "P1", "digest": seen["digest"]});
    let (status, body) = house.ask(Method::POST, "/plans/bulk", change).await;
    assert_eq!((status, &body["code"]), (409, &json!("preview_stale")), "{body}");
    let (_, seen) = house.ask(Method::POST, "/plans/preview", json!({"selector": selector, "plan": "P1"})).await;
    let change = json!({"selector": selector, "plan": "P1", "digest": seen["digest"]});
    assert_eq!(house.ask(Method::POST, "/plans/bulk", change).await.0, 200);
    assert_eq!(house.get(&format!("/machines/{late}")).await["plan"]["plan"], "P1");
    for (body, code) in [
        (json!({"selector": selector, "plan": "P2"}), "plan_scope"),
        (json!({"selector": {"subscriptionId": FIRST}, "plan": "P1"}), "not_valid"),
        (json!({"selector": {"subscriptionId": FIRST, "resourceGroup": "../x"}, "plan": "P1"}), "bad_body"),
    ] {
        assert_eq!(house.ask(Method::POST, "/plans/bulk", body).await.1["code"], code);
    }
    let (_, undone) = house.ask(Method::POST, "/plans/bulk", json!({"selector": selector})).await;
    assert_eq!(undone["changed"], 3, "{undone}");
    assert_eq!(house.get(&format!("/machines/{late}")).await["plan"]["source"], "Subscription");
}

/// Why machines are not covered, and the components' states with a fix.
async fn exclusions_and_cover(house: &House) {
    let (plane, tenant) = (&house.server.server.shared.plane, house.tenant());
    let cover = house.get("/coverage").await;
    let of = |cover: &Value, id: &str| {
        cover["subscriptions"].as_array().unwrap().iter().find(|s| s["id"] == id).unwrap().clone()
    };
    let linux = of(&cover, FIRST)["components"][0].clone();
    assert_eq!((&linux["name"], &linux["state"]), (&json!("EndpointProtection.Linux"), &json!("Partial")), "{cover}");
    assert!(linux["fix"].as_str().unwrap().contains("lack the sensor"));
    assert_eq!(of(&cover, FIRST)["components"][1]["state"], "On", "no Windows machine lacks anything");
    let id: MachineId = house.get("/machines?q=www1").await["items"][0]["id"].as_str().unwrap().parse().unwrap();
    let report = |state: ExtensionState, code: i64| ExtensionReport {
        name: "MDE.Linux".to_owned(),
        state,
        code,
        message: "said so".to_owned(),
        fix: "do this".to_owned(),
        version: "1.0".to_owned(),
    };
    let reason = async || -> Option<(String, i64)> {
        let cover = house.get("/coverage").await;
        let line = cover["notCovered"]
            .as_array()
            .unwrap()
            .iter()
            .find(|l| l["resourceId"].as_str().unwrap().ends_with("/www1"))?;
        Some((line["reason"].as_str().unwrap().to_owned(), line["code"].as_i64().unwrap()))
    };
    assert_eq!(reason().await, Some((NotCovered::SensorMissing.to_string(), 0)));
    let apply = async |r: ExtensionReport| {
        let mut change = plane.change(tenant, "test", garrison_server::now()).await.unwrap();
        change.extension_report(&id, &r).await.unwrap();
        change.machine_heartbeat(&id, &Heartbeat::default()).await.unwrap();
        change.commit().await.unwrap();
    };
    apply(report(ExtensionState::Failed, 52)).await;
    assert_eq!(reason().await, Some((NotCovered::SensorFailed.to_string(), 52)));
    apply(report(ExtensionState::Succeeded, 0)).await;
    assert_eq!(reason().await, None);
    assert_eq!(house.get(&format!("/machines/{id}")).await["extensions"][0]["name"], "Sensor.Linux");
    // Integration off, then an exclusion by tag: the reasons of a machine that has no sensor.
    let missing = house.connect(FIRST, "web", "www2", &[("env", "lab")]).await;
    let wanted = async || {
        let m = plane.machine(tenant, &missing, garrison_server::now()).await.unwrap();
        let sight = plane.sight(tenant, garrison_server::now()).await.unwrap();
        sight.desired(&m.id, &m.resource_id, &m.tags).sensor
    };
    assert_eq!(wanted().await, Ok(()));
    let switch = format!("/subscriptions/{FIRST}/integration");
    assert_eq!(house.ask(Method::PUT, &switch, json!({"enabled": false})).await.0, 200);
    assert_eq!(wanted().await, Err(NotCovered::IntegrationOff));
    assert_eq!(of(&house.get("/coverage").await, FIRST)["components"][0]["state"], "Off");
    assert_eq!(house.ask(Method::PUT, &switch, json!({"enabled": true})).await.0, 200);
    let scope = format!("/subscriptions/{FIRST}");
    let new = json!({"scope": scope, "tagName": "env", "tagValue": "lab", "reason": "the lab tests other products"});
    let (status, made) = house.ask(Method::POST, "/exclusions", new).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(wanted().await, Err(NotCovered::Excluded));
    assert_eq!(house.get(&format!("/machines/{missing}")).await["excludedBy"], made["id"]);
    let path = format!("/exclusions/{}", made["id"].as_str().unwrap());
    assert_eq!(house.ask(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(house.ask(Method::DELETE, &path, Value::Null).await.0, 404);
    assert_eq!(wanted().await, Ok(()));
    for bad in [
        json!({"scope": scope, "reason": " "}),
        json!({"scope": scope, "reason": "x", "tagValue": "v"}),
        json!({"scope": scope, "reason": "x", "expiresTime": "2001-01-01T00:00:00Z"}),
        json!({"scope": "/", "reason": "x"}),
    ] {
        assert_eq!(house.ask(Method::POST, "/exclusions", bad.clone()).await.0, 400, "{bad}");
    }
}

/// The same file twice changes nothing; a dry run tells what applying then does; a bad file does nothing.
async fn fleet_file(house: &House) {
    let file = json!({
        "version": 1,
        "tenant": {"geography": "EU"},
        "subscriptions": [
            {"name": "Production", "plan": "P2", "resourceGroups": ["db"],
             "rules": [{"tag": "row", "plan": "Off"}, {"tag": "row=odd", "plan": "P1"}],
             "machines": [{"resourceGroup": "many", "name": "m1", "plan": "Inherit", "tags": {"row": "odd", "new": "1"}}],
             "exclusions": [{"resourceGroup": "db", "reason": "appliances"}]},
            {"name": "Made by the file", "location": "uksouth", "plan": "P1", "integration": false},
        ],
    });
    let dry = house.ask(Method::POST, "/fleet/apply?dryRun=true", file.clone()).await;
    assert_eq!(dry.0, 200, "{}", dry.1);
    let again = house.ask(Method::POST, "/fleet/apply?dryRun=true", file.clone()).await;
    assert_eq!(dry.1["changes"].as_array().unwrap().len(), again.1["changes"].as_array().unwrap().len());
    assert!(house.get("/exclusions").await["items"].as_array().unwrap().is_empty(), "a dry run writes nothing");
    let (status, done) = house.ask(Method::POST, "/fleet/apply", file.clone()).await;
    assert_eq!(status, 200, "{done}");
    // Ids that the server makes differ; all else is what was told.
    let told = |v: &Value| -> Vec<(Value, Value, Value)> {
        v["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c["what"].clone(), c["old"].clone(), c["new"].clone()))
            .collect()
    };
    assert!(!told(&done).is_empty());
    assert_eq!(told(&dry.1).len(), told(&done).len());
    let (_, same) = house.ask(Method::POST, "/fleet/apply", file).await;
    assert_eq!(same["changes"], json!([]), "the same twice changes nothing");
    for (name, plan) in [("m1", "P2"), ("m2", "Off"), ("m3", "P1"), ("m4", "Off")] {
        let page = house.get(&format!("/machines?q={name}&subscription={FIRST}")).await;
        assert_eq!(page["items"][0]["plan"]["plan"], plan, "{name}");
    }
    let before = house.get("/subscriptions").await;
    for (bad, part) in [
        (json!({"version": 2}), "version"),
        (json!({"version": 1, "subscriptions": [{"name": "New"}]}), "`location` is needed"),
        (
            json!({"version": 1, "subscriptions": [
                {"name": "Production", "location": "eastus", "plan": "P1",
                 "machines": [{"resourceGroup": "many", "name": "none", "plan": "P1"},
                              {"resourceGroup": "many", "name": "m1", "plan": "P2"}]}]}),
            "subscriptions[0].machines[1]",
        ),
        (
            json!({"version": 1, "subscriptions": [{"name": "A", "location": "eu"}, {"name": "A", "location": "eu"}]}),
            "again",
        ),
    ] {
        let (status, body) = house.ask(Method::POST, "/fleet/apply", bad.clone()).await;
        assert_eq!((status, &body["code"]), (400, &json!("fleet_file_not_valid")), "{bad}: {body}");
        assert!(body["title"].as_str().unwrap().contains(part), "{body}");
    }
    assert_eq!(house.get("/subscriptions").await, before, "a file with a problem changes nothing at all");
}

/// What another tenant has is not found, and does not show in lists.
async fn foreign_ids(house: &House) {
    let foreign = TenantId::new("other").unwrap();
    let (plane, now) = (&house.server.server.shared.plane, garrison_server::now());
    let id = "0f1e2d3c-0000-4000-8000-00000000ffff";
    let place = async |location: &str| {
        let mut change = plane.change(&foreign, "test", now).await.unwrap();
        let new = serde_json::from_value(json!({"id": id, "name": "Foreign", "location": location})).unwrap();
        change.subscription_put(&new).await.unwrap();
        change.commit().await.unwrap();
    };
    place("uksouth").await;
    // Each tenant has a geography of its own; in the server's own database, all have one.
    let server = &house.server.server;
    let geography = if server.shared.db.is(server.houses.own()) {
        let refused = house.connect_in(&foreign, id, "g", "theirs", &[]).await;
        assert!(matches!(refused, Err(PlaneError::TwoGeographies { .. })), "{refused:?}");
        place("northeurope").await;
        "EU"
    } else {
        "UK"
    };
    let machine = house.connect_in(&foreign, id, "g", "theirs", &[]).await.unwrap();
    assert_eq!(plane.tenant(&foreign).await.unwrap().geography.as_str(), geography);
    assert_eq!(house.get("/tenant").await["geography"], "EU");
    let moving = json!({"resourceId":
        format!("/subscriptions/{id}/resourceGroups/g/providers/Garrison.HybridCompute/machines/www1")});
    let own = house.get("/machines?q=www1").await["items"][0]["id"].as_str().unwrap().to_owned();
    for (method, path, body) in [
        (Method::GET, format!("/subscriptions/{id}"), Value::Null),
        (Method::DELETE, format!("/subscriptions/{id}"), Value::Null),
        (Method::PUT, format!("/subscriptions/{id}/plan"), json!({"plan": "P2"})),
        (Method::DELETE, format!("/subscriptions/{id}/plan"), Value::Null),
        (Method::PUT, format!("/subscriptions/{id}/integration"), json!({"enabled": false})),
        (Method::GET, format!("/subscriptions/{id}/resource-groups"), Value::Null),
        (Method::PUT, format!("/subscriptions/{id}/resource-groups/g2"), json!({})),
        (Method::DELETE, format!("/subscriptions/{id}/resource-groups/g"), Value::Null),
        (Method::GET, format!("/machines/{machine}"), Value::Null),
        (Method::PATCH, format!("/machines/{machine}"), json!({"tags": {}})),
        (Method::DELETE, format!("/machines/{machine}"), Value::Null),
        (Method::PUT, format!("/machines/{machine}/plan"), json!({"plan": "P1"})),
        (Method::DELETE, format!("/machines/{machine}/plan"), Value::Null),
        (Method::POST, "/plans/preview".to_owned(), json!({"selector": {"subscriptionId": id, "tagName": "x"}})),
        (Method::POST, "/plans/bulk".to_owned(), json!({"selector": {"subscriptionId": id, "tagName": "x"}})),
        (Method::POST, "/exclusions".to_owned(), json!({"scope": format!("/subscriptions/{id}"), "reason": "x"})),
        (Method::PATCH, format!("/machines/{own}"), moving),
    ] {
        let (status, answer) = house.ask(method.clone(), &path, body).await;
        assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "{method} {path}: {answer}");
    }
    for path in ["/subscriptions", "/machines?q=theirs", "/coverage", "/exclusions"] {
        assert!(!house.get(path).await.to_string().contains("heirs"), "{path}");
        assert!(!house.get(path).await.to_string().contains("Foreign"), "{path}");
    }
    assert!(plane.machine(&foreign, &machine, now).await.is_ok());
}

/// Reading is for everybody, changes are for administrators.
async fn roles(house: &House) {
    let identity = &house.server.server.shared.identity;
    let now = garrison_server::now();
    for (role, preview, change) in [(garrison_model::Role::Reader, 200, 403), (garrison_model::Role::Analyst, 200, 403)]
    {
        let (token, _) = identity.api_token_create(role.as_str(), role, None, now).await.unwrap();
        for path in ["/tenant", "/subscriptions", "/machines", "/plans", "/coverage", "/exclusions", "/geographies"] {
            assert_eq!(house.ask_as(&token, Method::GET, path, Value::Null).await.0, 200, "{role} {path}");
        }
        let body = json!({"selector": {"subscriptionId": FIRST, "tagName": "row"}, "plan": "P1"});
        assert_eq!(house.ask_as(&token, Method::POST, "/plans/preview", body.clone()).await.0, preview);
        assert_eq!(house.ask_as(&token, Method::POST, "/plans/bulk", body).await.0, change);
        let plan = format!("/subscriptions/{FIRST}/plan");
        assert_eq!(house.ask_as(&token, Method::PUT, &plan, json!({"plan": "Off"})).await.0, change);
    }
    assert_eq!(house.ask_as("gat_nobody", Method::GET, "/machines", Value::Null).await.0, 401);
}

/// What holds machines stays; an emptied one goes with its settings.
async fn removal(house: &House) {
    let path = format!("/subscriptions/{SECOND}");
    let (status, body) = house.ask(Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &body["code"]), (409, &json!("not_empty")), "{body}");
    for m in house.get(&format!("/machines?subscription={SECOND}")).await["items"].as_array().unwrap() {
        let path = format!("/machines/{}", m["id"].as_str().unwrap());
        assert_eq!(house.ask(Method::DELETE, &path, Value::Null).await.0, 204);
    }
    assert_eq!(house.ask(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(house.ask(Method::GET, &path, Value::Null).await.0, 404);
}

/// A server does not start on a configuration that would move a tenant's data.
async fn configuration(folder: &Path, database: Option<String>) {
    let eu = Geography::new("EU").unwrap();
    let cases: [(&str, &dyn Fn(&mut Config)); 3] = [
        ("geographies.EU.lake", &|c| c.geographies.known.get_mut(&eu).unwrap().lake = "/elsewhere".into()),
        ("[geographies.EU]", &|c| drop(c.geographies.known.remove(&eu))),
        ("tenant.geography", &|c| c.geographies.first_tenant = Geography::new("UK").ok()),
    ];
    for (part, change) in cases {
        let mut config = Config::at(folder);
        config.http = ([127, 0, 0, 1], 0).into();
        config.gateway = ([127, 0, 0, 1], 0).into();
        config.database_url.clone_from(&database);
        change(&mut config);
        let error = format!("{:#}", Server::start(config).await.err().unwrap());
        assert!(error.contains(part) && error.contains("default"), "{part}: {error}");
        assert!(error.contains("put the configuration back") && error.contains("garrison tenant reset"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cloud_plane_holds_on_sqlite() {
    contract(TestServer::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cloud_plane_holds_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed");
        return;
    };
    contract(TestServer::start_with(|config| config.database_url = Some(postgres.url())).await.unwrap()).await;
}
