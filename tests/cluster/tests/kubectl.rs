//! `kubectl narthex` against replicas in pods, by way of the API server alone.

use cluster_tests::{Cluster, Said, wait};
use serde_json::Value;

const NARTHEX: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: narthex, namespace: narthex}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: narthex-test}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: narthex, namespace: narthex}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: narthex, namespace: narthex}
spec:
  replicas: 2
  selector: {matchLabels: {app.kubernetes.io/name: narthex}}
  template:
    metadata: {labels: {app.kubernetes.io/name: narthex}}
    spec:
      serviceAccountName: narthex
      containers:
      - name: narthex
        image: narthex
        args: [serve, --http-port=8080, --https-port=8443, --workers=1, '--health-address=:10254']
        readinessProbe: {httpGet: {path: /readyz, port: 10254}, periodSeconds: 1}
";

const OBJECTS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: narthex}
spec: {controller: narthex.dev/ingress}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: default}
spec:
  ingressClassName: narthex
  rules:
  - host: shop.test
    http:
      paths:
      - {path: /cart, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}
";

/// Who may do what the documentation says, and nothing else.
const READER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: narthex}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kubectl-narthex, namespace: narthex}
rules:
- {apiGroups: [''], resources: [pods], verbs: [get, list]}
- {apiGroups: [''], resources: [pods/portforward], verbs: [get, create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: kubectl-narthex, namespace: narthex}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: kubectl-narthex}
subjects: [{kind: ServiceAccount, name: reader, namespace: narthex}]
";

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn a_clusters_replicas_are_asked_by_port_forward_alone() {
    let cluster = Cluster::start();
    let said = cluster.narthex(&["status"]);
    assert!(!said.success);
    assert!(
        said.stderr.contains("app.kubernetes.io/name=narthex"),
        "{said:?}"
    );
    assert!(said.stderr.contains("--namespace"), "{said:?}");

    cluster.namespace("narthex");
    cluster.apply(OBJECTS);
    cluster.apply(NARTHEX);
    cluster.apply(READER);
    cluster.rolled_out("narthex", "deployment/narthex");

    // From here on with the rights that the documentation names.
    let reader = ["--as", "system:serviceaccount:narthex:reader"];
    let config = cluster.folder().join("reader");
    let text = std::fs::read_to_string(cluster.kubeconfig()).expect("a kubeconfig");
    std::fs::write(&config, text).expect("ours");
    let file = config.to_string_lossy().into_owned();
    let token = cluster.kubectl(&["-n", "narthex", "create", "token", "reader"]);
    let set = |arguments: &[&str]| {
        let all = [&["config", "--kubeconfig", &file], arguments].concat();
        cluster.kubectl(&all);
    };
    set(&[
        "set-credentials",
        "reader",
        &format!("--token={}", token.trim()),
    ]);
    set(&["set-context", "--current", "--user=reader"]);
    let ask = |arguments: &[&str]| cluster.narthex(&[arguments, &["--kubeconfig", &file]].concat());
    let forbidden = cluster.try_kubectl(&[&["get", "ingresses"], &reader[..]].concat(), "");
    assert!(!forbidden.success, "{forbidden:?}");

    let said = ask(&["status", "-o", "json"]);
    assert!(said.success, "{said:?}");
    let replicas = json(&said)["replicas"]
        .as_array()
        .expect("replicas")
        .clone();
    assert_eq!(replicas.len(), 2, "{said:?}");
    assert!(
        replicas
            .iter()
            .all(|replica| replica["status"]["ready"] == true),
        "{said:?}"
    );
    let pod = replicas[0]["pod"].as_str().expect("a name");
    let said = ask(&["status", "--pod", pod]);
    assert!(said.success && said.stdout.contains(pod), "{said:?}");
    assert_eq!(
        said.stdout
            .lines()
            .filter(|line| line.contains("yes"))
            .count(),
        1,
        "{said:?}"
    );

    let said = ask(&["routes", "shop.test"]);
    let line = said.stdout.lines().nth(1).unwrap_or_default().to_owned();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        cells[..5],
        [
            "shop.test",
            "Prefix",
            "/cart",
            "default/shop",
            "default/gone:80"
        ]
    );

    let said = ask(&["explain", "http://shop.test/cart/1"]);
    assert!(said.stdout.contains("Ingress default/shop"), "{said:?}");
    assert!(said.success, "a route answers, if with 503: {said:?}");
    let said = ask(&["explain", "http://other.test/"]);
    assert!(!said.success && said.stdout.contains("404"), "{said:?}");
    let said = ask(&["explain", "nonsense"]);
    assert!(!said.success && said.stderr.contains("no URL"), "{said:?}");

    let said = ask(&["check"]);
    assert!(!said.success, "{said:?}");
    let problem = "error: Ingress default/shop: \
        spec.rules[0].http.paths[0].backend.service.name: there is no Service";
    assert!(said.stdout.contains(problem), "{said:?}");

    let said = ask(&["certs", "-o", "json"]);
    assert_eq!(json(&said)[0]["source"], "self-signed", "{said:?}");

    let said = ask(&["status", "--admin-port", "9"]);
    assert!(
        !said.success && said.stdout.contains("--admin-port"),
        "{said:?}"
    );
    // A deployment that is scaled away is no riddle.
    cluster.kubectl(&[
        "-n",
        "narthex",
        "scale",
        "deployment/narthex",
        "--replicas=0",
    ]);
    wait::eventually("no pod is found", || {
        let said = ask(&["certs"]);
        match said.stderr.contains("no pod in namespace narthex") {
            true => Ok(()),
            false => Err(format!("{said:?}")),
        }
    });
}
