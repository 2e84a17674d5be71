//! Arbitrary text as a hunting query: it is read, laid out, completed and analysed, and never panics.
#![no_main]

use garrison_kql::{Catalog, Column, Context, TableShape, Type, analyze, complete, syntax};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

/// Tables without rows: nothing is run. Those of devices are there so that the library's queries, which the texts are made
/// from, pass the binder.
struct Tables;

/// Columns of text of every table.
const TEXTS: &[&str] = &[
    "a",
    "AccountName",
    "ActionType",
    "DeviceId",
    "DeviceName",
    "FileName",
    "FolderPath",
    "InitiatingProcessAccountName",
    "InitiatingProcessCommandLine",
    "InitiatingProcessFileName",
    "InitiatingProcessFolderPath",
    "InitiatingProcessParentFileName",
    "LogonType",
    "ProcessCommandLine",
    "RemoteIP",
    "RemoteUrl",
    "SHA256",
];
/// Columns of numbers, then of other types.
const LONGS: &[&str] =
    &["n", "ProcessId", "InitiatingProcessId", "InitiatingProcessParentId", "RemotePort", "ReportId"];
const OTHERS: &[(&str, Type)] = &[
    ("t", Type::Datetime),
    ("Timestamp", Type::Datetime),
    ("ProcessCreationTime", Type::Datetime),
    ("d", Type::Dynamic),
    ("AdditionalFields", Type::Dynamic),
];
const NAMES: &[&str] =
    &["T", "DeviceProcessEvents", "DeviceNetworkEvents", "DeviceFileEvents", "DeviceLogonEvents", "DeviceEvents"];

impl Catalog for Tables {
    fn names(&self) -> Vec<String> {
        NAMES.iter().map(ToString::to_string).collect()
    }

    fn shape(&self, table: &str) -> Option<Arc<TableShape>> {
        let texts = TEXTS.iter().map(|name| (*name, Type::Text));
        let columns = texts.chain(LONGS.iter().map(|name| (*name, Type::Long))).chain(OTHERS.iter().copied());
        let columns = columns.map(|(name, kind)| Column::new(name, kind)).collect();
        NAMES.contains(&table).then(|| Arc::new(TableShape { name: table.to_owned(), columns }))
    }

    fn provider(&self, _table: &str) -> Option<Arc<dyn datafusion::catalog::TableProvider>> {
        None
    }
}

fuzz_target!(|text: &str| {
    let parsed = syntax::parse(text);
    let covered: usize = parsed.tokens.iter().map(|t| t.span.len()).sum();
    assert_eq!(covered, text.len(), "tokens cover every byte");
    let once = syntax::format(text);
    assert_eq!(syntax::format(&once), once, "laid out twice");
    let _ = complete(text, text.len() / 2, &Tables);
    let _ = analyze(text, &Tables, &Context::at(0));
});
