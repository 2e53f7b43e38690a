//! One write of one Ingress's status.

use std::time::Duration;

use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::timeout;

use super::Addresses;
use super::pace::Budget;
use super::view::{Key, Slim, api};
use crate::MANAGER;
use crate::election::Leadership;
use crate::metrics::Metrics;

/// How long one may take: with what is left of the lease when it is sent, it has ended before
/// another leader begins.
const REQUEST: Duration = Duration::from_secs(4);

/// What every writer of status goes by.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    pub(crate) leadership: Leadership,
    pub(crate) metrics: Metrics,
    /// All share it.
    pub(crate) budget: Budget,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// It is written; this is the object now.
    Written(Box<T>),
    /// The object is another than we thought; the watch will tell.
    Conflict,
    /// The object has gone.
    Gone,
    /// The API server would not have it, and says why: asking again soon does not help.
    Refused(String),
    /// The API server could not be asked, or has too much to do.
    Failed(String),
    /// We lead no more, and have sent nothing.
    NotLeader,
}

impl<T> Outcome<T> {
    /// For metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Written(_) => "ok",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "error",
            Self::NotLeader => "not_leader",
        }
    }
}

/// Writes `addresses`, or takes away those that we wrote, if the object is still at `version`.
///
/// Server-side apply: what others wrote beside it stays theirs, and what we take away is what is
/// ours. The version makes a late write of a leader that was, harmless.
pub(super) async fn write(
    client: Client,
    leadership: Leadership,
    key: Key,
    version: Box<str>,
    addresses: Option<Addresses>,
) -> Outcome<Slim> {
    let (namespace, name) = (&*key.namespace, &*key.name);
    let mut patch = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": version},
    });
    if let Some(addresses) = addresses {
        patch["status"] = json!({"loadBalancer": {"ingress": addresses.as_slice()}});
    }
    let ingresses = api(&client, namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(patch);
    let sent = ingresses.patch_status(name, &parameters, &patch);
    send(leadership, sent).await
}

/// Sends a write, if we lead; `sent` has not begun.
pub(crate) async fn send<T>(
    leadership: Leadership,
    sent: impl Future<Output = kube::Result<T>>,
) -> Outcome<T> {
    // Last of all: nothing may be between this and the sending.
    if !leadership.is_held() {
        return Outcome::NotLeader;
    }
    match timeout(REQUEST, sent).await {
        Ok(Ok(object)) => Outcome::Written(Box::new(object)),
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 => Outcome::Gone,
            409 => Outcome::Conflict,
            429 | 500.. => Outcome::Failed(status.message),
            _ => Outcome::Refused(status.message),
        },
        Ok(Err(error)) => Outcome::Failed(error.to_string()),
        Err(_) => Outcome::Failed("no answer in time".to_owned()),
    }
}
