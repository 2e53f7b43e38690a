//! How often a client may be wrong about a password.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many wrong attempts are free …
const FREE: u32 = 10;

/// … and one more each time that this has passed.
const EVERY: Duration = Duration::from_secs(6);

/// Of so many clients the attempts are known.
const MOST: usize = 16_384;

/// Wrong attempts by client; an IPv6 client is its /64, which is one customer's.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<IpAddr, Instant>>);

impl Attempts {
    /// How long the client has to wait before its next attempt, if it has to.
    pub(crate) fn wait(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        // No code that holds the lock can leave it half changed.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = *known.get(&key(client))?;
        let wait = paid.saturating_duration_since(now + EVERY * (FREE - 1));
        (wait > Duration::ZERO).then_some(wait)
    }

    /// Notes a wrong attempt.
    pub(crate) fn wrong(&self, client: IpAddr, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, paid| *paid > now);
            // Under attack from everywhere: forgotten is who waits least.
            if known.len() >= MOST {
                let median = median(known.values().copied());
                known.retain(|_, paid| *paid > median);
            }
        }
        // When all attempts so far will be forgotten; each takes as long as it is to be paid for.
        let paid = known.entry(key(client)).or_insert(now);
        *paid = (*paid).max(now) + EVERY;
    }
}

fn median(values: impl Iterator<Item = Instant>) -> Instant {
    let mut values: Vec<_> = values.collect();
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

fn key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_are_free_and_then_one_each_six_seconds() {
        let attempts = Attempts::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        let start = Instant::now();
        for _ in 0..FREE {
            assert_eq!(attempts.wait(client, start), None);
            attempts.wrong(client, start);
        }
        let wait = attempts.wait(client, start).expect("too many");
        assert_eq!(wait, EVERY);
        assert_eq!(attempts.wait(client, start + wait), None);
        attempts.wrong(client, start + wait);
        assert!(attempts.wait(client, start + wait).is_some());
        assert_eq!(attempts.wait(IpAddr::from([192, 0, 2, 2]), start), None);
    }

    #[test]
    fn an_ipv6_client_cannot_use_its_many_addresses() {
        let attempts = Attempts::default();
        let start = Instant::now();
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for last in 0..10 {
            attempts.wrong(address(last), start);
        }
        assert!(attempts.wait(address(99), start).is_some());
        let other = IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]);
        assert_eq!(attempts.wait(other, start), None);
    }

    #[test]
    fn the_clients_that_are_known_are_bounded() {
        let attempts = Attempts::default();
        let start = Instant::now();
        for number in 0..(MOST as u32 + 100) {
            attempts.wrong(IpAddr::from(number.to_be_bytes()), start);
        }
        assert!(attempts.0.lock().expect("nothing panicked").len() <= MOST);
    }
}
