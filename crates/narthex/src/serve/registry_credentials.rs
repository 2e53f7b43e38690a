//! Credentials of outside registries, in the life of a process that serves.

use std::sync::Arc;

use cluster::pull_secrets::Place;
use prometheus_client::registry::Registry;

use super::publish;
use super::source::Source;
use crate::config;
use crate::control::Live;
use crate::failure::Failure;
use crate::registry_credentials::{self, Book, Credentials};

/// What is known before anything begins.
pub(super) struct RegistryCredentials {
    book: Arc<Book>,
}

impl RegistryCredentials {
    /// If they were asked for.
    pub(super) fn open(config: &config::Serve, registry: &mut Registry) -> Option<Self> {
        config.registry_credentials.as_ref()?;
        Some(Self {
            book: registry_credentials::open(registry),
        })
    }

    /// Begins, where a cluster is served.
    pub(super) fn start(
        self,
        config: &config::Serve,
        source: &Source,
        live: &Live,
    ) -> Result<Option<Credentials>, Failure> {
        let (Some(options), config::Source::Cluster(cluster), Source::Cluster(watches)) =
            (&config.registry_credentials, &config.source, source)
        else {
            return Ok(None);
        };
        live.set_registry_credentials(Arc::clone(&self.book));
        let place = Place {
            namespace: cluster.publishing.namespace(watches.connection()),
            replica: publish::replica(cluster),
            election_id: cluster.publishing.options.election_id.clone(),
        };
        Credentials::start(options.clone(), watches.connection(), place, &self.book).map(Some)
    }
}
