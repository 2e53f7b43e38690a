//! The HTTPS server: few connections, small requests, short time limits.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::metrics::Metrics;
use super::review::{Answer, Asked, Judge, Outcome};

/// The most connections at one time; one more is closed at once.
const MAX_CONNECTIONS: usize = 64;

/// The most answers that are made at one time, each on a thread: more would only share the CPUs
/// that requests are served with.
const MAX_ANSWERS: usize = 2;

/// From a request's head to its answer, before the 2 s of the configuration have passed.
const TIME_LIMIT: Duration = Duration::from_millis(1800);

/// For the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// For a request's head to come, on a new connection and after another one. The API server itself
/// closes what has been idle for 90 s: if we did first, it might just be asking.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// The largest head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The most header fields.
const MAX_HEADERS: usize = 64;

/// The largest body in bytes: an object of etcd's 1.5 MiB as it was and as it is to be.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// The one path.
const PATH: &str = "/validate";

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

async fn accepted(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    shared: &Shared,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await??;
    let service = service_fn(|request| shared.respond(request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

/// Why a request is refused: the status and what is said.
struct Refused(StatusCode, String);

impl Shared {
    /// Answers a request.
    ///
    /// # Errors
    /// If its body does not come, or not in time.
    async fn respond(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
        let begin = Instant::now();
        let deadline = begin + TIME_LIMIT;
        let answered = match timeout_at(deadline, read(request)).await?? {
            Ok(body) => self.answer(&body, deadline).await,
            Err(refused) => Err(refused),
        };
        let took = begin.elapsed();
        let (outcome, status, content_type, body) = match answered {
            Ok(Answer { outcome, body }) => (outcome, StatusCode::OK, "application/json", body),
            Err(Refused(status, why)) => {
                let said = format!("{why}\n").into_bytes();
                (Outcome::Malformed, status, "text/plain", said)
            }
        };
        tracing::debug!(result = outcome.label(), ?took, "an admission review");
        self.metrics.count(outcome, took);
        let response = Response::builder().status(status);
        Ok(response
            .header(CONTENT_TYPE, content_type)
            .body(body.into())?)
    }

    /// The answer, on a blocking thread, in time or a yes without a look.
    async fn answer(&self, body: &[u8], deadline: Instant) -> Result<Answer, Refused> {
        let begun = timeout_at(deadline, Arc::clone(&self.answers).acquire_owned()).await;
        // Not even its uid has been read without a turn, and it is cheap to read.
        let asked = Asked::read(body).map_err(|why| Refused(StatusCode::BAD_REQUEST, why))?;
        let asked = Arc::new(asked);
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

/// The body of a request that is one for us.
async fn read(
    request: Request<Incoming>,
) -> Result<Result<Bytes, Refused>, Box<dyn Error + Send + Sync>> {
    let refused = |status, why: &str| Ok(Err(Refused(status, why.to_owned())));
    // The API server adds ?timeout=….
    if request.uri().path() != PATH {
        return refused(StatusCode::NOT_FOUND, "there is only /validate here");
    }
    if request.method() != Method::POST {
        let why = "AdmissionReviews are POSTed";
        return refused(StatusCode::METHOD_NOT_ALLOWED, why);
    }
    let too_large = "the body is larger than 3 MiB";
    // What is known to be too much is not waited for.
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, too_large);
    }
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => Ok(Ok(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            refused(StatusCode::PAYLOAD_TOO_LARGE, too_large)
        }
        Err(error) => Err(error),
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
