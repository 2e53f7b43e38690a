//! Whether we lead, asked right before every write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Moment;

/// Whether this process is the leader, by the clock: a process that was stopped and wakes up knows
/// at once that its time is over, before any request has told it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leadership {
    /// Until when, in microseconds since boot; 0 if it does not lead.
    until: Arc<AtomicU64>,
}

impl Leadership {
    /// Whether it leads now. What is written must ask right before it is sent.
    pub(crate) fn is_held(&self) -> bool {
        Moment::now().micros() < self.until.load(Ordering::Relaxed)
    }

    pub(super) fn extend(&self, until: Moment) {
        self.until.store(until.micros(), Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.until.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_ends_by_the_clock_alone() {
        let leadership = Leadership::default();
        assert!(!leadership.is_held());
        leadership.extend(Moment::now() + Duration::from_secs(60));
        assert!(leadership.is_held());
        leadership.end();
        assert!(!leadership.is_held());
        leadership.extend(Moment::now());
        assert!(!leadership.is_held());
    }
}
