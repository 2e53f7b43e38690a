//! A data plane that a Gateway has for itself: what it is to be, and whether it is that.
//!
//! All of it is named as the Gateway's Service, in the Gateway's namespace, and goes with the
//! Gateway; but for the ClusterRoleBinding, which nothing in a namespace can own.

use compile::{DedicatedPlan, GATEWAY_LABEL, MANAGED_BY, Quantity, label_value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::provision::Owner;
use super::provision_service::{CONTROLLER, NARTHEX, is_managed, label, labels, owner, seal};
use super::provisioner::Kind;

/// The label of the part that something is …
const COMPONENT: &str = "app.kubernetes.io/component";
/// … and its value.
const DATA_PLANE: &str = "gateway";

/// The label of what is the cluster's that says in which namespace its Gateway is.
const NAMESPACE: &str = "narthex.dev/gateway-namespace";

/// The annotation that says the Gateway's whole name.
const GATEWAY: &str = "narthex.dev/gateway";

/// The user and group of the process, as in the chart.
const USER: u32 = 65532;

/// Where health and metrics are, as in the chart.
const METRICS: u16 = 10254;

/// How data planes that are one Gateway's are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlanes {
    /// The image of Narthex (`--gateway-image`).
    pub image: String,
    /// The ClusterRole of what they read everywhere, and write into statuses
    /// (`--gateway-cluster-role`).
    pub cluster_role: String,
    /// The ClusterRole of what they may do in their Gateway's namespace
    /// (`--gateway-namespace-role`).
    pub namespace_role: String,
    /// Flags beside those that every one of them has (`--gateway-arg`).
    pub arguments: Vec<String>,
}

/// Which objects are looked at.
pub(super) fn selector() -> String {
    format!("{GATEWAY_LABEL},{COMPONENT}={DATA_PLANE},{MANAGED_BY}={NARTHEX}")
}

/// The name of one of its objects.
pub(super) fn key(plan: &DedicatedPlan, kind: Kind) -> Owner {
    match kind {
        // A colon is in no other name.
        Kind::ClusterRoleBinding => {
            let name = format!("narthex:{}:{}", plan.namespace, plan.name);
            Owner::new("", &name)
        }
        _ => Owner::new(&plan.namespace, &plan.name),
    }
}

/// Whether one replica can go at a time only.
pub(super) fn has_budget(plan: &DedicatedPlan) -> bool {
    plan.replicas > 1
}

/// Whether a ClusterRoleBinding was made for that Gateway.
pub(super) fn is_for(metadata: &ObjectMeta, gateway: &Owner) -> bool {
    let name = label_value(&gateway.name);
    is_managed(metadata)
        && gateway_of(metadata)
            .is_some_and(|it| (&*it.namespace, &*it.name) == (&*gateway.namespace, name.as_str()))
}

/// The namespace of the Gateway that an object was made for, and its name as the value of a label.
pub(super) fn gateway_of(metadata: &ObjectMeta) -> Option<Owner> {
    let namespace = match &metadata.namespace {
        Some(namespace) => namespace,
        None => label(metadata, NAMESPACE)?,
    };
    Some(Owner::new(namespace, label(metadata, GATEWAY_LABEL)?))
}

/// The whole name of that Gateway.
pub(super) fn name_of(metadata: &ObjectMeta) -> Option<&str> {
    Some(metadata.annotations.as_ref()?.get(GATEWAY)?.as_str())
}

/// What is to be applied.
pub(super) fn objects(
    plan: &DedicatedPlan,
    with: &DataPlanes,
    controller: &str,
) -> Vec<(Kind, Value)> {
    let kinds = Kind::OF_DATA_PLANE.into_iter();
    let kinds = kinds.filter(|kind| *kind != Kind::Budget || has_budget(plan));
    let objects = kinds.map(|kind| {
        let mut object = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.name(),
            "metadata": metadata(plan, kind, controller),
        });
        let body = match kind {
            // The pod asks for its token itself.
            Kind::ServiceAccount => json!({"automountServiceAccountToken": false}),
            Kind::RoleBinding => binding(plan, &with.namespace_role),
            Kind::ClusterRoleBinding => binding(plan, &with.cluster_role),
            Kind::Deployment => json!({"spec": deployment(plan, with, controller)}),
            Kind::Budget => json!({"spec": {"maxUnavailable": 1, "selector": selects(plan)}}),
            Kind::Service | Kind::Slice => json!({}),
        };
        if let (Some(object), Value::Object(body)) = (object.as_object_mut(), body) {
            object.extend(body);
        }
        (kind, seal(object))
    });
    objects.collect()
}

fn metadata(plan: &DedicatedPlan, kind: Kind, controller: &str) -> Value {
    let key = key(plan, kind);
    let mut labels = own_labels(plan);
    if kind == Kind::ClusterRoleBinding {
        labels.insert(NAMESPACE.to_owned(), plan.namespace.to_string());
    }
    let mut metadata = json!({
        "name": key.name,
        "labels": labels,
        "annotations": annotations(plan, controller),
    });
    if kind != Kind::ClusterRoleBinding {
        metadata["namespace"] = json!(key.namespace);
        metadata["ownerReferences"] = owner(&plan.gateway, &plan.uid);
    }
    metadata
}

fn own_labels(plan: &DedicatedPlan) -> std::collections::BTreeMap<String, String> {
    let mut labels = labels(&plan.labels, &plan.gateway, &plan.class);
    let own = [
        // What kubectl narthex finds pods by.
        ("app.kubernetes.io/name", NARTHEX),
        ("app.kubernetes.io/instance", &plan.name),
        (COMPONENT, DATA_PLANE),
        ("app.kubernetes.io/part-of", NARTHEX),
    ];
    labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    labels
}

fn annotations(plan: &DedicatedPlan, controller: &str) -> Value {
    let mut all: serde_json::Map<String, Value> = plan
        .annotations
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value)))
        .collect();
    all.insert(GATEWAY.to_owned(), json!(plan.gateway));
    all.insert(CONTROLLER.to_owned(), json!(controller));
    all.into()
}

fn selects(plan: &DedicatedPlan) -> Value {
    json!({"matchLabels": {
        (GATEWAY_LABEL): label_value(&plan.gateway),
        "app.kubernetes.io/instance": plan.name,
        (COMPONENT): DATA_PLANE,
    }})
}

fn binding(plan: &DedicatedPlan, role: &str) -> Value {
    json!({
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": role,
        },
        "subjects": [{
            "kind": "ServiceAccount",
            "namespace": plan.namespace,
            "name": plan.name,
        }],
    })
}

fn deployment(plan: &DedicatedPlan, with: &DataPlanes, controller: &str) -> Value {
    json!({
        "replicas": plan.replicas,
        "selector": selects(plan),
        // No replica goes before its successor is ready.
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "template": {
            "metadata": {
                "labels": own_labels(plan),
                "annotations": annotations(plan, controller),
            },
            "spec": {
                "serviceAccountName": plan.name,
                "automountServiceAccountToken": true,
                // More than the two times in the arguments together.
                "terminationGracePeriodSeconds": 300,
                "enableServiceLinks": false,
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container(plan, with)],
                "volumes": [{
                    "name": "state",
                    "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"},
                }],
            },
        },
    })
}

fn container(plan: &DedicatedPlan, with: &DataPlanes) -> Value {
    let mut arguments = vec![
        "serve".to_owned(),
        format!("--gateway={}/{}", plan.namespace, plan.gateway),
        format!("--gateway-uid={}", plan.uid),
        format!("--election-id={}", plan.name),
        format!("--health-address=:{METRICS}"),
        "--state-dir=/var/lib/narthex".to_owned(),
        "--shutdown-grace-period=10s".to_owned(),
        "--shutdown-timeout=240s".to_owned(),
    ];
    arguments.extend(with.arguments.iter().cloned());
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let probe = |path: &str, period: u32, timeout: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "metrics"},
            "periodSeconds": period,
            "timeoutSeconds": timeout,
            "failureThreshold": failures,
        })
    };
    let mut resources = json!({"requests": {
        "cpu": plan.cpu_request.as_str(),
        "memory": plan.memory_request.as_str(),
    }});
    if let Some(limit) = &plan.memory_limit {
        resources["limits"] = json!({"memory": limit.as_str()});
    }
    json!({
        "name": DATA_PLANE,
        "image": with.image,
        "args": arguments,
        "env": [
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("NARTHEX_NODE_NAME", "spec.nodeName"),
        ],
        "ports": [{"name": "metrics", "containerPort": METRICS, "protocol": "TCP"}],
        "livenessProbe": probe("/healthz", 10, 5, 5),
        "readinessProbe": probe("/readyz", 2, 2, 2),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": resources,
        "volumeMounts": [{"name": "state", "mountPath": "/var/lib/narthex"}],
    })
}

/// Whether an object is as it is to be. What others added to it is theirs.
pub(super) fn is_as(object: &DynamicObject, wanted: &Value) -> bool {
    let is = serde_json::to_value(object).unwrap_or_default();
    let of = |field: &str| has(&is[field], &wanted[field]);
    let wanted = wanted.as_object().into_iter().flatten();
    let fields = wanted.map(|(field, _)| field.as_str());
    let mut fields = fields.filter(|field| !matches!(*field, "apiVersion" | "kind"));
    fields.all(of)
}

fn has(is: &Value, wanted: &Value) -> bool {
    match (is, wanted) {
        (_, Value::Object(wanted)) => wanted.iter().all(|(field, it)| has(&is[field], it)),
        (Value::Array(is), Value::Array(wanted)) => {
            is.len() == wanted.len() && is.iter().zip(wanted).all(|(is, it)| has(is, it))
        }
        // The API server writes amounts in its own way.
        (Value::String(is), Value::String(wanted)) => {
            let amounts = || Quantity::parse(is).zip(Quantity::parse(wanted));
            is == wanted || amounts().is_some_and(|(is, wanted)| is == wanted)
        }
        _ => is == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> DedicatedPlan {
        let amount = |text| Quantity::parse(text).expect("a quantity");
        DedicatedPlan {
            namespace: "shop".into(),
            gateway: "web".into(),
            uid: "uid-web".into(),
            class: "narthex".into(),
            name: "web-narthex".into(),
            labels: [("team".into(), "a".into()), (COMPONENT.into(), "x".into())].into(),
            annotations: [("note".into(), "b".into())].into(),
            replicas: 2,
            cpu_request: amount("0.5"),
            memory_request: amount("1024Mi"),
            memory_limit: None,
        }
    }

    fn with() -> DataPlanes {
        DataPlanes {
            image: "narthex:1".to_owned(),
            cluster_role: "narthex-gateway".to_owned(),
            namespace_role: "narthex-gateway-namespace".to_owned(),
            arguments: vec!["--read-timeout=5s".to_owned()],
        }
    }

    fn made(plan: &DedicatedPlan) -> Vec<(Kind, Value)> {
        objects(plan, &with(), "narthex.dev/gateway")
    }

    fn one(plan: &DedicatedPlan, kind: Kind) -> Value {
        let found = made(plan).into_iter().find(|(it, _)| *it == kind);
        found.expect("it is made").1
    }

    fn object(wanted: &Value) -> DynamicObject {
        serde_json::from_value(wanted.clone()).expect("an object")
    }

    #[test]
    fn all_of_it_has_the_gateways_name_labels_and_owner() {
        let all = made(&plan());
        assert_eq!(all.len(), 5);
        for (kind, object) in all {
            let metadata = &object["metadata"];
            assert_eq!(metadata["labels"]["team"], "a", "{kind:?}");
            assert_eq!(metadata["labels"][COMPONENT], DATA_PLANE);
            assert_eq!(metadata["labels"][GATEWAY_LABEL], "web");
            assert_eq!(metadata["annotations"]["note"], "b");
            let is_cluster = kind == Kind::ClusterRoleBinding;
            let name = if is_cluster {
                "narthex:shop:web-narthex"
            } else {
                "web-narthex"
            };
            assert_eq!(metadata["name"], name);
            let owner = &metadata["ownerReferences"][0]["uid"];
            assert_eq!(owner.as_str(), (!is_cluster).then_some("uid-web"));
            let metadata = self::object(&object).metadata;
            assert_eq!(gateway_of(&metadata), Some(Owner::new("shop", "web")));
            assert_eq!(name_of(&metadata), Some("web"));
        }
    }

    #[test]
    fn its_rights_are_two_roles_that_somebody_else_made() {
        for (kind, role) in [
            (Kind::RoleBinding, "narthex-gateway-namespace"),
            (Kind::ClusterRoleBinding, "narthex-gateway"),
        ] {
            let binding = one(&plan(), kind);
            assert_eq!(binding["roleRef"]["kind"], "ClusterRole");
            assert_eq!(binding["roleRef"]["name"], role);
            assert_eq!(binding["subjects"][0]["name"], "web-narthex");
            assert_eq!(binding["subjects"][0]["namespace"], "shop");
        }
    }

    #[test]
    fn its_pods_serve_that_gateway_alone_and_may_do_nothing_else() {
        let mut plan = plan();
        plan.memory_limit = Quantity::parse("2Gi");
        let spec = one(&plan, Kind::Deployment)["spec"].take();
        assert_eq!(spec["replicas"], 2);
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let profile = &pod["securityContext"]["seccompProfile"]["type"];
        assert_eq!(profile, "RuntimeDefault");
        let container = &pod["containers"][0];
        let security = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], security);
        let arguments = container["args"].as_array().expect("a list");
        for argument in [
            "--gateway=shop/web",
            "--gateway-uid=uid-web",
            "--read-timeout=5s",
        ] {
            assert!(arguments.contains(&json!(argument)), "{argument}");
        }
        let resources = json!({
            "requests": {"cpu": "0.5", "memory": "1024Mi"},
            "limits": {"memory": "2Gi"},
        });
        assert_eq!(container["resources"], resources);
        let labels = &spec["template"]["metadata"]["labels"];
        assert!(has(labels, &spec["selector"]["matchLabels"]));
    }

    #[test]
    fn a_budget_is_for_more_than_one_replica() {
        let mut plan = plan();
        assert_eq!(one(&plan, Kind::Budget)["spec"]["maxUnavailable"], 1);
        plan.replicas = 1;
        assert!(made(&plan).iter().all(|(kind, _)| *kind != Kind::Budget));
    }

    #[test]
    fn what_others_add_is_theirs_and_what_is_ours_is_kept() {
        let wanted = one(&plan(), Kind::Deployment);
        let mut is = wanted.clone();
        is["metadata"]["labels"]["more"] = json!("theirs");
        is["spec"]["revisionHistoryLimit"] = json!(10);
        let container = |is: &mut Value| is["spec"]["template"]["spec"]["containers"][0].take();
        let mut changed = container(&mut is);
        changed["resources"]["requests"] = json!({"cpu": "500m", "memory": "1Gi"});
        changed["imagePullPolicy"] = json!("IfNotPresent");
        is["spec"]["template"]["spec"]["containers"][0] = changed.clone();
        assert!(is_as(&object(&is), &wanted));
        changed["image"] = json!("another");
        is["spec"]["template"]["spec"]["containers"][0] = changed;
        assert!(!is_as(&object(&is), &wanted));
        let mut plan = plan();
        plan.annotations.clear();
        assert!(!is_as(&object(&wanted), &one(&plan, Kind::Deployment)));
    }

    #[test]
    fn a_binding_of_the_name_is_its_own_by_its_labels() {
        let gateway = Owner::new("shop", "web");
        let mut binding = object(&one(&plan(), Kind::ClusterRoleBinding));
        assert!(is_for(&binding.metadata, &gateway));
        assert!(!is_for(&binding.metadata, &Owner::new("other", "web")));
        binding.metadata.labels = None;
        assert!(!is_for(&binding.metadata, &gateway));
    }
}
