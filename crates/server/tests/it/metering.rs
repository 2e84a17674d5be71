//! Metering on a clock that moves: one suite, run on SQLite and on PostgreSQL.

use crate::core_postgres::Postgres;
use garrison_model::{MachineId, MachineKind, Micros, Plan, PowerState, SubscriptionId, TenantId};
use garrison_server::db::Db;
use garrison_server::metering::hour::{HOUR, MINUTE};
use garrison_server::metering::{Metering, SETTLE_AFTER, UsageBy};
use garrison_server::plane::{Geographies, Heartbeat, MachineConnect, Plane};
use serde_json::json;

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
    append_only(&house).await;
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

async fn append_only(house: &House) {
    for sql in ["UPDATE metering_ledger SET plan = 'P1'", "DELETE FROM metering_ledger"] {
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
