//! A server with one device, asked over HTTP and from the terminal, with its event stream.

use futures::StreamExt as _;
use garrison_model::Role;
use garrison_testkit::{TestSensor, TestServer, boot, enrol};
use reqwest::Method;
use serde_json::{Value, json};

/// The server, tokens of an administrator and a reader, and the device `web-1`.
pub struct HttpHouse {
    pub server: TestServer,
    pub admin: String,
    pub reader: String,
    pub device: String,
    sensor: TestSensor,
}

impl HttpHouse {
    pub async fn open(database: Option<String>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = TestServer::start_with(|config| config.database_url = database).await.unwrap();
        let identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-1").await.unwrap();
        let sensor = TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap();
        let identity = &server.server.shared.identity;
        let admin = identity.local_token().to_owned();
        let (reader, _) = identity.api_token_create("reader", Role::Reader, None, server.now()).await.unwrap();
        let device = sensor.identity.device.to_string();
        Self { server, admin, reader, device, sensor }
    }

    /// Rows of the device, durable when this returns.
    pub async fn send(&mut self, table: &str, rows: &[Value]) {
        let batch = garrison_telemetry::batch_from_json(table, rows).unwrap();
        self.sensor.send(table, &batch).await.unwrap();
        self.sensor.settle().await.unwrap();
    }

    /// Three processes of mallory's: `job evil one`, `job evil two`, `job good`. No rule of the house knows them.
    pub async fn with_jobs(database: Option<String>) -> Self {
        let mut house = Self::open(database).await;
        let rows = [job(41, "job evil one"), job(42, "job evil two"), job(43, "job good")];
        house.send("DeviceProcessEvents", &rows).await;
        house
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.server.http_url())
    }

    pub async fn ask(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = reqwest::Client::new().request(method, self.url(path)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// As the administrator.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.ask(&self.admin, method, path, body).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Rows of a query, as objects without what is null.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        let (status, answer) = self.post("/api/v1/hunting/run", &json!({"query": query})).await;
        assert_eq!(status, 200, "{query}: {answer}");
        let names: Vec<&str> =
            answer["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        let object = |row: &Value| {
            let cells = names.iter().zip(row.as_array().unwrap()).filter(|(_, cell)| !cell.is_null());
            Value::Object(cells.map(|(name, cell)| ((*name).to_owned(), cell.clone())).collect())
        };
        answer["rows"].as_array().unwrap().iter().map(object).collect()
    }

    /// The program, run against the server: exit code, stdout, stderr.
    pub fn terminal(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_garrison"));
        command.args(["--server", &self.url(""), "--token", &self.admin]).args(words);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    pub async fn events(&self, token: &str) -> Events {
        let request = reqwest::Client::new().get(self.url("/api/v1/events")).bearer_auth(token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Events { bytes: response.bytes_stream().map(|b| b.unwrap().to_vec()).boxed(), buffer: String::new() }
    }
}

/// A row of a process that mallory started.
pub fn job(number: u32, command: &str) -> Value {
    let now = garrison_server::shared::rfc3339(garrison_server::now());
    json!({"Timestamp": now, "ActionType": "ProcessCreated", "FileName": "job", "FolderPath": "/opt/app/job",
        "SHA256": "ab".repeat(32), "SHA1": "cd".repeat(20), "ProcessCommandLine": command, "ProcessId": number,
        "AccountName": "mallory", "AccountSid": "1001", "ProcessUniqueId": format!("p{number}"),
        "InitiatingProcessFileName": "bash", "InitiatingProcessUniqueId": "parent", "InitiatingProcessId": 7})
}

/// A user's event stream.
pub struct Events {
    bytes: futures::stream::BoxStream<'static, Vec<u8>>,
    buffer: String,
}

impl Events {
    /// The data of the next event of a name.
    pub async fn next(&mut self, name: &str) -> Value {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.buffer = rest;
                let part = |name: &str| event.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
                if part("event:").as_deref() == Some(name) {
                    return serde_json::from_str(&part("data:").unwrap()).unwrap();
                }
                continue;
            }
            let more = self.bytes.next().await.expect("the stream goes on");
            self.buffer.push_str(&String::from_utf8_lossy(&more));
        }
    }
}
