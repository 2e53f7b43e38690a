//! Steady requests while something changes, counting every one.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http1::{Conn, Response};
use crate::http2::H2;
use crate::tls::Client;
use crate::wait;

/// Clients that ask one request after another, on kept connections as browsers and load balancers
/// do, or otherwise.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1 on a kept connection.
    Kept,
    /// HTTP/1.1, each request on a connection of its own.
    Fresh,
    /// HTTP/1.1 over TLS on a kept connection.
    Tls,
    /// HTTP/1.1 over TLS, each request on a connection of its own.
    FreshTls,
    /// HTTP/2 over TLS, several requests at once on one connection.
    Http2,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// A refused connection ends the client instead of failing: the program is to go away.
    refusal_ends: AtomicBool,
    good: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub good: u64,
    pub failures: Vec<String>,
}

/// Requests at one time on one HTTP/2 connection.
const STREAMS: usize = 4;

/// Half of what a process that goes down leaves an idle connection for the request that may be on
/// its way. A client that the machine holds up for longer finds its connection closed, which is
/// not the program's fault, and makes another, as clients do (RFC 9112, section 9.3.1).
const LATE: Duration = Duration::from_millis(500);

impl Load {
    /// `clients` kept connections asking for `host` and `path`; an answer is good if `accept` says
    /// so.
    pub fn start(
        port: u16,
        clients: usize,
        host: &str,
        path: &str,
        accept: fn(&Response) -> bool,
    ) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        Self::spawn(clients, move |shared| {
            let dial = || Conn::to(SocketAddr::from(([127, 0, 0, 1], port)));
            shared.ask(&dial, &request, accept, Duration::ZERO);
        })
    }

    /// `clients` connections of one kind asking for `/` of `host`, which is to answer 200.
    pub fn of(kind: Kind, port: u16, clients: usize, host: &'static str) -> Self {
        Self::of_thinking(kind, port, clients, host, Duration::ZERO)
    }

    /// The same with so long a pause between two requests, for a load that goes on for long. HTTP/2
    /// knows no pause.
    pub fn of_thinking(
        kind: Kind,
        port: u16,
        clients: usize,
        host: &'static str,
        think: Duration,
    ) -> Self {
        let close = match kind {
            Kind::Fresh | Kind::FreshTls => "Connection: close\r\n",
            Kind::Kept | Kind::Tls | Kind::Http2 => "",
        };
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{close}\r\n");
        let accept = |response: &Response| response.status == 200;
        Self::spawn(clients, move |shared| match kind {
            Kind::Kept | Kind::Fresh => {
                let dial = || Conn::to(SocketAddr::from(([127, 0, 0, 1], port)));
                shared.ask(&dial, &request, accept, think);
            }
            Kind::Tls | Kind::FreshTls => {
                let client = Client::trusting_anything();
                let dial = || client.connect(port, host).map(|(conn, _)| conn);
                shared.ask(&dial, &request, accept, think);
            }
            Kind::Http2 => shared.ask_http2(port, host),
        })
    }

    fn spawn(clients: usize, client: impl Fn(&Arc<Shared>) + Clone + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..clients)
            .map(|_| {
                let (shared, client) = (Arc::clone(&shared), client.clone());
                std::thread::spawn(move || client(&shared))
            })
            .collect();
        Self { shared, threads }
    }

    pub fn good(&self) -> u64 {
        self.shared.good.load(Ordering::Relaxed)
    }

    /// How many requests failed so far.
    pub fn failures(&self) -> usize {
        self.shared.lock().len()
    }

    /// Waits until `more` further requests were answered well.
    #[track_caller]
    pub fn until_more(&self, more: u64) {
        let goal = self.good() + more;
        wait::until("the load goes on", || {
            self.good() >= goal || !self.shared.lock().is_empty()
        });
    }

    /// From now on a refused connection ends a client and is no failure.
    pub fn expect_refusal(&self) {
        self.shared.refusal_ends.store(true, Ordering::SeqCst);
    }

    /// Stops all clients.
    pub fn stop(self) -> Outcome {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.join()
    }

    /// Waits until all clients ended by refusal.
    pub fn join(mut self) -> Outcome {
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("a client thread");
        }
        let failures = self.shared.lock().clone();
        Outcome {
            good: self.shared.good.load(Ordering::Relaxed),
            failures,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn ask(
        &self,
        dial: &dyn Fn() -> io::Result<Conn>,
        request: &str,
        accept: fn(&Response) -> bool,
        think: Duration,
    ) {
        let mut kept: Option<(Conn, Instant)> = None;
        while !self.stop.load(Ordering::SeqCst) {
            if !think.is_zero() {
                std::thread::sleep(think);
            }
            let place = if kept.is_some() { "a kept" } else { "a new" };
            let (mut conn, idle_since) = match kept.take() {
                Some((conn, since)) => (conn, Some(since)),
                None => match dial() {
                    Ok(conn) => (conn, None),
                    Err(_) if self.refusal_ends.load(Ordering::SeqCst) => return,
                    Err(error) => {
                        self.fail(format!("connect: {error}"));
                        continue;
                    }
                },
            };
            let written = conn.write_all(request.as_bytes());
            let is_late = idle_since.is_some_and(|since| since.elapsed() > LATE);
            let answer = written.and_then(|()| conn.try_response(false));
            match answer {
                Ok(response) if accept(&response) => {
                    self.good.fetch_add(1, Ordering::Relaxed);
                    let closes = response
                        .header("connection")
                        .is_some_and(|value| value == "close");
                    kept = (!closes).then(|| (conn, Instant::now()));
                }
                Ok(response) => {
                    self.fail(format!("answer: {} {}", response.status, response.text()));
                }
                Err(error) if is_late && is_close(&error) => {}
                Err(error) => self.fail(format!("on {place} connection: {error}")),
            }
        }
    }

    /// A client of HTTP/2 opens no stream after a GOAWAY, but another connection, and asks there for
    /// what the GOAWAY says was not served. Whatever else goes wrong is a failure.
    fn ask_http2(self: &Arc<Self>, port: u16, host: &'static str) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            while !self.stop.load(Ordering::SeqCst) {
                let h2 = H2::connect(port, host).await;
                let streams: Vec<_> = (0..STREAMS)
                    .map(|_| {
                        let (shared, h2) = (Arc::clone(self), h2.clone());
                        tokio::task::spawn_local(async move { shared.ask_on(&h2, host).await })
                    })
                    .collect();
                drop(h2);
                for stream in streams {
                    stream.await.expect("a client's task");
                }
            }
        });
    }

    /// Asks on one connection until it takes no more.
    async fn ask_on(&self, h2: &H2, host: &str) {
        while !self.stop.load(Ordering::SeqCst) {
            let request = http::Request::get(format!("https://{host}/"));
            let request = request.body(()).expect("a request");
            let response = match h2.open(request, true).await {
                Ok((response, _)) => response,
                Err(error) if error.is_go_away() => return,
                Err(error) => return self.fail(format!("opening a stream: {error}")),
            };
            match crate::http2::finish(response).await {
                Ok(response) if response.status == 200 => {
                    self.good.fetch_add(1, Ordering::Relaxed);
                }
                Ok(response) => self.fail(format!("HTTP/2 answer: {}", response.status)),
                // Opened as the GOAWAY came, and numbered above the last one that is answered:
                // nothing was done for it, and every client asks again (RFC 9113, section 6.8). The
                // h2 crate lets the answer to the PING that goes before overtake such a stream.
                Err(error) if is_refused_by_goaway(&error) => return,
                Err(error) => return self.fail(format!("HTTP/2 stream: {error}")),
            }
        }
    }

    fn fail(&self, what: String) {
        self.lock().push(what);
        // A broken product must not fill the memory with its failures.
        std::thread::sleep(Duration::from_millis(20));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a stream's number is above the last one of a GOAWAY that ends a connection in peace.
fn is_refused_by_goaway(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

/// Whether the connection was closed, rather than silent or wrong.
fn is_close(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

impl Outcome {
    /// Every request was answered well, and there were some.
    #[track_caller]
    pub fn assert_perfect(&self) {
        let first: Vec<_> = self.failures.iter().take(5).collect();
        assert!(
            self.failures.is_empty(),
            "{} failed of {}: {first:?}",
            self.failures.len(),
            self.good
        );
        assert!(self.good > 0, "no request was made");
    }
}
