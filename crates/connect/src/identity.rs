//! Who this connector is: one file, written whole or not at all, readable by its owner only, and bound to the machine.

use garrison_model::{ConnectorId, TenantId};
use garrison_wire::connect::order::Addressee;
use garrison_wire::connect::v1;
use garrison_wire::identity::KeyAndChain;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the file in the state folder.
pub const IDENTITY_FILE: &str = "identity.json";
/// Name of the file that says where to enrol when the connector next starts: for images.
pub const PENDING_FILE: &str = "enrol.json";

/// The files' version.
const VERSION: u32 = 1;
/// Largest file that is read.
const BYTES_MAX: u64 = 256 * 1024;

/// The file, version 1. Bytes are hexadecimal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Stored {
    version: u32,
    tenant: TenantId,
    connector: ConnectorId,
    resource_id: String,
    servers: Vec<String>,
    key: String,
    certificates: Vec<String>,
    ca_certificate: String,
    order_key: String,
    not_after: i64,
    bound_machine_id: String,
    bound_hardware: String,
    /// Since the vendor signs packages; a file of before has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    package_keys: Vec<String>,
}

/// Who this connector is.
#[derive(Clone)]
pub struct Identity {
    /// Tenant.
    pub tenant: TenantId,
    /// Connector.
    pub connector: ConnectorId,
    /// Where the machine lies among the resources.
    pub resource_id: String,
    /// Gateways.
    pub servers: Vec<String>,
    /// Key and certificates.
    pub own: KeyAndChain,
    /// The CA that gateways are under.
    pub ca: CertificateDer<'static>,
    /// Key that orders are signed with.
    pub order_key: ed25519_dalek::VerifyingKey,
    /// Keys that packages must be signed with; none where the server trusted none at enrolment.
    pub package_keys: Vec<ed25519_dalek::VerifyingKey>,
    /// End of the certificate, seconds since 1970.
    pub not_after: i64,
    /// The machine that it is for.
    pub binding: v1::Binding,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} of {})", self.connector, self.tenant)
    }
}

/// Where to enrol at the next start, with which token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pending {
    /// Gateway.
    pub server: String,
    /// `gc1_…`
    pub token: String,
    /// Subscription asked for.
    #[serde(default)]
    pub subscription: String,
    /// Resource group asked for.
    #[serde(default)]
    pub resource_group: String,
    /// Name asked for.
    #[serde(default)]
    pub name: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<(String, String)>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", self.server)
    }
}

/// The identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// There is none.
    #[error("this machine is not connected: run `garrison-connect enrol --server HOST:PORT --token TOKEN`")]
    Absent,
    /// There is one already.
    #[error("this machine is connected already as `{0}`: use --force to connect it anew")]
    Present(ConnectorId),
    /// Reading or writing failed.
    #[error("cannot {what} `{path}`")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The content is wrong.
    #[error("file `{path}` is damaged: {why}")]
    Damaged {
        /// File.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Reads a small file of ours; `None` if there is none.
pub fn read_small(path: &Path) -> Result<Option<Vec<u8>>, IdentityFileError> {
    let read = || -> std::io::Result<Vec<u8>> {
        if std::fs::metadata(path)?.len() > BYTES_MAX {
            return Err(std::io::Error::other("file is too large"));
        }
        std::fs::read(path)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityFileError::Io { what: "read", path: path.to_owned(), source }),
    }
}

/// Writes a file of mode 0600 so that after a crash at any moment either the former or the new one is there.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Makes the state folder, for its owner only.
pub fn make_state(state: &Path) -> Result<(), IdentityFileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.map_err(|source| IdentityFileError::Io { what: "make folder", path: state.to_owned(), source })
}

fn own(key: Vec<u8>, chain: impl IntoIterator<Item = Vec<u8>>) -> KeyAndChain {
    KeyAndChain {
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        chain: chain.into_iter().map(CertificateDer::from).collect(),
    }
}

fn verifying_key(bytes: &[u8]) -> Result<ed25519_dalek::VerifyingKey, String> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| "the order key is not 32 bytes".to_owned())?;
    ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| "the order key is no key".to_owned())
}

/// A key that is none is an error: leaving it out could leave none, and then nothing would be asked for.
fn package_keys(keys: impl Iterator<Item = Vec<u8>>) -> Result<Vec<ed25519_dalek::VerifyingKey>, String> {
    keys.take(garrison_wire::connect::package::KEYS_MAX).map(|key| verifying_key(&key)).collect()
}

impl Identity {
    /// From what the server answered.
    pub fn from_response(
        response: &v1::EnrolResponse,
        key: Vec<u8>,
        servers: Vec<String>,
        binding: v1::Binding,
    ) -> Result<Self, String> {
        if response.certificates.is_empty() {
            return Err("no certificate".to_owned());
        }
        Ok(Self {
            tenant: TenantId::new(response.tenant_id.as_str()).map_err(|e| e.to_string())?,
            connector: ConnectorId::new(response.connector_id.as_str()).map_err(|e| e.to_string())?,
            resource_id: response.resource_id.chars().filter(|c| !c.is_control()).take(600).collect(),
            servers,
            own: own(key, response.certificates.iter().map(|c| c.to_vec())),
            ca: CertificateDer::from(response.ca_certificate.to_vec()),
            order_key: verifying_key(&response.order_key)?,
            package_keys: package_keys(response.package_keys.iter().map(|k| k.to_vec()))?,
            not_after: response.not_after,
            binding,
        })
    }

    /// Replaces key and certificates after a renewal.
    pub fn renewed(&self, key: Vec<u8>, certificates: Vec<Vec<u8>>, not_after: i64) -> Self {
        Self { own: own(key, certificates), not_after, ..self.clone() }
    }

    /// Whom orders are for.
    pub fn addressee(&self) -> Addressee {
        Addressee { tenant: self.tenant.clone(), connector: self.connector.clone(), key: self.order_key }
    }

    /// Reads the file in this state folder.
    pub fn load(state: &Path) -> Result<Self, IdentityFileError> {
        let path = state.join(IDENTITY_FILE);
        let bytes = read_small(&path)?.ok_or(IdentityFileError::Absent)?;
        let parse = || -> Result<Self, String> {
            let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
            if stored.version != VERSION {
                return Err(format!("version {} is not {VERSION}", stored.version));
            }
            let hex = |text: &str| hex::decode(text).map_err(|e| e.to_string());
            let chain = stored.certificates.iter().map(|c| hex(c)).collect::<Result<Vec<_>, _>>()?;
            Ok(Self {
                tenant: stored.tenant,
                connector: stored.connector,
                resource_id: stored.resource_id,
                servers: stored.servers,
                own: own(hex(&stored.key)?, chain),
                ca: CertificateDer::from(hex(&stored.ca_certificate)?),
                order_key: verifying_key(&hex(&stored.order_key)?)?,
                package_keys: package_keys(
                    stored.package_keys.iter().map(|k| hex(k)).collect::<Result<Vec<_>, _>>()?.into_iter(),
                )?,
                not_after: stored.not_after,
                binding: v1::Binding { machine_id: stored.bound_machine_id, hardware: stored.bound_hardware },
            })
        };
        parse().map_err(|why| IdentityFileError::Damaged { path, why })
    }

    /// Writes the file whole or not at all.
    pub fn store(&self, state: &Path) -> Result<(), IdentityFileError> {
        let path = state.join(IDENTITY_FILE);
        let stored = Stored {
            version: VERSION,
            tenant: self.tenant.clone(),
            connector: self.connector.clone(),
            resource_id: self.resource_id.clone(),
            servers: self.servers.clone(),
            key: hex::encode(self.own.key.secret_der()),
            certificates: self.own.chain.iter().map(hex::encode).collect(),
            ca_certificate: hex::encode(&self.ca),
            order_key: hex::encode(self.order_key.as_bytes()),
            not_after: self.not_after,
            bound_machine_id: self.binding.machine_id.clone(),
            bound_hardware: self.binding.hardware.clone(),
            package_keys: self.package_keys.iter().map(|k| hex::encode(k.as_bytes())).collect(),
        };
        let failed = |source| IdentityFileError::Io { what: "write", path: path.clone(), source };
        let text = serde_json::to_vec_pretty(&stored).map_err(|e| failed(std::io::Error::other(e)))?;
        make_state(state)?;
        write_whole(&path, &text).map_err(failed)
    }
}

impl Pending {
    /// Reads the file in this state folder.
    pub fn load(state: &Path) -> Result<Option<Self>, IdentityFileError> {
        let path = state.join(PENDING_FILE);
        let Some(bytes) = read_small(&path)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|e: serde_json::Error| IdentityFileError::Damaged { path, why: e.to_string() })
    }

    /// Writes it.
    pub fn store(&self, state: &Path) -> Result<(), IdentityFileError> {
        let path = state.join(PENDING_FILE);
        let failed = |source| IdentityFileError::Io { what: "write", path: path.clone(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|e| failed(std::io::Error::other(e)))?;
        make_state(state)?;
        write_whole(&path, &text).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_identity_reads_back_with_its_binding_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        assert!(matches!(Identity::load(&state), Err(IdentityFileError::Absent)));
        let response = v1::EnrolResponse {
            tenant_id: "default".into(),
            connector_id: "ab".repeat(20),
            certificates: vec![vec![1, 2].into()],
            ca_certificate: vec![3].into(),
            order_key: ed25519_dalek::SigningKey::from_bytes(&[4; 32]).verifying_key().as_bytes().to_vec().into(),
            not_after: 5,
            resource_id: "/subscriptions/x".into(),
            package_keys: vec![
                ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key().as_bytes().to_vec().into(),
            ],
        };
        let binding = garrison_wire::connect::binding::of("0123456789abcdef0123456789abcdef", "");
        let identity = Identity::from_response(&response, vec![6], vec!["a:1".into()], binding.clone()).unwrap();
        identity.store(&state).unwrap();
        let mode = std::fs::metadata(state.join(IDENTITY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Identity::load(&state).unwrap();
        assert_eq!((read.connector.clone(), read.not_after, read.binding.clone()), (identity.connector, 5, binding));
        assert_eq!(read.package_keys, identity.package_keys);
        let damaged = v1::EnrolResponse { package_keys: vec![vec![1].into()], ..response };
        assert!(Identity::from_response(&damaged, vec![6], vec![], read.binding.clone()).is_err());
        assert!(!format!("{read:?}").contains("06"));
        std::fs::write(state.join(IDENTITY_FILE), "{").unwrap();
        assert!(matches!(Identity::load(&state), Err(IdentityFileError::Damaged { .. })));
    }
}
