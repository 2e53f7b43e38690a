//! One write for a Gateway.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::timeout;

use super::super::{Owner, provision_dedicated, provision_service};
use super::REQUEST;
use super::actions::{Action, Done, Gateway, Kind, Orphan, text};
use crate::MANAGER;
use crate::election::Leadership;

/// Sends what is to be done, while we lead.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) client: Client,
    /// Whose GatewayClasses are ours.
    pub(super) controller: String,
    pub(super) leadership: Leadership,
}

impl Sender {
    pub(super) async fn send(&self, action: &Action) -> Done {
        let work = async {
            match action {
                Action::Apply {
                    kind,
                    gateway,
                    object,
                    is_known,
                } => self.apply(*kind, gateway, object, *is_known).await,
                Action::Delete {
                    kind,
                    key,
                    uid,
                    orphan,
                } => match orphan {
                    Some(orphan) if !self.is_nobodys(*kind, orphan).await? => Ok(Done::Nothing),
                    _ => self.delete(*kind, key, uid.clone()).await,
                },
            }
        };
        match timeout(REQUEST, work).await {
            Ok(Ok(done)) => done,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Done::Nothing,
            Ok(Err(kube::Error::Api(status))) => Done::Failed(status.message),
            Ok(Err(error)) => Done::Failed(error.to_string()),
            Err(_) => Done::Failed("no answer in time".to_owned()),
        }
    }

    async fn apply(
        &self,
        kind: Kind,
        gateway: &Gateway,
        object: &Value,
        is_known: bool,
    ) -> kube::Result<Done> {
        let objects = self.api(kind, text(object, "namespace"));
        let name = text(object, "name");
        let mut is_ours = is_known;
        if !is_known && let Some(there) = objects.get_opt(name).await? {
            if !is_for(kind, &there.metadata, gateway) {
                return Ok(Done::Anothers);
            }
            is_ours = true;
        }
        let mut parameters = PatchParams::apply(MANAGER);
        // Not where we think that there is none: somebody may have made one meanwhile.
        parameters.force = is_ours;
        let patch = Patch::Apply(object);
        // Last of all: nothing may be between this and the sending.
        if !self.leadership.is_held() {
            return Ok(Done::NotLeader);
        }
        let applied = objects.patch(name, &parameters, &patch).await?;
        Ok(Done::Object(Box::new(applied)))
    }

    async fn delete(&self, kind: Kind, key: &Owner, uid: Option<String>) -> kube::Result<Done> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid,
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        let objects = self.api(kind, &key.namespace);
        if !self.leadership.is_held() {
            return Ok(Done::NotLeader);
        }
        objects.delete(&key.name, &parameters).await?;
        Ok(Done::Nothing)
    }

    /// Whether the Gateway of an object is there and not ours any more. What is of a Gateway that is
    /// gone goes with it, as that is its owner, but for what is the cluster's; and where that cannot
    /// be known, it stays.
    async fn is_nobodys(&self, kind: Kind, orphan: &Orphan) -> kube::Result<bool> {
        let gateways: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            &orphan.gateway.namespace,
            &of_gateway_api("Gateway"),
        );
        let Some(gateway) = gateways.get_opt(&orphan.gateway.name).await? else {
            return Ok(kind == Kind::ClusterRoleBinding);
        };
        let class = gateway.data["spec"]["gatewayClassName"].as_str();
        let class = class.unwrap_or_default();
        if compile::label_value(class) != orphan.class {
            return Ok(true);
        }
        let classes: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &of_gateway_api("GatewayClass"));
        let class = classes.get_opt(class).await?;
        let is_ours =
            |class: DynamicObject| class.data["spec"]["controllerName"] == *self.controller;
        Ok(!class.is_some_and(is_ours))
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        match namespace {
            "" => Api::all_with(self.client.clone(), &kind.resource()),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &kind.resource()),
        }
    }
}

/// Whether an object was made for that Gateway, or for one of its name that is gone.
pub(super) fn is_for(kind: Kind, metadata: &ObjectMeta, gateway: &Gateway) -> bool {
    match kind {
        Kind::ClusterRoleBinding => provision_dedicated::is_for(metadata, &gateway.owner),
        // It is named after its Service, and has that for its owner.
        Kind::Slice => true,
        _ => provision_service::is_ours(metadata, &gateway.owner.name, &gateway.uid),
    }
}

fn of_gateway_api(name: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", name);
    match name {
        "GatewayClass" => ApiResource::from_gvk_with_plural(&kind, "gatewayclasses"),
        _ => ApiResource::from_gvk(&kind),
    }
}
