//! Settings of the room; the defaults are those that existing scripts were written for.

use std::path::PathBuf;

/// How much one user, or all users of a tenant together, may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaSettings {
    /// Queries begun in a minute.
    pub calls_per_minute: u32,
    /// Queries begun in an hour.
    pub calls_per_hour: u32,
    /// Seconds of running in an hour.
    pub seconds_per_hour: u64,
    /// Seconds of running in a day.
    pub seconds_per_day: u64,
    /// Queries at once.
    pub concurrent: u32,
}

/// Settings of the room.
#[derive(Debug, Clone)]
pub struct HuntingSettings {
    /// Bounds of one user.
    pub user: QuotaSettings,
    /// Bounds of a tenant.
    pub tenant: QuotaSettings,
    /// Rows of an answer for programs.
    pub rows_max_api: usize,
    /// Rows of an answer for the console.
    pub rows_max_console: usize,
    /// Bytes of an answer.
    pub result_bytes_max: usize,
    /// Bytes of a query's text: ten times the longest of the public corpus.
    pub query_bytes_max: usize,
    /// Seconds that a query of a program may take.
    pub seconds_max_api: u64,
    /// Seconds that a query of the console may take.
    pub seconds_max_console: u64,
    /// Memory of one query; what can be spilled is, beyond.
    pub query_memory_bytes: usize,
    /// Memory of all queries together.
    pub memory_bytes: usize,
    /// Disk space that one query may spill to.
    pub spill_bytes_max: u64,
    /// Threads that run queries; 0: one a core.
    pub workers: usize,
    /// Days that the history is kept.
    pub history_days: u32,
    /// Entries of the history that are kept at most.
    pub history_rows_max: u32,
    /// Database of places for `geo_info_from_ip_address` (MMDB).
    pub geo_database: Option<PathBuf>,
    /// `externaldata`.
    pub external: ExternalSettings,
}

/// What `externaldata` may fetch.
#[derive(Debug, Clone, Default)]
pub struct ExternalSettings {
    /// Hosts, exactly; nothing is fetched while it is empty.
    pub hosts: Vec<String>,
    /// Bytes of one file.
    pub bytes_max: usize,
    /// Seconds for one file.
    pub seconds_max: u64,
    /// Allows loopback addresses and plain http to them: for tests of the operator's.
    pub loopback: bool,
}

impl Default for HuntingSettings {
    fn default() -> Self {
        let user = QuotaSettings {
            calls_per_minute: 45,
            calls_per_hour: 1_500,
            seconds_per_hour: 600,
            seconds_per_day: 10_800,
            concurrent: 4,
        };
        Self {
            user,
            // Ten busy analysts.
            tenant: QuotaSettings {
                calls_per_minute: 450,
                calls_per_hour: 15_000,
                seconds_per_hour: 6_000,
                seconds_per_day: 108_000,
                concurrent: 16,
            },
            rows_max_api: 100_000,
            rows_max_console: 30_000,
            result_bytes_max: 124_000_000,
            query_bytes_max: 128 << 10,
            seconds_max_api: 200,
            seconds_max_console: 600,
            query_memory_bytes: 512 << 20,
            memory_bytes: 1 << 30,
            spill_bytes_max: 8 << 30,
            workers: 0,
            history_days: 30,
            history_rows_max: 100_000,
            geo_database: None,
            external: ExternalSettings { bytes_max: 16 << 20, seconds_max: 30, ..ExternalSettings::default() },
        }
    }
}

impl HuntingSettings {
    /// Threads that run queries.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        if self.workers == 0 { cores.clamp(2, 64) } else { self.workers }
    }
}
