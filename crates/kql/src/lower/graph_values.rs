//! Values of expressions over matches of a pattern: properties of what stands for its nodes and edges, and what is said
//! of every edge, or inner node, of an edge of variable length.

use crate::bind::elements::{ALL, CALL, IN, OUT, parts};
use crate::lower::evaluate::{Compiled, truths};
use crate::lower::graph::{Data, Graph};
use crate::lower::graph_match::{Pattern, Table};
use crate::lower::kernel::plain_text;
use arrow::array::{Array, ArrayRef, BooleanArray, StringBuilder, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::Expr;
use std::sync::Arc;

/// What is made of the values of a path's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Whether it holds for all.
    All,
    /// Whether it holds for one.
    Any,
    /// All of them, as an array.
    Map,
}

/// Something that is said of each edge, or inner node, of a path.
#[derive(Debug, Clone)]
pub(crate) struct PathCall {
    pub fold: Fold,
    /// Name of the path.
    pub path: String,
    /// It is said of the nodes between the path's ends.
    pub inner: bool,
    /// What: over properties by their own names, or by the path's; and over other parts of the pattern.
    pub expr: Expr,
}

impl PathCall {
    /// The property that a column is of the path's part itself.
    fn own<'c>(&self, column: &'c str) -> Option<&'c str> {
        match parts(column) {
            None => Some(column),
            Some((element, property)) if element == self.path && !self.inner => Some(property),
            Some(_) => None,
        }
    }

    /// Other parts of the pattern that it looks at.
    pub(crate) fn others(&self) -> Vec<String> {
        let columns = self.expr.column_refs();
        columns
            .iter()
            .filter(|c| self.own(&c.name).is_none())
            .filter_map(|c| parts(&c.name))
            .map(|(e, _)| e.to_owned())
            .collect()
    }
}

/// A graph, a pattern, and what is said of the pattern's parts.
pub(crate) struct Values<'g> {
    pub graph: &'g Graph,
    pub data: &'g Data,
    pub pattern: &'g Pattern,
    pub calls: &'g [PathCall],
    /// All properties of a node, and of an edge, as a bag.
    pub bags: (&'g Expr, &'g Expr),
    /// Bytes that arrays of values may take together.
    pub bytes_max: usize,
}

/// A part of the pattern by its name.
enum Part {
    Node(usize),
    Edge(usize),
}

/// Said where values would take more than they may.
pub(crate) const TOO_LARGE: &str = "the values of the paths take too much memory";

impl Values<'_> {
    fn part(&self, name: &str) -> Option<Part> {
        let node = self.pattern.nodes.iter().position(|n| n == name).map(Part::Node);
        node.or_else(|| self.pattern.edges.iter().position(|e| e.name == name).map(Part::Edge))
    }

    /// How a column of the pattern lies in memory.
    pub(crate) fn kind(&self, column: &str) -> Option<DataType> {
        let (element, property) = parts(column)?;
        if element == CALL {
            let call = self.calls.get(property.parse::<usize>().ok()?)?;
            return Some(if call.fold == Fold::Map { DataType::Utf8 } else { DataType::Boolean });
        }
        match self.part(element)? {
            Part::Node(_) => self.property_kind(property, true),
            Part::Edge(_) => self.property_kind(property, false),
        }
    }

    fn property_kind(&self, property: &str, node: bool) -> Option<DataType> {
        match property {
            ALL => Some(DataType::Utf8),
            IN | OUT if node => Some(DataType::Int64),
            _ => {
                let fields = if node { &self.graph.nodes } else { &self.graph.edges };
                fields.iter().find(|f| f.name == property).map(|f| f.kind.arrow())
            }
        }
    }

    /// A property of nodes, or of edges, by their numbers; without numbers, of all.
    fn property(&self, property: &str, node: bool, of: Option<&UInt32Array>) -> Result<ArrayRef> {
        let rows = if node { &self.data.nodes } else { &self.data.edges };
        let whole: ArrayRef = match property {
            ALL => {
                let bag = if node { self.bags.0 } else { self.bags.1 };
                let compiled = Compiled::new(bag, &|name| self.property_kind(name, node))?;
                let mut arrays = vec![];
                for column in &compiled.columns {
                    arrays.push(self.property(column, node, of)?);
                }
                return compiled.run(arrays, of.map_or(rows.num_rows(), Array::len));
            }
            IN if node => Arc::new(self.data.into.degrees()),
            OUT if node => Arc::new(self.data.out.degrees()),
            _ => match rows.column_by_name(property) {
                Some(column) => Arc::clone(column),
                None => return exec_err!("there is no property `{property}`"),
            },
        };
        match of {
            Some(of) => Ok(take(&whole, of, None)?),
            None => Ok(whole),
        }
    }

    /// A condition, or a value, that looks at properties of all nodes or all edges: `name` is what they are called.
    pub(crate) fn of_all(&self, expr: &Expr, name: &str, node: bool) -> Result<ArrayRef> {
        let own = |column: &str| match parts(column) {
            Some((element, property)) if element == name => property.to_owned(),
            _ => column.to_owned(),
        };
        let kind = |column: &str| self.property_kind(&own(column), node);
        let compiled = Compiled::new(expr, &kind)?;
        let mut arrays = vec![];
        for column in &compiled.columns {
            arrays.push(self.property(&own(column), node, None)?);
        }
        let rows = if node { self.data.nodes.num_rows() } else { self.data.edges.num_rows() };
        compiled.run(arrays, rows)
    }

    /// A column of the pattern for the rows of a table; for some of them, each by its number, where they are given.
    pub(crate) fn column(&self, table: &Table, column: &str, rows: Option<&[u32]>) -> Result<ArrayRef> {
        let Some((element, property)) = parts(column) else { return exec_err!("`{column}` is no part of the pattern") };
        if element == CALL {
            let call = property.parse::<usize>().ok().and_then(|at| self.calls.get(at));
            let Some(call) = call else { return exec_err!("there is no call {property}") };
            let whole = self.call(table, call)?;
            return match rows {
                Some(rows) => Ok(take(&whole, &UInt32Array::from(rows.to_vec()), None)?),
                None => Ok(whole),
            };
        }
        let (numbers, node) = match self.part(element) {
            Some(Part::Node(at)) => (table.nodes.get(at), true),
            Some(Part::Edge(at)) => (table.edges.get(at), false),
            None => return exec_err!("`{element}` is no part of the pattern"),
        };
        let Some(Some(numbers)) = numbers else { return exec_err!("`{element}` is not matched yet") };
        let numbers = match rows {
            Some(rows) => rows.iter().map(|r| numbers.get(*r as usize).copied()).collect(),
            None => UInt32Array::from(numbers.clone()),
        };
        self.property(property, node, Some(&numbers))
    }

    /// An expression over the pattern for all rows of a table.
    pub(crate) fn value(&self, table: &Table, expr: &Expr) -> Result<ArrayRef> {
        let compiled = Compiled::new(expr, &|name| self.kind(name))?;
        let mut arrays = vec![];
        for column in &compiled.columns {
            arrays.push(self.column(table, column, None)?);
        }
        compiled.run(arrays, table.rows)
    }

    /// What is said of a path's parts, for each row.
    fn call(&self, table: &Table, call: &PathCall) -> Result<ArrayRef> {
        let Some(Part::Edge(edge)) = self.part(&call.path) else {
            return exec_err!("`{}` is no edge of the pattern", call.path);
        };
        let single = self.pattern.edges.get(edge).is_some_and(|e| e.range.is_none());
        // A row for each part of each path, and which row of the table it belongs to.
        let (mut owners, mut items): (Vec<u32>, Vec<u32>) = (vec![], vec![]);
        let mut lengths = Vec::with_capacity(table.rows);
        for (number, row) in (0_u32..).zip(0..table.rows) {
            let before = items.len();
            if single {
                let cell = table.edges.get(edge).and_then(Option::as_ref).and_then(|c| c.get(row));
                items.extend(cell.filter(|_| !call.inner));
            } else if call.inner {
                items.extend(table.inner(edge, row));
            } else {
                items.extend(table.path(edge, row).iter().map(|s| s.edge));
            }
            lengths.push(items.len() - before);
            owners.resize(items.len(), number);
            if items.len().saturating_mul(8) > self.bytes_max {
                return exec_err!("{TOO_LARGE}");
            }
        }
        let count = items.len();
        let items = UInt32Array::from(items);
        let kind = |name: &str| match call.own(name) {
            Some(own) => self.property_kind(own, call.inner),
            None => self.kind(name),
        };
        let compiled = Compiled::new(&call.expr, &kind)?;
        let mut arrays = vec![];
        for column in &compiled.columns {
            arrays.push(match call.own(column) {
                Some(own) => self.property(own, call.inner, Some(&items))?,
                None => self.column(table, column, Some(&owners))?,
            });
        }
        let values = compiled.run(arrays, count)?;
        let mut at = 0;
        if call.fold == Fold::Map {
            let values = plain_text(&values)?;
            let mut out = StringBuilder::new();
            let mut bytes = 0_usize;
            for length in lengths {
                let mut text = String::from("[");
                for item in at..at + length {
                    if item > at {
                        text.push(',');
                    }
                    text.push_str(if values.is_null(item) { "null" } else { values.value(item) });
                }
                text.push(']');
                at += length;
                bytes = bytes.saturating_add(text.len());
                if bytes > self.bytes_max {
                    return exec_err!("{TOO_LARGE}");
                }
                out.append_value(text);
            }
            return Ok(Arc::new(out.finish()));
        }
        let values = truths(&values)?;
        let mut out = Vec::with_capacity(lengths.len());
        for length in lengths {
            let mut these = (at..at + length).map(|i| values.value(i));
            out.push(if call.fold == Fold::All { these.all(|v| v) } else { these.any(|v| v) });
            at += length;
        }
        Ok(Arc::new(BooleanArray::from(out)))
    }
}
