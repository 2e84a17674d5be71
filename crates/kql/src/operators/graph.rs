//! `make-graph`, `graph-mark-components`, `graph-to-table`: rows become a graph, and a graph becomes rows.

use crate::bind::environment::Value;
use crate::bind::words::{property, property_word};
use crate::bind::{Binder, Bound, Label};
use crate::lower::evaluate::one_batch;
use crate::lower::graph::{Data, EdgeRows, Graph, NodeRows, make as made};
use crate::lower::relation::{Field, PART, Relation};
use crate::lower::source;
use crate::syntax::ast::{Expr, Name, Property};
use crate::{Diagnostic, Span, Type};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::common::{Result, exec_err};
use std::rc::Rc;
use std::sync::Arc;

/// Edges, and nodes, of a graph: they are in memory all at once. As many rows as `materialize` keeps.
const ROWS_MAX: usize = 1_000_000;

/// The keys of rows, as hidden columns.
const KEYS: [&str; 2] = ["\u{1}source", "\u{1}target"];

/// A graph of which the shape is known.
fn relation(nodes: Vec<Field>, edges: Vec<Field>, data: Option<Rc<Data>>) -> Relation {
    let mut relation = source::nothing(vec![]);
    relation.graph = Some(Rc::new(Graph { nodes, edges, data }));
    relation
}

/// The graph before an operator; rows are a finding.
pub(crate) fn before(b: &mut Binder<'_>, input: &Relation, keyword: Span) -> Option<Rc<Graph>> {
    if input.graph.is_none() && !input.open {
        let finding =
            Diagnostic::error("GQ203", keyword, "a graph is expected before this operator, and these are rows");
        b.report(finding.hint("`make-graph source --> target` makes one"));
    }
    input.graph.clone()
}

/// A column that is a key: its name, and its value as text, so that keys of different types can be compared.
fn key(b: &mut Binder<'_>, expr: &Expr, rows: &Relation) -> Option<(String, Type, Bound)> {
    let bound = b.scalar(expr, rows);
    let Label::Column(name) = bound.label.clone() else {
        if bound.kind != Type::Unknown {
            b.error("KS109", expr.span, "the name of a column is expected here");
        }
        return None;
    };
    if bound.kind == Type::Dynamic {
        let text = "a dynamic value cannot be the key of a node";
        b.report(Diagnostic::error("KS240", expr.span, text).hint("convert it, as by tostring(…)"));
        return None;
    }
    let kind = bound.kind;
    if kind == Type::Unknown {
        return None;
    }
    let text = b.converted(bound, Type::Text);
    let text = Bound::new(rows.key(Type::Text, text.expr), Type::Text);
    Some((name, kind, text))
}

/// Rows with their keys: gathered now.
fn gathered(b: &mut Binder<'_>, rows: &Relation, keys: Vec<Bound>, span: Span) -> Option<RecordBatch> {
    let mut items = rows.all();
    for (name, key) in KEYS.iter().zip(keys) {
        items.push((Field::new(*name, Type::Text), key.expr));
    }
    let fields: Vec<Field> = items.iter().map(|(f, _)| f.clone()).collect();
    let like = source::nothing(fields.clone());
    let planned = rows.clone().bare().and_then(|r| r.project(items));
    let planned = b.settle(span, &like, planned);
    let batches = b.ask_rows(span, &planned.plan, ROWS_MAX + 1)?;
    if batches.iter().map(RecordBatch::num_rows).sum::<usize>() > ROWS_MAX {
        too_many(b, span);
        return None;
    }
    match one_batch(&fields, &batches) {
        Ok(batch) => Some(batch),
        Err(e) => {
            let _ = b.settle(span, &like, Err(e));
            None
        }
    }
}

fn too_many(b: &mut Binder<'_>, span: Span) {
    let text = format!("a graph has at most {ROWS_MAX} edges and {ROWS_MAX} nodes, and there are more");
    b.report(Diagnostic::error("GQ112", span, text).hint("filter or summarize the rows before it"));
}

/// A batch without its keys, and the keys.
fn apart(batch: &RecordBatch, fields: &[Field]) -> Result<(RecordBatch, Vec<StringArray>)> {
    let mut keys = vec![];
    for column in batch.columns().iter().skip(fields.len()) {
        match column.as_any().downcast_ref::<StringArray>() {
            Some(text) => keys.push(text.clone()),
            None => return exec_err!("a key lies as `{}`", column.data_type()),
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns: Vec<ArrayRef> = batch.columns().iter().take(fields.len()).cloned().collect();
    Ok((RecordBatch::try_new_with_options(source::schema(fields), columns, &options)?, keys))
}

/// `make-graph source --> target [with Nodes on id, …]`, `make-graph source --> target with_node_id = name`.
pub(crate) fn make(
    b: &mut Binder<'_>,
    from: &Expr,
    to: &Expr,
    nodes: &[(Expr, Expr)],
    node_id: Option<&Name>,
    input: Relation,
    span: Span,
) -> Relation {
    if input.has_hidden(PART) {
        b.refuse(span, "a graph for each part of `partition` or `mv-apply`");
    }
    let (source, target) = (key(b, from, &input), key(b, to, &input));
    let mut tables = vec![];
    let mut fields: Vec<Field> = vec![];
    for (rows, on) in nodes {
        let relation = b.rows(rows);
        for field in &relation.fields {
            match fields.iter_mut().find(|f| f.name == field.name) {
                Some(have) if have.kind != field.kind => have.kind = Type::Dynamic,
                Some(_) => {}
                None => fields.push(field.clone()),
            }
        }
        if let Some((id, _, text)) = key(b, on, &relation) {
            // The column is named, so its place is one of its own: no other part of the query is asked for there.
            tables.push((id, gathered(b, &relation, vec![text], on.span), relation.fields));
        }
    }
    if let Some(name) = node_id {
        let kind = match (&source, &target) {
            (Some((_, a, _)), Some((_, b, _))) if a == b => *a,
            _ => Type::Text,
        };
        fields.push(Field::new(&name.text, kind));
    }
    let edges = input.fields.clone();
    let (Some((source, _, source_text)), Some((target, _, target_text))) = (source, target) else {
        return relation(fields, edges, None);
    };
    let Some(rows) = gathered(b, &input, vec![source_text, target_text], span) else {
        return relation(fields, edges, None);
    };
    let wanted = tables.len();
    let tables: Vec<_> = tables.into_iter().filter_map(|(id, rows, fields)| rows.map(|r| (id, r, fields))).collect();
    if tables.len() < wanted || b.has_errors() {
        return relation(fields, edges, None);
    }
    match built(&fields, tables, &rows, &edges, (&source, &target), node_id.is_some()) {
        Ok(Some(data)) => relation(fields, edges, Some(Rc::new(data))),
        Ok(None) => {
            too_many(b, span);
            relation(fields, edges, None)
        }
        Err(e) => {
            let _ = b.settle(span, &source::nothing(vec![]), Err(e));
            relation(fields, edges, None)
        }
    }
}

fn built(
    fields: &[Field],
    tables: Vec<(String, RecordBatch, Vec<Field>)>,
    rows: &RecordBatch,
    edges: &[Field],
    ids: (&str, &str),
    with_id: bool,
) -> Result<Option<Data>> {
    let mut node_rows = vec![];
    for (id, batch, fields) in tables {
        let (rows, keys) = apart(&batch, &fields)?;
        let Some(keys) = keys.into_iter().next() else { return exec_err!("nodes without keys") };
        node_rows.push(NodeRows { fields, rows, keys, id });
    }
    let (rows, keys) = apart(rows, edges)?;
    let mut keys = keys.into_iter();
    let (Some(source), Some(target)) = (keys.next(), keys.next()) else { return exec_err!("edges without keys") };
    let (Some(from), Some(to)) = (rows.column_by_name(ids.0), rows.column_by_name(ids.1)) else {
        return exec_err!("edges without ends");
    };
    let ids = (Arc::clone(from), Arc::clone(to));
    made(fields, &node_rows, EdgeRows { rows, source, target, ids }, with_id, ROWS_MAX)
}

/// `graph-mark-components [kind = weak | strong] [with_component_id = name]`.
pub(crate) fn mark(b: &mut Binder<'_>, properties: &[Property], input: Relation, keyword: Span) -> Relation {
    b.known_properties(properties, &["kind", "with_component_id"]);
    let strong = match property_word(properties, "kind") {
        None | Some("weak") => false,
        Some("strong") => true,
        Some(other) => {
            let span = property(properties, "kind").map_or(keyword, |v| v.span);
            b.error("KS005", span, format!("`weak` or `strong` is expected here, not `{other}`"));
            false
        }
    };
    let Some(graph) = before(b, &input, keyword) else { return b.broken_rows() };
    let name = property_word(properties, "with_component_id").unwrap_or("ComponentId");
    let mut nodes = graph.nodes.clone();
    if nodes.iter().any(|f| f.name == name) {
        let span = property(properties, "with_component_id").map_or(keyword, |v| v.span);
        b.twice(span, name);
        return relation(nodes, graph.edges.clone(), None);
    }
    nodes.push(Field::new(name, Type::Long));
    let Some(data) = graph.data.as_ref() else { return relation(nodes, graph.edges.clone(), None) };
    let mut columns = data.nodes.columns().to_vec();
    columns.push(Arc::new(data.components(strong)));
    let options = RecordBatchOptions::new().with_row_count(Some(data.count()));
    match RecordBatch::try_new_with_options(source::schema(&nodes), columns, &options) {
        Ok(rows) => {
            let marked = data.with_nodes(rows);
            relation(nodes, graph.edges.clone(), Some(Rc::new(marked)))
        }
        Err(e) => {
            let _ = b.settle(keyword, &source::nothing(vec![]), Err(e.into()));
            relation(nodes, graph.edges.clone(), None)
        }
    }
}

/// `graph-to-table nodes | edges [as name] [with_node_id = …]`. Two tables at once need names, and are no answer.
pub(crate) fn tables(
    b: &mut Binder<'_>,
    outputs: &[(Name, Option<Name>, Vec<Property>)],
    input: Relation,
    keyword: Span,
) -> Relation {
    let Some(graph) = before(b, &input, keyword) else { return b.broken_rows() };
    if outputs.is_empty() || outputs.len() > 2 {
        b.error("KS230", keyword, "`nodes`, `edges`, or both are expected here");
        return b.broken_rows();
    }
    let mut made = vec![];
    for (what, given, properties) in outputs {
        if outputs.len() == 2 && given.is_none() {
            b.error("KS273", what.span, "where a graph becomes two tables, both need a name: `nodes as N, edges as E`");
        }
        let relation = match what.text.as_str() {
            "nodes" => table(b, &graph, properties, &["with_node_id"], keyword),
            "edges" => table(b, &graph, properties, &["with_source_id", "with_target_id"], keyword),
            other => {
                b.error("KS229", what.span, format!("`nodes` or `edges` is expected here, not `{other}`"));
                b.broken_rows()
            }
        };
        if let Some(name) = given {
            let scope = b.calls.len() + 1_000_000;
            let value = Value::Rows(Box::new(relation.clone()), 1);
            b.environment = b.environment.with(name.text.clone(), value, scope);
        }
        made.push(relation);
    }
    let two = made.len() == 2;
    match made.into_iter().next() {
        // What follows may use both by their names; as one answer there is no such thing.
        Some(relation) if two => Relation { graph: input.graph, ..relation },
        Some(relation) => relation,
        None => b.broken_rows(),
    }
}

fn table(b: &mut Binder<'_>, graph: &Graph, properties: &[Property], ids: &[&str], keyword: Span) -> Relation {
    b.known_properties(properties, ids);
    let nodes = ids.contains(&"with_node_id");
    let own = if nodes { &graph.nodes } else { &graph.edges };
    let mut fields: Vec<Field> = vec![];
    let mut columns: Vec<ArrayRef> = vec![];
    for id in ids {
        let Some(name) = property_word(properties, id) else { continue };
        if own.iter().chain(&fields).any(|f| f.name == name) {
            b.twice(property(properties, id).map_or(keyword, |v| v.span), name);
            continue;
        }
        fields.push(Field::new(name, Type::Long));
        if let Some(data) = &graph.data {
            columns.push(Arc::new(match *id {
                "with_source_id" => data.source.iter().map(|n| Some(i64::from(*n))).collect::<Int64Array>(),
                "with_target_id" => data.target.iter().map(|n| Some(i64::from(*n))).collect(),
                _ => (0_i64..).take(data.count()).map(Some).collect(),
            }));
        }
    }
    fields.extend(own.iter().cloned());
    let like = source::nothing(fields.clone());
    let Some(data) = &graph.data else { return like };
    let rows = if nodes { &data.nodes } else { &data.edges };
    columns.extend(rows.columns().iter().cloned());
    if columns.len() != fields.len() {
        return like;
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let planned = RecordBatch::try_new_with_options(source::schema(&fields), columns, &options)
        .map_err(Into::into)
        .and_then(|batch| source::batches(fields, vec![batch]));
    b.settle(keyword, &like, planned)
}
