//! The authorities that others are to trust, as a ConfigMap.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::requests::{is_marked, not_ours, within};
use super::{MARK, Shared};
use crate::MANAGER;

/// Where those look who mount it.
const KEY: &str = "ca.crt";

pub(super) async fn publish(shared: &Shared, name: &str, pem: &str) -> Result<bool, String> {
    let namespace = &shared.place.namespace;
    let maps: Api<ConfigMap> = Api::namespaced(shared.client.clone(), namespace);
    let failed = |wrong| format!("ConfigMap {namespace}/{name}: {wrong}");
    let there = within(maps.get_opt(name)).await.map_err(failed)?;
    let mut metadata = json!({"name": name, "labels": {MARK: "true"}});
    let mut parameters = PatchParams::apply(MANAGER);
    if let Some(there) = there {
        if !is_marked(&there.metadata) {
            return Err(not_ours("ConfigMap", namespace, name));
        }
        if there
            .data
            .is_some_and(|data| data.get(KEY).is_some_and(|now| now == pem))
        {
            return Ok(false);
        }
        metadata["resourceVersion"] = there.metadata.resource_version.into();
        parameters.force = true;
    }
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {KEY: pem},
    });
    let patch = Patch::Apply(&map);
    let applied = within(maps.patch(name, &parameters, &patch)).await;
    applied.map(|_| true).map_err(failed)
}
