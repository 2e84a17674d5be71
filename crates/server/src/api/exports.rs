//! Routes of continuous exports.

use super::Api;
use super::extract::Body;
use super::problem::{ApiError, Kind};
use crate::exports::{Export, ExportNew};
use crate::identity::Principal;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{Micros, Page, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(export_list, export_create))
        .routes(routes!(export_get, export_put, export_delete))
        .routes(routes!(export_test))
        .routes(routes!(export_replay))
}

/// From when to send again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayBody {
    /// RFC 3339.
    from: String,
}

/// What a test came to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestAnswer {
    /// Whether the receiver took it.
    delivered: bool,
    /// What went wrong.
    words: String,
}

/// All exports.
#[utoipa::path(get, path = "/exports", tag = "exports", responses((status = 200, body = Page<Export>)))]
pub async fn export_list(State(api): State<Api>) -> Result<Json<Page<Export>>, ApiError> {
    let items = api.exports.list().await?;
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Makes an export. A stream begins with what changes from now on; a snapshot is sent at once and every week.
#[utoipa::path(post, path = "/exports", tag = "exports", request_body = ExportNew,
    responses((status = 201, body = Export), (status = 400, body = Problem)))]
pub async fn export_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(new): Body<ExportNew>,
) -> Result<(StatusCode, Json<Export>), ApiError> {
    Ok((StatusCode::CREATED, Json(api.exports.create(&new, &who.name, crate::now()).await?)))
}

/// One export.
#[utoipa::path(get, path = "/exports/{id}", tag = "exports", params(("id" = String, Path,)),
    responses((status = 200, body = Export), (status = 404, body = Problem)))]
pub async fn export_get(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Export>, ApiError> {
    Ok(Json(api.exports.get(&id).await?))
}

/// Changes an export. Without `secret` the secret stays.
#[utoipa::path(put, path = "/exports/{id}", tag = "exports", params(("id" = String, Path,)), request_body = ExportNew,
    responses((status = 200, body = Export), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn export_put(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(new): Body<ExportNew>,
) -> Result<Json<Export>, ApiError> {
    Ok(Json(api.exports.update(&id, &new, crate::now()).await?))
}

/// Removes an export; what it wrote stays with its receiver.
#[utoipa::path(delete, path = "/exports/{id}", tag = "exports", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn export_delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    api.exports.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends one record that says that it is a test.
#[utoipa::path(post, path = "/exports/{id}/test", tag = "exports", params(("id" = String, Path,)),
    responses((status = 200, body = TestAnswer), (status = 404, body = Problem)))]
pub async fn export_test(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<TestAnswer>, ApiError> {
    match api.exports.test(&id, crate::now()).await {
        Ok(()) => Ok(Json(TestAnswer { delivered: true, words: String::new() })),
        Err(crate::exports::ExportError::Refused(words)) => Ok(Json(TestAnswer { delivered: false, words })),
        Err(error) => Err(error.into()),
    }
}

/// Sends everything that changed since a moment once more.
#[utoipa::path(post, path = "/exports/{id}/replay", tag = "exports", params(("id" = String, Path,)),
    request_body = ReplayBody,
    responses((status = 200, body = Export), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn export_replay(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<ReplayBody>,
) -> Result<Json<Export>, ApiError> {
    let from: jiff::Timestamp =
        body.from.parse().map_err(|_| ApiError::with(Kind::Invalid, "`from` must be RFC 3339"))?;
    Ok(Json(api.exports.replay(&id, Micros(from.as_microsecond())).await?))
}
