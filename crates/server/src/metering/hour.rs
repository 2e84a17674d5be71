//! What an hour costs whom: pure, on any clock.
//!
//! Every minute, each machine is marked with the state, plan and subscription that hold in it. An hour of a machine is
//! billed once if any of its minutes was billable; its first billable minute says to which subscription and plan, so
//! that a change of plan and a move are billed from the next hour on. Marks are a set: repeating one changes nothing.

use garrison_model::{ConnectionState, MachineKind, Plan, PowerState};

/// Microseconds of a minute.
pub const MINUTE: i64 = 60_000_000;
/// Microseconds of an hour.
pub const HOUR: i64 = 60 * MINUTE;

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $word:literal $billed:literal),+ $(,)?) => {
        /// The states that a machine can be metered in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MeteredState { $($(#[$doc])* $name),+ }

        impl MeteredState {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As it is stored.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// Whether it is billed where a plan is on.
            pub fn is_billed(self) -> bool {
                match self { $(Self::$name => $billed),+ }
            }
        }
    };
}

states!(
    /// A cloud machine comes up.
    CloudStarting = "CloudStarting" false,
    /// It runs.
    CloudRunning = "CloudRunning" true,
    /// It goes down.
    CloudStopping = "CloudStopping" true,
    /// Shut down from inside: its hardware is reserved still.
    CloudStopped = "CloudStopped" true,
    /// Its hardware is being given back.
    CloudDeallocating = "CloudDeallocating" false,
    /// Its hardware is given back.
    CloudDeallocated = "CloudDeallocated" false,
    /// A connector that has not been heard of yet.
    HybridConnecting = "HybridConnecting" false,
    /// One that is heard of.
    HybridConnected = "HybridConnected" true,
    /// One that is silent.
    HybridDisconnected = "HybridDisconnected" false,
    /// One that is silent for long.
    HybridExpired = "HybridExpired" false,
    /// A machine known by its sensor alone, which is connected.
    DirectConnected = "DirectConnected" true,
);

impl MeteredState {
    /// Reads what is stored.
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == text)
    }
}

/// The state of a machine; `None` where nothing is known that could be metered (a cloud that was not asked, a sensor
/// that is not connected).
pub fn state(
    kind: MachineKind,
    power: Option<PowerState>,
    connection: ConnectionState,
    sensor_connected: bool,
) -> Option<MeteredState> {
    use MeteredState as S;
    match kind {
        MachineKind::Cloud => power.map(|power| match power {
            PowerState::Starting => S::CloudStarting,
            PowerState::Running => S::CloudRunning,
            PowerState::Stopping => S::CloudStopping,
            PowerState::Stopped => S::CloudStopped,
            PowerState::Deallocating => S::CloudDeallocating,
            PowerState::Deallocated => S::CloudDeallocated,
        }),
        MachineKind::Hybrid => Some(match connection {
            ConnectionState::Connecting => S::HybridConnecting,
            ConnectionState::Connected => S::HybridConnected,
            ConnectionState::Disconnected => S::HybridDisconnected,
            ConnectionState::Expired => S::HybridExpired,
        }),
        MachineKind::Direct => sensor_connected.then_some(S::DirectConnected),
    }
}

/// Minutes of one hour in which a machine was in one state, under one plan, in one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// State.
    pub state: MeteredState,
    /// Plan in force.
    pub plan: Plan,
    /// Subscription.
    pub subscription: String,
    /// Whether the subscription's trial ran.
    pub trial: bool,
    /// Minute `n` of the hour is bit `n`.
    pub minutes: i64,
}

/// What an hour of a machine is billed as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Subscription.
    pub subscription: String,
    /// Plan.
    pub plan: Plan,
    /// State in the first billable minute.
    pub state: MeteredState,
    /// Whether it costs nothing.
    pub trial: bool,
    /// Billable minutes, for people; the hour is one whatever they are.
    pub minutes: i64,
}

/// Hour (counted from 1970) and the bit of the minute in it.
pub fn minute(now: i64) -> (i64, i64) {
    let bit = now.rem_euclid(HOUR) / MINUTE;
    (now.div_euclid(HOUR), 1 << bit.clamp(0, 59))
}

/// What an hour of one machine is billed as, of all its marks in any order.
pub fn settle(marks: &[Mark]) -> Option<Charge> {
    let billable = |m: &&Mark| m.state.is_billed() && m.plan != Plan::Off && m.minutes & FULL != 0;
    let all = marks.iter().filter(billable).fold(0, |all, m| all | m.minutes & FULL);
    // Two marks with one first minute come of a change within that minute: the greater plan was on in it.
    let first = marks.iter().filter(billable).min_by_key(|m| {
        ((m.minutes & FULL).trailing_zeros(), std::cmp::Reverse(m.plan), m.trial, m.subscription.clone(), m.state)
    })?;
    Some(Charge {
        subscription: first.subscription.clone(),
        plan: first.plan,
        state: first.state,
        trial: first.trial,
        minutes: i64::from(all.count_ones()),
    })
}

/// The sixty minutes of an hour.
const FULL: i64 = (1 << 60) - 1;

/// How far wall clock and steady clock may part between two looks before what the wall clock says is not believed.
pub const STEP_MAX: i64 = 10 * MINUTE;

/// Whether the wall clock was set between two looks, so that this look marks nothing. Times in microseconds.
pub fn stepped(wall_before: i64, wall: i64, steady_between: i64) -> bool {
    let moved = wall.saturating_sub(wall_before);
    moved.saturating_sub(steady_between).saturating_abs() > STEP_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_eleven_states_are_billed_as_the_table_says() {
        use MachineKind as K;
        use PowerState as P;
        let connected = ConnectionState::Connected;
        assert_eq!(MeteredState::ALL.len(), 11);
        for (kind, power, connection, sensor, name, billed) in [
            (K::Cloud, Some(P::Starting), connected, true, "CloudStarting", false),
            (K::Cloud, Some(P::Running), connected, false, "CloudRunning", true),
            (K::Cloud, Some(P::Stopping), connected, false, "CloudStopping", true),
            (K::Cloud, Some(P::Stopped), ConnectionState::Expired, false, "CloudStopped", true),
            (K::Cloud, Some(P::Deallocating), connected, true, "CloudDeallocating", false),
            (K::Cloud, Some(P::Deallocated), connected, true, "CloudDeallocated", false),
            (K::Hybrid, None, ConnectionState::Connecting, true, "HybridConnecting", false),
            (K::Hybrid, Some(P::Deallocated), connected, false, "HybridConnected", true),
            (K::Hybrid, Some(P::Running), ConnectionState::Disconnected, true, "HybridDisconnected", false),
            (K::Hybrid, None, ConnectionState::Expired, true, "HybridExpired", false),
            (K::Direct, None, ConnectionState::Connecting, true, "DirectConnected", true),
        ] {
            let got = state(kind, power, connection, sensor).unwrap();
            assert_eq!((got.as_str(), got.is_billed()), (name, billed));
            assert_eq!(MeteredState::read(name), Some(got));
        }
        assert_eq!(state(K::Cloud, None, connected, true), None);
        assert_eq!(state(K::Direct, Some(P::Running), connected, false), None);
    }

    #[test]
    fn the_clock_may_drift_but_not_jump() {
        for (before, wall, steady, jumped) in [
            (0, MINUTE, MINUTE, false),
            (0, 5 * MINUTE, MINUTE, false),
            (0, 365 * 24 * HOUR, MINUTE, true),
            (24 * HOUR, 0, MINUTE, true),
            (0, 24 * HOUR, 24 * HOUR, false),
            (i64::MIN, i64::MAX, 0, true),
        ] {
            assert_eq!(stepped(before, wall, steady), jumped, "{before} {wall} {steady}");
        }
    }

    fn mark() -> impl Strategy<Value = Mark> {
        (
            prop::sample::select(MeteredState::ALL),
            prop::sample::select(Plan::ALL),
            "[ab]",
            any::<bool>(),
            prop_oneof![Just(0), any::<i64>(), (0..60).prop_map(|m| 1_i64 << m)],
        )
            .prop_map(|(state, plan, subscription, trial, minutes)| Mark {
                state,
                plan,
                subscription,
                trial,
                minutes,
            })
    }

    proptest! {
        #[test]
        fn an_hour_is_billed_if_and_only_if_a_minute_was_billable(marks in prop::collection::vec(mark(), 0..8)) {
            let any = marks.iter().any(|m| m.state.is_billed() && m.plan != Plan::Off && m.minutes & FULL != 0);
            prop_assert_eq!(settle(&marks).is_some(), any);
            if let Some(charge) = settle(&marks) {
                prop_assert!(charge.state.is_billed() && charge.plan != Plan::Off);
                prop_assert!((1..=60).contains(&charge.minutes));
            }
        }

        #[test]
        fn order_and_repetition_make_no_difference(marks in prop::collection::vec(mark(), 0..8), turn in 0_usize..8) {
            let mut other = marks.clone();
            other.reverse();
            let by = turn.min(other.len());
            other.rotate_left(by);
            other.extend(marks.clone());
            prop_assert_eq!(settle(&marks), settle(&other));
        }

        #[test]
        fn what_is_not_billable_changes_nothing(marks in prop::collection::vec(mark(), 0..8), other in mark()) {
            let mut with = marks.clone();
            with.push(Mark { plan: Plan::Off, ..other.clone() });
            with.push(Mark { state: MeteredState::CloudDeallocated, ..other });
            prop_assert_eq!(settle(&with), settle(&marks));
        }

        #[test]
        fn every_moment_lies_in_one_minute_of_its_hour(now in any::<i64>()) {
            let (hour, bit) = minute(now);
            prop_assert_eq!(bit.count_ones(), 1);
            prop_assert!(bit & FULL != 0);
            let from = i128::from(hour) * i128::from(HOUR) + i128::from(bit.trailing_zeros()) * i128::from(MINUTE);
            prop_assert!((from..from + i128::from(MINUTE)).contains(&i128::from(now)));
        }
    }
}
