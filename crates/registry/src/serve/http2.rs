//! HTTP/2 on one connection: how many streams it has, and when it is over.
//!
//! What HTTP/1.1 says by the connection, streams have to be asked for here: whether anything is under
//! way, and whether a client takes what it has asked for. A client may acknowledge every byte of the
//! socket and let a stream have no window.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::answer::{Body, nothing};
use super::door::Peer;
use super::{Limits, Serving};
use crate::store;

/// Streams at once: more than any client has of an image's layers.
const STREAMS: u32 = 100;

/// How often a silent client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);

/// How long it may take to say so.
const PONG: Duration = Duration::from_secs(20);

/// What has come of all streams' bodies and is not read yet, in bytes.
const WINDOW: u32 = 1024 * 1024;

/// What is written of an answer before its client takes it, in bytes.
const AHEAD: usize = 256 * 1024;

/// The streams of a connection that are under way.
#[derive(Debug)]
struct Streams {
    state: Mutex<State>,
    /// Answers that are made, also for those who do not want them any more: whoever begins streams
    /// and resets them makes no more work than whoever waits.
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    next: u64,
    /// Since when its client has to take something of each, if it has.
    under_way: HashMap<u64, Option<Instant>>,
    /// Since when there is none.
    idle: Instant,
}

/// A stream that is under way while this lives.
#[derive(Debug)]
struct Stream {
    streams: Arc<Streams>,
    id: u64,
}

/// An answer's body, of which is known whether its client takes it.
struct Followed {
    body: Body,
    stream: Stream,
}

/// What is to be done with a connection.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Nobody has used it for too long.
    Idle,
    /// A client does not take what it has asked for.
    Stuck,
}

/// Serves a connection whose client has said that it is HTTP/2.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Arc<Peer>,
    serving: Arc<Serving>,
    mut end: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let limits = serving.limits;
    let streams = Arc::new(Streams::new());
    let service = service_fn({
        let streams = Arc::clone(&streams);
        move |request| {
            let (serving, peer) = (Arc::clone(&serving), Arc::clone(&peer));
            let stream = streams.begin();
            async move {
                let turn = stream.turn().await?;
                let is_head = request.method() == Method::HEAD;
                // As with HTTP/1.1, what has begun to be written is written to its end.
                let answer = tokio::spawn(async move {
                    let _turn = turn;
                    serving.answer(request, &peer).await
                });
                let answer = answer.await.map_err(io::Error::other)?;
                Ok::<_, io::Error>(answer.map(|body| Followed {
                    // Of HTTP/1.1 the library leaves it away by itself.
                    body: if is_head { nothing() } else { body },
                    stream,
                }))
            }
        }
    });
    // Floods of resets are ended by the library's own limits.
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(AHEAD)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut look = interval(often(&limits));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Since when no further stream is taken, where nobody used the connection.
    let mut left: Option<Instant> = None;
    let mut ending = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => return Ok(done?),
            _ = end.wait_for(|ending| *ending), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => match (streams.verdict(&limits), left) {
                (Verdict::Fine, _) => {}
                (Verdict::Stuck, _) => return Err(Box::new(io::Error::from(io::ErrorKind::TimedOut))),
                (Verdict::Idle, None) => {
                    left = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
                // It has been told, and stays; what was written for it has had its time.
                (Verdict::Idle, Some(since)) if since.elapsed() > limits.write_timeout => {
                    return Ok(());
                }
                (Verdict::Idle, Some(_)) => {}
            }
        }
    }
}

/// How often streams are looked at.
fn often(limits: &Limits) -> Duration {
    let shortest = limits.header_timeout.min(limits.write_timeout);
    (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
}

impl Streams {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                next: 0,
                under_way: HashMap::new(),
                idle: Instant::now(),
            }),
            turns: Arc::new(Semaphore::new(STREAMS as usize)),
        }
    }

    fn begin(self: &Arc<Self>) -> Stream {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.under_way.insert(id, None);
        Stream {
            streams: Arc::clone(self),
            id,
        }
    }

    fn verdict(&self, limits: &Limits) -> Verdict {
        let state = self.lock();
        let since = state.under_way.values().flatten().min();
        if since.is_some_and(|since| since.elapsed() > limits.write_timeout) {
            Verdict::Stuck
        } else if state.under_way.is_empty() && state.idle.elapsed() > limits.header_timeout {
            Verdict::Idle
        } else {
            Verdict::Fine
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    async fn turn(&self) -> io::Result<OwnedSemaphorePermit> {
        let turns = Arc::clone(&self.streams.turns);
        turns.acquire_owned().await.map_err(io::Error::other)
    }

    /// Since when its client has to take something, or that it has not to.
    fn waits(&self, since: Option<Instant>) {
        self.streams.lock().under_way.insert(self.id, since);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.streams.lock();
        state.under_way.remove(&self.id);
        if state.under_way.is_empty() {
            state.idle = Instant::now();
        }
    }
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = store::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, store::Error>>> {
        // More is asked for where there is a window for it, and not before.
        self.stream.waits(None);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.stream.waits(Some(Instant::now()));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_without_streams_and_stuck_with_one_that_nobody_takes() {
        let limits = Limits {
            header_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            ..Limits::default()
        };
        let streams = Arc::new(Streams::new());
        let pause = || std::thread::sleep(Duration::from_millis(2));
        pause();
        assert_eq!(streams.verdict(&limits), Verdict::Idle);
        let stream = streams.begin();
        pause();
        assert_eq!(streams.verdict(&limits), Verdict::Fine);
        stream.waits(Some(Instant::now()));
        pause();
        assert_eq!(streams.verdict(&limits), Verdict::Stuck);
        stream.waits(None);
        assert_eq!(streams.verdict(&limits), Verdict::Fine);
        drop(stream);
        pause();
        assert_eq!(streams.verdict(&limits), Verdict::Idle);
        assert_eq!(streams.verdict(&Limits::default()), Verdict::Fine);
    }
}
