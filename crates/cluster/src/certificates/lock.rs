//! Who orders a certificate: the holder of its Lease.
//!
//! The rules are those of the leader's election: a record's age is judged by when it was seen to
//! change here, never by another's clock. But nobody waits for a lock, and nobody watches it:
//! whoever finds it taken sees when it looks again whether it was renewed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certs::vault::Lock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::requests::{Wrong, is_marked, not_ours, within};
use super::vault::new_lease;
use super::{Shared, names};
use crate::MANAGER;
use crate::clock::Moment;
use crate::election::{Candidate, Step};

/// How long a holder that is not heard of any more is waited for.
const DURATION: Duration = Duration::from_secs(20);

/// How often a holder renews. Three of these may fail.
const RENEW: Duration = Duration::from_secs(5);

/// How many locks of others are remembered: more than anybody orders at one time.
const REMEMBERED: usize = 1000;

/// Locks certificates by their Leases.
#[derive(Debug, Clone)]
pub struct LeaseLock {
    shared: Arc<Shared>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The locks that others held when last looked at.
    others: HashMap<String, Candidate>,
    /// Those that are held here.
    own: HashSet<String>,
}

/// A lock that is held, and renewed, until this is dropped; then it is given back.
#[derive(Debug)]
pub struct Held {
    _dropped: oneshot::Sender<()>,
}

impl LeaseLock {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            seen: Arc::default(),
        }
    }

    /// Takes the Lease if it is free. Whether it was.
    async fn take(&self, name: &str) -> Result<bool, String> {
        let leases = self.shared.leases();
        let failed = |wrong: Wrong| format!("Lease {name}: {wrong}");
        let there = within(leases.get_opt(name)).await.map_err(failed)?;
        let is_new = there.is_none();
        let mut lease = match there {
            Some(lease) if !is_marked(&lease.metadata) => {
                return Err(not_ours("Lease", &self.shared.place.namespace, name));
            }
            Some(lease) => lease,
            None => new_lease(name),
        };
        if !is_new && !self.is_free(name, &lease) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        let post = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = match is_new {
            true => within(leases.create(&post, &lease)).await,
            false => within(leases.replace(name, &post, &lease)).await,
        };
        match written {
            Ok(_) => Ok(true),
            // Another was first.
            Err(Wrong::Changed(_)) => Ok(false),
            Err(wrong) => Err(failed(wrong)),
        }
    }

    fn is_free(&self, name: &str, lease: &Lease) -> bool {
        let mut seen = lock(&self.seen);
        let others = &mut seen.others;
        if others.len() >= REMEMBERED && !others.contains_key(name) {
            // Whoever is forgotten is waited for once more.
            others.clear();
        }
        let candidate = others
            .entry(name.to_owned())
            .or_insert_with(|| Candidate::new(self.shared.holder.clone()));
        let is_free = candidate.see(lease, Moment::now()) == Step::Write;
        if is_free {
            others.remove(name);
        }
        is_free
    }

    fn spec(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = old.and_then(|old| old.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.shared.holder.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(1)),
            ..LeaseSpec::default()
        }
    }

    /// Renews until nobody holds it any more, and gives it back.
    async fn keep(self, own: Own, mut dropped: oneshot::Receiver<()>) {
        let name = own.name.as_str();
        let mut is_failing = false;
        loop {
            tokio::select! {
                _ = &mut dropped => break,
                () = sleep(RENEW) => {}
            }
            match self.amend(name, &self.shared.holder).await {
                Ok(()) => is_failing = false,
                Err(Wrong::Changed(_)) => {
                    tracing::warn!("the Lease {name} is another's: it was not renewed in time");
                    // What is done under it is found out when it is kept.
                    let _ = dropped.await;
                    return;
                }
                Err(wrong) if !is_failing => {
                    is_failing = true;
                    tracing::warn!("the Lease {name} is not renewed: {wrong}");
                }
                Err(_) => {}
            }
        }
        if let Err(wrong) = self.amend(name, "").await {
            tracing::debug!("the Lease {name} is not given back: {wrong}");
        }
    }

    /// Sets holder and time, if we hold it.
    async fn amend(&self, name: &str, holder: &str) -> Result<(), Wrong> {
        let now = MicroTime(Timestamp::now());
        let patch: Patch<()> = serde_json::from_value(json!([
            {"op": "test", "path": "/spec/holderIdentity", "value": self.shared.holder},
            {"op": "replace", "path": "/spec/holderIdentity", "value": holder},
            {"op": "replace", "path": "/spec/renewTime", "value": now},
        ]))
        .map(Patch::Json)
        .map_err(|error| Wrong::Refused(error.to_string()))?;
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let leases = self.shared.leases();
        within(leases.patch(name, &parameters, &patch))
            .await
            .map(drop)
    }
}

/// A lock that is held or tried here, so that nobody else here does: a Lease does not keep its own
/// holder out.
#[derive(Debug)]
struct Own {
    seen: Arc<Mutex<Seen>>,
    name: String,
}

impl Own {
    fn new(seen: &Arc<Mutex<Seen>>, name: String) -> Option<Self> {
        let is_first = lock(seen).own.insert(name.clone());
        is_first.then(|| Self {
            seen: Arc::clone(seen),
            name,
        })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        lock(&self.seen).own.remove(&self.name);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // Each change of it is whole.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lock for LeaseLock {
    type Held = Held;

    async fn try_lock(&self, id: &str) -> Result<Option<Held>, String> {
        let Some(own) = Own::new(&self.seen, names::lease(id)) else {
            return Ok(None);
        };
        if !self.take(&own.name).await? {
            return Ok(None);
        }
        let (held, dropped) = oneshot::channel();
        tokio::spawn(self.clone().keep(own, dropped));
        Ok(Some(Held { _dropped: held }))
    }
}
