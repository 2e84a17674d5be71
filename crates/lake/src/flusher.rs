//! The thread that flushes tables when they are due.

use crate::error::LakeError;
use crate::flush::flush_table;
use crate::lake::Shared;
use crate::table::LakeTable;
use crate::wal::lock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// How often ages are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Pause of a table after a failed flush: long enough not to fill a log file, short enough to use space that came back.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Wishes {
    requests: Vec<oneshot::Sender<Result<u64, LakeError>>>,
    poked: bool,
    stopped: bool,
}

/// What others want from the thread.
#[derive(Default)]
pub(crate) struct Flusher {
    wishes: Mutex<Wishes>,
    wake: Condvar,
}

impl Flusher {
    /// A table may be due.
    pub(crate) fn poke(&self) {
        lock(&self.wishes).poked = true;
        self.wake.notify_one();
    }

    /// Flushes everything.
    pub(crate) async fn request(&self) -> Result<u64, LakeError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut wishes = lock(&self.wishes);
            if wishes.stopped {
                return Err(LakeError::Closed);
            }
            wishes.requests.push(reply);
        }
        self.wake.notify_one();
        answer.await.unwrap_or(Err(LakeError::Closed))
    }

    pub(crate) fn stop(&self) {
        lock(&self.wishes).stopped = true;
        self.wake.notify_one();
    }
}

/// Serves until stopped.
pub(crate) fn run(shared: &Arc<Shared>, runtime: &tokio::runtime::Handle) {
    let mut paused: std::collections::HashMap<String, Instant> = std::collections::HashMap::new();
    loop {
        let requests = {
            let mut wishes = lock(&shared.flusher.wishes);
            if !wishes.poked && !wishes.stopped && wishes.requests.is_empty() {
                wishes = shared.flusher.wake.wait_timeout(wishes, TICK).unwrap_or_else(PoisonError::into_inner).0;
            }
            wishes.poked = false;
            if wishes.stopped {
                wishes.requests.clear();
                return;
            }
            std::mem::take(&mut wishes.requests)
        };
        let all = !requests.is_empty();
        let starved = shared.hot_room.available_permits() * 4 < shared.config.hot_bytes_max / 1_024;
        let mut rows = 0;
        let mut failure = None;
        let mut any = false;
        for table in shared.tables.values() {
            let resting = paused.get(&table.spec.name).is_some_and(|since| since.elapsed() < RETRY);
            if !all && (resting || !due(shared, table, starved)) {
                continue;
            }
            let started = Instant::now();
            match runtime.block_on(flush_table(table, now_ms())) {
                Ok(flushed) => {
                    paused.remove(&table.spec.name);
                    if flushed.rows > 0 {
                        any = true;
                        rows += flushed.rows as u64;
                        shared.hot_room.add_permits(flushed.permits);
                        let micros = started.elapsed().as_micros() as u64;
                        shared.figures.flushes.fetch_add(1, Relaxed);
                        shared.figures.flush_micros.fetch_add(micros, Relaxed);
                        shared.figures.flush_micros_last.store(micros, Relaxed);
                    }
                }
                Err(error) => {
                    tracing::error!(table = table.spec.name, error = &error as &dyn std::error::Error, "flush failed");
                    shared.figures.flush_failures.fetch_add(1, Relaxed);
                    paused.insert(table.spec.name.clone(), Instant::now());
                    failure = Some(error);
                }
            }
        }
        if (any || all)
            && let Err(error) = shared.wal.collect(shared.unflushed())
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "log segments could not be given back");
        }
        let mut requests = requests.into_iter();
        if let Some(error) = failure
            && let Some(first) = requests.next()
        {
            let _ = first.send(Err(error));
        }
        for request in requests {
            let _ = request.send(Ok(rows));
        }
    }
}

fn due(shared: &Shared, table: &LakeTable, starved: bool) -> bool {
    let shelf = table.read();
    let config = &shared.config;
    !shelf.flushing.is_empty()
        || shelf.hot_rows >= config.flush_rows
        || shelf.hot_bytes >= config.flush_bytes
        || shelf.hot_since.is_some_and(|since| starved || since.elapsed() >= config.flush_age)
}

/// The wall clock, for the modification times in the Delta log only.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
