//! The central store: planted names in every table and column, and not one of them in any byte of it.

use crate::rest::{all_files, plan_on, telling};
use garrison_lake::Batch;
use garrison_model::{BootId, DeviceId, Micros};
use garrison_server::central::export;
use garrison_server::retention::DAY;
use garrison_server::shared::rfc3339;
use garrison_telemetry::{BatchHeader, batch_from_json};
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
        row.insert("Timestamp".into(), json!(yesterday));
        let Ok(batch) = batch_from_json(table.name, &[Value::Object(row)]) else { continue };
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
    for planted in [PLANTED, "Zanzibar", device.as_str(), "default"] {
        assert_eq!(telling(&root, planted), Vec::<PathBuf>::new(), "{planted}");
        assert!(files.iter().all(|f| !f.to_string_lossy().contains(planted)));
    }
    for other in ["us", "uk", "au", "ch", "in"] {
        assert_eq!(all_files(&data.join("geographies").join(other)), Vec::<PathBuf>::new());
    }
    assert_eq!(telling(&data.join("geographies"), PLANTED), Vec::<PathBuf>::new());
    server.stop().await.unwrap();
}
