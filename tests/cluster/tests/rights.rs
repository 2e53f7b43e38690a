//! What Narthex needs to be allowed for status, Events and Leases: what docs/kubernetes.md says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::acme::{Answer, Solver};
use certs::ca::Issued;
use certs::vault::{Lock, Papers, Record, Vault};
use cluster::certificates::{Certificates, Happened, Place};
use cluster::{Access, Connection};
use cluster_tests::ingress::{class, ingress, service};
use cluster_tests::{Cluster, wait};
use objects::kinds::{Kind, ObjectKey};
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
    let path = as_account(&cluster, &cluster.kubeconfig_inside(), "rights");
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

/// A kubeconfig of the administrator, who acts as a namespace's account `narthex`.
fn as_account(cluster: &Cluster, kubeconfig: &Path, namespace: &str) -> PathBuf {
    let account = format!("user: {{as: 'system:serviceaccount:{namespace}:narthex', ");
    let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
    let text = text.replacen("user: {", &account, 1);
    assert!(text.contains(&account), "{text}");
    let path = cluster.folder().join(format!("kubeconfig-{namespace}"));
    std::fs::write(&path, text).expect("written");
    path
}

/// What certificates take on top, with Narthex in one namespace and what it watches in another.
const OF_CERTIFICATES: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: narthex, namespace: own}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: narthex, namespace: own}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, patch, delete]}
- {apiGroups: [""], resources: [secrets], verbs: [get, watch, create, update, patch]}
- {apiGroups: [""], resources: [configmaps], verbs: [get, create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: narthex, namespace: own}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: narthex}
subjects: [{kind: ServiceAccount, name: narthex, namespace: own}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: narthex, namespace: shop}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [get, watch, create, update, patch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [get, list, watch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: narthex, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: narthex}
subjects: [{kind: ServiceAccount, name: narthex, namespace: own}]
"#;

#[test]
fn the_documented_rights_are_enough_for_certificates() {
    let cluster = Cluster::start();
    for namespace in ["own", "shop"] {
        cluster.namespace(namespace);
    }
    cluster.apply(&(OF_CERTIFICATES.to_owned() + "---" + &ingress("shop", "web", "narthex")));
    let path = as_account(&cluster, &cluster.kubeconfig(), "own");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let connection = Connection::open(&Access::File(path)).await;
        let place = Place {
            namespace: "own".to_owned(),
            replica: "a".to_owned(),
            election_id: "narthex-leader".to_owned(),
            challenges: "narthex-challenges".to_owned(),
        };
        let ours = Certificates::new(&connection.expect("a kubeconfig"), place);
        let (vault, lock, papers) = (ours.vault(), ours.lock(), ours.papers());
        let id = "shop/web-tls";
        let held = lock.try_lock(id).await.expect("may lock").expect("free");
        for text in ["one", "two"] {
            let kept = vault.read(id).await.expect("may read");
            let issued = Issued {
                chain: text.to_owned(),
                key: text.to_owned(),
                ca: None,
            };
            let record = Record {
                issued: Some(issued),
                ..Record::default()
            };
            let state = kept.as_ref().map(|(_, state)| state);
            vault.write(id, &record, state).await.expect("may write");
            for id in ["account", "shop/account"] {
                let kept = papers.read(id).await.expect("may read");
                let entries = [("key".to_owned(), text.into())].into();
                let version = kept.as_ref().map(|(_, version)| version);
                papers
                    .write(id, &entries, version)
                    .await
                    .expect("may write");
            }
            ours.publish_bundle("trust", text)
                .await
                .expect("may publish");
            let web = ObjectKey::new(Kind::Ingress, "shop", "web");
            let failed = Happened::Failed("no".to_owned(), 1 + u32::from(text == "two"));
            ours.announcer().tell(web, &failed).await;
        }
        drop(held);
        let answers = [Answer::Http {
            name: "web.test".to_owned(),
            token: "token".to_owned(),
            key_authorization: "token.print".to_owned(),
        }];
        let solver = ours.solver();
        solver.present(&answers).await.expect("may put up");
        solver.withdraw(&answers).await;
        let given_back = async {
            while lock.try_lock(id).await.expect("may lock").is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let given_back = tokio::time::timeout(Duration::from_secs(10), given_back).await;
        given_back.expect("it is given back, which an expired one would not be yet");
    });
    let challenges = cluster.get(&["-n", "own", "secret/narthex-challenges"]);
    assert!(challenges.expect("there")["data"].is_null(), "withdrawn");
    let events = cluster.get(&["-n", "shop", "events.events.k8s.io"]);
    assert_eq!(events.expect("some")["items"][0]["series"]["count"], 2);
}
