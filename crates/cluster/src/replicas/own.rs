//! The Lease that says that we are here, and what we serve.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::{ADDRESSES, CHANGED, LABEL, LISTENING, LIVE, NODE, RENEW, SERVED};
use crate::MANAGER;
use crate::publish::{Identity, Served};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(3);

/// Keeps this replica's Lease.
#[derive(Debug)]
pub(crate) struct Own {
    leases: Api<Lease>,
    name: String,
    election: String,
    identity: Arc<Identity>,
    served: watch::Receiver<Option<Arc<Served>>>,
    addresses: watch::Receiver<Arc<[IpAddr]>>,
    is_failing: bool,
}

impl Own {
    pub(crate) fn new(
        client: &Client,
        election: &str,
        identity: Arc<Identity>,
        served: watch::Receiver<Option<Arc<Served>>>,
        addresses: watch::Receiver<Arc<[IpAddr]>>,
    ) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), &identity.namespace),
            name: name(election, &identity.name),
            election: election.to_owned(),
            identity,
            served,
            addresses,
            is_failing: false,
        }
    }

    /// Renews it from when something is served; never ends.
    pub(crate) async fn run(&mut self) {
        loop {
            let served = self.served.borrow_and_update().clone();
            self.addresses.mark_unchanged();
            let began = Instant::now();
            if let Some(served) = served {
                self.renew(&served).await;
            }
            tokio::select! {
                changed = self.served.changed() => {
                    if changed.is_err() {
                        // Nothing new will ever be served; what is served is served on.
                        sleep_until(began + RENEW).await;
                    }
                    sleep_until(began + CHANGED).await;
                }
                Ok(()) = self.addresses.changed() => sleep_until(began + CHANGED).await,
                () = sleep_until(began + RENEW) => {}
            }
        }
    }

    /// No more requests should be sent here: we block nobody any more.
    pub(crate) async fn delete(&self) {
        let parameters = DeleteParams::default();
        let deleted = self.leases.delete(&self.name, &parameters);
        if let Ok(Err(error)) = timeout(REQUEST, deleted).await {
            tracing::debug!("the replica's Lease {} is not deleted: {error}", self.name);
        }
    }

    async fn renew(&mut self, served: &Served) {
        let lease = self.lease(served);
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&lease);
        let applied = self.leases.patch(&self.name, &parameters, &patch);
        let failed = match timeout(REQUEST, applied).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        let was_failing = std::mem::replace(&mut self.is_failing, failed.is_some());
        match failed {
            Some(reason) if !was_failing => {
                tracing::warn!(
                    "the replica's Lease {} cannot be renewed: {reason}",
                    self.name
                );
            }
            None if was_failing => tracing::info!("the replica's Lease {} is renewed", self.name),
            _ => {}
        }
    }

    fn lease(&self, served: &Served) -> Lease {
        let mut annotations = BTreeMap::new();
        annotations.insert(SERVED.to_owned(), served.position.to_string());
        let addresses = self.addresses.borrow().clone();
        if !addresses.is_empty() {
            let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            annotations.insert(ADDRESSES.to_owned(), all.join(","));
        }
        let listening = served.listening().to_string();
        if !listening.is_empty() {
            annotations.insert(LISTENING.to_owned(), listening);
        }
        if let Some(node) = &self.identity.node {
            annotations.insert(NODE.to_owned(), node.clone());
        }
        // Not blockOwnerDeletion, which would need more rights.
        let owner = self.identity.uid.as_ref().map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: self.identity.name.clone(),
            uid: uid.clone(),
            ..OwnerReference::default()
        });
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some([(LABEL.to_owned(), self.election.clone())].into()),
                annotations: Some(annotations),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.name.clone()),
                lease_duration_seconds: i32::try_from(LIVE.as_secs()).ok(),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// The name of a replica's Lease.
fn name(election: &str, replica: &str) -> String {
    format!("{election}-{replica}")
}
