//! An ImageList, cut down to what is read of it.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::Status;

pub(super) const API_VERSION: &str = "narthex.dev/v1alpha1";
pub(super) const KIND: &str = "ImageList";

/// An ImageList as the API server has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Object {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Value,
    /// What somebody else wrote there may be anything.
    pub(super) status: Value,
}

impl Object {
    /// The status, as far as it is one.
    pub(super) fn status(&self) -> Status {
        serde_json::from_value(self.status.clone()).unwrap_or_default()
    }
}

impl Resource for Object {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        "narthex.dev".into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "imagelists".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
