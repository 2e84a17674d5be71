//! For tests and benchmarks only: a server on port 0 in a folder of its own, and a fake sensor that speaks the real
//! wire. Thousands of fake sensors fit into one process: each is a connection, a small state machine and the batches
//! that have no answer yet.

mod fake_connector;
mod fake_sensor;
mod sensor;
mod server;
pub mod telemetry_rows;

pub use fake_connector::FakeConnector;
pub use fake_sensor::{Encoded, FakeSensor, FakeSession};
pub use sensor::{SensorIdentity, TestSensor, enrol, facts};
pub use server::TestServer;

use garrison_model::BootId;
use garrison_telemetry::batch_from_json;
use serde_json::json;

/// A boot id from a number.
pub fn boot(number: u32) -> BootId {
    BootId::new(format!("{number:08x}-0000-4000-8000-000000000000")).expect("the text has the form of a boot id")
}

/// Process rows as a sensor sends them: `rows` creations, `first` numbers the first one's process id.
pub fn process_rows(first: u64, rows: u32) -> arrow::array::RecordBatch {
    let now = garrison_server::shared::rfc3339(garrison_server::now());
    let rows: Vec<_> = (0..u64::from(rows))
        .map(|i| {
            json!({
                "Timestamp": now,
                "ActionType": "ProcessCreated",
                "FileName": "true",
                "FolderPath": "/usr/bin/true",
                "ProcessCommandLine": format!("/bin/true --row {}", first + i),
                "ProcessId": (first + i) & 0x3f_ffff,
                "AccountName": "root",
                "InitiatingProcessFileName": "bash",
                "InitiatingProcessFolderPath": "/usr/bin/bash",
            })
        })
        .collect();
    batch_from_json("DeviceProcessEvents", &rows).expect("rows fit the table")
}
