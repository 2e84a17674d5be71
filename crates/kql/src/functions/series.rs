//! Series: arrays of numbers taken as a whole. A missing value stays missing.

use super::Naming;
use super::eval::{Out, Row};
use super::json::Json;
use super::signature::{Function, Param, Ret};
use crate::Type;

use Param::{Dynamic, Json as AnyJson, Long, Real};
const DYNAMIC: Ret = Ret::Is(Type::Dynamic);
const REAL: Ret = Ret::Is(Type::Real);
const NONE: Naming = Naming::None;

pub(super) fn numbers(value: &Json) -> Option<Vec<Option<f64>>> {
    if let Json::Array(items) = value { Some(items.iter().map(Json::real).collect()) } else { None }
}

fn array(values: impl Iterator<Item = Option<f64>>) -> Out<'static> {
    Out::Text(Json::Array(values.map(|v| v.map_or(Json::Null, Json::from_real)).collect()).json())
}

fn each<'a>(r: &'a Row<'a>, f: fn(f64) -> f64) -> Out<'a> {
    numbers(&r.json(0)).map_or(Out::Null, |n| array(n.into_iter().map(|v| v.map(f))))
}

/// Pairs of two series, or of a series and one number; the longer one ends in missing pairs.
fn pairs(r: &Row) -> Option<Vec<(Json, Json)>> {
    let (a, b) = (r.json(0), r.json(1));
    let size = |j: &Json| if let Json::Array(items) = j { Some(items.len()) } else { None };
    let count = match (size(&a), size(&b)) {
        (None, None) => return None,
        (a, b) => a.unwrap_or(0).max(b.unwrap_or(0)),
    };
    let pick = |j: &Json, at: usize| match j {
        Json::Array(items) => items.get(at).cloned().unwrap_or(Json::Null),
        other => other.clone(),
    };
    Some((0..count).map(|at| (pick(&a, at), pick(&b, at))).collect())
}

/// Two whole numbers stay whole where the operation lets them.
fn pairwise<'a>(r: &'a Row<'a>, real: fn(f64, f64) -> f64, long: Option<fn(i64, i64) -> Option<i64>>) -> Out<'a> {
    let Some(pairs) = pairs(r) else { return Out::Null };
    let items = pairs.into_iter().map(|(a, b)| match (&a, &b, long) {
        (Json::Long(a), Json::Long(b), Some(f)) => f(*a, *b).map_or(Json::Null, Json::Long),
        _ => a.real().zip(b.real()).map_or(Json::Null, |(a, b)| Json::from_real(real(a, b))),
    });
    Out::Text(Json::Array(items.collect()).json())
}

fn compared<'a>(r: &'a Row<'a>, f: fn(f64, f64) -> bool) -> Out<'a> {
    let Some(pairs) = pairs(r) else { return Out::Null };
    let items = pairs.into_iter().map(|(a, b)| a.real().zip(b.real()).map_or(Json::Null, |(a, b)| Json::Bool(f(a, b))));
    Out::Text(Json::Array(items.collect()).json())
}

fn two(r: &Row) -> Option<(Vec<f64>, Vec<f64>)> {
    let whole = |at| numbers(&r.json(at))?.into_iter().collect::<Option<Vec<f64>>>();
    let (a, b) = (whole(0)?, whole(1)?);
    (a.len() == b.len()).then_some((a, b))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let center = |v: &[f64]| {
        let m = mean(v);
        v.iter().map(|x| x - m).collect::<Vec<_>>()
    };
    let (a, b) = (center(a), center(b));
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// Fills what is missing from the neighbour before; what stands there first stays missing.
fn filled<'a>(r: &'a Row<'a>, backward: bool) -> Out<'a> {
    let Some(mut items) = r.json(0).into_array() else { return Out::Null };
    let missing = if r.count() > 1 { r.json(1) } else { Json::Null };
    if backward {
        items.reverse();
    }
    let mut last: Option<Json> = None;
    for item in &mut items {
        if item.is_null() || *item == missing {
            if let Some(last) = &last {
                item.clone_from(last);
            }
        } else {
            last = Some(item.clone());
        }
    }
    if backward {
        items.reverse();
    }
    Out::Text(Json::Array(items).json())
}

fn filled_with<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(mut items) = r.json(0).into_array() else { return Out::Null };
    let (value, missing) = (r.json(1), if r.count() > 2 { r.json(2) } else { Json::Null });
    for item in &mut items {
        if item.is_null() || *item == missing {
            *item = value.clone();
        }
    }
    Out::Text(Json::Array(items).json())
}

/// Fills gaps on the line between their ends; gaps at the edges take the nearest value.
fn filled_linear<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = numbers(&r.json(0)) else { return Out::Null };
    let known: Vec<usize> = (0..values.len()).filter(|at| values.get(*at).is_some_and(Option::is_some)).collect();
    let value = |at: usize| values.get(at).copied().flatten().unwrap_or(0.0);
    let fill = |at: usize| {
        let before = known.iter().rev().find(|k| **k <= at);
        let after = known.iter().find(|k| **k >= at);
        match (before, after) {
            (Some(a), Some(b)) if a == b => Some(value(*a)),
            (Some(a), Some(b)) => {
                let part = (at - a) as f64 / (b - a) as f64;
                Some(value(*a) + (value(*b) - value(*a)) * part)
            }
            (Some(a), None) => Some(value(*a)),
            (None, Some(b)) => Some(value(*b)),
            (None, None) => None,
        }
    };
    array((0..values.len()).map(fill))
}

/// A filter of finite response: each value is a weighted sum of those around or before it.
fn fir<'a>(r: &'a Row<'a>) -> Out<'a> {
    let (Some(values), Some(filter)) = (numbers(&r.json(0)), numbers(&r.json(1))) else { return Out::Null };
    let filter: Vec<f64> = filter.into_iter().map(|v| v.unwrap_or(0.0)).collect();
    // The work is the product of the lengths; a filter longer than this is not one.
    if filter.len() > 1024 {
        return Out::Null;
    }
    let flag =
        |at: usize, otherwise: bool| if at < r.count() { matches!(r.json(at), Json::Bool(true)) } else { otherwise };
    let sum: f64 = filter.iter().sum();
    let scale = if flag(2, true) && sum != 0.0 { sum } else { 1.0 };
    let shift = if flag(3, false) { filter.len() / 2 } else { 0 };
    let out = (0..values.len()).map(|at| {
        let total: f64 = filter
            .iter()
            .enumerate()
            .map(|(k, w)| (at + shift).checked_sub(k).and_then(|i| values.get(i).copied().flatten()).unwrap_or(0.0) * w)
            .sum();
        Some(total / scale)
    });
    array(out)
}

/// A filter of infinite response.
fn iir<'a>(r: &'a Row<'a>) -> Out<'a> {
    let (Some(x), Some(b), Some(a)) = (numbers(&r.json(0)), numbers(&r.json(1)), numbers(&r.json(2))) else {
        return Out::Null;
    };
    let plain = |v: Vec<Option<f64>>| v.into_iter().map(|v| v.unwrap_or(0.0)).collect::<Vec<f64>>();
    let (x, b, a) = (plain(x), plain(b), plain(a));
    let first = a.first().copied().unwrap_or(0.0);
    if first == 0.0 || a.len() > 1024 || b.len() > 1024 {
        return Out::Null;
    }
    let mut y: Vec<f64> = Vec::with_capacity(x.len());
    for at in 0..x.len() {
        let back = |list: &[f64], k: usize| at.checked_sub(k).and_then(|i| list.get(i).copied()).unwrap_or(0.0);
        let ahead: f64 = b.iter().enumerate().map(|(k, w)| w * back(&x, k)).sum();
        let fed: f64 = a.iter().enumerate().skip(1).map(|(k, w)| w * back(&y, k)).sum();
        y.push((ahead - fed) / first);
    }
    array(y.into_iter().map(Some))
}

pub(super) fn stats<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = numbers(&r.json(0)) else { return Out::Null };
    let known: Vec<(usize, f64)> = values.iter().enumerate().filter_map(|(at, v)| v.map(|v| (at, v))).collect();
    let least = known.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let most = known.iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    let (Some(least), Some(most)) = (least, most) else { return Out::Null };
    let count = known.len() as f64;
    let mean = known.iter().map(|(_, v)| v).sum::<f64>() / count;
    let squares: f64 = known.iter().map(|(_, v)| (v - mean).powi(2)).sum();
    let variance = if count > 1.0 { squares / (count - 1.0) } else { 0.0 };
    let items = [
        ("min", Json::Real(least.1)),
        ("min_idx", Json::Long(least.0 as i64)),
        ("max", Json::Real(most.1)),
        ("max_idx", Json::Long(most.0 as i64)),
        ("avg", Json::Real(mean)),
        ("stdev", Json::Real(variance.sqrt())),
        ("variance", Json::Real(variance)),
        ("sum", Json::Real(mean * count)),
        ("len", Json::Long(values.len() as i64)),
    ];
    Out::Text(Json::Bag(items.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()).json())
}

/// How far each value lies outside the middle half, by Tukey's fences, in units of 1.5 times its width.
fn outliers<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = numbers(&r.json(0)) else { return Out::Null };
    let mut known: Vec<f64> = values.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let at = |p: f64| {
        let place = p * (known.len().saturating_sub(1)) as f64;
        let (low, high) = (known.get(place.floor() as usize), known.get(place.ceil() as usize));
        low.zip(high).map_or(f64::NAN, |(l, h)| l + (h - l) * place.fract())
    };
    let (low, high) = (at(0.25), at(0.75));
    let width = (high - low) * 1.5;
    array(values.iter().map(|v| {
        v.map(|v| match () {
            () if width == 0.0 => 0.0,
            () if v > high => (v - high) / width,
            () if v < low => (v - low) / width,
            () => 0.0,
        })
    }))
}

macro_rules! mapped {
    ($name:literal, $doc:literal, $f:expr) => {
        Function::row($name, NONE, &[Dynamic], DYNAMIC, $doc, concat!($name, "(dynamic([0.5, 1]))"), |r| each(r, $f))
    };
}

macro_rules! paired {
    ($name:literal, $doc:literal, $real:expr, $long:expr) => {
        Function::row(
            $name,
            NONE,
            &[AnyJson, AnyJson],
            DYNAMIC,
            $doc,
            concat!($name, "(dynamic([1, 2]), dynamic([3, 4]))"),
            |r| pairwise(r, $real, $long),
        )
    };
}

macro_rules! tested {
    ($name:literal, $doc:literal, $f:expr) => {
        Function::row(
            $name,
            NONE,
            &[AnyJson, AnyJson],
            DYNAMIC,
            $doc,
            concat!($name, "(dynamic([1, 2]), dynamic([3, 2]))"),
            |r| compared(r, $f),
        )
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    paired!("series_add", "Adds two series.", |a, b| a + b, Some(i64::checked_add)),
    paired!("series_subtract", "Subtracts one series from another.", |a, b| a - b, Some(i64::checked_sub)),
    paired!("series_multiply", "Multiplies two series.", |a, b| a * b, Some(i64::checked_mul)),
    paired!("series_divide", "Divides one series by another.", |a, b| a / b, None),
    paired!("series_pow", "Raises one series to the power of another.", f64::powf, None),
    tested!("series_equals", "Says where two series are equal.", |a, b| a == b),
    tested!("series_not_equals", "Says where two series differ.", |a, b| a != b),
    tested!("series_less", "Says where the first series is less.", |a, b| a < b),
    tested!("series_less_equals", "Says where the first series is not greater.", |a, b| a <= b),
    tested!("series_greater", "Says where the first series is greater.", |a, b| a > b),
    tested!("series_greater_equals", "Says where the first series is not less.", |a, b| a >= b),
    mapped!("series_abs", "The sizes of a series.", f64::abs),
    mapped!("series_exp", "The powers of e.", f64::exp),
    mapped!("series_log", "The natural logarithms.", f64::ln),
    mapped!("series_sign", "The signs of a series.", |v| if v == 0.0 { 0.0 } else { v.signum() }),
    mapped!("series_floor", "Rounds a series down.", f64::floor),
    mapped!("series_ceiling", "Rounds a series up.", f64::ceil),
    mapped!("series_sin", "The sines of a series.", f64::sin),
    mapped!("series_cos", "The cosines of a series.", f64::cos),
    mapped!("series_tan", "The tangents of a series.", f64::tan),
    mapped!("series_asin", "The angles of sines.", f64::asin),
    mapped!("series_acos", "The angles of cosines.", f64::acos),
    mapped!("series_atan", "The angles of tangents.", f64::atan),
    Function::row("series_sum", NONE, &[Dynamic], REAL, "Adds up a series.", "series_sum(dynamic([1, 2]))", |r| {
        Out::real(numbers(&r.json(0)).map(|n| n.into_iter().flatten().sum()))
    })
    .alias(&["array_sum"]),
    Function::row(
        "series_product",
        NONE,
        &[Dynamic],
        REAL,
        "Multiplies the values of a series.",
        "series_product(dynamic([1, 2]))",
        |r| Out::real(numbers(&r.json(0)).map(|n| n.into_iter().flatten().product())),
    ),
    Function::row(
        "series_magnitude",
        NONE,
        &[Dynamic],
        REAL,
        "The length of a series as a vector.",
        "series_magnitude(dynamic([3, 4]))",
        |r| Out::real(numbers(&r.json(0)).map(|n| n.into_iter().flatten().map(|v| v * v).sum::<f64>().sqrt())),
    ),
    Function::row(
        "series_dot_product",
        NONE,
        &[Dynamic, Dynamic],
        REAL,
        "The dot product of two series.",
        "series_dot_product(dynamic([1, 2]), dynamic([3, 4]))",
        |r| Out::real(two(r).map(|(a, b)| dot(&a, &b))),
    ),
    Function::row(
        "series_cosine_similarity",
        NONE,
        &[Dynamic, Dynamic, Real, Real],
        REAL,
        "How alike two series point: the cosine between them.",
        "series_cosine_similarity(dynamic([1, 2]), dynamic([3, 4]))",
        |r| Out::real(two(r).map(|(a, b)| dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt())),
    )
    .optional(2),
    Function::row(
        "series_pearson_correlation",
        NONE,
        &[Dynamic, Dynamic],
        REAL,
        "How two series go together, by Pearson.",
        "series_pearson_correlation(dynamic([1, 2, 3]), dynamic([3, 4, 6]))",
        |r| Out::real(two(r).map(|(a, b)| pearson(&a, &b))),
    ),
    Function::row(
        "series_fill_forward",
        Naming::Argument,
        &[Dynamic, AnyJson],
        DYNAMIC,
        "Fills gaps with the value before.",
        "series_fill_forward(dynamic([1, null]))",
        |r| filled(r, false),
    )
    .optional(1),
    Function::row(
        "series_fill_backward",
        Naming::Argument,
        &[Dynamic, AnyJson],
        DYNAMIC,
        "Fills gaps with the value after.",
        "series_fill_backward(dynamic([null, 1]))",
        |r| filled(r, true),
    )
    .optional(1),
    Function::row(
        "series_fill_const",
        Naming::Argument,
        &[Dynamic, AnyJson, AnyJson],
        DYNAMIC,
        "Fills gaps with a value.",
        "series_fill_const(dynamic([1, null]), 0)",
        filled_with,
    )
    .optional(1),
    Function::row(
        "series_fill_linear",
        Naming::Argument,
        &[Dynamic],
        DYNAMIC,
        "Fills gaps on the line between their ends.",
        "series_fill_linear(dynamic([1, null, 3]))",
        filled_linear,
    ),
    Function::row(
        "series_fir",
        Naming::Argument,
        &[Dynamic, Dynamic, Param::Any, Param::Any],
        DYNAMIC,
        "Filters a series by weights.",
        "series_fir(dynamic([1, 2, 3]), dynamic([1, 1]))",
        fir,
    )
    .optional(2),
    Function::row(
        "series_iir",
        Naming::Argument,
        &[Dynamic, Dynamic, Dynamic],
        DYNAMIC,
        "Filters a series by weights of itself.",
        "series_iir(dynamic([1, 2, 3]), dynamic([1]), dynamic([1, -1]))",
        iir,
    ),
    Function::row(
        "series_stats_dynamic",
        NONE,
        &[Dynamic, Long],
        DYNAMIC,
        "The least, greatest, mean and spread of a series in a bag.",
        "series_stats_dynamic(dynamic([1, 2]))",
        stats,
    )
    .optional(1),
    Function::row(
        "series_outliers",
        Naming::Argument,
        &[Dynamic],
        DYNAMIC,
        "How far each value lies outside the usual.",
        "series_outliers(dynamic([1, 2, 1, 2, 30]))",
        outliers,
    ),
];
