//! A blob on its way: read by any number of clients while it comes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::Miss;
use crate::store::{Error, Result};

/// How much is read at once, in bytes.
const PIECE: u64 = 256 * 1024;

/// A blob on its way.
#[derive(Debug, Clone)]
pub(crate) struct Coming(pub(super) watch::Receiver<Progress>);

/// How far it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// What has come, once it is known how much there will be.
    pub(super) begun: Option<(Arc<File>, u64)>,
    /// How much has been written of it, in bytes.
    pub(super) written: u64,
    pub(super) end: Option<End>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// All has come and is right.
    Whole,
    /// The store has it.
    Kept,
    Missed(Miss),
}

/// What a client can be told.
pub(super) enum Ready {
    /// To look again: the store has it.
    Kept,
    /// How much there will be, in bytes.
    Begun(u64),
}

impl Coming {
    /// Waits until a client can be answered.
    pub(super) async fn ready(&mut self) -> std::result::Result<Ready, Miss> {
        let ready = self.0.wait_for(|it| it.begun.is_some() || it.end.is_some());
        // Whoever fetches says how it ended, or was cut off with the process.
        let Ok(progress) = ready.await else {
            return Err(Miss::Away("the fetch was broken off".to_owned()));
        };
        match (&progress.end, &progress.begun) {
            (Some(End::Kept), _) => Ok(Ready::Kept),
            (Some(End::Missed(miss)), _) => Err(miss.clone()),
            (_, Some((_, size))) => Ok(Ready::Begun(*size)),
            (_, None) => Err(Miss::Away("the fetch has no content".to_owned())),
        }
    }

    /// Its content, as it comes. The end of it comes when all is known to be right: what is not
    /// never looks complete.
    pub(crate) fn pieces(self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold((self.0, range), |(mut progress, mut range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let (file, until) = readable(&mut progress, range.start).await?;
            let length = (until.min(range.end) - range.start).min(PIECE);
            let piece = read(file, range.start, length).await?;
            range.start += length;
            Ok(Some((piece, (progress, range))))
        })
        .inspect_err(|error: &Error| tracing::debug!("a client does not get all: {error}"))
        .boxed()
    }
}

/// Waits for something after `from`: the file, and how far it can be read.
async fn readable(progress: &mut watch::Receiver<Progress>, from: u64) -> Result<(Arc<File>, u64)> {
    let broken_off = || Error::Failed("the fetch was broken off".to_owned());
    let of = |it: &Progress| {
        let size = it.begun.as_ref().map_or(0, |(_, size)| *size);
        match it.end {
            Some(End::Whole | End::Kept) => size,
            _ => it.written.min(size.saturating_sub(1)),
        }
    };
    let found = progress
        .wait_for(|it| of(it) > from || it.end.is_some())
        .await;
    let found = found.map_err(|_| broken_off())?;
    match (&found.end, &found.begun) {
        (Some(End::Missed(miss)), _) => Err(Error::Failed(format!("it did not come: {miss:?}"))),
        (_, Some((file, _))) if of(&found) > from => Ok((Arc::clone(file), of(&found))),
        _ => Err(broken_off()),
    }
}

async fn read(file: Arc<File>, at: u64, length: u64) -> Result<Bytes> {
    let read = spawn_blocking(move || {
        // At most PIECE.
        let mut piece = vec![0; length as usize];
        file.read_exact_at(&mut piece, at)?;
        Ok::<_, std::io::Error>(Bytes::from(piece))
    });
    Ok(read
        .await
        .map_err(|error| Error::Failed(error.to_string()))??)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use futures_util::FutureExt as _;

    use super::*;

    async fn next(pieces: &mut BoxStream<'static, Result<Bytes>>) -> Option<Result<Bytes>> {
        pieces.next().await
    }

    #[tokio::test]
    async fn the_last_byte_waits_until_all_is_right() {
        for end in [End::Whole, End::Missed(Miss::Busy)] {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(b"abcd").expect("written");
            let begun = Some((Arc::new(file), 4));
            let (sender, receiver) = watch::channel(Progress::default());
            let mut pieces = Coming(receiver).pieces(0..4);
            assert!(next(&mut pieces).now_or_never().is_none());
            sender.send_modify(|it| {
                it.begun.clone_from(&begun);
                it.written = 4;
            });
            let first = next(&mut pieces).await.expect("a piece").expect("read");
            assert_eq!(first, "abc");
            assert!(next(&mut pieces).now_or_never().is_none());
            let is_right = matches!(end, End::Whole);
            sender.send_modify(|it| it.end = Some(end));
            drop(sender);
            match next(&mut pieces).await.expect("a piece") {
                Ok(last) => assert!(is_right && last == "d"),
                Err(_) => assert!(!is_right),
            }
        }
    }

    #[tokio::test]
    async fn a_range_comes_as_soon_as_it_can() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"abcd").expect("written");
        let (sender, receiver) = watch::channel(Progress::default());
        sender.send_modify(|it| {
            it.begun = Some((Arc::new(file), 10));
            it.written = 4;
        });
        let pieces: Vec<_> = Coming(receiver).pieces(1..3).collect().await;
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ref().expect("read"), "bc");
        drop(sender);
    }
}
