//! Sessions that are spread anew when endpoints come or go (ingress-nginx: `affinity-mode:
//! balanced`): a session is called by a number, and whose it is follows from that and from the
//! endpoints that there are, in every worker and every replica alike. Of n endpoints, one more takes
//! one session of n + 1, and one that goes leaves its own to all others.

use std::sync::Arc;

use model::endpoint::Standing;
use model::maglev;
use model::policy::Affinity;

use super::{Ask, Members};

/// How often a number is drawn whose endpoint may be asked.
const DRAWS: u32 = 20;

/// What sessions of a backend have in common. It is the second half of their numbers.
pub(crate) fn mark(backend: &str) -> u32 {
    half(maglev::hash(backend.as_bytes()))
}

/// Whether a session is one of the backend with this mark.
pub(super) fn is_of(key: u64, mark: u32) -> bool {
    half(key) == mark
}

/// Where the request's session is, or another one that begins now, and what that is called. None if
/// all that were tried to be drawn are out.
pub(super) fn choose(
    members: &Members,
    ask: &Ask<'_>,
    affinity: &Arc<Affinity>,
    mark: u32,
) -> Option<(usize, Option<u64>)> {
    let names = members.names(affinity);
    let is_tried = |index: usize| ask.tried.contains(&members.states[index].id());
    let known = ask.keys.name.and_then(|key| place(&names, key));
    if let Some(index) = known.filter(|&index| affinity.stays() || !is_tried(index)) {
        return Some((index, None));
    }
    (0..DRAWS).find_map(|_| {
        let key = u64::from(fastrand::u32(..)) << 32 | u64::from(mark);
        let index = place(&names, key)?;
        let usable = members.states[index].standing(ask.now) == Standing::Usable;
        (usable && !is_tried(index)).then_some((index, Some(key)))
    })
}

/// The endpoint that a number comes to: the one whose name goes with it best.
fn place(names: &[u64], key: u64) -> Option<usize> {
    let key = maglev::mix(key);
    (0..names.len()).max_by_key(|&index| maglev::mix(names[index] ^ key))
}

fn half(number: u64) -> u32 {
    let [.., a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_endpoint_takes_its_share_of_the_sessions_and_no_other_moves() {
        let names: Vec<u64> = (0..10).map(|it| maglev::hash(&[it])).collect();
        let before = |key| place(&names[..9], key).expect("an endpoint");
        let after = |key| place(&names, key).expect("an endpoint");
        let keys = (0..10_000_u64).map(|key| key << 32 | 7);
        let (moved, stayed): (Vec<u64>, Vec<u64>) = keys.partition(|&key| after(key) == 9);
        assert!((800..1200).contains(&moved.len()), "{}", moved.len());
        assert!(stayed.iter().all(|&key| before(key) == after(key)));
        for index in 0..10 {
            let count = stayed.iter().filter(|&&key| after(key) == index).count();
            assert!(
                index == 9 || (800..1200).contains(&count),
                "{index}: {count}"
            );
        }
        assert_eq!(place(&[], 1), None);
    }

    #[test]
    fn sessions_know_whose_they_are() {
        let (one, two) = (mark("default/one:80"), mark("default/two:80"));
        assert_ne!(one, two);
        let key = 5 << 32 | u64::from(one);
        assert!(is_of(key, one) && !is_of(key, two));
    }
}
