//! Pages of long lists.

use serde::{Deserialize, Serialize};

/// One page of a list. `next_cursor` is absent on the last page; hand it back to read on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many there are in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// What a failed request answers, with HTTP status, after RFC 9457 (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Stable code, such as `determination_does_not_fit`.
    pub code: String,
    /// One sentence.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with a query's text, and where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<QueryDiagnostic>,
}

/// A finding about a query's text. Lines and columns count from 1, columns in characters; `start` and `end` count UTF-16
/// code units from 0, as editors do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct QueryDiagnostic {
    /// Number, such as `KS142`.
    pub code: String,
    /// `error`, `warning` or `information`.
    pub severity: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Line that it begins in.
    pub line: usize,
    /// Column that it begins at.
    pub column: usize,
    /// Line that it ends in.
    pub end_line: usize,
    /// Column after its end.
    pub end_column: usize,
    /// Offset of its beginning.
    pub start: usize,
    /// Offset after its end.
    pub end: usize,
}
