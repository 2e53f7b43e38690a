//! helm, which is part of the rig, and what it makes of the chart.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{Cluster, rig};
use crate::kubectl::Said;

/// The manifests in `deploy/manifests` that the chart is rendered into, and the values of each.
pub const MANIFESTS: [(&str, &[&str]); 3] = [
    ("narthex.yaml", &[]),
    (
        "daemonset.yaml",
        &[
            "controller.kind=DaemonSet",
            "controller.hostPort.enabled=true",
            "controller.service.enabled=false",
        ],
    ),
    (
        "one-namespace.yaml",
        &[
            "controller.scope.enabled=true",
            "controller.scope.namespace=default",
            "rbac.scope=true",
        ],
    ),
];

/// What only helm's own objects have: nobody manages those that kubectl applies.
const HELMS: [&str; 3] = [
    "helm.sh/chart:",
    "app.kubernetes.io/managed-by:",
    "# Source:",
];

/// The workspace's folder.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("tests/cluster").to_owned()
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    root().join("deploy/chart")
}

/// The folder of the manifests that are made from the chart.
pub fn manifests() -> PathBuf {
    root().join("deploy/manifests")
}

/// The chart as it is with these values, in the namespace `narthex`.
///
/// # Errors
///
/// What helm said.
pub fn template(values: &[&str]) -> Result<String, String> {
    let mut helm = Command::new(rig().join("helm"));
    helm.args(["template", "narthex"]).arg(chart());
    // helm knows the version of the cluster that it talks with, and here there is none.
    helm.args(["--namespace", "narthex", "--kube-version", "1.36"]);
    helm.args(set(values));
    match Said::of(helm) {
        said if said.success => Ok(said.stdout),
        said => Err(said.stderr),
    }
}

/// What helm says of the chart's form.
pub fn lint() -> Said {
    let mut helm = Command::new(rig().join("helm"));
    helm.args(["lint", "--strict"]).arg(chart());
    Said::of(helm)
}

/// What one of [`MANIFESTS`] is to hold.
///
/// # Errors
///
/// What helm said.
pub fn manifest(values: &[&str]) -> Result<String, String> {
    let mut made = format!(
        "# The chart's{}, made by `cargo xtask manifests`.\n",
        match values {
            [] => ", with its default values".to_owned(),
            some => format!(" with {}", some.join(", ")),
        }
    );
    let host_ports = values.contains(&"controller.hostPort.enabled=true");
    if host_ports {
        made.push_str(PRIVILEGED);
    }
    for line in template(values)?.lines() {
        if !HELMS
            .iter()
            .any(|of_helm| line.trim_start().starts_with(of_helm))
        {
            made.push_str(line.trim_end());
            made.push('\n');
        }
    }
    Ok(made)
}

/// Ports of a node are what Pod Security's levels below `privileged` forbid; everything else of these
/// pods is as `restricted` wants it, which warnings go on to say if it changes.
const PRIVILEGED: &str = "\
# Ports of the node: Pod Security's level `baseline` forbids them too, so that the namespace is `privileged`.
---
apiVersion: v1
kind: Namespace
metadata:
  name: narthex
  labels:
    pod-security.kubernetes.io/enforce: privileged
";

impl Cluster {
    /// helm with the administrator's rights, to its end.
    pub fn helm(&self, arguments: &[&str], values: &[&str]) -> Said {
        let mut helm = Command::new(rig().join("helm"));
        let home = self.folder().join("helm");
        helm.args(arguments)
            .args(set(values))
            .env("KUBECONFIG", self.kubeconfig())
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"));
        Said::of(helm)
    }

    /// Installs or upgrades the release `name` of the chart in its namespace, and waits until it is
    /// rolled out.
    #[track_caller]
    pub fn install(&self, namespace: &str, name: &str, values: &[&str]) {
        let chart = chart().display().to_string();
        let arguments = [
            "upgrade",
            "--install",
            name,
            &chart,
            "--namespace",
            namespace,
            "--wait",
            "--timeout=90s",
        ];
        let said = self.helm(&arguments, values);
        if !said.success {
            let pods = self.try_kubectl(&["-n", namespace, "describe", "all"], "");
            panic!("{}\n{}", said.stderr, pods.stdout);
        }
    }
}

fn set(values: &[&str]) -> Vec<String> {
    values
        .iter()
        .map(|value| format!("--set={value}"))
        .collect()
}
