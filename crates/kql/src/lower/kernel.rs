//! A scalar function that only the planner makes: a name, what it gives, and the work as a closure over what is
//! constant in it (compiled patterns, limits). A [`Recipe`] says the same in words, so that the function can be made
//! again on another machine.

use super::capture::Pairs;
use super::expand::Bags;
use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a function is made from: everything that its closure holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) enum Recipe {
    /// [`super::bags::without_empty`].
    BagCompact,
    /// [`super::capture::structure`].
    Parse { pattern: String, groups: Vec<usize> },
    /// [`super::capture::pairs`].
    ParseKv { keys: Vec<String>, how: Pairs },
    /// [`super::capture::matched_pairs`].
    ParseKvRegex { keys: Vec<String>, pattern: String },
    /// [`super::expand::list`].
    Expand { arguments: usize, bags: Bags, limit: Option<u64> },
}

impl Recipe {
    /// Makes the function. A pattern that came from another machine may be broken.
    pub(crate) fn build(self) -> Result<ScalarUDF> {
        let compile = |pattern: &str| match super::capture::compile(pattern) {
            Ok(pattern) => Ok(pattern),
            Err(why) => exec_err!("a pattern cannot be used: {why}"),
        };
        Ok(match self {
            Self::BagCompact => super::bags::without_empty_udf(),
            Self::Parse { pattern, groups } => super::capture::structure_udf(compile(&pattern)?, groups),
            Self::ParseKv { keys, how } => super::capture::pairs_udf(keys, how),
            Self::ParseKvRegex { keys, pattern } => super::capture::matched_pairs_udf(keys, compile(&pattern)?),
            Self::Expand { arguments, bags, limit } => super::expand::list_udf(arguments, bags, limit),
        })
    }

    /// The recipe of a function, if it was made from one.
    pub(crate) fn of(function: &ScalarUDF) -> Option<&Self> {
        function.inner().downcast_ref::<Kernel>().map(|kernel| &kernel.recipe)
    }
}

type Work = dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync;

/// The function. Two with the same recipe do the same.
pub(crate) struct Kernel {
    name: &'static str,
    recipe: Recipe,
    output: DataType,
    signature: Signature,
    work: Box<Work>,
}

impl Kernel {
    /// The function. `work` gets the arguments as arrays of the same length, and that length.
    pub(crate) fn udf(
        name: &'static str,
        recipe: Recipe,
        output: DataType,
        work: impl Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> ScalarUDF {
        let signature = Signature::variadic_any(Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { name, recipe, output, signature, work: Box::new(work) })
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("name", &self.name).field("recipe", &self.recipe).finish_non_exhaustive()
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.recipe == other.recipe
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.recipe.hash(state);
    }
}

impl ScalarUDFImpl for Kernel {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.output.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let answer = (self.work)(&arrays, rows)?;
        if answer.len() != rows {
            return exec_err!("`{}` gave {} values for {rows} rows", self.name, answer.len());
        }
        Ok(ColumnarValue::Array(answer))
    }
}

/// Text of any of the forms that it may lie in, as plain text.
pub(crate) fn plain_text(array: &ArrayRef) -> Result<StringArray> {
    let plain = if array.data_type() == &DataType::Utf8 { Arc::clone(array) } else { cast(array, &DataType::Utf8)? };
    match plain.as_any().downcast_ref::<StringArray>() {
        Some(text) => Ok(text.clone()),
        None => exec_err!("`{}` is not text", array.data_type()),
    }
}
