//! Which objects are to be looked at, and which are to be written: no clock, no network.
//!
//! What costs work for every object happens when something changed for every one of them: a list,
//! other addresses, other classes. All else names the few that it is about.

use std::collections::{BTreeSet, VecDeque};

use objects::kinds::ObjectKey as Key;
use tokio::time::Instant;

/// Which objects are to be looked at, and which are to be written. Bounded by how many there are.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Whether all are to be looked at.
    all: bool,
    /// Those about which something has changed.
    changed: BTreeSet<Key>,
    /// Those that wait for a replica, or for this one, to serve them.
    waiting: BTreeSet<Key>,
    /// Those that are to be looked at again at a time.
    later: BTreeSet<(Instant, Key)>,
    /// Those that are to be written, in turn, each once.
    queue: VecDeque<Key>,
    queued: BTreeSet<Key>,
}

/// What is to be looked at now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    All,
    These(BTreeSet<Key>),
}

impl Backlog {
    /// Everything is to be looked at.
    pub(crate) fn new() -> Self {
        Self {
            all: true,
            changed: BTreeSet::new(),
            waiting: BTreeSet::new(),
            later: BTreeSet::new(),
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
        }
    }

    /// Something has changed about all of them.
    pub(crate) fn all_changed(&mut self) {
        self.all = true;
    }

    /// Something has changed about this one.
    pub(crate) fn changed(&mut self, key: Key) {
        if !self.all {
            self.changed.insert(key);
        }
    }

    /// A replica serves more than it did, or is live no more.
    pub(crate) fn replicas_changed(&mut self) {
        self.changed.append(&mut self.waiting);
    }

    /// It waits until replicas change.
    pub(crate) fn wait(&mut self, key: Key) {
        self.waiting.insert(key);
    }

    /// It is to be looked at again, but not before.
    pub(crate) fn later(&mut self, at: Instant, key: Key) {
        self.later.insert((at, key));
    }

    /// It is to be written.
    pub(crate) fn enqueue(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.queue.push_back(key);
        }
    }

    /// What is to be looked at at `now`; it is taken to be done.
    pub(crate) fn take(&mut self, now: Instant) -> Look {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.changed.insert(key);
            }
        }
        let changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all) {
            self.waiting.clear();
            self.later.clear();
            return Look::All;
        }
        Look::These(changed)
    }

    /// When something is to be looked at by the clock alone.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// The next that is to be written.
    pub(crate) fn peek(&self) -> Option<&Key> {
        self.queue.front()
    }

    /// It is written, or need not be.
    pub(crate) fn pop(&mut self) {
        if let Some(key) = self.queue.pop_front() {
            self.queued.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use objects::kinds::{Kind, ObjectKey};

    use super::*;

    fn key(name: &str) -> Key {
        ObjectKey::new(Kind::Ingress, "shop", name)
    }

    fn these(names: &[&str]) -> Look {
        Look::These(names.iter().map(|name| key(name)).collect())
    }

    #[test]
    fn only_what_changed_is_looked_at() {
        let now = Instant::now();
        let mut backlog = Backlog::new();
        assert_eq!(backlog.take(now), Look::All);
        assert_eq!(backlog.take(now), these(&[]));
        backlog.changed(key("a"));
        backlog.wait(key("b"));
        backlog.later(now + Duration::from_secs(1), key("c"));
        assert_eq!(backlog.take(now), these(&["a"]));
        assert_eq!(backlog.next_at(), Some(now + Duration::from_secs(1)));
        backlog.replicas_changed();
        assert_eq!(backlog.take(now), these(&["b"]));
        assert_eq!(backlog.take(now + Duration::from_secs(1)), these(&["c"]));
        assert_eq!(backlog.next_at(), None);
        backlog.wait(key("d"));
        backlog.all_changed();
        assert_eq!(backlog.take(now), Look::All);
        backlog.replicas_changed();
        assert_eq!(backlog.take(now), these(&[]));
    }

    #[test]
    fn each_is_queued_once() {
        let mut backlog = Backlog::new();
        for name in ["b", "a", "b"] {
            backlog.enqueue(key(name));
        }
        assert_eq!(backlog.peek(), Some(&key("b")));
        backlog.pop();
        backlog.enqueue(key("b"));
        backlog.pop();
        assert_eq!(backlog.peek(), Some(&key("b")));
        backlog.pop();
        assert_eq!(backlog.peek(), None);
    }
}
