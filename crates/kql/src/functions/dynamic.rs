//! Dynamic values: paths into them, arrays, bags and sets.

use super::eval::{Internal, Out, Row};
use super::json::Json;
use super::signature::{Function, Param, Ret};
use super::{Context, Naming, Refusal};
use crate::Type;
use datafusion::logical_expr::Expr;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// Elements of an array that a function makes: the language's own bound on arrays.
pub(super) const ELEMENTS_MAX: usize = 1_048_576;

/// Looks for one key in a bag without building the rest; the text of its value is borrowed.
struct Find<'k>(&'k str);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a bag")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        struct IsKey<'k>(&'k str);
        impl<'de> DeserializeSeed<'de> for IsKey<'_> {
            type Value = bool;
            fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
                d.deserialize_str(self)
            }
        }
        impl Visitor<'_> for IsKey<'_> {
            type Value = bool;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, v: &str) -> Result<bool, E> {
                Ok(v == self.0)
            }
        }
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsKey(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Looks for one element of an array; a negative position counts from the end.
struct Nth(i64);

impl<'de> Visitor<'de> for Nth {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items: Vec<&'de RawValue> = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        let at = if self.0 < 0 { self.0 + items.len() as i64 } else { self.0 };
        Ok(usize::try_from(at).ok().and_then(|at| items.get(at).copied()))
    }
}

/// Walks into a JSON text: the arguments after the first are names and positions.
fn path<'a>(r: &'a Row<'a>) -> Out<'a> {
    let mut here: &str = r.text(0);
    for at in 1..r.count() {
        let mut json = serde_json::Deserializer::from_str(here);
        let found = match r.long(at) {
            Some(position) if here.trim_start().starts_with('[') => json.deserialize_seq(Nth(position)),
            None if !r.is_null(at) && here.trim_start().starts_with('{') => json.deserialize_map(Find(r.text(at))),
            _ => return Out::Null,
        };
        match found {
            Ok(Some(value)) => here = value.get(),
            _ => return Out::Null,
        }
    }
    if here == "null" || here.is_empty() { Out::Null } else { Out::Str(here) }
}

/// The type of what a dynamic value holds.
fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Long(_) => "long",
        Json::Real(_) => "double",
        Json::Text(_) => "string",
        Json::Array(_) => "array",
        Json::Bag(_) => "dictionary",
    }
}

/// The description of a value that `buildschema` gives. Nesting is bounded by what the parser lets through.
pub(super) fn shape(value: &Json, depth: usize) -> Json {
    match value {
        Json::Bag(items) if depth < 64 => {
            Json::Bag(items.iter().map(|(k, v)| (k.clone(), shape(v, depth + 1))).collect())
        }
        Json::Array(items) if depth < 64 => {
            let inner = items.iter().map(|v| shape(v, depth + 1)).fold(None, |a, b| Some(joined(a, b)));
            Json::Bag(vec![("`indexer`".to_owned(), inner.unwrap_or(Json::Array(Vec::new())))])
        }
        other => Json::Text(type_of(other).to_owned()),
    }
}

/// One description that fits what either of two fits.
pub(super) fn joined(a: Option<Json>, b: Json) -> Json {
    match (a, b) {
        (None, b) => b,
        (Some(Json::Bag(mut items)), Json::Bag(others)) => {
            for (key, value) in others {
                match items.iter_mut().find(|(k, _)| *k == key) {
                    Some((_, slot)) => *slot = joined(Some(std::mem::replace(slot, Json::Null)), value),
                    None => items.push((key, value)),
                }
            }
            Json::Bag(items)
        }
        (Some(a), b) if a == b => a,
        (Some(Json::Array(mut kinds)), b) => {
            let others = if let Json::Array(others) = b { others } else { vec![b] };
            for other in others {
                if !kinds.contains(&other) {
                    kinds.push(other);
                }
            }
            Json::Array(kinds)
        }
        (Some(a), Json::Array(kinds)) => joined(Some(Json::Array(vec![a])), Json::Array(kinds)),
        (Some(a), b) => Json::Array(vec![a, b]),
    }
}

pub(super) const INTERNAL: &[Internal] = &[
    Internal { name: "kql_path", ret: Ret::Is(Type::Dynamic), nulls: true, eval: path },
    Internal {
        name: "kql_dynamic_parsed",
        ret: Ret::Is(Type::Dynamic),
        nulls: true,
        eval: |r| {
            let text = r.text(0).trim();
            let whole = serde_json::from_str::<IgnoredAny>(text).is_ok();
            match text {
                "" | "null" => Out::Null,
                // JSON stays as it is written: it is read where it is used.
                json if whole => Out::Str(json),
                _ => Out::json(&Json::Text(r.text(0).to_owned())),
            }
        },
    },
    Internal {
        name: "kql_dynamic_is_null",
        ret: Ret::Is(Type::Bool),
        nulls: true,
        eval: |r| Out::Bool(matches!(r.text(0).trim(), "" | "null")),
    },
    Internal {
        name: "kql_dynamic_type",
        ret: Ret::Is(Type::Text),
        nulls: true,
        eval: |r| Out::Str(type_of(&r.json(0))),
    },
    Internal {
        name: "kql_dynamic_key",
        ret: Ret::Is(Type::Guid),
        nulls: true,
        eval: |r| Out::text(Some(r.json(0).text())),
    },
    Internal {
        name: "kql_members",
        ret: Ret::Is(Type::Dynamic),
        nulls: true,
        eval: |r| {
            let mut out = Vec::new();
            for at in 0..r.count() {
                match r.json(at) {
                    Json::Array(items) => out.extend(items),
                    Json::Null => {}
                    other => out.push(other),
                }
            }
            Out::Text(Json::Array(out).json())
        },
    },
];

pub(super) const FUNCTIONS: &[Function] = &[];
