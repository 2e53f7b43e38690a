//! What a cluster's objects are, and when they change.
//!
//! A [`Feed`](feed::Feed) lists and watches the objects of a kind; a [`Single`](single::Single)
//! watches one Secret or ConfigMap that something refers to. Both write into the [`Inbox`], which
//! keeps the latest state of each object until it is taken.

mod backoff;
mod feed;
mod inbox;
mod read;
mod requests;
mod single;
mod sources;
mod target;
mod trouble;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use objects::kinds::{Kind, ObjectKey};
use tokio::task::JoinHandle;

use crate::client::Connection;
use feed::Feed;
pub use inbox::{Batch, Inbox};
use single::Single;
pub use sources::Condition;
use target::Target;

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The namespaces; none means all.
    pub namespaces: Vec<String>,
    /// Whether all Secrets and ConfigMaps are listed and watched, and not only those that
    /// something refers to.
    pub all_secrets: bool,
}

/// The kinds of which all objects are read.
const KINDS: [Kind; 4] = [
    Kind::IngressClass,
    Kind::Ingress,
    Kind::Service,
    Kind::EndpointSlice,
];

/// Every watch. They end when this is dropped.
#[derive(Debug)]
pub struct Watches {
    connection: Connection,
    inbox: Arc<Inbox>,
    lists: Vec<Task>,
    references: Arc<[ObjectKey]>,
    singles: HashMap<ObjectKey, Task>,
    all_secrets: bool,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watches {
    /// Begins to watch, on the runtime that this is called on.
    pub fn start(connection: Connection, options: &Options) -> Self {
        let mut watches = Self {
            connection,
            inbox: Arc::default(),
            lists: Vec::new(),
            references: Arc::default(),
            singles: HashMap::new(),
            all_secrets: options.all_secrets,
        };
        let secrets = [Kind::Secret, Kind::ConfigMap];
        let secrets = secrets.iter().filter(|_| options.all_secrets);
        for &kind in KINDS.iter().chain(secrets) {
            if options.namespaces.is_empty() || !kind.namespaced() {
                watches.list(Target::all(kind, None));
                continue;
            }
            for namespace in &options.namespaces {
                watches.list(Target::all(kind, Some(namespace)));
            }
        }
        watches
    }

    /// The client, for what is not watched.
    pub fn client(&self) -> &kube::Client {
        self.connection.client()
    }

    /// What has arrived.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Watches the objects that are referred to, which are taken to be there or not by
    /// themselves, and no others. Whether any was not watched before.
    pub fn refer(&mut self, references: &Arc<[ObjectKey]>) -> bool {
        if self.all_secrets || Arc::ptr_eq(references, &self.references) {
            return false;
        }
        let former = std::mem::replace(&mut self.references, Arc::clone(references));
        for key in former.iter() {
            if references.binary_search(key).is_err() {
                self.singles.remove(key);
                self.inbox
                    .sources(|sources| sources.remove(&Target::one(key)));
                self.inbox.gone(key.clone());
            }
        }
        let mut any = false;
        for key in references.iter() {
            if !self.singles.contains_key(key) {
                let target = Target::one(key);
                self.inbox.sources(|sources| sources.add(target.clone()));
                let single = Single {
                    client: self.connection.client().clone(),
                    key: key.clone(),
                    target,
                    inbox: Arc::clone(&self.inbox),
                };
                let task = Task(tokio::spawn(single.run()));
                self.singles.insert(key.clone(), task);
                any = true;
            }
        }
        any
    }

    /// Waits until every list is in. Cancel safe.
    pub async fn listed(&self) {
        self.inbox.until(|sources| sources.lists_are_in()).await;
    }

    /// Waits until every object that is referred to is here, or known not to be, for at most
    /// `limit`.
    pub async fn referred(&self, limit: Duration) {
        let answered = self.inbox.until(|sources| sources.references_are_in());
        let _ = tokio::time::timeout(limit, answered).await;
    }

    fn list(&mut self, target: Target) {
        self.inbox.sources(|sources| sources.add(target.clone()));
        let feed = Feed {
            client: self.connection.client().clone(),
            target,
            inbox: Arc::clone(&self.inbox),
        };
        self.lists.push(Task(tokio::spawn(feed.run())));
    }
}
