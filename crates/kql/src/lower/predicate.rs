//! Predicates as the scan wants them. In a filter, unknown and false are the same; so what makes a comparison total
//! (`coalesce(a == b, false)`) is taken away there, and a bare comparison of a column with a constant is left, which
//! scans prune by.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// The same filter without what only matters to values. `depth` bounds how far it looks; the tree's own bound is 200.
pub(crate) fn for_filter(expr: Expr) -> Expr {
    strip(expr, 256)
}

fn strip(expr: Expr, depth: usize) -> Expr {
    let Some(depth) = depth.checked_sub(1) else { return expr };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            Expr::BinaryExpr(BinaryExpr {
                left: Box::new(strip(*left, depth)),
                op,
                right: Box::new(strip(*right, depth)),
            })
        }
        Expr::IsTrue(inner) => strip(*inner, depth),
        Expr::ScalarFunction(mut call) if call.func.name() == "coalesce" && call.args.len() == 2 => {
            let otherwise_false = matches!(call.args.get(1), Some(Expr::Literal(ScalarValue::Boolean(Some(false)), _)));
            if otherwise_false { strip(call.args.swap_remove(0), depth) } else { Expr::ScalarFunction(call) }
        }
        other => other,
    }
}
