//! `cargo xtask`: the project's own commands. It uses little but the standard library, so that it builds in a second
//! on a machine that has nothing yet.

use std::process::ExitCode;
use xtask::tools::{self, Failure};
use xtask::{attack, bench, checks, demo, dist, fuzz, tidy};

const HELP: &str = "\
usage: cargo xtask COMMAND

  test [--yes] [ONLY...]   run everything: format, lints, tidy, unit and kernel tests, console, browser
                           (ONLY: fmt, lint, tidy, cargo, console, live; systemd only where it is named)
  demo [--yes] [--keep]    build, protect this machine, play a harmless attack, show the incident
  bench NAME [ARGS...]     run a benchmark: detect, sensor, ingest, fleet, latency, hunt
  fuzz NAME [--seconds N]  feed a parser with made texts: query_text, rule_text
  dist                     build .deb and .rpm packages into dist/
  tidy                     check that crates depend only downwards and files stay small
  attack                   play the demo's harmless attack on this machine and undo it
  docs                     write the generated reference pages

Build products go to CARGO_TARGET_DIR, or to the user's cache folder where that is not set.";

fn main() -> ExitCode {
    // The demo's attack copies this program under other names; it then plays that part.
    if let Some(code) = attack::play_part() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let done = match args.first().map(String::as_str) {
        Some("test") => checks::test(&rest),
        Some("demo") => demo::run(&rest),
        Some("bench") => bench::run(&rest),
        Some("dist") => dist::run_dist(),
        Some("fuzz") => fuzz::fuzz(&rest),
        Some("tidy") => tidy::run(),
        Some("attack") => attack::run(false),
        Some("docs") => checks::docs(),
        Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(words)) => {
            eprintln!("\n{} {words}", tools::paint("31;1", "failed:"));
            ExitCode::FAILURE
        }
    }
}
