//! cert-manager's issuers and Certificates, which a cluster may have or not.

use cluster_tests::ingress::{class, ingress};
use cluster_tests::{Cluster, Inside, wait};
use program_tests::tls::Client;
use serde_json::Value;

/// As cert-manager has them, but for the schemas.
fn definitions() -> String {
    let kinds = [
        ("Issuer", "issuers", "Namespaced"),
        ("ClusterIssuer", "clusterissuers", "Cluster"),
        ("Certificate", "certificates", "Namespaced"),
    ];
    let definitions = kinds.map(|(kind, plural, scope)| {
        let singular = kind.to_lowercase();
        format!(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.cert-manager.io}}
spec:
  group: cert-manager.io
  scope: {scope}
  names: {{kind: {kind}, listKind: {kind}List, plural: {plural}, singular: {singular}}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
---"
        )
    });
    definitions.concat()
}

const OBJECTS: &str = "
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: own}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: part, namespace: shop}
spec:
  secretName: part-tls
  dnsNames: [part.shop.svc]
  issuerRef: {name: own, kind: ClusterIssuer}
";

/// Waits until a Secret of a ClusterIssuer's is there; what is in its `tls.crt`.
fn until_kept(cluster: &Cluster, name: &str) -> String {
    let what = format!("secret/{name}");
    let secret = cluster.until(&["-n", "shop", &what], |it| {
        it["type"] == "kubernetes.io/tls"
    });
    let annotations = &secret["metadata"]["annotations"];
    for (key, value) in [("issuer-kind", "ClusterIssuer"), ("issuer-name", "own")] {
        assert_eq!(
            annotations[format!("cert-manager.io/{key}")],
            value,
            "{key}"
        );
    }
    let chain = secret["data"]["tls.crt"].as_str();
    chain.expect("a certificate").to_owned()
}

/// The reasons and notes of the Events on the Ingress.
fn told(cluster: &Cluster) -> String {
    let events = cluster.get(&["-n", "shop", "events.events.k8s.io"]);
    let events = events.unwrap_or_default()["items"].take();
    let all = events.as_array().cloned().unwrap_or_default();
    let of_web = all.iter().filter(|it| it["regarding"]["name"] == "web");
    let line = |it: &Value| format!("{}: {}\n", it["reason"], it["note"]);
    of_web.map(line).collect()
}

fn is_ready(narthex: &Inside<'_>) -> bool {
    let response = narthex.admin("/readyz");
    response.is_ok_and(|response| response.status == 200)
}

#[test]
fn issuers_may_come_later_and_go_and_what_they_issued_stays() {
    let cluster = Cluster::start();
    cluster.namespace("shop");
    cluster.apply(&class("narthex", "narthex.dev/ingress"));
    cluster.echo("shop", "web", 1);
    let web = ingress("shop", "web", "narthex")
        .replace(
            "namespace: shop",
            "namespace: shop, annotations: {cert-manager.io/cluster-issuer: own}",
        )
        .replace(
            "spec:",
            "spec:\n  tls: [{hosts: [web.example.com], secretName: web-tls}]",
        );
    cluster.apply(&web);
    let narthex = cluster
        .serve()
        .args(&["--obtain-certificates", "--without-cert-manager"])
        .start();
    // Nobody is missed before it is named; who is named and not there is told of.
    wait::eventually("the missing issuer is told of", || {
        let told = told(&cluster);
        match told.contains("ClusterIssuer") && told.contains("own") {
            true => Ok(()),
            false => Err(format!("{told}\n{}", narthex.log())),
        }
    });
    assert!(cluster.get(&["-n", "shop", "secret/web-tls"]).is_err());

    cluster.apply(&definitions());
    for plural in ["issuers", "clusterissuers", "certificates"] {
        let crd = format!("crd/{plural}.cert-manager.io");
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            &crd,
            "--timeout=180s",
        ]);
    }
    cluster.apply(OBJECTS);
    let kept = until_kept(&cluster, "web-tls");
    until_kept(&cluster, "part-tls");
    let door = cluster.door(format!("10.244.0.1:{}", narthex.https));
    let served = || {
        let connected = Client::trusting_anything().connect_to(door, "web.example.com");
        connected.ok().map(|(_, handshake)| handshake.certificate)
    };
    let own = wait::eventually("it is served", || {
        let served = served().ok_or("no handshake")?;
        let text = String::from_utf8_lossy(&served).contains("web.example.com");
        text.then_some(served)
            .ok_or_else(|| "another is".to_owned())
    });
    wait::until("whoever asked is told", || {
        told(&cluster).contains("CertificateIssued")
    });

    // Without them nothing is obtained, and nothing is lost.
    for plural in ["issuers", "clusterissuers", "certificates"] {
        let crd = format!("crd/{plural}.cert-manager.io");
        cluster.delete(&[&crd]);
    }
    wait::until("they are seen to be gone", || {
        narthex
            .log()
            .contains("(cert-manager.io) is gone from the cluster")
    });
    assert!(is_ready(&narthex));
    assert_eq!(served(), Some(own));
    assert_eq!(until_kept(&cluster, "web-tls"), kept);
}
