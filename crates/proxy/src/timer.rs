//! Time limits that cost next to nothing while nobody is late.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The furthest ahead that the runtime's timer is set. Limits beyond it are reached in steps, so
/// that a new deadline is nearly always later than the one set, and need not move it.
const STEP: Duration = Duration::from_secs(30);

/// One waiter's timer, used for one limit after the other.
///
/// An operation that is ready at once does not touch it; one that has to wait reads the clock,
/// and moves the runtime's timer only if its deadline comes before the one set.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The end of the whole exchange, if it has one.
    pub(crate) total: Option<Instant>,
}

/// A time limit has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elapsed {
    /// That of the operation.
    Operation,
    /// That of the whole exchange.
    Total,
}

impl Timer {
    /// A timer for an exchange that ends at `total`.
    pub(crate) fn until(total: Option<Instant>) -> Self {
        Self { sleep: None, total }
    }

    /// Runs `operation` for `limit` at the most; zero is no limit.
    pub(crate) fn limit<T>(
        &mut self,
        limit: Duration,
        operation: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Elapsed>> {
        self.limit_unless(limit, operation, || None)
    }

    /// The same, but that `more` tells, once the operation's limit has passed, how much more time
    /// there is, if any.
    pub(crate) async fn limit_unless<T>(
        &mut self,
        limit: Duration,
        operation: impl Future<Output = T>,
        more: impl Fn() -> Option<Duration>,
    ) -> Result<T, Elapsed> {
        let mut operation = pin!(operation);
        let mut deadline = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = operation.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let deadline = deadline.get_or_insert_with(|| self.deadline(limit));
            while let Some((at, elapsed)) = *deadline {
                if self.poll_deadline(cx, at).is_pending() {
                    return Poll::Pending;
                }
                match more() {
                    Some(more) if elapsed == Elapsed::Operation => *deadline = self.deadline(more),
                    _ => return Poll::Ready(Err(elapsed)),
                }
            }
            Poll::Pending
        })
        .await
    }

    fn deadline(&self, limit: Duration) -> Option<(Instant, Elapsed)> {
        let operation = (!limit.is_zero()).then(|| (Instant::now() + limit, Elapsed::Operation));
        let total = self.total.map(|at| (at, Elapsed::Total));
        match (operation, total) {
            (Some(operation), Some(total)) => Some(if total.0 < operation.0 {
                total
            } else {
                operation
            }),
            (operation, total) => operation.or(total),
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            let sleep = match &mut self.sleep {
                Some(sleep) => {
                    if sleep.deadline() > deadline {
                        sleep.as_mut().reset(deadline);
                    }
                    sleep
                }
                None => {
                    let next = deadline.min(Instant::now() + STEP);
                    self.sleep.insert(Box::pin(sleep_until(next)))
                }
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= deadline {
                self.sleep = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.min(now + STEP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(future: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(future);
    }

    #[test]
    fn limits_longer_than_a_step_are_kept() {
        run(async {
            let start = Instant::now();
            let mut timer = Timer::default();
            for limit in [75, 60, 5, 100] {
                let before = start.elapsed();
                let result = timer.limit(Duration::from_secs(limit), std::future::pending::<()>());
                assert_eq!(result.await, Err(Elapsed::Operation));
                assert_eq!((start.elapsed() - before).as_secs(), limit);
            }
        });
    }

    #[test]
    fn the_whole_exchange_ends_before_the_operation() {
        run(async {
            let mut timer = Timer::until(Some(Instant::now() + Duration::from_secs(3)));
            let result = timer
                .limit(Duration::from_secs(60), std::future::pending::<()>())
                .await;
            assert_eq!(result, Err(Elapsed::Total));
        });
    }

    #[test]
    fn zero_is_no_limit() {
        run(async {
            let mut timer = Timer::default();
            let slow = tokio::time::sleep(Duration::from_secs(1_000_000));
            assert_eq!(timer.limit(Duration::ZERO, slow).await, Ok(()));
        });
    }
}
