//! Where rows come from: tables of the catalog, and rows that stand in the query itself.

use crate::lower::relation::{Field, INGESTED, Relation};
use crate::{TableShape, Type};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{
    EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableSource,
};
use std::sync::Arc;

/// Name of a scan of rows that stand in the query; no table can have it.
pub(crate) const INLINE: &str = "\u{1}rows";

/// The system column that says when the server took a row in, where a provider has it.
const INGEST_TIME: &str = "IngestTime";

/// A table of which only the shape is known: the analyser's.
#[derive(Debug)]
struct Outline {
    schema: SchemaRef,
}

impl TableSource for Outline {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// Schema of fields as the language computes them.
pub(crate) fn schema(fields: &[Field]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|f| ArrowField::new(&f.name, f.kind.arrow(), true)).collect::<Vec<_>>()))
}

/// A table of the catalog: its real rows if a provider is given, else only its shape.
pub(crate) fn table(shape: &TableShape, provider: Option<Arc<dyn TableProvider>>) -> Result<Relation> {
    let fields: Vec<Field> = shape.columns.iter().map(|c| Field::new(&c.name, c.kind)).collect();
    let Some(provider) = provider else {
        let source = Arc::new(Outline { schema: schema(&fields) });
        let plan = LogicalPlanBuilder::scan(reference(&shape.name), source, None)?.build()?;
        return Ok(Relation::new(plan, fields));
    };
    let have = provider.schema();
    let plan = LogicalPlanBuilder::scan(reference(&shape.name), provider_as_source(provider), None)?.build()?;
    let fits = have.fields().len() == fields.len()
        && have.fields().iter().zip(&fields).all(|(h, f)| h.name() == &f.name && lies_well(h.data_type(), f.kind));
    let mut relation = Relation::new(plan, fields.clone());
    if fits {
        return Ok(relation);
    }
    if fields.iter().all(|f| f.name != INGEST_TIME) && have.field_with_name(INGEST_TIME).is_ok() {
        relation = relation.with_hidden(vec![(INGESTED.to_owned(), Relation::column(INGEST_TIME))])?;
        relation.hidden.push(INGESTED.to_owned());
    }
    let items = fields
        .into_iter()
        .map(|f| {
            let column = Relation::column(&f.name);
            let expr = match have.field_with_name(&f.name) {
                Ok(h) if lies_well(h.data_type(), f.kind) => column,
                Ok(_) => datafusion::logical_expr::cast(column, f.kind.arrow()),
                Err(_) => crate::lower::fold::null(f.kind),
            };
            (f, expr)
        })
        .collect();
    relation.project(items)
}

/// Whether a column in memory is one that functions of the language read.
fn lies_well(have: &DataType, kind: Type) -> bool {
    match have {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => kind.arrow() == DataType::Utf8,
        DataType::Dictionary(_, value) => {
            kind.arrow() == DataType::Utf8
                && matches!(**value, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        other => other == &kind.arrow(),
    }
}

/// A table's name as it is written: no folding of case, no dots.
fn reference(name: &str) -> datafusion::common::TableReference {
    datafusion::common::TableReference::bare(name.to_owned())
}

/// Rows that stand in the query.
pub(crate) fn rows(fields: Vec<Field>, rows: &[Vec<ScalarValue>]) -> Result<Relation> {
    let schema = schema(&fields);
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(fields.len());
    for (at, field) in fields.iter().enumerate() {
        let kind = field.kind.arrow();
        let null = ScalarValue::try_from(&kind)?;
        let values = rows
            .iter()
            .map(|row| row.get(at).map_or_else(|| Ok(null.clone()), |v| v.cast_to(&kind)))
            .collect::<Result<Vec<_>>>()?;
        let array = if values.is_empty() {
            arrow::array::new_empty_array(&kind)
        } else {
            let array = ScalarValue::iter_to_array(values)?;
            if array.data_type() == &kind { array } else { cast(&array, &kind)? }
        };
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    batches(fields, vec![RecordBatch::try_new_with_options(schema, arrays, &options)?])
}

/// Rows that were computed before.
pub(crate) fn batches(fields: Vec<Field>, batches: Vec<RecordBatch>) -> Result<Relation> {
    let schema = schema(&fields);
    let batches = batches
        .into_iter()
        .map(|batch| {
            let rows = batch.num_rows();
            let arrays = batch
                .columns()
                .iter()
                .zip(schema.fields())
                .map(|(a, f)| if a.data_type() == f.data_type() { Ok(Arc::clone(a)) } else { cast(a, f.data_type()) })
                .collect::<std::result::Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)?)
        })
        .collect::<Result<Vec<_>>>()?;
    let provider = MemTable::try_new(schema, vec![batches])?;
    let plan = LogicalPlanBuilder::scan(reference(INLINE), provider_as_source(Arc::new(provider)), None)?.build()?;
    Ok(Relation::new(plan, fields))
}

/// Rows that were computed before, with hidden columns besides their fields.
pub(crate) fn raw(schema: SchemaRef, batches: Vec<RecordBatch>, fields: Vec<Field>) -> Result<Relation> {
    let provider = MemTable::try_new(schema, vec![batches])?;
    let plan = LogicalPlanBuilder::scan(reference(INLINE), provider_as_source(Arc::new(provider)), None)?.build()?;
    Ok(Relation::new(plan, fields))
}

/// One row without columns.
pub(crate) fn unit() -> Relation {
    Relation::new(
        LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: true,
            schema: Arc::new(datafusion::common::DFSchema::empty()),
        }),
        vec![],
    )
}

/// No rows, these columns: what stands for a part that has errors, so that the rest can be read.
pub(crate) fn nothing(fields: Vec<Field>) -> Relation {
    let schema = schema(&fields);
    let schema = datafusion::common::DFSchema::try_from(schema.as_ref().clone())
        .unwrap_or_else(|_| datafusion::common::DFSchema::empty());
    Relation::new(
        LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(schema) }),
        fields,
    )
}
