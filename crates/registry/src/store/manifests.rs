//! Manifests and what leads to them: tags and referrers.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use super::digest::parse_digest;
use super::manifest::{Descriptor, Manifest};
use super::{Algorithm, Error, Link, Page, Result, Store, keys};
use crate::name::{RepositoryName, Tag};

/// How many small objects are read at once.
const AT_ONCE: usize = 16;

/// How many manifests are read to find one that names a blob.
const MOST_READ: usize = 5000;

/// How many referrers are looked at for a page of those that are wanted, at least …
const LOOKED_AT: usize = 1000;

/// … and at most: their names are in memory.
const MOST_LOOKED_AT: usize = 64_000;

/// How much a page of referrers has, in bytes: what a client takes of an index.
const LARGEST_PAGE: usize = 3 * 1024 * 1024;

/// A manifest as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// As its client named it.
    pub media_type: String,
    /// By which it is kept.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// Why a manifest was not taken.
#[derive(Debug)]
pub enum NotAccepted {
    /// It needs these blobs, which the repository does not have.
    Needs(Vec<Digest>),
    /// The storage failed.
    Failed(Error),
}

/// What a tag is.
#[derive(Debug, Serialize, Deserialize)]
struct Tagged {
    digest: String,
}

impl From<Error> for NotAccepted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Keeps a manifest that has been read, and tags it. The repository has to have what it needs.
    pub async fn put_manifest(
        &self,
        name: &RepositoryName,
        stored: &Stored,
        bytes: Bytes,
        manifest: &Manifest,
        tags: &[Tag],
    ) -> std::result::Result<(), NotAccepted> {
        let relied_on = manifest.needs.iter().chain(&manifest.may_have);
        let relied_on = relied_on.chain([&stored.digest]).cloned().collect();
        let _pin = self.pins.pin(relied_on).await;
        let _alone = self.repositories.lock(name).await;
        let missing = self.missing(name, &manifest.needs).await?;
        if !missing.is_empty() {
            return Err(NotAccepted::Needs(missing));
        }
        self.begin_repository(name).await?;
        let digest = &stored.digest;
        self.put(&keys::content(digest), bytes).await?;
        let link = Link {
            media_type: Some(stored.media_type.clone()),
            size: stored.size,
        };
        self.put_json(&keys::manifest(name, digest), &link).await?;
        if let Some(subject) = &manifest.subject {
            let descriptor = Descriptor {
                media_type: stored.media_type.clone(),
                digest: digest.to_string(),
                size: stored.size,
                artifact_type: manifest.artifact_type.clone(),
                annotations: manifest.annotations.clone(),
            };
            let path = keys::referrer(name, subject, digest);
            self.put_json(&path, &descriptor).await?;
        }
        for tag in tags {
            let tagged = Tagged {
                digest: digest.to_string(),
            };
            self.put_json(&keys::tag(name, tag), &tagged).await?;
        }
        Ok(())
    }

    /// What a tag is.
    pub async fn tagged(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>> {
        let path = keys::tag(name, tag);
        let Some((tagged, _)) = self.get_json::<Tagged>(&path).await? else {
            return Ok(None);
        };
        match parse_digest(&tagged.digest) {
            Some(digest) => Ok(Some(digest)),
            None => Err(Error::Failed(format!("{path} is not as it was written"))),
        }
    }

    /// What a repository knows of a manifest that it has.
    pub async fn manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Stored>> {
        let link = self.get_json::<Link>(&keys::manifest(name, digest)).await?;
        Ok(link.map(|(link, _)| Stored {
            media_type: link.media_type.unwrap_or_default(),
            digest: digest.clone(),
            size: link.size,
        }))
    }

    /// A manifest's bytes, if they are still what they were.
    pub async fn manifest_bytes(&self, digest: &Digest) -> Result<Bytes> {
        let path = keys::content(digest);
        let bytes = self.get(&path).await?;
        let bytes = bytes.ok_or_else(|| Error::Missing(format!("content of {digest}")))?;
        let computed = Algorithm::of(digest).map(|algorithm| algorithm.digest(&bytes));
        if computed.as_ref() != Some(digest) {
            return Err(Error::Failed(format!(
                "{digest} is not what it was: scrub the storage"
            )));
        }
        Ok(bytes)
    }

    /// How large a blob is by the manifests of a repository, whether it is there or not. They are
    /// read until one names it, but no more than the first thousands.
    pub async fn described_size(
        &self,
        name: &RepositoryName,
        blob: &Digest,
    ) -> Result<Option<u64>> {
        let listed = self.objects.list(Some(&keys::manifests(name)));
        let digests = listed.map_ok(|object| keys::digest_of(&object.location, false));
        let looked = digests
            .take(MOST_READ)
            .map_err(Error::from)
            .map(|digest| async {
                let Some(digest) = digest? else {
                    return Ok(None);
                };
                match self.manifest_bytes(&digest).await {
                    Ok(bytes) => Ok(Manifest::size_in(&bytes, blob)),
                    // What cannot be read names nothing.
                    Err(Error::Missing(_) | Error::Failed(_)) => Ok(None),
                    Err(error) => Err(error),
                }
            });
        let mut sizes = looked.buffered(AT_ONCE).boxed();
        while let Some(size) = sizes.try_next().await? {
            if size.is_some() {
                return Ok(size);
            }
        }
        Ok(None)
    }

    /// Takes a tag away. `false` if there was none.
    pub async fn delete_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<bool> {
        let _alone = self.repositories.lock(name).await;
        self.delete(&keys::tag(name, tag)).await
    }

    /// Takes a manifest out of a repository, with every tag that it has. `false` if it was not
    /// there.
    pub async fn delete_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<bool> {
        let _pin = self.pins.pin(vec![digest.clone()]).await;
        let _alone = self.repositories.lock(name).await;
        let link = keys::manifest(name, digest);
        if self.head(&link).await?.is_none() {
            return Ok(false);
        }
        let tags = self.tags_of(name, digest).await?;
        self.unlink_manifest(name, digest, &tags).await
    }

    /// The same with these tags, alone with the repository and under a pin.
    pub(super) async fn unlink_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<bool> {
        for tag in tags {
            self.delete(&keys::tag(name, tag)).await?;
        }
        self.remove_manifest(name, digest).await
    }

    /// Takes a manifest without tags out of a repository that is locked.
    pub(super) async fn remove_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool> {
        // Of what cannot be read any more, nobody knows whose it was.
        let subject = match self.manifest_bytes(digest).await {
            Ok(bytes) => Manifest::read(&bytes, None).ok().and_then(|it| it.subject),
            Err(Error::Missing(_) | Error::Failed(_)) => None,
            Err(error) => return Err(error),
        };
        if let Some(subject) = subject {
            self.delete(&keys::referrer(name, &subject, digest)).await?;
        }
        self.delete(&keys::manifest(name, digest)).await
    }

    /// What refers to a manifest, after `last`, a page at a time; only those of `artifact_type` if
    /// one is given.
    pub async fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&str>,
        count: usize,
    ) -> Result<Page<(String, Descriptor)>> {
        let folder = keys::referrers(name, subject);
        let mut page = Page {
            items: Vec::new(),
            more: false,
        };
        let mut last = last.map(str::to_owned);
        let (mut size, mut looked_at) = (0, 0);
        loop {
            // Each look goes over all of them: few looks, however few of them are wanted.
            looked_at = (looked_at * 4).min(MOST_LOOKED_AT);
            looked_at = looked_at.max(LOOKED_AT).max(count);
            let listed = self.page(&folder, last.as_deref(), looked_at).await?;
            let mut read = stream::iter(listed.items.into_iter().map(|key| {
                let path = folder.clone().join(key.as_str());
                async move {
                    let read = self.get_json::<Descriptor>(&path).await?;
                    let length = read.as_ref().map_or(0, |(_, meta)| meta.size);
                    Ok::<_, Error>((key, read.map(|(descriptor, _)| descriptor), length))
                }
            }))
            .buffered(AT_ONCE)
            .boxed();
            while let Some((key, descriptor, length)) = read.try_next().await? {
                let Some(descriptor) = descriptor else {
                    continue;
                };
                let is_wanted = artifact_type
                    .is_none_or(|wanted| descriptor.artifact_type.as_deref() == Some(wanted));
                if !is_wanted {
                    last = Some(key);
                    continue;
                }
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let is_full = !page.items.is_empty() && size + length > LARGEST_PAGE;
                if page.items.len() == count || is_full {
                    page.more = true;
                    return Ok(page);
                }
                size += length;
                last = Some(key.clone());
                page.items.push((key, descriptor));
            }
            if !listed.more {
                return Ok(page);
            }
        }
    }

    /// Those that the repository does not have.
    async fn missing(&self, name: &RepositoryName, needs: &[Digest]) -> Result<Vec<Digest>> {
        let looked = stream::iter(needs).map(|digest| async move {
            let link = self.linked_blob(name, digest).await?;
            Ok::<_, Error>(link.is_none().then(|| digest.clone()))
        });
        let missing: Vec<_> = looked.buffered(AT_ONCE).boxed().try_collect().await?;
        Ok(missing.into_iter().flatten().collect())
    }

    /// The tags that are this manifest.
    pub(super) async fn tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>> {
        let mut all = self.tags_by_digest(name).await?;
        Ok(all.remove(digest).unwrap_or_default())
    }

    /// All tags of a repository by what they are.
    pub(super) async fn tags_by_digest(
        &self,
        name: &RepositoryName,
    ) -> Result<HashMap<Digest, Vec<Tag>>> {
        let listed = self.objects.list(Some(&keys::tags(name)));
        let looked = listed.map_err(Error::from).map(|object| async move {
            let tag = object?.location.filename().and_then(|it| it.parse().ok());
            let Some(tag) = tag else {
                return Ok(None);
            };
            let digest = self.tagged(name, &tag).await?;
            Ok::<_, Error>(digest.map(|digest| (digest, tag)))
        });
        let mut looked = looked.buffer_unordered(AT_ONCE).boxed();
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        while let Some(found) = looked.try_next().await? {
            if let Some((digest, tag)) = found {
                all.entry(digest).or_default().push(tag);
            }
        }
        Ok(all)
    }
}
