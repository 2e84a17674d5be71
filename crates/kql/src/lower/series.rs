//! `make-series`: of the pairs (number of the step, value) of a group, one array with a value for every step.

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Steps of one series: the vendor's own bound on the length of an array.
pub(crate) const STEPS_MAX: i64 = 1_048_576;

/// The aggregate: step numbers and values (JSON text) of a group become a JSON array of `steps` values.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    signature: Signature,
    steps: usize,
    default: String,
}

/// A call of it.
pub(crate) fn series(step: Expr, value: Expr, steps: usize, default: String) -> Expr {
    SeriesRecipe { steps, default }.build().call(vec![step, value])
}

/// What the aggregate is made from, so that it can be made again on another machine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SeriesRecipe {
    steps: usize,
    default: String,
}

impl SeriesRecipe {
    /// Makes the aggregate.
    pub(crate) fn build(self) -> Arc<AggregateUDF> {
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Series { signature, steps: self.steps, default: self.default }))
    }

    /// The recipe of an aggregate, if it was made from one.
    pub(crate) fn of(function: &AggregateUDF) -> Option<Self> {
        let series = function.inner().downcast_ref::<Series>()?;
        Some(Self { steps: series.steps, default: series.default.clone() })
    }
}

impl AggregateUDFImpl for Series {
    fn name(&self) -> &'static str {
        "kql_series"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Steps { values: BTreeMap::new(), steps: self.steps, default: self.default.clone() }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[values]", arguments.name), DataType::Utf8, true))])
    }
}

#[derive(Debug)]
struct Steps {
    values: BTreeMap<i64, String>,
    steps: usize,
    default: String,
}

impl Accumulator for Steps {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [steps, texts] = values else { return exec_err!("a series takes two columns") };
        let (Some(steps), Some(texts)) =
            (steps.as_any().downcast_ref::<Int64Array>(), texts.as_any().downcast_ref::<StringArray>())
        else {
            return exec_err!("a series takes a number and a text");
        };
        for row in 0..steps.len() {
            if steps.is_valid(row) {
                let text = if texts.is_valid(row) { texts.value(row) } else { "null" };
                self.values.insert(steps.value(row), text.to_owned());
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut out = String::from("[");
        for step in 0..self.steps {
            if step > 0 {
                out.push(',');
            }
            let value = i64::try_from(step).ok().and_then(|s| self.values.get(&s));
            out.push_str(value.map_or(self.default.as_str(), String::as_str));
        }
        out.push(']');
        Ok(ScalarValue::Utf8(Some(out)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.values().map(|v| v.capacity() + 48).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = serde_json::to_string(&self.values)
            .map_err(|e| datafusion::error::DataFusionError::External(Box::new(e)))?;
        Ok(vec![ScalarValue::Utf8(Some(state))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(texts) = states.first().and_then(|s| s.as_any().downcast_ref::<StringArray>()) else {
            return exec_err!("a series' state is a text");
        };
        for text in texts.iter().flatten() {
            let part: BTreeMap<i64, String> =
                serde_json::from_str(text).map_err(|e| datafusion::error::DataFusionError::External(Box::new(e)))?;
            self.values.extend(part);
        }
        Ok(())
    }
}
