//! What was ordered, how far it got, and what is there: one file, written whole before each step.

use super::course::{Course, Failure};
use crate::identity::{IdentityFileError, read_small, write_whole};
use garrison_wire::connect::order::Deed;
use garrison_wire::connect::v1;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's version.
const VERSION: u32 = 1;

/// The journal, version 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Journal {
    version: u32,
    /// The newest order taken; an older one is never obeyed.
    pub taken: u64,
    /// The order under way, or the last one.
    pub work: Option<Work>,
    /// What is installed.
    pub installed: Option<Installed>,
}

/// An order and how far it got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Work {
    /// Number of the order.
    pub generation: u64,
    /// Extension.
    pub extension: String,
    /// `install`, `remove` or `offboard`.
    pub deed: String,
    /// Package, for an install.
    pub package: Option<Package>,
    /// Whether the sensor is to be passive.
    pub passive: bool,
    /// Version in use when the order came; what is gone back to.
    pub former: Option<String>,
    /// Where it stands.
    pub course: Course,
}

/// A package, as the order names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Package {
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// The vendor's signature, hexadecimal; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
}

/// What is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Installed {
    /// Version.
    pub version: String,
    /// Whether it is passive.
    pub passive: bool,
    /// Whether it was there before the first order.
    pub adopted: bool,
}

impl Default for Journal {
    fn default() -> Self {
        Self { version: VERSION, taken: 0, work: None, installed: None }
    }
}

impl Journal {
    /// Reads the file; an absent one is empty.
    pub fn load(path: &Path) -> Result<Self, IdentityFileError> {
        let Some(bytes) = read_small(path)? else { return Ok(Self::default()) };
        let damaged = |why: String| IdentityFileError::Damaged { path: path.to_owned(), why };
        let journal: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if journal.version != VERSION {
            return Err(damaged(format!("version {} is not {VERSION}", journal.version)));
        }
        Ok(journal)
    }

    /// Writes it whole.
    pub fn store(&self, path: &Path) -> std::io::Result<()> {
        write_whole(path, &serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?)
    }

    /// Takes an order; the one before is over.
    pub fn take(&mut self, order: &v1::Order, deed: Deed, former: Option<String>) {
        let package = order.package.as_ref().map(|p| Package {
            version: p.version.clone(),
            architecture: p.architecture.clone(),
            size: p.size,
            sha256: p.sha256.to_ascii_lowercase(),
            signature: p.signature.clone(),
        });
        self.taken = order.generation;
        self.work = Some(Work {
            generation: order.generation,
            extension: order.extension.clone(),
            deed: deed.as_str().to_owned(),
            package,
            passive: order.passive,
            former,
            course: Course::begin(deed),
        });
    }

    /// The failure that the last order ended with.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.work.as_ref()?.course {
            Course::Failed(failure) | Course::Back(_, failure) => Some(failure),
            _ => None,
        }
    }
}
