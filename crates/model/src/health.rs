//! How a connected machine is, in three classes; every finding says what to do.

use crate::words::words;
use serde::{Deserialize, Serialize};

words!(
    /// What a finding is about.
    HealthClass, "health class" {
        /// The sensor did not arrive as it should.
        Installation = "Installation",
        /// The machine, its connector or its sensor is silent, or says that it is not well.
        Heartbeat = "Heartbeat",
        /// Nothing is expected of the machine, for the reason that the finding names.
        NotApplicable = "NotApplicable",
    }
);
words!(
    /// How a machine is as a whole.
    HealthState, "health state" {
        /// The sensor is there, and everything that should be heard of is.
        Healthy = "Healthy",
        /// It is on its way, and not late.
        Pending = "Pending",
        /// A finding of class `Installation` or `Heartbeat` is open.
        Unhealthy = "Unhealthy",
        /// Nothing is expected of it.
        NotApplicable = "NotApplicable",
    }
);

/// Something about a machine's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HealthFinding {
    /// What it is about.
    pub class: HealthClass,
    /// Code, such as `SensorSilent`.
    pub code: String,
    /// What is wrong, or why nothing is expected.
    pub message: String,
    /// What to do; never empty.
    pub fix: String,
}

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MachineHealth {
    /// As a whole.
    pub state: HealthState,
    /// Findings, those on installation first.
    pub findings: Vec<HealthFinding>,
    /// Since when it is so, RFC 3339.
    pub since: String,
    /// When it was last worked out, RFC 3339.
    pub refreshed: String,
}
