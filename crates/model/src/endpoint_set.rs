//! The endpoints of a backend at one moment, and what choosing among them needs, worked out when
//! they change and not for each request.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::backend::Unavailable;
use crate::endpoint::Endpoint;
use crate::maglev;
use crate::policy::{Affinity, Algorithm, Policy};

/// The most turns of a weighted order; heavier weights are rounded to it.
const MAX_TURNS: u64 = 4096;

/// The endpoints of a backend that take requests, or why there are none.
#[derive(Debug, Clone)]
pub struct EndpointSet {
    /// The endpoints to choose from, the nearest first.
    pub ready: Box<[Arc<Endpoint>]>,
    /// Why `ready` is empty.
    pub unavailable: Option<Unavailable>,
    /// How they are chosen from.
    pub policy: Arc<Policy>,
    /// By index of `ready`; empty if all are alike.
    weights: Box<[u16]>,
    /// From the nearest endpoints alone to all; empty if `ready` is.
    tiers: Box<[Tier]>,
    /// What few policies need.
    lookup: Option<Box<Lookup>>,
}

/// Endpoints by what requests say.
#[derive(Debug, Clone)]
struct Lookup {
    /// For [`Algorithm::Hash`]; empty where there is nothing to choose.
    table: Box<[u16]>,
    /// What cookies call the endpoints, by index; empty if they call them nothing.
    names: Box<[u64]>,
    /// The same, sorted, with the index of each.
    named: Box<[(u64, u32)]>,
}

/// An endpoint that is to be a set's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its share of the requests, relative to the others'. 0 is as 1.
    pub weight: u16,
    /// How far it is: those of a higher number take requests when those of lower ones cannot.
    pub distance: u8,
}

impl From<Arc<Endpoint>> for Member {
    fn from(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            weight: 1,
            distance: 0,
        }
    }
}

/// The endpoints up to a distance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// How many of `ready` there are, from the first.
    pub len: usize,
    /// Indexes, each as often as its weight says and well mixed; empty if all are alike.
    turns: Box<[u32]>,
}

impl Tier {
    /// How many turns there are until all begins again.
    pub fn turns(&self) -> usize {
        match self.turns.len() {
            0 => self.len,
            turns => turns,
        }
    }

    /// Whose turn it is; `turn` is below [`Self::turns`].
    pub fn turn(&self, turn: usize) -> usize {
        match self.turns.get(turn) {
            Some(&index) => index as usize,
            None => turn,
        }
    }
}

impl EndpointSet {
    /// A set without endpoints.
    pub fn none(why: Unavailable) -> Self {
        Self {
            unavailable: Some(why),
            ..Self::default()
        }
    }

    /// A set of endpoints that take requests.
    pub fn new(mut members: Vec<Member>, policy: Arc<Policy>) -> Self {
        members.sort_by_key(|member| member.distance);
        let weights = weights(&members);
        let ends = (1..=members.len()).filter(|&end| {
            members
                .get(end)
                .is_none_or(|next| next.distance != members[end - 1].distance)
        });
        let tiers = ends.map(|len| Tier {
            len,
            turns: turns(weights.get(..len).unwrap_or_default()),
        });
        let tiers = tiers.collect();
        let ready: Box<[_]> = members.into_iter().map(|member| member.endpoint).collect();
        let table = match policy.algorithm {
            Algorithm::Hash(_) if ready.len() > 1 => table(&ready, &weights),
            _ => Box::default(),
        };
        let names = match &policy.affinity {
            // One alone is named too: it may be one of several soon, or its backend is already.
            Some(affinity) => names(&ready, affinity),
            None => Box::default(),
        };
        let lookup = (!table.is_empty() || !names.is_empty()).then(|| {
            let mut named: Box<[_]> = names.iter().copied().zip(0..).collect();
            named.sort_unstable();
            Box::new(Lookup {
                table,
                names,
                named,
            })
        });
        Self {
            ready,
            unavailable: None,
            policy,
            weights,
            tiers,
            lookup,
        }
    }

    /// The same, and why it is empty.
    #[must_use]
    pub fn because(mut self, why: Option<Unavailable>) -> Self {
        self.unavailable = why;
        self
    }

    /// Whether [`Self::new`] would come to the same, at a fraction of the cost.
    pub fn is_made_of(&self, members: &[Member], policy: &Policy) -> bool {
        let mut sorted: Vec<&Member> = members.iter().collect();
        sorted.sort_by_key(|member| member.distance);
        let members = sorted.iter().enumerate();
        self.unavailable.is_none()
            && *self.policy == *policy
            && self.ready.len() == sorted.len()
            && members
                .clone()
                .all(|(index, member)| self.ready[index] == member.endpoint)
            && weights(&sorted) == self.weights
            && members
                .filter(|&(index, member)| {
                    sorted
                        .get(index + 1)
                        .is_none_or(|next| next.distance != member.distance)
                })
                .map(|(index, _)| index + 1)
                .eq(self.tiers.iter().map(|tier| tier.len))
    }

    /// The same endpoints, chosen from in another way.
    pub fn with_policy(&self, policy: Arc<Policy>) -> Self {
        Self::new(self.members(), policy).because(self.unavailable)
    }

    /// From the nearest endpoints alone to all; empty if there is no endpoint.
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// An endpoint's share of the requests, relative to the others'.
    pub fn weight(&self, index: usize) -> u16 {
        self.weights.get(index).copied().unwrap_or(1)
    }

    /// The endpoint of a hashed key; `None` if keys are nothing here.
    pub fn by_hash(&self, hash: u64) -> Option<usize> {
        let table = &self.lookup.as_ref()?.table;
        table
            .get(maglev::place(hash))
            .map(|&index| usize::from(index))
    }

    /// The endpoint that a cookie names.
    pub fn by_name(&self, name: u64) -> Option<usize> {
        let named = &self.lookup.as_ref()?.named;
        let found = named.binary_search_by_key(&name, |&(name, _)| name);
        found.ok().map(|place| named[place].1 as usize)
    }

    /// What cookies call an endpoint; `None` if they call it nothing.
    pub fn name(&self, index: usize) -> Option<u64> {
        self.lookup.as_ref()?.names.get(index).copied()
    }

    /// What a rule's own affinity calls the endpoints, by index.
    pub fn names_by(&self, affinity: &Affinity) -> Box<[u64]> {
        names(&self.ready, affinity)
    }

    fn members(&self) -> Vec<Member> {
        let mut distance = 0;
        let mut members = Vec::with_capacity(self.ready.len());
        for (index, endpoint) in self.ready.iter().enumerate() {
            if self
                .tiers
                .get(usize::from(distance))
                .is_some_and(|tier| tier.len <= index)
            {
                distance += 1;
            }
            members.push(Member {
                endpoint: Arc::clone(endpoint),
                weight: self.weight(index),
                distance,
            });
        }
        members
    }
}

impl Default for EndpointSet {
    fn default() -> Self {
        Self {
            ready: Box::default(),
            unavailable: None,
            policy: Policy::shared_default(),
            weights: Box::default(),
            tiers: Box::default(),
            lookup: None,
        }
    }
}

// What is worked out from the rest need not be compared.
impl PartialEq for EndpointSet {
    fn eq(&self, other: &Self) -> bool {
        self.ready == other.ready
            && self.unavailable == other.unavailable
            && self.policy == other.policy
            && self.weights == other.weights
            && self.tiers == other.tiers
    }
}

impl Eq for EndpointSet {}

fn weights<M: std::borrow::Borrow<Member>>(members: &[M]) -> Box<[u16]> {
    let weight = |member: &M| member.borrow().weight.max(1);
    match members.first().map(weight) {
        Some(first) if members.iter().any(|member| weight(member) != first) => {
            members.iter().map(weight).collect()
        }
        // All alike, but not 1: only the relation counts.
        _ => Box::default(),
    }
}

/// Indexes in smooth weighted order (as nginx's): each as often as its weight says, and no run of
/// one where it can be helped.
fn turns(weights: &[u16]) -> Box<[u32]> {
    let divisor = weights.iter().fold(0, |a, &b| gcd(a, u64::from(b)));
    if divisor == 0 || weights.iter().all(|&weight| u64::from(weight) == divisor) {
        return Box::default();
    }
    let sum: u64 = weights
        .iter()
        .map(|&weight| u64::from(weight) / divisor)
        .sum();
    let most = MAX_TURNS.max(weights.len() as u64);
    let scaled: Vec<i64> = weights
        .iter()
        .map(|&weight| {
            let weight = u64::from(weight) / divisor;
            let weight = if sum > most {
                (weight * most / sum).max(1)
            } else {
                weight
            };
            i64::try_from(weight).unwrap_or(i64::MAX)
        })
        .collect();
    let sum: i64 = scaled.iter().sum();
    let mut due = vec![0_i64; scaled.len()];
    let mut turns = Vec::new();
    for _ in 0..sum {
        let mut next = 0;
        for (index, weight) in scaled.iter().enumerate() {
            due[index] += weight;
            if due[index] > due[next] {
                next = index;
            }
        }
        due[next] -= sum;
        turns.push(u32::try_from(next).unwrap_or_default());
    }
    turns.into()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn table(ready: &[Arc<Endpoint>], weights: &[u16]) -> Box<[u16]> {
    let name = |endpoint: &Arc<Endpoint>| maglev::hash(endpoint.address.to_string().as_bytes());
    // In an order of their own: every replica has the same table, however near each endpoint is.
    let mut order: Vec<(u64, u16)> = ready.iter().map(name).zip(0..).collect();
    order.sort_unstable();
    let names: Vec<_> = order.iter().map(|&(name, _)| name).collect();
    let weights: Vec<_> = order
        .iter()
        .filter_map(|&(_, index)| weights.get(usize::from(index)).copied())
        .collect();
    let table = maglev::table(&names, &weights);
    table
        .iter()
        .map(|&place| order[usize::from(place)].1)
        .collect()
}

/// SipHash of a secret prefix and the address: who does not know the key learns nothing.
fn names(ready: &[Arc<Endpoint>], affinity: &Affinity) -> Box<[u64]> {
    let name = |endpoint: &Arc<Endpoint>| {
        let mut hasher = DefaultHasher::new();
        affinity.key.hash(&mut hasher);
        endpoint.address.hash(&mut hasher);
        hasher.finish()
    };
    ready.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::HashKey;

    fn members(of: &[(u16, u8)]) -> Vec<Member> {
        (1_u16..)
            .zip(of)
            .map(|(port, &(weight, distance))| Member {
                endpoint: Arc::new(Endpoint::new(([127, 0, 0, 1], port).into())),
                weight,
                distance,
            })
            .collect()
    }

    fn order(tier: &Tier) -> Vec<usize> {
        (0..tier.turns()).map(|turn| tier.turn(turn)).collect()
    }

    #[test]
    fn turns_are_weighted_and_mixed() {
        let set = EndpointSet::new(members(&[(4, 0), (2, 0), (2, 0)]), Policy::shared_default());
        assert_eq!(order(&set.tiers()[0]), [0, 1, 2, 0]);
        let alike = EndpointSet::new(members(&[(7, 0), (7, 0)]), Policy::shared_default());
        assert_eq!(order(&alike.tiers()[0]), [0, 1]);
        assert_eq!(alike.weight(1), 1);
    }

    #[test]
    fn the_nearest_come_first_and_each_tier_has_all_nearer_ones() {
        let given = members(&[(1, 2), (1, 0), (1, 2), (1, 1)]);
        let set = EndpointSet::new(given.clone(), Policy::shared_default());
        assert_eq!(set.ready[0], given[1].endpoint);
        assert_eq!(set.ready[1], given[3].endpoint);
        let lens: Vec<_> = set.tiers().iter().map(|tier| tier.len).collect();
        assert_eq!(lens, [1, 2, 4]);
    }

    #[test]
    fn every_replica_hashes_and_names_alike_wherever_it_is() {
        let policy = Arc::new(Policy {
            algorithm: Algorithm::Hash(HashKey::Source),
            affinity: Some(Affinity {
                cookie: "c".into(),
                header: false,
                max_age: std::time::Duration::ZERO,
                absolute: std::time::Duration::ZERO,
                key: "k".into(),
                cookie_terms: None,
            }),
            ..Policy::default()
        });
        let here = EndpointSet::new(members(&[(1, 0), (3, 1), (1, 1)]), Arc::clone(&policy));
        let there = EndpointSet::new(members(&[(1, 1), (3, 0), (1, 1)]), policy);
        let address = |set: &EndpointSet, index: Option<usize>| set.ready[index.unwrap()].address;
        for key in 0..1000 {
            let hash = maglev::mix(key);
            let (here_at, there_at) = (here.by_hash(hash), there.by_hash(hash));
            assert_eq!(address(&here, here_at), address(&there, there_at));
        }
        for index in 0..3 {
            let name = here.name(index).unwrap();
            assert_eq!(here.by_name(name), Some(index));
            let at = there.by_name(name);
            assert_eq!(address(&there, at), here.ready[index].address);
        }
        assert_eq!(here.by_name(1), None);
    }

    proptest! {
        #[test]
        fn a_set_knows_what_it_is_made_of(of in prop::collection::vec((0_u16..4, 0_u8..3), 0..8)) {
            let (given, policy) = (members(&of), Policy::shared_default());
            let set = EndpointSet::new(given.clone(), Arc::clone(&policy));
            prop_assert_eq!(&set, &set.with_policy(Arc::clone(&policy)));
            prop_assert!(set.is_made_of(&given, &policy));
            let mut fewer = given;
            if fewer.pop().is_some() {
                prop_assert!(!set.is_made_of(&fewer, &policy));
            }
        }

        #[test]
        fn each_has_its_weights_share_of_turns(weights in prop::collection::vec(1_u16..60_000, 1..40)) {
            let of: Vec<_> = weights.iter().map(|&weight| (weight, 0)).collect();
            let set = EndpointSet::new(members(&of), Policy::shared_default());
            let turns = order(&set.tiers()[0]);
            prop_assert!(turns.len() <= 4096 + 40 || turns.len() == weights.len());
            for index in 0..weights.len() {
                prop_assert!(turns.contains(&index));
            }
        }
    }
}
