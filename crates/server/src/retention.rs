//! How long data is kept: a tenant's days, and the sweep that takes away what is older.
//!
//! The defaults are *documented* (behaviour of the product that users come from): data of the portal 180 days, alerts in
//! the cloud view 90 days, data of inactive devices 180 days. A hunt looks 30 days back unless its text or time span says
//! more; a tenant may make any number of days the farthest that a hunt sees.
//!
//! The sweep decides by the `now` that it is given and may be repeated at will. Each room takes away its own rows. The
//! audit log, the ledger of protected hours and the list of changes of the cloud plane are kept: they are the record.
//! Formats and bounds: docs/reference/data-protection.md.

use crate::db::{Db, DbError, columns};
use crate::incidents::Incidents;
use crate::shared::Shared;
use garrison_model::{Micros, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;
/// Fewest days that data of the portal is kept: an incident is worked on for weeks.
pub const PORTAL_DAYS_MIN: u32 = 30;
/// Most days of anything: ten years.
pub const DAYS_MAX: u32 = 3_650;

/// Days that a tenant's data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetentionDays {
    /// Telemetry, alerts, incidents, retro-hunts, runs of detections.
    pub portal_days: u32,
    /// The farthest that a hunt sees; `null`: as far as rows are kept.
    pub hunting_days: Option<u32>,
    /// Alerts in the cloud view.
    pub cloud_alert_days: u32,
    /// Devices that are silent.
    pub inactive_device_days: u32,
}

impl Default for RetentionDays {
    fn default() -> Self {
        Self { portal_days: 180, hunting_days: None, cloud_alert_days: 90, inactive_device_days: 180 }
    }
}

/// Retention failed.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// Days that do not go together.
    #[error("{0}")]
    Value(String),
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] sqlx::Error),
    /// A transaction failed.
    #[error(transparent)]
    Write(#[from] DbError),
    /// The lake failed.
    #[error(transparent)]
    Lake(#[from] garrison_lake::LakeError),
    /// Cases could not be taken away.
    #[error(transparent)]
    Case(#[from] crate::incidents::CaseError),
}

impl RetentionDays {
    /// Refuses days that are out of bounds or do not go together.
    pub fn check(&self) -> Result<(), RetentionError> {
        let refused = |name: &str, from: u32, to: u32, why: &str| {
            Err(RetentionError::Value(format!("{name}: must be {from} to {to} days, {why}")))
        };
        let portal = self.portal_days;
        if !(PORTAL_DAYS_MIN..=DAYS_MAX).contains(&portal) {
            return refused("portalDays", PORTAL_DAYS_MIN, DAYS_MAX, "so that an incident can be worked on");
        }
        if self.hunting_days.is_some_and(|days| !(1..=portal).contains(&days)) {
            return refused("huntingDays", 1, portal, "because rows are kept no longer than `portalDays`");
        }
        if !(1..=portal).contains(&self.cloud_alert_days) {
            return refused("cloudAlertDays", 1, portal, "because alerts are kept no longer than `portalDays`");
        }
        if !(portal..=DAYS_MAX).contains(&self.inactive_device_days) {
            let why = "because a device is not forgotten while its rows are kept";
            return refused("inactiveDeviceDays", portal, DAYS_MAX, why);
        }
        Ok(())
    }

    /// What is older than this is not seen by hunts.
    pub fn hunting_from(&self, now: Micros) -> Option<Micros> {
        self.hunting_days.map(|days| before(now, days))
    }
}

/// The moment that lies so many days before.
pub fn before(now: Micros, days: u32) -> Micros {
    Micros(now.0.saturating_sub(i64::from(days) * DAY))
}

/// The moment that lies so many days after.
pub fn after(now: Micros, days: u32) -> Micros {
    Micros(now.0.saturating_add(i64::from(days) * DAY))
}

/// What one sweep took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows of telemetry.
    pub rows: u64,
    /// Files of telemetry that left their table; they are deleted from disk a day later.
    pub files: u64,
    /// Alerts.
    pub alerts: u64,
    /// Incidents.
    pub incidents: u64,
    /// Devices.
    pub devices: u64,
    /// Runs of detections, and retro-hunts.
    pub runs: u64,
}

/// The days of a tenant, the defaults where none were set.
pub async fn days(db: &Db, tenant: &TenantId) -> Result<RetentionDays, sqlx::Error> {
    let row = sqlx::query("SELECT * FROM retention_days WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_optional(db.pool())
        .await?;
    let Some(row) = row else { return Ok(RetentionDays::default()) };
    let read = |name: &str| -> Result<u32, sqlx::Error> { Ok(row.try_get::<i64, _>(name)?.try_into().unwrap_or(0)) };
    let hunting = read("hunting_days")?;
    Ok(RetentionDays {
        portal_days: read("portal_days")?,
        hunting_days: (hunting > 0).then_some(hunting),
        cloud_alert_days: read("cloud_alert_days")?,
        inactive_device_days: read("inactive_device_days")?,
    })
}

/// Sets the days of a tenant.
pub async fn days_set(
    db: &Db,
    tenant: &TenantId,
    days: RetentionDays,
    who: &str,
    now: Micros,
) -> Result<(), RetentionError> {
    days.check()?;
    let mut tx = db.write().await?;
    sqlx::query(
        "INSERT INTO retention_days (tenant_id, portal_days, hunting_days, cloud_alert_days, inactive_device_days, \
         updated, updated_by) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id) DO UPDATE SET \
         portal_days = excluded.portal_days, hunting_days = excluded.hunting_days, \
         cloud_alert_days = excluded.cloud_alert_days, inactive_device_days = excluded.inactive_device_days, \
         updated = excluded.updated, updated_by = excluded.updated_by",
    )
    .bind(tenant.as_str())
    .bind(i64::from(days.portal_days))
    .bind(i64::from(days.hunting_days.unwrap_or(0)))
    .bind(i64::from(days.cloud_alert_days))
    .bind(i64::from(days.inactive_device_days))
    .bind(now.0)
    .bind(db.seal(tenant).put(columns::RETENTION_AUTHOR, who)?)
    .execute(tx.conn())
    .await?;
    Ok(tx.commit().await?)
}

/// Days that the rows of each table are kept: what the configuration says of a table, else the tenant's.
fn table_days(shared: &Shared, days: RetentionDays) -> BTreeMap<String, u32> {
    let configured = &shared.config.retention_days;
    let of = |name: &str| configured.get(name).copied().unwrap_or(days.portal_days);
    garrison_telemetry::tables().iter().map(|table| (table.name.to_owned(), of(table.name))).collect()
}

/// Merges and expires the lake's files.
pub async fn lake(shared: &Shared, now: Micros) -> Result<garrison_lake::Maintenance, RetentionError> {
    let days = days(&shared.db, &shared.tenant).await?;
    Ok(shared.lake.maintain_keeping(now, table_days(shared, days)).await?)
}

/// Takes away everything that is too old.
pub async fn sweep(shared: &Shared, incidents: &Incidents, now: Micros) -> Result<Swept, RetentionError> {
    let days = days(&shared.db, &shared.tenant).await?;
    let portal = before(now, days.portal_days);
    let done = shared.lake.maintain_keeping(now, table_days(shared, days)).await?;
    let (alerts, cases) = incidents.expire(portal).await?;
    let runs = crate::detection::expire::expire(&shared.db, &shared.tenant, portal).await?;
    let devices = shared.fleet.forget_silent(before(now, days.inactive_device_days)).await?;
    let swept = Swept { rows: done.rows_expired, files: done.files_expired, alerts, incidents: cases, devices, runs };
    if swept != Swept::default() {
        tracing::info!(?swept, "data that was too old went");
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_must_go_together() {
        let usual = RetentionDays::default();
        for (days, word) in [
            (usual, None),
            (RetentionDays { portal_days: 29, ..usual }, Some("portalDays")),
            (RetentionDays { portal_days: 3_651, ..usual }, Some("portalDays")),
            (RetentionDays { hunting_days: Some(30), ..usual }, None),
            (RetentionDays { hunting_days: Some(0), ..usual }, Some("huntingDays")),
            (RetentionDays { hunting_days: Some(181), ..usual }, Some("huntingDays")),
            (RetentionDays { cloud_alert_days: 181, ..usual }, Some("cloudAlertDays")),
            (RetentionDays { inactive_device_days: 179, ..usual }, Some("inactiveDeviceDays")),
            (RetentionDays { portal_days: 60, cloud_alert_days: 60, ..usual }, None),
        ] {
            match (days.check(), word) {
                (Ok(()), None) => {}
                (Err(error), Some(word)) => assert!(error.to_string().starts_with(word), "{error}"),
                (found, _) => panic!("{days:?}: {found:?}"),
            }
        }
    }
}
