//! The watches of a cluster, in metrics and in the API.

use std::fmt;
use std::sync::{Arc, OnceLock};

use admin::view;
use cluster::{Condition, Inbox};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The watches of a cluster, once there are any.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(Arc<OnceLock<Arc<Inbox>>>);

impl Sources {
    /// With their metrics.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let sources = Self::default();
        registry.register_collector(Box::new(sources.clone()));
        sources
    }

    /// These are the ones.
    pub(super) fn set(&self, inbox: Arc<Inbox>) {
        // There is one cluster in a process's life.
        let _ = self.0.set(inbox);
    }

    /// What is waited for, where the first configuration is not there yet.
    pub(super) fn missing(&self) -> Option<String> {
        let missing = self.0.get()?.missing();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// What does not work, for people.
    pub(super) fn trouble(&self) -> Option<String> {
        let (kind, since, why) = self
            .conditions()
            .into_iter()
            .filter_map(|condition| {
                let (since, why) = condition.down?;
                Some((condition.kind, since, why))
            })
            .max_by_key(|(_, since, _)| *since)?;
        Some(format!(
            "{kind} not followed for {} s: {why}",
            since.as_secs()
        ))
    }

    /// For the API.
    pub(super) fn views(&self) -> Vec<view::Source> {
        let conditions = self.conditions().into_iter();
        let view = |condition: Condition| {
            let (down, error) = condition.down.unzip();
            view::Source {
                kind: condition.kind.name(),
                watches: condition.watches,
                synced: condition.synced,
                connected: condition.connected,
                restarts: condition.restarts,
                last_event_seconds: condition.last_event.map(|ago| ago.as_secs()),
                down_seconds: down.map(|since| since.as_secs()),
                error,
            }
        };
        conditions.map(view).collect()
    }

    /// The APIs that the cluster has beside those that every cluster has.
    pub(super) fn offers(&self) -> Vec<view::Api> {
        let offers = self.0.get().map_or_else(Vec::new, |inbox| inbox.offers());
        let served = offers
            .into_iter()
            .filter(|offer| !offer.versions.is_empty());
        served
            .map(|offer| view::Api {
                name: offer.api.name,
                group: offer.api.group,
                is_read: offer.is_read(),
                versions: offer.versions,
            })
            .collect()
    }

    fn conditions(&self) -> Vec<Condition> {
        self.0
            .get()
            .map_or_else(Vec::new, |inbox| inbox.conditions())
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let conditions = self.conditions();
        if conditions.is_empty() {
            return Ok(());
        }
        let label = |condition: &Condition| [("kind", condition.kind.name())];
        let gauge = ConstGauge::new(0_i64);
        let mut family = encoder.encode_descriptor(
            "narthex_cluster_connected",
            "Whether all watches of the kind work",
            None,
            gauge.metric_type(),
        )?;
        for condition in &conditions {
            let works = condition.connected == condition.watches;
            ConstGauge::new(i64::from(works)).encode(family.encode_family(&label(condition))?)?;
        }
        let counter = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor(
            "narthex_cluster_watch_restarts",
            "How often a watch of the kind had to begin again after something went wrong",
            None,
            counter.metric_type(),
        )?;
        for condition in &conditions {
            let restarts = ConstCounter::new(condition.restarts);
            restarts.encode(family.encode_family(&label(condition))?)?;
        }
        Ok(())
    }
}
