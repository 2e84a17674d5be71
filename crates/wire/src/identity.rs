//! Certificates: the built-in CA, what it issues, and who a peer is by its certificate.
//!
//! A device certificate carries exactly one URI name, `garrison://tenant/<tenant>/device/<device>`, a connector's
//! `garrison://tenant/<tenant>/connector/<connector>`; nothing else in it is believed, and neither counts as the other.
//! Gateways are known by the name [`GATEWAY_NAME`] under the pinned CA, whatever their address.

use garrison_model::{ConnectorId, DeviceId, TenantId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The name that a gateway's certificate bears and sensors ask for.
pub const GATEWAY_NAME: &str = "gateway.garrison.internal";

/// How long a device certificate lasts; a sensor renews it when a third of it is left.
pub const DEVICE_VALIDITY: Duration = Duration::from_hours(720);

/// Clocks may differ by this much: certificates begin this long before they are issued.
pub const CLOCK_SKEW: Duration = Duration::from_hours(24);

/// A certificate or key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Making failed.
    #[error("cannot {step}")]
    Make {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: rcgen::Error,
    },
    /// The peer's certificate is not a device's.
    #[error("certificate names no device")]
    NotADevice,
    /// The peer's certificate is not a connector's.
    #[error("certificate names no connector")]
    NotAConnector,
    /// A time outside the calendar.
    #[error("time {0} is outside the calendar")]
    Time(i64),
}

fn make(step: &'static str) -> impl FnOnce(rcgen::Error) -> IdentityError {
    move |source| IdentityError::Make { step, source }
}

fn at(seconds: i64) -> Result<OffsetDateTime, IdentityError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IdentityError::Time(seconds))
}

/// SHA-256 of a certificate's DER.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// The built-in certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A key and the certificate chain for it, leaf first.
#[derive(Debug)]
pub struct KeyAndChain {
    /// Private key.
    pub key: PrivateKeyDer<'static>,
    /// Certificates.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Clone for KeyAndChain {
    fn clone(&self) -> Self {
        Self { key: self.key.clone_key(), chain: self.chain.clone() }
    }
}

impl Authority {
    /// Makes a new CA that lasts twenty years from `now` (seconds since 1970), with its key as PKCS #8 PEM and its
    /// certificate as DER to be stored.
    pub fn generate(now: i64) -> Result<(Self, String, Vec<u8>), IdentityError> {
        let key = KeyPair::generate().map_err(make("generate the CA key"))?;
        let pem = key.serialize_pem();
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "Garrison CA");
        name.push(DnType::OrganizationName, hex::encode(&Sha256::digest(key.public_key_raw())[..8]));
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = at(now - CLOCK_SKEW.as_secs() as i64)?;
        params.not_after = at(now + 20 * 365 * 24 * 3600)?;
        let certificate = params.self_signed(&key).map_err(make("sign the CA certificate"))?.der().clone();
        let der = certificate.to_vec();
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer, certificate }, pem, der))
    }

    /// Reads a stored CA.
    pub fn load(key_pem: &str, certificate: &[u8]) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(key_pem).map_err(make("read the CA key"))?;
        let certificate = CertificateDer::from(certificate.to_vec());
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(make("read the CA certificate"))?;
        Ok(Self { issuer, certificate })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A fresh key and certificate for a gateway, for 90 days; the chain includes the CA, so that a sensor that only
    /// has a fingerprint can find it.
    pub fn issue_gateway(&self, now: i64) -> Result<KeyAndChain, IdentityError> {
        let key = KeyPair::generate().map_err(make("generate the gateway key"))?;
        let mut params = CertificateParams::new(vec![GATEWAY_NAME.to_owned(), "localhost".to_owned()])
            .map_err(make("name the gateway"))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, GATEWAY_NAME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = at(now - CLOCK_SKEW.as_secs() as i64)?;
        params.not_after = at(now + 90 * 24 * 3600)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(make("sign the gateway certificate"))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(KeyAndChain { key, chain: vec![leaf.der().clone(), self.certificate.clone()] })
    }

    /// A certificate for a device that asks with a CSR (PKCS #10, DER). Only the public key is taken from the request;
    /// names, usages and dates are ours. The answer is the chain and its end in seconds since 1970.
    pub fn issue_device(
        &self,
        csr: &[u8],
        tenant: &TenantId,
        device: &DeviceId,
        now: i64,
    ) -> Result<(Vec<CertificateDer<'static>>, i64), IdentityError> {
        self.issue_client(csr, device.as_str(), &format!("garrison://tenant/{tenant}/device/{device}"), now)
    }

    /// The same for the connector of a machine.
    pub fn issue_connector(
        &self,
        csr: &[u8],
        tenant: &TenantId,
        connector: &ConnectorId,
        now: i64,
    ) -> Result<(Vec<CertificateDer<'static>>, i64), IdentityError> {
        self.issue_client(csr, connector.as_str(), &format!("garrison://tenant/{tenant}/connector/{connector}"), now)
    }

    fn issue_client(
        &self,
        csr: &[u8],
        name: &str,
        uri: &str,
        now: i64,
    ) -> Result<(Vec<CertificateDer<'static>>, i64), IdentityError> {
        let csr = CertificateSigningRequestDer::from(csr.to_vec());
        let request = CertificateSigningRequestParams::from_der(&csr).map_err(make("read the certificate request"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = uri.try_into().map_err(make("name the device"))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(rand::random::<[u8; 16]>().to_vec()));
        params.not_before = at(now - CLOCK_SKEW.as_secs() as i64)?;
        let not_after = now + DEVICE_VALIDITY.as_secs() as i64;
        params.not_after = at(not_after)?;
        let certificate =
            params.signed_by(&request.public_key, &self.issuer).map_err(make("sign the device certificate"))?;
        Ok((vec![certificate.der().clone(), self.certificate.clone()], not_after))
    }
}

/// A fresh device key (PKCS #8 DER) and a request for a certificate (PKCS #10 DER).
pub fn device_request() -> Result<(Vec<u8>, Vec<u8>), IdentityError> {
    let key = KeyPair::generate().map_err(make("generate the device key"))?;
    let csr = CertificateParams::default().serialize_request(&key).map_err(make("make the certificate request"))?;
    Ok((key.serialize_der(), csr.der().to_vec()))
}

/// Who a peer is, by its certificate, which the TLS layer has verified against the CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Tenant.
    pub tenant: TenantId,
    /// Device.
    pub device: DeviceId,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
    /// End of the certificate, seconds since 1970.
    pub not_after: i64,
}

/// What a verified certificate says of its holder: tenant, id, and the certificate's own serial, fingerprint and end.
fn holder(der: &[u8], kind: &str) -> Option<(TenantId, String, String, String, i64)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten()?;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else { return None };
    let (tenant, id) = uri.strip_prefix("garrison://tenant/")?.split_once(kind)?;
    let serial = hex::encode(certificate.raw_serial());
    let not_after = certificate.validity().not_after.timestamp();
    Some((TenantId::new(tenant).ok()?, id.to_owned(), serial, hex::encode(fingerprint(der)), not_after))
}

impl PeerIdentity {
    /// Reads a verified certificate.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (tenant, id, serial, fingerprint, not_after) = holder(der, "/device/").ok_or(IdentityError::NotADevice)?;
        let device = DeviceId::new(id).map_err(|_| IdentityError::NotADevice)?;
        Ok(Self { tenant, device, serial, fingerprint, not_after })
    }
}

/// Which connector a peer is, by its certificate, which the TLS layer has verified against the CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorIdentity {
    /// Tenant.
    pub tenant: TenantId,
    /// Connector.
    pub connector: ConnectorId,
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
    /// End of the certificate, seconds since 1970.
    pub not_after: i64,
}

impl ConnectorIdentity {
    /// Reads a verified certificate.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (tenant, id, _, fingerprint, not_after) = holder(der, "/connector/").ok_or(IdentityError::NotAConnector)?;
        let connector = ConnectorId::new(id).map_err(|_| IdentityError::NotAConnector)?;
        Ok(Self { tenant, connector, fingerprint, not_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    #[test]
    fn a_device_is_who_its_certificate_says_not_its_request() {
        let (authority, pem, der) = Authority::generate(NOW).unwrap();
        let again = Authority::load(&pem, &der).unwrap();
        assert_eq!(fingerprint(authority.certificate()), fingerprint(again.certificate()));
        let device = DeviceId::new("ab".repeat(20)).unwrap();
        let (_, csr) = device_request().unwrap();
        let (chain, not_after) = again.issue_device(&csr, &TenantId::first(), &device, NOW).unwrap();
        let peer = PeerIdentity::from_certificate(&chain[0]).unwrap();
        assert_eq!((peer.device, peer.tenant, peer.not_after), (device, TenantId::first(), not_after));
    }

    #[test]
    fn a_connector_is_no_device_and_a_device_no_connector() {
        let (authority, _, _) = Authority::generate(NOW).unwrap();
        let (_, csr) = device_request().unwrap();
        let id = "ab".repeat(20);
        let device =
            authority.issue_device(&csr, &TenantId::first(), &DeviceId::new(id.as_str()).unwrap(), NOW).unwrap();
        let connector = ConnectorId::new(id.as_str()).unwrap();
        let machine = authority.issue_connector(&csr, &TenantId::first(), &connector, NOW).unwrap();
        assert_eq!(ConnectorIdentity::from_certificate(&machine.0[0]).unwrap().connector, connector);
        assert!(ConnectorIdentity::from_certificate(&device.0[0]).is_err());
        assert!(PeerIdentity::from_certificate(&machine.0[0]).is_err());
    }

    #[test]
    fn a_gateway_certificate_is_no_device() {
        let (authority, _, _) = Authority::generate(NOW).unwrap();
        let gateway = authority.issue_gateway(NOW).unwrap();
        assert!(PeerIdentity::from_certificate(&gateway.chain[0]).is_err());
        assert!(PeerIdentity::from_certificate(b"nonsense").is_err());
        assert!(
            authority
                .issue_device(b"nonsense", &TenantId::first(), &DeviceId::new("ab".repeat(20)).unwrap(), NOW)
                .is_err()
        );
    }
}
