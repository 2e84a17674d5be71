//! Functions of ours that are computed row by row: one type of UDF for all of them, found by name.
//!
//! A dictionary is evaluated once a distinct value, constants once a batch, and a null argument gives null without a
//! call unless the function wants to judge it. Text is read where it lies; what a function returns is written straight
//! into the column that is being built.

use super::json::Json;
use super::signature::{Body, Ret};
use super::{Refusal, convert, dynamic, functions, math, operators, parse, search, strings};
use crate::Type;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Decimal128Array, Float64Array, Float64Builder,
    Int32Builder, Int64Array, Int64Builder, LargeStringArray, StringArray, StringBuilder, StringViewArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use regex::{Regex, RegexBuilder};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Bytes of one text that a function makes. Longer ones are the work of `strrep` and its like, not of telemetry, and a
/// batch of them would not fit an answer.
pub(super) const TEXT_BYTES_MAX: usize = 8 << 20;

/// Bytes that one compiled regular expression may take: the `regex` crate's own bound on a hostile pattern, in words.
const REGEX_BYTES_MAX: usize = 4 << 20;

/// Compiled patterns that are kept; a query has a handful.
const REGEXES_KEPT_MAX: usize = 256;

/// What a function returns for one row.
pub(super) enum Out<'a> {
    Null,
    Bool(bool),
    Long(i64),
    Real(f64),
    Str(&'a str),
    Text(String),
}

impl Out<'_> {
    pub(super) fn long(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Long)
    }
    pub(super) fn real(value: Option<f64>) -> Self {
        value.map_or(Self::Null, Self::Real)
    }
    pub(super) fn bool(value: Option<bool>) -> Self {
        value.map_or(Self::Null, Self::Bool)
    }
    pub(super) fn text(value: Option<String>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }
    pub(super) fn json(value: &Json) -> Self {
        if value.is_null() { Self::Null } else { Self::Text(value.json()) }
    }
}

/// The function of one row.
pub(super) type Eval = for<'a> fn(&'a Row<'a>) -> Out<'a>;

enum Values {
    Null,
    Bool(BooleanArray),
    Long(Int64Array),
    Real(Float64Array),
    Decimal(Decimal128Array),
    Utf8(StringArray),
    View(StringViewArray),
    Large(LargeStringArray),
}

/// One argument of a batch.
pub(super) struct Column {
    values: Values,
    kind: DataType,
    constant: bool,
    json: OnceCell<Json>,
}

impl Column {
    pub(super) fn new(value: &ColumnarValue) -> Result<Self> {
        let (array, constant) = match value {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array_of_size(1)?, true),
        };
        let kind = array.data_type().clone();
        let values = match &kind {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().clone()),
            DataType::Float64 => Values::Real(array.as_primitive().clone()),
            DataType::Decimal128(_, _) => Values::Decimal(array.as_primitive().clone()),
            DataType::Utf8 => Values::Utf8(array.as_string().clone()),
            DataType::LargeUtf8 => Values::Large(array.as_string().clone()),
            DataType::Utf8View => Values::View(array.as_string_view().clone()),
            DataType::Dictionary(_, _) => Values::View(cast(&array, &DataType::Utf8View)?.as_string_view().clone()),
            DataType::Float32 | DataType::Float16 => {
                Values::Real(cast(&array, &DataType::Float64)?.as_primitive().clone())
            }
            DataType::Timestamp(_, _) => {
                let micros = cast(&array, &Type::Datetime.arrow())?;
                Values::Long(cast(&micros, &DataType::Int64)?.as_primitive().clone())
            }
            DataType::Duration(_) => {
                let micros = cast(&array, &Type::Timespan.arrow())?;
                Values::Long(cast(&micros, &DataType::Int64)?.as_primitive().clone())
            }
            other if other.is_integer() => Values::Long(cast(&array, &DataType::Int64)?.as_primitive().clone()),
            other => return exec_err!("a function of the hunting language was given a column of type {other}"),
        };
        Ok(Self { values, kind, constant, json: OnceCell::new() })
    }

    const fn at(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }

    fn is_null(&self, row: usize) -> bool {
        let at = self.at(row);
        match &self.values {
            Values::Null => true,
            Values::Bool(a) => a.is_null(at),
            Values::Long(a) => a.is_null(at),
            Values::Real(a) => a.is_null(at),
            Values::Decimal(a) => a.is_null(at),
            Values::Utf8(a) => a.is_null(at),
            Values::View(a) => a.is_null(at),
            Values::Large(a) => a.is_null(at),
        }
    }

    pub(super) fn text(&self, row: usize) -> &str {
        let at = self.at(row);
        match &self.values {
            Values::Utf8(a) if a.is_valid(at) => a.value(at),
            Values::View(a) if a.is_valid(at) => a.value(at),
            Values::Large(a) if a.is_valid(at) => a.value(at),
            _ => "",
        }
    }

    /// What tells one text of a column of views from another without looking at it: equal ones are the same text, also
    /// where the column was decoded from a dictionary. `None` where it is absent, or the column is no such.
    pub(super) fn view(&self, row: usize) -> Option<u128> {
        match &self.values {
            Values::View(a) if a.is_valid(row) => a.views().get(row).copied(),
            _ => None,
        }
    }

    pub(super) const fn is_constant(&self) -> bool {
        self.constant
    }
}

/// The arguments of one row.
pub(super) struct Row<'a> {
    columns: &'a [Column],
    row: usize,
    output: &'a DataType,
}

impl<'a> Row<'a> {
    pub(super) const fn count(&self) -> usize {
        self.columns.len()
    }
    pub(super) fn is_null(&self, at: usize) -> bool {
        self.columns.get(at).is_none_or(|c| c.is_null(self.row))
    }
    pub(super) fn kind(&self, at: usize) -> &DataType {
        self.columns.get(at).map_or(&DataType::Null, |c| &c.kind)
    }
    pub(super) const fn output(&self) -> &DataType {
        self.output
    }
    /// Text; what is absent is empty.
    pub(super) fn text(&self, at: usize) -> &'a str {
        self.columns.get(at).map_or("", |c| c.text(self.row))
    }
    pub(super) fn long(&self, at: usize) -> Option<i64> {
        let column = self.columns.get(at)?;
        let at = column.at(self.row);
        match &column.values {
            Values::Long(a) if a.is_valid(at) => Some(a.value(at)),
            _ => None,
        }
    }
    pub(super) fn real(&self, at: usize) -> Option<f64> {
        let column = self.columns.get(at)?;
        let at = column.at(self.row);
        match &column.values {
            Values::Real(a) if a.is_valid(at) => Some(a.value(at)),
            Values::Long(a) if a.is_valid(at) => Some(a.value(at) as f64),
            Values::Decimal(a) if a.is_valid(at) => Some(a.value(at) as f64 / 10f64.powi(i32::from(a.scale()))),
            _ => None,
        }
    }
    pub(super) fn decimal(&self, at: usize) -> Option<String> {
        let column = self.columns.get(at)?;
        let at = column.at(self.row);
        match &column.values {
            Values::Decimal(a) if a.is_valid(at) => Some(a.value_as_string(at)),
            _ => None,
        }
    }
    pub(super) fn bool(&self, at: usize) -> Option<bool> {
        let column = self.columns.get(at)?;
        let at = column.at(self.row);
        match &column.values {
            Values::Bool(a) if a.is_valid(at) => Some(a.value(at)),
            _ => None,
        }
    }
    /// A dynamic value; a constant is parsed once a batch.
    pub(super) fn json(&self, at: usize) -> Json {
        let Some(column) = self.columns.get(at) else { return Json::Null };
        if column.constant {
            column.json.get_or_init(|| Json::parse(column.text(0))).clone()
        } else {
            Json::parse(column.text(self.row))
        }
    }
    /// A compiled regular expression; `None` if the text is none or is too big.
    #[allow(clippy::unused_self, reason = "belongs to what a function asks of its row")]
    pub(super) fn regex(&self, pattern: &str) -> Option<Regex> {
        regex(pattern)
    }
}

/// Compiles a pattern, or finds it compiled. The dialect is RE2's as the `regex` crate has it: linear time, no
/// look-around, no back-references.
pub(super) fn regex(pattern: &str) -> Option<Regex> {
    static KEPT: LazyLock<Mutex<HashMap<String, Option<Regex>>>> = LazyLock::new(Mutex::default);
    thread_local! {
        static LAST: std::cell::RefCell<Option<(String, Option<Regex>)>> = const { std::cell::RefCell::new(None) };
    }
    LAST.with(|last| {
        if let Some((text, found)) = &*last.borrow()
            && text == pattern
        {
            return found.clone();
        }
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= REGEXES_KEPT_MAX {
            kept.clear();
        }
        let found = kept.entry(pattern.to_owned()).or_insert_with(|| compile(pattern).ok()).clone();
        *last.borrow_mut() = Some((pattern.to_owned(), found.clone()));
        found
    })
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&crate::lower::pattern::ours(pattern))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
}

/// Refuses a constant pattern that does not compile, where the query is planned.
pub(super) fn check_regex(pattern: &str) -> Result<(), Refusal> {
    compile(pattern).map(|_| ()).map_err(|error| {
        let said = error.to_string();
        let last = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Refusal::Value(format!("the regular expression `{pattern}` cannot be used: {last}"))
    })
}

enum Builder {
    Bool(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Real(Float64Builder),
    Text(StringBuilder),
}

impl Builder {
    fn new(kind: &DataType, rows: usize) -> Result<Self> {
        Ok(match kind {
            DataType::Boolean => Self::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int32 => Self::Int(Int32Builder::with_capacity(rows)),
            DataType::Int64 | DataType::Timestamp(_, _) | DataType::Duration(_) => {
                Self::Long(Int64Builder::with_capacity(rows))
            }
            DataType::Float64 => Self::Real(Float64Builder::with_capacity(rows)),
            DataType::Utf8 => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
            other => return exec_err!("a function of the hunting language cannot make a column of type {other}"),
        })
    }

    fn push(&mut self, name: &str, out: &Out) -> Result<()> {
        match (self, out) {
            (Self::Bool(b), Out::Bool(v)) => b.append_value(*v),
            (Self::Bool(b), _) => b.append_null(),
            (Self::Int(b), Out::Long(v)) => b.append_option(i32::try_from(*v).ok()),
            (Self::Int(b), _) => b.append_null(),
            (Self::Long(b), Out::Long(v)) => b.append_value(*v),
            (Self::Long(b), _) => b.append_null(),
            (Self::Real(b), Out::Real(v)) => b.append_value(*v),
            (Self::Real(b), Out::Long(v)) => b.append_value(*v as f64),
            (Self::Real(b), _) => b.append_null(),
            (Self::Text(b), Out::Str(v)) => append(name, b, v)?,
            (Self::Text(b), Out::Text(v)) => append(name, b, v)?,
            (Self::Text(b), _) => b.append_null(),
        }
        Ok(())
    }

    fn finish(self, kind: &DataType) -> Result<ArrayRef> {
        Ok(match self {
            Self::Bool(mut b) => Arc::new(b.finish()),
            Self::Int(mut b) => Arc::new(b.finish()),
            Self::Real(mut b) => Arc::new(b.finish()),
            Self::Text(mut b) => Arc::new(b.finish()),
            Self::Long(mut b) => {
                let array: ArrayRef = Arc::new(b.finish());
                if *kind == DataType::Int64 { array } else { cast(&array, kind)? }
            }
        })
    }
}

fn append(name: &str, builder: &mut StringBuilder, text: &str) -> Result<()> {
    if text.len() > TEXT_BYTES_MAX || builder.values_slice().len() + text.len() > i32::MAX as usize {
        return exec_err!("`{name}` makes more text than a batch of rows may hold");
    }
    builder.append_value(text);
    Ok(())
}

/// A function that is found by name: of the language, or one that only lowering calls.
pub(super) struct Internal {
    pub(super) name: &'static str,
    pub(super) ret: Ret,
    pub(super) nulls: bool,
    pub(super) eval: Eval,
}

#[derive(Clone, Copy)]
struct Spec {
    ret: Ret,
    nulls: bool,
    volatile: bool,
    /// Whether the result is a text, which is never null: absent is empty.
    text: bool,
    eval: Eval,
}

static SPECS: LazyLock<BTreeMap<String, Spec>> = LazyLock::new(|| {
    let mut all = BTreeMap::new();
    for f in functions() {
        if let Body::Row(eval) = f.body {
            let text = matches!(f.ret, Ret::Is(Type::Text));
            let spec = Spec { ret: f.ret, nulls: f.nulls, volatile: f.volatile, text, eval };
            all.insert(format!("kql_{}", f.name), spec);
        }
    }
    for f in
        [convert::INTERNAL, operators::INTERNAL, dynamic::INTERNAL, math::INTERNAL, parse::INTERNAL, strings::INTERNAL]
            .into_iter()
            .flatten()
    {
        let text = matches!(f.ret, Ret::Is(Type::Text));
        let spec = Spec { ret: f.ret, nulls: f.nulls, volatile: false, text, eval: f.eval };
        all.insert(f.name.to_owned(), spec);
    }
    all
});

static UDFS: LazyLock<BTreeMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let rows = SPECS.iter().map(|(name, spec)| (name.clone(), Arc::new(ScalarUDF::from(RowUdf::new(name, *spec)))));
    let others = search::udfs().chain([super::places::unknowing()]);
    rows.chain(others.map(|udf| (udf.name().to_owned(), Arc::new(udf)))).collect()
});

/// Every scalar function of ours.
pub(super) fn all() -> impl Iterator<Item = ScalarUDF> {
    UDFS.values().map(|udf| udf.as_ref().clone())
}

/// A call by name.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Result<Expr, Refusal> {
    let udf = UDFS.get(name).ok_or_else(|| Refusal::Value(format!("`{name}` is not built")))?;
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(udf), args)))
}

/// A call of a function that is in a list of this crate. A test calls each.
pub(super) fn known(name: &str, args: Vec<Expr>) -> Expr {
    call(name, args).unwrap_or_else(|_| Expr::Literal(ScalarValue::Null, None))
}

struct RowUdf {
    name: String,
    spec: Spec,
    signature: Signature,
}

impl RowUdf {
    fn new(name: &str, spec: Spec) -> Self {
        let any_number = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
        let volatility = if spec.volatile { Volatility::Volatile } else { Volatility::Immutable };
        Self { name: name.to_owned(), spec, signature: Signature::one_of(any_number, volatility) }
    }
}

impl std::fmt::Debug for RowUdf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for RowUdf {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for RowUdf {}

impl Hash for RowUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for RowUdf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(match self.spec.ret {
            Ret::Is(kind) => kind.arrow(),
            Ret::Like(at) => args.get(at).map_or(DataType::Null, plain),
            Ret::Widest => args.iter().map(plain).fold(DataType::Int32, wider),
            Ret::By(_) | Ret::Named(_) => return exec_err!("`{}` has no type of its own", self.name),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let output = args.return_field.data_type().clone();
        let constant = !self.spec.volatile && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let run = |args: &[ColumnarValue], rows| self.rows(args, rows, &output);
        let array = by_dictionary(&args.args, rows, self.spec.volatile, &run)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

impl RowUdf {
    fn rows(&self, args: &[ColumnarValue], rows: usize, output: &DataType) -> Result<ArrayRef> {
        if self.name == math::BIN
            && let Some(whole) = math::bin_of_times(args, output)
        {
            return Ok(whole);
        }
        let columns = args.iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let mut builder = Builder::new(output, rows)?;
        // Text columns have no null in meaning, so only others can make the result null.
        let judged: Vec<&Column> =
            if self.spec.nulls { Vec::new() } else { columns.iter().filter(|c| !is_text(&c.kind)).collect() };
        let empty = if self.spec.text { Out::Str("") } else { Out::Null };
        for row in 0..rows {
            if judged.iter().any(|c| c.is_null(row)) {
                builder.push(&self.name, &empty)?;
                continue;
            }
            let arguments = Row { columns: &columns, row, output };
            let out = (self.spec.eval)(&arguments);
            let out = if matches!(out, Out::Null) { &empty } else { &out };
            builder.push(&self.name, out)?;
        }
        builder.finish(output)
    }
}

/// Whether it holds text.
pub(super) fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn plain(kind: &DataType) -> DataType {
    if is_text(kind) { DataType::Utf8 } else { kind.clone() }
}

fn wider(a: DataType, b: DataType) -> DataType {
    let rank = |t: &DataType| match t {
        DataType::Int64 => 1,
        DataType::Float64 => 2,
        DataType::Timestamp(_, _) | DataType::Duration(_) => 3,
        _ => 0,
    };
    if rank(&b) > rank(&a) { b } else { a }
}

/// Runs over the distinct values of a dictionary where that is the only column, else over the rows.
pub(super) fn by_dictionary(
    args: &[ColumnarValue],
    rows: usize,
    volatile: bool,
    run: &dyn Fn(&[ColumnarValue], usize) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let mut arrays = args.iter().enumerate().filter_map(|(at, a)| match a {
        ColumnarValue::Array(array) => Some((at, array)),
        ColumnarValue::Scalar(_) => None,
    });
    let (Some((at, array)), None) = (arrays.next(), arrays.next()) else { return run(args, rows) };
    let Some(dictionary) = array.as_any_dictionary_opt() else { return run(args, rows) };
    let values = dictionary.values();
    if volatile || values.is_empty() || values.len() > rows {
        return run(args, rows);
    }
    let null = new_null_array(values.data_type(), 1);
    let with_null = concat(&[values.as_ref(), null.as_ref()])?;
    let count = with_null.len();
    let mut distinct = args.to_vec();
    if let Some(slot) = distinct.get_mut(at) {
        *slot = ColumnarValue::Array(with_null);
    }
    let answers = run(&distinct, count)?;
    let null = u32::try_from(values.len()).map_err(|_| DataFusionError::Execution("dictionary too large".into()))?;
    let valid = dictionary.keys();
    let indices: Vec<u32> = dictionary
        .normalized_keys()
        .into_iter()
        .enumerate()
        .map(|(row, key)| if valid.is_null(row) { null } else { u32::try_from(key).unwrap_or(null) })
        .collect();
    let indices = UInt32Array::from(indices);
    Ok(take(&answers, &indices, None)?)
}
