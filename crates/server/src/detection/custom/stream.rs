//! Continuous rules: rows are looked at as they arrive.
//!
//! Ingest's threads only hand batches over; a task takes what has come together every quarter of a second and runs each
//! rule over it once, so that the cost of planning a query does not grow with the number of sensors. The queue is
//! bounded: when it is full, rows are let go and found again in the lake by the time they came in, as after a restart.
//! A row that is looked at twice makes no second alert.

use super::alerts::{self, ROWS_MAX};
use super::queries::Ask;
use super::schedule::Window;
use super::store::{self, Stored};
use super::{Custom, CustomError, RunKind, RunState};
use crate::ingest::{Observer, Stored as StoredRows};
use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that wait: seconds of a very busy day.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// How often what has come is looked at: alerts shall be there within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the clock is written.
const CLOCK_EVERY: i64 = 5_000_000;

#[derive(Debug, Default)]
struct Waiting {
    tables: HashMap<String, Vec<RecordBatch>>,
    bytes: usize,
}

/// Rows on their way to continuous rules.
#[derive(Debug)]
pub struct Stream {
    waiting: Mutex<Waiting>,
    wanted: Mutex<HashSet<String>>,
    /// Some rows were let go: look in the lake.
    behind: AtomicBool,
    /// Rows that came in before this moment have been looked at.
    ingested: AtomicI64,
    written: AtomicI64,
}

impl Stream {
    /// Rows that came in at `ingested` or later have not been looked at.
    #[must_use]
    pub fn new(ingested: i64) -> Self {
        Self {
            waiting: Mutex::default(),
            wanted: Mutex::default(),
            behind: AtomicBool::new(true),
            ingested: AtomicI64::new(ingested),
            written: AtomicI64::new(0),
        }
    }

    /// Tables that a rule reads.
    pub(crate) fn tables_set(&self, tables: HashSet<String>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = tables;
    }

    fn push(&self, table: &str, batch: &RecordBatch) {
        if !self.wanted.lock().unwrap_or_else(PoisonError::into_inner).contains(table) {
            return;
        }
        let bytes = batch.get_array_memory_size();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes.saturating_add(bytes) > WAITING_BYTES_MAX {
            self.behind.store(true, Ordering::Relaxed);
            return;
        }
        waiting.bytes += bytes;
        waiting.tables.entry(table.to_owned()).or_default().push(batch.clone());
    }

    fn take(&self) -> HashMap<String, Vec<RecordBatch>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)).tables
    }
}

fn newest(batch: &RecordBatch) -> Option<i64> {
    let times = batch.column_by_name("Timestamp")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    arrow::compute::max(times)
}

impl Observer for Custom {
    fn observe(&self, stored: &StoredRows) {
        if let Some(time) = newest(&stored.batch) {
            self.event_time_seen(time);
        }
        self.stream.push(&stored.header.table, &stored.batch);
    }
}

impl Custom {
    /// Looks at what arrives until the server stops.
    pub async fn stream_loop(self: Arc<Self>) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.shared.stop.cancelled() => return,
            }
            if let Err(error) = self.stream_step().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "continuous detections fell behind");
                self.stream.behind.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Looks at what has come together, or at what the lake holds of what was let go.
    pub async fn stream_step(self: &Arc<Self>) -> Result<(), CustomError> {
        let now = (self.clock)().0;
        let rules = self.continuous();
        if self.stream.behind.swap(false, Ordering::Relaxed) {
            let from = self.stream.ingested.load(Ordering::Relaxed).saturating_sub(crate::detection::WATERMARK_SLACK);
            for (rule, _) in rules.iter() {
                self.catch_up(rule, from, now).await?;
            }
        }
        let waiting = self.stream.take();
        for (rule, tables) in rules.iter() {
            for table in tables {
                let Some(rows) = waiting.get(table) else { continue };
                self.look_at(rule, table, rows).await?;
            }
        }
        if !self.stream.behind.load(Ordering::Relaxed) {
            self.stream.ingested.store(now, Ordering::Relaxed);
        }
        let written = self.stream.written.load(Ordering::Relaxed);
        if (now.saturating_sub(written)).saturating_abs() >= CLOCK_EVERY
            && let Some(event_time) = self.event_time()
        {
            store::clock_set(&self.shared, event_time, self.stream.ingested.load(Ordering::Relaxed)).await?;
            self.stream.written.store(now, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn look_at(self: &Arc<Self>, rule: &Stored, table: &str, rows: &[RecordBatch]) -> Result<(), CustomError> {
        let started = (self.clock)();
        let ask = Ask {
            text: rule.definition.query.clone(),
            now: started,
            range: None,
            ingested: None,
            rows: Some((table.to_owned(), rows.to_vec())),
            rows_max: ROWS_MAX,
        };
        // A query that fails on these rows would fail on them again: it is written down, and the stream goes on.
        let (rows, made, error) = match self.queries.run(ask).await {
            Ok(found) if found.row_count() == 0 => return Ok(()),
            Ok(found) => {
                let drafts = alerts::drafts(self, &rule.id, &rule.definition, &found, None).await?;
                let mut made = alerts::take(self, drafts, self.alerts_per_run).await?;
                made.capped |= found.more;
                (found.row_count(), made, None)
            }
            Err(error) => (0, alerts::Made::default(), Some(error)),
        };
        let window = Window { from: started.0, to: (self.clock)().0 };
        let state = if error.is_some() { RunState::Failed } else { RunState::Completed };
        let mut run = self.ended(rule, RunKind::Stream, state, window, started.0);
        (run.rows, run.alerts, run.repeated) = (rows as i64, made.alerts as i64, made.repeated as i64);
        run.capped = made.capped;
        run.error = error.unwrap_or_default();
        self.announce(&run, &rule.definition.name);
        store::record(&self.shared, &run, None).await?;
        Ok(())
    }

    async fn catch_up(self: &Arc<Self>, rule: &Stored, from: i64, now: i64) -> Result<(), CustomError> {
        // What has just come may still be on its way: the upper end is open by a year.
        let (rows, made) =
            self.look(rule, None, Some((from, now.saturating_add(366 * 24 * 3_600_000_000))), now).await?;
        if rows == 0 {
            return Ok(());
        }
        let mut run = self.ended(rule, RunKind::CatchUp, RunState::Completed, Window { from, to: now }, now);
        (run.rows, run.alerts, run.repeated) = (rows, made.alerts as i64, made.repeated as i64);
        run.capped = made.capped;
        store::record(&self.shared, &run, None).await?;
        Ok(())
    }
}
