//! Blobs that come from elsewhere: what has come of one can be read before it is one.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::Digest;
use rustix::fs::{FallocateFlags, fallocate};
use tokio::task::spawn_blocking;

use super::blobs::read_file;
use super::uploads::{Refused, Upload};
use super::{Algorithm, Error, Result, Store, keys};
use crate::name::RepositoryName;

/// What has come of a blob: a file, of a folder's store the one that becomes the content.
#[derive(Debug)]
pub struct Spool {
    /// Keeps the collection from it.
    upload: Upload,
    file: Arc<File>,
    written: u64,
}

impl Spool {
    /// What has been written, to be read at any offset.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Adds a piece.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        let (file, at, length) = (self.file(), self.written, piece.len() as u64);
        blocking(move || file.write_all_at(&piece, at)).await?;
        self.written += length;
        Ok(())
    }
}

impl Store {
    /// Begins to take a blob of a repository, and makes room for `size` bytes.
    pub async fn begin_spool(
        &self,
        name: &RepositoryName,
        algorithm: Algorithm,
        size: u64,
    ) -> Result<Spool> {
        self.check_room(size).await?;
        let upload = self.begin_upload(name, algorithm).await?;
        let opened = match &self.folder {
            Some(folder) => {
                let mut coming = self.begun().await?.coming(upload.id());
                // It is our own, and not limited.
                coming.add(size, u64::MAX);
                coming.keep();
                let path = folder.join(keys::upload_part(upload.id(), 0).as_ref());
                blocking(move || reserved(open(OpenOptions::new(), &path)?, size)).await
            }
            None => {
                let path = env::temp_dir().join(format!("narthex-{}", upload.id()));
                blocking(move || reserved(nameless(&path)?, size)).await
            }
        };
        match opened {
            Ok(file) => Ok(Spool {
                upload,
                file: Arc::new(file),
                written: 0,
            }),
            Err(error) => {
                let _ = self.cancel(upload).await;
                Err(error)
            }
        }
    }

    /// Makes a blob of what was written, which its writer has verified.
    pub async fn keep(&self, spool: Spool, digest: &Digest) -> std::result::Result<(), Refused> {
        let Spool {
            mut upload,
            file,
            written,
        } = spool;
        if self.folder.is_some() {
            blocking(move || file.sync_all()).await?;
            upload.is_one_piece(written);
            return self.become_blob(upload, digest).await;
        }
        // Everybody else reads at offsets of his own.
        let file = file.try_clone().map_err(Error::from)?;
        let pieces = read_file(file, PathBuf::from("the spool"), 0..written);
        self.append(&mut upload, pieces).await?;
        self.finish(upload, digest).await
    }

    /// Gives up what has come.
    pub async fn give_up(&self, spool: Spool) -> Result<()> {
        self.cancel(spool.upload).await
    }
}

fn open(mut options: OpenOptions, path: &std::path::Path) -> io::Result<File> {
    options.read(true).write(true).create_new(true).open(path)
}

/// A file that is gone when nobody has it open.
fn nameless(path: &std::path::Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    let file = open(options, path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// A file for which there is room: a full disk is told before a client is told anything else.
fn reserved(file: File, size: u64) -> io::Result<File> {
    use rustix::io::Errno;

    if size == 0 {
        return Ok(file);
    }
    match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size) {
        // Not all file systems can.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(file),
        Err(error) => Err(error.into()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await;
    // It does not panic, and is not awaited where the runtime ends.
    Ok(done.map_err(|error| Error::Failed(error.to_string()))??)
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;
    use object_store::memory::InMemory;

    use super::super::{Content, Place};
    use super::*;

    /// A store without a folder, as a bucket is.
    fn bucket(folder: &std::path::Path) -> Store {
        let place = Place::Folder(folder.to_owned());
        let mut store = Store::open(&place, 1 << 30).expect("a store");
        store.objects = Arc::new(InMemory::new());
        store.folder = None;
        store
    }

    async fn content(store: &Store, digest: &Digest) -> Vec<u8> {
        let Content { size, pieces } = store.read(digest, None).await.expect("content");
        let pieces: Vec<Bytes> = pieces.try_collect().await.expect("pieces");
        let all = pieces.concat();
        assert_eq!(size, all.len() as u64);
        all
    }

    #[tokio::test]
    async fn what_was_written_becomes_a_blob_in_a_folder_and_in_a_bucket() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Folder(folder.path().to_owned());
        let name = "a/b".parse().expect("a name");
        for store in [
            Store::open(&place, 1 << 30).expect("a store"),
            bucket(folder.path()),
        ] {
            for written in [&b"first second"[..], b""] {
                let digest = Algorithm::Sha256.digest(written);
                let size = written.len() as u64;
                let begun = store.begin_spool(&name, Algorithm::Sha256, size).await;
                let mut spool = begun.expect("begun");
                for piece in written.chunks(5) {
                    let piece = Bytes::copy_from_slice(piece);
                    spool.write(piece).await.expect("written");
                }
                let file = spool.file();
                store.keep(spool, &digest).await.expect("kept");
                assert_eq!(content(&store, &digest).await, written);
                assert!(store.blob(&name, &digest).await.expect("asked").is_some());
                // Whoever reads it reads on.
                let mut read = vec![0; written.len()];
                file.read_exact_at(&mut read, 0).expect("read");
                assert_eq!(read, written);
            }
        }
        let uploads = fs::read_dir(folder.path().join("uploads"));
        assert_eq!(uploads.expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn what_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Folder(folder.path().to_owned());
        let store = Store::open(&place, 1 << 30).expect("a store");
        let name = "a/b".parse().expect("a name");
        let begun = store.begin_spool(&name, Algorithm::Sha256, 4).await;
        let mut spool = begun.expect("begun");
        let piece = Bytes::from_static(b"half");
        spool.write(piece).await.expect("written");
        store.give_up(spool).await.expect("given up");
        let uploads = fs::read_dir(folder.path().join("uploads"));
        assert_eq!(uploads.expect("a folder").count(), 0);
    }
}
