//! Names, types and diagnostics: the tree of a query becomes relations ([`Relation`]), each with a plan, the names of
//! its columns and their types.
//!
//! One pass does both, so that what the analyser says and what runs cannot differ: in an analysis the scans have a shape
//! and no rows, and that is all the difference. After an error the rest is still read: what is broken has the type
//! unknown, which fits everything, so that a mistake is reported once.
//!
//! Some parts must be run before the rest can be planned (`toscalar`, the columns of `pivot`). The binder is not
//! asynchronous: it notes what it needs, goes on with an unknown, and is run again when the answers are there.

pub(crate) mod calls;
pub(crate) mod elements;
pub(crate) mod environment;
pub(crate) mod names;
pub(crate) mod naming;
pub(crate) mod rows;
pub(crate) mod scalar;
pub(crate) mod statements;
pub(crate) mod words;

use crate::bind::environment::Environment;
use crate::lower::relation::{PART, ROW, Relation};
use crate::lower::source;
use crate::{Catalog, Context, Diagnostic, Render, Severity, Span, Type};
use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use std::collections::HashMap;

/// Operators that a query may have after its variables and functions are written out: more is no query that a person
/// wrote, and a short text of variables that double each other makes any number.
const OPERATORS_MAX: usize = 10_000;

/// Calls of a query's own functions within each other. They cannot recurse, so this is the depth of their definitions.
const CALLS_MAX: usize = 64;

/// Findings that are kept: a broken text of many lines needs no more.
const DIAGNOSTICS_MAX: usize = 200;

/// A scalar expression with its type and the name that it gives to a column.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    /// The expression.
    pub expr: Expr,
    /// Its type.
    pub kind: Type,
    /// The name of a column made of it.
    pub label: Label,
}

impl Bound {
    pub(crate) fn new(expr: Expr, kind: Type) -> Self {
        Self { expr, kind, label: Label::None }
    }

    /// What stands for an expression that has errors.
    pub(crate) fn unknown() -> Self {
        Self::new(crate::lower::fold::null(Type::Unknown), Type::Unknown)
    }

    pub(crate) fn labelled(mut self, label: Label) -> Self {
        self.label = label;
        self
    }
}

/// The name that an expression gives to a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Label {
    /// It has none: `Column1`.
    None,
    /// It is this column.
    Column(String),
    /// It is made of something with this name.
    Implied(String),
}

impl Label {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Column(name) | Self::Implied(name) => Some(name),
        }
    }
}

/// What has to be known before the query can be planned.
#[derive(Debug, Clone)]
pub(crate) enum Need {
    /// Rows of a plan, at most so many.
    Rows(LogicalPlan, usize),
    /// What stands at an address.
    External(String),
}

/// Which part of the query needs it: the calls of the query's own functions that lead there, and its place.
pub(crate) type NeedKey = (Vec<Span>, Span);

/// What came of a need.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Rows.
    Rows(Vec<RecordBatch>),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A column that has to be there before an expression can be computed.
#[derive(Debug)]
pub(crate) enum Step {
    /// A window function over the rows in their order.
    Window(String, Expr),
    /// Whether a value is among rows' first column.
    Member {
        /// The column to make.
        name: String,
        /// The value.
        value: Expr,
        /// One column of different values.
        among: Box<Relation>,
    },
}

/// The binder.
pub(crate) struct Binder<'a> {
    pub catalog: &'a dyn Catalog,
    pub context: &'a Context,
    /// Tables are read for real.
    pub real: bool,
    /// The text.
    pub text: &'a str,
    pub diagnostics: Vec<Diagnostic>,
    pub render: Option<Render>,
    pub answers: &'a HashMap<NeedKey, Answer>,
    pub needs: Vec<(NeedKey, Need)>,
    pub environment: Environment,
    /// Calls of functions of the query that are being bound.
    pub calls: Vec<Span>,
    /// A function's body is read for its errors only: nothing is run for it.
    pub rehearsal: usize,
    /// How deep in pipelines: a value made of one pipeline's columns means nothing in another.
    pub level: usize,
    /// Operators so far.
    pub operators: usize,
    /// Aggregates that the expression at hand may call are gathered here.
    pub aggregates: Option<Vec<(Expr, Type)>>,
    /// What the expressions at hand need first.
    pub steps: Vec<Step>,
    /// Spans inside a text of ours (a product function) are not the user's: findings are put here instead.
    pub inside: Option<Span>,
    /// What expressions at hand may name besides columns: steps of `scan`, parts of a graph's pattern.
    pub elements: Vec<elements::Element>,
    /// The pattern of a graph whose conditions and columns are read.
    pub pattern: Option<crate::operators::graph_match::Scope>,
    /// Tables of what was asked for beforehand: the plan at the end does not read them any more.
    pub read: Vec<crate::TableUse>,
    fresh: usize,
    /// The query asks about the order of rows somewhere.
    pub ordered: bool,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(
        text: &'a str,
        catalog: &'a dyn Catalog,
        context: &'a Context,
        real: bool,
        answers: &'a HashMap<NeedKey, Answer>,
    ) -> Self {
        // A cheap look at the words: too often true costs a sort of what is sorted already, and nothing else.
        let ordered = ["row_", "prev", "next", "scan"].iter().any(|w| text.contains(w));
        Self {
            catalog,
            context,
            real,
            text,
            diagnostics: vec![],
            render: None,
            answers,
            needs: vec![],
            environment: Environment::default(),
            calls: vec![],
            rehearsal: 0,
            level: 0,
            operators: 0,
            aggregates: None,
            steps: vec![],
            inside: None,
            elements: vec![],
            pattern: None,
            read: vec![],
            fresh: 0,
            ordered,
        }
    }

    /// A name for a hidden column that nothing else has.
    pub(crate) fn fresh(&mut self, what: &str) -> String {
        self.fresh += 1;
        format!("\u{1}{what}{}", self.fresh)
    }

    pub(crate) fn report(&mut self, mut diagnostic: Diagnostic) {
        if let Some(span) = self.inside {
            diagnostic.span = span;
        }
        let again = self
            .diagnostics
            .iter()
            .any(|d| d.code == diagnostic.code && d.span == diagnostic.span && d.message == diagnostic.message);
        if !again && self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(diagnostic);
        }
    }

    pub(crate) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.report(Diagnostic::error(code, span, message));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// What is not supported, by its name.
    pub(crate) fn refuse(&mut self, span: Span, what: impl std::fmt::Display) {
        self.report(Diagnostic::error("GQ100", span, format!("{what} is not supported")));
    }

    /// A relation that was planned; or, where that failed, no rows of the same columns. A failure without an error of
    /// the query's own is ours, and is said as such.
    pub(crate) fn settle(&mut self, span: Span, like: &Relation, planned: Result<Relation>) -> Relation {
        match planned {
            Ok(relation) => relation,
            Err(e) => {
                if !self.has_errors() {
                    let text = e.strip_backtrace().replace('\u{1}', "");
                    self.error("GQ900", span, format!("cannot plan this: {text}"));
                }
                let mut nothing = source::nothing(like.fields.clone());
                nothing.open = like.open;
                nothing.serialized = like.serialized;
                nothing
            }
        }
    }

    /// Counts an operator; says whether there is still room.
    pub(crate) fn count(&mut self, more: usize, span: Span) -> bool {
        self.operators = self.operators.saturating_add(more);
        if self.operators <= OPERATORS_MAX {
            return true;
        }
        self.error(
            "GQ110",
            span,
            format!("the query has more than {OPERATORS_MAX} operators once its variables are written out"),
        );
        false
    }

    /// Enters a call of a function of the query's; says whether that is still shallow enough.
    pub(crate) fn enter(&mut self, span: Span) -> bool {
        if self.calls.len() >= CALLS_MAX {
            self.error("GQ111", span, format!("functions call each other more than {CALLS_MAX} deep"));
            return false;
        }
        self.calls.push(span);
        true
    }

    /// Rows that have to be known now: `None` in an analysis, and until they are.
    pub(crate) fn ask_rows(&mut self, span: Span, plan: &LogicalPlan, rows_max: usize) -> Option<Vec<RecordBatch>> {
        if self.rehearsal == 0 {
            crate::lower::table_use::merge(&mut self.read, crate::lower::table_use::tables(plan));
        }
        match self.ask(span, || Need::Rows(plan.clone(), rows_max)) {
            Some(Answer::Rows(rows)) => Some(rows),
            _ => None,
        }
    }

    /// Bytes that have to be known now.
    pub(crate) fn ask_bytes(&mut self, span: Span, address: &str) -> Option<Vec<u8>> {
        match self.ask(span, || Need::External(address.to_owned())) {
            Some(Answer::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    fn ask(&mut self, span: Span, need: impl FnOnce() -> Need) -> Option<Answer> {
        if !self.real || self.rehearsal > 0 || self.has_errors() {
            return None;
        }
        let key = (self.calls.clone(), span);
        if let Some(answer) = self.answers.get(&key) {
            return Some(answer.clone());
        }
        if !self.needs.iter().any(|(k, _)| *k == key) {
            self.needs.push((key, need()));
        }
        None
    }

    /// Makes the columns that the expressions bound since need.
    pub(crate) fn prepare(&mut self, span: Span, relation: Relation) -> Relation {
        let steps = std::mem::take(&mut self.steps);
        if steps.is_empty() {
            return relation;
        }
        let like = relation.clone();
        let planned = steps.into_iter().try_fold(relation, |relation, step| match step {
            Step::Window(name, window) => windowed(relation, &name, window),
            Step::Member { name, value, among } => member(relation, name, value, *among),
        });
        self.settle(span, &like, planned)
    }
}

/// The relation with a window's value as a hidden column.
fn windowed(relation: Relation, name: &str, window: Expr) -> Result<Relation> {
    use datafusion::logical_expr::LogicalPlanBuilder;
    let mut relation = if relation.is_numbered() { relation } else { relation.numbered(vec![])? };
    let Expr::WindowFunction(mut call) = window else {
        return datafusion::common::plan_err!("`{name}` is no window");
    };
    call.params.order_by = vec![Relation::column(ROW).sort(true, false)];
    if relation.has_hidden(PART) {
        call.params.partition_by = vec![Relation::column(PART)];
    }
    let window = Expr::WindowFunction(call).alias(name);
    relation.plan = LogicalPlanBuilder::from(relation.plan).window(vec![window])?.build()?;
    Ok(relation)
}

/// The relation with a hidden column that is true where the value is among others, and null else.
fn member(relation: Relation, name: String, value: Expr, among: Relation) -> Result<Relation> {
    use datafusion::common::{Column, JoinType, NullEquality};
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};
    let mut relation = relation;
    let Some(first) = among.fields.first().cloned() else {
        return datafusion::common::plan_err!("a list of no columns");
    };
    let other = format!("{name}\u{1}");
    let right = LogicalPlanBuilder::from(among.plan)
        .project(vec![Relation::column(&first.name).alias(&other)])?
        .distinct()?
        .project(vec![Relation::column(&other), lit(true).alias(&name)])?
        .build()?;
    let key = format!("{name}\u{1}key");
    relation = relation.with_hidden(vec![(key.clone(), value)])?;
    relation.plan = LogicalPlanBuilder::from(relation.plan)
        .join_detailed(
            right,
            JoinType::Left,
            (vec![Column::new_unqualified(key)], vec![Column::new_unqualified(other)]),
            None,
            NullEquality::NullEqualsNull,
        )?
        .build()?;
    Ok(relation)
}
