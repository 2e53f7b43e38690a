//! Garbage collections of a registry that is served: now and then, and when somebody asks by a file
//! in its folder, which only those can write who may write the images anyway.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use registry::cache::Cache;
use registry::serve::Metrics;
use registry::store::{Collected, Place, Store};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::Plan;

/// How often is looked whether somebody asks.
const LOOK: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Of this question.
    pub(super) id: String,
    /// What is younger stays, in milliseconds.
    pub(super) grace: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Of the question.
    pub(super) id: String,
    /// The error is for people.
    pub(super) result: Result<Collected, String>,
}

/// Keeps the storage of a registry that is served.
#[derive(Debug)]
pub(super) struct Upkeep {
    store: Store,
    cache: Option<Arc<Cache>>,
    metrics: Metrics,
    folder: Option<PathBuf>,
    interval: Duration,
    grace: Duration,
}

impl Upkeep {
    pub(super) fn new(
        plan: &Plan,
        store: Store,
        cache: Option<Arc<Cache>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            store,
            cache,
            metrics,
            folder: match &plan.place {
                Place::Folder(folder) => Some(folder.clone()),
                Place::Bucket(_) => None,
            },
            interval: plan.gc_interval,
            grace: plan.gc_grace,
        }
    }

    /// Does what is due, without end.
    pub(super) async fn keep(self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let every = match self.interval.is_zero() {
            // It is never looked at.
            true => Duration::from_secs(3600),
            false => self.interval,
        };
        let mut due = interval_at(Instant::now() + every, every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick(), if self.folder.is_some() => {
                    if let Some(folder) = &self.folder {
                        self.look(folder).await;
                    }
                }
                _ = due.tick(), if !self.interval.is_zero() => {
                    // It is logged.
                    let _ = self.collect(self.grace).await;
                }
            }
        }
    }

    async fn look(&self, folder: &Path) {
        let Ok(asked) = tokio::fs::read(ask_file(folder)).await else {
            return;
        };
        // What is not whole yet, is when it is looked at again.
        let Ok(ask) = serde_json::from_slice::<Ask>(&asked) else {
            return;
        };
        let result = self.collect(Duration::from_millis(ask.grace)).await;
        let answer = Answer { id: ask.id, result };
        let _ = tokio::fs::remove_file(ask_file(folder)).await;
        let json = serde_json::to_vec(&answer).unwrap_or_default();
        if let Err(error) = tokio::fs::write(answer_file(folder), json).await {
            tracing::error!("whoever asked for a collection is not answered: {error}");
        }
    }

    async fn collect(&self, grace: Duration) -> Result<Collected, String> {
        self.tidy().await;
        match self.store.collect(grace).await {
            Ok(Some(collected)) => {
                self.metrics.collected(Some(&collected));
                tracing::info!("garbage collection: {}", said(&collected));
                Ok(collected)
            }
            Ok(None) => Err("one is under way already".to_owned()),
            Err(error) => {
                self.metrics.collected(None);
                tracing::error!("garbage collection: {error}");
                Err(error.to_string())
            }
        }
    }
}

impl Upkeep {
    /// Copies that nobody pulls leave first; what they needed is collected then.
    async fn tidy(&self) {
        let Some(cache) = &self.cache else {
            return;
        };
        match cache.tidy().await {
            Ok(0) => {}
            Ok(count) => tracing::info!("{count} copies that nobody has pulled are taken away"),
            Err(error) => tracing::error!("copies that nobody has pulled stay: {error}"),
        }
    }
}

/// Where questions are.
pub(super) fn ask_file(folder: &Path) -> PathBuf {
    folder.join("gc-asked.json")
}

/// Where the answer to the last one is.
pub(super) fn answer_file(folder: &Path) -> PathBuf {
    folder.join("gc-answer.json")
}

/// What was collected, for people.
pub(super) fn said(collected: &Collected) -> String {
    let Collected {
        links,
        contents,
        bytes,
        uploads,
        unreadable,
    } = collected;
    let mut said = format!(
        "{links} blobs left their repositories, {contents} contents of {bytes} bytes and {uploads} \
         abandoned uploads were removed"
    );
    if !unreadable.is_empty() {
        let names = unreadable.join(", ");
        said += &format!("; left as they are, since a manifest cannot be read: {names}");
    }
    said
}
