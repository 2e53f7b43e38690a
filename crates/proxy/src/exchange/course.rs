//! Which endpoint a request asks, and which next.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use model::endpoint::Failure;
use model::policy::{Algorithm, Asked, HashKey, Retry, RouteRetry};
use model::text::Text;
use model::{Backend, HostName, NormalPath, PathMatch, Rule, maglev};

use super::forward::Failed;
use super::parts::{Facts, Parts, Remember};
use crate::forwarded::Client;
use crate::headers::Name;
use crate::record::Reason;
use crate::upstream::EndpointState;
use crate::upstream::balance::{self, Ask, BackendState, Choice, Keys, Members, Token};
use crate::variables::{Scope, expand};
use crate::worker::Worker;

/// By how much at the most a pause is longer than the rule says.
const LONGEST_JITTER: Duration = Duration::from_secs(1);

/// A request's way from one endpoint to the next.
pub(super) struct Course<'a> {
    worker: &'a Worker,
    backend: &'a Backend,
    rule: &'a Rule,
    balancer: Rc<BackendState>,
    pub(super) members: Rc<Members>,
    pub(super) retry: Retry,
    tried: Tried,
    /// Whether the request may be sent again once it has been sent, where the rule says so.
    pub(super) repeatable: bool,
    /// What a text with variables comes to, by whose hash the endpoint is chosen.
    pub(super) key: Option<u64>,
    /// When the first attempt began.
    begun: Instant,
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
    pub(super) fn new(
        worker: &'a Worker,
        backend: &'a Backend,
        rule: &'a Rule,
        now: Instant,
    ) -> Self {
        let balancer = worker.upstreams.backend(backend);
        let members = balancer.members(&worker.upstreams, backend);
        let mut retry = members.policy().retry;
        balancer.budget.earn(&retry);
        if let Some(route) = &rule.retry {
            retry.attempts = route.attempts.saturating_add(1);
        }
        Self {
            worker,
            backend,
            rule,
            balancer,
            members,
            retry,
            tried: Tried::default(),
            repeatable: true,
            key: None,
            begun: now,
            now,
            fresh: false,
            last: None,
        }
    }

    /// Notes what the request is, on which it depends where it goes, and whether it may be sent
    /// twice.
    pub(super) fn about(&mut self, parts: &Parts<'_>, facts: &Facts, streams: bool) {
        let method = parts.request.method();
        if let Algorithm::Hash(HashKey::Text(text))
        | Algorithm::Subset {
            key: HashKey::Text(text),
            ..
        } = &self.members.policy().algorithm
        {
            self.key = Some(maglev::hash(&self.expand(text, parts, facts)));
        }
        if let Some(RouteRetry { on, .. }) = self.rule.retry.as_deref() {
            let idempotent = !matches!(method, b"POST" | b"LOCK" | b"PATCH");
            self.repeatable = (on.non_idempotent || idempotent) && (on.streamed || !streams);
        }
    }

    fn expand(&self, text: &Text, parts: &Parts<'_>, facts: &Facts) -> Vec<u8> {
        let host = HostName::parse(parts.request.authority());
        let path = NormalPath::parse(parts.request.path());
        let scope = Scope {
            request: parts.request,
            connection: parts.connection,
            client: Client {
                address: facts
                    .client
                    .get()
                    .unwrap_or_else(|| parts.connection.peer.ip()),
                secure: facts.secure.get(),
            },
            host: host.as_ref().map_or("", HostName::as_str),
            path: path.as_ref().map_or(&b""[..], |path| path.routed()),
            rule: self.rule,
            backend: &self.backend.name,
            captures: &[],
            response: None,
        };
        expand(text, &scope)
    }

    /// Until when another attempt may begin, if that ends.
    pub(super) fn until(&self) -> Option<Instant> {
        let within = self.rule.retry.as_ref()?.within;
        (!within.is_zero()).then(|| self.begun + within)
    }

    /// The endpoint to ask next.
    pub(super) fn choose(
        &mut self,
        parts: &Parts<'_>,
        facts: &Facts,
    ) -> Result<Rc<EndpointState>, Reason> {
        let members = &*self.members;
        let affinity = facts.affinity_of(self.rule);
        let client = facts.client.get();
        let keys = balance::keys(
            members.policy(),
            affinity.map(|affinity| &**affinity),
            parts.request,
            client,
            self.key,
        );
        let mark = affinity.filter(|affinity| affinity.is_balanced());
        let keys = Keys {
            mark: mark.map(|_| balance::mark(&self.backend.name)),
            ..keys
        };
        let tried = self.tried;
        let mut ask = Ask {
            now: self.now,
            keys,
            tried: tried.ids(),
            affinity,
        };
        let mut choice = self.balancer.pick(members, &ask);
        if choice.is_none() && self.rule.retry.is_some() && !ask.tried.is_empty() {
            // The rule asks for so many attempts, however few endpoints there are.
            self.tried.forget();
            ask.tried = &[];
            choice = self.balancer.pick(members, &ask);
        }
        let Some(choice) = choice else {
            let why = || members.unavailable().map(Reason::Unavailable);
            return Err(self.last.or_else(why).unwrap_or(Reason::ConnectFailed));
        };
        remember(parts, facts, members, &self.rule.path, &choice, &ask);
        facts.begin_attempt(choice.endpoint.address(), self.now);
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
                // It may have been read all the same: where a rule says how often a request is sent,
                // no endpoint sees it more often, but for the one time that is always made up for.
                if self.rule.retry.is_some() && self.tried.count + 1 < self.retry.attempts {
                    self.retry.attempts -= 1;
                }
                self.now = Instant::now();
                Next::Reconnect
            }
            Err(failed) if failed.retry => Next::Retry(failed.reason),
            result => Next::End(result.map_err(|failed| failed.reason)),
        }
    }

    /// The statuses that are followed by another attempt after the one that begins; or by an answer
    /// of ours, where a constraint forbids the attempt.
    pub(super) fn codes(&self) -> &'a [u16] {
        match &self.rule.retry {
            Some(route)
                if self.repeatable
                    && self.tried.count + 1 < self.retry.attempts
                    && (self.is_constrained() || self.may_spend()) =>
            {
                &route.codes
            }
            _ => &[],
        }
    }

    /// How long to wait before the next attempt.
    pub(super) fn pause(&self) -> Duration {
        match &self.rule.retry {
            Some(route) => {
                let jitter = route.backoff.min(LONGEST_JITTER).mul_f64(fastrand::f64());
                route.backoff.saturating_add(jitter)
            }
            None => Duration::ZERO,
        }
    }

    /// Whether the budget allows another attempt. Where a rule says how often a request is sent
    /// again, that holds, unless a budget was asked for as well.
    fn may_spend(&self) -> bool {
        let unbound = self.rule.retry.is_some() && self.retry.asked == Asked::Nobody;
        unbound || self.balancer.budget.has_some(&self.retry, self.now)
    }

    /// Whether the Gateway API's constraint holds: to the letter, and with an answer of its own.
    fn is_constrained(&self) -> bool {
        self.retry.asked == Asked::Constraint
    }

    /// Prepares another attempt after one that failed for this reason, if one may be made.
    pub(super) fn go_on(&mut self, endpoint: &EndpointState, failed: Reason) -> Result<(), Reason> {
        self.now = Instant::now();
        if !self.wants(failed) || self.until().is_some_and(|until| self.now >= until) {
            return Err(failed);
        }
        let constrained = self.is_constrained();
        // A connection that failed was no work for any backend: once more is always right.
        let free = !constrained && self.tried.is_empty() && failed.is_connect_error();
        if !self.tried.add(endpoint.id(), self.retry.attempts) {
            return Err(failed);
        }
        // What the endpoint answered is gone already, on the strength of what the budget had then.
        let promised = !constrained && matches!(failed, Reason::UpstreamStatus(_));
        let allowed = self.may_spend();
        let spent = self.balancer.budget.spend(&self.retry, self.now);
        if !(spent || allowed || free || promised) {
            self.worker.metrics.retry_refused();
            return Err(match constrained {
                true => Reason::RetryBudget,
                false => failed,
            });
        }
        self.last = Some(failed);
        self.worker.metrics.retried();
        self.members = (self.balancer).members(&self.worker.upstreams, self.backend);
        Ok(())
    }

    /// Whether the rule has such a failure followed by another attempt. What has been sent has been
    /// asked about already.
    fn wants(&self, failed: Reason) -> bool {
        let Some(RouteRetry { on, .. }) = self.rule.retry.as_deref() else {
            return true;
        };
        match failed {
            Reason::ConnectTimeout => on.timeout,
            Reason::ConnectFailed | Reason::UpstreamTls(_) => on.error,
            _ => true,
        }
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
            Err(Reason::UpstreamStatus(status) | Reason::ErrorPage(status))
                if ejection.is_failure(status) =>
            {
                Failure::Bad
            }
            Ok(()) | Err(Reason::UpstreamStatus(_) | Reason::ErrorPage(_)) => {
                return endpoint.succeeded(ejection, Instant::now);
            }
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

/// Has the response say what keeps the client with its endpoint, if it says something else.
fn remember(
    parts: &Parts<'_>,
    facts: &Facts,
    members: &Members,
    path: &PathMatch,
    choice: &Choice,
    ask: &Ask<'_>,
) {
    let own = ask.affinity.map(|affinity| &**affinity);
    let Some(policy) = own.or_else(|| members.policy().affinity.as_ref()) else {
        return;
    };
    let remember = choice.new_name(members, ask).map(|name| {
        let secure = parts.connection.tls.is_some();
        let token = Token {
            policy,
            name,
            now: SystemTime::now(),
            path: own.map(|_| path),
            secure,
            user_agent: parts
                .request
                .headers
                .get(Name::UserAgent)
                .unwrap_or_default(),
        };
        Box::new(Remember {
            field: token.field().into(),
            value: token.value(),
        })
    });
    facts.remember.replace(remember);
}

/// The ids of the endpoints that failed a request.
#[derive(Debug, Default, Clone, Copy)]
struct Tried {
    ids: [u64; Retry::MOST_ATTEMPTS as usize],
    /// How many of them count.
    known: u8,
    /// How many attempts have failed.
    count: u8,
}

impl Tried {
    fn ids(&self) -> &[u64] {
        &self.ids[..usize::from(self.known)]
    }

    /// Has those that failed be asked again.
    fn forget(&mut self) {
        self.known = 0;
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Notes one more. Whether another may be tried, where there may be `most` in all.
    fn add(&mut self, id: u64, most: u8) -> bool {
        if usize::from(self.known) == self.ids.len() {
            // Few requests are sent so often, and those may meet the first one again.
            self.forget();
        }
        self.ids[usize::from(self.known)] = id;
        self.known += 1;
        self.count = self.count.saturating_add(1);
        self.count < most
    }
}
