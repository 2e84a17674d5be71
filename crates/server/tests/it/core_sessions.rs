//! Enrolment, sessions, and what a hostile or unlucky sensor gets.

use garrison_telemetry::batch_from_json;
use garrison_testkit::{TestSensor, TestServer, boot, enrol, process_rows};
use garrison_wire::v1;
use serde_json::json;

const TABLE: &str = "DeviceProcessEvents";

async fn connected(server: &TestServer) -> TestSensor {
    let identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-1").await.unwrap();
    TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap()
}

/// Hears until the session is over; the words of its end.
async fn end_of(sensor: &mut TestSensor) -> String {
    loop {
        if let Err(error) = sensor.hear().await {
            return format!("{error:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_enrolled_sensor_are_stored_and_readable_when_they_are_acknowledged() {
    let server = TestServer::start().await.unwrap();
    let mut sensor = connected(&server).await;
    sensor.send(TABLE, &process_rows(0, 3)).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!(sensor.acknowledged, 3);
    assert_eq!(server.stored(TABLE, &sensor.identity.device).unwrap(), [1, 2, 3]);
    let device = server.server.shared.fleet.device(&sensor.identity.device).unwrap();
    assert_eq!((device.computer_dns_name.as_str(), device.row_count), ("web-1", 3));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_batch_is_stored_once_and_acknowledged_again() {
    let server = TestServer::start().await.unwrap();
    let mut sensor = connected(&server).await;
    sensor.send(TABLE, &process_rows(0, 5)).await.unwrap();
    let batch = sensor.unanswered.values().next().unwrap().clone();
    sensor.settle().await.unwrap();
    for _ in 0..3 {
        sensor.send_batch(batch.clone()).await.unwrap();
        sensor.settle().await.unwrap();
    }
    assert_eq!(sensor.acknowledged, 20);
    assert_eq!(server.stored(TABLE, &sensor.identity.device).unwrap(), [1, 2, 3, 4, 5]);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_batch_is_refused_and_nothing_else_is_disturbed() {
    let server = TestServer::start().await.unwrap();
    let mut sensor = connected(&server).await;
    sensor.send_payload(TABLE, 2, vec![0xff; 300].into()).await.unwrap();
    sensor.send("NoSuchTable", &process_rows(0, 1)).await.unwrap();
    // Columns of another type, and fewer rows than the header says.
    let odd = batch_from_json("DeviceNetworkEvents", &[json!({"Timestamp": "2026-11-20T00:00:00Z", "LocalPort": 1})]);
    sensor.send(TABLE, &process_rows(9, 1)).await.unwrap();
    let payload = garrison_telemetry::encode_ipc(&odd.unwrap()).unwrap();
    sensor.send_payload("DeviceNetworkEvents", 7, payload.into()).await.unwrap();
    sensor.settle().await.unwrap();
    let codes: Vec<&str> = sensor.rejected.iter().map(|(_, code)| code.as_str()).collect();
    assert_eq!(codes.len(), 3, "{codes:?}");
    for code in ["batch_malformed", "batch_table", "batch_rows"] {
        assert!(codes.contains(&code), "{code} in {codes:?}");
    }
    assert_eq!(sensor.acknowledged, 1);
    assert!(server.metric("garrison_batches_refused_total{code=\"batch_malformed\"}") >= 1.0);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_cannot_write_as_another_device() {
    let server = TestServer::start().await.unwrap();
    let mut honest = connected(&server).await;
    let mut liar = connected(&server).await;
    let other = honest.identity.device.as_str();
    let claim = json!({"Timestamp": garrison_server::shared::rfc3339(server.now()), "DeviceId": other,
        "DeviceName": "not me", "ReportId": 77, "FileName": "x"});
    liar.send(TABLE, &batch_from_json(TABLE, &[claim]).unwrap()).await.unwrap();
    liar.settle().await.unwrap();
    honest.send(TABLE, &process_rows(0, 1)).await.unwrap();
    honest.settle().await.unwrap();
    assert_eq!(server.stored(TABLE, &honest.identity.device).unwrap(), [1]);
    assert_eq!(server.stored(TABLE, &liar.identity.device).unwrap(), [1]);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_no_table_knows_are_kept_aside_and_counted() {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;
    let server = TestServer::start().await.unwrap();
    let mut sensor = connected(&server).await;
    let rows = process_rows(0, 2);
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("../FromTheFuture", DataType::Int64, true)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![4711, 4712])));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    sensor.send(TABLE, &rows).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!(sensor.acknowledged, 2);
    let aside = std::fs::read_to_string(server.folder().join("aside/DeviceProcessEvents.jsonl")).unwrap();
    assert!(aside.contains("4711"), "{aside}");
    assert!(server.metric("garrison_unknown_columns_total{table=\"DeviceProcessEvents\"}") >= 1.0);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_needs_a_token_that_is_known_fresh_and_not_used_up() {
    let server = TestServer::start().await.unwrap();
    let identity = &server.server.shared.identity;
    let now = server.now();
    let refused = |error: anyhow::Error| {
        let status = error.downcast::<tonic::Status>().unwrap();
        status.metadata().get("garrison-code").unwrap().to_str().unwrap().to_owned()
    };
    let (once, record) = identity.enrolment_token_create("once", 1, 1, now).await.unwrap();
    enrol(server.gateway(), &once, "a").await.unwrap();
    assert_eq!(refused(enrol(server.gateway(), &once, "b").await.unwrap_err()), "token_used_up");
    let listed = identity.enrolment_token_list().await.unwrap();
    assert_eq!(listed.iter().find(|t| t.id == record.id).unwrap().uses, 1);

    let long_ago = garrison_model::Micros(now.0 - 7_200_000_000);
    let (old, _) = identity.enrolment_token_create("old", 1, 1, long_ago).await.unwrap();
    assert_eq!(refused(enrol(server.gateway(), &old, "c").await.unwrap_err()), "token_expired");

    let (gone, record) = identity.enrolment_token_create("gone", 1, 9, now).await.unwrap();
    assert!(identity.enrolment_token_revoke(&record.id).await.unwrap());
    assert_eq!(refused(enrol(server.gateway(), &gone, "d").await.unwrap_err()), "token_revoked");

    let mut forged: garrison_wire::token::EnrolmentToken = server.token().await.unwrap().parse().unwrap();
    forged.secret[0] ^= 1;
    assert_eq!(refused(enrol(server.gateway(), &forged.to_string(), "e").await.unwrap_err()), "token_unknown");
    // A token of another server pins another CA: the sensor itself refuses.
    forged.ca_fingerprint[0] ^= 1;
    assert!(enrol(server.gateway(), &forged.to_string(), "f").await.is_err());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_opens_nothing() {
    let (here, there) = (TestServer::start().await.unwrap(), TestServer::start().await.unwrap());
    let mut foreign = enrol(there.gateway(), &there.token().await.unwrap(), "x").await.unwrap();
    foreign.ca = here.server.shared.identity.authority().certificate().clone();
    assert!(TestSensor::connect(foreign, here.gateway(), boot(1)).await.is_err());
    assert_eq!(here.server.shared.fleet.count(), 0);
    here.stop().await.unwrap();
    there.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_the_same_device() {
    let server = TestServer::start().await.unwrap();
    let mut identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-1").await.unwrap();
    let former = identity.own.chain[0].clone();
    identity.renew(server.gateway()).await.unwrap();
    assert_ne!(identity.own.chain[0], former);
    let mut sensor = TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap();
    sensor.send(TABLE, &process_rows(0, 1)).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!(server.server.shared.fleet.count(), 1);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_cut_off_at_once_and_stays_out() {
    let server = TestServer::start().await.unwrap();
    let mut sensor = connected(&server).await;
    let device = sensor.identity.device.clone();
    let fleet = server.server.shared.fleet.clone();
    assert!(fleet.revoke(&device, "stolen", server.now()).await.unwrap());
    assert!(end_of(&mut sensor).await.contains("revoked"));
    assert!(TestSensor::connect(sensor.identity.clone(), server.gateway(), boot(1)).await.is_err());
    assert!(sensor.identity.renew(server.gateway()).await.is_err());
    // Also after a restart.
    let folder = server.stop().await.unwrap();
    let server = TestServer::start_in(folder, |_| {}).await.unwrap();
    assert!(TestSensor::connect(sensor.identity.clone(), server.gateway(), boot(1)).await.is_err());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_session_of_a_device_wins() {
    let server = TestServer::start().await.unwrap();
    let mut old = connected(&server).await;
    let mut new = TestSensor::connect(old.identity.clone(), server.gateway(), boot(1)).await.unwrap();
    assert!(end_of(&mut old).await.contains("superseded"));
    new.send(TABLE, &process_rows(0, 1)).await.unwrap();
    new.settle().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_says_goodbye_and_keeps_what_it_acknowledged() {
    let server = TestServer::start().await.unwrap();
    let mut sensor = connected(&server).await;
    sensor.send(TABLE, &process_rows(0, 4)).await.unwrap();
    sensor.settle().await.unwrap();
    let ending = tokio::spawn(async move { end_of(&mut sensor).await });
    let folder = server.stop().await.unwrap();
    assert!(ending.await.unwrap().contains("shutting_down"));
    let server = TestServer::start_in(folder, |_| {}).await.unwrap();
    let devices = server
        .server
        .shared
        .fleet
        .device_list(&garrison_server::fleet::DeviceFilter { limit: 10, ..Default::default() });
    assert_eq!(devices.items[0].row_count, 4);
    assert_eq!(server.stored(TABLE, &devices.items[0].id).unwrap(), [1, 2, 3, 4]);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_writes_too_much_is_put_off_and_loses_nothing() {
    // The third batch lacks 1,928 rows of room, which come in a second; it is here much sooner, being encoded already.
    let server = TestServer::start_with(|c| {
        c.limits.device_rows_per_second = 2_000;
        c.limits.device_rows_burst = 131_072;
    })
    .await
    .unwrap();
    let mut sensor = connected(&server).await;
    const ROWS: u32 = 44_333;
    let payload = bytes::Bytes::from(garrison_telemetry::encode_ipc(&process_rows(0, ROWS)).unwrap());
    for _ in 0..3 {
        sensor.send_payload(TABLE, ROWS, payload.clone()).await.unwrap();
    }
    sensor.settle().await.unwrap();
    while !sensor.unanswered.is_empty() {
        sensor.resend().await.unwrap();
        sensor.settle().await.unwrap();
    }
    assert!(sensor.put_off.iter().any(|code| code == "quota_rows"), "{:?}", sensor.put_off);
    assert_eq!(server.stored(TABLE, &sensor.identity.device).unwrap().len(), 3 * ROWS as usize);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_puts_sensors_off_with_its_code() {
    // A floor above what any disk has is a full disk without filling one.
    let server = TestServer::start_with(|c| c.disk_floor_bytes = 1 << 50).await.unwrap();
    let mut sensor = connected(&server).await;
    sensor.send(TABLE, &process_rows(0, 1)).await.unwrap();
    sensor.settle().await.unwrap();
    assert_eq!((sensor.put_off.clone(), sensor.acknowledged), (vec!["disk_full".to_owned()], 0));
    assert_eq!(server.stored(TABLE, &sensor.identity.device).unwrap(), [] as [i64; 0]);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_heartbeat_says_shows_in_the_device() {
    let server = TestServer::start().await.unwrap();
    let mut sensor = connected(&server).await;
    let beat = v1::Heartbeat {
        health_issues: vec!["cannot see network closes".to_owned(), "x".repeat(100_000)],
        degradation: 2,
        ..v1::Heartbeat::default()
    };
    sensor.heartbeat(beat).await.unwrap();
    // The answer to a batch comes after the heartbeat was taken in.
    sensor.send(TABLE, &process_rows(0, 1)).await.unwrap();
    sensor.settle().await.unwrap();
    let device = server.server.shared.fleet.device(&sensor.identity.device).unwrap();
    assert_eq!(device.health_status, garrison_model::SensorHealthState::Impaired);
    assert!(device.health_issues.iter().all(|i| i.len() <= 200) && device.health_issues.len() == 3);
    server.stop().await.unwrap();
}
