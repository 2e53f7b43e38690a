//! The algorithms compared on uneven endpoints, in simulated time. Deterministic: the seeds are
//! printed, and `SIMULATION_SEED` takes another.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::backend::Discovery;
use model::policy::{Algorithm, HashKey};
use model::{Backend, Endpoint, EndpointSet, Member, Policy};

use super::{Ask, BackendState, EndpointState, Keys};
use crate::upstream::Pool;

/// What holds for one of them may be chance.
const SEEDS: [u64; 3] = [1, 20_260_101, 7_919];
const REQUESTS: usize = 20_000;

/// An endpoint that works at one request after another in each of some threads.
#[derive(Clone, Copy)]
struct Machine {
    threads: usize,
    /// The mean time of a request.
    service: f64,
    /// One request in so many takes twenty times as long.
    hiccup: usize,
}

/// Latencies in seconds, sorted.
struct Outcome(Vec<f64>);

impl Outcome {
    fn quantile(&self, q: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * q) as usize]
    }
}

/// Machines under an open load of `rate` requests a second.
fn simulate(algorithm: &Algorithm, machines: &[Machine], rate: f64, seed: u64) -> Outcome {
    fastrand::seed(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut exponential = move |mean: f64| -mean * (1.0 - rng.f64()).ln();
    let policy = Policy {
        algorithm: algorithm.clone(),
        ..Policy::default()
    };
    let members = (1..=machines.len()).map(|port| {
        let port = u16::try_from(port).expect("few");
        Member::from(Arc::new(Endpoint::new(([127, 0, 0, 1], port).into())))
    });
    let set = EndpointSet::new(members.collect(), Arc::new(policy));
    let backend = Backend::new("default/web:80", Discovery::Listed, set);
    let pool = Pool::unconnected();
    let state = BackendState::new();
    let members = state.members(&pool, &backend);
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);

    // When each thread is free again, and what ends when.
    let mut free: Vec<Vec<f64>> = machines.iter().map(|m| vec![0.0; m.threads]).collect();
    let mut ends: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let mut running: Vec<Option<(Rc<EndpointState>, f64)>> = Vec::new();
    let mut latencies = Vec::with_capacity(REQUESTS);
    let mut now = 0.0;
    for number in 0..REQUESTS {
        now += exponential(1.0 / rate);
        while let Some(&Reverse((end, ended))) = ends.peek() {
            if end > at(now) {
                break;
            }
            ends.pop();
            if let Some((endpoint, took)) = running[ended].take() {
                endpoint.in_flight.set(endpoint.in_flight.get() - 1);
                endpoint.answered(Duration::from_secs_f64(took), end);
            }
        }
        let keys = Keys {
            hash: Some(model::maglev::mix(number as u64)),
            ..Keys::default()
        };
        let ask = Ask {
            now: at(now),
            keys,
            tried: &[],
            affinity: None,
        };
        let choice = state.pick(&members, &ask).expect("endpoints");
        let machine = machines[choice.index];
        let mut work = exponential(machine.service);
        if machine.hiccup > 0 && number % machine.hiccup == 0 {
            work *= 20.0;
        }
        let threads = &mut free[choice.index];
        let thread = threads
            .iter_mut()
            .min_by(|a, b| a.total_cmp(b))
            .expect("threads");
        let end = thread.max(now) + work;
        *thread = end;
        let took = end - now;
        latencies.push(took);
        choice
            .endpoint
            .in_flight
            .set(choice.endpoint.in_flight() + 1);
        ends.push(Reverse((at(end), running.len())));
        running.push(Some((choice.endpoint, took)));
    }
    latencies.sort_by(f64::total_cmp);
    Outcome(latencies)
}

/// The 99th percentile in milliseconds, the mean of those of all seeds.
fn p99(algorithm: &Algorithm, machines: &[Machine], rate: f64) -> f64 {
    let given = std::env::var("SIMULATION_SEED").ok();
    let seeds = match given.and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => SEEDS.to_vec(),
    };
    let outcomes = seeds
        .iter()
        .map(|&seed| simulate(algorithm, machines, rate, seed));
    let outcomes: Vec<_> = outcomes.collect();
    let mean = |q: f64| {
        let sum: f64 = outcomes.iter().map(|outcome| outcome.quantile(q)).sum();
        sum * 1e3 / outcomes.len() as f64
    };
    let (p50, p99, p999) = (mean(0.5), mean(0.99), mean(0.999));
    println!("  {algorithm:?}: p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms");
    p99
}

const DEFAULT: Algorithm = Algorithm::P2c;
const OTHERS: [Algorithm; 4] = [
    Algorithm::RoundRobin,
    Algorithm::LeastRequest,
    Algorithm::Random,
    Algorithm::Hash(HashKey::Uri),
];

const EVEN: Machine = Machine {
    threads: 4,
    service: 0.010,
    hiccup: 0,
};

/// Alike but for one that is so many times as slow; at a part of what they can do in all.
fn one_slow(alike: usize, times: f64, part: f64) -> (Vec<Machine>, f64) {
    let slow = Machine {
        service: EVEN.service * times,
        ..EVEN
    };
    let machines = [vec![EVEN; alike], vec![slow]].concat();
    (machines, part * 400.0 * (alike as f64 + 1.0 / times))
}

#[test]
fn the_defaults_tail_is_the_shortest_where_one_endpoint_is_slow() {
    for (alike, times, part) in [
        (7, 5.0, 0.6),
        (7, 10.0, 0.6),
        (2, 10.0, 0.6),
        (7, 10.0, 0.8),
    ] {
        let (machines, rate) = one_slow(alike, times, part);
        println!("{alike} alike, one {times} times as slow, at {part} of what they can do");
        let default = p99(&DEFAULT, &machines, rate);
        for other in &OTHERS {
            let other = p99(other, &machines, rate);
            assert!(default <= 1.05 * other, "{default} > {other}");
        }
    }
}

#[test]
fn the_defaults_tail_is_the_shortest_where_machines_have_different_sizes() {
    let size = |threads| Machine { threads, ..EVEN };
    let machines = [1, 1, 2, 2, 4, 4, 8, 8].map(size);
    println!("1 to 8 threads");
    let default = p99(&DEFAULT, &machines, 0.6 * 3000.0);
    for other in &OTHERS {
        let other = p99(other, &machines, 0.6 * 3000.0);
        assert!(default <= 1.05 * other, "{default} > {other}");
    }
}

#[test]
fn rare_hiccups_cost_the_default_no_more_than_round_robin() {
    let machine = Machine {
        hiccup: 500,
        ..EVEN
    };
    for count in [3, 8] {
        println!("{count} that hiccup");
        let machines = vec![machine; count];
        let rate = 0.6 * 400.0 * count as f64;
        let default = p99(&DEFAULT, &machines, rate);
        let other = p99(&Algorithm::RoundRobin, &machines, rate);
        assert!(default <= 1.1 * other, "{default} > {other}");
    }
}

#[test]
fn where_all_are_alike_the_default_is_as_good_as_round_robin() {
    for (count, part) in [(3, 0.7), (8, 0.7), (8, 0.9)] {
        println!("{count} alike at {part}");
        let machines = vec![EVEN; count];
        let rate = part * 400.0 * count as f64;
        let default = p99(&DEFAULT, &machines, rate);
        let other = p99(&Algorithm::RoundRobin, &machines, rate);
        assert!(default <= 1.1 * other, "{default} > {other}");
    }
}

/// The time of a choice, the best of some rounds: the others tell of the machine.
fn cost(algorithm: &Algorithm, endpoints: u16) -> Duration {
    const CHOICES: u32 = 5_000;
    let members = (1..=endpoints)
        .map(|port| Member::from(Arc::new(Endpoint::new(([127, 0, 0, 1], port).into()))));
    let policy = Policy {
        algorithm: algorithm.clone(),
        ..Policy::default()
    };
    let set = EndpointSet::new(members.collect(), Arc::new(policy));
    let backend = Backend::new("default/web:80", Discovery::Listed, set);
    let pool = Pool::unconnected();
    let round = || {
        let begin = Instant::now();
        for number in 0..CHOICES {
            let state = pool.backend(&backend);
            let members = state.members(&pool, &backend);
            let keys = Keys {
                hash: Some(u64::from(number)),
                ..Keys::default()
            };
            let ask = Ask {
                now: begin,
                keys,
                tried: &[],
                affinity: None,
            };
            let choice = state.pick(&members, &ask).expect("endpoints");
            choice.endpoint.answered(Duration::from_millis(1), begin);
        }
        begin.elapsed() / CHOICES
    };
    (0..10).map(|_| round()).min().unwrap_or_default()
}

#[test]
fn a_choice_among_a_thousand_costs_no_more_than_a_few_among_ten() {
    for algorithm in [
        Algorithm::P2c,
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::Hash(HashKey::Uri),
    ] {
        let (few, many) = (cost(&algorithm, 10), cost(&algorithm, 1000));
        println!("{algorithm:?}: {few:?} among 10, {many:?} among 1000");
        assert!(many < few * 5, "{algorithm:?}: {few:?}, {many:?}");
    }
}
