//! What one worker knows of an endpoint.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use model::endpoint::{Failure, Standing};
use model::policy::Ejection;
use model::transport::FastCgi;
use model::{Endpoint, HttpVersion};

use super::Idle;
use super::http2::Connections;

/// In how much time a measured latency loses most (1 - 1/e) of its weight.
const DECAY: Duration = Duration::from_secs(10);

/// How much a slower answer counts against what was measured before, at least. All of it would
/// have one slow request in a thousand drive everybody elsewhere for seconds; if the endpoint as a
/// whole is slow, its requests in flight say so sooner.
const RISE: f32 = 0.1;

/// What a failure counts as, at least and at most: an endpoint that fails fast is not a fast one.
const PENALTY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// In how much time a failure loses most of its weight: less than a latency, for one that goes on
/// is soon followed by others, and ejected.
const FORGIVING: Duration = Duration::from_secs(2);
/// When it has lost so much that it need not be worked out.
const FORGIVEN: Duration = Duration::from_secs(30);

/// Milliseconds of the clock that endpoints' health is told in.
pub(crate) fn clock(now: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = now.saturating_duration_since(*START).as_millis();
    // Above zero, which means never.
    u64::try_from(since).unwrap_or(u64::MAX / 4) + 1
}

/// What one worker knows of an endpoint. It lives for as long as any backend of the worker or any
/// exchange uses it, whatever snapshot it came with.
#[derive(Debug)]
pub(crate) struct EndpointState {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) idle: RefCell<Vec<Idle>>,
    /// Where HTTP/2 is spoken.
    pub(super) http2: OnceCell<Box<Connections>>,
    pub(super) in_flight: Cell<u32>,
    latency: Cell<Option<Latency>>,
    penalty: Cell<Option<Latency>>,
    /// When it joined others that were there before.
    pub(super) joined: Cell<Option<Instant>>,
}

/// A peak-sensitive moving average: it follows a rise within a few answers and a fall slowly.
#[derive(Debug, Clone, Copy)]
struct Latency {
    seconds: f32,
    at: Instant,
}

impl EndpointState {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            idle: RefCell::default(),
            http2: OnceCell::new(),
            in_flight: Cell::new(0),
            latency: Cell::new(None),
            penalty: Cell::new(None),
            joined: Cell::new(None),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    pub(crate) fn is_plain_http1(&self) -> bool {
        self.endpoint.transport.is_plain_http1()
    }

    /// What it is told, if it speaks FastCGI.
    pub(crate) fn fastcgi(&self) -> Option<&FastCgi> {
        self.endpoint.transport.fastcgi.as_deref()
    }

    /// Whether its connections are shared by requests of many clients.
    pub(crate) fn shares_connections(&self) -> bool {
        self.endpoint.transport.http == HttpVersion::Http2
    }

    pub(crate) fn id(&self) -> u64 {
        self.endpoint.id
    }

    /// The exchanges that this worker has there now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Whether it is to be used.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        self.endpoint.health.standing(|| clock(now))
    }

    /// Whether what it was last asked failed.
    pub(super) fn is_suspect(&self) -> bool {
        self.endpoint.health.is_suspect()
    }

    /// Notes how long it took to answer.
    pub(crate) fn answered(&self, took: Duration, now: Instant) {
        let took = took.as_secs_f32();
        let seconds = match self.latency.get() {
            Some(last) => {
                let left = fading(now.saturating_duration_since(last.at));
                let left = if took < last.seconds {
                    left
                } else {
                    left.min(1.0 - RISE)
                };
                took + (last.seconds - took) * left
            }
            None => took,
        };
        self.latency.set(Some(Latency { seconds, at: now }));
    }

    /// Notes that a request was served well.
    pub(crate) fn succeeded(&self, ejection: &Ejection, now: impl FnOnce() -> Instant) {
        self.endpoint.health.succeeded(ejection, || clock(now()));
    }

    /// Notes a failure that took so long. True if that ejects it, for all workers.
    pub(crate) fn failed(
        &self,
        ejection: &Ejection,
        how: Failure,
        took: Duration,
        now: Instant,
    ) -> bool {
        self.penalize(took, now);
        let health = &self.endpoint.health;
        health.failed(ejection, how, clock(now), fastrand::f64())
    }

    /// Notes an answer that is none, and that took so long.
    pub(super) fn penalize(&self, took: Duration, now: Instant) {
        let took = took.clamp(*PENALTY.start(), *PENALTY.end());
        let seconds = took.as_secs_f32().max(self.penalty(now));
        self.penalty.set(Some(Latency { seconds, at: now }));
    }

    /// What its last failures count as now, in seconds.
    pub(super) fn penalty(&self, now: Instant) -> f32 {
        let Some(last) = self.penalty.get() else {
            return 0.0;
        };
        let age = now.saturating_duration_since(last.at);
        if age > FORGIVEN {
            return 0.0;
        }
        last.seconds * (-age.as_secs_f32() / FORGIVING.as_secs_f32()).exp()
    }

    /// The latency as last measured in seconds, and how far that still holds, from 1 down to 0.
    pub(super) fn latency(&self, now: Instant) -> Option<(f32, f32)> {
        let last = self.latency.get()?;
        Some((last.seconds, fading(now.saturating_duration_since(last.at))))
    }

    /// Its share of the requests while it is new, from 0 to 1.
    pub(super) fn ramp(&self, window: Duration, now: Instant) -> f32 {
        /// Without any request it would never get warm.
        const LEAST: f32 = 0.1;
        let Some(joined) = self.joined.get() else {
            return 1.0;
        };
        let age = now.saturating_duration_since(joined).as_secs_f32();
        (age / window.as_secs_f32()).clamp(LEAST, 1.0)
    }
}

/// How much of an average is left after a time.
fn fading(age: Duration) -> f32 {
    // Where requests are frequent, this is most of them, and saves an exponential function.
    if age < Duration::from_millis(10) {
        return 1.0 - age.as_secs_f32() / DECAY.as_secs_f32();
    }
    (-age.as_secs_f32() / DECAY.as_secs_f32()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_rises_soon_and_falls_slowly() {
        let endpoint = Arc::new(Endpoint::new(([127, 0, 0, 1], 1).into()));
        let state = EndpointState::new(&endpoint);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let latency = |seconds| state.latency(at(seconds)).map(|(latency, _)| latency);
        let near = |seconds, expected: f32| {
            let found = latency(seconds).unwrap_or_default();
            assert!((found - expected).abs() < 0.01, "{found}, not {expected}");
        };
        assert_eq!(latency(0), None);
        state.answered(Duration::from_secs(1), at(0));
        near(0, 1.0);
        state.answered(Duration::ZERO, at(10));
        near(10, 0.37);
        // One slow answer among many is a tenth of the new value, and after a while all of it.
        state.answered(Duration::from_secs(10), at(10));
        near(10, 1.33);
        state.answered(Duration::from_secs(10), at(100));
        near(100, 10.0);
    }

    #[test]
    fn a_failure_counts_as_a_second_or_as_long_as_it_took_and_is_forgiven() {
        let endpoint = Arc::new(Endpoint::new(([127, 0, 0, 1], 1).into()));
        let state = EndpointState::new(&endpoint);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let fail = |took, when| {
            let ejection = Ejection::default();
            state.failed(&ejection, Failure::Bad, Duration::from_secs(took), at(when));
        };
        assert_eq!(state.penalty(at(0)), 0.0);
        fail(0, 0);
        assert_eq!(state.penalty(at(0)), 1.0);
        fail(4, 0);
        assert_eq!(state.penalty(at(0)), 4.0);
        fail(0, 0);
        assert_eq!(state.penalty(at(0)), 4.0);
        assert!((1.4..1.5).contains(&state.penalty(at(2))));
        assert_eq!(state.penalty(at(31)), 0.0);
        fail(3600, 40);
        assert_eq!(state.penalty(at(40)), 30.0);
    }

    #[test]
    fn a_new_endpoint_grows_to_its_full_share() {
        let endpoint = Arc::new(Endpoint::new(([127, 0, 0, 1], 1).into()));
        let state = EndpointState::new(&endpoint);
        let start = Instant::now();
        let window = Duration::from_secs(10);
        assert_eq!(state.ramp(window, start), 1.0);
        state.joined.set(Some(start));
        let shares =
            [0, 5, 10, 100].map(|age| state.ramp(window, start + Duration::from_secs(age)));
        assert_eq!(shares, [0.1, 0.5, 1.0, 1.0]);
    }
}
