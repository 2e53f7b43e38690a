//! What is kept beside certificates: keys of accounts and of authorities.

use std::sync::Arc;

use certs::vault::{Entries, NotKept, Papers};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use super::requests::{Wrong, is_marked, not_ours, stubbornly, within};
use super::{MARK, Shared, names};
use crate::MANAGER;

/// Keeps documents in Secrets of type `Opaque`: by `name` in Narthex's namespace, or by
/// `namespace/name`.
#[derive(Debug, Clone)]
pub struct SecretPapers {
    shared: Arc<Shared>,
}

impl SecretPapers {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn place<'a>(&'a self, id: &'a str) -> Result<(&'a str, &'a str), String> {
        match id.contains('/') {
            true => names::split(id),
            false => Ok((&self.shared.place.namespace, id)),
        }
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.shared.client.clone(), namespace)
    }
}

impl Papers for SecretPapers {
    type Version = String;

    async fn read(&self, id: &str) -> Result<Option<(Entries, String)>, String> {
        let (namespace, name) = self.place(id)?;
        let there = within(self.secrets(namespace).get_opt(name)).await;
        let there = there.map_err(|wrong| format!("Secret {namespace}/{name}: {wrong}"))?;
        let Some(secret) = there else {
            return Ok(None);
        };
        if !is_marked(&secret.metadata) {
            return Err(not_ours("Secret", namespace, name));
        }
        let data = secret.data.into_iter().flatten();
        let entries = data.map(|(key, value)| (key, value.0)).collect();
        let version = secret.metadata.resource_version.unwrap_or_default();
        Ok(Some((entries, version)))
    }

    async fn write(
        &self,
        id: &str,
        entries: &Entries,
        after: Option<&String>,
    ) -> Result<(), NotKept> {
        let (namespace, name) = self.place(id).map_err(NotKept::Failed)?;
        let data = entries.iter();
        let data = data.map(|(key, value)| (key.clone(), ByteString(value.clone())));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                resource_version: after.cloned(),
                labels: Some([(MARK.to_owned(), "true".to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(data.collect()),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        };
        let post = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let secrets = self.secrets(namespace);
        let written = match after {
            Some(_) => stubbornly(|| secrets.replace(name, &post, &secret)).await,
            None => stubbornly(|| secrets.create(&post, &secret)).await,
        };
        match written {
            Ok(_) => Ok(()),
            Err(Wrong::Changed(_)) => match self.read(id).await.map_err(NotKept::Failed)? {
                // Ours, of an attempt that was not answered.
                Some((now, _)) if now == *entries => Ok(()),
                _ => Err(NotKept::Changed),
            },
            Err(wrong) => Err(NotKept::Failed(format!(
                "Secret {namespace}/{name}: {wrong}"
            ))),
        }
    }
}
