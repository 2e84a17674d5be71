//! The library of hunting queries, each on recorded telemetry: it must find its attack rows, and nothing in its benign
//! ones.

use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::cast;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;
use garrison_kql as kql;
use garrison_lake::TableSpec;
use garrison_lake::provider::query_schema;
use garrison_server::hunting::catalog::type_of;
use garrison_server::hunting::library::library;
use garrison_server::incidents::correlate::TACTICS;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Fewer queries than this means that content was lost.
const QUERIES_MIN: usize = 60;
/// 2026-11-23T12:00:00Z, two hours after the recorded rows.
pub const NOW: i64 = 1_795_435_200_000_000;

fn content() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../content")
}

pub fn json_of(path: &str) -> Result<Value, String> {
    let text = std::fs::read_to_string(content().join(path)).map_err(|e| format!("{path}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))
}

/// Rows of one part of a sample by table, with what the server adds.
pub fn rows(part: &Value, kind: &str) -> Result<BTreeMap<String, Vec<Value>>, String> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut number = 0;
    for group in part.as_array().ok_or("a part is no list")? {
        let groups = match group["sample"].as_str() {
            Some(name) => json_of(&format!("samples/{name}.json"))?[kind].as_array().cloned().unwrap_or_default(),
            None => vec![group.clone()],
        };
        for group in groups {
            let table = group["table"].as_str().ok_or("a group has no table")?;
            for row in group["rows"].as_array().ok_or("a group has no rows")? {
                let mut row = row.clone();
                number += 1;
                row["ReportId"] = json!(number);
                for (column, value) in [("DeviceId", "ab".repeat(20)), ("DeviceName", "web-1".to_owned())] {
                    if row[column].is_null() {
                        row[column] = json!(value);
                    }
                }
                found.entry(table.to_owned()).or_default().push(row);
            }
        }
    }
    Ok(found)
}

struct Recorded(BTreeMap<String, Vec<RecordBatch>>);

impl Recorded {
    fn new(rows: &BTreeMap<String, Vec<Value>>) -> Result<Self, String> {
        let mut tables = BTreeMap::new();
        for (name, rows) in rows {
            let table = garrison_telemetry::table(name).ok_or_else(|| format!("there is no table {name}"))?;
            let batch = garrison_telemetry::batch_from_json(name, rows).map_err(|e| e.to_string())?;
            let schema = query_schema(&TableSpec::of(table).schema);
            let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
                Some(column) => cast(column, field.data_type()).unwrap(),
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
            let columns = columns.collect();
            tables.insert(name.clone(), vec![RecordBatch::try_new(schema, columns).unwrap()]);
        }
        Ok(Self(tables))
    }
}

impl kql::Catalog for Recorded {
    fn names(&self) -> Vec<String> {
        garrison_telemetry::tables().iter().map(|t| t.name.to_owned()).collect()
    }

    fn shape(&self, table: &str) -> Option<Arc<kql::TableShape>> {
        let table = garrison_telemetry::table(table)?;
        let columns = table.columns.iter().map(|c| kql::Column::new(c.name, type_of(c.kind))).collect();
        Some(Arc::new(kql::TableShape { name: table.name.to_owned(), columns }))
    }

    fn provider(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        let spec = TableSpec::of(garrison_telemetry::table(table)?);
        let batches = self.0.get(table).cloned().unwrap_or_default();
        Some(Arc::new(MemTable::try_new(query_schema(&spec.schema), vec![batches]).unwrap()))
    }
}

struct Session(SessionContext);

#[async_trait]
impl kql::Host for Session {
    async fn rows(&self, plan: LogicalPlan, rows_max: usize) -> Result<Vec<RecordBatch>, kql::HostError> {
        let plan = LogicalPlanBuilder::from(plan).limit(0, Some(rows_max)).and_then(LogicalPlanBuilder::build);
        let failed = |e: datafusion::error::DataFusionError| kql::HostError(e.to_string());
        let frame = self.0.execute_logical_plan(plan.map_err(failed)?).await.map_err(failed)?;
        frame.collect().await.map_err(failed)
    }
}

async fn count(query: &str, rows: &BTreeMap<String, Vec<Value>>) -> Result<usize, String> {
    let recorded = Recorded::new(rows)?;
    let session = Session(SessionContext::new());
    let planned = kql::plan(query, &recorded, &kql::Context::at(NOW), &session).await.map_err(|e| match e {
        kql::Failure::Text(diagnostics) => {
            let told = diagnostics.iter().map(|d| {
                let (line, column) = d.place(query);
                format!("{} at {line}:{column}: {}", d.code, d.message)
            });
            told.collect::<Vec<_>>().join("; ")
        }
        kql::Failure::Host(e) => e.to_string(),
    })?;
    let frame = session.0.execute_logical_plan(planned.plan).await.map_err(|e| e.to_string())?;
    let batches = frame.collect().await.map_err(|e| e.to_string())?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

async fn judge(id: &str, query: &str) -> Result<(), String> {
    let sample = json_of(&format!("hunting/samples/{id}.json"))?;
    let (attack, benign) = (rows(&sample["attack"], "attack")?, rows(&sample["benign"], "benign")?);
    if attack.is_empty() || benign.is_empty() {
        return Err("its sample has no attack or no benign rows".to_owned());
    }
    if count(query, &attack).await? == 0 {
        return Err("it finds nothing in its attack rows".to_owned());
    }
    match count(query, &benign).await? {
        0 => Ok(()),
        found => Err(format!("it finds {found} rows in its benign rows")),
    }
}

#[tokio::test]
async fn every_query_of_the_library_finds_its_attack_and_nothing_in_its_benign_rows() {
    let mut wrong = Vec::new();
    for query in library() {
        if let Err(why) = judge(&query.id, &query.query).await {
            wrong.push(format!("{}: {}", query.id, why.chars().take(500).collect::<String>()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), library().len(), wrong.join("\n"));
}

#[test]
fn the_library_is_large_and_covers_every_tactic() {
    assert!(library().len() >= QUERIES_MIN, "{} queries", library().len());
    let named: BTreeSet<&str> = library().iter().flat_map(|q| q.tactics.iter().map(String::as_str)).collect();
    for tactic in TACTICS {
        assert!(named.contains(tactic), "no query for {tactic}");
    }
    assert!(named.iter().all(|t| TACTICS.contains(t)), "{named:?}");
    let samples = std::fs::read_dir(content().join("hunting/samples")).unwrap();
    for sample in samples {
        let path = sample.unwrap().path();
        let id = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(library().iter().any(|q| q.id == id), "the sample {id} has no query");
    }
}
