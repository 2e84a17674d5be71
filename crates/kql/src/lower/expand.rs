//! `mv-expand` and `mv-apply`: each row's arrays become rows. One function makes of all expanded columns one list of
//! structures, so that they go in step; the engine's own `unnest` makes rows of the list.

use crate::lower::kernel::{Kernel, Recipe, plain_text};
use arrow::array::{Array, ArrayRef, Int64Builder, ListArray, StringBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{Expr, ScalarUDF};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that one function call may make of one batch: above it the answer is refused rather than memory exhausted.
const BATCH_ROWS_MAX: usize = 16_000_000;

/// How a bag is expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) enum Bags {
    /// Each property becomes a bag of one property.
    Bag,
    /// Each property becomes `["name", value]`.
    Array,
}

/// Name of the member that holds the element's number.
pub(crate) const INDEX: &str = "index";

/// Name of the member that holds the elements of the argument at `at`.
pub(crate) fn member(at: usize) -> String {
    format!("c{at}")
}

/// The list of structures `{index, c0, c1, …}` of dynamic arguments.
pub(crate) fn list(arguments: Vec<Expr>, bags: Bags, rows_max: Option<u64>) -> Expr {
    list_udf(arguments.len(), bags, rows_max).call(arguments)
}

pub(super) fn list_udf(arguments: usize, bags: Bags, rows_max: Option<u64>) -> ScalarUDF {
    let members = members(arguments);
    let item = Arc::new(Field::new_list_field(DataType::Struct(members.clone()), true));
    let limit = rows_max.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let recipe = Recipe::Expand { arguments, bags, limit: rows_max };
    Kernel::udf("kql_expand", recipe, DataType::List(Arc::clone(&item)), move |arrays, rows| {
        expand(arrays, rows, bags, limit, &members, &item)
    })
}

fn members(count: usize) -> Fields {
    let mut fields = vec![Field::new(INDEX, DataType::Int64, true)];
    fields.extend((0..count).map(|at| Field::new(member(at), DataType::Utf8, true)));
    Fields::from(fields)
}

fn expand(
    arrays: &[ArrayRef],
    rows: usize,
    bags: Bags,
    limit: usize,
    members: &Fields,
    item: &Arc<Field>,
) -> Result<ArrayRef> {
    let texts = arrays.iter().map(plain_text).collect::<Result<Vec<_>>>()?;
    let mut index = Int64Builder::new();
    let mut columns: Vec<StringBuilder> = arrays.iter().map(|_| StringBuilder::new()).collect();
    let mut lengths = Vec::with_capacity(rows);
    let mut total = 0_usize;
    for row in 0..rows {
        let parts: Vec<Vec<Option<String>>> =
            texts.iter().map(|t| elements(t.is_valid(row).then(|| t.value(row)), bags)).collect();
        let length = parts.iter().map(Vec::len).max().unwrap_or(0).min(limit);
        total = total.saturating_add(length);
        if total > BATCH_ROWS_MAX {
            return exec_err!("mv-expand makes more than {BATCH_ROWS_MAX} rows of one batch");
        }
        for at in 0..length {
            index.append_value(i64::try_from(at).unwrap_or(i64::MAX));
            for (builder, part) in columns.iter_mut().zip(&parts) {
                builder.append_option(part.get(at).and_then(Option::as_deref));
            }
        }
        lengths.push(length);
    }
    let mut children: Vec<ArrayRef> = vec![Arc::new(index.finish())];
    children.extend(columns.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    let values = StructArray::try_new_with_length(members.clone(), children, None::<NullBuffer>, total)?;
    let list = ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), Arc::new(values), None)?;
    Ok(Arc::new(list))
}

/// A dynamic value's elements, each as JSON text; null is one null, an empty array or bag is nothing.
fn elements(text: Option<&str>, bags: Bags) -> Vec<Option<String>> {
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return vec![None] };
    match text.as_bytes().first() {
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) => items.into_iter().map(|v| present(v.get())).collect(),
            Err(_) => vec![Some(Value::from(text).to_string())],
        },
        Some(b'{') => match serde_json::from_str::<Pairs>(text) {
            Ok(Pairs(pairs)) => pairs
                .into_iter()
                .map(|(name, value)| {
                    let name = Value::from(name).to_string();
                    Some(match bags {
                        Bags::Bag => format!("{{{name}:{value}}}"),
                        Bags::Array => format!("[{name},{value}]"),
                    })
                })
                .collect(),
            Err(_) => vec![Some(Value::from(text).to_string())],
        },
        _ => vec![present(text)],
    }
}

fn present(json: &str) -> Option<String> {
    let json = json.trim();
    (json != "null").then(|| json.to_owned())
}

/// A JSON object's properties in the order of its text; a name that comes twice keeps its last value.
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<Pairs, A::Error> {
                let mut at = BTreeMap::<String, usize>::new();
                let mut pairs: Vec<(String, String)> = vec![];
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    let value = value.get().to_owned();
                    if let Some(pair) = at.get(&name).and_then(|&i| pairs.get_mut(i)) {
                        pair.1 = value;
                    } else {
                        at.insert(name.clone(), pairs.len());
                        pairs.push((name, value));
                    }
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bags, elements};

    fn check(text: Option<&str>, bags: Bags, want: &[Option<&str>]) {
        let got = elements(text, bags);
        assert_eq!(got.iter().map(Option::as_deref).collect::<Vec<_>>(), want, "{text:?}");
    }

    #[test]
    fn null_is_one_null_and_an_empty_array_or_bag_is_nothing() {
        check(None, Bags::Bag, &[None]);
        check(Some("[]"), Bags::Bag, &[]);
        check(Some("{}"), Bags::Bag, &[]);
        check(Some("[1,null,\"a\"]"), Bags::Bag, &[Some("1"), None, Some("\"a\"")]);
        check(Some("{\"b\":1,\"a\":[2]}"), Bags::Bag, &[Some("{\"b\":1}"), Some("{\"a\":[2]}")]);
        check(Some("{\"b\":1}"), Bags::Array, &[Some("[\"b\",1]")]);
        check(Some("5"), Bags::Bag, &[Some("5")]);
        check(Some("{broken"), Bags::Bag, &[Some("\"{broken\"")]);
    }
}
