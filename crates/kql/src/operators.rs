//! The operators of pipelines: a file each, and one line each in [`bind`].

pub(crate) mod datatable;
pub(crate) mod evaluate;
pub(crate) mod externaldata;
pub(crate) mod filter;
pub(crate) mod graph;
pub(crate) mod graph_match;
pub(crate) mod join;
pub(crate) mod make_series;
pub(crate) mod mv_expand;
pub(crate) mod parse;
pub(crate) mod partition;
pub(crate) mod print;
pub(crate) mod product;
pub(crate) mod project;
pub(crate) mod scan;
pub(crate) mod search;
pub(crate) mod shape;
pub(crate) mod sort;
pub(crate) mod summarize;
pub(crate) mod top_nested;
pub(crate) mod union;

use crate::bind::Binder;
use crate::lower::relation::Relation;
use crate::syntax::ast::{Operator, OperatorKind as K};

/// What an operator makes of the rows before it; the first operator of a pipeline may have none.
pub(crate) fn bind(b: &mut Binder<'_>, operator: &Operator, input: Option<Relation>) -> Relation {
    let span = operator.span;
    let graph = matches!(
        operator.kind,
        K::GraphMatch { .. }
            | K::GraphShortestPaths { .. }
            | K::GraphMarkComponents { .. }
            | K::GraphToTable { .. }
            | K::As(_)
            | K::Unknown
    );
    let input = match input {
        Some(relation) if relation.graph.is_some() && !graph => Some(b.no_graph(relation, operator.keyword)),
        other => other,
    };
    // These make rows by themselves.
    match &operator.kind {
        K::Union { properties, rows } => return union::bind(b, properties, rows, input, span),
        K::Search { properties, rows, condition } => {
            return search::search(b, properties, rows, condition, input, span);
        }
        K::Find { properties, rows, condition, project } => {
            return search::find(b, properties, rows, condition, project.as_deref(), input, span);
        }
        K::Evaluate { call, schema, .. } => return evaluate::bind(b, call, schema.as_deref(), input, span),
        K::Unknown => return input.unwrap_or_else(|| b.broken_rows()),
        K::Refused(name) => {
            b.refuse(name.span, format!("the operator `{}`", name.text));
            return b.broken_rows();
        }
        K::Print(_) | K::Range { .. } if input.is_some() => {
            b.error("KS175", operator.keyword, "this operator can only be the first of a query");
            return b.broken_rows();
        }
        K::Print(columns) => return print::print(b, columns, span),
        K::Range { name, from, to, step } => return print::range(b, name, [from, to, step], span),
        _ => {}
    }
    let Some(input) = input else {
        b.error("KS174", operator.keyword, "this operator needs rows before it");
        return b.broken_rows();
    };
    match &operator.kind {
        K::Where(predicate) => filter::bind(b, predicate, input, span),
        K::Extend(columns) => project::extend(b, columns, input, span),
        K::Project(columns) => project::project(b, columns, input, span),
        K::ProjectAway(columns) => project::away(b, columns, input, span),
        K::ProjectKeep(columns) => project::keep(b, columns, input, span),
        K::ProjectRename(columns) => project::rename(b, columns, input, span),
        K::ProjectReorder(columns) => project::reorder(b, columns, input, span),
        K::Summarize { properties, aggregates, by } => {
            b.known_properties(properties, &[]);
            summarize::bind(b, aggregates, by.as_deref().unwrap_or_default(), input, span)
        }
        K::Distinct(columns) => summarize::distinct(b, columns, input, span),
        K::Count(name) => summarize::count(b, name.as_ref(), input, span),
        K::Sort(keys) => sort::sort(b, keys, input, span),
        K::Top { count, by } => sort::top(b, count, by, input, span),
        K::Take(count) => sort::take(b, count, input, span),
        K::Sample(count) => sort::take(b, count, input, span),
        K::SampleDistinct { count, of } => sort::sample_distinct(b, count, of, input, span),
        K::Join { properties, right, on } => join::join(b, properties, right, on, input, span),
        K::Lookup { properties, right, on } => join::lookup(b, properties, right, on, input, span),
        K::Render { kind, properties } => shape::render(b, kind, properties, input),
        K::As(name) => shape::named(b, name, input),
        K::Serialize(columns) => shape::serialize(b, columns, input, span),
        K::MvExpand { properties, columns, limit, old } => {
            mv_expand::bind(b, properties, columns, limit.as_ref(), *old, input, span)
        }
        K::MvApply { properties, columns, limit, on } => {
            mv_expand::apply(b, properties, columns, limit.as_ref(), on, input, span)
        }
        K::Parse { properties, value, pattern, filter } => {
            parse::bind(b, properties, value, pattern, *filter, input, span)
        }
        K::ParseKv { value, columns, properties } => parse::pairs(b, value, columns, properties, input, span),
        K::MakeSeries { .. } => make_series::bind(b, &operator.kind, input, span),
        K::Invoke(call) => shape::invoke(b, call, input, span),
        K::GetSchema => shape::schema(b, &input, span),
        K::Consume => shape::consume(b, input, span),
        K::TopNested(levels) => top_nested::bind(b, levels, input, span),
        K::TopHitters { count, of, by } => top_nested::hitters(b, count, of, by.as_ref(), input, span),
        K::Partition { properties, by, body } => partition::bind(b, properties, by, body, input, span),
        K::Scan { .. } => scan::bind(b, &operator.kind, input, span),
        K::MakeGraph { source, target, nodes, node_id } => {
            graph::make(b, source, target, nodes, node_id.as_ref(), input, span)
        }
        K::GraphMatch { properties, patterns, condition, project } => {
            let parts = graph_match::Parts { properties, patterns, condition: condition.as_ref(), project };
            graph_match::bind(b, &parts, false, input, operator)
        }
        K::GraphShortestPaths { properties, patterns, condition, project } => {
            let parts = graph_match::Parts { properties, patterns, condition: condition.as_ref(), project };
            graph_match::bind(b, &parts, true, input, operator)
        }
        K::GraphMarkComponents { properties } => graph::mark(b, properties, input, operator.keyword),
        K::GraphToTable { outputs } => graph::tables(b, outputs, input, operator.keyword),
        K::Union { .. }
        | K::Search { .. }
        | K::Find { .. }
        | K::Evaluate { .. }
        | K::Print(_)
        | K::Range { .. }
        | K::Refused(_)
        | K::Unknown => input,
    }
}
