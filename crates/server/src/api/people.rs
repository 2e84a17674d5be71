//! Routes of sign-in, users and tokens.

use super::Api;
use super::auth::{COOKIE, cookie};
use super::extract::{Body, Id, Query};
use super::problem::{ApiError, Kind};
use crate::access::{Action, Rights};
use crate::identity::{Principal, SignInError};
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use garrison_model::{Page, Problem, Role};
use garrison_telemetry::json::time_text;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use utoipa::ToSchema;

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    user: UserView,
    signed_in: bool,
    password_set: bool,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    id: Option<String>,
    name: String,
    role: Role,
    password_set: bool,
    /// Whether the user may not sign in.
    disabled: bool,
}

/// Name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    user: String,
    password: String,
}

/// A one-time link's secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    link: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordBody {
    password: String,
    current: Option<String>,
}

/// A new user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserBody {
    name: String,
    role: Role,
}

/// Whether a user may sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserSwitchBody {
    /// Whether it may not.
    disabled: bool,
}

/// A one-time sign-in link.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkView {
    /// Secret for `POST /session/link`, and for the console's `/sign-in?link=`.
    link: String,
}

/// A user with the link to sign in for the first time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    #[serde(flatten)]
    user: UserView,
    /// One-time link.
    link: String,
}

/// A new enrolment token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolmentTokenBody {
    /// What it is for.
    name: String,
    /// Hours it holds; 24 unless told otherwise.
    expires_hours: Option<i64>,
    /// Machines it enrols; 100 unless told otherwise.
    uses: Option<i64>,
}

/// An enrolment token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolmentTokenView {
    id: String,
    name: String,
    created_time: String,
    expires_time: String,
    uses_max: i64,
    uses: i64,
    revoked: bool,
    /// The token's text; only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// A new API token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiTokenBody {
    /// What it is for.
    name: String,
    /// Role; `admin` unless given, which only makes sense with a scope.
    role: Option<Role>,
    /// Hours it holds; without end unless told otherwise.
    expires_hours: Option<i64>,
    /// Actions: the token may do no other ones, whatever its role gives. Needed where there is no role.
    #[serde(default)]
    scope: Vec<Action>,
    /// Ids of device groups: the token sees no other devices.
    #[serde(default)]
    device_groups: Vec<String>,
}

/// An API token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenView {
    id: String,
    name: String,
    role: Role,
    created_time: String,
    expires_time: Option<String>,
    /// Actions that it is bound to; empty: its role's.
    scope: Vec<Action>,
    /// Device groups that it is bound to; empty: all devices.
    device_groups: Vec<String>,
    /// The token's text; only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Nothing to ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

/// Address of the caller, as the socket tells.
#[derive(Debug, Clone, Copy)]
pub struct Peer(IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Ok(Self(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))))
    }
}

fn view(principal: &Principal) -> SessionView {
    SessionView {
        user: UserView {
            id: principal.user.as_ref().map(ToString::to_string),
            name: principal.name.clone(),
            role: principal.role,
            password_set: principal.password_set,
            disabled: false,
        },
        signed_in: true,
        password_set: principal.password_set,
    }
}

fn sign_in_error(error: SignInError, otherwise: Kind) -> ApiError {
    match error {
        SignInError::Wrong => ApiError::new(otherwise),
        SignInError::TooMany { .. } => ApiError::new(Kind::TooMany),
        SignInError::Internal(error) => error.into(),
    }
}

/// The cookie of a new session.
pub(super) fn session_cookie(signed: &crate::identity::SignedIn) -> String {
    format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", signed.cookie, signed.max_age_seconds)
}

fn with_cookie(signed: crate::identity::SignedIn) -> Response {
    let set = session_cookie(&signed);
    (StatusCode::OK, [(header::SET_COOKIE, set)], Json(view(&signed.principal))).into_response()
}

/// Who is signed in.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = SessionView), (status = 401, body = Problem)))]
pub async fn session_get(Extension(who): Extension<Principal>) -> Json<SessionView> {
    Json(view(&who))
}

/// Signs in with name and password.
#[utoipa::path(post, path = "/session", tag = "session", request_body = SignInBody,
    responses((status = 200, body = SessionView), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub async fn session_create(
    State(api): State<Api>,
    Peer(ip): Peer,
    Body(body): Body<SignInBody>,
) -> Result<Response, ApiError> {
    crate::access::audit::who(&body.user);
    let signed = api.shared.identity.sign_in(&body.user, &body.password, ip, crate::now()).await;
    signed.map(with_cookie).map_err(|e| sign_in_error(e, Kind::SignInFailed))
}

/// Signs in with a one-time link.
#[utoipa::path(post, path = "/session/link", tag = "session", request_body = LinkBody,
    responses((status = 200, body = SessionView), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub async fn session_link(
    State(api): State<Api>,
    Peer(ip): Peer,
    Body(body): Body<LinkBody>,
) -> Result<Response, ApiError> {
    let signed = api.shared.identity.sign_in_link(&body.link, ip, crate::now()).await;
    signed
        .inspect(|signed| crate::access::audit::who(&signed.principal.name))
        .map(with_cookie)
        .map_err(|e| sign_in_error(e, Kind::SignInFailed))
}

/// Signs out.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204), (status = 401, body = Problem)))]
pub async fn session_delete(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(cookie) = cookie(&headers) {
        api.shared.identity.sign_out(cookie).await?;
    }
    let gone = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

/// Sets one's own password.
#[utoipa::path(put, path = "/session/password", tag = "session", request_body = PasswordBody,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn password_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    Body(body): Body<PasswordBody>,
) -> Result<StatusCode, ApiError> {
    let Some(user) = &who.user else {
        return Err(ApiError::with(Kind::PasswordRefused, "an API token has no password"));
    };
    let kept = cookie(&headers);
    let set = api.shared.identity.password_set(user, body.current.as_deref(), &body.password, kept).await;
    set.map_err(|e| sign_in_error(e, Kind::PasswordRefused))?;
    Ok(StatusCode::NO_CONTENT)
}

/// All users.
#[utoipa::path(get, path = "/users", tag = "users", responses((status = 200, body = Page<UserView>)))]
pub async fn user_list(
    State(api): State<Api>,
    Query(NoQuery {}): Query<NoQuery>,
) -> Result<Json<Page<UserView>>, ApiError> {
    let items: Vec<UserView> = api.shared.identity.user_list().await?.into_iter().map(user_view).collect();
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

fn user_view(user: crate::identity::UserRecord) -> UserView {
    UserView {
        id: Some(user.id.to_string()),
        name: user.name,
        role: user.role,
        password_set: user.password_set,
        disabled: user.disabled,
    }
}

/// Makes a user; the answer holds a one-time link to sign in with.
#[utoipa::path(post, path = "/users", tag = "users", request_body = UserBody,
    responses((status = 201, body = UserCreated), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn user_create(
    State(api): State<Api>,
    Extension(rights): Extension<Arc<Rights>>,
    Body(body): Body<UserBody>,
) -> Result<(StatusCode, Json<UserCreated>), ApiError> {
    let now = crate::now();
    api.shared.access.may_give(&rights, body.role.as_str(), now).await?;
    crate::access::audit::target(format!("users/{}", body.name));
    let user = api.shared.identity.user_create(&body.name, body.role, now).await?;
    let link = api.shared.identity.link_create(&user.name, now).await?;
    Ok((StatusCode::CREATED, Json(UserCreated { user: user_view(user), link })))
}

/// Disables a user, whose sessions end at once, or lets it in again.
#[utoipa::path(patch, path = "/users/{name}", tag = "users", params(("name" = String, Path,)), request_body = UserSwitchBody,
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn user_patch(
    State(api): State<Api>,
    Extension(rights): Extension<Arc<Rights>>,
    Id(name): Id<String>,
    Body(body): Body<UserSwitchBody>,
) -> Result<StatusCode, ApiError> {
    governs(&api, &rights, &name).await?;
    api.shared.access.user_switch(&name, body.disabled).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whoever lets somebody in, or shuts him out, must have what he has: a link to an owner's account is an owner's rights.
async fn governs(api: &Api, rights: &Rights, name: &str) -> Result<(), ApiError> {
    let now = crate::now();
    let Some(user) = api.shared.identity.user_fetch(name).await? else {
        return Err(ApiError::with(Kind::NotFound, "there is no such user"));
    };
    if !api.shared.identity.user_is_own(&user.id).await? {
        // Who works in other tenants too is the platform operator's: a link would open those as well.
        return Err(ApiError::with(Kind::NotFound, "there is no such user who works in this tenant alone"));
    }
    let theirs = api.shared.access.rights(&user.into(), now).await?;
    Ok(crate::access::Access::may_give_actions(rights, &theirs.actions())?)
}

/// A new one-time link for a user.
#[utoipa::path(post, path = "/users/{name}/link", tag = "users", params(("name" = String, Path,)),
    responses((status = 201, body = LinkView), (status = 404, body = Problem)))]
pub async fn user_link(
    State(api): State<Api>,
    Extension(rights): Extension<Arc<Rights>>,
    Id(name): Id<String>,
) -> Result<(StatusCode, Json<LinkView>), ApiError> {
    governs(&api, &rights, &name).await?;
    let link = api.shared.identity.link_create(&name, crate::now()).await?;
    Ok((StatusCode::CREATED, Json(LinkView { link })))
}

fn enrolment_view(t: crate::identity::EnrolmentTokenRecord, token: Option<String>) -> EnrolmentTokenView {
    EnrolmentTokenView {
        id: t.id,
        name: t.name,
        created_time: time_text(t.created),
        expires_time: time_text(t.expires),
        uses_max: t.uses_max,
        uses: t.uses,
        revoked: t.revoked,
        token,
    }
}

/// All enrolment tokens, without their secrets.
#[utoipa::path(get, path = "/enrolment-tokens", tag = "tokens", responses((status = 200, body = Page<EnrolmentTokenView>)))]
pub async fn enrolment_token_list(State(api): State<Api>) -> Result<Json<Page<EnrolmentTokenView>>, ApiError> {
    let all = api.shared.identity.enrolment_token_list().await?;
    let items: Vec<_> = all.into_iter().map(|t| enrolment_view(t, None)).collect();
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Makes an enrolment token; its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/enrolment-tokens", tag = "tokens", request_body = EnrolmentTokenBody,
    responses((status = 201, body = EnrolmentTokenView), (status = 400, body = Problem)))]
pub async fn enrolment_token_create(
    State(api): State<Api>,
    Body(body): Body<EnrolmentTokenBody>,
) -> Result<(StatusCode, Json<EnrolmentTokenView>), ApiError> {
    let (hours, uses) = (body.expires_hours.unwrap_or(24), body.uses.unwrap_or(100));
    let (text, record) = api.shared.identity.enrolment_token_create(&body.name, hours, uses, crate::now()).await?;
    Ok((StatusCode::CREATED, Json(enrolment_view(record, Some(text)))))
}

/// Revokes an enrolment token.
#[utoipa::path(delete, path = "/enrolment-tokens/{id}", tag = "tokens", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn enrolment_token_delete(State(api): State<Api>, Id(id): Id<String>) -> Result<StatusCode, ApiError> {
    if !api.shared.identity.enrolment_token_revoke(&id).await? {
        return Err(ApiError::new(Kind::NotFound));
    }
    Ok(StatusCode::NO_CONTENT)
}

fn api_token_view(
    t: crate::identity::ApiTokenRecord,
    (scope, device_groups): (Vec<Action>, Vec<String>),
    token: Option<String>,
) -> ApiTokenView {
    ApiTokenView {
        id: t.id,
        name: t.name,
        role: t.role,
        created_time: time_text(t.created),
        expires_time: t.expires.map(time_text),
        scope,
        device_groups,
        token,
    }
}

/// All API tokens, without their secrets.
#[utoipa::path(get, path = "/api-tokens", tag = "tokens", responses((status = 200, body = Page<ApiTokenView>)))]
pub async fn api_token_list(State(api): State<Api>) -> Result<Json<Page<ApiTokenView>>, ApiError> {
    let all = api.shared.identity.api_token_list().await?;
    let mut scopes = api.shared.access.token_scopes().await?;
    let items: Vec<_> = all
        .into_iter()
        .map(|t| {
            let scope = scopes.remove(&t.id).unwrap_or_default();
            api_token_view(t, scope, None)
        })
        .collect();
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Makes an API token; its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/api-tokens", tag = "tokens", request_body = ApiTokenBody,
    responses((status = 201, body = ApiTokenView), (status = 400, body = Problem)))]
pub async fn api_token_create(
    State(api): State<Api>,
    Extension(rights): Extension<Arc<Rights>>,
    Body(body): Body<ApiTokenBody>,
) -> Result<(StatusCode, Json<ApiTokenView>), ApiError> {
    let (now, access) = (crate::now(), &api.shared.access);
    let role = match (body.role, body.scope.is_empty()) {
        (Some(role), _) => role,
        (None, false) => Role::Admin,
        (None, true) => return Err(ApiError::with(Kind::Invalid, "a token has a role, a scope, or both")),
    };
    if body.scope.is_empty() {
        access.may_give(&rights, role.as_str(), now).await?;
    } else {
        crate::access::Access::may_give_actions(&rights, &body.scope)?;
    }
    let groups = access.device_groups(now).await?;
    if let Some(unknown) = body.device_groups.iter().find(|id| !groups.iter().any(|g| g.id == **id)) {
        let id: String = unknown.chars().take(60).collect();
        return Err(ApiError::with(Kind::NotFound, format!("there is no device group `{id}`")));
    }
    let (text, record) = api.shared.identity.api_token_create(&body.name, role, body.expires_hours, now).await?;
    if !body.scope.is_empty() || !body.device_groups.is_empty() {
        let bound = access.token_scope_set(&record.id, &body.scope, &body.device_groups).await;
        if let Err(error) = bound {
            // A token that could not be bound must not go about free.
            api.shared.identity.api_token_revoke(&record.id).await?;
            return Err(error.into());
        }
    }
    crate::access::audit::target(format!("api-tokens/{}", record.id));
    Ok((StatusCode::CREATED, Json(api_token_view(record, (body.scope, body.device_groups), Some(text)))))
}

/// Revokes an API token.
#[utoipa::path(delete, path = "/api-tokens/{id}", tag = "tokens", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn api_token_delete(State(api): State<Api>, Id(id): Id<String>) -> Result<StatusCode, ApiError> {
    if !api.shared.identity.api_token_revoke(&id).await? {
        return Err(ApiError::new(Kind::NotFound));
    }
    Ok(StatusCode::NO_CONTENT)
}
