//! What a watch has told.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;

/// A namespace and a name; the namespace of what is in none is empty.
pub(super) type Key = (String, String);

/// The objects of one watch of all namespaces, or of one watch for each of some.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: BTreeMap<Key, T>,
    /// What lists under way have brought, by the namespace that is watched; [`EVERYWHERE`] for all.
    listed: BTreeMap<String, BTreeMap<Key, T>>,
    /// Which watches have not told everything once.
    missing: BTreeSet<String>,
}

/// In place of a namespace: a watch of all of them.
pub(super) const EVERYWHERE: &str = "";

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::of([EVERYWHERE.to_owned()])
    }
}

impl<T> Table<T> {
    /// Of watches of these namespaces.
    pub(super) fn of(watches: impl IntoIterator<Item = String>) -> Self {
        Self {
            entries: BTreeMap::new(),
            listed: BTreeMap::new(),
            missing: watches.into_iter().collect(),
        }
    }

    /// Takes an event of a watch of all namespaces in. What has gone by it.
    pub(super) fn take<K>(&mut self, event: Event<K>, row: impl Fn(K) -> (Key, T)) -> Vec<Key> {
        self.take_of(EVERYWHERE, event, row)
    }

    /// The same of one of several watches, by its namespace.
    pub(super) fn take_of<K>(
        &mut self,
        watch: &str,
        event: Event<K>,
        row: impl Fn(K) -> (Key, T),
    ) -> Vec<Key> {
        match event {
            Event::Apply(object) => {
                let (key, row) = row(object);
                self.entries.insert(key, row);
            }
            Event::Delete(object) => {
                let (key, _) = row(object);
                self.entries.remove(&key);
                return vec![key];
            }
            Event::Init => {
                self.listed.insert(watch.to_owned(), BTreeMap::new());
            }
            Event::InitApply(object) => {
                let (key, row) = row(object);
                let listed = self.listed.entry(watch.to_owned()).or_default();
                listed.insert(key, row);
            }
            Event::InitDone => {
                let mut listed = self.listed.remove(watch).unwrap_or_default();
                self.missing.remove(watch);
                let is_of_it = |key: &Key| watch == EVERYWHERE || key.0 == watch;
                let lacks = |key: &&Key| is_of_it(key) && !listed.contains_key(*key);
                let gone: Vec<_> = self.entries.keys().filter(lacks).cloned().collect();
                for key in &gone {
                    self.entries.remove(key);
                }
                self.entries.append(&mut listed);
                return gone;
            }
        }
        Vec::new()
    }

    /// May not be read: then there is nothing, unless something was read before.
    pub(super) fn give_up(&mut self) {
        self.missing.clear();
    }

    /// The same of one of several watches.
    pub(super) fn give_up_of(&mut self, watch: &str) {
        self.missing.remove(watch);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&T> {
        self.entries.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_list_takes_away_what_it_lacks_and_nothing_before_its_end() {
        let mut table = Table::default();
        let row = |name: &str| ((String::new(), name.to_owned()), ());
        let key = |name: &str| (String::new(), name.to_owned());
        for event in [Event::Init, Event::InitApply("a"), Event::InitApply("b")] {
            assert!(table.take(event, row).is_empty());
        }
        assert!(!table.is_complete() && table.get(&key("a")).is_none());
        assert!(table.take(Event::InitDone, row).is_empty());
        assert!(table.is_complete());
        for event in [Event::Apply("c"), Event::Init, Event::InitApply("c")] {
            assert!(table.take(event, row).is_empty());
        }
        assert!(table.get(&key("a")).is_some());
        assert_eq!(table.take(Event::InitDone, row), [key("a"), key("b")]);
        assert_eq!(table.take(Event::Delete("c"), row), [key("c")]);
        assert_eq!(table.iter().count(), 0);
    }
    #[test]
    fn of_several_watches_each_speaks_for_its_own_namespace() {
        let mut table = Table::of(["a".to_owned(), "b".to_owned()]);
        let key = |namespace: &str| (namespace.to_owned(), "x".to_owned());
        let row = |namespace: &str| (key(namespace), ());
        for event in [Event::Init, Event::InitApply("a"), Event::InitDone] {
            assert!(table.take_of("a", event, row).is_empty());
        }
        assert!(!table.is_complete() && table.get(&key("a")).is_some());
        for event in [Event::Init, Event::InitApply("b"), Event::InitDone] {
            assert!(table.take_of("b", event, row).is_empty());
        }
        assert!(table.is_complete());
        table.take_of("a", Event::Init, row);
        let gone = table.take_of("a", Event::InitDone, row);
        assert_eq!(gone, [key("a")]);
        assert!(table.get(&key("b")).is_some());
        let mut unread = Table::<()>::of(["a".to_owned()]);
        unread.give_up_of("a");
        assert!(unread.is_complete());
    }
}
