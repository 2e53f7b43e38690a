//! Credentials of outside registries in a cluster: sources together, providers asked, pull secrets written, and all of it
//! told.

mod book;
mod collect;
mod events;
mod options;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cluster::Connection;
use cluster::pull_secrets::{Place, PullSecrets, Sources, Wanted};
use prometheus_client::registry::Registry;
use registry::creds::docker_config::dockerconfigjson;
use registry::creds::{Grant, Hidden, Http, Keeper, Standing};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::failure::Failure;
pub(crate) use book::Book;
use collect::{Collected, Collector};
pub(crate) use options::Options;

/// How long giving the Lease back may take.
const END: Duration = Duration::from_secs(4);

/// The other namespace of the addon's Secrets, beside our own.
const KUBE_SYSTEM: &str = "kube-system";

/// What runs.
#[derive(Debug)]
pub(crate) struct Credentials {
    stop: watch::Sender<bool>,
    writing: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Credentials {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What is told, and counted.
pub(crate) fn open(registry: &mut Registry) -> Arc<Book> {
    Arc::new(Book::register(registry))
}

impl Credentials {
    /// Begins, in the cluster at `connection`.
    pub(crate) fn start(
        options: Options,
        connection: &Connection,
        place: Place,
        book: &Arc<Book>,
    ) -> Result<Self, Failure> {
        let http = Http::new().map_err(Failure::new)?;
        let mut namespaces = vec![place.namespace.clone()];
        namespaces.extend((place.namespace != KUBE_SYSTEM).then(|| KUBE_SYSTEM.to_owned()));
        let kinds = registry::creds::addon::Kind::ALL;
        let sources = Sources::new(connection, &namespaces, &kinds.map(|it| it.source()));
        let mut names: BTreeSet<String> = options.former.iter().cloned().collect();
        names.extend(kinds.map(|kind| options.addon.target(kind).to_owned()));
        let writer = PullSecrets::new(
            connection,
            place,
            names,
            options.within.clone(),
            book.writes(),
        );
        let (leads, events) = (writer.leads(), writer.events());
        book.follow(writer.placed());
        let (granted, grants) = watch::channel(Arc::from(Vec::new()));
        let (standing, stands) = watch::channel(Arc::from(Vec::new()));
        let (wanted, wants) = watch::channel(None);
        let (collected, collects) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let schedule = options.schedule;
        let collector = Collector::new(options, namespaces);
        let told = sources.told();
        let witness = events::Teller::new(events, Arc::clone(book));
        let keeper = Keeper::new(http, schedule, witness);
        let joined = Joined {
            collected: collects,
            granted,
            stands: stands.clone(),
            wanted,
        };
        book.watch(stands);
        let tasks = vec![
            tokio::spawn(sources.run()),
            tokio::spawn(collector.run(told, collected, Arc::clone(book))),
            tokio::spawn(joined.run()),
            tokio::spawn(keeper.run(grants, leads, standing)),
        ];
        Ok(Self {
            stop,
            writing: tokio::spawn(writer.run(wants, stopped)),
            tasks,
        })
    }

    /// Ends, and gives the Lease back, so that another may go on at once.
    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        // Without it, another goes on some seconds later.
        let _ = timeout(END, &mut self.writing).await;
    }
}

/// Brings together who is granted what and what providers gave.
struct Joined {
    collected: watch::Receiver<Option<Collected>>,
    granted: watch::Sender<Arc<[Grant]>>,
    stands: watch::Receiver<Arc<[Standing]>>,
    wanted: watch::Sender<Option<Arc<[Wanted]>>>,
}

impl Joined {
    async fn run(mut self) {
        loop {
            let collected = self.collected.borrow_and_update().clone();
            let stands = self.stands.borrow_and_update().clone();
            if let Some(collected) = collected {
                self.granted.send_if_modified(|last| {
                    let is_new = **last != *collected.grants;
                    *last = Arc::clone(&collected.grants);
                    is_new
                });
                if let Some(wanted) = wanted(&collected, &stands) {
                    self.wanted.send_if_modified(|last| {
                        let is_new = last.as_deref() != Some(&*wanted);
                        *last = Some(wanted.into());
                        is_new
                    });
                }
            }
            let changed = tokio::select! {
                changed = self.collected.changed() => changed,
                changed = self.stands.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }
}

/// What is to be written; nothing, as long as what stands is not of what is granted.
fn wanted(collected: &Collected, stands: &[Standing]) -> Option<Vec<Wanted>> {
    let stand = |grant: &Grant| stands.iter().find(|one| one.grant == *grant);
    let granted = collected.grants.iter().map(|grant| {
        let credentials = stand(grant)?.credentials.as_ref();
        Some(Wanted {
            secret: grant.secret.clone(),
            places: grant.places.clone(),
            content: credentials.map(|all| Hidden::new(dockerconfigjson(all))),
            is_held: false,
        })
    });
    let held = collected.held.iter().map(|secret| {
        Some(Wanted {
            secret: secret.clone(),
            places: registry::creds::Places::default(),
            content: None,
            is_held: true,
        })
    });
    granted.chain(held).collect()
}
