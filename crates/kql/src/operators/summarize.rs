//! `summarize`, `distinct`, `count`.

use crate::bind::calls::{aggregate_name, number_text};
use crate::bind::naming::{Columns, apart};
use crate::bind::{Binder, Bound, Label};
use crate::functions;
use crate::lower::fold;
use crate::lower::relation::{Field, Relation};
use crate::syntax::ast::{Expr, ExprKind, Name};
use crate::{Span, Type};
use datafusion::functions_aggregate::expr_fn::count as count_rows;
use datafusion::logical_expr::{Expr as PlanExpr, lit};

/// `summarize aggregates by keys`.
pub(crate) fn bind(b: &mut Binder<'_>, aggregates: &[Expr], by: &[Expr], input: Relation, span: Span) -> Relation {
    let mut columns = Columns::default();
    keys(b, by, &input, &mut columns);
    let keys = std::mem::take(&mut columns.items);
    b.aggregates = Some(vec![]);
    for item in aggregates {
        measure(b, item, &input, &keys, &mut columns);
    }
    let gathered = b.aggregates.take().unwrap_or_default();
    let measures = gathered
        .into_iter()
        .enumerate()
        .map(|(at, (expr, kind))| (Field::new(aggregate_name(at), kind), expr))
        .collect::<Vec<_>>();
    let mut items: Vec<(Field, PlanExpr)> = keys.iter().map(|(f, _)| (f.clone(), Relation::column(&f.name))).collect();
    items.extend(columns.items);
    let mut like = input.clone();
    like.fields = items.iter().map(|(f, _)| f.clone()).collect();
    like.serialized = false;
    let prepared = b.prepare(span, input);
    let planned = summarized(prepared, keys, measures, items);
    b.settle(span, &like, planned)
}

fn summarized(
    input: Relation,
    keys: Vec<(Field, PlanExpr)>,
    mut measures: Vec<(Field, PlanExpr)>,
    items: Vec<(Field, PlanExpr)>,
) -> datafusion::common::Result<Relation> {
    if keys.is_empty() && measures.is_empty() {
        // `summarize` of nothing but constants: one row.
        measures.push((Field::new(aggregate_name(0), Type::Long), count_rows(lit(1))));
    }
    input.aggregate(keys, measures)?.project(items)
}

/// The keys of `by`, named; text keys have no null.
pub(crate) fn keys(b: &mut Binder<'_>, by: &[Expr], input: &Relation, columns: &mut Columns) {
    for item in by {
        let (names, _, value) = apart(item);
        let mut bound = b.scalar(value, input);
        if bound.kind == Type::Dynamic {
            b.error("KS116", value.span, "a dynamic value cannot be a key: convert it, as by tostring(…)");
        }
        bound.expr = input.key(bound.kind, bound.expr);
        match names {
            [name] => {
                if !columns.write(&name.text, bound) {
                    b.twice(name.span, &name.text);
                }
            }
            _ => {
                let name = bound.label.text().unwrap_or_default().to_owned();
                if !columns.imply(bound) {
                    b.twice(value.span, &name);
                }
            }
        }
    }
}

/// One element of the list of aggregates: one column, or several.
pub(crate) fn measure(
    b: &mut Binder<'_>,
    item: &Expr,
    input: &Relation,
    keys: &[(Field, PlanExpr)],
    columns: &mut Columns,
) {
    let (names, compound, value) = apart(item);
    let parts = parts(b, value, input, keys);
    let parts = match parts {
        Some(parts) => parts,
        None => {
            if let ExprKind::Name(name) = &value.kind {
                let _ = b.scalar(value, input);
                b.error("KS236", name.span, format!("`{}` is no aggregate: put it into one, or after `by`", name.text));
                vec![(Label::Implied(name.text.clone()), Bound::unknown())]
            } else {
                let bound = b.scalar(value, input);
                stray(b, value, &bound, keys);
                vec![(bound.label.clone(), bound)]
            }
        }
    };
    if compound && parts.len() == 1 && names.len() > 1 {
        b.error("KS149", item.span, "this does not give several values");
    }
    for (at, (label, bound)) in parts.into_iter().enumerate() {
        let name = names.get(at).filter(|n| !n.text.is_empty());
        match name {
            Some(name) => {
                if !columns.write(&name.text, bound) {
                    b.twice(name.span, &name.text);
                }
            }
            None => {
                let label = match label {
                    // Two measures of one column are two columns.
                    Label::Column(name) => Label::Implied(name),
                    other => other,
                };
                columns.imply(bound.labelled(label));
            }
        }
    }
}

/// Says that a column stands outside an aggregate.
fn stray(b: &mut Binder<'_>, value: &Expr, bound: &Bound, keys: &[(Field, PlanExpr)]) {
    let stray = bound
        .expr
        .column_refs()
        .into_iter()
        .find(|c| !c.name.starts_with('\u{1}') && !keys.iter().any(|(f, _)| f.name == c.name))
        .map(|c| c.name.clone());
    if let Some(name) = stray {
        b.error("KS236", value.span, format!("`{name}` stands outside an aggregate"));
    }
}

/// Columns of a call that gives several; `None` if it is no such call.
fn parts(
    b: &mut Binder<'_>,
    value: &Expr,
    input: &Relation,
    keys: &[(Field, PlanExpr)],
) -> Option<Vec<(Label, Bound)>> {
    let ExprKind::Call { name, arguments } = &value.kind else { return None };
    match (name.text.as_str(), arguments.as_slice()) {
        ("arg_max" | "argmax" | "arg_min" | "argmin", [by, rest @ ..]) => Some(extreme(b, name, by, rest, input, keys)),
        ("percentiles" | "percentilesw", list) => percentiles(b, name, list, input),
        (word @ ("take_any" | "any"), list)
            if list.len() != 1 || matches!(list, [Expr { kind: ExprKind::Star, .. }]) =>
        {
            Some(any(b, word, list, input, keys, name.span))
        }
        _ => None,
    }
}

/// What `*` means: all columns but the keys.
fn others(input: &Relation, keys: &[(Field, PlanExpr)]) -> Vec<Bound> {
    input
        .fields
        .iter()
        .filter(|f| !keys.iter().any(|(_, e)| is_column(e, &f.name)))
        .map(|f| Bound::new(Relation::column(&f.name), f.kind).labelled(Label::Column(f.name.clone())))
        .collect()
}

/// Whether a key is a column as it is, or its text without null.
fn is_column(expr: &PlanExpr, name: &str) -> bool {
    match expr {
        PlanExpr::Column(c) => c.name == name,
        PlanExpr::ScalarFunction(f) if f.func.name() == "coalesce" => {
            f.args.first().is_some_and(|a| matches!(a, PlanExpr::Column(c) if c.name == name))
        }
        _ => false,
    }
}

/// `arg_max(by, …)`, `arg_min(by, …)`: the row in which `by` is greatest or least.
fn extreme(
    b: &mut Binder<'_>,
    name: &Name,
    by: &Expr,
    rest: &[Expr],
    input: &Relation,
    keys: &[(Field, PlanExpr)],
) -> Vec<(Label, Bound)> {
    let gathered = b.aggregates.take();
    let key = b.scalar(by, input);
    let mut values = vec![];
    let mut spans = vec![by.span];
    for argument in rest {
        spans.push(argument.span);
        if matches!(argument.kind, ExprKind::Star) {
            let name = key.label.text().unwrap_or_default().to_owned();
            values.extend(others(input, keys).into_iter().filter(|o| o.label.text() != Some(name.as_str())));
        } else {
            values.push(b.scalar(argument, input));
        }
    }
    b.aggregates = gathered;
    values.insert(0, key);
    let word = if name.text.ends_with("max") { "max" } else { "min" };
    let of = values.first().and_then(|v| v.label.text()).unwrap_or_default().to_owned();
    one_row(b, &name.text, values, &spans, name.span)
        .into_iter()
        .enumerate()
        .map(|(at, (label, bound))| {
            let label = if label == Label::None { Label::Implied(format!("{word}_{of}_arg{at}")) } else { label };
            (label, bound)
        })
        .collect()
}

/// Columns of one row of each group.
fn one_row(b: &mut Binder<'_>, word: &str, values: Vec<Bound>, spans: &[Span], span: Span) -> Vec<(Label, Bound)> {
    let kinds: Vec<Type> = values.iter().map(|v| v.kind).collect();
    let labels: Vec<Label> = values.iter().map(|v| v.label.clone()).collect();
    let unknown = |kinds: &[Type]| -> Vec<Bound> { kinds.iter().map(|k| Bound::new(fold::null(*k), *k)).collect() };
    let bound = if kinds.contains(&Type::Unknown) {
        unknown(&kinds)
    } else {
        match functions::arg_extreme(word, &kinds, values.into_iter().map(|v| v.expr).collect()) {
            Ok(exprs) => exprs.into_iter().zip(&kinds).map(|(e, kind)| b.gather(e, *kind)).collect(),
            Err(refusal) => {
                let _ = b.refusal(&refusal, word, span, spans);
                unknown(&kinds)
            }
        }
    };
    labels.into_iter().zip(bound).collect()
}

/// `percentiles(of, 5, 50)`: a column for each rank.
fn percentiles(b: &mut Binder<'_>, name: &Name, list: &[Expr], input: &Relation) -> Option<Vec<(Label, Bound)>> {
    let (function, columns) = functions::percentile_parts(&name.text, list.len())?;
    if columns.is_empty() {
        return None;
    }
    let gathered = b.aggregates.take();
    let values: Vec<(Bound, Span)> = list.iter().map(|e| (b.scalar(e, input), e.span)).collect();
    b.aggregates = gathered;
    let mut parts = vec![];
    for places in columns {
        let arguments: Vec<(Bound, Span)> = places.iter().filter_map(|at| values.get(*at).cloned()).collect();
        let kinds: Vec<Type> = arguments.iter().map(|(v, _)| v.kind).collect();
        let spans: Vec<Span> = arguments.iter().map(|(_, s)| *s).collect();
        let of = arguments.first().and_then(|(v, _)| v.label.text()).unwrap_or_default();
        let rank = arguments.last().and_then(|(v, _)| fold::constant(&v.expr)).map(|v| number_text(&v));
        let label = Label::Implied(format!("percentile_{of}_{}", rank.unwrap_or_default()));
        let exprs = arguments.into_iter().map(|(v, _)| v.expr).collect();
        let bound = match function.result(&kinds) {
            Ok(kind) if kinds.contains(&Type::Unknown) => Bound::new(fold::null(kind), kind),
            Ok(kind) => match function.lower(b.context, &kinds, exprs) {
                Ok(expr) => b.gather(expr, kind),
                Err(refusal) => b.refusal(&refusal, &name.text, name.span, &spans),
            },
            Err(refusal) => b.refusal(&refusal, &name.text, name.span, &spans),
        };
        parts.push((label, bound));
    }
    Some(parts)
}

/// `take_any(a, b)`, `take_any(*)`: values of some row.
fn any(
    b: &mut Binder<'_>,
    word: &str,
    list: &[Expr],
    input: &Relation,
    keys: &[(Field, PlanExpr)],
    span: Span,
) -> Vec<(Label, Bound)> {
    let gathered = b.aggregates.take();
    let mut values = vec![];
    for argument in list {
        if matches!(argument.kind, ExprKind::Star) {
            values.extend(others(input, keys));
        } else {
            values.push(b.scalar(argument, input));
        }
    }
    b.aggregates = gathered;
    one_row(b, word, values, &[], span)
        .into_iter()
        .enumerate()
        .map(|(at, (label, bound))| {
            let label = match (word, label.text()) {
                ("any", Some(name)) => Label::Implied(format!("any_{name}")),
                (_, Some(name)) => Label::Implied(name.to_owned()),
                (_, None) => Label::Implied(format!("any_arg{at}")),
            };
            (label, bound)
        })
        .collect()
}

/// `distinct`.
pub(crate) fn distinct(b: &mut Binder<'_>, list: &[Expr], input: Relation, span: Span) -> Relation {
    let mut columns = Columns::default();
    for item in list {
        if matches!(item.kind, ExprKind::Star) {
            for field in input.fields.clone() {
                let expr = input.key(field.kind, Relation::column(&field.name));
                columns.imply(Bound::new(expr, field.kind).labelled(Label::Column(field.name)));
            }
            continue;
        }
        keys(b, std::slice::from_ref(item), &input, &mut columns);
    }
    let items: Vec<(Field, PlanExpr)> =
        columns.items.iter().map(|(f, _)| (f.clone(), Relation::column(&f.name))).collect();
    let mut like = input.clone();
    like.fields = items.iter().map(|(f, _)| f.clone()).collect();
    like.serialized = false;
    let keys = columns.items;
    let prepared = b.prepare(span, input);
    let planned = if keys.is_empty() { Ok(prepared) } else { prepared.aggregate(keys, vec![]) };
    b.settle(span, &like, planned)
}

/// `count`.
pub(crate) fn count(b: &mut Binder<'_>, name: Option<&Name>, input: Relation, span: Span) -> Relation {
    let field = Field::new(name.map_or("Count", |n| n.text.as_str()), Type::Long);
    let mut like = input.clone();
    like.fields = vec![field.clone()];
    like.open = false;
    like.serialized = false;
    let planned = input.aggregate(vec![], vec![(field, count_rows(lit(1)))]).map(|mut r| {
        r.open = false;
        r
    });
    b.settle(span, &like, planned)
}
