//! Routes of the ways to machines without a connector: secrets, host keys, runs over SSH.

use super::Api;
use super::extract::{Body, Id};
use super::problem::{ApiError, Kind};
use crate::identity::Principal;
use crate::reach::{
    AwsOrder, HostKey, RunView, SecretKind, SecretRecord, Source, SourceChange, SourceDetail, SourceNew, SshOrder,
};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{Page, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A secret for the vault; it is never given out again.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretBody {
    /// Name.
    name: String,
    /// What it opens.
    kind: SecretKind,
    /// The secret itself.
    secret: String,
}

/// A run that has begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunBegun {
    /// Id.
    id: String,
}

fn whole<T>(items: Vec<T>) -> Json<Page<T>> {
    Json(Page { total: Some(items.len() as i64), items, next_cursor: None })
}

impl From<crate::reach::ReachError> for ApiError {
    fn from(error: crate::reach::ReachError) -> Self {
        use crate::reach::ReachError as E;
        let text = error.to_string();
        match error {
            E::Unknown(_) => Self::with(Kind::NotFound, text),
            E::Value(_) => Self::with(Kind::Invalid, text),
            E::Taken(_) => Self::with(Kind::StepOpen, text),
            E::Resting(_) => Self::with(Kind::SourceResting, text),
            E::Exists(_) | E::Sealed(_) => Self::with(Kind::Conflict, text),
            E::Connect(error) => error.into(),
            E::Plane(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(secret_list, secret_create))
        .routes(routes!(secret_delete))
        .routes(routes!(host_list))
        .routes(routes!(host_delete))
        .routes(routes!(ssh_start))
        .routes(routes!(aws_start))
        .routes(routes!(run_list))
        .routes(routes!(run_get))
        .routes(routes!(source_list, source_create))
        .routes(routes!(source_get, source_patch, source_delete))
        .routes(routes!(source_run))
}

/// Secrets of the vault, without what they are.
#[utoipa::path(get, path = "/reach/secrets", tag = "connectors", responses((status = 200, body = Page<SecretRecord>)))]
pub async fn secret_list(State(api): State<Api>) -> Result<Json<Page<SecretRecord>>, ApiError> {
    Ok(whole(api.reach.secret_list().await?))
}

/// Puts a secret into the vault; nothing gives it out again.
#[utoipa::path(post, path = "/reach/secrets", tag = "connectors", request_body = SecretBody,
    responses((status = 201, body = SecretRecord), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn secret_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(body): Body<SecretBody>,
) -> Result<(StatusCode, Json<SecretRecord>), ApiError> {
    let made = api.reach.secret_put(&body.name, body.kind, &body.secret, &who.name, crate::now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Removes a secret.
#[utoipa::path(delete, path = "/reach/secrets/{name}", tag = "connectors", params(("name" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn secret_delete(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    api.reach.secret_delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hosts whose SSH keys are known.
#[utoipa::path(get, path = "/reach/hosts", tag = "connectors", responses((status = 200, body = Page<HostKey>)))]
pub async fn host_list(State(api): State<Api>) -> Result<Json<Page<HostKey>>, ApiError> {
    Ok(whole(api.reach.host_list().await?))
}

/// Forgets the SSH keys of a host: the next ones must be accepted anew.
#[utoipa::path(delete, path = "/reach/hosts/{address}", tag = "connectors", params(("address" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn host_delete(State(api): State<Api>, Path(address): Path<String>) -> Result<StatusCode, ApiError> {
    api.reach.host_forget(&address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins to connect hosts by SSH.
#[utoipa::path(post, path = "/reach/ssh", tag = "connectors", request_body = SshOrder,
    responses((status = 202, body = RunBegun), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem)))]
pub async fn ssh_start(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(order): Body<SshOrder>,
) -> Result<(StatusCode, Json<RunBegun>), ApiError> {
    let id = api.reach.ssh_start(order, &who.name, crate::now()).await?;
    Ok((StatusCode::ACCEPTED, Json(RunBegun { id })))
}

/// Begins to take in the machines of a region of AWS.
#[utoipa::path(post, path = "/reach/aws", tag = "connectors", request_body = AwsOrder,
    responses((status = 202, body = RunBegun), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem)))]
pub async fn aws_start(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(order): Body<AwsOrder>,
) -> Result<(StatusCode, Json<RunBegun>), ApiError> {
    let id = api.reach.aws_start(order, &who.name, crate::now()).await?;
    Ok((StatusCode::ACCEPTED, Json(RunBegun { id })))
}

/// The newest runs, with what became of every host.
#[utoipa::path(get, path = "/reach/runs", tag = "connectors", responses((status = 200, body = Page<RunView>)))]
pub async fn run_list(State(api): State<Api>) -> Json<Page<RunView>> {
    whole(api.reach.run_list())
}

/// One run.
#[utoipa::path(get, path = "/reach/runs/{id}", tag = "connectors", params(("id" = String, Path,)),
    responses((status = 200, body = RunView), (status = 404, body = Problem)))]
pub async fn run_get(State(api): State<Api>, Id(id): Id<String>) -> Result<Json<RunView>, ApiError> {
    Ok(Json(api.reach.run_get(&id)?))
}

/// Clouds whose machines are taken in again and again, by name.
#[utoipa::path(get, path = "/reach/sources", tag = "connectors", responses((status = 200, body = Page<Source>)))]
pub async fn source_list(State(api): State<Api>) -> Result<Json<Page<Source>>, ApiError> {
    Ok(whole(api.reach.source_list().await?))
}

/// Makes a source; its first round begins at once.
#[utoipa::path(post, path = "/reach/sources", tag = "connectors", request_body = SourceNew,
    responses((status = 201, body = Source), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem)))]
pub async fn source_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(new): Body<SourceNew>,
) -> Result<(StatusCode, Json<Source>), ApiError> {
    Ok((StatusCode::CREATED, Json(api.reach.source_create(&new, &who.name).await?)))
}

/// A source with the instances that need somebody.
#[utoipa::path(get, path = "/reach/sources/{name}", tag = "connectors", params(("name" = String, Path,)),
    responses((status = 200, body = SourceDetail), (status = 404, body = Problem)))]
pub async fn source_get(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<SourceDetail>, ApiError> {
    Ok(Json(api.reach.source_detail(&name).await?))
}

/// Changes a source: whether it rests, whether it brings the connector onto machines, how often.
#[utoipa::path(patch, path = "/reach/sources/{name}", tag = "connectors", params(("name" = String, Path,)),
    request_body = SourceChange,
    responses((status = 200, body = Source), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn source_patch(
    State(api): State<Api>,
    Path(name): Path<String>,
    Body(change): Body<SourceChange>,
) -> Result<Json<Source>, ApiError> {
    Ok(Json(api.reach.source_change(&name, &change).await?))
}

/// Removes a source; its machines stay.
#[utoipa::path(delete, path = "/reach/sources/{name}", tag = "connectors", params(("name" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn source_delete(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    api.reach.source_delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has a source worked on at once.
#[utoipa::path(post, path = "/reach/sources/{name}/run", tag = "connectors", params(("name" = String, Path,)),
    responses((status = 202, body = Source), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn source_run(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Source>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(api.reach.source_run(&name).await?)))
}
