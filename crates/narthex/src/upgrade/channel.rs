//! Whole messages with descriptors, between two processes of one user.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    bind, connect, listen, recvmsg, sendmsg, socket_with, sockopt,
};
use rustix::process::geteuid;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use super::message::{MAX_DESCRIPTORS, Message, STEP};

/// The longest message.
const MAX_MESSAGE: usize = 64 * 1024;

/// Processes that wait to be heard.
const BACKLOG: i32 = 4;

/// One end of a hand-over.
#[derive(Debug)]
pub(super) struct Channel(UnixStream);

/// Where the running process waits for others.
#[derive(Debug)]
pub(super) struct Listener(UnixListener);

impl Listener {
    /// Listens at a path where nothing is, which only this user may use.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;

        let socket = socket()?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        // Nobody can connect before it listens.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listen(&socket, BACKLOG)?;
        let socket = net::UnixListener::from(socket);
        Ok(Self(UnixListener::from_std(socket)?))
    }

    /// The next process, of whatever user.
    pub(super) async fn accept(&self) -> io::Result<Channel> {
        let (socket, _) = self.0.accept().await?;
        Ok(Channel(socket))
    }
}

impl Channel {
    /// To the process that waits at this path.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let socket = net::UnixStream::from(socket);
        Ok(Self(UnixStream::from_std(socket)?))
    }

    /// The other process, if it belongs to the same user.
    ///
    /// # Errors
    /// `PermissionDenied` if it belongs to another one.
    pub(super) fn peer(&self) -> io::Result<i32> {
        let peer = sockopt::socket_peercred(&self.0)?;
        if peer.uid == geteuid() {
            return Ok(peer.pid.as_raw_pid());
        }
        let (uid, own) = (peer.uid.as_raw(), geteuid().as_raw());
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the other process belongs to user {uid}, this one to user {own}"),
        ))
    }

    /// Sends a message, with at most [`MAX_DESCRIPTORS`] descriptors.
    pub(super) async fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > MAX_MESSAGE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let send = self.0.async_io(Interest::WRITABLE, || {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty()
                && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
            {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let text = [IoSlice::new(&text)];
            sendmsg(&self.0, &text, &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(())
        });
        limit(STEP, send).await
    }

    /// The next message, with the descriptors that came with it.
    ///
    /// # Errors
    /// `UnexpectedEof` if the other side has gone, `TimedOut`, or `InvalidData`.
    pub(super) async fn receive(&self, within: Duration) -> io::Result<(Message, Vec<OwnedFd>)> {
        let receive = self.0.async_io(Interest::READABLE, || receive(&self.0));
        limit(within, receive).await
    }
}

fn receive(socket: &UnixStream) -> io::Result<(Message, Vec<OwnedFd>)> {
    let mut text = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut text)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message was cut: it is too long, or there are no more file descriptors",
        ));
    }
    Ok((
        serde_json::from_slice(&text[..received.bytes])?,
        descriptors,
    ))
}

/// Of the type that keeps the boundaries of messages, so that a descriptor belongs to one. The
/// runtime's types for streams do for it: it is read and written through `sendmsg` and `recvmsg`.
fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(socket)
}

async fn limit<T>(within: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(within, step)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What descriptors are sent as.
pub(super) fn borrow(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("socket");
        (folder, path)
    }

    #[tokio::test]
    async fn messages_come_whole_with_their_descriptors() {
        let (_folder, path) = folder();
        let listener = Listener::bind(&path).expect("listens");
        let one = Channel::connect(&path).expect("connects");
        let two = listener.accept().await.expect("accepts");
        assert!(one.peer().is_ok() && two.peer().is_ok());
        let files: Vec<OwnedFd> = (0..MAX_DESCRIPTORS)
            .map(|_| std::fs::File::open("/dev/null").expect("there").into())
            .collect();
        let message = Message::Sockets { left: 7 };
        one.send(&message, &borrow(&files)).await.expect("sends");
        one.send(&Message::Go, &[]).await.expect("sends");
        let (received, descriptors) = two.receive(STEP).await.expect("receives");
        assert_eq!((received, descriptors.len()), (message, MAX_DESCRIPTORS));
        let (received, descriptors) = two.receive(STEP).await.expect("receives");
        assert_eq!((received, descriptors.len()), (Message::Go, 0));
        drop(one);
        let error = two.receive(STEP).await.expect_err("gone");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_message_is_an_error() {
        let (_folder, path) = folder();
        let listener = Listener::bind(&path).expect("listens");
        for bytes in [vec![b' '; MAX_MESSAGE + 1], b"GET / HTTP/1.1".to_vec()] {
            let one = Channel::connect(&path).expect("connects");
            let two = listener.accept().await.expect("accepts");
            rustix::net::send(&one.0, &bytes, SendFlags::empty()).expect("sends");
            let error = two.receive(STEP).await.expect_err("no message");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_a_limit() {
        let (_folder, path) = folder();
        let listener = Listener::bind(&path).expect("listens");
        let _one = Channel::connect(&path).expect("connects");
        let two = listener.accept().await.expect("accepts");
        let error = two.receive(STEP).await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
