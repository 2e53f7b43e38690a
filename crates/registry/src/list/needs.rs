//! Which images Kubernetes objects need.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

/// An image that something needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Need {
    /// As the manifests have it.
    pub image: String,
    /// Who needs it, as `Deployment shop/web`, in order.
    pub by: BTreeSet<String>,
}

/// The images of some objects.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    images: BTreeMap<String, BTreeSet<String>>,
    /// What has a place for an image and none that can be read, for people.
    pub doubts: Vec<String>,
}

/// The resources that have pods or their templates: API path, plural, kind.
pub const WORKLOADS: [(&str, &str, &str); 8] = [
    ("/api/v1", "pods", "Pod"),
    ("/api/v1", "replicationcontrollers", "ReplicationController"),
    ("/apis/apps/v1", "deployments", "Deployment"),
    ("/apis/apps/v1", "statefulsets", "StatefulSet"),
    ("/apis/apps/v1", "daemonsets", "DaemonSet"),
    ("/apis/apps/v1", "replicasets", "ReplicaSet"),
    ("/apis/batch/v1", "jobs", "Job"),
    ("/apis/batch/v1", "cronjobs", "CronJob"),
];

impl Needs {
    /// Those of one more object; a List's are those of its items. Of an object that another one
    /// made that is looked at too (`ownerReferences`), nothing is taken in a cluster but what somebody put
    /// into it afterwards: ephemeral containers.
    pub fn take(&mut self, object: &Value, owned_too: bool) {
        let kind = object["kind"].as_str().unwrap_or_default();
        if let (true, Some(items)) = (kind.ends_with("List"), object["items"].as_array()) {
            let kind = kind.trim_end_matches("List");
            for item in items {
                match item["kind"].is_string() || kind.is_empty() {
                    true => self.take(item, owned_too),
                    false => self.take_kind(item, kind, owned_too),
                }
            }
            return;
        }
        self.take_kind(object, kind, owned_too);
    }

    /// The same, of an object whose kind is known otherwise.
    pub fn take_kind(&mut self, object: &Value, kind: &str, owned_too: bool) {
        let pod = match kind {
            "Pod" => &object["spec"],
            "PodTemplate" => &object["template"]["spec"],
            "Deployment"
            | "StatefulSet"
            | "DaemonSet"
            | "ReplicaSet"
            | "Job"
            | "ReplicationController" => &object["spec"]["template"]["spec"],
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
            _ => return,
        };
        let is_left_out = !owned_too && is_owned(object);
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
        let name = match text("name") {
            "" => text("generateName"),
            name => name,
        };
        let by = match text("namespace") {
            "" => format!("{kind} {name}"),
            namespace => format!("{kind} {namespace}/{name}"),
        };
        // Of these no template knows.
        for key in ["ephemeralContainers", "initContainers", "containers"] {
            if is_left_out && key != "ephemeralContainers" {
                return;
            }
            for container in pod[key].as_array().into_iter().flatten() {
                match container["image"].as_str().map(str::trim) {
                    Some(image) if !image.is_empty() => self.need(image, &by),
                    _ => {
                        let name = container["name"].as_str().unwrap_or("one");
                        self.doubts
                            .push(format!("{by}: container {name} names no image"));
                    }
                }
            }
        }
        // Images as volumes.
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            let image = volume["image"]["reference"].as_str().map(str::trim);
            if let Some(image) = image.filter(|it| !it.is_empty()) {
                self.need(image, &by);
            }
        }
    }

    /// All of them, in order.
    pub fn all(&self) -> Vec<Need> {
        let images = self.images.iter();
        let needs = images.map(|(image, by)| Need {
            image: image.clone(),
            by: by.clone(),
        });
        needs.collect()
    }

    fn need(&mut self, image: &str, by: &str) {
        let by_whom = self.images.entry(image.to_owned()).or_default();
        by_whom.insert(by.to_owned());
    }
}

/// Whether something made it whose own template has its images.
fn is_owned(object: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let mut kinds = owners
        .into_iter()
        .flatten()
        .filter_map(|it| it["kind"].as_str());
    kinds.any(|kind| WORKLOADS.iter().any(|(_, _, known)| *known == kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_workload_is_asked_for_every_container() {
        let pod = json!({
            "initContainers": [{"image": "init:1"}],
            "containers": [{"image": "main:1"}, {"name": "x"}],
            "ephemeralContainers": [{"image": "debug:1"}],
            "volumes": [{"image": {"reference": "data:1"}}, {"emptyDir": {}}],
        });
        let template = json!({"template": {"spec": pod}});
        let mut needs = Needs::default();
        let object = |kind: &str, spec: &Value| json!({"kind": kind, "metadata": {"name": "n", "namespace": "s"}, "spec": spec});
        needs.take(&object("Pod", &pod), true);
        for kind in [
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "Job",
        ] {
            needs.take(&object(kind, &template), true);
        }
        let cron = object("CronJob", &json!({"jobTemplate": {"spec": template}}));
        needs.take(&json!({"kind": "List", "items": [cron]}), true);
        needs.take(&object("Service", &template), true);
        let all = needs.all();
        let images: Vec<_> = all.iter().map(|it| it.image.as_str()).collect();
        assert_eq!(images, ["data:1", "debug:1", "init:1", "main:1"]);
        assert_eq!(all[0].by.len(), 7);
        assert_eq!(needs.doubts.len(), 7);
    }

    #[test]
    fn what_a_workload_made_is_not_asked_for_again() {
        let mut needs = Needs::default();
        let pod = json!({
            "metadata": {"name": "p", "ownerReferences": [{"kind": "ReplicaSet"}]},
            "spec": {"containers": [{"image": "a"}]},
        });
        needs.take_kind(&pod, "Pod", false);
        assert!(needs.all().is_empty());
        let debugged = json!({
            "metadata": pod["metadata"],
            "spec": {"containers": [{"image": "a"}], "ephemeralContainers": [{"image": "b"}]},
        });
        needs.take_kind(&debugged, "Pod", false);
        assert_eq!(needs.all().len(), 1, "what its template does not have");
        needs.take_kind(&pod, "Pod", true);
        assert_eq!(needs.all().len(), 2);
    }
}
