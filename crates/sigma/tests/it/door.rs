//! The one door of the case tests: a rule, rows as JSON, and which of them it holds on.

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use garrison_sigma::{Engine, IdentityMap, Matches, Options, RuleSet, Scratch};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows as a batch: a column of whole numbers where all values are, else of text.
pub fn batch(rows: &[Value]) -> RecordBatch {
    let names: BTreeSet<&String> = rows.iter().flat_map(|r| r.as_object().unwrap().keys()).collect();
    let mut columns: Vec<(String, ArrayRef, bool)> =
        vec![("row".to_owned(), Arc::new(StringArray::from(vec!["x"; rows.len()])), true)];
    for name in names {
        let values: Vec<&Value> = rows.iter().map(|r| &r[name]).collect();
        let array: ArrayRef = if values.iter().all(|v| v.is_null() || v.is_i64()) {
            Arc::new(values.iter().map(|v| v.as_i64()).collect::<Int64Array>())
        } else {
            Arc::new(values.iter().map(|v| v.as_str()).collect::<StringArray>())
        };
        columns.push((name.clone(), array, true));
    }
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

pub fn options() -> Options {
    let mut options = Options::default();
    options.placeholders.insert("servers".to_owned(), vec!["srv1".to_owned(), "srv2".to_owned()]);
    options
}

pub fn engine(texts: &[&str]) -> Engine {
    let (rules, _) = RuleSet::load(texts.iter().map(|t| ("test", *t)), &options());
    let map = IdentityMap { keyword_columns: ["f", "g", "h"].map(str::to_owned).to_vec(), by_category: false };
    Engine::compile(Arc::new(rules), Arc::new(map))
}

/// One search, as YAML, on rows: `1` for each row it holds on; blanks do not matter.
pub fn check(search: &str, rows: &str, expected: &str) {
    let search = if search.starts_with(['{', '[']) { search.to_owned() } else { format!("\n        {search}") };
    check_detection(
        &format!("s: {search}\n    condition: s").replace("\n    condition", "\ncondition"),
        rows,
        expected,
    );
}

pub fn check_detection(detection: &str, rows: &str, expected: &str) {
    let body: String = detection.lines().map(|line| format!("    {line}\n")).collect();
    let rule = format!("title: t\nid: r\nlogsource: {{category: c}}\ndetection:\n{body}");
    let engine = engine(&[&rule]);
    for (index, _) in engine.rules().iter() {
        assert!(engine.is_usable(index), "{rule}\n{:?}", engine.diagnostics(index));
    }
    let rows: Vec<Value> = serde_json::from_str(rows).unwrap();
    let expected: String = expected.chars().filter(|c| !c.is_whitespace()).collect();
    assert_eq!(expected.len(), rows.len(), "{detection}");
    let whole = batch(&rows);
    let (mut scratch, mut matches) = (Scratch::new(), Matches::new());
    let mut verdicts = |batch: &RecordBatch| -> String {
        engine.evaluate(&mut scratch, "events", None, batch, &mut matches);
        (0..batch.num_rows())
            .map(|row| if matches.hits().iter().any(|h| h.row as usize == row) { '1' } else { '0' })
            .collect()
    };
    assert_eq!(verdicts(&whole), expected, "{rule}");
    // Cut into single rows, and with dictionaries, the verdicts stay.
    let single: String = (0..whole.num_rows()).map(|row| verdicts(&whole.slice(row, 1))).collect();
    assert_eq!(single, expected, "row by row: {rule}");
    let schema = whole.schema();
    let coded = whole.columns().iter().zip(schema.fields()).map(|(array, field)| {
        let array = if array.as_any().is::<StringArray>() {
            let kind = arrow::datatypes::DataType::Dictionary(
                Box::new(arrow::datatypes::DataType::Int32),
                Box::new(arrow::datatypes::DataType::Utf8),
            );
            arrow::compute::cast(array, &kind).unwrap()
        } else {
            Arc::clone(array)
        };
        (field.name().clone(), array, true)
    });
    let coded = RecordBatch::try_from_iter_with_nullable(coded).unwrap();
    assert_eq!(verdicts(&coded), expected, "with dictionaries: {rule}");
}

/// The rule has a diagnostic with this number.
pub fn check_codes(rule: &str, code: &str) {
    let engine = engine(&[rule]);
    let all: Vec<_> = engine.rules().iter().flat_map(|(index, _)| engine.diagnostics(index)).collect();
    assert!(all.iter().any(|d| d.code.as_str() == code), "expected {code}, got {all:#?} for {rule}");
}
