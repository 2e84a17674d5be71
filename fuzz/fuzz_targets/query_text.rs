//! Arbitrary text as a hunting query: it is read, laid out, completed and analysed, and never panics.
#![no_main]

use garrison_kql::{Catalog, Column, Context, TableShape, Type, analyze, complete, syntax};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

/// One table without rows: nothing is run.
struct Tables;

impl Catalog for Tables {
    fn names(&self) -> Vec<String> {
        vec!["T".to_owned()]
    }

    fn shape(&self, table: &str) -> Option<Arc<TableShape>> {
        let columns = [("a", Type::Text), ("n", Type::Long), ("t", Type::Datetime), ("d", Type::Dynamic)];
        let columns = columns.into_iter().map(|(name, kind)| Column::new(name, kind)).collect();
        (table == "T").then(|| Arc::new(TableShape { name: "T".to_owned(), columns }))
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
