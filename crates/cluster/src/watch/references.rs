//! The Secrets and ConfigMaps that something refers to, each watched by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use objects::kinds::ObjectKey;
use objects::{Problem, Severity};
use tokio::sync::Semaphore;

use super::inbox::Inbox;
use super::pool::Pool;
use super::single::Single;
use super::target::Target;
use super::task::Task;

/// How often they are asked for: a time by chance in this range, in seconds.
const POLL: std::ops::Range<u64> = 45..75;
/// How many of them at one time.
const AT_ONCE: usize = 4;

/// The objects that something refers to.
#[derive(Debug)]
pub(crate) struct References {
    inbox: Arc<Inbox>,
    keys: Arc<[ObjectKey]>,
    tasks: HashMap<ObjectKey, Reference>,
    watched: usize,
    /// How many may be.
    most: usize,
    polling: Arc<Semaphore>,
}

#[derive(Debug)]
struct Reference {
    is_watched: bool,
    _task: Task,
}

impl References {
    /// `most` objects are watched; further ones are asked for again and again.
    pub(crate) fn new(inbox: Arc<Inbox>, most: usize) -> Self {
        Self {
            most,
            inbox,
            keys: Arc::default(),
            tasks: HashMap::new(),
            watched: 0,
            polling: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Takes over what is referred to now. Whether any was not before.
    pub(crate) fn set(&mut self, keys: &Arc<[ObjectKey]>, pool: &mut Pool) -> bool {
        if Arc::ptr_eq(keys, &self.keys) {
            return false;
        }
        let former = std::mem::replace(&mut self.keys, Arc::clone(keys));
        for key in former.iter() {
            if keys.binary_search(key).is_err() {
                self.forget(key);
            }
        }
        // Those that wait for room come before those that are new.
        self.promote(pool);
        let mut any = false;
        for key in keys.iter() {
            if !self.tasks.contains_key(key) {
                self.begin(key, pool);
                any = true;
            }
        }
        self.tell_of_many();
        any
    }

    /// Watches those that were asked for so far, where others have made room.
    fn promote(&mut self, pool: &mut Pool) {
        let room = self.most.saturating_sub(self.watched);
        if room == 0 || self.watched == self.tasks.len() {
            return;
        }
        let polled = self.tasks.iter().filter(|(_, one)| !one.is_watched);
        let keys: Vec<_> = polled.map(|(key, _)| key.clone()).take(room).collect();
        for key in keys {
            self.tasks.remove(&key);
            self.begin(&key, pool);
        }
    }

    fn begin(&mut self, key: &ObjectKey, pool: &mut Pool) {
        let is_watched = self.watched < self.most;
        self.watched += usize::from(is_watched);
        let target = Target::one(key);
        self.inbox.sources(|sources| sources.add(target.clone()));
        let single = Single {
            place: pool.place_for(is_watched),
            key: key.clone(),
            target,
            inbox: Arc::clone(&self.inbox),
        };
        let _task = if is_watched {
            Task::spawn(single.watch())
        } else {
            Task::spawn(single.poll(Arc::clone(&self.polling), || {
                Duration::from_secs(fastrand::u64(POLL))
            }))
        };
        self.tasks
            .insert(key.clone(), Reference { is_watched, _task });
    }

    fn forget(&mut self, key: &ObjectKey) {
        if let Some(reference) = self.tasks.remove(key) {
            self.watched -= usize::from(reference.is_watched);
        }
        self.inbox
            .sources(|sources| sources.remove(&Target::one(key)));
        self.inbox.gone(key.clone());
    }

    fn tell_of_many(&self) {
        let polled = self.tasks.len() - self.watched;
        self.inbox.sources(|sources| {
            sources.remark((polled > 0).then(|| Problem {
                severity: Severity::Warning,
                object: None,
                field: String::new(),
                message: format!(
                    "{} Secrets and ConfigMaps are referred to; the changes of {polled} of them are seen after \
                     up to {} s",
                    self.tasks.len(),
                    POLL.end
                ),
                hint: "--watch-all-secrets, with the right to list and watch all; or a larger --max-secret-watches".to_owned(),
            }));
        });
    }
}
