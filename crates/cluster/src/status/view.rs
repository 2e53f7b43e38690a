//! The Ingresses' status as the API server has it, kept by the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use futures_util::stream::{SelectAll, select_all};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ApiResource, Object};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use objects::kinds::{Kind, ObjectKey};
use serde::{Deserialize, Serialize};

use super::{Address, Addresses};
use crate::MANAGER;
use crate::again::Again;
use crate::client::Connection;
use crate::replicas::parse_version;
use crate::watch::WATCHES;

/// The old way to name a class.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// An Ingress, cut down to what its status needs.
pub(super) type Slim = Object<Spec, Status>;

/// `spec`, cut down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    ingress_class_name: Option<Box<str>>,
}

/// `status`, cut down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    load_balancer: Balancer,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Balancer {
    ingress: Vec<Address>,
}

/// Which Ingress.
pub(super) type Key = ObjectKey;

/// What has become of the Ingresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that matters.
    None,
    /// This one is another than it was, or has gone.
    One(Key),
    /// A list was read.
    All,
}

/// The status of one Ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its resourceVersion, which guards what is written.
    pub(super) version: Box<str>,
    /// The class that it names.
    pub(super) class: Option<Box<str>>,
    pub(super) addresses: Addresses,
    /// Whether the addresses, or some of them, were written by us (`metadata.managedFields`).
    pub(super) is_ours: bool,
}

impl Entry {
    pub(super) fn number(&self) -> Option<u128> {
        parse_version(&self.version)
    }
}

/// Every Ingress's status, from a watch of our own.
pub(super) struct View {
    entries: BTreeMap<Key, Entry>,
    /// For each scope: the names that a list under way has brought.
    listed: BTreeMap<String, BTreeSet<Key>>,
    complete: BTreeSet<String>,
    scopes: Vec<String>,
    /// Most Ingresses have the same addresses: kept once.
    shared: Addresses,
    events: SelectAll<Pin<Box<dyn Stream<Item = Told> + Send>>>,
}

type Told = (String, Result<Event<Slim>, watcher::Error>);

impl View {
    /// Of these namespaces; of all if there are none.
    pub(super) fn new(connection: &Connection, namespaces: &[String]) -> Self {
        let scopes = match namespaces {
            [] => vec![String::new()],
            some => some.to_vec(),
        };
        // Of their own: nothing that is written waits for a watch.
        let clients = scopes.chunks(WATCHES).flat_map(|some| {
            let client = connection.another();
            some.iter().map(move |scope| (scope, client.clone()))
        });
        let watches = clients.map(|(scope, client)| {
            let api = api(&client, scope);
            let scope = scope.clone();
            watcher(api, watcher::Config::default())
                .backoff(Again::default())
                .map(move |event| (scope.clone(), event))
                .boxed()
        });
        Self {
            entries: BTreeMap::new(),
            listed: BTreeMap::new(),
            complete: BTreeSet::new(),
            events: select_all(watches),
            scopes,
            shared: Addresses::default(),
        }
    }

    /// Waits for news, and takes it in.
    pub(super) async fn changed(&mut self) -> News {
        let Some((scope, event)) = self.events.next().await else {
            // Watches do not end; should they, there is nothing more to be told.
            return std::future::pending().await;
        };
        match event {
            Ok(event) => self.take(scope, event),
            Err(error) => {
                tracing::debug!("the status of Ingresses: {error}");
                News::None
            }
        }
    }

    fn take(&mut self, scope: String, event: Event<Slim>) -> News {
        match event {
            Event::Init => {
                self.listed.insert(scope, BTreeSet::new());
                News::None
            }
            Event::InitApply(object) => {
                if let Some(listed) = self.listed.get_mut(&scope) {
                    listed.insert(key(&object));
                }
                // Whatever its version is: after a restore, versions begin anew.
                self.entries.remove(&key(&object));
                self.see(object);
                News::None
            }
            Event::InitDone => {
                let listed = self.listed.remove(&scope).unwrap_or_default();
                self.entries.retain(|key, _| {
                    let is_in_scope = scope.is_empty() || *key.namespace == *scope;
                    !is_in_scope || listed.contains(key)
                });
                self.complete.insert(scope);
                News::All
            }
            Event::Apply(object) => {
                let key = key(&object);
                match self.see(object) {
                    true => News::One(key),
                    false => News::None,
                }
            }
            Event::Delete(object) => {
                let key = key(&object);
                self.entries.remove(&key);
                News::One(key)
            }
        }
    }

    /// Takes an object as it is told by a watch, or by the answer to a write. Returns whether it is
    /// another than it was.
    pub(super) fn see(&mut self, object: Slim) -> bool {
        let key = key(&object);
        let mut entry = entry(object);
        if let Some(known) = self.entries.get(&key) {
            // The answer to a write may be known before the watch tells what was before it.
            if known.number() >= entry.number() && entry.number().is_some() {
                return false;
            }
        }
        if entry.addresses == self.shared {
            entry.addresses = self.shared.clone();
        } else {
            self.shared = entry.addresses.clone();
        }
        let changed = self.entries.get(&key) != Some(&entry);
        self.entries.insert(key, entry);
        changed
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.entries.remove(key);
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    /// Whether everything has been listed.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.len() == self.scopes.len()
    }
}

/// The Ingresses of a namespace, or all.
pub(super) fn api(client: &Client, namespace: &str) -> Api<Slim> {
    let resource = ApiResource::erase::<Ingress>(&());
    if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

fn key(object: &Slim) -> Key {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    ObjectKey::new(Kind::Ingress, namespace, name)
}

fn entry(object: Slim) -> Entry {
    let metadata = object.metadata;
    let fields = metadata.managed_fields.unwrap_or_default();
    let is_ours = fields.iter().any(|it| {
        it.manager.as_deref() == Some(MANAGER) && it.subresource.as_deref() == Some("status")
    });
    let annotations = metadata.annotations.unwrap_or_default();
    let annotation = annotations
        .get(CLASS_ANNOTATION)
        .filter(|it| !it.is_empty());
    let annotation = annotation.map(|it| it.as_str().into());
    let status = object.status.unwrap_or_default();
    Entry {
        version: metadata.resource_version.unwrap_or_default().into(),
        class: object.spec.ingress_class_name.or(annotation),
        addresses: Addresses::sorted(status.load_balancer.ingress),
        is_ours,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view() -> View {
        View {
            entries: BTreeMap::new(),
            listed: BTreeMap::new(),
            complete: BTreeSet::new(),
            scopes: vec![String::new()],
            shared: Addresses::default(),
            events: SelectAll::new(),
        }
    }

    fn ingress(name: &str, version: &str, more: Value) -> Slim {
        let mut object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "shop", "name": name, "resourceVersion": version},
            "spec": {"ingressClassName": "narthex", "rules": [{"host": "a.example"}]},
        });
        let (Some(object_map), Value::Object(more)) = (object.as_object_mut(), more) else {
            panic!("objects");
        };
        object_map.extend(more);
        serde_json::from_value(object).expect("an Ingress")
    }

    fn key(name: &str) -> Key {
        ObjectKey::new(Kind::Ingress, "shop", name)
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut view = view();
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
        assert!(view.see(ingress("web", "12", status)));
        assert!(!view.see(ingress("web", "9", json!({}))));
        let entry = view.get(&key("web")).expect("known");
        assert_eq!(entry.addresses.text(), "203.0.113.1");
        assert_eq!(entry.class.as_deref(), Some("narthex"));
    }

    #[test]
    fn a_list_takes_out_what_has_gone() {
        let mut view = view();
        view.see(ingress("old", "1", json!({})));
        assert!(!view.is_complete());
        for event in [
            Event::Init,
            Event::InitApply(ingress("new", "2", json!({}))),
            Event::InitDone,
        ] {
            view.take(String::new(), event);
        }
        assert!(view.is_complete());
        assert!(view.get(&key("old")).is_none());
        assert!(view.get(&key("new")).is_some());
    }

    #[test]
    fn ours_is_what_our_manager_wrote_to_the_status() {
        let managed = |manager: &str, subresource: &str| {
            let mut object = ingress("web", "1", json!({}));
            object.metadata.managed_fields = serde_json::from_value(json!([
                {"manager": manager, "operation": "Apply", "subresource": subresource}
            ]))
            .expect("managed fields");
            entry(object).is_ours
        };
        assert!(managed("narthex", "status"));
        assert!(!managed("narthex", ""));
        assert!(!managed("nginx-ingress-controller", "status"));
    }
}
