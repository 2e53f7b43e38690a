//! Requests of our own that are made for a client's: copies of it, and questions about it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use model::{Action, Backend, PathMatch, Rule, Timeouts};

use super::parts::{Facts, Parts, Start};
use super::prepare::{Hop, write_head};
use super::{begun, forward};
use crate::access_log::{Detail, Ended, Trail};
use crate::client::{ClientFault, Closed, Connection, Length, RequestBody, ResponseSink};
use crate::forwarded::Client;
use crate::headers::{Headers, Name, Names, RequestHead, ResponseHead};
use crate::record::{Reason, Record};
use crate::respond::Given;
use crate::timer::Timer;
use crate::worker::Worker;

/// A request of our own.
pub(super) struct Aside<'a> {
    pub(super) worker: &'a Worker,
    /// The client's.
    pub(super) connection: &'a Connection,
    /// Its head; method, authority and fields are what the backend gets.
    pub(super) request: &'a mut RequestHead,
    /// Path and query; the query is that of the head's own target.
    pub(super) target: &'a [u8],
    pub(super) body: &'a [u8],
    /// How long all of it may take.
    pub(super) limit: Duration,
    /// How much of the response's body is wanted; the rest is thrown away.
    pub(super) most: usize,
    /// What its line in the access log tells, if it has one.
    pub(super) logged: Option<Logged<'a>>,
}

/// What the line of a question tells of the request that it is asked for.
pub(super) struct Logged<'a> {
    pub(super) trail: Box<Trail>,
    pub(super) request: &'a RequestHead,
    pub(super) rule: &'a Rule,
    pub(super) client: Client,
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) given: Given,
    pub(super) trailers: Headers,
}

impl Aside<'_> {
    /// Makes the request, to one of the backend's endpoints.
    pub(super) async fn make(self, backend: &Arc<Backend>) -> Result<Reply, Reason> {
        let Self {
            worker,
            connection,
            request,
            target,
            body,
            limit,
            most,
            logged,
        } = self;
        let rule = rule(limit);
        let mut body = Whole::new(body);
        let mut upstream_out = Vec::new();
        // The query is the request's own.
        let path = &target[..target.len().saturating_sub(request.query().len())];
        write_head(&mut upstream_out, request, path, body.length(), Hop::Plain);
        request.set_upstream_target(target);
        let start = Start {
            clock: Instant::now(),
            time: SystemTime::now(),
        };
        let end = tokio::time::Instant::from(start.clock) + limit;
        let facts = Facts::default();
        facts.body_done.set(body.is_done());
        let logged = logged.map(|logged| {
            facts.trail.replace(Some(logged.trail));
            (logged.request, logged.rule, logged.client)
        });
        let mut sink = Collect {
            reply: Reply::default(),
            most,
        };
        let mut parts = Parts {
            worker,
            connection,
            start,
            timer: &mut Timer::until(Some(end)),
            request,
            response: &mut ResponseHead::default(),
            upstream_out: &mut upstream_out,
            tunnel: None,
        };
        let made = forward::forward(&mut parts, &mut body, &mut sink, &facts, &rule, backend).await;
        if let (Some(logged), Some(trail)) = (logged, facts.trail.take()) {
            log(&parts, &facts, logged, trail, made.err());
        }
        made.map(|()| sink.reply)
    }
}

/// Writes the line of a question, which tells the request's own line, and whom it was asked.
fn log(
    parts: &Parts<'_>,
    facts: &Facts,
    (request, rule, client): (&RequestHead, &Rule, Client),
    mut trail: Box<Trail>,
    reason: Option<Reason>,
) {
    trail.end(Ended::default());
    let record = Record {
        client: client.address,
        status: facts.status.get(),
        reason,
        route: &rule.route,
        endpoint: facts.endpoint.get(),
        attempts: facts.attempts.get(),
        bytes_out: facts.bytes_out.get(),
        ..begun(parts.connection, request, parts.start)
    };
    let detail = Detail {
        trail: &trail,
        connection: parts.connection,
        request: parts.request,
        response: None,
        rule: Some(rule),
        share: None,
        secure: client.secure,
    };
    parts.worker.log.record_in_detail(&record, &detail);
}

/// What holds for a request that no rule is about.
fn rule(limit: Duration) -> Rule {
    Rule {
        route: Box::default(),
        field: Arc::default(),
        path: PathMatch::Prefix(Box::default()),
        conditions: None,
        filters: Box::default(),
        action: Action::NotFound,
        timeouts: Arc::new(Timeouts {
            connect: limit,
            send: limit,
            read: limit,
            total: limit,
            attempt: Duration::ZERO,
        }),
        max_body: 0,
        retry: None,
        affinity: None,
        extras: None,
    }
}

/// A body that is here as a whole.
pub(super) struct Whole<'a> {
    rest: &'a [u8],
    length: Length,
    trailers: Headers,
}

impl<'a> Whole<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            length: match bytes.len() {
                0 => Length::Absent,
                length => Length::Known(length as u64),
            },
            trailers: Headers::default(),
        }
    }
}

impl RequestBody for Whole<'_> {
    fn length(&self) -> Length {
        self.length
    }

    async fn fill(&mut self) -> Result<&[u8], ClientFault> {
        Ok(self.rest)
    }

    fn consume(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }

    fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    fn has_buffered(&mut self) -> bool {
        true
    }

    async fn closed(&mut self) -> Closed {
        // Whoever does not want the answer any more drops the request.
        std::future::pending().await
    }

    fn trailers(&self) -> &Headers {
        &self.trailers
    }

    fn become_tunnel(&mut self) {}
}

/// Takes a response in.
struct Collect {
    reply: Reply,
    most: usize,
}

impl ResponseSink for Collect {
    async fn interim(&mut self, _: &ResponseHead) -> Result<(), ClientFault> {
        Ok(())
    }

    async fn head(&mut self, head: &ResponseHead, _: Length, _: bool) -> Result<(), ClientFault> {
        let Given {
            status, headers, ..
        } = &mut self.reply.given;
        *status = head.status;
        *headers = head.headers.clone();
        headers.remove_hop_by_hop();
        headers.remove(Names::of(&[Name::ContentLength, Name::Date]));
        Ok(())
    }

    async fn data(&mut self, bytes: &[u8], _: bool) -> Result<(), ClientFault> {
        let body = &mut self.reply.given.body;
        let room = self.most.saturating_sub(body.len());
        body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ClientFault> {
        Ok(())
    }

    async fn end(&mut self, trailers: &Headers) -> Result<(), ClientFault> {
        self.reply.trailers = trailers.clone();
        Ok(())
    }

    async fn open_tunnel(&mut self, _: &ResponseHead) -> Result<(), ClientFault> {
        // Nobody has asked for one.
        Err(ClientFault::Malformed)
    }

    fn poll_closed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn is_begun(&self) -> bool {
        self.reply.given.status != 0
    }

    fn abort(&mut self) {}
}
