//! What may come next in a query that is being written. The text is broken most of the time, so this looks at words,
//! not at a tree: what stands before the place says whether an operator, a table or a column is wanted.

use super::catalog::TenantCatalog;
use garrison_kql::{self as kql, Catalog as _, Column};
use utoipa::ToSchema;

/// Suggestions of one answer; more is no help.
const ITEMS_MAX: usize = 200;

/// Operators that may follow a bar.
pub const OPERATORS: &[&str] = &[
    "as",
    "consume",
    "count",
    "distinct",
    "evaluate",
    "extend",
    "fork",
    "getschema",
    "invoke",
    "join",
    "limit",
    "lookup",
    "make-series",
    "mv-apply",
    "mv-expand",
    "order by",
    "parse",
    "parse-kv",
    "parse-where",
    "partition",
    "project",
    "project-away",
    "project-keep",
    "project-rename",
    "project-reorder",
    "render",
    "sample",
    "sample-distinct",
    "scan",
    "search",
    "serialize",
    "sort by",
    "summarize",
    "take",
    "top",
    "top-nested",
    "union",
    "where",
];

/// What may follow values inside an operator.
const WORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "by",
    "on",
    "asc",
    "desc",
    "has",
    "!has",
    "has_any",
    "has_all",
    "has_cs",
    "contains",
    "!contains",
    "contains_cs",
    "startswith",
    "!startswith",
    "endswith",
    "!endswith",
    "in",
    "!in",
    "in~",
    "!in~",
    "between",
    "matches regex",
    "kind=inner",
    "kind=leftouter",
    "kind=leftanti",
    "kind=leftsemi",
    "true",
    "false",
    "dynamic",
];

/// A suggestion.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, ToSchema)]
pub struct Suggestion {
    /// What is shown.
    pub label: String,
    /// What is put in.
    pub insert: String,
    /// `operator`, `table`, `column`, `function` or `keyword`.
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

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '!' | '~')
}

fn suggestion(label: &str, insert: String, kind: &'static str, detail: Option<String>) -> Suggestion {
    Suggestion { label: label.to_owned(), insert, kind, detail }
}

/// What may come at a place.
#[must_use]
pub fn complete(text: &str, position: usize, catalog: &TenantCatalog) -> Completion {
    let before = cut(text, position);
    let word: String = before.chars().rev().take_while(|c| is_word(*c)).collect::<Vec<_>>().into_iter().rev().collect();
    let head = before.strip_suffix(word.as_str()).unwrap_or(before);
    let mut items = Vec::new();
    let last = head.trim_end().chars().next_back();
    if last == Some('|') {
        items.extend(OPERATORS.iter().map(|name| suggestion(name, format!("{name} "), "operator", None)));
    } else {
        let statement = head.rsplit(';').next().unwrap_or(head);
        let wants_table = statement.trim().is_empty()
            || matches!(last, Some('(' | '=' | ';'))
            || statement.trim_end().ends_with("union")
            || statement.trim_end().ends_with("in");
        if !wants_table || last == Some('(') {
            items.extend(columns(text, catalog).into_iter().map(|column| {
                let kind = column.kind.name().to_owned();
                suggestion(&column.name, column.name.clone(), "column", Some(kind))
            }));
        }
        if wants_table {
            items.extend(catalog.names().into_iter().map(|name| {
                let doc = garrison_telemetry::table(&name).map(|table| table.doc.to_owned());
                suggestion(&name, name.clone(), "table", doc)
            }));
        }
        items.extend(kql::functions::capabilities().into_iter().map(|function| {
            suggestion(function.name, format!("{}(", function.name), "function", Some(function.signature))
        }));
        items.extend(WORDS.iter().map(|word| suggestion(word, (*word).to_owned(), "keyword", None)));
    }
    let wanted = word.to_lowercase();
    items.retain(|item| item.label.to_lowercase().contains(&wanted));
    // Those that begin with what was typed come first.
    items.sort_by_key(|item| !item.label.to_lowercase().starts_with(&wanted));
    items.truncate(ITEMS_MAX);
    let to = before.encode_utf16().count();
    Completion { from: to - word.encode_utf16().count(), to, items }
}

/// The text before a place in UTF-16 code units.
fn cut(text: &str, position: usize) -> &str {
    let mut units = 0;
    for (at, c) in text.char_indices() {
        if units >= position {
            return text.get(..at).unwrap_or(text);
        }
        units += c.len_utf16();
    }
    text
}

/// Columns of all tables that the text names, each once.
fn columns(text: &str, catalog: &TenantCatalog) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for word in text.split(|c: char| !is_word(c)) {
        let Some(shape) = catalog.shape(word) else { continue };
        for column in &shape.columns {
            if seen.insert(column.name.clone()) {
                columns.push(column.clone());
            }
        }
    }
    columns
}
