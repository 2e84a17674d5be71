//! The web console, as files in the program: content policy with a nonce made for each answer, long caching for files
//! whose names hold their hash, and the page itself for every address that is a view of it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;

/// `console/dist`, as it was when the program was built.
#[derive(rust_embed::RustEmbed)]
#[folder = "../../console/dist/"]
#[allow_missing = true]
struct Dist;

/// What stands in the page where the nonce goes.
const NONCE_PLACE: &str = "__CSP_NONCE__";

/// Shown when the program was built without the console.
const STUB: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Garrison</title>\n\
<style nonce=\"__CSP_NONCE__\">body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}</style>\n\
</head><body><main><h1>Garrison</h1>\n<p>The server works. This program was built without the web console: build it in <code>console/</code> \
(<code>npm ci &amp;&amp; npm run build</code>) and build the program again.</p>\n\
<p>The terminal does the same: <code>garrison incident list</code>. The API is described at <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p>\n\
</main></body></html>\n";

fn nonce() -> String {
    let bytes: [u8; 16] = rand::random();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    )
}

/// Answers a request for anything that is not the API's.
pub fn serve(method: &Method, path: &str, headers: &HeaderMap) -> Response {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return crate::api::ApiError::new(crate::api::Kind::MethodNotAllowed).into_response();
    }
    let name = path.trim_start_matches('/');
    if name.is_empty() || name == "index.html" {
        return page();
    }
    match Dist::get(name) {
        Some(file) => asset(name, &file, headers),
        // A name with an ending is a file; everything else is a view of the page.
        None if name.rsplit('/').next().is_some_and(|last| last.contains('.')) => {
            (StatusCode::NOT_FOUND, "there is no such file\n").into_response()
        }
        None => page(),
    }
}

fn page() -> Response {
    let nonce = nonce();
    let html = match Dist::get("index.html") {
        Some(file) => String::from_utf8_lossy(&file.data).replace(NONCE_PLACE, &nonce),
        None => STUB.replace(NONCE_PLACE, &nonce),
    };
    let mut response = (StatusCode::OK, html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&policy(&nonce)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, value);
    }
    response
}

fn asset(name: &str, file: &rust_embed::EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    // Vite puts hashed names below assets/; other files may change under their name.
    let caching = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(Body::from(file.data.to_vec())) };
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(file.metadata.mimetype()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    // A worker has a policy of its own; it is the page's without the page's parts.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_is_the_page_with_a_nonce_of_its_own() {
        let policy = |path: &str| {
            let response = serve(&Method::GET, path, &HeaderMap::new());
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
        };
        let (first, second) = (policy("/"), policy("/incidents/7"));
        assert!(first.contains("script-src 'self';") && first.contains("require-trusted-types-for 'script'"));
        assert_ne!(first, second, "nonces are made for each answer");
        assert_eq!(serve(&Method::GET, "/nope.js", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
        assert_eq!(serve(&Method::POST, "/", &HeaderMap::new()).status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(serve(&Method::GET, "/../../etc/passwd.txt", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
