//! Which windows of which rules are due: a pure decision.
//!
//! A rule looks at windows of *event time*, one after another: each ends one frequency after the one before and reaches
//! back by the rule's look-back, so that rows that come late are still seen. The end of the last window that was dealt
//! with is the rule's watermark; it is written in the transaction that records the run. What is due follows from the
//! watermark alone, so a restart forgets nothing and repeats nothing.
//!
//! **Two clocks must agree that a window is over:** the wall clock, and event time (the newest row seen). When the wall
//! clock is stepped ahead, event time holds the windows back, so none is run before its rows can be there; when it is
//! stepped back, the watermark waits for it. A window that is over is run once, whatever the clocks did.

use super::definition::Frequency;

/// Windows further back than this are passed over: their rows may be gone. The history says so.
pub const CATCH_UP_MAX: i64 = 30 * 24 * 3_600_000_000;
/// Tries of one window before it is written down as failed and passed over.
pub const ATTEMPTS_MAX: u32 = 3;
/// Pause before the second try; doubled for the third.
const RETRY_AFTER: i64 = 60_000_000;
/// A watermark this far ahead of both clocks was set by a clock that was wrong for rows and server alike; waiting for it
/// would stop the rule, so it begins anew. Alerts have ids of rule and row, so a row that is seen again makes none.
pub const AHEAD_MAX: i64 = 2 * 24 * 3_600_000_000;

/// What is known of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleState {
    /// How often.
    pub frequency: Frequency,
    /// End of the last window that was dealt with.
    pub watermark: i64,
    /// Tries of the next window that failed.
    pub attempts: u32,
    /// Not to be tried before this moment of the wall clock.
    pub not_before: i64,
}

/// A span of event time: `from` included, `to` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// First moment.
    pub from: i64,
    /// Moment after the last.
    pub to: i64,
}

/// What to do with a rule now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Run this window; when it is recorded, the watermark is its end.
    Run(Window),
    /// Pass over what is too old to be looked at; then the watermark is its end.
    Skip(Window),
    /// The clocks went back by more than [`AHEAD_MAX`]: the watermark becomes this.
    Rewind(i64),
}

/// What a rule must do now, if anything. `event_time` is the newest row's time, if any row was ever seen.
pub fn due(now: i64, event_time: Option<i64>, rule: &RuleState) -> Option<Step> {
    let (period, look_back) = rule.frequency.window()?;
    // Without a row there is nothing to find; the windows wait for the first one.
    let time = event_time?.min(now);
    if rule.watermark.saturating_sub(now) > AHEAD_MAX && rule.watermark.saturating_sub(time) > AHEAD_MAX {
        return Some(Step::Rewind(aligned(time, rule.watermark, period)));
    }
    let to = rule.watermark.saturating_add(period);
    if time < to || (now < rule.not_before && rule.not_before.saturating_sub(now) <= 4 * RETRY_AFTER) {
        return None;
    }
    let oldest = time.saturating_sub(CATCH_UP_MAX);
    if to < oldest {
        return Some(Step::Skip(Window { from: rule.watermark, to: aligned(oldest, rule.watermark, period) }));
    }
    Some(Step::Run(Window { from: to.saturating_sub(look_back), to }))
}

/// The latest end of a window that is not after a moment, on the raster that a watermark lies on.
fn aligned(moment: i64, watermark: i64, period: i64) -> i64 {
    watermark.saturating_add(moment.saturating_sub(watermark).div_euclid(period).saturating_mul(period))
}

/// When the next window will be over; for display.
pub fn next_end(rule: &RuleState) -> Option<i64> {
    rule.frequency.window().map(|(period, _)| rule.watermark.saturating_add(period))
}

/// What follows a failed try: the tries so far and when to try again; `None` if the window is given up.
pub fn after_failure(now: i64, rule: &RuleState) -> Option<(u32, i64)> {
    let attempts = rule.attempts.saturating_add(1);
    (attempts < ATTEMPTS_MAX).then(|| (attempts, now.saturating_add(RETRY_AFTER << (attempts - 1).min(8))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000_000;

    fn state(watermark: i64) -> RuleState {
        RuleState { frequency: Frequency::Hourly, watermark, attempts: 0, not_before: 0 }
    }

    #[test]
    fn a_window_is_due_when_both_clocks_have_passed_its_end() {
        let rule = state(100 * HOUR);
        let run = Some(Step::Run(Window { from: 97 * HOUR, to: 101 * HOUR }));
        for (now, event, expected) in [
            (101 * HOUR, Some(101 * HOUR), run),
            (101 * HOUR - 1, Some(101 * HOUR), None),
            (101 * HOUR, Some(101 * HOUR - 1), None),
            (500 * HOUR, Some(100 * HOUR), None),
            (101 * HOUR, None, None),
            (109 * HOUR, Some(109 * HOUR), run),
        ] {
            assert_eq!(due(now, event, &rule), expected, "{now} {event:?}");
        }
        let continuous = RuleState { frequency: Frequency::Continuous, ..rule };
        assert_eq!(due(500 * HOUR, Some(500 * HOUR), &continuous), None, "continuous rules have no windows");
    }

    #[test]
    fn look_backs_are_as_documented() {
        let looks = [
            (Frequency::Hourly, 1, 4),
            (Frequency::ThreeHourly, 3, 12),
            (Frequency::TwelveHourly, 12, 48),
            (Frequency::Daily, 24, 30 * 24),
        ];
        for (frequency, period, look_back) in looks {
            assert_eq!(frequency.window(), Some((period * HOUR, look_back * HOUR)));
        }
    }

    #[test]
    fn what_is_too_old_is_passed_over_and_told() {
        let rule = state(0);
        let now = 40 * 24 * HOUR + HOUR / 2;
        assert_eq!(due(now, Some(now), &rule), Some(Step::Skip(Window { from: 0, to: 10 * 24 * HOUR })));
    }

    #[test]
    fn a_failed_window_is_tried_again_and_then_given_up() {
        let mut rule = state(0);
        let (attempts, not_before) = after_failure(HOUR, &rule).unwrap();
        rule = RuleState { attempts, not_before, ..rule };
        assert_eq!(due(HOUR + 1, Some(2 * HOUR), &rule), None);
        assert!(matches!(due(not_before, Some(2 * HOUR), &rule), Some(Step::Run(_))));
        let (attempts, _) = after_failure(HOUR, &rule).unwrap();
        assert_eq!(after_failure(HOUR, &RuleState { attempts, ..rule }), None);
        // A clock that was stepped back must not hold the rule for longer than a pause.
        let far = RuleState { not_before: 900 * HOUR, ..state(0) };
        assert!(due(2 * HOUR, Some(2 * HOUR), &far).is_some());
    }

    /// What happens to a server.
    #[derive(Debug, Clone)]
    enum Fate {
        /// True time goes on, and rows with it.
        Pass(i64),
        /// The wall clock is put off true time by so much.
        Step(i64),
        /// The server looks; `true` if it dies between running and recording.
        Look(bool),
    }

    fn fates() -> impl Strategy<Value = Vec<Fate>> {
        let one = prop_oneof![
            (1..9 * HOUR).prop_map(Fate::Pass),
            (-40 * HOUR..40 * HOUR).prop_map(Fate::Step),
            any::<bool>().prop_map(Fate::Look),
            Just(Fate::Look(false)),
        ];
        proptest::collection::vec(one, 1..80)
    }

    proptest! {
        #[test]
        fn over_restarts_and_clock_steps_no_window_is_missed_and_none_is_recorded_twice(
            fates in fates(), frequency in prop_oneof![Just(Frequency::Hourly), Just(Frequency::ThreeHourly), Just(Frequency::TwelveHourly)]
        ) {
            let start = 20_000 * HOUR;
            let (mut truth, mut offset) = (start, 0);
            let mut rule = RuleState { frequency, watermark: start, attempts: 0, not_before: 0 };
            let (period, look_back) = frequency.window().unwrap();
            let mut recorded: Vec<Window> = Vec::new();
            let look = |rule: &mut RuleState, now: i64, truth: i64, dies: bool, recorded: &mut Vec<Window>| {
                let Some(step) = due(now, Some(truth), rule) else { return false };
                match step {
                    Step::Run(window) => {
                        assert!(window.to <= truth, "its rows can be there");
                        if !dies {
                            recorded.push(window);
                            rule.watermark = window.to;
                        }
                    }
                    Step::Skip(_) | Step::Rewind(_) => panic!("{step:?} on a span shorter than a month"),
                }
                !dies
            };
            for fate in fates {
                match fate {
                    Fate::Pass(by) => truth += by,
                    Fate::Step(by) => offset = by,
                    Fate::Look(dies) => while look(&mut rule, truth + offset, truth, dies, &mut recorded) {},
                }
            }
            // In the end the clock is right, and the server looks until nothing is due.
            while look(&mut rule, truth, truth, false, &mut recorded) {}
            let ends: Vec<i64> = recorded.iter().map(|w| w.to).collect();
            let expected: Vec<i64> = (1..=(truth - start) / period).map(|n| start + n * period).collect();
            prop_assert_eq!(ends, expected);
            prop_assert!(recorded.iter().all(|w| w.to - w.from == look_back));
        }
    }
}
