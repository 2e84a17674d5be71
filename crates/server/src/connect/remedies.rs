//! What machines were asked to do about their antimalware, kept with how they stand: what was asked is not lost with a
//! restart, and another server of the same database hands it out as well. The bookkeeping is pure.

use super::reconcile::Standing;
use super::{Connect, ConnectError};
use garrison_model::{MachineId, Micros};
use garrison_wire::connect::remedy::{self, REMEDY_SECONDS, Remedy};
use garrison_wire::connect::v1;
use serde::{Deserialize, Serialize};

/// Remedies kept of a machine: those under way, and what became of the last ones.
const KEPT_MAX: usize = 8;
/// A machine that does not take one within a day, or says nothing more of it for six hours, has not done it.
const TAKE_MAX: i64 = 24 * 3_600 * 1_000_000;
const WORK_MAX: i64 = 6 * 3_600 * 1_000_000;
/// Characters of what a machine says came of it.
const DETAIL_MAX: usize = 500;

/// Where a remedy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemedyState {
    /// The machine has not taken it.
    Waiting,
    /// It works on it.
    Working,
    /// It has done it.
    Done,
    /// It has not.
    Failed,
}

/// A remedy; stored, version 1. Fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Id, hexadecimal.
    pub id: String,
    /// `update`, `switch_on` or `scan`.
    pub deed: String,
    /// Who asked.
    pub who: String,
    /// Where it stands.
    pub state: RemedyState,
    /// Since when, microseconds.
    pub since: i64,
    /// What came of it, as the machine says.
    pub detail: String,
}

impl Asked {
    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        matches!(self.state, RemedyState::Waiting | RemedyState::Working)
    }

    fn to(&mut self, state: RemedyState, detail: &str, now: Micros) {
        self.detail = detail.chars().filter(|c| !c.is_control()).take(DETAIL_MAX).collect();
        (self.state, self.since) = (state, now.0);
    }
}

impl Standing {
    /// Asks for a remedy; false where the same is under way already.
    pub fn remedy_ask(&mut self, id: &str, deed: Remedy, who: &str, now: Micros) -> bool {
        if self.remedies.iter().any(|r| r.is_open() && r.deed == deed.as_str()) {
            return false;
        }
        // Three deeds and none of them twice: more than three are never open, so an ended one is found.
        while self.remedies.len() >= KEPT_MAX {
            let oldest = self.remedies.iter().position(|r| !r.is_open()).unwrap_or(0);
            self.remedies.remove(oldest);
        }
        self.remedies.push(Asked {
            id: id.to_owned(),
            deed: deed.as_str().to_owned(),
            who: who.chars().take(120).collect(),
            state: RemedyState::Waiting,
            since: now.0,
            detail: String::new(),
        });
        true
    }

    /// What a machine says of one.
    pub fn remedy_reported(&mut self, report: &v1::RemedyReport, now: Micros) {
        let Some(asked) = self.remedies.iter_mut().find(|r| r.id == report.id && r.is_open()) else { return };
        match report.phase.as_str() {
            "done" => asked.to(RemedyState::Done, &report.detail, now),
            "failed" => asked.to(RemedyState::Failed, &report.detail, now),
            "working" if asked.state == RemedyState::Waiting => asked.to(RemedyState::Working, "", now),
            _ => {}
        }
    }

    /// A connector that was started anew has forgotten what it worked on, unless it says otherwise.
    pub fn remedies_forgotten(&mut self, reports: &[v1::RemedyReport], now: Micros) {
        let working = |r: &&mut Asked| r.state == RemedyState::Working;
        for asked in self.remedies.iter_mut().filter(working) {
            if !reports.iter().any(|r| r.id == asked.id) {
                asked.to(RemedyState::Failed, "the connector was started anew before it ended; ask again", now);
            }
        }
    }

    /// Ends those that nothing was heard of for too long.
    pub(super) fn remedies_expire(&mut self, now: Micros) {
        for asked in self.remedies.iter_mut().filter(|r| r.is_open()) {
            let (most, why) = match asked.state {
                RemedyState::Waiting => (TAKE_MAX, "the machine did not take it within a day"),
                _ => (WORK_MAX, "the machine said nothing more of it for six hours"),
            };
            if now.0.saturating_sub(asked.since) > most {
                asked.to(RemedyState::Failed, why, now);
            }
        }
    }

    /// Whether one is under way.
    pub(super) fn is_remedied(&self) -> bool {
        self.remedies.iter().any(Asked::is_open)
    }

    /// What ended that had not ended before.
    pub(super) fn remedies_ended<'a>(&'a self, before: &Self) -> Vec<&'a Asked> {
        let was = |r: &Asked| before.remedies.iter().any(|b| b.id == r.id && !b.is_open());
        self.remedies.iter().filter(|r| !r.is_open() && !was(r)).collect()
    }
}

/// Words for what is asked.
pub fn words(deed: Remedy) -> &'static str {
    match deed {
        Remedy::Update => "update of signatures",
        Remedy::SwitchOn => "switching on of protection",
        Remedy::Scan => "quick scan",
    }
}

impl Connect {
    /// Asks a machine for a remedy that it says it has; false where the same is under way already.
    pub async fn remedy(&self, machine: &MachineId, deed: Remedy, who: &str) -> Result<bool, ConnectError> {
        use rand::TryRngCore as _;
        let look = self.look(machine).ok_or(ConnectError::Unknown("connected machine"))?;
        if !look.protection.is_some_and(|p| p.remedies.iter().any(|r| r == deed.as_str())) {
            return Err(ConnectError::Unknown("remedy on the machine"));
        }
        let mut random = [0; 16];
        rand::rngs::OsRng.try_fill_bytes(&mut random).map_err(|_| ConnectError::Random)?;
        let id = hex::encode(random);
        let asked = std::sync::atomic::AtomicBool::new(false);
        self.mark(machine, |standing, now| {
            asked.store(standing.remedy_ask(&id, deed, who, now), std::sync::atomic::Ordering::Relaxed);
        })
        .await?;
        Ok(asked.into_inner())
    }

    /// Remedies to hand out with an answer.
    pub(super) fn remedies_out(&self, id: &garrison_model::ConnectorId, standing: &Standing) -> Vec<v1::SignedRemedy> {
        let waiting = standing.remedies.iter().filter(|r| r.state == RemedyState::Waiting);
        let one = |asked: &Asked| {
            let order = v1::Remedy {
                tenant_id: self.shared.tenant.to_string(),
                connector_id: id.to_string(),
                id: asked.id.clone(),
                deed: asked.deed.clone(),
                expires: self.now().0 / 1_000_000 + REMEDY_SECONDS,
            };
            remedy::sign(&order, self.shared.identity.content_key())
        };
        waiting.map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600 * 1_000_000;

    fn report(id: &str, phase: &str, detail: &str) -> v1::RemedyReport {
        v1::RemedyReport { id: id.to_owned(), phase: phase.to_owned(), detail: detail.to_owned() }
    }

    #[test]
    fn a_remedy_is_asked_once_taken_once_and_ends_once() {
        let mut s = Standing::default();
        assert!(s.is_still());
        assert!(s.remedy_ask("a", Remedy::Scan, "ada", Micros(1)));
        assert!(!s.remedy_ask("b", Remedy::Scan, "bob", Micros(2)), "it is under way");
        assert!(s.remedy_ask("c", Remedy::Update, "bob", Micros(2)));
        assert!(!s.is_still());
        for (one, state) in [
            (report("zzz", "done", ""), RemedyState::Waiting),
            (report("a", "dancing", ""), RemedyState::Waiting),
            (report("a", "working", "x"), RemedyState::Working),
            (report("a", "done", "scanned\n in 3 s"), RemedyState::Done),
            (report("a", "working", ""), RemedyState::Done),
            (report("a", "failed", "late"), RemedyState::Done),
        ] {
            let before = s.clone();
            s.remedy_reported(&one, Micros(9));
            assert_eq!(s.remedies[0].state, state, "{one:?}");
            let ended = s.remedies_ended(&before);
            assert_eq!(ended.len(), usize::from(state == RemedyState::Done && before.remedies[0].is_open()));
        }
        assert_eq!((s.remedies[0].detail.as_str(), s.remedies[0].since), ("scanned in 3 s", 9));
        s.remedy_reported(&report("c", "failed", "no mirror"), Micros(10));
        assert!(s.is_still() && s.remedy_ask("d", Remedy::Scan, "ada", Micros(11)));
        // A connector that was started anew: what it had not taken stays, what it worked on is lost unless it says so.
        assert!(s.remedy_ask("e", Remedy::Update, "ada", Micros(11)));
        s.remedy_reported(&report("d", "working", ""), Micros(12));
        s.remedies_forgotten(&[report("d", "working", "")], Micros(13));
        assert_eq!(s.remedies.iter().filter(|r| r.is_open()).count(), 2);
        s.remedies_forgotten(&[], Micros(14));
        let states: Vec<_> = s.remedies.iter().rev().take(2).map(|r| r.state).collect();
        assert_eq!(states, [RemedyState::Waiting, RemedyState::Failed]);
    }

    #[test]
    fn nothing_is_waited_for_without_end_and_little_is_kept() {
        let mut s = Standing::default();
        for n in 0..40 {
            assert!(s.remedy_ask(&n.to_string(), Remedy::Scan, "ada", Micros(0)));
            s.remedy_reported(&report(&n.to_string(), "done", ""), Micros(0));
        }
        assert_eq!(s.remedies.len(), KEPT_MAX);
        s.remedy_ask("w", Remedy::Update, "ada", Micros(0));
        s.remedy_ask("x", Remedy::Scan, "ada", Micros(0));
        s.remedy_reported(&report("x", "working", ""), Micros(0));
        for (hours, open) in [(-9, 2), (5, 2), (7, 1), (23, 1), (25, 0)] {
            s.remedies_expire(Micros(hours * HOUR));
            assert_eq!(s.remedies.iter().filter(|r| r.is_open()).count(), open, "{hours}");
        }
        assert!(s.remedies.iter().rev().take(2).all(|r| r.state == RemedyState::Failed && !r.detail.is_empty()));
        let text = serde_json::to_string(&s).unwrap();
        assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), s);
        assert_eq!(serde_json::from_str::<Standing>("{}").unwrap(), Standing::default(), "what older versions stored");
    }
}
