//! Workers that serve a change from the same moment on.
//!
//! What is ordered reaches one worker after the other. If each served a configuration as soon as it
//! has it, who has seen a change at one worker could come to another next, and find it undone: a
//! script that waits for a change and then tries it would fail by chance. So every worker is given
//! the configuration first, and one counter, which each looks at when a request begins, has all of
//! them take it up at once.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many configurations the workers were told to take up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Released(Arc<AtomicU64>);

impl Released {
    /// Has all workers take up what they were given.
    pub(crate) fn release(&self) {
        // Whoever sees it sees what was done before it.
        self.0.fetch_add(1, Ordering::Release);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// One worker's part in it: what it was given and does not serve yet.
#[derive(Debug)]
pub(crate) struct Next<T> {
    released: Released,
    taken: Cell<u64>,
    given: RefCell<Option<T>>,
}

impl<T> Next<T> {
    pub(crate) fn new(released: Released) -> Self {
        Self {
            taken: Cell::new(released.count()),
            released,
            given: RefCell::new(None),
        }
    }

    /// Gives what is to be taken up with the next release, in place of what was given before.
    pub(crate) fn give(&self, next: T) {
        self.given.replace(Some(next));
    }

    /// Whether there was a release since the last [`take`](Self::take).
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.released.count() != self.taken.get()
    }

    /// What was given; none if it was taken already.
    #[cold]
    pub(crate) fn take(&self) -> Option<T> {
        self.taken.set(self.released.count());
        self.given.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_due_at_all_with_the_release_and_taken_once() {
        let released = Released::default();
        let all = [Next::new(released.clone()), Next::new(released.clone())];
        for round in 0..3 {
            for next in &all {
                next.give(round);
            }
            assert!(all.iter().all(|next| !next.is_due()));
            released.release();
            assert!(all.iter().all(Next::is_due));
            assert_eq!(all[0].take(), Some(round));
            assert_eq!(all[0].take(), None);
            assert!(!all[0].is_due() && all[1].is_due());
            assert_eq!(all[1].take(), Some(round));
        }
    }

    #[test]
    fn who_comes_later_waits_for_the_next_release() {
        let released = Released::default();
        released.release();
        let next = Next::new(released.clone());
        assert!(!next.is_due());
        next.give(1);
        next.give(2);
        released.release();
        assert_eq!((next.is_due(), next.take()), (true, Some(2)));
    }
}
