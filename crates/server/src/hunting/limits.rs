//! How much a user and a tenant may ask for: calls, running time, queries at once. Pure: takes `now`.

use super::settings::QuotaSettings;
use garrison_model::{Micros, TenantId};
use std::collections::{HashMap, VecDeque};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Users that are remembered; beyond, those without anything within the day are forgotten first.
const USERS_MAX: usize = 10_000;

/// A query may not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which limit, in words.
    pub message: String,
    /// When there is room again.
    pub retry_after_seconds: u64,
}

/// What one user or tenant used within the last day.
#[derive(Debug, Default)]
struct Usage {
    /// When queries began, within the hour; bounded by the calls of an hour.
    calls: VecDeque<i64>,
    /// Running time by the minute that it ended in: (minute, microseconds), at most a day of minutes.
    runs: VecDeque<(i64, i64)>,
    running: u32,
}

impl Usage {
    fn forget(&mut self, now: i64) {
        while self.calls.front().is_some_and(|at| *at <= now - HOUR) {
            self.calls.pop_front();
        }
        while self.runs.front().is_some_and(|(minute, _)| (*minute + 1) * MINUTE <= now - DAY) {
            self.runs.pop_front();
        }
    }

    fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.runs.is_empty() && self.running == 0
    }

    fn ran(&self, since: i64) -> i64 {
        self.runs.iter().filter(|(minute, _)| (minute + 1) * MINUTE > since).map(|(_, micros)| micros).sum()
    }

    /// When enough running time has aged out of a window of this length.
    fn room_at(&self, now: i64, window: i64, allowed: i64) -> i64 {
        let mut left = self.ran(now - window);
        for (minute, micros) in self.runs.iter().filter(|(minute, _)| (minute + 1) * MINUTE > now - window) {
            left -= micros;
            if left < allowed {
                return (minute + 1) * MINUTE + window;
            }
        }
        now + MINUTE
    }

    fn check(&self, whose: &str, allowed: &QuotaSettings, now: i64) -> Result<(), Refusal> {
        let refuse = |message: String, at: i64| {
            let wait = (at - now).clamp(SECOND, DAY);
            Err(Refusal { message, retry_after_seconds: (wait / SECOND) as u64 + u64::from(wait % SECOND > 0) })
        };
        if self.running >= allowed.concurrent {
            return refuse(
                format!("{whose} runs {} queries at once, which is the limit", allowed.concurrent),
                now + 5 * SECOND,
            );
        }
        let in_minute = self.calls.iter().rev().take_while(|at| **at > now - MINUTE).count();
        if in_minute >= allowed.calls_per_minute as usize {
            let oldest = self.calls.iter().rev().nth(allowed.calls_per_minute.saturating_sub(1) as usize);
            return refuse(
                format!("{whose} made {} calls within a minute, which is the limit", allowed.calls_per_minute),
                oldest.map_or(now, |at| at + MINUTE),
            );
        }
        if self.calls.len() >= allowed.calls_per_hour as usize {
            return refuse(
                format!("{whose} made {} calls within an hour, which is the limit", allowed.calls_per_hour),
                self.calls.front().map_or(now, |at| at + HOUR),
            );
        }
        for (window, seconds, word) in
            [(HOUR, allowed.seconds_per_hour, "an hour"), (DAY, allowed.seconds_per_day, "a day")]
        {
            let allowed = i64::try_from(seconds).unwrap_or(i64::MAX / SECOND).saturating_mul(SECOND);
            if self.ran(now - window) >= allowed {
                return refuse(
                    format!("{whose} used {seconds} seconds of running time within {word}, which is the limit"),
                    self.room_at(now, window, allowed),
                );
            }
        }
        Ok(())
    }

    fn begin(&mut self, now: i64) {
        self.calls.push_back(now);
        self.running += 1;
    }

    fn end(&mut self, now: i64, micros: i64) {
        self.running = self.running.saturating_sub(1);
        self.add(now, micros);
    }

    fn add(&mut self, now: i64, micros: i64) {
        let minute = now.div_euclid(MINUTE);
        match self.runs.back_mut() {
            // A clock that stepped back adds to the last minute that there is.
            Some((last, sum)) if *last >= minute => *sum += micros.max(0),
            _ => self.runs.push_back((minute, micros.max(0))),
        }
    }
}

/// Usage of all users and tenants of a server.
#[derive(Debug)]
pub struct Quotas {
    user: QuotaSettings,
    tenant: QuotaSettings,
    users: HashMap<(TenantId, String), Usage>,
    tenants: HashMap<TenantId, Usage>,
}

impl Quotas {
    /// Nothing used.
    #[must_use]
    pub fn new(user: QuotaSettings, tenant: QuotaSettings) -> Self {
        Self { user, tenant, users: HashMap::new(), tenants: HashMap::new() }
    }

    /// Begins a query, or says why it may not.
    pub fn begin(&mut self, tenant: &TenantId, user: &str, now: Micros) -> Result<(), Refusal> {
        if self.users.len() >= USERS_MAX {
            self.users.retain(|_, usage| {
                usage.forget(now.0);
                !usage.is_idle()
            });
        }
        let own = self.users.entry((tenant.clone(), user.to_owned())).or_default();
        let all = self.tenants.entry(tenant.clone()).or_default();
        own.forget(now.0);
        all.forget(now.0);
        own.check("you", &self.user, now.0).map_err(|mut refusal| {
            refusal.message = refusal.message.replacen("you runs", "you run", 1);
            refusal
        })?;
        all.check("your organisation", &self.tenant, now.0)?;
        own.begin(now.0);
        all.begin(now.0);
        Ok(())
    }

    /// Ends a query that [`Quotas::begin`] let in.
    pub fn end(&mut self, tenant: &TenantId, user: &str, now: Micros, ran_micros: i64) {
        if let Some(own) = self.users.get_mut(&(tenant.clone(), user.to_owned())) {
            own.end(now.0, ran_micros);
        }
        if let Some(all) = self.tenants.get_mut(tenant) {
            all.end(now.0, ran_micros);
        }
    }

    /// Takes in what was used before a restart; oldest first.
    pub fn restore(&mut self, tenant: &TenantId, user: &str, began: Micros, ended: Micros, now: Micros) {
        let own = self.users.entry((tenant.clone(), user.to_owned())).or_default();
        let all = self.tenants.entry(tenant.clone()).or_default();
        for usage in [own, all] {
            if began.0 > now.0 - HOUR {
                usage.calls.push_back(began.0);
            }
            usage.add(ended.0, ended.0 - began.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: QuotaSettings = QuotaSettings {
        calls_per_minute: 3,
        calls_per_hour: 5,
        seconds_per_hour: 10,
        seconds_per_day: 30,
        concurrent: 2,
    };
    const WIDE: QuotaSettings = QuotaSettings {
        calls_per_minute: 1_000,
        calls_per_hour: 10_000,
        seconds_per_hour: 100_000,
        seconds_per_day: 1_000_000,
        concurrent: 1_000,
    };
    const START: i64 = 1_795_435_200_000_000;

    fn at(seconds: i64) -> Micros {
        Micros(START + seconds * SECOND)
    }

    /// Begins and ends queries at these seconds, each running so long; the last answer.
    fn after(calls: &[(i64, i64)], next: i64) -> Result<(), Refusal> {
        let (mut quotas, tenant) = (Quotas::new(QUOTA, WIDE), TenantId::first());
        for (second, ran) in calls {
            quotas.begin(&tenant, "ann", at(*second)).unwrap();
            quotas.end(&tenant, "ann", at(*second), ran * SECOND);
        }
        quotas.begin(&tenant, "ann", at(next))
    }

    #[test]
    fn each_limit_says_which_it_is_and_when_to_come_again() {
        for (calls, next, expected) in [
            (vec![], 0, None),
            (vec![(0, 0), (1, 0), (2, 0)], 30, Some(("within a minute", 30))),
            (vec![(0, 0), (1, 0), (2, 0)], 60, None),
            (vec![(0, 0), (100, 0), (200, 0), (300, 0), (400, 0)], 1_000, Some(("within an hour", 2_600))),
            (vec![(0, 0), (100, 0), (200, 0), (300, 0), (400, 0)], 3_600, None),
            (vec![(0, 6), (100, 5)], 200, Some(("running time within an hour", 3_460))),
            (vec![(0, 9), (4_000, 9), (8_000, 9), (12_000, 9)], 20_000, Some(("running time within a day", 66_460))),
        ] {
            let found = after(&calls, next).err();
            assert_eq!(found.is_some(), expected.is_some(), "{calls:?} {next}: {found:?}");
            if let Some(((words, wait), refusal)) = expected.zip(found) {
                assert!(refusal.message.contains(words), "{refusal:?}");
                assert_eq!(refusal.retry_after_seconds, wait, "{refusal:?}");
            }
        }
    }

    #[test]
    fn queries_at_once_are_bounded_for_a_user_and_for_his_tenant() {
        let tenant = TenantId::first();
        let mut quotas = Quotas::new(QUOTA, QuotaSettings { concurrent: 3, ..WIDE });
        quotas.begin(&tenant, "ann", at(0)).unwrap();
        quotas.begin(&tenant, "ann", at(0)).unwrap();
        assert!(quotas.begin(&tenant, "ann", at(0)).unwrap_err().message.starts_with("you run 2 queries"));
        quotas.begin(&tenant, "bob", at(0)).unwrap();
        assert!(quotas.begin(&tenant, "bob", at(0)).unwrap_err().message.starts_with("your organisation"));
        quotas.end(&tenant, "ann", at(1), SECOND);
        quotas.begin(&tenant, "bob", at(1)).unwrap();
    }

    #[test]
    fn what_was_used_before_a_restart_counts() {
        let tenant = TenantId::first();
        let mut quotas = Quotas::new(QUOTA, WIDE);
        quotas.restore(&tenant, "ann", at(-100), at(-89), at(0));
        assert!(quotas.begin(&tenant, "ann", at(0)).is_err());
        assert!(quotas.begin(&tenant, "bob", at(0)).is_ok());
    }

    #[test]
    fn a_clock_that_steps_back_refuses_nobody_for_longer_than_a_day() {
        let found = after(&[(1_000_000, 11)], 0).unwrap_err();
        assert!(found.retry_after_seconds <= 86_400, "{found:?}");
    }
}
