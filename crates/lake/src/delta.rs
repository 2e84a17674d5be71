//! The Delta log of one table, through `deltalake-core` without its query engine.

use crate::bucket::Bucket;
use crate::durable_store::DurableStore;
use crate::error::LakeError;
use crate::files::{ActiveFile, FileStats};
use crate::spec::{PARTITION_COLUMN, TableSpec};
use arrow::datatypes::DataType as ArrowType;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, DataType, MetadataExt, Remove, StructField, StructType, Transaction};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who says in the log how far the write-ahead log is stored.
const TRANSACTION_APP: &str = "garrison-wal";

/// The log of one table.
pub(crate) struct DeltaLog {
    table: String,
    pub(crate) folder: PathBuf,
    store: LogStoreRef,
    state: DeltaTableState,
    /// A commit failed in a way that leaves open whether it stands in the log.
    pub(crate) unsure: bool,
}

/// A file that left the table but may be on disk still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) path: String,
    pub(crate) deleted_ms: i64,
}

/// What to change in one commit.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<ActiveFile>,
    pub(crate) remove: Vec<Arc<ActiveFile>>,
    /// Milliseconds since 1970 that the removals happen at.
    pub(crate) now_ms: i64,
    /// The rows stay the same ones (compaction).
    pub(crate) rewrite: bool,
    /// Position in the write-ahead log up to which the table is stored after this commit.
    pub(crate) stored_through: Option<u64>,
}

fn delta_type(kind: &ArrowType) -> DataType {
    match kind {
        ArrowType::Int64 => DataType::LONG,
        ArrowType::Int32 => DataType::INTEGER,
        ArrowType::Float64 => DataType::DOUBLE,
        ArrowType::Boolean => DataType::BOOLEAN,
        ArrowType::Timestamp(_, _) => DataType::TIMESTAMP,
        ArrowType::Date32 => DataType::DATE,
        // Text and JSON text; dictionaries are an encoding, not a type.
        _ => DataType::STRING,
    }
}

fn delta_fields(spec: &TableSpec) -> Vec<StructField> {
    let schema = spec.logical_schema();
    schema.fields().iter().map(|f| StructField::nullable(f.name(), delta_type(f.data_type()))).collect()
}

/// Those of the columns with bounds that the table has.
fn stat_columns(spec: &TableSpec) -> String {
    let schema = spec.logical_schema();
    let has = |column: &&&str| schema.field_with_name(column).is_ok();
    crate::parquet_file::STAT_COLUMNS.iter().filter(has).copied().collect::<Vec<_>>().join(",")
}

impl DeltaLog {
    fn failed(&self, step: &'static str) -> impl FnOnce(DeltaTableError) -> LakeError {
        failed(step, &self.table)
    }

    /// Opens the table's log; creates it, or adds new columns, where needed.
    pub(crate) async fn open(root: &Path, spec: &TableSpec) -> Result<Self, LakeError> {
        let folder = root.join(&spec.name);
        crate::disk::create_folder_durably(&folder).map_err(LakeError::io("create", &folder))?;
        let folder = folder.canonicalize().map_err(LakeError::io("resolve", &folder))?;
        let location = url::Url::from_directory_path(&folder).map_err(|()| LakeError::Io {
            step: "name as URL",
            path: folder.clone(),
            source: std::io::ErrorKind::InvalidFilename.into(),
        })?;
        let whole: Arc<dyn ObjectStore> = Arc::new(DurableStore::default());
        let prefix = object_store::path::Path::from_url_path(location.path())
            .map_err(|error| failed("locate", &spec.name)(DeltaTableError::Generic(error.to_string())))?;
        let below: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(&whole), prefix));
        let store = default_logstore(below, whole, &location, &StorageConfig::default());
        let exists = store.is_delta_table_location().await.map_err(failed("look for", &spec.name))?;
        let state = if exists {
            DeltaTableState::try_new(store.as_ref(), None).await.map_err(failed("open", &spec.name))?
        } else {
            CreateBuilder::new()
                .with_log_store(Arc::clone(&store))
                .with_table_name(&spec.name)
                .with_columns(delta_fields(spec))
                .with_partition_columns([PARTITION_COLUMN])
                .with_raise_if_key_not_exists(false)
                .with_configuration([
                    // Bounds of the columns that we prune by, and no others: text statistics of command lines would
                    // make the log as large as the data.
                    ("delta.dataSkippingStatsColumns", Some(stat_columns(spec).as_str())),
                    ("delta.checkpointInterval", Some("50")),
                    ("delta.logRetentionDuration", Some("interval 7 days")),
                    ("delta.enableExpiredLogCleanup", Some("true")),
                ])
                .await
                .map_err(failed("create", &spec.name))?
                .snapshot()
                .map_err(failed("create", &spec.name))?
                .clone()
        };
        let mut log = Self { table: spec.name.clone(), folder, store, state, unsure: false };
        log.add_columns(spec).await?;
        Ok(log)
    }

    /// Opens the copy of a log on an object store, to read it; `None` if there is none yet.
    pub(crate) async fn open_remote(place: &Bucket, spec: &TableSpec) -> Result<Option<Self>, LakeError> {
        let mut location = place.url().clone();
        location.set_path(&format!("{}/", place.prefix()));
        let below: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(place.store(), place.prefix().clone()));
        let store = default_logstore(below, place.store(), &location, &StorageConfig::default());
        if !store.is_delta_table_location().await.map_err(failed("look for", &spec.name))? {
            return Ok(None);
        }
        let state = DeltaTableState::try_new(store.as_ref(), None).await.map_err(failed("open", &spec.name))?;
        Ok(Some(Self { table: spec.name.clone(), folder: PathBuf::new(), store, state, unsure: false }))
    }

    /// Reads what others committed since.
    pub(crate) async fn update(&mut self) -> Result<(), LakeError> {
        self.state.update(self.store.as_ref(), None).await.map_err(failed("read", &self.table))
    }

    /// Columns that the table does not have yet are added at its end; old files read as null there.
    async fn add_columns(&mut self, spec: &TableSpec) -> Result<(), LakeError> {
        let schema = self.state.schema();
        let new: Vec<StructField> =
            delta_fields(spec).into_iter().filter(|field| schema.field(field.name()).is_none()).collect();
        if new.is_empty() {
            return Ok(());
        }
        tracing::info!(table = self.table, columns = new.len(), "new columns are added to the table");
        let merged = StructType::try_new(schema.fields().cloned().chain(new.iter().cloned()))
            .map_err(|error| self.failed("extend")(error.into()))?;
        let metadata = self.state.metadata().clone().with_schema(&merged);
        let metadata = metadata.map_err(|error| self.failed("extend")(error.into()))?;
        self.commit_actions(vec![Action::Metadata(metadata)], DeltaOperation::AddColumn { fields: new }, None).await
    }

    /// The active files.
    pub(crate) fn files(&self) -> Result<Vec<Arc<ActiveFile>>, LakeError> {
        let data = self.state.snapshot().try_log_data().map_err(self.failed("read"))?;
        Ok(data
            .iter()
            .map(|view| {
                let (rows, stats) = FileStats::parse(view.stats().as_deref());
                let partition = view.partition_values_map().remove(PARTITION_COLUMN).flatten().unwrap_or_default();
                Arc::new(ActiveFile {
                    path: view.path().into_owned(),
                    size: view.size().max(0) as u64,
                    rows: rows.unwrap_or(0),
                    partition,
                    modified_ms: view.modification_time(),
                    stats,
                })
            })
            .collect())
    }

    /// Version of the table.
    pub(crate) fn version(&self) -> u64 {
        self.state.version()
    }

    /// Position in the write-ahead log up to which the table is stored.
    pub(crate) async fn stored_through(&self) -> Result<u64, LakeError> {
        let version = self.state.transaction_version(self.store.as_ref(), TRANSACTION_APP).await;
        Ok(version.map_err(self.failed("read"))?.map_or(0, |position| position.max(0) as u64))
    }

    /// Files that were removed from the table and are not forgotten yet.
    pub(crate) async fn tombstones(&self) -> Result<Vec<Tombstone>, LakeError> {
        let mut stream = self.state.all_tombstones(self.store.as_ref());
        let mut tombstones = Vec::new();
        while let Some(view) = stream.next().await {
            let view = view.map_err(self.failed("read tombstones of"))?;
            tombstones
                .push(Tombstone { path: view.path().into_owned(), deleted_ms: view.deletion_timestamp().unwrap_or(0) });
        }
        Ok(tombstones)
    }

    /// Reads the log again, after which it is known what stands in it.
    pub(crate) async fn reload(&mut self) -> Result<(), LakeError> {
        self.state =
            DeltaTableState::try_new(self.store.as_ref(), None).await.map_err(failed("reload", &self.table))?;
        self.unsure = false;
        Ok(())
    }

    /// Commits a change. After an error [`DeltaLog::unsure`] says that the commit may stand in the log anyway.
    pub(crate) async fn commit(&mut self, change: Change) -> Result<(), LakeError> {
        if self.unsure {
            self.reload().await?;
        }
        let mut actions = Vec::with_capacity(change.add.len() + change.remove.len());
        for file in &change.remove {
            actions.push(Action::Remove(Remove {
                path: file.path.clone(),
                data_change: !change.rewrite,
                deletion_timestamp: Some(change.now_ms),
                extended_file_metadata: Some(true),
                partition_values: Some(partition_values(&file.partition)),
                size: Some(file.size as i64),
                ..Remove::default()
            }));
        }
        for file in &change.add {
            actions.push(Action::Add(Add {
                path: file.path.clone(),
                partition_values: partition_values(&file.partition),
                size: file.size as i64,
                modification_time: file.modified_ms,
                data_change: !change.rewrite,
                stats: Some(file.stats.to_text(file.rows)),
                ..Add::default()
            }));
        }
        let operation = if change.rewrite {
            DeltaOperation::Optimize { predicate: None, target_size: 0 }
        } else if change.add.is_empty() && !change.remove.is_empty() {
            DeltaOperation::Delete { predicate: None }
        } else {
            DeltaOperation::Write {
                mode: SaveMode::Append,
                partition_by: Some(vec![PARTITION_COLUMN.to_owned()]),
                predicate: None,
            }
        };
        self.commit_actions(actions, operation, change.stored_through).await
    }

    async fn commit_actions(
        &mut self,
        actions: Vec<Action>,
        operation: DeltaOperation,
        stored_through: Option<u64>,
    ) -> Result<(), LakeError> {
        let mut properties = CommitProperties::default();
        if let Some(position) = stored_through {
            properties = properties.with_application_transaction(Transaction::new(TRANSACTION_APP, position as i64));
        }
        let prepared = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(&self.state), Arc::clone(&self.store), operation)
            .into_prepared_commit_future()
            .await
            .map_err(failed("prepare a commit to", &self.table))?;
        self.unsure = true;
        let committed = prepared.await.map_err(failed("commit to", &self.table))?;
        // The commit stands. A checkpoint or clean-up that fails now is only a slower start later.
        match committed.await {
            Ok(finalized) => self.state = finalized.snapshot(),
            Err(error) => {
                tracing::warn!(table = self.table, %error, "the Delta log could not be checkpointed");
                self.reload().await?;
            }
        }
        self.unsure = false;
        Ok(())
    }
}

fn partition_values(partition: &str) -> HashMap<String, Option<String>> {
    HashMap::from([(PARTITION_COLUMN.to_owned(), Some(partition.to_owned()))])
}

fn failed(step: &'static str, table: &str) -> impl FnOnce(DeltaTableError) -> LakeError {
    let table = table.to_owned();
    move |source| LakeError::Delta { step, table, source: Box::new(source) }
}
