//! Where the objects come from, and when there is something new.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cluster::{Connection, Watches};
use objects::kinds::{Kind, ObjectKey};
use objects::manifests;

use crate::config;
use crate::failure::Failure;
use crate::pipeline::Input;

/// How long the first configuration waits for what its Ingresses refer to.
const REFERENCES: Duration = Duration::from_secs(10);

/// Where the objects come from.
pub(super) enum Source {
    /// Files and folders.
    Files {
        paths: Vec<PathBuf>,
        watcher: manifests::Watcher,
    },
    /// A cluster.
    Cluster(Box<Watches>),
}

impl Source {
    /// Begins to watch; besides files, what is in the folder of certificates.
    pub(super) async fn open(
        config: &config::Serve,
        certificates: Option<&Path>,
    ) -> Result<Self, Failure> {
        match &config.source {
            config::Source::Files(paths) => {
                let own = certificates.map(Path::to_owned);
                let paths: Vec<PathBuf> = paths.iter().cloned().chain(own).collect();
                Ok(Self::Files {
                    watcher: manifests::watch(&paths),
                    paths,
                })
            }
            config::Source::Cluster(cluster) => {
                let connection = Connection::open(&cluster.access)
                    .await
                    .map_err(Failure::new)?;
                tracing::info!("reading the cluster at {}", connection.url());
                let mut options = cluster.options.clone();
                // An order waits until all replicas answer.
                options.counted = config.compilation.obtains_certificates().then(|| {
                    let namespace = cluster.publishing.namespace(&connection);
                    ObjectKey::new(Kind::Secret, &namespace, config::CHALLENGES)
                });
                let watches = Watches::start(connection, &options);
                Ok(Self::Cluster(Box::new(watches)))
            }
        }
    }

    /// What the pipeline reads.
    pub(super) fn input(&self) -> Input {
        match self {
            Self::Files { paths, .. } => Input::files(paths),
            Self::Cluster(watches) => Input::Cluster(Arc::clone(watches.inbox())),
        }
    }

    /// The namespace of this pod, if a cluster is served.
    pub(super) fn namespace(&self, config: &config::Serve) -> Option<String> {
        match (self, &config.source) {
            (Self::Cluster(watches), config::Source::Cluster(cluster)) => {
                Some(cluster.publishing.namespace(watches.connection()))
            }
            _ => None,
        }
    }

    /// What is known of the cluster.
    pub(super) fn inbox(&self) -> Option<&Arc<cluster::Inbox>> {
        match self {
            Self::Files { .. } => None,
            Self::Cluster(watches) => Some(watches.inbox()),
        }
    }

    /// What decides which objects these are, if they are a cluster's.
    pub(super) fn identity(&self) -> Option<&str> {
        match self {
            Self::Files { .. } => None,
            Self::Cluster(watches) => Some(watches.identity()),
        }
    }

    /// Whether the API server has said anything yet.
    pub(super) fn has_heard(&self) -> bool {
        self.inbox().is_none_or(|inbox| inbox.has_heard())
    }

    /// Whether something is not read because the API server cannot tell it now.
    pub(super) fn is_away(&self) -> bool {
        self.inbox().is_some_and(|inbox| inbox.is_away())
    }

    /// Whether what was read is what there is now.
    pub(super) fn is_current(&self) -> bool {
        self.inbox().is_none_or(|inbox| inbox.is_current())
    }

    /// Waits until there is something new; or, while a copy is served, all. Cancel safe.
    pub(super) async fn changed(&mut self, is_copy: bool) {
        match self {
            Self::Files { watcher, .. } => watcher.changed().await,
            Self::Cluster(watches) if is_copy => watches.listed().await,
            Self::Cluster(watches) => watches.inbox().changed().await,
        }
    }

    /// Waits until all is there that is read whole.
    pub(super) async fn listed(&self) {
        if let Self::Cluster(watches) = self {
            watches.listed().await;
        }
    }

    /// Reads what is referred to as well. Whether anything was not asked for before.
    pub(super) fn refer(&mut self, references: &Arc<[ObjectKey]>) -> bool {
        match self {
            Self::Files { .. } => false,
            Self::Cluster(watches) => watches.refer(references),
        }
    }

    /// Waits until what is referred to is there, or known not to be.
    pub(super) async fn referred(&self) {
        if let Self::Cluster(watches) = self {
            watches.referred(REFERENCES).await;
        }
    }
}
