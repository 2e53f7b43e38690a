//! What a cluster's objects are, and when they change.
//!
//! A [`Feed`](feed::Feed) lists and watches the objects of a kind; a [`Single`](single::Single)
//! watches one Secret or ConfigMap that something refers to. Both write into the [`Inbox`], which
//! keeps the latest state of each object until it is taken.

mod backoff;
mod feed;
mod inbox;
mod optional;
mod pool;
mod read;
mod references;
mod requests;
mod selected;
#[cfg(test)]
mod simulation;
mod single;
mod sources;
mod survey;
mod target;
mod task;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use objects::kinds::{Kind, ObjectKey};

use crate::client::Connection;
use feed::Feed;
pub use inbox::{Batch, Inbox};
pub use optional::{Offer, Optional};
use optional::{Seeker, now_and_then};
use pool::Pool;
pub(crate) use pool::WATCHES;
pub(crate) use read::typed;
use references::References;
pub use sources::Condition;
pub use survey::{Controller, Survey};
use target::Target;
use task::Task;

/// What is watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespaces; none means all.
    pub namespaces: Vec<String>,
    /// Which namespaces, by their labels, where they are not named; none means all.
    pub namespace_selector: Option<String>,
    /// Whether Ingresses are read, and their classes.
    pub ingresses: bool,
    /// Whether all Secrets and ConfigMaps are listed and watched, and not only those that
    /// something refers to.
    pub all_secrets: bool,
    /// How many Secrets and ConfigMaps are watched, each by itself; the others that something
    /// refers to are asked for about once a minute.
    pub max_references: usize,
    /// The APIs that are looked for, and read while they are there.
    pub optional: Vec<Optional>,
    /// An object that is referred to, of which replicas tell each other how new what they serve of
    /// it is: the Secret with the answers to challenges.
    pub counted: Option<ObjectKey>,
}

impl Options {
    /// The default of `max_references`.
    pub const MAX_REFERENCES: usize = 1_000;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            namespace_selector: None,
            ingresses: true,
            all_secrets: false,
            max_references: Self::MAX_REFERENCES,
            optional: Vec::new(),
            counted: None,
        }
    }
}

/// The kinds of which all objects are read.
const KINDS: [Kind; 2] = [Kind::Service, Kind::EndpointSlice];

/// Those that are read for Ingresses.
const OF_INGRESS: [Kind; 2] = [Kind::IngressClass, Kind::Ingress];

/// Every watch. They end when this is dropped.
#[derive(Debug)]
pub struct Watches {
    identity: String,
    pool: Pool,
    inbox: Arc<Inbox>,
    lists: Vec<Task>,
    seekers: Vec<Task>,
    /// None where all that could be referred to is listed.
    references: Option<References>,
}

impl Watches {
    /// Begins to watch, on the runtime that this is called on.
    pub fn start(connection: Connection, options: &Options) -> Self {
        let inbox = Arc::new(match options.namespace_selector {
            Some(_) => Inbox::of_selected_namespaces(),
            None => Inbox::default(),
        });
        inbox.count(options.counted.clone());
        let mut watches = Self {
            identity: format!(
                "{} {:?} {:?} {}{}",
                connection.identity(),
                options.namespaces,
                options.namespace_selector,
                options.all_secrets,
                if options.ingresses {
                    ""
                } else {
                    " without Ingresses"
                },
            ),
            pool: Pool::new(connection),
            lists: Vec::new(),
            seekers: Vec::new(),
            references: (!options.all_secrets)
                .then(|| References::new(Arc::clone(&inbox), options.max_references)),
            inbox,
        };
        if let Some(selector) = &options.namespace_selector {
            let labels = Some(selector.as_str().into());
            watches.list(Target {
                labels,
                ..Target::all(Kind::Namespace, None)
            });
        }
        let secrets = [Kind::Secret, Kind::ConfigMap];
        let secrets = secrets.iter().filter(|_| options.all_secrets);
        let of_ingress = OF_INGRESS.iter().filter(|_| options.ingresses);
        for &kind in of_ingress.chain(&KINDS).chain(secrets) {
            if options.namespaces.is_empty() || !kind.namespaced() {
                watches.list(Target::all(kind, None));
                continue;
            }
            for namespace in &options.namespaces {
                watches.list(Target::all(kind, Some(namespace)));
            }
        }
        for api in &options.optional {
            if !api.kinds.is_empty() {
                let group = api.group;
                watches.inbox.sources(|sources| sources.expect(group));
            }
            let mut api = api.clone();
            if options.namespace_selector.is_some() {
                // Those that it selects are watched, and no others.
                api.beside.retain(|kind| *kind != Kind::Namespace);
            }
            let seeker = Seeker {
                place: watches.pool.place(),
                api,
                namespaces: options.namespaces.clone(),
                inbox: Arc::clone(&watches.inbox),
            };
            let task = Task::spawn(seeker.run(now_and_then));
            watches.seekers.push(task);
        }
        watches
    }

    /// Access to the cluster, for what is not watched here.
    pub fn connection(&self) -> &Connection {
        self.pool.connection()
    }

    /// What decides which objects these are: the cluster, and the part of it that is read.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What has arrived.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Watches the objects that are referred to, each by itself, and no others. Whether any was
    /// not watched before.
    pub fn refer(&mut self, keys: &Arc<[ObjectKey]>) -> bool {
        let references = self.references.as_mut();
        references.is_some_and(|references| references.set(keys, &mut self.pool))
    }

    /// Waits until every list is in. Cancel safe.
    pub async fn listed(&self) {
        self.inbox.until(|sources| sources.lists_are_in()).await;
    }

    /// Waits until every object that is referred to is here, or known not to be, for at most
    /// `limit`.
    pub async fn referred(&self, limit: Duration) {
        let answered = self.inbox.until(|sources| sources.references_are_in());
        // What is late, comes as a change.
        let _ = tokio::time::timeout(limit, answered).await;
    }

    fn list(&mut self, target: Target) {
        self.inbox.sources(|sources| sources.add(target.clone()));
        let place = self.pool.place();
        let feed = Feed::new(place, target, Arc::clone(&self.inbox));
        self.lists.push(Task::spawn(feed.run()));
    }
}
