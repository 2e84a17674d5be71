//! From type to type. A conversion never fails: what does not convert is null, or empty where the target is text.

use super::eval::{Internal, Out, Row, known};
use super::json::{Json, real_text};
use super::signature::{Function, Param, Ret};
use super::time::{datetime_text, parse_datetime, parse_timespan, timespan_text};
use super::{Context, Naming, Refusal};
use crate::{DECIMAL, Type};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit, try_cast, when};

/// Microseconds from 0001-01-01 to 1970-01-01: ticks count from the former.
pub(super) const EPOCH_MICROS: i64 = 62_135_596_800_000_000;

/// A value of any type as text.
#[must_use]
pub fn text(from: Type, expr: Expr) -> Expr {
    cast(from, Type::Text, expr)
}

/// A value of one type as another.
#[must_use]
pub fn cast(from: Type, to: Type, expr: Expr) -> Expr {
    use Type as T;
    if is_null(&expr) {
        return if to == T::Text { lit("") } else { null(to) };
    }
    let native = |expr: Expr| try_cast(expr, to.arrow());
    match (from, to) {
        (a, b) if a == b => expr,
        (_, T::Unknown) | (T::Unknown, _) | (T::Guid, T::Text) => expr,
        (T::Int, T::Long) => datafusion::logical_expr::cast(expr, DataType::Int64),
        (T::Int | T::Long, T::Real) => datafusion::logical_expr::cast(expr, DataType::Float64),
        (T::Dynamic, T::Text) => known("kql_text_of_dynamic", vec![expr]),
        (_, T::Text) => known("kql_text_of", vec![expr]),
        (T::Text | T::Guid, T::Dynamic) => known("kql_dynamic_of_text", vec![expr]),
        (_, T::Dynamic) => known("kql_dynamic_of", vec![expr]),
        (T::Text | T::Guid | T::Dynamic, to) => {
            let plain = if from == T::Dynamic { known("kql_text_of_dynamic", vec![expr]) } else { expr };
            match to {
                T::Bool => known("kql_bool_of", vec![plain]),
                T::Int => known("kql_int_of", vec![plain, lit(from == T::Dynamic)]),
                T::Long => known("kql_long_of", vec![plain, lit(from == T::Dynamic)]),
                T::Real => known("kql_real_of", vec![plain]),
                T::Decimal => try_cast(known("kql_decimal_text_of", vec![plain]), to.arrow()),
                T::Datetime => known("kql_datetime_of", vec![plain]),
                T::Timespan => known("kql_timespan_of", vec![plain]),
                _ => known("kql_guid_of", vec![plain]),
            }
        }
        (T::Bool, T::Int | T::Long) => native(expr),
        (T::Bool, T::Real | T::Decimal) => try_cast(try_cast(expr, DataType::Int64), to.arrow()),
        (T::Int | T::Long | T::Real | T::Decimal, T::Bool) => native_not_zero(from, expr),
        (T::Datetime, T::Long) => known("kql_ticks_of_datetime", vec![expr]),
        (T::Timespan, T::Long) => known("kql_ticks_of_timespan", vec![expr]),
        (T::Datetime | T::Timespan, T::Int | T::Real | T::Decimal) => cast(T::Long, to, cast(from, T::Long, expr)),
        (T::Int | T::Long, T::Datetime) => known("kql_datetime_of_ticks", vec![cast(from, T::Long, expr)]),
        (T::Int | T::Long, T::Timespan) => known("kql_timespan_of_ticks", vec![cast(from, T::Long, expr)]),
        (T::Real | T::Decimal, T::Timespan) => known("kql_timespan_of_days", vec![cast(from, T::Real, expr)]),
        (T::Int | T::Long | T::Real | T::Decimal, T::Int | T::Long | T::Real | T::Decimal) => native(expr),
        _ => null(to),
    }
}

fn native_not_zero(from: Type, expr: Expr) -> Expr {
    cast(from, Type::Real, expr).not_eq(lit(0.0))
}

/// The null of a type; of text, the empty text.
pub(super) fn null(kind: Type) -> Expr {
    let value = match kind {
        Type::Bool => ScalarValue::Boolean(None),
        Type::Int => ScalarValue::Int32(None),
        Type::Long => ScalarValue::Int64(None),
        Type::Real => ScalarValue::Float64(None),
        Type::Decimal => ScalarValue::Decimal128(None, DECIMAL.0, DECIMAL.1),
        Type::Text => ScalarValue::Utf8(Some(String::new())),
        Type::Guid | Type::Dynamic | Type::Unknown => ScalarValue::Utf8(None),
        Type::Datetime => ScalarValue::TimestampMicrosecond(None, Some("UTC".into())),
        Type::Timespan => ScalarValue::DurationMicrosecond(None),
    };
    Expr::Literal(value, None)
}

/// Whether an expression is a null literal.
pub(super) fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

/// The text of a literal.
pub(super) fn literal_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// A value that is not dynamic, as `tostring` writes it.
pub(super) fn scalar_text<'a>(r: &'a Row<'a>, at: usize) -> Out<'a> {
    if r.is_null(at) {
        return Out::Str("");
    }
    match r.kind(at) {
        DataType::Boolean => Out::Str(if r.bool(at) == Some(true) { "true" } else { "false" }),
        DataType::Float64 => Out::text(r.real(at).map(real_text)),
        DataType::Decimal128(_, _) => Out::text(r.decimal(at).map(|t| plain_decimal(&t).to_owned())),
        DataType::Timestamp(_, _) => Out::text(r.long(at).map(datetime_text)),
        DataType::Duration(_) => Out::text(r.long(at).map(timespan_text)),
        kind if kind.is_integer() => Out::text(r.long(at).map(|v| v.to_string())),
        _ => Out::Str(r.text(at)),
    }
}

fn plain_decimal(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

fn dynamic_of<'a>(r: &'a Row<'a>) -> Out<'a> {
    if r.is_null(0) {
        return Out::Null;
    }
    match r.kind(0) {
        DataType::Float64 => r.real(0).map_or(Out::Null, |v| Out::json(&Json::from_real(v))),
        DataType::Timestamp(_, _) | DataType::Duration(_) => match scalar_text(r, 0) {
            Out::Text(text) => Out::json(&Json::Text(text)),
            _ => Out::Null,
        },
        _ => scalar_text(r, 0),
    }
}

/// An integer as a text spells it: decimal or hexadecimal. A fraction is none, but in a dynamic value it is cut off.
fn long_of(r: &Row) -> Option<i64> {
    let text = r.text(0).trim();
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let value = u64::from_str_radix(hex, 16).ok()? as i64;
        return Some(if negative { value.wrapping_neg() } else { value });
    }
    match text {
        "true" if r.bool(1) == Some(true) => Some(1),
        "false" if r.bool(1) == Some(true) => Some(0),
        _ if r.bool(1) == Some(true) => text.parse::<f64>().ok().filter(|v| v.abs() < 9.2e18).map(|v| v as i64),
        _ => None,
    }
}

fn bool_of(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        other => other.parse::<i64>().ok().map(|v| v != 0),
    }
}

fn real_of(text: &str) -> Option<f64> {
    match text.trim() {
        "" => None,
        "NaN" | "nan" => Some(f64::NAN),
        "Infinity" | "inf" | "+inf" => Some(f64::INFINITY),
        "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
        // Rust also reads `infinity` and `nan` in any case; a text in telemetry that says so is a word, not a number.
        other if other.bytes().any(|b| b.is_ascii_digit()) => {
            if let Some(hex) = other.strip_prefix("0x") {
                return i64::from_str_radix(hex, 16).ok().map(|v| v as f64);
            }
            other.parse().ok()
        }
        _ => None,
    }
}

pub(super) const INTERNAL: &[Internal] = &[
    Internal { name: "kql_text_of", ret: Ret::Is(Type::Text), nulls: true, eval: |r| scalar_text(r, 0) },
    Internal {
        name: "kql_text_of_dynamic",
        ret: Ret::Is(Type::Text),
        nulls: true,
        eval: |r| {
            let text = r.text(0);
            // Most dynamic values are containers or plain texts: neither needs a parse to be text.
            match text.as_bytes().first() {
                Some(b'"') if !text.contains('\\') && text.len() >= 2 && text.ends_with('"') => {
                    Out::Str(text.get(1..text.len() - 1).unwrap_or_default())
                }
                Some(b'{' | b'[') => Out::Str(text),
                None => Out::Str(""),
                Some(_) => Out::Text(Json::parse(text).text()),
            }
        },
    },
    Internal {
        name: "kql_dynamic_of_text",
        ret: Ret::Is(Type::Dynamic),
        nulls: true,
        eval: |r| Out::Text(Json::Text(r.text(0).to_owned()).json()),
    },
    Internal { name: "kql_dynamic_of", ret: Ret::Is(Type::Dynamic), nulls: true, eval: dynamic_of },
    Internal { name: "kql_bool_of", ret: Ret::Is(Type::Bool), nulls: true, eval: |r| Out::bool(bool_of(r.text(0))) },
    Internal { name: "kql_int_of", ret: Ret::Is(Type::Int), nulls: true, eval: |r| Out::long(long_of(r)) },
    Internal { name: "kql_long_of", ret: Ret::Is(Type::Long), nulls: true, eval: |r| Out::long(long_of(r)) },
    Internal { name: "kql_real_of", ret: Ret::Is(Type::Real), nulls: true, eval: |r| Out::real(real_of(r.text(0))) },
    Internal {
        name: "kql_decimal_text_of",
        ret: Ret::Is(Type::Guid),
        nulls: true,
        eval: |r| {
            let text = r.text(0).trim();
            if text.bytes().any(|b| b.is_ascii_digit()) && text.parse::<f64>().is_ok() {
                Out::Str(text)
            } else {
                Out::Null
            }
        },
    },
    Internal {
        name: "kql_datetime_of",
        ret: Ret::Is(Type::Datetime),
        nulls: true,
        eval: |r| Out::long(parse_datetime(r.text(0))),
    },
    Internal {
        name: "kql_timespan_of",
        ret: Ret::Is(Type::Timespan),
        nulls: true,
        eval: |r| Out::long(parse_timespan(r.text(0))),
    },
    Internal {
        name: "kql_guid_of",
        ret: Ret::Is(Type::Guid),
        nulls: true,
        eval: |r| Out::text(uuid::Uuid::parse_str(r.text(0).trim()).ok().map(|id| id.hyphenated().to_string())),
    },
    Internal {
        name: "kql_ticks_of_datetime",
        ret: Ret::Is(Type::Long),
        nulls: false,
        eval: |r| Out::long(r.long(0).and_then(|v| v.checked_add(EPOCH_MICROS)?.checked_mul(10))),
    },
    Internal {
        name: "kql_ticks_of_timespan",
        ret: Ret::Is(Type::Long),
        nulls: false,
        eval: |r| Out::long(r.long(0).and_then(|v| v.checked_mul(10))),
    },
    Internal {
        name: "kql_datetime_of_ticks",
        ret: Ret::Is(Type::Datetime),
        nulls: false,
        eval: |r| Out::long(r.long(0).filter(|v| *v >= 0).map(|v| v / 10 - EPOCH_MICROS)),
    },
    Internal {
        name: "kql_timespan_of_ticks",
        ret: Ret::Is(Type::Timespan),
        nulls: false,
        eval: |r| Out::long(r.long(0).map(|v| v / 10)),
    },
    Internal {
        name: "kql_timespan_of_days",
        ret: Ret::Is(Type::Timespan),
        nulls: false,
        eval: |r| Out::long(r.real(0).map(|v| v * 86_400e6).filter(|v| v.abs() < 9.2e18).map(|v| v as i64)),
    },
];

const ANY: &[Param] = &[Param::Any];

fn to(target: Type, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let (Some(kind), Some(expr)) = (types.first(), args.into_iter().next()) else { return Err(Refusal::Count(1, 1)) };
    Ok(cast(*kind, target, expr))
}

fn to_guid(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    to(Type::Guid, types, args)
}

/// Text that is JSON is that value, other text is a dynamic text; a dynamic value stays what it is.
fn to_dynamic(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    if types.first() == Some(&Type::Text) {
        return Ok(known("kql_dynamic_parsed", args));
    }
    to(Type::Dynamic, types, args)
}

/// Text has no null, so nothing but a value of another type can be missing.
fn is_null_lowered(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let Some(expr) = args.into_iter().next() else { return Err(Refusal::Count(1, 1)) };
    Ok(match types.first() {
        Some(Type::Text) => lit(false),
        Some(Type::Dynamic) => known("kql_dynamic_is_null", vec![expr]),
        _ => expr.is_null(),
    })
}

fn is_empty_lowered(context: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    if matches!(types.first(), Some(Type::Text | Type::Guid)) {
        let Some(expr) = args.into_iter().next() else { return Err(Refusal::Count(1, 1)) };
        return Ok(expr.clone().is_null().or(expr.eq(lit(""))));
    }
    if types.first() == Some(&Type::Dynamic) {
        return Ok(known("kql_text_of_dynamic", args).eq(lit("")));
    }
    is_null_lowered(context, types, args)
}

fn is_not_empty(context: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    // The form that files are pruned by.
    if matches!(types.first(), Some(Type::Text | Type::Guid)) {
        let Some(expr) = args.into_iter().next() else { return Err(Refusal::Count(1, 1)) };
        return Ok(expr.clone().is_not_null().and(expr.not_eq(lit(""))));
    }
    Ok(datafusion::logical_expr::not(is_empty_lowered(context, types, args)?))
}

fn is_not_null(context: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    Ok(datafusion::logical_expr::not(is_null_lowered(context, types, args)?))
}

fn get_type(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let Some(kind) = types.first() else { return Err(Refusal::Count(1, 1)) };
    if *kind == Type::Dynamic {
        return Ok(known("kql_dynamic_type", args));
    }
    let Some(expr) = args.into_iter().next() else { return Err(Refusal::Count(1, 1)) };
    if *kind == Type::Text {
        return Ok(lit("string"));
    }
    when(expr.is_null(), lit("null")).otherwise(lit(kind.name())).map_err(|e| Refusal::Value(e.to_string()))
}

macro_rules! conversion {
    ($name:literal, $old:expr, $kind:ident, $doc:literal, $example:literal) => {
        Function::native($name, Naming::Argument, ANY, Ret::Is(Type::$kind), $doc, $example, |_, types, args| {
            to(Type::$kind, types, args)
        })
        .alias($old)
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    conversion!("tostring", &[], Text, "Writes any value as text; null becomes empty.", "tostring(5)"),
    conversion!("tolong", &[], Long, "Reads a value as a 64-bit integer, or gives null.", "tolong('17')"),
    conversion!("toint", &[], Int, "Reads a value as a 32-bit integer, or gives null.", "toint('17')"),
    conversion!("toreal", &["todouble"], Real, "Reads a value as a real number, or gives null.", "toreal('1.5')"),
    conversion!("tobool", &["toboolean"], Bool, "Reads a value as true or false, or gives null.", "tobool('true')"),
    conversion!("todecimal", &[], Decimal, "Reads a value as a decimal number, or gives null.", "todecimal('1.5')"),
    conversion!(
        "todatetime",
        &[],
        Datetime,
        "Reads a date and time in one of many forms, or gives null.",
        "todatetime('2024-02-29 10:00')"
    ),
    conversion!(
        "totimespan",
        &["totime"],
        Timespan,
        "Reads a length of time, or gives null.",
        "totimespan('1.02:03:04')"
    ),
    Function::native(
        "toguid",
        Naming::Argument,
        &[Param::Text],
        Ret::Is(Type::Guid),
        "Reads a guid, or gives null.",
        "toguid('70fc66f7-8279-44fc-9092-d364d70fce44')",
        to_guid,
    ),
    Function::native(
        "parse_json",
        Naming::Argument,
        ANY,
        Ret::Is(Type::Dynamic),
        "Reads JSON text as a dynamic value; text that is not JSON becomes a dynamic text.",
        "parse_json('{\"a\":1}')",
        to_dynamic,
    )
    .alias(&["todynamic", "parsejson", "toobject"]),
    Function::native(
        "isnull",
        Naming::None,
        ANY,
        Ret::Is(Type::Bool),
        "Says whether a value is missing; a text never is.",
        "isnull(int(null))",
        is_null_lowered,
    ),
    Function::native(
        "isnotnull",
        Naming::None,
        ANY,
        Ret::Is(Type::Bool),
        "Says whether a value is there; a text always is.",
        "isnotnull(1)",
        is_not_null,
    )
    .alias(&["notnull"]),
    Function::native(
        "isempty",
        Naming::None,
        ANY,
        Ret::Is(Type::Bool),
        "Says whether a value is an empty text or missing.",
        "isempty('')",
        is_empty_lowered,
    ),
    Function::native(
        "isnotempty",
        Naming::None,
        ANY,
        Ret::Is(Type::Bool),
        "Says whether a value is neither an empty text nor missing.",
        "isnotempty('x')",
        is_not_empty,
    )
    .alias(&["notempty"]),
    Function::native(
        "gettype",
        Naming::Prefix("type"),
        ANY,
        Ret::Is(Type::Text),
        "Names the type of a value, of a dynamic one the type of what it holds.",
        "gettype(dynamic([1]))",
        get_type,
    ),
];
