//! Recommendations through every door, with a connector that says what it found.

use super::*;
use garrison_wire::connect::remedy::Remedy;
use reqwest::Method;
use serde_json::{Value, json};

async fn ask(server: &TestServer, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/api/v1{path}", server.server.http_url());
    let mut request = reqwest::Client::new().request(method, url).bearer_auth(token);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

/// Counts of a recommendation: healthy, unhealthy, not applicable, exempt.
async fn counts(server: &TestServer, token: &str, key: &str) -> [u64; 4] {
    let (status, body) = ask(server, token, Method::GET, "/recommendations", Value::Null).await;
    assert_eq!(status, 200, "{body}");
    let line = body["items"].as_array().unwrap().iter().find(|i| i["key"] == key).unwrap().clone();
    assert!(line["title"].is_string() && line["plan"] == "P1", "{line}");
    ["healthy", "unhealthy", "notApplicable", "exempt"].map(|name| line[name].as_u64().unwrap())
}

/// What helps against weak settings is asked of the machine, taken once, and told of.
async fn remedied(server: &TestServer, admin: &str, web: &mut FakeConnector, id: &str) {
    let configured = "edr-configuration";
    let (settings, body) = (format!("/recommendations/{configured}/fix"), json!({"machines": [id]}));
    let ok = || Some(super::done(1, "1.0.0"));
    web.facts.protection = Some(v1::Protection {
        state: "partial".into(),
        product: "ClamAV".into(),
        detail: "nothing is scanned on access".into(),
        remedies: vec!["update".into(), "scan".into(), "format".into()],
        ..v1::Protection::default()
    });
    let answer = web.report(1, 0, ok()).await;
    assert!(answer.remedies.is_empty());
    let fixed = |done: &Value| (done["items"][0]["done"] == true, done["items"][0]["message"].to_string());
    let (status, done) = ask(server, admin, Method::POST, &settings, body.clone()).await;
    let (whole, message) = fixed(&done);
    assert!(status == 200 && !whole, "switching it on is not offered: {done}");
    for part in ["ProtectionPartial: not from here", "update of signatures asked for", "quick scan asked for"] {
        assert!(message.contains(part), "{message}");
    }
    let (_, done) = ask(server, admin, Method::POST, &settings, body.clone()).await;
    assert!(fixed(&done).1.contains("quick scan asked for already"), "{done}");
    // Handed out until it is taken, which a lost answer needs, and no more then.
    for _ in 0..2 {
        let answer = web.report(1, 60, ok()).await;
        assert_eq!(web.remedies(&answer).unwrap().len(), 2);
    }
    let answer = web.report(1, 60, ok()).await;
    let out = web.remedies(&answer).unwrap();
    let of = |remedy| out.iter().find(|r| r.1 == remedy).unwrap().0.clone();
    let (update, scan) = (of(Remedy::Update), of(Remedy::Scan));
    let say = |id: &str, phase: &str, detail: &str| v1::RemedyReport {
        id: id.to_owned(),
        phase: phase.to_owned(),
        detail: detail.to_owned(),
    };
    web.remedies = vec![say(&update, "working", ""), say(&scan, "working", ""), say("ff", "done", "never asked")];
    assert!(web.report(1, 0, ok()).await.remedies.is_empty());
    web.remedies = vec![say(&update, "failed", "no mirror"), say(&scan, "done", "scanned in 3 s, nothing found")];
    for _ in 0..2 {
        web.report(1, 0, ok()).await;
    }
    let (_, history) = ask(server, admin, Method::GET, &format!("/machines/{id}/extension-history"), Value::Null).await;
    let lines: Vec<(&str, &str)> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (l["state"].as_str().unwrap(), l["detail"].as_str().unwrap()))
        .filter(|l| l.0.starts_with("Remed"))
        .collect();
    assert_eq!(lines.len(), 2, "each ends once: {history}");
    assert!(lines.iter().any(|l| l.0 == "Remedied" && l.1.ends_with("scanned in 3 s, nothing found")), "{lines:?}");
    let weak = format!("/recommendations/{configured}/resources?state=Unhealthy");
    let (_, page) = ask(server, admin, Method::GET, &weak, Value::Null).await;
    assert!(page["items"][0]["findings"][1]["message"].as_str().unwrap().ends_with("failed, no mirror"), "{page}");
    // All is well, and then there is nothing to ask.
    let now = server.now().0 / 1_000_000;
    let all = Some(v1::Protection {
        state: "on".into(),
        signatures_time: now,
        quick_scan_time: now,
        ..v1::Protection::default()
    });
    let weak = std::mem::replace(&mut web.facts.protection, all);
    web.report(1, 0, ok()).await;
    assert_eq!(counts(server, admin, configured).await, [1, 0, 0, 0]);
    let (_, done) = ask(server, admin, Method::POST, &settings, body).await;
    assert!(fixed(&done).0 && fixed(&done).1.contains("nothing to do"), "{done}");
    web.facts.protection = weak;
    web.report(1, 0, ok()).await;
}

async fn contract(server: TestServer) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    lay_package(&server, "garrison-sensor-1.0.0-x64.tar.zst", b"any bytes");
    let (gateway, s) = (server.gateway().to_string(), &server.server);
    let admin = s.shared.identity.local_token().to_owned();
    let prod = subscription(s, None).await;
    let mut web = FakeConnector::enrol(&gateway, &token(s, 1).await, "web").await.unwrap();
    let (installed, configured) = ("edr-installed", "edr-configuration");
    assert_eq!(counts(&server, &admin, installed).await, [0, 0, 1, 0], "it has not reported yet");
    // No plan, and a product that is installed and does not run.
    let product = |process: &str| {
        let (name, package, process) = ("Sophos".into(), "sophos-spl".into(), process.into());
        Some(v1::SecurityProducts { found: vec![v1::SecurityProduct { name, package, process }] })
    };
    web.facts.security_products = product("");
    web.report(0, 0, None).await;
    s.connect.flush().await.unwrap();
    let resources = format!("/recommendations/{installed}/resources");
    let (_, page) = ask(&server, &admin, Method::GET, &resources, Value::Null).await;
    let first = &page["items"][0];
    assert_eq!((&first["state"], &first["name"]), (&json!("Unhealthy"), &json!("web")), "{page}");
    assert_eq!(first["findings"][0]["code"], "ProductStopped");
    assert_eq!(first["findings"][1]["code"], "PlanMissing");
    let id = first["machineId"].as_str().unwrap().to_owned();
    // It runs: healthy. Settings are not checked, since our sensor is not there.
    web.facts.security_products = product("sophos_watchdog");
    web.report(0, 0, None).await;
    assert_eq!(counts(&server, &admin, installed).await, [1, 0, 0, 0]);
    assert_eq!(counts(&server, &admin, configured).await, [0, 0, 1, 0]);
    let (_, page) = ask(&server, &admin, Method::GET, &resources, Value::Null).await;
    assert_eq!(page["items"][0]["discovered"], json!(["Sophos"]));
    // Gone, excluded, integration off: fix does all three steps, and the order goes out.
    web.facts.security_products = Some(v1::SecurityProducts::default());
    web.report(0, 0, None).await;
    let scope = web.answer.resource_id.clone();
    let (status, _) =
        ask(&server, &admin, Method::POST, "/exclusions", json!({"scope": scope, "reason": "test"})).await;
    assert_eq!(status, 201);
    let integration = format!("/subscriptions/{prod}/integration");
    assert_eq!(ask(&server, &admin, Method::PUT, &integration, json!({"enabled": false})).await.0, 200);
    let fix = format!("/recommendations/{installed}/fix");
    let (status, done) = ask(&server, &admin, Method::POST, &fix, json!({"machines": [id]})).await;
    assert_eq!((status, &done["items"][0]["done"]), (200, &json!(true)), "{done}");
    let words = done["items"][0]["message"].as_str().unwrap();
    for part in ["Plan 1 set", "exclusion ex", "integration switched on"] {
        assert!(words.contains(part), "{words}");
    }
    s.connect.reconcile_all().await.unwrap();
    let answer = web.report(0, 60, None).await;
    assert_eq!(web.opened(&answer).deed, "install");
    web.report(1, 0, Some(super::done(1, "1.0.0"))).await;
    assert_eq!(counts(&server, &admin, installed).await, [1, 0, 0, 0]);
    // Settings: nothing known, then weak.
    assert_eq!(counts(&server, &admin, configured).await, [0, 0, 1, 0]);
    web.facts.protection = Some(v1::Protection { state: "off".into(), ..v1::Protection::default() });
    web.report(1, 0, Some(super::done(1, "1.0.0"))).await;
    assert_eq!(counts(&server, &admin, configured).await, [0, 1, 0, 0]);
    let weak = format!("/recommendations/{configured}/resources?state=Unhealthy&subscription={prod}");
    let (_, page) = ask(&server, &admin, Method::GET, &weak, Value::Null).await;
    let codes: Vec<_> = page["items"][0]["findings"].as_array().unwrap().iter().map(|f| f["code"].clone()).collect();
    assert_eq!(codes, ["ProtectionOff", "SignaturesOutdated", "ScansOld"]);
    let settings = format!("/recommendations/{configured}/fix");
    let body = json!({"machines": [id]});
    let (_, done) = ask(&server, &admin, Method::POST, &settings, body.clone()).await;
    assert_eq!(done["items"][0]["done"], false, "nothing can be done on the machine: {done}");
    remedied(&server, &admin, &mut web, &id).await;
    // Exempt, refused without reason or with an end that is over, ended again.
    let exemptions = format!("/recommendations/{configured}/exemptions");
    for body in [
        json!({"scope": scope, "category": "Waiver", "reason": " "}),
        json!({"scope": scope, "category": "Waiver", "reason": "x", "expires": "2001-01-01T00:00:00Z"}),
    ] {
        assert_eq!(ask(&server, &admin, Method::POST, &exemptions, body).await.0, 400);
    }
    let missing = scope.replace("/web", "/nobody");
    let body = json!({"scope": missing, "category": "Waiver", "reason": "x"});
    assert_eq!(ask(&server, &admin, Method::POST, &exemptions, body).await.0, 404);
    let body = json!({"scope": scope, "category": "Mitigated", "reason": "x", "expires": "2199-01-01T00:00:00Z"});
    let (status, made) = ask(&server, &admin, Method::POST, &exemptions, body).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(counts(&server, &admin, configured).await, [0, 0, 0, 1]);
    assert_eq!(counts(&server, &admin, installed).await, [1, 0, 0, 0], "only from the one it was made for");
    let one = format!("{exemptions}/{}", made["id"].as_str().unwrap());
    let other = one.replace(configured, installed);
    assert_eq!(ask(&server, &admin, Method::DELETE, &other, Value::Null).await.0, 404);
    assert_eq!(ask(&server, &admin, Method::DELETE, &one, Value::Null).await.0, 204);
    assert_eq!(counts(&server, &admin, configured).await, [0, 1, 0, 0]);
    // What does not exist, and who may not.
    assert_eq!(ask(&server, &admin, Method::GET, "/recommendations/x/resources", Value::Null).await.0, 404);
    let strange = MachineId::from_bits(9);
    assert_eq!(ask(&server, &admin, Method::POST, &fix, json!({"machines": [id, strange]})).await.0, 404);
    assert_eq!(ask(&server, &admin, Method::POST, &fix, json!({"machines": []})).await.0, 400);
    let reader = s.shared.identity.api_token_create("r", garrison_model::Role::Reader, None, server.now()).await;
    let (reader, _) = reader.unwrap();
    assert_eq!(counts(&server, &reader, configured).await, [0, 1, 0, 0]);
    assert_eq!(ask(&server, &reader, Method::POST, &fix, json!({"machines": [id]})).await.0, 403);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn recommendations_follow_what_machines_say_on_sqlite() {
    contract(TestServer::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recommendations_follow_what_machines_say_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed");
        return;
    };
    contract(TestServer::start_with(|c| c.database_url = Some(postgres.url())).await.unwrap()).await;
}
