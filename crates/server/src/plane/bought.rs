//! Which plan is in force on the machine of a device: asked for every batch that a sensor sends, so it lies in memory.
//!
//! A device without a machine record was enrolled straight, with a token that an administrator made for it: no plan
//! speaks of it, nothing is billed for it, and nothing is refused to it. A device whose machine is known has what that
//! machine's plan holds, and no more.

use super::{Plane, PlaneError, machines, sight};
use garrison_model::{DeviceId, EffectivePlan, Feature, Micros, Plan, PlanLacks, TenantId};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What one tenant has.
#[derive(Debug, Default)]
struct Bought {
    devices: HashMap<DeviceId, EffectivePlan>,
    /// The greatest plan in force anywhere; `None` where there is neither subscription nor machine.
    greatest: Option<Plan>,
}

/// What tenants have, as it was last read.
#[derive(Debug, Default)]
pub(super) struct Book(RwLock<HashMap<TenantId, Arc<Bought>>>);

impl Plane {
    /// Reads plans of devices anew. Called once a second where something has changed, and every few seconds in any
    /// case, since another server on the same database may have changed it.
    pub async fn bought_refresh(&self, tenant: &TenantId, now: Micros) -> Result<(), PlaneError> {
        let mut connection = self.db.pool().acquire().await?;
        let sight = sight::sight(&mut connection, self.db.seal(tenant), tenant, now).await?;
        let mut bought = Bought { devices: HashMap::new(), greatest: sight.greatest() };
        for (machine, subscription, device) in machines::with_devices(&mut connection, tenant).await? {
            let plan = sight.plan(&machine, &subscription);
            bought.greatest = bought.greatest.max(Some(plan.plan));
            bought.devices.insert(device, plan);
        }
        self.bought.0.write().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), Arc::new(bought));
        Ok(())
    }

    fn bought(&self, tenant: &TenantId) -> Option<Arc<Bought>> {
        self.bought.0.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    /// The plan in force on the machine of a device; `None` where no machine is known for it.
    pub fn device_plan(&self, tenant: &TenantId, device: &DeviceId) -> Option<EffectivePlan> {
        self.bought(tenant)?.devices.get(device).copied()
    }

    /// `Ok` where the plan of a device's machine holds a feature, or no plan speaks of the device.
    pub fn device_requires(&self, tenant: &TenantId, device: &DeviceId, feature: Feature) -> Result<(), PlanLacks> {
        self.device_plan(tenant, device).map_or(Ok(()), |plan| plan.plan.require(feature))
    }

    /// `Ok` where some plan in the tenant holds a feature, where no subscription and no machine was ever made, or where
    /// a device that is not revoked was enrolled straight. `devices` gives those; it is asked only where that matters.
    pub fn tenant_requires(
        &self,
        tenant: &TenantId,
        feature: Feature,
        devices: impl FnOnce() -> Vec<DeviceId>,
    ) -> Result<(), PlanLacks> {
        let Some(bought) = self.bought(tenant) else { return Ok(()) };
        let Some(greatest) = bought.greatest else { return Ok(()) };
        greatest.require(feature).or_else(|lacks| {
            let straight = devices().iter().any(|device| !bought.devices.contains_key(device));
            if straight { Ok(()) } else { Err(lacks) }
        })
    }
}
