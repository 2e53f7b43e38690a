//! A pull-through cache: what is pulled of certain registries and not kept is got there, and kept.
//!
//! Content of `docker.io/library/nginx` is kept in the repository of that name. Only registries that
//! were named are asked, each about its own repositories: nobody reaches another place by us.

mod blobs;
mod coming;
mod host;
mod manifests;
mod metrics;
mod miss;
mod recent;
mod upstream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci_spec::image::Digest;
use tokio::sync::Semaphore;

pub use host::Host;
pub use metrics::Metrics;

pub(crate) use blobs::Found;
pub(crate) use coming::Coming;
pub(crate) use manifests::Kept;
pub(crate) use miss::Miss;

use crate::client::{Credentials, Error};
use crate::name::{RepositoryName, Tag};
use crate::store::{Locks, Store};
use metrics::{Kind, Outcome};
use recent::Recent;
use upstream::{Reached, Upstream};

/// How many tags and how many refusals are remembered.
const REMEMBERED: usize = 8192;

/// How long a refusal is remembered, and a registry that is away left alone.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// What is cached, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The registries.
    pub hosts: Vec<Host>,
    /// Those of them that may be without TLS, or with a certificate that nobody vouches for.
    pub insecure: Vec<Host>,
    /// Authorities beside the system's, in PEM.
    pub authorities: Vec<Vec<u8>>,
    /// What knows who we are there.
    pub credentials: Arc<dyn Credentials>,
    /// After what time a tag is asked for again.
    pub ttl: Duration,
    /// How long a manifest stays that nobody pulls; for ever if none.
    pub keep: Option<Duration>,
    /// How many blobs are fetched at once.
    pub fetches: usize,
    /// The largest blob, in bytes.
    pub largest_blob: u64,
}

/// A pull-through cache.
#[derive(Debug)]
pub struct Cache {
    store: Store,
    upstreams: Vec<Arc<Upstream>>,
    ttl: Duration,
    keep: Option<Duration>,
    largest_blob: u64,
    metrics: Metrics,
    /// Whoever asks upstream for a manifest.
    asking: Locks<(RepositoryName, String)>,
    /// Tags that are still right.
    fresh: Recent<(RepositoryName, Tag), ()>,
    refused: Recent<(RepositoryName, String), Error>,
    coming: Mutex<HashMap<(RepositoryName, Digest), Coming>>,
    fetches: Arc<Semaphore>,
}

/// What a pull is about.
#[derive(Debug)]
pub(crate) struct Place {
    upstream: Arc<Upstream>,
    /// As the upstream calls the repository.
    path: String,
    /// As we do.
    pub(crate) name: RepositoryName,
    /// Whether the request named its registry beside the path (`ns`).
    pub(crate) is_beside: bool,
}

impl Cache {
    /// A cache that keeps what it gets in `store`.
    ///
    /// # Errors
    /// An authority cannot be read; for people.
    pub fn new(store: Store, settings: Settings, metrics: Metrics) -> Result<Self, String> {
        let upstreams = settings.hosts.iter().map(|host| {
            let reached = Reached {
                insecure: settings.insecure.contains(host),
                authorities: settings.authorities.clone(),
                credentials: Arc::clone(&settings.credentials),
            };
            let upstream = Upstream::new(host.clone(), reached);
            Ok::<_, String>(Arc::new(upstream.map_err(|error| error.to_string())?))
        });
        Ok(Self {
            upstreams: upstreams.collect::<Result<_, _>>()?,
            store,
            ttl: settings.ttl,
            keep: settings.keep,
            largest_blob: settings.largest_blob,
            metrics,
            asking: Locks::default(),
            fresh: Recent::new(REMEMBERED),
            refused: Recent::new(REMEMBERED),
            coming: Mutex::default(),
            fetches: Arc::new(Semaphore::new(settings.fetches.clamp(1, 1 << 16))),
        })
    }

    /// Where a repository is a copy of, by its name or by the registry that a request named beside
    /// it (`ns`). `None` if it is ours.
    pub(crate) fn place(&self, name: &RepositoryName, beside: Option<&str>) -> Option<Place> {
        if let Some((first, path)) = name.as_str().split_once('/')
            && let Some(upstream) = self.upstreams.iter().find(|it| it.host.folder() == first)
        {
            return Some(Place {
                upstream: Arc::clone(upstream),
                path: path.to_owned(),
                name: name.clone(),
                is_beside: false,
            });
        }
        let host: Host = beside?.parse().ok()?;
        let upstream = self.upstreams.iter().find(|it| it.host == host)?;
        Some(Place {
            upstream: Arc::clone(upstream),
            path: name.as_str().to_owned(),
            // One that is too long is nowhere.
            name: format!("{}/{name}", host.folder()).parse().ok()?,
            is_beside: true,
        })
    }

    /// Takes away what nobody has pulled for as long as copies are kept.
    pub async fn tidy(&self) -> crate::store::Result<u64> {
        let Some(keep) = self.keep else {
            return Ok(0);
        };
        let mut count = 0;
        for upstream in &self.upstreams {
            count += self
                .store
                .delete_unused(upstream.host.folder(), keep)
                .await?;
        }
        Ok(count)
    }

    fn count(&self, kind: Kind, outcome: Outcome) {
        self.metrics.asked(kind, outcome);
    }

    /// Notes that a manifest has been pulled; what comes of it is of no interest to its client.
    async fn note_use(&self, name: &RepositoryName, digest: &Digest) {
        let Some(keep) = self.keep else {
            return;
        };
        // Precise enough, and seldom a write.
        let noted = self.store.note_use(name, digest, keep / 10).await;
        if let Err(error) = noted {
            tracing::warn!("the use of {name}@{digest} is not noted: {error}");
        }
    }
}

impl Place {
    /// The registry that it is a copy of.
    pub(crate) fn host(&self) -> &str {
        self.upstream.host.as_str()
    }

    /// Whether there may be such a repository there.
    fn check(&self) -> Result<(), Miss> {
        match self.host() == "docker.io" && !self.path.contains('/') {
            true => Err(Miss::Unknown(format!(
                "docker.io has no {path}: its own images are below docker.io/library/, as \
                 docker.io/library/{path}",
                path = self.path
            ))),
            false => Ok(()),
        }
    }
}
