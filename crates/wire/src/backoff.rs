//! How long to wait before the next try: doubling, bounded, with jitter, so that a fleet does not come back in step.

use std::time::Duration;

/// Exponential back-off.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    /// Waits from `min` up to `max`; `min` is raised to 1 ms and `max` to `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), tries: 0 }
    }

    /// The wait before the next try. `jitter` is a random number in 0..1; the wait is the doubled time less up to half.
    pub fn next(&mut self, jitter: f64) -> Duration {
        let full = self.min.saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX)).min(self.max);
        self.tries = self.tries.saturating_add(1).min(31);
        let share = 1.0 - 0.5 * jitter.clamp(0.0, 1.0);
        full.mul_f64(share)
    }

    /// It went well: start from the shortest wait again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound() {
        let mut b = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let waits: Vec<u64> = (0..5).map(|_| b.next(0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        b.reset();
        assert_eq!(b.next(1.0), Duration::from_millis(500));
    }
}
