//! Roles, device groups, scopes of tokens, the audit log and the walk over every route: one suite on both databases.

use crate::core_postgres::Postgres;
use crate::http_house::{HttpHouse, job};
use garrison_server::access::Action;
use garrison_server::access::audit::chain::{Proof, SignedHead};
use garrison_server::api::routes::{Gate, ROUTES, Target, whole_path};
use garrison_testkit::{TestSensor, boot, enrol};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::BTreeMap;

const QUERY: &str = "DeviceProcessEvents | where ProcessCommandLine has 'evil'";

/// A house with two devices in two groups, an incident on each and one on both.
struct Estate {
    house: HttpHouse,
    db: String,
    incidents: [i64; 3],
    alerts: [String; 2],
    /// An analyst of the group `web` alone.
    web: String,
    _sensor: TestSensor,
}

impl Estate {
    async fn open(database: Option<String>) -> Self {
        let house = HttpHouse::with_jobs(database).await;
        let token = house.server.token().await.unwrap();
        let identity = enrol(house.server.gateway(), &token, "db-1").await.unwrap();
        let db = identity.device.to_string();
        let mut sensor = TestSensor::connect(identity, house.server.gateway(), boot(2)).await.unwrap();
        let rows = [job(51, "job evil three"), job(52, "job good")];
        let batch = garrison_telemetry::batch_from_json("DeviceProcessEvents", &rows).unwrap();
        sensor.send("DeviceProcessEvents", &batch).await.unwrap();
        sensor.settle().await.unwrap();
        for (id, prefix) in [("web", "web"), ("db", "db")] {
            let rules = json!([{"property": "name", "operator": "startsWith", "value": prefix}]);
            let body = json!({"name": format!("Group {id}"), "rules": rules});
            let (status, made) = house.call(Method::PUT, &format!("/api/v1/device-groups/{id}"), Some(&body)).await;
            assert_eq!((status, &made["deviceCount"]), (200, &json!(1)), "{made}");
        }
        let (mut incidents, mut alerts) = (Vec::new(), Vec::new());
        for filter in ["| where DeviceName == 'web-1'", "| where DeviceName == 'db-1'", ""] {
            let rows = house.rows(&format!("{QUERY} {filter}")).await;
            let body = json!({"title": format!("Evil {filter}"), "query": QUERY, "timespan": "P1D", "rows": rows});
            let (status, made) = house.post("/api/v1/hunting/incidents", &body).await;
            assert_eq!(status, 201, "{made}");
            incidents.push(made["incidentId"].as_i64().unwrap());
            alerts.push(made["alertIds"][0].as_str().unwrap().to_owned());
        }
        let body = json!({"name": "web analyst", "role": "analyst", "deviceGroups": ["web"]});
        let (status, made) = house.post("/api/v1/api-tokens", &body).await;
        assert_eq!(status, 201, "{made}");
        let web = made["token"].as_str().unwrap().to_owned();
        alerts.truncate(2);
        let (incidents, alerts) = (incidents.try_into().unwrap(), alerts.try_into().unwrap());
        Self { house, db, incidents, alerts, web, _sensor: sensor }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let body = (!body.is_null()).then_some(&body);
        self.house.ask(token, method, &format!("/api/v1{path}"), body).await
    }

    async fn token(&self, body: Value) -> String {
        let (status, made) = self.house.post("/api/v1/api-tokens", &body).await;
        assert_eq!(status, 201, "{made}");
        made["token"].as_str().unwrap().to_owned()
    }
}

async fn contract(database: Option<String>) {
    let estate = Estate::open(database).await;
    a_group_is_all_that_its_analyst_sees(&estate).await;
    scopes_bind_tokens(&estate).await;
    nobody_gives_what_he_lacks(&estate).await;
    every_route_asks_for_its_action(&estate).await;
    each_role_does_what_it_lists_and_no_more(&estate).await;
    another_tenants_ids_are_not_there(&estate).await;
    the_audit_log_proves_itself(&estate).await;
}

async fn a_group_is_all_that_its_analyst_sees(estate: &Estate) {
    let names = |body: &Value, key: &str| -> Vec<String> {
        let all = body["items"].as_array().unwrap();
        let mut names: Vec<String> = all.iter().map(|d| d[key].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let (_, devices) = estate.ask(&estate.web, "GET", "/devices", Value::Null).await;
    assert_eq!(names(&devices, "computerDnsName"), ["web-1"]);
    assert_eq!(devices["total"], 1);
    let (_, alerts) = estate.ask(&estate.web, "GET", "/alerts", Value::Null).await;
    assert!(names(&alerts, "computerDnsName").iter().all(|n| n == "web-1"), "{alerts}");
    assert_eq!(alerts["total"].as_i64(), Some(alerts["items"].as_array().unwrap().len() as i64));
    let (_, incidents) = estate.ask(&estate.web, "GET", "/incidents", Value::Null).await;
    assert_eq!(incidents["items"].as_array().unwrap().len(), 1, "{incidents}");
    let ([own, theirs, both], [mine, foreign]) = (estate.incidents, &estate.alerts);
    let (web, db) = (&estate.house.device, &estate.db);
    let note = json!({"comment": "seen"});
    for (method, path, body, expected) in [
        ("GET", format!("/devices/{web}"), Value::Null, 200),
        ("GET", format!("/devices/{db}"), Value::Null, 404),
        ("GET", format!("/devices/{db}/timeline"), Value::Null, 404),
        ("GET", format!("/devices/{db}/losses"), Value::Null, 404),
        ("PATCH", format!("/devices/{db}"), json!({"machineTags": []}), 404),
        ("PATCH", format!("/devices/{web}"), json!({"machineTags": ["mine"]}), 200),
        ("GET", format!("/alerts/{mine}"), Value::Null, 200),
        ("GET", format!("/alerts/{foreign}"), Value::Null, 404),
        ("GET", format!("/alerts/{foreign}/audit"), Value::Null, 404),
        ("POST", format!("/alerts/{mine}/comments"), note.clone(), 200),
        ("POST", format!("/alerts/{foreign}/comments"), note.clone(), 404),
        ("POST", format!("/alerts/{mine}/move"), json!({"incident": theirs}), 404),
        ("GET", format!("/incidents/{own}"), Value::Null, 200),
        ("GET", format!("/incidents/{theirs}"), Value::Null, 404),
        ("GET", format!("/incidents/{both}"), Value::Null, 404),
        ("GET", format!("/incidents/{both}/story"), Value::Null, 404),
        ("POST", format!("/incidents/{own}/merge"), json!({"into": theirs}), 404),
        ("GET", format!("/events?device={db}"), Value::Null, 404),
        ("GET", "/suppressions".to_owned(), Value::Null, 403),
        ("GET", "/users".to_owned(), Value::Null, 403),
    ] {
        let (status, answer) = estate.ask(&estate.web, method, &path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
    }
    for query in [
        "DeviceProcessEvents | distinct DeviceName",
        "union DeviceProcessEvents, DeviceNetworkEvents | distinct DeviceName",
        "DeviceProcessEvents | where DeviceName == 'db-1' or true | distinct DeviceName",
        "let t = DeviceProcessEvents; t | join kind=inner (t | project DeviceId) on DeviceId | distinct DeviceName",
    ] {
        let (status, answer) = estate.ask(&estate.web, "POST", "/hunting/run", json!({"query": query})).await;
        assert_eq!((status, &answer["rows"]), (200, &json!([["web-1"]])), "{query}: {answer}");
        let (_, whole) = estate.ask(&estate.house.reader, "POST", "/hunting/run", json!({"query": query})).await;
        assert_eq!(whole["rows"].as_array().unwrap().len(), 2, "{query}: {whole}");
    }
    let path = "/v1.0/security/runHuntingQuery";
    let body = json!({"Query": "DeviceProcessEvents | distinct DeviceName"});
    let (_, answer) = estate.house.ask(&estate.web, Method::POST, path, Some(&body)).await;
    assert_eq!(answer["results"], json!([{"DeviceName": "web-1"}]), "{answer}");
    let body = json!({"id": "web", "rank": 1, "rules": [{"property": "name", "operator": "contains", "value": "b-1"}]});
    let (status, preview) = estate.ask(&estate.house.admin, "POST", "/device-groups/preview", body).await;
    assert_eq!((status, &preview["matching"], &preview["entering"]), (200, &json!(2), &json!(1)), "{preview}");
    assert_eq!(preview["items"][0], json!({"id": db, "name": "db-1", "before": "db", "after": "web"}), "{preview}");
    // A tag moves a device at once, and the default group has what no rule fits.
    let (_, groups) = estate.ask(&estate.house.admin, "GET", "/device-groups", Value::Null).await;
    let last = groups["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["id"], &last["deviceCount"]), (&json!("ungrouped"), &json!(0)), "{groups}");
}

async fn scopes_bind_tokens(estate: &Estate) {
    let token = estate.token(json!({"name": "look", "scope": ["data.view.secops"], "expiresHours": 1})).await;
    assert_eq!(estate.ask(&token, "GET", "/devices", Value::Null).await.0, 200);
    let path = format!("/alerts/{}/comments", estate.alerts[0]);
    let (status, answer) = estate.ask(&token, "POST", &path, json!({"comment": "x"})).await;
    assert_eq!((status, &answer["code"]), (403, &json!("token_scope")), "{answer}");
    assert!(answer["title"].as_str().unwrap().contains("`alerts.investigate`"), "{answer}");
    let (status, answer) =
        estate.ask(&estate.house.admin, "POST", "/api-tokens", json!({"name": "x", "scope": ["no.such"]})).await;
    assert_eq!(status, 400, "{answer}");
    let (code, out, words) = estate.house.terminal(&[
        "token",
        "create",
        "--kind",
        "api",
        "--name",
        "ci",
        "--scope",
        "audit.view,data.view.secops",
    ]);
    assert!(code == 0 && out.starts_with("gat_"), "{words}");
    assert_eq!(estate.ask(out.trim(), "GET", "/audit", Value::Null).await.0, 200);
    assert_eq!(estate.ask(out.trim(), "GET", "/users", Value::Null).await.0, 403);
}

async fn nobody_gives_what_he_lacks(estate: &Estate) {
    let owner = &estate.house.admin;
    let admin = estate.token(json!({"name": "an admin", "role": "admin"})).await;
    for name in ["ann", "bob"] {
        let (status, made) = estate.ask(owner, "POST", "/users", json!({"name": name, "role": "reader"})).await;
        assert_eq!(status, 201, "{made}");
    }
    let give = |user: &str, role: &str| json!({"principal": user, "role": role});
    let escalated = |(status, answer): (u16, Value)| {
        assert_eq!((status, &answer["code"]), (403, &json!("access_escalation")), "{answer}");
    };
    escalated(estate.ask(&admin, "POST", "/access/assignments", give("ann", "owner")).await);
    escalated(estate.ask(&admin, "POST", "/users/admin/link", json!({})).await);
    escalated(estate.ask(&admin, "PATCH", "/users/admin", json!({"disabled": true})).await);
    escalated(estate.ask(&admin, "PUT", "/access/roles/mine", json!({"actions": ["tenant.own"]})).await);
    let (status, made) = estate.ask(&admin, "POST", "/access/assignments", give("ann", "analyst")).await;
    assert_eq!((status, &made["principal"]), (201, &json!("ann")), "{made}");
    assert_eq!(estate.ask(&admin, "POST", "/access/assignments", give("ann", "analyst")).await.0, 409);
    let path = format!("/access/assignments/{}", made["id"].as_str().unwrap());
    assert_eq!(estate.ask(&admin, "DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(estate.ask(&admin, "DELETE", &path, Value::Null).await.0, 404);
    let body = json!({"principal": "ann", "role": "analyst", "scopeKind": "DeviceGroup", "scope": "nowhere"});
    assert_eq!(estate.ask(&admin, "POST", "/access/assignments", body).await.0, 404);
    // The first user owns the installation, and the last owner stays.
    let (_, all) = estate.ask(owner, "GET", "/access/assignments", Value::Null).await;
    let first = all["items"].as_array().unwrap().iter().find(|a| a["role"] == "owner").unwrap().clone();
    assert_eq!(first["principal"], "admin");
    let path = format!("/access/assignments/{}", first["id"].as_str().unwrap());
    for (method, path, body) in
        [("DELETE", path.as_str(), Value::Null), ("PATCH", "/users/admin", json!({"disabled": true}))]
    {
        let (status, answer) = estate.ask(owner, method, path, body).await;
        assert_eq!((status, &answer["code"]), (409, &json!("last_owner")), "{method} {path}: {answer}");
    }
    // A group of users, a role of one's own, a shut door.
    assert_eq!(estate.ask(owner, "PUT", "/access/user-groups/soc", json!({"members": ["ann", "bob"]})).await.0, 204);
    assert_eq!(estate.ask(owner, "PUT", "/access/roles/auditor", json!({"actions": ["audit.view"]})).await.0, 204);
    let body = json!({"principalKind": "UserGroup", "principal": "soc", "role": "auditor"});
    assert_eq!(estate.ask(owner, "POST", "/access/assignments", body).await.0, 201);
    let identity = &estate.house.server.server.shared.identity;
    let link = identity.link_create("bob", garrison_server::now()).await.unwrap();
    let here = std::net::IpAddr::from([127, 0, 0, 1]);
    let signed = identity.sign_in_link(&link, here, garrison_server::now()).await.unwrap();
    let cookie = format!("garrison_session={}", signed.cookie);
    let get = |path: &'static str| {
        let request = reqwest::Client::new().get(estate.house.url(path)).header("cookie", &cookie);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!((get("/api/v1/audit").await, get("/api/v1/users").await), (200, 403));
    let (code, _, words) = estate.house.terminal(&["user", "disable", "bob"]);
    assert_eq!(code, 0, "{words}");
    assert_eq!(get("/api/v1/audit").await, 401);
}

/// The path of a line with its parameters filled in.
fn filled(path: &str, id: &str) -> String {
    path.replace("{id}", id).replace("{name}", id)
}

async fn every_route_asks_for_its_action(estate: &Estate) {
    let tokens = [
        ("nobody", "gat_nobody".to_owned(), None),
        (
            "audit only",
            estate.token(json!({"name": "a", "scope": ["audit.view"]})).await,
            Some(vec![Action::AuditView]),
        ),
        (
            "reader",
            estate.house.reader.clone(),
            Some(vec![Action::ViewSecops, Action::ViewVulnerability, Action::CloudView]),
        ),
    ];
    for (who, token, actions) in &tokens {
        for line in ROUTES {
            let (Gate::May(action, _), id) = (line.gate, "no-such") else { continue };
            let allowed = actions.as_ref().map(|a| a.contains(&action));
            if line.path == "/events" && allowed == Some(true) {
                continue;
            }
            let path = whole_path(&filled(line.path, id));
            let method = Method::from_bytes(line.method.as_bytes()).unwrap();
            let (status, answer) = estate.house.ask(token, method, &path, Some(&json!({}))).await;
            match allowed {
                None => assert_eq!(status, 401, "{who}: {} {path}: {answer}", line.method),
                Some(false) => assert_eq!(status, 403, "{who}: {} {path}: {answer}", line.method),
                Some(true) => assert!(!matches!(status, 401 | 403 | 500..), "{who}: {} {path}: {answer}", line.method),
            }
        }
    }
    // Whoever has a part of the tenant is refused where it is about the whole.
    for line in ROUTES.iter().filter(|l| matches!(l.gate, Gate::May(_, Target::Whole))) {
        let method = Method::from_bytes(line.method.as_bytes()).unwrap();
        let path = whole_path(&filled(line.path, "no-such"));
        let (status, answer) = estate.house.ask(&estate.web, method, &path, Some(&json!({}))).await;
        assert_eq!(status, 403, "{} {path}: {answer}", line.method);
    }
}

/// Role × route × (whole tenant, one device group): each built-in role is refused what is not on its list, and is not refused
/// what is; bound to a group it is refused what concerns the whole, and finds nothing of what lies outside.
async fn each_role_does_what_it_lists_and_no_more(estate: &Estate) {
    let (_, roles) = estate.ask(&estate.house.admin, "GET", "/access/roles", Value::Null).await;
    let roles: Vec<&Value> = roles["items"].as_array().unwrap().iter().filter(|role| role["builtIn"] == true).collect();
    assert!(roles.len() >= 5, "{roles:?}");
    for role in roles {
        let name = role["name"].as_str().unwrap();
        let holds = |action: Action| role["actions"].as_array().unwrap().contains(&json!(action.as_str()));
        let new = json!({"name": name, "scope": role["actions"], "expiresHours": 1});
        let whole = estate.token(new.clone()).await;
        let mut new = new;
        new["deviceGroups"] = json!(["web"]);
        let part = estate.token(new).await;
        for line in ROUTES {
            let Gate::May(action, target) = line.gate else { continue };
            let method = Method::from_bytes(line.method.as_bytes()).unwrap();
            let ask = async |token: &str, id: &str| {
                let path = whole_path(&filled(line.path, id));
                estate.house.ask(token, method.clone(), &path, Some(&json!({}))).await
            };
            if !holds(action) {
                for token in [&whole, &part] {
                    let (status, answer) = ask(token, "no-such").await;
                    assert_eq!(status, 403, "{name}: {} {}: {answer}", line.method, line.path);
                }
                continue;
            }
            // What a role may change is not changed here: reading is enough to tell.
            if line.method != "GET" || line.path == "/events" {
                continue;
            }
            let (status, answer) = ask(&whole, "no-such").await;
            assert!(!matches!(status, 401 | 403 | 500..), "{name}: {} {}: {status} {answer}", line.method, line.path);
            let foreign = match target {
                Target::Device => estate.db.clone(),
                Target::Alert => estate.alerts[1].clone(),
                Target::Incident => estate.incidents[1].to_string(),
                _ => "no-such".to_owned(),
            };
            let (status, answer) = ask(&part, &foreign).await;
            let right = match target {
                Target::Whole => status == 403,
                Target::Device | Target::Alert | Target::Incident => status == 404,
                _ => !matches!(status, 401 | 500..),
            };
            assert!(right, "{name} of one group: {} {}: {status} {answer}", line.method, line.path);
        }
    }
}

/// Copies every row of every table that has a tenant to another tenant, with ids of its own, and walks every route with
/// them: what is another tenant's is not there, does not show in lists, and stays as it was.
async fn another_tenants_ids_are_not_there(estate: &Estate) {
    let (owner, server) = (&estate.house.admin, &estate.house.server.server);
    let mut dbs = vec![&server.shared.db];
    dbs.extend((!server.shared.db.is(server.houses.own())).then(|| server.houses.own()));
    let id = "0f1e2d3c-0000-4000-8000-00000000aaaa";
    let new = json!({"id": id, "name": "Ours", "location": "westeurope"});
    assert_eq!(estate.ask(owner, "POST", "/subscriptions", new).await.0, 201);
    let suppression = json!({"name": "quiet", "reason": "known", "scope": {"ruleId": "x-1"}});
    let _ = estate.ask(owner, "POST", "/suppressions", suppression).await;
    let lists: Vec<&str> = ROUTES
        .iter()
        .filter(|l| l.method == "GET" && !l.path.contains('{'))
        .map(|l| l.path)
        // What tells of time, of this walk itself, or never ends.
        .filter(|p| {
            ![
                "/status",
                "/events",
                "/audit",
                "/audit/head",
                "/audit/export",
                "/audit/verify",
                "/hunting/history",
                "/hunting/runs",
                "/health",
            ]
            .contains(p)
        })
        .filter(|p| !p.starts_with("/session/"))
        .collect();
    // What waits to be counted is counted now, and not between the two looks.
    let shared = &estate.house.server.server.shared;
    shared.metering.ingest_flush(&shared.plane, &shared.tenant, garrison_server::now()).await.unwrap();
    let mut before = BTreeMap::new();
    for path in &lists {
        before.insert(*path, still(estate.ask(owner, "GET", path, Value::Null).await));
    }
    let (mut planted, mut tables) = (BTreeMap::new(), 0);
    for db in &dbs {
        tables += plant(db, &mut planted).await;
    }
    assert!(tables > 20 * dbs.len(), "{tables}");
    let ids: Vec<String> = planted.values().flatten().cloned().collect();
    assert!(planted["incidents_alert"].len() >= 2 && !planted["plane_subscriptions"].is_empty(), "{planted:?}");
    let theirs = contents(&dbs).await;
    // A row that is changed in place is seen.
    for (sql, same) in [
        ("UPDATE plane_subscriptions SET location = 'moved' || location WHERE tenant_id = 'other'", false),
        ("UPDATE plane_subscriptions SET location = substr(location, 6) WHERE tenant_id = 'other'", true),
    ] {
        for db in &dbs {
            sqlx::query(sql).execute(db.pool()).await.unwrap();
        }
        assert_eq!(theirs == contents(&dbs).await, same, "{sql}");
    }
    for path in &lists {
        let now = still(estate.ask(owner, "GET", path, Value::Null).await);
        assert_eq!(before[path], now, "{path} tells of another tenant");
    }
    for line in ROUTES.iter().filter(|l| l.path.contains("{id}")) {
        for id in &ids {
            let path = whole_path(&line.path.replace("{id}", id).replace("{name}", "EndpointProtection"));
            let method = Method::from_bytes(line.method.as_bytes()).unwrap();
            let reads = matches!(line.method, "GET" | "DELETE");
            let body = (!reads).then(|| json!({}));
            let (status, answer) = estate.house.call(method, &path, body.as_ref()).await;
            let told = if reads { status == 404 } else { matches!(status, 400 | 404 | 409) };
            assert!(told, "{} {path}: {status} {answer}", line.method);
        }
    }
    assert_eq!(theirs, contents(&dbs).await, "another tenant's rows were touched");
}

/// Copies every row of a database to another tenant, with ids of its own: some of the ids by table, and how many tables.
async fn plant(db: &garrison_server::db::Db, planted: &mut BTreeMap<String, Vec<String>>) -> usize {
    let sqlite = db.dialect() == garrison_server::db::Dialect::Sqlite;
    let tables = if sqlite {
        "SELECT m.name AS t, p.name AS c, lower(p.type) AS k FROM sqlite_master m JOIN pragma_table_info(m.name) p \
         WHERE m.type = 'table' ORDER BY m.name, p.cid"
    } else {
        "SELECT table_name::text AS t, column_name::text AS c, CASE WHEN is_identity = 'YES' THEN 'integer' ELSE \
         data_type::text END AS k FROM information_schema.columns WHERE table_schema = 'public' \
         ORDER BY table_name, ordinal_position"
    };
    let mut columns: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in sqlx::query(tables).fetch_all(db.pool()).await.unwrap() {
        columns.entry(row.get("t")).or_default().push((row.get("c"), row.get("k")));
    }
    columns.retain(|table, all| all.iter().any(|(c, _)| c == "tenant_id") && table != "access_audit");
    let mut waiting: Vec<&String> = columns.keys().collect();
    // A table may wait for the one that it refers to.
    for _ in 0..4 {
        let mut again = Vec::new();
        for table in waiting {
            let all: Vec<_> = columns[table].iter().filter(|(_, kind)| kind != "integer").collect();
            let names: Vec<&str> = all.iter().map(|(c, _)| c.as_str()).collect();
            let values = all.iter().map(|(c, k)| match (c.as_str(), k.as_str()) {
                ("tenant_id", _) => "'other'".to_owned(),
                ("id" | "identity" | "hardware", "text") => {
                    format!("CASE WHEN {c} LIKE 'f%' THEN 'e' ELSE 'f' END || substr({c}, 2)")
                }
                ("id", _) => "id + 1000000".to_owned(),
                (c, _) => c.to_owned(),
            });
            let values: Vec<String> = values.collect();
            let sql = format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {table} WHERE tenant_id = 'default'",
                names.join(", "),
                values.join(", ")
            );
            match sqlx::query(AssertSqlSafe(sql)).execute(db.pool()).await {
                Ok(_) if names.contains(&"id") => {
                    let sql = format!("SELECT CAST(id AS TEXT) AS id FROM {table} WHERE tenant_id = 'other' LIMIT 3");
                    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(db.pool()).await.unwrap();
                    planted.entry(table.clone()).or_default().extend(rows.iter().map(|r| r.get("id")));
                }
                Ok(_) => {}
                Err(_) => again.push(table),
            }
        }
        waiting = again;
    }
    assert!(waiting.is_empty(), "not planted: {waiting:?}");
    columns.len()
}

/// An answer without what sensors change by being there.
fn still((status, mut body): (u16, Value)) -> (u16, Value) {
    for item in body["items"].as_array_mut().into_iter().flatten() {
        if let Some(item) = item.as_object_mut() {
            item.remove("lastSeen");
        }
    }
    (status, body)
}

/// How many rows the other tenant has in each table, and a hash of all that is in them.
async fn contents(dbs: &[&garrison_server::db::Db]) -> BTreeMap<String, (usize, String)> {
    use sha2::{Digest as _, Sha256};
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for db in dbs {
        for (table, columns) in tenant_tables(db).await {
            let cell = |c: &String| format!("COALESCE(CAST({c} AS TEXT), 'null')");
            let line = columns.iter().map(cell).collect::<Vec<_>>().join(" || '|' || ");
            let sql = format!("SELECT {line} AS line FROM {table} WHERE tenant_id = 'other'");
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(db.pool()).await.unwrap();
            lines.entry(table).or_default().extend(rows.iter().map(|r| r.get::<String, _>("line")));
        }
    }
    let hashed = |mut rows: Vec<String>| {
        rows.sort();
        (rows.len(), hex::encode(Sha256::digest(rows.join("\n"))))
    };
    lines.into_iter().map(|(table, rows)| (table, hashed(rows))).collect()
}

/// Tables of the database that have a tenant, with their columns.
async fn tenant_tables(db: &garrison_server::db::Db) -> BTreeMap<String, Vec<String>> {
    let sql = if db.dialect() == garrison_server::db::Dialect::Sqlite {
        "SELECT m.name AS t, p.name AS c FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' \
         ORDER BY m.name, p.cid"
    } else {
        "SELECT table_name::text AS t, column_name::text AS c FROM information_schema.columns \
         WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    };
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in sqlx::query(sql).fetch_all(db.pool()).await.unwrap() {
        tables.entry(row.get("t")).or_default().push(row.get("c"));
    }
    tables.retain(|_, columns| columns.iter().any(|c| c == "tenant_id"));
    tables
}

async fn the_audit_log_proves_itself(estate: &Estate) {
    let (owner, db) = (&estate.house.admin, estate.house.server.server.houses.own());
    estate.ask(&estate.house.reader, "GET", "/devices", Value::Null).await;
    let path = format!("/devices/{}", estate.db);
    estate.ask(&estate.house.reader, "GET", &path, Value::Null).await;
    estate.ask(&estate.house.reader, "GET", "/users", Value::Null).await;
    let comment = format!("/alerts/{}/comments", estate.alerts[1]);
    let (status, _) = estate.ask(owner, "POST", &comment, json!({"comment": "a secret word"})).await;
    assert_eq!(status, 200);
    // The change above was answered, so its entry, and all before it, are there.
    for (filter, kind, who, target, status) in [
        (format!("target={}", path.trim_start_matches('/')), "Read", "reader", path.trim_start_matches('/'), 200),
        ("kind=Refused&who=reader".to_owned(), "Refused", "reader", "", 403),
        (
            format!("target={}", comment.trim_start_matches('/')),
            "Change",
            "local administrator",
            comment.trim_start_matches('/'),
            200,
        ),
    ] {
        let found = estate.house.get(&format!("/api/v1/audit?{filter}")).await;
        let first = &found["items"][0];
        assert_eq!(
            (&first["kind"], &first["who"], &first["target"], &first["status"]),
            (&json!(kind), &json!(who), &json!(target), &json!(status)),
            "{filter}: {found}"
        );
    }
    let counted = estate.house.get("/api/v1/audit?action=data.view.secops&limit=500").await;
    assert!(counted["items"].as_array().unwrap().iter().any(|e| e["count"].as_u64().is_some()), "{counted}");
    for sql in [
        "UPDATE access_audit SET who = 'somebody else'",
        "UPDATE access_audit SET line = 'another'",
        "DELETE FROM access_audit",
        "DELETE FROM access_audit WHERE seq = 1",
        "INSERT INTO access_audit SELECT * FROM access_audit WHERE seq = 1",
    ] {
        assert!(sqlx::query(sql).execute(db.pool()).await.is_err(), "{sql}");
    }
    let part = estate.house.get("/api/v1/audit/verify").await;
    assert!(part["whole"] == true && part["more"] == false && part["last"].as_i64() > Some(100), "{part}");
    let rest = estate.house.get("/api/v1/audit/verify?after=50").await;
    assert!(rest["whole"] == true && rest["after"] == 50 && rest["last"].as_i64() >= part["last"].as_i64(), "{rest}");
    let none = estate.house.get("/api/v1/audit/verify?after=999999").await;
    assert!(none["whole"] == false && none["problem"].is_string(), "{none}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.ndjson");
    let name = file.to_str().unwrap();
    let (code, _, words) = estate.house.terminal(&["audit", "export", name]);
    assert_eq!(code, 0, "{words}");
    let whole = std::fs::read_to_string(&file).unwrap();
    assert!(!whole.contains("a secret word"), "bodies are not kept");
    let (code, out, words) = estate.house.terminal(&["audit", "verify", name]);
    assert!(code == 0 && out.contains("are whole"), "{out} {words}");
    let head: SignedHead = serde_json::from_value(estate.house.get("/api/v1/audit/head").await).unwrap();
    assert!(Proof::new(Some(head), None).is_ok());
    let lines: Vec<&str> = whole.lines().collect();
    let without =
        |n: usize| lines.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, l)| format!("{l}\n")).collect::<String>();
    for (what, text, word) in [
        ("a byte", whole.replacen("\"Read\"", "\"Reed\"", 1), "was changed"),
        ("a line", without(1), "is missing"),
        ("the tail", without(lines.len() - 1), "tail is cut"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, _, words) = estate.house.terminal(&["audit", "verify", name]);
        assert!(code == 1 && words.contains(word), "{what}: {code} {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_holds_on_sqlite() {
    contract(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_holds_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed");
        return;
    };
    contract(Some(postgres.url())).await;
}
