//! What the running sensor knows of itself: health, figures, and which stage last moved.

use crate::policy::budget::Step;
use crate::spool::SpoolState;
use garrison_model::Micros;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a stage may be silent before the watchdog says so: ten times what the slowest disk sync takes.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// The stages that the watchdog looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Observe, enrich, detect.
    Pipeline,
    /// Writing the disk queue.
    Spool,
    /// The connection.
    Uplink,
}

impl Stage {
    const ALL: [Stage; 3] = [Stage::Pipeline, Stage::Spool, Stage::Uplink];

    fn name(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Spool => "spool",
            Self::Uplink => "uplink",
        }
    }
}

/// The state of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// `connected`, `connecting` or `waiting`.
    pub state: String,
    /// Address in use or tried last.
    pub server: String,
    /// Why it is not connected; empty if it is.
    pub error: String,
    /// When it last was, RFC 3339; empty if never.
    pub last_connected: String,
    /// End of the certificate, RFC 3339.
    pub certificate_ends: String,
}

/// The detection content in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContentInfo {
    /// Version; empty if there is none yet.
    pub version: String,
    /// Generation.
    pub generation: u64,
    /// When it was taken, microseconds since 1970.
    pub taken: i64,
    /// Rules in use.
    pub rules_usable: u32,
    /// Rules that cannot be used.
    pub rules_refused: u32,
    /// Why the last content was not taken; empty if it was.
    pub error: String,
}

/// What the sensor sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SightInfo {
    /// `ebpf`, `fallback` or `none`.
    pub subsystem: String,
    /// What cannot be seen.
    pub missing: Vec<String>,
    /// Why it is not a better eye.
    pub reason: String,
}

#[derive(Debug, Default)]
struct Words {
    issues: BTreeMap<&'static str, String>,
    connection: Connection,
    content: ContentInfo,
    sight: SightInfo,
    spool: SpoolState,
    hashes: crate::enrich::hash::HashCounts,
    unwanted: Option<String>,
}

/// Shared by all threads. Locks are held for copies only.
#[derive(Debug)]
pub struct Status {
    begun: Instant,
    started: Micros,
    moved: [AtomicU64; 3],
    /// Rows made.
    pub rows: AtomicU64,
    /// Rows that a rule fired on.
    pub matches: AtomicU64,
    /// Thousandths of a core, last second.
    pub cpu_permille: AtomicU32,
    /// Resident bytes.
    pub resident_bytes: AtomicU64,
    /// Processes in the table.
    pub processes: AtomicU64,
    step: AtomicU32,
    words: Mutex<Words>,
}

impl Status {
    /// A sensor that starts now.
    pub fn new(now: Micros) -> Self {
        Self {
            begun: Instant::now(),
            started: now,
            moved: Default::default(),
            rows: AtomicU64::new(0),
            matches: AtomicU64::new(0),
            cpu_permille: AtomicU32::new(0),
            resident_bytes: AtomicU64::new(0),
            processes: AtomicU64::new(0),
            step: AtomicU32::new(0),
            words: Mutex::default(),
        }
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stage moved.
    pub fn moved(&self, stage: Stage) {
        self.moved[stage as usize].store(self.begun.elapsed().as_millis() as u64, Relaxed);
    }

    /// Stages that did not move for [`STUCK_AFTER`].
    pub fn stuck(&self) -> Vec<&'static str> {
        let now = self.begun.elapsed().as_millis() as u64;
        let limit = STUCK_AFTER.as_millis() as u64;
        let late = |s: &Stage| now.saturating_sub(self.moved[*s as usize].load(Relaxed)) > limit;
        Stage::ALL.into_iter().filter(late).map(Stage::name).collect()
    }

    /// The server wants no rows, for this reason; or wants them (`None`). The answer is whether it changed.
    pub fn set_unwanted(&self, reason: Option<String>) -> bool {
        let mut words = self.words();
        let changed = words.unwanted != reason;
        words.unwanted = reason;
        changed
    }

    /// Why the server wants no rows, where it wants none.
    pub fn unwanted(&self) -> Option<String> {
        self.words().unwanted.clone()
    }

    /// Sets or clears (`None`) the issue of one part; the answer is whether it changed.
    pub fn issue(&self, part: &'static str, text: Option<String>) -> bool {
        let mut words = self.words();
        match text {
            Some(text) => words.issues.insert(part, text.clone()).is_none_or(|former| former != text),
            None => words.issues.remove(part).is_some(),
        }
    }

    /// What is wrong, empty if nothing.
    pub fn issues(&self) -> Vec<String> {
        let mut issues: Vec<String> = self.words().issues.values().cloned().collect();
        for stage in self.stuck() {
            issues.push(format!("stage {stage} has been stuck for more than {} s", STUCK_AFTER.as_secs()));
        }
        issues
    }

    /// Changes the connection's state.
    pub fn connection(&self, change: impl FnOnce(&mut Connection)) {
        change(&mut self.words().connection);
    }

    /// Changes what is known of the content.
    pub fn set_content(&self, content: ContentInfo) {
        self.words().content = content;
    }

    /// The content in use.
    pub fn content(&self) -> ContentInfo {
        self.words().content.clone()
    }

    /// Says what is seen.
    pub fn set_sight(&self, sight: SightInfo) {
        self.words().sight = sight;
    }

    /// What is seen.
    pub fn sight(&self) -> SightInfo {
        self.words().sight.clone()
    }

    /// Figures of the queue.
    pub fn set_spool(&self, state: SpoolState) {
        self.words().spool = state;
    }

    /// Figures of the queue.
    pub fn spool(&self) -> SpoolState {
        self.words().spool.clone()
    }

    /// Counters of hashing.
    pub fn set_hashes(&self, counts: crate::enrich::hash::HashCounts) {
        self.words().hashes = counts;
    }

    /// The step of degradation.
    pub fn set_step(&self, step: Step) {
        self.step.store(step.number(), Relaxed);
    }

    /// The step of degradation.
    pub fn step(&self) -> Step {
        Step::from_number(self.step.load(Relaxed))
    }

    /// All of it as JSON, with the field names of `mdatp health` where they mean the same.
    pub fn health(&self, facts: &Facts, now: Micros) -> serde_json::Value {
        let mut issues = self.issues();
        let (connection, content, sight, spool, hashes) = {
            let w = self.words();
            (w.connection.clone(), w.content.clone(), w.sight.clone(), w.spool.clone(), w.hashes)
        };
        // Only here: who installed it waits for its eyes before the version before is given up, while for the server a
        // start is no finding.
        if sight.subsystem.is_empty() {
            issues.push("it has just been started and does not see yet".to_owned());
        }
        let content_age = (content.taken > 0).then(|| now.millis_since(Micros(content.taken)) / 60_000);
        serde_json::json!({
            "healthy": issues.is_empty(),
            "health_issues": issues,
            "app_version": env!("CARGO_PKG_VERSION"),
            "edr_client_version": env!("CARGO_PKG_VERSION"),
            "edr_machine_id": facts.device,
            "org_id": facts.tenant,
            "edr_device_tags": facts.tags,
            "log_level": facts.log_level,
            "real_time_protection_available": false,
            "real_time_protection_enabled": false,
            "supplementary_events_subsystem": sight.subsystem,
            "definitions_status": if content.version.is_empty() { "unavailable" } else if content.error.is_empty() { "up_to_date" } else { "update_failed" },
            "definitions_version": content.version,
            "definitions_updated": (content.taken > 0).then(|| garrison_telemetry::json::time_text(Micros(content.taken))),
            "definitions_updated_minutes_ago": content_age,
            "definitions_rules_usable": content.rules_usable,
            "definitions_rules_refused": content.rules_refused,
            "sight_missing": sight.missing,
            "sight_reason": sight.reason,
            "collection_off": self.unwanted(),
            "connection_state": connection.state,
            "connection_server": connection.server,
            "connection_error": connection.error,
            "connection_last": connection.last_connected,
            "certificate_ends": connection.certificate_ends,
            "started": garrison_telemetry::json::time_text(self.started),
            "degradation": self.step().number(),
            "degradation_means": self.step().words(),
            "cpu_permille": self.cpu_permille.load(Relaxed),
            "resident_bytes": self.resident_bytes.load(Relaxed),
            "rows_total": self.rows.load(Relaxed),
            "rows_matched": self.matches.load(Relaxed),
            "processes_known": self.processes.load(Relaxed),
            "queue": spool,
            "hashes": hashes,
        })
    }
}

/// What of health does not change while the sensor runs.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Device id.
    pub device: String,
    /// Tenant.
    pub tenant: String,
    /// Tags claimed.
    pub tags: Vec<String>,
    /// Log level.
    pub log_level: String,
}

/// CPU time of this process so far.
pub fn cpu_time() -> Duration {
    nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| {
        let of = |t: nix::sys::time::TimeVal| {
            Duration::new(u64::try_from(t.tv_sec()).unwrap_or(0), (t.tv_usec() as u32).saturating_mul(1_000))
        };
        of(usage.user_time()) + of(usage.system_time())
    })
}

/// Resident bytes of this process.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|t| t.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()))
        .unwrap_or(0);
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4_096);
    pages.saturating_mul(u64::try_from(page).unwrap_or(4_096))
}

/// The time of day.
pub fn now() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_come_and_go_by_part() {
        let status = Status::new(Micros(0));
        assert_eq!(status.health(&Facts::default(), Micros(1))["healthy"], false, "it does not see yet");
        assert!(status.issues().is_empty(), "which is no finding for the server");
        status.set_sight(SightInfo { subsystem: "none".to_owned(), ..SightInfo::default() });
        assert!(status.issue("uplink", Some("down".into())));
        assert!(!status.issue("uplink", Some("down".into())), "nothing new");
        assert_eq!(status.health(&Facts::default(), Micros(1))["healthy"], false);
        assert!(status.issue("uplink", None));
        assert_eq!(status.health(&Facts::default(), Micros(1))["healthy"], true);
    }
}
