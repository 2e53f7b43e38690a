//! What was tried for one object, and when it may be tried again: no network.

use tokio::time::Instant;

use super::pace::backoff;

/// How often another may undo what we wrote before we become slow to write it again.
const UNDONE: u32 = 3;

/// What was tried for one object, of what is written to it.
#[derive(Debug)]
pub(crate) struct History<T> {
    failures: u32,
    /// What was last written.
    wrote: Option<T>,
    /// How often that was to be written again.
    again: u32,
    not_before: Instant,
    /// Whether the API server knew more of it than we did.
    is_outdated: bool,
}

impl<T: PartialEq + Clone> History<T> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            failures: 0,
            wrote: None,
            again: 0,
            not_before: now,
            is_outdated: false,
        }
    }

    /// Before this, it is left alone.
    pub(crate) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// The API server took what was written.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The API server knew more of it than we did.
    pub(crate) fn conflicted(&mut self, now: Instant) {
        self.failed(1, now);
        self.is_outdated = true;
    }

    /// Two controllers that each write their own would do so for ever: the one that sees it is the
    /// one that gives way, more and more.
    pub(crate) fn wrote(&mut self, wrote: &T, now: Instant) {
        if self.wrote.as_ref() == Some(wrote) {
            self.again = self.again.saturating_add(1);
        } else {
            self.again = 0;
            self.wrote = Some(wrote.clone());
        }
        if self.again >= UNDONE {
            self.not_before = now + backoff(self.again);
        }
    }

    /// What was missing to write it may be known now.
    pub(crate) fn news(&mut self) {
        if std::mem::take(&mut self.is_outdated) {
            self.failures = 0;
            self.not_before = Instant::now();
        }
    }

    pub(crate) fn failed(&mut self, weight: u32, now: Instant) {
        self.failures = self.failures.saturating_add(weight);
        self.not_before = now + backoff(self.failures);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Address, Addresses};
    use super::*;

    #[test]
    fn what_another_undoes_again_and_again_is_written_ever_more_slowly() {
        let now = Instant::now();
        let mut history = History::new(now);
        let ours = Some(Addresses::sorted(vec![Address::parse("203.0.113.1")]));
        for _ in 0..3 {
            history.wrote(&ours, now);
            assert_eq!(history.not_before, now);
        }
        for longest in [2, 4, 8] {
            history.wrote(&ours, now);
            let wait = history.not_before - now;
            assert!(wait >= Duration::from_secs(longest) / 2, "{wait:?}");
        }
        // Nothing that was merely outdated: news do not shorten that.
        let until = history.not_before;
        history.news();
        assert_eq!(history.not_before, until);
        history.failed(9, now);
        history.conflicted(now);
        history.news();
        assert!(history.not_before < until);
        assert_eq!(history.failures, 0);
        // Other addresses are another matter.
        history.not_before = now;
        history.wrote(&Some(Addresses::default()), now);
        assert_eq!(history.not_before, now);
    }
}
