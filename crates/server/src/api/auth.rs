//! Who calls, and whether they may: cookie or bearer token, the header against forged requests, and roles.

use super::Api;
use super::problem::{ApiError, Kind};
use crate::identity::Principal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use garrison_model::Role;

/// Name of the session cookie.
pub const COOKIE: &str = "garrison_session";
/// Header that a change with a cookie must carry: other sites cannot send it without asking.
pub const REQUEST_HEADER: &str = "x-garrison-request";

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// A role, or a greater one.
    Role(Role),
}

/// Paths (below `/api/v1/`) that only administrators may call, whatever the method.
const ADMIN: &[&str] = &["enrolment-tokens", "connector-tokens", "api-tokens", "users"];

/// Paths below `hunting` whose changes are for analysts.
const CHANGES: &[&str] = &["hunting/detections", "hunting/incidents", "hunting/indicators", "hunting/retro"];

/// Paths of the cloud plane: reading is for everybody, changes cost money or move protection and are for administrators.
const PLANE: &[&str] =
    &["tenant", "geographies", "subscriptions", "machines", "plans", "exclusions", "coverage", "fleet", "usage"];

/// What is sent below [`PLANE`] only to be looked at.
const PREVIEWS: &[&str] = &["plans/preview", "usage/forecast"];

/// What a request needs; the whole table of rights. Pure.
pub fn access(method: &Method, path: &str) -> Access {
    if super::hunting_aliases::is_alias(path) {
        return Access::Role(Role::Reader);
    }
    let Some(rest) = path.strip_prefix("/api/v1/") else { return Access::Open };
    let mut parts = rest.split('/');
    let first = parts.next().unwrap_or_default();
    let read = matches!(*method, Method::GET | Method::HEAD);
    match first {
        "session" => match (rest, read) {
            ("session" | "session/link", false) if *method == Method::POST => Access::Open,
            _ => Access::Role(Role::Reader),
        },
        _ if ADMIN.contains(&first) => Access::Role(Role::Admin),
        _ if PLANE.contains(&first) && !read && !PREVIEWS.contains(&rest) => Access::Role(Role::Admin),
        _ if PLANE.contains(&first) => Access::Role(Role::Reader),
        "devices" if rest.ends_with("/revoke") => Access::Role(Role::Admin),
        // Asking what a rule or suppression would do changes nothing.
        "suppressions" if rest == "suppressions/preview" => Access::Role(Role::Reader),
        // What is made here works for everybody; trying it out changes nothing.
        "hunting" if !read && rest != "hunting/detections/test" && CHANGES.iter().any(|c| rest.starts_with(c)) => {
            Access::Role(Role::Analyst)
        }
        // Queries only read; who may share a saved one is judged where it is saved.
        "hunting" => Access::Role(Role::Reader),
        _ if read => Access::Role(Role::Reader),
        _ => Access::Role(Role::Analyst),
    }
}

/// The session cookie of a request.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && !value.is_empty())
        .map(|(_, value)| value)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Refuses those who may not; tells handlers who calls.
pub async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let needed = access(request.method(), request.uri().path());
    let Access::Role(role) = needed else { return next.run(request).await };
    let alias = super::hunting_aliases::is_alias(request.uri().path());
    let refuse = |error: ApiError| {
        if alias { super::hunting_aliases::error(&error) } else { error.into_response() }
    };
    let principal = match identify(&api, request.headers(), request.method()).await {
        Ok(principal) => principal,
        Err(error) => return refuse(error),
    };
    if principal.role < role {
        return refuse(ApiError::new(Kind::Forbidden));
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

async fn identify(api: &Api, headers: &HeaderMap, method: &Method) -> Result<Principal, ApiError> {
    let now = crate::now();
    if let Some(token) = bearer(headers) {
        let known = api.shared.identity.token_check(token, now).await?;
        return known.ok_or_else(|| ApiError::new(Kind::NotSignedIn));
    }
    let Some(cookie) = cookie(headers) else { return Err(ApiError::new(Kind::NotSignedIn)) };
    let known = api.shared.identity.session_check(cookie, now).await?;
    let principal = known.ok_or_else(|| ApiError::new(Kind::NotSignedIn))?;
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if changes && headers.get(REQUEST_HEADER).is_none_or(|v| v.as_bytes() != b"1") {
        return Err(ApiError::new(Kind::HeaderMissing));
    }
    Ok(principal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_asks_for_the_documented_role() {
        let role = |m: Method, p: &str| access(&m, p);
        let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
        use Access::{Open, Role as R};
        for (method, path, expected) in [
            (&post, "/api/v1/session", Open),
            (&post, "/api/v1/session/link", Open),
            (&get, "/api/v1/session", R(Role::Reader)),
            (&Method::PUT, "/api/v1/session/password", R(Role::Reader)),
            (&get, "/api/v1/incidents", R(Role::Reader)),
            (&patch, "/api/v1/incidents/1", R(Role::Analyst)),
            (&post, "/api/v1/alerts/x/move", R(Role::Analyst)),
            (&post, "/api/v1/rules/import", R(Role::Analyst)),
            (&post, "/api/v1/devices/x/revoke", R(Role::Admin)),
            (&get, "/api/v1/users", R(Role::Admin)),
            (&delete, "/api/v1/api-tokens/x", R(Role::Admin)),
            (&get, "/api/v1/enrolment-tokens", R(Role::Admin)),
            (&post, "/api/v1/suppressions/preview", R(Role::Reader)),
            (&post, "/api/v1/suppressions", R(Role::Analyst)),
            (&post, "/api/v1/hunting/run", R(Role::Reader)),
            (&get, "/api/v1/hunting/detections", R(Role::Reader)),
            (&post, "/api/v1/hunting/detections", R(Role::Analyst)),
            (&post, "/api/v1/hunting/detections/test", R(Role::Reader)),
            (&post, "/api/v1/hunting/detections/x/run", R(Role::Analyst)),
            (&delete, "/api/v1/hunting/retro/x", R(Role::Analyst)),
            (&post, "/api/v1/hunting/indicators", R(Role::Analyst)),
            (&delete, "/api/v1/hunting/queries/x", R(Role::Reader)),
            (&post, "/v1.0/security/runHuntingQuery", R(Role::Reader)),
            (&post, "/api/advancedqueries/run", R(Role::Reader)),
            (&get, "/api/v1/machines", R(Role::Reader)),
            (&get, "/api/v1/coverage", R(Role::Reader)),
            (&post, "/api/v1/plans/preview", R(Role::Reader)),
            (&post, "/api/v1/plans/bulk", R(Role::Admin)),
            (&Method::PUT, "/api/v1/subscriptions/x/plan", R(Role::Admin)),
            (&patch, "/api/v1/machines/x", R(Role::Admin)),
            (&delete, "/api/v1/exclusions/x", R(Role::Admin)),
            (&post, "/api/v1/fleet/apply", R(Role::Admin)),
            (&Method::PUT, "/api/v1/tenant", R(Role::Admin)),
            (&get, "/api/v1/nothing", R(Role::Reader)),
            (&get, "/healthz", Open),
            (&get, "/", Open),
        ] {
            assert_eq!(role(method.clone(), path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "a=b; garrison_session=xyz; c=d".parse().unwrap());
        assert_eq!(cookie(&headers), Some("xyz"));
        headers.insert(header::COOKIE, "xgarrison_session=xyz".parse().unwrap());
        assert_eq!(cookie(&headers), None);
    }
}
