//! What is provided for each Gateway: its Service, as far as that is there.

use std::collections::BTreeMap;

use compile::PlannedPort;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::Layer;

use crate::status::Address;

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

/// What is provided, by Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Provisions {
    /// One that is not there has no Service.
    pub(crate) services: BTreeMap<Owner, Provision>,
    /// Of each that is to have a data plane of its own, what keeps that from being there.
    pub(crate) dedicated: BTreeMap<Owner, Option<Obstacle>>,
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

    #[test]
    fn a_gateway_has_the_addresses_and_ports_of_its_service() {
        let web = provision(&balancer("web-narthex", "10.1.0.1"));
        assert_eq!(web.addresses, [Address::parse("10.1.0.1")]);
        let ports = [(80, Layer::Tcp, 20000), (53, Layer::Udp, 20001)];
        let ports = ports.map(|(port, layer, target)| PlannedPort {
            port,
            layer,
            target,
        });
        assert_eq!(web.ports, ports);
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
