//! Objects that we keep, as the API server has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::Pin;

use futures_util::stream::{SelectAll, select_all};
use futures_util::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::Owner;
use crate::again::Again;
use crate::replicas::parse_version;

/// A kind whose objects are in namespaces.
pub(super) trait Kept:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Debug
    + Send
    + 'static
{
}

impl<K> Kept for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static
{
}

/// The objects of a kind with some labels, from a watch.
pub(super) struct Table<K> {
    /// The kind's name.
    kind: String,
    objects: BTreeMap<Owner, K>,
    /// For each scope: the newest version that was seen.
    newest: BTreeMap<String, u128>,
    /// For each scope: what a list under way has brought.
    listed: BTreeMap<String, BTreeMap<Owner, K>>,
    complete: BTreeSet<String>,
    scopes: Vec<String>,
    is_failing: bool,
    events: SelectAll<Pin<Box<dyn Stream<Item = Told<K>> + Send>>>,
}

type Told<K> = (String, Result<Event<K>, watcher::Error>);

impl<K: Kept> Table<K> {
    /// Of these namespaces; of all if there are none.
    pub(super) fn new(client: &Client, namespaces: &[String], selector: &str) -> Self {
        let apis = match namespaces {
            [] => vec![(String::new(), Api::all(client.clone()))],
            some => some
                .iter()
                .map(|it| (it.clone(), Api::namespaced(client.clone(), it)))
                .collect(),
        };
        Self::of(&K::kind(&()), apis, selector)
    }
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Table<K> {
    /// Of namespaces by their names; the empty one is all.
    pub(super) fn of(kind: &str, apis: Vec<(String, Api<K>)>, selector: &str) -> Self {
        let scopes = apis.iter().map(|(scope, _)| scope.clone()).collect();
        let watches = apis.into_iter().map(|(scope, api)| {
            watcher(api, watcher::Config::default().labels(selector))
                .backoff(Again::default())
                .map(move |event| (scope.clone(), event))
                .boxed()
        });
        Self {
            kind: kind.to_owned(),
            objects: BTreeMap::new(),
            newest: BTreeMap::new(),
            listed: BTreeMap::new(),
            complete: BTreeSet::new(),
            events: select_all(watches),
            scopes,
            is_failing: false,
        }
    }

    /// Waits for something that changes what is known.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.events.next().await {
                Some((scope, Ok(event))) => {
                    self.is_failing = false;
                    if self.take(&scope, event) {
                        return;
                    }
                }
                // Once until it works, as it is tried again and again.
                Some((_, Err(error))) if !std::mem::replace(&mut self.is_failing, true) => {
                    tracing::warn!("each {} of a Gateway is not known: {error}", self.kind);
                }
                Some((_, Err(error))) => tracing::debug!("what Gateways have: {error}"),
                // Watches do not end.
                None => std::future::pending().await,
            }
        }
    }

    fn take(&mut self, scope: &str, event: Event<K>) -> bool {
        match event {
            Event::Init => {
                self.listed.insert(scope.to_owned(), BTreeMap::new());
                // After a restore, versions begin anew.
                self.newest.remove(scope);
                return false;
            }
            Event::InitApply(object) => {
                self.advance(scope, &object);
                let listed = self.listed.entry(scope.to_owned()).or_default();
                listed.insert(key(object.meta()), object);
                return false;
            }
            Event::InitDone => {
                let listed = self.listed.remove(scope).unwrap_or_default();
                self.objects
                    .retain(|key, _| !scope.is_empty() && *key.namespace != *scope);
                self.objects.extend(listed);
                self.complete.insert(scope.to_owned());
            }
            Event::Apply(object) => {
                self.advance(scope, &object);
                let key = key(object.meta());
                let known = self
                    .objects
                    .get(&key)
                    .and_then(|known| version(known.meta()));
                // The answer to a write may be known before the watch tells what was before it.
                if known.is_some() && known >= version(object.meta()) {
                    return false;
                }
                self.objects.insert(key, object);
            }
            Event::Delete(object) => {
                self.advance(scope, &object);
                self.objects.remove(&key(object.meta()));
            }
        }
        true
    }

    fn advance(&mut self, scope: &str, object: &K) {
        if let Some(version) = version(object.meta()) {
            let newest = self.newest.entry(scope.to_owned()).or_default();
            *newest = version.max(*newest);
        }
    }

    /// Takes the answer to a write, unless the watch is further than that: the object may be gone.
    pub(super) fn wrote(&mut self, object: K) {
        let key = key(object.meta());
        let scope = match self.scopes.iter().any(String::is_empty) {
            true => "",
            false => &*key.namespace,
        };
        let seen = self.newest.get(scope).copied();
        if version(object.meta()) > seen {
            self.objects.insert(key, object);
        }
    }

    pub(super) fn get(&self, key: &Owner) -> Option<&K> {
        self.objects.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Owner, &K)> {
        self.objects.iter()
    }

    /// Whether everything has been listed.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.len() == self.scopes.len()
    }
}

fn key(metadata: &ObjectMeta) -> Owner {
    Owner::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn version(metadata: &ObjectMeta) -> Option<u128> {
    parse_version(metadata.resource_version.as_deref()?)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;

    fn service(name: &str, version: &str) -> Service {
        let mut service = Service::default();
        service.metadata.namespace = Some("shop".to_owned());
        service.metadata.name = Some(name.to_owned());
        service.metadata.resource_version = Some(version.to_owned());
        service
    }

    #[test]
    fn the_answer_to_a_write_does_not_bring_back_what_is_gone() {
        let mut table: Table<Service> = Table {
            kind: "Service".to_owned(),
            objects: BTreeMap::new(),
            newest: BTreeMap::new(),
            listed: BTreeMap::new(),
            complete: BTreeSet::new(),
            scopes: vec![String::new()],
            is_failing: false,
            events: SelectAll::new(),
        };
        for event in [
            Event::Init,
            Event::InitApply(service("old", "3")),
            Event::InitDone,
        ] {
            table.take("", event);
        }
        assert!(table.is_complete());
        table.wrote(service("web", "5"));
        let web = Owner::new("shop", "web");
        assert!(table.get(&web).is_some());
        assert!(!table.take("", Event::Apply(service("web", "4"))));
        assert!(table.take("", Event::Delete(service("web", "6"))));
        table.wrote(service("web", "5"));
        assert!(table.get(&web).is_none());
        for event in [Event::Init, Event::InitDone] {
            table.take("", event);
        }
        assert_eq!(table.iter().count(), 0);
    }
}
