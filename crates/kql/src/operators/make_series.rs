//! `make-series`: for each key, one array with a value for every step of an axis.
//!
//! Rows are aggregated twice: by key and number of the step, then by key alone, where the steps' values become an array
//! and the steps without rows get the default.

use crate::bind::naming::{Columns, apart};
use crate::bind::{Binder, Bound, Label};
use crate::lower::relation::{Field, Relation};
use crate::lower::{fold, series};
use crate::operators::print::{of_ticks, real, ticks};
use crate::syntax::ast::{Expr, OperatorKind};
use crate::{Span, Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::{Expr as PlanExpr, cast, lit};

/// The axis: where steps begin, how long they are, how many.
struct Axis {
    start: ScalarValue,
    step: ScalarValue,
    steps: i64,
}

pub(crate) fn bind(b: &mut Binder<'_>, operator: &OperatorKind, input: Relation, span: Span) -> Relation {
    let OperatorKind::MakeSeries { properties, aggregates, on, from, to, step, in_range, by } = operator else {
        return input;
    };
    b.known_properties(properties, &["kind"]);
    let nonempty = crate::bind::words::property_word(properties, "kind") == Some("nonempty");
    let mut columns = Columns::default();
    super::summarize::keys(b, by, &input, &mut columns);
    let keys = std::mem::take(&mut columns.items);

    let mut measures: Vec<(String, Bound)> = vec![];
    b.aggregates = Some(vec![]);
    let mut defaults: Vec<String> = vec![];
    for (aggregate, default) in aggregates {
        let before = columns.items.len();
        super::summarize::measure(b, aggregate, &input, &keys, &mut columns);
        for (field, expr) in columns.items.get(before..).unwrap_or_default() {
            measures.push((field.name.clone(), Bound::new(expr.clone(), field.kind)));
        }
        let gathered = b.aggregates.take();
        let default = default.as_ref().map(|d| b.scalar(d, &crate::lower::source::unit()));
        b.aggregates = gathered;
        let json = default.map(|d| b.converted(d, Type::Dynamic)).map(|d| fold::as_text(&d.expr));
        let json = match json {
            Some(Some(text)) if !text.is_empty() => text,
            Some(_) => "null".to_owned(),
            None => "0".to_owned(),
        };
        defaults.resize(measures.len(), json);
    }
    let gathered = b.aggregates.take().unwrap_or_default();

    let (names, _, axis_expr) = apart(on);
    let axis = b.scalar(axis_expr, &input);
    let axis_name = match (names.first(), &axis.label) {
        (Some(name), _) => name.text.clone(),
        (None, Label::Column(name) | Label::Implied(name)) => name.clone(),
        (None, Label::None) => columns.number(),
    };
    let axis_name = if names.is_empty() { columns.names.take(&axis_name) } else { axis_name };
    let unit = crate::lower::source::unit();
    let part = |b: &mut Binder<'_>, e: Option<&Expr>| e.map(|e| (b.scalar(e, &unit), e.span));
    let (from, to) = (part(b, from.as_ref()), part(b, to.as_ref()));
    let step_bound = b.scalar(step, &unit);
    check(b, &axis, &step_bound, step.span, axis_expr.span);

    let mut fields: Vec<Field> = keys.iter().map(|(f, _)| f.clone()).collect();
    fields.extend(measures.iter().map(|(name, _)| Field::new(name.clone(), Type::Dynamic)));
    fields.push(Field::new(axis_name, Type::Dynamic));
    let mut like = crate::lower::source::nothing(fields.clone());
    like.open = input.open;
    if b.has_errors() || axis.kind == Type::Unknown {
        return like;
    }
    let prepared = b.prepare(span, input);
    let Some(grid) = grid(b, &prepared, &axis, from, to, &step_bound, *in_range, span) else { return like };
    if grid.steps > series::STEPS_MAX {
        b.error("GQ112", span, format!("a series has at most {} steps", series::STEPS_MAX));
        return like;
    }
    let made = Made { keys, gathered, measures, defaults, fields, nonempty };
    let planned = build(b, prepared, axis, &grid, made);
    b.settle(span, &like, planned)
}

fn check(b: &mut Binder<'_>, axis: &Bound, step: &Bound, step_span: Span, axis_span: Span) {
    let number = |t| matches!(t, Type::Int | Type::Long | Type::Real);
    let fits = match axis.kind {
        Type::Datetime | Type::Timespan => step.kind == Type::Timespan,
        Type::Unknown => true,
        kind if number(kind) => number(step.kind),
        kind => {
            b.error("KS108", axis_span, format!("a series cannot run over `{}`", kind.name()));
            true
        }
    };
    if !fits && step.kind != Type::Unknown {
        let text = format!("a step of `{}` does not fit an axis of `{}`", step.kind.name(), axis.kind.name());
        b.error("KS178", step_span, text);
    }
}

struct Made {
    keys: Vec<(Field, PlanExpr)>,
    gathered: Vec<(PlanExpr, Type)>,
    measures: Vec<(String, Bound)>,
    defaults: Vec<String>,
    fields: Vec<Field>,
    nonempty: bool,
}

/// The axis from what is written, or from the rows where it is not.
#[allow(clippy::too_many_arguments, reason = "the parts of the axis as they are written")]
fn grid(
    b: &mut Binder<'_>,
    input: &Relation,
    axis: &Bound,
    from: Option<(Bound, Span)>,
    to: Option<(Bound, Span)>,
    step: &Bound,
    in_range: bool,
    span: Span,
) -> Option<Axis> {
    let constant = |b: &mut Binder<'_>, bound: Option<(Bound, Span)>| -> Option<Option<ScalarValue>> {
        let Some((bound, place)) = bound else { return Some(None) };
        let bound = b.converted(bound, axis.kind);
        match fold::constant(&bound.expr) {
            Some(value) => Some(Some(value)),
            None => {
                b.error("KS129", place, "a constant is expected here");
                None
            }
        }
    };
    let from = constant(b, from)?;
    let to = constant(b, to)?;
    let step = fold::constant(&step.expr)?;
    let (least, greatest) = if from.is_none() || to.is_none() { ends(b, input, axis, span)? } else { (None, None) };
    let exact = axis.kind != Type::Real && !matches!(step, ScalarValue::Float64(_));
    if exact {
        let size = ticks(&step)?;
        if size <= 0 {
            b.error("GQ101", span, "the step of a series must be positive");
            return None;
        }
        let start = match &from {
            Some(value) => ticks(value)?,
            None => {
                let least = least.as_ref().and_then(ticks)?;
                least - least.rem_euclid(size)
            }
        };
        let steps = match &to {
            Some(value) => {
                let length = ticks(value)?.checked_sub(start)?;
                if in_range { length.div_euclid(size) + 1 } else { (length + size - 1).div_euclid(size) }
            }
            None => (greatest.as_ref().and_then(ticks)? - start).div_euclid(size) + 1,
        };
        return Some(Axis {
            start: of_ticks(axis.kind, start),
            step: ScalarValue::Int64(Some(size)),
            steps: steps.max(0),
        });
    }
    let size = real(&step)?;
    if size <= 0.0 {
        b.error("GQ101", span, "the step of a series must be positive");
        return None;
    }
    let start = match &from {
        Some(value) => real(value)?,
        None => (least.as_ref().and_then(real)? / size).floor() * size,
    };
    let steps = match &to {
        Some(value) => {
            let length = (real(value)? - start) / size;
            if in_range { length.floor() + 1.0 } else { length.ceil() }
        }
        None => ((greatest.as_ref().and_then(real)? - start) / size).floor() + 1.0,
    };
    #[allow(clippy::cast_possible_truncation, reason = "a cast to a whole number saturates, and the bound refuses it")]
    let steps = steps.max(0.0) as i64;
    Some(Axis { start: ScalarValue::Float64(Some(start)), step: ScalarValue::Float64(Some(size)), steps })
}

type Ends = (Option<ScalarValue>, Option<ScalarValue>);

/// The least and greatest value of the axis; `None` where they are not known now.
fn ends(b: &mut Binder<'_>, input: &Relation, axis: &Bound, span: Span) -> Option<Ends> {
    let fields = vec![
        (Field::new("\u{1}least", axis.kind), min(axis.expr.clone())),
        (Field::new("\u{1}greatest", axis.kind), max(axis.expr.clone())),
    ];
    let planned = input.clone().aggregate(vec![], fields);
    let both = b.settle(span, input, planned);
    let batches = b.ask_rows(span, &both.plan, 1)?;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0)?;
    let value = |at: usize| batch.columns().get(at).and_then(|c| ScalarValue::try_from_array(c, 0).ok());
    Some((value(0), value(1)))
}

fn build(b: &mut Binder<'_>, input: Relation, axis: Bound, grid: &Axis, made: Made) -> Result<Relation> {
    let whole = arrow::datatypes::DataType::Int64;
    let start = PlanExpr::Literal(grid.start.clone(), None);
    let step = PlanExpr::Literal(grid.step.clone(), None);
    let real_axis = matches!(grid.step, ScalarValue::Float64(_));
    let number = if real_axis {
        let axis = cast(axis.expr.clone(), arrow::datatypes::DataType::Float64);
        cast(datafusion::functions::expr_fn::floor((axis - start.clone()) / step), whole.clone())
    } else {
        let first = ticks(&grid.start).unwrap_or(0);
        (cast(axis.expr.clone(), whole.clone()) - lit(first)) / step
    };
    let index = "\u{1}step".to_owned();
    // Only rows on the axis; the comparison with the start is one that scans prune by.
    let filtered = input.filter(axis.expr.gt_eq(start))?.filter(number.clone().lt(lit(grid.steps)))?;
    let mut first_keys = made.keys.clone();
    first_keys.push((Field::new(index.clone(), Type::Long), number));
    let gathered = made
        .gathered
        .into_iter()
        .enumerate()
        .map(|(at, (e, kind))| (Field::new(crate::bind::calls::aggregate_name(at), kind), e))
        .collect();
    let by_step = filtered.aggregate(first_keys, gathered)?;
    let steps = usize::try_from(grid.steps).unwrap_or(0);
    let mut arrays = vec![];
    for ((name, bound), default) in made.measures.into_iter().zip(made.defaults) {
        let json = b.converted(bound, Type::Dynamic);
        let text = cast(json.expr, arrow::datatypes::DataType::Utf8);
        arrays.push((Field::new(name, Type::Dynamic), series::series(Relation::column(&index), text, steps, default)));
    }
    let mut last_keys: Vec<(Field, PlanExpr)> = made
        .keys
        .into_iter()
        .map(|(f, _)| {
            let c = Relation::column(&f.name);
            (f, c)
        })
        .collect();
    if last_keys.is_empty() && !made.nonempty {
        // With a key there is no row where there are no rows.
        last_keys.push((Field::new("\u{1}all", Type::Long), lit(1_i64)));
    }
    let by_key = by_step.aggregate(last_keys, arrays)?;
    let axis_values = fold::text(axis_text(b, axis.kind, grid, real_axis));
    let items = made
        .fields
        .iter()
        .enumerate()
        .map(|(at, f)| {
            let last = at + 1 == made.fields.len();
            (f.clone(), if last { axis_values.clone() } else { Relation::column(&f.name) })
        })
        .collect();
    by_key.project(items)
}

/// The axis as a JSON array.
fn axis_text(b: &mut Binder<'_>, kind: Type, grid: &Axis, real_axis: bool) -> String {
    let mut parts: Vec<String> = vec![];
    for n in 0..grid.steps {
        let value = if real_axis {
            #[allow(clippy::cast_precision_loss, reason = "a step's number is small")]
            let at = real(&grid.start).unwrap_or(0.0) + n as f64 * real(&grid.step).unwrap_or(0.0);
            ScalarValue::Float64(Some(at))
        } else {
            let step = ticks(&grid.step).unwrap_or(0);
            of_ticks(kind, ticks(&grid.start).unwrap_or(0).saturating_add(n.saturating_mul(step)))
        };
        let kind = if real_axis { Type::Real } else { kind };
        let json = b.converted(Bound::new(PlanExpr::Literal(value, None), kind), Type::Dynamic);
        parts.push(fold::as_text(&json.expr).unwrap_or_else(|| "null".to_owned()));
    }
    format!("[{}]", parts.join(","))
}
