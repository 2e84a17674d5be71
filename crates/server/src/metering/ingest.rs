//! What devices send, counted by day, and the allowance of free ingest that Plan 2 brings.
//!
//! Counted is the payload of a batch once its rows are durable, as it came over the wire; a batch that is sent twice
//! counts once. Counts are kept in memory and written with the half-minute look of metering: a crash loses what was
//! counted since, in the customer's favour, and nothing is ever counted twice.

use super::hour::HOUR;
use super::money::Money;
use super::prices::Meter;
use super::{Metering, MeteringError, STEP, day_text, span};
use crate::plane::Plane;
use garrison_model::{DeviceId, Micros, SubscriptionId, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// Bytes that a machine under Plan 2 brings to its subscription's allowance of a day.
pub const ALLOWANCE_BYTES: i64 = 500_000_000;
/// Bytes that are billed at once.
const MEGABYTE: i64 = 1_000_000;
/// Lines of a report.
const LINES_MAX: usize = 10_000;
/// Devices and days that are counted between two looks; what is beyond is not counted.
const WAITING_MAX: usize = 400_000;

/// What a device sent in a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bytes {
    events: i64,
    other: i64,
}

/// Counts that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<(DeviceId, i64), Bytes>>);

impl Waiting {
    fn add(&self, key: (DeviceId, i64), bytes: Bytes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= WAITING_MAX && !all.contains_key(&key) {
            return;
        }
        let sum = all.entry(key).or_default();
        sum.events = sum.events.saturating_add(bytes.events);
        sum.other = sum.other.saturating_add(bytes.other);
    }

    fn take(&self) -> HashMap<(DeviceId, i64), Bytes> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which part of the count a table belongs to: tables of events are security data and covered by the allowance,
/// inventories are not, and the loss ledger is the system's own book-keeping.
fn part(table: &str, bytes: i64) -> Option<Bytes> {
    match table {
        "SensorLossEvents" => None,
        table if table.ends_with("Events") => Some(Bytes { events: bytes, other: 0 }),
        _ => Some(Bytes { events: 0, other: bytes }),
    }
}

/// Ingest of a subscription and day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngestLine {
    /// Day (`2026-11-25`, UTC).
    pub day: String,
    /// Subscription; null for devices that belonged to none.
    pub subscription_id: Option<SubscriptionId>,
    /// Machines that Plan 2 protected in an hour of the day.
    pub machines: i64,
    /// Their allowance, pooled.
    pub allowance_bytes: i64,
    /// Bytes of tables of events, which the allowance covers.
    pub counted_bytes: i64,
    /// Bytes of other tables, which it does not cover.
    pub other_bytes: i64,
    /// Of the counted bytes, those that are free.
    pub free_bytes: i64,
    /// Of the counted bytes, those beyond the allowance.
    pub over_bytes: i64,
    /// Whole megabytes (10^6 bytes) of `overBytes` and `otherBytes` together: what is billed where ingest has a price.
    pub billed_megabytes: i64,
    /// What they cost; null where ingest has no price.
    #[schema(value_type = Option<String>)]
    pub cost: Option<Money>,
}

/// Splits a day of a subscription; pure. Answers free bytes, bytes beyond, and whole megabytes to bill.
pub fn split(machines: i64, counted: i64, other: i64) -> (i64, i64, i64) {
    let allowance = machines.saturating_mul(ALLOWANCE_BYTES);
    let free = counted.min(allowance);
    let over = counted - free;
    (free, over, over.saturating_add(other) / MEGABYTE)
}

impl Metering {
    /// Counts a batch that was stored.
    pub fn ingested(&self, device: &DeviceId, table: &str, bytes: u64, now: Micros) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if let Some(bytes) = part(table, bytes) {
            self.waiting.add((device.clone(), now.0.div_euclid(24 * HOUR)), bytes);
        }
    }

    /// Writes what was counted, each device's under the subscription that its machine is in now.
    pub async fn ingest_flush(&self, plane: &Plane, tenant: &TenantId, now: Micros) -> Result<(), MeteringError> {
        let counts = self.waiting.take();
        if counts.is_empty() {
            return Ok(());
        }
        let mut owners: HashMap<DeviceId, String> = HashMap::new();
        let walked = plane
            .machines_walk(tenant, now, |m| {
                if let Some(device) = m.device_id {
                    owners.insert(device, m.resource_id.subscription.as_str().to_owned());
                }
            })
            .await;
        let all: Vec<_> = counts.into_iter().collect();
        if let Err(error) = walked {
            all.into_iter().for_each(|(key, bytes)| self.waiting.add(key, bytes));
            return Err(error.into());
        }
        let mut steps = all.chunks(STEP);
        while let Some(step) = steps.next() {
            if let Err(error) = self.ingest_write(tenant, step, &owners).await {
                // This step's transaction left no trace; it and those after it wait for the next turn.
                for (key, bytes) in std::iter::once(step).chain(steps).flatten() {
                    self.waiting.add(key.clone(), *bytes);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn ingest_write(
        &self,
        tenant: &TenantId,
        step: &[((DeviceId, i64), Bytes)],
        owners: &HashMap<DeviceId, String>,
    ) -> Result<(), MeteringError> {
        let mut tx = self.db.write().await?;
        for ((device, day), bytes) in step {
            sqlx::query(
                "INSERT INTO metering_ingest (tenant_id, day, subscription_id, device_id, event_bytes, other_bytes) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, day, subscription_id, device_id) DO UPDATE \
                 SET event_bytes = metering_ingest.event_bytes + excluded.event_bytes, \
                 other_bytes = metering_ingest.other_bytes + excluded.other_bytes",
            )
            .bind(tenant.as_str())
            .bind(*day)
            .bind(owners.get(device).cloned().unwrap_or_default())
            .bind(device.as_str().to_owned())
            .bind(bytes.events)
            .bind(bytes.other)
            .execute(tx.conn())
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Ingest by subscription and day. Days are whole: one that the span touches counts.
    pub async fn ingest(&self, tenant: &TenantId, from: Micros, to: Micros) -> Result<Vec<IngestLine>, MeteringError> {
        let (first, last) = span(from, to)?;
        let (first, last) = (first.div_euclid(24), (last - 1).div_euclid(24));
        let prices = self.prices(tenant).await?;
        let rows = sqlx::query(
            "SELECT hour / 24 AS day, subscription_id, COUNT(DISTINCT machine_id) AS machines FROM metering_ledger \
             WHERE tenant_id = $1 AND hour >= $2 AND hour < $3 AND plan = $4 GROUP BY hour / 24, subscription_id",
        )
        .bind(tenant.as_str())
        .bind(first * 24)
        .bind((last + 1) * 24)
        // Plans that hold more than the least one that holds the allowance do not exist.
        .bind(garrison_model::Feature::FreeIngest.least().as_str())
        .fetch_all(self.db.pool())
        .await?;
        let mut days: BTreeMap<(i64, String), (i64, i64, i64)> = BTreeMap::new();
        for row in &rows {
            days.entry((row.try_get("day")?, row.try_get("subscription_id")?)).or_default().0 =
                row.try_get("machines")?;
        }
        let rows = sqlx::query(
            "SELECT day, subscription_id, CAST(SUM(event_bytes) AS BIGINT) AS events, CAST(SUM(other_bytes) AS BIGINT) \
             AS other FROM metering_ingest WHERE tenant_id = $1 AND day >= $2 AND day <= $3 GROUP BY day, subscription_id",
        )
        .bind(tenant.as_str())
        .bind(first)
        .bind(last)
        .fetch_all(self.db.pool())
        .await?;
        for row in &rows {
            let line = days.entry((row.try_get("day")?, row.try_get("subscription_id")?)).or_default();
            (line.1, line.2) = (row.try_get("events")?, row.try_get("other")?);
        }
        if days.len() > LINES_MAX {
            return Err(MeteringError::TooLong);
        }
        days.into_iter()
            .map(|((day, subscription), (machines, counted, other))| {
                let (free, over, megabytes) = split(machines, counted, other);
                let known = (!subscription.is_empty()).then(|| SubscriptionId::new(&subscription));
                Ok(IngestLine {
                    day: day_text(day),
                    subscription_id: known.transpose().map_err(|_| MeteringError::Stored)?,
                    machines,
                    allowance_bytes: machines.saturating_mul(ALLOWANCE_BYTES),
                    counted_bytes: counted,
                    other_bytes: other,
                    free_bytes: free,
                    over_bytes: over,
                    billed_megabytes: megabytes,
                    cost: prices.at(Meter::Ingest, day * 24).map(|sheet| Money::of(megabytes, sheet.unit_micros)),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_is_pooled_and_begun_megabytes_are_not_billed() {
        for (machines, counted, other, expected) in [
            (2, 950_000_000, 0, (950_000_000, 0, 0)),
            (2, 1_200_000_000, 0, (1_000_000_000, 200_000_000, 200)),
            (2, 950_000_000, 50_000_000, (950_000_000, 0, 50)),
            (0, 1_999_999, 0, (0, 1_999_999, 1)),
            (1, 500_999_999, 1, (500_000_000, 999_999, 1)),
            (1, 500_999_999, 0, (500_000_000, 999_999, 0)),
        ] {
            assert_eq!(split(machines, counted, other), expected);
        }
    }

    #[test]
    fn tables_of_events_are_covered_and_the_loss_ledger_is_not_counted() {
        assert_eq!(part("DeviceProcessEvents", 7), Some(Bytes { events: 7, other: 0 }));
        assert_eq!(part("DeviceInfo", 7), Some(Bytes { events: 0, other: 7 }));
        assert_eq!(part("SensorLossEvents", 7), None);
    }
}
