//! Pull secrets: Secrets of type `kubernetes.io/dockerconfigjson` in the namespaces that are to have them, and their
//! names in `imagePullSecrets` of ServiceAccounts there.
//!
//! In: who is to get what ([`Wanted`]). Out: server-side apply of Secrets that are marked as ours ([`MARK`]), and patches of
//! ServiceAccounts that touch no entry but ours. The holder of one Lease writes. Secrets are known by name alone:
//! of no Secret is anything read but its metadata, and no right to all Secrets is needed.

mod plan;
mod sources;
mod table;
mod view;
mod work;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::Client;
use objects::kinds::{Kind, ObjectKey};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use registry::creds::Places;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::client::Connection;
use crate::election::{Election, Leadership};
use crate::events::{Note, Writer};
use crate::status::Budget;
use plan::{Action, Plan, plan};
pub use sources::{Data, Known, Sources, write_source};
use table::Key;
use view::View;
use work::Work;
use write::Write;

/// The label of Secrets that are written here; its value is `true`. Without it a Secret is somebody else's.
pub const MARK: &str = "narthex.dev/registry-credential";

/// The annotation of ServiceAccounts that names which of their `imagePullSecrets` are ours.
pub const ENTRIES: &str = "narthex.dev/registry-credentials";

/// What the Lease's name ends with, after `--election-id`.
const LEASE: &str = "registry-credentials";

/// How long is waited for more to come before it is looked at what is to be written.
const SETTLE: Duration = Duration::from_millis(50);

/// How many writes are under way at once.
const AT_ONCE: usize = 8;

/// The most writes a second, and at once: a thousand namespaces take half a minute.
const RATE: u32 = 40;
const BURST: u32 = 100;

/// The most Events a second, and at once.
const EVENTS: u32 = 2;
const EVENTS_BURST: u32 = 20;

/// Who is to get what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The Secret's name.
    pub secret: String,
    /// The namespaces and ServiceAccounts.
    pub places: Places,
    /// Its `.dockerconfigjson`. None: it is not known; what is there stays.
    pub content: Option<registry::creds::Hidden>,
    /// It is not known who is to get it: everything stays as it is.
    pub is_held: bool,
}

/// What has become of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Whether this replica is the one that writes.
    pub leads: bool,
    /// How many namespaces have each Secret.
    pub namespaces: BTreeMap<String, usize>,
    /// What could not be written, for people, by the object.
    pub problems: BTreeMap<String, String>,
}

/// Who we are.
#[derive(Debug, Clone)]
pub struct Place {
    /// Our own namespace, in which the Lease is.
    pub namespace: String,
    /// This replica's name.
    pub replica: String,
    /// `--election-id`.
    pub election_id: String,
}

/// What is counted.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    writes: Family<[(&'static str, &'static str); 2], Counter>,
    namespaces: Family<[(&'static str, String); 1], Gauge>,
    leader: Gauge,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "narthex_registry_credential_writes",
            "Writes of pull secrets and of ServiceAccounts that name them, by kind and result",
            self.writes.clone(),
        );
        registry.register(
            "narthex_registry_credential_namespaces",
            "Namespaces that have a pull secret, by its name; of the replica that writes",
            self.namespaces.clone(),
        );
        registry.register(
            "narthex_registry_credential_leader",
            "Whether this replica is the one that writes pull secrets",
            self.leader.clone(),
        );
    }
}

/// Writes pull secrets.
pub struct PullSecrets {
    connection: Connection,
    client: Client,
    place: Place,
    names: BTreeSet<String>,
    within: Option<BTreeSet<String>>,
    metrics: Metrics,
    leads: watch::Sender<bool>,
    placed: watch::Sender<Placed>,
    leadership: Leadership,
    events: Events,
}

impl std::fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullSecrets")
            .field("place", &self.place)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl PullSecrets {
    /// `names` are those of all Secrets that are, or once were, ours: what is no longer wanted of them is removed.
    /// `within` are the namespaces that are looked into and written to, so that rights there are enough; none: all.
    pub fn new(
        connection: &Connection,
        place: Place,
        names: BTreeSet<String>,
        within: Option<BTreeSet<String>>,
        metrics: Metrics,
    ) -> Self {
        let client = connection.another();
        Self {
            connection: connection.clone(),
            events: Events::new(&client, &place.replica),
            client,
            place,
            names,
            within,
            metrics,
            leads: watch::Sender::new(false),
            placed: watch::Sender::new(Placed::default()),
            leadership: Leadership::default(),
        }
    }

    /// Whether this replica is the one that writes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// What has become of what is wanted.
    pub fn placed(&self) -> watch::Receiver<Placed> {
        self.placed.subscribe()
    }

    /// Tells of credentials by Events.
    pub fn events(&self) -> Events {
        Events::new(&self.client, &self.place.replica)
    }

    /// Writes what is wanted, once that is known, until `stop` changes; then gives the Lease back.
    pub async fn run(
        mut self,
        wanted: watch::Receiver<Option<Arc<[Wanted]>>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let Place {
            namespace,
            replica,
            election_id,
        } = self.place.clone();
        // A container that starts again in its pod is another one.
        let identity = format!("{replica}_{:016x}", fastrand::u64(..));
        let (mut election, leadership, mut leader) = Election::new(
            &self.client,
            &namespace,
            format!("{election_id}-{LEASE}"),
            identity,
            None,
        );
        self.leadership = leadership;
        let (end, mut ended) = watch::channel(());
        let election = tokio::spawn(async move {
            tokio::select! {
                () = election.run() => {}
                _ = ended.changed() => election.release().await,
            }
        });
        loop {
            let now = leader.borrow_and_update().clone();
            self.lead(now.is_us);
            tokio::select! {
                _ = stop.changed() => break,
                changed = leader.changed() => if changed.is_err() { break },
                () = self.work(wanted.clone()), if now.is_us => {}
            }
        }
        self.lead(false);
        end.send_replace(());
        let _ = election.await;
    }

    fn lead(&self, is_us: bool) {
        self.metrics.leader.set(i64::from(is_us));
        self.leads.send_if_modified(|leads| {
            let is_new = *leads != is_us;
            *leads = is_us;
            is_new
        });
        if !is_us {
            self.metrics.namespaces.clear();
            self.placed.send_replace(Placed::default());
        }
    }

    /// Never ends, while we lead.
    async fn work(&self, mut wanted: watch::Receiver<Option<Arc<[Wanted]>>>) {
        let mut names = self.names.clone();
        let within = self.within.as_ref();
        let mut view = View::new(&self.connection, &names, within);
        let mut work = Work::default();
        let budget = Budget::new(RATE, BURST);
        loop {
            let now = wanted.borrow_and_update().clone();
            let mut again = None;
            let asked = now.iter().flat_map(|all| all.iter());
            let new: Vec<_> = asked.map(|one| one.secret.clone()).collect();
            if new.iter().any(|name| !names.contains(name)) {
                names.extend(new);
                view = View::new(&self.connection, &names, within);
            }
            if let Some(now) = &now
                && view.is_complete()
            {
                let made = plan(now, &view, &work.applied);
                again = self.round(made, &mut work, &budget).await;
            }
            let wait = async {
                match again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                news = view.changed() => {
                    work.learn(news, &view);
                    // What comes together is looked at together.
                    let settled = Instant::now() + SETTLE;
                    while let Ok(news) = tokio::time::timeout_at(settled, view.changed()).await {
                        work.learn(news, &view);
                    }
                }
                changed = wanted.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = wait => {}
            }
        }
    }

    /// Writes what differs. When what failed is to be tried again.
    async fn round(&self, mut made: Plan, work: &mut Work, budget: &Budget) -> Option<Instant> {
        let due = work.due(std::mem::take(&mut made.actions), Instant::now());
        let is_new = |action: &Action| match action {
            Action::Apply {
                key, base: None, ..
            } => Some(key.clone()),
            _ => None,
        };
        let new: Vec<_> = due.iter().filter_map(is_new).collect();
        let is_known = |key: &Key| work.applied.contains_key(key);
        let new: Vec<_> = new.into_iter().filter(|key| !is_known(key)).collect();
        let (secrets, accounts): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|it| matches!(it, Action::Apply { .. }));
        for actions in [secrets, accounts] {
            self.write_all(actions, work, budget).await;
        }
        for key in new.iter().filter(|key| work.applied.contains_key(*key)) {
            *made.namespaces.entry(key.1.clone()).or_default() += 1;
        }
        self.say_foreign(&made.foreign, work);
        let mut problems = work.problems();
        problems.extend(made.foreign.iter().map(|key| {
            let (namespace, name) = key;
            (format!("Secret {namespace}/{name}"), not_ours().to_owned())
        }));
        for secret in work.counted.iter() {
            if !made.namespaces.contains_key(secret) {
                self.metrics
                    .namespaces
                    .remove(&[("secret", secret.clone())]);
            }
        }
        work.counted = made.namespaces.keys().cloned().collect();
        for (secret, count) in &made.namespaces {
            let gauge = self
                .metrics
                .namespaces
                .get_or_create(&[("secret", secret.clone())]);
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.placed.send_replace(Placed {
            leads: true,
            namespaces: made.namespaces,
            problems,
        });
        work.again()
    }

    async fn write_all(&self, actions: Vec<Action>, work: &mut Work, budget: &Budget) {
        let writes = actions.into_iter().map(|action| async move {
            while let Err(at) = budget.take(Instant::now()) {
                sleep_until(at).await;
            }
            let write = Write {
                client: &self.client,
                leadership: &self.leadership,
            };
            let result = write.act(&action).await;
            (action, result)
        });
        let mut done = futures_util::stream::iter(writes).buffer_unordered(AT_ONCE);
        while let Some((action, result)) = done.next().await {
            let labels = [
                ("kind", action.kind()),
                ("result", if result.is_ok() { "ok" } else { "error" }),
            ];
            self.metrics.writes.get_or_create(&labels).inc();
            work.note(action, result, Instant::now());
        }
    }

    /// Once for each, while it is there.
    fn say_foreign(&self, foreign: &BTreeSet<Key>, work: &mut Work) {
        for (namespace, name) in foreign.difference(&work.said) {
            let why = not_ours();
            tracing::warn!("Secret {namespace}/{name} {why}");
            let events = self.events.clone();
            let (namespace, name) = (namespace.clone(), name.clone());
            tokio::spawn(async move {
                events.tell((&namespace, &name), &Happened::Foreign).await;
            });
        }
        work.said.clone_from(foreign);
    }
}

fn not_ours() -> &'static str {
    "exists and was not made by Narthex, so that it is left alone: delete it, or label it \
     narthex.dev/registry-credential=true, so that it may be overwritten"
}

/// What is told by an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A Secret of that name is somebody else's.
    Foreign,
    /// A provider does not answer as it should, for so many times in a row, in these words.
    Failed(String, u32),
    /// It does again.
    Refreshed(String),
}

/// Tells of credentials by Events on Secrets.
#[derive(Clone)]
pub struct Events {
    writer: Arc<Writer>,
    budget: Arc<Budget>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    fn new(client: &Client, replica: &str) -> Self {
        Self {
            writer: Arc::new(Writer::new(client.clone(), replica)),
            budget: Arc::new(Budget::new(EVENTS, EVENTS_BURST)),
        }
    }

    /// Tells it on a Secret, by its namespace and name; tries some times, for some seconds.
    pub async fn tell(&self, secret: (&str, &str), happened: &Happened) {
        let object = ObjectKey::new(Kind::Secret, secret.0, secret.1);
        let note = match happened {
            Happened::Foreign => Note::credential(object, "Warning", not_ours(), 1),
            Happened::Failed(why, times) => Note::credential(object, "Warning", why, *times),
            Happened::Refreshed(text) => Note::credential(object, "Normal", text, 1),
        };
        self.writer.tell(&note, &self.budget, || true, |_| {}).await;
    }
}
