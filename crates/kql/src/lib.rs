//! The hunting language: KQL text becomes a DataFusion logical plan, or numbered diagnostics with their place.
//!
//! ```text
//! text ─▶ syntax (tokens, tree, recovery) ─▶ bind (names, types, diagnostics) ─▶ lower (LogicalPlan, our functions)
//! ```
//!
//! What is not supported is refused with its name and place; nothing is guessed. No text can panic this crate.
//! This crate never reads a clock, a file or the network: `now` is given, rows come through [`Catalog`] and [`Host`].

mod bind;
mod catalog;
mod complete;
mod diagnostic;
pub mod functions;
mod lower;
mod operators;
mod query;
mod span;
pub mod syntax;
mod types;

pub use catalog::{Catalog, Column, Host, HostError, TableShape};
pub use complete::{Completion, CompletionKind, OPERATORS, complete};
pub use diagnostic::{Diagnostic, Severity};
pub use functions::Context;
pub use query::{Analysis, Failure, Planned, Render, TableUse, analyze, plan};
pub use span::Span;
pub use types::{DECIMAL, Type};
