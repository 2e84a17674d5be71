//! The gRPC service of connectors.

use super::listener::Peer;
use super::service::{house_of, peer, status};
use super::wires::Wires;
use crate::connect::{Connect, ConnectError};
use crate::identity::Failures;
use crate::plane::PlaneError;
use crate::shared::Shared;
use futures::Stream;
use garrison_wire::connect::CHUNK_BYTES;
use garrison_wire::connect::token::ConnectorToken;
use garrison_wire::connect::v1::{self, connector_server::Connector};
use garrison_wire::identity::ConnectorIdentity;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tonic::{Code, Request, Response, Status};

/// Paths of this service.
pub(super) const PATHS: &str = "/garrison.connect.v1.Connector/";

pub(super) struct Connectors {
    shared: Arc<Shared>,
    connect: Arc<Connect>,
    failures: Mutex<Failures>,
    wires: Weak<Wires>,
}

impl std::fmt::Debug for Connectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connectors").finish_non_exhaustive()
    }
}

/// One table from errors to status and public words; internal causes stay in the log.
fn refuse(error: ConnectError) -> Status {
    let words = error.to_string();
    match &error {
        ConnectError::TokenMalformed => status(Code::Unauthenticated, "token_malformed", &words),
        ConnectError::Token(refused) => status(Code::Unauthenticated, refused.code(), &words),
        ConnectError::Scope(_) => status(Code::PermissionDenied, "token_scope", &words),
        ConnectError::Value(_) => status(Code::FailedPrecondition, "not_valid", &words),
        ConnectError::Request(_) => status(Code::InvalidArgument, "request_malformed", &words),
        ConnectError::Unknown(_) => status(Code::NotFound, "not_known", &words),
        ConnectError::Plane(
            PlaneError::Unknown(_)
            | PlaneError::NameTaken(_)
            | PlaneError::TooMany { .. }
            | PlaneError::Value(_)
            | PlaneError::Location { .. }
            | PlaneError::GeographyUnknown { .. },
        ) => status(Code::FailedPrecondition, "place_refused", &words),
        ConnectError::Busy => status(Code::Unavailable, "busy", &words),
        ConnectError::Plane(_)
        | ConnectError::Random
        | ConnectError::Identity(_)
        | ConnectError::Stored(_)
        | ConnectError::Open(_)
        | ConnectError::Over(_)
        | ConnectError::Db(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a connector was not answered");
            status(Code::Unavailable, "internal", "the server cannot do this at the moment")
        }
    }
}

impl Connectors {
    pub(super) fn new(shared: &Arc<Shared>, connect: &Arc<Connect>, failures: Failures, wires: &Arc<Wires>) -> Self {
        let (shared, connect) = (Arc::clone(shared), Arc::clone(connect));
        Self { shared, connect, failures: Mutex::new(failures), wires: Arc::downgrade(wires) }
    }

    async fn enrol_here(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let key = peer(request.extensions())?.ip.to_string();
        let now = crate::now();
        let wait = self.failures.lock().unwrap_or_else(PoisonError::into_inner).wait(&key, now);
        if wait.is_some() {
            let words = "too many failed enrolments from this address, try again in a minute";
            return Err(status(Code::ResourceExhausted, "too_many_failures", words));
        }
        let machine = self.connect.enrol(request.into_inner()).await.map_err(|error| {
            if matches!(error, ConnectError::TokenMalformed | ConnectError::Token(_) | ConnectError::Request(_)) {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).note(&key, now);
            }
            refuse(error)
        })?;
        let identity = &self.shared.identity;
        Ok(Response::new(v1::EnrolResponse {
            tenant_id: self.shared.tenant.to_string(),
            connector_id: machine.connector.to_string(),
            certificates: bytes_of(&machine.chain),
            ca_certificate: bytes::Bytes::copy_from_slice(identity.authority().certificate()),
            order_key: bytes::Bytes::copy_from_slice(identity.content_key().verifying_key().as_bytes()),
            not_after: machine.not_after,
            resource_id: machine.resource,
            package_keys: self.connect.packages().keys().iter().map(|k| k.as_bytes().to_vec().into()).collect(),
        }))
    }

    fn identified(&self, extensions: &http::Extensions) -> Result<Arc<ConnectorIdentity>, Status> {
        let Peer { connector, .. } = peer(extensions)?;
        let words = "this needs the certificate of a connected machine";
        let identity = connector.ok_or_else(|| status(Code::Unauthenticated, "no_certificate", words))?;
        if identity.not_after <= crate::now().0 / 1_000_000 {
            return Err(status(Code::Unauthenticated, "certificate_expired", "the certificate has expired"));
        }
        Ok(identity)
    }
}

fn bytes_of(chain: &[rustls_pki_types::CertificateDer<'_>]) -> Vec<bytes::Bytes> {
    chain.iter().map(|c| bytes::Bytes::copy_from_slice(c)).collect()
}

#[tonic::async_trait]
impl Connector for Connectors {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let token = request.get_ref().token.parse::<ConnectorToken>().ok();
        match house_of(&self.wires, &self.shared, token.as_ref().map(|t| &t.0)).await {
            Some(wire) => wire.connectors.enrol_here(request).await,
            None => self.enrol_here(request).await,
        }
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<v1::ReportResponse>, Status> {
        let identity = self.identified(request.extensions())?;
        self.connect.report(&identity, request.into_inner()).await.map(Response::new).map_err(refuse)
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let identity = self.identified(request.extensions())?;
        let machine = self.connect.renew(&identity, &request.into_inner().csr).await.map_err(refuse)?;
        let (certificates, not_after) = (bytes_of(&machine.chain), machine.not_after);
        Ok(Response::new(v1::RenewResponse { certificates, not_after }))
    }

    async fn sensor_token(
        &self,
        request: Request<v1::SensorTokenRequest>,
    ) -> Result<Response<v1::SensorTokenResponse>, Status> {
        let identity = self.identified(request.extensions())?;
        let token = self.connect.sensor_token(&identity, request.into_inner().generation).await.map_err(refuse)?;
        Ok(Response::new(v1::SensorTokenResponse { token }))
    }

    type PackageStream = Pin<Box<dyn Stream<Item = Result<v1::PackageChunk, Status>> + Send>>;

    async fn package(&self, request: Request<v1::PackageRequest>) -> Result<Response<Self::PackageStream>, Status> {
        // The sensor's program is no secret, but only machines of ours get bytes out of us.
        self.identified(request.extensions())?;
        let request = request.into_inner();
        let missing = || status(Code::NotFound, "package_missing", "the server has no such package any more");
        let path = self.connect.packages().file(&request.sha256).ok_or_else(missing)?;
        let mut file = tokio::fs::File::open(&path).await.map_err(|_| missing())?;
        file.seek(std::io::SeekFrom::Start(request.offset)).await.map_err(|_| missing())?;
        let stream = futures::stream::unfold(Some(file), |file| async move {
            let mut file = file?;
            let mut data = vec![0; CHUNK_BYTES];
            match file.read(&mut data).await {
                Ok(0) => None,
                Ok(read) => {
                    data.truncate(read);
                    Some((Ok(v1::PackageChunk { data: data.into() }), Some(file)))
                }
                Err(_) => Some((Err(Status::unavailable("the package cannot be read")), None)),
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}
