//! Connections: taken, limited, and ended.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::door::Peer;
use super::{Serving, http2};

/// For the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long nothing is accepted where there is no file descriptor left, and how long a client that
/// has just come has to say something at the end.
const PAUSE: Duration = Duration::from_millis(200);

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts until `end` changes, and then lets what is under way end.
pub(super) async fn accept(
    listener: TcpListener,
    serving: Arc<Serving>,
    mut end: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = end.changed() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let most = i64::try_from(serving.limits.connections).unwrap_or(i64::MAX);
                if serving.metrics.connections() >= most {
                    // It is closed: there is no room to answer it.
                    serving.metrics.connection_refused();
                    continue;
                }
                let connected = serving.metrics.connected();
                let (serving, end) = (Arc::clone(&serving), end.clone());
                tokio::spawn(async move {
                    let peer = Peer {
                        address,
                        is_tls: false,
                        certificates: Vec::new(),
                    };
                    if let Err(error) = connection(stream, peer, serving, end).await {
                        tracing::debug!("{address}: {error}");
                    }
                    drop(connected);
                });
            }
            Err(error) => {
                tracing::warn!("no connection can be taken: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    mut peer: Peer,
    serving: Arc<Serving>,
    end: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Answers are written whole; what is small must not wait for an acknowledgement.
    stream.set_nodelay(true)?;
    let mut stream = Watched::new(stream, serving.limits.write_timeout);
    let Some(tls) = &serving.tls else {
        let Some(is_http2) = said(&mut stream, &serving, end.clone()).await? else {
            return Ok(());
        };
        return match is_http2 {
            true => http2::serve(stream, Arc::new(peer), serving, end).await,
            false => http1(stream, Arc::new(peer), serving, end).await,
        };
    };
    let acceptor = TlsAcceptor::from(tls.config());
    let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    peer.is_tls = true;
    if let Some(certificates) = stream.get_ref().1.peer_certificates() {
        peer.certificates = certificates
            .iter()
            .map(|it| it.clone().into_owned())
            .collect();
    }
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => http2::serve(stream, Arc::new(peer), serving, end).await,
        _ => http1(stream, Arc::new(peer), serving, end).await,
    }
}

/// Whether a client without TLS begins as those do that know that this is HTTP/2 (RFC 9113, section
/// 3.3). `None` if it says nothing, and nobody waits for it any more.
async fn said(
    stream: &mut Watched<TcpStream>,
    serving: &Serving,
    mut end: watch::Receiver<bool>,
) -> io::Result<Option<bool>> {
    let ended = async {
        // Who is gone has ended it, too.
        let _ = end.wait_for(|ending| *ending).await;
        sleep(PAUSE).await;
    };
    tokio::select! {
        is_http2 = stream.begins_with(PREFACE) => is_http2.map(Some),
        () = sleep(serving.limits.header_timeout) => Ok(None),
        () = ended => Ok(None),
    }
}

async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Arc<Peer>,
    serving: Arc<Serving>,
    mut end: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let limits = serving.limits;
    let service = service_fn(move |request| {
        let (serving, peer) = (Arc::clone(&serving), Arc::clone(&peer));
        // A task of its own: what has begun to be written is written to its end, whatever
        // becomes of the connection.
        let answer = tokio::spawn(async move { serving.answer(request, &peer).await });
        async move { answer.await.map_err(io::Error::other) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut ending = *end.borrow_and_update();
    loop {
        if ending {
            connection.as_mut().graceful_shutdown();
            return Ok(connection.await?);
        }
        tokio::select! {
            done = connection.as_mut() => return Ok(done?),
            _ = end.changed() => ending = true,
        }
    }
}

/// A stream whose other end has to take what is written within a time.
struct Watched<S> {
    stream: S,
    /// What was read to see what it is, and has to be read again.
    seen: Bytes,
    patience: Duration,
    /// Since something is to be written that is not taken.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            seen: Bytes::new(),
            patience,
            waiting: None,
        }
    }

    /// Whether these are the first bytes that come.
    async fn begins_with(&mut self, expected: &[u8]) -> io::Result<bool>
    where
        S: AsyncRead + Unpin,
    {
        let mut seen = vec![0; expected.len()];
        let mut count = 0;
        while count < seen.len() && expected.starts_with(&seen[..count]) {
            match self.stream.read(&mut seen[count..]).await? {
                0 => break,
                read => count += read,
            }
        }
        seen.truncate(count);
        self.seen = seen.into();
        Ok(self.seen == expected)
    }

    fn judge<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let until = Instant::now() + self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.seen.is_empty() {
            let length = self.seen.len().min(buffer.remaining());
            buffer.put_slice(&self.seen.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
