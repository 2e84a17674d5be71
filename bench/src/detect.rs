//! `detect`: rows a second on one core with the whole public corpus loaded, beside a peer on the same rules and events.

use crate::events::{self, Event};
use anyhow::Context;
use arrow::array::RecordBatch;
use garrison_sigma::{Engine, FieldMap, HuntingMap, IdentityMap, Matches, Options, Platform, RuleSet, Scratch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Events that the peer gets; it is slower, and its rate does not depend on the number.
#[cfg(feature = "peer")]
const PEER_EVENTS: usize = 20_000;

/// What a server's thread remembers for a table.
const SCRATCH_BYTES: usize = 32 * 1024 * 1024;

/// Seconds that this thread has been on a processor: on a machine that does other work too, the clock on the wall says
/// little about one core.
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

struct Lane {
    name: &'static str,
    windows: bool,
    /// Of a hundred command lines, how many came before.
    repeated: usize,
    /// Sigma's field names and every rule on every row, instead of the hunting tables.
    raw: bool,
    platform: Option<Platform>,
}

const LANES: &[Lane] = &[
    Lane {
        name: "hunting, linux rows, linux rules",
        windows: false,
        repeated: 90,
        raw: false,
        platform: Some(Platform::Linux),
    },
    Lane {
        name: "hunting, windows rows, all platforms' rules",
        windows: true,
        repeated: 90,
        raw: false,
        platform: None,
    },
    Lane {
        name: "hunting, windows rows, every command line new",
        windows: true,
        repeated: 0,
        raw: false,
        platform: None,
    },
    Lane {
        name: "raw names, routed to process creation",
        windows: true,
        repeated: 90,
        raw: true,
        platform: Some(Platform::Windows),
    },
    Lane { name: "raw names, every rule on every row", windows: true, repeated: 90, raw: true, platform: None },
    Lane {
        name: "raw names, every rule, every command line new",
        windows: true,
        repeated: 0,
        raw: true,
        platform: None,
    },
];

pub fn run(rows: usize, rounds: usize, seed: u64) -> anyhow::Result<()> {
    let texts = crate::data::rules()?;
    println!("load: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!("{} rule files, {rows} rows a round, {rounds} rounds, seed {seed}\n", texts.len());
    #[cfg(feature = "peer")]
    let peer = crate::peer::Peer::load(&texts)?;
    for lane in LANES {
        let routed = lane.raw && lane.platform.is_some();
        let map: Arc<dyn FieldMap> = if lane.raw {
            Arc::new(IdentityMap { keyword_columns: keyword_columns(), by_category: routed })
        } else {
            Arc::new(HuntingMap)
        };
        let table = match (lane.raw, routed) {
            (false, _) => "DeviceProcessEvents",
            (true, true) => "process_creation",
            (true, false) => "events",
        };
        let started = Instant::now();
        let (rules, _) = RuleSet::load(texts.iter().map(|(n, t)| (n, t)), &Options::default());
        let engine = Engine::compile(Arc::new(rules), map);
        engine.prepare(lane.platform);
        println!("## {}", lane.name);
        println!(
            "   {} rules, read and compiled in {:.0} ms",
            engine.rule_count(table, lane.platform),
            started.elapsed().as_secs_f64() * 1e3
        );
        let (mut scratch, mut matches) = (Scratch::with_bytes_max(SCRATCH_BYTES), Matches::new());
        let (mut ours, mut wall) = (Vec::new(), Vec::new());
        let mut theirs: Vec<f64> = Vec::new();
        for round in 0..rounds {
            // Other events each round, so that nothing but habits can be remembered.
            let events = events::generate(seed + round as u64, rows, lane.windows, lane.repeated);
            let batches = events::batches(&events, &|name| if lane.raw { name } else { hunting(name) })?;
            if round == 0 {
                describe(&events);
            }
            let (started, cpu) = (Instant::now(), cpu_seconds());
            let mut count = 0;
            for batch in &batches {
                engine.evaluate(&mut scratch, table, lane.platform, batch, &mut matches);
                count += matches.len();
            }
            wall.push(rows as f64 / started.elapsed().as_secs_f64());
            ours.push(rows as f64 / (cpu_seconds() - cpu));
            if round == 0 {
                println!("   {count} matches in the first round");
            }
            #[cfg(feature = "peer")]
            if lane.raw {
                let sample = &events[..events.len().min(PEER_EVENTS)];
                let (rate, found) = peer.run(sample, routed);
                theirs.push(rate);
                if round == 0 {
                    compare(&engine, &mut scratch, table, lane.platform, &batches, sample.len(), &found);
                }
            }
        }
        let ours = median(&mut ours).context("no round was run")?;
        let wall = median(&mut wall).unwrap_or_default();
        println!("   garrison: {ours:>12.0} rows for each second of one core ({wall:.0} by the clock on the wall)");
        if let Some(theirs) = median(&mut theirs) {
            println!("   rsigma:   {theirs:>12.0} rows for each second of one core, {:.1} times fewer", ours / theirs);
        }
        println!();
    }
    println!("load: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    Ok(())
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn describe(events: &[Event]) {
    let bytes: usize = events.iter().map(|e| e.fields.iter().map(|(_, v)| v.len()).sum::<usize>()).sum();
    let lines: std::collections::HashSet<&str> = events.iter().map(|e| e.fields[1].1.as_str()).collect();
    println!(
        "   {} bytes a row, {:.1} % of the command lines distinct",
        bytes / events.len(),
        100.0 * lines.len() as f64 / events.len() as f64
    );
}

fn keyword_columns() -> Vec<String> {
    [
        "Image",
        "CommandLine",
        "ParentImage",
        "ParentCommandLine",
        "User",
        "CurrentDirectory",
        "OriginalFileName",
        "IntegrityLevel",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The column of the hunting table.
fn hunting(field: &'static str) -> &'static str {
    match field {
        "Image" => "FolderPath",
        "CommandLine" => "ProcessCommandLine",
        "ParentImage" => "InitiatingProcessFolderPath",
        "ParentCommandLine" => "InitiatingProcessCommandLine",
        "User" => "AccountName",
        "OriginalFileName" => "ProcessVersionInfoOriginalFileName",
        "IntegrityLevel" => "ProcessIntegrityLevel",
        other => other,
    }
}

/// Matches by rule, ours against theirs, on the same events.
#[cfg(feature = "peer")]
fn compare(
    engine: &Engine,
    scratch: &mut Scratch,
    table: &str,
    platform: Option<Platform>,
    batches: &[RecordBatch],
    count: usize,
    theirs: &BTreeMap<String, usize>,
) {
    let mut ours: BTreeMap<String, usize> = BTreeMap::new();
    let mut matches = Matches::new();
    let mut seen = 0;
    for batch in batches {
        engine.evaluate(scratch, table, platform, batch, &mut matches);
        for hit in matches.hits().iter().filter(|hit| seen + (hit.row as usize) < count) {
            if let Some(rule) = engine.rule(hit.rule) {
                *ours.entry(rule.id.clone()).or_default() += 1;
            }
        }
        seen += batch.num_rows();
    }
    let total = |map: &BTreeMap<String, usize>| map.values().sum::<usize>();
    println!(
        "   matches on {count} events: garrison {} by {} rules, rsigma {} by {} rules",
        total(&ours),
        ours.len(),
        total(theirs),
        theirs.len()
    );
    for id in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (a, b) = (ours.get(id).copied().unwrap_or(0), theirs.get(id).copied().unwrap_or(0));
        if a != b {
            let title = engine.rules().find(id).and_then(|r| engine.rule(r)).map_or("", |r| r.title.as_str());
            println!("   differs: {id} garrison {a}, rsigma {b}: {title}");
        }
    }
}

#[cfg(not(feature = "peer"))]
#[allow(dead_code)]
fn unused(_: &BTreeMap<String, usize>, _: &RecordBatch) {}
