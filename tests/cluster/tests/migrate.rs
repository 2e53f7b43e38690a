//! `narthex migrate` on a living cluster: what its controller was started with, and no more rights
//! than it takes.

use std::path::Path;
use std::process::Command;

use cluster_tests::Cluster;
use serde_json::Value;

const SITE: &str = r#"
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: v1
kind: Namespace
metadata: {name: ingress-nginx}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: ingress-nginx}
data: {proxy-body-size: 8m, http-snippet: "x;"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: controller, namespace: ingress-nginx}
spec:
  replicas: 0
  selector: {matchLabels: {app: controller}}
  template:
    metadata: {labels: {app: controller}}
    spec:
      containers:
      - name: controller
        image: registry.k8s.io/ingress-nginx/controller:v1.15.0
        args:
        - /nginx-ingress-controller
        - --configmap=$(POD_NAMESPACE)/settings
        - --election-id=leader
        - --sync-period=1m
        - --no-such-flag=1
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: default}
stringData: {auth: "bob:$apr1$abcdefgh$0000000000000000000000"}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: default}
spec:
  ingressClassName: nginx
  tls: [{hosts: [web.test], secretName: certificate}]
  rules:
  - host: web.test
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: guarded
  namespace: default
  annotations:
    nginx.ingress.kubernetes.io/auth-type: basic
    nginx.ingress.kubernetes.io/auth-secret: users
spec:
  ingressClassName: nginx
  rules:
  - host: guarded.test
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
"#;

/// May read Ingresses, their classes and Services, and nothing else.
const RIGHTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list]}
- {apiGroups: [""], resources: [services], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
"#;

fn migrate(kubeconfig: &Path) -> Value {
    let output = Command::new(program_tests::program::binary())
        .arg("migrate")
        .arg("--output=json")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn a_cluster_is_read_with_its_controllers_flags_and_without_rights_that_are_not_given() {
    let cluster = Cluster::start();
    cluster.apply(SITE);
    let found = migrate(&cluster.kubeconfig());
    assert_eq!(found["inventory"]["ingresses"], 2, "{found:#}");
    assert_eq!(found["inventory"]["configMap"], "ingress-nginx/settings");
    let controllers = serde_json::json!(["Deployment ingress-nginx/controller"]);
    assert_eq!(found["cluster"]["controllers"], controllers);
    assert_eq!(
        found["cluster"]["unread"],
        serde_json::json!([]),
        "{found:#}"
    );
    let flags = found["cluster"]["flags"].as_array().expect("a list");
    let fates: Vec<&str> = flags.iter().filter_map(|it| it["fate"].as_str()).collect();
    assert_eq!(
        fates,
        ["works", "works", "accepted", "unknown"],
        "{flags:?}"
    );
    let items = found["items"].as_array().expect("a list");
    let key = items.iter().find(|it| it["name"] == "http-snippet");
    assert_eq!(key.expect("there")["fate"], "refused", "{items:?}");
    let hosts = found["gateway"]["hosts"].as_array().expect("a list");
    let of = |name: &str| hosts.iter().find(|it| it["host"] == name).expect("there");
    // The certificate is nobody's to read, and not missed.
    assert_eq!(
        of("web.test")["differences"],
        serde_json::json!([]),
        "{hosts:?}"
    );
    assert_eq!(
        of("guarded.test")["differences"],
        serde_json::json!([]),
        "{hosts:?}"
    );

    cluster.apply(RIGHTS);
    let text = std::fs::read_to_string(cluster.kubeconfig()).expect("a kubeconfig");
    let account = "user: {as: 'system:serviceaccount:default:reader', ";
    let text = text.replacen("user: {", account, 1);
    assert!(text.contains(account), "{text}");
    let path = cluster.folder().join("kubeconfig-reader");
    std::fs::write(&path, text).expect("written");
    let found = migrate(&path);
    assert_eq!(found["inventory"]["ingresses"], 2, "{found:#}");
    let unread: Vec<&str> = found["cluster"]["unread"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for part in [
        "resources: [deployments]",
        "resources: [daemonsets]",
        "resources: [secrets]",
    ] {
        assert!(
            unread.iter().any(|it| it.contains(part)),
            "{part}: {unread:?}"
        );
    }
}
