//! The Service of a Gateway: what it is to be, and whether it is that.

use std::collections::BTreeMap;

use compile::{
    DATA_PLANE_LABEL, GATEWAY_LABEL, GatewayPlan, MANAGED_BY, PlannedPort, ServiceType, label_value,
};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::Layer;
use serde_json::{Value, json};

use crate::replicas::hash;

/// The label of what is made for a Gateway; its value is the name of the Gateway's class.
const CLASS_LABEL: &str = "gateway.networking.k8s.io/gateway-class-name";

/// The value of the label that says who made an object.
pub(super) const NARTHEX: &str = "narthex";

/// To whom a Service leads, as its label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// To the shared data plane.
    Shared,
    /// To one that is the Gateway's alone; the shared one serves it on.
    Taking,
    /// To one that is the Gateway's alone.
    Dedicated,
}

impl Leads {
    pub(super) fn of(metadata: &ObjectMeta) -> Self {
        match label(metadata, DATA_PLANE_LABEL) {
            None => Self::Shared,
            Some("taking") => Self::Taking,
            Some(_) => Self::Dedicated,
        }
    }

    fn value(self) -> Option<&'static str> {
        match self {
            Self::Shared => None,
            Self::Taking => Some("taking"),
            Self::Dedicated => Some("dedicated"),
        }
    }
}

/// The annotation of who made it for whose classes: of two Narthex in a cluster, each has its own.
pub(super) const CONTROLLER: &str = "narthex.dev/gateway-controller";

/// A hash of what was last applied: what is ours and no longer wanted is not seen otherwise.
const APPLIED: &str = "narthex.dev/applied";

/// Which Services are looked at: every Gateway's, or one's.
pub(super) fn selector(gateway: Option<&str>) -> String {
    match gateway {
        None => format!("{GATEWAY_LABEL},{MANAGED_BY}={NARTHEX}"),
        Some(name) => format!(
            "{GATEWAY_LABEL}={},{MANAGED_BY}={NARTHEX}",
            label_value(name)
        ),
    }
}

/// `80-tcp`
pub(super) fn port_name(port: &PlannedPort) -> String {
    format!("{}-{}", port.port, protocol(port.layer).to_lowercase())
}

pub(super) fn protocol(layer: Layer) -> &'static str {
    match layer {
        Layer::Tcp => "TCP",
        Layer::Udp => "UDP",
    }
}

/// What is to be applied.
pub(super) fn service(
    plan: &GatewayPlan,
    kind: ServiceType,
    leads: Leads,
    controller: &str,
) -> Value {
    let mut labels = labels(&plan.labels, &plan.name, &plan.class);
    // What others say of it means nothing.
    labels.remove(DATA_PLANE_LABEL);
    if let Some(value) = leads.value() {
        labels.insert(DATA_PLANE_LABEL.to_owned(), value.to_owned());
    }
    let mut annotations: BTreeMap<&str, &str> = texts(&plan.annotations).collect();
    annotations.insert(CONTROLLER, controller);
    let ports: Vec<_> = plan
        .ports
        .iter()
        .map(|port| {
            json!({
                "name": port_name(port),
                "protocol": protocol(port.layer),
                "port": port.port,
                "targetPort": port.target,
            })
        })
        .collect();
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": plan.namespace,
            "name": plan.service,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": owner(&plan.name, &plan.uid),
        },
        "spec": {"type": kind.name(), "ports": ports},
    });
    if let Some(address) = asked_address(plan, kind) {
        service["spec"]["loadBalancerIP"] = json!(address);
    }
    seal(service)
}

/// The labels of what is made for a Gateway, over those that it asks for.
pub(super) fn labels(
    asked: &BTreeMap<Box<str>, Box<str>>,
    gateway: &str,
    class: &str,
) -> BTreeMap<String, String> {
    let asked = texts(asked).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut labels: BTreeMap<String, String> = asked.collect();
    labels.insert(GATEWAY_LABEL.to_owned(), label_value(gateway));
    labels.insert(CLASS_LABEL.to_owned(), label_value(class));
    labels.insert(MANAGED_BY.to_owned(), NARTHEX.to_owned());
    labels
}

/// Not blockOwnerDeletion, which would need more rights.
pub(super) fn owner(gateway: &str, uid: &str) -> Value {
    json!([{
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": gateway,
        "uid": uid,
    }])
}

/// With a hash of all of it.
pub(super) fn seal(mut object: Value) -> Value {
    let applied = format!("{:08x}", hash(object.to_string().as_bytes()));
    object["metadata"]["annotations"][APPLIED] = json!(applied);
    object
}

/// The one address that a load balancer is asked for.
fn asked_address(plan: &GatewayPlan, kind: ServiceType) -> Option<&str> {
    match &*plan.addresses {
        [address] if kind == ServiceType::LoadBalancer => Some(address),
        _ => None,
    }
}

/// Whether a Service is as it is to be. What others wrote beside that is theirs.
pub(super) fn is_as(service: &Service, wanted: &Value) -> bool {
    let metadata = &wanted["metadata"];
    let (labels, annotations) = (&service.metadata.labels, &service.metadata.annotations);
    let is = serde_json::to_value(&service.spec).unwrap_or_default();
    let has = |is: &Value, wanted: &Value| {
        let wanted = wanted.as_object().into_iter().flatten();
        let mut wanted = wanted.filter(|(_, value)| !value.is_array());
        wanted.all(|(field, value)| is[field] == *value)
    };
    let has_port = |wanted: &Value| {
        let mut ports = is["ports"].as_array().into_iter().flatten();
        ports.any(|port| has(port, wanted))
    };
    let mut ports = wanted["spec"]["ports"].as_array().into_iter().flatten();
    let owner = &metadata["ownerReferences"][0]["uid"];
    let mut owners = service.metadata.owner_references.iter().flatten();
    contains(labels.as_ref(), &metadata["labels"])
        && contains(annotations.as_ref(), &metadata["annotations"])
        && has(&is, &wanted["spec"])
        && ports.all(has_port)
        && owners.any(|it| *owner == it.uid)
}

fn contains(is: Option<&BTreeMap<String, String>>, wanted: &Value) -> bool {
    let mut wanted = wanted.as_object().into_iter().flatten();
    wanted.all(|(name, value)| {
        let is = is.and_then(|is| is.get(name));
        is.map(String::as_str) == value.as_str()
    })
}

/// Whether an object was made for that Gateway, or for one of its name that is gone.
pub(super) fn is_ours(metadata: &ObjectMeta, gateway: &str, uid: &str) -> bool {
    let owner = metadata
        .owner_references
        .iter()
        .flatten()
        .find(|it| it.kind == "Gateway" && it.name == gateway);
    owner.is_some_and(|owner| owner.uid == uid || is_managed(metadata))
}

/// Whether it was made for a class of this controller.
pub(super) fn is_of(metadata: &ObjectMeta, controller: &str) -> bool {
    let annotations = metadata.annotations.as_ref();
    let made_for = annotations.and_then(|all| all.get(CONTROLLER));
    made_for.is_none_or(|made_for| made_for == controller)
}

pub(super) fn is_managed(metadata: &ObjectMeta) -> bool {
    label(metadata, MANAGED_BY) == Some(NARTHEX)
}

/// The name of the class for whose Gateway a Service was made, cut as a label's value.
pub(super) fn class_of(metadata: &ObjectMeta) -> Option<&str> {
    label(metadata, CLASS_LABEL)
}

pub(super) fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    Some(metadata.labels.as_ref()?.get(name)?.as_str())
}

pub(super) fn texts(all: &BTreeMap<Box<str>, Box<str>>) -> impl Iterator<Item = (&str, &str)> {
    all.iter().map(|(name, value)| (&**name, &**value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::plan;

    const CONTROLLED: &str = "narthex.dev/gateway";

    fn service(plan: &GatewayPlan, kind: ServiceType) -> Value {
        super::service(plan, kind, Leads::Shared, CONTROLLED)
    }

    fn made(wanted: &Value) -> Service {
        serde_json::from_value(wanted.clone()).expect("a Service")
    }

    #[test]
    fn a_gateways_service_has_its_ports_labels_and_owner() {
        let mut plan = plan("web", &[(80, 20001)]);
        plan.ports = plan
            .ports
            .iter()
            .cloned()
            .chain([PlannedPort {
                port: 80,
                layer: Layer::Udp,
                target: 20009,
            }])
            .collect();
        plan.labels = [("team".into(), "a".into()), (MANAGED_BY.into(), "x".into())].into();
        plan.annotations = [("note".into(), "b".into())].into();
        plan.addresses = ["10.0.0.7".into()].into();
        let service = service(&plan, ServiceType::LoadBalancer);
        let labels = &service["metadata"]["labels"];
        assert_eq!(labels["team"], "a");
        assert_eq!(labels[MANAGED_BY], NARTHEX);
        assert_eq!(labels[GATEWAY_LABEL], "web");
        assert_eq!(labels[CLASS_LABEL], "narthex");
        assert_eq!(service["metadata"]["annotations"]["note"], "b");
        assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], "uid-web");
        assert_eq!(service["spec"]["loadBalancerIP"], "10.0.0.7");
        assert_eq!(
            service["spec"]["ports"],
            json!([
                {"name": "80-tcp", "protocol": "TCP", "port": 80, "targetPort": 20001},
                {"name": "80-udp", "protocol": "UDP", "port": 80, "targetPort": 20009},
            ])
        );
        let of = |leads| super::service(&plan, ServiceType::ClusterIp, leads, CONTROLLED);
        for leads in [Leads::Shared, Leads::Taking, Leads::Dedicated] {
            assert_eq!(Leads::of(&made(&of(leads)).metadata), leads);
        }
        let inside = of(Leads::Dedicated);
        assert_eq!(inside["spec"]["type"], "ClusterIP");
        assert_eq!(inside["spec"]["loadBalancerIP"], Value::Null);
    }

    #[test]
    fn what_others_add_is_theirs_and_what_is_ours_is_kept() {
        let mut plan = plan("web", &[(80, 20001)]);
        plan.annotations = [("note".into(), "b".into())].into();
        let wanted = service(&plan, ServiceType::LoadBalancer);
        let mut is = made(&wanted);
        let labels = is.metadata.labels.get_or_insert_default();
        labels.insert("more".to_owned(), "theirs".to_owned());
        is.spec.get_or_insert_default().cluster_ip = Some("10.96.0.9".to_owned());
        assert!(is_as(&is, &wanted));
        let mut other = is.clone();
        let annotations = other.metadata.annotations.get_or_insert_default();
        annotations.insert("note".to_owned(), "c".to_owned());
        assert!(!is_as(&other, &wanted));
        plan.ports[0].target = 20002;
        assert!(!is_as(&is, &service(&plan, ServiceType::LoadBalancer)));
        plan.ports[0].target = 20001;
        plan.annotations.clear();
        assert!(!is_as(&is, &service(&plan, ServiceType::LoadBalancer)));
        assert!(!is_as(&is, &service(&plan, ServiceType::NodePort)));
    }

    #[test]
    fn a_service_is_ours_by_its_owner() {
        let plan = plan("web", &[(80, 20001)]);
        let is = made(&service(&plan, ServiceType::LoadBalancer));
        let is_webs = |it: &Service| is_ours(&it.metadata, "web", "uid-web");
        assert!(is_webs(&is));
        let mut bare = is.clone();
        bare.metadata.labels = None;
        assert!(is_webs(&bare));
        let mut anothers = is.clone();
        anothers.metadata.owner_references = None;
        assert!(!is_webs(&anothers));
        assert!(!is_ours(&is.metadata, "other", "uid-other"));
        assert!(is_of(&is.metadata, "narthex.dev/gateway"));
        assert!(!is_of(&is.metadata, "example.com/another"));
    }
}
