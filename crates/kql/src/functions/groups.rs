//! The frequent aggregates over many groups at once: the engine would else keep an accumulator a group and cut every
//! batch into a slice for each.

use super::accumulators::{Collected, Distinct, Kind, OneRow, hashes};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Int64Array, StringArray};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Rows of a batch that count.
fn counts(filter: Option<&BooleanArray>) -> impl Fn(usize) -> bool + '_ {
    move |row| filter.is_none_or(|f| f.is_valid(row) && f.value(row))
}

/// What is hashed is a hash already.
#[derive(Default, Clone, Copy)]
pub(super) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 ^= value;
    }

    fn write_u32(&mut self, value: u32) {
        // Groups are numbered densely: spread over all bits, else one hash in two groups would meet itself.
        self.0 ^= u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A set of hashes.
pub(super) type Hashes = HashSet<u64, BuildHasherDefault<Same>>;

/// `dcount`.
#[derive(Default)]
pub(super) struct DistinctGroups {
    /// What was seen in which group; those of a group that went over to registers are gone.
    seen: HashSet<(u32, u64), BuildHasherDefault<Same>>,
    groups: Vec<Few>,
    bytes: usize,
}

/// One group: the first values stand in place, as most groups have one or two.
#[derive(Default)]
struct Few {
    hashes: Vec<u64>,
    many: Option<Box<Distinct>>,
}

impl DistinctGroups {
    fn grow(&mut self, total: usize) {
        if self.groups.len() < total {
            self.groups.resize_with(total, Few::default);
        }
    }

    fn add(&mut self, group: usize, hash: u64) {
        let Some(few) = self.groups.get_mut(group) else { return };
        if let Some(many) = &mut few.many {
            many.add(hash);
            return;
        }
        // Most groups are small: a short list is searched faster than a table, and takes less.
        if few.hashes.len() < SHORT {
            if !few.hashes.contains(&hash) {
                few.hashes.push(hash);
                self.bytes += 8;
                if few.hashes.len() == SHORT {
                    let group = group as u32;
                    self.seen.extend(few.hashes.iter().map(|hash| (group, *hash)));
                }
            }
            return;
        }
        if self.seen.insert((group as u32, hash)) {
            few.hashes.push(hash);
            self.bytes += 8;
            if few.hashes.len() > Distinct::EXACT_MAX {
                let hashes = std::mem::take(&mut few.hashes);
                let mut many = Distinct::default();
                for hash in &hashes {
                    self.seen.remove(&(group as u32, *hash));
                    many.add(*hash);
                }
                self.bytes = self.bytes.saturating_sub(hashes.len() * 8) + many.bytes();
                few.many = Some(Box::new(many));
            }
        }
    }

    fn take(&mut self, emit: EmitTo) -> Vec<Few> {
        let taken = emit.take_needed(&mut self.groups);
        match emit {
            EmitTo::All => {
                self.seen = HashSet::default();
                self.bytes = 0;
            }
            EmitTo::First(count) => {
                // The groups that stay are numbered anew.
                let old = std::mem::take(&mut self.seen);
                let moved = |(group, hash): (u32, u64)| {
                    let group = (group as usize).checked_sub(count)?;
                    Some((u32::try_from(group).ok()?, hash))
                };
                self.seen = old.into_iter().filter_map(moved).collect();
                self.bytes = self.groups.iter().map(|g| g.hashes.len() * 8).sum();
            }
        }
        taken
    }
}

/// Values of a group that are searched one by one.
const SHORT: usize = 12;

impl GroupsAccumulator for DistinctGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let Some(first) = values.first() else { return Ok(()) };
        let (hashes, nulls, counts) = (hashes(first)?, first.logical_nulls(), counts(filter));
        for (row, (hash, group)) in hashes.into_iter().zip(group_indices).enumerate() {
            if counts(row) && nulls.as_ref().is_none_or(|n| n.is_valid(row)) {
                self.add(*group, hash);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let count = |few: Few| few.many.map_or(few.hashes.len() as i64, |many| many.count());
        Ok(Arc::new(self.take(emit).into_iter().map(count).collect::<Int64Array>()))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        for few in self.take(emit) {
            match few.many {
                Some(many) => states.append_value(many.bytes_of_state()),
                None => states.append_value(Distinct::exact_state(few.hashes.into_iter())),
            }
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let Some(states) = values.first().and_then(|s| s.as_any().downcast_ref::<BinaryArray>()) else {
            return exec_err!("the state of `dcount` is not binary");
        };
        for (state, group) in states.iter().zip(group_indices) {
            let Some(state) = state else { continue };
            if let Some((0, hashes)) = state.split_first() {
                for chunk in hashes.chunks_exact(8) {
                    self.add(*group, u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
                }
                continue;
            }
            let Some(few) = self.groups.get_mut(*group) else { continue };
            let mut many = few.many.take().unwrap_or_default();
            for hash in std::mem::take(&mut few.hashes) {
                self.seen.remove(&(*group as u32, hash));
                many.add(hash);
            }
            many.merge(state)?;
            self.bytes += many.bytes();
            few.many = Some(many);
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(first) = values.first() else { return exec_err!("`dcount` has no argument") };
        let (hashes, nulls, counts) = (hashes(first)?, first.logical_nulls(), counts(filter));
        let mut states = BinaryBuilder::with_capacity(first.len(), first.len() * 9);
        for (row, hash) in hashes.into_iter().enumerate() {
            let there = counts(row) && nulls.as_ref().is_none_or(|n| n.is_valid(row));
            states.append_value(Distinct::exact_state(there.then_some(hash).into_iter()));
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.capacity() * size_of::<Few>() + self.bytes + self.seen.capacity() * 18
    }
}

/// `make_list`, `make_set`.
pub(super) struct CollectedGroups {
    kind: Kind,
    most: usize,
    groups: Vec<Collected>,
    bytes: usize,
}

impl CollectedGroups {
    pub(super) const fn new(kind: Kind, most: usize) -> Self {
        Self { kind, most, groups: Vec::new(), bytes: 0 }
    }

    fn grow(&mut self, total: usize) {
        let (kind, most) = (self.kind, self.most);
        if self.groups.len() < total {
            self.groups.resize_with(total, || Collected::new(kind, most));
        }
    }

    fn with(&mut self, group: usize, work: impl FnOnce(&mut Collected)) {
        if let Some(group) = self.groups.get_mut(group) {
            let before = group.bytes();
            work(group);
            self.bytes = (self.bytes + group.bytes()).saturating_sub(before);
        }
    }

    fn take(&mut self, emit: EmitTo) -> ArrayRef {
        let taken = emit.take_needed(&mut self.groups);
        self.bytes = self.groups.iter().map(Collected::bytes).sum();
        Arc::new(taken.iter().map(|group| Some(group.array())).collect::<StringArray>())
    }
}

impl GroupsAccumulator for CollectedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let items = Collected::arguments(values)?;
        let counts = counts(filter);
        for (row, group) in group_indices.iter().enumerate() {
            if counts(row) && row < items.len() {
                let item = if items.is_null(row) { "" } else { items.value(row) };
                self.with(*group, |group| group.offer(item));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(self.take(emit))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.take(emit)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let states = Collected::arguments(values)?;
        for (row, group) in group_indices.iter().enumerate() {
            if row < states.len() && states.is_valid(row) {
                self.with(*group, |group| group.merge(states.value(row)));
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let items = Collected::arguments(values)?;
        let counts = counts(filter);
        let state = |row: usize| {
            let mut one = Collected::new(self.kind, self.most);
            if counts(row) {
                one.offer(if items.is_null(row) { "" } else { items.value(row) });
            }
            Some(one.array())
        };
        Ok(vec![Arc::new((0..items.len()).map(state).collect::<StringArray>())])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.capacity() * size_of::<Collected>() + self.bytes
    }
}

/// `arg_max`, `arg_min`, `take_any`.
pub(super) struct RowGroups {
    empty: OneRow,
    groups: Vec<Option<OneRow>>,
    /// For the rows of one batch.
    best: Vec<Option<NonZeroU32>>,
    bytes: usize,
}

impl RowGroups {
    pub(super) const fn new(empty: OneRow) -> Self {
        Self { empty, groups: Vec::new(), best: Vec::new(), bytes: 0 }
    }

    fn offer(
        &mut self,
        columns: &[ArrayRef],
        group_indices: &[usize],
        counts: &dyn Fn(usize) -> bool,
        total: usize,
    ) -> Result<()> {
        if self.groups.len() < total {
            self.groups.resize_with(total, || None);
            self.best.resize(total, None);
        }
        // First the winner of each group within the batch, by its number; rows are copied only for those.
        for (group, row) in self.empty.winners(columns, group_indices, counts, &mut self.best)? {
            let Some(held) = self.groups.get_mut(group) else { continue };
            let before = held.as_ref().map_or(0, OneRow::bytes);
            let held = held.get_or_insert_with(|| self.empty.clone());
            held.challenge(columns, row)?;
            self.bytes = (self.bytes + held.bytes()).saturating_sub(before);
        }
        Ok(())
    }

    fn take(&mut self, emit: EmitTo) -> Vec<Option<OneRow>> {
        let taken = emit.take_needed(&mut self.groups);
        self.bytes = self.groups.iter().flatten().map(OneRow::bytes).sum();
        taken
    }

    fn columns(&self, rows: &[Option<OneRow>]) -> Result<Vec<ArrayRef>> {
        let column = |at: usize| {
            let cell = |row: &Option<OneRow>| {
                row.as_ref().and_then(|r| r.cell(at)).or_else(|| self.empty.cell(at)).unwrap_or(ScalarValue::Null)
            };
            if rows.is_empty() {
                return Ok(arrow::array::new_empty_array(&self.empty.kind_of(at)));
            }
            ScalarValue::iter_to_array(rows.iter().map(cell))
        };
        (0..self.empty.width()).map(column).collect()
    }
}

impl GroupsAccumulator for RowGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.offer(values, group_indices, &counts(filter), total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let rows = self.take(emit);
        self.empty.structs(self.columns(&rows)?, rows.len())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let rows = self.take(emit);
        let mut columns = self.columns(&rows)?;
        columns.push(Arc::new(rows.iter().map(|row| Some(row.is_some())).collect::<BooleanArray>()));
        Ok(columns)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total: usize) -> Result<()> {
        let Some((found, columns)) = values.split_last() else { return Ok(()) };
        let Some(found) = found.as_boolean_opt() else { return exec_err!("the state of a row is damaged") };
        self.offer(columns, group_indices, &|row| found.is_valid(row) && found.value(row), total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, Array::len);
        let found = (0..rows).map(|row| Some(counts(filter)(row))).collect::<BooleanArray>();
        Ok(values.iter().cloned().chain([Arc::new(found) as ArrayRef]).collect())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.capacity() * (size_of::<Option<OneRow>>() + 4) + self.bytes
    }
}
