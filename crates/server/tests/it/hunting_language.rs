//! The language's own way through the room: over HTTP and from the terminal.

use garrison_testkit::{TestSensor, TestServer, boot, enrol, process_rows};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const TABLE: &str = "DeviceProcessEvents";
const QUERY: &str = "DeviceProcessEvents | where ProcessCommandLine has 'row' and ProcessId < 3 \
                     | project ProcessId, FileName, Timestamp | sort by ProcessId asc";

async fn with_rows() -> (TestServer, TestSensor) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TestServer::start().await.unwrap();
    let identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-1").await.unwrap();
    let mut sensor = TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap();
    sensor.send(TABLE, &process_rows(0, 10)).await.unwrap();
    sensor.settle().await.unwrap();
    (server, sensor)
}

async fn ask(server: &TestServer, path: &str, body: &Value) -> (u16, Vec<u8>) {
    let token = server.server.shared.identity.local_token();
    let url = format!("{}{path}", server.server.http_url());
    let response = reqwest::Client::new().post(url).bearer_auth(token).json(body).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

async fn json_of(server: &TestServer, path: &str, body: &Value) -> Value {
    let (status, bytes) = ask(server, path, body).await;
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_answered_in_the_shape_of_each_path() {
    let (server, _sensor) = with_rows().await;
    let own = json_of(&server, "/api/v1/hunting/run", &json!({"query": QUERY})).await;
    assert_eq!(own["columns"][0], json!({"name": "ProcessId", "type": "long"}), "{own}");
    let rows = own["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row[0].as_i64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(rows[0][1], "true");
    assert_eq!(own["completeness"]["complete"], true, "{own}");
    assert_eq!(own["resources"]["tables"], json!([TABLE]), "{own}");
    let graph = json_of(&server, "/v1.0/security/runHuntingQuery", &json!({"Query": QUERY, "Timespan": "P1D"})).await;
    assert_eq!(graph["schema"][2], json!({"name": "Timestamp", "type": "DateTime"}), "{graph}");
    assert_eq!(graph["results"][1]["ProcessId"], 1, "{graph}");
    for path in ["/api/advancedqueries/run", "/api/advancedhunting/run"] {
        let older = json_of(&server, path, &json!({"Query": QUERY})).await;
        assert_eq!(older["Schema"][1], json!({"Name": "FileName", "Type": "String"}), "{older}");
        assert_eq!(older["Results"].as_array().unwrap().len(), 3);
        assert!(older["Stats"]["ExecutionTime"].is_number() && older["Stats"]["dataset_statistics"].is_array());
    }
    let past = json!({"query": QUERY, "timespan": "2020-01-01/2020-01-02"});
    assert_eq!(json_of(&server, "/api/v1/hunting/run", &past).await["rows"], json!([]));
    let (_, lines) = ask(&server, "/api/v1/hunting/export?format=csv", &json!({"query": QUERY})).await;
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 4);
    let (_, file) = ask(&server, "/api/v1/hunting/export?format=parquet", &json!({"query": QUERY})).await;
    assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    let valid = json_of(&server, "/api/v1/hunting/validate", &json!({"query": QUERY})).await;
    assert_eq!((&valid["valid"], &valid["tables"][0]["table"]), (&json!(true), &json!(TABLE)), "{valid}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_are_answered_with_what_is_wrong() {
    let (server, _sensor) = with_rows().await;
    let deep = "(".repeat(20_000);
    let bars = "DeviceInfo ".to_owned() + &"| take 1 ".repeat(5_000);
    for text in ["\u{0}", "|", "let", "'", deep.as_str(), bars.as_str(), "../../etc/passwd", "DROP TABLE x;--", "𝕏 | 𝕏"]
    {
        let (status, bytes) = ask(&server, "/api/v1/hunting/run", &json!({"query": text})).await;
        let words = String::from_utf8_lossy(&bytes);
        let start: String = text.chars().take(20).collect();
        assert!(status == 400 || (status == 200 && text == bars), "{start}: {status} {words}");
    }
    server.stop().await.unwrap();
}

fn garrison(server: &TestServer, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_garrison"))
        .args(arguments)
        .env("GARRISON_URL", server.server.http_url())
        .env("GARRISON_TOKEN", server.server.shared.identity.local_token())
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_runs_saves_and_explains() {
    let (server, _sensor) = with_rows().await;
    let run = |arguments: &[&str], stdin: &str| {
        let output = garrison(&server, arguments, stdin);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run(&["hunt", QUERY, "-o", "csv"], "");
    assert_eq!((code, out.lines().count()), (0, 4), "{out}{err}");
    assert!(out.starts_with("ProcessId,FileName,Timestamp\n0,true,"), "{out}");
    let (code, out, err) = run(&["hunt", "-", "-o", "ndjson"], QUERY);
    assert_eq!(code, 0, "{err}");
    assert_eq!(serde_json::from_str::<Value>(out.lines().nth(2).unwrap()).unwrap()["ProcessId"], 2);
    let (code, out, _) = run(&["hunt", QUERY], "");
    assert!(code == 0 && out.contains("ProcessId") && out.contains("true"), "{out}");
    let (code, out, err) = run(&["hunt", QUERY, "--rows", "2", "-o", "json"], "");
    assert_eq!(code, 7, "{err}");
    assert!(err.contains("cut at 2 rows"), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["rows"].as_array().unwrap().len(), 2);
    let (code, out, err) = run(&["hunt", "DeviceProcessEvents\n| where NoSuchColumn == 1"], "");
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("2 | | where NoSuchColumn == 1") && err.contains("^^^^^^^^^^^^"), "{err}");
    let file = server.folder().join("rows.parquet");
    let (code, _, err) = run(&["hunt", QUERY, "-o", "parquet", "--out", file.to_str().unwrap()], "");
    assert_eq!(code, 0, "{err}");
    assert!(std::fs::read(&file).unwrap().starts_with(b"PAR1"));
    let (code, _, err) = run(&["query", "save", "Hunts/Few", QUERY], "");
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = run(&["query", "run", "Hunts/Few", "-o", "csv"], "");
    assert_eq!((code, out.lines().count()), (0, 4), "{err}");
    let (code, out, _) = run(&["query", "list"], "");
    assert!(code == 0 && out.contains("Hunts/Few"), "{out}");
    assert_eq!(run(&["query", "delete", "Few"], "").0, 0);
    assert_eq!(run(&["query", "show", "Few"], "").0, 2);
    let (code, out, _) = run(&["hunt", "--library", "-o", "json"], "");
    assert!(code == 0 && out.contains("linux-shell-from-web-server"), "{out}");
    server.stop().await.unwrap();
}
