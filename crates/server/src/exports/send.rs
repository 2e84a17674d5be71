//! Gives a batch to a receiver. `Ok` means that the receiver has it; anything else is tried again.

use super::{Record, Target, format};
use garrison_lake::Bucket;
use object_store::ObjectStoreExt as _;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Time for a delivery, from the look-up of the name to the answer.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Time that a syslog receiver has to close after us. One that stays silent is taken to have read everything: the
/// protocol has no receipt.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// What does not change from batch to batch.
#[derive(Debug)]
pub struct Way<'a> {
    /// Whether addresses of private networks and of this machine are allowed.
    pub private: bool,
    /// Folder of files.
    pub folder: &'a Path,
    /// Bucket of objects, where one is configured.
    pub bucket: Option<Bucket>,
    /// Secret of a webhook.
    pub secret: Vec<u8>,
    /// Name of the export, which names its files.
    pub name: &'a str,
    /// Now, in seconds.
    pub seconds: i64,
}

/// Whether an address is on the public internet, as far as its number tells.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let o = a.octets();
            !(a.is_private()
                || a.is_loopback()
                || a.is_link_local()
                || a.is_broadcast()
                || a.is_multicast()
                || a.is_documentation()
                || o[0] == 0
                || o[0] >= 240
                // Shared by carriers, benchmarks, assignments of protocols.
                || (o[0] == 100 && (64..128).contains(&o[1]))
                || (o[0] == 198 && (18..20).contains(&o[1]))
                || (o[0] == 192 && o[1] == 0 && o[2] == 0))
        }
        IpAddr::V6(a) => {
            let mapped = a.to_ipv4_mapped().or_else(|| match a.segments() {
                // An address of IPv4 behind a translator (RFC 6052).
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                    let (h, l) = (high.to_be_bytes(), low.to_be_bytes());
                    Some([h[0], h[1], l[0], l[1]].into())
                }
                _ => None,
            });
            if let Some(inner) = mapped {
                return is_public(IpAddr::V4(inner));
            }
            // Only global unicast, without what is for documents.
            a.segments()[0] & 0xe000 == 0x2000 && a.segments()[..2] != [0x2001, 0xdb8]
        }
    }
}

async fn resolve(host: &str, port: u16, private: bool) -> Result<Vec<SocketAddr>, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await.map_err(|_| format!("`{host}` has no address"))?;
    // Those that are let in are used, and no other ones: the name may answer something else the next time.
    let allowed: Vec<SocketAddr> = found.filter(|a| private || is_public(a.ip())).collect();
    if allowed.is_empty() {
        let words = "is on a private address; the operator allows those with exports.allow_private_addresses";
        return Err(format!("`{host}` {words}"));
    }
    Ok(allowed)
}

/// Delivers records.
pub async fn send(target: &Target, way: &Way<'_>, records: &[Record]) -> Result<(), String> {
    let work = async {
        match target {
            Target::Webhook { url, ca_pem } => webhook(url, ca_pem.as_deref(), way, records).await,
            Target::Syslog { host, port, ca_pem } => syslog((host, *port), ca_pem, way, records).await,
            Target::File {} => file(way, records),
            Target::Object { prefix } => object(prefix, way, records).await,
        }
    };
    tokio::time::timeout(TIME_MAX, work).await.unwrap_or_else(|_| Err("the receiver is too slow".to_owned()))
}

async fn webhook(url: &str, ca: Option<&str>, way: &Way<'_>, records: &[Record]) -> Result<(), String> {
    let parsed = reqwest::Url::parse(url).map_err(|_| "the address cannot be read".to_owned())?;
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let port = parsed.port_or_known_default().unwrap_or(443);
    let addresses = resolve(&host, port, way.private).await?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .resolve_to_addrs(&host, &addresses)
        .user_agent(concat!("garrison/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = ca {
        let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).map_err(|_| "`caPem` cannot be read")?;
        client = client.tls_certs_only([certificate]);
    }
    let client = client.build().map_err(|e| e.to_string())?;
    let body = format::body(records);
    let signed = format::signature(&way.secret, way.seconds, &body);
    let sent = client
        .post(parsed)
        .header("content-type", "application/json")
        .header("x-garrison-signature", signed)
        .body(body)
        .send()
        .await
        .map_err(|e| if e.is_connect() { "cannot connect".to_owned() } else { "the request failed".to_owned() })?;
    if sent.status().is_success() { Ok(()) } else { Err(format!("the receiver answered {}", sent.status().as_u16())) }
}

async fn syslog((host, port): (&str, u16), ca: &str, way: &Way<'_>, records: &[Record]) -> Result<(), String> {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.map_err(|_| "`caPem` cannot be read")?).map_err(|_| "`caPem` cannot be used")?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from(host.to_owned()).map_err(|_| "the host is no name")?;
    let addresses = resolve(host, port, way.private).await?;
    let stream = tokio::net::TcpStream::connect(addresses.as_slice()).await.map_err(|_| "cannot connect")?;
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|e| format!("TLS failed: {e}"))?;
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = Some(own.trim()).filter(|h| !h.is_empty()).unwrap_or("-");
    let frames: Vec<u8> = records.iter().flat_map(|r| format::frame(r, own)).collect();
    stream.write_all(&frames).await.map_err(|_| "the connection broke off")?;
    stream.shutdown().await.map_err(|_| "the connection broke off")?;
    let mut rest = [0; 64];
    match tokio::time::timeout(CLOSE_MAX, stream.read(&mut rest)).await {
        Ok(Err(_)) => Err("the connection broke off".to_owned()),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// The file of a day. Half a line that a crash left is cut off first; its records were not counted as delivered.
fn file(way: &Way<'_>, records: &[Record]) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("the file cannot be written: {}", e.kind());
    let folder = way.folder.join(way.name);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let day =
        jiff::Timestamp::from_second(way.seconds).map_or_else(|_| String::new(), |t| t.strftime("%F").to_string());
    let path = folder.join(format!("ocsf-{day}.ndjson"));
    let mut file =
        std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let whole = whole_lines(&mut file).map_err(failed)?;
    file.set_len(whole).map_err(failed)?;
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    let lines: Vec<u8> = records.iter().flat_map(format::ocsf).collect();
    file.write_all(&lines).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &mut std::fs::File) -> std::io::Result<u64> {
    use std::io::Read as _;
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let from = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|b| *b == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

/// An object a batch, named for its first and last record: the same batch again is the same object.
async fn object(prefix: &str, way: &Way<'_>, records: &[Record]) -> Result<(), String> {
    let bucket = way.bucket.as_ref().ok_or("no object store is configured (lake.object_store)")?;
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
    let day = first.time.get(..10).unwrap_or_default();
    let name = format!("{prefix}/{day}/{:020}-{:020}-{}.ndjson", first.at, last.at, records.len());
    let path = object_store::path::Path::from(format!("{}/{name}", bucket.prefix()));
    let lines: Vec<u8> = records.iter().flat_map(format::ocsf).collect();
    bucket.store().put(&path, lines.into()).await.map(drop).map_err(|_| "the object store refused".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_in_every_dress() {
        for (text, public) in [
            ("8.8.8.8", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.31.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("2a00:1450::1", true),
            ("::1", false),
            ("::", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::808:808", true),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }
}
