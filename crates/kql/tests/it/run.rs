//! Runs a query and gives its rows as JSON values.

use crate::estate::NOW;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use async_trait::async_trait;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::logical_expr::LogicalPlan;
use garrison_kql::{Catalog, Column, Context, Failure, Host, HostError, Type};
use serde_json::{Value, json};

/// The engine as the host.
pub struct Engine(pub SessionContext);

impl Engine {
    pub fn new() -> Self {
        let config = SessionConfig::new().with_target_partitions(2).with_batch_size(64);
        Self(SessionContext::new_with_config(config))
    }

    pub async fn collect(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>, String> {
        let frame = self.0.execute_logical_plan(plan).await.map_err(|e| e.to_string())?;
        frame.collect().await.map_err(|e| e.to_string())
    }
}

#[async_trait]
impl Host for Engine {
    async fn rows(&self, plan: LogicalPlan, rows_max: usize) -> Result<Vec<RecordBatch>, HostError> {
        let mut left = rows_max;
        let mut out = vec![];
        for batch in self.collect(plan).await.map_err(HostError)? {
            let take = batch.num_rows().min(left);
            out.push(batch.slice(0, take));
            left -= take;
        }
        Ok(out)
    }

    async fn external(&self, address: &str) -> Result<Vec<u8>, HostError> {
        match address {
            "https://lists.example/a.csv" => Ok(b"name,score\nalpha,1\n\"be,ta\",2\n".to_vec()),
            "https://lists.example/a.json" => Ok(b"[{\"name\":\"alpha\",\"score\":1},{\"name\":\"beta\"}]".to_vec()),
            "https://lists.example/lines.json" => {
                Ok(b"{\"name\":\"alpha\",\"score\":1}\n{\"name\":\"beta\"}\n".to_vec())
            }
            "https://lists.example/a.txt" => Ok(b"alpha\nbeta\n".to_vec()),
            other if other.contains("forbidden") => Err(HostError(format!("`{other}` is not allowed"))),
            _ => Ok(b"# a list\n10.0.0.1,1\n10.0.0.2,2\n".to_vec()),
        }
    }
}

/// An answer: columns and rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
}

/// Runs a query on a runtime of its own.
pub fn run(query: &str, catalog: &dyn Catalog) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run_on(query, catalog, &Engine::new()))
}

pub async fn run_on(query: &str, catalog: &dyn Catalog, engine: &Engine) -> Result<Answer, String> {
    let planned = garrison_kql::plan(query, catalog, &Context::at(NOW), engine).await.map_err(|e| match e {
        Failure::Text(all) => format!(
            "refused: {}",
            all.iter().map(|d| format!("{} {} at {}", d.code, d.message, d.span.start)).collect::<Vec<_>>().join("; ")
        ),
        other @ Failure::Host(_) => format!("refused: {other}"),
    })?;
    let batches = engine.collect(planned.plan.clone()).await.map_err(|e| format!("engine: {e}"))?;
    let mut rows = vec![];
    for batch in &batches {
        let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
        let want: Vec<_> = planned.columns.iter().map(|c| c.name.clone()).collect();
        if names != want {
            return Err(format!("engine: the plan's fields are {names:?}, the columns {want:?}"));
        }
        let columns: Vec<Vec<Value>> =
            planned.columns.iter().zip(batch.columns()).map(|(c, a)| json_of(c, a)).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| c[row].clone()).collect());
        }
    }
    Ok(Answer { columns: planned.columns, rows })
}

fn json_of(column: &Column, array: &ArrayRef) -> Result<Vec<Value>, String> {
    let wrong =
        || format!("engine: column {} of type {} lies as {}", column.name, column.kind.name(), array.data_type());
    let array = match (column.kind, array.data_type()) {
        (
            Type::Text | Type::Guid | Type::Dynamic,
            DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..),
        ) => cast(array, &DataType::Utf8).map_err(|e| e.to_string())?,
        (Type::Unknown, _) => cast(array, &DataType::Utf8).map_err(|e| e.to_string())?,
        (_, have) if have == &column.kind.arrow() => array.clone(),
        _ => return Err(wrong()),
    };
    let null = |r: usize| array.is_null(r);
    let each =
        |f: &dyn Fn(usize) -> Value| (0..array.len()).map(|r| if null(r) { Value::Null } else { f(r) }).collect();
    Ok(match column.kind {
        Type::Bool => each(&|r| json!(array.as_boolean().value(r))),
        Type::Int => each(&|r| json!(array.as_primitive::<Int32Type>().value(r))),
        Type::Long => each(&|r| json!(array.as_primitive::<Int64Type>().value(r))),
        Type::Real => each(&|r| {
            let v = array.as_primitive::<Float64Type>().value(r);
            if v.is_finite() { json!(v) } else { json!(v.to_string()) }
        }),
        Type::Decimal => each(&|r| json!(array.as_primitive::<Decimal128Type>().value_as_string(r))),
        Type::Datetime => each(&|r| json!(instant(array.as_primitive::<TimestampMicrosecondType>().value(r)))),
        Type::Timespan => each(&|r| json!(span(array.as_primitive::<DurationMicrosecondType>().value(r)))),
        Type::Text => {
            (0..array.len()).map(|r| json!(if null(r) { "" } else { array.as_string::<i32>().value(r) })).collect()
        }
        Type::Guid | Type::Unknown => each(&|r| json!(array.as_string::<i32>().value(r))),
        Type::Dynamic => each(&|r| {
            let text = array.as_string::<i32>().value(r);
            serde_json::from_str(text).unwrap_or_else(|_| json!({ "not json": text }))
        }),
    })
}

fn instant(micros: i64) -> String {
    let array = arrow::array::TimestampMicrosecondArray::from(vec![micros]);
    let text = cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, None))
        .and_then(|a| cast(&a, &DataType::Utf8))
        .map(|a| a.as_string::<i32>().value(0).to_owned())
        .unwrap();
    format!("{text}Z")
}

/// `d.hh:mm:ss.fffffff`.
fn span(micros: i64) -> String {
    let (sign, n) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let (days, rest) = (n / 86_400_000_000, n % 86_400_000_000);
    let (seconds, part) = (rest / 1_000_000, rest % 1_000_000);
    let days = if days > 0 { format!("{days}.") } else { String::new() };
    let part = if part > 0 { format!(".{part:06}0") } else { String::new() };
    format!("{sign}{days}{:02}:{:02}:{:02}{part}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Whether two values are the same, numbers by value.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

/// Whether two sets of rows are the same, in order or in any.
pub fn same_rows(a: &[Vec<Value>], b: &[Vec<Value>], ordered: bool) -> bool {
    let row = |a: &Vec<Value>, b: &Vec<Value>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    if a.len() != b.len() {
        return false;
    }
    if ordered {
        return a.iter().zip(b).all(|(a, b)| row(a, b));
    }
    let mut left: Vec<&Vec<Value>> = b.iter().collect();
    a.iter().all(|x| {
        left.iter().position(|y| row(x, y)).is_some_and(|at| {
            left.swap_remove(at);
            true
        })
    })
}
