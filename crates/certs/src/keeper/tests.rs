use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use super::*;
use crate::ca::{Request, self_signed};
use crate::renew::Window;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Vault, lock and source in memory, shared by replicas.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    records: HashMap<String, (Record, u64)>,
    locks: HashSet<String>,
    now: Option<SystemTime>,
    fails: Option<Setback>,
    window: Option<Window>,
    orders: Vec<(String, bool)>,
    at_work: usize,
    most_at_work: usize,
    /// As a Lease, which its holder may take again.
    lets_in: bool,
    /// Somebody else writes this while something is ordered.
    meddles: Option<Record>,
    /// Nothing can be written.
    refuses: bool,
    unready: Option<String>,
}

impl World {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics with it")
    }

    fn keeper(&self, at_once: usize) -> Keeper<Self, Self, Self> {
        Keeper::new(self.clone(), self.clone(), self.clone(), at_once)
    }

    fn turn(&self, wish: &Wish, now: SystemTime) -> Outcome {
        self.inner().now = Some(now);
        let keeper = self.keeper(4);
        let mut outcomes = run(keeper.turn(vec![wish.clone()], now));
        outcomes.pop().expect("one")
    }
}

impl Vault for World {
    type Version = u64;

    async fn read(&self, id: &str) -> Result<Option<(Record, u64)>, String> {
        tokio::task::yield_now().await;
        Ok(self.inner().records.get(id).cloned())
    }

    async fn write(&self, id: &str, record: &Record, after: Option<&u64>) -> Result<(), NotKept> {
        tokio::task::yield_now().await;
        let mut inner = self.inner();
        if inner.refuses {
            return Err(NotKept::Failed("read only".to_owned()));
        }
        let is = inner.records.get(id).map(|(_, version)| *version);
        if is != after.copied() {
            return Err(NotKept::Changed);
        }
        let next = is.unwrap_or(0) + 1;
        inner.records.insert(id.to_owned(), (record.clone(), next));
        Ok(())
    }
}

struct Held(World, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.inner().locks.remove(&self.1);
    }
}

impl Lock for World {
    type Held = Held;

    async fn try_lock(&self, id: &str) -> Result<Option<Held>, String> {
        let mut inner = self.inner();
        let is_free = inner.locks.insert(id.to_owned()) || inner.lets_in;
        Ok(is_free.then(|| Held(self.clone(), id.to_owned())))
    }
}

impl Source for World {
    fn ready(&self, _: &Wish) -> Result<(), String> {
        match &self.inner().unready {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    async fn obtain(&self, wish: &Wish, before: Option<&str>) -> Result<Issued, Setback> {
        {
            let mut inner = self.inner();
            inner.orders.push((wish.id.clone(), before.is_some()));
            inner.at_work += 1;
            inner.most_at_work = inner.most_at_work.max(inner.at_work);
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let mut inner = self.inner();
        inner.at_work -= 1;
        if let Some(record) = inner.meddles.clone() {
            inner.records.insert(wish.id.clone(), (record, 99));
        }
        if let Some(setback) = &inner.fails {
            return Err(setback.clone());
        }
        let request = Request {
            names: &wish.names,
            common_name: None,
            usage: Usage::Server,
            lifetime: 90 * DAY,
            key: wish.key,
        };
        Ok(self_signed(&request, inner.now.unwrap_or_else(start)).expect("made"))
    }

    async fn renewal_info(&self, _: &Wish, _: &str) -> Option<RenewalInfo> {
        Some(RenewalInfo {
            window: Some(self.inner().window?),
            ask_again: 6 * HOUR,
            explanation: None,
        })
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

fn wish(id: &str) -> Wish {
    Wish {
        id: id.to_owned(),
        names: vec!["Web.test".to_owned(), "2001:DB8::1".to_owned()],
        issuer: "any".to_owned(),
        schedule: Schedule::TwoThirds,
        key: KeyKind::EcdsaP256,
        lifetime: None,
        usage: Usage::Server,
        common_name: None,
        profile: None,
    }
}

#[test]
fn of_replicas_at_once_exactly_one_orders_each_certificate() {
    let world = World::default();
    let wishes: Vec<Wish> = (0..20).map(|i| wish(&format!("web-{i}"))).collect();
    let keepers = [world.keeper(8), world.keeper(8), world.keeper(8)];
    run(async {
        let [a, b, c] = &keepers;
        let _ = tokio::join!(
            a.turn(wishes.clone(), start()),
            b.turn(wishes.clone(), start()),
            c.turn(wishes.clone(), start()),
        );
    });
    let inner = world.inner();
    let ids: HashSet<_> = inner.orders.iter().map(|(id, _)| id).collect();
    assert_eq!((inner.orders.len(), ids.len()), (20, 20));
}

#[test]
fn turns_of_one_replica_do_not_order_twice_under_its_own_lease() {
    let world = World::default();
    world.inner().lets_in = true;
    let keeper = world.keeper(8);
    let turn = || keeper.turn(vec![wish("web"), wish("web")], start());
    run(async { tokio::join!(turn(), turn()) });
    assert_eq!(world.inner().orders.len(), 1);
}

#[test]
fn no_more_are_ordered_at_once_than_allowed() {
    let world = World::default();
    let wishes: Vec<Wish> = (0..20).map(|i| wish(&format!("web-{i}"))).collect();
    let outcomes = run(world.keeper(3).turn(wishes, start()));
    assert!(outcomes.iter().all(|outcome| outcome.done == Done::Renewed));
    assert_eq!(world.inner().most_at_work, 3);
}

#[test]
fn it_is_renewed_when_it_said_that_it_would_be() {
    let world = World::default();
    let wish = wish("web");
    let mut now = start();
    assert_eq!(world.turn(&wish, now).done, Done::Renewed);
    for turn in 0.. {
        let outcome = world.turn(&wish, now);
        assert!(outcome.next > now, "it would turn without end");
        if outcome.done == Done::Renewed {
            break;
        }
        now = outcome.next;
        assert!(turn < 1000, "it is never renewed");
    }
    assert!((57 * DAY..63 * DAY).contains(&now.duration_since(start()).expect("later")));
    let orders = [("web".to_owned(), false), ("web".to_owned(), true)];
    assert_eq!(world.inner().orders, orders);
}

#[test]
fn a_window_moved_into_the_past_renews_it_as_soon_as_it_is_heard_of() {
    let world = World::default();
    let wish = wish("web");
    world.turn(&wish, start());
    world.turn(&wish, start() + HOUR);
    world.inner().window = Window::new(start() - DAY, start() - HOUR);
    assert_eq!(world.turn(&wish, start() + DAY).done, Done::Renewed);
}

#[test]
fn after_a_failure_the_old_one_stays_and_all_replicas_wait() {
    let world = World::default();
    let wish = wish("web");
    world.turn(&wish, start());
    let old = world.inner().records["web"].0.issued.clone();
    world.inner().fails = Some(Setback {
        error: "the CA says no".to_owned(),
        is_rate_limit: true,
        not_before: Some(start() + 70 * DAY),
    });
    let at = start() + 65 * DAY;
    let outcome = world.turn(&wish, at);
    assert_eq!(outcome.done, Done::Failed("the CA says no".to_owned()));
    let record = world.inner().records["web"].0.clone();
    assert_eq!(
        (record.issued, record.error.as_deref()),
        (old, Some("the CA says no"))
    );
    // Another replica, which hears of it from the vault.
    world.turn(&wish, at + DAY);
    assert_eq!(world.inner().orders.len(), 2);
    world.inner().fails = None;
    assert_eq!(world.turn(&wish, start() + 71 * DAY).done, Done::Renewed);
    assert_eq!(world.inner().records["web"].0.failures, None);
}

#[test]
fn other_names_and_issuers_are_another_certificate_and_the_same_ones_are_not() {
    let world = World::default();
    let mut wish = wish("web");
    world.turn(&wish, start());
    wish.names = vec!["2001:db8:0::1".to_owned(), "web.TEST".to_owned()];
    assert_eq!(world.turn(&wish, start() + HOUR).done, Done::Nothing);
    wish.names.push("b.test".to_owned());
    assert_eq!(world.turn(&wish, start() + HOUR).done, Done::Renewed);
    assert_eq!(world.turn(&wish, start() + 2 * HOUR).done, Done::Nothing);
    wish.issuer = "another".to_owned();
    assert_eq!(world.turn(&wish, start() + 2 * HOUR).done, Done::Renewed);
    wish.key = KeyKind::EcdsaP384;
    assert_eq!(world.turn(&wish, start() + 2 * HOUR).done, Done::Renewed);
    assert_eq!(world.turn(&wish, start() + 3 * HOUR).done, Done::Nothing);
}

#[test]
fn another_certificate_that_somebody_kept_meanwhile_is_not_overwritten() {
    let world = World::default();
    let other = Issued {
        chain: "another's".to_owned(),
        key: String::new(),
        ca: None,
    };
    let kept = Record {
        issued: Some(other),
        ..Record::default()
    };
    world.inner().meddles = Some(kept.clone());
    assert_eq!(world.turn(&wish("web"), start()).done, Done::Elsewhere);
    assert_eq!(world.inner().records["web"], (kept, 99));
}

#[test]
fn an_edit_beside_the_certificate_does_not_lose_it() {
    let world = World::default();
    world.inner().meddles = Some(Record::default());
    assert_eq!(world.turn(&wish("web"), start()).done, Done::Renewed);
    let inner = world.inner();
    assert!(inner.records["web"].0.issued.is_some() && inner.records["web"].1 == 100);
}

#[test]
fn a_certificate_that_was_deleted_while_another_was_ordered_is_no_ones() {
    let world = World::default();
    world.turn(&wish("web"), start());
    world.inner().meddles = Some(Record::default());
    assert_eq!(
        world.turn(&wish("web"), start() + 70 * DAY).done,
        Done::Renewed
    );
    assert!(world.inner().records["web"].0.issued.is_some());
}

#[test]
fn what_cannot_be_kept_is_tried_again_and_not_ordered_again() {
    let world = World::default();
    world.inner().refuses = true;
    let keeper = world.keeper(4);
    let turn = |now| run(keeper.turn(vec![wish("web")], now)).remove(0);
    for turns in 0..3 {
        let outcome = turn(start() + turns * HOUR);
        assert_eq!(outcome.done, Done::Failed("read only".to_owned()));
    }
    world.inner().refuses = false;
    assert_eq!(turn(start() + 3 * HOUR).done, Done::Renewed);
    assert_eq!(world.inner().orders.len(), 1);
    // Another wish meanwhile is another certificate.
    world.inner().refuses = true;
    let mut other = wish("other");
    let failed = run(keeper.turn(vec![other.clone()], start()));
    assert_eq!(failed[0].done, Done::Failed("read only".to_owned()));
    other.names.push("b.test".to_owned());
    world.inner().refuses = false;
    let outcomes = run(keeper.turn(vec![other.clone()], start() + HOUR));
    assert_eq!(outcomes[0].done, Done::Renewed);
    let issued = world.inner().records["other"].0.issued.clone();
    assert_eq!(
        names(&issued.expect("kept").chain),
        Ok(sorted(&other.names))
    );
}

#[test]
fn failures_of_another_wish_are_nobodys_and_those_of_the_same_count() {
    let world = World::default();
    let mut wish = wish("web");
    let setback = |error: &str| Setback {
        error: error.to_owned(),
        is_rate_limit: false,
        not_before: None,
    };
    world.inner().fails = Some(setback("no such name"));
    for turns in 0..6 {
        world.turn(&wish, start() + turns * DAY);
    }
    let at = start() + 5 * DAY + HOUR;
    assert_eq!(world.turn(&wish, at).done, Done::Nothing);
    wish.names = vec!["mended.test".to_owned()];
    world.inner().fails = None;
    assert_eq!(world.turn(&wish, at).done, Done::Renewed);
}

#[test]
fn a_source_that_is_not_ready_is_told_of_and_counts_as_no_failure() {
    let world = World::default();
    world.inner().unready = Some("there is no issuer any".to_owned());
    for turns in 0..10 {
        let outcome = world.turn(&wish("web"), start() + turns * HOUR);
        let error = "there is no issuer any".to_owned();
        assert_eq!(
            (outcome.done, outcome.error),
            (Done::Failed(error.clone()), Some(error))
        );
    }
    assert!(world.inner().records.is_empty());
    world.inner().unready = None;
    let now = start() + 9 * HOUR + Duration::from_secs(60);
    assert_eq!(world.turn(&wish("web"), now).done, Done::Renewed);
}
