//! One look at a cluster, without watching it: for commands that say what there is.

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use objects::kinds::{Kind, Object, ObjectKey};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::read::read;
use super::requests::text;
use super::target::Target;
use super::trouble::Trouble;

/// Objects of a page.
const PAGE: u32 = 500;

/// What there is.
#[derive(Debug, Default)]
pub struct Survey {
    /// Every object that could be read.
    pub objects: Vec<Object>,
    /// What could not, and what would let us; for people.
    pub unread: Vec<String>,
}

/// What runs ingress-nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// As `Deployment ingress-nginx/ingress-nginx-controller`.
    pub name: String,
    /// Where it is.
    pub namespace: String,
    /// The arguments of its container.
    pub arguments: Vec<String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl Survey {
    /// Lists kinds, everywhere or in some namespaces. What may not be listed is left out, and told.
    pub async fn list(&mut self, client: &Client, kinds: &[Kind], namespaces: &[String]) {
        for kind in kinds {
            let targets = match namespaces.is_empty() || !kind.namespaced() {
                true => vec![Target::all(*kind, None)],
                false => namespaces
                    .iter()
                    .map(|namespace| Target::all(*kind, Some(namespace)))
                    .collect(),
            };
            for target in targets {
                if let Err(trouble) = self.list_one(client, &target).await {
                    self.note(&target, "list", &trouble);
                }
            }
        }
    }

    /// Gets objects by their names. What may not be read is left out, and told; what is not there is
    /// just not there.
    pub async fn get(&mut self, client: &Client, keys: &[ObjectKey]) {
        for key in keys {
            let target = Target::one(key);
            let request = target
                .request()
                .get(&key.name, &kube::api::GetParams::default());
            let found = match text(client, request).await {
                Ok(found) => found,
                Err(Trouble::NotThere) => continue,
                Err(trouble) => {
                    self.note(&target, "get", &trouble);
                    continue;
                }
            };
            if let Ok(raw) = serde_json::from_str::<&RawValue>(&found) {
                self.take(key.kind, raw);
            }
        }
    }

    /// Everything that runs ingress-nginx: Deployments and DaemonSets with its image or its program.
    pub async fn controllers(&mut self, client: &Client, namespaces: &[String]) -> Vec<Controller> {
        let mut all = Vec::new();
        for (kind, plural) in [("Deployment", "deployments"), ("DaemonSet", "daemonsets")] {
            let items = self
                .values(client, "/apis/apps/v1", plural, namespaces)
                .await;
            all.extend(items.iter().filter_map(|it| controller(kind, it)));
        }
        all
    }

    /// Objects of a resource as the API server has them, everywhere or in some namespaces. `api` is
    /// its path, as `/apis/apps/v1`. What may not be listed is left out, and told.
    pub async fn values(
        &mut self,
        client: &Client,
        api: &str,
        plural: &str,
        namespaces: &[String],
    ) -> Vec<Value> {
        let places = match namespaces {
            [] => vec![format!("{api}/{plural}")],
            some => some
                .iter()
                .map(|namespace| format!("{api}/namespaces/{namespace}/{plural}"))
                .collect(),
        };
        let mut items = Vec::new();
        for place in places {
            let request = Request::new(place);
            let listed = pages(client, &request, |raw| {
                items.extend(serde_json::from_str::<Value>(raw.get()).ok());
            });
            if let Err(trouble) = listed.await {
                let group = api
                    .strip_prefix("/apis/")
                    .and_then(|it| it.split('/').next());
                let group = group.unwrap_or_default();
                self.unread.push(format!(
                    "{plural}: {trouble}; it takes a ClusterRole with the rule {{apiGroups: \
                     [\"{group}\"], resources: [{plural}], verbs: [list]}}"
                ));
            }
        }
        items
    }

    async fn list_one(&mut self, client: &Client, target: &Target) -> Result<(), Trouble> {
        let mut found = Vec::new();
        pages(client, &target.request(), |raw| found.push(raw.to_owned())).await?;
        for raw in found {
            self.take(target.kind, &raw);
        }
        Ok(())
    }

    fn take(&mut self, kind: Kind, raw: &RawValue) {
        let Some(read) = read(kind, raw) else {
            return;
        };
        match read.object {
            Ok(object) => self.objects.push(object),
            Err(problem) => self.unread.push(format!(
                "{}: {}: {}",
                read.key, problem.field, problem.message
            )),
        }
    }

    fn note(&mut self, target: &Target, verb: &str, trouble: &Trouble) {
        let rule = match trouble {
            Trouble::Refused { .. } => format!("; it takes {}", target.rule(verb)),
            _ => String::new(),
        };
        self.unread.push(format!("{target}: {trouble}{rule}"));
    }
}

async fn pages(
    client: &Client,
    request: &Request,
    mut take: impl FnMut(&RawValue),
) -> Result<(), Trouble> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let text = text(client, request.list(&params)).await?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(|_| Trouble::nonsense())?;
        page.items
            .unwrap_or_default()
            .into_iter()
            .for_each(&mut take);
        match page.metadata.next.filter(|next| !next.is_empty()) {
            Some(next) => params.continue_token = Some(next),
            None => return Ok(()),
        }
    }
}

/// A workload that runs ingress-nginx.
fn controller(kind: &str, workload: &Value) -> Option<Controller> {
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array()?;
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    };
    let arguments = containers.iter().find_map(|container| {
        let all = [texts(&container["command"]), texts(&container["args"])].concat();
        let image = container["image"].as_str().unwrap_or_default();
        let is_it = image.contains("ingress-nginx/controller")
            || image.contains("nginx-ingress-controller")
            || all
                .iter()
                .any(|one| one.ends_with("/nginx-ingress-controller"));
        is_it.then_some(all)
    })?;
    let text = |name: &str| {
        workload["metadata"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (namespace, name) = (text("namespace"), text("name"));
    let arguments = arguments.iter().map(|argument| {
        argument
            .replace("$(POD_NAMESPACE)", &namespace)
            .replace("$(POD_NAME)", &name)
    });
    Some(Controller {
        arguments: arguments
            .filter(|it| !it.ends_with("/nginx-ingress-controller"))
            .collect(),
        name: format!("{kind} {namespace}/{name}"),
        namespace,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_controller_is_known_by_its_image_or_its_program() {
        let workload = |image: &str, args: &[&str]| {
            json!({
                "metadata": {"name": "c", "namespace": "i"},
                "spec": {"template": {"spec": {"containers": [
                    {"image": "sidecar"},
                    {"image": image, "args": args},
                ]}}},
            })
        };
        let args = [
            "/nginx-ingress-controller",
            "--configmap=$(POD_NAMESPACE)/c",
        ];
        let by_program = controller("Deployment", &workload("own/image", &args)).expect("one");
        assert_eq!(by_program.name, "Deployment i/c");
        assert_eq!(by_program.arguments, ["--configmap=i/c"]);
        let image = "registry.k8s.io/ingress-nginx/controller:v1.15.0";
        assert!(controller("DaemonSet", &workload(image, &[])).is_some());
        assert_eq!(
            controller("Deployment", &workload("nginx", &["nginx"])),
            None
        );
        assert_eq!(controller("Deployment", &json!({})), None);
    }
}
