//! Gateways that have a data plane of their own: a Deployment of Narthex in their namespace.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use cluster_tests::{Channel, Cluster, condition, wait};
use serde_json::Value;

/// Long enough for a controller that would write again to do so.
const QUIET: Duration = Duration::from_secs(4);

/// Narthex as its chart installs it with the right to make data planes, and two classes of its: one
/// whose Gateways share a data plane, and one whose Gateways have their own.
fn cluster() -> &'static Cluster {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    let cluster = Cluster::shared();
    INSTALLED.get_or_init(|| {
        cluster.install_gateway_api(Channel::Experimental);
        cluster.namespace("narthex");
        cluster.install("narthex", "narthex", &["gatewayAPI.dedicated.enabled=true"]);
        cluster.gateway_class("shared");
        cluster.apply(&parameters("narthex", "own", "data-plane: dedicated"));
        cluster.apply(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: own}
spec:
  controllerName: narthex.dev/gateway
  parametersRef: {group: '', kind: ConfigMap, name: own, namespace: narthex}
",
        );
    });
    cluster
}

fn parameters(namespace: &str, name: &str, data: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: {namespace}}}
data: {{{data}}}
---
"
    )
}

/// A Gateway that takes routes from everywhere. `more` is of its `spec`.
fn gateway(namespace: &str, class: &str, more: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: {namespace}}}
spec:
  gatewayClassName: {class}
  {more}
  listeners:
  - {{name: http, protocol: HTTP, port: 80, allowedRoutes: {{namespaces: {{from: All}}}}}}
---
"
    )
}

const OWN_PARAMETERS: &str =
    "infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: plane}}";

/// A route to the Service `echo` of its namespace, with the Gateways `web` of others for parents.
fn route(namespace: &str, parents: &[&str]) -> String {
    let parent = |of: &&str| format!("{{name: web, namespace: {of}}}");
    let parents: Vec<_> = parents.iter().map(parent).collect();
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: echo, namespace: {namespace}}}
spec:
  parentRefs: [{}]
  rules: [{{backendRefs: [{{name: echo, port: 80}}]}}]
---
",
        parents.join(", ")
    )
}

fn message(conditions: &Value, name: &str) -> String {
    let all = conditions.as_array().into_iter().flatten();
    let found = all.into_iter().find(|it| it["type"] == name);
    found.map_or_else(String::new, |it| it["message"].to_string())
}

fn of_gateway(gateway: &Value, name: &str) -> String {
    condition(&gateway["status"]["conditions"], name)
}

fn parents(route: &Value) -> &[Value] {
    let parents = route["status"]["parents"].as_array();
    parents.map(Vec::as_slice).unwrap_or_default()
}

/// The address of a Gateway's Service, as soon as it has one.
fn until_address(cluster: &Cluster, namespace: &str, class: &str) -> (Value, String) {
    let address = |service: &Value| {
        let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        address.map(str::to_owned)
    };
    let what = format!("service/web-{class}");
    let service = cluster.until(&["-n", namespace, &what], |it| address(it).is_some());
    let address = address(&service).expect("waited for");
    (service, address)
}

fn until_answered(cluster: &Cluster, address: &str) {
    wait::eventually(&format!("{address} answers"), || {
        let response = cluster.ask(address, "any.example", "/there")?;
        match response.status {
            200 => Ok(()),
            other => Err(format!("it is {other}")),
        }
    });
}

/// The addresses of the pods that serve a Gateway, or all others.
fn pods(cluster: &Cluster, namespace: &str, component: &str) -> Vec<String> {
    let label = format!("app.kubernetes.io/name=narthex,app.kubernetes.io/component={component}");
    let mut pods = cluster.pod_addresses(namespace, &label);
    pods.sort();
    pods
}

/// Waits until a Gateway's Service leads to two pods of its own namespace; where those are.
fn until_dedicated(cluster: &Cluster, namespace: &str, class: &str) -> Vec<String> {
    wait::eventually("its own pods are its endpoints", || {
        let own = pods(cluster, namespace, "gateway");
        match cluster.endpoint_addresses(namespace, &format!("web-{class}")) {
            found if found == own && own.len() == 2 => Ok(own),
            found => Err(format!("{found:?} of {own:?}")),
        }
    })
}

/// How many objects there are that were made for a Gateway.
fn made(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let kinds = "deployments,poddisruptionbudgets,serviceaccounts,rolebindings,services,leases";
    let label = "app.kubernetes.io/component=gateway";
    let mut all = Vec::new();
    for what in [
        vec!["-n", namespace, kinds],
        vec!["clusterrolebindings", "-l", label],
    ] {
        let found = cluster.get(&what).unwrap_or_default();
        let items = found["items"].as_array().cloned().unwrap_or_default();
        let name = |it: &Value| {
            let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text(&it["kind"]), text(&it["metadata"]["name"]))
        };
        let is_its =
            |name: &String| name.contains("/web-") || name.contains(&format!(":{namespace}:"));
        all.extend(items.iter().map(name).filter(is_its));
    }
    all.sort();
    all
}

fn versions(cluster: &Cluster, namespace: &str) -> [Value; 2] {
    ["gateway/web", "httproute/echo"].map(|what| {
        let object = cluster.get(&["-n", namespace, what]).unwrap_or_default();
        object["metadata"]["resourceVersion"].clone()
    })
}

fn logs(cluster: &Cluster, namespace: &str) -> String {
    let label = "app.kubernetes.io/name=narthex";
    cluster.kubectl(&["-n", namespace, "logs", "--tail=-1", "-l", label])
}

fn forbidden(log: &str) -> Vec<&str> {
    let forbidden = |line: &&str| line.to_lowercase().contains("forbidden");
    log.lines().filter(forbidden).collect()
}

#[track_caller]
fn assert_nothing_was_forbidden(log: &str) {
    let lines = forbidden(log);
    assert!(lines.is_empty(), "{lines:#?}");
}

#[test]
fn a_gateway_is_served_by_a_deployment_of_its_own_and_all_of_it_goes_with_it() {
    let cluster = cluster();
    for namespace in ["all", "mine", "routes"] {
        cluster.namespace(namespace);
    }
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", "mine", restricted]);
    cluster.echo("routes", "echo", 1);
    cluster.apply(&gateway("all", "shared", ""));
    cluster.apply(&gateway(
        "mine",
        "own",
        "infrastructure: {labels: {team: a}}",
    ));
    cluster.apply(&route("routes", &["all", "mine"]));
    let (_, beside) = until_address(cluster, "all", "shared");
    let (service, address) = until_address(cluster, "mine", "own");
    assert_eq!(service["metadata"]["labels"]["team"], "a");
    let own = until_dedicated(cluster, "mine", "own");
    let shared = pods(cluster, "narthex", "controller");
    until_answered(cluster, &format!("{address}:80"));
    until_answered(cluster, &format!("{beside}:80"));

    // It is on the pods of its namespace, and on no others.
    let target = &service["spec"]["ports"][0]["targetPort"];
    for pod in &own {
        until_answered(cluster, &format!("{pod}:{target}"));
    }
    for pod in &shared {
        let asked = cluster.ask(format!("{pod}:{target}"), "any.example", "/");
        assert!(asked.is_err(), "{asked:?}");
    }
    wait::until("the shared ones are its endpoints", || {
        cluster.endpoint_addresses("all", "web-shared") == shared
    });
    let ingress = cluster.ask(format!("{}:80", own[0]), "any.example", "/");
    assert!(ingress.is_err(), "{ingress:?}");

    // Each says what is its own, and leaves the rest to the other.
    let web = cluster.until(&["-n", "mine", "gateway/web"], |it| {
        of_gateway(it, "Programmed") == "True Programmed"
            && of_gateway(it, "narthex.dev/DataPlane") == "True Deployed"
            && it["status"]["listeners"][0]["attachedRoutes"] == 1
    });
    assert_eq!(of_gateway(&web, "Accepted"), "True Accepted");
    assert_eq!(web["status"]["addresses"][0]["value"], *address);
    let class = cluster.get(&["gatewayclass/own"]).expect("there");
    let features = class["status"]["supportedFeatures"].as_array();
    assert!(features.is_some_and(|it| it.len() > 40), "{class:#}");
    let route = cluster.until(&["-n", "routes", "httproute/echo"], |it| {
        let accepted = |it: &Value| condition(&it["conditions"], "Accepted") == "True Accepted";
        parents(it).len() == 2 && parents(it).iter().all(accepted)
    });
    let mut of: Vec<_> = parents(&route)
        .iter()
        .map(|it| &it["parentRef"]["namespace"])
        .collect();
    of.sort_by_key(ToString::to_string);
    assert_eq!(of, ["all", "mine"]);
    let before = [versions(cluster, "mine"), versions(cluster, "routes")];
    sleep(QUIET);
    assert_eq!(
        before,
        [versions(cluster, "mine"), versions(cluster, "routes")]
    );

    for refused in [
        "list secrets -n mine",
        "get secrets -n routes",
        "create services -n routes",
        "update leases -n narthex",
        "patch gatewayclasses --subresource=status",
        "create deployments -n mine",
    ] {
        assert!(!cluster.may("mine:web-own", refused), "{refused}");
    }
    let controller = "narthex:narthex";
    assert!(cluster.may(controller, "bind clusterroles/narthex-gateway"));
    for refused in [
        "bind clusterroles/cluster-admin",
        "bind clusterroles/narthex",
        "escalate clusterroles",
        "update clusterroles",
        "create roles -n mine",
    ] {
        assert!(!cluster.may(controller, refused), "{refused}");
    }

    // Its rights are enough, before some are taken away: that is brought back, and what is changed.
    assert_nothing_was_forbidden(&logs(cluster, "narthex"));
    assert_nothing_was_forbidden(&logs(cluster, "mine"));
    cluster.kubectl(&["-n", "mine", "delete", "rolebinding/web-own", "pdb/web-own"]);
    cluster.kubectl(&["-n", "mine", "scale", "deployment/web-own", "--replicas=1"]);
    wait::until("all of it is there again", || {
        let deployment = cluster.get(&["-n", "mine", "deployment/web-own"]);
        deployment.is_ok_and(|it| it["spec"]["replicas"] == 2)
            && cluster.get(&["-n", "mine", "rolebinding/web-own"]).is_ok()
            && cluster.get(&["-n", "mine", "pdb/web-own"]).is_ok()
    });
    until_answered(cluster, &format!("{address}:80"));
    until_dedicated(cluster, "mine", "own");
    assert_nothing_was_forbidden(&logs(cluster, "narthex"));
    // Whoever asked while its rights were away was refused; nobody is any more.
    let meanwhile = logs(cluster, "mine");
    sleep(QUIET);
    assert_eq!(forbidden(&logs(cluster, "mine")), forbidden(&meanwhile));

    assert!(
        made(cluster, "mine").len() >= 7,
        "{:?}",
        made(cluster, "mine")
    );
    cluster.delete(&["-n", "mine", "gateway/web"]);
    wait::eventually("all of it goes with its Gateway", || {
        match made(cluster, "mine") {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
    let route = cluster.until(&["-n", "routes", "httproute/echo"], |it| {
        parents(it).len() == 1
    });
    assert_eq!(parents(&route)[0]["parentRef"]["namespace"], "all");
    until_answered(cluster, &format!("{beside}:80"));
    cluster.delete(&["-n", "all", "gateway/web"]);
}

#[test]
fn a_gateway_changes_between_a_shared_data_plane_and_its_own_and_keeps_its_address() {
    let cluster = cluster();
    cluster.namespace("moving");
    cluster.echo("moving", "echo", 1);
    cluster.apply(&parameters("moving", "plane", "data-plane: shared"));
    cluster.apply(&gateway("moving", "shared", OWN_PARAMETERS));
    cluster.apply(&route("moving", &["moving"]));
    let (service, address) = until_address(cluster, "moving", "shared");
    let to = format!("{address}:80");
    until_answered(cluster, &to);
    let is_programmed = |it: &Value| of_gateway(it, "Programmed") == "True Programmed";
    cluster.until(&["-n", "moving", "gateway/web"], is_programmed);
    let done = AtomicBool::new(false);
    let failures = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut failures = Vec::new();
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) {
                match cluster.ask(&to, "any.example", "/there") {
                    Ok(response) if response.status == 200 => {}
                    Ok(response) => failures.push(response.status.to_string()),
                    Err(error) => failures.push(error),
                }
                asked += 1;
                sleep(Duration::from_millis(20));
            }
            (asked, failures)
        });
        let plane = "data-plane: dedicated, replicas: '2', memory-request: 64Mi";
        cluster.apply(&parameters("moving", "plane", plane));
        until_dedicated(cluster, "moving", "shared");
        cluster.until(&["-n", "moving", "service/web-shared"], |it| {
            it["metadata"]["labels"]["narthex.dev/data-plane"] == "dedicated"
        });
        cluster.until(&["-n", "moving", "gateway/web"], |it| {
            is_programmed(it) && of_gateway(it, "narthex.dev/DataPlane") == "True Deployed"
        });
        sleep(QUIET);
        cluster.apply(&parameters("moving", "plane", "data-plane: shared"));
        wait::eventually("what was its own goes", || {
            let left = made(cluster, "moving");
            let left: Vec<_> = left.iter().filter(|it| !it.starts_with("Lease/")).collect();
            match *left {
                [service] if service == "Service/web-shared" => Ok(()),
                _ => Err(format!("{left:?}")),
            }
        });
        let shared = pods(cluster, "narthex", "controller");
        wait::until("the shared ones are its endpoints", || {
            cluster.endpoint_addresses("moving", "web-shared") == shared
        });
        cluster.until(&["-n", "moving", "gateway/web"], |it| {
            is_programmed(it) && of_gateway(it, "narthex.dev/DataPlane").is_empty()
        });
        done.store(true, Ordering::Relaxed);
        asking.join().expect("no panic")
    });
    assert_eq!(failures.1, [""; 0], "of {}", failures.0);
    let (after, now) = until_address(cluster, "moving", "shared");
    assert_eq!(
        (now, &after["metadata"]["uid"]),
        (address, &service["metadata"]["uid"])
    );
    until_answered(cluster, &to);
    cluster.delete(&["-n", "moving", "gateway/web"]);
}

#[test]
fn wrong_parameters_and_anothers_deployment_are_told_of_and_nothing_is_taken_over() {
    let cluster = cluster();
    cluster.namespace("wrong");
    let web = ["-n", "wrong", "gateway/web"];
    let data = "data-plane: dedicated, replica: '3', memory-limit: lots";
    cluster.apply(&parameters("wrong", "plane", data));
    cluster.apply(&gateway("wrong", "own", OWN_PARAMETERS));
    let gateway = cluster.until(&web, |it| {
        of_gateway(it, "Accepted") == "False InvalidParameters"
    });
    let message = |gateway: &Value, name: &str| message(&gateway["status"]["conditions"], name);
    let said = message(&gateway, "Accepted");
    for part in [
        "wrong/plane",
        "replica is no key",
        "write replicas",
        "memory-limit is",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(made(cluster, "wrong"), [""; 0]);

    // Somebody else's of the name is not touched.
    cluster.apply(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-own, namespace: wrong}
spec:
  replicas: 0
  selector: {matchLabels: {app: theirs}}
  template:
    metadata: {labels: {app: theirs}}
    spec: {containers: [{name: echo, image: rig/echo}]}
",
    );
    cluster.apply(&parameters("wrong", "plane", "replicas: '1'"));
    let gateway = cluster.until(&web, |it| {
        of_gateway(it, "narthex.dev/DataPlane") == "False Invalid"
    });
    let said = message(&gateway, "narthex.dev/DataPlane");
    assert!(
        said.contains("Deployment wrong/web-own is somebody else's"),
        "{said}"
    );
    let theirs = cluster
        .get(&["-n", "wrong", "deployment/web-own"])
        .expect("there");
    let labels = &theirs["spec"]["selector"]["matchLabels"];
    assert_eq!(labels, &serde_json::json!({"app": "theirs"}));

    // Once its owner takes it away, the Gateway has its own.
    cluster.delete(&["-n", "wrong", "deployment/web-own"]);
    cluster.until(&web, |it| {
        of_gateway(it, "Programmed") == "True Programmed"
            && of_gateway(it, "narthex.dev/DataPlane") == "True Deployed"
    });

    // A class of somebody else's is nobody's business here any more.
    let patch = r#"--patch={"spec": {"gatewayClassName": "somebody-elses"}}"#;
    cluster.kubectl(&["-n", "wrong", "patch", "gateway/web", "--type=merge", patch]);
    wait::eventually("all of it goes but its Lease", || {
        match &made(cluster, "wrong")[..] {
            [lease] if lease == "Lease/web-own" => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
    cluster.delete(&web);
}
