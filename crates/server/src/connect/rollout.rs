//! Upgrades by ring: who gets a new version of the sensor when, and when a roll-out stops by itself; pure functions.
//!
//! A roll-out brings one version first to the machines of the ring `early`, then, when all of them are well and a stated
//! time went by, to those of `broad`; machines that are `pinned` keep what they have. In each ring only a share of the
//! machines is upgraded at once, so that a bad version meets few before the roll-out stops. What a machine says after
//! its upgrade is the gate: the connector has brought the version before back already where the new one was ill.

use garrison_model::{MachineId, Micros, Tags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The tag that names a machine's ring: `early`, `broad` or `pinned`; without it, `broad`.
pub const RING_TAG: &str = "garrison-ring";
/// Fewer machines than this are counted as this many: one failure of one is no share.
const SAMPLE_MIN: u64 = 10;
const MINUTE: i64 = 60 * 1_000_000;

/// A ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Ring {
    /// First.
    Early,
    /// When the first are well.
    Broad,
    /// Never, by a roll-out.
    Pinned,
}

impl Ring {
    /// The ring of a machine by its tags; a word that is none is `broad`.
    pub fn of(tags: &Tags) -> Self {
        let found = tags.iter().find(|(name, _)| name.eq_ignore_ascii_case(RING_TAG));
        match found.map(|(_, value)| value.to_ascii_lowercase()).as_deref() {
            Some("early") => Ring::Early,
            Some("pinned") => Ring::Pinned,
            _ => Ring::Broad,
        }
    }

    /// The spelling in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Ring::Early => "Early",
            Ring::Broad => "Broad",
            Ring::Pinned => "Pinned",
        }
    }

    /// Reads the spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [Ring::Early, Ring::Broad, Ring::Pinned].into_iter().find(|r| r.as_str() == text)
    }
}

/// Where a roll-out stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum RolloutState {
    /// It goes on by itself.
    Running,
    /// A person holds it; it can be resumed.
    Paused,
    /// It ended before its end: by itself, by a person, or because another one began.
    Stopped,
    /// The version is the one that every machine gets, but for those that are pinned.
    Done,
}

impl RolloutState {
    /// All, with their spelling.
    const ALL: [(RolloutState, &'static str); 4] = [
        (RolloutState::Running, "Running"),
        (RolloutState::Paused, "Paused"),
        (RolloutState::Stopped, "Stopped"),
        (RolloutState::Done, "Done"),
    ];

    /// The spelling in the database.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("Stopped", |(_, word)| word)
    }

    /// Reads the spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, word)| *word == text).map(|(state, _)| *state)
    }
}

/// What a roll-out is steered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// It stops when more than this share of the upgraded machines, in percent, is ill; 0 stops at the first.
    pub failure_percent: u32,
    /// Machines of a ring that are upgraded at once, in percent; at least one.
    pub at_once_percent: u32,
    /// Minutes between the last machine of `early` and the first of `broad`.
    pub soak_minutes: u32,
}

/// What moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// State.
    pub state: RolloutState,
    /// The ring that is upgraded now.
    pub ring: Ring,
    /// Since when nothing is left to do in the ring.
    pub idle_since: Option<Micros>,
}

/// How a machine stands towards the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seat {
    /// It has another version, and waits.
    Waiting,
    /// It has the order.
    Working,
    /// It has the version and is well.
    Well,
    /// It tried the version and failed, or is ill with it.
    Ill,
    /// It is not connected: nobody waits for it.
    Away,
}

/// Machines of a ring by seat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// With another version, waiting.
    pub waiting: u64,
    /// With the order.
    pub working: u64,
    /// With the version, well.
    pub well: u64,
    /// Failed, or ill.
    pub ill: u64,
    /// Not connected.
    pub away: u64,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, seat: Seat) {
        let field = match seat {
            Seat::Waiting => &mut self.waiting,
            Seat::Working => &mut self.working,
            Seat::Well => &mut self.well,
            Seat::Ill => &mut self.ill,
            Seat::Away => &mut self.away,
        };
        *field = field.saturating_add(1);
    }

    fn tried(&self) -> u64 {
        self.well.saturating_add(self.ill)
    }

    fn total(&self) -> u64 {
        [self.waiting, self.working, self.well, self.ill, self.away].iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    fn is_over(&self) -> bool {
        self.waiting == 0 && self.working == 0
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Where the roll-out stands from now on.
    pub progress: Progress,
    /// Why it stopped, where it just did.
    pub reason: Option<String>,
    /// How many more machines of the ring may begin now.
    pub begin: u64,
}

/// Decides what comes next from how the machines of both rings stand.
pub fn decide(gate: Gate, now_is: Progress, early: &Counts, broad: &Counts, now: Micros) -> Decision {
    let stay = |progress| Decision { progress, reason: None, begin: 0 };
    if matches!(now_is.state, RolloutState::Stopped | RolloutState::Done) {
        return stay(now_is);
    }
    let ill = early.ill.saturating_add(broad.ill);
    let tried = early.tried().saturating_add(broad.tried());
    // Held too while it is paused: what is on its way may still fail, and a resumed roll-out must not go on then.
    if ill.saturating_mul(100) > u64::from(gate.failure_percent).saturating_mul(tried.max(SAMPLE_MIN)) {
        let percent = gate.failure_percent;
        let reason =
            format!("{ill} of {tried} upgraded machines are ill, more than {percent} % of at least {SAMPLE_MIN}");
        let progress = Progress { state: RolloutState::Stopped, ..now_is };
        return Decision { progress, reason: Some(reason), begin: 0 };
    }
    if now_is.state == RolloutState::Paused {
        return stay(now_is);
    }
    let (counts, soak) = match now_is.ring {
        Ring::Early => (early, i64::from(gate.soak_minutes).saturating_mul(MINUTE)),
        Ring::Broad | Ring::Pinned => (broad, 0),
    };
    if !counts.is_over() {
        let share = counts.total().saturating_mul(u64::from(gate.at_once_percent)).div_ceil(100).max(1);
        let begin = share.saturating_sub(counts.working).min(counts.waiting);
        return Decision { progress: Progress { idle_since: None, ..now_is }, reason: None, begin };
    }
    // A time that lies ahead was written before the clock was set back: the wait begins anew.
    let since = now_is.idle_since.filter(|since| since.0 <= now.0).unwrap_or(now);
    // A ring without machines has nothing to prove.
    let soak = if counts.tried() == 0 { 0 } else { soak };
    if now.0.saturating_sub(since.0) < soak {
        return stay(Progress { idle_since: Some(since), ..now_is });
    }
    stay(match now_is.ring {
        Ring::Early => Progress { ring: Ring::Broad, idle_since: None, ..now_is },
        Ring::Broad | Ring::Pinned => Progress { state: RolloutState::Done, idle_since: Some(since), ..now_is },
    })
}

/// Which of the waiting machines begin: the same ones in the same order, on whichever server it is asked.
pub fn chosen(waiting: &BTreeSet<MachineId>, begin: u64) -> BTreeSet<MachineId> {
    waiting.iter().take(usize::try_from(begin).unwrap_or(usize::MAX)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gate(failure_percent: u32, at_once_percent: u32, soak_minutes: u32) -> Gate {
        Gate { failure_percent, at_once_percent, soak_minutes }
    }

    const BEGUN: Progress = Progress { state: RolloutState::Running, ring: Ring::Early, idle_since: None };

    #[test]
    fn the_ring_is_the_machines_tag() {
        for (value, ring) in [("early", Ring::Early), ("PINNED", Ring::Pinned), ("x", Ring::Broad)] {
            let tags = Tags::from([(RING_TAG.to_owned(), value.to_owned())]);
            assert_eq!(Ring::of(&tags), ring);
        }
        assert_eq!(Ring::of(&Tags::new()), Ring::Broad);
    }

    #[test]
    fn it_stops_at_the_stated_share_and_not_before() {
        let early = |well, ill| Counts { waiting: 50, well, ill, ..Counts::default() };
        for (percent, well, ill, stops) in [
            (0, 100, 0, false),
            (0, 0, 1, true),
            (10, 0, 1, false),
            (10, 0, 2, true),
            (10, 90, 10, false),
            (10, 89, 11, true),
            (100, 0, 50, false),
        ] {
            let decided = decide(gate(percent, 10, 0), BEGUN, &early(well, ill), &Counts::default(), Micros(0));
            let stopped = decided.progress.state == RolloutState::Stopped;
            assert_eq!((stopped, decided.reason.is_some()), (stops, stops), "{percent} {well} {ill}");
            assert!(!stops || decided.begin == 0);
        }
    }

    #[test]
    fn the_second_ring_waits_for_the_first_and_for_the_stated_time_on_any_clock() {
        let well = Counts { well: 5, away: 3, ..Counts::default() };
        let waits = Counts { waiting: 100, ..Counts::default() };
        let g = gate(10, 10, 60);
        let at = |minutes: i64| Micros(minutes * MINUTE);
        let first = decide(g, BEGUN, &well, &waits, at(1_000)).progress;
        assert_eq!((first.ring, first.idle_since), (Ring::Early, Some(at(1_000))));
        assert_eq!(decide(g, first, &well, &waits, at(1_059)).progress, first);
        // Set back, the clock makes it wait the whole time anew, and no longer.
        let back = decide(g, first, &well, &waits, at(10)).progress;
        assert_eq!((back.ring, back.idle_since), (Ring::Early, Some(at(10))));
        assert_eq!(decide(g, back, &well, &waits, at(70)).progress.ring, Ring::Broad);
        let broad = decide(g, first, &well, &waits, at(1_060)).progress;
        assert_eq!(broad.ring, Ring::Broad);
        assert_eq!(decide(g, broad, &well, &waits, at(1_061)).begin, 10);
        let all = Counts { well: 100, ..Counts::default() };
        assert_eq!(decide(g, broad, &well, &all, at(1_062)).progress.state, RolloutState::Done);
    }

    /// Machines that are well or ill with the version, in two rings, and a roll-out over them.
    fn play(g: Gate, early: &[bool], broad: &[bool], order: &[u8]) -> (Progress, u64, u64) {
        let mut seats = [vec![Seat::Waiting; early.len()], vec![Seat::Waiting; broad.len()]];
        let fate = [early, broad];
        let (mut progress, mut now, mut turn, mut at_once) = (BEGUN, Micros(0), 0_usize, 0);
        for round in 0..4 * (early.len() + broad.len()) + 50 {
            let mut counts = [Counts::default(); 2];
            for (ring, seats) in seats.iter().enumerate() {
                seats.iter().for_each(|s| counts[ring].add(*s));
            }
            let decided = decide(g, progress, &counts[0], &counts[1], now);
            // Nothing begins in the second ring while the first is not over.
            assert!(decided.begin == 0 || progress.ring == Ring::Early || counts[0].is_over());
            progress = decided.progress;
            let ring = usize::from(progress.ring != Ring::Early);
            let mut begin = decided.begin;
            for seat in seats[ring].iter_mut().filter(|s| **s == Seat::Waiting) {
                if begin == 0 {
                    break;
                }
                (*seat, begin) = (Seat::Working, begin - 1);
            }
            let working = seats[ring].iter().filter(|s| **s == Seat::Working).count() as u64;
            at_once = at_once.max(working);
            // Some of those that work have an answer.
            for (at, seat) in seats[ring].iter_mut().enumerate() {
                turn += 1;
                let answers = order.is_empty() || order[turn % order.len()].is_multiple_of(2) || round % 3 == 0;
                if *seat == Seat::Working && answers {
                    *seat = if fate[ring][at] { Seat::Well } else { Seat::Ill };
                }
            }
            now.0 += 61 * MINUTE;
        }
        let touched = seats.iter().flatten().filter(|s| **s != Seat::Waiting).count() as u64;
        (progress, touched, at_once)
    }

    proptest! {
        #[test]
        fn a_good_version_reaches_every_machine(
            early in 0_usize..30, broad in 0_usize..120, percent in 0_u32..100, at_once in 0_u32..100,
            order in proptest::collection::vec(any::<u8>(), 0..20)
        ) {
            let (progress, touched, most) =
                play(gate(percent, at_once, 60), &vec![true; early], &vec![true; broad], &order);
            prop_assert_eq!(progress.state, RolloutState::Done);
            prop_assert_eq!(touched, (early + broad) as u64);
            let share = |n: usize| (n as u64 * u64::from(at_once)).div_ceil(100).max(1);
            prop_assert!(most <= share(early).max(share(broad)));
        }

        #[test]
        fn a_bad_version_reaches_few_and_stops(
            early in 0_usize..200, broad in 1_usize..400, percent in 0_u32..100, at_once in 1_u32..20,
            order in proptest::collection::vec(any::<u8>(), 0..20)
        ) {
            let (progress, touched, _) =
                play(gate(percent, at_once, 0), &vec![false; early], &vec![false; broad], &order);
            // As many as the share allows of the smallest sample, one more, and those that had begun.
            let share = |n: usize| (n as u64 * u64::from(at_once)).div_ceil(100).max(1);
            let allowed = u64::from(percent) * SAMPLE_MIN / 100 + 1 + share(early) + share(broad);
            prop_assert!(touched <= allowed, "{touched} > {allowed}");
            if early + broad > 10 {
                prop_assert_eq!(progress.state, RolloutState::Stopped);
            }
        }

        #[test]
        fn what_is_over_stays_over(
            state in prop_oneof![Just(RolloutState::Stopped), Just(RolloutState::Done)],
            waiting in 0_u64..50, ill in 0_u64..50, now in any::<i64>()
        ) {
            let over = Progress { state, ..BEGUN };
            let counts = Counts { waiting, ill, ..Counts::default() };
            let decided = decide(gate(10, 10, 10), over, &counts, &counts, Micros(now));
            prop_assert_eq!((decided.progress, decided.begin), (over, 0));
        }
    }
}
