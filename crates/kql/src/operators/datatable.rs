//! `datatable`: rows that stand in the query.

use crate::bind::Binder;
use crate::lower::relation::Relation;
use crate::lower::{fold, source};
use crate::syntax::ast::{ColumnDecl, Expr};
use crate::{Span, Type};
use datafusion::common::ScalarValue;

pub(crate) fn bind(b: &mut Binder<'_>, columns: &[ColumnDecl], values: &[Expr], span: Span) -> Relation {
    let fields = b.declared(columns);
    let like = source::nothing(fields.clone());
    let width = columns.len();
    if width == 0 || fields.len() != width {
        return like;
    }
    if !values.len().is_multiple_of(width) {
        b.error("KS173", span, format!("the number of values must be a multiple of {width}"));
        return like;
    }
    let unit = source::unit();
    let mut rows: Vec<Vec<ScalarValue>> = vec![];
    for row in values.chunks(width) {
        let mut out = vec![];
        for (value, field) in row.iter().zip(&fields) {
            let bound = b.scalar(value, &unit);
            let unknown = bound.kind == Type::Unknown;
            let bound = b.converted(bound, field.kind);
            match fold::constant(&bound.expr) {
                Some(value) => out.push(value),
                None => {
                    if !unknown && b.rehearsal == 0 {
                        b.error("KS129", value.span, "the values of a datatable must be constant");
                    }
                    out.push(ScalarValue::Null);
                }
            }
        }
        rows.push(out);
    }
    let planned = source::rows(fields, &rows);
    b.settle(span, &like, planned)
}
