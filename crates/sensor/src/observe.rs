//! Seeing what happens on this machine.
//!
//! [`Observer::start`] loads what the kernel lets it load, names what it cannot see, and hands [`Observation`]s to
//! whoever calls [`Observer::poll`]: one thread, no queue in between, since the ring buffer in the kernel is the queue.
//! This room never writes to the system it watches, never makes hunting-table rows, and never keeps a process table:
//! it says what the kernel said, once, in order. docs/internals/observe.md has the bytes and the reasons.

pub mod backfill;
pub mod calls;
pub mod clock;
pub mod dns;
pub mod event;
pub mod fallback;
pub mod kernel;
pub mod logons;
pub mod path;
pub mod policy;
pub mod record;
pub mod ring;

pub use event::*;
pub use policy::{Classifier, ObservePolicy, PolicyProblem};

use backfill::Backfill;
use fallback::Fallback;
use kernel::{Kernel, KernelSettings};
use logons::Logons;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Which eye to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObserveMode {
    /// eBPF if the kernel lets us, else the fallback, else /proc alone.
    #[default]
    Auto,
    /// The fallback even where eBPF would work.
    Fallback,
    /// /proc and logs alone.
    Polling,
}

/// How to observe; the defaults are right for a server.
#[derive(Debug, Clone, Copy)]
pub struct ObserveSettings {
    /// Which eye.
    pub mode: ObserveMode,
    /// Size of the kernel's ring buffer, rounded up to a power of two between 256 KiB and 256 MiB. 8 MiB hold about a
    /// second of the fiercest exec storm that two CPUs can make.
    pub ring_bytes: u32,
    /// Most file and UDP events a second of one process; more are counted.
    pub rate_max: u32,
    /// Whether to tell what ran before the start.
    pub backfill: bool,
    /// Pretend that the kernel refuses these programs (tests).
    pub refuse: &'static [&'static str],
}

impl Default for ObserveSettings {
    fn default() -> Self {
        Self { mode: ObserveMode::Auto, ring_bytes: 8 << 20, rate_max: 500, backfill: true, refuse: &[] }
    }
}

/// Which eye is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subsystem {
    /// Programs in the kernel.
    Ebpf,
    /// Process connector, fanotify, sock_diag, /proc.
    Fallback,
    /// /proc alone: no root.
    Polling,
}

impl Subsystem {
    /// As `health` and the server spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Subsystem::Ebpf => "ebpf",
            Subsystem::Fallback => "fallback",
            Subsystem::Polling => "none",
        }
    }
}

/// What is seen and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Which eye.
    pub subsystem: Subsystem,
    /// Names of what cannot be seen, such as "no DNS answers".
    pub missing: Vec<String>,
    /// Why it is not a better eye; empty for eBPF.
    pub reason: String,
}

/// Exact counts of what was not told, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Events numbered by the kernel side (told + lost), 0 for the fallback.
    pub numbered: u64,
    /// Events taken from the ring.
    pub received: u64,
    /// The ring was full.
    pub ring_full: u64,
    /// One process did too much of it within a second.
    pub rate_capped: u64,
    /// Records that did not hold together.
    pub bad_records: u64,
    /// Times that a queue of the fallback ran over (how many were lost in it nobody knows).
    pub queue_overruns: u64,
}

/// Records taken in one round, so that the caller gets its turn under a storm: about 10 ms of work.
const RECORDS_A_POLL: usize = 4096;
/// Longest sleep in one poll: bounds the delay of an event, since writers rarely wake the reader.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// How often watched folders are looked up again, and logs read.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
const LOGONS_EVERY: Duration = Duration::from_millis(250);

enum Eye {
    Kernel(Box<Kernel>),
    Fallback(Box<Fallback>),
}

/// The observer.
pub struct Observer {
    eye: Eye,
    sight: Sight,
    classifier: Classifier,
    problems: Vec<PolicyProblem>,
    backfill: Option<Backfill>,
    logons: Option<Logons>,
    refreshed: Instant,
    logons_read: Option<Instant>,
}

impl Observer {
    /// Starts to look. Never fails: what cannot be seen is named in [`Observer::sight`].
    pub fn start(policy: &ObservePolicy, settings: &ObserveSettings) -> Self {
        let (classifier, problems) = Classifier::new(policy);
        let ring_bytes = settings.ring_bytes.clamp(256 << 10, 256 << 20).next_power_of_two();
        let kernel_settings =
            KernelSettings { ring_bytes, rate_max: settings.rate_max.max(1), refuse: settings.refuse };
        let (eye, mut sight) = match settings.mode {
            ObserveMode::Auto => match Kernel::start(kernel_settings, &classifier, &protected(policy)) {
                Ok(kernel) => {
                    let missing = kernel.missing().to_vec();
                    let sight = Sight { subsystem: Subsystem::Ebpf, missing, reason: String::new() };
                    (Eye::Kernel(Box::new(kernel)), sight)
                }
                Err(error) => fall_back(&classifier, true, chain(&error)),
            },
            ObserveMode::Fallback => fall_back(&classifier, true, "asked for by the settings".to_owned()),
            ObserveMode::Polling => fall_back(&classifier, false, "asked for by the settings".to_owned()),
        };
        let logons = policy.logons.then(Logons::start);
        sight.missing.extend(logons.iter().flat_map(Logons::missing));
        Self {
            eye,
            sight,
            classifier,
            problems,
            // After the eye is open, so that nothing falls between; a process may be told twice, with one key.
            backfill: settings.backfill.then(Backfill::start),
            logons,
            refreshed: Instant::now(),
            logons_read: None,
        }
    }

    /// Hands out what was seen, sleeping at most `timeout` (and 50 ms) if there is nothing. Returns how many were
    /// looked at. Call it again at once while it returns something.
    pub fn poll(&mut self, timeout: Duration, sink: &mut dyn FnMut(Observation)) -> usize {
        let mut count = 0;
        if let Some(backfill) = &mut self.backfill {
            count += backfill.next(sink);
            if backfill.is_done() {
                self.backfill = None;
            }
        }
        if self.logons_read.is_none_or(|at| at.elapsed() >= LOGONS_EVERY) {
            self.logons_read = Some(Instant::now());
            if let Some(logons) = &mut self.logons {
                count += logons.poll(sink);
            }
        }
        let sleep = if count > 0 { Duration::ZERO } else { timeout.min(SLEEP_MAX) };
        count += match &mut self.eye {
            Eye::Kernel(kernel) => {
                if self.refreshed.elapsed() >= REFRESH_EVERY {
                    self.refreshed = Instant::now();
                    if let Err(error) = kernel.folders_refresh(&self.classifier) {
                        tracing::warn!(%error, "watched folders could not be looked up again");
                    }
                }
                let mut read = kernel.read(RECORDS_A_POLL, &self.classifier, sink);
                if read == 0 && !sleep.is_zero() {
                    kernel.wait(sleep);
                    read = kernel.read(RECORDS_A_POLL, &self.classifier, sink);
                }
                read
            }
            Eye::Fallback(fallback) => fallback.poll(sleep, &self.classifier, sink),
        };
        count
    }

    /// What is seen and what is not.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Entries of the policy that are left out.
    pub fn problems(&self) -> &[PolicyProblem] {
        &self.problems
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        match &self.eye {
            Eye::Kernel(kernel) => {
                let k = kernel.losses();
                Losses {
                    numbered: k.numbered,
                    received: k.received,
                    ring_full: k.ring_full,
                    rate_capped: k.rate_capped,
                    bad_records: k.bad_records,
                    queue_overruns: 0,
                }
            }
            Eye::Fallback(fallback) => Losses { queue_overruns: fallback.overruns(), ..Losses::default() },
        }
    }

    /// Takes a new policy, at once and without a gap.
    pub fn apply(&mut self, policy: &ObservePolicy) {
        (self.classifier, self.problems) = Classifier::new(policy);
        match &mut self.eye {
            Eye::Kernel(kernel) => {
                if let Err(error) = kernel.apply(&self.classifier, &protected(policy)) {
                    tracing::warn!(%error, "the new observation policy was taken in part only");
                }
            }
            Eye::Fallback(fallback) => fallback.apply(&self.classifier),
        }
        match (policy.logons, &self.logons) {
            (true, None) => self.logons = Some(Logons::start()),
            (false, Some(_)) => self.logons = None,
            _ => {}
        }
    }
}

fn fall_back(classifier: &Classifier, as_root: bool, reason: String) -> (Eye, Sight) {
    let fallback = Fallback::start(classifier, as_root);
    let subsystem = if fallback.has_events() { Subsystem::Fallback } else { Subsystem::Polling };
    let sight = Sight { subsystem, missing: fallback.missing().to_vec(), reason };
    (Eye::Fallback(Box::new(fallback)), sight)
}

fn protected(policy: &ObservePolicy) -> Vec<u32> {
    let mut pids = policy.protected_pids.clone();
    pids.push(std::process::id());
    pids.truncate(policy::LIST_MAX);
    pids
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
