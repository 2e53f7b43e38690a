//! Narthex's own pods are replaced, and a node is drained, while clients go on.

use cluster_tests::ingress::{addresses, ingress};
use cluster_tests::{Cluster, wait};
use program_tests::load::{Kind, Load};
use serde_json::Value;

/// The site, on the first node, where nothing is drained.
const SITE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node-1}
      containers:
      - name: echo
        image: rig/echo
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, value: shop}
        ports: [{name: http, containerPort: 3000}]
        readinessProbe: {httpGet: {port: http, path: /}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
";

const HOST: &str = "web.example.com";

#[test]
fn no_request_fails_while_narthexs_own_pods_are_replaced_and_a_node_is_drained() {
    let cluster = Cluster::setup().nodes(2).start();
    cluster.namespace("narthex");
    cluster.namespace("shop");
    let values = [
        "controller.replicaCount=3",
        "controller.extraArgs.ssl-redirect=false",
    ];
    cluster.install("narthex", "narthex", &values);
    let site = ingress("shop", "web", "narthex")
        .replace("spec:", "spec:\n  tls: [{hosts: [web.example.com]}]");
    cluster.apply(&(SITE.to_owned() + &site));
    cluster.rolled_out("shop", "deployment/web");
    let service = cluster.until(&["-n", "narthex", "service/narthex"], |it| {
        !addresses(it).is_empty()
    });
    let balancer = addresses(&service);
    let inner = service["spec"]["clusterIP"].as_str().expect("an address");
    cluster.until_addresses("shop", "web", &balancer);

    let door = |address: &str, port: u16| cluster.door(format!("{address}:{port}")).port();
    let loads = [
        (Kind::Kept, door(&balancer, 80)),
        (Kind::Fresh, door(&balancer, 80)),
        (Kind::FreshTls, door(&balancer, 443)),
        (Kind::Http2, door(&balancer, 443)),
        (Kind::Kept, door(inner, 80)),
        (Kind::Fresh, door(inner, 80)),
    ];
    let loads = loads.map(|(kind, port)| (kind, Load::of(kind, port, 1, HOST)));
    let goes_on = || loads.iter().for_each(|(_, load)| load.until_more(20));
    goes_on();
    let changes = cluster.changes("shop");

    // The same once more.
    let (before, leader) = (pods(&cluster), leader(&cluster));
    cluster.kubectl(&["-n", "narthex", "rollout", "restart", "deployment/narthex"]);
    replaced(&cluster, &before);
    goes_on();
    assert_ne!(leader, self::leader(&cluster));

    // Another flag.
    let before = pods(&cluster);
    cluster.install(
        "narthex",
        "narthex",
        &[&values[..], &["controller.extraArgs.max-attempts=4"]].concat(),
    );
    replaced(&cluster, &before);
    goes_on();

    // A node.
    let on_the_second = || pods_on(&cluster, "node-2");
    assert!(!on_the_second().is_empty(), "they are on both nodes");
    cluster.kubectl(&[
        "drain",
        "node-2",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=180s",
    ]);
    assert!(on_the_second().is_empty());
    cluster.rolled_out("narthex", "deployment/narthex");
    goes_on();

    let mut total = 0;
    for (kind, load) in loads {
        let outcome = load.stop();
        println!("{kind:?}: {} requests", outcome.good);
        assert!(
            outcome.failures.is_empty(),
            "{kind:?}: {:?}",
            outcome.failures
        );
        total += outcome.good;
    }
    println!("{total} requests in all");
    // Whoever led: the addresses were right all the time.
    assert_eq!(changes.seen(), Vec::<String>::new());
    cluster.until_addresses("shop", "web", &balancer);
    // And the leader of now works.
    cluster.apply(&ingress("shop", "next", "narthex"));
    cluster.until_addresses("shop", "next", &balancer);
}

fn list(cluster: &Cluster) -> Vec<Value> {
    let label = "app.kubernetes.io/name=narthex";
    let pods = cluster.get(&["-n", "narthex", "pods", "-l", label]);
    let pods = pods.expect("lists")["items"].take();
    pods.as_array().cloned().unwrap_or_default()
}

fn name(pod: &Value) -> String {
    pod["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn pods(cluster: &Cluster) -> Vec<String> {
    list(cluster).iter().map(name).collect()
}

fn pods_on(cluster: &Cluster, node: &str) -> Vec<String> {
    let pods = list(cluster);
    let there = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node);
    there.map(name).collect()
}

/// Waits until none of these pods is left; three others are there then.
fn replaced(cluster: &Cluster, old: &[String]) {
    cluster.rolled_out("narthex", "deployment/narthex");
    wait::eventually("the old pods are gone", || {
        let now = pods(cluster);
        match now.len() == 3 && !now.iter().any(|pod| old.contains(pod)) {
            true => Ok(()),
            false => Err(format!("{now:?}")),
        }
    });
}

/// Who leads, once somebody does.
fn leader(cluster: &Cluster) -> String {
    let lease = ["-n", "narthex", "lease/narthex-leader"];
    let of = |lease: &Value| {
        lease["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    of(&cluster.until(&lease, |lease| pods(cluster).contains(&of(lease))))
}
