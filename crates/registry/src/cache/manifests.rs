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

/// A manifest that the store has, and that is what it was when this was read.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) stored: Stored,
    pub(crate) bytes: Bytes,
}

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
    /// What a tag is, which the store has then.
    pub(crate) async fn tag(&self, place: &Place, tag: &Tag) -> Result<Kept, Miss> {
        let looked = self.look(place, tag).await;
        self.counted(looked)
    }

    /// A manifest, which the store has then.
    pub(crate) async fn manifest(&self, place: &Place, digest: &Digest) -> Result<Kept, Miss> {
        let got = self.get(place, digest).await;
        self.counted(got)
    }

    fn counted(&self, result: Result<(Outcome, Kept), Miss>) -> Result<Kept, Miss> {
        let outcome = match &result {
            Ok((outcome, _)) => *outcome,
            Err(miss) => miss.outcome(),
        };
        self.count(Kind::Manifest, outcome);
        result.map(|(_, kept)| kept)
    }

    async fn look(&self, place: &Place, tag: &Tag) -> Result<(Outcome, Kept), Miss> {
        let key = (place.name.clone(), tag.clone());
        if self.fresh.get(&key).is_some()
            && let Some(kept) = self.tagged(place, tag).await?
        {
            self.note_use(&place.name, &kept.stored.digest).await;
            return Ok((Outcome::Hit, kept));
        }
        place.check()?;
        // One question for all who ask at once.
        let asking = (place.name.clone(), tag.to_string());
        let _alone = self.asking.lock(&asking).await;
        let kept = self.tagged(place, tag).await?;
        if let Some(kept) = &kept {
            self.note_use(&place.name, &kept.stored.digest).await;
            if self.fresh.get(&key).is_some() {
                return Ok((Outcome::Hit, kept.clone()));
            }
        }
        let patience = match kept {
            Some(_) => LESS_PATIENCE,
            None => PATIENCE,
        };
        let resolving = self.resolve(place, tag, kept.as_ref());
        let asked = self.ask(place, tag.as_str(), patience, resolving).await;
        match (asked, kept) {
            (Ok(found), _) => {
                self.fresh.note(key, (), self.ttl);
                Ok(found)
            }
            // It was taken away there.
            (Err(miss @ Miss::Unknown(_)), Some(_)) => {
                self.store.delete_tag(&place.name, tag).await?;
                Err(miss)
            }
            (Err(Miss::Away(why) | Miss::Denied(why) | Miss::Broken(why)), Some(kept)) => {
                place.upstream.tell(&why);
                Ok((Outcome::Stale, kept))
            }
            (Err(miss), _) => Err(miss),
        }
    }

    async fn get(&self, place: &Place, digest: &Digest) -> Result<(Outcome, Kept), Miss> {
        if let Some(kept) = self.kept(place, digest).await? {
            self.note_use(&place.name, digest).await;
            return Ok((Outcome::Hit, kept));
        }
        place.check()?;
        let asking = (place.name.clone(), digest.to_string());
        let _alone = self.asking.lock(&asking).await;
        if let Some(kept) = self.kept(place, digest).await? {
            return Ok((Outcome::Joined, kept));
        }
        let fetching = async {
            let client = &place.upstream.client;
            let found = client.manifest(&place.path, digest.as_ref()).await?;
            self.keep_manifest(place, digest, found.media_type, found.bytes, &[])
                .await
        };
        let got = self.ask(place, digest.as_ref(), PATIENCE, fetching).await?;
        Ok((Outcome::Miss, got))
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
        kept: Option<&Kept>,
    ) -> Result<(Outcome, Kept), Trouble> {
        let client = &place.upstream.client;
        let described = client.describe(&place.path, tag.as_str()).await?;
        let described = described.ok_or_else(|| {
            let why = format!("{} has no {}:{tag}", place.host(), place.path);
            Error::new(Why::NotFound, why)
        })?;
        let digest = own(&described.digest)?;
        if let Some(kept) = kept.filter(|it| it.stored.digest == digest) {
            return Ok((Outcome::Hit, kept.clone()));
        }
        let tags = std::slice::from_ref(tag);
        let known = self.store.manifest(&place.name, &digest).await;
        if let Some(stored) = known.map_err(|error| Trouble::Ours(error.into()))?
            && let Ok(bytes) = self.store.manifest_bytes(&digest).await
        {
            let kept = self
                .keep_manifest(place, &digest, stored.media_type, bytes, tags)
                .await?;
            return Ok((Outcome::Miss, kept));
        }
        let reference = described.digest.as_str();
        let found = client.manifest(&place.path, reference).await?;
        let kept = self
            .keep_manifest(place, &digest, found.media_type, found.bytes, tags)
            .await?;
        Ok((Outcome::Miss, kept))
    }

    /// Keeps a manifest, whose blobs are not there yet.
    async fn keep_manifest(
        &self,
        place: &Place,
        digest: &Digest,
        media_type: String,
        bytes: Bytes,
        tags: &[Tag],
    ) -> Result<Kept, Trouble> {
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
            .put_manifest(&place.name, &stored, bytes.clone(), &read, tags);
        put.await.map_err(|not| Trouble::Ours(not.into()))?;
        Ok(Kept { stored, bytes })
    }

    /// What a tag is here, if it can be served.
    async fn tagged(&self, place: &Place, tag: &Tag) -> Result<Option<Kept>, Miss> {
        match self.store.tagged(&place.name, tag).await? {
            Some(digest) => self.kept(place, &digest).await,
            None => Ok(None),
        }
    }

    /// A manifest that is here and what it was: one that is not is got again. This is where it is
    /// verified, and nobody does it once more.
    async fn kept(&self, place: &Place, digest: &Digest) -> Result<Option<Kept>, Miss> {
        let Some(stored) = self.store.manifest(&place.name, digest).await? else {
            return Ok(None);
        };
        let bytes = self.store.manifest_bytes(digest).await;
        Ok(bytes.ok().map(|bytes| Kept { stored, bytes }))
    }
}

/// A digest as the store has it.
fn own(digest: &client::Digest) -> Result<Digest, Error> {
    parse_digest(digest.as_str())
        .ok_or_else(|| Error::new(Why::Broken, format!("{} is no digest", digest.as_str())))
}
