//! Live events (server-sent): alerts, incidents, devices, status, and rows of one device.
//!
//! Events get running numbers and stay in a ring; a client that comes back with `Last-Event-ID` gets what it missed. If
//! the ring has gone on too far (or the number is not ours), the first event is `reset`: read the lists again. Rows have
//! no number: they are for eyes, and the time line has them all.

use super::Api;
use super::devices::device_of;
use super::extract::Query;
use super::problem::{ApiError, Kind};
use crate::access::Sees;
use crate::hunting::{Caller, Interface, ProgressEvent};
use crate::identity::Principal;
use crate::incidents::{CaseChange, Incidents};
use crate::shared::Shared;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use garrison_model::{DeviceId, TimelineRow};
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use utoipa::IntoParams;

/// Events kept for clients that come back: some minutes of a busy day, about 8 MB.
const RING_MAX: usize = 4_096;
/// Events a client may lag behind before it is told to read anew.
const LAG_MAX: usize = 1_024;
/// Streams at once: each holds a task and a queue.
const STREAMS_MAX: usize = 512;
/// Devices that an incident names.
const DEVICES_NAMED: usize = 100;
/// How often the status is sent.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How often progress of the listener's own queries is sent: often enough to look alive, and a look costs a lock.
const PROGRESS_EVERY: Duration = Duration::from_millis(400);

/// A numbered event.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Running number.
    pub id: u64,
    /// `alert`, `incident`, `device` or `status`.
    pub name: &'static str,
    /// JSON.
    pub data: Arc<str>,
    /// Devices that it tells of; who may not see all of them does not hear of it. Empty: common.
    pub devices: Arc<[String]>,
}

/// The ring and its listeners.
#[derive(Debug)]
pub struct Hub {
    ring: Mutex<(u64, VecDeque<Numbered>)>,
    sender: broadcast::Sender<Numbered>,
    turns: Arc<tokio::sync::Semaphore>,
}

impl Hub {
    /// An empty ring; numbers begin at `first`.
    pub fn new(first: u64) -> Self {
        Self {
            ring: Mutex::new((first, VecDeque::new())),
            sender: broadcast::channel(LAG_MAX).0,
            turns: Arc::new(tokio::sync::Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Starts collecting.
    pub fn start(shared: &Arc<Shared>, incidents: &Arc<Incidents>) -> Arc<Self> {
        // Milliseconds since 1970, so that numbers grow over restarts and an old one is never mistaken for a new one.
        let first = u64::try_from(crate::now().0 / 1_000).unwrap_or(0);
        let hub = Arc::new(Self::new(first));
        let (own, cases, stop) = (Arc::clone(&hub), incidents.changes(), shared.stop.clone());
        tokio::spawn(own.collect(cases, stop));
        hub
    }

    async fn collect(
        self: Arc<Self>,
        mut cases: broadcast::Receiver<CaseChange>,
        stop: tokio_util::sync::CancellationToken,
    ) {
        loop {
            let change = tokio::select! {
                change = cases.recv() => change,
                () = stop.cancelled() => return,
            };
            match change {
                Ok(CaseChange::Alert(alert)) => {
                    self.push_about("alert", &*alert, Arc::from([alert.machine_id.to_string()]));
                }
                Ok(CaseChange::Incident(incident)) => {
                    let devices = incident.devices.iter().map(|d| d.id.to_string()).collect();
                    self.push_about("incident", &*incident, devices);
                }
                Err(broadcast::error::RecvError::Lagged(_)) => self.reset(),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Adds an event.
    pub fn push(&self, name: &'static str, value: &impl serde::Serialize) {
        self.push_about(name, value, Arc::from([]));
    }

    /// Adds an event about devices.
    pub fn push_about(&self, name: &'static str, value: &impl serde::Serialize, devices: Arc<[String]>) {
        let Ok(data) = serde_json::to_string(value) else { return };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.0 += 1;
        let event = Numbered { id: ring.0, name, data: data.into(), devices };
        if ring.1.len() >= RING_MAX {
            ring.1.pop_front();
        }
        ring.1.push_back(event.clone());
        let _ = self.sender.send(event);
    }

    /// Makes all earlier numbers unknown: something was missed here.
    fn reset(&self) {
        {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.0 += 1;
            ring.1.clear();
        }
        self.push("reset", &serde_json::json!({}));
    }

    /// What was missed since a number, and what comes; `None` for what was missed if the ring does not know.
    pub fn subscribe(&self, last: Option<u64>) -> (Option<Vec<Numbered>>, u64, broadcast::Receiver<Numbered>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the ring's lock, so that nothing comes between.
        let receiver = self.sender.subscribe();
        let missed = match last {
            None => Some(Vec::new()),
            Some(last) => {
                let oldest = ring.1.front().map_or(ring.0 + 1, |e| e.id);
                (last + 1 >= oldest && last <= ring.0).then(|| ring.1.iter().filter(|e| e.id > last).cloned().collect())
            }
        };
        (missed, ring.0, receiver)
    }
}

/// What to hear of.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Also the rows of this device as they come.
    device: Option<String>,
}

fn sse(event: &Numbered) -> Event {
    Event::default().id(event.id.to_string()).event(event.name).data(event.data.as_ref())
}

/// Progress of one user's queries, as a stream tells it.
#[derive(Debug, Default)]
struct Watched(Vec<ProgressEvent>);

impl Watched {
    /// What is new since the last look; a query that is gone is told once.
    fn look(&mut self, running: Vec<ProgressEvent>) -> Vec<ProgressEvent> {
        let gone = self.0.iter().filter(|old| running.iter().all(|new| new.id != old.id));
        let ended: Vec<ProgressEvent> = gone.map(|old| ProgressEvent { state: "Ended", ..old.clone() }).collect();
        self.0.clone_from(&running);
        ended.into_iter().chain(running).collect()
    }
}

/// Whether a listener may hear of an event. An incident names at most 100 devices; one of more is for those who see all.
fn is_heard(sees: &Sees, event: &Numbered) -> bool {
    let quiet = matches!(event.name, "alert" | "incident" | "retroHunt") && event.devices.is_empty();
    sees.is_everything()
        || (!quiet
            && event.devices.len() < DEVICES_NAMED
            && event.devices.iter().all(|device| sees.device_text(device)))
}

enum Next {
    Progress,
    Event(Numbered),
    Row(Arc<TimelineRow>),
    Device(DeviceId),
    Status,
    Lagged,
    End,
}

/// Live events: `alert` (Alert without matches), `incident` (IncidentSummary), `device` (Device), `row` (TimelineRow),
/// `detection`, `retroHunt`, `huntProgress` (ProgressEvent, of the caller's own queries), `status`, `reset`.
#[utoipa::path(get, path = "/events", tag = "events", params(EventQuery),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 400, body = garrison_model::Problem)))]
pub async fn event_stream(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Extension(sees): Extension<Sees>,
    Query(q): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let device = super::extract::one::<DeviceId>(q.device.as_deref(), "device")?;
    if let Some(device) = &device
        && (api.shared.fleet.device(device).is_none() || !sees.device(device))
    {
        return Err(ApiError::with(Kind::NotFound, "there is no device with this id"));
    }
    let turn = Arc::clone(&api.hub.turns).try_acquire_owned().map_err(|_| ApiError::new(Kind::Busy))?;
    let last =
        headers.get("last-event-id").and_then(|v| v.to_str().ok()).map(|v| v.parse::<u64>().unwrap_or(u64::MAX - 1));
    let (missed, newest, mut events) = api.hub.subscribe(last);
    let mut rows = device.as_ref().map(|d| api.detection.live().watch(d));
    let mut devices = api.shared.fleet.changes();
    let mut status = tokio::time::interval(STATUS_EVERY);
    status.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stop = api.shared.stop.clone();
    let (send, receive) = tokio::sync::mpsc::channel::<Event>(64);
    tokio::spawn(async move {
        let _turn = turn;
        let first = match missed {
            Some(missed) => missed.iter().filter(|e| is_heard(&sees, e)).map(sse).collect(),
            None => vec![Event::default().id(newest.to_string()).event("reset").data("{}")],
        };
        for event in first {
            if send.send(event).await.is_err() {
                return;
            }
        }
        let own = Caller::new(&api.shared.tenant, &who.name, Interface::Api);
        let mut watched = Watched::default();
        let mut progress = tokio::time::interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next = tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => Next::Event(event),
                    Err(broadcast::error::RecvError::Lagged(_)) => Next::Lagged,
                    Err(broadcast::error::RecvError::Closed) => Next::End,
                },
                row = async { match rows.as_mut() { Some(rows) => rows.recv().await, None => std::future::pending().await } } => match row {
                    Ok(row) => Next::Row(row),
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => Next::End,
                },
                changed = devices.recv() => match changed {
                    Ok(id) => Next::Device(id),
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => Next::End,
                },
                _ = status.tick() => Next::Status,
                _ = progress.tick() => Next::Progress,
                () = stop.cancelled() => Next::End,
                () = send.closed() => Next::End,
            };
            let event = match next {
                Next::Progress => {
                    let running = api.hunting.progress_list(&own).into_iter().map(ProgressEvent::from).collect();
                    for told in watched.look(running) {
                        let data = serde_json::to_string(&told).unwrap_or_default();
                        if send.send(Event::default().event("huntProgress").data(data)).await.is_err() {
                            return;
                        }
                    }
                    continue;
                }
                Next::Event(event) if !is_heard(&sees, &event) => continue,
                Next::Device(id) if !sees.device(&id) => continue,
                Next::Event(event) => sse(&event),
                Next::Row(row) => Event::default().event("row").data(serde_json::to_string(&*row).unwrap_or_default()),
                Next::Device(id) => match device_of(&api, &id).await {
                    Ok(device) => {
                        Event::default().event("device").data(serde_json::to_string(&device).unwrap_or_default())
                    }
                    Err(_) => continue,
                },
                Next::Status => match super::status::status_of(&api).await {
                    Ok(status) => {
                        Event::default().event("status").data(serde_json::to_string(&status).unwrap_or_default())
                    }
                    Err(_) => continue,
                },
                Next::Lagged => Event::default().event("reset").data("{}"),
                Next::End => return,
            };
            if send.send(event).await.is_err() {
                return;
            }
        }
    });
    let stream = tokio_stream::StreamExt::map(tokio_stream::wrappers::ReceiverStream::new(receive), Ok);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(missed: Option<Vec<Numbered>>) -> Option<Vec<u64>> {
        missed.map(|m| m.iter().map(|e| e.id).collect())
    }

    #[test]
    fn a_client_that_comes_back_gets_what_it_missed() {
        let hub = Hub::new(100);
        for n in 0..3 {
            hub.push("alert", &n);
        }
        assert_eq!(ids(hub.subscribe(None).0), Some(vec![]));
        assert_eq!(ids(hub.subscribe(Some(101)).0), Some(vec![102, 103]));
        assert_eq!(ids(hub.subscribe(Some(103)).0), Some(vec![]));
        assert_eq!(ids(hub.subscribe(Some(100)).0), Some(vec![101, 102, 103]));
        assert_eq!(ids(hub.subscribe(Some(50)).0), None, "too old");
        assert_eq!(ids(hub.subscribe(Some(500)).0), None, "not ours");
        assert_eq!(ids(hub.subscribe(Some(u64::MAX - 1)).0), None, "not a number");
    }

    #[test]
    fn the_end_of_a_query_is_told_once() {
        let run = |n: u128, rows: u64| ProgressEvent {
            id: uuid::Uuid::from_u128(n),
            state: "Running",
            elapsed_ms: 1,
            figures: crate::hunting::resources::Figures::default(),
            rows_found: rows,
        };
        let mut watched = Watched::default();
        let mut told = |running: Vec<ProgressEvent>| -> Vec<(u128, &'static str, u64)> {
            watched.look(running).iter().map(|p| (p.id.as_u128(), p.state, p.rows_found)).collect()
        };
        assert_eq!(told(vec![]), []);
        assert_eq!(told(vec![run(1, 0), run(2, 0)]), [(1, "Running", 0), (2, "Running", 0)]);
        assert_eq!(told(vec![run(2, 5)]), [(1, "Ended", 0), (2, "Running", 5)]);
        assert_eq!(told(vec![]), [(2, "Ended", 5)]);
        assert_eq!(told(vec![]), []);
    }

    #[test]
    fn the_ring_is_bounded() {
        let hub = Hub::new(0);
        for n in 0..RING_MAX + 10 {
            hub.push("alert", &n);
        }
        assert_eq!(ids(hub.subscribe(Some(5)).0), None);
        assert_eq!(ids(hub.subscribe(Some(10)).0).map(|m| m.len()), Some(RING_MAX));
    }
}
