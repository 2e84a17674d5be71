//! Changes of recommendations to receivers on loopback, and the same to an object store that speaks S3.

use super::*;
use axum::extract::State;
use garrison_server::config::Config;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Taken = Arc<Mutex<Vec<Value>>>;

async fn hook(State(taken): State<Taken>, body: axum::body::Bytes) -> axum::http::StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    taken.lock().unwrap().extend(body["items"].as_array().unwrap().iter().cloned());
    axum::http::StatusCode::NO_CONTENT
}

async fn receiver() -> (Taken, String) {
    let taken = Taken::default();
    let router = axum::Router::new().route("/hook", axum::routing::post(hook)).with_state(Arc::clone(&taken));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (taken, url)
}

async fn create(server: &TestServer, body: Value) {
    let url = format!("{}/api/v1/exports", server.server.http_url());
    let admin = server.server.shared.identity.local_token().to_owned();
    let made = reqwest::Client::new().request(Method::POST, url).bearer_auth(admin).json(&body).send().await.unwrap();
    assert_eq!(made.status().as_u16(), 201, "{}", made.text().await.unwrap());
}

/// Waits until something holds: states are looked for every 30 seconds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(100);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come to be");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// States of the machine under one recommendation, in the order that they came.
fn states(taken: &Taken, key: &str) -> Vec<(String, bool)> {
    let all = taken.lock().unwrap();
    let of_key = all.iter().filter(|r| r["kind"] == "Recommendations" && r["data"]["recommendation"] == key);
    of_key.map(|r| (r["data"]["state"].as_str().unwrap().to_owned(), r["isSnapshot"] == true)).collect()
}

const SECRET: &str = "a secret of thirty-two characters";

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_recommendations_go_out_once_each_and_a_snapshot_holds_all() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let python = crate::cluster::python();
    let mut processes = crate::cluster::Processes(Vec::new());
    let store = python.as_ref().ok().map(|python| {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("garrison.toml");
        std::fs::write(
            &config,
            crate::cluster::configuration(processes.object_store(python), &folder.path().join("reader.key")),
        )
        .unwrap();
        Config::load(&config, folder.path()).unwrap().object_store.unwrap()
    });
    let server = TestServer::start_with(|c| {
        c.exports_private = true;
        (c.encryption, c.object_store) = (store.is_none(), store.clone());
    })
    .await
    .unwrap();
    let (gateway, s) = (server.gateway().to_string(), &server.server);
    let recommend = garrison_server::recommend::Recommend::new(&s.shared, &s.connect);
    subscription(s, None).await;
    let mut web = FakeConnector::enrol(&gateway, &token(s, 1).await, "web").await.unwrap();
    web.report(0, 0, None).await;
    s.connect.flush().await.unwrap();
    // It lacks protection; seen before anybody exports it.
    recommend.states_keep(server.now()).await.unwrap();
    let kept = recommend.states_after(&(0, String::new()), i64::MAX, 10).await.unwrap();
    assert_eq!(kept.iter().map(|c| c.state.as_str()).collect::<Vec<_>>(), ["NotApplicable", "Unhealthy"], "{kept:?}");
    assert_eq!(recommend.states_keep(server.now()).await.unwrap(), 0, "what is as it was is no change");
    let (taken, url) = receiver().await;
    let (whole, whole_url) = receiver().await;
    let what = json!(["Recommendations"]);
    let target = |url: &str| json!({"url": url});
    create(
        &server,
        json!({"name": "stream", "kind": "Webhook", "what": what, "target": target(&url), "secret": SECRET}),
    )
    .await;
    create(
        &server,
        json!({"name": "weekly", "kind": "Webhook", "mode": "Snapshot", "what": what, "target": target(&whole_url),
            "secret": SECRET}),
    )
    .await;
    create(&server, json!({"name": "lines", "kind": "File", "what": what, "target": {}})).await;
    if store.is_some() {
        let target = json!({"prefix": "siem/garrison"});
        create(&server, json!({"name": "bucket", "kind": "Object", "what": what, "target": target})).await;
    } else {
        println!("the object store is skipped because moto cannot be installed");
    }
    until("the snapshot", || states(&whole, "edr-installed") == [("Unhealthy".to_owned(), true)]).await;
    assert_eq!(states(&whole, "edr-configuration"), [("NotApplicable".to_owned(), true)]);
    // A product of another vendor runs: healthy. What was before the export was made is not told by the stream.
    let (name, package, process) = ("Sophos".into(), "sophos-spl".into(), "sophos_watchdog".into());
    let found = vec![v1::SecurityProduct { name, package, process }];
    web.facts.security_products = Some(v1::SecurityProducts { found });
    web.report(0, 0, None).await;
    until("the machine is healthy", || states(&taken, "edr-installed") == [("Healthy".to_owned(), false)]).await;
    let first = taken.lock().unwrap()[0].clone();
    assert_eq!((&first["data"]["before"], &first["data"]["discovered"]), (&json!("Unhealthy"), &json!(["Sophos"])));
    assert!(first["id"].as_str().unwrap().contains("/edr-installed@"), "{first}");
    // Exempt, by a person.
    let exemption = garrison_server::recommend::ExemptionNew {
        scope: web.answer.resource_id.parse().unwrap(),
        category: garrison_server::recommend::Category::Waiver,
        reason: "test".into(),
        expires: None,
    };
    let key = garrison_server::recommend::Key::Installed;
    let sees = garrison_server::access::Sees::everything();
    recommend.exemption_create(key, &exemption, &sees, "amy", server.now()).await.unwrap();
    until("the exemption", || states(&taken, "edr-installed").last().is_some_and(|s| s.0 == "Exempt")).await;
    assert_eq!(states(&taken, "edr-installed").len(), 2, "each change once");
    // The same as OCSF, in a file and in the bucket.
    let folder = server.folder().join("exports/lines");
    let lines = |text: String| -> Vec<Value> { text.lines().map(|l| serde_json::from_str(l).unwrap()).collect() };
    let in_file = || {
        let files = std::fs::read_dir(&folder).into_iter().flatten().map(|f| f.unwrap().path());
        lines(files.map(|f| std::fs::read_to_string(f).unwrap()).collect())
    };
    until("two lines in the file", || in_file().len() == 2).await;
    let passed = &in_file()[0];
    assert_eq!((&passed["class_uid"], &passed["compliance"]["status_id"]), (&json!(2003), &json!(1)), "{passed}");
    if let Some(store) = &store {
        use futures::StreamExt as _;
        use object_store::{ObjectStore as _, ObjectStoreExt as _};
        let bucket = garrison_lake::Bucket::open(store).unwrap();
        let end = Instant::now() + Duration::from_secs(100);
        let found = loop {
            let mut text = String::new();
            let prefix = object_store::path::Path::from(format!("{}/siem/garrison", bucket.prefix()));
            let mut names: Vec<_> = bucket.store().list(Some(&prefix)).map(|o| o.unwrap().location).collect().await;
            names.sort();
            for name in names {
                let bytes = bucket.store().get(&name).await.unwrap().bytes().await.unwrap();
                text.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            let found = lines(text);
            if found.len() == 2 {
                break found;
            }
            assert!(Instant::now() < end, "{found:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert!(found.iter().all(|l| l["class_uid"] == 2003), "{found:?}");
        assert_eq!(found[1]["compliance"]["status"], "Exempt");
    }
    server.stop().await.unwrap();
}
