//! What a query has named with `let`: values, rows, functions. Later names hide nothing: a name can be given once in
//! its scope, and a function's own names hide those outside.

use crate::bind::Bound;
use crate::lower::relation::Relation;
use crate::syntax::ast::Lambda;
use std::rc::Rc;

/// Names in force, the newest first. A function keeps those of its definition; so none can call itself.
#[derive(Clone, Default)]
pub(crate) struct Environment(Option<Rc<Entry>>);

struct Entry {
    name: String,
    value: Value,
    /// Which body gave the name: the query's is 0.
    scope: usize,
    outer: Environment,
}

impl Drop for Entry {
    /// A long chain is taken apart in a loop, not by recursion.
    fn drop(&mut self) {
        let mut next = self.outer.0.take();
        while let Some(entry) = next {
            match Rc::try_unwrap(entry) {
                Ok(mut entry) => next = entry.outer.0.take(),
                Err(_) => break,
            }
        }
    }
}

/// What a name stands for.
#[derive(Clone)]
pub(crate) enum Value {
    /// A value, and how deep in pipelines it was made.
    Scalar(Box<Bound>, usize),
    /// Rows, and how many operators they are.
    Rows(Box<Relation>, usize),
    /// A function.
    Function(Rc<Function>),
    /// Something with errors, already reported.
    Broken,
}

/// A function of the query.
pub(crate) struct Function {
    pub lambda: Lambda,
    pub environment: Environment,
}

impl Environment {
    /// The environment with one more name.
    pub(crate) fn with(&self, name: impl Into<String>, value: Value, scope: usize) -> Self {
        Self(Some(Rc::new(Entry { name: name.into(), value, scope, outer: self.clone() })))
    }

    /// What a name stands for.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.entries().find(|e| e.name == name).map(|e| &e.value)
    }

    /// Whether a body has given this name already.
    pub(crate) fn declared(&self, name: &str, scope: usize) -> bool {
        self.entries().any(|e| e.name == name && e.scope == scope)
    }

    /// All names, the newest first.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries().map(|e| (e.name.as_str(), &e.value))
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::successors(self.0.as_deref(), |e| e.outer.0.as_deref())
    }
}
