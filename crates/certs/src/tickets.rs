//! Session tickets' keys (RFC 5077; RFC 8446, section 4.6.1), shared by replicas and rotated.
//!
//! Pure: what is kept in, what is to be kept out. Each key is named after when it begins to seal
//! tickets; it opens them for a day after its successor has begun.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How long a key seals.
const TERM: Duration = Duration::from_secs(12 * HOUR.as_secs());

/// How long a key is there before it seals: as long as replicas may take to read it.
const TOLD: Duration = HOUR;

/// How long a key opens after it has stopped to seal.
const KEPT: Duration = Duration::from_secs(24 * HOUR.as_secs());

/// A key's length: what the proxy makes a name and two AES-256 or HMAC keys of, less a little.
const LENGTH: usize = 48;

/// The most that are kept.
const MOST: usize = 8;

const PREFIX: &str = "from-";

/// What is to be kept from now on: `from-<seconds since 1970>` to 48 random bytes. None if that is
/// what is kept already, or the system has no random bytes.
pub fn rotated(
    kept: &BTreeMap<String, Vec<u8>>,
    now: SystemTime,
) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut keys = read(kept);
    // Made while a clock was ahead: it would keep others from being made.
    keys.retain(|&from, _| at(from) <= now + TERM);
    let ended = |keys: &BTreeMap<u64, _>, from: u64| {
        let successor = keys.range(from + 1..).next();
        successor.is_some_and(|(&next, _)| now >= at(next) + KEPT)
    };
    let over: Vec<u64> = keys
        .keys()
        .copied()
        .filter(|&it| ended(&keys, it))
        .collect();
    for from in over {
        keys.remove(&from);
    }
    while keys.len() > MOST {
        keys.pop_first();
    }
    let seals = keys
        .first_key_value()
        .is_some_and(|(&from, _)| at(from) <= now);
    let last = keys.last_key_value().map(|(&from, _)| at(from) + TERM);
    match last {
        // Nobody could seal: at once.
        _ if !seals => drop(keys.insert(seconds(now), fresh()?)),
        Some(next) if now + TOLD >= next => {
            keys.insert(seconds(next.max(now + TOLD)), fresh()?);
            if keys.len() > MOST {
                keys.pop_first();
            }
        }
        _ => {}
    }
    let rotated = keys
        .into_iter()
        .map(|(from, key)| (format!("{PREFIX}{from}"), key));
    let rotated: BTreeMap<String, Vec<u8>> = rotated.collect();
    (rotated != *kept).then_some(rotated)
}

/// When [`rotated`] has something to do next; in the past if it has now.
pub fn next(kept: &BTreeMap<String, Vec<u8>>) -> SystemTime {
    let keys = read(kept);
    let Some((&last, _)) = keys.last_key_value() else {
        return SystemTime::UNIX_EPOCH;
    };
    let dropped = keys.keys().nth(1).map(|&second| at(second) + KEPT);
    let told = at(last) + TERM - TOLD;
    dropped.map_or(told, |dropped| dropped.min(told))
}

/// The keys by when they begin; what is none is left out.
fn read(kept: &BTreeMap<String, Vec<u8>>) -> BTreeMap<u64, Vec<u8>> {
    let one = |(name, key): (&String, &Vec<u8>)| {
        let from: u64 = name.strip_prefix(PREFIX)?.parse().ok()?;
        // Beyond it there is no time to add to.
        let is_time = from < u64::from(u32::MAX) * 8;
        (is_time && key.len() == LENGTH).then(|| (from, key.clone()))
    };
    kept.iter().filter_map(one).collect()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn fresh() -> Option<Vec<u8>> {
    let mut key = vec![0; LENGTH];
    rand::fill(&mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> SystemTime {
        at(1_800_000_000)
    }

    /// Turns whenever it said that it would, for so long.
    fn run(mut kept: BTreeMap<String, Vec<u8>>, span: Duration) -> BTreeMap<String, Vec<u8>> {
        let mut now = start();
        while now < start() + span {
            if let Some(rotated) = rotated(&kept, now) {
                kept = rotated;
            }
            assert!(rotated(&kept, now).is_none(), "it is done at once");
            let sealing = read(&kept).keys().filter(|&&from| at(from) <= now).count();
            assert!((1..=3).contains(&sealing), "{sealing} at {now:?}");
            assert!(next(&kept) > now, "it would turn without end");
            now = next(&kept);
        }
        kept
    }

    #[test]
    fn the_first_key_is_used_at_once_and_the_next_is_told_before() {
        let kept = rotated(&BTreeMap::new(), start()).expect("a key");
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["from-1800000000"]);
        assert!(kept.values().all(|key| key.len() == 48));
        assert_eq!(next(&kept), start() + 11 * HOUR);
        assert_eq!(rotated(&kept, start() + 10 * HOUR), None);
        let kept = rotated(&kept, start() + 11 * HOUR).expect("a second key");
        let second = format!("from-{}", 1_800_000_000 + 12 * 3600);
        assert_eq!(kept.len(), 2);
        assert!(kept.contains_key(&second));
    }

    #[test]
    fn keys_come_and_go_for_as_long_as_it_runs() {
        let kept = run(BTreeMap::new(), 100 * KEPT);
        assert!(kept.len() <= 4, "{kept:?}");
    }

    #[test]
    fn after_a_long_sleep_the_old_key_seals_until_the_new_one_is_told() {
        let kept = rotated(&BTreeMap::new(), start()).expect("a key");
        let kept = rotated(&kept, start() + 100 * KEPT).expect("another");
        let froms: Vec<SystemTime> = read(&kept).keys().map(|&from| at(from)).collect();
        assert_eq!(froms, [start(), start() + 100 * KEPT + TOLD]);
    }

    #[test]
    fn what_is_no_key_or_of_a_clock_ahead_goes() {
        let mut kept = BTreeMap::new();
        for name in ["from-x", "other", "from-99999999999999999999", "from-1"] {
            kept.insert(name.to_owned(), vec![0; 47]);
        }
        kept.insert("from-1900000000".to_owned(), vec![0; 48]);
        let kept = rotated(&kept, start()).expect("a key");
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["from-1800000000"]);
        let many = (0..100u64).map(|i| (format!("from-{}", 1_800_000_000 - i), vec![0; 48]));
        assert!(rotated(&many.collect(), start()).expect("fewer").len() <= MOST);
    }
}
