//! Kinds of addresses, in the hunting schema's words, and their text without an allocation.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// An address seen through an IPv4-mapped IPv6 socket is the IPv4 address.
pub fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The hunting schema's kind of an address: `Public`, `Private`, `Reserved`, `Loopback`, `Teredo`,
/// `FourToSixMapping` or `Broadcast`.
pub fn kind(ip: IpAddr) -> &'static str {
    if let IpAddr::V6(v6) = ip
        && v6.to_ipv4_mapped().is_some()
    {
        return "FourToSixMapping";
    }
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            if v4.is_loopback() {
                "Loopback"
            } else if v4 == Ipv4Addr::BROADCAST {
                "Broadcast"
            } else if v4.is_private() || (a == 100 && (64..128).contains(&b)) {
                "Private"
            } else if v4.is_unspecified()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
            {
                "Reserved"
            } else {
                "Public"
            }
        }
        IpAddr::V6(v6) => {
            let s = v6.segments();
            if v6.is_loopback() {
                "Loopback"
            } else if s[0] == 0x2001 && s[1] == 0 {
                "Teredo"
            } else if s[0] & 0xfe00 == 0xfc00 {
                "Private"
            } else if v6.is_unspecified()
                || v6.is_multicast()
                || s[0] & 0xffc0 == 0xfe80
                || (s[0] == 0x2001 && s[1] == 0x0db8)
            {
                "Reserved"
            } else {
                "Public"
            }
        }
    }
}

/// Text of an address or number on the stack: 48 bytes hold the longest address.
#[derive(Debug)]
pub struct Text {
    bytes: [u8; 48],
    length: usize,
}

impl Text {
    /// The text of a value; what does not fit is cut.
    pub fn of(value: impl std::fmt::Display) -> Self {
        let mut text = Self { bytes: [0; 48], length: 0 };
        let _ = write!(text, "{value}");
        text
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        let room = self.bytes.len() - self.length;
        let take = s.len().min(room);
        self.bytes[self.length..self.length + take].copy_from_slice(&s.as_bytes()[..take]);
        self.length += take;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_schemas_kinds() {
        for (ip, expected) in [
            ("127.0.0.1", "Loopback"),
            ("10.1.2.3", "Private"),
            ("100.64.0.1", "Private"),
            ("169.254.1.1", "Reserved"),
            ("255.255.255.255", "Broadcast"),
            ("8.8.8.8", "Public"),
            ("::1", "Loopback"),
            ("fd00::1", "Private"),
            ("fe80::1", "Reserved"),
            ("2001::1", "Teredo"),
            ("2606:4700::1", "Public"),
            ("::ffff:1.2.3.4", "FourToSixMapping"),
        ] {
            assert_eq!(kind(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn text_is_cut_at_its_bound() {
        assert_eq!(Text::of("x".repeat(60)).as_str().len(), 48);
        let longest: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        assert_eq!(Text::of(longest).as_str(), longest.to_string());
    }
}
