//! The Secrets that say whom to ask for credentials: those of minikube's addon, by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SelectAll, select_all};
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::table::{Key, Table};
use crate::MANAGER;
use crate::again::Again;
use crate::client::{Connection, chain};

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// A Secret's data.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What is known of the Secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that there are, by namespace and name.
    pub secrets: BTreeMap<(String, String), Data>,
    /// Those that may not be read, and never could be: whether there are any, nobody knows.
    pub unread: BTreeSet<(String, String)>,
}

/// Watches them.
pub struct Sources {
    tables: BTreeMap<Key, Table<Data>>,
    said: BTreeMap<Key, String>,
    unread: BTreeSet<Key>,
    events: SelectAll<Pin<Box<dyn Stream<Item = Told> + Send>>>,
    told: watch::Sender<Option<Arc<Known>>>,
}

type Told = (Key, Result<Event<Secret>, watcher::Error>);

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Sources {
    /// Of these namespaces and names, each with each.
    pub fn new(connection: &Connection, namespaces: &[String], names: &[&str]) -> Self {
        let client = connection.another();
        let keys: Vec<Key> = namespaces
            .iter()
            .flat_map(|namespace| {
                let key = |name: &&str| (namespace.clone(), (*name).to_owned());
                names.iter().map(key)
            })
            .collect();
        let watches = keys.clone().into_iter().map(|key| {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), &key.0);
            let config = watcher::Config::default().fields(&format!("metadata.name={}", key.1));
            watcher(secrets, config)
                .backoff(Again::default())
                .map(move |event| (key.clone(), event))
                .boxed()
        });
        Self {
            events: select_all(watches),
            tables: keys
                .into_iter()
                .map(|key| (key, Table::default()))
                .collect(),
            said: BTreeMap::new(),
            unread: BTreeSet::new(),
            told: watch::Sender::new(None),
        }
    }

    /// What they hold, once all were looked at.
    pub fn told(&self) -> watch::Receiver<Option<Arc<Known>>> {
        self.told.subscribe()
    }

    /// Never ends.
    pub async fn run(mut self) {
        loop {
            let Some((key, event)) = self.events.next().await else {
                return std::future::pending().await;
            };
            self.take(key, event);
            if self.tables.values().all(Table::is_complete) {
                let rows = self.tables.values().flat_map(Table::iter);
                let rows = rows.map(|(key, data)| (key.clone(), data.clone()));
                let all = Known {
                    secrets: rows.collect(),
                    unread: self.unread.clone(),
                };
                self.told.send_if_modified(|last| {
                    let is_new = last.as_deref() != Some(&all);
                    if is_new {
                        *last = Some(Arc::new(all));
                    }
                    is_new
                });
            }
        }
    }

    fn take(&mut self, key: Key, event: Result<Event<Secret>, watcher::Error>) {
        let table = self.tables.entry(key.clone()).or_default();
        let error = match event {
            Ok(event) => {
                if matches!(event, Event::InitDone) {
                    self.unread.remove(&key);
                }
                table.take(event, row);
                self.said.remove(&key);
                return;
            }
            Err(error) => error,
        };
        if is_forbidden(&error) && !table.is_complete() {
            // The others need not wait for it. Nothing is taken for gone by it, though.
            table.give_up();
            self.unread.insert(key.clone());
        }
        let error = error.to_string();
        if self.said.get(&key) != Some(&error) {
            let (namespace, name) = &key;
            tracing::warn!("Secret {namespace}/{name} cannot be watched: {error}");
            self.said.insert(key, error);
        }
    }
}

fn row(object: Secret) -> (Key, Data) {
    let key = (object.namespace().unwrap_or_default(), object.name_any());
    let data = object.data.into_iter().flatten();
    (key, data.map(|(name, value)| (name, value.0)).collect())
}

pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.code == 403
}

/// Writes one of them, whoever else did before: somebody has just typed it in.
///
/// # Errors
/// Why it is not written, for people.
pub async fn write_source(
    connection: &Connection,
    namespace: &str,
    name: &str,
    object: &Value,
) -> Result<(), String> {
    let secrets: Api<Secret> = Api::namespaced(connection.client().clone(), namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(object);
    let written = timeout(REQUEST, secrets.patch_metadata(name, &parameters, &patch)).await;
    let why = match written {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(kube::Error::Api(status))) => status.message,
        Ok(Err(error)) => chain(&error),
        Err(_) => "the API server does not answer in time".to_owned(),
    };
    Err(format!("Secret {namespace}/{name} is not written: {why}"))
}
