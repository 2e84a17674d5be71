//! The sensor's half: greets, sends batches within the window, hears what became of them.

use crate::v1::{self, sensor_frame, server_frame};
use garrison_model::{BootId, Micros};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum SensorAction {
    /// Send a frame.
    Send(v1::SensorFrame),
    /// The batch is durable on the server: forget it.
    Forget {
        /// Boot.
        boot: BootId,
        /// First number.
        sequence_first: u64,
        /// Rows.
        row_count: u32,
    },
    /// The batch was refused for now: put it back to the front of the queue; nothing is sent until the time given.
    Requeue {
        /// Boot.
        boot: BootId,
        /// First number.
        sequence_first: u64,
        /// Rows.
        row_count: u32,
        /// Why.
        code: String,
    },
    /// The batch will never be taken: write it to the ledger and forget it.
    Reject {
        /// Boot.
        boot: BootId,
        /// First number.
        sequence_first: u64,
        /// Rows.
        row_count: u32,
        /// Why.
        code: String,
    },
    /// New detection content, not yet verified.
    Content(v1::Content),
    /// Whether the server wants rows; if not, why.
    Collection {
        /// Whether it does.
        wanted: bool,
        /// Why not, cut to 200 characters.
        reason: String,
    },
    /// The server has answered the greeting; its clock differs from ours by this much.
    Ready {
        /// Server's time less ours, milliseconds.
        clock_difference_ms: i64,
    },
    /// Close the connection and come back after the time given.
    Close {
        /// Stable code.
        code: String,
        /// How long to wait at least.
        retry_after: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting { since: Micros },
    Ready,
    Closed,
}

/// One session, from the sensor's side.
#[derive(Debug)]
pub struct SensorSession {
    phase: Phase,
    window_batches: usize,
    window_bytes: u64,
    heartbeat: Duration,
    last_heartbeat: Micros,
    last_heard: Micros,
    paused_until: Micros,
    in_flight: BTreeMap<(String, u64), (u32, u64)>,
    in_flight_bytes: u64,
}

/// How long the server may take to answer the greeting.
const GREETING_MAX: Duration = Duration::from_secs(20);
/// Bounds on what a server may set: a wrong or hostile server must not make us flood or fall silent.
const WINDOW_BATCHES_MAX: u32 = 1024;
const WINDOW_BYTES_MAX: u64 = 64 << 20;
const HEARTBEAT_MIN: u32 = 1;
const HEARTBEAT_MAX: u32 = 300;
const RETRY_MAX: Duration = Duration::from_mins(10);

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl SensorSession {
    /// Begins: the greeting is to be sent.
    pub fn start(hello: v1::Hello, now: Micros) -> (Self, Vec<SensorAction>) {
        let session = Self {
            phase: Phase::Greeting { since: now },
            window_batches: 0,
            window_bytes: 0,
            heartbeat: Duration::from_secs(30),
            last_heartbeat: now,
            last_heard: now,
            paused_until: now,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
        };
        let frame = v1::SensorFrame { frame: Some(sensor_frame::Frame::Hello(hello)) };
        (session, vec![SensorAction::Send(frame)])
    }

    /// Whether a batch of this size may be sent now. One batch may always be under way, however large.
    pub fn may_send(&self, bytes: u64, now: Micros) -> bool {
        self.phase == Phase::Ready
            && now >= self.paused_until
            && (self.in_flight.is_empty()
                || (self.in_flight.len() < self.window_batches
                    && self.in_flight_bytes.saturating_add(bytes) <= self.window_bytes))
    }

    /// When nothing may be sent before, after a refusal.
    pub fn paused_until(&self) -> Micros {
        self.paused_until
    }

    /// Whether the server has answered the greeting.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Batches under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Sends a batch; the caller has asked [`Self::may_send`].
    pub fn send(&mut self, batch: v1::Batch) -> SensorAction {
        let bytes = batch.payload.len() as u64;
        let former = self.in_flight.insert((batch.boot_id.clone(), batch.sequence_first), (batch.row_count, bytes));
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(former.map_or(0, |f| f.1)).saturating_add(bytes);
        SensorAction::Send(v1::SensorFrame { frame: Some(sensor_frame::Frame::Batch(batch)) })
    }

    /// Whether a heartbeat is due; the caller fills it in and calls [`Self::heartbeat`].
    pub fn heartbeat_due(&self, now: Micros) -> bool {
        self.phase == Phase::Ready && now.0.saturating_sub(self.last_heartbeat.0) >= micros(self.heartbeat)
    }

    /// Sends a heartbeat.
    pub fn heartbeat(&mut self, heartbeat: v1::Heartbeat, now: Micros) -> SensorAction {
        self.last_heartbeat = now;
        SensorAction::Send(v1::SensorFrame { frame: Some(sensor_frame::Frame::Heartbeat(heartbeat)) })
    }

    /// Time passes.
    pub fn tick(&mut self, now: Micros) -> Vec<SensorAction> {
        match self.phase {
            Phase::Greeting { since } if now.0.saturating_sub(since.0) > micros(GREETING_MAX) => {
                self.close("no_answer", Duration::ZERO)
            }
            // Batches under way and nothing heard for three heartbeats: the connection is dead though TCP is not.
            Phase::Ready
                if !self.in_flight.is_empty()
                    && now.0.saturating_sub(self.last_heard.0) > micros(self.heartbeat.saturating_mul(3)) =>
            {
                self.close("silent", Duration::ZERO)
            }
            _ => Vec::new(),
        }
    }

    /// A frame from the server.
    pub fn receive(&mut self, frame: v1::ServerFrame, now: Micros) -> Vec<SensorAction> {
        self.last_heard = now;
        if self.phase == Phase::Closed {
            return Vec::new();
        }
        match (self.phase, frame.frame) {
            (Phase::Greeting { .. }, Some(server_frame::Frame::Welcome(welcome))) => {
                self.phase = Phase::Ready;
                self.window_batches = welcome.window_batches.clamp(1, WINDOW_BATCHES_MAX) as usize;
                self.window_bytes = welcome.window_bytes.clamp(1, WINDOW_BYTES_MAX);
                let seconds = welcome.heartbeat_seconds.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX);
                self.heartbeat = Duration::from_secs(u64::from(seconds));
                self.last_heartbeat = Micros(now.0.saturating_sub(micros(self.heartbeat)));
                vec![SensorAction::Ready { clock_difference_ms: Micros(welcome.server_time).millis_since(now) }]
            }
            (_, Some(server_frame::Frame::Goodbye(goodbye))) => {
                let wait = Duration::from_millis(u64::from(goodbye.retry_after_ms)).min(RETRY_MAX);
                self.close(&goodbye.code, wait)
            }
            (Phase::Ready, Some(server_frame::Frame::Ack(ack))) => {
                self.answered(&ack.boot_id, ack.sequence_first).map_or_else(Vec::new, |(boot, row_count)| {
                    vec![SensorAction::Forget { boot, sequence_first: ack.sequence_first, row_count }]
                })
            }
            (Phase::Ready, Some(server_frame::Frame::Refused(refused))) => {
                let Some((boot, row_count)) = self.answered(&refused.boot_id, refused.sequence_first) else {
                    return Vec::new();
                };
                let (sequence_first, code) = (refused.sequence_first, refused.code);
                if refused.retry_after_ms == 0 {
                    return vec![SensorAction::Reject { boot, sequence_first, row_count, code }];
                }
                let wait = Duration::from_millis(u64::from(refused.retry_after_ms)).min(RETRY_MAX);
                self.paused_until = self.paused_until.max(Micros(now.0.saturating_add(micros(wait))));
                vec![SensorAction::Requeue { boot, sequence_first, row_count, code }]
            }
            (Phase::Ready, Some(server_frame::Frame::Content(content))) => vec![SensorAction::Content(content)],
            (Phase::Ready, Some(server_frame::Frame::Collection(told))) => {
                let reason = told.reason.chars().filter(|c| !c.is_control()).take(200).collect();
                vec![SensorAction::Collection { wanted: told.wanted, reason }]
            }
            // A frame kind that a newer server knows is passed over; anything else out of turn ends the session.
            (_, None) => Vec::new(),
            _ => self.close("protocol", Duration::from_secs(5)),
        }
    }

    /// An answer counts only for a batch that is under way, with the row count that we know.
    fn answered(&mut self, boot: &str, sequence_first: u64) -> Option<(BootId, u32)> {
        let (row_count, bytes) = self.in_flight.remove(&(boot.to_owned(), sequence_first))?;
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
        BootId::new(boot).ok().map(|boot| (boot, row_count))
    }

    fn close(&mut self, code: &str, retry_after: Duration) -> Vec<SensorAction> {
        self.phase = Phase::Closed;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        vec![SensorAction::Close { code: code.chars().take(40).collect(), retry_after }]
    }
}
