//! Routes of custom detections, indicators and retro-hunts.

use super::events::Hub;
use super::extract::{Body, Query, limit};
use super::problem::ApiError;
use super::{Api, DetectionParts};
use crate::detection::custom::api::{CustomDetection, RunView, TestResult};
use crate::detection::custom::definition::Definition;
use crate::detection::indicator::{Indicator, IndicatorNew};
use crate::detection::retro::{RetroHunt, RetroKind, RetroMatch, RetroNew};
use crate::identity::Principal;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{Feature, Page, Problem};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

/// Tells the event stream of detections that changed (`detection`) and of retro-hunts (`retroHunt`).
pub(super) fn tell(hub: &Arc<Hub>, own: &DetectionParts, stop: &CancellationToken) {
    let (mut detections, mut hunts) = (own.custom.changes(), own.retro.changes());
    let (hub, stop) = (Arc::clone(hub), stop.clone());
    tokio::spawn(async move {
        loop {
            // What a lagging listener misses here is read from the lists.
            tokio::select! {
                changed = detections.recv() => match changed {
                    Ok(detection) => hub.push("detection", &detection),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                changed = hunts.recv() => match changed {
                    Ok(hunt) => hub.push("retroHunt", &hunt),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = stop.cancelled() => return,
            }
        }
    });
}

fn page<T>(items: Vec<T>) -> Json<Page<T>> {
    Json(Page { total: i64::try_from(items.len()).ok(), items, next_cursor: None })
}

/// A number of items.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LimitQuery {
    /// At most 500; 50 unless told otherwise.
    limit: Option<usize>,
}

/// A switch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnabledBody {
    /// Whether it runs.
    enabled: bool,
}

/// Whether the past is looked through.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RetroQuery {
    /// Whether the past 30 days are looked through; yes unless told otherwise.
    retro: Option<bool>,
}

/// All custom detections, by name.
#[utoipa::path(get, path = "/hunting/detections", tag = "hunting", responses((status = 200, body = Page<CustomDetection>)))]
pub async fn detection_list(State(api): State<Api>) -> Result<Json<Page<CustomDetection>>, ApiError> {
    Ok(page(api.own.custom.list().await?))
}

/// Makes a custom detection and, unless told otherwise, hunts for it in the past 30 days.
#[utoipa::path(post, path = "/hunting/detections", tag = "hunting", params(RetroQuery), request_body = Definition,
    responses((status = 201, body = CustomDetection), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn detection_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Query(q): Query<RetroQuery>,
    Body(definition): Body<Definition>,
) -> Result<(StatusCode, Json<CustomDetection>), ApiError> {
    api.shared.requires(Feature::Alerts)?;
    let made = api.own.custom.create(definition, &who.name).await?;
    if q.retro.unwrap_or(true) {
        hunt(&api, RetroKind::Detection, &made.id, &who.name).await;
    }
    Ok((StatusCode::CREATED, Json(made)))
}

/// What was made stays made, also where its hunt cannot be queued.
async fn hunt(api: &Api, kind: RetroKind, target: &str, who: &str) {
    let new = RetroNew { kind, target: target.to_owned(), days: None, alerts: None };
    if let Err(error) = api.own.retro.start(&new, who).await {
        tracing::warn!(target, error = &error as &dyn std::error::Error, "a retro-hunt could not be queued");
    }
}

/// One custom detection.
#[utoipa::path(get, path = "/hunting/detections/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 200, body = CustomDetection), (status = 404, body = Problem)))]
pub async fn detection_get(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<CustomDetection>, ApiError> {
    Ok(Json(api.own.custom.get(&id).await?))
}

/// Replaces what a custom detection says; its schedule goes on.
#[utoipa::path(put, path = "/hunting/detections/{id}", tag = "hunting", params(("id" = String, Path,)), request_body = Definition,
    responses((status = 200, body = CustomDetection), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn detection_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
    Body(definition): Body<Definition>,
) -> Result<Json<CustomDetection>, ApiError> {
    Ok(Json(api.own.custom.update(&id, definition, &who.name).await?))
}

/// Switches a custom detection on or off.
#[utoipa::path(patch, path = "/hunting/detections/{id}", tag = "hunting", params(("id" = String, Path,)), request_body = EnabledBody,
    responses((status = 200, body = CustomDetection), (status = 404, body = Problem)))]
pub async fn detection_patch(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
    Body(body): Body<EnabledBody>,
) -> Result<Json<CustomDetection>, ApiError> {
    Ok(Json(api.own.custom.switch(&id, body.enabled, &who.name).await?))
}

/// Removes a custom detection; its alerts stay.
#[utoipa::path(delete, path = "/hunting/detections/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn detection_delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    api.own.custom.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a custom detection would find in the past 30 days. Nothing is kept.
#[utoipa::path(post, path = "/hunting/detections/test", tag = "hunting", request_body = Definition,
    responses((status = 200, body = TestResult), (status = 400, body = Problem)))]
pub async fn detection_test(
    State(api): State<Api>,
    Body(definition): Body<Definition>,
) -> Result<Json<TestResult>, ApiError> {
    Ok(Json(api.own.custom.test(&definition).await?))
}

/// Runs a custom detection now over its look-back.
#[utoipa::path(post, path = "/hunting/detections/{id}/run", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 200, body = RunView), (status = 404, body = Problem)))]
pub async fn detection_run(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<RunView>, ApiError> {
    api.shared.requires(Feature::Alerts)?;
    Ok(Json(api.own.custom.run_now(&id).await?.into()))
}

/// Runs of a custom detection, newest first.
#[utoipa::path(get, path = "/hunting/detections/{id}/runs", tag = "hunting", params(("id" = String, Path,), LimitQuery),
    responses((status = 200, body = Page<RunView>), (status = 404, body = Problem)))]
pub async fn detection_runs(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(q): Query<LimitQuery>,
) -> Result<Json<Page<RunView>>, ApiError> {
    Ok(page(api.own.custom.runs(&id, limit(q.limit)?).await?))
}

/// All indicators, newest first.
#[utoipa::path(get, path = "/hunting/indicators", tag = "hunting", responses((status = 200, body = Page<Indicator>)))]
pub async fn indicator_list(State(api): State<Api>) -> Result<Json<Page<Indicator>>, ApiError> {
    Ok(page(api.own.indicators.list().await?))
}

/// Adds an indicator and, unless told otherwise, hunts for it in the past 30 days.
#[utoipa::path(post, path = "/hunting/indicators", tag = "hunting", request_body = IndicatorNew,
    responses((status = 201, body = Indicator), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn indicator_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(new): Body<IndicatorNew>,
) -> Result<(StatusCode, Json<Indicator>), ApiError> {
    api.shared.requires(Feature::Alerts)?;
    let made = api.own.indicators.add(&new, &who.name, crate::now()).await?;
    if new.retro {
        hunt(&api, RetroKind::Indicator, &made.id, &who.name).await;
    }
    Ok((StatusCode::CREATED, Json(made)))
}

/// Removes an indicator; its alerts stay.
#[utoipa::path(delete, path = "/hunting/indicators/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn indicator_delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    api.own.indicators.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Retro-hunts, newest first.
#[utoipa::path(get, path = "/hunting/retro", tag = "hunting", responses((status = 200, body = Page<RetroHunt>)))]
pub async fn retro_list(State(api): State<Api>) -> Result<Json<Page<RetroHunt>>, ApiError> {
    Ok(page(api.own.retro.list().await?))
}

/// Puts a retro-hunt at the end of the queue.
#[utoipa::path(post, path = "/hunting/retro", tag = "hunting", request_body = RetroNew,
    responses((status = 201, body = RetroHunt), (status = 400, body = Problem)))]
pub async fn retro_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(new): Body<RetroNew>,
) -> Result<(StatusCode, Json<RetroHunt>), ApiError> {
    api.shared.requires(Feature::Alerts)?;
    Ok((StatusCode::CREATED, Json(api.own.retro.start(&new, &who.name).await?)))
}

/// One retro-hunt with its progress.
#[utoipa::path(get, path = "/hunting/retro/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 200, body = RetroHunt), (status = 404, body = Problem)))]
pub async fn retro_get(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<RetroHunt>, ApiError> {
    Ok(Json(api.own.retro.get(&id).await?))
}

/// Ends a retro-hunt; what it found stays.
#[utoipa::path(delete, path = "/hunting/retro/{id}", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 200, body = RetroHunt), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn retro_cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<RetroHunt>, ApiError> {
    Ok(Json(api.own.retro.cancel(&id).await?))
}

/// Matched rows of a retro-hunt, the first thousand.
#[utoipa::path(get, path = "/hunting/retro/{id}/matches", tag = "hunting", params(("id" = String, Path,)),
    responses((status = 200, body = Page<RetroMatch>), (status = 404, body = Problem)))]
pub async fn retro_matches(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Page<RetroMatch>>, ApiError> {
    Ok(page(api.own.retro.matches(&id).await?))
}
