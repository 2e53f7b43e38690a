//! Narthex as it is installed: by its chart, with the rights that the chart gives and no others.

use cluster_tests::chart::manifests;
use cluster_tests::ingress::{addresses, ingress};
use cluster_tests::{Cluster, wait};
use program_tests::certificate::Certificate;
use program_tests::tls::Client;
use serde_json::Value;

/// A namespace whose pods Kubernetes holds to a level of Pod Security.
fn namespace(cluster: &Cluster, name: &str, level: &str) {
    cluster.namespace(name);
    let label = format!("pod-security.kubernetes.io/enforce={level}");
    cluster.kubectl(&["label", "namespace", name, &label]);
}

/// The address that a Service of type LoadBalancer got.
fn balancer(cluster: &Cluster, namespace: &str, service: &str) -> String {
    let what = format!("service/{service}");
    let service = cluster.until(&["-n", namespace, &what], |it| !addresses(it).is_empty());
    addresses(&service)
}

#[track_caller]
fn until_status(cluster: &Cluster, address: &str, host: &str, status: u16) {
    wait::eventually(
        &format!("{host} at {address} answers {status}"),
        || match cluster.ask(address, host, "/")?.status {
            got if got == status => Ok(()),
            got => Err(format!("it is {got}")),
        },
    );
}

/// What all pods of a release said so far.
fn log(cluster: &Cluster, namespace: &str, release: &str) -> String {
    let label = format!("app.kubernetes.io/instance={release}");
    cluster.kubectl(&["-n", namespace, "logs", "--tail=-1", "-l", &label])
}

/// For the failure of a test: these may go while they are asked.
fn log_of_those_that_stay(cluster: &Cluster, pods: &Value) -> String {
    let pods = pods["items"].as_array().into_iter().flatten();
    let names = pods.filter_map(|pod| pod["metadata"]["name"].as_str());
    let logs = names.map(|name| {
        let log = cluster.try_kubectl(&["-n", "narthex", "logs", "--tail=100", name], "");
        format!("{name}\n{}\n", log.stdout)
    });
    logs.collect()
}

#[track_caller]
fn assert_nothing_was_forbidden(log: &str) {
    let forbidden = |line: &&str| line.to_lowercase().contains("forbidden");
    let lines: Vec<_> = log.lines().filter(forbidden).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

/// The same of Gateway API's experimental kinds, which need not be there to be asked for.
fn may_with_experiments(
    cluster: &Cluster,
    account: &str,
    verb: &str,
    resource: &str,
    part: &str,
) -> bool {
    let review = format!(
        "
apiVersion: authorization.k8s.io/v1
kind: SubjectAccessReview
spec:
  user: system:serviceaccount:{account}
  resourceAttributes:
    group: gateway.networking.x-k8s.io
    namespace: shop
    verb: {verb}
    resource: {resource}
    subresource: '{part}'
"
    );
    let create = ["create", "-o", "jsonpath={.status.allowed}", "-f", "-"];
    let said = cluster.try_kubectl(&create, &review);
    assert!(said.success, "{said:?}");
    said.stdout.trim() == "true"
}

fn tls_secret(namespace: &str, name: &str, certificate: &Certificate) -> String {
    let secret = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": certificate.chain_pem, "tls.key": certificate.key_pem},
    });
    format!("{secret}\n---")
}

/// As the Prometheus operator has it, but for the schema.
const SERVICE_MONITORS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: ServiceMonitor, listKind: ServiceMonitorList, plural: servicemonitors, singular: servicemonitor}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn with_default_values_it_serves_and_tells_with_the_rights_of_the_chart_alone() {
    let cluster = Cluster::shared();
    namespace(cluster, "narthex", "restricted");
    cluster.namespace("shop");
    for name in [
        "namespace.yaml",
        "narthex.yaml",
        "daemonset.yaml",
        "one-namespace.yaml",
    ] {
        let path = manifests().join(name).display().to_string();
        cluster.kubectl(&["apply", "--dry-run=server", "-f", &path]);
    }
    cluster.install("narthex", "narthex", &[]);
    let address = balancer(cluster, "narthex", "narthex");

    // A site with a certificate, and an Ingress that has a mistake.
    cluster.echo("shop", "web", 2);
    let certificate = Certificate::of(&["web.example.com"]);
    let tls = "spec:\n  tls: [{hosts: [web.example.com], secretName: web-tls}]";
    let plain = ingress("shop", "plain", "narthex");
    let secure = ingress("shop", "web", "narthex").replace("spec:", tls);
    let broken =
        ingress("shop", "broken", "narthex").replace("name: web, port", "name: nobody, port");
    cluster.apply(&(tls_secret("shop", "web-tls", &certificate) + &plain + &secure + &broken));
    until_status(cluster, &format!("{address}:80"), "plain.example.com", 200);
    until_status(cluster, &format!("{address}:80"), "web.example.com", 308);
    let door = cluster.door(format!("{address}:443"));
    wait::until("the certificate is served", || {
        let connected = Client::trusting_anything().connect_to(door, "web.example.com");
        connected.is_ok_and(|(mut conn, handshake)| {
            handshake.certificate == certificate.der
                && conn.get("web.example.com", "/").status == 200
        })
    });
    cluster.until_addresses("shop", "plain", &address);
    wait::until("the mistake is an Event", || {
        told_of(cluster, "shop", "broken").contains("there is no Service")
    });

    // What people ask for by its name, and everything else that it may do.
    let account = "narthex:narthex";
    for allowed in [
        "get secrets -n shop",
        "watch secrets -n shop",
        "list ingresses -A",
    ] {
        assert!(cluster.may(account, allowed), "{allowed}");
    }
    for refused in [
        "list secrets -A",
        "list secrets -n narthex",
        "create secrets -n narthex",
        "list configmaps -A",
        "update ingresses -n shop",
        "get nodes",
        "list pods -n narthex",
        "get leases.coordination.k8s.io -n shop",
        "patch validatingwebhookconfigurations",
    ] {
        assert!(!cluster.may(account, refused), "{refused}");
    }
    for (verb, resource, part, allowed) in [
        ("watch", "xbackends", "", true),
        ("patch", "xbackends", "status", true),
        ("patch", "xbackendtrafficpolicies", "status", true),
        ("patch", "xbackends", "", false),
    ] {
        let may = may_with_experiments(cluster, account, verb, resource, part);
        assert_eq!(may, allowed, "{verb} {resource}/{part}");
    }
    let said = cluster.narthex(&["status"]);
    assert!(said.success && said.stdout.contains("narthex-"), "{said:?}");
    let said = cluster.narthex(&["routes", "plain.example.com"]);
    assert!(
        said.success && said.stdout.contains("shop/plain"),
        "{said:?}"
    );
    let log_of_the_first = wait::eventually("requests are logged", || {
        match log(cluster, "narthex", "narthex") {
            log if log.contains("plain.example.com") => Ok(log),
            log => Err(log),
        }
    });

    // An upgrade to all that the chart can.
    cluster.apply(SERVICE_MONITORS);
    let crd = "crd/servicemonitors.monitoring.coreos.com";
    cluster.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=180s"]);
    let more = [
        "controller.replicaCount=3",
        "controller.admissionWebhooks.enabled=true",
        "controller.metrics.enabled=true",
        "controller.metrics.serviceMonitor.enabled=true",
        "controller.networkPolicy.enabled=true",
        "controller.extraArgs.log-level=debug",
    ];
    cluster.install("narthex", "narthex", &more);
    wait::eventually("the API server asks before it stores an Ingress", || {
        let bad = ingress("shop", "bad", "narthex").replace("path: /,", "path: \"/a?b\",");
        let said = cluster.try_kubectl(&["apply", "--dry-run=server", "-f", "-"], &bad);
        let field = "spec.rules[0].http.paths[0].path";
        match !said.success && said.stderr.contains(field) {
            true => Ok(()),
            false => Err(format!("{said:?}")),
        }
    });
    let metrics = cluster.get(&["-n", "narthex", "service/narthex-metrics"]);
    let metrics = metrics.expect("there")["spec"]["clusterIP"].take();
    let metrics = format!("{}:10254", metrics.as_str().expect("an address"));
    // Who ends may be behind the Service for a moment still.
    wait::eventually("its metrics are told", || {
        let text = cluster.ask(&metrics, "metrics", "/metrics")?.text();
        match text.contains("narthex_admission_reviews_total") {
            true => Ok(()),
            false => Err(text),
        }
    });
    for made in [
        "poddisruptionbudget",
        "networkpolicy",
        "servicemonitor",
        "ingressclass",
    ] {
        assert!(
            cluster.get(&["-n", "narthex", made, "narthex"]).is_ok(),
            "{made}"
        );
    }
    cluster.until_addresses("shop", "web", &address);
    // The number of pods is then somebody else's.
    let scaled = [&more[..], &["controller.autoscaling.enabled=true"]].concat();
    cluster.install("narthex", "narthex", &scaled);
    let scaler = cluster.get(&["-n", "narthex", "horizontalpodautoscaler", "narthex"]);
    assert_eq!(scaler.expect("there")["spec"]["minReplicas"], 2);

    // Pods that end meanwhile answer, too, and take their logs with them.
    wait::eventually("a request is in the log of a pod that stays", || {
        until_status(cluster, &format!("{address}:80"), "plain.example.com", 200);
        match log(cluster, "narthex", "narthex") {
            log if log.contains("plain.example.com") => Ok(()),
            log => Err(log),
        }
    });
    // With `debug`, the log has all that the API server said no to.
    for log in [log_of_the_first, log(cluster, "narthex", "narthex")] {
        assert!(log.contains("plain.example.com"), "requests are logged");
        assert_nothing_was_forbidden(&log);
    }

    // As documented: whoever ends last takes the addresses away.
    cluster.kubectl(&[
        "-n",
        "narthex",
        "scale",
        "deployment/narthex",
        "--replicas=0",
    ]);
    cluster.until_addresses("shop", "plain", "");
    cluster.until_addresses("shop", "web", "");
    let label = "app.kubernetes.io/instance=narthex";
    wait::eventually("the pods have ended", || {
        let pods = cluster.get(&["-n", "narthex", "pods", "-l", label])?;
        match pods["items"].as_array().is_some_and(Vec::is_empty) {
            true => Ok(()),
            false => Err(log_of_those_that_stay(cluster, &pods)),
        }
    });
    // What is documented to be left, and nothing else.
    let said = cluster.helm(&["uninstall", "narthex", "-n", "narthex", "--wait"], &[]);
    assert!(said.success, "{said:?}");
    wait::eventually("all is gone but a Secret and a Lease", || {
        let left = left_over(cluster);
        match left[..] == ["Lease narthex-leader", "Secret narthex-admission"] {
            true => Ok(()),
            false => Err(format!("{left:?}")),
        }
    });
}

/// What Events say of an Ingress.
fn told_of(cluster: &Cluster, namespace: &str, name: &str) -> String {
    let events = cluster.get(&["-n", namespace, "events.events.k8s.io"]);
    let events = events.unwrap_or_default()["items"].take();
    let events = events.as_array().cloned().unwrap_or_default();
    let of_it = events
        .iter()
        .filter(|it| it["regarding"]["name"] == name && it["regarding"]["uid"].is_string());
    of_it.filter_map(|it| it["note"].as_str()).collect()
}

/// What there still is of the release and in its namespace that a namespace does not have by itself.
fn left_over(cluster: &Cluster) -> Vec<String> {
    let kinds = "all,secrets,configmaps,leases,serviceaccounts,roles,rolebindings,networkpolicies,\
        poddisruptionbudgets,horizontalpodautoscalers,servicemonitors,ingresses";
    let cluster_wide =
        "ingressclasses,clusterroles,clusterrolebindings,validatingwebhookconfigurations";
    let label = "app.kubernetes.io/instance=narthex";
    let all = [
        cluster.get(&["-n", "narthex", kinds]),
        cluster.get(&[cluster_wide, "-l", label]),
    ];
    let name = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", object["kind"].as_str().unwrap_or_default())
    };
    let all = all.map(|list| list.expect("lists")["items"].take());
    let all = all.iter().filter_map(Value::as_array).flatten().map(name);
    let of_the_namespace = ["ConfigMap kube-root-ca.crt", "ServiceAccount default"];
    let mut left: Vec<_> = all
        .filter(|it| !of_the_namespace.contains(&it.as_str()))
        .collect();
    left.sort();
    left
}

#[test]
fn in_one_namespace_a_role_is_enough() {
    let cluster = Cluster::shared();
    namespace(cluster, "mine", "restricted");
    cluster.namespace("ours");
    cluster.namespace("theirs");
    let values = [
        "controller.scope.enabled=true",
        "controller.scope.namespace=ours",
        "rbac.scope=true",
        "controller.ingressClass=mine",
    ];
    cluster.install("mine", "mine", &values);
    let everywhere = "clusterroles,clusterrolebindings,ingressclasses";
    let label = "app.kubernetes.io/instance=mine";
    let found = cluster.get(&[everywhere, "-l", label]).expect("lists");
    assert_eq!(found["items"].as_array().map(Vec::len), Some(0), "{found}");

    cluster.echo("ours", "web", 1);
    cluster.apply(&(ingress("theirs", "there", "mine") + &ingress("ours", "here", "mine")));
    let address = balancer(cluster, "mine", "mine-narthex");
    until_status(cluster, &format!("{address}:80"), "here.example.com", 200);
    until_status(cluster, &format!("{address}:80"), "there.example.com", 404);
    cluster.until_addresses("ours", "here", &address);
    let account = "mine:mine-narthex";
    assert!(cluster.may(account, "list ingresses -n ours"));
    assert!(!cluster.may(account, "list ingresses -n theirs"));
    assert!(!cluster.may(account, "get secrets -n theirs"));
    assert!(!cluster.may(account, "list secrets -n ours"));
    let said = cluster.narthex(&["status", "-n", "mine"]);
    assert!(said.success, "{said:?}");
}

#[test]
fn a_daemonset_serves_on_every_nodes_own_ports() {
    let cluster = Cluster::shared();
    namespace(cluster, "nodes", "privileged");
    let values = [
        "controller.kind=DaemonSet",
        "controller.hostPort.enabled=true",
        "controller.service.enabled=false",
        "controller.ingressClass=nodes",
        "controller.ingressClassResource.name=nodes",
        "controller.ingressClassResource.controllerValue=example.com/nodes",
    ];
    cluster.install("nodes", "nodes", &values);
    cluster.namespace("edge");
    cluster.echo("edge", "web", 1);
    cluster.apply(&ingress("edge", "edge", "nodes"));
    for node in ["10.244.0.1", "10.244.0.2"] {
        until_status(cluster, &format!("{node}:80"), "edge.example.com", 200);
        until_status(cluster, &format!("{node}:80"), "plain.example.com", 404);
    }
    cluster.until_addresses("edge", "edge", "10.244.0.1,10.244.0.2");
    assert_nothing_was_forbidden(&log(cluster, "nodes", "nodes"));

    // Ports of the node are all that a stricter level has against it.
    let at_level = |level: &str| {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        let labelled = ["label", "--dry-run=server", "--overwrite", "ns", "nodes"];
        cluster.try_kubectl(&[&labelled[..], &[&label]].concat(), "")
    };
    let said = at_level("restricted");
    let complaint = said
        .stderr
        .lines()
        .find(|line| line.contains("nodes-narthex-"));
    assert!(
        complaint.is_some_and(|it| it.ends_with(": hostPort")),
        "{said:?}"
    );
    let said = at_level("baseline");
    assert!(said.stderr.contains(": hostPort"), "{said:?}");
}
