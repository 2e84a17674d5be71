//! Off-boarding of a whole tenant, before it is reset: every machine that a connector reaches is told to let everything
//! of ours go.

use super::{Connect, ConnectError};
use crate::connect::ConnectorLook;
use garrison_model::{ConnectionState, Machine, MachineId, ResourceId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Machines that are named; all of them are counted.
const NAMED_MAX: usize = 1_000;

/// A machine that is not off-boarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OffBoardLine {
    /// Machine.
    pub machine_id: MachineId,
    /// Where it lies.
    pub resource_id: ResourceId,
    /// Whether it is heard of.
    pub connection: ConnectionState,
    /// Why it is not off-boarded.
    pub why: String,
}

/// How the off-boarding of a tenant stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OffBoarding {
    /// Machines that the tenant knows.
    pub machines: u64,
    /// Of them, off-boarded: they said that everything is gone.
    pub done: u64,
    /// Told, and heard of lately: they are at it.
    pub under_way: u64,
    /// Told, and not heard of lately: they hear it when they come back.
    pub not_reached: u64,
    /// With a connector, and nobody told them.
    pub not_told: u64,
    /// With a sensor and without a connector: nothing reaches them from here.
    pub without_connector: u64,
    /// Sensors that were enrolled straight, without a machine.
    pub sensors_without_machine: u64,
    /// Machines that are not off-boarded, at most 1,000.
    pub open: Vec<OffBoardLine>,
}

impl OffBoarding {
    /// Whether nothing is left that could still change by waiting for machines that are heard of.
    pub fn is_settled(&self) -> bool {
        self.under_way == 0 && self.not_told == 0
    }

    /// Whether no sensor is left.
    pub fn is_done(&self) -> bool {
        self.is_settled() && self.not_reached == 0 && self.without_connector == 0 && self.sensors_without_machine == 0
    }

    /// Counts one machine: `holds` is whether one of its connectors is not revoked, `sensor` whether its device is not.
    fn count(&mut self, machine: &Machine, look: Option<&ConnectorLook>, holds: bool, sensor: bool) {
        self.machines += 1;
        let told = look.and_then(|l| l.offboarded.as_ref());
        let why = if told.is_some_and(|off| off.done && !off.returned) {
            self.done += 1;
            return;
        } else if holds && told.is_none() {
            self.not_told += 1;
            "nobody told it to"
        } else if holds && machine.state == ConnectionState::Connected {
            self.under_way += 1;
            "it is at it"
        } else if holds {
            self.not_reached += 1;
            "it was not heard of since it was told to; it hears it when it comes back"
        } else if sensor {
            self.without_connector += 1;
            "no connector is on it: remove the sensor by hand, `garrison-sensor` says how"
        } else {
            return;
        };
        if self.open.len() < NAMED_MAX {
            self.open.push(OffBoardLine {
                machine_id: machine.id.clone(),
                resource_id: machine.resource_id.clone(),
                connection: machine.state,
                why: why.to_owned(),
            });
        }
    }
}

impl Connect {
    /// Tells every machine that has a connector to let everything of ours go; how many were told now.
    pub async fn offboard_all(&self, who: &str) -> Result<usize, ConnectError> {
        self.change_all(|standing, now| standing.offboard(who, now)).await
    }

    /// How the off-boarding of all machines stands.
    pub async fn offboarding(&self) -> Result<OffBoarding, ConnectError> {
        let looks = self.connector_looks();
        let holds: HashMap<MachineId, bool> =
            self.entries().values().filter(|e| e.revoked.is_none()).map(|e| (e.machine.clone(), true)).collect();
        let mut sensors: std::collections::HashSet<_> = self.shared.fleet.ids().into_iter().collect();
        let mut all = OffBoarding::default();
        let take = |machine: Machine| {
            let sensor = machine.device_id.as_ref().is_some_and(|device| sensors.remove(device));
            all.count(&machine, looks.get(&machine.id), holds.contains_key(&machine.id), sensor);
        };
        self.shared.plane.machines_walk(&self.shared.tenant, self.now(), take).await?;
        all.sensors_without_machine = sensors.len() as u64;
        Ok(all)
    }
}
