//! `scan`: sequences of rows, told by steps.
//!
//! The rows are gathered first, in their order, and the machine of [`crate::lower::sequences`] runs over them: a
//! sequence may span all of them, so there is nothing to be given before the last is seen (`output = last`).

use crate::bind::elements::{Element, ElementKind, parts};
use crate::bind::naming::apart;
use crate::bind::words::property_word;
use crate::bind::{Binder, Bound, Step as Prior};
use crate::lower::evaluate::Compiled;
use crate::lower::relation::{Field, Names, PART, ROW, Relation, named};
use crate::lower::sequences::{Machine, Match, Origin, Output, Part, Step, Stop};
use crate::lower::{fold, source};
use crate::syntax::ast::{Name, OperatorKind, Parameter, ParameterKind, ScanStep};
use crate::{Diagnostic, Span, Type};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlanBuilder};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows that a scan reads, and that it gives: they are in memory all at once. As many as `materialize` keeps.
const ROWS_MAX: usize = 1_000_000;

/// Bytes of values that steps have assigned: a list that grows with every row is quadratic.
const BYTES_MAX: usize = 256 << 20;

/// Steps: each row is put to all of them.
const STEPS_MAX: usize = 64;

/// A step as the query has it.
struct Bind {
    output: Output,
    condition: PlanExpr,
    /// Place among the assigned columns, and the value.
    assignments: Vec<(usize, PlanExpr)>,
}

/// A column that steps may assign.
struct Assigned {
    name: String,
    kind: Type,
    /// What it is where nothing is assigned; for a column of the rows, what the row has.
    default: Option<ScalarValue>,
}

pub(crate) fn bind(b: &mut Binder<'_>, kind: &OperatorKind, input: Relation, span: Span) -> Relation {
    let OperatorKind::Scan { properties, partition_by, order_by, declare, steps } = kind else { return input };
    b.known_properties(properties, &["with_match_id"]);
    let input = if order_by.is_empty() { input } else { super::sort::sort(b, order_by, input, span) };
    if !input.serialized && !input.open && b.rehearsal == 0 {
        let finding = Diagnostic::error("GQ201", span, "`scan` needs rows in an order");
        b.report(finding.hint("put `sort by …` or `serialize` before it"));
    }
    if steps.len() > STEPS_MAX {
        b.error("GQ112", span, format!("a scan has at most {STEPS_MAX} steps"));
    }
    let mut names = Names::of(&input.fields);
    let assigned = declared(b, declare, &input, &mut names);
    let id = names.take(property_word(properties, "with_match_id").unwrap_or("match_id"));

    // Expressions see the row, with the declared columns, and the last row of each step.
    let mut rows = input.clone();
    rows.fields.extend(assigned.iter().map(|a| Field::new(&a.name, a.kind)));
    let keys: Vec<PlanExpr> = partition_by
        .iter()
        .map(|e| {
            let bound = b.scalar(e, &input);
            input.key(bound.kind, bound.expr)
        })
        .collect();
    let outer = std::mem::take(&mut b.elements);
    let mut seen: Vec<&str> = vec![];
    for step in steps {
        if seen.contains(&step.name.text.as_str()) {
            b.error("GQ202", step.name.span, format!("there are two steps with the name `{}`", step.name.text));
        }
        seen.push(&step.name.text);
        let fields = rows.fields.clone();
        b.elements.push(Element { name: step.name.text.clone(), kind: ElementKind::Step, fields });
    }
    let mut assigned = assigned;
    let bound: Vec<Bind> = steps.iter().take(STEPS_MAX).map(|s| step(b, s, &rows, &mut assigned)).collect();
    b.elements = outer;
    stateless(b, &assigned, span);

    let mut fields = rows.fields.clone();
    fields.push(Field::new(id, Type::Long));
    let prepared = b.prepare(span, input);
    let outcome = run(b, prepared, keys, &bound, &assigned, steps, &fields, span);
    let mut like = source::nothing(fields);
    like.open = rows.open;
    like.serialized = true;
    b.settle(span, &like, outcome)
}

/// The declared columns.
fn declared(b: &mut Binder<'_>, declare: &[Parameter], input: &Relation, names: &mut Names) -> Vec<Assigned> {
    let mut assigned: Vec<Assigned> = vec![];
    for parameter in declare {
        let kind = match &parameter.kind {
            ParameterKind::Scalar(kind) => b.kind(kind),
            ParameterKind::Rows(_) => Type::Unknown,
        };
        let name = &parameter.name;
        if input.field(&name.text).is_some() || names.has(&name.text) {
            b.twice(name.span, &name.text);
            continue;
        }
        let default = parameter.default.as_ref().map_or_else(
            || Bound::new(fold::null(kind), kind),
            |d| {
                let bound = b.scalar(d, &source::unit());
                b.converted(bound, kind)
            },
        );
        let default = fold::constant(&default.expr).and_then(|v| v.cast_to(&kind.arrow()).ok());
        if default.is_none() && !b.has_errors() {
            b.error("KS129", parameter.span, "a constant is expected here");
        }
        let null = ScalarValue::try_from(kind.arrow()).unwrap_or(ScalarValue::Null);
        let name = names.take(&name.text);
        assigned.push(Assigned { name, kind, default: Some(default.unwrap_or(null)) });
    }
    assigned
}

fn step(b: &mut Binder<'_>, step: &ScanStep, rows: &Relation, assigned: &mut Vec<Assigned>) -> Bind {
    if step.optional {
        b.refuse(step.name.span, "an optional step");
    }
    let output = match step.output.as_ref() {
        None => Output::All,
        Some(word) => output(b, word),
    };
    let condition = b.predicate(&step.condition, rows);
    let mut assignments = vec![];
    for assignment in &step.assignments {
        let (written, _, value) = apart(assignment);
        let bound = b.scalar(value, rows);
        let Some(name) = written.first() else {
            b.error("KS193", assignment.span, "a column is assigned here: `name = value`");
            continue;
        };
        let Some(field) = rows.field(&name.text).cloned() else {
            if !rows.open {
                b.no_column(name, rows);
            }
            continue;
        };
        let bound = b.converted(bound, field.kind);
        let place = assigned.iter().position(|a| a.name == field.name).unwrap_or_else(|| {
            assigned.push(Assigned { name: field.name.clone(), kind: field.kind, default: None });
            assigned.len() - 1
        });
        assignments.push((place, bound.expr));
    }
    Bind { output, condition, assignments }
}

fn output(b: &mut Binder<'_>, word: &Name) -> Output {
    match word.text.as_str() {
        "all" => Output::All,
        "last" => Output::Last,
        "none" => Output::Nothing,
        other => {
            b.error("KS005", word.span, format!("`all`, `last` or `none` is expected here, not `{other}`"));
            Output::All
        }
    }
}

/// What is computed before the scan (`prev`, membership in rows) cannot look at its steps.
fn stateless(b: &mut Binder<'_>, assigned: &[Assigned], span: Span) {
    let looks = |e: &PlanExpr| {
        e.column_refs()
            .iter()
            .any(|c| parts(&c.name).is_some() || assigned.iter().any(|a| a.default.is_some() && a.name == c.name))
    };
    let wrong = b.steps.iter().any(|s| match s {
        Prior::Window(_, e) => looks(e),
        Prior::Member { value, .. } => looks(value),
    });
    if wrong {
        b.refuse(span, "a function over rows, or a list of rows, that looks at a step");
        b.steps.clear();
    }
}

/// No rows yet: the shape with what goes along hidden.
fn shape(fields: &[Field], hidden: &[(String, DataType)]) -> SchemaRef {
    let mut all: Vec<ArrowField> = fields.iter().map(|f| ArrowField::new(&f.name, f.kind.arrow(), true)).collect();
    all.extend(hidden.iter().map(|(n, k)| ArrowField::new(n, k.clone(), true)));
    Arc::new(Schema::new(all))
}

#[allow(clippy::too_many_arguments, reason = "the parts of the operator, bound")]
fn run(
    b: &mut Binder<'_>,
    input: Relation,
    keys: Vec<PlanExpr>,
    steps: &[Bind],
    assigned: &[Assigned],
    written: &[ScanStep],
    fields: &[Field],
    span: Span,
) -> Result<Relation> {
    let open = input.open;
    let numbered = input.is_numbered();
    // Everything that the rows carry, the keys of parts, and what was computed before.
    let mut items: Vec<PlanExpr> = vec![];
    let mut carried: Vec<(String, DataType)> = vec![];
    for field in input.plan.schema().fields() {
        items.push(Relation::column(field.name()));
        if input.field(field.name()).is_none() {
            carried.push((field.name().clone(), field.data_type().clone()));
        }
    }
    let mut part_names = vec![];
    for (at, key) in keys.into_iter().enumerate() {
        let name = format!("\u{1}scan{at}");
        items.push(named(key, &name));
        part_names.push(name);
    }
    if input.has_hidden(PART) {
        part_names.push(PART.to_owned());
    }
    let kept: Vec<(String, DataType)> =
        carried.iter().filter(|(n, _)| n != ROW && input.has_hidden(n)).cloned().collect();
    let mut builder = LogicalPlanBuilder::from(input.plan.clone()).project(items)?;
    if numbered {
        builder = builder.sort(vec![Relation::column(ROW).sort(true, false)])?;
    }
    let plan = builder.build()?;
    let mut hidden = kept.clone();
    hidden.push((ROW.to_owned(), DataType::Int64));
    let schema = shape(fields, &hidden);
    let answer = match b.ask_rows(span, &plan, ROWS_MAX + 1) {
        None => vec![],
        Some(batches) => {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            if rows > ROWS_MAX {
                too_many(b, span, format!("a scan reads at most {ROWS_MAX} rows, and there are more"));
                vec![]
            } else {
                let batches = plain(&input, batches)?;
                let machine = machine(&input, steps, assigned, written, &part_names, &batches)?;
                match machine.run(&batches)? {
                    Ok(matches) => vec![made(&matches, &batches, &input, assigned, &machine, fields, &kept, &schema)?],
                    Err(Stop::Rows) => {
                        too_many(b, span, format!("a scan gives at most {ROWS_MAX} rows, and there are more"));
                        vec![]
                    }
                    Err(Stop::Bytes) => {
                        let text = format!("the values that a scan assigns take more than {} MiB", BYTES_MAX >> 20);
                        too_many(b, span, text);
                        vec![]
                    }
                }
            }
        }
    };
    let mut relation = source::raw(schema, answer, fields.to_vec())?;
    relation.hidden = hidden.into_iter().map(|(n, _)| n).collect();
    relation.open = open;
    relation.serialized = true;
    Ok(relation)
}

fn too_many(b: &mut Binder<'_>, span: Span, text: String) {
    let finding = Diagnostic::error("GQ112", span, text);
    b.report(finding.hint("filter the rows before it, or project fewer columns"));
}

/// The rows with their columns in the form that the language computes with.
fn plain(input: &Relation, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let mut out = vec![];
    for batch in batches {
        let (mut arrays, mut fields): (Vec<ArrayRef>, Vec<ArrowField>) = (vec![], vec![]);
        for (array, field) in batch.columns().iter().zip(batch.schema().fields()) {
            let want = input.field(field.name()).map_or_else(|| array.data_type().clone(), |f| f.kind.arrow());
            arrays.push(if array.data_type() == &want { Arc::clone(array) } else { cast(array, &want)? });
            fields.push(ArrowField::new(field.name(), want, true));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        out.push(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?);
    }
    Ok(out)
}

fn machine(
    input: &Relation,
    steps: &[Bind],
    assigned: &[Assigned],
    written: &[ScanStep],
    part_names: &[String],
    batches: &[RecordBatch],
) -> Result<Machine> {
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let empty = batches.is_empty();
    let index: HashMap<&str, usize> =
        schema.fields().iter().enumerate().map(|(at, f)| (f.name().as_str(), at)).collect();
    let place: HashMap<&str, usize> = assigned.iter().enumerate().map(|(at, a)| (a.name.as_str(), at)).collect();
    let step_of: HashMap<&str, usize> = written.iter().enumerate().map(|(at, s)| (s.name.text.as_str(), at)).collect();
    let state = |name: &str| -> Option<(Origin, DataType)> {
        let (step, column) = parts(name)?;
        let step = *step_of.get(step)?;
        let (kind, default) = match place.get(column).and_then(|p| assigned.get(*p)) {
            Some(a) => (a.kind, a.default.clone()),
            None => (input.field(column)?.kind, None),
        };
        let null = || match kind {
            Type::Text => ScalarValue::Utf8(Some(String::new())),
            other => ScalarValue::try_from(other.arrow()).unwrap_or(ScalarValue::Null),
        };
        let origin = Origin::State {
            step,
            column: index.get(column).copied(),
            assigned: place.get(column).copied(),
            missing: default.unwrap_or_else(null),
        };
        Some((origin, kind.arrow()))
    };
    // A declared column of the row itself is what it is by default.
    let settled = |e: PlanExpr| -> Result<PlanExpr> {
        e.transform_up(|part| match &part {
            PlanExpr::Column(c) => {
                let default = place.get(c.name.as_str()).and_then(|p| assigned.get(*p)).and_then(|a| a.default.clone());
                Ok(match default {
                    Some(value) => Transformed::yes(PlanExpr::Literal(value, None)),
                    None => Transformed::no(part),
                })
            }
            _ => Ok(Transformed::no(part)),
        })
        .map(|t| t.data)
    };
    let kind_of = |name: &str| match index.get(name) {
        Some(at) => schema.fields().get(*at).map(|f| f.data_type().clone()),
        None => state(name).map(|(_, kind)| kind),
    };
    let part = |e: PlanExpr| -> Result<Part> {
        let compiled = Compiled::new(&settled(e)?, &kind_of)?;
        let mut origins = vec![];
        for name in &compiled.columns {
            match (index.get(name.as_str()), state(name)) {
                (Some(at), _) => origins.push(Origin::Row(*at)),
                (None, Some((origin, _))) => origins.push(origin),
                (None, None) => return plan_err!("there is no column `{name}` in a scan"),
            }
        }
        Ok(Part { compiled, origins })
    };
    let mut made = vec![];
    for step in steps.iter().filter(|_| !empty) {
        let condition =
            split_conjunction_owned(step.condition.clone()).into_iter().map(&part).collect::<Result<_>>()?;
        let assignments = step.assignments.iter().map(|(at, e)| Ok((*at, part(e.clone())?))).collect::<Result<_>>()?;
        made.push(Step { output: step.output, condition, assignments });
    }
    Ok(Machine {
        steps: made,
        part_by: part_names.iter().filter_map(|n| index.get(n.as_str()).copied()).collect(),
        assigned: assigned
            .iter()
            .map(|a| (index.get(a.name.as_str()).copied(), a.default.clone().unwrap_or(ScalarValue::Null)))
            .collect(),
        rows_max: ROWS_MAX,
        bytes_max: BYTES_MAX,
    })
}

/// The matches as rows.
#[allow(clippy::too_many_arguments, reason = "what the rows are made of")]
fn made(
    matches: &[Match],
    batches: &[RecordBatch],
    input: &Relation,
    assigned: &[Assigned],
    machine: &Machine,
    fields: &[Field],
    kept: &[(String, DataType)],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let places: Vec<(usize, usize)> = matches.iter().map(|m| (m.batch, m.row)).collect();
    let column = |name: &str, kind: &DataType| -> Result<ArrayRef> {
        let arrays: Vec<&ArrayRef> = batches.iter().filter_map(|b| b.column_by_name(name)).collect();
        if arrays.is_empty() || places.is_empty() {
            return Ok(arrow::array::new_empty_array(kind));
        }
        let arrays: Vec<&dyn arrow::array::Array> = arrays.into_iter().map(AsRef::as_ref).collect();
        Ok(interleave(&arrays, &places)?)
    };
    let mut arrays = vec![];
    for field in fields.iter().take(fields.len().saturating_sub(1)) {
        let kind = field.kind.arrow();
        let place = assigned.iter().position(|a| a.name == field.name);
        let Some(place) = place else {
            arrays.push(column(&field.name, &kind)?);
            continue;
        };
        let default = machine.assigned.get(place).map_or(ScalarValue::Null, |(_, d)| d.clone());
        let base = if input.field(&field.name).is_some() { Some(column(&field.name, &kind)?) } else { None };
        let values = matches.iter().enumerate().map(|(at, m)| match m.values.get(place).and_then(Option::as_ref) {
            Some(value) => value.cast_to(&kind),
            None => match &base {
                Some(base) => ScalarValue::try_from_array(base, at),
                None => Ok(default.clone()),
            },
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        arrays.push(if values.is_empty() {
            arrow::array::new_empty_array(&kind)
        } else {
            ScalarValue::iter_to_array(values)?
        });
    }
    arrays.push(Arc::new(Int64Array::from_iter_values(matches.iter().map(|m| m.id))) as ArrayRef);
    for (name, kind) in kept {
        arrays.push(column(name, kind)?);
    }
    arrays.push(Arc::new(Int64Array::from_iter_values((1_i64..).take(matches.len()))) as ArrayRef);
    let options = RecordBatchOptions::new().with_row_count(Some(matches.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}
