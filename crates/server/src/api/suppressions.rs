//! Routes of suppression rules.

use super::Api;
use super::extract::{Body, Id};
use super::problem::ApiError;
use crate::identity::Principal;
use crate::incidents::suppressions::SuppressionNew;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{Page, Problem, Suppression, SuppressionId, SuppressionPreview, SuppressionScope};
use serde::Deserialize;
use utoipa::ToSchema;

/// What to preview.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviewBody {
    /// Scope.
    scope: SuppressionScope,
    /// Days to look back; 30 unless told otherwise.
    days: Option<i64>,
}

/// All suppressions, ended ones too.
#[utoipa::path(get, path = "/suppressions", tag = "suppressions", responses((status = 200, body = Page<Suppression>)))]
pub async fn suppression_list(State(api): State<Api>) -> Result<Json<Page<Suppression>>, ApiError> {
    let items = api.incidents.suppression_list().await?;
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Makes a suppression.
#[utoipa::path(post, path = "/suppressions", tag = "suppressions", request_body = SuppressionNew,
    responses((status = 201, body = Suppression), (status = 400, body = Problem)))]
pub async fn suppression_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(new): Body<SuppressionNew>,
) -> Result<(StatusCode, Json<Suppression>), ApiError> {
    let made = api.incidents.suppression_create(&new, &who.name, crate::now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Removes a suppression; what it has hidden stays hidden.
#[utoipa::path(delete, path = "/suppressions/{id}", tag = "suppressions", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn suppression_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<SuppressionId>,
) -> Result<StatusCode, ApiError> {
    api.incidents.suppression_delete(&id, &who.name, crate::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a scope would have hidden.
#[utoipa::path(post, path = "/suppressions/preview", tag = "suppressions", request_body = PreviewBody,
    responses((status = 200, body = SuppressionPreview), (status = 400, body = Problem)))]
pub async fn suppression_preview(
    State(api): State<Api>,
    Body(body): Body<PreviewBody>,
) -> Result<Json<SuppressionPreview>, ApiError> {
    let now = crate::now();
    Ok(Json(api.incidents.suppression_preview(&body.scope, body.days.unwrap_or(30), now).await?))
}
