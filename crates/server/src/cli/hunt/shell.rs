//! The interactive shell: a query over several lines, ended by an empty line or `;`.

use super::super::client::{CliError, Client};
use super::super::output::Printer;
use super::answer::print;
use super::{Hunt, told};
use garrison_kql::syntax::{TokenKind, lex};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::PathBuf;

const HELP: &str = "\
A query ends with an empty line or `;`. Tab completes, Ctrl-C drops the line or cancels the query, Ctrl-D leaves.
  .help            this
  .tables          the tables
  .timespan SPAN   bounds the time of what follows (P7D, START/END); without SPAN no longer
  .quit            leaves";

/// Queries that the shell remembers.
const HISTORY_MAX: usize = 1_000;

/// Completes by asking the server.
struct Assistant {
    client: Client,
    runtime: tokio::runtime::Handle,
    colour: bool,
}

impl Helper for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        let body = json!({"query": line, "position": before.encode_utf16().count()});
        let Ok(found) = self.runtime.block_on(self.client.post("/hunting/complete", &body)) else {
            return Ok((position, Vec::new()));
        };
        let from = found.get("from").and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        let start = byte_at(line, from);
        let items = found.get("items").and_then(Value::as_array).into_iter().flatten();
        let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
        let pairs = items
            .filter_map(|item| Some(Pair { display: text(item, "label")?, replacement: text(item, "insert")? }))
            .collect();
        Ok((start, pairs))
    }
}

/// Byte offset of an offset in UTF-16 code units.
fn byte_at(text: &str, utf16: usize) -> usize {
    let mut units = 0;
    for (at, c) in text.char_indices() {
        if units >= utf16 {
            return at;
        }
        units += c.len_utf16();
    }
    text.len()
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_whole(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// Whether what was typed is to be run: a command, or a text that ends with an empty line or `;`.
fn is_whole(text: &str) -> bool {
    let trimmed = text.trim();
    trimmed.is_empty()
        || trimmed.starts_with('.')
        || trimmed.ends_with(';')
        || text.lines().next_back().is_some_and(|line| line.trim().is_empty())
        || text.ends_with('\n')
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if !self.colour {
            return Cow::Borrowed(line);
        }
        let mut out = String::with_capacity(line.len() + 64);
        for token in lex(line) {
            let text = line.get(token.span.start..token.span.end).unwrap_or_default();
            let code = match token.kind {
                TokenKind::Comment => Some("2"),
                TokenKind::Text | TokenKind::OpenText => Some("32"),
                TokenKind::Integer | TokenKind::Real | TokenKind::Timespan => Some("36"),
                TokenKind::Word if text.starts_with(|c: char| c.is_ascii_lowercase() || c == '!') => Some("34"),
                TokenKind::Sign if text == "|" => Some("1"),
                TokenKind::Bad => Some("31"),
                _ => None,
            };
            match code {
                Some(code) => out.push_str(&format!("\x1b[{code}m{text}\x1b[0m")),
                None => out.push_str(text),
            }
        }
        Cow::Owned(out)
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.colour
    }
}

fn history_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(|| Some(home?.join(".local/state")))?;
    let folder = state.join("garrison");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("hunt-history"))
}

/// Reads queries until the end.
pub(super) async fn run(timespan: Option<String>, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let failed = |error: ReadlineError| CliError::Failed(format!("cannot read from the terminal: {error}"));
    let config = Config::builder().max_history_size(HISTORY_MAX).map_err(failed)?.auto_add_history(true).build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config).map_err(failed)?;
    let runtime = tokio::runtime::Handle::current();
    editor.set_helper(Some(Assistant { client: client.clone(), runtime, colour: printer.colour }));
    let history = history_file();
    if let Some(path) = &history {
        // There is none at the first start.
        let _ = editor.load_history(path);
    }
    eprintln!("Hunting on {}. `.help` helps.", client.base());
    let mut timespan = timespan;
    loop {
        // The editor blocks its thread, and its completer waits for answers: both need a thread of their own.
        let (line, back) = tokio::task::spawn_blocking(move || {
            let line = editor.readline("hunt> ");
            (line, editor)
        })
        .await
        .map_err(|_| CliError::Failed("the shell ended early".to_owned()))?;
        editor = back;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        };
        let text = line.trim().trim_end_matches(';').trim();
        match text.split_whitespace().next() {
            None => {}
            Some(".quit" | ".exit") => break,
            Some(".help") => eprintln!("{HELP}"),
            Some(".tables") => {
                for table in garrison_telemetry::tables() {
                    printer.line(&format!("{:<46} {}", table.name, table.doc));
                }
            }
            Some(".timespan") => timespan = text.split_whitespace().nth(1).map(str::to_owned),
            Some(word) if word.starts_with('.') => eprintln!("`{word}` is not known; see .help"),
            Some(_) => {
                let hunt = Hunt { text: text.to_owned(), timespan: timespan.clone(), rows: None };
                let done = match hunt.run(client, printer).await {
                    Ok(answered) => {
                        let printed = print(&answered, printer, &mut std::io::stdout().lock());
                        printed.and_then(|()| answered.verdict())
                    }
                    Err(error) => Err(told(text, error, printer)),
                };
                if let Err(error) = done {
                    error.report();
                }
            }
        }
    }
    if let Some(path) = &history {
        let _ = editor.save_history(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_ends_with_an_empty_line_or_a_semicolon() {
        for (text, whole) in [
            ("", true),
            (".help", true),
            ("DeviceEvents", false),
            ("DeviceEvents\n| take 1", false),
            ("DeviceEvents\n| take 1;", true),
            ("DeviceEvents\n| take 1\n", true),
            ("DeviceEvents\n| take 1\n   ", true),
        ] {
            assert_eq!(is_whole(text), whole, "{text:?}");
        }
    }

    #[test]
    fn offsets_in_code_units_are_found() {
        for (utf16, byte) in [(0, 0), (1, 1), (3, 5), (4, 6), (99, 6)] {
            assert_eq!(byte_at("a😀b", utf16), byte, "{utf16}");
        }
    }
}
