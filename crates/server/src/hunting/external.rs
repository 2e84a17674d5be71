//! `externaldata`: a file from an allowed host, bounded in bytes and time, never from the server's own network.
//!
//! The host's name must be in the operator's list. Its addresses are looked up once, every one of them is judged, and
//! the connection is made to the judged addresses, so that a name that changes its mind in between gains nothing.
//! Redirects are not followed.

use super::settings::ExternalSettings;
use futures::StreamExt as _;
use garrison_kql::HostError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Fetches what a query names.
#[derive(Debug, Clone)]
pub(super) struct External {
    settings: ExternalSettings,
}

fn refused(words: impl Into<String>) -> HostError {
    HostError(words.into())
}

impl External {
    pub(super) fn new(settings: ExternalSettings) -> Self {
        Self { settings }
    }

    /// The file at an address.
    pub(super) async fn fetch(&self, address: &str) -> Result<Vec<u8>, HostError> {
        if self.settings.hosts.is_empty() {
            return Err(refused("externaldata is switched off on this server"));
        }
        let url = reqwest::Url::parse(address).map_err(|_| refused("the address of externaldata cannot be read"))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        if !self.settings.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host)) {
            return Err(refused(format!("externaldata may not read from `{}`", short(&host))));
        }
        if url.scheme() != "https" && !(self.settings.loopback && url.scheme() == "http") {
            return Err(refused("externaldata reads https addresses only"));
        }
        let port = url.port_or_known_default().unwrap_or(443);
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let found = tokio::net::lookup_host((name.as_str(), port)).await;
        let found: Vec<SocketAddr> =
            found.map_err(|_| refused(format!("the host `{}` has no address", short(&host))))?.collect();
        let allowed = |ip: IpAddr| is_public(ip) || (self.settings.loopback && ip.is_loopback());
        if found.is_empty() || !found.iter().all(|address| allowed(address.ip())) {
            return Err(refused(format!("`{}` has an address that externaldata may not read from", short(&host))));
        }
        if url.scheme() == "http" && !found.iter().all(|address| address.ip().is_loopback()) {
            return Err(refused("externaldata reads https addresses only"));
        }
        // Fails only if a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(self.settings.seconds_max))
            .resolve_to_addrs(&name, &found)
            .build()
            .map_err(|_| refused("externaldata cannot start a request"))?;
        let response = client.get(url).send().await;
        let response = response.map_err(|_| refused(format!("`{}` does not answer", short(&host))))?;
        if !response.status().is_success() {
            return Err(refused(format!("`{}` answers {}", short(&host), response.status().as_u16())));
        }
        let mut bytes = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(part) = body.next().await {
            let part = part.map_err(|_| refused(format!("`{}` stopped in the middle of its answer", short(&host))))?;
            if bytes.len() + part.len() > self.settings.bytes_max {
                return Err(refused(format!("the file is larger than {} bytes", self.settings.bytes_max)));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }
}

fn short(host: &str) -> String {
    host.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// Whether an address is one that anybody on the internet reaches.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped().or_else(|| embedded_v4(ip)) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    // Global unicast, less what is set aside in it for documentation.
    (0x2000..0x4000).contains(&first) && !(first == 0x2001 && ip.segments()[1] == 0x0db8)
}

/// The IPv4 address inside a translated (64:ff9b::/96) or tunnelled (2002::/16) one.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for (ip, expected) in [
            ("93.184.216.34", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("198.18.0.1", false),
            ("2606:2800:220:1:248:1893:25c8:1946", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:7f00:1::", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[tokio::test]
    async fn what_the_operator_did_not_allow_is_refused_before_a_request() {
        let listed = ExternalSettings {
            hosts: vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into()],
            bytes_max: 10,
            seconds_max: 1,
            loopback: false,
        };
        for (settings, address, words) in [
            (ExternalSettings::default(), "https://localhost/x", "switched off"),
            (listed.clone(), "no address", "cannot be read"),
            (listed.clone(), "https://example.com/x", "may not read from"),
            (listed.clone(), "http://localhost/x", "https"),
            (listed.clone(), "file:///etc/passwd", "may not read from"),
            (listed.clone(), "https://localhost/x", "may not read from"),
            (listed.clone(), "https://127.0.0.1/x", "may not read from"),
            (listed.clone(), "https://[::1]/x", "may not read from"),
        ] {
            let error = External::new(settings).fetch(address).await.unwrap_err();
            assert!(error.0.contains(words), "{address}: {error}");
        }
    }
}
