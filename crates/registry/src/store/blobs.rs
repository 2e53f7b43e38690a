//! Blobs: whether they are there, reading, mounting, and taking one out of a repository.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::{GetOptions, GetResultPayload, ObjectStoreExt};
use oci_spec::image::Digest;
use tokio::io::AsyncWriteExt;

use super::{Error, Link, RENEW_AFTER, Result, Store, age, found, keys};
use crate::name::RepositoryName;

/// How much of a file is read at once, in bytes.
const READ_PIECE: usize = 256 * 1024;

/// How many pieces are on their way to the storage at once.
const WRITING: usize = 2;

/// Content that is read.
pub struct Content {
    /// Of all of it, in bytes.
    pub size: u64,
    /// What was asked for of it.
    pub pieces: BoxStream<'static, Result<Bytes>>,
}

impl Store {
    /// What a repository knows of a blob that it has. Whoever asks may rely on it for the time that
    /// a collection leaves to pushes.
    pub async fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Link>> {
        let _pin = self.pins.pin(vec![digest.clone()]).await;
        self.linked_blob(name, digest).await
    }

    /// Reads content, of which `range` must be a part.
    pub async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Content> {
        self.read_at(&keys::content(digest), range).await
    }

    /// Has `into` have the blob of another repository, or of any if none is named. `false` if there
    /// is none.
    pub async fn mount(
        &self,
        into: &RepositoryName,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<bool> {
        let _pin = self.pins.pin(vec![digest.clone()]).await;
        let size = match from {
            Some(from) => self.linked_blob(from, digest).await?.map(|link| link.size),
            None => self
                .head(&keys::content(digest))
                .await?
                .map(|meta| meta.size),
        };
        let Some(size) = size else {
            return Ok(false);
        };
        self.link_blob(into, digest, size).await?;
        Ok(true)
    }

    /// How large content is that is here, whatever repository has it, in bytes.
    pub async fn size_of(&self, digest: &Digest) -> Result<Option<u64>> {
        let meta = self.head(&keys::content(digest)).await?;
        Ok(meta.map(|meta| meta.size))
    }

    /// Takes a blob out of a repository. Its content stays until nothing needs it. `false` if it was
    /// not there.
    pub async fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<bool> {
        let _pin = self.pins.pin(vec![digest.clone()]).await;
        self.delete(&keys::blob(name, digest)).await
    }

    /// Under a pin. A link without content is none, so that a client sends what was lost.
    pub(super) async fn linked_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>> {
        let path = keys::blob(name, digest);
        let Some((link, meta)) = self.get_json::<Link>(&path).await? else {
            return Ok(None);
        };
        match self.head(&keys::content(digest)).await? {
            Some(content) if content.size == link.size => {}
            _ => return Ok(None),
        }
        if age(&meta) > RENEW_AFTER
            && let Err(error) = self.put_json(&path, &link).await
        {
            // Whoever only reads does not need it.
            tracing::warn!("the link to {digest} of {name} is not renewed: {error}");
        }
        Ok(Some(link))
    }

    /// Under a pin, after the content.
    pub(super) async fn link_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
    ) -> Result<()> {
        self.begin_repository(name).await?;
        let link = Link {
            media_type: None,
            size,
        };
        self.put_json(&keys::blob(name, digest), &link).await
    }

    pub(super) async fn read_at(
        &self,
        path: &object_store::path::Path,
        range: Option<Range<u64>>,
    ) -> Result<Content> {
        let options = GetOptions {
            range: range.map(Into::into),
            ..GetOptions::default()
        };
        let got = self.objects.get_opts(path, options).await?;
        let (size, range) = (got.meta.size, got.range.clone());
        let pieces = match got.payload {
            GetResultPayload::File(file, path) => read_file(file, path, range),
            GetResultPayload::Stream(stream) => stream.map_err(Error::from).boxed(),
        };
        Ok(Content { size, pieces })
    }

    /// A writer that has little of it in memory.
    pub(super) fn writer(&self, path: object_store::path::Path) -> BufWriter {
        BufWriter::with_capacity(self.objects.clone(), path, self.piece())
            .with_max_concurrency(WRITING)
    }

    /// Writes one object out of others, in order.
    pub(super) async fn join(
        &self,
        from: &[object_store::path::Path],
        to: object_store::path::Path,
    ) -> Result<()> {
        let mut writer = self.writer(to);
        let mut written = Ok(());
        'parts: for path in from {
            let mut pieces = match self.read_at(path, None).await {
                Ok(content) => content.pieces,
                Err(error) => {
                    written = Err(error);
                    break;
                }
            };
            while let Some(piece) = pieces.next().await {
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(error) => {
                        written = Err(error);
                        break 'parts;
                    }
                };
                if let Err(error) = writer.put(piece).await {
                    written = Err(error.into());
                    break 'parts;
                }
            }
        }
        match written {
            Ok(()) => Ok(writer.shutdown().await?),
            Err(error) => {
                // What is left of it is abandoned in any case.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }

    /// Moves an object. Where that is a copy by the storage's own means, they have limits.
    pub(super) async fn move_object(
        &self,
        from: &object_store::path::Path,
        to: &object_store::path::Path,
        size: u64,
    ) -> Result<()> {
        /// The largest object that S3 copies at once.
        const LARGEST_COPY: u64 = 5 * 1024 * 1024 * 1024;
        if self.folder.is_some() || size < LARGEST_COPY {
            self.objects.rename(from, to).await?;
            return Ok(());
        }
        self.join(std::slice::from_ref(from), to.clone()).await?;
        found(self.objects.delete(from).await)?;
        Ok(())
    }
}

/// Larger pieces than the storage's own, each of which costs a change of threads.
pub(super) fn read_file(
    file: File,
    path: PathBuf,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes>> {
    let left = range.end - range.start;
    let start = range.start;
    stream::try_unfold((file, left, true), move |(mut file, left, first)| {
        let path = path.clone();
        async move {
            if left == 0 {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || {
                if first && start > 0 {
                    file.seek(SeekFrom::Start(start))?;
                }
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(READ_PIECE);
                let mut piece = Vec::with_capacity(most);
                (&mut file).take(most as u64).read_to_end(&mut piece)?;
                Ok::<_, std::io::Error>((file, piece))
            });
            let (file, piece) = read
                .await
                .map_err(|error| Error::Failed(error.to_string()))??;
            if piece.is_empty() {
                let path = path.display();
                return Err(Error::Failed(format!("{path} is shorter than it was")));
            }
            let left = left - piece.len() as u64;
            Ok(Some((Bytes::from(piece), (file, left, false))))
        }
    })
    .boxed()
}
