//! Bags: without their empty properties, and their properties' names and types.

use crate::Type;
use crate::lower::expand::Pairs;
use crate::lower::kernel::{Kernel, Recipe, plain_text};
use arrow::array::{Array, ArrayRef, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, ScalarUDF};
use std::sync::Arc;

/// A bag without properties that are null or an empty text.
pub(crate) fn without_empty(bag: Expr) -> Expr {
    without_empty_udf().call(vec![bag])
}

pub(super) fn without_empty_udf() -> ScalarUDF {
    Kernel::udf("kql_bag_compact", Recipe::BagCompact, DataType::Utf8, |arrays, rows| {
        let texts = arrays.first().map(plain_text).transpose()?;
        let mut out = StringBuilder::new();
        for row in 0..rows {
            let Some(text) = texts.as_ref().filter(|t| t.is_valid(row)).map(|t| t.value(row)) else {
                out.append_null();
                continue;
            };
            match serde_json::from_str::<Pairs>(text) {
                Ok(Pairs(pairs)) => {
                    let kept: Vec<String> = pairs
                        .into_iter()
                        .filter(|(_, v)| v != "null" && v != "\"\"")
                        .map(|(k, v)| format!("{}:{v}", serde_json::Value::from(k)))
                        .collect();
                    out.append_value(format!("{{{}}}", kept.join(",")));
                }
                Err(_) => out.append_value(text),
            }
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}

/// The type that a JSON value has as a column.
pub(crate) fn kind(json: &str) -> Option<Type> {
    let json = json.trim();
    match json.as_bytes().first()? {
        b'"' => Some(Type::Text),
        b'{' | b'[' => Some(Type::Dynamic),
        b't' | b'f' => Some(Type::Bool),
        b'n' => None,
        _ if json.parse::<i64>().is_ok() => Some(Type::Long),
        _ => Some(Type::Real),
    }
}

/// The type that holds both.
pub(crate) fn together(a: Type, b: Type) -> Type {
    match (a, b) {
        (a, b) if a == b => a,
        (Type::Long | Type::Real, Type::Long | Type::Real) => Type::Real,
        _ => Type::Dynamic,
    }
}
