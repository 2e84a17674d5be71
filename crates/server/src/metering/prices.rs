//! Price sheets: what a protected hour costs, from when to when. What an hour was priced at never changes.

use super::hour::HOUR;
use super::money::{CURRENCIES, Money, gigabyte_price_read, hour_price_read};
use super::{Metering, MeteringError, hour_time, whole_hour};
use crate::db::{Sealer, columns};
use crate::shared::rfc3339;
use garrison_model::{Micros, Plan, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

/// Price sheets of a tenant: two plans and ingest, a new price each month for more than twenty years.
const SHEETS_MAX: usize = 1_000;

/// What has a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Meter {
    /// A machine-hour under this plan.
    Hour(Plan),
    /// A megabyte taken in beyond the allowance.
    Ingest,
}

impl Meter {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hour(plan) => plan.as_str(),
            Self::Ingest => "Ingest",
        }
    }

    fn read(text: &str) -> Result<Self, MeteringError> {
        if text == "Ingest" {
            return Ok(Self::Ingest);
        }
        text.parse().map(Self::Hour).map_err(|_| MeteringError::Stored)
    }
}

/// A new price sheet: `plan` with `pricePerHour`, or `pricePerGb` alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriceSheetNew {
    /// Plan whose hours it prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Currency (ISO 4217); a tenant has one.
    pub currency: String,
    /// Price of a machine-hour: decimal text, at most six places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<String>,
    /// Price of a gigabyte (10^9 bytes) taken in beyond the allowance: decimal text, at most three places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_gb: Option<String>,
    /// First hour, RFC 3339, rounded down; the present hour unless given, the next one where a sheet is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// Hour in which it ends; open unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<String>,
}

/// A price sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceSheet {
    /// Id.
    pub id: String,
    /// Plan whose hours it prices; null for ingest.
    pub plan: Option<Plan>,
    /// Currency.
    pub currency: String,
    /// Price of a machine-hour.
    pub price_per_hour: Option<String>,
    /// Price of a gigabyte taken in beyond the allowance.
    pub price_per_gb: Option<String>,
    /// First hour, RFC 3339.
    pub valid_from: String,
    /// The hour in which it no longer holds; null where it is open.
    pub valid_to: Option<String>,
    /// Whether it is in force now.
    pub in_force: bool,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_time: String,
}

/// A sheet as it is reckoned with: hours counted from 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// Id.
    pub id: String,
    /// What it prices.
    pub meter: Meter,
    /// Currency.
    pub currency: String,
    /// Millionths a unit.
    pub unit_micros: i64,
    /// First hour.
    pub from: i64,
    /// First hour after it.
    pub to: Option<i64>,
    created_by: String,
    created: i64,
}

impl Sheet {
    fn holds(&self, hour: i64) -> bool {
        self.from <= hour && self.to.is_none_or(|to| hour < to)
    }

    fn view(&self, now: i64) -> PriceSheet {
        let price = |places: i64| {
            let text = Money(i128::from(self.unit_micros) * i128::from(places)).to_string();
            Some(if places == 1 { text } else { text.get(..text.len() - 3).unwrap_or_default().to_owned() })
        };
        let plan = match self.meter {
            Meter::Hour(plan) => Some(plan),
            Meter::Ingest => None,
        };
        PriceSheet {
            id: self.id.clone(),
            currency: self.currency.clone(),
            price_per_hour: plan.and_then(|_| price(1)),
            price_per_gb: if plan.is_none() { price(1_000) } else { None },
            plan,
            valid_from: hour_time(self.from),
            valid_to: self.to.map(hour_time),
            in_force: self.holds(now),
            created_by: self.created_by.clone(),
            created_time: rfc3339(Micros(self.created)),
        }
    }
}

/// All prices of a tenant.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    sheets: Vec<Sheet>,
}

impl Prices {
    /// The currency, once there is a price.
    pub fn currency(&self) -> Option<&str> {
        self.sheets.first().map(|s| s.currency.as_str())
    }

    /// The sheet in force in an hour.
    pub fn at(&self, meter: Meter, hour: i64) -> Option<&Sheet> {
        self.sheets.iter().find(|s| s.meter == meter && s.holds(hour))
    }

    /// Hours from `first` to before `last`, cut where any price changes: within a piece every price is one.
    pub fn pieces(&self, first: i64, last: i64) -> Vec<(i64, i64)> {
        let mut cuts: Vec<i64> = self.sheets.iter().flat_map(|s| [Some(s.from), s.to]).flatten().collect();
        cuts.retain(|cut| (first + 1..last).contains(cut));
        cuts.extend([first, last]);
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|w| (w[0], w[1])).collect()
    }

    /// What taking in a sheet comes to: the sheet that ends for it, if one does. Prices of hours that have begun stay.
    fn place(&self, new: &Sheet, now: i64) -> Result<Option<String>, MeteringError> {
        let mut ends = None;
        for old in self.sheets.iter().filter(|s| s.meter == new.meter) {
            let apart = old.to.is_some_and(|to| to <= new.from) || new.to.is_some_and(|to| to <= old.from);
            if apart {
                continue;
            }
            // Only one that began before can make room, and only in hours that have not begun.
            if old.from < new.from && new.from > now && old.to.is_none() {
                ends = Some(old.id.clone());
                continue;
            }
            return Err(MeteringError::PriceOverlap {
                from: hour_time(old.from),
                to: old.to.map_or_else(|| "an open end".to_owned(), hour_time),
            });
        }
        Ok(ends)
    }
}

fn sheet_read(seal: &Sealer, row: &sqlx::any::AnyRow) -> Result<Sheet, MeteringError> {
    Ok(Sheet {
        id: row.try_get("id")?,
        meter: Meter::read(&row.try_get::<String, _>("meter")?)?,
        currency: row.try_get("currency")?,
        unit_micros: row.try_get("unit_micros")?,
        from: row.try_get("valid_from")?,
        to: row.try_get("valid_to")?,
        created_by: seal.get(row, columns::PRICE_AUTHOR)?,
        created: row.try_get("created")?,
    })
}

async fn load(connection: &mut AnyConnection, seal: &Sealer, tenant: &TenantId) -> Result<Prices, MeteringError> {
    let rows = sqlx::query("SELECT * FROM metering_prices WHERE tenant_id = $1 ORDER BY meter, valid_from, id")
        .bind(tenant.as_str())
        .fetch_all(connection)
        .await?;
    Ok(Prices { sheets: rows.iter().map(|row| sheet_read(seal, row)).collect::<Result<_, _>>()? })
}

impl Metering {
    /// All prices of a tenant.
    pub async fn prices(&self, tenant: &TenantId) -> Result<Prices, MeteringError> {
        load(&mut *self.db.pool().acquire().await?, &self.db.seal(tenant), tenant).await
    }

    /// All price sheets, by plan and time.
    pub async fn price_sheets(&self, tenant: &TenantId, now: Micros) -> Result<Vec<PriceSheet>, MeteringError> {
        let prices = self.prices(tenant).await?;
        Ok(prices.sheets.iter().map(|s| s.view(now.0.div_euclid(HOUR))).collect())
    }

    /// Takes a price sheet in. An open one of the same meter ends where it begins; other overlaps are refused, and so is
    /// whatever would change the price of an hour that has begun.
    pub async fn price_sheet_create(
        &self,
        tenant: &TenantId,
        new: &PriceSheetNew,
        who: &str,
        now: Micros,
    ) -> Result<PriceSheet, MeteringError> {
        let refuse = |words: &str| MeteringError::Price(words.to_owned());
        let (meter, unit_micros) = match (new.plan, &new.price_per_hour, &new.price_per_gb) {
            (Some(plan @ (Plan::P1 | Plan::P2)), Some(price), None) => {
                let micros = hour_price_read(price).ok_or_else(|| {
                    refuse("`pricePerHour` must be decimal text from 0 to 1000000 with at most six places")
                })?;
                (Meter::Hour(plan), micros)
            }
            (None, None, Some(price)) => {
                let micros = gigabyte_price_read(price).ok_or_else(|| {
                    refuse("`pricePerGb` must be decimal text from 0 to 1000000 with at most three places")
                })?;
                (Meter::Ingest, micros)
            }
            _ => return Err(refuse("give `plan` (P1 or P2) with `pricePerHour`, or `pricePerGb` alone")),
        };
        if CURRENCIES.binary_search(&new.currency.as_str()).is_err() {
            return Err(refuse("`currency` must be a code of ISO 4217, such as EUR"));
        }
        let hour = now.0.div_euclid(HOUR);
        let seal = self.db.seal(tenant);
        let mut tx = self.write_alone().await?;
        let prices = load(tx.conn(), &seal, tenant).await?;
        if prices.sheets.len() >= SHEETS_MAX {
            return Err(MeteringError::Price(format!("a tenant has at most {SHEETS_MAX} price sheets")));
        }
        if let Some(currency) = prices.currency().filter(|c| *c != new.currency) {
            return Err(MeteringError::Price(format!("the prices of this tenant are in {currency}")));
        }
        let otherwise = hour + i64::from(prices.at(meter, hour).is_some());
        let from = whole_hour(new.valid_from.as_deref(), "validFrom")?.unwrap_or(otherwise);
        let to = whole_hour(new.valid_to.as_deref(), "validTo")?;
        if to.is_some_and(|to| to <= from) {
            return Err(refuse("`validTo` must be after `validFrom`"));
        }
        let sheet = Sheet {
            id: uuid::Uuid::new_v4().to_string(),
            meter,
            currency: new.currency.clone(),
            unit_micros,
            from,
            to,
            created_by: who.to_owned(),
            created: now.0,
        };
        if let Some(before) = prices.place(&sheet, hour)? {
            sqlx::query("UPDATE metering_prices SET valid_to = $1 WHERE tenant_id = $2 AND id = $3")
                .bind(from)
                .bind(tenant.as_str())
                .bind(before)
                .execute(tx.conn())
                .await?;
        }
        sqlx::query(
            "INSERT INTO metering_prices (tenant_id, id, meter, currency, unit_micros, valid_from, valid_to, created_by, \
             created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(tenant.as_str())
        .bind(sheet.id.clone())
        .bind(meter.as_str())
        .bind(sheet.currency.clone())
        .bind(unit_micros)
        .bind(from)
        .bind(to)
        .bind(seal.put(columns::PRICE_AUTHOR, who)?)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(sheet.view(hour))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Open sheets at these prices.
    pub fn prices(all: &[(Meter, i64)]) -> Prices {
        let open = |(meter, price): &(Meter, i64)| Sheet { unit_micros: *price, ..sheet(*meter, 0, None) };
        Prices { sheets: all.iter().map(open).collect() }
    }

    fn sheet(meter: Meter, from: i64, to: Option<i64>) -> Sheet {
        Sheet {
            id: format!("{from}"),
            meter,
            currency: "EUR".to_owned(),
            unit_micros: from,
            from,
            to,
            created_by: String::new(),
            created: 0,
        }
    }

    const P2: Meter = Meter::Hour(Plan::P2);

    #[test]
    fn a_price_is_the_one_of_its_hour() {
        let prices =
            Prices { sheets: vec![sheet(P2, 10, Some(20)), sheet(P2, 20, None), sheet(Meter::Ingest, 15, None)] };
        for (hour, price) in [(9, None), (10, Some(10)), (19, Some(10)), (20, Some(20)), (1_000, Some(20))] {
            assert_eq!(prices.at(P2, hour).map(|s| s.unit_micros), price, "{hour}");
        }
        assert_eq!(prices.at(Meter::Hour(Plan::P1), 12), None);
        assert_eq!(prices.pieces(5, 25), [(5, 10), (10, 15), (15, 20), (20, 25)]);
        assert_eq!(prices.pieces(10, 12), [(10, 12)]);
    }

    #[test]
    fn a_new_sheet_ends_an_open_one_and_changes_no_hour_that_has_begun() {
        let prices = Prices { sheets: vec![sheet(P2, 10, None)] };
        assert_eq!(prices.place(&sheet(P2, 31, None), 30).unwrap(), Some("10".to_owned()));
        assert_eq!(prices.place(&sheet(Meter::Ingest, 5, None), 30).unwrap(), None);
        assert_eq!(prices.place(&sheet(P2, 1, Some(10)), 30).unwrap(), None, "hours without a price may get one");
        for late in [sheet(P2, 30, None), sheet(P2, 12, None), sheet(P2, 1, Some(11)), sheet(P2, 10, None)] {
            assert!(matches!(prices.place(&late, 30), Err(MeteringError::PriceOverlap { .. })), "{late:?}");
        }
        let closed = Prices { sheets: vec![sheet(P2, 10, Some(40))] };
        assert!(closed.place(&sheet(P2, 35, None), 30).is_err(), "an end that was set stays");
        assert_eq!(closed.place(&sheet(P2, 40, None), 30).unwrap(), None);
    }

    proptest! {
        #[test]
        fn within_a_piece_every_price_is_one(bounds in prop::collection::vec(0_i64..60, 0..6), first in 0_i64..30) {
            let mut sorted = bounds.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let sheets = sorted.windows(2).step_by(2).map(|w| sheet(P2, w[0], Some(w[1]))).collect();
            let prices = Prices { sheets };
            let pieces = prices.pieces(first, first + 40);
            prop_assert_eq!(pieces.first().unwrap().0, first);
            prop_assert_eq!(pieces.last().unwrap().1, first + 40);
            for (from, to) in pieces {
                let price = prices.at(P2, from).map(|s| s.unit_micros);
                prop_assert!((from..to).all(|hour| prices.at(P2, hour).map(|s| s.unit_micros) == price));
            }
        }
    }
}
