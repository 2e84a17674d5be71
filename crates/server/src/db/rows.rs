//! Control data of one tenant, in whatever table it lies: every table says whose its rows are in a column `tenant_id`
//! (devices: `tenant`), and a table that is added later is found by that.

use super::{Db, DbError, Dialect};
use garrison_model::TenantId;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::collections::BTreeMap;
use std::path::Path;

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
pub(crate) async fn counts(db: &Db, tenant: &TenantId) -> Result<BTreeMap<String, u64>, DbError> {
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

/// Erases every row of a tenant, and the pages that rows lay in.
pub(crate) async fn erase(db: &Db, tenant: &TenantId) -> Result<u64, DbError> {
    let (mut gone, mut left) = (0, tables(db).await?);
    let erased = left.clone();
    for round in 0..ROUNDS_MAX {
        let mut waiting = Vec::new();
        for (table, column) in left {
            let mut tx = db.write().await?;
            let failed = || DbError::step("erase a tenant's rows");
            // What is kept for good goes by this row's leave, which nobody else sees.
            let marked = sqlx::query("INSERT INTO db_erasing (scope) VALUES ($1)").bind(tenant.as_str());
            marked.execute(tx.conn()).await.map_err(failed())?;
            let sql = format!("DELETE FROM {table} WHERE {column} = $1");
            match sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).execute(tx.conn()).await {
                Ok(done) => {
                    let unmarked = sqlx::query("DELETE FROM db_erasing WHERE scope = $1").bind(tenant.as_str());
                    unmarked.execute(tx.conn()).await.map_err(failed())?;
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

/// Takes away certificates of the tenant's devices, which say whose they are by their device alone, and the tokens that
/// let machines in.
pub(crate) async fn shut_out(db: &Db, tenant: &TenantId) -> Result<u64, DbError> {
    let mut tx = db.write().await?;
    let mut gone = 0;
    for sql in [
        "DELETE FROM fleet_certificates WHERE device_id IN (SELECT id FROM fleet_devices WHERE tenant = $1)",
        "DELETE FROM identity_enrolment_tokens WHERE of_tenant = $1",
    ] {
        gone += sqlx::query(sql).bind(tenant.as_str()).execute(tx.conn()).await?.rows_affected();
    }
    tx.commit().await?;
    db.sync().await?;
    Ok(gone)
}

/// Rows of a tenant in the database, certificates and tokens among them.
pub(crate) async fn any(db: &Db, tenant: &TenantId) -> Result<bool, DbError> {
    if !counts(db, tenant).await?.is_empty() {
        return Ok(true);
    }
    let sql = "SELECT COUNT(*) FROM identity_enrolment_tokens WHERE of_tenant = $1";
    let tokens: i64 = sqlx::query_scalar(sql).bind(tenant.as_str()).fetch_one(db.pool()).await?;
    Ok(tokens > 0)
}

/// Copies every row of a tenant from one SQLite database into a new one beside it, in one transaction. The file has its
/// name only when it is whole; what an earlier copy left is written over.
pub(crate) async fn copy(from: &Db, tenant: &TenantId, to: &Path) -> Result<(), DbError> {
    let failed = || DbError::step("copy a tenant's control data to its geography");
    let fresh = to.with_extension("new");
    let told = |error: std::io::Error| failed()(sqlx::Error::Io(error));
    for ending in ["new", "new-wal", "new-shm"] {
        match std::fs::remove_file(to.with_extension(ending)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(told(error)),
            _ => {}
        }
    }
    Db::open_file(&fresh).await?.close().await;
    let mut statements: Vec<String> = tables(from)
        .await?
        .into_iter()
        .chain([("identity_enrolment_tokens".to_owned(), "of_tenant".to_owned())])
        .map(|(table, column)| format!("INSERT INTO place.{table} SELECT * FROM main.{table} WHERE {column} = $1"))
        .collect();
    statements.push(
        "INSERT INTO place.fleet_certificates SELECT * FROM main.fleet_certificates WHERE device_id IN \
         (SELECT id FROM main.fleet_devices WHERE tenant = $1)"
            .to_owned(),
    );
    statements.push("INSERT INTO place.db_seals SELECT * FROM main.db_seals WHERE scope IN ($1, '')".to_owned());
    let _turn = from.writer.lock().await;
    // A connection of its own, closed afterwards: what is set on it is nobody else's.
    let mut connection = from.pool().acquire().await?.detach();
    sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut connection).await.map_err(failed())?;
    let path = fresh.display().to_string();
    sqlx::query("ATTACH DATABASE $1 AS place").bind(path).execute(&mut connection).await.map_err(failed())?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.map_err(failed())?;
    for sql in statements {
        let done = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).execute(&mut connection).await;
        done.map_err(failed())?;
    }
    sqlx::query("COMMIT").execute(&mut connection).await.map_err(failed())?;
    sqlx::query("PRAGMA place.wal_checkpoint(TRUNCATE)").execute(&mut connection).await.map_err(failed())?;
    sqlx::query("DETACH DATABASE place").execute(&mut connection).await.map_err(failed())?;
    connection.close().await.map_err(failed())?;
    let folder = to.parent().unwrap_or(to);
    std::fs::File::open(&fresh).and_then(|file| file.sync_all()).map_err(told)?;
    std::fs::rename(&fresh, to).map_err(told)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: &str = "INSERT INTO plane_trials (tenant_id, subscription_id, started) VALUES ($1, 's', 5)";
    const HOUR: &str = "INSERT INTO metering_ledger (tenant_id, machine_id, hour, subscription_id, plan, state, trial, \
                        minutes, settled, seat_id) VALUES ($1, 'm', 1, 's', 'P1', 'HybridConnected', 0, 1, 1, '')";

    /// As when control data went to the tenant's geography: the tenant's own row stays, and is not marked as erased.
    #[tokio::test]
    async fn what_is_kept_for_good_goes_with_all_rows_of_its_tenant_and_no_other_way() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_file(&folder.path().join("control.db")).await.unwrap();
        let (gone, stays) = (TenantId::first(), TenantId::new("other").unwrap());
        for tenant in [&gone, &stays] {
            for sql in [TRIAL, HOUR] {
                sqlx::query(sql).bind(tenant.as_str()).execute(db.pool()).await.unwrap();
            }
        }
        let again = TRIAL.replacen("INSERT", "INSERT OR REPLACE", 1).replace("5)", "6)");
        sqlx::query(AssertSqlSafe(again)).bind(gone.as_str()).execute(db.pool()).await.unwrap();
        let begun = "SELECT started FROM plane_trials WHERE tenant_id = 'default'";
        assert_eq!(sqlx::query_scalar::<_, i64>(begun).fetch_one(db.pool()).await.unwrap(), 5);
        for (table, words) in [("plane_trials", "remembered for good"), ("metering_ledger", "never removed")] {
            let sql = format!("DELETE FROM {table}");
            let refused = sqlx::query(AssertSqlSafe(sql)).execute(db.pool()).await.unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
        }
        assert_eq!(erase(&db, &gone).await.unwrap(), 2);
        assert!(counts(&db, &gone).await.unwrap().is_empty());
        assert_eq!(counts(&db, &stays).await.unwrap().len(), 2);
        let marks: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM db_erasing").fetch_one(db.pool()).await.unwrap();
        assert_eq!(marks, 0);
        assert!(sqlx::query("DELETE FROM plane_trials").execute(db.pool()).await.is_err());
    }
}
