//! Constants: an expression without columns is computed while the query is planned, so that what needs a constant
//! finds a literal, and so that comparisons with it reach the scan.

use crate::Type;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::create_physical_expr;
use std::sync::Arc;

/// The value of an expression without columns; `None` if it has columns, is volatile, or cannot be computed.
pub(crate) fn constant(expr: &Expr) -> Option<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Some(value.clone());
    }
    if expr.any_column_refs() || expr.is_volatile() || has_outer_parts(expr) {
        return None;
    }
    value(expr).ok()
}

/// Aggregates and windows look like they have no columns (`count()`).
fn has_outer_parts(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    expr.exists(|e| {
        Ok(matches!(
            e,
            Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::Placeholder(_)
        ))
    })
    .unwrap_or(true)
}

fn value(expr: &Expr) -> Result<ScalarValue> {
    let schema = Arc::new(DFSchema::empty());
    let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).build();
    let coerced = ExprSimplifier::new(context).coerce(expr.clone(), &schema)?;
    let physical =
        create_physical_expr(&coerced, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    let row = arrow::array::RecordBatch::try_new_with_options(
        Arc::new(arrow::datatypes::Schema::empty()),
        vec![],
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    match physical.evaluate(&row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) if array.len() == 1 => ScalarValue::try_from_array(&array, 0),
        ColumnarValue::Array(array) => exec_err!("a constant gave {} values", array.len()),
    }
}

/// The same expression, as a literal where it is constant.
pub(crate) fn folded(expr: Expr) -> Expr {
    if matches!(expr, Expr::Literal(..)) {
        return expr;
    }
    match constant(&expr) {
        Some(value) => Expr::Literal(value, None),
        None => expr,
    }
}

/// The null of a type (the empty text for text, which has no null).
pub(crate) fn null(kind: Type) -> Expr {
    if kind == Type::Text {
        return text("");
    }
    Expr::Literal(ScalarValue::try_from(kind.arrow()).unwrap_or(ScalarValue::Null), None)
}

/// Text as an expression.
pub(crate) fn text(value: impl Into<String>) -> Expr {
    Expr::Literal(ScalarValue::Utf8(Some(value.into())), None)
}

/// A constant of text, if the expression is one.
pub(crate) fn as_text(expr: &Expr) -> Option<String> {
    match constant(expr)? {
        ScalarValue::Utf8(v) | ScalarValue::LargeUtf8(v) | ScalarValue::Utf8View(v) => Some(v.unwrap_or_default()),
        _ => None,
    }
}

/// A constant whole number, if the expression is one.
pub(crate) fn as_long(expr: &Expr) -> Option<i64> {
    match constant(expr)? {
        ScalarValue::Int64(v) => v,
        ScalarValue::Int32(v) => v.map(i64::from),
        _ => None,
    }
}

/// Whether a plan may give other rows when it is run again: it takes some of its rows, or has chance in it.
pub(crate) fn is_volatile(plan: &LogicalPlan) -> bool {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut found = false;
    let _ = plan.apply(|node| {
        if matches!(node, LogicalPlan::Limit(_)) || node.expressions().iter().any(Expr::is_volatile) {
            found = true;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
