//! Enrolment and renewal: how a machine comes to its identity, and keeps it.

use super::record::{DeviceRecord, Entry, Facts};
use super::{Fleet, store};
use crate::db::DbError;
use crate::identity::tokens::enrolment_token_take;
use crate::identity::{Error as IdentityError, Identity, TokenRefused};
use garrison_model::{DeviceId, DeviceSight, Micros};
use garrison_wire::identity::PeerIdentity;
use garrison_wire::token::EnrolmentToken;
use garrison_wire::v1;
use rand::TryRngCore as _;
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;

/// A machine is not enrolled, or a certificate not renewed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The text is no token.
    #[error("the enrolment token is malformed")]
    TokenMalformed,
    /// The token is not taken.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// The certificate request is malformed.
    #[error("the certificate request is malformed")]
    Request(#[source] garrison_wire::identity::IdentityError),
    /// The device is revoked or unknown.
    #[error("the device is revoked")]
    Revoked,
    /// The server failed.
    #[error(transparent)]
    Internal(#[from] IdentityError),
}

impl From<DbError> for EnrolError {
    fn from(source: DbError) -> Self {
        Self::Internal(source.into())
    }
}

impl EnrolError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TokenMalformed => "token_malformed",
            Self::Token(refused) => refused.code(),
            Self::Request(_) => "request_malformed",
            Self::Revoked => "revoked",
            Self::Internal(_) => "internal",
        }
    }
}

/// An identity for a machine.
#[derive(Debug)]
pub struct Enrolled {
    /// Device.
    pub device: DeviceId,
    /// Certificates, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the leaf ends, seconds since 1970.
    pub not_after: i64,
}

/// Certificates that ended this many seconds ago are forgotten.
const CERTIFICATE_KEPT: i64 = 90 * 24 * 3600;

impl Fleet {
    /// Enrols a machine: checks and uses the token, gives a device id and a certificate.
    pub async fn enrol(
        &self,
        identity: &Identity,
        request: v1::EnrolRequest,
        ip: IpAddr,
        now: Micros,
    ) -> Result<Enrolled, EnrolError> {
        let token: EnrolmentToken = request.token.parse().map_err(|_| EnrolError::TokenMalformed)?;
        let mut id = [0; 20];
        rand::rngs::OsRng.try_fill_bytes(&mut id).map_err(|_| IdentityError::Random)?;
        let device = DeviceId::new(hex::encode(id)).map_err(|_| IdentityError::Random)?;
        let mut tx = self.db.write().await?;
        enrolment_token_take(tx.conn(), &self.tenant, &token, now).await??;
        // The signature comes after the token: strangers get no work out of us.
        let (chain, not_after) = identity
            .authority()
            .issue_device(&request.csr, &self.tenant, &device, now.0 / 1_000_000)
            .map_err(EnrolError::Request)?;
        let peer = PeerIdentity::from_certificate(&chain[0]).map_err(EnrolError::Request)?;
        let facts = Facts::from_claims(request.host);
        let record = DeviceRecord {
            duplicate_of: store::same_hardware(tx.conn(), &self.tenant, &facts).await?,
            facts,
            ..self.new_record(device.clone(), Some(ip), now)
        };
        store::insert(tx.conn(), &self.db.seal(&record.tenant), &record).await?;
        store::certificate_insert(tx.conn(), &device, &peer.fingerprint, &peer.serial, now, not_after).await?;
        tx.commit().await?;
        self.devices().insert(device.clone(), Entry::new(record));
        self.changed(&device);
        Ok(Enrolled { device, chain, not_after })
    }

    pub(super) fn new_record(&self, id: DeviceId, ip: Option<IpAddr>, now: Micros) -> DeviceRecord {
        DeviceRecord {
            id,
            tenant: self.tenant.clone(),
            facts: Facts::default(),
            duplicate_of: None,
            sensor_version: String::new(),
            last_ip: ip.map(|ip| ip.to_string()),
            first_seen: now,
            last_seen: now,
            health_issues: Vec::new(),
            sight: DeviceSight::default(),
            tags: Vec::new(),
            content_version: String::new(),
            revoked: false,
            revoked_reason: String::new(),
            row_count: 0,
            lost_count: 0,
        }
    }

    /// A new certificate for a device that shows its present one.
    pub async fn renew(
        &self,
        identity: &Identity,
        peer: &PeerIdentity,
        csr: &[u8],
        now: Micros,
    ) -> Result<Enrolled, EnrolError> {
        self.adopt(peer, None, now).await.map_err(|denied| match denied {
            super::Denied::Revoked => EnrolError::Revoked,
            super::Denied::Db(e) => e.into(),
        })?;
        let seconds = now.0 / 1_000_000;
        let (chain, not_after) =
            identity.authority().issue_device(csr, &self.tenant, &peer.device, seconds).map_err(EnrolError::Request)?;
        let fresh = PeerIdentity::from_certificate(&chain[0]).map_err(EnrolError::Request)?;
        let mut tx = self.db.write().await?;
        store::certificate_insert(tx.conn(), &peer.device, &fresh.fingerprint, &fresh.serial, now, not_after).await?;
        store::certificate_sweep(tx.conn(), seconds - CERTIFICATE_KEPT).await?;
        tx.commit().await?;
        Ok(Enrolled { device: peer.device.clone(), chain, not_after })
    }
}
