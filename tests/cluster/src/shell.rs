//! A pod with the host's tools that runs a script of the shell.

use crate::{Cluster, Said};

/// Made with [`Self::apply`]; its grace period is two seconds.
pub struct Shell {
    namespace: &'static str,
    name: &'static str,
    script: &'static str,
    container: &'static str,
}

impl Shell {
    pub fn new(namespace: &'static str, name: &'static str, script: &'static str) -> Self {
        Self {
            namespace,
            name,
            script,
            container: "",
        }
    }

    /// More fields of the container, indented by four, and further containers by two.
    pub fn container(mut self, more: &'static str) -> Self {
        self.container = more;
        self
    }

    /// Makes it; `more` are fields of the pod's spec, indented by two.
    #[track_caller]
    pub fn apply(&self, cluster: &Cluster, more: &str) {
        let said = self.try_apply(cluster, more);
        assert!(said.success, "{}", said.stderr);
    }

    pub fn try_apply(&self, cluster: &Cluster, more: &str) -> Said {
        let Self {
            namespace,
            name,
            script,
            container,
        } = self;
        let manifest = format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 2
{more}
  containers:
  - name: main
    image: rig/host
    command: [sh, -c, {script:?}]
{container}
"
        );
        cluster.try_kubectl(&["apply", "-f", "-"], &manifest)
    }

    #[track_caller]
    pub fn running(&self, cluster: &Cluster) {
        let pod = format!("pod/{}", self.name);
        cluster.until(&["-n", self.namespace, &pod], |pod| {
            pod["status"]["phase"] == "Running"
        });
    }

    /// Runs a script in it; what it printed.
    #[track_caller]
    pub fn sh(&self, cluster: &Cluster, script: &str) -> String {
        let head = ["-n", self.namespace, "exec", self.name, "-c", "main", "--"];
        let said = cluster.try_kubectl(&[&head[..], &["sh", "-c", script]].concat(), "");
        // A command may fail, which is for the test to see in what it printed.
        said.stdout
    }

    pub fn log(&self, cluster: &Cluster) -> String {
        let arguments = ["-n", self.namespace, "logs", self.name, "-c", "main"];
        cluster.try_kubectl(&arguments, "").stdout
    }
}
