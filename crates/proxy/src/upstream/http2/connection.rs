//! One HTTP/2 connection to an endpoint, and the task that drives it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::Sleep;

use crate::io::{Owned, Stream};
use crate::settings::UpstreamHttp2;

/// What an endpoint may send on one stream before its client has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What an endpoint may send on all streams of a connection before clients have taken it.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What one stream may hold that the endpoint has not taken.
const SEND_BUFFER: usize = 128 * 1024;

/// The largest head of a response, by HTTP/2's measure (RFC 9113, section 6.5.2); frames that go
/// beyond it are not gathered either.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// The streams that are opened before the endpoint has said how many it takes.
const STREAMS_AT_FIRST: usize = 100;

/// How many streams that we have reset are remembered, for frames that were on their way.
const REMEMBERED_RESETS: usize = 50;

/// How many streams of one connection may end by an endpoint's breach of the protocol.
const MAX_BREACHES: usize = 100;

/// A connection. It ends once nobody holds it.
#[derive(Debug)]
pub(super) struct Connection {
    send: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    /// When its last stream ended.
    idle_since: Cell<Instant>,
    wire: Rc<Wire>,
    pub(super) used: Cell<bool>,
}

/// What the task and the streams tell each other.
#[derive(Debug)]
struct Wire {
    closed: Cell<bool>,
    /// When something last came.
    heard: Cell<Instant>,
    /// Whether to find out if the other end is there.
    doubted: Cell<bool>,
    waker: RefCell<Waker>,
}

impl Connection {
    /// Begins to speak HTTP/2 with prior knowledge. None if the connection is dead already.
    pub(super) async fn begin(stream: Stream, settings: &UpstreamHttp2) -> Option<Rc<Self>> {
        stream.keep_alive();
        let wire = Rc::new(Wire {
            closed: Cell::new(false),
            heard: Cell::new(Instant::now()),
            doubted: Cell::new(false),
            waker: RefCell::new(Waker::noop().clone()),
        });
        let io = Noting {
            io: Owned::new(stream, Vec::new()),
            wire: Rc::clone(&wire),
        };
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER)
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .max_local_error_reset_streams(Some(MAX_BREACHES));
        let (send, mut connection) = builder.handshake::<_, Bytes>(io).await.ok()?;
        // It is there as long as it is not taken, which nobody else does.
        let ping = connection.ping_pong()?;
        let mut watch = Watch {
            ping,
            wire: Rc::clone(&wire),
            limit: settings.ping_timeout,
            asked: None,
        };
        let told = Rc::clone(&wire);
        spawn_local(async move {
            let end = poll_fn(|cx| {
                if let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(end.err());
                }
                match watch.poll(cx) {
                    Heard::Enough => Poll::Pending,
                    Heard::Asked => Pin::new(&mut connection).poll(cx).map(Result::err),
                    Heard::Nothing => Poll::Ready(None),
                }
            });
            if let Some(error) = end.await {
                tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
            }
            told.closed.set(true);
            // The streams that are still there fail with this.
            drop(connection);
        });
        Some(Rc::new(Self {
            send: RefCell::new(send),
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            wire,
            used: Cell::new(false),
        }))
    }

    /// Whether it is alive and the other end has not said that it takes no more streams.
    pub(super) fn takes_streams(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.wire.closed.get()
            && !matches!(
                self.send.borrow_mut().poll_ready(&mut cx),
                Poll::Ready(Err(_))
            )
    }

    /// Whether one stream more is within both ends' limits.
    pub(super) fn has_room(&self, most: usize) -> bool {
        let most = most
            .max(1)
            .min(self.send.borrow().current_max_send_streams());
        self.streams.get() < most
    }

    /// Whether it has been without a stream for so long.
    pub(super) fn is_idle(&self, limit: Duration) -> bool {
        self.streams.get() == 0 && self.idle_since.get().elapsed() >= limit
    }

    /// Finds out whether the other end is still there, if nothing has come for so long.
    pub(super) fn doubt(&self, after: Duration) {
        if !after.is_zero() && self.wire.heard.get().elapsed() >= after {
            self.wire.doubted.set(true);
            self.wire.waker.borrow().wake_by_ref();
        }
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.send.borrow().clone()
    }

    pub(super) fn stream_begins(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    pub(super) fn stream_ends(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.idle_since.set(Instant::now());
    }
}

/// Notices when the other end is not there any more, though the connection does not say so.
///
/// Pings go out only where there is doubt: many servers take frequent ones for an attack.
struct Watch {
    ping: PingPong,
    wire: Rc<Wire>,
    limit: Duration,
    asked: Option<Asked>,
}

struct Asked {
    at: Instant,
    limit: Pin<Box<Sleep>>,
}

/// What a look at a connection finds.
enum Heard {
    Enough,
    /// A ping waits to be written.
    Asked,
    /// The other end was asked and is silent.
    Nothing,
}

impl Watch {
    fn poll(&mut self, cx: &mut Context<'_>) -> Heard {
        if !self.wire.waker.borrow().will_wake(cx.waker()) {
            *self.wire.waker.borrow_mut() = cx.waker().clone();
        }
        let mut heard = Heard::Enough;
        if self.wire.doubted.take() && self.asked.is_none() {
            // The answer to the last one may have been outrun by other signs of life.
            let _ = self.ping.poll_pong(cx).is_ready();
            // If the last one is still not answered, anything else is a sign of life as well.
            let _ = self.ping.send_ping(Ping::opaque());
            self.asked = Some(Asked {
                at: Instant::now(),
                limit: Box::pin(tokio::time::sleep(self.limit)),
            });
            heard = Heard::Asked;
        }
        if let Some(asked) = &mut self.asked {
            if self.wire.heard.get() > asked.at {
                self.asked = None;
            } else if asked.limit.as_mut().poll(cx).is_ready() {
                return Heard::Nothing;
            }
        }
        heard
    }
}

/// Notes when something comes.
struct Noting {
    io: Owned,
    wire: Rc<Wire>,
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, to);
        if to.filled().len() > before {
            self.wire.heard.set(Instant::now());
        }
        result
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
