//! Packages of the sensor, as the operator lays them into the folder `packages` of the server's data folder:
//! `garrison-sensor-VERSION-ARCHITECTURE.tar.zst`, with the vendor's signature beside it (`….sig`). Orders name them by
//! size and hash, and orders are signed: so a package is what it was when this server last looked, or it is not unpacked.
//!
//! Where the folder `packages/keys` holds keys (`NAME.pub`), only packages that one of them signed are handed out, and
//! connectors that enrol from then on pin these keys and verify the signature themselves.

use super::reconcile::Package;
use ed25519_dalek::VerifyingKey;
use garrison_model::ExtensionCode;
use garrison_wire::connect::package::{
    KEYS_MAX, PackageError, SIGNATURE_BYTES_MAX, SignatureFile, Statement, key_parse,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Largest package that connectors take.
const PACKAGE_BYTES_MAX: u64 = 512 << 20;
/// Packages looked at.
const PACKAGES_MAX: usize = 64;

/// Name of the package that connectors install.
pub const PACKAGE_NAME: &str = "garrison-sensor";

/// A package file, as it was when it was looked at.
#[derive(Debug, Clone)]
struct File {
    /// Length and time of change of the package and of its signature: what differs is read anew.
    stamp: (Stamp, Option<Stamp>),
    package: Package,
    taken: Result<(), PackageError>,
}

type Stamp = (u64, SystemTime);
type Seen = HashMap<PathBuf, File>;

/// A package as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageRecord {
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// `Verified` by a trusted key, `Unverified` where no key is trusted, `Refused`.
    pub signature: String,
    /// Code of the refusal, as extensions have it; 0 for none.
    pub code: u16,
    /// Why it is refused.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// The code of a refused package.
pub fn code_of(error: &PackageError) -> ExtensionCode {
    match error {
        PackageError::Size { .. } | PackageError::Malformed(_) => ExtensionCode::PackageDamaged,
        PackageError::Signature | PackageError::Hash | PackageError::Other(_) | PackageError::Key => {
            ExtensionCode::SignatureWrong
        }
    }
}

/// What helps where a package is refused on the server, before any machine has to do with it.
pub fn fix_of(error: &PackageError) -> &'static str {
    match error {
        PackageError::Size { .. } | PackageError::Hash => {
            "copy the package and its signature again from where they were made; if that does not help, find out who \
             changed it"
        }
        PackageError::Malformed(_) => "copy the file `.sig` again, or sign the package with `garrison package sign`",
        PackageError::Other(_) => "lay the package's own file `.sig` beside it",
        PackageError::Signature | PackageError::Key => {
            "sign it with a trusted key (`garrison package sign`), or trust the key of who signed it (`garrison package \
             trust`)"
        }
    }
}

/// The file of a package's signature.
pub fn signature_path(package: &Path) -> PathBuf {
    let mut name = package.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Keys that are trusted: the files `*.pub` of a folder, a key a line. What is no key is left out and told.
pub fn keys_read(folder: &Path) -> Vec<VerifyingKey> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "pub"));
    files.sort();
    let mut keys = Vec::new();
    for path in files.iter().take(KEYS_MAX) {
        match small(path).and_then(|bytes| key_parse(&String::from_utf8_lossy(&bytes)).ok()) {
            Some(key) => keys.push(key),
            None => tracing::warn!(file = %path.display(), "this file holds no key and is left out"),
        }
    }
    keys
}

fn small(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(SIGNATURE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Holds a package's file against its signature and the trusted keys; gives its signature, empty for none.
pub fn examine(path: &Path, package: &Package, keys: &[VerifyingKey]) -> Result<String, PackageError> {
    let there = Statement {
        name: PACKAGE_NAME,
        version: &package.version,
        architecture: &package.architecture,
        size: package.size,
        sha256: &package.sha256,
    };
    match small(&signature_path(path)) {
        Some(bytes) => {
            let file = SignatureFile::parse(&bytes)?;
            file.check(&there, keys)?;
            Ok(file.signature)
        }
        None if keys.is_empty() => Ok(String::new()),
        None => Err(PackageError::Signature),
    }
}

/// Reads what a package's file says of itself: version and architecture of its name, size and hash.
pub fn read(path: &Path) -> Result<Package, String> {
    let name = path.file_name().and_then(|n| n.to_str()).and_then(named);
    let (version, architecture) =
        name.ok_or("a package is named `garrison-sensor-VERSION-ARCHITECTURE.tar.zst`".to_owned())?;
    let io = |e: std::io::Error| format!("cannot read `{}`: {e}", path.display());
    let size = std::fs::metadata(path).map_err(io)?.len();
    if size == 0 || size > PACKAGE_BYTES_MAX {
        return Err(format!("a package has 1 to {PACKAGE_BYTES_MAX} bytes, this one {size}"));
    }
    Ok(Package { version, architecture, size, sha256: hash(path).map_err(io)?, signature: String::new() })
}

/// The packages.
#[derive(Debug, Default)]
pub struct Packages {
    folder: PathBuf,
    seen: Mutex<Seen>,
    keys: Mutex<Vec<VerifyingKey>>,
}

/// Version and architecture of a file's name.
pub fn named(name: &str) -> Option<(String, String)> {
    let middle = name.strip_prefix("garrison-sensor-")?.strip_suffix(".tar.zst")?;
    let (version, architecture) = middle.rsplit_once('-')?;
    let plain = |t: &str| {
        !t.is_empty() && t.len() <= 40 && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b))
    };
    let fits = version.starts_with(|c: char| c.is_ascii_digit()) && plain(version) && plain(architecture);
    fits.then(|| (version.to_owned(), architecture.to_owned()))
}

/// Versions in the order of their numbers; what is not a number comes before what is (`1.0~rc1` before `1.0`).
fn order(version: &str) -> Vec<(u64, String)> {
    let parts = version.split(['.', '-', '+']).take(8);
    parts
        .map(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            let rest = part.get(digits.len()..).unwrap_or_default();
            let rest = if rest.is_empty() { "\u{7f}".to_owned() } else { rest.to_owned() };
            (digits.parse().unwrap_or(0), rest)
        })
        .collect()
}

impl Packages {
    /// Packages of a folder; it need not be there.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, seen: Mutex::default(), keys: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys that are trusted.
    pub fn keys(&self) -> Vec<VerifyingKey> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the folder: hashes and verifies what is new. Blocking.
    pub fn look(&self) -> bool {
        let keys = keys_read(&self.folder.join("keys"));
        let same_keys = keys == self.keys();
        let mut found = Seen::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if found.len() >= PACKAGES_MAX {
                break;
            }
            let path = entry.path();
            if path.file_name().and_then(|n| n.to_str()).and_then(named).is_none() {
                continue;
            }
            let stamp_of = |path: &Path| -> Option<Stamp> {
                let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
                Some((meta.len(), meta.modified().ok()?))
            };
            let Some(stamp) = stamp_of(&path) else { continue };
            let stamp = (stamp, stamp_of(&signature_path(&path)));
            let known = self.seen().get(&path).cloned();
            if let Some(known) = known.filter(|k| k.stamp == stamp && same_keys) {
                found.insert(path, known);
                continue;
            }
            let Ok(mut package) = read(&path) else { continue };
            let examined = examine(&path, &package, &keys);
            match &examined {
                Ok(signature) => {
                    package.signature.clone_from(signature);
                    tracing::info!(
                        version = package.version,
                        architecture = package.architecture,
                        "package of the sensor"
                    );
                }
                Err(error) => tracing::warn!(file = %path.display(), %error, "this package is not handed out"),
            }
            found.insert(path, File { stamp, package, taken: examined.map(drop) });
        }
        let same = {
            let mut seen = self.seen();
            let same = seen.len() == found.len()
                && seen.iter().all(|(path, file)| found.get(path).is_some_and(|f| f.stamp == file.stamp));
            *seen = found;
            same
        };
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        !same || !same_keys
    }

    fn usable(&self, fits: impl Fn(&Package) -> bool) -> Option<Package> {
        let seen = self.seen();
        let fitting = seen.values().filter(|f| f.taken.is_ok()).map(|f| &f.package).filter(|p| fits(p));
        fitting.max_by_key(|p| (order(&p.version), p.sha256.clone())).cloned()
    }

    /// The newest package for an architecture.
    pub fn newest(&self, architecture: &str) -> Option<Package> {
        self.usable(|p| p.architecture == architecture)
    }

    /// The package of a version for an architecture.
    pub fn version(&self, version: &str, architecture: &str) -> Option<Package> {
        self.usable(|p| p.architecture == architecture && p.version == version)
    }

    /// The newest version that is older than the given one, on any architecture.
    pub fn before(&self, version: &str) -> Option<String> {
        let limit = order(version);
        self.usable(|p| order(&p.version) < limit).map(|p| p.version)
    }

    /// Whether a version is there, on any architecture.
    pub fn has(&self, version: &str) -> bool {
        self.usable(|p| p.version == version).is_some()
    }

    /// The package with a hash.
    pub fn by_hash(&self, sha256: &str) -> Option<Package> {
        self.usable(|p| p.sha256 == sha256)
    }

    /// All, newest first.
    pub fn list(&self) -> Vec<PackageRecord> {
        let has_keys = !self.keys().is_empty();
        let mut all: Vec<File> = self.seen().values().cloned().collect();
        all.sort_by_key(|f| std::cmp::Reverse((order(&f.package.version), f.package.architecture.clone())));
        let record = |f: File| {
            let (code, message, fix) = match &f.taken {
                Ok(()) => (0, String::new(), String::new()),
                Err(error) => {
                    let code = code_of(error);
                    (code.number(), error.to_string(), fix_of(error).to_owned())
                }
            };
            let signature = match (&f.taken, has_keys) {
                (Err(_), _) => "Refused",
                (Ok(()), true) => "Verified",
                (Ok(()), false) => "Unverified",
            };
            let Package { version, architecture, size, sha256, .. } = f.package;
            PackageRecord { version, architecture, size, sha256, signature: signature.to_owned(), code, message, fix }
        };
        all.into_iter().map(record).collect()
    }

    /// The file of a package that was looked at.
    pub fn file(&self, sha256: &str) -> Option<PathBuf> {
        let seen = self.seen();
        seen.iter().find(|(_, f)| f.taken.is_ok() && f.package.sha256 == sha256).map(|(path, _)| path.clone())
    }
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
    Ok(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_an_architecture_is_given_and_a_changed_file_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["0.9.0-x64", "0.10.0-x64", "0.10.0~rc1-x64", "2.0.0-arm64", "../x", "nonsense"] {
            if !name.contains('/') {
                write(&format!("garrison-sensor-{name}.tar.zst"), name);
            }
        }
        write("garrison-server-9.0.0-x64.tar.zst", "no sensor");
        let packages = Packages::new(folder.path().to_owned());
        assert!(packages.newest("x64").is_none());
        packages.look();
        let newest = packages.newest("x64").unwrap();
        assert_eq!(newest.version, "0.10.0");
        assert_eq!(packages.newest("arm64").unwrap().version, "2.0.0");
        assert!(packages.newest("riscv64").is_none() && packages.file(&newest.sha256).is_some());
        write("garrison-sensor-0.10.0-x64.tar.zst", "other bytes");
        packages.look();
        assert_ne!(packages.newest("x64").unwrap().sha256, newest.sha256);
        assert!(packages.file(&newest.sha256).is_none());
    }

    #[test]
    fn with_a_trusted_key_only_whole_packages_that_it_signed_are_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let other = ed25519_dalek::SigningKey::from_bytes(&[10; 32]);
        let lay = |version: &str, bytes: &[u8], key: Option<&ed25519_dalek::SigningKey>| -> PathBuf {
            let path = folder.path().join(format!("garrison-sensor-{version}-x64.tar.zst"));
            std::fs::write(&path, bytes).unwrap();
            let there = read(&path).unwrap();
            let said = Statement {
                name: PACKAGE_NAME,
                version: &there.version,
                architecture: &there.architecture,
                size: there.size,
                sha256: &there.sha256,
            };
            if let Some(key) = key {
                let file = serde_json::to_vec(&said.sign(key).unwrap()).unwrap();
                std::fs::write(signature_path(&path), file).unwrap();
            }
            path
        };
        lay("1.0", b"well", Some(&key));
        lay("2.0", b"unsigned", None);
        lay("3.0", b"a stranger's", Some(&other));
        let half = lay("4.0", b"half of it comes", Some(&key));
        std::fs::write(&half, b"half of").unwrap();
        let swapped = lay("5.0", b"swapped", Some(&key));
        std::fs::write(&swapped, b"swopped").unwrap();
        let packages = Packages::new(folder.path().to_owned());
        packages.look();
        // Without a key the operator answers for them, but what contradicts its signature is refused all the same.
        assert_eq!(packages.newest("x64").unwrap().version, "3.0");
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        let text = hex::encode(key.verifying_key().as_bytes());
        std::fs::write(folder.path().join("keys/vendor.pub"), text).unwrap();
        packages.look();
        assert_eq!(packages.newest("x64").unwrap().version, "1.0");
        let told: Vec<_> = packages.list().into_iter().map(|p| (p.version, p.signature, p.code)).collect();
        let wanted =
            [("5.0", "Refused", 100), ("4.0", "Refused", 101), ("3.0", "Refused", 100), ("2.0", "Refused", 100)];
        let wanted = wanted.iter().chain([&("1.0", "Verified", 0)]);
        let wanted: Vec<_> = wanted.map(|(v, s, c)| ((*v).to_owned(), (*s).to_owned(), *c)).collect();
        assert_eq!(told, wanted);
        assert_eq!(packages.before("3.0").as_deref(), Some("1.0"));
    }
}
