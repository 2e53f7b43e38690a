//! Blobs: one fetch for all who wait, read while it comes, kept when it is right.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use oci_spec::image::Digest;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::coming::{End, Progress, Ready};
use super::metrics::{Kind, Outcome};
use super::{Cache, Coming, Miss, Place, REFUSED_FOR};
use crate::client::{self, Chunks, Client, Error, Kind as Why};
use crate::store::{Algorithm, Spool};

/// How long somebody waits for others' fetches to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much is written at once if that much has come, in bytes.
const PIECE: usize = 512 * 1024;

/// How many pieces of what comes wait to be written; each is at most what
/// is read at once of a connection.
const WAITING: usize = 8;

/// Where a blob is.
pub(crate) enum Found {
    /// In the store.
    Kept,
    /// On its way, of this size in bytes.
    Coming(Coming, u64),
    /// Upstream, of this size in bytes; nobody wants its content.
    There(u64),
}

/// A fetch, until it is over.
struct Fetch {
    cache: Arc<Cache>,
    place: Place,
    digest: Digest,
    progress: watch::Sender<Progress>,
}

impl Cache {
    /// Finds a blob, or begins to fetch it if its content is wanted. A fetch goes on to its end,
    /// whoever goes away.
    pub(crate) async fn blob(
        self: &Arc<Self>,
        place: Place,
        digest: &Digest,
        content: bool,
    ) -> Result<Found, Miss> {
        let found = self.find(place, digest, content).await;
        let outcome = match &found {
            Ok((_, outcome)) => *outcome,
            Err(miss) => miss.outcome(),
        };
        self.count(Kind::Blob, outcome);
        found.map(|(found, _)| found)
    }

    async fn find(
        self: &Arc<Self>,
        place: Place,
        digest: &Digest,
        content: bool,
    ) -> Result<(Found, Outcome), Miss> {
        if self.store.blob(&place.name, digest).await?.is_some() {
            return Ok((Found::Kept, Outcome::Hit));
        }
        place.check()?;
        if !content {
            let client = self.ready_to_ask(&place, digest)?;
            let size = self.size(&client, &place, digest).await?;
            return Ok((Found::There(size), Outcome::Miss));
        }
        let (mut coming, outcome) = self.join(place, digest);
        Ok(match coming.ready().await? {
            Ready::Kept => (Found::Kept, outcome),
            Ready::Begun(size) => (Found::Coming(coming, size), outcome),
        })
    }

    /// The fetch that is under way, or a new one.
    fn join(self: &Arc<Self>, place: Place, digest: &Digest) -> (Coming, Outcome) {
        let mut all = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (place.name.clone(), digest.clone());
        if let Some(coming) = all.get(&key) {
            return (coming.clone(), Outcome::Joined);
        }
        let (progress, receiver) = watch::channel(Progress::default());
        let coming = Coming(receiver);
        all.insert(key, coming.clone());
        let fetch = Fetch {
            cache: Arc::clone(self),
            place,
            digest: digest.clone(),
            progress,
        };
        tokio::spawn(async move {
            let end = match fetch.run().await {
                Ok(()) => End::Kept,
                Err(miss) => {
                    if let Miss::Failed(error) = &miss {
                        tracing::error!("{} of {}: {error}", fetch.digest, fetch.place.name);
                    }
                    End::Missed(miss)
                }
            };
            fetch.end(end);
        });
        (coming, Outcome::Miss)
    }

    /// A client, unless upstream has just not answered.
    fn ready_to_ask(&self, place: &Place, digest: &Digest) -> Result<Client, Miss> {
        place.upstream.is_away()?;
        let key = (place.name.clone(), digest.to_string());
        match self.refused.get(&key) {
            Some(error) => Err(error.into()),
            None => Ok(place.upstream.client.clone()),
        }
    }

    /// How large a blob is upstream, as it says itself, or as a manifest that is here does: clients
    /// get manifests first.
    async fn size(&self, client: &Client, place: &Place, digest: &Digest) -> Result<u64, Miss> {
        let told = told_size(client, place, digest).await;
        let told = told.inspect_err(|error| self.note_refusal(place, digest, error))?;
        if let Some(size) = told {
            return Ok(size);
        }
        let described = self.store.described_size(&place.name, digest).await?;
        described.ok_or_else(|| {
            Miss::Broken(format!(
                "{} does not tell how large {digest} of {} is, and no manifest that has been \
                 pulled from here does: pull the image's manifest first",
                place.host(),
                place.path
            ))
        })
    }

    fn note_refusal(&self, place: &Place, digest: &Digest, error: &Error) {
        place.upstream.heard(Some(error));
        let key = (place.name.clone(), digest.to_string());
        self.refused.note(key, error.clone(), REFUSED_FOR);
    }
}

impl Fetch {
    async fn run(&self) -> Result<(), Miss> {
        let (cache, place, digest) = (&self.cache, &self.place, &self.digest);
        let permit = timeout(PATIENCE, Arc::clone(&cache.fetches).acquire_owned()).await;
        // It is never closed.
        let _permit = permit.map_err(|_| Miss::Busy)?;
        // Somebody else's fetch may just have ended.
        if cache.store.blob(&place.name, digest).await?.is_some() {
            return Ok(());
        }
        let client = cache.ready_to_ask(place, digest)?;
        let size = cache.size(&client, place, digest).await?;
        if size > cache.largest_blob {
            let most = cache.largest_blob;
            return Err(Miss::Broken(format!(
                "{digest} has {size} bytes, and a blob may have {most} here"
            )));
        }
        // Upstream lets us have it, and it is here for another repository.
        if cache.store.size_of(digest).await? == Some(size)
            && cache.store.mount(&place.name, digest, None).await?
        {
            return Ok(());
        }
        let algorithm = Algorithm::of(digest)
            .ok_or_else(|| Miss::Broken(format!("{digest} cannot be verified")))?;
        let mut spool = cache
            .store
            .begin_spool(&place.name, algorithm, size)
            .await?;
        self.progress
            .send_modify(|it| it.begun = Some((spool.file(), size)));
        if let Err(miss) = self.fill(&mut spool, client, size).await {
            if let Err(error) = cache.store.give_up(spool).await {
                tracing::warn!("what came of {digest} is left for the collection: {error}");
            }
            return Err(miss);
        }
        // Clients have all of it, whatever becomes of our copy.
        self.progress.send_modify(|it| it.end = Some(End::Whole));
        if let Err(refused) = cache.store.keep(spool, digest).await {
            tracing::error!("{digest} of {} is not kept: {refused:?}", place.name);
        }
        Ok(())
    }

    /// Writes what comes; the client has verified it when there is no more.
    async fn fill(&self, spool: &mut Spool, client: Client, size: u64) -> Result<(), Miss> {
        let (sender, mut pieces) = mpsc::channel(WAITING);
        let digest = foreign(&self.digest)?;
        let mut blob = client.blob(&self.place.path, &digest, size);
        let reading = async move {
            while let Some(piece) = blob.chunk().await? {
                if sender.send(piece).await.is_err() {
                    // Writing has failed, and says how.
                    break;
                }
            }
            Ok::<_, Error>(())
        };
        let writing = async move {
            while let Some(first) = pieces.recv().await {
                let piece = gather(first, &mut pieces);
                self.cache.metrics.fetched(piece.len());
                let length = piece.len() as u64;
                spool.write(piece).await?;
                self.progress.send_modify(|it| it.written += length);
            }
            Ok::<_, Miss>(())
        };
        let (read, written) = tokio::join!(reading, writing);
        written?;
        read.map_err(|error| {
            tracing::warn!("{error}: it is not kept");
            Miss::from(error)
        })
    }

    fn end(&self, end: End) {
        self.progress.send_modify(|it| {
            // Whoever reads it has been told already.
            if !matches!(it.end, Some(End::Whole)) {
                it.end = Some(end);
            }
        });
    }
}

impl Drop for Fetch {
    /// Also if it was cut off: nobody waits for what does not come.
    fn drop(&mut self) {
        let all = self.cache.coming.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.remove(&(self.place.name.clone(), self.digest.clone()));
    }
}

/// How large a blob is, if upstream tells it.
async fn told_size(client: &Client, place: &Place, digest: &Digest) -> Result<Option<u64>, Error> {
    let digest = foreign(digest)?;
    let described = client.describe_blob(&place.path, &digest).await?;
    place.upstream.heard(None);
    let described = described.ok_or_else(|| {
        let (host, path) = (place.host(), &place.path);
        let why = format!("{host} has no blob {} of {path}", digest.as_str());
        Error::new(Why::NotFound, why)
    })?;
    Ok(described.size)
}

/// What has come already goes with it.
fn gather(first: Bytes, pieces: &mut mpsc::Receiver<Bytes>) -> Bytes {
    let Ok(second) = pieces.try_recv() else {
        return first;
    };
    let mut all = BytesMut::with_capacity(PIECE);
    all.extend_from_slice(&first);
    all.extend_from_slice(&second);
    while all.len() < PIECE {
        match pieces.try_recv() {
            Ok(piece) => all.extend_from_slice(&piece),
            Err(_) => break,
        }
    }
    all.freeze()
}

/// A digest as the client has it.
fn foreign(digest: &Digest) -> Result<client::Digest, Error> {
    let text: &str = digest.as_ref();
    let wrong = || Error::new(Why::Invalid, format!("{text} is no digest"));
    text.parse().map_err(|_| wrong())
}
