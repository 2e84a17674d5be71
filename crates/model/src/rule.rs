//! Detection rules as the API shows them.

use crate::{RuleId, Severity};
use serde::{Deserialize, Serialize};

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The rule's own id.
    pub id: RuleId,
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// Severity of its alerts.
    pub severity: Severity,
    /// ATT&CK tactic in the hunting tables' spelling.
    pub category: String,
    /// ATT&CK techniques.
    pub mitre_techniques: Vec<String>,
    /// `rule`, `correlation` or `filter`.
    pub kind: String,
    /// `shipped` or `imported`.
    pub origin: String,
    /// Sigma status, such as `stable`.
    pub status: String,
    /// Author.
    pub author: String,
    /// Hunting tables it reads.
    pub tables: Vec<String>,
    /// Whether it is on.
    pub enabled: bool,
    /// Whether it is in use: on, and compiled without a problem.
    pub usable: bool,
    /// Why it is not usable, or what to know, with numbers such as `SG0102`.
    pub diagnostics: Vec<RuleDiagnostic>,
    /// Notes on false positives.
    pub false_positives: Vec<String>,
    /// What to do about an alert of it.
    pub recommended_action: String,
    /// Alerts in the past 30 days.
    pub alert_count_30d: i64,
    /// The source text; only in the answer for one rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A numbered remark on a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RuleDiagnostic {
    /// Number, such as `SG0102`.
    pub code: String,
    /// `error`, `warning` or `note`.
    pub level: String,
    /// Words.
    pub message: String,
    /// Where in the rule, such as `detection.selection.CommandLine|re`.
    pub place: String,
    /// What to do.
    pub hint: Option<String>,
}
