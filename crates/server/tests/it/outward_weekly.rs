//! The weekly snapshot of an export, on a clock that the test moves.

use crate::detections_house::{EngineKind, HOUR, House, process};
use garrison_model::{MachineKind, MachineSystem, Micros, ResourceId, Severity, Tags};
use garrison_server::connect::Connect;
use garrison_server::detection::custom::definition::{Definition, Frequency, ImpactedEntity};
use garrison_server::exports::{ExportNew, Exports};
use garrison_server::plane::{MachineConnect, SubscriptionNew};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const DAY: i64 = 24 * HOUR;

async fn open(folder: &Path, now: i64) -> (House, Arc<Exports>) {
    let house = House::open(folder, None, now, EngineKind::Finder, 10).await;
    let connect = Connect::open(&house.shared, house.clock()).await.unwrap();
    let exports = Exports::new(&house.shared, &house.incidents, &connect, house.clock());
    (house, exports)
}

/// Looks once a second for so many seconds, as the server does.
async fn work(exports: &Exports) {
    for turn in 0..3 {
        exports.turn(turn == 1).await.unwrap();
    }
}

/// Everything that the export wrote so far: what it is of, and of which moment the snapshot is.
fn written(folder: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder.join("exports/weekly")).into_iter().flatten().map(|f| f.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let mut all = Vec::new();
    for line in
        files.iter().flat_map(|f| std::fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let line: Value = serde_json::from_str(&line).unwrap();
        let id = line["metadata"]["uid"].as_str().unwrap().to_owned();
        let (what, moment) = id.split_once('#').unwrap();
        all.push((what.to_owned(), moment.to_owned()));
    }
    all
}

async fn connect(house: &House, names: &[&str], now: i64) {
    let shared = &house.shared;
    let mut change = shared.plane.change(&shared.tenant, "test", Micros(now)).await.unwrap();
    let new = SubscriptionNew { id: None, name: "prod".into(), location: "westeurope".into(), tags: Tags::default() };
    let prod = match shared.plane.subscriptions(&shared.tenant, Micros(now)).await.unwrap().pop() {
        Some(there) => there.id,
        None => change.subscription_put(&new).await.unwrap().0,
    };
    for name in names {
        let resource =
            format!("/subscriptions/{prod}/resourceGroups/web/providers/Garrison.HybridCompute/machines/{name}");
        let machine = MachineConnect {
            resource_id: resource.parse::<ResourceId>().unwrap(),
            kind: MachineKind::Hybrid,
            identity: None,
            hardware: String::new(),
            tags: Tags::default(),
            system: MachineSystem { os_type: "Linux".into(), ..MachineSystem::default() },
            connector_version: String::new(),
            geography: None,
        };
        change.machine_connect(&machine).await.unwrap();
    }
    change.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_made_every_seven_days_once_with_everything_and_not_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let t = garrison_server::now().0 / HOUR * HOUR - 20 * DAY;
    let (house, exports) = open(folder.path(), t).await;
    // An alert and two machines without protection, before there is an export.
    let shell = Definition {
        name: "Shell".into(),
        query: "find evil".into(),
        frequency: Frequency::Hourly,
        alert_title: "Shell".into(),
        severity: Severity::High,
        category: "Execution".into(),
        mitre_techniques: Vec::new(),
        description: "It happened.".into(),
        recommended_actions: "Look.".into(),
        impacted_entities: vec![ImpactedEntity {
            kind: garrison_model::EntityType::Machine,
            column: "DeviceId".into(),
        }],
        custom_details: BTreeMap::new(),
        actions: Vec::new(),
        enabled: true,
    };
    house.custom.create(shell, "amy").await.unwrap();
    house.set(t + HOUR + 1);
    house.arrive("DeviceProcessEvents", &[process(t + HOUR / 2, "evil"), process(t + HOUR, "later")]).await;
    assert_eq!(house.custom.run_due().await.unwrap(), 1);
    connect(&house, &["one", "two"], t + HOUR + 1).await;
    let begun = t + 2 * HOUR;
    house.set(begun);
    work(&exports).await;
    house.set(begun + 60_000_000);
    let begun = begun + 60_000_000;
    let new: ExportNew =
        serde_json::from_value(json!({"name": "weekly", "kind": "File", "mode": "Snapshot", "target": {},
        "what": ["Alerts", "Recommendations", "Findings"]}))
        .unwrap();
    let made = exports.create(&new, "amy", Micros(begun)).await.unwrap();
    work(&exports).await;
    let first = written(folder.path());
    let of = |all: &[(String, String)], moment: i64| -> Vec<String> {
        let mut of = all.iter().filter(|(_, m)| *m == moment.to_string()).map(|(w, _)| w.clone()).collect::<Vec<_>>();
        of.sort();
        of
    };
    let whole = of(&first, begun);
    // Two recommendations on each of two machines, and the alert.
    assert_eq!((whole.len(), first.len()), (5, 5), "{first:?}");
    // What comes later is in the next one; until then nothing is written, also not by a server that starts anew.
    connect(&house, &["three"], begun + DAY).await;
    house.set(begun + DAY);
    work(&exports).await;
    drop(exports);
    house.close().await;
    let (house, exports) = open(folder.path(), begun + 7 * DAY - 1).await;
    work(&exports).await;
    assert_eq!(written(folder.path()), first, "a microsecond is missing");
    // Seven days: the second one, whole, once, whichever of two servers is first.
    let second = begun + 7 * DAY;
    house.set(second);
    let connected = Connect::open(&house.shared, house.clock()).await.unwrap();
    let other = Exports::new(&house.shared, &house.incidents, &connected, house.clock());
    let (a, b) = tokio::join!(exports.turn(true), other.turn(true));
    a.unwrap();
    b.unwrap();
    work(&exports).await;
    let all = written(folder.path());
    let again = of(&all, second);
    assert_eq!((again.len(), all.len()), (7, 12), "{all:?}");
    assert!(whole.iter().all(|w| again.contains(w)), "what was as it was is told again");
    assert_eq!(exports.get(&made.id).await.unwrap().status.delivered, 12);
    // Again a restart, in the middle of the week, and after one of three weeks: one snapshot, not three.
    drop((exports, other, connected));
    house.close().await;
    let (house, exports) = open(folder.path(), second + 3 * DAY).await;
    work(&exports).await;
    assert_eq!(written(folder.path()).len(), 12);
    let third = second + 24 * DAY;
    house.set(third);
    work(&exports).await;
    work(&exports).await;
    let all = written(folder.path());
    assert_eq!((of(&all, third).len(), all.len()), (7, 19), "{all:?}");
    drop(exports);
    house.close().await;
}
