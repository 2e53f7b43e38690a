//! How many requests may be sent again: a part of them, and some a second besides, so that a
//! backend in trouble is not buried under repetitions.

use std::cell::Cell;
use std::time::{Duration, Instant};

use model::policy::Retry;

/// What one retry costs. A request earns so many hundredths of it as the budget has percent.
const RETRY: u32 = 100;
/// The most retries that requests can save up for.
const MOST: u32 = 100;
/// Beyond this, time earns nothing more.
const LONGEST: Duration = Duration::from_secs(60);

/// One worker's budget for one backend.
#[derive(Debug)]
pub(crate) struct Budget {
    saved: Cell<u32>,
    /// When what time earns was added last; none until the first retry.
    filled: Cell<Option<Instant>>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            saved: Cell::new(0),
            filled: Cell::new(None),
        }
    }

    /// Notes a request.
    pub(crate) fn earn(&self, retry: &Retry) {
        let saved = self.saved.get() + u32::from(retry.budget);
        self.saved.set(saved.min(most(retry)));
    }

    /// Whether one may be sent again.
    pub(crate) fn has_some(&self, retry: &Retry, now: Instant) -> bool {
        self.fill(retry, now);
        self.saved.get() >= RETRY
    }

    /// Whether one may be sent again. If so, that is paid for.
    pub(crate) fn spend(&self, retry: &Retry, now: Instant) -> bool {
        self.fill(retry, now);
        let Some(left) = self.saved.get().checked_sub(RETRY) else {
            return false;
        };
        self.saved.set(left);
        true
    }

    /// Adds what time has earned.
    fn fill(&self, retry: &Retry, now: Instant) {
        let per_second = u32::from(retry.min_per_second) * RETRY;
        let Some(filled) = self.filled.get() else {
            // The first second's are there from the beginning.
            self.filled.set(Some(now));
            self.add(per_second, retry);
            return;
        };
        let since = now.saturating_duration_since(filled).min(LONGEST);
        let earned = (since.as_secs_f64() * f64::from(per_second)) as u32;
        // Less than one is kept as time, so that often asking loses nothing.
        if earned > 0 {
            self.filled.set(Some(now));
            self.add(earned, retry);
        }
    }

    fn add(&self, earned: u32, retry: &Retry) {
        let saved = self.saved.get().saturating_add(earned);
        self.saved.set(saved.min(most(retry)));
    }
}

/// The most that can be saved.
fn most(retry: &Retry) -> u32 {
    (MOST + u32::from(retry.min_per_second)) * RETRY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget, retry: &Retry, now: Instant) -> usize {
        (0..10_000).filter(|_| budget.spend(retry, now)).count()
    }

    #[test]
    fn a_fifth_of_requests_and_ten_a_second() {
        let (budget, retry, start) = (Budget::new(), Retry::default(), Instant::now());
        assert_eq!(spent(&budget, &retry, start), 10);
        (0..50).for_each(|_| budget.earn(&retry));
        assert_eq!(spent(&budget, &retry, start), 10);
        let later = |millis| start + Duration::from_millis(millis);
        assert_eq!(spent(&budget, &retry, later(2000)), 20);
        let retries: usize = (0..100)
            .map(|tenth| spent(&budget, &retry, later(2000 + tenth * 7)))
            .sum();
        assert_eq!(retries, 6, "0.693 s");
        (0..100_000).for_each(|_| budget.earn(&retry));
        assert_eq!(spent(&budget, &retry, later(9000)), 110, "no more is saved");
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing() {
        let none = Retry {
            budget: 0,
            min_per_second: 0,
            ..Retry::default()
        };
        let (budget, start) = (Budget::new(), Instant::now());
        (0..1000).for_each(|_| budget.earn(&none));
        assert_eq!(spent(&budget, &none, start + Duration::from_secs(60)), 0);
    }
}
