//! When to try again.

use std::time::Duration;

use crate::again::doubled;

/// The first wait …
const FIRST: Duration = Duration::from_millis(100);
/// … and the longest.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double, each shortened by chance so that not all come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; at least `asked`, if the other side has asked for that.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let wait = doubled(FIRST, LONGEST, self.failures);
        self.failures = self.failures.saturating_add(1);
        asked.map_or(wait, |asked| wait.max(asked.min(LONGEST)))
    }

    /// All is well again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How often something failed since all was well.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_begin_again() {
        let mut backoff = Backoff::default();
        assert!(backoff.next(None) <= FIRST);
        let waits: Vec<_> = (0..50).map(|_| backoff.next(None)).collect();
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[20..].iter().all(|wait| *wait >= LONGEST / 2));
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
        let asked = Duration::from_secs(7);
        assert_eq!(backoff.next(Some(asked)), asked);
        assert!(backoff.next(Some(Duration::MAX)) <= LONGEST);
    }
}
