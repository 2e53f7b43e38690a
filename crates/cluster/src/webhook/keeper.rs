//! Keeps the certificates in a Secret that all replicas share, and tells the API server whom to
//! trust.
//!
//! Every replica does the same and none leads: whoever finds nothing, or something old, writes;
//! of two that write at once the API server takes the first, and the other one reads it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::json;

use super::authority::Material;
use super::server::Identity;

/// How often the Secret and the configuration are looked at.
const INTERVAL: Duration = Duration::from_secs(15);

/// For all of one look.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How many times another replica's write is made way for in one look.
const ATTEMPTS: usize = 5;

const KEYS: [&str; 4] = ["ca.crt", "ca.key", "tls.crt", "tls.key"];

/// What the webhook's objects are called.
#[derive(Debug, Clone)]
pub struct Names {
    /// Our namespace, where the Secret and the Service are.
    pub namespace: String,
    /// The Secret with the certificates.
    pub secret: String,
    /// The Service by which the API server finds the webhook.
    pub service: String,
    /// The ValidatingWebhookConfiguration whose `caBundle` is kept up to date.
    pub configuration: String,
    /// Other names and addresses under which the webhook is called.
    pub others: Vec<String>,
}

/// Keeps the certificates.
pub struct Keeper {
    client: Client,
    names: Names,
    identity: Arc<Identity>,
    shown: Option<Material>,
    /// What was told last, so that it is told once.
    trouble: Option<String>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Names {
    /// The names in the serving certificate.
    fn certified(&self) -> Vec<String> {
        let Self {
            service, namespace, ..
        } = self;
        let own = [
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
        ];
        own.into_iter().chain(self.others.iter().cloned()).collect()
    }
}

impl Keeper {
    /// Keeps `identity` what the Secret says.
    pub fn new(client: Client, names: Names, identity: Arc<Identity>) -> Self {
        Self {
            client,
            names,
            identity,
            shown: None,
            trouble: None,
        }
    }

    /// Looks again and again, for as long as the future is polled.
    pub async fn run(mut self) {
        loop {
            let look = tokio::time::timeout(TIME_LIMIT, self.look()).await;
            let trouble = match look {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some("the API server does not answer".to_owned()),
            };
            if trouble != self.trouble {
                match &trouble {
                    Some(trouble) => tracing::warn!("the admission webhook: {trouble}"),
                    None => tracing::info!("the admission webhook is told to the API server"),
                }
                self.trouble = trouble;
            }
            // Replicas that start together do not stay together.
            let jitter = Duration::from_millis(fastrand::u64(..3_000));
            tokio::time::sleep(INTERVAL + jitter).await;
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let material = self.keep().await?;
        if self.shown.as_ref() != Some(&material) {
            self.identity.set(material.identity()?);
            tracing::info!("the admission webhook has a new certificate");
            self.shown = Some(material.clone());
        }
        self.tell(&material.authorities).await
    }

    /// What the Secret holds, renewed if it is time.
    async fn keep(&self) -> Result<Material, String> {
        let Names {
            namespace,
            secret: name,
            ..
        } = &self.names;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let failed = |error: Error| format!("Secret {namespace}/{name}: {error}");
        for _ in 0..ATTEMPTS {
            let there = secrets.get_opt(name).await.map_err(failed)?;
            let current = there.as_ref().and_then(read);
            let certified = self.names.certified();
            let renew = move || {
                Material::renewed(current.as_ref(), &certified, SystemTime::now())
                    .map(|next| (current, next))
            };
            // Keys take their time, and probes are answered on this thread.
            let renewed = tokio::task::spawn_blocking(renew).await;
            let next = match renewed.map_err(|error| error.to_string())?? {
                (Some(current), None) => return Ok(current),
                (_, Some(next)) => next,
                (None, None) => return Err("no certificate was made".to_owned()),
            };
            let secret = self.secret(there.as_ref(), &next);
            let post = PostParams::default();
            let written = match &there {
                Some(_) => secrets.replace(name, &post, &secret).await,
                None => secrets.create(&post, &secret).await,
            };
            match written {
                Ok(_) => return Ok(next),
                // 404: gone since; 409: another replica was first. Either way it is read again.
                Err(Error::Api(status)) if [404, 409].contains(&status.code) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(format!(
            "Secret {namespace}/{name} is written by others again and again"
        ))
    }

    fn secret(&self, there: Option<&Secret>, next: &Material) -> Secret {
        let Material {
            authorities,
            authority_key,
            certificate,
            key,
        } = next;
        let values = [authorities, authority_key, certificate, key];
        let data = KEYS.into_iter().zip(values);
        let data =
            data.map(|(key, value)| (key.to_owned(), ByteString(value.clone().into_bytes())));
        let new = || Secret {
            metadata: ObjectMeta {
                name: Some(self.names.secret.clone()),
                namespace: Some(self.names.namespace.clone()),
                labels: Some(BTreeMap::from([(
                    "app.kubernetes.io/managed-by".to_owned(),
                    "narthex".to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            // The type of a Secret cannot be changed: one that was there may have any.
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        };
        let mut secret = there.map_or_else(new, |there| Secret {
            metadata: ObjectMeta {
                managed_fields: None,
                ..there.metadata.clone()
            },
            ..there.clone()
        });
        secret.data.get_or_insert_default().extend(data);
        secret
    }

    /// Sees to it that the API server trusts these authorities.
    async fn tell(&self, authorities: &str) -> Result<(), String> {
        let name = &self.names.configuration;
        let what = format!("ValidatingWebhookConfiguration {name}");
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        for _ in 0..ATTEMPTS {
            let there = configurations.get_opt(name).await;
            let there = there.map_err(|error| format!("{what}: {error}"))?;
            let Some(there) = there else {
                return Err(format!(
                    "there is no {what}, so that the API server asks nobody; the chart installs it"
                ));
            };
            let changes = self.changes(&there, authorities);
            if changes.is_empty() {
                return Ok(());
            }
            let version = there.metadata.resource_version.unwrap_or_default();
            let mut patch =
                vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
            patch.extend(changes);
            let patch: Patch<()> = serde_json::from_value(json!(patch))
                .map(Patch::Json)
                .map_err(|error| error.to_string())?;
            match configurations
                .patch(name, &PatchParams::default(), &patch)
                .await
            {
                Ok(_) => return Ok(()),
                // 422: the test failed, somebody else was first.
                Err(Error::Api(status)) if [404, 409, 422].contains(&status.code) => {}
                Err(error) => return Err(format!("{what}: {error}")),
            }
        }
        Err(format!("{what} is written by others again and again"))
    }

    /// For each of the configuration's webhooks that is ours and has another `caBundle`.
    fn changes(
        &self,
        there: &ValidatingWebhookConfiguration,
        authorities: &str,
    ) -> Vec<serde_json::Value> {
        use base64::Engine as _;

        let Names {
            namespace, service, ..
        } = &self.names;
        let webhooks = there.webhooks.iter().flatten().enumerate();
        let stale = webhooks.filter(|(_, webhook)| {
            let config = &webhook.client_config;
            let is_ours = match &config.service {
                Some(named) => named.name == *service && named.namespace == *namespace,
                None => config.url.is_some(),
            };
            let bundle = config.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice());
            is_ours && bundle != Some(authorities.as_bytes())
        });
        let value = base64::engine::general_purpose::STANDARD.encode(authorities);
        stale
            .map(|(index, _)| {
                let path = format!("/webhooks/{index}/clientConfig/caBundle");
                json!({"op": "add", "path": path, "value": value})
            })
            .collect()
    }
}

fn read(secret: &Secret) -> Option<Material> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Material {
        authorities: text("ca.crt")?,
        authority_key: text("ca.key")?,
        certificate: text("tls.crt")?,
        key: text("tls.key")?,
    })
}
