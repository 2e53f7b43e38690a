//! Either side of a hand-over between two processes, played by a test.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind,
    connect, listen, recvmsg, sendmsg, socket_with,
};
use serde_json::Value;

use crate::wait::PATIENCE;

/// Where a running process waits.
pub fn socket_of(state: &Path) -> PathBuf {
    state.join("upgrade.sock")
}

/// One end of the conversation.
pub struct HandOver(OwnedFd);

/// Where the test waits for a process with `--upgrade`.
pub struct Waiting(OwnedFd);

fn socket() -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    for timeout in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, timeout, Some(PATIENCE)).expect("a socket");
    }
    socket
}

impl Waiting {
    #[track_caller]
    pub fn at(state: &Path) -> Self {
        let socket = socket();
        let address = SocketAddrUnix::new(socket_of(state)).expect("a short path");
        bind(&socket, &address).expect("a free path");
        listen(&socket, 1).expect("bound");
        Self(socket)
    }

    #[track_caller]
    pub fn accept(&self) -> HandOver {
        let socket = accept(&self.0).expect("a process with --upgrade");
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).expect("a socket");
        HandOver(socket)
    }
}

impl HandOver {
    /// To the process with this state folder.
    #[track_caller]
    pub fn with(state: &Path) -> Self {
        let socket = socket();
        let address = SocketAddrUnix::new(socket_of(state)).expect("a short path");
        connect(&socket, &address).expect("a process waits");
        Self(socket)
    }

    /// Asks for the sockets, and takes them.
    #[track_caller]
    pub fn ask(&self) -> Vec<OwnedFd> {
        self.say(r#"{"say":"hello","protocol":1}"#, &[]);
        let mut sockets = Vec::new();
        loop {
            let (message, some) = self.hear();
            let message = message.expect("sockets");
            assert_eq!(message["say"], "sockets", "{message}");
            sockets.extend(some);
            if message["left"] == 0 {
                return sockets;
            }
        }
    }

    #[track_caller]
    pub fn say(&self, text: &str, descriptors: &[OwnedFd]) {
        self.try_say(text, descriptors).expect("somebody listens");
    }

    /// Says something to one who may have left.
    pub fn try_say(&self, text: &str, descriptors: &[OwnedFd]) -> rustix::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        let text = [IoSlice::new(text.as_bytes())];
        sendmsg(&self.0, &text, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
    }

    /// The next message; none at the end.
    #[track_caller]
    pub fn hear(&self) -> (Option<Value>, Vec<OwnedFd>) {
        let mut text = vec![0; 65536];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let count = match recvmsg(&self.0, &mut parts, &mut ancillary, flags) {
            Ok(received) => received.bytes,
            // Closed with something unread.
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => panic!("nothing heard: {error}"),
        };
        let descriptors = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let message = (count > 0).then(|| serde_json::from_slice(&text[..count]).expect("JSON"));
        (message, descriptors)
    }

    /// Whether the other side has ended the conversation, without a socket.
    #[track_caller]
    pub fn is_refused_within(&self, span: Duration) -> bool {
        set_socket_timeout(&self.0, Timeout::Recv, Some(span)).expect("a socket");
        let (message, sockets) = self.hear();
        let refused = message.is_none_or(|message| message["say"] == "refused");
        refused && sockets.is_empty()
    }
}
