//! Routes of sign-in through an OpenID provider.

use super::Api;
use super::extract::Query;
use super::problem::{ApiError, Kind};
use crate::access::oidc::OidcError;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use garrison_model::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Cookie of a sign-in under way.
const COOKIE: &str = "garrison_oidc";
/// Where the provider sends the browser.
const BACK: &str = "/api/v1/session/oidc/callback";
/// Seconds that a sign-in may take.
const SECONDS_MAX: u32 = 600;

/// A provider to sign in through.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderView {
    /// What it is called.
    name: String,
}

/// Ways to sign in.
#[derive(Debug, Serialize, ToSchema)]
pub struct MethodsView {
    /// With a name and password.
    password: bool,
    /// Through a provider.
    oidc: Option<ProviderView>,
}

/// Where to go on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StartQuery {
    /// Path of the console.
    next: Option<String>,
}

/// What a provider sends back.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CallbackQuery {
    /// The code.
    code: Option<String>,
    /// The state that was sent.
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(session_methods)).routes(routes!(oidc_start)).routes(routes!(oidc_callback))
}

/// A path of this console and nothing else: not `//host`, not `/\host`.
fn safe_next(text: Option<&str>) -> String {
    let fits = |t: &&str| {
        let second = t.chars().nth(1);
        t.starts_with('/')
            && !matches!(second, Some('/' | '\\'))
            && t.len() <= 2_000
            && t.chars().all(|c| c.is_ascii_graphic() && c != '\\')
    };
    text.filter(fits).unwrap_or("/").to_owned()
}

fn problem(error: OidcError) -> ApiError {
    let text = error.to_string();
    match error {
        OidcError::Off => ApiError::new(Kind::OidcOff),
        OidcError::Refused(_) => ApiError::with(Kind::OidcRefused, text),
        OidcError::SignIn(crate::identity::SignInError::Wrong) => {
            ApiError::with(Kind::OidcRefused, "the user is disabled here")
        }
        OidcError::Provider { .. } => {
            tracing::warn!(error = text, "sign-in through the provider failed");
            ApiError::new(Kind::OidcFailed)
        }
        other => ApiError::internal(&other),
    }
}

/// The address that the provider sends the browser to: the configured one, or on loopback that of the request.
fn back(api: &Api, headers: &HeaderMap) -> Result<String, ApiError> {
    let oidc = api.shared.access.oidc().ok_or_else(|| ApiError::new(Kind::OidcOff))?;
    if let Some(url) = oidc.url() {
        return Ok(format!("{}{BACK}", url.trim_end_matches('/')));
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let loopback = host.parse::<std::net::SocketAddr>().is_ok_and(|a| a.ip().is_loopback());
    let scheme = if api.shared.config.http_tls.is_some() { "https" } else { "http" };
    if loopback {
        return Ok(format!("{scheme}://{host}{BACK}"));
    }
    Err(ApiError::with(Kind::OidcFailed, "oidc.url is not configured, so sign-in works on loopback only"))
}

fn to(url: &str, cookies: &[String]) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    match HeaderValue::from_str(url) {
        Ok(url) => headers.insert(header::LOCATION, url),
        Err(_) => headers.insert(header::LOCATION, HeaderValue::from_static("/")),
    };
    for cookie in cookies {
        if let Ok(cookie) = HeaderValue::from_str(cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// How one can sign in.
#[utoipa::path(get, path = "/session/methods", tag = "session", responses((status = 200, body = MethodsView)))]
pub async fn session_methods(State(api): State<Api>) -> Json<MethodsView> {
    let oidc = api.shared.access.oidc().map(|o| ProviderView { name: o.name().to_owned() });
    Json(MethodsView { password: true, oidc })
}

/// Sends the browser to the provider.
#[utoipa::path(get, path = "/session/oidc/start", tag = "session", params(StartQuery),
    responses((status = 303, description = "to the provider"), (status = 404, body = Problem), (status = 502, body = Problem)))]
pub async fn oidc_start(
    State(api): State<Api>,
    Query(q): Query<StartQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let back = back(&api, &headers)?;
    let oidc = api.shared.access.oidc().ok_or_else(|| ApiError::new(Kind::OidcOff))?;
    let secure = if back.starts_with("https://") { "; Secure" } else { "" };
    let begun = oidc.begin(back, safe_next(q.next.as_deref()), crate::now()).await.map_err(problem)?;
    // Lax: the provider's answer is a visit from another site.
    let cookie =
        format!("{COOKIE}={}; Path={BACK}; HttpOnly; SameSite=Lax; Max-Age={SECONDS_MAX}{secure}", begun.cookie);
    Ok(to(&begun.url, &[cookie]))
}

fn kept(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    all.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Takes what the provider sent back, opens a session, and goes on in the console; what is wrong is told on its sign-in
/// page.
#[utoipa::path(get, path = "/session/oidc/callback", tag = "session", params(CallbackQuery),
    responses((status = 303, description = "to the console")))]
pub async fn oidc_callback(State(api): State<Api>, Query(q): Query<CallbackQuery>, headers: HeaderMap) -> Response {
    let gone = format!("{COOKIE}=; Path={BACK}; HttpOnly; SameSite=Lax; Max-Age=0");
    let ended = async {
        if let Some(error) = &q.error {
            let error: String = error.chars().filter(char::is_ascii_graphic).take(60).collect();
            tracing::warn!(error, "the provider refused a sign-in");
            return Err(ApiError::with(Kind::OidcRefused, "the provider refused the sign-in"));
        }
        let (code, state) = (q.code.as_deref().unwrap_or_default(), q.state.as_deref().unwrap_or_default());
        let cookie = kept(&headers).unwrap_or_default();
        let shared = &api.shared;
        shared.access.oidc_sign_in(&shared.identity, cookie, state, code, crate::now()).await.map_err(problem)
    };
    match ended.await {
        Ok((signed, next)) => {
            crate::access::audit::who(&signed.principal.name);
            let session = super::people::session_cookie(&signed);
            to(&safe_next(Some(&next)), &[gone, session])
        }
        Err(error) => {
            let problem = error.problem();
            crate::access::audit::target(format!("refused: {}", problem.title));
            to(&format!("/sign-in?problem={}", problem.code), &[gone])
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_paths_of_this_console_are_gone_on_to() {
        for (next, expected) in [
            (None, "/"),
            (Some("/alerts?x=1"), "/alerts?x=1"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/a\r\nSet-Cookie: x"), "/"),
            (Some(""), "/"),
        ] {
            assert_eq!(super::safe_next(next), expected, "{next:?}");
        }
    }
}
