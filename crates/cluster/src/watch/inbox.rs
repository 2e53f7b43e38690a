//! What has arrived and is not taken yet: for each object, its latest state.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use objects::kinds::{Object, ObjectKey};
use objects::{Problem, Store};
use tokio::sync::Notify;

use super::optional::Offer;
use super::read::Read;
use super::selected::Selected;
use super::sources::{Condition, Sources};
use super::target::Target;
use super::trouble::Trouble;
use crate::replicas::Position;

/// What has arrived and is not taken yet. Bounded by the number of objects, however often they
/// change.
#[derive(Debug, Default)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Notify,
    /// The API server answers after it did not.
    revived: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// None for an object that is gone.
    changes: HashMap<ObjectKey, Option<Object>>,
    resyncs: Vec<Resync>,
    malformed: BTreeMap<ObjectKey, Problem>,
    sources: Sources,
    /// Up to where the Ingresses and the objects of Gateway API were read.
    position: Position,
    /// Made of the two above, when somebody asks.
    problems: Option<Arc<[Problem]>>,
    /// When the first of what is here was received.
    earliest: Option<Instant>,
    /// Whether there is anything that was not taken.
    pending: bool,
    /// Where only the objects of some namespaces are handed on.
    selected: Option<Selected>,
    /// An object that counts by itself in the position.
    counted: Option<ObjectKey>,
}

/// A whole list was read: whatever it covers and does not name is gone.
#[derive(Debug)]
struct Resync {
    target: Target,
    names: HashSet<ObjectKey>,
}

/// What has arrived since the last time.
#[derive(Debug)]
pub struct Batch {
    changes: HashMap<ObjectKey, Option<Object>>,
    resyncs: Vec<Resync>,
    /// Everything that is wrong now: with objects, and with reading them. The same `Arc` as last
    /// time if it is the same.
    pub problems: Arc<[Problem]>,
    /// Up to where the Ingresses and the objects of Gateway API were read, with these changes.
    pub position: Position,
    /// When the first of the changes was received.
    pub earliest: Option<Instant>,
}

impl Batch {
    /// Brings `store` up to date. Whether that changed anything.
    pub fn apply(self, store: &mut Store) -> bool {
        let mut changed = false;
        for (key, object) in self.changes {
            changed |= match object {
                Some(object) => store.apply(object),
                None => store.delete(&key),
            };
        }
        for resync in self.resyncs {
            let target = &resync.target;
            let known = store.keys(target.kind, target.namespace.as_deref());
            for key in known {
                if target.covers(&key) && !resync.names.contains(&key) {
                    changed |= store.delete(&key);
                }
            }
        }
        changed
    }
}

impl Inbox {
    /// For objects of the namespaces that are in it themselves.
    pub(crate) fn of_selected_namespaces() -> Self {
        let state = State {
            selected: Some(Selected::default()),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            ..Self::default()
        }
    }

    /// Lets one object count by itself: replicas tell each other how new what they serve of it is.
    pub(crate) fn count(&self, key: Option<ObjectKey>) {
        self.lock().counted = key;
    }

    /// Takes what has arrived.
    pub fn take(&self) -> Batch {
        let mut state = self.lock();
        state.pending = false;
        Batch {
            problems: state.problems(),
            position: state.position.clone(),
            changes: std::mem::take(&mut state.changes),
            resyncs: std::mem::take(&mut state.resyncs),
            earliest: state.earliest.take(),
        }
    }

    /// Waits until there is something to take. Cancel safe.
    pub async fn changed(&self) {
        loop {
            // Registered before looking, so that nothing falls between.
            let woken = self.wake.notified();
            if self.lock().pending {
                return;
            }
            woken.await;
        }
    }

    /// How the watches are doing, by kind.
    pub fn conditions(&self) -> Vec<Condition> {
        self.lock().sources.conditions()
    }

    /// The APIs that the cluster may have or not, as far as it was asked.
    pub fn offers(&self) -> Vec<Offer> {
        self.lock().sources.offers()
    }

    /// What is waited for before anything can be served: kinds, with the reason where there is
    /// one.
    pub fn missing(&self) -> Vec<String> {
        self.lock().sources.missing()
    }

    /// Whether every list is in and followed.
    pub fn is_current(&self) -> bool {
        self.lock().sources.are_current()
    }

    /// Whether a list is not in, and not because it is refused.
    pub fn is_away(&self) -> bool {
        self.lock().sources.is_away()
    }

    /// Whether the API server has said anything yet.
    pub fn has_heard(&self) -> bool {
        self.lock().sources.has_heard()
    }

    /// Waits until the sources are as asked. Cancel safe.
    pub(crate) async fn until(&self, is_so: impl Fn(&Sources) -> bool) {
        loop {
            let woken = self.wake.notified();
            if is_so(&self.lock().sources) {
                return;
            }
            woken.await;
        }
    }

    /// Notes that everything up to this version was taken in; `anew` if it was a whole list.
    pub(crate) fn reached(&self, target: &Target, version: &str, anew: bool) {
        if !Position::counts(target.kind) {
            return;
        }
        let mut state = self.lock();
        let scope = target.namespace.as_deref().unwrap_or_default();
        if anew {
            state.position.set(target.kind, scope, version);
        } else {
            state.position.advance(target.kind, scope, version);
        }
        state.pending = true;
        drop(state);
        self.wake.notify_waiters();
    }

    /// Waits before something is tried again that failed by `trouble`; less, if it failed because
    /// the API server was away and it comes back. All who wait so begin within `spread`.
    pub(crate) async fn pause(&self, wait: Duration, trouble: &Trouble, spread: Duration) {
        let revived = self.revived.notified();
        if !matches!(trouble, Trouble::Unreachable(_)) {
            return tokio::time::sleep(wait).await;
        }
        if tokio::time::timeout(wait, revived).await.is_ok() {
            tokio::time::sleep(spread.mul_f64(fastrand::f64())).await;
        }
    }

    /// The API server has answered somebody after it did not.
    pub(crate) fn revived(&self) {
        self.revived.notify_waiters();
    }

    /// Takes in what was read, all at one time.
    pub(crate) fn read(&self, read: impl IntoIterator<Item = Read>) {
        let mut state = self.lock();
        for read in read {
            state.put(read);
        }
        self.arrived(state);
    }

    /// Takes in that an object is gone.
    pub(crate) fn gone(&self, key: ObjectKey) {
        let mut state = self.lock();
        state.forget(key);
        self.arrived(state);
    }

    /// Takes in that a whole list was read, which named `names`: all else that it covers is gone.
    pub(crate) fn listed(&self, target: &Target, names: HashSet<ObjectKey>) {
        let mut state = self.lock();
        let gone = |key: &ObjectKey| target.covers(key) && !names.contains(key);
        for (_, object) in state.changes.iter_mut().filter(|(key, _)| gone(key)) {
            *object = None;
        }
        if let Some(selected) = &mut state.selected {
            let changes = selected.prune(gone);
            state.changes.extend(changes);
            state.problems = None;
        }
        let before = state.malformed.len();
        state.malformed.retain(|key, _| !gone(key));
        if state.malformed.len() != before {
            state.problems = None;
        }
        // An earlier list of the same is outdated.
        state.resyncs.retain(|resync| resync.target != *target);
        state.resyncs.push(Resync {
            target: target.clone(),
            names,
        });
        self.arrived(state);
    }

    /// Changes what is known of the sources, and wakes whoever waits for them.
    pub(crate) fn sources<T>(&self, change: impl FnOnce(&mut Sources) -> T) -> T {
        let mut state = self.lock();
        let done = change(&mut state.sources);
        if state.sources.take_problems_changed() {
            state.problems = None;
            state.pending = true;
        }
        drop(state);
        self.wake.notify_waiters();
        done
    }

    /// Notes that something came to a watch.
    pub(crate) fn event(&self, target: &Target) {
        self.lock().sources.event(target);
    }

    fn arrived(&self, mut state: MutexGuard<'_, State>) {
        state.pending = true;
        state.earliest.get_or_insert_with(Instant::now);
        drop(state);
        self.wake.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, read: Read) {
        if self.counted.as_ref() == Some(&read.key) {
            self.position.advance_object(&read.key, &read.version);
        }
        match read.object {
            Ok(object) => {
                self.mend(&read.key);
                // Named by a list or not, it is there now.
                for resync in &mut self.resyncs {
                    if resync.target.covers(&read.key) {
                        resync.names.insert(read.key.clone());
                    }
                }
                self.change(read.key, Some(object));
            }
            Err(problem) => {
                self.malformed.insert(read.key, problem);
                self.problems = None;
            }
        }
    }

    fn forget(&mut self, key: ObjectKey) {
        self.mend(&key);
        self.change(key, None);
    }

    fn change(&mut self, key: ObjectKey, object: Option<Object>) {
        match &mut self.selected {
            Some(selected) => {
                let changes = selected.put(key, object);
                self.problems = None;
                self.changes.extend(changes);
            }
            None => drop(self.changes.insert(key, object)),
        }
    }

    fn mend(&mut self, key: &ObjectKey) {
        if self.malformed.remove(key).is_some() {
            self.problems = None;
        }
    }

    fn problems(&mut self) -> Arc<[Problem]> {
        let Self {
            problems,
            malformed,
            sources,
            selected,
            ..
        } = self;
        let concerns = |key: &ObjectKey| {
            selected
                .as_ref()
                .is_none_or(|selected| selected.is_selected(key))
        };
        let problems = problems.get_or_insert_with(|| {
            let malformed = malformed.iter().filter(|(key, _)| concerns(key));
            let malformed = malformed.map(|(_, problem)| problem.clone());
            malformed.chain(sources.problems()).collect()
        });
        Arc::clone(problems)
    }
}

#[cfg(test)]
mod tests {
    use objects::Severity;
    use objects::kinds::{Kind, ObjectMeta, Service};

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Service, "shop", name)
    }

    fn service(name: &str) -> Read {
        let metadata = ObjectMeta {
            name: name.to_owned(),
            namespace: Some("shop".into()),
            ..ObjectMeta::default()
        };
        Read {
            key: key(name),
            version: "1".to_owned(),
            object: Ok(Object::Service(Arc::new(Service {
                metadata,
                ..Service::default()
            }))),
        }
    }

    fn malformed(name: &str) -> Read {
        Read {
            object: Err(Problem {
                severity: Severity::Error,
                object: Some(key(name)),
                field: String::new(),
                message: "is malformed".to_owned(),
                hint: String::new(),
            }),
            ..service(name)
        }
    }

    fn names(store: &Store) -> Vec<&str> {
        let services = store.services();
        services
            .map(|service| service.metadata.name.as_str())
            .collect()
    }

    #[test]
    fn an_object_that_counts_is_in_the_position_with_its_version_and_others_are_not() {
        let inbox = Inbox::default();
        inbox.count(Some(key("a")));
        inbox.read(["a", "b"].map(service));
        let position = inbox.take().position;
        assert_eq!(position.to_string(), "Service/shop/a=1");
    }

    #[test]
    fn a_list_takes_away_what_it_does_not_name_and_no_more() {
        let inbox = Inbox::default();
        let mut store = Store::default();
        inbox.read(["a", "b", "c"].map(service));
        assert!(inbox.take().apply(&mut store));
        assert_eq!(names(&store), ["a", "b", "c"]);

        // Between the list and the taking, one more comes, and one that the list named goes.
        inbox.read([service("b")]);
        inbox.listed(
            &Target::all(Kind::Service, None),
            HashSet::from([key("b"), key("c")]),
        );
        inbox.read([service("d")]);
        inbox.gone(key("c"));
        assert!(inbox.take().apply(&mut store));
        assert_eq!(names(&store), ["b", "d"]);

        inbox.listed(&Target::all(Kind::Service, Some("else")), HashSet::new());
        inbox.listed(&Target::all(Kind::Ingress, None), HashSet::new());
        assert!(!inbox.take().apply(&mut store));
    }

    #[test]
    fn what_came_before_a_list_that_does_not_name_it_goes() {
        let inbox = Inbox::default();
        let mut store = Store::default();
        inbox.read([service("a")]);
        inbox.listed(&Target::all(Kind::Service, None), HashSet::new());
        inbox.take().apply(&mut store);
        assert!(store.is_empty());
    }

    #[test]
    fn a_malformed_object_leaves_its_last_good_form_and_is_one_problem() {
        let inbox = Inbox::default();
        let mut store = Store::default();
        inbox.read([service("a")]);
        inbox.read([malformed("a"), malformed("b")]);
        inbox.read([malformed("a")]);
        let batch = inbox.take();
        assert_eq!(batch.problems.len(), 2);
        batch.apply(&mut store);
        assert_eq!(names(&store), ["a"]);

        inbox.read([service("a")]);
        inbox.gone(key("b"));
        assert!(inbox.take().problems.is_empty());
        inbox.read([malformed("a")]);
        inbox.listed(&Target::all(Kind::Service, None), HashSet::new());
        let batch = inbox.take();
        assert!(batch.problems.is_empty());
        batch.apply(&mut store);
        assert!(store.is_empty());
    }

    #[test]
    fn of_namespaces_that_are_not_selected_nothing_is_handed_on() {
        let inbox = Inbox::of_selected_namespaces();
        let mut store = Store::default();
        let namespace = |name: &str| {
            let mut namespace = objects::kinds::Namespace::default();
            namespace.metadata.name = name.to_owned();
            Read {
                key: ObjectKey::new(Kind::Namespace, "", name),
                version: "1".to_owned(),
                object: Ok(Object::Namespace(Arc::new(namespace))),
            }
        };
        inbox.read([service("a"), malformed("b")]);
        let batch = inbox.take();
        assert!(batch.problems.is_empty());
        batch.apply(&mut store);
        assert!(names(&store).is_empty());

        inbox.read([namespace("shop"), service("c")]);
        let batch = inbox.take();
        assert_eq!(batch.problems.len(), 1);
        batch.apply(&mut store);
        assert_eq!(names(&store), ["a", "c"]);

        inbox.gone(ObjectKey::new(Kind::Namespace, "", "shop"));
        inbox.gone(key("c"));
        inbox.take().apply(&mut store);
        assert!(store.is_empty());

        inbox.read([namespace("shop")]);
        inbox.take().apply(&mut store);
        assert_eq!(names(&store), ["a"]);
        inbox.listed(&Target::all(Kind::Namespace, None), HashSet::new());
        let batch = inbox.take();
        assert!(batch.problems.is_empty());
        batch.apply(&mut store);
        assert!(store.is_empty());
        inbox.listed(&Target::all(Kind::Service, None), HashSet::new());
        inbox.read([namespace("shop")]);
        inbox.take().apply(&mut store);
        assert!(names(&store).is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_once_for_all_that_came() {
        let inbox = Inbox::default();
        inbox.read([service("a")]);
        inbox.changed().await;
        inbox.changed().await;
        assert!(inbox.take().earliest.is_some());
        let waits = tokio::time::timeout(std::time::Duration::from_millis(10), inbox.changed());
        assert!(waits.await.is_err());
        assert!(inbox.take().earliest.is_none());
    }
}
