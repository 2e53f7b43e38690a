//! A table that forgets what was not used for longest, without going through itself.

use std::hash::Hash;

use hashbrown::{Equivalent, HashMap};

/// A table of two generations: once the younger one is full, it is the older one, and what was in
/// that is gone. What is used comes back among the young.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// How many a generation has at the most.
    most: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// A table of twice `most` entries at the most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            most,
        }
    }

    /// What is known under a key.
    pub(super) fn get<Q: Equivalent<K> + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Takes in what is not there.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Takes something out.
    pub(super) fn remove<Q: Equivalent<K> + Hash + ?Sized>(&mut self, key: &Q) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_there_are_never_more_than_twice_as_many() {
        let mut table = Generations::new(10);
        table.insert(0, ());
        for key in 1..1000 {
            table.insert(key, ());
            assert!(table.get(&0).is_some(), "{key}");
            assert!(table.young.len() + table.old.len() <= 20);
        }
        assert!(table.get(&1).is_none());
        assert!(table.get(&999).is_some());
        table.remove(&999);
        assert!(table.get(&999).is_none());
    }
}
