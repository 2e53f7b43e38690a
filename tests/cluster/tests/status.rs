//! What Ingresses are told of their addresses, and by whom.

use std::thread::sleep;
use std::time::Duration;

use cluster_tests::ingress::{addresses, class, ingress, service};
use cluster_tests::{Cluster, Inside, Serve, wait};
use rustix::process::Signal;
use serde_json::Value;

/// Long enough for a controller that would write again to do so.
const QUIET: Duration = Duration::from_secs(4);

/// A namespace with a Service, and Narthex that serves it alone, with an election of its own.
fn narthex<'a>(cluster: &'a Cluster, namespace: &str) -> Serve<'a> {
    cluster
        .serve()
        .args(&["--watch-namespace", namespace])
        .args(&["--pod-namespace", namespace])
        .args(&["--election-id", namespace])
}

fn prepare(namespace: &str) -> &'static Cluster {
    let cluster = Cluster::shared();
    cluster.namespace(namespace);
    cluster.apply(&(class("narthex", "narthex.dev/ingress") + &service(namespace)));
    cluster
}

fn with_address<'a>(cluster: &'a Cluster, namespace: &str) -> Serve<'a> {
    narthex(cluster, namespace).args(&["--publish-status-address", "203.0.113.7"])
}

fn until_led(narthex: &Inside<'_>) {
    wait::until("it leads", || narthex.leads());
}

fn get(cluster: &Cluster, namespace: &str, name: &str) -> Value {
    let what = format!("ingress/{name}");
    cluster.get(&["-n", namespace, &what]).expect("there")
}

#[test]
fn an_ingress_has_the_address_after_one_write_and_loses_it_when_it_is_not_ours_any_more() {
    let cluster = prepare("one");
    cluster.apply(&class("other", "example.com/other"));
    let narthex = with_address(cluster, "one").start();
    cluster.apply(&(ingress("one", "web", "narthex") + &ingress("one", "foreign", "other")));
    let written = cluster.until_addresses("one", "web", "203.0.113.7");
    sleep(QUIET);
    let later = get(cluster, "one", "web");
    let version = &written["metadata"]["resourceVersion"];
    assert_eq!(version, &later["metadata"]["resourceVersion"], "{later:#}");
    assert_eq!(narthex.status_writes(""), 1);
    assert_eq!(addresses(&get(cluster, "one", "foreign")), "");

    let other = r#"{"spec":{"ingressClassName":"other"}}"#;
    cluster.kubectl(&["-n", "one", "patch", "ingress/web", "-p", other]);
    cluster.until_addresses("one", "web", "");
    wait::until("it is counted", || narthex.status_writes("ok") > 1);
    assert_eq!(narthex.status_writes("ok"), 2);
}

#[test]
fn addresses_that_another_wrote_to_another_ones_ingress_stay() {
    let cluster = prepare("others");
    cluster.apply(&class("other", "example.com/other"));
    cluster.apply(&ingress("others", "foreign", "other"));
    let status = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.9"}]}}}"#;
    let patch = [
        "-n",
        "others",
        "patch",
        "ingress/foreign",
        "--subresource=status",
    ];
    cluster.kubectl(&[&patch[..], &["--type=merge", "-p", status]].concat());
    let mut narthex = with_address(cluster, "others").start();
    until_led(&narthex);
    sleep(QUIET);
    narthex.signal(Signal::TERM);
    wait::until("it ends", || {
        matches!(narthex.child.try_wait(), Ok(Some(_)))
    });
    assert_eq!(
        addresses(&get(cluster, "others", "foreign")),
        "198.51.100.9"
    );
}

#[test]
fn the_status_follows_the_published_service() {
    let cluster = prepare("published");
    let external = |ip: &str| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: public, namespace: published}}
spec: {{type: NodePort, externalIPs: [{ip}], ports: [{{port: 80}}]}}
"
        )
    };
    cluster.apply(&external("198.51.100.1"));
    let narthex = narthex(cluster, "published").args(&["--publish-service", "published/public"]);
    let _narthex = narthex.start();
    cluster.apply(&ingress("published", "web", "narthex"));
    cluster.until_addresses("published", "web", "198.51.100.1");
    cluster.apply(&external("198.51.100.2"));
    cluster.until_addresses("published", "web", "198.51.100.2");
    cluster.delete(&["-n", "published", "service/public"]);
    cluster.until_addresses("published", "web", "");
}

#[test]
fn without_anything_given_it_is_the_address_of_the_replicas_nodes() {
    let cluster = prepare("nodes");
    let nodes = cluster.get(&["nodes"]).expect("nodes");
    let node = &nodes["items"][0];
    let name = node["metadata"]["name"].as_str().expect("a name");
    let all = node["status"]["addresses"].as_array().expect("addresses");
    let internal = all.iter().find(|it| it["type"] == "InternalIP");
    let expected = internal.and_then(|it| it["address"].as_str());
    let narthex = narthex(cluster, "nodes").args(&["--node-name", name]);
    let _narthex = narthex.start();
    cluster.apply(&ingress("nodes", "web", "narthex"));
    cluster.until_addresses("nodes", "web", expected.expect("an address"));
}

#[test]
fn a_thousand_ingresses_are_a_thousand_writes() {
    let cluster = prepare("bulk");
    let many: String = (0..1000)
        .map(|index| ingress("bulk", &format!("web-{index}"), "narthex"))
        .collect();
    cluster.apply(&many);
    let changes = cluster.changes("bulk");
    let narthex = with_address(cluster, "bulk").start();
    wait::until("all are written", || narthex.status_writes("ok") >= 1000);
    sleep(QUIET);
    assert_eq!(narthex.status_writes(""), 1000, "{}", narthex.log());
    let all = cluster.get(&["-n", "bulk", "ingress"]).expect("Ingresses");
    let all = all["items"].as_array().expect("a list");
    assert!(all.iter().all(|it| addresses(it) == "203.0.113.7"));
    // As the API server tells it: nobody wrote anything twice.
    wait::until("every change is seen", || changes.seen().len() >= 1000);
    let seen = changes.seen();
    assert_eq!(seen.len(), 1000);
    assert!(seen.iter().all(|it| it.starts_with("MODIFIED ")));
}

#[test]
fn the_last_replica_takes_the_addresses_away_and_no_other() {
    let cluster = prepare("last");
    cluster.apply(&ingress("last", "web", "narthex"));
    let mut first = with_address(cluster, "last").start();
    until_led(&first);
    let mut second = with_address(cluster, "last").start();
    cluster.until_addresses("last", "web", "203.0.113.7");
    wait::until("the leader knows both", || {
        let replicas = first.leadership().map(|it| it["replicas"].clone());
        replicas.is_ok_and(|it| it.as_array().is_some_and(|it| it.len() == 2))
    });
    let changes = cluster.changes("last");
    first.signal(Signal::TERM);
    wait::until("it ends", || matches!(first.child.try_wait(), Ok(Some(_))));
    until_led(&second);
    sleep(QUIET);
    assert_eq!(addresses(&get(cluster, "last", "web")), "203.0.113.7");
    assert_eq!(changes.seen(), [""; 0]);

    second.signal(Signal::TERM);
    wait::until("it ends", || matches!(second.child.try_wait(), Ok(Some(_))));
    assert_eq!(addresses(&get(cluster, "last", "web")), "");
    let leases = cluster.get(&["-n", "last", "leases"]).expect("Leases");
    let leases = leases["items"].as_array().expect("a list");
    assert_eq!(leases.len(), 1, "{leases:#?}");
    assert_eq!(leases[0]["spec"]["holderIdentity"], "");
}

#[test]
fn the_addresses_stay_where_that_was_asked_for() {
    let cluster = prepare("stay");
    cluster.apply(&ingress("stay", "web", "narthex"));
    let narthex = with_address(cluster, "stay").arg("--update-status-on-shutdown=false");
    let mut narthex = narthex.start();
    cluster.until_addresses("stay", "web", "203.0.113.7");
    narthex.signal(Signal::TERM);
    wait::until("it ends", || {
        matches!(narthex.child.try_wait(), Ok(Some(_)))
    });
    assert_eq!(addresses(&get(cluster, "stay", "web")), "203.0.113.7");
}

#[test]
fn nothing_is_written_where_that_was_asked_for() {
    let cluster = prepare("never");
    cluster.apply(&ingress("never", "web", "narthex"));
    let narthex = with_address(cluster, "never").arg("--update-status=false");
    let narthex = narthex.start();
    until_led(&narthex);
    sleep(QUIET);
    assert_eq!(addresses(&get(cluster, "never", "web")), "");
    assert_eq!(narthex.status_writes(""), 0);
}

/// The Lease of a replica that serves nothing newer than `position`, renewed just now.
fn renew(cluster: &Cluster, namespace: &str, count: usize, position: &str) {
    cluster.apply(&format!(
        "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: {namespace}-laggard
  namespace: {namespace}
  labels: {{narthex.dev/replica-of: {namespace}}}
  annotations: {{narthex.dev/served-resource-version: '{position}'}}
spec:
  holderIdentity: laggard
  leaseDurationSeconds: 15
  renewTime: 2020-01-01T00:00:{count:02}.000000Z
"
    ));
}

#[test]
fn an_address_waits_for_a_live_replica_that_does_not_serve_it_yet_and_for_no_other() {
    let cluster = prepare("laggard");
    renew(cluster, "laggard", 0, "laggard=1");
    let narthex = with_address(cluster, "laggard").start();
    until_led(&narthex);
    cluster.apply(&ingress("laggard", "first", "narthex"));
    for count in 1..8 {
        sleep(Duration::from_secs(3));
        renew(cluster, "laggard", count, "laggard=1");
        assert_eq!(addresses(&get(cluster, "laggard", "first")), "");
    }
    // It has caught up.
    let version = get(cluster, "laggard", "first")["metadata"]["resourceVersion"].clone();
    let position = format!("laggard={}", version.as_str().expect("a version"));
    renew(cluster, "laggard", 8, &position);
    cluster.until_addresses("laggard", "first", "203.0.113.7");
    // And now it is renewed no more: for some seconds it may still be about to serve.
    cluster.apply(&ingress("laggard", "second", "narthex"));
    cluster.until_addresses("laggard", "second", "203.0.113.7");
    wait::until("it is counted", || narthex.status_writes("") > 1);
    assert_eq!(narthex.status_writes(""), 2);
}

fn ingress_nginx(cluster: &Cluster, namespace: &str, lease: &str, count: usize) {
    cluster.apply(&format!(
        "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {{name: {lease}, namespace: {namespace}}}
spec:
  holderIdentity: ingress-nginx-controller-1
  leaseDurationSeconds: 25
  renewTime: 2020-01-01T00:00:{count:02}.000000Z
"
    ));
}

#[test]
fn beside_a_living_ingress_nginx_its_ingresses_are_served_and_their_status_is_left_to_it() {
    let cluster = prepare("beside");
    cluster.apply(&class("nginx-beside", "k8s.io/ingress-nginx"));
    ingress_nginx(cluster, "default", "beside-nginx", 0);
    let flags = ["--ingress-nginx-election-id", "beside-nginx"];
    let narthex = with_address(cluster, "beside").args(&flags).start();
    let both = ingress("beside", "own", "narthex") + &ingress("beside", "shared", "nginx-beside");
    cluster.apply(&both);
    narthex.until_status("shared.example.com", "/", 503);
    cluster.until_addresses("beside", "own", "203.0.113.7");
    for count in 1..10 {
        sleep(Duration::from_secs(3));
        ingress_nginx(cluster, "default", "beside-nginx", count);
        assert_eq!(addresses(&get(cluster, "beside", "shared")), "");
    }
    // Not renewed any more.
    cluster.until_addresses("beside", "shared", "203.0.113.7");
    cluster.delete(&["-n", "default", "lease/beside-nginx"]);
}

#[test]
fn told_to_take_over_it_writes_beside_a_living_ingress_nginx() {
    let cluster = prepare("takeover");
    cluster.apply(&class("nginx-takeover", "k8s.io/ingress-nginx"));
    ingress_nginx(cluster, "default", "takeover-nginx", 0);
    let flags = [
        "--take-over",
        "--ingress-nginx-election-id",
        "takeover-nginx",
    ];
    let _narthex = with_address(cluster, "takeover").args(&flags).start();
    cluster.apply(&ingress("takeover", "shared", "nginx-takeover"));
    cluster.until_addresses("takeover", "shared", "203.0.113.7");
    cluster.delete(&["-n", "default", "lease/takeover-nginx"]);
}
