//! Which requests are traced (OpenTelemetry), and whom their traces are told.

use std::time::Duration;

use crate::text::Text;

/// How a rule's requests are traced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traced {
    /// What the request's span is called; none is its method and the rule's path
    /// (ingress-nginx: `opentelemetry-operation-name`).
    pub operation: Option<Text>,
    /// Whether a trace that the client is in goes on; else each request begins one
    /// (ingress-nginx: `opentelemetry-trust-incoming-span`).
    pub trusts: bool,
}

/// What the configuration says of all traces, in the place of the command line. None of it is as
/// that says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracing {
    /// The collector's host, which takes OTLP by gRPC (`otlp-collector-host`); the empty text is
    /// none.
    pub host: Option<Box<str>>,
    /// Its port (`otlp-collector-port`).
    pub port: Option<u16>,
    /// What we are called (`otel-service-name`; OpenTelemetry: `service.name`).
    pub service: Option<Box<str>>,
    /// Which traces are told that begin here (`otel-sampler`).
    pub sampler: Option<Sampler>,
    /// What part of them, where the sampler asks (`otel-sampler-ratio`).
    pub ratio: Option<Ratio>,
    /// Whether a trace that goes on is told if whoever began it tells it
    /// (`otel-sampler-parent-based`).
    pub parent_based: Option<bool>,
    /// How many spans may wait to be told; more are dropped (`otel-max-queuesize`).
    pub queue: Option<usize>,
    /// How many are told at once (`otel-max-export-batch-size`).
    pub batch: Option<usize>,
    /// How long the first of them waits for others (`otel-schedule-delay-millis`).
    pub delay: Option<Duration>,
}

/// Which traces are told that begin here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sampler {
    /// All.
    #[default]
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// A part, which the trace's id decides.
    TraceIdRatioBased,
}

/// A part of all traces, from none to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u64);

impl Ratio {
    /// All traces.
    pub const ALL: Self = Self(1 << 63);

    /// A number from 0 to 1, if it is one.
    pub fn new(part: f64) -> Option<Self> {
        // Both ends are exact, and what is between is rounded.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let of = |part: f64| Self((part * (1_u64 << 63) as f64) as u64);
        (0.0..=1.0).contains(&part).then(|| of(part))
    }

    /// Whether a trace is one of them: by the last 63 bits of its id, as other libraries of
    /// OpenTelemetry decide, so that all who are asked say the same.
    pub fn has(self, trace: u128) -> bool {
        #[allow(clippy::cast_possible_truncation)]
        let last = trace as u64;
        (last >> 1) < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_has_that_part_of_all_ids() {
        let ratio = |part| Ratio::new(part).expect("a part");
        assert_eq!(ratio(1.0), Ratio::ALL);
        assert!(ratio(1.0).has(u128::MAX) && !ratio(0.0).has(0));
        assert!(ratio(0.5).has(u128::from(u64::MAX / 2)));
        assert!(!ratio(0.5).has(u128::from(u64::MAX / 2 + 1)));
        // What is before the last 64 bits counts for nothing.
        assert!(ratio(0.5).has(u128::MAX << 64));
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Ratio::new(wrong), None, "{wrong}");
        }
    }
}
