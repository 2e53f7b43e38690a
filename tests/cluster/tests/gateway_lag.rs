//! A Gateway is programmed when every live replica serves it, and not before.

use std::path::Path;

use cluster_tests::{Channel, Cluster, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LABEL: &str = "app.kubernetes.io/instance=narthex";

/// The process of a pod, whose environment has the pod's name.
fn process(pod: &str) -> Pid {
    let name = format!("POD_NAME={pod}");
    let is_its = |process: &Path| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|it| it == name.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").expect("processes");
    let mut processes = processes.flatten().map(|entry| entry.path());
    let process = processes.find(|it| is_its(it)).expect("it runs");
    let pid = process
        .file_name()
        .and_then(|name| name.to_str()?.parse().ok());
    pid.and_then(Pid::from_raw).expect("a process")
}

/// A process that is stopped until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: Pid) -> Self {
        kill_process(pid, Signal::STOP).expect("it runs");
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

fn gateway(ports: &[u16]) -> String {
    let listener = |port: &u16| format!("  - {{name: p{port}, protocol: HTTP, port: {port}}}\n");
    let listeners: String = ports.iter().map(listener).collect();
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: lag}}
spec:
  gatewayClassName: narthex
  listeners:
{listeners}"
    )
}

/// The condition `Programmed` of the latest generation, as `True Programmed`.
fn programmed(gateway: &Value) -> String {
    let generation = &gateway["metadata"]["generation"];
    let conditions = gateway["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found =
        conditions.find(|it| it["type"] == "Programmed" && it["observedGeneration"] == *generation);
    found.map_or_else(String::new, |it| {
        let text = |field: &str| it[field].as_str().unwrap_or_default();
        format!("{} {}", text("status"), text("reason"))
    })
}

#[test]
fn a_gateway_is_not_programmed_while_a_live_replica_does_not_serve_it_yet() {
    let cluster = Cluster::start();
    cluster.install_gateway_api(Channel::Experimental);
    cluster.namespace("narthex");
    cluster.install("narthex", "narthex", &[]);
    cluster.gateway_class("narthex");
    cluster.namespace("lag");
    cluster.apply(&gateway(&[80]));
    let web = ["-n", "lag", "gateway/web"];
    cluster.until(&web, |it| programmed(it) == "True Programmed");

    let lease = ["-n", "narthex", "lease/narthex-leader"];
    let lease = cluster.until(&lease, |it| it["spec"]["holderIdentity"].is_string());
    let leader = lease["spec"]["holderIdentity"].clone();
    let pods = cluster
        .get(&["-n", "narthex", "pods", "-l", LABEL])
        .expect("pods");
    let pods = pods["items"].as_array().expect("a list");
    let mut names = pods.iter().map(|it| &it["metadata"]["name"]);
    let other = names.find(|name| **name != leader).expect("two replicas");
    let stopped = Stopped::new(process(other.as_str().expect("a name")));
    cluster.apply(&gateway(&[80, 8080]));
    let lagging = wait::eventually("the Gateway waits for the replica", || {
        let gateway = cluster.get(&web)?;
        match &*programmed(&gateway) {
            "" => Err("nothing is said of it yet".to_owned()),
            _ => Ok(gateway),
        }
    });
    assert_eq!(
        programmed(&lagging),
        "False Pending",
        "{:#}",
        lagging["status"]
    );
    drop(stopped);
    cluster.until(&web, |it| programmed(it) == "True Programmed");

    // One that is gone is waited for no longer than its Lease lasts.
    let stopped = Stopped::new(process(other.as_str().expect("a name")));
    cluster.apply(&gateway(&[80, 8080, 9090]));
    cluster.until(&web, |it| programmed(it) == "True Programmed");
    drop(stopped);
}
