//! Usage: machine-hours from the ledger.

use super::Api;
use super::extract::Query;
use super::problem::{ApiError, Kind};
use crate::metering::{UsageBy, UsageLine};
use axum::Json;
use axum::extract::State;
use garrison_model::{Micros, Page, Problem};
use serde::Deserialize;
use utoipa::IntoParams;

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

/// Machine-hours that were settled. An hour counts once if any of its minutes was billable.
#[utoipa::path(get, path = "/usage", tag = "metering", params(UsageQuery),
    responses((status = 200, body = Page<UsageLine>), (status = 400, body = Problem)))]
pub async fn usage_get(State(api): State<Api>, Query(q): Query<UsageQuery>) -> Result<Json<Page<UsageLine>>, ApiError> {
    let now = crate::now();
    let to = moment(q.to.as_deref(), "to", now)?;
    let from = moment(q.from.as_deref(), "from", Micros(to.0.saturating_sub(30 * 24 * crate::metering::hour::HOUR)))?;
    let items = api.shared.metering.usage(&api.shared.tenant, from, to, q.by.unwrap_or(UsageBy::Day)).await?;
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}
