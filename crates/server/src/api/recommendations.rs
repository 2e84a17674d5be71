//! Routes of recommendations on endpoint protection, their fixes and exemptions.

use super::Api;
use super::cursor::Cursor;
use super::extract::{Body, Query, limit, one};
use super::problem::{ApiError, Kind};
use crate::access::Sees;
use crate::identity::Principal;
use crate::recommend::{Exemption, ExemptionNew, Fixed, Key, Recommend, Resource, ResourceFilter, Summary};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{MachineId, Page, Problem, SubscriptionId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Name of the list of machines in its cursors.
const RESOURCES: &str = "recommendations:name";

/// Filters of the machines under a recommendation.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ResourceQuery {
    /// `Healthy`, `Unhealthy`, `NotApplicable` or `Exempt`.
    state: Option<String>,
    /// In this subscription.
    subscription: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// Which machines to fix.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FixBody {
    /// At most 500.
    #[schema(value_type = Vec<String>)]
    machines: Vec<MachineId>,
}

fn room(api: &Api) -> Recommend {
    Recommend::new(&api.shared, &api.connect)
}

fn key(text: &str) -> Result<Key, ApiError> {
    text.parse().map_err(|_| ApiError::with(Kind::NotFound, "there is no such recommendation"))
}

fn whole<T>(items: Vec<T>) -> Json<Page<T>> {
    Json(Page { total: Some(items.len() as i64), items, next_cursor: None })
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(recommendation_list))
        .routes(routes!(recommendation_resources))
        .routes(routes!(recommendation_fix))
        .routes(routes!(exemption_list, exemption_create))
        .routes(routes!(exemption_delete))
}

/// All recommendations, with the machines that you may see counted by state.
#[utoipa::path(get, path = "/recommendations", tag = "recommendations",
    responses((status = 200, body = Page<Summary>)))]
pub async fn recommendation_list(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
) -> Result<Json<Page<Summary>>, ApiError> {
    Ok(whole(room(&api).list(&sees, crate::now()).await?))
}

/// Machines under a recommendation, by name.
#[utoipa::path(get, path = "/recommendations/{key}/resources", tag = "recommendations",
    params(("key" = String, Path,), ResourceQuery),
    responses((status = 200, body = Page<Resource>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn recommendation_resources(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Path(text): Path<String>,
    Query(q): Query<ResourceQuery>,
) -> Result<Json<Page<Resource>>, ApiError> {
    let (key, limit) = (key(&text)?, limit(q.limit)?);
    let filter = ResourceFilter {
        state: one(q.state.as_deref(), "state")?,
        subscription: one::<SubscriptionId>(q.subscription.as_deref(), "subscription")?,
    };
    let after = match q.cursor.as_deref() {
        None => None,
        Some(text) => Some(Cursor::decode(RESOURCES, text).ok_or_else(|| ApiError::new(Kind::BadCursor))?),
    };
    let after = after.as_ref().map(|c| (c.key.as_str(), c.id.as_str()));
    // One more than asked tells whether there is a next page.
    let mut items = room(&api).resources(key, &filter, &sees, after, limit + 1, crate::now()).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    crate::access::audit::count(items.len());
    let next_cursor = items
        .last()
        .filter(|_| more)
        .map(|last| Cursor { key: last.resource_id.machine.key(), id: last.machine_id.to_string() }.encode(RESOURCES));
    Ok(Json(Page { items, next_cursor, total: None }))
}

/// Does what the findings of machines ask for, as far as that can be done from here, and says what it was.
#[utoipa::path(post, path = "/recommendations/{key}/fix", tag = "recommendations", params(("key" = String, Path,)),
    request_body = FixBody,
    responses((status = 200, body = Page<Fixed>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn recommendation_fix(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(sees): Extension<Sees>,
    Path(text): Path<String>,
    Body(body): Body<FixBody>,
) -> Result<Json<Page<Fixed>>, ApiError> {
    let key = key(&text)?;
    Ok(whole(room(&api).fix(key, &body.machines, &sees, &who.name, crate::now()).await?))
}

/// Exemptions from a recommendation, ended ones too.
#[utoipa::path(get, path = "/recommendations/{key}/exemptions", tag = "recommendations",
    params(("key" = String, Path,)),
    responses((status = 200, body = Page<Exemption>), (status = 404, body = Problem)))]
pub async fn exemption_list(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Path(text): Path<String>,
) -> Result<Json<Page<Exemption>>, ApiError> {
    Ok(whole(room(&api).exemptions(key(&text)?, &sees).await?))
}

/// Exempts a subscription, a resource group or a machine.
#[utoipa::path(post, path = "/recommendations/{key}/exemptions", tag = "recommendations",
    params(("key" = String, Path,)), request_body = ExemptionNew,
    responses((status = 201, body = Exemption), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn exemption_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(sees): Extension<Sees>,
    Path(text): Path<String>,
    Body(new): Body<ExemptionNew>,
) -> Result<(StatusCode, Json<Exemption>), ApiError> {
    let key = key(&text)?;
    let made = room(&api).exemption_create(key, &new, &sees, &who.name, crate::now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Ends an exemption at once.
#[utoipa::path(delete, path = "/recommendations/{key}/exemptions/{id}", tag = "recommendations",
    params(("key" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn exemption_delete(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Path((text, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    room(&api).exemption_delete(key(&text)?, &id, &sees).await?;
    Ok(StatusCode::NO_CONTENT)
}
