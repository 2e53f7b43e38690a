//! What is provided for each Gateway: its Service, as far as that is there.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use compile::{GatewayPlan, PlannedPort};
use futures_util::stream::select_all;
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use model::Layer;
use tokio::sync::watch;

use crate::again::Again;
use crate::publish::Served;
use crate::status::Address;

/// The label of what is made for a Gateway (GEP-1762); its value is the Gateway's name.
pub(crate) const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// An object by its namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

impl Owner {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// What is provided for a Gateway. Without a Service, nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Provision {
    /// The addresses that its Service has, in their order.
    pub(crate) addresses: Vec<Address>,
    /// The ports that its Service has, and the ports of ours that they lead to.
    pub(crate) ports: Vec<PlannedPort>,
    /// Why it cannot be as it should.
    pub(crate) obstacle: Option<Obstacle>,
}

/// Why what a Gateway needs cannot be provided: what its condition `Programmed` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// A word for programs: `NoResources`, `AddressNotUsable` or `Invalid`.
    pub(crate) reason: &'static str,
    /// A sentence for people.
    pub(crate) message: String,
}

/// What is provided, by Gateway. One that is not there has no Service.
pub(crate) type Provisions = BTreeMap<Owner, Provision>;

/// Tells what is provided, and what becomes of it; never ends. Of these namespaces; of all if there
/// are none.
pub(crate) async fn follow(
    client: Client,
    namespaces: Vec<String>,
    mut served: watch::Receiver<Option<Arc<Served>>>,
    told: watch::Sender<Option<Arc<Provisions>>>,
) {
    let mut events = select_all(scopes(&namespaces).map(|scope| services(&client, scope)));
    let mut known = Services::default();
    let mut complete = 0;
    let expected = namespaces.len().max(1);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some((scope, Ok(event))) => {
                    complete += usize::from(known.take(scope, event));
                }
                Some((_, Err(error))) => {
                    tracing::debug!("the Services of Gateways: {error}");
                    continue;
                }
                None => return,
            },
            changed = served.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
        }
        // Before every list is in, nothing is known of what is not there.
        if complete < expected {
            continue;
        }
        let plans = served.borrow_and_update().clone();
        let plans = plans.map(|served| Arc::clone(&served.gateways));
        let now = Arc::new(known.provisions(plans.as_deref().unwrap_or_default()));
        told.send_if_modified(|told| {
            let changed = told.as_ref() != Some(&now);
            if changed {
                *told = Some(now);
            }
            changed
        });
    }
}

fn scopes(namespaces: &[String]) -> impl Iterator<Item = &str> {
    let all = namespaces.is_empty().then_some("");
    all.into_iter().chain(namespaces.iter().map(String::as_str))
}

type Told = (String, Result<Event<Service>, watcher::Error>);

fn services(client: &Client, scope: &str) -> Pin<Box<dyn Stream<Item = Told> + Send>> {
    let api: Api<Service> = match scope {
        "" => Api::all(client.clone()),
        namespace => Api::namespaced(client.clone(), namespace),
    };
    let scope = scope.to_owned();
    watcher(api, watcher::Config::default().labels(GATEWAY_LABEL))
        .backoff(Again::default())
        .map(move |event| (scope.clone(), event))
        .boxed()
}

/// The Services of Gateways as they are.
#[derive(Debug, Default)]
struct Services {
    seen: BTreeMap<Owner, Provision>,
    /// For each scope: what a list under way has brought.
    listed: BTreeMap<String, BTreeMap<Owner, Provision>>,
    complete: std::collections::BTreeSet<String>,
}

impl Services {
    /// Whether a scope is known now that was not known before.
    fn take(&mut self, scope: String, event: Event<Service>) -> bool {
        match event {
            Event::Init => drop(self.listed.insert(scope, BTreeMap::new())),
            Event::InitApply(service) => {
                let listed = self.listed.entry(scope).or_default();
                listed.insert(owner(&service), provision(&service));
            }
            Event::InitDone => {
                let listed = self.listed.remove(&scope).unwrap_or_default();
                self.seen
                    .retain(|key, _| !scope.is_empty() && *key.namespace != *scope);
                self.seen.extend(listed);
                return self.complete.insert(scope);
            }
            Event::Apply(service) => {
                self.seen.insert(owner(&service), provision(&service));
            }
            Event::Delete(service) => {
                self.seen.remove(&owner(&service));
            }
        }
        false
    }

    fn provisions(&self, plans: &[GatewayPlan]) -> Provisions {
        let provided = plans.iter().filter_map(|plan| {
            let service = Owner::new(&plan.namespace, &plan.service);
            let gateway = Owner::new(&plan.namespace, &plan.name);
            Some((gateway, self.seen.get(&service)?.clone()))
        });
        provided.collect()
    }
}

fn owner(service: &Service) -> Owner {
    let metadata = &service.metadata;
    Owner::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// What a Service provides.
pub(crate) fn provision(service: &Service) -> Provision {
    let ports = service.spec.iter().flat_map(|spec| &spec.ports).flatten();
    Provision {
        addresses: addresses(service),
        ports: ports.filter_map(port).collect(),
        obstacle: None,
    }
}

fn port(port: &ServicePort) -> Option<PlannedPort> {
    let Some(IntOrString::Int(target)) = port.target_port else {
        return None;
    };
    Some(PlannedPort {
        port: u16::try_from(port.port).ok()?,
        layer: match port.protocol.as_deref() {
            Some("UDP") => Layer::Udp,
            _ => Layer::Tcp,
        },
        target: u16::try_from(target).ok()?,
    })
}

/// Where a Service is to be reached from outside; of one that is for inside only, where that is.
fn addresses(service: &Service) -> Vec<Address> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if spec.type_.as_deref() == Some("LoadBalancer") {
        let status = service.status.as_ref();
        let balancer = status.and_then(|status| status.load_balancer.as_ref());
        let given = balancer.and_then(|balancer| balancer.ingress.as_deref());
        found.extend(given.into_iter().flatten().map(|one| Address {
            ip: one.ip.as_deref().map(Into::into),
            hostname: match &one.ip {
                Some(_) => None,
                None => one.hostname.as_deref().map(Into::into),
            },
        }));
    } else {
        let external = spec.external_ips.iter().flatten();
        found.extend(external.map(|ip| Address::parse(ip)));
        if found.is_empty() {
            let all = spec.cluster_ips.iter().flatten();
            let all = all.filter(|ip| !matches!(ip.as_str(), "" | "None"));
            found.extend(all.map(|ip| Address::parse(ip)));
        }
    }
    found.retain(|address| address.ip.is_some() || address.hostname.is_some());
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(name: &str, spec: Value, ingress: Value) -> Service {
        let service = json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        serde_json::from_value(service).expect("a Service")
    }

    fn balancer(name: &str, ip: &str) -> Service {
        let spec = json!({
            "type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [
                {"port": 80, "targetPort": 20000},
                {"port": 53, "targetPort": 20001, "protocol": "UDP"},
                {"port": 90, "targetPort": "named"},
            ],
        });
        service(name, spec, json!([{"ip": ip, "hostname": "a.example"}]))
    }

    fn plan(name: &str, service: &str) -> GatewayPlan {
        GatewayPlan {
            namespace: "shop".into(),
            name: name.into(),
            uid: "".into(),
            class: "narthex".into(),
            service: service.into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            addresses: [].into(),
            ports: [].into(),
        }
    }

    #[test]
    fn a_gateway_has_the_addresses_and_ports_of_its_service() {
        let mut services = Services::default();
        let plans = [plan("web", "web-narthex"), plan("other", "other-narthex")];
        services.take(String::new(), Event::Init);
        services.take(
            String::new(),
            Event::InitApply(balancer("web-narthex", "10.1.0.1")),
        );
        assert!(services.provisions(&plans).is_empty());
        assert!(services.take(String::new(), Event::InitDone));
        let provisions = services.provisions(&plans);
        assert_eq!(provisions.len(), 1);
        let web = &provisions[&Owner::new("shop", "web")];
        assert_eq!(web.addresses, [Address::parse("10.1.0.1")]);
        let ports = [(80, Layer::Tcp, 20000), (53, Layer::Udp, 20001)];
        let ports = ports.map(|(port, layer, target)| PlannedPort {
            port,
            layer,
            target,
        });
        assert_eq!(web.ports, ports);
        let gone = balancer("web-narthex", "10.1.0.1");
        services.take(String::new(), Event::Delete(gone));
        assert!(services.provisions(&plans).is_empty());
    }

    #[test]
    fn a_list_takes_out_what_has_gone_of_its_own_namespace() {
        let mut services = Services::default();
        services.take(
            "shop".to_owned(),
            Event::Apply(balancer("web-narthex", "10.1.0.1")),
        );
        for event in [Event::Init, Event::InitDone] {
            services.take("blog".to_owned(), event);
        }
        assert_eq!(services.seen.len(), 1);
        for event in [Event::Init, Event::InitDone] {
            services.take("shop".to_owned(), event);
        }
        assert!(services.seen.is_empty());
    }

    #[test]
    fn a_service_for_inside_has_the_address_that_it_has_there() {
        let addresses = |spec: Value| addresses(&service("web", spec, json!([])));
        let inside = json!({"type": "ClusterIP", "clusterIPs": ["10.0.0.1", "fd00::1"]});
        let both = [Address::parse("10.0.0.1"), Address::parse("fd00::1")];
        assert_eq!(addresses(inside), both);
        let waiting = json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]});
        assert_eq!(addresses(waiting), []);
        let headless = json!({"clusterIP": "None", "clusterIPs": ["None"]});
        assert_eq!(addresses(headless), []);
    }
}
