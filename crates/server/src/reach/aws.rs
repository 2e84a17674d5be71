//! AWS in four calls: EC2 `DescribeInstances` (query protocol, version 2016-11-15, XML), SSM `SendCommand` and
//! `GetCommandInvocation` (JSON 1.1), signed as Signature Version 4. Shapes are those of the public API references.

mod sign;
mod xml;

use super::cloud::{Cloud, CloudError, Ended, INSTANCES_MAX, Instance};
use serde_json::{Value, json};
use sign::{Keys, Request, sign};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer: a page of 1,000 machines has about 5 MB.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Machines of a page, as many as the API gives.
const PAGE: usize = 1_000;
/// Machines of one `SendCommand`, as many as the API takes.
const TARGETS: usize = 50;
/// Seconds that a command may take on a machine.
const COMMAND_SECONDS: u32 = 600;
/// Characters of a cloud's words that are told on.
const WORDS_MAX: usize = 300;

/// One region of one account.
pub struct Aws {
    keys: Keys,
    region: String,
    /// Another address than AWS's own, such as a stand-in.
    endpoint: Option<String>,
    client: reqwest::Client,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").field("region", &self.region).finish_non_exhaustive()
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

/// Whether a text can be a region, such as `eu-central-1`: it becomes a part of a host's name.
pub fn is_region(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl Aws {
    /// For a region, with the text of a secret (`ID:SECRET[:SESSION]`).
    pub fn new(secret: &str, region: &str, endpoint: Option<&str>) -> Result<Self, String> {
        if !is_region(region) {
            return Err("a region has lower letters, digits and dashes, such as eu-central-1".to_owned());
        }
        if let Some(endpoint) = endpoint {
            let url = reqwest::Url::parse(endpoint).map_err(|e| format!("the endpoint is no address: {e}"))?;
            if !matches!(url.scheme(), "http" | "https") || url.path() != "/" || url.query().is_some() {
                return Err("the endpoint is http(s)://HOST[:PORT]".to_owned());
            }
        }
        let keys = Keys::parse(secret).ok_or("the secret is no access key")?;
        // Whoever was first has installed it, and that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(CALL_MAX).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|e| format!("cannot make a client: {e}"))?;
        let endpoint = endpoint.map(|e| e.trim_end_matches('/').to_owned());
        Ok(Self { keys, region: region.to_owned(), endpoint, client })
    }

    fn address(&self, service: &str) -> String {
        let china = if self.region.starts_with("cn-") { ".cn" } else { "" };
        self.endpoint.clone().unwrap_or_else(|| format!("https://{service}.{}.amazonaws.com{china}", self.region))
    }

    async fn call(
        &self,
        service: &str,
        kind: &str,
        target: Option<&str>,
        body: String,
    ) -> Result<(bool, String), CloudError> {
        let unreachable = |e: reqwest::Error| CloudError::Unreachable(cut(&e.without_url().to_string()));
        let address = self.address(service);
        let url = reqwest::Url::parse(&address).map_err(|_| CloudError::Answer("the endpoint"))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(CloudError::Answer("the endpoint")),
        };
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("content-type".to_owned(), kind.to_owned()), ("host".to_owned(), host)];
        headers.push(("x-amz-date".to_owned(), now.clone()));
        if let Some(session) = &self.keys.session {
            headers.push(("x-amz-security-token".to_owned(), session.clone()));
        }
        if let Some(target) = target {
            headers.push(("x-amz-target".to_owned(), target.to_owned()));
        }
        let signed = Request { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
        let authorization = sign(&self.keys, &signed, &self.region, service, &now);
        let mut request = self.client.post(url).body(body).header("authorization", authorization);
        for (name, value) in headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let ok = response.status().is_success();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(CloudError::Answer("it is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes).map_err(|_| CloudError::Answer("it is no text"))?;
        Ok((ok, text))
    }

    async fn ssm(&self, name: &str, body: &Value) -> Result<Value, CloudError> {
        let target = format!("AmazonSSM.{name}");
        let (ok, text) = self.call("ssm", "application/x-amz-json-1.1", Some(&target), body.to_string()).await?;
        let value: Value = serde_json::from_str(&text).map_err(|_| CloudError::Answer("it is no JSON"))?;
        if ok {
            return Ok(value);
        }
        let field = |keys: [&str; 2]| keys.into_iter().find_map(|k| value.get(k)?.as_str()).unwrap_or_default();
        let code = field(["__type", "code"]);
        let code = cut(code.rsplit('#').next().unwrap_or(code));
        Err(CloudError::Refused { code, message: cut(field(["message", "Message"])) })
    }
}

/// A text as a value of a form (RFC 3986).
fn form(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[async_trait::async_trait]
impl Cloud for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        let mut all: Vec<Instance> = Vec::new();
        let mut next = String::new();
        // A page that brings nothing new and names a next one would go on for ever; this bound ends it.
        for _ in 0..=INSTANCES_MAX / PAGE * 2 {
            let mut body = format!("Action=DescribeInstances&MaxResults={PAGE}&Version=2016-11-15");
            if !next.is_empty() {
                body.push_str(&format!("&NextToken={}", form(&next)));
            }
            let kind = "application/x-www-form-urlencoded; charset=utf-8";
            let (ok, text) = self.call("ec2", kind, None, body).await?;
            if !ok {
                let (code, message) = xml::refusal(&text).ok_or(CloudError::Answer("it is no XML"))?;
                return Err(CloudError::Refused { code: cut(&code), message: cut(&message) });
            }
            let page = xml::instances(&text, &self.region).ok_or(CloudError::Answer("it is no XML"))?;
            all.extend(page.instances);
            if all.len() > INSTANCES_MAX {
                return Err(CloudError::TooMany);
            }
            next = page.next;
            if next.is_empty() {
                return Ok(all);
            }
        }
        Err(CloudError::TooMany)
    }

    async fn run(&self, instances: &[String], script: &str) -> Result<BTreeMap<String, String>, CloudError> {
        let mut commands = BTreeMap::new();
        for some in instances.chunks(TARGETS) {
            let body = json!({
                "DocumentName": "AWS-RunShellScript",
                "InstanceIds": some,
                "Comment": "Garrison: connect",
                "TimeoutSeconds": COMMAND_SECONDS,
                "Parameters": {"commands": script.lines().collect::<Vec<_>>(),
                               "executionTimeout": [COMMAND_SECONDS.to_string()]},
            });
            let answer = self.ssm("SendCommand", &body).await?;
            let id = answer.pointer("/Command/CommandId").and_then(Value::as_str);
            let id = id.ok_or(CloudError::Answer("it names no command"))?;
            commands.extend(some.iter().map(|i| (i.clone(), id.to_owned())));
        }
        Ok(commands)
    }

    async fn ended(&self, instance: &str, command: &str) -> Result<Option<Ended>, CloudError> {
        let body = json!({ "CommandId": command, "InstanceId": instance });
        let answer = match self.ssm("GetCommandInvocation", &body).await {
            Ok(answer) => answer,
            // Right after `SendCommand` the invocation may not be there yet.
            Err(CloudError::Refused { code, .. }) if code == "InvocationDoesNotExist" => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
        let status = text("Status");
        if matches!(status, "Pending" | "InProgress" | "Delayed" | "Cancelling") {
            return Ok(None);
        }
        let ok = status == "Success";
        let said = cut(if ok { text("StandardOutputContent") } else { text("StandardErrorContent") });
        Ok(Some(Ended { ok, status: cut(status), said }))
    }
}
