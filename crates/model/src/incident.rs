//! Incidents: alerts that belong together.

use crate::{
    Alert, Classification, Comment, Determination, DeviceId, IncidentId, IncidentStatus, ProcessNode, Severity,
};
use serde::{Deserialize, Serialize};

/// A row of the incident queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct IncidentSummary {
    /// Number.
    pub id: IncidentId,
    /// Name made from the alerts, or given by a user.
    pub title: String,
    /// Highest severity of its alerts.
    pub severity: Severity,
    /// Status.
    pub status: IncidentStatus,
    /// Who works on it.
    pub assigned_to: Option<String>,
    /// Classification.
    pub classification: Option<Classification>,
    /// Determination.
    pub determination: Option<Determination>,
    /// Tactics of its alerts, in the order of ATT&CK.
    pub categories: Vec<String>,
    /// Techniques of its alerts.
    pub mitre_techniques: Vec<String>,
    /// Devices, at most 100 named.
    pub devices: Vec<DeviceRef>,
    /// Accounts, at most 100 named.
    pub users: Vec<String>,
    /// Alerts not yet resolved.
    pub active_alert_count: i64,
    /// All alerts.
    pub alert_count: i64,
    /// Time of the earliest matched row.
    pub first_event_time: String,
    /// Time of the latest matched row.
    pub last_event_time: String,
    /// When it was made.
    pub created_time: String,
    /// When it last changed.
    pub last_update_time: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Where it went, if it was merged.
    pub redirect_incident_id: Option<IncidentId>,
}

/// A device as an incident names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeviceRef {
    /// Id.
    pub id: DeviceId,
    /// Name.
    pub name: String,
}

/// An incident with its alerts and comments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// The queue's row.
    #[serde(flatten)]
    pub summary: IncidentSummary,
    /// Alerts, oldest first.
    pub alerts: Vec<Alert>,
    /// Comments, oldest first.
    pub comments: Vec<Comment>,
    /// Why each alert joined this incident, in words.
    pub correlation_reasons: Vec<CorrelationReason>,
}

/// Why an alert was put into an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CorrelationReason {
    /// The alert.
    pub alert_id: crate::AlertId,
    /// Such as `same process tree below sshd (1234)`.
    pub reason: String,
}

/// The attack story of an incident: one tree a device and root process, and the same rows on one time line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// The trees.
    pub trees: Vec<StoryTree>,
    /// Whether parts were left out because the story is too large (512 processes a tree).
    pub truncated: bool,
}

/// One tree of a story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StoryTree {
    /// The device.
    pub device: DeviceRef,
    /// The root process.
    pub root: ProcessNode,
}
