//! Reading values out of Arrow arrays, and what is computed from them.

use crate::calendar;
use crate::map::Derive;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use std::borrow::Cow;

/// A column of a batch in one of the few shapes that are read directly; all others are turned into text first.
pub(crate) enum Reader {
    Absent,
    Text(StringArray),
    Dictionary { keys: Int32Array, values: StringArray },
    Long(Int64Array),
    Int(Int32Array),
    Real(Float64Array),
    Bool(BooleanArray),
    Time(TimestampMicrosecondArray),
}

impl Reader {
    pub fn open(batch: &RecordBatch, column: &str) -> Self {
        match batch.column_by_name(column) {
            Some(array) if array.null_count() < array.len() => Self::of(array),
            _ => Reader::Absent,
        }
    }

    pub fn of(array: &ArrayRef) -> Self {
        match array.data_type() {
            DataType::Utf8 => Reader::Text(array.as_string::<i32>().clone()),
            DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
                let dictionary = array.as_dictionary::<Int32Type>();
                Reader::Dictionary {
                    keys: dictionary.keys().clone(),
                    values: dictionary.values().as_string::<i32>().clone(),
                }
            }
            DataType::Int64 => Reader::Long(array.as_primitive().clone()),
            DataType::Int32 => Reader::Int(array.as_primitive().clone()),
            DataType::Float64 => Reader::Real(array.as_primitive().clone()),
            DataType::Boolean => Reader::Bool(array.as_boolean().clone()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Reader::Time(array.as_primitive().clone()),
            DataType::Null => Reader::Absent,
            _ => match arrow::compute::cast(array, &DataType::Utf8) {
                Ok(text) => Reader::Text(text.as_string::<i32>().clone()),
                Err(_) => Reader::Absent,
            },
        }
    }

    /// The value of a row as text and, for numbers and times, as what it is.
    pub fn value(&self, row: usize) -> Option<Value<'_>> {
        let present = |array: &dyn Array| row < array.len() && array.is_valid(row);
        match self {
            Reader::Absent => None,
            Reader::Text(array) => present(array).then(|| Value::text(array.value(row))),
            Reader::Dictionary { keys, values } => {
                let key = present(keys).then(|| keys.value(row) as usize)?;
                present_at(values, key).then(|| Value::text(values.value(key)))
            }
            Reader::Long(array) => present(array).then(|| Value::long(array.value(row))),
            Reader::Int(array) => present(array).then(|| Value::long(i64::from(array.value(row)))),
            Reader::Real(array) => present(array).then(|| Value::real(array.value(row))),
            Reader::Bool(array) => present(array).then(|| Value::text(if array.value(row) { "true" } else { "false" })),
            Reader::Time(array) => present(array).then(|| Value::time(array.value(row))),
        }
    }
}

fn present_at(array: &StringArray, at: usize) -> bool {
    at < array.len() && array.is_valid(at)
}

/// One value.
#[derive(Debug, Clone)]
pub(crate) struct Value<'a> {
    pub text: Cow<'a, str>,
    number: Option<f64>,
    micros: Option<i64>,
}

impl<'a> Value<'a> {
    pub fn text(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), number: None, micros: None }
    }

    pub fn long(value: i64) -> Self {
        Self { text: Cow::Owned(value.to_string()), number: Some(value as f64), micros: None }
    }

    pub fn real(value: f64) -> Self {
        Self { text: Cow::Owned(value.to_string()), number: Some(value), micros: None }
    }

    pub fn time(micros: i64) -> Self {
        Self { text: Cow::Owned(calendar::format(micros)), number: None, micros: Some(micros) }
    }

    pub fn number(&self) -> Option<f64> {
        self.number.or_else(|| crate::yaml::number(self.text.trim()).map(|n| n.value))
    }

    pub fn micros(&self) -> Option<i64> {
        self.micros.or_else(|| calendar::parse(&self.text))
    }
}

/// Members of a list that are looked at; more would let one row cost as much as thousands.
const LIST_MAX: usize = 256;

impl Derive {
    /// What is computed from a value; none if that is absent.
    pub(crate) fn apply<'v>(&self, value: &Value<'v>) -> Vec<Value<'v>> {
        match self {
            Derive::Whole => vec![value.clone()],
            Derive::Prefixed(prefix) => vec![owned(format!("{prefix}{}", value.text))],
            Derive::Words(table) => table
                .iter()
                .find(|(name, _)| *name == value.text)
                .map(|(_, words)| words.iter().map(|w| Value::text(w)).collect())
                .unwrap_or_default(),
            Derive::Argument(index) => {
                let index = usize::from(*index);
                words(&value.text, index.min(WORDS_MAX) + 1).into_iter().nth(index).map(owned).into_iter().collect()
            }
            Derive::Json(key) => {
                // Most rows lack most keys: look before parsing.
                if !value.text.contains(key.as_ref()) {
                    return Vec::new();
                }
                let Ok(object) = serde_json::from_str::<serde_json::Value>(&value.text) else { return Vec::new() };
                match object.get(key.as_ref()) {
                    None | Some(serde_json::Value::Null) => Vec::new(),
                    Some(serde_json::Value::Array(items)) => items.iter().take(LIST_MAX).map(json_value).collect(),
                    Some(single) => vec![json_value(single)],
                }
            }
        }
    }
}

fn owned<'v>(text: String) -> Value<'v> {
    Value { text: Cow::Owned(text), number: None, micros: None }
}

fn json_value<'v>(value: &serde_json::Value) -> Value<'v> {
    match value {
        serde_json::Value::String(text) => owned(text.clone()),
        other => owned(other.to_string()),
    }
}

/// Words of a command line that are looked at.
const WORDS_MAX: usize = 64;

/// The words of a command line, split at white space outside quotes, quotes and backslashes taken away as a POSIX shell
/// does.
pub(crate) fn words(line: &str, count_max: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut started = false;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('"') | None, '\\') => word.extend(chars.next()),
            (Some(_), _) => word.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, _) if c.is_whitespace() => {
                if started {
                    found.push(std::mem::take(&mut word));
                    if found.len() == count_max {
                        return found;
                    }
                    started = false;
                }
                continue;
            }
            (None, _) => word.push(c),
        }
        started = true;
    }
    if started {
        found.push(word);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_split_as_a_shell_splits_them() {
        let line = r#"sh -c 'a b' "c \" d" e\ f """#;
        assert_eq!(words(line, 64), ["sh", "-c", "a b", "c \" d", "e f", ""]);
        assert_eq!(words(line, 2), ["sh", "-c"]);
        let second = Derive::Argument(2).apply(&Value::text(line));
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].text, "a b");
        assert!(Derive::Argument(6).apply(&Value::text(line)).is_empty());
    }

    #[test]
    fn json_members_come_as_text() {
        let value = Value::text(r#"{"a":"x","n":5,"l":["p","q"]}"#);
        let get = |key: &'static str| {
            Derive::Json(Cow::Borrowed(key)).apply(&value).iter().map(|v| v.text.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(get("a"), ["x"]);
        assert_eq!(get("n"), ["5"]);
        assert_eq!(get("l"), ["p", "q"]);
        assert_eq!(get("z"), Vec::<String>::new());
    }
}
