//! One table's rules, compiled: predicates by column, rules as programs over predicates, and for each predicate the
//! rules that could hold because of it.

use crate::detection::Test;
use crate::lower::{Expr, Leaf, RowTest};
use crate::map::Derive;
use crate::matcher::{Matcher, MatcherBuilder, Predicate};
use crate::pattern::Shape;
use crate::rule::RuleIndex;
use std::collections::HashMap;

/// A rule's program: an expression over predicates.
#[derive(Debug)]
pub(crate) enum Program {
    Const(bool),
    Holds(Predicate),
    Row(u32),
    And(Vec<Program>),
    Or(Vec<Program>),
    Not(Box<Program>),
    AtLeast(usize, Vec<Program>),
}

/// True, false, or to be found out on the row itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    True,
    False,
    Open,
}

pub(crate) struct Plan {
    pub columns: Vec<ColumnPlan>,
    pub rules: Vec<(RuleIndex, Program)>,
    pub row_tests: Vec<RowTest>,
    pub predicate_count: usize,
    /// For each predicate, the rules to try when it holds.
    pub witnesses: Vec<Vec<u32>>,
    /// Rules that may hold when no predicate does.
    pub always: Vec<u32>,
}

pub(crate) struct ColumnPlan {
    pub name: String,
    pub parts: Vec<Part>,
    /// What holds when the column is null, for all parts together; sorted.
    pub null: Vec<Predicate>,
}

pub(crate) struct Part {
    pub derive: Derive,
    pub matcher: Matcher,
    pub null: Vec<Predicate>,
}

/// What is asked of one derivation of a column while the plan is built.
type PartBuilder = (Derive, MatcherBuilder, Vec<Predicate>);

#[derive(Default)]
struct Builder {
    columns: Vec<(String, Vec<PartBuilder>)>,
    known: HashMap<String, Predicate>,
    weights: Vec<f64>,
    row_tests: Vec<RowTest>,
}

impl Plan {
    pub fn build<'e>(rules: impl Iterator<Item = (RuleIndex, &'e Expr)>) -> Self {
        let mut builder = Builder::default();
        let programs: Vec<(RuleIndex, Program)> = rules.map(|(index, expr)| (index, builder.program(expr))).collect();
        let mut witnesses = vec![Vec::new(); builder.weights.len()];
        let mut always = Vec::new();
        for (local, (_, program)) in programs.iter().enumerate() {
            match builder.witness(program) {
                Some((_, predicates)) => {
                    for predicate in predicates {
                        let list: &mut Vec<u32> = &mut witnesses[predicate as usize];
                        if list.last() != Some(&(local as u32)) {
                            list.push(local as u32);
                        }
                    }
                }
                None => always.push(local as u32),
            }
        }
        let columns = builder.columns.into_iter().map(|(name, parts)| {
            let parts: Vec<Part> = parts
                .into_iter()
                .map(|(derive, matcher, null)| Part { derive, matcher: matcher.build(), null })
                .collect();
            let mut null: Vec<Predicate> = parts.iter().flat_map(|p| p.null.iter().copied()).collect();
            null.sort_unstable();
            null.dedup();
            ColumnPlan { name, parts, null }
        });
        Self {
            columns: columns.collect(),
            rules: programs,
            row_tests: builder.row_tests,
            predicate_count: builder.weights.len(),
            witnesses,
            always,
        }
    }
}

impl Builder {
    fn program(&mut self, expr: &Expr) -> Program {
        match expr {
            Expr::Const(value) => Program::Const(*value),
            Expr::Leaf(leaf) => Program::Holds(self.predicate(leaf)),
            Expr::Row(test) => {
                self.row_tests.push(test.clone());
                Program::Row(self.row_tests.len() as u32 - 1)
            }
            Expr::And(parts) => Program::And(parts.iter().map(|p| self.program(p)).collect()),
            Expr::Or(parts) => Program::Or(parts.iter().map(|p| self.program(p)).collect()),
            Expr::Not(inner) => Program::Not(Box::new(self.program(inner))),
            Expr::AtLeast(count, parts) => Program::AtLeast(*count, parts.iter().map(|p| self.program(p)).collect()),
        }
    }

    /// Equal leaves are one predicate, whichever rules they come from.
    fn predicate(&mut self, leaf: &Leaf) -> Predicate {
        let mut texts: Vec<String> = leaf.tests.iter().map(key).collect();
        texts.sort();
        texts.dedup();
        let key = format!("{}\0{:?}\0{}", leaf.column, leaf.derive, texts.join("\0"));
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let predicate = self.weights.len() as Predicate;
        self.known.insert(key, predicate);
        let weight: f64 = leaf.tests.iter().map(weight).sum();
        self.weights.push(if leaf.column == "ActionType" { 10_000.0 } else { weight });
        let column = match self.columns.iter().position(|(name, _)| *name == leaf.column) {
            Some(at) => at,
            None => {
                self.columns.push((leaf.column.clone(), Vec::new()));
                self.columns.len() - 1
            }
        };
        let parts = &mut self.columns[column].1;
        let part = match parts.iter().position(|(derive, _, _)| *derive == leaf.derive) {
            Some(at) => at,
            None => {
                parts.push((leaf.derive.clone(), MatcherBuilder::default(), Vec::new()));
                parts.len() - 1
            }
        };
        for test in &leaf.tests {
            if *test == Test::Null {
                parts[part].2.push(predicate);
            } else {
                parts[part].1.add(test, predicate);
            }
        }
        predicate
    }

    /// The cheapest set of predicates of which one must hold for the program to hold.
    fn witness(&self, program: &Program) -> Option<(f64, Vec<Predicate>)> {
        match program {
            Program::Holds(predicate) => Some((self.weights[*predicate as usize], vec![*predicate])),
            Program::And(parts) => parts.iter().filter_map(|p| self.witness(p)).min_by(|a, b| a.0.total_cmp(&b.0)),
            Program::Or(parts) => {
                let mut all = (0.0, Vec::new());
                for part in parts {
                    let (weight, predicates) = self.witness(part)?;
                    all.0 += weight;
                    all.1.extend(predicates);
                }
                Some(all)
            }
            Program::AtLeast(count, parts) => {
                // If `count` of `n` must hold, one of any `n - count + 1` must.
                let mut found: Vec<_> = parts.iter().filter_map(|p| self.witness(p)).collect();
                let needed = parts.len() + 1 - count;
                if found.len() < needed {
                    return None;
                }
                found.sort_by(|a, b| a.0.total_cmp(&b.0));
                found.truncate(needed);
                let weight = found.iter().map(|f| f.0).sum();
                Some((weight, found.into_iter().flat_map(|f| f.1).collect()))
            }
            Program::Const(_) | Program::Row(_) | Program::Not(_) => None,
        }
    }
}

/// The text by which equal tests are known.
pub(crate) fn key(test: &Test) -> String {
    match test {
        Test::Regex(expression) => format!("re {}", expression.text),
        other => format!("{other:?}"),
    }
}

/// How often a test holds, roughly: rare ones make good witnesses.
fn weight(test: &Test) -> f64 {
    let by_length = |bytes: &[u8], one: f64| one * (12.0 / (bytes.len() as f64 + 1.0)).powi(2);
    match test {
        Test::Text(pattern) => match pattern.shape() {
            Shape::Exact(bytes) => by_length(bytes, 0.5) + 0.5,
            Shape::Prefix(bytes) => by_length(bytes, 4.0) + 3.0,
            Shape::Suffix(bytes) => by_length(bytes, 3.0) + 3.0,
            Shape::Contains(bytes) => by_length(bytes, 3.0) + 0.5,
            Shape::Any => 5_000.0,
            Shape::Wild => by_length(pattern.longest_literal().unwrap_or_default(), 3.0) + 0.5,
        },
        Test::Number(_) => 5.0,
        Test::Regex(_) => 2.0,
        Test::Null => 3_000.0,
        Test::AnyOf(forms) => forms.iter().map(weight).sum(),
        _ => 500.0,
    }
}

impl Program {
    /// Evaluates over the predicates that hold; tests of the row itself are `Open` unless `row` knows.
    pub fn run(&self, truth: &[u64], row: &dyn Fn(u32) -> Verdict) -> Verdict {
        let holds = |predicate: Predicate| truth[predicate as usize / 64] >> (predicate % 64) & 1 == 1;
        match self {
            Program::Const(value) => (*value).into(),
            Program::Holds(predicate) => holds(*predicate).into(),
            Program::Row(test) => row(*test),
            Program::And(parts) => {
                let mut verdict = Verdict::True;
                for part in parts {
                    match part.run(truth, row) {
                        Verdict::False => return Verdict::False,
                        Verdict::Open => verdict = Verdict::Open,
                        Verdict::True => {}
                    }
                }
                verdict
            }
            Program::Or(parts) => {
                let mut verdict = Verdict::False;
                for part in parts {
                    match part.run(truth, row) {
                        Verdict::True => return Verdict::True,
                        Verdict::Open => verdict = Verdict::Open,
                        Verdict::False => {}
                    }
                }
                verdict
            }
            Program::Not(inner) => match inner.run(truth, row) {
                Verdict::True => Verdict::False,
                Verdict::False => Verdict::True,
                Verdict::Open => Verdict::Open,
            },
            Program::AtLeast(count, parts) => {
                let (mut certain, mut possible) = (0, 0);
                for part in parts {
                    match part.run(truth, row) {
                        Verdict::True => certain += 1,
                        Verdict::Open => possible += 1,
                        Verdict::False => {}
                    }
                }
                if certain >= *count {
                    Verdict::True
                } else if certain + possible >= *count {
                    Verdict::Open
                } else {
                    Verdict::False
                }
            }
        }
    }
}

impl Program {
    /// What is left to be found out on the row once it is known which predicates hold: an expression over row tests only.
    pub fn rest(&self, truth: &[u64]) -> Self {
        let open = |parts: &[Program]| -> Vec<Program> {
            let left = |part: &&Program| part.run(truth, &|_| Verdict::Open) == Verdict::Open;
            parts.iter().filter(left).map(|part| part.rest(truth)).collect()
        };
        let certain = |parts: &[Program]| {
            parts.iter().filter(|part| part.run(truth, &|_| Verdict::Open) == Verdict::True).count()
        };
        let alone = |mut parts: Vec<Program>, many: fn(Vec<Program>) -> Program| match parts.len() {
            1 => parts.swap_remove(0),
            _ => many(parts),
        };
        match self.run(truth, &|_| Verdict::Open) {
            Verdict::True => return Program::Const(true),
            Verdict::False => return Program::Const(false),
            Verdict::Open => {}
        }
        // The verdict is open, so the parts that are certain decide nothing.
        match self {
            Program::Row(test) => Program::Row(*test),
            Program::And(parts) => alone(open(parts), Program::And),
            Program::Or(parts) => alone(open(parts), Program::Or),
            Program::Not(inner) => Program::Not(Box::new(inner.rest(truth))),
            Program::AtLeast(count, parts) => Program::AtLeast(count.saturating_sub(certain(parts)), open(parts)),
            // Never open.
            Program::Const(_) | Program::Holds(_) => Program::Const(false),
        }
    }

    /// Nodes, for what it costs to keep it.
    pub fn size(&self) -> usize {
        match self {
            Program::Const(_) | Program::Holds(_) | Program::Row(_) => 1,
            Program::Not(inner) => 1 + inner.size(),
            Program::And(parts) | Program::Or(parts) | Program::AtLeast(_, parts) => {
                1 + parts.iter().map(Program::size).sum::<usize>()
            }
        }
    }
}

impl From<bool> for Verdict {
    fn from(value: bool) -> Self {
        if value { Verdict::True } else { Verdict::False }
    }
}
