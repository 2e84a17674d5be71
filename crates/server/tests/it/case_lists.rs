//! Every list of cases with each of its filters, orders and cursors, on SQLite and PostgreSQL.

use crate::core_postgres::Postgres;
use crate::http_house::HttpHouse;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Links one row to a new incident; answers its number and its alert.
async fn case(house: &HttpHouse, title: &str, severity: &str, device: &str) -> (i64, String) {
    let body = json!({"title": title, "severity": severity, "query": "DeviceInfo",
        "rows": [{"DeviceId": device, "AccountName": title}]});
    let (status, made) = house.post("/api/v1/hunting/incidents", &body).await;
    assert_eq!(status, 201, "{made}");
    (made["incidentId"].as_i64().unwrap(), made["alertIds"][0].as_str().unwrap().to_owned())
}

fn key(item: &Value) -> String {
    item["id"].as_str().map_or_else(|| item["id"].to_string(), str::to_owned)
}

/// All keys of a list, read in pages of this size; no page repeats or leaves out an item.
async fn walked(house: &HttpHouse, path: &str, size: usize) -> Vec<String> {
    let mark = if path.contains('?') { '&' } else { '?' };
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house.get(&format!("{path}{mark}limit={size}{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= size, "{path}");
        all.extend(items.iter().map(key));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(all.len() < 1_000, "{path} does not end");
    }
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{path} repeats an item: {all:?}");
    all
}

async fn lists(house: HttpHouse) {
    let device = house.device.clone();
    let mut numbers = Vec::new();
    let mut alerts = Vec::new();
    for (title, severity) in
        [("alpha", "High"), ("beta", "Low"), ("gamma", "High"), ("delta", "Medium"), ("O'Hara 100%_", "Low")]
    {
        let (number, alert) = case(&house, title, severity, &device).await;
        numbers.push(number.to_string());
        alerts.push(alert);
    }
    let patch = async |path: String, body: Value| {
        let (status, answer) = house.call(Method::PATCH, &path, Some(&body)).await;
        assert_eq!(status, 200, "{path}: {answer}");
    };
    patch(format!("/api/v1/incidents/{}", numbers[0]), json!({"assignedTo": "ann", "status": "InProgress"})).await;
    patch(format!("/api/v1/incidents/{}", numbers[1]), json!({"status": "Resolved"})).await;
    let rule = house.get(&format!("/api/v1/alerts/{}", alerts[2])).await["detectorId"].as_str().unwrap().to_owned();
    let other = "cd".repeat(20);
    let year = "2999-01-01T00:00:00Z";
    // Which of the five each filter leaves, on incidents and alerts alike where both have it.
    for (list, filter, expected) in [
        ("incidents", String::new(), vec![0, 1, 2, 3, 4]),
        ("incidents", "status=Active".into(), vec![2, 3, 4]),
        ("incidents", "status=InProgress,Resolved".into(), vec![0, 1]),
        ("incidents", "severity=High".into(), vec![0, 2]),
        ("incidents", "severity=Low,Medium".into(), vec![1, 3, 4]),
        ("incidents", "assignee=ann".into(), vec![0]),
        ("incidents", "assignee=".into(), vec![1, 2, 3, 4]),
        ("incidents", format!("device={device}"), vec![0, 1, 2, 3, 4]),
        ("incidents", format!("device={other}"), vec![]),
        ("incidents", "q=ALPHA".into(), vec![0]),
        ("incidents", "q=100%25_".into(), vec![4]),
        ("incidents", "q=o'hara".into(), vec![4]),
        ("incidents", "q=web-1%20nothing".into(), vec![]),
        ("incidents", "since=1h".into(), vec![0, 1, 2, 3, 4]),
        ("incidents", format!("since={year}"), vec![]),
        ("incidents", format!("status=Active&severity=High&device={device}&q=gamma&since=1d&assignee="), vec![2]),
        ("alerts", String::new(), vec![0, 1, 2, 3, 4]),
        ("alerts", "status=Resolved".into(), vec![1]),
        ("alerts", "status=New,InProgress".into(), vec![0, 2, 3, 4]),
        ("alerts", "severity=High".into(), vec![0, 2]),
        ("alerts", format!("device={device}"), vec![0, 1, 2, 3, 4]),
        ("alerts", format!("device={other}"), vec![]),
        ("alerts", format!("rule={rule}"), vec![2]),
        ("alerts", format!("incident={}", numbers[3]), vec![3]),
        ("alerts", "q=delta".into(), vec![3]),
        ("alerts", "q=100%25_".into(), vec![4]),
        ("alerts", "since=1h".into(), vec![0, 1, 2, 3, 4]),
        ("alerts", format!("since={year}"), vec![]),
        ("alerts", "suppressed=false".into(), vec![0, 1, 2, 3, 4]),
        ("alerts", "suppressed=true".into(), vec![]),
        ("alerts", format!("suppressed=false&status=New&severity=High&rule={rule}&q=gamma&since=1d"), vec![2]),
    ] {
        let ids = if list == "incidents" { &numbers } else { &alerts };
        let expected: BTreeSet<&String> = expected.into_iter().map(|at: usize| &ids[at]).collect();
        let total = house.get(&format!("/api/v1/{list}?{filter}")).await["total"].as_u64().unwrap();
        assert_eq!(total as usize, expected.len(), "{list} {filter}");
        for sort in
            ["", "lastUpdate", "-lastUpdate", "created", "-created", "lastEvent", "-lastEvent", "severity", "-severity"]
        {
            let path = format!("/api/v1/{list}?{filter}&sort={sort}");
            let found = walked(&house, &path, 2).await;
            assert_eq!(found.iter().collect::<BTreeSet<_>>(), expected, "{path}");
            assert_eq!(found, walked(&house, &path, 500).await, "{path} in pages and at once");
        }
    }
    // Orders are orders, and turn around.
    let severities = async |sort: &str| {
        let page = house.get(&format!("/api/v1/incidents?sort={sort}")).await;
        let words = page["items"].as_array().unwrap().iter().map(|i| i["severity"].as_str().unwrap().to_owned());
        words.collect::<Vec<_>>()
    };
    assert_eq!(severities("-severity").await, ["High", "High", "Medium", "Low", "Low"]);
    assert_eq!(severities("severity").await, ["Low", "Low", "Medium", "High", "High"]);
    assert_eq!(walked(&house, "/api/v1/incidents?sort=created", 2).await, numbers);
    // A cursor fits the list and the order that it was made for.
    let page = house.get("/api/v1/alerts?sort=created&limit=1").await;
    let cursor = page["nextCursor"].as_str().unwrap();
    for path in ["/api/v1/alerts?sort=severity", "/api/v1/incidents?sort=created", "/api/v1/alerts?sort=-created"] {
        let (status, answer) = house.call(Method::GET, &format!("{path}&cursor={cursor}"), None).await;
        assert_eq!((status, &answer["code"]), (400, &json!("bad_cursor")), "{path}: {answer}");
    }
    for path in ["incidents?sort=title", "incidents?status=New", "alerts?severity=Loud", "alerts?limit=0", "alerts?x=1"]
    {
        let (status, answer) = house.call(Method::GET, &format!("/api/v1/{path}"), None).await;
        assert_eq!(status, 400, "{path}: {answer}");
    }
    // The other lists, in pages where they have pages.
    for (path, count) in [("/api/v1/devices", 1), ("/api/v1/hunting/history", 0), ("/api/v1/suppressions", 0)] {
        assert_eq!(walked(&house, path, 1).await.len(), count, "{path}");
    }
    let rules = walked(&house, "/api/v1/rules", 50).await;
    assert_eq!(rules, walked(&house, "/api/v1/rules", 500).await);
    for path in [
        "hunting/detections",
        "hunting/indicators",
        "hunting/retro",
        "hunting/queries",
        "enrolment-tokens",
        "api-tokens",
        "users",
    ] {
        assert!(house.get(&format!("/api/v1/{path}")).await["items"].is_array(), "{path}");
    }
    house.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_order_and_cursor_of_the_lists_holds_on_sqlite() {
    lists(HttpHouse::open(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_order_and_cursor_of_the_lists_holds_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("skipped because PostgreSQL is not installed");
        return;
    };
    lists(HttpHouse::open(Some(postgres.url())).await).await;
}
