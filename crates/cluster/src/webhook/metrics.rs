//! Metrics of the webhook.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::review::Outcome;

type Label = [(&'static str, &'static str); 1];

/// How many reviews came to what, and how long they took.
#[derive(Debug, Clone)]
pub struct Metrics {
    reviews: Family<Label, Counter>,
    seconds: Histogram,
}

impl Metrics {
    /// Adds `narthex_admission_reviews_total` and `narthex_admission_seconds` to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reviews: Family::default(),
            // 0.1 ms to 6.5 s.
            seconds: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
        };
        for outcome in Outcome::ALL {
            drop(
                metrics
                    .reviews
                    .get_or_create(&[("result", outcome.label())]),
            );
        }
        registry.register(
            "narthex_admission_reviews",
            "Reviews of the admission webhook by what they came to",
            metrics.reviews.clone(),
        );
        registry.register(
            "narthex_admission_seconds",
            "From a review's first byte to its answer",
            metrics.seconds.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, outcome: Outcome, took: Duration) {
        self.reviews
            .get_or_create(&[("result", outcome.label())])
            .inc();
        self.seconds.observe(took.as_secs_f64());
    }
}
