//! Expressions that are computed here and now over rows in memory: what `scan` and the graph operators decide by.

use crate::lower::relation::Field;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use datafusion::common::{DFSchema, Result, exec_err, plan_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::Arc;

/// An expression ready to be computed, and the columns that it reads.
#[derive(Debug)]
pub(crate) struct Compiled {
    expr: Arc<dyn PhysicalExpr>,
    /// Names of the columns that it reads; their arrays are given in this order.
    pub columns: Vec<String>,
    schema: SchemaRef,
}

impl Compiled {
    /// `kind_of` says how a column lies in memory; `None` if there is none of that name.
    pub(crate) fn new(expr: &Expr, kind_of: &dyn Fn(&str) -> Option<DataType>) -> Result<Self> {
        let mut columns: Vec<String> = expr.column_refs().into_iter().map(|c| c.name.clone()).collect();
        columns.sort_unstable();
        columns.dedup();
        let mut fields = vec![];
        for name in &columns {
            match kind_of(name) {
                Some(kind) => fields.push(ArrowField::new(name, kind, true)),
                None => return plan_err!("there is no column `{name}` here"),
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let named = Arc::new(DFSchema::try_from(schema.as_ref().clone())?);
        let context = SimplifyContext::builder().with_schema(Arc::clone(&named)).build();
        let simplifier = ExprSimplifier::new(context);
        // Not only for speed: some functions (`coalesce`) have no other form that runs.
        let simple = simplifier.simplify(simplifier.coerce(expr.clone(), &named)?)?;
        let expr = create_physical_expr(&simple, &named, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
        Ok(Self { expr, columns, schema })
    }

    /// Its values over so many rows.
    pub(crate) fn run(&self, arrays: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        match self.expr.evaluate(&batch)? {
            ColumnarValue::Array(array) => Ok(array),
            ColumnarValue::Scalar(value) => value.to_array_of_size(rows),
        }
    }
}

/// Truths, unknown being false.
pub(crate) fn truths(array: &ArrayRef) -> Result<BooleanArray> {
    let Some(array) = array.as_any().downcast_ref::<BooleanArray>() else {
        return exec_err!("a condition gave `{}`", array.data_type());
    };
    Ok(if array.null_count() > 0 { arrow::compute::prep_null_mask_filter(array) } else { array.clone() })
}

/// Batches as one, each field in the form that the language computes with.
pub(crate) fn one_batch(fields: &[Field], batches: &[RecordBatch]) -> Result<RecordBatch> {
    let schema = crate::lower::source::schema(fields);
    let mut cast = vec![];
    for batch in batches {
        let mut arrays = Vec::with_capacity(fields.len());
        for (array, field) in batch.columns().iter().zip(schema.fields()) {
            arrays.push(if array.data_type() == field.data_type() {
                Arc::clone(array)
            } else {
                arrow::compute::cast(array, field.data_type())?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        cast.push(RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)?);
    }
    Ok(arrow::compute::concat_batches(&schema, &cast)?)
}
