//! A socket, with or without TLS, that two halves of an exchange can use at once.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsStream, client, server};

/// A connection. Reading and writing both take `&self`: each poll borrows the socket for its own
/// length only, which on a single thread needs neither lock nor allocation.
#[derive(Debug)]
pub(crate) struct Stream(RefCell<Io>);

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self(RefCell::new(Io::Plain(socket)))
    }
}

impl From<server::TlsStream<TcpStream>> for Stream {
    fn from(stream: server::TlsStream<TcpStream>) -> Self {
        Self(RefCell::new(Io::Tls(Box::new(stream.into()))))
    }
}

impl From<client::TlsStream<TcpStream>> for Stream {
    fn from(stream: client::TlsStream<TcpStream>) -> Self {
        Self(RefCell::new(Io::Tls(Box::new(stream.into()))))
    }
}

impl Stream {
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut to = ReadBuf::new(to);
        let result = match &mut *self.0.borrow_mut() {
            Io::Plain(socket) => Pin::new(socket).poll_read(cx, &mut to),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, &mut to),
        };
        match ready!(result) {
            // Many clients end without close_notify; the framing decides whether a body is whole.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            result => Poll::Ready(result.map(|()| to.filled().len())),
        }
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Io::Plain(socket) => Pin::new(socket).poll_write(cx, from),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Io::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, from),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, from),
        }
    }

    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Io::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Writes all of `first`, then all of `second`, in as few system calls as can be.
    pub(crate) async fn write_all(&self, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
        while !first.is_empty() || !second.is_empty() {
            let count = poll_fn(|cx| match (first, second) {
                (only, []) | ([], only) => self.poll_write(cx, only),
                _ => self.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
            })
            .await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let of_first = count.min(first.len());
            first = &first[of_first..];
            second = &second[count - of_first..];
        }
        self.flush().await
    }

    /// Sends what TLS holds back.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Ends our side of the connection.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// Has the kernel find out whether the other end is there while nothing is sent, and give up
    /// on what is not acknowledged.
    pub(crate) fn keep_alive(&self) {
        let io = self.0.borrow();
        let socket = socket2::SockRef::from(io.socket());
        let probes = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(3);
        // Without them, a dead connection is noticed by what is asked on it.
        let _ = socket.set_tcp_keepalive(&probes);
        let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(60)));
    }

    /// Makes the close that follows a reset, so that nobody takes a cut message for a whole one.
    pub(crate) fn reset_on_close(&self) {
        let io = self.0.borrow();
        // Failing that, the close is an ordinary one, and the framing still shows the cut.
        let _ = socket2::SockRef::from(io.socket()).set_linger(Some(Duration::ZERO));
    }

    /// Whether an idle connection is still good: nothing has come, not even its end. Asks the
    /// kernel only if the runtime has seen something happen.
    pub(crate) fn is_idle(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut io = self.0.borrow_mut();
        let socket = match &mut *io {
            Io::Plain(socket) => socket,
            Io::Tls(stream) => {
                // What may come is TLS's own, as tickets; the end is not.
                let mut byte = [0];
                let read = Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
                return read.is_pending();
            }
        };
        if socket.poll_read_ready(&mut cx).is_pending() {
            return true;
        }
        let mut byte = [0];
        matches!(socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// For libraries that want a stream of their own (h2).
#[derive(Debug)]
pub(crate) struct Owned {
    stream: Stream,
    /// Read before the stream was handed over.
    before: Vec<u8>,
    used: usize,
}

impl Owned {
    pub(crate) fn new(stream: Stream, before: Vec<u8>) -> Self {
        Self {
            stream,
            before,
            used: 0,
        }
    }
}

impl AsyncRead for Owned {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.used < self.before.len() {
            let count = to.remaining().min(self.before.len() - self.used);
            to.put_slice(&self.before[self.used..self.used + count]);
            self.used += count;
            return Poll::Ready(Ok(()));
        }
        match &mut *self.stream.0.borrow_mut() {
            Io::Plain(socket) => Pin::new(socket).poll_read(cx, to),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Owned {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}
