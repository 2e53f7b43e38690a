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
    /// Somebody else writes while this is ordered.
    meddles: bool,
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
        if inner.meddles {
            inner
                .records
                .insert(wish.id.clone(), (Record::default(), 99));
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
fn what_somebody_else_wrote_meanwhile_is_not_overwritten() {
    let world = World::default();
    world.inner().meddles = true;
    assert_eq!(world.turn(&wish("web"), start()).done, Done::Elsewhere);
    assert_eq!(world.inner().records["web"], (Record::default(), 99));
}
