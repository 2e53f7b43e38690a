//! Which endpoint a request asks, and which next.

use std::rc::Rc;
use std::time::Instant;

use model::Backend;
use model::endpoint::Failure;
use model::policy::Retry;

use super::forward::Failed;
use super::parts::{Facts, Parts};
use crate::record::Reason;
use crate::upstream::EndpointState;
use crate::upstream::balance::{self, Affinity, Ask, BackendState, Choice, Members};
use crate::worker::Worker;

/// A request's way from one endpoint to the next.
pub(super) struct Course<'a> {
    worker: &'a Worker,
    backend: &'a Backend,
    balancer: Rc<BackendState>,
    pub(super) members: Rc<Members>,
    pub(super) retry: Retry,
    tried: Tried,
    /// When the attempt began.
    pub(super) now: Instant,
    /// A kept connection had been closed: the next is to be a new one.
    pub(super) fresh: bool,
    /// Why the last attempt failed.
    pub(super) last: Option<Reason>,
}

/// What follows an exchange with an endpoint.
pub(super) enum Next {
    End(Result<(), Reason>),
    /// It was no attempt at an endpoint, and is made up for on a new connection.
    Reconnect,
    /// Another attempt, if one may be made.
    Retry(Reason),
}

impl<'a> Course<'a> {
    pub(super) fn new(worker: &'a Worker, backend: &'a Backend, now: Instant) -> Self {
        let balancer = worker.upstreams.backend(backend);
        let members = balancer.members(&worker.upstreams, backend);
        let retry = members.policy().retry;
        balancer.budget.earn(&retry);
        Self {
            worker,
            backend,
            balancer,
            members,
            retry,
            tried: Tried::default(),
            now,
            fresh: false,
            last: None,
        }
    }

    /// The endpoint to ask next.
    pub(super) fn choose(
        &self,
        parts: &Parts<'_>,
        facts: &Facts,
    ) -> Result<Rc<EndpointState>, Reason> {
        let members = &*self.members;
        let ask = Ask {
            now: self.now,
            keys: balance::keys(members.policy(), parts.request, facts.client.get()),
            tried: self.tried.ids(),
        };
        let Some(choice) = self.balancer.pick(members, &ask) else {
            let why = || members.unavailable().map(Reason::Unavailable);
            return Err(self.last.or_else(why).unwrap_or(Reason::ConnectFailed));
        };
        remember(parts, facts, members, &choice, &ask);
        facts.endpoint.set(Some(choice.endpoint.address()));
        facts.attempts.set(facts.attempts.get().saturating_add(1));
        Ok(choice.endpoint)
    }

    /// Notes how an exchange went, and tells what follows.
    pub(super) fn weigh(
        &mut self,
        endpoint: &EndpointState,
        facts: &Facts,
        result: Result<(), Failed>,
        reused: bool,
        begin: Instant,
    ) -> Next {
        let outcome = result.as_ref().map_err(|failed| failed.reason).copied();
        // That a kept connection was closed meanwhile is nobody's fault, and no more is one that
        // takes no more requests.
        let closed = reused && outcome == Err(Reason::UpstreamClosed);
        let closed = !self.fresh && (closed || facts.unprocessed.take());
        if !closed {
            self.judge(endpoint, facts, outcome, begin);
        }
        match result {
            Err(failed) if failed.retry && closed => {
                self.fresh = true;
                self.last = Some(failed.reason);
                self.worker.metrics.retried();
                self.now = Instant::now();
                Next::Reconnect
            }
            Err(failed) if failed.retry => Next::Retry(failed.reason),
            result => Next::End(result.map_err(|failed| failed.reason)),
        }
    }

    /// Prepares another attempt after one that failed for this reason, if one may be made.
    pub(super) fn go_on(&mut self, endpoint: &EndpointState, failed: Reason) -> Result<(), Reason> {
        self.now = Instant::now();
        // A connection that failed was no work for any backend: once more is always right.
        let free = self.tried.is_empty() && failed.is_connect_error();
        if !self.tried.add(endpoint.id(), self.retry.attempts) {
            return Err(failed);
        }
        if !self.balancer.budget.spend(&self.retry, self.now) && !free {
            self.worker.metrics.retry_refused();
            return Err(failed);
        }
        self.last = Some(failed);
        self.worker.metrics.retried();
        self.members = (self.balancer).members(&self.worker.upstreams, self.backend);
        Ok(())
    }

    /// Notes how an endpoint did, for those who choose after us.
    pub(super) fn judge(
        &self,
        endpoint: &EndpointState,
        facts: &Facts,
        outcome: Result<(), Reason>,
        begin: Instant,
    ) {
        let ejection = &self.members.policy().ejection;
        let failure = match outcome {
            Ok(()) if ejection.is_failure(facts.status.get()) => Failure::Bad,
            Ok(()) => return endpoint.succeeded(ejection, Instant::now),
            Err(reason) => match reason.endpoints_fault() {
                Some(failure) => failure,
                // The whole time went by at this one endpoint, which had all of the request.
                None if reason == Reason::RequestTimeout
                    && facts.attempts.get() == 1
                    && facts.body_done.get()
                    && facts.upstream.get().is_none() =>
                {
                    Failure::Bad
                }
                // The client's fault, or ours, tells nothing.
                None => return,
            },
        };
        let now = Instant::now();
        let took = now.saturating_duration_since(begin);
        if endpoint.failed(ejection, failure, took, now) {
            self.worker.metrics.endpoint_ejected();
            let address = endpoint.address();
            tracing::warn!(%address, "the endpoint is left out for a while: it failed again and again");
        }
    }
}

/// Has the response set the cookie that keeps the client with its endpoint, if it has another.
fn remember(parts: &Parts<'_>, facts: &Facts, members: &Members, choice: &Choice, ask: &Ask<'_>) {
    let Some(policy) = &members.policy().affinity else {
        return;
    };
    let cookie = choice.new_name(members, ask.keys).map(|name| {
        let secure = parts.connection.tls.is_some();
        let affinity = Affinity {
            policy,
            name,
            secure,
        };
        affinity.set_cookie()
    });
    facts.set_cookie.replace(cookie);
}

/// The ids of the endpoints that failed a request.
#[derive(Default)]
struct Tried {
    ids: [u64; Retry::MOST_ATTEMPTS as usize],
    count: u8,
}

impl Tried {
    fn ids(&self) -> &[u64] {
        &self.ids[..usize::from(self.count)]
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Notes one more. Whether another may be tried, where there may be `most` in all.
    fn add(&mut self, id: u64, most: u8) -> bool {
        if let Some(slot) = self.ids.get_mut(usize::from(self.count)) {
            *slot = id;
            self.count += 1;
        }
        self.count < most.min(Retry::MOST_ATTEMPTS)
    }
}
