//! The EndpointSlices of Gateways' Services: the replicas that listen on their ports.
//!
//! A Service's selector finds pods of its own namespace alone, and ours are in another. So a replica
//! is an endpoint as soon as it says that it listens, and until its Lease ends.

use std::collections::BTreeMap;

use compile::{GatewayPlan, PlannedPort};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::provision_service::{self, port_name, protocol};
use crate::replicas::{Replica, hash};

/// The label of who keeps an EndpointSlice …
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// … and its value.
const MANAGER: &str = "gateway.narthex.dev";

/// The label of the Service that an EndpointSlice is of.
const SERVICE: &str = "kubernetes.io/service-name";

/// The most endpoints of a slice, as Kubernetes' own controller has them.
const MOST: usize = 100;

/// Which EndpointSlices are ours.
pub(super) fn selector() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// The name of the Service that a slice is of.
pub(super) fn service_of(slice: &EndpointSlice) -> &str {
    provision_service::label(&slice.metadata, SERVICE).unwrap_or_default()
}

/// What is to be applied for a Service, by name.
pub(super) fn slices(
    plan: &GatewayPlan,
    service: &Service,
    replicas: &[Replica],
) -> BTreeMap<String, Value> {
    let mut made = BTreeMap::new();
    let uid = service.metadata.uid.as_deref().unwrap_or_default();
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.as_deref());
    for family in families.unwrap_or_default() {
        // Replicas may listen on different ports for a moment, or for as long as one cannot be opened.
        let mut groups: BTreeMap<Vec<&PlannedPort>, Vec<Value>> = BTreeMap::new();
        for replica in replicas {
            let mut addresses = replica.addresses.iter();
            let address = addresses.find(|it| it.is_ipv4() == (family == "IPv4"));
            let ports: Vec<_> = ports(plan, replica).collect();
            if let Some(address) = address.filter(|_| !ports.is_empty()) {
                let mut endpoint = json!({
                    "addresses": [address],
                    "conditions": {"ready": true, "serving": true, "terminating": false},
                });
                if let Some(node) = &replica.node {
                    endpoint["nodeName"] = json!(node);
                }
                groups.entry(ports).or_default().push(endpoint);
            }
        }
        for (ports, endpoints) in groups {
            let ports: Vec<_> = ports
                .iter()
                .map(|port| {
                    json!({
                        "name": port_name(port),
                        "protocol": protocol(port.layer),
                        "port": port.target,
                    })
                })
                .collect();
            let hash = hash(json!(ports).to_string().as_bytes());
            for (index, endpoints) in endpoints.chunks(MOST).enumerate() {
                let name = format!("{}-{}-{hash:08x}-{index}", plan.service, family);
                let name = name.to_lowercase();
                let slice = json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "namespace": plan.namespace,
                        "name": name,
                        "labels": {(SERVICE): plan.service, (MANAGED_BY): MANAGER},
                        "ownerReferences": [{
                            "apiVersion": "v1",
                            "kind": "Service",
                            "name": plan.service,
                            "uid": uid,
                        }],
                    },
                    "addressType": family,
                    "endpoints": endpoints,
                    "ports": ports,
                });
                made.insert(name, slice);
            }
        }
    }
    made
}

/// The ports of a Gateway that a replica listens on.
pub(super) fn ports<'a>(
    plan: &'a GatewayPlan,
    replica: &Replica,
) -> impl Iterator<Item = &'a PlannedPort> {
    let ports = plan.ports.iter();
    ports.filter(|port| replica.listening.has(plan, port))
}

/// Whether an EndpointSlice is as it is to be.
pub(super) fn is_as(slice: &EndpointSlice, wanted: &Value) -> bool {
    let is = serde_json::to_value(slice).unwrap_or_default();
    let labels = wanted["metadata"]["labels"].as_object();
    let mut labels = labels.into_iter().flatten();
    let uid = |it: &Value| it["metadata"]["ownerReferences"][0]["uid"].clone();
    labels.all(|(name, value)| is["metadata"]["labels"][name] == *value)
        && uid(&is) == uid(wanted)
        && ["addressType", "endpoints", "ports"]
            .iter()
            .all(|&field| is[field] == wanted[field])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::plan;
    use crate::replicas::Listening;

    fn replica(name: &str, addresses: &[&str], plans: &[GatewayPlan]) -> Replica {
        Replica {
            name: name.to_owned(),
            node: Some("node-1".to_owned()),
            position: Default::default(),
            addresses: addresses.iter().filter_map(|it| it.parse().ok()).collect(),
            listening: Listening::new(plans, &[]),
        }
    }

    fn service(families: &[&str]) -> Service {
        let service = json!({
            "metadata": {"namespace": "shop", "name": "web-narthex", "uid": "of-service"},
            "spec": {"ipFamilies": families},
        });
        serde_json::from_value(service).expect("a Service")
    }

    fn endpoints(slices: &BTreeMap<String, Value>) -> Vec<(Vec<&Value>, Vec<&Value>)> {
        let all = slices.values().map(|slice| {
            let of = |field: &str| slice[field].as_array().into_iter().flatten();
            let ports = of("ports").map(|it| &it["port"]).collect();
            let addresses = of("endpoints").map(|it| &it["addresses"][0]);
            (ports, addresses.collect())
        });
        all.collect()
    }

    #[test]
    fn replicas_are_endpoints_of_the_ports_that_they_listen_on() {
        let whole = plan("web", &[(80, 20001), (443, 20002)]);
        let part = plan("web", &[(80, 20001)]);
        let moved = plan("web", &[(80, 20005)]);
        let replicas = [
            replica("a", &["10.0.0.1"], std::slice::from_ref(&whole)),
            replica("b", &["10.0.0.2", "fd00::2"], std::slice::from_ref(&whole)),
            replica("c", &["10.0.0.3"], &[part]),
            replica("d", &["10.0.0.4"], &[moved]),
            replica("e", &[], std::slice::from_ref(&whole)),
        ];
        let slices = super::slices(&whole, &service(&["IPv4"]), &replicas);
        let mut found = endpoints(&slices);
        found.sort_by_key(|(ports, _)| ports.len());
        let expected = json!([
            [[20001], ["10.0.0.3"]],
            [[20001, 20002], ["10.0.0.1", "10.0.0.2"]]
        ]);
        assert_eq!(json!(found), expected);
        let slices = super::slices(&whole, &service(&["IPv6"]), &replicas);
        assert_eq!(
            json!(endpoints(&slices)),
            json!([[[20001, 20002], ["fd00::2"]]])
        );
        let (name, slice) = slices.first_key_value().expect("one");
        assert!(name.starts_with("web-narthex-ipv6-"), "{name}");
        let is: EndpointSlice = serde_json::from_value(slice.clone()).expect("a slice");
        assert!(is_as(&is, slice));
        let other = super::slices(&whole, &service(&["IPv6"]), &replicas[..1]);
        assert!(other.is_empty());
    }
}
