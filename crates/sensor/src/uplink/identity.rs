//! Who this sensor is: one file, written whole or not at all, readable by root only.

use garrison_model::{DeviceId, TenantId};
use garrison_wire::identity::KeyAndChain;
use garrison_wire::v1::EnrolResponse;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the file in the state folder.
pub const IDENTITY_FILE: &str = "identity.json";

/// The file's version.
const VERSION: u32 = 1;
/// Largest identity file that is read.
const BYTES_MAX: u64 = 256 * 1024;

/// The file, version 1. Bytes are hexadecimal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Stored {
    version: u32,
    tenant: TenantId,
    device: DeviceId,
    servers: Vec<String>,
    key: String,
    certificates: Vec<String>,
    ca_certificate: String,
    content_key: String,
    not_after: i64,
}

/// Who this sensor is.
#[derive(Clone)]
pub struct Identity {
    /// Tenant.
    pub tenant: TenantId,
    /// Device.
    pub device: DeviceId,
    /// Gateways given at enrolment.
    pub servers: Vec<String>,
    /// Key and certificates.
    pub own: KeyAndChain,
    /// The CA that gateways are under.
    pub ca: CertificateDer<'static>,
    /// Key that content is signed with.
    pub content_key: [u8; 32],
    /// End of the certificate, seconds since 1970.
    pub not_after: i64,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} of {})", self.device, self.tenant)
    }
}

/// The identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// There is none.
    #[error("this machine is not enrolled: run `garrison-sensor enrol --server HOST:PORT --token TOKEN`")]
    Absent,
    /// There is one already.
    #[error("this machine is enrolled already as `{0}`: use --force to enrol it anew")]
    Present(DeviceId),
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
    #[error("identity file `{path}` is damaged: {why}")]
    Damaged {
        /// File.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Identity {
    /// From what the server answered.
    pub fn from_response(response: &EnrolResponse, key: Vec<u8>, servers: Vec<String>) -> Result<Self, String> {
        let content_key =
            response.content_key.as_ref().try_into().map_err(|_| "the content key is not 32 bytes".to_owned())?;
        if response.certificates.is_empty() {
            return Err("no certificate".to_owned());
        }
        Ok(Self {
            tenant: TenantId::new(response.tenant_id.as_str()).map_err(|e| e.to_string())?,
            device: DeviceId::new(response.device_id.as_str()).map_err(|e| e.to_string())?,
            servers,
            own: own(key, response.certificates.iter().map(|c| c.to_vec())),
            ca: CertificateDer::from(response.ca_certificate.to_vec()),
            content_key,
            not_after: response.not_after,
        })
    }

    /// Replaces key and certificates after a renewal.
    pub fn renewed(&self, key: Vec<u8>, certificates: Vec<Vec<u8>>, not_after: i64) -> Self {
        Self { own: own(key, certificates), not_after, ..self.clone() }
    }

    /// Reads the file in this state folder.
    pub fn load(state_dir: &Path) -> Result<Self, IdentityFileError> {
        let path = state_dir.join(IDENTITY_FILE);
        let read = || -> std::io::Result<Vec<u8>> {
            if std::fs::metadata(&path)?.len() > BYTES_MAX {
                return Err(std::io::Error::other("file is too large"));
            }
            std::fs::read(&path)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(IdentityFileError::Absent),
            Err(source) => return Err(IdentityFileError::Io { what: "read", path, source }),
        };
        let parse = || -> Result<Self, String> {
            let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
            if stored.version != VERSION {
                return Err(format!("version {} is not {VERSION}", stored.version));
            }
            let hex = |text: &str| hex::decode(text).map_err(|e| e.to_string());
            let chain = stored.certificates.iter().map(|c| hex(c)).collect::<Result<Vec<_>, _>>()?;
            let content_key = hex(&stored.content_key)?.try_into().map_err(|_| "content key has a wrong length")?;
            Ok(Self {
                tenant: stored.tenant,
                device: stored.device,
                servers: stored.servers,
                own: own(hex(&stored.key)?, chain),
                ca: CertificateDer::from(hex(&stored.ca_certificate)?),
                content_key,
                not_after: stored.not_after,
            })
        };
        parse().map_err(|why| IdentityFileError::Damaged { path, why })
    }

    /// Writes the file whole or not at all.
    pub fn store(&self, state_dir: &Path) -> Result<(), IdentityFileError> {
        let path = state_dir.join(IDENTITY_FILE);
        let stored = Stored {
            version: VERSION,
            tenant: self.tenant.clone(),
            device: self.device.clone(),
            servers: self.servers.clone(),
            key: hex::encode(self.own.key.secret_der()),
            certificates: self.own.chain.iter().map(hex::encode).collect(),
            ca_certificate: hex::encode(&self.ca),
            content_key: hex::encode(self.content_key),
            not_after: self.not_after,
        };
        let failed = |source| IdentityFileError::Io { what: "write", path: path.clone(), source };
        let text = serde_json::to_vec_pretty(&stored).map_err(|e| failed(std::io::Error::other(e)))?;
        std::fs::create_dir_all(state_dir).map_err(failed)?;
        write_whole(&path, &text).map_err(failed)
    }
}

fn own(key: Vec<u8>, chain: impl IntoIterator<Item = Vec<u8>>) -> KeyAndChain {
    KeyAndChain {
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        chain: chain.into_iter().map(CertificateDer::from).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn identity() -> Identity {
        let response = EnrolResponse {
            tenant_id: "default".into(),
            device_id: "ab".repeat(20),
            certificates: vec![vec![1, 2].into()],
            ca_certificate: vec![3].into(),
            content_key: vec![4; 32].into(),
            not_after: 5,
        };
        Identity::from_response(&response, vec![6], vec!["a:1".into()]).unwrap()
    }

    #[test]
    fn an_identity_reads_back_and_only_root_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Identity::load(folder.path()), Err(IdentityFileError::Absent)));
        identity().store(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join(IDENTITY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Identity::load(folder.path()).unwrap();
        assert_eq!((read.device, read.not_after, read.servers), (identity().device, 5, vec!["a:1".to_owned()]));
        assert_eq!(read.own.key.secret_der(), [6]);
    }

    #[test]
    fn a_damaged_identity_says_so_and_shows_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        identity().store(folder.path()).unwrap();
        let path = folder.path().join(IDENTITY_FILE);
        let text = std::fs::read_to_string(&path).unwrap().replace("\"contentKey\": \"04", "\"contentKey\": \"zz");
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Identity::load(folder.path()), Err(IdentityFileError::Damaged { .. })));
        assert!(!format!("{:?}", identity()).contains("06"));
    }
}
