//! Progress of a running query, asked for and on the event stream.

use futures::StreamExt as _;
use garrison_model::Role;
use garrison_testkit::{TestSensor, TestServer, boot, enrol, process_rows};
use serde_json::{Value, json};
use uuid::Uuid;

/// Every process with every other, twice over: it does not end by itself.
const ENDLESS: &str = "DeviceProcessEvents | project a = ProcessCommandLine, k = 1 \
    | join kind=inner (DeviceProcessEvents | project b = ProcessCommandLine, k = 1) on k \
    | join kind=inner (DeviceProcessEvents | project c = ProcessCommandLine, k = 1) on k \
    | summarize n = count() by strcat(a, b, c) | sort by n";

/// Events of a user's stream, by name.
struct Stream {
    bytes: futures::stream::BoxStream<'static, Vec<u8>>,
    buffer: String,
}

impl Stream {
    async fn open(url: &str, token: &str) -> Self {
        let request = reqwest::Client::new().get(format!("{url}/api/v1/events")).bearer_auth(token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Self { bytes: response.bytes_stream().map(|b| b.unwrap().to_vec()).boxed(), buffer: String::new() }
    }

    /// The next progress of a query.
    async fn progress(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.buffer = rest;
                let part = |name: &str| event.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
                if part("event:").as_deref() == Some("huntProgress") {
                    return serde_json::from_str(&part("data:").unwrap()).unwrap();
                }
                continue;
            }
            let more = self.bytes.next().await.expect("the stream goes on");
            self.buffer.push_str(&String::from_utf8_lossy(&more));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_of_a_query_is_told_to_its_user_alone_on_the_stream_and_when_asked() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TestServer::start().await.unwrap();
    let identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-1").await.unwrap();
    let mut sensor = TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap();
    sensor.send("DeviceProcessEvents", &process_rows(0, 3_000)).await.unwrap();
    sensor.settle().await.unwrap();
    server.server.shared.lake.flush().await.unwrap();
    let url = server.server.http_url();
    let tokens = &server.server.shared.identity;
    let admin = tokens.local_token().to_owned();
    let (reader, _) = tokens.api_token_create("reader", Role::Reader, None, server.now()).await.unwrap();
    let run = |token: String| {
        let (id, url) = (Uuid::now_v7(), url.clone());
        let task = tokio::spawn(async move {
            let request = reqwest::Client::new().post(format!("{url}/api/v1/hunting/run")).bearer_auth(token);
            let response = request.json(&json!({"query": ENDLESS, "id": id})).send().await.unwrap();
            response.json::<Value>().await.unwrap()
        });
        (id.to_string(), task)
    };
    let path = |id: &str| format!("{url}/api/v1/hunting/runs/{id}");
    let client = reqwest::Client::new();
    let (mut own, mut other) = (Stream::open(&url, &admin).await, Stream::open(&url, &reader).await);

    let (first, waiting) = run(admin.clone());
    let running = loop {
        let told = own.progress().await;
        assert_eq!(told["id"], first);
        assert!(told.get("query").is_none(), "whoever asked knows the text");
        if told["state"] == "Running" && told["rowsScanned"].as_u64() >= Some(3_000) {
            break told;
        }
    };
    assert_eq!((running["filesTotal"].as_u64(), running["filesRead"].as_u64()), (Some(3), Some(3)), "{running}");
    assert!(running["filesDone"].as_u64() <= Some(3) && running["bytesScanned"].as_u64() > Some(0), "{running}");
    let asked: Value = client.get(path(&first)).bearer_auth(&admin).send().await.unwrap().json().await.unwrap();
    assert_eq!((&asked["query"], &asked["state"]), (&json!(ENDLESS), &json!("Running")), "{asked}");
    assert_eq!(client.get(path(&first)).bearer_auth(&reader).send().await.unwrap().status().as_u16(), 404);

    // The reader's stream tells of the reader's query only, though the other one runs on.
    let (second, cancelled) = run(reader.clone());
    assert_eq!(other.progress().await["id"], second);
    for (token, id) in [(&reader, &second), (&admin, &first)] {
        assert_eq!(client.delete(path(id)).bearer_auth(token).send().await.unwrap().status().as_u16(), 204);
    }
    for (stream, id) in [(&mut own, &first), (&mut other, &second)] {
        loop {
            let told = stream.progress().await;
            assert_eq!(&told["id"], id);
            if told["state"] == "Ended" {
                break;
            }
        }
    }
    for answer in [waiting, cancelled] {
        assert_eq!(answer.await.unwrap()["code"], "query_cancelled");
    }
    server.stop().await.unwrap();
}
