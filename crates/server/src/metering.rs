//! Metering: which machine was protected in which hour, and under which plan.
//!
//! [`Metering::sample`] marks the present minute of every machine, [`Metering::settle`] turns hours that are over into
//! rows of an append-only ledger. Both may be repeated, interrupted and raced at will: marks are sets of minutes, a
//! ledger row is written once, and both happen in transactions. What an hour is billed as is decided by [`hour`].
//! Minutes in which the server did not run are not billed: nobody saw the machine then.

pub mod hour;

use crate::db::{Db, DbError};
use crate::plane::{Plane, PlaneError};
use crate::shared::rfc3339;
use garrison_model::{DeviceId, Micros, Plan, TenantId};
use hour::{Charge, HOUR, Mark, MeteredState};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::BTreeMap;

/// Microseconds after an hour's end before it is settled: a sample under way at the turn of the hour is in by then.
pub const SETTLE_AFTER: i64 = 2 * hour::MINUTE;
/// Marks written or settled in one transaction, so that other writers get their turn.
const STEP: usize = 500;
/// Days that a usage report may span: more is a question for an export.
const DAYS_MAX: i64 = 400;
/// Lines of a usage report.
const LINES_MAX: usize = 10_000;

/// Metering failed.
#[derive(Debug, thiserror::Error)]
pub enum MeteringError {
    /// The span asked for.
    #[error("a report spans at least one hour and at most {DAYS_MAX} days")]
    Span,
    /// Too many lines.
    #[error("the report has more than {LINES_MAX} lines; ask for less time, or by day or plan")]
    TooLong,
    /// What is stored cannot be read.
    #[error("a stored mark cannot be read")]
    Stored,
    /// Machines could not be read.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] sqlx::Error),
    /// A transaction failed.
    #[error(transparent)]
    Write(#[from] DbError),
}

/// By what usage is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum UsageBy {
    /// Day (UTC).
    Day,
    /// Subscription.
    Subscription,
    /// Machine.
    Machine,
    /// Plan.
    Plan,
}

/// A line of a usage report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageLine {
    /// Day (`2026-11-25`), subscription, machine or plan.
    pub key: String,
    /// Plan.
    pub plan: Plan,
    /// Machine-hours.
    pub hours: i64,
    /// Of them, in a trial.
    pub trial_hours: i64,
}

/// The room.
#[derive(Debug)]
pub struct Metering {
    db: Db,
}

impl Metering {
    /// Opens the room.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Marks the present minute of every machine of a tenant. `connected` says whether a device's sensor is connected.
    pub async fn sample(
        &self,
        plane: &Plane,
        tenant: &TenantId,
        connected: impl Fn(&DeviceId) -> bool,
        now: Micros,
    ) -> Result<(), MeteringError> {
        let trials: BTreeMap<_, _> = plane
            .subscriptions(tenant, now)
            .await?
            .into_iter()
            .map(|s| (s.id, s.trial.is_some_and(|t| t.active)))
            .collect();
        let (hour, bit) = hour::minute(now.0);
        let mut marks = Vec::new();
        plane
            .machines_walk(tenant, now, |m| {
                let sensor = m.device_id.as_ref().is_some_and(&connected);
                let Some(state) = hour::state(m.kind, m.power_state, m.state, sensor) else { return };
                // What is not billable leaves no mark: it changes no charge.
                if state.is_billed() && m.plan.plan != Plan::Off {
                    let subscription = m.resource_id.subscription;
                    let trial = trials.get(&subscription).copied().unwrap_or(false);
                    marks.push((m.id, state, m.plan.plan, subscription, trial));
                }
            })
            .await?;
        for step in marks.chunks(STEP) {
            let mut tx = self.db.write().await?;
            for (machine, state, plan, subscription, trial) in step {
                sqlx::query(
                    "INSERT INTO metering_marks (tenant_id, machine_id, hour, state, plan, subscription_id, trial, minutes) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                     ON CONFLICT (tenant_id, machine_id, hour, state, plan, subscription_id, trial) \
                     DO UPDATE SET minutes = metering_marks.minutes | excluded.minutes",
                )
                .bind(tenant.as_str())
                .bind(machine.as_str().to_owned())
                .bind(hour)
                .bind(state.as_str())
                .bind(plan.as_str())
                .bind(subscription.as_str().to_owned())
                .bind(i64::from(*trial))
                .bind(bit)
                .execute(tx.conn())
                .await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Settles every hour that is over; tells how many ledger rows were written.
    pub async fn settle(&self, now: Micros) -> Result<u64, MeteringError> {
        let before = now.0.saturating_sub(SETTLE_AFTER).div_euclid(HOUR);
        let mut written = 0;
        loop {
            let mut tx = self.db.write().await?;
            let keys = sqlx::query(
                "SELECT DISTINCT hour, tenant_id, machine_id FROM metering_marks WHERE hour < $1 \
                 ORDER BY hour, tenant_id, machine_id LIMIT $2",
            )
            .bind(before)
            .bind(STEP as i64)
            .fetch_all(tx.conn())
            .await?;
            for key in &keys {
                let (hour, tenant, machine): (i64, String, String) =
                    (key.try_get(0)?, key.try_get(1)?, key.try_get(2)?);
                // Gone and told in one statement: a server that settles the same hour gets none of them.
                let rows = sqlx::query(
                    "DELETE FROM metering_marks WHERE tenant_id = $1 AND machine_id = $2 AND hour = $3 RETURNING *",
                )
                .bind(tenant.clone())
                .bind(machine.clone())
                .bind(hour)
                .fetch_all(tx.conn())
                .await?;
                let marks = rows.iter().map(mark).collect::<Result<Vec<_>, _>>()?;
                if let Some(charge) = hour::settle(&marks) {
                    written += ledger_write(tx.conn(), &tenant, &machine, hour, &charge, now).await?;
                }
            }
            tx.commit().await?;
            if keys.len() < STEP {
                return Ok(written);
            }
        }
    }

    /// Machine-hours of a tenant between two moments, both rounded down to the hour.
    pub async fn usage(
        &self,
        tenant: &TenantId,
        from: Micros,
        to: Micros,
        by: UsageBy,
    ) -> Result<Vec<UsageLine>, MeteringError> {
        let (first, last) = (from.0.div_euclid(HOUR), to.0.div_euclid(HOUR));
        if first >= last || last.saturating_sub(first) > DAYS_MAX * 24 {
            return Err(MeteringError::Span);
        }
        let column = match by {
            UsageBy::Day => "hour / 24",
            UsageBy::Subscription => "subscription_id",
            UsageBy::Machine => "machine_id",
            UsageBy::Plan => "plan",
        };
        let sql = format!(
            "SELECT CAST({column} AS TEXT) AS label, plan, COUNT(*) AS hours, CAST(SUM(trial) AS BIGINT) AS trials \
             FROM metering_ledger WHERE tenant_id = $1 AND hour >= $2 AND hour < $3 \
             GROUP BY {column}, plan ORDER BY {column}, plan LIMIT $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(first)
            .bind(last)
            .bind(LINES_MAX as i64 + 1)
            .fetch_all(self.db.pool())
            .await?;
        if rows.len() > LINES_MAX {
            return Err(MeteringError::TooLong);
        }
        rows.iter()
            .map(|row| {
                let (label, plan): (String, String) = (row.try_get("label")?, row.try_get("plan")?);
                let key = match by {
                    UsageBy::Day => {
                        let day: i64 = label.parse().map_err(|_| MeteringError::Stored)?;
                        rfc3339(Micros(day.saturating_mul(24 * HOUR))).chars().take(10).collect()
                    }
                    _ => label,
                };
                Ok(UsageLine {
                    key,
                    plan: plan.parse().map_err(|_| MeteringError::Stored)?,
                    hours: row.try_get("hours")?,
                    trial_hours: row.try_get("trials")?,
                })
            })
            .collect()
    }
}

fn mark(row: &sqlx::any::AnyRow) -> Result<Mark, MeteringError> {
    let (state, plan): (String, String) = (row.try_get("state")?, row.try_get("plan")?);
    Ok(Mark {
        state: MeteredState::read(&state).ok_or(MeteringError::Stored)?,
        plan: plan.parse().map_err(|_| MeteringError::Stored)?,
        subscription: row.try_get("subscription_id")?,
        trial: row.try_get::<i64, _>("trial")? != 0,
        minutes: row.try_get("minutes")?,
    })
}

/// One row a machine and hour; a second one (a clock that was set back) is not written.
async fn ledger_write(
    connection: &mut sqlx::AnyConnection,
    tenant: &str,
    machine: &str,
    hour: i64,
    charge: &Charge,
    now: Micros,
) -> Result<u64, MeteringError> {
    let done = sqlx::query(
        "INSERT INTO metering_ledger (tenant_id, machine_id, hour, subscription_id, plan, state, trial, minutes, settled) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant_id, machine_id, hour) DO NOTHING",
    )
    .bind(tenant.to_owned())
    .bind(machine.to_owned())
    .bind(hour)
    .bind(charge.subscription.clone())
    .bind(charge.plan.as_str())
    .bind(charge.state.as_str())
    .bind(i64::from(charge.trial))
    .bind(charge.minutes)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
