//! What is begun and neither finished nor cancelled: how many uploads, and how much has come.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All uploads that are begun, by whatever process.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How much has come of each, in bytes.
    uploads: HashMap<String, u64>,
    /// Of all of them.
    bytes: u64,
}

/// What comes of an upload by one request, counted from its first byte; no longer if it is dropped
/// before it is kept.
#[derive(Debug)]
pub(super) struct Coming<'a> {
    begun: &'a Begun,
    id: String,
    bytes: u64,
}

impl Begun {
    /// What there is in the storage.
    pub(super) fn of(uploads: HashMap<String, u64>) -> Self {
        let bytes = uploads.values().sum();
        Self(Mutex::new(State { uploads, bytes }))
    }

    /// Counts another upload, unless there are `most`.
    pub(super) fn begin(&self, id: &str, most: usize) -> bool {
        let mut state = self.lock();
        let may = state.uploads.len() < most;
        if may {
            state.uploads.entry(id.to_owned()).or_default();
        }
        may
    }

    /// It has become a blob, or nothing.
    pub(super) fn end(&self, id: &str) {
        let mut state = self.lock();
        let bytes = state.uploads.remove(id).unwrap_or(0);
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    /// Whether so many more bytes may come, with `most` of all uploads together.
    pub(super) fn has_room(&self, more: u64, most: u64) -> bool {
        self.lock().bytes.saturating_add(more) <= most
    }

    /// Begins to count what comes of an upload.
    pub(super) fn coming(&self, id: &str) -> Coming<'_> {
        Coming {
            begun: self,
            id: id.to_owned(),
            bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coming<'_> {
    /// Counts so many more bytes, unless all uploads together would have more than `most`.
    pub(super) fn add(&mut self, bytes: u64, most: u64) -> bool {
        let mut state = self.begun.lock();
        let all = state.bytes.saturating_add(bytes);
        if all > most {
            return false;
        }
        state.bytes = all;
        match state.uploads.get_mut(&self.id) {
            Some(of_it) => *of_it += bytes,
            None => drop(state.uploads.insert(self.id.clone(), bytes)),
        }
        self.bytes += bytes;
        true
    }

    /// What has come is there.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.begun.lock();
        if let Some(of_it) = state.uploads.get_mut(&self.id) {
            *of_it = of_it.saturating_sub(self.bytes);
            state.bytes = state.bytes.saturating_sub(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_counts_until_it_is_lost_or_its_upload_ends() {
        let begun = Begun::of([("before".to_owned(), 40)].into());
        assert!(begun.begin("a", 2) && !begun.begin("b", 2));
        assert!(begun.has_room(60, 100) && !begun.has_room(61, 100));
        let mut lost = begun.coming("a");
        assert!(lost.add(50, 100) && !lost.add(11, 100) && lost.add(10, 100));
        assert!(!begun.has_room(1, 100));
        drop(lost);
        let mut kept = begun.coming("a");
        assert!(kept.add(30, 100));
        kept.keep();
        assert!(begun.has_room(30, 100) && !begun.has_room(31, 100));
        begun.end("a");
        assert!(begun.has_room(60, 100) && !begun.has_room(61, 100));
        begun.end("before");
        assert!(begun.has_room(100, 100) && begun.begin("b", 1));
    }

    #[test]
    fn what_is_lost_after_its_upload_ended_counts_no_less() {
        let begun = Begun::default();
        assert!(begun.begin("a", 1));
        let mut coming = begun.coming("a");
        assert!(coming.add(5, 10));
        begun.end("a");
        assert!(begun.begin("b", 1) && begun.coming("b").add(1, 10));
        drop(coming);
        assert!(begun.has_room(10, 10) && !begun.has_room(11, 10));
    }
}
