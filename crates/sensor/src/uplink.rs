//! The connection to the server: sends what the disk queue holds, forgets what is acknowledged, takes content, renews
//! the certificate. Runs on one thread; the session itself is [`garrison_wire::session::SensorSession`], which decides,
//! and this room does.
//!
//! Whatever goes wrong, rows stay in the queue: a lost connection puts what was under way back, a refusal waits as long
//! as the server says, and the next address is tried after a bounded, jittered wait. Days offline cost disk, not memory.

pub mod enrol;
pub mod identity;

use crate::detect::{self, EngineSlot};
use crate::policy::budget::Step;
use crate::spool::Spool;
use crate::status::{ContentInfo, Stage, Status, now};
use garrison_model::{BootId, Micros};
use garrison_wire::backoff::Backoff;
use garrison_wire::identity::{DEVICE_VALIDITY, device_request};
use garrison_wire::session::{SensorAction, SensorSession};
use garrison_wire::tls::{Trust, connect, sensor_config};
use garrison_wire::v1::{self, sensor_client::SensorClient, sensor_frame, server_frame};
use identity::Identity;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// First and longest wait between tries: a fleet of ten thousand comes back over minutes, one machine within two.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_mins(2);
/// A session that held this long starts the waits anew.
const STEADY: Duration = Duration::from_secs(30);
/// Bytes under way at most, whatever the server grants: they are in memory, and the sensor is to stay small.
const WINDOW_BYTES_MAX: u64 = 4 << 20;
/// Frames on their way to the socket. More than the largest window of batches, so that sending never waits.
const FRAMES_MAX: usize = 1_100;
/// How often time passes for the session.
const TICK: Duration = Duration::from_millis(250);
/// How long the rest may take to be sent when the sensor stops, as long as answers come: well below the 90 s after
/// which a service manager kills.
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// How long a stop waits for the next answer: a server that says nothing keeps nobody.
const DRAIN_QUIET_MAX: Duration = Duration::from_secs(3);
/// How long one call outside the stream may take.
const CALL_MAX: Duration = Duration::from_secs(20);
/// How long after a failed renewal the next is tried.
const RENEW_AGAIN: i64 = 600;
/// Clocks that differ by more than this are told as an issue.
const CLOCK_DIFFERENCE_MAX_MS: i64 = 5 * 60 * 1_000;

/// What the uplink works with.
#[derive(Debug)]
pub struct Uplink {
    /// Who we are.
    pub identity: Identity,
    /// Gateways, in order.
    pub servers: Vec<String>,
    /// State folder.
    pub state_dir: PathBuf,
    /// The queue.
    pub spool: Arc<Spool>,
    /// Told when something was queued.
    pub queued: Arc<Notify>,
    /// Health.
    pub status: Arc<Status>,
    /// Where engines go.
    pub engines: Arc<EngineSlot>,
    /// This boot.
    pub boot: BootId,
    /// What is said of the host.
    pub host: v1::HostFacts,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The sensor stops.
    Stopped,
    /// A new certificate: connect again with it.
    Renewed,
    /// Code and how long to wait at least.
    Closed(String, Duration),
}

impl Uplink {
    /// Runs until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(WAIT_MIN, WAIT_MAX);
        let mut turn = 0_usize;
        while !*stop.borrow() {
            self.status.moved(Stage::Uplink);
            let Some(server) = self.servers.get(turn % self.servers.len().max(1)).cloned() else {
                self.status.issue("uplink", Some("no server address is known".to_owned()));
                let _ = stop.changed().await;
                return;
            };
            let begun = tokio::time::Instant::now();
            self.status.connection(|c| {
                c.state = "connecting".to_owned();
                c.server.clone_from(&server);
                c.certificate_ends = garrison_telemetry::json::time_text(Micros(self.identity.not_after * 1_000_000));
            });
            let end = self.once(&server, stop.clone()).await;
            self.spool.requeue_all();
            let (why, at_least) = match end {
                Ok(End::Stopped) => return,
                Ok(End::Renewed) => continue,
                Ok(End::Closed(code, wait)) => (format!("server closed the session: {code}"), wait),
                Err(why) => (why, Duration::ZERO),
            };
            if begun.elapsed() >= STEADY {
                backoff.reset();
            }
            turn = turn.wrapping_add(1);
            let wait = backoff.next(rand::random::<f64>()).max(at_least);
            if self.status.issue("uplink", Some(format!("not connected to the server: {why}"))) {
                tracing::warn!(server, why, "no connection to the server, rows stay in the queue");
            }
            self.status.connection(|c| {
                c.state = "waiting".to_owned();
                c.error = why;
            });
            let mut left = wait;
            // In slices, so that the watchdog sees that this is a wait and no hang.
            while !left.is_zero() && !*stop.borrow() {
                let slice = left.min(Duration::from_secs(5));
                self.status.moved(Stage::Uplink);
                tokio::select! {
                    () = tokio::time::sleep(slice) => {}
                    _ = stop.changed() => {}
                }
                left = left.saturating_sub(slice);
            }
        }
    }

    async fn once(&mut self, server: &str, stop: watch::Receiver<bool>) -> Result<End, String> {
        let trust = Trust::Authority(self.identity.ca.clone());
        let config = sensor_config(&trust, Some(&self.identity.own)).map_err(|e| words(&e))?;
        // A stop ends the wait here; once the session stands, it ends in [`Self::drain`].
        let connecting = tokio::select! {
            connecting = tokio::time::timeout(CALL_MAX, connect(server, config)) => connecting,
            () = stopped(stop.clone()) => return Ok(End::Stopped),
        };
        let channel = connecting.map_err(|_| format!("`{server}` does not answer"))?.map_err(|e| words(&e))?;
        self.session(channel, stop).await
    }

    async fn session(&mut self, channel: Channel, stop: watch::Receiver<bool>) -> Result<End, String> {
        let (frames, outbox) = mpsc::channel(FRAMES_MAX);
        let mut client = SensorClient::new(channel)
            .max_decoding_message_size(garrison_wire::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(garrison_wire::MESSAGE_BYTES_MAX);
        let (session, first) = SensorSession::start(self.hello(), now());
        let mut run = Run { session, frames, content: None, told: Default::default() };
        if let Some(end) = self.act(&mut run, first) {
            return Ok(end);
        }
        let answer = tokio::select! {
            answer = tokio::time::timeout(CALL_MAX, client.session(ReceiverStream::new(outbox))) => answer,
            () = stopped(stop.clone()) => return Ok(End::Stopped),
        };
        let mut inbound = answer
            .map_err(|_| "the server does not answer the greeting".to_owned())?
            .map_err(|s| status_words(&s))?
            .into_inner();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut renew_after = 0;
        let queued = Arc::clone(&self.queued);
        loop {
            self.status.moved(Stage::Uplink);
            self.pump(&mut run);
            let actions = tokio::select! {
                frame = inbound.message() => match frame {
                    Ok(Some(mut frame)) => {
                        if let Some(server_frame::Frame::Welcome(w)) = &mut frame.frame {
                            w.window_bytes = w.window_bytes.min(WINDOW_BYTES_MAX);
                        }
                        run.session.receive(frame, now())
                    }
                    Ok(None) => return Ok(End::Closed("ended".to_owned(), Duration::ZERO)),
                    Err(status) => return Err(status_words(&status)),
                },
                () = queued.notified() => Vec::new(),
                Some(result) = content_done(&mut run.content) => {
                    run.content = None;
                    let status = self.content_taken(result);
                    let _ = run.frames.try_send(v1::SensorFrame { frame: Some(sensor_frame::Frame::ContentStatus(status)) });
                    Vec::new()
                }
                _ = tick.tick() => {
                    let time = now();
                    let mut actions = run.session.tick(time);
                    // What changes what an operator sees of this machine is told at once, not with the next heartbeat:
                    // after a start the greeting was sent before anything could be observed.
                    let news = self.news();
                    if run.session.heartbeat_due(time) || (run.session.is_ready() && news != run.told) {
                        actions.push(run.session.heartbeat(self.heartbeat(time), time));
                        run.told = news;
                    }
                    if run.session.is_ready() && self.renewal_due(time.0 / 1_000_000, renew_after) {
                        match self.renew(&mut client).await {
                            Ok(()) => return Ok(End::Renewed),
                            Err(why) => {
                                tracing::warn!(why, "certificate could not be renewed");
                                self.status.issue("certificate", Some(format!("certificate could not be renewed: {why}")));
                                renew_after = time.0 / 1_000_000 + RENEW_AGAIN;
                            }
                        }
                    }
                    actions
                }
                () = stopped(stop.clone()) => return Ok(self.drain(run, inbound).await),
            };
            if let Some(end) = self.act(&mut run, actions) {
                return Ok(end);
            }
        }
    }

    /// Sends the rest when the sensor stops, for a little while.
    async fn drain(&mut self, mut run: Run, mut inbound: tonic::Streaming<v1::ServerFrame>) -> End {
        let until = tokio::time::Instant::now() + DRAIN_MAX;
        while run.session.is_ready() {
            self.pump(&mut run);
            if run.session.in_flight() == 0 && self.spool.state().batches == 0 {
                break;
            }
            let quiet = until.min(tokio::time::Instant::now() + DRAIN_QUIET_MAX);
            let Ok(Ok(Some(frame))) = tokio::time::timeout_at(quiet, inbound.message()).await else { break };
            let actions = run.session.receive(frame, now());
            if self.act(&mut run, actions).is_some() {
                break;
            }
        }
        End::Stopped
    }

    /// Sends what may be sent.
    fn pump(&self, run: &mut Run) {
        while run.session.is_ready() && run.frames.capacity() > 16 {
            let time = now();
            let Some(batch) = self.spool.next_if(|bytes| run.session.may_send(bytes, time)) else { break };
            let action = run.session.send(v1::Batch {
                boot_id: batch.boot.to_string(),
                table: batch.table,
                sequence_first: batch.sequence_first,
                row_count: batch.row_count,
                created: batch.created.0,
                payload: batch.payload.into(),
                urgent: batch.urgent,
            });
            if let SensorAction::Send(frame) = action
                && run.frames.try_send(frame).is_err()
            {
                self.spool.requeue(&batch.boot, batch.sequence_first);
                break;
            }
        }
    }

    fn act(&mut self, run: &mut Run, actions: Vec<SensorAction>) -> Option<End> {
        for action in actions {
            match action {
                // The channel holds more than the window; a heartbeat that does not fit is not missed.
                SensorAction::Send(frame) => drop(run.frames.try_send(frame)),
                SensorAction::Forget { boot, sequence_first, .. } => {
                    self.spool.forget(&boot, sequence_first);
                }
                SensorAction::Requeue { boot, sequence_first, code, .. } => {
                    self.spool.requeue(&boot, sequence_first);
                    if self.status.issue("server", Some(format!("the server takes no rows now: {code}"))) {
                        tracing::warn!(code, "the server takes no rows now");
                    }
                    continue;
                }
                SensorAction::Reject { boot, sequence_first, row_count, code } => {
                    tracing::error!(code, row_count, "the server refused rows for good");
                    self.spool.reject(&boot, sequence_first, &code);
                }
                SensorAction::Content(content) => self.content_begin(run, content),
                SensorAction::Collection { wanted, reason } => {
                    if self.status.set_unwanted((!wanted).then_some(reason)) {
                        tracing::info!(wanted, "the server says whether rows are wanted");
                    }
                }
                SensorAction::Ready { clock_difference_ms } => self.ready(clock_difference_ms),
                SensorAction::Close { code, retry_after } => return Some(End::Closed(code, retry_after)),
            }
            self.status.issue("server", None);
        }
        None
    }

    fn ready(&self, clock_difference_ms: i64) {
        tracing::info!("connected to the server");
        // Each session begins with rows wanted; a server that wants none says so next.
        self.status.set_unwanted(None);
        self.status.issue("uplink", None);
        self.status.connection(|c| {
            c.state = "connected".to_owned();
            c.error.clear();
            c.last_connected = garrison_telemetry::json::time_text(now());
        });
        let wrong = clock_difference_ms.abs() > CLOCK_DIFFERENCE_MAX_MS;
        let text = format!("the clock differs from the server's by {} s", clock_difference_ms / 1_000);
        self.status.issue("clock", wrong.then_some(text));
    }

    fn content_begin(&self, run: &mut Run, content: v1::Content) {
        let key = self.identity.content_key;
        let current = self.status.content().generation;
        let (state_dir, engines) = (self.state_dir.clone(), Arc::clone(&self.engines));
        let offered = (content.version.clone(), content.generation);
        // A newer one that comes meanwhile waits its turn in the blocking pool; the last to finish is the newest,
        // since an older generation is refused.
        run.content = Some(tokio::task::spawn_blocking(move || {
            let result = detect::take(&content, &key, current, &state_dir, &engines, now());
            ContentResult { offered, result: result.map_err(|e| words(&e)) }
        }));
    }

    fn content_taken(&self, done: ContentResult) -> v1::ContentStatus {
        let (version, generation) = done.offered;
        match done.result {
            Ok(info) => {
                tracing::info!(
                    version,
                    generation,
                    rules = info.rules_usable,
                    refused = info.rules_refused,
                    "content taken"
                );
                self.status.issue("content", None);
                let (rules_usable, rules_refused) = (info.rules_usable, info.rules_refused);
                self.status.set_content(info);
                v1::ContentStatus { version, generation, rules_usable, rules_refused, error: String::new() }
            }
            Err(error) => {
                tracing::error!(version, generation, error, "content refused");
                self.status.issue("content", Some(format!("detection content was refused: {error}")));
                self.status.set_content(ContentInfo { error: error.clone(), ..self.status.content() });
                v1::ContentStatus { version, generation, error, ..v1::ContentStatus::default() }
            }
        }
    }

    fn hello(&self) -> v1::Hello {
        v1::Hello {
            protocol: garrison_wire::PROTOCOL,
            sensor_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot.to_string(),
            host: Some(self.host.clone()),
            content_version: self.status.content().version,
            sight: Some(self.sight()),
            spool_rows: self.spool.state().rows,
        }
    }

    fn sight(&self) -> v1::Sight {
        let sight = self.status.sight();
        v1::Sight { subsystem: sight.subsystem, missing: sight.missing }
    }

    /// What a heartbeat is sent early for.
    fn news(&self) -> News {
        (self.sight().subsystem, self.status.issues(), self.status.step().number())
    }

    fn heartbeat(&self, time: Micros) -> v1::Heartbeat {
        let spool = self.spool.state();
        let mut issues = self.status.issues();
        if self.status.step() != Step::Full {
            issues.push(format!("over its budget: {}", self.status.step().words()));
        }
        v1::Heartbeat {
            time: time.0,
            health_issues: issues,
            sight: Some(self.sight()),
            spool_rows: spool.rows,
            spool_bytes: spool.bytes,
            resident_bytes: self.status.resident_bytes.load(Relaxed),
            cpu_permille: self.status.cpu_permille.load(Relaxed),
            degradation: self.status.step().number(),
            rows_total: self.status.rows.load(Relaxed),
            lost_total: spool.lost_rows,
        }
    }

    fn renewal_due(&self, seconds: i64, renew_after: i64) -> bool {
        let third = i64::try_from(DEVICE_VALIDITY.as_secs() / 3).unwrap_or(i64::MAX);
        self.identity.not_after - seconds < third && seconds >= renew_after
    }

    async fn renew(&mut self, client: &mut SensorClient<Channel>) -> Result<(), String> {
        let (key, csr) = device_request().map_err(|e| words(&e))?;
        let call = client.renew(v1::RenewRequest { csr: csr.into() });
        let response = tokio::time::timeout(CALL_MAX, call)
            .await
            .map_err(|_| "no answer".to_owned())?
            .map_err(|s| status_words(&s))?
            .into_inner();
        let chain: Vec<Vec<u8>> = response.certificates.iter().map(|c| c.to_vec()).collect();
        let renewed = self.identity.renewed(key, chain, response.not_after);
        // What cannot be used must not replace what can.
        sensor_config(&Trust::Authority(renewed.ca.clone()), Some(&renewed.own)).map_err(|e| words(&e))?;
        renewed.store(&self.state_dir).map_err(|e| words(&e))?;
        self.identity = renewed;
        self.status.issue("certificate", None);
        tracing::info!("certificate renewed");
        Ok(())
    }
}

struct Run {
    session: SensorSession,
    frames: mpsc::Sender<v1::SensorFrame>,
    content: Option<tokio::task::JoinHandle<ContentResult>>,
    /// What the last heartbeat of this connection said that an operator sees.
    told: News,
}

/// Subsystem in use, issues of health, step of degradation.
type News = (String, Vec<String>, u32);

struct ContentResult {
    offered: (String, u64),
    result: Result<ContentInfo, String>,
}

/// The content that is being compiled, once it is done; never, if there is none.
async fn content_done(task: &mut Option<tokio::task::JoinHandle<ContentResult>>) -> Option<ContentResult> {
    match task {
        Some(task) => Some(task.await.unwrap_or_else(|e| ContentResult {
            offered: (String::new(), 0),
            result: Err(format!("content could not be compiled: {e}")),
        })),
        None => std::future::pending().await,
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // The sender lives as long as the sensor; if it is gone, that is a stop too.
    let _ = stop.wait_for(|s| *s).await;
}

/// An error and its causes in one line.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // Causes are nested a few deep; the bound is against a cycle.
    for _ in 0..16 {
        let Some(cause) = source else { break };
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What a gateway's refusal says.
pub fn status_words(status: &tonic::Status) -> String {
    let message: String = status.message().chars().take(300).collect();
    if message.is_empty() { status.code().description().to_owned() } else { message }
}
