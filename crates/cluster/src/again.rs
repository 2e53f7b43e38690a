//! How soon something is tried again that failed.

use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;

/// The first wait …
const FIRST: Duration = Duration::from_millis(200);
/// … and the longest: only a leader has such watches, and what it does not see, nobody is told.
const LONGEST: Duration = Duration::from_secs(5);

/// All is well again if nothing failed for so long.
const CALM: Duration = Duration::from_secs(30);

/// A wait after so many failures in a row before the last one: twice as long each time, and between
/// half of that and all of it, so that not all come back in step.
pub(crate) fn doubled(first: Duration, longest: Duration, failures: u32) -> Duration {
    let wait = first.saturating_mul(1 << failures.min(16)).min(longest);
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Waits of a watch of kube's own. Those that kube has for it grow to a minute and are that long for
/// two more, so that an API server that was away some times in a row is followed late when it is
/// back.
#[derive(Debug, Default)]
pub(crate) struct Again {
    failures: u32,
    last: Option<Instant>,
}

impl Iterator for Again {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.reset();
        let wait = doubled(FIRST, LONGEST, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.last = Some(Instant::now());
        Some(wait)
    }
}

impl Backoff for Again {
    /// Something came: which is no proof that all is well.
    fn reset(&mut self) {
        if self.last.is_some_and(|last| last.elapsed() >= CALM) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_few_seconds_and_begin_anew_after_a_calm() {
        let mut again = Again::default();
        let waits: Vec<_> = again.by_ref().take(20).collect();
        assert!(waits[0] <= FIRST);
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[10..].iter().all(|wait| *wait >= LONGEST / 2));
        again.reset();
        assert!(again.next() >= Some(LONGEST / 2));
        again.last = Instant::now().checked_sub(CALM);
        assert!(again.next() <= Some(FIRST));
    }
}
