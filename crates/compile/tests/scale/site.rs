//! Objects as a cluster hands them out, in any number: for each route an Ingress, a Service and
//! an EndpointSlice with two endpoints.

use std::sync::Arc;

use model::Certificate;
use narthex_compile::Options;
use objects::Store;
use objects::kinds::Object;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

const CREATED: &str = "2026-03-01T10:11:12Z";

/// The class that all Ingresses are of.
pub(crate) fn class() -> Object {
    let text =
        r#"{"metadata": {"name": "narthex"}, "spec": {"controller": "narthex.dev/ingress"}}"#;
    Object::IngressClass(parse(text))
}

/// The Ingress of a route; `path` is what distinguishes two versions of it.
pub(crate) fn ingress(route: usize, path: &str) -> Object {
    let meta = metadata(
        "web",
        route,
        r#"{"kubectl.kubernetes.io/last-applied-configuration": "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"metadata\":{},\"spec\":{}}", "nginx.ingress.kubernetes.io/ssl-redirect": "false"}"#,
    );
    Object::Ingress(parse(&format!(
        r#"{{"metadata": {meta}, "spec": {{"ingressClassName": "narthex", "rules": [
            {{"host": "site-{route}.apps.example.com", "http": {{"paths": [
                {{"path": "{path}", "pathType": "Prefix", "backend":
                    {{"service": {{"name": "web-{route}", "port": {{"name": "http"}}}}}}}}]}}}}]}}}}"#
    )))
}

/// The Service of a route.
pub(crate) fn service(route: usize) -> Object {
    let meta = metadata("web", route, "{}");
    let (a, b) = (route / 250 % 250, route % 250);
    Object::Service(parse(&format!(
        r#"{{"metadata": {meta}, "spec": {{"type": "ClusterIP", "clusterIP": "10.96.{a}.{b}",
            "selector": {{"app.kubernetes.io/name": "web-{route}", "app.kubernetes.io/instance": "web"}},
            "ports": [{{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}}]}}}}"#
    )))
}

/// The EndpointSlice of a route; `pods` are the last bytes of its addresses.
pub(crate) fn slice(route: usize, pods: &[u8]) -> Object {
    let (a, b) = (route / 250, route % 250);
    let endpoints: Vec<String> = pods
        .iter()
        .map(|pod| {
            format!(
                r#"{{"addresses": ["10.{}.{b}.{pod}"],
                    "conditions": {{"ready": true, "serving": true, "terminating": false}},
                    "nodeName": "node-{}.eu-west-1.compute.internal", "zone": "eu-west-1a",
                    "targetRef": {{"kind": "Pod", "namespace": "team-{}", "name": "web-{route}-7d9c5b8f6c-x2k4{pod}"}}}}"#,
                100 + a,
                pod % 7,
                route % 40,
            )
        })
        .collect();
    let name = format!("web-{route}-x7k2p");
    let uid = uid("EndpointSlice", route);
    Object::EndpointSlice(parse(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "team-{}", "uid": "{uid}", "generation": 7,
            "creationTimestamp": "{CREATED}",
            "annotations": {{"endpoints.kubernetes.io/last-change-trigger-time": "{CREATED}"}},
            "labels": {{"app.kubernetes.io/name": "web-{route}", "app.kubernetes.io/instance": "web",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": "web-{route}"}}}},
            "addressType": "IPv4", "endpoints": [{}],
            "ports": [{{"name": "http", "port": 8080, "protocol": "TCP"}}]}}"#,
        route % 40,
        endpoints.join(", "),
    )))
}

/// So many routes.
pub(crate) fn fill(store: &mut Store, routes: std::ops::Range<usize>) {
    for route in routes {
        store.apply(ingress(route, "/"));
        store.apply(service(route));
        store.apply(slice(route, &[1, 2]));
    }
}

/// As on the command line without flags.
pub(crate) fn options() -> Options {
    let made = rcgen::generate_simple_self_signed(vec!["fallback.example".to_owned()]);
    let made = made.expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let key = any_supported_type(&key).expect("a key");
    Options::new(Arc::new(Certificate {
        key: Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], key)),
        source: "fallback".into(),
        not_after: i64::MAX,
        staple: model::Staple::default(),
    }))
}

fn metadata(name: &str, route: usize, annotations: &str) -> String {
    format!(
        r#"{{"name": "{name}-{route}", "namespace": "team-{}", "uid": "{}", "generation": 3,
            "creationTimestamp": "{CREATED}", "annotations": {annotations},
            "labels": {{"app.kubernetes.io/name": "{name}-{route}", "app.kubernetes.io/instance": "{name}",
                "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "{name}-1.2.3"}}}}"#,
        route % 40,
        uid(name, route),
    )
}

fn uid(kind: &str, route: usize) -> String {
    format!("{:08x}-1b2c-4d5e-8f90-{route:012x}", kind.len())
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Arc<T> {
    Arc::new(serde_json::from_str(text).expect("an object"))
}
