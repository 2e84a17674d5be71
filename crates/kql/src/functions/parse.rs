//! Texts that have parts: addresses of the web, paths, versions, command lines, CSV, XML.

use super::Naming;
use super::eval::{Internal, Out, Row, known};
use super::json::{Json, unique};
use super::signature::{Function, Param, Ret};
use crate::Type;
use std::fmt::Write;

use Param::Text;
const TEXT: Ret = Ret::Is(Type::Text);
const DYNAMIC: Ret = Ret::Is(Type::Dynamic);
const NONE: Naming = Naming::None;

fn texts(items: &[(&str, &str)]) -> Vec<(String, Json)> {
    items.iter().map(|(k, v)| ((*k).to_owned(), Json::Text((*v).to_owned()))).collect()
}

fn percent_encode(text: &str, plain: fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', _, _) => {
                out.push(b' ');
                at += 1;
            }
            (other, _, _) => {
                out.push(*other);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn query(text: &str) -> Json {
    let pairs = text.split('&').filter(|p| !p.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(key), Json::Text(percent_decode(value)))
    });
    Json::Bag(unique(pairs.collect()))
}

/// An address by its parts as they are written. Not by the WHATWG rules, which change what they read.
fn url(text: &str) -> Json {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => return Json::Bag(parts_of_url("", "", "", "", "", text, "", "")),
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, search) = rest.split_once('?').unwrap_or((rest, ""));
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (host, ""),
    };
    Json::Bag(parts_of_url(scheme, host, port, name, password, path, search, fragment))
}

fn parts_of_url(
    scheme: &str,
    host: &str,
    port: &str,
    name: &str,
    password: &str,
    path: &str,
    search: &str,
    fragment: &str,
) -> Vec<(String, Json)> {
    let mut out = texts(&[
        ("Scheme", scheme),
        ("Host", host),
        ("Port", port),
        ("Path", path),
        ("Username", name),
        ("Password", password),
    ]);
    out.push(("Query Parameters".to_owned(), query(search)));
    out.push(("Fragment".to_owned(), Json::Text(fragment.to_owned())));
    out
}

fn path<'a>(r: &'a Row<'a>) -> Out<'a> {
    let whole = r.text(0);
    let (scheme, text) = whole.split_once("://").unwrap_or(("", whole));
    // A Windows drive; a share of a network and the root of a Unix tree count as none.
    let drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    let root = if drive { text.get(..2).unwrap_or_default() } else { "" };
    let cut = text.rfind(['\\', '/']);
    let (directory, file) = match cut {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => ("", text),
    };
    let (file, stream) = file.split_once(':').unwrap_or((file, ""));
    let name = directory.rsplit(['\\', '/']).next().unwrap_or_default();
    let name = if name.ends_with(':') { "" } else { name };
    // A compressed archive's extension has two parts.
    let extension = match file.rsplit_once('.') {
        Some((stem, "gz" | "bz2" | "xz" | "zst")) if stem.rsplit_once('.').is_some_and(|(_, t)| t == "tar") => {
            file.get(stem.len() - 3..).unwrap_or_default()
        }
        Some((_, extension)) => extension,
        None => "",
    };
    Out::Text(
        Json::Bag(texts(&[
            ("Scheme", scheme),
            ("RootPath", root),
            ("DirectoryPath", directory),
            ("DirectoryName", name),
            ("Filename", file),
            ("Extension", extension),
            ("AlternateDataStreamName", stream),
        ]))
        .json(),
    )
}

/// A version of up to four parts as one number in which a part takes eight digits.
fn version(text: &str) -> Option<i128> {
    let parts: Vec<i128> = text
        .trim()
        .split('.')
        .map(|p| (p.len() <= 8).then(|| p.parse::<u32>().ok().map(i128::from)).flatten())
        .collect::<Option<_>>()?;
    if parts.is_empty() || parts.len() > 4 {
        return None;
    }
    Some((0..4).fold(0, |sum, at| sum * 100_000_000 + parts.get(at).copied().unwrap_or(0)))
}

/// The words of a command line by the rules of Windows: quotes join words, backslashes escape only before a quote.
fn windows_words(text: &str) -> Vec<Json> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut started) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let mut count = 1;
                while chars.peek() == Some(&'\\') {
                    chars.next();
                    count += 1;
                }
                started = true;
                if chars.peek() == Some(&'"') {
                    word.extend(std::iter::repeat_n('\\', count / 2));
                    if count % 2 == 1 {
                        chars.next();
                        word.push('"');
                    }
                } else {
                    word.extend(std::iter::repeat_n('\\', count));
                }
            }
            '"' => {
                started = true;
                if quoted && chars.peek() == Some(&'"') {
                    chars.next();
                    word.push('"');
                } else {
                    quoted = !quoted;
                }
            }
            ' ' | '\t' | '\n' | '\r' if !quoted => {
                if started {
                    words.push(Json::Text(std::mem::take(&mut word)));
                    started = false;
                }
            }
            other => {
                started = true;
                word.push(other);
            }
        }
    }
    if started {
        words.push(Json::Text(word));
    }
    words
}

/// The fields of the first record.
fn csv_fields(text: &str) -> Vec<Json> {
    let mut out = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => out.push(Json::Text(std::mem::take(&mut field))),
            '\n' | '\r' if !quoted => break,
            other => field.push(other),
        }
    }
    out.push(Json::Text(field));
    out
}

/// How deep XML may nest: as deep as JSON may.
const XML_DEPTH_MAX: usize = 128;

/// XML as a bag: attributes start with `@`, text beside elements is `#text`, repeated elements make an array.
fn xml(text: &str) -> Option<Json> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().trim_text(true);
    // Names of open elements with what they hold; the first one stands for the document.
    let mut open: Vec<(String, Vec<(String, Json)>)> = vec![(String::new(), Vec::new())];
    let name_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    loop {
        let event = reader.read_event().ok()?;
        match event {
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                let mut items = Vec::new();
                for attribute in tag.attributes() {
                    let attribute = attribute.ok()?;
                    let value = String::from_utf8_lossy(&attribute.value);
                    let value = quick_xml::escape::unescape(&value).ok()?.into_owned();
                    items.push((format!("@{}", name_of(attribute.key.as_ref())), Json::Text(value)));
                }
                if open.len() > XML_DEPTH_MAX {
                    return None;
                }
                open.push((name_of(tag.name().as_ref()), items));
                if matches!(event, Event::Empty(_)) {
                    close(&mut open)?;
                }
            }
            Event::End(_) => close(&mut open)?,
            Event::Text(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                add_text(&mut open, &quick_xml::escape::unescape(&text).ok()?);
            }
            Event::CData(bytes) => add_text(&mut open, &String::from_utf8_lossy(&bytes)),
            Event::GeneralRef(name) => {
                let reference = format!("&{};", String::from_utf8_lossy(&name));
                add_text(&mut open, &quick_xml::escape::unescape(&reference).ok()?);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match open.pop() {
        Some((_, items)) if open.is_empty() && !items.is_empty() => Some(Json::Bag(items)),
        _ => None,
    }
}

fn add_text(open: &mut [(String, Vec<(String, Json)>)], text: &str) {
    if let Some((_, items)) = open.last_mut() {
        match items.iter_mut().find(|(k, _)| k == "#text") {
            Some((_, Json::Text(known))) => known.push_str(text),
            _ => items.push(("#text".to_owned(), Json::Text(text.to_owned()))),
        }
    }
}

/// Puts what an element holds into the one around it.
fn close(open: &mut Vec<(String, Vec<(String, Json)>)>) -> Option<()> {
    let (name, items) = open.pop()?;
    let (_, around) = open.last_mut()?;
    let value = match items.as_slice() {
        [] => Json::Text(String::new()),
        [(key, Json::Text(text))] if key == "#text" => Json::Text(text.clone()),
        _ => Json::Bag(items),
    };
    match around.iter_mut().find(|(k, _)| *k == name) {
        Some((_, Json::Array(list))) => list.push(value),
        Some((_, slot)) => *slot = Json::Array(vec![std::mem::replace(slot, Json::Null), value]),
        None => around.push((name, value)),
    }
    Some(())
}

pub(super) const INTERNAL: &[Internal] = &[Internal {
    name: "kql_version_text",
    ret: Ret::Is(Type::Guid),
    nulls: true,
    eval: |r| Out::text(version(r.text(0)).map(|v| v.to_string())),
}];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::row(
        "url_encode",
        NONE,
        &[Text],
        TEXT,
        "Writes a text so that a form takes it.",
        "url_encode('a b')",
        |r| {
            Out::Text(
                percent_encode(r.text(0), |b| matches!(b, b'-' | b'_' | b'.' | b'!' | b'*' | b'(' | b')' | b' '))
                    .replace(' ', "+"),
            )
        },
    ),
    Function::row(
        "url_encode_component",
        NONE,
        &[Text],
        TEXT,
        "Writes a text so that it can be a part of an address.",
        "url_encode_component('a b')",
        |r| Out::Text(percent_encode(r.text(0), |b| matches!(b, b'-' | b'_' | b'.' | b'~'))),
    ),
    Function::row(
        "url_decode",
        NONE,
        &[Text],
        TEXT,
        "Reads a text that was written for an address.",
        "url_decode('a%20b')",
        |r| Out::Text(percent_decode(r.text(0))),
    ),
    Function::row(
        "parse_url",
        NONE,
        &[Text],
        DYNAMIC,
        "The parts of an address of the web.",
        "parse_url('https://h.example/p?q=1')",
        |r| Out::Text(url(r.text(0)).json()),
    )
    .alias(&["parseurl"]),
    Function::row(
        "parse_urlquery",
        NONE,
        &[Text],
        DYNAMIC,
        "The parameters of an address of the web.",
        "parse_urlquery('a=1&b=2')",
        |r| {
            let bag = Json::Bag(vec![("Query Parameters".to_owned(), query(r.text(0).trim_start_matches('?')))]);
            Out::Text(bag.json())
        },
    )
    .alias(&["parseurlquery"]),
    Function::row(
        "parse_path",
        NONE,
        &[Text],
        DYNAMIC,
        "The parts of a path of files.",
        "parse_path('/usr/lib/file.txt')",
        path,
    ),
    Function::native(
        "parse_version",
        NONE,
        &[Text],
        Ret::Is(Type::Decimal),
        "A version as a number that can be compared.",
        "parse_version('1.2.3.4')",
        |_, types, args| {
            let args = args.into_iter().zip(types).map(|(e, k)| super::text(*k, e)).collect();
            Ok(datafusion::logical_expr::try_cast(known("kql_version_text", args), Type::Decimal.arrow()))
        },
    ),
    Function::row(
        "parse_command_line",
        NONE,
        &[Param::Texted, Text],
        DYNAMIC,
        "The words of a command line by the rules of 'windows'.",
        "parse_command_line('echo \"hello world!\"', 'windows')",
        |r| {
            if !r.text(1).eq_ignore_ascii_case("windows") {
                return Out::Null;
            }
            let words = windows_words(r.text(0));
            if words.is_empty() { Out::Null } else { Out::Text(Json::Array(words).json()) }
        },
    ),
    Function::row(
        "parse_csv",
        Naming::Argument,
        &[Text],
        DYNAMIC,
        "The fields of a line of CSV.",
        "parse_csv('a,\"b,c\"')",
        |r| Out::Text(Json::Array(csv_fields(r.text(0))).json()),
    ),
    Function::row(
        "parse_xml",
        Naming::Argument,
        &[Text],
        DYNAMIC,
        "XML as a bag.",
        "parse_xml('<a><b>1</b></a>')",
        |r| xml(r.text(0)).map_or(Out::Null, |j| Out::Text(j.json())),
    ),
    Function::row(
        "punycode_from_string",
        NONE,
        &[Text],
        TEXT,
        "Writes a text in Punycode.",
        "punycode_from_string('académie')",
        |r| Out::text(idna::punycode::encode_str(r.text(0))),
    ),
    Function::row(
        "punycode_to_string",
        NONE,
        &[Text],
        TEXT,
        "Reads Punycode.",
        "punycode_to_string('acadmie-b1a')",
        |r| Out::text(idna::punycode::decode_to_string(r.text(0))),
    ),
    Function::row(
        "punycode_domain_from_string",
        NONE,
        &[Text],
        TEXT,
        "Writes the name of a domain in Punycode.",
        "punycode_domain_from_string('académie.fr')",
        |r| Out::text(idna::domain_to_ascii(r.text(0)).ok()),
    ),
    Function::row(
        "punycode_domain_to_string",
        NONE,
        &[Text],
        TEXT,
        "Reads the name of a domain in Punycode.",
        "punycode_domain_to_string('xn--acadmie-b1a.fr')",
        |r| {
            let (text, read) = idna::domain_to_unicode(r.text(0));
            if read.is_ok() { Out::Text(text) } else { Out::Null }
        },
    ),
];
