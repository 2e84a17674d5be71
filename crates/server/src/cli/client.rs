//! Talking to the HTTP API.

use super::Globals;
use futures::StreamExt as _;
use garrison_model::Problem;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Longest line of an event stream that is kept: an alert with evidence is far smaller.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The words do not make sense.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// No server, or none that answers.
    #[error("cannot reach the server at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server refused.
    #[error("{} ({}, {})", .0.title, .0.code, .0.status)]
    Refused(Problem),
    /// What a command worked on is wrong, and what to do is known.
    #[error("{message}")]
    Document {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A local file.
    #[error("cannot read `{path}`")]
    File {
        /// Path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server answered something else than was agreed.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
    /// Done, but the answer lacks something.
    #[error("not complete: {0}")]
    Partial(String),
    /// A dry run found a difference.
    #[error("the fleet differs from the file")]
    Differs,
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// The command did its work and found something wrong.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// A usage error with a hint.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// Exit code: 1 failed, 2 usage, 3 not authorised, 4 not found, 5 cannot reach, 7 partial, 10 retry later.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Usage { .. } | Self::File { .. } | Self::Differs => 2,
            Self::Missing(_) => 4,
            Self::Unreachable { .. } => 5,
            Self::Refused(p) => match p.status {
                401 | 403 => 3,
                404 => 4,
                429 | 503 | 504 => 10,
                _ => 1,
            },
            Self::Partial(_) => 7,
            Self::Answer(_) | Self::Failed(_) | Self::Document { .. } => 1,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Document { hint, .. } => Some(hint.clone()),
            Self::Unreachable { .. } => {
                Some("is `garrison serve` running? give --server URL, or --data its folder".into())
            }
            Self::Refused(p) if p.hint.is_some() => p.hint.clone(),
            Self::Refused(p) if p.status == 401 => {
                Some("give --token, or --data the server's folder as the user it runs as".into())
            }
            _ => None,
        }
    }

    /// Says it on stderr, with what to do.
    pub fn report(&self) {
        let word = if matches!(self, Self::Partial(_) | Self::Differs) { "warning" } else { "error" };
        eprintln!("{word}: {}", told(&self.to_string()));
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            eprintln!("  because {}", told(&cause.to_string()));
            source = cause.source();
        }
        if let Some(hint) = self.hint() {
            eprintln!("hint: {}", told(&hint));
        }
    }
}

/// Words for a terminal, line by line: a file's place is shown under its line. Nothing else of them steers it.
fn told(text: &str) -> String {
    text.trim_end().lines().map(super::clean).collect::<Vec<_>>().join("\n  ")
}

/// A connection to the API.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    tenant: Option<garrison_model::TenantId>,
    http: reqwest::Client,
}

impl Client {
    /// Finds the server and the token: options, environment, then the run folder of a server on this machine.
    pub fn connect(globals: &Globals) -> Result<Self, CliError> {
        let run = globals.data.join("run");
        let found = || -> Option<String> {
            let text = std::fs::read_to_string(run.join("addresses.json")).ok()?;
            let json: Value = serde_json::from_str(&text).ok()?;
            Some(json.get("httpUrl")?.as_str()?.to_owned())
        };
        let base = globals.server.clone().or_else(found).ok_or_else(|| {
            CliError::usage(
                format!("no server is known: `{}` holds no running one", globals.data.display()),
                "start one with `garrison serve`, or give --server URL and --token",
            )
        })?;
        let token = globals.token.clone().or_else(|| std::fs::read_to_string(run.join("admin.token")).ok());
        // Fails only if a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder();
        // Without https no certificate is looked at: a machine that has none of any authority is as good.
        let http = if base.starts_with("http://") { http.tls_certs_only([]) } else { http };
        let http = http
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("garrison-cli/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| CliError::Failed(e.to_string()))?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self {
            base,
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            tenant: globals.tenant.clone(),
            http,
        })
    }

    /// Where the server is.
    pub fn base(&self) -> &str {
        &self.base
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        if let Some(tenant) = &self.tenant {
            request = request.header(crate::serve::house::TENANT_HEADER, tenant.as_str());
        }
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let reason = if error.is_timeout() { "it does not answer".to_owned() } else { "no connection".to_owned() };
        CliError::Unreachable { url: self.base.clone(), reason }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, CliError> {
        self.answer_within(request, Duration::from_mins(2)).await
    }

    async fn answer_within(&self, request: reqwest::RequestBuilder, wait: Duration) -> Result<Value, CliError> {
        let response = request.timeout(wait).send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        if status.is_success() {
            if body.is_empty() || status == StatusCode::NO_CONTENT {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&body).map_err(|e| CliError::Answer(e.to_string()));
        }
        Err(CliError::Refused(problem(status, &body)))
    }

    /// `GET`, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value, CliError> {
        self.answer(self.request(Method::GET, path)).await
    }

    /// `GET`, as text.
    pub async fn text(&self, path: &str) -> Result<String, CliError> {
        let response = self.request(Method::GET, path).send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        if !status.is_success() {
            return Err(CliError::Refused(problem(status, &body)));
        }
        String::from_utf8(body.into()).map_err(|_| CliError::Answer("no text".to_owned()))
    }

    /// `GET`, as one of the model's types.
    pub async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        typed(self.get(path).await?)
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    /// `POST` with a text body.
    pub async fn post_text(&self, path: &str, body: String) -> Result<Value, CliError> {
        self.answer(self.request(Method::POST, path).header("content-type", "application/yaml").body(body)).await
    }

    /// `PATCH` with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.answer(self.request(Method::PATCH, path).json(body)).await
    }

    /// `POST` with a JSON body, for work that takes long.
    pub async fn post_within(&self, path: &str, body: &Value, wait: Duration) -> Result<Value, CliError> {
        self.answer_within(self.request(Method::POST, path).json(body), wait).await
    }

    /// `PUT` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.answer(self.request(Method::PUT, path).json(body)).await
    }

    /// `POST` with a JSON body; the answer goes to a file as it comes.
    pub async fn download(
        &self,
        path: &str,
        body: &Value,
        wait: Duration,
        out: &mut (dyn std::io::Write + Send),
        name: &str,
    ) -> Result<(), CliError> {
        let request = self.request(Method::POST, path).json(body).timeout(wait);
        self.download_of(request, out, name).await
    }

    /// `GET`; the answer goes to a file as it comes.
    pub async fn download_get(
        &self,
        path: &str,
        out: &mut (dyn std::io::Write + Send),
        name: &str,
    ) -> Result<(), CliError> {
        self.download_of(self.request(Method::GET, path), out, name).await
    }

    async fn download_of(
        &self,
        request: reqwest::RequestBuilder,
        out: &mut (dyn std::io::Write + Send),
        name: &str,
    ) -> Result<(), CliError> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
            return Err(CliError::Refused(problem(status, &body)));
        }
        let failed = |source| CliError::Failed(format!("cannot write `{name}`: {source}"));
        let mut parts = response.bytes_stream();
        while let Some(part) = parts.next().await {
            let part = part
                .map_err(|_| CliError::Failed("the transfer broke off: the server could not finish it".to_owned()))?;
            out.write_all(&part).map_err(failed)?;
        }
        out.flush().map_err(failed)
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<Value, CliError> {
        self.answer(self.request(Method::DELETE, path)).await
    }

    /// Follows the event stream until it ends or `take` says stop.
    pub async fn follow(
        &self,
        path: &str,
        mut take: impl FnMut(&str, Value) -> std::ops::ControlFlow<()>,
    ) -> Result<(), CliError> {
        let response = self.request(Method::GET, path).send().await.map_err(|e| self.unreachable(&e))?;
        if !response.status().is_success() {
            return Err(CliError::Failed(format!("the event stream answered {}", response.status())));
        }
        let mut stream = response.bytes_stream();
        let (mut buffer, mut event, mut data) = (Vec::new(), String::new(), String::new());
        while let Some(chunk) = stream.next().await {
            buffer.extend_from_slice(&chunk.map_err(|e| self.unreachable(&e))?);
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches(['\r', '\n']);
                if let Some(name) = line.strip_prefix("event:") {
                    name.trim().clone_into(&mut event);
                } else if let Some(text) = line.strip_prefix("data:") {
                    data.push_str(text.trim_start());
                } else if line.is_empty() && !data.is_empty() {
                    if let Ok(value) = serde_json::from_str(&data)
                        && take(&event, value).is_break()
                    {
                        return Ok(());
                    }
                    data.clear();
                    event.clear();
                }
            }
            if buffer.len() + data.len() > EVENT_BYTES_MAX {
                return Err(CliError::Answer("an event is too long".to_owned()));
            }
        }
        Ok(())
    }
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice::<Problem>(body).unwrap_or_else(|_| Problem {
        code: "http".to_owned(),
        title: status.canonical_reason().unwrap_or("refused").to_owned(),
        status: status.as_u16(),
        hint: None,
        diagnostics: Vec::new(),
    })
}

/// Reads JSON as one of the model's types.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(|e| CliError::Answer(e.to_string()))
}

/// `path?a=b&…` with percent-encoding; absent values are left out.
pub fn query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let mut mark = '?';
    for (name, value) in pairs {
        let Some(value) = value else { continue };
        out.push(mark);
        mark = '&';
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b',' | b':') {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_a_query_are_encoded() {
        let path = query("/alerts", &[("q", Some("a b&c".into())), ("x", None), ("since", Some("7d".into()))]);
        assert_eq!(path, "/alerts?q=a%20b%26c&since=7d");
    }

    #[test]
    fn refusals_have_their_exit_codes() {
        let code = |status| {
            CliError::Refused(Problem { code: "x".into(), title: "x".into(), status, hint: None, diagnostics: vec![] })
                .exit_code()
        };
        assert_eq!([code(401), code(404), code(400), code(503)], [3, 4, 1, 10]);
    }

    #[test]
    fn words_of_several_lines_are_lines_and_steer_nothing() {
        assert_eq!(told("line 1: no host\nline 2: \u{1b}[31m\tx\r\n"), "line 1: no host\n  line 2: \\x1b[31m\\tx");
        assert_eq!(told("one\n"), "one");
    }
}
