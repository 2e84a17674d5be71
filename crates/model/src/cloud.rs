//! The cloud view of an alert: the same alert, told by subscription and resource, in the words of cloud portals.

use crate::words::words;
use crate::{Alert, AlertId, AlertStatus, Classification, DeviceId, MachineId, ResourceId, Severity, SubscriptionId};
use serde::{Deserialize, Serialize};

words!(
    /// How bad an alert is, as the cloud view says it.
    CloudSeverity, "cloud severity" {
        /// For the record, and what is not rated.
        Informational = "Informational",
        /// Low.
        Low = "Low",
        /// Medium.
        Medium = "Medium",
        /// High.
        High = "High",
    }
);
words!(
    /// Where an alert stands, as the cloud view says it.
    CloudStatus, "cloud status" {
        /// Nobody looked yet.
        Active = "Active",
        /// Somebody is on it.
        InProgress = "InProgress",
        /// Closed as a real attack, or without a word on what it was.
        Resolved = "Resolved",
        /// Closed because there is nothing to do: suppressed, a false positive, or expected.
        Dismissed = "Dismissed",
    }
);

impl CloudSeverity {
    /// The severities of the deep view that this one stands for.
    pub fn severities(self) -> &'static [Severity] {
        match self {
            Self::Informational => &[Severity::Unspecified, Severity::Informational],
            Self::Low => &[Severity::Low],
            Self::Medium => &[Severity::Medium],
            Self::High => &[Severity::High],
        }
    }
}

impl From<Severity> for CloudSeverity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Unspecified | Severity::Informational => Self::Informational,
            Severity::Low => Self::Low,
            Severity::Medium => Self::Medium,
            Severity::High => Self::High,
        }
    }
}

impl CloudStatus {
    /// Where an alert stands. Nothing of its own is kept for the cloud view, so the two views cannot disagree.
    pub fn of(status: AlertStatus, suppressed: bool, classification: Option<Classification>) -> Self {
        use Classification::{FalsePositive, InformationalExpectedActivity};
        match status {
            AlertStatus::New | AlertStatus::Unknown => Self::Active,
            AlertStatus::InProgress => Self::InProgress,
            AlertStatus::Resolved
                if suppressed || matches!(classification, Some(FalsePositive | InformationalExpectedActivity)) =>
            {
                Self::Dismissed
            }
            AlertStatus::Resolved => Self::Resolved,
        }
    }
}

/// An alert in the cloud view. Times are RFC 3339 in UTC; links are paths of the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CloudAlert {
    /// The alert's id: the same as in the deep view.
    pub id: AlertId,
    /// The rule.
    pub alert_type: String,
    /// Title.
    pub alert_display_name: String,
    /// What it means.
    pub description: String,
    /// What to do about it.
    pub remediation_steps: String,
    /// Severity.
    pub severity: CloudSeverity,
    /// Status.
    pub status: CloudStatus,
    /// Whether a suppression rule hides it.
    pub suppressed: bool,
    /// The subscription that the machine lies in now.
    pub subscription_id: SubscriptionId,
    /// The machine's resource id now.
    pub resource_id: ResourceId,
    /// The machine.
    pub machine_id: MachineId,
    /// The device.
    pub device_id: DeviceId,
    /// The machine's name when the alert was made.
    pub compromised_entity: String,
    /// ATT&CK tactic.
    pub intent: String,
    /// When it was made.
    pub time_generated: String,
    /// Time of the first matched row.
    pub start_time: String,
    /// Time of the last matched row.
    pub end_time: String,
    /// The deep view of it.
    pub alert_link: String,
    /// Its incident; none while a suppression hides it.
    pub incident_link: Option<String>,
    /// Its device.
    pub device_link: String,
}

impl CloudAlert {
    /// The cloud view of an alert on a machine.
    pub fn of(alert: Alert, machine: MachineId, resource: ResourceId) -> Self {
        Self {
            severity: alert.severity.into(),
            status: CloudStatus::of(alert.status, alert.suppressed, alert.classification),
            suppressed: alert.suppressed,
            subscription_id: resource.subscription.clone(),
            resource_id: resource,
            machine_id: machine,
            alert_link: format!("/alerts/{}", alert.id),
            incident_link: (alert.incident_id.0 > 0).then(|| format!("/incidents/{}", alert.incident_id)),
            device_link: format!("/devices/{}", alert.machine_id),
            id: alert.id,
            alert_type: alert.detector_id.to_string(),
            alert_display_name: alert.title,
            description: alert.description,
            remediation_steps: alert.recommended_action,
            device_id: alert.machine_id,
            compromised_entity: alert.computer_dns_name,
            intent: alert.category,
            time_generated: alert.alert_creation_time,
            start_time: alert.first_event_time,
            end_time: alert.last_event_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_follows_from_how_the_alert_was_closed() {
        use AlertStatus as S;
        use Classification as C;
        use CloudStatus as V;
        for (status, suppressed, classification, expected) in [
            (S::New, false, None, V::Active),
            (S::Unknown, false, None, V::Active),
            (S::InProgress, false, None, V::InProgress),
            (S::Resolved, false, None, V::Resolved),
            (S::Resolved, false, Some(C::TruePositive), V::Resolved),
            (S::Resolved, false, Some(C::FalsePositive), V::Dismissed),
            (S::Resolved, false, Some(C::InformationalExpectedActivity), V::Dismissed),
            (S::Resolved, true, None, V::Dismissed),
            // Opened again, whatever it was closed as.
            (S::New, true, None, V::Active),
            (S::New, false, Some(C::FalsePositive), V::Active),
        ] {
            assert_eq!(CloudStatus::of(status, suppressed, classification), expected, "{status} {classification:?}");
        }
    }

    #[test]
    fn every_severity_has_one_place() {
        for severity in Severity::ALL {
            let holding = CloudSeverity::ALL.iter().filter(|c| c.severities().contains(severity));
            assert_eq!(holding.copied().collect::<Vec<_>>(), [CloudSeverity::from(*severity)]);
        }
    }
}
