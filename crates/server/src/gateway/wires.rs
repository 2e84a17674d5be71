//! The tenants' ways in. One listener has them all: a certificate says whose its machine is, and before there is one,
//! the token does.

use super::connectors::Connectors;
use super::listener::GatewayParts;
use super::service::Service;
use crate::identity::Failures;
use garrison_model::TenantId;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// One tenant's.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) service: Arc<Service>,
    pub(super) connectors: Arc<Connectors>,
}

/// All tenants'.
#[derive(Debug, Default)]
pub struct Wires(RwLock<BTreeMap<TenantId, Arc<Wire>>>);

impl Wires {
    /// Opens a tenant's way in.
    pub fn open(self: &Arc<Self>, parts: GatewayParts) {
        let per_minute = parts.shared.config.limits.enrol_failures_per_minute;
        let failures = || Failures::new(per_minute, Duration::from_mins(1));
        let tenant = parts.shared.tenant.clone();
        let connectors = Connectors::new(&parts.shared, &parts.connect, failures(), self);
        let service = Service::new(parts, failures(), self);
        let wire = Wire { service: Arc::new(service), connectors: Arc::new(connectors) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, Arc::new(wire));
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Wire>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A tenant's way in, if this server has the tenant.
    pub(super) fn of(&self, tenant: &TenantId) -> Option<Arc<Wire>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }
}
