//! Processes: their key, and the tree that an alert or incident shows.

use crate::AlertId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A process for good: a pid alone is used again, so the key is the boot, the start time and the pid. It is unique in
/// its device. The text form is what the columns `ProcessUniqueId` and `InitiatingProcessUniqueId` hold:
/// first 8 characters of the boot id, start time in nanoseconds since boot, and pid, in hexadecimal, joined by `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// The first 32 bits of the boot id.
    pub boot: u32,
    /// Start time, nanoseconds since boot (`task_struct.start_boottime`), cut to 10 ms, since that is all that
    /// `/proc/PID/stat` tells of it and both sources must give the same key.
    pub start_ns: u64,
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: u32,
}

impl ProcessKey {
    /// Cuts the start time to clock ticks of 10 ms.
    pub fn new(boot: u32, start_ns: u64, pid: u32) -> Self {
        Self { boot, start_ns: start_ns - start_ns % 10_000_000, pid }
    }
}

impl fmt::Display for ProcessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}-{:x}", self.boot, self.start_ns, self.pid)
    }
}

/// One process in the tree of an alert or incident. `children` are in order of their start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessNode {
    /// `ProcessUniqueId` of the process.
    pub process_unique_id: String,
    /// Process id.
    pub process_id: i64,
    /// File name of the image.
    pub file_name: String,
    /// Folder of the image, without the file name.
    pub folder_path: Option<String>,
    /// Full command line, as captured.
    pub command_line: Option<String>,
    /// SHA-256 of the image, if known.
    pub sha256: Option<String>,
    /// Account name it runs as.
    pub account_name: Option<String>,
    /// When it started, RFC 3339.
    pub creation_time: Option<String>,
    /// When it ended, RFC 3339, if seen.
    pub exit_time: Option<String>,
    /// Alerts raised on this process.
    pub alert_ids: Vec<AlertId>,
    /// Activities of this process that belong to the story (files, connections, ...), in order of time.
    pub activities: Vec<Activity>,
    /// Processes it started.
    #[cfg_attr(feature = "openapi", schema(no_recursion))]
    pub children: Vec<ProcessNode>,
}

/// One thing a process did, as shown below it in the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// When, RFC 3339.
    pub timestamp: String,
    /// The hunting table the row is in.
    pub table: String,
    /// `ActionType` of the row.
    pub action_type: String,
    /// One line for people, such as `/etc/cron.d/x` or `10.1.2.3:4444`.
    pub summary: String,
    /// Alerts raised on this row.
    pub alert_ids: Vec<AlertId>,
    /// The row, columns without a value left out.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub row: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_of_a_start_time_give_one_key() {
        let from_kernel = ProcessKey::new(7, 123_456_789_012, 42);
        let from_proc = ProcessKey::new(7, 123_450_000_000, 42);
        assert_eq!(from_kernel, from_proc);
        assert_eq!(from_proc.to_string(), "00000007-1cbe318280-2a");
    }

    #[test]
    fn reused_pid_gets_a_new_process_key() {
        assert_ne!(ProcessKey::new(7, 10_000_000, 42), ProcessKey::new(7, 20_000_000, 42));
    }
}
