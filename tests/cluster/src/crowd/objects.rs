//! What is in the cluster.

use serde_json::{Value, json};

use super::{GATEWAY, NAMESPACE};

/// Where HTTPRoutes are.
pub(super) const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/crowd/httproutes";

pub(super) fn host(route: &str) -> String {
    format!("{route}.example.com")
}

pub(super) fn route(name: &str, service: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": GATEWAY}],
            "hostnames": [host(name)],
            "rules": [{"backendRefs": [{"name": service, "port": 80}]}],
        },
    })
}

pub(super) fn team(number: usize) -> String {
    format!("team-{number}")
}

pub(super) fn of_team(number: usize, plural: &str) -> String {
    format!(
        "/apis/gateway.networking.k8s.io/v1/namespaces/{}/{plural}",
        team(number)
    )
}

/// What the hosts of a set's routes end with.
pub(super) fn suffix(ns: usize, set: usize) -> String {
    format!("set-{set}.{}.example.com", team(ns))
}

pub(super) fn listener_set(ns: usize, set: usize) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "ListenerSet",
        "metadata": {"name": format!("set-{set}"), "namespace": team(ns)},
        "spec": {
            "parentRef": {"name": GATEWAY, "namespace": NAMESPACE},
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP",
                "hostname": format!("*.{}", suffix(ns, set))}],
        },
    })
}

/// It answers by itself with a redirect: forty thousand backends are another case.
pub(super) fn route_of_set(ns: usize, set: usize, number: usize) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": format!("route-{set}-{number}"), "namespace": team(ns)},
        "spec": {
            "parentRefs": [{"kind": "ListenerSet", "group": "gateway.networking.k8s.io", "name": format!("set-{set}")}],
            "hostnames": [format!("{number}.{}", suffix(ns, set))],
            "rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 302, "hostname": "moved.example.com"}}]}],
        },
    })
}
