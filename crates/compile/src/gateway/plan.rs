//! What is to be provided for each Gateway in a cluster: a Service with an address of its own,
//! whose ports lead to ports of ours that are that Gateway's alone (GEP-1762).

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::Layer;
use objects::Store;
use objects::kinds::IntOrString;

use super::ownership::{Provider, renewed};
use super::parameters::ServiceType;
use super::ports::Wanted;
use super::serve::{Ports, groups};
use super::topology::{Gateway, Topology};
use crate::name::{Name, NameRef};

/// The longest name of a Service (RFC 1035 label).
const LONGEST: usize = 63;

/// What is to be provided for a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPlan {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its `metadata.uid`.
    pub uid: Box<str>,
    /// Its class.
    pub class: Box<str>,
    /// The name of the Service, in the same namespace.
    pub service: Box<str>,
    /// Who keeps that.
    pub provider: Provider,
    /// What kind of Service its parameters ask for, if they do.
    pub service_type: Option<ServiceType>,
    /// `spec.infrastructure.labels`.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// `spec.infrastructure.annotations`.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// Whether nothing of it is served, and it has no ports. It keeps its Service.
    pub is_refused: bool,
    /// The addresses that it asks for.
    pub addresses: Box<[Box<str>]>,
    /// Its ports.
    pub ports: Box<[PlannedPort]>,
}

/// A port of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedPort {
    /// As clients know it.
    pub port: u16,
    /// TCP or UDP.
    pub layer: Layer,
    /// The port of ours.
    pub target: u16,
}

/// What is to be provided; the same list as before if it is the same.
pub(super) fn of(
    topology: &Topology,
    ports: &Ports,
    former: &Arc<[GatewayPlan]>,
) -> Arc<[GatewayPlan]> {
    let gateways = topology.gateways.iter();
    renewed(
        former,
        gateways.map(|gateway| plan(gateway, ports)).collect(),
    )
}

fn plan(gateway: &Gateway, ports: &Ports) -> GatewayPlan {
    let spec = &gateway.source.spec;
    let infrastructure = spec.infrastructure.as_deref();
    // What is refused keeps its Service, and with it its address, and has no ports.
    let groups = match gateway.refused {
        None => groups(gateway),
        Some(_) => Vec::new(),
    };
    let planned = groups.into_iter().filter_map(|(port, layer, _)| {
        let wanted = Wanted {
            gateway: gateway.name.clone(),
            port,
            layer,
        };
        let target = *ports.assigned.get(&wanted)?;
        Some(PlannedPort {
            port,
            layer,
            target,
        })
    });
    GatewayPlan {
        namespace: gateway.name.namespace.clone(),
        name: gateway.name.name.clone(),
        uid: gateway.source.metadata.uid.clone(),
        class: (*spec.gateway_class_name).into(),
        is_refused: gateway.refused.is_some(),
        service: service_name(&gateway.name.name, &spec.gateway_class_name).into(),
        provider: gateway.provider,
        service_type: gateway.service_type,
        labels: infrastructure
            .map(|one| one.labels.clone())
            .unwrap_or_default(),
        annotations: infrastructure
            .map(|one| one.annotations.clone())
            .unwrap_or_default(),
        addresses: spec
            .addresses
            .iter()
            .flatten()
            .filter(|address| !address.value.is_empty())
            .map(|address| address.value.clone())
            .collect(),
        ports: planned.collect(),
    }
}

/// `gateway-class`, shortened with a hash where that is too long for a Service.
pub(super) fn service_name(gateway: &str, class: &str) -> String {
    let whole = format!("{gateway}-{class}").replace('.', "-");
    if whole.len() <= LONGEST {
        return whole;
    }
    let hash = whole
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{}-{hash:016x}", &whole[..LONGEST - 17])
}

/// A name as the value of a label, shortened with a hash where it is too long.
pub fn label_value(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    // FNV-1a: the same in every release.
    let hash = name.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{}-{hash:08x}", &name[..LONGEST - 9])
}

/// Which ports of ours the Services of Gateways lead to, and which Services those are.
pub(super) fn recorded(
    topology: &Topology,
    wanted: &[Wanted],
    store: &Store,
) -> (HashMap<Wanted, u16>, HashSet<Name>) {
    let mut recorded = HashMap::new();
    let mut services = HashSet::new();
    let classes: HashMap<_, _> = topology
        .gateways
        .iter()
        .map(|gateway| (&gateway.name, &gateway.source.spec.gateway_class_name))
        .collect();
    for one in wanted {
        let Some(class) = classes.get(&one.gateway) else {
            continue;
        };
        let name = service_name(&one.gateway.name, class);
        let name = NameRef {
            namespace: &one.gateway.namespace,
            name: &name,
        };
        services.insert(name.to_owned());
        let Some(service) = store.service(name.namespace, name.name) else {
            continue;
        };
        let ports = service.spec.ports.iter().flatten();
        let mut ports = ports.filter(|port| {
            let layer = match port.protocol.as_deref() {
                Some("UDP") => Layer::Udp,
                _ => Layer::Tcp,
            };
            (port.port, layer) == (one.port, one.layer)
        });
        if let Some(IntOrString::Int(target)) =
            ports.next().and_then(|port| port.target_port.clone())
        {
            recorded.insert(one.clone(), target);
        }
    }
    (recorded, services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_fit_and_differ() {
        assert_eq!(service_name("web", "narthex"), "web-narthex");
        assert_eq!(service_name("a.b", "narthex"), "a-b-narthex");
        let long = "x".repeat(70);
        let (one, other) = (service_name(&long, "a"), service_name(&long, "b"));
        assert_eq!((one.len(), other.len()), (LONGEST, LONGEST));
        assert_ne!(one, other);
        assert_eq!(label_value(&long).len(), LONGEST);
    }
}
