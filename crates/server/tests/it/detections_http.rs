//! Custom detections, indicators and retro-hunts over HTTP, from the terminal, and on the event stream.

use crate::http_house::HttpHouse;
use reqwest::Method;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/hunting/detections";

fn definition(name: &str, word: &str) -> Value {
    json!({
        "name": name,
        "query": format!("DeviceProcessEvents | where ProcessCommandLine has '{word}'"),
        "frequency": "1h", "alertTitle": format!("{name} on {{{{DeviceName}}}}"), "severity": "Medium",
        "category": "Execution", "mitreTechniques": ["T1059.004"], "description": "It happened.",
        "impactedEntities": [{"type": "Machine", "column": "DeviceId"}, {"type": "User", "column": "AccountName"}],
    })
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detection_is_tested_made_run_changed_switched_and_removed_and_listeners_hear_of_its_making() {
    let house = HttpHouse::with_jobs(None).await;
    let mut events = house.events(&house.reader).await;
    let shells = definition("Jobs", "evil");

    // A test keeps nothing, and a reader may try.
    let (status, found) = house.ask(&house.reader, Method::POST, &format!("{PATH}/test"), Some(&shells)).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(
        (&found["rows"], &found["alerts"], &found["titles"][0]),
        (&json!(2), &json!(2), &json!("Jobs on web-1"))
    );
    assert_eq!(house.get(PATH).await["total"], 0);
    assert_eq!(house.get("/api/v1/alerts").await["total"], 0);
    assert_eq!(house.ask(&house.reader, Method::POST, PATH, Some(&shells)).await.0, 403);

    let (status, made) = house.post(&format!("{PATH}?retro=false"), &shells).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let own = format!("{PATH}/{id}");
    assert_eq!(events.next("detection").await["id"], id);
    assert_eq!(house.get("/api/v1/hunting/retro").await["total"], 0, "no hunt was wanted");
    assert_eq!(house.get(&own).await["query"], shells["query"]);

    // A run over its look-back; the next one finds the same events and makes nothing new.
    for (alerts, repeated) in [(2, 0), (0, 2)] {
        let (status, run) = house.call(Method::POST, &format!("{own}/run"), None).await;
        assert_eq!(status, 200, "{run}");
        assert_eq!((&run["state"], &run["kind"]), (&json!("Completed"), &json!("manual")), "{run}");
        assert_eq!((&run["alerts"], &run["repeated"]), (&json!(alerts), &json!(repeated)), "{run}");
    }
    let runs = house.get(&format!("{own}/runs?limit=1")).await;
    assert_eq!((runs["items"].as_array().unwrap().len(), &runs["items"][0]["repeated"]), (1, &json!(2)), "{runs}");
    let alerts = house.get(&format!("/api/v1/alerts?rule={id}")).await;
    assert_eq!((&alerts["total"], &alerts["items"][0]["detectionSource"]), (&json!(2), &json!("CustomDetection")));

    let (status, changed) = house.call(Method::PUT, &own, Some(&with(shells.clone(), "severity", json!("High")))).await;
    assert_eq!((status, &changed["severity"]), (200, &json!("High")), "{changed}");
    for enabled in [false, true] {
        let (status, switched) = house.call(Method::PATCH, &own, Some(&json!({"enabled": enabled}))).await;
        assert_eq!((status, &switched["enabled"]), (200, &json!(enabled)), "{switched}");
        assert_eq!(switched["nextRunTime"].is_null(), !enabled, "{switched}");
    }

    // Refusals, each with its reason.
    let other = definition("Other", "evil");
    for (body, status, code, words) in [
        (shells.clone(), 409, "exists", "this name"),
        (with(other.clone(), "alertTitle", shells["alertTitle"].clone()), 409, "exists", "alert title"),
        (with(other.clone(), "name", json!(" ")), 400, "detection_not_valid", "the name"),
        (with(other.clone(), "query", json!("DeviceProcessEvents | wher")), 400, "detection_not_valid", "errors"),
        (with(other.clone(), "query", json!("DeviceInfo | project DeviceId")), 400, "detection_not_valid", "Timestamp"),
        (with(other.clone(), "category", json!("Mischief")), 400, "detection_not_valid", "tactic"),
        (with(other.clone(), "mitreTechniques", json!(["X"])), 400, "detection_not_valid", "technique"),
        (with(other.clone(), "impactedEntities", json!([])), 400, "detection_not_valid", "impacted entity"),
        (with(other.clone(), "alertTitle", json!("{{None}}")), 400, "detection_not_valid", "None"),
        (with(other.clone(), "frequency", json!("2h")), 400, "bad_body", ""),
        (with(other.clone(), "surprise", json!(1)), 400, "bad_body", ""),
    ] {
        let (found, answer) = house.post(PATH, &body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{body}: {answer}");
        assert!(answer["title"].as_str().unwrap().contains(words), "{words}: {answer}");
    }
    let summary = "DeviceProcessEvents | summarize Timestamp = max(Timestamp), ReportId = max(ReportId), DeviceId = max(DeviceId)";
    let continuous = with(with(other, "query", json!(summary)), "frequency", json!("continuous"));
    let continuous = with(continuous, "alertTitle", json!("Sum"));
    let continuous = with(continuous, "impactedEntities", json!([{"type": "Machine", "column": "DeviceId"}]));
    let (status, answer) = house.post(PATH, &continuous).await;
    assert!(status == 400 && answer["title"].as_str().unwrap().contains("continuously"), "{answer}");

    assert_eq!(house.call(Method::DELETE, &own, None).await.0, 204);
    for (method, path) in [
        (Method::GET, own.clone()),
        (Method::DELETE, own.clone()),
        (Method::POST, format!("{own}/run")),
        (Method::GET, format!("{own}/runs")),
    ] {
        let (status, answer) = house.call(method.clone(), &path, None).await;
        assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "{method} {path}: {answer}");
    }
    assert_eq!(house.get(&format!("/api/v1/alerts?rule={id}")).await["total"], 2, "its alerts stay");
    house.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_works_on_detections_indicators_and_hunts_of_the_past() {
    let house = HttpHouse::with_jobs(None).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let toml = |severity: &str, query: &str| {
        format!(
            "name = \"Jobs\"\nquery = \"{query}\"\nfrequency = \"24h\"\nalertTitle = \"Job\"\nseverity = \"{severity}\"\n\
             category = \"Execution\"\nimpactedEntities = [{{ type = \"Machine\", column = \"DeviceId\" }}]\n"
        )
    };
    let query = "DeviceProcessEvents | where ProcessCommandLine has 'evil'";
    let (first, second) = (file("a.toml", &toml("Low", query)), file("b.toml", &toml("High", query)));
    let bad = file("c.toml", &toml("High", "DeviceInfo | take 1 |"));
    let run = |words: &[&str]| {
        let (code, out, err) = house.terminal(words);
        assert_eq!(code, 0, "{words:?}: {err}");
        out
    };
    assert!(run(&["detection", "test", "-f", &first]).starts_with("2 rows in 30 days, at most 2 alerts"));
    let made: Value = serde_json::from_str(&run(&["detection", "create", "-f", &first, "--no-retro"])).unwrap();
    let id = made["id"].as_str().unwrap();
    let edited: Value = serde_json::from_str(&run(&["detection", "edit", id, "-f", &second])).unwrap();
    assert_eq!((&edited["severity"], &edited["id"]), (&json!("High"), &json!(id)));
    run(&["detection", "disable", id]);
    assert!(run(&["detection", "list"]).contains("no"), "it is off");
    run(&["detection", "enable", id]);
    assert!(run(&["detection", "run", id]).contains("Completed"));
    let shown: Value = serde_json::from_str(&run(&["-o", "json", "detection", "show", id])).unwrap();
    assert_eq!((&shown["detection"]["enabled"], &shown["runs"][0]["alerts"]), (&json!(true), &json!(2)), "{shown}");
    assert!(run(&["detection", "show", id]).contains("manual"));

    let hash = "ab".repeat(32);
    let added: Value =
        serde_json::from_str(&run(&["indicator", "add", &hash, "--title", "Bad job", "--no-retro"])).unwrap();
    let indicator = added["id"].as_str().unwrap();
    assert!(run(&["indicator", "list"]).contains("Bad job"));
    let hunt: Value =
        serde_json::from_str(&run(&["retro", "start", "indicator", indicator, "--days", "2", "--no-alerts"])).unwrap();
    let hunt = hunt["id"].as_str().unwrap();
    let mut events = house.events(&house.admin).await;
    while house.get(&format!("/api/v1/hunting/retro/{hunt}")).await["state"] != "Completed" {
        events.next("retroHunt").await;
    }
    assert!(run(&["retro", "list"]).contains("Bad job"));
    let shown: Value = serde_json::from_str(&run(&["-o", "json", "retro", "show", hunt])).unwrap();
    assert_eq!((&shown["hunt"]["matchCount"], &shown["hunt"]["alertCount"]), (&json!(3), &json!(0)), "{shown}");
    assert_eq!(shown["matches"].as_array().unwrap().len(), 3);
    for (words, code, part) in [
        (vec!["detection", "show", "nothing"], 4, "no detection"),
        (vec!["detection", "create", "-f", &first], 1, "name exists"),
        (vec!["detection", "test", "-f", &bad], 1, "errors"),
        (vec!["detection", "create", "-f", "/nowhere.toml"], 2, "cannot read"),
        (vec!["indicator", "add", "not an indicator", "--title", "x"], 1, ""),
        (vec!["retro", "start", "rule", "nothing"], 1, "no rule"),
        (vec!["retro", "cancel", hunt], 1, "has ended"),
        (vec!["retro", "show", "rh-x"], 4, "no retro-hunt"),
    ] {
        let (found, _, err) = house.terminal(&words);
        assert_eq!(found, code, "{words:?}: {err}");
        assert!(err.contains(part), "{words:?}: {err}");
    }
    run(&["indicator", "remove", indicator]);
    run(&["detection", "delete", id]);
    assert_eq!(house.get(PATH).await["total"], 0);
    house.server.stop().await.unwrap();
}

/// The ids of retro-hunts that end, until there are so many.
async fn ended(house: &HttpHouse, events: &mut crate::http_house::Events, count: usize) -> Vec<Value> {
    loop {
        let hunts = house.get("/api/v1/hunting/retro").await["items"].as_array().unwrap().clone();
        let over = |hunt: &&Value| !matches!(hunt["state"].as_str().unwrap(), "Queued" | "Running");
        let over: Vec<Value> = hunts.iter().filter(over).cloned().collect();
        if over.len() >= count {
            return over;
        }
        events.next("retroHunt").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hunt_of_the_past_is_in_the_history_with_what_started_it_and_who() {
    let house = HttpHouse::with_jobs(None).await;
    let mut events = house.events(&house.admin).await;
    let (_, detection) = house.post(PATH, &definition("Jobs", "evil")).await;
    let (status, indicator) = house
        .post("/api/v1/hunting/indicators", &json!({"value": "ab".repeat(32), "title": "Bad job", "severity": "High"}))
        .await;
    assert_eq!(status, 201, "{indicator}");
    let hunts = ended(&house, &mut events, 2).await;
    assert!(hunts.iter().all(|hunt| hunt["state"] == "Completed"), "{hunts:?}");
    let history = house.get("/api/v1/hunting/history").await;
    let entries = history["items"].as_array().unwrap();
    for (kind, target, title, rows, table, words) in [
        ("detection", &detection, "Jobs", 2, "DeviceProcessEvents", "has 'evil'"),
        ("indicator", &indicator, "Bad job", 3, "DeviceProcessEvents", "Retro-hunt for the indicator"),
    ] {
        let entry = entries.iter().find(|e| e["origin"]["kind"] == kind).unwrap_or_else(|| panic!("{kind}: {history}"));
        assert_eq!((&entry["origin"]["target"], &entry["origin"]["title"]), (&target["id"], &json!(title)), "{entry}");
        assert!(hunts.iter().any(|hunt| hunt["id"] == entry["origin"]["retroHuntId"]), "{entry}");
        assert_eq!((&entry["interface"], &entry["state"]), (&json!("retrohunt"), &json!("Completed")), "{entry}");
        assert_eq!((&entry["rowsReturned"], &entry["user"]), (&json!(rows), &hunts[0]["createdBy"]), "{entry}");
        assert!(entry["tables"].as_array().unwrap().contains(&json!(table)), "{entry}");
        assert!(entry["query"].as_str().unwrap().contains(words), "{entry}");
    }
    // What a person asked has no origin, and stands beside them; another user sees neither.
    house.rows("DeviceInfo | take 1").await;
    let typed = loop {
        let history = house.get("/api/v1/hunting/history").await;
        let found = history["items"].as_array().unwrap().iter().find(|e| e["query"] == "DeviceInfo | take 1").cloned();
        if let Some(found) = found {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert!(typed.get("origin").is_none() && typed["interface"] == "api", "{typed}");
    let (_, others) = house.ask(&house.reader, Method::GET, "/api/v1/hunting/history", None).await;
    assert_eq!(others["items"], json!([]), "{others}");
    house.server.stop().await.unwrap();
}
