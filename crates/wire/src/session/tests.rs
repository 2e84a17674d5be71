use super::*;
use crate::v1::{self, sensor_frame, server_frame};
use garrison_model::{DeviceId, Micros};
use proptest::prelude::*;
use std::time::Duration;

const BOOT: &str = "0f1e2d3c-0000-4000-8000-0123456789ab";
const SECOND: i64 = 1_000_000;

fn device() -> DeviceId {
    DeviceId::new("ab".repeat(20)).unwrap()
}

fn hello() -> v1::Hello {
    v1::Hello { protocol: crate::PROTOCOL, boot_id: BOOT.into(), ..v1::Hello::default() }
}

fn batch(first: u64) -> v1::Batch {
    v1::Batch {
        boot_id: BOOT.into(),
        table: "DeviceEvents".into(),
        sequence_first: first,
        row_count: 2,
        payload: vec![1, 2, 3].into(),
        ..v1::Batch::default()
    }
}

fn batch_frame(batch: v1::Batch) -> v1::SensorFrame {
    v1::SensorFrame { frame: Some(sensor_frame::Frame::Batch(batch)) }
}

fn opened() -> (SensorSession, GatewaySession) {
    let now = Micros(0);
    let (mut sensor, first) = SensorSession::start(hello(), now);
    let mut gateway = GatewaySession::start(device(), GatewayLimits::default(), now);
    let [SensorAction::Send(greeting)] = first.as_slice() else { panic!("{first:?}") };
    let answers = gateway.receive(greeting.clone(), now);
    let GatewayAction::Send(welcome) = &answers[0] else { panic!("{answers:?}") };
    assert!(matches!(sensor.receive(welcome.clone(), now)[0], SensorAction::Ready { clock_difference_ms: 0 }));
    (sensor, gateway)
}

fn pass(sensor: &mut SensorSession, gateway: &mut GatewaySession, result: StoreResult) -> Vec<SensorAction> {
    let now = Micros(SECOND);
    assert!(sensor.may_send(3, now));
    let SensorAction::Send(sent) = sensor.send(batch(10)) else { panic!() };
    let actions = gateway.receive(sent, now);
    let [GatewayAction::Ingest { header, payload, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(header.device, device());
    let answer = gateway.stored(header, payload.len() as u64, result);
    let [GatewayAction::Send(answer)] = answer.as_slice() else { panic!("{answer:?}") };
    sensor.receive(answer.clone(), now)
}

#[test]
fn a_stored_batch_is_forgotten_by_the_sensor() {
    let (mut sensor, mut gateway) = opened();
    let actions = pass(&mut sensor, &mut gateway, StoreResult::Stored);
    assert!(matches!(actions[0], SensorAction::Forget { sequence_first: 10, row_count: 2, .. }));
    assert_eq!(sensor.in_flight(), 0);
}

#[test]
fn a_full_disk_pauses_the_sensor_and_the_batch_comes_again() {
    let (mut sensor, mut gateway) = opened();
    let later =
        StoreResult::Later { code: "disk_full", message: "no space".into(), retry_after: Duration::from_secs(5) };
    let actions = pass(&mut sensor, &mut gateway, later);
    assert!(matches!(&actions[0], SensorAction::Requeue { code, .. } if code == "disk_full"));
    assert!(!sensor.may_send(3, Micros(5 * SECOND)));
    assert!(sensor.may_send(3, Micros(6 * SECOND)));
}

#[test]
fn a_malformed_batch_is_rejected_for_good_and_the_session_goes_on() {
    let (mut sensor, mut gateway) = opened();
    let never = StoreResult::Never { code: "batch_malformed", message: String::new() };
    assert!(matches!(pass(&mut sensor, &mut gateway, never)[0], SensorAction::Reject { .. }));
    assert!(matches!(pass(&mut sensor, &mut gateway, StoreResult::Stored)[0], SensorAction::Forget { .. }));
}

#[test]
fn batches_of_unknown_tables_boots_and_sizes_are_refused_before_they_cost_anything() {
    let (_, mut gateway) = opened();
    let cases = [
        (v1::Batch { table: "../etc".into(), ..batch(1) }, "batch_table"),
        (v1::Batch { boot_id: "x".repeat(500), ..batch(1) }, "batch_boot"),
        (v1::Batch { row_count: 0, ..batch(1) }, "batch_rows"),
        (v1::Batch { row_count: u32::MAX, ..batch(1) }, "batch_rows"),
        (v1::Batch { sequence_first: u64::MAX - 1, ..batch(1) }, "batch_sequence"),
    ];
    for (bad, code) in cases {
        let actions = gateway.receive(batch_frame(bad), Micros(1));
        let [GatewayAction::Send(v1::ServerFrame { frame: Some(server_frame::Frame::Refused(refused)) })] =
            actions.as_slice()
        else {
            panic!("{actions:?}")
        };
        assert_eq!((refused.code.as_str(), refused.retry_after_ms), (code, 0));
    }
}

#[test]
fn a_batch_before_the_greeting_ends_the_session() {
    let mut gateway = GatewaySession::start(device(), GatewayLimits::default(), Micros(0));
    let actions = gateway.receive(batch_frame(batch(1)), Micros(1));
    assert!(matches!(actions[1], GatewayAction::Close { code: "protocol" }));
    assert!(gateway.receive(batch_frame(batch(1)), Micros(2)).is_empty());
}

#[test]
fn a_sensor_that_overruns_its_window_is_cut_off() {
    let (_, mut gateway) = opened();
    let mut last = Vec::new();
    for i in 0..40 {
        last = gateway.receive(batch_frame(batch(i * 2)), Micros(1));
        if gateway.is_closed() {
            break;
        }
    }
    assert!(matches!(last.last(), Some(GatewayAction::Close { code: "protocol" })), "{last:?}");
}

#[test]
fn silence_ends_a_session_on_both_sides() {
    let (mut sensor, mut gateway) = opened();
    assert!(gateway.tick(Micros(89 * SECOND)).is_empty());
    assert!(matches!(gateway.tick(Micros(91 * SECOND))[1], GatewayAction::Close { code: "idle" }));
    let _ = sensor.send(batch(1));
    assert!(matches!(sensor.tick(Micros(91 * SECOND))[0], SensorAction::Close { .. }));
}

#[test]
fn an_answer_for_a_batch_that_was_never_sent_changes_nothing() {
    let (mut sensor, _) = opened();
    let ack = v1::Ack { boot_id: BOOT.into(), sequence_first: 99, row_count: 7 };
    let frame = v1::ServerFrame { frame: Some(server_frame::Frame::Ack(ack)) };
    assert!(sensor.receive(frame, Micros(1)).is_empty());
}

proptest! {
    /// Whatever frames come, in whatever order, neither side panics, and a closed session says nothing more.
    #[test]
    fn any_order_of_frames_is_borne(kinds in proptest::collection::vec((0_u8..6, any::<u64>(), any::<u32>()), 0..40)) {
        let (mut sensor, mut gateway) = opened();
        for (kind, a, b) in kinds {
            let frame = match kind {
                0 => Some(sensor_frame::Frame::Hello(hello())),
                1 => Some(sensor_frame::Frame::Batch(v1::Batch { sequence_first: a, row_count: b, ..batch(0) })),
                2 => Some(sensor_frame::Frame::Heartbeat(v1::Heartbeat::default())),
                _ => None,
            };
            let was_closed = gateway.is_closed();
            let actions = gateway.receive(v1::SensorFrame { frame }, Micros((a >> 1) as i64));
            prop_assert!(!was_closed || actions.is_empty());
            let answer = match kind {
                3 => Some(server_frame::Frame::Ack(v1::Ack { boot_id: BOOT.into(), sequence_first: a, row_count: b })),
                4 => Some(server_frame::Frame::Welcome(v1::Welcome { heartbeat_seconds: b, ..v1::Welcome::default() })),
                5 => Some(server_frame::Frame::Goodbye(v1::Goodbye { retry_after_ms: b, ..v1::Goodbye::default() })),
                _ => None,
            };
            let _ = sensor.receive(v1::ServerFrame { frame: answer }, Micros((a >> 1) as i64));
            let _ = sensor.tick(Micros(i64::from(b)));
        }
    }
}
