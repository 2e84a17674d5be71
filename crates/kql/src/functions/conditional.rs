//! Choices between values.

use super::convert::{cast, null};
use super::signature::{Function, Param, Ret, widest};
use super::{Context, Naming, Refusal};
use crate::Type;
use datafusion::functions::core::expr_fn::coalesce as first_of;
use datafusion::logical_expr::{Case, Expr, lit, not};

const fn numeric(kind: Type) -> bool {
    matches!(kind, Type::Int | Type::Long | Type::Real | Type::Decimal)
}

/// The type that several values share: dynamic gives way to a plain type, numbers widen, others meet as dynamic.
fn shared<'a>(types: impl Iterator<Item = &'a Type>) -> Type {
    let mut plain = types.copied().filter(|t| !matches!(t, Type::Dynamic | Type::Unknown));
    let Some(first) = plain.next() else { return Type::Dynamic };
    plain.fold(first, |a, b| match (a, b) {
        (a, b) if a == b => a,
        (a, b) if numeric(a) && numeric(b) => widest(a, b),
        _ => Type::Dynamic,
    })
}

/// The types of the values of `case`: every second one, and the last.
fn outcomes(types: &[Type]) -> impl Iterator<Item = &Type> {
    let last = types.len().saturating_sub(1);
    types.iter().enumerate().filter(move |(at, _)| at % 2 == 1 || *at == last).map(|(_, t)| t)
}

fn choose(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    if args.len().is_multiple_of(2) {
        return Err(Refusal::Value("a condition has no value, or the last value is missing".to_owned()));
    }
    let result = shared(outcomes(types));
    let last = args.len() - 1;
    let mut pairs = Vec::new();
    let mut condition: Option<Expr> = None;
    let mut otherwise = null(result);
    for (at, (expr, kind)) in args.into_iter().zip(types).enumerate() {
        if at == last {
            otherwise = filled(result, cast(*kind, result, expr));
        } else if at % 2 == 0 {
            Param::Bool.check(at, *kind)?;
            condition = Some(expr);
        } else if let Some(when) = condition.take() {
            pairs.push((Box::new(when), Box::new(filled(result, cast(*kind, result, expr)))));
        }
    }
    Ok(Expr::Case(Case::new(None, pairs, Some(Box::new(otherwise)))))
}

/// Text that is chosen is never null.
fn filled(kind: Type, expr: Expr) -> Expr {
    if kind == Type::Text && !matches!(expr, Expr::Literal(..)) { first_of(vec![expr, lit("")]) } else { expr }
}

fn coalesce(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let result = shared(types.iter());
    let values: Vec<Expr> = args.into_iter().zip(types).map(|(e, k)| cast(*k, result, e)).collect();
    if result != Type::Text {
        return Ok(first_of(values));
    }
    // The first text that is not empty.
    let filled = |e: Expr| {
        let empty = lit(datafusion::common::ScalarValue::Utf8(None));
        Expr::Case(Case::new(None, vec![(Box::new(e.clone().not_eq(lit(""))), Box::new(e))], Some(Box::new(empty))))
    };
    Ok(first_of(values.into_iter().map(filled).chain([lit("")]).collect()))
}

fn extreme(types: &[Type], args: Vec<Expr>, most: bool) -> Result<Expr, Refusal> {
    let result = shared(types.iter());
    let values: Vec<Expr> = args.into_iter().zip(types).map(|(e, k)| cast(*k, result, e)).collect();
    // Nulls do not count while another value is there.
    Ok(if most {
        datafusion::functions::core::expr_fn::greatest(values)
    } else {
        datafusion::functions::core::expr_fn::least(values)
    })
}

use Param::{Any, Bool, Orderable, TextConstant};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::native(
        "iff",
        Naming::None,
        &[Bool, Any, Any],
        Ret::By(|types| shared(outcomes(types))),
        "The first value where a condition holds, else the second.",
        "iff(1 < 2, 'a', 'b')",
        choose,
    )
    .alias(&["iif"]),
    Function::native(
        "case",
        Naming::None,
        &[Bool, Any, Any],
        Ret::By(|types| shared(outcomes(types))),
        "The value of the first condition that holds, else the last value.",
        "case(1 > 2, 'a', 2 > 3, 'b', 'c')",
        choose,
    )
    .variadic(),
    Function::native(
        "coalesce",
        Naming::None,
        &[Any, Any],
        Ret::By(|types| shared(types.iter())),
        "The first value that is there; of texts, the first that is not empty.",
        "coalesce(long(null), 5)",
        coalesce,
    )
    .variadic(),
    Function::native(
        "max_of",
        Naming::None,
        &[Orderable, Orderable],
        Ret::By(|types| shared(types.iter())),
        "The greatest of several values.",
        "max_of(1, 2)",
        |_, types, args| extreme(types, args, true),
    )
    .variadic(),
    Function::native(
        "min_of",
        Naming::None,
        &[Orderable, Orderable],
        Ret::By(|types| shared(types.iter())),
        "The least of several values.",
        "min_of(1, 2)",
        |_, types, args| extreme(types, args, false),
    )
    .variadic(),
    Function::native(
        "not",
        Naming::None,
        &[Bool],
        Ret::Is(Type::Bool),
        "Turns true into false and false into true.",
        "not(false)",
        |_, _, args| args.into_iter().next().map(not).ok_or(Refusal::Count(1, 1)),
    ),
    Function::native(
        "assert",
        Naming::None,
        &[Bool, TextConstant],
        Ret::Is(Type::Bool),
        "Stops the query with a message unless a constant condition holds.",
        "assert(1 < 2, 'one is less')",
        |_, _, args| match args.as_slice() {
            [Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(false)), _), message] => {
                Err(Refusal::Value(super::convert::literal_text(message).unwrap_or("an assertion failed").to_owned()))
            }
            [condition, _] => Ok(condition.clone()),
            _ => Err(Refusal::Count(2, 2)),
        },
    ),
];
