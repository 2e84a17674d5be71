//! Usage and money: machine-hours from the ledger, prices, seats, forecasts, and the ledger as a file.

use super::Api;
use super::extract::{Body, Id, Query};
use super::problem::{ApiError, Kind};
use crate::identity::Principal;
use crate::metering::cost::CostReport;
use crate::metering::focus::write::Format;
use crate::metering::forecast::Forecast;
use crate::metering::ingest::IngestLine;
use crate::metering::prices::{PriceSheet, PriceSheetNew};
use crate::metering::seats::{Seats, SeatsNew};
use crate::metering::{UsageBy, UsageLine};
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use garrison_model::{Micros, Page, Plan, Problem, SubscriptionId};
use serde::Deserialize;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Parts of a file that wait for a slow reader.
const PARTS_READY: usize = 4;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(usage_cost))
        .routes(routes!(usage_ingest))
        .routes(routes!(usage_forecast, usage_forecast_post))
        .routes(routes!(usage_export))
        .routes(routes!(price_sheet_list, price_sheet_create))
        .routes(routes!(price_sheet_replace, price_sheet_delete))
        .routes(routes!(seats_list, seats_put))
}

/// What to report.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Not before, RFC 3339; 30 days ago unless given. Rounded down to the hour.
    from: Option<String>,
    /// Before, RFC 3339; now unless given. Rounded down to the hour.
    to: Option<String>,
    /// `day`, `subscription`, `machine` or `plan`; `day` unless given.
    by: Option<UsageBy>,
}

fn moment(text: Option<&str>, name: &str, otherwise: Micros) -> Result<Micros, ApiError> {
    let Some(text) = text else { return Ok(otherwise) };
    let time = text
        .parse::<jiff::Timestamp>()
        .map_err(|_| ApiError::with(Kind::BadQuery, format!("{name}: must be RFC 3339")))?;
    Ok(Micros(time.as_microsecond()))
}

impl UsageQuery {
    fn span(&self) -> Result<(Micros, Micros), ApiError> {
        span(self.from.as_deref(), self.to.as_deref())
    }
}

fn span(from: Option<&str>, to: Option<&str>) -> Result<(Micros, Micros), ApiError> {
    let to = moment(to, "to", crate::now())?;
    let month = Micros(to.0.saturating_sub(30 * 24 * crate::metering::hour::HOUR));
    Ok((moment(from, "from", month)?, to))
}

fn page<T>(items: Vec<T>) -> Json<Page<T>> {
    Json(Page { total: Some(items.len() as i64), items, next_cursor: None })
}

/// Machine-hours that were settled. An hour counts once if any of its minutes was billable.
#[utoipa::path(get, path = "/usage", tag = "metering", params(UsageQuery),
    responses((status = 200, body = Page<UsageLine>), (status = 400, body = Problem)))]
pub async fn usage_get(State(api): State<Api>, Query(q): Query<UsageQuery>) -> Result<Json<Page<UsageLine>>, ApiError> {
    let (from, to) = q.span()?;
    Ok(page(api.shared.metering.usage(&api.shared.tenant, from, to, q.by.unwrap_or(UsageBy::Day)).await?))
}

/// What usage costs: plans summed, with names, ingest and the total.
#[utoipa::path(get, path = "/usage/cost", tag = "metering", params(UsageQuery),
    responses((status = 200, body = CostReport), (status = 400, body = Problem)))]
pub async fn usage_cost(State(api): State<Api>, Query(q): Query<UsageQuery>) -> Result<Json<CostReport>, ApiError> {
    let (shared, by) = (&api.shared, q.by.unwrap_or(UsageBy::Day));
    Ok(Json(shared.metering.cost(&shared.plane, &shared.tenant, q.span()?, by, crate::now()).await?))
}

/// A span of time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SpanQuery {
    /// Not before, RFC 3339; 30 days ago unless given.
    from: Option<String>,
    /// Before, RFC 3339; now unless given.
    to: Option<String>,
}

/// What was taken in, by subscription and day, against the allowance of free ingest.
#[utoipa::path(get, path = "/usage/ingest", tag = "metering", params(SpanQuery),
    responses((status = 200, body = Page<IngestLine>), (status = 400, body = Problem)))]
pub async fn usage_ingest(
    State(api): State<Api>,
    Query(q): Query<SpanQuery>,
) -> Result<Json<Page<IngestLine>>, ApiError> {
    let (from, to) = span(q.from.as_deref(), q.to.as_deref())?;
    Ok(page(api.shared.metering.ingest(&api.shared.tenant, from, to).await?))
}

/// What to forecast.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ForecastQuery {
    /// Subscription.
    subscription: String,
    /// `Off`, `P1` or `P2`.
    plan: Plan,
    /// Hours from now on, 1 to 8784; 730 unless given.
    hours: Option<i64>,
}

/// The same as a body.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForecastBody {
    /// Subscription.
    subscription_id: String,
    /// `Off`, `P1` or `P2`.
    plan: Plan,
    /// Hours from now on, 1 to 8784; 730 unless given.
    hours: Option<i64>,
}

async fn forecast(api: &Api, subscription: &str, plan: Plan, hours: Option<i64>) -> Result<Json<Forecast>, ApiError> {
    let shared = &api.shared;
    let subscription: SubscriptionId = subscription.parse().map_err(|_| ApiError::new(Kind::NotFound))?;
    let connected = |id: &garrison_model::DeviceId| shared.sensor_connected(id);
    let asked = (&subscription, plan, hours);
    let found = shared.metering.forecast(&shared.plane, &shared.tenant, asked, connected, crate::now()).await?;
    Ok(Json(found))
}

/// What a plan would cost a subscription. Changes nothing.
#[utoipa::path(get, path = "/usage/forecast", tag = "metering", params(ForecastQuery),
    responses((status = 200, body = Forecast), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn usage_forecast(
    State(api): State<Api>,
    Query(q): Query<ForecastQuery>,
) -> Result<Json<Forecast>, ApiError> {
    forecast(&api, &q.subscription, q.plan, q.hours).await
}

/// The same, asked with a body.
#[utoipa::path(post, path = "/usage/forecast", tag = "metering", request_body = ForecastBody,
    responses((status = 200, body = Forecast), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn usage_forecast_post(
    State(api): State<Api>,
    Body(b): Body<ForecastBody>,
) -> Result<Json<Forecast>, ApiError> {
    forecast(&api, &b.subscription_id, b.plan, b.hours).await
}

/// Which file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageExportQuery {
    /// `csv` or `parquet`; `csv` unless given.
    format: Option<String>,
    /// Not before, RFC 3339; 30 days ago unless given.
    from: Option<String>,
    /// Before, RFC 3339; now unless given.
    to: Option<String>,
}

/// The ledger in the FOCUS 1.0 format.
#[utoipa::path(get, path = "/usage/export", tag = "metering", params(UsageExportQuery),
    responses((status = 200, content_type = "text/csv"), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn usage_export(State(api): State<Api>, Query(q): Query<UsageExportQuery>) -> Result<Response, ApiError> {
    let format = Format::parse(q.format.as_deref().unwrap_or("csv"))
        .ok_or_else(|| ApiError::with(Kind::BadQuery, "format must be csv or parquet"))?;
    let span = span(q.from.as_deref(), q.to.as_deref())?;
    let shared = Arc::clone(&api.shared);
    let book = shared.metering.focus_open(&shared.plane, &shared.tenant, span, crate::now()).await?;
    let (sender, parts) = tokio::sync::mpsc::channel(PARTS_READY);
    tokio::spawn(async move { shared.metering.focus_write(&shared.tenant, book, format, sender).await });
    let (media, ending) = format.names();
    let file = format!("attachment; filename=\"usage-focus-1.0.{ending}\"");
    let head = [(header::CONTENT_TYPE, media.to_owned()), (header::CONTENT_DISPOSITION, file)];
    Ok((head, HttpBody::from_stream(ReceiverStream::new(parts))).into_response())
}

/// All price sheets, ended ones too.
#[utoipa::path(get, path = "/price-sheets", tag = "metering", responses((status = 200, body = Page<PriceSheet>)))]
pub async fn price_sheet_list(State(api): State<Api>) -> Result<Json<Page<PriceSheet>>, ApiError> {
    Ok(page(api.shared.metering.price_sheets(&api.shared.tenant, crate::now()).await?))
}

/// Takes a price sheet in. An open one of the same plan ends where it begins; hours that have begun keep their price.
#[utoipa::path(post, path = "/price-sheets", tag = "metering", request_body = PriceSheetNew,
    responses((status = 201, body = PriceSheet), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn price_sheet_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(new): Body<PriceSheetNew>,
) -> Result<(StatusCode, Json<PriceSheet>), ApiError> {
    let made = api.shared.metering.price_sheet_create(&api.shared.tenant, &new, &who.name, crate::now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Puts a price sheet in the place of one that has priced nothing that is settled.
#[utoipa::path(put, path = "/price-sheets/{id}", tag = "metering", params(("id" = String, Path,)),
    request_body = PriceSheetNew, responses((status = 200, body = PriceSheet), (status = 400, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn price_sheet_replace(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<String>,
    Body(new): Body<PriceSheetNew>,
) -> Result<Json<PriceSheet>, ApiError> {
    let metering = &api.shared.metering;
    Ok(Json(metering.price_sheet_replace(&api.shared.tenant, &id, &new, &who.name, crate::now()).await?))
}

/// Takes a price sheet back that has priced nothing that is settled; one that was ended for it goes on.
#[utoipa::path(delete, path = "/price-sheets/{id}", tag = "metering", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn price_sheet_delete(State(api): State<Api>, Id(id): Id<String>) -> Result<StatusCode, ApiError> {
    api.shared.metering.price_sheet_delete(&api.shared.tenant, &id, crate::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Owned seats.
#[utoipa::path(get, path = "/seats", tag = "metering", responses((status = 200, body = Page<Seats>)))]
pub async fn seats_list(State(api): State<Api>) -> Result<Json<Page<Seats>>, ApiError> {
    Ok(page(api.shared.metering.seats(&api.shared.tenant).await?))
}

/// All pools of seats.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeatsBody {
    /// Pools; those that are there and not named end.
    items: Vec<SeatsNew>,
}

/// Replaces the pools of seats, for hours that are settled from now on. What is past stays as it was.
#[utoipa::path(put, path = "/seats", tag = "metering", request_body = SeatsBody,
    responses((status = 200, body = Page<Seats>), (status = 400, body = Problem)))]
pub async fn seats_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(body): Body<SeatsBody>,
) -> Result<Json<Page<Seats>>, ApiError> {
    let (shared, now) = (&api.shared, crate::now());
    // Seats of a subscription that is not there would cover nothing; a pool that is kept may outlive its subscription.
    for new in body.items.iter().filter(|new| new.id.is_none()) {
        if let Some(id) = &new.subscription_id {
            let known = shared.plane.subscription(&shared.tenant, id, now).await;
            known.map_err(|error| ApiError::with(Kind::SeatsRefused, error.to_string()))?;
        }
    }
    shared.metering.seats_put(&shared.tenant, &body.items, &who.name, now).await?;
    Ok(page(api.shared.metering.seats(&api.shared.tenant).await?))
}
