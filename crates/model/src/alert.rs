//! Alerts and their evidence.

use crate::{
    AlertId, AlertStatus, Classification, DetectionSource, Determination, DeviceId, EntityType, EvidenceRole,
    IncidentId, InvestigationState, RuleId, Severity,
};
use serde::{Deserialize, Serialize};

/// An alert as the API shows it. Times are RFC 3339 in UTC. What the rule matched is copied in, so that retention
/// never empties a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Id, derived from rule and row.
    pub id: AlertId,
    /// Title.
    pub title: String,
    /// What it means.
    pub description: String,
    /// What to do about it.
    pub recommended_action: String,
    /// When the alert was made.
    pub alert_creation_time: String,
    /// Time of the first matched row.
    pub first_event_time: String,
    /// Time of the last matched row.
    pub last_event_time: String,
    /// When anything in the alert last changed.
    pub last_update_time: String,
    /// When it was resolved.
    pub resolved_time: Option<String>,
    /// The incident it belongs to; every alert belongs to one.
    pub incident_id: IncidentId,
    /// State of the automated investigation.
    pub investigation_state: InvestigationState,
    /// Who works on it.
    pub assigned_to: Option<String>,
    /// ATT&CK techniques, such as `T1059.004`.
    pub mitre_techniques: Vec<String>,
    /// Account of the process that the alert is about.
    pub related_user: Option<String>,
    /// Severity.
    pub severity: Severity,
    /// Status.
    pub status: AlertStatus,
    /// Classification.
    pub classification: Option<Classification>,
    /// Determination; goes with the classification.
    pub determination: Option<Determination>,
    /// ATT&CK tactic in the hunting tables' spelling, such as `CredentialAccess`.
    pub category: String,
    /// What saw it.
    pub detection_source: DetectionSource,
    /// The rule.
    pub detector_id: RuleId,
    /// The device.
    pub machine_id: DeviceId,
    /// The device's name when the alert was made.
    pub computer_dns_name: String,
    /// How many rows this alert stands for: repeats of the same rule on the same process within an hour are folded.
    pub match_count: i64,
    /// `ProcessUniqueId` of the process the alert is about.
    pub process_unique_id: Option<String>,
    /// Whether a suppression rule hides it.
    pub suppressed: bool,
    /// Evidence entities.
    pub evidence: Vec<Evidence>,
    /// The matched rows (first ones, at most [`ALERT_MATCHES_MAX`]), with rule fields that matched; all rows that an
    /// analyst linked.
    pub matches: Vec<Match>,
    /// The hunt whose rows an analyst linked; none for alerts of rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hunt: Option<AlertHunt>,
    /// Comments, oldest first.
    pub comments: Vec<Comment>,
}

/// The hunt that an alert was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AlertHunt {
    /// The query.
    pub query: String,
    /// First moment that it looked at, where something bounded it.
    pub from: Option<String>,
    /// Moment after the last, likewise.
    pub to: Option<String>,
    /// Who linked its rows.
    pub linked_by: String,
}

/// Matched rows copied into one alert; more are only counted. Sixteen tell the story, and bound the case's size.
pub const ALERT_MATCHES_MAX: usize = 16;

/// Why the rule fired on one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// The hunting table.
    pub table: String,
    /// The row's time.
    pub timestamp: String,
    /// The fields that the rule looked at and found true, with the pattern.
    pub fields: Vec<MatchField>,
    /// The row as it was, columns without a value left out.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub row: serde_json::Value,
}

/// One field test of a rule that held on a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MatchField {
    /// Name of the selection in the rule.
    pub selection: String,
    /// The rule's own field name, such as `CommandLine`; empty for a keyword.
    pub field: String,
    /// The column it was looked up in, such as `ProcessCommandLine`.
    pub column: String,
    /// The test, such as `contains '/dev/tcp/'`.
    pub test: String,
    /// The value it held on, cut to 512 characters.
    pub value: String,
}

/// An entity of an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Kind.
    pub entity_type: EntityType,
    /// Role.
    pub role: EvidenceRole,
    /// When it was added.
    pub evidence_creation_time: String,
    /// SHA-1 of the file or image.
    pub sha1: Option<String>,
    /// SHA-256 of the file or image.
    pub sha256: Option<String>,
    /// File name.
    pub file_name: Option<String>,
    /// Folder.
    pub file_path: Option<String>,
    /// Process id.
    pub process_id: Option<i64>,
    /// `ProcessUniqueId`.
    pub process_unique_id: Option<String>,
    /// Command line.
    pub process_command_line: Option<String>,
    /// Process start.
    pub process_creation_time: Option<String>,
    /// Parent's process id.
    pub parent_process_id: Option<i64>,
    /// Parent's file name.
    pub parent_process_file_name: Option<String>,
    /// Address.
    pub ip_address: Option<String>,
    /// URL or domain.
    pub url: Option<String>,
    /// Account name.
    pub account_name: Option<String>,
    /// Account's user id (Linux: the uid).
    pub user_sid: Option<String>,
}

/// A comment on an alert or incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Comment {
    /// The text; at most 4,096 characters.
    pub comment: String,
    /// Who.
    pub created_by: String,
    /// When.
    pub created_time: String,
}

/// What a user may change of an alert or incident in one request. An absent field is left alone; an empty `assignedTo`
/// takes the assignment away.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseUpdate {
    /// For alerts `New`, `InProgress`, `Resolved`; for incidents `Active`, `InProgress`, `Resolved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// User name, or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<String>,
    /// Classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// Determination; must go with the classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub determination: Option<Determination>,
    /// New title (incidents only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Tags (incidents only), replacing those that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// A comment added in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}
