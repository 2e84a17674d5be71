//! Routes of roll-outs.

use super::Api;
use super::extract::Body;
use super::problem::ApiError;
use crate::connect::rollouts::{Rollout, RolloutDeed, RolloutNew};
use crate::identity::Principal;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{Page, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

/// A new roll-out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutBody {
    /// Version of the sensor; its package must be there.
    version: String,
    /// It stops when more than this share of the upgraded machines, in percent, is ill; 10 unless told otherwise.
    failure_percent: Option<u32>,
    /// Machines of a ring that are upgraded at once, in percent; 10 unless told otherwise.
    at_once_percent: Option<u32>,
    /// Minutes between the rings; 60 unless told otherwise.
    soak_minutes: Option<u32>,
}

/// Roll-outs, newest first.
#[utoipa::path(get, path = "/rollouts", tag = "connectors", responses((status = 200, body = Page<Rollout>)))]
pub async fn rollout_list(State(api): State<Api>) -> Result<Json<Page<Rollout>>, ApiError> {
    let items = api.connect.rollouts().await?;
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Brings a version of the sensor out, ring by ring.
#[utoipa::path(post, path = "/rollouts", tag = "connectors", request_body = RolloutBody,
    responses((status = 201, body = Rollout), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn rollout_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(body): Body<RolloutBody>,
) -> Result<(StatusCode, Json<Rollout>), ApiError> {
    let new = RolloutNew {
        version: body.version,
        failure_percent: body.failure_percent.unwrap_or(10),
        at_once_percent: body.at_once_percent.unwrap_or(10),
        soak_minutes: body.soak_minutes.unwrap_or(60),
    };
    Ok((StatusCode::CREATED, Json(api.connect.rollout_create(&new, &who.name).await?)))
}

/// One roll-out.
#[utoipa::path(get, path = "/rollouts/{id}", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 200, body = Rollout), (status = 404, body = Problem)))]
pub async fn rollout_get(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Rollout>, ApiError> {
    Ok(Json(api.connect.rollout(&id).await?))
}

/// Holds a roll-out: no further machine begins.
#[utoipa::path(post, path = "/rollouts/{id}/pause", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 200, body = Rollout), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn rollout_pause(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Rollout>, ApiError> {
    Ok(Json(api.connect.rollout_change(&id, RolloutDeed::Pause, &who.name).await?))
}

/// Lets a roll-out go on.
#[utoipa::path(post, path = "/rollouts/{id}/resume", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 200, body = Rollout), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn rollout_resume(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Rollout>, ApiError> {
    Ok(Json(api.connect.rollout_change(&id, RolloutDeed::Resume, &who.name).await?))
}

/// Ends a roll-out; machines keep what they have.
#[utoipa::path(post, path = "/rollouts/{id}/stop", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 200, body = Rollout), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn rollout_stop(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Rollout>, ApiError> {
    Ok(Json(api.connect.rollout_change(&id, RolloutDeed::Stop, &who.name).await?))
}
