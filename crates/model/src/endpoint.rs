//! One address behind a backend, and what the whole process knows of its health.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::policy::Ejection;
use crate::transport::Transport;

/// One address of one Service port. Interned by `compile`: the same address of the same Service
/// that speaks the same is the same endpoint, whatever snapshot names it, so that what is known of
/// it outlives them.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Unique in the process, never used again; pools and counters are keyed by it.
    pub id: u64,
    /// What it speaks.
    pub transport: Transport,
    /// What the whole process knows of its health.
    pub health: Health,
}

impl Endpoint {
    /// A new endpoint with an id of its own.
    pub fn new(address: SocketAddr) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            address,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            transport: Transport::default(),
            health: Health::default(),
        }
    }

    /// The same, speaking something else than HTTP/1.1 in clear text.
    #[must_use]
    pub fn speaking(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Endpoint {}

/// Whether an endpoint is to be left out for a while, as all workers together see it.
///
/// A healthy endpoint's is only ever read, so that its cache line stays with every core. Times are
/// milliseconds of one clock of the process, which starts above zero.
#[derive(Debug, Default)]
pub struct Health {
    /// Failures in a row.
    failures: AtomicU32,
    /// Ejections that have not been lived down: the next one is so much longer.
    ejections: AtomicU32,
    /// When the last ejection ends or ended; 0 if there was none.
    ejected_until: AtomicU64,
    /// The last ejection was for its not being there at all.
    unreachable: AtomicBool,
    /// The active check says no.
    down: AtomicBool,
}

/// Whether an endpoint is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// By all means.
    Usable,
    /// It fails, or its active check says so: only where most others do, too.
    Ill,
    /// Nothing there answered at all: only where nothing else does either.
    Unreachable,
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection, or it was closed without a byte of an answer.
    Unreachable,
    /// The answer was late, broken or an error.
    Bad,
}

impl Health {
    /// Whether it is to be used. The clock is read only if need be.
    pub fn standing(&self, now: impl FnOnce() -> u64) -> Standing {
        let until = self.ejected_until.load(Ordering::Relaxed);
        let ejected = until != 0 && now() < until;
        if ejected && self.unreachable.load(Ordering::Relaxed) {
            Standing::Unreachable
        } else if ejected || self.down.load(Ordering::Relaxed) {
            Standing::Ill
        } else {
            Standing::Usable
        }
    }

    /// Whether it is ejected, or down by its active check.
    pub fn is_out(&self, now: impl FnOnce() -> u64) -> bool {
        self.standing(now) != Standing::Usable
    }

    /// Whether what it was last asked failed: no place for what failed elsewhere.
    pub fn is_suspect(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
    }

    /// Notes that it served a request well.
    pub fn succeeded(&self, ejection: &Ejection, now: impl FnOnce() -> u64) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        let ejections = self.ejections.load(Ordering::Relaxed);
        if ejections == 0 {
            return;
        }
        // One ejection is lived down by doing well for as long as it lasted.
        let until = self.ejected_until.load(Ordering::Relaxed);
        let now = now();
        if now < until && self.unreachable.load(Ordering::Relaxed) {
            // It was asked for want of others, and is there again.
            let seen = &self.ejected_until;
            // If it changed meanwhile, somebody else has said so, or has had another failure.
            let _ = seen.compare_exchange(until, now, Ordering::Relaxed, Ordering::Relaxed);
            return;
        }
        if now >= until + millis(ejection.length(ejections)) {
            let lived_down = self.ejected_until.compare_exchange(
                until,
                now,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if lived_down.is_ok() {
                self.ejections.store(ejections - 1, Ordering::Relaxed);
            }
        }
    }

    /// Notes that it failed. True if that ejects it; after an ejection the first failure does.
    /// `chance`, from 0 to 1, makes the ejection longer by up to a tenth, so that what was ejected
    /// at one time does not come back at one time.
    pub fn failed(&self, ejection: &Ejection, how: Failure, now: u64, chance: f64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if ejection.failures == 0 || failures < ejection.failures {
            return false;
        }
        let until = self.ejected_until.load(Ordering::Relaxed);
        // What was under way when it was ejected proves nothing more.
        if now < until {
            return false;
        }
        let ejections = self.ejections.load(Ordering::Relaxed) + 1;
        let length = ejection.length(ejections);
        let next = now + millis(length.mul_f64(1.0 + 0.1 * chance.clamp(0.0, 1.0))).max(1);
        let won = self
            .ejected_until
            .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if won {
            self.ejections.store(ejections, Ordering::Relaxed);
            let unreachable = how == Failure::Unreachable;
            self.unreachable.store(unreachable, Ordering::Relaxed);
        }
        won
    }

    /// Notes what the active check says. True if it said otherwise before.
    pub fn checked(&self, good: bool) -> bool {
        self.down.swap(!good, Ordering::Relaxed) == good
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::EjectOn;

    const EJECTION: Ejection = Ejection {
        failures: 3,
        on: EjectOn::Errors,
        base: Duration::from_secs(30),
        longest: Duration::from_secs(100),
    };

    fn failed(health: &Health, now: u64) -> bool {
        health.failed(&EJECTION, Failure::Bad, now, 0.0)
    }

    fn out(health: &Health, now: u64) -> bool {
        health.is_out(|| now)
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let health = Health::default();
        for _ in 0..10 {
            assert!(!failed(&health, 1));
            assert!(!failed(&health, 1));
            health.succeeded(&EJECTION, || 1);
        }
        assert!(!failed(&health, 1));
        assert!(!failed(&health, 1));
        assert!(failed(&health, 1));
        assert!(!failed(&health, 2), "it is out already");
        assert!(out(&health, 30_000) && !out(&health, 30_001));
    }

    #[test]
    fn each_ejection_is_longer_up_to_the_longest_and_good_service_lives_it_down() {
        let health = Health::default();
        failed(&health, 1);
        failed(&health, 1);
        let mut now = 1;
        for seconds in [30, 60, 100, 100] {
            assert!(failed(&health, now), "the first failure is enough");
            assert!(out(&health, now + seconds * 1000 - 1));
            now += seconds * 1000;
            assert!(!out(&health, now));
        }
        for _ in 0..8 {
            now += 100_000;
            health.succeeded(&EJECTION, || now);
        }
        for _ in 0..2 {
            assert!(!failed(&health, now));
        }
        assert!(failed(&health, now));
        assert!(!out(&health, now + 30_000));
    }

    #[test]
    fn no_number_of_failures_ejects_where_that_is_off() {
        let (health, off) = (
            Health::default(),
            Ejection {
                failures: 0,
                ..EJECTION
            },
        );
        assert!((0..100).all(|_| !health.failed(&off, Failure::Bad, 1, 0.0)));
    }

    #[test]
    fn chance_makes_ejections_longer_by_up_to_a_tenth() {
        for (chance, length) in [(0.0, 30_000), (0.5, 31_500), (1.0, 33_000), (7.0, 33_000)] {
            let health = Health::default();
            for _ in 0..3 {
                health.failed(&EJECTION, Failure::Bad, 1, chance);
            }
            assert!(out(&health, length) && !out(&health, length + 1));
        }
    }

    #[test]
    fn what_was_not_there_is_back_with_its_first_answer_and_what_was_ill_is_not() {
        for (how, standing, after) in [
            (
                Failure::Unreachable,
                Standing::Unreachable,
                Standing::Usable,
            ),
            (Failure::Bad, Standing::Ill, Standing::Ill),
        ] {
            let health = Health::default();
            for _ in 0..3 {
                health.failed(&EJECTION, how, 1, 0.0);
            }
            assert_eq!(health.standing(|| 2), standing);
            assert!(health.is_suspect());
            health.succeeded(&EJECTION, || 3);
            assert_eq!(health.standing(|| 4), after);
            assert!(!health.is_suspect());
        }
    }

    #[test]
    fn the_active_check_alone_brings_back_what_it_took_out() {
        let health = Health::default();
        assert!(!health.checked(true));
        assert!(health.checked(false) && out(&health, 1));
        health.succeeded(&EJECTION, || 1);
        assert!(!health.checked(false) && out(&health, 1));
        assert!(health.checked(true) && !out(&health, 1));
    }
}
