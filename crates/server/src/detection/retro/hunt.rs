//! One hunt: day by day over the tables that its target reads.

use super::store::{self, Record};
use super::{DAY, MATCHES_MAX, Retro, RetroError, RetroKind, RetroMatch, time};
use crate::detection::custom::queries::{Ask, bounded, collect, session, told};
use crate::detection::custom::{alerts, store as detections};
use crate::detection::draft::{HitRow, Words, draft_of, explain};
use crate::detection::indicator::{self, Index, Indicator, IndicatorKind};
use crate::detection::sigma_plan::{NoFilter, TableFilter, compile};
use crate::incidents::AlertDraft;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use garrison_lake::TableSpec;
use garrison_model::{BootId, DeviceId, Micros};
use garrison_sigma::{CorrelationState, Engine, Matches, Origin, Platform, RuleIndex, RuleKind, Scratch};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Matched rows of one day and table that are looked at; a rule that holds more often is not a detection.
const ROWS_MAX: usize = 20_000;
/// Rows of a correlation that its alert carries.
const CORRELATION_ROWS_MAX: usize = 16;
/// What is said in an alert.
const NOTE: &str = "Found in the past by a retro-hunt.";

/// The filters to run for a rule: its own, or for a correlation those of the rules that it looks at.
pub fn filters(engine: &Engine, rule: RuleIndex) -> Result<Vec<TableFilter>, NoFilter> {
    if engine.rule(rule).map(|r| r.kind) != Some(RuleKind::Correlation) {
        return compile(engine, rule, Some(Platform::Linux));
    }
    let mut by_table: BTreeMap<String, Expr> = BTreeMap::new();
    for member in engine.members(rule) {
        for TableFilter { table, filter } in compile(engine, member, Some(Platform::Linux))? {
            let whole = match by_table.remove(&table) {
                Some(known) => known.or(filter),
                None => filter,
            };
            by_table.insert(table, whole);
        }
    }
    if by_table.is_empty() {
        return Err(NoFilter::Unusable);
    }
    Ok(by_table.into_iter().map(|(table, filter)| TableFilter { table, filter }).collect())
}

/// What one hunt needs over all its days.
enum Target {
    Rule {
        loaded: Arc<crate::detection::rules::Loaded>,
        index: RuleIndex,
        filters: Vec<TableFilter>,
        state: Box<Correlating>,
    },
    Detection(Box<detections::Stored>),
    Indicator {
        one: Box<Indicator>,
        index: Box<Index>,
        filters: Vec<TableFilter>,
    },
}

#[derive(Default)]
struct Correlating {
    state: CorrelationState,
    rows: HashMap<(Arc<str>, u64), (DeviceId, HitRow)>,
}

/// What a day gave.
#[derive(Default)]
struct Day {
    rows: i64,
    matched: i64,
    matches: Vec<RetroMatch>,
    drafts: Vec<AlertDraft>,
}

/// A filter that lets everything through that an indicator can match; the index decides.
fn indicator_filters(one: &Indicator) -> Vec<TableFilter> {
    let mut filters = Vec::new();
    for table in garrison_telemetry::tables().iter().filter(|t| t.name.starts_with("Device")) {
        let column = |name: &str| Expr::Column(datafusion::common::Column::new_unqualified(name));
        let has = |name: &&&str| table.column(name).is_some();
        let part = |value: &str| value.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let columns: &[&str] = match one.kind {
            IndicatorKind::Hash => {
                &["SHA256", "SHA1", "MD5", "InitiatingProcessSHA256", "InitiatingProcessSHA1", "InitiatingProcessMD5"]
            }
            IndicatorKind::Ip => &["RemoteIP", "FileOriginIP", "RequestSourceIP"],
            IndicatorKind::Domain => &["RemoteUrl", "FileOriginUrl", "FileOriginReferrerUrl", "AdditionalFields"],
            IndicatorKind::Url => &["RemoteUrl", "FileOriginUrl", "FileOriginReferrerUrl"],
        };
        let tests = columns.iter().filter(has).map(|name| match one.kind {
            IndicatorKind::Hash => {
                column(name).eq(lit(one.value.clone())).or(column(name).eq(lit(one.value.to_uppercase())))
            }
            // One address may be written in several ways; a range has no text.
            IndicatorKind::Ip => match one.value.strip_suffix("/32") {
                Some(address) => column(name).eq(lit(address)).or(column(name).ilike(lit("::ffff:%"))),
                None => column(name).is_not_null(),
            },
            IndicatorKind::Domain => column(name).ilike(lit(format!("%{}%", part(&one.value)))),
            IndicatorKind::Url => {
                let host = one.value.split('/').next().unwrap_or_default();
                column(name).ilike(lit(format!("%{}%", part(host))))
            }
        });
        if let Some(filter) = tests.reduce(Expr::or) {
            filters.push(TableFilter { table: table.name.to_owned(), filter });
        }
    }
    filters
}

impl Target {
    /// The tables that it reads, as far as that is known before it runs, and its query.
    fn reads(&self, custom: &crate::detection::custom::Custom) -> (Vec<String>, Option<String>) {
        match self {
            Self::Rule { filters, .. } | Self::Indicator { filters, .. } => {
                (filters.iter().map(|filter| filter.table.clone()).collect(), None)
            }
            Self::Detection(rule) => (custom.tables_of(&rule.definition), Some(rule.definition.query.clone())),
        }
    }
}

impl Retro {
    /// The tables that a hunt reads and the query that it runs, where it has one; nothing if its target is gone.
    pub(super) async fn reads(&self, record: &Record) -> (Vec<String>, Option<String>) {
        match self.target(record).await {
            Ok(target) => target.reads(&self.custom),
            Err(_) => (Vec::new(), None),
        }
    }

    async fn target(&self, record: &Record) -> Result<Target, RetroError> {
        let gone = || RetroError::Target { kind: record.kind.as_str(), target: record.target.clone() };
        Ok(match record.kind {
            RetroKind::Rule => {
                let loaded = self.detection.loaded();
                let index = loaded.engine.rules().find(&record.target).ok_or_else(gone)?;
                let filters = filters(&loaded.engine, index)
                    .map_err(|e| RetroError::NoFilter { code: e.code(), words: e.to_string() })?;
                Target::Rule { loaded, index, filters, state: Box::default() }
            }
            RetroKind::Detection => Target::Detection(Box::new(detections::one(&self.shared, &record.target).await?)),
            RetroKind::Indicator => {
                let one = self.indicators.get(&record.target).await?;
                let filters = indicator_filters(&one);
                Target::Indicator { index: Box::new(Index::of([(one.clone(), None)])), one: Box::new(one), filters }
            }
        })
    }

    /// Runs one to its end; `false` if it was cancelled.
    pub(crate) async fn hunt(
        self: &Arc<Self>,
        mut record: Record,
        stop: &CancellationToken,
    ) -> Result<bool, RetroError> {
        let mut target = self.target(&record).await?;
        let mut kept = store::matches(&self.shared, &record.id).await?.len();
        // A query may look at many rows at once: it is asked once over the whole range.
        let step = if matches!(target, Target::Detection(_)) { i64::MAX } else { DAY };
        let limit = self.custom.alerts_per_run;
        while record.done_to < record.range.1 {
            let to = record.done_to.saturating_add(step).min(record.range.1);
            let day = tokio::select! {
                day = self.day(&mut target, record.done_to, to) => day?,
                () = stop.cancelled() => return Ok(false),
            };
            record.counts.0 = record.counts.0.saturating_add(day.rows);
            record.counts.1 = record.counts.1.saturating_add(day.matched);
            if record.alerts && !day.drafts.is_empty() {
                let room = limit.saturating_sub(usize::try_from(record.counts.2).unwrap_or(usize::MAX));
                let made = alerts::take(&self.custom, day.drafts, room).await?;
                record.counts.2 = record.counts.2.saturating_add(i64::try_from(made.alerts).unwrap_or(i64::MAX));
                if made.capped {
                    tracing::warn!(id = %record.id, "a retro-hunt hit the cap of alerts; its other matches are kept with it");
                }
            }
            record.done_to = to;
            let fresh = &day.matches[..day.matches.len().min(MATCHES_MAX.saturating_sub(kept))];
            if !store::progress(&self.shared, &record, fresh, kept).await? {
                return Ok(false);
            }
            kept += fresh.len();
            record.state = super::RetroState::Running;
            self.tell(&record.view());
            // Others first: a hunt through the past is in no hurry.
            tokio::task::yield_now().await;
        }
        Ok(true)
    }

    async fn day(self: &Arc<Self>, target: &mut Target, from: i64, to: i64) -> Result<Day, RetroError> {
        let mut day = Day::default();
        match target {
            Target::Detection(rule) => {
                let ask = Ask {
                    text: rule.definition.query.clone(),
                    now: Micros(to),
                    range: Some((from, to)),
                    ingested: None,
                    rows: None,
                    rows_max: alerts::ROWS_MAX,
                };
                let found = self.custom.queries.run(ask).await.map_err(RetroError::Engine)?;
                day.rows = self.row_count(&found.tables, from, to).await?;
                day.matched = i64::try_from(found.row_count()).unwrap_or(i64::MAX);
                for (device, _, time_micros, row) in alerts::rows(&self.custom, &found.batches) {
                    let table = found.tables.first().cloned().unwrap_or_default();
                    day.matches.push(RetroMatch {
                        table,
                        timestamp: time(time_micros),
                        device_id: device.to_string(),
                        row,
                    });
                }
                day.drafts = alerts::drafts(&self.custom, &rule.id, &rule.definition, &found, Some(NOTE)).await?;
            }
            Target::Indicator { one, index, filters } => {
                for (table, batch) in self.matched(filters, from, to, &mut day).await? {
                    for (device, hit) in indicator::past(one, &batch, index, &table, i64::MIN) {
                        self.keep(&device, &hit, &mut day);
                        let Some(words) = indicator::words(one, Some(NOTE)) else { continue };
                        day.drafts.extend(self.draft(&device, &words, vec![hit], 1));
                    }
                }
            }
            Target::Rule { loaded, index, filters, state } => {
                let mut rows = self.matched(filters, from, to, &mut day).await?;
                let correlation = loaded.engine.rule(*index).is_some_and(|r| r.kind == RuleKind::Correlation);
                let Some(mut words) = loaded.engine.rule(*index).and_then(Words::of) else { return Ok(day) };
                words.description = format!("{NOTE}\n\n{}", words.description).trim_end().to_owned();
                if correlation {
                    self.correlate(&loaded.engine, *index, &words, state, &rows, &mut day);
                } else {
                    for (table, batch) in rows.drain(..) {
                        for row in 0..batch.num_rows() {
                            let Some((device, mut hit)) = hit_row(&table, &batch, row) else { continue };
                            hit.fields = explain(&loaded.engine, *index, &table, &batch, row);
                            self.keep(&device, &hit, &mut day);
                            day.drafts.extend(self.draft(&device, &words, vec![hit], 1));
                        }
                    }
                }
            }
        }
        Ok(day)
    }

    /// Feeds the matched rows of a correlation's rules to the stream's own correlation, in the order of their time.
    fn correlate(
        &self,
        engine: &Engine,
        rule: RuleIndex,
        words: &Words,
        state: &mut Correlating,
        rows: &[(String, RecordBatch)],
        day: &mut Day,
    ) {
        let mut order: Vec<(i64, &String, RecordBatch)> = Vec::new();
        for (table, batch) in rows {
            for row in 0..batch.num_rows() {
                let Some(at) = timestamp(batch, row) else { continue };
                order.push((at, table, batch.slice(row, 1)));
            }
        }
        order.sort_by_key(|(at, ..)| *at);
        let (mut scratch, mut matches) = (Scratch::new(), Matches::new());
        for (at, table, batch) in order {
            let Some((device, mut hit)) = hit_row(table, &batch, 0) else { continue };
            engine.evaluate(&mut scratch, table, Some(Platform::Linux), &batch, &mut matches);
            if let Some(first) = matches.hits().first() {
                hit.fields = explain(engine, first.rule, table, &batch, 0);
            }
            let name: Arc<str> = Arc::from(device.as_str());
            let sequence = u64::try_from(hit.report_id).unwrap_or(0);
            self.keep(&device, &hit, day);
            state.rows.insert((Arc::clone(&name), sequence), (device, hit));
            let origin = Origin { device: name, sequence_first: sequence, received: at };
            for found in state.state.observe(engine, table, &batch, &matches, &origin) {
                if found.rule != rule {
                    continue;
                }
                let skip = found.rows.len().saturating_sub(CORRELATION_ROWS_MAX);
                let of_hit: Vec<(DeviceId, HitRow)> = found
                    .rows
                    .iter()
                    .skip(skip)
                    .filter_map(|r| state.rows.get(&(Arc::clone(&r.device), r.sequence)).cloned())
                    .collect();
                let Some(device) = of_hit.last().map(|(device, _)| device.clone()) else { continue };
                let rows = of_hit.into_iter().map(|(_, row)| row).collect();
                if let Some(mut draft) = self.draft(&device, words, rows, found.event_count) {
                    let group: Vec<String> =
                        found.group.iter().map(|(field, value)| format!("{field}={value}")).collect();
                    draft.fold_key = format!("{}/{}", words.id, group.join("/"));
                    day.drafts.push(draft);
                }
            }
            // Rows that no window can name any more; correlations over more are not exact on the stream either.
            if state.rows.len() > ROWS_MAX {
                state.rows.clear();
            }
        }
    }

    fn draft(&self, device: &DeviceId, words: &Words, rows: Vec<HitRow>, count: usize) -> Option<AlertDraft> {
        let now = (self.clock)();
        self.detection.with_processes(|cache| draft_of(&self.shared.tenant, device, words, rows, count, cache, now))
    }

    fn keep(&self, device: &DeviceId, hit: &HitRow, day: &mut Day) {
        day.matched += 1;
        if day.matches.len() < MATCHES_MAX {
            day.matches.push(RetroMatch {
                table: hit.table.clone(),
                timestamp: hit.time().map(time).unwrap_or_default(),
                device_id: device.to_string(),
                row: hit.row.clone(),
            });
        }
    }

    /// Rows on which filters hold.
    async fn matched(
        &self,
        filters: &[TableFilter],
        from: i64,
        to: i64,
        day: &mut Day,
    ) -> Result<Vec<(String, RecordBatch)>, RetroError> {
        let engine = |e: datafusion::error::DataFusionError| RetroError::Engine(told(&e));
        let mut found = Vec::new();
        let tables: Vec<String> = filters.iter().map(|f| f.table.clone()).collect();
        day.rows = self.row_count(&tables, from, to).await?;
        for TableFilter { table, filter } in filters {
            let Some(known) = garrison_telemetry::table(table) else { continue };
            let spec = TableSpec::of(known);
            let Some(provider) = bounded(&self.shared.lake, &spec, Some((from, to)), None) else { continue };
            let plan = LogicalPlanBuilder::scan(table.as_str(), provider_as_source(provider), None)
                .and_then(|p| p.filter(filter.clone()))
                .and_then(LogicalPlanBuilder::build)
                .map_err(engine)?;
            let session = session().map_err(engine)?;
            let (batches, more) = collect(&session, &plan, ROWS_MAX).await.map_err(RetroError::Engine)?;
            if more {
                tracing::warn!(table, rows = ROWS_MAX, "a day of a retro-hunt has more matches than are looked at");
            }
            found.extend(batches.into_iter().map(|batch| (table.clone(), batch)));
        }
        Ok(found)
    }

    /// Rows of tables within a span of time.
    async fn row_count(&self, tables: &[String], from: i64, to: i64) -> Result<i64, RetroError> {
        let engine = |e: datafusion::error::DataFusionError| RetroError::Engine(told(&e));
        let mut rows: i64 = 0;
        for table in tables {
            let Some(known) = garrison_telemetry::table(table) else { continue };
            let spec = TableSpec::of(known);
            let Some(provider) = bounded(&self.shared.lake, &spec, Some((from, to)), None) else { continue };
            let plan = LogicalPlanBuilder::scan(table.as_str(), provider_as_source(provider), None)
                .and_then(|p| p.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64)).alias("rows")]))
                .and_then(LogicalPlanBuilder::build)
                .map_err(engine)?;
            let (batches, _) = collect(&session().map_err(engine)?, &plan, 1).await.map_err(RetroError::Engine)?;
            let number = batches.first().and_then(|b| b.columns().first()).and_then(first_number);
            rows = rows.saturating_add(number.unwrap_or(0));
        }
        Ok(rows)
    }
}

fn first_number(array: &ArrayRef) -> Option<i64> {
    let numbers: &Int64Array = arrow::array::AsArray::as_primitive_opt::<Int64Type>(array)?;
    numbers.iter().next().flatten()
}

fn timestamp(batch: &RecordBatch, row: usize) -> Option<i64> {
    use arrow::array::{Array as _, AsArray as _};
    let times = batch.column_by_name("Timestamp")?.as_primitive_opt::<arrow::datatypes::TimestampMicrosecondType>()?;
    times.is_valid(row).then(|| times.value(row))
}

fn hit_row(table: &str, batch: &RecordBatch, row: usize) -> Option<(DeviceId, HitRow)> {
    let json = garrison_telemetry::row_to_json(batch, row);
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    let device = DeviceId::new(text("DeviceId")?).ok()?;
    let boot = BootId::new(text("BootId")?).ok()?;
    let report_id = json.get("ReportId").and_then(Value::as_i64)?;
    Some((device, HitRow { table: table.to_owned(), boot, report_id, row: json, fields: Vec::new() }))
}
