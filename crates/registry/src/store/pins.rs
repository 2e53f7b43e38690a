//! What must not be taken away now.
//!
//! Whoever relies on content, or has just been told that it is there, pins its digest. What is being
//! swept is waited for; what is pinned, or was since the sweep began, is not swept. So a push never
//! waits for more than the removal of one object, and never loses what it was told to be there.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci_spec::image::Digest;
use tokio::sync::Notify;

/// Digests that are relied on.
#[derive(Debug, Default)]
pub(super) struct Pins {
    state: Mutex<State>,
    swept: Notify,
}

#[derive(Debug, Default)]
struct State {
    pinned: HashMap<Digest, usize>,
    /// Those that were pinned since a collection began, if one is under way.
    fresh: Option<HashSet<Digest>>,
    sweeping: HashSet<Digest>,
}

/// These digests stay while this lives.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Arc<Pins>,
    digests: Vec<Digest>,
}

/// A collection is under way while this lives.
#[derive(Debug)]
pub(super) struct Collecting(Arc<Pins>);

/// A digest that nobody may rely on while this lives.
#[derive(Debug)]
pub(super) struct Sweeping {
    pins: Arc<Pins>,
    digest: Digest,
}

impl Pins {
    /// Waits for what is just being swept of them.
    pub(super) async fn pin(self: &Arc<Self>, digests: Vec<Digest>) -> Pin {
        loop {
            let swept = self.swept.notified();
            tokio::pin!(swept);
            // From here on no end of a sweep is missed.
            swept.as_mut().enable();
            if self.try_pin(&digests) {
                return Pin {
                    pins: Arc::clone(self),
                    digests,
                };
            }
            swept.await;
        }
    }

    /// From here on what is pinned is not swept. `None` if a collection is under way already.
    pub(super) fn collect(self: &Arc<Self>) -> Option<Collecting> {
        let mut state = self.lock();
        if state.fresh.is_some() {
            return None;
        }
        state.fresh = Some(state.pinned.keys().cloned().collect());
        Some(Collecting(Arc::clone(self)))
    }

    fn try_pin(&self, digests: &[Digest]) -> bool {
        let mut state = self.lock();
        if digests.iter().any(|digest| state.sweeping.contains(digest)) {
            return false;
        }
        for digest in digests {
            *state.pinned.entry(digest.clone()).or_default() += 1;
            if let Some(fresh) = &mut state.fresh {
                fresh.insert(digest.clone());
            }
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collecting {
    /// `None` if somebody relies on it.
    pub(super) fn sweep(&self, digest: &Digest) -> Option<Sweeping> {
        let mut state = self.0.lock();
        let fresh = state.fresh.as_ref();
        if fresh.is_some_and(|fresh| fresh.contains(digest)) || state.pinned.contains_key(digest) {
            return None;
        }
        state.sweeping.insert(digest.clone());
        Some(Sweeping {
            pins: Arc::clone(&self.0),
            digest: digest.clone(),
        })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.pins.lock();
        for digest in &self.digests {
            if let Some(count) = state.pinned.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.pinned.remove(digest);
                }
            }
        }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.0.lock().fresh = None;
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.pins.lock().sweeping.remove(&self.digest);
        self.pins.swept.notify_waiters();
    }
}

/// A lock for each of many things, of which those exist that somebody has or waits for.
#[derive(Debug)]
pub(crate) struct Locks<K: Eq + Hash>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>);

impl<K: Eq + Hash> Default for Locks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Locks<K> {
    /// Waits until nobody else has it.
    pub(crate) async fn lock(&self, key: &K) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(key.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Algorithm;
    use super::*;

    #[tokio::test]
    async fn what_is_relied_on_is_not_swept_until_the_next_collection() {
        let pins = Arc::new(Pins::default());
        let digest = Algorithm::Sha256.digest(b"a");
        let before = pins.pin(vec![digest.clone()]).await;
        let collecting = pins.collect().expect("the first");
        assert!(pins.collect().is_none());
        drop(before);
        assert!(collecting.sweep(&digest).is_none());
        drop(collecting);
        let collecting = pins.collect().expect("the next");
        assert!(collecting.sweep(&digest).is_some());
    }

    #[tokio::test]
    async fn what_is_being_swept_is_waited_for() {
        let pins = Arc::new(Pins::default());
        let digest = Algorithm::Sha256.digest(b"a");
        let collecting = pins.collect().expect("the first");
        let sweeping = collecting.sweep(&digest).expect("nobody relies on it");
        let waiting = tokio::spawn({
            let (pins, digest) = (Arc::clone(&pins), digest.clone());
            async move { pins.pin(vec![digest]).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(sweeping);
        let pin = waiting.await.expect("no panic");
        assert!(collecting.sweep(&digest).is_none());
        drop(pin);
    }
}
