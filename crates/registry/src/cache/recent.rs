//! What is remembered for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is remembered for a while, of a limited number of things.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    all: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            all: Mutex::default(),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, value) = all.get(key)?;
        (Instant::now() < *until).then(|| value.clone())
    }

    pub(super) fn note(&self, key: K, value: V, span: Duration) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if all.len() >= self.most {
            all.retain(|_, (until, _)| now < *until);
        }
        if all.len() >= self.most {
            // To remember none of them costs questions, and nothing else.
            all.clear();
        }
        all.insert(key, (now + span, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_and_does_not_grow() {
        let recent = Recent::new(2);
        recent.note("a", 1, Duration::from_secs(3600));
        recent.note("b", 2, Duration::ZERO);
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(1), None));
        recent.note("c", 3, Duration::from_secs(3600));
        assert_eq!((recent.get(&"a"), recent.get(&"c")), (Some(1), Some(3)));
        recent.note("d", 4, Duration::from_secs(3600));
        assert_eq!((recent.get(&"a"), recent.get(&"d")), (None, Some(4)));
    }
}
