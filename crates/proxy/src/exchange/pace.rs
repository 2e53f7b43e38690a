//! Responses that go out no quicker than their rule says (ingress-nginx: `limit-rate`).

use std::time::{Duration, Instant};

use model::Filter;
use model::filter::Pace;

use crate::client::{ClientFault, Length, ResponseSink, passes_on};
use crate::headers::{Headers, ResponseHead};

/// However slow it is, something goes out as often as this.
const LONGEST: Duration = Duration::from_secs(1);

/// Where a response goes, perhaps slowly.
pub(super) struct Paced<'a, S> {
    sink: &'a mut S,
    pace: Option<Clock>,
}

/// What may have gone out by when, as nginx counts it: a second's worth at once.
#[derive(Debug, Clone, Copy)]
struct Clock {
    pace: Pace,
    start: Instant,
    sent: u64,
}

impl<'a, S> Paced<'a, S> {
    /// As a rule's filters say, from now on.
    pub(super) fn new(sink: &'a mut S, filters: &[Filter], start: Instant) -> Self {
        let pace = filters.iter().find_map(|filter| match filter {
            Filter::Pace(pace) => Some(**pace),
            _ => None,
        });
        let pace = pace.filter(|pace| pace.rate > 0);
        let clock = |pace| Clock {
            pace,
            start,
            sent: 0,
        };
        Self {
            sink,
            pace: pace.map(clock),
        }
    }
}

impl Clock {
    /// How many bytes may go out at `now`.
    fn allowed(&self, now: Instant) -> u64 {
        let rate = u128::from(self.pace.rate);
        let millis = now.saturating_duration_since(self.start).as_millis() + 1000;
        let by_now = u128::from(self.pace.after) + rate * millis / 1000;
        u64::try_from(by_now.saturating_sub(self.sent.into())).unwrap_or(u64::MAX)
    }

    /// How long it is until `wanted` bytes may, or as many as go out at a time.
    fn wait(&self, wanted: u64, now: Instant) -> Duration {
        let missing = wanted.saturating_sub(self.allowed(now));
        let millis = missing.saturating_mul(1000) / self.pace.rate;
        Duration::from_millis(millis + 1).min(LONGEST)
    }
}

impl<S: ResponseSink> ResponseSink for Paced<'_, S> {
    passes_on!();

    async fn head(
        &mut self,
        head: &ResponseHead,
        length: Length,
        keep: bool,
    ) -> Result<(), ClientFault> {
        self.sink.head(head, length, keep).await
    }

    async fn data(&mut self, bytes: &[u8], last: bool) -> Result<(), ClientFault> {
        let Some(clock) = &mut self.pace else {
            return self.sink.data(bytes, last).await;
        };
        let mut rest = bytes;
        loop {
            let now = Instant::now();
            let left = rest.len() as u64;
            let count = usize::try_from(clock.allowed(now).min(left)).unwrap_or(rest.len());
            if count == rest.len() {
                clock.sent += left;
                return self.sink.data(rest, last).await;
            }
            let (part, later) = rest.split_at(count);
            if !part.is_empty() {
                clock.sent += part.len() as u64;
                self.sink.data(part, false).await?;
                self.sink.flush().await?;
            }
            rest = later;
            tokio::time::sleep(clock.wait(rest.len() as u64, now)).await;
        }
    }

    async fn flush(&mut self) -> Result<(), ClientFault> {
        self.sink.flush().await
    }

    async fn end(&mut self, trailers: &Headers) -> Result<(), ClientFault> {
        self.sink.end(trailers).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_goes_out_at_once_and_then_as_much_each_second() {
        let start = Instant::now();
        let pace = Pace {
            rate: 1000,
            after: 500,
        };
        let mut clock = Clock {
            pace,
            start,
            sent: 0,
        };
        assert_eq!(clock.allowed(start), 1500);
        clock.sent = 1500;
        assert_eq!(clock.allowed(start), 0);
        assert_eq!(clock.allowed(start + Duration::from_millis(250)), 250);
        let wait = |wanted| clock.wait(wanted, start).as_millis();
        assert_eq!((wait(100), wait(1_000_000)), (101, 1000));
    }
}
