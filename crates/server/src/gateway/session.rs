//! Drives one session: the pure state machine of `garrison-wire` between a stream of frames and ingest.
//!
//! Nothing runs unless the connection asks for the next frame to send, so a sensor that does not read is not read from
//! either.

use super::frames::{ContentFrame, Out};
use super::listener::GatewayParts;
use crate::fleet::{Control, SessionGuard};
use crate::metrics::ByCode;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use garrison_model::{DeviceId, Feature, Micros};
use garrison_telemetry::BatchHeader;
use garrison_wire::session::{GatewayAction, GatewayLimits, GatewaySession, StoreResult};
use garrison_wire::v1::{self, server_frame};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Streaming;

/// Batches under way in one session; more are not read. The window told to the sensor is the same.
const PENDING_MAX: usize = 32;
/// How often a session looks at the clock: its bounds are tens of seconds.
const TICK: Duration = Duration::from_secs(10);
/// New content goes out at once to this many sensors a second; a larger fleet is told over some seconds, since each
/// copy of the bundle lies in a connection's buffer until it is sent.
const CONTENT_PER_SECOND: usize = 1_000;

type Pending = Pin<Box<dyn Future<Output = (BatchHeader, u64, StoreResult)> + Send>>;

pub(super) struct Session {
    parts: GatewayParts,
    device: DeviceId,
    guard: SessionGuard,
    inbound: Streaming<v1::SensorFrame>,
    state: GatewaySession,
    out: VecDeque<Out>,
    content_frame: Arc<ContentFrame>,
    pending: FuturesUnordered<Pending>,
    greeted: bool,
    /// What the sensor says that it runs.
    content_version: String,
    content_due: Option<Instant>,
    /// Whether the sensor was told last that its rows are wanted; it begins so.
    wanted: bool,
    stopping: bool,
    ended: bool,
    next_tick: Instant,
}

enum Event {
    Stored(BatchHeader, u64, StoreResult),
    Control(Control),
    Stop,
    ContentChanged,
    ContentDue,
    Frame(Box<v1::SensorFrame>),
    Gone,
    Tick,
}

impl Session {
    pub(super) fn new(
        parts: &GatewayParts,
        device: &DeviceId,
        guard: SessionGuard,
        inbound: Streaming<v1::SensorFrame>,
        content_frame: Arc<ContentFrame>,
        now: Micros,
    ) -> Self {
        let limits = GatewayLimits {
            heartbeat_seconds: parts.shared.config.limits.heartbeat_seconds,
            window_batches: PENDING_MAX as u32,
            ..GatewayLimits::default()
        };
        Self {
            parts: parts.clone(),
            device: device.clone(),
            guard,
            inbound,
            state: GatewaySession::start(device.clone(), limits, now),
            out: VecDeque::new(),
            content_frame,
            pending: FuturesUnordered::new(),
            greeted: false,
            content_version: String::new(),
            content_due: None,
            wanted: true,
            stopping: false,
            ended: false,
            next_tick: Instant::now() + TICK,
        }
    }

    /// The frames to send.
    pub(super) fn frames(self) -> impl Stream<Item = Out> + Send {
        futures::stream::unfold(self, |mut session| async move {
            let frame = session.next().await?;
            Some((frame, session))
        })
    }

    async fn next(&mut self) -> Option<Out> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            let event = self.event().await;
            self.handle(event);
        }
    }

    /// Waits for the next thing that can happen to a session; this is the whole list.
    async fn event(&mut self) -> Event {
        let stop = &self.parts.shared.stop;
        let reading = !self.stopping && self.pending.len() < PENDING_MAX;
        let due = self.content_due;
        tokio::select! {
            biased;
            Some((header, bytes, result)) = self.pending.next(), if !self.pending.is_empty() => {
                Event::Stored(header, bytes, result)
            }
            Ok(()) = self.guard.control.changed() => Event::Control(*self.guard.control.borrow_and_update()),
            () = stop.cancelled(), if !self.stopping => Event::Stop,
            () = std::future::ready(()), if self.stopping && self.pending.is_empty() => Event::Stop,
            Ok(()) = self.parts.content.changed(), if self.greeted => Event::ContentChanged,
            () = tokio::time::sleep_until(due.unwrap_or(self.next_tick)), if due.is_some() => Event::ContentDue,
            frame = self.inbound.message(), if reading => match frame {
                Ok(Some(frame)) => Event::Frame(Box::new(frame)),
                Ok(None) | Err(_) => Event::Gone,
            },
            () = tokio::time::sleep_until(self.next_tick) => Event::Tick,
        }
    }

    fn handle(&mut self, event: Event) {
        let now = crate::now();
        let actions = match event {
            Event::Stored(header, bytes, result) => {
                if matches!(result, StoreResult::Never { code: "plan_lacks_feature", .. }) {
                    self.collection_tell();
                }
                self.state.stored(&header, bytes, result)
            }
            Event::Control(Control::Run) => Vec::new(),
            Event::Control(Control::Revoked) => self.state.close("revoked", "the device was revoked"),
            Event::Control(Control::Superseded) => self.state.close("superseded", "the device has a newer session"),
            // First stop reading, then answer what is under way, then say goodbye.
            Event::Stop if !self.pending.is_empty() => {
                self.stopping = true;
                Vec::new()
            }
            Event::Stop => self.state.close("shutting_down", "the server is stopping"),
            Event::ContentChanged => {
                let spread = self.parts.shared.fleet.connected() / CONTENT_PER_SECOND;
                let wait = Duration::from_millis(rand::random_range(0..=spread as u64 * 1_000));
                self.content_due = Some(Instant::now() + wait);
                Vec::new()
            }
            Event::ContentDue => {
                self.content_due = None;
                self.push_content();
                Vec::new()
            }
            Event::Frame(frame) => self.state.receive(*frame, now),
            Event::Gone => {
                self.ended = true;
                Vec::new()
            }
            Event::Tick => {
                self.next_tick = Instant::now() + TICK;
                self.collection_tell();
                self.state.tick(now)
            }
        };
        for action in actions {
            self.act(action, now);
        }
    }

    fn act(&mut self, action: GatewayAction, now: Micros) {
        match action {
            GatewayAction::Send(frame) => self.out.push_back(Out::Frame(frame)),
            GatewayAction::Greeted(hello) => {
                self.greeted = true;
                self.content_version = hello.content_version.chars().take(80).collect();
                self.parts.shared.fleet.greeted(&self.device, *hello, now);
                self.parts.content.mark_unchanged();
                self.push_content();
                self.collection_tell();
            }
            GatewayAction::Ingest { header, payload, urgent } => {
                let ingest = Arc::clone(&self.parts.ingest);
                let bytes = payload.len() as u64;
                self.pending.push(Box::pin(async move {
                    let result = ingest.take(header.clone(), payload, urgent).await;
                    (header, bytes, result)
                }));
            }
            GatewayAction::Heartbeat(beat) => self.parts.shared.fleet.heartbeat(&self.device, *beat, now),
            GatewayAction::ContentStatus(status) => self.parts.shared.fleet.content_status(&self.device, &status),
            GatewayAction::Close { code } => {
                self.ended = true;
                self.parts.shared.metrics.sessions_closed.get_or_create(&ByCode { code }).inc();
                tracing::debug!(device = %self.device, code, "session closed");
            }
        }
    }

    /// Tells the sensor whether its rows are wanted, where that changed: a machine whose plan is off is not observed for
    /// nothing. What comes all the same is refused by ingest.
    fn collection_tell(&mut self) {
        if !self.greeted || self.ended {
            return;
        }
        let shared = &self.parts.shared;
        let lacks = shared.plane.device_requires(&shared.tenant, &self.device, Feature::Edr).err();
        if self.wanted != lacks.is_none() {
            self.wanted = lacks.is_none();
            let reason = lacks.map(|l| l.to_string()).unwrap_or_default();
            let told = server_frame::Frame::Collection(v1::Collection { wanted: self.wanted, reason });
            self.out.push_back(Out::Frame(v1::ServerFrame { frame: Some(told) }));
        }
    }

    /// Sends the present content, unless the sensor has it.
    fn push_content(&mut self) {
        let content = Arc::clone(&self.parts.content.borrow_and_update());
        if content.generation == 0 || content.version == self.content_version {
            return;
        }
        self.content_version.clone_from(&content.version);
        self.out.push_back(Out::Encoded(self.content_frame.of(&content)));
    }
}
