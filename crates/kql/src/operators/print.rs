//! `print` and `range`: rows from nothing.

use crate::bind::naming::{Columns, apart};
use crate::bind::{Binder, Bound};
use crate::lower::relation::{Field, Relation};
use crate::lower::{fold, source};
use crate::syntax::ast::{Expr, Name};
use crate::{Span, Type};
use datafusion::common::ScalarValue;

/// Rows that `range` makes: they are made at once, in memory.
const RANGE_ROWS_MAX: usize = 10_000_000;

/// `print`: one row.
pub(crate) fn print(b: &mut Binder<'_>, list: &[Expr], span: Span) -> Relation {
    let unit = source::unit();
    let mut columns = Columns::default();
    for (at, item) in list.iter().enumerate() {
        let (names, _, value) = apart(item);
        let bound = b.scalar(value, &unit);
        if let Some(parts) = super::project::parts(b, value, &bound) {
            super::project::several_values(b, names, parts, &mut columns);
            continue;
        }
        let (name, place) = match names.first() {
            Some(name) if names.len() == 1 => (name.text.clone(), name.span),
            _ => (format!("print_{at}"), value.span),
        };
        if !columns.write(&name, bound) {
            b.twice(place, &name);
        }
    }
    super::project::finish(b, columns.items, unit, span)
}

/// `range name from a to b step c`.
pub(crate) fn range(b: &mut Binder<'_>, name: &Name, [from, to, step]: [&Expr; 3], span: Span) -> Relation {
    let unit = source::unit();
    let (from, to, step) = (b.scalar(from, &unit), b.scalar(to, &unit), b.scalar(step, &unit));
    let kind = match (from.kind, to.kind, step.kind) {
        (Type::Datetime, _, _) => Type::Datetime,
        (Type::Timespan, _, _) => Type::Timespan,
        (Type::Decimal, _, _) | (_, Type::Decimal, _) | (_, _, Type::Decimal) => Type::Decimal,
        (Type::Real, _, _) | (_, Type::Real, _) | (_, _, Type::Real) => Type::Real,
        (Type::Int, Type::Int, Type::Int) => Type::Int,
        (Type::Unknown, _, _) => Type::Unknown,
        _ => Type::Long,
    };
    let field = Field::new(name.text.clone(), kind);
    let mut relation = source::nothing(vec![field.clone()]);
    relation.serialized = true;
    let fits = match kind {
        Type::Datetime => to.kind == Type::Datetime && step.kind == Type::Timespan,
        Type::Timespan => to.kind == Type::Timespan && step.kind == Type::Timespan,
        Type::Unknown => return relation,
        _ => [&from, &to, &step].iter().all(|x| matches!(x.kind, Type::Int | Type::Long | Type::Real | Type::Decimal)),
    };
    if !fits {
        if ![&from, &to, &step].iter().any(|x| x.kind == Type::Unknown) {
            b.error("KS178", span, format!("these types do not make a range of `{}`", kind.name()));
        }
        return relation;
    }
    let Some(rows) = values(b, kind, [from, to, step], span) else { return relation };
    let planned = source::rows(vec![field], &rows);
    let mut made = b.settle(span, &relation, planned);
    made.serialized = true;
    made
}

fn values(b: &mut Binder<'_>, kind: Type, parts: [Bound; 3], span: Span) -> Option<Vec<Vec<ScalarValue>>> {
    let exact = !matches!(kind, Type::Real | Type::Decimal);
    let read = |p: &Bound| fold::constant(&p.expr);
    let values: Vec<Option<ScalarValue>> = parts.iter().map(read).collect();
    if values.iter().any(Option::is_none) {
        b.error("KS129", span, "the bounds of a range must be constant");
        return None;
    }
    let mut rows = vec![];
    let too_many = |rows: &Vec<Vec<ScalarValue>>| rows.len() > RANGE_ROWS_MAX;
    if exact {
        let [from, to, step] = [0, 1, 2].map(|i| values.get(i).and_then(Option::as_ref).and_then(ticks));
        let (from, to, step) = (from?, to?, step?);
        if step == 0 {
            return Some(rows);
        }
        let mut at = from;
        while (step > 0 && at <= to) || (step < 0 && at >= to) {
            rows.push(vec![of_ticks(kind, at)]);
            if too_many(&rows) {
                break;
            }
            let Some(next) = at.checked_add(step) else { break };
            at = next;
        }
    } else {
        let [from, to, step] = [0, 1, 2].map(|i| values.get(i).and_then(Option::as_ref).and_then(real));
        let (from, to, step) = (from?, to?, step?);
        if step == 0.0 || !(from.is_finite() && to.is_finite() && step.is_finite()) {
            return Some(rows);
        }
        for n in 0_u32.. {
            let at = from + f64::from(n) * step;
            if (step > 0.0 && at > to) || (step < 0.0 && at < to) || too_many(&rows) {
                break;
            }
            rows.push(vec![ScalarValue::Float64(Some(at))]);
        }
    }
    if too_many(&rows) {
        b.error("GQ112", span, format!("a range has at most {RANGE_ROWS_MAX} rows"));
        return None;
    }
    Some(rows)
}

/// A whole number, time or span as a number.
pub(crate) fn ticks(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int64(v) | ScalarValue::TimestampMicrosecond(v, _) | ScalarValue::DurationMicrosecond(v) => *v,
        ScalarValue::Int32(v) => v.map(i64::from),
        _ => None,
    }
}

/// The value of a type that is so many of its units.
pub(crate) fn of_ticks(kind: Type, ticks: i64) -> ScalarValue {
    match kind {
        Type::Datetime => ScalarValue::TimestampMicrosecond(Some(ticks), Some("UTC".into())),
        Type::Timespan => ScalarValue::DurationMicrosecond(Some(ticks)),
        Type::Int => ScalarValue::Int32(i32::try_from(ticks).ok()),
        _ => ScalarValue::Int64(Some(ticks)),
    }
}

/// A number as a real.
pub(crate) fn real(value: &ScalarValue) -> Option<f64> {
    match value.cast_to(&Type::Real.arrow()).ok()? {
        ScalarValue::Float64(v) => v,
        _ => None,
    }
}
