//! Tools find a cluster's registry by the ConfigMap that Narthex keeps (KEP-1755).

use std::process::Command;

use cluster_tests::{Cluster, Registry, wait};
use serde_json::{Value, json};

/// As the chart gives them.
const RIGHTS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: registry, namespace: images}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: registry, namespace: kube-public}
rules:
- apiGroups: ['']
  resources: [configmaps]
  resourceNames: [local-registry-hosting]
  verbs: [get, create, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: registry, namespace: kube-public}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: registry}
subjects: [{kind: ServiceAccount, name: registry, namespace: images}]
";

const MAP: [&str; 3] = ["-n", "kube-public", "configmap/local-registry-hosting"];

/// What the ConfigMap tells, if it is there.
fn told(cluster: &Cluster) -> Result<String, String> {
    let map = cluster.get(&MAP)?;
    let text = map["data"]["localRegistryHosting.v1"].as_str();
    text.map(str::to_owned).ok_or_else(|| map.to_string())
}

#[track_caller]
fn until_told(cluster: &Cluster, part: &str) {
    wait::eventually(part, || match told(cluster)? {
        text if text.contains(part) => Ok(()),
        text => Err(text),
    });
}

#[test]
fn it_is_kept_as_it_is_to_be_and_one_of_somebody_else_is_left_alone() {
    let cluster = &Cluster::start();
    cluster.namespace("images");
    cluster.apply(RIGHTS);
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "local-registry-hosting", "namespace": "kube-public"},
        "data": {"localRegistryHosting.v1": "host: \"theirs:5000\"\n"}});
    cluster.apply(&foreign.to_string());
    let arguments = [
        "--hosting=localhost:5000",
        "--hosting-from-nodes=10.244.0.1:30500",
        "--hosting-from-pods=registry.images.svc:5000",
        "--hosting-help=https://example.com/registry",
    ];
    let kubeconfig = cluster.kubeconfig_as("images", "registry");
    let mut registry = Registry::start(cluster, kubeconfig.clone(), &arguments);
    wait::until("it is said what is in the way", || {
        registry.log().contains("was not made by Narthex")
    });
    assert_eq!(told(cluster).as_deref(), Ok("host: \"theirs:5000\"\n"));

    // Once that has gone, it is ours; and comes back as it was when somebody changes it.
    cluster.delete(&MAP);
    until_told(cluster, "host: \"localhost:5000\"\n");
    let expected = "host: \"localhost:5000\"\n\
                    hostFromContainerRuntime: \"10.244.0.1:30500\"\n\
                    hostFromClusterNetwork: \"registry.images.svc:5000\"\n\
                    help: \"https://example.com/registry\"\n";
    assert_eq!(told(cluster).as_deref(), Ok(expected));
    let change = json!({"data": {"localRegistryHosting.v1": "host: \"x\"\n", "other": "stays"}});
    let change = change.to_string();
    cluster.kubectl(&[&["patch"][..], &MAP, &["-p", &change]].concat());
    until_told(cluster, expected);
    let map = cluster.get(&MAP).expect("there");
    assert_eq!(map["data"]["other"], "stays", "what others added");
    let log = registry.log();
    assert!(!log.contains("forbidden"), "{log}");
    for refused in [
        "create configmaps -n kube-public",
        "patch configmaps/other -n kube-public",
        "get configmaps/local-registry-hosting -n images",
    ] {
        assert!(!cluster.may("images:registry", refused), "{refused}");
    }
    registry.end();
    assert_eq!(told(cluster).as_deref(), Ok(expected), "over a restart");

    // Beside `narthex serve`, and with what has become of the flags.
    let storage = cluster.folder().join("beside");
    let address = format!("127.0.0.1:{}", program_tests::ports::free());
    let _narthex = cluster
        .serve()
        .env("KUBECONFIG", &kubeconfig)
        .args(&["--registry", &address, "--registry-hosting=r.example.com"])
        .arg("--registry-storage")
        .arg(storage)
        .start();
    until_told(cluster, "host: \"r.example.com\"\n");
    assert!(!told(cluster).expect("there").contains("hostFrom"));
}

#[test]
fn what_node_config_prints_is_what_the_api_takes_and_is_somebody_elses() {
    let cluster = &Cluster::start();
    cluster.namespace("images");
    cluster.apply(RIGHTS);
    let mut command = Command::new(program_tests::program::binary());
    command.args(["registry", "node-config", "localhost:5000", "--config-map"]);
    let printed = command.output().expect("it runs").stdout;
    cluster.apply(&String::from_utf8_lossy(&printed));
    let by = |manager: &str| {
        let map = cluster.get(&[&MAP[..], &["--show-managed-fields"]].concat());
        let fields = map.expect("there")["metadata"]["managedFields"].take();
        let managers = fields.as_array().into_iter().flatten();
        let mut managers = managers.map(|it: &Value| it["manager"].clone());
        managers.any(|it| it == manager)
    };
    let kubeconfig = cluster.kubeconfig_as("images", "registry");
    let registry = Registry::start(cluster, kubeconfig, &["--hosting=localhost:5000"]);
    wait::until("that it is right is seen", || {
        registry.log().contains("says the same")
    });
    assert!(by("test") && !by("narthex"));
}

#[test]
fn of_two_that_tell_of_other_registries_the_first_one_keeps_it_until_it_ends() {
    let cluster = &Cluster::start();
    cluster.namespace("images");
    cluster.apply(RIGHTS);
    let kubeconfig = cluster.kubeconfig_as("images", "registry");
    let start = |host: &str| {
        let flag = format!("--hosting={host}");
        Registry::start(cluster, kubeconfig.clone(), &[&flag])
    };
    let mut first = start("first:5000");
    until_told(cluster, "host: \"first:5000\"\n");
    let before = cluster.get(&MAP).expect("there");
    let second = start("second:5000");
    let left_alone = "tells tools of another registry than second:5000";
    wait::until("it is said who keeps it", || {
        second.log().contains(left_alone)
    });
    // Both have looked twice when the first one has said again that it keeps it.
    let kept_at =
        |map: &Value| map["metadata"]["annotations"]["narthex.dev/local-registry-kept-at"].clone();
    wait::eventually("it is kept", || {
        let map = cluster.get(&MAP)?;
        match kept_at(&map) != kept_at(&before) {
            true => Ok(()),
            false => Err(map.to_string()),
        }
    });
    assert!(told(cluster).expect("there").contains("first:5000"));
    assert_eq!(
        second.log().matches(left_alone).count(),
        1,
        "{}",
        second.log()
    );
    let log = first.log();
    assert_eq!(log.matches("local-registry-hosting").count(), 1, "{log}");
    // What it gives back is taken.
    first.end();
    until_told(cluster, "host: \"second:5000\"\n");
    let first = start("first:5000");
    wait::until("it is the other one's now", || {
        first
            .log()
            .contains("tells tools of another registry than first:5000")
    });
    assert!(told(cluster).expect("there").contains("second:5000"));
}
