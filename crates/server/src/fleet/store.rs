//! The tables `fleet_devices` and `fleet_certificates`.

use super::record::{DeviceRecord, Facts};
use crate::db::{Db, DbError, Sealer, columns};
use garrison_model::{DeviceId, Micros, TenantId};
use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn list<T: serde::de::DeserializeOwned + Default>(row: &AnyRow, column: &str) -> Result<T, sqlx::Error> {
    Ok(serde_json::from_str(&row.try_get::<String, _>(column)?).unwrap_or_default())
}

fn read(db: &Db, row: &AnyRow) -> Result<Option<DeviceRecord>, sqlx::Error> {
    let (id, tenant): (String, String) = (row.try_get("id")?, row.try_get("tenant")?);
    let (Ok(id), Ok(tenant)) = (DeviceId::new(id), TenantId::new(tenant)) else { return Ok(None) };
    let seal = db.seal(&tenant);
    Ok(Some(DeviceRecord {
        id,
        tenant,
        facts: Facts {
            host_name: row.try_get("host_name")?,
            os_platform: row.try_get("os_platform")?,
            os_distribution: row.try_get("os_distribution")?,
            os_version: row.try_get("os_version")?,
            kernel_version: row.try_get("kernel_version")?,
            architecture: row.try_get("architecture")?,
            ip_addresses: list(row, "ip_addresses")?,
            hardware_uuid: row.try_get("hardware_uuid")?,
            machine_id: row.try_get("machine_id")?,
        },
        duplicate_of: row.try_get("duplicate_of")?,
        sensor_version: row.try_get("sensor_version")?,
        last_ip: row.try_get("last_ip")?,
        first_seen: Micros(row.try_get("first_seen")?),
        last_seen: Micros(row.try_get("last_seen")?),
        health_issues: list(row, "health_issues")?,
        sight: list(row, "sight")?,
        tags: serde_json::from_str(&seal.get(row, columns::DEVICE_TAGS)?).unwrap_or_default(),
        content_version: row.try_get("content_version")?,
        revoked: row.try_get::<i64, _>("revoked")? != 0,
        revoked_reason: seal.get(row, columns::DEVICE_REVOKED)?,
        row_count: row.try_get("row_count")?,
        lost_count: row.try_get("lost_count")?,
    }))
}

pub(super) async fn load(db: &Db, tenant: &TenantId) -> Result<Vec<DeviceRecord>, DbError> {
    let failed = || DbError::step("read the devices");
    let sql = "SELECT * FROM fleet_devices WHERE tenant = $1";
    let rows = sqlx::query(sql).bind(tenant.as_str()).fetch_all(db.pool()).await.map_err(failed())?;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        records.extend(read(db, row).map_err(failed())?);
    }
    Ok(records)
}

pub(super) async fn insert(connection: &mut AnyConnection, seal: &Sealer, r: &DeviceRecord) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO fleet_devices (id, tenant, host_name, os_platform, os_distribution, os_version, kernel_version,
             architecture, ip_addresses, hardware_uuid, machine_id, duplicate_of, sensor_version, last_ip, first_seen,
             last_seen, health_issues, sight, tags, content_version, revoked, revoked_reason, row_count, lost_count)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
             $23, $24)",
    )
    .bind(r.id.as_str().to_owned())
    .bind(r.tenant.as_str().to_owned())
    .bind(r.facts.host_name.clone())
    .bind(r.facts.os_platform.clone())
    .bind(r.facts.os_distribution.clone())
    .bind(r.facts.os_version.clone())
    .bind(r.facts.kernel_version.clone())
    .bind(r.facts.architecture.clone())
    .bind(json(&r.facts.ip_addresses))
    .bind(r.facts.hardware_uuid.clone())
    .bind(r.facts.machine_id.clone())
    .bind(r.duplicate_of.clone())
    .bind(r.sensor_version.clone())
    .bind(r.last_ip.clone())
    .bind(r.first_seen.0)
    .bind(r.last_seen.0)
    .bind(json(&r.health_issues))
    .bind(json(&r.sight))
    .bind(seal.put(columns::DEVICE_TAGS, &json(&r.tags))?)
    .bind(r.content_version.clone())
    .bind(i64::from(r.revoked))
    .bind(seal.put(columns::DEVICE_REVOKED, &r.revoked_reason)?)
    .bind(r.row_count)
    .bind(r.lost_count)
    .execute(connection)
    .await
    .map_err(DbError::step("insert a device"))?;
    Ok(())
}

pub(super) async fn update(connection: &mut AnyConnection, seal: &Sealer, r: &DeviceRecord) -> Result<(), DbError> {
    // A revocation is never undone by an older copy: `revoked` only grows.
    sqlx::query(
        "UPDATE fleet_devices SET host_name = $2, os_platform = $3, os_distribution = $4, os_version = $5,
             kernel_version = $6, architecture = $7, ip_addresses = $8, sensor_version = $9, last_ip = $10,
             last_seen = $11, health_issues = $12, sight = $13, tags = $14, content_version = $15,
             revoked = CASE WHEN revoked = 1 THEN 1 ELSE $16 END, revoked_reason = $17, row_count = $18,
             lost_count = $19
         WHERE id = $1",
    )
    .bind(r.id.as_str().to_owned())
    .bind(r.facts.host_name.clone())
    .bind(r.facts.os_platform.clone())
    .bind(r.facts.os_distribution.clone())
    .bind(r.facts.os_version.clone())
    .bind(r.facts.kernel_version.clone())
    .bind(r.facts.architecture.clone())
    .bind(json(&r.facts.ip_addresses))
    .bind(r.sensor_version.clone())
    .bind(r.last_ip.clone())
    .bind(r.last_seen.0)
    .bind(json(&r.health_issues))
    .bind(json(&r.sight))
    .bind(seal.put(columns::DEVICE_TAGS, &json(&r.tags))?)
    .bind(r.content_version.clone())
    .bind(i64::from(r.revoked))
    .bind(seal.put(columns::DEVICE_REVOKED, &r.revoked_reason)?)
    .bind(r.row_count)
    .bind(r.lost_count)
    .execute(connection)
    .await
    .map_err(DbError::step("update a device"))?;
    Ok(())
}

/// The oldest device that is not revoked and reported this hardware or machine id.
pub(super) async fn same_hardware(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    facts: &Facts,
) -> Result<Option<String>, DbError> {
    if facts.hardware_uuid.is_empty() {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT id FROM fleet_devices WHERE hardware_uuid = $1 AND machine_id = $2 AND revoked = 0
         AND tenant = $3 ORDER BY first_seen LIMIT 1",
    )
    .bind(facts.hardware_uuid.clone())
    .bind(facts.machine_id.clone())
    .bind(tenant.as_str())
    .fetch_optional(connection)
    .await
    .map_err(DbError::step("look for the same hardware"))?;
    row.map(|r| r.try_get(0)).transpose().map_err(DbError::step("look for the same hardware"))
}

pub(super) async fn certificate_insert(
    connection: &mut AnyConnection,
    device: &DeviceId,
    fingerprint: &str,
    serial: &str,
    issued: Micros,
    not_after: i64,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO fleet_certificates (fingerprint, device_id, serial, issued, not_after)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(fingerprint.to_owned())
    .bind(device.as_str().to_owned())
    .bind(serial.to_owned())
    .bind(issued.0)
    .bind(not_after)
    .execute(connection)
    .await
    .map_err(DbError::step("insert a certificate"))?;
    Ok(())
}

/// Forgets a device that was last seen before this moment, and its certificates; how many devices.
pub(super) async fn forget(connection: &mut AnyConnection, id: &DeviceId, before: Micros) -> Result<u64, DbError> {
    let failed = || DbError::step("forget a device");
    sqlx::query(
        "DELETE FROM fleet_certificates WHERE device_id IN (SELECT id FROM fleet_devices WHERE id = $1 AND last_seen < $2)",
    )
    .bind(id.as_str().to_owned())
    .bind(before.0)
    .execute(&mut *connection)
    .await
    .map_err(failed())?;
    let done = sqlx::query("DELETE FROM fleet_devices WHERE id = $1 AND last_seen < $2")
        .bind(id.as_str().to_owned())
        .bind(before.0)
        .execute(connection)
        .await
        .map_err(failed())?;
    Ok(done.rows_affected())
}

/// From when on a certificate must be for a device that is not known to be taken in; 0 if the tenant was never reset.
pub(super) async fn cutoff(db: &Db, tenant: &TenantId) -> Result<Micros, DbError> {
    let found = sqlx::query_scalar("SELECT issued_before FROM fleet_cutoffs WHERE tenant_id = $1")
        .bind(tenant.as_str().to_owned())
        .fetch_optional(db.pool())
        .await
        .map_err(DbError::step("read when the tenant was reset"))?;
    Ok(Micros(found.unwrap_or(0)))
}

/// Sets it.
pub(super) async fn cutoff_set(db: &Db, tenant: &TenantId, moment: Micros) -> Result<(), DbError> {
    let mut tx = db.write().await?;
    sqlx::query(
        "INSERT INTO fleet_cutoffs (tenant_id, issued_before) VALUES ($1, $2)
         ON CONFLICT (tenant_id) DO UPDATE SET issued_before = $2",
    )
    .bind(tenant.as_str().to_owned())
    .bind(moment.0)
    .execute(tx.conn())
    .await
    .map_err(DbError::step("write when the tenant was reset"))?;
    tx.commit().await
}

/// Forgets certificates that ended long ago.
pub(super) async fn certificate_sweep(connection: &mut AnyConnection, before: i64) -> Result<(), DbError> {
    sqlx::query("DELETE FROM fleet_certificates WHERE not_after < $1")
        .bind(before)
        .execute(connection)
        .await
        .map_err(DbError::step("forget old certificates"))?;
    Ok(())
}
