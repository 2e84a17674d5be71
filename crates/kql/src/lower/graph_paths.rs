//! Shortest paths along a pattern that is one line of nodes and edges.
//!
//! The pattern is read as an automaton: a place is one of its nodes, or the inside of an edge of variable length with
//! the number of steps taken there. A search in breadth over pairs of place and node gives the shortest way to each
//! end; what led to a pair first (or, for all of the shortest, everything that led to it at that distance) is kept.

use crate::lower::graph::Data;
use crate::lower::graph_match::{Budget, Direction, Masks, NONE, PathStep, Pattern, Table, TooMuch, allows, steps_at};
use std::collections::HashMap;

/// A place of the automaton: at a node of the pattern, or inside an edge after so many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Node(u32),
    Inside(u32, u32),
}

/// How a pair of place and node was reached: from which pair, and over which edge (none where an edge of variable
/// length has no step).
#[derive(Debug, Clone, Copy)]
struct Came {
    from: (Place, u32),
    edge: u32,
}

/// A step of a way: where it leads, how it came there, and the step after it.
struct Link {
    to: (Place, u32),
    came: Came,
    next: usize,
}

struct Reached {
    depth: u32,
    came: Vec<Came>,
}

/// The search.
pub(crate) struct Paths<'g> {
    pub data: &'g Data,
    pub pattern: &'g Pattern,
    pub masks: &'g Masks,
    pub budget: Budget,
    /// All of the shortest paths, not one of them.
    pub all: bool,
}

impl Paths<'_> {
    /// A row for each pair of ends, or for each of its shortest paths. The pattern's nodes and edges are numbered along
    /// its line.
    pub(crate) fn run(&mut self) -> Result<Table, TooMuch> {
        let mut table = Table::new(self.pattern);
        for column in table.nodes.iter_mut().chain(&mut table.edges) {
            *column = Some(vec![]);
        }
        let last = self.pattern.nodes.len().saturating_sub(1);
        let nodes = || (0_u32..).take(self.data.count());
        let goals = nodes().filter(|n| allows(self.masks.nodes.get(last), *n)).count();
        let starts: Vec<u32> = nodes().filter(|n| allows(self.masks.nodes.first(), *n)).collect();
        for start in starts {
            self.from(start, goals, &mut table)?;
        }
        Ok(table)
    }

    fn from(&mut self, start: u32, goals: usize, table: &mut Table) -> Result<(), TooMuch> {
        let end = u32::try_from(self.pattern.edges.len()).unwrap_or(NONE);
        let mut reached: HashMap<(Place, u32), Reached> = HashMap::new();
        let first = (Place::Node(0), start);
        reached.insert(first, Reached { depth: 0, came: vec![] });
        let (mut level, mut depth, mut ends) = (vec![first], 0_u32, vec![]);
        while !level.is_empty() && ends.len() < goals {
            // Edges of variable length that may have no step lead on at once.
            let mut at = 0;
            while let Some((place, node)) = level.get(at).copied() {
                at += 1;
                if let Place::Node(n) = place {
                    if n == end {
                        ends.push(node);
                    }
                    let skips = self.pattern.edges.get(n as usize).and_then(|e| e.range).is_some_and(|r| r.0 == 0);
                    if skips && allows(self.masks.nodes.get(n as usize + 1), node) {
                        let came = Came { from: (place, node), edge: NONE };
                        self.reach(&mut reached, (Place::Node(n + 1), node), depth, came, &mut level);
                    }
                }
            }
            depth += 1;
            let mut next = vec![];
            for pair in level {
                self.walk(&mut reached, pair, depth, &mut next)?;
            }
            level = next;
        }
        for node in ends {
            self.tell(&reached, (Place::Node(end), node), table)?;
        }
        Ok(())
    }

    fn reach(
        &self,
        reached: &mut HashMap<(Place, u32), Reached>,
        pair: (Place, u32),
        depth: u32,
        came: Came,
        level: &mut Vec<(Place, u32)>,
    ) {
        match reached.get_mut(&pair) {
            None => {
                reached.insert(pair, Reached { depth, came: vec![came] });
                level.push(pair);
            }
            Some(have) if self.all && have.depth == depth && !have.came.is_empty() => have.came.push(came),
            Some(_) => {}
        }
    }

    /// One step from a pair.
    fn walk(
        &mut self,
        reached: &mut HashMap<(Place, u32), Reached>,
        (place, node): (Place, u32),
        depth: u32,
        next: &mut Vec<(Place, u32)>,
    ) -> Result<(), TooMuch> {
        let (at, taken) = match place {
            Place::Node(n) => (n, 0),
            Place::Inside(e, taken) => (e, taken),
        };
        let Some(edge) = self.pattern.edges.get(at as usize) else { return Ok(()) };
        let alone = self.pattern.edges.len() == 1;
        let (least, most) = edge.range.unwrap_or((1, 1));
        // Where there is one edge, the steps taken in it are the depth, and beyond the least number all are the same.
        let taken = if alone { depth - 1 } else { taken } + 1;
        if taken > most {
            return Ok(());
        }
        let inside = if alone { taken.min(least.max(1)) } else { taken };
        for (id, to) in steps_at(self.data, node, edge.direction) {
            self.budget.visits = self.budget.visits.checked_sub(1).ok_or(TooMuch::Visits)?;
            if !allows(self.masks.edges.get(at as usize), id) {
                continue;
            }
            let came = Came { from: (place, node), edge: id };
            if taken >= least && allows(self.masks.nodes.get(at as usize + 1), to) {
                self.reach(reached, (Place::Node(at + 1), to), depth, came, next);
            }
            if taken < most && allows(self.masks.inner.get(at as usize), to) {
                self.reach(reached, (Place::Inside(at, inside), to), depth, came, next);
            }
        }
        if reached.len() > self.budget.steps {
            return Err(TooMuch::Steps);
        }
        Ok(())
    }

    /// Writes the paths that lead to an end. Ways back are links of one list, so that those that fork share their end.
    fn tell(
        &mut self,
        reached: &HashMap<(Place, u32), Reached>,
        end: (Place, u32),
        table: &mut Table,
    ) -> Result<(), TooMuch> {
        let mut links: Vec<Link> = vec![];
        let mut open: Vec<((Place, u32), usize)> = vec![(end, usize::MAX)];
        while let Some((pair, link)) = open.pop() {
            let Some(have) = reached.get(&pair) else { continue };
            if have.came.is_empty() {
                self.write(pair.1, &links, link, table)?;
                continue;
            }
            self.budget.visits = self.budget.visits.checked_sub(have.came.len()).ok_or(TooMuch::Visits)?;
            if links.len() > self.budget.steps {
                return Err(TooMuch::Steps);
            }
            // The last is taken first from the stack: so the order is that of the search.
            for came in have.came.iter().rev() {
                links.push(Link { to: pair, came: *came, next: link });
                open.push((came.from, links.len() - 1));
            }
        }
        Ok(())
    }

    /// A path as a row: its links lead from the start to the end.
    fn write(&mut self, start: u32, links: &[Link], first: usize, table: &mut Table) -> Result<(), TooMuch> {
        if table.rows >= self.budget.rows {
            return Err(TooMuch::Rows);
        }
        table.rows += 1;
        if let Some(Some(column)) = table.nodes.first_mut() {
            column.push(start);
        }
        let mut last = NONE;
        let mut link = links.get(first);
        while let Some(Link { to: (place, node), came, next }) = link {
            link = links.get(*next);
            let at = match came.from.0 {
                Place::Node(n) => n as usize,
                Place::Inside(e, _) => e as usize,
            };
            let fixed = self.pattern.edges.get(at).is_some_and(|e| e.range.is_none());
            if fixed {
                last = came.edge;
            } else if came.edge != NONE {
                let step = u32::try_from(table.steps.len()).map_err(|_| TooMuch::Steps)?;
                if table.steps.len() >= self.budget.steps {
                    return Err(TooMuch::Steps);
                }
                table.steps.push(PathStep { before: last, edge: came.edge, node: *node });
                last = step;
            }
            if let Place::Node(n) = place {
                if let Some(Some(column)) = table.edges.get_mut(at) {
                    column.push(last);
                }
                if let Some(Some(column)) = table.nodes.get_mut(*n as usize) {
                    column.push(*node);
                }
                last = NONE;
            }
        }
        Ok(())
    }
}

/// The same line read from its other end.
pub(crate) fn turned(pattern: &Pattern, masks: &Masks) -> (Pattern, Masks) {
    let (mut pattern, mut masks) = (pattern.clone(), masks.clone());
    let last = pattern.nodes.len().saturating_sub(1);
    pattern.nodes.reverse();
    pattern.edges.reverse();
    for edge in &mut pattern.edges {
        (edge.left, edge.right) = (last.saturating_sub(edge.right), last.saturating_sub(edge.left));
        edge.direction = match edge.direction {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
            Direction::Any => Direction::Any,
        };
    }
    masks.nodes.reverse();
    masks.edges.reverse();
    masks.inner.reverse();
    (pattern, masks)
}

/// A table of the turned line, as one of the line itself.
pub(crate) fn turned_back(mut table: Table) -> Table {
    table.nodes.reverse();
    table.edges.reverse();
    table.reversed = vec![true; table.edges.len()];
    table
}
