//! The central store: planted names in every table and column, and not one of them in any byte of it.

use crate::rest::{all_files, plan_on, telling};
use base64::Engine as _;
use garrison_lake::Batch;
use garrison_model::{BootId, DeviceId, Geography, Micros, TenantId};
use garrison_server::central::export;
use garrison_server::retention::DAY;
use garrison_server::shared::rfc3339;
use garrison_telemetry::{BatchHeader, batch_from_json};
use garrison_testkit::enrol;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Occurs in every text column of every table.
const PLANTED: &str = "zanzibar";

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_any_table_is_in_the_central_store_or_another_geography() {
    let central = tempfile::tempdir().unwrap();
    let root = central.path().to_owned();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = garrison_testkit::TestServer::start_with(|c| c.central = Some(root.clone())).await.unwrap();
    let (now, data) = (server.now(), server.folder().to_owned());
    assert_eq!(export(&server.server.shared, now).await.unwrap(), 0, "no tenant, no geography");
    plan_on(&server).await;
    let folder = server.stop().await.unwrap();
    let server = garrison_testkit::TestServer::start_in(folder, |c| c.central = Some(root.clone())).await.unwrap();
    let shared = &server.server.shared;
    let device = DeviceId::new("ab".repeat(20)).unwrap();
    let boot = BootId::new("00000000-0000-4000-8000-0000000000aa").unwrap();
    let yesterday = rfc3339(Micros(now.0 - DAY));
    let mut sequence = 0;
    for table in garrison_telemetry::tables() {
        let mut row = Map::new();
        for column in table.columns {
            if column.name == "ActionType" {
                // The Delta log holds its bounds, which are not sealed and name nobody.
                row.insert("ActionType".into(), json!("Seen"));
            } else if column.name == "SHA256" {
                row.insert("SHA256".into(), json!("cd".repeat(32)));
            } else if column.name == "FolderPath" {
                row.insert("FolderPath".into(), json!(format!("/home/{PLANTED}/bin")));
            } else if column.plain_type().to_string().contains("Utf8") {
                row.insert(column.name.into(), json!(format!("{PLANTED} {}", column.name)));
            }
        }
        if table.columns.iter().any(|c| c.name == "Timestamp") {
            row.insert("Timestamp".into(), json!(yesterday));
        }
        let batch = batch_from_json(table.name, &[Value::Object(row)]);
        let batch = batch.unwrap_or_else(|error| panic!("{} is not planted: {error}", table.name));
        let header = BatchHeader {
            device: device.clone(),
            boot: boot.clone(),
            table: table.name.to_owned(),
            sequence_first: sequence,
            row_count: 1,
            created: now,
        };
        match shared.lake.append(Batch::new(header, now, batch)).await {
            Ok(_) => sequence += 1,
            // Tables of alerts are not the lake's.
            Err(garrison_lake::LakeError::UnknownTable { .. }) => {}
            Err(error) => panic!("{}: {error}", table.name),
        }
    }
    assert!(sequence >= 12, "rows in {sequence} tables");
    // Control data too, and another tenant in another geography, which works and has nothing to do with it.
    let (uk, other) = (Geography::new("UK").unwrap(), TenantId::new("other").unwrap());
    assert!(server.server.houses.make(&other, &uk, "test").await.unwrap().is_some());
    enrol(server.gateway(), &server.token().await.unwrap(), &format!("{PLANTED}-host")).await.unwrap();
    shared.lake.flush().await.unwrap();
    assert_eq!(export(shared, now).await.unwrap(), 7);
    assert_eq!(export(shared, now).await.unwrap(), 0, "a day is written once");
    let day: String = yesterday.chars().take(10).collect();
    let files = all_files(&root);
    let file = files.iter().find(|f| f.to_string_lossy().ends_with(&format!("{day}.jsonl"))).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tables = lines.iter().filter(|line| line["kind"] == "table").count();
    assert!(tables as u64 + 2 >= sequence, "{tables} of {sequence}: {text}");
    let seen = lines.iter().find(|line| line["sha256"] == json!("cd".repeat(32))).unwrap();
    assert_eq!((&seen["devices"], &seen["folders"]), (&json!(1), &json!(["user"])), "{seen}");
    let names = seen["names"].as_array().unwrap();
    assert!(!names.is_empty() && names.iter().all(|name| name.as_str().is_some_and(|n| n.len() >= 16)), "{seen}");
    // As it is, and as a program would write its bytes.
    let (hex, base64) = (hex::encode(PLANTED), base64::engine::general_purpose::STANDARD_NO_PAD.encode(&PLANTED[..6]));
    let forms = [PLANTED, "Zanzibar", device.as_str(), &hex, &base64];
    for planted in forms.into_iter().chain(["default"]) {
        assert_eq!(telling(&root, planted), Vec::<PathBuf>::new(), "{planted}");
        assert!(files.iter().all(|f| !f.to_string_lossy().contains(planted)));
    }
    let _kept = server.stop().await.unwrap();
    for none in ["us", "au", "ch", "in"] {
        assert_eq!(all_files(&data.join("geographies").join(none)), Vec::<PathBuf>::new());
    }
    let there = data.join("geographies/uk");
    assert!(all_files(&there).iter().any(|f| f.ends_with("other/control.db")));
    for planted in forms {
        assert_eq!(telling(&there, planted), Vec::<PathBuf>::new(), "{planted}");
        // At home telemetry is sealed; names of machines lie in control data, in their geography alone.
        assert_eq!(telling(&data.join("geographies/eu/lake"), planted).is_empty(), planted != device.as_str());
    }
    let at_home = telling(&data, &format!("{PLANTED}-host"));
    assert!(!at_home.is_empty() && at_home.iter().all(|f| f.starts_with(data.join("geographies/eu/control"))));
}
