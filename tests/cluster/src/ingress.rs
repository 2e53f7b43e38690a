//! Ingresses, and what becomes of them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::inside::Inside;
use crate::kubectl::Background;
use crate::wait;

/// An IngressClass.
pub fn class(name: &str, controller: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: {name}}}
spec: {{controller: {controller}}}
---"
    )
}

/// An Ingress for one host, whose backend is the Service `web`.
pub fn ingress(namespace: &str, name: &str, class: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ingressClassName: {class}
  rules:
  - host: {name}.example.com
    http:
      paths:
      - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}
---"
    )
}

/// The Service `web`, behind which is nothing.
pub fn service(namespace: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}}}
spec: {{ports: [{{port: 80}}]}}
---"
    )
}

/// The addresses in an Ingress's status, with commas.
pub fn addresses(ingress: &Value) -> String {
    let all = ingress["status"]["loadBalancer"]["ingress"].as_array();
    let text = |one: &Value| {
        let text = one["ip"].as_str().or_else(|| one["hostname"].as_str());
        text.unwrap_or_default().to_owned()
    };
    let all: Vec<_> = all.into_iter().flatten().map(text).collect();
    all.join(",")
}

/// Every change of a namespace's Ingresses from now on: its kind and the Ingress's name.
pub struct Changes {
    _kubectl: Background,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Changes {
    /// Waits until so many were seen; all that were.
    #[track_caller]
    pub fn until(&self, count: usize) -> Vec<String> {
        wait::until(&format!("{count} changes"), || self.seen().len() >= count);
        self.seen()
    }

    /// `MODIFIED web`, …
    pub fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = |line: &&String| !line.ends_with(SENTINEL);
        seen.iter().filter(is_other).cloned().collect()
    }

    fn has_begun(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        !seen.is_empty()
    }
}

/// An Ingress of nobody's, by whose changes it is known that they are followed.
const SENTINEL: &str = " sentinel";

impl Cluster {
    /// Waits until an Ingress has these addresses; gives it.
    #[track_caller]
    pub fn until_addresses(&self, namespace: &str, name: &str, expected: &str) -> Value {
        let what = format!("ingress/{name}");
        self.until(&["-n", namespace, &what], |it| addresses(it) == expected)
    }

    /// Follows what becomes of a namespace's Ingresses.
    #[track_caller]
    pub fn changes(&self, namespace: &str) -> Changes {
        let mut command = self.kubectl_command(&[
            "-n",
            namespace,
            "get",
            "ingress",
            "--watch-only",
            "--output-watch-events",
            "-o",
            "jsonpath={.type} {.object.metadata.name}{\"\\n\"}",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let output = child.stdout.take().expect("piped");
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let changes = Changes {
            _kubectl: Background(child),
            seen,
        };
        let mut count = 0;
        wait::until("changes are followed", || {
            count += 1;
            let sentinel = ingress(namespace, SENTINEL.trim(), "nobodys");
            let label = format!("labels: {{count: 'x{count}'}}, namespace:");
            self.apply(&sentinel.replacen("namespace:", &label, 1));
            changes.has_begun()
        });
        self.delete(&["-n", namespace, "ingress/sentinel"]);
        changes
    }
}

impl Inside<'_> {
    /// `cluster` of `/api/status`: leader, replicas, addresses.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn leadership(&self) -> Result<Value, String> {
        let response = self.admin("/api/status")?;
        let status: Value =
            serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
        match &status["cluster"] {
            Value::Null => Err("nothing yet".to_owned()),
            cluster => Ok(cluster.clone()),
        }
    }

    /// Whether it leads; not if it does not answer.
    pub fn leads(&self) -> bool {
        self.leadership().is_ok_and(|it| it["is_leader"] == true)
    }

    /// Writes of status with this result, or with any.
    pub fn status_writes(&self, result: &str) -> u64 {
        let Ok(response) = self.admin("/metrics") else {
            return 0;
        };
        let text = response.text();
        let lines = text.lines().filter(|line| {
            line.starts_with("narthex_status_writes_total") && line.contains(result)
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}
