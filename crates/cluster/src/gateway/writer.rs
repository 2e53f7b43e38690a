//! Brings the status of every object of Gateway API that is ours to what it should be.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use compile::status::Status;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Patch, PatchParams};
use objects::kinds::{Kind, ObjectKey};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::decide::{Decision, World, plan};
use super::pace::Pace;
use super::provision::{Owner, Provisions};
use super::view::{News, Slim, View};
use crate::MANAGER;
use crate::client::Connection;
use crate::publish::{Options, Served};
use crate::replicas::Replica;
use crate::status::{
    AT_ONCE, Backlog, History, Look, Means, Outcome, PLANNING, REFUSED, backoff, send,
};

/// What the writer goes by, each of which may change.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) served: watch::Receiver<Option<Arc<Served>>>,
    pub(crate) replicas: watch::Receiver<Option<Arc<[Replica]>>>,
    pub(crate) provisions: watch::Receiver<Option<Arc<Provisions>>>,
}

/// Brings the status of every object of Gateway API that is ours to what it should be, while we
/// lead.
pub(crate) struct Writer {
    client: Client,
    /// What our entries are known by.
    controller: String,
    means: Means,
    inputs: Inputs,
    view: View,
    backlog: Backlog,
    /// What was known when the backlog was last brought up to date.
    planned: Option<World>,
    writing: BTreeSet<ObjectKey>,
    tasks: JoinSet<Done>,
    /// What was tried, and how it went.
    records: HashMap<ObjectKey, Record>,
    /// Failures of the API server in a row, whatever the object.
    outage: u32,
    /// Before this, nothing is written.
    not_before: Instant,
}

/// What was tried for one object.
#[derive(Debug)]
struct Record {
    /// By what was written, as a hash.
    history: History<u64>,
    pace: Pace,
    /// What was written last of which the API server kept another thing, as it does where its
    /// schema is an older one: both as hashes.
    kept: Option<(u64, u64)>,
}

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            history: History::new(now),
            pace: Pace::new(),
            kept: None,
        }
    }
}

#[derive(Debug)]
struct Done {
    key: ObjectKey,
    wrote: Value,
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
    ) -> Self {
        Self {
            view: View::new(connection, &options.namespaces),
            client,
            controller: options.gateway_controller.clone(),
            means,
            inputs,
            backlog: Backlog::new(),
            planned: None,
            writing: BTreeSet::new(),
            tasks: JoinSet::new(),
            records: HashMap::new(),
            outage: 0,
            not_before: Instant::now(),
        }
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
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
                    self.records.remove(&key);
                } else if let Some(record) = self.records.get_mut(&key) {
                    record.history.news();
                }
                self.backlog.changed(key);
            }
            News::All => {
                let view = &self.view;
                self.records.retain(|key, _| view.get(key).is_some());
                let records = self.records.values_mut();
                records.for_each(|record| record.history.news());
                self.backlog.all_changed();
            }
        }
        true
    }

    /// Works out what is to be written. Returns when something that has to wait may be tried.
    fn plan(&mut self, now: Instant) -> Option<Instant> {
        let world = self.inputs.world()?;
        self.view.watch(&world.served.kinds);
        match &self.planned {
            Some(before) => changes(&world, before, &mut self.backlog),
            None => self.backlog.all_changed(),
        }
        let keys: Vec<ObjectKey> = match self.backlog.take(now) {
            Look::All => self.view.iter().map(|(key, _)| key.clone()).collect(),
            Look::These(keys) => keys.into_iter().collect(),
        };
        for key in keys {
            if self.due(&world, &key, now).is_some() {
                self.backlog.enqueue(key);
            }
        }
        self.planned = Some(world);
        self.backlog.next_at()
    }

    /// What is to be written of an object now. If it is to be looked at later, that is noted.
    fn due(&mut self, world: &World, key: &ObjectKey, now: Instant) -> Option<Value> {
        let entry = self.view.get(key)?;
        let verdict = world.decide(&self.controller, key, entry, &self.view, now);
        if verdict.waits {
            self.backlog.wait(key.clone());
        }
        if let Some(at) = verdict.again {
            self.backlog.later(at, key.clone());
        }
        let (wanted, is_count) = match verdict.decision {
            Decision::Leave => return None,
            Decision::Write(wanted) => (wanted, false),
            Decision::Count(wanted) => (wanted, true),
        };
        let record = self.records.entry(key.clone());
        let record = record.or_insert_with(|| Record::new(now));
        if record.kept == Some((hash(&wanted), hash(&entry.status()))) {
            return None;
        }
        let mut at = record.history.not_before();
        if is_count {
            at = at.max(record.pace.changed(now));
        }
        if at > now {
            self.backlog.later(at, key.clone());
            return None;
        }
        Some(wanted)
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
            let key = self.backlog.peek()?.clone();
            let is_free = !self.writing.contains(&key);
            let wanted = is_free.then(|| self.due(&world, &key, now)).flatten();
            let place = wanted.and_then(|wanted| {
                let version = self.view.get(&key)?.version.clone();
                Some((wanted, version, self.view.api(&self.client, &key)?))
            });
            let Some((wanted, version, api)) = place else {
                self.backlog.pop();
                continue;
            };
            if let Err(at) = self.means.budget.take(now) {
                return Some(at);
            }
            self.backlog.pop();
            self.writing.insert(key.clone());
            let leadership = self.means.leadership.clone();
            self.tasks.spawn(async move {
                // The version makes a late write of a leader that was, harmless.
                let patch = Patch::Merge(json!({
                    "metadata": {"resourceVersion": version},
                    "status": wanted,
                }));
                let parameters = PatchParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let sent = api.patch_status(&key.name, &parameters, &patch);
                let outcome = send(leadership, sent).await;
                Done {
                    key,
                    wrote: wanted,
                    outcome,
                }
            });
        }
        None
    }

    fn finish(&mut self, done: Done) {
        let Done {
            key,
            wrote,
            outcome,
        } = done;
        self.writing.remove(&key);
        self.backlog.changed(key.clone());
        self.means
            .metrics
            .wrote_status(key.kind.name(), outcome.name());
        let now = Instant::now();
        let record = self.records.entry(key.clone());
        let record = record.or_insert_with(|| Record::new(now));
        if !matches!(outcome, Outcome::Failed(_) | Outcome::NotLeader) {
            self.outage = 0;
        }
        match outcome {
            Outcome::Written(object) => {
                let wrote = hash(&wrote);
                record.history.succeeded();
                record.history.wrote(&wrote, now);
                record.pace.wrote(now);
                let status = object.status.as_ref();
                record.kept = Some((wrote, hash(status.unwrap_or(&Value::Null))));
                self.view.see(key.kind, *object);
            }
            Outcome::Gone => {
                self.view.remove(&key);
                self.records.remove(&key);
            }
            Outcome::Conflict => record.history.conflicted(now),
            Outcome::Refused(reason) => {
                tracing::warn!("the status of {key} is refused: {reason}");
                record.history.failed(REFUSED, now);
            }
            Outcome::Failed(reason) => {
                if self.outage == 0 {
                    tracing::warn!("the status of {key}: {reason}");
                }
                record.history.failed(1, now);
                self.outage = self.outage.saturating_add(1);
                self.not_before = now + backoff(self.outage).min(Duration::from_secs(30));
            }
            Outcome::NotLeader => {}
        }
    }
}

impl Inputs {
    /// Waits until one of them changes.
    async fn changed(&mut self) {
        let changed = tokio::select! {
            changed = self.served.changed() => changed,
            changed = self.replicas.changed() => changed,
            changed = self.provisions.changed() => changed,
        };
        if changed.is_err() {
            // It is about to end; what is known stays as it is.
            std::future::pending().await
        }
    }

    /// What is known now; none before anything is served and the replicas are known.
    fn world(&self) -> Option<World> {
        Some(World {
            served: self.served.borrow().clone()?,
            replicas: self.replicas.borrow().clone()?,
            // As long as nobody may tell, nothing is provided.
            provisions: self.provisions.borrow().clone().unwrap_or_default(),
        })
    }
}

/// Tells the backlog what is another than it was.
fn changes(world: &World, before: &World, backlog: &mut Backlog) {
    let (served, former) = (&world.served, &before.served);
    // Whose entries are whose is another matter for every route.
    if served.share != former.share {
        backlog.all_changed();
    }
    if served.position != former.position || !Arc::ptr_eq(&world.replicas, &before.replicas) {
        backlog.replicas_changed();
    }
    served.statuses.changes(&former.statuses, |was, is| {
        if let Some(status) = is.or(was) {
            backlog.changed(status.object.clone());
        }
    });
    let (planes, were) = (&world.provisions.dedicated, &before.provisions.dedicated);
    for owner in planes.keys().chain(were.keys()) {
        if planes.get(owner) != were.get(owner) {
            let key = ObjectKey::new(Kind::Gateway, &owner.namespace, &owner.name);
            backlog.changed(key);
        }
    }
    if world.provisions.services == before.provisions.services
        && served.gateways == former.gateways
        && served.unbound == former.unbound
    {
        return;
    }
    let is_other = |gateway: &ObjectKey| {
        let owner = Owner::new(&gateway.namespace, &gateway.name);
        world.provisions.services.get(&owner) != before.provisions.services.get(&owner)
            || plan(&served.gateways, &owner) != plan(&former.gateways, &owner)
            || served.unbound != former.unbound
    };
    for status in served.statuses.iter() {
        let gateway = match &status.status {
            Status::Gateway(_) => &status.object,
            Status::ListenerSet { gateway, .. } => gateway,
            Status::Class { .. } | Status::Route(_) | Status::Policy(_) => continue,
        };
        if is_other(gateway) {
            backlog.changed(status.object.clone());
        }
    }
}

/// What a value is known by.
fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

/// The time, as the API has it.
pub(super) fn time() -> String {
    format!("{:.0}", Timestamp::now())
}
