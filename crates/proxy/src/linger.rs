//! What clients still send after an answer that did not wait for it: it is read and forgotten, so
//! that they come to reading the answer. nginx does so for as long (`lingering_time`), as much
//! as it may be.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

/// How long a client may go on sending.
const WHOLE: Duration = Duration::from_secs(30);

/// How long it may send nothing meanwhile.
const IDLE: Duration = Duration::from_secs(2);

/// How much of a body is read so: as much as comes meanwhile.
pub(crate) const BODY: usize = usize::MAX;

/// How much is read after what is no request.
pub(crate) const NO_REQUEST: usize = 1024 * 1024;

/// Has `more` read and forget something, and say how much, until there is nothing more, or it was
/// `most` bytes, or has taken too long.
pub(crate) async fn linger(most: usize, mut more: impl AsyncFnMut() -> usize) {
    let end = Instant::now() + WHOLE;
    // The answer is out, so whatever ends this is no failure.
    let _ = timeout_at(end, async {
        let mut left = most;
        while left > 0
            && let Ok(count @ 1..) = timeout(IDLE, more()).await
        {
            left = left.saturating_sub(count);
        }
    })
    .await;
}
