//! Certificates as Secrets.

use std::sync::Arc;

use certs::vault::{NotKept, Record, Vault};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};

use super::record::{REST, Rest, join, print, print_of, secret};
use super::requests::{Wrong, is_marked, not_ours, stubbornly, within};
use super::{MARK, Shared, names};
use crate::MANAGER;

/// How often another's write of a Lease is made way for: its holder renews it all the time.
const ATTEMPTS: usize = 5;

/// The issuer of a certificate as cert-manager names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IssuedBy {
    /// `cert-manager.io/issuer-name`
    pub(super) name: String,
    /// `cert-manager.io/issuer-kind`
    pub(super) kind: String,
    /// `cert-manager.io/issuer-group`
    pub(super) group: String,
}

impl IssuedBy {
    /// Of a wish's issuer: `Issuer namespace/name` or `ClusterIssuer name`, and perhaps more after
    /// a comma. Others are no objects of cert-manager's.
    pub(super) fn read(issuer: &str) -> Option<Self> {
        let issuer = issuer.split(',').next()?;
        let (kind, name) = issuer.split_once(' ')?;
        let name = match kind {
            "Issuer" => name.split_once('/')?.1,
            "ClusterIssuer" => name,
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            group: "cert-manager.io".to_owned(),
        })
    }
}

/// Keeps certificates in Secrets, by `namespace/name`, and what else is known of them in their
/// Leases. A Secret without our mark is read and written by nobody here.
#[derive(Debug, Clone)]
pub struct SecretVault {
    shared: Arc<Shared>,
}

/// A state of the two objects.
#[derive(Debug)]
pub struct State {
    /// Its resourceVersion and the print of what is in it.
    secret: Option<(String, String)>,
    /// The Lease's annotation; empty where there is none. Not its version, which every renewal
    /// changes.
    rest: String,
}

impl SecretVault {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.shared.client.clone(), namespace)
    }

    /// The Secret, if there is one and it is ours.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, String> {
        let there = within(self.secrets(namespace).get_opt(name)).await;
        let there = there.map_err(|wrong| format!("Secret {namespace}/{name}: {wrong}"))?;
        match there {
            Some(secret) if !is_marked(&secret.metadata) => {
                Err(not_ours("Secret", namespace, name))
            }
            there => Ok(there),
        }
    }

    /// Writes the annotation, if it still says `before`. The one of two that are at it who
    /// succeeds here, may write the Secret.
    async fn write_rest(&self, id: &str, before: &str, text: &str) -> Result<(), NotKept> {
        let name = names::lease(id);
        let failed = |wrong: &Wrong| NotKept::Failed(format!("Lease {name}: {wrong}"));
        let leases = self.shared.leases();
        let post = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        for _ in 0..ATTEMPTS {
            let there = stubbornly(|| leases.get_opt(&name)).await;
            let there = there.map_err(|wrong| failed(&wrong))?;
            let is_new = there.is_none();
            let mut lease = match there {
                Some(lease) if !is_marked(&lease.metadata) => {
                    let namespace = &self.shared.place.namespace;
                    return Err(NotKept::Failed(not_ours("Lease", namespace, &name)));
                }
                Some(lease) => lease,
                None => new_lease(&name),
            };
            match rest(&lease) {
                // Ours, of an attempt that was not answered.
                now if now == text && !is_new => return Ok(()),
                now if now != before => return Err(NotKept::Changed),
                _ => {}
            }
            let annotations = lease.metadata.annotations.get_or_insert_default();
            annotations.insert(REST.to_owned(), text.to_owned());
            let written = match is_new {
                true => within(leases.create(&post, &lease)).await,
                false => within(leases.replace(&name, &post, &lease)).await,
            };
            match written {
                Ok(_) => return Ok(()),
                // Renewed meanwhile, or not answered: it is read again.
                Err(Wrong::Changed(_) | Wrong::Unreachable(_)) => {}
                Err(wrong) => return Err(failed(&wrong)),
            }
        }
        Err(NotKept::Changed)
    }

    async fn write_secret(
        &self,
        id: (&str, &str),
        record: &Record,
        after: Option<&str>,
    ) -> Result<(), NotKept> {
        let Some(issued) = &record.issued else {
            return Ok(());
        };
        let (namespace, name) = id;
        let issuer = record.issuer.as_deref();
        let by = issuer.and_then(IssuedBy::read);
        let object = secret(id, issued, issuer, by.as_ref(), after);
        let mut parameters = PatchParams::apply(MANAGER);
        // Where there is none, somebody may make one: then their fields are in the way, and stay.
        parameters.force = after.is_some();
        let secrets = self.secrets(namespace);
        let patch = Patch::Apply(&object);
        match stubbornly(|| secrets.patch(name, &parameters, &patch)).await {
            Ok(_) => Ok(()),
            Err(Wrong::Changed(_) | Wrong::Owned(_)) => {
                // Ours, of an attempt that was not answered, or another's.
                let there = self
                    .secret(namespace, name)
                    .await
                    .map_err(NotKept::Failed)?;
                match there.is_some_and(|it| print_of(&it) == print(issued)) {
                    true => Ok(()),
                    false => Err(NotKept::Changed),
                }
            }
            Err(wrong) => Err(NotKept::Failed(format!(
                "Secret {namespace}/{name}: {wrong}"
            ))),
        }
    }
}

impl Vault for SecretVault {
    type Version = State;

    async fn read(&self, id: &str) -> Result<Option<(Record, State)>, String> {
        let (namespace, name) = names::split(id)?;
        let lease_name = names::lease(id);
        // The Lease first, as it is written: with a Secret that is newer it does not fit.
        let lease = within(self.shared.leases().get_opt(&lease_name)).await;
        let lease = lease.map_err(|wrong| format!("Lease {lease_name}: {wrong}"))?;
        let secret = self.secret(namespace, name).await?;
        let rest = lease.as_ref().map(rest).unwrap_or_default().to_owned();
        if secret.is_none() && rest.is_empty() {
            return Ok(None);
        }
        let found = secret.as_ref().map(|secret| {
            let version = secret.metadata.resource_version.clone();
            (version.unwrap_or_default(), print_of(secret))
        });
        let found_print = found.as_ref().map(|(_, print)| print.as_str());
        let record = join(secret.as_ref(), found_print, &rest);
        Ok(Some((
            record,
            State {
                secret: found,
                rest,
            },
        )))
    }

    /// The annotation first, then the Secret: who stops between the two has written nothing, as
    /// the annotation is about a certificate that is not there. Only what is new is written.
    async fn write(&self, id: &str, record: &Record, after: Option<&State>) -> Result<(), NotKept> {
        let place = names::split(id).map_err(NotKept::Failed)?;
        let before = after.and_then(|state| state.secret.as_ref());
        let old = before.map(|(_, print)| print.as_str());
        let new = record.issued.as_ref().map(print);
        // A certificate is never taken away: it is served until there is another.
        let text = Rest::text(record, new.as_deref().or(old));
        let rest = after.map_or("", |state| state.rest.as_str());
        if text != rest {
            self.write_rest(id, rest, &text).await?;
        }
        if new.as_deref() == old {
            return Ok(());
        }
        let version = before.map(|(version, _)| version.as_str());
        self.write_secret(place, record, version).await
    }
}

impl Shared {
    pub(super) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.place.namespace)
    }
}

/// The Lease of a certificate of which nothing is known.
pub(super) fn new_lease(name: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(MARK.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    }
}

fn rest(lease: &Lease) -> &str {
    let annotations = lease.metadata.annotations.as_ref();
    let rest = annotations.and_then(|all| all.get(REST));
    rest.map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuers_of_cert_manager_are_told_from_others() {
        let read = |text| IssuedBy::read(text).map(|it| (it.kind, it.name));
        let pair = |kind: &str, name: &str| Some((kind.to_owned(), name.to_owned()));
        assert_eq!(read("Issuer shop/le"), pair("Issuer", "le"));
        assert_eq!(read("ClusterIssuer le"), pair("ClusterIssuer", "le"));
        assert_eq!(read("ClusterIssuer le, RSA"), pair("ClusterIssuer", "le"));
        for other in ["acme", "internal", "self-signed", "Issuer le", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
