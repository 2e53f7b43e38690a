//! What is in the cluster: for each route an Ingress, a Service and an EndpointSlice with two
//! endpoints, with what a cluster's controllers write into them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Error;
use crate::api::{Api, NAMESPACE};
use crate::backend;

/// How many requests are under way at a time.
const AT_ONCE: usize = 24;

/// Where the objects of a kind are.
pub(crate) fn collection(kind: &str) -> String {
    let (group, plural) = match kind {
        "Ingress" => ("/apis/networking.k8s.io/v1", "ingresses"),
        "EndpointSlice" => ("/apis/discovery.k8s.io/v1", "endpointslices"),
        _ => ("/api/v1", "services"),
    };
    format!("{group}/namespaces/{NAMESPACE}/{plural}")
}

/// The host of a route.
pub(crate) fn host(route: &str) -> String {
    format!("{route}.apps.example.com")
}

/// The endpoints of a route: two of three addresses, by `turn` other ones.
pub(crate) fn endpoints(route: usize, turn: usize) -> Value {
    let endpoint = |pod: usize| {
        let (a, b) = (route / 80 % 500, route % 80 * 3 + pod);
        let (high, low) = (230 + a / 250, a % 250);
        json!({
            "addresses": [format!("10.{high}.{low}.{}", b + 1)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-1",
            "zone": "eu-west-1a",
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE,
                          "name": format!("web-{route}-7d9c5b8f6c-x2k4{pod}")},
        })
    };
    json!([endpoint(0), endpoint(1 + turn % 2)])
}

/// The Ingress of a route.
pub(crate) fn ingress(name: &str, service: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(name, json!({"nginx.ingress.kubernetes.io/ssl-redirect": "false"})),
        "spec": {
            "ingressClassName": "narthex",
            "rules": [{"host": host(name), "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": service, "port": {"name": "http"}}},
            }]}}],
        },
    })
}

/// The Service of a route. Without a selector, so that its endpoints are ours to say.
fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, json!({})),
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": backend::PORT}]},
    })
}

fn slice(route: usize, service: &str) -> Value {
    let mut metadata = metadata(
        &format!("{service}-x7k2p"),
        json!({
            "endpoints.kubernetes.io/last-change-trigger-time": "2026-03-01T10:11:12Z",
        }),
    );
    metadata["labels"]["kubernetes.io/service-name"] = service.into();
    metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = "bench.narthex.dev".into();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": endpoints(route, 0),
        "ports": [{"name": "http", "port": backend::PORT, "protocol": "TCP"}],
    })
}

/// The name of a route's Service, and of its Ingress where it has one from the beginning.
pub(crate) fn name(route: usize) -> String {
    format!("web-{route}")
}

/// Creates the class, the routes, and for the routes of the probes, which have no Ingress yet, all
/// the rest.
pub(crate) async fn fill(api: &Api, routes: usize, probes: usize) -> Result<Duration, Error> {
    let begun = Instant::now();
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "narthex"},
        "spec": {"controller": "narthex.dev/ingress"},
    });
    api.create("/apis/networking.k8s.io/v1/ingressclasses", &class)
        .await?;
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    api.create("/api/v1/namespaces", &namespace).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let all = routes + 2 * probes;
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (api, next) = (api.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let route = next.fetch_add(1, Ordering::Relaxed);
                    if route >= all {
                        return Ok::<_, Error>(());
                    }
                    let name = name(route);
                    api.create(&collection("Service"), &service(&name)).await?;
                    api.create(&collection("EndpointSlice"), &slice(route, &name))
                        .await?;
                    if route < routes {
                        api.create(&collection("Ingress"), &ingress(&name, &name))
                            .await?;
                    }
                    if route % 5_000 == 4_999 {
                        println!("  {} routes", route + 1);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    Ok(begun.elapsed())
}

fn metadata(name: &str, annotations: Value) -> Value {
    json!({
        "name": name,
        "annotations": annotations,
        "labels": {
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/instance": "web",
            "app.kubernetes.io/managed-by": "Helm",
            "helm.sh/chart": "web-1.2.3",
        },
    })
}
