//! Two machines with one identity: a copied disk, or a stolen key.
//!
//! Each start of a connector draws a random number and says it with every report. A number that comes back after a
//! newer one was heard is of a connector that still lives beside the other: no restart brings a number back. One such
//! word may be a report that was long under way; the second is proof. Who was there first keeps the identity, the later
//! one is asked to enrol anew, and the operator is told.

use serde::{Deserialize, Serialize};

/// Runs remembered: a connector that restarts more often than this between two reports of its twin is none.
const FORMER_MAX: usize = 8;
/// Times that an older run may speak before it is proof.
const RETURNS_MAX: u8 = 2;

/// A twin that goes on to speak is not written down more often than this: an hour.
const SHARED_STEP: i64 = 3_600 * 1_000_000;

/// The runs of an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runs {
    current: String,
    former: Vec<String>,
    barred: Vec<String>,
    returns: u8,
    /// When a second machine last used the identity, microseconds; 0 for never.
    shared: i64,
}

/// What a report's run means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The run that is known, or an old report come late.
    Known,
    /// The connector was started anew.
    Started,
    /// This run lives beside another one that was there first: it is to enrol anew. `true` when it is found just now.
    Twin(bool),
}

impl Runs {
    /// When a second machine last used the identity, to within [`SHARED_STEP`]; `None` for never.
    pub fn shared(&self) -> Option<i64> {
        (self.shared > 0).then_some(self.shared)
    }

    /// A second machine uses the identity.
    pub fn share(&mut self, now: i64) {
        if now.saturating_sub(self.shared) >= SHARED_STEP {
            self.shared = now;
        }
    }

    /// A report of a run.
    pub fn hear(&mut self, run: &str, now: i64) -> Run {
        let heard = self.hear_run(run);
        if let Run::Twin(_) = heard {
            self.share(now);
        }
        heard
    }

    fn hear_run(&mut self, run: &str) -> Run {
        if self.barred.iter().any(|r| r == run) {
            return Run::Twin(false);
        }
        if run == self.current {
            return Run::Known;
        }
        if self.former.iter().any(|r| r == run) {
            self.returns = self.returns.saturating_add(1);
            if self.returns < RETURNS_MAX {
                return Run::Known;
            }
            // The older one lives: the newer one is the copy, and is told when it next speaks.
            self.returns = 0;
            self.former.retain(|r| r != run);
            let newer = std::mem::replace(&mut self.current, run.to_owned());
            push(&mut self.barred, newer);
            return Run::Twin(true);
        }
        let before = std::mem::replace(&mut self.current, run.to_owned());
        if before.is_empty() {
            return Run::Started;
        }
        self.returns = 0;
        push(&mut self.former, before);
        Run::Started
    }
}

fn push(list: &mut Vec<String>, run: String) {
    list.push(run);
    if list.len() > FORMER_MAX {
        list.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_no_twin_and_a_twin_is_found() {
        use Run::{Known as K, Started as S, Twin as T};
        let cases: [(&str, &[Run]); 5] = [
            ("aaabbbccc", &[S, K, K, S, K, K, S, K, K]),
            // One old report come late.
            ("aababb", &[S, K, S, K, K, K]),
            // Two at once: `a` was first.
            ("ababab", &[S, S, K, K, T(true), T(false)]),
            // The twin starts anew with another identity; the first restarts.
            ("ababacc", &[S, S, K, K, T(true), S, K]),
            ("", &[]),
        ];
        for (heard, wanted) in cases {
            let mut runs = Runs::default();
            let found: Vec<Run> = heard.chars().map(|c| runs.hear(&c.to_string(), 7 * SHARED_STEP)).collect();
            assert_eq!(found, wanted, "{heard}");
            let twin = wanted.iter().any(|run| matches!(run, T(_)));
            assert_eq!(runs.shared(), twin.then_some(7 * SHARED_STEP), "{heard}");
        }
    }

    #[test]
    fn that_an_identity_is_shared_is_written_down_once_an_hour_and_read_of_older_rows() {
        let mut runs: Runs = serde_json::from_str(r#"{"current": "a", "barred": ["b"]}"#).unwrap();
        assert_eq!(runs.shared(), None);
        for (now, told) in [(SHARED_STEP, 1), (SHARED_STEP + 5, 1), (3 * SHARED_STEP, 3)] {
            assert_eq!(runs.hear("b", now), Run::Twin(false));
            assert_eq!(runs.shared(), Some(told * SHARED_STEP));
        }
    }
}
