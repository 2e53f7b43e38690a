//! `narthex registry list` of a living cluster: the images that its workloads need.

use std::process::Output;

use cluster_tests::Cluster;
use serde_json::{Value, json};

/// One of each kind, with images of their own; no image of these is there, so that nothing runs.
const WORKLOADS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers:
      - {name: prepare, image: 'quay.io/shop/prepare:1'}
      containers:
      - {name: web, image: 'nginx:1.27'}
      - {name: side, image: 'quay.io/shop/side@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: 'postgres:17'}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: ops}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: 'quay.io/ops/agent:3'}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: shop}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: once, image: 'quay.io/shop/once:1'}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: ops}
spec:
  schedule: '0 3 * * *'
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: nightly, image: 'quay.io/ops/nightly:1'}]
---
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: ops}
spec: {containers: [{name: alone, image: 'quay.io/ops/alone:1'}]}
";

/// All images of [`WORKLOADS`], and who needs each.
const NEEDS: [(&str, &str); 8] = [
    ("nginx:1.27", "Deployment shop/web"),
    ("postgres:17", "StatefulSet shop/db"),
    ("quay.io/ops/agent:3", "DaemonSet ops/agent"),
    ("quay.io/ops/alone:1", "Pod ops/alone"),
    ("quay.io/ops/nightly:1", "CronJob ops/nightly"),
    ("quay.io/shop/once:1", "Job shop/once"),
    ("quay.io/shop/prepare:1", "Deployment shop/web"),
    (
        "quay.io/shop/side@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "Deployment shop/web",
    ),
];

fn list(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = cluster.command(program_tests::program::binary());
    command
        .args(["registry", "list", "--kubeconfig"])
        .arg(cluster.kubeconfig_inside())
        .args(arguments);
    command.output().expect("it runs")
}

/// Images, each with those who need it.
fn needs(said: &Output) -> Vec<(String, Vec<String>)> {
    let read: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|error| {
        let stderr = String::from_utf8_lossy(&said.stderr);
        panic!("{error}: {stderr}")
    });
    let images = read["images"].as_array().expect("a list").iter();
    images
        .map(|one| {
            let by = one["by"].as_array().into_iter().flatten();
            let by = by.map(|it| it.as_str().expect("a text").to_owned());
            (
                one["image"].as_str().expect("a text").to_owned(),
                by.collect(),
            )
        })
        .collect()
}

#[test]
fn every_workload_of_a_living_cluster_is_looked_at_with_all_its_containers() {
    let cluster = &Cluster::start();
    for namespace in ["shop", "ops"] {
        cluster.namespace(namespace);
    }
    cluster.apply(WORKLOADS);
    let agent = ["-n", "ops", "pods", "-l", "app=agent"];
    let agent = cluster.until(&agent, |pods| {
        pods["items"].as_array().is_some_and(|it| !it.is_empty())
    });
    let agent = agent["items"][0]["metadata"]["name"].as_str();
    let agent = agent.expect("a name");
    let json = ["--output=json", "--watch-namespace=shop,ops"];
    let expected = |more: &[(&str, &str)]| -> Vec<(String, Vec<String>)> {
        let mut all: Vec<_> = NEEDS.iter().chain(more).collect();
        all.sort_unstable();
        all.iter()
            .map(|(image, by)| ((*image).to_owned(), vec![(*by).to_owned()]))
            .collect()
    };
    let said = list(cluster, &json);
    assert!(said.status.success(), "{said:?}");
    assert_eq!(
        needs(&said),
        expected(&[]),
        "pods of workloads are the workloads'"
    );

    // Containers that somebody has put into pods, also into one that a workload made.
    let debugger = json!({"spec": {"ephemeralContainers": [
        {"name": "debugger", "image": "busybox:1.37", "command": ["sh"]}]}});
    let patch = ["patch", "--subresource=ephemeralcontainers", "-p"];
    for (pod, image) in [("alone", "busybox:1.37"), (agent, "busybox:1.38")] {
        let debugger = debugger.to_string().replace("busybox:1.37", image);
        let pod = ["-n", "ops", "pod", pod];
        cluster.kubectl(&[&patch[..], &[&debugger], &pod].concat());
    }
    let said = list(cluster, &json);
    let of_agent = format!("Pod ops/{agent}");
    let more = [
        ("busybox:1.37", "Pod ops/alone"),
        ("busybox:1.38", of_agent.as_str()),
    ];
    assert_eq!(needs(&said), expected(&more));

    // One namespace alone; and what is printed by default is a list that is read again.
    let said = list(cluster, &["--watch-namespace=ops"]);
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        lines.contains("quay.io/ops/agent:3 # DaemonSet ops/agent\n"),
        "{lines}"
    );
    assert!(!lines.contains("postgres"), "{lines}");

    // What may not be read is said, and is no empty list.
    let mut command = cluster.command(program_tests::program::binary());
    command
        .args(["registry", "list", "--kubeconfig"])
        .arg(cluster.kubeconfig_as("ops", "default"));
    let said = command.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("deployments") && stderr.contains("forbidden"),
        "{stderr}"
    );
}
