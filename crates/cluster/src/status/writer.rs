//! Brings every Ingress's status to what it should be.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use compile::{ObjectReport, Report};
use kube::Client;
use objects::kinds::{Kind, ObjectKey};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Addresses;
use super::backlog::{Backlog, Look};
use super::desired::{Decision, Facts, decide};
use super::history::History;
use super::ingress_nginx::State;
use super::pace::backoff;
use super::view::{Entry, Key, News, Slim, View};
use super::write::{Means, Outcome, write};
use crate::client::Connection;
use crate::publish::{Options, Served};
use crate::replicas::Replica;

/// The most writes under way.
pub(crate) const AT_ONCE: usize = 8;

/// How often, at most, it is worked out what is to be written.
pub(crate) const PLANNING: Duration = Duration::from_millis(100);

/// How long an Ingress is left alone that the API server refuses to write.
pub(crate) const REFUSED: u32 = 8;

/// How often taking addresses away is tried at the end.
const CLEARINGS: usize = 3;

/// What the writer goes by, each of which may change.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) served: watch::Receiver<Option<Arc<Served>>>,
    pub(crate) replicas: watch::Receiver<Option<Arc<[Replica]>>>,
    pub(crate) addresses: watch::Receiver<Option<Addresses>>,
    /// None with `--take-over`: whatever else there is, we write.
    pub(crate) ingress_nginx: Option<watch::Receiver<State>>,
}

/// Tells of an Ingress that got its first address.
pub(crate) type FirstAddress = (ObjectKey, Addresses);

/// Brings every Ingress's status to what it should be, while we lead.
pub(crate) struct Writer {
    client: Client,
    means: Means,
    inputs: Inputs,
    view: View,
    news: mpsc::Sender<FirstAddress>,
    backlog: Backlog,
    /// What was known when the backlog was last brought up to date.
    planned: Option<World>,
    writing: BTreeSet<Key>,
    tasks: JoinSet<Done>,
    history: HashMap<Key, History<Option<Addresses>>>,
    /// Failures of the API server in a row, whatever the object.
    outage: u32,
    /// Before this, nothing is written.
    not_before: Instant,
}

#[derive(Debug)]
struct Done {
    key: Key,
    wrote: Option<Addresses>,
    was_empty: bool,
    outcome: Outcome<Slim>,
}

impl Writer {
    /// Nothing is read or written before it runs.
    pub(crate) fn new(
        client: Client,
        connection: &Connection,
        options: &Options,
        means: Means,
        inputs: Inputs,
        news: mpsc::Sender<FirstAddress>,
    ) -> Self {
        Self {
            view: View::new(connection, &options.namespaces),
            client,
            means,
            inputs,
            news,
            backlog: Backlog::new(),
            planned: None,
            writing: BTreeSet::new(),
            tasks: JoinSet::new(),
            history: HashMap::new(),
            outage: 0,
            not_before: Instant::now(),
        }
    }

    /// Never ends.
    pub(crate) async fn run(&mut self) {
        let mut plan_at = Some(Instant::now());
        let mut retry_at = None;
        loop {
            let now = Instant::now();
            if plan_at.is_some_and(|at| at <= now) || retry_at.is_some_and(|at| at <= now) {
                plan_at = None;
                retry_at = self.plan(now);
            }
            let go_on_at = self.start_writes(now);
            let wake = [plan_at, retry_at, go_on_at].into_iter().flatten().min();
            let changed = tokio::select! {
                news = self.view.changed() => self.take(news),
                Some(Ok(done)) = self.tasks.join_next() => {
                    self.finish(done);
                    true
                }
                () = self.inputs.changed() => true,
                () = sleep_until(wake.unwrap_or(now + Duration::from_secs(60))) => false,
            };
            if changed {
                plan_at = plan_at.or_else(|| Some(Instant::now() + PLANNING));
            }
        }
    }

    /// Returns whether there is anything to be worked out.
    fn take(&mut self, news: News) -> bool {
        match news {
            News::None => return false,
            News::One(key) => {
                if self.view.get(&key).is_none() {
                    self.history.remove(&key);
                } else if let Some(history) = self.history.get_mut(&key) {
                    history.news();
                }
                self.backlog.changed(key);
            }
            News::All => {
                let view = &self.view;
                self.history.retain(|key, _| view.get(key).is_some());
                self.history.values_mut().for_each(History::news);
                self.backlog.all_changed();
            }
        }
        true
    }

    /// Works out what is to be written. Returns when something that has to wait may be tried.
    fn plan(&mut self, now: Instant) -> Option<Instant> {
        let world = self.inputs.world()?;
        match &self.planned {
            Some(before) => world.changes(before, &mut self.backlog),
            None => self.backlog.all_changed(),
        }
        match self.backlog.take(now) {
            Look::All => {
                for (key, entry) in self.view.iter() {
                    let decision = world.decide(key, entry);
                    consider(key, &decision, now, &self.history, &mut self.backlog);
                }
            }
            Look::These(keys) => {
                for key in &keys {
                    if let Some(entry) = self.view.get(key) {
                        let decision = world.decide(key, entry);
                        consider(key, &decision, now, &self.history, &mut self.backlog);
                    }
                }
            }
        }
        self.planned = Some(world);
        self.backlog.next_at()
    }

    /// Begins as many writes as may be. Returns when the next may begin, if it is a matter of time.
    fn start_writes(&mut self, now: Instant) -> Option<Instant> {
        if self.backlog.peek().is_none() || !self.means.leadership.is_held() {
            return None;
        }
        let world = self.inputs.world()?;
        // While the API server does not answer, one attempt is enough to find out.
        let at_once = if self.outage > 0 { 1 } else { AT_ONCE };
        while self.tasks.len() < at_once {
            if self.not_before > now {
                return Some(self.not_before);
            }
            let key = self.backlog.peek()?;
            let known = self.view.get(key).filter(|_| !self.writing.contains(key));
            let decision = known.map(|entry| (entry, world.decide(key, entry)));
            let (entry, addresses) = match decision {
                Some((entry, Decision::Write(addresses))) => (entry, Some(addresses)),
                Some((entry, Decision::Clear)) => (entry, None),
                decision => {
                    if let Some((_, Decision::Wait)) = decision {
                        let key = key.clone();
                        self.backlog.wait(key);
                    }
                    self.backlog.pop();
                    continue;
                }
            };
            if let Err(at) = self.means.budget.take(now) {
                return Some(at);
            }
            let (key, version) = (key.clone(), entry.version.clone());
            let was_empty = entry.addresses.is_empty();
            self.backlog.pop();
            self.writing.insert(key.clone());
            let (client, leadership) = (self.client.clone(), self.means.leadership.clone());
            self.tasks.spawn(async move {
                let (wrote, name) = (addresses.clone(), key.clone());
                Done {
                    outcome: write(client, leadership, name, version, addresses).await,
                    key,
                    wrote,
                    was_empty,
                }
            });
        }
        None
    }

    fn finish(&mut self, done: Done) {
        let Done {
            key,
            wrote,
            was_empty,
            outcome,
        } = done;
        self.writing.remove(&key);
        self.backlog.changed(key.clone());
        self.means.metrics.wrote_status("Ingress", outcome.name());
        let now = Instant::now();
        let history = self.history.entry(key.clone());
        let history = history.or_insert_with(|| History::new(now));
        if !matches!(outcome, Outcome::Failed(_) | Outcome::NotLeader) {
            self.outage = 0;
        }
        match outcome {
            Outcome::Written(object) => {
                history.succeeded();
                history.wrote(&wrote, now);
                if let Some(addresses) = wrote.filter(|_| was_empty) {
                    // Nobody waits for it: with too many at once, some are not told.
                    let _ = self.news.try_send((key, addresses));
                }
                self.view.see(*object);
            }
            Outcome::Gone => {
                self.view.remove(&key);
                self.history.remove(&key);
            }
            Outcome::Conflict => {
                history.conflicted(now);
            }
            Outcome::Refused(reason) => {
                tracing::warn!("the status of {key} is refused: {reason}");
                history.failed(REFUSED, now);
            }
            Outcome::Failed(reason) => {
                if self.outage == 0 {
                    tracing::warn!("the status of {key}: {reason}");
                }
                history.failed(1, now);
                self.outage = self.outage.saturating_add(1);
                self.not_before = now + backoff(self.outage).min(Duration::from_secs(30));
            }
            Outcome::NotLeader => {}
        }
    }

    /// Takes away every address that we wrote: nobody serves any more.
    pub(crate) async fn clear(&mut self) {
        self.tasks.shutdown().await;
        while !self.view.is_complete() && self.means.leadership.is_held() {
            self.view.changed().await;
        }
        for _ in 0..CLEARINGS {
            let ours = self.view.iter().filter(|(_, entry)| entry.is_ours);
            let ours: Vec<_> = ours
                .map(|(key, entry)| (key.clone(), entry.version.clone()))
                .collect();
            if ours.is_empty() {
                return;
            }
            tracing::info!("taking the addresses of {} Ingresses away", ours.len());
            self.clear_these(ours).await;
            // What was changed meanwhile is seen as it is, and tried again.
            let news = async {
                loop {
                    self.view.changed().await;
                }
            };
            let _ = timeout(PLANNING, news).await;
        }
    }

    async fn clear_these(&mut self, mut ours: Vec<(Key, Box<str>)>) {
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some((key, version)) = ours.pop()
            {
                let (client, leadership) = (self.client.clone(), self.means.leadership.clone());
                under_way.spawn(write(client, leadership, key, version, None));
            }
            let Some(done) = under_way.join_next().await else {
                return;
            };
            let Ok(outcome) = done else {
                continue;
            };
            self.means.metrics.wrote_status("Ingress", outcome.name());
            if let Outcome::Written(object) = outcome {
                self.view.see(*object);
            }
        }
    }
}

impl Inputs {
    /// Waits until one of them changes.
    async fn changed(&mut self) {
        let nginx = async {
            match &mut self.ingress_nginx {
                Some(state) => state.changed().await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            changed = self.served.changed() => changed,
            changed = self.replicas.changed() => changed,
            changed = self.addresses.changed() => changed,
            changed = nginx => changed,
        };
        if changed.is_err() {
            // It is about to end; what is known stays as it is.
            std::future::pending().await
        }
    }

    /// What is known now; none before anything is served and the replicas are known.
    fn world(&self) -> Option<World> {
        let state = self.ingress_nginx.as_ref().map(|state| *state.borrow());
        Some(World {
            served: self.served.borrow().clone()?,
            replicas: self.replicas.borrow().clone()?,
            addresses: self.addresses.borrow().clone(),
            is_alone: matches!(state, None | Some(State::Gone)),
        })
    }
}

/// What is known at one time.
struct World {
    served: Arc<Served>,
    replicas: Arc<[Replica]>,
    addresses: Option<Addresses>,
    /// Whether no ingress-nginx lives beside us.
    is_alone: bool,
}

impl World {
    /// Tells the backlog what is another than it was.
    fn changes(&self, before: &Self, backlog: &mut Backlog) {
        if self.addresses != before.addresses
            || self.is_alone != before.is_alone
            || self.served.classes != before.served.classes
        {
            backlog.all_changed();
            return;
        }
        let is_further = self.served.position != before.served.position;
        if is_further || !Arc::ptr_eq(&self.replicas, &before.replicas) {
            backlog.replicas_changed();
        }
        let (now, former) = (&self.served.report.objects, &before.served.report.objects);
        now.changes(former, |was, is| {
            let is_served = |it: Option<&Arc<ObjectReport>>| it.is_some_and(|it| it.served);
            if let Some(object) = is.or(was)
                && object.object.kind == Kind::Ingress
                && is_served(was) != is_served(is)
            {
                backlog.changed(object.object.clone());
            }
        });
    }

    fn decide(&self, key: &Key, entry: &Entry) -> Decision {
        let (namespace, version) = (&*key.namespace, entry.number());
        let mut others = self.replicas.iter();
        decide(Facts {
            entry,
            is_served: is_served(&self.served.report, key),
            is_judged: self
                .served
                .position
                .reaches(Kind::Ingress, namespace, version),
            is_everywhere: others
                .all(|other| other.position.reaches(Kind::Ingress, namespace, version)),
            is_anothers: !self.is_alone && self.served.classes.is_shared(entry.class.as_deref()),
            addresses: self.addresses.as_ref(),
        })
    }
}

fn is_served(report: &Report, key: &Key) -> bool {
    report.objects.get(&key).is_some_and(|object| object.served)
}

/// Puts an Ingress where it belongs by what is to be done about it.
fn consider(
    key: &Key,
    decision: &Decision,
    now: Instant,
    history: &HashMap<Key, History<Option<Addresses>>>,
    backlog: &mut Backlog,
) {
    match decision {
        Decision::Leave => {}
        Decision::Wait => backlog.wait(key.clone()),
        Decision::Write(_) | Decision::Clear => match history.get(key) {
            Some(history) if history.not_before() > now => {
                backlog.later(history.not_before(), key.clone());
            }
            _ => backlog.enqueue(key.clone()),
        },
    }
}
