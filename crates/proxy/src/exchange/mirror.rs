//! Copies of requests for other backends, whose answers nobody reads (Gateway API:
//! HTTPRequestMirrorFilter).
//!
//! A copy is sent by a task of its own once the whole body has gone by, so that it never delays the
//! request. There are limits on how many there are at once and on how much they hold; beyond them
//! a request is not copied, and that is counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::filter::Mirror;
use model::{Backend, Filter};
use tokio::task::spawn_local;

use super::aside::Aside;
use crate::client::Connection;
use crate::headers::RequestHead;
use crate::worker::Worker;

/// How long a copy may take.
const LIMIT: Duration = Duration::from_secs(15);

/// The copies that one worker sends now.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    count: Cell<usize>,
    /// Of their bodies.
    bytes: Cell<usize>,
}

/// Counts a copy for as long as it is sent.
struct Place {
    mirrors: Rc<Mirrors>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self { mirrors, bytes } = self;
        mirrors.count.set(mirrors.count.get() - 1);
        mirrors.bytes.set(mirrors.bytes.get() - *bytes);
    }
}

/// Who gets copies of a request.
pub(super) fn targets(filters: &[Filter], to: &mut Vec<Arc<Backend>>) {
    for filter in filters {
        if let Filter::Mirror(mirror) = filter
            && is_chosen(mirror)
        {
            to.push(Arc::clone(&mirror.backend));
        }
    }
}

fn is_chosen(mirror: &Mirror) -> bool {
    mirror.numerator >= mirror.denominator
        || fastrand::u32(..mirror.denominator.max(1)) < mirror.numerator
}

/// A request that is to be copied.
pub(super) struct Copies {
    pub(super) to: Vec<Arc<Backend>>,
    pub(super) connection: Connection,
    pub(super) request: RequestHead,
    /// Path and query.
    pub(super) target: Vec<u8>,
}

impl Copies {
    /// Sends them, with the body that has come.
    pub(super) fn send(self, worker: &Worker, body: Vec<u8>) {
        let shared = Rc::new((self.connection, self.request, self.target, body));
        for backend in self.to {
            let worker = worker.this();
            let bytes = shared.3.len();
            let place = worker.as_ref().and_then(|worker| place(worker, bytes));
            let (Some(worker), Some(place)) = (worker, place) else {
                continue;
            };
            worker.metrics.mirrored();
            let shared = Rc::clone(&shared);
            spawn_local(async move {
                let (connection, request, target, body) = &*shared;
                let aside = Aside {
                    worker: &worker,
                    connection,
                    request: &mut request.clone(),
                    target,
                    body,
                    limit: LIMIT,
                    most: 0,
                };
                // Whatever comes of it is nobody's business.
                if let Err(reason) = aside.make(&backend).await {
                    let reason = reason.as_str();
                    tracing::debug!(backend = %backend.name, reason, "a copy was not answered");
                }
                drop(place);
            });
        }
    }
}

fn place(worker: &Worker, bytes: usize) -> Option<Place> {
    let settings = worker.settings();
    let limits = &settings.limits;
    let mirrors = &worker.mirrors;
    let (count, held) = (mirrors.count.get() + 1, mirrors.bytes.get() + bytes);
    let most_bytes = limits.mirror_body.saturating_mul(16);
    if count > limits.mirrors || held > most_bytes {
        worker.metrics.mirror_refused();
        return None;
    }
    mirrors.count.set(count);
    mirrors.bytes.set(held);
    Some(Place {
        mirrors: Rc::clone(mirrors),
        bytes,
    })
}
