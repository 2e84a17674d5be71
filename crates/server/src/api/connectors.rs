//! Routes of connectors: their tokens, and the extensions of connected machines.

use super::Api;
use super::extract::{Body, Id};
use super::problem::{ApiError, Kind};
use crate::connect::packages::PackageRecord;
use crate::connect::{ConnectorTokenNew, ConnectorTokenRecord, EXTENSION, HistoryLine, OffBoarding};
use crate::identity::{Principal, TOKEN_EXPIRY_HOURS_DEFAULT, TOKEN_USES_DEFAULT};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{GroupName, MachineId, Page, Problem, SubscriptionId, extension_name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A new token that connects machines.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectorTokenBody {
    /// What it is for.
    name: String,
    /// Hours it holds; 24 unless told otherwise.
    expires_hours: Option<i64>,
    /// Machines it connects; 100 unless told otherwise.
    uses: Option<i64>,
    /// Only into this subscription.
    #[schema(value_type = Option<String>)]
    subscription: Option<SubscriptionId>,
    /// Only into this resource group.
    #[schema(value_type = Option<String>)]
    resource_group: Option<GroupName>,
}

/// A token with its text, which is shown once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorTokenView {
    #[serde(flatten)]
    record: ConnectorTokenRecord,
    /// `gc1_…`
    token: String,
}

/// All tokens that connect machines, without their secrets.
#[utoipa::path(get, path = "/connector-tokens", tag = "connectors",
    responses((status = 200, body = Page<ConnectorTokenRecord>)))]
pub async fn connector_token_list(State(api): State<Api>) -> Result<Json<Page<ConnectorTokenRecord>>, ApiError> {
    let items = api.connect.token_list().await?;
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Makes a token that connects machines; its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/connector-tokens", tag = "connectors", request_body = ConnectorTokenBody,
    responses((status = 201, body = ConnectorTokenView), (status = 400, body = Problem)))]
pub async fn connector_token_create(
    State(api): State<Api>,
    Body(body): Body<ConnectorTokenBody>,
) -> Result<(StatusCode, Json<ConnectorTokenView>), ApiError> {
    let new = ConnectorTokenNew {
        name: body.name,
        expires_hours: body.expires_hours.unwrap_or(TOKEN_EXPIRY_HOURS_DEFAULT),
        uses: body.uses.unwrap_or(TOKEN_USES_DEFAULT),
        subscription: body.subscription,
        resource_group: body.resource_group,
    };
    let (token, record) = api.connect.token_create(&new, crate::now()).await?;
    Ok((StatusCode::CREATED, Json(ConnectorTokenView { record, token })))
}

/// Revokes a token that connects machines.
#[utoipa::path(delete, path = "/connector-tokens/{id}", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn connector_token_delete(State(api): State<Api>, Id(id): Id<String>) -> Result<StatusCode, ApiError> {
    if !api.connect.token_revoke(&id).await? {
        return Err(ApiError::new(Kind::NotFound));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What became of a machine's extensions, newest first.
#[utoipa::path(get, path = "/machines/{id}/extension-history", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 200, body = Page<HistoryLine>), (status = 404, body = Problem)))]
pub async fn extension_history(
    State(api): State<Api>,
    Id(id): Id<MachineId>,
) -> Result<Json<Page<HistoryLine>>, ApiError> {
    api.shared.plane.machine(&api.shared.tenant, &id, crate::now()).await?;
    let items = api.connect.history(&id).await?;
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Deletes an extension of a machine. With the plan on it is deployed again, once; the sensor itself stays.
#[utoipa::path(delete, path = "/machines/{id}/extensions/{name}", tag = "connectors",
    params(("id" = String, Path,), ("name" = String, Path,)),
    responses((status = 202), (status = 404, body = Problem)))]
pub async fn extension_delete(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Path((id, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let missing = || ApiError::with(Kind::NotFound, "the machine has no such extension");
    let id = MachineId::new(&id).map_err(|_| missing())?;
    if extension_name(&name) != Some(EXTENSION) {
        return Err(missing());
    }
    api.connect.extension_delete(&id, &who.name).await?;
    Ok(StatusCode::ACCEPTED)
}

/// How the off-boarding of a machine stands.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineOffBoarding {
    /// Whether the machine had said already that everything is gone; otherwise it was told to now, or before.
    pub done: bool,
}

/// Off-boards a machine: the sensor and the connector's state go from it, and nothing is deployed on it again by
/// itself. One that is off-boarded stays so.
#[utoipa::path(post, path = "/machines/{id}/offboard", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 200, body = MachineOffBoarding), (status = 202, body = MachineOffBoarding),
    (status = 404, body = Problem)))]
pub async fn machine_offboard(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<MachineId>,
) -> Result<(StatusCode, Json<MachineOffBoarding>), ApiError> {
    let done = api.connect.offboard(&id, &who.name).await?;
    Ok((if done { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(MachineOffBoarding { done })))
}

/// Takes an off-boarding back: the plan counts again on this machine.
#[utoipa::path(post, path = "/machines/{id}/onboard", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 202), (status = 404, body = Problem)))]
pub async fn machine_onboard(State(api): State<Api>, Id(id): Id<MachineId>) -> Result<StatusCode, ApiError> {
    api.connect.onboard(&id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// How the off-boarding of all machines of the tenant stands.
#[utoipa::path(get, path = "/tenant/off-board", tag = "connectors", responses((status = 200, body = OffBoarding)))]
pub async fn tenant_off_boarding(State(api): State<Api>) -> Result<Json<OffBoarding>, ApiError> {
    Ok(Json(api.connect.offboarding().await?))
}

/// Off-boards every machine of the tenant that has a connector, before the tenant is reset.
#[utoipa::path(post, path = "/tenant/off-board", tag = "connectors", responses((status = 202, body = OffBoarding)))]
pub async fn tenant_off_board(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
) -> Result<(StatusCode, Json<OffBoarding>), ApiError> {
    api.connect.offboard_all(&who.name).await?;
    Ok((StatusCode::ACCEPTED, Json(api.connect.offboarding().await?)))
}

/// Packages of the sensor, newest first, with those that are refused.
#[utoipa::path(get, path = "/packages", tag = "connectors", responses((status = 200, body = Page<PackageRecord>)))]
pub async fn package_list(State(api): State<Api>) -> Result<Json<Page<PackageRecord>>, ApiError> {
    // Who has just added one asks for it.
    api.connect.packages_look().await;
    let items = api.connect.packages().list();
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}
