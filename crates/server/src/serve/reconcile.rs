//! Background work. Each step looks at what is and what should be and closes the difference; a crash at any point is
//! harmless, and a failure is counted, told, and tried again at the next turn.

use super::house::{House, Houses};
use crate::gateway::Gateway;
use crate::hunting::Hunting;
use crate::incidents::Incidents;
use crate::metrics::ByCode;
use crate::shared::Shared;
use garrison_lake::{DiskState, LakeStats, Mirror};
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

fn every<F, E>(
    shared: &Arc<Shared>,
    name: &'static str,
    period: Duration,
    step: impl Fn() -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = Result<(), E>> + Send,
    E: Display,
{
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
            if let Err(error) = step().await {
                shared.metrics.reconcile_failures.get_or_create(&ByCode { code: name }).inc();
                tracing::error!(%error, step = name, "a background step failed and will be tried again");
            }
        }
    })
}

/// What a server does once, whatever the number of its tenants.
pub(super) fn server(shared: &Arc<Shared>, houses: &Arc<Houses>) -> Vec<JoinHandle<()>> {
    let people = Arc::clone(shared);
    let (gauges, known) = (Arc::clone(houses), Arc::clone(houses));
    vec![
        every(shared, "sessions", Duration::from_mins(10), move || {
            let shared = Arc::clone(&people);
            async move { shared.identity.sweep(crate::now()).await }
        }),
        every(shared, "tenants", Duration::from_secs(15), move || {
            let houses = Arc::clone(&known);
            async move { houses.look().await }
        }),
        every(shared, "gauges", Duration::from_secs(5), move || {
            let houses = Arc::clone(&gauges);
            async move {
                gauges_set(&houses);
                Ok::<(), std::convert::Infallible>(())
            }
        }),
    ]
}

/// Issues a fresh certificate of the gateway before the present one ends.
pub(super) fn certificate(shared: &Arc<Shared>, gateway: &Arc<Gateway>) -> JoinHandle<()> {
    let gateway = Arc::clone(gateway);
    every(shared, "gateway_certificate", Duration::from_hours(1), move || {
        let gateway = Arc::clone(&gateway);
        async move { gateway.certificate_rotate(crate::now().0 / 1_000_000) }
    })
}

/// What is done for every tenant.
pub(super) fn tenant(shared: &Arc<Shared>, hunting: &Arc<Hunting>) -> Vec<JoinHandle<()>> {
    let history = Arc::clone(hunting);
    let mut tasks = vec![every(shared, "hunting_history", Duration::from_mins(10), move || {
        let hunting = Arc::clone(&history);
        async move { hunting.history_sweep(crate::now()).await }
    })];
    if let Some(remote) = &hunting.remote {
        let remote = Arc::clone(remote);
        let period = Duration::from_secs(shared.config.cluster.refresh_seconds);
        tasks.push(every(shared, "object_store_read", period, move || {
            let remote = Arc::clone(&remote);
            async move { remote.refresh().await }
        }));
    }
    tasks
}

/// What is done for a tenant where rows are taken in.
pub(super) fn intake(
    shared: &Arc<Shared>,
    mirror: Option<&Arc<Mirror>>,
    incidents: &Arc<Incidents>,
) -> Vec<JoinHandle<()>> {
    let (fleet, lake) = (Arc::clone(shared), Arc::clone(shared));
    let metering = Arc::clone(shared);
    let central = Arc::clone(shared);
    let plans = Arc::clone(shared);
    let plans_read = Arc::new(std::sync::Mutex::new((u64::MAX, std::time::Instant::now())));
    let (kept, cases) = (Arc::clone(shared), Arc::clone(incidents));
    let last = Arc::new(std::sync::Mutex::new((crate::now(), std::time::Instant::now())));
    let mut tasks = vec![
        // Last seen, counters and health: what the list of devices shows is at most this old on disk.
        every(shared, "fleet", Duration::from_secs(5), move || {
            let shared = Arc::clone(&fleet);
            async move { shared.fleet.flush(crate::now()).await }
        }),
        // Compaction, and retention of telemetry.
        every(shared, "lake", Duration::from_mins(1), move || {
            let shared = Arc::clone(&lake);
            async move { crate::retention::lake(&shared, crate::now()).await.map(drop) }
        }),
        // What a plan does not hold is not collected: a change of plans is known here within a second.
        every(shared, "plans", Duration::from_secs(1), move || {
            let (shared, read) = (Arc::clone(&plans), Arc::clone(&plans_read));
            async move { plans_follow(&shared, &read).await }
        }),
        every(shared, "retention", Duration::from_hours(1), move || {
            let (shared, incidents) = (Arc::clone(&kept), Arc::clone(&cases));
            async move { crate::retention::sweep(&shared, &incidents, crate::now()).await.map(drop) }
        }),
        every(shared, "central", Duration::from_hours(1), move || {
            let shared = Arc::clone(&central);
            async move { crate::central::export(&shared, crate::now()).await.map(drop) }
        }),
        // Twice a minute, so that no minute goes by unseen; a minute that is marked twice is marked once.
        every(shared, "metering", Duration::from_secs(30), move || {
            let (shared, last) = (Arc::clone(&metering), Arc::clone(&last));
            async move { meter(&shared, &last).await }
        }),
    ];
    if let Some(mirror) = mirror {
        let mirror = Arc::clone(mirror);
        let period = Duration::from_secs(shared.config.cluster.copy_seconds);
        tasks.push(every(shared, "object_store_copy", period, move || {
            let mirror = Arc::clone(&mirror);
            async move { mirror.sync(crate::now()).await.map(drop) }
        }));
    }
    tasks
}

/// Plans are read at least this often: another server on the same database may have changed them.
const PLANS_EVERY: Duration = Duration::from_secs(15);

/// Reads plans of devices where this server has changed something, or after a while.
async fn plans_follow(
    shared: &Shared,
    read: &std::sync::Mutex<(u64, std::time::Instant)>,
) -> Result<(), crate::plane::PlaneError> {
    let revision = shared.plane.revision();
    {
        let (seen, at) = *read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen == revision && at.elapsed() < PLANS_EVERY {
            return Ok(());
        }
    }
    shared.plane.bought_refresh(&shared.tenant, crate::now()).await?;
    *read.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (revision, std::time::Instant::now());
    Ok(())
}

/// Marks this minute and settles what is over, unless the wall clock was set since the last look: then nothing is
/// believed for one turn.
async fn meter(
    shared: &Shared,
    last: &std::sync::Mutex<(garrison_model::Micros, std::time::Instant)>,
) -> Result<(), crate::metering::MeteringError> {
    let (now, steady) = (crate::now(), std::time::Instant::now());
    let before = std::mem::replace(&mut *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner), (now, steady));
    let between = i64::try_from(steady.duration_since(before.1).as_micros()).unwrap_or(i64::MAX);
    if crate::metering::hour::stepped(before.0.0, now.0, between) {
        tracing::warn!("the clock was set; nothing is metered for one turn");
        return Ok(());
    }
    let connected = |id: &garrison_model::DeviceId| shared.sensor_connected(id);
    shared.metering.sample(&shared.plane, &shared.tenant, connected, now).await?;
    shared.metering.ingest_flush(&shared.plane, &shared.tenant, now).await?;
    shared.metering.settle(now).await.map(drop)
}

/// Sums over the tenants; of disks, the worst.
fn gauges_set(houses: &Houses) {
    let all = houses.all();
    let Some(first) = all.first() else { return };
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let stats: Vec<_> = all.iter().map(|h| h.shared.lake.stats()).collect();
    let sum = |count: &dyn Fn(&LakeStats) -> u64| whole(stats.iter().map(count).sum());
    let m = &first.shared.metrics;
    m.sessions.set(all.iter().map(|h| h.shared.fleet.connected() as i64).sum());
    m.devices.set(all.iter().map(|h| h.shared.fleet.count() as i64).sum());
    m.wal_position.set(sum(&|s| s.wal_durable));
    m.wal_lag.set(sum(&|s| s.wal_lag));
    m.wal_groups.set(sum(&|s| s.wal_groups));
    m.wal_failures.set(sum(&|s| s.wal_failures));
    m.lake_hot_rows.set(sum(&|s| s.tables.iter().map(|t| t.hot_rows).sum()));
    m.lake_files.set(sum(&|s| s.tables.iter().map(|t| t.files).sum()));
    m.lake_bytes.set(sum(&|s| s.tables.iter().map(|t| t.file_bytes).sum()));
    let state = |house: &Arc<House>| match house.shared.lake.disk() {
        DiskState::Ok => 0,
        DiskState::Low => 1,
        DiskState::Full => 2,
    };
    m.disk_state.set(all.iter().map(state).max().unwrap_or(0));
}
