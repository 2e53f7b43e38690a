//! What the store does not keep of an object, because nothing reads it.
//!
//! The one place that decides it. It happens after validation, which wants to see everything.

use std::sync::Arc;

use super::{
    ConfigMap, EndpointSlice, Endpoints, Gateway, Ingress, IngressClass, Namespace, Object,
    ObjectMeta, Secret, Service, Shared,
};
use crate::SERVICE_NAME_LABEL;

/// Annotations that tools write for themselves. All others stay: what begins with our own prefix,
/// with ingress-nginx's (which a flag may change) or with cert-manager's is read, and what is
/// misspelt is told of.
const TOOLS: [&str; 9] = [
    "argocd.argoproj.io/",
    "control-plane.alpha.kubernetes.io/",
    "deployment.kubernetes.io/",
    "endpoints.kubernetes.io/",
    "field.cattle.io/",
    "helm.sh/",
    "kubectl.kubernetes.io/",
    "meta.helm.sh/",
    "objectset.rio.cattle.io/",
];

/// The label of what is made for a Gateway (GEP-1762).
const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// The labels of a Gateway's Service that say whose it is and where it leads.
const OF_GATEWAYS: [&str; 3] = [
    GATEWAY_LABEL,
    "app.kubernetes.io/managed-by",
    "narthex.dev/data-plane",
];

impl Object {
    /// Drops what nothing reads. Does nothing if somebody else holds the object.
    pub fn trim(&mut self) {
        fn own<T>(object: &mut Arc<T>, trim: impl FnOnce(&mut T)) {
            if let Some(object) = Arc::get_mut(object) {
                trim(object);
            }
        }

        match self {
            Self::ConfigMap(object) => own(object, |ConfigMap { metadata, .. }| usual(metadata)),
            Self::Endpoints(object) => own(object, endpoints),
            Self::EndpointSlice(object) => own(object, slice),
            Self::Ingress(object) => own(object, ingress),
            Self::IngressClass(object) => {
                own(object, |IngressClass { metadata, .. }| usual(metadata));
            }
            // Selectors of namespaces may name any label.
            Self::Namespace(object) => own(object, |Namespace { metadata }| annotations(metadata)),
            Self::Secret(object) => own(object, |Secret { metadata, .. }| usual(metadata)),
            Self::Service(object) => own(object, service),
            // What is made for a Gateway names it as its owner.
            Self::Gateway(object) => own(object, |Gateway { metadata, .. }| standing(metadata)),
            Self::BackendTlsPolicy(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::Certificate(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::ClusterIssuer(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::Issuer(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::GatewayClass(object) => own(object, |it| by_name(&mut it.metadata)),
            // Sessions are kept by the uid.
            Self::GrpcRoute(object) => own(object, |it| {
                let mut rules = it.spec.rules.iter().flatten();
                match rules.any(|rule| rule.session_persistence.is_some()) {
                    true => standing(&mut it.metadata),
                    false => by_name(&mut it.metadata),
                }
            }),
            Self::HttpRoute(object) => own(object, |it| {
                let mut rules = it.spec.rules.iter().flatten();
                match rules.any(|rule| rule.session_persistence.is_some()) {
                    true => standing(&mut it.metadata),
                    false => by_name(&mut it.metadata),
                }
            }),
            Self::ListenerSet(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::ReferenceGrant(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::TcpRoute(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::TlsRoute(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::UdpRoute(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::XBackend(object) => own(object, |it| by_name(&mut it.metadata)),
            Self::XBackendTrafficPolicy(object) => own(object, |it| standing(&mut it.metadata)),
        }
    }
}

fn annotations(metadata: &mut ObjectMeta) {
    metadata.generation = 0;
    tools(metadata);
}

/// What tools write for themselves goes.
fn tools(metadata: &mut ObjectMeta) {
    metadata
        .annotations
        .retain(|name| !TOOLS.iter().any(|tool| name.starts_with(tool)));
}

fn usual(metadata: &mut ObjectMeta) {
    annotations(metadata);
    metadata.labels.retain(|_| false);
}

/// Of an object whose status says which generation it is of.
fn standing(metadata: &mut ObjectMeta) {
    tools(metadata);
    metadata.labels.retain(|_| false);
}

/// The same, of one that is told by its name alone.
fn by_name(metadata: &mut ObjectMeta) {
    standing(metadata);
    metadata.uid = Box::default();
}

/// Of what controllers make, only the name, and the Service's.
fn brief(metadata: &mut ObjectMeta) {
    annotations(metadata);
    metadata.labels.retain(|name| name == SERVICE_NAME_LABEL);
    metadata.uid = Box::default();
    metadata.creation_timestamp = None;
}

fn ingress(object: &mut Ingress) {
    usual(&mut object.metadata);
    let annotations = &object.metadata.annotations;
    if !annotations
        .iter()
        .any(|(name, _)| name.ends_with("/affinity"))
    {
        // What cookies are made with.
        object.metadata.uid = Box::default();
    }
}

fn service(object: &mut Service) {
    annotations(&mut object.metadata);
    let labels = &mut object.metadata.labels;
    let is_of_gateway = labels.contains_key(GATEWAY_LABEL);
    labels.retain(|name| is_of_gateway && OF_GATEWAYS.contains(&name));
    object.metadata.creation_timestamp = None;
    if object.metadata.annotations.is_empty() {
        // What cookies are made with, where an annotation asks for cookies.
        object.metadata.uid = Box::default();
    }
    object.spec.selector = None;
    for port in each(&mut object.spec.ports) {
        tcp_is_understood(&mut port.protocol);
    }
    object.spec.type_.take_if(|kind| &**kind == "ClusterIP");
}

fn slice(object: &mut EndpointSlice) {
    brief(&mut object.metadata);
    for endpoint in each(&mut object.endpoints) {
        endpoint.target_ref = None;
    }
    for port in each(&mut object.ports) {
        tcp_is_understood(&mut port.protocol);
    }
}

fn endpoints(object: &mut Endpoints) {
    brief(&mut object.metadata);
    for subset in each(&mut object.subsets) {
        for addresses in [&mut subset.addresses, &mut subset.not_ready_addresses] {
            for address in each(addresses) {
                address.target_ref = None;
            }
        }
        for port in each(&mut subset.ports) {
            tcp_is_understood(&mut port.protocol);
        }
    }
}

fn tcp_is_understood(protocol: &mut Option<Shared>) {
    protocol.take_if(|protocol| *protocol == "TCP");
}

fn each<T>(list: &mut Option<Box<[T]>>) -> &mut [T] {
    list.as_deref_mut().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_stays_and_the_rest_goes() {
        let read = |value: serde_json::Value| -> ObjectMeta {
            let mut object = Object::Ingress(Arc::new(
                serde_json::from_value(json!({"metadata": value})).expect("an Ingress"),
            ));
            object.trim();
            object.metadata().clone()
        };
        let metadata = read(json!({
            "name": "web", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "web"},
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
                "kubernetes.io/ingress.class": "narthex",
                "nginx.ingress.kubernetes.io/ssl-redirect": "true",
                "ingress.example.com/ssl-redirect": "true",
                "cert-manager.io/issuer": "ca",
                "narthex.dev/colour": "red"
            }
        }));
        assert!(metadata.labels.is_empty());
        let kept: Vec<_> = metadata.annotations.keys().collect();
        assert_eq!(
            kept,
            [
                "cert-manager.io/issuer",
                "ingress.example.com/ssl-redirect",
                "kubernetes.io/ingress.class",
                "narthex.dev/colour",
                "nginx.ingress.kubernetes.io/ssl-redirect",
            ]
        );
        assert_eq!(&*metadata.uid, "");
        assert!(metadata.creation_timestamp.is_some());
    }

    #[test]
    fn a_gateways_service_keeps_the_labels_that_say_where_it_leads() {
        let labels = |labels: serde_json::Value| -> Vec<String> {
            let service = json!({"metadata": {"name": "web", "labels": labels}});
            let mut object = Object::Service(Arc::new(
                serde_json::from_value(service).expect("a Service"),
            ));
            object.trim();
            object.metadata().labels.keys().map(str::to_owned).collect()
        };
        let managed = "app.kubernetes.io/managed-by";
        assert_eq!(labels(json!({(managed): "Helm", "app": "x"})), [""; 0]);
        let own = labels(json!({
            (GATEWAY_LABEL): "web", (managed): "narthex", "narthex.dev/data-plane": "dedicated",
            "app": "x",
        }));
        assert_eq!(own, [managed, GATEWAY_LABEL, "narthex.dev/data-plane"]);
    }

    #[test]
    fn a_slice_keeps_the_name_of_its_service_and_where_its_endpoints_are() {
        let slice = json!({
            "metadata": {"name": "web-1", "uid": "1", "labels": {SERVICE_NAME_LABEL: "web", "app": "x"}},
            "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n", "zone": "z", "targetRef": {"name": "p"}}],
            "ports": [{"port": 80, "protocol": "TCP"}]
        });
        let mut object = Object::EndpointSlice(Arc::new(
            serde_json::from_value(slice).expect("an EndpointSlice"),
        ));
        object.trim();
        let expected = json!({
            "metadata": {"name": "web-1", "labels": {SERVICE_NAME_LABEL: "web"}},
            "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n", "zone": "z"}],
            "ports": [{"port": 80}]
        });
        let expected: EndpointSlice = serde_json::from_value(expected).expect("an EndpointSlice");
        assert_eq!(object, Object::EndpointSlice(Arc::new(expected)));
    }
}
