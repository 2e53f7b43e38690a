//! Manifests: kept ones as long as they are right, others got.

use std::time::Duration;

use bytes::Bytes;
use oci_spec::image::Digest;
use tokio::time::timeout;

use super::metrics::{Kind, Outcome};
use super::{Cache, Miss, Place, REFUSED_FOR};
use crate::client::{self, Error, Kind as Why};
use crate::name::Tag;
use crate::store::{Manifest, Stored, parse_digest};

/// How long upstream may take for a manifest that nobody has.
const PATIENCE: Duration = Duration::from_secs(45);

/// How long it may take to say that a kept one is still right.
const LESS_PATIENCE: Duration = Duration::from_secs(10);

/// Why a question was not answered.
enum Trouble {
    Upstream(Error),
    Ours(Miss),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Upstream(error)
    }
}

impl Cache {
    /// Sees to it that the store has what a tag is.
    pub(crate) async fn tag(&self, place: &Place, tag: &Tag) -> Result<(), Miss> {
        let looked = self.look(place, tag).await;
        self.counted(looked)
    }

    /// Sees to it that the store has a manifest.
    pub(crate) async fn manifest(&self, place: &Place, digest: &Digest) -> Result<(), Miss> {
        let got = self.get(place, digest).await;
        self.counted(got)
    }

    fn counted(&self, result: Result<Outcome, Miss>) -> Result<(), Miss> {
        let outcome = match &result {
            Ok(outcome) => *outcome,
            Err(miss) => miss.outcome(),
        };
        self.count(Kind::Manifest, outcome);
        result.map(drop)
    }

    async fn look(&self, place: &Place, tag: &Tag) -> Result<Outcome, Miss> {
        let key = (place.name.clone(), tag.clone());
        if self.fresh.get(&key).is_some()
            && let Some(digest) = self.tagged(place, tag).await?
        {
            self.note_use(&place.name, &digest).await;
            return Ok(Outcome::Hit);
        }
        place.check()?;
        // One question for all who ask at once.
        let asking = (place.name.clone(), tag.to_string());
        let _alone = self.asking.lock(&asking).await;
        let kept = self.tagged(place, tag).await?;
        if let Some(digest) = &kept {
            self.note_use(&place.name, digest).await;
            if self.fresh.get(&key).is_some() {
                return Ok(Outcome::Hit);
            }
        }
        let patience = match kept {
            Some(_) => LESS_PATIENCE,
            None => PATIENCE,
        };
        let resolving = self.resolve(place, tag, kept.as_ref());
        match self.ask(place, tag.as_str(), patience, resolving).await {
            Ok(outcome) => {
                self.fresh.note(key, (), self.ttl);
                Ok(outcome)
            }
            // It was taken away there.
            Err(miss @ Miss::Unknown(_)) if kept.is_some() => {
                self.store.delete_tag(&place.name, tag).await?;
                Err(miss)
            }
            Err(Miss::Away(why) | Miss::Denied(why) | Miss::Broken(why)) if kept.is_some() => {
                place.upstream.tell(&why);
                Ok(Outcome::Stale)
            }
            Err(miss) => Err(miss),
        }
    }

    async fn get(&self, place: &Place, digest: &Digest) -> Result<Outcome, Miss> {
        if self.has(place, digest).await? {
            self.note_use(&place.name, digest).await;
            return Ok(Outcome::Hit);
        }
        place.check()?;
        let asking = (place.name.clone(), digest.to_string());
        let _alone = self.asking.lock(&asking).await;
        if self.has(place, digest).await? {
            return Ok(Outcome::Joined);
        }
        let fetching = async {
            let client = &place.upstream.client;
            let found = client.manifest(&place.path, digest.as_ref()).await?;
            self.keep_manifest(place, digest, found.media_type, found.bytes, &[])
                .await
        };
        self.ask(place, digest.as_ref(), PATIENCE, fetching).await?;
        Ok(Outcome::Miss)
    }

    /// Asks upstream, unless it has just been asked and did not answer.
    async fn ask<T>(
        &self,
        place: &Place,
        reference: &str,
        patience: Duration,
        question: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Miss> {
        let upstream = &place.upstream;
        upstream.is_away()?;
        let key = (place.name.clone(), reference.to_owned());
        if let Some(error) = self.refused.get(&key) {
            return Err(error.into());
        }
        let error = match timeout(patience, question).await {
            Ok(Ok(answer)) => {
                upstream.heard(None);
                return Ok(answer);
            }
            Ok(Err(Trouble::Ours(miss))) => return Err(miss),
            Ok(Err(Trouble::Upstream(error))) => error,
            Err(_) => Error::new(
                Why::Unreachable,
                format!("{} has not answered within {patience:?}", place.host()),
            ),
        };
        upstream.heard(Some(&error));
        self.refused.note(key, error.clone(), REFUSED_FOR);
        Err(error.into())
    }

    /// What a tag is there now; that is kept then.
    async fn resolve(
        &self,
        place: &Place,
        tag: &Tag,
        kept: Option<&Digest>,
    ) -> Result<Outcome, Trouble> {
        let client = &place.upstream.client;
        let described = client.describe(&place.path, tag.as_str()).await?;
        let described = described.ok_or_else(|| {
            let why = format!("{} has no {}:{tag}", place.host(), place.path);
            Error::new(Why::NotFound, why)
        })?;
        let digest = own(&described.digest)?;
        if kept == Some(&digest) {
            return Ok(Outcome::Hit);
        }
        let tags = std::slice::from_ref(tag);
        let known = self.store.manifest(&place.name, &digest).await;
        if let Some(stored) = known.map_err(|error| Trouble::Ours(error.into()))?
            && let Ok(bytes) = self.store.manifest_bytes(&digest).await
        {
            self.keep_manifest(place, &digest, stored.media_type, bytes, tags)
                .await?;
            return Ok(Outcome::Miss);
        }
        let reference = described.digest.as_str();
        let found = client.manifest(&place.path, reference).await?;
        self.keep_manifest(place, &digest, found.media_type, found.bytes, tags)
            .await?;
        Ok(Outcome::Miss)
    }

    /// Keeps a manifest, whose blobs are not there yet.
    async fn keep_manifest(
        &self,
        place: &Place,
        digest: &Digest,
        media_type: String,
        bytes: Bytes,
        tags: &[Tag],
    ) -> Result<(), Trouble> {
        let read = Manifest::read(&bytes, Some(&media_type)).map_err(|wrong| {
            let what = format!("{}: {}@{digest}: {wrong}", place.host(), place.path);
            Error::new(Why::Broken, what)
        })?;
        let stored = Stored {
            media_type,
            digest: digest.clone(),
            size: bytes.len() as u64,
        };
        self.metrics.fetched(bytes.len());
        let read = read.needing_nothing();
        let put = self
            .store
            .put_manifest(&place.name, &stored, bytes, &read, tags);
        put.await.map_err(|not| Trouble::Ours(not.into()))
    }

    /// What a tag is here, if it can be served.
    async fn tagged(&self, place: &Place, tag: &Tag) -> Result<Option<Digest>, Miss> {
        let Some(digest) = self.store.tagged(&place.name, tag).await? else {
            return Ok(None);
        };
        Ok(self.has(place, &digest).await?.then_some(digest))
    }

    /// Whether a manifest is here and what it was: one that is not is got again.
    async fn has(&self, place: &Place, digest: &Digest) -> Result<bool, Miss> {
        let known = self.store.manifest(&place.name, digest).await?;
        Ok(known.is_some() && self.store.manifest_bytes(digest).await.is_ok())
    }
}

/// A digest as the store has it.
fn own(digest: &client::Digest) -> Result<Digest, Error> {
    parse_digest(digest.as_str())
        .ok_or_else(|| Error::new(Why::Broken, format!("{} is no digest", digest.as_str())))
}
