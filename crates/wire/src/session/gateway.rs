//! The gateway's half: wants a greeting first, checks batches before they cost anything, answers each one.

use crate::v1::{self, sensor_frame, server_frame};
use garrison_model::{BootId, DeviceId, Micros};
use garrison_telemetry::{BatchHeader, DecodeLimits};
use std::time::Duration;

/// What a gateway grants and bears.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// Seconds between heartbeats; after three without a word the session is closed.
    pub heartbeat_seconds: u32,
    /// Batches a sensor may have under way.
    pub window_batches: u32,
    /// Bytes a sensor may have under way.
    pub window_bytes: u64,
    /// How long a client may take to greet.
    pub greeting_max: Duration,
    /// Bounds of a batch.
    pub decode: DecodeLimits,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            heartbeat_seconds: 30,
            window_batches: 32,
            window_bytes: 16 << 20,
            greeting_max: Duration::from_secs(10),
            decode: DecodeLimits::default(),
        }
    }
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum GatewayAction {
    /// Send a frame.
    Send(v1::ServerFrame),
    /// The sensor has greeted: note what it says of itself.
    Greeted(Box<v1::Hello>),
    /// Take a batch in; its answer comes back through [`GatewaySession::stored`].
    Ingest {
        /// Header; the device is the certificate's.
        header: BatchHeader,
        /// Arrow IPC bytes, not yet decoded.
        payload: bytes_of::Bytes,
        /// Whether the sensor holds it to be urgent.
        urgent: bool,
    },
    /// Note a heartbeat.
    Heartbeat(Box<v1::Heartbeat>),
    /// Note what the sensor says of its content.
    ContentStatus(v1::ContentStatus),
    /// Close the connection, after sending the goodbye that comes with it.
    Close {
        /// Stable code.
        code: &'static str,
    },
}

/// The `bytes` type that generated messages use.
pub mod bytes_of {
    pub use prost::bytes::Bytes;
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreResult {
    /// Durable, or stored before.
    Stored,
    /// Not now.
    Later {
        /// Stable code, such as `disk_full`.
        code: &'static str,
        /// Words.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Never.
    Never {
        /// Stable code, such as `batch_malformed`.
        code: &'static str,
        /// Words.
        message: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting { since: Micros },
    Open,
    Closed,
}

/// One session, from the gateway's side.
#[derive(Debug)]
pub struct GatewaySession {
    device: DeviceId,
    limits: GatewayLimits,
    phase: Phase,
    last_heard: Micros,
    under_way: u32,
    under_way_bytes: u64,
}

fn frame(frame: server_frame::Frame) -> GatewayAction {
    GatewayAction::Send(v1::ServerFrame { frame: Some(frame) })
}

impl GatewaySession {
    /// A connection of the device that the certificate names.
    pub fn start(device: DeviceId, limits: GatewayLimits, now: Micros) -> Self {
        Self { device, limits, phase: Phase::Waiting { since: now }, last_heard: now, under_way: 0, under_way_bytes: 0 }
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Time passes.
    pub fn tick(&mut self, now: Micros) -> Vec<GatewayAction> {
        let passed = |since: Micros| Duration::from_micros(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0));
        match self.phase {
            Phase::Waiting { since } if passed(since) > self.limits.greeting_max => self.close("idle", "no greeting"),
            Phase::Open if passed(self.last_heard) > self.silence_max() => self.close("idle", "no heartbeat"),
            _ => Vec::new(),
        }
    }

    fn silence_max(&self) -> Duration {
        Duration::from_secs(u64::from(self.limits.heartbeat_seconds) * 3)
    }

    /// A frame from the sensor.
    pub fn receive(&mut self, received: v1::SensorFrame, now: Micros) -> Vec<GatewayAction> {
        self.last_heard = now;
        match (self.phase, received.frame) {
            (Phase::Closed, _) => Vec::new(),
            (Phase::Waiting { .. }, Some(sensor_frame::Frame::Hello(hello))) => {
                if hello.protocol != crate::PROTOCOL {
                    let text = format!("protocol {} is not spoken here, {} is", hello.protocol, crate::PROTOCOL);
                    return self.close("protocol", &text);
                }
                self.phase = Phase::Open;
                let welcome = v1::Welcome {
                    device_id: self.device.to_string(),
                    server_time: now.0,
                    heartbeat_seconds: self.limits.heartbeat_seconds,
                    window_batches: self.limits.window_batches,
                    window_bytes: self.limits.window_bytes,
                };
                vec![frame(server_frame::Frame::Welcome(welcome)), GatewayAction::Greeted(Box::new(hello))]
            }
            (Phase::Open, Some(sensor_frame::Frame::Batch(batch))) => self.batch(batch),
            (Phase::Open, Some(sensor_frame::Frame::Heartbeat(beat))) => vec![GatewayAction::Heartbeat(Box::new(beat))],
            (Phase::Open, Some(sensor_frame::Frame::ContentStatus(s))) => vec![GatewayAction::ContentStatus(s)],
            // A frame kind that a newer sensor knows is passed over.
            (_, None) => Vec::new(),
            _ => self.close("protocol", "frame out of turn"),
        }
    }

    fn batch(&mut self, batch: v1::Batch) -> Vec<GatewayAction> {
        let bytes = batch.payload.len() as u64;
        // A sensor may always have one batch under way, whatever its size; beyond that the window holds, with one
        // batch of grace for frames that crossed.
        let over = self.under_way > self.limits.window_batches
            || (self.under_way > 0 && self.under_way_bytes.saturating_add(bytes) > self.limits.window_bytes * 2);
        if over {
            return self.close("protocol", "more under way than the window allows");
        }
        let refuse = |code: &'static str, message: String| {
            let refused = v1::Refused {
                boot_id: batch.boot_id.chars().take(40).collect(),
                sequence_first: batch.sequence_first,
                row_count: batch.row_count,
                code: code.to_owned(),
                message,
                retry_after_ms: 0,
            };
            vec![frame(server_frame::Frame::Refused(refused))]
        };
        let Ok(boot) = BootId::new(batch.boot_id.as_str()) else {
            return refuse("batch_boot", "boot id is malformed".to_owned());
        };
        if garrison_telemetry::table(&batch.table).is_none() {
            return refuse(
                "batch_table",
                format!("there is no table `{}`", batch.table.chars().take(80).collect::<String>()),
            );
        }
        let rows = batch.row_count as usize;
        if rows == 0 || rows > self.limits.decode.rows_max {
            return refuse(
                "batch_rows",
                format!("batch has {rows} rows, 1 to {} are taken", self.limits.decode.rows_max),
            );
        }
        if batch.payload.len() > self.limits.decode.encoded_bytes_max {
            return refuse("batch_size", format!("batch has {bytes} bytes, too many"));
        }
        // Sequence numbers end below i64::MAX, since ReportId is a signed column.
        if batch.sequence_first.saturating_add(u64::from(batch.row_count)) > i64::MAX as u64 {
            return refuse("batch_sequence", "sequence number is out of range".to_owned());
        }
        self.under_way += 1;
        self.under_way_bytes += bytes;
        let header = BatchHeader {
            device: self.device.clone(),
            boot,
            table: batch.table,
            sequence_first: batch.sequence_first,
            row_count: batch.row_count,
            created: Micros(batch.created),
        };
        vec![GatewayAction::Ingest { header, payload: batch.payload, urgent: batch.urgent }]
    }

    /// What became of a batch of `bytes` payload bytes.
    pub fn stored(&mut self, header: &BatchHeader, bytes: u64, result: StoreResult) -> Vec<GatewayAction> {
        self.under_way = self.under_way.saturating_sub(1);
        self.under_way_bytes = self.under_way_bytes.saturating_sub(bytes);
        if self.phase == Phase::Closed {
            return Vec::new();
        }
        let refused = |code: &str, message, retry_after_ms| {
            server_frame::Frame::Refused(v1::Refused {
                boot_id: header.boot.to_string(),
                sequence_first: header.sequence_first,
                row_count: header.row_count,
                code: code.to_owned(),
                message,
                retry_after_ms,
            })
        };
        vec![frame(match result {
            StoreResult::Stored => server_frame::Frame::Ack(v1::Ack {
                boot_id: header.boot.to_string(),
                sequence_first: header.sequence_first,
                row_count: header.row_count,
            }),
            StoreResult::Later { code, message, retry_after } => {
                refused(code, message, u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX).max(1))
            }
            StoreResult::Never { code, message } => refused(code, message, 0),
        })]
    }

    /// Ends the session from the server's side: `revoked`, `superseded` or `shutting_down`.
    pub fn close(&mut self, code: &'static str, message: &str) -> Vec<GatewayAction> {
        self.phase = Phase::Closed;
        let retry_after_ms = match code {
            "revoked" => 600_000,
            "protocol" => 60_000,
            _ => 1_000,
        };
        let goodbye = v1::Goodbye { code: code.to_owned(), message: message.to_owned(), retry_after_ms };
        vec![frame(server_frame::Frame::Goodbye(goodbye)), GatewayAction::Close { code }]
    }
}
