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

use model::filter::{Mirror, MirrorTo};
use model::{Backend, Filter};
use tokio::task::spawn_local;

use super::aside::Aside;
use crate::client::Connection;
use crate::headers::RequestHead;
use crate::variables::{Scope, expand};
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

/// Who gets a copy, and what is another in it.
pub(super) struct To {
    backend: Arc<Backend>,
    other: Option<Box<Other>>,
}

/// What is another in a copy than in its request.
struct Other {
    /// Path and query.
    target: Vec<u8>,
    host: Vec<u8>,
    body: bool,
}

/// Who gets copies of a request.
pub(super) fn targets(filters: &[Filter], scope: &Scope<'_>, to: &mut Vec<To>) {
    for filter in filters {
        match filter {
            Filter::Mirror(mirror) if is_chosen(mirror) => to.push(To {
                backend: Arc::clone(&mirror.backend),
                other: None,
            }),
            Filter::MirrorTo(mirror) => {
                if let Some(other) = Other::of(mirror, scope) {
                    to.push(To {
                        backend: Arc::clone(&mirror.backend),
                        other: Some(Box::new(other)),
                    });
                }
            }
            _ => {}
        }
    }
}

impl Other {
    /// None where what the request says makes no head: it would be another one's.
    fn of(mirror: &MirrorTo, scope: &Scope<'_>) -> Option<Self> {
        let mut target = expand(&mirror.target, scope);
        if mirror.keeps_query {
            target.extend_from_slice(scope.request.query());
        }
        let host = expand(&mirror.host, scope);
        let is_visible = |byte: &u8| matches!(byte, 0x21..=0x7e | 0x80..);
        let whole = target.starts_with(b"/")
            && !target.contains(&b'#')
            && target.iter().chain(&host).all(is_visible)
            && !host.is_empty();
        whole.then_some(Self {
            target,
            host,
            body: mirror.body,
        })
    }

    /// The copy's head.
    fn head(&self, request: &RequestHead) -> RequestHead {
        let mut head = RequestHead::default();
        head.start(request.version, request.method(), &self.target);
        head.set_authority(&self.host);
        for (token, name, value) in request.headers.iter() {
            head.headers.push_known(token, name, value);
        }
        head
    }
}

fn is_chosen(mirror: &Mirror) -> bool {
    mirror.numerator >= mirror.denominator
        || fastrand::u32(..mirror.denominator.max(1)) < mirror.numerator
}

/// A request that is to be copied.
pub(super) struct Copies {
    pub(super) to: Vec<To>,
    pub(super) connection: Connection,
    pub(super) request: RequestHead,
    /// Path and query.
    pub(super) target: Vec<u8>,
}

impl Copies {
    /// Sends them, with the body that has come.
    pub(super) fn send(self, worker: &Worker, body: Vec<u8>) {
        let shared = Rc::new((self.connection, self.request, self.target, body));
        for To { backend, other } in self.to {
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
                let other = other.as_deref();
                let head = other.map(|other| other.head(request));
                let aside = Aside {
                    worker: &worker,
                    connection,
                    request: &mut head.unwrap_or_else(|| request.clone()),
                    target: other.map_or(target, |other| &other.target),
                    body: match other {
                        Some(other) if !other.body => &[],
                        _ => body,
                    },
                    limit: LIMIT,
                    most: 0,
                    logged: None,
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
