//! Operators that leave the rows as they are: `render`, `as`, `serialize`, `consume`; and `getschema`, `invoke`.

use crate::bind::Binder;
use crate::bind::environment::Value;
use crate::bind::words::word;
use crate::lower::relation::{Field, Relation};
use crate::lower::source;
use crate::syntax::ast::{Expr, ExprKind, Name, Property};
use crate::{Render, Span, Type};
use datafusion::common::ScalarValue;
use std::rc::Rc;

/// `render`: a hint for who shows the answer.
pub(crate) fn render(b: &mut Binder<'_>, kind: &Name, properties: &[Property], input: Relation) -> Relation {
    let properties = properties
        .iter()
        .map(|p| {
            let value = word(&p.value).map_or_else(
                || b.text.get(p.value.span.start..p.value.span.end).unwrap_or_default().to_owned(),
                str::to_owned,
            );
            (p.name.text.clone(), value)
        })
        .collect();
    b.render = Some(Render { kind: kind.text.clone(), properties });
    input
}

/// `as name`: the rows so far, under a name that the rest of the query can use.
pub(crate) fn named(b: &mut Binder<'_>, name: &Name, input: Relation) -> Relation {
    let scope = b.calls.len();
    b.environment = b.environment.with(name.text.clone(), Value::Rows(Box::new(input.clone()), 1), scope + 1_000_000);
    input
}

/// `serialize`: the rows keep the order that they have.
pub(crate) fn serialize(b: &mut Binder<'_>, list: &[Expr], mut input: Relation, span: Span) -> Relation {
    input.serialized = true;
    if list.is_empty() { input } else { super::project::extend(b, list, input, span) }
}

/// `consume`: everything is computed and nothing is answered.
pub(crate) fn consume(b: &mut Binder<'_>, input: Relation, span: Span) -> Relation {
    let like = input.clone();
    let planned = input.limit(0);
    b.settle(span, &like, planned)
}

/// `getschema`: a row for each column.
pub(crate) fn schema(b: &mut Binder<'_>, input: &Relation, span: Span) -> Relation {
    let fields = vec![
        Field::new("ColumnName", Type::Text),
        Field::new("ColumnOrdinal", Type::Long),
        Field::new("DataType", Type::Text),
        Field::new("ColumnType", Type::Text),
    ];
    let text = |t: &str| ScalarValue::Utf8(Some(t.to_owned()));
    let rows: Vec<Vec<ScalarValue>> = input
        .fields
        .iter()
        .zip(0_i64..)
        .map(|(f, at)| vec![text(&f.name), ScalarValue::Int64(Some(at)), text(data_type(f.kind)), text(f.kind.name())])
        .collect();
    let like = source::nothing(fields.clone());
    let planned = source::rows(fields, &rows);
    b.settle(span, &like, planned)
}

/// The word that `getschema` has for a type beside its own: programs compare it.
const fn data_type(kind: Type) -> &'static str {
    match kind {
        Type::Bool => "System.SByte",
        Type::Int => "System.Int32",
        Type::Long => "System.Int64",
        Type::Real => "System.Double",
        Type::Decimal => "System.Data.SqlTypes.SqlDecimal",
        Type::Text | Type::Unknown => "System.String",
        Type::Datetime => "System.DateTime",
        Type::Timespan => "System.TimeSpan",
        Type::Guid => "System.Guid",
        Type::Dynamic => "System.Object",
    }
}

/// `invoke f(…)`: the rows are the first argument.
pub(crate) fn invoke(b: &mut Binder<'_>, call: &Expr, input: Relation, span: Span) -> Relation {
    let ExprKind::Call { name, arguments } = &call.kind else {
        if !matches!(call.kind, ExprKind::Missing) {
            b.error("KS128", call.span, "the call of a function is expected here");
        }
        return b.broken_rows();
    };
    if let Some(Value::Function(function)) = b.environment.get(&name.text) {
        let function = Rc::clone(function);
        // Arguments of an invoked function may name columns of the rows.
        let rows = input.clone();
        let value = b.call_function(&function, &name.text, arguments, Some(input), &rows, span);
        return b.rows_of(value, span);
    }
    if super::product::function(&name.text).is_some() {
        return super::product::bind(b, name, arguments, Some(input), span);
    }
    b.no_function(name);
    b.broken_rows()
}
