//! What a plan would cost, before it is switched on. Nothing is changed.

use super::hour::{HOUR, state};
use super::ingest::ALLOWANCE_BYTES;
use super::money::Money;
use super::prices::Meter;
use super::seats::{last_hour, pools_read, used_read};
use super::{Metering, MeteringError};
use crate::plane::Plane;
use garrison_model::{DeviceId, Micros, Plan, Subscription, SubscriptionId, TRIAL_DAYS, TenantId, effective};
use serde::{Deserialize, Serialize};

/// Hours of a month: 365 days of 24 hours, divided by 12.
pub const MONTH_HOURS: i64 = 730;
/// Greatest time that is forecast: a year.
const HOURS_MAX: i64 = 8_784;

/// What a plan would cost a subscription. Amounts are decimal text with six places, null where a price is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Subscription.
    pub subscription_id: SubscriptionId,
    /// Plan that is asked about.
    pub plan: Plan,
    /// Plan set on the subscription now.
    pub present_plan: Option<Plan>,
    /// Currency.
    pub currency: Option<String>,
    /// Machines of the subscription.
    pub machines: i64,
    /// Of them, those whose state is billed now and that a plan would protect.
    pub billable_machines: i64,
    /// Of all machines, those whose own setting goes before the subscription's.
    pub own_plan_machines: i64,
    /// Hours that are forecast, from now on.
    pub hours: i64,
    /// Machine-hours in them, should the same machines stay billable.
    pub machine_hours: i64,
    /// Whether switching the plan on begins the trial.
    pub trial_begins: bool,
    /// Whole days that are left of the trial, rounded up.
    pub trial_days_left: i64,
    /// Of the machine-hours, those in the trial.
    pub trial_hours: i64,
    /// Owned seats that are free for these machines.
    pub seats: i64,
    /// Of the machine-hours after the trial, those that seats cover.
    pub offset: i64,
    /// Machine-hours that are billed.
    pub billed_hours: i64,
    /// Price of a machine-hour of the plan now.
    #[schema(value_type = Option<String>)]
    pub price_per_hour: Option<Money>,
    /// Cost of a day after the trial.
    #[schema(value_type = Option<String>)]
    pub per_day: Option<Money>,
    /// Cost of a month of 730 hours after the trial.
    #[schema(value_type = Option<String>)]
    pub per_month: Option<Money>,
    /// Cost of the hours that are forecast.
    #[schema(value_type = Option<String>)]
    pub cost: Option<Money>,
    /// Free ingest that the machines bring in a day.
    pub allowance_bytes_per_day: i64,
    /// What it rests on, sentence by sentence.
    pub words: Vec<String>,
    /// The same as one text.
    pub note: String,
}

/// Machines that one plan would protect.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    billable: i64,
    seats: i64,
    unit_micros: Option<i64>,
}

/// Machine-hours and money of the shares over so many hours, the first `trial` of them free; pure.
fn reckon(shares: &[Share], hours: i64, trial: i64) -> (i64, i64, Option<(Money, Money)>) {
    let after = (hours - trial).max(0);
    let (mut offset, mut billed, mut hourly) = (0, 0, Some(Money::default()));
    for share in shares.iter().filter(|s| s.billable > 0) {
        let covered = share.billable.min(share.seats);
        offset += covered * after;
        billed += (share.billable - covered) * after;
        hourly = match (hourly, share.unit_micros) {
            (Some(sum), Some(price)) => Some(sum + Money::of(share.billable - covered, price)),
            _ => None,
        };
    }
    (offset, billed, hourly.map(|h| (h, h.times(after))))
}

fn plural(n: i64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

fn trial_of(s: &Subscription, on: bool, now: Micros) -> Result<(bool, i64), MeteringError> {
    match &s.trial {
        None => Ok((on, if on { TRIAL_DAYS * 24 } else { 0 })),
        Some(trial) => {
            let ends: jiff::Timestamp = trial.ends.parse().map_err(|_| MeteringError::Stored)?;
            let left = (ends.as_microsecond() - now.0).max(0);
            Ok((false, (left + HOUR - 1) / HOUR))
        }
    }
}

impl Metering {
    /// What a plan would cost a subscription in the next hours (730 unless told otherwise). `connected` says whether a
    /// device's sensor is connected.
    pub async fn forecast(
        &self,
        plane: &Plane,
        tenant: &TenantId,
        (subscription, plan, hours): (&SubscriptionId, Plan, Option<i64>),
        connected: impl Fn(&DeviceId) -> bool,
        now: Micros,
    ) -> Result<Forecast, MeteringError> {
        let hours = hours.unwrap_or(MONTH_HOURS);
        if !(1..=HOURS_MAX).contains(&hours) {
            return Err(MeteringError::Hours);
        }
        let s = plane.subscription(tenant, subscription, now).await?;
        let sight = plane.sight(tenant, now).await?;
        let (mut machines, mut own_plan, mut silent) = (0, 0, 0);
        let mut billable = [0_i64; 2];
        plane
            .machines_walk(tenant, now, |m| {
                if m.resource_id.subscription != *subscription {
                    return;
                }
                machines += 1;
                let own = sight.own(&m.id);
                own_plan += i64::from(own.is_some());
                let sensor = m.device_id.as_ref().is_some_and(&connected);
                let billed = state(m.kind, m.power_state, m.state, sensor).is_some_and(|s| s.is_billed());
                match effective(Some(plan), own).plan {
                    Plan::Off => {}
                    _ if !billed => silent += 1,
                    Plan::P1 => billable[0] += 1,
                    Plan::P2 => billable[1] += 1,
                }
            })
            .await?;
        let prices = self.prices(tenant).await?;
        let hour = now.0.div_euclid(HOUR);
        let shares = [
            self.share(tenant, s.id.as_str(), Plan::P1, billable[0], hour, &prices).await?,
            self.share(tenant, s.id.as_str(), Plan::P2, billable[1], hour, &prices).await?,
        ];
        let on = billable.iter().sum::<i64>() > 0 || plan != Plan::Off;
        let (trial_begins, trial_left) = trial_of(&s, on, now)?;
        let all: i64 = billable.iter().sum();
        let trial = trial_left.min(hours);
        let (offset, billed_hours, money) = reckon(&shares, hours, trial);
        let money = money.filter(|_| prices.currency().is_some());
        let mut words = vec![format!(
            "{} of {} would be protected and billable as they are now.",
            plural(all, "machine"),
            machines
        )];
        if silent > 0 {
            words
                .push(format!("{} in a state that is not billed count once they are back.", plural(silent, "machine")));
        }
        if own_plan > 0 {
            words.push(format!("{} with a plan of their own keep it.", plural(own_plan, "machine")));
        }
        if trial_left > 0 && plan != Plan::Off {
            words.push(format!("The first {} are free: the trial.", plural(trial_left, "hour")));
        }
        let free = shares.iter().map(|s| s.billable.min(s.seats)).sum::<i64>();
        if free > 0 {
            words.push(format!("Owned seats cover {}.", plural(free, "machine")));
        }
        if money.is_none() && all > 0 {
            words.push("There is no price for these hours; add one with `garrison price-sheet add`.".to_owned());
        }
        let asked = if plan == Plan::P1 { shares[0] } else { shares[1] };
        Ok(Forecast {
            subscription_id: s.id.clone(),
            plan,
            present_plan: s.plan,
            currency: prices.currency().map(str::to_owned),
            machines,
            billable_machines: all,
            own_plan_machines: own_plan,
            hours,
            machine_hours: all * hours,
            trial_begins,
            trial_days_left: (trial_left + 23) / 24,
            trial_hours: all * trial,
            seats: shares.iter().map(|s| s.seats).sum(),
            offset,
            billed_hours,
            price_per_hour: asked.unit_micros.filter(|_| plan != Plan::Off).map(|m| Money(i128::from(m))),
            per_day: money.map(|(hourly, _)| hourly.times(24)),
            per_month: money.map(|(hourly, _)| hourly.times(MONTH_HOURS)),
            cost: money.map(|(_, cost)| cost),
            allowance_bytes_per_day: billable[1].saturating_mul(ALLOWANCE_BYTES),
            note: words.join(" "),
            words,
        })
    }

    /// Machines of one plan with the seats that are free for them: those of the pools that fit, without what machines
    /// of other subscriptions used in the last settled hour.
    async fn share(
        &self,
        tenant: &TenantId,
        subscription: &str,
        plan: Plan,
        billable: i64,
        hour: i64,
        prices: &super::prices::Prices,
    ) -> Result<Share, MeteringError> {
        let mut connection = self.db.pool().acquire().await?;
        let pools = pools_read(&mut connection, &self.db.seal(tenant), tenant.as_str(), false).await?;
        let used = match last_hour(&mut connection, tenant.as_str()).await? {
            Some(last) => used_read(&mut connection, tenant.as_str(), last, subscription).await?,
            None => std::collections::HashMap::new(),
        };
        let free = |p: &super::seats::Pool| (p.seats - used.get(&p.id).copied().unwrap_or(0)).max(0);
        let seats = pools.iter().filter(|p| billable > 0 && p.fits(plan, subscription, hour)).map(free).sum();
        Ok(Share { billable, seats, unit_micros: prices.at(Meter::Hour(plan), hour).map(|s| s.unit_micros) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_counts_what_neither_trial_nor_seats_cover() {
        let share = |billable, seats, price: i64| Share { billable, seats, unit_micros: Some(price) };
        // Ten machines, 700 of 730 hours in the trial, no seats.
        let (offset, billed, money) = reckon(&[share(10, 0, 20_548)], 730, 700);
        assert_eq!((offset, billed, money), (0, 300, Some((Money(205_480), Money(6_164_400)))));
        // Three of four are covered; a plan without machines needs no price.
        let none = Share::default();
        let (offset, billed, money) = reckon(&[none, share(4, 3, 10)], 100, 0);
        assert_eq!((offset, billed, money), (300, 100, Some((Money(10), Money(1_000)))));
        // More seats than machines; a trial longer than the time asked about.
        assert_eq!(reckon(&[share(2, 9, 10)], 100, 720), (0, 0, Some((Money(0), Money(0)))));
        // A price is missing.
        assert_eq!(reckon(&[Share { billable: 1, seats: 0, unit_micros: None }], 10, 0), (0, 10, None));
    }
}
