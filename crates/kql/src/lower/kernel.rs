//! A scalar function that only the planner makes: a name, what it gives, and the work as a closure over what is
//! constant in it (compiled patterns, limits).

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

type Work = dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync;

/// The function. Two with the same name and key do the same.
pub(crate) struct Kernel {
    name: &'static str,
    /// Everything that the closure holds, as text: what makes two of them equal.
    key: String,
    output: DataType,
    signature: Signature,
    work: Box<Work>,
}

impl Kernel {
    /// A call of it. `work` gets the arguments as arrays of the same length, and that length.
    pub(crate) fn call(
        name: &'static str,
        key: String,
        output: DataType,
        arguments: Vec<Expr>,
        work: impl Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Expr {
        let kernel =
            Self { name, key, output, signature: Signature::variadic_any(Volatility::Immutable), work: Box::new(work) };
        Arc::new(ScalarUDF::new_from_impl(kernel)).call(arguments)
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("name", &self.name).field("key", &self.key).finish_non_exhaustive()
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.key == other.key && self.output == other.output
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.key.hash(state);
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
