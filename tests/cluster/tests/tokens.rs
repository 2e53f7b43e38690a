//! A ServiceAccount's token, which is replaced long before a pod ends.

use std::time::Duration;

use cluster_tests::ingress::{class, ingress};
use cluster_tests::{Cluster, wait};

#[test]
fn a_pod_reads_its_token_again_when_that_is_replaced() {
    let cluster = &Cluster::start();
    cluster.apply(&class("narthex", "narthex.dev/ingress"));
    cluster.namespace("pod");
    cluster.echo("pod", "web", 1);
    cluster.apply(&ingress("pod", "first", "narthex"));
    cluster.kubectl(&["-n", "pod", "create", "serviceaccount", "reader"]);
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "reader",
        "--clusterrole=cluster-admin",
        "--serviceaccount=pod:reader",
    ]);
    let life = Duration::from_secs(20);
    cluster.limit_tokens(life);
    cluster.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: narthex, namespace: pod, labels: {app: narthex}}
spec:
  serviceAccountName: reader
  containers:
  - name: narthex
    image: narthex
    args: [serve, --http-port=8080, --https-port=8443, --workers=1]
    readinessProbe: {httpGet: {port: 10254, path: /readyz}, periodSeconds: 1}
",
    );
    cluster.kubectl(&[
        "-n",
        "pod",
        "wait",
        "--for=condition=Ready",
        "pod/narthex",
        "--timeout=180s",
    ]);
    let address = cluster.pod_addresses("pod", "app=narthex").remove(0);
    let ask = |host: &str| {
        let answer = cluster.ask(format!("{address}:8080"), host, "/");
        answer.map(|response| response.status)
    };
    assert_eq!(ask("first.example.com"), Ok(200));
    let token = wait::eventually("its token is known", || {
        let token = token(cluster, "pod", "narthex");
        let is_known = is_known(cluster, &token);
        is_known
            .then_some(token)
            .ok_or_else(|| "it is not".to_owned())
    });
    wait::until("the token that it began with is over", || {
        !is_known(cluster, &token)
    });
    cluster.cut_watches(3, 1.0);
    let log = || cluster.kubectl(&["-n", "pod", "logs", "narthex"]);
    assert_eq!(ask("first.example.com"), Ok(200));
    cluster.apply(&ingress("pod", "later", "narthex"));
    wait::eventually("the new token is used", || match ask("later.example.com") {
        Ok(200) => Ok(()),
        other => Err(format!("{other:?}\n{}", log())),
    });
}

/// The ServiceAccount's token that a pod has now.
fn token(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    let pod = cluster.get(&["-n", namespace, &format!("pod/{pod}")]);
    let pod = pod.expect("there");
    let uid = pod["metadata"]["uid"].as_str().expect("a uid");
    // In memory, and mounted where the cluster's processes see it alone.
    let (first, folder) = (cluster.pid(), cluster.folder().display());
    let volumes = format!("/proc/{first}/root{folder}/pods/{uid}/volumes");
    let mut volumes = std::fs::read_dir(volumes).expect("a folder").flatten();
    let tokens =
        volumes.find_map(|volume| std::fs::read_to_string(volume.path().join("token")).ok());
    tokens.expect("a projected volume")
}

/// Whether the API server takes a token for somebody's.
fn is_known(cluster: &Cluster, token: &str) -> bool {
    let mut command = cluster.command("curl");
    let header = format!("Authorization: Bearer {token}");
    command.args([
        "-sk",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        &header,
    ]);
    let said = command.arg("https://10.96.0.1/api/v1/services").output();
    said.expect("curl runs").stdout != b"401"
}
