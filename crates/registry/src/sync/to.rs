//! What is filled: a registry, or the store of this process.

use std::pin::pin;

use futures_util::stream::try_unfold;
use oci_spec::image::Digest as StoredDigest;

use crate::client::{
    Chunks, Client, Described, Digest, Error, Kind, Manifest, Mounted, Put, Upload,
};
use crate::name::{RepositoryName, Tag};
use crate::store::{self, Algorithm, NotAccepted, Refused, Store, Stored, parse_digest};

/// What is filled.
#[derive(Debug, Clone)]
pub(super) enum To {
    Registry(Client),
    Store(Store),
}

/// What became of the wish to have a blob from another repository.
pub(super) enum Had {
    /// It is there.
    Yes,
    /// It has to come, by an upload that may have begun.
    No(Option<Upload>),
}

impl To {
    pub(super) async fn describe(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<Described>, Error> {
        let store = match self {
            Self::Registry(client) => return client.describe(repository, reference).await,
            Self::Store(store) => store,
        };
        let found = stored(store, &name(repository)?, reference).await?;
        found.map(|it| described(&it)).transpose()
    }

    pub(super) async fn manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Manifest, Error> {
        let store = match self {
            Self::Registry(client) => return client.manifest(repository, reference).await,
            Self::Store(store) => store,
        };
        let found = stored(store, &name(repository)?, reference).await?;
        let found = found.ok_or_else(|| {
            let why = format!("the registry has no {reference} in {repository}");
            Error::new(Kind::NotFound, why)
        })?;
        let bytes = store.manifest_bytes(&found.digest).await;
        let described = described(&found)?;
        Ok(Manifest {
            bytes: bytes.map_err(failed)?,
            media_type: described.media_type,
            digest: described.digest,
        })
    }

    pub(super) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<Put, Error> {
        let store = match self {
            Self::Registry(client) => {
                return client.put_manifest(repository, reference, manifest).await;
            }
            Self::Store(store) => store,
        };
        let invalid = |why: String| Error::new(Kind::Invalid, format!("{repository}: {why}"));
        let read = store::Manifest::read(&manifest.bytes, Some(&manifest.media_type));
        let read = read.map_err(invalid)?;
        let tags = match reference.contains(':') {
            true => Vec::new(),
            false => vec![tag(reference)?],
        };
        let kept = Stored {
            media_type: manifest.media_type.clone(),
            digest: digest(&manifest.digest)?,
            size: manifest.bytes.len() as u64,
        };
        let bytes = manifest.bytes.clone();
        let name = name(repository)?;
        let put = store.put_manifest(&name, &kept, bytes, &read, &tags);
        put.await.map_err(|error| match error {
            NotAccepted::Needs(missing) => {
                let missing: Vec<&str> = missing.iter().map(AsRef::as_ref).collect();
                let why = format!("{repository} has no {}", missing.join(", "));
                Error::new(Kind::NotFound, why)
            }
            NotAccepted::Failed(error) => failed(error),
        })?;
        Ok(Put {
            subject_noted: true,
        })
    }

    /// Whether a blob is there.
    pub(super) async fn has_blob(&self, repository: &str, blob: &Digest) -> Result<bool, Error> {
        match self {
            Self::Registry(client) => client.has_blob(repository, blob).await,
            Self::Store(store) => {
                let link = store.blob(&name(repository)?, &digest(blob)?).await;
                Ok(link.map_err(failed)?.is_some())
            }
        }
    }

    /// Has a repository have the blob of another one.
    pub(super) async fn mount(
        &self,
        repository: &str,
        blob: &Digest,
        from: Option<&str>,
    ) -> Result<Had, Error> {
        match self {
            Self::Registry(client) => match client.mount(repository, blob, from).await? {
                Mounted::Yes => Ok(Had::Yes),
                Mounted::No(upload) => Ok(Had::No(Some(upload))),
            },
            Self::Store(store) => {
                let from = from.map(name).transpose()?;
                let (into, blob) = (name(repository)?, digest(blob)?);
                let mounted = store.mount(&into, &blob, from.as_ref()).await;
                match mounted.map_err(failed)? {
                    true => Ok(Had::Yes),
                    false => Ok(Had::No(None)),
                }
            }
        }
    }

    /// Writes a blob. `sent` is told of each piece.
    pub(super) async fn upload(
        &self,
        repository: &str,
        blob: &Digest,
        begun: Option<Upload>,
        from: &mut impl Chunks,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        match self {
            Self::Registry(client) => client.upload(repository, blob, begun, from, sent).await,
            Self::Store(store) => keep(store, repository, blob, from, sent).await,
        }
    }
}

async fn keep(
    store: &Store,
    repository: &str,
    blob: &Digest,
    from: &mut impl Chunks,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<(), Error> {
    let digest = digest(blob)?;
    let unknown = || Error::new(Kind::Invalid, format!("{blob}: its algorithm is not known"));
    let algorithm = Algorithm::of(&digest).ok_or_else(unknown)?;
    let upload = store.begin_upload(&name(repository)?, algorithm).await;
    let mut upload = upload.map_err(failed)?;
    let mut broken = None;
    let pieces = try_unfold((from, &mut broken), async |(from, broken)| {
        match from.chunk().await {
            Ok(Some(chunk)) => {
                sent(chunk.len() as u64);
                Ok(Some((chunk, (from, broken))))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                let said = error.to_string();
                *broken = Some(error);
                Err(said)
            }
        }
    });
    let done = store.append(&mut upload, pin!(pieces)).await;
    let done = match done {
        Ok(()) => store.finish(upload, &digest).await,
        Err(refused) => {
            // What came of it is of no use: it is read from its beginning again.
            if let Err(error) = store.cancel(upload).await {
                tracing::debug!("what came of {blob} is left for the collection: {error}");
            }
            Err(refused)
        }
    };
    done.map_err(|refused| match (refused, broken) {
        // Why the source broke off is known better there.
        (Refused::BrokenOff(_), Some(error)) => error,
        (Refused::Failed(error), _) => failed(error),
        (Refused::TooLarge, _) => {
            let why = format!("blob {blob} is larger than a blob may be here");
            Error::new(Kind::Refused, why)
        }
        (Refused::OtherDigest(other), _) => {
            let why = format!("what came for blob {blob} has the digest {other}");
            Error::new(Kind::Broken, why)
        }
        (refused, _) => Error::new(Kind::Refused, format!("blob {blob}: {refused:?}")),
    })
}

/// What a repository of the store has by a tag or digest.
async fn stored(
    store: &Store,
    name: &RepositoryName,
    reference: &str,
) -> Result<Option<Stored>, Error> {
    let digest = match reference.contains(':') {
        true => parse_digest(reference),
        false => store.tagged(name, &tag(reference)?).await.map_err(failed)?,
    };
    match digest {
        Some(digest) => store.manifest(name, &digest).await.map_err(failed),
        None => Ok(None),
    }
}

fn described(stored: &Stored) -> Result<Described, Error> {
    let digest = stored.digest.as_ref().parse::<Digest>();
    let wrong = |_| Error::new(Kind::Broken, format!("{} is no digest", stored.digest));
    Ok(Described {
        digest: digest.map_err(wrong)?,
        media_type: stored.media_type.clone(),
        size: Some(stored.size),
    })
}

fn name(text: &str) -> Result<RepositoryName, Error> {
    let name = text.parse::<RepositoryName>();
    name.map_err(|why| Error::new(Kind::Invalid, format!("{text}: {why}")))
}

fn tag(text: &str) -> Result<Tag, Error> {
    let tag = text.parse::<Tag>();
    tag.map_err(|why| Error::new(Kind::Invalid, format!("{text}: {why}")))
}

fn digest(digest: &Digest) -> Result<StoredDigest, Error> {
    let unknown = || {
        Error::new(
            Kind::Invalid,
            format!("{digest}: its algorithm is not kept"),
        )
    };
    parse_digest(digest.as_str()).ok_or_else(unknown)
}

fn failed(error: store::Error) -> Error {
    Error::new(Kind::Refused, error.to_string())
}
