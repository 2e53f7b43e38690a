//! A cluster's objects are served as they are, and whatever its API server does.

use std::time::Duration;

use cluster_tests::{Cluster, Inside, wait};
use serde_json::Value;

const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: narthex}
spec: {controller: narthex.dev/ingress}
";

fn ingress(namespace: &str, name: &str, host: &str, service: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ingressClassName: narthex
  rules:
  - host: {host}
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}
"
    )
}

/// A ServiceAccount's kubeconfig, and that it may do what `rules` say.
fn account(cluster: &Cluster, namespace: &str, kind: &str, rules: &str) -> std::path::PathBuf {
    let (role, scope) = match kind {
        "ClusterRole" => ("ClusterRole", String::new()),
        _ => ("Role", format!(", namespace: {namespace}")),
    };
    cluster.apply(&format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: reader, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {role}
metadata: {{name: reader-{namespace}{scope}}}
rules: {rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {role}Binding
metadata: {{name: reader-{namespace}{scope}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {role}, name: reader-{namespace}}}
subjects: [{{kind: ServiceAccount, name: reader, namespace: {namespace}}}]
"
    ));
    let token = cluster.kubectl(&["-n", namespace, "create", "token", "reader"]);
    let inside = std::fs::read_to_string(cluster.kubeconfig_inside()).expect("written at start");
    let path = cluster.folder().join(format!("reader-{namespace}"));
    std::fs::write(&path, &inside).expect("writes");
    let set = |arguments: &[&str]| {
        let mut command = cluster.kubectl_command(arguments);
        let done = command.env("KUBECONFIG", &path).status();
        assert!(done.expect("kubectl starts").success(), "{arguments:?}");
    };
    set(&["config", "set-credentials", "reader", "--token", token.trim()]);
    set(&["config", "set-context", "--current", "--user", "reader"]);
    path
}

fn status(narthex: &Inside<'_>) -> Value {
    let response = narthex.admin("/api/status").expect("answers");
    serde_json::from_slice(&response.body).expect("JSON")
}

fn source(narthex: &Inside<'_>, kind: &str) -> Value {
    let status = status(narthex);
    let sources = status["sources"].as_array().cloned().unwrap_or_default();
    let found = sources.into_iter().find(|source| source["kind"] == kind);
    found.unwrap_or_default()
}

#[test]
fn routes_endpoints_and_certificates_follow_the_cluster() {
    let cluster = Cluster::shared();
    cluster.namespace("follow");
    cluster.apply(CLASS);
    cluster.echo("follow", "one", 1);
    cluster.apply(&ingress("follow", "web", "web.test", "one"));
    let narthex = cluster.serve().start();
    assert_eq!(narthex.get("web.test", "/").map(|r| r.status), Ok(200));
    assert_eq!(narthex.get("other.test", "/").map(|r| r.status), Ok(404));

    cluster.apply(&ingress("follow", "other", "other.test", "one"));
    narthex.until_status("other.test", "/", 200);
    cluster.kubectl(&["-n", "follow", "scale", "deployment/one", "--replicas=0"]);
    narthex.until_status("web.test", "/", 503);
    cluster.kubectl(&["-n", "follow", "scale", "deployment/one", "--replicas=2"]);
    narthex.until_status("web.test", "/", 200);
    cluster.delete(&["-n", "follow", "ingress/other"]);
    narthex.until_status("other.test", "/", 404);

    // Named before it is there, then there, then gone.
    let patch = r#"{"spec":{"tls":[{"hosts":["web.test"],"secretName":"web-tls"}]}}"#;
    cluster.kubectl(&["-n", "follow", "patch", "ingress/web", "-p", patch]);
    let problems = || narthex.admin("/api/problems").expect("answers").text();
    wait::until("the Secret is missed", || problems().contains("there is no Secret follow/web-tls"));
    let (certificate, key) = program_tests::tls::self_signed("web.test");
    let file = |name: &str, text: &str| {
        let path = cluster.folder().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    cluster.kubectl(&[
        "-n", "follow", "create", "secret", "tls", "web-tls",
        "--cert", &file("web.crt", &certificate),
        "--key", &file("web.key", &key),
    ]);
    wait::until("the certificate is served", || !problems().contains("web-tls"));
    assert_eq!(source(&narthex, "Secret")["watches"], 1);
    cluster.delete(&["-n", "follow", "secret/web-tls"]);
    wait::until("the Secret is missed again", || problems().contains("web-tls"));
    cluster.delete(&["-n", "follow", "ingress/web"]);
    wait::until("the Secret is watched no more", || source(&narthex, "Secret").is_null());
}
