//! What the cluster is told of what is served here.

use cluster::{Access, Identity, Metrics, Publisher};
use tokio::task::JoinHandle;

use super::apply::Control;
use super::signals::Signals;
use super::source::Source;
use crate::config;

/// Begins, where a cluster is served.
pub(super) fn start(
    config: &config::Serve,
    source: &Source,
    control: &Control,
    metrics: Metrics,
) -> Option<Publisher> {
    let compilation = &config.compilation;
    let (config::Source::Cluster(config), Source::Cluster(watches)) = (&config.source, source)
    else {
        return None;
    };
    let publishing = &config.publishing;
    let client = watches.client();
    let is_pod = config.access == Access::InCluster;
    let namespace = publishing.namespace.clone();
    let identity = Identity {
        name: publishing.name.clone().unwrap_or_else(|| own_name(is_pod)),
        namespace: namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
        uid: None,
        node: compilation.node_name().map(str::to_owned),
        is_pod,
    };
    let options = publishing.options.clone();
    let served = control.served();
    Some(Publisher::start(
        client.clone(),
        identity,
        options,
        served,
        metrics,
    ))
}

/// Waits until the cluster has been told of the end; a further signal ends that.
pub(super) async fn wait(told: JoinHandle<()>, signals: &mut Signals) {
    tokio::select! {
        _ = told => {}
        exit = signals.end() => {
            tracing::warn!("{}: ending before the cluster is told", exit.name());
        }
    }
}

/// A pod's host name is its name. Elsewhere, a machine may run several.
fn own_name(is_pod: bool) -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().to_lowercase();
    if is_pod {
        return host;
    }
    format!("{host}-{}", std::process::id())
}
