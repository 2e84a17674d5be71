//! Doing what [`crate::plan`] decides. Each step is one Delta commit or one deletion; a crash between two leaves files
//! that nothing refers to, which a later round deletes.

use crate::compact::merge_files;
use crate::delta::Change;
use crate::error::LakeError;
use crate::files::{ActiveFile, day_number};
use crate::lake::Shared;
use crate::plan::{FoundFile, plan_compaction, plan_retention, plan_sealing, plan_vacuum};
use crate::spec::PARTITION_COLUMN;
use crate::table::LakeTable;
use crate::wal::lock;
use garrison_model::Micros;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// What a round of maintenance did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintenance {
    /// Files merged.
    pub files_merged: u64,
    /// Files that they became.
    pub files_written: u64,
    /// Files expired.
    pub files_expired: u64,
    /// Rows in them.
    pub rows_expired: u64,
    /// Files deleted from disk.
    pub files_deleted: u64,
    /// (device, boot) pairs forgotten.
    pub streams_forgotten: u64,
}

pub(crate) async fn maintain(
    shared: &Shared,
    now: Micros,
    days: &BTreeMap<String, u32>,
) -> Result<Maintenance, LakeError> {
    let _one_at_a_time = shared.maintaining.lock().await;
    let mut done = Maintenance::default();
    let mut first_error = None;
    for table in shared.tables.values() {
        // One table's trouble must not keep the others from being maintained.
        if let Err(error) = maintain_table(shared, table, (now, days), &mut done).await {
            tracing::error!(table = table.spec.name, error = &error as &dyn std::error::Error, "maintenance failed");
            first_error.get_or_insert(error);
        }
    }
    let idle = i64::try_from(shared.config.stream_idle.as_micros()).unwrap_or(i64::MAX);
    done.streams_forgotten = lock(&shared.wal.positions).forget_before(Micros(now.0.saturating_sub(idle))) as u64;
    first_error.map_or(Ok(done), Err)
}

async fn maintain_table(
    shared: &Shared,
    table: &LakeTable,
    (now, asked): (Micros, &BTreeMap<String, u32>),
    done: &mut Maintenance,
) -> Result<(), LakeError> {
    let now_ms = now.0 / 1_000;
    let name = &table.spec.name;
    let days = asked.get(name).or_else(|| shared.config.retention_days.get(name)).copied();
    let days = days.unwrap_or(table.spec.retention_days);
    let expired = plan_retention(&table.read().files, now, days);
    if !expired.is_empty() {
        done.files_expired += expired.len() as u64;
        done.rows_expired += expired.iter().map(|file| file.rows).sum::<u64>();
        replace(table, expired, Vec::new(), now_ms, false).await?;
    }
    let files = Arc::clone(&table.read().files);
    let mut merges = plan_compaction(&files, now, &shared.config.compaction);
    if table.at_rest.sealing().is_some() {
        let alone = plan_sealing(&files, &merges, now, &shared.config.compaction);
        merges.extend(alone);
    }
    drop(files);
    for merge in merges {
        let Some(day) = day_number(&merge.partition) else { continue };
        let Some(output) = merge_files(table, &merge.inputs, day, now_ms)? else { continue };
        let path = table.folder.join(&output.path);
        let inputs = merge.inputs.len() as u64;
        match replace(table, merge.inputs, vec![output], now_ms, true).await {
            Ok(true) => {
                done.files_merged += inputs;
                done.files_written += 1;
            }
            Ok(false) => {
                let _ = std::fs::remove_file(crate::terms::index_path(&path));
                let _ = std::fs::remove_file(path);
            }
            // The commit may stand, so the file stays; if it does not, the file is deleted after the grace time.
            Err(error) => return Err(error),
        }
    }
    done.files_deleted += vacuum(shared, table, now).await?;
    Ok(())
}

/// Commits a replacement, if all files to remove are still active; `false` if not.
async fn replace(
    table: &LakeTable,
    remove: Vec<Arc<ActiveFile>>,
    add: Vec<ActiveFile>,
    now_ms: i64,
    rewrite: bool,
) -> Result<bool, LakeError> {
    let mut log = table.log.lock().await;
    if log.unsure {
        log.reload().await?;
    }
    let active: HashSet<String> = log.files()?.iter().map(|file| file.path.clone()).collect();
    if !remove.iter().all(|file| active.contains(&file.path)) {
        return Ok(false);
    }
    log.commit(Change { add, remove, now_ms, rewrite, stored_through: None }).await?;
    let files = log.files()?;
    let mut shelf = table.write();
    shelf.files = Arc::new(files);
    shelf.version = log.version();
    Ok(true)
}

/// Deletes files that no reader needs any more.
async fn vacuum(shared: &Shared, table: &LakeTable, now: Micros) -> Result<u64, LakeError> {
    // The lock keeps flushes from having a file on disk that is not committed yet.
    let mut log = table.log.lock().await;
    if log.unsure {
        log.reload().await?;
    }
    let found = found_files(&table.folder)?;
    let active = log.files()?;
    if found.iter().filter(|file| !file.path.ends_with(crate::terms::SUFFIX)).count() <= active.len() {
        return Ok(0);
    }
    let removed: BTreeMap<String, i64> =
        log.tombstones().await?.into_iter().map(|stone| (stone.path, stone.deleted_ms)).collect();
    let mut deleted = 0;
    for path in plan_vacuum(&found, &active, &removed, now, shared.config.tombstone_grace) {
        let path = table.folder.join(path);
        match std::fs::remove_file(&path) {
            Ok(()) => {
                // An index goes with its file and is not counted.
                let of_index = path.as_os_str().as_encoded_bytes().ends_with(crate::terms::SUFFIX.as_bytes());
                deleted += u64::from(!of_index);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(LakeError::io("delete", path)(error)),
        }
        if let Some(folder) = path.parent() {
            // Fails while files are in it, which is what is wanted.
            let _ = std::fs::remove_dir(folder);
        }
    }
    Ok(deleted)
}

fn found_files(folder: &Path) -> Result<Vec<FoundFile>, LakeError> {
    let mut found = Vec::new();
    let entries = |folder: &Path| std::fs::read_dir(folder).map_err(LakeError::io("list", folder));
    for partition in entries(folder)? {
        let partition = partition.map_err(LakeError::io("list", folder))?;
        let Ok(name) = partition.file_name().into_string() else { continue };
        if !name.starts_with(PARTITION_COLUMN) {
            continue;
        }
        for file in entries(&partition.path())? {
            let file = file.map_err(LakeError::io("list", partition.path()))?;
            let Ok(file_name) = file.file_name().into_string() else { continue };
            if !file_name.strip_suffix(crate::terms::SUFFIX).unwrap_or(&file_name).ends_with(".parquet") {
                continue;
            }
            let modified = file.metadata().and_then(|m| m.modified()).map_err(LakeError::io("look at", file.path()))?;
            let modified_ms =
                modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
            found.push(FoundFile { path: format!("{name}/{file_name}"), modified_ms });
        }
    }
    Ok(found)
}
