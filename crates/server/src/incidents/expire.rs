//! Taking away cases that nobody touched for so long that they are not kept any more.

use super::{CaseError, Incidents};
use garrison_model::Micros;
use sqlx::AnyConnection;

/// What hangs on an alert, by the column that names it.
const OF_ALERTS: &[(&str, &str)] = &[("incidents_key", "alert_id"), ("incidents_alert_row", "alert_id")];

impl Incidents {
    /// Takes away alerts that were last changed before this moment, whatever their status, and incidents of that age
    /// that have no alert left; with comments and record. The numbers of both.
    pub async fn expire(&self, before: Micros) -> Result<(u64, u64), CaseError> {
        let _writer = self.writer.lock().await;
        let mut tx = self.shared.db.write().await?;
        let tenant = self.tenant().as_str();
        let old = "(SELECT id FROM incidents_alert WHERE tenant_id = $1 AND updated < $2)";
        for (table, column) in OF_ALERTS {
            let sql = format!("DELETE FROM {table} WHERE tenant_id = $1 AND {column} IN {old}");
            run(tx.conn(), sql, tenant, before).await?;
        }
        let targets = "(SELECT 'alert/' || id FROM incidents_alert WHERE tenant_id = $1 AND updated < $2)";
        self.said(tx.conn(), targets, before).await?;
        let alerts = run(
            tx.conn(),
            "DELETE FROM incidents_alert WHERE tenant_id = $1 AND updated < $2".to_owned(),
            tenant,
            before,
        )
        .await?;
        let empty = "tenant_id = $1 AND updated < $2 AND id NOT IN (SELECT incident_id FROM incidents_alert WHERE \
                     tenant_id = $1)";
        let targets = format!("(SELECT 'incident/' || CAST(id AS TEXT) FROM incidents_incident WHERE {empty})");
        self.said(tx.conn(), &targets, before).await?;
        let cases = run(tx.conn(), format!("DELETE FROM incidents_incident WHERE {empty}"), tenant, before).await?;
        tx.commit().await?;
        Ok((alerts, cases))
    }

    /// Comments and record of what goes.
    async fn said(&self, conn: &mut AnyConnection, targets: &str, before: Micros) -> Result<(), CaseError> {
        for table in ["incidents_comment", "incidents_audit"] {
            let sql = format!("DELETE FROM {table} WHERE tenant_id = $1 AND target IN {targets}");
            run(conn, sql, self.tenant().as_str(), before).await?;
        }
        Ok(())
    }
}

async fn run(conn: &mut AnyConnection, sql: String, tenant: &str, before: Micros) -> Result<u64, CaseError> {
    let done = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.to_owned()).bind(before.0).execute(conn).await?;
    Ok(done.rows_affected())
}
