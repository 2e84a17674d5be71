//! Tenants of the server: which there are for the caller, which one a session works in, and a new one.

use super::Api;
use super::auth::cookie;
use super::extract::Body;
use super::problem::{ApiError, Kind};
use crate::identity::Principal;
use crate::plane::PlaneError;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use garrison_model::{Geography, Page, Problem, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A tenant that the caller works in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantLine {
    /// Id.
    pub id: TenantId,
    /// Where it rests; none before its first machine or plan.
    pub geography: Option<Geography>,
    /// Whether it is the one that this request is for.
    pub current: bool,
}

/// A new tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantNew {
    /// Id: 1 to 64 lower-case letters, digits and `-`.
    id: String,
    /// Where it rests, for good.
    geography: Geography,
}

/// A tenant to work in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantChoice {
    /// Id.
    tenant: String,
}

/// The routes.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(tenant_list, tenant_create)).routes(routes!(session_tenant_put))
}

/// The tenants that somebody works in.
async fn places(api: &Api, who: &Principal) -> Result<Vec<TenantId>, ApiError> {
    let own = vec![api.shared.tenant.clone()];
    Ok(match (&who.user, &who.token) {
        (Some(user), _) => api.shared.identity.user_places(user).await?,
        (None, Some(_)) => own,
        (None, None) => match api.houses.upgrade() {
            Some(houses) => houses.all().iter().map(|house| house.shared.tenant.clone()).collect(),
            None => own,
        },
    })
}

async fn line(api: &Api, id: TenantId) -> Result<TenantLine, ApiError> {
    let house = api.houses.upgrade().and_then(|houses| houses.of(&id));
    let plane = house.as_ref().map_or(&api.shared.plane, |house| &house.shared.plane);
    let geography = match plane.tenant(&id).await {
        Ok(tenant) => Some(tenant.geography),
        Err(PlaneError::Unknown(_)) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(TenantLine { current: id == api.shared.tenant, geography, id })
}

/// The tenants in which the caller has a role.
#[utoipa::path(get, path = "/tenants", tag = "plane", responses((status = 200, body = Page<TenantLine>)))]
pub async fn tenant_list(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
) -> Result<Json<Page<TenantLine>>, ApiError> {
    let mut items = Vec::new();
    for id in places(&api, &who).await? {
        items.push(line(&api, id).await?);
    }
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Makes a tenant. The platform's operator does, who owns the first tenant; he owns the new one too.
#[utoipa::path(post, path = "/tenants", tag = "plane", request_body = TenantNew,
    responses((status = 201, body = TenantLine), (status = 400, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub async fn tenant_create(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(body): Body<TenantNew>,
) -> Result<(StatusCode, Json<TenantLine>), ApiError> {
    if who.token.is_some() {
        return Err(ApiError::with(Kind::Forbidden, "a person makes a tenant, who owns it then; a token owns nothing"));
    }
    if api.shared.tenant != TenantId::first() {
        return Err(ApiError::with(Kind::Forbidden, "tenants are made from the first one, by who owns it"));
    }
    let id = TenantId::new(&body.id)
        .map_err(|_| ApiError::with(Kind::Invalid, "a tenant's id has 1 to 64 lower-case letters, digits and `-`"))?;
    crate::access::audit::target(format!("tenants/{id}"));
    let houses = api.houses.upgrade().ok_or_else(|| ApiError::new(Kind::Busy))?;
    if houses.all().len() >= crate::serve::house::TENANTS_MAX {
        let words = format!("a server has at most {} tenants", crate::serve::house::TENANTS_MAX);
        return Err(ApiError::with(Kind::Invalid, words));
    }
    let taken = || ApiError::with(Kind::Conflict, format!("there is a tenant `{id}`"));
    if id == TenantId::first() {
        return Err(taken());
    }
    let made = houses.make(&id, &body.geography, &who.name).await.map_err(|error| match error.downcast::<PlaneError>() {
        Ok(refused) => ApiError::from(refused),
        Err(error) => {
            tracing::error!(error = error.as_ref() as &dyn std::error::Error, tenant = %id, "a tenant cannot be opened");
            ApiError::with(Kind::Internal, "the tenant was made and cannot be opened; see the server's log")
        }
    })?;
    let house = made.ok_or_else(taken)?;
    if let Some(user) = &who.user {
        house.shared.access.owner_add(user, &who.name, crate::now()).await?;
    }
    Ok((StatusCode::CREATED, Json(line(&api, id).await?)))
}

/// From now on this session works in another tenant.
#[utoipa::path(put, path = "/session/tenant", tag = "session", request_body = TenantChoice,
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn session_tenant_put(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    Body(body): Body<TenantChoice>,
) -> Result<StatusCode, ApiError> {
    let Some(cookie) = cookie(&headers).filter(|_| who.user.is_some()) else {
        return Err(ApiError::with(Kind::Invalid, "a token has no session; name the tenant in `X-Garrison-Tenant`"));
    };
    let asked = TenantId::new(&body.tenant).map_err(|_| ApiError::new(Kind::NotFound))?;
    if !places(&api, &who).await?.contains(&asked) {
        return Err(ApiError::new(Kind::NotFound));
    }
    api.shared.identity.session_place_set(cookie, &asked).await?;
    Ok(StatusCode::NO_CONTENT)
}
