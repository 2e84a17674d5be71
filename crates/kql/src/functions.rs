//! The scalar operators, functions and aggregates of the language: what they take, what they give, how they are named
//! in an answer, and the expression of the query engine that means the same.

use crate::Type;
use datafusion::logical_expr::Expr;

/// What a query fixes once for all its expressions.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// `now()`, microseconds since 1970 UTC.
    pub now: i64,
}

/// Why arguments do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The argument at `at` (from 0) has a type that cannot be used there.
    #[error("argument {} must be {expected}", at + 1)]
    Argument {
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
    /// A constant has a value that cannot be used: a bad regular expression, a negative step.
    #[error("{0}")]
    Value(String),
}

/// How a column made by a call is named when the query does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Like its first argument, when that has a name (`tostring(d.x)` is `d_x`).
    Argument,
    /// This prefix, and the argument's name (`strlen_s`, `sum_a`, `count_`).
    Prefix(&'static str),
    /// `Column1`, `Column2`, …
    None,
}

/// A scalar function.
pub struct Function {
    /// Its name; names are case-sensitive.
    pub name: &'static str,
    /// Fewest and most arguments.
    pub arity: (usize, usize),
    /// Type of the result from the types of the arguments.
    pub result: fn(&[Type]) -> Result<Type, Refusal>,
    /// How its column is named.
    pub naming: Naming,
    /// The expression that means the same. Arguments lie in memory as `Type::arrow` tells or as a plainer text array;
    /// a constant is an `Expr::Literal`.
    pub lower: fn(&Context, &[Type], Vec<Expr>) -> Result<Expr, Refusal>,
}

/// An aggregate function. The result is always one column; those with several (`arg_max`, `percentiles`) belong to the
/// binder, which asks here for their parts.
pub struct Aggregate {
    /// Its name.
    pub name: &'static str,
    /// Fewest and most arguments.
    pub arity: (usize, usize),
    /// Type of the result.
    pub result: fn(&[Type]) -> Result<Type, Refusal>,
    /// How its column is named.
    pub naming: Naming,
    /// The aggregate expression that means the same.
    pub lower: fn(&Context, &[Type], Vec<Expr>) -> Result<Expr, Refusal>,
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

/// A scalar function by its name.
#[must_use]
pub fn scalar(_name: &str) -> Option<&'static Function> {
    None
}

/// An aggregate function by its name.
#[must_use]
pub fn aggregate(_name: &str) -> Option<&'static Aggregate> {
    None
}
