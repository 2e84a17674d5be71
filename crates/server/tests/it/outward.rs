//! Continuous exports to real receivers on loopback: an HTTP receiver that fails for a while, a TLS listener, a folder,
//! and a restart of the server in the middle. Nothing is lost; what comes twice has the same id.

use crate::http_house::HttpHouse;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use garrison_testkit::TestServer;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

const SECRET: &str = "a secret of thirty-two characters";
const QUERY: &str = "DeviceProcessEvents | where ProcessCommandLine has 'evil'";

/// What an HTTP receiver took, and how often it still refuses.
#[derive(Default)]
struct Hook {
    bodies: Mutex<Vec<Value>>,
    refuse: AtomicUsize,
    refused: AtomicUsize,
}

async fn hook(State(hook): State<Arc<Hook>>, headers: HeaderMap, body: axum::body::Bytes) -> StatusCode {
    let signed = headers["x-garrison-signature"].to_str().unwrap();
    let seconds: i64 = signed.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(signed, garrison_server::exports::format::signature(SECRET.as_bytes(), seconds, &body));
    assert!((garrison_server::now().0 / 1_000_000 - seconds).abs() < 60);
    if hook.refuse.load(Ordering::SeqCst) > 0 {
        hook.refuse.fetch_sub(1, Ordering::SeqCst);
        hook.refused.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    hook.bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    StatusCode::NO_CONTENT
}

impl Hook {
    async fn listen(refuse: usize) -> (Arc<Self>, String) {
        let hook_of = Arc::new(Self { refuse: AtomicUsize::new(refuse), ..Self::default() });
        let router = axum::Router::new().route("/hook", axum::routing::post(hook)).with_state(Arc::clone(&hook_of));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (hook_of, url)
    }

    /// Records by id, with how often each came.
    fn ids(&self) -> BTreeMap<String, usize> {
        let mut ids = BTreeMap::new();
        for item in self.bodies.lock().unwrap().iter().flat_map(|b| b["items"].as_array().unwrap()) {
            *ids.entry(item["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        ids
    }
}

/// A TLS listener with a certificate of its own: gives the certificate and what came, message by message.
async fn syslog() -> (u16, String, Arc<Mutex<Vec<String>>>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let messages = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&messages);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            let mut rest = std::str::from_utf8(&all).unwrap();
            while !rest.is_empty() {
                let (length, after) = rest.split_once(' ').unwrap();
                let (message, after) = after.split_at(length.parse().unwrap());
                into.lock().unwrap().push(message.to_owned());
                rest = after;
            }
        }
    });
    (port, made.cert.pem(), messages)
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..300 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not come to be within 30 seconds");
}

/// The same server, stopped and started, allowed to go to private addresses.
async fn restart(server: TestServer) -> TestServer {
    let folder = server.stop().await.unwrap();
    TestServer::start_in(folder, |config| config.exports_private = true).await.unwrap()
}

async fn alert(house: &HttpHouse, title: &str) -> String {
    let rows = house.rows(QUERY).await;
    let body = json!({"title": title, "query": QUERY, "timespan": "P1D", "rows": rows});
    let (status, made) = house.post("/api/v1/hunting/incidents", &body).await;
    assert_eq!(status, 201, "{made}");
    made["alertIds"][0].as_str().unwrap().to_owned()
}

async fn create(house: &HttpHouse, body: Value) -> Value {
    let (status, made) = house.post("/api/v1/exports", &body).await;
    assert_eq!(status, 201, "{made}");
    assert!(!made.to_string().contains(SECRET));
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_fail_lose_nothing_over_a_restart() {
    let mut house = HttpHouse::with_jobs(None).await;
    let (hook, url) = Hook::listen(2).await;
    let webhook = json!({"name": "hook", "kind": "Webhook", "target": {"url": url}, "secret": SECRET});
    // A private address, and nobody allowed it: the export is made, and says why nothing leaves.
    let refused = create(&house, webhook.clone()).await;
    let path = format!("/api/v1/exports/{}", refused["id"].as_str().unwrap());
    let (_, told) = house.post(&format!("{path}/test"), &json!({})).await;
    assert_eq!(told["delivered"], false, "{told}");
    assert!(told["words"].as_str().unwrap().contains("allow_private_addresses"), "{told}");
    assert_eq!(house.call(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(house.call(Method::GET, &path, None).await.0, 404);
    house.server = restart(house.server).await;
    house.admin = house.server.server.shared.identity.local_token().to_owned();

    let made = create(&house, webhook).await;
    let (port, ca, messages) = syslog().await;
    let target = json!({"host": "localhost", "port": port, "caPem": ca});
    create(&house, json!({"name": "log", "kind": "Syslog", "target": target})).await;
    create(&house, json!({"name": "lines", "kind": "File", "target": {}})).await;
    let first = alert(&house, "First | of = two").await;
    until("two refusals", || hook.refused.load(Ordering::SeqCst) == 2).await;
    until("the first alert at the hook", || hook.ids().keys().any(|id| id.starts_with(&first))).await;
    until("the first alert as CEF", || !messages.lock().unwrap().is_empty()).await;
    let line = messages.lock().unwrap()[0].clone();
    assert!(line.contains("|First \\| of = two|") && line.contains(&format!("externalId={first}@")), "{line}");
    let folder = house.server.server.shared.data.join("exports/lines");
    let lines = || {
        let files = std::fs::read_dir(&folder).into_iter().flatten().map(|f| f.unwrap().path());
        let text: String = files.map(|f| std::fs::read_to_string(f).unwrap()).collect();
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).collect::<Vec<_>>()
    };
    until("the first alert in the folder", || !lines().is_empty()).await;
    assert_eq!(lines()[0]["class_uid"], 2004);

    // The receiver goes away, an alert is made, the server stops and starts, the receiver comes back.
    hook.refuse.store(usize::MAX, Ordering::SeqCst);
    let second = alert(&house, "Second").await;
    until("a refusal of the second", || hook.refused.load(Ordering::SeqCst) > 2).await;
    // Half a line, as a crash leaves it.
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    until("the second alert in the folder", || lines().iter().any(|l| l["finding_info"]["uid"] == second.as_str()))
        .await;
    let mut text = std::fs::read(&file).unwrap();
    text.extend_from_slice(b"{\"half\": ");
    std::fs::write(&file, text).unwrap();
    house.server = restart(house.server).await;
    house.admin = house.server.server.shared.identity.local_token().to_owned();
    hook.refuse.store(0, Ordering::SeqCst);
    until("the second alert at the hook", || hook.ids().keys().any(|id| id.starts_with(&second))).await;
    until("the second alert as CEF", || messages.lock().unwrap().iter().any(|m| m.contains(&second))).await;
    let third = alert(&house, "Third").await;
    until("the third alert in the folder", || {
        std::fs::read_to_string(&file).unwrap().ends_with('\n')
            && lines().iter().any(|l| l["finding_info"]["uid"] == third.as_str())
    })
    .await;
    until("the third alert at the hook", || hook.ids().keys().any(|id| id.starts_with(&third))).await;
    assert!(hook.ids().values().all(|n| *n == 1), "{:?}", hook.ids());

    // A replay gives the same records with the same ids, and the status tells of them.
    let before = hook.ids();
    let path = format!("/api/v1/exports/{}", made["id"].as_str().unwrap());
    let (status, answer) = house.post(&format!("{path}/replay"), &json!({"from": "2026-01-01T00:00:00Z"})).await;
    assert_eq!(status, 200, "{answer}");
    until("everything a second time", || hook.ids().values().all(|n| *n == 2)).await;
    assert!(hook.ids().keys().eq(before.keys()), "{:?}", hook.ids());
    let status = house.get(&path).await["status"].clone();
    assert_eq!((&status["pending"], &status["lastError"]), (&json!(0), &Value::Null), "{status}");
    assert_eq!(status["delivered"].as_i64().unwrap() as usize, 2 * before.len(), "{status}");

    // A snapshot holds every alert and says that it is one.
    let snapshot =
        json!({"name": "weekly", "kind": "Webhook", "mode": "Snapshot", "target": {"url": url}, "secret": SECRET});
    create(&house, snapshot).await;
    let marked = || hook.ids().keys().filter(|id| id.contains('#')).count();
    until("the snapshot", || marked() == before.len()).await;
    // The secret is nowhere in the database as it was given.
    let shared = &house.server.server.shared;
    let rows = sqlx::query("SELECT secret FROM exports_target").fetch_all(shared.db.pool()).await.unwrap();
    assert!(rows.iter().all(|r| !sqlx::Row::get::<String, _>(r, 0).contains(SECRET)));
    let (code, out, words) = house.terminal(&["export", "list"]);
    assert!(code == 0 && out.contains("weekly"), "{out} {words}");
}
