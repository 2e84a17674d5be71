//! How fast hunts are, beside a peer on the very same files.
//!
//! The data are written once a size and seed ([`data`]) and kept in the cache folder. Each query is run by both in
//! turn, so that what else the machine does falls on both; medians are compared, and so are the answers. The first run
//! of ours is with no cache of ours filled (footers, plans); the peer's process stays open and keeps its own.

mod crowd;
mod data;
mod engine;
mod peer;
mod queries;
mod words;

use crate::harness;
use anyhow::bail;
use engine::Engine;
use peer::Peer;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is measured.
pub struct Options {
    pub rows: u64,
    pub rounds: usize,
    pub seed: u64,
    /// Only queries whose name has this in it.
    pub only: String,
    /// Print plans with figures instead.
    pub explain: bool,
    pub analysts: usize,
    /// Settings of the query engine to try out.
    pub set: String,
}

/// Entry.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let cache = xtask::tools::cache().join("hunt");
    std::fs::create_dir_all(&cache)?;
    println!("bench hunt: {}", harness::machine());
    if !options.set.is_empty() {
        println!("  not as the server runs it, but with {}", options.set);
        engine::settings(&options.set);
    }
    let (lake, folder) = data::lake(&cache, options.rows, options.seed)?;
    describe(&lake, &folder)?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let list: Vec<_> = queries::all().into_iter().filter(|query| query.name.contains(&options.only)).collect();
    if options.explain {
        for query in &list {
            let plan = runtime.block_on(Engine::cold(&lake, data::END)?.explain(&query.kql, threads))?;
            println!("{}\n{plan}", query.kql);
        }
        return Ok(());
    }
    let mut tables = BTreeMap::new();
    for (name, ..) in data::TABLES {
        let snapshot = lake.snapshot(name)?;
        let files: Vec<PathBuf> = snapshot.files.iter().map(|file| snapshot.folder.join(&file.path)).collect();
        tables.insert((*name).to_owned(), files);
    }
    let mut peer = Peer::start("duckdb", &cache, &tables, threads)?;
    let other = Peer::start("clickhouse", &cache, &tables, threads);
    let mut other = other.map_err(|error| println!("  ClickHouse skipped because {error:#}")).ok();
    let beside = other.as_ref().map_or_else(String::new, |other| format!(" and {}", other.name));
    println!("  {} threads each; beside {}{beside}; medians of {} runs in turn\n", threads, peer.name, options.rounds);
    println!("| query | rows | read | first, ms | ours, ms | DuckDB, ms | ratio | ClickHouse, ms | ratio |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let (mut logarithms, mut worst, mut differ) = (0.0, 0.0_f64, Vec::new());
    let (mut refused, mut other_logarithms) = (Vec::new(), Vec::new());
    for query in &list {
        let engine = Engine::cold(&lake, data::END)?;
        let first = match runtime.block_on(engine.run(&query.kql, threads)) {
            Ok(first) => first,
            Err(error) => {
                println!("| {} | | | | | | refused | | |", query.name);
                refused.push(format!("{}: {error:#}", query.name));
                continue;
            }
        };
        let (mut ours, mut theirs, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = peer.ask(&query.sql)?;
        // The second peer only shows its time: its answers are compared by their number.
        let mut with = other.as_mut();
        if let Some(answer) = with.as_mut().map(|other| other.ask(&query.sql)) {
            match answer {
                Ok(answer) if answer.rows == last.rows => {}
                Ok(answer) => differ.push(format!("{} (ClickHouse has {} rows)", query.name, answer.rows)),
                Err(error) => {
                    println!("  ClickHouse skipped for `{}` because {error:#}", query.name);
                    with = None;
                }
            }
        }
        for _ in 0..options.rounds {
            ours.push(runtime.block_on(engine.run(&query.kql, threads))?.seconds);
            last = peer.ask(&query.sql)?;
            theirs.push(last.seconds);
            if let Some(other) = &mut with {
                others.push(other.ask(&query.sql)?.seconds);
            }
        }
        let same = first.rows() == last.rows && (query.any_rows || first.checksum()? == last.checksum);
        if !same {
            differ.push(format!("{} ({} rows, the peer {})", query.name, first.rows(), last.rows));
        }
        let (ours, theirs) = (harness::percentile(&mut ours, 0.5), harness::percentile(&mut theirs, 0.5));
        let ratio = ours / theirs;
        logarithms += ratio.ln();
        worst = worst.max(ratio);
        println!(
            "| {} | {} | {} | {:.0} | {:.1} | {:.1} | {:.2} | {} |",
            query.name,
            first.rows(),
            first.pruning(),
            first.seconds * 1e3,
            ours * 1e3,
            theirs * 1e3,
            ratio,
            if others.is_empty() {
                " | ".to_owned()
            } else {
                let others = harness::percentile(&mut others, 0.5);
                other_logarithms.push((ours / others).ln());
                format!("{:.1} | {:.2}", others * 1e3, ours / others)
            }
        );
    }
    let count = list.len() - refused.len();
    println!("\n  geometric mean {:.2}, worst {worst:.2}, {count} queries", (logarithms / count.max(1) as f64).exp());
    if !other_logarithms.is_empty() {
        let mean = (other_logarithms.iter().sum::<f64>() / other_logarithms.len() as f64).exp();
        println!("  beside ClickHouse: geometric mean {mean:.2}, {} queries", other_logarithms.len());
    }
    println!("  load at the end: {}", harness::machine());
    for line in &refused {
        println!("  refused: {line}");
    }
    drop((peer, other));
    if options.analysts > 0 && options.only.is_empty() {
        crowd::run(&lake, &cache, options.analysts, threads)?;
    }
    if !differ.is_empty() {
        bail!("answers differ: {}", differ.join("; "));
    }
    Ok(())
}

/// Says what lies there.
fn describe(lake: &garrison_lake::Lake, folder: &std::path::Path) -> anyhow::Result<()> {
    let stats = lake.stats();
    let (mut rows, mut bytes, mut files, mut index) = (0, 0, 0, 0);
    for table in &stats.tables {
        rows += table.file_rows;
        bytes += table.file_bytes;
        files += table.files;
        let snapshot = lake.snapshot(&table.name)?;
        let mut of_table = 0;
        for file in snapshot.files.iter() {
            let path = garrison_lake::terms::index_path(&snapshot.folder.join(&file.path));
            of_table += std::fs::metadata(path).map_or(0, |meta| meta.len());
        }
        println!(
            "  {}: {} rows, {} files, {} MiB, term index {} MiB",
            table.name,
            table.file_rows,
            table.files,
            table.file_bytes >> 20,
            of_table >> 20
        );
        index += of_table;
    }
    println!(
        "  {rows} rows in {files} files, {} MiB, and term indexes of {} MiB ({:.1} %), in `{}`",
        bytes >> 20,
        index >> 20,
        index as f64 / bytes.max(1) as f64 * 100.0,
        folder.display()
    );
    Ok(())
}
