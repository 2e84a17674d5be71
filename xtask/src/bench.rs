//! `cargo xtask bench NAME`: builds optimised and runs one benchmark; the figures go to standard output.

use crate::tools::{self, Done, cargo, fail};

const NAMES: &[&str] = &["detect", "sensor", "ingest", "fleet", "latency", "hunt"];

/// Entry.
pub fn run(args: &[&str]) -> Done {
    let Some((name, rest)) = args.split_first().filter(|(name, _)| NAMES.contains(name)) else {
        return fail(format!("name a benchmark: {}", NAMES.join(", ")));
    };
    if !matches!(*name, "detect" | "hunt") {
        let args = ["build", "--release", "-p", "garrison-server", "-p", "garrison-sensor"];
        tools::run("building the programs, optimised", cargo().args(args))?;
    }
    let mut args = vec!["run", "--release", "-p", "garrison-bench"];
    if *name == "detect" {
        args.extend(["--features", "peer"]);
    }
    args.extend(["--", name]);
    args.extend(rest);
    tools::run(&format!("bench {name}"), cargo().args(args))
}
