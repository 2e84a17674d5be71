//! `graph-match` and `graph-shortest-paths`: a pattern is looked for in a graph, and each match is a row.
//!
//! What the condition says of one node or one edge is computed for all of them before the search, and so narrows it.
//! What it says of several is put to partial matches as soon as they have all of them. What needs the engine (a value
//! among rows) is a filter over the rows at the end.

use crate::bind::elements::{CALL, Element, ElementKind, IN, OUT, hidden, parts};
use crate::bind::words::{property, property_word};
use crate::bind::{Binder, Bound, Label, Step};
use crate::lower::evaluate::truths;
use crate::lower::graph::{Data, Graph};
use crate::lower::graph_match::{Budget, Cycles, Direction, Masks, Pattern, PatternEdge, Search, Table, TooMuch};
use crate::lower::graph_paths::{Paths, turned, turned_back};
use crate::lower::graph_values::{Fold, PathCall, TOO_LARGE, Values};
use crate::lower::relation::{Field, Relation};
use crate::lower::{fold, predicate, source};
use crate::operators::project;
use crate::syntax::ast::{EdgeDirection, Expr, ExprKind, GraphPart, Name, Operator, Property};
use crate::{Diagnostic, Span, Type};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field as ArrowField, Schema};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::Expr as PlanExpr;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Nodes and edges that a pattern may have: more is no pattern that a person wrote.
const PARTS_MAX: usize = 64;

/// Edges that a variable edge may stand for: attack paths are shorter by far, and each step multiplies the work.
const LENGTH_MAX: i64 = 128;

/// Bytes that the arrays of one column may take.
const BYTES_MAX: usize = 256 << 20;

/// What one search may cost: about a second of work, and less than a gigabyte.
const BUDGET: Budget = Budget { rows: 1_000_000, visits: 50_000_000, steps: 10_000_000 };

/// The parts of the operator as the tree has them.
pub(crate) struct Parts<'t> {
    pub properties: &'t [Property],
    pub patterns: &'t [Vec<GraphPart>],
    pub condition: Option<&'t Expr>,
    pub project: &'t Option<Vec<Expr>>,
}

/// What is known of a pattern while its condition and columns are read.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    nodes: Vec<Field>,
    edges: Vec<Field>,
    /// What is said of paths, so far.
    calls: Vec<PathCall>,
    /// What stands within `all`, `any` or `map` is read: of nodes, or of edges.
    within: Option<bool>,
}

pub(crate) fn bind(
    b: &mut Binder<'_>,
    parts: &Parts<'_>,
    shortest: bool,
    input: Relation,
    operator: &Operator,
) -> Relation {
    b.known_properties(parts.properties, if shortest { &["output", "cycles"] } else { &["cycles"] });
    let cycles = cycles(b, parts.properties);
    let all = one_of(b, parts.properties, "output", &["any", "all"]) == Some(1);
    let Some(graph) = super::graph::before(b, &input, operator.keyword) else { return b.broken_rows() };
    let pattern = pattern(b, parts.patterns, operator.keyword);
    if shortest {
        line(b, &pattern, parts.patterns, operator.keyword);
    }
    let outer = (std::mem::take(&mut b.elements), b.pattern.take());
    b.elements = elements(&pattern, &graph);
    b.pattern = Some(Scope { nodes: graph.nodes.clone(), edges: graph.edges.clone(), calls: vec![], within: None });

    // Only the pattern's parts have names here: the rows have no columns of their own.
    let rows = source::nothing(vec![]);
    let conditions = match parts.condition {
        Some(condition) => {
            let bound = b.predicate(condition, &rows);
            split_conjunction_owned(bound)
                .into_iter()
                .map(|c| of_paths(b, c, Fold::All, &pattern, condition.span))
                .collect()
        }
        None => vec![],
    };
    let items = match parts.project {
        Some(list) => columns(b, list, &rows, &pattern),
        None => {
            let what =
                if shortest { "`graph-shortest-paths` without `project`" } else { "`graph-match` without `project`" };
            b.refuse(operator.keyword, what);
            vec![]
        }
    };
    let calls = b.pattern.take().map(|s| s.calls).unwrap_or_default();
    (b.elements, b.pattern) = outer;
    members(b, &pattern, operator.span);

    let fields: Vec<Field> = items.iter().map(|(f, _)| f.clone()).collect();
    let like = source::nothing(fields);
    // A reading that waits for something is thrown away: the search is for the last one.
    let (Some(data), true) = (graph.data.clone(), b.needs.is_empty() && !b.has_errors()) else {
        b.steps.clear();
        return like;
    };
    let bags = bags(b, &graph, operator.keyword);
    let values = Values {
        graph: &graph,
        data: &data,
        pattern: &pattern,
        calls: &calls,
        bags: (&bags.0, &bags.1),
        bytes_max: BYTES_MAX,
    };
    let mut query = Query { values, conditions, all, cycles, shortest };
    let found = match query.found(&data) {
        Ok(Ok(found)) => found,
        Ok(Err(refusal)) => {
            b.steps.clear();
            refusal.report(b, operator.keyword);
            return like;
        }
        Err(e) => {
            b.steps.clear();
            return failed(b, e, &like, operator.keyword);
        }
    };
    match query.rows(&found, &items, &b.steps) {
        Ok((rows, late)) => {
            let prepared = b.prepare(operator.span, rows);
            let planned = match conjunction(late) {
                Some(filter) => prepared.filter(filter),
                None => Ok(prepared),
            };
            let planned = planned.and_then(|r| r.project(items));
            b.settle(operator.span, &like, planned)
        }
        Err(e) => {
            b.steps.clear();
            failed(b, e, &like, operator.keyword)
        }
    }
}

fn failed(b: &mut Binder<'_>, e: datafusion::common::DataFusionError, like: &Relation, span: Span) -> Relation {
    if e.to_string().contains(TOO_LARGE) {
        let text = format!("{TOO_LARGE}: at most {} MiB for a column", BYTES_MAX >> 20);
        b.report(Diagnostic::error("GQ112", span, text).hint("constrain the pattern, or project fewer properties"));
        return like.clone();
    }
    b.settle(span, like, Err(e))
}

/// Which of its words a property has.
fn one_of(b: &mut Binder<'_>, properties: &[Property], name: &str, words: &[&str]) -> Option<usize> {
    let value = property(properties, name)?;
    let word = property_word(properties, name).unwrap_or_default();
    let at = words.iter().position(|w| *w == word);
    if at.is_none() {
        b.error("KS140", value.span, format!("`{name}` is one of {}", words.join(", ")));
    }
    at
}

fn cycles(b: &mut Binder<'_>, properties: &[Property]) -> Cycles {
    match one_of(b, properties, "cycles", &["unique_edges", "all", "none"]) {
        Some(1) => Cycles::All,
        Some(2) => Cycles::Nothing,
        _ => Cycles::UniqueEdges,
    }
}

/// The pattern with its parts numbered.
fn pattern(b: &mut Binder<'_>, written: &[Vec<GraphPart>], keyword: Span) -> Pattern {
    let mut pattern = Pattern::default();
    let mut names: BTreeSet<String> = BTreeSet::new();
    if written.iter().map(Vec::len).sum::<usize>() > PARTS_MAX {
        b.error("GQ112", keyword, format!("a pattern has at most {PARTS_MAX} nodes and edges"));
        return pattern;
    }
    for sequence in written {
        let mut left: Option<usize> = None;
        let mut open: Option<PatternEdge> = None;
        for part in sequence {
            match part {
                GraphPart::Node(name) => {
                    let known = pattern.nodes.iter().position(|n| !n.is_empty() && *n == name.text);
                    let at = known.unwrap_or_else(|| {
                        pattern.nodes.push(name.text.clone());
                        pattern.nodes.len() - 1
                    });
                    if known.is_none() && !name.text.is_empty() && !names.insert(name.text.clone()) {
                        twice(b, name);
                    }
                    if let Some(edge) = open.take() {
                        pattern.edges.push(PatternEdge { right: at, ..edge });
                    }
                    left = Some(at);
                }
                GraphPart::Edge { name, direction, range, span } => {
                    if !name.text.is_empty() && !names.insert(name.text.clone()) {
                        twice(b, name);
                    }
                    let range = range.as_ref().map(|(low, high)| length(b, low, high, *span));
                    let direction = match direction {
                        EdgeDirection::Forward => Direction::Forward,
                        EdgeDirection::Backward => Direction::Backward,
                        EdgeDirection::Any => Direction::Any,
                    };
                    let Some(left) = left else { continue };
                    open = Some(PatternEdge { name: name.text.clone(), left, right: left, direction, range });
                }
            }
        }
    }
    connected(b, &pattern, keyword);
    pattern
}

fn twice(b: &mut Binder<'_>, name: &Name) {
    b.error("GQ202", name.span, format!("the pattern has two parts with the name `{}`", name.text));
}

fn length(b: &mut Binder<'_>, low: &Expr, high: &Expr, span: Span) -> (u32, u32) {
    let (least, most) = (b.whole(low).unwrap_or(1), b.whole(high).unwrap_or(1));
    if least < 0 || most < 1 || least > most {
        b.error("GQ101", span, format!("no path has from {least} to {most} edges"));
    } else if most > LENGTH_MAX {
        b.error("GQ112", span, format!("a path has at most {LENGTH_MAX} edges"));
    }
    (u32::try_from(least).unwrap_or(0), u32::try_from(most.clamp(1, LENGTH_MAX)).unwrap_or(1))
}

/// All parts of a pattern hang together: else every match of one would stand beside every match of the other.
fn connected(b: &mut Binder<'_>, pattern: &Pattern, keyword: Span) {
    let mut seen = vec![false; pattern.nodes.len()];
    let mut stack = vec![0];
    while let Some(node) = stack.pop() {
        match seen.get_mut(node) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        for edge in &pattern.edges {
            if edge.left == node {
                stack.push(edge.right);
            }
            if edge.right == node {
                stack.push(edge.left);
            }
        }
    }
    if seen.contains(&false) {
        b.refuse(keyword, "a pattern whose sequences share no node");
    }
}

/// Shortest paths go along one line, each node of which is another.
fn line(b: &mut Binder<'_>, pattern: &Pattern, written: &[Vec<GraphPart>], keyword: Span) {
    let straight =
        written.len() <= 1 && pattern.edges.iter().enumerate().all(|(at, e)| e.left == at && e.right == at + 1);
    if !straight {
        b.refuse(keyword, "a pattern of several sequences, or one that comes back to a node, for shortest paths");
    }
    if !pattern.edges.iter().any(|e| e.range.is_some()) && !b.has_errors() {
        let finding = Diagnostic::error("GQ101", keyword, "a shortest path needs an edge of variable length");
        b.report(finding.hint("write one as `-[e*1..5]->`"));
    }
}

fn elements(pattern: &Pattern, graph: &Graph) -> Vec<Element> {
    let node = |n: &String| Element { name: n.clone(), kind: ElementKind::Node, fields: graph.nodes.clone() };
    let edge = |e: &PatternEdge| Element {
        name: e.name.clone(),
        kind: if e.range.is_some() { ElementKind::Path } else { ElementKind::Edge },
        fields: graph.edges.clone(),
    };
    let nodes = pattern.nodes.iter().filter(|n| !n.is_empty()).map(node);
    nodes.chain(pattern.edges.iter().filter(|e| !e.name.is_empty()).map(edge)).collect()
}

/// The paths whose edges an expression speaks of by the path's own name.
fn paths_of(expr: &PlanExpr, pattern: &Pattern) -> Vec<String> {
    let mut paths: Vec<String> = expr
        .column_refs()
        .iter()
        .filter_map(|c| parts(&c.name))
        .filter(|(e, _)| pattern.edges.iter().any(|p| p.name == *e && p.range.is_some()))
        .map(|(e, _)| e.to_owned())
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// What is said of an edge of variable length by its name is said of each of its edges.
fn of_paths(b: &mut Binder<'_>, expr: PlanExpr, fold: Fold, pattern: &Pattern, span: Span) -> PlanExpr {
    let paths = paths_of(&expr, pattern);
    let Some(path) = paths.first() else { return expr };
    if paths.len() > 1 {
        b.refuse(span, "an expression over two edges of variable length");
        return expr;
    }
    if expr.column_refs().iter().any(|c| matches!(parts(&c.name), Some((CALL, _))) || parts(&c.name).is_none()) {
        b.refuse(span, "`all`, `any`, `map` or a list from rows beside a property of a path's edges");
        return expr;
    }
    said(b, PathCall { fold, path: path.clone(), inner: false, expr })
}

/// The column that holds what is said of a path.
fn said(b: &mut Binder<'_>, call: PathCall) -> PlanExpr {
    let Some(scope) = &mut b.pattern else { return fold::null(Type::Bool) };
    scope.calls.push(call);
    Relation::column(&hidden(CALL, &(scope.calls.len() - 1).to_string()))
}

/// The columns of the answer.
fn columns(b: &mut Binder<'_>, list: &[Expr], rows: &Relation, pattern: &Pattern) -> Vec<(Field, PlanExpr)> {
    let items = project::columns(b, list, rows).items;
    let mut out = vec![];
    for (mut field, expr) in items {
        if paths_of(&expr, pattern).is_empty() {
            out.push((field, expr));
            continue;
        }
        let each = b.converted(Bound::new(expr, field.kind), Type::Dynamic);
        let span = list.first().map(|e| e.span).unwrap_or_default();
        let expr = of_paths(b, each.expr, Fold::Map, pattern, span);
        field.kind = Type::Dynamic;
        out.push((field, expr));
    }
    out
}

/// A value that is looked for among rows cannot be one of each edge of a path.
fn members(b: &mut Binder<'_>, pattern: &Pattern, span: Span) {
    let wrong = b.steps.iter().any(|s| match s {
        Step::Window(..) => true,
        Step::Member { value, .. } => !paths_of(value, pattern).is_empty(),
    });
    if wrong {
        b.refuse(span, "a function over rows, or a list from rows for a path's edges, in a pattern");
        b.steps.clear();
    }
}

fn bags(b: &mut Binder<'_>, graph: &Graph, span: Span) -> (PlanExpr, PlanExpr) {
    let nodes = b.pack(&source::nothing(graph.nodes.clone()), false, span).expr;
    let edges = b.pack(&source::nothing(graph.edges.clone()), false, span).expr;
    (nodes, edges)
}

impl Binder<'_> {
    /// Calls that only a pattern has: `all`, `any`, `map` of a path's edges or inner nodes, and degrees of nodes.
    pub(crate) fn pattern_call(&mut self, name: &Name, arguments: &[Expr], span: Span) -> Option<Bound> {
        let fold = match name.text.as_str() {
            "all" => Fold::All,
            "any" => Fold::Any,
            "map" => Fold::Map,
            "node_degree_in" => return Some(self.degree(IN, arguments, span)),
            "node_degree_out" => return Some(self.degree(OUT, arguments, span)),
            "labels" => {
                self.refuse(name.span, "`labels`: a graph that is made of rows has none");
                return Some(Bound::unknown());
            }
            "inner_nodes" => {
                self.error("KS211", name.span, "`inner_nodes` stands only in `all`, `any` and `map`");
                return Some(Bound::unknown());
            }
            _ => return None,
        };
        let kind = if fold == Fold::Map { Type::Dynamic } else { Type::Bool };
        let broken = Bound::new(fold::null(kind), kind);
        let [path, said_of] = arguments else {
            self.error("KS119", span, format!("`{}` takes an edge of the pattern and an expression", name.text));
            return Some(broken);
        };
        if self.pattern.as_ref().is_some_and(|s| s.within.is_some()) {
            self.refuse(span, format!("`{}` within `all`, `any` or `map`", name.text));
            return Some(broken);
        }
        let (of, inner) = match &path.kind {
            ExprKind::Call { name, arguments } if name.text == "inner_nodes" => (arguments.first(), true),
            _ => (Some(path), false),
        };
        let edge = match of.map(|e| &e.kind) {
            Some(ExprKind::Name(edge)) => self.element(&edge.text).filter(|e| e.kind != ElementKind::Node),
            _ => None,
        };
        let Some(edge) = edge.map(|e| e.name.clone()) else {
            self.error("KS142", path.span, "the name of an edge of the pattern is expected here");
            return Some(broken);
        };
        let Some(scope) = &mut self.pattern else { return Some(broken) };
        scope.within = Some(inner);
        let fields = if inner { scope.nodes.clone() } else { scope.edges.clone() };
        let steps = self.steps.len();
        let each = source::nothing(fields);
        let expr = if fold == Fold::Map {
            let bound = self.scalar(said_of, &each);
            self.converted(bound, Type::Dynamic).expr
        } else {
            self.predicate(said_of, &each)
        };
        if let Some(scope) = &mut self.pattern {
            scope.within = None;
        }
        if self.steps.len() > steps {
            self.steps.truncate(steps);
            self.refuse(said_of.span, "a list from rows within `all`, `any` or `map`");
        }
        let paths = |b: &Self, e: &PlanExpr| {
            let columns = e.column_refs();
            let mut named = columns.iter().filter_map(|c| parts(&c.name)).filter(|(p, _)| inner || *p != edge);
            named.any(|(p, _)| b.element(p).is_some_and(|e| e.kind == ElementKind::Path))
        };
        if paths(self, &expr) {
            self.refuse(said_of.span, "a property of a path's edges within what is said of another part");
        }
        let expr = said(self, PathCall { fold, path: edge, inner, expr });
        Some(Bound::new(expr, kind).labelled(Label::None))
    }

    /// How many edges reach, or leave, a node: one of the pattern, or the inner node that is spoken of.
    fn degree(&mut self, which: &str, arguments: &[Expr], span: Span) -> Bound {
        let within = self.pattern.as_ref().and_then(|s| s.within);
        let column = match arguments {
            [] if within == Some(true) => Some(which.to_owned()),
            [Expr { kind: ExprKind::Name(node), .. }] => {
                self.element(&node.text).filter(|e| e.kind == ElementKind::Node).map(|e| hidden(&e.name, which))
            }
            _ => None,
        };
        match column {
            Some(column) => Bound::new(Relation::column(&column), Type::Long),
            None => {
                self.error("KS119", span, "the name of a node of the pattern is expected here");
                Bound::new(fold::null(Type::Long), Type::Long)
            }
        }
    }
}

/// Why a search was given up.
enum Refusal {
    TooMuch(TooMuch),
    /// A condition that shortest paths cannot be told by.
    Condition,
}

impl Refusal {
    fn report(self, b: &mut Binder<'_>, span: Span) {
        let text = match self {
            Self::Condition => {
                b.refuse(
                    span,
                    "a condition on shortest paths that is on neither one part of the pattern nor its two ends",
                );
                return;
            }
            Self::TooMuch(TooMuch::Rows) => format!("the pattern has more than {} matches on the way", BUDGET.rows),
            Self::TooMuch(TooMuch::Visits) => {
                format!("the search would look at more than {} edges", BUDGET.visits)
            }
            Self::TooMuch(TooMuch::Steps) => format!("the paths would have more than {} steps", BUDGET.steps),
        };
        let hint = "constrain its nodes and edges in `where`, or shorten its paths";
        b.report(Diagnostic::error("GQ112", span, text).hint(hint));
    }
}

/// A pattern's condition, ready to be looked for.
struct Query<'g> {
    values: Values<'g>,
    conditions: Vec<PlanExpr>,
    all: bool,
    cycles: Cycles,
    shortest: bool,
}

/// What a condition speaks of.
struct About {
    /// Names of parts of the pattern.
    parts: BTreeSet<String>,
    /// It needs what only the engine can compute.
    late: bool,
}

impl Query<'_> {
    fn about(&self, condition: &PlanExpr) -> About {
        let mut about = About { parts: BTreeSet::new(), late: false };
        for column in condition.column_refs() {
            match parts(&column.name) {
                None => about.late = true,
                Some((CALL, at)) => {
                    let call = at.parse::<usize>().ok().and_then(|at| self.values.calls.get(at));
                    let Some(call) = call else { continue };
                    about.parts.insert(call.path.clone());
                    about.parts.extend(call.others());
                }
                Some((element, _)) => {
                    about.parts.insert(element.to_owned());
                }
            }
        }
        // A constant is the engine's too.
        about.late |= about.parts.is_empty();
        about
    }

    /// The call that a condition is, where it holds for all of a path and looks at nothing else.
    fn for_all(&self, condition: &PlanExpr) -> Option<usize> {
        let PlanExpr::Column(column) = condition else { return None };
        let Some((CALL, at)) = parts(&column.name) else { return None };
        let at = at.parse::<usize>().ok()?;
        let call = self.values.calls.get(at)?;
        (call.fold == Fold::All && call.others().is_empty()).then_some(at)
    }

    /// Conditions on one part become masks; the others, that are not the engine's, are given back.
    fn masks(&self, masks: &mut Masks) -> Result<Vec<(PlanExpr, BTreeSet<String>)>> {
        let pattern = self.values.pattern;
        masks.nodes = vec![None; pattern.nodes.len()];
        masks.edges = vec![None; pattern.edges.len()];
        masks.inner = vec![None; pattern.edges.len()];
        let mut others = vec![];
        let and = |slot: Option<&mut Option<BooleanArray>>, mask: ArrayRef| -> Result<()> {
            let mask = truths(&mask)?;
            if let Some(slot) = slot {
                *slot = Some(match slot.take() {
                    Some(have) => arrow::compute::and(&have, &mask)?,
                    None => mask,
                });
            }
            Ok(())
        };
        for condition in &self.conditions {
            let about = self.about(condition);
            if about.late {
                continue;
            }
            if let Some(call) = self.for_all(condition).and_then(|at| self.values.calls.get(at)) {
                let edge = pattern.edges.iter().position(|e| e.name == call.path);
                let mask = self.values.of_all(&call.expr, &call.path, call.inner)?;
                let slots = if call.inner { &mut masks.inner } else { &mut masks.edges };
                and(edge.and_then(|e| slots.get_mut(e)), mask)?;
                continue;
            }
            let only = if about.parts.len() == 1 { about.parts.first() } else { None };
            let direct = condition.column_refs().iter().all(|c| !matches!(parts(&c.name), Some((CALL, _))));
            if let (Some(name), true) = (only, direct) {
                if let Some(node) = pattern.nodes.iter().position(|n| n == name) {
                    and(masks.nodes.get_mut(node), self.values.of_all(condition, name, true)?)?;
                    continue;
                }
                if let Some(edge) = pattern.edges.iter().position(|e| e.name == *name) {
                    and(masks.edges.get_mut(edge), self.values.of_all(condition, name, false)?)?;
                    continue;
                }
            }
            others.push((condition.clone(), about.parts));
        }
        Ok(others)
    }

    fn found(&mut self, data: &Data) -> Result<std::result::Result<Table, Refusal>> {
        let mut masks = Masks::default();
        let mut others = self.masks(&mut masks)?;
        let pattern = self.values.pattern;
        if !self.shortest {
            let mut search = Search { data, pattern, masks: &masks, cycles: self.cycles, budget: BUDGET };
            let values = &self.values;
            let there = |table: &Table, name: &str| {
                let node = pattern.nodes.iter().position(|n| n == name);
                let edge = pattern.edges.iter().position(|e| e.name == name);
                let node = node.is_some_and(|n| table.nodes.get(n).is_some_and(Option::is_some));
                node || edge.is_some_and(|e| table.edges.get(e).is_some_and(Option::is_some))
            };
            let found = search.run(|table: &mut Table| -> Result<()> {
                let mut left = vec![];
                for (condition, about) in others.drain(..) {
                    if about.iter().all(|name| there(table, name)) {
                        let mask = truths(&values.value(table, &condition)?)?;
                        table.keep(&mask);
                    } else {
                        left.push((condition, about));
                    }
                }
                others = left;
                Ok(())
            })?;
            return Ok(found.map_err(Refusal::TooMuch));
        }
        // What is not of one part must be of the two ends: such a condition drops all paths between them or none.
        let ends: BTreeSet<&String> = pattern.nodes.first().into_iter().chain(pattern.nodes.last()).collect();
        let late = self.conditions.iter().filter(|c| self.about(c).late);
        if others.iter().any(|(_, about)| about.iter().any(|name| !ends.contains(name)))
            || late.clone().any(|c| self.about(c).parts.iter().any(|name| !ends.contains(name)))
        {
            return Ok(Err(Refusal::Condition));
        }
        let count = |mask: Option<&Option<BooleanArray>>| match mask {
            Some(Some(mask)) => mask.true_count(),
            _ => data.count(),
        };
        let turn = count(masks.nodes.last()) < count(masks.nodes.first());
        let found = if turn {
            let (pattern, masks) = turned(pattern, &masks);
            let mut paths = Paths { data, pattern: &pattern, masks: &masks, budget: BUDGET, all: self.all };
            paths.run().map(turned_back)
        } else {
            Paths { data, pattern, masks: &masks, budget: BUDGET, all: self.all }.run()
        };
        let mut table = match found {
            Ok(table) => table,
            Err(much) => return Ok(Err(Refusal::TooMuch(much))),
        };
        for (condition, _) in others {
            let mask = truths(&self.values.value(&table, &condition)?)?;
            table.keep(&mask);
        }
        Ok(Ok(table))
    }

    /// The matches as rows of the columns that are still read, and the conditions that are the engine's.
    fn rows(&self, table: &Table, items: &[(Field, PlanExpr)], steps: &[Step]) -> Result<(Relation, Vec<PlanExpr>)> {
        let late: Vec<PlanExpr> = self.conditions.iter().filter(|c| self.about(c).late).cloned().collect();
        let members = steps.iter().filter_map(|s| match s {
            Step::Member { value, .. } => Some(value),
            Step::Window(..) => None,
        });
        let read = items.iter().map(|(_, e)| e).chain(&late).chain(members);
        let names: BTreeSet<String> = read
            .flat_map(|e| e.column_refs().into_iter().map(|c| c.name.clone()).collect::<Vec<_>>())
            .filter(|name| parts(name).is_some())
            .collect();
        let (mut fields, mut arrays): (Vec<ArrowField>, Vec<ArrayRef>) = (vec![], vec![]);
        for name in &names {
            let Some(kind) = self.values.kind(name) else { return exec_err!("`{name}` is no part of the pattern") };
            let array = self.values.column(table, name, None)?;
            let array = if array.data_type() == &kind { array } else { arrow::compute::cast(&array, &kind)? };
            fields.push(ArrowField::new(name, kind, true));
            arrays.push(array);
        }
        let schema = Arc::new(Schema::new(fields));
        let options = RecordBatchOptions::new().with_row_count(Some(table.rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)?;
        let relation = source::raw(schema, vec![batch], vec![])?;
        Ok((relation, late.into_iter().map(predicate::for_filter).collect()))
    }
}
