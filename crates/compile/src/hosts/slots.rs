//! Which counters of the metrics a host's requests go to.

use std::sync::Arc;

use hashbrown::HashMap;

// Underscores, which no host of an Ingress has, so that neither can be taken for one.
const UNKNOWN: &str = "_";
const OTHER: &str = "_other";

/// The slots handed out so far. A host keeps its slot for good, also while it is away, so that
/// a counter never changes its meaning.
#[derive(Debug)]
pub(super) struct Slots {
    most: u16,
    by_host: HashMap<Box<str>, u16>,
    labels: Vec<Box<str>>,
    shared: Arc<[Box<str>]>,
}

impl Slots {
    /// For at most `most` hosts; the others share the last slot.
    pub(super) fn new(most: u16) -> Self {
        let labels = vec![UNKNOWN.into()];
        // Two slots are not for hosts.
        let most = most.min(u16::MAX - 2);
        Self {
            most,
            by_host: HashMap::new(),
            shared: labels.clone().into(),
            labels,
        }
    }

    /// The slot of a host; 0 for all hosts together.
    pub(super) fn of(&mut self, host: &str) -> u16 {
        if host.is_empty() {
            return 0;
        }
        if let Some(slot) = self.by_host.get(host) {
            return *slot;
        }
        let other = self.most + 1;
        // There are at most as many labels as `other` counts.
        let next = u16::try_from(self.labels.len()).unwrap_or(other);
        if next > other {
            return other;
        }
        if next == other {
            self.labels.push(OTHER.into());
            return other;
        }
        self.labels.push(host.into());
        self.by_host.insert(host.into(), next);
        next
    }

    /// The label of each slot.
    pub(super) fn labels(&mut self) -> Arc<[Box<str>]> {
        if self.shared.len() != self.labels.len() {
            self.shared = self.labels.clone().into();
        }
        Arc::clone(&self.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_keep_their_slots_and_the_last_one_is_shared() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.of(""), 0);
        assert_eq!(slots.of("a"), 1);
        assert_eq!(&*slots.labels(), ["_".into(), "a".into()]);
        assert_eq!(slots.of("b"), 2);
        assert_eq!(slots.of("c"), 3);
        assert_eq!(slots.of("d"), 3);
        assert_eq!(slots.of("a"), 1);
        assert_eq!(slots.of("b"), 2);
        assert_eq!(
            &*slots.labels(),
            ["_".into(), "a".into(), "b".into(), "_other".into()]
        );
        assert_eq!(Slots::new(0).of("a"), 1);
        assert_eq!(Slots::new(u16::MAX).of("a"), 1);
    }
}
