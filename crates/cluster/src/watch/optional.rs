//! Kinds that a cluster may have or not: those of custom resources.
//!
//! Nobody tells when an API appears, unless one may watch CustomResourceDefinitions, which is a
//! right of its own. Every account may ask what an API server serves, so that is asked for now and
//! then.

use std::sync::Arc;
use std::time::Duration;

use kube::core::Request as Path;
use objects::kinds::Kind;
use serde::Deserialize;

use super::feed::Feed;
use super::inbox::Inbox;
use super::pool::Place;
use super::requests::text;
use super::target::Target;
use super::task::Task;
use super::trouble::Trouble;

/// How often is asked what there is: a time by chance in this range, in milliseconds.
const ASK: std::ops::Range<u64> = 8_000..12_000;

/// An API that a cluster may have or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optional {
    /// As people call it.
    pub name: &'static str,
    /// Its group, as `gateway.networking.k8s.io`.
    pub group: &'static str,
    /// The version that would be read.
    pub version: &'static str,
    /// The kinds that are read of it.
    pub kinds: Vec<Kind>,
}

impl Optional {
    /// The APIs that are looked for.
    pub fn known() -> Vec<Self> {
        let api = |name, group, version| Self {
            name,
            group,
            version,
            kinds: Vec::new(),
        };
        vec![
            api("Gateway API", "gateway.networking.k8s.io", "v1"),
            api("cert-manager", "cert-manager.io", "v1"),
        ]
    }
}

/// What is known of an API that a cluster may have or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which one.
    pub api: Optional,
    /// The versions that the cluster serves; none if it has no such API.
    pub versions: Vec<String>,
}

impl Offer {
    /// Whether the version is there that would be read.
    pub fn is_served(&self) -> bool {
        self.versions
            .iter()
            .any(|version| version == self.api.version)
    }
}

/// A group, as an API server tells of it.
#[derive(Deserialize)]
struct Group {
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// Looks for an API for ever, and watches its kinds while it is there.
pub(crate) struct Seeker {
    pub(crate) place: Place,
    pub(crate) api: Optional,
    /// Where its objects are watched: everywhere, or in these.
    pub(crate) namespaces: Vec<String>,
    pub(crate) inbox: Arc<Inbox>,
}

impl Seeker {
    /// Runs until it is dropped, and its watches with it.
    pub(crate) async fn run(self, ask: impl Fn() -> Duration) {
        let mut watches = Vec::new();
        let mut versions = Vec::new();
        loop {
            // Without an answer, all is as it was.
            if let Ok(now) = self.ask().await
                && now != versions
            {
                versions = now;
                self.change(&versions, &mut watches);
            }
            tokio::time::sleep(ask()).await;
        }
    }

    async fn ask(&self) -> Result<Vec<String>, Trouble> {
        let path = Path::new(format!("/apis/{}", self.api.group));
        let request = http::Request::get(path.url_path).body(Vec::new());
        let request = request.map_err(kube::core::request::Error::BuildRequest);
        match text(self.place.client(), request).await {
            Ok(text) => {
                let group: Group = serde_json::from_str(&text).map_err(|_| Trouble::nonsense())?;
                Ok(group.versions.into_iter().map(|one| one.version).collect())
            }
            Err(Trouble::NotThere) => Ok(Vec::new()),
            Err(trouble) => Err(trouble),
        }
    }

    fn change(&self, versions: &[String], watches: &mut Vec<(Target, Task)>) {
        let offer = Offer {
            api: self.api.clone(),
            versions: versions.to_vec(),
        };
        let Optional {
            name,
            group,
            version,
            ..
        } = self.api;
        if !offer.is_served() {
            if !watches.is_empty() {
                tracing::info!("{name} ({group}/{version}) is gone from the cluster");
            }
            for (target, task) in watches.drain(..) {
                drop(task);
                self.inbox.sources(|sources| sources.remove(&target));
                self.inbox.listed(&target, std::collections::HashSet::new());
            }
        } else if self.api.kinds.is_empty() {
            tracing::info!("the cluster serves {name} ({group}/{version}): not read yet");
        } else if watches.is_empty() {
            tracing::info!("the cluster serves {name} ({group}/{version})");
            watches.extend(self.targets().into_iter().map(|target| self.watch(target)));
        }
        self.inbox.sources(|sources| sources.offered(offer));
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for &kind in &self.api.kinds {
            if self.namespaces.is_empty() || !kind.namespaced() {
                targets.push(Target::all(kind, None));
                continue;
            }
            let namespaces = self.namespaces.iter();
            targets.extend(namespaces.map(|namespace| Target::all(kind, Some(namespace))));
        }
        targets
    }

    fn watch(&self, target: Target) -> (Target, Task) {
        self.inbox.sources(|sources| sources.add(target.clone()));
        let feed = Feed::new(self.place.clone(), target.clone(), Arc::clone(&self.inbox));
        (target, Task::spawn(feed.run()))
    }
}

/// When to ask again.
pub(crate) fn now_and_then() -> Duration {
    Duration::from_millis(fastrand::u64(ASK))
}
