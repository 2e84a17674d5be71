//! Routes of the cloud plane: tenant, subscriptions, resource groups, machines, plans, exclusions, coverage, fleet file.

use super::Api;
use super::cursor::Cursor;
use super::extract::{Body, Query, limit, one};
use super::problem::{ApiError, Kind};
use crate::access::Sees;
use crate::db::DbError;
use crate::health::HealthFilter;
use crate::identity::Principal;
use crate::plane::fleet_file::{Applied, FleetFile};
use crate::plane::{
    BulkChange, BulkPreview, Coverage, Exclusion, ExclusionNew, MachineFilter, PlanLine, Plane, PlaneError,
    SubscriptionNew,
};
use crate::recommend;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{
    ConnectionState, DeviceId, Geography, GroupName, HealthClass, HealthState, Machine, MachineId, Page, Plan, Problem,
    ResourceGroup, ResourceId, Subscription, SubscriptionId, Tags, Tenant,
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};

/// Name of the list of machines in its cursors.
const MACHINES: &str = "machines:name";

/// Where the tenant is to rest.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantBody {
    /// Geography.
    geography: Geography,
}

/// A geography of this server.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeographyLine {
    /// Code.
    code: Geography,
    /// Name.
    name: String,
    /// Locations in it.
    locations: Vec<String>,
    /// Root of its lakes.
    lake_root: String,
    /// Root of its control data.
    control_root: String,
}

/// A plan for a subscription or machine.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanBody {
    /// Plan.
    plan: Plan,
    /// Geography for the tenant, should there be none yet; only on subscriptions.
    geography: Option<Geography>,
}

/// A switch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchBody {
    /// Whether it is on.
    enabled: bool,
}

/// What to change about a machine.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineBody {
    /// Tags, replacing those that are there.
    tags: Option<Tags>,
    /// Where it goes: another subscription, resource group or name.
    resource_id: Option<ResourceId>,
}

/// Filters of machines.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MachineQuery {
    /// In this subscription.
    subscription: Option<String>,
    /// In resource groups of this name.
    group: Option<String>,
    /// With this tag: `name` or `name=value`.
    tag: Option<String>,
    /// `Connecting`, `Connected`, `Disconnected` or `Expired`.
    state: Option<String>,
    /// `Off`, `P1` or `P2` in force.
    plan: Option<String>,
    /// With this resource id.
    #[serde(rename = "resourceId")]
    resource_id: Option<String>,
    /// Part of the name.
    q: Option<String>,
    /// In these states of health, or with findings of these classes: `Healthy`, `Pending`, `Unhealthy`, `Installation`,
    /// `Heartbeat`, `NotApplicable`, separated by commas.
    health: Option<String>,
    /// Of these devices: at most 100 ids, separated by commas.
    device: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// How to apply a fleet file.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApplyQuery {
    /// Only tell what would change.
    #[serde(rename = "dryRun")]
    dry_run: Option<bool>,
}

/// Reads a part of the path; what cannot be an id names nothing.
fn part<T: FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::new(Kind::NotFound))
}

/// Runs a change of the cloud plane and commits it.
macro_rules! change {
    ($api:ident, $who:ident, |$change:ident| $body:expr) => {{
        let now = crate::now();
        let mut $change = $api.shared.plane.change(&$api.shared.tenant, &$who.name, now).await?;
        let value = $body;
        $change.commit().await?;
        value
    }};
}

fn whole<T>(items: Vec<T>) -> Json<Page<T>> {
    Json(Page { total: Some(items.len() as i64), items, next_cursor: None })
}

/// The caller is in the tenant, so where there is none it was not made yet.
fn own_tenant(error: PlaneError) -> ApiError {
    match error {
        PlaneError::Unknown("tenant") => ApiError::new(Kind::TenantNotMade),
        other => other.into(),
    }
}

/// The caller's tenant. There is none before the first machine is connected or the first plan switched on.
#[utoipa::path(get, path = "/tenant", tag = "plane", responses((status = 200, body = Tenant), (status = 404, body = Problem)))]
pub async fn tenant_get(State(api): State<Api>) -> Result<Json<Tenant>, ApiError> {
    Ok(Json(api.shared.plane.tenant(&api.shared.tenant).await.map_err(own_tenant)?))
}

/// Confirms the tenant's geography; another one is refused, because it never changes.
#[utoipa::path(put, path = "/tenant", tag = "plane", request_body = TenantBody,
    responses((status = 200, body = Tenant), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn tenant_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(body): Body<TenantBody>,
) -> Result<Json<Tenant>, ApiError> {
    Ok(Json(change!(api, who, |c| c.tenant_geography(&body.geography).await.map_err(own_tenant)?)))
}

/// Geographies of this server.
#[utoipa::path(get, path = "/geographies", tag = "plane", responses((status = 200, body = Page<GeographyLine>)))]
pub async fn geography_list(State(api): State<Api>) -> Json<Page<GeographyLine>> {
    let known = &api.shared.plane.geographies().known;
    whole(
        known
            .iter()
            .map(|(code, g)| GeographyLine {
                code: code.clone(),
                name: g.name.clone(),
                locations: g.locations.clone(),
                lake_root: g.lake.clone(),
                control_root: g.control.clone(),
            })
            .collect(),
    )
}

/// All subscriptions, by name.
#[utoipa::path(get, path = "/subscriptions", tag = "plane", responses((status = 200, body = Page<Subscription>)))]
pub async fn subscription_list(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
) -> Result<Json<Page<Subscription>>, ApiError> {
    let mut all = api.shared.plane.subscriptions(&api.shared.tenant, crate::now()).await?;
    all.retain(|s| sees.subscription(&s.id));
    crate::access::audit::count(all.len());
    Ok(whole(all))
}

/// Makes a subscription, or brings the one with this id to what is sent: the same twice changes nothing.
#[utoipa::path(post, path = "/subscriptions", tag = "plane", request_body = SubscriptionNew,
    responses((status = 200, body = Subscription), (status = 201, body = Subscription), (status = 400, body = Problem)))]
pub async fn subscription_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(new): Body<SubscriptionNew>,
) -> Result<(StatusCode, Json<Subscription>), ApiError> {
    let (id, is_new) = change!(api, who, |c| c.subscription_put(&new).await?);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(api.shared.plane.subscription(&api.shared.tenant, &id, crate::now()).await?)))
}

/// One subscription.
#[utoipa::path(get, path = "/subscriptions/{id}", tag = "plane", params(("id" = String, Path,)),
    responses((status = 200, body = Subscription), (status = 404, body = Problem)))]
pub async fn subscription_get(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Subscription>, ApiError> {
    Ok(Json(api.shared.plane.subscription(&api.shared.tenant, &part(&id)?, crate::now()).await?))
}

/// Removes a subscription that holds no machine.
#[utoipa::path(delete, path = "/subscriptions/{id}", tag = "plane", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn subscription_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: SubscriptionId = part(&id)?;
    change!(api, who, |c| c.subscription_delete(&id).await?);
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the plan of a subscription; the first one that is switched on begins the trial and makes the tenant.
#[utoipa::path(put, path = "/subscriptions/{id}/plan", tag = "plane", params(("id" = String, Path,)),
    request_body = PlanBody,
    responses((status = 200, body = Subscription), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn subscription_plan_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
    Body(body): Body<PlanBody>,
) -> Result<Json<Subscription>, ApiError> {
    let id: SubscriptionId = part(&id)?;
    change!(api, who, |c| c.plan_set(&id, body.plan, body.geography.as_ref()).await?);
    Ok(Json(api.shared.plane.subscription(&api.shared.tenant, &id, crate::now()).await?))
}

/// Takes the plan of a subscription away; the settings of single machines stay.
#[utoipa::path(delete, path = "/subscriptions/{id}/plan", tag = "plane", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn subscription_plan_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: SubscriptionId = part(&id)?;
    change!(api, who, |c| c.plan_clear(&id).await?);
    Ok(StatusCode::NO_CONTENT)
}

/// Switches on or off that sensors are installed by themselves.
#[utoipa::path(put, path = "/subscriptions/{id}/integration", tag = "plane", params(("id" = String, Path,)),
    request_body = SwitchBody, responses((status = 200, body = Subscription), (status = 404, body = Problem)))]
pub async fn subscription_integration_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
    Body(body): Body<SwitchBody>,
) -> Result<Json<Subscription>, ApiError> {
    let id: SubscriptionId = part(&id)?;
    change!(api, who, |c| c.integration_set(&id, body.enabled).await?);
    Ok(Json(api.shared.plane.subscription(&api.shared.tenant, &id, crate::now()).await?))
}

/// Resource groups of a subscription.
#[utoipa::path(get, path = "/subscriptions/{id}/resource-groups", tag = "plane", params(("id" = String, Path,)),
    responses((status = 200, body = Page<ResourceGroup>), (status = 404, body = Problem)))]
pub async fn group_list(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Page<ResourceGroup>>, ApiError> {
    let id: SubscriptionId = part(&id)?;
    api.shared.plane.subscription(&api.shared.tenant, &id, crate::now()).await?;
    Ok(whole(api.shared.plane.groups(&api.shared.tenant, &id).await?))
}

/// Makes a resource group where it is not there yet.
#[utoipa::path(put, path = "/subscriptions/{id}/resource-groups/{name}", tag = "plane",
    params(("id" = String, Path,), ("name" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn group_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path((id, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (id, name): (SubscriptionId, _) = (part(&id)?, group_name(&name)?);
    change!(api, who, |c| c.group_put(&id, &name).await?);
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a resource group that holds no machine.
#[utoipa::path(delete, path = "/subscriptions/{id}/resource-groups/{name}", tag = "plane",
    params(("id" = String, Path,), ("name" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn group_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path((id, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (id, name): (SubscriptionId, GroupName) = (part(&id)?, part(&name)?);
    change!(api, who, |c| c.group_delete(&id, &name).await?);
    Ok(StatusCode::NO_CONTENT)
}

/// A name that somebody makes up is judged, not looked for.
fn group_name(text: &str) -> Result<GroupName, ApiError> {
    text.parse().map_err(|e: garrison_model::IdError| {
        ApiError::with(Kind::Invalid, format!("{e}: 1 to 90 letters, digits and `_-.()`, no dot at either end"))
    })
}

/// Devices that one question may name: a page of alerts has no more.
const DEVICES_MAX: usize = 100;

fn devices(text: Option<&str>) -> Result<Vec<DeviceId>, ApiError> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(Vec::new()) };
    let bad = |words: String| ApiError::with(Kind::BadQuery, words);
    if text.split(',').nth(DEVICES_MAX).is_some() {
        return Err(bad(format!("device: at most {DEVICES_MAX} ids are taken at once")));
    }
    text.split(',').map(|id| DeviceId::new(id).map_err(|e| bad(format!("device: {e}")))).collect()
}

fn filter(q: &MachineQuery) -> Result<MachineFilter, ApiError> {
    Ok(MachineFilter {
        subscription: one(q.subscription.as_deref(), "subscription")?,
        group: one(q.group.as_deref(), "group")?,
        tag: q.tag.as_deref().filter(|t| !t.is_empty()).map(|t| match t.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (t.to_owned(), None),
        }),
        state: one::<ConnectionState>(q.state.as_deref(), "state")?,
        plan: one::<Plan>(q.plan.as_deref(), "plan")?,
        resource: one(q.resource_id.as_deref(), "resourceId")?,
        part: q.q.clone().filter(|p| !p.is_empty()),
        devices: devices(q.device.as_deref())?,
        sees: None,
        only: None,
    })
}

/// Machines whose health is asked for; `None` where any will do.
fn health_only(api: &Api, text: Option<&str>) -> Result<Option<HashSet<MachineId>>, ApiError> {
    let words: Vec<&str> = text.unwrap_or_default().split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
    if words.is_empty() {
        return Ok(None);
    }
    let mut only = HashSet::new();
    for word in words.into_iter().take(8) {
        let filter = match (word.parse::<HealthClass>(), word.parse::<HealthState>()) {
            (Ok(class), _) => HealthFilter { class: Some(class), ..HealthFilter::default() },
            (_, Ok(state)) => HealthFilter { state: Some(state), ..HealthFilter::default() },
            (Err(_), Err(error)) => return Err(ApiError::with(Kind::BadQuery, format!("health: {error}"))),
        };
        only.extend(api.health.only(&filter));
    }
    Ok(Some(only))
}

/// Machines, by name.
#[utoipa::path(get, path = "/machines", tag = "plane", params(MachineQuery),
    responses((status = 200, body = Page<Machine>), (status = 400, body = Problem)))]
pub async fn machine_list(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Query(q): Query<MachineQuery>,
) -> Result<Json<Page<Machine>>, ApiError> {
    let only = health_only(&api, q.health.as_deref())?;
    let (filter, limit) = (MachineFilter { sees: Some(sees), only, ..filter(&q)? }, limit(q.limit)?);
    let after = match q.cursor.as_deref() {
        None => None,
        Some(text) => Some(Cursor::decode(MACHINES, text).ok_or_else(|| ApiError::new(Kind::BadCursor))?),
    };
    let after = after.as_ref().map(|c| (c.key.as_str(), c.id.as_str()));
    let tenant = &api.shared.tenant;
    // One more than asked tells whether there is a next page.
    let mut items = api.shared.plane.machines(tenant, &filter, after, limit + 1, crate::now()).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    api.health.fill(&mut items);
    crate::access::audit::count(items.len());
    let next_cursor = items
        .last()
        .filter(|_| more)
        .map(|last| Cursor { key: last.name.key(), id: last.id.to_string() }.encode(MACHINES));
    Ok(Json(Page { items, next_cursor, total: None }))
}

/// One machine.
#[utoipa::path(get, path = "/machines/{id}", tag = "plane", params(("id" = String, Path,)),
    responses((status = 200, body = Machine), (status = 404, body = Problem)))]
pub async fn machine_get(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Machine>, ApiError> {
    let machine = api.shared.plane.machine(&api.shared.tenant, &part(&id)?, crate::now()).await?;
    let health = api.health.of(&machine.id);
    Ok(Json(Machine { health, ..machine }))
}

/// Changes a machine's tags or moves it.
#[utoipa::path(patch, path = "/machines/{id}", tag = "plane", params(("id" = String, Path,)),
    request_body = MachineBody, responses((status = 200, body = Machine), (status = 400, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn machine_patch(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(sees): Extension<Sees>,
    Path(id): Path<String>,
    Body(body): Body<MachineBody>,
) -> Result<Json<Machine>, ApiError> {
    let id: MachineId = part(&id)?;
    if body.resource_id.as_ref().is_some_and(|to| !sees.subscription(&to.subscription)) {
        return Err(ApiError::with(Kind::NotFound, "there is no such subscription"));
    }
    let machine = change!(api, who, |c| {
        if let Some(to) = &body.resource_id {
            let from = c.machine(&id).await?.resource_id;
            c.machine_move(&id, to).await?;
            recommend::follow(c.conn(), &api.shared.tenant, &from, Some(to)).await.map_err(DbError::from)?;
        }
        if let Some(tags) = &body.tags {
            c.machine_tags(&id, tags).await?;
        }
        c.machine(&id).await?
    });
    if body.resource_id.is_some() {
        api.connect.moved(&id).await?;
    }
    Ok(Json(machine))
}

/// Forgets a machine; its sensor and its device stay until they are off-boarded.
#[utoipa::path(delete, path = "/machines/{id}", tag = "plane", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn machine_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: MachineId = part(&id)?;
    change!(api, who, |c| {
        let from = c.machine(&id).await?.resource_id;
        c.machine_delete(&id).await?;
        recommend::follow(c.conn(), &api.shared.tenant, &from, None).await.map_err(DbError::from)?;
    });
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the plan of one machine, before its subscription's: `Off` or `P1`; `P2` is refused.
#[utoipa::path(put, path = "/machines/{id}/plan", tag = "plane", params(("id" = String, Path,)),
    request_body = PlanBody, responses((status = 200, body = Machine), (status = 400, body = Problem),
    (status = 404, body = Problem)))]
pub async fn machine_plan_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
    Body(body): Body<PlanBody>,
) -> Result<Json<Machine>, ApiError> {
    let id: MachineId = part(&id)?;
    if body.geography.is_some() {
        return Err(ApiError::with(Kind::Invalid, "a geography is chosen with the plan of a subscription"));
    }
    let machine = change!(api, who, |c| {
        c.override_set(&id, body.plan).await?;
        c.machine(&id).await?
    });
    Ok(Json(machine))
}

/// Takes a machine's own setting away: its subscription's is in force again.
#[utoipa::path(delete, path = "/machines/{id}/plan", tag = "plane", params(("id" = String, Path,)),
    responses((status = 200, body = Machine), (status = 404, body = Problem)))]
pub async fn machine_plan_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Machine>, ApiError> {
    let id: MachineId = part(&id)?;
    let machine = change!(api, who, |c| {
        c.override_clear(&id).await?;
        c.machine(&id).await?
    });
    Ok(Json(machine))
}

/// The table of plans.
#[utoipa::path(get, path = "/plans", tag = "plane", responses((status = 200, body = Page<PlanLine>)))]
pub async fn plan_list() -> Json<Page<PlanLine>> {
    whole(Plane::plans())
}

/// What a change of many machines would do.
#[utoipa::path(post, path = "/plans/preview", tag = "plane", request_body = BulkChange,
    responses((status = 200, body = BulkPreview), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn plan_preview(State(api): State<Api>, Body(body): Body<BulkChange>) -> Result<Json<BulkPreview>, ApiError> {
    Ok(Json(api.shared.plane.bulk_preview(&api.shared.tenant, &body, crate::now()).await?))
}

/// Changes the own settings of many machines, all or none.
#[utoipa::path(post, path = "/plans/bulk", tag = "plane", request_body = BulkChange,
    responses((status = 200, body = BulkPreview), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem)))]
pub async fn plan_bulk(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(body): Body<BulkChange>,
) -> Result<Json<BulkPreview>, ApiError> {
    Ok(Json(change!(api, who, |c| c.bulk(&body).await?)))
}

/// All exclusions, ended ones too.
#[utoipa::path(get, path = "/exclusions", tag = "plane", responses((status = 200, body = Page<Exclusion>)))]
pub async fn exclusion_list(State(api): State<Api>) -> Result<Json<Page<Exclusion>>, ApiError> {
    Ok(whole(api.shared.plane.exclusions(&api.shared.tenant).await?))
}

/// Keeps the sensor away from a subscription, a group, a machine, or machines with a tag.
#[utoipa::path(post, path = "/exclusions", tag = "plane", request_body = ExclusionNew,
    responses((status = 201, body = Exclusion), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn exclusion_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(new): Body<ExclusionNew>,
) -> Result<(StatusCode, Json<Exclusion>), ApiError> {
    Ok((StatusCode::CREATED, Json(change!(api, who, |c| c.exclusion_create(&new).await?))))
}

/// Removes an exclusion.
#[utoipa::path(delete, path = "/exclusions/{id}", tag = "plane", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn exclusion_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    change!(api, who, |c| c.exclusion_delete(&id).await?);
    Ok(StatusCode::NO_CONTENT)
}

/// Machines by plan, why some are not covered, and the state of what plans switch on.
#[utoipa::path(get, path = "/coverage", tag = "plane", responses((status = 200, body = Coverage)))]
pub async fn coverage_get(State(api): State<Api>) -> Result<Json<Coverage>, ApiError> {
    Ok(Json(api.shared.plane.coverage(&api.shared.tenant, crate::now()).await?))
}

/// Brings the fleet to what a document says, whole or not at all; the same twice changes nothing.
#[utoipa::path(post, path = "/fleet/apply", tag = "plane", params(ApplyQuery), request_body = FleetFile,
    responses((status = 200, body = Applied), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn fleet_apply(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Query(q): Query<ApplyQuery>,
    Body(file): Body<FleetFile>,
) -> Result<Json<Applied>, ApiError> {
    let dry_run = q.dry_run.unwrap_or(false);
    let mut change = api.shared.plane.change(&api.shared.tenant, &who.name, crate::now()).await?;
    let changes = change.fleet_apply(&file).await?;
    if !dry_run {
        change.commit().await?;
    }
    Ok(Json(Applied { dry_run, changes }))
}
