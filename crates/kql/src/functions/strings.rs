//! Text. Positions and lengths count characters, not bytes.

use super::convert::literal_text;
use super::eval::{Internal, Out, Row, TEXT_BYTES_MAX, check_regex, known};
use super::json::Json;
use super::signature::{Function, Param, Ret};
use super::{Context, Naming, Refusal};
use crate::Type;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use datafusion::logical_expr::Expr;
use md5::Digest;
use std::borrow::Cow;
use std::cmp::Ordering;

use Param::{Dynamic, Json as AnyJson, Long, NotDynamic, Text, TextConstant, Texted};
const TEXT: Ret = Ret::Is(Type::Text);
const LONG: Ret = Ret::Is(Type::Long);
const DYNAMIC: Ret = Ret::Is(Type::Dynamic);
const NONE: Naming = Naming::None;

fn length(text: &str) -> i64 {
    text.chars().count() as i64
}

/// Byte offset of a character, or the end.
fn byte_of(text: &str, at: usize) -> usize {
    if text.is_ascii() { at.min(text.len()) } else { text.char_indices().nth(at).map_or(text.len(), |(b, _)| b) }
}

/// A part of a text; a negative start counts from the end.
fn substring<'a>(r: &'a Row<'a>) -> Out<'a> {
    let text = r.text(0);
    let Some(start) = r.long(1) else { return Out::Null };
    let start = if start < 0 { (length(text) + start).max(0) } else { start };
    let size = if r.count() > 2 { r.long(2).unwrap_or(0).max(0) } else { i64::MAX };
    let from = byte_of(text, usize::try_from(start).unwrap_or(usize::MAX));
    let rest = text.get(from..).unwrap_or_default();
    let to = byte_of(rest, usize::try_from(size).unwrap_or(usize::MAX));
    Out::Str(rest.get(..to).unwrap_or_default())
}

/// The position of the n-th find between a start and a length, in characters; -1 if there is none.
fn position(r: &Row, find: &dyn Fn(&str, usize) -> Option<usize>) -> Option<i64> {
    let text = r.text(0);
    let all = length(text);
    let start = if r.count() > 2 { r.long(2)? } else { 0 };
    let start = if start < 0 { (all + start).max(0) } else { start };
    let size = if r.count() > 3 { r.long(3)? } else { -1 };
    let nth = if r.count() > 4 { r.long(4)? } else { 1 };
    if nth < 1 || start > all {
        return if nth < 1 { None } else { Some(-1) };
    }
    let end = if size < 0 { all } else { start.saturating_add(size).min(all) };
    let from = byte_of(text, usize::try_from(start).ok()?);
    let window = text.get(..byte_of(text, usize::try_from(end).ok()?))?;
    let mut at = from;
    let mut found = None;
    for _ in 0..nth {
        let Some(hit) = find(window, at) else { return Some(-1) };
        found = Some(hit);
        at = hit + window.get(hit..).and_then(|t| t.chars().next()).map_or(1, char::len_utf8);
    }
    found.map(|hit| window.get(..hit).map_or(-1, length))
}

fn split<'a>(r: &'a Row<'a>) -> Out<'a> {
    let (text, delimiter) = (r.text(0), r.text(1));
    let mut parts: Vec<Json> = if delimiter.is_empty() {
        vec![Json::Text(text.to_owned())]
    } else {
        text.split(delimiter).map(|p| Json::Text(p.to_owned())).collect()
    };
    if r.count() > 2 {
        let Some(at) = r.long(2) else { return Out::Null };
        let at = if at < 0 { at + parts.len() as i64 } else { at };
        parts =
            usize::try_from(at).ok().filter(|a| *a < parts.len()).map(|a| parts.swap_remove(a)).into_iter().collect();
    }
    Out::Text(Json::Array(parts).json())
}

fn joined<'a>(parts: impl Iterator<Item = &'a str>, delimiter: &str) -> Out<'static> {
    let mut out = String::new();
    for (at, part) in parts.enumerate() {
        if at > 0 {
            out.push_str(delimiter);
        }
        out.push_str(part);
    }
    Out::Text(out)
}

fn repeated<'a>(r: &'a Row<'a>) -> Out<'a> {
    let times = r.long(1).unwrap_or(0).clamp(0, 1024) as usize;
    let (text, delimiter) = (r.text(0), if r.count() > 2 { r.text(2) } else { "" });
    if (text.len() + delimiter.len()).saturating_mul(times) > TEXT_BYTES_MAX {
        return Out::Null;
    }
    joined(std::iter::repeat_n(text, times), delimiter)
}

/// The capture of the first match: 0 is the whole match.
fn extract<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(regex) = r.regex(r.text(0)) else { return Out::Null };
    let Some(group) = r.long(1).and_then(|g| usize::try_from(g).ok()) else { return Out::Null };
    regex.captures(r.text(2)).and_then(|c| c.get(group)).map_or(Out::Null, |m| Out::Str(m.as_str()))
}

/// With a type as the fourth argument, the text is converted; the type arrives as its name.
fn extract_lowered(_: &Context, types: &[Type], mut args: Vec<Expr>) -> Result<Expr, Refusal> {
    if let Some(pattern) = args.first().and_then(literal_text) {
        check_regex(pattern)?;
    }
    let target = if args.len() > 3 { args.pop().as_ref().and_then(literal_text).map(named_type) } else { None };
    let args = args
        .into_iter()
        .zip(types)
        .enumerate()
        .map(|(at, (e, k))| super::cast(*k, if at == 1 { Type::Long } else { Type::Text }, e))
        .collect();
    let found = known("kql_extract_text", args);
    Ok(super::cast(Type::Text, target.flatten().unwrap_or(Type::Text), found))
}

/// A type by the word that `typeof` takes.
pub(super) fn named_type(word: &str) -> Option<Type> {
    Some(match word {
        "bool" | "boolean" => Type::Bool,
        "int" => Type::Int,
        "long" => Type::Long,
        "real" | "double" => Type::Real,
        "decimal" => Type::Decimal,
        "datetime" | "date" => Type::Datetime,
        "timespan" | "time" => Type::Timespan,
        "guid" => Type::Guid,
        "dynamic" => Type::Dynamic,
        "string" => Type::Text,
        _ => return None,
    })
}

fn extract_all<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(regex) = r.regex(r.text(0)) else { return Out::Null };
    let text = r.text(r.count() - 1);
    let groups: Vec<Result<usize, String>> = if r.count() > 2 {
        let list = r.json(1).into_array().unwrap_or_default();
        list.iter()
            .map(|g| match g {
                Json::Long(n) => usize::try_from(*n).map_err(|_| String::new()),
                other => Err(other.text()),
            })
            .collect()
    } else {
        (1..regex.captures_len()).map(Ok).collect()
    };
    let mut out = Vec::new();
    for captures in regex.captures_iter(text) {
        let mut items: Vec<Json> = groups
            .iter()
            .map(|g| match g {
                Ok(n) => captures.get(*n),
                Err(name) => captures.name(name),
            })
            .map(|m| Json::Text(m.map_or("", |m| m.as_str()).to_owned()))
            .collect();
        out.push(match items.len() {
            0 => Json::Text(captures.get(0).map_or("", |m| m.as_str()).to_owned()),
            1 => items.swap_remove(0),
            _ => Json::Array(items),
        });
    }
    if out.is_empty() { Out::Null } else { Out::Text(Json::Array(out).json()) }
}

/// Rewrites a replacement from `\1` to what the regular expressions take, where `$` is a character.
fn rewrite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(d)) if d.is_ascii_digit() => {
                out.push_str(&format!("${{{d}}}"));
                chars.next();
            }
            ('\\', Some('\\')) => {
                out.push('\\');
                chars.next();
            }
            ('$', _) => out.push_str("$$"),
            (c, _) => out.push(c),
        }
    }
    out
}

fn replaced<'a>(r: &'a Row<'a>, subject: usize, pattern: usize, by: usize) -> Out<'a> {
    let Some(regex) = r.regex(r.text(pattern)) else { return Out::Str(r.text(subject)) };
    match regex.replace_all(r.text(subject), rewrite(r.text(by)).as_str()) {
        Cow::Borrowed(text) => Out::Str(text),
        Cow::Owned(text) => Out::Text(text),
    }
}

fn trimmed<'a>(r: &'a Row<'a>, start: bool, end: bool) -> Out<'a> {
    let mut text = r.text(1);
    let pattern = r.text(0);
    if start && let Some(regex) = r.regex(&format!("^(?:{pattern})")) {
        text = regex.find(text).and_then(|m| text.get(m.end()..)).unwrap_or(text);
    }
    if end && let Some(regex) = r.regex(&format!("(?:{pattern})$")) {
        text = regex.find(text).and_then(|m| text.get(..m.start())).unwrap_or(text);
    }
    Out::Str(text)
}

fn count_of<'a>(r: &'a Row<'a>) -> Out<'a> {
    let (text, search) = (r.text(0), r.text(1));
    if r.count() > 2 && r.text(2) == "regex" {
        return Out::long(r.regex(search).map(|x| x.find_iter(text).count() as i64));
    }
    if search.is_empty() {
        return Out::Long(0);
    }
    // Plain finds may overlap.
    let (mut count, mut from) = (0, 0);
    while let Some(at) = text.get(from..).and_then(|t| t.find(search)) {
        count += 1;
        from += at + search.chars().next().map_or(1, char::len_utf8);
    }
    Out::Long(count)
}

fn translate<'a>(r: &'a Row<'a>) -> Out<'a> {
    let from: Vec<char> = r.text(0).chars().collect();
    let to: Vec<char> = r.text(1).chars().collect();
    let map = |c: char| match from.iter().position(|f| *f == c) {
        None => Some(c),
        Some(at) => to.get(at).or(to.last()).copied(),
    };
    Out::Text(r.text(2).chars().filter_map(map).collect())
}

fn codepoints<'a>(r: &'a Row<'a>) -> Out<'a> {
    fn add(value: &Json, out: &mut String) {
        match value {
            Json::Array(items) => items.iter().for_each(|i| add(i, out)),
            Json::Long(n) => out.extend(u32::try_from(*n).ok().and_then(char::from_u32)),
            _ => {}
        }
    }
    let mut out = String::new();
    for at in 0..r.count() {
        add(&r.json(at), &mut out);
    }
    Out::Text(out)
}

fn has_any_index<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(list) = r.json(1).into_array() else { return Out::Null };
    let at = list.iter().position(|n| super::search::has_term(r.text(0), &n.text()));
    Out::Long(at.map_or(-1, |a| a as i64))
}

fn replace_strings<'a>(r: &'a Row<'a>) -> Out<'a> {
    let texts = |at| r.json(at).into_array().unwrap_or_default().iter().map(Json::text).collect::<Vec<_>>();
    let (from, to) = (texts(1), texts(2));
    if from.len() != to.len() || from.iter().any(String::is_empty) {
        return Out::Str(r.text(0));
    }
    let built = aho_corasick::AhoCorasick::builder().match_kind(aho_corasick::MatchKind::LeftmostFirst).build(&from);
    built.map_or(Out::Str(r.text(0)), |found| Out::Text(found.replace_all(r.text(0), &to)))
}

fn decoded(r: &Row) -> Option<Vec<u8>> {
    let text = r.text(0).trim();
    BASE64.decode(text).ok().or_else(|| {
        // Command lines and addresses often drop the padding.
        base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
    })
}

/// Bytes of a value as the hashes see them: text as it is, other types as their text.
fn xxhash(bytes: &[u8]) -> i64 {
    twox_hash::XxHash64::oneshot(0, bytes) as i64
}

fn hashed<'a>(r: &'a Row<'a>) -> Out<'a> {
    let bytes = xxhash(r.text(0).as_bytes());
    if r.count() > 1 {
        return Out::long(r.long(1).filter(|m| *m > 0).map(|m| bytes.rem_euclid(m)));
    }
    Out::Long(bytes)
}

fn hex_of<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(value) = r.long(0) else { return Out::Null };
    let width = r.long(1).unwrap_or(0).clamp(0, 64) as usize;
    Out::Text(format!("{value:0width$x}"))
}

fn format_bytes<'a>(r: &'a Row<'a>) -> Out<'a> {
    const UNITS: [&str; 9] = ["Bytes", "KB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let Some(value) = r.real(0) else { return Out::Null };
    let digits = if r.count() > 1 { r.real(1).unwrap_or(0.0).clamp(0.0, 15.0) as usize } else { 0 };
    let wanted = if r.count() > 2 { r.text(2) } else { "" };
    let mut at = UNITS.iter().position(|u| *u == wanted).unwrap_or(0);
    if wanted.is_empty() {
        at = (0..UNITS.len()).take_while(|p| value.abs() >= 1024f64.powi(*p as i32)).last().unwrap_or(0);
    }
    let scaled = format!("{:.digits$}", value / 1024f64.powi(at as i32));
    let scaled = if scaled.contains('.') { scaled.trim_end_matches('0').trim_end_matches('.') } else { &scaled };
    Out::Text(format!("{scaled} {}", UNITS.get(at).unwrap_or(&"Bytes")))
}

macro_rules! text {
    ($name:literal, $params:expr, $doc:literal, $example:literal, $eval:expr) => {
        Function::row($name, NONE, $params, TEXT, $doc, $example, $eval)
    };
}

/// What `extract` calls: a capture of the first match, always as text.
pub(super) const INTERNAL: &[Internal] =
    &[Internal { name: "kql_extract_text", ret: TEXT, nulls: true, eval: extract }];

pub(super) const FUNCTIONS: &[Function] = &[
    text!("strcat", &[Texted], "Joins values as one text.", "strcat('a', 1, true)", |r| {
        joined((0..r.count()).map(|at| r.text(at)), "")
    })
    .variadic(),
    text!(
        "strcat_delim",
        &[Texted, Texted, Texted],
        "Joins values with a delimiter between them.",
        "strcat_delim('-', 1, 'b')",
        |r| { joined((1..r.count()).map(|at| r.text(at)), r.text(0)) }
    )
    .variadic(),
    text!(
        "strcat_array",
        &[Dynamic, Texted],
        "Joins the elements of an array.",
        "strcat_array(dynamic([1, 2]), '->')",
        |r| {
            let items: Vec<String> = r.json(0).into_array().unwrap_or_default().iter().map(Json::text).collect();
            Out::Text(items.join(r.text(1)))
        }
    )
    .alias(&["array_strcat"]),
    Function::row("strlen", Naming::Prefix("strlen"), &[Text], LONG, "Counts characters.", "strlen('abc')", |r| {
        Out::Long(length(r.text(0)))
    }),
    Function::row(
        "string_size",
        Naming::Prefix("string_size"),
        &[Text],
        LONG,
        "Counts bytes.",
        "string_size('abc')",
        |r| Out::Long(r.text(0).len() as i64),
    ),
    Function::row(
        "strcmp",
        NONE,
        &[Texted, Texted],
        LONG,
        "Compares two texts: -1, 0 or 1.",
        "strcmp('a', 'b')",
        |r| {
            Out::Long(match r.text(0).cmp(r.text(1)) {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            })
        },
    ),
    text!(
        "strrep",
        &[Texted, Long, Texted],
        "Repeats a text, with a delimiter if one is given.",
        "strrep('ab', 3)",
        repeated
    )
    .optional(1),
    text!("toupper", &[Texted], "Turns letters into capitals.", "toupper('a')", |r| Out::Text(
        r.text(0).to_uppercase()
    )),
    text!("tolower", &[Texted], "Turns letters into small ones.", "tolower('A')", |r| {
        let text = r.text(0);
        if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_uppercase()) {
            Out::Str(text)
        } else {
            Out::Text(text.to_lowercase())
        }
    }),
    text!(
        "substring",
        &[Texted, Long, Long],
        "A part of a text, from a position that counts from 0.",
        "substring('abcd', 1, 2)",
        substring
    )
    .optional(1),
    text!("reverse", &[Texted], "Turns a text round.", "reverse('abc')", |r| Out::Text(
        r.text(0).chars().rev().collect()
    )),
    text!(
        "regex_quote",
        &[Texted],
        "Writes a text so that a regular expression takes it as it is.",
        "regex_quote('a.b')",
        |r| { Out::Text(regex::escape(r.text(0))) }
    ),
    Function::row(
        "indexof",
        NONE,
        &[Texted, Texted, Long, Long, Long],
        LONG,
        "The position of a text in another, or -1.",
        "indexof('abcdef', 'cd')",
        |r| Out::long(position(r, &|text, from| text.get(from..)?.find(r.text(1)).map(|at| from + at))),
    )
    .optional(3),
    Function::row(
        "indexof_regex",
        NONE,
        &[Texted, TextConstant, Long, Long, Long],
        LONG,
        "The position of a match of a regular expression, or -1.",
        "indexof_regex('abc12', '[0-9]+')",
        |r| {
            let Some(regex) = r.regex(r.text(1)) else { return Out::Null };
            Out::long(position(r, &|text, from| regex.find_at(text, from).map(|m| m.start())))
        },
    )
    .optional(3),
    Function::row(
        "has_any_index",
        NONE,
        &[Text, Dynamic],
        LONG,
        "The position of the first term of an array that a text has, or -1.",
        "has_any_index('an example', dynamic(['x', 'example']))",
        has_any_index,
    ),
    Function::row(
        "split",
        Naming::Argument,
        &[Texted, Text, Long],
        DYNAMIC,
        "Parts a text at a delimiter; with a position, that part alone in an array.",
        "split('a_b', '_')",
        split,
    )
    .optional(1),
    Function::native(
        "extract",
        NONE,
        &[TextConstant, Long, Text, Param::Any],
        Ret::Named(3),
        "A capture of the first match of a regular expression, or nothing.",
        "extract('x=([0-9.]+)', 1, 'x=45.6')",
        extract_lowered,
    )
    .optional(1),
    Function::row(
        "extract_all",
        NONE,
        &[TextConstant, AnyJson, Text],
        DYNAMIC,
        "The captures of every match of a regular expression.",
        "extract_all('([a-z])([0-9])', dynamic([1, 2]), 'a1b2')",
        extract_all,
    )
    .optional(1)
    .alias(&["extractall"]),
    text!(
        "replace_string",
        &[Text, Text, Text],
        "Replaces every find of a text.",
        "replace_string('aba', 'a', 'x')",
        |r| {
            if r.text(1).is_empty() { Out::Str(r.text(0)) } else { Out::Text(r.text(0).replace(r.text(1), r.text(2))) }
        }
    ),
    text!(
        "replace_strings",
        &[Text, Dynamic, Dynamic],
        "Replaces several texts, each by its own.",
        "replace_strings('ab', dynamic(['a']), dynamic(['x']))",
        replace_strings
    ),
    text!(
        "replace_regex",
        &[Text, TextConstant, TextConstant],
        "Replaces every match of a regular expression; \\1 stands for a capture.",
        "replace_regex('a1', '[0-9]', 'x')",
        |r| replaced(r, 0, 1, 2)
    ),
    text!(
        "replace",
        &[TextConstant, TextConstant, Text],
        "The old form of replace_regex: the pattern comes first.",
        "replace('[0-9]', 'x', 'a1')",
        |r| replaced(r, 2, 0, 1)
    ),
    text!(
        "trim",
        &[TextConstant, Text],
        "Cuts a match of a regular expression off both ends.",
        "trim('-', '-a-')",
        |r| { trimmed(r, true, true) }
    ),
    text!(
        "trim_start",
        &[TextConstant, Text],
        "Cuts a match of a regular expression off the start.",
        "trim_start('-', '-a')",
        |r| { trimmed(r, true, false) }
    ),
    text!(
        "trim_end",
        &[TextConstant, Text],
        "Cuts a match of a regular expression off the end.",
        "trim_end('-', 'a-')",
        |r| { trimmed(r, false, true) }
    ),
    Function::row(
        "countof",
        NONE,
        &[Text, Text, TextConstant],
        LONG,
        "Counts the finds of a text, or the matches of a regular expression.",
        "countof('aaa', 'a')",
        count_of,
    )
    .optional(1),
    text!(
        "translate",
        &[Text, Text, Text],
        "Replaces characters by those at the same place of another list.",
        "translate('ab', 'xy', 'abc')",
        translate
    ),
    text!(
        "unicode_codepoints_to_string",
        &[AnyJson],
        "Makes a text of the numbers of its characters.",
        "unicode_codepoints_to_string(dynamic([75, 117]))",
        codepoints
    )
    .variadic()
    .alias(&["make_string"]),
    Function::row(
        "unicode_codepoints_from_string",
        NONE,
        &[Texted],
        DYNAMIC,
        "The numbers of the characters of a text.",
        "unicode_codepoints_from_string('Ku')",
        |r| Out::Text(Json::Array(r.text(0).chars().map(|c| Json::Long(i64::from(u32::from(c)))).collect()).json()),
    )
    .alias(&["to_utf8"]),
    Function::row(
        "isascii",
        NONE,
        &[Texted],
        Ret::Is(Type::Bool),
        "Says whether a text is ASCII.",
        "isascii('a')",
        |r| Out::Bool(r.text(0).is_ascii()),
    ),
    Function::row(
        "isutf8",
        NONE,
        &[Texted],
        Ret::Is(Type::Bool),
        "Says whether a text is UTF-8, as texts here are.",
        "isutf8('a')",
        |_| Out::Bool(true),
    ),
    text!("base64_encode_tostring", &[Text], "Writes a text as base64.", "base64_encode_tostring('Kusto')", |r| {
        Out::Text(BASE64.encode(r.text(0)))
    })
    .alias(&["base64_encodestring"]),
    text!(
        "base64_decode_tostring",
        &[Text],
        "Reads base64 as text; what is not UTF-8 is nothing.",
        "base64_decode_tostring('S3VzdG8=')",
        |r| { Out::text(decoded(r).and_then(|b| String::from_utf8(b).ok())) }
    )
    .alias(&["base64_decodestring"]),
    Function::row(
        "base64_decode_toarray",
        NONE,
        &[Text],
        DYNAMIC,
        "Reads base64 as an array of bytes.",
        "base64_decode_toarray('S3VzdG8=')",
        |r| {
            Out::text(decoded(r).map(|b| Json::Array(b.into_iter().map(|b| Json::Long(i64::from(b))).collect()).json()))
        },
    ),
    Function::row(
        "base64_decode_toguid",
        NONE,
        &[Text],
        Ret::Is(Type::Guid),
        "Reads base64 as a guid.",
        "base64_decode_toguid('JpbpECu8dUy7Pv5gbeJXAA==')",
        |r| {
            Out::text(
                decoded(r).and_then(|b| Some(uuid::Uuid::from_bytes_le(b.try_into().ok()?).hyphenated().to_string())),
            )
        },
    ),
    text!(
        "base64_encode_fromguid",
        &[Param::Guid],
        "Writes a guid as base64.",
        "base64_encode_fromguid(new_guid())",
        |r| { Out::text(uuid::Uuid::parse_str(r.text(0)).ok().map(|id| BASE64.encode(id.to_bytes_le()))) }
    ),
    text!(
        "base64_encode_fromarray",
        &[Dynamic],
        "Writes an array of bytes as base64.",
        "base64_encode_fromarray(dynamic([1, 2]))",
        |r| {
            let bytes: Option<Vec<u8>> = r.json(0).into_array().and_then(|items| {
                items.iter().map(|i| if let Json::Long(n) = i { u8::try_from(*n).ok() } else { None }).collect()
            });
            Out::text(bytes.map(|b| BASE64.encode(b)))
        }
    ),
    Function::row(
        "hash",
        NONE,
        &[Texted, Long],
        LONG,
        "A 64-bit hash (xxHash) of a value's text, or its rest by a divisor.",
        "hash('World', 100)",
        hashed,
    )
    .optional(1),
    Function::row(
        "hash_xxhash64",
        NONE,
        &[Texted, Long],
        LONG,
        "A 64-bit hash (xxHash) of a value's text.",
        "hash_xxhash64('World')",
        hashed,
    )
    .optional(1),
    Function::row("hash_many", NONE, &[Texted], LONG, "One hash of several values.", "hash_many('a', 'b')", |r| {
        let hash = (0..r.count()).map(|at| xxhash(r.text(at).as_bytes())).fold(0i64, |a, b| a.rotate_left(5) ^ b);
        Out::Long(hash)
    })
    .variadic(),
    Function::row(
        "hash_combine",
        NONE,
        &[Long, Long],
        LONG,
        "One hash of several hashes.",
        "hash_combine(hash('a'), hash('b'))",
        |r| Out::Long((0..r.count()).filter_map(|at| r.long(at)).fold(0i64, |a, b| a.rotate_left(5) ^ b)),
    )
    .variadic(),
    text!("hash_md5", &[NotDynamic], "The MD5 of a value's text, in hexadecimal.", "hash_md5('World')", |r| {
        Out::Text(hex::encode(md5::Md5::digest(plain(r).as_bytes())))
    }),
    text!("hash_sha1", &[NotDynamic], "The SHA-1 of a value's text, in hexadecimal.", "hash_sha1('World')", |r| {
        Out::Text(hex::encode(sha1::Sha1::digest(plain(r).as_bytes())))
    }),
    text!(
        "hash_sha256",
        &[NotDynamic],
        "The SHA-256 of a value's text, in hexadecimal.",
        "hash_sha256('World')",
        |r| { Out::Text(hex::encode(sha2::Sha256::digest(plain(r).as_bytes()))) }
    ),
    Function::row(
        "tohex",
        Naming::Argument,
        &[Long, Long],
        TEXT,
        "Writes an integer in hexadecimal.",
        "tohex(256)",
        hex_of,
    )
    .optional(1),
    Function::row(
        "format_bytes",
        Naming::Argument,
        &[Param::Real, Param::Real, TextConstant],
        TEXT,
        "Writes a number of bytes with a unit that suits it.",
        "format_bytes(564, 1, 'KB')",
        format_bytes,
    )
    .optional(2),
];

fn plain<'a>(r: &'a Row<'a>) -> Cow<'a, str> {
    match super::convert::scalar_text(r, 0) {
        Out::Str(text) => Cow::Borrowed(text),
        Out::Text(text) => Cow::Owned(text),
        _ => Cow::Borrowed(""),
    }
}
