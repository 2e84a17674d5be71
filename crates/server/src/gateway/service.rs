//! The two gRPC services. Tonic serves enrolment and renewal; a session's frames go their own way ([`super::frames`]).

use super::frames::{ContentFrame, Frames};
use super::listener::{GatewayParts, Peer};
use super::session::Session;
use super::wires::{Wire, Wires};
use crate::fleet::{Denied, EnrolError, Enrolled};
use crate::identity::Failures;
use crate::metrics::ByCode;
use crate::shared::Shared;
use garrison_wire::identity::PeerIdentity;
use garrison_wire::v1::{self, enrolment_server::Enrolment};
use http::{HeaderValue, header};
use hyper::body::Incoming;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tonic::body::Body;
use tonic::codec::BufferSettings;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::{ProstCodec, ProstDecoder};

/// Where a session begins and where a certificate is renewed; all else is enrolment's, or nobody's.
pub(super) const SESSION_PATH: &str = "/garrison.wire.v1.Sensor/Session";
pub(super) const RENEW_PATH: &str = "/garrison.wire.v1.Sensor/Renew";
/// What a session's reader begins with: a heartbeat. It grows with what comes.
const READ_BUFFER_BYTES: usize = 512;
/// A certificate request and nothing else.
const RENEW_BYTES_MAX: usize = 64 << 10;

pub(super) struct Service {
    parts: GatewayParts,
    failures: Mutex<Failures>,
    wires: Weak<Wires>,
    content_frame: Arc<ContentFrame>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    pub(super) fn new(parts: GatewayParts, failures: Failures, wires: &Arc<Wires>) -> Self {
        let (failures, wires) = (Mutex::new(failures), Arc::downgrade(wires));
        Self { parts, failures, wires, content_frame: Arc::default() }
    }

    fn refuse(&self, error: &EnrolError) -> Status {
        let code = error.code();
        self.parts.shared.metrics.enrol_refused.get_or_create(&ByCode { code }).inc();
        // One table from errors to status and public words; internal causes stay in the log.
        match error {
            EnrolError::TokenMalformed | EnrolError::Token(_) => {
                status(Code::Unauthenticated, code, &error.to_string())
            }
            EnrolError::Request(_) => status(Code::InvalidArgument, code, &error.to_string()),
            EnrolError::Revoked => status(Code::PermissionDenied, code, &error.to_string()),
            EnrolError::Internal(source) => {
                tracing::error!(error = source as &dyn std::error::Error, "cannot enrol");
                status(Code::Unavailable, code, "the server cannot do this at the moment")
            }
        }
    }
}

/// A status with a stable code in the metadata `garrison-code`.
pub(super) fn status(code: Code, stable: &'static str, words: &str) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("garrison-code", MetadataValue::from_static(stable));
    Status::with_metadata(code, words, metadata)
}

pub(super) fn peer(extensions: &http::Extensions) -> Result<Peer, Status> {
    extensions.get::<Peer>().cloned().ok_or_else(|| Status::internal("the connection has no peer"))
}

fn identified(extensions: &http::Extensions) -> Result<(Peer, Arc<PeerIdentity>), Status> {
    let peer = peer(extensions)?;
    let words = "this needs the certificate of an enrolled device";
    let identity = peer.identity.clone().ok_or_else(|| status(Code::Unauthenticated, "no_certificate", words))?;
    Ok((peer, identity))
}

fn certificates(enrolled: &Enrolled) -> Vec<bytes::Bytes> {
    enrolled.chain.iter().map(|c| bytes::Bytes::copy_from_slice(c)).collect()
}

#[tonic::async_trait]
impl Enrolment for Service {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let token = request.get_ref().token.parse::<garrison_wire::token::EnrolmentToken>().ok();
        match house_of(&self.wires, &self.parts.shared, token.as_ref()).await {
            Some(wire) => wire.service.enrol_here(request).await,
            None => self.enrol_here(request).await,
        }
    }
}

/// The way in of another tenant, where the token is of one that this server has.
pub(super) async fn house_of(
    wires: &Weak<Wires>,
    shared: &Shared,
    token: Option<&garrison_wire::token::EnrolmentToken>,
) -> Option<Arc<Wire>> {
    let (token, wires) = (token?, wires.upgrade()?);
    // Its own tenant's database first, which may be that of others too; at most 64 are asked.
    let others = wires.all();
    let others = others.iter().map(|wire| &wire.service.parts.shared.db).filter(|db| !db.is(&shared.db));
    for db in std::iter::once(&shared.db).chain(others) {
        // What a database cannot say now it cannot say to the one who asks it next either.
        if let Some(tenant) = crate::identity::tokens::token_place(db, token).await.ok().flatten() {
            return if tenant == shared.tenant { None } else { wires.of(&tenant) };
        }
    }
    None
}

impl Service {
    async fn enrol_here(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let shared = &self.parts.shared;
        let ip = peer(request.extensions())?.ip;
        let (key, now) = (ip.to_string(), crate::now());
        let wait = self.failures.lock().unwrap_or_else(PoisonError::into_inner).wait(&key, now);
        if wait.is_some() {
            let code = "too_many_failures";
            shared.metrics.enrol_refused.get_or_create(&ByCode { code }).inc();
            let words = "too many failed enrolments from this address, try again in a minute";
            return Err(status(Code::ResourceExhausted, code, words));
        }
        let request = request.into_inner();
        let token = request.token.parse::<garrison_wire::token::EnrolmentToken>().map(|t| t.id_text());
        let enrolled = shared.fleet.enrol(&shared.identity, request, ip, now).await.map_err(|error| {
            if matches!(error, EnrolError::TokenMalformed | EnrolError::Token(_) | EnrolError::Request(_)) {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).note(&key, now);
            }
            self.refuse(&error)
        })?;
        shared.metrics.enrolled.inc();
        if let Ok(token) = token
            && let Err(error) = self.parts.connect.sensor_enrolled(&token, &enrolled.device).await
        {
            // The connector names the device too: it is joined with its next report.
            tracing::warn!(error = &error as &dyn std::error::Error, "the device was not joined with its machine");
        }
        tracing::info!(device = %enrolled.device, "device enrolled");
        Ok(Response::new(v1::EnrolResponse {
            tenant_id: shared.tenant.to_string(),
            device_id: enrolled.device.to_string(),
            certificates: certificates(&enrolled),
            ca_certificate: bytes::Bytes::copy_from_slice(shared.identity.authority().certificate()),
            content_key: bytes::Bytes::copy_from_slice(shared.identity.content_key().verifying_key().as_bytes()),
            not_after: enrolled.not_after,
        }))
    }
}

impl Service {
    /// `Sensor.Session`: frames both ways until one side ends it.
    pub(super) async fn session(&self, request: http::Request<Incoming>) -> http::Response<Body> {
        let (head, body) = request.into_parts();
        let decoder = ProstDecoder::new(BufferSettings::new(READ_BUFFER_BYTES, READ_BUFFER_BYTES));
        let inbound = Streaming::new_request(decoder, body, None, Some(garrison_wire::MESSAGE_BYTES_MAX));
        match self.session_open(&head.extensions, inbound).await {
            Ok(session) => {
                let mut response = http::Response::new(Body::new(Frames::new(session.frames())));
                let kind = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(status) => status.into_http(),
        }
    }

    async fn session_open(
        &self,
        extensions: &http::Extensions,
        inbound: Streaming<v1::SensorFrame>,
    ) -> Result<Session, Status> {
        let (peer, identity) = identified(extensions)?;
        let now = crate::now();
        if identity.not_after <= now.0 / 1_000_000 {
            return Err(status(Code::Unauthenticated, "certificate_expired", "the certificate has expired"));
        }
        let guard = self.parts.shared.fleet.session_open(&identity, peer.ip, now).await.map_err(|e| match e {
            Denied::Revoked => status(Code::PermissionDenied, "revoked", "the device is revoked"),
            Denied::Db(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot open a session");
                status(Code::Unavailable, "internal", "the server cannot do this at the moment")
            }
        })?;
        Ok(Session::new(&self.parts, &identity.device, guard, inbound, Arc::clone(&self.content_frame), now))
    }

    async fn renewed(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let (_, identity) = identified(request.extensions())?;
        let shared = &self.parts.shared;
        let csr = request.into_inner().csr;
        let enrolled = shared
            .fleet
            .renew(&shared.identity, &identity, &csr, crate::now())
            .await
            .map_err(|error| self.refuse(&error))?;
        Ok(Response::new(v1::RenewResponse { certificates: certificates(&enrolled), not_after: enrolled.not_after }))
    }

    /// `Sensor.Renew`.
    pub(super) async fn renew(self: Arc<Self>, request: http::Request<Incoming>) -> http::Response<Body> {
        let codec = ProstCodec::<v1::RenewResponse, v1::RenewRequest>::default();
        let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(RENEW_BYTES_MAX);
        grpc.unary(Renewal(self), request).await
    }
}

struct Renewal(Arc<Service>);

impl tonic::server::UnaryService<v1::RenewRequest> for Renewal {
    type Response = v1::RenewResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<v1::RenewResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<v1::RenewRequest>) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move { service.renewed(request).await })
    }
}
