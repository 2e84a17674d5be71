//! How long the tenant's data is kept.

use super::Api;
use super::extract::Body;
use super::problem::{ApiError, Kind};
use crate::identity::Principal;
use crate::retention::{self, RetentionDays, RetentionError};
use axum::extract::State;
use axum::{Extension, Json};
use garrison_model::Problem;

impl From<RetentionError> for ApiError {
    fn from(error: RetentionError) -> Self {
        match error {
            RetentionError::Value(text) => Self::with(Kind::Invalid, text),
            other => Self::internal(&other),
        }
    }
}

/// Days that data is kept.
#[utoipa::path(get, path = "/tenant/retention", tag = "plane", responses((status = 200, body = RetentionDays)))]
pub async fn retention_get(State(api): State<Api>) -> Result<Json<RetentionDays>, ApiError> {
    Ok(Json(retention::days(&api.shared.db, &api.shared.tenant).await.map_err(crate::db::DbError::from)?))
}

/// Sets them; what is left out gets its default. What is too old by then goes within the hour and does not come back.
#[utoipa::path(put, path = "/tenant/retention", tag = "plane", request_body = RetentionDays,
    responses((status = 200, body = RetentionDays), (status = 400, body = Problem)))]
pub async fn retention_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(days): Body<RetentionDays>,
) -> Result<Json<RetentionDays>, ApiError> {
    retention::days_set(&api.shared.db, &api.shared.tenant, days, &who.name, crate::now()).await?;
    Ok(Json(days))
}
