//! What a registry counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::refusal;
use crate::cache;
use crate::store::Collected;

type Labels = [(&'static str, String); 3];

/// What a registry counts. Clones count the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
    seconds: Histogram,
    received: Counter,
    sent: Counter,
    connections: Gauge<i64, AtomicI64>,
    refused_connections: Counter,
    refusals: Family<[(&'static str, &'static str); 1], Counter>,
    collections: Family<[(&'static str, &'static str); 1], Counter>,
    collected_bytes: Counter,
    cache: cache::Metrics,
}

/// A connection that is counted while this lives.
#[derive(Debug)]
pub(super) struct Connected(Arc<Metrics>);

impl Metrics {
    /// Shows them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            cache: cache::Metrics::register(registry),
            ..Self::default()
        };
        registry.register(
            "narthex_registry_requests",
            "Requests by what they were about, method and status",
            metrics.requests.clone(),
        );
        registry.register(
            "narthex_registry_request_seconds",
            "From a request's head to its answer's head",
            metrics.seconds.clone(),
        );
        registry.register(
            "narthex_registry_received_bytes",
            "Content that clients sent",
            metrics.received.clone(),
        );
        registry.register(
            "narthex_registry_sent_bytes",
            "Content that clients were sent",
            metrics.sent.clone(),
        );
        registry.register(
            "narthex_registry_connections",
            "Connections of clients",
            metrics.connections.clone(),
        );
        registry.register(
            "narthex_registry_refused_connections",
            "Connections beyond the limit",
            metrics.refused_connections.clone(),
        );
        registry.register(
            "narthex_registry_refusals",
            "Requests and connections that were refused, by why",
            metrics.refusals.clone(),
        );
        registry.register(
            "narthex_registry_collections",
            "Garbage collections by their result",
            metrics.collections.clone(),
        );
        registry.register(
            "narthex_registry_collected_bytes",
            "Content that garbage collections took away",
            metrics.collected_bytes.clone(),
        );
        metrics
    }

    /// What a cache counts.
    pub fn cache(&self) -> cache::Metrics {
        self.cache.clone()
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.inc_by(bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
    }

    pub(super) fn answered(&self, about: &'static str, method: &str, status: u16, took: Duration) {
        // A client's own words do not become labels.
        let method = match method {
            "GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE" => method,
            _ => "other",
        };
        let labels = [
            ("about", about.to_owned()),
            ("method", method.to_owned()),
            ("code", status.to_string()),
        ];
        self.requests.get_or_create(&labels).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.inc();
        Connected(Arc::clone(self))
    }

    pub(super) fn connection_refused(&self) {
        self.refused_connections.inc();
        self.refused(refusal::CONNECTIONS);
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&[("reason", reason)]).inc();
    }

    /// A collection has ended.
    pub fn collected(&self, collected: Option<&Collected>) {
        let result = if collected.is_some() {
            "done"
        } else {
            "failed"
        };
        self.collections.get_or_create(&[("result", result)]).inc();
        self.collected_bytes
            .inc_by(collected.map_or(0, |it| it.bytes));
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> i64 {
        self.connections.inner().load(Ordering::Relaxed)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            // 1 ms to 65 s.
            seconds: Histogram::new(exponential_buckets(0.001, 4.0, 9)),
            received: Counter::default(),
            sent: Counter::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            refusals: Family::default(),
            collections: Family::default(),
            collected_bytes: Counter::default(),
            cache: cache::Metrics::default(),
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
