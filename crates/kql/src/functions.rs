//! The scalar operators, functions, aggregates and window functions of the language: what they take, what they give,
//! how they are named in an answer, and the expression of the query engine that means the same.
//!
//! ```text
//! Function (one entry in one list) ── takes (types) ──▶ refusal, or the type of the result
//!                                  └─ lower ──────────▶ native expression where the meaning is the same (so that files
//!                                                       are pruned by it), else a call of a function named `kql_…`
//! ```
//!
//! Every function of ours is rebuilt from its name and its arguments alone ([`register`]), so a plan can be sent to
//! another machine. Text is never null in meaning: an absent text reads as empty, and what is computed here is never
//! null where its type is text. Conversions never fail; what does not convert is null.

mod accumulators;
mod aggregates;
mod conditional;
mod convert;
pub(crate) mod decompose;
mod dynamic;
mod eval;
#[cfg(test)]
mod examples;
mod groups;
mod json;
mod math;
mod network;
mod operators;
mod parse;
mod places;
mod reference;
mod refused;
mod search;
mod series;
mod signature;
mod statistics;
mod strings;
mod time;
mod travel;
mod windows;

pub use aggregates::{Aggregate, arg_extreme, percentile_parts};
pub use convert::{cast, text};
pub use operators::{
    between, binary, element, lower_between, lower_binary, lower_membership, lower_negate, membership, negate, property,
};
pub use places::{Place, Places, register_places};
pub use reference::reference_page;
pub use refused::refused;
pub use signature::{Function, Param, Ret};
pub use travel::{decode_aggregate, decode_scalar, encode_aggregate, encode_scalar};
pub use windows::Window;

use datafusion::execution::FunctionRegistry;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// What a query fixes once for all its expressions.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// `now()`, microseconds since 1970 UTC.
    pub now: i64,
    /// Knows where addresses are.
    pub places: Option<Arc<dyn Places>>,
}

impl Context {
    /// Of a query at a moment, microseconds since 1970 UTC, that knows nothing else.
    #[must_use]
    pub const fn at(now: i64) -> Self {
        Self { now, places: None }
    }
}

/// Why arguments do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The argument at `at` (from 0) has a type that cannot be used there.
    #[error("argument {} must be {expected}", at + 1)]
    Argument {
        /// The finding's number, as the vendor's analyser gives it.
        code: &'static str,
        /// Which, from 0.
        at: usize,
        /// What fits, in words.
        expected: &'static str,
    },
    /// The argument at `at` (from 0) must be a constant.
    #[error("argument {} must be a constant", at + 1)]
    NotConstant {
        /// Which, from 0.
        at: usize,
    },
    /// Too few or too many arguments.
    #[error("takes {} to {} arguments", .0, .1)]
    Count(usize, usize),
    /// An operator is not defined between these types.
    #[error("the operator is not defined for {0} and {1}")]
    Operator(&'static str, &'static str),
    /// A constant has a value that cannot be used: a bad regular expression, a negative step.
    #[error("{0}")]
    Value(String),
}

impl Refusal {
    /// The finding's number.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Argument { code, .. } => code,
            Self::NotConstant { .. } => "KS111",
            Self::Count(..) => "KS119",
            Self::Operator(..) => "KS106",
            Self::Value(_) => "GQ101",
        }
    }
}

/// How a column made by a call is named when the query does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Like its first argument, when that has a name (`tostring(d.x)` is `d_x`).
    Argument,
    /// Like its only argument, when it has one only and that has a name.
    OnlyArgument,
    /// This prefix, `_`, and the name of the first argument (`strlen_s`, `sum_a`); the argument has none: `count_`.
    Prefix(&'static str),
    /// This prefix, the name of the first argument, and the text of the last constant (`percentile_a_95`; a point
    /// becomes `_`).
    PrefixAndLast(&'static str),
    /// `Column1`, `Column2`, …
    None,
}

/// An operator between two scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the spelling says it; `Not` is a leading `!`, `Cs` a trailing `_cs`")]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    EqualTilde,
    NotTilde,
    Has,
    NotHas,
    HasCs,
    NotHasCs,
    HasPrefix,
    NotHasPrefix,
    HasPrefixCs,
    NotHasPrefixCs,
    HasSuffix,
    NotHasSuffix,
    HasSuffixCs,
    NotHasSuffixCs,
    Contains,
    NotContains,
    ContainsCs,
    NotContainsCs,
    StartsWith,
    NotStartsWith,
    StartsWithCs,
    NotStartsWithCs,
    EndsWith,
    NotEndsWith,
    EndsWithCs,
    NotEndsWithCs,
    MatchesRegex,
}

/// An operator between a scalar and a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the spelling says it")]
pub enum Membership {
    In,
    NotIn,
    InTilde,
    NotInTilde,
    HasAny,
    HasAll,
}

/// The scalar functions, a part of the list from each file.
pub(crate) fn functions() -> impl Iterator<Item = &'static Function> {
    [
        conditional::FUNCTIONS,
        convert::FUNCTIONS,
        decompose::FUNCTIONS,
        dynamic::FUNCTIONS,
        math::FUNCTIONS,
        network::FUNCTIONS,
        places::FUNCTIONS,
        parse::FUNCTIONS,
        series::FUNCTIONS,
        statistics::FUNCTIONS,
        strings::FUNCTIONS,
        time::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
}

/// A scalar function by its name, or by an old name of it. Names are case-sensitive.
#[must_use]
pub fn scalar(name: &str) -> Option<&'static Function> {
    static BY_NAME: LazyLock<BTreeMap<&'static str, &'static Function>> = LazyLock::new(|| {
        functions().flat_map(|f| f.aliases.iter().copied().chain([f.name]).map(move |name| (name, f))).collect()
    });
    BY_NAME.get(name).copied()
}

/// An aggregate function by its name, or by an old name of it.
#[must_use]
pub fn aggregate(name: &str) -> Option<&'static Aggregate> {
    aggregates::AGGREGATES.iter().find(|a| a.name == name || a.aliases.contains(&name))
}

/// A window function by its name. It needs a serialized input, which is the binder's to see to.
#[must_use]
pub fn window(name: &str) -> Option<&'static Window> {
    windows::WINDOWS.iter().find(|w| w.name == name || w.aliases.contains(&name))
}

/// What kind of function it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One value from one row.
    Scalar,
    /// One value from many rows.
    Aggregate,
    /// One value from one row and its neighbours.
    Window,
}

/// A function as completion, the console and the documentation show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// Old names that mean the same.
    pub aliases: &'static [&'static str],
    /// What kind of function.
    pub kind: Kind,
    /// `strlen(string) → long`.
    pub signature: String,
    /// One sentence.
    pub doc: &'static str,
    /// A call.
    pub example: &'static str,
}

/// All functions, sorted by name.
#[must_use]
pub fn capabilities() -> Vec<Capability> {
    let mut all: Vec<Capability> = functions()
        .map(|f| Capability {
            name: f.name,
            aliases: f.aliases,
            kind: Kind::Scalar,
            signature: f.signature(),
            doc: f.doc,
            example: f.example,
        })
        .chain(aggregates::AGGREGATES.iter().map(|a| Capability {
            name: a.name,
            aliases: a.aliases,
            kind: Kind::Aggregate,
            signature: signature::words(a.name, a.params, a.optional, a.variadic, "", a.result_words()),
            doc: a.doc,
            example: a.example,
        }))
        .chain(windows::WINDOWS.iter().map(|w| Capability {
            name: w.name,
            aliases: w.aliases,
            kind: Kind::Window,
            signature: signature::words(w.name, w.params, w.optional, false, "", w.ret.words()),
            doc: w.doc,
            example: w.example,
        }))
        .collect();
    all.sort_by_key(|c| (c.name, c.kind));
    all
}

/// Makes our functions known by name, so that a plan that was sent as bytes can be rebuilt.
pub fn register(registry: &mut dyn FunctionRegistry) -> datafusion::common::Result<()> {
    for udf in eval::all() {
        registry.register_udf(Arc::new(udf))?;
    }
    for udaf in accumulators::all() {
        registry.register_udaf(Arc::new(udaf))?;
    }
    for udwf in windows::all() {
        registry.register_udwf(Arc::new(udwf))?;
    }
    Ok(())
}
