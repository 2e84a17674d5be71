//! How much of the machine the sensor takes, and what it stops doing to take less.
//!
//! The steps are announced: each is in the log, in `health` and in every heartbeat. A step up is taken after
//! [`UP_AFTER`] over the limit, a step down after [`DOWN_AFTER`] well below it, so that the sensor does not swing.
//! Pure: measurements and `now` come in, the step comes out.

use std::time::Duration;

/// How long the limit must be exceeded before work is shed: longer than the burst of a package installation's start.
pub const UP_AFTER: Duration = Duration::from_secs(5);
/// How long use must be below [`DOWN_SHARE_PERMILLE`] of the limit before work is taken up again.
pub const DOWN_AFTER: Duration = Duration::from_secs(30);
/// Thousandths of the limit below which work is taken up again.
pub const DOWN_SHARE_PERMILLE: u64 = 700;

/// What is not done any more; each step includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// All work is done.
    Full,
    /// Files are no longer hashed (hashes already known are still given).
    NoHashes,
    /// Libraries, and file events that are neither executable nor sensitive, are dropped.
    NoBulk,
    /// Of connections, datagrams and name look-ups one in eight is kept; process ends are dropped.
    Sampled,
}

impl Step {
    /// All, in order.
    pub const ALL: [Step; 4] = [Step::Full, Step::NoHashes, Step::NoBulk, Step::Sampled];

    /// The number in heartbeats.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The step of a number; higher ones are the last.
    pub fn from_number(number: u32) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(Step::Sampled)
    }

    /// In words, for health and log.
    pub fn words(self) -> &'static str {
        match self {
            Self::Full => "all work is done",
            Self::NoHashes => "files are not hashed",
            Self::NoBulk => "files are not hashed, library loads and ordinary file events are dropped",
            Self::Sampled => {
                "files are not hashed, library loads, ordinary file events and process ends are dropped, one in eight network events is kept"
            }
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time since the last measurement, thousandths of one core.
    pub cpu_permille: u32,
    /// Resident bytes.
    pub resident_bytes: u64,
}

/// The limits, and where the sensor stands.
#[derive(Debug, Clone)]
pub struct Budget {
    cpu_permille_max: u32,
    memory_bytes_max: u64,
    step: Step,
    over_since: Option<Duration>,
    under_since: Option<Duration>,
}

impl Budget {
    /// Starts with all work.
    pub fn new(cpu_permille_max: u32, memory_bytes_max: u64) -> Self {
        Self { cpu_permille_max, memory_bytes_max, step: Step::Full, over_since: None, under_since: None }
    }

    /// Where it stands.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Takes a measurement at `now` (any monotonic time); the new step if it changed.
    pub fn measure(&mut self, usage: Usage, now: Duration) -> Option<Step> {
        let permille = |used: u64, max: u64| used.saturating_mul(1_000) / max.max(1);
        let share = permille(u64::from(usage.cpu_permille), u64::from(self.cpu_permille_max))
            .max(permille(usage.resident_bytes, self.memory_bytes_max));
        let held = |since: &mut Option<Duration>, now: Duration| now.saturating_sub(*since.get_or_insert(now));
        let before = self.step;
        if share > 1_000 {
            self.under_since = None;
            if held(&mut self.over_since, now) >= UP_AFTER {
                self.step = Step::from_number(self.step.number() + 1);
                self.over_since = Some(now);
            }
        } else if share < DOWN_SHARE_PERMILLE {
            self.over_since = None;
            if held(&mut self.under_since, now) >= DOWN_AFTER {
                self.step = Step::from_number(self.step.number().saturating_sub(1));
                self.under_since = Some(now);
            }
        } else {
            self.over_since = None;
            self.under_since = None;
        }
        (self.step != before).then_some(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(permille: u32) -> Usage {
        Usage { cpu_permille: permille, resident_bytes: 0 }
    }

    #[test]
    fn work_is_shed_one_step_at_a_time_and_taken_up_again_later() {
        let mut budget = Budget::new(100, 1 << 30);
        let at = Duration::from_secs;
        assert_eq!(budget.measure(cpu(150), at(0)), None);
        assert_eq!(budget.measure(cpu(150), at(4)), None);
        assert_eq!(budget.measure(cpu(150), at(5)), Some(Step::NoHashes));
        assert_eq!(budget.measure(cpu(150), at(9)), None);
        assert_eq!(budget.measure(cpu(150), at(10)), Some(Step::NoBulk));
        assert_eq!(budget.measure(cpu(80), at(60)), None, "between the marks nothing changes");
        assert_eq!(budget.measure(cpu(10), at(61)), None);
        assert_eq!(budget.measure(cpu(10), at(90)), None);
        assert_eq!(budget.measure(cpu(10), at(91)), Some(Step::NoHashes));
        assert_eq!(budget.measure(cpu(10), at(121)), Some(Step::Full));
        assert_eq!(budget.measure(cpu(10), at(151)), None);
    }

    #[test]
    fn a_short_burst_changes_nothing_and_memory_counts_too() {
        let mut budget = Budget::new(100, 1_000);
        for second in 0..100 {
            let usage = if second % 5 < 3 { cpu(900) } else { cpu(50) };
            assert_eq!(budget.measure(usage, Duration::from_secs(second)), None);
        }
        let full = Usage { cpu_permille: 0, resident_bytes: 2_000 };
        for second in 100..200 {
            budget.measure(full, Duration::from_secs(second));
        }
        assert_eq!(budget.step(), Step::Sampled);
    }
}
