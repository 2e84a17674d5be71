//! Routes of the audit log.

use super::Api;
use super::cursor::Cursor;
use super::extract::{Query, limit};
use super::problem::{ApiError, Kind};
use crate::access::audit::chain::SignedHead;
use crate::access::audit::{AuditFilter, AuditLine, ProvedPart};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use garrison_model::{Page, Problem};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Entries of one part of an export: some megabytes.
const EXPORT_MAX: i64 = 5_000;

/// Entries that one request proves: a second of work.
const PROVE_MAX: i64 = 20_000;

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Name of the user or token.
    who: Option<String>,
    /// `Read`, `Change`, `SignIn` or `Refused`.
    kind: Option<String>,
    /// The action that was needed.
    action: Option<String>,
    /// On what, such as `incidents/12`.
    target: Option<String>,
    /// Not before, RFC 3339 or `24h`.
    from: Option<String>,
    /// Before, RFC 3339.
    to: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// Which part.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// Number of the last entry that is there already; 0 unless given.
    after: Option<i64>,
}

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(audit_list))
        .routes(routes!(audit_head))
        .routes(routes!(audit_export))
        .routes(routes!(audit_verify))
}

fn moment(text: Option<&str>, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(None) };
    let at = crate::incidents::list::since(text, crate::now().0);
    at.map(Some).ok_or_else(|| ApiError::with(Kind::BadQuery, format!("{name} is not a time")))
}

/// Entries of the audit log, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Page<AuditLine>), (status = 400, body = Problem)))]
pub async fn audit_list(
    State(api): State<Api>,
    Query(q): Query<AuditQuery>,
) -> Result<Json<Page<AuditLine>>, ApiError> {
    let limit = limit(q.limit)?;
    let before = match q.cursor.as_deref().filter(|c| !c.is_empty()) {
        Some(text) => {
            let cursor = Cursor::decode("audit", text).and_then(|c| c.number());
            Some(cursor.ok_or_else(|| ApiError::new(Kind::BadCursor))?)
        }
        None => None,
    };
    let given = |text: Option<String>| text.filter(|t| !t.is_empty());
    let filter = AuditFilter {
        who: given(q.who),
        kind: given(q.kind),
        action: given(q.action),
        target: given(q.target),
        from: moment(q.from.as_deref(), "from")?,
        to: moment(q.to.as_deref(), "to")?,
        before,
        limit: limit + 1,
    };
    let mut items = api.shared.access.audit().list(&filter).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    crate::access::audit::count(items.len());
    let next_cursor = items
        .last()
        .filter(|_| more)
        .map(|last| Cursor { key: last.entry.seq.to_string(), id: String::new() }.encode("audit"));
    Ok(Json(Page { items, next_cursor, total: None }))
}

/// Number and hash of the last entry, signed. Keep it elsewhere: it proves later that nothing was cut off.
#[utoipa::path(get, path = "/audit/head", tag = "audit", responses((status = 200, body = SignedHead)))]
pub async fn audit_head(State(api): State<Api>) -> Result<Json<SignedHead>, ApiError> {
    Ok(Json(api.shared.access.audit().head(crate::now()).await?))
}

/// The next 5,000 entries after a number, oldest first, a line each; nothing where there are no more.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(ExportQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = String)))]
pub async fn audit_export(State(api): State<Api>, Query(q): Query<ExportQuery>) -> Result<Response, ApiError> {
    let lines = api.shared.access.audit().export(q.after.unwrap_or(0).max(0), EXPORT_MAX).await?;
    crate::access::audit::count(lines.len());
    let text = lines.into_iter().map(|line| line + "\n").collect::<String>();
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}

/// Proves the next 20,000 entries after a number: that none was changed, and that none is missing between them. What
/// was cut off at the end shows only against a head that was kept elsewhere.
#[utoipa::path(get, path = "/audit/verify", tag = "audit", params(ExportQuery),
    responses((status = 200, body = ProvedPart)))]
pub async fn audit_verify(State(api): State<Api>, Query(q): Query<ExportQuery>) -> Result<Json<ProvedPart>, ApiError> {
    Ok(Json(api.shared.access.audit().prove(q.after.unwrap_or(0).max(0), PROVE_MAX).await?))
}
