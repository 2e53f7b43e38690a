//! Waiting with a deadline.

use std::time::{Duration, Instant};

/// How long anything that should happen soon may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `attempt` gives a value.
///
/// Panics with `what` when [`PATIENCE`] is over.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Polls until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()));
}

/// Checks during `span` that `condition` never holds.
#[track_caller]
pub fn never(what: &str, span: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        assert!(!condition(), "must not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
