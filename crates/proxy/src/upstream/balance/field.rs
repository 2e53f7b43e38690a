//! The endpoints among which one request's endpoint is chosen, and who of them may be.

use std::cell::Cell;
use std::time::Duration;

use model::endpoint::Standing;
use model::endpoint_set::Tier;
use model::policy::Algorithm;

use super::key::of_socket;
use super::{Ask, Counted, Members, random};

/// So many endpoints are counted anew whenever that matters; more are counted now and then.
const FEW: usize = 32;
/// How long a count of more stands.
const COUNT_STANDS: Duration = Duration::from_millis(50);

/// The endpoints among which one request's endpoint is chosen.
pub(super) struct Field<'a> {
    members: &'a Members,
    tier: &'a Tier,
    ask: &'a Ask<'a>,
    met_one_out: Cell<bool>,
    /// Counted only if an endpoint is met that is out.
    desperate: Cell<Option<bool>>,
}

impl<'a> Field<'a> {
    pub(super) fn new(members: &'a Members, tier: &'a Tier, ask: &'a Ask<'a>) -> Self {
        Self {
            members,
            tier,
            ask,
            met_one_out: Cell::new(false),
            desperate: Cell::new(None),
        }
    }

    pub(super) fn algorithm(&self) -> &Algorithm {
        &self.members.set.policy.algorithm
    }

    /// How many turns there are until all begins again.
    pub(super) fn turns(&self) -> usize {
        self.tier.turns()
    }

    /// Whose turn it is.
    pub(super) fn turn(&self, turn: usize) -> usize {
        self.tier.turn(turn)
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.tier.len
    }

    /// An endpoint's share, relative to the others'.
    pub(super) fn weight(&self, index: usize) -> u16 {
        self.members.set.weight(index)
    }

    /// What an endpoint is known by in every process and on every machine.
    pub(super) fn name(&self, index: usize) -> u64 {
        of_socket(self.members.states[index].address())
    }

    /// What the choice is to depend on alone, if on anything.
    pub(super) fn flow(&self) -> Option<u64> {
        self.ask.keys.flow
    }

    pub(super) fn by_hash(&self, hash: u64) -> Option<usize> {
        self.members.set.by_hash(hash)
    }

    /// The requests in flight there, relative to the weight. Without any, all are alike: how often
    /// each is met then is what its weight decides.
    pub(super) fn load(&self, index: usize) -> f32 {
        let weight = f32::from(self.members.set.weight(index));
        self.members.states[index].in_flight() as f32 / weight
    }

    pub(super) fn latency(&self, index: usize) -> Option<(f32, f32)> {
        self.members.states[index].latency(self.ask.now)
    }

    pub(super) fn penalty(&self, index: usize) -> f32 {
        self.members.states[index].penalty(self.ask.now)
    }

    /// Whether an endpoint may be chosen.
    pub(super) fn may(&self, index: usize) -> bool {
        self.is_good(index) && self.is_warm(index)
    }

    /// The same, however new the endpoint is.
    pub(super) fn is_good(&self, index: usize) -> bool {
        // What failed elsewhere goes to no place that failed, too, as long as there are others.
        let again = !self.ask.tried.is_empty();
        self.may_at_all(index) && !(again && self.members.states[index].is_suspect())
    }

    /// Whether an endpoint may be chosen where it has been chosen before, or nobody else is left.
    pub(super) fn may_at_all(&self, index: usize) -> bool {
        if self.is_tried(index) {
            return false;
        }
        match self.members.states[index].standing(self.ask.now) {
            Standing::Usable => true,
            Standing::Ill => {
                self.met_one_out.set(true);
                self.is_last() && self.is_desperate()
            }
            Standing::Unreachable => {
                self.met_one_out.set(true);
                false
            }
        }
    }

    /// Anybody, where nobody is left who could be ill under the load: perhaps one is back.
    pub(super) fn last_resort(&self) -> Option<usize> {
        self.is_desperate().then(|| random::any(self))?
    }

    /// Whether the request failed there already.
    pub(super) fn is_tried(&self, index: usize) -> bool {
        self.ask.tried.contains(&self.members.states[index].id())
    }

    /// Whether it has answered this worker, and nothing has failed there since.
    pub(super) fn is_proven(&self, index: usize) -> bool {
        self.is_good(index) && self.latency(index).is_some()
    }

    /// Whether a client may stay with its endpoint: not with one that is out, come what may.
    pub(super) fn may_stay(&self, index: usize) -> bool {
        let standing = self.members.states[index].standing(self.ask.now);
        standing == Standing::Usable && !self.is_tried(index)
    }

    /// Whether an endpoint was met that is out.
    pub(super) fn met_one_out(&self) -> bool {
        self.met_one_out.get()
    }

    /// Whether more than half are out. Then all are used: either they are not as ill as they
    /// look, or what is left would fall ill under the load of all.
    pub(super) fn is_desperate(&self) -> bool {
        if let Some(known) = self.desperate.get() {
            return known;
        }
        let desperate = if self.tier.len <= FEW {
            self.count_out()
        } else {
            let counted = &self.members.counted;
            let stands = |counted: &Counted| {
                let age = self.ask.now.saturating_duration_since(counted.at);
                counted.len == self.tier.len && age < COUNT_STANDS
            };
            let last = counted.get().filter(stands).unwrap_or_else(|| Counted {
                len: self.tier.len,
                at: self.ask.now,
                desperate: self.count_out(),
            });
            counted.set(Some(last));
            last.desperate
        };
        self.desperate.set(Some(desperate));
        desperate
    }

    fn count_out(&self) -> bool {
        let states = &self.members.states[..self.tier.len];
        let out = states
            .iter()
            .filter(|state| state.standing(self.ask.now) != Standing::Usable)
            .count();
        out * 2 > states.len()
    }

    fn is_last(&self) -> bool {
        self.tier.len == self.members.states.len()
    }

    /// False for a part of the requests while the endpoint is new.
    fn is_warm(&self, index: usize) -> bool {
        match self.members.ramping {
            Some(until) if self.ask.now < until => {
                let window = self.members.set.policy.slow_start;
                let share = self.members.states[index].ramp(window, self.ask.now);
                share >= 1.0 || fastrand::f32() < share
            }
            _ => true,
        }
    }
}
