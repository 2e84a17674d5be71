//! `partition by column (operators)`: the operators work on the rows of each value by themselves.

use crate::Span;
use crate::Type;
use crate::bind::{Binder, Label};
use crate::lower::relation::{PART, Relation};
use crate::syntax::ast::{Expr, Pipeline, Property};

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
    let planned = if input.has_hidden(PART) {
        Err(datafusion::error::DataFusionError::Plan(
            "partition within mv-apply or partition is not supported".to_owned(),
        ))
    } else {
        input.with_hidden(vec![(PART.to_owned(), expr)]).map(|mut r| {
            r.hidden.push(PART.to_owned());
            r
        })
    };
    let parted = b.settle(span, &like, planned);
    let inner = b.pipeline(body, Some(parted), span);
    let mut inner = b.no_graph(inner, span);
    if !inner.has_hidden(PART) && !b.has_errors() {
        b.refuse(span, "what stands within this partition");
    }
    inner.hidden.clear();
    inner.serialized = false;
    let like = inner.clone();
    let all = inner.all();
    let planned = inner.project(all);
    let made = b.settle(span, &like, planned);
    Relation { serialized: false, ..made }
}
