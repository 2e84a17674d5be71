//! Routes of hunting.

use super::Api;
use super::auth::cookie;
use super::cursor::Cursor;
use super::extract::{Body, Query, limit};
use super::problem::{ApiError, Kind};
use super::status::SchemaView;
use crate::access::Sees;
use crate::hunting::answer::{Rows, keys};
use crate::hunting::complete::{Completion, complete};
use crate::hunting::export::{self, Format};
use crate::hunting::library::{LibraryQuery, library};
use crate::hunting::store::{HistoryView, QueryDraft, SavedQuery};
use crate::hunting::{
    Answer, Caller, Completeness, DAYS_DEFAULT, HuntError, HuntRequest, Interface, Progress, Resources, timespan,
};
use crate::identity::Principal;
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use garrison_kql::{Diagnostic, Severity};
use garrison_model::{Page, Problem, QueryDiagnostic, Role};
use serde::{Deserialize, Serialize};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Parts of an export between the engine and the connection.
const PARTS_READY: usize = 4;

/// What to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunBody {
    /// The query.
    query: String,
    /// ISO 8601: a duration back from now, or an interval.
    #[serde(default)]
    timespan: Option<String>,
    /// Id of the caller's choice, for progress and cancelling.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    id: Option<Uuid>,
    /// Rows at most.
    #[serde(default)]
    rows_max: Option<usize>,
}

/// A query's text.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextBody {
    /// The query.
    query: String,
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct HuntAnswer {
    /// Id of the run.
    #[schema(value_type = String)]
    id: Uuid,
    /// Columns in order.
    columns: Vec<HuntColumn>,
    /// Rows, each an array in the order of the columns.
    #[schema(value_type = Vec<Vec<Object>>)]
    rows: (),
    /// How it wants to be drawn.
    render: Option<HuntRender>,
    /// Warnings.
    diagnostics: Vec<QueryDiagnostic>,
    /// What the rows may lack.
    completeness: Completeness,
    /// What they cost.
    resources: Resources,
}

/// A column of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HuntColumn {
    /// Name.
    name: String,
    /// Type, in the language's words.
    #[serde(rename = "type")]
    kind: &'static str,
}

/// How an answer wants to be drawn.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HuntRender {
    /// Kind of chart.
    kind: String,
    /// Properties, in the order written.
    properties: Vec<(String, String)>,
}

/// A table that a query reads.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HuntTable {
    /// Name.
    table: String,
    /// Least time that the text asks for, RFC 3339.
    from: Option<String>,
    /// Greatest.
    to: Option<String>,
}

/// What can be said of a query without running it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Validated {
    /// Whether it runs.
    valid: bool,
    /// Findings.
    diagnostics: Vec<QueryDiagnostic>,
    /// Columns, where they are known.
    columns: Option<Vec<HuntColumn>>,
    /// How it wants to be drawn.
    render: Option<HuntRender>,
    /// Tables that it reads.
    tables: Vec<HuntTable>,
}

/// A list without pages.
#[derive(Debug, Serialize, ToSchema)]
pub struct Items<T> {
    items: Vec<T>,
}

/// A place in a query's text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceBody {
    /// The query.
    query: String,
    /// Offset in UTF-16 code units.
    position: usize,
}

/// What this server runs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Operators that may follow a bar.
    operators: &'static [&'static str],
    /// Scalar, aggregate and window functions.
    #[schema(value_type = Vec<Object>)]
    functions: Vec<garrison_kql::functions::Capability>,
    /// Limits.
    limits: HuntLimits,
    /// Whether `externaldata` may read anything.
    externaldata: bool,
}

/// Limits of queries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HuntLimits {
    /// Rows of an answer in the console.
    rows_max_console: usize,
    /// Rows of an answer for programs.
    rows_max_api: usize,
    /// Bytes of an answer.
    result_bytes_max: usize,
    /// Bytes of a query.
    query_bytes_max: usize,
    /// Seconds of a query in the console.
    seconds_max_console: u64,
    /// Seconds of a query of a program.
    seconds_max_api: u64,
    /// Queries of one user in a minute.
    calls_per_minute: u32,
    /// Queries of one user in an hour.
    calls_per_hour: u32,
    /// Queries of one user at once.
    concurrent: u32,
    /// Days that a query reads when nothing bounds its time.
    days_default: i64,
}

/// Kind of file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// `csv`, `json`, `ndjson` or `parquet`.
    format: String,
}

/// Which part of the history.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Everybody's, for administrators.
    #[serde(default)]
    all: bool,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// The caller of a request: sessions are the console's.
pub(super) fn caller(api: &Api, who: &Principal, sees: &Sees, headers: &HeaderMap, other: Interface) -> Caller {
    let session = headers.get(header::AUTHORIZATION).is_none() && cookie(headers).is_some();
    let interface = if session && other == Interface::Api { Interface::Console } else { other };
    Caller::new(&api.shared.tenant, &who.name, interface).seeing(sees)
}

/// Findings with their places.
pub(super) fn diagnostics(text: &str, found: &[Diagnostic]) -> Vec<QueryDiagnostic> {
    let utf16 = |at: usize| text.get(..at.min(text.len())).unwrap_or(text).encode_utf16().count();
    let mut all: Vec<&Diagnostic> = found.iter().collect();
    all.sort_by_key(|d| d.span.start);
    all.iter()
        .map(|d| {
            let (line, column) = d.place(text);
            let end = Diagnostic { span: garrison_kql::Span::new(d.span.end, d.span.end), ..(*d).clone() };
            let (end_line, end_column) = end.place(text);
            QueryDiagnostic {
                code: d.code.to_owned(),
                severity: match d.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                    Severity::Information => "information",
                }
                .to_owned(),
                message: d.message.clone(),
                hint: d.hint.clone(),
                line,
                column,
                end_line,
                end_column,
                start: utf16(d.span.start),
                end: utf16(d.span.end),
            }
        })
        .collect()
}

/// A failed query as a problem of the one table.
pub(super) fn problem(text: &str, error: HuntError) -> ApiError {
    let words = error.to_string();
    match error {
        HuntError::Text(found) => ApiError::with(Kind::QueryNotValid, words).diagnostics(diagnostics(text, &found)),
        HuntError::QueryEmpty | HuntError::QueryTooLong { .. } => ApiError::with(Kind::QueryNotValid, words),
        HuntError::Timespan(_) => ApiError::with(Kind::Timespan, words),
        HuntError::Quota { retry_after_seconds, .. } => {
            ApiError::with(Kind::Quota, words).retry_after(retry_after_seconds)
        }
        HuntError::IdTaken(_) | HuntError::QueryExists(_) => ApiError::with(Kind::Conflict, words),
        HuntError::Cancelled => ApiError::with(Kind::QueryCancelled, words),
        HuntError::TimedOut { .. } => ApiError::with(Kind::QueryTimeout, words),
        HuntError::Memory { .. } => ApiError::with(Kind::QueryMemory, words),
        HuntError::ResultTooLarge { .. } => ApiError::with(Kind::ResultTooLarge, words),
        HuntError::Run(_) => ApiError::with(Kind::QueryFailed, words),
        HuntError::Unreachable(_) => ApiError::with(Kind::QueryUnreachable, words),
        HuntError::TenantUnknown | HuntError::QueryUnknown => ApiError::with(Kind::NotFound, words),
        HuntError::NotOwner => ApiError::with(Kind::Forbidden, words),
        HuntError::Invalid(_) => ApiError::with(Kind::Invalid, words),
        HuntError::Db(_) | HuntError::Lake(_) | HuntError::Engine { .. } | HuntError::Task => {
            ApiError::internal(&error)
        }
    }
}

fn plain(error: HuntError) -> ApiError {
    problem("", error)
}

/// The room's request of a body.
pub(super) fn request(text: &str, span: Option<&str>) -> Result<HuntRequest, HuntError> {
    let range =
        span.filter(|span| !span.trim().is_empty()).map(|span| timespan::parse(span, crate::now())).transpose()?;
    Ok(HuntRequest { text: text.to_owned(), range, ..HuntRequest::default() })
}

fn columns(found: &[garrison_kql::Column]) -> Vec<HuntColumn> {
    found.iter().map(|c| HuntColumn { name: c.name.clone(), kind: c.kind.name() }).collect()
}

fn render(found: Option<garrison_kql::Render>) -> Option<HuntRender> {
    found.map(|render| HuntRender { kind: render.kind, properties: render.properties })
}

/// The answer as JSON, its rows written without a tree of values in between.
fn written(text: &str, answer: &Answer) -> Result<Vec<u8>, HuntError> {
    let engine =
        |source: arrow::error::ArrowError| HuntError::Engine { step: "write the rows of", source: source.into() };
    let mut out = Vec::with_capacity(1 << 16);
    let part = |out: &mut Vec<u8>, key: &str, value: &dyn erased::Json| {
        out.extend_from_slice(key.as_bytes());
        value.write(out);
    };
    part(&mut out, "{\"id\":", &answer.id);
    part(&mut out, ",\"columns\":", &columns(&answer.columns));
    out.extend_from_slice(b",\"rows\":[");
    let mut first = true;
    for batch in &answer.batches {
        let rows = Rows::new(batch, &answer.columns).map_err(engine)?;
        for row in 0..rows.len() {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            rows.write_array(row, &mut out);
        }
    }
    part(&mut out, "],\"render\":", &render(answer.render.clone()));
    part(&mut out, ",\"diagnostics\":", &diagnostics(text, &answer.diagnostics));
    part(&mut out, ",\"completeness\":", &answer.completeness);
    part(&mut out, ",\"resources\":", &answer.resources);
    out.push(b'}');
    Ok(out)
}

/// Serialising into memory behind a trait object.
mod erased {
    /// A value that writes itself as JSON.
    pub(super) trait Json {
        fn write(&self, out: &mut Vec<u8>);
    }
    impl<T: serde::Serialize> Json for T {
        fn write(&self, out: &mut Vec<u8>) {
            // Only a failing writer, or a map with odd keys, makes this fail; there are none.
            let _ = serde_json::to_writer(out, self);
        }
    }
}

/// Rows of an answer as objects, for the paths that existing scripts use.
pub(super) fn objects(answer: &Answer) -> Result<Vec<u8>, HuntError> {
    let engine =
        |source: arrow::error::ArrowError| HuntError::Engine { step: "write the rows of", source: source.into() };
    let names = keys(&answer.columns);
    let mut out = vec![b'['];
    for batch in &answer.batches {
        let rows = Rows::new(batch, &answer.columns).map_err(engine)?;
        for row in 0..rows.len() {
            if out.len() > 1 {
                out.push(b',');
            }
            rows.write_object(row, &names, &mut out);
        }
    }
    out.push(b']');
    Ok(out)
}

/// Runs a query and waits for its answer. A client that goes away cancels it.
#[utoipa::path(post, path = "/hunting/run", tag = "hunting", request_body = RunBody,
    responses((status = 200, body = HuntAnswer), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 429, body = Problem), (status = 504, body = Problem)))]
pub async fn hunting_run(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(sees): Extension<Sees>,
    headers: HeaderMap,
    Body(body): Body<RunBody>,
) -> Result<Response, ApiError> {
    let caller = caller(&api, &who, &sees, &headers, Interface::Api);
    let failed = |error| problem(&body.query, error);
    let wanted = request(&body.query, body.timespan.as_deref()).map_err(failed)?;
    let wanted = HuntRequest { id: body.id, rows_max: body.rows_max, ..wanted };
    let answer = api.hunting.run(wanted, &caller).await.map_err(failed)?;
    crate::access::audit::count(answer.row_count());
    let text = body.query.clone();
    let bytes = tokio::task::spawn_blocking(move || written(&text, &answer)).await;
    let bytes = bytes.map_err(|_| failed(HuntError::Task))?.map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// Runs a query and sends all of its rows as a file.
#[utoipa::path(post, path = "/hunting/export", tag = "hunting", params(ExportQuery), request_body = RunBody,
    responses((status = 200, description = "the file"), (status = 400, body = Problem), (status = 429, body = Problem)))]
pub async fn hunting_export(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(sees): Extension<Sees>,
    Query(kind): Query<ExportQuery>,
    Body(body): Body<RunBody>,
) -> Result<Response, ApiError> {
    let format = Format::parse(&kind.format)
        .ok_or_else(|| ApiError::with(Kind::BadQuery, "format must be csv, json, ndjson or parquet"))?;
    // Whoever exports wants all rows: the cap of programs holds, whoever asks.
    let caller = Caller::new(&api.shared.tenant, &who.name, Interface::Api).seeing(&sees);
    let failed = |error| problem(&body.query, error);
    let wanted = request(&body.query, body.timespan.as_deref()).map_err(failed)?;
    let wanted = HuntRequest { id: body.id, rows_max: body.rows_max, ..wanted };
    let hunt = api.hunting.open(wanted, &caller).await.map_err(failed)?;
    let (media, ending) = format.names();
    let id = hunt.id;
    let (sender, parts) = tokio::sync::mpsc::channel(PARTS_READY);
    tokio::spawn(export::write(hunt, format, sender));
    let file = format!("attachment; filename=\"hunt-{id}.{ending}\"");
    let head = [(header::CONTENT_TYPE, media.to_owned()), (header::CONTENT_DISPOSITION, file)];
    Ok((head, HttpBody::from_stream(ReceiverStream::new(parts))).into_response())
}

/// Queries of the caller that run now.
#[utoipa::path(get, path = "/hunting/runs", tag = "hunting", responses((status = 200, body = Items<Progress>)))]
pub async fn hunting_run_list(State(api): State<Api>, Extension(who): Extension<Principal>) -> Json<Items<Progress>> {
    let caller = Caller::new(&api.shared.tenant, &who.name, Interface::Api);
    Json(Items { items: api.hunting.progress_list(&caller) })
}

/// Progress of one query.
#[utoipa::path(get, path = "/hunting/runs/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 200, body = Progress), (status = 404, body = Problem)))]
pub async fn hunting_run_get(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Progress>, ApiError> {
    let caller = Caller::new(&api.shared.tenant, &who.name, Interface::Api);
    let found = id.parse().ok().and_then(|id| api.hunting.progress(&caller, id));
    found.map(Json).ok_or_else(|| ApiError::with(Kind::NotFound, "no query of yours runs under this id"))
}

/// Cancels a query.
#[utoipa::path(delete, path = "/hunting/runs/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn hunting_run_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let caller = Caller::new(&api.shared.tenant, &who.name, Interface::Api);
    if id.parse().is_ok_and(|id| api.hunting.cancel(&caller, id)) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::with(Kind::NotFound, "no query of yours runs under this id"))
    }
}

/// Says what is wrong with a query, and what its answer looks like. Runs nothing.
#[utoipa::path(post, path = "/hunting/validate", tag = "hunting", request_body = TextBody,
    responses((status = 200, body = Validated), (status = 400, body = Problem)))]
pub async fn hunting_validate(State(api): State<Api>, Body(body): Body<TextBody>) -> Result<Json<Validated>, ApiError> {
    let analysis = api.hunting.analyze(&body.query, &api.shared.tenant).map_err(|e| problem(&body.query, e))?;
    let time = |at: Option<i64>| at.map(|at| crate::shared::rfc3339(garrison_model::Micros(at)));
    Ok(Json(Validated {
        valid: analysis.diagnostics.iter().all(|d| d.severity != Severity::Error),
        diagnostics: diagnostics(&body.query, &analysis.diagnostics),
        columns: analysis.columns.as_deref().map(columns),
        render: render(analysis.render),
        tables: analysis
            .tables
            .into_iter()
            .map(|used| HuntTable { from: time(used.from), to: time(used.to), table: used.table })
            .collect(),
    }))
}

/// What may come next at a place of a query.
#[utoipa::path(post, path = "/hunting/complete", tag = "hunting", request_body = PlaceBody,
    responses((status = 200, body = Completion), (status = 400, body = Problem)))]
pub async fn hunting_complete(
    State(api): State<Api>,
    Body(body): Body<PlaceBody>,
) -> Result<Json<Completion>, ApiError> {
    if body.query.len() > api.hunting.settings().query_bytes_max {
        return Err(ApiError::with(Kind::QueryNotValid, "the query is too long"));
    }
    let catalog = api.hunting.catalog(&api.shared.tenant).map_err(plain)?;
    Ok(Json(complete(&body.query, body.position, &catalog)))
}

/// Lays a query out.
#[utoipa::path(post, path = "/hunting/format", tag = "hunting", request_body = TextBody,
    responses((status = 200, body = TextBody), (status = 400, body = Problem)))]
pub async fn hunting_format(State(api): State<Api>, Body(body): Body<TextBody>) -> Result<Json<TextBody>, ApiError> {
    if body.query.len() > api.hunting.settings().query_bytes_max {
        return Err(ApiError::with(Kind::QueryNotValid, "the query is too long"));
    }
    Ok(Json(TextBody { query: garrison_kql::syntax::format(&body.query) }))
}

/// What this server runs, and its limits.
#[utoipa::path(get, path = "/hunting/capabilities", tag = "hunting", responses((status = 200, body = Capabilities)))]
pub async fn hunting_capabilities(State(api): State<Api>) -> Json<Capabilities> {
    let h = api.hunting.settings();
    Json(Capabilities {
        operators: garrison_kql::OPERATORS,
        functions: garrison_kql::functions::capabilities(),
        limits: HuntLimits {
            rows_max_console: h.rows_max_console,
            rows_max_api: h.rows_max_api,
            result_bytes_max: h.result_bytes_max,
            query_bytes_max: h.query_bytes_max,
            seconds_max_console: h.seconds_max_console,
            seconds_max_api: h.seconds_max_api,
            calls_per_minute: h.user.calls_per_minute,
            calls_per_hour: h.user.calls_per_hour,
            concurrent: h.user.concurrent,
            days_default: DAYS_DEFAULT,
        },
        externaldata: !h.external.hosts.is_empty(),
    })
}

/// The hunting tables, also those that are empty because their feature is not built.
#[utoipa::path(get, path = "/hunting/schema", tag = "hunting", responses((status = 200, body = SchemaView)))]
pub async fn hunting_schema() -> Json<SchemaView> {
    super::status::schema_get().await
}

/// Saved queries: the caller's and the shared ones.
#[utoipa::path(get, path = "/hunting/queries", tag = "hunting", responses((status = 200, body = Items<SavedQuery>)))]
pub async fn hunting_query_list(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
) -> Result<Json<Items<SavedQuery>>, ApiError> {
    let items = api.hunting.query_list(&api.shared.tenant, &who.name).await.map_err(plain)?;
    Ok(Json(Items { items }))
}

fn may_share(draft: &QueryDraft, who: &Principal) -> Result<(), ApiError> {
    if draft.shared && who.role < Role::Analyst {
        return Err(ApiError::with(Kind::Forbidden, "sharing a query needs the role analyst"));
    }
    Ok(())
}

/// Saves a query.
#[utoipa::path(post, path = "/hunting/queries", tag = "hunting", request_body = QueryDraft,
    responses((status = 201, body = SavedQuery), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn hunting_query_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(draft): Body<QueryDraft>,
) -> Result<(StatusCode, Json<SavedQuery>), ApiError> {
    may_share(&draft, &who)?;
    let saved = api.hunting.query_create(&api.shared.tenant, &who.name, draft, crate::now()).await.map_err(plain)?;
    Ok((StatusCode::CREATED, Json(saved)))
}

fn query_id(id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| plain(HuntError::QueryUnknown))
}

/// One saved query.
#[utoipa::path(get, path = "/hunting/queries/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 200, body = SavedQuery), (status = 404, body = Problem)))]
pub async fn hunting_query_get(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<SavedQuery>, ApiError> {
    Ok(Json(api.hunting.query_get(&api.shared.tenant, &who.name, query_id(&id)?).await.map_err(plain)?))
}

/// Changes a saved query.
#[utoipa::path(put, path = "/hunting/queries/{id}", tag = "hunting", params(("id" = String, Path,)), request_body = QueryDraft,
    responses((status = 200, body = SavedQuery), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn hunting_query_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
    Body(draft): Body<QueryDraft>,
) -> Result<Json<SavedQuery>, ApiError> {
    may_share(&draft, &who)?;
    let user = (who.name.as_str(), who.role);
    let saved = api.hunting.query_update(&api.shared.tenant, user, query_id(&id)?, draft, crate::now()).await;
    Ok(Json(saved.map_err(plain)?))
}

/// Deletes a saved query.
#[utoipa::path(delete, path = "/hunting/queries/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn hunting_query_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let user = (who.name.as_str(), who.role);
    api.hunting.query_delete(&api.shared.tenant, user, query_id(&id)?).await.map_err(plain)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Queries that were run, newest first, with what they cost.
#[utoipa::path(get, path = "/hunting/history", tag = "hunting", params(HistoryQuery),
    responses((status = 200, body = Page<HistoryView>), (status = 403, body = Problem)))]
pub async fn hunting_history(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Query(q): Query<HistoryQuery>,
) -> Result<Json<Page<HistoryView>>, ApiError> {
    if q.all && who.role < Role::Admin {
        return Err(ApiError::with(Kind::Forbidden, "only an administrator sees everybody's history"));
    }
    let limit = limit(q.limit)?;
    let before = match q.cursor.as_deref() {
        None => None,
        Some(text) => {
            let found = Cursor::decode("hunting-history", text);
            let place = found.and_then(|c| Some((c.number()?, c.id.parse::<i64>().ok()?)));
            Some(place.ok_or_else(|| ApiError::new(Kind::BadCursor))?)
        }
    };
    let user = (!q.all).then_some(who.name.as_str());
    let mut items = api.hunting.history(&api.shared.tenant, user, before, limit + 1).await.map_err(plain)?;
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next_cursor =
        last.map(|last| Cursor { key: last.began.to_string(), id: last.number.to_string() }.encode("hunting-history"));
    Ok(Json(Page { items, next_cursor, total: None }))
}

/// The queries that come with the program.
#[utoipa::path(get, path = "/hunting/library", tag = "hunting", responses((status = 200, body = Items<LibraryQuery>)))]
pub async fn hunting_library() -> Json<Items<LibraryQuery>> {
    Json(Items { items: library().to_vec() })
}
