//! Machines: connecting, heartbeats, power, moving, extensions.

use super::subscriptions::{tags_read, tags_write};
use super::{Change, Plane, PlaneError, Sight};
use crate::db::columns;
use crate::shared::rfc3339;
use garrison_model::{
    ConnectionState, DeviceId, Extension, ExtensionState, Geography, GroupName, Machine, MachineId, MachineKind,
    MachineName, MachineSystem, Micros, Plan, PowerState, ResourceId, SubscriptionId, Tags, TenantId, connection_state,
    extension_name, tags_check, tags_match,
};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

/// Machines of a tenant: twenty times the fleet that is measured; a bound against a connector run wild.
const MACHINES_MAX: i64 = 200_000;
/// Bytes of what proves or correlates a machine.
const IDENTITY_BYTES_MAX: usize = 256;
/// Bytes of any text that a machine says of its system.
const SYSTEM_BYTES_MAX: usize = 256;
/// Extensions of one machine.
const EXTENSIONS_MAX: usize = 16;
/// Machines read in one step of a walk.
const STEP: i64 = 1_000;

/// A machine that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineConnect {
    /// Where it goes. The subscription must exist; the resource group is made by itself.
    pub resource_id: ResourceId,
    /// How it came to be known.
    pub kind: MachineKind,
    /// What its connector proves itself with, such as a key's fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What it has in common with itself when it is seen another way, such as its hardware's uuid; empty for nothing.
    #[serde(default)]
    pub hardware: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// What it says of its system.
    #[serde(default)]
    pub system: MachineSystem,
    /// Version of the connector.
    #[serde(default)]
    pub connector_version: String,
    /// Geography for the tenant, should this be its first machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geography: Option<Geography>,
}

/// What connecting came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConnected {
    /// The machine.
    pub id: MachineId,
    /// Where it lies: an older place where it was known already.
    pub resource_id: ResourceId,
    /// Whether it was not known before.
    pub new: bool,
}

/// What a heartbeat brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// What its cloud says of its power, where it was asked.
    pub power_state: Option<PowerState>,
    /// What the machine says of its system, where that changed.
    pub system: Option<MachineSystem>,
    /// Version of the connector.
    pub connector_version: String,
}

/// What became of an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionReport {
    /// Name, or an alias of it.
    pub name: String,
    /// Where it stands.
    pub state: ExtensionState,
    /// Code; 0 for none.
    pub code: i64,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
    /// Version that is there.
    pub version: String,
}

/// Which machines to list.
#[derive(Debug, Clone, Default)]
pub struct MachineFilter {
    /// Only in this subscription.
    pub subscription: Option<SubscriptionId>,
    /// Only in groups of this name.
    pub group: Option<GroupName>,
    /// Only with this tag, and value where one is given.
    pub tag: Option<(String, Option<String>)>,
    /// Only in this state.
    pub state: Option<ConnectionState>,
    /// Only with this plan in force.
    pub plan: Option<Plan>,
    /// Only with this resource id.
    pub resource: Option<ResourceId>,
    /// Part of the name, in any case.
    pub part: Option<String>,
    /// Only those of these devices, where any are given.
    pub devices: Vec<DeviceId>,
    /// Only what the caller may see.
    pub sees: Option<crate::access::Sees>,
    /// Only these.
    pub only: Option<std::collections::HashSet<MachineId>>,
}

impl MachineFilter {
    /// Whether a machine passes.
    pub fn passes(&self, m: &Machine) -> bool {
        self.subscription.as_ref().is_none_or(|s| *s == m.resource_id.subscription)
            && self.group.as_ref().is_none_or(|g| *g == m.resource_id.group)
            && self.tag.as_ref().is_none_or(|(name, value)| tags_match(&m.tags, name, value.as_deref()))
            && self.state.is_none_or(|s| s == m.state)
            && self.plan.is_none_or(|p| p == m.plan.plan)
            && self.resource.as_ref().is_none_or(|r| *r == m.resource_id)
            && self.part.as_ref().is_none_or(|p| m.name.key().contains(&p.to_ascii_lowercase()))
            && (self.devices.is_empty() || m.device_id.as_ref().is_some_and(|d| self.devices.contains(d)))
            && self.sees.as_ref().is_none_or(|sees| sees.machine(m))
            && self.only.as_ref().is_none_or(|only| only.contains(&m.id))
    }
}

const SELECT: &str = "SELECT m.*, g.name AS group_name FROM plane_machines m JOIN plane_groups g \
    ON g.tenant_id = m.tenant_id AND g.subscription_id = m.subscription_id AND g.name_key = m.group_key \
    WHERE m.tenant_id = $1";

fn resource_read(row: &AnyRow) -> Result<ResourceId, PlaneError> {
    let (subscription, group, name): (String, String, String) =
        (row.try_get("subscription_id")?, row.try_get("group_name")?, row.try_get("name")?);
    Ok(ResourceId {
        subscription: SubscriptionId::new(&subscription).map_err(PlaneError::stored("subscription"))?,
        group: GroupName::new(&group).map_err(PlaneError::stored("resource group"))?,
        machine: MachineName::new(&name).map_err(PlaneError::stored("machine"))?,
    })
}

fn id_read(row: &AnyRow) -> Result<MachineId, PlaneError> {
    MachineId::new(&row.try_get::<String, _>("id")?).map_err(PlaneError::stored("machine"))
}

fn read(row: &AnyRow, sight: &Sight, now: Micros) -> Result<Machine, PlaneError> {
    let (id, resource_id) = (id_read(row)?, resource_read(row)?);
    let tags = tags_read(&sight.seal, columns::MACHINE_TAGS, row)?;
    let desired = sight.desired(&id, &resource_id, &tags);
    let power: Option<String> = row.try_get("power_state")?;
    let heartbeat: Option<i64> = row.try_get("last_heartbeat")?;
    let left = row.try_get::<Option<i64>, _>("off_boarded")?.is_some();
    Ok(Machine {
        name: resource_id.machine.clone(),
        kind: row.try_get::<String, _>("kind")?.parse().map_err(PlaneError::stored("machine"))?,
        state: match connection_state(heartbeat, now.0) {
            ConnectionState::Connected | ConnectionState::Connecting if left => ConnectionState::Disconnected,
            state => state,
        },
        power_state: power.map(|p| p.parse()).transpose().map_err(PlaneError::stored("machine"))?,
        device_id: row
            .try_get::<Option<String>, _>("device_id")?
            .map(DeviceId::new)
            .transpose()
            .map_err(PlaneError::stored("machine"))?,
        device_gone: row.try_get::<i64, _>("device_gone")? != 0,
        plan: desired.plan,
        excluded_by: desired.excluded_by,
        extensions: Vec::new(),
        health: None,
        tags,
        system: serde_json::from_str(&row.try_get::<String, _>("system")?).map_err(PlaneError::stored("machine"))?,
        connector_version: row.try_get("connector_version")?,
        last_heartbeat: heartbeat.map(|at| rfc3339(Micros(at))),
        created_time: rfc3339(Micros(row.try_get("created")?)),
        id,
        resource_id,
    })
}

fn extension_read(row: &AnyRow) -> Result<Extension, PlaneError> {
    Ok(Extension {
        name: row.try_get("name")?,
        state: row.try_get::<String, _>("state")?.parse().map_err(PlaneError::stored("extension"))?,
        code: row.try_get("code")?,
        message: row.try_get("message")?,
        fix: row.try_get("fix")?,
        version: row.try_get("version")?,
        updated_time: rfc3339(Micros(row.try_get("updated")?)),
    })
}

/// Machines after a place of the list (name in lower case, id), with their extensions; at most `limit`.
pub(super) async fn page(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    sight: &Sight,
    now: Micros,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<Machine>, PlaneError> {
    let and = "AND (m.name_key > $2 OR (m.name_key = $2 AND m.id > $3)) ORDER BY m.name_key, m.id LIMIT $4";
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} {and}")))
        .bind(tenant.as_str())
        .bind(after.0.to_owned())
        .bind(after.1.to_owned())
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let mut machines = rows.iter().map(|row| read(row, sight, now)).collect::<Result<Vec<_>, _>>()?;
    extensions_fill(connection, tenant, &mut machines).await?;
    Ok(machines)
}

async fn extensions_fill(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    machines: &mut [Machine],
) -> Result<(), PlaneError> {
    // SQLite takes at most 32,766 values in a statement; steps of 500 stay far below for both engines.
    for step in machines.chunks_mut(500) {
        let mut sql = crate::db::Statement::new("SELECT * FROM plane_extensions WHERE tenant_id = ");
        sql.push_bind(tenant.as_str().to_owned()).push(" AND machine_id IN (");
        sql.push_list(step.iter().map(|m| m.id.as_str().to_owned())).push(") ORDER BY machine_id, name");
        if step.is_empty() {
            continue;
        }
        let at: std::collections::HashMap<String, usize> =
            step.iter().enumerate().map(|(i, m)| (m.id.as_str().to_owned(), i)).collect();
        for row in sql.build().fetch_all(&mut *connection).await? {
            let owner: String = row.try_get("machine_id")?;
            if let Some(machine) = at.get(&owner).and_then(|i| step.get_mut(*i)) {
                machine.extensions.push(extension_read(&row)?);
            }
        }
    }
    Ok(())
}

/// Machines that have a device, with their subscriptions.
pub(super) async fn with_devices(
    connection: &mut AnyConnection,
    tenant: &TenantId,
) -> Result<Vec<(MachineId, SubscriptionId, DeviceId)>, PlaneError> {
    let sql =
        "SELECT id, subscription_id, device_id FROM plane_machines WHERE tenant_id = $1 AND device_id IS NOT NULL";
    let rows = sqlx::query(sql).bind(tenant.as_str()).fetch_all(connection).await?;
    let read = |row: &AnyRow| -> Result<_, PlaneError> {
        let (subscription, device): (String, String) = (row.try_get("subscription_id")?, row.try_get("device_id")?);
        let subscription = SubscriptionId::new(&subscription).map_err(PlaneError::stored("subscription"))?;
        Ok((id_read(row)?, subscription, DeviceId::new(device).map_err(PlaneError::stored("machine"))?))
    };
    rows.iter().map(read).collect()
}

/// Walks all machines of a tenant in steps, so that memory stays bounded.
pub(super) async fn walk(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    sight: &Sight,
    now: Micros,
    mut take: impl FnMut(Machine),
) -> Result<(), PlaneError> {
    let mut after = (String::new(), String::new());
    loop {
        let step = page(connection, tenant, sight, now, (&after.0, &after.1), STEP).await?;
        let Some(last) = step.last() else { return Ok(()) };
        after = (last.name.key(), last.id.to_string());
        let full = step.len() as i64 == STEP;
        step.into_iter().for_each(&mut take);
        if !full {
            return Ok(());
        }
    }
}

fn text_check(what: &str, text: &str, max: usize) -> Result<(), PlaneError> {
    if text.len() > max || text.chars().any(char::is_control) {
        return Err(PlaneError::Value(format!("{what} has at most {max} bytes and no control characters")));
    }
    Ok(())
}

fn system_check(s: &MachineSystem) -> Result<String, PlaneError> {
    for (what, text) in [
        ("osType", &s.os_type),
        ("distribution", &s.distribution),
        ("version", &s.version),
        ("kernel", &s.kernel),
        ("architecture", &s.architecture),
        ("hostName", &s.host_name),
        ("cloud", &s.cloud),
        ("instance", &s.instance),
        ("location", &s.location),
    ] {
        text_check(what, text, SYSTEM_BYTES_MAX)?;
    }
    serde_json::to_string(s).map_err(PlaneError::stored("machine"))
}

impl Plane {
    /// Machines of a tenant after a place of the list (name in lower case, id), at most `limit`.
    pub async fn machines(
        &self,
        tenant: &TenantId,
        filter: &MachineFilter,
        after: Option<(&str, &str)>,
        limit: usize,
        now: Micros,
    ) -> Result<Vec<Machine>, PlaneError> {
        let mut connection = self.db.pool().acquire().await?;
        let sight = super::sight::sight(&mut connection, self.db.seal(tenant), tenant, now).await?;
        let mut found = Vec::new();
        let mut at = after.map(|(name, id)| (name.to_owned(), id.to_owned())).unwrap_or_default();
        loop {
            let step = page(&mut connection, tenant, &sight, now, (&at.0, &at.1), STEP).await?;
            let full = step.len() as i64 == STEP;
            if let Some(last) = step.last() {
                at = (last.name.key(), last.id.to_string());
            }
            for machine in step.into_iter().filter(|m| filter.passes(m)) {
                found.push(machine);
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            if !full {
                return Ok(found);
            }
        }
    }

    /// Hands every machine of a tenant to a function, step by step, so that memory stays bounded.
    pub async fn machines_walk(
        &self,
        tenant: &TenantId,
        now: Micros,
        take: impl FnMut(Machine),
    ) -> Result<(), PlaneError> {
        let mut connection = self.db.pool().acquire().await?;
        let sight = super::sight::sight(&mut connection, self.db.seal(tenant), tenant, now).await?;
        walk(&mut connection, tenant, &sight, now, take).await
    }

    /// One machine.
    pub async fn machine(&self, tenant: &TenantId, id: &MachineId, now: Micros) -> Result<Machine, PlaneError> {
        let mut connection = self.db.pool().acquire().await?;
        let sight = super::sight::sight(&mut connection, self.db.seal(tenant), tenant, now).await?;
        machine(&mut connection, tenant, id, &sight, now).await
    }

    /// The machine that a connector's identity belongs to.
    pub async fn machine_by_identity(
        &self,
        tenant: &TenantId,
        identity: &str,
    ) -> Result<Option<MachineId>, PlaneError> {
        let row = sqlx::query("SELECT id FROM plane_machines WHERE tenant_id = $1 AND identity = $2")
            .bind(tenant.as_str())
            .bind(identity.to_owned())
            .fetch_optional(self.db.pool())
            .await?;
        row.as_ref().map(id_read).transpose()
    }
}

async fn machine(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    id: &MachineId,
    sight: &Sight,
    now: Micros,
) -> Result<Machine, PlaneError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} AND m.id = $2")))
        .bind(tenant.as_str())
        .bind(id.as_str().to_owned())
        .fetch_optional(&mut *connection)
        .await?;
    let mut found = [read(&row.ok_or(PlaneError::Unknown("machine"))?, sight, now)?];
    extensions_fill(connection, tenant, &mut found).await?;
    let [found] = found;
    Ok(found)
}

impl Change<'_> {
    /// A machine as this change sees it.
    pub async fn machine(&mut self, id: &MachineId) -> Result<Machine, PlaneError> {
        let seal = self.seal();
        let sight = super::sight::sight(self.tx.conn(), seal, self.tenant, self.now).await?;
        machine(self.tx.conn(), self.tenant, id, &sight, self.now).await
    }

    pub(super) async fn machine_by_resource(&mut self, id: &ResourceId) -> Result<Option<MachineId>, PlaneError> {
        let row = sqlx::query(
            "SELECT id FROM plane_machines WHERE tenant_id = $1 AND subscription_id = $2 AND group_key = $3 \
             AND name_key = $4",
        )
        .bind(self.tenant.as_str())
        .bind(id.subscription.as_str().to_owned())
        .bind(id.group.key())
        .bind(id.machine.key())
        .fetch_optional(self.tx.conn())
        .await?;
        row.as_ref().map(id_read).transpose()
    }

    async fn one_by(&mut self, column: &'static str, value: &str) -> Result<Option<MachineId>, PlaneError> {
        let sql = format!("SELECT id FROM plane_machines WHERE tenant_id = $1 AND {column} = $2 ORDER BY created, id");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.tenant.as_str())
            .bind(value.to_owned())
            .fetch_optional(self.tx.conn())
            .await?;
        row.as_ref().map(id_read).transpose()
    }

    /// Connects a machine, or finds that it is known: by its identity, else by its hardware, else by its resource id where
    /// neither says that it is another one. A known machine keeps its id and its place, so that one machine seen in
    /// several ways stays one; it takes the new identity, tags are left as they are. The tenant is made by the first.
    pub async fn machine_connect(&mut self, new: &MachineConnect) -> Result<MachineConnected, PlaneError> {
        tags_check(&new.tags).map_err(PlaneError::Value)?;
        text_check("a hardware id", &new.hardware, IDENTITY_BYTES_MAX)?;
        text_check("an identity", new.identity.as_deref().unwrap_or_default(), IDENTITY_BYTES_MAX)?;
        text_check("a connector's version", &new.connector_version, 64)?;
        let system = system_check(&new.system)?;
        let resource = &new.resource_id;
        let subscription = self.subscription_known(&resource.subscription).await?;
        self.tenant_ensure(new.geography.as_ref(), &subscription.location, "MachineConnected").await?;
        let mut known = None;
        if let Some(identity) = new.identity.as_deref() {
            known = self.one_by("identity", identity).await?;
        }
        if known.is_none() && !new.hardware.is_empty() {
            known = self.one_by("hardware", &new.hardware).await?;
        }
        if known.is_none()
            && let Some(same) = self.machine_by_resource(resource).await?
        {
            let row = sqlx::query("SELECT hardware FROM plane_machines WHERE tenant_id = $1 AND id = $2")
                .bind(self.tenant.as_str())
                .bind(same.as_str().to_owned())
                .fetch_one(self.tx.conn())
                .await?;
            let hardware: String = row.try_get(0)?;
            // Two machines with one name: the second would take the first one's place, plan and history.
            if !hardware.is_empty() && !new.hardware.is_empty() && hardware != new.hardware {
                return Err(PlaneError::NameTaken(resource.clone()));
            }
            known = Some(same);
        }
        let (id, is_new) = match known {
            Some(id) => {
                sqlx::query(
                    "UPDATE plane_machines SET identity = COALESCE($3, identity), \
                     hardware = CASE WHEN $4 = '' THEN hardware ELSE $4 END, system = $5, \
                     connector_version = CASE WHEN $6 = '' THEN connector_version ELSE $6 END, \
                     off_boarded = CASE WHEN CAST($3 AS TEXT) IS NULL THEN off_boarded ELSE NULL END \
                     WHERE tenant_id = $1 AND id = $2",
                )
                .bind(self.tenant.as_str())
                .bind(id.as_str().to_owned())
                .bind(new.identity.clone())
                .bind(new.hardware.clone())
                .bind(system)
                .bind(new.connector_version.clone())
                .execute(self.tx.conn())
                .await?;
                (id, false)
            }
            None => (self.machine_insert(new, system).await?, true),
        };
        let resource_id = if is_new { resource.clone() } else { self.machine(&id).await?.resource_id };
        let what = if is_new { "connected" } else { "connected again" };
        self.audit(&format!("machine/{id}"), what, None, Some(resource_id.to_string())).await?;
        Ok(MachineConnected { id, resource_id, new: is_new })
    }

    async fn machine_insert(&mut self, new: &MachineConnect, system: String) -> Result<MachineId, PlaneError> {
        let row = sqlx::query("SELECT COUNT(*) FROM plane_machines WHERE tenant_id = $1")
            .bind(self.tenant.as_str())
            .fetch_one(self.tx.conn())
            .await?;
        if row.try_get::<i64, _>(0)? >= MACHINES_MAX {
            return Err(PlaneError::TooMany { what: "machines", max: MACHINES_MAX });
        }
        let resource = &new.resource_id;
        self.group_put(&resource.subscription, &resource.group).await?;
        let id = MachineId::from_bits(super::guid());
        sqlx::query(
            "INSERT INTO plane_machines (tenant_id, id, subscription_id, group_key, name_key, name, kind, identity, \
             hardware, tags, system, connector_version, created) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(self.tenant.as_str())
        .bind(id.as_str().to_owned())
        .bind(resource.subscription.as_str().to_owned())
        .bind(resource.group.key())
        .bind(resource.machine.key())
        .bind(resource.machine.as_str().to_owned())
        .bind(new.kind.as_str())
        .bind(new.identity.clone())
        .bind(new.hardware.clone())
        .bind(self.plane.db.seal(self.tenant).put(columns::MACHINE_TAGS, &tags_write(&new.tags)?)?)
        .bind(system)
        .bind(new.connector_version.clone())
        .bind(self.now.0)
        .execute(self.tx.conn())
        .await?;
        Ok(id)
    }

    async fn machine_update(
        &mut self,
        sql: &'static str,
        id: &MachineId,
        value: Option<String>,
    ) -> Result<(), PlaneError> {
        let done = sqlx::query(sql)
            .bind(self.tenant.as_str())
            .bind(id.as_str().to_owned())
            .bind(value)
            .execute(self.tx.conn())
            .await?
            .rows_affected();
        if done == 0 { Err(PlaneError::Unknown("machine")) } else { Ok(()) }
    }

    /// A machine says that it is there. Not audited: thousands come every minute.
    pub async fn machine_heartbeat(&mut self, id: &MachineId, beat: &Heartbeat) -> Result<(), PlaneError> {
        text_check("a connector's version", &beat.connector_version, 64)?;
        let system = beat.system.as_ref().map(system_check).transpose()?;
        let done = sqlx::query(
            "UPDATE plane_machines SET last_heartbeat = $3, power_state = COALESCE($4, power_state), \
             system = COALESCE($5, system), \
             connector_version = CASE WHEN $6 = '' THEN connector_version ELSE $6 END WHERE tenant_id = $1 AND id = $2",
        )
        .bind(self.tenant.as_str())
        .bind(id.as_str().to_owned())
        .bind(self.now.0)
        .bind(beat.power_state.map(|p| p.as_str().to_owned()))
        .bind(system)
        .bind(beat.connector_version.clone())
        .execute(self.tx.conn())
        .await?
        .rows_affected();
        if done == 0 { Err(PlaneError::Unknown("machine")) } else { Ok(()) }
    }

    /// What a cloud says of a machine's power; no sign of life from the machine itself.
    pub async fn machine_power(&mut self, id: &MachineId, power: PowerState) -> Result<(), PlaneError> {
        let sql = "UPDATE plane_machines SET power_state = $3 WHERE tenant_id = $1 AND id = $2";
        self.machine_update(sql, id, Some(power.as_str().to_owned())).await
    }

    /// What a cloud says of the system of a machine that says nothing itself.
    pub async fn machine_system(&mut self, id: &MachineId, system: &MachineSystem) -> Result<(), PlaneError> {
        let sql = "UPDATE plane_machines SET system = $3 WHERE tenant_id = $1 AND id = $2";
        self.machine_update(sql, id, Some(system_check(system)?)).await
    }

    /// A cloud does not list a machine any more: its hardware is given back, and nothing of it is billed.
    pub async fn machine_gone(&mut self, id: &MachineId) -> Result<(), PlaneError> {
        self.machine_power(id, PowerState::Deallocated).await?;
        self.audit(&format!("machine/{id}"), "gone from its cloud", None, None).await
    }

    /// Says which device the machine's sensor is, or that it has none. A device that another machine had goes with this
    /// one: the newest report is right.
    pub async fn machine_device(&mut self, id: &MachineId, device: Option<&DeviceId>) -> Result<(), PlaneError> {
        if let Some(device) = device {
            sqlx::query(
                "UPDATE plane_machines SET device_id = NULL WHERE tenant_id = $1 AND device_id = $2 AND id <> $3",
            )
            .bind(self.tenant.as_str())
            .bind(device.as_str().to_owned())
            .bind(id.as_str().to_owned())
            .execute(self.tx.conn())
            .await?;
        }
        let sql = "UPDATE plane_machines SET device_id = $3, device_gone = 0 WHERE tenant_id = $1 AND id = $2";
        self.machine_update(sql, id, device.map(|d| d.as_str().to_owned())).await?;
        self.audit(&format!("machine/{id}"), "device", None, device.map(ToString::to_string)).await
    }

    /// A device was off-boarded or revoked: its machine keeps it, and has no sensor any more.
    pub async fn device_gone(&mut self, device: &DeviceId) -> Result<(), PlaneError> {
        let sql =
            "UPDATE plane_machines SET device_gone = 1 WHERE tenant_id = $1 AND device_id = $2 AND device_gone = 0";
        let done = sqlx::query(sql)
            .bind(self.tenant.as_str())
            .bind(device.as_str().to_owned())
            .execute(self.tx.conn())
            .await?;
        if done.rows_affected() > 0 {
            self.audit(&format!("device/{device}"), "gone", None, None).await?;
        }
        Ok(())
    }

    /// A machine said that everything of ours is gone from it, its connector too. What it said just before may be
    /// written down as a heartbeat afterwards, and is none any more.
    pub async fn machine_left(&mut self, id: &MachineId) -> Result<(), PlaneError> {
        let done = sqlx::query("UPDATE plane_machines SET off_boarded = $3 WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id.as_str().to_owned())
            .bind(self.now.0)
            .execute(self.tx.conn())
            .await?
            .rows_affected();
        if done == 0 {
            return Err(PlaneError::Unknown("machine"));
        }
        self.audit(&format!("machine/{id}"), "off-boarded", None, None).await
    }

    /// Replaces a machine's tags.
    pub async fn machine_tags(&mut self, id: &MachineId, tags: &Tags) -> Result<(), PlaneError> {
        tags_check(tags).map_err(PlaneError::Value)?;
        let text = tags_write(tags)?;
        let sealed = self.seal().put(columns::MACHINE_TAGS, &text)?;
        let sql = "UPDATE plane_machines SET tags = $3 WHERE tenant_id = $1 AND id = $2";
        self.machine_update(sql, id, Some(sealed)).await?;
        self.audit(&format!("machine/{id}"), "tags", None, Some(text)).await
    }

    /// Moves a machine to another subscription or group, or gives it another name. Its own plan setting and its
    /// exclusions go with it, its id and device stay; its extensions are forgotten, so that they are deployed anew.
    pub async fn machine_move(&mut self, id: &MachineId, to: &ResourceId) -> Result<(), PlaneError> {
        let from = self.machine(id).await?.resource_id;
        if from.to_string() == to.to_string() {
            return Ok(());
        }
        if self.machine_by_resource(to).await?.is_some_and(|other| other != *id) {
            return Err(PlaneError::NameTaken(to.clone()));
        }
        self.group_put(&to.subscription, &to.group).await?;
        let moved = [
            "UPDATE plane_machines SET subscription_id = $3, group_key = $4, name_key = $5, name = $6 \
             WHERE tenant_id = $1 AND id = $2",
            "UPDATE plane_plans SET subscription_id = $3 WHERE tenant_id = $1 AND machine_id = $2",
            "DELETE FROM plane_extensions WHERE tenant_id = $1 AND machine_id = $2",
        ];
        for (at, sql) in moved.into_iter().enumerate() {
            let mut query = sqlx::query(sql).bind(self.tenant.as_str()).bind(id.as_str().to_owned());
            if at < 2 {
                query = query.bind(to.subscription.as_str().to_owned());
            }
            if at == 0 {
                query = query.bind(to.group.key()).bind(to.machine.key()).bind(to.machine.as_str().to_owned());
            }
            query.execute(self.tx.conn()).await?;
        }
        sqlx::query("UPDATE plane_exclusions SET scope = $3 WHERE tenant_id = $1 AND LOWER(scope) = $2")
            .bind(self.tenant.as_str())
            .bind(from.key())
            .bind(to.to_string())
            .execute(self.tx.conn())
            .await?;
        self.audit(&format!("machine/{id}"), "moved", Some(from.to_string()), Some(to.to_string())).await
    }

    /// Forgets a machine, with its settings. Its sensor, device and what was metered stay.
    pub async fn machine_delete(&mut self, id: &MachineId) -> Result<(), PlaneError> {
        let resource = self.machine(id).await?.resource_id;
        for sql in [
            "DELETE FROM plane_extensions WHERE tenant_id = $1 AND machine_id = $2",
            "DELETE FROM plane_plans WHERE tenant_id = $1 AND machine_id = $2",
            "DELETE FROM plane_machines WHERE tenant_id = $1 AND id = $2",
        ] {
            sqlx::query(sql).bind(self.tenant.as_str()).bind(id.as_str().to_owned()).execute(self.tx.conn()).await?;
        }
        self.audit(&format!("machine/{id}"), "deleted", Some(resource.to_string()), None).await
    }

    /// Keeps what became of an extension; audited where its state changed.
    pub async fn extension_report(&mut self, id: &MachineId, report: &ExtensionReport) -> Result<(), PlaneError> {
        let name = extension_name(&report.name)
            .ok_or_else(|| PlaneError::Value("the extensions are Sensor.Linux and Sensor.Windows".to_owned()))?;
        for (what, text) in [("a message", &report.message), ("a fix", &report.fix), ("a version", &report.version)] {
            text_check(what, text, 1_024)?;
        }
        let before = self.machine(id).await?.extensions;
        let old = before.iter().find(|e| e.name == name).map(|e| e.state);
        if old.is_none() && before.len() >= EXTENSIONS_MAX {
            return Err(PlaneError::TooMany { what: "extensions", max: EXTENSIONS_MAX as i64 });
        }
        sqlx::query(
            "INSERT INTO plane_extensions (tenant_id, machine_id, name, state, code, message, fix, version, updated) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant_id, machine_id, name) DO UPDATE SET \
             state = excluded.state, code = excluded.code, message = excluded.message, fix = excluded.fix, \
             version = excluded.version, updated = excluded.updated",
        )
        .bind(self.tenant.as_str())
        .bind(id.as_str().to_owned())
        .bind(name)
        .bind(report.state.as_str())
        .bind(report.code)
        .bind(report.message.clone())
        .bind(report.fix.clone())
        .bind(report.version.clone())
        .bind(self.now.0)
        .execute(self.tx.conn())
        .await?;
        if old == Some(report.state) {
            return Ok(());
        }
        let new = if report.code == 0 { report.state.to_string() } else { format!("{}/{}", report.state, report.code) };
        self.audit(&format!("machine/{id}/extension/{name}"), "state", old.map(|s| s.to_string()), Some(new)).await
    }

    /// Forgets an extension of a machine.
    pub async fn extension_delete(&mut self, id: &MachineId, name: &str) -> Result<(), PlaneError> {
        let name = extension_name(name).ok_or(PlaneError::Unknown("extension"))?;
        let sql = "DELETE FROM plane_extensions WHERE tenant_id = $1 AND machine_id = $2 AND name = $3";
        self.machine_update(sql, id, Some(name.to_owned())).await.map_err(|e| match e {
            PlaneError::Unknown(_) => PlaneError::Unknown("extension"),
            other => other,
        })?;
        self.audit(&format!("machine/{id}/extension/{name}"), "deleted", None, None).await
    }
}
