//! Certificates that are obtained, in the life of a process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::apply::Control;
use super::publish;
use super::source::Source;
use crate::certificates::{self, Book, News};
use crate::config;
use crate::control::{Live, Obtains};
use crate::state::State;

/// How many orders of people wait at the most.
const ORDERS: usize = 16;

/// Certificates that are obtained.
pub(super) struct Certificates {
    /// Whether any are.
    are_obtained: bool,
    /// Where they are kept, if in files.
    folder: Option<PathBuf>,
    book: Arc<Book>,
    news: watch::Receiver<News>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Certificates {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Certificates {
    /// Nothing is obtained before [`start`](Self::start).
    pub(super) fn open(config: &config::Serve, state: &State, registry: &mut Registry) -> Self {
        let are_obtained = config.compilation.obtains_certificates();
        let in_files = matches!(config.source, config::Source::Files(_)) && are_obtained;
        let folder = state.folder().filter(|_| in_files);
        let folder = folder.and_then(|state| match certificates::folder(state) {
            Ok(folder) => Some(folder),
            Err(error) => {
                tracing::warn!(%error, "certificates cannot be kept in the state folder");
                None
            }
        });
        let book = Arc::new(Book::register(registry));
        Self {
            are_obtained,
            folder,
            news: book.news(),
            book,
            task: None,
        }
    }

    /// The folder that is read beside the manifests, if there is one.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Begins to obtain what is wanted.
    pub(super) fn start(
        mut self,
        config: &config::Serve,
        source: &Source,
        control: &Control,
        live: &Live,
        state: &State,
    ) -> Self {
        if !self.are_obtained {
            return self;
        }
        let (orders, ordered) = mpsc::channel(ORDERS);
        live.obtain(Obtains {
            book: Arc::clone(&self.book),
            present: control.present(),
            token: state.token(),
            orders,
        });
        let (book, obtaining) = (Arc::clone(&self.book), control.obtaining());
        let task = match (source, &self.folder) {
            (Source::Files { .. }, Some(folder)) => {
                let place = certificates::in_files(folder, control.present(), obtaining.clone());
                tokio::spawn(certificates::run(place, obtaining, book, ordered))
            }
            (Source::Files { .. }, None) => {
                let why = "there is nowhere to keep it: give a state folder with --state-dir";
                tokio::spawn(certificates::refuse(obtaining, book, why))
            }
            (Source::Cluster(watches), _) => {
                let config::Source::Cluster(cluster) = &config.source else {
                    return self;
                };
                let publishing = &cluster.publishing;
                let place = cluster::certificates::Place {
                    namespace: publishing.namespace(watches.connection()),
                    replica: publish::replica(cluster),
                    election_id: publishing.options.election_id.clone(),
                    challenges: config::CHALLENGES.to_owned(),
                };
                let all = cluster::certificates::Certificates::new(watches.connection(), place);
                let place = certificates::in_cluster(all);
                tokio::spawn(certificates::run(place, obtaining, book, ordered))
            }
        };
        self.task = Some(task);
        self
    }

    /// Waits until something else is to be said to who asks for certificates. Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        match self.news.changed().await {
            Ok(()) => self.news.borrow_and_update().clone(),
            // The book lives as long as this.
            Err(_) => std::future::pending().await,
        }
    }
}
