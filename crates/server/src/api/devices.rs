//! Routes of devices and their time line.

use super::Api;
use super::cursor::Cursor;
use super::extract::{Body, Id, Query, limit, list, one};
use super::problem::{ApiError, Kind};
use crate::access::Sees;
use crate::detection::live::timeline_row;
use crate::fleet::DeviceFilter;
use crate::identity::Principal;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_lake::{Order, ScanRequest};
use garrison_model::{Device, DeviceId, Feature, Micros, Page, Problem, Severity, TimelineRow};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// Tables of the time line, unless others are asked for.
const TIMELINE_TABLES: &[&str] = &[
    "DeviceProcessEvents",
    "DeviceNetworkEvents",
    "DeviceFileEvents",
    "DeviceLogonEvents",
    "DeviceEvents",
    "DeviceImageLoadEvents",
    "SensorLossEvents",
];
/// Rows read in one step from each table.
const STEP_ROWS: usize = 500;
/// Rows looked at for one page with a filter: a search that finds little ends with a cursor to go on from.
const LOOKED_AT_MAX: usize = 20_000;
/// Tags of a device.
const TAGS_MAX: usize = 20;

/// Filters of devices.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeviceQuery {
    /// `Active`, `Inactive`, …; separated by commas.
    health: Option<String>,
    /// Part of name, address, tag or id.
    q: Option<String>,
    /// `name`, `lastSeen`, `firstSeen`, `healthStatus`; `-` for greatest first.
    sort: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// What to read of a time line.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineQuery {
    /// Not before, RFC 3339 or `24h`.
    from: Option<String>,
    /// Before, RFC 3339.
    to: Option<String>,
    /// Tables, separated by commas.
    tables: Option<String>,
    /// Words that must all be in the row.
    q: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// Tags.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceBody {
    /// Tags, replacing those that are there.
    machine_tags: Vec<String>,
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// Reason, for the record.
    reason: String,
}

async fn with_risk(api: &Api, devices: &mut [Device]) -> Result<(), ApiError> {
    let risks = api.incidents.risk_by_device().await?;
    for device in devices {
        let (worst, open) = risks.get(device.id.as_str()).copied().unwrap_or((Severity::Unspecified, 0));
        device.risk_score = worst;
        device.active_alert_count = open;
        let (plane, tenant) = (&api.shared.plane, &api.shared.tenant);
        device.plan = plane.device_plan(tenant, &device.id);
        device.collection_off = plane.device_requires(tenant, &device.id, Feature::Edr).err().map(|l| l.to_string());
    }
    Ok(())
}

/// A device with its risk and plan filled in.
pub async fn device_of(api: &Api, id: &DeviceId) -> Result<Device, ApiError> {
    let mut device =
        api.shared.fleet.device(id).ok_or_else(|| ApiError::with(Kind::NotFound, "there is no device with this id"))?;
    with_risk(api, std::slice::from_mut(&mut device)).await?;
    Ok(device)
}

/// Devices.
#[utoipa::path(get, path = "/devices", tag = "devices", params(DeviceQuery), responses((status = 200, body = Page<Device>), (status = 400, body = Problem)))]
pub async fn device_list(
    State(api): State<Api>,
    Extension(sees): Extension<Sees>,
    Query(q): Query<DeviceQuery>,
) -> Result<Json<Page<Device>>, ApiError> {
    let sort = q.sort.filter(|s| !s.is_empty());
    let known = ["name", "computerDnsName", "lastSeen", "firstSeen", "healthStatus", "health"];
    if sort.as_deref().is_some_and(|s| !known.contains(&s.strip_prefix('-').unwrap_or(s))) {
        return Err(ApiError::with(Kind::BadQuery, "sort is not known"));
    }
    let cursor = match q.cursor.as_deref().filter(|c| !c.is_empty()) {
        Some(text) => Some(Cursor::decode("devices", text).ok_or_else(|| ApiError::new(Kind::BadCursor))?.id),
        None => None,
    };
    let filter = DeviceFilter {
        health: list(q.health.as_deref(), "health")?,
        seen: sees.devices(),
        q: q.q.filter(|q| !q.is_empty()),
        sort,
        cursor,
        limit: limit(q.limit)?,
    };
    let mut page = api.shared.fleet.device_list(&filter);
    crate::access::audit::count(page.items.len());
    with_risk(&api, &mut page.items).await?;
    page.next_cursor = page.next_cursor.map(|id| Cursor { key: String::new(), id }.encode("devices"));
    Ok(Json(page))
}

/// One device.
#[utoipa::path(get, path = "/devices/{id}", tag = "devices", params(("id" = String, Path,)),
    responses((status = 200, body = Device), (status = 404, body = Problem)))]
pub async fn device_get(State(api): State<Api>, Id(id): Id<DeviceId>) -> Result<Json<Device>, ApiError> {
    Ok(Json(device_of(&api, &id).await?))
}

/// Sets tags.
#[utoipa::path(patch, path = "/devices/{id}", tag = "devices", params(("id" = String, Path,)), request_body = DeviceBody,
    responses((status = 200, body = Device), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn device_patch(
    State(api): State<Api>,
    Id(id): Id<DeviceId>,
    Body(body): Body<DeviceBody>,
) -> Result<Json<Device>, ApiError> {
    let fits = |tag: &String| !tag.trim().is_empty() && tag.chars().count() <= 64 && !tag.chars().any(char::is_control);
    if body.machine_tags.len() > TAGS_MAX || !body.machine_tags.iter().all(fits) {
        return Err(ApiError::with(Kind::Text, "a device has at most 20 tags of 1 to 64 characters"));
    }
    if !api.shared.fleet.tags_set(&id, body.machine_tags).await? {
        return Err(ApiError::with(Kind::NotFound, "there is no device with this id"));
    }
    Ok(Json(device_of(&api, &id).await?))
}

/// Revokes a device's certificate; its session ends at once and it must enrol anew.
#[utoipa::path(post, path = "/devices/{id}/revoke", tag = "devices", params(("id" = String, Path,)), request_body = RevokeBody,
    responses((status = 200, body = Device), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn device_revoke(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<DeviceId>,
    Body(body): Body<RevokeBody>,
) -> Result<(StatusCode, Json<Device>), ApiError> {
    if body.reason.trim().is_empty() || body.reason.chars().count() > 1_024 {
        return Err(ApiError::with(Kind::Text, "a reason must have between 1 and 1024 characters"));
    }
    if api.shared.fleet.device(&id).is_none() {
        return Err(ApiError::with(Kind::NotFound, "there is no device with this id"));
    }
    api.shared.device_revoke(&id, &body.reason, &who.name, crate::now()).await?;
    Ok((StatusCode::OK, Json(device_of(&api, &id).await?)))
}

/// A device's events, newest first.
#[utoipa::path(get, path = "/devices/{id}/timeline", tag = "devices", params(("id" = String, Path,), TimelineQuery),
    responses((status = 200, body = Page<TimelineRow>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn device_timeline(
    State(api): State<Api>,
    Id(id): Id<DeviceId>,
    Query(q): Query<TimelineQuery>,
) -> Result<Json<Page<TimelineRow>>, ApiError> {
    if api.shared.fleet.device(&id).is_none() {
        return Err(ApiError::with(Kind::NotFound, "there is no device with this id"));
    }
    let tables: Vec<String> = list(q.tables.as_deref(), "tables")?;
    if let Some(unknown) =
        tables.iter().find(|t| garrison_telemetry::table(t).is_none_or(|known| known.feature.is_some()))
    {
        return Err(ApiError::with(
            Kind::BadQuery,
            format!("tables: there is no table `{}`", unknown.chars().take(60).collect::<String>()),
        ));
    }
    let tables = if tables.is_empty() { TIMELINE_TABLES.iter().map(|t| (*t).to_owned()).collect() } else { tables };
    timeline(&api, id, tables, q).await
}

/// What the device's sensor lost, newest first.
#[utoipa::path(get, path = "/devices/{id}/losses", tag = "devices", params(("id" = String, Path,), TimelineQuery),
    responses((status = 200, body = Page<TimelineRow>), (status = 404, body = Problem)))]
pub async fn device_losses(
    State(api): State<Api>,
    Id(id): Id<DeviceId>,
    Query(q): Query<TimelineQuery>,
) -> Result<Json<Page<TimelineRow>>, ApiError> {
    if api.shared.fleet.device(&id).is_none() {
        return Err(ApiError::with(Kind::NotFound, "there is no device with this id"));
    }
    timeline(&api, id, vec!["SensorLossEvents".to_owned()], q).await
}

fn moment(text: Option<&str>, name: &str) -> Result<Option<Micros>, ApiError> {
    text.filter(|t| !t.is_empty())
        .map(|t| {
            crate::incidents::list::since(t, crate::now().0)
                .map(Micros)
                .ok_or_else(|| ApiError::with(Kind::BadQuery, format!("{name} is not a time")))
        })
        .transpose()
}

async fn timeline(
    api: &Api,
    id: DeviceId,
    tables: Vec<String>,
    q: TimelineQuery,
) -> Result<Json<Page<TimelineRow>>, ApiError> {
    let wanted = limit(q.limit)?;
    let from = moment(q.from.as_deref(), "from")?;
    let to = moment(q.to.as_deref(), "to")?;
    let words: Vec<String> =
        q.q.unwrap_or_default().to_lowercase().split_whitespace().take(8).map(str::to_owned).collect();
    let after = match q.cursor.as_deref().filter(|c| !c.is_empty()) {
        Some(text) => {
            let cursor = Cursor::decode("timeline", text).ok_or_else(|| ApiError::new(Kind::BadCursor))?;
            let time = cursor.number().ok_or_else(|| ApiError::new(Kind::BadCursor))?;
            let sequence =
                one::<i64>(Some(&cursor.id), "cursor").ok().flatten().ok_or_else(|| ApiError::new(Kind::BadCursor))?;
            Some((time, sequence))
        }
        None => None,
    };
    let rooms = api.clone();
    let device = id.clone();
    let (rows, next) =
        tokio::task::spawn_blocking(move || read(&rooms, &device, &tables, from, to, &words, after, wanted))
            .await
            .map_err(|e| ApiError::internal(&e))??;
    let numbers: Vec<i64> = rows.iter().map(|(_, sequence, _, _)| *sequence).collect();
    let alerts = api.incidents.alerts_on_rows(&id, &numbers).await?;
    let items = rows
        .into_iter()
        .map(|(_, sequence, table, row)| {
            let boot = row.get("BootId").and_then(Value::as_str).unwrap_or_default().to_owned();
            let mut shown = timeline_row(&table, row);
            shown.alert_ids = alerts.get(&(boot, sequence)).cloned().unwrap_or_default();
            shown
        })
        .collect();
    crate::access::audit::count(numbers.len());
    let next_cursor =
        next.map(|(time, sequence)| Cursor { key: time.to_string(), id: sequence.to_string() }.encode("timeline"));
    Ok(Json(Page { items, next_cursor, total: None }))
}

type Found = (i64, i64, String, Map<String, Value>);

/// Reads a page: every table newest first, merged; rows without the words are passed over.
fn read(
    api: &Api,
    device: &DeviceId,
    tables: &[String],
    from: Option<Micros>,
    to: Option<Micros>,
    words: &[String],
    mut after: Option<(i64, i64)>,
    wanted: usize,
) -> Result<(Vec<Found>, Option<(i64, i64)>), ApiError> {
    let step = if words.is_empty() { wanted + 1 } else { STEP_ROWS };
    let mut out: Vec<Found> = Vec::new();
    let mut looked = 0;
    loop {
        let mut found: Vec<Found> = Vec::new();
        for table in tables {
            let request = ScanRequest {
                from,
                to,
                devices: vec![device.to_string()],
                order: Order::NewestFirst,
                limit: Some(step),
                after: after.map(|(time, sequence)| garrison_lake::Cursor {
                    time: Micros(time),
                    device: device.to_string(),
                    sequence,
                }),
                ..ScanRequest::table(table)
            };
            for batch in api.shared.lake.scan(request)? {
                let batch = batch?;
                for row in 0..batch.num_rows() {
                    let row = garrison_telemetry::row_to_json(&batch, row);
                    let time =
                        row.get("Timestamp").and_then(Value::as_str).map_or(0, crate::incidents::list::micros_of);
                    let sequence = row.get("ReportId").and_then(Value::as_i64).unwrap_or(0);
                    found.push((time, sequence, table.clone(), row));
                }
            }
        }
        found.sort_by(|a, b| (b.0, b.1, &b.2).cmp(&(a.0, a.1, &a.2)));
        let more = found.len() >= step;
        // Only the newest `step` are sure to be complete over all tables.
        found.truncate(step);
        looked += found.len();
        for row in found {
            let fits = words.is_empty() || {
                let text = format!("{} {}", row.2, Value::Object(row.3.clone())).to_lowercase();
                words.iter().all(|word| text.contains(word.as_str()))
            };
            if fits && out.len() == wanted {
                return Ok((out, after));
            }
            after = Some((row.0, row.1));
            if fits {
                out.push(row);
            }
        }
        if !more {
            return Ok((out, None));
        }
        if looked >= LOOKED_AT_MAX {
            return Ok((out, after));
        }
    }
}
