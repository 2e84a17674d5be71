//! `top-nested` and `top-hitters`.

use crate::Span;
use crate::Type;
use crate::bind::calls::aggregate_name;
use crate::bind::naming::apart;
use crate::bind::{Binder, Bound};
use crate::lower::relation::{Field, Names, Relation};
use crate::syntax::ast::{Expr, NestedLevel};
use datafusion::common::{JoinType, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr as PlanExpr, lit};

struct Level {
    key: (Field, PlanExpr),
    measure: Field,
    aggregates: Vec<(PlanExpr, Type)>,
    value: PlanExpr,
    rows: usize,
    ascending: bool,
}

/// `top-nested`: the greatest values of a first column; within each the greatest of a second; …
pub(crate) fn bind(b: &mut Binder<'_>, levels: &[NestedLevel], input: Relation, span: Span) -> Relation {
    let mut names = Names::default();
    let mut bound: Vec<Level> = vec![];
    for level in levels {
        if level.others.is_some() {
            b.refuse(level.span, "`with others` of top-nested");
        }
        let rows = match &level.count {
            Some(count) => b.whole(count).map_or(1, |n| usize::try_from(n.max(0)).unwrap_or(usize::MAX)),
            None => usize::MAX,
        };
        let (written, _, of) = apart(&level.of);
        let key = b.scalar(of, &input);
        if key.kind == Type::Dynamic {
            b.error("KS116", of.span, "a dynamic value cannot be a key");
        }
        let label = written.first().map(|n| n.text.clone()).or_else(|| key.label.text().map(str::to_owned));
        let name = names.take(&label.unwrap_or_else(|| "Column1".to_owned()));
        let (written, _, by) = apart(&level.by);
        b.aggregates = Some(vec![]);
        let value = b.scalar(by, &input);
        let aggregates = b.aggregates.take().unwrap_or_default();
        let measure = match written.first() {
            Some(written) => names.take(&written.text),
            None => names.take(&format!("aggregated_{name}")),
        };
        let expr = input.key(key.kind, key.expr);
        bound.push(Level {
            key: (Field::new(name, key.kind), expr),
            measure: Field::new(measure, value.kind),
            aggregates,
            value: value.expr,
            rows,
            ascending: level.ascending.unwrap_or(false),
        });
    }
    let fields = bound.iter().flat_map(|l| [l.key.0.clone(), l.measure.clone()]).collect();
    let like = crate::lower::source::nothing(fields);
    if b.has_errors() {
        return like;
    }
    let prepared = b.prepare(span, input);
    let planned = nested(prepared, bound);
    b.settle(span, &like, planned)
}

fn nested(input: Relation, levels: Vec<Level>) -> Result<Relation> {
    let input = input.bare()?;
    let mut so_far: Option<Relation> = None;
    let mut keys: Vec<(Field, PlanExpr)> = vec![];
    for level in levels {
        keys.push(level.key.clone());
        // Only rows of what the levels above have kept.
        let rows = match &so_far {
            None => input.clone(),
            Some(above) => {
                let pairs =
                    keys.iter().take(keys.len() - 1).map(|(f, e)| (e.clone(), Relation::column(&f.name))).collect();
                let hidden = (0..above.fields.len()).map(|at| format!("\u{1}above{at}")).collect();
                input.clone().join(above.clone(), hidden, pairs, JoinType::LeftSemi)?
            }
        };
        let measures: Vec<(Field, PlanExpr)> = level
            .aggregates
            .iter()
            .enumerate()
            .map(|(at, (e, kind))| (Field::new(aggregate_name(at), *kind), e.clone()))
            .collect();
        let mut items: Vec<(Field, PlanExpr)> =
            keys.iter().map(|(f, _)| (f.clone(), Relation::column(&f.name))).collect();
        items.push((level.measure.clone(), level.value.clone()));
        let counted = rows.aggregate(keys.clone(), measures)?.project(items)?;
        let fields = counted.all();
        let upper: Vec<PlanExpr> = keys.iter().take(keys.len() - 1).map(|(f, _)| Relation::column(&f.name)).collect();
        let order = vec![Relation::column(&level.measure.name).sort(level.ascending, false)];
        let kept = if level.rows == usize::MAX {
            counted
        } else {
            counted.first_of(upper, order, level.rows, "\u{1}place")?.project(fields)?
        };
        so_far = Some(match so_far {
            None => kept,
            Some(above) => {
                let shared: Vec<String> = keys.iter().take(keys.len() - 1).map(|(f, _)| f.name.clone()).collect();
                let pairs = shared.iter().map(|n| (Relation::column(n), Relation::column(n))).collect();
                let names = kept
                    .fields
                    .iter()
                    .enumerate()
                    .map(|(at, f)| if shared.contains(&f.name) { format!("\u{1}again{at}") } else { f.name.clone() })
                    .collect();
                let mut fields = above.fields.clone();
                fields.extend(kept.fields.iter().filter(|f| !shared.contains(&f.name)).cloned());
                let joined = above.join(kept, names, pairs, JoinType::Inner)?;
                joined.project(
                    fields
                        .into_iter()
                        .map(|f| {
                            let c = Relation::column(&f.name);
                            (f, c)
                        })
                        .collect(),
                )?
            }
        });
    }
    Ok(so_far.unwrap_or(input))
}

/// `top-hitters n of value [by weight]`, exactly.
pub(crate) fn hitters(
    b: &mut Binder<'_>,
    rows: &Expr,
    of: &Expr,
    by: Option<&Expr>,
    input: Relation,
    span: Span,
) -> Relation {
    let rows = b.whole(rows).map_or(1, |n| usize::try_from(n.max(0)).unwrap_or(usize::MAX));
    let value = b.scalar(of, &input);
    let name = value.label.text().unwrap_or("Column1").to_owned();
    let key = (Field::new(name.clone(), value.kind), input.key(value.kind, value.expr));
    let measure = match by {
        Some(by) => {
            let weight = b.scalar(by, &input);
            let label = format!("approximate_sum_{}", weight.label.text().unwrap_or_default());
            sum(b, weight, label, by.span)
        }
        None => Some((Field::new(format!("approximate_count_{name}"), Type::Long), count(lit(1)))),
    };
    let mut like = input.clone();
    like.serialized = true;
    like.fields = vec![key.0.clone()];
    like.fields.extend(measure.iter().map(|(f, _)| f.clone()));
    let Some(measure) = measure else { return like };
    let order = vec![Relation::column(&measure.0.name).sort(false, false)];
    let prepared = b.prepare(span, input);
    let planned = prepared.aggregate(vec![key], vec![measure]).and_then(|r| r.sort(order, Some(rows)));
    b.settle(span, &like, planned)
}

fn sum(b: &mut Binder<'_>, weight: Bound, label: String, span: Span) -> Option<(Field, PlanExpr)> {
    let function = crate::functions::aggregate("sum")?;
    let kinds = [weight.kind];
    let kind = match function.result(&kinds) {
        Ok(kind) => kind,
        Err(refusal) => {
            let _ = b.refusal(&refusal, "sum", span, &[span]);
            return None;
        }
    };
    let expr = function.lower(b.context, &kinds, vec![weight.expr]).ok()?;
    Some((Field::new(label, kind), expr))
}
