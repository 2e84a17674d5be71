//! From a query's text to its plan: the crate's front door.

use crate::bind::environment::Value;
use crate::bind::{Answer, Binder, Need, NeedKey};
use crate::lower::relation::{ROW, Relation};
use crate::lower::table_use;
use crate::{Catalog, Column, Context, Diagnostic, Host, Severity, syntax};
use datafusion::logical_expr::LogicalPlan;
use std::collections::HashMap;

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

/// Parts of a query that are run before it, one in each round of reading: more is no query that a person wrote.
const ROUNDS_MAX: usize = 256;

/// What one reading of a text gives.
struct Reading {
    relation: Option<Relation>,
    render: Option<Render>,
    diagnostics: Vec<Diagnostic>,
    needs: Vec<(NeedKey, Need)>,
    read: Vec<TableUse>,
}

fn read(
    text: &str,
    parsed: &syntax::Parsed,
    catalog: &dyn Catalog,
    context: &Context,
    real: bool,
    answers: &HashMap<NeedKey, Answer>,
) -> Reading {
    let mut binder = Binder::new(text, catalog, context, real, answers);
    for diagnostic in &parsed.diagnostics {
        binder.report(diagnostic.clone());
    }
    let value = binder.statements(&parsed.tree, 0);
    let relation = match value {
        Value::Rows(relation, _) => {
            let relation = Box::new(binder.no_graph(*relation, parsed.tree.span));
            let like = (*relation).clone();
            let finished = finished(*relation);
            Some(binder.settle(parsed.tree.span, &like, finished))
        }
        Value::Scalar(..) | Value::Function(_) => {
            binder.error("KS111", parsed.tree.span, "the query's last statement must give rows");
            None
        }
        Value::Broken => None,
    };
    let mut diagnostics = binder.diagnostics;
    diagnostics.sort_by_key(|d| (d.span, std::cmp::Reverse(d.severity)));
    Reading { relation, render: binder.render, diagnostics, needs: binder.needs, read: binder.read }
}

/// The answer: its columns and no hidden ones, in the order that its rows have.
fn finished(relation: Relation) -> datafusion::common::Result<Relation> {
    let open = relation.open;
    let sorted = if relation.is_numbered() {
        relation.sort(vec![Relation::column(ROW).sort(true, false)], None)?
    } else {
        relation
    };
    let mut bare = sorted.bare()?;
    bare.open = open;
    Ok(bare)
}

/// Tables of the plan, and of what was run before it.
fn tables_of(relation: &Relation, read: Vec<TableUse>) -> Vec<TableUse> {
    let mut tables = table_use::tables(&relation.plan);
    table_use::merge(&mut tables, read);
    tables.sort_unstable_by(|a, b| a.table.cmp(&b.table));
    tables
}

fn columns(relation: &Relation) -> Vec<Column> {
    relation.fields.iter().map(Column::from).collect()
}

/// Says what the analyser says; runs nothing.
#[must_use]
pub fn analyze(text: &str, catalog: &dyn Catalog, context: &Context) -> Analysis {
    let parsed = syntax::parse(text);
    let reading = read(text, &parsed, catalog, context, false, &HashMap::new());
    let broken = reading.diagnostics.iter().any(|d| d.severity == Severity::Error);
    let known = reading.relation.as_ref().filter(|r| !broken && !r.open);
    Analysis {
        columns: known.map(columns),
        tables: reading.relation.as_ref().map(|r| tables_of(r, reading.read)).unwrap_or_default(),
        render: reading.render,
        diagnostics: reading.diagnostics,
    }
}

/// Plans a query. Parts that must be known first are run by `host`.
pub async fn plan(text: &str, catalog: &dyn Catalog, context: &Context, host: &dyn Host) -> Result<Planned, Failure> {
    let parsed = syntax::parse(text);
    let mut answers: HashMap<NeedKey, Answer> = HashMap::new();
    for _ in 0..ROUNDS_MAX {
        // The reading is not kept over an await: it is not to be sent between threads.
        let (needs, outcome) = step(text, &parsed, catalog, context, &answers);
        if needs.is_empty() {
            return outcome;
        }
        outcome?;
        // Only the first one is certain to wait for no other: what stands after it was read without its answer.
        let Some((key, need)) = needs.into_iter().next() else { continue };
        let answer = match need {
            Need::Rows(plan, rows_max) => Answer::Rows(host.rows(plan, rows_max).await?),
            Need::External(address) => Answer::Bytes(host.external(&address).await?),
        };
        answers.insert(key, answer);
    }
    let text = format!("more than {ROUNDS_MAX} parts of the query have to be run before it");
    Err(Failure::Text(vec![Diagnostic::error("GQ111", parsed.tree.span, text)]))
}

type Step = (Vec<(NeedKey, Need)>, Result<Planned, Failure>);

fn step(
    text: &str,
    parsed: &syntax::Parsed,
    catalog: &dyn Catalog,
    context: &Context,
    answers: &HashMap<NeedKey, Answer>,
) -> Step {
    let reading = read(text, parsed, catalog, context, true, answers);
    let broken = reading.diagnostics.iter().any(|d| d.severity == Severity::Error);
    match reading.relation {
        Some(relation) if !broken => {
            let planned = Planned {
                columns: columns(&relation),
                tables: tables_of(&relation, reading.read),
                plan: relation.plan,
                render: reading.render,
                diagnostics: reading.diagnostics,
            };
            (reading.needs, Ok(planned))
        }
        _ => (vec![], Err(Failure::Text(reading.diagnostics))),
    }
}
