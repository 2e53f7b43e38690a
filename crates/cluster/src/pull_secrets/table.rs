//! What a watch has told.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;

/// A namespace and a name; the namespace of what is in none is empty.
pub(super) type Key = (String, String);

/// The objects of one watch.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: BTreeMap<Key, T>,
    /// What a list under way has brought.
    listed: Option<BTreeMap<Key, T>>,
    is_complete: bool,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            listed: None,
            is_complete: false,
        }
    }
}

impl<T> Table<T> {
    /// Takes an event in. What has gone by it.
    pub(super) fn take<K>(&mut self, event: Event<K>, row: impl Fn(K) -> (Key, T)) -> Vec<Key> {
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
            Event::Init => self.listed = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let (key, row) = row(object);
                self.listed.get_or_insert_default().insert(key, row);
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let old = std::mem::replace(&mut self.entries, listed);
                self.is_complete = true;
                let is_gone = |key: &Key| !self.entries.contains_key(key);
                return old.into_keys().filter(is_gone).collect();
            }
        }
        Vec::new()
    }

    /// May not be read: then there is nothing, unless something was read before.
    pub(super) fn give_up(&mut self) {
        self.is_complete = true;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
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
}
