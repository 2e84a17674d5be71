//! Rows of a hunt that are put into an incident: over HTTP and from the terminal, on SQLite and PostgreSQL.

use crate::core_postgres::Postgres;
use crate::http_house::HttpHouse;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/hunting/incidents";
const QUERY: &str = "DeviceProcessEvents | where ProcessCommandLine has 'evil'";
/// A span back from the run, longer than the test.
const SPAN: &str = "P3D";

fn kinds(alert: &Value) -> Vec<String> {
    let mut all: Vec<String> = alert["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let name = ["fileName", "ipAddress", "url", "accountName", "sha256"].iter().find_map(|k| e[*k].as_str());
            format!("{}:{}", e["entityType"].as_str().unwrap(), name.unwrap_or_default())
        })
        .collect();
    all.sort();
    all
}

async fn new_and_existing(house: HttpHouse) {
    let rows = house.rows(QUERY).await;
    assert_eq!(rows.len(), 2);
    let body = json!({"title": "Evil shells", "severity": "High", "description": "Seen on Tuesday.", "query": QUERY,
        "timespan": SPAN, "category": "Execution", "mitreTechniques": ["T1059.004"], "rows": rows});
    let (status, made) = house.post(PATH, &body).await;
    assert_eq!((status, &made["created"], &made["repeated"]), (201, &json!(true), &json!(false)), "{made}");
    let number = made["incidentId"].as_i64().unwrap();
    let incident = house.get(&format!("/api/v1/incidents/{number}")).await;
    assert_eq!((&incident["title"], &incident["severity"]), (&json!("Evil shells"), &json!("High")));
    assert_eq!(incident["devices"][0]["name"], "web-1");
    assert!(incident["correlationReasons"][0]["reason"].as_str().unwrap().contains("linked from hunting"));
    let alert = house.get(&format!("/api/v1/alerts/{}", made["alertIds"][0].as_str().unwrap())).await;
    for (field, expected) in [
        ("title", json!("Evil shells")),
        ("description", json!("Seen on Tuesday.")),
        ("detectionSource", json!("Hunting")),
        ("category", json!("Execution")),
        ("mitreTechniques", json!(["T1059.004"])),
        ("incidentId", json!(number)),
        ("machineId", json!(house.device)),
        ("matchCount", json!(2)),
        ("relatedUser", json!("mallory")),
    ] {
        assert_eq!(alert[field], expected, "{field}");
    }
    assert_eq!(alert["hunt"]["query"], QUERY);
    let moment = |field: &str| alert["hunt"][field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!((moment("to") - moment("from")).get_hours(), 0);
    assert_eq!(moment("to").duration_since(moment("from")).as_secs(), 3 * 86_400, "the span counts from the run");
    let matches = alert["matches"].as_array().unwrap();
    assert_eq!(matches.len(), 2, "every linked row is copied");
    assert_eq!(matches[0]["table"], "DeviceProcessEvents");
    assert_eq!(matches[0]["row"]["ProcessCommandLine"], "job evil one");
    assert_eq!(
        kinds(&alert),
        ["File:job", "Machine:web-1", "Process:bash", "Process:job", "Process:job", "User:mallory"],
        "{alert}"
    );
    // Nobody needs the lake for it: what is copied is all that is shown.
    let timeline = house.get(&format!("/api/v1/incidents/{number}/timeline")).await;
    assert_eq!(timeline["items"].as_array().unwrap().len(), 2, "{timeline}");

    // Asking twice changes nothing.
    let (status, again) = house.post(PATH, &body).await;
    assert_eq!((status, &again["repeated"], &again["incidentId"]), (201, &json!(true), &json!(number)), "{again}");

    // Computed columns, renamed ones and rows that are no events, into the same incident.
    let query = "DeviceProcessEvents | where ProcessCommandLine has 'evil' | summarize Times = count() by DeviceId, \
                 Src = '198.51.100.7', RemoteUrl = 'c2.example'";
    let body = json!({"incident": number, "title": "Where they went", "query": query, "rows": house.rows(query).await,
        "impactedEntities": [{"type": "Ip", "column": "Src"}]});
    let (status, added) = house.post(PATH, &body).await;
    assert_eq!((status, &added["created"], &added["incidentId"]), (201, &json!(false), &json!(number)), "{added}");
    let incident = house.get(&format!("/api/v1/incidents/{number}")).await;
    assert_eq!((&incident["alertCount"], &incident["title"]), (&json!(2), &json!("Evil shells")));
    let alert = house.get(&format!("/api/v1/alerts/{}", added["alertIds"][0].as_str().unwrap())).await;
    assert_eq!(alert["severity"], "Medium");
    assert_eq!(kinds(&alert), ["Ip:198.51.100.7", "Machine:web-1", "Url:c2.example"], "{alert}");
    assert_eq!(alert["matches"][0]["table"], "HuntingResult");
    assert_eq!(alert["matches"][0]["row"]["Times"], 2);

    // What the query computed stands beside the event.
    let query = "DeviceProcessEvents | where ProcessCommandLine has 'evil one' | extend Words = array_length(split(ProcessCommandLine, ' '))";
    let body = json!({"incident": number, "title": "Words", "query": query, "rows": house.rows(query).await});
    let (_, added) = house.post(PATH, &body).await;
    let alert = house.get(&format!("/api/v1/alerts/{}", added["alertIds"][0].as_str().unwrap())).await;
    let fields = alert["matches"][0]["fields"].as_array().unwrap();
    assert!(fields.iter().any(|f| f["column"] == "Words" && f["value"] == "3"), "{fields:?}");
    assert_eq!(alert["matches"][0]["row"]["Words"], 3);

    // The record says who did it; the alert is found by hunting and in the list.
    let audit = house.get(&format!("/api/v1/incidents/{number}/audit")).await;
    let deeds: Vec<&str> = audit["items"].as_array().unwrap().iter().map(|a| a["what"].as_str().unwrap()).collect();
    assert_eq!(deeds.iter().filter(|what| **what == "linkedFromHunting").count(), 3, "{deeds:?}");
    let found = house.rows("AlertInfo | where DetectionSource == 'Hunting' | project Title").await;
    assert_eq!(found.len(), 3, "{found:?}");
    house.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_an_alert_with_typed_evidence_in_a_new_or_an_existing_incident() {
    new_and_existing(HttpHouse::with_jobs(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_an_alert_on_postgresql_too() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("skipped because PostgreSQL is not installed");
        return;
    };
    new_and_existing(HttpHouse::with_jobs(Some(postgres.url())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_linked_is_refused_with_its_reason_and_leaves_nothing() {
    let house = HttpHouse::with_jobs(None).await;
    let row = json!({"DeviceId": house.device, "FileName": "x"});
    let base = |change: Value| {
        let mut body = json!({"title": "T", "query": "DeviceInfo", "rows": [row]});
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    let many: Vec<Value> = (0..101).map(|_| row.clone()).collect();
    let wide: Value = (0..201).map(|n| (format!("c{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
    for (change, status, code, words) in [
        (json!({"title": " "}), 400, "link_not_valid", "title"),
        (json!({"title": "x".repeat(257)}), 400, "link_not_valid", "256"),
        (json!({"rows": []}), 400, "link_not_valid", "1 to 100"),
        (json!({"rows": many}), 400, "link_not_valid", "not 101"),
        (json!({"rows": [wide]}), 400, "link_not_valid", "columns"),
        (json!({"rows": [{"DeviceId": house.device, "X": "y".repeat(70_000)}]}), 400, "link_not_valid", "bytes"),
        (json!({"rows": [{"FileName": "x"}]}), 400, "link_not_valid", "names no device"),
        (json!({"rows": [{"DeviceId": "cd".repeat(20)}]}), 400, "link_not_valid", "does not know"),
        (json!({"rows": [{"DeviceId": "../x"}]}), 400, "link_not_valid", "does not know"),
        (json!({"rows": [{"DeviceName": "nobody"}]}), 400, "link_not_valid", "does not know"),
        (json!({"rows": [{"X": 1}], "deviceId": "cd".repeat(20)}), 400, "link_not_valid", "does not know"),
        (json!({"category": "Mischief"}), 400, "link_not_valid", "tactic"),
        (json!({"mitreTechniques": ["T1"]}), 400, "link_not_valid", "technique"),
        (json!({"impactedEntities": [{"type": "Ip", "column": "None"}]}), 400, "link_not_valid", "`None`"),
        (json!({"impactedEntities": [{"type": "Planet", "column": "FileName"}]}), 400, "bad_body", ""),
        (json!({"timespan": "yesterday"}), 400, "timespan_not_valid", "yesterday"),
        (json!({"query": " "}), 400, "query_not_valid", "empty"),
        (json!({"severity": "Loud"}), 400, "bad_body", ""),
        (json!({"incident": 99}), 404, "not_found", "99"),
    ] {
        let (found, body) = house.post(PATH, &base(change.clone())).await;
        assert_eq!((found, body["code"].as_str().unwrap_or_default()), (status, code), "{change}: {body}");
        assert!(body["title"].as_str().unwrap().contains(words), "{change}: {body}");
    }
    let (status, _) = house.ask(&house.reader, reqwest::Method::POST, PATH, Some(&base(json!({})))).await;
    assert_eq!(status, 403, "a reader changes no case");
    assert_eq!(house.get("/api/v1/incidents").await["total"], 0);

    // A row without a device beside rows of one device is about that device; a name is as good as an id.
    let rows = json!([{"DeviceName": "web-1", "RemoteIP": "203.0.113.9"}, {"RemoteUrl": "c2.example"}]);
    let (status, made) = house.post(PATH, &base(json!({"rows": rows}))).await;
    assert_eq!((status, made["alertIds"].as_array().unwrap().len()), (201, 1), "{made}");
    let merged = made["incidentId"].as_i64().unwrap();
    let (_, other) = house.post(PATH, &base(json!({"title": "Other"}))).await;
    let into = json!({"into": other["incidentId"]});
    let path = format!("/api/v1/incidents/{merged}/merge");
    assert_eq!(house.ask(&house.admin, reqwest::Method::POST, &path, Some(&into)).await.0, 200);
    let (status, body) = house.post(PATH, &base(json!({"incident": merged, "title": "Late"}))).await;
    assert_eq!((status, &body["code"]), (409, &json!("incident_redirected")), "{body}");
    house.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_puts_rows_into_an_incident() {
    let house = HttpHouse::with_jobs(None).await;
    let run = |more: &[&str]| house.terminal(&[&["hunt"], more].concat());
    let (code, out, err) = run(&[QUERY, "--to-incident", "new", "--title", "By hand", "--severity", "Low"]);
    assert_eq!((code, out.trim()), (0, "incident 1 made, with 1 alerts"), "{err}");
    let query = "DeviceProcessEvents | where ProcessId == 43 | extend From = '198.51.100.8'";
    let more = ["--to-incident", "1", "--title", "More", "--entity", "Ip=From", "-o", "json"];
    let (code, out, err) = run(&[&[query], &more[..]].concat());
    assert_eq!(code, 0, "{err}");
    let made: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&made["incidentId"], &made["created"]), (&json!(1), &json!(false)), "{made}");
    let alert = house.get(&format!("/api/v1/alerts/{}", made["alertIds"][0].as_str().unwrap())).await;
    assert!(kinds(&alert).contains(&"Ip:198.51.100.8".to_owned()), "{alert}");
    let incident = house.get("/api/v1/incidents/1").await;
    assert_eq!((&incident["alertCount"], &incident["severity"]), (&json!(2), &json!("Medium")));
    for (more, code, words) in [
        (vec![QUERY, "--to-incident", "soon"], 2, "no incident"),
        (vec![QUERY, "--to-incident", "new", "--entity", "Ip"], 2, "KIND=COLUMN"),
        (vec![QUERY, "--to-incident", "77", "--title", "x"], 4, "no incident 77"),
        (vec!["DeviceProcessEvents | where ProcessId == 1", "--to-incident", "new"], 1, "no rows"),
        (vec!["range x from 1 to 200 step 1", "--to-incident", "new"], 2, "200 rows"),
    ] {
        let (found, _, err) = run(&more);
        assert_eq!(found, code, "{more:?}: {err}");
        assert!(err.contains(words), "{more:?}: {err}");
    }
    house.server.stop().await.unwrap();
}
