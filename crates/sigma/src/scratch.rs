//! What one thread remembers between batches (see [`crate::Engine`] for why), and the evaluation that uses it.

use crate::detection::Likeness;
use crate::engine::Hit;
use crate::lower::RowTest;
use crate::map::{Derive, Target};
use crate::matcher::{Predicate, Workspace};
use crate::plan::{ColumnPlan, Plan, Program, Verdict};
use crate::test::alike;
use crate::value::{Reader, Value, words};
use ahash::RandomState;
use arrow::array::{Array, RecordBatch};
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::HashMap;

/// Memory of evaluations: one for each thread, for any number of tables. Emptied when full and when the engine changes.
pub struct Scratch {
    engine: u64,
    plans: HashMap<usize, PlanScratch>,
    bytes_max: usize,
}

/// Bytes for each table, unless told otherwise: what a sensor can spare. A server does well to give eight times as much.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longer values are searched anew each time: they seldom come back, and a few would fill the memory.
const VALUE_BYTES_MAX: usize = 2_048;
const UNSET: u32 = u32::MAX;

impl Default for Scratch {
    fn default() -> Self {
        Self::with_bytes_max(BYTES_MAX)
    }
}

impl Scratch {
    /// With the default bound.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a bound on what is remembered for each table; a sensor takes little, a server much.
    pub fn with_bytes_max(bytes_max: usize) -> Self {
        Self { engine: 0, plans: HashMap::new(), bytes_max }
    }

    pub(crate) fn for_plan(&mut self, engine: u64, slot: usize, plan: &Plan) -> &mut PlanScratch {
        if self.engine != engine {
            self.engine = engine;
            self.plans.clear();
        }
        let bytes_max = self.bytes_max;
        self.plans.entry(slot).or_insert_with(|| PlanScratch::new(plan, bytes_max))
    }
}

/// The class of each value seen in one column.
#[derive(Default)]
struct ColumnCache {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    arena: Vec<u8>,
    numbers: HashMap<i64, u32, RandomState>,
}

struct Entry {
    hash: u64,
    start: u32,
    length: u32,
    class: u32,
}

/// Sets of predicates, each known by a number.
#[derive(Default)]
struct Classes {
    index: HashTable<u32>,
    lists: Vec<(u32, u32)>,
    arena: Vec<Predicate>,
}

struct Known {
    hash: u64,
    /// Which columns the batch had.
    presence: u32,
    /// The classes of those columns.
    tuple: u32,
    /// The rules.
    first: u32,
    count: u32,
}

/// A rule that a tuple matches.
#[derive(Clone, Copy)]
struct Found {
    local: u32,
    /// What the row itself must fulfil too, in [`PlanScratch::rests`]; `UNSET` if nothing.
    rest: u32,
}

pub(crate) struct PlanScratch {
    random: RandomState,
    columns: Vec<ColumnCache>,
    classes: Classes,
    null_classes: Vec<u32>,
    presences: HashMap<Vec<u16>, u32>,
    index: HashTable<u32>,
    known: Vec<Known>,
    tuples: Vec<u32>,
    results: Vec<Found>,
    rests: Vec<Program>,
    bytes: usize,
    bytes_max: usize,
    // Used within one batch.
    row_classes: Vec<Vec<u32>>,
    hashes: Vec<u64>,
    work: Workspace,
    predicates: Vec<Predicate>,
    truth: Vec<u64>,
    tried: Vec<u64>,
    round: u64,
}

impl PlanScratch {
    fn new(plan: &Plan, bytes_max: usize) -> Self {
        let mut scratch = Self {
            random: RandomState::new(),
            columns: Vec::new(),
            classes: Classes::default(),
            null_classes: Vec::new(),
            presences: HashMap::new(),
            index: HashTable::new(),
            known: Vec::new(),
            tuples: Vec::new(),
            results: Vec::new(),
            rests: Vec::new(),
            bytes: 0,
            bytes_max,
            row_classes: vec![Vec::new(); plan.columns.len()],
            hashes: Vec::new(),
            work: Workspace::default(),
            predicates: Vec::new(),
            truth: vec![0; plan.predicate_count.div_ceil(64)],
            tried: vec![0; plan.rules.len()],
            round: 0,
        };
        scratch.forget(plan);
        scratch
    }

    fn forget(&mut self, plan: &Plan) {
        self.columns = plan.columns.iter().map(|_| ColumnCache::default()).collect();
        self.classes = Classes::default();
        self.presences.clear();
        self.index.clear();
        self.known.clear();
        self.tuples.clear();
        self.results.clear();
        self.rests.clear();
        self.bytes = 0;
        self.null_classes = plan.columns.iter().map(|column| self.classes.number(&column.null, &self.random)).collect();
    }

    pub fn evaluate(&mut self, plan: &Plan, batch: &RecordBatch, disabled: &[bool], out: &mut Vec<Hit>) {
        if self.bytes > self.bytes_max {
            self.forget(plan);
        }
        let rows = batch.num_rows();
        self.hashes.clear();
        self.hashes.resize(rows, 0);
        let mut present: Vec<u16> = Vec::new();
        for (at, column) in plan.columns.iter().enumerate() {
            let reader = Reader::open(batch, &column.name);
            if matches!(reader, Reader::Absent) {
                continue;
            }
            present.push(at as u16);
            let mut classes = std::mem::take(&mut self.row_classes[at]);
            classes.clear();
            self.column(at, column, &reader, rows, &mut classes);
            for (hash, class) in self.hashes.iter_mut().zip(&classes) {
                *hash = (hash.rotate_left(5) ^ u64::from(*class)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
            self.row_classes[at] = classes;
        }
        let next = self.presences.len() as u32;
        let presence = *self.presences.entry(present.clone()).or_insert(next);
        let row_readers = RowReaders::open(plan, batch);
        for row in 0..rows {
            let hash = self.hashes[row] ^ self.hashes[row] >> 32;
            let found = self.index.find(hash, |&at| {
                let known = &self.known[at as usize];
                known.hash == hash
                    && known.presence == presence
                    && present
                        .iter()
                        .zip(&self.tuples[known.tuple as usize..])
                        .all(|(column, class)| self.row_classes[*column as usize][row] == *class)
            });
            let at = match found {
                Some(&at) => at,
                None => self.learn(plan, &present, presence, hash, row),
            };
            let known = &self.known[at as usize];
            if known.count == 0 {
                continue;
            }
            for result in known.first as usize..(known.first + known.count) as usize {
                let found = self.results[result];
                let rule = plan.rules[found.local as usize].0;
                if disabled.get(rule.0 as usize) == Some(&true) {
                    continue;
                }
                let holds = self.rests.get(found.rest as usize).is_none_or(|rest| {
                    // Only row tests are left in it, so that it asks for no predicate.
                    rest.run(&[], &|test| row_readers.verdict(test, row)) == Verdict::True
                });
                if holds {
                    out.push(Hit { row: row as u32, rule });
                }
            }
        }
    }

    /// The class of each row of one column.
    fn column(&mut self, at: usize, plan: &ColumnPlan, reader: &Reader, rows: usize, classes: &mut Vec<u32>) {
        let null = self.null_classes[at];
        classes.reserve(rows);
        match reader {
            Reader::Dictionary { keys, values } => {
                let mut of_key = vec![UNSET; values.len()];
                for row in 0..rows {
                    if keys.is_null(row) {
                        classes.push(null);
                        continue;
                    }
                    let key = keys.value(row) as usize;
                    if key >= values.len() || values.is_null(key) {
                        classes.push(null);
                        continue;
                    }
                    if of_key[key] == UNSET {
                        of_key[key] = self.text_class(at, plan, values.value(key));
                    }
                    classes.push(of_key[key]);
                }
            }
            Reader::Text(array) => {
                for row in 0..rows {
                    let class = if array.is_null(row) { null } else { self.text_class(at, plan, array.value(row)) };
                    classes.push(class);
                }
            }
            Reader::Long(array) => {
                for row in 0..rows {
                    let class = if array.is_null(row) { null } else { self.number_class(at, plan, array.value(row)) };
                    classes.push(class);
                }
            }
            Reader::Int(array) => {
                for row in 0..rows {
                    let class = if array.is_null(row) {
                        null
                    } else {
                        self.number_class(at, plan, i64::from(array.value(row)))
                    };
                    classes.push(class);
                }
            }
            Reader::Absent | Reader::Real(_) | Reader::Bool(_) | Reader::Time(_) => {
                for row in 0..rows {
                    let class = reader.value(row).map_or(null, |value| self.classify(plan, &value));
                    classes.push(class);
                }
            }
        }
    }

    fn text_class(&mut self, at: usize, plan: &ColumnPlan, text: &str) -> u32 {
        if text.len() > VALUE_BYTES_MAX {
            return self.classify(plan, &Value::text(text));
        }
        let hash = self.random.hash_one(text.as_bytes());
        let cache = &self.columns[at];
        let found = cache.index.find(hash, |&entry| {
            let entry = &cache.entries[entry as usize];
            let range = entry.start as usize..(entry.start + entry.length) as usize;
            entry.hash == hash && cache.arena[range] == *text.as_bytes()
        });
        if let Some(&entry) = found {
            return cache.entries[entry as usize].class;
        }
        let class = self.classify(plan, &Value::text(text));
        if self.bytes <= self.bytes_max {
            self.bytes += text.len() + size_of::<Entry>() + 8;
            let cache = &mut self.columns[at];
            let (start, length) = (cache.arena.len() as u32, text.len() as u32);
            cache.arena.extend_from_slice(text.as_bytes());
            let number = cache.entries.len() as u32;
            cache.entries.push(Entry { hash, start, length, class });
            let entries = &cache.entries;
            cache.index.insert_unique(hash, number, |&entry| entries[entry as usize].hash);
        }
        class
    }

    fn number_class(&mut self, at: usize, plan: &ColumnPlan, number: i64) -> u32 {
        if let Some(&class) = self.columns[at].numbers.get(&number) {
            return class;
        }
        let class = self.classify(plan, &Value::long(number));
        if self.bytes <= self.bytes_max {
            self.bytes += 24;
            self.columns[at].numbers.insert(number, class);
        }
        class
    }

    /// Searches a value for all predicates of its column.
    fn classify(&mut self, plan: &ColumnPlan, value: &Value<'_>) -> u32 {
        let mut predicates = std::mem::take(&mut self.predicates);
        predicates.clear();
        let arguments = plan.parts.iter().filter_map(|part| match part.derive {
            Derive::Argument(index) => Some(usize::from(index) + 1),
            _ => None,
        });
        // A command line is split once for all of its words.
        let words = arguments.max().map(|count| words(&value.text, count)).unwrap_or_default();
        for part in &plan.parts {
            match part.derive {
                Derive::Whole => {
                    part.matcher.search(value, &mut self.work, &mut predicates);
                    continue;
                }
                Derive::Argument(index) => {
                    match words.get(usize::from(index)) {
                        Some(word) => part.matcher.search(&Value::text(word), &mut self.work, &mut predicates),
                        None => predicates.extend_from_slice(&part.null),
                    }
                    continue;
                }
                _ => {}
            }
            let derived = part.derive.apply(value);
            if derived.is_empty() {
                predicates.extend_from_slice(&part.null);
            }
            for value in &derived {
                part.matcher.search(value, &mut self.work, &mut predicates);
            }
        }
        predicates.sort_unstable();
        predicates.dedup();
        let before = self.classes.lists.len();
        let class = self.classes.number(&predicates, &self.random);
        if self.classes.lists.len() > before {
            self.bytes += predicates.len() * 4 + 24;
        }
        self.predicates = predicates;
        class
    }

    fn class_of(&self, present: &[u16], row: usize, column: usize) -> u32 {
        if present.binary_search(&(column as u16)).is_ok() {
            self.row_classes[column][row]
        } else {
            self.null_classes[column]
        }
    }

    /// Finds the rules of a tuple that is new, and remembers them.
    fn learn(&mut self, plan: &Plan, present: &[u16], presence: u32, hash: u64, row: usize) -> u32 {
        self.raise(plan, present, row);
        self.round += 1;
        let first = self.results.len() as u32;
        let unknown = |_| Verdict::Open;
        let (truth, rests, bytes) = (&self.truth, &mut self.rests, &mut self.bytes);
        let mut try_rule = |local: u32, tried: &mut [u64], results: &mut Vec<Found>| {
            if tried[local as usize] != self.round {
                tried[local as usize] = self.round;
                let program = &plan.rules[local as usize].1;
                match program.run(truth, &unknown) {
                    Verdict::True => results.push(Found { local, rest: UNSET }),
                    Verdict::Open => {
                        results.push(Found { local, rest: rests.len() as u32 });
                        let rest = program.rest(truth);
                        *bytes += rest.size() * size_of::<Program>();
                        rests.push(rest);
                    }
                    Verdict::False => {}
                }
            }
        };
        for (word, &bits) in truth.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                let predicate = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                for &local in &plan.witnesses[predicate] {
                    try_rule(local, &mut self.tried, &mut self.results);
                }
            }
        }
        for &local in &plan.always {
            try_rule(local, &mut self.tried, &mut self.results);
        }
        self.results[first as usize..].sort_unstable_by_key(|found| found.local);
        self.truth.fill(0);
        let tuple = self.tuples.len() as u32;
        self.tuples.extend(present.iter().map(|&column| self.row_classes[column as usize][row]));
        let count = self.results.len() as u32 - first;
        let at = self.known.len() as u32;
        self.known.push(Known { hash, presence, tuple, first, count });
        let known = &self.known;
        self.index.insert_unique(hash, at, |&at| known[at as usize].hash);
        self.bytes += present.len() * 4 + size_of::<Known>() + 8 + count as usize * size_of::<Found>();
        at
    }

    /// Sets the bits of the predicates that hold on a row.
    fn raise(&mut self, plan: &Plan, present: &[u16], row: usize) {
        for column in 0..plan.columns.len() {
            let class = self.class_of(present, row, column);
            for &predicate in self.classes.list(class) {
                self.truth[predicate as usize / 64] |= 1 << (predicate % 64);
            }
        }
    }
}

impl Classes {
    fn number(&mut self, predicates: &[Predicate], random: &RandomState) -> u32 {
        let hash = random.hash_one(predicates);
        let found = self.index.find(hash, |&class| self.list(class) == predicates);
        if let Some(&class) = found {
            return class;
        }
        let class = self.lists.len() as u32;
        self.lists.push((self.arena.len() as u32, predicates.len() as u32));
        self.arena.extend_from_slice(predicates);
        let (lists, arena) = (&self.lists, &self.arena);
        self.index.insert_unique(hash, class, |&class| {
            let (start, length) = lists[class as usize];
            random.hash_one(&arena[start as usize..(start + length) as usize])
        });
        class
    }

    fn list(&self, class: u32) -> &[Predicate] {
        let (start, length) = self.lists[class as usize];
        &self.arena[start as usize..(start + length) as usize]
    }
}

/// The columns that tests of the row itself need.
struct RowReaders {
    tests: Vec<RowReader>,
}

/// The columns that one test of the row itself needs, opened.
pub(crate) struct RowReader {
    left: Vec<Side>,
    right: Vec<Side>,
    how: Likeness,
    cased: bool,
}

enum Side {
    Column(Reader, Derive),
    Constant(&'static [&'static str]),
}

impl RowReaders {
    fn open(plan: &Plan, batch: &RecordBatch) -> Self {
        let reader = |column: &str| Reader::open(batch, column);
        Self { tests: plan.row_tests.iter().map(|test| RowReader::open(test, &reader)).collect() }
    }

    fn verdict(&self, test: u32, row: usize) -> Verdict {
        self.tests.get(test as usize).is_some_and(|test| test.holds(row)).into()
    }
}

impl RowReader {
    pub(crate) fn open(test: &RowTest, reader: &dyn Fn(&str) -> Reader) -> Self {
        let open = |target: &Target| match target {
            Target::Column(column, derive) => Side::Column(reader(column), derive.clone()),
            Target::Constant(words) => Side::Constant(words),
        };
        Self {
            left: test.left.iter().map(open).collect(),
            right: test.right.iter().map(open).collect(),
            how: test.how,
            cased: test.cased,
        }
    }

    pub(crate) fn holds(&self, row: usize) -> bool {
        fn texts(side: &[Side], row: usize) -> SmallVec<[Cow<'_, str>; 2]> {
            let mut found = SmallVec::new();
            for one in side {
                match one {
                    Side::Constant(words) => found.extend(words.iter().map(|w| Cow::Borrowed(*w))),
                    Side::Column(reader, Derive::Whole) => found.extend(reader.value(row).map(|value| value.text)),
                    Side::Column(reader, derive) => {
                        if let Some(value) = reader.value(row) {
                            found.extend(derive.apply(&value).into_iter().map(|v| v.text));
                        }
                    }
                }
            }
            found
        }
        let (left, right) = (texts(&self.left, row), texts(&self.right, row));
        left.iter().any(|l| right.iter().any(|r| alike(l, r, self.how, self.cased)))
    }
}
