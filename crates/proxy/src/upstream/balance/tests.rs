//! Who is chosen when some are out, far away or failed the request already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use model::backend::Discovery;
use model::endpoint::Failure;
use model::policy::{Affinity, HashKey};
use model::{Endpoint, Member};

use super::*;

const TRIALS: u64 = 300;

const ALL: [Algorithm; 5] = [
    Algorithm::P2c,
    Algorithm::RoundRobin,
    Algorithm::LeastRequest,
    Algorithm::Random,
    Algorithm::Hash(HashKey::Uri),
];

/// One worker's view of a backend whose endpoints are at these distances, by index.
struct Bench {
    backend: Backend,
    pool: Pool,
    now: Instant,
}

impl Bench {
    fn new(algorithm: &Algorithm, distances: &[u8]) -> Self {
        Self::weighted(algorithm, distances, &[])
    }

    fn weighted(algorithm: &Algorithm, distances: &[u8], weights: &[u16]) -> Self {
        let policy = Policy {
            algorithm: algorithm.clone(),
            affinity: Some(Affinity {
                cookie: "c".into(),
                header: false,
                max_age: Duration::ZERO,
                absolute: Duration::ZERO,
                key: "k".into(),
                cookie_terms: None,
            }),
            ..Policy::default()
        };
        let members = (1_u16..).zip(distances).map(|(port, &distance)| Member {
            endpoint: Arc::new(Endpoint::new(([127, 0, 0, 1], port).into())),
            weight: weights.get(usize::from(port) - 1).copied().unwrap_or(1),
            distance,
        });
        let set = EndpointSet::new(members.collect(), Arc::new(policy));
        Self {
            backend: Backend::new("default/web:80", Discovery::Listed, set),
            pool: Pool::unconnected(),
            now: Instant::now(),
        }
    }

    fn state(&self, index: usize) -> Rc<EndpointState> {
        self.pool.state(&self.backend.endpoints().ready[index])
    }

    fn fail(&self, index: usize, how: Failure, times: usize) {
        let set = self.backend.endpoints();
        for _ in 0..times {
            let state = self.pool.state(&set.ready[index]);
            state.failed(&set.policy.ejection, how, Duration::ZERO, self.now);
        }
    }

    fn pick(&self, tried: &[usize], key: u64, name: Option<u64>) -> Option<usize> {
        self.pick_after(1, tried, key, name)
    }

    fn pick_after(
        &self,
        millis: u64,
        tried: &[usize],
        key: u64,
        name: Option<u64>,
    ) -> Option<usize> {
        let state = self.pool.backend(&self.backend);
        let members = state.members(&self.pool, &self.backend);
        let ids: Vec<_> = tried.iter().map(|&index| self.state(index).id()).collect();
        let ask = Ask {
            now: self.now + Duration::from_millis(millis),
            keys: Keys {
                hash: Some(model::maglev::mix(key)),
                name,
                flow: None,
                mark: None,
            },
            tried: &ids,
            affinity: None,
        };
        state.pick(&members, &ask).map(|choice| choice.index)
    }

    /// Who is chosen at all.
    fn chosen(&self, tried: &[usize]) -> BTreeSet<usize> {
        (0..TRIALS)
            .filter_map(|key| self.pick(tried, key, None))
            .collect()
    }
}

#[test]
fn an_ejected_endpoint_is_chosen_by_no_algorithm() {
    for algorithm in &ALL {
        let bench = Bench::new(algorithm, &[0; 4]);
        assert_eq!(bench.chosen(&[]), [0, 1, 2, 3].into(), "{algorithm:?}");
        bench.fail(1, Failure::Bad, 5);
        assert_eq!(bench.chosen(&[]), [0, 2, 3].into(), "{algorithm:?}");
    }
}

#[test]
fn all_are_used_when_most_are_ill_but_those_that_are_not_there() {
    for algorithm in &ALL {
        let bench = Bench::new(algorithm, &[0; 5]);
        bench.fail(1, Failure::Bad, 5);
        bench.fail(2, Failure::Bad, 5);
        bench.fail(3, Failure::Unreachable, 5);
        assert_eq!(bench.chosen(&[]), [0, 1, 2, 4].into(), "{algorithm:?}");
    }
}

#[test]
fn the_one_that_lives_gets_all_and_anybody_is_tried_when_nobody_lives() {
    for algorithm in &ALL {
        let bench = Bench::new(algorithm, &[0; 6]);
        (1..6).for_each(|index| bench.fail(index, Failure::Unreachable, 5));
        assert_eq!(bench.chosen(&[]), [0].into(), "{algorithm:?}");
        bench.fail(0, Failure::Unreachable, 5);
        assert_eq!(bench.chosen(&[]), (0..6).collect(), "{algorithm:?}");
        assert_eq!(bench.chosen(&[0, 1, 2, 3, 4]), [5].into(), "{algorithm:?}");
    }
}

#[test]
fn a_retry_goes_where_nothing_failed_lately() {
    for algorithm in &ALL {
        let bench = Bench::new(algorithm, &[0; 4]);
        bench.fail(0, Failure::Unreachable, 1);
        bench.fail(1, Failure::Unreachable, 1);
        assert_eq!(bench.chosen(&[0]), [2, 3].into(), "{algorithm:?}");
        assert_eq!(bench.chosen(&[2, 3, 0]), [1].into(), "{algorithm:?}");
        assert_eq!(bench.chosen(&[0, 1, 2, 3]), [].into(), "{algorithm:?}");
    }
}

#[test]
fn a_retry_goes_where_something_was_answered_already() {
    for algorithm in &ALL {
        let bench = Bench::new(algorithm, &[0, 0, 0, 0, 1]);
        bench.fail(0, Failure::Unreachable, 1);
        bench.state(4).answered(Duration::from_millis(1), bench.now);
        assert_eq!(bench.chosen(&[0, 1]), [4].into(), "{algorithm:?}");
        bench.state(2).answered(Duration::from_millis(1), bench.now);
        assert_eq!(bench.chosen(&[0, 1]), [2].into(), "{algorithm:?}");
        bench.fail(2, Failure::Bad, 1);
        assert_eq!(bench.chosen(&[0, 1]), [4].into(), "{algorithm:?}");
    }
}

#[test]
fn the_nearest_are_chosen_unless_most_of_them_are_out() {
    for algorithm in &ALL[..4] {
        let bench = Bench::new(algorithm, &[0, 0, 0, 1, 2]);
        assert_eq!(bench.chosen(&[]), [0, 1, 2].into(), "{algorithm:?}");
        bench.fail(0, Failure::Bad, 5);
        assert_eq!(bench.chosen(&[]), [1, 2].into(), "{algorithm:?}");
        bench.fail(1, Failure::Bad, 5);
        assert_eq!(bench.chosen(&[]), [2, 3].into(), "{algorithm:?}");
    }
}

#[test]
fn farther_ones_help_where_the_near_one_has_too_much_to_do() {
    for algorithm in &ALL[..4] {
        let bench = Bench::new(algorithm, &[0, 1, 1]);
        bench.state(0).in_flight.set(BUSY - 1);
        assert_eq!(bench.chosen(&[]), [0].into(), "{algorithm:?}");
        bench.state(0).in_flight.set(BUSY);
        let chosen = bench.chosen(&[]);
        assert!(
            chosen.is_superset(&[1, 2].into()),
            "{algorithm:?}: {chosen:?}"
        );
        // They have as much to do themselves.
        (1..3).for_each(|index| bench.state(index).in_flight.set(BUSY));
        assert_eq!(bench.chosen(&[]), [0].into(), "{algorithm:?}");
    }
}

#[test]
fn only_the_keys_of_an_ejected_endpoint_move_and_they_come_back() {
    let bench = Bench::new(&Algorithm::Hash(HashKey::Uri), &[0; 5]);
    let map = || -> BTreeMap<u64, Option<usize>> {
        (0..TRIALS)
            .map(|key| (key, bench.pick(&[], key, None)))
            .collect()
    };
    let before = map();
    bench.fail(2, Failure::Bad, 5);
    let during = map();
    assert_eq!(during, map(), "each to the same one every time");
    for (key, index) in &before {
        if *index == Some(2) {
            assert_ne!(during[key], Some(2));
        } else {
            assert_eq!(during[key], *index);
        }
    }
    let later = bench.now + Duration::from_secs(60);
    assert_eq!(
        bench.state(2).standing(later),
        model::endpoint::Standing::Usable
    );
}

#[test]
fn each_gets_its_weights_share_and_has_its_weights_share_in_flight() {
    const COUNT: u64 = 4000;
    for algorithm in &ALL {
        let bench = Bench::weighted(algorithm, &[0; 3], &[1, 4, 3]);
        let light = (0..COUNT).filter(|&key| bench.pick(&[], key, None) == Some(0));
        let light = light.count() as u64;
        let wanted = COUNT / 8;
        assert!(
            light.abs_diff(wanted) < wanted / 4,
            "{algorithm:?}: {light}"
        );
    }
    for algorithm in [Algorithm::P2c, Algorithm::LeastRequest] {
        let bench = Bench::weighted(&algorithm, &[0; 3], &[1, 4, 3]);
        for key in 0..800 {
            let index = bench.pick(&[], key, None).expect("an endpoint");
            let in_flight = &bench.state(index).in_flight;
            in_flight.set(in_flight.get() + 1);
        }
        let shares = [0, 1, 2].map(|index| bench.state(index).in_flight());
        for (share, wanted) in shares.iter().zip([100_u32, 400, 300]) {
            assert!(share.abs_diff(wanted) < 30, "{algorithm:?}: {shares:?}");
        }
    }
}

#[test]
fn one_failure_drives_most_requests_elsewhere_for_a_few_seconds() {
    let bench = Bench::new(&Algorithm::P2c, &[0; 3]);
    let share = |millis: u64| {
        let now = bench.now + Duration::from_millis(millis);
        // All are as fast as ever, also the one that failed once.
        (0..3).for_each(|index| bench.state(index).answered(Duration::from_millis(20), now));
        let picks = (0..1000).filter(|&key| bench.pick_after(millis, &[], key, None) == Some(0));
        picks.count()
    };
    assert!((270..400).contains(&share(1)));
    bench.fail(0, Failure::Bad, 1);
    assert!(share(2) < 80);
    // What is left of it is as much as one request more in flight.
    assert!(share(2000) < 80);
    for index in [1, 2] {
        bench.state(index).in_flight.set(1);
    }
    assert!(share(9000) > 270, "{}", share(9000));
}

#[test]
fn a_client_stays_with_its_endpoint_until_that_is_out() {
    let bench = Bench::new(&Algorithm::P2c, &[0, 0, 1]);
    let name = bench.backend.endpoints().name(2);
    let stays = |tried: &[usize]| (0..TRIALS).all(|_| bench.pick(tried, 0, name) == Some(2));
    assert!(stays(&[]), "however far it is");
    assert!(!stays(&[2]));
    bench.fail(2, Failure::Bad, 5);
    assert_ne!(bench.pick(&[], 0, name), Some(2));
}

#[test]
fn most_being_out_is_noticed_also_among_many() {
    let bench = Bench::new(&Algorithm::P2c, &[0; 100]);
    (0..49).for_each(|index| bench.fail(index, Failure::Bad, 5));
    assert!(bench.chosen(&[]).iter().all(|&index| index >= 49));
    let bench = Bench::new(&Algorithm::P2c, &[0; 100]);
    (0..60).for_each(|index| bench.fail(index, Failure::Bad, 5));
    assert!(bench.chosen(&[]).iter().any(|&index| index < 60));
}

#[test]
fn a_flow_has_the_same_endpoint_in_every_process_and_moves_only_when_that_is_out() {
    for algorithm in [Algorithm::P2c, Algorithm::Random] {
        // Another process has the same endpoints, and knows nothing of this one.
        let (one, two) = (
            Bench::new(&algorithm, &[0; 4]),
            Bench::new(&algorithm, &[0; 4]),
        );
        let of = |bench: &Bench, flow: u64| {
            let state = bench.pool.backend(&bench.backend);
            let members = state.members(&bench.pool, &bench.backend);
            let client = SocketAddr::from(([192, 0, 2, 1], u16::try_from(flow).expect("a port")));
            let flow = flow_of(client);
            let ask = Ask {
                now: bench.now + Duration::from_millis(1),
                keys: flow_keys(members.policy(), client.ip(), flow),
                tried: &[],
                affinity: None,
            };
            state.pick(&members, &ask).expect("an endpoint").index
        };
        let before: Vec<_> = (1..=TRIALS).map(|flow| of(&one, flow)).collect();
        let same: Vec<_> = (1..=TRIALS).map(|flow| of(&two, flow)).collect();
        assert_eq!(before, same, "{algorithm:?}");
        let chosen: BTreeSet<_> = before.iter().copied().collect();
        assert_eq!(chosen, [0, 1, 2, 3].into(), "{algorithm:?}");
        one.fail(1, Failure::Unreachable, 5);
        let after: Vec<_> = (1..=TRIALS).map(|flow| of(&one, flow)).collect();
        for (before, after) in before.into_iter().zip(after) {
            assert_ne!(after, 1);
            assert!(before == 1 || before == after, "{before} to {after}");
        }
    }
}

fn flow_of(client: SocketAddr) -> u64 {
    flow(client, Some([198, 51, 100, 1].into()), 53)
}
