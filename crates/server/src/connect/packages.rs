//! Packages of the sensor, as the operator lays them into the folder `packages` of the server's data folder:
//! `garrison-sensor-VERSION-ARCHITECTURE.tar.zst`. Orders name them by size and hash, and orders are signed: so a package
//! is what it was when this server last looked, or it is not unpacked.

use super::reconcile::Package;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Largest package that connectors take.
const PACKAGE_BYTES_MAX: u64 = 512 << 20;
/// Packages looked at.
const PACKAGES_MAX: usize = 64;

/// A file and when it was read.
type Seen = HashMap<PathBuf, (u64, SystemTime, Package)>;

/// The packages.
#[derive(Debug, Default)]
pub struct Packages {
    folder: PathBuf,
    seen: Mutex<Seen>,
}

/// Version and architecture of a file's name.
fn named(name: &str) -> Option<(String, String)> {
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
        Self { folder, seen: Mutex::default() }
    }

    /// Looks at the folder: hashes what is new. Blocking.
    pub fn look(&self) {
        let mut found = Seen::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten().take(PACKAGES_MAX) {
            let path = entry.path();
            let Some((version, architecture)) = path.file_name().and_then(|n| n.to_str()).and_then(named) else {
                continue;
            };
            let Ok(meta) = entry.metadata() else { continue };
            let Ok(modified) = meta.modified() else { continue };
            if !meta.is_file() || meta.len() == 0 || meta.len() > PACKAGE_BYTES_MAX {
                continue;
            }
            let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
            if let Some(known) = known.filter(|k| k.0 == meta.len() && k.1 == modified) {
                found.insert(path, known);
                continue;
            }
            if let Ok(sha256) = hash(&path) {
                let package = Package { version, architecture, size: meta.len(), sha256 };
                tracing::info!(version = package.version, architecture = package.architecture, "package of the sensor");
                found.insert(path, (meta.len(), modified, package));
            }
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// The newest package for an architecture.
    pub fn newest(&self, architecture: &str) -> Option<Package> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = seen.values().map(|(_, _, p)| p).filter(|p| p.architecture == architecture);
        fitting.max_by_key(|p| (order(&p.version), p.sha256.clone())).cloned()
    }

    /// The file of a package that was looked at.
    pub fn file(&self, sha256: &str) -> Option<PathBuf> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().find(|(_, (_, _, p))| p.sha256 == sha256).map(|(path, _)| path.clone())
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
}
