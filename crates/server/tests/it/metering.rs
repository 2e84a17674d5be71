//! Metering on a clock that moves: one suite, run on SQLite and on PostgreSQL.

use crate::core_postgres::Postgres;
use garrison_model::{MachineId, MachineKind, Micros, Plan, PowerState, SubscriptionId, TenantId};
use garrison_server::db::Db;
use garrison_server::metering::hour::{HOUR, MINUTE};
use garrison_server::metering::{Metering, SETTLE_AFTER, UsageBy};
use garrison_server::plane::{Geographies, Heartbeat, MachineConnect, Plane};
use serde_json::json;
use sqlx::Row as _;

/// A whole hour in November 2026.
const START: i64 = 495_000 * HOUR;
const FIRST: &str = "0f1e2d3c-0000-4000-8000-000000000001";
const SECOND: &str = "0f1e2d3c-0000-4000-8000-000000000002";

struct House {
    db: Db,
    plane: Plane,
    metering: Metering,
    tenant: TenantId,
}

impl House {
    async fn open(db: Db) -> Self {
        let plane = Plane::open(db.clone(), Geographies::default()).await.unwrap();
        let house = Self { metering: Metering::new(db.clone()), plane, db, tenant: TenantId::first() };
        for (id, name) in [(FIRST, "One"), (SECOND, "Two")] {
            let new = json!({"id": id, "name": name, "location": "eu"});
            let mut change = house.plane.change(&house.tenant, "test", Micros(0)).await.unwrap();
            change.subscription_put(&serde_json::from_value(new).unwrap()).await.unwrap();
            change.commit().await.unwrap();
        }
        house
    }

    async fn connect(&self, kind: MachineKind, name: &str, now: i64) -> MachineId {
        let new: MachineConnect =
            serde_json::from_value(json!({"resourceId": place(FIRST, name), "kind": kind})).unwrap();
        let mut change = self.plane.change(&self.tenant, "test", Micros(now)).await.unwrap();
        let made = change.machine_connect(&new).await.unwrap();
        change.commit().await.unwrap();
        made.id
    }

    async fn beat(&self, id: &MachineId, power: Option<PowerState>, now: i64) {
        let mut change = self.plane.change(&self.tenant, "test", Micros(now)).await.unwrap();
        let beat = Heartbeat { power_state: power, ..Heartbeat::default() };
        change.machine_heartbeat(id, &beat).await.unwrap();
        change.commit().await.unwrap();
    }

    async fn plan(&self, plan: Plan, now: i64) {
        let id = SubscriptionId::new(FIRST).unwrap();
        let mut change = self.plane.change(&self.tenant, "test", Micros(now)).await.unwrap();
        change.plan_set(&id, plan, None).await.unwrap();
        change.commit().await.unwrap();
    }

    async fn sample(&self, now: i64) {
        self.metering.sample(&self.plane, &self.tenant, |_| false, Micros(now)).await.unwrap();
    }

    /// Hours of all time as (key, plan, hours, of them in the trial).
    async fn usage(&self, by: UsageBy) -> Vec<(String, Plan, i64, i64)> {
        let (from, to) = (Micros(START - 24 * HOUR), Micros(START + 200 * 24 * HOUR));
        let lines = self.metering.usage(&self.tenant, from, to, by).await.unwrap();
        lines.into_iter().map(|l| (l.key, l.plan, l.hours, l.trial_hours)).collect()
    }
}

fn place(subscription: &str, name: &str) -> String {
    format!("/subscriptions/{subscription}/resourceGroups/g/providers/Garrison.HybridCompute/machines/{name}")
}

/// What every database must do.
async fn contract(db: Db) {
    let house = House::open(db).await;
    let machine = house.connect(MachineKind::Hybrid, "m", START).await;
    // Not yet heard of, then heard of with no plan: nothing.
    house.sample(START).await;
    house.beat(&machine, None, START).await;
    house.sample(START).await;
    assert_eq!(house.metering.settle(Micros(START + 2 * HOUR)).await.unwrap(), 0);
    // One billable minute is an hour, however often it is seen.
    house.plan(Plan::P1, START + HOUR).await;
    house.beat(&machine, None, START + HOUR).await;
    for _ in 0..3 {
        house.sample(START + HOUR + 5 * MINUTE).await;
    }
    // An hour that is not over is not settled, nor one that ended just now.
    for early in [HOUR + 5 * MINUTE, 2 * HOUR, 2 * HOUR + SETTLE_AFTER - 1] {
        assert_eq!(house.metering.settle(Micros(START + early)).await.unwrap(), 0, "{early}");
    }
    assert_eq!(house.metering.settle(Micros(START + 2 * HOUR + SETTLE_AFTER)).await.unwrap(), 1);
    assert_eq!(house.usage(UsageBy::Plan).await, [("P1".to_owned(), Plan::P1, 1, 1)]);
    // The clock goes back, the same hour is seen and settled again: it is there once.
    house.sample(START + HOUR + 50 * MINUTE).await;
    assert_eq!(house.metering.settle(Micros(START + 3 * HOUR)).await.unwrap(), 0);
    assert_eq!(house.usage(UsageBy::Plan).await, [("P1".to_owned(), Plan::P1, 1, 1)]);
    // Silence for a quarter of an hour: the next hour has no billable minute.
    house.sample(START + 4 * HOUR).await;
    assert_eq!(house.metering.settle(Micros(START + 6 * HOUR)).await.unwrap(), 0);
    // A change of plan and a move within an hour: billed as it began, from the next hour on as it is.
    house.beat(&machine, None, START + 10 * HOUR).await;
    house.sample(START + 10 * HOUR).await;
    house.plan(Plan::P2, START + 10 * HOUR + 5 * MINUTE).await;
    house.sample(START + 10 * HOUR + 6 * MINUTE).await;
    let mut change = house.plane.change(&house.tenant, "test", Micros(START + 10 * HOUR)).await.unwrap();
    change.plan_set(&SubscriptionId::new(SECOND).unwrap(), Plan::P2, None).await.unwrap();
    change.machine_move(&machine, &place(SECOND, "m").parse().unwrap()).await.unwrap();
    change.commit().await.unwrap();
    house.sample(START + 10 * HOUR + 7 * MINUTE).await;
    house.beat(&machine, None, START + 11 * HOUR).await;
    house.sample(START + 11 * HOUR).await;
    assert_eq!(house.metering.settle(Micros(START + 13 * HOUR)).await.unwrap(), 2);
    assert_eq!(
        house.usage(UsageBy::Subscription).await,
        [(FIRST.to_owned(), Plan::P1, 2, 2), (SECOND.to_owned(), Plan::P2, 1, 1)]
    );
    states(&house).await;
    money(&house).await;
    replays(&house).await;
    append_only(&house).await;
    corrections(&house).await;
    // Another tenant sees nothing of it; spans are bounded.
    let other = TenantId::new("other").unwrap();
    let (from, to) = (Micros(START), Micros(START + 24 * HOUR));
    assert!(house.metering.usage(&other, from, to, UsageBy::Machine).await.unwrap().is_empty());
    for (from, to) in [(1, 0), (0, 0), (0, 500 * 24 * HOUR), (i64::MIN, i64::MAX)] {
        assert!(house.metering.usage(&other, Micros(from), Micros(to), UsageBy::Day).await.is_err());
    }
}

/// A cloud machine through its states, after the trial: the billed hours are exactly those of the billed states.
async fn states(house: &House) {
    let start = START + 40 * 24 * HOUR;
    let machine = house.connect(MachineKind::Cloud, "cloud", start).await;
    for (at, power) in (0..).zip(PowerState::ALL) {
        house.beat(&machine, Some(*power), start + at * HOUR).await;
        house.sample(start + at * HOUR).await;
    }
    assert_eq!(house.metering.settle(Micros(start + 24 * HOUR)).await.unwrap(), 3);
    let mine = house.usage(UsageBy::Machine).await.into_iter().find(|l| l.0 == machine.as_str()).unwrap();
    assert_eq!(mine, (machine.to_string(), Plan::P2, 3, 0), "Running, Stopping and Stopped, and no trial any more");
    let days = house.usage(UsageBy::Day).await;
    assert_eq!(days.iter().map(|d| d.2).sum::<i64>(), 6, "{days:?}");
}

const SEVEN: i64 = 7 * 24 * HOUR;

/// Prices, seats, ingest and forecast, after the trial: three machines under Plan 2 for two hours.
async fn money(house: &House) {
    let start = START + 50 * 24 * HOUR;
    let (tenant, metering) = (&house.tenant, &house.metering);
    let time = |at: i64| garrison_server::shared::rfc3339(Micros(at));
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(house.connect(MachineKind::Hybrid, name, start).await);
    }
    let forecast = async |plan| {
        metering
            .forecast(
                &house.plane,
                tenant,
                (&SubscriptionId::new(FIRST).unwrap(), plan, None),
                |_| false,
                Micros(start),
            )
            .await
            .unwrap()
    };
    for id in &ids {
        house.beat(id, None, start).await;
    }
    assert_eq!(forecast(Plan::P2).await.per_month, None, "no price, no cost");
    let price = async |body: serde_json::Value, now: i64| {
        let new = serde_json::from_value(body).unwrap();
        metering.price_sheet_create(tenant, &new, "test", Micros(now)).await
    };
    let p2 = |price: &str, from: Option<String>| json!({"plan": "P2", "currency": "EUR", "pricePerHour": price, "validFrom": from});
    let first = price(p2("0.020548", Some(time(start))), start).await.unwrap();
    assert!(first.in_force && first.valid_to.is_none(), "{first:?}");
    for (bad, why) in [
        (p2("0.02", Some(time(start))), "overlaps"),
        (p2("0.0000001", None), "six places"),
        (json!({"plan": "P1", "currency": "USD", "pricePerHour": "1"}), "are in EUR"),
        (json!({"plan": "P1", "currency": "EURO", "pricePerHour": "1"}), "4217"),
        (json!({"plan": "Off", "currency": "EUR", "pricePerHour": "1"}), "give `plan`"),
    ] {
        let error = price(bad, start).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    price(p2("0.030000", Some(time(start + HOUR))), start).await.unwrap();
    price(json!({"currency": "EUR", "pricePerGb": "2.3", "validFrom": time(start - SEVEN)}), start).await.unwrap();
    // One seat of the tenant, one of another subscription.
    let seats = json!([{"plan": "P2", "seats": 1, "note": "L-1", "validFrom": time(start)},
        {"plan": "P2", "seats": 5, "subscriptionId": SECOND, "validFrom": time(start)}]);
    let seats: Vec<_> = serde_json::from_value(seats).unwrap();
    metering.seats_put(tenant, &seats, "test", Micros(start)).await.unwrap();
    let asked = forecast(Plan::P2).await;
    assert_eq!((asked.machines, asked.billable_machines, asked.seats, asked.trial_hours), (4, 3, 1, 0), "{asked:?}");
    assert_eq!(asked.per_day.unwrap().to_string(), "0.986304", "two machines at 0.020548 for 24 hours");
    for hour in 0..2 {
        for id in &ids {
            house.beat(id, None, start + hour * HOUR).await;
        }
        house.sample(start + hour * HOUR).await;
    }
    let span = (Micros(start), Micros(start + 2 * HOUR));
    let cost = async |by| metering.cost(&house.plane, tenant, span, by, Micros(start)).await.unwrap();
    let begun = cost(UsageBy::Plan).await;
    assert_eq!((begun.items.len(), begun.running_hours), (0, 6), "{begun:?}");
    assert_eq!(metering.settle(Micros(start + 3 * HOUR)).await.unwrap(), 6);
    let bill = cost(UsageBy::Plan).await;
    assert_eq!(bill.running_hours, 0, "an hour is either settled or running");
    let line = &bill.items[0];
    assert_eq!((line.units, line.offset, line.trial, line.unpriced), (6, 2, 0, 0), "{bill:?}");
    assert_eq!((line.list_cost.to_string(), line.cost.to_string()), ("0.151644".to_owned(), "0.101096".to_owned()));
    for by in [UsageBy::Day, UsageBy::Subscription, UsageBy::Machine] {
        let other = cost(by).await;
        assert_eq!((other.total, other.items.iter().map(|i| i.units).sum::<i64>()), (bill.total, 6), "{by:?}");
    }
    // The seat went to the first machine by id, in both hours.
    ids.sort();
    let covered = cost(UsageBy::Machine).await.items.into_iter().find(|i| i.key == ids[0].as_str()).unwrap();
    assert_eq!((covered.units, covered.offset, covered.cost.0), (2, 2, 0), "{covered:?}");
    // Removing the seats changes nothing that is past.
    metering.seats_put(tenant, &[], "test", Micros(start + 3 * HOUR)).await.unwrap();
    assert!(metering.seats(tenant).await.unwrap().is_empty());
    assert_eq!(cost(UsageBy::Plan).await, bill);
    // Ingest: three machines of Plan 2 bring 1.5 GB; what is beyond is billed by whole megabytes.
    let mut change = house.plane.change(tenant, "test", Micros(start)).await.unwrap();
    let device = garrison_model::DeviceId::new("d".repeat(40)).unwrap();
    change.machine_device(&ids[1], Some(&device)).await.unwrap();
    change.commit().await.unwrap();
    for (table, bytes) in
        [("DeviceProcessEvents", 1_600_000_000), ("DeviceInfo", 1_999_999), ("SensorLossEvents", 9_000_000_000)]
    {
        metering.ingested(&device, table, bytes, Micros(start));
    }
    metering.ingest_flush(&house.plane, tenant, Micros(start)).await.unwrap();
    metering.ingest_flush(&house.plane, tenant, Micros(start)).await.unwrap();
    let ingest = metering.ingest(tenant, span.0, span.1).await.unwrap();
    let line = ingest.iter().find(|l| l.subscription_id.as_ref().is_some_and(|s| s.as_str() == FIRST)).unwrap();
    assert_eq!((line.machines, line.free_bytes, line.over_bytes), (3, 1_500_000_000, 100_000_000), "{line:?}");
    assert_eq!((line.other_bytes, line.billed_megabytes), (1_999_999, 101));
    assert_eq!(line.cost.unwrap().to_string(), "0.232300");
    assert_eq!(cost(UsageBy::Plan).await.total.to_string(), "0.333396");
    // The file of it fits the specification; hours before the first price cannot be written.
    use garrison_server::metering::focus::{check, read, write::Format};
    for format in [Format::Csv, Format::Parquet] {
        let book = metering.focus_open(&house.plane, tenant, span, Micros(start)).await.unwrap();
        let (sender, mut parts) = tokio::sync::mpsc::channel::<Result<bytes::Bytes, std::io::Error>>(4);
        let collect = async {
            let mut all = Vec::new();
            while let Some(part) = parts.recv().await {
                all.extend_from_slice(&part.unwrap());
            }
            all
        };
        let ((), bytes) = tokio::join!(metering.focus_write(tenant, book, format, sender), collect);
        let table = match format {
            Format::Csv => read::csv(&bytes).unwrap(),
            Format::Parquet => read::parquet(bytes.into()).unwrap().0,
        };
        assert_eq!(check::check(&table), []);
        assert_eq!(table.rows.len(), 8, "six pieces of machines, two of ingest");
        let at = table.names.iter().position(|n| n == "BilledCost").unwrap();
        let micros = |text: &str| text.replace('.', "").parse::<i64>().unwrap();
        assert_eq!(table.rows.iter().map(|r| micros(r[at].as_ref().unwrap())).sum::<i64>(), 333_396);
    }
    let all = (Micros(START), Micros(start));
    let refused = metering.focus_open(&house.plane, tenant, all, Micros(start)).await.unwrap_err();
    assert!(refused.to_string().contains("have no price"), "{refused}");
    assert!(metering.usage(tenant, all.0, all.1, UsageBy::Plan).await.unwrap().iter().any(|l| l.unpriced_hours > 0));
    // Another tenant has no prices, and its seats are its own.
    let other = TenantId::new("other").unwrap();
    assert!(metering.price_sheets(&other, Micros(start)).await.unwrap().is_empty());
    assert!(metering.ingest(&other, span.0, span.1).await.unwrap().is_empty());
}

/// A sheet in the wrong currency is taken back; one that has priced what is settled is not.
async fn corrections(house: &House) {
    let (tenant, metering) = (&TenantId::new("corrected").unwrap(), &house.metering);
    let start = START + 90 * 24 * HOUR;
    let time = |at: i64| garrison_server::shared::rfc3339(Micros(at));
    let new = |body: serde_json::Value| serde_json::from_value(body).unwrap();
    let p2 = |currency: &str, price: &str, from: Option<i64>| {
        new(json!({"plan": "P2", "currency": currency, "pricePerHour": price, "validFrom": from.map(time)}))
    };
    let add = async |sheet, now| metering.price_sheet_create(tenant, &sheet, "amy", Micros(now)).await;
    let replace =
        async |id: &str, sheet, now| metering.price_sheet_replace(tenant, id, &sheet, "amy", Micros(now)).await;
    let delete = async |id: &str, now| metering.price_sheet_delete(tenant, id, Micros(now)).await;
    let sheets = async || {
        let all = metering.price_sheets(tenant, Micros(start)).await.unwrap();
        all.into_iter().map(|s| (s.price_per_hour.unwrap_or_default(), s.valid_from, s.valid_to)).collect::<Vec<_>>()
    };
    let settled = async |machine: &str, hour: i64, plan: &str| {
        sqlx::query(
            "INSERT INTO metering_ledger (tenant_id, machine_id, hour, subscription_id, plan, state, trial, minutes, \
             settled, seat_id) VALUES ($1, $2, $3, $4, $5, 'HybridConnected', 1, 1, 0, '')",
        )
        .bind(tenant.as_str())
        .bind(machine.to_owned())
        .bind(hour / HOUR)
        .bind(FIRST)
        .bind(plan.to_owned())
        .execute(house.db.pool())
        .await
        .unwrap();
    };
    // The first one is in the wrong currency, which fixes it for no longer than it is there.
    let wrong = add(p2("USD", "1", None), start).await.unwrap();
    assert!(add(p2("EUR", "1", Some(start + HOUR)), start).await.unwrap_err().to_string().contains("are in USD"));
    delete(&wrong.id, start + HOUR / 2).await.unwrap();
    assert!(sheets().await.is_empty());
    let wrong = add(p2("USD", "1", None), start).await.unwrap();
    let first = replace(&wrong.id, p2("EUR", "1", None), start + HOUR / 2).await.unwrap();
    assert_eq!((first.currency.as_str(), &first.valid_from), ("EUR", &time(start)));
    // A replacement that is refused leaves what was there.
    let refused = replace(&first.id, p2("EUR", "0.0000001", None), start).await.unwrap_err();
    assert!(refused.to_string().contains("six places"), "{refused}");
    assert_eq!(sheets().await, [("1.000000".to_owned(), time(start), None)]);
    // What was ended for a sheet goes on without it, to the next one; and stays ended for one in its place.
    let second = add(p2("EUR", "2", Some(start + 3 * HOUR)), start).await.unwrap();
    let third = add(p2("EUR", "3", Some(start + 6 * HOUR)), start).await.unwrap();
    delete(&second.id, start).await.unwrap();
    let line = |price: &str, from: i64, to: Option<i64>| (price.to_owned(), time(from), to.map(time));
    let two = [line("1.000000", start, Some(start + 6 * HOUR)), line("3.000000", start + 6 * HOUR, None)];
    assert_eq!(sheets().await, two);
    let later = start + 6 * HOUR + HOUR / 2;
    let third = replace(&third.id, p2("EUR", "4", None), later).await.unwrap();
    assert_eq!(sheets().await[1], line("4.000000", start + 6 * HOUR, None), "in an hour that has begun");
    delete(&third.id, later).await.unwrap();
    assert_eq!(sheets().await, [line("1.000000", start, None)]);
    // An hour of another plan, before it, or of another tenant keeps nothing; one of its own does, in a trial too.
    settled("m1", start, "P1").await;
    settled("m1", start - HOUR, "P2").await;
    let first = replace(&first.id, p2("EUR", "1.5", None), later).await.unwrap();
    settled("m1", start + 2 * HOUR, "P2").await;
    settled("m2", start + 2 * HOUR, "P2").await;
    for refused in [delete(&first.id, later).await, replace(&first.id, p2("EUR", "9", None), later).await.map(drop)] {
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("2 settled machine-hour(s)") && words.contains(&time(start + 2 * HOUR)), "{words}");
    }
    assert_eq!(sheets().await, [line("1.500000", start, None)]);
    // The way that the hint names.
    add(p2("EUR", "9", Some(start + 8 * HOUR)), later).await.unwrap();
    // Ingest of a day that is not over is settled by nothing; of one that is over it is.
    let day = start / (24 * HOUR) * 24 * HOUR;
    let gigabyte = |price: &str| new(json!({"currency": "EUR", "pricePerGb": price, "validFrom": time(day)}));
    let ingest = add(gigabyte("2"), start).await.unwrap();
    sqlx::query(
        "INSERT INTO metering_ingest (tenant_id, day, subscription_id, device_id, event_bytes, other_bytes) \
         VALUES ($1, $2, $3, 'd', 1, 1)",
    )
    .bind(tenant.as_str())
    .bind(day / (24 * HOUR))
    .bind(FIRST)
    .execute(house.db.pool())
    .await
    .unwrap();
    let ingest = replace(&ingest.id, gigabyte("3"), day + 24 * HOUR - 1).await.unwrap();
    let refused = delete(&ingest.id, day + 24 * HOUR).await.unwrap_err().to_string();
    assert!(refused.contains("1 day(s) that are over"), "{refused}");
    assert!(delete("none", start).await.unwrap_err().to_string().contains("no such price sheet"));
    let other = TenantId::new("other").unwrap();
    let foreign = metering.price_sheet_delete(&other, &ingest.id, Micros(start)).await.unwrap_err();
    assert!(foreign.to_string().contains("no such price sheet"), "{foreign}");
}

/// Looks and settlements in any order, on a clock that is set to and fro, with a second server that does the same: the
/// ledger has one row an hour in which anything billable was seen before it was settled, and a pool of two seats covers
/// at most two rows of an hour.
async fn replays(house: &House) {
    let (start, hours) = (START + 70 * 24 * HOUR, 12);
    let twin = Metering::new(house.db.clone());
    let seats = json!([{"plan": "P2", "seats": 2, "validFrom": garrison_server::shared::rfc3339(Micros(start))}]);
    let seats: Vec<_> = serde_json::from_value(seats).unwrap();
    house.metering.seats_put(&house.tenant, &seats, "test", Micros(start)).await.unwrap();
    let mut ids = Vec::new();
    for name in ["r1", "r2", "r3", "r4"] {
        ids.push(house.connect(MachineKind::Hybrid, name, start).await);
    }
    // A small generator with a fixed seed: the same run each time.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        i64::try_from(seed % below).unwrap()
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut settled = i64::MIN;
    for _ in 0..120 {
        let now = start + next(u64::try_from(hours).unwrap()) * HOUR + next(60) * MINUTE;
        let metering = if next(2) == 0 { &house.metering } else { &twin };
        if next(4) == 0 {
            metering.settle(Micros(now)).await.unwrap();
            settled = settled.max((now - SETTLE_AFTER).div_euclid(HOUR));
            continue;
        }
        let machine = usize::try_from(next(4)).unwrap();
        house.beat(&ids[machine], None, now).await;
        metering.sample(&house.plane, &house.tenant, |_| false, Micros(now)).await.unwrap();
        // Whoever was heard of in the last quarter of an hour is marked, and nobody else.
        house
            .plane
            .machines_walk(&house.tenant, Micros(now), |m| {
                if m.state == garrison_model::ConnectionState::Connected && m.plan.plan != Plan::Off {
                    seen.insert((m.id.to_string(), now.div_euclid(HOUR)));
                }
            })
            .await
            .unwrap();
    }
    let end = Micros(start + 2 * hours * HOUR);
    let (one, two) = tokio::join!(house.metering.settle(end), twin.settle(end));
    one.unwrap();
    two.unwrap();
    assert!(settled > i64::MIN && seen.len() > 20);
    let rows =
        sqlx::query("SELECT machine_id, hour, seat_id FROM metering_ledger WHERE hour >= $1 ORDER BY hour, machine_id")
            .bind(start / HOUR)
            .fetch_all(house.db.pool())
            .await
            .unwrap();
    let mut covered: std::collections::BTreeMap<i64, usize> = Default::default();
    let mut there = std::collections::BTreeSet::new();
    for row in &rows {
        let (machine, hour, seat): (String, i64, String) = (row.get(0), row.get(1), row.get(2));
        assert!(there.insert((machine, hour)), "an hour is there twice");
        let count = covered.entry(hour).or_default();
        *count += usize::from(!seat.is_empty());
    }
    assert_eq!(there, seen, "every hour with a billable minute, and no other");
    for (hour, count) in &covered {
        let rows = there.iter().filter(|(_, h)| h == hour).count();
        assert_eq!(*count, rows.min(2), "seats of hour {hour}");
    }
}

async fn append_only(house: &House) {
    for sql in [
        "UPDATE metering_ledger SET plan = 'P1'",
        "UPDATE metering_ledger SET seat_id = 'x'",
        "DELETE FROM metering_ledger",
    ] {
        let error = sqlx::query(sql).execute(house.db.pool()).await.unwrap_err();
        assert!(error.to_string().contains("metering_ledger_fixed"), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_are_billed_once_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    contract(Db::open_file(&folder.path().join("control.db")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_are_billed_once_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed");
        return;
    };
    contract(Db::open(&postgres.url()).await.unwrap()).await;
}
