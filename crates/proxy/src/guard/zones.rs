//! How often clients have asked lately, and how many requests they have at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use model::filter::limit::{ClientLimits, RequestRate};

use super::generations::Generations;

/// Each with a lock of its own.
const SHARDS: usize = 16;

/// How many clients of a shard are remembered, twice: about as many as in ingress-nginx's zones of
/// 5 MB.
const CLIENTS: usize = 2048;

/// After so many milliseconds a zone that nobody used is forgotten, once there is a new one.
const FORGOTTEN: u64 = 15 * 60 * 1000;

/// What is counted, by the name of the zone. It outlasts configurations.
#[derive(Debug, Default)]
pub(crate) struct Zones(RwLock<HashMap<Box<str>, Arc<Zone>>>);

/// Clients that are counted together.
#[derive(Debug)]
pub(crate) struct Zone {
    used: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug)]
struct Shard {
    clients: Generations<IpAddr, Client>,
    /// Those that have requests now, and how many. As many as there are requests.
    busy: HashMap<IpAddr, u32>,
}

/// What a client has asked lately.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    second: Option<Bucket>,
    minute: Option<Bucket>,
}

/// A leaky bucket (nginx: `limit_req`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    /// In thousandths of a request.
    excess: u64,
    /// When it was so full, in milliseconds.
    at: u64,
}

/// Counts one request of a client until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy {
    zone: Arc<Zone>,
    client: IpAddr,
}

impl Zones {
    /// The zone that a rule's requests are counted in.
    pub(crate) fn zone(&self, name: &str) -> Arc<Zone> {
        let now = now();
        let zones = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = zones.get(name) {
            zone.used.store(now, Ordering::Relaxed);
            return Arc::clone(zone);
        }
        drop(zones);
        let mut zones = self.0.write().unwrap_or_else(PoisonError::into_inner);
        zones.retain(|_, zone| {
            let used = zone.used.load(Ordering::Relaxed);
            Arc::strong_count(zone) > 1 || now.saturating_sub(used) < FORGOTTEN
        });
        let zone = zones.entry(name.into()).or_insert_with(|| {
            Arc::new(Zone {
                used: AtomicU64::new(now),
                shards: std::array::from_fn(|_| {
                    Mutex::new(Shard {
                        clients: Generations::new(CLIENTS),
                        busy: HashMap::new(),
                    })
                }),
            })
        });
        Arc::clone(zone)
    }
}

impl Zone {
    /// Counts a request, unless its client asks too often.
    pub(crate) fn ask(&self, client: IpAddr, limits: &ClientLimits) -> bool {
        self.ask_at(client, limits, now())
    }

    fn ask_at(&self, client: IpAddr, limits: &ClientLimits, now: u64) -> bool {
        let mut shard = self.shard(client);
        if shard.clients.get(&client).is_none() {
            shard.clients.insert(client, Client::default());
        }
        let Some(known) = shard.clients.get(&client) else {
            return true;
        };
        let fill = |bucket: Option<Bucket>, rate: Option<RequestRate>| match rate {
            Some(rate) => filled(bucket, rate, now).map(Some),
            None => Some(bucket),
        };
        // Who is refused for one is not counted for the other.
        let (Some(second), Some(minute)) = (
            fill(known.second, limits.per_second),
            fill(known.minute, limits.per_minute),
        ) else {
            return false;
        };
        *known = Client { second, minute };
        true
    }

    /// Counts a request for as long as it lasts, if its client does not have `most` already.
    pub(crate) fn begin(self: Arc<Self>, client: IpAddr, most: u32) -> Option<Busy> {
        let mut shard = self.shard(client);
        let busy = shard.busy.entry(client).or_default();
        if *busy >= most {
            return None;
        }
        *busy += 1;
        drop(shard);
        Some(Busy { zone: self, client })
    }

    fn shard(&self, client: IpAddr) -> MutexGuard<'_, Shard> {
        let sum = match client {
            IpAddr::V4(address) => address.octets().iter().fold(0, fold),
            IpAddr::V6(address) => address.octets().iter().fold(0, fold),
        };
        let shard = &self.shards[usize::from(sum) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fold(sum: u8, byte: &u8) -> u8 {
    sum.rotate_left(3) ^ byte
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut shard = self.zone.shard(self.client);
        if let Some(busy) = shard.busy.get_mut(&self.client) {
            *busy -= 1;
            if *busy == 0 {
                shard.busy.remove(&self.client);
            }
        }
    }
}

/// The bucket with one request more, if that fits in. The first one takes no room.
fn filled(bucket: Option<Bucket>, rate: RequestRate, now: u64) -> Option<Bucket> {
    let excess = bucket.map_or(0, |bucket| {
        let since = now.saturating_sub(bucket.at);
        let left = u64::from(rate.rate).saturating_mul(since) / 1000;
        (bucket.excess + 1000).saturating_sub(left)
    });
    let at = bucket.map_or(now, |bucket| bucket.at.max(now));
    (excess <= u64::from(rate.burst) * 1000).then_some(Bucket { excess, at })
}

/// Milliseconds of a clock that is the process's.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_second: Option<(u32, u32)>, per_minute: Option<(u32, u32)>) -> ClientLimits {
        let rate = |(rate, burst)| RequestRate { rate, burst };
        ClientLimits {
            zone: "default/web".into(),
            per_second: per_second.map(rate),
            per_minute: per_minute.map(rate),
            at_once: 0,
            exempt: model::AddressSet::default(),
            rate_status: 503,
            at_once_status: 503,
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_leave_the_bucket() {
        let zone = Zones::default().zone("default/web");
        // limit-rps: 2, limit-burst-multiplier: 5
        let limits = limits(Some((2000, 10)), None);
        let one = address("192.0.2.1");
        let passed = |at| (0..100).filter(|_| zone.ask_at(one, &limits, at)).count();
        assert_eq!(passed(5_000), 11);
        assert_eq!(passed(5_400), 0);
        assert_eq!(passed(5_500), 1);
        assert_eq!(passed(6_500), 2);
        assert_eq!(passed(3_600_000), 11);
        // Others are others.
        assert!(zone.ask_at(address("192.0.2.2"), &limits, 3_600_000));
        assert!(zone.ask_at(address("2001:db8::1"), &limits, 3_600_000));
    }

    #[test]
    fn who_is_refused_by_one_limit_is_not_counted_for_the_other() {
        let zone = Zones::default().zone("default/web");
        let one = address("192.0.2.1");
        let both = limits(Some((1000, 0)), Some((60_000 / 60, 1)));
        assert!(zone.ask_at(one, &both, 0));
        assert!(!zone.ask_at(one, &both, 0), "a second one in the second");
        let minute = limits(None, Some((0, 1)));
        assert!(zone.ask_at(one, &minute, 0), "room for it in the minute");
        assert!(!zone.ask_at(one, &minute, 0));
    }

    #[test]
    fn requests_at_once_are_counted_until_they_end() {
        let zones = Zones::default();
        let one = address("192.0.2.1");
        let first = zones.zone("default/web").begin(one, 2).expect("a place");
        let _second = zones.zone("default/web").begin(one, 2).expect("a place");
        assert!(zones.zone("default/web").begin(one, 2).is_none());
        assert!(zones.zone("default/other").begin(one, 2).is_some());
        drop(first);
        assert!(zones.zone("default/web").begin(one, 2).is_some());
    }
}
