//! What a registry keeps, on any object storage.
//!
//! Content is kept once, by its digest; a repository has links to what it has. Writes go content
//! first, then the link, the referrer, the tag; deletions the other way round: wherever a process
//! is killed, whatever can be found is whole. An answer that says "done" comes after the last
//! write, and a write is over once it is on the disk.

mod begun;
mod blobs;
mod brought;
#[cfg(test)]
mod costs;
mod digest;
mod error;
#[cfg(test)]
mod fuzz;
mod gc;
mod keys;
mod listing;
mod manifest;
mod manifests;
mod pins;
mod place;
mod room;
mod scrub;
mod spool;
mod unused;
mod uploads;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

pub use blobs::Content;
pub use brought::TakenBack;
pub use digest::{Algorithm, Hasher, parse_digest};
pub use error::{Error, Result};
pub use gc::Collected;
pub use listing::Page;
pub use manifest::{Descriptor, Manifest};
pub use manifests::{NotAccepted, Stored};
pub use oci_spec::image::Digest;
pub use place::{Lock, Place};
pub use scrub::{Broken, Scrubbed};
pub use spool::Spool;
pub use uploads::{Refused, Upload};

use crate::name::RepositoryName;
use error::found;
pub(crate) use pins::Locks;
use pins::Pins;

/// How old a link is before somebody who is told of it renews it.
const RENEW_AFTER: Duration = Duration::from_secs(10 * 60);

/// How much is written at once to a folder, in bytes.
const FOLDER_PIECE: usize = 512 * 1024;

/// The same of a bucket, where a part has at least 5 MiB.
const BUCKET_PIECE: usize = 5 * 1024 * 1024;

/// Of how many parts S3 makes an object at most.
const BUCKET_PIECES: u64 = 10_000;

/// What a registry keeps. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Where it is, if it is a folder.
    folder: Option<PathBuf>,
    pins: Arc<Pins>,
    repositories: Arc<Locks<RepositoryName>>,
    uploads: Arc<uploads::Sessions>,
    largest_blob: u64,
    most_begun: Most,
    /// How much of the disk is left to others, in bytes.
    least_free: u64,
    /// When.
    opened: SystemTime,
}

/// What may be begun by clients and not finished.
#[derive(Debug, Clone, Copy)]
struct Most {
    uploads: usize,
    /// Of all of them together.
    bytes: u64,
}

/// What a repository knows of what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Of a manifest, as its client named it.
    #[serde(default, rename = "mediaType", skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// In bytes.
    pub size: u64,
}

impl Store {
    /// What is at `place`. No blob may be larger than `largest_blob` bytes.
    pub fn open(place: &Place, largest_blob: u64) -> Result<Self> {
        let (objects, folder) = place.open()?;
        Ok(Self {
            folder,
            ..Self::over(objects, largest_blob)
        })
    }

    fn over(objects: Arc<dyn ObjectStore>, largest_blob: u64) -> Self {
        Self {
            objects,
            folder: None,
            pins: Arc::default(),
            repositories: Arc::default(),
            uploads: Arc::default(),
            largest_blob,
            most_begun: Most {
                uploads: usize::MAX,
                bytes: u64::MAX,
            },
            least_free: 0,
            opened: SystemTime::now(),
        }
    }

    /// Lets clients begin at most so many uploads that are neither finished nor cancelled, and have
    /// at most so many bytes come of all of them together: no less than the largest blob has. Those
    /// that earlier processes have left are among them.
    #[must_use]
    pub fn with_uploads(mut self, uploads: usize, bytes: u64) -> Self {
        let bytes = bytes.max(self.largest_blob);
        self.most_begun = Most { uploads, bytes };
        self
    }

    /// Leaves so much of the disk to others: what would take of it finds the storage full. Nobody
    /// can tell how much a bucket has.
    #[must_use]
    pub fn with_least_free(mut self, bytes: u64) -> Self {
        self.least_free = bytes;
        self
    }

    /// Whether there has ever been anything in a repository.
    pub async fn has_repository(&self, name: &RepositoryName) -> Result<bool> {
        Ok(self.head(&keys::marker(name)).await?.is_some())
    }

    /// Whether the storage answers, and takes our credentials.
    pub async fn look(&self) -> Result<()> {
        let uploads = Path::from(keys::UPLOADS);
        self.objects.list(Some(&uploads)).try_next().await?;
        Ok(())
    }

    /// How much is written at once.
    fn piece(&self) -> usize {
        match self.folder {
            Some(_) => FOLDER_PIECE,
            None => bucket_piece(self.largest_blob),
        }
    }

    async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>> {
        found(self.objects.head(path).await)
    }

    /// A small object.
    async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        Ok(self.get_with_meta(path).await?.map(|(bytes, _)| bytes))
    }

    async fn get_with_meta(&self, path: &Path) -> Result<Option<(Bytes, ObjectMeta)>> {
        let Some(got) = found(self.objects.get(path).await)? else {
            return Ok(None);
        };
        let meta = got.meta.clone();
        Ok(Some((got.bytes().await?, meta)))
    }

    async fn put(&self, path: &Path, bytes: impl Into<PutPayload>) -> Result<()> {
        self.objects.put(path, bytes.into()).await?;
        Ok(())
    }

    /// Whether it was there.
    async fn delete(&self, path: &Path) -> Result<bool> {
        if self.head(path).await?.is_none() {
            return Ok(false);
        }
        self.remove(path).await?;
        Ok(true)
    }

    /// Takes an object away for good: the order of deletions is what nothing half is left by, and
    /// without this, a power failure may keep a later one and lose one before it.
    async fn remove(&self, path: &Path) -> Result<()> {
        found(self.objects.delete(path).await)?;
        // The library syncs what it writes and not what it removes.
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let mut file = folder.join(path.as_ref());
        file.pop();
        let synced = tokio::task::spawn_blocking(move || File::open(file)?.sync_all());
        match synced.await {
            // Nobody removes the folders of what is removed this way but by hand.
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(synced) => Ok(synced?),
            Err(error) => Err(Error::Failed(error.to_string())),
        }
    }

    /// Something small, as JSON.
    async fn put_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec(value).map_err(|error| Error::Failed(error.to_string()))?;
        self.put(path, json).await
    }

    async fn get_json<T: for<'a> Deserialize<'a>>(
        &self,
        path: &Path,
    ) -> Result<Option<(T, ObjectMeta)>> {
        let Some((bytes, meta)) = self.get_with_meta(path).await? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Failed(format!("{path} is not as it was written: {error}")))?;
        Ok(Some((value, meta)))
    }

    /// Sees to it that a repository is known before it has anything.
    async fn begin_repository(&self, name: &RepositoryName) -> Result<()> {
        let marker = keys::marker(name);
        match self.head(&marker).await? {
            Some(_) => Ok(()),
            None => self.put(&marker, Bytes::new()).await,
        }
    }
}

/// How large the parts are of which the largest blob can be made.
fn bucket_piece(largest_blob: u64) -> usize {
    let least = usize::try_from(largest_blob.div_ceil(BUCKET_PIECES)).unwrap_or(usize::MAX);
    least.max(BUCKET_PIECE)
}

/// How long ago something was written, by the storage's clock and ours.
fn age(meta: &ObjectMeta) -> Duration {
    let written: SystemTime = meta.last_modified.into();
    written.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_blob_has_as_many_parts_as_a_bucket_takes() {
        assert_eq!(bucket_piece(1), 5 << 20);
        assert_eq!(bucket_piece(64 << 30), 6_871_948);
        let most = 5_u64 << 40;
        assert!(bucket_piece(most) as u64 * BUCKET_PIECES >= most);
    }
}
