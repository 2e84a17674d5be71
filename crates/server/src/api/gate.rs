//! The gate before every route: who calls, whether the table lets them pass, on what, and the record of it.

use super::auth::identify;
use super::problem::{ApiError, Kind};
use super::routes::{Gate, Record, Route, Target, route};
use super::{Api, hunting_aliases};
use crate::access::audit::chain::Draft;
use crate::access::audit::{NOTE, Note};
use crate::access::{Action, Rights, Sees};
use crate::identity::Principal;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use garrison_model::{AlertId, DeviceId, IncidentId, MachineId, Role, SubscriptionId, TenantId};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What a route that the table does not know asks for.
const UNDECLARED: Route =
    Route { method: "", path: "", gate: Gate::May(Action::PortalSettings, Target::Whole), record: Record::Change };

/// A parameter of the path, by the route's own form. Ids hold nothing that must be escaped, so one that is does not
/// parse and names nothing.
fn parameter<'p>(form: &str, path: &'p str, name: &str) -> Option<&'p str> {
    let named = form.split('/').position(|part| part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) == Some(name));
    path.split('/').nth(named?)
}

/// The parameters of a path, as the audit log names what a request was about: `incidents/12`, `machines/…/plan`.
fn target_of(form: &str, path: &str) -> String {
    if !form.contains('{') {
        return String::new();
    }
    path.strip_prefix("/api/v1/").unwrap_or(path).to_owned()
}

/// The caller's role in one word, for what was built before roles were policies.
fn summary(rights: &Rights) -> Role {
    if rights.everywhere(Action::PortalSettings) {
        Role::Admin
    } else if rights.everywhere(Action::Investigate) {
        Role::Analyst
    } else {
        Role::Reader
    }
}

/// Why a request does not pass.
fn refused(rights: &Rights, action: Action) -> ApiError {
    if rights.is_out_of_scope(action) {
        return ApiError::with(Kind::TokenScope, format!("the token's scope does not hold `{action}`"));
    }
    ApiError::with(Kind::Forbidden, format!("this needs `{action}`, which your roles do not give you here"))
}

/// Whether the table lets the caller pass, and what it may see.
async fn judge(
    api: &Api,
    rights: &Rights,
    action: Action,
    target: Target,
    form: &str,
    path: &str,
) -> Result<Sees, ApiError> {
    let now = crate::now();
    let reach = rights.reach(action);
    if reach.is_nowhere() || (target == Target::Whole && !reach.all) {
        return Err(refused(rights, action));
    }
    let sees = api.shared.access.sees(rights, action, now).await?;
    if sees.is_everything() || matches!(target, Target::Part | Target::Whole) {
        return Ok(sees);
    }
    let id = parameter(form, path, "id").unwrap_or_default();
    let seen = match target {
        Target::Device => id.parse().is_ok_and(|id: DeviceId| sees.device(&id)),
        Target::Alert => match id.parse::<AlertId>() {
            Ok(id) => api.incidents.alert_device(&id).await?.is_some_and(|device| sees.device_text(&device)),
            Err(_) => false,
        },
        Target::Incident => match id.parse::<IncidentId>() {
            Ok(id) => is_incident_seen(api, &sees, id).await?,
            Err(_) => false,
        },
        Target::Subscription => id.parse().is_ok_and(|id: SubscriptionId| sees.subscription(&id)),
        Target::Machine => match id.parse::<MachineId>() {
            Ok(id) => {
                let machine = api.shared.plane.machine(&api.shared.tenant, &id, now).await?;
                sees.machine(&machine)
            }
            Err(_) => false,
        },
        Target::Part | Target::Whole => true,
    };
    // What may not be seen is not there.
    if seen { Ok(sees) } else { Err(ApiError::new(Kind::NotFound)) }
}

/// Whether somebody without a role here is to find nothing here.
async fn works_elsewhere(api: &Api, who: &Principal) -> Result<bool, ApiError> {
    match &who.user {
        _ if api.shared.tenant != TenantId::first() => Ok(true),
        Some(user) => Ok(!api.shared.identity.user_places(user).await?.is_empty()),
        None => Ok(false),
    }
}

/// Whether all devices of an incident may be seen: one that touches a hidden device would tell of it.
pub async fn is_incident_seen(api: &Api, sees: &Sees, id: IncidentId) -> Result<bool, ApiError> {
    if sees.is_everything() {
        return Ok(true);
    }
    let devices = api.incidents.incident_devices(id).await?;
    Ok(!devices.is_empty() && devices.iter().all(|device| sees.device_text(device)))
}

/// An entry that is written even if the request is given up half-way.
struct Recording {
    api: Api,
    draft: Option<Draft>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.api.shared.access.audit().abandoned(draft);
        }
    }
}

fn draft(who: Option<&Principal>, line: &Route, request: &Request, form: &str) -> Draft {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
    Draft {
        at: crate::now(),
        who: who.map(|p| p.name.clone()).unwrap_or_default(),
        who_kind: match who {
            Some(Principal { user: Some(_), .. }) => "User",
            Some(Principal { token: Some(_), .. }) => "Token",
            Some(_) => "Local",
            None => "Unknown",
        },
        kind: match line.record {
            Record::Read | Record::Quiet => "Read",
            Record::Change => "Change",
            Record::SignIn => "SignIn",
        },
        action: match line.gate {
            Gate::May(action, _) => action.as_str(),
            _ => "",
        },
        method: request.method().to_string(),
        route: form.to_owned(),
        target: target_of(form, request.uri().path()),
        status: 0,
        count: None,
        address: address.unwrap_or_default(),
    }
}

/// Runs the handler, then writes the entry: durable before a change is answered, queued before a read is.
async fn recorded(api: &Api, draft: Draft, durable: bool, request: Request, next: Next) -> Response {
    let note = Arc::new(Mutex::new(Note::default()));
    let mut recording = Recording { api: api.clone(), draft: Some(draft) };
    let response = NOTE.scope(Arc::clone(&note), next.run(request)).await;
    let Some(mut draft) = recording.draft.take() else { return response };
    let note = note.lock().unwrap_or_else(PoisonError::into_inner).clone();
    draft.status = response.status().as_u16();
    draft.count = note.count;
    if let Some(target) = note.target {
        draft.target = target;
    }
    if let Some(who) = note.who {
        draft.who = who;
    }
    let audit = api.shared.access.audit();
    let written = if durable { audit.change(draft).await } else { audit.read(draft).await };
    match written {
        Ok(()) => response,
        Err(_) => ApiError::new(Kind::AuditDown).into_response(),
    }
}

/// Refuses those who may not; tells handlers who calls and what they may see; writes the audit log.
pub async fn gate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let alias = hunting_aliases::is_alias(request.uri().path());
    let refuse = |error: ApiError| {
        if alias { hunting_aliases::error(&error) } else { error.into_response() }
    };
    let form = request.extensions().get::<MatchedPath>().map(|m| m.as_str().to_owned());
    let form = match form {
        Some(form) if form.starts_with("/api/v1/") || alias => form,
        // No route: an address below the API is told to nobody who is not signed in.
        _ => {
            if request.uri().path().starts_with("/api/v1/")
                && let Err(error) = identify(&api, request.headers(), request.method()).await
            {
                return refuse(error);
            }
            return next.run(request).await;
        }
    };
    // A method that the route does not have is told by the router.
    let line = route(request.method(), &form).unwrap_or(&UNDECLARED);
    if line.gate == Gate::Open {
        if line.record == Record::Quiet {
            return next.run(request).await;
        }
        let draft = draft(None, line, &request, &form);
        return recorded(&api, draft, true, request, next).await;
    }
    let mut who = match identify(&api, request.headers(), request.method()).await {
        Ok(who) => who,
        Err(error) => return refuse(error),
    };
    let rights = match api.shared.access.rights(&who, crate::now()).await {
        Ok(rights) => rights,
        Err(error) => return refuse(error.into()),
    };
    if rights.actions().is_empty() {
        // As if there were no such tenant. Who works nowhere hears in the first one that a role is missing.
        match works_elsewhere(&api, &who).await {
            Ok(true) => return refuse(ApiError::new(Kind::NotFound)),
            Ok(false) => {}
            Err(error) => return refuse(error),
        }
    }
    who.role = summary(&rights);
    let judged = match line.gate {
        Gate::May(action, target) => judge(&api, &rights, action, target, &form, request.uri().path()).await,
        Gate::SignedIn | Gate::Open => Ok(Sees::everything()),
    };
    let entry = draft(Some(&who), line, &request, &form);
    let sees = match judged {
        Ok(sees) => sees,
        Err(error) => {
            let status = error.problem().status;
            let entry = Draft { kind: "Refused", status, ..entry };
            if api.shared.access.audit().read(entry).await.is_err() {
                return refuse(ApiError::new(Kind::AuditDown));
            }
            return refuse(error);
        }
    };
    request.extensions_mut().insert(who);
    request.extensions_mut().insert(sees);
    request.extensions_mut().insert(rights);
    match line.record {
        Record::Quiet => next.run(request).await,
        Record::Read => recorded(&api, entry, false, request, next).await,
        Record::Change | Record::SignIn => recorded(&api, entry, true, request, next).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_the_form_of_the_route() {
        for (form, path, expected, target) in [
            ("/api/v1/devices/{id}", "/api/v1/devices/d1", Some("d1"), "devices/d1"),
            (
                "/api/v1/machines/{id}/extensions/{name}",
                "/api/v1/machines/m/extensions/x",
                Some("m"),
                "machines/m/extensions/x",
            ),
            ("/api/v1/devices", "/api/v1/devices", None, ""),
            ("/api/v1/devices/{id}", "/api/v1/devices/%64", Some("%64"), "devices/%64"),
        ] {
            assert_eq!(parameter(form, path, "id"), expected, "{path}");
            assert_eq!(target_of(form, path), target, "{path}");
        }
    }
}
