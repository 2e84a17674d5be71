//! A graph in memory: rows of nodes, rows of edges, and which edges leave and reach each node.

use crate::lower::relation::Field;
use crate::{Type, lower::source};
use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{cast, concat, is_not_null, take};
use datafusion::common::{Result, exec_err};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What a relation is where it is a graph.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    /// Properties of nodes.
    pub nodes: Vec<Field>,
    /// Properties of edges.
    pub edges: Vec<Field>,
    /// The graph itself; absent where nothing is run.
    pub data: Option<Rc<Data>>,
}

/// Nodes and edges.
#[derive(Debug)]
pub(crate) struct Data {
    /// A row for each node.
    pub nodes: RecordBatch,
    /// A row for each edge.
    pub edges: RecordBatch,
    /// Node that each edge leaves.
    pub source: Vec<u32>,
    /// Node that each edge reaches.
    pub target: Vec<u32>,
    /// Edges that leave each node.
    pub out: Adjacency,
    /// Edges that reach each node.
    pub into: Adjacency,
}

/// Edges by node: those of node `n` stand from `starts[n]` to `starts[n + 1]`.
#[derive(Debug)]
pub(crate) struct Adjacency {
    starts: Vec<u32>,
    edges: Vec<u32>,
}

impl Adjacency {
    fn new(nodes: usize, of: &[u32]) -> Self {
        let mut starts = vec![0_u32; nodes + 1];
        for node in of {
            if let Some(count) = starts.get_mut(*node as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut edges = vec![0_u32; of.len()];
        for (edge, node) in (0_u32..).zip(of) {
            if let Some(place) = next.get_mut(*node as usize) {
                if let Some(slot) = edges.get_mut(*place as usize) {
                    *slot = edge;
                }
                *place += 1;
            }
        }
        Self { starts, edges }
    }

    /// The edges of a node.
    pub(crate) fn of(&self, node: u32) -> &[u32] {
        let at = |n: usize| self.starts.get(n).map_or(0, |s| *s as usize);
        self.edges.get(at(node as usize)..at(node as usize + 1)).unwrap_or_default()
    }

    /// How many edges each node has.
    pub(crate) fn degrees(&self) -> Int64Array {
        self.starts.windows(2).map(|w| w.iter().rev().copied().map(i64::from).reduce(|a, b| a - b)).collect()
    }
}

/// A node table: its rows, the keys of its rows, and which of its columns is the key.
pub(crate) struct NodeRows {
    pub fields: Vec<Field>,
    pub rows: RecordBatch,
    pub keys: StringArray,
    pub id: String,
}

/// The edges' rows and keys, and the columns that the keys were made of.
pub(crate) struct EdgeRows {
    pub rows: RecordBatch,
    pub source: StringArray,
    pub target: StringArray,
    pub ids: (ArrayRef, ArrayRef),
}

/// Where a node's identity stands: in a row of a node table, or at an end of an edge.
struct Found {
    /// Its row in each node table.
    rows: Vec<Option<u32>>,
    /// A place in the edges' sources and, after them, targets; for nodes that no table has.
    end: Option<u32>,
}

/// Makes a graph. `with_id` is the property that holds the key where there are no node tables.
pub(crate) fn make(
    fields: &[Field],
    tables: &[NodeRows],
    edges: EdgeRows,
    with_id: bool,
    nodes_max: usize,
) -> Result<Option<Data>> {
    let mut index: HashMap<&str, u32> = HashMap::new();
    let mut found: Vec<Found> = vec![];
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let key = |keys: &StringArray, at: usize| -> usize { if keys.is_null(at) { usize::MAX } else { at } };
    for (table, rows) in tables.iter().enumerate() {
        for at in 0..rows.keys.len() {
            let text = if key(&rows.keys, at) == usize::MAX { "" } else { rows.keys.value(at) };
            let node = *index.entry(text).or_insert_with(|| {
                found.push(Found { rows: vec![None; tables.len()], end: None });
                number(found.len() - 1)
            });
            // Of several rows of one table for a node, the first one counts.
            if let Some(slot) = found.get_mut(node as usize).and_then(|f| f.rows.get_mut(table))
                && slot.is_none()
            {
                *slot = Some(number(at));
            }
        }
    }
    let count = edges.rows.num_rows();
    let (mut source, mut target) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (keys, ends, offset) in [(&edges.source, &mut source, 0), (&edges.target, &mut target, count)] {
        for at in 0..keys.len() {
            let text = if keys.is_null(at) { "" } else { keys.value(at) };
            let node = *index.entry(text).or_insert_with(|| {
                found.push(Found { rows: vec![None; tables.len()], end: Some(number(at + offset)) });
                number(found.len() - 1)
            });
            ends.push(node);
        }
    }
    if found.len() > nodes_max {
        return Ok(None);
    }
    let mut columns = vec![];
    for field in fields {
        columns.push(column(field, tables, &edges, &found, with_id)?);
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(found.len()));
    let nodes = RecordBatch::try_new_with_options(source::schema(fields), columns, &options)?;
    let (out, into) = (Adjacency::new(found.len(), &source), Adjacency::new(found.len(), &target));
    Ok(Some(Data { nodes, edges: edges.rows, source, target, out, into }))
}

/// One property of all nodes: of the first table that has it, else of the next.
fn column(field: &Field, tables: &[NodeRows], edges: &EdgeRows, found: &[Found], with_id: bool) -> Result<ArrayRef> {
    let kind = field.kind.arrow();
    let mut made: ArrayRef = new_null_array(&kind, found.len());
    for (at, table) in tables.iter().enumerate() {
        if !table.fields.iter().any(|f| f.name == field.name) {
            continue;
        }
        let Some(values) = table.rows.column_by_name(&field.name) else { continue };
        let places: UInt32Array = found.iter().map(|f| f.rows.get(at).copied().flatten()).collect();
        let values = take(values, &places, None)?;
        let values = if values.data_type() == &kind { values } else { cast(&values, &kind)? };
        made = filled(&made, &values)?;
    }
    let is_id = with_id || tables.iter().any(|t| t.id == field.name);
    if is_id {
        // A node that no table has is its key and nothing else.
        let (from, to) = &edges.ids;
        let (from, to) = if from.data_type() == &kind && to.data_type() == &kind {
            (Arc::clone(from), Arc::clone(to))
        } else {
            let text = |t: &StringArray| cast(&(Arc::new(t.clone()) as ArrayRef), &kind);
            (text(&edges.source)?, text(&edges.target)?)
        };
        let ends = concat(&[from.as_ref(), to.as_ref()])?;
        let places: UInt32Array = found.iter().map(|f| f.end).collect();
        made = filled(&made, &take(&ends, &places, None)?)?;
    }
    if field.kind == Type::Text {
        let empty: ArrayRef = Arc::new(StringArray::from(vec![""; found.len()]));
        made = filled(&made, &empty)?;
    }
    Ok(made)
}

/// The first array, and where it is null the other.
fn filled(first: &ArrayRef, other: &ArrayRef) -> Result<ArrayRef> {
    if first.null_count() == 0 {
        return Ok(Arc::clone(first));
    }
    if first.data_type() != other.data_type() {
        return exec_err!("`{}` cannot stand for `{}`", other.data_type(), first.data_type());
    }
    Ok(arrow::compute::kernels::zip::zip(&is_not_null(first)?, first, other)?)
}

impl Data {
    /// How many nodes.
    pub(crate) fn count(&self) -> usize {
        self.nodes.num_rows()
    }

    /// The same graph with other properties of its nodes.
    pub(crate) fn with_nodes(&self, nodes: RecordBatch) -> Self {
        let (out, into) = (Adjacency::new(self.count(), &self.source), Adjacency::new(self.count(), &self.target));
        let (source, target) = (self.source.clone(), self.target.clone());
        Self { nodes, edges: self.edges.clone(), source, target, out, into }
    }

    /// The node at the other end of an edge.
    pub(crate) fn end(&self, edge: u32, forward: bool) -> u32 {
        let ends = if forward { &self.target } else { &self.source };
        ends.get(edge as usize).copied().unwrap_or_default()
    }

    /// For each node the number of its component, in the order of their first nodes.
    pub(crate) fn components(&self, strong: bool) -> Int64Array {
        let roots = if strong { self.strong() } else { self.weak() };
        let mut numbers: HashMap<u32, i64> = HashMap::new();
        roots
            .into_iter()
            .map(|root| {
                let next = i64::try_from(numbers.len()).unwrap_or(i64::MAX);
                Some(*numbers.entry(root).or_insert(next))
            })
            .collect()
    }

    /// Components along edges in any direction.
    fn weak(&self) -> Vec<u32> {
        let mut parent: Vec<u32> = (0_u32..).take(self.count()).collect();
        fn root(parent: &mut [u32], mut node: u32) -> u32 {
            loop {
                let up = parent.get(node as usize).copied().unwrap_or(node);
                if up == node {
                    return node;
                }
                // Halves the way for who comes next.
                let over = parent.get(up as usize).copied().unwrap_or(up);
                if let Some(slot) = parent.get_mut(node as usize) {
                    *slot = over;
                }
                node = over;
            }
        }
        for (a, b) in self.source.iter().zip(&self.target) {
            let (a, b) = (root(&mut parent, *a), root(&mut parent, *b));
            let (low, high) = (a.min(b), a.max(b));
            if let Some(slot) = parent.get_mut(high as usize) {
                *slot = low;
            }
        }
        (0_u32..).take(self.count()).map(|n| root(&mut parent, n)).collect()
    }

    /// Components in which every node reaches every other: Tarjan's way, with a stack of its own.
    fn strong(&self) -> Vec<u32> {
        const NEW: u32 = u32::MAX;
        let count = self.count();
        let (mut order, mut low, mut component) = (vec![NEW; count], vec![0_u32; count], vec![NEW; count]);
        let (mut open, mut next) = (vec![], 0_u32);
        let get = |v: &[u32], n: u32| v.get(n as usize).copied().unwrap_or(NEW);
        let put = |v: &mut [u32], n: u32, value: u32| {
            if let Some(slot) = v.get_mut(n as usize) {
                *slot = value;
            }
        };
        for start in (0_u32..).take(count) {
            if get(&order, start) != NEW {
                continue;
            }
            let mut stack: Vec<(u32, usize)> = vec![(start, 0)];
            while let Some((node, at)) = stack.pop() {
                if at == 0 {
                    put(&mut order, node, next);
                    put(&mut low, node, next);
                    next += 1;
                    open.push(node);
                }
                if let Some(edge) = self.out.of(node).get(at) {
                    stack.push((node, at + 1));
                    let to = self.end(*edge, true);
                    if get(&order, to) == NEW {
                        stack.push((to, 0));
                    } else if get(&component, to) == NEW {
                        let least = get(&low, node).min(get(&order, to));
                        put(&mut low, node, least);
                    }
                    continue;
                }
                if get(&low, node) == get(&order, node) {
                    while let Some(member) = open.pop() {
                        put(&mut component, member, node);
                        if member == node {
                            break;
                        }
                    }
                }
                if let Some((above, _)) = stack.last() {
                    let least = get(&low, *above).min(get(&low, node));
                    put(&mut low, *above, least);
                }
            }
        }
        component
    }
}

#[cfg(test)]
mod tests {
    use super::{Adjacency, Data};
    use arrow::array::{RecordBatch, RecordBatchOptions};
    use arrow::datatypes::Schema;
    use std::sync::Arc;

    fn graph(nodes: usize, edges: &[(u32, u32)]) -> Data {
        let rows = |n| {
            let options = RecordBatchOptions::new().with_row_count(Some(n));
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
        };
        let (source, target): (Vec<u32>, Vec<u32>) = edges.iter().copied().unzip();
        let (out, into) = (Adjacency::new(nodes, &source), Adjacency::new(nodes, &target));
        Data { nodes: rows(nodes), edges: rows(edges.len()), source, target, out, into }
    }

    #[test]
    fn components_are_what_can_be_reached() {
        let check = |nodes, edges: &[(u32, u32)], weak: &[i64], strong: &[i64]| {
            let graph = graph(nodes, edges);
            assert_eq!(graph.components(false).values(), weak, "{edges:?}");
            assert_eq!(graph.components(true).values(), strong, "{edges:?}");
        };
        check(0, &[], &[], &[]);
        check(3, &[], &[0, 1, 2], &[0, 1, 2]);
        check(4, &[(0, 1), (1, 0), (2, 3)], &[0, 0, 1, 1], &[0, 0, 1, 2]);
        check(4, &[(0, 1), (1, 2), (2, 0), (2, 3)], &[0, 0, 0, 0], &[0, 0, 0, 1]);
        check(3, &[(2, 1), (1, 1)], &[0, 1, 1], &[0, 1, 2]);
        check(5, &[(0, 1), (1, 2), (2, 1), (3, 4), (4, 3), (2, 3)], &[0; 5], &[0, 1, 1, 2, 2]);
    }

    #[test]
    fn a_long_chain_has_no_deep_stack() {
        let edges: Vec<(u32, u32)> = (0..200_000).map(|n| (n, n + 1)).collect();
        let graph = graph(200_001, &edges);
        assert_eq!(graph.components(true).values().last(), Some(&200_000));
        assert_eq!(graph.components(false).values().last(), Some(&0));
    }
}
