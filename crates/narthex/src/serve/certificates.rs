//! Certificates that are obtained, in the life of a process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::on_demand::Policy;
use prometheus_client::registry::Registry;
use proxy::Wanted;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::apply::Control;
use super::publish;
use super::source::Source;
use crate::certificates::{self, Book, Demand, Names, News, Parts, Place};
use crate::config;
use crate::control::{Live, Obtains};
use crate::state::State;

/// How many orders of people wait at the most.
const ORDERS: usize = 16;

/// How many names that clients ask for wait to be looked at.
const WANTED: usize = 1024;

/// What the next configuration has to know.
pub(super) enum Told {
    /// Why certificates are not obtained.
    News(News),
    /// The names that clients may have certificates for.
    OnDemand(Names),
}

/// Where handshakes tell which certificates they would need, and who reads that, if any are obtained
/// on demand.
pub(super) fn demand(
    config: &config::Serve,
) -> (Option<mpsc::Sender<Wanted>>, Option<mpsc::Receiver<Wanted>>) {
    let plan = config.compilation.certificates.on_demand.as_ref();
    plan.map(|_| mpsc::channel(WANTED)).unzip()
}

/// Certificates that are obtained.
pub(super) struct Certificates {
    /// Whether any are.
    are_obtained: bool,
    /// Where they are kept, if in files.
    folder: Option<PathBuf>,
    book: Arc<Book>,
    news: watch::Receiver<News>,
    /// What handshakes ask for, until somebody reads it.
    wanted: Option<mpsc::Receiver<Wanted>>,
    names: watch::Sender<Names>,
    named: watch::Receiver<Names>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Certificates {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Certificates {
    /// Nothing is obtained before [`start`](Self::start).
    pub(super) fn open(
        config: &config::Serve,
        state: &State,
        wanted: Option<mpsc::Receiver<Wanted>>,
        registry: &mut Registry,
    ) -> Self {
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
        let (names, named) = watch::channel(Names::default());
        Self {
            are_obtained,
            folder,
            news: book.news(),
            book,
            wanted,
            names,
            named,
            tasks: Vec::new(),
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
        let folder = self.folder.clone();
        let task = match (source, &folder) {
            (Source::Files { .. }, Some(folder)) => {
                let place = certificates::in_files(folder, control.present(), obtaining.clone());
                self.decide(config, &place, config::NAMESPACE.to_owned());
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
                let namespace = publishing.namespace(watches.connection());
                let place = cluster::certificates::Place {
                    namespace: namespace.clone(),
                    replica: publish::replica(cluster),
                    election_id: publishing.options.election_id.clone(),
                    challenges: config::CHALLENGES.to_owned(),
                };
                let all = cluster::certificates::Certificates::new(watches.connection(), place);
                let place = certificates::in_cluster(all);
                self.decide(config, &place, namespace);
                tokio::spawn(certificates::run(place, obtaining, book, ordered))
            }
        };
        self.tasks.push(task);
        // Where nobody reads what is wanted, no handshake is held for it.
        self.wanted = None;
        self
    }

    /// Begins to decide which names clients may have certificates for, if any.
    fn decide<P: Place>(&mut self, config: &config::Serve, place: &P, namespace: String) {
        let plan = config.compilation.certificates.on_demand.clone();
        let (Some(plan), Some(wanted)) = (plan, self.wanted.take()) else {
            return;
        };
        let demand = Demand {
            policy: Policy::new(plan.rules),
            asker: plan.asker,
            wanted,
            names: self.names.clone(),
            namespace,
        };
        let Parts { vault, papers, .. } = place.parts();
        let deciding = certificates::decide(demand, vault, papers);
        self.tasks.push(tokio::spawn(deciding));
    }

    /// Waits until something else is to be said to who asks for certificates, or clients may have
    /// others. Cancel safe.
    pub(super) async fn told(&mut self) -> Told {
        tokio::select! {
            Ok(()) = self.news.changed() => Told::News(self.news.borrow_and_update().clone()),
            Ok(()) = self.named.changed() => {
                Told::OnDemand(Arc::clone(&self.named.borrow_and_update()))
            }
            // Both senders live as long as this.
            else => std::future::pending().await,
        }
    }
}
