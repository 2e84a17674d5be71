//! Progress of a running query, asked for and on the event stream.

use crate::http_house::{HttpHouse, job};
use serde_json::{Value, json};
use uuid::Uuid;

/// Every process with every other, twice over: it does not end by itself.
const ENDLESS: &str = "DeviceProcessEvents | project a = ProcessCommandLine, k = 1 \
    | join kind=inner (DeviceProcessEvents | project b = ProcessCommandLine, k = 1) on k \
    | join kind=inner (DeviceProcessEvents | project c = ProcessCommandLine, k = 1) on k \
    | summarize n = count() by strcat(a, b, c) | sort by n";

#[tokio::test(flavor = "multi_thread")]
async fn progress_of_a_query_is_told_to_its_user_alone_on_the_stream_and_when_asked() {
    let mut house = HttpHouse::open(None).await;
    let rows: Vec<Value> = (0..3_000).map(|n| job(n, &format!("job {n}"))).collect();
    house.send("DeviceProcessEvents", &rows).await;
    house.server.server.shared.lake.flush().await.unwrap();
    let (url, admin, reader) = (house.url(""), house.admin.clone(), house.reader.clone());
    let run = |token: String| {
        let (id, url) = (Uuid::now_v7(), url.clone());
        let task = tokio::spawn(async move {
            let request = reqwest::Client::new().post(format!("{url}/api/v1/hunting/run")).bearer_auth(token);
            let response = request.json(&json!({"query": ENDLESS, "id": id})).send().await.unwrap();
            response.json::<Value>().await.unwrap()
        });
        (id.to_string(), task)
    };
    let path = |id: &str| format!("{url}/api/v1/hunting/runs/{id}");
    let client = reqwest::Client::new();
    let (mut own, mut other) = (house.events(&admin).await, house.events(&reader).await);

    let (first, waiting) = run(admin.clone());
    let running = loop {
        let told = own.next("huntProgress").await;
        assert_eq!(told["id"], first);
        assert!(told.get("query").is_none(), "whoever asked knows the text");
        if told["state"] == "Running" && told["rowsScanned"].as_u64() >= Some(3_000) {
            break told;
        }
    };
    assert_eq!((running["filesTotal"].as_u64(), running["filesRead"].as_u64()), (Some(3), Some(3)), "{running}");
    assert!(running["filesDone"].as_u64() <= Some(3) && running["bytesScanned"].as_u64() > Some(0), "{running}");
    let asked: Value = client.get(path(&first)).bearer_auth(&admin).send().await.unwrap().json().await.unwrap();
    assert_eq!((&asked["query"], &asked["state"]), (&json!(ENDLESS), &json!("Running")), "{asked}");
    assert_eq!(client.get(path(&first)).bearer_auth(&reader).send().await.unwrap().status().as_u16(), 404);

    // The reader's stream tells of the reader's query only, though the other one runs on.
    let (second, cancelled) = run(reader.clone());
    assert_eq!(other.next("huntProgress").await["id"], second);
    for (token, id) in [(&reader, &second), (&admin, &first)] {
        assert_eq!(client.delete(path(id)).bearer_auth(token).send().await.unwrap().status().as_u16(), 204);
    }
    for (stream, id) in [(&mut own, &first), (&mut other, &second)] {
        loop {
            let told = stream.next("huntProgress").await;
            assert_eq!(&told["id"], id);
            if told["state"] == "Ended" {
                break;
            }
        }
    }
    for answer in [waiting, cancelled] {
        assert_eq!(answer.await.unwrap()["code"], "query_cancelled");
    }
    house.server.stop().await.unwrap();
}
