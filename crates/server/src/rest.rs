//! Data at rest: under which roots the data of a tenant lies, and the key that its files are sealed with.
//!
//! ```text
//! <lake root of the geography>/<tenant>/…              the lake
//! <control root of the geography>/<tenant>/lake.key    the tenant's key, wrapped
//! <control root of the geography>/<tenant>/control.db  its control data, where that is SQLite
//! <data folder>/keys/tenants.kek                       what keys of tenants are wrapped with
//! <data folder>/keys/places.json                       where they are, for the operator's commands
//! ```
//!
//! A tenant is made with its first machine or plan, and rows may come before. Until the tenant has a geography its lake
//! lies in `lake/<tenant>` of the data folder, its key and control data in `control/<tenant>`; at the next start all go
//! to the roots of the geography. Formats: docs/reference/data-protection.md.
//!
//! Keys of sealed columns come from the same secrets ([`crate::db::seal`]): a tenant's from its key, those of the server's
//! own tables from `tenants.kek`. This room knows no rows: it opens no lake and no database.

pub mod key;
pub mod place;

pub use key::{KeyError, TenantKey, query_columns, reader_key_read, reader_key_write, server_columns};
pub use place::{Place, Roots};

use crate::db::Sealer;
use crate::identity::keys::private_file_write;
use garrison_lake::{AtRest, Lake};
use garrison_model::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Data at rest cannot be found or opened.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The lake says which key it is sealed with, and that cannot be read.
    #[error("cannot tell which key the lake is sealed with")]
    Lake(#[from] garrison_lake::LakeError),
    /// A file or folder.
    #[error("cannot {step} `{path}`")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Rows in two places.
    #[error(
        "tenant `{tenant}` has a lake in `{here}` and another one in `{there}`; they cannot be read as one: move away \
         the one that is not wanted"
    )]
    TwoLakes {
        /// Whose.
        tenant: TenantId,
        /// Its geography's root.
        here: PathBuf,
        /// The data folder.
        there: PathBuf,
    },
    /// Control data in two places.
    #[error(
        "there is a control database in `{here}` and another one in `{there}`: move away the one that is not wanted"
    )]
    TwoDatabases {
        /// Its geography's root.
        here: PathBuf,
        /// The data folder.
        there: PathBuf,
    },
}

impl RestError {
    fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }
}

/// What is to be opened.
#[derive(Debug)]
pub struct Rest {
    /// Folder of the lake.
    pub lake: PathBuf,
    /// How its files are kept.
    pub at_rest: AtRest,
    /// What its columns in the control database are sealed with.
    pub columns: Sealer,
    /// Where it lies.
    pub place: Place,
}

/// Finds or makes the place of a tenant and its key. `roots` are those of its geography, if it has one; `sealed` says
/// whether new files are to be sealed.
pub fn open(data: &Path, tenant: &TenantId, roots: Option<&Roots>, sealed: bool) -> Result<Rest, RestError> {
    let place = place::settle(data, tenant, roots)?;
    let lake_sealed = Lake::key_name(&place.lake)?.is_some();
    let key = match sealed {
        true => Some(TenantKey::ensure(data, tenant, &place.key)?),
        // Columns may have been sealed over a plain lake.
        false if lake_sealed || place.key.exists() => Some(TenantKey::read(data, tenant, &place.key)?),
        false => None,
    };
    let at_rest = match &key {
        Some(key) if sealed => AtRest::Sealed(key.lake()?),
        Some(key) if lake_sealed => AtRest::Reading(key.lake()?),
        _ => AtRest::Plain,
    };
    let columns = key.map_or_else(|| Sealer::plain(tenant.as_str()), |key| key.columns(tenant, sealed));
    places_write(data, tenant, &place)?;
    Ok(Rest { lake: place.lake.clone(), at_rest, columns, place })
}

/// What `keys/places.json` holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Places {
    version: u32,
    tenants: BTreeMap<String, Place>,
}

fn places_path(data: &Path) -> PathBuf {
    data.join("keys/places.json")
}

fn places_read(data: &Path) -> Result<Places, RestError> {
    let path = places_path(data);
    match std::fs::read(&path) {
        // It is written anew at each start, so a damaged one is none.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Places::default()),
        Err(error) => Err(RestError::io("read", &path)(error)),
    }
}

fn places_write(data: &Path, tenant: &TenantId, place: &Place) -> Result<(), RestError> {
    let mut places = places_read(data)?;
    places.version = 1;
    places.tenants.insert(tenant.to_string(), place.clone());
    let path = places_path(data);
    place::private_folder(&data.join("keys"))?;
    let bytes = serde_json::to_vec_pretty(&places).unwrap_or_default();
    private_file_write(&path, &bytes).map_err(RestError::io("write", &path))
}

/// Where the data of a tenant of this data folder lies, as the last start had it.
pub fn place_of(data: &Path, tenant: &TenantId) -> Result<Option<Place>, RestError> {
    Ok(places_read(data)?.tenants.remove(tenant.as_str()))
}
