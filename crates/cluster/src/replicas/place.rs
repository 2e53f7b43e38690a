//! The addresses of this replica, by which Services of Gateways lead to it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::publish::Identity;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(3);

/// How soon it is asked again. A pod's process may start before the API server is told its address.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks until they are known.
pub(crate) async fn ask(
    client: Client,
    identity: Arc<Identity>,
    told: watch::Sender<Arc<[IpAddr]>>,
) {
    let pods: Api<Pod> = Api::namespaced(client, &identity.namespace);
    loop {
        match timeout(REQUEST, pods.get_opt(&identity.name)).await {
            Ok(Ok(Some(pod))) => {
                let addresses = of_pod(&pod);
                if !addresses.is_empty() {
                    told.send_replace(addresses.into());
                    return;
                }
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!("our own pod {}: {error}", identity.name),
            Err(_) => tracing::debug!("our own pod {}: no answer in time", identity.name),
        }
        sleep(AGAIN).await;
    }
}

fn of_pod(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let all = status.pod_ips.iter().flatten().map(|it| &it.ip);
    let all = all.chain(&status.pod_ip);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in all.filter_map(|it| it.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}
