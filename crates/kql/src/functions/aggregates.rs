//! Aggregate functions: what they take and give, and the aggregate expression that means the same.
//!
//! A lowered aggregate may stand inside scalar expressions (`sum` of nothing is 0, so it is `coalesce(sum(x), 0)`); who
//! builds the plan collects the calls with `datafusion::logical_expr::utils::find_aggregate_exprs`.

use super::accumulators::{call, called};
use super::convert::{cast, null};
use super::signature::{self, Param, Ret, constants, widest};
use super::{Context, Naming, Refusal};
use crate::Type;
use arrow::datatypes::DataType;
use datafusion::functions::core::expr_fn::{coalesce, get_field};
use datafusion::functions_aggregate::expr_fn as native;
use datafusion::logical_expr::{Expr, lit, when};

/// What lowers a call: types, arguments.
type Lower = fn(&[Type], Vec<Expr>) -> Result<Expr, Refusal>;

/// An aggregate function. Those with several columns (`arg_max`, `percentiles`, `take_any` of several) are in the list
/// for their names and documentation; the binder asks [`arg_extreme`] and [`percentile_parts`] for their parts.
pub struct Aggregate {
    /// Its name.
    pub name: &'static str,
    /// Old names that mean the same.
    pub aliases: &'static [&'static str],
    /// How its column is named.
    pub naming: Naming,
    /// What it takes.
    pub params: &'static [Param],
    /// How many of `params`, at the end, may be left out.
    pub optional: usize,
    /// Whether the last of `params` may be repeated.
    pub variadic: bool,
    /// What it gives.
    pub ret: Ret,
    /// One sentence.
    pub doc: &'static str,
    /// A call.
    pub example: &'static str,
    /// Whether a condition is its second (or, without others, its first) argument.
    conditional: bool,
    lower: Lower,
}

impl Aggregate {
    const fn new(
        name: &'static str,
        naming: Naming,
        params: &'static [Param],
        ret: Ret,
        doc: &'static str,
        example: &'static str,
        lower: Lower,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            naming,
            params,
            optional: 0,
            variadic: false,
            ret,
            doc,
            example,
            conditional: false,
            lower,
        }
    }

    const fn alias(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }

    const fn optional(mut self, count: usize) -> Self {
        self.optional = count;
        self
    }

    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// Its argument counts only where the second one holds.
    const fn conditional(mut self) -> Self {
        self.conditional = true;
        self
    }

    /// Fewest and most arguments.
    #[must_use]
    pub fn arity(&self) -> (usize, usize) {
        signature::arity(self.params, self.optional, self.variadic)
    }

    /// How the column of a call by this name is named: an old name may name it otherwise.
    #[must_use]
    pub fn naming_of(&self, name: &str) -> Naming {
        match name {
            "any" => Naming::Prefix("any"),
            "anyif" => Naming::Prefix("anyif"),
            "cnt" => Naming::Prefix("cnt"),
            _ => self.naming,
        }
    }

    /// The type of the result, or why these arguments do not fit.
    pub fn result(&self, types: &[Type]) -> Result<Type, Refusal> {
        signature::check(self.params, self.optional, self.variadic, types)?;
        Ok(self.ret.of(types))
    }

    /// The expression that means the call.
    pub fn lower(&self, context: &Context, types: &[Type], mut args: Vec<Expr>) -> Result<Expr, Refusal> {
        let _ = context;
        self.result(types)?;
        constants(self.params, &args)?;
        let mut types = types.to_vec();
        if self.conditional {
            // The value where the condition holds, else nothing: what is nothing does not count.
            let at = self.params.iter().position(|p| *p == Param::Bool).unwrap_or(1);
            if at >= args.len() {
                return Err(Refusal::Count(at + 1, at + 1));
            }
            let condition = args.remove(at);
            types.remove(at);
            for (kind, expr) in types.iter().zip(args.iter_mut()).take(at) {
                let nothing = if *kind == Type::Text { null(Type::Guid) } else { null(*kind) };
                *expr = when(condition.clone(), expr.clone()).otherwise(nothing).map_err(planning)?;
            }
        }
        (self.lower)(&types, args)
    }

    pub(super) const fn result_words(&self) -> &'static str {
        self.ret.words()
    }
}

fn planning(error: datafusion::common::DataFusionError) -> Refusal {
    Refusal::Value(error.to_string())
}

fn one(args: Vec<Expr>) -> Result<Expr, Refusal> {
    args.into_iter().next().ok_or(Refusal::Count(1, 1))
}

fn kind(types: &[Type]) -> Type {
    types.first().copied().unwrap_or(Type::Unknown)
}

/// Time is summed and averaged as the number of its microseconds.
fn number(from: Type, expr: Expr) -> Expr {
    match from {
        Type::Datetime | Type::Timespan => datafusion::logical_expr::cast(expr, DataType::Int64),
        _ => expr,
    }
}

fn back(to: Type, expr: Expr) -> Expr {
    match to {
        Type::Datetime | Type::Timespan => {
            let whole = datafusion::logical_expr::try_cast(expr, DataType::Int64);
            datafusion::logical_expr::cast(whole, to.arrow())
        }
        _ => expr,
    }
}

fn real(types: &[Type], expr: Expr) -> Expr {
    let from = kind(types);
    match from {
        Type::Datetime | Type::Timespan => {
            // In ticks, as the language counts time.
            datafusion::logical_expr::cast(number(from, expr), DataType::Float64) * lit(10.0)
        }
        _ => cast(from, Type::Real, expr),
    }
}

fn sum(types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let from = kind(types);
    let to = widest(from, Type::Long);
    let to = if matches!(from, Type::Datetime | Type::Timespan) { from } else { to };
    let value = match from {
        Type::Datetime | Type::Timespan => number(from, one(args)?),
        _ => cast(from, to, one(args)?),
    };
    let total = native::sum(value);
    Ok(match to {
        Type::Real => coalesce(vec![total, lit(0.0)]),
        Type::Decimal => {
            coalesce(vec![datafusion::logical_expr::try_cast(total, to.arrow()), cast(Type::Long, to, lit(0i64))])
        }
        _ => back(to, coalesce(vec![total, lit(0i64)])),
    })
}

fn average(types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let from = kind(types);
    let value = one(args)?;
    Ok(match from {
        Type::Decimal => datafusion::logical_expr::try_cast(native::avg(value), from.arrow()),
        Type::Datetime | Type::Timespan => {
            back(from, native::avg(datafusion::logical_expr::cast(number(from, value), DataType::Float64)))
        }
        _ => native::avg(cast(from, Type::Real, value)),
    })
}

fn averaged(types: &[Type]) -> Type {
    match kind(types) {
        Type::Int | Type::Long => Type::Real,
        other => other,
    }
}

fn ranked(types: &[Type]) -> Type {
    match kind(types) {
        Type::Int => Type::Long,
        Type::Decimal => Type::Real,
        other => other,
    }
}

/// The value that percentiles rank: an integer, a real, or the microseconds of a time.
fn rankable(types: &[Type], value: Expr) -> Result<(Type, Expr), Refusal> {
    let from = kind(types);
    match from {
        Type::Datetime | Type::Timespan => Ok((from, number(from, value))),
        Type::Int | Type::Long => Ok((Type::Long, cast(from, Type::Long, value))),
        Type::Real | Type::Decimal => Ok((Type::Real, cast(from, Type::Real, value))),
        _ => Err(Refusal::Argument { code: "GQ102", at: 0, expected: "a number, datetime or timespan" }),
    }
}

fn percentile(types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let Ok([value, rank]) = <[Expr; 2]>::try_from(args) else { return Err(Refusal::Count(2, 2)) };
    let (to, value) = rankable(types, value)?;
    let rank = cast(types.get(1).copied().unwrap_or(Type::Long), Type::Real, rank);
    Ok(back(to, call("kql_percentile", vec![value, lit(1i64), rank])?))
}

fn weighted(types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let Ok([value, weight, rank]) = <[Expr; 3]>::try_from(args) else { return Err(Refusal::Count(3, 3)) };
    let (to, value) = rankable(types, value)?;
    let weight = cast(types.get(1).copied().unwrap_or(Type::Long), Type::Long, weight);
    let rank = cast(types.get(2).copied().unwrap_or(Type::Long), Type::Real, rank);
    Ok(back(to, call("kql_percentile", vec![value, weight, rank])?))
}

/// All ranks in one array of the result's values.
fn percentiles_array(types: &[Type], mut args: Vec<Expr>, with_weight: bool) -> Result<Expr, Refusal> {
    let first_rank = 1 + usize::from(with_weight);
    if args.len() <= first_rank {
        return Err(Refusal::Count(first_rank + 1, 64));
    }
    let ranks = args.split_off(first_rank);
    let mut args = args.into_iter();
    let (to, value) = rankable(types, args.next().ok_or(Refusal::Count(2, 64))?)?;
    let weight = args.next().map_or(lit(1i64), |w| cast(types.get(1).copied().unwrap_or(Type::Long), Type::Long, w));
    let ranks = match (types.get(first_rank), ranks.as_slice()) {
        (Some(Type::Dynamic), [array]) => array.clone(),
        _ => {
            let kinds = types.get(first_rank..).unwrap_or_default();
            let packed = ranks.into_iter().zip(kinds).map(|(e, k)| cast(*k, Type::Dynamic, e)).collect();
            super::eval::known("kql_pack_array", packed)
        }
    };
    let word = to.name();
    call("kql_percentiles_array", vec![value, weight, ranks, lit(word)])
}

/// The parts of `percentiles` and `percentilesw`: the aggregate that each column is, and which arguments it takes.
#[must_use]
pub fn percentile_parts(name: &str, arguments: usize) -> Option<(&'static Aggregate, Vec<Vec<usize>>)> {
    match name {
        "percentiles" => Some((super::aggregate("percentile")?, (1..arguments).map(|at| vec![0, at]).collect())),
        "percentilesw" => Some((super::aggregate("percentilew")?, (2..arguments).map(|at| vec![0, 1, at]).collect())),
        _ => None,
    }
}

/// The columns of `arg_max`, `arg_min` and `take_any` (also by their old names): one expression for each argument, all
/// of one row. The first argument of the former two is what is compared.
pub fn arg_extreme(name: &str, types: &[Type], args: Vec<Expr>) -> Result<Vec<Expr>, Refusal> {
    let function = match name {
        "arg_max" | "argmax" => "kql_arg_max",
        "arg_min" | "argmin" => "kql_arg_min",
        "take_any" | "any" => "kql_take_any",
        other => return Err(Refusal::Value(format!("`{other}` takes one row's values of no group"))),
    };
    let Some(first) = types.first() else { return Err(Refusal::Count(1, 1024)) };
    if function != "kql_take_any" {
        Param::Orderable.check(0, *first)?;
    }
    let count = args.len();
    let row = call(function, args)?;
    Ok((0..count)
        .zip(types)
        .map(|(at, kind)| {
            let value = get_field(row.clone(), format!("c{at}"));
            if *kind == Type::Text { coalesce(vec![value, lit("")]) } else { value }
        })
        .collect())
}

fn first_of_extreme(name: &str, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    one(arg_extreme(name, types, args)?)
}

/// Elements or bytes; the number is the language's own bound on an array that is collected.
const COLLECTED_MAX: i64 = 1_048_576;

fn collect(function: &'static str, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let mut args = args.into_iter();
    let value = args.next().ok_or(Refusal::Count(1, 2))?;
    // A value that a condition made nothing is null also where it is text, and stays out.
    let json = match kind(types) {
        Type::Dynamic => value,
        Type::Text => {
            let conditional = matches!(value, Expr::Case(_));
            let quoted = super::eval::known("kql_dynamic_of_text", vec![value.clone()]);
            if conditional { when(value.is_not_null(), quoted).end().map_err(planning)? } else { quoted }
        }
        Type::Guid => when(value.clone().is_not_null(), super::eval::known("kql_dynamic_of_text", vec![value]))
            .end()
            .map_err(planning)?,
        other => cast(other, Type::Dynamic, value),
    };
    let most = match args.next() {
        Some(most) => cast(types.get(1).copied().unwrap_or(Type::Long), Type::Long, most),
        None => lit(COLLECTED_MAX),
    };
    let empty = if function == "kql_make_bag" { "{}" } else { "[]" };
    Ok(coalesce(vec![call(function, vec![json, most])?, lit(empty)]))
}

fn extreme(types: &[Type], args: Vec<Expr>, most: bool) -> Result<Expr, Refusal> {
    let value = one(args)?;
    let found = if most { native::max(value) } else { native::min(value) };
    Ok(if kind(types) == Type::Text { coalesce(vec![found, lit("")]) } else { found })
}

fn distinct(types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let value = one(args)?;
    // Absent text is the empty text, which counts; what a condition made nothing does not.
    let value = match kind(types) {
        Type::Text if !matches!(value, Expr::Case(_)) => coalesce(vec![value, lit("")]),
        _ => value,
    };
    call("kql_dcount", vec![value])
}

fn distinct_exact(types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let value = one(args)?;
    let value = match kind(types) {
        Type::Text if !matches!(value, Expr::Case(_)) => coalesce(vec![value, lit("")]),
        _ => value,
    };
    Ok(native::count_distinct(value))
}

fn bits(types: &[Type], args: Vec<Expr>, by: fn(Expr) -> Expr) -> Result<Expr, Refusal> {
    match kind(types) {
        Type::Int | Type::Long => Ok(by(one(args)?)),
        _ => Err(Refusal::Argument { code: "GQ102", at: 0, expected: "an integer" }),
    }
}

fn spread(types: &[Type], args: Vec<Expr>, by: fn(Expr) -> Expr) -> Result<Expr, Refusal> {
    Ok(by(real(types, one(args)?)))
}

fn together(types: &[Type], args: Vec<Expr>, by: fn(Expr, Expr) -> Expr) -> Result<Expr, Refusal> {
    let Ok([y, x]) = <[Expr; 2]>::try_from(args) else { return Err(Refusal::Count(2, 2)) };
    Ok(by(real(types, y), real(types.get(1..).unwrap_or_default(), x)))
}

use Param::{Any, Bool, Dynamic, Long, LongConstant, NotDynamic, Number, Orderable, Summable};
const LONG: Ret = Ret::Is(Type::Long);
const REAL: Ret = Ret::Is(Type::Real);
const DYNAMIC: Ret = Ret::Is(Type::Dynamic);
const SUMMED: Ret = Ret::By(|types| match kind(types) {
    Type::Int => Type::Long,
    other => other,
});

macro_rules! agg {
    ($name:literal, $prefix:literal, $params:expr, $ret:expr, $doc:literal, $example:literal, $lower:expr) => {
        Aggregate::new($name, Naming::Prefix($prefix), $params, $ret, $doc, $example, $lower)
    };
}

fn count_rows(_: &[Type], _: Vec<Expr>) -> Result<Expr, Refusal> {
    Ok(native::count(lit(1i64)))
}

fn count_where(_: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    Ok(native::count(when(one(args)?, lit(1i64)).end().map_err(planning)?))
}

pub(super) const AGGREGATES: &[Aggregate] = &[
    agg!("count", "count", &[], LONG, "Counts rows.", "count()", count_rows).alias(&["cnt"]),
    agg!(
        "countif",
        "countif",
        &[Bool],
        LONG,
        "Counts the rows where a condition holds.",
        "countif(a > 1)",
        count_where
    ),
    agg!("sum", "sum", &[Summable], SUMMED, "Adds up the values of a group.", "sum(a)", sum),
    agg!("sumif", "sumif", &[Summable, Bool], SUMMED, "Adds up where a condition holds.", "sumif(a, a > 1)", sum)
        .conditional(),
    agg!("avg", "avg", &[Summable], Ret::By(averaged), "The mean of a group.", "avg(a)", average),
    agg!(
        "avgif",
        "avgif",
        &[Summable, Bool],
        Ret::By(averaged),
        "The mean where a condition holds.",
        "avgif(a, a > 1)",
        average
    )
    .conditional(),
    agg!("min", "min", &[Orderable], Ret::Like(0), "The least value of a group.", "min(a)", |t, a| extreme(
        t, a, false
    )),
    agg!(
        "minif",
        "minif",
        &[Orderable, Bool],
        Ret::Like(0),
        "The least value where a condition holds.",
        "minif(a, a > 1)",
        |t, a| { extreme(t, a, false) }
    )
    .conditional(),
    agg!("max", "max", &[Orderable], Ret::Like(0), "The greatest value of a group.", "max(a)", |t, a| extreme(
        t, a, true
    )),
    agg!(
        "maxif",
        "maxif",
        &[Orderable, Bool],
        Ret::Like(0),
        "The greatest value where a condition holds.",
        "maxif(a, a > 1)",
        |t, a| { extreme(t, a, true) }
    )
    .conditional(),
    agg!(
        "dcount",
        "dcount",
        &[Any, Long],
        LONG,
        "Counts distinct values: exactly up to some thousands, then within about one in a hundred.",
        "dcount(s)",
        distinct
    )
    .optional(1),
    agg!(
        "dcountif",
        "dcountif",
        &[Any, Bool, Long],
        LONG,
        "Counts distinct values where a condition holds.",
        "dcountif(s, a > 1)",
        distinct
    )
    .optional(1)
    .conditional(),
    agg!(
        "count_distinct",
        "count_distinct",
        &[NotDynamic],
        LONG,
        "Counts distinct values exactly.",
        "count_distinct(s)",
        distinct_exact
    ),
    agg!(
        "count_distinctif",
        "count_distinctif",
        &[NotDynamic, Bool],
        LONG,
        "Counts distinct values exactly where a condition holds.",
        "count_distinctif(s, a > 1)",
        distinct_exact
    )
    .conditional(),
    agg!(
        "make_list",
        "list",
        &[Any, LongConstant],
        DYNAMIC,
        "Collects the values of a group in an array.",
        "make_list(s)",
        |t, a| { collect("kql_make_list", t, a) }
    )
    .optional(1)
    .alias(&["makelist"]),
    agg!(
        "make_list_if",
        "list",
        &[Any, Bool, LongConstant],
        DYNAMIC,
        "Collects the values of a group where a condition holds.",
        "make_list_if(s, a > 1)",
        |t, a| collect("kql_make_list", t, a)
    )
    .optional(1)
    .conditional(),
    agg!(
        "make_list_with_nulls",
        "list",
        &[Any],
        DYNAMIC,
        "Collects the values of a group, missing ones too.",
        "make_list_with_nulls(a)",
        |t, a| { collect("kql_make_list_with_nulls", t, a) }
    ),
    agg!(
        "make_set",
        "set",
        &[Any, LongConstant],
        DYNAMIC,
        "Collects the distinct values of a group.",
        "make_set(s, 100)",
        |t, a| { collect("kql_make_set", t, a) }
    )
    .optional(1)
    .alias(&["makeset"]),
    agg!(
        "make_set_if",
        "set",
        &[Any, Bool, LongConstant],
        DYNAMIC,
        "Collects the distinct values of a group where a condition holds.",
        "make_set_if(s, a > 1)",
        |t, a| collect("kql_make_set", t, a)
    )
    .optional(1)
    .conditional(),
    agg!(
        "make_bag",
        "bag",
        &[Dynamic, LongConstant],
        DYNAMIC,
        "Merges the bags of a group into one.",
        "make_bag(d)",
        |t, a| { collect("kql_make_bag", t, a) }
    )
    .optional(1)
    .alias(&["make_dictionary"]),
    agg!(
        "make_bag_if",
        "bag",
        &[Dynamic, Bool, LongConstant],
        DYNAMIC,
        "Merges the bags of a group where a condition holds.",
        "make_bag_if(d, a > 1)",
        |t, a| collect("kql_make_bag", t, a)
    )
    .optional(1)
    .conditional(),
    Aggregate::new(
        "take_any",
        Naming::Argument,
        &[Any],
        Ret::Like(0),
        "The values of one row of a group.",
        "take_any(s)",
        |t, a| first_of_extreme("take_any", t, a),
    )
    .variadic()
    .alias(&["any"]),
    Aggregate::new(
        "take_anyif",
        Naming::Argument,
        &[Any, Bool],
        Ret::Like(0),
        "A value of a group where a condition holds.",
        "take_anyif(s, a > 1)",
        |t, a| first_of_extreme("take_any", t, a),
    )
    .conditional()
    .alias(&["anyif"]),
    Aggregate::new(
        "arg_max",
        Naming::Argument,
        &[Orderable, Any],
        Ret::Like(0),
        "The row of a group that has the greatest value.",
        "arg_max(t, *)",
        |t, a| first_of_extreme("arg_max", t, a),
    )
    .optional(1)
    .variadic()
    .alias(&["argmax"]),
    Aggregate::new(
        "arg_min",
        Naming::Argument,
        &[Orderable, Any],
        Ret::Like(0),
        "The row of a group that has the least value.",
        "arg_min(t, *)",
        |t, a| first_of_extreme("arg_min", t, a),
    )
    .optional(1)
    .variadic()
    .alias(&["argmin"]),
    Aggregate::new(
        "percentile",
        Naming::PrefixAndLast("percentile"),
        &[Any, Number],
        Ret::By(ranked),
        "The value at a rank, by the nearest rank.",
        "percentile(a, 95)",
        percentile,
    ),
    Aggregate::new(
        "percentiles",
        Naming::PrefixAndLast("percentile"),
        &[Any, Number],
        Ret::By(ranked),
        "The values at several ranks, a column for each.",
        "percentiles(a, 5, 50, 95)",
        percentile,
    )
    .variadic(),
    Aggregate::new(
        "percentilew",
        Naming::PrefixAndLast("percentile"),
        &[Any, Long, Number],
        Ret::By(ranked),
        "The value at a rank, each value counted as often as its weight says.",
        "percentilew(a, w, 95)",
        weighted,
    ),
    Aggregate::new(
        "percentilesw",
        Naming::PrefixAndLast("percentile"),
        &[Any, Long, Number],
        Ret::By(ranked),
        "The weighted values at several ranks, a column for each.",
        "percentilesw(a, w, 5, 95)",
        weighted,
    )
    .variadic(),
    agg!(
        "percentiles_array",
        "percentiles",
        &[Any, Any],
        DYNAMIC,
        "The values at several ranks in an array.",
        "percentiles_array(a, 5, 95)",
        |t, a| { percentiles_array(t, a, false) }
    )
    .variadic(),
    agg!(
        "percentilesw_array",
        "percentiles",
        &[Any, Long, Any],
        DYNAMIC,
        "The weighted values at several ranks in an array.",
        "percentilesw_array(a, w, 5, 95)",
        |t, a| percentiles_array(t, a, true)
    )
    .variadic(),
    agg!("stdev", "stdev", &[Summable], REAL, "The standard deviation of a sample.", "stdev(a)", |t, a| spread(
        t,
        a,
        native::stddev
    )),
    agg!(
        "stdevif",
        "stdevif",
        &[Summable, Bool],
        REAL,
        "The standard deviation where a condition holds.",
        "stdevif(a, a > 0)",
        |t, a| { spread(t, a, native::stddev) }
    )
    .conditional(),
    agg!("stdevp", "stdevp", &[Summable], REAL, "The standard deviation of a whole.", "stdevp(a)", |t, a| spread(
        t,
        a,
        native::stddev_pop
    )),
    agg!("variance", "variance", &[Summable], REAL, "The variance of a sample.", "variance(a)", |t, a| spread(
        t,
        a,
        native::var_sample
    )),
    agg!(
        "varianceif",
        "varianceif",
        &[Summable, Bool],
        REAL,
        "The variance where a condition holds.",
        "varianceif(a, a > 0)",
        |t, a| { spread(t, a, native::var_sample) }
    )
    .conditional(),
    agg!("variancep", "variancep", &[Summable], REAL, "The variance of a whole.", "variancep(a)", |t, a| spread(
        t,
        a,
        native::var_pop
    )),
    agg!(
        "variancepif",
        "variancepif",
        &[Summable, Bool],
        REAL,
        "The variance of a whole where a condition holds.",
        "variancepif(a, a > 1)",
        |t, a| { spread(t, a, native::var_pop) }
    )
    .conditional(),
    agg!(
        "covariance",
        "covariance",
        &[Summable, Summable],
        REAL,
        "The covariance of a sample.",
        "covariance(a, b)",
        |t, a| { together(t, a, native::covar_samp) }
    ),
    agg!(
        "covarianceif",
        "covarianceif",
        &[Summable, Summable, Bool],
        REAL,
        "The covariance where a condition holds.",
        "covarianceif(a, b, a > 0)",
        |t, a| { together(t, a, native::covar_samp) }
    )
    .conditional(),
    agg!(
        "covariancep",
        "covariancep",
        &[Summable, Summable],
        REAL,
        "The covariance of a whole.",
        "covariancep(a, b)",
        |t, a| { together(t, a, native::covar_pop) }
    ),
    agg!(
        "covariancepif",
        "covariancepif",
        &[Summable, Summable, Bool],
        REAL,
        "The covariance of a whole where a condition holds.",
        "covariancepif(a, b, a > 1)",
        |t, a| together(t, a, native::covar_pop)
    )
    .conditional(),
    Aggregate::new(
        "binary_all_and",
        Naming::Argument,
        &[Summable],
        Ret::Like(0),
        "All values combined by bitwise and.",
        "binary_all_and(a)",
        |t, a| bits(t, a, native::bit_and),
    ),
    Aggregate::new(
        "binary_all_or",
        Naming::Argument,
        &[Summable],
        Ret::Like(0),
        "All values combined by bitwise or.",
        "binary_all_or(a)",
        |t, a| bits(t, a, native::bit_or),
    ),
    Aggregate::new(
        "binary_all_xor",
        Naming::Argument,
        &[Summable],
        Ret::Like(0),
        "All values combined by bitwise exclusive or.",
        "binary_all_xor(a)",
        |t, a| bits(t, a, native::bit_xor),
    ),
    agg!(
        "buildschema",
        "schema",
        &[Dynamic],
        DYNAMIC,
        "The smallest description that fits all dynamic values.",
        "buildschema(d)",
        |_, a| { called("kql_buildschema", a) }
    ),
];
