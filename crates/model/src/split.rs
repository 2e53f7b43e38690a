//! Requests or connections spread over several backends by weight.

use std::sync::Arc;

use crate::backend::Backend;
use crate::canary::Canary;
use crate::filter::Filter;

/// Several backends, each with a part of what comes (Gateway API: `backendRefs` with weights).
#[derive(Debug, Clone)]
pub struct Split {
    shares: Box<[Share]>,
    /// The sum of all weights, at least 1.
    total: u32,
    /// The first is for clients that came without TLS, the second for those with it.
    by_scheme: bool,
    /// Where the second of two shares is a canary's: which requests are its, before weights are
    /// asked.
    canary: Option<Box<Canary>>,
}

/// One backend's part.
#[derive(Debug, Clone)]
pub struct Share {
    /// Its weight against that of all others. Who has none gets nothing but the sessions that it has
    /// (GEP-1619).
    pub weight: u32,
    /// Who gets it.
    pub target: Target,
    /// What is done to its part, after what the rule does to all.
    pub filters: Box<[Filter]>,
}

/// Who gets a part.
#[derive(Debug, Clone)]
pub enum Target {
    /// A backend.
    Backend(Arc<Backend>),
    /// Nobody: the reference is wrong or not allowed. HTTP is answered 500, a connection is closed.
    Invalid,
}

impl Split {
    /// Of shares of which one has a weight. None if there is none, or if their weights are more than fits: the
    /// Gateway API allows 16 of 1,000,000.
    pub fn new(shares: Vec<Share>) -> Option<Self> {
        let shares: Box<[_]> = shares.into();
        let total = shares
            .iter()
            .try_fold(0_u32, |sum, share| sum.checked_add(share.weight))?;
        (total > 0).then_some(Self {
            shares,
            total,
            by_scheme: false,
            canary: None,
        })
    }

    /// One backend for clients that came without TLS, and one for those with it (ingress-nginx:
    /// `backend-protocol: AUTO_HTTP`).
    pub fn by_scheme(plain: &Arc<Backend>, secure: &Arc<Backend>) -> Self {
        let share = |backend| Share {
            weight: 1,
            target: Target::Backend(Arc::clone(backend)),
            filters: [].into(),
        };
        Self {
            shares: [share(plain), share(secure)].into(),
            total: 2,
            by_scheme: true,
            canary: None,
        }
    }

    /// Whose part a client's requests are, if that depends on whether it came with TLS.
    pub fn of_scheme(&self, tls: bool) -> Option<usize> {
        self.by_scheme.then_some(usize::from(tls))
    }

    /// A backend of which a canary gets a part: `weight` of `total` requests, and those that
    /// `canary` says.
    pub fn with_canary(
        main: Arc<Backend>,
        other: Arc<Backend>,
        (weight, total): (u32, u32),
        canary: Canary,
    ) -> Self {
        let total = total.max(1);
        let weight = weight.min(total);
        let share = |weight, backend| Share {
            weight,
            target: Target::Backend(backend),
            filters: [].into(),
        };
        Self {
            shares: [share(total - weight, main), share(weight, other)].into(),
            total,
            by_scheme: false,
            canary: Some(Box::new(canary)),
        }
    }

    /// Whether sessions keep clients with one of the shares.
    pub fn keeps_sessions(&self, share: usize) -> bool {
        let canary = self.canary.as_ref().filter(|_| share == 1);
        canary.is_none_or(|canary| !canary.sessionless)
    }

    /// Which requests are a canary's, which is the second of the two shares.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_deref()
    }

    /// The shares.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// The sum of all weights, at least 1.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The share for a number below [`Self::total`], as chance gives it.
    pub fn share(&self, number: u32) -> &Share {
        &self.shares[self.index(number)]
    }

    /// The place of the same in [`Self::shares`].
    pub fn index(&self, mut number: u32) -> usize {
        for (index, share) in self.shares.iter().enumerate() {
            match number.checked_sub(share.weight) {
                Some(rest) => number = rest,
                None => return index,
            }
        }
        // There is at least one, and no number is beyond the last that has a weight.
        self.shares.len() - 1
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.weight == other.weight && self.target == other.target && self.filters == other.filters
    }
}

impl Eq for Share {}

impl PartialEq for Split {
    fn eq(&self, other: &Self) -> bool {
        self.shares == other.shares
            && self.by_scheme == other.by_scheme
            && self.canary == other.canary
    }
}

impl Eq for Split {}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Backend(a), Self::Backend(b)) => Arc::ptr_eq(a, b),
            (Self::Invalid, Self::Invalid) => true,
            _ => false,
        }
    }
}

impl Eq for Target {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_has_as_many_numbers_as_its_weight() {
        let share = |weight| Share {
            weight,
            target: Target::Invalid,
            filters: [].into(),
        };
        let split = Split::new([3, 0, 1, 6].map(share).into()).expect("weights");
        let mut counts = [0; 7];
        for number in 0..split.total() {
            counts[split.share(number).weight as usize] += 1;
        }
        assert_eq!(counts, [0, 1, 0, 3, 0, 0, 6]);
        assert!(Split::new([0, 0].map(share).into()).is_none());
        assert!(Split::new([u32::MAX, 1].map(share).into()).is_none());
    }
}
