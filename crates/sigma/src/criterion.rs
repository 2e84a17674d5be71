//! A rule's condition opened up for engines that look at whole columns, such as a query engine: the same tests as the
//! matcher's, run by the same code, so that both give the same verdict on every row.
//!
//! [`crate::Engine::criterion`] gives it. What is plain enough to be said in a query engine's own words (whole values,
//! beginnings, endings and parts, with or without regard to case) can be read out as [`Literal`]s, so that storage can
//! skip what cannot match; [`ValueTest::evaluate`] decides in any case.

use crate::detection::Test;
use crate::lower::{Expr, Leaf, RowTest};
use crate::map::{Derive, Target};
use crate::matcher::{Matcher, MatcherBuilder, Workspace};
use crate::pattern::{Pattern, Shape};
use crate::scratch::RowReader;
use crate::value::{Reader, Value};
use arrow::array::{Array as _, ArrayRef, BooleanArray};
use std::fmt;
use std::sync::Arc;

/// A condition over tests of columns. It is never unknown: a test of a column without a value is true or false.
#[derive(Debug, Clone)]
pub enum Criterion {
    /// Holds on every row, or on none.
    Always(bool),
    /// A test of one column.
    Value(ValueTest),
    /// A comparison of columns of one row.
    Pair(PairTest),
    /// All hold.
    All(Vec<Criterion>),
    /// At least one holds.
    Any(Vec<Criterion>),
    /// Does not hold.
    Not(Box<Criterion>),
    /// At least so many hold.
    AtLeast(usize, Vec<Criterion>),
}

impl Criterion {
    pub(crate) fn of(expr: &Expr) -> Self {
        let all = |parts: &[Expr]| parts.iter().map(Self::of).collect();
        match expr {
            Expr::Const(value) => Self::Always(*value),
            Expr::Leaf(leaf) => Self::Value(ValueTest::new(leaf)),
            Expr::Row(test) => Self::Pair(PairTest::new(test)),
            Expr::And(parts) => Self::All(all(parts)),
            Expr::Or(parts) => Self::Any(all(parts)),
            Expr::Not(inner) => Self::Not(Box::new(Self::of(inner))),
            Expr::AtLeast(count, parts) => Self::AtLeast(*count, all(parts)),
        }
    }
}

/// Where in a value a literal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is the whole value.
    Whole,
    /// The value starts with it.
    Start,
    /// The value ends with it.
    End,
    /// The value contains it.
    Inside,
}

/// A plain text that a value is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Literal<'t> {
    /// The text; folded to lower case unless `cased`.
    pub text: &'t str,
    /// Where it stands.
    pub place: Place,
    /// Whether case matters.
    pub cased: bool,
}

/// Any of some tests holds on what is computed from one column.
#[derive(Clone)]
pub struct ValueTest {
    inner: Arc<Compiled>,
}

struct Compiled {
    leaf: Leaf,
    matcher: Matcher,
    /// Whether it holds where the column has no value, or nothing can be computed from it.
    on_nothing: bool,
    key: String,
}

impl fmt::Debug for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueTest").field(&self.inner.key).finish()
    }
}

impl ValueTest {
    fn new(leaf: &Leaf) -> Self {
        let mut builder = MatcherBuilder::default();
        let mut on_nothing = false;
        for test in &leaf.tests {
            match test {
                Test::Null => on_nothing = true,
                other => builder.add(other, 0),
            }
        }
        let mut texts: Vec<String> = leaf.tests.iter().map(crate::plan::key).collect();
        texts.sort();
        texts.dedup();
        let key = format!("{} {:?} {}", leaf.column, leaf.derive, texts.join("\u{1f}"));
        Self { inner: Arc::new(Compiled { leaf: leaf.clone(), matcher: builder.build(), on_nothing, key }) }
    }

    /// The column.
    pub fn column(&self) -> &str {
        &self.inner.leaf.column
    }

    /// Equal tests have equal keys.
    pub fn key(&self) -> &str {
        &self.inner.key
    }

    /// Whether it holds where the column has no value.
    pub fn holds_on_null(&self) -> bool {
        self.inner.on_nothing
    }

    /// The literals, where the test is nothing but "the column's value is any of these".
    pub fn literals(&self) -> Option<Vec<Literal<'_>>> {
        if self.inner.leaf.derive != Derive::Whole || self.inner.on_nothing {
            return None;
        }
        self.inner.leaf.tests.iter().map(exact).collect()
    }

    /// Texts of which one must stand somewhere in the column's value, in any case, for the test to hold; none where
    /// there is no such list.
    pub fn required(&self) -> Option<Vec<&str>> {
        if self.inner.on_nothing || !matches!(self.inner.leaf.derive, Derive::Whole) {
            return None;
        }
        self.inner.leaf.tests.iter().map(part).collect()
    }

    /// Whether it holds, row by row; never null.
    pub fn evaluate(&self, column: &ArrayRef) -> BooleanArray {
        let mut work = Workspace::default();
        let mut found = Vec::new();
        let mut holds = |value: Option<Value<'_>>| self.holds(value.as_ref(), &mut work, &mut found);
        match Reader::of(column) {
            // Each value once, however many rows have it.
            Reader::Dictionary { keys, values } => {
                let nothing = holds(None);
                let mut of_key: Vec<Option<bool>> = vec![None; values.len()];
                let mut verdict = |key: usize| match of_key.get(key) {
                    Some(Some(known)) => *known,
                    Some(None) => {
                        let value = values.is_valid(key).then(|| Value::text(values.value(key)));
                        let fresh = holds(value);
                        of_key[key] = Some(fresh);
                        fresh
                    }
                    None => nothing,
                };
                (0..keys.len())
                    .map(|row| Some(if keys.is_valid(row) { verdict(keys.value(row) as usize) } else { nothing }))
                    .collect()
            }
            reader => (0..column.len()).map(|row| Some(holds(reader.value(row)))).collect(),
        }
    }

    fn holds(&self, value: Option<&Value<'_>>, work: &mut Workspace, found: &mut Vec<u32>) -> bool {
        let Some(value) = value else { return self.inner.on_nothing };
        let derived = self.inner.leaf.derive.apply(value);
        if derived.is_empty() {
            return self.inner.on_nothing;
        }
        found.clear();
        derived.iter().any(|value| {
            self.inner.matcher.search(value, work, found);
            !found.is_empty()
        })
    }
}

fn exact(test: &Test) -> Option<Literal<'_>> {
    let Test::Text(pattern) = test else { return None };
    let (bytes, place) = match pattern.shape() {
        Shape::Exact(bytes) => (bytes, Place::Whole),
        Shape::Prefix(bytes) => (bytes, Place::Start),
        Shape::Suffix(bytes) => (bytes, Place::End),
        Shape::Contains(bytes) => (bytes, Place::Inside),
        Shape::Any | Shape::Wild => return None,
    };
    Some(Literal { text: std::str::from_utf8(bytes).ok()?, place, cased: pattern.cased })
}

fn part(test: &Test) -> Option<&str> {
    let longest = |pattern: &Pattern| pattern.longest_literal().is_some_and(|bytes| !bytes.is_empty());
    match test {
        Test::Text(pattern) if longest(pattern) => std::str::from_utf8(pattern.longest_literal()?).ok(),
        _ => None,
    }
}

/// A comparison of columns of one row.
#[derive(Clone)]
pub struct PairTest {
    test: Arc<RowTest>,
    columns: Arc<[String]>,
}

impl fmt::Debug for PairTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PairTest").field(&self.key()).finish()
    }
}

impl PairTest {
    fn new(test: &RowTest) -> Self {
        let mut columns: Vec<String> = Vec::new();
        for target in test.left.iter().chain(&test.right) {
            if let Target::Column(name, _) = target
                && !columns.iter().any(|known| known == name)
            {
                columns.push(name.to_string());
            }
        }
        Self { test: Arc::new(test.clone()), columns: columns.into() }
    }

    /// The columns that it reads, in the order that [`PairTest::evaluate`] wants them.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Equal tests have equal keys.
    pub fn key(&self) -> String {
        format!("{:?}", self.test)
    }

    /// Whether it holds, row by row; never null. Columns that are not given have no values.
    pub fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> BooleanArray {
        let reader = |name: &str| {
            let at = self.columns.iter().position(|column| column == name);
            at.and_then(|at| columns.get(at)).map_or(Reader::Absent, Reader::of)
        };
        let test = RowReader::open(&self.test, &reader);
        (0..rows).map(|row| Some(test.holds(row))).collect()
    }
}
