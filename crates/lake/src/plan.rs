//! Decisions about files: what to merge, what to expire, what to delete. Pure: they take the files and `now`, and
//! return what to do; a crash between deciding and doing is harmless, the next round decides again.

use crate::files::{ActiveFile, day_number, day_of};
use garrison_model::Micros;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// When files are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// Files are merged up to about this size; files of half of it are left alone.
    pub target_bytes: u64,
    /// This many neighbours of similar size are merged at once while their day is still being written. Each row is
    /// then rewritten about log(target / flush size) to this base times.
    pub fan_in: usize,
    /// Files that one merge reads at most: each costs an open file and a batch in memory.
    pub inputs_max: usize,
    /// A day that ended this long ago is merged completely.
    pub closed_after: Duration,
}

impl Default for CompactionPolicy {
    fn default() -> Self {
        Self { target_bytes: 128 << 20, fan_in: 8, inputs_max: 64, closed_after: Duration::from_hours(2) }
    }
}

/// Files of one partition to merge into one.
#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    /// The partition's day.
    pub partition: String,
    /// The files, oldest rows first.
    pub inputs: Vec<Arc<ActiveFile>>,
}

/// Groups neighbours in time of one partition, so that a merged file still covers a short span.
pub fn plan_compaction(files: &[Arc<ActiveFile>], now: Micros, policy: &CompactionPolicy) -> Vec<Merge> {
    let mut partitions: BTreeMap<&str, Vec<&Arc<ActiveFile>>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.size < policy.target_bytes / 2) {
        partitions.entry(file.partition.as_str()).or_default().push(file);
    }
    let closed_after = i64::try_from(policy.closed_after.as_micros()).unwrap_or(i64::MAX);
    let mut merges = Vec::new();
    for (partition, mut files) in partitions {
        let Some(day) = day_number(partition) else { continue };
        files.sort_by(|a, b| (a.stats.time_min, &a.path).cmp(&(b.stats.time_min, &b.path)));
        let day_end = (day + 1).saturating_mul(86_400_000_000);
        let closed = now.0.saturating_sub(day_end) >= closed_after;
        // A tier is a factor of the fan-in in size.
        let base = policy.fan_in.max(2) as u64;
        let tier = |file: &ActiveFile| if closed { 0 } else { (file.size >> 16).max(1).ilog(base) };
        let wanted = if closed { 2 } else { policy.fan_in.max(2) };
        let mut group: Vec<Arc<ActiveFile>> = Vec::new();
        let mut bytes = 0;
        let mut close = |group: &mut Vec<Arc<ActiveFile>>, bytes: &mut u64| {
            let inputs = std::mem::take(group);
            if inputs.len() >= wanted || (inputs.len() >= 2 && *bytes >= policy.target_bytes / 2) {
                merges.push(Merge { partition: partition.to_owned(), inputs });
            }
            *bytes = 0;
        };
        for file in files {
            let same = group.last().is_none_or(|last| tier(last) == tier(file));
            if !same || bytes + file.size > policy.target_bytes || group.len() >= policy.inputs_max {
                close(&mut group, &mut bytes);
            }
            bytes += file.size;
            group.push(Arc::clone(file));
        }
        close(&mut group, &mut bytes);
    }
    merges
}

/// Plain files that one round seals at most: each is rewritten whole, and a round must end.
const SEALED_A_ROUND: usize = 4;

/// Plain files of a lake whose files are to be sealed, each to be written anew by itself: of days that are over, so that
/// no merge will come for them, oldest first. `merges` are those of the same round.
pub fn plan_sealing(files: &[Arc<ActiveFile>], merges: &[Merge], now: Micros, policy: &CompactionPolicy) -> Vec<Merge> {
    let closed_after = i64::try_from(policy.closed_after.as_micros()).unwrap_or(i64::MAX);
    let over = |file: &ActiveFile| {
        day_number(&file.partition)
            .is_some_and(|day| now.0.saturating_sub((day + 1).saturating_mul(86_400_000_000)) >= closed_after)
    };
    let merged =
        |file: &ActiveFile| merges.iter().any(|merge| merge.inputs.iter().any(|input| input.path == file.path));
    let mut plain: Vec<&Arc<ActiveFile>> = files
        .iter()
        .filter(|file| !file.path.ends_with(crate::crypt::SEALED_MARK) && over(file) && !merged(file))
        .collect();
    plain.sort_by(|a, b| (&a.partition, &a.path).cmp(&(&b.partition, &b.path)));
    let alone = |file: &Arc<ActiveFile>| Merge { partition: file.partition.clone(), inputs: vec![Arc::clone(file)] };
    plain.into_iter().take(SEALED_A_ROUND).map(alone).collect()
}

/// Files whose whole day is older than `days` days.
pub fn plan_retention(files: &[Arc<ActiveFile>], now: Micros, days: u32) -> Vec<Arc<ActiveFile>> {
    let oldest_kept = day_of(now) - i64::from(days);
    files.iter().filter(|file| day_number(&file.partition).is_some_and(|day| day < oldest_kept)).cloned().collect()
}

/// A file found in a table's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Path below the table's folder.
    pub path: String,
    /// When it was last written, milliseconds since 1970.
    pub modified_ms: i64,
}

/// The Parquet file that a file belongs to: itself, or the one that it indexes.
fn owner(path: &str) -> &str {
    path.strip_suffix(crate::terms::SUFFIX).unwrap_or(path)
}

/// Files to delete: not active, and unused for at least `grace`. A file that left the table counts from its removal;
/// one that never was in the table (a crash before its commit) from its last write.
pub fn plan_vacuum(
    found: &[FoundFile],
    active: &[Arc<ActiveFile>],
    removed_ms: &BTreeMap<String, i64>,
    now: Micros,
    grace: Duration,
) -> Vec<String> {
    let active: std::collections::HashSet<&str> = active.iter().map(|file| file.path.as_str()).collect();
    let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    found
        .iter()
        .filter(|file| !active.contains(owner(&file.path)))
        .filter(|file| {
            let unused_since = removed_ms.get(owner(&file.path)).copied().unwrap_or(file.modified_ms);
            (now.0 / 1_000).saturating_sub(unused_since) >= grace_ms
        })
        .map(|file| file.path.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileStats;

    const MIB: u64 = 1 << 20;
    const HOUR: i64 = 3_600_000_000;

    fn file(partition: &str, name: &str, size: u64, time: i64) -> Arc<ActiveFile> {
        let stats = FileStats { time_min: Some(Micros(time)), time_max: Some(Micros(time)), ..FileStats::default() };
        Arc::new(ActiveFile {
            path: format!("EventDate={partition}/{name}"),
            size,
            rows: 1,
            partition: partition.to_owned(),
            modified_ms: 0,
            stats,
        })
    }

    fn at(text: &str) -> Micros {
        Micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn names(merge: &Merge) -> Vec<&str> {
        merge.inputs.iter().map(|f| f.path.rsplit('/').next().unwrap()).collect()
    }

    #[test]
    fn neighbours_of_a_size_are_merged_once_there_are_enough() {
        let policy = CompactionPolicy { fan_in: 3, ..CompactionPolicy::default() };
        let now = at("2026-11-23T12:00:00Z");
        let two = [file("2026-11-23", "b", MIB, 2), file("2026-11-23", "a", MIB, 1)];
        assert_eq!(plan_compaction(&two, now, &policy), []);
        let three = [two.to_vec(), vec![file("2026-11-23", "c", MIB, 3), file("2026-11-22", "d", MIB, 3)]].concat();
        let merges = plan_compaction(&three, now, &policy);
        assert_eq!(merges.len(), 1);
        assert_eq!(names(&merges[0]), ["a", "b", "c"]);
        let mixed = [two.to_vec(), vec![file("2026-11-23", "big", 40 * MIB, 3)]].concat();
        assert_eq!(plan_compaction(&mixed, now, &policy), [], "sizes differ too much to be worth it yet");
    }

    #[test]
    fn a_day_that_is_over_is_merged_completely_but_large_files_are_left() {
        let policy = CompactionPolicy::default();
        let files = [
            file("2026-11-22", "a", MIB, HOUR),
            file("2026-11-22", "large", 100 * MIB, 2 * HOUR),
            file("2026-11-22", "b", 40 * MIB, 3 * HOUR),
        ];
        assert_eq!(plan_compaction(&files, at("2026-11-23T01:59:59Z"), &policy), []);
        let merges = plan_compaction(&files, at("2026-11-23T02:00:00Z"), &policy);
        assert_eq!(merges.iter().map(names).collect::<Vec<_>>(), [["a", "b"]]);
    }

    #[test]
    fn no_merge_grows_beyond_the_target() {
        let policy = CompactionPolicy::default();
        let files: Vec<_> = (0..9).map(|i| file("2026-11-20", &format!("{i}"), 30 * MIB, i)).collect();
        let merges = plan_compaction(&files, at("2026-11-23T02:00:00Z"), &policy);
        assert_eq!(merges.iter().map(|m| m.inputs.len()).collect::<Vec<_>>(), [4, 4]);
    }

    #[test]
    fn plain_files_of_days_that_are_over_are_sealed_a_few_at_a_time() {
        let policy = CompactionPolicy::default();
        let sealed = format!("x{}", crate::crypt::SEALED_MARK);
        let mut files: Vec<_> = (0..6).map(|n| file("2026-11-20", &format!("{n}.parquet"), 100 * MIB, n)).collect();
        files.push(file("2026-11-19", &sealed, 100 * MIB, 0));
        files.push(file("2026-11-23", "today.parquet", 100 * MIB, 0));
        files.push(file("2026-11-20", "s.parquet", MIB, 8));
        files.push(file("2026-11-20", "t.parquet", MIB, 9));
        let now = at("2026-11-23T02:00:00Z");
        let merges = plan_compaction(&files, now, &policy);
        assert_eq!(merges.iter().map(names).collect::<Vec<_>>(), [["s.parquet", "t.parquet"]]);
        let alone = plan_sealing(&files, &merges, now, &policy);
        let expected = [["0.parquet"], ["1.parquet"], ["2.parquet"], ["3.parquet"]];
        assert_eq!(alone.iter().map(names).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_day_expires_only_when_all_of_it_is_old_enough() {
        let files = [file("2026-11-20", "a", 1, 0), file("2026-11-21", "b", 1, 0), file("", "odd", 1, 0)];
        assert_eq!(plan_retention(&files, at("2026-11-22T23:59:59Z"), 2), []);
        let expired = plan_retention(&files, at("2026-11-23T00:00:00Z"), 2);
        assert_eq!(expired.iter().map(|f| f.partition.as_str()).collect::<Vec<_>>(), ["2026-11-20"]);
    }

    #[test]
    fn only_unused_files_are_deleted_and_only_after_the_grace() {
        let active = [file("2026-11-23", "active", 1, 0)];
        let found = ["active", "active.terms", "removed", "removed.terms", "orphan"]
            .map(|name| FoundFile { path: format!("EventDate=2026-11-23/{name}"), modified_ms: 1_000 });
        let removed = BTreeMap::from([("EventDate=2026-11-23/removed".to_owned(), 5_000)]);
        let plan = |now_ms: i64| plan_vacuum(&found, &active, &removed, Micros(now_ms * 1_000), Duration::from_secs(2));
        assert_eq!(plan(2_999), Vec::<String>::new());
        assert_eq!(plan(3_000), ["EventDate=2026-11-23/orphan"]);
        let all = ["removed", "removed.terms", "orphan"].map(|name| format!("EventDate=2026-11-23/{name}"));
        assert_eq!(plan(7_000), all);
    }
}
