//! From bound operators to the query engine's plan: relations, and the few functions that the operators need for
//! themselves (those that a query can call by name are in [`crate::functions`]).

pub(crate) mod bags;
pub(crate) mod capture;
pub(crate) mod evaluate;
pub(crate) mod expand;
pub(crate) mod fold;
pub(crate) mod graph;
pub(crate) mod graph_match;
pub(crate) mod graph_paths;
pub(crate) mod graph_values;
pub(crate) mod kernel;
pub(crate) mod pattern;
pub(crate) mod predicate;
pub(crate) mod relation;
pub(crate) mod sequences;
pub(crate) mod series;
pub(crate) mod source;
pub(crate) mod table_use;
