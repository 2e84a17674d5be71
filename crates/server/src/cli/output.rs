//! How answers are printed: tables for people, JSON, NDJSON and CSV for programs.

use super::CliError;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use garrison_model::Severity;
use serde::Serialize;
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, with colour on a terminal.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet; only for hunts.
    Parquet,
}

/// Prints answers in the chosen format.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    /// Format.
    pub format: Format,
    /// Whether to colour.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// Escapes control characters and bidirectional overrides, so that hostile text cannot steer a terminal.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                out.push_str(&format!("\\u{{{:x}}}", c as u32));
            }
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// `2026-11-23T10:00:00.123456Z` as `2026-11-23 10:00:00`.
pub fn short_time(time: &str) -> String {
    clean(&time.get(..19).unwrap_or(time).replace('T', " "))
}

impl Printer {
    /// Colour where stdout is a terminal and `NO_COLOR` is not set.
    pub fn new(format: Format) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let from_env = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let width = from_env.or_else(|| terminal_size::terminal_size().map(|(w, _)| usize::from(w.0))).unwrap_or(160);
        Self { format, colour, width: width.clamp(60, 400) }
    }

    /// Whether people read it.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Paints with an SGR code.
    pub fn paint(&self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A severity in its colour.
    pub fn severity(&self, severity: Severity) -> String {
        let code = match severity {
            Severity::High => "31;1",
            Severity::Medium => "33;1",
            Severity::Low => "36",
            Severity::Informational | Severity::Unspecified => "2",
        };
        self.paint(code, severity.as_str())
    }

    /// Prints a line of data; a closed pipe ends the program quietly.
    pub fn line(&self, text: &str) {
        if writeln!(std::io::stdout(), "{text}").is_err() {
            std::process::exit(0);
        }
    }

    /// Prints any value as JSON.
    pub fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = if self.format == Format::Ndjson {
            serde_json::to_string(value)
        } else {
            serde_json::to_string_pretty(value)
        };
        self.line(&text.map_err(|e| CliError::Answer(e.to_string()))?);
        Ok(())
    }

    /// Prints a list. `row` gives the table's cells, already painted; `header` names them. For CSV the cells of the
    /// items' JSON are used, nested values as JSON text.
    pub fn list<T: Serialize>(
        &self,
        header: &[&str],
        items: &[T],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), CliError> {
        match self.format {
            Format::Json => self.json(&serde_json::json!({ "schemaVersion": 1, "items": items })),
            Format::Ndjson => items.iter().try_for_each(|item| self.json(item)),
            Format::Csv => {
                let mut names: Vec<String> = Vec::new();
                for (i, item) in items.iter().enumerate() {
                    let value = serde_json::to_value(item).map_err(|e| CliError::Answer(e.to_string()))?;
                    let Value::Object(map) = value else { continue };
                    if i == 0 {
                        names = map.keys().cloned().collect();
                        self.line(&names.iter().map(|n| csv_cell(n)).collect::<Vec<_>>().join(","));
                    }
                    let cells = names.iter().map(|n| match map.get(n) {
                        None | Some(Value::Null) => String::new(),
                        Some(Value::String(text)) => csv_cell(text),
                        Some(other) => csv_cell(&other.to_string()),
                    });
                    self.line(&cells.collect::<Vec<_>>().join(","));
                }
                Ok(())
            }
            Format::Parquet => Err(CliError::usage("only `garrison hunt` writes parquet", "use json, ndjson or csv")),
            Format::Table => {
                if items.is_empty() {
                    eprintln!("nothing to show");
                    return Ok(());
                }
                let mut table = Table::new();
                table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
                table.set_width(u16::try_from(self.width).unwrap_or(160));
                table.set_header(header.iter().map(|h| self.paint("1;4", h)));
                for item in items {
                    table.add_row(row(item));
                }
                for column in table.column_iter_mut() {
                    column.set_padding((0, 2));
                }
                self.line(table.to_string().trim_end());
                Ok(())
            }
        }
    }

    /// Prints name and value pairs, aligned.
    pub fn pairs(&self, pairs: &[(&str, String)]) {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            self.line(&format!("{}  {value}", self.paint("2", &format!("{name:<width$}"))));
        }
    }
}

/// A cell of CSV, after RFC 4180; a leading `=`, `+`, `-` or `@` gets a `'` in front, so that a spreadsheet does not
/// take text from a machine for a formula.
pub(super) fn csv_cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_machine_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\r\n\u{202e}c"), "a\\x1b[31mb\\r\\n\\u{202e}c");
    }

    #[test]
    fn csv_cells_are_quoted_and_never_formulas() {
        assert_eq!(csv_cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv_cell("=1+1"), "'=1+1");
    }
}
