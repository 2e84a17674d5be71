//! Numbers.

use super::convert::cast;
use super::eval::{Internal, Out, Row, known};
use super::signature::{Function, Param, Ret, widest};
use super::time::DAY;
use super::{Context, Naming, Refusal};
use crate::Type;
use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Expr, lit};
use std::sync::Arc;

use Param::{Any, Long, LongConstant, Number, Real};
const REAL: Ret = Ret::Is(Type::Real);
const LONG: Ret = Ret::Is(Type::Long);

/// Down to a multiple of a step from an origin; negative values go down too. A step that is not above 0 gives null.
fn binned(r: &Row, origin: i64) -> Option<i64> {
    let (value, step) = (r.long(0)?, r.long(1)?);
    if step <= 0 {
        return None;
    }
    // Nearly always 64 bits are enough; a division of 128 costs ten times as much.
    if let Some(over) = value.checked_sub(origin)
        && let Some(down) = over.div_euclid(step).checked_mul(step)
    {
        return down.checked_add(origin);
    }
    let over = i128::from(value) - i128::from(origin);
    i64::try_from(over.div_euclid(i128::from(step)) * i128::from(step) + i128::from(origin)).ok()
}

fn bin<'a>(r: &'a Row<'a>) -> Out<'a> {
    if matches!(r.output(), DataType::Float64) {
        let (Some(value), Some(step)) = (r.real(0), r.real(1)) else { return Out::Null };
        return if step > 0.0 { Out::Real((value / step).floor() * step) } else { Out::Null };
    }
    // Datetimes are binned from the year 1, as ticks count: weeks start on a Monday.
    let origin = if matches!(r.output(), DataType::Timestamp(_, _)) { super::time::LEAST } else { 0 };
    Out::long(binned(r, origin))
}

pub(super) const BIN: &str = "kql_bin_of";

/// Bins of a column of times by a constant step, a column at once; `None` where it is another case, or one overflows.
pub(super) fn bin_of_times(args: &[ColumnarValue], output: &DataType) -> Option<ArrayRef> {
    let [ColumnarValue::Array(times), ColumnarValue::Scalar(step)] = args else { return None };
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = output else { return None };
    let step = match step {
        ScalarValue::DurationMicrosecond(Some(step)) if *step > 0 => *step,
        _ => return None,
    };
    let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
    let origin = super::time::LEAST;
    let down = |time: i64| {
        let over = time.checked_sub(origin)?;
        over.checked_sub(over.rem_euclid(step))?.checked_add(origin)
    };
    // Whatever overflows, be it under a null, is left to the way of one row after the other.
    let values: Option<Vec<i64>> = times.values().iter().map(|time| down(*time)).collect();
    let binned = TimestampMicrosecondArray::new(values?.into(), times.nulls().cloned());
    Some(Arc::new(binned.with_timezone_opt(zone.clone())))
}

fn bin_at<'a>(r: &'a Row<'a>) -> Out<'a> {
    if matches!(r.output(), DataType::Float64) {
        let (Some(value), Some(step), Some(at)) = (r.real(0), r.real(1), r.real(2)) else { return Out::Null };
        return if step > 0.0 { Out::Real(((value - at) / step).floor() * step + at) } else { Out::Null };
    }
    let Some(origin) = r.long(2) else { return Out::Null };
    Out::long(binned(r, origin))
}

/// The type in which a value is binned.
fn bin_type(types: &[Type]) -> Type {
    match types {
        [first @ (Type::Datetime | Type::Timespan), ..] => *first,
        [first, second, ..] => widest(*first, *second),
        _ => Type::Unknown,
    }
}

fn bin_lowered(name: &str, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let result = bin_type(types);
    let read = match result {
        Type::Decimal => Type::Real,
        other => other,
    };
    let args = args
        .into_iter()
        .zip(types)
        .map(|(e, kind)| match (result, kind) {
            (Type::Datetime | Type::Timespan, Type::Datetime | Type::Timespan) => e,
            // A bare number beside a time counts days.
            (Type::Datetime | Type::Timespan, _) => known(
                "kql_timespan_times",
                vec![lit(datafusion::common::ScalarValue::DurationMicrosecond(Some(DAY))), cast(*kind, Type::Real, e)],
            ),
            _ => cast(*kind, read, e),
        })
        .collect();
    Ok(cast(read, result, known(name, args)))
}

fn bin_native(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    bin_lowered(BIN, types, args)
}

fn bin_at_native(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    bin_lowered("kql_bin_at_of", types, args)
}

/// A number at some digits after the point, or before it.
fn rounded(r: &Row) -> Option<f64> {
    let value = r.real(0)?;
    let digits = if r.count() > 1 { r.long(1)?.clamp(-300, 300) as i32 } else { 0 };
    if digits > 15 || !value.is_finite() {
        return Some(value);
    }
    let scale = 10f64.powi(digits.abs());
    let scaled = if digits >= 0 { value * scale } else { value / scale };
    // Half to even, as the language rounds.
    let whole = scaled.round_ties_even();
    Some(if digits >= 0 { whole / scale } else { whole * scale })
}

/// An integer stays one; a real is computed.
fn same_type<'a>(r: &'a Row<'a>, real: fn(f64) -> f64, long: fn(i64) -> i64) -> Out<'a> {
    if matches!(r.output(), DataType::Float64) {
        Out::real(r.real(0).map(real))
    } else {
        Out::long(r.long(0).map(long))
    }
}

fn random<'a>(r: &'a Row<'a>) -> Out<'a> {
    // The standard library's random hasher keys are fresh a thread and counted up a call: no clock, no crate.
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let unit = (bits >> 11) as f64 / (1u64 << 53) as f64;
    match r.long(0).filter(|n| r.count() > 0 && *n > 1) {
        Some(n) => Out::Real((unit * n as f64).floor()),
        None => Out::Real(unit),
    }
}

macro_rules! real {
    ($name:literal, $naming:ident, $doc:literal, $f:expr) => {
        Function::row($name, Naming::$naming, &[Real], REAL, $doc, concat!($name, "(0.5)"), |r| {
            let f: fn(f64) -> f64 = $f;
            Out::real(r.real(0).map(f))
        })
    };
}

macro_rules! bits {
    ($name:literal, $doc:literal, $f:expr) => {
        Function::row($name, Naming::Argument, &[Long, Long], LONG, $doc, concat!($name, "(5, 3)"), |r| {
            let f: fn(i64, i64) -> Option<i64> = $f;
            Out::long(r.long(0).zip(r.long(1)).and_then(|(a, b)| f(a, b)))
        })
    };
}

pub(super) const INTERNAL: &[Internal] = &[
    Internal { name: BIN, ret: Ret::Like(0), nulls: false, eval: bin },
    Internal {
        name: "kql_size_of",
        ret: Ret::Like(0),
        nulls: false,
        eval: |r| same_type(r, f64::abs, i64::wrapping_abs),
    },
    Internal { name: "kql_bin_at_of", ret: Ret::Like(0), nulls: false, eval: bin_at },
];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::native(
        "bin",
        Naming::Argument,
        &[Param::Summable, Param::Summable],
        Ret::By(bin_type),
        "Rounds down to a multiple of a step.",
        "bin(now(), 1h)",
        bin_native,
    )
    .alias(&["floor"]),
    Function::native(
        "bin_at",
        Naming::Argument,
        &[Param::Summable, Param::Summable, Param::Summable],
        Ret::By(bin_type),
        "Rounds down to a multiple of a step from a fixed point.",
        "bin_at(6.5, 2.5, 7)",
        bin_at_native,
    ),
    Function::native(
        "abs",
        Naming::Argument,
        &[Any],
        Ret::By(|types| match types.first() {
            Some(Type::Int) => Type::Long,
            Some(other) => *other,
            None => Type::Unknown,
        }),
        "The size of a number or of a length of time.",
        "abs(-5)",
        |_, types, args| {
            let kind = types.first().copied().unwrap_or(Type::Unknown);
            if !matches!(kind, Type::Int | Type::Long | Type::Real | Type::Decimal | Type::Timespan | Type::Unknown) {
                return Err(Refusal::Argument { code: "KS127", at: 0, expected: "a number or a timespan" });
            }
            let read = match kind {
                Type::Int => Type::Long,
                Type::Decimal => Type::Real,
                other => other,
            };
            let args = args.into_iter().map(|e| cast(kind, read, e)).collect();
            let call = known("kql_size_of", args);
            Ok(if kind == Type::Decimal { cast(Type::Real, kind, call) } else { call })
        },
    ),
    Function::row(
        "round",
        Naming::Argument,
        &[Number, LongConstant],
        Ret::Like(0),
        "Rounds to a number of digits.",
        "round(2.98765, 3)",
        |r| {
            if matches!(r.output(), DataType::Float64) {
                Out::real(rounded(r))
            } else {
                Out::long(rounded(r).map(|v| v as i64))
            }
        },
    )
    .optional(1),
    Function::row(
        "ceiling",
        Naming::Argument,
        &[Number],
        Ret::Like(0),
        "Rounds up to a whole number.",
        "ceiling(1.2)",
        |r| same_type(r, f64::ceil, |v| v),
    ),
    Function::row("sign", Naming::None, &[Real], REAL, "1, 0 or -1, by the sign of a number.", "sign(-42)", |r| {
        Out::real(r.real(0).map(|v| if v == 0.0 { 0.0 } else { v.signum() }))
    }),
    Function::row(
        "pow",
        Naming::Argument,
        &[Real, Real],
        REAL,
        "A number to the power of another.",
        "pow(2, 3)",
        |r| Out::real(r.real(0).zip(r.real(1)).map(|(a, b)| a.powf(b))),
    ),
    Function::row(
        "atan2",
        Naming::Argument,
        &[Real, Real],
        REAL,
        "The angle of a point, in radians.",
        "atan2(1, 1)",
        |r| Out::real(r.real(0).zip(r.real(1)).map(|(a, b)| a.atan2(b))),
    ),
    real!("sqrt", Argument, "The square root.", f64::sqrt),
    real!("exp", Argument, "The power of e.", f64::exp),
    real!("exp2", Argument, "The power of 2.", f64::exp2),
    real!("exp10", Argument, "The power of 10.", |v| 10f64.powf(v)),
    real!("log", Argument, "The natural logarithm.", f64::ln),
    real!("log2", Argument, "The logarithm to base 2.", f64::log2),
    real!("log10", Argument, "The logarithm to base 10.", f64::log10),
    real!("sin", Argument, "The sine of an angle in radians.", f64::sin),
    real!("cos", Argument, "The cosine of an angle in radians.", f64::cos),
    real!("tan", Argument, "The tangent of an angle in radians.", f64::tan),
    real!("cot", None, "The cotangent of an angle in radians.", |v| 1.0 / v.tan()),
    real!("asin", Argument, "The angle of a sine.", f64::asin),
    real!("acos", Argument, "The angle of a cosine.", f64::acos),
    real!("atan", Argument, "The angle of a tangent.", f64::atan),
    real!("degrees", None, "Radians as degrees.", f64::to_degrees),
    real!("radians", None, "Degrees as radians.", f64::to_radians),
    real!("gamma", Argument, "The gamma function.", libm::tgamma),
    real!("loggamma", Argument, "The logarithm of the gamma function.", libm::lgamma),
    real!("erf", Argument, "The error function.", libm::erf),
    real!("erfc", Argument, "One less the error function.", libm::erfc),
    Function::row("pi", Naming::None, &[], REAL, "The number pi.", "pi()", |_| Out::Real(std::f64::consts::PI)),
    Function::row(
        "rand",
        Naming::Argument,
        &[Long],
        REAL,
        "A random number from 0 to 1, or a whole one below a bound.",
        "rand(1000)",
        random,
    )
    .optional(1)
    .volatile(),
    Function::row("new_guid", Naming::None, &[], Ret::Is(Type::Guid), "A new random guid.", "new_guid()", |_| {
        Out::Text(uuid::Uuid::new_v4().hyphenated().to_string())
    })
    .volatile(),
    Function::row(
        "isnan",
        Naming::None,
        &[Real],
        Ret::Is(Type::Bool),
        "Says whether a real is not a number.",
        "isnan(0.0 / 0)",
        |r| Out::bool(r.real(0).map(f64::is_nan)),
    ),
    Function::row(
        "isinf",
        Naming::None,
        &[Real],
        Ret::Is(Type::Bool),
        "Says whether a real is infinite.",
        "isinf(1.0 / 0)",
        |r| Out::bool(r.real(0).map(f64::is_infinite)),
    ),
    Function::row(
        "isfinite",
        Naming::None,
        &[Real],
        Ret::Is(Type::Bool),
        "Says whether a real is a finite number.",
        "isfinite(1.0)",
        |r| Out::bool(r.real(0).map(f64::is_finite)),
    ),
    bits!("binary_and", "Bitwise and.", |a, b| Some(a & b)),
    bits!("binary_or", "Bitwise or.", |a, b| Some(a | b)),
    bits!("binary_xor", "Bitwise exclusive or.", |a, b| Some(a ^ b)),
    bits!("binary_shift_left", "Moves bits to the left; the distance counts in 64.", |a, b| {
        (b >= 0).then(|| a.wrapping_shl((b % 64) as u32))
    }),
    bits!("binary_shift_right", "Moves bits to the right; the distance counts in 64.", |a, b| {
        (b >= 0).then(|| a.wrapping_shr((b % 64) as u32))
    }),
    Function::row("binary_not", Naming::Argument, &[Long], LONG, "Turns every bit round.", "binary_not(5)", |r| {
        Out::long(r.long(0).map(|a| !a))
    }),
    Function::row(
        "bitset_count_ones",
        Naming::Argument,
        &[Long],
        LONG,
        "Counts the bits that are set.",
        "bitset_count_ones(42)",
        |r| Out::long(r.long(0).map(|a| i64::from(a.count_ones()))),
    ),
];
