//! Where devices lie: the way from the deep view's devices to the cloud view's resources.

use super::{Plane, PlaneError};
use crate::db::Statement;
use garrison_model::{DeviceId, GroupName, MachineId, MachineName, ResourceId, Scope, SubscriptionId, TenantId};
use sqlx::Row as _;
use std::collections::HashMap;

/// The machine whose sensor a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Machine.
    pub machine: MachineId,
    /// Where it lies now.
    pub resource: ResourceId,
}

impl Plane {
    /// The places of devices in a scope, or in the whole tenant; of one device where one is given. Devices that are no
    /// machine's have none. There are no more of them than machines, which are bounded.
    pub async fn places(
        &self,
        tenant: &TenantId,
        scope: Option<&Scope>,
        device: Option<&DeviceId>,
    ) -> Result<HashMap<DeviceId, Place>, PlaneError> {
        let mut sql = Statement::new(
            "SELECT m.id, m.device_id, m.subscription_id, m.name, g.name AS group_name FROM plane_machines m \
             JOIN plane_groups g ON g.tenant_id = m.tenant_id AND g.subscription_id = m.subscription_id \
             AND g.name_key = m.group_key WHERE m.device_id IS NOT NULL AND m.tenant_id = ",
        );
        sql.push_bind(tenant.as_str().to_owned());
        if let Some(scope) = scope {
            sql.push(" AND m.subscription_id = ").push_bind(scope.subscription().as_str().to_owned());
        }
        match scope {
            Some(Scope::Group(_, group)) => {
                sql.push(" AND m.group_key = ").push_bind(group.key());
            }
            Some(Scope::Machine(id)) => {
                sql.push(" AND m.group_key = ").push_bind(id.group.key());
                sql.push(" AND m.name_key = ").push_bind(id.machine.key());
            }
            Some(Scope::Subscription(_)) | None => {}
        }
        if let Some(device) = device {
            sql.push(" AND m.device_id = ").push_bind(device.as_str().to_owned());
        }
        let rows = sql.build().fetch_all(self.db.pool()).await?;
        let mut places = HashMap::with_capacity(rows.len());
        for row in &rows {
            let text = |name: &str| row.try_get::<String, _>(name);
            let resource = ResourceId {
                subscription: SubscriptionId::new(&text("subscription_id")?)
                    .map_err(PlaneError::stored("subscription"))?,
                group: GroupName::new(&text("group_name")?).map_err(PlaneError::stored("resource group"))?,
                machine: MachineName::new(&text("name")?).map_err(PlaneError::stored("machine"))?,
            };
            let machine = MachineId::new(&text("id")?).map_err(PlaneError::stored("machine"))?;
            let device = DeviceId::new(text("device_id")?).map_err(PlaneError::stored("machine"))?;
            places.insert(device, Place { machine, resource });
        }
        Ok(places)
    }
}
