//! Copies a lake to an object store, where other machines read it.
//!
//! The local folder stays the truth: rows are durable there first, and the copy follows. What a reader of the copy sees
//! is a whole Delta table at every moment, because a table is copied in this order:
//!
//! 1. every Parquet file that a new log entry adds,
//! 2. the log entries, one by one, each only if there is none of its number yet ([`PutMode::Create`]),
//! 3. checkpoints, and last the hint that names the newest,
//! 4. and only after [`crate::LakeConfig::tombstone_grace`], deletions.
//!
//! Files are copied as they lie: those of a sealed lake stay sealed, and who reads them needs its key for readers.
//!
//! Two servers that copy to the same place by mistake are stopped by the second step: the slower one finds an entry
//! that it did not write, says so, and copies nothing more.
//!
//! Term indexes stay at home: they are read from memory maps and would have to be fetched whole.

use crate::bucket::Bucket;
use crate::error::LakeError;
use crate::lake::Lake;
use crate::plan::{FoundFile, plan_vacuum};
use crate::remote::AsOf;
use crate::spec::{INGEST_COLUMN, PARTITION_COLUMN};
use arrow::array::AsArray as _;
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use futures::TryStreamExt as _;
use garrison_model::Micros;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// Rows under way between their ingest time and memory: far more than a group commit takes.
const UNDER_WAY: i64 = 10_000_000;
/// How often what is no longer needed is looked for: a listing of the whole copy costs requests.
const EXPIRE_EVERY: Duration = Duration::from_hours(1);
/// Bytes of a log entry; ours have some kilobytes.
const ENTRY_BYTES_MAX: u64 = 64 << 20;

/// What one round copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Parquet files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Log entries and checkpoints.
    pub entries: u64,
    /// Objects deleted.
    pub deleted: u64,
}

/// Copies one lake to one place.
pub struct Mirror {
    lake: Lake,
    bucket: Bucket,
    known: tokio::sync::Mutex<HashMap<String, Known>>,
}

/// What of a table is on the object store.
#[derive(Debug, Default)]
struct Known {
    version: Option<u64>,
    files: HashSet<String>,
    /// Names below `_delta_log`.
    log: BTreeSet<String>,
    expired: Option<Micros>,
}

/// Files of a table's local log.
#[derive(Debug, Default)]
struct LocalLog {
    entries: BTreeMap<u64, String>,
    checkpoints: BTreeMap<u64, Vec<String>>,
    hint: bool,
}

/// The version in a name of the log: twenty digits and a point.
fn version_of(name: &str) -> Option<u64> {
    let (digits, _) = name.split_at_checked(20)?;
    digits.parse().ok()
}

fn is_entry(name: &str) -> bool {
    name.len() == 25 && name.split_once('.').is_some_and(|(_, end)| end == "json")
}

const HINT: &str = "_last_checkpoint";

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Mirror {
    /// Copies this lake to this place, once [`Mirror::sync`] is called.
    #[must_use]
    pub fn new(lake: Lake, bucket: Bucket) -> Self {
        Self { lake, bucket, known: tokio::sync::Mutex::default() }
    }

    /// Copies what is new. A round that failed half way is taken up by the next one. One runs at a time.
    pub async fn sync(&self, now: Micros) -> Result<Mirrored, LakeError> {
        let mut known = self.known.lock().await;
        let as_of = self.as_of(now)?;
        let mut done = Mirrored::default();
        let mut first_error = None;
        for table in self.lake.tables() {
            let entry = known.entry(table.clone()).or_default();
            // One table's trouble must not keep the others from being copied.
            if let Err(error) = self.sync_table(&table, entry, now, &mut done).await {
                first_error.get_or_insert(error);
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        let key = self.lake.at_rest().key().map(|key| key.id().to_owned());
        let told = serde_json::to_vec(&AsOf { micros: as_of.0, key }).unwrap_or_default();
        let path = self.bucket.path(AsOf::NAME)?;
        self.bucket.store().put(&path, told.into()).await.map_err(failed("write", path.as_ref()))?;
        Ok(done)
    }

    /// Every row that came before is in files now.
    fn as_of(&self, now: Micros) -> Result<Micros, LakeError> {
        let mut least = now.0.saturating_sub(UNDER_WAY);
        for table in self.lake.tables() {
            for rows in self.lake.snapshot(&table)?.hot {
                let times = rows.column_by_name(INGEST_COLUMN);
                let times = times.and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>());
                least = times.and_then(arrow::compute::min).unwrap_or(least).min(least);
            }
        }
        Ok(Micros(least))
    }

    async fn sync_table(
        &self,
        table: &str,
        known: &mut Known,
        now: Micros,
        done: &mut Mirrored,
    ) -> Result<(), LakeError> {
        let snapshot = self.lake.snapshot(table)?;
        let folder = snapshot.folder.clone();
        let log = local_log(&folder.join("_delta_log"))?;
        if known.version.is_none() {
            *known = self.found(table).await?;
            self.check_owner(table, &folder, known).await?;
        }
        if known.version.is_some_and(|version| version > snapshot.version) {
            // A folder that was set back to an older state must not write over what is newer.
            return Err(LakeError::OtherWriter { object: format!("{table}/_delta_log") });
        }
        let next = known.version.map_or(0, |version| version + 1);
        let entries: Vec<(u64, String)> =
            log.entries.range(next..).map(|(version, name)| (*version, name.clone())).collect();
        // Those that came after the snapshot wait for the next round: their files may not be known here.
        let entries = entries.into_iter().take_while(|(version, _)| *version <= snapshot.version);
        for file in snapshot.files.iter() {
            self.copy_file(table, &folder, &file.path, known, done).await?;
        }
        for (version, name) in entries {
            let text = read_bounded(&folder.join("_delta_log").join(&name), ENTRY_BYTES_MAX).await?;
            // Files that came and went since the last round are read by those who look at an older version.
            for path in added(&text) {
                if tokio::fs::try_exists(folder.join(&path)).await.unwrap_or(false) {
                    self.copy_file(table, &folder, &path, known, done).await?;
                }
            }
            self.create(&format!("{table}/_delta_log/{name}"), text).await?;
            known.log.insert(name);
            known.version = Some(version);
            done.entries += 1;
        }
        self.copy_checkpoints(table, &folder, &log, snapshot.version, known, done).await?;
        if known.expired.is_none_or(|last| now.0.saturating_sub(last.0) >= micros(EXPIRE_EVERY)) {
            self.expire(table, &log, known, now, done).await?;
            known.expired = Some(now);
        }
        Ok(())
    }

    async fn copy_checkpoints(
        &self,
        table: &str,
        folder: &std::path::Path,
        log: &LocalLog,
        version: u64,
        known: &mut Known,
        done: &mut Mirrored,
    ) -> Result<(), LakeError> {
        let mut new = false;
        for name in log.checkpoints.range(..=version).flat_map(|(_, names)| names) {
            if known.log.contains(name) {
                continue;
            }
            self.upload(&folder.join("_delta_log").join(name), &format!("{table}/_delta_log/{name}")).await?;
            known.log.insert(name.clone());
            done.entries += 1;
            new = true;
        }
        if new && log.hint {
            let text = read_bounded(&folder.join("_delta_log").join(HINT), ENTRY_BYTES_MAX).await?;
            // The hint may have moved on since the folder was listed; it must not name what is not there yet.
            let named = serde_json::from_slice::<serde_json::Value>(&text).ok();
            if named.and_then(|hint| hint["version"].as_u64()).is_some_and(|named| named <= version) {
                let path = self.bucket.path(&format!("{table}/_delta_log/{HINT}"))?;
                self.bucket.store().put(&path, text.into()).await.map_err(failed("write", path.as_ref()))?;
            }
        }
        Ok(())
    }

    async fn copy_file(
        &self,
        table: &str,
        folder: &std::path::Path,
        path: &str,
        known: &mut Known,
        done: &mut Mirrored,
    ) -> Result<(), LakeError> {
        if known.files.contains(path) {
            return Ok(());
        }
        done.bytes += self.upload(&folder.join(path), &format!("{table}/{path}")).await?;
        done.files += 1;
        known.files.insert(path.to_owned());
        Ok(())
    }

    async fn upload(&self, from: &std::path::Path, object: &str) -> Result<u64, LakeError> {
        let mut file = tokio::fs::File::open(from).await.map_err(LakeError::io("open", from))?;
        // Small files in one request, large ones in parts.
        let mut writer = BufWriter::new(self.bucket.store(), self.bucket.path(object)?);
        let copied = match tokio::io::copy(&mut file, &mut writer).await {
            Ok(copied) => writer.shutdown().await.map(|()| copied),
            Err(error) => {
                let _ = writer.abort().await;
                Err(error)
            }
        };
        copied.map_err(LakeError::io("copy to the object store", from))
    }

    /// Writes an entry, unless there is one of its number; the same one from an earlier round is fine.
    async fn create(&self, object: &str, text: Vec<u8>) -> Result<(), LakeError> {
        let path = self.bucket.path(object)?;
        let text = Bytes::from(text);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.bucket.store().put_opts(&path, text.clone().into(), options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) if self.read(&path).await? == text => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => Err(LakeError::OtherWriter { object: object.to_owned() }),
            Err(source) => Err(failed("write", object)(source)),
        }
    }

    async fn read(&self, path: &Path) -> Result<Bytes, LakeError> {
        let got = self.bucket.store().get(path).await.map_err(failed("read", path.as_ref()))?;
        got.bytes().await.map_err(failed("read", path.as_ref()))
    }

    /// What an earlier process copied.
    async fn found(&self, table: &str) -> Result<Known, LakeError> {
        let mut known = Known::default();
        for (name, _) in self.list(table).await? {
            match name.strip_prefix("_delta_log/") {
                Some(entry) => {
                    if is_entry(entry) {
                        known.version = known.version.max(version_of(entry));
                    }
                    known.log.insert(entry.to_owned());
                }
                None => {
                    known.files.insert(name);
                }
            }
        }
        Ok(known)
    }

    /// The newest entry there is one of ours.
    async fn check_owner(&self, table: &str, folder: &std::path::Path, known: &Known) -> Result<(), LakeError> {
        let Some(version) = known.version else { return Ok(()) };
        let name = format!("{version:020}.json");
        let local = folder.join("_delta_log").join(&name);
        if !tokio::fs::try_exists(&local).await.unwrap_or(false) {
            // Cleaned up here long ago; the next entry is checked when it is written.
            return Ok(());
        }
        let object = format!("{table}/_delta_log/{name}");
        let ours = read_bounded(&local, ENTRY_BYTES_MAX).await?;
        if self.read(&self.bucket.path(&object)?).await? != ours {
            return Err(LakeError::OtherWriter { object });
        }
        Ok(())
    }

    /// Objects of a table: name below the table, when it was last written in milliseconds.
    async fn list(&self, table: &str) -> Result<Vec<(String, i64)>, LakeError> {
        let prefix = self.bucket.path(table)?;
        let listed: Vec<_> =
            self.bucket.store().list(Some(&prefix)).try_collect().await.map_err(failed("list", prefix.as_ref()))?;
        let below = format!("{prefix}/");
        let named = listed.into_iter().filter_map(|meta| {
            let name = meta.location.as_ref().strip_prefix(&below)?;
            Some((name.to_owned(), meta.last_modified.timestamp_millis()))
        });
        Ok(named.collect())
    }

    /// Deletes what no reader needs any more.
    async fn expire(
        &self,
        table: &str,
        local: &LocalLog,
        known: &mut Known,
        now: Micros,
        done: &mut Mirrored,
    ) -> Result<(), LakeError> {
        let listed = self.list(table).await?;
        let (active, removed) = {
            let inner = self.lake.lake_table(table)?;
            let log = inner.log.lock().await;
            let removed: BTreeMap<String, i64> =
                log.tombstones().await?.into_iter().map(|stone| (stone.path, stone.deleted_ms)).collect();
            (log.files()?, removed)
        };
        let found: Vec<FoundFile> = listed
            .iter()
            .filter(|(name, _)| name.starts_with(PARTITION_COLUMN))
            .map(|(name, modified_ms)| FoundFile { path: name.clone(), modified_ms: *modified_ms })
            .collect();
        let mut delete = plan_vacuum(&found, &active, &removed, now, self.lake.tombstone_grace());
        // Log entries before the newest checkpoint that is there, once the local log has dropped them.
        let newest = local.checkpoints.keys().next_back().copied().unwrap_or(0);
        for (name, _) in &listed {
            let Some(entry) = name.strip_prefix("_delta_log/") else { continue };
            let Some(version) = version_of(entry) else { continue };
            let here = local.entries.contains_key(&version) || local.checkpoints.contains_key(&version);
            if version < newest && !here {
                delete.push(name.clone());
            }
        }
        for name in delete {
            let path = self.bucket.path(&format!("{table}/{name}"))?;
            match self.bucket.store().delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(failed("delete", path.as_ref())(source)),
            }
            known.files.remove(&name);
            if let Some(entry) = name.strip_prefix("_delta_log/") {
                known.log.remove(entry);
            }
            done.deleted += 1;
        }
        Ok(())
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn failed(step: &'static str, object: &str) -> impl FnOnce(object_store::Error) -> LakeError {
    let object = object.to_owned();
    move |source| LakeError::Bucket { step, object, source }
}

/// Paths of the files that an entry adds.
fn added(entry: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Line {
        add: Option<Add>,
    }
    #[derive(serde::Deserialize)]
    struct Add {
        path: String,
    }
    let lines = entry.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    lines.filter_map(|line| line.add).map(|add| add.path).collect()
}

fn local_log(folder: &std::path::Path) -> Result<LocalLog, LakeError> {
    let mut log = LocalLog::default();
    for entry in std::fs::read_dir(folder).map_err(LakeError::io("list", folder))? {
        let Ok(name) = entry.map_err(LakeError::io("list", folder))?.file_name().into_string() else { continue };
        if name == HINT {
            log.hint = true;
        }
        let Some(version) = version_of(&name) else { continue };
        if is_entry(&name) {
            log.entries.insert(version, name);
        } else if name.contains(".checkpoint") && name.ends_with(".parquet") {
            log.checkpoints.entry(version).or_default().push(name);
        }
    }
    Ok(log)
}

async fn read_bounded(path: &std::path::Path, bytes_max: u64) -> Result<Vec<u8>, LakeError> {
    use tokio::io::AsyncReadExt as _;
    let file = tokio::fs::File::open(path).await.map_err(LakeError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).await.map_err(LakeError::io("read", path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_log_are_told_apart() {
        for (name, version, entry) in [
            ("00000000000000000007.json", Some(7), true),
            ("00000000000000000050.checkpoint.parquet", Some(50), false),
            ("00000000000000000050.checkpoint.0000000001.0000000002.parquet", Some(50), false),
            ("_last_checkpoint", None, false),
            ("0000000000000000000x.json", None, true),
            ("é", None, false),
        ] {
            assert_eq!(version_of(name), version, "{name}");
            assert_eq!(is_entry(name), entry, "{name}");
        }
    }

    #[test]
    fn only_added_files_are_named() {
        let entry =
            b"{\"commitInfo\":{}}\n{\"add\":{\"path\":\"a/b\",\"size\":1}}\n{\"remove\":{\"path\":\"c\"}}\nbroken\n";
        assert_eq!(added(entry), ["a/b"]);
    }
}
