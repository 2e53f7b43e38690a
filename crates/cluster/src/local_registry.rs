//! The ConfigMap `local-registry-hosting` in `kube-public`, by which tools find a cluster's registry (KEP-1755).

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::client::{Connection, chain};
use crate::{MANAGER, again};

/// The ConfigMap's name and namespace, which the KEP fixes.
const NAME: &str = "local-registry-hosting";
const NAMESPACE: &str = "kube-public";

/// The key of what is told.
const KEY: &str = "localRegistryHosting.v1";

/// The label of one that was written here; its value is `true`. Without it, it is somebody else's.
const MARK: &str = "narthex.dev/local-registry";

/// How often it is looked at whether it is still as it should be.
const LOOK: Duration = Duration::from_secs(30);

/// The first wait after a failure; it grows up to [`LOOK`].
const FIRST: Duration = Duration::from_secs(1);

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// What tools are told of a registry. Hosts have no scheme: `localhost:5000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRegistry {
    /// Where tools outside of the cluster reach it.
    pub host: String,
    /// Where nodes reach it, if that is not `host`.
    pub from_nodes: Option<String>,
    /// Where pods reach it, if that is not `host`.
    pub from_pods: Option<String>,
    /// A URL that tells people how to set it up.
    pub help: String,
}

impl LocalRegistry {
    /// The ConfigMap as a manifest, to be applied by anybody.
    pub fn manifest(&self) -> String {
        let mut text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {NAME}\n  namespace: {NAMESPACE}\n\
             data:\n  {KEY}: |\n"
        );
        for line in self.text().lines() {
            let _ = writeln!(text, "    {line}");
        }
        text
    }

    /// `LocalRegistryHostingV1`, in YAML.
    fn text(&self) -> String {
        let fields = [
            ("host", Some(&self.host)),
            ("hostFromContainerRuntime", self.from_nodes.as_ref()),
            ("hostFromClusterNetwork", self.from_pods.as_ref()),
            ("help", Some(&self.help)),
        ];
        let mut text = String::new();
        for (name, value) in fields {
            if let Some(value) = value {
                // JSON's texts are YAML's, too.
                let _ = writeln!(text, "{name}: {}", json!(value));
            }
        }
        text
    }

    /// Keeps it as it is to be, by server-side apply, and never ends. One of somebody else is left alone, which the log
    /// says. Takes the rights to get, create and patch the ConfigMap of this name.
    pub async fn publish(self, connection: Connection) {
        let maps: Api<ConfigMap> = Api::namespaced(connection.another(), NAMESPACE);
        let mut failures = 0;
        let mut said = None;
        loop {
            let done = match timeout(REQUEST, self.round(&maps)).await {
                Ok(Ok(state)) => Ok(state),
                Ok(Err(kube::Error::Api(status))) => Err(status.message),
                Ok(Err(error)) => Err(chain(&error)),
                Err(_) => Err("the API server does not answer in time".to_owned()),
            };
            let wait = match &done {
                Ok(_) => LOOK,
                Err(_) => again::doubled(FIRST, LOOK, failures),
            };
            failures = if done.is_ok() { 0 } else { failures + 1 };
            if said.as_ref() != Some(&done) {
                self.say(&done);
                said = Some(done);
            }
            sleep(wait).await;
        }
    }

    fn say(&self, done: &Result<State, String>) {
        let place = format!("ConfigMap {NAMESPACE}/{NAME}");
        match done {
            Ok(State::Published) => tracing::info!("{place} tells tools of {}", self.host),
            Ok(State::Same) => tracing::info!("{place} of somebody else says the same"),
            Ok(State::Foreign) => tracing::warn!(
                "{place} exists and was not made by Narthex, so that it is left alone: delete it, or \
                 label it {MARK}=true, so that it may be overwritten"
            ),
            Err(why) => tracing::warn!("{place} is not written: {why}"),
        }
    }

    async fn round(&self, maps: &Api<ConfigMap>) -> kube::Result<State> {
        let found = maps.get_opt(NAME).await?;
        let text = self.text();
        let says = |map: &ConfigMap| map.data.as_ref().and_then(|it| it.get(KEY)) == Some(&text);
        let mut parameters = PatchParams::apply(MANAGER);
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {MARK: "true"}},
            "data": {KEY: text},
        });
        if let Some(map) = &found {
            let is_ours = map.labels().get(MARK).is_some_and(|it| it == "true");
            match (is_ours, says(map)) {
                (true, true) => return Ok(State::Published),
                (false, true) => return Ok(State::Same),
                (false, false) => return Ok(State::Foreign),
                (true, false) => {}
            }
            // It is the one that was seen to be ours. Where there was none, somebody may make one: then their fields
            // are in the way, and stay.
            parameters.force = true;
            object["metadata"]["resourceVersion"] = map.resource_version().into();
        }
        maps.patch(NAME, &parameters, &Patch::Apply(&object))
            .await?;
        Ok(State::Published)
    }
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Published,
    /// Somebody else's, that says the same.
    Same,
    /// Somebody else's.
    Foreign,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_config_map_is_the_keps() {
        let registry = LocalRegistry {
            host: "localhost:5000".to_owned(),
            from_nodes: Some("registry:5000".to_owned()),
            from_pods: None,
            help: "https://example.com/?a=\"b\"".to_owned(),
        };
        let read = objects::tree::Node::parse(&registry.manifest(), 1).expect("YAML");
        let read: Value = read.to_json();
        assert_eq!(read["metadata"]["namespace"], "kube-public");
        let inner = read["data"][KEY].as_str().expect("a text");
        assert_eq!(inner, registry.text());
        let inner = objects::tree::Node::parse(inner, 1).expect("YAML");
        let inner = inner.to_json();
        assert_eq!(inner["host"], "localhost:5000");
        assert_eq!(inner["hostFromContainerRuntime"], "registry:5000");
        assert_eq!(inner["help"], "https://example.com/?a=\"b\"");
        assert!(inner["hostFromClusterNetwork"].is_null());
    }
}
