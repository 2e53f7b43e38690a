//! Which endpoint gets a request.
//!
//! What can be worked out when endpoints change is in the [`EndpointSet`]; here is what one
//! request costs. With one endpoint, that is a lookup. One file has one algorithm; each chooses
//! among the places of a [`Field`], which knows who may be chosen.

mod balanced;
mod budget;
mod field;
mod hash;
mod key;
mod least_request;
mod p2c;
mod random;
mod rendezvous;
mod round_robin;
#[cfg(test)]
mod simulation;
mod subset;
#[cfg(test)]
mod tests;
mod token;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashSet;
use model::endpoint::Standing;
use model::policy::{Affinity, Algorithm};
use model::{Backend, EndpointSet, Policy};

use super::{EndpointState, Pool};
pub(crate) use balanced::mark;
use budget::Budget;
use field::Field;
pub(crate) use key::{
    Keys, cookie_in_any_case, flow, flow_keys, keys, session, stream_keys, value_in_any_case,
};
pub(crate) use token::Token;

/// From so many requests in flight at a near endpoint, farther ones are considered.
const BUSY: u32 = 16;

/// What one worker knows of a backend.
#[derive(Debug)]
pub(crate) struct BackendState {
    members: RefCell<Rc<Members>>,
    cursor: Cell<usize>,
    pub(crate) budget: Budget,
    /// It has been used since somebody looked.
    pub(super) used: Cell<bool>,
}

/// A backend's endpoints with what this worker knows of each.
#[derive(Debug)]
pub(crate) struct Members {
    set: Arc<EndpointSet>,
    states: Box<[Rc<EndpointState>]>,
    /// Until when some of them are new.
    ramping: Option<Instant>,
    /// What was last found when they were counted.
    counted: Cell<Option<Counted>>,
    /// What rules with an affinity of their own call the endpoints: nearly always one, and for all
    /// rules the same, since the key is the process's.
    named: RefCell<Option<Named>>,
}

/// What an affinity calls the endpoints, by index.
#[derive(Debug)]
struct Named {
    by: Arc<Affinity>,
    names: Rc<[u64]>,
}

/// Whether most of a tier's endpoints were out, when they were counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    len: usize,
    at: Instant,
    desperate: bool,
}

impl Members {
    pub(crate) fn policy(&self) -> &Policy {
        &self.set.policy
    }

    /// The endpoint that a rule's own affinity calls by this name.
    fn named(&self, affinity: &Arc<Affinity>, name: u64) -> Option<usize> {
        let names = self.names(affinity);
        names.iter().position(|&known| known == name)
    }

    fn names(&self, affinity: &Arc<Affinity>) -> Rc<[u64]> {
        let mut named = self.named.borrow_mut();
        if let Some(known) = &*named
            && (Arc::ptr_eq(&known.by, affinity) || known.by.key == affinity.key)
        {
            return Rc::clone(&known.names);
        }
        let names: Rc<[u64]> = self.set.names_by(affinity).into();
        *named = Some(Named {
            by: Arc::clone(affinity),
            names: Rc::clone(&names),
        });
        names
    }

    /// Whether the backend's or the rule's sessions of this name can go on here now. Of those that
    /// are spread anew, `mark` tells whose they are.
    pub(crate) fn has_session(
        &self,
        affinity: Option<&Arc<Affinity>>,
        name: u64,
        mark: Option<u32>,
    ) -> bool {
        if let Some(mark) = mark {
            return balanced::is_of(name, mark) && !self.states.is_empty();
        }
        let found = match affinity {
            Some(affinity) => self.named(affinity, name),
            None => self.set.by_name(name),
        };
        found.is_some_and(|index| self.states[index].standing(Instant::now()) == Standing::Usable)
    }

    /// Why there is no endpoint.
    pub(crate) fn unavailable(&self) -> Option<model::Unavailable> {
        self.set.unavailable
    }
}

/// What the choice for a request depends on.
pub(crate) struct Ask<'a> {
    pub(crate) now: Instant,
    pub(crate) keys: Keys,
    /// The ids of endpoints that failed it already.
    pub(crate) tried: &'a [u64],
    /// What keeps the client with an endpoint, where the rule says so and not the backend.
    pub(crate) affinity: Option<&'a Arc<Affinity>>,
}

/// What was chosen.
pub(crate) struct Choice {
    pub(crate) endpoint: Rc<EndpointState>,
    index: usize,
    /// What a session is called that begins here, where that decides where it is.
    key: Option<u64>,
}

impl BackendState {
    pub(super) fn new() -> Self {
        let members = Members {
            set: Arc::default(),
            states: Box::default(),
            ramping: None,
            counted: Cell::new(None),
            named: RefCell::default(),
        };
        Self {
            members: RefCell::new(Rc::new(members)),
            cursor: Cell::new(fastrand::usize(..1 << 16)),
            budget: Budget::new(),
            used: Cell::new(true),
        }
    }

    /// The endpoints as they are now.
    pub(crate) fn members(&self, pool: &Pool, backend: &Backend) -> Rc<Members> {
        let set = backend.endpoints();
        let mut members = self.members.borrow_mut();
        if !Arc::ptr_eq(&members.set, &set) {
            *members = Rc::new(renew(&members, &set, pool));
        }
        Rc::clone(&members)
    }

    /// An endpoint for a request; `None` if there is none that it has not tried.
    pub(crate) fn pick(&self, members: &Members, ask: &Ask<'_>) -> Option<Choice> {
        if let (Some(affinity), Some(mark)) = (ask.affinity, ask.keys.mark)
            && let Some((index, key)) = balanced::choose(members, ask, affinity, mark)
        {
            let endpoint = Rc::clone(&members.states[index]);
            return Some(Choice {
                endpoint,
                index,
                key,
            });
        }
        let index = match members.states.len() {
            0 => return None,
            1 => Some(0).filter(|_| !ask.tried.contains(&members.states[0].id())),
            _ => self.choose(members, ask),
        }?;
        Some(Choice {
            endpoint: Rc::clone(&members.states[index]),
            index,
            key: None,
        })
    }

    fn choose(&self, members: &Members, ask: &Ask<'_>) -> Option<usize> {
        let tiers = members.set.tiers();
        let all = tiers.len() - 1;
        let whole = Field::new(members, &tiers[all], ask);
        let by_name = |name| match ask.affinity {
            Some(affinity) => members.named(affinity, name),
            None => members.set.by_name(name),
        };
        let named = ask.keys.name.and_then(by_name);
        if named.is_some() && ask.affinity.is_some_and(|affinity| affinity.stays()) {
            return named;
        }
        let hashed = matches!(members.set.policy.algorithm, Algorithm::Hash(_));
        // A key's second place is always the same, too; after that any that answers will do.
        if ask.tried.len() > usize::from(hashed) {
            let mut fields = tiers.iter().map(|tier| Field::new(members, tier, ask));
            if let Some(proven) = fields.find_map(|field| random::proven(&field)) {
                return Some(proven);
            }
        }
        if let Some(named) = named
            && whole.may_stay(named)
        {
            return Some(named);
        }
        if hashed && let Some(key) = ask.keys.hash {
            // Wherever it is: a key's endpoint is the same for every replica.
            return hash::choose(&whole, key).or_else(|| whole.last_resort());
        }
        if let (Algorithm::Subset { size, .. }, Some(key)) =
            (&members.set.policy.algorithm, ask.keys.hash)
        {
            return subset::choose(&whole, key, *size).or_else(|| whole.last_resort());
        }
        for tier in &tiers[..all] {
            let field = Field::new(members, tier, ask);
            let cursor = self.cursor.get();
            let Some(near) = self.run(&field) else {
                continue;
            };
            // More than half of the near ones are out: what is left of them is not enough for all.
            if field.met_one_out() && field.is_desperate() {
                // Nobody has had this turn.
                self.cursor.set(cursor);
                continue;
            }
            return Some(match members.states[near].in_flight() {
                // Where a flow goes depends on nothing that another process does not know.
                busy if busy >= BUSY && ask.keys.flow.is_none() => {
                    self.overflow(members, ask, near)
                }
                _ => near,
            });
        }
        self.run(&whole).or_else(|| whole.last_resort())
    }

    /// A farther endpoint, where that has less than half as much to do as the near one.
    fn overflow(&self, members: &Members, ask: &Ask<'_>, near: usize) -> usize {
        let busy = members.states[near].in_flight();
        members
            .set
            .tiers()
            .last()
            .and_then(|tier| p2c::choose(&Field::new(members, tier, ask)))
            .filter(|&far| members.states[far].in_flight() < busy / 2)
            .unwrap_or(near)
    }

    fn run(&self, field: &Field<'_>) -> Option<usize> {
        match field.algorithm() {
            Algorithm::P2c | Algorithm::Random if let Some(flow) = field.flow() => {
                rendezvous::choose(field, flow)
            }
            // A request without the key, and failing that, is anybody's.
            Algorithm::P2c | Algorithm::Hash(_) | Algorithm::Subset { .. } => p2c::choose(field),
            Algorithm::RoundRobin => round_robin::choose(field, &self.cursor),
            Algorithm::LeastRequest => least_request::choose(field),
            Algorithm::Random => random::choose(field),
        }
    }
}

impl Choice {
    /// The name that the client's cookie is to have, if it has another or none.
    pub(crate) fn new_name(&self, members: &Members, ask: &Ask<'_>) -> Option<u64> {
        let name = match ask.affinity {
            Some(_) if ask.keys.mark.is_some() => self.key,
            Some(affinity) => members.names(affinity).get(self.index).copied(),
            None => {
                members.set.policy.affinity.as_ref()?;
                members.set.name(self.index)
            }
        };
        name.filter(|&name| ask.keys.name != Some(name))
    }
}

/// The members of another set. Whoever was not among the last ones is new, unless all are.
fn renew(last: &Members, set: &Arc<EndpointSet>, pool: &Pool) -> Members {
    let states: Box<[_]> = set
        .ready
        .iter()
        .map(|endpoint| pool.state(endpoint))
        .collect();
    let window = set.policy.slow_start;
    let mut ramping = None;
    if !window.is_zero() && !last.states.is_empty() {
        let now = Instant::now();
        let known: HashSet<u64> = last.states.iter().map(|state| state.id()).collect();
        for state in &states {
            if !known.contains(&state.id()) {
                state.joined.set(Some(now));
            }
        }
        let joined = states.iter().filter_map(|state| state.joined.get()).max();
        ramping = joined.map(|joined| joined + window);
    }
    Members {
        set: Arc::clone(set),
        states,
        ramping,
        counted: Cell::new(None),
        named: RefCell::default(),
    }
}
