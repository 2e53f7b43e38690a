//! What the API's side counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// `kind` or `type`, and `result`.
type Labels = [(&'static str, &'static str); 2];

/// What is counted of status, Events and the leader.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) leader: Gauge,
    pub(crate) replicas: Gauge,
    status_writes: Family<Labels, Counter>,
    events: Family<Labels, Counter>,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "narthex_leader",
            "Whether this replica is the leader, which writes status and Events",
            self.leader.clone(),
        );
        registry.register(
            "narthex_live_replicas",
            "Replicas that are live, this one among them; 0 if this one is not the leader",
            self.replicas.clone(),
        );
        registry.register(
            "narthex_status_writes",
            "Writes of objects' status, by kind and result",
            self.status_writes.clone(),
        );
        registry.register(
            "narthex_events",
            "Events written, by type and result",
            self.events.clone(),
        );
    }

    pub(crate) fn wrote_status(&self, kind: &'static str, result: &'static str) {
        let labels = [("kind", kind), ("result", result)];
        self.status_writes.get_or_create(&labels).inc();
    }

    pub(crate) fn wrote_event(&self, kind: &'static str, result: &'static str) {
        let labels = [("type", kind), ("result", result)];
        self.events.get_or_create(&labels).inc();
    }
}
