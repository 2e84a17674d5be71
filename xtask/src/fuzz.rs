//! `cargo xtask fuzz NAME`: feeds what parses with texts that libFuzzer makes, guided by which branches they reach.
//! Only our own crates are marked for that (`fuzz/covered.sh`), so a stable compiler is enough and the query engine is built
//! as ever.

use crate::tools::{Done, cache, cargo, fail, root, run, target};
use std::path::Path;
use std::process::Command;

/// Each target with the folders whose files it begins with.
const TARGETS: &[(&str, &[&str])] =
    &[("query_text", &["content/hunting"]), ("rule_text", &["content/rules/linux", "content/samples"])];

/// The longest text: longer ones only take longer.
const BYTES_MAX: u32 = 2_048;
/// A text that takes longer than this, in seconds, is a finding.
const TEXT_SECONDS_MAX: u32 = 20;

/// Entry: `NAME [--seconds N]`.
pub fn fuzz(args: &[&str]) -> Done {
    let known = || TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let Some((name, seeds)) = args.first().and_then(|name| TARGETS.iter().find(|(known, _)| known == name)) else {
        return fail(format!("name a target: {}", known()));
    };
    let seconds = match args.get(1..).unwrap_or_default() {
        [] => 60,
        ["--seconds", number] => match number.parse::<u32>() {
            Ok(seconds) if (1..=86_400).contains(&seconds) => seconds,
            _ => return fail(format!("`{number}` is no number of seconds from 1 to 86400")),
        },
        _ => return fail("use: cargo xtask fuzz NAME [--seconds N]"),
    };
    let folder = root().join("fuzz");
    let built = target().join("fuzz");
    // The same versions as everywhere; cargo drops what is not needed here.
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let mut build = cargo();
    build.current_dir(&folder).args(["build", "--bin", name]).env("CARGO_TARGET_DIR", &built);
    run("building the fuzz target", build.env("RUSTC_WRAPPER", folder.join("covered.sh")))?;
    // What was found stays for the next run.
    let found = cache().join("fuzz").join(name);
    std::fs::create_dir_all(&found)?;
    for folder in *seeds {
        copy_seeds(&root().join(folder), &found)?;
    }
    let mut program = Command::new(built.join("debug").join(name));
    program.arg(&found).current_dir(&found);
    program.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={BYTES_MAX}"),
        "-print_final_stats=1".into(),
    ]);
    program.args([format!("-timeout={TEXT_SECONDS_MAX}"), "-rss_limit_mb=4096".into(), "-verbosity=1".into()]);
    run(&format!("fuzzing {name} for {seconds} s"), &mut program)
}

/// Copies the files below a folder, under names that do not meet.
fn copy_seeds(from: &Path, to: &Path) -> Done {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            copy_seeds(&path, to)?;
        } else if let Ok(inside) = path.strip_prefix(root()) {
            std::fs::copy(&path, to.join(inside.to_string_lossy().replace('/', "-")))?;
        }
    }
    Ok(())
}
