//! The threads that decode and detect, so that neither holds up the async threads.

use super::aside::Aside;
use super::observer::{Observer, Stored};
use super::prepare::{Prepared, Refusal, complete, prepare};
use crate::metrics::{ByTable, Metrics};
use arrow::array::RecordBatch;
use bytes::Bytes;
use garrison_model::{DeviceId, Micros};
use garrison_telemetry::{BatchHeader, Table};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

#[derive(Debug)]
pub(super) enum Job {
    /// Decode and admit.
    Prepare {
        table: &'static Table,
        device: DeviceId,
        payload: Bytes,
        created: Micros,
        now: Micros,
        reply: oneshot::Sender<Result<Prepared, Refusal>>,
    },
    /// The rows are durable: tell the observers.
    Observe {
        header: BatchHeader,
        name: Arc<str>,
        batch: RecordBatch,
        kept: Vec<Range<u32>>,
        received: Micros,
        urgent: bool,
    },
    /// Everything before this is done.
    Stop(oneshot::Sender<()>),
}

pub(super) fn run(mut jobs: mpsc::Receiver<Job>, metrics: &Metrics, observers: &[Arc<dyn Observer>], aside: &Aside) {
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::Prepare { table, device, payload, created, now, reply } => {
                // Dropping `reply` in a panic tells the session; the thread and all other sessions go on.
                let work = AssertUnwindSafe(|| {
                    let done = prepare(table, &payload, created, now);
                    if let Ok(prepared) = &done {
                        note(table, &device, prepared, now, metrics, aside);
                    }
                    let _ = reply.send(done);
                });
                let _ = catch_unwind(work);
            }
            Job::Observe { header, name, batch, kept, received, urgent } => {
                let work = AssertUnwindSafe(|| match complete(&header, &name, &batch, &kept, received) {
                    Ok(batch) => {
                        let stored = Stored { header, batch, received, urgent };
                        for observer in observers {
                            observer.observe(&stored);
                        }
                    }
                    Err(error) => {
                        metrics.observer_panics.inc();
                        tracing::error!(%error, "cannot complete a stored batch for detection");
                    }
                });
                if catch_unwind(work).is_err() {
                    metrics.observer_panics.inc();
                }
            }
            Job::Stop(reply) => {
                let _ = reply.send(());
                return;
            }
        }
    }
}

fn note(table: &'static Table, device: &DeviceId, prepared: &Prepared, now: Micros, metrics: &Metrics, aside: &Aside) {
    metrics.cut.inc_by(prepared.cut as u64);
    metrics.clamped.inc_by(prepared.clamped as u64);
    if !prepared.unknown.is_empty() {
        let columns = metrics.unknown_columns.get_or_create(&ByTable { table: table.name });
        columns.inc_by(prepared.unknown.len() as u64);
        drop(columns);
        aside.keep(table, device, now, &prepared.unknown);
    }
}
