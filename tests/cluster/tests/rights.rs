//! What Narthex needs to be allowed for status, Events and Leases: what docs/kubernetes.md says.

use cluster_tests::ingress::{class, ingress, service};
use cluster_tests::{Cluster, wait};
use rustix::process::Signal;

/// The rights of the table, for one namespace, with those for reading what is served.
const RIGHTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: narthex, namespace: rights}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: narthex, namespace: rights}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, patch, delete]}
- {apiGroups: [""], resources: [pods], verbs: [get]}
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [patch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
- {apiGroups: [""], resources: [services], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: narthex, namespace: rights}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: narthex}
subjects: [{kind: ServiceAccount, name: narthex, namespace: rights}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: narthex-rights}
rules:
- {apiGroups: [networking.k8s.io], resources: [ingressclasses], verbs: [get, list, watch]}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [ingress-nginx-leader, ingress-controller-leader]
  verbs: [list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: narthex-rights}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: narthex-rights}
subjects: [{kind: ServiceAccount, name: narthex, namespace: rights}]
"#;

#[test]
fn the_documented_rights_are_enough() {
    let cluster = Cluster::start();
    cluster.namespace("rights");
    cluster.apply(RIGHTS);
    let classes = class("narthex", "narthex.dev/ingress") + &class("nginx", "k8s.io/ingress-nginx");
    cluster.apply(&(classes + &service("rights")));
    let broken =
        ingress("rights", "broken", "narthex").replace("name: web, port", "name: nobody, port");
    cluster.apply(&(ingress("rights", "web", "nginx") + &broken));
    // The administrator, who acts as the account.
    let account = "user: {as: 'system:serviceaccount:rights:narthex', ";
    let text = std::fs::read_to_string(cluster.kubeconfig_inside()).expect("a kubeconfig");
    let text = text.replacen("user: {", account, 1);
    assert!(text.contains(account), "{text}");
    let path = cluster.folder().join("kubeconfig-rights");
    std::fs::write(&path, text).expect("written");
    let mut narthex = cluster
        .serve()
        .arg("--kubeconfig")
        .arg(&path)
        .args(&["--watch-namespace", "rights", "--pod-namespace", "rights"])
        .args(&["--publish-service", "rights/web"])
        .start();
    let address = cluster
        .get(&["-n", "rights", "service/web"])
        .expect("there");
    let address = address["spec"]["clusterIP"].as_str().expect("an address");
    cluster.until_addresses("rights", "web", address);
    wait::until("what is wrong is told", || {
        let events = cluster.get(&["-n", "rights", "events.events.k8s.io"]);
        let events = events.unwrap_or_default()["items"].take();
        let events = events.as_array().cloned().unwrap_or_default();
        events
            .iter()
            .any(|it| it["regarding"]["name"] == "broken" && it["regarding"]["uid"].is_string())
    });
    narthex.signal(Signal::TERM);
    wait::until("it ends", || {
        matches!(narthex.child.try_wait(), Ok(Some(_)))
    });
    cluster.until_addresses("rights", "web", "");
    let leases = cluster.get(&["-n", "rights", "leases"]).expect("Leases");
    assert_eq!(
        leases["items"].as_array().map(Vec::len),
        Some(1),
        "{leases:#}"
    );
    let log = narthex.log();
    assert!(!log.contains("forbidden"), "{log}");
}
