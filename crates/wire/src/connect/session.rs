//! The connector's side of the conversation: when to report, what to do with the answer. It takes time and answers and
//! returns actions; time is the monotonic one of the caller, so a clock set back changes nothing.
//!
//! A report is held by the server until there is something to do, so one is always under way. News of the machine goes
//! out at once: the report that is held is dropped and a new one is sent.

use super::order::{self, Addressee, Deed, OrderError};
use super::remedy::{self, Remedy};
use super::v1;
use crate::backoff::Backoff;
use garrison_model::Micros;
use std::time::Duration;

/// Bounds on what a server may set.
const REPORT_SECONDS_MIN: u32 = 1;
const REPORT_SECONDS_MAX: u32 = 600;
/// A server that answers at once all the time is not asked more often than this.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How much longer than offered an answer may take.
const GRACE: Duration = Duration::from_secs(20);
/// Waits after a failure.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_mins(5);
/// Orders taken of one answer: a machine has one extension a system.
const ORDERS_MAX: usize = 8;
/// Remedies taken of one answer: there are three.
const REMEDIES_MAX: usize = 8;

/// When a report goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It is time.
    Time,
    /// Something of the machine changed.
    News,
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectorAction {
    /// Send a report, dropping the one that may be under way. The caller fills in what it knows of the machine.
    Report {
        /// Number of the report in this run.
        sequence: u64,
        /// Newest order taken.
        order_taken: u64,
        /// How long the answer may be held.
        wait_seconds: u32,
    },
    /// Obey an order; it is to be on disk before anything is done.
    Obey(Box<v1::Order>, Deed),
    /// Do something about the machine's antimalware; its id goes with what became of it.
    Remedy(String, Remedy),
    /// An order was refused; tell of it.
    Refused(OrderError),
    /// The identity is another machine's: forget it and enrol anew.
    EnrolAnew(String),
    /// The machine is off-boarded: leave nothing behind.
    Farewell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Resting {
        until: Micros,
    },
    /// After a failure: news waits too.
    Backing {
        until: Micros,
    },
    Asking {
        since: Micros,
    },
    Over,
}

/// The conversation.
#[derive(Debug)]
pub struct ConnectorSession {
    who: Addressee,
    phase: Phase,
    sequence: u64,
    order_taken: u64,
    report: Duration,
    backoff: Backoff,
    last_sent: Option<Micros>,
}

fn later(now: Micros, wait: Duration) -> Micros {
    Micros(now.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
}

impl ConnectorSession {
    /// Begins with a report due at once. `order_taken` is the newest order on disk.
    pub fn start(who: Addressee, order_taken: u64, now: Micros) -> Self {
        Self {
            who,
            phase: Phase::Resting { until: now },
            sequence: 0,
            order_taken,
            report: Duration::from_secs(30),
            backoff: Backoff::new(WAIT_MIN, WAIT_MAX),
            last_sent: None,
        }
    }

    /// The newest order taken.
    pub fn order_taken(&self) -> u64 {
        self.order_taken
    }

    /// Whether a report is under way; if not, the caller drops the one that it may still hold.
    pub fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }

    /// When time next matters.
    pub fn next(&self) -> Option<Micros> {
        match self.phase {
            Phase::Resting { until } | Phase::Backing { until } => Some(until),
            Phase::Asking { since } => Some(later(since, self.report + GRACE)),
            Phase::Over => None,
        }
    }

    /// Time passes, or there is news. A report that got no answer in its time counts as failed.
    pub fn tick(&mut self, now: Micros, occasion: Occasion) -> Option<ConnectorAction> {
        let news = occasion == Occasion::News;
        match self.phase {
            Phase::Over => return None,
            Phase::Backing { until } if now < until => return None,
            Phase::Resting { until } if now < until && !news => return None,
            Phase::Asking { since } if now >= later(since, self.report + GRACE) => {
                self.failed(now, 0.0);
                return None;
            }
            Phase::Asking { .. } if !news => return None,
            _ => {}
        }
        // News in a row are told together; a report that is held is dropped, it tells what is old.
        if let Some(sent) = self.last_sent.filter(|sent| now < later(*sent, PAUSE_MIN)) {
            self.phase = Phase::Resting { until: later(sent, PAUSE_MIN) };
            return None;
        }
        self.sequence += 1;
        self.last_sent = Some(now);
        self.phase = Phase::Asking { since: now };
        Some(ConnectorAction::Report {
            sequence: self.sequence,
            order_taken: self.order_taken,
            wait_seconds: u32::try_from(self.report.as_secs()).unwrap_or(REPORT_SECONDS_MAX),
        })
    }

    /// The answer to the report that is under way; `wall` is the time of day in seconds, for the end of orders.
    pub fn answered(&mut self, answer: v1::ReportResponse, now: Micros, wall: i64) -> Vec<ConnectorAction> {
        if !matches!(self.phase, Phase::Asking { .. }) {
            return Vec::new();
        }
        self.backoff.reset();
        let seconds = answer.report_seconds.clamp(REPORT_SECONDS_MIN, REPORT_SECONDS_MAX);
        self.report = Duration::from_secs(u64::from(seconds));
        self.phase = Phase::Resting { until: now };
        match answer.verdict.as_str() {
            "enrol_anew" => {
                self.phase = Phase::Over;
                return vec![ConnectorAction::EnrolAnew(answer.words.chars().take(300).collect())];
            }
            "farewell" => {
                self.phase = Phase::Over;
                return vec![ConnectorAction::Farewell];
            }
            _ => {}
        }
        let mut actions = Vec::new();
        // The server's clock is the better judge of its own order's end, where ours is wrong; an old answer cannot be
        // played again inside TLS.
        let wall = if answer.server_time > 0 { answer.server_time / 1_000_000 } else { wall };
        for signed in answer.orders.iter().take(ORDERS_MAX) {
            match order::open(signed, &self.who, self.order_taken, wall) {
                Ok((order, deed)) => {
                    self.order_taken = order.generation;
                    actions.push(ConnectorAction::Obey(Box::new(order), deed));
                }
                // Handed out twice: it was taken.
                Err(OrderError::RollBack { found, newest }) if found == newest => {}
                Err(error) => {
                    // Not again at once: the same answer would come.
                    self.phase = Phase::Backing { until: later(now, self.backoff.next(0.0).max(PAUSE_MIN)) };
                    actions.push(ConnectorAction::Refused(error));
                }
            }
        }
        for signed in answer.remedies.iter().take(REMEDIES_MAX) {
            actions.push(match remedy::open(signed, &self.who, wall) {
                Ok((id, remedy)) => ConnectorAction::Remedy(id, remedy),
                Err(error) => {
                    self.phase = Phase::Backing { until: later(now, self.backoff.next(0.0).max(PAUSE_MIN)) };
                    ConnectorAction::Refused(error)
                }
            });
        }
        actions
    }

    /// The report under way failed. `jitter` is a random number in 0..1.
    pub fn failed(&mut self, now: Micros, jitter: f64) {
        if self.phase != Phase::Over {
            self.phase = Phase::Backing { until: later(now, self.backoff.next(jitter)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use garrison_model::{ConnectorId, TenantId};
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[3; 32])
    }

    fn session() -> ConnectorSession {
        let connector = ConnectorId::new("ab".repeat(20)).unwrap();
        let who = Addressee { tenant: TenantId::first(), connector, key: key().verifying_key() };
        ConnectorSession::start(who, 0, Micros(0))
    }

    fn order(generation: u64, expires: i64) -> v1::SignedOrder {
        let order = v1::Order {
            tenant_id: "default".into(),
            connector_id: "ab".repeat(20),
            extension: "Sensor.Linux".into(),
            generation,
            deed: "install".into(),
            expires,
            ..v1::Order::default()
        };
        order::sign(&order, &key())
    }

    fn answer(orders: Vec<v1::SignedOrder>) -> v1::ReportResponse {
        v1::ReportResponse { report_seconds: 30, orders, verdict: "ok".into(), ..v1::ReportResponse::default() }
    }

    fn reports(action: Option<ConnectorAction>) -> bool {
        matches!(action, Some(ConnectorAction::Report { .. }))
    }

    #[test]
    fn a_report_is_always_under_way_and_news_goes_at_once() {
        let mut s = session();
        assert!(reports(s.tick(Micros(0), Occasion::Time)));
        assert!(!reports(s.tick(Micros(SECOND), Occasion::Time)), "one is held");
        assert!(reports(s.tick(Micros(2 * SECOND), Occasion::News)));
        assert!(s.answered(answer(vec![]), Micros(3 * SECOND), 0).is_empty());
        assert!(reports(s.tick(Micros(3 * SECOND), Occasion::Time)));
        assert!(s.tick(Micros(60 * SECOND), Occasion::Time).is_none(), "no answer: it failed");
        assert!(s.tick(Micros(60 * SECOND), Occasion::News).is_none(), "news does not break a back-off");
        assert!(reports(s.tick(Micros(62 * SECOND), Occasion::Time)));
    }

    #[test]
    fn an_order_is_obeyed_once_and_a_forged_one_is_told() {
        let mut s = session();
        s.tick(Micros(0), Occasion::Time);
        let first = s.answered(answer(vec![order(1, 100), order(1, 100)]), Micros(0), 50);
        assert!(
            matches!(first.as_slice(), [ConnectorAction::Obey(o, Deed::Install)] if o.generation == 1),
            "{first:?}"
        );
        s.tick(Micros(2 * SECOND), Occasion::Time);
        let mut forged = order(2, 100);
        forged.signature = vec![0; 64].into();
        let second = s.answered(answer(vec![forged]), Micros(2 * SECOND), 50);
        assert_eq!(second, [ConnectorAction::Refused(OrderError::Signature)]);
        assert!(s.tick(Micros(2 * SECOND), Occasion::News).is_none());
    }

    #[test]
    fn a_farewell_ends_the_conversation() {
        let mut s = session();
        s.tick(Micros(0), Occasion::Time);
        let farewell = v1::ReportResponse { verdict: "farewell".into(), ..answer(vec![]) };
        assert_eq!(s.answered(farewell, Micros(1), 0), [ConnectorAction::Farewell]);
        assert_eq!(s.next(), None);
        assert!(s.tick(Micros(i64::MAX), Occasion::News).is_none());
    }

    proptest! {
        // Signatures cost much where nothing is optimised.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn orders_never_go_backwards_and_a_server_is_never_flooded(
            steps in proptest::collection::vec((0_u8..5, 0_i64..90, 0_u64..9), 1..80)
        ) {
            let mut s = session();
            let (mut now, mut newest, mut sent, mut last) = (0, 0, 0_u32, -SECOND);
            for (what, seconds, generation) in steps {
                now += seconds * SECOND / 10;
                let action = match what {
                    0 | 1 => s.tick(Micros(now), if what == 0 { Occasion::Time } else { Occasion::News }),
                    2 => { s.failed(Micros(now), 0.5); None }
                    _ => {
                        for action in s.answered(answer(vec![order(generation, 100)]), Micros(now), 50) {
                            if let ConnectorAction::Obey(order, _) = action {
                                prop_assert!(order.generation > newest);
                                newest = order.generation;
                            }
                        }
                        None
                    }
                };
                if reports(action) {
                    sent += 1;
                    prop_assert!(now - last >= SECOND);
                    last = now;
                }
                prop_assert!(s.next().is_some());
            }
            prop_assert!(s.order_taken() == newest && sent < 90);
        }
    }
}
