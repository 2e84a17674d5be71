//! Many analysts at once while rows arrive.
//!
//! The analysts ask in this process, over the lake of the other figures; each looks at an answer for one to four seconds
//! before the next question, which is little for a person. Rows
//! arrive in a second lake of this process with the flushes and merges of a real one, 100,000 a second, on the same
//! two cores.

use super::data::END;
use super::engine::Engine;
use super::queries;
use crate::harness;
use garrison_lake::{Batch, Lake, LakeConfig, TableSpec};
use garrison_model::{BootId, DeviceId, Micros};
use garrison_telemetry::BatchHeader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const ROWS_A_SECOND: u64 = 100_000;
const BATCH_ROWS: u64 = 1_000;
/// What analysts ask all day: the narrow questions.
const ASKED: &[&str] =
    &[queries::NEEDLE, queries::TAKE, queries::TIMELINE, "hash of a process", "address", "tools in a day"];
const SECONDS: u64 = 60;

struct Arrivals {
    rows: AtomicU64,
    longest_micros: AtomicU64,
    stop: AtomicBool,
}

pub fn run(lake: &Lake, cache: &Path, analysts: usize, threads: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let list: Vec<String> =
        queries::all().into_iter().filter(|query| ASKED.contains(&query.name)).map(|query| query.kql).collect();
    let engine = Engine::cold(lake, END)?;
    let alone = runtime.block_on(ask(&engine, &list, 0, threads, Duration::from_secs(SECONDS / 2)))?;
    let quiet = arrive(&runtime, cache, Duration::from_secs(SECONDS / 2))?;
    let arrivals =
        Arc::new(Arrivals { rows: AtomicU64::new(0), longest_micros: AtomicU64::new(0), stop: AtomicBool::new(false) });
    let feed = feed(cache, &arrivals)?;
    let start = Instant::now();
    let mut together: Vec<f64> = runtime.block_on(async {
        let mut asking = tokio::task::JoinSet::new();
        for analyst in 0..analysts {
            let (engine, list) = (engine.clone(), list.clone());
            asking.spawn(async move { ask(&engine, &list, analyst, threads, Duration::from_secs(SECONDS)).await });
        }
        let mut all = Vec::new();
        while let Some(done) = asking.join_next().await {
            all.extend(done??);
        }
        anyhow::Ok(all)
    })?;
    let rate = arrivals.rows.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
    arrivals.stop.store(true, Relaxed);
    feed.join().unwrap_or_else(|_| anyhow::bail!("the feed panicked"))?;
    let mut alone = alone;
    println!("\n  {analysts} analysts and arriving rows, {SECONDS} s: {} queries", together.len());
    let (one, many) = (harness::percentile(&mut alone, 0.95), harness::percentile(&mut together, 0.95));
    println!(
        "  one analyst alone: median {:.0} ms, 95th percentile {:.0} ms; {analysts} at once: {:.0} and {:.0} ms, {:.1} times",
        harness::percentile(&mut alone, 0.5) * 1e3,
        one * 1e3,
        harness::percentile(&mut together, 0.5) * 1e3,
        many * 1e3,
        many / one
    );
    println!(
        "  arrived: {rate:.0} rows a second durable (alone {quiet:.0}), longest append {} ms",
        arrivals.longest_micros.load(Relaxed) / 1_000
    );
    Ok(())
}

/// Seconds of each query of one analyst.
async fn ask(
    engine: &Engine,
    list: &[String],
    first: usize,
    threads: usize,
    time: Duration,
) -> anyhow::Result<Vec<f64>> {
    let end = Instant::now() + time;
    let mut seconds = Vec::new();
    let mut at = first;
    while Instant::now() < end {
        seconds.push(engine.run(&list[at % list.len()], threads).await?.seconds);
        at += 1;
        let pause = Duration::from_millis(1_000 + (first * 7_919 + at * 104_729) as u64 % 3_000);
        tokio::time::sleep(pause).await;
    }
    Ok(seconds)
}

/// Rows a second that arrive when nobody asks.
fn arrive(runtime: &tokio::runtime::Runtime, cache: &Path, time: Duration) -> anyhow::Result<f64> {
    let arrivals =
        Arc::new(Arrivals { rows: AtomicU64::new(0), longest_micros: AtomicU64::new(0), stop: AtomicBool::new(false) });
    let feed = feed(cache, &arrivals)?;
    let start = Instant::now();
    runtime.block_on(async { tokio::time::sleep(time).await });
    let rate = arrivals.rows.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
    arrivals.stop.store(true, Relaxed);
    feed.join().unwrap_or_else(|_| anyhow::bail!("the feed panicked"))?;
    Ok(rate)
}

type Feed = std::thread::JoinHandle<anyhow::Result<()>>;

/// A lake of its own that takes rows at the rate until it is told to stop.
fn feed(cache: &Path, arrivals: &Arc<Arrivals>) -> anyhow::Result<Feed> {
    let folder = cache.join("arrivals");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let tables: Vec<TableSpec> =
        TableSpec::hunting_tables().into_iter().filter(|spec| spec.name == "DeviceProcessEvents").collect();
    let lake = Lake::open(&folder, LakeConfig { tables, ..LakeConfig::default() })?;
    let arrivals = Arc::clone(arrivals);
    let rows: Vec<_> = (0..16)
        .map(|seed| garrison_testkit::telemetry_rows::process_rows(seed, BATCH_ROWS as usize, Micros(END)))
        .collect();
    Ok(std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let done = runtime.block_on(async {
            let start = Instant::now();
            let (mut sent, mut under_way) = (0_u64, tokio::task::JoinSet::new());
            while !arrivals.stop.load(Relaxed) {
                let due = (start.elapsed().as_secs_f64() * ROWS_A_SECOND as f64) as u64;
                // As many batches wait for an answer as a hundred sensors have under way.
                while sent + BATCH_ROWS <= due && under_way.len() < 100 {
                    let device = sent / BATCH_ROWS % 100;
                    let header = BatchHeader {
                        device: DeviceId::new(format!("{device:040x}"))?,
                        boot: BootId::new("0f1e2d3c-0000-4000-8000-000000000001")?,
                        table: "DeviceProcessEvents".to_owned(),
                        sequence_first: sent,
                        row_count: BATCH_ROWS as u32,
                        created: Micros(END),
                    };
                    let rows = rows[(sent / BATCH_ROWS) as usize % rows.len()].clone();
                    let (lake, arrivals) = (lake.clone(), Arc::clone(&arrivals));
                    under_way.spawn(async move {
                        let asked = Instant::now();
                        let stored = lake.append(Batch::new(header, Micros(END), rows)).await?;
                        arrivals.rows.fetch_add(u64::from(stored.rows()), Relaxed);
                        arrivals.longest_micros.fetch_max(asked.elapsed().as_micros() as u64, Relaxed);
                        Ok::<_, garrison_lake::LakeError>(())
                    });
                    sent += BATCH_ROWS;
                }
                tokio::select! {
                    Some(done) = under_way.join_next() => done??,
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
            while let Some(done) = under_way.join_next().await {
                done??;
            }
            anyhow::Ok(())
        });
        drop(lake);
        let _ = std::fs::remove_dir_all(&folder);
        done
    }))
}
