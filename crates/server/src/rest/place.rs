//! Where the data of one tenant lies.

use super::RestError;
use garrison_model::TenantId;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Roots of a geography.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Of lakes.
    pub lake: PathBuf,
    /// Of control data.
    pub control: PathBuf,
}

/// Folders and files of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Folder of its lake.
    pub lake: PathBuf,
    /// File of its key.
    pub key: PathBuf,
}

impl Place {
    /// The place under these roots.
    pub fn under(roots: &Roots, tenant: &TenantId) -> Self {
        Self { lake: roots.lake.join(tenant.as_str()), key: roots.control.join(tenant.as_str()).join("lake.key") }
    }

    /// Folder of its control data.
    pub fn control(&self) -> &Path {
        self.key.parent().unwrap_or(&self.key)
    }

    /// File of its control database, where that is SQLite.
    pub fn database(&self) -> PathBuf {
        self.control().join("control.db")
    }

    /// The place of a tenant that has no geography yet, which is also where older versions kept the first tenant.
    pub fn waiting(data: &Path, tenant: &TenantId) -> Self {
        Self::under(&Roots { lake: data.join("lake"), control: data.join("control") }, tenant)
    }
}

fn has_entries(folder: &Path) -> Result<bool, RestError> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(RestError::io("read", folder)(error)),
    }
}

/// Makes a folder that only its owner reads.
pub(super) fn private_folder(path: &Path) -> Result<(), RestError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(RestError::io("make folder", path))
}

fn synced(folder: Option<&Path>) -> Result<(), RestError> {
    let Some(folder) = folder else { return Ok(()) };
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(RestError::io("sync folder", folder))
}

/// Brings a file to another folder, on whatever disk that is. Done twice, or after a stop in the middle, it is done once.
fn file_move(from: &Path, to: &Path) -> Result<(), RestError> {
    if !from.exists() {
        return Ok(());
    }
    to.parent().map_or(Ok(()), private_folder)?;
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let half = to.with_extension("half");
            std::fs::copy(from, &half).map_err(RestError::io("copy", from))?;
            std::fs::File::open(&half).and_then(|f| f.sync_all()).map_err(RestError::io("sync", &half))?;
            std::fs::rename(&half, to).map_err(RestError::io("move", &half))?;
            synced(to.parent())?;
            std::fs::remove_file(from).map_err(RestError::io("remove", from))?;
        }
        done => done.map_err(RestError::io("move", from))?,
    }
    synced(to.parent())?;
    synced(from.parent())
}

/// Brings a control database that waited to its place: its log first, since a database without its log is an older one.
/// The index of the log (`-shm`) is made anew.
fn database_move(from: &Path, to: &Path) -> Result<(), RestError> {
    let beside = |path: &Path, ending: &str| path.with_extension(format!("db{ending}"));
    if from.exists() && to.exists() {
        return Err(RestError::TwoDatabases { here: to.to_owned(), there: from.to_owned() });
    }
    if from.exists() {
        file_move(&beside(from, "-wal"), &beside(to, "-wal"))?;
        file_move(from, to)?;
        let _ = std::fs::remove_file(beside(from, "-shm"));
        tracing::info!(database = %to.display(), "control data went to the root of its geography");
    }
    Ok(())
}

/// Finds the place of a tenant, and brings what waited for a geography to its roots: the key first, then the control
/// database, then the lake in one rename. A stop between two steps is taken up at the next start. A lake on another disk than the root stays where it
/// is, because a copy could not be made in one step.
pub fn settle(data: &Path, tenant: &TenantId, roots: Option<&Roots>) -> Result<Place, RestError> {
    let waiting = Place::waiting(data, tenant);
    let Some(roots) = roots else { return Ok(waiting) };
    let mut place = Place::under(roots, tenant);
    private_folder(&roots.lake)?;
    if waiting.key.exists() {
        if !place.key.exists() {
            let bytes = std::fs::read(&waiting.key).map_err(RestError::io("read", &waiting.key))?;
            place.key.parent().map_or(Ok(()), private_folder)?;
            super::private_file_write(&place.key, &bytes).map_err(RestError::io("write", &place.key))?;
        }
        std::fs::remove_file(&waiting.key).map_err(RestError::io("remove", &waiting.key))?;
    }
    database_move(&waiting.database(), &place.database())?;
    if !has_entries(&waiting.lake)? {
        return Ok(place);
    }
    if has_entries(&place.lake)? {
        return Err(RestError::TwoLakes { tenant: tenant.clone(), here: place.lake, there: waiting.lake });
    }
    match std::fs::rename(&waiting.lake, &place.lake) {
        Ok(()) => {
            synced(place.lake.parent())?;
            synced(waiting.lake.parent())?;
            tracing::info!(lake = %place.lake.display(), "the lake went to the root of its geography");
        }
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            tracing::warn!(
                lake = %waiting.lake.display(),
                wanted = %place.lake.display(),
                "the lake lies on another disk than the root of its geography and stays; stop the server and move the \
                 folder to bring it there"
            );
            place.lake = waiting.lake;
        }
        Err(error) => return Err(RestError::io("move", &waiting.lake)(error)),
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_goes_to_the_roots_whatever_was_done_before() {
        for stopped in 0..3 {
            let data = tempfile::tempdir().unwrap();
            let (data, tenant) = (data.path(), TenantId::first());
            let waiting = settle(data, &tenant, None).unwrap();
            assert_eq!(waiting.lake, data.join("lake/default"));
            let log = |place: &Place| place.control().join("control.db-wal");
            for (path, text) in [
                (waiting.lake.join("wal/1"), "rows"),
                (waiting.key.clone(), "key"),
                (waiting.database(), "database"),
                (log(&waiting), "log"),
            ] {
                private_folder(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let roots = Roots { lake: data.join("eu/lake"), control: data.join("eu/control") };
            let place = Place::under(&roots, &tenant);
            if stopped > 0 {
                private_folder(place.key.parent().unwrap()).unwrap();
                std::fs::copy(&waiting.key, &place.key).unwrap();
            }
            if stopped > 1 {
                std::fs::remove_file(&waiting.key).unwrap();
                std::fs::rename(log(&waiting), log(&place)).unwrap();
            }
            for _ in 0..2 {
                assert_eq!(settle(data, &tenant, Some(&roots)).unwrap(), place);
                assert_eq!(std::fs::read_to_string(place.lake.join("wal/1")).unwrap(), "rows");
                assert_eq!(std::fs::read_to_string(&place.key).unwrap(), "key");
                assert_eq!(std::fs::read_to_string(place.database()).unwrap(), "database");
                assert_eq!(std::fs::read_to_string(log(&place)).unwrap(), "log");
                assert!(!waiting.lake.exists() && !waiting.key.exists() && !waiting.database().exists());
            }
            std::fs::write(waiting.database(), "another").unwrap();
            assert!(matches!(settle(data, &tenant, Some(&roots)), Err(RestError::TwoDatabases { .. })));
            std::fs::remove_file(waiting.database()).unwrap();
            private_folder(&waiting.lake.join("wal")).unwrap();
            assert!(matches!(settle(data, &tenant, Some(&roots)), Err(RestError::TwoLakes { .. })));
        }
    }
}
