//! Column builders, and the untyped builder below the generated ones.

use crate::{Column, ColumnType, Table};
use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    StringBuilder, StringDictionaryBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Field, Int32Type, Schema};
use garrison_model::Micros;
use std::sync::Arc;

/// Builder of one column. A column that never gets a value costs nothing: it stays unmade until its first value, and
/// the nulls before it are filled in then.
pub struct ColumnBuilder {
    column: &'static Column,
    state: State,
    rows: usize,
    bytes: usize,
}

enum State {
    Absent,
    Dictionary(StringDictionaryBuilder<Int32Type>),
    Text(StringBuilder),
    Long(Int64Builder),
    Int(Int32Builder),
    Real(Float64Builder),
    Bool(BooleanBuilder),
    Datetime(TimestampMicrosecondBuilder),
}

impl std::fmt::Debug for ColumnBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColumnBuilder")
            .field("column", &self.column.name)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ColumnBuilder {
    fn new(column: &'static Column) -> Self {
        Self { column, state: State::Absent, rows: 0, bytes: 0 }
    }

    fn make(&mut self) {
        if !matches!(self.state, State::Absent) {
            return;
        }
        let nulls = self.rows;
        self.state = match self.column.kind {
            ColumnType::Text | ColumnType::Dynamic if self.column.dictionary => {
                let mut b = StringDictionaryBuilder::new();
                (0..nulls).for_each(|_| b.append_null());
                State::Dictionary(b)
            }
            ColumnType::Text | ColumnType::Dynamic => {
                let mut b = StringBuilder::new();
                (0..nulls).for_each(|_| b.append_null());
                State::Text(b)
            }
            ColumnType::Long => {
                let mut b = Int64Builder::new();
                b.append_nulls(nulls);
                State::Long(b)
            }
            ColumnType::Int => {
                let mut b = Int32Builder::new();
                b.append_nulls(nulls);
                State::Int(b)
            }
            ColumnType::Real => {
                let mut b = Float64Builder::new();
                b.append_nulls(nulls);
                State::Real(b)
            }
            ColumnType::Bool => {
                let mut b = BooleanBuilder::new();
                b.append_nulls(nulls);
                State::Bool(b)
            }
            ColumnType::Datetime => {
                let mut b = TimestampMicrosecondBuilder::new().with_timezone("UTC");
                b.append_nulls(nulls);
                State::Datetime(b)
            }
        };
    }

    pub(crate) fn text(&mut self, value: Option<&str>) {
        if let Some(text) = value {
            self.make();
            self.bytes += text.len();
        }
        match &mut self.state {
            State::Dictionary(b) => b.append_option(value),
            State::Text(b) => b.append_option(value),
            _ => {}
        }
        self.rows += 1;
    }

    pub(crate) fn long(&mut self, value: Option<i64>) {
        if value.is_some() {
            self.make();
            self.bytes += 8;
        }
        if let State::Long(b) = &mut self.state {
            b.append_option(value);
        }
        self.rows += 1;
    }

    pub(crate) fn int(&mut self, value: Option<i32>) {
        if value.is_some() {
            self.make();
            self.bytes += 4;
        }
        if let State::Int(b) = &mut self.state {
            b.append_option(value);
        }
        self.rows += 1;
    }

    pub(crate) fn real(&mut self, value: Option<f64>) {
        if value.is_some() {
            self.make();
            self.bytes += 8;
        }
        if let State::Real(b) = &mut self.state {
            b.append_option(value);
        }
        self.rows += 1;
    }

    pub(crate) fn bool(&mut self, value: Option<bool>) {
        if value.is_some() {
            self.make();
            self.bytes += 1;
        }
        if let State::Bool(b) = &mut self.state {
            b.append_option(value);
        }
        self.rows += 1;
    }

    pub(crate) fn datetime(&mut self, value: Option<Micros>) {
        if value.is_some() {
            self.make();
            self.bytes += 8;
        }
        if let State::Datetime(b) = &mut self.state {
            b.append_option(value.map(|m| m.0));
        }
        self.rows += 1;
    }

    fn finish(&mut self) -> Option<ArrayRef> {
        let array: Option<ArrayRef> = match std::mem::replace(&mut self.state, State::Absent) {
            State::Absent => None,
            State::Dictionary(mut b) => Some(Arc::new(b.finish())),
            State::Text(mut b) => Some(Arc::new(b.finish())),
            State::Long(mut b) => Some(Arc::new(b.finish())),
            State::Int(mut b) => Some(Arc::new(b.finish())),
            State::Real(mut b) => Some(Arc::new(b.finish())),
            State::Bool(mut b) => Some(Arc::new(b.finish())),
            State::Datetime(mut b) => Some(Arc::new(b.finish())),
        };
        self.rows = 0;
        self.bytes = 0;
        array
    }
}

/// Builder of a table's batches, without types; the generated builders are its typed doors.
#[derive(Debug)]
pub struct TableBuilder {
    columns: Vec<ColumnBuilder>,
    rows: usize,
}

impl TableBuilder {
    /// An empty builder.
    pub fn new(table: &'static Table) -> Self {
        Self { columns: table.columns.iter().map(ColumnBuilder::new).collect(), rows: 0 }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of values so far, about.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|c| c.bytes).sum()
    }

    pub(crate) fn columns(&mut self) -> &mut [ColumnBuilder] {
        &mut self.columns
    }

    pub(crate) fn row_done(&mut self) {
        self.rows += 1;
    }

    /// The rows so far, columns without any value left out.
    pub fn finish(&mut self) -> RecordBatch {
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for column in &mut self.columns {
            if let Some(array) = column.finish() {
                fields.push(Field::new(column.column.name, array.data_type().clone(), true));
                arrays.push(array);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .expect("every column got one value a row")
    }
}
