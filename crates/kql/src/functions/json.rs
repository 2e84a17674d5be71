//! A dynamic value while it is worked with. In memory and in files it is JSON text; the order of a bag's keys is kept.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt::{self, Write};

/// A dynamic value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Long(i64),
    Real(f64),
    Text(String),
    Array(Vec<Json>),
    Bag(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Json, E> {
                Ok(Json::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Json, E> {
                Ok(Json::Long(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Json, E> {
                Ok(i64::try_from(v).map_or(Json::Real(v as f64), Json::Long))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Json, E> {
                Ok(Json::Real(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Json, E> {
                Ok(Json::Text(v.to_owned()))
            }
            fn visit_string<E>(self, v: String) -> Result<Json, E> {
                Ok(Json::Text(v))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut items: Vec<(String, Json)> = Vec::new();
                while let Some(item) = map.next_entry()? {
                    items.push(item);
                }
                Ok(Json::Bag(unique(items)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A bag's last value of a key counts; it stays where the key came first.
pub(super) fn unique(items: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let mut at = std::collections::HashMap::with_capacity(items.len());
    let mut out: Vec<(String, Json)> = Vec::with_capacity(items.len());
    for (key, value) in items {
        match at.get(&key).and_then(|at: &usize| out.get_mut(*at)) {
            Some(slot) => slot.1 = value,
            None => {
                at.insert(key.clone(), out.len());
                out.push((key, value));
            }
        }
    }
    out
}

impl Json {
    /// Reads a dynamic value; text that is not JSON is a text, no text is null. Nesting is bounded by the parser.
    pub(super) fn parse(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self::Null;
        }
        serde_json::from_str(text).unwrap_or_else(|_| Self::Text(text.to_owned()))
    }

    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
            // Writing to a string cannot fail.
            Self::Long(v) => {
                let _ = write!(out, "{v}");
            }
            Self::Real(v) if v.is_finite() => {
                let _ = write!(out, "{v:?}");
            }
            Self::Real(v) => {
                let _ = write!(out, "\"{}\"", real_text(*v));
            }
            Self::Text(v) => write_text(v, out),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Bag(items) => {
                out.push('{');
                for (at, (key, item)) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    item.write(out);
                }
                out.push('}');
            }
        }
    }

    pub(super) fn json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// The value as a text function sees it: a text without quotes, null as nothing, a container as JSON.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Text(v) => v.clone(),
            Self::Bool(v) => if *v { "true" } else { "false" }.to_owned(),
            Self::Real(v) => real_text(*v),
            other => other.json(),
        }
    }

    pub(super) fn real(&self) -> Option<f64> {
        match self {
            Self::Long(v) => Some(*v as f64),
            Self::Real(v) => Some(*v),
            Self::Bool(v) => Some(f64::from(u8::from(*v))),
            Self::Text(v) => match v.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                other => other.trim().parse().ok(),
            },
            _ => None,
        }
    }

    pub(super) const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(super) fn into_array(self) -> Option<Vec<Json>> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub(super) fn into_bag(self) -> Option<Vec<(String, Json)>> {
        if let Self::Bag(items) = self { Some(items) } else { None }
    }

    pub(super) fn from_real(value: f64) -> Self {
        if value.is_nan() { Self::Text("NaN".to_owned()) } else { Self::Real(value) }
    }
}

/// A JSON string.
pub(super) fn write_text(text: &str, out: &mut String) {
    // A string always serialises.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// A real as `tostring` writes it.
pub(super) fn real_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        format!("{value:?}")
    }
}
