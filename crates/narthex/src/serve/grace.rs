//! The time between a signal that asks to end and the end of accepting.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::signals::Exit;

/// After so long without a new connection nobody sends any more.
const QUIET: Duration = Duration::from_secs(1);

/// Begun by the signal. It lasts for its period, and for as long again while connections still
/// come: a load balancer that has not noticed yet would find the door shut, and its client an
/// error.
#[derive(Debug, Default)]
pub(super) struct Grace(Option<Begun>);

#[derive(Debug)]
struct Begun {
    exit: Exit,
    /// When it is looked at next.
    next: Instant,
    /// When its period is over.
    end: Instant,
    /// When it is over whatever comes.
    last: Instant,
    /// How many connections there had been at the last look.
    taken: Option<u64>,
}

impl Grace {
    /// Whether it has begun now: not where there is none to give, and not twice.
    pub(super) fn begin(&mut self, exit: Exit, period: Duration) -> bool {
        if self.0.is_some() || period.is_zero() {
            return false;
        }
        let end = Instant::now() + period;
        self.0 = Some(Begun {
            exit,
            next: end - QUIET.min(period),
            end,
            last: end + period,
            taken: None,
        });
        true
    }

    /// Waits until it is to be looked at. Cancel safe.
    pub(super) async fn over(&self) -> Exit {
        match &self.0 {
            None => std::future::pending().await,
            Some(begun) => {
                sleep_until(begun.next).await;
                begun.exit
            }
        }
    }

    /// Whether connections are taken for longer; so many have been by now.
    pub(super) fn goes_on(&mut self, taken: u64) -> bool {
        let Some(begun) = &mut self.0 else {
            return false;
        };
        let Some(before) = begun.taken.replace(taken) else {
            // A moment before the end of the period.
            begun.next = begun.end;
            return true;
        };
        if taken == before {
            return false;
        }
        if begun.next >= begun.last {
            tracing::warn!(
                "connections still come, and are refused from now on: whoever sends them has not \
                 noticed that this process ends; give a longer --shutdown-grace-period"
            );
            return false;
        }
        if begun.next == begun.end {
            tracing::info!(
                "connections still come: they are taken until none has come for {QUIET:?}, for \
                 {:?} at most",
                begun.last - begun.end
            );
        }
        begun.next = (begun.next + QUIET).min(begun.last);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(3);

    /// After how many looks it is over, where the counts are these.
    fn looks(period: Duration, taken: impl Fn(u64) -> u64) -> u64 {
        let mut grace = Grace::default();
        assert!(grace.begin(Exit::Terminate, period));
        assert!(!grace.begin(Exit::Terminate, period));
        let over = (1..1000).find(|look| !grace.goes_on(taken(*look)));
        over.expect("it ends")
    }

    #[test]
    fn it_lasts_for_its_period_and_for_as_long_again_while_connections_come() {
        // One look a moment before the end, and one at it.
        assert_eq!(looks(PERIOD, |_| 7), 2);
        assert_eq!(looks(PERIOD, |look| look.min(3)), 4);
        assert_eq!(looks(PERIOD, |look| look), 5);
        let short = Duration::from_millis(500);
        assert_eq!(looks(short, |look| look), 3);
        assert!(!Grace::default().begin(Exit::Terminate, Duration::ZERO));
    }
}
