//! A registry that keeps itself filled: what lists name is brought, now and then, and when a list
//! has changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use registry::client::{Error, Settings};
use registry::list::ImageList;
use registry::store::{Digest, Store, parse_digest};
use registry::sync::{Copied, Item, Options, Syncer, Unwatched};
use tokio::time::{Instant, sleep_until};

use super::credentials::credentials;
use super::progress::bytes;
use super::pruning::Pruning;
use crate::check::plural;
use crate::failure::Failure;
use crate::flags::registry::Following as Flags;

/// How often is looked whether a list has changed.
const LOOK: Duration = Duration::from_secs(2);

/// How soon images that could not be had are tried again, the first time; then twice as long each
/// time, up to the interval.
const AGAIN: Duration = Duration::from_secs(60);

/// Keeps a store filled by lists.
#[derive(Debug)]
pub(super) struct Following {
    flags: Flags,
    list: ImageList,
    store: Store,
    metrics: Metrics,
    /// What was said of images that could not be had.
    said: BTreeMap<String, String>,
    /// Why nothing was taken away, or what would have been.
    said_of_pruning: Option<String>,
}

/// What is counted of it. Clones count the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    rounds: Family<[(&'static str, &'static str); 1], Counter>,
    images: Family<[(&'static str, &'static str); 1], Gauge>,
    copied: Counter,
    bytes: Counter,
    pruned: Counter,
    last: Gauge,
}

/// What became of one round.
#[derive(Debug, Default)]
struct Round {
    copied: usize,
    present: usize,
    bytes: u64,
    failed: BTreeMap<String, String>,
    /// Why nothing was taken away, or what would have been.
    of_pruning: Option<String>,
}

impl Metrics {
    /// Shows them in `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "narthex_registry_sync_rounds",
            "Rounds over all lists, by their result",
            metrics.rounds.clone(),
        );
        registry.register(
            "narthex_registry_sync_images",
            "Images of the lists after the last round, by their state",
            metrics.images.clone(),
        );
        registry.register(
            "narthex_registry_sync_copied_images",
            "Images that were brought",
            metrics.copied.clone(),
        );
        registry.register(
            "narthex_registry_sync_copied_bytes",
            "Bytes of blobs that were brought",
            metrics.bytes.clone(),
        );
        registry.register(
            "narthex_registry_sync_pruned_images",
            "Tags that no list names any more and that were taken away",
            metrics.pruned.clone(),
        );
        registry.register(
            "narthex_registry_sync_last_success_timestamp_seconds",
            "When all images of the lists were there last, in seconds since 1970",
            metrics.last.clone(),
        );
        metrics
    }

    fn count(&self, round: &Round) {
        let all_there = round.failed.is_empty();
        let result = if all_there { "done" } else { "failed" };
        self.rounds.get_or_create(&[("result", result)]).inc();
        let images = |state, count: usize| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.images.get_or_create(&[("state", state)]).set(count);
        };
        images("present", round.present + round.copied);
        images("failing", round.failed.len());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        if let (true, Ok(now)) = (all_there, now) {
            self.last.set(i64::try_from(now.as_secs()).unwrap_or(0));
        }
    }
}

impl Following {
    /// Reads the lists. None if there is no list.
    pub(super) fn new(
        flags: &Flags,
        store: Store,
        metrics: Metrics,
    ) -> Result<Option<Self>, Failure> {
        if flags.sync.is_empty() {
            return Ok(None);
        }
        let list = read(&flags.sync).map_err(Failure::new)?;
        // What cannot be read is told now, and not once there is nobody to read it.
        credentials(flags.sync_authfile.as_deref(), &flags.sync_credentials_file)
            .map_err(Failure::new)?;
        Ok(Some(Self {
            flags: flags.clone(),
            list,
            store,
            metrics,
            said: BTreeMap::new(),
            said_of_pruning: None,
        }))
    }

    /// Brings what is missing, without end.
    pub(super) async fn keep(mut self) {
        let mut seen = Seen::of(&self.flags.sync);
        let mut failures = 0;
        loop {
            let round = self.round().await;
            failures = match round.failed.is_empty() {
                true => 0,
                false => (failures + 1).min(16),
            };
            self.tell(round);
            let due = due(self.flags.sync_interval, failures).map(|wait| Instant::now() + wait);
            self.wait(&mut seen, due).await;
        }
    }

    /// Until it is time, or a list has changed.
    async fn wait(&mut self, seen: &mut Seen, due: Option<Instant>) {
        loop {
            let look = Instant::now() + LOOK;
            sleep_until(due.map_or(look, |due| due.min(look))).await;
            let is_due = due.is_some_and(|due| due <= Instant::now());
            if self.look_again(seen) || is_due {
                return;
            }
        }
    }

    /// Reads the lists again if they have changed. Whether they are others now.
    fn look_again(&mut self, seen: &mut Seen) -> bool {
        let now = Seen::of(&self.flags.sync);
        if now == *seen {
            return false;
        }
        *seen = now;
        match read(&self.flags.sync) {
            Ok(list) => {
                tracing::info!("a list of images has changed");
                self.list = list;
                true
            }
            Err(why) => {
                tracing::error!("the lists of images stay as they were: {why}");
                false
            }
        }
    }

    async fn round(&self) -> Round {
        let mut round = Round::default();
        let syncer = match self.syncer() {
            Ok(syncer) => syncer,
            Err(why) => {
                round.failed.insert("all".to_owned(), why);
                return round;
            }
        };
        let plan = syncer.plan().await;
        let prune = Pruning::of(&plan, self.flags.sync_prune);
        for failed in plan.failed {
            let name = format!("{}: {}", failed.place, failed.name);
            round.failed.insert(name, failed.error.to_string());
        }
        let works = plan.items.into_iter().map(async |item| {
            let done = syncer.copy(&item, &Unwatched).await;
            (item, done)
        });
        let parallel = usize::from(self.flags.sync_parallel);
        let mut works = futures_util::stream::iter(works).buffer_unordered(parallel);
        while let Some((item, done)) = works.next().await {
            let brought = done.as_ref().ok().filter(|it| !it.was_there);
            let digest = brought.and_then(|it| parse_digest(it.digest.as_str()));
            self.note(&mut round, &item, done);
            if let Some(digest) = digest {
                self.note_brought(&item, &digest).await;
            }
        }
        let missing = round.failed.keys().next();
        let pruned = prune.unless(missing).prune(&self.store).await;
        self.metrics.pruned.inc_by(pruned.count);
        round.of_pruning = pruned.said;
        round
    }

    /// Remembers that it was a list that brought a tag.
    async fn note_brought(&self, item: &Item, digest: &Digest) {
        let tag = item.tag.as_deref().map(str::parse);
        let (Ok(name), Some(Ok(tag))) = (item.repository.parse(), tag) else {
            return;
        };
        if let Err(error) = self.store.note_brought(&name, &tag, digest).await {
            tracing::warn!(
                "{} will stay when no list names it: {error}",
                item.goes_to()
            );
        }
    }

    fn syncer(&self) -> Result<Syncer, String> {
        let flags = &self.flags;
        // Anew each time: files that it reads may have changed.
        let credentials =
            credentials(flags.sync_authfile.as_deref(), &flags.sync_credentials_file)?;
        let options = Options {
            credentials: Some(credentials),
            retries: Settings::default().retries,
            ..Options::default()
        };
        let (list, store) = (self.list.clone(), self.store.clone());
        Ok(Syncer::into_store(list, store, options))
    }

    fn note(&self, round: &mut Round, item: &Item, done: Result<Copied, Error>) {
        let (name, goes_to) = (&item.name, item.goes_to());
        match done {
            Ok(copied) if copied.was_there => round.present += 1,
            Ok(copied) => {
                round.copied += 1;
                round.bytes += copied.bytes;
                self.metrics.copied.inc();
                self.metrics.bytes.inc_by(copied.bytes);
                tracing::info!("{name} is here as {goes_to}: {}", copied.digest);
            }
            Err(error) => {
                round.failed.insert(name.clone(), error.to_string());
            }
        }
    }

    fn tell(&mut self, round: Round) {
        self.metrics.count(&round);
        for (name, why) in &round.failed {
            if self.said.get(name) != Some(why) {
                tracing::warn!("{name} is not brought: {why}");
            }
        }
        if round.copied > 0 || round.failed.len() != self.said.len() {
            tracing::info!(
                "lists of images: {} brought ({}), {} present, {} failing",
                plural(round.copied, "image"),
                bytes(round.bytes),
                round.present,
                round.failed.len()
            );
        }
        self.said = round.failed;
        if let Some(said) = &round.of_pruning
            && self.said_of_pruning.as_ref() != Some(said)
        {
            tracing::warn!("{said}");
        }
        self.said_of_pruning = round.of_pruning;
    }
}

/// When the next round is due, after so many in a row that were not all right. None is never.
fn due(interval: Duration, failures: u32) -> Option<Duration> {
    let regular = Some(interval).filter(|it| !it.is_zero());
    if failures == 0 {
        return regular;
    }
    let soon = AGAIN.saturating_mul(1 << (failures - 1));
    // Without an interval, what could not be had is tried hourly in the end.
    Some(soon.min(regular.unwrap_or(Duration::from_hours(1))))
}

/// All lists together. The error is for people.
fn read(files: &[PathBuf]) -> Result<ImageList, String> {
    ImageList::of_files(files).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ")
    })
}

/// How lists looked.
#[derive(Debug, PartialEq, Eq)]
struct Seen(Vec<Option<(SystemTime, u64)>>);

impl Seen {
    fn of(files: &[PathBuf]) -> Self {
        let of = |file: &PathBuf| look(file).ok();
        Self(files.iter().map(of).collect())
    }
}

fn look(file: &Path) -> std::io::Result<(SystemTime, u64)> {
    let data = std::fs::metadata(file)?;
    Ok((data.modified()?, data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_soon_and_then_ever_later() {
        let hour = Duration::from_hours(1);
        assert_eq!(due(hour, 0), Some(hour));
        assert_eq!(due(Duration::ZERO, 0), None);
        assert_eq!(due(hour, 1), Some(AGAIN));
        assert_eq!(due(hour, 3), Some(AGAIN * 4));
        assert_eq!(due(hour, 16), Some(hour));
        assert_eq!(due(Duration::ZERO, 16), Some(hour));
        assert_eq!(due(Duration::from_secs(5), 2), Some(Duration::from_secs(5)));
    }
}
