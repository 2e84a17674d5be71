//! What the health of a machine is judged by, of what its connector said.

use super::reconcile::Offboarded;
use super::{Connect, Entry};
use garrison_model::MachineId;
use std::collections::HashMap;

/// What is known of a machine by its connector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectorLook {
    /// Whether the sensor is passive.
    pub passive: bool,
    /// That the machine was off-boarded.
    pub offboarded: Option<Offboarded>,
    /// When a second machine last used its identity, microseconds.
    pub twin: Option<i64>,
}

impl ConnectorLook {
    fn of(e: &Entry) -> Self {
        Self {
            passive: e.standing.extension.as_ref().is_some_and(|x| x.passive),
            offboarded: e.standing.offboarded.clone(),
            twin: e.runs.shared(),
        }
    }
}

impl Connect {
    /// What connectors said of their machines; also those that have left, which are known as off-boarded still.
    pub fn connector_looks(&self) -> HashMap<MachineId, ConnectorLook> {
        let entries = self.entries();
        let left = entries.values().filter(|e| e.revoked.is_some() && e.standing.offboarded.is_some());
        let there = entries.values().filter(|e| e.revoked.is_none());
        // Who is there goes before who has left.
        left.chain(there).map(|e| (e.machine.clone(), ConnectorLook::of(e))).collect()
    }
}
