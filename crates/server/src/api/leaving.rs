//! Moving a machine to another tenant.

use super::Api;
use super::extract::{Id, Query};
use super::problem::{ApiError, Kind};
use crate::identity::Principal;
use crate::plane::leaving::{LeavingFacts, LeavingStep, steps};
use axum::extract::State;
use axum::{Extension, Json};
use garrison_model::{Machine, MachineId, Problem, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Where to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LeavingQuery {
    /// Tenant that the machine is to go to. It need not be known here.
    #[param(value_type = Option<String>)]
    to_tenant: Option<TenantId>,
}

/// What must be done before a machine may leave.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeavingView {
    /// Machine.
    machine_id: String,
    /// Its resource id here.
    resource_id: String,
    /// Where it is to go.
    to_tenant: String,
    /// Whether no step is open.
    ready: bool,
    /// Steps.
    steps: Vec<LeavingStep>,
}

async fn look(api: &Api, id: &MachineId, to: Option<&TenantId>) -> Result<(Machine, LeavingView), ApiError> {
    let (shared, now) = (&api.shared, crate::now());
    let machine = shared.plane.machine(&shared.tenant, id, now).await?;
    let to = to
        .ok_or_else(|| ApiError::with(Kind::BadQuery, "toTenant: must name the tenant that the machine is to go to"))?;
    let standing = api.connect.standing(id);
    let days = crate::retention::days(&shared.db, &shared.tenant).await.map_err(|e| ApiError::internal(&e))?;
    let facts = LeavingFacts {
        to_itself: *to == shared.tenant,
        offboarded: standing.as_ref().and_then(|s| s.offboarded.as_ref()).map(|off| off.done),
        has_connector: standing.is_some(),
        state: machine.state,
        device_live: machine.device_id.as_ref().is_some_and(|d| shared.fleet.device(d).is_some_and(|d| !d.revoked)),
        geography: shared.plane.tenant(&shared.tenant).await?.geography.to_string(),
        kept_until: crate::retention::after(now, days.inactive_device_days),
    };
    let steps = steps(&facts);
    let view = LeavingView {
        machine_id: id.to_string(),
        resource_id: machine.resource_id.to_string(),
        to_tenant: to.to_string(),
        ready: steps.iter().all(|step| step.done),
        steps,
    };
    Ok((machine, view))
}

/// The steps before a machine may go to another tenant, and how they stand. Nothing is changed.
#[utoipa::path(get, path = "/machines/{id}/leaving", tag = "plane", params(("id" = String, Path,), LeavingQuery),
    responses((status = 200, body = LeavingView), (status = 404, body = Problem)))]
pub async fn leaving_get(
    State(api): State<Api>,
    Id(id): Id<MachineId>,
    Query(q): Query<LeavingQuery>,
) -> Result<Json<LeavingView>, ApiError> {
    Ok(Json(look(&api, &id, q.to_tenant.as_ref()).await?.1))
}

/// Lets a machine go: its identity here ends and the machine is forgotten; its data stays. Refused while a step is open.
#[utoipa::path(post, path = "/machines/{id}/leaving", tag = "plane", params(("id" = String, Path,), LeavingQuery),
    responses((status = 200, body = LeavingView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn leaving_post(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<MachineId>,
    Query(q): Query<LeavingQuery>,
) -> Result<Json<LeavingView>, ApiError> {
    let (machine, view) = look(&api, &id, q.to_tenant.as_ref()).await?;
    if let Some(open) = view.steps.iter().find(|step| !step.done) {
        let words = format!("the machine cannot leave yet: {} ({})", open.title, open.detail);
        return Err(ApiError::with(Kind::StepOpen, words));
    }
    let now = crate::now();
    if let Some(device) = &machine.device_id {
        api.shared.device_revoke(device, "its machine went to another tenant", &who.name, now).await?;
    }
    let mut change = api.shared.plane.change(&api.shared.tenant, &who.name, now).await?;
    change.machine_delete(&id).await?;
    let failed = crate::db::DbError::from;
    crate::recommend::follow(change.conn(), &api.shared.tenant, &machine.resource_id, None).await.map_err(failed)?;
    change.commit().await?;
    Ok(Json(view))
}
