//! A hash table by name whose clones share everything but what changed since.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// How many names a shard has when it is time for more shards: what one change copies, beside one
/// pointer a shard.
const FULL: usize = 32;

/// Shared values by name.
///
/// The next table after one change has all shards but one in common with the former: neither
/// depends on how many names there are but for the list of shards.
pub(crate) struct Shards<T> {
    /// As many as a power of two, or none.
    shards: Arc<[Shard<T>]>,
    len: usize,
    hasher: DefaultHashBuilder,
}

type Shard<T> = Arc<HashTable<(Arc<str>, Arc<T>)>>;

impl<T> Shards<T> {
    /// The value of a name.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<T>> {
        let hash = self.hasher.hash_one(name);
        let shard = self.shards.get(self.index(hash))?;
        let found = shard.find(hash, |(known, _)| **known == *name)?;
        Some(&found.1)
    }

    /// Puts a value in, in place of the one of the same name.
    pub(crate) fn insert(&mut self, name: Arc<str>, value: Arc<T>) {
        if self.len >= self.shards.len() * FULL {
            self.grow();
        }
        let hash = self.hasher.hash_one(&*name);
        let index = self.index(hash);
        let shard = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[index]);
        match shard.find_mut(hash, |(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => {
                let hasher = &self.hasher;
                shard.insert_unique(hash, (name, value), |(name, _)| hasher.hash_one(&**name));
                self.len += 1;
            }
        }
    }

    /// Takes the value of a name out. Whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        if self.get(name).is_none() {
            return false;
        }
        let hash = self.hasher.hash_one(name);
        let index = self.index(hash);
        let shard = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[index]);
        if let Ok(found) = shard.find_entry(hash, |(known, _)| **known == *name) {
            found.remove();
            self.len -= 1;
        }
        true
    }

    /// Every value with its name, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<T>)> {
        let entries = self.shards.iter().flat_map(|shard| shard.iter());
        entries.map(|(name, value)| (name, value))
    }

    /// How many names there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The shard of a hash: by bits that a shard's own table looks at last.
    #[inline]
    fn index(&self, hash: u64) -> usize {
        let bits = (hash >> 32) as usize;
        bits & self.shards.len().wrapping_sub(1)
    }

    fn grow(&mut self) {
        let count = (self.shards.len() * 2).max(1);
        let mut shards: Vec<HashTable<(Arc<str>, Arc<T>)>> =
            (0..count).map(|_| HashTable::new()).collect();
        for (name, value) in self.iter() {
            let hash = self.hasher.hash_one(&**name);
            let index = (hash >> 32) as usize & (count - 1);
            let entry = (Arc::clone(name), Arc::clone(value));
            let hasher = &self.hasher;
            shards[index].insert_unique(hash, entry, |(name, _)| hasher.hash_one(&**name));
        }
        self.shards = shards.into_iter().map(Arc::new).collect();
    }
}

// By hand, because derived ones would ask the same of `T`.
impl<T> Clone for Shards<T> {
    fn clone(&self) -> Self {
        Self {
            shards: Arc::clone(&self.shards),
            len: self.len,
            hasher: self.hasher.clone(),
        }
    }
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self {
            shards: Arc::default(),
            len: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Shards<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_as_a_map_and_a_clone_stays_as_it_was(
            edits in prop::collection::vec((0..300_u16, any::<u8>(), prop::bool::weighted(0.7)), 0..600),
        ) {
            let mut table = Shards::default();
            let mut map = BTreeMap::new();
            let mut kept = (table.clone(), map.clone());
            for (count, (name, value, put)) in edits.into_iter().enumerate() {
                let name = name.to_string();
                if put {
                    table.insert(name.as_str().into(), Arc::new(value));
                    map.insert(name, value);
                } else {
                    prop_assert_eq!(table.remove(&name), map.remove(&name).is_some());
                }
                if count % 50 == 0 {
                    kept = (table.clone(), map.clone());
                }
            }
            for (table, map) in [(table, map), kept] {
                let found: BTreeMap<_, _> = table
                    .iter()
                    .map(|(name, value)| (name.to_string(), **value))
                    .collect();
                prop_assert_eq!(table.len(), map.len());
                for (name, value) in &map {
                    prop_assert_eq!(table.get(name).map(|found| **found), Some(*value));
                }
                prop_assert_eq!(found, map);
            }
        }
    }

    #[test]
    fn one_change_leaves_all_other_shards_shared() {
        let mut table = Shards::default();
        for name in 0..10_000_u32 {
            table.insert(name.to_string().into(), Arc::new(name));
        }
        let former = table.clone();
        table.insert("5000".into(), Arc::new(0));
        let pairs = table.shards.iter().zip(former.shards.iter());
        let copied = pairs.filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!((copied, table.shards.len()), (1, 512));
    }
}
