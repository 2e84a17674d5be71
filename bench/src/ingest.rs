//! Rows a second, durable and detected, with 100 simulated sensors on this machine. The sensors send rows that were
//! encoded before the clock starts, so that the figure is the server's; their own cost is inside it all the same, since
//! they share the two cores.

use crate::harness;
use anyhow::anyhow;
use garrison_model::Micros;
use garrison_testkit::{Encoded, FakeSensor, telemetry_rows};
use std::time::{Duration, Instant};

/// Entry.
pub fn run(sensors: usize, seconds: u64, rows: usize) -> anyhow::Result<()> {
    harness::raise_file_limit();
    let stage = harness::stage()?;
    let token = stage.token().map_err(|e| anyhow!(e.0))?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let now = Micros(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?);
    let templates: Vec<Encoded> = (0..8)
        .map(|seed| Encoded::new("DeviceProcessEvents", &telemetry_rows::process_rows(seed, rows, now)))
        .collect::<Result<_, _>>()?;
    let bytes: usize = templates.iter().map(|t| t.payload.len()).sum::<usize>() / templates.len() / rows;
    println!("bench ingest: {}", harness::machine());
    println!("  {sensors} sensors, batches of {rows} rows, {bytes} bytes a row on the wire, {seconds} s");
    let (server, _) = stage.pids();
    let before = harness::cpu_seconds(server)?;
    let gateway = stage.gateway().to_owned();
    let (acked, refused, took) = runtime.block_on(async move {
        let mut tasks = tokio::task::JoinSet::new();
        let mut ready = Vec::new();
        for i in 0..sensors {
            let sensor = FakeSensor::enrol(&gateway, &token, &format!("bench-{i}")).await?;
            let session = sensor.connect(&gateway).await?;
            ready.push((sensor, session));
        }
        let start = Instant::now();
        let end = start + Duration::from_secs(seconds);
        for (i, (mut sensor, mut session)) in ready.into_iter().enumerate() {
            let template = templates[i % templates.len()].clone();
            tasks.spawn(async move {
                let (mut acked, mut refused, mut under_way) = (0_u64, 0_u64, 0_u32);
                loop {
                    let open = Instant::now() < end;
                    while open && under_way < 4 {
                        session.send_batch(sensor.batch(&template)).await?;
                        under_way += 1;
                    }
                    if under_way == 0 {
                        return anyhow::Ok((acked, refused));
                    }
                    match session.answer().await? {
                        Ok(_) => acked += u64::from(template.rows),
                        Err(_) => refused += u64::from(template.rows),
                    }
                    under_way -= 1;
                }
            });
        }
        let (mut acked, mut refused) = (0, 0);
        while let Some(done) = tasks.join_next().await {
            let (a, r) = done??;
            acked += a;
            refused += r;
        }
        anyhow::Ok((acked, refused, start.elapsed()))
    })?;
    let after = harness::cpu_seconds(server)?;
    println!("  {acked} rows durable, {refused} refused, in {:.1} s", took.as_secs_f64());
    println!("  rows a second: {:.0}", acked as f64 / took.as_secs_f64());
    println!("  server CPU: {:.1} s user, {:.1} s kernel", after.0 - before.0, after.1 - before.1);
    println!("  server resident: {} MiB", harness::resident_bytes(server)? >> 20);
    stage.stop().map_err(|e| anyhow!(e.0))
}
