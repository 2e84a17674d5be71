//! What protected hours cost: the ledger's rows at the price that was in force in each hour.

use super::hour::HOUR;
use super::money::Money;
use super::prices::{Meter, Prices};
use super::{Metering, MeteringError, day_text, span};
use crate::plane::Plane;
use garrison_model::{Micros, Plan, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::{BTreeMap, HashMap};

/// Lines of a usage report.
pub(super) const LINES_MAX: usize = 10_000;

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

impl UsageBy {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Subscription => "subscription",
            Self::Machine => "machine",
            Self::Plan => "plan",
        }
    }
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
    /// Of them, covered by owned seats.
    pub offset_hours: i64,
    /// Of them, billed: all others.
    pub billed_hours: i64,
    /// Of the billed ones, those for which no price sheet was in force.
    pub unpriced_hours: i64,
    /// Of those in a trial or under seats, those for which none was: the list cost lacks them.
    #[serde(default)]
    pub unpriced_free_hours: i64,
    /// What all hours with a price would cost without trial and seats.
    #[schema(value_type = String)]
    pub list_cost: Money,
    /// Millionths of the currency that the billed hours cost; null where there is no price sheet.
    pub cost_micros: Option<i64>,
    /// The same as decimal text with six places.
    #[schema(value_type = Option<String>)]
    pub cost: Option<Money>,
    /// Currency; null where there is no price sheet.
    pub currency: Option<String>,
}

/// What usage costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostReport {
    /// Currency; null where there is no price sheet.
    pub currency: Option<String>,
    /// Lines, by key.
    pub items: Vec<CostLine>,
    /// What was taken in beyond the allowance.
    pub ingest: IngestCost,
    /// Machine-hours that have begun and are in no line yet: an hour is settled two minutes after its end.
    #[serde(default)]
    pub running_hours: i64,
    /// Cost of all lines and of ingest: decimal text with six places.
    #[schema(value_type = String)]
    pub total: Money,
}

/// A line of it. Amounts are decimal text with six places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostLine {
    /// Day, subscription, machine or plan.
    pub key: String,
    /// The same for people; the key where the thing is gone.
    pub name: String,
    /// Machine-hours.
    pub units: i64,
    /// Of them, in a trial.
    pub trial: i64,
    /// Of them, covered by owned seats.
    pub offset: i64,
    /// Of the others, those without a price.
    pub unpriced: i64,
    /// Of those in a trial or under seats, those without a price: the list cost lacks them.
    #[serde(default)]
    pub unpriced_free: i64,
    /// What all hours would cost without trial and seats.
    #[schema(value_type = String)]
    pub list_cost: Money,
    /// What they cost.
    #[schema(value_type = String)]
    pub cost: Money,
}

/// Cost of ingest in the days that a report touches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngestCost {
    /// Whole megabytes that are billed.
    pub megabytes: i64,
    /// What they cost.
    #[schema(value_type = String)]
    pub cost: Money,
}

/// Hours of one key, plan and price.
#[derive(Debug, Clone, Copy, Default)]
struct Hours {
    all: i64,
    trial: i64,
    offset: i64,
}

#[derive(Debug, Default)]
struct Sum {
    hours: Hours,
    unpriced: i64,
    unpriced_free: i64,
    list: Money,
    cost: Money,
}

impl Sum {
    fn add(&mut self, hours: Hours, unit_micros: Option<i64>) {
        let billed = hours.all - hours.trial - hours.offset;
        self.hours.all += hours.all;
        self.hours.trial += hours.trial;
        self.hours.offset += hours.offset;
        match unit_micros {
            Some(price) => {
                self.list += Money::of(hours.all, price);
                self.cost += Money::of(billed, price);
            }
            None => {
                self.unpriced += billed;
                self.unpriced_free += hours.trial + hours.offset;
            }
        }
    }

    fn line(self, key: String, plan: Plan, prices: &Prices) -> UsageLine {
        let currency = prices.currency().map(str::to_owned);
        let cost = currency.as_ref().map(|_| self.cost);
        UsageLine {
            key,
            plan,
            hours: self.hours.all,
            trial_hours: self.hours.trial,
            offset_hours: self.hours.offset,
            billed_hours: self.hours.all - self.hours.trial - self.hours.offset,
            unpriced_hours: self.unpriced,
            unpriced_free_hours: self.unpriced_free,
            list_cost: self.list,
            cost_micros: cost.and_then(|c| i64::try_from(c.0).ok()),
            cost,
            currency,
        }
    }
}

impl Metering {
    /// Machine-hours of a tenant between two moments, both rounded down to the hour, with what they cost.
    pub async fn usage(
        &self,
        tenant: &TenantId,
        from: Micros,
        to: Micros,
        by: UsageBy,
    ) -> Result<Vec<UsageLine>, MeteringError> {
        let (first, last) = span(from, to)?;
        let prices = self.prices(tenant).await?;
        let mut sums: BTreeMap<(Key, Plan), Sum> = BTreeMap::new();
        for (from, to) in prices.pieces(first, last) {
            for (key, plan, hours) in self.hours_read(tenant, from, to, by).await? {
                let price = prices.at(Meter::Hour(plan), from).map(|s| s.unit_micros);
                sums.entry((key, plan)).or_default().add(hours, price);
            }
            if sums.len() > LINES_MAX {
                return Err(MeteringError::TooLong);
            }
        }
        Ok(sums.into_iter().map(|((key, plan), sum)| sum.line(key.text(), plan, &prices)).collect())
    }

    async fn hours_read(
        &self,
        tenant: &TenantId,
        from: i64,
        to: i64,
        by: UsageBy,
    ) -> Result<Vec<(Key, Plan, Hours)>, MeteringError> {
        let column = match by {
            UsageBy::Day => "hour / 24",
            UsageBy::Subscription => "subscription_id",
            UsageBy::Machine => "machine_id",
            UsageBy::Plan => "plan",
        };
        let sql = format!(
            "SELECT CAST({column} AS TEXT) AS label, plan, COUNT(*) AS hours, CAST(SUM(trial) AS BIGINT) AS trials, \
             CAST(SUM(CASE WHEN seat_id <> '' THEN 1 ELSE 0 END) AS BIGINT) AS offsets \
             FROM metering_ledger WHERE tenant_id = $1 AND hour >= $2 AND hour < $3 \
             GROUP BY {column}, plan ORDER BY {column}, plan LIMIT $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(from)
            .bind(to)
            .bind(LINES_MAX as i64 + 1)
            .fetch_all(self.db.pool())
            .await?;
        rows.iter()
            .map(|row| {
                let (label, plan): (String, String) = (row.try_get("label")?, row.try_get("plan")?);
                let key = match by {
                    UsageBy::Day => Key::Day(label.parse().map_err(|_| MeteringError::Stored)?),
                    _ => Key::Name(label),
                };
                let hours = Hours {
                    all: row.try_get("hours")?,
                    trial: row.try_get("trials")?,
                    offset: row.try_get("offsets")?,
                };
                Ok((key, plan.parse().map_err(|_| MeteringError::Stored)?, hours))
            })
            .collect()
    }

    /// The same as a bill: plans summed, names beside the keys, ingest added.
    pub async fn cost(
        &self,
        plane: &Plane,
        tenant: &TenantId,
        (from, to): (Micros, Micros),
        by: UsageBy,
        now: Micros,
    ) -> Result<CostReport, MeteringError> {
        let lines = self.usage(tenant, from, to, by).await?;
        let names = names(plane, tenant, by, now).await?;
        let mut items: Vec<CostLine> = Vec::new();
        for line in lines {
            if items.last().is_none_or(|last| last.key != line.key) {
                let name = names.get(&line.key).cloned().unwrap_or_else(|| match by {
                    UsageBy::Plan => line.plan.title().to_owned(),
                    _ => line.key.clone(),
                });
                let (list_cost, cost) = Default::default();
                let key = line.key.clone();
                let (trial, offset, unpriced, unpriced_free) = Default::default();
                items.push(CostLine { key, name, units: 0, trial, offset, unpriced, unpriced_free, list_cost, cost });
            }
            let Some(item) = items.last_mut() else { continue };
            item.units += line.hours;
            item.trial += line.trial_hours;
            item.offset += line.offset_hours;
            item.unpriced += line.unpriced_hours;
            item.unpriced_free += line.unpriced_free_hours;
            item.list_cost += line.list_cost;
            item.cost += line.cost.unwrap_or_default();
        }
        let mut ingest = IngestCost::default();
        for line in self.ingest(tenant, from, to).await? {
            if let Some(cost) = line.cost {
                ingest.megabytes += line.billed_megabytes;
                ingest.cost += cost;
            }
        }
        let total = items.iter().map(|i| i.cost).sum::<Money>() + ingest.cost;
        let currency = self.prices(tenant).await?.currency().map(str::to_owned);
        let running_hours = self.running_hours(tenant, (from, to)).await?;
        Ok(CostReport { currency, items, ingest, running_hours, total })
    }

    /// Machine-hours with a mark that are not settled: every mark is billable.
    async fn running_hours(&self, tenant: &TenantId, (from, to): (Micros, Micros)) -> Result<i64, MeteringError> {
        let sql = "SELECT COUNT(*) AS hours FROM (SELECT DISTINCT machine_id, hour FROM metering_marks \
                   WHERE tenant_id = $1 AND hour >= $2 AND hour <= $3) AS begun";
        let row = sqlx::query(sql)
            .bind(tenant.as_str())
            .bind(from.0.div_euclid(HOUR))
            // The hour in which the span ends has begun too.
            .bind(to.0.saturating_sub(1).div_euclid(HOUR))
            .fetch_one(self.db.pool())
            .await?;
        Ok(row.try_get("hours")?)
    }
}

/// A key that sorts as people expect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Day(i64),
    Name(String),
}

impl Key {
    fn text(self) -> String {
        match self {
            Self::Day(day) => day_text(day),
            Self::Name(name) => name,
        }
    }
}

async fn names(
    plane: &Plane,
    tenant: &TenantId,
    by: UsageBy,
    now: Micros,
) -> Result<HashMap<String, String>, MeteringError> {
    let mut names = HashMap::new();
    match by {
        UsageBy::Day | UsageBy::Plan => {}
        UsageBy::Subscription => {
            for s in plane.subscriptions(tenant, now).await? {
                names.insert(s.id.as_str().to_owned(), s.name);
            }
        }
        UsageBy::Machine => {
            let take = |m: garrison_model::Machine| {
                names.insert(m.id.as_str().to_owned(), m.name.as_str().to_owned());
            };
            plane.machines_walk(tenant, now, take).await?;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn billed_hours_are_those_in_no_trial_and_under_no_seat() {
        let mut sum = Sum::default();
        sum.add(Hours { all: 10, trial: 3, offset: 2 }, Some(20_550));
        sum.add(Hours { all: 6, trial: 2, offset: 1 }, None);
        let line = sum.line("k".to_owned(), Plan::P2, &Prices::default());
        assert_eq!((line.hours, line.trial_hours, line.offset_hours, line.billed_hours), (16, 5, 3, 8));
        assert_eq!((line.unpriced_hours, line.unpriced_free_hours), (3, 3));
        assert_eq!((line.list_cost, line.cost), (Money(205_500), None));
    }
}
