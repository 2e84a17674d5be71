//! Routes of incidents and alerts.

use super::Api;
use super::cursor::Cursor;
use super::extract::{Body, Id, Query, limit, list, one};
use super::gate::is_incident_seen;
use super::problem::{ApiError, Kind};
use crate::access::Sees;
use crate::identity::Principal;
use crate::incidents::list::{After, AuditEntry, Listed, Sort, since};
use crate::incidents::{AlertFilter, IncidentFilter};
use axum::extract::State;
use axum::{Extension, Json};
use garrison_model::{
    Alert, AlertId, CaseUpdate, DeviceId, Incident, IncidentId, IncidentSummary, Page, Problem, Story, StoryTree,
    TimelineRow,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// Filters of the incident queue; lists are separated by commas.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IncidentQuery {
    /// `Active`, `InProgress`, `Resolved`, `Redirected`.
    status: Option<String>,
    /// `High`, `Medium`, `Low`, `Informational`.
    severity: Option<String>,
    /// User name; empty for unassigned.
    assignee: Option<String>,
    /// Device id.
    device: Option<String>,
    /// Words.
    q: Option<String>,
    /// `7d`, `24h`, `30m`, or RFC 3339: changed since.
    since: Option<String>,
    /// `lastUpdate`, `created`, `lastEvent`, `severity`; `-` for greatest first.
    sort: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// Filters of alerts; lists are separated by commas.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AlertQuery {
    /// `New`, `InProgress`, `Resolved`.
    status: Option<String>,
    /// `High`, `Medium`, `Low`, `Informational`.
    severity: Option<String>,
    /// Device id.
    device: Option<String>,
    /// Rule id.
    rule: Option<String>,
    /// Incident number.
    incident: Option<String>,
    /// Words.
    q: Option<String>,
    /// `7d`, `24h`, `30m`, or RFC 3339: changed since.
    since: Option<String>,
    /// Hidden ones only, or shown ones only.
    suppressed: Option<bool>,
    /// `lastUpdate`, `created`, `lastEvent`, `severity`; `-` for greatest first.
    sort: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// A page of something.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// A comment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommentBody {
    /// Text, at most 4,096 characters.
    comment: String,
}

/// Where an incident goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeBody {
    /// Incident that stays.
    into: i64,
}

/// Where an alert goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveBody {
    /// Incident, or 0 for a new one.
    incident: i64,
}

/// Order and place out of the query; a cursor fits only the order it was made with.
fn order(name: &str, sort: Option<&str>, cursor: Option<&str>) -> Result<(Sort, bool, After, String), ApiError> {
    let text = sort.filter(|s| !s.is_empty()).unwrap_or("-lastUpdate");
    let (word, descending) = text.strip_prefix('-').map_or((text, false), |word| (word, true));
    let sort = Sort::parse(word).ok_or_else(|| ApiError::with(Kind::BadQuery, "sort is not known"))?;
    let list = format!("{name}:{text}");
    let after = match cursor.filter(|c| !c.is_empty()) {
        Some(text) => {
            let cursor = Cursor::decode(&list, text).ok_or_else(|| ApiError::new(Kind::BadCursor))?;
            let key = cursor.number().ok_or_else(|| ApiError::new(Kind::BadCursor))?;
            Some((key, cursor.id))
        }
        None => None,
    };
    Ok((sort, descending, after, list))
}

fn moment(text: Option<&str>) -> Result<Option<i64>, ApiError> {
    text.filter(|t| !t.is_empty())
        .map(|t| {
            since(t, crate::now().0).ok_or_else(|| ApiError::with(Kind::BadQuery, "since is not a time such as 7d"))
        })
        .transpose()
}

fn page<T>(listed: Listed<T>, list: &str) -> Json<Page<T>> {
    crate::access::audit::count(listed.items.len());
    let next_cursor = listed.next.map(|(key, id)| Cursor { key: key.to_string(), id }.encode(list));
    Json(Page { items: listed.items, next_cursor, total: Some(listed.total) })
}

/// An incident that a body names: one that may not be seen is not there.
async fn seen(api: &Api, sees: &Sees, id: IncidentId) -> Result<(), ApiError> {
    if is_incident_seen(api, sees, id).await? { Ok(()) } else { Err(ApiError::new(Kind::NotFound)) }
}

/// Cuts a list that is in memory into pages.
pub fn slice<T>(all: Vec<T>, list: &str, cursor: Option<&str>, limit: usize) -> Result<Page<T>, ApiError> {
    let start = match cursor.filter(|c| !c.is_empty()) {
        Some(text) => Cursor::decode(list, text)
            .and_then(|c| c.number())
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| ApiError::new(Kind::BadCursor))?,
        None => 0,
    };
    let total = all.len();
    let items: Vec<T> = all.into_iter().skip(start).take(limit).collect();
    let end = start + items.len();
    let next_cursor = (end < total).then(|| Cursor { key: end.to_string(), id: String::new() }.encode(list));
    Ok(Page { items, next_cursor, total: Some(total as i64) })
}

/// The incident queue.
#[utoipa::path(get, path = "/incidents", tag = "incidents", params(IncidentQuery),
    responses((status = 200, body = Page<IncidentSummary>), (status = 400, body = Problem)))]
pub async fn incident_list(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Query(q): Query<IncidentQuery>,
) -> Result<Json<Page<IncidentSummary>>, ApiError> {
    let (sort, descending, after, list_name) = order("incidents", q.sort.as_deref(), q.cursor.as_deref())?;
    let filter = IncidentFilter {
        status: list(q.status.as_deref(), "status")?,
        severity: list(q.severity.as_deref(), "severity")?,
        assignee: q.assignee,
        device: one::<DeviceId>(q.device.as_deref(), "device")?,
        seen: sees.devices(),
        q: q.q.filter(|q| !q.is_empty()),
        since: moment(q.since.as_deref())?,
        sort,
        descending,
        after,
        limit: limit(q.limit)?,
    };
    Ok(page(api.incidents.incident_list(&filter).await?, &list_name))
}

/// One incident with its alerts and comments.
#[utoipa::path(get, path = "/incidents/{id}", tag = "incidents", params(("id" = i64, Path,)),
    responses((status = 200, body = Incident), (status = 404, body = Problem)))]
pub async fn incident_get(State(api): State<Api>, Id(id): Id<IncidentId>) -> Result<Json<Incident>, ApiError> {
    Ok(Json(api.incidents.incident(id).await?))
}

/// Changes status, assignee, classification, title, tags; adds a comment.
#[utoipa::path(patch, path = "/incidents/{id}", tag = "incidents", params(("id" = i64, Path,)), request_body = CaseUpdate,
    responses((status = 200, body = Incident), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn incident_patch(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<IncidentId>,
    Body(update): Body<CaseUpdate>,
) -> Result<Json<Incident>, ApiError> {
    api.incidents.incident_update(id, &update, &who.name, crate::now()).await?;
    Ok(Json(api.incidents.incident(id).await?))
}

/// The attack story: process trees with what each process did.
#[utoipa::path(get, path = "/incidents/{id}/story", tag = "incidents", params(("id" = i64, Path,)),
    responses((status = 200, body = Story), (status = 404, body = Problem)))]
pub async fn incident_story(State(api): State<Api>, Id(id): Id<IncidentId>) -> Result<Json<Story>, ApiError> {
    Ok(Json(api.incidents.story(id).await?))
}

/// The matched rows of an incident, oldest first.
#[utoipa::path(get, path = "/incidents/{id}/timeline", tag = "incidents", params(("id" = i64, Path,), PageQuery),
    responses((status = 200, body = Page<TimelineRow>), (status = 404, body = Problem)))]
pub async fn incident_timeline(
    State(api): State<Api>,
    Id(id): Id<IncidentId>,
    Query(q): Query<PageQuery>,
) -> Result<Json<Page<TimelineRow>>, ApiError> {
    let limit = limit(q.limit)?;
    let rows = api.incidents.incident_rows(id).await?;
    Ok(Json(slice(rows, &format!("incident-timeline:{id}"), q.cursor.as_deref(), limit)?))
}

/// Who changed what of an incident.
#[utoipa::path(get, path = "/incidents/{id}/audit", tag = "incidents", params(("id" = i64, Path,)),
    responses((status = 200, body = Page<AuditEntry>), (status = 404, body = Problem)))]
pub async fn incident_audit(
    State(api): State<Api>,
    Id(id): Id<IncidentId>,
) -> Result<Json<Page<AuditEntry>>, ApiError> {
    api.incidents.incident(id).await?;
    let items = api.incidents.audit_list(&format!("incident/{id}")).await?;
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}

/// Adds a comment to an incident.
#[utoipa::path(post, path = "/incidents/{id}/comments", tag = "incidents", params(("id" = i64, Path,)), request_body = CommentBody,
    responses((status = 200, body = Incident), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn incident_comment(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<IncidentId>,
    Body(body): Body<CommentBody>,
) -> Result<Json<Incident>, ApiError> {
    api.incidents.incident_comment(id, &body.comment, &who.name, crate::now()).await?;
    Ok(Json(api.incidents.incident(id).await?))
}

/// Merges an incident into another one.
#[utoipa::path(post, path = "/incidents/{id}/merge", tag = "incidents", params(("id" = i64, Path,)), request_body = MergeBody,
    responses((status = 200, body = Incident), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn incident_merge(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(sees): Extension<Sees>,
    Id(id): Id<IncidentId>,
    Body(body): Body<MergeBody>,
) -> Result<Json<Incident>, ApiError> {
    let into = IncidentId(body.into);
    seen(&api, &sees, into).await?;
    api.incidents.merge(id, into, &who.name, crate::now()).await?;
    Ok(Json(api.incidents.incident(into).await?))
}

/// Alerts, without their matches.
#[utoipa::path(get, path = "/alerts", tag = "alerts", params(AlertQuery),
    responses((status = 200, body = Page<Alert>), (status = 400, body = Problem)))]
pub async fn alert_list(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Query(q): Query<AlertQuery>,
) -> Result<Json<Page<Alert>>, ApiError> {
    let (sort, descending, after, list_name) = order("alerts", q.sort.as_deref(), q.cursor.as_deref())?;
    let filter = AlertFilter {
        status: list(q.status.as_deref(), "status")?,
        severity: list(q.severity.as_deref(), "severity")?,
        device: one(q.device.as_deref(), "device")?,
        seen: sees.devices(),
        rule: one(q.rule.as_deref(), "rule")?,
        incident: one(q.incident.as_deref(), "incident")?,
        q: q.q.filter(|q| !q.is_empty()),
        since: moment(q.since.as_deref())?,
        suppressed: q.suppressed,
        sort,
        descending,
        after,
        limit: limit(q.limit)?,
        ..AlertFilter::default()
    };
    Ok(page(api.incidents.alert_list(&filter).await?, &list_name))
}

/// One alert with its matches.
#[utoipa::path(get, path = "/alerts/{id}", tag = "alerts", params(("id" = String, Path,)),
    responses((status = 200, body = Alert), (status = 404, body = Problem)))]
pub async fn alert_get(State(api): State<Api>, Id(id): Id<AlertId>) -> Result<Json<Alert>, ApiError> {
    Ok(Json(api.incidents.alert(&id).await?))
}

/// Changes status, assignee, classification; adds a comment.
#[utoipa::path(patch, path = "/alerts/{id}", tag = "alerts", params(("id" = String, Path,)), request_body = CaseUpdate,
    responses((status = 200, body = Alert), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn alert_patch(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<AlertId>,
    Body(update): Body<CaseUpdate>,
) -> Result<Json<Alert>, ApiError> {
    Ok(Json(api.incidents.alert_update(&id, &update, &who.name, crate::now()).await?))
}

/// Adds a comment to an alert.
#[utoipa::path(post, path = "/alerts/{id}/comments", tag = "alerts", params(("id" = String, Path,)), request_body = CommentBody,
    responses((status = 200, body = Alert), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn alert_comment(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<AlertId>,
    Body(body): Body<CommentBody>,
) -> Result<Json<Alert>, ApiError> {
    Ok(Json(api.incidents.alert_comment(&id, &body.comment, &who.name, crate::now()).await?))
}

/// The process tree of an alert.
#[utoipa::path(get, path = "/alerts/{id}/tree", tag = "alerts", params(("id" = String, Path,)),
    responses((status = 200, body = StoryTree), (status = 404, body = Problem)))]
pub async fn alert_tree(State(api): State<Api>, Id(id): Id<AlertId>) -> Result<Json<StoryTree>, ApiError> {
    let tree = api.incidents.alert_tree(&id).await?;
    tree.map(Json).ok_or_else(|| ApiError::with(Kind::NotFound, "this alert is not about a process"))
}

/// Moves an alert to another incident, or to a new one.
#[utoipa::path(post, path = "/alerts/{id}/move", tag = "alerts", params(("id" = String, Path,)), request_body = MoveBody,
    responses((status = 200, body = Alert), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn alert_move(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(sees): Extension<Sees>,
    Id(id): Id<AlertId>,
    Body(body): Body<MoveBody>,
) -> Result<Json<Alert>, ApiError> {
    let to = (body.incident != 0).then_some(IncidentId(body.incident));
    if let Some(to) = to {
        seen(&api, &sees, to).await?;
    }
    Ok(Json(api.incidents.alert_move(&id, to, &who.name, crate::now()).await?))
}

/// Who changed what of an alert.
#[utoipa::path(get, path = "/alerts/{id}/audit", tag = "alerts", params(("id" = String, Path,)),
    responses((status = 200, body = Page<AuditEntry>), (status = 404, body = Problem)))]
pub async fn alert_audit(State(api): State<Api>, Id(id): Id<AlertId>) -> Result<Json<Page<AuditEntry>>, ApiError> {
    api.incidents.alert(&id).await?;
    let items = api.incidents.audit_list(&format!("alert/{id}")).await?;
    Ok(Json(Page { total: Some(items.len() as i64), items, next_cursor: None }))
}
