//! `render` on a terminal: bars.

use super::super::output::Printer;
use super::answer::{Answered, shown};
use serde_json::Value;

/// Bars of a chart; more would scroll away.
const BARS_MAX: usize = 40;
/// Characters of a bar's label.
const LABEL_CHARS_MAX: usize = 40;
/// Eighths of a character, so that bars are finer than characters.
const PARTS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// The rows as bars, if the kind of chart and the columns allow it.
pub(super) fn draw(kind: &str, answered: &Answered, printer: &Printer) -> Option<String> {
    let drawable = ["timechart", "barchart", "columnchart", "piechart", "linechart", "areachart"];
    if !drawable.contains(&kind) || answered.rows.is_empty() {
        return None;
    }
    let number = |kind: &str| matches!(kind, "long" | "int" | "real" | "decimal");
    let value_at = answered.columns.iter().position(|(_, kind)| number(kind))?;
    let labels: Vec<usize> = (0..answered.columns.len())
        .filter(|at| *at != value_at && answered.columns.get(*at).is_some_and(|(_, kind)| !number(kind)))
        .collect();
    let label = |row: &[Value]| {
        let words: Vec<String> =
            labels.iter().filter_map(|at| Some(shown(row.get(*at)?, &answered.columns.get(*at)?.1))).collect();
        let words = words.join(" ");
        if words.chars().count() > LABEL_CHARS_MAX {
            words.chars().take(LABEL_CHARS_MAX - 1).chain(['…']).collect()
        } else {
            words
        }
    };
    let mut rows: Vec<&Vec<Value>> = answered.rows.iter().collect();
    if kind == "timechart" {
        // Texts of times sort as the times do.
        rows.sort_by_key(|row| labels.first().and_then(|at| row.get(*at)).map(Value::to_string));
    }
    let shown_rows: Vec<(String, f64)> = rows
        .iter()
        .take(BARS_MAX)
        .map(|row| (label(row), row.get(value_at).and_then(Value::as_f64).unwrap_or(0.0)))
        .collect();
    let greatest = shown_rows.iter().map(|(_, value)| value.abs()).fold(0.0, f64::max);
    let label_width = shown_rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let room = printer.width.saturating_sub(label_width + 16).max(10);
    let mut out = String::new();
    for (label, value) in &shown_rows {
        let eighths = if greatest > 0.0 { (value.abs() / greatest * (room * 8) as f64).round() as usize } else { 0 };
        let mut bar = "█".repeat(eighths / 8);
        if let Some(part) = (eighths % 8).checked_sub(1).and_then(|at| PARTS.get(at)) {
            bar.push(*part);
        }
        out.push_str(&format!("{label:<label_width$}  {} {value}\n", printer.paint("36", &bar)));
    }
    if answered.rows.len() > BARS_MAX {
        out.push_str(&format!("… {} more\n", answered.rows.len() - BARS_MAX));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Format;
    use super::*;
    use serde_json::json;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let answer = json!({
            "columns": [{"name": "FileName", "type": "string"}, {"name": "count_", "type": "long"}],
            "rows": [["sh", 10], ["a\u{1b}b", 5], ["none", 0]],
        });
        let printer = Printer { format: Format::Table, colour: false, width: 60 };
        let answered = Answered::read(answer).unwrap();
        let drawn = draw("barchart", &answered, &printer).unwrap();
        let lengths: Vec<usize> = drawn.lines().map(|line| line.chars().filter(|c| *c == '█').count()).collect();
        assert!(lengths[0] == 2 * lengths[1] && lengths[2] == 0, "{drawn}");
        assert!(!drawn.contains('\u{1b}'));
        assert!(draw("table", &answered, &printer).is_none());
    }
}
