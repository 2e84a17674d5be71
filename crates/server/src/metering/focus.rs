//! The ledger as a file of the FinOps Open Cost and Usage Specification (FOCUS) 1.0, as CSV or Parquet.
//!
//! A row is the hours of one machine in one day, under one plan and price, billed, in the trial or covered by one pool
//! of seats; ingest is a row or two a subscription and day. docs/reference/money.md has the meaning of each column.

pub mod check;
pub mod columns;
pub mod read;
pub mod write;

use super::cost::UsageBy;
use super::hour::HOUR;
use super::ingest::IngestLine;
use super::money::Money;
use super::prices::{Meter, Prices, Sheet};
use super::seats::{Pool, pools_read};
use super::{Metering, MeteringError, span};
use crate::plane::Plane;
use bytes::Bytes;
use columns::{Column as C, Row};
use garrison_model::{Micros, Plan, TenantId};
use sqlx::Row as _;
use std::collections::HashMap;
use tokio::sync::mpsc;
use write::{Format, Writer};

/// Who provides, publishes and bills.
const PROVIDER: &str = "Garrison";

/// What a machine is called in a file.
#[derive(Debug, Clone)]
struct Named {
    resource: String,
    name: String,
    tags: Option<String>,
}

/// What rows refer to.
#[derive(Debug)]
pub struct Book {
    tenant: String,
    region: Option<(String, String)>,
    currency: String,
    prices: Prices,
    pools: HashMap<String, Pool>,
    machines: HashMap<String, Named>,
    subscriptions: HashMap<String, String>,
    /// First hour, and the one after the last.
    span: (i64, i64),
}

/// Hours of one machine in one piece of a day.
#[derive(Debug)]
struct Hours {
    machine: String,
    subscription: String,
    plan: Plan,
    trial: bool,
    seat: String,
    hours: i64,
}

/// `2026-11-25T00:00:00Z`
fn time(hour: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(hour.saturating_mul(HOUR)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Beginning and end of the calendar month (UTC) that an hour lies in.
fn month(hour: i64) -> (String, String) {
    let text = time(hour);
    let number = |range| text.get(range).and_then(|t: &str| t.parse::<i64>().ok()).unwrap_or(0);
    let (year, month) = (number(0..4), number(5..7));
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    (format!("{year:04}-{month:02}-01T00:00:00Z"), format!("{next_year:04}-{next:02}-01T00:00:00Z"))
}

impl Book {
    fn row(&self, (from, to): (i64, i64), subscription: &str) -> Row {
        let (first, last) = month(from);
        let mut row = Row::default();
        row.set(C::BillingAccountId, &self.tenant)
            .set(C::BillingAccountName, &self.tenant)
            .set(C::BillingCurrency, &self.currency)
            .set(C::BillingPeriodStart, first)
            .set(C::BillingPeriodEnd, last)
            .set(C::ChargePeriodStart, time(from))
            .set(C::ChargePeriodEnd, time(to))
            .set(C::ChargeCategory, "Usage")
            .set(C::ChargeFrequency, "Usage-Based")
            .set(C::InvoiceIssuerName, PROVIDER)
            .set(C::ProviderName, PROVIDER)
            .set(C::PublisherName, PROVIDER)
            .set(C::ServiceCategory, "Security");
        if let Some((code, name)) = &self.region {
            row.set(C::RegionId, code).set(C::RegionName, name);
        }
        if !subscription.is_empty() {
            let name = self.subscriptions.get(subscription).map_or(subscription, String::as_str);
            row.set(C::SubAccountId, subscription).set(C::SubAccountName, name);
        }
        row
    }

    fn money(row: &mut Row, sheet: &Sheet, unit: (&str, &str), quantity: (String, i64), free: bool, covered: bool) {
        let list = Money::of(quantity.1, sheet.unit_micros);
        let zero = Money::default();
        // A pool of seats was paid for elsewhere; a trial and the allowance are a price of nothing.
        let contracted = if free { zero } else { list };
        let billed = if free || covered { zero } else { list };
        let factor = if unit.0 == "GB" { 1_000 } else { 1 };
        let price = Money(i128::from(sheet.unit_micros) * factor);
        row.set(C::PricingQuantity, &quantity.0)
            .set(C::PricingUnit, unit.0)
            .set(C::ConsumedQuantity, quantity.0)
            .set(C::ConsumedUnit, unit.1)
            .set(C::ListUnitPrice, price.to_string())
            .set(C::ListCost, list.to_string())
            .set(C::ContractedUnitPrice, if free { zero } else { price }.to_string())
            .set(C::ContractedCost, contracted.to_string())
            .set(C::BilledCost, billed.to_string())
            .set(C::EffectiveCost, billed.to_string())
            .set(C::SkuPriceId, &sheet.id);
    }

    fn hours(&self, piece: (i64, i64), h: &Hours) -> Option<Row> {
        let sheet = self.prices.at(Meter::Hour(h.plan), piece.0)?;
        let mut row = self.row(piece, &h.subscription);
        Self::money(&mut row, sheet, ("Hours", "Hours"), (h.hours.to_string(), h.hours), h.trial, !h.seat.is_empty());
        let category = match (h.trial, h.seat.is_empty()) {
            (true, _) => "Other",
            (_, false) => "Committed",
            _ => "Standard",
        };
        let known = self.machines.get(&h.machine);
        let name = known.map_or(&h.machine, |k| &k.name);
        let why = match category {
            "Other" => ", in the trial",
            "Committed" => ", covered by an owned seat",
            _ => "",
        };
        row.set(C::ChargeDescription, format!("{}: {} protected hour(s) of {name}{why}", h.plan.title(), h.hours))
            .set(C::PricingCategory, category)
            .set(C::ServiceName, "Garrison for Servers")
            .set(C::SkuId, format!("servers-{}", h.plan.as_str().to_lowercase()))
            .set(C::ResourceId, known.map_or(&h.machine, |k| &k.resource))
            .set(C::ResourceName, name)
            .set(C::ResourceType, "Server");
        if let Some(tags) = known.and_then(|k| k.tags.as_ref()) {
            row.set(C::Tags, tags);
        }
        if category == "Committed" {
            let note = self.pools.get(&h.seat).map_or("", Pool::note);
            row.set(C::CommitmentDiscountId, &h.seat)
                .set(C::CommitmentDiscountName, if note.is_empty() { "Owned seats" } else { note })
                .set(C::CommitmentDiscountCategory, "Usage")
                .set(C::CommitmentDiscountStatus, "Used")
                .set(C::CommitmentDiscountType, "Owned seats");
        }
        Some(row)
    }

    /// The free part and the billed part of a day's ingest, where ingest has a price.
    fn ingest(&self, day: i64, line: &IngestLine) -> Vec<Row> {
        let Some(sheet) = self.prices.at(Meter::Ingest, day * 24) else { return Vec::new() };
        let subscription = line.subscription_id.as_ref().map_or("", |s| s.as_str());
        let parts = [(line.free_bytes / 1_000_000, true), (line.billed_megabytes, false)];
        let rows = parts.into_iter().filter(|(megabytes, _)| *megabytes > 0).map(|(megabytes, free)| {
            let mut row = self.row((day * 24, day * 24 + 24), subscription);
            let quantity = format!("{}.{:03}", megabytes / 1_000, megabytes % 1_000);
            let words = if free { "free ingest of Servers Plan 2" } else { "ingest beyond the free allowance" };
            Self::money(&mut row, sheet, ("GB", "GB"), (quantity, megabytes), free, false);
            row.set(C::ChargeDescription, words)
                .set(C::PricingCategory, if free { "Other" } else { "Standard" })
                .set(C::ServiceName, "Garrison Ingest")
                .set(C::SkuId, "ingest");
            row
        });
        rows.collect()
    }
}

impl Metering {
    /// What an export of a span refers to. Refused where hours have no price: a file without them would lie.
    pub async fn focus_open(
        &self,
        plane: &Plane,
        tenant: &TenantId,
        (from, to): (Micros, Micros),
        now: Micros,
    ) -> Result<Book, MeteringError> {
        let span = span(from, to)?;
        for line in self.usage(tenant, from, to, UsageBy::Day).await? {
            // Free hours need a price as well: the specification wants the list price of all usage.
            let missing = self.unpriced(&line);
            if missing > 0 {
                return Err(MeteringError::PriceMissing { hours: missing, day: line.key });
            }
        }
        let prices = self.prices(tenant).await?;
        let mut machines = HashMap::new();
        plane
            .machines_walk(tenant, now, |m| {
                let tags = (!m.tags.is_empty()).then(|| serde_json::to_string(&m.tags).ok()).flatten();
                let named = Named { resource: m.resource_id.to_string(), name: m.name.as_str().to_owned(), tags };
                machines.insert(m.id.as_str().to_owned(), named);
            })
            .await?;
        let subscriptions = plane.subscriptions(tenant, now).await?;
        let region = match plane.tenant(tenant).await {
            Ok(found) => {
                let name = plane.geographies().get(&found.geography)?.name.clone();
                Some((found.geography.to_string(), name))
            }
            Err(crate::plane::PlaneError::Unknown(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let pools =
            pools_read(&mut *self.db.pool().acquire().await?, &self.db.seal(tenant), tenant.as_str(), true).await?;
        Ok(Book {
            tenant: tenant.as_str().to_owned(),
            region,
            currency: prices.currency().unwrap_or("XXX").to_owned(),
            prices,
            pools: pools.into_iter().map(|p| (p.id.clone(), p)).collect(),
            machines,
            subscriptions: subscriptions.into_iter().map(|s| (s.id.as_str().to_owned(), s.name)).collect(),
            span,
        })
    }

    fn unpriced(&self, line: &super::UsageLine) -> i64 {
        if line.currency.is_none() { line.hours } else { line.unpriced_hours + line.unpriced_free_hours }
    }

    /// Writes the rows, day by day, until there are no more or nobody listens. An error in the middle ends the stream
    /// with an error, so that the transfer is seen to be broken.
    pub async fn focus_write(
        &self,
        tenant: &TenantId,
        book: Book,
        format: Format,
        sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
    ) {
        if let Err(error) = self.focus_days(tenant, &book, format, &sender).await {
            tracing::error!(%error, "an export of usage failed");
            let _ = sender.send(Err(std::io::Error::other("the export failed"))).await;
        }
    }

    async fn focus_days(
        &self,
        tenant: &TenantId,
        book: &Book,
        format: Format,
        sender: &mpsc::Sender<Result<Bytes, std::io::Error>>,
    ) -> Result<(), MeteringError> {
        let mut writer = Writer::new(format)?;
        let (first, last) = book.span;
        let mut from = first;
        while from < last {
            let day = from.div_euclid(24);
            let to = last.min(day * 24 + 24);
            let mut rows = Vec::new();
            for piece in book.prices.pieces(from, to) {
                let hours = self.focus_hours(tenant, piece).await?;
                rows.extend(hours.iter().filter_map(|h| book.hours(piece, h)));
            }
            let moment = |hour: i64| Micros(hour.saturating_mul(HOUR));
            for line in self.ingest(tenant, moment(from), moment(to)).await? {
                rows.extend(book.ingest(day, &line));
            }
            let part = writer.rows(&rows)?;
            if !part.is_empty() && sender.send(Ok(part.into())).await.is_err() {
                return Ok(());
            }
            from = to;
        }
        let _ = sender.send(Ok(writer.tail()?.into())).await;
        Ok(())
    }

    async fn focus_hours(&self, tenant: &TenantId, (from, to): (i64, i64)) -> Result<Vec<Hours>, MeteringError> {
        let rows = sqlx::query(
            "SELECT machine_id, subscription_id, plan, trial, seat_id, COUNT(*) AS n FROM metering_ledger \
             WHERE tenant_id = $1 AND hour >= $2 AND hour < $3 \
             GROUP BY machine_id, subscription_id, plan, trial, seat_id \
             ORDER BY machine_id, subscription_id, plan, trial, seat_id",
        )
        .bind(tenant.as_str())
        .bind(from)
        .bind(to)
        .fetch_all(self.db.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Hours {
                    machine: row.try_get("machine_id")?,
                    subscription: row.try_get("subscription_id")?,
                    plan: row.try_get::<String, _>("plan")?.parse().map_err(|_| MeteringError::Stored)?,
                    trial: row.try_get::<i64, _>("trial")? != 0,
                    seat: row.try_get("seat_id")?,
                    hours: row.try_get("n")?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
