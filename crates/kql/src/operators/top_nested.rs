//! `top-nested` and `top-hitters`.

use crate::Span;
use crate::Type;
use crate::bind::calls::aggregate_name;
use crate::bind::naming::apart;
use crate::bind::{Binder, Bound};
use crate::lower::fold::null;
use crate::lower::relation::{Field, Names, Relation};
use crate::syntax::ast::{Expr, NestedLevel};
use datafusion::common::tree_node::{Transformed, TreeNode};
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
    /// What stands for the values that are not kept.
    others: Option<PlanExpr>,
}

/// `top-nested`: the greatest values of a first column; within each the greatest of a second; …
pub(crate) fn bind(b: &mut Binder<'_>, levels: &[NestedLevel], input: Relation, span: Span) -> Relation {
    let mut names = Names::default();
    let mut bound: Vec<Level> = vec![];
    for level in levels {
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
        let others = level.others.as_ref().map(|o| {
            let value = b.scalar(o, &crate::lower::source::unit());
            let value = b.converted(value, key.kind);
            if crate::lower::fold::constant(&value.expr).is_none() && !b.has_errors() {
                b.error("KS129", o.span, "a constant is expected here");
            }
            value.expr
        });
        let expr = input.key(key.kind, key.expr);
        bound.push(Level {
            others,
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
    let mut rests: Vec<Relation> = vec![];
    let mut keys: Vec<(Field, PlanExpr)> = vec![];
    for (at, level) in levels.iter().enumerate() {
        keys.push(level.key.clone());
        let upper: Vec<(Field, PlanExpr)> = keys.iter().take(at).cloned().collect();
        // Only rows of what the levels above have kept.
        let rows = match &so_far {
            None => input.clone(),
            Some(above) => {
                let pairs = upper.iter().map(|(f, e)| (e.clone(), Relation::column(&f.name))).collect();
                input.clone().join(above.clone(), aside(above, "above"), pairs, JoinType::LeftSemi)?
            }
        };
        let mut items = columns(keys.iter().map(|(f, _)| f.clone()));
        items.push((level.measure.clone(), at_level(at, &level.value)?));
        let counted = rows.clone().aggregate(keys.clone(), measures(at, level))?.project(items)?;
        let fields = counted.all();
        let groups: Vec<PlanExpr> = upper.iter().map(|(f, _)| Relation::column(&f.name)).collect();
        let order = vec![Relation::column(&level.measure.name).sort(level.ascending, false)];
        let kept = if level.rows == usize::MAX {
            counted
        } else {
            counted.first_of(groups, order, level.rows, "\u{1}place")?.project(fields)?
        };
        if let Some(rest) = rest(rows, &kept, so_far.as_ref(), &keys, at, &levels)? {
            rests.push(rest);
        }
        so_far = Some(match so_far {
            None => kept,
            Some(above) => beside(above, kept, &upper)?,
        });
    }
    let Some(kept) = so_far else { return Ok(input) };
    if rests.is_empty() {
        return Ok(kept);
    }
    let all = std::iter::once(kept.clone()).chain(rests).collect();
    Ok(Relation::union(all)?.unwrap_or(kept))
}

/// The rows that a level does not keep, as one row for each value above, where this level or one below says what stands
/// for others. All of them are others at every level from here on.
fn rest(
    rows: Relation,
    kept: &Relation,
    above: Option<&Relation>,
    keys: &[(Field, PlanExpr)],
    at: usize,
    levels: &[Level],
) -> Result<Option<Relation>> {
    if !levels.iter().skip(at).any(|l| l.others.is_some()) {
        return Ok(None);
    }
    let pairs = keys.iter().map(|(f, e)| (e.clone(), Relation::column(&f.name))).collect();
    let left = rows.join(kept.clone(), aside(kept, "kept"), pairs, JoinType::LeftAnti)?;
    let upper: Vec<(Field, PlanExpr)> = keys.iter().take(at).cloned().collect();
    let number = Field::new("\u{1}number", Type::Long);
    let mut all = vec![(number.clone(), count(lit(1)))];
    for (place, level) in levels.iter().enumerate().skip(at) {
        if level.others.is_some() {
            all.extend(measures(place, level));
        }
    }
    let grouped = left.aggregate(upper.clone(), all)?.filter(Relation::column(&number.name).gt(lit(0_i64)))?;
    let mut items = columns(upper.iter().map(|(f, _)| f.clone()));
    for (place, level) in levels.iter().enumerate().skip(at) {
        let (key, value) = match &level.others {
            Some(others) => (others.clone(), at_level(place, &level.value)?),
            None => (null(level.key.0.kind), null(level.measure.kind)),
        };
        items.push((level.key.0.clone(), key));
        items.push((level.measure.clone(), value));
    }
    let grouped = grouped.project(items)?;
    match above {
        None => Ok(Some(grouped)),
        Some(above) => beside(above.clone(), grouped, &upper).map(Some),
    }
}

/// Names for the columns of the other side of a join that keeps none of them.
fn aside(relation: &Relation, what: &str) -> Vec<String> {
    (0..relation.fields.len()).map(|at| format!("\u{1}{what}{at}")).collect()
}

fn columns(fields: impl Iterator<Item = Field>) -> Vec<(Field, PlanExpr)> {
    fields
        .map(|f| {
            let column = Relation::column(&f.name);
            (f, column)
        })
        .collect()
}

/// Name of the aggregate of a level: those of several levels stand beside each other.
fn level_aggregate(level: usize, at: usize) -> String {
    format!("{}\u{1}{level}", aggregate_name(at))
}

fn measures(place: usize, level: &Level) -> Vec<(Field, PlanExpr)> {
    let all = level.aggregates.iter().enumerate();
    all.map(|(at, (e, kind))| (Field::new(level_aggregate(place, at), *kind), e.clone())).collect()
}

/// A level's value over the aggregates of that level.
fn at_level(level: usize, value: &PlanExpr) -> Result<PlanExpr> {
    let renamed = value.clone().transform_up(|part| {
        let PlanExpr::Column(column) = &part else { return Ok(Transformed::no(part)) };
        match column.name.strip_prefix("\u{1}aggregate").and_then(|n| n.parse::<usize>().ok()) {
            Some(at) => Ok(Transformed::yes(Relation::column(&level_aggregate(level, at)))),
            None => Ok(Transformed::no(part)),
        }
    })?;
    Ok(renamed.data)
}

/// What a level has beside what the levels above have kept.
fn beside(above: Relation, level: Relation, upper: &[(Field, PlanExpr)]) -> Result<Relation> {
    let shared: Vec<String> = upper.iter().map(|(f, _)| f.name.clone()).collect();
    let pairs = shared.iter().map(|n| (Relation::column(n), Relation::column(n))).collect();
    let names = level
        .fields
        .iter()
        .enumerate()
        .map(|(at, f)| if shared.contains(&f.name) { format!("\u{1}again{at}") } else { f.name.clone() })
        .collect();
    let mut fields = above.fields.clone();
    fields.extend(level.fields.iter().filter(|f| !shared.contains(&f.name)).cloned());
    above.join(level, names, pairs, JoinType::Inner)?.project(columns(fields.into_iter()))
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
