//! Correlations at run time: matches come in with their times, hits come out. The state is bounded in groups and in
//! events, and is given the time instead of asking for it.
//!
//! **When a correlation fires.** Windows slide: a lower bound (`gt`, `gte`) is looked at whenever an event arrives, over
//! the events of the window that ends with it. A condition with an upper bound (`lt`, `lte`, `eq`, `neq`) can only be
//! known when a window is over: the window then begins with the first event and is looked at once it has passed. After a
//! hit the group starts anew, so an event contributes to one hit at most. Events without a value in one of the fields to
//! group by belong to no group.

use crate::correlation::{Correlation, CorrelationType};
use crate::detection::Order;
use crate::diagnostic::{Code, Diagnostic, shown};
use crate::engine::{Engine, Matches};
use crate::map::{FieldMap, Target};
use crate::rule::{Body, RuleIndex};
use crate::ruleset::RuleSet;
use crate::value::Reader;
use arrow::array::RecordBatch;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// A correlation, ready to run.
pub(crate) struct Compiled {
    pub rule: RuleIndex,
    spec: Correlation,
    /// The rules referred to; several references may be one rule.
    sources: Vec<Source>,
}

struct Source {
    rule: RuleIndex,
    /// Names of the fields to group by and to count, with aliases resolved for this rule.
    group: Vec<String>,
    fields: Vec<String>,
    /// The same as targets, by table; empty for correlations.
    tables: Vec<TableTargets>,
}

/// A table, the targets to group by in it, and those to count.
type TableTargets = (String, Vec<Vec<Target>>, Vec<Vec<Target>>);

impl Compiled {
    pub fn tables(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.sources.iter().flat_map(|s| s.tables.iter().map(|t| &t.0)).collect();
        all.into_iter().cloned().collect()
    }

    /// The rules that it refers to.
    pub fn members(&self) -> impl Iterator<Item = RuleIndex> + '_ {
        self.sources.iter().map(|s| s.rule)
    }

    /// Whether the condition can only be known at the end of a window.
    fn waits(&self) -> bool {
        self.spec.condition.iter().any(|(order, _)| !matches!(order, Order::Greater | Order::GreaterOrEqual))
    }
}

type Remarks = Vec<(RuleIndex, Vec<Diagnostic>)>;

/// Resolves every correlation's rules and fields. Correlations come after those they refer to.
pub(crate) fn compile(
    rules: &RuleSet,
    map: &dyn FieldMap,
    tables_of: &dyn Fn(RuleIndex) -> Vec<String>,
) -> (Vec<Compiled>, Remarks) {
    let mut remarks: Remarks = Vec::new();
    let mut done: Vec<Compiled> = Vec::new();
    let mut open: Vec<RuleIndex> =
        rules.iter().filter(|(_, r)| matches!(r.body, Body::Correlation(_))).map(|(index, _)| index).collect();
    loop {
        let before = open.len();
        open.retain(|&index| {
            let Some(rule) = rules.rule(index) else { return false };
            let Body::Correlation(spec) = &rule.body else { return false };
            let mut sources = Vec::new();
            for reference in &spec.rules {
                let Some(target) = rules.resolve(reference) else { return false };
                let Some(to) = rules.rule(target) else { return false };
                let resolved = |name: &String| -> String {
                    let alias = spec.aliases.iter().find(|(alias, _)| alias == name);
                    let field = alias.and_then(|(_, pairs)| pairs.iter().find(|(rule, _)| rule == reference));
                    field.map_or_else(|| name.clone(), |(_, field)| field.clone())
                };
                let group: Vec<String> = spec.group_by.iter().map(resolved).collect();
                let fields: Vec<String> = spec.fields.iter().map(resolved).collect();
                let mut tables = Vec::new();
                if let Body::Detection(_) = &to.body {
                    let usable = tables_of(target);
                    for route in map.routes(&to.log_source).iter().filter(|r| usable.iter().any(|t| *t == r.table)) {
                        let find = |name: &String| map.field(&to.log_source, route, name);
                        let group: Vec<Vec<Target>> = group.iter().map(find).collect();
                        let fields: Vec<Vec<Target>> = fields.iter().map(find).collect();
                        if group.iter().chain(&fields).all(|targets| !targets.is_empty()) {
                            tables.push((route.table.to_string(), group, fields));
                        }
                    }
                    if tables.is_empty() {
                        let (code, message) = if usable.is_empty() {
                            (Code::UnknownRule, format!("the rule `{}` is not usable here", shown(reference)))
                        } else {
                            (Code::GroupUnmapped, format!("for `{}` a field has no column", shown(reference)))
                        };
                        let place = "correlation.rules";
                        remarks.push((index, vec![Diagnostic::new(code, place, rule.line, message)]));
                        return false;
                    }
                } else if !done.iter().any(|c| c.rule == target) {
                    // Its turn comes when the one it refers to is done.
                    return true;
                }
                sources.push(Source { rule: target, group, fields, tables });
            }
            done.push(Compiled { rule: index, spec: spec.clone(), sources });
            false
        });
        if open.len() == before {
            break;
        }
    }
    for index in open {
        if let Some(rule) = rules.rule(index) {
            let message = "a correlation that it refers to is not usable here";
            remarks.push((index, vec![Diagnostic::new(Code::UnknownRule, "correlation.rules", rule.line, message)]));
        }
    }
    (done, remarks)
}

/// Bounds on the state of all correlations together, each with its reason.
#[derive(Debug, Clone, Copy)]
pub struct CorrelationLimits {
    /// Groups over all correlations: an attacker chooses the values of group-by fields. The least lately used go first.
    pub groups_max: usize,
    /// Events kept in one group: a condition over more needs no exact answer. The oldest go first.
    pub events_max: usize,
    /// Row references carried by one hit: an alert shows no more.
    pub rows_max: usize,
    /// Bytes of one group value or counted value; longer ones are cut.
    pub value_bytes_max: usize,
}

impl Default for CorrelationLimits {
    fn default() -> Self {
        Self { groups_max: 100_000, events_max: 10_000, rows_max: 200, value_bytes_max: 1_024 }
    }
}

/// Where a batch comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The device; stands in for columns with the device's name or id that a batch lacks.
    pub device: Arc<str>,
    /// Sequence number of the batch's first row.
    pub sequence_first: u64,
    /// When the batch arrived, in microseconds since 1970. Rows without a believable time of their own get this one.
    pub received: i64,
}

/// A row that contributed to a hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRef {
    /// The device.
    pub device: Arc<str>,
    /// The row's sequence number.
    pub sequence: u64,
    /// The table.
    pub table: Arc<str>,
    /// The rule that held on it.
    pub rule: RuleIndex,
    /// Its time, microseconds since 1970.
    pub time: i64,
}

/// A correlation that held.
#[derive(Debug, Clone, PartialEq)]
pub struct CorrelationHit {
    /// The correlation.
    pub rule: RuleIndex,
    /// Fields grouped by, with their values.
    pub group: Vec<(String, String)>,
    /// The count, sum, average or percentile that fulfilled the condition.
    pub value: f64,
    /// Time of the first event, microseconds since 1970.
    pub first: i64,
    /// Time of the last.
    pub last: i64,
    /// Events that contributed, also those whose rows are not carried.
    pub event_count: usize,
    /// The rows, oldest first, up to the bound.
    pub rows: Vec<RowRef>,
}

/// The memory of all correlations of an engine. Not shared: one owner feeds it.
#[derive(Debug, Default)]
pub struct CorrelationState {
    limits: Option<CorrelationLimits>,
    groups: HashMap<(RuleIndex, Vec<String>), Group>,
    dropped_groups: u64,
    dropped_events: u64,
}

#[derive(Debug, Default)]
struct Group {
    events: VecDeque<Event>,
    touched: i64,
}

#[derive(Debug, Clone)]
struct Event {
    time: i64,
    /// When it came here: machines that were offline bring old rows late, and their windows must not be over at once.
    arrived: i64,
    /// Which of the correlation's references it is of.
    source: usize,
    /// The counted fields' values.
    values: Vec<String>,
    rows: Vec<RowRef>,
}

/// What a correlation is fed with: a row or a hit of another one.
struct Input<'i> {
    rule: RuleIndex,
    time: i64,
    arrived: i64,
    rows: Vec<RowRef>,
    read: &'i dyn Fn(&Source, bool) -> Option<Vec<String>>,
}

/// Clocks of machines differ: a row this much ahead of its arrival is still believed.
const AHEAD_MICROS_MAX: i64 = 60_000_000;

impl CorrelationState {
    /// With other bounds than the default ones.
    pub fn with_limits(limits: CorrelationLimits) -> Self {
        Self { limits: Some(limits), ..Self::default() }
    }

    fn limits(&self) -> CorrelationLimits {
        self.limits.unwrap_or_default()
    }

    /// Groups in memory.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Groups and events that were dropped because a bound was reached.
    pub fn dropped(&self) -> (u64, u64) {
        (self.dropped_groups, self.dropped_events)
    }

    /// Takes the matches of a batch, and returns the correlations that hold because of them. Also does what
    /// [`CorrelationState::advance`] does for the time of arrival.
    pub fn observe(
        &mut self,
        engine: &Engine,
        table: &str,
        batch: &RecordBatch,
        matches: &Matches,
        origin: &Origin,
    ) -> Vec<CorrelationHit> {
        let mut hits = Vec::new();
        let wanted: HashSet<RuleIndex> =
            engine.correlations().iter().flat_map(|c| c.sources.iter().map(|s| s.rule)).collect();
        if !wanted.is_empty() && matches.hits().iter().any(|hit| wanted.contains(&hit.rule)) {
            let table_name: Arc<str> = Arc::from(table);
            let mut readers = Readers { batch, open: HashMap::new(), origin };
            let time_column = Reader::open(batch, engine.map().time_column());
            for hit in matches.hits().iter().filter(|hit| wanted.contains(&hit.rule)) {
                let row = hit.row as usize;
                let own = time_column.value(row).and_then(|value| value.micros());
                let time =
                    own.filter(|t| *t <= origin.received.saturating_add(AHEAD_MICROS_MAX)).unwrap_or(origin.received);
                let reference = RowRef {
                    device: Arc::clone(&origin.device),
                    sequence: origin.sequence_first + u64::from(hit.row),
                    table: Arc::clone(&table_name),
                    rule: hit.rule,
                    time,
                };
                readers.prepare(engine, hit.rule, table);
                let read = |source: &Source, group: bool| readers.values(source, table, row, group);
                let input =
                    Input { rule: hit.rule, time, arrived: origin.received, rows: vec![reference], read: &read };
                self.feed(engine, &input, &mut hits);
            }
        }
        hits.extend(self.advance(engine, origin.received));
        hits
    }

    /// Looks at the windows that are over at `now`, and forgets what is too old. Call it now and then when no batches
    /// come.
    pub fn advance(&mut self, engine: &Engine, now: i64) -> Vec<CorrelationHit> {
        let mut hits = Vec::new();
        for compiled in engine.correlations() {
            let window = compiled.spec.window_micros;
            let waits = compiled.waits();
            let over: Vec<_> = self
                .groups
                .iter()
                .filter(|((rule, _), group)| {
                    let mark = if waits { group.events.front() } else { group.events.back() };
                    *rule == compiled.rule && mark.is_none_or(|event| event.arrived.saturating_add(window) < now)
                })
                .map(|(key, _)| key.clone())
                .collect();
            for key in over {
                let Some(mut group) = self.groups.remove(&key) else { continue };
                if !waits {
                    continue;
                }
                let Some(first) = group.events.front().map(|e| e.time) else { continue };
                let rest: VecDeque<Event> = {
                    let end = group.events.partition_point(|event| event.time <= first.saturating_add(window));
                    group.events.split_off(end)
                };
                if let Some(value) = evaluate(compiled, &group.events) {
                    self.emit(engine, compiled, &key.1, &group.events, value, &mut hits);
                }
                if !rest.is_empty() {
                    self.groups.insert(key, Group { touched: group.touched, events: rest });
                }
            }
        }
        hits
    }

    fn feed(&mut self, engine: &Engine, input: &Input<'_>, hits: &mut Vec<CorrelationHit>) {
        let limits = self.limits();
        for compiled in engine.correlations() {
            if engine.is_disabled(compiled.rule) {
                continue;
            }
            for (number, source) in compiled.sources.iter().enumerate().filter(|(_, s)| s.rule == input.rule) {
                let Some(key) = (input.read)(source, true) else { continue };
                let Some(mut values) = (input.read)(source, false) else { continue };
                values.iter_mut().for_each(|value| cut(value, limits.value_bytes_max));
                let mut key = key;
                key.iter_mut().for_each(|value| cut(value, limits.value_bytes_max));
                self.make_room(limits);
                let group = self.groups.entry((compiled.rule, key.clone())).or_default();
                group.touched = group.touched.max(input.arrived);
                let event = Event {
                    time: input.time,
                    arrived: input.arrived,
                    source: number,
                    values,
                    rows: input.rows.clone(),
                };
                // Rows come nearly in order; a late one is put in its place.
                let at = group.events.partition_point(|other| other.time <= event.time);
                group.events.insert(at, event);
                if group.events.len() > limits.events_max {
                    group.events.pop_front();
                    self.dropped_events += 1;
                }
                if compiled.waits() {
                    continue;
                }
                let newest = group.events.back().map_or(input.time, |event| event.time);
                let start = newest.saturating_sub(compiled.spec.window_micros);
                while group.events.front().is_some_and(|event| event.time < start) {
                    group.events.pop_front();
                }
                if let Some(value) = evaluate(compiled, &group.events) {
                    let events = std::mem::take(&mut group.events);
                    self.groups.remove(&(compiled.rule, key.clone()));
                    self.emit(engine, compiled, &key, &events, value, hits);
                }
            }
        }
    }

    /// Reports a hit, and feeds it to the correlations that refer to it. Circles were refused, so this ends.
    fn emit(
        &mut self,
        engine: &Engine,
        compiled: &Compiled,
        key: &[String],
        events: &VecDeque<Event>,
        value: f64,
        hits: &mut Vec<CorrelationHit>,
    ) {
        let group: Vec<(String, String)> = compiled.spec.group_by.iter().cloned().zip(key.iter().cloned()).collect();
        let rows = events.iter().flat_map(|event| event.rows.iter().cloned()).take(self.limits().rows_max);
        let hit = CorrelationHit {
            rule: compiled.rule,
            value,
            first: events.front().map_or(0, |event| event.time),
            last: events.back().map_or(0, |event| event.time),
            event_count: events.len(),
            rows: rows.collect(),
            group: group.clone(),
        };
        let (time, rows) = (hit.last, hit.rows.clone());
        let arrived = events.iter().map(|event| event.arrived).max().unwrap_or(time);
        if engine.alerts(compiled.rule) {
            hits.push(hit);
        }
        let read = |source: &Source, of_group: bool| -> Option<Vec<String>> {
            let names = if of_group { &source.group } else { &source.fields };
            names.iter().map(|name| group.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())).collect()
        };
        self.feed(engine, &Input { rule: compiled.rule, time, arrived, rows, read: &read }, hits);
    }

    /// Drops the tenth of the groups that was least lately used, when there are too many.
    fn make_room(&mut self, limits: CorrelationLimits) {
        if self.groups.len() < limits.groups_max {
            return;
        }
        let mut times: Vec<i64> = self.groups.values().map(|group| group.touched).collect();
        let tenth = (times.len() / 10).min(times.len().saturating_sub(1));
        let (_, limit, _) = times.select_nth_unstable(tenth);
        let limit = *limit;
        let (before, mut left) = (self.groups.len(), tenth + 1);
        self.groups.retain(|_, group| {
            let goes = group.touched <= limit && left > 0;
            left -= usize::from(goes);
            !goes
        });
        self.dropped_groups += (before - self.groups.len()) as u64;
    }
}

fn cut(value: &mut String, bytes_max: usize) {
    if value.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
        value.truncate(end);
    }
}

/// The value that fulfils the condition, if one does.
fn evaluate(compiled: &Compiled, events: &VecDeque<Event>) -> Option<f64> {
    let spec = &compiled.spec;
    let value = match spec.kind {
        CorrelationType::EventCount => events.len() as f64,
        CorrelationType::ValueCount => events.iter().map(|event| &event.values).collect::<HashSet<_>>().len() as f64,
        CorrelationType::Temporal => distinct(events),
        CorrelationType::TemporalOrdered => {
            if spec.condition.is_empty() {
                longest_start(events) as f64
            } else {
                ordered(events) as f64
            }
        }
        CorrelationType::ValueSum => numbers(events).iter().sum(),
        CorrelationType::ValueAverage => {
            let numbers = numbers(events);
            if numbers.is_empty() {
                return None;
            }
            numbers.iter().sum::<f64>() / numbers.len() as f64
        }
        CorrelationType::ValuePercentile => percentile(events, spec.percentile)?,
        CorrelationType::ValueMedian => percentile(events, 50.0)?,
    };
    let holds = if spec.condition.is_empty() {
        // `temporal` without a condition: all of the rules.
        value >= compiled.sources.len() as f64
    } else {
        spec.condition.iter().all(|(order, bound)| order.holds(value, *bound))
    };
    holds.then_some(value)
}

/// How many of the rules are there.
fn distinct(events: &VecDeque<Event>) -> f64 {
    events.iter().map(|event| event.source).collect::<HashSet<_>>().len() as f64
}

/// How many of the rules, from the first one on, follow each other.
fn longest_start(events: &VecDeque<Event>) -> usize {
    let mut next = 0;
    for event in events {
        if event.source == next {
            next += 1;
        }
    }
    next
}

/// How many of the rules follow each other in their order, whichever are left out.
fn ordered(events: &VecDeque<Event>) -> usize {
    // `best[n]`: the longest run that ends with rule n; there are few rules.
    let mut best: HashMap<usize, usize> = HashMap::new();
    for event in events {
        let before = best.iter().filter(|(rule, _)| **rule < event.source).map(|(_, run)| *run).max().unwrap_or(0);
        let run = best.entry(event.source).or_default();
        *run = (*run).max(before + 1);
    }
    best.values().copied().max().unwrap_or(0)
}

fn numbers(events: &VecDeque<Event>) -> Vec<f64> {
    events.iter().filter_map(|event| crate::yaml::number(event.values.first()?.trim()).map(|n| n.value)).collect()
}

/// The value below which this share of the numbers lies, by the nearest rank. For values that are no numbers: the share,
/// in percent, of the rarest one.
fn percentile(events: &VecDeque<Event>, percent: f64) -> Option<f64> {
    let mut numbers = numbers(events);
    if numbers.is_empty() {
        let mut counts: HashMap<&Vec<String>, usize> = HashMap::new();
        for event in events {
            *counts.entry(&event.values).or_default() += 1;
        }
        let rarest = counts.values().min()?;
        return Some(100.0 * *rarest as f64 / events.len() as f64);
    }
    numbers.sort_by(f64::total_cmp);
    if percent == 50.0 && numbers.len().is_multiple_of(2) {
        let middle = numbers.len() / 2;
        return Some(f64::midpoint(numbers[middle - 1], numbers[middle]));
    }
    let rank = (percent / 100.0 * numbers.len() as f64).ceil() as usize;
    numbers.get(rank.clamp(1, numbers.len()) - 1).copied()
}

/// The columns of a batch that correlations read, opened once.
struct Readers<'b> {
    batch: &'b RecordBatch,
    open: HashMap<String, Reader>,
    origin: &'b Origin,
}

impl Readers<'_> {
    fn prepare(&mut self, engine: &Engine, rule: RuleIndex, table: &str) {
        let sources = engine.correlations().iter().flat_map(|c| &c.sources).filter(|s| s.rule == rule);
        for (_, group, fields) in sources.flat_map(|s| &s.tables).filter(|(name, _, _)| name == table) {
            for target in group.iter().chain(fields).flatten() {
                if let Target::Column(column, _) = target
                    && !self.open.contains_key(column.as_ref())
                {
                    self.open.insert(column.to_string(), Reader::open(self.batch, column));
                }
            }
        }
    }

    fn values(&self, source: &Source, table: &str, row: usize, of_group: bool) -> Option<Vec<String>> {
        let (_, group, fields) = source.tables.iter().find(|(name, _, _)| name == table)?;
        let wanted = if of_group { group } else { fields };
        wanted.iter().map(|targets| targets.iter().find_map(|target| self.value(target, row))).collect()
    }

    fn value(&self, target: &Target, row: usize) -> Option<String> {
        match target {
            Target::Constant(words) => words.first().map(|word| (*word).to_owned()),
            Target::Column(column, derive) => {
                let reader = self.open.get(column.as_ref())?;
                match reader.value(row) {
                    Some(value) => derive.apply(&value).into_iter().next().map(|v| v.text.into_owned()),
                    // The server fills these in; the sensor's own rows lack them.
                    None if matches!(column.as_ref(), "DeviceId" | "DeviceName") => {
                        Some(self.origin.device.to_string())
                    }
                    None => None,
                }
            }
        }
    }
}
