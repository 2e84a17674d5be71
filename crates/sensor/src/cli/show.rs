//! Data on stdout: for people or for programs.

use super::Output;
use crate::policy::Settings;
use serde_json::{Value, json};

/// Writes in the form asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Show {
    pub output: Output,
}

/// A value for people: texts without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        other => other.to_string(),
    }
}

impl Show {
    /// An object: one line a field.
    pub fn value(self, value: &Value) {
        if self.output == Output::Json {
            println!("{value}");
            return;
        }
        if let Some(object) = value.as_object() {
            let width = object.keys().map(String::len).max().unwrap_or(0);
            for (key, value) in object {
                match value {
                    Value::Object(inner) => {
                        println!("{key}:");
                        for (k, v) in inner {
                            println!("  {k:<width$}: {}", plain(v));
                        }
                    }
                    Value::Array(items) if !items.is_empty() => {
                        println!("{key}:");
                        for v in items {
                            println!("  {}", plain(v));
                        }
                    }
                    value => println!("{key:<width$}: {}", plain(value)),
                }
            }
        } else {
            println!("{}", plain(value));
        }
    }

    /// One value alone.
    pub fn bare(self, value: &Value) {
        println!("{}", if self.output == Output::Json { value.to_string() } else { plain(value) });
    }

    /// Objects with the same fields.
    pub fn rows(self, rows: &[Value]) {
        if self.output == Output::Json {
            println!("{}", Value::from(rows.to_vec()));
            return;
        }
        for row in rows {
            let fields: Vec<String> = row
                .as_object()
                .map(|o| o.iter().filter(|(_, v)| *v != &json!("")).map(|(k, v)| format!("{k}={}", plain(v))).collect())
                .unwrap_or_default();
            println!("{}", fields.join("  "));
        }
    }

    /// Configuration keys.
    pub fn settings(self, settings: &Settings) {
        if self.output == Output::Json {
            let all: serde_json::Map<String, Value> = settings
                .iter()
                .map(|(k, s)| ((*k).to_owned(), json!({"value": s.value, "origin": s.origin})))
                .collect();
            println!("{}", Value::Object(all));
            return;
        }
        let width = settings.keys().map(|k| k.len()).max().unwrap_or(0);
        for (key, setting) in settings {
            let origin = plain(&serde_json::to_value(setting.origin).unwrap_or_default());
            println!("{key:<width$} = {}  ({origin})", setting.value);
        }
    }
}
