//! A registry's HTTP API: the OCI distribution specification 1.1, on HTTP/1.1 and HTTP/2, with or
//! without TLS.

pub mod answer;
mod blobs;
mod cached;
mod connection;
pub mod door;
#[cfg(test)]
mod fuzz;
mod http2;
mod lists;
mod manifests;
mod metrics;
mod refusal;
mod route;
mod tls;
mod uploads;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ALLOW, EXPECT, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

pub use metrics::Metrics;
pub use tls::Tls;

use crate::cache::{Cache, Place};
use crate::name::RepositoryName;
use crate::store::Store;
use answer::{Answer, Code, error, json, with};
use door::{Action, Door, Peer, Want};
use refusal::refusal;
use route::{Target, Wrong, parameter};

const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// How much of a body is read that nobody wants, so that its client hears why, in bytes.
const UNWANTED: usize = 16 * 1024 * 1024;

/// For how long.
const UNWANTED_FOR: Duration = Duration::from_secs(5);

/// How long what is under way may go on at the end.
const LINGER: Duration = Duration::from_secs(30);

/// What clients may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest manifest, in bytes.
    pub largest_manifest: usize,
    /// The largest blob, in bytes.
    pub largest_blob: u64,
    /// The most connections.
    pub connections: usize,
    /// The most uploads that come at once.
    pub uploads: usize,
    /// The most uploads that are begun and neither finished nor cancelled.
    pub begun_uploads: usize,
    /// How much may come of them together, in bytes; no less than the largest blob has.
    pub begun_bytes: u64,
    /// The largest request head, in bytes; not less than 8192.
    pub header_bytes: usize,
    /// For a request's head, and between two requests.
    pub header_timeout: Duration,
    /// Between two pieces of a request's body, and for each 16 KiB of an upload.
    pub body_timeout: Duration,
    /// For a client to take something of an answer.
    pub write_timeout: Duration,
    /// Whether blobs are digested while they are pulled.
    pub verify_pulls: bool,
    /// Whether a repository may have manifests without the blobs that they name.
    pub missing_blobs: bool,
}

impl Default for Limits {
    /// As the flags' defaults are.
    fn default() -> Self {
        Self {
            largest_manifest: 4 * 1024 * 1024,
            largest_blob: 64 * 1024 * 1024 * 1024,
            connections: 1024,
            uploads: 64,
            begun_uploads: 10_000,
            begun_bytes: 256 * 1024 * 1024 * 1024,
            header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            verify_pulls: false,
            missing_blobs: false,
        }
    }
}

/// A registry that is served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    serving: Arc<Serving>,
}

/// What answers requests.
#[derive(Debug)]
struct Serving {
    store: Store,
    cache: Option<Arc<Cache>>,
    door: Arc<dyn Door>,
    limits: Limits,
    tls: Option<Tls>,
    metrics: Arc<Metrics>,
    uploading: Semaphore,
}

/// A request that is being answered.
struct Exchange<'a> {
    head: &'a Parts,
    peer: &'a Peer,
    store: &'a Store,
    cache: Option<&'a Arc<Cache>>,
    door: &'a dyn Door,
    limits: &'a Limits,
    metrics: &'a Arc<Metrics>,
    uploading: &'a Semaphore,
}

impl Server {
    /// Binds `address`. What a cache is for and `store` does not have is got.
    pub async fn bind(
        address: SocketAddr,
        store: Store,
        cache: Option<Arc<Cache>>,
        door: Arc<dyn Door>,
        limits: Limits,
        tls: Option<Tls>,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            serving: Arc::new(Serving {
                store: store.with_uploads(limits.begun_uploads, limits.begun_bytes),
                cache,
                door,
                limits,
                tls,
                metrics: Arc::new(metrics),
                uploading: Semaphore::new(limits.uploads.min(Semaphore::MAX_PERMITS)),
            }),
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `end` is over, and lets what is under way end.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let (ending, ended) = watch::channel(false);
        let metrics = Arc::clone(&self.serving.metrics);
        let accepting = tokio::spawn(connection::accept(self.listener, self.serving, ended));
        end.await;
        // Nobody listens any more only if nothing is left.
        let _ = ending.send(true);
        let _ = accepting.await;
        let left = async {
            while metrics.connections() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(LINGER, left).await.is_err() {
            let count = metrics.connections();
            tracing::warn!("{count} connections to the registry are cut");
        }
    }
}

impl Serving {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Answer {
        let began = Instant::now();
        let (head, mut body) = request.into_parts();
        let target = Target::of(head.uri.path());
        let about = target.as_ref().map_or("none", Target::word);
        let exchange = Exchange {
            head: &head,
            peer,
            store: &self.store,
            cache: self.cache.as_ref(),
            door: &*self.door,
            limits: &self.limits,
            metrics: &self.metrics,
            uploading: &self.uploading,
        };
        let door = self.door.answer(&head, &mut body, peer);
        let answer = match timeout(self.limits.body_timeout, door).await {
            // Whoever wants a token may have a body, and be nobody yet.
            Err(_) => {
                let message = "the request came too slowly";
                error(StatusCode::REQUEST_TIMEOUT, Code::Unsupported, message)
            }
            Ok(Some(answer)) => answer,
            Ok(None) => match target {
                Ok(target) => exchange.admitted(target, &mut body).await,
                Err(error) => wrong(error),
            },
        };
        if !answer.status().is_success() && !head.headers.contains_key(EXPECT) {
            drain(&mut body).await;
        }
        let (method, status) = (head.method.as_str(), answer.status().as_u16());
        self.metrics
            .answered(about, method, status, began.elapsed());
        if let Some(reason) = refusal(&head, &answer) {
            self.metrics.refused(reason);
        }
        tracing::debug!(
            peer = %peer.address,
            method,
            path = head.uri.path(),
            version = ?head.version,
            status,
            "answered"
        );
        // Content is as its pusher wants it: no browser is to take it for a page of ours.
        let answer = with(answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
        with(answer, VERSION, "registry/2.0")
    }
}

impl Exchange<'_> {
    /// Answers what the door lets in.
    async fn admitted(&self, target: Target, body: &mut Incoming) -> Answer {
        let method = &self.head.method;
        let action = match (&target, method) {
            (Target::Catalog | Target::Tags(_), _) => Some(Action::List),
            (Target::Base, _) => None,
            (Target::Uploads(_) | Target::Upload(..), _) => Some(Action::Push),
            (_, &Method::PUT) => Some(Action::Push),
            (_, &Method::DELETE) => Some(Action::Delete),
            _ => Some(Action::Pull),
        };
        if let Some(place) = self.place(&target) {
            let is_read = matches!(*method, Method::GET | Method::HEAD);
            let is_got = is_read && cached::is_content(&target);
            if is_got && (!place.is_beside || !self.is_ours(&target).await) {
                return self.through(place, &target).await;
            }
            if action == Some(Action::Push) && !place.is_beside {
                return cached::not_here(&place);
            }
        }
        let want = action.map(|action| Want {
            action,
            repository: target.repository(),
        });
        let admitted = self.door.admit(self.head, self.peer, want.as_slice());
        if let Err(answer) = admitted.await {
            return answer;
        }
        if !target.methods().contains(method) {
            let message = "this method is not for this path";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let methods: Vec<&str> = target.methods().iter().map(Method::as_str).collect();
            let answer = error(status, Code::Unsupported, message);
            return with(answer, ALLOW, &methods.join(", "));
        }
        match (&target, method) {
            (Target::Base, _) => {
                let nothing = serde_json::Map::new();
                json(StatusCode::OK, "application/json", &nothing)
            }
            (Target::Catalog, _) => lists::catalogue(self).await,
            (Target::Tags(name), _) => lists::tags(self, name).await,
            (Target::Referrers(name, subject), _) => lists::referrers(self, name, subject).await,
            (Target::Blob(name, digest), &Method::DELETE) => {
                blobs::delete(self, name, digest).await
            }
            (Target::Blob(name, digest), _) => blobs::read(self, name, digest).await,
            (Target::Manifest(name, reference), &Method::PUT) => {
                manifests::write(self, body, name, reference).await
            }
            (Target::Manifest(name, reference), &Method::DELETE) => {
                manifests::delete(self, name, reference).await
            }
            (Target::Manifest(name, reference), _) => manifests::read(self, name, reference).await,
            (Target::Uploads(name), _) => uploads::begin(self, body, name).await,
            (Target::Upload(name, id), &Method::PATCH) => {
                uploads::append(self, body, name, id).await
            }
            (Target::Upload(name, id), &Method::PUT) => uploads::finish(self, body, name, id).await,
            (Target::Upload(name, id), &Method::DELETE) => uploads::cancel(self, name, id).await,
            (Target::Upload(name, id), _) => uploads::status(self, name, id).await,
        }
    }

    /// Where a request's repository is a copy of, if it is one of the cache's.
    fn place(&self, target: &Target) -> Option<Place> {
        let cache = self.cache?;
        let beside = parameter(self.head.uri.query(), "ns");
        cache.place(target.repository()?, beside.as_deref())
    }

    /// Whether the repository itself has what is wanted, though a registry was named beside it:
    /// somebody has put it there, and the client may have it.
    async fn is_ours(&self, target: &Target) -> bool {
        let wants = [Want {
            action: Action::Pull,
            repository: target.repository(),
        }];
        let admitted = self.door.admit(self.head, self.peer, &wants);
        cached::has(self.store, target).await && admitted.await.is_ok()
    }

    /// Answers a pull by the cache.
    async fn through(&self, place: Place, target: &Target) -> Answer {
        let wants = [Want {
            action: Action::Pull,
            repository: Some(&place.name),
        }];
        let admitted = self.door.admit(self.head, self.peer, &wants);
        match (admitted.await, self.cache) {
            (Err(answer), _) => answer,
            (Ok(()), Some(cache)) => cached::read(self, cache, place, target).await,
            (Ok(()), None) => wrong(Wrong::NotFound),
        }
    }

    async fn may_mount(&self, from: Option<&RepositoryName>) -> bool {
        match from {
            None => self.door.may_mount_any(self.head, self.peer).await,
            Some(_) => {
                let want = Want {
                    action: Action::Pull,
                    repository: from,
                };
                let wants = [want];
                let admitted = self.door.admit(self.head, self.peer, &wants);
                admitted.await.is_ok()
            }
        }
    }

    async fn may_know(&self, name: &RepositoryName) -> bool {
        self.door.may_know(self.head, self.peer, name).await
    }
}

fn wrong(wrong: Wrong) -> Answer {
    match wrong {
        Wrong::NotFound => error(
            StatusCode::NOT_FOUND,
            Code::Unsupported,
            "this is a registry of images: its paths begin with /v2/",
        ),
        Wrong::Invalid(code, message) => error(StatusCode::BAD_REQUEST, code, &message),
    }
}

/// Reads some of what nobody wants: most clients look for an answer when they have sent all.
async fn drain(body: &mut Incoming) {
    let reading = async {
        let mut left = UNWANTED;
        while !body.is_end_stream() {
            let Some(Ok(frame)) = body.frame().await else {
                return;
            };
            let length = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Whoever sends for longer sees a connection that ends.
    let _ = timeout(UNWANTED_FOR, reading).await;
}
