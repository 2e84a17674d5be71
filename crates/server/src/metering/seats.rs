//! Owned seats: licences that cover machine-hours, so that they cost nothing more.
//!
//! Which seat covers which hour is decided when the hour is settled and written with the ledger's row, so a later change
//! of seats changes nothing that is past. In an hour, machines are taken in the order of their ids; each takes the first
//! pool of its plan that has a seat left: pools of its own subscription first, then those of the whole tenant, each in
//! the order of their ids. Hours of a trial take none. A row has at most one seat, and a pool of `n` seats covers at
//! most `n` rows of an hour.

use super::hour::{Charge, HOUR};
use super::{Metering, MeteringError, hour_time, whole_hour};
use crate::db::{Sealer, columns};
use crate::shared::rfc3339;
use garrison_model::{Micros, Plan, SubscriptionId, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Pools of a tenant: each is held against every hour that is settled.
const POOLS_MAX: usize = 200;
/// Seats of a pool: as many as a tenant may have machines.
const SEATS_MAX: i64 = 200_000;
/// Characters of a note.
const NOTE_MAX: usize = 256;

/// A pool of seats to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeatsNew {
    /// The id of a pool that is there and is changed; absent for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Plan whose hours the seats cover, `P1` or `P2`.
    pub plan: Plan,
    /// Machines that are covered in an hour, 1 to 200,000.
    pub seats: i64,
    /// Only machines of this subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<SubscriptionId>,
    /// First hour, RFC 3339, rounded down; the present hour unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// Hour in which they end; open unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<String>,
    /// For people, such as the licence's number.
    #[serde(default)]
    pub note: String,
}

/// A pool of seats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seats {
    /// Id.
    pub id: String,
    /// Plan whose hours they cover.
    pub plan: Plan,
    /// Machines that are covered in an hour.
    pub seats: i64,
    /// Only machines of this subscription; null for the whole tenant.
    pub subscription_id: Option<SubscriptionId>,
    /// First hour, RFC 3339.
    pub valid_from: String,
    /// Hour in which they end; null where they are open.
    pub valid_to: Option<String>,
    /// For people.
    pub note: String,
    /// Seats that covered a machine in the last settled hour.
    pub used: i64,
    /// Who made the pool.
    pub created_by: String,
    /// When.
    pub created_time: String,
}

/// A pool as it is reckoned with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Id.
    pub id: String,
    /// Plan.
    pub plan: Plan,
    /// How many.
    pub seats: i64,
    /// Only this subscription; empty for all.
    pub subscription: String,
    /// First hour.
    pub from: i64,
    /// First hour after.
    pub to: Option<i64>,
    note: String,
    created_by: String,
    created: i64,
}

impl Pool {
    /// Whether it may cover hours of a plan in a subscription at this time.
    pub fn fits(&self, plan: Plan, subscription: &str, hour: i64) -> bool {
        self.plan == plan
            && (self.subscription.is_empty() || self.subscription == subscription)
            && self.from <= hour
            && self.to.is_none_or(|to| hour < to)
    }

    /// Note, for a file that names it.
    pub fn note(&self) -> &str {
        &self.note
    }
}

/// The pool that covers an hour of one machine; `used` counts what each covers in that hour already. Pools are in the
/// order of [`pools_read`]. Pure.
pub fn pick<'a>(pools: &'a [Pool], used: &HashMap<String, i64>, hour: i64, charge: &Charge) -> Option<&'a str> {
    if charge.trial {
        return None;
    }
    let free = |p: &&Pool| used.get(&p.id).copied().unwrap_or(0) < p.seats;
    pools.iter().filter(|p| p.fits(charge.plan, &charge.subscription, hour)).find(free).map(|p| p.id.as_str())
}

fn pool_read(seal: &Sealer, row: &sqlx::any::AnyRow) -> Result<Pool, MeteringError> {
    Ok(Pool {
        id: row.try_get("id")?,
        plan: row.try_get::<String, _>("plan")?.parse().map_err(|_| MeteringError::Stored)?,
        seats: row.try_get("seats")?,
        subscription: row.try_get("subscription_id")?,
        from: row.try_get("valid_from")?,
        to: row.try_get("valid_to")?,
        note: seal.get(row, columns::SEAT_NOTE)?,
        created_by: seal.get(row, columns::SEAT_AUTHOR)?,
        created: row.try_get("created")?,
    })
}

/// The pools of a tenant in the order in which they are used; removed ones only where `all`.
pub(super) async fn pools_read(
    connection: &mut AnyConnection,
    seal: &Sealer,
    tenant: &str,
    all: bool,
) -> Result<Vec<Pool>, MeteringError> {
    let sql = if all {
        "SELECT * FROM metering_seats WHERE tenant_id = $1 ORDER BY id"
    } else {
        "SELECT * FROM metering_seats WHERE tenant_id = $1 AND removed IS NULL ORDER BY id"
    };
    let rows = sqlx::query(sql).bind(tenant.to_owned()).fetch_all(connection).await?;
    let mut pools = rows.iter().map(|row| pool_read(seal, row)).collect::<Result<Vec<_>, _>>()?;
    pools.sort_by_key(|p| (p.subscription.is_empty(), p.id.clone()));
    Ok(pools)
}

/// What each pool covers in an hour already, machines of `but` left out.
pub(super) async fn used_read(
    connection: &mut AnyConnection,
    tenant: &str,
    hour: i64,
    but: &str,
) -> Result<HashMap<String, i64>, MeteringError> {
    let rows = sqlx::query(
        "SELECT seat_id, COUNT(*) AS n FROM metering_ledger WHERE tenant_id = $1 AND hour = $2 AND seat_id <> '' \
         AND subscription_id <> $3 GROUP BY seat_id",
    )
    .bind(tenant.to_owned())
    .bind(hour)
    .bind(but.to_owned())
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The last hour of a tenant that has rows.
pub(super) async fn last_hour(connection: &mut AnyConnection, tenant: &str) -> Result<Option<i64>, MeteringError> {
    let row = sqlx::query("SELECT MAX(hour) AS hour FROM metering_ledger WHERE tenant_id = $1")
        .bind(tenant.to_owned())
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("hour")?)
}

impl Metering {
    /// The pools of a tenant, in the order in which they are used.
    pub async fn seats(&self, tenant: &TenantId) -> Result<Vec<Seats>, MeteringError> {
        let mut connection = self.db.pool().acquire().await?;
        let pools = pools_read(&mut connection, &self.db.seal(tenant), tenant.as_str(), false).await?;
        let used = match last_hour(&mut connection, tenant.as_str()).await? {
            Some(hour) => used_read(&mut connection, tenant.as_str(), hour, "").await?,
            None => HashMap::new(),
        };
        pools
            .into_iter()
            .map(|p| {
                let subscription = (!p.subscription.is_empty()).then(|| SubscriptionId::new(&p.subscription));
                Ok(Seats {
                    used: used.get(&p.id).copied().unwrap_or(0),
                    subscription_id: subscription.transpose().map_err(|_| MeteringError::Stored)?,
                    valid_from: hour_time(p.from),
                    valid_to: p.to.map(hour_time),
                    created_time: rfc3339(Micros(p.created)),
                    id: p.id,
                    plan: p.plan,
                    seats: p.seats,
                    note: p.note,
                    created_by: p.created_by,
                })
            })
            .collect()
    }

    /// Replaces the pools of a tenant, for hours that are settled from now on.
    pub async fn seats_put(
        &self,
        tenant: &TenantId,
        items: &[SeatsNew],
        who: &str,
        now: Micros,
    ) -> Result<(), MeteringError> {
        let refuse = |words: String| MeteringError::Seats(words);
        if items.len() > POOLS_MAX {
            return Err(refuse(format!("a tenant has at most {POOLS_MAX} pools of seats")));
        }
        let mut tx = self.write_alone().await?;
        let seal = self.db.seal(tenant);
        let there = pools_read(tx.conn(), &seal, tenant.as_str(), false).await?;
        let there: BTreeMap<String, Pool> = there.into_iter().map(|p| (p.id.clone(), p)).collect();
        let mut kept = BTreeSet::new();
        for item in items {
            if item.plan == Plan::Off || !(1..=SEATS_MAX).contains(&item.seats) {
                return Err(refuse(format!("a pool has a plan (P1 or P2) and 1 to {SEATS_MAX} seats")));
            }
            if item.note.chars().count() > NOTE_MAX {
                return Err(refuse(format!("a note has at most {NOTE_MAX} characters")));
            }
            let old = match &item.id {
                None => None,
                Some(id) => {
                    let found = there.get(id).filter(|_| kept.insert(id.clone()));
                    Some(found.ok_or_else(|| refuse(format!("there is no pool `{id}`, or it is named twice")))?)
                }
            };
            let from = whole_hour(item.valid_from.as_deref(), "validFrom")?
                .unwrap_or_else(|| old.map_or(now.0.div_euclid(HOUR), |p| p.from));
            let to = whole_hour(item.valid_to.as_deref(), "validTo")?;
            if to.is_some_and(|to| to <= from) {
                return Err(refuse("`validTo` must be after `validFrom`".to_owned()));
            }
            sqlx::query(
                "INSERT INTO metering_seats (tenant_id, id, plan, seats, subscription_id, valid_from, valid_to, note, \
                 created_by, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (tenant_id, id) DO \
                 UPDATE SET plan = excluded.plan, seats = excluded.seats, subscription_id = excluded.subscription_id, \
                 valid_from = excluded.valid_from, valid_to = excluded.valid_to, note = excluded.note",
            )
            .bind(tenant.as_str())
            .bind(old.map_or_else(|| uuid::Uuid::new_v4().to_string(), |p| p.id.clone()))
            .bind(item.plan.as_str())
            .bind(item.seats)
            .bind(item.subscription_id.as_ref().map_or("", SubscriptionId::as_str).to_owned())
            .bind(from)
            .bind(to)
            .bind(seal.put(columns::SEAT_NOTE, &item.note)?)
            .bind(seal.put(columns::SEAT_AUTHOR, old.map_or(who, |p| &p.created_by))?)
            .bind(old.map_or(now.0, |p| p.created))
            .execute(tx.conn())
            .await?;
        }
        for id in there.keys().filter(|id| !kept.contains(*id)) {
            sqlx::query("UPDATE metering_seats SET removed = $1 WHERE tenant_id = $2 AND id = $3")
                .bind(now.0)
                .bind(tenant.as_str())
                .bind(id.clone())
                .execute(tx.conn())
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::hour::MeteredState;
    use proptest::prelude::*;

    fn pool(id: &str, plan: Plan, seats: i64, subscription: &str) -> Pool {
        Pool {
            id: id.to_owned(),
            plan,
            seats,
            subscription: subscription.to_owned(),
            from: 0,
            to: Some(100),
            note: String::new(),
            created_by: String::new(),
            created: 0,
        }
    }

    fn charge(plan: Plan, subscription: &str, trial: bool) -> Charge {
        Charge { subscription: subscription.to_owned(), plan, state: MeteredState::HybridConnected, trial, minutes: 1 }
    }

    #[test]
    fn seats_cover_hours_of_their_plan_place_and_time() {
        let pools = [pool("own", Plan::P2, 1, "s1"), pool("all", Plan::P2, 1, "")];
        let none = HashMap::new();
        let full: HashMap<_, _> = [("own".to_owned(), 1)].into();
        let both: HashMap<_, _> = [("own".to_owned(), 1), ("all".to_owned(), 1)].into();
        for (used, hour, charge, expected) in [
            (&none, 5, charge(Plan::P2, "s1", false), Some("own")),
            (&full, 5, charge(Plan::P2, "s1", false), Some("all")),
            (&both, 5, charge(Plan::P2, "s1", false), None),
            (&none, 5, charge(Plan::P2, "s2", false), Some("all")),
            (&none, 5, charge(Plan::P1, "s1", false), None),
            (&none, 5, charge(Plan::P2, "s1", true), None),
            (&none, 100, charge(Plan::P2, "s1", false), None),
        ] {
            assert_eq!(pick(&pools, used, hour, &charge), expected, "{hour} {charge:?}");
        }
    }

    proptest! {
        #[test]
        fn no_pool_covers_more_than_it_has_and_none_is_left_idle(
            sizes in prop::collection::vec((1_i64..4, 0_usize..3), 0..4),
            machines in prop::collection::vec((0_usize..2, any::<bool>()), 0..12),
        ) {
            let name = |n: usize| ["", "s0", "s1"][n];
            let mut pools: Vec<_> =
                sizes.iter().enumerate().map(|(i, (n, s))| pool(&i.to_string(), Plan::P2, *n, name(*s))).collect();
            pools.sort_by_key(|p| (p.subscription.is_empty(), p.id.clone()));
            let mut used = HashMap::new();
            for (subscription, trial) in &machines {
                let charge = charge(Plan::P2, name(subscription + 1), *trial);
                match pick(&pools, &used, 1, &charge) {
                    Some(id) => *used.entry(id.to_owned()).or_insert(0) += 1,
                    None => {
                        let full = |p: &Pool| used.get(&p.id) == Some(&p.seats);
                        let idle = pools.iter().any(|p| p.fits(Plan::P2, &charge.subscription, 1) && !full(p));
                        prop_assert!(*trial || !idle);
                    }
                }
            }
            prop_assert!(pools.iter().all(|p| used.get(&p.id).copied().unwrap_or(0) <= p.seats));
        }
    }
}
