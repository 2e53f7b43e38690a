//! Metrics of the control plane.

use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Applied;
use super::process::ProcessCollector;
use crate::finding;

type Label = [(&'static str, &'static str); 1];

/// In seconds.
const EVENT_TO_SERVED: [f64; 15] = [
    0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5,
    10.0,
];

/// Metrics of the control plane.
#[derive(Debug)]
pub(super) struct Metrics {
    generation: Gauge,
    last_applied: Gauge<f64, std::sync::atomic::AtomicU64>,
    problems: Family<Label, Gauge>,
    objects: Family<Label, Gauge>,
    compile_seconds: Histogram,
    event_to_served_seconds: Histogram,
    degraded: Gauge,
    certificate_expiry: Family<Vec<(&'static str, String)>, Gauge>,
}

impl Metrics {
    /// These certificates are served.
    pub(super) fn certificates<'a>(&self, all: impl Iterator<Item = (&'a str, i64)>) {
        self.certificate_expiry.clear();
        for (source, end) in all {
            let labels = vec![("source", source.to_owned())];
            self.certificate_expiry.get_or_create(&labels).set(end);
        }
    }

    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            generation: Gauge::default(),
            last_applied: Gauge::default(),
            problems: Family::default(),
            objects: Family::default(),
            // 0.1 ms to 6.5 s.
            compile_seconds: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            event_to_served_seconds: Histogram::new(EVENT_TO_SERVED),
            degraded: Gauge::default(),
            certificate_expiry: Family::default(),
        };
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("narthex_build", "The program", build);
        registry.register(
            "narthex_certificate_expiry_seconds",
            "When a certificate that is served ends, in seconds since 1970, by where it comes from",
            metrics.certificate_expiry.clone(),
        );
        registry.register(
            "narthex_config_generation",
            "Counts the configurations that were applied",
            metrics.generation.clone(),
        );
        registry.register(
            "narthex_config_last_applied_timestamp_seconds",
            "When the last configuration was applied, in seconds since 1970",
            metrics.last_applied.clone(),
        );
        registry.register(
            "narthex_config_problems",
            "Problems of the objects",
            metrics.problems.clone(),
        );
        registry.register(
            "narthex_config_objects",
            "Objects by kind",
            metrics.objects.clone(),
        );
        registry.register(
            "narthex_config_compile_seconds",
            "How long compiling a configuration took",
            metrics.compile_seconds.clone(),
        );
        registry.register(
            "narthex_config_event_to_served_seconds",
            "From the first event of a change that the cluster sent until every worker serves it",
            metrics.event_to_served_seconds.clone(),
        );
        registry.register(
            "narthex_config_degraded",
            "Whether a copy of an earlier configuration is served, because the API server did not \
             answer at the start",
            metrics.degraded.clone(),
        );
        registry.register_collector(Box::new(ProcessCollector::new()));
        metrics
    }

    pub(super) fn degraded(&self, is_so: bool) {
        self.degraded.set(i64::from(is_so));
    }

    pub(super) fn served(&self, after: Duration) {
        self.event_to_served_seconds.observe(after.as_secs_f64());
    }

    pub(super) fn applied(&self, applied: &Applied) {
        self.generation.set(narrow(applied.snapshot.generation));
        let since = applied.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_applied.set(since.as_secs_f64());
        let problems = finding::count(&applied.findings);
        for (severity, count) in [("error", problems.errors), ("warning", problems.warnings)] {
            let gauge = self.problems.get_or_create(&[("severity", severity)]);
            gauge.set(narrow(count));
        }
        for (&kind, &count) in &applied.counts {
            self.objects
                .get_or_create(&[("kind", kind)])
                .set(narrow(count));
        }
        self.compile_seconds
            .observe(applied.compiling.as_secs_f64());
    }
}

fn narrow(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
