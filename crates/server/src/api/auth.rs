//! Who calls: cookie or bearer token, and the header against forged requests. Whether they may: `gate.rs`.

use super::Api;
use super::problem::{ApiError, Kind};
use crate::identity::Principal;
use axum::http::{HeaderMap, Method, header};

/// Name of the session cookie.
pub const COOKIE: &str = "garrison_session";
/// Header that a change with a cookie must carry: other sites cannot send it without asking.
pub const REQUEST_HEADER: &str = "x-garrison-request";

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

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who calls.
pub(super) async fn identify(api: &Api, headers: &HeaderMap, method: &Method) -> Result<Principal, ApiError> {
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
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "a=b; garrison_session=xyz; c=d".parse().unwrap());
        assert_eq!(cookie(&headers), Some("xyz"));
        headers.insert(header::COOKIE, "xgarrison_session=xyz".parse().unwrap());
        assert_eq!(cookie(&headers), None);
    }
}
