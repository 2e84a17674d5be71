//! The key of a tenant: 32 random bytes, kept wrapped in a file of its geography.
//!
//! The file is JSON: `{"version": 1, "tenant": …, "wrappedWith": …, "key": …}`. `key` is the secret in base64, sealed as
//! the lake seals small files (AES-256-GCM with a key that HKDF-SHA-256 makes of the key-encryption key and a salt), the
//! tenant's id authenticated with it. `wrappedWith` names the key-encryption key without telling it.
//!
//! Who has the file alone, or the key-encryption key alone, opens nothing. Destroying the file makes every copy of the
//! tenant's lake unreadable at once.

use crate::db::Sealer;
use crate::identity::keys::{folder_of, private_file_write, write_private};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use garrison_lake::{LakeError, LakeKey};
use garrison_model::TenantId;
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const SECRET_BYTES: usize = garrison_lake::crypt::KEY_BYTES;
/// A key file has some hundred bytes.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// A key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file.
    #[error("cannot {step} key file `{path}`")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("key file `{0}` is damaged; restore it from a backup: without it the files that it sealed cannot be read")]
    Damaged(PathBuf),
    /// Wrapped with another key.
    #[error(
        "key file `{path}` is wrapped with key `{named}`, and `keys/tenants.kek` of the data folder is key `{has}`; \
         restore that file from the backup that belongs to this key"
    )]
    Wrapping {
        /// Where.
        path: PathBuf,
        /// What wraps it.
        named: String,
        /// What is there.
        has: String,
    },
    /// There is none.
    #[error("there is no key `{0}`, and the lake is sealed; restore the file from a backup: nothing else opens it")]
    Missing(PathBuf),
    /// Others may read it.
    #[error("key file `{0}` can be read by others; run `chmod 600` on it, and give it to the server's user")]
    Open(PathBuf),
    /// The system gives no random bytes.
    #[error("cannot get random bytes for a key")]
    Random,
    /// A key cannot be used.
    #[error("cannot use a key")]
    Use(#[from] LakeError),
}

impl KeyError {
    fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyFile {
    version: u32,
    tenant: String,
    wrapped_with: String,
    key: String,
}

/// The secret of a tenant. Never printed.
pub struct TenantKey([u8; SECRET_BYTES]);

impl std::fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TenantKey")
    }
}

fn random() -> Result<[u8; SECRET_BYTES], KeyError> {
    let mut bytes = [0; SECRET_BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    use std::io::Read as _;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::io("read", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(KeyError::io("read", path))?;
    Ok(Some(bytes))
}

fn private_folder(path: &Path) -> Result<(), KeyError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(KeyError::io("make a folder for", path))
}

fn kek_path(data: &Path) -> PathBuf {
    data.join("keys/tenants.kek")
}

/// What seals the columns that are the server's own: keys that come from the key-encryption key. Without `sealing` what
/// is written stays plain, and what was sealed is opened if the key is there.
pub fn server_columns(data: &Path, sealing: bool) -> Result<Sealer, KeyError> {
    if !sealing && !kek_path(data).exists() {
        return Ok(Sealer::plain(""));
    }
    Ok(Sealer::new(&kek(data)?, "", sealing))
}

/// The same for the tenant's columns of a query server, which has a database of its own and no key of a lake.
pub fn query_columns(data: &Path, tenant: &TenantId, sealing: bool) -> Result<Sealer, KeyError> {
    if !sealing && !kek_path(data).exists() {
        return Ok(Sealer::plain(tenant.as_str()));
    }
    Ok(Sealer::new(&kek(data)?, tenant.as_str(), sealing))
}

/// The key-encryption key of a data folder, made where it is missing.
fn wrapping(data: &Path) -> Result<LakeKey, KeyError> {
    Ok(LakeKey::new(&kek(data)?)?)
}

fn kek(data: &Path) -> Result<[u8; SECRET_BYTES], KeyError> {
    let path = kek_path(data);
    let mut bytes = [0; SECRET_BYTES];
    if let Some(text) = read_bounded(&path)? {
        let text = String::from_utf8_lossy(&text);
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| KeyError::Damaged(path))?;
    } else {
        bytes = random()?;
        private_folder(&data.join("keys"))?;
        write_private(&path, hex::encode(bytes).as_bytes()).map_err(KeyError::io("write", &path))?;
    }
    Ok(bytes)
}

/// What a query server or executor is given: the key that opens the Parquet files of one lake, and nothing else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReaderFile {
    version: u32,
    tenant: String,
    key_id: String,
    reader_key: String,
}

/// Writes the key for readers of a tenant's lake as a file of mode 0600, for `lake.key_file` of another machine.
pub fn reader_key_write(path: &Path, tenant: &TenantId, key: &LakeKey) -> Result<(), KeyError> {
    let (key_id, reader_key) = (key.id().to_owned(), STANDARD.encode(key.reader_key()));
    let file = ReaderFile { version: 1, tenant: tenant.to_string(), key_id, reader_key };
    let text = serde_json::to_vec_pretty(&file).unwrap_or_default();
    private_file_write(path, &text).map_err(KeyError::io("write", path))
}

/// Reads what [`reader_key_write`] wrote. Refuses a file that others may read.
pub fn reader_key_read(path: &Path) -> Result<LakeKey, KeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_err(KeyError::io("read", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Open(path.to_owned()));
    }
    let damaged = || KeyError::Damaged(path.to_owned());
    let bytes = read_bounded(path)?.ok_or_else(damaged)?;
    let file: ReaderFile = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let key = STANDARD.decode(&file.reader_key).map_err(|_| damaged())?;
    Ok(LakeKey::reader(&file.key_id, key.try_into().map_err(|_| damaged())?)?)
}

/// What the seal of a key file is bound to.
fn purpose(tenant: &str) -> String {
    format!("garrison tenant key 1 {tenant}")
}

impl TenantKey {
    /// The key in a file, which must be there.
    pub fn read(data: &Path, tenant: &TenantId, path: &Path) -> Result<Self, KeyError> {
        let bytes = read_bounded(path)?.ok_or_else(|| KeyError::Missing(path.to_owned()))?;
        let damaged = || KeyError::Damaged(path.to_owned());
        let file: KeyFile = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        let wrapping = wrapping(data)?;
        if file.wrapped_with != wrapping.id() {
            let named = file.wrapped_with.chars().take(64).collect();
            return Err(KeyError::Wrapping { path: path.to_owned(), named, has: wrapping.id().to_owned() });
        }
        let sealed = STANDARD.decode(&file.key).map_err(|_| damaged())?;
        let secret = wrapping.open_blob(&purpose(tenant.as_str()), &sealed).ok_or_else(damaged)?;
        Ok(Self(secret.try_into().map_err(|_| damaged())?))
    }

    /// The same; made where there is none.
    pub fn ensure(data: &Path, tenant: &TenantId, path: &Path) -> Result<Self, KeyError> {
        if path.exists() {
            return Self::read(data, tenant, path);
        }
        let (secret, wrapping) = (random()?, wrapping(data)?);
        let file = KeyFile {
            version: 1,
            tenant: tenant.to_string(),
            wrapped_with: wrapping.id().to_owned(),
            key: STANDARD.encode(wrapping.seal_blob(&purpose(tenant.as_str()), &secret)?),
        };
        private_folder(folder_of(path))?;
        let text = serde_json::to_vec_pretty(&file).unwrap_or_default();
        write_private(path, &text).map_err(KeyError::io("write", path))?;
        Ok(Self(secret))
    }

    /// What seals the tenant's columns in the control database.
    pub fn columns(&self, tenant: &TenantId, sealing: bool) -> Sealer {
        Sealer::new(&self.0, tenant.as_str(), sealing)
    }

    /// What names of the tenant are replaced with in the central store.
    pub fn pseudonyms(&self) -> crate::central::Pseudonyms {
        crate::central::Pseudonyms::new(&self.0)
    }

    /// The keys of the tenant's lake.
    pub fn lake(&self) -> Result<LakeKey, KeyError> {
        Ok(LakeKey::new(&self.0)?)
    }

    /// Destroys a key file: overwritten, synced, removed. No file is done already.
    pub fn destroy(path: &Path) -> Result<(), KeyError> {
        let length = match std::fs::metadata(path) {
            Ok(found) => found.len().min(FILE_BYTES_MAX),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(KeyError::io("read", path)(error)),
        };
        let failed = || KeyError::io("destroy", path);
        let mut file = OpenOptions::new().write(true).open(path).map_err(failed())?;
        file.write_all(&vec![0; usize::try_from(length).unwrap_or_default()]).map_err(failed())?;
        file.sync_all().map_err(failed())?;
        std::fs::remove_file(path).map_err(failed())?;
        File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_opens_with_its_wrapping_and_tenant_only() {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (tenant, path) = (TenantId::first(), data.path().join("eu/control/default/lake.key"));
        assert!(matches!(TenantKey::read(data.path(), &tenant, &path), Err(KeyError::Missing(_))));
        let made = TenantKey::ensure(data.path(), &tenant, &path).unwrap();
        let again = TenantKey::ensure(data.path(), &tenant, &path).unwrap();
        assert_eq!(made.lake().unwrap().id(), again.lake().unwrap().id());
        for path in [&path, &data.path().join("keys/tenants.kek")] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let foreign = TenantId::new("other").unwrap();
        assert!(matches!(TenantKey::read(data.path(), &foreign, &path), Err(KeyError::Damaged(_))));
        assert!(matches!(TenantKey::read(other.path(), &tenant, &path), Err(KeyError::Wrapping { .. })));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&STANDARD.encode(made.0)) && !text.contains(&hex::encode(made.0)));
        let given = data.path().join("query.key");
        reader_key_write(&given, &tenant, &made.lake().unwrap()).unwrap();
        assert_eq!(std::fs::metadata(&given).unwrap().permissions().mode() & 0o777, 0o600);
        let read = reader_key_read(&given).unwrap();
        assert_eq!(read.reader_key(), made.lake().unwrap().reader_key());
        std::fs::set_permissions(&given, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(reader_key_read(&given), Err(KeyError::Open(_))));
        TenantKey::destroy(&path).unwrap();
        TenantKey::destroy(&path).unwrap();
        assert!(!path.exists());
    }
}
