//! What a Gateway gets in a cluster: a Service whose endpoints are Narthex's replicas.

use std::sync::OnceLock;

use cluster_tests::{Channel, Cluster, condition, wait};
use serde_json::Value;

/// Two replicas of Narthex, as its chart installs them, and a class of theirs.
fn cluster() -> &'static Cluster {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    let cluster = Cluster::shared();
    INSTALLED.get_or_init(|| {
        cluster.install_gateway_api(Channel::Experimental);
        cluster.namespace("narthex");
        cluster.install("narthex", "narthex", &[]);
        cluster.gateway_class("narthex");
    });
    cluster
}

/// A Gateway with listeners on these ports, and a route of its first to the Service `echo`.
fn gateway(namespace: &str, name: &str, ports: &[u16]) -> String {
    let listener = |port: &u16| format!("  - {{name: p{port}, protocol: HTTP, port: {port}}}\n");
    let listeners: String = ports.iter().map(listener).collect();
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  gatewayClassName: narthex
  infrastructure:
    labels: {{team: a}}
    annotations: {{note: b}}
  listeners:
{listeners}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{{name: {name}}}]
  rules: [{{backendRefs: [{{name: echo, port: 80}}]}}]
---
"
    )
}

fn address(service: &Value) -> Option<&str> {
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()
}

/// The Service of a Gateway when it has an address, and that address.
fn until_address(cluster: &Cluster, namespace: &str, name: &str) -> (Value, String) {
    let what = format!("service/{name}-narthex");
    let service = cluster.until(&["-n", namespace, &what], |it| address(it).is_some());
    let address = address(&service).expect("waited for").to_owned();
    (service, address)
}

fn until_answered(cluster: &Cluster, address: &str) {
    wait::eventually("the route answers", || {
        let response = cluster.ask(address, "any.example", "/there")?;
        match response.status {
            200 => Ok(()),
            other => Err(format!("it is {other}")),
        }
    });
}

/// The condition `Programmed` of a Gateway, as `True Programmed`.
fn programmed(gateway: &Value) -> String {
    condition(&gateway["status"]["conditions"], "Programmed")
}

#[test]
fn a_gateway_is_reached_at_the_address_of_its_service_and_both_go_together() {
    let cluster = cluster();
    cluster.namespace("served");
    cluster.echo("served", "echo", 1);
    cluster.apply(&gateway("served", "web", &[80, 8080]));
    let (service, address) = until_address(cluster, "served", "web");
    let labels = &service["metadata"]["labels"];
    assert_eq!(labels["gateway.networking.k8s.io/gateway-name"], "web");
    assert_eq!(labels["team"], "a");
    assert_eq!(service["metadata"]["annotations"]["note"], "b");
    until_answered(cluster, &format!("{address}:80"));
    until_answered(cluster, &format!("{address}:8080"));
    let served = cluster.until(&["-n", "served", "gateway/web"], |it| {
        programmed(it) == "True Programmed"
    });
    assert_eq!(served["status"]["addresses"][0]["value"], *address);
    let label = "app.kubernetes.io/instance=narthex";
    let both = || {
        wait::eventually("both replicas are endpoints", || {
            let mut pods = cluster.pod_addresses("narthex", label);
            pods.sort();
            match cluster.endpoint_addresses("served", "web-narthex") {
                found if found == pods && pods.len() == 2 => Ok(pods),
                found => Err(format!("{found:?} of {pods:?}")),
            }
        })
    };
    let before = both();
    let replica = cluster.get(&["-n", "narthex", "pods", "-l", label]);
    let replica = replica.expect("pods")["items"][0]["metadata"]["name"].clone();
    let replica = replica.as_str().expect("a name");
    cluster.kubectl(&["-n", "narthex", "delete", "pod", replica, "--wait=false"]);
    wait::until("another replica is an endpoint in its place", || {
        until_answered(cluster, &format!("{address}:80"));
        before != cluster.endpoint_addresses("served", "web-narthex")
    });
    assert_ne!(before, both());

    // A port that is there already keeps its port of ours, whatever comes or goes beside it.
    let target = service["spec"]["ports"][0]["targetPort"].clone();
    cluster.apply(&gateway("served", "web", &[80, 9090]));
    until_answered(cluster, &format!("{address}:9090"));
    let service = cluster.get(&["-n", "served", "service/web-narthex"]);
    let service = service.expect("there");
    let ports = service["spec"]["ports"].as_array().expect("ports");
    let ports: Vec<_> = ports.iter().map(|it| &it["port"]).collect();
    assert_eq!(ports, [80, 9090]);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], target);
    assert_eq!(self::address(&service), Some(&*address));

    // What somebody took away or changed is brought back.
    cluster.kubectl(&["-n", "served", "delete", "endpointslices", "--all"]);
    until_answered(cluster, &format!("{address}:80"));
    cluster.kubectl(&["-n", "served", "delete", "service/web-narthex"]);
    let (_, address) = until_address(cluster, "served", "web");
    until_answered(cluster, &format!("{address}:80"));

    cluster.delete(&["-n", "served", "gateway/web"]);
    wait::until("the Service goes with its Gateway", || {
        let found = cluster.get(&["-n", "served", "service/web-narthex"]);
        found.is_err()
            && cluster
                .endpoint_addresses("served", "web-narthex")
                .is_empty()
    });
}

#[test]
fn a_service_of_the_name_that_is_somebody_elses_is_left_alone() {
    let cluster = cluster();
    cluster.namespace("taken");
    cluster.echo("taken", "echo", 1);
    cluster.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: web-narthex, namespace: taken}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 3000}]}
",
    );
    let find = ["-n", "taken", "service/web-narthex"];
    let before = cluster.get(&find).expect("there");
    cluster.apply(&gateway("taken", "web", &[80]));
    cluster.apply(&gateway("taken", "other", &[80]));
    let (_, address) = until_address(cluster, "taken", "other");
    until_answered(cluster, &format!("{address}:80"));
    cluster.until(&["-n", "taken", "gateway/web"], |it| {
        programmed(it) == "False Invalid"
    });
    let after = cluster.get(&find).expect("there");
    let version = |service: &Value| service["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&before), version(&after));

    // Once its owner takes it away, the Gateway has its own.
    cluster.delete(&find);
    let (_, address) = until_address(cluster, "taken", "web");
    until_answered(cluster, &format!("{address}:80"));
}

#[test]
fn a_service_goes_when_its_gateway_is_of_another_class() {
    let cluster = cluster();
    cluster.namespace("moved");
    cluster.echo("moved", "echo", 1);
    cluster.apply(&gateway("moved", "web", &[80]));
    let (_, address) = until_address(cluster, "moved", "web");
    until_answered(cluster, &format!("{address}:80"));
    let patch = r#"{"spec": {"gatewayClassName": "somebody-elses"}}"#;
    cluster.kubectl(&[
        "-n",
        "moved",
        "patch",
        "gateway/web",
        "--type=merge",
        &format!("--patch={patch}"),
    ]);
    wait::until("the Service goes", || {
        let found = cluster.get(&["-n", "moved", "service/web-narthex"]);
        found.is_err()
    });
}

#[test]
fn of_two_narthex_with_a_controller_each_both_leave_the_others_gateways_alone() {
    let cluster = cluster();
    cluster.namespace("first");
    cluster.namespace("second");
    cluster.echo("first", "echo", 1);
    cluster.apply(&gateway("first", "web", &[80]));
    let (service, address) = until_address(cluster, "first", "web");
    until_answered(cluster, &format!("{address}:80"));
    let slices = || cluster.endpoint_addresses("first", "web-narthex");
    wait::until("both replicas are endpoints", || slices().len() == 2);
    let second = cluster
        .serve()
        .args(&["--gateway-controller-name", "example.com/second"])
        .args(&["--pod-namespace", "second", "--election-id", "second"])
        .args(&["--publish-status-address", "10.244.0.1"])
        .start();
    cluster.apply(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: second}
spec: {controllerName: example.com/second}
",
    );
    let other = gateway("second", "web", &[80]);
    cluster.apply(&other.replace("gatewayClassName: narthex", "gatewayClassName: second"));
    cluster.until(&["-n", "second", "gateway/web"], |it| {
        programmed(it) == "True Programmed"
    });
    let before = slices();
    let uid = |service: &Value| service["metadata"]["uid"].clone();
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = cluster.get(&["-n", "first", "service/web-narthex"]);
        assert_eq!(
            now.map(|it| uid(&it)),
            Ok(uid(&service)),
            "{}",
            second.log()
        );
        assert_eq!(slices(), before, "{}", second.log());
    }
}
