//! `cargo xtask bench NAME`: builds optimised and runs one benchmark; the figures go to standard output.

use crate::tools::{self, Done, cargo, fail};

const NAMES: &[&str] = &["detect", "sensor", "ingest", "fleet", "latency", "hunt"];

/// Entry.
pub fn run(args: &[&str]) -> Done {
    let Some((name, rest)) = args.split_first().filter(|(name, _)| NAMES.contains(name)) else {
        return fail(format!("name a benchmark: {}", NAMES.join(", ")));
    };
    tools::run("building the programs, optimised", cargo().args(tools::OPTIMISED))?;
    let mut program = std::process::Command::new(tools::target().join("release").join("garrison-bench"));
    program.arg(name).args(rest);
    tools::run(&format!("bench {name}"), &mut program)
}
