//! From a query's text to its plan: the crate's front door.

use crate::{Catalog, Column, Context, Diagnostic, Host};
use datafusion::logical_expr::LogicalPlan;

/// How the answer wants to be drawn: the `render` operator.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Render {
    /// `timechart`, `barchart`, `columnchart`, `piechart`, `areachart`, `scatterchart`, `linechart`, `table`, `card`, …
    pub kind: String,
    /// Properties of `with (…)`, in the order written.
    pub properties: Vec<(String, String)>,
}

/// A table that the query reads, and the span of time it is bounded to where the text says so.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableUse {
    /// Name.
    pub table: String,
    /// Least `Timestamp`, microseconds since 1970 UTC, included.
    pub from: Option<i64>,
    /// Greatest `Timestamp`, not included.
    pub to: Option<i64>,
}

/// What can be said of a query without running anything.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// Findings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Columns of the answer; `None` if it has errors, or if only running it tells (`pivot`, `bag_unpack`).
    pub columns: Option<Vec<Column>>,
    /// How it wants to be drawn.
    pub render: Option<Render>,
    /// Tables it reads.
    pub tables: Vec<TableUse>,
}

/// A query ready to run.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan; its fields are `columns`, in order.
    pub plan: LogicalPlan,
    /// Columns of the answer.
    pub columns: Vec<Column>,
    /// How it wants to be drawn.
    pub render: Option<Render>,
    /// Tables it reads.
    pub tables: Vec<TableUse>,
    /// Warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The text has errors: at least one diagnostic is an error.
    #[error("the query has errors")]
    Text(Vec<Diagnostic>),
    /// A part that had to be run first did not run.
    #[error("cannot run a part of the query: {0}")]
    Host(#[from] crate::HostError),
}

/// Says what the analyser says; runs nothing.
#[must_use]
pub fn analyze(text: &str, catalog: &dyn Catalog, context: &Context) -> Analysis {
    let _ = (text, catalog, context);
    Analysis::default()
}

/// Plans a query. Parts that must be known first are run by `host`.
pub async fn plan(text: &str, catalog: &dyn Catalog, context: &Context, host: &dyn Host) -> Result<Planned, Failure> {
    let _ = (text, catalog, context, host);
    Err(Failure::Text(vec![Diagnostic::error("GQ000", crate::Span::default(), "the language is being built")]))
}
