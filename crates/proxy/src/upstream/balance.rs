//! Which endpoint gets a request: of two chosen at random, the one with less in flight.

use std::rc::Rc;

use model::Backend;

use super::{EndpointState, Pool};

/// An endpoint that is not among those `tried`; `None` if there is none.
pub(crate) fn pick(pool: &Pool, backend: &Backend, tried: &[u64]) -> Option<Rc<EndpointState>> {
    let set = backend.endpoints();
    let state = |index: usize| pool.state(&set.ready[index]);
    match set.ready.len() {
        0 => None,
        1 => Some(state(0)).filter(|only| !tried.contains(&only.id())),
        count => {
            let first = state(fastrand::usize(..count));
            let second = state(fastrand::usize(..count));
            let (less, more) = if first.in_flight() <= second.in_flight() {
                (first, second)
            } else {
                (second, first)
            };
            [less, more]
                .into_iter()
                .find(|endpoint| !tried.contains(&endpoint.id()))
                .or_else(|| {
                    (0..count)
                        .map(state)
                        .find(|endpoint| !tried.contains(&endpoint.id()))
                })
        }
    }
}
