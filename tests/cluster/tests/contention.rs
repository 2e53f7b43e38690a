//! Others who change the same objects at the same time, faster than anybody should.

use std::time::{Duration, Instant};

use cluster_tests::ingress::{addresses, class, ingress, service};
use cluster_tests::{Cluster, wait};
use program_tests::certificate::Certificate;
use program_tests::tls::Client;
use serde_json::Value;

const ADDRESS: &str = "203.0.113.7";

fn uid(cluster: &Cluster, namespace: &str, what: &str) -> Value {
    let object = cluster.get(&["-n", namespace, what]).expect("there");
    object["metadata"]["uid"].clone()
}

fn tls_secret(namespace: &str, certificate: &Certificate) -> String {
    let (chain, key) = (&certificate.chain_pem, &certificate.key_pem);
    format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: web-tls, namespace: {namespace}}}
type: kubernetes.io/tls
stringData: {{tls.crt: {chain:?}, tls.key: {key:?}}}
---"
    )
}

#[test]
fn objects_that_are_deleted_and_made_again_at_once_are_served_as_the_new_ones() {
    let cluster = Cluster::shared();
    let namespace = "again";
    cluster.namespace(namespace);
    cluster.apply(&class("narthex", "narthex.dev/ingress"));
    cluster.echo(namespace, "web", 1);
    let narthex = cluster
        .serve()
        .args(&["--watch-namespace", namespace, "--pod-namespace", namespace])
        .args(&["--election-id", namespace, "--ssl-redirect=false"])
        .args(&["--publish-status-address", ADDRESS])
        .start();
    let certificates: Vec<_> = (0..6)
        .map(|_| Certificate::of(&["shop.example.com"]))
        .collect();
    let door = cluster.door(format!("10.244.0.1:{}", narthex.https));
    let with_tls = |more: &str| {
        let ingress = ingress(namespace, "shop", "narthex");
        let tls = "tls: [{hosts: [shop.example.com], secretName: web-tls}]\n  rules:";
        ingress
            .replacen("rules:", tls, 1)
            .replacen("path: /,", more, 1)
    };
    let all = |round: usize| {
        let path = format!("path: /{round},");
        let service = service(namespace)
            .replacen("spec: {", "spec: {selector: {app: web}, ", 1)
            .replacen("{port: 80}", "{port: 80, targetPort: 3000}", 1);
        service + &tls_secret(namespace, &certificates[round]) + &with_tls(&path)
    };
    cluster.apply(&all(0));
    narthex.until_status("shop.example.com", "/0", 200);
    wait::until("it leads", || narthex.leads());
    let kinds = ["service/web", "secret/web-tls", "ingress/shop"];
    let lease = format!("lease/{namespace}");
    for round in 1..certificates.len() {
        let before = kinds.map(|kind| uid(cluster, namespace, kind));
        let replace = ["replace", "--force", "--grace-period=0", "-f", "-"];
        let said = cluster.try_kubectl(&replace, &all(round));
        assert!(said.success, "{}", said.stderr);
        cluster.delete(&["-n", namespace, "--wait=false", &lease]);
        let after = kinds.map(|kind| uid(cluster, namespace, kind));
        assert!(before.iter().zip(&after).all(|(a, b)| a != b));
        // Some of them one upon the other, others seen one by one.
        if round % 2 == 0 {
            narthex.until_status("shop.example.com", &format!("/{round}"), 200);
        }
    }
    let last = certificates.len() - 1;
    narthex.until_status("shop.example.com", &format!("/{last}"), 200);
    for round in 0..last {
        narthex.until_status("shop.example.com", &format!("/{round}"), 404);
    }
    wait::until("the last certificate is served", || {
        let connected = Client::trusting_anything().connect_to(door, "shop.example.com");
        connected.is_ok_and(|(_, handshake)| handshake.certificate == certificates[last].der)
    });
    cluster.until_addresses(namespace, "shop", ADDRESS);
    wait::until("it leads by a new Lease", || {
        let lease = cluster.get(&["-n", namespace, &lease]);
        narthex.leads() && lease.is_ok_and(|it| it["spec"]["holderIdentity"] != "")
    });
}

#[test]
fn one_who_writes_another_status_again_and_again_is_not_fought_and_outlasted() {
    let cluster = Cluster::shared();
    let namespace = "fought";
    cluster.namespace(namespace);
    cluster.apply(&(class("narthex", "narthex.dev/ingress") + &service(namespace)));
    let narthex = cluster
        .serve()
        .args(&["--watch-namespace", namespace, "--pod-namespace", namespace])
        .args(&["--election-id", namespace])
        .args(&["--publish-status-address", ADDRESS])
        .start();
    cluster.apply(&(ingress(namespace, "web", "narthex") + &ingress(namespace, "calm", "narthex")));
    cluster.until_addresses(namespace, "web", ADDRESS);
    cluster.until_addresses(namespace, "calm", ADDRESS);
    let before = narthex.status_writes("");
    let get = || {
        cluster
            .get(&["-n", namespace, "ingress/web"])
            .expect("there")
    };
    let other = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.9"}]}}}"#;
    let patch = [
        "-n",
        namespace,
        "patch",
        "ingress/web",
        "--subresource=status",
    ];
    let patch = [&patch[..], &["--type=merge", "-p", other]].concat();
    let (begun, mut undone) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(20) {
        if addresses(&get()) == ADDRESS {
            cluster.kubectl(&patch);
            undone += 1;
        }
    }
    // At first it is written at once; then after 1 to 2 seconds, 2 to 4, and so on.
    let written = narthex.status_writes("") - before;
    println!("undone {undone} times, written {written} times");
    assert!(undone >= 4, "{undone}");
    assert!(written <= 12, "{written}");
    // The other one's end is enough, and nobody else had to wait.
    cluster.until_addresses(namespace, "web", ADDRESS);
    cluster.apply(&ingress(namespace, "next", "narthex"));
    cluster.until_addresses(namespace, "next", ADDRESS);
}
