//! The machine of `scan`: rows in their order against steps.
//!
//! Each step keeps at most one sequence that has come as far as it: the last row of every step up to there. A row is
//! put to the steps from the last to the first. It moves a sequence on from the step before (which then has none), or
//! it takes the place of the last row of a sequence that is at this step; the first step begins a sequence with it.
//!
//! Conditions that look at the row alone are computed for all rows at once; only what looks at a sequence is computed
//! row by row, and only where the rest of the condition holds.

use crate::lower::evaluate::{Compiled, truths};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, exec_err};
use std::collections::HashMap;
use std::rc::Rc;

/// Which rows of a step are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Every one.
    All,
    /// The last of those that a sequence has in a row.
    Last,
    /// None.
    Nothing,
}

/// Where an expression's column comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// A column of the rows.
    Row(usize),
    /// A column of a step's last row: step, column of the rows, place among the assigned columns, and what it is where
    /// the step has no row.
    State {
        /// Which step.
        step: usize,
        /// The column of the rows, if it is one.
        column: Option<usize>,
        /// Its place among the assigned columns, if it is one.
        assigned: Option<usize>,
        /// What it is where the step has no row.
        missing: ScalarValue,
    },
}

/// A compiled expression with the origins of its columns.
pub(crate) struct Part {
    pub compiled: Compiled,
    pub origins: Vec<Origin>,
}

impl Part {
    fn looks_at_state(&self) -> bool {
        self.origins.iter().any(|o| matches!(o, Origin::State { .. }))
    }
}

/// A step.
pub(crate) struct Step {
    pub output: Output,
    /// The parts of its condition: all must hold.
    pub condition: Vec<Part>,
    /// Places among the assigned columns, and their values.
    pub assignments: Vec<(usize, Part)>,
}

/// All that the machine needs besides rows.
pub(crate) struct Machine {
    pub steps: Vec<Step>,
    /// Columns of the rows that parts are told apart by.
    pub part_by: Vec<usize>,
    /// What an assigned column is in a row whose step does not assign it: a constant, or the column of the rows.
    pub assigned: Vec<(Option<usize>, ScalarValue)>,
    /// Rows that it may give.
    pub rows_max: usize,
    /// Bytes that assigned values may take.
    pub bytes_max: usize,
}

/// A row of the answer.
pub(crate) struct Match {
    pub batch: usize,
    pub row: usize,
    pub id: i64,
    /// What was assigned, for each assigned column.
    pub values: Rc<Vec<Option<ScalarValue>>>,
}

/// Why it stopped.
pub(crate) enum Stop {
    /// More rows than it may give.
    Rows,
    /// More bytes than it may keep.
    Bytes,
}

#[derive(Clone)]
struct Record {
    batch: usize,
    row: usize,
    values: Rc<Vec<Option<ScalarValue>>>,
}

/// A sequence that is at a step.
#[derive(Clone)]
struct Sequence {
    id: i64,
    /// The last row of each step up to here.
    records: Vec<Option<Record>>,
    /// The row of this step that is answered once the next one is not of it.
    pending: Option<(u64, Record)>,
}

#[derive(Default)]
struct PartState {
    sequences: Vec<Option<Sequence>>,
    next: i64,
}

/// What is computed for all rows of a batch at once.
struct Ahead {
    /// For each step, where the parts of its condition that look at the row alone hold.
    holds: Vec<BooleanArray>,
    /// For each step, the assignments that look at the row alone.
    assigned: Vec<Vec<Option<ArrayRef>>>,
}

struct Run<'m> {
    machine: &'m Machine,
    batches: &'m [RecordBatch],
    out: Vec<(u64, Match)>,
    order: u64,
    bytes: usize,
}

impl Machine {
    /// The rows that match, in their order.
    pub(crate) fn run(&self, batches: &[RecordBatch]) -> Result<std::result::Result<Vec<Match>, Stop>> {
        let mut run = Run { machine: self, batches, out: vec![], order: 0, bytes: 0 };
        let mut states: HashMap<Option<OwnedRow>, PartState> = HashMap::new();
        let mut converter = match batches.first() {
            Some(batch) if !self.part_by.is_empty() => {
                let kinds = self.part_by.iter().map(|c| SortField::new(batch.column(*c).data_type().clone()));
                Some(RowConverter::new(kinds.collect())?)
            }
            _ => None,
        };
        for (at, batch) in batches.iter().enumerate() {
            let ahead = run.ahead(batch)?;
            let keys = match &mut converter {
                Some(converter) => {
                    let columns: Vec<ArrayRef> =
                        self.part_by.iter().map(|c| std::sync::Arc::clone(batch.column(*c))).collect();
                    Some(converter.convert_columns(&columns)?)
                }
                None => None,
            };
            for row in 0..batch.num_rows() {
                let key = keys.as_ref().map(|k| k.row(row).owned());
                let state = states.entry(key).or_default();
                if let Err(stop) = run.row(state, &ahead, at, row)? {
                    return Ok(Err(stop));
                }
            }
        }
        for state in states.into_values() {
            for sequence in state.sequences.into_iter().flatten() {
                if let Err(stop) = run.settle(sequence.pending, sequence.id) {
                    return Ok(Err(stop));
                }
            }
        }
        run.out.sort_by_key(|(order, _)| *order);
        Ok(Ok(run.out.into_iter().map(|(_, m)| m).collect()))
    }
}

impl Run<'_> {
    fn ahead(&self, batch: &RecordBatch) -> Result<Ahead> {
        let whole = |part: &Part| -> Result<ArrayRef> {
            let mut arrays = vec![];
            for origin in &part.origins {
                match origin {
                    Origin::Row(column) => arrays.push(std::sync::Arc::clone(batch.column(*column))),
                    Origin::State { .. } => return exec_err!("a step's row stands where it cannot"),
                }
            }
            part.compiled.run(arrays, batch.num_rows())
        };
        let mut ahead = Ahead { holds: vec![], assigned: vec![] };
        for step in &self.machine.steps {
            let mut holds = BooleanArray::from(vec![true; batch.num_rows()]);
            for part in step.condition.iter().filter(|p| !p.looks_at_state()) {
                holds = arrow::compute::and(&holds, &truths(&whole(part)?)?)?;
            }
            ahead.holds.push(holds);
            let assigned = step
                .assignments
                .iter()
                .map(|(_, part)| if part.looks_at_state() { Ok(None) } else { whole(part).map(Some) });
            ahead.assigned.push(assigned.collect::<Result<_>>()?);
        }
        Ok(ahead)
    }

    /// One row against all steps.
    fn row(
        &mut self,
        state: &mut PartState,
        ahead: &Ahead,
        batch: usize,
        row: usize,
    ) -> Result<std::result::Result<(), Stop>> {
        let steps = self.machine.steps.len();
        if state.sequences.is_empty() {
            state.sequences.resize(steps, None);
        }
        for at in (0..steps).rev() {
            let (Some(step), Some(holds)) = (self.machine.steps.get(at), ahead.holds.get(at)) else { continue };
            if !holds.value(row) {
                continue;
            }
            let before = at.checked_sub(1).and_then(|b| state.sequences.get(b)).and_then(Option::as_ref);
            if let Some(before) = before
                && self.holds(step, &before.records, batch, row)?
            {
                let values = match self.assign(step, ahead.assigned.get(at), &before.records, batch, row)? {
                    Ok(values) => values,
                    Err(stop) => return Ok(Err(stop)),
                };
                let moved = at.checked_sub(1).and_then(|b| state.sequences.get_mut(b)).and_then(Option::take);
                let Some(mut moved) = moved else { continue };
                let ended = state.sequences.get_mut(at).and_then(Option::take);
                for (pending, id) in
                    [(moved.pending.take(), moved.id)].into_iter().chain(ended.map(|mut e| (e.pending.take(), e.id)))
                {
                    if let Err(stop) = self.settle(pending, id) {
                        return Ok(Err(stop));
                    }
                }
                if let Err(stop) = self.take(step, &mut moved, Record { batch, row, values }) {
                    return Ok(Err(stop));
                }
                if let Some(place) = state.sequences.get_mut(at) {
                    *place = Some(moved);
                }
                continue;
            }
            let here = state.sequences.get(at).and_then(Option::as_ref);
            if here.is_none() && at > 0 {
                continue;
            }
            let records: &[Option<Record>] = here.map_or(&[], |s| &s.records);
            if !self.holds(step, records, batch, row)? {
                continue;
            }
            let values = match self.assign(step, ahead.assigned.get(at), records, batch, row)? {
                Ok(values) => values,
                Err(stop) => return Ok(Err(stop)),
            };
            let mut sequence = match state.sequences.get_mut(at).and_then(Option::take) {
                Some(mut sequence) => {
                    sequence.records.pop();
                    sequence
                }
                None => Sequence { id: 0, records: vec![], pending: None },
            };
            if at == 0 {
                sequence.id = state.next;
                state.next += 1;
            }
            if let Err(stop) = self.take(step, &mut sequence, Record { batch, row, values }) {
                return Ok(Err(stop));
            }
            if let Some(place) = state.sequences.get_mut(at) {
                *place = Some(sequence);
            }
        }
        Ok(Ok(()))
    }

    /// The row becomes the last of the sequence's step.
    fn take(&mut self, step: &Step, sequence: &mut Sequence, record: Record) -> std::result::Result<(), Stop> {
        self.order += 1;
        let order = self.order;
        sequence.pending = None;
        match step.output {
            Output::All => self.give(order, sequence.id, &record)?,
            Output::Last => sequence.pending = Some((order, record.clone())),
            Output::Nothing => {}
        }
        sequence.records.push(Some(record));
        Ok(())
    }

    fn settle(&mut self, pending: Option<(u64, Record)>, id: i64) -> std::result::Result<(), Stop> {
        match pending {
            Some((order, record)) => self.give(order, id, &record),
            None => Ok(()),
        }
    }

    fn give(&mut self, order: u64, id: i64, record: &Record) -> std::result::Result<(), Stop> {
        if self.out.len() >= self.machine.rows_max {
            return Err(Stop::Rows);
        }
        let values = Rc::clone(&record.values);
        self.out.push((order, Match { batch: record.batch, row: record.row, id, values }));
        Ok(())
    }

    fn holds(&self, step: &Step, records: &[Option<Record>], batch: usize, row: usize) -> Result<bool> {
        for part in step.condition.iter().filter(|p| p.looks_at_state()) {
            let value = self.value(part, records, batch, row)?;
            if !truths(&value)?.iter().next().flatten().unwrap_or(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn assign(
        &mut self,
        step: &Step,
        ahead: Option<&Vec<Option<ArrayRef>>>,
        records: &[Option<Record>],
        batch: usize,
        row: usize,
    ) -> Result<std::result::Result<Rc<Vec<Option<ScalarValue>>>, Stop>> {
        let mut values = vec![None; self.machine.assigned.len()];
        for (at, (place, part)) in step.assignments.iter().enumerate() {
            let value = match ahead.and_then(|a| a.get(at)).and_then(Option::as_ref) {
                Some(array) => ScalarValue::try_from_array(array, row)?,
                None => ScalarValue::try_from_array(&self.value(part, records, batch, row)?, 0)?,
            };
            self.bytes += value.size();
            if let Some(slot) = values.get_mut(*place) {
                *slot = Some(value);
            }
        }
        if self.bytes > self.machine.bytes_max {
            return Ok(Err(Stop::Bytes));
        }
        Ok(Ok(Rc::new(values)))
    }

    /// A part's value for one row and the sequence's rows.
    fn value(&self, part: &Part, records: &[Option<Record>], batch: usize, row: usize) -> Result<ArrayRef> {
        let mut arrays = Vec::with_capacity(part.origins.len());
        for origin in &part.origins {
            arrays.push(match origin {
                Origin::Row(column) => self.cell(batch, *column, row)?,
                Origin::State { step, column, assigned, missing } => {
                    match records.get(*step).and_then(Option::as_ref) {
                        None => missing.to_array()?,
                        Some(record) => {
                            let given = assigned.and_then(|a| record.values.get(a)).and_then(Option::as_ref);
                            match (given, column) {
                                (Some(value), _) => value.to_array()?,
                                (None, Some(column)) => self.cell(record.batch, *column, record.row)?,
                                (None, None) => missing.to_array()?,
                            }
                        }
                    }
                }
            });
        }
        part.compiled.run(arrays, 1)
    }

    fn cell(&self, batch: usize, column: usize, row: usize) -> Result<ArrayRef> {
        match self.batches.get(batch) {
            Some(batch) => Ok(batch.column(column).slice(row, 1)),
            None => exec_err!("a row of no batch"),
        }
    }
}
