//! Counts failures by name or address within a window, in a table of bounded size.

use garrison_model::Micros;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Names and addresses remembered. An attacker with more addresses than this pushes the oldest out; each of them still
/// has its own small allowance, and the name that it tries is counted too.
const ENTRIES_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Counts failures.
#[derive(Debug)]
pub struct Failures {
    max: u32,
    window: Duration,
    entries: LruCache<String, (u32, Micros)>,
}

impl Failures {
    /// At most `max` failures in `window`.
    pub fn new(max: u32, window: Duration) -> Self {
        Self { max, window, entries: LruCache::new(ENTRIES_MAX) }
    }

    /// How long a key must wait, if it failed too often.
    pub fn wait(&mut self, key: &str, now: Micros) -> Option<Duration> {
        let (count, since) = *self.entries.get(key)?;
        let passed = Duration::from_micros(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0));
        if passed >= self.window {
            self.entries.pop(key);
            return None;
        }
        (count >= self.max).then(|| self.window.saturating_sub(passed).max(Duration::from_secs(1)))
    }

    /// Notes a failure.
    pub fn note(&mut self, key: &str, now: Micros) {
        let _ = self.wait(key, now);
        match self.entries.get_mut(key) {
            Some((count, _)) => *count = count.saturating_add(1),
            None => {
                self.entries.put(key.to_owned(), (1, now));
            }
        }
    }

    /// Forgets a key: it succeeded.
    pub fn forget(&mut self, key: &str) {
        self.entries.pop(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_failures_must_wait_until_the_window_is_over() {
        let mut f = Failures::new(3, Duration::from_mins(1));
        let second = 1_000_000;
        for i in 0..3 {
            assert_eq!(f.wait("a", Micros(i)), None);
            f.note("a", Micros(i));
        }
        assert!(f.wait("a", Micros(second)).is_some());
        assert_eq!(f.wait("b", Micros(second)), None);
        assert_eq!(f.wait("a", Micros(61 * second)), None);
    }
}
