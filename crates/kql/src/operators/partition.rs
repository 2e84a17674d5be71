//! `partition by column (operators)`: the operators work on the rows of each value by themselves.

use crate::Span;
use crate::Type;
use crate::bind::{Binder, Label};
use crate::lower::relation::{PART, Relation};
use crate::syntax::ast::{Expr, Pipeline, Property};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr as PlanExpr, ExprFunctionExt, LogicalPlanBuilder};

pub(crate) fn bind(
    b: &mut Binder<'_>,
    properties: &[Property],
    by: &Expr,
    body: &Pipeline,
    input: Relation,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["materialized"]);
    let key = b.scalar(by, &input);
    if !matches!(key.label, Label::Column(_)) && key.kind != Type::Unknown {
        b.error("KS109", by.span, "the name of a column is expected here");
    }
    if key.kind == Type::Dynamic {
        b.error("KS116", by.span, "rows cannot be partitioned by a dynamic value");
    }
    let like = input.clone();
    let expr = input.key(key.kind, key.expr);
    let kept = b.fresh("kept");
    let hidden = input.hidden.clone();
    let planned = parted(input, expr, &kept);
    let parted = b.settle(span, &like, planned);
    let inner = b.pipeline(body, Some(parted), span);
    let mut inner = b.no_graph(inner, span);
    if !inner.has_hidden(PART) && !b.has_errors() {
        b.refuse(span, "what stands within this partition");
    }
    inner.serialized = false;
    let mut like = inner.clone();
    like.hidden.clear();
    let all = inner.all();
    let planned = inner.reparted(all, &hidden, &kept);
    let made = b.settle(span, &like, planned);
    Relation { serialized: false, ..made }
}

/// The rows with a part for each value; where they have parts already, for each value in each of those.
fn parted(input: Relation, key: PlanExpr, kept: &str) -> Result<Relation> {
    if !input.has_hidden(PART) {
        return input.parted(key, false, kept);
    }
    let value = "\u{1}value".to_owned();
    let input = input.with_hidden(vec![(value.clone(), key)])?;
    let order = vec![Relation::column(PART).sort(true, true), Relation::column(&value).sort(true, true)];
    let rank = datafusion::functions_window::expr_fn::dense_rank().order_by(order).build()?;
    let mut parted = input.parted(rank, true, kept)?;
    // The value has said what it had to, and another partition within this one has a value of its own.
    let left = parted.plan.schema().fields().iter().map(|f| f.name().clone()).filter(|n| *n != value);
    let left: Vec<PlanExpr> = left.map(|n| Relation::column(&n)).collect();
    parted.plan = LogicalPlanBuilder::from(parted.plan).project(left)?.build()?;
    Ok(parted)
}
