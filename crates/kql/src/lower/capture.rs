//! `parse`: one compiled pattern over a text column gives a structure `{hit, c0, c1, …}` of captured texts. What each
//! text means as its column's type is said by the conversion functions, outside.

use crate::lower::kernel::{Kernel, Recipe, plain_text};
use arrow::array::{Array, ArrayRef, BooleanBuilder, StringBuilder, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, ScalarUDF};
use regex::Regex;
use std::borrow::Cow;
use std::sync::Arc;

/// Name of the member that says whether the pattern fits the row.
pub(crate) const HIT: &str = "hit";

/// Name of the member that holds the capture at `at`.
pub(crate) fn member(at: usize) -> String {
    format!("c{at}")
}

/// Bytes that a compiled pattern may take: a text of at most 64 KB of literals fits, a bomb of repetitions does not.
const PATTERN_BYTES_MAX: usize = 8 << 20;

/// Compiles a pattern with our bounds.
pub(crate) fn compile(pattern: &str) -> std::result::Result<Regex, String> {
    regex::RegexBuilder::new(&crate::lower::pattern::ours(pattern))
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|e| e.to_string())
}

/// The structure for a text. `groups` are the numbers of the pattern's groups that are captured, in the order of members.
pub(crate) fn structure(text: Expr, pattern: Regex, groups: Vec<usize>) -> Expr {
    structure_udf(pattern, groups).call(vec![text])
}

pub(super) fn structure_udf(pattern: Regex, groups: Vec<usize>) -> ScalarUDF {
    let mut fields = vec![Field::new(HIT, DataType::Boolean, true)];
    fields.extend((0..groups.len()).map(|at| Field::new(member(at), DataType::Utf8, true)));
    let fields = Fields::from(fields);
    let recipe = Recipe::Parse { pattern: pattern.as_str().to_owned(), groups: groups.clone() };
    Kernel::udf("kql_parse", recipe, DataType::Struct(fields.clone()), move |arrays, rows| {
        let mut hit = BooleanBuilder::with_capacity(rows);
        let mut columns: Vec<StringBuilder> = groups.iter().map(|_| StringBuilder::new()).collect();
        let texts = arrays.first().map(plain_text).transpose()?;
        let mut places = pattern.capture_locations();
        for row in 0..rows {
            let text = texts.as_ref().filter(|t| t.is_valid(row)).map_or("", |t| t.value(row));
            let found = pattern.captures_read(&mut places, text).is_some();
            hit.append_value(found);
            for (builder, &group) in columns.iter_mut().zip(&groups) {
                let part = if found { places.get(group).and_then(|(a, b)| text.get(a..b)) } else { None };
                builder.append_option(part);
            }
        }
        let mut children: Vec<ArrayRef> = vec![Arc::new(hit.finish())];
        children.extend(columns.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        let answer: Result<ArrayRef> =
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), children, None, rows)?));
        answer
    })
}

/// `parse-kv`: the values of known keys in a text of pairs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Pairs {
    /// Between pairs.
    pub pair: String,
    /// Between key and value.
    pub key_value: String,
    /// Around values; opening and closing.
    pub quotes: Vec<(char, char)>,
    /// What makes the next sign of a value in quotes one of the value.
    pub escape: Option<char>,
    /// A text that begins the next pair without a delimiter is not split at.
    pub greedy: bool,
}

/// The structure of the keys' values.
pub(crate) fn pairs(text: Expr, keys: Vec<String>, how: Pairs) -> Expr {
    pairs_udf(keys, how).call(vec![text])
}

pub(super) fn pairs_udf(keys: Vec<String>, how: Pairs) -> ScalarUDF {
    let mut fields = vec![Field::new(HIT, DataType::Boolean, true)];
    fields.extend((0..keys.len()).map(|at| Field::new(member(at), DataType::Utf8, true)));
    let fields = Fields::from(fields);
    let recipe = Recipe::ParseKv { keys: keys.clone(), how: how.clone() };
    Kernel::udf("kql_parse_kv", recipe, DataType::Struct(fields.clone()), move |arrays, rows| {
        let mut hit = BooleanBuilder::with_capacity(rows);
        let mut columns: Vec<StringBuilder> = keys.iter().map(|_| StringBuilder::new()).collect();
        let texts = arrays.first().map(plain_text).transpose()?;
        for row in 0..rows {
            let text = texts.as_ref().filter(|t| t.is_valid(row)).map_or("", |t| t.value(row));
            let found = how.read(text);
            hit.append_value(true);
            for (builder, key) in columns.iter_mut().zip(&keys) {
                builder.append_option(found.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_ref()));
            }
        }
        let mut children: Vec<ArrayRef> = vec![Arc::new(hit.finish())];
        children.extend(columns.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        let answer: Result<ArrayRef> =
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), children, None, rows)?));
        answer
    })
}

/// The structure of the keys' values, where each match of a pattern is a pair: its first group the key, its second the
/// value.
pub(crate) fn matched_pairs(text: Expr, keys: Vec<String>, pattern: Regex) -> Expr {
    matched_pairs_udf(keys, pattern).call(vec![text])
}

pub(super) fn matched_pairs_udf(keys: Vec<String>, pattern: Regex) -> ScalarUDF {
    let mut fields = vec![Field::new(HIT, DataType::Boolean, true)];
    fields.extend((0..keys.len()).map(|at| Field::new(member(at), DataType::Utf8, true)));
    let fields = Fields::from(fields);
    let recipe = Recipe::ParseKvRegex { keys: keys.clone(), pattern: pattern.as_str().to_owned() };
    Kernel::udf("kql_parse_kv_regex", recipe, DataType::Struct(fields.clone()), move |arrays, rows| {
        let mut hit = BooleanBuilder::with_capacity(rows);
        let mut columns: Vec<StringBuilder> = keys.iter().map(|_| StringBuilder::new()).collect();
        let texts = arrays.first().map(plain_text).transpose()?;
        for row in 0..rows {
            let text = texts.as_ref().filter(|t| t.is_valid(row)).map_or("", |t| t.value(row));
            let pair = |c: regex::Captures<'_>| Some((c.get(1)?.range(), c.get(2)?.range()));
            let found: Vec<_> = pattern.captures_iter(text).filter_map(pair).collect();
            hit.append_value(true);
            for (builder, key) in columns.iter_mut().zip(&keys) {
                let value = found.iter().find(|(k, _)| text.get(k.clone()).is_some_and(|k| k == key));
                builder.append_option(value.and_then(|(_, v)| text.get(v.clone())));
            }
        }
        let mut children: Vec<ArrayRef> = vec![Arc::new(hit.finish())];
        children.extend(columns.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        let answer: Result<ArrayRef> =
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), children, None, rows)?));
        answer
    })
}

impl Pairs {
    /// Keys and values, in order.
    fn read<'a>(&self, text: &'a str) -> Vec<(&'a str, Cow<'a, str>)> {
        let mut found = vec![];
        let mut rest = text;
        while !rest.is_empty() {
            let Some(at) = rest.find(self.key_value.as_str()).filter(|_| !self.key_value.is_empty()) else { break };
            let (before, after) = rest.split_at(at);
            // What stands before the key in the same piece belongs to no pair.
            let key = match self.quoted_key(before) {
                Some(key) => key,
                None if self.pair.is_empty() => before,
                None => before.rsplit(self.pair.as_str()).next().unwrap_or(before),
            };
            let after = after.get(self.key_value.len()..).unwrap_or_default();
            let quoted = after.chars().next().and_then(|c| {
                let close = self.quotes.iter().find(|(open, _)| *open == c)?.1;
                self.quoted(after.get(c.len_utf8()..)?, close)
            });
            let (value, next) = match quoted {
                Some(parts) => parts,
                None => {
                    let (value, next) = self.bare(after);
                    (Cow::Borrowed(value), next)
                }
            };
            found.push((trim_quotes(key.trim(), &self.quotes), value));
            rest = next;
        }
        found
    }

    /// A value up to the quote that ends it, and what follows; none where no quote does.
    fn quoted<'a>(&self, inner: &'a str, close: char) -> Option<(Cow<'a, str>, &'a str)> {
        let mut value = String::new();
        let mut chars = inner.char_indices();
        let mut plain = true;
        while let Some((at, c)) = chars.next() {
            if Some(c) == self.escape {
                plain = false;
                value.push(chars.next()?.1);
            } else if c == close {
                let rest = inner.get(at + c.len_utf8()..)?;
                return Some((if plain { Cow::Borrowed(inner.get(..at)?) } else { Cow::Owned(value) }, rest));
            } else {
                value.push(c);
            }
        }
        None
    }

    /// A key in quotes, which may hold what is between pairs.
    fn quoted_key<'a>(&self, before: &'a str) -> Option<&'a str> {
        self.quotes.iter().find_map(|(open, close)| {
            let inner = before.trim_end().strip_suffix(*close)?;
            inner.get(inner.rfind(*open)? + open.len_utf8()..)
        })
    }

    fn bare<'a>(&self, after: &'a str) -> (&'a str, &'a str) {
        if self.pair.is_empty() {
            return (after, "");
        }
        if self.greedy {
            // The value goes on to the delimiter before the next key.
            let Some(next_key) = after.find(self.key_value.as_str()) else { return (after, "") };
            let head = after.get(..next_key).unwrap_or(after);
            return match head.rfind(self.pair.as_str()) {
                Some(at) => {
                    (after.get(..at).unwrap_or_default(), after.get(at + self.pair.len()..).unwrap_or_default())
                }
                None => (after, ""),
            };
        }
        match after.find(self.pair.as_str()) {
            Some(at) => (after.get(..at).unwrap_or_default(), after.get(at + self.pair.len()..).unwrap_or_default()),
            None => (after, ""),
        }
    }
}

fn trim_quotes<'a>(key: &'a str, quotes: &[(char, char)]) -> &'a str {
    for (open, close) in quotes {
        if let Some(inner) = key.strip_prefix(*open).and_then(|k| k.strip_suffix(*close)) {
            return inner;
        }
    }
    key
}
