//! What a query can read, and who reads it: the language's two doors to the outside.

use crate::Type;
use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;
use std::sync::Arc;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Column {
    /// Name, case-sensitive.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: Type,
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind }
    }
}

/// A table's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// Name, case-sensitive.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<Column>,
}

/// The tables that a query may name. An implementation holds one tenant's tables and no other's.
pub trait Catalog: Send + Sync {
    /// Names of all tables, for wildcards, completion and hints.
    fn names(&self) -> Vec<String>;
    /// A table's shape.
    fn shape(&self, table: &str) -> Option<Arc<TableShape>>;
    /// Its rows. The provider's schema has the shape's columns, at least; see [`Type`] for how each may lie in memory.
    fn provider(&self, table: &str) -> Option<Arc<dyn TableProvider>>;
}

/// Why rows could not be computed while a query was planned.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

/// Runs what has to be known before the rest can be planned: `toscalar`, the columns of `pivot` and `bag_unpack`,
/// `externaldata`. Limits of time and memory are the host's.
#[async_trait]
pub trait Host: Send + Sync {
    /// Rows of a plan, at most `rows_max`.
    async fn rows(&self, plan: LogicalPlan, rows_max: usize) -> Result<Vec<RecordBatch>, HostError>;

    /// Bytes at an address, for `externaldata`. Refused unless the operator allows its host.
    async fn external(&self, address: &str) -> Result<Vec<u8>, HostError> {
        let _ = address;
        Err(HostError("externaldata is switched off on this server".to_owned()))
    }
}
