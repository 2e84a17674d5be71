//! Operators between scalars: which types they take, and the expression that means the same.
//!
//! Where the query engine has an operator with exactly the meaning, it is used, so that files are pruned by it: a
//! comparison of a column with a constant stays `column = constant`. What the language adds is said beside it:
//! `==` is never null while one side has a value, so `column = constant` is joined with `column IS NOT NULL`, which
//! makes it false instead of null, also under `not`.

use super::convert::{cast, is_null, literal_text, null, text};
use super::eval::{Internal, Out, call, known};
use super::json::Json;
use super::signature::{Ret, foldable, widest};
use super::{Binary, Context, Membership, Refusal, eval};
use crate::Type;
use datafusion::common::ScalarValue;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, lit, not, try_cast, when};

const fn numeric(kind: Type) -> bool {
    matches!(kind, Type::Int | Type::Long | Type::Real | Type::Decimal)
}

fn undefined(left: Type, right: Type) -> Refusal {
    Refusal::Operator(left.name(), right.name())
}

/// The type that an operator gives between two types.
pub fn binary(op: Binary, [left, right]: [Type; 2]) -> Result<Type, Refusal> {
    use Binary as B;
    use Type as T;
    let refuse = Err(undefined(left, right));
    let unknown = left == T::Unknown || right == T::Unknown;
    match op {
        B::Equal | B::NotEqual => Ok(T::Bool),
        B::And | B::Or => {
            let fits = |t| matches!(t, T::Bool | T::Dynamic | T::Unknown);
            if fits(left) && fits(right) { Ok(T::Bool) } else { refuse }
        }
        B::Less | B::LessEqual | B::Greater | B::GreaterEqual => {
            let counted = |t| numeric(t) || t == T::Bool;
            let fits = (counted(left) && counted(right))
                || (left == right && matches!(left, T::Datetime | T::Timespan | T::Dynamic))
                || (left == T::Dynamic && numeric(right))
                || (right == T::Dynamic && numeric(left))
                || unknown;
            if fits { Ok(T::Bool) } else { refuse }
        }
        B::Add | B::Subtract | B::Multiply | B::Divide | B::Modulo => {
            if unknown {
                return Ok(T::Unknown);
            }
            arithmetic(op, left, right).ok_or(undefined(left, right))
        }
        _ => {
            let fits = |t| matches!(t, T::Text | T::Dynamic | T::Unknown);
            if fits(left) && fits(right) { Ok(T::Bool) } else { refuse }
        }
    }
}

fn arithmetic(op: Binary, left: Type, right: Type) -> Option<Type> {
    use Binary as B;
    use Type as T;
    if numeric(left) && numeric(right) {
        return Some(widest(widest(left, right), T::Long));
    }
    if left == T::Dynamic && right == T::Dynamic {
        return Some(T::Dynamic);
    }
    if (left == T::Dynamic && numeric(right)) || (right == T::Dynamic && numeric(left)) {
        return Some(widest(widest(left, right), T::Long));
    }
    match (op, left, right) {
        (B::Add, T::Datetime, T::Timespan | T::Datetime | T::Dynamic) => Some(T::Datetime),
        (B::Add, T::Timespan | T::Dynamic, T::Datetime) => Some(T::Datetime),
        (B::Subtract, T::Datetime, T::Timespan) => Some(T::Datetime),
        (B::Subtract, T::Datetime | T::Dynamic, T::Datetime) | (B::Subtract, T::Datetime, T::Dynamic) => {
            Some(T::Timespan)
        }
        (B::Subtract, T::Timespan, T::Datetime) => Some(T::Datetime),
        (B::Add | B::Subtract, T::Timespan, T::Timespan | T::Dynamic) => Some(T::Timespan),
        (B::Add | B::Subtract, T::Dynamic, T::Timespan) => Some(T::Timespan),
        (B::Multiply, T::Timespan, T::Timespan) => Some(T::Timespan),
        (B::Multiply, T::Timespan, n) | (B::Multiply, n, T::Timespan) if numeric(n) => Some(T::Timespan),
        (B::Multiply, T::Datetime, n) | (B::Multiply, n, T::Datetime) if numeric(n) => Some(T::Datetime),
        (B::Divide | B::Modulo, T::Datetime, n) if numeric(n) => Some(T::Datetime),
        (B::Divide | B::Modulo, T::Timespan, n) if numeric(n) => Some(T::Timespan),
        (B::Divide, T::Datetime, T::Datetime | T::Timespan) | (B::Divide, T::Timespan, T::Timespan) => Some(T::Real),
        (B::Modulo, T::Datetime, T::Datetime | T::Timespan) | (B::Modulo, T::Timespan, T::Timespan) => {
            Some(T::Timespan)
        }
        _ => None,
    }
}

/// The type of a value with its sign turned.
pub fn negate(kind: Type) -> Result<Type, Refusal> {
    match kind {
        Type::Int => Ok(Type::Long),
        Type::Bool | Type::Text | Type::Guid => Err(undefined(kind, kind)),
        _ => Ok(kind),
    }
}

/// A value with its sign turned.
pub fn lower_negate(kind: Type, expr: Expr) -> Result<Expr, Refusal> {
    let result = negate(kind)?;
    Ok(match kind {
        Type::Int | Type::Long | Type::Real | Type::Decimal => {
            if let Expr::Literal(ScalarValue::Int64(Some(value)), _) = expr {
                return Ok(lit(value.wrapping_neg()));
            }
            Expr::Negative(Box::new(cast(kind, result, expr)))
        }
        Type::Timespan => known("kql_timespan_times", vec![expr, lit(-1i64)]),
        Type::Dynamic => {
            cast(Type::Real, Type::Dynamic, Expr::Negative(Box::new(cast(Type::Dynamic, Type::Real, expr))))
        }
        Type::Datetime => return Err(Refusal::Value("a datetime has no negative".to_owned())),
        _ => expr,
    })
}

/// The expression that means the operator.
pub fn lower_binary(op: Binary, context: &Context, types: [Type; 2], args: [Expr; 2]) -> Result<Expr, Refusal> {
    use Binary as B;
    let result = binary(op, types)?;
    let _ = context;
    let [left, right] = args;
    let [lt, rt] = types;
    Ok(match op {
        B::Add | B::Subtract | B::Multiply | B::Divide | B::Modulo => {
            return lower_arithmetic(op, result, types, [left, right]);
        }
        B::And => cast(lt, Type::Bool, left).and(cast(rt, Type::Bool, right)),
        B::Or => cast(lt, Type::Bool, left).or(cast(rt, Type::Bool, right)),
        B::Equal => equal(types, left, right),
        B::NotEqual => unequal(types, left, right),
        B::Less | B::LessEqual | B::Greater | B::GreaterEqual => {
            let (_, left, right) = common(types, left, right);
            match op {
                B::Less => left.lt(right),
                B::LessEqual => left.lt_eq(right),
                B::Greater => left.gt(right),
                _ => left.gt_eq(right),
            }
        }
        _ => return search(op, text(lt, left), text(rt, right)),
    })
}

/// The function that searches, and whether the answer is turned round.
fn search(op: Binary, subject: Expr, needle: Expr) -> Result<Expr, Refusal> {
    use Binary as B;
    let (name, turned) = match op {
        B::EqualTilde => ("kql_equals_tilde", false),
        B::NotTilde => ("kql_equals_tilde", true),
        B::Has => ("kql_has", false),
        B::NotHas => ("kql_has", true),
        B::HasCs => ("kql_has_cs", false),
        B::NotHasCs => ("kql_has_cs", true),
        B::HasPrefix => ("kql_hasprefix", false),
        B::NotHasPrefix => ("kql_hasprefix", true),
        B::HasPrefixCs => ("kql_hasprefix_cs", false),
        B::NotHasPrefixCs => ("kql_hasprefix_cs", true),
        B::HasSuffix => ("kql_hassuffix", false),
        B::NotHasSuffix => ("kql_hassuffix", true),
        B::HasSuffixCs => ("kql_hassuffix_cs", false),
        B::NotHasSuffixCs => ("kql_hassuffix_cs", true),
        B::Contains => ("kql_contains", false),
        B::NotContains => ("kql_contains", true),
        B::ContainsCs => ("kql_contains_cs", false),
        B::NotContainsCs => ("kql_contains_cs", true),
        B::StartsWith => ("kql_startswith", false),
        B::NotStartsWith => ("kql_startswith", true),
        B::StartsWithCs => ("kql_startswith_cs", false),
        B::NotStartsWithCs => ("kql_startswith_cs", true),
        B::EndsWith => ("kql_endswith", false),
        B::NotEndsWith => ("kql_endswith", true),
        B::EndsWithCs => ("kql_endswith_cs", false),
        B::NotEndsWithCs => ("kql_endswith_cs", true),
        _ => ("kql_matches_regex", false),
    };
    if name == "kql_matches_regex"
        && let Some(pattern) = literal_text(&needle)
    {
        eval::check_regex(pattern)?;
    }
    // A needle without letters is the same in either case: the comparison that files are pruned by.
    if name == "kql_equals_tilde" && literal_text(&needle).is_some_and(caseless) {
        let types = [Type::Text, Type::Text];
        return Ok(if turned { unequal(types, subject, needle) } else { equal(types, subject, needle) });
    }
    let found = call(name, vec![subject, needle])?;
    Ok(if turned { not(found) } else { found })
}

fn caseless(text: &str) -> bool {
    text.is_ascii() && !text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Brings two operands to one type in which they can be compared.
fn common([lt, rt]: [Type; 2], left: Expr, right: Expr) -> (Type, Expr, Expr) {
    use Type as T;
    if lt == rt {
        if lt == T::Dynamic {
            return (T::Text, text(lt, left), text(rt, right));
        }
        return (lt, left, right);
    }
    if numeric(lt) && numeric(rt) {
        // A constant that fits the column's type is written in it, so that the column itself is compared.
        if let (T::Int, Some(narrow)) = (lt, narrow(&right)) {
            return (T::Int, left, narrow);
        }
        if let (T::Int, Some(narrow)) = (rt, narrow(&left)) {
            return (T::Int, narrow, right);
        }
        let kind = widest(lt, rt);
        return (kind, cast(lt, kind, left), cast(rt, kind, right));
    }
    let kind = match (lt, rt) {
        (T::Unknown, other) | (other, T::Unknown) => other,
        (T::Bool, n) | (n, T::Bool) if numeric(n) => widest(n, T::Long),
        (T::Dynamic, other) | (other, T::Dynamic) => other,
        (T::Text, T::Datetime) | (T::Datetime, T::Text) => T::Datetime,
        (T::Text, T::Timespan) | (T::Timespan, T::Text) => T::Timespan,
        (T::Text, T::Guid) | (T::Guid, T::Text) => T::Guid,
        _ => T::Text,
    };
    (kind, cast(lt, kind, left), cast(rt, kind, right))
}

fn narrow(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => i32::try_from(*value).ok().map(lit),
        _ => None,
    }
}

/// Whether a text expression cannot be null: a constant, or made by a function of ours.
fn whole(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => !value.is_null(),
        Expr::ScalarFunction(f) => f.func.name().starts_with("kql_") && !f.func.name().starts_with("kql_path"),
        _ => false,
    }
}

fn filled(expr: Expr) -> Expr {
    if whole(&expr) { expr } else { coalesce(vec![expr, lit("")]) }
}

/// `==`: total unless both sides are null. Text is never null: absent is empty.
fn equal(types: [Type; 2], left: Expr, right: Expr) -> Expr {
    let (kind, left, right) = common(types, left, right);
    if kind == Type::Text {
        return match (literal_text(&left), literal_text(&right)) {
            (None, Some("")) => left.clone().is_null().or(left.eq(right)),
            (Some(""), None) => right.clone().is_null().or(right.eq(left)),
            (None, Some(_)) => guarded(left, right),
            (Some(_), None) => guarded(right, left),
            _ => filled(left).eq(filled(right)),
        };
    }
    match (&left, &right) {
        (_, r) if is_null(r) => only_if_null(left, false),
        (l, _) if is_null(l) => only_if_null(right, false),
        (_, Expr::Literal(..)) => left.clone().eq(right).and(left.is_not_null()),
        (Expr::Literal(..), _) => right.clone().eq(left).and(right.is_not_null()),
        _ => total(&left, &right, left.clone().eq(right.clone()), false),
    }
}

/// `column = constant`, false where the column is null.
fn guarded(column: Expr, constant: Expr) -> Expr {
    if whole(&column) {
        return column.eq(constant);
    }
    column.clone().eq(constant).and(column.is_not_null())
}

/// `!=`: the opposite of `==`, null again only if both sides are null.
fn unequal(types: [Type; 2], left: Expr, right: Expr) -> Expr {
    let (kind, left, right) = common(types, left, right);
    if kind == Type::Text {
        return match (literal_text(&left), literal_text(&right)) {
            (None, Some("")) => left.clone().is_not_null().and(left.not_eq(right)),
            (Some(""), None) => right.clone().is_not_null().and(right.not_eq(left)),
            (None, Some(_)) if !whole(&left) => left.clone().is_null().or(left.not_eq(right)),
            (Some(_), None) if !whole(&right) => right.clone().is_null().or(right.not_eq(left)),
            _ => filled(left).not_eq(filled(right)),
        };
    }
    match (&left, &right) {
        (_, r) if is_null(r) => only_if_null(left, true),
        (l, _) if is_null(l) => only_if_null(right, true),
        (_, Expr::Literal(..)) => left.clone().is_null().or(left.not_eq(right)),
        (Expr::Literal(..), _) => right.clone().is_null().or(right.not_eq(left)),
        _ => total(&left, &right, left.clone().not_eq(right.clone()), true),
    }
}

/// The comparison with a null constant: null where the other side is null too.
fn only_if_null(expr: Expr, otherwise: bool) -> Expr {
    let value = Expr::Literal(ScalarValue::Boolean(None), None);
    if is_null(&expr) {
        return value;
    }
    when(expr.is_null(), value).otherwise(lit(otherwise)).unwrap_or(lit(otherwise))
}

fn total(left: &Expr, right: &Expr, compared: Expr, one_null: bool) -> Expr {
    let both = left.clone().is_null().and(right.clone().is_null());
    let otherwise = coalesce(vec![compared, lit(one_null)]);
    when(both, Expr::Literal(ScalarValue::Boolean(None), None)).otherwise(otherwise.clone()).unwrap_or(otherwise)
}

fn lower_arithmetic(op: Binary, result: Type, types: [Type; 2], args: [Expr; 2]) -> Result<Expr, Refusal> {
    use Binary as B;
    use Type as T;
    let [lt, rt] = types;
    let [left, right] = args;
    if lt == T::Dynamic || rt == T::Dynamic {
        // A dynamic operand is read as what the other side needs; between two, as real numbers.
        let stand_in = match (lt, rt) {
            (T::Dynamic, T::Dynamic) => T::Real,
            (T::Dynamic, other) | (other, _) if numeric(other) => widest(other, T::Long),
            (T::Dynamic, T::Datetime) if op == B::Add => T::Timespan,
            (T::Datetime, T::Dynamic) if op == B::Add => T::Timespan,
            (T::Dynamic, other) | (other, _) => other,
        };
        let as_is = |t| if t == T::Dynamic { stand_in } else { t };
        let kinds = [as_is(lt), as_is(rt)];
        let inner = binary(op, kinds)?;
        let lowered = lower_arithmetic(op, inner, kinds, [cast(lt, kinds[0], left), cast(rt, kinds[1], right)])?;
        return Ok(cast(inner, result, lowered));
    }
    if numeric(lt) && numeric(rt) {
        return Ok(lower_numbers(op, result, cast(lt, result, left), cast(rt, result, right)));
    }
    let pair = vec![left.clone(), right.clone()];
    Ok(match (op, lt, rt) {
        (B::Add, T::Datetime | T::Timespan, _) if result == T::Datetime => known("kql_datetime_sum", pair),
        (B::Add, _, _) => known("kql_timespan_sum", pair),
        (B::Subtract, T::Datetime, T::Timespan) => known("kql_datetime_less", pair),
        (B::Subtract, _, _) if result == T::Timespan => known("kql_timespan_less", pair),
        (B::Multiply, T::Timespan, n) if numeric(n) => known("kql_timespan_times", pair),
        (B::Multiply, n, T::Timespan) if numeric(n) => known("kql_timespan_times", vec![right, left]),
        (B::Divide, T::Timespan, n) if numeric(n) => known("kql_timespan_over", pair),
        (B::Divide, T::Timespan, T::Timespan) => known("kql_timespan_ratio", pair),
        (B::Modulo, T::Timespan | T::Datetime, T::Timespan) => known("kql_timespan_rest", pair),
        _ => {
            return Err(Refusal::Value(format!(
                "this operator between {} and {} has no meaning here",
                lt.name(),
                rt.name()
            )));
        }
    })
}

fn lower_numbers(op: Binary, kind: Type, left: Expr, right: Expr) -> Expr {
    use Binary as B;
    match (op, kind) {
        (B::Divide, Type::Long) => known("kql_divide", vec![left, right]),
        (B::Modulo, Type::Long) => known("kql_modulo", vec![left, right]),
        (B::Modulo, Type::Real) => known("kql_modulo_real", vec![left, right]),
        (B::Add, Type::Decimal) => try_cast(left + right, kind.arrow()),
        (B::Subtract, Type::Decimal) => try_cast(left - right, kind.arrow()),
        // Their digits would not fit 38: computed as reals.
        (B::Multiply | B::Divide | B::Modulo, Type::Decimal) => {
            let real = |e| cast(Type::Decimal, Type::Real, e);
            cast(Type::Real, Type::Decimal, lower_numbers(op, Type::Real, real(left), real(right)))
        }
        (B::Add, _) => left + right,
        (B::Subtract, _) => left - right,
        (B::Multiply, _) => left * right,
        _ => left / right,
    }
}

/// The type of a membership operator: which types its left side and its list may have.
pub fn membership(op: Membership, left: Type, list: &[Type]) -> Result<Type, Refusal> {
    if matches!(op, Membership::In | Membership::NotIn) {
        return Ok(Type::Bool);
    }
    for (at, kind) in std::iter::once(&left).chain(list).enumerate() {
        if !matches!(kind, Type::Text | Type::Dynamic | Type::Unknown) {
            return Err(Refusal::Argument { code: "KS107", at, expected: "a string" });
        }
    }
    Ok(Type::Bool)
}

/// The expression of a membership operator. A dynamic value in the list stands for the elements of its array.
pub fn lower_membership(
    op: Membership,
    context: &Context,
    left: Type,
    expr: Expr,
    types: &[Type],
    list: Vec<Expr>,
) -> Result<Expr, Refusal> {
    membership(op, left, types)?;
    let _ = context;
    let turned = matches!(op, Membership::NotIn | Membership::NotInTilde);
    let mut items: Vec<(Type, Expr)> = Vec::with_capacity(list.len());
    let mut open = false;
    for (kind, item) in types.iter().zip(list) {
        match (kind, literal_text(&item)) {
            (Type::Dynamic, Some(array)) => match Json::parse(array) {
                Json::Array(elements) => items.extend(elements.into_iter().map(literal)),
                other => items.push(literal(other)),
            },
            _ => {
                open |= *kind == Type::Dynamic || !foldable(&item);
                items.push((*kind, item));
            }
        }
    }
    let found = match op {
        Membership::In | Membership::NotIn if !open => return Ok(in_list(left, expr, items, turned)),
        Membership::InTilde | Membership::NotInTilde
            if !open && items.iter().all(|(_, e)| literal_text(e).is_some_and(caseless)) =>
        {
            return Ok(in_list(Type::Text, text(left, expr), items, turned));
        }
        Membership::In | Membership::NotIn => "kql_in",
        Membership::InTilde | Membership::NotInTilde => "kql_in_tilde",
        Membership::HasAny => "kql_has_any",
        Membership::HasAll => "kql_has_all",
    };
    let array = array(items);
    let found = known(found, vec![text(left, expr), array]);
    Ok(if turned { not(found) } else { found })
}

fn literal(value: Json) -> (Type, Expr) {
    match value {
        Json::Null => (Type::Text, lit("")),
        Json::Bool(v) => (Type::Bool, lit(v)),
        Json::Long(v) => (Type::Long, lit(v)),
        Json::Real(v) => (Type::Real, lit(v)),
        other => (Type::Text, lit(other.text())),
    }
}

/// One dynamic array of all items: a constant where all are.
fn array(items: Vec<(Type, Expr)>) -> Expr {
    if let [(Type::Dynamic, _)] = items.as_slice() {
        // Not a constant: a column, or a value that is known when the query runs.
        return items.into_iter().map(|(_, e)| e).next().unwrap_or(lit("[]"));
    }
    let constant: Option<Vec<Json>> = items
        .iter()
        .map(|(kind, e)| match (kind, e) {
            (Type::Dynamic, _) => None,
            (_, Expr::Literal(ScalarValue::Int64(Some(v)), _)) => Some(Json::Long(*v)),
            (_, e) => literal_text(e).map(|t| Json::Text(t.to_owned())),
        })
        .collect();
    if let Some(values) = constant {
        return lit(Json::Array(values).json());
    }
    let parts = items
        .into_iter()
        .map(
            |(kind, e)| {
                if kind == Type::Dynamic { e } else { known("kql_pack_array", vec![cast(kind, Type::Dynamic, e)]) }
            },
        )
        .collect();
    known("kql_members", parts)
}

fn in_list(left: Type, expr: Expr, items: Vec<(Type, Expr)>, turned: bool) -> Expr {
    use Type as T;
    let all = |fits: fn(Type) -> bool| items.iter().all(|(kind, _)| fits(*kind));
    let kind = match left {
        T::Int | T::Long if all(|t| matches!(t, T::Int | T::Long)) => T::Long,
        n if numeric(n) && all(numeric) => T::Real,
        T::Datetime | T::Timespan | T::Bool if items.iter().all(|(kind, _)| *kind == left || *kind == T::Text) => left,
        T::Guid => T::Guid,
        _ => T::Text,
    };
    let narrow_all = left == T::Int && items.iter().all(|(_, e)| narrow(e).is_some());
    if kind == T::Text && left == T::Text {
        let empty = items.iter().any(|(k, e)| *k == T::Text && literal_text(e) == Some(""));
        let column = whole(&expr);
        let list: Vec<Expr> = items.into_iter().map(|(k, e)| text(k, e)).collect();
        let found = expr.clone().in_list(list, turned);
        return match (column, turned, empty) {
            (true, _, _) => found,
            (false, false, true) | (false, true, false) => expr.is_null().or(found),
            (false, false, false) | (false, true, true) => expr.is_not_null().and(found),
        };
    }
    let (subject, list): (Expr, Vec<Expr>) = if narrow_all {
        (expr, items.iter().filter_map(|(_, e)| narrow(e)).collect())
    } else {
        (cast(left, kind, expr), items.into_iter().map(|(k, e)| cast(k, kind, e)).collect())
    };
    let found = subject.clone().in_list(list, turned);
    if turned { subject.is_null().or(found) } else { found.and(subject.is_not_null()) }
}

/// The type of `between`: which types its three operands may have.
pub fn between(types: [Type; 3]) -> Result<Type, Refusal> {
    use Type as T;
    let [subject, low, high] = types;
    if matches!(subject, T::Bool | T::Text | T::Guid) {
        return Err(undefined(subject, low));
    }
    let fits = |bound: Type, is_high: bool| match subject {
        T::Datetime => bound == T::Datetime || (is_high && bound == T::Timespan),
        T::Timespan => bound == T::Timespan,
        T::Dynamic => !matches!(bound, T::Text | T::Guid | T::Bool),
        _ => numeric(bound) || bound == T::Dynamic,
    };
    for (at, kind, is_high) in [(1, low, false), (2, high, true)] {
        if subject != T::Unknown && kind != T::Unknown && !fits(kind, is_high) {
            return Err(Refusal::Argument { code: "KS141", at, expected: "of the same type as what is compared" });
        }
    }
    Ok(T::Bool)
}

/// The expression of `between`, or of `!between`. Both ends are included.
pub fn lower_between(turned: bool, context: &Context, types: [Type; 3], args: [Expr; 3]) -> Result<Expr, Refusal> {
    between(types)?;
    let [subject, low, high] = args;
    let [kind, low_kind, high_kind] = types;
    let (high_kind, high) = if kind == Type::Datetime && high_kind == Type::Timespan {
        let sum = lower_binary(Binary::Add, context, [low_kind, high_kind], [low.clone(), high])?;
        (Type::Datetime, sum)
    } else {
        (high_kind, high)
    };
    let above = lower_binary(Binary::GreaterEqual, context, [kind, low_kind], [subject.clone(), low])?;
    let below = lower_binary(Binary::LessEqual, context, [kind, high_kind], [subject, high])?;
    let inside = above.and(below);
    Ok(if turned { not(inside) } else { inside })
}

/// `d.name`.
#[must_use]
pub fn property(expr: Expr, name: &str) -> Expr {
    step(expr, lit(name))
}

/// `d[index]`: a position, from the end if negative, or a name.
pub fn element(expr: Expr, kind: Type, index: Expr) -> Result<Expr, Refusal> {
    let index = match kind {
        Type::Int | Type::Long => cast(kind, Type::Long, index),
        Type::Text => index,
        Type::Dynamic => known("kql_dynamic_key", vec![index]),
        Type::Unknown => null(Type::Dynamic),
        _ => return Err(Refusal::Argument { code: "KS141", at: 0, expected: "an integer or a string" }),
    };
    Ok(step(expr, index))
}

/// A path of several steps is one call, so that the text is walked once.
fn step(expr: Expr, key: Expr) -> Expr {
    match expr {
        Expr::ScalarFunction(f) if f.func.name() == "kql_path" => {
            let mut args = f.args;
            args.push(key);
            known("kql_path", args)
        }
        other => known("kql_path", vec![other, key]),
    }
}

fn sum(r: &eval::Row) -> Option<i64> {
    r.long(0)?.checked_add(r.long(1)?)
}

fn difference(r: &eval::Row) -> Option<i64> {
    r.long(0)?.checked_sub(r.long(1)?)
}

fn scaled(r: &eval::Row, by: fn(f64, f64) -> f64) -> Option<i64> {
    let value = by(r.long(0)? as f64, r.real(1)?);
    (value.abs() < 9.2e18).then_some(value as i64)
}

fn times(r: &eval::Row) -> Option<i64> {
    match r.long(1) {
        Some(factor) => r.long(0)?.checked_mul(factor),
        None => scaled(r, |a, b| a * b),
    }
}

pub(super) const INTERNAL: &[Internal] = &[
    Internal {
        name: "kql_divide",
        ret: Ret::Is(Type::Long),
        nulls: false,
        eval: |r| Out::long(r.long(0).zip(r.long(1)).and_then(|(a, b)| a.checked_div(b))),
    },
    Internal {
        name: "kql_modulo",
        ret: Ret::Is(Type::Long),
        nulls: false,
        eval: |r| Out::long(r.long(0).zip(r.long(1)).and_then(|(a, b)| a.checked_rem_euclid(b))),
    },
    Internal {
        name: "kql_modulo_real",
        ret: Ret::Is(Type::Real),
        nulls: false,
        eval: |r| Out::real(r.real(0).zip(r.real(1)).map(|(a, b)| a.rem_euclid(b))),
    },
    Internal { name: "kql_datetime_sum", ret: Ret::Is(Type::Datetime), nulls: false, eval: |r| Out::long(sum(r)) },
    Internal { name: "kql_timespan_sum", ret: Ret::Is(Type::Timespan), nulls: false, eval: |r| Out::long(sum(r)) },
    Internal {
        name: "kql_datetime_less",
        ret: Ret::Is(Type::Datetime),
        nulls: false,
        eval: |r| Out::long(difference(r)),
    },
    Internal {
        name: "kql_timespan_less",
        ret: Ret::Is(Type::Timespan),
        nulls: false,
        eval: |r| Out::long(difference(r)),
    },
    Internal { name: "kql_timespan_times", ret: Ret::Is(Type::Timespan), nulls: false, eval: |r| Out::long(times(r)) },
    Internal {
        name: "kql_timespan_over",
        ret: Ret::Is(Type::Timespan),
        nulls: false,
        eval: |r| Out::long(scaled(r, |a, b| a / b)),
    },
    Internal {
        name: "kql_timespan_ratio",
        ret: Ret::Is(Type::Real),
        nulls: false,
        eval: |r| Out::real(r.long(0).zip(r.long(1)).map(|(a, b)| a as f64 / b as f64)),
    },
    Internal {
        name: "kql_timespan_rest",
        ret: Ret::Is(Type::Timespan),
        nulls: false,
        eval: |r| Out::long(r.long(0).zip(r.long(1)).and_then(|(a, b)| a.checked_rem_euclid(b))),
    },
];
