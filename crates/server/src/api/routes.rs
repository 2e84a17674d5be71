//! Which action every route needs, on what, and what of it goes into the audit log: the whole table of rights.
//!
//! A test holds that this table and the API's description name the same routes. A route that is missing here is closed
//! to everybody but those who may change the portal's settings on the whole tenant, so that forgetting a line shuts a
//! door and opens none.

use crate::access::Action;
use axum::http::Method;

/// On what the action is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// On the whole tenant.
    Whole,
    /// Somewhere; the handler shows of it what the caller's roles reach.
    Part,
    /// On the device of the path.
    Device,
    /// On the device of the alert of the path.
    Alert,
    /// On every device of the incident of the path.
    Incident,
    /// On the subscription of the path.
    Subscription,
    /// On the machine of the path: its subscription, or its device.
    Machine,
}

/// Who may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Anybody.
    Open,
    /// Whoever is signed in.
    SignedIn,
    /// Whoever may do this, on that.
    May(Action, Target),
}

/// What goes into the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Nothing: no data of customers, no change, or only the caller's own.
    Quiet,
    /// A read of customers' data.
    Read,
    /// A change.
    Change,
    /// Somebody signs in or out.
    SignIn,
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Path with the names of its parameters.
    pub path: &'static str,
    /// Who may pass.
    pub gate: Gate,
    /// What is recorded.
    pub record: Record,
}

const fn line(method: &'static str, path: &'static str, gate: Gate, record: Record) -> Route {
    Route { method, path, gate, record }
}

use Action as A;
use Gate::{May, Open, SignedIn};
use Record::{Change, Quiet, Read, SignIn};
use Target::{Alert, Device, Incident, Machine, Part, Subscription, Whole};

/// The table; paths are below `/api/v1`, those with another beginning are whole.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    line("GET", "/session", SignedIn, Quiet),
    line("POST", "/session", Open, SignIn),
    line("DELETE", "/session", SignedIn, SignIn),
    line("POST", "/session/link", Open, SignIn),
    line("PUT", "/session/password", SignedIn, Change),
    line("PUT", "/session/tenant", SignedIn, Change),
    line("GET", "/session/methods", Open, Quiet),
    line("GET", "/session/oidc/start", Open, Quiet),
    line("GET", "/session/oidc/callback", Open, SignIn),

    line("GET", "/incidents", May(A::ViewSecops, Part), Read),
    line("GET", "/incidents/{id}", May(A::ViewSecops, Incident), Read),
    line("PATCH", "/incidents/{id}", May(A::Investigate, Incident), Change),
    line("GET", "/incidents/{id}/story", May(A::ViewSecops, Incident), Read),
    line("GET", "/incidents/{id}/timeline", May(A::ViewSecops, Incident), Read),
    line("GET", "/incidents/{id}/audit", May(A::ViewSecops, Incident), Read),
    line("POST", "/incidents/{id}/comments", May(A::Investigate, Incident), Change),
    line("POST", "/incidents/{id}/merge", May(A::Investigate, Incident), Change),
    line("GET", "/alerts", May(A::ViewSecops, Part), Read),
    line("GET", "/alerts/{id}", May(A::ViewSecops, Alert), Read),
    line("PATCH", "/alerts/{id}", May(A::Investigate, Alert), Change),
    line("POST", "/alerts/{id}/comments", May(A::Investigate, Alert), Change),
    line("GET", "/alerts/{id}/tree", May(A::ViewSecops, Alert), Read),
    line("POST", "/alerts/{id}/move", May(A::Investigate, Alert), Change),
    line("GET", "/alerts/{id}/audit", May(A::ViewSecops, Alert), Read),

    line("GET", "/cloud/alerts", May(A::ViewSecops, Part), Read),
    line("GET", "/cloud/alerts/{id}", May(A::ViewSecops, Alert), Read),
    line("POST", "/cloud/alerts/{id}/dismiss", May(A::Investigate, Alert), Change),
    line("POST", "/cloud/alerts/{id}/reactivate", May(A::Investigate, Alert), Change),

    line("GET", "/devices", May(A::ViewSecops, Part), Read),
    line("GET", "/devices/{id}", May(A::ViewSecops, Device), Read),
    line("PATCH", "/devices/{id}", May(A::SecuritySettings, Device), Change),
    line("GET", "/devices/{id}/timeline", May(A::ViewSecops, Device), Read),
    line("GET", "/devices/{id}/losses", May(A::ViewSecops, Device), Read),
    line("POST", "/devices/{id}/revoke", May(A::PortalSettings, Device), Change),

    line("GET", "/rules", May(A::ViewSecops, Part), Quiet),
    line("GET", "/rules/{id}", May(A::ViewSecops, Part), Quiet),
    line("PATCH", "/rules/{id}", May(A::SecuritySettings, Whole), Change),
    line("DELETE", "/rules/{id}", May(A::SecuritySettings, Whole), Change),
    line("POST", "/rules/import", May(A::SecuritySettings, Whole), Change),
    line("POST", "/rules/test", May(A::SecuritySettings, Whole), Read),
    line("GET", "/suppressions", May(A::ViewSecops, Whole), Read),
    line("POST", "/suppressions", May(A::SecuritySettings, Whole), Change),
    line("DELETE", "/suppressions/{id}", May(A::SecuritySettings, Whole), Change),
    line("POST", "/suppressions/preview", May(A::ViewSecops, Whole), Read),

    line("GET", "/enrolment-tokens", May(A::AccessView, Whole), Read),
    line("POST", "/enrolment-tokens", May(A::PortalSettings, Whole), Change),
    line("DELETE", "/enrolment-tokens/{id}", May(A::PortalSettings, Whole), Change),
    line("GET", "/connector-tokens", May(A::AccessView, Whole), Read),
    line("POST", "/connector-tokens", May(A::PortalSettings, Whole), Change),
    line("DELETE", "/connector-tokens/{id}", May(A::PortalSettings, Whole), Change),
    line("GET", "/api-tokens", May(A::AccessView, Whole), Read),
    line("POST", "/api-tokens", May(A::AccessManage, Whole), Change),
    line("DELETE", "/api-tokens/{id}", May(A::AccessManage, Whole), Change),
    line("GET", "/users", May(A::AccessView, Whole), Read),
    line("POST", "/users", May(A::AccessManage, Whole), Change),
    line("PATCH", "/users/{name}", May(A::AccessManage, Whole), Change),
    line("POST", "/users/{name}/link", May(A::AccessManage, Whole), Change),

    line("GET", "/access/actions", SignedIn, Quiet),
    line("GET", "/access/me", SignedIn, Quiet),
    line("GET", "/access/roles", May(A::AccessView, Whole), Read),
    line("PUT", "/access/roles/{name}", May(A::AccessManage, Whole), Change),
    line("DELETE", "/access/roles/{name}", May(A::AccessManage, Whole), Change),
    line("GET", "/access/assignments", May(A::AccessView, Whole), Read),
    line("POST", "/access/assignments", May(A::AccessManage, Whole), Change),
    line("DELETE", "/access/assignments/{id}", May(A::AccessManage, Whole), Change),
    line("GET", "/access/user-groups", May(A::AccessView, Whole), Read),
    line("PUT", "/access/user-groups/{name}", May(A::AccessManage, Whole), Change),
    line("GET", "/device-groups", May(A::AccessView, Whole), Read),
    line("POST", "/device-groups/preview", May(A::AccessView, Whole), Read),
    line("PUT", "/device-groups/{id}", May(A::AccessManage, Whole), Change),
    line("DELETE", "/device-groups/{id}", May(A::AccessManage, Whole), Change),
    line("GET", "/audit", May(A::AuditView, Whole), Read),
    line("GET", "/audit/head", May(A::AuditView, Whole), Quiet),
    line("GET", "/audit/export", May(A::AuditView, Whole), Read),
    line("GET", "/audit/verify", May(A::AuditView, Whole), Read),

    line("GET", "/status", SignedIn, Quiet),
    line("GET", "/schema", SignedIn, Quiet),
    line("GET", "/events", May(A::ViewSecops, Part), Read),

    line("POST", "/hunting/run", May(A::ViewSecops, Part), Read),
    line("POST", "/hunting/export", May(A::ViewSecops, Part), Read),
    line("GET", "/hunting/runs", May(A::ViewSecops, Part), Quiet),
    line("GET", "/hunting/runs/{id}", May(A::ViewSecops, Part), Quiet),
    line("DELETE", "/hunting/runs/{id}", May(A::ViewSecops, Part), Change),
    line("POST", "/hunting/validate", May(A::ViewSecops, Part), Quiet),
    line("POST", "/hunting/complete", May(A::ViewSecops, Part), Quiet),
    line("POST", "/hunting/format", May(A::ViewSecops, Part), Quiet),
    line("GET", "/hunting/capabilities", May(A::ViewSecops, Part), Quiet),
    line("GET", "/hunting/schema", May(A::ViewSecops, Part), Quiet),
    line("GET", "/hunting/queries", May(A::ViewSecops, Part), Quiet),
    line("POST", "/hunting/queries", May(A::ViewSecops, Part), Change),
    line("GET", "/hunting/queries/{id}", May(A::ViewSecops, Part), Quiet),
    line("PUT", "/hunting/queries/{id}", May(A::ViewSecops, Part), Change),
    line("DELETE", "/hunting/queries/{id}", May(A::ViewSecops, Part), Change),
    line("GET", "/hunting/history", May(A::ViewSecops, Part), Read),
    line("GET", "/hunting/library", May(A::ViewSecops, Part), Quiet),
    line("POST", "/hunting/incidents", May(A::Investigate, Whole), Change),
    line("GET", "/hunting/detections", May(A::ViewSecops, Part), Quiet),
    line("POST", "/hunting/detections", May(A::SecuritySettings, Whole), Change),
    line("GET", "/hunting/detections/{id}", May(A::ViewSecops, Part), Quiet),
    line("PUT", "/hunting/detections/{id}", May(A::SecuritySettings, Whole), Change),
    line("PATCH", "/hunting/detections/{id}", May(A::SecuritySettings, Whole), Change),
    line("DELETE", "/hunting/detections/{id}", May(A::SecuritySettings, Whole), Change),
    line("POST", "/hunting/detections/test", May(A::ViewSecops, Whole), Read),
    line("POST", "/hunting/detections/{id}/run", May(A::SecuritySettings, Whole), Change),
    line("GET", "/hunting/detections/{id}/runs", May(A::ViewSecops, Part), Quiet),
    line("GET", "/hunting/indicators", May(A::ViewSecops, Part), Quiet),
    line("POST", "/hunting/indicators", May(A::SecuritySettings, Whole), Change),
    line("DELETE", "/hunting/indicators/{id}", May(A::SecuritySettings, Whole), Change),
    line("GET", "/hunting/retro", May(A::ViewSecops, Whole), Quiet),
    line("POST", "/hunting/retro", May(A::SecuritySettings, Whole), Change),
    line("GET", "/hunting/retro/{id}", May(A::ViewSecops, Whole), Quiet),
    line("DELETE", "/hunting/retro/{id}", May(A::SecuritySettings, Whole), Change),
    line("GET", "/hunting/retro/{id}/matches", May(A::ViewSecops, Whole), Read),
    line("POST", "/v1.0/security/runHuntingQuery", May(A::ViewSecops, Part), Read),
    line("POST", "/beta/security/runHuntingQuery", May(A::ViewSecops, Part), Read),
    line("POST", "/security/runHuntingQuery", May(A::ViewSecops, Part), Read),
    line("POST", "/api/advancedqueries/run", May(A::ViewSecops, Part), Read),
    line("POST", "/api/advancedhunting/run", May(A::ViewSecops, Part), Read),

    line("GET", "/tenants", SignedIn, Quiet),
    line("POST", "/tenants", May(A::Own, Whole), Change),
    line("GET", "/tenant", May(A::CloudView, Part), Quiet),
    line("PUT", "/tenant", May(A::PortalSettings, Whole), Change),
    line("GET", "/tenant/retention", May(A::CloudView, Whole), Quiet),
    line("PUT", "/tenant/retention", May(A::PortalSettings, Whole), Change),
    line("GET", "/geographies", May(A::CloudView, Part), Quiet),
    line("GET", "/subscriptions", May(A::CloudView, Part), Read),
    line("POST", "/subscriptions", May(A::CloudPlans, Whole), Change),
    line("GET", "/subscriptions/{id}", May(A::CloudView, Subscription), Read),
    line("DELETE", "/subscriptions/{id}", May(A::CloudPlans, Whole), Change),
    line("PUT", "/subscriptions/{id}/plan", May(A::CloudPlans, Subscription), Change),
    line("DELETE", "/subscriptions/{id}/plan", May(A::CloudPlans, Subscription), Change),
    line("PUT", "/subscriptions/{id}/integration", May(A::CloudPlans, Subscription), Change),
    line("GET", "/subscriptions/{id}/resource-groups", May(A::CloudView, Subscription), Read),
    line("PUT", "/subscriptions/{id}/resource-groups/{name}", May(A::CloudMachines, Subscription), Change),
    line("DELETE", "/subscriptions/{id}/resource-groups/{name}", May(A::CloudMachines, Subscription), Change),
    line("GET", "/machines", May(A::CloudView, Part), Read),
    line("GET", "/machines/{id}", May(A::CloudView, Machine), Read),
    line("PATCH", "/machines/{id}", May(A::CloudMachines, Machine), Change),
    line("DELETE", "/machines/{id}", May(A::CloudMachines, Machine), Change),
    line("PUT", "/machines/{id}/plan", May(A::CloudPlans, Machine), Change),
    line("DELETE", "/machines/{id}/plan", May(A::CloudPlans, Machine), Change),
    line("GET", "/machines/{id}/extension-history", May(A::CloudView, Machine), Read),
    line("DELETE", "/machines/{id}/extensions/{name}", May(A::CloudMachines, Machine), Change),
    line("POST", "/machines/{id}/offboard", May(A::CloudMachines, Machine), Change),
    line("POST", "/machines/{id}/onboard", May(A::CloudMachines, Machine), Change),
    line("GET", "/packages", May(A::CloudView, Part), Quiet),
    line("GET", "/rollouts", May(A::CloudView, Part), Read),
    line("POST", "/rollouts", May(A::CloudMachines, Whole), Change),
    line("GET", "/rollouts/{id}", May(A::CloudView, Part), Read),
    line("POST", "/rollouts/{id}/pause", May(A::CloudMachines, Whole), Change),
    line("POST", "/rollouts/{id}/resume", May(A::CloudMachines, Whole), Change),
    line("POST", "/rollouts/{id}/stop", May(A::CloudMachines, Whole), Change),
    line("GET", "/machines/{id}/leaving", May(A::CloudView, Machine), Read),
    line("POST", "/machines/{id}/leaving", May(A::CloudMachines, Machine), Change),
    line("GET", "/plans", May(A::CloudView, Part), Quiet),
    line("POST", "/plans/preview", May(A::CloudView, Whole), Read),
    line("POST", "/plans/bulk", May(A::CloudPlans, Whole), Change),
    line("GET", "/exclusions", May(A::CloudView, Whole), Read),
    line("POST", "/exclusions", May(A::CloudPlans, Whole), Change),
    line("DELETE", "/exclusions/{id}", May(A::CloudPlans, Whole), Change),
    line("GET", "/coverage", May(A::CloudView, Whole), Read),
    line("GET", "/reach/secrets", May(A::CloudMachines, Whole), Read),
    line("POST", "/reach/secrets", May(A::CloudMachines, Whole), Change),
    line("DELETE", "/reach/secrets/{name}", May(A::CloudMachines, Whole), Change),
    line("GET", "/reach/hosts", May(A::CloudMachines, Whole), Read),
    line("DELETE", "/reach/hosts/{address}", May(A::CloudMachines, Whole), Change),
    line("POST", "/reach/ssh", May(A::CloudMachines, Whole), Change),
    line("POST", "/reach/aws", May(A::CloudMachines, Whole), Change),
    line("GET", "/reach/runs", May(A::CloudMachines, Whole), Read),
    line("GET", "/reach/runs/{id}", May(A::CloudMachines, Whole), Read),
    line("GET", "/reach/sources", May(A::CloudMachines, Whole), Read),
    line("POST", "/reach/sources", May(A::CloudMachines, Whole), Change),
    line("GET", "/reach/sources/{name}", May(A::CloudMachines, Whole), Read),
    line("PATCH", "/reach/sources/{name}", May(A::CloudMachines, Whole), Change),
    line("DELETE", "/reach/sources/{name}", May(A::CloudMachines, Whole), Change),
    line("POST", "/reach/sources/{name}/run", May(A::CloudMachines, Whole), Change),
    line("GET", "/tenant/off-board", May(A::CloudView, Whole), Read),
    line("POST", "/tenant/off-board", May(A::CloudMachines, Whole), Change),
    line("GET", "/health", May(A::CloudView, Part), Read),
    line("GET", "/health/machines", May(A::CloudView, Part), Read),
    line("GET", "/recommendations", May(A::CloudView, Part), Read),
    line("GET", "/recommendations/{key}/resources", May(A::CloudView, Part), Read),
    line("POST", "/recommendations/{key}/fix", May(A::CloudPlans, Part), Change),
    line("GET", "/recommendations/{key}/exemptions", May(A::CloudView, Part), Read),
    line("POST", "/recommendations/{key}/exemptions", May(A::RemediateExceptions, Part), Change),
    line("DELETE", "/recommendations/{key}/exemptions/{id}", May(A::RemediateExceptions, Part), Change),
    line("GET", "/usage", May(A::CloudView, Whole), Read),
    line("GET", "/usage/cost", May(A::CloudView, Whole), Read),
    line("GET", "/usage/ingest", May(A::CloudView, Whole), Read),
    line("GET", "/usage/forecast", May(A::CloudView, Whole), Quiet),
    line("POST", "/usage/forecast", May(A::CloudView, Whole), Quiet),
    line("GET", "/usage/export", May(A::CloudView, Whole), Read),
    line("GET", "/price-sheets", May(A::CloudView, Whole), Quiet),
    line("POST", "/price-sheets", May(A::CloudPlans, Whole), Change),
    line("PUT", "/price-sheets/{id}", May(A::CloudPlans, Whole), Change),
    line("DELETE", "/price-sheets/{id}", May(A::CloudPlans, Whole), Change),
    line("GET", "/seats", May(A::CloudView, Whole), Quiet),
    line("PUT", "/seats", May(A::CloudPlans, Whole), Change),
    line("GET", "/exports", May(A::PortalSettings, Whole), Read),
    line("POST", "/exports", May(A::PortalSettings, Whole), Change),
    line("GET", "/exports/{id}", May(A::PortalSettings, Whole), Read),
    line("PUT", "/exports/{id}", May(A::PortalSettings, Whole), Change),
    line("DELETE", "/exports/{id}", May(A::PortalSettings, Whole), Change),
    line("POST", "/exports/{id}/test", May(A::PortalSettings, Whole), Change),
    line("POST", "/exports/{id}/replay", May(A::PortalSettings, Whole), Change),
    line("POST", "/fleet/apply", May(A::CloudPlans, Whole), Change),
];

/// The path of a line as the router has it.
pub fn whole_path(path: &str) -> String {
    let aliases = ["/v1.0/", "/beta/", "/security/", "/api/"];
    if aliases.iter().any(|a| path.starts_with(a)) { path.to_owned() } else { format!("/api/v1{path}") }
}

/// The line of a route, `matched` as the router has it.
pub fn route(method: &Method, matched: &str) -> Option<&'static Route> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let path = matched.strip_prefix("/api/v1").unwrap_or(matched);
    ROUTES.iter().find(|line| line.method == method && line.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_has_a_declared_action_and_every_line_a_route() {
        let api = serde_json::to_value(super::super::openapi()).unwrap();
        let mut served = BTreeSet::new();
        for (path, item) in api["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|m| *m != "parameters") {
                served.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let declared: BTreeSet<String> =
            ROUTES.iter().map(|r| format!("{} {}", r.method, whole_path(r.path))).collect();
        assert_eq!(declared.len(), ROUTES.len(), "a line is there twice");
        let missing: Vec<_> = served.difference(&declared).collect();
        assert!(missing.is_empty(), "add lines to api/routes.rs: {missing:#?}");
        let gone: Vec<_> = declared.difference(&served).collect();
        assert!(gone.is_empty(), "lines of api/routes.rs without a route: {gone:#?}");
    }

    #[test]
    fn what_changes_is_recorded_and_never_open() {
        for r in ROUTES {
            let changes = !matches!(r.method, "GET");
            let open = r.gate == Open;
            assert!(!open || r.path.starts_with("/session"), "{} {} is open", r.method, r.path);
            assert!(r.record != Change || changes, "{} {}: a GET changes nothing", r.method, r.path);
            // What is sent only to be looked at.
            let looks =
                ["forecast", "validate", "complete", "format", "run", "export", "test", "preview", "runHuntingQuery"];
            let last = r.path.rsplit('/').next().unwrap();
            assert!(
                !changes || matches!(r.record, Change | SignIn) || looks.contains(&last),
                "{} {}",
                r.method,
                r.path
            );
        }
    }
}
