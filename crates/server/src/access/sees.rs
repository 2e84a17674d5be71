//! What one request may see: everything of the tenant, or the devices and subscriptions that the caller's roles reach.

use super::Setup;
use super::group::group_of;
use super::role::Reach;
use crate::fleet::Fleet;
use garrison_model::{DeviceId, Machine, SubscriptionId};
use std::collections::HashSet;
use std::sync::Arc;

/// What one request may see. Cheap to copy.
#[derive(Debug, Clone)]
pub struct Sees(Option<Arc<Part>>);

#[derive(Debug)]
struct Part {
    reach: Reach,
    setup: Arc<Setup>,
    /// Devices of machines in the subscriptions of `reach`.
    machines: HashSet<DeviceId>,
    fleet: Arc<Fleet>,
}

impl Sees {
    /// The whole tenant.
    pub fn everything() -> Self {
        Self(None)
    }

    pub(super) fn some(reach: Reach, setup: Arc<Setup>, machines: HashSet<DeviceId>, fleet: Arc<Fleet>) -> Self {
        Self(Some(Arc::new(Part { reach, setup, machines, fleet })))
    }

    /// Whether nothing is hidden.
    pub fn is_everything(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a device may be seen. One that is not known is seen only by those who see everything.
    pub fn device(&self, id: &DeviceId) -> bool {
        let Some(part) = &self.0 else { return true };
        part.machines.contains(id)
            || (!part.reach.groups.is_empty()
                && part
                    .fleet
                    .group_facts(id, |facts| part.reach.groups.contains(group_of(&part.setup.groups, facts)))
                    .unwrap_or(false))
    }

    /// The same for an id as text.
    pub fn device_text(&self, id: &str) -> bool {
        self.is_everything() || id.parse().is_ok_and(|id: DeviceId| self.device(&id))
    }

    /// All devices that may be seen; `None` where that is all of them.
    pub fn devices(&self) -> Option<HashSet<DeviceId>> {
        let part = self.0.as_ref()?;
        let mut found = part.machines.clone();
        part.fleet.group_facts_walk(|id, facts| {
            if part.reach.groups.contains(group_of(&part.setup.groups, facts)) {
                found.insert(id.clone());
            }
        });
        Some(found)
    }

    /// Whether a subscription may be seen.
    pub fn subscription(&self, id: &SubscriptionId) -> bool {
        self.0.as_ref().is_none_or(|part| part.reach.subscriptions.contains(id))
    }

    /// Whether a machine may be seen: it lies in a subscription that may, or its device may be seen.
    pub fn machine(&self, machine: &Machine) -> bool {
        self.subscription(&machine.resource_id.subscription)
            || machine.device_id.as_ref().is_some_and(|device| self.device(device))
    }
}
