//! Metering: which machine was protected in which hour, and under which plan.
//!
//! [`Metering::sample`] marks the present minute of every machine, [`Metering::settle`] turns hours that are over into
//! rows of an append-only ledger. Both may be repeated, interrupted and raced at will: marks are sets of minutes, a
//! ledger row is written once, and both happen in transactions. What an hour is billed as is decided by [`hour`].
//! Minutes in which the server did not run are not billed: nobody saw the machine then.
//!
//! What hours cost is reckoned when it is asked ([`cost`]), from the ledger and the price sheets; owned seats are
//! written with the ledger's rows ([`seats`]). docs/reference/money.md has the rules.

pub mod cost;
pub mod focus;
pub mod forecast;
pub mod hour;
pub mod ingest;
pub mod money;
pub mod prices;
pub mod seats;

pub use cost::{UsageBy, UsageLine};

use crate::db::{Db, DbError, Dialect, WriteTx};
use crate::plane::{Plane, PlaneError};
use crate::shared::rfc3339;
use cost::LINES_MAX;
use garrison_model::{DeviceId, Micros, Plan, TenantId};
use hour::{Charge, HOUR, Mark, MeteredState};
use sqlx::Row as _;
use std::collections::{BTreeMap, HashMap};

/// Microseconds after an hour's end before it is settled: a sample under way at the turn of the hour is in by then.
pub const SETTLE_AFTER: i64 = 2 * hour::MINUTE;
/// Marks written or settled in one transaction, so that other writers get their turn.
const STEP: usize = 500;
/// Days that a usage report may span: more is a question for an export.
const DAYS_MAX: i64 = 400;
/// A number that only changes of the ledger and of what it rests on use, so that two servers on one PostgreSQL take
/// turns: seats of an hour are given out once.
const LOCK: i64 = 0x6d65_7465_7269_6e67;

/// Metering failed.
#[derive(Debug, thiserror::Error)]
pub enum MeteringError {
    /// The span asked for.
    #[error("a report spans at least one hour and at most {DAYS_MAX} days")]
    Span,
    /// Too many lines.
    #[error("the report has more than {LINES_MAX} lines; ask for less time, or by day or plan")]
    TooLong,
    /// Hours of a forecast.
    #[error("a forecast spans 1 to 8784 hours")]
    Hours,
    /// A moment of a price or seat.
    #[error("{0}: must be RFC 3339")]
    Moment(&'static str),
    /// A price sheet.
    #[error("{0}")]
    Price(String),
    /// Two price sheets for one hour, or a new price of an hour that has begun.
    #[error("the sheet overlaps the one from {from} to {to}")]
    PriceOverlap {
        /// First hour of the other.
        from: String,
        /// Its end.
        to: String,
    },
    /// There is no such sheet.
    #[error("there is no such price sheet")]
    SheetUnknown,
    /// A sheet that has priced what is settled.
    #[error("the sheet prices {what}, from {first} on")]
    PriceSettled {
        /// What has its price, and how much of it.
        what: String,
        /// The first hour of it.
        first: String,
    },
    /// Hours that an export cannot price.
    #[error("{hours} hour(s) of {day} have no price")]
    PriceMissing {
        /// How many.
        hours: i64,
        /// Day.
        day: String,
    },
    /// Seats.
    #[error("{0}")]
    Seats(String),
    /// A file could not be written.
    #[error("the file cannot be written")]
    File(#[source] Box<dyn std::error::Error + Send + Sync>),
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

/// The room.
#[derive(Debug)]
pub struct Metering {
    db: Db,
    waiting: ingest::Waiting,
}

impl Metering {
    /// Opens the room.
    pub fn new(db: Db) -> Self {
        Self { db, waiting: ingest::Waiting::default() }
    }

    /// A transaction beside which nobody else settles, prices or gives out seats.
    async fn write_alone(&self) -> Result<WriteTx, MeteringError> {
        let mut tx = self.db.write().await?;
        if self.db.dialect() == Dialect::Postgres {
            sqlx::query("SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS taken")
                .bind(LOCK)
                .execute(tx.conn())
                .await?;
        }
        Ok(tx)
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
            let mut tx = self.write_alone().await?;
            let keys = sqlx::query(
                "SELECT DISTINCT hour, tenant_id, machine_id FROM metering_marks WHERE hour < $1 \
                 ORDER BY hour, tenant_id, machine_id LIMIT $2",
            )
            .bind(before)
            .bind(STEP as i64)
            .fetch_all(tx.conn())
            .await?;
            let mut seats = SeatsOf::default();
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
                    let seat = seats.pick(tx.conn(), &self.db, &tenant, hour, &charge).await?;
                    let seat_id = seat.as_deref().unwrap_or_default();
                    let rows = ledger_write(tx.conn(), (&tenant, &machine, hour), &charge, seat_id, now).await?;
                    // A row that was there already takes no seat.
                    if let Some(seat) = seat.filter(|_| rows > 0) {
                        seats.taken(seat);
                    }
                    written += rows;
                }
            }
            tx.commit().await?;
            if keys.len() < STEP {
                return Ok(written);
            }
        }
    }
}

/// Seats as they are given out, hour by hour, within one transaction.
#[derive(Debug, Default)]
struct SeatsOf {
    pools: HashMap<String, Vec<seats::Pool>>,
    hour: Option<(String, i64)>,
    used: HashMap<String, i64>,
}

impl SeatsOf {
    async fn pick(
        &mut self,
        connection: &mut sqlx::AnyConnection,
        db: &crate::db::Db,
        tenant: &str,
        hour: i64,
        charge: &Charge,
    ) -> Result<Option<String>, MeteringError> {
        if !self.pools.contains_key(tenant) {
            let seal = TenantId::new(tenant).map(|tenant| db.seal(&tenant)).unwrap_or_default();
            let pools = seats::pools_read(&mut *connection, &seal, tenant, false).await?;
            self.pools.insert(tenant.to_owned(), pools);
        }
        let Some(pools) = self.pools.get(tenant).filter(|p| !p.is_empty()) else { return Ok(None) };
        if self.hour.as_ref().is_none_or(|(t, h)| t != tenant || *h != hour) {
            self.used = seats::used_read(connection, tenant, hour, "").await?;
            self.hour = Some((tenant.to_owned(), hour));
        }
        Ok(seats::pick(pools, &self.used, hour, charge).map(str::to_owned))
    }

    fn taken(&mut self, seat: String) {
        *self.used.entry(seat).or_insert(0) += 1;
    }
}

/// Hours from and before which a report counts.
fn span(from: Micros, to: Micros) -> Result<(i64, i64), MeteringError> {
    let (first, last) = (from.0.div_euclid(HOUR), to.0.div_euclid(HOUR));
    if first >= last || last.saturating_sub(first) > DAYS_MAX * 24 {
        return Err(MeteringError::Span);
    }
    Ok((first, last))
}

/// An hour counted from 1970, as RFC 3339.
fn hour_time(hour: i64) -> String {
    rfc3339(Micros(hour.saturating_mul(HOUR)))
}

/// A day counted from 1970, as `2026-11-25`.
fn day_text(day: i64) -> String {
    hour_time(day.saturating_mul(24)).chars().take(10).collect()
}

/// The whole hour that a moment lies in.
fn whole_hour(text: Option<&str>, name: &'static str) -> Result<Option<i64>, MeteringError> {
    let Some(text) = text else { return Ok(None) };
    let time: jiff::Timestamp = text.parse().map_err(|_| MeteringError::Moment(name))?;
    Ok(Some(time.as_microsecond().div_euclid(HOUR)))
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
    (tenant, machine, hour): (&str, &str, i64),
    charge: &Charge,
    seat: &str,
    now: Micros,
) -> Result<u64, MeteringError> {
    let done = sqlx::query(
        "INSERT INTO metering_ledger (tenant_id, machine_id, hour, subscription_id, plan, state, trial, minutes, \
         settled, seat_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (tenant_id, machine_id, hour) DO NOTHING",
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
    .bind(seat.to_owned())
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
