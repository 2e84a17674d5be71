//! `kill -9` at any moment: no acknowledged row is lost, none is stored twice.

use garrison_testkit::{TestSensor, TestServer, boot, enrol, process_rows};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const TABLE: &str = "DeviceProcessEvents";
const KILLS: u32 = 8;
const SENSORS: u32 = 3;

/// A server in a process of its own, so that it can be killed.
fn spawn(data: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_garrison"))
        .args(["serve", "--output", "json", "--http", "127.0.0.1:0", "--gateway", "127.0.0.1:0"])
        .env("GARRISON_LOG", "error")
        .arg("--data")
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, addresses["gateway"].as_str().unwrap().parse().unwrap())
}

fn token(data: &Path) -> String {
    // Made through the API as an operator would; the local administrator's token lies in the data folder.
    let made = Command::new(env!("CARGO_BIN_EXE_garrison"))
        .args(["token", "create", "--output", "json", "--data"])
        .arg(data)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_acknowledged_row_and_stores_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut gateway) = spawn(folder.path());
    let token = token(folder.path());
    let mut sensors = Vec::new();
    for number in 0..SENSORS {
        let identity = enrol(gateway, &token, &format!("host-{number}")).await.unwrap();
        sensors.push(TestSensor::connect(identity, gateway, boot(number)).await.unwrap());
    }
    for round in 0..KILLS {
        let (heard, mut hearing) = tokio::sync::watch::channel(0_u32);
        let mut running = Vec::new();
        for mut sensor in sensors.drain(..) {
            let heard = heard.clone();
            running.push(tokio::spawn(async move {
                // Until the connection breaks: send, and hear what was stored.
                loop {
                    let rows = process_rows(sensor.sequence, 50);
                    if sensor.send(TABLE, &rows).await.is_err() || sensor.settle().await.is_err() {
                        return sensor;
                    }
                    heard.send_modify(|count| *count += 1);
                }
            }));
        }
        // The moment of the kill differs from round to round: after so many answers, while more is on its way.
        hearing.wait_for(|count| *count > SENSORS * 2 + round * 5 % 17).await.unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        for run in running {
            sensors.push(run.await.unwrap());
        }
        (child, gateway) = spawn(folder.path());
        for sensor in &mut sensors {
            sensor.reconnect(gateway).await.unwrap();
            sensor.settle().await.unwrap();
            assert!(sensor.unanswered.is_empty() && sensor.rejected.is_empty(), "{:?}", sensor.rejected);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let server = TestServer::start_in(folder, |_| {}).await.unwrap();
    for sensor in &sensors {
        let stored = server.stored(TABLE, &sensor.identity.device).unwrap();
        let expected: Vec<i64> = (1..sensor.sequence as i64).collect();
        assert!(expected.len() >= 50 * KILLS as usize, "only {} rows were sent", expected.len());
        assert_eq!(stored.len(), expected.len());
        assert_eq!(stored, expected);
    }
    server.stop().await.unwrap();
}
