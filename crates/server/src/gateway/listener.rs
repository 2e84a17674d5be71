//! Accepts connections: TLS, bounds on how many, one HTTP/2 connection each.

use super::connectors::PATHS;
use super::service::{RENEW_PATH, SESSION_PATH};
use super::wires::Wires;
use crate::Shared;
use crate::connect::Connect;
use crate::ingest::Ingest;
use crate::metrics::ByCode;
use garrison_model::TenantId;
use garrison_wire::connect::v1::connector_server::ConnectorServer;
use garrison_wire::identity::{ConnectorIdentity, PeerIdentity};
use garrison_wire::v1;
use garrison_wire::v1::enrolment_server::EnrolmentServer;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::Service as _;

/// What a tenant's way in hands batches to and gets content from.
#[derive(Debug, Clone)]
pub struct GatewayParts {
    /// The tenant's state.
    pub shared: Arc<Shared>,
    /// Where batches go.
    pub ingest: Arc<Ingest>,
    /// Connectors of machines.
    pub connect: Arc<Connect>,
    /// Detection content for sensors.
    pub content: watch::Receiver<Arc<v1::Content>>,
}

/// The gateway.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    wires: Arc<Wires>,
    tls: RwLock<Arc<ServerConfig>>,
    /// End of the certificate in use, seconds since 1970.
    not_after: std::sync::atomic::AtomicI64,
    handshakes: Semaphore,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    tasks: TaskTracker,
}

/// A handshake takes at most this long.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// HTTP/2 windows: what a sensor may send before we read it. Memory is used only when it does.
const WINDOW_BYTES: u32 = 256 << 10;
/// One session, and a renewal or two beside it.
const STREAMS_MAX: u32 = 4;
/// A fresh gateway certificate is issued when the present one has less than this left.
const CERTIFICATE_RENEW_BEFORE: i64 = 30 * 24 * 3600;
/// Gateway certificates last this long (see `Authority::issue_gateway`).
const CERTIFICATE_LASTS: i64 = 90 * 24 * 3600;

/// Who is at the other end, put into every request of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    pub(super) identity: Option<Arc<PeerIdentity>>,
    pub(super) connector: Option<Arc<ConnectorIdentity>>,
}

impl Gateway {
    /// Prepares a gateway with a fresh certificate; `shared` is the first tenant's.
    pub fn new(shared: &Arc<Shared>, wires: &Arc<Wires>) -> anyhow::Result<Arc<Self>> {
        let now = crate::now().0 / 1_000_000;
        let tls = RwLock::new(issue(shared, now)?);
        let limits = &shared.config.limits;
        Ok(Arc::new(Self {
            handshakes: Semaphore::new(limits.handshakes_max),
            tls,
            not_after: (now + CERTIFICATE_LASTS).into(),
            addresses: Mutex::default(),
            tasks: TaskTracker::new(),
            shared: Arc::clone(shared),
            wires: Arc::clone(wires),
        }))
    }

    /// A reconciler: issues a fresh certificate before the present one ends.
    pub fn certificate_rotate(&self, now: i64) -> anyhow::Result<()> {
        if self.not_after.load(std::sync::atomic::Ordering::Relaxed) - now > CERTIFICATE_RENEW_BEFORE {
            return Ok(());
        }
        let fresh = issue(&self.shared, now)?;
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.not_after.store(now + CERTIFICATE_LASTS, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Accepts connections until the server stops.
    pub async fn run(self: Arc<Self>, listener: TcpListener) {
        let stop = self.shared.stop.clone();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.connection(stream, address),
                Err(error) => {
                    // Out of file descriptors, mostly: a pause lets others close.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        self.tasks.close();
    }

    /// Waits until all connections are closed.
    pub async fn drained(&self, at_most: Duration) {
        self.tasks.close();
        let _ = tokio::time::timeout(at_most, self.tasks.wait()).await;
    }

    fn refuse(&self, code: &'static str) {
        self.shared.metrics.connections_refused.get_or_create(&ByCode { code }).inc();
    }

    fn connection(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let limits = &self.shared.config.limits;
        if self.tasks.len() >= limits.connections_max {
            return self.refuse("connections_max");
        }
        let Some(place) = Place::take(self, address.ip(), limits.connections_per_address_max) else {
            return self.refuse("connections_per_address");
        };
        let gateway = Arc::clone(self);
        self.tasks.spawn(async move {
            let _place = place;
            gateway.serve(stream, address.ip()).await;
        });
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, ip: IpAddr) {
        let stop = self.shared.stop.clone();
        let _ = stream.set_nodelay(true);
        let tls = Arc::clone(&self.tls.read().unwrap_or_else(PoisonError::into_inner));
        let handshake = async {
            let _turn = self.handshakes.acquire().await.ok()?;
            TlsAcceptor::from(tls).accept(stream).await.ok()
        };
        let Ok(Some(stream)) = tokio::time::timeout(HANDSHAKE_MAX, handshake).await else {
            return self.refuse("handshake");
        };
        // A certificate that is not a device's counts as none: then only enrolment is open.
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let identity = leaf.and_then(|leaf| PeerIdentity::from_certificate(leaf).ok()).map(Arc::new);
        let connector = leaf.and_then(|leaf| ConnectorIdentity::from_certificate(leaf).ok()).map(Arc::new);
        let of = identity.as_ref().map(|i| i.tenant.clone()).or_else(|| connector.as_ref().map(|c| c.tenant.clone()));
        // Who has no certificate comes to the first tenant's, which passes him on by his token. So does a certificate of
        // a tenant that is not here, which is nobody's there.
        let wire = of.and_then(|tenant| self.wires.of(&tenant)).or_else(|| self.wires.of(&TenantId::first()));
        let Some(wire) = wire else { return self.refuse("no_tenant") };
        let peer = Peer { ip, identity, connector };
        let (service, connectors) = (Arc::clone(&wire.service), Arc::clone(&wire.connectors));
        let answer = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let (service, connectors) = (Arc::clone(&service), Arc::clone(&connectors));
            async move {
                match request.uri().path() {
                    SESSION_PATH => Ok(service.session(request).await),
                    RENEW_PATH => Ok(service.renew(request).await),
                    path if path.starts_with(PATHS) => {
                        ConnectorServer::from_arc(connectors).max_decoding_message_size(64 << 10).call(request).await
                    }
                    // Its own router answers `unimplemented` for paths that it does not know. An enrolment is a token, a
                    // request and a few facts: 64 KiB are plenty.
                    _ => EnrolmentServer::from_arc(service).max_decoding_message_size(64 << 10).call(request).await,
                }
            }
        });
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .max_send_buf_size(64 << 10)
            .max_header_list_size(8 << 10)
            .keep_alive_interval(Duration::from_mins(1))
            .keep_alive_timeout(Duration::from_secs(30));
        let connection = http.serve_connection(TokioIo::new(stream), answer);
        tokio::pin!(connection);
        let stopped = tokio::select! {
            _ = &mut connection => false,
            () = stop.cancelled() => true,
        };
        if stopped {
            // Sessions say goodbye by themselves; this lets them finish.
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn issue(shared: &Shared, now: i64) -> anyhow::Result<Arc<ServerConfig>> {
    let authority = shared.identity.authority();
    let own = authority.issue_gateway(now)?;
    let mut config = garrison_wire::tls::gateway_config(&own, authority.certificate())?;
    // Sessions last for days: tickets would only cost memory, and a resumed handshake could outlive a revocation.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// A connection's place in the count of its address.
struct Place {
    gateway: Arc<Gateway>,
    ip: IpAddr,
}

impl Place {
    fn take(gateway: &Arc<Gateway>, ip: IpAddr, max: usize) -> Option<Self> {
        let mut addresses = gateway.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(ip).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(addresses);
        Some(Self { gateway: Arc::clone(gateway), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.gateway.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.ip);
            }
        }
    }
}
