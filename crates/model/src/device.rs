//! Devices as the security plane sees them.

use crate::{DeviceId, SensorHealthState, Severity};
use serde::{Deserialize, Serialize};

/// A device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Id.
    pub id: DeviceId,
    /// Host name it reports (a claim).
    pub computer_dns_name: String,
    /// `Linux` or `WindowsServer`.
    pub os_platform: String,
    /// Distribution, such as `Debian`.
    pub os_distribution: String,
    /// Version of the distribution.
    pub os_version: String,
    /// Kernel release.
    pub kernel_version: String,
    /// Architecture, such as `x64`.
    pub os_architecture: String,
    /// Sensor version.
    pub agent_version: String,
    /// Addresses of the device.
    pub ip_addresses: Vec<String>,
    /// Address the last session came from.
    pub last_ip_address: Option<String>,
    /// First enrolment, RFC 3339.
    pub first_seen: String,
    /// Last heartbeat or batch, RFC 3339.
    pub last_seen: String,
    /// Health.
    pub health_status: SensorHealthState,
    /// What the sensor says is wrong, empty if nothing.
    pub health_issues: Vec<String>,
    /// How the sensor sees: `ebpf`, `audit-fallback` or `none`, and which sights are missing.
    pub sight: DeviceSight,
    /// Highest severity of its open alerts.
    pub risk_score: Severity,
    /// Open alerts.
    pub active_alert_count: i64,
    /// Tags.
    pub machine_tags: Vec<String>,
    /// Version of the detection content it runs.
    pub content_version: String,
    /// Whether the certificate is revoked.
    pub revoked: bool,
    /// Plan in force on its machine; absent where no machine is known for it: it was enrolled straight, and no plan
    /// speaks of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<crate::EffectivePlan>,
    /// Why its rows are refused, naming the plan that would take them; absent where they are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_off: Option<String>,
    /// Rows received.
    pub row_count: i64,
    /// Rows lost, by the ledger.
    pub lost_row_count: i64,
}

/// What a sensor sees and what it cannot see.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeviceSight {
    /// `ebpf` (all of it in the kernel), `fallback` (process connector, fanotify, /proc, sock_diag) or `none`.
    pub subsystem: String,
    /// Names of what is missing, such as `no network close with byte counts`.
    pub missing: Vec<String>,
}

/// One row of a device's timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelineRow {
    /// When, RFC 3339.
    pub timestamp: String,
    /// Hunting table.
    pub table: String,
    /// `ActionType`.
    pub action_type: String,
    /// One line for people.
    pub summary: String,
    /// File name of the process that did it.
    pub initiating_process: Option<String>,
    /// Account.
    pub account_name: Option<String>,
    /// Alerts raised on this row.
    pub alert_ids: Vec<crate::AlertId>,
    /// The row, columns without a value left out.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub row: serde_json::Value,
}
