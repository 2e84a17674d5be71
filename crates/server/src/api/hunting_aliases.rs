//! The paths that existing scripts use, with their own shapes of answers and errors.

use super::Api;
use super::hunting::{caller, objects, problem, request};
use super::problem::{ApiError, Kind};
use crate::access::Sees;
use crate::hunting::answer::vendor_type;
use crate::hunting::{Answer, HuntError, Interface};
use crate::identity::Principal;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// The paths.
pub const PATHS: &[(&str, Interface)] = &[
    ("/v1.0/security/runHuntingQuery", Interface::Graph),
    ("/beta/security/runHuntingQuery", Interface::Graph),
    ("/security/runHuntingQuery", Interface::Graph),
    ("/api/advancedqueries/run", Interface::AdvancedQueries),
    ("/api/advancedhunting/run", Interface::AdvancedHunting),
];

/// Whether a path is one of them.
pub fn is_alias(path: &str) -> bool {
    PATHS.iter().any(|(alias, _)| *alias == path)
}

/// What these paths take. Scripts send further fields, which mean nothing here.
#[derive(Debug, Deserialize, ToSchema)]
pub struct AliasBody {
    /// The query.
    #[serde(rename = "Query", alias = "query")]
    query: String,
    /// ISO 8601 time span; the Graph path's only.
    #[serde(rename = "Timespan", alias = "timespan", default)]
    timespan: Option<String>,
}

/// An error in the shape of these paths.
pub fn error(error: &ApiError) -> Response {
    let problem = error.problem();
    let code = match (problem.status, error.kind()) {
        (400, _) => "BadRequest",
        (401, _) => "Unauthorized",
        (403, _) => "Forbidden",
        (405, _) => "MethodNotAllowed",
        (409, _) => "Conflict",
        (413, _) => "RequestEntityTooLarge",
        (429, _) => "TooManyRequests",
        (503, _) => "ServiceUnavailable",
        (504, _) => "GatewayTimeout",
        _ => "InternalServerError",
    };
    let first = problem.diagnostics.iter().find(|d| d.severity == "error");
    let message = match first {
        Some(d) => format!("{}. {} (line {}, column {})", d.code, d.message, d.line, d.column),
        None => problem.title.clone(),
    };
    let id = Uuid::now_v7();
    let body = json!({
        "error": {
            "code": code,
            "message": message,
            "innerError": {"date": crate::shared::rfc3339(crate::now()), "request-id": id, "client-request-id": id},
        }
    });
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

async fn answered(
    api: &Api,
    who: &Principal,
    sees: &Sees,
    headers: &HeaderMap,
    body: &[u8],
    interface: Interface,
) -> Result<Response, ApiError> {
    let body: AliasBody = serde_json::from_slice(body)
        .map_err(|_| ApiError::with(Kind::BadBody, "the body must be JSON with the text `Query`"))?;
    let failed = |error| problem(&body.query, error);
    let wanted = request(&body.query, body.timespan.as_deref()).map_err(failed)?;
    let caller = caller(api, who, sees, headers, interface);
    let answer = api.hunting.run(wanted, &caller).await.map_err(failed)?;
    crate::access::audit::count(answer.row_count());
    let bytes_max = api.hunting.settings().result_bytes_max;
    if answer.completeness.byte_cap.is_some() {
        return Err(failed(HuntError::ResultTooLarge { bytes_max }));
    }
    let (rows, answer) =
        tokio::task::spawn_blocking(move || (objects(&answer), answer)).await.map_err(|_| failed(HuntError::Task))?;
    let rows = rows.map_err(failed)?;
    if rows.len() > bytes_max {
        return Err(failed(HuntError::ResultTooLarge { bytes_max }));
    }
    let body = match interface {
        Interface::Graph => graph(&answer, &rows),
        _ => older(&answer, &rows, interface == Interface::AdvancedHunting, &api.shared.lake.stats()),
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn graph(answer: &Answer, rows: &[u8]) -> Vec<u8> {
    let schema: Vec<Value> =
        answer.columns.iter().map(|c| json!({"name": c.name, "type": vendor_type(c.kind)})).collect();
    let context = json!("https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.security.huntingQueryResults");
    joined(&[("@odata.context", context), ("schema", Value::Array(schema))], "results", rows)
}

fn older(answer: &Answer, rows: &[u8], suite: bool, lake: &garrison_lake::LakeStats) -> Vec<u8> {
    let schema: Vec<Value> =
        answer.columns.iter().map(|c| json!({"Name": c.name, "Type": vendor_type(c.kind)})).collect();
    let cost = &answer.resources;
    let cpu = span_text(cost.figures.cpu_ms);
    let none = json!({"hits": 0, "misses": 0, "total": 0});
    let mut stats = json!({
        "ExecutionTime": cost.duration_ms as f64 / 1_000.0,
        "resource_usage": {
            "cache": {"memory": none, "disk": none},
            "cpu": {"user": cpu, "kernel": "00:00:00", "total cpu": cpu},
            "memory": {"peak_per_node": cost.figures.memory_peak_bytes},
        },
        "dataset_statistics": [{"table_row_count": cost.rows_returned, "table_size": cost.bytes_returned}],
    });
    if suite {
        let tables = lake.tables.iter().filter(|table| cost.tables.contains(&table.name));
        stats["source_tables"] = tables
            .map(|t| json!({"table": t.name, "table_row_count": t.file_rows + t.hot_rows, "table_size": t.file_bytes}))
            .collect();
    }
    joined(&[("Stats", stats), ("Schema", Value::Array(schema))], "Results", rows)
}

fn span_text(millis: u64) -> String {
    let micros = i64::try_from(millis.saturating_mul(1_000)).unwrap_or(i64::MAX);
    crate::hunting::answer::timespan(micros)
}

/// A JSON object of these fields and, last, rows that are JSON already.
fn joined(fields: &[(&str, Value)], rows_key: &str, rows: &[u8]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (key, value) in fields {
        out.extend_from_slice(format!("{}:{value},", Value::from(*key)).as_bytes());
    }
    out.extend_from_slice(format!("{}:", Value::from(rows_key)).as_bytes());
    out.extend_from_slice(rows);
    out.push(b'}');
    out
}

macro_rules! alias {
    ($name:ident, $path:literal, $interface:expr, $doc:literal) => {
        #[doc = $doc]
        #[utoipa::path(post, path = $path, tag = "hunting", request_body = AliasBody,
            responses((status = 200, description = "schema and results"), (status = 400, description = "an error"),
                (status = 401, description = "nobody is signed in"), (status = 429, description = "a limit")))]
        pub async fn $name(
            State(api): State<Api>,
            Extension(who): Extension<Principal>,
            Extension(sees): Extension<Sees>,
            headers: HeaderMap,
            body: Bytes,
        ) -> Response {
            match answered(&api, &who, &sees, &headers, &body, $interface).await {
                Ok(response) => response,
                Err(failed) => error(&failed),
            }
        }
    };
}

alias!(graph_run, "/v1.0/security/runHuntingQuery", Interface::Graph, "Runs a query, in the shape of the Graph path.");
alias!(graph_run_beta, "/beta/security/runHuntingQuery", Interface::Graph, "The same under its beta address.");
alias!(graph_run_bare, "/security/runHuntingQuery", Interface::Graph, "The same without a version.");
alias!(
    advanced_queries_run,
    "/api/advancedqueries/run",
    Interface::AdvancedQueries,
    "Runs a query, in the shape of the endpoint product's older path."
);
alias!(
    advanced_hunting_run,
    "/api/advancedhunting/run",
    Interface::AdvancedHunting,
    "Runs a query, in the shape of the suite's older path."
);
