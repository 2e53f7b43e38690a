//! The admission webhook in the life of a process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster::webhook::{Identity, Judge, Keeper, Metrics, Names, Scope, Server};

use super::apply::Control;
use super::source::Source;
use crate::config::{self, Succession};
use crate::control::Live;
use crate::failure::Failure;

/// How often a process that takes over looks whether the one before it has left the address.
const AGAIN: Duration = Duration::from_secs(1);

/// The webhook of a cluster, if there is to be one.
#[derive(Debug)]
pub(super) struct Admission {
    address: SocketAddr,
    /// None if the process before this one still has the address.
    server: Option<Server>,
}

impl Admission {
    /// Binds the address, before anything is served.
    pub(super) fn open(config: &config::Serve) -> Result<Option<Self>, Failure> {
        let config::Source::Cluster(cluster) = &config.source else {
            return Ok(None);
        };
        let Some(address) = cluster.webhook.validating_webhook else {
            return Ok(None);
        };
        let server = match Server::bind(address) {
            Ok(server) => Some(server),
            Err(_) if config.succession == Succession::TakesOver => None,
            Err(error) => {
                return Err(Failure::new(format!(
                    "cannot listen on {address} for the admission webhook: {error}; give another \
                     address with --validating-webhook"
                )));
            }
        };
        Ok(Some(Self { address, server }))
    }

    /// Begins to answer, once all objects have been read.
    pub(super) fn start(
        self,
        config: &config::Serve,
        source: &Source,
        control: &Control,
        live: &Arc<Live>,
        metrics: Metrics,
    ) {
        let (config::Source::Cluster(config), Source::Cluster(watches)) = (&config.source, source)
        else {
            return;
        };
        let connection = watches.connection();
        let mut others = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        if !self.address.ip().is_unspecified() {
            others.push(self.address.ip().to_string());
        }
        let names = Names {
            namespace: config.publishing.namespace(connection),
            // Named alike, so that two installations in a namespace do not share it.
            secret: config.webhook.validating_webhook_service.clone(),
            service: config.webhook.validating_webhook_service.clone(),
            configuration: config.webhook.validating_webhook_configuration.clone(),
            others,
        };
        let identity = Arc::new(Identity::default());
        tokio::spawn(Keeper::new(connection.client().clone(), names, Arc::clone(&identity)).run());
        let scope = Scope {
            namespaces: config.options.namespaces.clone(),
            selected: config.options.namespace_selector.is_some(),
            secrets_by_reference: !config.options.all_secrets,
        };
        let present = control.present();
        let live = Arc::clone(live);
        let judge = Judge::new(
            // By what was there before the API server went away, nobody is judged.
            move || live.is_current().then(|| present.get()),
            control.options().clone(),
            scope,
        );
        tokio::spawn(self.serve(identity, Arc::new(judge), metrics));
    }

    async fn serve(self, identity: Arc<Identity>, judge: Arc<Judge>, metrics: Metrics) {
        let mut server = self.server;
        let server = loop {
            match server.map_or_else(|| Server::bind(self.address), Ok) {
                Ok(server) => break server,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
            server = None;
        };
        tracing::info!("admission webhook on https://{}/validate", server.address());
        if let Err(error) = server.serve(identity, judge, metrics).await {
            tracing::error!(%error, "the admission webhook is not served");
        }
    }
}
