//! Whether an image is where it should be.

use super::parsed::{Narrowed, Parsed, narrowed};
use super::plan::Item;
use super::syncer::Syncer;
use crate::client::{Digest, Error, Manifest};

/// Whether an image is where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is.
    Present {
        /// Its digest.
        digest: Digest,
    },
    /// It is not, or not all of it.
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// The tag is another image.
    Stale {
        /// What it should be.
        digest: Digest,
        /// What it is.
        there: Digest,
    },
}

/// What is to be at the target.
pub(super) struct Root {
    pub(super) digest: Digest,
    /// Where it has come already.
    pub(super) manifest: Option<Manifest>,
}

impl Syncer {
    /// Whether an image is at the target, as its source has it now.
    ///
    /// # Errors
    /// One of both cannot be asked, or the source does not have it.
    pub async fn state(&self, item: &Item) -> Result<State, Error> {
        let root = self.root(item).await?;
        self.state_of(item, &root).await
    }

    pub(super) async fn state_of(&self, item: &Item, root: &Root) -> Result<State, Error> {
        let digest = root.digest.clone();
        let reference = item.tag.as_deref().unwrap_or(digest.as_str());
        let there = self.to.describe(&item.repository, reference).await?;
        let Some(there) = there else {
            return Ok(State::Missing { digest });
        };
        if there.digest != digest {
            return Ok(State::Stale {
                digest,
                there: there.digest,
            });
        }
        // Of a sparse index others may be there than are wanted.
        if there.media_type.contains("index") || there.media_type.contains("manifest.list") {
            let manifest = match &root.manifest {
                Some(manifest) => manifest.clone(),
                None => self.to.manifest(&item.repository, digest.as_str()).await?,
            };
            for child in Parsed::of(&manifest)?.wanted(&item.platforms)? {
                let child = child.digest()?;
                let found = self.to.describe(&item.repository, child.as_str()).await?;
                if found.is_none() {
                    return Ok(State::Missing { digest });
                }
            }
        }
        Ok(State::Present { digest })
    }

    /// What an image is to be at the target.
    pub(super) async fn root(&self, item: &Item) -> Result<Root, Error> {
        let (digest, manifest) = item.from.resolve(&item.reference).await?;
        if item.platforms.is_empty() {
            return Ok(Root { digest, manifest });
        }
        let manifest = match manifest {
            Some(manifest) => manifest,
            None => item.from.manifest(digest.as_str()).await?,
        };
        match narrowed(manifest, &item.platforms, item.index)? {
            Narrowed::Manifest(manifest) => Ok(Root {
                digest: manifest.digest.clone(),
                manifest: Some(manifest),
            }),
            Narrowed::Child(digest) => Ok(Root {
                digest,
                manifest: None,
            }),
        }
    }
}
