//! Where an image is read from: a registry, or files.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::layout::{Layout, Span};
use super::parsed::{Descriptor, Parsed};
use crate::client::{Blob, Chunks, Client, Digest, Error, Hasher, Kind, Manifest};

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// Where an image is read from.
#[derive(Debug, Clone)]
pub(super) enum From {
    Registry { client: Client, repository: String },
    Files(Arc<Layout>),
}

/// A blob that is read, from wherever it is.
pub(super) enum Reading {
    Blob(Box<Blob>),
    File(Box<FileReading>),
}

/// A part of a file that is read and verified.
pub(super) struct FileReading {
    span: Span,
    digest: Digest,
    at: u64,
    file: Option<tokio::fs::File>,
    hasher: Option<Hasher>,
}

impl From {
    /// The digest of a tag or digest, and its manifest if that costs nothing.
    pub(super) async fn resolve(
        &self,
        reference: &str,
    ) -> Result<(Digest, Option<Manifest>), Error> {
        match self {
            Self::Registry { client, repository } => {
                let found = client.describe(repository, reference).await?;
                let none = || {
                    let why = format!("{}/{repository} has no {reference}", client.host());
                    Error::new(Kind::NotFound, why)
                };
                found.map(|it| (it.digest, None)).ok_or_else(none)
            }
            Self::Files(layout) => {
                let manifest = layout.manifest(reference)?;
                Ok((manifest.digest.clone(), Some(manifest)))
            }
        }
    }

    pub(super) async fn manifest(&self, reference: &str) -> Result<Manifest, Error> {
        match self {
            Self::Registry { client, repository } => client.manifest(repository, reference).await,
            Self::Files(layout) => layout.manifest(reference),
        }
    }

    /// A manifest by its digest; none if it is not there.
    pub(super) async fn manifest_if_there(&self, tag: &str) -> Result<Option<Manifest>, Error> {
        match self.manifest(tag).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn blob(&self, digest: &Digest, size: u64) -> Result<Reading, Error> {
        match self {
            Self::Registry { client, repository } => Ok(Reading::Blob(Box::new(
                client.blob(repository, digest, size),
            ))),
            Self::Files(layout) => Ok(Reading::File(Box::new(FileReading {
                span: layout.blob(digest)?,
                digest: digest.clone(),
                at: 0,
                file: None,
                hasher: Some(digest.hasher()),
            }))),
        }
    }

    /// What refers to a manifest.
    pub(super) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        match self {
            Self::Registry { client, repository } => {
                let mut all = Vec::new();
                for page in client.referrers(repository, subject).await? {
                    let parsed: Parsed = serde_json::from_slice(&page).map_err(|_| {
                        let why = format!("the referrers of {subject} are not understood");
                        Error::new(Kind::Broken, why)
                    })?;
                    all.extend(parsed.manifests.into_iter().flatten());
                }
                Ok(all)
            }
            Self::Files(layout) => Ok(layout.referrers(subject)),
        }
    }
}

impl Chunks for Reading {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Blob(blob) => blob.chunk().await,
            Self::File(file) => file.chunk().await,
        }
    }
}

impl FileReading {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let name = self.span.name.display().to_string();
        let failed = |error: std::io::Error| Error::new(Kind::Broken, format!("{name}: {error}"));
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut file = tokio::fs::File::open(&self.span.file)
                    .await
                    .map_err(failed)?;
                let start = std::io::SeekFrom::Start(self.span.start);
                file.seek(start).await.map_err(failed)?;
                file
            }
        };
        let left = self.span.length - self.at;
        if left == 0 {
            return match self.hasher.take().map(Hasher::finish) {
                Some(found) if found != self.digest => Err(Error::new(
                    Kind::Broken,
                    format!(
                        "{name}: what is there as {} has the digest {found}",
                        self.digest
                    ),
                )),
                _ => Ok(None),
            };
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        let mut chunk = BytesMut::zeroed(most);
        let read = file.read(&mut chunk).await.map_err(failed)?;
        if read == 0 {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        chunk.truncate(read);
        self.at += read as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        self.file = Some(file);
        Ok(Some(chunk.freeze()))
    }
}
