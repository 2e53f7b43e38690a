//! What is kept beside certificates: keys of accounts and of authorities.

use std::collections::BTreeMap;
use std::sync::Arc;

use certs::vault::NotKept;
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

/// Documents by name.
type Documents = BTreeMap<String, Vec<u8>>;

impl SecretPapers {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The documents and their state, none if there are none.
    ///
    /// # Errors
    /// They belong to somebody else or cannot be read, for people.
    pub async fn read(&self, id: &str) -> Result<Option<(Documents, String)>, String> {
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
        let documents = data.map(|(key, value)| (key, value.0)).collect();
        let version = secret.metadata.resource_version.unwrap_or_default();
        Ok(Some((documents, version)))
    }

    /// Keeps documents in place of those in the state `after`, or where there are none.
    ///
    /// # Errors
    /// They were changed, belong to somebody else or cannot be written.
    pub async fn write(
        &self,
        id: &str,
        documents: &Documents,
        after: Option<&str>,
    ) -> Result<(), NotKept> {
        let (namespace, name) = self.place(id).map_err(NotKept::Failed)?;
        let data = documents.iter();
        let data = data.map(|(key, value)| (key.clone(), ByteString(value.clone())));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                resource_version: after.map(str::to_owned),
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
                Some((now, _)) if now == *documents => Ok(()),
                _ => Err(NotKept::Changed),
            },
            Err(wrong) => Err(NotKept::Failed(format!(
                "Secret {namespace}/{name}: {wrong}"
            ))),
        }
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
