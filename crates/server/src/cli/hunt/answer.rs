//! An answer on its way to a terminal or a file.

use super::super::client::CliError;
use super::super::output::{Format, Printer, clean, csv_cell, short_time};
use super::chart;
use comfy_table::{ContentArrangement, Table, presets};
use garrison_model::QueryDiagnostic;
use serde_json::Value;
use std::io::Write;

/// Characters of a cell that a table shows.
const CELL_CHARS_MAX: usize = 400;
/// Rows that a table shows before it says how many more there are.
const TABLE_ROWS_MAX: usize = 1_000;
/// Devices with gaps that are named on stderr.
const DEVICES_TOLD_MAX: usize = 5;

/// What the server answered.
pub(super) struct Answered {
    pub(super) columns: Vec<(String, String)>,
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) diagnostics: Vec<QueryDiagnostic>,
    render: Option<String>,
    whole: Value,
}

impl Answered {
    pub(super) fn read(mut whole: Value) -> Result<Self, CliError> {
        let wrong = || CliError::Answer("it is no answer of a hunt".to_owned());
        let columns = whole.get("columns").and_then(Value::as_array).ok_or_else(wrong)?;
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let columns = columns.iter().map(|column| (text(column, "name"), text(column, "type"))).collect();
        let rows = match whole.get_mut("rows").map(Value::take) {
            Some(Value::Array(rows)) => rows,
            _ => return Err(wrong()),
        };
        let rows = rows.into_iter().map(|row| match row {
            Value::Array(cells) => cells,
            other => vec![other],
        });
        let diagnostics = whole.get("diagnostics").cloned().unwrap_or_default();
        Ok(Self {
            columns,
            rows: rows.collect(),
            diagnostics: serde_json::from_value(diagnostics).unwrap_or_default(),
            render: whole.pointer("/render/kind").and_then(Value::as_str).map(str::to_owned),
            whole,
        })
    }

    /// Says on stderr what the answer lacks; the exit code tells it too.
    pub(super) fn verdict(&self) -> Result<(), CliError> {
        let Some(completeness) = self.whole.get("completeness") else { return Ok(()) };
        if completeness.get("complete").and_then(Value::as_bool) == Some(true) {
            return Ok(());
        }
        let statement = completeness.get("statement").and_then(Value::as_str).unwrap_or("not complete");
        let devices = completeness.get("devices").and_then(Value::as_array);
        for device in devices.into_iter().flatten().take(DEVICES_TOLD_MAX) {
            let text = |key: &str| clean(device.get(key).and_then(Value::as_str).unwrap_or_default());
            let mut facts = Vec::new();
            if let Some(lost) = device.get("lostRows").and_then(Value::as_u64).filter(|lost| *lost > 0) {
                facts.push(format!("{lost} rows lost"));
            }
            let gaps = device.get("gaps").and_then(Value::as_array).map_or(0, Vec::len);
            if gaps > 0 {
                facts.push(format!("{gaps} gaps"));
            }
            if let Some(since) = device.pointer("/offline/since").and_then(Value::as_str) {
                facts.push(format!("silent since {}", short_time(since)));
            }
            eprintln!("  {} ({}): {}", text("deviceName"), text("deviceId"), facts.join(", "));
        }
        Err(CliError::Partial(clean(statement)))
    }
}

/// Prints an answer.
pub(super) fn print(answered: &Answered, printer: &Printer, out: &mut dyn Write) -> Result<(), CliError> {
    let written = match printer.format {
        Format::Json => json(answered, out),
        Format::Ndjson => ndjson(answered, out),
        Format::Csv => csv(answered, out),
        Format::Table | Format::Parquet => table(answered, printer, out),
    };
    match written {
        Ok(()) => Ok(()),
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::Failed(format!("cannot write the answer: {error}"))),
    }
}

fn json(answered: &Answered, out: &mut dyn Write) -> std::io::Result<()> {
    let mut whole = answered.whole.clone();
    whole["schemaVersion"] = 1.into();
    whole["rows"] = answered.rows.iter().map(|row| Value::Array(row.clone())).collect();
    serde_json::to_writer_pretty(&mut *out, &whole)?;
    writeln!(out)
}

fn ndjson(answered: &Answered, out: &mut dyn Write) -> std::io::Result<()> {
    for row in &answered.rows {
        // Written by hand: a map of values would change the order of the columns.
        write!(out, "{{")?;
        for (at, ((name, _), cell)) in answered.columns.iter().zip(row).enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(out, "{comma}{}:{cell}", Value::from(name.as_str()))?;
        }
        writeln!(out, "}}")?;
    }
    out.flush()
}

fn csv(answered: &Answered, out: &mut dyn Write) -> std::io::Result<()> {
    let names: Vec<String> = answered.columns.iter().map(|(name, _)| csv_cell(name)).collect();
    writeln!(out, "{}", names.join(","))?;
    for row in &answered.rows {
        let cells: Vec<String> = row
            .iter()
            .map(|cell| match cell {
                Value::Null => String::new(),
                Value::Number(number) => number.to_string(),
                Value::String(text) => csv_cell(text),
                other => csv_cell(&other.to_string()),
            })
            .collect();
        writeln!(out, "{}", cells.join(","))?;
    }
    out.flush()
}

/// A cell for eyes.
pub(super) fn shown(cell: &Value, kind: &str) -> String {
    let text = match cell {
        Value::Null => return String::new(),
        Value::String(text) if kind == "datetime" => return short_time(text),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    };
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

fn table(answered: &Answered, printer: &Printer, out: &mut dyn Write) -> std::io::Result<()> {
    if let Some(kind) = &answered.render
        && let Some(drawn) = chart::draw(kind, answered, printer)
    {
        writeln!(out, "{drawn}")?;
    }
    if answered.rows.is_empty() {
        eprintln!("no rows");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(printer.width).unwrap_or(160));
    table.set_header(answered.columns.iter().map(|(name, _)| printer.paint("1;4", &clean(name))));
    for row in answered.rows.iter().take(TABLE_ROWS_MAX) {
        table.add_row(answered.columns.iter().zip(row).map(|((_, kind), cell)| shown(cell, kind)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    writeln!(out, "{}", table.to_string().trim_end())?;
    if answered.rows.len() > TABLE_ROWS_MAX {
        let more = answered.rows.len() - TABLE_ROWS_MAX;
        eprintln!("{more} more rows; use -o csv, ndjson or json to see all");
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn printed(format: Format) -> String {
        let answer = json!({
            "columns": [{"name": "Timestamp", "type": "datetime"}, {"name": "n", "type": "long"}, {"name": "d", "type": "dynamic"}],
            "rows": [["2026-11-25T16:20:00.123456Z", -1, {"b": 1, "a": "\u{1b}x"}], [null, null, null]],
            "render": null, "diagnostics": [], "completeness": {"complete": true},
        });
        let printer = Printer { format, colour: false, width: 80 };
        let mut out = Vec::new();
        print(&Answered::read(answer).unwrap(), &printer, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_format_holds_the_rows() {
        let csv = printed(Format::Csv);
        assert!(csv.starts_with("Timestamp,n,d\n2026-11-25T16:20:00.123456Z,-1,"), "{csv}");
        let lines = printed(Format::Ndjson);
        assert!(lines.starts_with("{\"Timestamp\":\"2026-11-25T16:20:00.123456Z\",\"n\":-1,\"d\":{"), "{lines}");
        assert_eq!(lines.lines().count(), 2);
        let whole: Value = serde_json::from_str(&printed(Format::Json)).unwrap();
        assert_eq!((whole["schemaVersion"].as_i64(), whole["rows"].as_array().unwrap().len()), (Some(1), 2));
        let table = printed(Format::Table);
        assert!(table.contains("2026-11-25 16:20:00") && !table.contains('\u{1b}'), "{table}");
    }

    #[test]
    fn an_answer_that_lacks_rows_says_so() {
        let answer =
            json!({"columns": [], "rows": [], "completeness": {"complete": false, "statement": "cut", "devices": []}});
        assert!(matches!(Answered::read(answer).unwrap().verdict(), Err(CliError::Partial(words)) if words == "cut"));
    }
}
