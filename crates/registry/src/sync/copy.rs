//! Bringing an image: blobs, then manifests from the leaves to the root, then what refers to them.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::parsed::{Descriptor, Parsed};
use super::plan::Item;
use super::state::{Root, State};
use super::syncer::Syncer;
use super::to::Had;
use crate::client::{Digest, Error, Kind, Manifest, cosign_tags};

/// Blobs of one image that are copied at once.
const BLOBS_AT_ONCE: usize = 3;

/// Manifests of one image, with all that refers to it.
const MAX_MANIFESTS: usize = 2_000;

/// How often a blob is begun again whose upload the target has lost.
const BEGINNINGS: u32 = 4;

/// What is told while images come.
pub trait Watch: Sync {
    /// So many bytes have to come that were not known of.
    fn expect(&self, bytes: u64);
    /// So many bytes of those are at the target.
    fn sent(&self, bytes: u64);
}

/// Nobody is told.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn expect(&self, _: u64) {}
    fn sent(&self, _: u64) {}
}

/// What was done for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its digest.
    pub digest: Digest,
    /// Whether it was there already, and all that refers to it.
    pub was_there: bool,
    /// Bytes of blobs that came.
    pub bytes: u64,
    /// Blobs that came.
    pub blobs: u64,
    /// Blobs that the target had in another repository.
    pub mounted: u64,
}

#[derive(Default)]
struct Tally {
    bytes: AtomicU64,
    blobs: AtomicU64,
    mounted: AtomicU64,
    manifests: AtomicU64,
}

/// A manifest on its way, and the tag that it gets.
struct Node {
    manifest: Manifest,
    parsed: Parsed,
}

impl Syncer {
    /// Copies an image that is not at the target as it should be.
    ///
    /// # Errors
    /// It is not there then; what came of it stays, and need not come again.
    pub async fn copy(&self, item: &Item, watch: &dyn Watch) -> Result<Copied, Error> {
        let turns = item.host.as_deref().and_then(|it| self.turns(it));
        let _turn = match &turns {
            // It is never closed.
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        let root = self.root(item).await?;
        let state = self.state_of(item, &root).await?;
        let tally = Tally::default();
        let digest = root.digest.clone();
        if !matches!(state, State::Present { .. }) {
            self.bring(item, root, &tally, watch).await?;
        }
        if item.referrers {
            self.bring_referrers(item, &digest, &tally, watch).await?;
        }
        Ok(Copied {
            digest,
            was_there: tally.manifests.load(Ordering::Relaxed) == 0,
            bytes: tally.bytes.load(Ordering::Relaxed),
            blobs: tally.blobs.load(Ordering::Relaxed),
            mounted: tally.mounted.load(Ordering::Relaxed),
        })
    }

    async fn bring(
        &self,
        item: &Item,
        root: Root,
        tally: &Tally,
        watch: &dyn Watch,
    ) -> Result<(), Error> {
        let manifest = match root.manifest {
            Some(manifest) => manifest,
            None => item.from.manifest(root.digest.as_str()).await?,
        };
        self.bring_tree(item, manifest, item.tag.as_deref(), tally, watch)
            .await
    }

    /// A manifest with all below it, and then its tag.
    async fn bring_tree(
        &self,
        item: &Item,
        root: Manifest,
        tag: Option<&str>,
        tally: &Tally,
        watch: &dyn Watch,
    ) -> Result<(), Error> {
        let nodes = self.collect(item, root).await?;
        let mut known = HashSet::new();
        let blobs = nodes.iter().flat_map(|it| it.parsed.contents());
        let blobs: Vec<_> = blobs
            .filter(|it| known.insert(it.digest.as_str()))
            .cloned()
            .collect();
        // Whoever wrote the manifest may have written any number.
        let sizes = blobs.iter().map(|it| it.size);
        watch.expect(sizes.fold(0, u64::saturating_add));
        let blobs = blobs
            .into_iter()
            .map(async |it| self.bring_blob(item, &it, tally, watch).await);
        futures_util::stream::iter(blobs)
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        // The root comes first, and is put last.
        for (index, node) in nodes.iter().enumerate().rev() {
            let own = node.manifest.digest.as_str();
            let reference = if index == 0 { tag.unwrap_or(own) } else { own };
            let put = self
                .to
                .put_manifest(&item.repository, reference, &node.manifest);
            let put = put.await.map_err(|error| match node.parsed.is_index() {
                true if !item.platforms.is_empty() && error.kind != Kind::Unreachable => {
                    Error::new(
                        error.kind,
                        format!(
                            "{error}; a registry that takes no sparse index takes a filtered one"
                        ),
                    )
                }
                _ => error,
            })?;
            if let (Some(subject), false) = (&node.parsed.subject, put.subject_noted) {
                self.note_referrer(item, &subject.digest()?, node).await?;
            }
            tally.manifests.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A manifest and those wanted below it that the target does not have, parents first.
    async fn collect(&self, item: &Item, root: Manifest) -> Result<Vec<Node>, Error> {
        let mut seen = HashSet::from([root.digest.clone()]);
        let mut bytes = root.bytes.len();
        let mut nodes = vec![Node {
            parsed: Parsed::of(&root)?,
            manifest: root,
        }];
        let mut at = 0;
        while at < nodes.len() {
            let wanted = match nodes[at].parsed.is_index() {
                true => nodes[at].parsed.wanted(&item.platforms)?,
                false => Vec::new(),
            };
            let wanted: Result<Vec<_>, _> = wanted.into_iter().map(Descriptor::digest).collect();
            for digest in wanted? {
                if !seen.insert(digest.clone()) {
                    continue;
                }
                let there = self.to.describe(&item.repository, digest.as_str()).await?;
                if there.is_some() {
                    continue;
                }
                let manifest = item.from.manifest(digest.as_str()).await?;
                bytes += manifest.bytes.len();
                if nodes.len() >= MAX_MANIFESTS || bytes > self.options.most.manifests {
                    let why =
                        format!("it has more than {MAX_MANIFESTS} manifests, or too large ones");
                    return Err(Error::new(Kind::Broken, why));
                }
                nodes.push(Node {
                    parsed: Parsed::of(&manifest)?,
                    manifest,
                });
            }
            at += 1;
        }
        Ok(nodes)
    }

    /// A blob, once: whoever else needs it waits, and has it mounted.
    async fn bring_blob(
        &self,
        item: &Item,
        blob: &Descriptor,
        tally: &Tally,
        watch: &dyn Watch,
    ) -> Result<(), Error> {
        let digest = blob.digest()?;
        let slot = {
            let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            blobs.entry(digest.clone()).or_default().clone()
        };
        let mut place = slot.lock().await;
        let repository = item.repository.as_str();
        if place.as_deref() == Some(repository) || self.to.has_blob(repository, &digest).await? {
            *place = Some(repository.to_owned());
            watch.sent(blob.size);
            return Ok(());
        }
        let mut begun = match self.to.mount(repository, &digest, place.as_deref()).await? {
            Had::Yes => {
                tally.mounted.fetch_add(1, Ordering::Relaxed);
                watch.sent(blob.size);
                *place = Some(repository.to_owned());
                return Ok(());
            }
            Had::No(begun) => begun,
        };
        let mut beginnings = 0;
        loop {
            beginnings += 1;
            let told = AtomicU64::new(0);
            let sent = |bytes| {
                told.fetch_add(bytes, Ordering::Relaxed);
                watch.sent(bytes);
            };
            let mut from = item.from.blob(&digest, blob.size)?;
            let done = self
                .to
                .upload(repository, &digest, begun.take(), &mut from, &sent);
            match done.await {
                Ok(()) => break,
                Err(error)
                    if beginnings < BEGINNINGS
                        && matches!(
                            error.kind,
                            Kind::Unreachable | Kind::NotFound | Kind::Refused
                        ) =>
                {
                    tracing::debug!("{error}: the blob is begun again");
                    watch.expect(told.load(Ordering::Relaxed));
                }
                Err(error) => return Err(error),
            }
        }
        *place = Some(repository.to_owned());
        tally.bytes.fetch_add(blob.size, Ordering::Relaxed);
        tally.blobs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Signatures, attestations, and whatever else refers to an image, one level below another.
    async fn bring_referrers(
        &self,
        item: &Item,
        root: &Digest,
        tally: &Tally,
        watch: &dyn Watch,
    ) -> Result<(), Error> {
        let mut subjects = vec![root.clone()];
        if let Ok(manifest) = self.to.manifest(&item.repository, root.as_str()).await {
            let parsed = Parsed::of(&manifest)?;
            if parsed.is_index() {
                let children = parsed.wanted(&item.platforms)?;
                subjects.extend(children.into_iter().filter_map(|it| it.digest().ok()));
            }
        }
        let mut seen: HashSet<Digest> = subjects.iter().cloned().collect();
        // All of it, whatever platform it says.
        let whole = Item {
            platforms: Vec::new(),
            ..item.clone()
        };
        while let Some(subject) = subjects.pop() {
            for referrer in item.from.referrers(&subject).await? {
                let digest = referrer.digest()?;
                if !seen.insert(digest.clone()) {
                    continue;
                }
                if seen.len() > MAX_MANIFESTS {
                    let why = format!("more than {MAX_MANIFESTS} manifests refer to it");
                    return Err(Error::new(Kind::Broken, why));
                }
                let there = self.to.describe(&item.repository, digest.as_str()).await?;
                if there.is_none() {
                    let manifest = item.from.manifest(digest.as_str()).await?;
                    self.bring_tree(&whole, manifest, None, tally, watch)
                        .await?;
                }
                subjects.push(digest);
            }
            for tag in cosign_tags(&subject) {
                let Some(manifest) = item.from.manifest_if_there(&tag).await? else {
                    continue;
                };
                let there = self.to.describe(&item.repository, &tag).await?;
                if there.is_none_or(|it| it.digest != manifest.digest) {
                    self.bring_tree(&whole, manifest, Some(&tag), tally, watch)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Where the target knows no referrers, a tag has them ("Referrers Tag Schema").
    async fn note_referrer(&self, item: &Item, subject: &Digest, node: &Node) -> Result<(), Error> {
        let tag = format!("{}-{}", subject.algorithm(), subject.hex());
        let there = match self.to.manifest(&item.repository, &tag).await {
            Ok(there) => serde_json::from_slice(&there.bytes).unwrap_or_default(),
            Err(error) if error.kind == Kind::NotFound => serde_json::Value::Null,
            Err(error) => return Err(error),
        };
        let mut all = there["manifests"].as_array().cloned().unwrap_or_default();
        let digest = node.manifest.digest.as_str();
        if all.iter().any(|it| it["digest"] == digest) {
            return Ok(());
        }
        let own: serde_json::Value =
            serde_json::from_slice(&node.manifest.bytes).unwrap_or_default();
        let mut descriptor = json!({
            "mediaType": node.manifest.media_type,
            "digest": digest,
            "size": node.manifest.bytes.len(),
        });
        let kind = match own["artifactType"].as_str() {
            Some(kind) => Some(kind),
            None => own["config"]["mediaType"].as_str(),
        };
        if let Some(kind) = kind {
            descriptor["artifactType"] = kind.into();
        }
        if own["annotations"].is_object() {
            descriptor["annotations"] = own["annotations"].clone();
        }
        all.push(descriptor);
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": all});
        let bytes = index.to_string();
        let index = Manifest {
            digest: Digest::sha256(bytes.as_bytes()),
            bytes: bytes.into(),
            media_type: media_type.to_owned(),
        };
        self.to
            .put_manifest(&item.repository, &tag, &index)
            .await
            .map(drop)
    }
}
