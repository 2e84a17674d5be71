//! What the rooms have in common.

use crate::access::Access;
use crate::config::Config;
use crate::db::Db;
use crate::fleet::Fleet;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::plane::Plane;
use garrison_model::{Micros, TenantId};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// The wall clock. Rooms take `now` as an argument where they decide; this is for the edge.
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// RFC 3339 in UTC with microseconds, as the HTTP API writes times.
pub fn rfc3339(time: Micros) -> String {
    let time = jiff::Timestamp::from_microsecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// State of a running server, shared by its rooms.
pub struct Shared {
    /// Settings.
    pub config: Config,
    /// The tenant that sensors of this server belong to.
    pub tenant: TenantId,
    /// Folder of everything that the server writes.
    pub data: PathBuf,
    /// Control database.
    pub db: Db,
    /// Keys, users, sessions, tokens.
    pub identity: Identity,
    /// Devices.
    pub fleet: Arc<Fleet>,
    /// The cloud plane: tenants, subscriptions, machines, plans.
    pub plane: Arc<Plane>,
    /// Roles, device groups, the audit log.
    pub access: Arc<Access>,
    /// What was protected, by the hour.
    pub metering: crate::metering::Metering,
    /// The lake of the tenant.
    pub lake: Arc<garrison_lake::Lake>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Held while this process has the data folder.
    pub lock: Option<std::fs::File>,
    /// Fired when the server is to stop.
    pub stop: CancellationToken,
}

impl Shared {
    /// `Ok` where a feature is on in the tenant; the error names the plan that would do.
    pub fn requires(&self, feature: garrison_model::Feature) -> Result<(), garrison_model::PlanLacks> {
        self.plane.tenant_requires(&self.tenant, feature, || self.fleet.ids())
    }

    /// Revokes a device, whose machine has no sensor then.
    pub async fn device_revoke(
        &self,
        id: &garrison_model::DeviceId,
        reason: &str,
        who: &str,
        now: Micros,
    ) -> Result<(), crate::plane::PlaneError> {
        self.fleet.revoke(id, reason, now).await?;
        let mut change = self.plane.change(&self.tenant, who, now).await?;
        change.device_gone(id).await?;
        change.commit().await
    }

    /// Whether a device's sensor counts as connected: heard of lately, and its certificate stands.
    pub fn sensor_connected(&self, id: &garrison_model::DeviceId) -> bool {
        let device = self.fleet.device(id);
        device.is_some_and(|d| d.health_status != garrison_model::SensorHealthState::Inactive && !d.revoked)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("tenant", &self.tenant).field("data", &self.data).finish_non_exhaustive()
    }
}
