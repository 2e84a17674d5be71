//! Key files: `ca.key` (PKCS #8 PEM), `ca.crt` (DER), `content.key` and `audit.key` (32 bytes, hexadecimal).

use super::Error;
use ed25519_dalek::SigningKey;
use garrison_model::Micros;
use garrison_wire::identity::Authority;
use rand::TryRngCore as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Reads the keys, making what is missing.
pub(super) fn open(folder: &Path, now: Micros) -> Result<(Authority, SigningKey, SigningKey), Error> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("create", folder))?;
    let (key_path, certificate_path) = (folder.join("ca.key"), folder.join("ca.crt"));
    // The certificate is written last: a start that was cut off between the two leaves a key that nobody knows yet.
    let authority = if certificate_path.exists() {
        let key = std::fs::read_to_string(&key_path).map_err(failed("read", &key_path))?;
        let certificate = std::fs::read(&certificate_path).map_err(failed("read", &certificate_path))?;
        Authority::load(&key, &certificate)?
    } else {
        let (authority, key, certificate) = Authority::generate(now.0 / 1_000_000)?;
        write(&key_path, key.as_bytes())?;
        write(&certificate_path, &certificate)?;
        authority
    };
    Ok((authority, signing(folder.join("content.key"))?, signing(folder.join("audit.key"))?))
}

/// Reads a signing key, making it where it is missing.
fn signing(path: PathBuf) -> Result<SigningKey, Error> {
    let mut bytes = [0; 32];
    if path.exists() {
        let text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| Error::KeyDamaged(path))?;
    } else {
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|_| Error::Random)?;
        write(&path, hex::encode(bytes).as_bytes())?;
    }
    Ok(SigningKey::from_bytes(&bytes))
}

/// Reads a signing key of the data folder.
pub(crate) fn signing_key_read(path: &Path) -> Result<SigningKey, Error> {
    signing(path.to_owned())
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::KeyFile { step, path: path.to_owned(), source }
}

/// Writes a file that only its owner reads: beside, durable, renamed over.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(folder_of(path))?.sync_all()
}

/// The folder of a file; that of a bare name is the present one.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_private(path, bytes).map_err(failed("write", path))
}

pub(crate) use write_private as private_file_write;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_made_once_and_read_by_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let (first, content, audit) = open(&keys, Micros(1_795_000_000_000_000)).unwrap();
        let (second, again, audit_again) = open(&keys, Micros(1_795_000_000_000_000)).unwrap();
        assert_eq!(first.certificate(), second.certificate());
        assert_eq!(content.to_bytes(), again.to_bytes());
        assert_eq!(audit.to_bytes(), audit_again.to_bytes());
        assert_ne!(audit.to_bytes(), content.to_bytes());
        for name in ["ca.key", "content.key", "audit.key"] {
            assert_eq!(std::fs::metadata(keys.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
