//! Which tables a plan reads, and the span of time that its own words bound each to.

use crate::TableUse;
use crate::lower::source::INLINE;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

/// Column that says when.
const TIME: &str = "Timestamp";

#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    from: Option<i64>,
    to: Option<i64>,
}

impl Bounds {
    fn at_least(&mut self, time: i64) {
        self.from = Some(self.from.map_or(time, |t| t.max(time)));
    }

    fn below(&mut self, time: i64) {
        self.to = Some(self.to.map_or(time, |t| t.min(time)));
    }
}

/// Adds tables to those found; one that is read twice is bounded to what holds both readings.
pub(crate) fn merge(found: &mut Vec<TableUse>, more: Vec<TableUse>) {
    for this in more {
        match found.iter_mut().find(|t| t.table == this.table) {
            Some(have) => {
                have.from = have.from.zip(this.from).map(|(a, b)| a.min(b));
                have.to = have.to.zip(this.to).map(|(a, b)| a.max(b));
            }
            None => found.push(this),
        }
    }
}

/// Tables of a plan, each once: a table read twice is bounded to what holds both readings.
pub(crate) fn tables(plan: &LogicalPlan) -> Vec<TableUse> {
    let mut found: Vec<TableUse> = vec![];
    // An own stack: a plan is as deep as its query is long.
    let mut stack = vec![(plan, Bounds::default())];
    while let Some((node, bounds)) = stack.pop() {
        match node {
            LogicalPlan::TableScan(scan) => {
                let table = scan.table_name.table().to_owned();
                if table == INLINE {
                    continue;
                }
                merge(&mut found, vec![TableUse { table, from: bounds.from, to: bounds.to }]);
            }
            LogicalPlan::Filter(filter) => {
                let mut narrower = bounds;
                narrow(&filter.predicate, &mut narrower);
                stack.push((&filter.input, narrower));
            }
            LogicalPlan::Projection(projection) => {
                let same = projection.expr.iter().any(|e| matches!(e, Expr::Column(c) if c.name == TIME));
                stack.push((&projection.input, if same { bounds } else { Bounds::default() }));
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => stack.push((&sort.input, bounds)),
            LogicalPlan::Union(union) => {
                for input in union.inputs.iter().rev() {
                    stack.push((input, bounds));
                }
            }
            LogicalPlan::SubqueryAlias(alias) => stack.push((&alias.input, bounds)),
            other => {
                for input in other.inputs().into_iter().rev() {
                    stack.push((input, Bounds::default()));
                }
            }
        }
    }
    found.sort_by(|a, b| a.table.cmp(&b.table));
    found
}

/// Narrows bounds by a predicate's conjuncts that compare the time with a constant.
fn narrow(predicate: &Expr, bounds: &mut Bounds) {
    let mut stack = vec![predicate];
    while let Some(part) = stack.pop() {
        match part {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                stack.push(left);
                stack.push(right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                if let (true, Some(time)) = (is_time(left), instant(right)) {
                    compare(*op, time, bounds);
                } else if let (Some(time), true) = (instant(left), is_time(right))
                    && let Some(op) = op.swap()
                {
                    compare(op, time, bounds);
                }
            }
            Expr::Between(between) if !between.negated && is_time(&between.expr) => {
                if let Some(low) = instant(&between.low) {
                    compare(Operator::GtEq, low, bounds);
                }
                if let Some(high) = instant(&between.high) {
                    compare(Operator::LtEq, high, bounds);
                }
            }
            _ => {}
        }
    }
}

fn compare(op: Operator, time: i64, bounds: &mut Bounds) {
    match op {
        Operator::GtEq => bounds.at_least(time),
        Operator::Gt => bounds.at_least(time.saturating_add(1)),
        Operator::Lt => bounds.below(time),
        Operator::LtEq => bounds.below(time.saturating_add(1)),
        Operator::Eq | Operator::IsNotDistinctFrom => {
            bounds.at_least(time);
            bounds.below(time.saturating_add(1));
        }
        _ => {}
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(c) if c.name == TIME)
}

fn instant(expr: &Expr) -> Option<i64> {
    match crate::lower::fold::constant(expr)? {
        ScalarValue::TimestampMicrosecond(value, _) => value,
        _ => None,
    }
}
