//! Reads the copy of a lake on an object store: the tables' files as their Delta logs tell, on any machine.

use crate::bucket::Bucket;
use crate::crypt::LakeKey;
use crate::delta::DeltaLog;
use crate::error::LakeError;
use crate::files::ActiveFile;
use crate::mirror::failed;
use crate::scan::Snapshot;
use crate::spec::TableSpec;
use garrison_model::Micros;
use object_store::ObjectStoreExt as _;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// Until when a copy is whole, as the one who copies says.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct AsOf {
    /// Rows that came before are in the copy; microseconds since 1970.
    pub(crate) micros: i64,
    /// Name of the key that its files are sealed with; none where they are plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

impl AsOf {
    pub(crate) const NAME: &'static str = "as-of.json";
}

/// A table's files as of one version.
#[derive(Debug, Clone)]
struct Shelf {
    files: Arc<Vec<Arc<ActiveFile>>>,
    version: u64,
}

/// The copy of one tenant's lake.
pub struct RemoteLake {
    bucket: Bucket,
    key: Option<LakeKey>,
    specs: BTreeMap<String, TableSpec>,
    logs: tokio::sync::Mutex<HashMap<String, DeltaLog>>,
    shelves: RwLock<HashMap<String, Shelf>>,
    as_of: RwLock<Option<Micros>>,
}

impl std::fmt::Debug for RemoteLake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteLake").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl RemoteLake {
    /// Reads the copy at this place, once [`RemoteLake::refresh`] is called.
    #[must_use]
    pub fn new(bucket: Bucket, tables: Vec<TableSpec>) -> Self {
        Self {
            bucket,
            key: None,
            specs: tables.into_iter().map(|spec| (spec.name.clone(), spec)).collect(),
            logs: tokio::sync::Mutex::default(),
            shelves: RwLock::default(),
            as_of: RwLock::default(),
        }
    }

    /// The same with the key that sealed files are read with.
    #[must_use]
    pub fn reading_with(self, key: LakeKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Where it lies.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Looks for what is new. Tables that are not there yet are empty.
    pub async fn refresh(&self) -> Result<(), LakeError> {
        let mut logs = self.logs.lock().await;
        // First: what is read after it is at least as new.
        let as_of = self.read_as_of().await?;
        for (name, spec) in &self.specs {
            let place = self.bucket.below(name);
            let log = match logs.remove(name) {
                Some(mut log) => log.update().await.map(|()| Some(log)),
                None => DeltaLog::open_remote(&place, spec).await,
            };
            let Some(log) = log? else { continue };
            let shelf = Shelf { files: Arc::new(log.files()?), version: log.version() };
            self.shelves.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), shelf);
            logs.insert(name.clone(), log);
        }
        *self.as_of.write().unwrap_or_else(PoisonError::into_inner) = as_of;
        Ok(())
    }

    async fn read_as_of(&self) -> Result<Option<Micros>, LakeError> {
        let path = self.bucket.path(AsOf::NAME)?;
        let got = match self.bucket.store().get(&path).await {
            Ok(got) => got.bytes().await.map_err(failed("read", path.as_ref()))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed("read", path.as_ref())(source)),
        };
        let Ok(as_of) = serde_json::from_slice::<AsOf>(&got) else { return Ok(None) };
        match (as_of.key, self.key.as_ref()) {
            (Some(known), given) if given.is_none_or(|key| key.id() != known) => Err(LakeError::RemoteKey {
                known,
                given: given.map_or_else(|| "none".to_owned(), |key| format!("key `{}`", key.id())),
            }),
            _ => Ok(Some(Micros(as_of.micros))),
        }
    }

    /// Rows that came before this moment are in the copy; `None` if nothing was copied yet.
    pub fn as_of(&self) -> Option<Micros> {
        *self.as_of.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table as of the last look.
    pub fn snapshot(&self, table: &str) -> Result<Snapshot, LakeError> {
        let spec =
            self.specs.get(table).ok_or_else(|| LakeError::UnknownTable { table: table.chars().take(80).collect() })?;
        let shelf = self.shelves.read().unwrap_or_else(PoisonError::into_inner).get(table).cloned();
        Ok(Snapshot {
            table: spec.name.clone(),
            folder: PathBuf::new(),
            bucket: Some(self.bucket.below(table)),
            version: shelf.as_ref().map_or(0, |shelf| shelf.version),
            schema: spec.schema.clone(),
            files: shelf.map(|shelf| shelf.files).unwrap_or_default(),
            hot: Vec::new(),
            key: self.key.clone(),
        })
    }
}
