//! `garrison rule …`

use super::client::{CliError, Client, query};
use super::output::{Printer, clean, short_time};
use clap::Subcommand;
use garrison_model::{Match, Page, Rule, RuleDiagnostic};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Rule files read in one import: the largest public corpus has about 4,000.
const FILES_MAX: usize = 20_000;
/// Bytes sent in one request; the server takes 8 MiB.
const CHUNK_BYTES: usize = 4 << 20;

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Import Sigma rules from a file or a folder; they reach the whole fleet in seconds.
    Import {
        /// File or folder.
        path: PathBuf,
        /// Only say what would happen.
        #[arg(long)]
        dry_run: bool,
    },
    /// Rules.
    List {
        /// Words.
        #[arg(long, short)]
        q: Option<String>,
        /// Only rules that are on (true) or off (false).
        #[arg(long)]
        enabled: Option<bool>,
        /// ATT&CK tactic.
        #[arg(long)]
        tactic: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 500)]
        limit: u32,
    },
    /// One rule with its source.
    Show {
        /// Id.
        id: String,
    },
    /// Switch rules on.
    Enable {
        /// Ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Switch rules off.
    Disable {
        /// Ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Try a rule on stored rows, or on rows of a sample file, without switching it on.
    Test {
        /// File with the rule.
        file: PathBuf,
        /// JSON file: a list of {"table": …, "row": {…}}.
        #[arg(long)]
        sample: Option<PathBuf>,
        /// Days of stored rows to look at.
        #[arg(long, default_value_t = 1)]
        days: u32,
    },
    /// Remove an imported rule.
    Remove {
        /// Id.
        id: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Imported {
    added: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    #[serde(default)]
    diagnostics: Vec<RuleDiagnostic>,
    #[serde(default)]
    matches: Vec<Match>,
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.display().to_string(), source })
}

fn rule_files(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |source| CliError::File { path: path.display().to_string(), source };
    if std::fs::metadata(path).map_err(failed)?.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let (mut files, mut folders) = (Vec::new(), vec![path.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = entry.path();
            if kind.is_dir() {
                folders.push(name);
            } else if kind.is_file() && name.extension().is_some_and(|e| e == "yml" || e == "yaml") {
                files.push(name);
            }
            if files.len() > FILES_MAX {
                return Err(CliError::usage(format!("more than {FILES_MAX} rule files"), "import smaller folders"));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn diagnostics(printer: &Printer, list: &[RuleDiagnostic], of: &str) {
    for d in list {
        let code = if d.level == "error" { "31" } else { "33" };
        eprintln!("{} {}: {} {}", printer.paint(code, &d.code), clean(of), clean(&d.message), clean(&d.place));
        if let Some(hint) = &d.hint {
            eprintln!("    hint: {}", clean(hint));
        }
    }
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::Import { path, dry_run } => import(&path, dry_run, client, printer).await,
        Command::List { q, enabled, tactic, limit } => {
            let pairs = [
                ("q", q),
                ("enabled", enabled.map(|e| e.to_string())),
                ("tactic", tactic),
                ("limit", Some(limit.to_string())),
            ];
            let page: Page<Rule> = client.fetch(&query("/rules", &pairs)).await?;
            if let Some(total) = page.total.filter(|t| *t > page.items.len() as i64) {
                eprintln!("{} of {total} shown; raise --limit for more", page.items.len());
            }
            printer.list(&["ID", "SEVERITY", "STATE", "TACTIC", "TITLE", "ALERTS 30D"], &page.items, |r| {
                let state = match (r.enabled, r.usable) {
                    (true, true) => printer.paint("32", "on"),
                    (true, false) => printer.paint("31", "unusable"),
                    (false, _) => "off".to_owned(),
                };
                vec![
                    r.id.to_string(),
                    printer.severity(r.severity),
                    state,
                    clean(&r.category),
                    clean(&r.title),
                    r.alert_count_30d.to_string(),
                ]
            })
        }
        Command::Show { id } => {
            let rule: Rule = client.fetch(&format!("/rules/{id}")).await?;
            if !printer.is_table() {
                return printer.json(&rule);
            }
            printer.line(&printer.paint("1", &clean(&rule.title)));
            printer.pairs(&[
                ("severity", printer.severity(rule.severity)),
                ("enabled", rule.enabled.to_string()),
                ("usable", rule.usable.to_string()),
                ("origin", clean(&rule.origin)),
                ("tactic", clean(&rule.category)),
                ("techniques", rule.mitre_techniques.join(", ")),
                ("tables", rule.tables.join(", ")),
                ("what", clean(&rule.description)),
                ("do", clean(&rule.recommended_action)),
            ]);
            diagnostics(printer, &rule.diagnostics, rule.id.as_str());
            if let Some(source) = rule.source {
                printer.line("");
                source.lines().for_each(|line| printer.line(&clean(line)));
            }
            Ok(())
        }
        Command::Enable { ids } => switch(&ids, true, client).await,
        Command::Disable { ids } => switch(&ids, false, client).await,
        Command::Remove { id } => {
            client.delete(&format!("/rules/{id}")).await?;
            eprintln!("rule {id} removed");
            Ok(())
        }
        Command::Test { file, sample, days } => {
            let mut body = json!({ "source": read(&file)?, "days": days });
            if let Some(sample) = sample {
                let rows: Value = serde_json::from_str(&read(&sample)?)
                    .map_err(|e| CliError::usage(format!("sample is no JSON: {e}"), "give a list of {table, row}"))?;
                body["rows"] = rows;
            }
            let answer = client.post("/rules/test", &body).await?;
            if !printer.is_table() {
                return printer.json(&answer);
            }
            let tested: Tested = super::client::typed(answer)?;
            diagnostics(printer, &tested.diagnostics, &file.display().to_string());
            for found in &tested.matches {
                let fields: Vec<String> =
                    found.fields.iter().map(|f| format!("{} {}", clean(&f.column), clean(&f.test))).collect();
                printer.line(&format!(
                    "{} {} {}",
                    short_time(&found.timestamp),
                    clean(&found.table),
                    fields.join(", ")
                ));
            }
            eprintln!("{} rows match", tested.matches.len());
            if tested.diagnostics.iter().any(|d| d.level == "error") {
                return Err(CliError::Failed("the rule cannot be used".to_owned()));
            }
            Ok(())
        }
    }
}

async fn import(path: &Path, dry_run: bool, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let files = rule_files(path)?;
    if files.is_empty() {
        let hint = "rules end in .yml or .yaml";
        return Err(CliError::usage(format!("`{}` holds no rule files", path.display()), hint));
    }
    let bar = indicatif::ProgressBar::new(files.len() as u64);
    let mut total = Imported::default();
    let mut chunk = String::new();
    // Line of the chunk where a file begins, and which: the server counts lines of the whole chunk.
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let mut lines = 0_usize;
    let target = query("/rules/import", &[("dryRun", dry_run.then(|| "true".to_owned()))]);
    for (i, file) in files.iter().enumerate() {
        // What cannot be read, or is no text, is refused by itself: the other files go on.
        match std::fs::read(file) {
            Ok(bytes) => {
                // What one file says of all its documents must not reach into the next.
                chunk.push_str("\n---\naction: reset\n---\n");
                let text = String::from_utf8_lossy(&bytes);
                let text = text.trim_start_matches('\u{feff}').trim_start_matches("---");
                lines += 4;
                starts.push((lines, i));
                lines += text.matches('\n').count();
                chunk.push_str(text);
            }
            Err(error) => {
                total.refused += 1;
                eprintln!("{} cannot read `{}`: {error}", printer.paint("31", "refused:"), file.display());
            }
        }
        bar.inc(1);
        if chunk.len() >= CHUNK_BYTES || i + 1 == files.len() {
            let sent = std::mem::take(&mut chunk);
            let mut answer: Imported = super::client::typed(client.post_text(&target, sent).await?)?;
            for diagnostic in answer.rules.iter_mut().flat_map(|r| &mut r.diagnostics) {
                place(&mut diagnostic.place, &starts, &files);
            }
            starts.clear();
            lines = 0;
            total.added += answer.added;
            total.updated += answer.updated;
            total.unchanged += answer.unchanged;
            total.refused += answer.refused;
            total.rules.extend(answer.rules);
        }
    }
    bar.finish_and_clear();
    if !printer.is_table() {
        return printer.json(&json!({
            "schemaVersion": 1, "added": total.added, "updated": total.updated, "unchanged": total.unchanged,
            "refused": total.refused, "rules": total.rules,
        }));
    }
    for rule in total.rules.iter().filter(|r| !r.usable).take(50) {
        diagnostics(printer, &rule.diagnostics, &rule.title);
    }
    let word = if dry_run { "would be " } else { "" };
    printer.line(&format!(
        "{} files: {} {word}added, {} {word}updated, {} unchanged, {} refused",
        files.len(),
        total.added,
        total.updated,
        total.unchanged,
        total.refused
    ));
    Ok(())
}

/// Says file and line of the file instead of the line of the chunk.
fn place(words: &mut String, starts: &[(usize, usize)], files: &[PathBuf]) {
    let line = words.split_once("line ").map(|(_, rest)| rest);
    let line = line.and_then(|l| l.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok());
    let Some(line) = line else { return };
    // What is said of a whole document bears the line before its first.
    let Some((start, file)) = starts.iter().rev().find(|(start, _)| *start <= line) else { return };
    if let Some(file) = files.get(*file) {
        *words = format!("({}:{})", file.display(), (line - start).max(1));
    }
}

async fn switch(ids: &[String], enabled: bool, client: &Client) -> Result<(), CliError> {
    for id in ids {
        client.patch(&format!("/rules/{id}"), &json!({ "enabled": enabled })).await?;
        eprintln!("rule {id} is {}", if enabled { "on" } else { "off" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_chunk_becomes_one_in_a_file() {
        let files = [PathBuf::from("a.yml"), PathBuf::from("b.yml")];
        let starts = [(4, 0), (18, 1)];
        let placed = |words: &str| {
            let mut words = words.to_owned();
            place(&mut words, &starts, &files);
            words
        };
        assert_eq!(placed("logsource (line 4)"), "(a.yml:1)");
        assert_eq!(placed("detection.a (line 9)"), "(a.yml:5)");
        assert_eq!(placed("(line 18)"), "(b.yml:1)");
        assert_eq!(placed("(line 99999999999999999999999)"), "(line 99999999999999999999999)");
        assert_eq!(placed("(line 2)"), "(line 2)");
        assert_eq!(placed("condition"), "condition");
    }
}
