//! Arbitrary text as a rule: it is read, compiled and run on one row, and never panics.
#![no_main]

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use garrison_sigma::{Engine, HuntingMap, Matches, Options, RuleSet, Scratch};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|text: &str| {
    let (rules, _) = RuleSet::load([("fuzz", text)], &Options::default());
    let engine = Engine::compile(Arc::new(rules), Arc::new(HuntingMap));
    let column = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let columns = [("ActionType", "ProcessCreated"), ("FolderPath", "/bin/sh"), ("ProcessCommandLine", text)];
    let Ok(batch) = RecordBatch::try_from_iter(columns.map(|(name, value)| (name, column(value)))) else { return };
    let (mut scratch, mut matches) = (Scratch::new(), Matches::new());
    engine.evaluate(&mut scratch, "DeviceProcessEvents", None, &batch, &mut matches);
    for hit in matches.hits() {
        let _ = engine.explain(hit.rule, "DeviceProcessEvents", &batch, 0);
    }
});
