//! What is known of a device.

use super::Control;
use super::session::Live;
use crate::shared::rfc3339;
use garrison_model::{Device, DeviceId, DeviceSight, Micros, SensorHealthState, Severity, TenantId};
use garrison_wire::v1;
use std::sync::Arc;
use std::time::Duration;

/// A device, as the database holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRecord {
    /// Id, given at enrolment.
    pub id: DeviceId,
    /// Tenant.
    pub tenant: TenantId,
    /// What it says of its host.
    pub facts: Facts,
    /// An older device that reported the same hardware: a clone, or the same machine enrolled again.
    pub duplicate_of: Option<String>,
    /// Version of the sensor.
    pub sensor_version: String,
    /// Address of its last session.
    pub last_ip: Option<String>,
    /// Enrolment.
    pub first_seen: Micros,
    /// Last word from it.
    pub last_seen: Micros,
    /// What it says is wrong.
    pub health_issues: Vec<String>,
    /// What it sees.
    pub sight: DeviceSight,
    /// Tags.
    pub tags: Vec<String>,
    /// Version of the detection content it runs.
    pub content_version: String,
    /// Whether it is revoked.
    pub revoked: bool,
    /// Why.
    pub revoked_reason: String,
    /// Rows received.
    pub row_count: i64,
    /// Rows lost, by the ledger.
    pub lost_count: i64,
}

/// What a sensor says of its host, cut to size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Host name.
    pub host_name: String,
    /// `Linux` or the Windows edition.
    pub os_platform: String,
    /// Distribution.
    pub os_distribution: String,
    /// Its version.
    pub os_version: String,
    /// Kernel release.
    pub kernel_version: String,
    /// Architecture.
    pub architecture: String,
    /// Addresses.
    pub ip_addresses: Vec<String>,
    /// UUID of the hardware.
    pub hardware_uuid: String,
    /// machine-id.
    pub machine_id: String,
}

/// A claim cut to so many characters, without control characters.
pub(super) fn bounded(text: &str, characters_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(characters_max).collect()
}

pub(super) fn bounded_list(list: Vec<String>, items_max: usize, characters_max: usize) -> Vec<String> {
    list.into_iter().take(items_max).map(|t| bounded(&t, characters_max)).filter(|t| !t.is_empty()).collect()
}

impl Facts {
    /// Takes claims in.
    pub fn from_claims(host: Option<v1::HostFacts>) -> Self {
        let h = host.unwrap_or_default();
        Self {
            host_name: bounded(&h.host_name, 255),
            os_platform: bounded(&h.os_platform, 40),
            os_distribution: bounded(&h.os_distribution, 80),
            os_version: bounded(&h.os_version, 80),
            kernel_version: bounded(&h.kernel_version, 120),
            architecture: bounded(&h.architecture, 40),
            ip_addresses: bounded_list(h.ip_addresses, 32, 64),
            hardware_uuid: bounded(&h.hardware_uuid, 80),
            machine_id: bounded(&h.machine_id, 80),
        }
    }
}

pub(super) fn sight_from_claims(sight: Option<v1::Sight>) -> DeviceSight {
    let s = sight.unwrap_or_default();
    DeviceSight { subsystem: bounded(&s.subsystem, 40), missing: bounded_list(s.missing, 64, 200) }
}

/// A device in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: DeviceRecord,
    /// Host name again, cheap to hand out with every batch.
    pub(super) name: Arc<str>,
    pub(super) live: Option<Live>,
    pub(super) dirty: bool,
    pub(super) health_told: SensorHealthState,
    /// Microseconds that its clock is ahead of ours, by its last heartbeat; a live value, never stored.
    pub(super) skew: Option<i64>,
}

impl Entry {
    pub(super) fn new(record: DeviceRecord) -> Self {
        let name = Arc::from(record.facts.host_name.as_str());
        Self { record, name, live: None, dirty: false, health_told: SensorHealthState::Inactive, skew: None }
    }

    pub(super) fn end_session(&mut self, why: Control) {
        if let Some(live) = &self.live {
            let _ = live.control.send(why);
        }
    }

    /// Health as of now. `Inactive` wins over what the sensor said when it was last heard.
    pub(super) fn health(&self, now: Micros, inactive_after: Duration) -> SensorHealthState {
        let silent = u64::try_from(now.0.saturating_sub(self.record.last_seen.0)).unwrap_or(0);
        if self.record.revoked {
            SensorHealthState::Offboarded
        } else if u128::from(silent) > inactive_after.as_micros() {
            SensorHealthState::Inactive
        } else if self.record.sight.subsystem.is_empty() || self.record.sight.subsystem == "none" {
            SensorHealthState::NoSensorData
        } else if !self.record.health_issues.is_empty() {
            SensorHealthState::Impaired
        } else {
            SensorHealthState::Active
        }
    }

    pub(super) fn device(&self, now: Micros, inactive_after: Duration) -> Device {
        let r = &self.record;
        let mut health_issues = r.health_issues.clone();
        if let Some(other) = &r.duplicate_of {
            health_issues.push(format!("hardware or machine id is the same as that of device {other}"));
        }
        Device {
            id: r.id.clone(),
            computer_dns_name: r.facts.host_name.clone(),
            os_platform: r.facts.os_platform.clone(),
            os_distribution: r.facts.os_distribution.clone(),
            os_version: r.facts.os_version.clone(),
            kernel_version: r.facts.kernel_version.clone(),
            os_architecture: r.facts.architecture.clone(),
            agent_version: r.sensor_version.clone(),
            ip_addresses: r.facts.ip_addresses.clone(),
            last_ip_address: r.last_ip.clone(),
            first_seen: rfc3339(r.first_seen),
            last_seen: rfc3339(r.last_seen),
            health_status: self.health(now, inactive_after),
            health_issues,
            sight: r.sight.clone(),
            risk_score: Severity::Unspecified,
            active_alert_count: 0,
            machine_tags: r.tags.clone(),
            content_version: r.content_version.clone(),
            revoked: r.revoked,
            plan: None,
            collection_off: None,
            row_count: r.row_count,
            lost_row_count: r.lost_count,
        }
    }
}
