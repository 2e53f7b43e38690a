//! kubectl, which is part of the rig.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::cluster::{Cluster, rig};
use crate::wait;

/// What a command that ended said.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Runs it to its end.
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.output().expect("it starts");
        Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A command that goes on; killed when dropped.
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    /// kubectl with the administrator's rights, not run yet.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(rig().join("kubectl"));
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            // Its cache of the API's kinds belongs to this cluster.
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"));
        command
    }

    /// kubectl to its end, whatever that is.
    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.kubectl_command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("piped");
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("our child");
        Said {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// kubectl that has to succeed; what it printed.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let said = self.try_kubectl(arguments, "");
        assert!(said.success, "kubectl {arguments:?}: {}", said.stderr);
        said.stdout
    }

    /// `kubectl narthex`: the program under the name by which kubectl finds it.
    pub fn narthex(&self, arguments: &[&str]) -> Said {
        let folder = self.folder().join("plugins");
        std::fs::create_dir_all(&folder).expect("ours");
        let link = folder.join("kubectl-narthex");
        // Another test may have made it.
        let _ = std::os::unix::fs::symlink(program_tests::program::binary(), &link);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(folder).chain(std::env::split_paths(&path));
        let mut command = self.kubectl_command(&[&["narthex"], arguments].concat());
        command.env("PATH", std::env::join_paths(all).expect("paths"));
        Said::of(command)
    }

    /// Server-side apply of manifests. `fieldManager` is `test`.
    #[track_caller]
    pub fn apply(&self, manifests: &str) {
        let arguments = ["apply", "--server-side", "--field-manager=test", "-f", "-"];
        let said = self.try_kubectl(&arguments, manifests);
        assert!(said.success, "{}\n{manifests}", said.stderr);
    }

    /// An object; `what` is as for kubectl: `ingress/web`, or `pods`, with `-n` and so on.
    ///
    /// # Errors
    ///
    /// What kubectl said.
    pub fn get(&self, what: &[&str]) -> Result<Value, String> {
        let said = self.try_kubectl(&[&["get", "-o", "json"], what].concat(), "");
        match said.success {
            true => serde_json::from_str(&said.stdout).map_err(|error| error.to_string()),
            false => Err(said.stderr),
        }
    }

    #[track_caller]
    pub fn delete(&self, what: &[&str]) {
        self.kubectl(&[&["delete", "--ignore-not-found"], what].concat());
    }

    /// Waits until an object satisfies `holds`; gives it.
    #[track_caller]
    pub fn until(&self, what: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        wait::eventually(&what.join(" "), || {
            let object = self.get(what)?;
            match holds(&object) {
                true => Ok(object),
                false => Err(format!("it is {:#}", object["status"])),
            }
        })
    }

    /// Waits until all replicas of a Deployment are those of its latest template, and ready.
    #[track_caller]
    pub fn rolled_out(&self, namespace: &str, workload: &str) {
        let arguments = [
            "-n",
            namespace,
            "rollout",
            "status",
            workload,
            "--timeout=180s",
        ];
        let said = self.try_kubectl(&arguments, "");
        if !said.success {
            let pods = self.kubectl(&["-n", namespace, "get", "pods", "-o", "yaml"]);
            panic!("{workload}: {}\n{pods}", said.stderr);
        }
    }

    /// A fresh namespace, whose default ServiceAccount is there.
    #[track_caller]
    pub fn namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name]);
        self.until(&["-n", name, "serviceaccount/default"], |_| true);
    }

    /// `replicas` pods that echo requests, behind a Service of the same name on port 80.
    #[track_caller]
    pub fn echo(&self, namespace: &str, name: &str, replicas: u32) {
        self.apply(&echo(namespace, name, replicas));
        self.rolled_out(namespace, &format!("deployment/{name}"));
    }

    /// The addresses of the endpoints of a Service, of all of its slices, in order.
    pub fn endpoint_addresses(&self, namespace: &str, service: &str) -> Vec<String> {
        let label = format!("kubernetes.io/service-name={service}");
        let slices = self.get(&["-n", namespace, "endpointslices", "-l", &label]);
        let slices = slices.unwrap_or_default();
        let items = slices["items"].as_array().into_iter().flatten();
        let endpoints = items.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let addresses = endpoints.filter_map(|it| it["addresses"][0].as_str());
        let mut addresses: Vec<_> = addresses.map(str::to_owned).collect();
        addresses.sort();
        addresses
    }

    /// Whether a ServiceAccount, `namespace:name`, may do something, as `list secrets -A`.
    #[track_caller]
    pub fn may(&self, account: &str, what: &str) -> bool {
        let account = format!("system:serviceaccount:{account}");
        let mut arguments = vec!["auth", "can-i", "--as", &account];
        arguments.extend(what.split(' '));
        let said = self.try_kubectl(&arguments, "");
        match said.stdout.trim() {
            "yes" => true,
            "no" => false,
            _ => panic!("{what}: {said:?}"),
        }
    }

    /// The addresses of pods that a selector finds and that are ready.
    pub fn pod_addresses(&self, namespace: &str, selector: &str) -> Vec<String> {
        let pods = self.get(&["-n", namespace, "pods", "-l", selector]);
        let pods = pods.unwrap_or_default();
        let ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Ready" && one["status"] == "True")
            })
        };
        let items = pods["items"].as_array().into_iter().flatten();
        items
            .filter(ready)
            .filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned))
            .collect()
    }
}

fn echo(namespace: &str, name: &str, replicas: u32) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: rig/echo
        env:
        - {{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        - {{name: NAMESPACE, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}
        - {{name: SERVICE_NAME, value: {name}}}
        ports: [{{name: http, containerPort: 3000}}]
        readinessProbe: {{httpGet: {{port: http, path: /}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"
    )
}
