//! `where`.

use crate::Span;
use crate::bind::Binder;
use crate::lower::relation::Relation;
use crate::syntax::ast::Expr;

pub(crate) fn bind(b: &mut Binder<'_>, predicate: &Expr, input: Relation, span: Span) -> Relation {
    let predicate = b.predicate(predicate, &input);
    let like = input.clone();
    let prepared = b.prepare(span, input);
    let planned = prepared.filter(predicate);
    b.settle(span, &like, planned)
}
