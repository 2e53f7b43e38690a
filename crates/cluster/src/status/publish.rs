//! Which addresses: a Service's, those that were given, or those of the nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Address, Addresses};
use crate::replicas::Replica;

/// How often nodes are asked for their addresses, as ingress-nginx does.
const NODES: Duration = Duration::from_secs(60);

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Where the addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publish {
    /// Those of a Service (`--publish-service`).
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// These (`--publish-status-address`).
    Addresses(Vec<Address>),
    /// Those of the nodes that replicas are on.
    Nodes {
        /// Their InternalIP even where they have an ExternalIP
        /// (`--report-node-internal-ip-address`).
        internal: bool,
    },
}

impl Publish {
    /// Tells `addresses` what they are, and what they become; never ends. While they are not
    /// known, it tells nothing.
    pub(crate) async fn follow(
        self,
        client: Client,
        own_node: Option<String>,
        replicas: watch::Receiver<Option<Arc<[Replica]>>>,
        addresses: watch::Sender<Option<Addresses>>,
    ) {
        match self {
            Self::Service { namespace, name } => {
                follow_service(&client, &namespace, &name, &addresses).await;
            }
            Self::Addresses(given) => tell(&addresses, given),
            Self::Nodes { internal } => {
                follow_nodes(&client, internal, own_node, replicas, &addresses).await;
            }
        }
        addresses.closed().await;
    }
}

fn tell(addresses: &watch::Sender<Option<Addresses>>, new: Vec<Address>) {
    let new = Some(Addresses::sorted(new));
    addresses.send_if_modified(|told| {
        let changed = *told != new;
        if changed {
            *told = new;
        }
        changed
    });
}

async fn follow_service(
    client: &Client,
    namespace: &str,
    name: &str,
    addresses: &watch::Sender<Option<Addresses>>,
) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let mut changes = std::pin::pin!(watch_object(services, name).default_backoff());
    let mut was_there = true;
    while let Some(change) = changes.next().await {
        let service = match change {
            Ok(service) => service,
            Err(error) => {
                tracing::debug!("the Service {namespace}/{name}: {error}");
                continue;
            }
        };
        let is_there = service.is_some();
        if was_there && !is_there {
            tracing::warn!(
                "--publish-service: there is no Service {namespace}/{name}; no address is told"
            );
        }
        was_there = is_there;
        tell(
            addresses,
            service.as_ref().map(of_service).unwrap_or_default(),
        );
    }
}

/// As ingress-nginx reads them, by the Service's type.
fn of_service(service: &Service) -> Vec<Address> {
    let spec = service.spec.clone().unwrap_or_default();
    let external = || spec.external_ips.iter().flatten();
    let cluster = || {
        let ip = spec.cluster_ip.as_deref();
        ip.filter(|ip| !matches!(*ip, "" | "None"))
            .map(Address::parse)
    };
    match spec.type_.as_deref() {
        Some("ExternalName") => spec
            .external_name
            .as_deref()
            .map(Address::parse)
            .into_iter()
            .collect(),
        Some("LoadBalancer") => {
            let balancer = service
                .status
                .as_ref()
                .and_then(|it| it.load_balancer.as_ref());
            let given = balancer
                .and_then(|it| it.ingress.as_deref())
                .unwrap_or_default();
            let given = given.iter().map(|it| Address {
                ip: it.ip.as_deref().map(Into::into),
                hostname: it.hostname.as_deref().map(Into::into),
            });
            let external = external().map(|ip| Address::parse(ip));
            given.chain(external).collect()
        }
        Some("NodePort")
            if spec
                .external_ips
                .as_ref()
                .is_some_and(|ips| !ips.is_empty()) =>
        {
            external().map(|ip| Address::parse(ip)).collect()
        }
        _ => cluster().into_iter().collect(),
    }
}

async fn follow_nodes(
    client: &Client,
    internal: bool,
    own_node: Option<String>,
    mut replicas: watch::Receiver<Option<Arc<[Replica]>>>,
    addresses: &watch::Sender<Option<Addresses>>,
) {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut again = interval(NODES);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked: BTreeSet<String> = BTreeSet::new();
    loop {
        let is_time = tokio::select! {
            _ = again.tick() => true,
            changed = replicas.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
        };
        let Some(live) = replicas.borrow_and_update().clone() else {
            continue;
        };
        let others = live.iter().filter_map(|replica| replica.node.clone());
        let names: BTreeSet<String> = others.chain(own_node.clone()).collect();
        // Before the first answer, everything is to be asked.
        if !is_time && names == asked && addresses.borrow().is_some() {
            continue;
        }
        if let Some(found) = ask(&nodes, &names, internal).await {
            asked = names;
            tell(addresses, found);
        }
    }
}

/// None if a node could not be asked: better the addresses that were than too few.
async fn ask(nodes: &Api<Node>, names: &BTreeSet<String>, internal: bool) -> Option<Vec<Address>> {
    let mut addresses = Vec::new();
    for name in names {
        match timeout(REQUEST, nodes.get_opt(name)).await {
            Ok(Ok(node)) => addresses.extend(node.and_then(|node| of_node(&node, internal))),
            Ok(Err(error)) => {
                tracing::warn!("the addresses of node {name}: {error}");
                return None;
            }
            Err(_) => return None,
        }
    }
    Some(addresses)
}

/// As ingress-nginx: the ExternalIP, else the InternalIP.
fn of_node(node: &Node, internal: bool) -> Option<Address> {
    let status = node.status.as_ref()?;
    let addresses = status.addresses.as_deref().unwrap_or_default();
    let first = |kind: &str| {
        let mut found = addresses
            .iter()
            .filter(|it| it.type_ == kind && !it.address.is_empty());
        found.next().map(|it| Address::parse(&it.address))
    };
    let external = if internal { None } else { first("ExternalIP") };
    external.or_else(|| first("InternalIP"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value, balancer: Value) -> String {
        let text = json!({"spec": spec, "status": {"loadBalancer": balancer}});
        let service: Service = serde_json::from_value(text).expect("a Service");
        Addresses::sorted(of_service(&service)).text()
    }

    #[test]
    fn a_services_addresses_are_read_by_its_type() {
        let none = || json!({});
        let all = |kind: &str| {
            json!({
                "type": kind, "clusterIP": "10.0.0.1", "externalIPs": ["198.51.100.2"],
                "externalName": "lb.example.com"
            })
        };
        let given = json!({"ingress": [{"ip": "203.0.113.1"}, {"hostname": "elb.example.com"}]});
        assert_eq!(service(all("ExternalName"), none()), "lb.example.com");
        assert_eq!(service(all("ClusterIP"), none()), "10.0.0.1");
        assert_eq!(service(all("NodePort"), none()), "198.51.100.2");
        let bare = json!({"type": "NodePort", "clusterIP": "10.0.0.1"});
        assert_eq!(service(bare, none()), "10.0.0.1");
        let balanced = service(all("LoadBalancer"), given);
        assert_eq!(balanced, "elb.example.com, 198.51.100.2, 203.0.113.1");
        assert_eq!(
            service(
                json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}),
                none()
            ),
            ""
        );
        assert_eq!(
            service(json!({"type": "ClusterIP", "clusterIP": "None"}), none()),
            ""
        );
    }

    #[test]
    fn a_node_has_its_external_address_else_its_internal_one() {
        let node = |addresses: Value| -> Node {
            serde_json::from_value(json!({"status": {"addresses": addresses}})).expect("a Node")
        };
        let internal = json!({"type": "InternalIP", "address": "10.0.0.1"});
        let external = json!({"type": "ExternalIP", "address": "203.0.113.1"});
        let name = json!({"type": "Hostname", "address": "node"});
        let both = node(json!([name, internal, external]));
        let one = node(json!([name, internal]));
        let text = |node: &Node, flag| of_node(node, flag).map(|it| it.text().to_owned());
        assert_eq!(text(&both, false).as_deref(), Some("203.0.113.1"));
        assert_eq!(text(&both, true).as_deref(), Some("10.0.0.1"));
        assert_eq!(text(&one, false).as_deref(), Some("10.0.0.1"));
        assert_eq!(text(&node(json!([name])), false), None);
    }
}
