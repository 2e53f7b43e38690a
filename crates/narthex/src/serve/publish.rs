//! What the cluster is told of what is served here.

use cluster::{Access, End, Identity, Metrics, PublishOptions, Publisher};
use tokio::task::JoinHandle;

use super::apply::Control;
use super::signals::Signals;
use super::source::Source;
use crate::config;
use crate::control::Live;

/// What the cluster is told, where one is served.
pub(super) enum Publish {
    /// No cluster is served.
    No,
    /// It is told.
    Now(Publisher),
    /// It is being told that this is the end.
    Ending(JoinHandle<()>),
}

impl Publish {
    /// Begins, where a cluster is served.
    pub(super) fn start(
        config: &config::Serve,
        source: &Source,
        control: &Control,
        live: &Live,
        metrics: Metrics,
    ) -> Self {
        let compilation = &config.compilation;
        let (config::Source::Cluster(config), Source::Cluster(watches)) = (&config.source, source)
        else {
            return Self::No;
        };
        let publishing = &config.publishing;
        let connection = watches.connection().clone();
        let is_pod = config.access == Access::InCluster;
        let identity = Identity {
            name: replica(config),
            namespace: publishing.namespace(&connection),
            uid: None,
            node: compilation.node_name().map(str::to_owned),
            is_pod,
        };
        let options = PublishOptions {
            gateway_controller: control.options().gateway_controller.clone(),
            ..publishing.options.clone()
        };
        let publisher = Publisher::start(connection, identity, options, control.served(), metrics);
        live.lead(publisher.view());
        Self::Now(publisher)
    }

    /// Begins to tell that this is the end, if that is not known yet.
    pub(super) fn end(&mut self, why: End) {
        *self = match std::mem::replace(self, Self::No) {
            Self::Now(publisher) => Self::Ending(tokio::spawn(publisher.stop(why))),
            other => other,
        };
    }

    /// Waits until the cluster has been told; a further signal ends that.
    pub(super) async fn wait(self, signals: &mut Signals) {
        let Self::Ending(told) = self else {
            return;
        };
        tokio::select! {
            // A bug there must not keep the process from ending.
            _ = told => {}
            exit = signals.end() => {
                tracing::warn!("{}: ending before the cluster is told", exit.name());
            }
        }
    }
}

/// This replica's name.
pub(super) fn replica(cluster: &config::Cluster) -> String {
    let is_pod = cluster.access == Access::InCluster;
    let told = cluster.publishing.name.clone();
    told.unwrap_or_else(|| own_name(is_pod))
}

/// A pod's host name is its name. Elsewhere, a machine may run several.
pub(crate) fn own_name(is_pod: bool) -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().to_lowercase();
    if is_pod {
        return host;
    }
    format!("{host}-{}", std::process::id())
}
