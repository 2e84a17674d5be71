//! A Sigma rule as a filter of the query engine, so that it can be run over the past.
//!
//! The rule is read, mapped and lowered by the `sigma` crate exactly as for the stream; only the last step differs: where
//! the stream's matcher looks at a row, the query engine looks at columns. What can be said in the engine's own words
//! without a shade of difference is said so (`=`, `LIKE`, `ILIKE`), because storage can skip files, row groups and pages
//! by it; everything else is a function that calls the matcher's own code on the column's values. Tests hold the two
//! together over the whole public corpus, row by row.
//!
//! SQL's third truth value is kept out: every test here is true or false, also on a column without a value.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::logical_expr::expr::Like;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility, col, lit,
};
use garrison_sigma::{Criterion, Engine, Literal, PairTest, Place, Platform, RuleIndex, RuleKind, ValueTest};
use garrison_telemetry::ColumnType;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Alternatives that are said in the engine's words; more are looked for faster by the matcher's one pass over the value.
const NATIVE_MAX: usize = 4;
/// Depth of an expression: the engine's own passes are recursive.
const DEPTH_MAX: usize = 64;

/// The rows of one table that a rule holds on.
#[derive(Debug, Clone)]
pub struct TableFilter {
    /// The hunting table.
    pub table: String,
    /// The condition.
    pub filter: Expr,
}

/// Why a rule has no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum NoFilter {
    /// Correlations look at matches over time: the rules that they name have filters.
    #[error("a correlation has no filter of its own: the rules that it names have")]
    Correlation,
    /// Filters are part of the rules that they take matches from.
    #[error("a Sigma filter is part of the rules that it applies to")]
    Filter,
    /// It was refused when it was read or compiled; its diagnostics say why.
    #[error("the rule cannot be used: see its remarks")]
    Unusable,
    /// No table of this platform is read.
    #[error("the rule reads no table of this platform")]
    Unread,
    /// Nested deeper than the query engine can follow safely.
    #[error("the rule's condition is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

impl NoFilter {
    /// Its number.
    pub fn code(self) -> &'static str {
        match self {
            Self::Correlation => "RH001",
            Self::Filter => "RH002",
            Self::Unusable => "RH003",
            Self::Unread => "RH004",
            Self::TooDeep => "RH005",
        }
    }
}

/// The filters of a rule, one for each table that it reads.
pub fn compile(engine: &Engine, rule: RuleIndex, platform: Option<Platform>) -> Result<Vec<TableFilter>, NoFilter> {
    match engine.rule(rule).map(|r| r.kind) {
        Some(RuleKind::Correlation) => return Err(NoFilter::Correlation),
        Some(RuleKind::Filter) => return Err(NoFilter::Filter),
        Some(RuleKind::Rule) if engine.is_usable(rule) => {}
        _ => return Err(NoFilter::Unusable),
    }
    let mut tables: Vec<&String> = engine.tables_of(rule).iter().collect();
    tables.sort();
    tables.dedup();
    // A table that this version's schema does not have has no rows.
    tables.retain(|table| garrison_telemetry::table(table).is_some());
    let mut filters = Vec::new();
    for table in tables {
        let Some(criterion) = engine.criterion(rule, table, platform) else { continue };
        if depth(&criterion) > DEPTH_MAX {
            return Err(NoFilter::TooDeep);
        }
        filters.push(TableFilter { table: table.clone(), filter: filter(table, &criterion) });
    }
    if filters.is_empty() { Err(NoFilter::Unread) } else { Ok(filters) }
}

/// Rules are nested at most as deep as the `sigma` crate's limits allow, so this recursion ends.
fn depth(criterion: &Criterion) -> usize {
    match criterion {
        Criterion::Always(_) | Criterion::Value(_) | Criterion::Pair(_) => 1,
        Criterion::All(parts) | Criterion::Any(parts) | Criterion::AtLeast(_, parts) => {
            1 + parts.iter().map(depth).max().unwrap_or(0)
        }
        Criterion::Not(inner) => 1 + depth(inner),
    }
}

fn filter(table: &str, criterion: &Criterion) -> Expr {
    let all = |parts: &[Criterion]| parts.iter().map(|part| filter(table, part)).collect::<Vec<_>>();
    match criterion {
        Criterion::Always(value) => lit(*value),
        Criterion::Value(test) => value(table, test),
        Criterion::Pair(test) => pair(table, test),
        Criterion::All(parts) => join(all(parts), Expr::and).unwrap_or_else(|| lit(true)),
        Criterion::Any(parts) => join(all(parts), Expr::or).unwrap_or_else(|| lit(false)),
        Criterion::Not(inner) => !filter(table, inner),
        Criterion::AtLeast(count, parts) => {
            let one = |part: Expr| datafusion::logical_expr::when(part, lit(1_i64)).otherwise(lit(0_i64)).ok();
            let held: Vec<Expr> = all(parts).into_iter().filter_map(one).collect();
            let sum = join(held, |a, b| a + b).unwrap_or_else(|| lit(0_i64));
            sum.gt_eq(lit(i64::try_from(*count).unwrap_or(i64::MAX)))
        }
    }
}

/// Joins as a balanced tree, so that a list of thousands is not thousands deep.
fn join(mut parts: Vec<Expr>, with: fn(Expr, Expr) -> Expr) -> Option<Expr> {
    while parts.len() > 1 {
        let mut joined = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(first) = rest.next() {
            joined.push(match rest.next() {
                Some(second) => with(first, second),
                None => first,
            });
        }
        parts = joined;
    }
    parts.pop()
}

fn column_kind(table: &str, column: &str) -> Option<ColumnType> {
    garrison_telemetry::table(table)?.column(column).map(|c| c.kind)
}

/// A column by its name as it is written: names are case-sensitive here.
fn column(name: &str) -> Expr {
    Expr::Column(datafusion::common::Column::new_unqualified(name))
}

fn value(table: &str, test: &ValueTest) -> Expr {
    let Some(kind) = column_kind(table, test.column()) else {
        // The table has no such column: it has no value on any row.
        return lit(test.holds_on_null());
    };
    native(kind, test).unwrap_or_else(|| {
        let function = ScalarUDF::from(SigmaValue::new(test.clone()));
        let exact = function.call(vec![column(test.column())]);
        // What must stand in the value in any case lets storage skip; the function decides.
        match required(kind, test) {
            Some(needed) => needed.and(exact),
            None => exact,
        }
    })
}

/// The test in the engine's own words, where these mean exactly the same.
fn native(kind: ColumnType, test: &ValueTest) -> Option<Expr> {
    let literals = test.literals()?;
    if literals.len() > NATIVE_MAX {
        return None;
    }
    let one = |literal: &Literal<'_>| match kind {
        ColumnType::Text | ColumnType::Dynamic => text(test.column(), literal),
        ColumnType::Int | ColumnType::Long if literal.place == Place::Whole => {
            let number: i64 = literal.text.parse().ok().filter(|n: &i64| n.to_string() == literal.text)?;
            Some(column(test.column()).eq(lit(number)))
        }
        _ => None,
    };
    let alternatives: Vec<Expr> = literals.iter().map(one).collect::<Option<_>>()?;
    let any = join(alternatives, Expr::or)?;
    Some(column(test.column()).is_not_null().and(any))
}

/// Only texts of ASCII are compared without case by the engine: for them its folding and ours are the same, whatever the
/// value holds.
fn text(name: &str, literal: &Literal<'_>) -> Option<Expr> {
    if literal.place == Place::Whole
        && (literal.cased || !literal.text.chars().any(|c| c.is_ascii_alphabetic() || !c.is_ascii()))
    {
        return Some(column(name).eq(lit(literal.text)));
    }
    if !literal.cased && !literal.text.is_ascii() {
        return None;
    }
    let (before, after) = match literal.place {
        Place::Whole => ("", ""),
        Place::Start => ("", "%"),
        Place::End => ("%", ""),
        Place::Inside => ("%", "%"),
    };
    Some(like(name, &format!("{before}{}{after}", like_escaped(literal.text)), !literal.cased))
}

fn like_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn like(name: &str, pattern: &str, case_insensitive: bool) -> Expr {
    Expr::Like(Like::new(false, Box::new(column(name)), Box::new(lit(pattern)), None, case_insensitive))
}

fn required(kind: ColumnType, test: &ValueTest) -> Option<Expr> {
    if !matches!(kind, ColumnType::Text | ColumnType::Dynamic) {
        return None;
    }
    let parts = test.required()?;
    // Short parts stand in nearly every value: they skip nothing and cost a pass.
    if parts.is_empty() || parts.len() > NATIVE_MAX || parts.iter().any(|p| !p.is_ascii() || p.len() < 4) {
        return None;
    }
    let any = parts.iter().map(|p| like(test.column(), &format!("%{}%", like_escaped(p)), true)).collect();
    Some(column(test.column()).is_not_null().and(join(any, Expr::or)?))
}

fn pair(table: &str, test: &PairTest) -> Expr {
    let known: Vec<Expr> = test
        .columns()
        .iter()
        .map(|name| match column_kind(table, name) {
            Some(_) => column(name),
            None => lit(ScalarValue::Utf8(None)),
        })
        .collect();
    ScalarUDF::from(SigmaPair::new(test.clone())).call(known)
}

/// The matcher's code on the values of one column.
#[derive(Debug)]
struct SigmaValue {
    test: ValueTest,
    signature: Signature,
}

impl SigmaValue {
    fn new(test: ValueTest) -> Self {
        Self { test, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl PartialEq for SigmaValue {
    fn eq(&self, other: &Self) -> bool {
        self.test.key() == other.test.key()
    }
}

impl Eq for SigmaValue {}

impl Hash for SigmaValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.test.key().hash(state);
    }
}

impl ScalarUDFImpl for SigmaValue {
    fn name(&self) -> &'static str {
        "sigma_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> EngineResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> EngineResult<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(Arc::new(self.test.evaluate(array)))),
            [ColumnarValue::Scalar(one)] => Ok(scalar(&self.test.evaluate(&one.to_array()?))),
            other => Err(DataFusionError::Execution(format!("sigma_value takes one column, not {}", other.len()))),
        }
    }
}

fn scalar(verdict: &BooleanArray) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Boolean(verdict.iter().next().flatten()))
}

/// The matcher's code on several columns of a row.
#[derive(Debug)]
struct SigmaPair {
    test: PairTest,
    key: String,
    signature: Signature,
}

impl SigmaPair {
    fn new(test: PairTest) -> Self {
        let form = match test.columns().len() {
            0 => TypeSignature::Nullary,
            count => TypeSignature::Any(count),
        };
        Self { key: test.key(), test, signature: Signature::new(form, Volatility::Immutable) }
    }
}

impl PartialEq for SigmaPair {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for SigmaPair {}

impl Hash for SigmaPair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl ScalarUDFImpl for SigmaPair {
    fn name(&self) -> &'static str {
        "sigma_pair"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> EngineResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> EngineResult<ColumnarValue> {
        let rows = args.number_rows;
        let columns: Vec<ArrayRef> = args.args.iter().map(|arg| arg.to_array(rows)).collect::<EngineResult<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(self.test.evaluate(&columns, rows))))
    }
}

/// The rows of a table from a moment on and before another one: files and pages outside are not read.
pub fn within(from: i64, to: i64) -> Expr {
    let time = |micros: i64| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
    col("\"Timestamp\"").gt_eq(time(from)).and(col("\"Timestamp\"").lt(time(to)))
}
