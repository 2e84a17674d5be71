//! Functions that are sent to another machine: by name, or with what only the planner knew about them (compiled
//! patterns, limits) as JSON beside the name.

use super::places::PlaceOf;
use super::{accumulators, eval};
use crate::lower::kernel::Recipe;
use crate::lower::series::SeriesRecipe;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use std::sync::Arc;

/// Bytes of what is sent beside a name: a query's text is smaller.
const RECIPE_BYTES_MAX: usize = 1 << 20;

fn told<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    if bytes.len() > RECIPE_BYTES_MAX {
        return plan_err!("the function `{name}` was sent with {} bytes", bytes.len());
    }
    serde_json::from_slice(bytes).map_err(|e| DataFusionError::Plan(format!("the function `{name}` is unknown: {e}")))
}

fn written<T: serde::Serialize>(recipe: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(recipe).map_err(|e| DataFusionError::External(Box::new(e)))
}

/// What has to be sent beside the name; nothing for a function that its name tells. A function that only this machine
/// can compute is refused.
pub fn encode_scalar(function: &ScalarUDF) -> Result<Vec<u8>> {
    if function.inner().downcast_ref::<PlaceOf>().is_some() {
        return plan_err!("`{}` reads a database that lies on this machine", function.name());
    }
    Recipe::of(function).map_or_else(|| Ok(Vec::new()), written)
}

/// The function of this name, from what was sent beside it.
pub fn decode_scalar(name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
    if bytes.is_empty() {
        return match eval::all().find(|udf| udf.name() == name) {
            Some(udf) => Ok(Arc::new(udf)),
            None => plan_err!("there is no function `{name}`"),
        };
    }
    told::<Recipe>(name, bytes)?.build().map(Arc::new)
}

/// What has to be sent beside the name; nothing for an aggregate that its name tells.
pub fn encode_aggregate(function: &AggregateUDF) -> Result<Vec<u8>> {
    SeriesRecipe::of(function).map_or_else(|| Ok(Vec::new()), |recipe| written(&recipe))
}

/// The aggregate of this name, from what was sent beside it.
pub fn decode_aggregate(name: &str, bytes: &[u8]) -> Result<Arc<AggregateUDF>> {
    if bytes.is_empty() {
        return match accumulators::all().find(|udaf| udaf.name() == name) {
            Some(udaf) => Ok(Arc::new(udaf)),
            None => plan_err!("there is no aggregate `{name}`"),
        };
    }
    Ok(told::<SeriesRecipe>(name, bytes)?.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::capture::Pairs;
    use crate::lower::expand::Bags;

    #[test]
    fn a_function_that_was_sent_is_the_one_that_was_planned() {
        let quotes = vec![('"', '"')];
        let how = Pairs { pair: " ".to_owned(), key_value: "=".to_owned(), quotes, escape: Some('\\'), greedy: true };
        let keys = vec!["user".to_owned()];
        for recipe in [
            Recipe::BagCompact,
            Recipe::Parse { pattern: "a(b+)(c)".to_owned(), groups: vec![2, 1] },
            Recipe::ParseKv { keys: keys.clone(), how },
            Recipe::ParseKvRegex { keys, pattern: "(\\w+):(\\w+)".to_owned() },
            Recipe::Expand { arguments: 2, bags: Bags::Array, limit: Some(7) },
        ] {
            let planned = recipe.build().unwrap();
            let sent = encode_scalar(&planned).unwrap();
            assert!(!sent.is_empty());
            let back = decode_scalar(planned.name(), &sent).unwrap();
            assert_eq!(*back, planned);
            let none: Vec<arrow::datatypes::DataType> = vec![];
            assert_eq!(back.return_type(&none).unwrap(), planned.return_type(&none).unwrap());
        }
        let series = crate::lower::series::SeriesRecipe::of(
            &decode_aggregate("kql_series", b"{\"steps\":3,\"default\":\"0\"}").unwrap(),
        );
        let told = serde_json::to_value(series.unwrap()).unwrap();
        assert_eq!(told, serde_json::json!({"steps": 3, "default": "0"}));
    }

    #[test]
    fn what_is_not_ours_or_broken_is_refused() {
        for (name, bytes) in [
            ("no_such", &b""[..]),
            ("kql_parse", b"{\"Parse\":{\"pattern\":\"(\",\"groups\":[1]}}"),
            ("kql_parse", b"{\"Boom\":1}"),
            ("kql_parse", b"\xff"),
        ] {
            assert!(decode_scalar(name, bytes).is_err(), "{name}");
        }
        assert!(decode_scalar("kql_has", b"").is_ok());
        assert!(decode_aggregate("no_such", b"").is_err());
    }
}
