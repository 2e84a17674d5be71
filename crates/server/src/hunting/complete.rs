//! What may come next in a query that is being written: the language's own answer, with places as editors count them.

use super::catalog::TenantCatalog;
use garrison_kql as kql;
use utoipa::ToSchema;

/// Suggestions of one answer; more is no help.
const ITEMS_MAX: usize = 200;

/// A suggestion.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, ToSchema)]
pub struct Suggestion {
    /// What is shown.
    pub label: String,
    /// What is put in.
    pub insert: String,
    /// `operator`, `table`, `column`, `variable`, `function`, `aggregate`, `value` or `keyword`.
    pub kind: &'static str,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Suggestions and what they replace, in UTF-16 code units.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, ToSchema)]
pub struct Completion {
    /// Beginning of what is replaced.
    pub from: usize,
    /// End of it: the place that was asked about.
    pub to: usize,
    /// Suggestions, the likeliest first.
    pub items: Vec<Suggestion>,
}

const fn word(kind: kql::CompletionKind) -> &'static str {
    use kql::CompletionKind as K;
    match kind {
        K::Column => "column",
        K::Variable => "variable",
        K::Table => "table",
        K::Operator => "operator",
        K::Keyword => "keyword",
        K::Function => "function",
        K::Aggregate => "aggregate",
        K::Value => "value",
    }
}

/// What may come at a place.
#[must_use]
pub fn complete(text: &str, position: usize, catalog: &TenantCatalog) -> Completion {
    let offset = offset(text, position);
    let units = |end: usize| text.get(..end).unwrap_or(text).encode_utf16().count();
    let found = kql::complete(text, offset, catalog);
    let from = found.first().map_or(offset, |first| first.replace.start);
    let items = found.into_iter().take(ITEMS_MAX).map(|item| {
        let doc = || garrison_telemetry::table(&item.label).map(|table| table.doc.to_owned());
        let detail = item.detail.clone().or_else(|| (item.kind == kql::CompletionKind::Table).then(doc).flatten());
        Suggestion { kind: word(item.kind), label: item.label, insert: item.insert, detail }
    });
    Completion { from: units(from), to: units(offset), items: items.collect() }
}

/// The byte at a place in UTF-16 code units.
fn offset(text: &str, position: usize) -> usize {
    let mut units = 0;
    for (at, c) in text.char_indices() {
        if units >= position {
            return at;
        }
        units += c.len_utf16();
    }
    text.len()
}
