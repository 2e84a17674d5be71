//! Benchmarks that stand alone. A benchmark prints its figures with the machine's load; it is never a test.

mod connectors;
mod data;
mod detect;
mod events;
mod fleet;
mod harness;
mod hunt;
mod ingest;
mod latency;
#[cfg(feature = "peer")]
mod peer;
mod sensor;

use std::process::ExitCode;

const USAGE: &str = "usage: garrison-bench detect [--rows N] [--rounds N] [--seed N]
       garrison-bench ingest [--sensors N] [--seconds N] [--rows N]
       garrison-bench fleet [--sensors N] [--seconds N]
       garrison-bench fleet --connectors N
       garrison-bench latency [--count N]
       garrison-bench sensor [--seconds N] [--rounds N] [--loops N]
       garrison-bench hunt [--rows N] [--rounds N] [--seed N] [--analysts N] [--only NAME] [--explain] [--set KEY=VALUE,…]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: usize| {
        let at = arguments.iter().position(|a| a == name);
        at.and_then(|at| arguments.get(at + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let text = |name: &str| {
        let at = arguments.iter().position(|a| a == name);
        at.and_then(|at| arguments.get(at + 1)).cloned().unwrap_or_default()
    };
    let outcome = match arguments.first().map(String::as_str) {
        Some("detect") => detect::run(option("--rows", 200_000), option("--rounds", 5), option("--seed", 42) as u64),
        Some("ingest") => ingest::run(option("--sensors", 100), option("--seconds", 20) as u64, option("--rows", 1000)),
        Some("fleet") if option("--connectors", 0) > 0 => connectors::run(option("--connectors", 0)),
        Some("fleet") => fleet::run(option("--sensors", 10_000), option("--seconds", 60) as u64),
        Some("latency") => latency::run(option("--count", 200)),
        Some("hunt") => hunt::run(&hunt::Options {
            rows: option("--rows", 100_000_000) as u64,
            rounds: option("--rounds", 5),
            seed: option("--seed", 42) as u64,
            only: text("--only"),
            explain: arguments.iter().any(|a| a == "--explain"),
            analysts: option("--analysts", 10),
            set: text("--set"),
        }),
        Some("sensor") => {
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            sensor::run(option("--seconds", 2) as u64, option("--rounds", 9), option("--loops", cores))
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
