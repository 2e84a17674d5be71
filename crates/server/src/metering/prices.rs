//! Price sheets: what a protected hour costs, from when to when. What an hour was priced at never changes.

use super::hour::HOUR;
use super::money::{CURRENCIES, Money, gigabyte_price_read, hour_price_read};
use super::{Metering, MeteringError, hour_time, whole_hour};
use crate::db::{Sealer, WriteTx, columns};
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
    /// The sheet for which it was ended; empty where nobody did, or its end was given.
    ended_by: String,
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

    /// Where a sheet that was ended for another one ends without that one, and for which then: at the next sheet of its
    /// meter, or nowhere.
    fn end_without(&self, gone: &Sheet, goes_on: &Sheet) -> (Option<i64>, String) {
        let others = self.sheets.iter().filter(|s| s.meter == gone.meter && s.id != gone.id && s.from > goes_on.from);
        others.min_by_key(|s| s.from).map_or((None, String::new()), |next| (Some(next.from), next.id.clone()))
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

/// What has its price for good: how much, and the first hour or day of it. Hours count once they are in the ledger, in a
/// trial or under a seat too, since their list cost was told; days of ingest once they are over.
async fn priced(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    sheet: &Sheet,
    now: Micros,
) -> Result<Option<(i64, String)>, MeteringError> {
    let to = sheet.to.unwrap_or(i64::MAX);
    let row = match sheet.meter {
        Meter::Hour(plan) => {
            let sql = "SELECT COUNT(*) AS count, MIN(hour) AS first FROM metering_ledger \
                       WHERE tenant_id = $1 AND hour >= $2 AND hour < $3 AND plan = $4";
            sqlx::query(sql).bind(tenant.as_str()).bind(sheet.from).bind(to).bind(plan.as_str()).fetch_one(connection)
        }
        Meter::Ingest => {
            let sql = "SELECT COUNT(DISTINCT day) AS count, MIN(day) * 24 AS first FROM metering_ingest \
                       WHERE tenant_id = $1 AND day * 24 >= $2 AND day * 24 < $3 AND day < $4";
            let today = now.0.div_euclid(24 * HOUR);
            sqlx::query(sql).bind(tenant.as_str()).bind(sheet.from).bind(to).bind(today).fetch_one(connection)
        }
    };
    let row = row.await?;
    let first: Option<i64> = row.try_get("first")?;
    Ok(first.map(|first| Ok::<_, sqlx::Error>((row.try_get("count")?, hour_time(first)))).transpose()?)
}

fn sheet_read(seal: &Sealer, row: &sqlx::any::AnyRow) -> Result<Sheet, MeteringError> {
    Ok(Sheet {
        id: row.try_get("id")?,
        meter: Meter::read(&row.try_get::<String, _>("meter")?)?,
        currency: row.try_get("currency")?,
        unit_micros: row.try_get("unit_micros")?,
        from: row.try_get("valid_from")?,
        to: row.try_get("valid_to")?,
        ended_by: row.try_get("ended_by")?,
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
        let mut tx = self.write_alone().await?;
        let made = self.sheet_add(&mut tx, tenant, new, who, now).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Takes a price sheet back, as if it had never been: one that was ended for it goes on. Refused where a settled hour
    /// or an ended day has its price.
    pub async fn price_sheet_delete(&self, tenant: &TenantId, id: &str, now: Micros) -> Result<(), MeteringError> {
        let mut tx = self.write_alone().await?;
        self.sheet_remove(&mut tx, tenant, id, |_| false, now).await?;
        Ok(tx.commit().await?)
    }

    /// Puts a price sheet in the place of another one, both or neither; the last one may go for one in another currency.
    pub async fn price_sheet_replace(
        &self,
        tenant: &TenantId,
        id: &str,
        new: &PriceSheetNew,
        who: &str,
        now: Micros,
    ) -> Result<PriceSheet, MeteringError> {
        let mut tx = self.write_alone().await?;
        let from = whole_hour(new.valid_from.as_deref(), "validFrom")?;
        let meter = new.plan.map_or(Meter::Ingest, Meter::Hour);
        // Where the new one begins as the old one did, what was ended for that one stays ended, also in an hour that has
        // begun: it has the old one's price now.
        let follows = |old: &Sheet| old.meter == meter && from.is_none_or(|from| from == old.from);
        let old = self.sheet_remove(&mut tx, tenant, id, follows, now).await?;
        let valid_from = Some(hour_time(from.unwrap_or(old.from)));
        let made = self.sheet_add(&mut tx, tenant, &PriceSheetNew { valid_from, ..new.clone() }, who, now).await?;
        sqlx::query("UPDATE metering_prices SET ended_by = $1 WHERE tenant_id = $2 AND ended_by = $3")
            .bind(made.id.clone())
            .bind(tenant.as_str())
            .bind(old.id)
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        Ok(made)
    }

    async fn sheet_remove(
        &self,
        tx: &mut WriteTx,
        tenant: &TenantId,
        id: &str,
        follows: impl FnOnce(&Sheet) -> bool,
        now: Micros,
    ) -> Result<Sheet, MeteringError> {
        let prices = load(tx.conn(), &self.db.seal(tenant), tenant).await?;
        let sheet = prices.sheets.iter().find(|s| s.id == id).cloned().ok_or(MeteringError::SheetUnknown)?;
        if let Some((count, first)) = priced(tx.conn(), tenant, &sheet, now).await? {
            let what = match sheet.meter {
                Meter::Hour(_) => format!("{count} settled machine-hour(s)"),
                Meter::Ingest => format!("ingest of {count} day(s) that are over"),
            };
            return Err(MeteringError::PriceSettled { what, first });
        }
        let follows = follows(&sheet);
        for goes_on in prices.sheets.iter().filter(|s| !follows && s.ended_by == sheet.id) {
            let (to, ended_by) = prices.end_without(&sheet, goes_on);
            sqlx::query("UPDATE metering_prices SET valid_to = $1, ended_by = $2 WHERE tenant_id = $3 AND id = $4")
                .bind(to)
                .bind(ended_by)
                .bind(tenant.as_str())
                .bind(goes_on.id.clone())
                .execute(tx.conn())
                .await?;
        }
        sqlx::query("DELETE FROM metering_prices WHERE tenant_id = $1 AND id = $2")
            .bind(tenant.as_str())
            .bind(sheet.id.clone())
            .execute(tx.conn())
            .await?;
        Ok(sheet)
    }

    async fn sheet_add(
        &self,
        tx: &mut WriteTx,
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
        let prices = load(tx.conn(), &seal, tenant).await?;
        if prices.sheets.len() >= SHEETS_MAX {
            return Err(MeteringError::Price(format!("a tenant has at most {SHEETS_MAX} price sheets")));
        }
        if let Some(currency) = prices.currency().filter(|c| *c != new.currency) {
            return Err(MeteringError::Price(format!(
                "the prices of this tenant are in {currency}; sheets that have priced nothing settled can be taken back \
                 or replaced"
            )));
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
            ended_by: String::new(),
            created_by: who.to_owned(),
            created: now.0,
        };
        if let Some(before) = prices.place(&sheet, hour)? {
            sqlx::query("UPDATE metering_prices SET valid_to = $1, ended_by = $4 WHERE tenant_id = $2 AND id = $3")
                .bind(from)
                .bind(tenant.as_str())
                .bind(before)
                .bind(sheet.id.clone())
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
            ended_by: String::new(),
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

    #[test]
    fn a_sheet_goes_on_to_the_next_one_when_the_one_that_ended_it_is_taken_back() {
        let named = |from: i64, to, ended_by: &str| Sheet { ended_by: ended_by.to_owned(), ..sheet(P2, from, to) };
        let (a, b, c) = (named(10, Some(20), "20"), named(20, Some(30), "30"), named(30, None, ""));
        let of = |all: &[&Sheet]| Prices { sheets: all.iter().map(|s| (*s).clone()).collect() };
        assert_eq!(of(&[&a, &b, &c]).end_without(&b, &a), (Some(30), "30".to_owned()));
        assert_eq!(of(&[&a, &b]).end_without(&b, &a), (None, String::new()));
        let other = Sheet { meter: Meter::Ingest, ..sheet(P2, 25, None) };
        assert_eq!(of(&[&a, &b, &other]).end_without(&b, &a), (None, String::new()), "another meter ends nothing");
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
