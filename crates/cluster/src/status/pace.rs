//! How fast, and how soon again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::again::doubled;

/// So many a second, and as many at once after a rest; its clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Mutex<Left>>);

#[derive(Debug)]
struct Left {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self(Arc::new(Mutex::new(Left {
            per_second: f64::from(per_second.max(1)),
            burst,
            left: burst,
            at: Instant::now(),
        })))
    }

    /// Takes one, or tells when there will be one.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Instant> {
        // Nothing that holds it can leave it half changed.
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.take(now)
    }
}

impl Left {
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.burst);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.left) / self.per_second;
        Err(now + Duration::from_secs_f64(wait) + Duration::from_millis(1))
    }
}

/// How long to wait after so many failures in a row: twice as long each time, from half a second
/// to five minutes; between half of that and all of it, so that failures do not return in step.
pub(crate) fn backoff(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(300);
    doubled(FIRST, LONGEST, failures.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let budget = Budget::new(10, 3);
        assert!((0..3).all(|_| budget.take(start).is_ok()));
        let next = budget.take(start).expect_err("spent");
        let wait = next - start;
        assert!((90..=110).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(budget.take(next), Ok(()));
        let later = start + Duration::from_secs(60);
        assert!((0..3).all(|_| budget.take(later).is_ok()));
        assert!(budget.take(later).is_err());
    }

    #[test]
    fn failures_wait_longer_and_longer_and_not_for_ever() {
        for (failures, longest) in [(1, 500), (2, 1000), (5, 8000), (100, 300_000)] {
            let wait = backoff(failures).as_millis();
            assert!(
                (longest / 2..=longest).contains(&wait),
                "{failures}: {wait} ms"
            );
        }
    }
}
