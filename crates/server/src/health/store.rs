//! The tables of this room.

use super::judge::Judged;
use super::{Book, HealthError, Kept};
use crate::db::{Db, Statement};
use garrison_model::{MachineId, Micros, TenantId};
use sqlx::Row as _;

/// Rows written in one transaction: others write in between.
const CHUNK: usize = 500;

pub(super) async fn load(db: &Db, tenant: &TenantId) -> Result<Book, HealthError> {
    let rows = sqlx::query("SELECT machine_id, document, since FROM health_machines WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_all(db.pool())
        .await?;
    let mut book = Book::default();
    for row in &rows {
        let id = MachineId::new(&row.try_get::<String, _>(0)?).map_err(|_| HealthError::Stored("machine id"))?;
        // What a newer version wrote is worked out again within the minute.
        let Ok(judged) = serde_json::from_str::<Judged>(&row.try_get::<String, _>(1)?) else { continue };
        book.machines.insert(id, Kept { judged, since: Micros(row.try_get(2)?) });
    }
    let row = sqlx::query("SELECT at FROM health_rounds WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_optional(db.pool())
        .await?;
    book.refreshed = row.map(|row| row.try_get(0).map(Micros)).transpose()?;
    Ok(book)
}

/// How machines are, as it was last written down, and since when.
pub(crate) async fn kept(
    db: &Db,
    tenant: &TenantId,
) -> Result<std::collections::HashMap<MachineId, (Judged, Micros)>, HealthError> {
    let book = load(db, tenant).await?;
    Ok(book.machines.into_iter().map(|(id, kept)| (id, (kept.judged, kept.since))).collect())
}

pub(super) async fn save(
    db: &Db,
    tenant: &TenantId,
    changed: &[(MachineId, Kept)],
    gone: &[MachineId],
    now: Micros,
) -> Result<(), HealthError> {
    for chunk in changed.chunks(CHUNK) {
        let mut tx = db.write().await?;
        for (id, kept) in chunk {
            let document = serde_json::to_string(&kept.judged).map_err(|_| HealthError::Stored("judgement"))?;
            sqlx::query(
                "INSERT INTO health_machines (tenant_id, machine_id, document, since) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (tenant_id, machine_id) DO UPDATE SET document = excluded.document, since = excluded.since",
            )
            .bind(tenant.as_str())
            .bind(id.as_str().to_owned())
            .bind(document)
            .bind(kept.since.0)
            .execute(tx.conn())
            .await?;
        }
        tx.commit().await?;
    }
    for chunk in gone.chunks(CHUNK) {
        let mut sql = Statement::new("DELETE FROM health_machines WHERE tenant_id = ");
        sql.push_bind(tenant.as_str().to_owned()).push(" AND machine_id IN (");
        sql.push_list(chunk.iter().map(|id| id.as_str().to_owned())).push(")");
        let mut tx = db.write().await?;
        sql.build().execute(tx.conn()).await?;
        tx.commit().await?;
    }
    let mut tx = db.write().await?;
    sqlx::query(
        "INSERT INTO health_rounds (tenant_id, at) VALUES ($1, $2)
         ON CONFLICT (tenant_id) DO UPDATE SET at = excluded.at",
    )
    .bind(tenant.as_str())
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(tx.commit().await?)
}
