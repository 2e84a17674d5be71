//! `sort`, `top`, `take`, `sample`, `sample-distinct`.

use crate::bind::Binder;
use crate::lower::relation::{ROW, Relation};
use crate::syntax::ast::{Expr, SortKey};
use crate::{Span, Type};
use datafusion::logical_expr::SortExpr;

/// Keys as the engine wants them. Descending unless written; nulls last in descending order, first in ascending.
pub(crate) fn keys(b: &mut Binder<'_>, list: &[SortKey], input: &Relation) -> Vec<SortExpr> {
    let mut keys = vec![];
    for key in list {
        let bound = b.scalar(&key.value, input);
        if bound.kind == Type::Dynamic {
            b.error("KS116", key.value.span, "rows cannot be sorted by a dynamic value");
            continue;
        }
        let ascending = key.ascending.unwrap_or(false);
        let nulls_first = key.nulls_first.unwrap_or(ascending);
        let expr = input.key(bound.kind, bound.expr);
        if !matches!(expr, datafusion::logical_expr::Expr::Literal(..)) {
            keys.push(expr.sort(ascending, nulls_first));
        }
    }
    keys
}

/// `sort by`.
pub(crate) fn sort(b: &mut Binder<'_>, list: &[SortKey], input: Relation, span: Span) -> Relation {
    let keys = keys(b, list, &input);
    sorted(b, keys, None, input, span)
}

/// `top n by`.
pub(crate) fn top(b: &mut Binder<'_>, count: &Expr, by: &[SortKey], input: Relation, span: Span) -> Relation {
    let rows = rows(b, count);
    let keys = keys(b, by, &input);
    sorted(b, keys, Some(rows), input, span)
}

fn sorted(b: &mut Binder<'_>, keys: Vec<SortExpr>, fetch: Option<usize>, input: Relation, span: Span) -> Relation {
    let mut like = input.clone();
    like.serialized = true;
    let input = b.prepare(span, input);
    let planned = if keys.is_empty() {
        match fetch {
            Some(rows) => input.limit(rows),
            None => Ok(input),
        }
        .map(|mut r| {
            r.serialized = true;
            r
        })
    } else if b.ordered && fetch.is_none() {
        input.numbered(keys).and_then(|r| {
            let by_row = vec![Relation::column(ROW).sort(true, false)];
            if r.has_hidden(crate::lower::relation::PART) { Ok(r) } else { r.sort(by_row, None) }
        })
    } else {
        input.sort(keys.clone(), fetch).and_then(|r| {
            if b.ordered {
                let numbered = r.numbered(keys)?;
                let by_row = vec![Relation::column(ROW).sort(true, false)];
                return if numbered.has_hidden(crate::lower::relation::PART) {
                    Ok(numbered)
                } else {
                    numbered.sort(by_row, None)
                };
            }
            Ok(r)
        })
    };
    b.settle(span, &like, planned)
}

/// A number of rows; a negative one is none.
fn rows(b: &mut Binder<'_>, count: &Expr) -> usize {
    // Where it is not known yet, any number does: nothing is run then.
    b.whole(count).map_or(1, |n| usize::try_from(n.max(0)).unwrap_or(usize::MAX))
}

/// `take`.
pub(crate) fn take(b: &mut Binder<'_>, count: &Expr, input: Relation, span: Span) -> Relation {
    let rows = rows(b, count);
    let like = input.clone();
    let planned = input.limit(rows);
    b.settle(span, &like, planned)
}

/// `sample-distinct n of value`.
pub(crate) fn sample_distinct(b: &mut Binder<'_>, count: &Expr, of: &Expr, input: Relation, span: Span) -> Relation {
    let rows = rows(b, count);
    let distinct = super::summarize::distinct(b, std::slice::from_ref(of), input, span);
    let like = distinct.clone();
    let planned = distinct.limit(rows);
    b.settle(span, &like, planned)
}
