//! The copy of the last good configuration: kept while the cluster is followed, served where a start
//! finds no API server.

use std::time::{Duration, Instant, SystemTime};

use cluster::{Found, LastGood, Unusable};
use objects::Store;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::source::Source;
use crate::state::State;

/// How long a start waits for the API server's first word …
const PATIENCE: Duration = Duration::from_secs(4);
/// … and for the rest, if it comes slowly.
const MORE_PATIENCE: Duration = Duration::from_secs(30);

/// Between two writings of the copy, at least …
const PAUSE: Duration = Duration::from_secs(5);
/// … and this many times as long as the last one took: it must not cost more than 2 % of a CPU.
const REST: u32 = 50;

/// How often the copy is said to be right still.
const CONFIRM: Duration = Duration::from_secs(30);

/// How long the end waits for a last writing.
const LAST: Duration = Duration::from_secs(3);

/// Keeps the copy.
pub(super) struct Keeper {
    /// None where there is no folder, or no cluster.
    copy: Option<LastGood>,
    max_age: Duration,
    /// What the copy is of, by when that was served first.
    saved: Option<SystemTime>,
    next: Instant,
    confirmed: Instant,
    task: Option<JoinHandle<std::io::Result<Duration>>>,
    has_failed: bool,
}

impl Keeper {
    /// In the state folder, for the cluster that is read, if there are both.
    pub(super) fn new(source: &Source, state: &State, max_age: Duration) -> Self {
        let copy = match (source.identity(), state) {
            _ if max_age.is_zero() => None,
            (Some(identity), State::Folder(folder)) => {
                Some(LastGood::new(folder, identity.to_owned()))
            }
            _ => None,
        };
        let now = Instant::now();
        Self {
            copy,
            max_age,
            saved: None,
            next: now,
            confirmed: now,
            task: None,
            has_failed: false,
        }
    }

    /// Waits until everything is read; or, if the API server does not answer, until it is clear
    /// that the copy is to be served, which is the answer then.
    pub(super) async fn begin(&self, source: &Source) -> Option<Found> {
        let Some(copy) = self.copy.clone() else {
            source.listed().await;
            return None;
        };
        if timeout(PATIENCE, source.listed()).await.is_ok() {
            return None;
        }
        if source.has_heard() && timeout(MORE_PATIENCE, source.listed()).await.is_ok() {
            return None;
        }
        let max_age = self.max_age;
        let loaded = tokio::task::spawn_blocking(move || copy.load(max_age)).await;
        match loaded.unwrap_or_else(|error| Err(Unusable::Broken(error.to_string()))) {
            Ok(found) => return Some(found),
            Err(reason) => tracing::warn!(
                "the API server does not answer, and the last good configuration is not served: \
                 {reason}"
            ),
        }
        source.listed().await;
        None
    }

    /// Brings the copy up to date, now and then, on another thread. `served` is when what is
    /// served now was served first; `is_current` if that is known to be what there is.
    pub(super) fn keep(&mut self, store: Option<&Store>, served: SystemTime, is_current: bool) {
        self.finish();
        let (Some(copy), Some(store), None) = (&self.copy, store, &self.task) else {
            return;
        };
        let copy = copy.clone();
        let now = Instant::now();
        if self.saved != Some(served) {
            if now < self.next {
                return;
            }
            let store = store.clone();
            self.saved = Some(served);
            self.confirmed = now;
            self.task = Some(tokio::task::spawn_blocking(move || {
                let begin = Instant::now();
                copy.save(&store)?;
                Ok(begin.elapsed())
            }));
        } else if is_current && now.duration_since(self.confirmed) >= CONFIRM {
            self.confirmed = now;
            self.task = Some(tokio::task::spawn_blocking(move || {
                copy.confirm().map(|()| Duration::ZERO)
            }));
        }
    }

    /// Writes what was not written yet.
    pub(super) async fn end(mut self, store: Option<&Store>, served: SystemTime) {
        self.next = Instant::now();
        if let Some(task) = self.task.take() {
            let _ = timeout(LAST, task).await;
        }
        self.keep(store, served, false);
        if let Some(task) = self.task.take() {
            // Whoever ends cannot do more.
            let _ = timeout(LAST, task).await;
        }
    }

    /// Takes in how the last writing went.
    fn finish(&mut self) {
        let Some(task) = self.task.take_if(|task| task.is_finished()) else {
            return;
        };
        // It is finished: polled once, it answers.
        let result = futures_util::FutureExt::now_or_never(task);
        match result {
            Some(Ok(Ok(took))) => {
                self.next = Instant::now() + PAUSE.max(took * REST);
                self.has_failed = false;
            }
            result => {
                self.next = Instant::now() + PAUSE * 6;
                self.saved = None;
                if !std::mem::replace(&mut self.has_failed, true) {
                    let reason = match result {
                        Some(Ok(Err(error))) => error.to_string(),
                        _ => "a bug".to_owned(),
                    };
                    tracing::warn!("the last good configuration cannot be kept: {reason}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(folder: &std::path::Path) -> Keeper {
        let now = Instant::now();
        Keeper {
            copy: Some(LastGood::new(folder, "one".to_owned())),
            max_age: Duration::from_secs(60),
            saved: None,
            next: now,
            confirmed: now,
            task: None,
            has_failed: false,
        }
    }

    #[tokio::test]
    async fn many_changes_are_one_writing_and_the_end_writes_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = LastGood::new(folder.path(), "one".to_owned());
        let found = || {
            let found = copy.load(Duration::from_secs(60));
            found.map(|found| found.objects.len())
        };
        let mut keeper = keeper(folder.path());
        let mut store = Store::default();
        let first = SystemTime::now();
        keeper.keep(Some(&store), first, true);
        assert!(keeper.task.is_some());
        while keeper.task.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            keeper.keep(Some(&store), first, true);
        }
        assert_eq!(found(), Ok(0));

        let mut namespace = objects::kinds::Namespace::default();
        namespace.metadata.name = "shop".to_owned();
        store.apply(objects::kinds::Object::Namespace(namespace.into()));
        let second = first + Duration::from_secs(1);
        keeper.keep(Some(&store), second, true);
        assert!(keeper.task.is_none(), "written again at once");
        keeper.end(Some(&store), second).await;
        assert_eq!(found(), Ok(1));
    }
}
