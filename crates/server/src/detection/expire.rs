//! Taking away runs of detections and retro-hunts that are not kept any more.

use crate::db::{Db, DbError};
use garrison_model::{Micros, TenantId};

/// Takes away runs that ended, and retro-hunts that ended with what they found, before this moment; how many.
pub async fn expire(db: &Db, tenant: &TenantId, before: Micros) -> Result<u64, DbError> {
    let mut tx = db.write().await?;
    let mut gone = 0;
    for sql in [
        "DELETE FROM detection_custom_run WHERE tenant_id = $1 AND started < $2",
        "DELETE FROM detection_retro_match WHERE tenant_id = $1 AND retro_id IN (SELECT id FROM detection_retro WHERE \
         tenant_id = $1 AND ended < $2)",
        "DELETE FROM detection_retro WHERE tenant_id = $1 AND ended < $2",
    ] {
        let done = sqlx::query(sql).bind(tenant.as_str()).bind(before.0).execute(tx.conn()).await?;
        if !sql.contains("retro_match") {
            gone += done.rows_affected();
        }
    }
    tx.commit().await?;
    Ok(gone)
}
