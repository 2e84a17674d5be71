//! Other products that hold fanotify in blocking mode: the kernel shows each fanotify descriptor's marks in
//! `/proc/PID/fdinfo`, with the mask of events, so this needs no list of products. Two that answer permission events
//! may wait for each other; where one is there, the sensor is installed passive.

use crate::host::small;
use crate::layout::Layout;
use std::path::Path;

/// `FAN_OPEN_PERM`, `FAN_ACCESS_PERM` and `FAN_OPEN_EXEC_PERM` of the kernel's fanotify.h.
const PERMISSION_EVENTS: u64 = 0x0001_0000 | 0x0002_0000 | 0x0004_0000;
/// Descriptors looked at in one process: those of fanotify users are few and low.
const DESCRIPTORS_MAX: usize = 4_096;
/// Products told.
const PRODUCTS_MAX: usize = 8;

/// Whether the text of a descriptor's `fdinfo` shows marks with permission events.
pub fn blocks(fdinfo: &str) -> bool {
    fdinfo.lines().filter(|l| l.starts_with("fanotify ")).any(|line| {
        line.split_whitespace()
            .filter_map(|word| word.strip_prefix("mask:"))
            .filter_map(|mask| u64::from_str_radix(mask, 16).ok())
            .any(|mask| mask & PERMISSION_EVENTS != 0)
    })
}

fn has_blocking(process: &Path) -> bool {
    let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().take(DESCRIPTORS_MAX).any(|descriptor| {
        let is_fanotify =
            std::fs::read_link(descriptor.path()).is_ok_and(|t| t.to_string_lossy().contains("[fanotify]"));
        is_fanotify && blocks(&small(process.join("fdinfo").join(descriptor.file_name())))
    })
}

/// Names of the processes of others that block file access by fanotify.
pub fn blocking_products(layout: &Layout) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir(layout.of_host("/proc")) else { return Vec::new() };
    let mut found: Vec<String> = processes
        .flatten()
        .filter(|p| p.file_name().to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())))
        .map(|p| p.path())
        .filter(|p| has_blocking(p))
        .map(|p| small(p.join("comm")).chars().filter(|c| !c.is_control()).take(32).collect::<String>())
        .filter(|name| !name.is_empty() && !name.starts_with("garrison-"))
        .collect();
    found.sort();
    found.dedup();
    found.truncate(PRODUCTS_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permission_events_block() {
        for (text, blocking) in [
            (
                "pos:\t0\nflags:\t02\nfanotify flags:0 event-flags:8002\nfanotify mnt_id:1d mflags:0 mask:20 ignored_mask:0",
                false,
            ),
            ("fanotify flags:4 event-flags:8002\nfanotify mnt_id:1d mflags:0 mask:10000 ignored_mask:0", true),
            ("fanotify sdev:800013 mflags:0 mask:40008 ignored_mask:0", true),
            ("inotify wd:1 mask:10000", false),
            ("fanotify mask:zzz", false),
            ("", false),
        ] {
            assert_eq!(blocks(text), blocking, "{text}");
        }
    }

    #[test]
    fn the_process_that_blocks_is_named_and_ours_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (pid, name, mask) in
            [("10", "otherav", "10000"), ("11", "garrison-sensor", "10000"), ("12", "watcher", "20")]
        {
            let process = root.join("proc").join(pid);
            std::fs::create_dir_all(process.join("fd")).unwrap();
            std::fs::create_dir_all(process.join("fdinfo")).unwrap();
            std::fs::write(process.join("comm"), name).unwrap();
            std::os::unix::fs::symlink("anon_inode:[fanotify]", process.join("fd/5")).unwrap();
            std::fs::write(process.join("fdinfo/5"), format!("fanotify ino:1 mask:{mask} ignored_mask:0")).unwrap();
        }
        let layout = Layout { state: root.join("s"), prefix: root.join("p"), host: root.to_owned() };
        assert_eq!(blocking_products(&layout), ["otherav"]);
    }
}
