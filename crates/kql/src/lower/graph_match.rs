//! Finding a pattern in a graph: a table of partial matches grows by one edge of the pattern at a time, from the node
//! with the fewest candidates; conditions are put to it as soon as all that they look at is there.

use crate::lower::graph::Data;
use arrow::array::BooleanArray;

/// Which edges an edge of a pattern is, as read from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
    Any,
}

/// An edge of a pattern between two of its nodes.
#[derive(Debug, Clone)]
pub(crate) struct PatternEdge {
    /// Its name; empty if it has none.
    pub name: String,
    pub left: usize,
    pub right: usize,
    pub direction: Direction,
    /// How often, for an edge of variable length.
    pub range: Option<(u32, u32)>,
}

/// A pattern: names of its nodes (empty for those without one), and its edges.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern {
    pub nodes: Vec<String>,
    pub edges: Vec<PatternEdge>,
}

/// What a match may hold twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cycles {
    /// Anything.
    All,
    /// Nodes, and no edge.
    UniqueEdges,
    /// Nothing.
    Nothing,
}

/// Which nodes and edges of the graph can stand for those of the pattern; `None` is all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Masks {
    pub nodes: Vec<Option<BooleanArray>>,
    pub edges: Vec<Option<BooleanArray>>,
    /// Nodes between the ends of an edge of variable length.
    pub inner: Vec<Option<BooleanArray>>,
}

pub(crate) fn allows(mask: Option<&Option<BooleanArray>>, at: u32) -> bool {
    match mask {
        Some(Some(mask)) => mask.len() > at as usize && mask.value(at as usize),
        _ => true,
    }
}

/// How much a search may cost before it is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Matches, partial ones too.
    pub rows: usize,
    /// Edges looked at.
    pub visits: usize,
    /// Steps of paths that are kept.
    pub steps: usize,
}

/// What was too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMuch {
    Rows,
    Visits,
    Steps,
}

/// The end of a path.
pub(crate) const NONE: u32 = u32::MAX;

/// A step of a path: the edge, the node that it reached, and the step before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PathStep {
    pub before: u32,
    pub edge: u32,
    pub node: u32,
}

/// Matches: for each node and edge of the pattern a column of what stands for it; an edge of variable length has the
/// last step of its path.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub rows: usize,
    pub nodes: Vec<Option<Vec<u32>>>,
    pub edges: Vec<Option<Vec<u32>>>,
    pub steps: Vec<PathStep>,
    /// Paths that were walked from right to left.
    pub reversed: Vec<bool>,
}

impl Table {
    pub(crate) fn new(pattern: &Pattern) -> Self {
        Self {
            rows: 0,
            nodes: vec![None; pattern.nodes.len()],
            edges: vec![None; pattern.edges.len()],
            steps: vec![],
            reversed: vec![false; pattern.edges.len()],
        }
    }

    /// Edges and nodes of a path from left to right. The nodes are those that each edge reaches, in the order walked.
    pub(crate) fn path(&self, edge: usize, row: usize) -> Vec<PathStep> {
        let mut at = self.edges.get(edge).and_then(Option::as_ref).and_then(|c| c.get(row)).copied().unwrap_or(NONE);
        let mut path = vec![];
        while let Some(step) = self.steps.get(at as usize) {
            path.push(*step);
            at = step.before;
        }
        if !self.reversed.get(edge).copied().unwrap_or(false) {
            path.reverse();
        }
        path
    }

    /// The nodes between the ends of a path, from left to right.
    pub(crate) fn inner(&self, edge: usize, row: usize) -> Vec<u32> {
        let path = self.path(edge, row);
        // The node that the last step walked to is the end itself.
        let reversed = self.reversed.get(edge).copied().unwrap_or(false);
        let between = if reversed { path.get(1..) } else { path.get(..path.len().saturating_sub(1)) };
        between.unwrap_or_default().iter().map(|s| s.node).collect()
    }

    /// Only the rows that a mask keeps.
    pub(crate) fn keep(&mut self, mask: &BooleanArray) {
        let keep: Vec<bool> = mask.iter().map(|m| m.unwrap_or(false)).collect();
        for column in self.nodes.iter_mut().chain(&mut self.edges).flatten() {
            let mut at = keep.iter();
            column.retain(|_| at.next().copied().unwrap_or(false));
        }
        self.rows = keep.iter().filter(|k| **k).count();
    }
}

/// A search.
pub(crate) struct Search<'g> {
    pub data: &'g Data,
    pub pattern: &'g Pattern,
    pub masks: &'g Masks,
    pub cycles: Cycles,
    pub budget: Budget,
}

/// An edge at a node, and the node that it leads to.
pub(crate) fn steps_at(data: &Data, node: u32, direction: Direction) -> impl Iterator<Item = (u32, u32)> + '_ {
    let out = if direction == Direction::Backward { &[] } else { data.out.of(node) };
    let into = if direction == Direction::Forward { &[] } else { data.into.of(node) };
    let any = direction == Direction::Any;
    out.iter().map(move |e| (*e, data.end(*e, true))).chain(
        // An edge from a node to itself is one edge, whichever way it is walked.
        into.iter().map(move |e| (*e, data.end(*e, false))).filter(move |(_, n)| !(any && *n == node)),
    )
}

fn flipped(direction: Direction) -> Direction {
    match direction {
        Direction::Forward => Direction::Backward,
        Direction::Backward => Direction::Forward,
        Direction::Any => Direction::Any,
    }
}

impl Search<'_> {
    /// All matches. `narrow` is given the table after every step, and takes out rows that cannot match.
    pub(crate) fn run<E>(
        &mut self,
        mut narrow: impl FnMut(&mut Table) -> Result<(), E>,
    ) -> Result<Result<Table, TooMuch>, E> {
        let mut table = Table::new(self.pattern);
        let Some(start) = self.start() else { return Ok(Ok(table)) };
        let all = (0_u32..).take(self.data.count());
        let first: Vec<u32> = all.filter(|n| allows(self.masks.nodes.get(start), *n)).collect();
        if first.len() > self.budget.rows {
            return Ok(Err(TooMuch::Rows));
        }
        table.rows = first.len();
        if let Some(column) = table.nodes.get_mut(start) {
            *column = Some(first);
        }
        narrow(&mut table)?;
        while let Some((edge, from_left)) = self.next(&table) {
            if let Err(much) = self.expand(&mut table, edge, from_left) {
                return Ok(Err(much));
            }
            narrow(&mut table)?;
        }
        Ok(Ok(table))
    }

    /// The node with the fewest candidates.
    fn start(&self) -> Option<usize> {
        (0..self.pattern.nodes.len()).min_by_key(|n| match self.masks.nodes.get(*n) {
            Some(Some(mask)) => mask.true_count(),
            _ => self.data.count(),
        })
    }

    /// The next edge of the pattern: one between nodes that are there, else one at a node that is; those of one step
    /// before those of many.
    fn next(&self, table: &Table) -> Option<(usize, bool)> {
        let there = |n: usize| table.nodes.get(n).is_some_and(Option::is_some);
        self.pattern
            .edges
            .iter()
            .enumerate()
            .filter(|(at, e)| table.edges.get(*at).is_some_and(Option::is_none) && (there(e.left) || there(e.right)))
            .min_by_key(|(_, e)| (!(there(e.left) && there(e.right)), e.range.is_some()))
            .map(|(at, e)| (at, there(e.left)))
    }

    fn expand(&mut self, table: &mut Table, at: usize, from_left: bool) -> Result<(), TooMuch> {
        let Some(edge) = self.pattern.edges.get(at).cloned() else { return Ok(()) };
        let (from, to) = if from_left { (edge.left, edge.right) } else { (edge.right, edge.left) };
        let direction = if from_left { edge.direction } else { flipped(edge.direction) };
        let mut grown = Grown { rows: vec![], nodes: vec![], edges: vec![] };
        for row in 0..table.rows {
            let cell = |n: usize| table.nodes.get(n).and_then(Option::as_ref).and_then(|c| c.get(row)).copied();
            let Some(start) = cell(from) else { continue };
            let goal = cell(to);
            let used = self.used(table, row);
            match edge.range {
                None => self.one(&mut grown, (at, to, direction), row, start, goal, &used)?,
                Some(range) => {
                    let mut steps = std::mem::take(&mut table.steps);
                    let many = self.many(&mut grown, &mut steps, (at, to, direction), range, row, start, goal, &used);
                    table.steps = steps;
                    many?;
                }
            }
        }
        for column in table.nodes.iter_mut().chain(&mut table.edges).flatten() {
            *column = grown.rows.iter().map(|r| column.get(*r).copied().unwrap_or(NONE)).collect();
        }
        table.rows = grown.rows.len();
        if let Some(column) = table.nodes.get_mut(to) {
            *column = Some(grown.nodes);
        }
        if let Some(column) = table.edges.get_mut(at) {
            *column = Some(grown.edges);
        }
        if let Some(reversed) = table.reversed.get_mut(at) {
            *reversed = !from_left;
        }
        Ok(())
    }

    /// What a row has that may not come again.
    fn used(&self, table: &Table, row: usize) -> Used {
        let mut used = Used::default();
        if self.cycles == Cycles::All {
            return used;
        }
        for (edge, column) in table.edges.iter().enumerate() {
            let Some(column) = column else { continue };
            if self.pattern.edges.get(edge).is_some_and(|e| e.range.is_some()) {
                let path = table.path(edge, row);
                used.edges.extend(path.iter().map(|s| s.edge));
                used.nodes.extend(path.iter().map(|s| s.node));
            } else {
                used.edges.extend(column.get(row));
            }
        }
        used.nodes.extend(table.nodes.iter().flatten().filter_map(|c| c.get(row)));
        used
    }

    fn one(
        &mut self,
        grown: &mut Grown,
        (at, to, direction): (usize, usize, Direction),
        row: usize,
        start: u32,
        goal: Option<u32>,
        used: &Used,
    ) -> Result<(), TooMuch> {
        for (edge, node) in steps_at(self.data, start, direction) {
            self.budget.visits = self.budget.visits.checked_sub(1).ok_or(TooMuch::Visits)?;
            if goal.is_some_and(|g| g != node)
                || !allows(self.masks.edges.get(at), edge)
                || !allows(self.masks.nodes.get(to), node)
                || !used.admits(self.cycles, edge, node)
            {
                continue;
            }
            grown.push(self.budget.rows, row, edge, node)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "where the walk is, and where it writes")]
    fn many(
        &mut self,
        grown: &mut Grown,
        steps: &mut Vec<PathStep>,
        (at, to, direction): (usize, usize, Direction),
        (least, most): (u32, u32),
        row: usize,
        start: u32,
        goal: Option<u32>,
        used: &Used,
    ) -> Result<(), TooMuch> {
        let ends = |masks: &Masks, node: u32| goal.is_none_or(|g| g == node) && allows(masks.nodes.get(to), node);
        // A path of no edge is no cycle: both ends are one node.
        if least == 0 && ends(self.masks, start) {
            grown.push(self.budget.rows, row, NONE, start)?;
        }
        let mut level: Vec<u32> = vec![NONE];
        for depth in 1..=most {
            let mut next = vec![];
            for last in &level {
                let from = steps.get(*last as usize).map_or(start, |s| s.node);
                for (edge, node) in steps_at(self.data, from, direction) {
                    self.budget.visits = self.budget.visits.checked_sub(1).ok_or(TooMuch::Visits)?;
                    if !allows(self.masks.edges.get(at), edge)
                        || !used.admits(self.cycles, edge, node)
                        || self.comes_again(steps, *last, edge, node)
                    {
                        continue;
                    }
                    let end = depth >= least && ends(self.masks, node);
                    let on = depth < most && allows(self.masks.inner.get(at), node);
                    if !end && !on {
                        continue;
                    }
                    self.budget.steps = self.budget.steps.checked_sub(1).ok_or(TooMuch::Steps)?;
                    let step = u32::try_from(steps.len()).map_err(|_| TooMuch::Steps)?;
                    steps.push(PathStep { before: *last, edge, node });
                    if end {
                        grown.push(self.budget.rows, row, step, node)?;
                    }
                    if on {
                        next.push(step);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        Ok(())
    }

    /// Whether a path has the edge, or the node, already.
    fn comes_again(&self, steps: &[PathStep], last: u32, edge: u32, node: u32) -> bool {
        if self.cycles == Cycles::All {
            return false;
        }
        let mut at = last;
        while let Some(step) = steps.get(at as usize) {
            if step.edge == edge || (self.cycles == Cycles::Nothing && step.node == node) {
                return true;
            }
            at = step.before;
        }
        false
    }
}

/// Rows that an edge of the pattern made: the row before, the node reached, the edge or the path's last step.
struct Grown {
    rows: Vec<usize>,
    nodes: Vec<u32>,
    edges: Vec<u32>,
}

impl Grown {
    fn push(&mut self, most: usize, row: usize, edge: u32, node: u32) -> Result<(), TooMuch> {
        if self.rows.len() >= most {
            return Err(TooMuch::Rows);
        }
        self.rows.push(row);
        self.edges.push(edge);
        self.nodes.push(node);
        Ok(())
    }
}

/// What stands in a row of the table.
#[derive(Default)]
struct Used {
    edges: Vec<u32>,
    nodes: Vec<u32>,
}

impl Used {
    fn admits(&self, cycles: Cycles, edge: u32, node: u32) -> bool {
        match cycles {
            Cycles::All => true,
            Cycles::UniqueEdges => !self.edges.contains(&edge),
            // The node would be reached a second time, even where the pattern itself asks for that.
            Cycles::Nothing => !self.nodes.contains(&node),
        }
    }
}
