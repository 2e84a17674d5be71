//! Routes of roles, assignments, groups of users and device groups.

use super::Api;
use super::extract::{Body, Id};
use super::problem::ApiError;
use crate::access::group::{Condition, GroupPreview};
use crate::access::store::DeviceGroupBody;
use crate::access::{Action, Assignment, AssignmentNew, DeviceGroup, Rights, RoleView};
use crate::identity::Principal;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{Page, Problem};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// An action with its words.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActionView {
    /// Its word.
    name: Action,
    /// What it lets one do.
    title: &'static str,
}

/// A place where an action is allowed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReachView {
    /// The action.
    action: Action,
    /// In the whole tenant.
    everywhere: bool,
    /// In these subscriptions.
    subscriptions: Vec<String>,
    /// On devices of these groups.
    device_groups: Vec<String>,
}

/// A role of the operator's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleBody {
    /// What it is for.
    #[serde(default)]
    title: String,
    /// What it lets one do.
    actions: Vec<Action>,
}

/// A group of users.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserGroupView {
    /// Name.
    name: String,
    /// Names of its members.
    members: Vec<String>,
}

/// Members of a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MembersBody {
    /// Names of users, replacing those that are in it.
    members: Vec<String>,
}

/// A device group that is thought of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupPreviewBody {
    /// The group that would be changed; a new one unless given.
    #[serde(default)]
    id: String,
    /// Rank from 1; as it is, or last, unless given.
    rank: Option<i64>,
    /// All of them must hold.
    rules: Vec<Condition>,
}

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(action_list))
        .routes(routes!(access_me))
        .routes(routes!(role_list))
        .routes(routes!(role_put, role_delete))
        .routes(routes!(assignment_list, assignment_create))
        .routes(routes!(assignment_delete))
        .routes(routes!(user_group_list))
        .routes(routes!(user_group_put))
        .routes(routes!(device_group_list))
        .routes(routes!(device_group_preview))
        .routes(routes!(device_group_put, device_group_delete))
}

fn whole<T>(items: Vec<T>) -> Json<Page<T>> {
    crate::access::audit::count(items.len());
    Json(Page { total: i64::try_from(items.len()).ok(), items, next_cursor: None })
}

/// Everything that can be allowed.
#[utoipa::path(get, path = "/access/actions", tag = "access", responses((status = 200, body = Page<ActionView>)))]
pub async fn action_list() -> Json<Page<ActionView>> {
    whole(Action::ALL.iter().map(|a| ActionView { name: *a, title: a.title() }).collect())
}

/// What the caller may do, and where.
#[utoipa::path(get, path = "/access/me", tag = "access", responses((status = 200, body = Page<ReachView>)))]
pub async fn access_me(Extension(rights): Extension<Arc<Rights>>) -> Json<Page<ReachView>> {
    let view = |action: Action| {
        let reach = rights.reach(action);
        ReachView {
            action,
            everywhere: reach.all,
            subscriptions: reach.subscriptions.iter().map(ToString::to_string).collect(),
            device_groups: reach.groups.into_iter().collect(),
        }
    };
    whole(rights.actions().into_iter().map(view).collect())
}

/// All roles: those of the program, then the operator's own.
#[utoipa::path(get, path = "/access/roles", tag = "access", responses((status = 200, body = Page<RoleView>)))]
pub async fn role_list(State(api): State<Api>) -> Result<Json<Page<RoleView>>, ApiError> {
    Ok(whole(api.shared.access.roles(crate::now()).await?))
}

/// Makes or changes a role of the operator's own.
#[utoipa::path(put, path = "/access/roles/{name}", tag = "access", params(("name" = String, Path,)), request_body = RoleBody,
    responses((status = 204), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub async fn role_put(
    State(api): State<Api>,
    Extension(rights): Extension<Arc<Rights>>,
    Id(name): Id<String>,
    Body(body): Body<RoleBody>,
) -> Result<StatusCode, ApiError> {
    api.shared.access.role_put(&name, &body.title, &body.actions, &rights, crate::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a role of the operator's own, and its assignments with it.
#[utoipa::path(delete, path = "/access/roles/{name}", tag = "access", params(("name" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn role_delete(
    State(api): State<Api>,
    Extension(rights): Extension<Arc<Rights>>,
    Id(name): Id<String>,
) -> Result<StatusCode, ApiError> {
    api.shared.access.role_delete(&name, &rights, crate::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who has which role where.
#[utoipa::path(get, path = "/access/assignments", tag = "access", responses((status = 200, body = Page<Assignment>)))]
pub async fn assignment_list(State(api): State<Api>) -> Result<Json<Page<Assignment>>, ApiError> {
    Ok(whole(api.shared.access.assignments().await?))
}

/// Gives a role. Nobody gives what he does not have.
#[utoipa::path(post, path = "/access/assignments", tag = "access", request_body = AssignmentNew,
    responses((status = 201, body = Assignment), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn assignment_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(rights): Extension<Arc<Rights>>,
    Body(new): Body<AssignmentNew>,
) -> Result<(StatusCode, Json<Assignment>), ApiError> {
    let made = api.shared.access.assign(&new, &rights, &who.name, crate::now()).await?;
    crate::access::audit::target(format!("access/assignments/{}", made.id));
    Ok((StatusCode::CREATED, Json(made)))
}

/// Takes a role back.
#[utoipa::path(delete, path = "/access/assignments/{id}", tag = "access", params(("id" = String, Path,)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn assignment_delete(
    State(api): State<Api>,
    Extension(rights): Extension<Arc<Rights>>,
    Id(id): Id<String>,
) -> Result<StatusCode, ApiError> {
    api.shared.access.unassign(&id, &rights, crate::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Groups of users.
#[utoipa::path(get, path = "/access/user-groups", tag = "access", responses((status = 200, body = Page<UserGroupView>)))]
pub async fn user_group_list(State(api): State<Api>) -> Result<Json<Page<UserGroupView>>, ApiError> {
    let all = api.shared.access.user_groups().await?;
    Ok(whole(all.into_iter().map(|(name, members)| UserGroupView { name, members }).collect()))
}

/// Replaces the members of a group of users; without members it is no more.
#[utoipa::path(put, path = "/access/user-groups/{name}", tag = "access", params(("name" = String, Path,)),
    request_body = MembersBody, responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn user_group_put(
    State(api): State<Api>,
    Extension(rights): Extension<Arc<Rights>>,
    Id(name): Id<String>,
    Body(body): Body<MembersBody>,
) -> Result<StatusCode, ApiError> {
    api.shared.access.user_group_put(&name, &body.members, &rights, crate::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Device groups in order of rank, the default one last.
#[utoipa::path(get, path = "/device-groups", tag = "access", responses((status = 200, body = Page<DeviceGroup>)))]
pub async fn device_group_list(State(api): State<Api>) -> Result<Json<Page<DeviceGroup>>, ApiError> {
    Ok(whole(api.shared.access.device_groups(crate::now()).await?))
}

/// What a device group would hold. Changes nothing.
#[utoipa::path(post, path = "/device-groups/preview", tag = "access", request_body = GroupPreviewBody,
    responses((status = 200, body = GroupPreview), (status = 400, body = Problem)))]
pub async fn device_group_preview(
    State(api): State<Api>,
    Body(body): Body<GroupPreviewBody>,
) -> Result<Json<GroupPreview>, ApiError> {
    let found = api.shared.access.device_group_preview(&body.id, body.rank, &body.rules, crate::now()).await?;
    crate::access::audit::count(found.items.len());
    Ok(Json(found))
}

/// Makes or changes a device group. Of the group `ungrouped` only the automation level can be changed.
#[utoipa::path(put, path = "/device-groups/{id}", tag = "access", params(("id" = String, Path,)),
    request_body = DeviceGroupBody,
    responses((status = 200, body = DeviceGroup), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn device_group_put(
    State(api): State<Api>,
    Id(id): Id<String>,
    Body(body): Body<DeviceGroupBody>,
) -> Result<Json<DeviceGroup>, ApiError> {
    let now = crate::now();
    api.shared.access.device_group_put(&id, &body, now).await?;
    let all = api.shared.access.device_groups(now).await?;
    let made = all.into_iter().find(|g| g.id == id);
    made.map(Json).ok_or_else(|| ApiError::new(super::Kind::NotFound))
}

/// Removes a device group; its devices go to the next one that fits.
#[utoipa::path(delete, path = "/device-groups/{id}", tag = "access", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn device_group_delete(State(api): State<Api>, Id(id): Id<String>) -> Result<StatusCode, ApiError> {
    api.shared.access.device_group_delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
