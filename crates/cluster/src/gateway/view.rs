//! The status of Gateway API's objects as the API server has it, kept by the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{SelectAll, select_all};
use futures_util::{Stream, StreamExt};
use kube::api::{ApiResource, Object};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use objects::kinds::{Kind, ObjectKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::again::Again;
use crate::client::Connection;
use crate::replicas::parse_version;
use crate::watch::WATCHES;

/// The kinds that have a status of ours.
const KINDS: [Kind; 11] = [
    Kind::GatewayClass,
    Kind::Gateway,
    Kind::ListenerSet,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::TlsRoute,
    Kind::TcpRoute,
    Kind::UdpRoute,
    Kind::BackendTlsPolicy,
    Kind::XBackend,
    Kind::XBackendTrafficPolicy,
];

/// An object, cut down to what its status needs.
pub(super) type Slim = Object<Spec, Value>;

/// `spec`, of which nothing is needed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Spec {}

/// What has become of the objects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that matters.
    None,
    /// This one is another than it was, or has gone.
    One(ObjectKey),
    /// A list was read.
    All,
}

/// The status of one object.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its resourceVersion, which guards what is written.
    pub(super) version: Box<str>,
    /// Its generation, which counts the changes of its `spec`.
    pub(super) generation: i64,
    /// The version at which that was first seen: whoever has read so far, serves it.
    pub(super) since: Option<u128>,
    /// When that was first seen.
    pub(super) seen: Instant,
    uid: Box<str>,
    /// As JSON, which takes less than the values.
    status: Box<str>,
}

impl Entry {
    pub(super) fn status(&self) -> Value {
        // It was written from a value.
        serde_json::from_str(&self.status).unwrap_or_default()
    }

    /// Whether a text is anywhere in its status.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.status.contains(text)
    }

    fn number(&self) -> Option<u128> {
        parse_version(&self.version)
    }
}

/// The kinds that are watched, each with the version in which it is.
pub(super) type Kinds = Arc<BTreeMap<Kind, &'static str>>;

/// Every object's status, from watches of our own.
pub(super) struct View {
    connection: Connection,
    /// The namespaces, or one empty name for all.
    scopes: Vec<String>,
    kinds: Kinds,
    entries: BTreeMap<ObjectKey, Entry>,
    /// For each kind and scope: the names that a list under way has brought.
    listed: BTreeMap<(Kind, String), BTreeSet<ObjectKey>>,
    events: SelectAll<Pin<Box<dyn Stream<Item = Told> + Send>>>,
}

type Told = (Kind, String, Result<Event<Slim>, watcher::Error>);

impl View {
    /// Of these namespaces; of all if there are none. Nothing is watched yet.
    pub(super) fn new(connection: &Connection, namespaces: &[String]) -> Self {
        Self {
            connection: connection.clone(),
            scopes: match namespaces {
                [] => vec![String::new()],
                some => some.to_vec(),
            },
            kinds: Kinds::default(),
            entries: BTreeMap::new(),
            listed: BTreeMap::new(),
            events: SelectAll::new(),
        }
    }

    /// Watches these kinds, and no others.
    pub(super) fn watch(&mut self, kinds: &Kinds) {
        if self.kinds == *kinds {
            return;
        }
        self.kinds = Arc::clone(kinds);
        self.entries.retain(|key, _| kinds.contains_key(&key.kind));
        self.listed.clear();
        let wanted = KINDS
            .iter()
            .filter_map(|kind| Some((*kind, *kinds.get(kind)?)));
        let everywhere = [String::new()];
        let wanted = wanted.flat_map(|(kind, version)| {
            let scopes: &[String] = match kind.namespaced() {
                true => &self.scopes,
                false => &everywhere,
            };
            scopes.iter().map(move |scope| (kind, version, scope))
        });
        let wanted: Vec<_> = wanted.collect();
        // Of their own: nothing that is written waits for a watch.
        let watches = wanted.chunks(WATCHES).flat_map(|some| {
            let client = self.connection.another();
            let all = some.iter();
            all.map(move |(kind, version, scope)| follow(&client, *kind, version, scope))
        });
        self.events = select_all(watches.collect::<Vec<_>>());
    }

    /// Waits for news, and takes it in. Cancel safe.
    pub(super) async fn changed(&mut self) -> News {
        let Some((kind, scope, event)) = self.events.next().await else {
            // Nothing is watched.
            return std::future::pending().await;
        };
        match event {
            Ok(event) => self.take(kind, scope, event),
            Err(error) => {
                tracing::debug!("the status of {kind}: {error}");
                News::None
            }
        }
    }

    fn take(&mut self, kind: Kind, scope: String, event: Event<Slim>) -> News {
        match event {
            Event::Init => {
                self.listed.insert((kind, scope), BTreeSet::new());
                News::None
            }
            Event::InitApply(object) => {
                let key = key(kind, &object);
                let former = self.entries.remove(&key);
                // Whatever its version is: after a restore, versions begin anew.
                self.put(key.clone(), object, former.as_ref());
                if let Some(listed) = self.listed.get_mut(&(kind, scope)) {
                    listed.insert(key);
                }
                News::None
            }
            Event::InitDone => {
                let place = (kind, scope);
                let listed = self.listed.remove(&place).unwrap_or_default();
                let (_, scope) = place;
                self.entries.retain(|key, _| {
                    let is_in_scope = scope.is_empty() || *key.namespace == *scope;
                    key.kind != kind || !is_in_scope || listed.contains(key)
                });
                News::All
            }
            Event::Apply(object) => match self.see(kind, object) {
                Some(key) => News::One(key),
                None => News::None,
            },
            Event::Delete(object) => {
                let key = key(kind, &object);
                self.entries.remove(&key);
                News::One(key)
            }
        }
    }

    /// Takes an object as it is told by a watch, or by the answer to a write. Which it is, if it is
    /// another than it was.
    pub(super) fn see(&mut self, kind: Kind, object: Slim) -> Option<ObjectKey> {
        let key = key(kind, &object);
        let former = self.entries.get(&key).cloned();
        let version = object.metadata.resource_version.as_deref();
        let version = parse_version(version.unwrap_or_default());
        // The answer to a write may be known before the watch tells what was before it.
        if let Some(known) = &former
            && known.number() >= version
            && version.is_some()
        {
            return None;
        }
        self.put(key.clone(), object, former.as_ref());
        Some(key)
    }

    fn put(&mut self, key: ObjectKey, object: Slim, former: Option<&Entry>) {
        let metadata = object.metadata;
        let uid: Box<str> = metadata.uid.unwrap_or_default().into();
        let version: Box<str> = metadata.resource_version.unwrap_or_default().into();
        let generation = metadata.generation.unwrap_or_default();
        let number = parse_version(&version);
        let same = former.filter(|former| {
            (&former.uid, former.generation) == (&uid, generation) && former.since <= number
        });
        let entry = Entry {
            generation,
            since: same.map_or(number, |former| former.since),
            seen: same.map_or_else(Instant::now, |former| former.seen),
            status: object.status.unwrap_or_default().to_string().into(),
            version,
            uid,
        };
        self.entries.insert(key, entry);
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.entries.remove(key);
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Entry)> {
        self.entries.iter()
    }

    /// Where an object's status is written, in the version in which it is watched.
    pub(super) fn api(&self, client: &Client, key: &ObjectKey) -> Option<Api<Slim>> {
        let version = self.kinds.get(&key.kind)?;
        Some(api(client, key.kind, version, &key.namespace))
    }
}

fn follow(
    client: &Client,
    kind: Kind,
    version: &str,
    scope: &str,
) -> Pin<Box<dyn Stream<Item = Told> + Send>> {
    let api = api(client, kind, version, scope);
    let scope = scope.to_owned();
    watcher(api, watcher::Config::default())
        .backoff(Again::default())
        .map(move |event| (kind, scope.clone(), event))
        .boxed()
}

/// The objects of a namespace, or all.
fn api(client: &Client, kind: Kind, api_version: &str, namespace: &str) -> Api<Slim> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.name().to_owned(),
        plural: kind.plural().to_owned(),
    };
    match namespace {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

fn key(kind: Kind, object: &Slim) -> ObjectKey {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    ObjectKey::new(
        kind,
        namespace,
        metadata.name.as_deref().unwrap_or_default(),
    )
}
