//! Waiting with a deadline that a loaded machine keeps even when an API server has to start.

use std::time::{Duration, Instant};

/// How long anything that should happen soon may take.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Polls until `attempt` gives a value; the last error is what the test fails with.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match attempt() {
            Ok(value) => return value,
            Err(error) => error,
        };
        assert!(
            Instant::now() < deadline,
            "not within {PATIENCE:?}: {what}: {error}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Polls until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || match condition() {
        true => Ok(()),
        false => Err("it does not hold".to_owned()),
    });
}
