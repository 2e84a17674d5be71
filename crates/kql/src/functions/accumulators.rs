//! Aggregates that the query engine has not, or has with another meaning.

use super::eval::TEXT_BYTES_MAX;
use super::groups::{CollectedGroups, DistinctGroups, Hashes, RowGroups};
use super::json::Json;
use super::{Refusal, dynamic};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    List,
    ListWithNulls,
    Set,
    Bag,
    Distinct,
    Percentile,
    Percentiles,
    ArgMax,
    ArgMin,
    Any,
    Schema,
}

const KINDS: &[(&str, Kind)] = &[
    ("kql_make_list", Kind::List),
    ("kql_make_list_with_nulls", Kind::ListWithNulls),
    ("kql_make_set", Kind::Set),
    ("kql_make_bag", Kind::Bag),
    ("kql_dcount", Kind::Distinct),
    ("kql_percentile", Kind::Percentile),
    ("kql_percentiles_array", Kind::Percentiles),
    ("kql_arg_max", Kind::ArgMax),
    ("kql_arg_min", Kind::ArgMin),
    ("kql_take_any", Kind::Any),
    ("kql_buildschema", Kind::Schema),
];

static UDAFS: LazyLock<Vec<Arc<AggregateUDF>>> = LazyLock::new(|| {
    let make = |(name, kind): &(&'static str, Kind)| {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Arc::new(AggregateUDF::from(Udaf { name, kind: *kind, signature }))
    };
    KINDS.iter().map(make).collect()
});

/// Every aggregate function of ours.
pub(super) fn all() -> impl Iterator<Item = AggregateUDF> {
    UDAFS.iter().map(|udaf| udaf.as_ref().clone())
}

/// A call by name.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Result<Expr, Refusal> {
    let udaf = UDAFS.iter().find(|u| u.name() == name);
    let udaf = udaf.ok_or_else(|| Refusal::Value(format!("`{name}` is not built")))?;
    Ok(Expr::AggregateFunction(AggregateFunction::new_udf(Arc::clone(udaf), args, false, None, Vec::new(), None)))
}

/// The same, for an entry of the list.
pub(super) fn called(name: &str, args: Vec<Expr>) -> Result<Expr, Refusal> {
    call(name, args)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Udaf {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

fn row_fields<'a>(types: impl Iterator<Item = &'a DataType>) -> Fields {
    types.enumerate().map(|(at, t)| Field::new(format!("c{at}"), t.clone(), true)).collect()
}

fn list_of(kind: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(kind, true)))
}

impl AggregateUDFImpl for Udaf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Distinct => DataType::Int64,
            Kind::Percentile => args.first().cloned().unwrap_or(DataType::Float64),
            Kind::ArgMax | Kind::ArgMin | Kind::Any => DataType::Struct(row_fields(args.iter())),
            _ => DataType::Utf8,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, kind| Arc::new(Field::new(format!("{}[{name}]", args.name), kind, true));
        let first = args.input_fields.first().map_or(DataType::Float64, |f| f.data_type().clone());
        Ok(match self.kind {
            Kind::Distinct => vec![field("seen", DataType::Binary)],
            Kind::Percentile | Kind::Percentiles => {
                vec![field("values", list_of(first)), field("weights", list_of(DataType::Int64))]
            }
            Kind::ArgMax | Kind::ArgMin | Kind::Any => args
                .input_fields
                .iter()
                .enumerate()
                .map(|(at, f)| field(&format!("c{at}"), f.data_type().clone()))
                .chain([field("any", DataType::Boolean)])
                .collect(),
            _ => vec![field("json", DataType::Utf8)],
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let first = args.expr_fields.first().map_or(DataType::Float64, |f| f.data_type().clone());
        Ok(match self.kind {
            Kind::Distinct => Box::new(Distinct::default()),
            Kind::Percentile => Box::new(Ranks::new(first, None)?),
            Kind::Percentiles => Box::new(Ranks::new(first, Some(String::new()))?),
            Kind::ArgMax | Kind::ArgMin | Kind::Any => {
                Box::new(OneRow::new(self.kind, args.expr_fields.iter().map(|f| f.data_type().clone()).collect())?)
            }
            Kind::Bag => Box::new(Bag::new(most(&args))),
            Kind::Schema => Box::new(Schema::default()),
            _ => Box::new(Collected::new(self.kind, most(&args))),
        })
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        use Kind::{Any, ArgMax, ArgMin, Distinct, List, ListWithNulls, Set};
        matches!(self.kind, Distinct | List | ListWithNulls | Set | ArgMax | ArgMin | Any)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(match self.kind {
            Kind::Distinct => Box::new(DistinctGroups::default()),
            Kind::ArgMax | Kind::ArgMin | Kind::Any => {
                let types = args.expr_fields.iter().map(|f| f.data_type().clone()).collect();
                Box::new(RowGroups::new(OneRow::new(self.kind, types)?))
            }
            kind => Box::new(CollectedGroups::new(kind, most(&args))),
        })
    }
}

fn texts(array: &ArrayRef) -> Result<StringArray> {
    Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// Values that an array or bag has at most, where the query says nothing.
const MOST: usize = 1_048_576;

/// How many values an array or bag may get. It is read from the call and not from rows: where parts are put together
/// there are no rows any more, and the bound holds for the whole.
fn most(args: &AccumulatorArgs) -> usize {
    let literal = args.exprs.get(1).and_then(|expr| expr.downcast_ref::<Literal>());
    let told = literal.and_then(|literal| match literal.value().cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(most))) => Some(usize::try_from(most).unwrap_or(0)),
        _ => None,
    });
    told.unwrap_or(MOST).min(MOST)
}

/// `make_list` and `make_set`: JSON values one after the other, in the text of the array that will be the answer.
#[derive(Debug)]
pub(super) struct Collected {
    kind: Kind,
    json: String,
    count: usize,
    most: usize,
    seen: HashSet<Box<str>>,
    seen_bytes: usize,
}

impl Collected {
    pub(super) fn new(kind: Kind, most: usize) -> Self {
        Self { kind, json: String::new(), count: 0, most, seen: HashSet::new(), seen_bytes: 0 }
    }

    fn add(&mut self, item: &str) {
        // An array longer than a text may be could not be handed on: it ends there, as it ends at its greatest length.
        if self.count >= self.most || self.json.len() + item.len() + 3 > TEXT_BYTES_MAX {
            return;
        }
        if self.kind == Kind::Set {
            if self.seen.contains(item) {
                return;
            }
            self.seen_bytes += item.len() + 32;
            self.seen.insert(item.into());
        }
        if self.count > 0 {
            self.json.push(',');
        }
        self.json.push_str(item);
        self.count += 1;
    }

    /// The values of a batch as JSON.
    pub(super) fn arguments(values: &[ArrayRef]) -> Result<StringArray> {
        let Some(first) = values.first() else { return exec_err!("an array is collected of nothing") };
        texts(first)
    }

    /// A value that comes; nothing is the empty text.
    pub(super) fn offer(&mut self, item: &str) {
        if item.is_empty() || item == "null" {
            if self.kind == Kind::ListWithNulls {
                self.add("null");
            }
        } else if self.seen.contains(item) {
            // Known, thus looked at before.
        } else if matches!(item.as_bytes().first(), Some(b'"' | b'[' | b'{' | b'-' | b'0'..=b'9' | b't' | b'f'))
            && serde_json::from_str::<serde::de::IgnoredAny>(item).is_ok()
        {
            self.add(item);
        } else {
            self.add(&Json::parse(item).json());
        }
    }

    /// What another one collected.
    pub(super) fn merge(&mut self, array: &str) {
        for item in Json::parse(array).into_array().unwrap_or_default() {
            self.add(&item.json());
        }
    }

    pub(super) fn array(&self) -> String {
        format!("[{}]", self.json)
    }

    pub(super) fn bytes(&self) -> usize {
        self.json.capacity() + self.seen_bytes
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let items = Self::arguments(values)?;
        for row in 0..items.len() {
            self.offer(if items.is_null(row) { "" } else { items.value(row) });
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8(Some(self.array())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(first) = states.first() else { return Ok(()) };
        let items = texts(first)?;
        for row in 0..items.len() {
            if items.is_valid(row) {
                self.merge(items.value(row));
            }
        }
        Ok(())
    }
}

/// `make_bag`.
#[derive(Debug)]
struct Bag {
    items: Vec<(String, Json)>,
    keys: HashSet<String>,
    bytes: usize,
    most: usize,
}

impl Bag {
    fn new(most: usize) -> Self {
        Self { items: Vec::new(), keys: HashSet::new(), bytes: 0, most }
    }
}

impl Accumulator for Bag {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(first) = values.first() else { return Ok(()) };
        let bags = texts(first)?;
        for row in 0..bags.len() {
            if bags.is_null(row) {
                continue;
            }
            for (key, value) in Json::parse(bags.value(row)).into_bag().unwrap_or_default() {
                if self.items.len() >= self.most || self.bytes > TEXT_BYTES_MAX / 2 || !self.keys.insert(key.clone()) {
                    continue;
                }
                self.bytes += key.len() + value.json().len() + 4;
                self.items.push((key, value));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8(Some(Json::Bag(self.items.clone()).json())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes * 3
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// `buildschema`.
#[derive(Debug, Default)]
struct Schema {
    seen: Option<Json>,
}

impl Accumulator for Schema {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(first) = values.first() else { return Ok(()) };
        let items = texts(first)?;
        for row in 0..items.len() {
            if items.is_valid(row) {
                let shape = dynamic::shape(&Json::parse(items.value(row)), 0);
                self.seen = Some(dynamic::joined(self.seen.take(), shape));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8(self.seen.as_ref().map(Json::json)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.seen.as_ref().map_or(0, |s| s.json().len() * 2)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(first) = states.first() else { return Ok(()) };
        let items = texts(first)?;
        for row in 0..items.len() {
            if items.is_valid(row) {
                self.seen = Some(dynamic::joined(self.seen.take(), Json::parse(items.value(row))));
            }
        }
        Ok(())
    }
}

/// 2^14 registers: a standard error of 0.8 %, 16 KiB a group.
const REGISTER_BITS: u32 = 14;

/// `dcount`: the hashes of the values, exact while they are few, then `HyperLogLog`.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    exact: Hashes,
    registers: Vec<u8>,
}

impl Distinct {
    /// Distinct values counted one by one up to this many; above it, their hashes fill registers.
    pub(super) const EXACT_MAX: usize = 8192;

    pub(super) fn add(&mut self, hash: u64) {
        if self.registers.is_empty() {
            self.exact.insert(hash);
            if self.exact.len() > Self::EXACT_MAX {
                self.registers = vec![0; 1 << REGISTER_BITS];
                for hash in std::mem::take(&mut self.exact) {
                    self.fill(hash);
                }
            }
        } else {
            self.fill(hash);
        }
    }

    fn fill(&mut self, hash: u64) {
        let at = (hash >> (64 - REGISTER_BITS)) as usize;
        let rank = ((hash << REGISTER_BITS) | (1 << (REGISTER_BITS - 1))).leading_zeros() as u8 + 1;
        if let Some(register) = self.registers.get_mut(at) {
            *register = rank.max(*register);
        }
    }

    pub(super) fn count(&self) -> i64 {
        if self.registers.is_empty() {
            return self.exact.len() as i64;
        }
        let m = self.registers.len() as f64;
        let zeros = self.registers.iter().map(|r| u32::from(*r == 0)).sum::<u32>();
        let zeros = f64::from(zeros);
        let sum: f64 = self.registers.iter().map(|r| 2f64.powi(-i32::from(*r))).sum();
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let estimate = if raw <= 2.5 * m && zeros > 0.0 { m * (m / zeros).ln() } else { raw };
        estimate.round() as i64
    }

    pub(super) fn bytes(&self) -> usize {
        self.exact.capacity() * 9 + self.registers.capacity()
    }

    /// What another one saw, as few hashes: a byte says which form, then the hashes.
    pub(super) fn exact_state(hashes: impl Iterator<Item = u64>) -> Vec<u8> {
        std::iter::once(0).chain(hashes.flat_map(u64::to_le_bytes)).collect()
    }

    pub(super) fn bytes_of_state(&self) -> Vec<u8> {
        if self.registers.is_empty() {
            return Self::exact_state(self.exact.iter().copied());
        }
        std::iter::once(1).chain(self.registers.iter().copied()).collect()
    }

    /// Takes in such a state.
    pub(super) fn merge(&mut self, state: &[u8]) -> Result<()> {
        match state.split_first() {
            Some((0, hashes)) => {
                for chunk in hashes.chunks_exact(8) {
                    self.add(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
                }
            }
            Some((_, registers)) if registers.len() == 1 << REGISTER_BITS => {
                if self.registers.is_empty() {
                    self.registers = vec![0; 1 << REGISTER_BITS];
                    for hash in std::mem::take(&mut self.exact) {
                        self.fill(hash);
                    }
                }
                for (mine, theirs) in self.registers.iter_mut().zip(registers) {
                    *mine = (*mine).max(*theirs);
                }
            }
            _ => return exec_err!("the state of `dcount` is damaged"),
        }
        Ok(())
    }
}

/// The hash of each value.
pub(super) fn hashes(values: &ArrayRef) -> Result<Vec<u64>> {
    let mut hashes = vec![0u64; values.len()];
    // A fixed seed: parts of one answer are hashed on several threads and machines.
    create_hashes([values], &RandomState::with_seed(0), &mut hashes)?;
    for hash in &mut hashes {
        *hash = mixed(*hash);
    }
    Ok(hashes)
}

/// Spreads a fast hash over all 64 bits (the finaliser of SplitMix64).
const fn mixed(hash: u64) -> u64 {
    let a = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(first) = values.first() else { return Ok(()) };
        let nulls = first.logical_nulls();
        for (row, hash) in hashes(first)?.into_iter().enumerate() {
            if nulls.as_ref().is_none_or(|n| n.is_valid(row)) {
                self.add(hash);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.count())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.bytes_of_state()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(states) = states.first().and_then(|s| s.as_any().downcast_ref::<BinaryArray>()) else {
            return exec_err!("the state of `dcount` is not binary");
        };
        for state in states.iter().flatten() {
            self.merge(state)?;
        }
        Ok(())
    }
}

/// Values with how often each counts, for percentiles by nearest rank.
#[derive(Debug)]
struct Ranks {
    whole: bool,
    values: Vec<f64>,
    longs: Vec<i64>,
    weights: Vec<i64>,
    rank: Option<f64>,
    /// For several ranks: their JSON, and what the values are.
    several: Option<String>,
    word: String,
}

impl Ranks {
    fn new(kind: DataType, several: Option<String>) -> Result<Self> {
        if !matches!(kind, DataType::Int64 | DataType::Float64) {
            return exec_err!("percentiles are ranked over integers and reals, not {kind}");
        }
        Ok(Self {
            whole: kind == DataType::Int64,
            values: Vec::new(),
            longs: Vec::new(),
            weights: Vec::new(),
            rank: None,
            several,
            word: String::new(),
        })
    }

    fn add(&mut self, values: &ArrayRef, weights: &ArrayRef) {
        let Some(weights) = weights.as_primitive_opt::<Int64Type>() else { return };
        let heavy = |row: usize| if weights.is_valid(row) { weights.value(row) } else { 0 };
        // No weights are kept while each is 1.
        let keep = |kept: &mut Vec<i64>, before: usize, weight: i64| {
            if kept.is_empty() && weight != 1 {
                kept.resize(before, 1);
            }
            if weight != 1 || !kept.is_empty() {
                kept.push(weight);
            }
        };
        if let Some(array) = values.as_primitive_opt::<Int64Type>() {
            for row in (0..array.len()).filter(|r| array.is_valid(*r)) {
                if heavy(row) > 0 {
                    keep(&mut self.weights, self.longs.len(), heavy(row));
                    self.longs.push(array.value(row));
                }
            }
        } else if let Some(array) = values.as_primitive_opt::<Float64Type>() {
            for row in (0..array.len()).filter(|r| array.is_valid(*r)) {
                if heavy(row) > 0 {
                    keep(&mut self.weights, self.values.len(), heavy(row));
                    self.values.push(array.value(row));
                }
            }
        }
    }

    fn at_rank<T: Copy>(values: &[T], weights: &[i64], order: fn(&T, &T) -> Ordering, ranks: &[f64]) -> Vec<Option<T>> {
        let mut rows: Vec<usize> = (0..values.len()).collect();
        rows.sort_unstable_by(|a, b| match (values.get(*a), values.get(*b)) {
            (Some(a), Some(b)) => order(a, b),
            _ => Ordering::Equal,
        });
        let weight = |row: usize| weights.get(row).copied().unwrap_or(1);
        let total: i128 = rows.iter().map(|r| i128::from(weight(*r))).sum();
        ranks
            .iter()
            .map(|rank| {
                let wanted = ((rank / 100.0 * total as f64).ceil() as i128).clamp(1, total.max(1));
                let mut passed = 0i128;
                rows.iter()
                    .find(|row| {
                        passed += i128::from(weight(**row));
                        passed >= wanted
                    })
                    .and_then(|row| values.get(*row).copied())
            })
            .collect()
    }
}

impl Accumulator for Ranks {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [value, weight, rank, rest @ ..] = values else { return exec_err!("a percentile takes three arguments") };
        if let Some(ranks) = &mut self.several
            && ranks.is_empty()
            && !rank.is_empty()
        {
            texts(rank)?.value(0).clone_into(ranks);
            if let Some(word) = rest.first() {
                texts(word)?.value(0).clone_into(&mut self.word);
            }
        }
        if self.several.is_none() && self.rank.is_none() {
            self.rank =
                rank.as_primitive_opt::<Float64Type>().filter(|a| !a.is_empty() && a.is_valid(0)).map(|a| a.value(0));
        }
        self.add(value, weight);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let ranks: Vec<f64> = match &self.several {
            Some(json) => Json::parse(json).into_array().unwrap_or_default().iter().filter_map(Json::real).collect(),
            None => vec![self.rank.unwrap_or(50.0)],
        };
        if self.whole {
            let found = Self::at_rank(&self.longs, &self.weights, i64::cmp, &ranks);
            if self.several.is_some() {
                let word = self.word.clone();
                let item = |v: Option<i64>| match (v, word.as_str()) {
                    (None, _) => Json::Null,
                    (Some(v), "datetime") => Json::Text(super::time::datetime_text(v)),
                    (Some(v), "timespan") => Json::Text(super::time::timespan_text(v)),
                    (Some(v), _) => Json::Long(v),
                };
                return Ok(ScalarValue::Utf8(Some(Json::Array(found.into_iter().map(item).collect()).json())));
            }
            return Ok(ScalarValue::Int64(found.into_iter().next().flatten()));
        }
        let found = Self::at_rank(&self.values, &self.weights, f64::total_cmp, &ranks);
        if self.several.is_some() {
            let items = found.into_iter().map(|v| v.map_or(Json::Null, Json::from_real)).collect();
            return Ok(ScalarValue::Utf8(Some(Json::Array(items).json())));
        }
        Ok(ScalarValue::Float64(found.into_iter().next().flatten()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + (self.values.capacity() + self.longs.capacity() + self.weights.capacity()) * 8
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |array: ArrayRef| -> Result<ScalarValue> {
            let field = Arc::new(Field::new_list_field(array.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths([array.len()]);
            Ok(ScalarValue::List(Arc::new(ListArray::try_new(field, offsets, array, None)?)))
        };
        let values: ArrayRef = if self.whole {
            Arc::new(Int64Array::from(std::mem::take(&mut self.longs)))
        } else {
            Arc::new(Float64Array::from(std::mem::take(&mut self.values)))
        };
        let mut weights = std::mem::take(&mut self.weights);
        // What the ranks are is a constant of the query, yet the merging side sees only states: it stands at the front.
        let header: Vec<i64> = match (&self.several, self.rank) {
            (Some(json), _) => {
                let text = format!("{}\u{0}{json}", self.word);
                std::iter::once(text.len() as i64).chain(text.bytes().map(i64::from)).collect()
            }
            (None, rank) => vec![-1, rank.unwrap_or(50.0).to_bits() as i64],
        };
        if weights.is_empty() {
            weights = vec![1; values.len()];
        }
        Ok(vec![list(values)?, list(Arc::new(Int64Array::from([header, weights].concat())))?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, weights] = states else { return exec_err!("the state of a percentile has two parts") };
        let (Some(values), Some(weights)) = (values.as_list_opt::<i32>(), weights.as_list_opt::<i32>()) else {
            return exec_err!("the state of a percentile is not two lists");
        };
        for row in 0..values.len() {
            // A part without rows never saw the rank: what it says of it is nobody's.
            if values.is_null(row) || weights.is_null(row) || values.value_length(row) == 0 {
                continue;
            }
            let (value, weight) = (values.value(row), weights.value(row));
            let Some(numbers) = weight.as_primitive_opt::<Int64Type>() else {
                return exec_err!("the state of a percentile is damaged");
            };
            let size = match numbers.values().first() {
                Some(-1) => {
                    self.rank = numbers.values().get(1).map(|bits| f64::from_bits(*bits as u64));
                    2
                }
                Some(length) => {
                    let length = usize::try_from(*length).unwrap_or(0);
                    let bytes: Vec<u8> = numbers
                        .values()
                        .iter()
                        .skip(1)
                        .take(length)
                        .map(|b| u8::try_from(*b).unwrap_or(b'?'))
                        .collect();
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if let Some((word, json)) = text.split_once('\u{0}') {
                        word.clone_into(&mut self.word);
                        self.several = Some(json.to_owned());
                    }
                    length + 1
                }
                None => continue,
            };
            if weight.len() != size + value.len() {
                return exec_err!("the state of a percentile is damaged");
            }
            self.add(&value, &weight.slice(size, value.len()));
        }
        Ok(())
    }
}

/// `arg_max`, `arg_min` and `take_any`: the values of one row.
#[derive(Debug, Clone)]
pub(super) struct OneRow {
    kind: Kind,
    row: Vec<ScalarValue>,
    found: bool,
    fields: Fields,
}

impl OneRow {
    pub(super) fn new(kind: Kind, types: Vec<DataType>) -> Result<Self> {
        let row = types.iter().map(ScalarValue::try_from).collect::<Result<_>>()?;
        Ok(Self { kind, row, found: false, fields: row_fields(types.iter()) })
    }

    fn take(&mut self, columns: &[ArrayRef], row: usize) -> Result<()> {
        self.row =
            columns.iter().map(|c| Ok(ScalarValue::try_from_array(c, row)?.compacted())).collect::<Result<_>>()?;
        self.found = true;
        Ok(())
    }

    /// The row of a batch that wins among those where `counts` holds.
    fn best(&self, key: &ArrayRef, counts: impl Fn(usize) -> bool) -> Result<Option<usize>> {
        let compare = arrow::array::make_comparator(key, key, SortOptions::default())?;
        let wanted = if self.kind == Kind::ArgMax { Ordering::Greater } else { Ordering::Less };
        let nulls = key.logical_nulls();
        let mut best = None;
        for row in 0..key.len() {
            if !counts(row) || nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                continue;
            }
            if best.is_none_or(|b| compare(row, b) == wanted) {
                best = Some(row);
            }
        }
        Ok(best)
    }

    fn offer(&mut self, columns: &[ArrayRef], counts: impl Fn(usize) -> bool) -> Result<()> {
        let Some(key) = columns.first() else { return Ok(()) };
        let row = if self.kind == Kind::Any {
            // A row whose value is there is taken before one whose value is missing.
            let there = (0..key.len()).find(|row| counts(*row) && key.is_valid(*row));
            there.or_else(|| (0..key.len()).find(|row| counts(*row)))
        } else {
            self.best(key, counts)?
        };
        row.map_or(Ok(()), |row| self.challenge(columns, row))
    }

    /// Takes a row if it wins over the one that is held.
    pub(super) fn challenge(&mut self, columns: &[ArrayRef], row: usize) -> Result<()> {
        let Some(key) = columns.first() else { return Ok(()) };
        let held = self.row.first().filter(|_| self.found);
        let wins = match (held, self.kind) {
            (None, _) => true,
            (Some(held), Kind::Any) => held.is_null() && key.is_valid(row),
            (Some(held), kind) => {
                let wanted = if kind == Kind::ArgMax { Ordering::Greater } else { Ordering::Less };
                ScalarValue::try_from_array(key, row)?.partial_cmp(held) == Some(wanted)
            }
        };
        if wins { self.take(columns, row) } else { Ok(()) }
    }

    /// The row of each group that wins within a batch, among those that count. `best` has a place for each group and
    /// holds nothing between calls.
    pub(super) fn winners(
        &self,
        columns: &[ArrayRef],
        groups: &[usize],
        counts: &dyn Fn(usize) -> bool,
        best: &mut [Option<NonZeroU32>],
    ) -> Result<Vec<(usize, usize)>> {
        let Some(key) = columns.first() else { return Ok(Vec::new()) };
        let compare = arrow::array::make_comparator(key, key, SortOptions::default())?;
        let nulls = key.logical_nulls();
        let there = |row: usize| nulls.as_ref().is_none_or(|n| n.is_valid(row));
        let mut met = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            if !counts(row) || (self.kind != Kind::Any && !there(row)) {
                continue;
            }
            let Some(best) = best.get_mut(*group) else { continue };
            let wins = match best.map(|held| held.get() as usize - 1) {
                None => {
                    met.push(*group);
                    true
                }
                Some(held) => match self.kind {
                    Kind::Any => !there(held) && there(row),
                    Kind::ArgMax => compare(row, held) == Ordering::Greater,
                    _ => compare(row, held) == Ordering::Less,
                },
            };
            if wins {
                *best = u32::try_from(row + 1).ok().and_then(NonZeroU32::new);
            }
        }
        let winner = |group: usize| Some((group, best.get_mut(group)?.take()?.get() as usize - 1));
        Ok(met.into_iter().filter_map(winner).collect())
    }

    pub(super) fn cell(&self, column: usize) -> Option<ScalarValue> {
        self.row.get(column).cloned()
    }

    pub(super) fn kind_of(&self, column: usize) -> DataType {
        self.row.get(column).map_or(DataType::Null, ScalarValue::data_type)
    }

    pub(super) fn width(&self) -> usize {
        self.row.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.row.iter().map(ScalarValue::size).sum()
    }

    /// Rows of an answer.
    pub(super) fn structs(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef> {
        Ok(Arc::new(StructArray::try_new_with_length(self.fields.clone(), columns, None, rows)?))
    }
}

impl Accumulator for OneRow {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.offer(values, |_| true)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let columns = self.row.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?;
        let row = StructArray::try_new(self.fields.clone(), columns, None)?;
        Ok(ScalarValue::Struct(Arc::new(row)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = self.row.clone();
        state.push(ScalarValue::Boolean(Some(self.found)));
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some((found, columns)) = states.split_last() else { return Ok(()) };
        let Some(found) = found.as_boolean_opt() else { return exec_err!("the state of a row is damaged") };
        let found = found.clone();
        self.offer(columns, |row| found.is_valid(row) && found.value(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One part's state, over these values.
    fn part(values: Vec<i64>, several: Option<&str>) -> Vec<ArrayRef> {
        let count = values.len();
        let mut ranks = Ranks::new(DataType::Int64, several.map(|_| String::new())).unwrap();
        if count > 0 {
            let mut arguments: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from(values)), Arc::new(Int64Array::from(vec![1; count]))];
            match several {
                None => arguments.push(Arc::new(Float64Array::from(vec![90.0; count]))),
                Some(json) => {
                    arguments.push(Arc::new(StringArray::from(vec![json; count])));
                    arguments.push(Arc::new(StringArray::from(vec!["long"; count])));
                }
            }
            ranks.update_batch(&arguments).unwrap();
        }
        ranks.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect()
    }

    #[test]
    fn a_part_without_rows_changes_no_rank_whichever_comes_first() {
        for (several, expected) in
            [(None, ScalarValue::Int64(Some(9))), (Some("[90]"), ScalarValue::Utf8(Some("[9]".to_owned())))]
        {
            let (rows, nothing) = (part((1..=10).collect(), several), part(Vec::new(), several));
            for order in [[&rows, &nothing], [&nothing, &rows]] {
                let mut whole = Ranks::new(DataType::Int64, several.map(|_| String::new())).unwrap();
                order.iter().for_each(|state| whole.merge_batch(state).unwrap());
                assert_eq!(whole.evaluate().unwrap(), expected, "{several:?}");
            }
        }
    }
}
