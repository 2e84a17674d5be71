//! Suppression rules: alerts that are wanted to be quiet.

use crate::{DeviceId, RuleId, SuppressionId};
use serde::{Deserialize, Serialize};

/// What a suppression rule looks for; every condition that is there must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuppressionScope {
    /// Only alerts of this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_id: Option<RuleId>,
    /// Only on this device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// Column tests on the matched row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<SuppressionCondition>,
}

/// A test of one column; case does not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuppressionCondition {
    /// Column, such as `ProcessCommandLine`.
    pub column: String,
    /// `equals`, `contains`, `startsWith` or `endsWith`.
    pub operator: String,
    /// Value.
    pub value: String,
}

/// A suppression rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Suppression {
    /// Id.
    pub id: SuppressionId,
    /// Name.
    pub name: String,
    /// Reason, for those who come later.
    pub reason: String,
    /// What it looks for.
    pub scope: SuppressionScope,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_time: String,
    /// When it ends by itself.
    pub expires_time: Option<String>,
    /// Alerts it has hidden so far.
    pub hidden_count: i64,
}

/// What a suppression would have done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SuppressionPreview {
    /// Alerts it would have hidden.
    pub would_hide: i64,
    /// Days looked at.
    pub days: i64,
    /// Alerts looked at.
    pub looked_at: i64,
    /// Some of them, newest first, at most 20.
    pub examples: Vec<crate::AlertId>,
}
