//! What the cache counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Manifest,
    Blob,
}

/// How that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// It was there.
    Hit,
    /// It was got.
    Miss,
    /// It came already, for somebody else.
    Joined,
    /// It was there, and upstream could not be asked whether it is still right.
    Stale,
    /// Upstream does not have it, or does not give it.
    Refused,
    /// Upstream is away, or something here failed.
    Failed,
}

/// What the cache counts. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    asked: Family<[(&'static str, &'static str); 2], Counter>,
    fetched: Counter,
}

impl Metrics {
    /// Shows them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "narthex_registry_cache_requests",
            "Pulls of cached registries' images by what they were about and result",
            metrics.asked.clone(),
        );
        registry.register(
            "narthex_registry_cache_fetched_bytes",
            "Content that was got of cached registries",
            metrics.fetched.clone(),
        );
        metrics
    }

    pub(super) fn asked(&self, kind: Kind, outcome: Outcome) {
        let kind = match kind {
            Kind::Manifest => "manifest",
            Kind::Blob => "blob",
        };
        let outcome = match outcome {
            Outcome::Hit => "hit",
            Outcome::Miss => "miss",
            Outcome::Joined => "joined",
            Outcome::Stale => "stale",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        };
        let labels = [("about", kind), ("result", outcome)];
        self.asked.get_or_create(&labels).inc();
    }

    pub(super) fn fetched(&self, bytes: usize) {
        self.fetched.inc_by(bytes as u64);
    }
}
