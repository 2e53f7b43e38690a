//! One write, with a limit to its time, and only while we lead.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::plan::Action;
use super::{ENTRIES, MARK};
use crate::MANAGER;
use crate::client::chain;
use crate::election::Leadership;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Why something was not written.
#[derive(Debug)]
pub(super) struct Refused {
    /// For people.
    pub(super) why: String,
    /// Somebody else has written to it since it was seen.
    pub(super) is_meanwhile: bool,
}

/// Writes.
pub(super) struct Write<'a> {
    pub(super) client: &'a Client,
    pub(super) leadership: &'a Leadership,
}

impl Write<'_> {
    /// Does it. The new version of a Secret that was written.
    pub(super) async fn act(&self, action: &Action) -> Result<Option<String>, Refused> {
        let refused = |why: String| Refused {
            why,
            is_meanwhile: false,
        };
        if !self.leadership.is_held() {
            return Err(refused("another replica writes now".to_owned()));
        }
        match timeout(REQUEST, self.request(action)).await {
            Ok(Ok(version)) => Ok(version),
            Ok(Err(kube::Error::Api(status))) => Err(Refused {
                is_meanwhile: status.code == 409,
                why: status.message,
            }),
            Ok(Err(error)) => Err(refused(chain(&error))),
            Err(_) => Err(refused("the API server does not answer in time".to_owned())),
        }
    }

    async fn request(&self, action: &Action) -> kube::Result<Option<String>> {
        match action {
            Action::Apply {
                key: (namespace, name),
                content,
                version,
                ..
            } => {
                let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                let mut parameters = PatchParams::apply(MANAGER);
                // Where there is none, somebody may make one: then their fields are in the way, and stay. With a
                // version, it is the one that was seen to be ours.
                parameters.force = version.is_some();
                let data = STANDARD.encode(content.show());
                let mut object = json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": name, "labels": {MARK: "true"}},
                    "type": "kubernetes.io/dockerconfigjson",
                    "data": {".dockerconfigjson": data},
                });
                if let Some(version) = version {
                    object["metadata"]["resourceVersion"] = version.as_str().into();
                }
                let patch = Patch::Apply(&object);
                let written = secrets.patch_metadata(name, &parameters, &patch).await?;
                Ok(written.resource_version())
            }
            Action::Link {
                key: (namespace, name),
                version,
                pulls,
                ours,
            } => {
                let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
                let pulls: Vec<_> = pulls.iter().map(|name| json!({"name": name})).collect();
                let ours: Vec<_> = ours.iter().map(String::as_str).collect();
                let mut annotations = Map::new();
                annotations.insert(
                    ENTRIES.to_owned(),
                    match ours.is_empty() {
                        true => Value::Null,
                        false => ours.join(",").into(),
                    },
                );
                // The list is replaced whole: by its version, it is the one that was seen.
                let patch = json!({
                    "metadata": {"resourceVersion": version, "annotations": annotations},
                    "imagePullSecrets": pulls,
                });
                let parameters = PatchParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let patch = Patch::Merge(&patch);
                let written = accounts.patch_metadata(name, &parameters, &patch).await;
                // A namespace's end takes it away.
                gone_is_fine(written.map(drop))
            }
            Action::Delete {
                key: (namespace, name),
                uid,
                version,
            } => {
                let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                let parameters = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: Some(uid.clone()),
                        resource_version: Some(version.clone()),
                    }),
                    ..DeleteParams::default()
                };
                gone_is_fine(secrets.delete(name, &parameters).await.map(drop))
            }
        }
    }
}

fn gone_is_fine(result: kube::Result<()>) -> kube::Result<Option<String>> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        done => done.map(|()| None),
    }
}
