//! What is counted of lists that are followed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::claims::Who;
use super::round::Round;

/// What is counted of lists that are followed. Clones count the same.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Metrics {
    rounds: Family<[(&'static str, &'static str); 1], Counter>,
    images: Family<[(&'static str, &'static str); 1], Gauge>,
    pub(super) copied: Counter,
    pub(super) bytes: Counter,
    pub(super) pruned: Counter,
    last: Gauge,
    /// Images that are there and that are not, of each list's last round.
    states: Arc<Mutex<BTreeMap<Who, (usize, usize)>>>,
}

impl Metrics {
    /// Shows them in `registry`.
    pub(in super::super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "narthex_registry_sync_rounds",
            "Rounds over all lists, by their result",
            metrics.rounds.clone(),
        );
        registry.register(
            "narthex_registry_sync_images",
            "Images of the lists after the last round, by their state",
            metrics.images.clone(),
        );
        registry.register(
            "narthex_registry_sync_copied_images",
            "Images that were brought",
            metrics.copied.clone(),
        );
        registry.register(
            "narthex_registry_sync_copied_bytes",
            "Bytes of blobs that were brought",
            metrics.bytes.clone(),
        );
        registry.register(
            "narthex_registry_sync_pruned_images",
            "Tags that no list names any more and that were taken away",
            metrics.pruned.clone(),
        );
        registry.register(
            "narthex_registry_sync_last_success_timestamp_seconds",
            "When all images of the lists were there last, in seconds since 1970",
            metrics.last.clone(),
        );
        metrics
    }

    /// A round over one's list has ended.
    pub(super) fn count(&self, who: &Who, round: &Round) {
        let result = match round.failed.is_empty() {
            true => "done",
            false => "failed",
        };
        self.rounds.get_or_create(&[("result", result)]).inc();
        let state = (round.present + round.copied, round.failed.len());
        let all_there = self.set(|states| {
            states.insert(who.clone(), state);
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        if let (true, Ok(now)) = (all_there, now) {
            self.last.set(i64::try_from(now.as_secs()).unwrap_or(0));
        }
    }

    /// One's list is not followed any more.
    pub(super) fn forget(&self, who: &Who) {
        self.set(|states| {
            states.remove(who);
        });
    }

    /// Whether all images are there.
    fn set(&self, change: impl FnOnce(&mut BTreeMap<Who, (usize, usize)>)) -> bool {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut states);
        let sum = |of: fn(&(usize, usize)) -> usize| states.values().map(of).sum::<usize>();
        let (present, failing) = (sum(|it| it.0), sum(|it| it.1));
        for (state, count) in [("present", present), ("failing", failing)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.images.get_or_create(&[("state", state)]).set(count);
        }
        failing == 0
    }
}
