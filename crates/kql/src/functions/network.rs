//! Addresses of the network, and where they are.

use super::Naming;
use super::eval::{Out, Row};
use super::json::Json;
use super::signature::Function;
use super::signature::{Param, Ret};
use crate::Type;
use std::net::{Ipv4Addr, Ipv6Addr};

use Param::{Json as AnyJson, Long, Text, Texted};
const BOOL: Ret = Ret::Is(Type::Bool);
const LONG: Ret = Ret::Is(Type::Long);
const TEXT: Ret = Ret::Is(Type::Text);
const NONE: Naming = Naming::None;

/// An IPv4 address and the length of its prefix, 32 without one.
fn ipv4(text: &str) -> Option<(u32, u32)> {
    let text = text.trim();
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, prefix.parse().ok().filter(|p| *p <= 32)?),
        None => (text, 32),
    };
    Some((u32::from(address.parse::<Ipv4Addr>().ok()?), prefix))
}

/// An IPv6 address, or an IPv4 one in its place within IPv6, and the length of its prefix.
fn ipv6(text: &str) -> Option<(u128, u32)> {
    let text = text.trim();
    if let Some((address, prefix)) = ipv4(text) {
        return Some((u128::from(Ipv4Addr::from(address).to_ipv6_mapped()), prefix + 96));
    }
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, prefix.parse().ok().filter(|p| *p <= 128)?),
        None => (text, 128),
    };
    Some((u128::from(address.parse::<Ipv6Addr>().ok()?), prefix))
}

const fn mask4(prefix: u32) -> u32 {
    match prefix {
        0 => 0,
        p => u32::MAX << (32 - p),
    }
}

const fn mask6(prefix: u32) -> u128 {
    match prefix {
        0 => 0,
        p => u128::MAX << (128 - p),
    }
}

/// The prefix that a call adds, if it has one in its third place; `None` if it is no prefix.
fn extra(r: &Row, most: u32) -> Option<u32> {
    if r.count() > 2 { r.long(2).and_then(|p| u32::try_from(p).ok()).filter(|p| *p <= most) } else { Some(most) }
}

fn compare4(r: &Row) -> Option<i64> {
    let ((a, pa), (b, pb)) = (ipv4(r.text(0))?, ipv4(r.text(1))?);
    let mask = mask4(pa.min(pb).min(extra(r, 32)?));
    Some((a & mask).cmp(&(b & mask)) as i64)
}

fn compare6(r: &Row) -> Option<i64> {
    let ((a, pa), (b, pb)) = (ipv6(r.text(0))?, ipv6(r.text(1))?);
    let mask = mask6(pa.min(pb).min(extra(r, 128)?));
    Some((a & mask).cmp(&(b & mask)) as i64)
}

fn in_range4(address: &str, range: &str) -> Option<bool> {
    let ((a, pa), (b, pb)) = (ipv4(address)?, ipv4(range)?);
    let mask = mask4(pb.min(pa));
    Some(a & mask == b & mask)
}

fn in_range6(address: &str, range: &str) -> Option<bool> {
    let ((a, pa), (b, pb)) = (ipv6(address)?, ipv6(range)?);
    let mask = mask6(pb.min(pa));
    Some(a & mask == b & mask)
}

/// The ranges of a call: the arguments after the first, or the array that is the second.
fn rest(r: &Row) -> Vec<String> {
    (1..r.count())
        .flat_map(|at| match r.json(at) {
            Json::Array(items) => items.iter().map(Json::text).collect(),
            other => vec![other.text()],
        })
        .collect()
}

fn in_any<'a>(r: &'a Row<'a>, is_in: fn(&str, &str) -> Option<bool>) -> Out<'a> {
    let text = r.json(0).text();
    let answers: Vec<Option<bool>> = rest(r).iter().map(|range| is_in(&text, range)).collect();
    if answers.contains(&Some(true)) {
        return Out::Bool(true);
    }
    if answers.iter().all(Option::is_none) { Out::Null } else { Out::Bool(false) }
}

fn is_private(text: &str) -> Option<bool> {
    let (address, prefix) = ipv4(text)?;
    let within = |range: &str| ipv4(range).is_some_and(|(b, p)| prefix >= p && address & mask4(p) == b);
    Some(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].into_iter().any(within))
}

/// An address from text or from its number.
fn address_of(text: &str) -> Option<(u32, u32)> {
    ipv4(text).or_else(|| text.trim().parse::<u32>().ok().map(|n| (n, 32)))
}

fn formatted(r: &Row, with_mask: bool) -> Option<String> {
    let (address, own) = address_of(r.text(0))?;
    let prefix = if r.count() > 1 { r.long(1).and_then(|p| u32::try_from(p).ok()).filter(|p| *p <= 32)? } else { 32 };
    let prefix = prefix.min(own);
    let address = Ipv4Addr::from(address & mask4(prefix));
    Some(if with_mask { format!("{address}/{prefix}") } else { address.to_string() })
}

fn long6(address: u128) -> String {
    let groups: Vec<String> = Ipv6Addr::from(address).segments().iter().map(|s| format!("{s:04x}")).collect();
    groups.join(":")
}

/// Whether a text holds an address, or one that starts so: it must not stand in a longer number.
fn has_address(text: &str, wanted: &str, prefix: bool) -> bool {
    let of_address = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
    let valid = if prefix { wanted.ends_with('.') || ipv4(wanted).is_some() } else { ipv4(wanted).is_some() };
    valid
        && text.match_indices(wanted).any(|(at, found)| {
            let before = text.get(..at).and_then(|t| t.chars().next_back());
            let after = text.get(at + found.len()..).unwrap_or_default();
            let continued = of_address(after.chars().next())
                || (after.starts_with('.') && after.chars().nth(1).is_some_and(|c| c.is_ascii_digit()));
            let ends = if prefix && wanted.ends_with('.') {
                after.starts_with(|c: char| c.is_ascii_digit())
            } else {
                !continued
            };
            let led = before == Some('.')
                && text.get(..at.saturating_sub(1)).is_some_and(|t| t.ends_with(|c: char| c.is_ascii_digit()));
            !of_address(before) && !led && ends
        })
}

fn cidrs(from: u32, to: u32) -> Vec<Json> {
    let mut out = Vec::new();
    let mut here = u64::from(from);
    while here <= u64::from(to) {
        let mut size = here.trailing_zeros().min(32);
        while size > 0 && here + (1u64 << size) - 1 > u64::from(to) {
            size -= 1;
        }
        let address = Ipv4Addr::from(u32::try_from(here).unwrap_or(u32::MAX));
        out.push(Json::Text(format!("{address}/{}", 32 - size)));
        here += 1u64 << size;
    }
    out
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::row(
        "ipv4_compare",
        NONE,
        &[Text, Text, Long],
        LONG,
        "Compares two IPv4 addresses under their shortest prefix: -1, 0 or 1.",
        "ipv4_compare('10.0.0.1', '10.0.0.2/24')",
        |r| Out::long(compare4(r)),
    )
    .optional(1),
    Function::row(
        "ipv4_is_match",
        NONE,
        &[Text, Text, Long],
        BOOL,
        "Says whether two IPv4 addresses are the same under their shortest prefix.",
        "ipv4_is_match('10.0.0.1', '10.0.0.2/24')",
        |r| Out::bool(compare4(r).map(|c| c == 0)),
    )
    .optional(1),
    Function::row(
        "ipv6_compare",
        NONE,
        &[Text, Text, Long],
        LONG,
        "Compares two addresses as IPv6 under their shortest prefix: -1, 0 or 1.",
        "ipv6_compare('fe80::1', 'fe80::2', 64)",
        |r| Out::long(compare6(r)),
    )
    .optional(1),
    Function::row(
        "ipv6_is_match",
        NONE,
        &[Text, Text, Long],
        BOOL,
        "Says whether two addresses are the same as IPv6 under their shortest prefix.",
        "ipv6_is_match('fe80::1', 'fe80::2', 64)",
        |r| Out::bool(compare6(r).map(|c| c == 0)),
    )
    .optional(1),
    Function::row(
        "ipv4_is_private",
        NONE,
        &[Text],
        BOOL,
        "Says whether an IPv4 address is of a private network; loopback is not.",
        "ipv4_is_private('10.1.2.3')",
        |r| Out::bool(is_private(r.text(0))),
    ),
    Function::row(
        "ipv4_is_in_range",
        NONE,
        &[Text, Text],
        BOOL,
        "Says whether an IPv4 address is in a range.",
        "ipv4_is_in_range('192.168.1.6', '192.168.1.1/24')",
        |r| Out::bool(in_range4(r.text(0), r.text(1))),
    ),
    Function::row(
        "ipv4_is_in_any_range",
        NONE,
        &[AnyJson, AnyJson],
        BOOL,
        "Says whether an IPv4 address is in one of several ranges.",
        "ipv4_is_in_any_range('10.0.0.1', '10.0.0.0/8', '192.168.0.0/16')",
        |r| in_any(r, in_range4),
    )
    .variadic()
    .nulls(),
    Function::row(
        "ipv6_is_in_range",
        NONE,
        &[Text, Text],
        BOOL,
        "Says whether an address is in an IPv6 range.",
        "ipv6_is_in_range('fe80::1', 'fe80::/64')",
        |r| Out::bool(in_range6(r.text(0), r.text(1))),
    ),
    Function::row(
        "ipv6_is_in_any_range",
        NONE,
        &[AnyJson, AnyJson],
        BOOL,
        "Says whether an address is in one of several IPv6 ranges.",
        "ipv6_is_in_any_range('fe80::1', 'fe80::/64')",
        |r| in_any(r, in_range6),
    )
    .variadic()
    .nulls(),
    Function::row(
        "ipv4_netmask_suffix",
        NONE,
        &[Text],
        LONG,
        "The length of an IPv4 address's prefix.",
        "ipv4_netmask_suffix('192.168.1.1/24')",
        |r| Out::long(ipv4(r.text(0)).map(|(_, p)| i64::from(p))),
    ),
    Function::row(
        "parse_ipv4",
        NONE,
        &[Text],
        LONG,
        "An IPv4 address as a number, under its prefix.",
        "parse_ipv4('127.0.0.1')",
        |r| Out::long(ipv4(r.text(0)).map(|(a, p)| i64::from(a & mask4(p)))),
    ),
    Function::row(
        "parse_ipv4_mask",
        NONE,
        &[Text, Long],
        LONG,
        "An IPv4 address as a number, under a prefix.",
        "parse_ipv4_mask('127.0.0.1', 24)",
        |r| {
            let prefix = r.long(1).and_then(|p| u32::try_from(p).ok()).filter(|p| *p <= 32);
            Out::long(ipv4(r.text(0)).zip(prefix).map(|((a, own), p)| i64::from(a & mask4(p.min(own)))))
        },
    ),
    Function::row(
        "parse_ipv6",
        NONE,
        &[Text],
        TEXT,
        "An address in the long form of IPv6, under its prefix.",
        "parse_ipv6('127.0.0.1')",
        |r| Out::text(ipv6(r.text(0)).map(|(a, p)| long6(a & mask6(p)))),
    ),
    Function::row(
        "parse_ipv6_mask",
        NONE,
        &[Text, Long],
        TEXT,
        "An address in the long form of IPv6, under a prefix.",
        "parse_ipv6_mask('127.0.0.1', 24)",
        |r| {
            let Some((a, own)) = ipv6(r.text(0)) else { return Out::Null };
            // A prefix of 32 or less of an IPv4 address counts within that.
            let offset = if ipv4(r.text(0)).is_some() { 96 } else { 0 };
            let prefix = r.long(1).and_then(|p| u32::try_from(p).ok()).map(|p| if p <= 32 { p + offset } else { p });
            Out::text(prefix.filter(|p| *p <= 128).map(|p| long6(a & mask6(p.min(own)))))
        },
    ),
    Function::row(
        "format_ipv4",
        NONE,
        &[Texted, Long],
        TEXT,
        "An IPv4 address under a prefix.",
        "format_ipv4('192.168.1.1', 24)",
        |r| Out::text(formatted(r, false)),
    )
    .optional(1),
    Function::row(
        "format_ipv4_mask",
        NONE,
        &[Texted, Long],
        TEXT,
        "An IPv4 address and its prefix.",
        "format_ipv4_mask('192.168.1.1', 24)",
        |r| Out::text(formatted(r, true)),
    ),
    Function::row(
        "ipv4_range_to_cidr_list",
        NONE,
        &[Text, Text],
        Ret::Is(Type::Dynamic),
        "The ranges that cover all addresses between two.",
        "ipv4_range_to_cidr_list('1.1.128.0', '1.1.140.255')",
        |r| {
            let (Some((from, _)), Some((to, _))) = (ipv4(r.text(0)), ipv4(r.text(1))) else { return Out::Null };
            Out::Text(Json::Array(cidrs(from, to)).json())
        },
    ),
    Function::row(
        "has_ipv4",
        NONE,
        &[Text, Text],
        BOOL,
        "Says whether a text holds an IPv4 address.",
        "has_ipv4('05:04 GET 127.0.0.1', '127.0.0.1')",
        |r| Out::Bool(has_address(r.text(0), r.text(1), false)),
    ),
    Function::row(
        "has_ipv4_prefix",
        NONE,
        &[Text, Text],
        BOOL,
        "Says whether a text holds an IPv4 address that starts so.",
        "has_ipv4_prefix('GET 127.0.0.1', '127.0.')",
        |r| Out::Bool(has_address(r.text(0), r.text(1), true)),
    ),
    Function::row(
        "has_any_ipv4",
        NONE,
        &[AnyJson, AnyJson],
        BOOL,
        "Says whether a text holds one of several IPv4 addresses.",
        "has_any_ipv4('GET 127.0.0.1', '127.0.0.1', '1.1.1.1')",
        |r| {
            let text = r.json(0).text();
            Out::Bool(rest(r).iter().any(|w| has_address(&text, w, false)))
        },
    )
    .variadic()
    .nulls(),
    Function::row(
        "has_any_ipv4_prefix",
        NONE,
        &[AnyJson, AnyJson],
        BOOL,
        "Says whether a text holds an IPv4 address that starts as one of several.",
        "has_any_ipv4_prefix('GET 127.0.0.1', '127.', '1.1.')",
        |r| {
            let text = r.json(0).text();
            Out::Bool(rest(r).iter().any(|w| has_address(&text, w, true)))
        },
    )
    .variadic()
    .nulls(),
];
