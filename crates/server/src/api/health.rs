//! Routes of the health of machines.

use super::Api;
use super::cursor::Cursor;
use super::extract::{Query, limit, one};
use super::problem::{ApiError, Kind};
use crate::access::Sees;
use crate::health::judge::CODES;
use crate::health::{HealthFilter, HealthLine, HealthSummary};
use axum::extract::State;
use axum::{Extension, Json};
use garrison_model::{Page, Problem, SubscriptionId};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Name of the list in its cursors.
const MACHINES: &str = "health:name";

/// Of which machines.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SummaryQuery {
    /// In this subscription.
    subscription: Option<String>,
}

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HealthQuery {
    /// With a finding of this class: `Installation`, `Heartbeat` or `NotApplicable`.
    class: Option<String>,
    /// With this code, such as `SensorSilent`.
    code: Option<String>,
    /// In this state: `Healthy`, `Pending`, `Unhealthy` or `NotApplicable`.
    state: Option<String>,
    /// In this subscription.
    subscription: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(health_get)).routes(routes!(health_machines))
}

/// Machines that you may see by state, class and code.
#[utoipa::path(get, path = "/health", tag = "health", params(SummaryQuery),
    responses((status = 200, body = HealthSummary), (status = 400, body = Problem)))]
pub async fn health_get(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Query(q): Query<SummaryQuery>,
) -> Result<Json<HealthSummary>, ApiError> {
    let subscription = one::<SubscriptionId>(q.subscription.as_deref(), "subscription")?;
    Ok(Json(api.health.summary(&sees, subscription).await?))
}

/// Machines with their findings, by name.
#[utoipa::path(get, path = "/health/machines", tag = "health", params(HealthQuery),
    responses((status = 200, body = Page<HealthLine>), (status = 400, body = Problem)))]
pub async fn health_machines(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Query(q): Query<HealthQuery>,
) -> Result<Json<Page<HealthLine>>, ApiError> {
    let limit = limit(q.limit)?;
    if let Some(code) = q.code.as_deref().filter(|code| !CODES.iter().any(|(c, ..)| c.eq_ignore_ascii_case(code))) {
        let shown: String = code.chars().take(40).collect();
        return Err(ApiError::with(Kind::BadQuery, format!("code: `{shown}` is no code of docs/reference/health.md")));
    }
    let filter = HealthFilter {
        class: one(q.class.as_deref(), "class")?,
        code: q.code,
        state: one(q.state.as_deref(), "state")?,
        subscription: one::<SubscriptionId>(q.subscription.as_deref(), "subscription")?,
    };
    let after = match q.cursor.as_deref() {
        None => None,
        Some(text) => Some(Cursor::decode(MACHINES, text).ok_or_else(|| ApiError::new(Kind::BadCursor))?),
    };
    let after = after.as_ref().map(|c| (c.key.as_str(), c.id.as_str()));
    // One more than asked tells whether there is a next page.
    let mut items = api.health.list(&filter, &sees, after, limit + 1).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    crate::access::audit::count(items.len());
    let next_cursor = items
        .last()
        .filter(|_| more)
        .map(|last| Cursor { key: last.resource_id.machine.key(), id: last.machine_id.to_string() }.encode(MACHINES));
    Ok(Json(Page { items, next_cursor, total: None }))
}
