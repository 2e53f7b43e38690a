//! HTTP/2 clients that send frames for their own sake.
//!
//! SETTINGS, PING, PRIORITY, WINDOW_UPDATE, RST_STREAM, CONTINUATION, frames of unknown types and
//! empty ones cost the sender nothing and must all be looked at; some must be answered. The `h2`
//! crate does both itself and tells nobody, so the frames are counted on their way to it, from their
//! heads alone. Each counts one; what is done for the client excuses some: a request that was taken
//! up, and each piece of a response. Whoever is above the limit within ten seconds is disconnected.
//!
//! Ordinary clients stay below zero: the most talkative send a PING and two WINDOW_UPDATEs for a
//! piece of a response, and a PRIORITY, a WINDOW_UPDATE and a RST_STREAM for a request.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::Owned;

/// Over which time frames are counted.
const PERIOD: Duration = Duration::from_secs(10);

/// What a request excuses, its HEADERS among it.
const OF_REQUEST: i32 = 6;

/// What a piece of a response excuses.
const OF_RESPONSE: i32 = 3;

/// The smallest piece that excuses something, in bytes: a gRPC message has as many before it
/// begins. Windows that let smaller ones through are an attack of their own.
const PIECE: usize = 5;

/// How many times the limit may be saved up: a client answers pieces of a response later than they
/// are sent, by what its windows hold.
const SAVED: i32 = 4;

/// The longest a client is read without a pause for the others, in reads.
const READS: u8 = 16;

const DATA: u8 = 0;
const PADDED: u8 = 8;
const HEAD: usize = 9;
const PREFACE: usize = 24;

/// The account of one connection.
#[derive(Debug)]
pub(crate) struct Account {
    /// Frames beyond what is excused.
    owed: Cell<i32>,
    /// From when on they are counted.
    since: Cell<Instant>,
    limit: i32,
    flooded: Cell<bool>,
}

impl Account {
    /// `limit` is how many frames are too many in ten seconds; 0 is no limit.
    pub(crate) fn new(limit: u32) -> Rc<Self> {
        Rc::new(Self {
            owed: Cell::new(0),
            since: Cell::new(Instant::now()),
            limit: match limit {
                0 => i32::MAX,
                limit => i32::try_from(limit).unwrap_or(i32::MAX),
            },
            flooded: Cell::new(false),
        })
    }

    /// Whether the client is above the limit. Nothing more is read of it then.
    pub(crate) fn is_flooded(&self) -> bool {
        self.flooded.get()
    }

    /// A request was taken up.
    pub(crate) fn request(&self) {
        self.excuse(OF_REQUEST);
    }

    fn excuse(&self, frames: i32) {
        let least = self.limit.saturating_mul(-SAVED);
        self.owed
            .set(self.owed.get().saturating_sub(frames).max(least));
    }

    fn received(&self, frame: Frame) {
        let is_useful = frame.kind == DATA
            && match frame.flags & PADDED {
                0 => frame.length > 0,
                // It may be padding and nothing else.
                _ => frame.length > 256,
            };
        if is_useful {
            return;
        }
        self.owed.set(self.owed.get().saturating_add(1));
        if self.owed.get() >= self.limit {
            self.settle();
        }
    }

    fn sent(&self, frame: Frame) {
        if frame.kind == DATA && frame.length >= PIECE {
            self.excuse(OF_RESPONSE);
        }
    }

    /// Only here the clock is read.
    fn settle(&self) {
        let now = Instant::now();
        if now.duration_since(self.since.replace(now)) < PERIOD {
            self.flooded.set(true);
        }
        self.owed.set(0);
    }
}

/// The head of a frame (RFC 9113, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    length: usize,
}

/// Finds the heads of frames in a stream of bytes, however it is cut.
#[derive(Debug)]
struct Scanner {
    /// Bytes up to the next head.
    skip: usize,
    head: [u8; HEAD],
    /// How much of the head has come.
    held: usize,
}

impl Scanner {
    fn after(skip: usize) -> Self {
        Self {
            skip,
            head: [0; HEAD],
            held: 0,
        }
    }

    fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.held).min(bytes.len());
            self.head[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken;
            bytes = &bytes[taken..];
            if self.held < HEAD {
                return;
            }
            let [a, b, c, kind, flags, ..] = self.head;
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            found(Frame {
                kind,
                flags,
                length,
            });
            (self.skip, self.held) = (length, 0);
        }
    }
}

/// A connection whose frames are counted.
#[derive(Debug)]
pub(crate) struct Watched {
    io: Owned,
    account: Rc<Account>,
    received: Scanner,
    sent: Scanner,
    reads: u8,
}

impl Watched {
    pub(crate) fn new(io: Owned, account: &Rc<Account>) -> Self {
        Self {
            io,
            account: Rc::clone(account),
            received: Scanner::after(PREFACE),
            sent: Scanner::after(0),
            reads: 0,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Whoever polls looks at the account, and ends the connection.
        if this.account.is_flooded() {
            return Poll::Pending;
        }
        if this.reads == READS {
            this.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = to.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, to);
        if read.is_pending() {
            this.reads = 0;
        }
        ready!(read)?;
        this.reads += 1;
        let account = &this.account;
        this.received
            .scan(&to.filled()[before..], |frame| account.received(frame));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(from)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let count = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, from))?;
        let account = &this.account;
        let mut left = count;
        for part in from {
            let written = left.min(part.len());
            left -= written;
            this.sent
                .scan(&part[..written], |frame| account.sent(frame));
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, length: usize) -> Frame {
        Frame {
            kind,
            flags,
            length,
        }
    }

    fn bytes(frame: Frame) -> Vec<u8> {
        let length = u32::try_from(frame.length).expect("short").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([frame.kind, frame.flags, 0, 0, 0, 1]);
        bytes.resize(HEAD + frame.length, 0xff);
        bytes
    }

    #[test]
    fn a_flood_is_noticed_whatever_came_before() {
        let account = Account::new(1000);
        for _ in 0..1_000_000 {
            account.sent(frame(DATA, 0, 1000));
        }
        let most = 1000 * (1 + SAVED);
        let noticed = (0..10_000).position(|_| {
            account.received(frame(PING, 0, 8));
            account.is_flooded()
        });
        assert!(
            noticed.is_some_and(|noticed| noticed <= most as usize),
            "{noticed:?}"
        );
    }

    #[test]
    fn empty_data_counts_and_data_does_not() {
        let limited = |frame: Frame| {
            let account = Account::new(10);
            (0..100).for_each(|_| account.received(frame));
            account.is_flooded()
        };
        assert!(limited(frame(DATA, 0, 0)));
        assert!(limited(frame(DATA, PADDED, 200)));
        assert!(!limited(frame(DATA, 0, 1)));
        assert!(!limited(frame(DATA, PADDED, 1000)));
        assert!(limited(frame(9, 0, 100)));
        assert!(limited(frame(0xee, 0, 100)));
    }

    #[test]
    fn what_ordinary_clients_send_is_excused() {
        let account = Account::new(1000);
        for _ in 0..10_000 {
            // HEADERS, PRIORITY and RST_STREAM, and for each piece two WINDOW_UPDATEs and a PING.
            for kind in [1, 2, 3] {
                account.received(frame(kind, 0, 5));
            }
            account.request();
            account.sent(frame(DATA, 0, PIECE));
            for kind in [8, 8, PING] {
                account.received(frame(kind, 0, 8));
            }
        }
        assert!(!account.is_flooded());
    }

    #[test]
    fn requests_that_are_not_taken_up_are_no_excuse() {
        let account = Account::new(1000);
        (0..1000).for_each(|_| account.received(frame(1, 5, 14_000)));
        assert!(account.is_flooded());
    }

    #[test]
    fn zero_is_no_limit() {
        let account = Account::new(0);
        (0..1_000_000).for_each(|_| account.received(frame(PING, 0, 8)));
        assert!(!account.is_flooded());
    }

    proptest! {
        #[test]
        fn heads_are_found_however_the_stream_is_cut(
            frames in prop::collection::vec((any::<u8>(), any::<u8>(), 0..300usize), 0..20),
            cuts in prop::collection::vec(1..50usize, 1..10),
        ) {
            let frames: Vec<_> = frames
                .into_iter()
                .map(|(kind, flags, length)| frame(kind, flags, length))
                .collect();
            let mut stream = vec![0; PREFACE];
            stream.extend(frames.iter().copied().flat_map(bytes));
            let mut scanner = Scanner::after(PREFACE);
            let mut found = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                scanner.scan(now, |frame| found.push(frame));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, frames);
        }
    }
}
