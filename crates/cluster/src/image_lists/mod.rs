//! ImageLists of a namespace: which images a registry is to have, said by objects of the cluster.
//!
//! In: a watch. Out: what they want ([`ImageLists::lists`]), and their status, by server-side apply
//! and only when it is another one, from what whoever brings the images says ([`Reports`]).
//! While the API server is away, what was known stays.

mod object;
mod report;
mod status;
mod table;
mod write;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::again::{Again, doubled};
use crate::client::{Connection, chain};
use object::Object;
pub use report::{Failure, Report, Reports};
use table::Table;
pub use table::{Listed, MOST};
use write::{Written, write};

/// How long is waited for more to come before status is written.
const SETTLE: Duration = Duration::from_millis(200);

/// The first wait after a write that failed, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// How many are read at once: each may be as large as etcd takes.
const PAGE: u32 = 8;

/// What lists want; none before they were read once.
pub type Lists = watch::Receiver<Option<Arc<[Listed]>>>;

/// The ImageLists of one namespace.
pub struct ImageLists {
    client: Client,
    /// Of its own: nothing that is written waits for the watch.
    watching: Client,
    namespace: String,
    table: Table,
    told: watch::Sender<Option<Arc<[Listed]>>>,
    reports: Reports,
    said: Option<String>,
    failures: u32,
}

impl std::fmt::Debug for ImageLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageLists")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl ImageLists {
    /// Of a namespace. Takes the rights to list and watch `imagelists` of `narthex.dev` there, and to
    /// patch `imagelists/status`.
    pub fn new(connection: &Connection, namespace: &str) -> Self {
        Self {
            client: connection.another(),
            watching: connection.another(),
            namespace: namespace.to_owned(),
            table: Table::new(namespace),
            told: watch::Sender::new(None),
            reports: Reports::default(),
            said: None,
            failures: 0,
        }
    }

    /// Where they are.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What they want: those that can be read, the oldest first, and no more than [`MOST`].
    pub fn lists(&self) -> Lists {
        self.told.subscribe()
    }

    /// Where to say what becomes of them.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// Never ends.
    pub async fn run(mut self) {
        loop {
            self.watch().await;
        }
    }

    /// Until all has to be read again, because something was not read that now is to be.
    async fn watch(&mut self) {
        let api: Api<Object> = Api::namespaced(self.watching.clone(), &self.namespace);
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = watcher(api, config).backoff(Again::default()).boxed();
        let mut reports = self.reports.changes();
        let mut due = None;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        self.works();
                        self.table.take(event);
                    }
                    Some(Err(error)) => self.fails(&error),
                    None => return,
                },
                // The sender is ours.
                _ = reports.changed() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    due = self.write().await;
                    continue;
                }
            }
            if !self.table.is_complete() {
                continue;
            }
            self.tell();
            if self.table.lacks_some() {
                return;
            }
            let soon = Instant::now() + SETTLE;
            // Where writes fail, what comes meanwhile waits with them.
            due = Some(due.map_or(soon, |due: Instant| match self.failures {
                0 => due.min(soon),
                _ => due,
            }));
        }
    }

    fn tell(&self) {
        let all = self.table.listed();
        self.reports.keep_only(&all);
        self.told.send_if_modified(|last| {
            let same = |last: &Arc<[Listed]>| {
                let pairs = last.iter().zip(all.iter());
                last.len() == all.len() && pairs.into_iter().all(|(a, b)| a.is_same(b))
            };
            let is_new = !last.as_ref().is_some_and(same);
            if is_new {
                *last = Some(all.into());
            }
            is_new
        });
    }

    /// Writes what is to be another. When to come again.
    async fn write(&mut self) -> Option<Instant> {
        let reports = self.reports.all();
        for wanted in self.table.wanted(&reports, Timestamp::now()) {
            match write(&self.client, &self.namespace, &wanted).await {
                Written::Done => self.table.written(&wanted, true),
                // The watch tells what it is now.
                Written::Gone => {}
                Written::Refused(why) => {
                    let name = format!("ImageList {}/{}", self.namespace, wanted.name);
                    tracing::warn!("the status of {name} is not taken: {why}");
                    self.table.written(&wanted, false);
                }
                Written::Failed(why) => {
                    if self.failures == 0 {
                        tracing::warn!("the status of ImageLists is not written: {why}");
                    }
                    let wait = doubled(FIRST, LONGEST, self.failures);
                    self.failures = self.failures.saturating_add(1);
                    return Some(Instant::now() + wait);
                }
            }
            self.failures = 0;
        }
        None
    }

    fn works(&mut self) {
        if self.said.take().is_some() {
            tracing::info!("ImageLists of {} can be watched again", self.namespace);
        }
    }

    fn fails(&mut self, error: &watcher::Error) {
        let why = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => {
                "the cluster has no such kind: install its CustomResourceDefinition, as the chart does \
                 with registry.imageLists.enabled"
                    .to_owned()
            }
            error => chain(error),
        };
        if self.said.as_ref() != Some(&why) {
            tracing::warn!("ImageLists of {} cannot be watched: {why}", self.namespace);
            self.said = Some(why);
        }
    }
}
