//! What the health of a machine is judged by, of its device.

use super::Fleet;
use garrison_model::{DeviceId, DeviceSight, Micros, SensorHealthState};

/// How a device is.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceLook {
    /// Enrolment.
    pub first_seen: Micros,
    /// Last word from it.
    pub last_seen: Micros,
    /// Whether it ever opened a session.
    pub reported: bool,
    /// Health, with silence in it.
    pub health: SensorHealthState,
    /// What it says is wrong.
    pub issues: Vec<String>,
    /// What it sees.
    pub sight: DeviceSight,
    /// Whether it is revoked.
    pub revoked: bool,
    /// Why.
    pub revoked_reason: String,
    /// Microseconds that its clock is ahead of ours; `None` before its first heartbeat.
    pub skew: Option<i64>,
}

impl Fleet {
    /// Devices that are not revoked.
    pub fn ids(&self) -> Vec<DeviceId> {
        self.devices().iter().filter(|(_, e)| !e.record.revoked).map(|(id, _)| id.clone()).collect()
    }

    /// How a device is as of a moment; `None` if there is none.
    pub fn look(&self, id: &DeviceId, now: Micros) -> Option<DeviceLook> {
        let devices = self.devices();
        let e = devices.get(id)?;
        let r = &e.record;
        Some(DeviceLook {
            first_seen: r.first_seen,
            last_seen: r.last_seen,
            reported: !r.sensor_version.is_empty(),
            health: e.health(now, self.inactive_after),
            issues: r.health_issues.clone(),
            sight: r.sight.clone(),
            revoked: r.revoked,
            revoked_reason: r.revoked_reason.clone(),
            skew: e.skew,
        })
    }
}
