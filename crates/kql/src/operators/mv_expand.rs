//! `mv-expand` and `mv-apply`.

use crate::bind::naming::apart;
use crate::bind::words::{property, property_word};
use crate::bind::{Binder, Bound, Label};
use crate::lower::expand::{self, Bags};
use crate::lower::fold;
use crate::lower::relation::{Field, Names, PART, Relation};
use crate::syntax::ast::{Expand, Expr, Pipeline, Property};
use crate::{Span, Type};
use datafusion::common::{Column, NullHandling, Result, UnnestOptions};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlanBuilder};

/// Rows that the old spelling makes of one row unless told otherwise.
const OLD_LIMIT: u64 = 128;

/// A column that is expanded.
struct Item {
    /// What its elements become.
    field: Field,
    /// The dynamic value.
    value: PlanExpr,
    /// Whether elements are converted.
    converts: bool,
}

#[allow(clippy::too_many_arguments, reason = "the parts of the operator as the tree has them")]
pub(crate) fn bind(
    b: &mut Binder<'_>,
    properties: &[Property],
    columns: &[Expand],
    limit: Option<&Expr>,
    old: bool,
    input: Relation,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["bagexpansion", "kind", "with_itemindex"]);
    let items = items(b, columns, &input);
    let rows_max = rows_max(b, limit, old);
    let index = property_word(properties, "with_itemindex").map(str::to_owned);
    let bags = bags(b, properties);
    expanded(b, items, index, bags, rows_max, input, span)
}

fn rows_max(b: &mut Binder<'_>, limit: Option<&Expr>, old: bool) -> Option<u64> {
    match limit {
        Some(limit) => b.whole(limit).map(|n| u64::try_from(n).unwrap_or(0)),
        None => old.then_some(OLD_LIMIT),
    }
}

fn bags(b: &mut Binder<'_>, properties: &[Property]) -> Bags {
    let value = property(properties, "bagexpansion").or_else(|| property(properties, "kind"));
    match value.and_then(crate::bind::words::word) {
        None | Some("bag") => Bags::Bag,
        Some("array") => Bags::Array,
        Some(other) => {
            let text = format!("bags are expanded as bag or array, not as `{other}`");
            let span = value.map(|v| v.span).unwrap_or_default();
            b.error("KS140", span, text);
            Bags::Bag
        }
    }
}

fn items(b: &mut Binder<'_>, columns: &[Expand], input: &Relation) -> Vec<Item> {
    let mut names = Names::of(&input.fields);
    let mut unnamed = 0_u32;
    let mut items: Vec<Item> = vec![];
    for column in columns {
        let (written, _, value) = apart(&column.value);
        let bound = b.scalar(value, input);
        if !matches!(bound.kind, Type::Dynamic | Type::Unknown) {
            b.error(
                "KS141",
                value.span,
                format!("a dynamic value is expected here, and this is `{}`", bound.kind.name()),
            );
        }
        let name = match (written.first(), &bound.label) {
            (Some(name), _) => name.text.clone(),
            (None, Label::Column(name)) => name.clone(),
            (None, Label::Implied(name)) => {
                if input.field(name).is_some() {
                    name.clone()
                } else {
                    names.take(name)
                }
            }
            (None, Label::None) => {
                unnamed += 1;
                names.take(&format!("Column{unnamed}"))
            }
        };
        let kind = column.kind.as_ref().map_or(Type::Dynamic, |k| b.kind(k));
        let value = if bound.kind == Type::Dynamic { bound.expr } else { fold::null(Type::Dynamic) };
        items.push(Item { field: Field::new(name, kind), value, converts: column.kind.is_some() });
    }
    items
}

fn expanded(
    b: &mut Binder<'_>,
    items: Vec<Item>,
    index: Option<String>,
    bags: Bags,
    rows_max: Option<u64>,
    input: Relation,
    span: Span,
) -> Relation {
    let list = b.fresh("list");
    let mut out: Vec<(Field, PlanExpr)> = input.all();
    for (at, item) in items.iter().enumerate() {
        let element = get_field(Relation::column(&list), expand::member(at));
        let bound = Bound::new(element, Type::Dynamic);
        let bound = if item.converts { b.converted(bound, item.field.kind) } else { bound };
        super::project::set(&mut out, &item.field.name, Bound::new(bound.expr, item.field.kind));
    }
    if let Some(index) = index {
        let number = get_field(Relation::column(&list), expand::INDEX.to_owned());
        super::project::set(&mut out, &index, Bound::new(number, Type::Long));
    }
    let mut like = input.clone();
    like.fields = out.iter().map(|(f, _)| f.clone()).collect();
    let prepared = b.prepare(span, input);
    let values = items.into_iter().map(|i| i.value).collect();
    let planned = unnest(prepared, list, expand::list(values, bags, rows_max)).and_then(|r| r.project(out));
    b.settle(span, &like, planned)
}

/// The relation with a row for each element of a list, which is a hidden column then.
fn unnest(input: Relation, name: String, list: PlanExpr) -> Result<Relation> {
    let mut relation = input.with_hidden(vec![(name.clone(), list)])?;
    let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
    relation.plan = LogicalPlanBuilder::from(relation.plan)
        .unnest_columns_with_options(vec![Column::new_unqualified(name)], options)?
        .build()?;
    Ok(relation)
}

/// The elements of a column's arrays as rows of their own.
pub(crate) fn spread(input: Relation, column: &str) -> Result<Relation> {
    let list = "\u{1}spread".to_owned();
    let value = expand::list(vec![Relation::column(column)], Bags::Bag, None);
    let element = get_field(Relation::column(&list), expand::member(0));
    unnest(input, list, value)?.project(vec![(Field::new(column, Type::Dynamic), element)])
}

/// `mv-apply columns on (operators)`: the operators work on the elements of each row by themselves.
#[allow(clippy::too_many_arguments, reason = "the parts of the operator as the tree has them")]
pub(crate) fn apply(
    b: &mut Binder<'_>,
    properties: &[Property],
    columns: &[Expand],
    limit: Option<&Expr>,
    on: &Pipeline,
    input: Relation,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["bagexpansion", "kind", "with_itemindex"]);
    let items = items(b, columns, &input);
    let replaced: Vec<String> = items.iter().map(|i| i.field.name.clone()).collect();
    let rows_max = rows_max(b, limit, false);
    let index = property_word(properties, "with_itemindex").map(str::to_owned);
    let bags = bags(b, properties);
    let outer: Vec<Field> = input.fields.iter().filter(|f| !replaced.contains(&f.name)).cloned().collect();

    // Each row gets a number, and its columns go along hidden, so that they are there after an aggregate too.
    let like = input.clone();
    let prepared = b.prepare(span, input);
    let hidden = prepared.hidden.clone();
    let (kept, first) = (b.fresh("kept"), hidden.iter().filter(|h| h.starts_with(OUTER)).count());
    let part = parts(prepared, &outer, first, &kept);
    let parted = b.settle(span, &like, part);
    let expanded = expanded(b, items, index, bags, rows_max, parted, span);
    let inner = b.pipeline(on, Some(expanded), span);
    let mut inner = b.no_graph(inner, span);
    if !inner.has_hidden(PART) {
        if !b.has_errors() {
            b.refuse(span, "what stands within this mv-apply");
        }
        inner.hidden.clear();
    }
    let mut out: Vec<(Field, PlanExpr)> = vec![];
    let whole = inner.has_hidden(PART);
    for (at, field) in outer.iter().enumerate() {
        let expr = if whole { Relation::column(&shared(first + at)) } else { fold::null(field.kind) };
        out.push((field.clone(), expr));
    }
    for field in &inner.fields {
        if !out.iter().any(|(f, _)| f.name == field.name) {
            out.push((field.clone(), Relation::column(&field.name)));
        }
    }
    let mut like = inner.clone();
    like.fields = out.iter().map(|(f, _)| f.clone()).collect();
    like.hidden.clear();
    let planned = inner.reparted(out, &hidden, &kept);
    b.settle(span, &like, planned)
}

/// Begins the names of hidden columns that hold columns of the rows outside.
const OUTER: &str = "\u{1}outer";

/// Name of the hidden column that holds the outer column at `at`; those of rows further outside come first.
fn shared(at: usize) -> String {
    format!("{OUTER}{at}")
}

fn parts(input: Relation, outer: &[Field], first: usize, kept: &str) -> Result<Relation> {
    let names: Vec<String> = (0..outer.len()).map(|at| shared(first + at)).collect();
    let columns = names.iter().cloned().zip(outer.iter().map(|f| Relation::column(&f.name))).collect();
    let number = datafusion::functions_window::expr_fn::row_number();
    let mut relation = input.with_hidden(columns)?.parted(number, true, kept)?;
    relation.hidden.retain(|h| h != crate::lower::relation::ROW);
    relation.hidden.extend(names);
    relation.serialized = true;
    Ok(relation)
}
