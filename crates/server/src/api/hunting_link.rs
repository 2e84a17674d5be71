//! The route that puts rows of a hunt into an incident.

use super::Api;
use super::extract::Body;
use super::hunting::problem;
use super::problem::ApiError;
use crate::detection::custom::definition::ImpactedEntity;
use crate::detection::linked::LinkRequest;
use crate::hunting::timespan;
use crate::identity::Principal;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{AlertId, DeviceId, IncidentId, Micros, Problem, Severity};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Rows of a hunt and where to put them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkBody {
    /// Number of the incident; a new one is made if there is none.
    #[serde(default)]
    incident: Option<i64>,
    /// Title of the alert, and of a new incident; at most 256 characters.
    title: String,
    /// Severity of the alert; medium unless told otherwise.
    #[serde(default)]
    severity: Option<Severity>,
    /// ATT&CK tactic, such as `Execution`.
    #[serde(default)]
    category: Option<String>,
    /// ATT&CK techniques, such as `T1059.004`.
    #[serde(default)]
    mitre_techniques: Vec<String>,
    /// What the analyst says of it; at most 4,096 characters.
    #[serde(default)]
    description: String,
    /// The query that found the rows.
    query: String,
    /// Its time span, as it ran.
    #[serde(default)]
    timespan: Option<String>,
    /// When it ran, RFC 3339: a span back from now is counted from here.
    #[serde(default)]
    ran: Option<String>,
    /// Entities by column, beside those that the columns' names tell.
    #[serde(default)]
    impacted_entities: Vec<ImpactedEntity>,
    /// Device of the rows that name none.
    #[serde(default)]
    device_id: Option<DeviceId>,
    /// The rows, each an object of its columns; 1 to 100.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<Map<String, Value>>,
}

/// Where the rows are now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkAnswer {
    /// The incident.
    incident_id: IncidentId,
    /// Whether it was made for them.
    created: bool,
    /// The alerts that hold them, one a device.
    alert_ids: Vec<AlertId>,
    /// Whether the same rows were linked in the same words before; nothing was added then.
    repeated: bool,
}

/// Puts rows of a hunt into an incident, or into a new one, as an alert with typed evidence. The rows are copied.
#[utoipa::path(post, path = "/hunting/incidents", tag = "hunting", request_body = LinkBody,
    responses((status = 201, body = LinkAnswer), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn hunting_link(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Body(body): Body<LinkBody>,
) -> Result<(StatusCode, Json<LinkAnswer>), ApiError> {
    let now = crate::now();
    let ran = body.ran.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let ran = ran.map_or(now, |at| Micros(at.as_microsecond().min(now.0)));
    let failed = |error| problem(&body.query, error);
    let analysis = api.hunting.analyze(&body.query, &api.shared.tenant).map_err(failed)?;
    let range = match body.timespan.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => {
            let range = timespan::parse(text, ran).map_err(failed)?;
            (range.from, range.to.or(Some(ran)))
        }
        // Of the text, where one table's bounds are the query's.
        None => match analysis.tables.as_slice() {
            [used] => (used.from.map(Micros), used.to.map(Micros).or(Some(ran))),
            _ => (None, Some(ran)),
        },
    };
    let request = LinkRequest {
        incident: body.incident.map(IncidentId),
        title: body.title,
        severity: body.severity.unwrap_or(Severity::Medium),
        category: body.category.filter(|c| !c.is_empty()),
        techniques: body.mitre_techniques,
        description: body.description,
        query: body.query,
        tables: analysis.tables.into_iter().map(|used| used.table).collect(),
        range,
        entities: body.impacted_entities,
        device: body.device_id,
        rows: body.rows,
    };
    let linked = api.detection.rows_link(request, &who.name, now).await?;
    let answer = LinkAnswer {
        incident_id: linked.incident,
        created: linked.created,
        repeated: linked.known == linked.alerts.len(),
        alert_ids: linked.alerts,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}
