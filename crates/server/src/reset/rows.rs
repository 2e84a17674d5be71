//! Control data of one tenant, in whatever table it lies: every table says whose its rows are in a column `tenant_id`
//! (devices: `tenant`), and a table that is added later is found by that.

use crate::db::{Db, DbError, Dialect};
use garrison_model::TenantId;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::{BTreeMap, BTreeSet};

/// Rooms whose rows are the operator's and stay, by the prefix of their tables.
const KEPT: &[&str] = &["access_", "identity_", "db_"];
/// Rounds in which tables that others point at wait for those; longer than any chain of them.
const ROUNDS_MAX: usize = 16;

/// Tables with rows of tenants, and the column that says whose.
async fn tables(db: &Db) -> Result<Vec<(String, String)>, DbError> {
    let sql = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name AS t, c.name AS c FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND c.name IN ('tenant_id', 'tenant') ORDER BY m.name"
        }
        Dialect::Postgres => {
            "SELECT CAST(table_name AS TEXT) AS t, CAST(column_name AS TEXT) AS c FROM information_schema.columns \
             WHERE table_schema = current_schema() AND column_name IN ('tenant_id', 'tenant') ORDER BY table_name"
        }
    };
    let rows = sqlx::query(sql).fetch_all(db.pool()).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let table: String = row.try_get("t")?;
        if !KEPT.iter().any(|kept| table.starts_with(kept)) {
            found.push((table, row.try_get("c")?));
        }
    }
    Ok(found)
}

/// Rows of a tenant by table, without empty ones.
pub(super) async fn counts(db: &Db, tenant: &TenantId) -> Result<BTreeMap<String, u64>, DbError> {
    let mut counts = BTreeMap::new();
    for (table, column) in tables(db).await? {
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE {column} = $1");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant.as_str()).fetch_one(db.pool()).await?;
        if count > 0 {
            counts.insert(table, count.unsigned_abs());
        }
    }
    Ok(counts)
}

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

/// Takes away what lets the tenant's machines in.
pub(super) async fn machines_shut_out(db: &Db, tenant: &TenantId) -> Result<u64, DbError> {
    let mut tx = db.write().await?;
    let sql = "DELETE FROM fleet_certificates WHERE device_id IN (SELECT id FROM fleet_devices WHERE tenant = $1)";
    let mut gone = sqlx::query(sql).bind(tenant.as_str()).execute(tx.conn()).await?.rows_affected();
    let sql = "DELETE FROM identity_enrolment_tokens WHERE of_tenant = $1";
    gone += sqlx::query(sql).bind(tenant.as_str()).execute(tx.conn()).await?.rows_affected();
    tx.commit().await?;
    db.sync().await?;
    Ok(gone)
}

/// Erases every row of a tenant, and the pages that rows lay in.
pub(super) async fn erase(db: &Db, tenant: &TenantId) -> Result<u64, DbError> {
    let (mut gone, mut left) = (0, tables(db).await?);
    let erased = left.clone();
    for round in 0..ROUNDS_MAX {
        let mut waiting = Vec::new();
        for (table, column) in left {
            let mut tx = db.write().await?;
            let sql = format!("DELETE FROM {table} WHERE {column} = $1");
            match sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).execute(tx.conn()).await {
                Ok(done) => {
                    tx.commit().await?;
                    gone += done.rows_affected();
                }
                // Rows of another table point at these: they go in a later round.
                Err(error) if round + 1 < ROUNDS_MAX && points(&error) => waiting.push((table, column)),
                Err(source) => return Err(DbError::Step { step: "erase a tenant's rows", source }),
            }
        }
        left = waiting;
        if left.is_empty() {
            break;
        }
    }
    let clean: Vec<String> = match db.dialect() {
        Dialect::Sqlite => vec!["VACUUM".to_owned(), "PRAGMA wal_checkpoint(TRUNCATE)".to_owned()],
        Dialect::Postgres => erased.iter().map(|(table, _)| format!("VACUUM FULL {table}")).collect(),
    };
    for sql in clean {
        sqlx::query(AssertSqlSafe(sql)).execute(db.pool()).await?;
    }
    Ok(gone)
}

fn points(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}
