//! `FileProfile`, `DeviceFromIP`, `AssignedIPAddresses` and `SeenBy` over rows of two devices of one estate.

use crate::http_house::{HttpHouse, job};
use garrison_model::TenantId;
use garrison_server::hunting::{Caller, HuntError, HuntRequest, Interface};
use garrison_testkit::{TestSensor, boot, enrol};
use serde_json::{Value, json};

/// Two devices: both run one file, one of them another; each has addresses, and one spoke to the other.
async fn estate() -> (HttpHouse, TestSensor, String) {
    let mut house = HttpHouse::open(None).await;
    let token = house.server.token().await.unwrap();
    let identity = enrol(house.server.gateway(), &token, "db-1").await.unwrap();
    let mut other = TestSensor::connect(identity, house.server.gateway(), boot(2)).await.unwrap();
    let db = other.identity.device.to_string();
    let with = |mut row: Value, more: Value| {
        for (key, value) in more.as_object().unwrap() {
            row[key] = value.clone();
        }
        row
    };
    let rare = json!({"SHA1": "12".repeat(20), "SHA256": "34".repeat(32), "FileName": "rare"});
    house.send("DeviceProcessEvents", &[job(1, "common"), job(2, "common again"), with(job(3, "rare"), rare)]).await;
    let at = |hours: i64| {
        garrison_server::shared::rfc3339(garrison_model::Micros(garrison_server::now().0 - hours * 3_600_000_000))
    };
    let adapter = |hours: i64, addresses: &[&str]| {
        let all: Vec<Value> =
            addresses.iter().map(|a| json!({"IPAddress": a, "SubnetPrefix": 24, "AddressType": "Private"})).collect();
        json!({"Timestamp": at(hours), "NetworkAdapterName": "eth0", "NetworkAdapterType": "Ethernet", "IPAddresses": all})
    };
    house.send("DeviceNetworkInfo", &[adapter(5, &["10.0.0.5"]), adapter(1, &["10.0.0.6", "10.0.0.7"])]).await;
    for (table, rows) in [
        ("DeviceProcessEvents", vec![job(4, "common")]),
        ("DeviceNetworkInfo", vec![adapter(4, &["10.0.0.9"]), adapter(0, &["10.0.0.5"])]),
        (
            "DeviceNetworkEvents",
            vec![
                json!({"Timestamp": at(0), "ActionType": "ConnectionSuccess", "RemoteIP": "10.0.0.6", "RemotePort": 22}),
            ],
        ),
    ] {
        other.send(table, &garrison_telemetry::batch_from_json(table, &rows).unwrap()).await.unwrap();
        other.settle().await.unwrap();
    }
    (house, other, db)
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_the_product_answer_from_the_estates_own_rows() {
    let (house, _other, db) = estate().await;
    let web = house.device.clone();
    let by_ip = |ip: &str, ago: &str| format!("DeviceFromIP('{ip}', ago({ago})) | project DeviceId");
    for (query, expected) in [
        // Prevalence: the devices of the estate that ran the file.
        (
            "DeviceProcessEvents | distinct SHA1 | invoke FileProfile(SHA1, 10) | project SHA1, GlobalPrevalence \
             | sort by GlobalPrevalence asc"
                .to_owned(),
            json!([{"SHA1": "12".repeat(20), "GlobalPrevalence": 1}, {"SHA1": "cd".repeat(20), "GlobalPrevalence": 2}]),
        ),
        (
            "DeviceProcessEvents | where FileName == 'rare' | project SHA256 | invoke FileProfile('SHA256') \
             | project GlobalPrevalence, IsExecutable, ProfileAvailability, Known = isnotnull(GlobalFirstSeen)"
                .to_owned(),
            json!([{"GlobalPrevalence": 1, "IsExecutable": true, "ProfileAvailability": "Available", "Known": true}]),
        ),
        (
            format!("print SHA1 = '{}' | invoke FileProfile() | project isnull(GlobalPrevalence)", "99".repeat(20)),
            json!([{"Column1": true}]),
        ),
        // Who held an address when: it went from one device to the other.
        (by_ip("10.0.0.5", "0s"), json!([{"DeviceId": db}])),
        (by_ip("10.0.0.5", "2h"), json!([{"DeviceId": web}])),
        (by_ip("10.0.0.5", "9h"), json!([])),
        (by_ip("192.0.2.1", "0s"), json!([])),
        ("DeviceFromIP('10.0.0.7') | project DeviceId".to_owned(), json!([{"DeviceId": web}])),
        // The addresses by the last report before a time, by id and by name.
        (
            format!("AssignedIPAddresses('{web}') | project IPAddress | sort by IPAddress asc"),
            json!([{"IPAddress": "10.0.0.6"}, {"IPAddress": "10.0.0.7"}]),
        ),
        ("AssignedIPAddresses('web-1', ago(2h)) | project IPAddress".to_owned(), json!([{"IPAddress": "10.0.0.5"}])),
        (format!("AssignedIPAddresses('{web}', ago(9h)) | project IPAddress"), json!([])),
        ("AssignedIPAddresses('nobody') | project IPAddress".to_owned(), json!([])),
        // Who spoke with a device.
        (format!("SeenBy('{web}') | project SeenBy"), json!([{"SeenBy": [db]}])),
        (format!("SeenBy('{db}')"), json!([])),
        (
            "DeviceNetworkInfo | distinct DeviceId | invoke SeenBy() | where array_length(SeenBy) > 0 \
             | project DeviceId, SeenBy"
                .to_owned(),
            json!([{"DeviceId": web, "SeenBy": [db]}]),
        ),
    ] {
        assert_eq!(Value::Array(house.rows(&query).await), expected, "{query}");
    }
    // Arguments that make no sense are refused at their place.
    for (query, code) in [
        ("DeviceProcessEvents | invoke FileProfile(Nope)", "KS142"),
        ("DeviceProcessEvents | invoke FileProfile(SHA1, 0)", "GQ101"),
        ("DeviceProcessEvents | invoke FileProfile(SHA1, 1001)", "GQ101"),
        ("DeviceProcessEvents | invoke FileProfile(SHA1, 10, 3)", "KS119"),
        ("FileProfile(SHA1)", "KS174"),
        ("DeviceFromIP('10.0.0.5', now(), 3)", "KS119"),
        ("AssignedIPAddresses('a', now(), 3)", "KS119"),
        ("SeenBy('a', 'b')", "KS119"),
    ] {
        let (status, answer) = house.post("/api/v1/hunting/run", &json!({"query": query})).await;
        let codes: Vec<&str> =
            answer["diagnostics"].as_array().unwrap().iter().map(|d| d["code"].as_str().unwrap()).collect();
        assert_eq!(status, 400, "{query}: {answer}");
        assert!(codes.contains(&code), "{query}: {codes:?}");
    }
    // Another tenant's caller gets nothing at all, and the table behind the function is not to be named.
    let stranger: TenantId = "00000000-0000-4000-8000-00000000beef".parse().unwrap();
    let caller = Caller::new(&stranger, "eve", Interface::Api);
    for text in ["DeviceFromIP('10.0.0.5')", "print SHA1 = 'x' | invoke FileProfile()"] {
        let request = HuntRequest { text: text.to_owned(), ..HuntRequest::default() };
        let refused = house.server.server.hunting.run(request, &caller).await;
        assert!(matches!(refused, Err(HuntError::TenantUnknown)), "{text}");
    }
    house.server.stop().await.unwrap();
}
