//! The 417 public queries of ../shared/data/kql-queries.json: accepted or refused as the vendor's analyser does, with
//! the same output names and types, and those accepted run without an engine error.

use crate::estate::{Estate, NOW, shared};
use crate::run::{Engine, run_on};
use garrison_kql::{Context, Severity, analyze};
use serde_json::Value;

/// Queries that the recorded analyser refuses only because it lacks what we have, by the reason.
const BEYOND: &[&str] = &["FileProfile"];

/// What differs from the record, by kind; the numbers are exact, so that a change in either direction is seen.
const DIFFERENT_VERDICT: usize = 0;
const DIFFERENT_COLUMNS: usize = 0;
const NOT_RUN: usize = 0;

#[test]
fn the_public_corpus_is_read_as_the_vendor_reads_it_and_runs() {
    let Some(text) = shared("data/kql-queries.json") else {
        println!("skipped because ../shared/data is absent");
        return;
    };
    let corpus: Vec<Value> = serde_json::from_str(&text).unwrap();
    let estate = Estate::new(12, 5);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = Engine::new();
    let (mut verdicts, mut columns, mut failures) = (vec![], vec![], vec![]);
    let (mut accepted, mut beyond, mut ran, mut agreed) = (0, 0, 0, 0);
    for entry in &corpus {
        let (source, query) = (entry["source"].as_str().unwrap(), entry["query"].as_str().unwrap());
        let theirs = entry["accepted"].as_bool().unwrap();
        let analysis = analyze(query, &estate, &Context::at(NOW));
        let errors: Vec<_> = analysis.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        let ours = errors.is_empty();
        let excused = !theirs && ours && BEYOND.iter().any(|b| query.contains(b));
        accepted += usize::from(theirs);
        beyond += usize::from(excused);
        if ours != theirs && !excused {
            let why = if theirs {
                errors.iter().take(3).map(|d| format!("{} {}", d.code, d.message)).collect::<Vec<_>>().join("; ")
            } else {
                format!("they say {} {}", entry["errors"][0]["code"], entry["errors"][0]["message"])
            };
            verdicts.push(format!("{source}: {why}"));
        }
        if !ours {
            continue;
        }
        if theirs && let (Some(have), Some(want)) = (&analysis.columns, entry["columns"].as_array()) {
            let have: Vec<_> = have.iter().map(|c| Value::from(format!("{}:{}", c.name, c.kind.name()))).collect();
            if &have == want {
                agreed += 1;
            } else {
                let first = have.iter().zip(want).find(|(a, b)| a != b);
                columns.push(format!("{source}: {} columns, want {}; first {first:?}", have.len(), want.len()));
            }
        }
        match runtime.block_on(run_on(query, &estate, &engine)) {
            Ok(_) => ran += 1,
            Err(e) => failures.push(format!("{source}: {}", e.chars().take(400).collect::<String>())),
        }
    }
    println!(
        "{} queries; the vendor accepts {accepted}; {beyond} more accepted here for {BEYOND:?}; verdicts differ {}; \
         columns agree {agreed}, differ {}; ran {ran}, failed {}",
        corpus.len(),
        verdicts.len(),
        columns.len(),
        failures.len()
    );
    for (what, list) in [("verdict", &verdicts), ("columns", &columns), ("run", &failures)] {
        for line in list {
            println!("{what}: {line}");
        }
    }
    assert_eq!((verdicts.len(), columns.len(), failures.len()), (DIFFERENT_VERDICT, DIFFERENT_COLUMNS, NOT_RUN));
}
