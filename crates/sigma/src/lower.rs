//! From a rule to tests on columns: for each table that holds the rule's log source, its condition becomes one
//! expression whose leaves say column, computation and alternatives. What a table cannot answer folds to true or false
//! here, before anything is compiled.

use crate::condition::Condition;
use crate::detection::{Detection, Item, Likeness, Search, Test};
use crate::map::{Derive, FieldMap, Route, Target};
use crate::pattern::Pattern;
use crate::rule::LogSource;
use std::collections::BTreeSet;

/// A condition over tests of columns.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Const(bool),
    Leaf(Leaf),
    /// Compares two fields of one row.
    Row(RowTest),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    AtLeast(usize, Vec<Expr>),
}

/// Any of these tests holds on what is computed from a column.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub column: String,
    pub derive: Derive,
    pub tests: Vec<Test>,
}

#[derive(Debug, Clone)]
pub(crate) struct RowTest {
    pub left: Vec<Target>,
    pub right: Vec<Target>,
    pub how: Likeness,
    pub cased: bool,
}

impl Expr {
    pub fn and(parts: Vec<Expr>) -> Expr {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Expr::Const(true) => {}
                Expr::Const(false) => return Expr::Const(false),
                Expr::And(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Expr::Const(true),
            1 => kept.swap_remove(0),
            _ => Expr::And(kept),
        }
    }

    pub fn or(parts: Vec<Expr>) -> Expr {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Expr::Const(false) => {}
                Expr::Const(true) => return Expr::Const(true),
                Expr::Or(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Expr::Const(false),
            1 => kept.swap_remove(0),
            _ => Expr::Or(kept),
        }
    }

    pub fn negate(part: Expr) -> Expr {
        match part {
            Expr::Const(value) => Expr::Const(!value),
            Expr::Not(inner) => *inner,
            other => Expr::Not(Box::new(other)),
        }
    }

    fn at_least(count: usize, parts: Vec<Expr>) -> Expr {
        let certain = parts.iter().filter(|p| matches!(p, Expr::Const(true))).count();
        let open: Vec<Expr> = parts.into_iter().filter(|p| !matches!(p, Expr::Const(_))).collect();
        match count.saturating_sub(certain) {
            0 => Expr::Const(true),
            1 => Expr::or(open),
            needed if needed > open.len() => Expr::Const(false),
            needed if needed == open.len() => Expr::and(open),
            needed => Expr::AtLeast(needed, open),
        }
    }

    /// Tests in the expression, for the bound on a rule's size.
    pub fn size(&self) -> usize {
        match self {
            Expr::Const(_) => 0,
            Expr::Leaf(leaf) => leaf.tests.len(),
            Expr::Row(_) => 1,
            Expr::And(parts) | Expr::Or(parts) | Expr::AtLeast(_, parts) => parts.iter().map(Expr::size).sum(),
            Expr::Not(inner) => inner.size(),
        }
    }
}

/// Lowers one rule to one table.
pub(crate) struct Lowering<'a> {
    pub map: &'a dyn FieldMap,
    pub source: &'a LogSource,
    pub route: &'a Route,
    /// Fields that the table has no column for.
    pub unmapped: BTreeSet<String>,
}

impl Lowering<'_> {
    pub fn detection(&mut self, detection: &Detection) -> Expr {
        let searches: Vec<Expr> = detection.searches.iter().map(|(_, search)| self.search(search)).collect();
        Self::condition(&detection.condition, &searches)
    }

    /// Rows of the route's kinds only.
    pub fn actions(&self) -> Expr {
        if self.route.actions.is_empty() {
            return Expr::Const(true);
        }
        let text = |action: &str| Test::Text(Pattern::literal(action.as_bytes().to_vec()).folded());
        Expr::Leaf(Leaf {
            column: "ActionType".to_owned(),
            derive: Derive::Whole,
            tests: self.route.actions.iter().map(|action| text(action)).collect(),
        })
    }

    fn condition(condition: &Condition, searches: &[Expr]) -> Expr {
        let all = |parts: &[Condition]| parts.iter().map(|part| Self::condition(part, searches)).collect();
        match condition {
            Condition::Search(index) => searches.get(*index).cloned().unwrap_or(Expr::Const(false)),
            Condition::And(parts) => Expr::and(all(parts)),
            Condition::Or(parts) => Expr::or(all(parts)),
            Condition::Not(inner) => Expr::negate(Self::condition(inner, searches)),
            Condition::AtLeast(count, parts) => Expr::at_least(*count, all(parts)),
        }
    }

    fn search(&mut self, search: &Search) -> Expr {
        match search {
            Search::All(parts) => Expr::and(parts.iter().map(|part| self.search(part)).collect()),
            Search::Any(parts) => Expr::or(parts.iter().map(|part| self.search(part)).collect()),
            Search::Item(item) => self.item(item),
        }
    }

    pub fn item(&mut self, item: &Item) -> Expr {
        let targets = match &item.field {
            Some(field) => {
                let targets = self.map.field(self.source, self.route, field);
                if targets.is_empty() {
                    self.unmapped.insert(field.clone());
                }
                targets
            }
            None => self.map.keywords(self.source, self.route),
        };
        let whole = if item.all {
            Expr::and(item.tests.iter().map(|test| self.any(&targets, std::slice::from_ref(test))).collect())
        } else {
            self.any(&targets, &item.tests)
        };
        if item.negated { Expr::negate(whole) } else { whole }
    }

    /// Any of the tests on any of the targets; absence must hold on all of them.
    fn any(&mut self, targets: &[Target], tests: &[Test]) -> Expr {
        let mut flat = Vec::new();
        flatten(tests, &mut flat);
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        for test in flat {
            match test {
                Test::Null | Test::Exists(false) => {
                    parts.push(Expr::and(targets.iter().map(Self::absent).collect()));
                }
                Test::Exists(true) => {
                    parts.push(Expr::negate(Expr::and(targets.iter().map(Self::absent).collect())));
                }
                Test::Field { field, how, cased } => {
                    let right = self.map.field(self.source, self.route, field);
                    if right.is_empty() {
                        self.unmapped.insert(field.clone());
                    }
                    if !right.is_empty() && !targets.is_empty() {
                        let left = targets.to_vec();
                        parts.push(Expr::Row(RowTest { left, right, how: *how, cased: *cased }));
                    }
                }
                other => plain.push(other.clone()),
            }
        }
        if !plain.is_empty() {
            for target in targets {
                match target {
                    Target::Column(column, derive) => {
                        let leaf = Leaf { column: column.to_string(), derive: derive.clone(), tests: plain.clone() };
                        parts.push(Expr::Leaf(leaf));
                    }
                    Target::Constant(words) => {
                        let holds = words.iter().any(|word| {
                            let value = crate::value::Value::text(word);
                            plain.iter().any(|test| crate::test::holds(test, &value))
                        });
                        parts.push(Expr::Const(holds));
                    }
                }
            }
        }
        Expr::or(parts)
    }

    fn absent(target: &Target) -> Expr {
        match target {
            Target::Column(column, derive) => {
                Expr::Leaf(Leaf { column: column.to_string(), derive: derive.clone(), tests: vec![Test::Null] })
            }
            Target::Constant(words) => Expr::Const(words.is_empty()),
        }
    }
}

fn flatten<'t>(tests: &'t [Test], out: &mut Vec<&'t Test>) {
    for test in tests {
        match test {
            Test::AnyOf(forms) => flatten(forms, out),
            other => out.push(other),
        }
    }
}
