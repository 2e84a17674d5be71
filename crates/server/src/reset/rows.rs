//! Devices of a tenant that is reset.

use crate::db::{Db, DbError};
use garrison_model::TenantId;
use sqlx::Row as _;
use std::collections::BTreeSet;

/// Devices of a tenant.
pub(super) async fn devices(db: &Db, tenant: &TenantId) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM fleet_devices WHERE tenant = $1";
    let count: i64 = sqlx::query_scalar(sql).bind(tenant.as_str()).fetch_one(db.pool()).await?;
    Ok(count.unsigned_abs())
}

/// Devices of a tenant that are not revoked.
pub(super) async fn devices_on(db: &Db, tenant: &TenantId) -> Result<BTreeSet<String>, DbError> {
    let sql = "SELECT id FROM fleet_devices WHERE tenant = $1 AND revoked = 0";
    let rows = sqlx::query(sql).bind(tenant.as_str()).fetch_all(db.pool()).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
