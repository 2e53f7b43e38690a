//! The HTTPS server: few connections, small requests, short time limits.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Post, Refused};
use super::metrics::Metrics;
use super::review::{Answer, Asked, Judge, Outcome};

/// The most connections at one time; one more is closed at once.
const MAX_CONNECTIONS: usize = 64;

/// The most answers that are made at one time, each on a thread: more would only share the CPUs
/// that requests are served with.
const MAX_ANSWERS: usize = 2;

/// From a request's first byte to its answer, before the 2 s of the configuration have passed.
const TIME_LIMIT: Duration = Duration::from_millis(1800);

/// For the handshake, and for the first byte of a connection's first request.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// For a connection to stay idle between two requests.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// The certificate that the server shows; another one can be put in its place while it serves.
#[derive(Debug, Default)]
pub struct Identity(Mutex<Option<Arc<CertifiedKey>>>);

impl Identity {
    /// Shows this one from the next handshake on.
    pub fn set(&self, key: Arc<CertifiedKey>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// The one that is shown; none before the first was set, when handshakes fail.
    pub fn get(&self) -> Option<Arc<CertifiedKey>> {
        // No code that holds the lock can leave it half changed.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

/// The webhook's address, bound.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    judge: Arc<Judge>,
    metrics: Metrics,
    answers: Arc<Semaphore>,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address).or_else(|error| {
            // Every address, on a machine without IPv6.
            match address.ip() == Ipv6Addr::UNSPECIFIED {
                true => std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())),
                false => Err(error),
            }
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as the future is polled.
    ///
    /// # Errors
    /// If the listener cannot be used with the runtime, or TLS is not to be had.
    pub async fn serve(
        self,
        identity: Arc<Identity>,
        judge: Arc<Judge>,
        metrics: Metrics,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(identity);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::new(Shared {
            judge,
            metrics,
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
        });
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: some will be free soon.
                    tracing::warn!(%error, "the webhook cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                tracing::debug!("too many connections to the webhook: one is closed");
                continue;
            };
            let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
            tokio::spawn(async move {
                let _permit = permit;
                if let Err(error) = accepted(stream, &acceptor, &shared).await {
                    tracing::debug!(%error, "a connection to the webhook broke");
                }
            });
        }
    }
}

async fn accepted(stream: TcpStream, acceptor: &TlsAcceptor, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await??;
    converse(stream, shared).await
}

/// Answers one request after another.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(8 * 1024);
    let mut idle = HANDSHAKE_LIMIT;
    loop {
        let begun = timeout(idle, connection::begin(&mut stream, &mut buffer)).await;
        if !matches!(begun, Ok(Ok(true))) {
            return Ok(());
        }
        idle = IDLE_LIMIT;
        let begin = Instant::now();
        let deadline = begin + TIME_LIMIT;
        let read = timeout_at(deadline, connection::read(&mut stream, &mut buffer)).await;
        let post = match read?? {
            Ok(post) => post,
            Err(Refused(status, why)) => {
                shared.metrics.count(Outcome::Malformed, begin.elapsed());
                let write = connection::write(&mut stream, status, why.as_bytes(), false);
                return timeout(TIME_LIMIT, write).await?;
            }
        };
        let keep_alive = post.keep_alive;
        let answered = shared.answer(post, deadline).await;
        let took = begin.elapsed();
        let (status, body) = match answered {
            Ok(Answer { outcome, body }) => {
                tracing::debug!(result = outcome.label(), ?took, "an admission review");
                shared.metrics.count(outcome, took);
                (200, body)
            }
            Err(why) => {
                shared.metrics.count(Outcome::Malformed, took);
                (400, format!("{why}\n").into_bytes())
            }
        };
        let write = connection::write(&mut stream, status, &body, keep_alive);
        timeout(TIME_LIMIT, write).await??;
        if !keep_alive {
            return Ok(());
        }
    }
}

impl Shared {
    /// The answer, on a blocking thread, in time or a yes without a look.
    async fn answer(&self, post: Post, deadline: Instant) -> Result<Answer, String> {
        let begun = timeout_at(deadline, Arc::clone(&self.answers).acquire_owned()).await;
        // Not even its uid has been read without a turn, and it is cheap to read.
        let asked = Arc::new(Asked::read(&post.body)?);
        let Ok(Ok(turn)) = begun else {
            return Ok(asked.unchecked("too many others are being checked"));
        };
        let (judge, request) = (Arc::clone(&self.judge), Arc::clone(&asked));
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            judge.answer(&request, now())
        });
        match timeout_at(deadline, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::error!("a bug in the admission webhook: {error}");
                Ok(asked.unchecked("a bug in Narthex, see its log"))
            }
            Err(_) => Ok(asked.unchecked("it took too long")),
        }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
