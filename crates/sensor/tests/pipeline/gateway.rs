//! A gateway for tests: the real TLS, the real session, and a list instead of a lake.

use arrow::array::RecordBatch;
use ed25519_dalek::SigningKey;
use garrison_model::{DeviceId, Micros, TenantId};
use garrison_telemetry::{BatchHeader, DecodeLimits, decode_ipc, row_to_json};
use garrison_wire::content::{Bundle, BundleRule, pack};
use garrison_wire::identity::{Authority, PeerIdentity, fingerprint};
use garrison_wire::session::{GatewayAction, GatewayLimits, GatewaySession, StoreResult};
use garrison_wire::tls::gateway_config;
use garrison_wire::token::EnrolmentToken;
use garrison_wire::v1::{self, enrolment_server, sensor_server, server_frame};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// One stored batch.
#[derive(Clone)]
pub struct Stored {
    pub header: BatchHeader,
    pub urgent: bool,
    pub batch: RecordBatch,
}

pub struct Inner {
    authority: Authority,
    token: EnrolmentToken,
    key: SigningKey,
    pub away: AtomicBool,
    stored: Mutex<Vec<Stored>>,
    statuses: Mutex<Vec<v1::ContentStatus>>,
    changed: watch::Sender<u64>,
    content: watch::Sender<Option<v1::Content>>,
}

/// The gateway, running on its own thread.
pub struct Gateway {
    pub address: String,
    pub inner: Arc<Inner>,
}

impl Gateway {
    pub fn start() -> Self {
        let (authority, _, _) = Authority::generate(garrison_sensor::status::now().0 / 1_000_000).unwrap();
        let token = EnrolmentToken::generate(fingerprint(authority.certificate())).unwrap();
        let inner = Arc::new(Inner {
            authority,
            token,
            key: SigningKey::from_bytes(&[9; 32]),
            away: AtomicBool::new(false),
            stored: Mutex::default(),
            statuses: Mutex::default(),
            changed: watch::channel(0).0,
            content: watch::channel(None).0,
        });
        let (tell, told) = std::sync::mpsc::channel();
        let served = Arc::clone(&inner);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap().to_string()).unwrap();
                serve(listener, served).await;
            });
        });
        Self { address: told.recv().unwrap(), inner }
    }

    pub fn token(&self) -> EnrolmentToken {
        self.inner.token.clone()
    }

    pub fn stored(&self) -> Vec<Stored> {
        self.inner.stored.lock().unwrap().clone()
    }

    pub fn statuses(&self) -> Vec<v1::ContentStatus> {
        self.inner.statuses.lock().unwrap().clone()
    }

    /// Every row that came, with its number, first come first.
    pub fn rows(&self) -> Vec<(String, u64, Value)> {
        let mut rows = Vec::new();
        for s in self.stored() {
            for row in 0..s.batch.num_rows() {
                let json = Value::Object(row_to_json(&s.batch, row));
                rows.push((s.header.table.clone(), s.header.sequence_first + row as u64, json));
            }
        }
        rows
    }

    /// Waits until something holds, looking again whenever something came.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changed = self.inner.changed.subscribe();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let until = tokio::time::Instant::now() + Duration::from_secs(90);
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                let came = tokio::time::timeout_at(until, changed.changed()).await;
                assert!(came.is_ok(), "waited 90 s for {what}");
            }
        })
    }

    pub fn push_rules(&self, generation: u64, source: &str) {
        let rules = vec![BundleRule { name: "test".into(), source: source.into() }];
        let content = pack(&Bundle { rules }, &format!("v{generation}"), generation, &self.inner.key).unwrap();
        self.inner.content.send_replace(Some(content));
    }
}

async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let own = inner.authority.issue_gateway(garrison_sensor::status::now().0 / 1_000_000).unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(gateway_config(&own, inner.authority.certificate()).unwrap()));
    let (ready, incoming) = mpsc::channel::<Result<TlsStream<TcpStream>, std::io::Error>>(16);
    let gate = Arc::clone(&inner);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (tls, ready, gate) = (tls.clone(), ready.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                if !gate.away.load(Ordering::SeqCst)
                    && let Ok(stream) = tls.accept(tcp).await
                {
                    let _ = ready.send(Ok(stream)).await;
                }
            });
        }
    });
    tonic::transport::Server::builder()
        .add_service(enrolment_server::EnrolmentServer::new(Service(Arc::clone(&inner))))
        .add_service(
            sensor_server::SensorServer::new(Service(inner))
                .max_decoding_message_size(garrison_wire::MESSAGE_BYTES_MAX),
        )
        .serve_with_incoming(ReceiverStream::new(incoming))
        .await
        .unwrap();
}

struct Service(Arc<Inner>);

#[tonic::async_trait]
impl enrolment_server::Enrolment for Service {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let request = request.into_inner();
        if request.token.parse::<EnrolmentToken>().ok().is_none_or(|t| t != self.0.token) {
            return Err(Status::unauthenticated("the token is not known here"));
        }
        let device = DeviceId::new("ab".repeat(20)).unwrap();
        let now = garrison_sensor::status::now().0 / 1_000_000;
        let (chain, not_after) = self.0.authority.issue_device(&request.csr, &TenantId::first(), &device, now).unwrap();
        Ok(Response::new(v1::EnrolResponse {
            tenant_id: "default".into(),
            device_id: device.to_string(),
            certificates: chain.iter().map(|c| c.to_vec().into()).collect(),
            ca_certificate: self.0.authority.certificate().to_vec().into(),
            content_key: self.0.key.verifying_key().to_bytes().to_vec().into(),
            not_after,
        }))
    }
}

#[tonic::async_trait]
impl sensor_server::Sensor for Service {
    type SessionStream = ReceiverStream<Result<v1::ServerFrame, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SensorFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certificates = request.peer_certs().ok_or_else(|| Status::unauthenticated("no certificate"))?;
        let peer =
            PeerIdentity::from_certificate(&certificates[0]).map_err(|e| Status::unauthenticated(e.to_string()))?;
        let (out, answers) = mpsc::channel(256);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut session = GatewaySession::start(peer.device, GatewayLimits::default(), Micros(0));
            let mut inbound = request.into_inner();
            let mut content = inner.content.subscribe();
            content.mark_changed();
            loop {
                let actions = tokio::select! {
                    frame = inbound.next() => match frame {
                        Some(Ok(frame)) => session.receive(frame, garrison_sensor::status::now()),
                        _ => return,
                    },
                    _ = content.changed() => {
                        let content = content.borrow_and_update().clone();
                        if let Some(content) = content {
                            // A greeting must come first; the channel keeps the order.
                            let frame = v1::ServerFrame { frame: Some(server_frame::Frame::Content(content)) };
                            let _ = out.send(Ok(frame)).await;
                        }
                        Vec::new()
                    }
                };
                if inner.away.load(Ordering::SeqCst) {
                    return;
                }
                for action in actions {
                    match action {
                        GatewayAction::Send(frame) => drop(out.send(Ok(frame)).await),
                        GatewayAction::Ingest { header, payload, urgent } => {
                            let batch = decode_ipc(&payload, &DecodeLimits::default()).unwrap();
                            assert_eq!(batch.num_rows(), header.row_count as usize);
                            let bytes = payload.len() as u64;
                            inner.stored.lock().unwrap().push(Stored { header: header.clone(), urgent, batch });
                            inner.changed.send_modify(|n| *n += 1);
                            for answer in session.stored(&header, bytes, StoreResult::Stored) {
                                if let GatewayAction::Send(frame) = answer {
                                    let _ = out.send(Ok(frame)).await;
                                }
                            }
                        }
                        GatewayAction::ContentStatus(status) => {
                            inner.statuses.lock().unwrap().push(status);
                            inner.changed.send_modify(|n| *n += 1);
                        }
                        GatewayAction::Close { .. } => return,
                        GatewayAction::Greeted(_) | GatewayAction::Heartbeat(_) => {}
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn renew(&self, _request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
