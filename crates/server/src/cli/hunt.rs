//! `garrison hunt`: queries from the terminal.

mod answer;
mod chart;
mod link;
mod shell;

use super::client::{CliError, Client};
use super::output::{Format, Printer, clean};
use answer::{Answered, print};
use clap::Args;
use garrison_model::{Problem, QueryDiagnostic};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// How long a query may take before the client gives up: longer than the server lets any run.
const WAIT_MAX: Duration = Duration::from_mins(20);
/// How often progress is asked for.
const PROGRESS_EVERY: Duration = Duration::from_millis(400);
/// Bytes of a query that are read from a file or stdin; the server takes less.
const QUERY_BYTES_MAX: u64 = 4 << 20;

/// What to run, and how.
#[derive(Debug, Args)]
pub struct Command {
    /// The query; `-` reads it from stdin. Without one, and on a terminal, a shell starts.
    query: Option<String>,
    /// Reads the query from a file.
    #[arg(long, short = 'f', conflicts_with = "query")]
    file: Option<PathBuf>,
    /// ISO 8601 time span: P7D, PT12H, START/END.
    #[arg(long)]
    timespan: Option<String>,
    /// Rows at most.
    #[arg(long)]
    rows: Option<usize>,
    /// Writes the rows to a file; needed for parquet on a terminal.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Lists the queries that come with the program, or with a word those that it fits.
    #[arg(long, num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["query", "file"])]
    library: Option<String>,
    #[command(flatten)]
    link: link::Link,
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    if let Some(word) = &command.library {
        return library(word, client, printer).await;
    }
    let text = match (&command.query, &command.file) {
        (Some(dash), None) if dash == "-" => stdin()?,
        (Some(text), _) => text.clone(),
        (None, Some(path)) => file(path)?,
        (None, None) if std::io::stdin().is_terminal() => {
            return shell::run(command.timespan, client, printer).await;
        }
        (None, None) => stdin()?,
    };
    let hunt = Hunt { text, timespan: command.timespan, rows: command.rows };
    if let Some(body) = command.link.body()? {
        let ran = crate::shared::rfc3339(crate::now());
        let answered = hunt.run(client, printer).await?;
        link::send(body, &hunt, &ran, &answered, client, printer).await?;
        return answered.verdict();
    }
    if printer.format == Format::Parquet {
        return download(&hunt, command.out, client).await;
    }
    let answered = hunt.run(client, printer).await?;
    match command.out {
        None => print(&answered, printer, &mut std::io::stdout().lock())?,
        Some(path) => {
            let failed = |source| CliError::File { path: path.display().to_string(), source };
            let mut file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(failed)?);
            print(&answered, printer, &mut file)?;
        }
    }
    answered.verdict()
}

/// Runs a saved query, or one of the library.
pub(super) async fn run_text(
    text: String,
    timespan: Option<String>,
    client: &Client,
    printer: &Printer,
) -> Result<(), CliError> {
    let answered = Hunt { text, timespan, rows: None }.run(client, printer).await?;
    print(&answered, printer, &mut std::io::stdout().lock())?;
    answered.verdict()
}

fn stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(QUERY_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|source| CliError::File { path: "-".to_owned(), source })?;
    Ok(text)
}

fn file(path: &std::path::Path) -> Result<String, CliError> {
    let failed = |source| CliError::File { path: path.display().to_string(), source };
    let mut text = String::new();
    std::fs::File::open(path).map_err(failed)?.take(QUERY_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// A query on its way.
struct Hunt {
    text: String,
    timespan: Option<String>,
    rows: Option<usize>,
}

impl Hunt {
    fn body(&self, id: Uuid) -> Value {
        let mut body = json!({"query": self.text, "id": id});
        if let Some(span) = &self.timespan {
            body["timespan"] = span.as_str().into();
        }
        if let Some(rows) = self.rows {
            body["rowsMax"] = rows.into();
        }
        body
    }

    /// Runs it, shows progress on a terminal, and cancels it on Ctrl-C.
    async fn run(&self, client: &Client, printer: &Printer) -> Result<Answered, CliError> {
        let id = Uuid::now_v7();
        let body = self.body(id);
        let answer = client.post_within("/hunting/run", &body, WAIT_MAX);
        tokio::pin!(answer);
        let bar = std::io::stderr().is_terminal().then(indicatif::ProgressBar::new_spinner);
        let mut every = tokio::time::interval(PROGRESS_EVERY);
        every.tick().await;
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                _ = tokio::signal::ctrl_c() => {
                    let _ = client.delete(&format!("/hunting/runs/{id}")).await;
                    break Err(CliError::Failed("cancelled".to_owned()));
                }
                _ = every.tick(), if bar.is_some() => {
                    let progress = client.get(&format!("/hunting/runs/{id}")).await;
                    if let (Some(bar), Ok(progress)) = (&bar, progress) {
                        bar.set_message(progress_words(&progress));
                        bar.tick();
                    }
                }
            }
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        match answer {
            Ok(answer) => {
                let answered = Answered::read(answer)?;
                report(&self.text, &answered.diagnostics, printer);
                Ok(answered)
            }
            Err(error) => Err(told(&self.text, error, printer)),
        }
    }
}

fn progress_words(progress: &Value) -> String {
    let number = |key: &str| progress.get(key).and_then(Value::as_u64).unwrap_or(0);
    let state = progress.get("state").and_then(Value::as_str).unwrap_or("Running");
    format!(
        "{} {:.1} s, {} rows looked at, {} of {} files, {} rows found",
        clean(state),
        number("elapsedMs") as f64 / 1_000.0,
        number("rowsScanned"),
        number("filesDone"),
        number("filesRead"),
        number("rowsFound"),
    )
}

/// Draws the findings of a refused query; the error itself goes on as a use that makes no sense.
fn told(text: &str, error: CliError, printer: &Printer) -> CliError {
    match error {
        CliError::Refused(Problem { code, title, hint, diagnostics, .. })
            if matches!(code.as_str(), "query_not_valid" | "timespan_not_valid") =>
        {
            report(text, &diagnostics, printer);
            match diagnostics.iter().filter(|d| d.severity == "error").count() {
                0 => CliError::usage(title, hint.unwrap_or_default()),
                // Each is told above with its place.
                1 => CliError::usage("the query was not run", "correct what is marked above"),
                errors => {
                    CliError::usage(format!("the query was not run: {errors} errors"), "correct what is marked above")
                }
            }
        }
        other => other,
    }
}

/// Findings on stderr, each with its line and a caret.
fn report(text: &str, diagnostics: &[QueryDiagnostic], printer: &Printer) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let printer = Printer { colour, ..*printer };
    for diagnostic in diagnostics {
        eprint!("{}", drawn(text, diagnostic, &printer));
    }
}

/// A finding in the manner of compilers.
fn drawn(text: &str, d: &QueryDiagnostic, printer: &Printer) -> String {
    let colour = match d.severity.as_str() {
        "error" => "31;1",
        "warning" => "33;1",
        _ => "36;1",
    };
    let head = printer.paint(colour, &format!("{} {}", d.severity, d.code));
    let mut out = format!("{head}: {}\n", clean(&d.message));
    if let Some(line) = text.lines().nth(d.line.saturating_sub(1)) {
        let number = d.line.to_string();
        let margin = " ".repeat(number.len());
        let bar = printer.paint("2", "|");
        // Tabs and control characters would move the caret away from its place.
        let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let end = if d.end_line == d.line { d.end_column } else { plain.chars().count() + 1 };
        let before = " ".repeat(d.column.saturating_sub(1));
        let carets = "^".repeat(end.saturating_sub(d.column).clamp(1, 400));
        out.push_str(&format!("{} {bar} {}\n", printer.paint("2", &number), clean(&plain)));
        out.push_str(&format!("{margin} {bar} {before}{}\n", printer.paint(colour, &carets)));
    }
    if let Some(hint) = &d.hint {
        out.push_str(&format!("  hint: {}\n", clean(hint)));
    }
    out
}

/// All rows as Parquet.
async fn download(hunt: &Hunt, out: Option<PathBuf>, client: &Client) -> Result<(), CliError> {
    let printer = Printer::new(Format::Table);
    let body = hunt.body(Uuid::now_v7());
    if out.is_none() && std::io::stdout().is_terminal() {
        return Err(CliError::usage("parquet is not for a terminal", "give --out FILE, or send stdout to a file"));
    }
    let path = "/hunting/export?format=parquet";
    let written = match out {
        None => client.download(path, &body, WAIT_MAX, &mut std::io::stdout(), "stdout").await,
        Some(file) => {
            let name = file.display().to_string();
            let failed = |source| CliError::File { path: name.clone(), source };
            let mut target = std::fs::File::create(&file).map_err(failed)?;
            client.download(path, &body, WAIT_MAX, &mut target, &name).await
        }
    };
    written.map_err(|error| told(&hunt.text, error, &printer))
}

async fn library(word: &str, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let found = client.get("/hunting/library").await?;
    let word = word.to_lowercase();
    let items: Vec<Value> = found.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let fits = |item: &&Value| word.is_empty() || item.to_string().to_lowercase().contains(&word);
    let items: Vec<Value> = items.iter().filter(fits).cloned().collect();
    let text = |item: &Value, key: &str| clean(item.get(key).and_then(Value::as_str).unwrap_or_default());
    let list = |item: &Value, key: &str| {
        let words = item.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        clean(&words.collect::<Vec<_>>().join(", "))
    };
    printer.list(&["id", "title", "tactics", "techniques"], &items, |item| {
        vec![text(item, "id"), text(item, "title"), list(item, "tactics"), list(item, "techniques")]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_points_at_its_place() {
        let text = "DeviceEvents\n| where Fo\to == 1";
        let d = QueryDiagnostic {
            code: "KS142".into(),
            severity: "error".into(),
            message: "there is no \u{1b}[31m column".into(),
            hint: Some("see the schema".into()),
            line: 2,
            column: 9,
            end_line: 2,
            end_column: 13,
            start: 21,
            end: 25,
        };
        let printer = Printer { format: Format::Table, colour: false, width: 80 };
        assert_eq!(
            drawn(text, &d, &printer),
            "error KS142: there is no \\x1b[31m column\n2 | | where Fo o == 1\n  |         ^^^^\n  hint: see the schema\n"
        );
        // Places that do not exist are drawn without a line.
        let lost = QueryDiagnostic { line: 99, column: usize::MAX, ..d };
        assert!(drawn(text, &lost, &printer).starts_with("error KS142"));
    }
}
