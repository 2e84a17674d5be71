//! The house keeps its shape: crates depend only downwards, files stay small, nothing unfinished lies about.

use crate::tools::{Done, fail, root, say};
use std::path::{Path, PathBuf};

/// Which crates of ours each may use; an arrow that is not here fails.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("telemetry", &["model"]),
    ("sigma", &["telemetry", "model"]),
    ("kql", &["telemetry"]),
    ("wire", &["model", "telemetry"]),
    ("lake", &["telemetry", "model"]),
    ("cluster", &["lake", "kql"]),
    ("sensor", &["model", "telemetry", "sigma", "wire"]),
    ("connect", &["model", "wire"]),
    ("server", &["model", "telemetry", "sigma", "wire", "lake", "kql", "cluster"]),
    ("testkit", &["model", "telemetry", "sigma", "wire", "lake", "kql", "cluster", "sensor", "server"]),
];

/// Lines a source file may have; past 1,000 a wall is missing.
const LINES_MAX: usize = 1000;

/// Crates that the sensor and the connector must never pull in: they have to build in a minute.
const NOT_IN_SENSOR: &[&str] = &["axum", "sqlx", "parquet", "deltalake", "object_store", "utoipa", "datafusion"];

/// Runs all checks and lists every finding.
pub fn run() -> Done {
    say("tidy");
    let mut findings = Vec::new();
    for (name, allowed) in ARROWS {
        let path = root().join("crates").join(name).join("Cargo.toml");
        let text = std::fs::read_to_string(&path)?;
        for dependency in dependencies(&text) {
            if let Some(ours) = dependency.strip_prefix("garrison-") {
                if !allowed.contains(&ours) {
                    findings.push(format!("crates/{name} uses {ours}: that arrow points up"));
                }
            } else if matches!(*name, "sensor" | "connect") && NOT_IN_SENSOR.iter().any(|n| dependency.starts_with(n)) {
                findings.push(format!("crates/{name} uses {dependency}, a dependency of the server"));
            }
        }
    }
    for entry in std::fs::read_dir(root().join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !ARROWS.iter().any(|(n, _)| *n == name) {
            findings.push(format!("crates/{name} has no line in the list of arrows (xtask/src/tidy.rs)"));
        }
    }
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "bench", "console/src", "console/e2e", "fuzz"] {
        walk(&root().join(folder), &mut files)?;
    }
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        let lines = text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{name} has {lines} lines, at most {LINES_MAX} are kept"));
        }
        let base = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if matches!(base, "utils" | "helpers" | "common" | "manager" | "mod") {
            findings.push(format!("{name}: name the file for the noun it defines"));
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    fail(format!("tidy found:\n  {}", findings.join("\n  ")))
}

/// Names below `[dependencies]`; dev- and build-dependencies may point anywhere.
fn dependencies(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            names.extend(line.split(['.', '=', ' ']).next());
        }
    }
    names
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Done {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !matches!(name, "node_modules" | "target" | "dist") {
                walk(&path, files)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs" || e == "ts" || e == "tsx" || e == "c" || e == "mjs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_plain_dependencies_count() {
        let text = "[dependencies]\nserde.workspace = true\n# no\ngarrison-model = { path = \"x\" }\n[dev-dependencies]\nx = \"1\"\n";
        assert_eq!(super::dependencies(text), ["serde", "garrison-model"]);
    }
}
