//! One round over one list: what is missing is brought.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use registry::client::{Error, Settings};
use registry::list::ImageList;
use registry::store::{Digest, parse_digest};
use registry::sync::{Copied, Item, Most, Options, Plan, Syncer, Unwatched, Withheld};
use tokio::time::MissedTickBehavior;

use super::super::credentials::credentials;
use super::super::progress::bytes;
use super::Means;
use super::claims::Who;
use super::pruning::Pruning;
use crate::check::plural;

/// What an ImageList may cost.
const MOST: Most = Most {
    images: 10_000,
    manifests: 16 << 20,
};

/// How many images that an ImageList does not get are named in the log at once.
const NAMED: usize = 20;

/// How often is told how far a round is.
const TOLD: Duration = Duration::from_secs(5);

/// Follows one list.
#[derive(Debug)]
pub(super) struct Follower {
    means: Means,
    who: Arc<Who>,
    /// What was said of images that could not be had.
    said: BTreeMap<String, String>,
    /// Why nothing was taken away, or what would have been.
    said_of_pruning: Option<String>,
}

/// What became of one round.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) copied: usize,
    pub(super) present: usize,
    pub(super) bytes: u64,
    /// Why, by the image.
    pub(super) failed: BTreeMap<String, String>,
    /// Why nothing was taken away, or what would have been.
    of_pruning: Option<String>,
}

impl Round {
    /// How many images are there now.
    pub(super) fn there(&self) -> usize {
        self.present + self.copied
    }
}

impl Follower {
    pub(super) fn new(means: Means, who: Who) -> Self {
        Self {
            means,
            who: Arc::new(who),
            said: BTreeMap::new(),
            said_of_pruning: None,
        }
    }

    /// Brings what is missing. `so_far` is told at once and then now and then how far it is, and of
    /// how many images.
    pub(super) async fn round(&self, list: ImageList, so_far: impl Fn(&Round, usize)) -> Round {
        let mut round = Round::default();
        let syncer = match self.syncer(list) {
            Ok(syncer) => syncer,
            Err(why) => {
                round.failed.insert("all".to_owned(), why);
                return round;
            }
        };
        let plan = syncer.plan().await;
        let prune = match self.is_own() {
            true => Pruning::of(&plan, self.means.flags.sync_prune),
            false => Pruning::Not,
        };
        let items = self.claimed(plan, &mut round);
        let images = items.len() + round.failed.len();
        let works = items.into_iter().map(async |item| {
            let _turn = match self.is_own() {
                true => None,
                // It is never closed.
                false => self.means.turns.acquire().await.ok(),
            };
            let done = syncer.copy(&item, &Unwatched).await;
            (item, done)
        });
        let parallel = usize::from(self.means.flags.sync_parallel);
        let mut works = futures_util::stream::iter(works).buffer_unordered(parallel);
        let mut tick = tokio::time::interval(TOLD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = tokio::select! {
                next = works.next() => next,
                _ = tick.tick() => {
                    so_far(&round, images);
                    continue;
                }
            };
            let Some((item, done)) = next else { break };
            let brought = done.as_ref().ok().filter(|it| !it.was_there);
            let digest = brought.and_then(|it| parse_digest(it.digest.as_str()));
            self.note(&mut round, &item, done);
            if let (Some(digest), true) = (digest, self.is_own()) {
                self.note_brought(&item, &digest).await;
            }
        }
        let missing = round.failed.keys().next();
        let pruned = prune.unless(missing).prune(&self.means.store).await;
        self.means.metrics.pruned.inc_by(pruned.count);
        round.of_pruning = pruned.said;
        round
    }

    /// Remembers that it was a list that brought a tag.
    async fn note_brought(&self, item: &Item, digest: &Digest) {
        let tag = item.tag.as_deref().map(str::parse);
        let (Ok(name), Some(Ok(tag))) = (item.repository.parse(), tag) else {
            return;
        };
        if let Err(error) = self.means.store.note_brought(&name, &tag, digest).await {
            tracing::warn!(
                "{} will stay when no list names it: {error}",
                item.goes_to()
            );
        }
    }

    /// Says what became of it.
    pub(super) fn tell(&mut self, round: Round) {
        self.means.metrics.count(&self.who, &round);
        let (of, most) = match &*self.who {
            Who::Files => (String::new(), usize::MAX),
            who => (format!("{who}: "), NAMED),
        };
        for (name, why) in round.failed.iter().take(most) {
            if self.said.get(name) != Some(why) {
                tracing::warn!("{of}{name} is not brought: {why}");
            }
        }
        if round.copied > 0 || round.failed.len() != self.said.len() {
            let of = match &*self.who {
                Who::Files => "lists of images".to_owned(),
                who => who.to_string(),
            };
            tracing::info!(
                "{of}: {} brought ({}), {} present, {} failing",
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

    /// The list has gone.
    pub(super) fn end(self) {
        tracing::info!("{} is followed no more: its images stay", self.who);
        self.means.claims.release(&self.who);
        self.means.metrics.forget(&self.who);
    }

    /// Whether it is the list of whoever runs the registry.
    fn is_own(&self) -> bool {
        *self.who == Who::Files
    }

    fn syncer(&self, mut list: ImageList) -> Result<Syncer, String> {
        let flags = &self.means.flags;
        // Anew each time: files that it reads may have changed.
        let credentials = credentials(flags.sync_authfile.as_deref(), &flags.sync_credentials_file);
        let mut options = Options {
            retries: Settings::default().retries,
            ..Options::default()
        };
        options.credentials = Some(match self.is_own() {
            true => credentials?,
            false => {
                (options.most, options.hides_files) = (MOST, true);
                let credentials = credentials.map_err(|why| {
                    tracing::warn!("{}: {why}", self.who);
                    "the registry cannot read its credentials: its log says why".to_owned()
                })?;
                let own = self.means.own.borrow();
                Arc::new(Withheld::for_list(&mut list, &own, credentials))
            }
        });
        let store = self.means.store.clone();
        Ok(Syncer::into_store(list, store, options))
    }

    /// What of a plan is not already somebody else's place.
    fn claimed(&self, plan: Plan, round: &mut Round) -> Vec<Item> {
        for failed in plan.failed {
            let name = match self.is_own() {
                true => format!("{}: {}", failed.place, failed.name),
                false => failed.name,
            };
            round.failed.insert(name, failed.error.to_string());
        }
        let claims = &self.means.claims;
        claims.release(&self.who);
        let mut items = plan.items;
        items.retain(|item| {
            let goes_to = item.goes_to();
            let Err(other) = claims.claim(&self.who, &goes_to, &item.name) else {
                return true;
            };
            let why = format!("it would go to {goes_to}, where {other} brings something else");
            round.failed.insert(item.name.clone(), why);
            false
        });
        items
    }

    fn note(&self, round: &mut Round, item: &Item, done: Result<Copied, Error>) {
        let (name, goes_to) = (&item.name, item.goes_to());
        match done {
            Ok(copied) if copied.was_there => round.present += 1,
            Ok(copied) => {
                round.copied += 1;
                round.bytes += copied.bytes;
                self.means.metrics.copied.inc();
                self.means.metrics.bytes.inc_by(copied.bytes);
                tracing::info!("{name} is here as {goes_to}: {}", copied.digest);
            }
            Err(error) => {
                round.failed.insert(name.clone(), error.to_string());
            }
        }
    }
}
