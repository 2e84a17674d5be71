//! The HTTP API: routes, who may call them, and what surrounds every answer.
//!
//! JSON shapes are the types of `garrison_model`; the description at `/api/openapi.json` is generated from the handlers,
//! and a test holds that every route is in it.

pub mod access;
pub mod audit;
pub mod auth;
pub mod cases;
pub mod cloud_alerts;
pub mod connectors;
pub mod cursor;
pub mod detections;
pub mod devices;
pub mod events;
pub mod exports;
pub mod extract;
pub mod gate;
mod health;
pub mod hunting;
pub mod hunting_aliases;
pub mod hunting_link;
pub mod leaving;
pub mod oidc;
pub mod people;
pub mod plane;
pub mod problem;
mod reach;
mod recommendations;
pub mod retention;
pub mod rollouts;
pub mod routes;
pub mod rules;
pub mod status;
pub mod suppressions;
pub mod tenants;
pub mod usage;

pub use problem::{ApiError, Kind};

use crate::config::Role;
use crate::detection::Detection;
use crate::hunting::Hunting;
use crate::incidents::Incidents;
use crate::shared::Shared;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::router::UtoipaMethodRouterExt as _;
use utoipa_axum::routes;

/// Bytes of a request's body; imports of rules may be larger.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a fleet file as JSON: twenty thousand entries with tags.
const FLEET_BYTES_MAX: usize = 16 << 20;
/// Time for an answer; event streams are not bound by it.
const TIME_MAX: Duration = Duration::from_mins(1);
/// Requests at work at once; more are told to come again, so that memory stays bounded.
const REQUESTS_MAX: usize = 256;

/// What handlers work with.
#[derive(Debug, Clone)]
pub struct Api(Arc<Rooms>);

/// The rooms behind the API.
#[derive(Debug)]
pub struct Rooms {
    /// Shared state.
    pub shared: Arc<Shared>,
    /// Detection.
    pub detection: Arc<Detection>,
    /// Incidents.
    pub incidents: Arc<Incidents>,
    /// Hunting.
    pub hunting: Arc<Hunting>,
    /// Custom detections, indicators, retro-hunts.
    pub own: DetectionParts,
    /// Connectors of machines.
    pub connect: Arc<crate::connect::Connect>,
    /// Health of machines.
    pub health: Arc<crate::health::Health>,
    /// Ways to machines without a connector.
    pub reach: Arc<crate::reach::Reach>,
    /// Continuous exports.
    pub exports: Arc<crate::exports::Exports>,
    /// Live events.
    pub hub: Arc<events::Hub>,
    /// All tenants of the server.
    pub houses: std::sync::Weak<crate::serve::house::Houses>,
    /// Turns for requests.
    pub turns: Arc<tokio::sync::Semaphore>,
}

/// The parts of the detection room that work on queries.
#[derive(Debug, Clone)]
pub struct DetectionParts {
    /// Detections made of queries.
    pub custom: Arc<crate::detection::custom::Custom>,
    /// Indicators.
    pub indicators: Arc<crate::detection::indicator::Indicators>,
    /// Hunts through the past.
    pub retro: Arc<crate::detection::retro::Retro>,
}

impl std::ops::Deref for Api {
    type Target = Rooms;
    fn deref(&self) -> &Rooms {
        &self.0
    }
}

/// All routes of the API with their description.
fn described() -> OpenApiRouter<Api> {
    let api = OpenApiRouter::new()
        .routes(routes!(people::session_get, people::session_create, people::session_delete))
        .routes(routes!(people::session_link))
        .routes(routes!(people::password_put))
        .routes(routes!(cases::incident_list))
        .routes(routes!(cases::incident_get, cases::incident_patch))
        .routes(routes!(cases::incident_story))
        .routes(routes!(cases::incident_timeline))
        .routes(routes!(cases::incident_audit))
        .routes(routes!(cases::incident_comment))
        .routes(routes!(cases::incident_merge))
        .routes(routes!(cases::alert_list))
        .routes(routes!(cases::alert_get, cases::alert_patch))
        .routes(routes!(cases::alert_comment))
        .routes(routes!(cases::alert_tree))
        .routes(routes!(cases::alert_move))
        .routes(routes!(cases::alert_audit))
        .routes(routes!(devices::device_list))
        .routes(routes!(devices::device_get, devices::device_patch))
        .routes(routes!(devices::device_timeline))
        .routes(routes!(devices::device_losses))
        .routes(routes!(devices::device_revoke))
        .routes(routes!(rules::rule_list))
        .routes(routes!(rules::rule_get, rules::rule_patch, rules::rule_delete))
        .routes(routes!(rules::rule_import).layer(DefaultBodyLimit::max(crate::detection::rules::IMPORT_BYTES_MAX)))
        .routes(routes!(rules::rule_test))
        .routes(routes!(suppressions::suppression_list, suppressions::suppression_create))
        .routes(routes!(suppressions::suppression_delete))
        .routes(routes!(suppressions::suppression_preview))
        .routes(routes!(people::enrolment_token_list, people::enrolment_token_create))
        .routes(routes!(people::enrolment_token_delete))
        .routes(routes!(people::api_token_list, people::api_token_create))
        .routes(routes!(people::api_token_delete))
        .routes(routes!(people::user_list, people::user_create))
        .routes(routes!(people::user_patch))
        .routes(routes!(people::user_link))
        .merge(access::routes())
        .merge(audit::routes())
        .merge(oidc::routes())
        .merge(tenants::routes())
        .routes(routes!(status::status_get))
        .routes(routes!(status::schema_get))
        .routes(routes!(hunting::hunting_run))
        .routes(routes!(hunting::hunting_export))
        .routes(routes!(hunting::hunting_run_list))
        .routes(routes!(hunting::hunting_run_get, hunting::hunting_run_delete))
        .routes(routes!(hunting::hunting_validate))
        .routes(routes!(hunting::hunting_complete))
        .routes(routes!(hunting::hunting_format))
        .routes(routes!(hunting::hunting_capabilities))
        .routes(routes!(hunting::hunting_schema))
        .routes(routes!(hunting::hunting_query_list, hunting::hunting_query_create))
        .routes(routes!(hunting::hunting_query_get, hunting::hunting_query_put, hunting::hunting_query_delete))
        .routes(routes!(hunting::hunting_history))
        .routes(routes!(hunting::hunting_library))
        .routes(routes!(hunting_link::hunting_link))
        .routes(routes!(detections::detection_list, detections::detection_create))
        .routes(routes!(detections::detection_get, detections::detection_put, detections::detection_patch))
        .routes(routes!(detections::detection_delete))
        .routes(routes!(detections::detection_test))
        .routes(routes!(detections::detection_run))
        .routes(routes!(detections::detection_runs))
        .routes(routes!(detections::indicator_list, detections::indicator_create))
        .routes(routes!(detections::indicator_delete))
        .routes(routes!(detections::retro_list, detections::retro_create))
        .routes(routes!(detections::retro_get, detections::retro_cancel))
        .routes(routes!(detections::retro_matches))
        .routes(routes!(plane::tenant_get, plane::tenant_put))
        .routes(routes!(retention::retention_get, retention::retention_put))
        .routes(routes!(plane::geography_list))
        .routes(routes!(plane::subscription_list, plane::subscription_create))
        .routes(routes!(plane::subscription_get, plane::subscription_delete))
        .routes(routes!(plane::subscription_plan_put, plane::subscription_plan_delete))
        .routes(routes!(plane::subscription_integration_put))
        .routes(routes!(plane::group_list))
        .routes(routes!(plane::group_put, plane::group_delete))
        .routes(routes!(plane::machine_list))
        .routes(routes!(plane::machine_get, plane::machine_patch, plane::machine_delete))
        .routes(routes!(plane::machine_plan_put, plane::machine_plan_delete))
        .routes(routes!(plane::plan_list))
        .routes(routes!(plane::plan_preview))
        .routes(routes!(plane::plan_bulk))
        .routes(routes!(plane::exclusion_list, plane::exclusion_create))
        .routes(routes!(plane::exclusion_delete))
        .routes(routes!(plane::coverage_get))
        .routes(routes!(connectors::connector_token_list, connectors::connector_token_create))
        .routes(routes!(connectors::connector_token_delete))
        .routes(routes!(connectors::extension_history))
        .routes(routes!(connectors::extension_delete))
        .routes(routes!(connectors::machine_offboard))
        .routes(routes!(connectors::machine_onboard))
        .routes(routes!(connectors::tenant_off_boarding, connectors::tenant_off_board))
        .merge(cloud_alerts::routes())
        .routes(routes!(connectors::package_list))
        .routes(routes!(rollouts::rollout_list, rollouts::rollout_create))
        .routes(routes!(rollouts::rollout_get))
        .routes(routes!(rollouts::rollout_pause))
        .routes(routes!(rollouts::rollout_resume))
        .routes(routes!(rollouts::rollout_stop))
        .merge(reach::routes())
        .merge(recommendations::routes())
        .merge(health::routes())
        .routes(routes!(leaving::leaving_get, leaving::leaving_post))
        .routes(routes!(usage::usage_get))
        .merge(usage::routes())
        .merge(exports::routes())
        .routes(routes!(plane::fleet_apply).layer(DefaultBodyLimit::max(FLEET_BYTES_MAX)))
        .routes(routes!(events::event_stream));
    OpenApiRouter::new()
        .nest("/api/v1", api)
        .routes(routes!(hunting_aliases::graph_run))
        .routes(routes!(hunting_aliases::graph_run_beta))
        .routes(routes!(hunting_aliases::graph_run_bare))
        .routes(routes!(hunting_aliases::advanced_queries_run))
        .routes(routes!(hunting_aliases::advanced_hunting_run))
}

/// The API's description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = described().into_openapi();
    api.info.title = "Garrison".to_owned();
    api.info.version = "v1".to_owned();
    api.info.description = Some(
        "Errors are application/problem+json (schema Problem). Times are RFC 3339 in UTC. Send a session cookie with \
         `X-Garrison-Request: 1` for changes, or `Authorization: Bearer gat_…`."
            .to_owned(),
    );
    api
}

/// The whole HTTP side of a tenant: API, metrics, health, console.
pub fn router(
    shared: &Arc<Shared>,
    detection: &Arc<Detection>,
    incidents: &Arc<Incidents>,
    hunting: &Arc<Hunting>,
    own: DetectionParts,
    connect: &Arc<crate::connect::Connect>,
    health: &Arc<crate::health::Health>,
    houses: std::sync::Weak<crate::serve::house::Houses>,
) -> Router {
    let hub = events::Hub::start(shared, incidents);
    detections::tell(&hub, &own, &shared.stop);
    let api = Api(Arc::new(Rooms {
        shared: Arc::clone(shared),
        detection: Arc::clone(detection),
        incidents: Arc::clone(incidents),
        hunting: Arc::clone(hunting),
        own,
        connect: Arc::clone(connect),
        health: Arc::clone(health),
        reach: crate::reach::Reach::new(shared, connect, Arc::new(crate::now)),
        exports: crate::exports::Exports::new(shared, incidents, connect, Arc::new(crate::now)),
        hub,
        houses,
        turns: Arc::new(tokio::sync::Semaphore::new(REQUESTS_MAX)),
    }));
    let (routes, _) = described().split_for_parts();
    let description: Arc<str> = openapi().to_json().unwrap_or_default().into();
    routes
        .route("/metrics", get(status::metrics))
        .route("/healthz", get(status::healthz))
        .route(
            "/api/openapi.json",
            get(move || async move { ([(header::CONTENT_TYPE, "application/json")], description.to_string()) }),
        )
        .method_not_allowed_fallback(|| async { ApiError::new(Kind::MethodNotAllowed) })
        .fallback(fallback)
        .layer(middleware::from_fn_with_state(api.clone(), gate::gate))
        .layer(middleware::from_fn_with_state(api.clone(), of_role))
        .layer(middleware::from_fn_with_state(api.clone(), bounded))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(headers))
        .layer(tower_http::compression::CompressionLayer::new())
        .with_state(api)
}

async fn fallback(request: Request) -> Response {
    if request.uri().path().starts_with("/api/") {
        return ApiError::new(Kind::NotFound).into_response();
    }
    crate::console::serve(request.method(), request.uri().path(), request.headers())
}

/// A query server has no devices, alerts and detections of its own: it says so instead of showing empty lists.
async fn of_role(State(api): State<Api>, request: Request, next: Next) -> Response {
    if api.shared.config.role == Role::Query && !answers_hunts(request.uri().path()) {
        let words = "this server only answers hunts; ask the server that takes rows in";
        return ApiError::with(Kind::NotFound, words).into_response();
    }
    next.run(request).await
}

/// Whether a query server answers on this path.
fn answers_hunts(path: &str) -> bool {
    let Some(route) = path.strip_prefix("/api/v1/") else { return true };
    let (room, rest) = route.split_once('/').unwrap_or((route, ""));
    match room {
        "hunting" => !["detections", "indicators", "retro"].contains(&rest.split('/').next().unwrap_or_default()),
        "session" | "api-tokens" | "users" | "access" | "audit" | "device-groups" | "schema" | "status" | "events" => {
            true
        }
        _ => false,
    }
}

/// A turn and a deadline for everything that is not a stream.
async fn bounded(State(api): State<Api>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/api/v1/events" {
        return next.run(request).await;
    }
    let Ok(_turn) = api.turns.try_acquire() else {
        return ApiError::new(Kind::Busy).into_response();
    };
    // A query has a time of its own.
    if hunts(request.uri().path()) {
        return next.run(request).await;
    }
    match tokio::time::timeout(TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(Kind::Timeout).into_response(),
    }
}

/// Whether a path runs a query.
fn hunts(path: &str) -> bool {
    matches!(path, "/api/v1/hunting/run" | "/api/v1/hunting/export" | "/api/v1/hunting/detections/test")
        || (path.starts_with("/api/v1/hunting/detections/") && path.ends_with("/run"))
        || hunting_aliases::is_alias(path)
}

/// Headers that every answer carries. The console sets its own content policy.
async fn headers(request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &'static str| {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    };
    set("x-content-type-options", "nosniff");
    set("referrer-policy", "no-referrer");
    set("x-frame-options", "DENY");
    set("cross-origin-opener-policy", "same-origin");
    set("cross-origin-resource-policy", "same-origin");
    if api {
        set("cache-control", "no-store");
        set("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_server_answers_hunts_and_lets_people_in() {
        for (path, answered) in [
            ("/api/v1/hunting/run", true),
            ("/api/v1/hunting/queries/x", true),
            ("/api/v1/session/link", true),
            ("/v1.0/security/runHuntingQuery", true),
            ("/metrics", true),
            ("/", true),
            ("/api/v1/hunting/detections", false),
            ("/api/v1/hunting/detections/test", false),
            ("/api/v1/hunting/indicators", false),
            ("/api/v1/hunting/retro/x", false),
            ("/api/v1/devices", false),
            ("/api/v1/incidents/1/story", false),
            ("/api/v1/enrolment-tokens", false),
            ("/api/v1/", false),
        ] {
            assert_eq!(answers_hunts(path), answered, "{path}");
        }
    }

    #[test]
    fn every_operation_has_an_id_a_tag_and_an_answer() {
        let value = serde_json::to_value(openapi()).unwrap();
        let paths = value["paths"].as_object().unwrap();
        assert!(paths.len() > 30, "{}", paths.len());
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                assert!(operation["operationId"].is_string(), "{method} {path}");
                assert!(operation["tags"].is_array(), "{method} {path}");
                assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
            }
        }
    }
}
