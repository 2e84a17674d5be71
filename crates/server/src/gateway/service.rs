//! The two gRPC services.

use super::listener::{GatewayParts, Peer};
use super::session::Session;
use crate::fleet::{Denied, EnrolError, Enrolled};
use crate::identity::Failures;
use crate::metrics::ByCode;
use garrison_wire::identity::PeerIdentity;
use garrison_wire::v1::{self, enrolment_server::Enrolment, sensor_server::Sensor};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};

pub(super) struct Service {
    parts: GatewayParts,
    failures: Arc<Mutex<Failures>>,
}

impl Service {
    pub(super) fn new(parts: GatewayParts, failures: Arc<Mutex<Failures>>) -> Self {
        Self { parts, failures }
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
fn status(code: Code, stable: &'static str, words: &str) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("garrison-code", MetadataValue::from_static(stable));
    Status::with_metadata(code, words, metadata)
}

fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    request.extensions().get::<Peer>().cloned().ok_or_else(|| Status::internal("the connection has no peer"))
}

fn identified<T>(request: &Request<T>) -> Result<(Peer, Arc<PeerIdentity>), Status> {
    let peer = peer(request)?;
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
        let shared = &self.parts.shared;
        let ip = peer(&request)?.ip;
        let (key, now) = (ip.to_string(), crate::now());
        let wait = self.failures.lock().unwrap_or_else(PoisonError::into_inner).wait(&key, now);
        if wait.is_some() {
            let code = "too_many_failures";
            shared.metrics.enrol_refused.get_or_create(&ByCode { code }).inc();
            let words = "too many failed enrolments from this address, try again in a minute";
            return Err(status(Code::ResourceExhausted, code, words));
        }
        let enrolled = shared.fleet.enrol(&shared.identity, request.into_inner(), ip, now).await.map_err(|error| {
            if matches!(error, EnrolError::TokenMalformed | EnrolError::Token(_) | EnrolError::Request(_)) {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).note(&key, now);
            }
            self.refuse(&error)
        })?;
        shared.metrics.enrolled.inc();
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

#[tonic::async_trait]
impl Sensor for Service {
    type SessionStream = Pin<Box<dyn futures::Stream<Item = Result<v1::ServerFrame, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SensorFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (peer, identity) = identified(&request)?;
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
        let session = Session::new(&self.parts, &identity.device, guard, request.into_inner(), now);
        Ok(Response::new(Box::pin(session.frames())))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let (_, identity) = identified(&request)?;
        let shared = &self.parts.shared;
        let csr = request.into_inner().csr;
        let enrolled = shared
            .fleet
            .renew(&shared.identity, &identity, &csr, crate::now())
            .await
            .map_err(|error| self.refuse(&error))?;
        Ok(Response::new(v1::RenewResponse { certificates: certificates(&enrolled), not_after: enrolled.not_after }))
    }
}
