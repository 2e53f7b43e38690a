//! Kinds that a cluster may have or not: those of custom resources.
//!
//! Nobody tells when an API appears, unless one may watch CustomResourceDefinitions, which is a
//! right of its own. Every account may ask what an API server serves, so that is asked for now and
//! then.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use objects::kinds::{Kind, gateway};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::backoff::Backoff;
use super::feed::Feed;
use super::inbox::Inbox;
use super::pool::Place;
use super::requests::text;
use super::target::Target;
use super::task::Task;
use super::trouble::Trouble;

/// How often is asked what there is: a time by chance in this range, in milliseconds.
const ASK: std::ops::Range<u64> = 8_000..12_000;

/// Within which time all is asked again when the API server is back.
const TOGETHER: Duration = Duration::from_millis(300);

/// An API that a cluster may have or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optional {
    /// As people call it.
    pub name: &'static str,
    /// Its group, as `gateway.networking.k8s.io`.
    pub group: &'static str,
    /// The kinds that are read of it, each in the best version that is served.
    pub kinds: Vec<Kind>,
    /// Kinds of other groups that are read while any of it is there.
    pub beside: Vec<Kind>,
}

impl Optional {
    /// The APIs that are looked for.
    pub fn known() -> Vec<Self> {
        let api = |name, group, beside| Self {
            name,
            group,
            kinds: Kind::ALL
                .into_iter()
                .filter(|kind| kind.group() == group)
                .collect(),
            beside,
        };
        vec![
            // Listeners select namespaces by their labels.
            api("Gateway API", gateway::GROUP, vec![Kind::Namespace]),
            api(
                "experimental Gateway API",
                gateway::EXPERIMENTAL_GROUP,
                Vec::new(),
            ),
            api("cert-manager", "cert-manager.io", Vec::new()),
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
    /// The kinds that are read, each with the `apiVersion` in which it is.
    pub kinds: BTreeMap<Kind, &'static str>,
}

impl Offer {
    /// Whether any kind is there that is read.
    pub fn is_read(&self) -> bool {
        !self.kinds.is_empty()
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

/// What an API server serves of a group in one version.
#[derive(Deserialize)]
struct Resources {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    /// The plural; with a slash and more for what is not an object of its own.
    name: String,
    verbs: Vec<String>,
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
        let mut offer = None;
        let mut backoff = Backoff::default();
        loop {
            let now = match self.ask().await {
                // Whoever may not ask has no use for it.
                Err(Trouble::Refused { .. }) => self.offer(Vec::new()),
                // Without an answer, all is as it was.
                Err(trouble) => {
                    let wait = backoff.next(trouble.retry_after());
                    self.inbox.pause(wait, &trouble, TOGETHER).await;
                    continue;
                }
                Ok(now) => now,
            };
            backoff.reset();
            if offer.as_ref() != Some(&now) {
                self.change(&now, &mut watches);
                offer = Some(now);
            }
            tokio::time::sleep(ask()).await;
        }
    }

    /// What there is, as the API server lists versions: the best one first.
    async fn ask(&self) -> Result<Offer, Trouble> {
        let group: Option<Group> = self.get(self.api.group).await?;
        let versions = group.into_iter().flat_map(|group| group.versions);
        let mut offer = self.offer(versions.map(|one| one.version).collect());
        for version in &offer.versions {
            let version = format!("{}/{version}", self.api.group);
            let missing = |kind: &&Kind| !offer.kinds.contains_key(*kind);
            let wanted: Vec<_> = self
                .api
                .kinds
                .iter()
                .filter(missing)
                .filter_map(|&kind| {
                    let versions = kind.api_versions().iter();
                    let same = versions.copied().find(|known| *known == version);
                    same.map(|known| (kind, known))
                })
                .collect();
            if wanted.is_empty() {
                continue;
            }
            // One that is not there any more has gone since.
            let served: Option<Resources> = self.get(&version).await?;
            let served = served.map_or_else(Vec::new, |served| served.resources);
            let is_served = |kind: Kind| {
                let mut served = served.iter();
                served.any(|one| {
                    one.name == kind.plural() && one.verbs.iter().any(|verb| verb == "watch")
                })
            };
            let found = wanted.into_iter().filter(|(kind, _)| is_served(*kind));
            offer.kinds.extend(found);
        }
        Ok(offer)
    }

    /// What is at a path below `/apis/`; none if nothing is.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Trouble> {
        let request = http::Request::get(format!("/apis/{path}")).body(Vec::new());
        let request = request.map_err(kube::core::request::Error::BuildRequest);
        match text(self.place.client(), request).await {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|_| Trouble::nonsense()),
            Err(Trouble::NotThere) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    fn offer(&self, versions: Vec<String>) -> Offer {
        Offer {
            api: self.api.clone(),
            versions,
            kinds: BTreeMap::new(),
        }
    }

    fn change(&self, offer: &Offer, watches: &mut Vec<(Target, Task)>) {
        let Optional { name, group, .. } = self.api;
        let kinds = offer.kinds.iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, version)| {
                let version = version.rsplit('/').next().unwrap_or(version);
                format!("{kind} {version}")
            })
            .collect();
        match (offer.is_read(), offer.versions.is_empty()) {
            (true, _) => tracing::info!("the cluster serves {name}: {}", kinds.join(", ")),
            (false, false) => tracing::info!("the cluster serves {name} ({group}): not read yet"),
            (false, true) if !watches.is_empty() => {
                tracing::info!("{name} ({group}) is gone from the cluster");
            }
            (false, true) => {}
        }
        let targets = self.targets(&offer.kinds);
        for (target, task) in watches.extract_if(.., |(target, _)| !targets.contains(target)) {
            drop(task);
            self.inbox.sources(|sources| sources.remove(&target));
            let same =
                |other: &Target| (other.kind, &other.namespace) == (target.kind, &target.namespace);
            // What another version takes over, stays.
            if !targets.iter().any(same) {
                self.inbox.listed(&target, HashSet::new());
            }
        }
        for target in targets {
            if !watches.iter().any(|(known, _)| *known == target) {
                watches.push(self.watch(target));
            }
        }
        self.inbox.sources(|sources| sources.offered(offer.clone()));
    }

    fn targets(&self, kinds: &BTreeMap<Kind, &'static str>) -> Vec<Target> {
        let beside = self.api.beside.iter().filter(|_| !kinds.is_empty());
        let beside = beside.map(|&kind| (kind, kind.api_version()));
        let kinds = kinds.iter().map(|(kind, version)| (*kind, *version));
        let mut targets = Vec::new();
        for (kind, api_version) in kinds.chain(beside) {
            let target = |namespace| Target {
                api_version,
                ..Target::all(kind, namespace)
            };
            if self.namespaces.is_empty() || !kind.namespaced() {
                targets.push(target(None));
                continue;
            }
            let namespaces = self.namespaces.iter();
            targets.extend(namespaces.map(|namespace| target(Some(namespace))));
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
