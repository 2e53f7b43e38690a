//! Blobs on their way in: what has come is kept piece by piece, so that a client can go on where it
//! was, in this process or in the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OnceCell, OwnedMutexGuard};
use tokio::time::timeout;

use super::begun::Begun;
use super::digest::{Algorithm, Hasher};
use super::{Error, Result, Store, found, keys};
use crate::name::RepositoryName;

/// How long somebody waits for another request to end that writes to the same upload: the server
/// may not have seen yet that its client has gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// After how many bytes it is looked again whether the disk has room for more.
const LOOK_AFTER: u64 = 1024 * 1024;

/// How many uploads are remembered between their requests. Others are read from the storage.
const REMEMBERED: usize = 4096;

/// Why nothing came of a request for an upload.
#[derive(Debug)]
pub enum Refused {
    /// There is no such upload, or not in this repository.
    Unknown,
    /// Another request writes to it.
    Busy,
    /// The next byte is this one, and another one came.
    OutOfOrder(u64),
    /// It is larger than a blob may be.
    TooLarge,
    /// So many are begun and not finished that there may not be another one.
    TooMany(usize),
    /// So many bytes have come of those that are begun and not finished that there may not be more.
    TooMuch(u64),
    /// Its digest is another one.
    OtherDigest(Digest),
    /// The client broke off, or sent less than it had said.
    BrokenOff(String),
    /// The storage failed.
    Failed(Error),
}

/// An upload that this request alone writes to.
#[derive(Debug)]
pub struct Upload {
    id: String,
    /// How much may come of all uploads together, in bytes: what is our own is not limited.
    most: u64,
    session: OwnedMutexGuard<Session>,
}

/// What is known of an upload.
#[derive(Debug)]
struct Session {
    repository: RepositoryName,
    /// Where the next byte goes.
    offset: u64,
    /// Where each piece begins.
    parts: Vec<u64>,
    /// Of all that came, if it came to this process.
    hasher: Option<Hasher>,
    /// It has become a blob, or nothing.
    is_over: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    repository: String,
}

/// The uploads that this process remembers.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    remembered: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Session>>>>,
    /// All that are begun and neither finished nor cancelled, by whatever process: known from the
    /// first one that is begun here.
    begun: OnceCell<Begun>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<object_store::Error> for Refused {
    fn from(error: object_store::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Upload {
    /// What the client calls it by.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How much has come, in bytes.
    pub fn offset(&self) -> u64 {
        self.session.offset
    }

    /// What has come is one piece of `size` bytes, which somebody else has written and digested.
    pub(super) fn is_one_piece(&mut self, size: u64) {
        self.session.parts = vec![0];
        self.session.offset = size;
        self.session.hasher = None;
    }
}

impl Store {
    /// Begins an upload of our own, which may be digested as it comes. It counts, and is not limited.
    pub async fn begin_upload(
        &self,
        name: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<Upload> {
        let id = new_id()?;
        self.begun().await?.begin(&id, usize::MAX);
        self.begin(id, name, algorithm, u64::MAX).await
    }

    /// Begins a client's, if there may be another one.
    pub async fn begin_clients_upload(
        &self,
        name: &RepositoryName,
        algorithm: Algorithm,
    ) -> std::result::Result<Upload, Refused> {
        let id = new_id()?;
        let most = self.most_begun;
        match self.begun().await?.begin(&id, most.uploads) {
            true => Ok(self.begin(id, name, algorithm, most.bytes).await?),
            false => Err(Refused::TooMany(most.uploads)),
        }
    }

    /// Whether so many bytes may come of an upload, as far as it can be known before they come. That
    /// nothing comes, as when all has come, is never too much.
    pub async fn check_upload(
        &self,
        upload: &Upload,
        bytes: u64,
    ) -> std::result::Result<(), Refused> {
        if bytes == 0 {
            return Ok(());
        }
        if !self.begun().await?.has_room(bytes, upload.most) {
            return Err(Refused::TooMuch(upload.most));
        }
        Ok(self.check_room(bytes).await?)
    }

    async fn begin(
        &self,
        id: String,
        name: &RepositoryName,
        algorithm: Algorithm,
        most: u64,
    ) -> Result<Upload> {
        let state = State {
            repository: name.as_str().to_owned(),
        };
        let begun = match self.check_room(0).await {
            Ok(()) => self.put_json(&keys::upload_state(&id), &state).await,
            Err(full) => Err(full),
        };
        if let Err(error) = begun {
            self.uploads.forget(&id);
            return Err(error);
        }
        let session = self.uploads.remember(
            &id,
            Session {
                repository: name.clone(),
                offset: 0,
                parts: Vec::new(),
                hasher: Some(Hasher::new(algorithm)),
                is_over: false,
            },
        );
        Ok(Upload {
            id,
            most,
            session: session.lock_owned().await,
        })
    }

    /// The upload that a client goes on with.
    pub async fn upload(
        &self,
        name: &RepositoryName,
        id: &str,
    ) -> std::result::Result<Upload, Refused> {
        if !is_id(id) {
            return Err(Refused::Unknown);
        }
        let session = match self.uploads.find(id) {
            Some(session) => session,
            None => {
                let found = self.find_upload(id).await?.ok_or(Refused::Unknown)?;
                self.uploads.remember(id, found)
            }
        };
        let session = timeout(PATIENCE, session.lock_owned()).await;
        let session = session.map_err(|_| Refused::Busy)?;
        if session.is_over || session.repository != *name {
            return Err(Refused::Unknown);
        }
        Ok(Upload {
            id: id.to_owned(),
            most: self.most_begun.bytes,
            session,
        })
    }

    /// Adds what comes. Where it breaks off, what came is kept.
    pub async fn append<E: std::fmt::Display>(
        &self,
        upload: &mut Upload,
        mut pieces: impl Stream<Item = std::result::Result<Bytes, E>> + Unpin,
    ) -> std::result::Result<(), Refused> {
        let start = upload.session.offset;
        let mut coming = self.begun().await?.coming(&upload.id);
        let mut look = start;
        let mut writer = self.writer(keys::upload_part(&upload.id, start));
        let before = upload.session.hasher.clone();
        let mut hasher = before.clone();
        let mut offset = start;
        let mut ended = Ok(());
        while let Some(piece) = pieces.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    ended = Err(Refused::BrokenOff(error.to_string()));
                    break;
                }
            };
            if piece.is_empty() {
                continue;
            }
            offset += piece.len() as u64;
            if offset > self.largest_blob {
                let _ = writer.abort().await;
                return Err(Refused::TooLarge);
            }
            // What came is given up: kept, it would be in the way of those that could be finished.
            if !coming.add(piece.len() as u64, upload.most) {
                let _ = writer.abort().await;
                return Err(Refused::TooMuch(upload.most));
            }
            if offset >= look {
                look = offset + LOOK_AFTER;
                if let Err(error) = self.check_room(0).await {
                    let _ = writer.abort().await;
                    return Err(error.into());
                }
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&piece);
            }
            if let Err(error) = writer.put(piece).await {
                // The storage's error counts.
                let _ = writer.abort().await;
                return Err(error.into());
            }
        }
        if offset > start {
            writer.shutdown().await.map_err(Error::from)?;
            coming.keep();
            let session = &mut *upload.session;
            session.parts.push(start);
            session.offset = offset;
            session.hasher = hasher;
        }
        ended
    }

    /// Makes a blob of what has come, if it has this digest.
    pub async fn finish(
        &self,
        mut upload: Upload,
        digest: &Digest,
    ) -> std::result::Result<(), Refused> {
        let session = &mut *upload.session;
        let algorithm = Algorithm::of(digest).ok_or(Refused::Unknown)?;
        let parts: Vec<Path> = session
            .parts
            .iter()
            .map(|&offset| keys::upload_part(&upload.id, offset))
            .collect();
        let hasher = session.hasher.take();
        let computed = match hasher.filter(|hasher| hasher.algorithm() == algorithm) {
            Some(hasher) => hasher.finish(),
            None => self.digest_parts(&parts, algorithm).await?,
        };
        if computed != *digest {
            session.is_over = true;
            self.forget_upload(&upload.id, &parts).await?;
            return Err(Refused::OtherDigest(computed));
        }
        self.become_blob(upload, digest).await
    }

    /// Makes a blob of what has come and is known to have this digest.
    pub(super) async fn become_blob(
        &self,
        mut upload: Upload,
        digest: &Digest,
    ) -> std::result::Result<(), Refused> {
        let session = &mut *upload.session;
        let parts = session.parts.iter();
        let parts: Vec<Path> = parts
            .map(|&offset| keys::upload_part(&upload.id, offset))
            .collect();
        let _pin = self.pins.pin(vec![digest.clone()]).await;
        let content = keys::content(digest);
        // Where there is some already, it is written over: it may have become something else.
        match parts.as_slice() {
            [] => self.put(&content, Bytes::new()).await?,
            [part] => self.move_object(part, &content, session.offset).await?,
            parts => {
                // For a while it is there twice.
                self.check_room(session.offset).await?;
                self.join(parts, content).await?;
            }
        }
        let name = session.repository.clone();
        // The parts may have been moved: nobody can go on with it.
        session.is_over = true;
        self.link_blob(&name, digest, session.offset).await?;
        if let Err(error) = self.forget_upload(&upload.id, &parts).await {
            tracing::warn!("an upload that has become a blob is left for the collection: {error}");
        }
        Ok(())
    }

    /// Ends an upload of which nothing is to come.
    pub async fn cancel(&self, mut upload: Upload) -> Result<()> {
        upload.session.is_over = true;
        let parts = self.upload_parts(&upload.id).await?;
        let parts: Vec<Path> = parts.into_iter().map(|(_, _, path)| path).collect();
        self.forget_upload(&upload.id, &parts).await
    }

    /// Ends an upload that nobody goes on with. `false` if somebody does.
    pub(super) async fn abandon_upload(&self, id: &str) -> Result<bool> {
        let session = match self.uploads.find(id) {
            Some(session) => session,
            None => match self.find_upload(id).await? {
                Some(found) => self.uploads.remember(id, found),
                // Its state is what goes last and comes first: these are pieces of nothing.
                None => {
                    let parts = self.upload_parts(id).await?;
                    let parts: Vec<Path> = parts.into_iter().map(|(_, _, path)| path).collect();
                    self.forget_upload(id, &parts).await?;
                    return Ok(true);
                }
            },
        };
        let Ok(session) = session.try_lock_owned() else {
            return Ok(false);
        };
        if session.is_over {
            return Ok(false);
        }
        let id = id.to_owned();
        let most = u64::MAX;
        self.cancel(Upload { id, most, session }).await?;
        Ok(true)
    }

    /// The pieces first, so that what is left can be found. That these deletions are not on the disk
    /// is harmless: an upload that a power failure brings back is one that nobody goes on with.
    async fn forget_upload(&self, id: &str, parts: &[Path]) -> Result<()> {
        // Whoever counts them first does not see this one half gone.
        self.begun().await?;
        for part in parts {
            found(self.objects.delete(part).await)?;
        }
        found(self.objects.delete(&keys::upload_state(id)).await)?;
        self.uploads.forget(id);
        if let Some(folder) = &self.folder {
            // A folder that is not empty stays.
            let _ = tokio::fs::remove_dir(folder.join(keys::upload(id).as_ref())).await;
        }
        Ok(())
    }

    /// What is begun and not finished.
    pub(super) async fn begun(&self) -> Result<&Begun> {
        let list = async || {
            let folder = Path::from(keys::UPLOADS);
            let mut uploads = HashMap::<String, u64>::new();
            let mut listed = self.objects.list(Some(&folder));
            while let Some(object) = listed.try_next().await? {
                let Some((id, offset)) = keys::upload_of(&object.location) else {
                    continue;
                };
                let size = offset.map_or(0, |_| object.size);
                match uploads.get_mut(id) {
                    Some(bytes) => *bytes += size,
                    None => drop(uploads.insert(id.to_owned(), size)),
                }
            }
            Ok(Begun::of(uploads))
        };
        self.uploads.begun.get_or_try_init(list).await
    }

    /// What another process has left, or one that has forgotten it.
    async fn find_upload(&self, id: &str) -> Result<Option<Session>> {
        let state = self.get_json::<State>(&keys::upload_state(id)).await?;
        let Some((state, _)) = state else {
            return Ok(None);
        };
        let Ok(repository) = state.repository.parse() else {
            return Ok(None);
        };
        let (mut offset, mut parts) = (0, Vec::new());
        for (start, size, _) in self.upload_parts(id).await? {
            if start == offset && size > 0 {
                parts.push(start);
                offset += size;
            }
        }
        Ok(Some(Session {
            repository,
            offset,
            parts,
            hasher: None,
            is_over: false,
        }))
    }

    /// Offset, size and key of each piece, in order.
    async fn upload_parts(&self, id: &str) -> Result<Vec<(u64, u64, Path)>> {
        let mut parts = Vec::new();
        let mut listed = self.objects.list(Some(&keys::upload(id)));
        while let Some(object) = listed.try_next().await? {
            let offset = keys::upload_of(&object.location).and_then(|(_, offset)| offset);
            if let Some(offset) = offset {
                parts.push((offset, object.size, object.location));
            }
        }
        parts.sort_unstable();
        Ok(parts)
    }

    async fn digest_parts(&self, parts: &[Path], algorithm: Algorithm) -> Result<Digest> {
        let mut hasher = Hasher::new(algorithm);
        for part in parts {
            let mut pieces = self.read_at(part, None).await?.pieces;
            while let Some(piece) = pieces.try_next().await? {
                hasher.update(&piece);
            }
        }
        Ok(hasher.finish())
    }
}

impl Sessions {
    fn find(&self, id: &str) -> Option<Arc<tokio::sync::Mutex<Session>>> {
        lock(&self.remembered).get(id).cloned()
    }

    /// Keeps what somebody else may have remembered in the meantime.
    fn remember(&self, id: &str, session: Session) -> Arc<tokio::sync::Mutex<Session>> {
        let mut sessions = lock(&self.remembered);
        if sessions.len() >= REMEMBERED {
            // What nobody has in hand can be read again.
            sessions.retain(|_, session| Arc::strong_count(session) > 1);
        }
        let new = || Arc::new(tokio::sync::Mutex::new(session));
        Arc::clone(sessions.entry(id.to_owned()).or_insert_with(new))
    }

    fn forget(&self, id: &str) {
        lock(&self.remembered).remove(id);
        if let Some(begun) = self.begun.get() {
            begun.end(id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic leaves it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A random UUID (RFC 9562, version 4): nobody guesses another's upload.
fn new_id() -> Result<String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| Error::Failed("no random bytes".to_owned()))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Ok(parts.join("-"))
}

fn is_id(text: &str) -> bool {
    let is_one = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || byte == b'-';
    text.len() == 36 && text.bytes().all(is_one)
}
