//! How columns of an answer are named: what is written, else the name of what the value is made of, else `Column1`;
//! what clashes gets a number.

use crate::bind::{Binder, Bound, Label};
use crate::lower::relation::{Field, Names};
use crate::syntax::ast;
use datafusion::logical_expr::Expr;
use std::collections::HashSet;

/// Columns of an answer while they are named.
#[derive(Default)]
pub(crate) struct Columns {
    /// Columns, in order.
    pub items: Vec<(Field, Expr)>,
    /// Names that are taken.
    pub names: Names,
    /// Names that the query wrote.
    written: HashSet<String>,
    /// Columns that were taken as they are.
    taken: HashSet<String>,
    unnamed: u64,
}

impl Columns {
    /// Columns beside others whose names are taken already.
    pub(crate) fn beside(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// Adds a column under a written name. `false` if the query wrote that name before.
    pub(crate) fn write(&mut self, name: &str, bound: Bound) -> bool {
        if self.written.contains(name) || self.taken.contains(name) {
            return false;
        }
        self.written.insert(name.to_owned());
        let name = self.names.take(name);
        self.items.push((Field::new(name, bound.kind), bound.expr));
        true
    }

    /// Adds a column under the name that its value implies. `false` if it is a column that was taken before.
    pub(crate) fn imply(&mut self, bound: Bound) -> bool {
        let name = match &bound.label {
            Label::Column(name) => {
                if !self.taken.insert(name.clone()) {
                    return false;
                }
                self.names.take(name)
            }
            Label::Implied(name) => self.names.take(name),
            Label::None => self.number(),
        };
        self.items.push((Field::new(name, bound.kind), bound.expr));
        true
    }

    /// The next of `Column1`, `Column2`, … that is free.
    pub(crate) fn number(&mut self) -> String {
        loop {
            self.unnamed += 1;
            let name = format!("Column{}", self.unnamed);
            if !self.names.has(&name) {
                return self.names.take(&name);
            }
        }
    }
}

/// A list's element apart: its written names (none if it has none) and its value.
pub(crate) fn apart(expr: &ast::Expr) -> (&[ast::Name], bool, &ast::Expr) {
    match &expr.kind {
        ast::ExprKind::Named { names, compound, value } => (names, *compound, value),
        _ => (&[], false, expr),
    }
}

impl Binder<'_> {
    /// Says that a column's name is written twice.
    pub(crate) fn twice(&mut self, span: crate::Span, name: &str) {
        self.error("KS171", span, format!("a column with the name `{name}` is already there"));
    }
}
