//! Window functions. They read rows in the order in which these come; the binder sees to it that there is one.

use super::convert::{cast, null};
use super::signature::{self, Param, Ret, constants};
use super::{Context, Naming, Refusal};
use crate::Type;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, UInt64Array};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{SortOptions, cast as cast_array, is_null, take};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Expr, PartitionEvaluator, Signature, TypeSignature, Volatility, WindowFunctionDefinition, WindowUDF, WindowUDFImpl,
    lit,
};
use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

/// A window function.
pub struct Window {
    /// Its name.
    pub name: &'static str,
    /// Old names that mean the same.
    pub aliases: &'static [&'static str],
    /// What it takes.
    pub params: &'static [Param],
    /// How many of `params`, at the end, may be left out.
    pub optional: usize,
    /// What it gives.
    pub ret: Ret,
    /// One sentence.
    pub doc: &'static str,
    /// A call.
    pub example: &'static str,
}

impl Window {
    /// How its column is named: by its place.
    #[must_use]
    pub const fn naming(&self) -> Naming {
        Naming::None
    }

    /// Fewest and most arguments.
    #[must_use]
    pub fn arity(&self) -> (usize, usize) {
        signature::arity(self.params, self.optional, false)
    }

    /// The type of the result, or why these arguments do not fit.
    pub fn result(&self, types: &[Type]) -> Result<Type, Refusal> {
        signature::check(self.params, self.optional, false, types)?;
        Ok(self.ret.of(types))
    }

    /// A window expression without partitions and without an order of its own.
    pub fn lower(&self, context: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
        let _ = context;
        let result = self.result(types)?;
        constants(self.params, &args)?;
        let mut args: Vec<Expr> = args
            .into_iter()
            .zip(types)
            .enumerate()
            .map(|(at, (e, kind))| {
                let wanted = match (self.params.get(at), self.name) {
                    (Some(Param::Long | Param::LongConstant), _) => Type::Long,
                    (Some(Param::Any), "prev" | "next") => result,
                    _ => *kind,
                };
                cast(*kind, wanted, e)
            })
            .collect();
        // Absent text is the empty text, or rows would differ that do not.
        if types.first() == Some(&Type::Text)
            && let Some(first) = args.first_mut()
        {
            *first = coalesce(vec![first.clone(), lit("")]);
        }
        if matches!(self.name, "prev" | "next") {
            if args.len() == 1 {
                args.push(lit(1i64));
            }
            if args.len() == 2 {
                args.push(null(result));
            }
        }
        let name = format!("kql_{}", self.name);
        let udwf = UDWFS.iter().find(|u| u.name() == name);
        let udwf = udwf.ok_or_else(|| Refusal::Value(format!("`{name}` is not built")))?;
        let call = WindowFunction::new(WindowFunctionDefinition::WindowUDF(Arc::clone(udwf)), args);
        Ok(Expr::from(call))
    }
}

use Param::{Any, Bool, Datetime, Long, NotDynamic, Summable, Timespan};

pub(super) const WINDOWS: &[Window] = &[
    Window {
        name: "row_number",
        aliases: &[],
        params: &[Long, Bool],
        optional: 2,
        ret: Ret::Is(Type::Long),
        doc: "Numbers the rows, from 1 or another number, and starts over where a condition holds.",
        example: "row_number(1, s != prev(s))",
    },
    Window {
        name: "row_cumsum",
        aliases: &[],
        params: &[Summable, Bool],
        optional: 1,
        ret: Ret::Like(0),
        doc: "Adds up the values of the rows so far, and starts over where a condition holds.",
        example: "row_cumsum(a)",
    },
    Window {
        name: "row_rank_dense",
        aliases: &["row_rank"],
        params: &[NotDynamic, Bool],
        optional: 1,
        ret: Ret::Is(Type::Long),
        doc: "Ranks the rows: a row with another value than the one before has the next rank.",
        example: "row_rank_dense(a)",
    },
    Window {
        name: "row_rank_min",
        aliases: &[],
        params: &[NotDynamic, Bool],
        optional: 1,
        ret: Ret::Is(Type::Long),
        doc: "Ranks the rows: equal rows have the number of the first of them.",
        example: "row_rank_min(a)",
    },
    Window {
        name: "row_window_session",
        aliases: &[],
        params: &[Datetime, Timespan, Timespan, Bool],
        optional: 1,
        ret: Ret::Is(Type::Datetime),
        doc: "The start of the session that a row belongs to: sessions end by length, by a gap, or by a condition.",
        example: "row_window_session(t, 1h, 5m, s != prev(s))",
    },
    Window {
        name: "prev",
        aliases: &[],
        params: &[Any, Long, Any],
        optional: 2,
        ret: Ret::Like(0),
        doc: "The value some rows before, or another where there is none.",
        example: "prev(a, 1, 0)",
    },
    Window {
        name: "next",
        aliases: &[],
        params: &[Any, Long, Any],
        optional: 2,
        ret: Ret::Like(0),
        doc: "The value some rows after, or another where there is none.",
        example: "next(a)",
    },
];

static UDWFS: LazyLock<Vec<Arc<WindowUDF>>> = LazyLock::new(|| {
    let make = |w: &Window| {
        // `row_number` takes nothing, the others something.
        let any = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
        let signature = Signature::one_of(any, Volatility::Immutable);
        let kind = Kind::of(w.name)?;
        Some(Arc::new(WindowUDF::from(Udwf { name: format!("kql_{}", w.name), kind, signature })))
    };
    WINDOWS.iter().filter_map(make).collect()
});

/// Every window function of ours.
pub(super) fn all() -> impl Iterator<Item = WindowUDF> {
    UDWFS.iter().map(|udwf| udwf.as_ref().clone())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Number,
    Sum,
    Dense,
    Least,
    Session,
    Prev,
    Next,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "row_number" => Self::Number,
            "row_cumsum" => Self::Sum,
            "row_rank_dense" => Self::Dense,
            "row_rank_min" => Self::Least,
            "row_window_session" => Self::Session,
            "prev" => Self::Prev,
            "next" => Self::Next,
            _ => return None,
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Udwf {
    name: String,
    kind: Kind,
    signature: Signature,
}

impl WindowUDFImpl for Udwf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator { kind: self.kind }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let first = args.input_fields().first().map_or(DataType::Null, |f| f.data_type().clone());
        let kind = match self.kind {
            Kind::Number | Kind::Dense | Kind::Least => DataType::Int64,
            _ => first,
        };
        Ok(Arc::new(Field::new(args.name(), kind, true)))
    }
}

#[derive(Debug)]
struct Evaluator {
    kind: Kind,
}

/// Whether a condition holds at each row; where there is none, it never does.
fn restarts(array: Option<&ArrayRef>) -> impl Fn(usize) -> bool {
    let array: Option<BooleanArray> = array.and_then(|a| a.as_boolean_opt()).cloned();
    move |row| array.as_ref().is_some_and(|a| a.is_valid(row) && a.value(row))
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let first = values.first();
        Ok(match self.kind {
            Kind::Number => {
                let start = first.and_then(|a| a.as_primitive_opt::<Int64Type>());
                let start = start.filter(|a| !a.is_empty() && a.is_valid(0)).map_or(1, |a| a.value(0));
                let restart = restarts(values.get(1));
                let mut next = start;
                let numbers = (0..rows).map(|row| {
                    if restart(row) {
                        next = start;
                    }
                    let number = next;
                    next = next.saturating_add(1);
                    number
                });
                Arc::new(numbers.collect::<Int64Array>())
            }
            Kind::Sum => {
                let Some(first) = first else { return exec_err!("`row_cumsum` takes a column") };
                sums(first, &restarts(values.get(1)))?
            }
            Kind::Dense | Kind::Least => {
                let Some(first) = first else { return exec_err!("a rank takes a column") };
                let compare = arrow::array::make_comparator(first, first, SortOptions::default())?;
                let restart = restarts(values.get(1));
                let (mut rank, mut seen) = (0, 0);
                let ranks = (0..rows).map(|row| {
                    if row == 0 || restart(row) {
                        (rank, seen) = (1, 1);
                    } else {
                        seen += 1;
                        if compare(row, row - 1) != Ordering::Equal {
                            rank = if self.kind == Kind::Dense { rank + 1 } else { seen };
                        }
                    }
                    rank
                });
                Arc::new(ranks.collect::<Int64Array>())
            }
            Kind::Session => sessions(values)?,
            Kind::Prev | Kind::Next => {
                let [value, offset, otherwise, ..] = values else { return exec_err!("takes three arguments") };
                let by = offset.as_primitive_opt::<Int64Type>().filter(|a| !a.is_empty()).map_or(1, |a| a.value(0));
                let by = if self.kind == Kind::Prev { by.saturating_neg() } else { by };
                let at: UInt64Array = (0..rows)
                    .map(|row| {
                        let other = i64::try_from(row).ok()?.checked_add(by)?;
                        u64::try_from(other).ok().filter(|o| *o < rows as u64)
                    })
                    .collect();
                let moved = take(value, &at, None)?;
                let otherwise = cast_array(otherwise, moved.data_type())?;
                zip(&is_null(&at)?, &otherwise, &moved)?
            }
        })
    }
}

fn sums(values: &ArrayRef, restart: &dyn Fn(usize) -> bool) -> Result<ArrayRef> {
    if matches!(values.data_type(), DataType::Float64 | DataType::Decimal128(_, _)) {
        let real = cast_array(values, &DataType::Float64)?;
        let real = real.as_primitive::<Float64Type>();
        let mut total = 0.0;
        let sums = (0..real.len()).map(|row| {
            if restart(row) {
                total = 0.0;
            }
            total += if real.is_valid(row) { real.value(row) } else { 0.0 };
            total
        });
        let array: ArrayRef = Arc::new(sums.collect::<Float64Array>());
        return Ok(cast_array(&array, values.data_type())?);
    }
    let long = cast_array(values, &DataType::Int64)?;
    let long = long.as_primitive::<Int64Type>();
    let mut total = 0i64;
    let sums = (0..long.len()).map(|row| {
        if restart(row) {
            total = 0;
        }
        total = total.wrapping_add(if long.is_valid(row) { long.value(row) } else { 0 });
        total
    });
    let array: ArrayRef = Arc::new(sums.collect::<Int64Array>());
    Ok(cast_array(&array, values.data_type())?)
}

/// A session ends where it would be longer than allowed, after a gap, or where the condition holds.
fn sessions(values: &[ArrayRef]) -> Result<ArrayRef> {
    let [time, longest, gap, rest @ ..] = values else { return exec_err!("takes at least three arguments") };
    let longs = |array: &ArrayRef| -> Result<Int64Array> {
        Ok(cast_array(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    };
    let (times, longest, gaps) = (longs(time)?, longs(longest)?, longs(gap)?);
    let restart = restarts(rest.first());
    let mut start: Option<i64> = None;
    let mut last: Option<i64> = None;
    let starts: Int64Array = (0..times.len())
        .map(|row| {
            if times.is_null(row) {
                return None;
            }
            let now = times.value(row);
            let ended = match (start, last) {
                (Some(start), Some(last)) => {
                    restart(row)
                        || now.saturating_sub(start) > longest.value(row)
                        || now.saturating_sub(last) > gaps.value(row)
                }
                _ => true,
            };
            if ended {
                start = Some(now);
            }
            last = Some(now);
            start
        })
        .collect();
    let array: ArrayRef = Arc::new(starts);
    Ok(cast_array(&array, time.data_type())?)
}
