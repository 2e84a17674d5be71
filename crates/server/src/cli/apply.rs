//! `garrison apply -f fleet.yaml`

use super::client::{CliError, Client, typed};
use super::output::{Printer, clean};
use crate::plane::fleet_file::{Applied, ChangeLine, FleetFile};
use clap::Args;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

/// Longest fleet file: the server takes no more either.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Time for twenty thousand entries.
const WAIT: Duration = Duration::from_mins(2);

/// Arguments.
#[derive(Debug, Args)]
pub struct Command {
    /// Fleet file (YAML); `-` reads standard input.
    #[arg(short, long)]
    file: PathBuf,
    /// Only print the difference; exit code 2 where there is one.
    #[arg(long)]
    dry_run: bool,
}

/// A file that cannot be used ends with 1: with 2, a script would take it for a difference.
fn document(message: String, hint: &str) -> CliError {
    CliError::Document { message, hint: hint.to_owned() }
}

fn read(path: &PathBuf) -> Result<String, CliError> {
    let failed = |source| {
        let hint = "name a fleet file, or `-` for standard input";
        document(format!("cannot read `{}`: {source}", path.display()), hint)
    };
    let mut text = String::new();
    let taken = if path.as_os_str() == "-" {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    };
    if taken.map_err(failed)? as u64 > FILE_BYTES_MAX {
        return Err(document("the fleet file is longer than 16 MiB".to_owned(), "split it by subscription"));
    }
    Ok(text)
}

/// Reads a fleet file's text.
pub fn parse(text: &str) -> Result<FleetFile, CliError> {
    serde_saphyr::from_str(text)
        .map_err(|e| document(format!("the fleet file cannot be read: {e}"), "see docs/reference/plane.md"))
}

/// A line of the difference: `+` made, `-` taken away, `~` changed.
fn line(printer: &Printer, c: &ChangeLine) -> String {
    let (target, what) = (clean(&c.target), clean(&c.what));
    let value = |v: &Option<String>| v.as_deref().map(clean).unwrap_or_default();
    match (&c.old, &c.new) {
        (None, None) if c.what == "deleted" => printer.paint("31", &format!("- {target}")),
        (None, None) => printer.paint("32", &format!("+ {target}")),
        (None, Some(_)) => printer.paint("32", &format!("+ {target}  {what}: {}", value(&c.new))),
        (Some(_), None) => printer.paint("31", &format!("- {target}  {what}: {}", value(&c.old))),
        (Some(_), Some(_)) => {
            printer.paint("33", &format!("~ {target}  {what}: {} -> {}", value(&c.old), value(&c.new)))
        }
    }
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let file = parse(&read(&command.file)?)?;
    let body = serde_json::to_value(&file).map_err(|e| CliError::Answer(e.to_string()))?;
    let path = if command.dry_run { "/fleet/apply?dryRun=true" } else { "/fleet/apply" };
    let applied: Applied = typed(client.post_within(path, &body, WAIT).await?)?;
    if printer.is_table() {
        applied.changes.iter().for_each(|c| printer.line(&line(printer, c)));
        let count = applied.changes.len();
        eprintln!("{}: {count} change(s)", if applied.dry_run { "nothing is changed" } else { "applied" });
    } else {
        printer.json(&applied)?;
    }
    if applied.dry_run && !applied.changes.is_empty() { Err(CliError::Differs) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    #[test]
    fn a_fleet_file_is_read_whole_or_refused() {
        let well = "version: 1\ntenant: {geography: EU}\nsubscriptions:\n  - name: Production\n    location: westeurope\n    \
                    plan: P2\n    rules:\n      - tag: env=dev\n        plan: Off\n    machines:\n      \
                    - {resourceGroup: web, name: www1, plan: Inherit}\n";
        let file = parse(well).unwrap();
        assert_eq!(file.subscriptions[0].rules[0].tag.as_deref(), Some("env=dev"));
        for bad in [
            "",
            "- 1",
            "version: 1\nsubscription: []",
            "version: 1\nsubscriptions: [{name: a, plan: P3}]",
            "version: 1\nsubscriptions: [{name: a, resourceGroups: [../x]}]",
            "version: 1\nsubscriptions: [{name: a}]\nversion: 1",
            "version: [",
            // Aliases that would grow without bound.
            "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b]",
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 1, "{bad:?}");
        }
        assert_eq!(read(&PathBuf::from("/nowhere/fleet.yaml")).unwrap_err().exit_code(), 1);
        assert_eq!(CliError::Differs.exit_code(), 2);
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_difference_is_told_by_its_mark() {
        let printer = Printer { format: Format::Table, colour: true, width: 100 };
        let change = |what: &str, old: Option<&str>, new: Option<&str>| ChangeLine {
            target: "machine/x".to_owned(),
            what: what.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        for (c, text) in [
            (change("plan", None, Some("P1")), "\u{1b}[32m+ machine/x  plan: P1\u{1b}[0m"),
            (change("plan", Some("P1"), Some("P2")), "\u{1b}[33m~ machine/x  plan: P1 -> P2\u{1b}[0m"),
            (change("plan", Some("P1"), None), "\u{1b}[31m- machine/x  plan: P1\u{1b}[0m"),
            (change("deleted", None, None), "\u{1b}[31m- machine/x\u{1b}[0m"),
            (change("created", None, None), "\u{1b}[32m+ machine/x\u{1b}[0m"),
        ] {
            assert_eq!(line(&printer, &c), text);
        }
    }
}
