//! How many sensors one server bears: connections with heartbeats and a trickle of rows, memory a sensor, enrolments a
//! second.

use crate::harness;
use anyhow::anyhow;
use garrison_model::Micros;
use garrison_testkit::{Encoded, FakeSensor, telemetry_rows};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Entry.
pub fn run(sensors: usize, seconds: u64) -> anyhow::Result<()> {
    harness::raise_file_limit();
    let stage = harness::stage()?;
    let token: garrison_wire::token::EnrolmentToken = stage.token().map_err(|e| anyhow!(e.0))?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("bench fleet: {}", harness::machine());
    let (server, _) = stage.pids();
    let gateway: Arc<str> = stage.gateway().into();
    let now = Micros(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?);
    let trickle = Encoded::new("DeviceProcessEvents", &telemetry_rows::process_rows(1, 2, now))?;
    runtime.block_on(async {
        // At most 64 handshakes at once: a fleet does not enrol in one instant, and the figure is the server's rate.
        let gate = Arc::new(Semaphore::new(64));
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..sensors {
            let permit = Arc::clone(&gate).acquire_owned().await?;
            let (gateway, token) = (Arc::clone(&gateway), token.clone());
            tasks.spawn(async move {
                let enrolled = FakeSensor::enrol(&gateway, &token, &format!("fleet-{i}")).await;
                drop(permit);
                enrolled
            });
        }
        let enrolled: Vec<FakeSensor> = tasks.join_all().await.into_iter().collect::<Result<_, _>>()?;
        let took = start.elapsed().as_secs_f64();
        println!("  {sensors} enrolments in {took:.1} s: {:.0} a second", sensors as f64 / took);

        let empty = harness::resident_bytes(server)?;
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for sensor in enrolled {
            let permit = Arc::clone(&gate).acquire_owned().await?;
            let gateway = Arc::clone(&gateway);
            tasks.spawn(async move {
                let session = sensor.connect(&gateway).await;
                drop(permit);
                session.map(|session| (sensor, session))
            });
        }
        let connected: Vec<_> = tasks.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
        println!("  {} connected in {:.1} s", connected.len(), start.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_secs(5)).await;
        let full = harness::resident_bytes(server)?;
        println!(
            "  server resident {} MiB empty, {} MiB full: {:.1} kB a sensor",
            empty >> 20,
            full >> 20,
            full.saturating_sub(empty) as f64 / sensors as f64 / 1000.0
        );

        let before = harness::cpu_seconds(server)?;
        let mut tasks = tokio::task::JoinSet::new();
        let end = Instant::now() + Duration::from_secs(seconds);
        for (i, (mut sensor, mut session)) in connected.into_iter().enumerate() {
            let trickle = trickle.clone();
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(i as u64 % 10_000)).await;
                let mut batches = 0_u64;
                while Instant::now() < end {
                    session.heartbeat().await?;
                    session.send_batch(sensor.batch(&trickle)).await?;
                    session.answer().await?.map_err(|r| anyhow!("refused: {}", r.code))?;
                    batches += 1;
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
                anyhow::Ok(batches)
            });
        }
        let (mut batches, mut failed) = (0, 0);
        while let Some(done) = tasks.join_next().await {
            match done? {
                Ok(b) => batches += b,
                Err(_) => failed += 1,
            }
        }
        let after = harness::cpu_seconds(server)?;
        println!(
            "  {seconds} s with a heartbeat and 2 rows every 10 s each: {batches} batches, {failed} sessions failed, \
             server CPU {:.1} s, resident {} MiB",
            after.0 + after.1 - before.0 - before.1,
            harness::resident_bytes(server)? >> 20
        );
        anyhow::Ok(())
    })?;
    stage.stop().map_err(|e| anyhow!(e.0))
}
