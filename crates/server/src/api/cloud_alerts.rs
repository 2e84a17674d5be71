//! Routes of the cloud view of alerts: the deep view's alerts, by subscription and resource.

use super::Api;
use super::cursor::Cursor;
use super::extract::{Body, Id, Query, limit, list, one};
use super::problem::{ApiError, Kind};
use crate::access::Sees;
use crate::identity::Principal;
use crate::incidents::AlertFilter;
use crate::incidents::list::{Sort, micros_of};
use axum::extract::State;
use axum::{Extension, Json};
use garrison_model::{
    Alert, AlertId, AlertStatus, CaseUpdate, Classification, CloudAlert, CloudSeverity, CloudStatus, Page, Problem,
    Scope, SubscriptionId,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Name of the list in its cursors.
const LIST: &str = "cloud-alerts:-created";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(cloud_alert_list))
        .routes(routes!(cloud_alert_get))
        .routes(routes!(cloud_alert_dismiss))
        .routes(routes!(cloud_alert_reactivate))
}

/// Filters of the cloud view; lists are separated by commas.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CloudAlertQuery {
    /// Subscription.
    subscription: Option<String>,
    /// Resource id of a machine, or of a resource group.
    resource: Option<String>,
    /// `High`, `Medium`, `Low`, `Informational`.
    severity: Option<String>,
    /// `Active`, `InProgress`, `Resolved`, `Dismissed`.
    status: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// Why an alert is dismissed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DismissBody {
    /// Kept as a comment of the alert, 1 to 4,096 characters.
    reason: Option<String>,
    /// What the alert is closed as: `InformationalExpectedActivity` unless given, or `FalsePositive`.
    classification: Option<Classification>,
}

/// Why an alert is taken up again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReactivateBody {
    /// Kept as a comment of the alert, 1 to 4,096 characters.
    reason: Option<String>,
}

/// The scope that the filters name; `None` for the whole tenant.
fn scope(q: &CloudAlertQuery) -> Result<Option<Scope>, ApiError> {
    let subscription: Option<SubscriptionId> = one(q.subscription.as_deref(), "subscription")?;
    let resource: Option<Scope> = one(q.resource.as_deref(), "resource")?;
    match (subscription, resource) {
        (Some(subscription), Some(resource)) if *resource.subscription() != subscription => {
            Err(ApiError::with(Kind::BadQuery, "resource: lies in another subscription than the one named"))
        }
        (_, Some(resource)) => Ok(Some(resource)),
        (subscription, None) => Ok(subscription.map(Scope::Subscription)),
    }
}

/// Alerts of machines, made in the days that the tenant's retention gives the cloud view, newest first.
#[utoipa::path(get, path = "/cloud/alerts", tag = "cloud alerts", params(CloudAlertQuery),
    responses((status = 200, body = Page<CloudAlert>), (status = 400, body = Problem)))]
pub async fn cloud_alert_list(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Query(q): Query<CloudAlertQuery>,
) -> Result<Json<Page<CloudAlert>>, ApiError> {
    let (severities, limit) = (list::<CloudSeverity>(q.severity.as_deref(), "severity")?, limit(q.limit)?);
    let cloud_status = list::<CloudStatus>(q.status.as_deref(), "status")?;
    let after = match q.cursor.as_deref().filter(|c| !c.is_empty()) {
        Some(text) => {
            let cursor = Cursor::decode(LIST, text).ok_or_else(|| ApiError::new(Kind::BadCursor))?;
            Some((cursor.number().ok_or_else(|| ApiError::new(Kind::BadCursor))?, cursor.id))
        }
        None => None,
    };
    let mut places = api.shared.plane.places(&api.shared.tenant, scope(&q)?.as_ref(), None).await?;
    places.retain(|device, _| sees.device(device));
    let filter = AlertFilter {
        severity: severities.iter().flat_map(|s| s.severities()).copied().collect(),
        seen: Some(places.keys().cloned().collect()),
        cloud_status,
        created_since: Some(since(&api).await?.1),
        sort: Sort::Created,
        descending: true,
        after,
        limit,
        ..AlertFilter::default()
    };
    let found = api.incidents.alert_list(&filter).await?;
    let items: Vec<CloudAlert> = found
        .items
        .into_iter()
        .filter_map(|alert| {
            let place = places.get(&alert.machine_id)?.clone();
            Some(CloudAlert::of(alert, place.machine, place.resource))
        })
        .collect();
    crate::access::audit::count(items.len());
    let next_cursor = found.next.map(|(key, id)| Cursor { key: key.to_string(), id }.encode(LIST));
    Ok(Json(Page { items, next_cursor, total: Some(found.total) }))
}

/// Days that the cloud view shows, by the tenant's retention, and where it begins.
async fn since(api: &Api) -> Result<(u32, i64), ApiError> {
    let days = crate::retention::days(&api.shared.db, &api.shared.tenant).await.map_err(|e| ApiError::internal(&e))?;
    let days = days.cloud_alert_days;
    Ok((days, crate::retention::before(crate::now(), days).0))
}

/// The cloud view of an alert; not there where its device is no machine, or it is older than the view.
async fn shown(api: &Api, alert: Alert) -> Result<CloudAlert, ApiError> {
    let (days, since) = since(api).await?;
    if micros_of(&alert.alert_creation_time) < since {
        let words = format!("the cloud view shows {days} days; the alert is still at /alerts/{}", alert.id);
        return Err(ApiError::with(Kind::NotFound, words));
    }
    let mut places = api.shared.plane.places(&api.shared.tenant, None, Some(&alert.machine_id)).await?;
    let place = places.remove(&alert.machine_id).ok_or_else(|| {
        let words = format!("the alert's device is no connected machine; the alert is at /alerts/{}", alert.id);
        ApiError::with(Kind::NotFound, words)
    })?;
    Ok(CloudAlert::of(alert, place.machine, place.resource))
}

/// The cloud view of one alert.
#[utoipa::path(get, path = "/cloud/alerts/{id}", tag = "cloud alerts", params(("id" = String, Path,)),
    responses((status = 200, body = CloudAlert), (status = 404, body = Problem)))]
pub async fn cloud_alert_get(State(api): State<Api>, Id(id): Id<AlertId>) -> Result<Json<CloudAlert>, ApiError> {
    Ok(Json(shown(&api, api.incidents.alert(&id).await?).await?))
}

/// Resolves an alert as expected activity, or as a false positive.
#[utoipa::path(post, path = "/cloud/alerts/{id}/dismiss", tag = "cloud alerts", params(("id" = String, Path,)),
    request_body = DismissBody,
    responses((status = 200, body = CloudAlert), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn cloud_alert_dismiss(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<AlertId>,
    Body(body): Body<DismissBody>,
) -> Result<Json<CloudAlert>, ApiError> {
    let classification = body.classification.unwrap_or(Classification::InformationalExpectedActivity);
    if classification == Classification::TruePositive {
        return Err(ApiError::with(Kind::Invalid, "classification: a real attack is resolved, not dismissed"));
    }
    // Only what the cloud view shows can be dismissed in it.
    shown(&api, api.incidents.alert(&id).await?).await?;
    let update = CaseUpdate {
        status: Some(AlertStatus::Resolved.to_string()),
        classification: Some(classification),
        comment: body.reason,
        ..CaseUpdate::default()
    };
    let alert = api.incidents.alert_update(&id, &update, &who.name, crate::now()).await?;
    Ok(Json(shown(&api, alert).await?))
}

/// Opens a dismissed or resolved alert again.
#[utoipa::path(post, path = "/cloud/alerts/{id}/reactivate", tag = "cloud alerts", params(("id" = String, Path,)),
    request_body = ReactivateBody,
    responses((status = 200, body = CloudAlert), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn cloud_alert_reactivate(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<AlertId>,
    Body(body): Body<ReactivateBody>,
) -> Result<Json<CloudAlert>, ApiError> {
    shown(&api, api.incidents.alert(&id).await?).await?;
    let update =
        CaseUpdate { status: Some(AlertStatus::New.to_string()), comment: body.reason, ..CaseUpdate::default() };
    let alert = api.incidents.alert_update(&id, &update, &who.name, crate::now()).await?;
    Ok(Json(shown(&api, alert).await?))
}
