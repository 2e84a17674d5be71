//! Where the machine runs, by the instance service of its cloud. Asked only where the firmware names that cloud: a
//! request to a link-local address on any other machine would go to whoever answers there.
//!
//! Which cloud, what to ask and what an answer means are pure; [`ask`] does the asking, with short times and small
//! answers. What comes back is a claim like every other.

use crate::host::Firmware;
use garrison_wire::connect::v1::Cloud;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;

/// The clouds whose instance service is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Cloud.
    Gcp,
}

/// Where each cloud's service answers, unless told otherwise: the link-local address that all of them use.
pub const ADDRESS: &str = "169.254.169.254:80";
/// One answer: documents are a few kilobytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// One request; the service is on the same host.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Characters of one value.
const VALUE_MAX: usize = 300;
/// The tag of Azure's virtual chassis.
const AZURE_ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

impl Provider {
    /// The cloud that the firmware names.
    pub fn of(firmware: &Firmware) -> Option<Self> {
        let has = |text: &str, part: &str| text.to_ascii_lowercase().contains(part);
        if has(&firmware.vendor, "amazon ec2") || has(&firmware.bios_vendor, "amazon ec2") {
            Some(Self::Aws)
        } else if firmware.asset_tag == AZURE_ASSET_TAG {
            Some(Self::Azure)
        } else if has(&firmware.product, "google compute engine") || has(&firmware.vendor, "google") {
            Some(Self::Gcp)
        } else {
            None
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
        }
    }
}

/// The service gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// Not reached, or not in time.
    #[error("the instance service at `{address}` does not answer: {why}")]
    Unreachable {
        /// Address.
        address: String,
        /// Why.
        why: String,
    },
    /// Answered something else.
    #[error("the instance service answers `{path}` with status {status}")]
    Status {
        /// Path.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// No JSON.
    #[error("the instance service's answer to `{0}` cannot be read")]
    Answer(String),
}

async fn request(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<String, CloudError> {
    let unreachable = |why: String| CloudError::Unreachable { address: address.to_owned(), why };
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(address).await.map_err(|e| unreachable(e.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unreachable(e.to_string()))?;
        let driver = tokio::spawn(connection);
        let host = address.split(':').next().unwrap_or(address);
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| CloudError::Answer(path.to_owned()))?;
        let answer = sender.send_request(request).await.map_err(|e| unreachable(e.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        driver.abort();
        // No redirect is followed: the service has none, and whoever sends one is not it.
        if !status.is_success() {
            return Err(CloudError::Status { path: path.to_owned(), status: status.as_u16() });
        }
        let bytes = body.map_err(|_| CloudError::Answer(path.to_owned()))?.to_bytes();
        String::from_utf8(bytes.to_vec()).map_err(|_| CloudError::Answer(path.to_owned()))
    };
    tokio::time::timeout(ANSWER_MAX, exchange).await.map_err(|_| unreachable("no answer in time".to_owned()))?
}

fn json(path: &str, text: &str) -> Result<Value, CloudError> {
    serde_json::from_str(text).map_err(|_| CloudError::Answer(path.to_owned()))
}

fn value(document: &Value, key: &str) -> String {
    let text = match document.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    text.chars().filter(|c| !c.is_control()).take(VALUE_MAX).collect()
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Asks the service of a cloud at an address `host:port`.
pub async fn ask(provider: Provider, address: &str) -> Result<Cloud, CloudError> {
    let provider_name = provider.as_str().to_owned();
    match provider {
        Provider::Aws => {
            // Version 2 of the service only: version 1 answers to anybody who can make the host send a request.
            let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
            let token = request(address, Method::PUT, "/latest/api/token", &ttl).await?;
            let path = "/latest/dynamic/instance-identity/document";
            let headers = [("x-aws-ec2-metadata-token", token.trim())];
            let d = json(path, &request(address, Method::GET, path, &headers).await?)?;
            Ok(Cloud {
                provider: provider_name,
                instance_id: value(&d, "instanceId"),
                account_id: value(&d, "accountId"),
                region: value(&d, "region"),
                zone: value(&d, "availabilityZone"),
                instance_type: value(&d, "instanceType"),
                image_id: value(&d, "imageId"),
                resource_id: String::new(),
            })
        }
        Provider::Azure => {
            let path = "/metadata/instance/compute?api-version=2021-02-01";
            let d = json(path, &request(address, Method::GET, path, &[("metadata", "true")]).await?)?;
            Ok(Cloud {
                provider: provider_name,
                instance_id: value(&d, "vmId"),
                account_id: value(&d, "subscriptionId"),
                region: value(&d, "location"),
                zone: value(&d, "zone"),
                instance_type: value(&d, "vmSize"),
                image_id: d
                    .get("storageProfile")
                    .and_then(|s| s.get("imageReference"))
                    .map_or(String::new(), |i| value(i, "id")),
                resource_id: value(&d, "resourceId"),
            })
        }
        Provider::Gcp => {
            let flavour = [("metadata-flavor", "Google")];
            let path = "/computeMetadata/v1/instance/?recursive=true";
            let d = json(path, &request(address, Method::GET, path, &flavour).await?)?;
            let project = request(address, Method::GET, "/computeMetadata/v1/project/project-id", &flavour).await?;
            let zone = last(&value(&d, "zone"));
            Ok(Cloud {
                provider: provider_name,
                instance_id: value(&d, "id"),
                account_id: project.trim().chars().filter(|c| !c.is_control()).take(VALUE_MAX).collect(),
                region: zone.rsplit_once('-').map_or(String::new(), |(region, _)| region.to_owned()),
                zone,
                instance_type: last(&value(&d, "machineType")),
                image_id: last(&value(&d, "image")),
                resource_id: String::new(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};

    fn firmware(vendor: &str, product: &str, asset_tag: &str) -> Firmware {
        Firmware { vendor: vendor.into(), product: product.into(), asset_tag: asset_tag.into(), ..Firmware::default() }
    }

    #[test]
    fn only_the_cloud_that_the_firmware_names_is_asked() {
        for (f, provider) in [
            (firmware("Amazon EC2", "m5.large", "i-1"), Some(Provider::Aws)),
            (firmware("Microsoft Corporation", "Virtual Machine", AZURE_ASSET_TAG), Some(Provider::Azure)),
            // Hyper-V on premises.
            (firmware("Microsoft Corporation", "Virtual Machine", "1234"), None),
            (firmware("Google", "Google Compute Engine", ""), Some(Provider::Gcp)),
            (firmware("QEMU", "Standard PC", ""), None),
            (firmware("", "", ""), None),
        ] {
            assert_eq!(Provider::of(&f), provider, "{f:?}");
        }
    }

    /// What a stand-in answers to a request: its first line and its headers in lower case.
    type Answer = fn(&str, &str) -> (u16, &'static str);

    /// A stand-in for an instance service, on a free port; it ends with the test's process.
    fn service(answer: Answer) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut headers) = (String::new(), String::new());
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if line.trim().is_empty() {
                        break;
                    }
                    headers.push_str(&line.to_ascii_lowercase());
                }
                let (status, body) = answer(&first, &headers);
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        address
    }

    fn aws(first: &str, headers: &str) -> (u16, &'static str) {
        if first.starts_with("PUT /latest/api/token ") && headers.contains("token-ttl-seconds: 60") {
            return (200, "secret-token");
        }
        // Version 1, without a token, is switched off.
        if first.starts_with("GET /latest/dynamic/instance-identity/document ")
            && headers.contains("token: secret-token")
        {
            return (
                200,
                r#"{"instanceId":"i-0abc","accountId":"123456789012","region":"eu-west-1","availabilityZone":"eu-west-1b","instanceType":"m5.large","imageId":"ami-1"}"#,
            );
        }
        (401, "")
    }

    fn azure(first: &str, headers: &str) -> (u16, &'static str) {
        if first.starts_with("GET /metadata/instance/compute?api-version=2021-02-01 ")
            && headers.contains("metadata: true")
        {
            return (
                200,
                r#"{"vmId":"02aab8a4","subscriptionId":"8d10da13","location":"westeurope","zone":"2","vmSize":"Standard_A3","resourceId":"/subscriptions/8d10da13/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m","storageProfile":{"imageReference":{"id":"image"}}}"#,
            );
        }
        (400, "")
    }

    fn gcp(first: &str, headers: &str) -> (u16, &'static str) {
        if !headers.contains("metadata-flavor: google") {
            return (403, "");
        }
        if first.starts_with("GET /computeMetadata/v1/project/project-id ") {
            return (200, "my-project");
        }
        (
            200,
            r#"{"id":4242424242424242424,"zone":"projects/1/zones/europe-west3-b","machineType":"projects/1/machineTypes/e2-small","image":"projects/debian/global/images/debian-12"}"#,
        )
    }

    #[tokio::test]
    async fn each_cloud_says_where_the_machine_runs() {
        let cases: [(Provider, Answer, [&str; 6]); 3] = [
            (Provider::Aws, aws, ["i-0abc", "123456789012", "eu-west-1", "eu-west-1b", "m5.large", "ami-1"]),
            (Provider::Azure, azure, ["02aab8a4", "8d10da13", "westeurope", "2", "Standard_A3", "image"]),
            (
                Provider::Gcp,
                gcp,
                ["4242424242424242424", "my-project", "europe-west3", "europe-west3-b", "e2-small", "debian-12"],
            ),
        ];
        for (provider, answer, wanted) in cases {
            let c = ask(provider, &service(answer)).await.unwrap();
            let found = [&c.instance_id, &c.account_id, &c.region, &c.zone, &c.instance_type, &c.image_id];
            assert_eq!(found.map(String::as_str), wanted);
            assert_eq!(c.provider, provider.as_str());
        }
    }

    #[tokio::test]
    async fn a_wrong_answer_is_an_error_and_never_a_cloud() {
        let nonsense: Answer = |_, _| (200, "<html>");
        let elsewhere: Answer = |_, _| (302, "");
        for answer in [nonsense, elsewhere] {
            for provider in [Provider::Aws, Provider::Azure, Provider::Gcp] {
                assert!(ask(provider, &service(answer)).await.is_err());
            }
        }
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(matches!(ask(Provider::Azure, &closed).await, Err(CloudError::Unreachable { .. })));
    }
}
